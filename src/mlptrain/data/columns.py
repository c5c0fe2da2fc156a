"""What does a column hold: numbers, words, moments or pixels?

A column is read as numbers if every cell that is not missing is a number, and as words otherwise; the types for dates
of Parquet and NumPy are moments. The encoders turn each into inputs of the network. Words are compared by value, not by
spelling: see `canonical`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.amounts import Notation
from mlptrain.data.cells import known_cell
from mlptrain.data.tables import Table, is_number
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_WHOLE = re.compile(r"[-+]?(0|[1-9]\d*)")
_REAL = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_MAY_CHANGE = r"^\s|\s$|^[-+.\d]|[^\x00-\x7F]|^(?i:true|false)$"
_FEW = 32  # cells up to which a loop in Python is faster than polars
FLAGS = (frozenset(("false", "true")), frozenset(("0", "1")))
"""The spellings of a flag (no and yes) that are read for each other."""


def canonical(word: str) -> str:
    """The canonical text of a category, the same for every spelling.

    Surrounding spaces are dropped and letters are composed (NFC). `True` and `TRUE` become `true`. Numbers take their
    shortest form: `1`, `1.0`, `+1` and `1e0` are all `1`, and `0.50` is `0.5`. Leading zeros are kept, since they
    mark a code: `01` and `007` are not the numbers 1 and 7.

    >>> [canonical(word) for word in ("True", "1.0", "1e3", "-0.50", "007", " red ")]
    ['true', '1', '1000', '-0.5', '007', 'red']
    """
    word = unicodedata.normalize("NFC", word.strip())
    if word.lower() in ("true", "false"):
        return word.lower()
    if _WHOLE.fullmatch(word):
        return word.removeprefix("+") if word.strip("+-") != "0" else "0"
    if _REAL.fullmatch(word) and np.isfinite(value := float(word)):
        return np.format_float_positional(value or 0.0, trim="-")
    return word


class NumericColumn(NamedTuple):
    """A column of numbers, NaN where missing; a block from an array file has several values per row."""

    name: str
    source: NDArray[Any] | pl.Series
    """An array (rows,) or (rows, width), or a polars series, which may consist of many chunks: joining the chunks of a
    whole table would double its memory."""
    missing: int
    """Number of missing values."""
    notation: Notation | None = None
    """How its cells are written, if not as plain numbers."""

    @property
    def width(self) -> int:
        """Number of values per row."""
        return int(self.span(slice(1)).shape[1])

    @property
    def values(self) -> NDArray[np.float64]:
        """(rows, width); every access joins the chunks."""
        return matrix(self.source)

    def span(self, rows: slice) -> NDArray[np.float64]:
        """The values (n, width) of a span of rows."""
        return matrix(self.source[rows])

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(rows,): which rows lack a value."""
        return np.asarray(np.isnan(self.values).any(axis=1))


def matrix(source: Any) -> NDArray[np.float64]:
    """The numbers (rows, width) of an array or a series, NaN where missing."""
    if not isinstance(source, np.ndarray):
        import polars as pl

        source = source.cast(pl.Float64).to_numpy()
    return np.asarray(source, dtype=np.float64).reshape(len(source), -1)


class PixelColumn(NamedTuple):
    """A block of bytes."""

    name: str
    values: NDArray[np.uint8]
    """(rows, width)"""

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(rows,): no byte is ever missing."""
        return np.zeros(len(self.values), bool)


class TextColumn(NamedTuple):
    """A column of words, as indices into the sorted list of its categories; -1 where missing."""

    name: str
    categories: tuple[str, ...]
    """Canonical texts, or cells as they are written."""
    codes: NDArray[np.int64]
    """(rows,)"""

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(rows,): which cells are missing."""
        return self.codes < 0

    def seen(self) -> list[str]:
        """The categories that occur, in sorted order."""
        counts = np.bincount(self.codes[self.codes >= 0])  # not np.unique, which loads numpy.ma
        return [self.categories[code] for code in np.flatnonzero(counts)]

    def places(self, known: Sequence[str]) -> NDArray[np.intp]:
        """(rows,): the index of each cell in `known`; -1 for an unknown word, -2 for a missing cell.

        If the known words are those of a flag, its other spelling is accepted too: 1 for true, true for 1.
        """
        index: dict[str, int] = {}
        for i, word in enumerate(known):
            index.setdefault(canonical(word), i)
        if other := other_spelling(index):
            index |= {other[word]: i for word, i in index.items() if other[word] not in index}
        found = [index.get(category, -1) for category in self.categories]
        return np.array([*found, -2], dtype=np.intp)[self.codes]


