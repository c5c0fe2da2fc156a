"""Takes the pictures of the README: `python docs/pictures.py` (it needs tmux and Chromium).

The terminal is that of a session in tmux, the page is the report of the same run in a browser without a window.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
COMMAND = "mlptrain fit configs/breast_cancer.yaml"
RUN = "runs/breast_cancer-0001"
WIDTH, LINES = 100, 60
PAGE = "1240,1500"
"""The window of the browser, in pixels."""
SOCKET = "mlptrain-pictures"
"""A tmux server of its own."""


def main() -> None:
    """Take both pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("configs", "datasets"):
            (folder / part).symlink_to(ROOT / part)
        (FOLDER / "terminal.svg").write_text(drawn(session(folder)), encoding="utf8")
        photograph(folder / RUN / "report.html", FOLDER / "report.png")


def session(folder: Path) -> str:
    """What stays on a terminal after the command, with its colours."""
    tmux = ["tmux", "-L", SOCKET]
    shell = f"cd {folder} && clear && {COMMAND}; mlptrain report {RUN} > page; touch done; sleep 60"
    size = ["-x", str(WIDTH), "-y", str(LINES)]
    subprocess.run([*tmux, "new-session", "-d", *size, shell], check=True)
    try:
        while not (folder / "done").exists():
            time.sleep(0.1)
        time.sleep(0.5)  # until the last lines are drawn
        done = subprocess.run([*tmux, "capture-pane", "-e", "-p"], capture_output=True, text=True, check=True)
        return done.stdout.rstrip()
    finally:
        subprocess.run([*tmux, "kill-server"], check=True)


def drawn(screen: str) -> str:
    """A screen as SVG, which loads nothing from elsewhere."""
    with Path("/dev/null").open("w") as nowhere:
        console = Console(record=True, width=WIDTH, file=nowhere)
        console.print(Text.from_ansi(f"$ {COMMAND}\n{screen}\n"))
        text = console.export_svg(title="mlptrain")
    return re.sub(r"@font-face \{.*?\}\s*", "", text, flags=re.DOTALL)


def photograph(page: Path, out: Path) -> None:
    """The beginning of a page as a PNG."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or "google-chrome"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={PAGE}"]
    subprocess.run([browser, *flags, f"--screenshot={out}", page.as_uri()], check=True, capture_output=True)


if __name__ == "__main__":
    main()
