"""What does the comment at the beginning of a lesson's spec say?

# Lesson 5a: plain gradient descent in a ravine.
#
#   mlptrain lesson 5a
#
# Paragraphs; an indented line is a command.
#
# Look at: ...
# You should see: ...
#
# Try:
#   --set optimizer.learning_rate=0.5    what it does,
#                                        on several lines
# A last remark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

STARTS = ("Look at:", "You should see:", "Then ")
"""What begins a paragraph of its own."""
_TRY = re.compile(r"  (--set .*?)  +(\S.*)")


class Change(NamedTuple):
    """A change to try."""

    options: str
    """As on the command line: --set a.b=c --set d=e"""
    effect: str


class Header(NamedTuple):
    """What a lesson says about itself."""

    title: str
    """Without the number and the full stop."""
    paragraphs: tuple[str, ...]
    """Each on one line; a command begins with two spaces."""
    changes: tuple[Change, ...]
    remark: str


def parse_header(text: str) -> Header:
    """The header of a spec."""
    lines = [line[2:].rstrip() for line in comment_lines(text)]
    place = lines.index("Try:") if "Try:" in lines else len(lines)
    title, _, *body = lines[:place]
    changes, remark = parse_changes(lines[place + 1 :])
    return Header(title.partition(": ")[2].rstrip("."), tuple(paragraphs(body)), changes, remark)


def comment_lines(text: str) -> Iterator[str]:
    """The lines of the comment at the beginning."""
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


def paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """The paragraphs after the title and the lesson's own command, which is the first indented line."""
    number, own_command = 0, True
    keyed = []
    for line in lines:
        number += not line or line.startswith(("  ", *STARTS))
        if line.startswith("  ") and own_command:
            own_command = False
        elif line:
            keyed.append((number, line))
    for _, group in groupby(keyed, key=lambda pair: pair[0]):
        yield " ".join(line for _, line in group)


def parse_changes(lines: Iterable[str]) -> tuple[tuple[Change, ...], str]:
    """The changes to try, and the remark after them."""
    changes: list[Change] = []
    remark = []
    for line in lines:
        if found := _TRY.fullmatch(line):
            changes.append(Change(found[1], found[2]))
        elif line.startswith("  "):
            changes[-1] = Change(changes[-1].options, f"{changes[-1].effect} {line.strip()}")
        else:
            remark.append(line)
    return tuple(changes), " ".join(remark)
