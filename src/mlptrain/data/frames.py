"""How does a table in memory become named columns, as a file does?

A table is a dictionary of columns or a list of rows, a NumPy array, a pandas or polars frame, or anything that offers
the Arrow or the dataframe interchange protocol. No library of frames is imported but polars, which reads the files too.
Cells have the types of the frame, as in a Parquet file. A column of Python objects is read by what its cells are: all
numbers, all flags, all dates, or text; numbers among text are text, as in a CSV.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.cells import is_missing, kind_of
from mlptrain.data.tables import Table, composed
from mlptrain.errors import DataError

NAME = "the data"
"""What messages call a table that has no file."""
KNOWN = "give a path, a frame, a dictionary of columns, a list of rows as dictionaries, or an array (rows, columns)"


def table_from(data: Any, name: str = NAME, hashed: bool = True) -> Table:
    """The table in `data`: a frame, a dictionary of columns, a list of rows as dictionaries, or an array.

    An array (rows, width) has columns named x0, x1, and so on; a structured array its own names. The index of a pandas
    frame is no column. `name` is what messages call the table. Only a table that may be compared with that of a run
    needs to be `hashed`.

    Raises
    ------
    DataError
        No table, or one without rows; names that are no text or that repeat; columns of different lengths. A column
        with cells of other types is refused when it is used.
    """
    columns = named_columns(data, name)
    series = {key: as_column(values, key, name) for key, values in columns.items()}
    rows = {key: len(column) for key, column in series.items()}
    if len(set(rows.values())) > 1:
        raise DataError(f"{name}: its columns differ in length: {', '.join(f'{k} has {n}' for k, n in rows.items())}")
    if not rows or not max(rows.values()):
        raise DataError(f"{name}: 0 data rows")
    return Table(name, digest(series) if hashed else "", next(iter(rows.values())), series)


def named_columns(data: Any, name: str) -> dict[str, Any]:
    """The columns of `data` as it holds them, by name."""
    if isinstance(data, Mapping):
        return checked_names([(key, data[key]) for key in data], name)
    if isinstance(data, np.ndarray):
        return columns_of_array(data, name)
    if is_pandas(data):
        if not hasattr(data, "columns"):
            return checked_names([(data.name, data)], name)
        return checked_names([(key, data.iloc[:, i]) for i, key in enumerate(data.columns)], name)
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return columns_of_rows(data, name)
    return columns_of_frame(data, name)


def is_pandas(data: Any) -> bool:
    """Whether `data` is a frame or a series of pandas, which need not be installed."""
    return type(data).__module__.partition(".")[0] == "pandas"


def checked_names(columns: Sequence[tuple[Any, Any]], name: str) -> dict[str, Any]:
    """Columns by name; an error for names that are no text, or that repeat."""
    other = [key for key, _ in columns if not isinstance(key, str)]
    if other:
        remedy = "frame.columns = [str(name) for name in frame.columns]"
        raise DataError(f"{name}: column names must be text, but {other[0]!r} is not; rename the columns: {remedy}")
    repeated = [key for key, times in Counter(composed(key) for key, _ in columns).items() if times > 1]
    if repeated:
        raise DataError(f"{name}: {len(repeated)} column names are repeated, such as '{repeated[0]}'; rename them")
    return {composed(key): values for key, values in columns}


def columns_of_array(array: NDArray[Any], name: str) -> dict[str, Any]:
    """The columns of an array: x0, x1, ..., or the fields of a structured one."""
    if array.dtype.names is not None:
        return {field: array[field] for field in array.dtype.names}
    if array.ndim != 2:
        raise DataError(f"{name}: an array of shape {array.shape} is no table; its shape must be (rows, columns)")
    return {f"x{i}": array[:, i] for i in range(array.shape[1])}


def columns_of_rows(rows: Sequence[Any], name: str) -> dict[str, Any]:
    """The columns of rows that are dictionaries; a key that a row lacks is a missing value there."""
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise DataError(f"{name}: row {i + 1} is of type {type(row).__name__}; a row is a dictionary by column")
    keys = dict.fromkeys(key for row in rows for key in row)
    return checked_names([(key, [row.get(key) for row in rows]) for key in keys], name)


def columns_of_frame(data: Any, name: str) -> dict[str, Any]:
    """The columns of a frame of polars, or of any library that offers its columns to others."""
    import polars as pl

    if isinstance(data, pl.LazyFrame):
        raise DataError(f"{name}: is a LazyFrame, which has no rows yet; call its .collect()")
    try:
        if isinstance(data, pl.Series):
            frame = data.to_frame()
        elif isinstance(data, pl.DataFrame) or hasattr(data, "__arrow_c_stream__"):
            frame = pl.DataFrame(data)
        elif hasattr(data, "__dataframe__"):
            frame = pl.from_dataframe(data)
        else:
            raise DataError(f"{name}: {type(data).__name__} is no table; {KNOWN}")
    except (pl.exceptions.PolarsError, ImportError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"{name}: cannot be read as a frame: {error}") from error
    return {composed(series.name): series for series in frame}


def as_column(values: Any, key: str, name: str) -> Any:
    """The values of one column as a table holds them: an array of numbers, or a polars series."""
    import polars as pl

    if isinstance(values, pl.Series):
        if values.dtype == pl.Object:
            return column_of_objects(values.to_list(), key)
        return values.cast(pl.Float64) if values.dtype.is_decimal() else values.alias(key)
    if is_pandas(values):
        values = plain_values(values)
    if isinstance(values, np.ndarray):
        return column_of_array(values, key, name)
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(f"{name}: column '{key}' is of type {type(values).__name__}, not a list of values")
    return column_of_objects(list(values), key)


def column_of_array(values: NDArray[Any], key: str, name: str) -> Any:
    """A column, or a block of columns, from an array."""
    import polars as pl

    if values.ndim == 0:
        raise DataError(f"{name}: column '{key}' is a single value, not a list of values")
    if values.dtype.kind == "O":
        if values.ndim > 1:
            raise DataError(f"{name}: '{key}' is an array {values.shape} of objects; a column has one value a row")
        return column_of_objects(values.tolist(), key)
    if values.dtype.kind in "fiu":
        block = values.reshape(len(values), math.prod(values.shape[1:]))
        wide = block.dtype.kind == "f" and block.dtype.itemsize > 8
        block = block.astype(np.float64) if wide or block.dtype == np.float16 else block
        return np.ascontiguousarray(block[:, 0]) if block.shape[1] == 1 else block
    if values.dtype.kind == "M":
        return pl.Series(key, values.astype("M8[us]"))
    if values.dtype.kind in "bU" and values.ndim == 1:
        return pl.Series(key, values)
    return pl.Series(key, list(values), dtype=pl.Object)


def plain_values(series: Any) -> Any:
    """The values of a pandas series as an array; None where one is missing, if they are no numbers."""
    dtype, kind = series.dtype, getattr(series.dtype, "kind", "O")
    if hasattr(dtype, "categories"):
        categories = np.array([*dtype.categories.astype(str), None], dtype=object)
        return categories[series.cat.codes.to_numpy()]
    if kind == "M" and (isinstance(dtype, np.dtype) or hasattr(dtype, "tz")):
        naive = series.dt.tz_localize(None) if getattr(dtype, "tz", None) is not None else series
        return naive.to_numpy().astype("M8[us]")
    if isinstance(dtype, np.dtype):
        return series.to_numpy()
    if kind in "iuf":
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    return series.to_numpy(dtype=object, na_value=None)


def column_of_objects(cells: list[Any], key: str) -> Any:
    """A column of Python objects: numbers, flags, dates or times if all of them are, else text."""
    import polars as pl

    cells = [None if is_missing(cell) else cell for cell in cells]
    kinds = {kind_of(cell) for cell in cells} - {None}
    if "other" in kinds:
        return pl.Series(key, cells, dtype=pl.Object)  # which is refused if it is used
    if kinds <= {"number"}:
        return np.array([np.nan if cell is None else as_float(cell) for cell in cells], np.float64)
    if kinds == {"flag"}:
        return pl.Series(key, [None if cell is None else bool(cell) for cell in cells], dtype=pl.Boolean)
    if kinds == {"time"}:
        return pl.Series(key, cells, dtype=pl.Time)
    if kinds <= {"date", "moment"}:
        moments = [None if cell is None else on_the_wall(cell) for cell in cells]
        return pl.Series(key, moments, dtype=pl.Date if kinds == {"date"} else pl.Datetime("us"))
    return pl.Series(key, [None if cell is None else str(cell) for cell in cells], dtype=pl.String)


def as_float(cell: Any) -> float:
    """A number as a float; one that is too large is infinite."""
    try:
        return float(cell)
    except OverflowError:
        return np.inf if cell > 0 else -np.inf


def on_the_wall(moment: Any) -> Any:
    """A date as it is, a moment without its time zone: as the clock on the wall shows it."""
    return moment.replace(tzinfo=None) if isinstance(moment, datetime.datetime) else moment


def digest(columns: Mapping[str, Any]) -> str:
    """The sha256 of the content of a table: names, types and values."""
    total = hashlib.sha256()
    for name, column in columns.items():
        total.update(f"\0{name}\0{column.dtype}\0{column.shape}\0".encode())
        for array in contents(column):
            total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()


def contents(column: Any) -> list[NDArray[Any]]:
    """Arrays that hold all that a column says."""
    if isinstance(column, np.ndarray):
        return [column]
    import polars as pl

    if column.dtype in (pl.Categorical, pl.String) or isinstance(column.dtype, pl.Enum):
        text = column.cast(pl.String)
        lengths = text.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy()
        return [lengths, np.frombuffer("".join(text.drop_nulls()).encode(), np.uint8)]
    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):  # not read, and refused if it is used
        return [np.frombuffer(str(column.to_list()).encode(), np.uint8)]
    values = column.to_physical()
    filled = values.fill_null(False if values.dtype == pl.Boolean else 0) if values.null_count() else values
    return [column.is_null().to_numpy(), filled.to_numpy()]


def as_file(table: Table) -> tuple[str, bytes]:
    """The suffix and the bytes of a file that holds the same table: Parquet, or NPZ where a column is a block."""
    import polars as pl

    buffer = io.BytesIO()
    if any(isinstance(column, np.ndarray) and column.ndim > 1 for column in table.columns.values()):
        blocks: dict[str, Any] = {name: block_or_words(column, name) for name, column in table.columns.items()}
        np.savez(buffer, **blocks)
        return ".npz", buffer.getvalue()
    pl.DataFrame(dict(table.columns)).write_parquet(buffer)
    return ".parquet", buffer.getvalue()


def block_or_words(column: Any, name: str) -> NDArray[Any]:
    """A column as an array for NPZ."""
    if isinstance(column, np.ndarray):
        return column
    if column.dtype.is_numeric() or column.dtype.is_temporal():
        return np.asarray(column.to_numpy())
    if column.null_count():
        raise DataError(f"column '{name}' lacks values, which a file with blocks of columns cannot say; fill them")
    return np.array(column.to_list())
