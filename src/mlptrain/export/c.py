"""How is a model written as one header for C99, without allocation and without a library but <math.h>?"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import canonical
from mlptrain.export.c_runtime import AMOUNT, CATEGORY, HEAD, HELPERS, INTERP, MOMENT, SELFTEST, WORD, WORDS
from mlptrain.export.exported import FILE, Exported, GraphFormat, identifier, one_line
from mlptrain.export.graph import Node, Source
from mlptrain.export.lower import INFIX, Code, number

TYPES = {"float32": "float", "float64": "double", "int64": "int", "bool": "int"}
BYTES = {"float": 4, "double": 8, "int": 4}
FUNCTIONS = {
    "absolute": "fabs",
    "sqrt": "sqrt",
    "log1p": "log1p",
    "sin": "sin",
    "cos": "cos",
    "tanh": "tanh",
    "floor": "floor",
    "copysign": "copysign",
    "exp": "exp",
    "expm1": "expm1",
    "log": "log",
}
KEYWORDS = frozenset(
    re.findall(
        r"\w+",
        """auto break case char const continue default do double else enum extern float for goto if inline int long
        register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
        and or not xor bool true false class new delete this template namespace operator public private protected
        try catch throw virtual using friend explicit export mutable typename""",
    )
)
"""Words of C and C++ that no field can have."""


class CHeader(GraphFormat):
    """A header with a struct of the columns, one of the predictions, and a function between them."""

    name: ClassVar = "c"
    suffix: ClassVar = ".h"
    meaning: ClassVar = "one C99 header, no allocation, only <math.h>"
    checked_by: ClassVar = "NumPy from its operations"

    def write(self, exported: Exported) -> bytes:
        head, *rest = Header(exported).text()
        return (head + "".join(rest).replace("static inline ", f"{exported.name.upper()}_INLINE ")).encode()

    def facts(self, content: bytes, exported: Exported) -> list[str]:
        compile_it = f"cc -std=c99 -O2 -D{exported.name.upper()}_SELFTEST -x c {FILE} -lm -o selftest && ./selftest"
        return [Header(exported).sizes(), f"compare what your compiler makes of it: {compile_it}"]


class Header:
    """The text of a header."""

    def __init__(self, exported: Exported) -> None:
        self.exported, self.program = exported, exported.program
        self.prefix = exported.name
        self.code = Code(self.program.outputs)
        self.fields = fields([one.column for one in self.program.sources])
        self.found = fields([column.name for column in self.program.columns])
        self.buffers = Buffers(self.code)
        self.body = [line for node in self.code.statements for line in self.statement(node)]
        used = set(re.findall(rf"{self.prefix}_(c[0-9]+)\b", "\n".join(self.body)))
        self.constants = {name: values for name, values in self.code.constants.items() if name in used}

    def sizes(self) -> str:
        """Bytes of the constants and of the variables."""
        flash = sum(values.size * BYTES[TYPES[values.dtype.name]] for values in self.constants.values())
        words = sum(len(word.encode()) + 1 for one in self.program.sources for word in one.codes)
        ram = sum(BYTES[kind] * width for kind, width in self.buffers.slots)
        return f"{flash + words:,} bytes of constants, {ram:,} bytes of variables on the stack"

    def text(self) -> Iterator[str]:
        """The parts of the file."""
        name, exported = self.prefix, self.exported
        yield HEAD.format(
            name=name,
            NAME=name.upper(),
            about=one_line(exported.about),
            version=exported.version,
            digest=exported.digest,
            proof=exported.proof,
            sizes=self.sizes(),
        )
        yield from self.structs()
        yield HELPERS.replace("NAME", name)
        kinds = {one.kind for one in self.program.sources}
        yield WORD.replace("NAME", name) if kinds - {"number"} else ""
        yield CATEGORY.replace("NAME", name) if "category" in kinds else ""
        yield MOMENT.replace("NAME", name) if "moment" in kinds else ""
        yield AMOUNT.replace("NAME", name) if "amount" in kinds else ""
        yield INTERP.replace("NAME", name) if any(node.op == "interp" for node in self.code.statements) else ""
        yield from self.arrays()
        yield from self.function()
        yield from self.selftest()
        yield f"\n#endif /* {name.upper()}_H */\n"

    def structs(self) -> Iterator[str]:
        """The row and the predictions."""
        yield "\n/* A row of the table. */\ntypedef struct {\n"
        for one in self.program.sources:
            field, told = self.fields[one.column], f"{one_line(one.column)}: {MEANING[one.kind]}"
            if one.kind != "number":
                yield f"    const char *{field}; /* {told} */\n"
            else:
                yield f"    double {field}{f'[{one.width}]' if one.width > 1 else ''}; /* {told} */\n"
        yield f"}} {self.prefix}_row;\n\n/* The predictions for it. */\ntypedef struct {{\n"
        for column in self.program.columns:
            field = self.found[column.name]
            words = self.program.found.words[column.place] if column.label else None
            kind = "int" if column.label else "double"
            told = f"; its word is {self.prefix}_{field}_word" if words else ""
            yield f"    {kind} {field}; /* {one_line(column.name)}{told} */\n"
        yield f"}} {self.prefix}_prediction;\n"
        for column in self.program.columns:
            if column.label and (words := self.program.found.words[column.place]):
                yield WORDS.format(
                    name=f"{self.prefix}_{self.found[column.name]}",
                    count=len(words),
                    words=", ".join(map(quoted, words)),
                )

    def arrays(self) -> Iterator[str]:
        """The constants, and the words of categories in order."""
        for name, values in self.constants.items():
            kind = TYPES[values.dtype.name]
            yield f"\nstatic const {kind} {self.prefix}_{name}[{values.size}] = {{{listed_numbers(values)}}};\n"
        if any(one.kind in ("moment", "amount") for one in self.program.sources):
            gone = sorted({*self.program.missing, "", "NaT"}, key=str.encode)
            yield f"\nstatic const char *const {self.prefix}_gone[{len(gone)}] = {{\n{wrapped(map(quoted, gone))}}};\n"
        for one in self.program.sources:
            if one.kind == "category":
                codes = self.codes(one)
                stem = f"{self.prefix}_{self.fields[one.column]}"
                yield f"\nstatic const char *const {stem}_known[{len(codes)}] = {{\n"
                yield wrapped([quoted(word) for word in codes]) + "};\n"
                yield f"static const int {stem}_codes[{len(codes)}] = {{\n{wrapped(map(str, codes.values()))}}};\n"

    def codes(self, one: Source) -> dict[str, int]:
        """The code of each word in the order of its bytes, also of those that mean a missing cell."""
        missing = {canonical(word) for word in self.program.missing} | {""}
        codes = {word: code for word, code in one.codes.items() if word not in missing}
        codes |= dict.fromkeys(missing, one.missing if one.missing_allowed else MISSING)
        return dict(sorted(codes.items(), key=lambda pair: pair[0].encode()))

    def function(self) -> Iterator[str]:
        """The function from a row to its predictions."""
        name = self.prefix
        yield f"\n/* Predict a row; 0, or one of the {name.upper()}_ codes above. */\n"
        yield f"static inline int {name}_predict(const {name}_row *row, {name}_prediction *found)\n{{\n    int i, j;\n"
        if any(one.kind in ("moment", "amount") for one in self.program.sources):
            yield "    const char *word;\n"
        for k, (kind, width) in enumerate(self.buffers.slots):
            yield f"    {kind} b{k}[{width}];\n"
        yield "    (void)i;\n    (void)j;\n"
        yield from (f"    {line}\n" for line in self.body)
        scores, numbers = self.code.outputs[:2]
        for node in (scores, numbers):
            yield f"    for (i = 0; i < {node.width}; ++i) {{\n"
            yield f"        if (!({self.vector(node)}[i] - {self.vector(node)}[i] == 0)) {{\n"
            yield f"            return {name.upper()}_NOT_FINITE;\n        }}\n    }}\n"
        for column in self.program.columns:
            node = self.code.outputs[2] if column.label else numbers
            yield f"    found->{self.found[column.name]} = {self.vector(node)}[{column.place}];\n"
        yield "    return 0;\n}\n"

    # --- Statements

    def vector(self, node: Node) -> str:
        """The array that holds a node."""
        if node.op == "constant":
            return f"{self.prefix}_{self.code.name(node)}"
        slot = self.buffers.slot.get(id(node))
        if slot is not None:
            return f"b{slot}"
        one: Source = node.value
        return f"row->{self.fields[one.column]}" if one.width > 1 else f"(&row->{self.fields[one.column]})"

    def statement(self, node: Node) -> Iterator[str]:
        """The lines that compute a node."""
        if node.op == "source":
            yield from self.source(node)
        elif node.elementwise:
            target = f"{self.vector(node)}[{'i' if node.width > 1 else '0'}]"
            line = f"{target} = {self.expression(node, node.width)};"
            yield from (loop("i", node.width, [line]) if node.width > 1 else [line])
        else:
            yield from STRUCTURES[node.op](self, node, self.vector(node), *map(self.vector, node.args))

    def source(self, node: Node) -> Iterator[str]:
        """The cells of a column, checked."""
        one: Source = node.value
        field, upper = self.fields[one.column], self.prefix.upper()
        if one.kind == "category":
            target, stem = f"{self.vector(node)}[0]", f"{self.prefix}_{field}"
            known = f"{stem}_known, {stem}_codes, {len(self.codes(one))}"
            unknown = UNKNOWN if one.unknown is None else one.unknown
            yield f"{target} = {self.prefix}_code(row->{field}, {known}, {unknown});"
            yield f"if ({target} < 0) {{"
            yield f"    return {target} == {MISSING} ? {upper}_MISSING : {upper}_UNKNOWN;"
            yield "}"
            return
        if one.kind != "number":
            yield from self.read(node, one)
            return
        wrong = f"{self.vector(node)}[i]"
        lines = [f"if ({wrong} - {wrong} != 0 && {wrong} == {wrong}) {{", f"    return {upper}_NOT_FINITE;", "}"]
        if not one.missing_allowed:
            lines += [f"if ({wrong} != {wrong}) {{", f"    return {upper}_MISSING;", "}"]
        yield from loop("i", one.width, lines)

    def read(self, node: Node, one: Source) -> Iterator[str]:
        """A date or an amount, which is text."""
        target, cell, upper = f"{self.vector(node)}[0]", f"row->{self.fields[one.column]}", self.prefix.upper()
        count = len({*self.program.missing, "", "NaT"})
        yield f"word = {cell};"
        yield f"i = {self.prefix}_trimmed(&word);"
        yield f"if ({self.prefix}_place(word, i, {self.prefix}_gone, {count}) >= 0) {{"
        yield f"    {target} = (double)NAN;" if one.missing_allowed else f"    return {upper}_MISSING;"
        if one.notation is None:
            call = f"{self.prefix}_moment({cell}, {quoted(one.spelling)}, &{target})"
        else:
            marks = quoted(one.notation.decimal + one.notation.thousands)
            units = f"{quoted(one.notation.prefix)}, {quoted(one.notation.suffix)}"
            call = f"{self.prefix}_amount({cell}, {marks}, {units}, &{target})"
        yield f"}} else if (!{call}) {{"
        yield f"    return {upper}_UNREADABLE;"
        yield "}"

    def expression(self, node: Node, width: int) -> str:
        """One number of an elementwise operation."""
        args = [self.operand(one, width) for one in node.args]
        single = "f" if node.dtype == "float32" else ""
        if node.op in INFIX:
            return f"({args[0]} {INFIX[node.op]} {args[1]})"
        if node.op == "where":
            return f"({args[0]} ? {args[1]} : {args[2]})"
        if node.op == "negative":
            return f"(-{args[0]})"
        if node.op == "isnan":
            return f"({args[0]} != {args[0]})" if re.fullmatch(r"[\w\[\]>()&-]+", args[0]) else f"isnan({args[0]})"
        if node.op == "cast":
            return f"(({TYPES[node.dtype]}){args[0]})"
        if node.op in ("maximum", "minimum", "sign"):
            return f"{self.prefix}_{node.op}{single}({', '.join(args)})"
        return f"{FUNCTIONS[node.op]}{single}({', '.join(args)})"

    def operand(self, node: Node, width: int) -> str:
        """One number of an argument."""
        if node.op == "constant" and node.width == 1:
            return number(node.value[0], "(double)NAN") + ("f" if node.dtype == "float32" else "")
        if self.code.is_part(node):
            return self.expression(node, width)
        return f"{self.vector(node)}[{'0' if node.width == 1 else 'i'}]"

    def array(self, values: NDArray[Any]) -> str:
        """The name of a constant array."""
        return f"{self.prefix}_{self.code.constant(values)}"

    # --- The proof

    def selftest(self) -> Iterator[str]:
        """A program that compares the golden rows."""
        golden, name = self.exported.golden, self.prefix
        number_of_rows, columns = golden.table.rows, self.program.columns
        cells = self.exported.golden_numbers()
        yield SELFTEST.format(name=name, NAME=name.upper(), rows=number_of_rows, columns=len(columns))
        yield f"static const {name}_row {name}_golden[{number_of_rows}] = {{\n"
        for row in range(number_of_rows):
            given = [self.cell(one, golden.cells[one.column][row], cells, row) for one in self.program.sources]
            yield f"    {{{', '.join(given)}}},\n"
        yield f"}};\n\nstatic const double {name}_expected[{number_of_rows}][{len(columns)}] = {{\n"
        for row in range(number_of_rows):
            yield f"    {{{', '.join(self.expected(row))}}},\n"
        yield "};\n\n"
        yield f"int main(void)\n{{\n    int k, j, wrong = 0;\n    double largest = 0, value[{len(columns)}];\n"
        yield f"    {name}_prediction found;\n    for (k = 0; k < {number_of_rows}; ++k) {{\n"
        yield f"        if ({name}_predict(&{name}_golden[k], &found) != 0) {{\n            ++wrong;\n"
        yield "            continue;\n        }\n"
        for j, column in enumerate(columns):
            yield f"        value[{j}] = found.{self.found[column.name]};\n"
        labels = ", ".join("1" if column.label else "0" for column in columns)
        yield f"        for (j = 0; j < {len(columns)}; ++j) {{\n"
        yield f"            static const int is_label[{len(columns)}] = {{{labels}}};\n"
        yield f"            double other = {name}_expected[k][j], gap = fabs(value[j] - other);\n"
        size = repr(self.exported.size)
        yield f"            gap = is_label[j] ? gap : gap / (fabs(other) > {size} ? fabs(other) : {size});\n"
        yield "            largest = !is_label[j] && gap > largest ? gap : largest;\n"
        yield f"            wrong += !(gap <= {self.exported.tolerance!r});\n        }}\n    }}\n"
        yield (
            f'    printf("{number_of_rows} rows, largest difference %.3g, allowed {self.exported.tolerance:g}, '
            '%d wrong\\n", largest, wrong);\n    return wrong != 0;\n}\n#endif\n'
        )

    def cell(self, one: Source, cell: Any, cells: dict[str, NDArray[Any]], row: int) -> str:
        """A cell in the initializer of a row."""
        if one.kind != "number":
            return "0" if cell is None else quoted(cell if isinstance(cell, str) else str(cell))
        values = ["NAN" if value != value else repr(float(value)) for value in cells[one.column][row]]
        return values[0] if one.width == 1 else f"{{{', '.join(values)}}}"

    def expected(self, row: int) -> Iterator[str]:
        """The predictions for a golden row, labels as places."""
        for column in self.program.columns:
            value = self.exported.golden.expected[column.name][row]
            words = self.program.found.words[column.place] if column.label else None
            yield str(words.index(value)) if words else repr(float(value))


MISSING, UNKNOWN = -1, -2
"""Codes of cells that are refused."""
MEANING = {
    "number": "NAN where missing",
    "amount": "an amount as in the table, 0 where missing",
    "moment": "a date as in the table, 0 where missing",
    "category": "0 where missing",
}


class Buffers:
    """The arrays that hold the vectors: one that is not needed any more is used again."""

    def __init__(self, code: Code) -> None:
        self.slots: list[tuple[str, int]] = []
        """Type and width."""
        self.slot: dict[int, int] = {}
        """The slot of each node."""
        last = last_uses(code)
        free: list[int] = []
        for i, node in enumerate(code.statements):
            if node.op != "source" or node.value.kind != "number":
                self.slot[id(node)] = self._taken(TYPES[node.dtype], node.width, free)
            gone = [one for one in code.statements[: i + 1] if last[id(one)] == i and id(one) in self.slot]
            free += [self.slot[id(one)] for one in gone]

    def _taken(self, kind: str, width: int, free: list[int]) -> int:
        """A slot for a vector: the one of the free ones that fits best, or a new one."""
        fitting = [k for k in free if self.slots[k][0] == kind]
        if not fitting:
            self.slots.append((kind, width))
            return len(self.slots) - 1
        best = min(fitting, key=lambda k: (self.slots[k][1] < width, abs(self.slots[k][1] - width)))
        free.remove(best)
        self.slots[best] = kind, max(width, self.slots[best][1])
        return best


def last_uses(code: Code) -> dict[int, int]:
    """The number of the last statement that reads each vector; beyond the end for the outputs."""
    last: dict[int, int] = {}
    for i, node in enumerate(code.statements):
        last[id(node)] = i
        last |= {id(leaf): i for leaf in code.leaves(node)}
    return last | {id(node): len(code.statements) for node in code.outputs}


def loop(index: str, width: int, lines: Sequence[str]) -> list[str]:
    """A loop over the numbers of a vector."""
    return [f"for ({index} = 0; {index} < {width}; ++{index}) {{", *(f"    {line}" for line in lines), "}"]


def concatenated(header: Header, node: Node, out: str, *parts: str) -> Iterator[str]:
    """One after the other."""
    start = 0
    for part, one in zip(parts, node.args, strict=True):
        if one.width == 1:
            yield f"{out}[{start}] = {part}[0];"
        else:
            yield from loop("i", one.width, [f"{out}[{start} + i] = {part}[i];"])
        start += one.width


def multiplied(header: Header, node: Node, out: str, x: str) -> Iterator[str]:
    """A product with a matrix, row by row of it."""
    width, inputs = node.width, node.args[0].width
    zero = "0.0f" if node.dtype == "float32" else "0.0"
    weights = header.array(node.value)
    yield from loop("j", width, [f"{out}[j] = {zero};"])
    inner = loop("j", width, [f"{out}[j] += {x}[i] * {weights}[i * {width} + j];"])
    yield from loop("i", inputs, inner)


def folded(rule: str) -> Callable[..., Iterator[str]]:
    """A sum, or the largest number."""

    def lines(header: Header, node: Node, out: str, x: str) -> Iterator[str]:
        yield f"{out}[0] = {x}[0];"
        more = rule.format(out=f"{out}[0]", x=f"{x}[i]")
        yield from [f"for (i = 1; i < {node.args[0].width}; ++i) {{", f"    {out}[0] = {more};", "}"]

    return lines


def found_largest(header: Header, node: Node, out: str, x: str) -> Iterator[str]:
    """The place of the largest number."""
    yield f"{out}[0] = 0;"
    yield from [
        f"for (i = 1; i < {node.args[0].width}; ++i) {{",
        f"    {out}[0] = {x}[i] > {x}[{out}[0]] ? i : {out}[0];",
    ]
    yield "}"


def sorted_numbers(header: Header, node: Node, out: str, x: str) -> Iterator[str]:
    """Insertion sort."""
    kind = TYPES[node.dtype]
    inner = [
        f"{kind} one = {x}[i];",
        f"for (j = i; j > 0 && {out}[j - 1] > one; --j) {{",
        f"    {out}[j] = {out}[j - 1];",
        "}",
        f"{out}[j] = one;",
    ]
    yield from loop("i", node.width, inner)


def interpolated(header: Header, node: Node, out: str, x: str) -> Iterator[str]:
    """A piecewise linear function."""
    knots, values = (header.array(part) for part in node.value)
    call = f"{header.prefix}_interp({x}[i], {knots}, {values}, {node.value.shape[1]})"
    yield from loop("i", node.width, [f"{out}[i] = {call};"])


STRUCTURES: dict[str, Callable[..., Iterator[str] | list[str]]] = {
    "concatenate": concatenated,
    "take": lambda header, node, out, x: loop("i", node.width, [f"{out}[i] = {x}[{header.array(node.value)}[i]];"]),
    "matmul": multiplied,
    "lookup": lambda header, node, out, x: loop(
        "i", node.width, [f"{out}[i] = {header.array(node.value)}[{x}[0] * {node.width} + i];"]
    ),
    "interp": interpolated,
    "sum": folded("{out} + {x}"),
    "max": folded("{x} > {out} || {x} != {x} ? {x} : {out}"),
    "argmax": found_largest,
    "sort": sorted_numbers,
}


def fields(names: Sequence[str]) -> dict[str, str]:
    """A field for each name: an identifier of C that no other one has."""
    found: dict[str, str] = {}
    for name in names:
        stem = identifier(name, "column")
        field = f"{stem}_" if stem in KEYWORDS else stem
        number = 2
        while field in found.values():
            field, number = f"{stem}_{number}", number + 1
        found[name] = field
    return found


def quoted(text: str) -> str:
    """A string of C: bytes that are not plain letters are octal."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode()) + '"'


def listed_numbers(values: NDArray[Any]) -> str:
    """The numbers of an array."""
    single = "f" if values.dtype == np.float32 else ""
    return "\n" + wrapped(number(value) + single for value in values.reshape(-1))


def wrapped(words: Any) -> str:
    """Words with commas in lines of some length."""
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 110:
            lines.append(line)
            line = ""
        line += f"{word}, "
    return "".join(f"    {one.rstrip()}\n" for one in [*lines, line] if one)
