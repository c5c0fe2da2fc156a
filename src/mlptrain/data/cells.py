"""What is a cell of Python objects: a number, text, a flag, a date, or missing?"""

from __future__ import annotations

import datetime
import numbers
from decimal import Decimal
from typing import Any

import numpy as np

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "text"),
    ((bool, np.bool_), "flag"),
    ((numbers.Real, Decimal), "number"),
    (datetime.datetime, "moment"),
    (datetime.date, "date"),
    (datetime.time, "time"),
)
"""The kinds of cells of a column of objects; a datetime is a date too, and a bool a number: the first one counts."""


def known_cell(cell: Any) -> bool:
    """Whether a cell is of a type that a table has."""
    return kind_of(cell) != "other"


def kind_of(cell: Any) -> str | None:
    """What a cell is; None if it is missing."""
    if cell is None:
        return None
    if isinstance(cell, np.timedelta64):  # which calls itself a whole number
        return "other"
    return next((kind for types, kind in _KINDS if isinstance(cell, types)), "other")


def is_missing(cell: Any) -> bool:
    """Whether a cell is missing: None, NaN, NaT, or the NA of pandas."""
    if cell is None or type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, numbers.Real | Decimal) and bool(cell != cell)
