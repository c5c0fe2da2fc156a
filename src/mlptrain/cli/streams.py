"""What becomes of text on its way to stdout and stderr?

Every letter is written, whatever the locale; control characters of names and cells are shown as escapes, so that no
file can rename a terminal or hide what follows; what is shown of a message is bounded. A stream that is closed, full or
gone never decides about training: stderr falls silent, and what could not be written to stdout is an error at the end.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import textwrap
from typing import Any, TextIO

LONGEST = 10_000
"""Characters of a message that are shown."""
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # all control characters but tab and newline
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"  # separators of lines, and the marks that turn the direction of text
    "\ud800-\udfff]"  # halves of surrogate pairs
)
SOURCE = re.compile(r" *\d* \| ")
"""How a line of a file begins that a message shows."""


def printable(text: str) -> str:
    r"""`text` with control characters as escapes; tabs and newlines stay.

    >>> printable("a\x1b[2Jb\u202ec")
    'a\\x1b[2Jb\\u202ec'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def shortened(message: str) -> str:
    """`message`, of which the middle is left out if it is very long."""
    if len(message) <= LONGEST:
        return message
    half = LONGEST // 2
    return f"{message[:half]} ... ({len(message) - LONGEST} characters are left out) ... {message[-half:]}"


def between_words(text: str, width: int) -> str:
    """`text` with lines that end between words.

    A command to paste has a line of its own where there is no room behind what is said of it. A line of a file stays as
    it is, and so does what points into it.
    """
    return "\n".join(part for line in text.splitlines() for part in parts_of(line, width))


def parts_of(line: str, width: int) -> list[str]:
    """One line of a message, as lines of at most `width`."""
    if SOURCE.match(line) or len(line) <= width:
        return [line]
    said, found, command = line.rpartition(": mlptrain ")
    return [*wrapped(f"{said}:", width, ""), f"mlptrain {command}"] if found else wrapped(line, width, "")


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """Text in lines that end between words; all but the first begin with `indent`."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


class SilentWhenBroken(io.TextIOBase):
    """A stream that is discarded, instead of raising an error, from the first write that fails."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._silenced():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._silenced():
            self._stream.flush()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io.TextIOBase declares an attribute
        return self._stream.encoding

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.isatty()
        return False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _silenced(self) -> Any:
        try:
            yield
        except (OSError, ValueError):  # ValueError: the file is closed
            silence(self._stream)


def silence(stream: TextIO) -> None:
    """Redirect `stream` to the null device; what it still holds is lost."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def prepare_streams() -> None:
    """Let the streams of this process take every letter, and stderr fail in silence."""
    replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="backslashreplace")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr = SilentWhenBroken(sys.stderr)


def replace_closed_streams() -> None:
    """Replace streams that the caller has closed, as in `mlptrain ... >&-`, by the null device."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115  # a stream, open until the end


def flushed() -> bool:
    """Whether all that was written to stdout has arrived, or its reader wanted no more of it."""
    for stream in (sys.stderr, sys.stdout):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)
        except (OSError, ValueError) as error:
            silence(stream)
            text = f"mlptrain: the results cannot be written to stdout: {getattr(error, 'strerror', None) or error}\n"
            sys.stderr.write(text)
            return False
    return True
