"""Is every warning said where something is wrong and only there, and does every line that it suggests work?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli import TABLES, Cli, metrics, summary, write_csv
from mlptrain.component import variants
from mlptrain.nn.activations import ReLU
from mlptrain.spec import yaml
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.training.diagnostics import DeadUnits, Diagnosis, Moment, Overfitting, Reached, WorseThanBaseline
from mlptrain.training.evaluation import ActivationWatch
from mlptrain.training.state import Progress
from test_remedies import pasted, plain

Settings = dict[str, Any]
BREAST = {"path": str(TABLES / "breast_cancer.csv"), "target": "diagnosis"}
SPIRAL = {"path": str(TABLES / "spiral.csv"), "target": "arm", "split": {"validation": 0.2, "test": 0}}
NOISY = {"path": str(TABLES / "noisy.csv"), "target": "y", "split": {"validation": 0.3, "test": 0.3}}
RAW: Settings = {
    "data": {**BREAST, "numeric": {"scale": "none"}},
    "network": {"hidden": [16, 16]},
    "optimizer": {"kind": "sgd", "learning_rate": 0.1},
    "training": {"epochs": 12, "early_stopping": None},
}
DEEP: Settings = {
    "data": SPIRAL,
    "network": {"hidden": [16] * 8, "activation": "sigmoid", "initializer": {"kind": "normal", "std": 0.1}},
    "training": {"epochs": 3},
}
WIDE: Settings = {
    "data": NOISY,
    "network": {"hidden": [256], "activation": "tanh"},
    "optimizer": {"learning_rate": 0.003},
    "training": {"epochs": 120, "early_stopping": {"monitor": "train_loss"}},
}
FROZEN: Settings = {
    "data": NOISY,
    "network": {"hidden": [8]},
    "optimizer": {"kind": "sgd", "learning_rate": 1e-6},
    "training": {"epochs": 8},
}
DYING: Settings = {
    "data": SPIRAL,
    "network": {"hidden": [16, 16]},
    "optimizer": {"learning_rate": 1.0},
    "training": {"epochs": 20, "early_stopping": None},
}
HUGE: Settings = {
    "data": SPIRAL,
    "network": {"hidden": [16, 16], "activation": "tanh", "initializer": {"kind": "normal", "std": 20.0}},
    "training": {"epochs": 3},
}
EMPTY: Settings = {
    "data": NOISY,
    "network": {"hidden": [256], "activation": "tanh", "initializer": {"kind": "normal", "std": 0.02}},
    "optimizer": {"learning_rate": 0.003},
    "penalty": {"l2": 3.0},
    "training": {"epochs": 200, "early_stopping": None},
}
FEW: Settings = {
    "data": {"path": "few.csv", "validation_path": "none.csv", "target": "y", "split": {"test": 0}},
    "training": {"epochs": 3, "early_stopping": {"monitor": "validation_roc_auc"}},
}

LATE: Settings = {
    "data": {
        "path": "near.csv",
        "validation_path": "far.csv",
        "target": "y",
        "split": {"test": 0},
        "numeric": {"scale": "none"},
        "scale_target": "none",
    },
    "network": {"hidden": [], "initializer": {"kind": "normal", "std": 20.0}},
    "optimizer": {"kind": "sgd", "learning_rate": 0.3},
    "training": {"epochs": 30, "batch_size": "full", "early_stopping": None},
}
"""The square of the first validation error is larger than the largest number in float32, later ones are not."""

CASES: dict[str, tuple[Settings, Settings]] = {
    "first_loss_far_from_theory": (RAW, {"network": {"linear_path": True}}),
    "loss_not_falling": (FROZEN, {"network": {"linear_path": True}}),
    "overfitting": (WIDE, {"training": {"early_stopping": None}}),
    "vanishing_gradients": (DEEP, {"network": {"activation": "relu", "initializer": "auto"}}),
    "exploding_gradients": (RAW, {"data": {"numeric": {"scale": "standard"}}}),
    "dead_units": (DYING, {"optimizer": {"learning_rate": 0.03}}),
    "saturated_units": (HUGE, {"network": {"initializer": "auto"}}),
    "constant_output": (EMPTY, {"penalty": {"l2": 0.001}}),
    "validation_not_finite": (LATE, {"network": {"initializer": "zeros"}}),
    "monitor_without_value": (FEW, {"training": {"early_stopping": {"monitor": "validation_loss"}}}),
    "worse_than_baseline": (WIDE, {"network": {"hidden": [8], "linear_path": True}, "ensemble": {"blend": True}}),
}
"""A run with the warning, and what changes so that there is none."""


def alternatives(remedy: str) -> Iterator[Settings]:
    """Each way out: the settings of its lines, which ` and ` joins."""
    for way in apart(remedy.replace(", or ", ", "), ", "):
        together: Settings = {}
        for line in apart(way, " and "):
            found = plain(line)
            assert isinstance(found, dict)
            together |= found
        yield together


def apart(text: str, joint: str) -> Iterator[str]:
    """The parts of `text` between `joint`s outside of brackets."""
    start = depth = 0
    for i, letter in enumerate(text):
        depth += (letter in "{[") - (letter in "}]")
        if not depth and text.startswith(joint, i):
            yield text[start:i]
            start = i + len(joint)
    yield text[start:]


def warned(cli: Cli, folder: Path, settings: Settings, out: str) -> dict[str, dict[str, str]]:
    """The warnings of a run, by name."""
    (folder / "spec.yaml").write_text(yaml.dump(settings))
    cli("fit", "spec.yaml", "--out", out, "--quiet").succeeded()
    return {one["name"]: one for one in summary(folder / out)["warnings"]}


def plan_of(folder: Path, settings: Settings) -> Plan:
    (folder / "spec.yaml").write_text(yaml.dump(settings))
    return prepare(load_experiment(folder / "spec.yaml"), "test")[0]


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A table with few rows of a class, and one with none; a line, and a row far away on it."""
    rows = [(f"{i % 7}", "no") for i in range(40)] + [("1", "yes"), ("2", "yes")]
    write_csv(tmp_path / "few.csv", "x,y", rows)
    write_csv(tmp_path / "none.csv", "x,y", rows[:9])
    write_csv(tmp_path / "near.csv", "x,y", [(f"{i / 10}", f"{i / 10}") for i in range(-20, 21)])
    write_csv(tmp_path / "far.csv", "x,y", [("1.5e19", "1.5")])
    return tmp_path