def other_spelling(known: Collection[str]) -> dict[str, str]:
    """The other spelling of each word of a flag; empty if `known` is not a flag."""
    pairs = {"false": "0", "true": "1", "0": "false", "1": "true"}
    return pairs if known and any(set(known) <= words for words in FLAGS) else {}


class MomentColumn(NamedTuple):
    """A column of dates, with times or without, or of times of day, from a file that has types for them."""

    name: str
    seconds: NDArray[np.float64]
    """(rows,): since the start of 1970 by the clock on the wall, NaN where missing"""
    clock: bool
    """Whether they are times of day alone, as seconds since midnight."""

    @property
    def absent(self) -> NDArray[np.bool_]:
        """(rows,): which cells are missing."""
        return np.isnan(self.seconds)


Column = NumericColumn | PixelColumn | TextColumn | MomentColumn


def interpret(table: Table, name: str, missing: Sequence[str]) -> Column:
    """The column `name` with its type inferred; `missing` are the words that mean a missing value."""
    raw = table.column(name)
    if is_block_of_bytes(raw):
        return PixelColumn(name, raw)
    if is_flag(raw):
        return as_text(table, name, missing)
    if is_temporal(raw):
        return as_moments(table, name)
    if not is_text(raw, name, table.path):
        return as_numeric(table, name, missing)
    numbers, wrong = parse_numbers(raw, missing)
    return as_text(table, name, missing) if wrong.any() else finite(name, numbers, table)


def as_numeric(table: Table, name: str, missing: Sequence[str]) -> NumericColumn:
    """The column `name` as numbers, a flag as 0 and 1; a `Trouble` for cells that are not finite numbers."""
    raw = table.column(name)
    if is_block_of_bytes(raw) or not is_text(raw, name, table.path):
        return finite(name, without_missing(raw, missing), table)
    numbers, wrong = parse_numbers(raw, missing)
    if wrong.any() and not read_flags(raw, numbers, wrong):
        text = as_text(table, name, missing)
        message = f"column '{name}' must be numeric, but {not_numbers(text, table)}"
        raise Trouble(table.path, message, rows=np.flatnonzero(wrong).tolist())
    return finite(name, numbers, table)


def read_flags(raw: Any, numbers: NDArray[np.float64], wrong: NDArray[np.bool_]) -> bool:
    """Write 0 and 1 for false and true into `numbers`; return False if the column is not a flag."""
    import polars as pl

    series = pl.Series(raw) if isinstance(raw, np.ndarray) else raw
    words = series.cast(pl.String).str.strip_chars().str.to_lowercase()
    yes, no = ((words == word).fill_null(False).to_numpy() for word in ("true", "false"))
    if (wrong & ~(yes | no)).any() or not np.isin(numbers[~(wrong | np.isnan(numbers))], (0, 1)).all():
        return False
    numbers[yes], numbers[no] = 1, 0
    return True


def without_missing(source: Any, missing: Sequence[str]) -> Any:
    """A numeric `source` with NaN where it equals a number in `missing`."""
    numbers = [float(word) for word in missing if is_number(word) and word.lower() != "nan"]
    if not numbers:
        return source
    values = matrix(source)
    return np.where(np.isin(values, numbers), np.nan, values)


def finite(name: str, source: Any, table: Table) -> NumericColumn:
    """A numeric column; a `Trouble` if it holds infinite values."""
    values = matrix(source)
    if np.isfinite(values).all():
        return NumericColumn(name, source, 0)
    infinite = np.isinf(values)
    if infinite.any():
        rows = np.flatnonzero(infinite.any(axis=1))
        where = table.row_list(rows)
        raise Trouble(table.path, f"column '{name}' holds infinite values in {where}", rows=rows.tolist())
    return NumericColumn(name, source, int(np.count_nonzero(np.isnan(values))))


def as_text(table: Table, name: str, missing: Sequence[str]) -> TextColumn:
    """The column `name` as canonical words."""
    import polars as pl

    series = text_series(table, name)
    if len(series) <= _FEW:
        return few_words(name, series.to_list(), missing)
    cells = series.drop_nulls().unique()  # each distinct cell is processed once
    words = canonical_words(cells)
    gone = pl.Series([canonical(word) for word in missing], dtype=pl.String)
    return coded(series, cells, words, words.is_in(gone.implode()))


