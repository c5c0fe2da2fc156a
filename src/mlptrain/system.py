"""Which functions differ between operating systems?

Linux and macOS have all of them; Windows lacks some, and some containers forbid them. They are used only through this
module, which has a fallback for each.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)
"""The signals that ask a process to stop, as far as they exist on this system."""


INTERRUPTS: list[int] = []
"""Every SIGINT since `note_interrupts`: a library may have made another error of it, or nothing at all."""


def note_interrupts() -> bool:
    """Note each SIGINT, which raises `KeyboardInterrupt` as usual; returns whether this is the one that began to."""

    def note(number: int, frame: FrameType | None) -> None:
        INTERRUPTS.append(number)
        raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        return False
    signal.signal(signal.SIGINT, note)
    return True


MEMORY_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def memory_size() -> int | None:
    """The memory in bytes that this process may have: of the machine, its container, or its limit; None if unknown."""
    known = [size for size in (physical_memory(), container_memory(), address_space()) if size is not None]
    return min(known, default=None)


def physical_memory() -> int | None:
    """The memory of this machine in bytes; None if it is unknown."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf, other systems may lack these names
        return None


def container_memory() -> int | None:
    """The memory in bytes that a Linux container is granted; None without a limit."""
    try:
        return int(MEMORY_OF_CONTAINER.read_text(encoding="ascii"))
    except (OSError, ValueError):  # ValueError: 'max'
        return None


def address_space() -> int | None:
    """The limit of this process on memory in bytes (ulimit -v); None without one."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def free_space(folder: Path) -> int | None:
    """The bytes that this user may still write to the disk of `folder`; None if that is unknown."""
    try:
        found = os.statvfs(folder)
    except (AttributeError, OSError):  # Windows has no statvfs
        return None
    return found.f_bavail * found.f_frsize


def peak_memory() -> int | None:
    """The most memory in bytes that this process has had so far; None if it is unknown."""
    try:
        import resource
    except ImportError:  # Windows has no such module
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_waiting(handle: int) -> bool:
    """Whether reading from an open file returns at once; False if that is unknown."""
    try:
        return bool(select.select([handle], [], [], 0)[0])
    except (OSError, ValueError):  # on Windows, only sockets can be asked
        return False


@contextmanager
def heeding_signals() -> Iterator[Callable[[int], None]]:
    """Yields a function that waits until an open file can be read, and that no signal can come too early for.

    A signal that comes just before a blocking read is noted by Python, but the read does not return. With it, a pipe
    is written to, which is waited for too. For the main thread.
    """
    if sys.platform == "win32":  # where only sockets can be waited for
        yield lambda handle: None
        return
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        before = signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
    except ValueError:  # another thread
        yield lambda handle: None
    else:
        try:
            yield lambda handle: wait_for(handle, ours)
        finally:
            signal.set_wakeup_fd(before)
    finally:
        os.close(ours)
        os.close(theirs)


def wait_for(handle: int, wake: int) -> None:
    """Wait until an open file can be read; bytes in `wake` are signals, whose handlers run between two waits."""
    while handle not in select.select([handle, wake], [], [])[0]:
        os.read(wake, 4096)


def bound_cores() -> int:
    """Number of processors that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def flush_file(handle: int) -> None:
    """Flush an open file to the disk itself.

    On macOS `fsync` stops at the cache of the drive; F_FULLFSYNC does not, if the file system supports it.
    """
    try:
        import fcntl

        fcntl.fcntl(handle, fcntl.F_FULLFSYNC)  # type: ignore[attr-defined]  # only on macOS
    except (ImportError, AttributeError, OSError):
        os.fsync(handle)


def flush_folder(folder: Path) -> None:
    """Flush the names in `folder` to the disk, if the system supports it."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:
        if os.name == "nt":  # Windows cannot open folders; it flushes names itself
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def is_running(process: int) -> bool:
    """Whether there is a process with this number; True where that cannot be known."""
    if os.name == "nt":  # there, os.kill ends a process whatever the signal
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def can_start_threads() -> bool:
    """Whether one more thread can be started."""
    import threading

    try:
        threading.Thread(target=lambda: None).start()
    except RuntimeError:
        return False
    return True
