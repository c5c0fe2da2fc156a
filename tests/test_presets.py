"""Does a preset fill what is not written, and nothing else?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cli import TABLES, Cli, Outcome, Write, run_process, same_bytes, summary
from mlptrain.nn.activations import Tanh
from mlptrain.optim.optimizers import SGD
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.spec.presets import Facts, Plain, Quick, Standard, Tabular, batch_size

TWO_LINES = "data: {path: classes.csv, target: answer}\n"
QUICK = "preset: quick\n" + TWO_LINES


def plan_of(path: Path) -> Plan:
    """The plan of an experiment."""
    return prepare(load_experiment(path), "test")[0]


def facts(**changes: Any) -> Facts:
    """Facts of a middling table."""
    usual: dict[str, Any] = {
        "rows": 1000,
        "classes": True,
        "folds": True,
        "linear": True,
        "epochs": None,
        "own_optimizer": False,
    }
    return Facts(**usual | changes)


def test_plain_is_the_textbook_network(spec: Write, classes: Path) -> None:
    """It has the defaults of the reference, to the last setting."""
    plan = plan_of(spec("preset: plain\n" + TWO_LINES))
    assert Plain().settings(facts()) == {}
    written = Experiment(data=plan.data, preset=Plain())
    for section in ("optimizer", "schedule", "penalty", "ensemble"):
        assert getattr(plan, section) == getattr(written, section)
    assert plan.training == written.training.model_copy(update={"threads": plan.threads})


def test_standard_is_the_default(spec: Write, classes: Path, tmp_path: Path) -> None:
    """For users, that is; the other tests are about the textbook network and change the default."""
    spec(TWO_LINES + "training: {epochs: 1}\n")
    import subprocess
    import sys

    command = [sys.executable, "-m", "mlptrain", "fit", "spec.yaml", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (
        Outcome(done.returncode, done.stdout, done.stderr)
        .succeeded()
        .err.splitlines()[1]
        .startswith("preset standard: ")
    )


def test_what_is_written_has_priority(spec: Write, classes: Path) -> None:
    text = QUICK + (
        "network: {hidden: [5], activation: tanh}\noptimizer: {kind: sgd, learning_rate: 0.5}\n"
        "training: {epochs: 3}\nensemble: {members: 2}\n"
    )
    plan = plan_of(spec(text))
    assert [layer.units(0) for layer in plan.network.hidden] == [5]
    assert plan.network.activation == Tanh()
    assert plan.ensemble.blend, "what is not written is filled"
    assert plan.optimizer == SGD(learning_rate=0.5)
    assert plan.training.rates == "uniform", "a rate that is given means what it says"
    assert plan.training.epochs == 3
    assert plan.ensemble.members == 2
    assert plan.data.numeric.bins == "auto"


def test_what_set_says_has_priority(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    spec(QUICK)
    cli(
        "fit", "spec.yaml", "--quiet", "--out", "run", "--set", "training.epochs=2", "--set", "network.hidden=[3]"
    ).succeeded()
    saved = load_experiment(tmp_path / "run" / "spec.yaml")
    assert saved.training.epochs == 2
    assert len(saved.network.hidden) == 1


@pytest.mark.parametrize("preset", ["plain", "quick", "standard", "best"])
def test_the_saved_spec_says_everything(cli: Cli, spec: Write, classes: Path, tmp_path: Path, preset: str) -> None:
    """Fitted again, it gives the same bytes, whatever a later version fills."""
    spec(f"preset: {preset}\n{TWO_LINES}training: {{epochs: 2}}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "first").succeeded()
    first = load_experiment(tmp_path / "first" / "spec.yaml")
    assert first.filled(10**6, classes=False).written() == first.written()
    cli("fit", "first/spec.yaml", "--quiet", "--out", "second").succeeded()
    same_bytes(tmp_path / "first", tmp_path / "second", ("metrics.csv",))


def test_a_plan_is_prepared_to_itself(spec: Write, classes: Path) -> None:
    plan = plan_of(spec(QUICK))
    assert prepare(plan, "test")[0].written() == plan.written()


@pytest.mark.parametrize(
    ("line", "held"),
    [
        (
            "network: {output_activation: sigmoid}\ndata: {path: amounts.csv, target: price, scale_target: minmax}\n",
            False,
        ),
        ("network: {hidden: []}\ndata: {path: amounts.csv, target: price}\n", False),
        ("network: {activation: tanh}\ndata: {path: amounts.csv, target: price}\n", True),
    ],
    ids=["bounded output", "linear already", "free"],
)
def test_a_blend_only_where_it_can_be(spec: Write, amounts: Path, line: str, held: bool) -> None:
    plan = plan_of(spec("preset: quick\n" + line))
    assert plan.ensemble.blend == held


def test_validation_rows_of_ones_own_are_used(spec: Write, classes: Path) -> None:
    text = "preset: standard\n" + TWO_LINES.replace("answer", "answer, split: {validation: 0.25}")
    plan = plan_of(spec(text))
    assert plan.ensemble.rows == "shared"
    assert plan.data.split.validation == 0.25


@pytest.mark.parametrize("rows", [6, 8, 12, 20])
def test_tiny_tables(cli: Cli, spec: Write, tmp_path: Path, rows: int) -> None:
    lines = [f"{i % 5},{'ab'[i % 2]}" for i in range(rows)]
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(lines) + "\n")
    spec("preset: standard\ndata: {path: t.csv, target: y}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    assert summary(tmp_path / "run")["results"]["validation"]["loss"] is not None


def test_never_far_below_the_linear_model(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Noise and a linear rule: nothing that a network could find beyond it."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6))
    y = x @ np.arange(6) + 8 * rng.standard_normal(400)
    frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(6)} | {"y": y})
    frame.head(250).write_csv(tmp_path / "train.csv")
    frame.tail(150).write_csv(tmp_path / "test.csv")
    spec("preset: standard\ndata: {path: train.csv, test_path: test.csv, target: y}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    found = summary(tmp_path / "run")
    assert found["results"]["test"]["rmse"] < 1.02 * found["baselines"]["linear"]["rmse"]


def test_it_is_better_than_the_linear_model_where_it_can_be(cli: Cli, spec: Write, tmp_path: Path) -> None:
    data = f"data: {{path: {TABLES}/spiral.csv, target: arm, split: {{test: 0.2}}}}\n"
    spec("preset: quick\ntask: classification\n" + data)
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    found = summary(tmp_path / "run")
    assert found["results"]["test"]["log_loss"] < 0.7 * found["baselines"]["linear"]["log_loss"]


def test_predictions_stay_within_the_range_of_training(cli: Cli, spec: Write, amounts: Path, tmp_path: Path) -> None:
    spec("preset: quick\ndata: {path: amounts.csv, target: price}\ntraining: {epochs: 2}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    (tmp_path / "far.csv").write_text("x1,x2\n1000000,-1000000\n-1000000,1000000\n")
    prices = pl.read_csv(tmp_path / "amounts.csv")["price"].to_list()
    out = cli("predict", "run", "far.csv", "--quiet").succeeded().out.split()[1:]
    assert all(min(prices) <= float(cell) <= max(prices) for cell in out)


@pytest.mark.parametrize("rows", [1, 6, 100, 3000, 12_000, 50_000, 10**7])
@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("folds", [True, False])
def test_settings_of_any_size_make_sense(rows: int, classes: bool, folds: bool) -> None:
    for preset in (Quick(), Standard()):
        found = preset.settings(facts(rows=rows, classes=classes, folds=folds))
        assert found["training"]["epochs"] > found["schedule"].warmup
        assert 16 <= found["training"]["batch_size"] <= 512
        assert found["ensemble"]["rows"] == "shared" or found["ensemble"]["members"] > 1
        assert isinstance(preset, Tabular)


def test_batches_grow_with_the_table() -> None:
    assert [batch_size(rows) for rows in (1, 1000, 4000, 10_000, 10**6)] == [16, 32, 128, 256, 512]


def test_a_misspelt_preset_is_answered_by_the_nearest(cli: Cli, spec: Write, classes: Path) -> None:
    spec("preset: standart\n" + TWO_LINES)
    cli("fit", "spec.yaml").refused(2, "spec.yaml:1:9 preset: unknown kind 'standart'; did you mean 'standard'?")


def test_one_value_to_predict(cli: Cli, spec: Write, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(f"{i},a" for i in range(30)) + "\n")
    spec("preset: standard\ndata: {path: t.csv, target: y, features: [x]}\n")
    cli("fit", "spec.yaml").refused(3, "only one class")


def test_a_level_that_only_the_test_has(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    spec("preset: quick\n" + TWO_LINES + "training: {epochs: 2}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    (tmp_path / "new.csv").write_text("x1,x2,colour\n0.1,0.2,violet\n0.3,0.1,red\n")
    assert "1 unknown in 'colour'" in cli("predict", "run", "new.csv").succeeded().err


def test_an_interrupt_and_a_resume(spec: Write, classes: Path, tmp_path: Path) -> None:
    """As a process of its own, whatever it chose."""
    spec("preset: standard\n" + TWO_LINES + "training: {epochs: 3}\n")
    for name in ("one", "two"):
        run_process("fit", "spec.yaml", "--quiet", "--out", name, folder=tmp_path).succeeded()
    same_bytes(tmp_path / "one", tmp_path / "two")
