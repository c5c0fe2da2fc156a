"""Is the linear model the best one: against scikit-learn, and where does the network start from it?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from cli import DATASETS, Cli, Write, summary
from helpers import assert_close
from mlptrain.optim.lbfgs import minimize
from mlptrain.runs.model import open_model
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare
from mlptrain.training import linear as linear_module
from mlptrain.training.blend import SHARES, mixed
from mlptrain.training.linear import LinearModels, fit_linear
from mlptrain.training.loop import network_for, start

PENGUINS = f"data: {{path: {DATASETS}/penguins.csv, target: species, exclude: [year]}}\n"
DIAMONDS = (
    f"data: {{path: {DATASETS}/diamonds.csv, target: price, split: {{validation: 0.1, test: 0.8}}}}\ntask: regression\n"
)

BLEND = "preset: plain\n" + PENGUINS + "network: {hidden: [4]}\nensemble: {blend: true}\ntraining: {epochs: 2}\n"


def prepared(path: Path) -> Any:
    """Plan, data and network of an experiment."""
    plan, dataset = prepare(load_experiment(path), "test")
    return plan, dataset, network_for(plan)


def inputs_of(part: Any) -> Any:
    """The inputs of a part (n, width)."""
    out = np.empty((len(part), part.features.width), part.features.dtype)
    part.features.gather(part.rows, out, part.features.byte_buffer(len(part)))
    return out.astype(np.float64)


# -- the minimizer


def test_it_finds_the_minimum_of_a_curved_valley() -> None:
    """Rosenbrock's function has its minimum at (1, 1), at the end of a long bent valley."""

    def valley(x: Any) -> Any:
        a, b = x
        return (1 - a) ** 2 + 100 * (b - a * a) ** 2, np.array(
            [-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)]
        )

    assert_close(minimize(valley, np.array([-1.2, 1.0]), 500, 1e-10), [1, 1], 1e-8)


def test_it_solves_a_badly_scaled_quadratic() -> None:
    scales = 10.0 ** np.arange(-3, 4)
    found = minimize(lambda x: (float(scales @ (x - 1) ** 2) / 2, scales * (x - 1)), np.zeros(7), 2000, 1e-9)
    assert_close(found, np.ones(7), 1e-5)


def test_it_stops_at_a_corner_and_where_nothing_is_finite() -> None:
    found = minimize(lambda x: (float(np.abs(x).sum()), np.sign(x)), np.array([3.0, -2.0]), 200)
    assert np.abs(found).max() < 1e-3
    nowhere = minimize(lambda x: (np.inf, np.ones(1)), np.zeros(1), 50)
    assert np.isfinite(nowhere).all()


# -- against scikit-learn


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_classes_as_scikit_learn(spec: Write, strength: float) -> None:
    _, dataset, network = prepared(spec("preset: plain\n" + PENGUINS))
    model = fit_linear(network, dataset.training, strength)
    x = inputs_of(dataset.training)
    judge = LogisticRegression(solver="newton-cg", C=1 / strength, tol=1e-10, max_iter=10_000).fit(
        x, dataset.training.target()
    )
    scores = model.scores(dataset.training.features, dataset.training.rows)
    assert_close(network.loss.predict(scores), judge.predict_proba(x), 1e-4, scale=1e-2)


@pytest.mark.parametrize("strength", [1.0, 10.0])
def test_values_as_scikit_learn(spec: Write, strength: float) -> None:
    _, dataset, network = prepared(spec("preset: plain\n" + DIAMONDS))
    model = fit_linear(network, dataset.training, strength)
    x = inputs_of(dataset.training)
    judge = Ridge(alpha=strength / 2).fit(x, dataset.training.target())
    scores = model.scores(dataset.training.features, dataset.training.rows)
    assert_close(scores.ravel(), judge.predict(x).ravel(), 1e-4, scale=1)


