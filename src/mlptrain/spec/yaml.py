"""Which values does a YAML file hold, and at which lines and columns?

The dialect is strict. Plain scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2, 10.3.2):
`no`, `on`, `1_000` and dates are strings, `1e-3` is a number; quoted and block scalars are always strings.
Features that can hide, repeat or execute something are errors: duplicate keys, anchors, aliases, tags, merge keys.
"""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, TypeAlias

import yaml

from mlptrain.errors import EnvironmentFault, Problem, SpecError, UsageError

BYTES_MAX = 1 << 20
NESTING_MAX = 50
TOO_DEEP = f"nesting too deep (limit {NESTING_MAX})"
DIGITS_MAX = 100
PROBLEMS_MAX = 100  # a hostile file may contain an error in every two bytes
EXCERPT_WIDTH = 100
FLOW_WIDTH = 80

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "dict[str, Node] | tuple[Node, ...] | Scalar"
Plain: TypeAlias = "dict[str, Plain] | tuple[Plain, ...] | Scalar"
Place: TypeAlias = tuple[int, int]

KINDS = {
    dict: "a mapping",
    tuple: "a list",
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    NoneType: "null",
}

FOREIGN_FILES = (
    (re.compile(rb".{4}\0{4}\{", re.DOTALL), "a safetensors file, such as a model or checkpoint"),
    (re.compile(rb"\x89PNG"), "a PNG image"),
    (re.compile(rb"PK\x03\x04"), "a zip archive"),
    (re.compile(rb"\x1f\x8b"), "a gzip archive"),
)
TABLE = re.compile(r"\.(csv|tsv|parquet|npz|xlsx?)(\.gz)?$", re.IGNORECASE)
"""How the names of tables end, which are neither specs nor models."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value with its position and that of its key (the same without a key), counted from 1."""

    value: Value
    line: int
    column: int
    key_line: int
    key_column: int

    @property
    def kind(self) -> str:
        """The type of the value, for messages."""
        return KINDS[type(self.value)]

    def plain(self) -> Plain:
        """Return the value without positions: dictionaries, tuples and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, tuple):
            return tuple(node.plain() for node in self.value)
        return self.value


def load(path: Path) -> tuple[str, Node]:
    """Return the text of the spec file at `path`, and its root node."""
    try:
        content = _read(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"{path}: {error.strerror}{_suggestion(path)}") from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error
    text = _decode(content, path)
    return text, parse(text, str(path))


def _read(path: Path) -> bytes:
    status = path.stat()  # before opening, which would wait for the writer of a pipe
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise UsageError(f"{path}: {kind}, but a spec is a YAML file")
    with path.open("rb") as file:
        content = file.read(BYTES_MAX + 1)
    if TABLE.search(path.name):
        line = shlex.join(["mlptrain", "init", str(path), "--target", "COLUMN", "--out", "spec.yaml"])
        raise UsageError(f"{path}: a table, but a spec is a YAML file; write one for it: {line}")
    if foreign := [kind for pattern, kind in FOREIGN_FILES if pattern.match(content)]:
        raise UsageError(f"{path}: {foreign[0]}, but a spec is a YAML file")
    if (size := max(status.st_size, len(content))) > BYTES_MAX:
        raise UsageError(f"{path}: {size} bytes are too many for a spec; the limit is {BYTES_MAX} bytes")
    return content


def _decode(content: bytes, path: Path) -> str:
    encoding = "UTF-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "UTF-8"
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        where = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        raise UsageError(f"{path}: not {encoding}: {where}; save the file as UTF-8") from error


def _suggestion(path: Path) -> str:
    names = [neighbour.name for neighbour in path.parent.glob("*")]
    nearest = get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {path.with_name(nearest[0])}?" if nearest else ""


def excerpt(text_lines: Sequence[str], line: int, column: int) -> str:
    """Return the source line with a caret below the column, both counted from 1; "" if there is no such line.

    >>> print(excerpt(["optimizer:", "  kind: adam"], 2, 3))
       2 |   kind: adam
         |   ^
    """
    if line > len(text_lines):
        return ""
    text = text_lines[line - 1]
    start = max(0, min(column - 1 - EXCERPT_WIDTH // 2, len(text) - EXCERPT_WIDTH))
    shown = _printable(text[start : start + EXCERPT_WIDTH])
    number = f"{line:>4}"
    return f"{number} | {shown}\n{' ' * len(number)} | {' ' * (column - 1 - start)}^"


def dotted(path: Iterable[str | int]) -> str:
    """Return the path of a value, for messages.

    >>> dotted(["network", "hidden", 0, "width"])
    'network.hidden.0.width'
    """
    return ".".join(_short(str(part)) for part in path)


def _short(text: str) -> str:
    return _printable(text if len(text) <= 60 else f"{text[:57]}...")


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _integer(text: str) -> int:
    if (digits := len(text.lstrip("+-"))) > DIGITS_MAX:
        raise ValueError(f"an integer of {digits} digits; at most {DIGITS_MAX} are read")
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


# Tag, form and meaning of plain scalars; what has none of these forms is a string.
CORE_SCHEMA: tuple[tuple[str, re.Pattern[str], Callable[[str], Scalar]], ...] = (
    ("null", re.compile(r"(~|null|Null|NULL|)\Z"), lambda x: None),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), lambda x: x.lower() == "true"),
    ("int", re.compile(r"([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z"), _integer),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"), float),
    ("float", re.compile(r"([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"), lambda x: float(x.replace(".", ""))),
)


def _resolve(plain: str) -> Scalar:
    return next((read(plain) for _, pattern, read in CORE_SCHEMA if pattern.match(plain)), plain)


LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
NOT_YAML = yaml.reader.Reader.NON_PRINTABLE
TOML = re.compile(r"^(\[\[?[\w.-]+\]\]?|[\w.-]+ *= *\S.*) *$", re.MULTILINE)

OPENED = {  # by the character at which a broken token or collection begins
    "*": "'*' and '&' are for aliases, which are not allowed: put the text in quotes",
    "&": "'*' and '&' are for aliases, which are not allowed: put the text in quotes",
    "%": "'%' cannot start a line: put the text in quotes",
    "!": "tags are not allowed; remove it, or quote the text",
    "|": "after '|' only '+', '-' or a digit can follow on the same line",
    ">": "after '>' only '+', '-' or a digit can follow on the same line",
    "[": "the list opened on line {opened} is not closed: ',' or ']' is missing",
    "{": "the mapping opened on line {opened} is not closed: ',' or '}}' is missing",
}
ESCAPE = "unknown escape: in double quotes write '\\\\' for '\\', or use single quotes"
BRACKET = re.compile(r"""(?<![^\s\[{,:?-])(?:'[^']*'|"(?:[^"\\]|\\.)*"|\#.*)|([\[{])|([\]}])""")
"""A bracket, or a quoted scalar or comment, in which brackets are text."""


def syntax_message(is_token: bool, opened: str | None, here: str, same_place: bool) -> str:
    """Return a message on a syntax error.

    The messages of PyYAML's two parsers differ and change with its versions. Ours depends on whether a token or the
    order of tokens is wrong, and on the characters at the two positions that the parser reports: `opened`, where the
    broken construct begins (None if unknown), and `here`, where the parser stopped, empty at the end.
    """
    if is_token:
        return scanner_message(opened, here)
    if here == "!":
        return OPENED["!"]
    if opened is None:
        return "unknown version of YAML: remove the line" if here == "%" else "text after the end of the spec"
    if same_place:
        return "a value is missing here, or a bracket is not closed"
    return OPENED.get(
        opened, "this does not continue what starts on line {opened}: check the indentation and the quotes"
    )


def scanner_message(opened: str | None, here: str) -> str:
    """Return a message on a broken token; see `syntax_message`."""
    if here == ":" and opened in (None, ":"):
        return "':' cannot stand here: check the indentation, or put a text with ': ' in quotes"
    if here == "-" and opened in (None, "-"):
        return "a list item cannot stand here: check the indentation"
    if opened in (None, here) and here not in ("", "'", '"'):
        return "{here!r} cannot start a value: put the text in quotes"
    if opened in ("'", '"'):
        return ESCAPE if here else "the quote opened on line {opened} is never closed"
    return OPENED.get(opened or "", "expected 'key: value', but ':' is missing")


def parse(text: str, source: str) -> Node:
    """Return the mapping in the text of a spec, or raise all errors in its YAML; `source` names the file."""
    composer = _Composer(text, source)
    try:
        return composer.spec()
    except yaml.MarkedYAMLError as error:
        raise composer.syntax_error(error) from error


class _Composer:
    """Builds nodes from the parser's events and collects errors.

    PyYAML's events precede any resolving, expanding or executing, and do not limit the depth.
    """

    def __init__(self, text: str, source: str) -> None:
        self._text = text
        self._source = source
        self._lines = text.splitlines()
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=LOADER)
        self._path: list[str | int] = []
        self._problems: list[Problem] = []

    def spec(self) -> Node:
        """Return the mapping of the only document, or raise all errors found in it."""
        if bad := NOT_YAML.search(self._text):
            before = (self._text[: bad.start()] + "|").splitlines()
            message = f"control character U+{ord(bad.group()):04X} at offset {bad.start()} is not allowed"
            raise self._fatal((len(before), len(before[-1])), message)
        self._refuse_deep_brackets()
        root = self._document()
        if self._problems:
            raise SpecError(self._problems)
        if isinstance(root.value, dict):
            return root
        message = f"expected a mapping of keys, got {root.kind}{self._toml_hint()}"
        raise self._fatal((root.line, root.column), "the spec is empty" if root.value is None else message)

    def _refuse_deep_brackets(self) -> None:
        """Refuse brackets that are nested too deeply, before the parser reaches its own limit on them."""
        depth = 0
        for found in BRACKET.finditer(self._text):
            depth = max(0, depth + bool(found[1]) - bool(found[2]))
            if depth > NESTING_MAX:
                before = self._text[: found.end()].splitlines()
                raise self._fatal((len(before), len(before[-1])), TOO_DEEP)

    def syntax_error(self, error: yaml.MarkedYAMLError) -> SpecError:
        """Return the errors found so far and the one at which the parser stopped."""
        self._path.clear()  # the parser reads ahead: only the position is certain
        place = self._place(error.problem_mark)
        start = self._place(error.context_mark or error.problem_mark)
        here, opened = self._character(place), self._character(start) if error.context_mark else None
        if here == "\t":
            return self._fatal(place, "a tab cannot indent: use spaces")
        is_token = isinstance(error, yaml.scanner.ScannerError)  # its start is where the error is
        message = syntax_message(is_token, opened, here, start == place).format(opened=start[0], here=here)
        return self._fatal(start if is_token else place, message + self._toml_hint())

    def _character(self, place: Place) -> str:
        return self._lines[place[0] - 1][place[1] - 1 : place[1]]

    def _place(self, mark: Any) -> Place:  # yaml.Mark or its twin in C; the parser always gives one
        if mark.line < len(self._lines):
            return mark.line + 1, mark.column + 1
        return len(self._lines), len(self._lines[-1]) + 1

    def _toml_hint(self) -> str:
        return "; this looks like TOML, but a spec is YAML" if TOML.search(self._text) else ""

    def _report(self, place: Place, message: str) -> None:
        name = f"{self._source}:{place[0]}:{place[1]}"
        self._problems.append(Problem(name, dotted(self._path), message, excerpt(self._lines, *place)))
        if len(self._problems) == PROBLEMS_MAX:
            raise SpecError(self._problems)

    def _fatal(self, place: Place, message: str) -> SpecError:
        self._report(place, message)
        return SpecError(self._problems)

    def _document(self) -> Node:
        next(self._events)  # the start of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return Node(None, 1, 1, 1, 1)
        root = self._node(next(self._events))
        next(self._events)  # the end of the document
        if isinstance(event := next(self._events), yaml.DocumentStartEvent):
            raise self._fatal(self._place(event.start_mark), "more than one document: '---' cannot come again")
        return root

    def _node(self, event: yaml.Event, key: yaml.Event | None = None) -> Node:
        place = self._place(event.start_mark)
        if anchor := getattr(event, "anchor", None):
            name = f"alias '*{_short(anchor)}'" if isinstance(event, yaml.AliasEvent) else f"anchor '&{_short(anchor)}'"
            self._report(place, f"{name}: aliases are not allowed; write the value out, or quote the text")
        if tag := getattr(event, "tag", None):
            name = _short(tag.replace("tag:yaml.org,2002:", "!!"))
            self._report(place, f"tag '{name}': tags are not allowed; remove it, or quote the text")
        return Node(self._value(event, place), *place, *(self._place(key.start_mark) if key else place))

    def _value(self, event: yaml.Event, place: Place) -> Value:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place)
        if isinstance(event, yaml.AliasEvent):
            return ""  # reported; any string will do
        if len(self._path) >= NESTING_MAX:
            raise self._fatal(place, TOO_DEEP)
        return self._mapping() if isinstance(event, yaml.MappingStartEvent) else self._sequence()

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Scalar:
        plain, _ = event.implicit
        if not plain:
            return event.value
        if event.value == "<<":
            self._report(place, "merge keys are not supported: write the keys out")
        try:
            return _resolve(event.value)
        except ValueError as error:
            self._report(place, str(error))
            return 0

    def _sequence(self) -> tuple[Node, ...]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            self._path.append(len(items))
            items.append(self._node(event))
            self._path.pop()
        return tuple(items)

    def _mapping(self) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            name = key.value if isinstance(key, yaml.ScalarEvent) else "?"
            self._path.append(name)
            self._refuse_bad_key(self._node(key), entries.get(name))
            node = self._node(next(self._events), key)
            self._path.pop()
            entries.setdefault(name, node)
        return entries

    def _refuse_bad_key(self, key: Node, first: Node | None) -> None:
        place = key.line, key.column
        if not isinstance(key.value, str):
            self._report(place, f"expected a string as key, got {key.kind}: put the key in quotes")
        elif first:
            self._report(place, f"duplicate key: first on line {first.key_line}, again on line {key.line}")


