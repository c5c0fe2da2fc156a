"""Does the range test find a learning rate that trains, without touching anything?"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest

from cli import Cli, Write, contents, metrics
from mlptrain.rates import HIGH, LOW, STEPS, RangeTest, rates

SPEC = (
    "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [16]}\n"
    "training: {epochs: 10, batch_size: 8, baselines: false, early_stopping: null}\n"
)


def test_the_rates_rise_by_one_factor() -> None:
    found = np.array(rates())
    assert (len(found), found[0], found[-1]) == (STEPS, LOW, pytest.approx(HIGH))
    assert found[1:] / found[:-1] == pytest.approx(np.full(STEPS - 1, (HIGH / LOW) ** (1 / (STEPS - 1))))


def curve(*smoothed: float) -> RangeTest:
    tried = tuple(10.0**i for i in range(-4, -4 + len(smoothed)))
    return RangeTest(tried, smoothed, smoothed, "all rates", reducible=1.0)


def test_the_suggestion_is_where_most_of_the_fall_is_done_and_below_the_lowest_point() -> None:
    assert curve(1.0, 0.9, 0.4, 0.8).suggested == pytest.approx(1e-3)  # a tenth of 1e-2
    assert curve(1.0, 0.4, 0.33, 0.32, 0.3, 0.8).suggested == pytest.approx(1e-2)  # nine tenths of the way
    assert curve(1.0, 0.36, 0.33, 0.32, 0.31, 0.3).suggested == pytest.approx(1e-3)
    assert curve(1.0, 0.99, 1.2).suggested is None
    assert curve(1.0, float("nan")).suggested is None


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "{kind: momentum, nesterov: true}"])
def test_the_suggested_rate_trains_well(cli: Cli, classes: Path, spec: Write, tmp_path: Path, optimizer: str) -> None:
    spec(f"{SPEC}optimizer: {optimizer}\n")
    found = cli("lr-find", "spec.yaml", "--json").succeeded().json()
    rate = found["suggested"]
    assert found["options"] == ["--set", f"optimizer.learning_rate={rate:g}"]
    assert min(found["lowest_at"] / 10, found["fallen_at"]) == pytest.approx(rate, rel=0.06)
    reached = {}
    for factor in (0.01, 1):
        cli("fit", "spec.yaml", "--set", f"optimizer.learning_rate={rate * factor}", "--out", f"r{factor}").succeeded()
        reached[factor] = float(metrics(tmp_path / f"r{factor}")["train_loss"][-1])
    assert reached[1] < 0.7 * reached[0.01]


def test_nothing_is_touched(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> None:
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    before = contents(tmp_path)
    assert cli("lr-find", "run/spec.yaml").succeeded().out == cli("lr-find", "run/spec.yaml").succeeded().out
    assert contents(tmp_path) == before


def test_what_is_shown(cli: Cli, classes: Path, spec: Write) -> None:
    spec(SPEC)
    shown = cli("lr-find", "spec.yaml", "--set", "seed=1", "--set", "optimizer.learning_rate=0.5").succeeded()
    lines = shown.out.splitlines()
    assert "log10 rate" in lines[0]
    assert lines[-1].startswith("--set optimizer.learning_rate=0.")
    assert shown.err == f"next: mlptrain fit spec.yaml --set seed=1 {lines[-1]}\n"


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_the_line_keeps_the_optimizer_of_a_preset(
    cli: Cli, classes: Path, spec: Write, tmp_path: Path, preset: str
) -> None:
    spec(f"preset: {preset}\ndata: {{path: classes.csv, target: answer}}\ntraining: {{epochs: 1}}\n")
    found = cli("lr-find", "spec.yaml", "--json").succeeded().json()
    line = shlex.split(shlex.join(found["options"]))
    before = cli("inspect", "spec.yaml", "--json").succeeded().json()["settings"]
    after = cli("inspect", "spec.yaml", *line, "--json").succeeded().json()["settings"]
    assert after["optimizer.learning_rate"]["value"] == found["suggested"]
    changed = {name for name, one in after.items() if one["value"] != before.get(name, {}).get("value")}
    assert changed == {"optimizer.learning_rate"}


def test_a_picture(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> None:
    spec(SPEC)
    cli("lr-find", "spec.yaml", "--out", "lr.png").succeeded()
    assert (tmp_path / "lr.png").read_bytes().startswith(b"\x89PNG")
    cli("lr-find", "spec.yaml", "--out", "lr.png").refused(2, "exists, and is not overwritten")
    cli("lr-find", "spec.yaml", "--out", "lr.pdf").refused(2, "must end in .png")


def test_a_loss_that_is_not_finite_from_the_start(cli: Cli, classes: Path, spec: Write) -> None:
    spec(SPEC)
    line = ("--set", "network.initializer={kind: normal, std: 1.0e+30}", "--json")
    cli("lr-find", "spec.yaml", *line).refused(6, "diverged")


def test_no_rate_that_lowers_the_loss(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """The same rows in both classes: the first loss, of equal scores, is the lowest there is."""
    rows = "".join(f"{i % 5},{label}\n" for i in range(40) for label in "ab")
    (tmp_path / "t.csv").write_text("x,y\n" + rows)
    spec("data: {path: t.csv, target: y}\nnetwork: {hidden: [4], output_scale: 0}\ntraining: {batch_size: full}\n")
    failed = cli("lr-find", "spec.yaml", "--json")
    assert failed.code == 6
    assert failed.json()["suggested"] is None
    assert "mlptrain check spec.yaml" in failed.err
