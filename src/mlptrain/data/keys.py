"""Which rows of a table belong together, and which come first?

Both are said by columns of the split. They are read in the same way in training and when the test rows of a model are
read again, so that the rows are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import MomentColumn, TextColumn, as_text, interpret, single_column
from mlptrain.data.dates import best_spellings, swapped
from mlptrain.data.encoders.dates import Date, seconds_of
from mlptrain.data.encoders.spelled import as_series
from mlptrain.data.settings import Data
from mlptrain.data.split import Units, remedy
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.remedies import setting


class Keys(NamedTuple):
    """What a split goes by, for the rows of a table; None for rows in any order."""

    units: Units | None = None
    values: NDArray[np.float64] | None = None
    """(rows,): numbers or moments that increase with time"""


def read_keys(table: Table, data: Data) -> Keys:
    """The groups or the order of the rows of `table`; a `Trouble` for a column that cannot say it."""
    split = data.split
    units = None if split.group is None else groups_of(table, split.group, data)
    if units is not None and units.number == 1:
        text = f"column '{split.group}' has one group in all {table.rows} rows, so that nothing can be held out"
        raise Trouble(table.path, f"{text}; name another column, or write {remedy(group=None)}")
    return Keys(units, None if split.order is None else times_of(table, split.order, data))


def groups_of(table: Table, name: str, data: Data) -> Units:
    """The groups in the column `name`, numbered in the order in which they appear."""
    column = as_text(table, name, data.missing_values)
    refuse_missing(table, name, column.absent, "group")
    return Units(name, numbered(column.codes))


def groups_if_known(table: Table, name: str | None, missing: Sequence[str]) -> NDArray[np.intp] | None:
    """The group of each row of another table, a row without one by itself; None if the table does not say it."""
    if name is None or name not in table.columns:
        return None
    codes = as_text(table, name, missing).codes
    alone = np.arange(len(codes)) + codes.max(initial=-1) + 1
    return numbered(np.where(codes < 0, alone, codes))


def numbered(codes: NDArray[np.int64]) -> NDArray[np.intp]:
    """`codes` of 0 or more, numbered anew in the order in which they appear.

    >>> numbered(np.array([7, 2, 7, 5])).tolist()
    [0, 1, 0, 2]
    """
    first = np.full(codes.max(initial=-1) + 1, len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    rank = np.empty(len(first), np.intp)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[codes]


def times_of(table: Table, name: str, data: Data) -> NDArray[np.float64]:
    """The numbers or moments in the column `name`."""
    column = interpret(table, name, data.missing_values)
    if isinstance(column, TextColumn):
        column = Date.read(table, name, data.missing_values)
        assert isinstance(column, TextColumn)
    refuse_missing(table, name, column.absent, "order")
    if isinstance(column, TextColumn):
        return seconds_of(column, spelling_in_order(column, table, data), table)
    return column.seconds if isinstance(column, MomentColumn) else single_column(column, table)


def spelling_in_order(column: TextColumn, table: Table, data: Data) -> str:
    """The spelling of the dates of a column; a `Trouble` for words, and for dates that can be read in two ways."""
    found = best_spellings(as_series(column)) if Date.claims(column) else []
    if not found:
        text = f"order '{column.name}' holds text, such as '{column.categories[0]}', which has no order in time"
        ways = f"name a column of numbers or dates, or write {remedy(order=None, group=column.name)}"
        raise Trouble(table.path, f"{text}; {ways} to keep rows of the same text together")
    other = swapped(found[0])
    if other not in found:
        return found[0]
    pair = [spelling for spelling in found if spelling in (found[0], other)]
    if data.day_first is None and "." not in found[0]:
        both = [f"{setting(data={'day_first': first})} for {pair[not first]}" for first in (True, False)]
        text = f"order '{column.name}' holds dates, such as {column.categories[0]}, whose day and month can be confused"
        raise Trouble(table.path, f"{text}; write {' or '.join(both)}")
    return pair[0] if data.day_first is not False else pair[1]


def refuse_missing(table: Table, name: str, absent: NDArray[np.bool_], role: str) -> None:
    """Refuse rows without a group or a place in time."""
    if absent.any():
        where = table.row_list(np.flatnonzero(absent))
        text = f"{role} '{name}' is missing in {where}; fill it in, leave such rows out of the table"
        raise Trouble(table.path, f"{text}, or write {remedy(**{role: None})}")
