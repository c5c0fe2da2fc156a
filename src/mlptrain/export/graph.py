"""Of which operations is an exported model made?

A node is a vector of numbers for one row of a table. The names of the operations are those of NumPy, and so is their
meaning; a vector of width 1 is broadcast. `evaluate` computes a graph with NumPy, for many rows at once: it is the
definition of the operations that the formats write down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.amounts import Notation

Dtype = Literal["float32", "float64", "int64", "bool"]
Number = float | int
LOGICAL: tuple[str, ...] = ("greater", "greater_equal", "less", "less_equal", "equal", "isnan")
"""Elementwise operations whose result is true or false."""
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "copysign": np.copysign,
    "negative": np.negative,
    "absolute": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "floor": np.floor,
    "isnan": np.isnan,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "where": np.where,
}
"""Every elementwise operation but `cast`, which changes the type of the numbers."""


@dataclass(frozen=True)
class Source:
    """A column of the table that is read: how its cells become numbers."""

    column: str
    kind: Literal["number", "amount", "moment", "category"]
    """A `moment` is in seconds since the start of 1970, a `category` is a code; the others are the numbers themselves,
    NaN where missing."""
    width: int = 1
    missing_allowed: bool = True
    missing: int = 0
    """The code of a missing cell."""
    unknown: int | None = None
    """The code of a word that is not among `codes`; None refuses it."""
    codes: Mapping[str, int] = field(default_factory=dict)
    """The code of each canonical word."""
    spelling: str = ""
    """How moments are written."""
    notation: Notation | None = None
    """How amounts are written."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation with its arguments; its value is a vector of `width` numbers for each row."""

    op: str
    args: tuple[Node, ...]
    width: int
    dtype: Dtype
    value: Any = None
    """`constant`: the numbers (width,). `matmul` and `lookup`: a matrix. `interp`: two rows of knots. `take`: the
    indices. `source`: the `Source`."""

    @property
    def elementwise(self) -> bool:
        """Whether each number of it depends on one number of each argument."""
        return self.op in ELEMENTWISE or self.op == "cast"

    def __add__(self, other: Node | Number) -> Node:
        return elementwise("add", self, other)

    def __radd__(self, other: Number) -> Node:
        return elementwise("add", other, self)

    def __sub__(self, other: Node | Number) -> Node:
        return elementwise("subtract", self, other)

    def __rsub__(self, other: Number) -> Node:
        return elementwise("subtract", other, self)

    def __mul__(self, other: Node | Number) -> Node:
        return elementwise("multiply", self, other)

    def __rmul__(self, other: Number) -> Node:
        return elementwise("multiply", other, self)

    def __truediv__(self, other: Node | Number) -> Node:
        return elementwise("divide", self, other)

    def __rtruediv__(self, other: Number) -> Node:
        return elementwise("divide", other, self)

    def __neg__(self) -> Node:
        return elementwise("negative", self)

    def __abs__(self) -> Node:
        return elementwise("absolute", self)

    def __gt__(self, other: Node | Number) -> Node:
        return elementwise("greater", self, other)

    def __ge__(self, other: Node | Number) -> Node:
        return elementwise("greater_equal", self, other)

    def __lt__(self, other: Node | Number) -> Node:
        return elementwise("less", self, other)

    def __le__(self, other: Node | Number) -> Node:
        return elementwise("less_equal", self, other)


def constant(values: Any, dtype: Dtype) -> Node:
    """A vector that is the same for every row."""
    numbers = np.asarray(values, dtype).reshape(-1)
    return Node("constant", (), len(numbers), dtype, numbers)


def source(read: Source) -> Node:
    """The cells of a column."""
    return Node("source", (), read.width, "int64" if read.kind == "category" else "float64", read)


def elementwise(op: str, *arguments: Node | Number) -> Node:
    """An elementwise operation; plain numbers take the type of the nodes."""
    typed = [one for one in arguments if isinstance(one, Node) and one.dtype != "bool"]
    dtype: Dtype = typed[0].dtype if typed else "float64"
    args = tuple(one if isinstance(one, Node) else constant(one, dtype) for one in arguments)
    return Node(op, args, max(one.width for one in args), "bool" if op in LOGICAL else dtype)


def cast(node: Node, dtype: Dtype) -> Node:
    """The same numbers as another type; itself where it has that type."""
    return node if node.dtype == dtype else Node("cast", (node,), node.width, dtype)


def where(condition: Node, yes: Node | Number, no: Node | Number) -> Node:
    """`yes` where the condition holds, `no` elsewhere."""
    return elementwise("where", condition, yes, no)


def maximum(a: Node, b: Node | Number) -> Node:
    """The larger one of each pair."""
    return elementwise("maximum", a, b)


