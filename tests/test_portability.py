"""Does a run work on a system that lacks what only Linux and macOS have?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import environment, summary

SPEC = "data: {path: classes.csv, target: answer}\ntraining: {epochs: 3, baselines: false}\n"
LACKING = {
    "no sysconf": "del os.sysconf",
    "sysconf does not know": "def sysconf(name): raise ValueError(name)\nos.sysconf = sysconf",
    "no SIGHUP": "del signal.SIGHUP",
    "no affinity": "del os.sched_getaffinity",
    "no fcntl": "sys.modules['fcntl'] = None",
    "no locks on this file system": (
        "import errno, fcntl\ndef flock(*_): raise OSError(errno.ENOLCK, 'No locks available')\nfcntl.flock = flock"
    ),
    "folders cannot be opened": (
        "real_open = os.open\n"
        "def open_files_only(path, flags, *rest, **named):\n"
        "    if os.path.isdir(path): raise PermissionError(13, 'Permission denied')\n"
        "    return real_open(path, flags, *rest, **named)\n"
        "os.open = open_files_only\n"
        "import mlptrain.system\n"
        "mlptrain.system.os = types.SimpleNamespace(**vars(os) | {'name': 'nt'})"
    ),
    "folders cannot be flushed": (
        "import errno, stat\n"
        "real_fsync = os.fsync\n"
        "def flush_files_only(handle):\n"
        "    if stat.S_ISDIR(os.fstat(handle).st_mode): raise OSError(errno.EINVAL, 'Invalid argument')\n"
        "    real_fsync(handle)\n"
        "os.fsync = flush_files_only"
    ),
}
ALONE = ("sysconf does not know", "no fcntl", "no locks on this file system")
LACKING["all of it"] = "\n".join(text for name, text in LACKING.items() if name not in ALONE)


@pytest.mark.parametrize("setup", LACKING.values(), ids=LACKING)
@pytest.mark.usefixtures("classes")
def test_a_fit_works_without_what_posix_alone_has(tmp_path: Path, setup: str) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC)
    script = (
        f"import os, signal, sys, types\n{setup}\n"
        "from mlptrain.cli import main\nsys.argv = ['mlptrain', 'fit', 'spec.yaml', '--out', 'run']\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert summary(tmp_path / "run")["epochs"] == 3


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_labels_in_any_script_leave_a_pipe_as_utf_8(tmp_path: Path, encoding: str) -> None:
    rows = "".join(f"{i % 7},{'漢' if i % 2 else 'ñ'}\n" for i in range(40))
    (tmp_path / "t.csv").write_text("x,字\n" + rows, encoding="utf8")
    (tmp_path / "spec.yaml").write_text("preset: plain\ndata: {path: t.csv, target: 字}\n", encoding="utf8")
    program = [sys.executable, "-m", "mlptrain"]
    for arguments in (("fit", "spec.yaml", "--out", "run"), ("evaluate", "run"), ("predict", "run", "t.csv")):
        done = subprocess.run(
            [*program, *arguments],
            cwd=tmp_path,
            env=environment(PYTHONIOENCODING=encoding),
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    assert "漢" in done.stdout.decode("utf8")