def test_every_diagnosis_has_a_case() -> None:
    ours = {one.name() for one in variants(Diagnosis) if one.__module__ == "mlptrain.training.diagnostics"}
    assert ours == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_it_is_said_where_it_is_true_and_its_lines_work(cli: Cli, tables: Path, name: str) -> None:
    settings, _ = CASES[name]
    found = warned(cli, tables, settings, "run")
    assert name in found
    for one in found.values():
        ways = list(alternatives(one["remedy"])) if one["remedy"] else []
        assert ways or one["name"] == "monitor_without_value"
        for way in ways:
            changed = pasted(settings, way)
            assert changed != settings, f"{way} is there already"
            plan_of(tables, changed)


@pytest.mark.parametrize("name", CASES)
def test_it_is_not_said_where_it_is_not(cli: Cli, tables: Path, name: str) -> None:
    settings, change = CASES[name]
    assert name not in warned(cli, tables, pasted(settings, change), "run")


def test_a_validation_loss_that_becomes_finite_lets_the_run_go_on(cli: Cli, tables: Path) -> None:
    warned(cli, tables, LATE, "run")
    values = metrics(tables / "run")["validation_loss"]
    assert values[0] == ""
    assert float(values[-1]) < 3e38
    assert summary(tables / "run")["results"]["validation"]["loss"] is not None


def test_one_that_never_is_finite_is_a_divergence(cli: Cli, tables: Path) -> None:
    write_csv(tables / "far.csv", "x,y", [("1.5e30", "1.5")])
    (tables / "spec.yaml").write_text(yaml.dump(LATE))
    cli("fit", "spec.yaml", "--out", "run", "--quiet").refused(6, "in all 30 epochs the validation loss was not finite")
    assert summary(tables / "run")["stopped"] == "diverged"
    assert len(metrics(tables / "run")["epoch"]) == 30
    cli("fit", "--resume", "run", "--quiet").refused(6, "in all 30 epochs the validation loss was not finite")


