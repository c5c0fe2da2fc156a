"""Is a layer one class, and are members what single networks are?

The toy layer `gated` is one class in plugins/network.py. Everything from the spec to the gradient check must take it as
one of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from cli import Outcome, run_process
from helpers import assert_close, label, stack
from mlptrain.component import example_instances
from mlptrain.gradcheck import loss_cases
from mlptrain.nn.activations import Activation, Identity, ReLU, SiLU, Tanh
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.initializers import GlorotUniform, Initializer
from mlptrain.nn.layers import Dense, Layer
from mlptrain.nn.losses import CrossEntropy, Loss, LossValue, MeanSquaredError, Poisson, Quantile
from mlptrain.nn.network import Network, lay_out
from mlptrain.nn.normalization import GAMMA, BatchNorm, LayerNorm, Normalization
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.sections import NetworkSpec


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


# -- a layer in one class


def with_gated(*arguments: object, folder: Path) -> Outcome:
    """Run `mlptrain` with the toy layer of plugins/network.py."""
    return run_process(*arguments, "--plugin", Path(__file__).parent / "plugins" / "network.py", folder=folder)


SPEC = """
data: {path: classes.csv, target: answer}
network: {hidden: [{kind: gated, width: 4}, 3, {kind: gated, width: 2, activation: silu}], normalization: batch}
training: {epochs: 3}
"""


def test_gradcheck_takes_a_layer_of_ones_own_in_both_forms(tmp_path: Path) -> None:
    checks = with_gated("gradcheck", "--json", folder=tmp_path).succeeded().json()["checks"]
    found = {(c["family"], c["component"]): c["verdict"] for c in checks if "gated" in c["component"]}
    names = ("gated(width=4)", "gated(width=3, activation=silu)")
    assert found == {(family, name): "passed" for name in names for family in ("layer", "layer, members")}


@pytest.mark.usefixtures("classes")
def test_a_layer_of_ones_own_trains_saves_loads_predicts_and_is_explained(tmp_path: Path, spec: Any) -> None:
    spec(SPEC)
    with_gated("gradcheck", "spec.yaml", folder=tmp_path).succeeded()
    with_gated("fit", "spec.yaml", "--out", "run", folder=tmp_path).succeeded()
    with_gated("evaluate", "run", "--data", "classes.csv", folder=tmp_path).succeeded()
    predicted = with_gated("predict", "run", "classes.csv", folder=tmp_path).succeeded().out
    assert len(predicted.splitlines()) == 41
    told = with_gated("explain", "spec.yaml", "--step", "2", folder=tmp_path).succeeded().out
    for words in ("Forward, layer 0: ", "gated", "gate_bias0", "h0 = gated(x)", "dL/dgate0", "dL/dh0"):
        assert words in told
    with_gated("fit", "--resume", "run", "--set", "training.epochs=4", folder=tmp_path)
    written = (tmp_path / "run" / "spec.yaml").read_text()
    assert "kind: gated" in written
    assert written.count("kind: relu") >= 2, "the network's activation, where the layer gives none"


@pytest.mark.usefixtures("classes")
def test_a_mistake_in_a_layer_of_ones_own_is_answered_like_any_other(tmp_path: Path, spec: Any) -> None:
    spec(SPEC.replace("width: 4", "widht: 4"))
    with_gated("fit", "spec.yaml", folder=tmp_path).refused(2, "network.hidden.0", "widht", "width")
    spec(SPEC.replace("kind: gated, width: 4", "kind: gatet, width: 4"))
    with_gated("fit", "spec.yaml", folder=tmp_path).refused(2, "network.hidden.0", "did you mean 'gated'")


# -- what the spec makes of layers


def test_a_layer_takes_from_the_network_what_it_does_not_give() -> None:
    network = NetworkSpec.model_validate(
        {
            "hidden": [8, {"width": 4, "activation": "tanh", "normalization": None}, {"width": 4, "dropout": 0.0}],
            "activation": "silu",
            "dropout": 0.2,
            "normalization": "layer",
        }
    )
    wide, tanh, certain = network.blocks()
    assert wide == Dense(width=8, activation=SiLU(), dropout=0.2, normalization=LayerNorm())
    assert tanh == Dense(width=4, activation=Tanh(), dropout=0.2, normalization=None)
    assert certain == Dense(width=4, activation=SiLU(), dropout=0.0, normalization=LayerNorm())
    assert network.layers(3)[-1] == Dense(width=3, activation=Identity())


@pytest.mark.parametrize("hidden", [[{"width": 3, "residual": True}], [4, {"width": 3, "residual": True}]], ids=str)
def test_a_residual_layer_needs_an_equal_one_before_it(hidden: list[Any]) -> None:
    with pytest.raises(ValidationError, match=r"cannot be residual|equal widths"):
        Experiment.model_validate({"data": {"path": "t.csv", "target": "y"}, "network": {"hidden": hidden}})


def test_the_weights_of_a_layer_are_its_decaying_tensors() -> None:
    layout = lay_out(stack(3, 4, 2, activation=Tanh(), normalization=BatchNorm()).layers, 3)
    assert [tensor.name for tensor in layout.parameters if tensor.spec.decays] == ["layers.0.weight", "layers.1.weight"]
    assert layout.weight_size == 3 * 4 + 4 * 2
    vector = np.arange(float(layout.parameter_size))
    assert [weights.tolist() for weights in layout.layer_weights(vector)] == [list(range(12)), list(range(12, 20))]
    vector[...] = 0
    layout.views(vector)[0][GAMMA][...] = 7
    assert np.count_nonzero(vector == 7) == 4, "a view writes to the vector"


# -- members

MEMBERS, ROWS, INPUTS = 3, 17, 5


@dataclass
class Passes:
    """What one forward and backward pass gave."""

    scores: Array
    loss: LossValue
    gradient: Array
    input_grad: Array
    buffers: Array
    evaluated: Array


def passes(network: Network, parameters: Array, x: Array, target: Target, weights: Weights, seed: int | None) -> Passes:
    """Train and evaluate once; dropout masks are drawn where there is a `seed`."""
    layout, gradient = network.layout, np.empty_like(parameters)
    buffers = layout.neutral_buffers(network.dtype)
    views, running = layout.views(parameters), layout.running(buffers)
    rng = None if seed is None else np.random.default_rng(seed)
    scores = network.forward(x, views, running, training=True, rng=rng).copy()
    input_grad = np.empty((*layout.members, *x.shape[-2:]), x.dtype)
    loss = network.backward(x, target, views, layout.views(gradient), weights, input_grad)
    network.update_running(running, x.shape[-2])
    evaluated = network.forward(x, views, running, training=False).copy()
    return Passes(scores, loss, gradient, input_grad, buffers, evaluated)


def demand_members_are_single_networks(
    layers: list[Layer], loss: Loss, dtype: Any, weighted: bool = False, shared: bool = False
) -> None:
    """The same up to the rounding of the products.

    Not to the bit: for one network `numpy.dot` takes the product, for members `numpy.matmul`, and of these BLAS may
    add up the terms of a sum in another order.
    """
    rng = np.random.default_rng(0)
    together = Network(layers, INPUTS, loss, dtype, members=MEMBERS)
    alone = Network(layers, INPUTS, loss, dtype)
    parameters = together.layout.neutral_parameters(dtype)
    GlorotUniform().start(together.layout, parameters, together.layout.neutral_buffers(dtype), rng)
    parameters += (0.1 * rng.standard_normal(parameters.shape)).astype(dtype)
    lead = () if shared else (MEMBERS,)
    x = rng.standard_normal((*lead, ROWS, INPUTS)).astype(dtype)
    target = loss.random_target(ROWS, together.outputs, rng, lead)
    target = target if loss.target_kind == "class" else target.astype(dtype)
    weights = rng.uniform(0.5, 2, (*lead, ROWS)).astype(dtype) if weighted else None
    found = passes(together, parameters, x, target, weights, None)
    relative = 1e-12 if dtype is np.float64 else 2e-5
    by_member = list(together.layout.members_of(parameters, together.layout.neutral_buffers(dtype)))
    separated = list(together.layout.members_of(found.gradient, found.buffers))
    for k in range(MEMBERS):
        own = [None if array is None else array if shared else array[k] for array in (x, target, weights)]
        assert own[0] is not None
        assert own[1] is not None
        expected = passes(alone, by_member[k][0], own[0], own[1], own[2], None)
        mine = vars(found) | {"gradient": (separated[k][0],), "buffers": (separated[k][1],)}
        for name, values in vars(expected).items():
            scale = float(np.max(np.abs(values), initial=1e-30))
            assert_close(mine[name][0 if len(mine[name]) == 1 else k], values, relative, scale=scale)


FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=label)


@FLOATS
@pytest.mark.parametrize("loss", example_instances(Loss), ids=label)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("shared", [False, True], ids=["own rows", "shared rows"])
def test_members_with_every_loss(loss: Loss, dtype: Any, weighted: bool, shared: bool) -> None:
    layers = stack(INPUTS, 6, loss.outputs(3), activation=Tanh()).layers
    demand_members_are_single_networks(layers, loss, dtype, weighted, shared)


@FLOATS
@pytest.mark.parametrize("normalization", [None, *example_instances(Normalization)], ids=label)
def test_members_with_every_normalization(normalization: Normalization | None, dtype: Any) -> None:
    layers = stack(INPUTS, 6, 7, 2, activation=Tanh(), normalization=normalization).layers
    layers.insert(2, Dense(width=7, activation=SiLU(), normalization=normalization, residual=True))
    demand_members_are_single_networks(layers, MeanSquaredError(), dtype)


@FLOATS
@pytest.mark.parametrize("activation", example_instances(Activation), ids=label)
def test_members_with_every_activation(activation: Activation, dtype: Any) -> None:
    demand_members_are_single_networks(stack(INPUTS, 6, 2, activation=activation).layers, MeanSquaredError(), dtype)


def test_members_have_masks_of_their_own() -> None:
    layers = stack(INPUTS, 40, 2, activation=Tanh(), dropout=0.5).layers
    network = Network(layers, INPUTS, MeanSquaredError(), np.float64, members=2)
    parameters = network.layout.neutral_parameters(np.float64)
    x = np.zeros((ROWS, INPUTS))
    passes(network, parameters, x, np.zeros((ROWS, 2)), None, seed=0)
    one, other = network.workspace(ROWS).layers[0].mask
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("initializer", example_instances(Initializer), ids=label)
def test_the_first_member_starts_where_a_single_network_does(initializer: Initializer) -> None:
    layers = stack(INPUTS, 6, 2, activation=ReLU()).layers
    vectors = []
    for members in (None, 2):
        layout = lay_out(layers, INPUTS, members)
        parameters, buffers = layout.neutral_parameters(np.float64), layout.neutral_buffers(np.float64)
        initializer.start(layout, parameters, buffers, np.random.default_rng(3))
        vectors.append([of_member for of_member, _ in layout.members_of(parameters, buffers)])
    assert np.array_equal(vectors[0][0], vectors[1][0])
    assert initializer.name() == "zeros" or not np.array_equal(vectors[1][0], vectors[1][1])


def test_silent_inputs_are_silent_in_every_member() -> None:
    layout = lay_out(stack(INPUTS, 6, 2, activation=ReLU()).layers, INPUTS, 2)
    parameters = np.ones(layout.parameter_size)
    layout.silence_inputs(parameters, np.array([True, False, True, True, False]))
    weight = layout.named_parameters(parameters)["layers.0.weight"]
    assert weight.shape == (2, INPUTS, 6)
    assert not weight[:, [1, 4]].any()
    assert weight[:, [0, 2, 3]].all()
    assert np.count_nonzero(parameters == 0) == 2 * 2 * 6


def test_the_caller_is_told_of_each_layer_that_is_done() -> None:
    network = Network(stack(INPUTS, 6, 4, 2, activation=ReLU()).layers, INPUTS, MeanSquaredError(), np.float64)
    layout = network.layout
    parameters, gradient, x = np.ones(layout.parameter_size), np.empty(layout.parameter_size), np.ones((3, INPUTS))
    views, running = layout.views(parameters), layout.running(layout.neutral_buffers(np.float64))
    told: list[int] = []
    network.forward(x, views, running, training=True, on_layer=told.append)
    assert told == [0, 1, 2]
    told.clear()
    network.backward(x, np.zeros((3, 2)), views, layout.views(gradient), on_layer=told.append)
    assert told == [3, 2, 1, 0], "the loss comes first"


# -- losses: weights of mean 1, divided by the rows


CASES = [case for loss in example_instances(Loss) for case in loss_cases(loss) if case.members is None]


@pytest.mark.parametrize("case", CASES, ids=[f"{case.family}-{case.name}" for case in CASES])
def test_the_mean_batch_gradient_is_the_full_gradient(case: Any) -> None:
    """Whatever the weights: five per cent of the rows weigh twenty times as much."""
    rng, loss, rows = np.random.default_rng(0), case.loss, 40
    outputs = loss.outputs(3)
    scores, target = rng.standard_normal((rows, outputs)), loss.random_target(rows, outputs, rng)
    weights = np.where(np.arange(rows) % 20 == 0, 20.0, 1.0)
    weights /= weights.mean()

    def gradient(part: slice) -> Array:
        grad = np.empty_like(scores[part])
        ws = loss.workspace(grad.shape, grad.dtype, case.class_weights)
        loss.value_and_gradient(scores[part], target[part], grad, ws, weights[part])
        return grad

    batches = [slice(start, start + 8) for start in range(0, rows, 8)]
    mean = np.concatenate([gradient(batch) for batch in batches]) * 8 / rows
    assert_close(mean, gradient(slice(None)), 1e-13, scale=1e-3)


@pytest.mark.parametrize("loss", example_instances(Loss), ids=label)
def test_a_weight_counts_rows_for_the_best_constant(loss: Loss) -> None:
    """A row of weight 3 is three rows; one of weight 0 is none."""
    rng, rows, outputs = np.random.default_rng(1), 30, loss.outputs(3)
    target = loss.random_target(rows, outputs, rng)
    counts = rng.integers(0, 4, rows)
    weights = counts * rows / counts.sum()
    repeated = np.repeat(target, counts, axis=0)
    weighted = loss.best_constant(target, outputs, weights)
    assert_close(weighted, loss.best_constant(repeated, outputs), 1e-6, scale=1e-3)

    def value(constant: Array) -> float:
        return float(loss.value(np.tile(constant, (rows, 1)), target, weights))

    for k in range(outputs):
        for h in (-0.1, -1e-3, 1e-3, 0.1):
            assert value(weighted + h * np.eye(outputs)[k]) >= value(weighted) - 1e-12


@pytest.mark.parametrize("loss", [loss for loss in example_instances(Loss) if loss.target_kind == "class"], ids=label)
def test_class_weights_count_for_the_best_constant(loss: Loss) -> None:
    rng, rows, weights = np.random.default_rng(1), 60, np.array([0.5, 1.0, 2.0])
    target = loss.random_target(rows, 3, rng)
    best = loss.best_constant(target, 3, class_weights=weights)

    def value(constant: Array) -> float:
        return float(loss.value(np.tile(constant, (rows, 1)), target, class_weights=weights))

    for step in np.concatenate([np.eye(3), -np.eye(3)]):
        assert value(best + 1e-2 * step) >= value(best) - 1e-9


@pytest.mark.parametrize("loss", example_instances(Loss), ids=label)
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_nothing_is_below_the_optimum_and_something_reaches_it(loss: Loss, weighted: bool) -> None:
    rng, rows, outputs = np.random.default_rng(2), 12, loss.outputs(3)
    target = loss.random_target(rows, outputs, rng)
    weights = rng.uniform(0.5, 1.5, rows) if weighted else None
    class_weights = np.array([0.5, 1.0, 2.0]) if weighted and loss.target_kind == "class" else None
    optimum = loss.optimum(target, weights, outputs, class_weights)

    def value(scores: Array) -> float:
        return float(loss.value(scores, target, weights, class_weights))

    per_row = [
        loss.best_constant(target[i : i + 1], outputs, None, class_weights) for i in range(rows)
    ]  # the best that each row can get by itself
    assert value(np.stack(per_row)) == pytest.approx(optimum, abs=1e-4)
    for _ in range(20):
        assert value(3 * rng.standard_normal((rows, outputs))) >= optimum - 1e-12


def test_the_optimum_of_counts_is_negative() -> None:
    y = np.array([[0.0], [3.0], [10.0]])
    assert Poisson().optimum(y) == pytest.approx(((3 - 3 * np.log(3)) + (10 - 10 * np.log(10))) / 3)
    assert Poisson().value(np.log(np.maximum(y, 1e-300)), y) == pytest.approx(Poisson().optimum(y))


def test_quantiles_never_cross_and_sorting_never_costs() -> None:
    loss, rng = Quantile(), np.random.default_rng(0)
    scores, y = rng.standard_normal((200, 3)), rng.standard_normal((200, 1))
    predicted = loss.predict(scores)
    assert (np.diff(predicted, axis=1) >= 0).all()
    assert loss.value(predicted, y) < loss.value(scores, y)


def test_members_give_a_value_each() -> None:
    scores, target = np.zeros((2, 4, 3)), np.array([0, 1, 2, 0])
    assert isinstance(CrossEntropy().value(scores[0], target), float)
    assert_close(CrossEntropy().value(scores, target), [np.log(3)] * 2, 1e-15)


# -- numerics: a million rows in float32


def test_batch_normalization_of_a_million_rows_keeps_its_digits() -> None:
    rows, norm = 1_000_000, BatchNorm()
    rng = np.random.default_rng(0)
    z = (100 + rng.standard_normal((rows, 2))).astype(np.float32)
    exact, upstream = z.astype(np.float64), (1 + rng.standard_normal((rows, 2))).astype(np.float32)
    tensors = {spec.name: np.full(2, spec.start, z.dtype) for spec in norm.tensors(2)}
    ws = norm.workspace(np.empty_like(z))
    norm.forward(z, tensors, {}, ws, training=True)
    assert np.abs(ws.mean - exact.mean(axis=0)).max() < 2e-5, "of a standard deviation; float32 has 8e-6 at 100"
    assert_close(ws.variance, exact.var(axis=0), 2e-6)
    grads = {name: np.empty_like(values) for name, values in tensors.items()}
    grad = upstream.copy()
    norm.backward(grad, tensors, grads, ws)
    assert_close(grads["norm.beta"], upstream.sum(axis=0, dtype=np.float64), 1e-6)