def dump(data: object) -> str:
    """Return the YAML text of plain data, which `parse` reads back as equal and YAML 1.1 does not misread.

    >>> print(dump({"name": "no", "learning_rate": 1e-5, "hidden": [32, 16]}), end="")
    name: "no"
    learning_rate: 1.0e-05
    hidden: [32, 16]
    """
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 30)
    return text


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        tag = self.resolve(yaml.ScalarNode, data, (True, False))  # type: ignore[no-untyped-call]  # stubs lack it
        return self.represent_scalar(STRING, data, None if tag == STRING and data.isprintable() else '"')

    def represent_list(self, data: Iterable[Any]) -> yaml.SequenceNode:
        node = super().represent_list(data)
        scalars = [item.value for item in node.value if isinstance(item, yaml.ScalarNode)]
        node.flow_style = len(scalars) == len(node.value) and sum(map(len, scalars)) < FLOW_WIDTH
        return node


STRING = _Dumper.DEFAULT_SCALAR_TAG
_Dumper.add_representer(str, _Dumper.represent_str)
_Dumper.add_representer(list, _Dumper.represent_list)
_Dumper.add_representer(tuple, _Dumper.represent_list)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"[ynYN]\Z"), None)  # YAML 1.1, not PyYAML
for _name, _pattern, _ in CORE_SCHEMA:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", _pattern, None)
