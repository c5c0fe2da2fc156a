"""What does a column hold: numbers, categories or pixels?

A column of text is numeric when every cell that is not missing reads as a number, categorical when none does. A mixture
is never guessed at: it is refused with the rows in question and the line to write for either reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.tables import Table, is_number
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Indices

if TYPE_CHECKING:
    import polars as pl

_DATE = re.compile(r"(\d{4}([-/.])\d{1,2}\2\d{1,2}|\d{1,2}([-/.])\d{1,2}\3\d{4})([T ]\d{1,2}:\d{2}.*)?")
_COMMA_NUMBER = re.compile(r"[-+]?(\d+,\d+|\d{1,3}(,\d{3})+(\.\d+)?|\d{1,3}(\.\d{3})+,\d+)")


@dataclass(frozen=True)
class NumericColumn:
    """Numbers, NaN where missing; a block from an array file has more than one to a row."""

    name: str
    source: NDArray[Any] | pl.Series
    """An array (rows,) or (rows, width), or the series that polars made, which may be in many pieces: to keep those of
    a whole table joined would take as much memory again."""
    missing: int
    """How many values are missing."""

    @property
    def width(self) -> int:
        """How many values a row has."""
        return int(self.span(slice(1)).shape[1])

    @property
    def values(self) -> NDArray[np.float64]:
        """(rows, width); pieces are joined each time."""
        return matrix(self.source)

    def span(self, rows: slice) -> NDArray[np.float64]:
        """The values (n, width) of a span of rows."""
        return matrix(self.source[rows])


def matrix(source: Any) -> NDArray[np.float64]:
    """The numbers (rows, width) of an array or a series, NaN where missing."""
    if not isinstance(source, np.ndarray):
        import polars as pl

        source = source.cast(pl.Float64).to_numpy()
    return np.asarray(source, dtype=np.float64).reshape(len(source), -1)


@dataclass(frozen=True)
class PixelColumn:
    """A block of bytes, kept as bytes."""

    name: str
    values: NDArray[np.uint8]
    """(rows, width)"""


@dataclass(frozen=True)
class TextColumn:
    """Categories, by their number in a sorted list; -1 where missing."""

    name: str
    categories: tuple[str, ...]
    codes: NDArray[np.int64]
    """(rows,)"""

    @property
    def missing(self) -> int:
        """How many cells are missing."""
        return int((self.codes < 0).sum())

    def seen(self, rows: Indices) -> list[str]:
        """The categories of `rows`, in the order of the list."""
        codes = self.codes[rows]
        counts = np.bincount(codes[codes >= 0])  # not np.unique, which loads numpy.ma
        return [self.categories[code] for code in np.flatnonzero(counts)]


Column = NumericColumn | PixelColumn | TextColumn


def interpret(table: Table, name: str, missing: Sequence[str]) -> Column:
    """The column `name` as what it looks like; `missing` are the words that stand for no value."""
    raw = table.column(name)
    if isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.ndim == 2:
        return PixelColumn(name, raw)
    if not is_text(raw, name, table.path):
        return as_numeric(table, name, missing)
    numbers, wrong = parse_numbers(raw, missing)
    if not wrong.any():
        return finite(name, numbers, table.path)
    column = as_text(table, name, missing)
    if wrong.sum() < len(wrong) - column.missing:
        raise DataError(mixed_message(table, name, raw, wrong))
    refuse_unreadable(column, table.path)
    return column


def refuse_unreadable(column: TextColumn, origin: str) -> None:
    """Refuse text that is meant as numbers or dates, which would make a category of every value."""
    example = f"such as '{column.categories[0]}'"
    if all(_COMMA_NUMBER.fullmatch(category) for category in column.categories):
        raise DataError(
            f"{origin}: column '{column.name}' holds numbers with commas, {example}; write them with a decimal "
            "point and no thousands separator"
        )
    if all(_DATE.fullmatch(category) for category in column.categories):
        raise DataError(
            f"{origin}: column '{column.name}' holds dates, {example}; write what counts of them as numbers (the "
            f"month, the days since the first), leave them out with data: {{exclude: [{column.name}]}}, or make each "
            f"date a category with data: {{categorical: {{columns: [{column.name}]}}}}"
        )


def as_numeric(table: Table, name: str, missing: Sequence[str]) -> NumericColumn:
    """The column `name` as numbers; a cell that is none, or an infinite one, is an error with its row."""
    raw = table.column(name)
    if is_text(raw, name, table.path):
        values, wrong = parse_numbers(raw, missing)
        if wrong.any():
            raise DataError(f"{table.path}: column '{name}' must be numeric, but {cells(raw, wrong)}")
        return finite(name, values, table.path)
    return finite(name, without_missing(raw, missing), table.path)


def without_missing(source: Any, missing: Sequence[str]) -> Any:
    """A numeric `source`, NaN where it equals a number among the words in `missing`."""
    numbers = [float(word) for word in missing if is_number(word) and word.lower() != "nan"]
    if not numbers:
        return source
    values = matrix(source)
    return np.where(np.isin(values, numbers), np.nan, values)


def finite(name: str, source: Any, origin: str) -> NumericColumn:
    """A numeric column, unless it holds infinite values."""
    values = matrix(source)
    if np.isfinite(values).all():
        return NumericColumn(name, source, 0)
    infinite = np.isinf(values)
    if infinite.any():
        rows = np.flatnonzero(infinite.any(axis=1))
        raise DataError(f"{origin}: column '{name}' holds infinite values in {row_list(rows)}")
    return NumericColumn(name, source, int(np.count_nonzero(np.isnan(values))))


def as_text(table: Table, name: str, missing: Sequence[str]) -> TextColumn:
    """The column `name` as categories; numbers become their text."""
    import polars as pl

    raw = table.column(name)
    is_text(raw, name, table.path)
    series = pl.Series(name, raw) if isinstance(raw, np.ndarray) else raw
    if series.dtype != pl.String:
        series = series.fill_nan(None) if series.dtype.is_float() else series
        whole = series.dtype.is_float() and bool((series == series.round()).all())
        series = (series.cast(pl.Int64) if whole else series).cast(pl.String)
    cells = series.drop_nulls().unique()  # the long column is looked at as rarely as can be: each cell once
    words = cells.str.strip_chars()
    categories = words.filter(~words.is_in(list(missing))).unique().sort()
    lookup = np.append(places(words, categories), -1)
    return TextColumn(name, tuple(categories), lookup[places(series, cells)])


def places(series: pl.Series, words: pl.Series) -> NDArray[np.int64]:
    """Where each cell of a `series` of text stands in the list of different `words`; -1 where it does not."""
    import polars as pl

    found = series.cast(pl.Enum(words), strict=False).to_physical()
    return np.asarray(found.cast(pl.Int64).fill_null(-1).to_numpy(), dtype=np.int64)


def as_pixels(table: Table, name: str) -> PixelColumn:
    """The column `name` as a block of bytes."""
    raw = table.column(name)
    if not (isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.ndim == 2):
        raise DataError(f"{table.path}: column '{name}' must be a block of bytes (pixels)")
    return PixelColumn(name, raw)


def is_text(raw: Any, name: str, origin: str) -> bool:
    """Whether a raw column holds text (or yes-no values, which are treated as text) rather than numbers."""
    if isinstance(raw, np.ndarray):
        if raw.dtype.kind in "fiu" and not (raw.dtype.kind == "f" and raw.dtype.itemsize > 8):
            return False
        if raw.dtype.kind in "Ub" and raw.ndim == 1:
            return True
        raise DataError(f"{origin}: '{name}' is an array of {raw.dtype}, which is neither numbers nor a column of text")
    import polars as pl

    if raw.dtype.is_numeric():
        return False
    if raw.dtype in (pl.String, pl.Boolean, pl.Categorical) or isinstance(raw.dtype, pl.Enum):
        return True
    raise DataError(
        f"{origin}: column '{name}' is of type {raw.dtype}; numbers and text are understood: leave "
        "it out with data.exclude"
    )


def parse_numbers(raw: Any, missing: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A text column as numbers, NaN where missing, and which cells are neither a number nor missing."""
    import polars as pl

    series = (pl.Series(raw) if isinstance(raw, np.ndarray) else raw).cast(pl.String)
    numbers = series.cast(pl.Float64, strict=False)
    if numbers.null_count() > series.null_count():
        series = series.str.strip_chars()
        series = series.set(series.is_in(list(missing)).fill_null(False), None)
        numbers = series.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & series.is_not_null()
    return without_missing(numbers.to_numpy(), missing), wrong.to_numpy()


