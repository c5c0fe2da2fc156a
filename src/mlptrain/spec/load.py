"""How are a file and `--set` overrides read as an experiment, with all errors reported at once?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from mlptrain.component import Component, Frozen, OneOf, did_you_mean, variants
from mlptrain.errors import Problem, SpecError, UsageError
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.yaml import Node

Location = tuple[int | str, ...]

_WORDS = {
    "missing": "is missing",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be a mapping of settings",
    "dict_type": "must be a mapping",
    "finite_number": "must be finite",
}
_LENGTHS = {
    "string_too_short": "must have at least {bound} character{s}",
    "string_too_long": "must have at most {bound} character{s}",
    "too_short": "must have at least {bound} item{s}",
    "too_long": "must have at most {bound} item{s}",
}
_SHOWS_VALUE = {
    "float_type",
    "int_type",
    "bool_type",
    "string_type",
    "tuple_type",
    "model_type",
    "dict_type",
    "finite_number",
}


class Source(NamedTuple):
    """Where a value comes from: the file, or an override."""

    name: str
    lines: Sequence[str]
    override: bool = False

    def problem(self, node: Node, at_key: bool, path: str, message: str) -> Problem:
        """A problem at the value of `node`, or at its key."""
        if self.override:
            return Problem(f"{self.name}:", path, message)
        line, column = (node.key_line, node.key_column) if at_key else (node.line, node.column)
        return Problem(f"{self.name}:{line}:{column}", path, message, yaml.excerpt(self.lines, line, column))


class Written(NamedTuple):
    """An experiment as it is written: its values, and where each of them comes from."""

    root: Node
    sources: dict[Location, Source]

    def problem(self, location: Location, message: str, at_key: bool = False) -> Problem:
        """A problem at `location`: at its key if `at_key` is set or if the location does not exist."""
        node, depth = reach(self.root, location)
        source = source_of(location, self.sources)
        return source.problem(node, at_key or depth < len(location), yaml.dotted(location), message)

    def value(self, location: Location) -> object:
        """The value at `location` as it is written; None if it is not."""
        node, depth = reach(self.root, location)
        return node.plain() if depth == len(location) else None

    def origin(self, location: Location) -> str | None:
        """Where the value at `location` is written, such as `spec.yaml:3` or `--set a.b=1`; None if it is not.

        A bare name is the `kind` of a component, a bare number the `width` of a layer.
        """
        node, depth = reach(self.root, location)
        short = location[depth:] in (("kind",), ("width",)) and not isinstance(node.value, dict | tuple | None)
        if depth < len(location) and not short:
            return None
        source = source_of(location, self.sources)
        return source.name if source.override else f"{source.name}:{node.line}"


def load_experiment(path: Path, overrides: Sequence[str] = (), option: str = "--set ") -> Experiment:
    """The experiment in the YAML file at `path`, changed by `overrides` of the form `a.b=value`."""
    text, root = yaml.load(path)
    return validated(with_overrides(text, root, str(path), overrides, option), path.absolute().parent)


def parse_experiment(text: str, path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in `text`, as if it were in the file at `path`, changed by `overrides`."""
    return validated(with_overrides(text, yaml.parse(text, str(path)), str(path), overrides), path.absolute().parent)


def experiment_of(settings: Mapping[str, Any], name: str, overrides: Sequence[str] = ()) -> Experiment:
    """The experiment in `settings`, nested as in a file, whose paths are relative to the working directory.

    `name` is what messages call them.
    """
    root = node_of(settings)
    written = with_overrides("", root, name, overrides, option="")
    written.sources[()] = Source(name, (), override=True)
    return validated(written, Path.cwd())


def node_of(value: Any) -> Node:
    """A value from Python as it would be read from a file; arrays, tuples and NumPy's numbers become plain ones."""
    if isinstance(value, BaseModel):
        kind = {"kind": value.name()} if isinstance(value, Component) else {}
        value = kind | {
            name: getattr(value, name) for name in type(value).model_fields if name in value.model_fields_set
        }
    if isinstance(value, Mapping):
        return Node({str(key): node_of(item) for key, item in value.items()}, 0, 0, 0, 0)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return Node(tuple(map(node_of, value)), 0, 0, 0, 0)
    return Node(str(value) if isinstance(value, Path) else value, 0, 0, 0, 0)


