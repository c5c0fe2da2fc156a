"""How are the amounts of a column written: with which decimal mark, which mark of thousands and which unit?

One notation holds for a whole column. The first of `MARKS` that reads all its cells is taken: a comma before groups of
exactly three digits is a mark of thousands, and any other comma a decimal mark; a dot is a decimal mark, unless it
stands before groups of three digits in a number that has two dots or a decimal comma.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.spellings import CURRENCY, UNIT

if TYPE_CHECKING:
    import polars as pl

MARKS = ((".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
"""Decimal mark and mark of thousands, in the order in which they are tried."""
_SAMPLE = 2000  # words that are looked at, of many
SPACES = "[\u00a0\u202f\u2009]"
_SIGN = r"[-+\u2212]?"
CELL = (
    rf"^(?P<open>\(?)(?P<first>{_SIGN}) ?(?P<prefix>(?:{CURRENCY})?) ?(?P<second>{_SIGN})"
    rf"(?P<body>[.,]?\d[\d.,' ]*?(?:[eE][-+]?\d+)?) ?(?P<suffix>(?:{UNIT})?)(?P<close>\)?)$"
)


class Notation(NamedTuple):
    """How the amounts of a column are written."""

    decimal: str
    thousands: str
    prefix: str = ""
    suffix: str = ""

    @property
    def pattern(self) -> str:
        """What a number without sign and unit looks like."""
        point, mark = re.escape(self.decimal), re.escape(self.thousands)
        return rf"^(?:(?:[1-9]\d{{0,2}}(?:{mark}\d{{3}})+|\d+)(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?$"

    @property
    def described(self) -> str:
        """What is not plain about it, for a message."""
        unit = self.prefix or self.suffix
        said = ["decimal commas"] * (self.decimal == ",") + [f"the unit {unit}"] * bool(unit)
        return " and ".join(said or ["marks of thousands"])

    def values(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """The number in each cell, NaN where it is not written like this.

        >>> Notation(",", ".", "", "kg").values(["1.234,5 kg", "-2kg", "3 g", "1,5"]).tolist()
        [1234.5, -2.0, nan, nan]
        """
        return self.numbers(taken_apart(cells))

    def numbers(self, parts: pl.DataFrame) -> NDArray[np.float64]:
        """The same for cells that are taken apart."""
        import polars as pl

        body = pl.col("body")
        plain = body.str.replace_all(self.thousands, "", literal=True).str.replace(self.decimal, ".", literal=True)
        fits = body.str.contains(self.pattern) & (pl.col("prefix") == self.prefix) & (pl.col("suffix") == self.suffix)
        number = pl.when(fits).then(plain).cast(pl.Float64, strict=False) * pl.col("sign")
        return np.array(parts.select(number.fill_null(np.nan)).to_series().to_numpy())


def taken_apart(cells: Sequence[str]) -> pl.DataFrame:
    """Sign, unit and number of each cell, null for a cell that is no amount."""
    import polars as pl

    series = pl.Series("cell", cells, dtype=pl.String).str.replace_all(SPACES, " ")
    parts = series.to_frame().select(groups=pl.col("cell").str.extract_groups(CELL)).unnest("groups")
    first, second, opened, closed = (pl.col(name) != "" for name in ("first", "second", "open", "close"))
    sound = (opened == closed) & ~(first & second)
    negative = opened | (pl.col("first") + pl.col("second")).is_in(["-", "\u2212"])
    sign = pl.when(sound).then(pl.when(negative).then(-1.0).otherwise(1.0))
    return parts.select("prefix", "suffix", "body", sign=sign)


def are_amounts(words: Sequence[str]) -> bool:
    """Whether all of `words` look like amounts.

    >>> are_amounts(["1,234", "5 kg", "12.5"]), are_amounts(["5 kg", "much"])
    (True, False)
    """
    parts = taken_apart(words[:: max(1, len(words) // _SAMPLE)])
    return bool(parts["body"].is_not_null().all() and parts["sign"].is_not_null().all())


def find_notation(cells: Sequence[str], more: Sequence[str]) -> Notation:
    """The notation that reads most of `cells`, and among equally good ones most of `more`; the first of `MARKS` then.

    >>> cells = ["1,234", "12,500"]
    >>> find_notation(cells, []).decimal, find_notation([*cells, "0,5"], []).decimal
    ('.', ',')
    """
    parts, others = taken_apart(cells), taken_apart(more)
    counts = parts.drop_nulls().group_by("prefix", "suffix").len().sort("len", "prefix", "suffix", descending=True)
    unit = counts.row(0)[:2] if len(counts) else ("", "")
    notations = [Notation(*marks, *unit) for marks in MARKS]

    def readable(notation: Notation, rows: pl.DataFrame) -> int:
        return int(np.count_nonzero(~np.isnan(notation.numbers(rows))))

    counted = [(readable(notation, parts), notation) for notation in notations]
    best = [notation for count, notation in counted if count == max(counted, key=lambda pair: pair[0])[0]]
    return max(best, key=lambda notation: readable(notation, others)) if len(best) > 1 else best[0]
