"""A reader of `mlptrain export --to json` in the standard library, written after docs/export.md alone."""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

Vector = list[float]
NAN = math.nan


def predictions(document: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """The predictions for one row of raw cells."""
    cells = {one["name"]: cells_of(one, row[one["name"]], set(document["missing"])) for one in document["columns"]}
    values: list[Vector] = []
    for step in document["steps"]:
        args = [values[i] for i in step.get("args", ())]
        values.append(cells[step["column"]] if step["op"] == "source" else computed(step, args))
    assert all(math.isfinite(value) for i in document["finite"] for value in values[i])
    found = {}
    for one in document["outputs"]:
        value = values[one["step"]][one["place"]]
        found[one["name"]] = one["words"][int(value)] if one["words"] else value
    return found


# --- Cells


def cells_of(column: dict[str, Any], cell: Any, missing: set[str]) -> Vector:
    """The numbers of a cell, or its code."""
    kind = column["kind"]
    if kind == "category":
        word = "" if cell is None else canonical(str(cell))
        gone = word == "" or word in missing
        code = column["missing"] if gone else column["codes"].get(word, column["unknown"])
        assert code is not None
        return [code]
    if isinstance(cell, list):
        return [NAN if one is None else float(one) for one in cell]
    text = "" if cell is None else str(cell).strip()
    if text == "" or text in missing:
        assert column["missing_allowed"]
        return [NAN]
    return [float({"true": "1", "false": "0"}.get(text.lower(), text)) if kind == "number" else written(column, text)]


def canonical(word: str) -> str:
    word = unicodedata.normalize("NFC", word.strip())
    if word.lower() in ("true", "false"):
        return word.lower()
    if re.fullmatch(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?", word):
        value = float(word)
        return str(int(value)) if value.is_integer() else repr(value)
    return word


def written(column: dict[str, Any], text: str) -> float:
    """The number in an amount, or the seconds of a moment."""
    if column["kind"] == "amount":
        notation, parts = column["notation"], re.fullmatch(column["cell"], text)
        assert parts is not None
        assert parts["prefix"] == notation["prefix"]
        assert parts["suffix"] == notation["suffix"]
        assert re.fullmatch(column["pattern"], parts["body"])
        plain = parts["body"].replace(notation["thousands"], "").replace(notation["decimal"], ".")
        return float(plain) * (-1 if "-" in parts["first"] + parts["second"] or parts["open"] else 1)
    found = re.fullmatch(column["pattern"], text)
    assert found is not None
    parts_of_it = found.groupdict()
    days = 0
    if "year" in parts_of_it:
        names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
        month = parts_of_it.get("month")
        number = int(month) if month else names.index(parts_of_it["name"].lower()) + 1
        year = int(parts_of_it["year"])
        year += 0 if year > 99 else 2000 if year < 69 else 1900
        days = (datetime.date(year, number, int(parts_of_it["day"])) - datetime.date(1970, 1, 1)).days
    hour, minute, second = (float(parts_of_it[name] or 0) for name in ("hour", "minute", "second"))
    return days * 86400 + hour * 3600 + minute * 60 + second


# --- Steps


def computed(step: dict[str, Any], args: list[Vector]) -> Vector:
    """The value of one step."""
    op, first = step["op"], args[0] if args else []
    if op == "constant":
        return [NAN if value is None else value for value in step["values"]]
    if op == "concatenate":
        return [value for part in args for value in part]
    if op == "take":
        return [first[i] for i in step["places"]]
    if op == "matmul":
        return [
            math.fsum(x * row[j] for x, row in zip(first, step["matrix"], strict=True)) for j in range(step["width"])
        ]
    if op == "lookup":
        return list(step["table"][int(first[0])])
    if op == "interp":
        return [interp(x, step["knots"], step["values"]) for x in first]
    if op in ("sum", "max", "argmax", "sort"):
        whole: dict[str, Callable[[Vector], float]] = {
            "sum": math.fsum,
            "max": max,
            "argmax": lambda x: x.index(max(x)),
        }
        return sorted(first) if op == "sort" else [whole[op](first)]
    widest = step["width"]
    columns = [one * widest if len(one) == 1 else one for one in args]
    return [elementwise(step, *numbers) for numbers in zip(*columns, strict=True)]


def interp(x: float, knots: Vector, values: Vector) -> float:
    """Linear between the knots; at a knot that is there twice, the last one."""
    before = [i for i, knot in enumerate(knots) if knot <= x]
    if not before or before[-1] == len(knots) - 1:
        return values[-1] if before else values[0]
    i = before[-1]
    return values[i] + (values[i + 1] - values[i]) * (x - knots[i]) / (knots[i + 1] - knots[i])


def elementwise(step: dict[str, Any], a: float, b: float = 0.0, c: float = 0.0) -> float:
    """One number."""
    op = step["op"]
    if op == "cast":
        return int(a) if step["dtype"] == "int64" else float(a)
    if op == "where":
        return b if a else c
    two: dict[str, Callable[[], float]] = {
        "add": lambda: a + b,
        "subtract": lambda: a - b,
        "multiply": lambda: a * b,
        "divide": lambda: a / b,
        "maximum": lambda: max(a, b),
        "minimum": lambda: min(a, b),
        "copysign": lambda: math.copysign(a, b),
        "greater": lambda: a > b,
        "greater_equal": lambda: a >= b,
        "less": lambda: a < b,
        "less_equal": lambda: a <= b,
        "equal": lambda: a == b,
        "negative": lambda: -a,
        "absolute": lambda: abs(a),
        "sign": lambda: (a > 0) - (a < 0),
        "exp": lambda: math.exp(a),
        "expm1": lambda: math.expm1(a),
        "log": lambda: math.log(a),
        "log1p": lambda: math.log1p(a),
        "sqrt": lambda: math.sqrt(a),
        "sin": lambda: math.sin(a),
        "cos": lambda: math.cos(a),
        "tanh": lambda: math.tanh(a),
        "floor": lambda: math.floor(a),
        "isnan": lambda: a != a,
    }
    return two[op]()
