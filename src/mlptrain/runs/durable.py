"""How is a file written atomically, so that a crash leaves the old content or the new one?"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from mlptrain.errors import EnvironmentFault
from mlptrain.system import flush_file, flush_folder, is_running

MARK = ".tmp-"
"""Before the number of the process in the name of a temporary file."""


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files in `folder` of processes that no longer exist; they were killed while writing."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f".*{MARK}*"):
            number = path.name.rpartition(MARK)[2]
            if number.isascii() and number.isdigit() and not is_running(int(number)):
                with contextlib.suppress(OSError):
                    path.unlink()


def write_durably(path: Path, content: bytes) -> None:
    """Replace the content of the file at `path` atomically by `content`.

    A temporary file in the same folder is written, flushed to the disk and its size checked; then it is renamed to
    `path`, and the folder is flushed too. A failure or an interrupt leaves the old file unchanged and removes the
    temporary one.
    """
    if not path.name or path.is_dir():
        raise EnvironmentFault(f"{path}: cannot be written: it is a folder")
    temporary = path.with_name(f".{path.name}{MARK}{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            flush_file(file.fileno())
        if temporary.stat().st_size != len(content):
            raise OSError(errno.EIO, "the file is shorter than what was written")
        os.replace(temporary, path)  # noqa: PTH105  # the atomic operation
        flush_folder(path.parent)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror} ({len(content)} bytes)") from error
    finally:
        with contextlib.suppress(OSError):  # it no longer exists if it was renamed
            temporary.unlink()
