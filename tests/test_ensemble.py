"""Are several networks, trained as one computation, what they should be: each on its own rows, averaged, resumable?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli import Cli, Write, metrics, same_bytes, summary, write_csv
from helpers import assert_close
from mlptrain.component import example_instances
from mlptrain.data.split import fold_rows
from mlptrain.nn.activations import Identity, Tanh
from mlptrain.nn.initializers import GlorotUniform
from mlptrain.nn.layers import Adapted, Dense
from mlptrain.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError
from mlptrain.nn.network import Network
from mlptrain.optim.clipping import clip_norm, clip_norm_of_members
from mlptrain.runs.model import open_model
from mlptrain.runs.run import begin, proceed
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare
from mlptrain.training.evaluation import held_out, part_scores

FOLDS = """
data: {path: classes.csv, target: answer, split: {validation: 0, test: 0.2}}
network: {hidden: [6]}
ensemble: {members: 4, rows: folds}
training: {epochs: 6, batch_size: 8, early_stopping: null}
"""
SHARED = FOLDS.replace("rows: folds", "rows: shared").replace("validation: 0,", "validation: 0.2,")


@pytest.fixture
def run(spec: Write, classes: Path, tmp_path: Path) -> Any:
    """Trains an experiment to the end, and returns the run."""

    def train(text: str, name: str = "run", **changes: Any) -> Any:
        begun = begin(load_experiment(spec(text), [f"{k}={v}" for k, v in changes.items()]), "run", tmp_path / name)
        proceed(begun, lambda: None)
        return begun

    return train


# -- the rows of the members


def test_every_row_is_in_one_fold_and_no_member_sees_its_own(run: Any) -> None:
    dataset = run(FOLDS).dataset
    held_out = [fold.validation.rows for fold in dataset.folds]
    assert sorted(np.concatenate(held_out)) == sorted(dataset.training.rows)
    for fold in dataset.folds:
        assert not set(fold.training.rows) & set(fold.validation.rows)
        assert len(fold.training) + len(fold.validation) == len(dataset.training)


def test_folds_are_stratified() -> None:
    classes = np.repeat([0, 1, 2], [50, 30, 20])
    folds = fold_rows(np.arange(100), classes, 5, np.random.default_rng(0), "t.csv")
    for rows in folds:
        assert np.bincount(classes[rows]).tolist() == [10, 6, 4]


def test_the_validation_figures_are_of_rows_left_out(run: Any) -> None:
    """The loss of the last epoch, from each member's own network on its own rows."""
    found = run(FOLDS)
    network, state, dataset = found.network, found.state, found.dataset
    members = list(network.layout.members_of(state.parameters, state.buffers))
    scores = [
        part_scores(network.alone, parameters, buffers, fold.validation)
        for (parameters, buffers), fold in zip(members, dataset.folds, strict=True)
    ]
    expected = network.loss.value(np.concatenate(scores), dataset.validation.target())
    assert_close(state.history[-1][found.state.history[-1].index(expected)], expected, 1e-12)


def test_fewer_folds_than_members_take_turns(run: Any) -> None:
    dataset = run(FOLDS.replace("validation: 0,", "validation: 0, folds: 2,")).dataset
    assert len(dataset.folds) == 2
    assert dataset.members(4) == (*dataset.folds, *dataset.folds)


# -- the computation


@pytest.mark.parametrize("text", [FOLDS, SHARED], ids=["folds", "shared"])
def test_the_number_of_threads_changes_no_byte(cli: Cli, spec: Write, classes: Path, tmp_path: Path, text: str) -> None:
    spec(text)
    for threads in (1, 2, 3):
        cli("fit", "spec.yaml", "--quiet", "--out", f"t{threads}", "--set", f"training.threads={threads}").succeeded()
    assert metrics(tmp_path / "t1") == metrics(tmp_path / "t2") == metrics(tmp_path / "t3")
    one, three = (open_model(tmp_path / f"t{threads}").parameters for threads in (1, 3))
    assert one.tobytes() == three.tobytes()


