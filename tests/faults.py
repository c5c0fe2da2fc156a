"""How do the tests let a call of the operating system fail: the Nth that touches a folder, with any error?"""

from __future__ import annotations

import builtins
import errno
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

SHORT = 0
"""In place of an error: the call writes only half of what it was given, as a signal or a full quota can make it do."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EXDEV, errno.EDQUOT, errno.EINTR, errno.ESTALE, SHORT)
CALLS = ("stat", "lstat", "open", "mkdir", "rmdir", "unlink", "replace", "listdir", "scandir", "fsync", "statvfs")


class Killed(BaseException):
    """The process is dead: whatever it still tries is not done."""


def error_name(number: int) -> str:
    """ENOSPC for 28; SHORT for a short write."""
    return errno.errorcode.get(number, "SHORT")


@dataclass
class Faults:
    """Counts the calls that touch a folder, and lets one of them fail."""

    folder: Path
    number: int = 0
    """The call that fails, counted from 1; 0 for none."""
    error: int = errno.EIO
    deadly: bool = False
    """Whether the call does not fail, but is the last one that is tried: it and all after it are not done."""
    calls: list[str] = field(default_factory=list)
    """Each call so far: 'replace run/model.safetensors'."""
    unflushed: set[str] = field(default_factory=set)
    """The files with content that is not on the disk yet."""

    def tick(self, call: str, target: object) -> bool:
        """Count a call; raise the error if it is the one that fails, or return True if it is to write less."""
        path = self.path_of(target)
        if path is None:
            return False
        self.calls.append(f"{call} {path}")
        if self.deadly and len(self.calls) >= self.number:
            raise Killed
        if len(self.calls) != self.number:
            self.note(call, path)
            return False
        if self.error == SHORT:
            return call == "write"
        raise OSError(self.error, os.strerror(self.error), str(target) if isinstance(target, str | Path) else None)

    def note(self, call: str, path: str) -> None:
        """Remember what is flushed and what is not."""
        if call == "write":
            self.unflushed.add(path)
        elif call == "fsync":
            self.unflushed.discard(path)

    def lose_what_was_not_flushed(self) -> None:
        """Leave of each file that was not flushed no more than its first byte, as a loss of power may do."""
        for name in self.unflushed:
            path = self.folder / name
            if path.is_file():
                os.truncate(path, min(1, path.stat().st_size))

    def path_of(self, target: object) -> str | None:
        """The path of a name or of an open file, relative to the folder; None outside of it."""
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")  # noqa: PTH115
            except OSError:
                return None
        if not isinstance(target, str | os.PathLike):
            return None
        path = os.path.join(self.folder, os.fspath(target))  # noqa: PTH118  # no call of the system is made
        inside = os.path.normpath(path).startswith(f"{self.folder}{os.sep}")
        return os.path.relpath(path, self.folder) if inside else None


class Raw(io.FileIO):
    """A file whose reads and writes are counted."""

    faults: Faults

    def write(self, data: Any, /) -> int:
        if self.faults.tick("write", self.fileno()):
            return super().write(memoryview(data)[: max(1, len(data) // 2)]) or 0
        return super().write(data) or 0

    def readinto(self, buffer: Any, /) -> int | None:
        self.faults.tick("read", self.fileno())
        return super().readinto(buffer)

    def readall(self) -> bytes:
        self.faults.tick("read", self.fileno())
        return super().readall() or b""


@contextmanager
def failing(faults: Faults) -> Iterator[Faults]:
    """Let the calls of this process go through `faults`."""
    usual = io.open

    def opened(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if faults.path_of(file) is None:
            return usual(file, mode, *rest, **more)
        faults.tick("open", file)
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        raw.faults = faults
        buffer: Any = io.BufferedReader(raw) if raw.readable() else io.BufferedWriter(raw)
        if "b" in mode:
            return buffer
        arguments = dict(zip(("buffering", "encoding", "errors", "newline"), rest, strict=False)) | more
        arguments.pop("buffering", None)
        return io.TextIOWrapper(buffer, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        for name in CALLS:
            patch.setattr(os, name, counted(faults, name, getattr(os, name)))
        patch.setattr(fcntl, "flock", locked(faults, fcntl.flock))
        yield faults


def locked(faults: Faults, usual: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """`flock`, which counts itself where it locks; a lock ends with its process anyway."""

    def call(handle: int, operation: int) -> None:
        if not operation & fcntl.LOCK_UN:
            faults.tick("flock", handle)
        usual(handle, operation)

    return call


def counted(faults: Faults, name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
    """`usual`, which counts itself."""

    def call(*arguments: Any, **more: Any) -> Any:
        faults.tick(name, arguments[-1] if name == "replace" else arguments[0] if arguments else ".")
        return usual(*arguments, **more)

    return call
