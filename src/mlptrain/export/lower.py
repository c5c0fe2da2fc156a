"""In which statements is a graph written down as code?

Each statement computes one vector. An elementwise operation that a single statement needs is part of it, as long as the
expression stays readable: `max(x + b, 0)` is one loop, not two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.export.graph import Node, in_order

INFIX = {
    "add": "+",
    "subtract": "-",
    "multiply": "*",
    "divide": "/",
    "greater": ">",
    "greater_equal": ">=",
    "less": "<",
    "less_equal": "<=",
    "equal": "==",
}
"""Operators that Python and C have for elementwise operations."""
DEEPEST = 8
"""Elementwise operations within each other in one statement."""


class Code:
    """The nodes of a graph as statements, with a name for every vector that is kept."""

    def __init__(self, outputs: Sequence[Node]) -> None:
        nodes = in_order(outputs)
        self.outputs = list(outputs)
        self._inlined = inlined(nodes, outputs)
        self.statements = [node for node in nodes if node.op != "constant" and id(node) not in self._inlined]
        self.constants: dict[str, NDArray[Any]] = {}
        """Vectors and matrices by name, each once."""
        self._names = {id(node): f"v{i}" for i, node in enumerate(self.statements)}
        self._by_content: dict[Any, str] = {}

    def name(self, node: Node) -> str:
        """The name of a vector."""
        return self.constant(node.value) if node.op == "constant" else self._names[id(node)]

    def constant(self, values: NDArray[Any]) -> str:
        """The name of an array."""
        key = values.dtype.str, values.shape, values.tobytes()
        name = self._by_content.setdefault(key, f"c{len(self._by_content)}")
        self.constants[name] = values
        return name

    def is_part(self, node: Node) -> bool:
        """Whether a node is written within the statement that needs it."""
        return id(node) in self._inlined or (node.op == "constant" and node.width == 1)

    def leaves(self, node: Node) -> list[Node]:
        """The vectors that the statement of a node reads, each once."""
        if not node.elementwise:
            return list({id(one): one for one in node.args}.values())
        found: dict[int, Node] = {}
        for one in node.args:
            if not self.is_part(one):
                found[id(one)] = one
            elif one.op != "constant":
                found |= {id(leaf): leaf for leaf in self.leaves(one)}
        return list(found.values())


def inlined(nodes: Sequence[Node], outputs: Sequence[Node]) -> set[int]:
    """The elementwise nodes that are part of another statement, by identity."""
    uses = Counter(id(one) for node in nodes for one in node.args)
    uses.update(id(node) for node in outputs for _ in range(2))
    depth: dict[int, int] = {}
    found: set[int] = set()
    for node in nodes:
        if not node.elementwise:
            continue
        deepest = 0
        for one in node.args:
            fits = one.elementwise and uses[id(one)] == 1 and one.width == node.width
            if fits and depth[id(one)] < DEEPEST:
                found.add(id(one))
                deepest = max(deepest, depth[id(one)] + 1)
        depth[id(node)] = deepest
    return found


def number(value: Any, missing: str = "") -> str:
    """The shortest text that is this number in its own type; `missing` for one that is not a number."""
    if value != value:
        return missing
    if isinstance(value, np.bool_ | bool):
        return "1" if value else "0"
    if isinstance(value, np.integer | int):
        return str(int(value))
    text = np.format_float_scientific(value, trim="-") if value and not 1e-4 <= abs(value) < 1e9 else None
    return text or np.format_float_positional(value, trim="0")
