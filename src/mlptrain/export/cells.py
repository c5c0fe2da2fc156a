"""How does the code of an exported model read the cells of a row? The functions that a Python file carries with it.

They use the standard library alone, and each stands for itself: `python.py` copies the text of those that a model
needs. What is a cell is what `mlptrain predict` reads: numbers, words, dates and amounts as they are in the table.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import unicodedata
from typing import Any


def read_number(column: str, cell: Any, missing: frozenset[str], required: bool) -> float:
    """The number in a cell, NaN where it is missing."""
    value = math.nan
    if isinstance(cell, str):
        text = {"true": "1", "false": "0"}.get(cell.strip().lower(), cell.strip())
        try:
            value = float(text.replace("_", "?")) if text and text not in missing else value
        except ValueError:
            raise ValueError(f"column {column!r}: {cell!r} is not a number") from None
    elif cell is not None:
        value = float(cell)
    if math.isinf(value):
        raise ValueError(f"column {column!r}: the value is infinite")
    if required and math.isnan(value):
        raise ValueError(f"column {column!r}: the value is missing")
    return value


def canonical(word: str) -> str:
    """The text of a category, the same for every spelling: 1 for 1.0, true for True."""
    word = unicodedata.normalize("NFC", word.strip())
    if word.lower() in ("true", "false"):
        return word.lower()
    if re.fullmatch(r"[-+]?(0|[1-9]\d*)", word):
        return word.removeprefix("+") if word.strip("+-") != "0" else "0"
    if re.fullmatch(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?", word) and math.isfinite(float(word)):
        text = format(decimal.Decimal(repr(float(word) or 0.0)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return word


def read_category(
    column: str, cell: Any, missing: frozenset[str], codes: dict[str, int], others: tuple[int | None, int | None]
) -> int:
    """The code of a cell; `others` are those of an unknown and of a missing one, None where it is refused."""
    unknown, absent = others
    is_nan = isinstance(cell, float) and math.isnan(cell)
    word = "" if cell is None or is_nan else canonical(cell if isinstance(cell, str) else repr(cell))
    if not word or word in missing:
        if absent is None:
            raise ValueError(f"column {column!r}: the value is missing")
        return absent
    code = codes.get(word, unknown)
    if code is None:
        raise ValueError(f"column {column!r}: {cell!r} is a category that training did not see")
    return code


def read_moment(column: str, cell: Any, missing: frozenset[str], form: tuple[str, str], required: bool) -> float:
    """The seconds since the start of 1970 by the clock on the wall, NaN where the cell is missing.

    `form` is the spelling and its regular expression.
    """
    spelling, pattern = form
    text = "" if cell is None else str(cell).strip()
    if not text or text in missing or text == "NaT":
        if required:
            raise ValueError(f"column {column!r}: the value is missing")
        return math.nan
    match = re.fullmatch(pattern, text)
    if match is None:
        raise ValueError(f"column {column!r}: {text!r} is not written as {spelling}")
    found = match.groupdict()
    seconds = 0.0
    if found["hour"] is not None:
        hour, minute = int(found["hour"]), int(found["minute"])
        second = float((found["second"] or "0").replace(",", "."))
        half = (found["half"] or "").lower()
        if hour > 23 or minute > 59 or second >= 61 or (half and not 1 <= hour <= 12):
            raise ValueError(f"column {column!r}: {text!r} is not a time of day")
        hour = hour % 12 + {"a": 0, "p": 12}[half] if half else hour
        seconds = hour * 3600 + minute * 60 + second
    if "day" not in found:
        return seconds
    names = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    month = int(found["month"]) if "month" in found else names.index(found["name"].lower()) + 1
    year = int(found["year"])
    year += 0 if year >= 100 else 2000 if year < 69 else 1900
    try:
        days = datetime.date(year, month, int(found["day"])).toordinal() - 719_163
    except ValueError:
        raise ValueError(f"column {column!r}: {text!r} is not a day of the calendar") from None
    return days * 86400.0 + seconds


def read_amount(column: str, cell: Any, missing: frozenset[str], form: tuple[str, ...], required: bool) -> float:
    """The number in a cell with a unit or marks of thousands, NaN where it is missing.

    `form` is the decimal mark, the mark of thousands, prefix and suffix, and the regular expressions of a cell and of
    the number in it.
    """
    decimal_mark, thousands, prefix, suffix, whole, body = form
    if not isinstance(cell, str):
        return read_number(column, cell, missing, required)
    text = re.sub("[\u00a0\u202f\u2009]", " ", cell.strip())
    if not text or text in missing or canonical(text) in missing:
        return read_number(column, None, missing, required)
    match = re.fullmatch(whole, text)
    found = match.groupdict() if match else {}
    sound = found and bool(found["open"]) == bool(found["close"]) and not (found["first"] and found["second"])
    if not sound or (found["prefix"], found["suffix"]) != (prefix, suffix) or not re.match(body, found["body"]):
        raise ValueError(f"column {column!r}: {cell!r} is not written as in training")
    value = float(found["body"].replace(thousands, "").replace(decimal_mark, ".", 1))
    return -value if found["open"] or found["first"] + found["second"] in ("-", "\u2212") else value
