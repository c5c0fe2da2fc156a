"""Which columns of a table fit into the terminal? None is cut: where there is no room, the less important ones go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

GAP = 2
_PARTS = re.compile(r"[^\s_./-]*[\s_./-]+|[^\s_./-]+")


class Shown(NamedTuple):
    """A column of a table for the eye."""

    heading: str
    cells: Sequence[str]
    right: bool = False
    """Whether its cells are numbers."""
    rank: int = 0
    """Which columns stay where there is no room for all: the lowest ranks."""

    @property
    def width(self) -> int:
        """The width of its widest cell."""
        return max(cell_len(text) for text in (self.heading, *self.cells))


def fitting_table(columns: Sequence[Shown], width: int, styles: Sequence[str] = ()) -> Table:
    """A table of the columns that fit into `width`; the cells of the first one may take several lines.

    A name that is too long is broken between its words and after `_`, `-`, `.` or `/`. `styles` are those of the rows,
    if some differ.
    """
    first, *others = columns
    widest = max(12, width // 3) if others else width
    left = width - min(first.width, widest)
    kept: set[int] = set()
    for column in sorted(others, key=lambda one: one.rank):
        if column.width + GAP <= left:
            left -= column.width + GAP
            kept.add(id(column))
    shown = [first, *(column for column in others if id(column) in kept)]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for i, column in enumerate(shown):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(Text(column.heading), justify=justify, no_wrap=bool(i), overflow="fold")
    names = [in_lines(name, min(first.width, widest + left)) for name in first.cells]
    for i, cells in enumerate(zip(names, *(column.cells for column in shown[1:]), strict=True)):
        table.add_row(*map(Text, cells), style=styles[i] if styles else None)
    return table


def in_lines(name: str, width: int) -> str:
    """`name` in lines of at most `width`, broken within a word only where a part of it is longer than that.

    >>> in_lines("optimizer.learning_rate of the run", 12).splitlines()
    ['optimizer.', 'learning_', 'rate of the', 'run']
    """
    lines = [""]
    for part in _PARTS.findall(name):
        for piece in part if cell_len(part.rstrip()) > width else [part]:
            if lines[-1] and cell_len(lines[-1] + piece.rstrip()) > width:
                lines.append("")
            lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def bytes_text(size: float) -> str:
    """A number of bytes for the eye: 512 B, 1.2 KB, 34 MB.

    >>> bytes_text(512), bytes_text(1234), bytes_text(34_000_000)
    ('512 B', '1.2 KB', '34 MB')
    """
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.1f} {unit}" if size < 10 and unit != "B" else f"{size:.0f} {unit}"
        size /= 1000
    return ""
