"""How do the tests run the command line, in this process or in one of its own, and on which small tables?"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mlptrain.cli import main

DATASETS = Path(__file__).parents[1] / "datasets"
LESSONS = Path(__file__).parents[1] / "src" / "mlptrain" / "lessons"
TABLES = LESSONS / "data"
"""The tables of the lessons."""
PROGRAM = f"{sys.executable} {Path(__file__).with_name('plain.py')}"
BYTES_OF_A_RUN = ("metrics.csv", "model.safetensors", "checkpoint.safetensors")
"""The files that are a function of the experiment and its data alone."""
Row = tuple[object, ...]
Cli = Callable[..., "Outcome"]
Write = Callable[[str], Path]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind on the terminal."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The document on stdout, which must be strict JSON."""
        return json.loads(self.out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))

    def succeeded(self) -> Outcome:
        assert self.code == 0, f"exit {self.code}: {self.err}"
        return self

    def refused(self, code: int, *fragments: str) -> Outcome:
        """Demand a mistake answered as it should be: nothing on stdout, one message on stderr, no traceback."""
        assert self.code == code, f"exit {self.code}, expected {code}: {self.err}"
        assert self.out == ""
        assert "Traceback" not in self.err
        assert [line[:10] for line in self.err.splitlines() if "mlptrain: " in line] == ["mlptrain: "], self.err
        for fragment in fragments:
            assert fragment in self.err
        return self


def run_cli(*arguments: object, folder: Path, stdin: bytes = b"") -> Outcome:
    """Run `mlptrain` in this process and in `folder`; a warning is an error here and comes out as exit code 1."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["mlptrain", *map(str, arguments)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        patch.chdir(folder)
        with pytest.raises(SystemExit) as left:
            main()
    code = left.value.code or 0
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


def environment(**changes: str) -> dict[str, str]:
    """The variables of a process whose terminal is nothing special."""
    special = ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "COLUMNS", "TTY_COMPATIBLE")
    plain = {name: value for name, value in os.environ.items() if name not in special}
    return plain | {"TERM": "xterm-256color"} | changes


def start_cli(*arguments: object, folder: Path, **changes: str) -> subprocess.Popen[str]:
    """Start `mlptrain` as a process of its own."""
    command = [*PROGRAM.split(), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment(**changes), stdout=pipe, stderr=pipe, text=True)


def finished(process: subprocess.Popen[str], timeout: float = 60) -> Outcome:
    """Wait for a process; one that hangs is ended."""
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return Outcome(process.returncode, out, err)


def run_process(*arguments: object, folder: Path, **changes: str) -> Outcome:
    """Run `mlptrain` as a process of its own."""
    return finished(start_cli(*arguments, folder=folder, **changes))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], timeout: float = 30) -> None:
    """Wait for `condition` while `process` is alive."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, f"ended with {process.returncode} before its time"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def same_bytes(run: Path, other: Path, names: tuple[str, ...] = BYTES_OF_A_RUN) -> None:
    """Demand that the files of two runs are equal to the byte."""
    different = [name for name in names if (run / name).read_bytes() != (other / name).read_bytes()]
    assert not different, f"{run} and {other} differ in {different}"


def contents(folder: Path) -> dict[str, bytes]:
    """Every visible file under `folder`, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if not path.name.startswith(".")}


def metrics(run: Path) -> dict[str, list[str]]:
    """metrics.csv by column, as it is written."""
    head, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    assert all(len(row) == len(head) for row in rows)
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


def summary(run: Path) -> Any:
    """summary.json, which must be strict JSON."""
    return Outcome(0, (run / "summary.json").read_text(), "").json()


def write_csv(path: Path, header: str, rows: Sequence[Row], delimiter: str = ",") -> Path:
    """A table as text; its cells are written as they are."""
    lines = [header.replace(",", delimiter), *(delimiter.join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf8")
    return path


def classes_rows(count: int = 40) -> list[Row]:
    """Rows of two numbers, a colour and an answer that the numbers tell."""
    numbers = [((7 * i) % 23 / 10 - 1.1, (5 * i) % 19 / 10 - 0.9) for i in range(count)]
    colours = ("red", "green", "blue")
    return [(f"{a:.2f}", f"{b:.2f}", colours[i % 3], "yes" if a + b > 0 else "no") for i, (a, b) in enumerate(numbers)]


def amounts_rows(count: int = 40) -> list[Row]:
    """Rows of two numbers and a price in large units that follows from them."""
    numbers = [((7 * i) % 23 / 10 - 1.1, (5 * i) % 19 / 10 - 0.9) for i in range(count)]
    return [(f"{a:.2f}", f"{b:.2f}", f"{1000.5 + 300 * a - 200 * b:.1f}") for a, b in numbers]
