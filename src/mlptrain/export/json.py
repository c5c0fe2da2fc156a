"""How is a model written as JSON, for a reader in any language? docs/export.md describes the document."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.amounts import CELL
from mlptrain.data.dates import pattern
from mlptrain.export.cells import canonical
from mlptrain.export.exported import Exported, GraphFormat
from mlptrain.export.golden import Golden, Run, named, numbers_in
from mlptrain.export.graph import Node, Source, evaluate
from mlptrain.export.program import Program

VERSION = 1
"""Of the document."""
ARRAYS = {"constant": "values", "matmul": "matrix", "lookup": "table", "take": "places"}
"""The key of the array of a step."""


class JsonFile(GraphFormat):
    """The steps of the graph, the columns and the golden rows."""

    name: ClassVar = "json"
    suffix: ClassVar = ".json"
    meaning: ClassVar = "a JSON document of the steps, for a reader in any language"
    checked_by: ClassVar = "NumPy, from the steps in the file"

    def write(self, exported: Exported) -> bytes:
        return (json.dumps(document(exported), ensure_ascii=False, allow_nan=False) + "\n").encode()

    def runner(self, content: bytes, program: Program) -> Run:
        _, outputs = read(json.loads(content))

        def run(golden: Golden) -> Mapping[str, Sequence[Any]]:
            values = evaluate(outputs, numbers_in(program, golden.table))
            return named(program, values[0], values[1] if len(values) > 1 else None)

        return run

    def facts(self, content: bytes, exported: Exported) -> list[str]:
        return [f"{len(exported.program.nodes):,} steps, {exported.golden.table.rows} golden rows"]


def document(exported: Exported) -> dict[str, Any]:
    """The whole document."""
    program, nodes = exported.program, exported.program.nodes
    place = {id(node): i for i, node in enumerate(nodes)}
    labels, numbers = program.found.labels, program.found.numbers
    outputs = [
        {
            "name": column.name,
            "step": place[id(labels if column.label and labels else numbers)],
            "place": column.place,
            "words": program.found.words[column.place] if column.label else None,
        }
        for column in program.columns
    ]
    rows = exported.golden.first(exported.golden.table.rows)
    return {
        "format": "mlptrain",
        "version": VERSION,
        "about": exported.about,
        "mlptrain": exported.version,
        "run": program.model.plan.name,
        "model_sha256": exported.digest,
        "proof": exported.proof,
        "tolerance": exported.tolerance,
        "size": exported.size,
        "missing": sorted({*program.missing, *map(canonical, program.missing)}),
        "columns": [column_document(one) for one in program.sources],
        "steps": [step(node, place) for node in nodes],
        "finite": [place[id(program.scores)], place[id(numbers)]],
        "outputs": outputs,
        "golden": {
            "rows": [list(row.values()) for row, _ in rows],
            "predictions": [predictions for _, predictions in rows],
        },
    }


def column_document(one: Source) -> dict[str, Any]:
    """How the cells of a column are read."""
    found: dict[str, Any] = {"name": one.column, "kind": one.kind, "width": one.width}
    found["missing_allowed"] = one.missing_allowed
    if one.kind == "category":
        found |= {"codes": dict(one.codes), "unknown": one.unknown, "missing": one.missing}
    if one.kind == "moment":
        found |= {"spelling": one.spelling, "pattern": pattern(one.spelling)}
    if one.notation is not None:
        found |= {"notation": one.notation._asdict(), "cell": CELL, "pattern": one.notation.pattern}
    return found


def step(node: Node, place: Mapping[int, int]) -> dict[str, Any]:
    """One operation; its arguments are the numbers of earlier steps."""
    found: dict[str, Any] = {"op": node.op}
    if node.args:
        found["args"] = [place[id(one)] for one in node.args]
    if node.op == "source":
        found["column"] = node.value.column
    elif node.op == "interp":
        found |= {"knots": numbers_of(node.value[0]), "values": numbers_of(node.value[1])}
    elif node.op in ARRAYS:
        found[ARRAYS[node.op]] = numbers_of(node.value)
    return found | {"width": node.width, "dtype": node.dtype}


def numbers_of(values: NDArray[Any]) -> list[Any]:
    """An array as lists of the shortest numbers that are the same in its type; null for one that is not a number."""
    if values.ndim > 1:
        return [numbers_of(row) for row in values]
    if values.dtype == np.float32:
        return [float(str(value)) for value in values]
    return [None if value != value else value for value in values.tolist()]


def read(found: Mapping[str, Any]) -> tuple[list[Node], list[Node]]:
    """The nodes of a document, and those of the numbers and the labels."""
    kinds = {one["name"]: Source(one["name"], one["kind"], one["width"]) for one in found["columns"]}
    nodes: list[Node] = []
    for one in found["steps"]:
        op, dtype = one["op"], one["dtype"]
        value: Any = None
        if op == "source":
            value = kinds[one["column"]]
        elif op == "interp":
            value = np.array([one["knots"], one["values"]], np.float64)
        elif op in ARRAYS:
            value = np.array(one[ARRAYS[op]], np.int64 if op == "take" else dtype)
        nodes.append(Node(op, tuple(nodes[i] for i in one.get("args", ())), one["width"], dtype, value))
    numbers = [one["step"] for one in found["outputs"] if one["step"] == found["finite"][1]]
    labels = [one["step"] for one in found["outputs"] if one["step"] != found["finite"][1]]
    return nodes, [nodes[numbers[0]], *([nodes[labels[0]]] if labels else [])]
