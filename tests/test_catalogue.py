"""Does every component train through the command line, and do weights, quantiles and `explain` mean what they say?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli import Cli, Write, amounts_rows, write_csv
from mlptrain.component import Component, example_instances
from mlptrain.data.scalers import Scaler
from mlptrain.nn.activations import Activation
from mlptrain.nn.losses import CrossEntropy, Focal, Loss, Poisson, Quantile
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.schedules import Schedule

SHORT = "training: {epochs: 2, baselines: false}\n"
KEYS: dict[type[Component], str] = {
    Activation: "network.activation",
    Optimizer: "optimizer",
    Schedule: "schedule",
    Scaler: "data.numeric.scale",
}
CHOICES = [(key, instance) for family, key in KEYS.items() for instance in example_instances(family)]


@pytest.fixture
def amounts_spec(spec: Write, amounts: Path) -> Path:
    return spec("data: {path: amounts.csv, target: price}\n" + SHORT)


@pytest.mark.parametrize(("key", "chosen"), CHOICES, ids=[f"{key}-{chosen.label()}" for key, chosen in CHOICES])
def test_every_choice_trains(cli: Cli, amounts_spec: Path, key: str, chosen: Component) -> None:
    value = chosen.model_dump_json().replace('"', "")
    cli("fit", amounts_spec, "--out", "run", "--set", f"{key}={value.replace(':', ': ')}").succeeded()


@pytest.mark.parametrize("loss", [i for i in example_instances(Loss) if i.target_kind == "value"], ids=Component.label)
def test_every_loss_on_values_trains_and_predicts(cli: Cli, amounts_spec: Path, loss: Loss) -> None:
    value = loss.model_dump_json().replace('"', "").replace(":", ": ")
    cli("fit", amounts_spec, "--out", "run", "--set", f"loss={value}").succeeded()
    head = cli("predict", "run", "amounts.csv").succeeded().out.splitlines()[0]
    named = [f"price_q{q:g}" for q in loss.quantiles] if isinstance(loss, Quantile) else ["price"]
    assert head.split(",") == named


def test_a_negative_count_is_refused_with_its_row(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = amounts_rows()
    write_csv(tmp_path / "t.csv", "x1,x2,price", [*rows[:4], ("1", "1", "-2.5"), *rows[4:]])
    spec(f"data: {{path: t.csv, target: price}}\nloss: {Poisson().name()}\n" + SHORT)
    cli("fit", "spec.yaml").refused(3, "t.csv", "'price' must be 0 or more for loss poisson, but is not in row 5")


REFUSED: dict[str, tuple[str, int, str]] = {
    "unsorted quantiles": (
        "loss: {kind: quantile, quantiles: [0.9, 0.1]}",
        2,
        "loss.quantiles: must be strictly increasing",
    ),
    "class weights on a regression": ("loss: {kind: mse, class_weight: balanced}", 2, "loss.class_weight: unknown key"),
    "smoothing on a regression": ("loss: {kind: mse, label_smoothing: 0.1}", 2, "loss.label_smoothing: unknown key"),
    "scaled counts": (
        "loss: poisson\ndata: {path: amounts.csv, target: price, scale_target: standard}",
        2,
        "must be none",
    ),
    "a bounded target": (
        "data: {path: amounts.csv, target: price, scale_target: robust_clip}",
        2,
        "data.scale_target: robust_clip is for inputs only",
    ),
    "warm-up longer than the run": ("schedule: {kind: cosine, warmup: 2}", 2, "schedule.warmup"),
    "both clips": ("training: {epochs: 2, clip_norm: 1, clip_value: 1}", 2, "training.clip_value"),
    "unequal residual": ("network: {hidden: [4, {width: 5, residual: true}]}", 2, "network.hidden.1.residual"),
    "first residual": ("network: {hidden: [{width: 5, residual: true}]}", 2, "network.hidden.0.residual"),
}


@pytest.mark.parametrize(("text", "code", "message"), REFUSED.values(), ids=REFUSED)
def test_what_means_nothing_is_refused(
    cli: Cli, spec: Write, amounts: Path, text: str, code: int, message: str
) -> None:
    parts = ["data: {path: amounts.csv, target: price}\n", SHORT]
    spec("".join(part for part in parts if not re.search(f"^{part.split(':')[0]}:", text, re.MULTILINE)) + text + "\n")
    cli("fit", "spec.yaml").refused(code, message)


def evaluated(cli: Cli, *settings: str) -> Any:
    arguments = [word for setting in settings for word in ("--set", setting)]
    cli("fit", "spec.yaml", "--out", f"run{len(settings)}", *arguments).succeeded()
    return cli("evaluate", f"run{len(settings)}", "--data", "t.csv", "--json").succeeded().json()


@pytest.mark.parametrize("loss", [CrossEntropy, Focal], ids=lambda loss: str(loss.name()))
def test_class_weights_move_the_decision(cli: Cli, spec: Write, tmp_path: Path, loss: type[Component]) -> None:
    rng = np.random.default_rng(0)
    rows = [(f"{rng.standard_normal() + kind}", "rare" if kind else "often") for kind in [0] * 180 + [1] * 20]
    write_csv(tmp_path / "t.csv", "x,y", rows)
    spec("data: {path: t.csv, target: y}\ntraining: {epochs: 30, baselines: false}\nnetwork: {hidden: []}\n")
    plain = evaluated(cli)["confusion_matrix"]["counts"]
    weighted = evaluated(cli, f"loss={{kind: {loss.name()}, class_weight: {{often: 1, rare: 9}}}}")
    assert weighted["confusion_matrix"]["counts"][1][1] > plain[1][1]
    cli("fit", "spec.yaml", "--set", "loss={kind: focal, class_weight: {often: 1}}").refused(3, "does not name 'rare'")
    cli("fit", "spec.yaml", "--set", "loss={kind: focal, class_weight: {often: 0}}").refused(2, "positive numbers")


def test_a_row_of_weight_two_counts_as_two_rows(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = amounts_rows(12)
    write_csv(tmp_path / "weighted.csv", "x1,x2,price,w", [(*row, "2" if i < 3 else "1") for i, row in enumerate(rows)])
    write_csv(tmp_path / "doubled.csv", "x1,x2,price", [*rows, *rows[:3]])
    common = "numeric: {scale: none}, scale_target: none, split: {validation: 0, test: 0}}\n"
    training = "training: {epochs: 5, batch_size: full, dtype: float64, baselines: false}\nnetwork: {hidden: [3]}\n"
    optimizer = "optimizer: {kind: sgd, learning_rate: 1.0e-7}\n"
    losses = []
    for name, weight in (("weighted", "sample_weight: w, "), ("doubled", "")):
        spec(f"data: {{path: {name}.csv, target: price, {weight}" + common + training + optimizer)
        cli("fit", "spec.yaml", "--out", name).succeeded()
        table = (tmp_path / name / "metrics.csv").read_text().splitlines()
        losses.append([float(line.split(",")[2]) for line in table[1:]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_explain_prints_the_numbers_of_the_step(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """One row, one weight: z = 2 w, L = (z - 3)^2, dL/dw = 2 (z - 3) 2, and the step takes a tenth of it."""
    write_csv(tmp_path / "t.csv", "x,y", [("2", "3.5")])
    data = (
        "data: {path: t.csv, target: y, numeric: {scale: none}, scale_target: none, split: {validation: 0, test: 0}}\n"
    )
    spec(data + "network: {hidden: [], initializer: zeros}\noptimizer: {kind: sgd, learning_rate: 0.1}\n")
    out = re.sub(r"\s+", " ", cli("explain", "spec.yaml", "--step", "1").succeeded().out)
    for line in ("x (1 x 1) x 0 2", "z0 = x W0 + b0 (1 x 1) y 0 0", "L = 12.25", "dL/da0 (1 x 1) y 0 -7"):
        assert line in out
    assert "dL/dW0 = x' d0 (1 x 1) y x -14" in out
    assert "W0, new (1 x 1) y x 1.4" in out
    assert "b0, new (1) [0.7]" in out
    second = re.sub(r"\s+", " ", cli("explain", "spec.yaml", "--step", "2").succeeded().out)
    assert "z0 = x W0 + b0 (1 x 1) y 0 3.5" in second  # 2 * 1.4 + 0.7: one step was enough
