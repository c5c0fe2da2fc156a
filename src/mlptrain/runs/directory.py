"""Which files are in the folder of a run?

spec.yaml                the resolved experiment; `mlptrain fit` on it repeats the run
checkpoint.safetensors   everything that resume needs
model.safetensors        the best weights and everything that evaluate and predict need, after training
history.bin              the rows of metrics.csv but the last ones, of a run of more than a thousand epochs
metrics.csv              one row per epoch
timings.csv              the time of each epoch
summary.json             final results
divergence.csv           the last steps before training diverged, if it did
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mlptrain.errors import CheckpointError, EnvironmentFault, UsageError
from mlptrain.runs.durable import remove_leftovers, write_durably
from mlptrain.spec.yaml import TABLE
from mlptrain.system import flush_folder

if TYPE_CHECKING:
    from filelock import BaseFileLock

RUNS = Path("runs")


class RunFolder(NamedTuple):
    """The folder of one run."""

    path: Path

    @property
    def spec(self) -> Path:
        """The resolved experiment."""
        return self.path / "spec.yaml"

    @property
    def checkpoint(self) -> Path:
        """The state of the run."""
        return self.path / "checkpoint.safetensors"

    @property
    def model(self) -> Path:
        """The best weights."""
        return self.path / "model.safetensors"

    @property
    def summary(self) -> Path:
        """The final results."""
        return self.path / "summary.json"

    @classmethod
    def create(cls, name: str, out: Path | None, parent: Path = RUNS) -> RunFolder:
        """Create a new folder: `out` itself, or the next free number of `name` under `parent`."""
        if out is not None:
            return cls(make_exclusively(out))
        try:
            parent.mkdir(exist_ok=True)
        except OSError as error:
            raise EnvironmentFault(
                f"{parent.absolute()}: cannot be created: {error.strerror}; choose another folder with --out"
            ) from error
        while True:
            number = 1 + max((run_number(path, name) for path in parent.iterdir()), default=0)
            with contextlib.suppress(UsageError):  # another process took the number first
                return cls(make_exclusively(parent / f"{name}-{number:04d}"))

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The folder of an existing run."""
        if not path.exists():
            raise CheckpointError(f"{path}: no such run")
        if not path.is_dir() or not (path / "spec.yaml").exists():
            raise CheckpointError(f"{path}: is not the folder of a run (it has no spec.yaml)")
        return cls(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock this run against other processes; the operating system releases the lock when this process ends."""
        lock = take_lock(self.path)
        try:
            remove_leftovers(self.path)
            with contextlib.suppress(OSError):  # it only tells others who is at work
                owner_of(self.path).write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            yield
        finally:
            lock.release()

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the final results."""
        write_durably(self.summary, (json.dumps(summary, indent=2, allow_nan=False) + "\n").encode())

    def read_summary(self) -> dict[str, Any]:
        """The final results that were written."""
        try:
            found = json.loads(self.summary.read_text(encoding="utf8"))
        except OSError as error:
            raise EnvironmentFault(f"{self.summary}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CheckpointError(f"{self.summary}: is damaged: {error}") from error
        if not isinstance(found, dict) or "stopped" not in found:
            raise CheckpointError(f"{self.summary}: is damaged: it is not the summary of a run")
        return found


def take_lock(folder: Path) -> BaseFileLock:
    """Take the lock of the run in `folder`, or say who holds it.

    Some file systems have no locks, such as NFS without its lock daemon. There the lock is a file that exists: it keeps
    others out as well, but stays if this process is killed.
    """
    from filelock import FileLock, Timeout

    try:
        try:
            return acquired(FileLock(folder / ".lock", timeout=0))
        except Timeout:
            raise
        except (OSError, NotImplementedError):
            from filelock import SoftFileLock

            return acquired(SoftFileLock(folder / ".lock-file", timeout=0))
    except Timeout as error:
        who = "unknown"
        with contextlib.suppress(OSError):
            who = owner_of(folder).read_text(encoding="utf8", errors="backslashreplace")[:200]
        raise EnvironmentFault(f"{folder}: another process is working on this run ({who})") from error
    except OSError as error:
        raise EnvironmentFault(f"{folder}: cannot be locked: {error.strerror or error}") from error


def owner_of(folder: Path) -> Path:
    """The file that says which process works on the run in `folder`."""
    return folder / ".owner"


def acquired(lock: BaseFileLock) -> BaseFileLock:
    """`lock`, once it is held."""
    lock.acquire()
    return lock


def make_exclusively(path: Path) -> Path:
    """Create the folder at `path`, which must not exist."""
    try:
        path.mkdir()
        try:
            flush_folder(path.parent)
        except OSError:
            path.rmdir()
            raise
    except FileExistsError as error:
        kind = "folder" if path.is_dir() else "file"
        raise UsageError(
            f"{path}: this {kind} exists, and a run never overwrites another; choose a new --out, "
            f"or continue a run with --resume {path}"
        ) from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be created: {error.strerror}") from error
    return path


def take_back(path: Path) -> bool:
    """Remove a folder that holds nothing but what processes that were killed while they began a run left there.

    An empty folder stays: another process may have created it just now. Returns whether it was removed.
    """
    if not path.is_dir() or path.is_symlink():
        return False
    with contextlib.suppress(OSError):
        if any(path.iterdir()):
            remove_leftovers(path)
            path.rmdir()  # which fails if anything else is there
            return True
    return False


def name_for(file: Path) -> str:
    """A name for what is trained from a spec or a table: that of the file, without characters unsuited to a folder."""
    stem = TABLE.sub("", file.name) if TABLE.search(file.name) else file.stem
    name = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in stem)
    return name.strip(".-_")[:100] or "run"


def spec_beside(folder: Path) -> Path:
    """The file beside a run's folder with the spec that was written for a table."""
    return folder.with_name(f"{folder.name}.yaml")


def run_number(path: Path, name: str) -> int:
    """The number of a run called `name`, or of the spec beside it; 0 for anything else."""
    prefix, _, number = path.name.removesuffix(".yaml").rpartition("-")
    return int(number) if prefix == name and number.isascii() and number.isdigit() else 0