def with_overrides(text: str, root: Node, name: str, overrides: Sequence[str], option: str = "--set ") -> Written:
    """The spec `root`, read from the `text` of the file called `name`, changed by `overrides`.

    `option` is what messages write before an override.
    """
    sources: dict[Location, Source] = {(): Source(name, text.splitlines())}
    seen: set[Location] = set()
    for override in overrides:
        label = f"{option}{override}"
        location, node, source = parse_override(override, label)
        name = ".".join(map(str, location))
        if location in seen:
            raise UsageError(f"{option}{name} is given twice; remove one")
        if any(place[: len(location)] == location for place in seen):
            raise UsageError(f"{label} would undo a {option}below {name} that comes before it; put it first")
        seen.add(location)
        made = reach(root, location)[1] + 1
        root = replaced(root, location, node, label)
        sources[location[:made]] = sources[location] = source
    return Written(root, sources)


def parse_override(override: str, label: str) -> tuple[Location, Node, Source]:
    """The location, the value (read as YAML) and the source of `a.b=value`."""
    key, equals, text = override.partition("=")
    parts = tuple(int(part) if part.isascii() and part.isdigit() else part for part in key.strip().split("."))
    if not equals or not all(str(part) for part in parts):
        raise UsageError(f"{label}: expected KEY=VALUE, as in --set optimizer.learning_rate=0.01")
    if not text.strip():
        raise UsageError(f"{label}: no value after '='; write null for none")
    value = yaml.parse(f"value: {text}\n", label).value
    assert isinstance(value, dict)
    return parts, value["value"], Source(label, [], override=True)


def replaced(root: Node, location: Location, node: Node, label: str) -> Node:
    """`root` with the value at `location` set to `node`; creates missing mappings, a bare name becomes its kind."""
    if not location:
        return node
    head, rest = location[0], location[1:]
    if isinstance(head, int):
        if not isinstance(root.value, tuple) or head >= len(root.value):
            raise UsageError(f"{label}: there is no item {head} in the file to change")
        items = list(root.value)
        items[head] = replaced(items[head], rest, node, label)
        return with_value(root, tuple(items))
    entries = dict(root.value) if isinstance(root.value, dict) else {}
    if isinstance(root.value, str):
        entries = {"kind": root}
    if isinstance(root.value, int) and not isinstance(root.value, bool):
        entries = {"width": root}
    below = entries.get(head, Node(None, root.line, root.column, root.key_line, root.key_column))
    entries[head] = replaced(below, rest, node, label)
    return with_value(root, entries)


def with_value(node: Node, value: Any) -> Node:
    """A node at the same position with another value."""
    return Node(value, node.line, node.column, node.key_line, node.key_column)


def validated(written: Written, folder: Path) -> Experiment:
    """The experiment, or a `SpecError` with every mistake in the order of the file."""
    root = written.root
    try:
        experiment = Experiment.model_validate(root.plain(), context={"folder": folder})
        experiment._written = written
        return experiment
    except ValidationError as error:
        details = error.errors(include_url=False)
    found = [(reach(root, detail["loc"])[0], detail) for detail in details if not is_explained_below(detail, details)]
    found.sort(key=lambda pair: (pair[0].line, pair[0].column))
    described = found[: SpecError.KEPT]  # words are looked for, which takes time for each
    raise SpecError((problem(detail, written) for _, detail in described), more=len(found) - len(described))


def is_explained_below(detail: ErrorDetails, details: Sequence[ErrorDetails]) -> bool:
    """Whether a list is too short only because its items are wrong, which other errors report."""
    place = detail["loc"]
    below = (other["loc"] for other in details if len(other["loc"]) > len(place))
    return detail["type"] == "too_short" and any(loc[: len(place)] == place for loc in below)


def problem(detail: ErrorDetails, written: Written) -> Problem:
    """The problem that a Pydantic error describes."""
    location = detail["loc"]
    unknown = detail["type"] == "extra_forbidden"
    message = unknown_key(written.root, location) if unknown else describe(detail)
    return written.problem(location, message, at_key=unknown)


def source_of(location: Location, sources: dict[Location, Source]) -> Source:
    """The source of the value at `location`: the nearest override above it, or the file."""
    return sources[max((place for place in sources if place == location[: len(place)]), key=len)]


