"""Writes the reference pages from the classes: `python docs/make.py`; with --check it only says which are stale."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlptrain.component import Component, variants
from mlptrain.data.transforms import Scaler
from mlptrain.nn.activations import Activation
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.losses import Loss
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.schedules import Schedule
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment

FOLDER = Path(__file__).parent / "reference"
NOTE = "<!-- Written by docs/make.py from the classes; edit those. -->\n"
FAMILIES: tuple[tuple[str, type[Component]], ...] = (
    ("Activations", Activation),
    ("Losses", Loss),
    ("Initializers", Initializer),
    ("Normalizations", Normalization),
    ("Optimizers", Optimizer),
    ("Schedules", Schedule),
    ("Scalers", Scaler),
)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {"spec.md": spec_page(), "components.md": components_page()}


def spec_page() -> str:
    """Every key of an experiment file."""
    head = (
        f"{NOTE}\n# The experiment file\n\n"
        "Every key, its type, its default and its meaning. Only `data.path` and `data.target` have no default. For\n"
        "the kinds of a family see [components.md](components.md): a bare name stands for `{kind: name}`.\n"
    )
    return head + "\n".join(section(Experiment, "")) + "\n"


def section(model: type[BaseModel], path: str) -> Iterator[str]:
    """A heading and a table for one mapping, then those of the mappings inside it."""
    yield f"\n## {path or 'top level'}\n"
    yield f"{first_paragraph(model)}\n"
    yield from field_table(model)
    for name, field in model.model_fields.items():
        inner = settings_in(field.annotation)
        if inner is not None:
            yield from section(inner, f"{path}.{name}" if path else name)


def field_table(model: type[BaseModel], skip: tuple[str, ...] = ()) -> Iterator[str]:
    """One row for each field."""
    yield "| key | type | default | meaning |\n| --- | --- | --- | --- |"
    for name, field in model.model_fields.items():
        if name not in skip:
            meaning = (field.description or "").replace("|", "\\|")
            yield f"| `{name}` | {type_text(field)} | {default_text(field)} | {meaning} |"


def components_page() -> str:
    """Every variant of every family."""
    head = f"{NOTE}\n# Components\n\nThe choices for each key of an experiment file that names a family.\n"
    return head + "\n".join(line for title, family in FAMILIES for line in family_section(title, family)) + "\n"


def family_section(title: str, family: type[Component]) -> Iterator[str]:
    """The variants of one family."""
    yield f"\n## {title}\n\n{first_paragraph(family)}"
    for variant in variants(family):
        also = f" (also {', '.join(f'`{alias}`' for alias in variant.aliases)})" if variant.aliases else ""
        yield f"\n### `{variant.name()}`{also}\n"
        yield without_doctests(inspect.getdoc(variant) or "")
        if set(variant.model_fields) - {"kind"}:
            yield ""
            yield from field_table(variant, skip=("kind",))


def first_paragraph(model: type[BaseModel]) -> str:
    """The first paragraph of a docstring, on one line."""
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def without_doctests(text: str) -> str:
    """A docstring without its examples in code."""
    paragraphs = [p for p in text.split("\n\n") if not p.lstrip().startswith(">>>")]
    return "\n\n".join(paragraphs)


def settings_in(annotation: Any) -> type[BaseModel] | None:
    """The mapping of settings that a field holds, if it holds one that is no component."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return None if issubclass(annotation, Component) else annotation
    return next((found for argument in get_args(annotation) if (found := settings_in(argument))), None)


def default_text(field: FieldInfo) -> str:
    """The default as it would be written in YAML."""
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Component):
        return f"`{value.name()}`"
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return f"`[{', '.join(str(block.width) for block in value)}]`"
    return f"`{yaml.dump({'': value}).partition(':')[2].strip()}`"


def type_text(field: FieldInfo) -> str:
    """The type and the bounds of a field."""
    bounds = [
        f"{sign} {value:g}" if isinstance(value, float | int) else f"{sign} {value}"
        for item in field.metadata
        for sign, name in ((">", "gt"), ("≥", "ge"), ("<", "lt"), ("≤", "le"))
        if (value := getattr(item, name, None)) is not None
    ]
    return ", ".join([annotation_text(field.annotation), *bounds])


def annotation_text(annotation: Any) -> str:
    """A type in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return annotation_text(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(annotation_text(argument) for argument in arguments)
    if origin is tuple:
        return f"list of {annotation_text(arguments[0])}"
    words = {int: "integer", float: "number", str: "text", bool: "boolean", type(None): "null"}
    if annotation in words:
        return words[annotation]
    assert isinstance(annotation, type)
    return f"a kind of {annotation.__name__.lower()}" if issubclass(annotation, Component) else "mapping"


def main() -> int:
    """Write the pages, or with --check compare them."""
    stale = [name for name, text in pages().items() if not same(FOLDER / name, text)]
    if "--check" in sys.argv:
        for name in stale:
            sys.stdout.write(f"{name} is stale: run python docs/make.py\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf8")
    return 0


def same(path: Path, text: str) -> bool:
    """Whether the file at `path` holds `text`."""
    return path.exists() and path.read_text(encoding="utf8") == text


if __name__ == "__main__":
    sys.exit(main())
