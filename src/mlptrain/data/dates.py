"""How are the dates of a column spelled, and which moments do they name?

A moment is the number of seconds since the start of 1970 by the clock on the wall: an offset from UTC is ignored, as
the hour of the day is what a column tells. A time of day alone is a moment of the first day.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

DAY = 86400.0
CLOCK = "hh:mm"
"""The spelling of a time of day alone."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?\s*(?:(?P<half>[aApP])\.?[mM]\.?)?"
    r"\s*(?:Z|UTC|GMT|[-+]\d{2}(?::?\d{2})?)?"
)
_PARTS = {
    "YYYY": r"(?P<year>\d{4})",
    "YY": r"(?P<year>\d{2})",
    "MM": r"(?P<month>\d{1,2})",
    "MON": rf"(?P<name>(?i:{'|'.join(MONTHS)}))[A-Za-z]*",
    "DD": r"(?P<day>\d{1,2})(?:st|nd|rd|th)?",
}
_NUMERIC = ("YYYY MM DD", "DD MM YYYY", "MM DD YYYY", "DD MM YY", "MM DD YY")
_NAMED = ("DD MON YYYY", "MON DD YYYY", "YYYY MON DD", "DD MON YY", "MON DD YY")
SPELLINGS = (*(form.replace(" ", mark) for form, mark in product(_NUMERIC, "-/.")), *_NAMED, CLOCK)
"""Every spelling of dates that is read, each with or without a time after it."""
PIVOT = 69  # years of two digits from here on are of the last century
_SAMPLE = 200  # cells that decide which spellings are tried on all


@cache
def pattern(spelling: str) -> str:
    """The regular expression of a spelling."""
    if spelling == CLOCK:
        return f"^{_TIME}$"
    marks = {"-": "-", "/": "/", ".": r"\.", " ": "[-/., ]*"}
    date = "".join(_PARTS.get(part) or marks[part] for part in re.split(r"([-/. ])", spelling))
    if spelling.startswith("MON"):  # day and year are apart: 'Mar 2024' is no day
        date = date.replace("(?:st|nd|rd|th)?[-/., ]*", "(?:st|nd|rd|th)?[-/., ]+")
    return f"^{date}(?:[T ,]+{_TIME})?$"


def swapped(spelling: str) -> str | None:
    """The spelling that has day and month the other way round; None if they cannot be confused."""
    if "MON" in spelling or spelling[:4] == "YYYY" or spelling == CLOCK:
        return None
    return spelling.translate(str.maketrans("DM", "MD"))


def moments(cells: pl.Series, spelling: str) -> NDArray[np.float64]:
    """The moment of each cell, NaN where it is not spelled like that or names no day.

    >>> import polars as pl
    >>> moments(pl.Series(["02.01.1970", "1.1.1970 00:01", "31.02.1970", "1970-01-01"]), "DD.MM.YYYY").tolist()
    [86400.0, 60.0, nan, nan]
    """
    import polars as pl

    fields = cells.to_frame("cell").select(groups=pl.col("cell").str.extract_groups(pattern(spelling))).unnest("groups")
    read = {
        "name": pl.col("^name$").str.to_lowercase().cast(pl.Enum(MONTHS), strict=False).to_physical() + 1,
        "half": pl.col("half")
        .str.to_lowercase()
        .replace_strict({"a": 0, "p": 12}, default=None, return_dtype=pl.Float64),
    }
    digits = pl.exclude(*read).str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    numbers = fields.select(digits, *read.values()).select(pl.all().cast(pl.Float64).fill_null(np.nan))
    found = {name: np.asarray(numbers[name].to_numpy()) for name in numbers.columns}
    time = time_of_day(found)
    return time if spelling == CLOCK else days(found) * DAY + np.where(np.isnan(found["hour"]), 0.0, time)


def time_of_day(found: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Seconds since midnight; NaN for a time that no clock shows."""
    hour, minute, second, half = found["hour"], found["minute"], np.nan_to_num(found["second"]), found["half"]
    halved = ~np.isnan(half)
    valid = (hour < 24) & (minute < 60) & (second < 61) & ~(halved & ((hour < 1) | (hour > 12)))
    hour = np.where(halved, hour % 12 + half, hour)
    return np.where(valid, hour * 3600 + minute * 60 + second, np.nan)


def days(found: dict[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Days since the start of 1970; NaN for a day that is not in the calendar."""
    year, month, day = found["year"], found.get("month", found.get("name", np.zeros(0))), found["day"]
    valid = ~np.isnan(year) & (month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)
    year, month, day = (np.where(valid, values, 1) for values in (year, month, day))
    year = np.where(year < 100, year + np.where(year < PIVOT, 2000, 1900), year)
    start = ((year - 1970) * 12 + month - 1).astype(np.int64).astype("M8[M]")
    found_days = start.astype("M8[D]") + (day - 1).astype(np.int64).astype("m8[D]")
    valid &= found_days.astype("M8[M]") == start
    return np.where(valid, found_days.astype(np.float64), np.nan)


def best_spellings(cells: pl.Series) -> list[str]:
    """The spellings in which most of the distinct `cells` can be read; several if they are equally good, none if none.

    >>> import polars as pl
    >>> best_spellings(pl.Series(["1/2/2024", "3/4/2024"])), best_spellings(pl.Series(["1/2/2024", "13/4/2024"]))
    (['DD/MM/YYYY', 'MM/DD/YYYY'], ['DD/MM/YYYY'])
    """
    some = cells.gather_every(max(1, len(cells) // _SAMPLE))
    likely = [spelling for spelling in SPELLINGS if any(map(re.compile(pattern(spelling)).match, some))]
    counts = {spelling: readable(cells, spelling) for spelling in likely}
    return [spelling for spelling, count in counts.items() if count == max(counts.values()) > 0]


def readable(cells: pl.Series, spelling: str) -> int:
    """How many of `cells` are spelled like that."""
    return int(np.count_nonzero(~np.isnan(moments(cells, spelling))))


def are_times(words: Sequence[str]) -> bool:
    """Whether all of `words` are times of day: 9:30, 23:15:59."""
    import polars as pl

    return bool(words) and ":" in words[0] and readable(pl.Series(words, dtype=pl.String), CLOCK) == len(words)
