"""How are settings and components described, in `mlptrain components` and on the reference pages?"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mlptrain.component import Component, variants
from mlptrain.data.encoders import Encoder
from mlptrain.data.scalers import Scaler
from mlptrain.metrics import Metric
from mlptrain.nn.activations import Activation
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.layers import Layer
from mlptrain.nn.losses import Loss
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.schedules import Schedule
from mlptrain.spec import yaml
from mlptrain.tasks import Task

FAMILIES: tuple[tuple[str, type[Component]], ...] = (
    ("layers", Layer),
    ("activations", Activation),
    ("losses", Loss),
    ("initializers", Initializer),
    ("normalizations", Normalization),
    ("optimizers", Optimizer),
    ("schedules", Schedule),
    ("scalers", Scaler),
    ("encoders", Encoder),
    ("tasks", Task),
    ("metrics", Metric),
)


@dataclass(frozen=True)
class Setting:
    """The description of one key of a mapping."""

    name: str
    type: str
    default: str
    meaning: str


def catalogue() -> Iterator[tuple[str, type[Component], list[type[Component]]]]:
    """Every family with its variants."""
    for title, family in FAMILIES:
        yield title, family, variants(family)


def settings(model: type[BaseModel], skip: tuple[str, ...] = ()) -> list[Setting]:
    """The keys of a mapping; fitted fields have no description and are left out."""
    return [
        Setting(name, type_text(field), default_text(field), field.description)
        for name, field in model.model_fields.items()
        if name not in skip and field.description
    ]


def summary(model: type[BaseModel]) -> str:
    """The first paragraph of a docstring, on one line."""
    return paragraphs(model)[0].replace("\n", " ")


def paragraphs(model: type[BaseModel]) -> list[str]:
    """The paragraphs of a docstring, without its examples in code."""
    return [text for text in (inspect.getdoc(model) or "").split("\n\n") if not text.lstrip().startswith(">>>")]


def default_text(field: FieldInfo) -> str:
    """The default as YAML."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Component):
        return value.name()
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return f"[{', '.join(str(getattr(layer, 'width', layer)) for layer in value)}]"
    return yaml.dump({"": value}).partition(":")[2].strip()


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
    if origin is dict:
        return "mapping"
    words = {int: "integer", float: "number", str: "text", bool: "boolean", type(None): "null"}
    if annotation in words:
        return words[annotation]
    assert isinstance(annotation, type)
    return f"a kind of {annotation.__name__.lower()}" if issubclass(annotation, Component) else "mapping"