PRESET: Settings = {"preset": "standard", "data": NOISY, "training": {"epochs": 6}, "network": {"linear_path": True}}


def test_a_run_of_a_preset_is_left_in_peace(cli: Cli, tables: Path) -> None:
    """It keeps the best epoch and starts as the linear model, whatever the training loss does."""
    settings = {"preset": "standard", "data": {"path": NOISY["path"], "target": "y"}}
    assert not warned(cli, tables, settings, "run").keys() - {"worse_than_baseline"}


@pytest.mark.parametrize("diagnosis", variants(Diagnosis), ids=lambda kind: kind.__name__)
def test_the_lines_for_a_preset_change_nothing_else(tables: Path, diagnosis: type[Diagnosis]) -> None:
    """An optimizer of its own would have another learning rate for each tensor and no weight decay."""
    plan = plan_of(tables, PRESET)
    for remedy in diagnosis().remedies(Moment(plan, Progress())):
        (way,) = alternatives(remedy)
        changed = plan_of(tables, pasted(PRESET, way))
        assert changed.optimizer.name() == "adamw"
        assert changed.training.rates == plan.training.rates == "ntk"
        assert changed.network.linear_path == (plan.network.linear_path and bool(changed.network.hidden))


def reached(plan: Plan, loss: float, train: float, linear: float, **more: Any) -> Reached:
    return Reached(plan, Progress(), {"loss": loss}, train, {"linear": {"loss": linear}}, 0.0, **more)


def test_what_an_overfitted_run_is_told(tables: Path) -> None:
    """Not to train longer; less weight instead, by the decay of the optimizer where it has one."""
    plan = plan_of(tables, WIDE)
    progress = Progress(epoch=120, best_epoch=119, stopped="epochs")
    moment = replace(reached(plan, 1.0, 0.1, 0.5), progress=progress)
    told = list(WorseThanBaseline().remedies(moment))
    assert "preset: standard" in told
    assert "penalty: {l2: 0.001}" in told
    assert not any("epochs" in line for line in told)
    same = replace(moment, train_loss=1.0)
    assert "training: {epochs: 240}" in WorseThanBaseline().remedies(same)
    assert not any("epochs" in line for line in WorseThanBaseline().remedies(replace(same, progress=Progress())))
    decaying = plan_of(tables, WIDE | {"optimizer": {"kind": "adamw", "weight_decay": 0.02}})
    told = list(WorseThanBaseline().remedies(replace(moment, plan=decaying)))
    assert "optimizer: {kind: adamw, weight_decay: 0.06}" in told
    assert not any("l2" in line for line in told)


def test_early_stopping_is_not_told_to_who_has_it(tables: Path) -> None:
    stopping = plan_of(tables, WIDE | {"training": {"early_stopping": {"monitor": "validation_loss"}}})
    for plan, expected in ((plan_of(tables, WIDE), True), (stopping, False)):
        told = list(Overfitting().remedies(Moment(plan, Progress())))
        assert ("training: {early_stopping: {monitor: validation_loss}}" in told) == expected


def test_dead_units_of_a_good_network_are_not_told(tables: Path) -> None:
    plan = plan_of(tables, DYING)

    class Watch(ActivationWatch):
        def __init__(self) -> None:
            assert ReLU().rectifies

        def dead_shares(self) -> list[float]:
            return [0.2, 0.75]

    worse, better = (reached(plan, loss, loss, 0.5, watch=Watch()) for loss in (0.6, 0.4))
    message = DeadUnits().after_training(worse)
    assert message == "75% of the units of layer 1 are zero on every validation row"
    assert DeadUnits().after_training(better) is None
    ensemble = plan_of(tables, DYING | {"ensemble": {"members": 3}})
    message = DeadUnits().after_training(replace(worse, plan=ensemble))
    assert message is not None
    assert "layer 1 of the first of 3 networks" in message
    assert math.isclose(worse.excess_over("linear") or 0, 0.1)
