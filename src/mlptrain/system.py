"""What differs between operating systems?

Linux and macOS have all of it; Windows lacks some, and some containers forbid it. Every place that needs one of these
asks here, so that a missing one costs its service and nothing else.
"""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""The signals that ask a process to stop, as far as this system has them."""


def memory_size() -> int | None:
    """Bytes of memory of this machine; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, others not these names
        return None


def bound_cores() -> int:
    """How many processors this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def flush_file(handle: int) -> None:
    """Write what the system still holds of an open file to the disk itself.

    `fsync` of macOS stops at the cache of the drive; F_FULLFSYNC goes on, where the file system knows it.
    """
    try:
        import fcntl

        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined]  # macOS alone has it
    except (ImportError, AttributeError, OSError):
        os.fsync(handle)


def flush_folder(folder: Path) -> None:
    """Write the names in `folder` to the disk, where the system lets a folder be opened and flushed."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        if os.name == "nt":  # Windows opens no folders; it writes names by itself
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def can_start_threads() -> bool:
    """Whether one more thread can be started."""
    import threading

    try:
        threading.Thread(target=lambda: None).start()
    except RuntimeError:
        return False
    return True
