"""How do rows in memory, as from JSON, become a table?

A cell is text, a number, true, false or None; the cells of a block of columns, such as the pixels of an image, are a
list of numbers. What a cell means does not depend on the other rows: a number given as text is the same number.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import did_you_mean
from mlptrain.data.tables import Hints, Table, composed
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

Row = Mapping[str, Any]
_PLAIN = re.compile(r"[-+]?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
NUMBERS = frozenset((float, int, bool, type(None)))
"""The types of the cells of a column of numbers; None is a missing value."""


def table_of_rows(rows: Sequence[Row], hints: Hints | None, name: str) -> Table:
    """The table of `rows`, with the columns that `hints` want, or else those of any row; `name` is its path.

    A `DataError` if there are no rows, or if one of them lacks a column; a `Trouble` for a cell that is none.
    """
    if not rows:
        raise DataError(f"{name}: 0 data rows")
    names = tuple(hints.wanted) if hints and hints.wanted else tuple(dict.fromkeys(key for row in rows for key in row))
    text = frozenset(hints.text) if hints else frozenset[str]()
    try:
        cells = {one: [row[one] for row in rows] for one in names}
    except KeyError:
        cells = cells_by_letters(rows, names, name)
    missing = frozenset(hints.missing) if hints else frozenset[str]()
    columns = {}
    for one, found in cells.items():
        columns[one] = column_of(found if one in text else plain_numbers(found, missing), one, one in text, name)
    return Table(name, "", len(rows), columns)


def cells_by_letters(rows: Sequence[Row], names: Sequence[str], name: str) -> dict[str, list[Any]]:
    """The cells of each column, whose name may be composed of other letters in the rows (NFC)."""
    found = [{composed(key): value for key, value in row.items()} for row in rows]
    for place, row in enumerate(found):
        if absent := [f"'{one}'" for one in names if one not in row]:
            shown = ", ".join(absent[:10]) + (f" and {len(absent) - 10} more" if len(absent) > 10 else "")
            guess = did_you_mean(
                absent[0].strip("'"), sorted(row.keys() - set(names)), "where a value is missing, write null"
            )
            raise DataError(f"{name}: no {shown}; {guess}", [place])
    return {one: [row[one] for row in found] for one in names}


def plain_numbers(cells: list[Any], missing: Collection[str]) -> list[Any]:
    """The cells of a column that may be numbers; text that is a plain number, or means a missing value, is read."""
    if str not in set(map(type, cells)):
        return cells
    return [plain_number(cell, missing) if type(cell) is str else cell for cell in cells]


def plain_number(cell: str, missing: Collection[str]) -> str | float | None:
    """The number that a text is, or None for a missing value; else the text, for polars to read or to refuse."""
    if _PLAIN.fullmatch(cell) and cell not in missing:
        return float(cell)
    return None if not cell or cell.strip() in missing else cell


def column_of(cells: list[Any], column: str, textual: bool, name: str) -> Any:
    """A column of a table: numbers (rows,), text as a series, or a block of numbers (rows, width)."""
    types = set(map(type, cells))
    if types <= NUMBERS and not textual:
        return numbers(cells)
    if list in types:
        return block(cells, column, name)
    if wrong := sorted(one.__name__ for one in types - NUMBERS - {str}):
        kinds = {"dict": "an object"}
        found = kinds.get(wrong[0], f"a {wrong[0]}")
        rows = [place for place, cell in enumerate(cells) if type(cell) not in NUMBERS and type(cell) is not str]
        raise Trouble(name, f"'{column}' is {found}; a cell is text, a number, true, false or null", rows=rows)
    return texts(cells, column, name)


def numbers(cells: list[Any]) -> NDArray[np.float64]:
    """A column of numbers (rows,), NaN where a value is missing; infinite where one is too large."""
    try:
        return np.array(cells, np.float64)  # None is NaN
    except OverflowError:
        return np.array([finite_or_infinite(cell) for cell in cells])


def finite_or_infinite(cell: float | None) -> float:
    """A cell as a number; infinite for a whole number that is larger than any."""
    try:
        return np.nan if cell is None else float(cell)
    except OverflowError:
        return np.inf


def texts(cells: list[Any], column: str, name: str) -> pl.Series:
    """A column of text; numbers, true and false as a CSV has them, None where the text is empty."""
    import polars as pl

    try:
        return pl.Series(column, [written(cell) for cell in cells], dtype=pl.String)
    except UnicodeEncodeError as error:
        raise Trouble(name, f"'{column}' is not Unicode text: it holds half of a surrogate pair") from error


def written(cell: str | float | None) -> str | None:
    """A cell as text."""
    if type(cell) is str:
        return cell or None
    if cell is None or cell != cell:
        return None
    if type(cell) is bool:
        return "true" if cell else "false"
    try:
        return repr(cell)
    except ValueError:  # more digits than Python writes
        return "inf"


def block(cells: list[Any], column: str, name: str) -> NDArray[Any]:
    """A block of columns (rows, width): bytes if all are whole numbers from 0 to 255, as pixels are."""
    if not all(type(cell) is list and len(cell) == len(cells[0]) > 0 for cell in cells):
        raise Trouble(name, f"'{column}' must be a list of numbers of the same length in every row")
    if not all(type(value) in NUMBERS for cell in cells for value in cell):
        raise Trouble(name, f"'{column}' is a list, but not of numbers")
    values = np.stack([numbers(cell) for cell in cells])
    is_bytes = all(type(value) is int and 0 <= value < 256 for cell in cells for value in cell)
    return values.astype(np.uint8) if is_bytes else values