def reach(root: Node, location: Location) -> tuple[Node, int]:
    """The node at `location`, or the last existing one on the path to it, and its depth."""
    node = root
    for depth, part in enumerate(location):
        value = node.value
        if isinstance(value, dict) and part in value:
            node = value[str(part)]
        elif isinstance(value, tuple) and isinstance(part, int) and part < len(value):
            node = value[part]
        else:
            return node, depth
    return node, len(location)


def describe(detail: ErrorDetails) -> str:
    """What is wrong with a value, in terms of the spec, and the value itself if it is short."""
    kind = detail["type"]
    context = detail.get("ctx", {})
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        bounds = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
        bound = next(f"{word} {context[key]:g}" for key, word in bounds.items() if key in context)
        return f"must be {bound}, got {shown(detail['input'])}"
    if kind in _LENGTHS:
        bound = next(context[key] for key in ("min_length", "max_length") if key in context)
        return _LENGTHS[kind].format(bound=bound, s="s" * (bound != 1))
    if kind == "literal_error":
        return f"must be {context['expected']}, got {shown(detail['input'])}"
    if kind == "string_pattern_mismatch":
        return (
            f"{shown(detail['input'])} cannot name a folder; use letters, digits, '.', '_' and '-', up to 100 of them"
        )
    if kind in _WORDS:
        return _WORDS[kind] + (f", got {shown(detail['input'])}" if kind in _SHOWS_VALUE else "")
    return detail["msg"]


def shown(value: Any) -> str:
    """A value for a message: what it is and, if it is short, how it reads."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    text = f"the text {value!r}" if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def unknown_key(root: Node, location: Location) -> str:
    """A message on an unknown key: its new name, a similar key, the same key elsewhere, or the valid keys."""
    word = str(location[-1])
    model = model_at(root, location[:-1])
    valid = list(model.model_fields)
    if issubclass(model, Frozen) and word in model.renamed:
        return f"was renamed to '{model.renamed[word]}'"
    if hint := did_you_mean(word, valid):
        return f"unknown key; {hint}"
    elsewhere = [path for path in all_paths(Experiment) if path.rpartition(".")[2] == word]
    depth = min((path.count(".") for path in elsewhere), default=0)
    elsewhere = [path for path in elsewhere if path.count(".") == depth]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere[:3])}?"
    owners = [variant.name() for variant in siblings(model) if word in variant.model_fields]
    remedy = f"; remove it, or choose a kind that has it: {', '.join(owners)}" if owners else ""
    return f"unknown key; valid here: {', '.join(valid)}{remedy}"


def siblings(model: type[BaseModel]) -> list[type[Component]]:
    """The variants of the family of `model`, if it is a component."""
    families = [base for base in model.__mro__ if Component in base.__bases__]
    return variants(families[0]) if families else []


def model_at(root: Node, location: Location) -> type[BaseModel]:
    """The settings class of the mapping at `location`."""
    model: type[BaseModel] = Experiment
    for depth, part in enumerate(location, start=1):
        if isinstance(part, str):
            in_list = depth < len(location) and isinstance(location[depth], int)
            value = reach(root, location[: depth + in_list])[0].plain()
            model = chosen_model(model.model_fields[part], value if isinstance(value, dict) else {})
    return model


def chosen_model(field: FieldInfo, value: dict[str, Any]) -> type[BaseModel]:
    """The settings class of a field; for a family, the variant that `value` names, the default, or the family."""
    model = next(models_in(field.annotation))
    if issubclass(model, Component):
        kind = value.get("kind", default_kind([*field.metadata, field.annotation]))
        return next((v for v in variants(model) if kind in (v.name(), *v.aliases)), model)
    return model


def default_kind(annotations: Iterable[Any]) -> str | None:
    """The default kind of a mapping without one, from a `OneOf` in `annotations`."""
    for one in annotations:
        if isinstance(one, OneOf):
            return one.default
        if found := default_kind(get_args(one)):
            return found
    return None


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The settings classes in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def all_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every path of a setting, without list indices and without the fields of single kinds of a family."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}"
        for below in models_in(field.annotation):
            yield from all_paths(below, f"{prefix}{name}.")