def test_rows_have_their_weights(tmp_path: Path, spec: Write) -> None:
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((60, 2)), rng.uniform(0.1, 5, 60)
    target = np.where(x @ [1, -1] + 0.5 * rng.standard_normal(60) > 0, "yes", "no")
    lines = [f"{a},{b},{w},{y}" for (a, b), w, y in zip(x.tolist(), weights.tolist(), target, strict=True)]
    (tmp_path / "t.csv").write_text("a,b,w,y\n" + "\n".join(lines) + "\n")
    text = "data: {path: t.csv, target: y, sample_weight: w, split: {validation: 0, test: 0}}\n"
    _, dataset, network = prepared(spec("preset: plain\n" + text))
    inputs = inputs_of(dataset.training)
    judge = LogisticRegression(solver="newton-cg", C=2, tol=1e-10).fit(
        inputs, dataset.training.target(), weights / weights.mean()
    )
    scores = fit_linear(network, dataset.training).scores(dataset.training.features, dataset.training.rows)
    assert_close(network.loss.predict(scores), judge.predict_proba(inputs), 1e-4, scale=1e-2)


def test_a_large_table_is_close(spec: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    _, dataset, network = prepared(spec("preset: plain\n" + DIAMONDS))
    exact = fit_linear(network, dataset.training)
    monkeypatch.setattr(linear_module, "EXACT", 100)
    near = fit_linear(network, dataset.training)
    losses = [
        linear_module.loss_of(network, m.scores(dataset.training.features, dataset.training.rows), dataset.training)
        for m in (exact, near)
    ]
    assert losses[0] <= losses[1] < 1.1 * losses[0]


# -- beside a network


def test_the_linear_path_starts_as_the_linear_model(spec: Write) -> None:
    text = "preset: plain\n" + PENGUINS + "network: {hidden: [8], linear_path: true, output_scale: 0}\n"
    plan, dataset, network = prepared(spec(text))
    state, models = start(plan, network, dataset), LinearModels(network, dataset)
    part = dataset.training
    views = network.layout.views(state.parameters)
    scores = network.forward(inputs_of(part).astype(np.float32), views, network.layout.running(state.buffers), False)
    assert_close(scores, models.on(part).scores(part.features, part.rows), 1e-4, scale=1)


def test_the_penalty_is_chosen_on_rows_left_out(spec: Write) -> None:
    _, dataset, network = prepared(spec("preset: plain\n" + PENGUINS))
    models, part = LinearModels(network, dataset), dataset.validation
    losses = {
        strength: linear_module.loss_of(
            network, fit_linear(network, dataset.training, strength).scores(part.features, part.rows), part
        )
        for strength in linear_module.STRENGTHS
    }
    assert models.strength == min(losses, key=lambda strength: losses[strength])


@pytest.mark.parametrize("rate", [1.0, 1e-6], ids=["a bad network", "an idle network"])
def test_a_blend_is_never_worse_on_the_validation_rows(cli: Cli, spec: Write, tmp_path: Path, rate: float) -> None:
    spec(BLEND + f"optimizer: {{kind: sgd, learning_rate: {rate}}}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    results = summary(tmp_path / "run")
    _, dataset, network = prepared(tmp_path / "spec.yaml")
    part, models = dataset.validation, LinearModels(network, dataset)
    linear = linear_module.loss_of(network, models.scores_of(part), part)
    assert results["results"]["validation"]["loss"] <= linear + 1e-6
    again = cli("evaluate", "run", "--json").succeeded().json()["metrics"]
    assert again == pytest.approx(results["results"]["test"])


def test_a_blended_model_keeps_its_linear_model(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec(BLEND + "optimizer: {kind: sgd, learning_rate: 1.0e-6}\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    model = open_model(tmp_path / "run")
    assert model.blend is not None
    assert model.blend.share in SHARES
    assert model.blend.linear.weight.shape == (model.network.inputs, 3)
    assert model.blend.linear.bias.shape == (3,)


def test_shares_of_nought_and_one_are_exact(spec: Write) -> None:
    _, _, network = prepared(spec("preset: plain\n" + PENGUINS))
    one, other = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32)
    assert mixed(network, (one, other), 1) is one
    assert mixed(network, (one, other), 0) is other
