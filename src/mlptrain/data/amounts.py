"""How are the amounts of a column written: with which decimal mark, which mark of thousands and which unit?

One notation holds for a whole column. The first of `MARKS` that reads all its cells is taken: a comma before groups of
exactly three digits is a mark of thousands, and any other comma a decimal mark; a dot is a decimal mark, unless it
stands before groups of three digits in a number that has two dots or a decimal comma.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.spellings import CURRENCY, UNIT

MARKS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""Decimal mark and mark of thousands, in the order in which they are tried."""
_SAMPLE = 20_000  # words that decide on the notation
_SPACES = re.compile("[\u00a0\u202f\u2009]")
_SIGN = r"[-+\u2212]?"
_CELL = re.compile(
    rf"(?P<open>\()?(?P<first>{_SIGN}) ?(?P<prefix>{CURRENCY})? ?(?P<second>{_SIGN})"
    rf"(?P<body>[.,]?\d[\d.,' ]*?(?:[eE][-+]?\d+)?) ?(?P<suffix>{UNIT})?(?P<close>\))?"
)


@dataclass(frozen=True)
class Parts:
    """A cell, taken apart."""

    negative: bool
    unit: tuple[str, str]
    """What stands before the number and after it."""
    body: str


@dataclass(frozen=True)
class Notation:
    """How the amounts of a column are written."""

    decimal: str
    thousands: str
    prefix: str = ""
    suffix: str = ""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What a number without sign and unit looks like."""
        point, mark = re.escape(self.decimal), re.escape(self.thousands)
        return re.compile(
            rf"([1-9]\d{{0,2}}({mark}\d{{3}})+|\d+)({point}\d*)?([eE][-+]?\d+)?|{point}\d+([eE][-+]?\d+)?"
        )

    def value(self, parts: Parts | None) -> float:
        """The number that a cell holds, NaN if it is not written like this."""
        if parts is None or parts.unit != (self.prefix, self.suffix) or not self.pattern.fullmatch(parts.body):
            return np.nan
        number = float(parts.body.replace(self.thousands, "").replace(self.decimal, "."))
        return -number if parts.negative else number

    def values(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """The number in each cell, NaN where it is not written like this.

        >>> Notation(",", ".", "", "kg").values(["1.234,5 kg", "-2kg", "3 g", "1,5"]).tolist()
        [1234.5, -2.0, nan, nan]
        """
        return np.array([self.value(taken_apart(cell)) for cell in cells])


def taken_apart(cell: str) -> Parts | None:
    """Sign, unit and number of a cell; None if it is no amount."""
    match = _CELL.fullmatch(_SPACES.sub(" ", cell))
    if match is None or bool(match["open"]) != bool(match["close"]) or (match["first"] and match["second"]):
        return None
    negative = bool(match["open"]) or (match["first"] or match["second"]) in ("-", "\u2212")
    return Parts(negative, (match["prefix"] or "", match["suffix"] or ""), match["body"])


def sampled(words: Sequence[str]) -> Sequence[str]:
    """Some of many words, evenly."""
    return words[:: max(1, len(words) // _SAMPLE)]


def find_notation(cells: Sequence[str], more: Sequence[str]) -> Notation:
    """The notation that reads most of `cells`, and among equally good ones most of `more`; the first of `MARKS` then.

    >>> cells = ["1,234", "12,500"]
    >>> find_notation(cells, []).decimal, find_notation([*cells, "0,5"], []).decimal
    ('.', ',')
    """
    found, others = ([part for part in map(taken_apart, sampled(words)) if part] for words in (cells, more))
    units = Counter(part.unit for part in found)
    unit = max(units, key=lambda key: units[key]) if units else ("", "")
    notations = [Notation(*marks, *unit) for marks in MARKS]

    def read(notation: Notation, parts: Sequence[Parts]) -> int:
        return sum(not np.isnan(notation.value(part)) for part in parts)

    return max(notations, key=lambda notation: (read(notation, found), read(notation, others)))
