"""mlptrain predict --stream: an answer for each line of stdin, as soon as nothing more is waiting."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mlptrain.cli.console import print_piece, stderr_console
from mlptrain.errors import DataError, EnvironmentFault
from mlptrain.serving.answers import Answerer
from mlptrain.serving.lines import Stream
from mlptrain.system import heeding_signals, is_waiting

_PIECE = 1 << 18
"""Bytes that are read and answered at a time, if so many are waiting."""


def run(answerer: Answerer, data: Path, keep: Sequence[str], quiet: bool) -> None:
    """Answer the lines of the file at `data`, or of stdin for `-`; `keep` are columns to copy."""
    stream, name = Stream(answerer, keep), answerer.name
    console = stderr_console(quiet)
    with pieces(data) as read, answerer.ready():
        if str(data) == "-" and sys.stdin.isatty():
            console.print("rows as lines: JSON objects, or a CSV with its header first; Ctrl-D ends")
        while piece := read():
            if not print_piece(stream.feed(piece)):
                return
        if not print_piece(stream.end()):
            return
    answered, refused, first = stream.counts
    if refused:
        raise DataError(f"{name}: {refused:,} of {answered + refused:,} rows have no answer; {first}")


@contextmanager
def pieces(path: Path) -> Iterator[Callable[[], bytes]]:
    """Reads what is waiting in the file at `path`, or in stdin for `-`; waits if nothing is. Empty at the end."""
    with heeding_signals() as wait:
        if str(path) == "-":
            yield pieces_of_stdin(wait)
            return
        try:
            with path.open("rb", buffering=0) as file:
                yield lambda: waiting(file.fileno(), wait)
        except FileNotFoundError as error:
            raise DataError(f"{path}: no such file") from error
        except OSError as error:
            raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error


def pieces_of_stdin(wait: Callable[[int], None]) -> Callable[[], bytes]:
    """Reads what is waiting in stdin."""
    try:
        number = sys.stdin.fileno()
    except io.UnsupportedOperation:  # a stream of this process
        return lambda: sys.stdin.buffer.read(_PIECE)
    return lambda: waiting(number, wait)


def waiting(number: int, wait: Callable[[int], None]) -> bytes:
    """The bytes that wait in a file descriptor, at most a piece; waits for the first."""
    wait(number)
    found = [os.read(number, _PIECE)]
    size = len(found[0])
    while found[-1] and size < _PIECE and is_waiting(number):
        found.append(os.read(number, _PIECE - size))
        size += len(found[-1])
    return b"".join(found)
