"""How is a model written as an ONNX graph?

Raw columns go in, one input each and named as in the table: numbers as double [rows, 1] with NaN for a missing cell,
words as string [rows, 1] with "" for one. Labels and probabilities come out, or values. Everything is written in the
operators of opset 17 that runtimes compute in both precisions; what they lack in float64 is composed of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import TextColumn, canonical
from mlptrain.data.tables import Table
from mlptrain.errors import EnvironmentFault
from mlptrain.export.exported import Exported, GraphFormat
from mlptrain.export.golden import Golden, Run, named, numbers_in
from mlptrain.export.graph import Node, Source
from mlptrain.export.program import Program

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
"""The oldest that have all that is needed, so that old runtimes load the files too."""
OPERATORS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "negative": "Neg",
    "absolute": "Abs",
    "sign": "Sign",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "sin": "Sin",
    "tanh": "Tanh",
    "floor": "Floor",
    "isnan": "IsNaN",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "equal": "Equal",
    "where": "Where",
}
"""Operations with an operator of their own."""
EXTRA = 'pip install "mlptrain[onnx]"'


class OnnxFile(GraphFormat):
    """A graph for onnxruntime and everything else that reads ONNX."""

    name: ClassVar = "onnx"
    suffix: ClassVar = ".onnx"
    meaning: ClassVar = "an ONNX graph, raw columns in"

    @property
    def checked_by(self) -> str:  # type: ignore[override]  # it depends on what is installed
        return "onnxruntime" if runtime() else "the reference evaluator of onnx"

    def write(self, exported: Exported) -> bytes:
        return Builder(exported).model()

    def runner(self, content: bytes, program: Program) -> Run:
        session = opened(content)

        def run(golden: Golden) -> Mapping[str, Sequence[Any] | NDArray[Any]]:
            return decoded(program, session(feeds(program, golden.table)))

        return run

    def facts(self, content: bytes, exported: Exported) -> list[str]:
        given = [f"{one.column} ({'string' if one.kind == 'category' else 'double'})" for one in inputs_of(exported)]
        shown = given if len(given) <= 8 else [*given[:8], f"{len(given) - 8} more"]
        outputs = "label, probabilities" if exported.program.found.labels else "value"
        return [f"inputs [rows, 1]: {', '.join(shown)}; outputs: {outputs}"]


def onnx_package() -> Any:
    """The package `onnx`, which writes the file."""
    try:
        import onnx
    except ImportError:
        raise EnvironmentFault(f"export --to onnx needs the package onnx, which is not installed: {EXTRA}") from None
    return onnx


def runtime() -> Any:
    """The package `onnxruntime`, or None."""
    try:
        import onnxruntime
    except ImportError:
        return None
    return onnxruntime


def inputs_of(exported: Exported) -> list[Source]:
    """The columns that are inputs."""
    return exported.program.sources


class Builder:
    """Writes the nodes of a graph, each after its arguments."""

    def __init__(self, exported: Exported) -> None:
        self.onnx = onnx_package()
        self.helper, self.types = self.onnx.helper, self.onnx.TensorProto
        self.exported = exported
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self.inputs: list[Any] = []
        self._by_content: dict[Any, str] = {}
        self._names: dict[int, str] = {}
        self._taken = {one.column for one in inputs_of(exported)}

    # --- The whole

    def model(self) -> bytes:
        """The bytes of the file."""
        program = self.exported.program
        for node in program.nodes:
            self._names[id(node)] = self.constant(node.value) if node.op == "constant" else self.written(node)
        graph = self.helper.make_graph(
            self.nodes, self.exported.name, self.inputs, self.outputs(), list(self.tensors.values())
        )
        opsets = [self.helper.make_opsetid("", OPSET), self.helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        made = self.helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR_VERSION,
            producer_name="mlptrain",
            producer_version=self.exported.version,
            doc_string=self.exported.about,
        )
        self.helper.set_model_props(made, metadata(self.exported))
        self.onnx.checker.check_model(made)
        return bytes(made.SerializeToString())

    def outputs(self) -> list[Any]:
        """The outputs: `label` and `probabilities`, or `value`."""
        program = self.exported.program
        found, types = program.found, self.types
        numbers = self.name(found.numbers)
        if found.labels is None:
            value = self.emit("Identity", [numbers], self.output("value"))
            return [self.tensor_info(value, types.DOUBLE, found.numbers.width)]
        probabilities, label = self.output("probabilities"), self.output("label")
        self.emit("Identity", [numbers], probabilities)
        labels, width = self.name(found.labels), len(found.words)
        words = list(found.words)
        if any(words):
            parts = [self.words(labels, i, one or ("0", "1")) for i, one in enumerate(words)]
            self.emit("Concat", parts, label, axis=1)
        else:
            self.emit("Identity", [labels], label)
        kind = types.STRING if any(words) else types.INT64
        return [
            self.tensor_info(label, kind, width),
            self.tensor_info(probabilities, types.DOUBLE, found.numbers.width),
        ]

    def output(self, name: str) -> str:
        """The name of an output, another one where a column has it."""
        while name in self._taken:
            name = f"predicted_{name}"
        return name

    def words(self, labels: str, place: int, words: tuple[str, ...]) -> str:
        """The words (rows, 1) for one of the labels."""
        one = self.emit("Gather", [labels, self.constant(np.array([place]))], axis=1)
        places, default = list(range(len(words))), ""
        return self.emit(
            "LabelEncoder", [one], domain="ai.onnx.ml", keys_int64s=places, values_strings=words, default_string=default
        )

    def tensor_info(self, name: str, kind: int, width: int) -> Any:
        """The type of an input or an output."""
        return self.helper.make_tensor_value_info(name, kind, ["rows", width])

    # --- Nodes

    def name(self, node: Node) -> str:
        """The name of the value of a node."""
        return self._names[id(node)]

    def emit(self, operator: str, args: Sequence[str], name: str | None = None, domain: str = "", **fields: Any) -> str:
        """Append a node; returns the name of its value."""
        name = name or self.free(operator.lower())
        self._taken.add(name)
        self.nodes.append(self.helper.make_node(operator, list(args), [name], domain=domain, **fields))
        return name

    def free(self, stem: str) -> str:
        """A name that no value and no column has."""
        number = len(self.nodes)
        while (name := f"{stem}_{number}") in self._taken or name in ("label", "probabilities", "value"):
            number += 1
        return name

    def constant(self, values: NDArray[Any]) -> str:
        """The name of a constant, each content once."""
        array = np.asarray(values)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._by_content:
            name = self.free(f"constant{len(self._by_content)}")
            self._taken.add(name)
            self._by_content[key], self.tensors[name] = name, self.onnx.numpy_helper.from_array(array, name)
        return self._by_content[key]

    def like(self, node: Node, value: float) -> str:
        """A number of the type of a node."""
        return self.constant(np.array([value], node.dtype))

    def written(self, node: Node) -> str:
        """Write a node; returns the name of its value."""
        args = [self.name(one) for one in node.args]
        if node.op in OPERATORS:
            return self.emit(OPERATORS[node.op], args)
        return COMPOSED[node.op](self, node, *args)

    def kind(self, dtype: str) -> int:
        """The type of ONNX."""
        types = self.types
        return int({"float32": types.FLOAT, "float64": types.DOUBLE, "int64": types.INT64, "bool": types.BOOL}[dtype])

    def source(self, node: Node) -> str:
        """The cells of a column."""
        one: Source = node.value
        strings = one.kind == "category"
        self.inputs.append(
            self.tensor_info(one.column, self.types.STRING if strings else self.types.DOUBLE, node.width)
        )
        if not strings:
            return self.emit("Identity", [one.column])
        gone = {canonical(word) for word in self.exported.program.missing} | {"", *self.exported.program.missing}
        codes = dict(one.codes) | dict.fromkeys(sorted(gone), one.missing)
        beyond = one.missing + 1  # no row of a table: `Gather` refuses it
        if not one.missing_allowed:
            codes |= dict.fromkeys(sorted(gone), beyond)
        return self.emit(
            "LabelEncoder",
            [one.column],
            domain="ai.onnx.ml",
            keys_strings=list(codes),
            values_int64s=list(codes.values()),
            default_int64=beyond if one.unknown is None else one.unknown,
        )

    def cast(self, node: Node, x: str) -> str:
        """Another type."""
        return self.emit("Cast", [x], to=self.kind(node.dtype))

    def concatenate(self, node: Node, *parts: str) -> str:
        """One after the other."""
        return self.emit("Concat", parts, axis=1)

    def take(self, node: Node, x: str) -> str:
        """Some columns."""
        return self.emit("Gather", [x, self.constant(node.value)], axis=1)

    def matmul(self, node: Node, x: str) -> str:
        """A product with a matrix."""
        return self.emit("MatMul", [x, self.constant(node.value)])

    def lookup(self, node: Node, code: str) -> str:
        """Rows of a table; the code is (rows, 1)."""
        flat = self.emit("Squeeze", [code, self.constant(np.array([1]))])
        return self.emit("Gather", [self.constant(node.value), flat], axis=0)

    def total(self, node: Node, x: str) -> str:
        """The sum over the columns."""
        return self.emit("ReduceSum", [x, self.constant(np.array([1]))], keepdims=1)

    def largest(self, node: Node, x: str) -> str:
        """The largest of the columns."""
        return self.emit("ReduceMax", [x], axes=[1], keepdims=1)

    def argmax(self, node: Node, x: str) -> str:
        """Its place."""
        return self.emit("ArgMax", [x], axis=1, keepdims=1)

    def sort(self, node: Node, x: str) -> str:
        """In increasing order."""
        name = self.free("sorted")
        places = f"{name}_places"
        self._taken |= {name, places}
        width = self.constant(np.array([node.width]))
        self.nodes.append(self.helper.make_node("TopK", [x, width], [name, places], axis=1, largest=0, sorted=1))
        return name

    def cos(self, node: Node, x: str) -> str:
        """sin(x + pi/2): runtimes before 1.32 have no cosine in double precision."""
        return self.emit("Sin", [self.emit("Add", [x, self.like(node, math.pi / 2)])])

    def expm1(self, node: Node, x: str) -> str:
        """2 t / (1 - t) with t = tanh(x / 2) where |x| < 1, which keeps small values, and e^x - 1 elsewhere."""
        t = self.emit("Tanh", [self.emit("Mul", [x, self.like(node, 0.5)])])
        one = self.like(node, 1)
        near = self.emit("Div", [self.emit("Mul", [t, self.like(node, 2)]), self.emit("Sub", [one, t])])
        far = self.emit("Sub", [self.emit("Exp", [x]), one])
        return self.emit("Where", [self.emit("Less", [self.emit("Abs", [x]), one]), near, far])

    def log1p(self, node: Node, x: str) -> str:
        """x log(u) / (u - 1) with u = 1 + x, which makes up for the rounding of u; x where u is 1."""
        one = self.like(node, 1)
        u = self.emit("Add", [x, one])
        is_one = self.emit("Equal", [u, one])
        infinite = self.emit("IsInf", [self.emit("Cast", [u], to=self.types.FLOAT)])
        lost = self.emit("Sub", [u, one])
        safe = self.emit("Where", [self.emit("Or", [is_one, infinite]), one, lost])
        kept = self.emit("Mul", [x, self.emit("Div", [self.emit("Log", [u]), safe])])
        return self.emit("Where", [is_one, x, self.emit("Where", [infinite, self.emit("Log", [u]), kept])])

    def copysign(self, node: Node, size: str, sign: str) -> str:
        """|size| with the sign; 0 counts as positive, whose size is 0 where this is used."""
        plus = self.emit("Abs", [size])
        return self.emit("Where", [self.emit("Less", [sign, self.like(node, 0)]), self.emit("Neg", [plus]), plus])

    def interp(self, node: Node, x: str) -> str:
        """The left knot of each number, and the line through it and the next one; columns are (rows, 1)."""
        knots, values = node.value
        slopes = np.divide(np.diff(values), np.diff(knots), out=np.zeros(len(knots) - 1), where=np.diff(knots) > 0)
        inside = self.emit("Min", [self.emit("Max", [x, self.constant(knots[:1])]), self.constant(knots[-1:])])
        passed = self.emit("GreaterOrEqual", [x, self.constant(knots[None, :])])
        count = self.emit("ReduceSum", [self.emit("Cast", [passed], to=self.types.INT64), self.constant(np.array([1]))])
        left = self.emit("Max", [self.emit("Sub", [count, self.constant(np.array([1]))]), self.constant(np.array([0]))])
        at = [
            self.emit("Gather", [self.constant(table), left], axis=0) for table in (knots, values, np.append(slopes, 0))
        ]
        return self.emit("Add", [at[1], self.emit("Mul", [self.emit("Sub", [inside, at[0]]), at[2]])])


COMPOSED: dict[str, Callable[..., str]] = {
    "source": Builder.source,
    "cast": Builder.cast,
    "concatenate": Builder.concatenate,
    "take": Builder.take,
    "matmul": Builder.matmul,
    "lookup": Builder.lookup,
    "sum": Builder.total,
    "max": Builder.largest,
    "argmax": Builder.argmax,
    "sort": Builder.sort,
    "cos": Builder.cos,
    "expm1": Builder.expm1,
    "log1p": Builder.log1p,
    "copysign": Builder.copysign,
    "interp": Builder.interp,
}
"""Operations that are several operators, or need more than their arguments."""


def metadata(exported: Exported) -> dict[str, str]:
    """What the file says of itself."""
    program = exported.program
    words = [one for one in program.found.words if one]
    facts = {
        "mlptrain": exported.version,
        "run": program.model.plan.name,
        "model_sha256": exported.digest,
        "target": ", ".join(program.model.transforms.task.columns),
        "columns": ", ".join(column.name for column in program.columns),
    }
    if words:
        facts["classes"] = "; ".join(", ".join(one) for one in words)
    for one in program.sources:
        if one.kind in ("moment", "amount"):
            facts[f"input {one.column}"] = MEANING[one.kind]
    if exported.checks:
        facts |= {"difference": exported.proof, "tolerance": f"{exported.tolerance:g}"}
    return facts


MEANING = {
    "moment": "seconds since 1970-01-01 00:00 by the clock on the wall, NaN where missing",
    "amount": "the number without its unit and marks, NaN where missing",
}
"""Inputs that are text in a table and numbers here: a graph cannot read them."""


def feeds(program: Program, table: Table) -> dict[str, NDArray[Any]]:
    """The inputs for the rows of a table."""
    transforms, numbers = program.model.transforms, numbers_in(program, table)
    columns = dict(zip((one.column for one in transforms.encoders), transforms.read(table), strict=True))
    for one in program.sources:
        column = columns[one.column]
        if one.kind == "category":
            assert isinstance(column, TextColumn)
            numbers[one.column] = np.array([*column.categories, ""], object)[column.codes][:, None]
        else:
            numbers[one.column] = np.ascontiguousarray(numbers[one.column], np.float64)
    return numbers


def decoded(program: Program, outputs: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """The columns of the predictions."""
    if program.found.labels is None:
        return named(program, np.asarray(outputs[0]), None)
    labels, numbers = outputs
    found = named(program, np.asarray(numbers), np.zeros(np.shape(labels), np.int64))
    return found | {column.name: labels[:, column.place] for column in program.columns if column.label}


def opened(content: bytes) -> Callable[[dict[str, NDArray[Any]]], Sequence[NDArray[Any]]]:
    """Computes the outputs of a file: with onnxruntime if it is installed."""
    package = runtime()
    if package is not None:
        options = package.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = package.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return lambda cells: session.run(None, cells)
    import onnx.reference

    evaluator: Any = onnx.reference.ReferenceEvaluator(onnx_package().load_from_string(content))
    return lambda cells: list(evaluator.run(None, cells))