def few_words(name: str, cells: Sequence[str | None], missing: Sequence[str]) -> TextColumn:
    """`as_text` for a few `cells`, for which starting polars takes longer than a loop."""
    gone = {canonical(word) for word in missing}
    words = [None if cell is None or (word := canonical(cell)) in gone else word for cell in cells]
    categories = sorted({word for word in words if word is not None})
    index = {word: i for i, word in enumerate(categories)}
    codes = np.array([-1 if word is None else index[word] for word in words], dtype=np.int64)
    return TextColumn(name, tuple(categories), codes)


def as_cells(table: Table, name: str, missing: Sequence[str]) -> TextColumn:
    """The column `name` as words that are written as in the file, but for spaces around them."""
    import polars as pl

    series = text_series(table, name)
    cells = series.drop_nulls().unique()
    words = cells.str.strip_chars()
    gone = words.is_in(pl.Series(missing, dtype=pl.String).implode())
    if numbers := [
        canonical(word) for word in missing if is_number(word) and word.lower() != "nan"
    ]:  # they are compared by value
        gone |= canonical_words(words).is_in(pl.Series(numbers).implode())
    return coded(series, cells, words, gone)


def coded(series: pl.Series, cells: pl.Series, words: pl.Series, gone: pl.Series) -> TextColumn:
    """A column of text, given its distinct `cells`, the word for each of them and whether it means a missing value."""
    categories = words.filter(~gone).unique().sort()
    lookup = np.append(places(words, categories), -1)
    return TextColumn(series.name, tuple(categories), lookup[places(series, cells)])


def text_series(table: Table, name: str) -> pl.Series:
    """The column `name` as a series of text."""
    import polars as pl

    raw = table.column(name)
    if is_temporal(raw):
        return iso_text(pl.Series(name, raw))
    is_text(raw, name, table.path)
    if isinstance(raw, np.ndarray) and raw.ndim > 1:
        raise Trouble(table.path, f"column '{name}' has {raw.shape[1]} values a row; a column of categories has one")
    series = pl.Series(name, raw) if isinstance(raw, np.ndarray) else raw.alias(name)
    if series.dtype != pl.String:
        series = (series.fill_nan(None) if series.dtype.is_float() else series).cast(pl.String)
    return series


def iso_text(series: pl.Series) -> pl.Series:
    """Dates, moments or times of day as text: 2024-03-01, 2024-03-01 12:30:00, 12:30:00."""
    import polars as pl

    if isinstance(series.dtype, pl.Datetime):
        return series.dt.replace_time_zone(None).dt.to_string("%Y-%m-%d %H:%M:%S%.f")
    return series.cast(pl.String)


def is_written(raw: Any) -> bool:
    """Whether a raw column holds text, whatever it says."""
    return str(raw.dtype).startswith(("String", "Categorical", "Enum"))  # arrays of text are read as such a series


def is_temporal(raw: Any) -> bool:
    """Whether a raw column is of a type for dates, moments or times of day."""
    if isinstance(raw, np.ndarray):
        return raw.dtype.kind == "M" and raw.ndim == 1
    return str(raw.dtype).startswith(("Date", "Time"))  # a Duration is none


def as_moments(table: Table, name: str) -> MomentColumn:
    """The column `name` of a type for dates, moments or times of day."""
    import polars as pl

    raw = table.column(name)
    series = pl.Series(name, raw.astype("M8[us]") if isinstance(raw, np.ndarray) else raw)
    clock = series.dtype == pl.Time
    if clock:
        ticks, second = series.cast(pl.Int64), 1e9
    else:
        naive = series.dt.replace_time_zone(None) if isinstance(series.dtype, pl.Datetime) else series
        ticks, second = naive.cast(pl.Datetime("us")).cast(pl.Int64), 1e6
    return MomentColumn(name, np.array(ticks.cast(pl.Float64).fill_null(np.nan).to_numpy() / second), clock)


def canonical_words(cells: pl.Series) -> pl.Series:
    """The canonical text of each cell; without a loop in Python where none of them can change."""
    import polars as pl

    if not cells.str.contains(_MAY_CHANGE).any():
        return cells
    return pl.Series([canonical(cell) for cell in cells], dtype=pl.String)