def minimum(a: Node, b: Node | Number) -> Node:
    """The smaller one of each pair."""
    return elementwise("minimum", a, b)


def clip(a: Node, low: Number, high: Number) -> Node:
    """`a`, limited to the range from `low` to `high`."""
    return minimum(maximum(a, low), high)


def function(op: str) -> Callable[[Node], Node]:
    """An elementwise function of one argument."""
    return lambda x: elementwise(op, x)


exp, expm1, log, log1p = function("exp"), function("expm1"), function("log"), function("log1p")
sqrt, sin, cos, tanh = function("sqrt"), function("sin"), function("cos"), function("tanh")
floor, sign, isnan = function("floor"), function("sign"), function("isnan")


def concatenate(parts: Sequence[Node]) -> Node:
    """One vector after the other."""
    if len(parts) == 1:
        return parts[0]
    return Node("concatenate", tuple(parts), sum(one.width for one in parts), parts[0].dtype)


def take(x: Node, places: Sequence[int]) -> Node:
    """Some of the numbers."""
    return Node("take", (x,), len(places), x.dtype, np.asarray(places, np.int64))


def matmul(x: Node, matrix: NDArray[Any]) -> Node:
    """x W, for W (x.width, width)."""
    return Node("matmul", (x,), matrix.shape[1], x.dtype, np.ascontiguousarray(matrix))


def lookup(code: Node, table: NDArray[Any], dtype: Dtype) -> Node:
    """The row of a `table` (codes, width) that `code` names."""
    return Node("lookup", (code,), table.shape[1], dtype, np.asarray(table, dtype))


def interp(x: Node, knots: Any, values: Any) -> Node:
    """The piecewise linear function through the points, constant beyond them; as np.interp."""
    return Node("interp", (x,), x.width, "float64", np.array([knots, values], np.float64))


def total(x: Node) -> Node:
    """The sum of the numbers."""
    return Node("sum", (x,), 1, x.dtype)


def largest(x: Node) -> Node:
    """The largest number."""
    return Node("max", (x,), 1, x.dtype)


def argmax(x: Node) -> Node:
    """The place of the largest number, the first one of several."""
    return Node("argmax", (x,), 1, "int64")


def sort(x: Node) -> Node:
    """The numbers in increasing order."""
    return x if x.width == 1 else Node("sort", (x,), x.width, x.dtype)


def in_order(outputs: Sequence[Node]) -> list[Node]:
    """Every node that `outputs` need, each after its arguments."""
    found: dict[int, Node] = {}
    waiting: list[tuple[Node, bool]] = [(node, False) for node in reversed(outputs)]
    while waiting:
        node, ready = waiting.pop()
        if id(node) in found:
            continue
        if ready:
            found[id(node)] = node
        else:
            waiting.append((node, True))
            waiting += [(one, False) for one in reversed(node.args)]
    return list(found.values())


def sources(nodes: Sequence[Node]) -> Iterator[Source]:
    """The columns that are read."""
    yield from (node.value for node in nodes if node.op == "source")


@np.errstate(all="ignore")
def evaluate(outputs: Sequence[Node], cells: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """The values (rows, width) of `outputs`, given the numbers or codes (rows, width) of each column."""
    rows = len(next(iter(cells.values())))
    found: dict[int, NDArray[Any]] = {}
    for node in in_order(outputs):
        args = [found[id(one)] for one in node.args]
        value = np.asarray(cells[node.value.column] if node.op == "source" else computed(node, args))
        found[id(node)] = np.broadcast_to(value.astype(node.dtype, copy=False), (rows, node.width))
    return [found[id(node)] for node in outputs]


def computed(node: Node, args: Sequence[NDArray[Any]]) -> Any:
    """The value of one operation."""
    if node.op in ELEMENTWISE:
        return ELEMENTWISE[node.op](*args)
    return STRUCTURAL[node.op](node, *args)


STRUCTURAL: dict[str, Callable[..., Any]] = {
    "constant": lambda node: node.value[None, :],
    "cast": lambda node, x: x,
    "concatenate": lambda node, *parts: np.concatenate(parts, axis=1),
    "take": lambda node, x: x[:, node.value],
    "matmul": lambda node, x: x @ node.value,
    "lookup": lambda node, code: node.value[code[:, 0]],
    "interp": lambda node, x: np.interp(x, *node.value),
    "sum": lambda node, x: x.sum(axis=1, keepdims=True),
    "max": lambda node, x: x.max(axis=1, keepdims=True),
    "argmax": lambda node, x: x.argmax(axis=1)[:, None],
    "sort": lambda node, x: np.sort(x, axis=1),
}
"""Every other operation, by name."""