def mixed_message(table: Table, name: str, raw: Any, wrong: NDArray[np.bool_]) -> str:
    """Why a column that is partly numbers is refused, and the line to write for each reading."""
    example = cell(raw, int(np.flatnonzero(wrong)[0]))
    return (
        f"{table.path}: column '{name}' holds numbers, but {cells(raw, wrong)}. Mend the table, or say what is meant: "
        f"data: {{missing_values: ['', NA, '{example}']}} if that stands for a missing value, "
        f"data: {{categorical: {{columns: [{name}]}}}} if these are categories, data: "
        f"{{exclude: [{name}]}} to leave it out"
    )


def cells(raw: Any, wrong: NDArray[np.bool_]) -> str:
    """The first wrong cells for a message, with their number and rows counted from 1 after the header."""
    rows = np.flatnonzero(wrong)
    examples = ", ".join(f"'{cell(raw, int(row))}'" for row in rows[:3])
    return (
        f"{len(rows)} of its cells {'do' if len(rows) > 1 else 'does'} not read as a number: "
        f"{examples} in {row_list(rows)}"
    )


def cell(raw: Any, row: int) -> str:
    """One cell for a message, shortened."""
    text = str(raw[row])
    return text if len(text) <= 40 else text[:37] + "..."


def row_list(rows: NDArray[Any], shown: int = 5) -> str:
    """Row numbers for a message, counted from 1 after the header: 'rows 3, 8 and 120 more'."""
    numbers = [str(row + 1) for row in rows[:shown]]
    more = f" and {len(rows) - shown} more" if len(rows) > shown else ""
    return f"row{'s' * (len(rows) > 1)} {', '.join(numbers)}{more}"