def test_the_gradient_is_clipped_for_each_member_alone() -> None:
    rng = np.random.default_rng(0)
    tensors = [rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 7))]
    tensors[0][2] *= 0.01
    tensors[1][2] *= 0.01
    expected = [np.concatenate([tensor[k].ravel() for tensor in tensors]) for k in range(3)]
    for vector in expected:
        clip_norm(vector, 2.0)
    clip_norm_of_members(tensors, 2.0)
    for k, vector in enumerate(expected):
        assert_close(np.concatenate([tensor[k].ravel() for tensor in tensors]), vector, 1e-12)


@pytest.mark.parametrize("loss", example_instances(Loss), ids=lambda loss: loss.label())
def test_the_mean_prediction_is_the_mean_of_the_predictions(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 5, loss.outputs(4)))
    shares = np.array([0.2, 0.3, 0.5])
    expected = np.tensordot(shares, loss.predict(scores), 1)
    assert_close(loss.predict(loss.average(scores, shares)), expected, 1e-9, scale=1e-6)


def test_a_certain_prediction_stays_finite() -> None:
    scores = np.array([[[800.0, -800.0]], [[900.0, -900.0]]])
    for loss in (CrossEntropy(), BinaryCrossEntropy()):
        assert np.isfinite(loss.average(scores, np.array([0.5, 0.5]))).all()


