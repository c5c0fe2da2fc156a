"""How is a model written as one Python file that needs the standard library alone?"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.amounts import CELL
from mlptrain.data.dates import pattern
from mlptrain.export import cells
from mlptrain.export.exported import FILE, Exported, GraphFormat, one_line
from mlptrain.export.golden import Golden, Run
from mlptrain.export.graph import Node, Source
from mlptrain.export.lower import INFIX, Code, number
from mlptrain.export.program import Program

FUNCTIONS = {
    "absolute": "abs",
    "sqrt": "sqrt",
    "log1p": "log1p",
    "sin": "sin",
    "cos": "cos",
    "tanh": "tanh",
    "floor": "floor",
    "isnan": "isnan",
    "copysign": "copysign",
    "maximum": "larger",
    "minimum": "smaller",
    "sign": "sign",
    "exp": "exponential",
    "expm1": "exponential_minus_1",
    "log": "logarithm",
}
READERS: dict[str, list[Callable[..., Any]]] = {
    "number": [cells.read_number],
    "amount": [cells.canonical, cells.read_number, cells.read_amount],
    "moment": [cells.read_moment],
    "category": [cells.canonical, cells.read_category],
}

HEAD = '''#!/usr/bin/env python3
"""{about}

Made by mlptrain {version} from the model with this sha256; it needs Python 3.9 or later and nothing else.
{digest}
{proof}

    python {file} < rows.jsonl     one JSON object a line in, one a line out
    python {file} --selftest       compares {golden} rows that are in this file

