"""Which value does each setting of an experiment have, and who said so?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import Plan
from mlptrain.spec.presets import Plain

Location = tuple[int | str, ...]
ABSENT = object()
DECIDED = frozenset((("name",), ("seed",), ("task",), ("loss",), ("data", "scale_target")))
"""The settings that the name of the file, chance or the target decide where nothing else does."""


class Setting(NamedTuple):
    """One value of an experiment."""

    location: Location
    value: Any
    origin: str
    """`spec.yaml:3`, `--set a.b=1`, `preset standard`, `default` or `decided`: by the target or the file's name."""


def resolved(experiment: Experiment, plan: Plan) -> Iterator[Setting]:
    """Every setting of `plan`, which was made from `experiment`, in the order of spec.yaml."""
    before, after = experiment.written(), plan.written()
    preset = "decided" if isinstance(plan.preset, Plain) else f"preset {plan.preset.name()}"
    for location, value in leaves(after):
        origin = experiment.origin(location)
        whole = next((location[:i] for i, part in enumerate(location) if isinstance(part, int)), location)
        if origin is None and at(before, whole) == at(after, whole):
            origin = "default"
        if origin is None:
            origin = "decided" if any(location[: len(place)] == place for place in DECIDED) else preset
        yield Setting(location, value, origin)


def at(value: Any, location: Location) -> Any:
    """The value at `location` inside mappings; `ABSENT` where there is none."""
    for part in location:
        value = value.get(part, ABSENT) if isinstance(value, Mapping) else ABSENT
    return value


def leaves(value: Any, location: Location = ()) -> Iterator[tuple[Location, Any]]:
    """The values inside mappings, and inside lists of mappings; a list of plain values is one value."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*location, name))
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        for i, item in enumerate(value):
            yield from leaves(item, (*location, i))
    else:
        yield location, value
