"""Does every wrong value in a spec get an answer in our own words? Every key is tried with many of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from cli import Cli, Write
from mlptrain.component import Component, variants
from mlptrain.reference import catalogue
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import describe, models_in

DATA = "data: {path: classes.csv, target: answer}\n"
VALUES: tuple[Any, ...] = (
    *(None, True, "x", "", -1, 0, 3.5, 10**40, float("nan"), float("inf"), "a" * 500),
    *([], [1], ["a", "a"], [[1]], [0.5, 0.2], ["x"] * 2000, {}, {"a": 1}, {"kind": 3}, {"kind": "x"}),
)
Place = tuple[tuple[str, str | None], ...]
"""The keys on the way to a setting, each with the kind of the component that it holds, if it holds one."""


def places(model: type[BaseModel], above: Place = ()) -> Iterator[Place]:
    """Every setting of every mapping and of every variant of every family."""
    for name, field in model.model_fields.items():
        yield (*above, (name, None))
        for below in models_in(field.annotation):
            if issubclass(below, Component):
                for variant in variants(below):
                    for setting in variant.model_fields:
                        yield (*above, (name, variant.name()), (setting, None))
            else:
                yield from places(below, (*above, (name, None)))


def spec_with(place: Place, value: Any) -> dict[str, Any]:
    """A sound spec, but for `value` at `place`."""
    spec: dict[str, Any] = {"data": {"path": "t.csv", "target": "y"}}
    node = spec
    for name, kind in place[:-1]:
        node = node.setdefault(name, {})
        if kind is not None:
            node["kind"] = kind
    node[place[-1][0]] = copy.deepcopy(value)
    return spec


def test_no_message_is_that_of_a_library() -> None:
    foreign, tried = [], 0
    for place in places(Experiment):
        for value in VALUES:
            tried += 1
            try:
                Experiment.model_validate(spec_with(place, value))
            except ValidationError as error:
                for detail in error.errors(include_url=False):
                    message = describe(detail)
                    ours = "message" in detail.get("ctx", {}) or detail["type"] == "extra_forbidden"
                    if "{{" in message or (message == detail["msg"] and not ours):
                        foreign.append((place, value, message))
    assert tried > 2000
    assert foreign == []


ONE_MISTAKE = {
    "features: [1, 2]": ("data: {path: classes.csv, target: answer, features: [1, 2]}\n", "data.features.0", 2),
    "quantiles: [50]": (DATA + "loss: {kind: quantile, quantiles: [50]}\n", "loss.quantiles.0", 1),
    "milestones: [a]": (DATA + "schedule: {kind: multistep, milestones: [a]}\n", "schedule.milestones.0", 1),
    "no features": (
        "data: {path: a.csv, target: answer, features: []}\n",
        "data.features: must have at least",
        1,
    ),
}


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize(("text", "place", "count"), ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_a_wrong_item_is_told_once(cli: Cli, spec: Write, text: str, place: str, count: int) -> None:
    outcome = cli("fit", spec(text)).refused(2, place)
    assert outcome.err.count("spec.yaml:") == count


@pytest.mark.usefixtures("classes")
def test_the_example_in_a_message_is_yaml(cli: Cli, spec: Write) -> None:
    outcome = cli("fit", spec(DATA + "loss: {kind: cross_entropy, class_weight: [1, 2]}\n")).refused(2)
    assert "{yes: 2.0, no: 1.0}" in outcome.err
    assert "{{" not in outcome.err


def test_the_name_of_a_setting_is_told_where_a_component_is_expected(cli: Cli) -> None:
    cli("components", "dropout").refused(2, "no component 'dropout'; it is a setting: network.dropout")
    cli("components", "relo").refused(2, "no component 'relo'; did you mean 'relu'?")
    cli("components", "qqqqq").refused(2, "no component 'qqqqq'; `mlptrain components` lists them all")


def test_no_line_of_the_overview_is_cut(cli: Cli) -> None:
    lines = cli("components").succeeded().out.splitlines()
    assert not [line for line in lines if line.rstrip().endswith("…")]
    assert max(map(len, lines)) <= 120
    for _, _, found in catalogue():
        for variant in found:
            assert any(variant.name() in line.split() for line in lines), variant.name()