From Python: `predict({{"column": cell, ...}})` with the cells as they are in a table, None where one is missing. It
raises a ValueError for a row that mlptrain would refuse. Columns: {columns}.
"""

from __future__ import annotations

import bisect
import datetime
import decimal
import json
import math
import re
import sys
import unicodedata
from math import copysign, cos, floor, isnan, log1p, sin, sqrt, tanh
from operator import mul
from typing import Any

'''

HELPERS = '''
def larger(a, b):
    """The larger one; not a number if one of them is none."""
    return a if a > b or a != a else b


def smaller(a, b):
    """The smaller one; not a number if one of them is none."""
    return a if a < b or a != a else b


def sign(a):
    """-1, 0 or 1."""
    return (a > 0) - (a < 0)


def exponential(a):
    """e^a, infinite beyond the largest number."""
    return math.exp(a) if a < 709.78 else math.inf if a == a else a


def exponential_minus_1(a):
    """e^a - 1, exact near 0."""
    return math.expm1(a) if a < 709.78 else math.inf if a == a else a


def logarithm(a):
    """log a."""
    return math.log(a) if a > 0 else -math.inf if a == 0 else math.nan


def single(a):
    """A number as float32 holds it, as far as it is too large for that."""
    return a if -3.4028235677973366e38 < a < 3.4028235677973366e38 or a != a else copysign(math.inf, a)


def block(column, cell, width):
    """The cells of a block of columns."""
    if not isinstance(cell, (list, tuple)) or len(cell) != width:
        raise ValueError(f"column {column!r} must be a list of {width} numbers")
    return cell


def argmax(x):
    """The place of the largest number."""
    return max(range(len(x)), key=x.__getitem__)


def interpolated(x, knots, values):
    """The piecewise linear function through the points, constant beyond them."""
    i = bisect.bisect_right(knots, x)
    if i == 0 or x != x:
        return values[0] if x == x else x
    if i == len(knots):
        return values[-1]
    share = (x - knots[i - 1]) / (knots[i] - knots[i - 1])
    return values[i - 1] + share * (values[i] - values[i - 1])

'''

PREDICT = '''

def predict(row):
    """The predictions for a row, by name."""
    absent = [name for name in COLUMNS if name not in row]
    if absent:
        raise ValueError(f"columns are not there: {absent}")
'''

MAIN = '''

def selftest():
    """Compare the rows of this file; the number of rows that differ."""
    wrong, largest = 0, 0.0
    for cells, expected in GOLDEN:
        found = predict(dict(zip(COLUMNS, cells)))
        for value, other in zip(found.values(), expected):
            if isinstance(other, float):
                gap = abs(value - other) / max(SIZE, abs(other))
                largest = max(largest, gap)
                wrong += not gap <= TOLERANCE
            else:
                wrong += value != other
    print(f"{len(GOLDEN)} rows, largest difference {largest:.3g}, allowed {TOLERANCE:g}, {wrong} wrong")
    return wrong


def main():
    """Predict the rows of stdin."""
    if "--selftest" in sys.argv:
        sys.exit(1 if selftest() else 0)
    for number, line in enumerate(sys.stdin, start=1):
        if line.strip():
            try:
                print(json.dumps(predict(json.loads(line)), ensure_ascii=False), flush=True)
            except (ValueError, TypeError, AttributeError) as error:
                sys.exit(f"line {number}: {error}")


if __name__ == "__main__":
    main()
'''


class PythonFile(GraphFormat):
    """One file, with the functions that read cells, the weights and the statements of the graph."""

    name: ClassVar = "python"
    suffix: ClassVar = ".py"
    meaning: ClassVar = "one Python file that needs the standard library alone"
    checked_by: ClassVar = "the file itself"
    most_rows: ClassVar = 200

    def write(self, exported: Exported) -> bytes:
        program, golden = exported.program, exported.golden
        code = Code(program.outputs)
        body = list(statements(exported, code))
        readers = dict.fromkeys(reader for one in program.sources for reader in READERS[one.kind])
        parts = [head(exported), *(f"\n{inspect.getsource(reader)}\n" for reader in readers), HELPERS]
        parts.append(f"\nCOLUMNS = {[one.column for one in program.sources]!r}\n")
        parts.append(f"MISSING = frozenset({missing(exported)!r})\n")
        parts += [f"{name} = {literal(values)}\n" for name, values in code.constants.items()]
        parts += [PREDICT, *body]
        parts += [f"\n\nTOLERANCE, SIZE = {exported.tolerance!r}, {exported.size!r}\n", golden_text(golden), MAIN]
        return "".join(parts).encode()

    def runner(self, content: bytes, program: Program) -> Run:
        def run(golden: Golden) -> Mapping[str, Sequence[Any]]:
            space: dict[str, Any] = {"__name__": "exported_model"}
            exec(compile(content, "exported_model", "exec"), space)  # the text that was written here
            found = [space["predict"](row) for row in golden.rows]
            return {name: [one[name] for one in found] for name in golden.expected}

        return run

    def facts(self, content: bytes, exported: Exported) -> list[str]:
        return [f"try: python {FILE} --selftest; python {FILE} < rows.jsonl"]


def head(exported: Exported) -> str:
    """The docstring and the imports."""
    return HEAD.format(
        about=one_line(exported.about),
        version=exported.version,
        digest=exported.digest,
        proof=exported.proof,
        file=f"{exported.name}.py",
        golden=exported.golden.table.rows,
        columns=one_line(", ".join(one.column for one in exported.program.sources)),
    )


def missing(exported: Exported) -> list[str]:
    """The words that mean a missing value, as they are written and as texts of categories."""
    words = exported.program.missing
    return sorted({*words, *(cells.canonical(word) for word in words)})


def golden_text(golden: Golden) -> str:
    """The rows with their predictions."""
    rows = ((list(row.values()), expected) for row, expected in golden.first(golden.table.rows))
    lines = "".join(f"    {row!r},\n" for row in rows)
    return f"GOLDEN = [\n{lines}]\n"


def literal(values: NDArray[Any]) -> str:
    """A constant as Python."""
    if values.ndim == 2:
        return "[" + ", ".join(literal(row) for row in values) + "]"
    return "[" + ", ".join(map(number, values)) + "]"


def statements(exported: Exported, code: Code) -> Iterator[str]:
    """The body of `predict`."""
    program = exported.program
    for node in code.statements:
        yield f"    {code.name(node)} = {value(node, code)}\n"
    scores, numbers = (code.name(node) for node in code.outputs[:2])
    yield f"    if not all(map(math.isfinite, {scores} + {numbers})):\n"
    yield '        raise ValueError("the scores are not finite: values are too far from those of training")\n'
    yield "    return {\n"
    for name, label, place in program.columns:
        words = program.found.words[place] if label else None
        found = f"{code.name(code.outputs[2])}[{place}]" if label else f"{numbers}[{place}]"
        yield f"        {name!r}: {found if words is None else f'{list(words)!r}[{found}]'},\n"
    yield "    }\n"


def value(node: Node, code: Code) -> str:
    """The expression of a statement, a list."""
    if node.elementwise:
        text = expression(node, code, node.width)
        vectors = [leaf for leaf in code.leaves(node) if leaf.width == node.width > 1]
        if node.width == 1 or not vectors:
            return f"[{text}]" if node.width == 1 else f"[{text}] * {node.width}"
        if len(vectors) == 1:
            return f"[{text} for {element(vectors[0], code)} in {code.name(vectors[0])}]"
        elements, names = ", ".join(element(v, code) for v in vectors), ", ".join(map(code.name, vectors))
        return f"[{text} for {elements} in zip({names})]"
    args = [code.name(one) for one in node.args]
    return STRUCTURES[node.op](node, code, *args)


def element(leaf: Node, code: Code) -> str:
    """The name of one number of a vector."""
    return f"x{code.name(leaf)}"


def expression(node: Node, code: Code, width: int) -> str:
    """One number of an elementwise operation."""
    args = [operand(one, code, width) for one in node.args]
    if node.op in INFIX:
        return f"({args[0]} {INFIX[node.op]} {args[1]})"
    if node.op == "where":
        return f"({args[1]} if {args[0]} else {args[2]})"
    if node.op == "negative":
        return f"(-{args[0]})"
    if node.op == "cast":
        same = node.args[0].dtype == "float32" or node.dtype == "float64"
        plain = node.args[0].dtype in ("bool", "int64")
        return f"int({args[0]})" if node.dtype == "int64" else args[0] if same or plain else f"single({args[0]})"
    return f"{FUNCTIONS[node.op]}({', '.join(args)})"


def operand(node: Node, code: Code, width: int) -> str:
    """One number of an argument."""
    if node.op == "constant" and node.width == 1:
        return number(node.value[0], "math.nan")
    if code.is_part(node):
        return expression(node, code, width)
    return f"{code.name(node)}[0]" if node.width == 1 else element(node, code)


def source_text(node: Node, code: Code) -> str:
    """The cell of a column as numbers."""
    one: Source = node.value
    name, required = repr(one.column), not one.missing_allowed
    cell = f"row[{name}]"
    if one.kind == "category":
        absent = one.missing if one.missing_allowed else None
        return f"[read_category({name}, {cell}, MISSING, {dict(one.codes)!r}, {(one.unknown, absent)!r})]"
    if one.kind == "moment":
        return f"[read_moment({name}, {cell}, MISSING, {(one.spelling, pattern(one.spelling))!r}, {required})]"
    if one.notation is not None:
        form = (*one.notation, CELL, one.notation.pattern)
        return f"[read_amount({name}, {cell}, MISSING, {form!r}, {required})]"
    if one.width == 1:
        return f"[read_number({name}, {cell}, MISSING, {required})]"
    return f"[read_number({name}, cell, MISSING, {required}) for cell in block({name}, {cell}, {one.width})]"


STRUCTURES: dict[str, Callable[..., str]] = {
    "source": source_text,
    "concatenate": lambda node, code, *args: " + ".join(args),
    "take": lambda node, code, x: f"[{x}[i] for i in {node.value.tolist()!r}]",
    "matmul": lambda node, code, x: (
        f"[sum(map(mul, {x}, w)) for w in {code.constant(np.ascontiguousarray(node.value.T))}]"
    ),
    "lookup": lambda node, code, x: f"{code.constant(node.value)}[{x}[0]]",
    "interp": lambda node, code, x: (
        f"[interpolated(a, {code.constant(node.value[0])}, {code.constant(node.value[1])}) for a in {x}]"
    ),
    "sum": lambda node, code, x: f"[sum({x})]",
    "max": lambda node, code, x: f"[max({x})]",
    "argmax": lambda node, code, x: f"[argmax({x})]",
    "sort": lambda node, code, x: f"sorted({x})",
}