def places(series: pl.Series, words: pl.Series) -> NDArray[np.int64]:
    """The index of each cell of a text `series` in the distinct `words`; -1 where it is not among them."""
    import polars as pl

    found = series.cast(pl.Enum(words), strict=False).to_physical()
    return np.asarray(found.cast(pl.Int64).fill_null(-1).to_numpy(), dtype=np.int64)


def as_pixels(table: Table, name: str) -> PixelColumn:
    """The column `name` as a block of bytes."""
    raw = table.column(name)
    if not is_block_of_bytes(raw):
        raise Trouble(table.path, f"column '{name}' must be a block of bytes (pixels)")
    return PixelColumn(name, raw)


def is_block_of_bytes(raw: Any) -> bool:
    """Whether a raw column holds several bytes a row."""
    return isinstance(raw, np.ndarray) and raw.dtype == np.uint8 and raw.ndim == 2


def is_flag(raw: Any) -> bool:
    """Whether a raw column is boolean."""
    return str(raw.dtype) in ("bool", "Boolean")


def is_text(raw: Any, name: str, path: str) -> bool:
    """Whether a raw column holds text (or booleans, which are treated as text) rather than numbers."""
    if isinstance(raw, np.ndarray):
        if raw.dtype.kind in "fiu" and not (raw.dtype.kind == "f" and raw.dtype.itemsize > 8):
            return False
        if raw.dtype.kind in "Ub" and raw.ndim == 1:
            return True
        raise Trouble(path, f"'{name}' is an array of {raw.dtype}, which is neither numbers nor a column of text")
    import polars as pl

    if raw.dtype.is_numeric() or raw.dtype == pl.Null:
        return False
    if raw.dtype in (pl.String, pl.Boolean, pl.Categorical) or isinstance(raw.dtype, pl.Enum):
        return True
    if raw.dtype == pl.Object:
        types = dict.fromkeys(type(cell).__name__ for cell in raw if not known_cell(cell))
        text = f"column '{name}' holds values of type {', '.join(list(types)[:3])}"
        raise Trouble(path, f"{text}; a cell is a number, text, true or false, a date, or missing (None, NaN)")
    raise Trouble(path, f"column '{name}' is of type {raw.dtype}; only numbers, text and dates are read")


def parse_numbers(raw: Any, missing: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """A text column as numbers (NaN where missing), and a mask of the cells that are neither number nor missing."""
    import polars as pl

    series = (pl.Series(raw) if isinstance(raw, np.ndarray) else raw).cast(pl.String)
    numbers = series.cast(pl.Float64, strict=False)
    if numbers.null_count() > series.null_count():
        series = series.str.strip_chars()
        series = series.set(series.is_in(list(missing)).fill_null(False), None)
        numbers = series.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & series.is_not_null()
    return np.array(without_missing(numbers.to_numpy(), missing)), wrong.to_numpy()


def words_among_numbers(column: TextColumn) -> NDArray[np.bool_]:
    """(categories,): which of the categories are not numbers."""
    import polars as pl

    read = pl.Series(column.categories, dtype=pl.String).cast(pl.Float64, strict=False)
    return np.asarray(read.is_null().to_numpy())


def not_numbers(column: TextColumn, table: Table) -> str:
    """The first cells of `column` that are not numbers, for a message."""
    wrong = np.append(words_among_numbers(column), False)[column.codes]
    rows = np.flatnonzero(wrong)
    examples = ", ".join(f"'{short(column.categories[code])}'" for code in column.codes[rows[:3]])
    verb = "do" if len(rows) > 1 else "does"
    return f"{len(rows)} of its cells {verb} not read as a number: {examples} in {table.row_list(rows)}"


def short(text: str) -> str:
    """A cell for a message."""
    return text if len(text) <= 40 else text[:37] + "..."


def quoted(words: Sequence[str], shown: int = 5) -> str:
    """Words for a message: the first ones, each in quotes."""
    return ", ".join(f"'{short(word)}'" for word in words[:shown]) + (", ..." if len(words) > shown else "")


def single_column(column: Column, table: Table) -> NDArray[np.float64]:
    """The values (rows,) of a target that must be one column of numbers."""
    if isinstance(column, TextColumn | MomentColumn):
        what = "words" if isinstance(column, TextColumn) else "dates"
        raise DataError(f"{table.path}: column '{column.name}' holds {what}, not numbers")
    values = column.values
    if values.shape[1] != 1:
        raise DataError(f"{table.path}: target '{column.name}' has {values.shape[1]} columns; a target column has one")
    return values[:, 0].astype(np.float64, copy=False)