def test_a_loss_without_the_inverse_of_its_link_averages_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patched, since a class of its own would be a variant in every later test."""
    monkeypatch.setattr(MeanSquaredError, "has_link", True)
    monkeypatch.setattr(MeanSquaredError, "predict", lambda self, scores: scores**3)
    scores = np.array([[[1.0]], [[3.0]]])
    assert MeanSquaredError().average(scores, np.array([0.5, 0.5])).item() == 2


def test_rates_of_their_own_make_one_rate_suit_every_width(run: Any) -> None:
    """With `ntk` rates the first step moves a weight by rate / sqrt(inputs), a bias by a tenth of the rate (Adam)."""
    text = SHARED + "optimizer: {kind: adam, learning_rate: 0.01}\n"
    begun = run(text.replace("epochs: 6", "epochs: 1").replace("batch_size: 8", "batch_size: full, rates: ntk"))
    before = begin_again(begun)
    tensors = zip(before.items(), begun.network.layout.named_parameters(begun.state.parameters).values(), strict=True)
    for (name, start), end in tensors:
        moved = np.abs(end - start)
        inputs = start.shape[-2] if name.endswith("weight") else 100
        assert moved.max() == pytest.approx(0.01 / np.sqrt(inputs), rel=1e-2), name


def begin_again(run: Any) -> dict[str, Any]:
    """The initial parameters of `run`."""
    from mlptrain.training.loop import start

    return run.network.layout.named_parameters(start(run.plan, run.network, run.dataset).parameters)  # type: ignore[no-any-return]


# -- shared weights

SHARED_WEIGHTS = SHARED.replace("rows: shared", "rows: shared, weights: shared").replace(
    "hidden: [6]", "hidden: [6, 5]"
)


def test_members_share_the_weights_of_hidden_layers(run: Any) -> None:
    layout = run(SHARED_WEIGHTS).network.layout
    shapes = {tensor.name: (*tensor.members, *tensor.shape) for tensor in layout.parameters}
    assert shapes["layers.0.weight"] == (6, 6)
    assert shapes["layers.1.weight"] == (6, 5)
    assert shapes["layers.0.input_factor"] == (4, 6)
    assert shapes["layers.1.bias"] == (4, 5)
    assert shapes["layers.2.weight"] == (4, 5, 2), "the output layers are their own"


def test_the_first_factors_start_as_signs(run: Any) -> None:
    begun = run(SHARED_WEIGHTS.replace("epochs: 6", "epochs: 1"))
    start = begin_again(begun)
    assert set(np.unique(start["layers.0.input_factor"])) == {-1.0, 1.0}
    assert set(np.unique(start["layers.1.input_factor"])) == {1.0}


def test_the_gradient_of_shared_weights_is_the_sum_over_the_members() -> None:
    rng = np.random.default_rng(0)
    layers = [Adapted(width=5, activation=Tanh(), signs=True), Dense(width=2, activation=Identity())]
    together, alone = (Network(layers, 4, MeanSquaredError(), np.float64, members) for members in (3, None))
    layout = together.layout
    parameters, buffers = layout.neutral_parameters(np.float64), layout.neutral_buffers(np.float64)
    GlorotUniform().start(layout, parameters, buffers, rng)
    x, y = rng.standard_normal((3, 7, 4)), rng.standard_normal((3, 7, 2))
    gradient = differentiated(together, parameters, x, y)
    vectors = [vector for vector, _ in layout.members_of(parameters, buffers)]
    single = [differentiated(alone, vector, x[k], y[k]) for k, vector in enumerate(vectors)]
    named = [alone.layout.named_parameters(vector) for vector in single]
    for name, values in layout.named_parameters(gradient).items():
        parts = [part[name] for part in named]
        assert_close(values, np.sum(parts, axis=0) if name == "layers.0.weight" else np.stack(parts), 1e-10)


def differentiated(network: Network, parameters: Any, x: Any, y: Any) -> Any:
    """The gradient of the loss of one batch."""
    gradient, layout = np.empty_like(parameters), network.layout
    views = layout.views(parameters)
    network.forward(x, views, layout.running(layout.neutral_buffers(np.float64)), training=True)
    network.backward(x, y, views, layout.views(gradient))
    return gradient


def test_shared_weights_are_trained_saved_and_used(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    spec(SHARED_WEIGHTS + "optimizer: adamw\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    results = summary(tmp_path / "run")["results"]
    assert cli("evaluate", "run", "--json").succeeded().json()["metrics"] == pytest.approx(results["test"])
    assert "passed" in cli("gradcheck", "spec.yaml").succeeded().out
    assert "input_factor0" in cli("explain", "spec.yaml", "--rows", 1).succeeded().out


# -- the command line


def test_an_ensemble_is_trained_saved_evaluated_and_predicts(
    cli: Cli, spec: Write, classes: Path, tmp_path: Path
) -> None:
    spec(FOLDS)
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    results = summary(tmp_path / "run")["results"]
    assert cli("evaluate", "run", "--json").succeeded().json()["metrics"] == pytest.approx(results["test"])
    head, first, *rows = cli("predict", "run", "classes.csv", "--spread", "--quiet").succeeded().out.splitlines()
    assert head == "answer,probability_no,probability_yes,spread_probability_no,spread_probability_yes"
    assert len(rows) == 39
    probabilities = [float(cell) for cell in first.split(",")[1:3]]
    model = open_model(tmp_path / "run")
    assert model.network.layout.members == (4,)
    assert sum(probabilities) == pytest.approx(1)


def test_an_interrupted_ensemble_goes_on_to_the_same_bytes(
    cli: Cli, spec: Write, classes: Path, tmp_path: Path, run: Any
) -> None:
    spec(FOLDS + "schedule: cosine\n")
    cli("fit", "spec.yaml", "--quiet", "--out", "whole").succeeded()
    stopped = begin(load_experiment(tmp_path / "spec.yaml"), "spec", tmp_path / "stopped")
    steps = iter([None] * 7 + [2] * 99)
    with pytest.raises(Exception, match="interrupted"):
        proceed(stopped, lambda: next(steps))
    cli("fit", "--resume", "stopped", "--quiet").succeeded()
    same_bytes(tmp_path / "whole", tmp_path / "stopped")


def test_explain_shows_the_first_member(cli: Cli, spec: Write, classes: Path) -> None:
    spec(FOLDS)
    out = cli("explain", "spec.yaml", "--rows", 1).succeeded().out
    assert "of the first of 4 members" in out
    assert "x   (8 x 6)" in out


def test_its_gradients_are_checked(cli: Cli, spec: Write, classes: Path) -> None:
    spec(FOLDS + "").write_text(FOLDS.replace("hidden: [6]", "hidden: [{kind: scale}, 6], linear_path: true"))
    out = cli("gradcheck", "spec.yaml").succeeded().out
    assert "layers.0.scale" in out
    assert "layers.3.linear" in out


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        (("members: 4", "members: 1"), ("ensemble.members", "is 1, but folds need at least 2 members")),
        (("members: 4", "members: 0"), ("ensemble.members", "1")),
        (("validation: 0,", "validation: 0.1,"), ("ensemble.rows", "set data.split.validation to 0")),
        (("rows: folds", "rows: folds, weights: shared"), ("ensemble.weights", "use rows: shared")),
        (("rows: folds", "rows: shared, blend: true"), ("ensemble.blend", "set data.split.validation above 0")),
        (("hidden: [6]", "hidden: [], linear_path: true"), ("network.linear_path", "needs hidden layers")),
        (("validation: 0,", "validation: 0, folds: 1,"), ("data.split.folds", "2")),
    ],
)
def test_what_does_not_go_together(
    cli: Cli, spec: Write, classes: Path, change: tuple[str, str], fragments: tuple[str, ...]
) -> None:
    spec(FOLDS.replace(*change))
    cli("fit", "spec.yaml").refused(2, *fragments)


def test_more_folds_than_rows(cli: Cli, spec: Write, classes: Path) -> None:
    spec(FOLDS.replace("members: 4", "members: 100"))
    cli("fit", "spec.yaml").refused(3, "32 training rows cannot be divided into 100 folds", "folds: 32")


def test_a_hundred_members(cli: Cli, spec: Write, classes: Path) -> None:
    spec(SHARED.replace("members: 4", "members: 100").replace("epochs: 6", "epochs: 1"))
    cli("fit", "spec.yaml", "--quiet").succeeded()


def test_spread_needs_members(cli: Cli, spec: Write, classes: Path) -> None:
    spec(SHARED.replace("members: 4", "members: 1"))
    cli("fit", "spec.yaml", "--quiet", "--out", "run").succeeded()
    cli("predict", "run", "classes.csv", "--spread").refused(2, "--spread is over the members of an ensemble")


def test_with_folds_every_row_is_trained_on_and_the_spec_of_the_run_repeats_it(
    cli: Cli, spec: Write, tmp_path: Path
) -> None:
    """No share of the rows is held out for validation, whether the spec names other parts of the split or not."""
    write_csv(tmp_path / "t.csv", "a,b,y", [(i % 7, i % 5 / 3, "yes" if i % 3 else "no") for i in range(60)])
    for split in ("", ", split: {test: 0.2}"):
        path = spec(
            f"preset: plain\ndata: {{path: t.csv, target: y{split}}}\nensemble: {{members: 3, rows: folds}}\n"
            "training: {epochs: 2}\n"
        )
        outcome = cli("fit", path, "--out", f"one{len(split)}").succeeded()
        expected = "48 train" if split else "51 train"
        assert f"{expected}" in outcome.err
        again = cli("fit", tmp_path / f"one{len(split)}" / "spec.yaml", "--out", f"two{len(split)}").succeeded()
        assert summary(tmp_path / f"one{len(split)}")["results"] == summary(tmp_path / f"two{len(split)}")["results"]
        assert again.code == 0


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_folds_are_stratified_whatever_the_loss_of_two_classes(spec: Write, tmp_path: Path, loss: str) -> None:
    rows = [(f"{i % 7 + i / 100:.2f}", int(i % 10 == 0)) for i in range(80)]
    write_csv(tmp_path / "two.csv", "x,y", rows)
    text = "data: {path: two.csv, target: y, split: {validation: 0, test: 0}}\nensemble: {members: 4, rows: folds}\n"
    _, dataset = prepare(load_experiment(spec(text + f"loss: {loss}\n")), "test")
    assert [float(np.sum(held_out(fold).target())) for fold in dataset.folds] == [2.0] * 4


@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
def test_a_class_of_one_row_is_refused_whatever_the_loss(cli: Cli, spec: Write, tmp_path: Path, loss: str) -> None:
    write_csv(tmp_path / "lonely.csv", "x,y", [(f"{i % 7 + i / 100:.2f}", int(i == 3)) for i in range(40)])
    text = f"data: {{path: lonely.csv, target: y}}\nensemble: {{members: 4, rows: folds}}\nloss: {loss}\n"
    whole = text.replace("target: y", "target: y, split: {validation: 0, test: 0}")
    cli("fit", spec(whole), "--out", "run").refused(3, "class '1' has one training row")
