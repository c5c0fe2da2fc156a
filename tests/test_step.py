"""What exactly does one training step do, and what does it leave alone?"""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from helpers import Architecture, Trainer, assert_close, label, random_batch, stack, trainer
from mlptrain.component import example_instances
from mlptrain.errors import Diverged
from mlptrain.nn.activations import Activation, Identity, ReLU, Tanh
from mlptrain.nn.arrays import Array
from mlptrain.nn.layers import Dense, Layer
from mlptrain.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError
from mlptrain.nn.normalization import BatchNorm, LayerNorm, Normalization
from mlptrain.optim.optimizers import SGD, Adam, Momentum, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import DropoutStream
from mlptrain.training.events import StepDone, feed
from strategies import layer_norms, layer_stacks, losses, normalizations, seeds


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Networks this small only lose by sharing their work with other cores."""
    with threadpool_limits(1):
        yield


each_optimizer = pytest.mark.parametrize("optimizer", example_instances(Optimizer), ids=label)


# -- with a pencil


def two_two_one() -> Trainer:
    """Two inputs, two rectifiers, one output.

          x1 = 1   x2 = 2      to h1   to h2            h1   h2
    W of the hidden layer:  x1   1      -1        W of the output:   1    2
                            x2   0.5    -0.5
    b of the hidden layer:       0       0.5      b of the output:   0.5
    """
    found = trainer(stack(2, 2, 1, activation=ReLU()), MeanSquaredError())
    tensors = found.tensors()
    tensors["layers.0.weight"][...] = [[1.0, -1.0], [0.5, -0.5]]
    tensors["layers.0.bias"][...] = [0.0, 0.5]
    tensors["layers.1.weight"][...] = [[1.0], [2.0]]
    tensors["layers.1.bias"][...] = [0.5]
    return found


X, Y = np.array([[1.0, 2.0]]), np.array([[2.0]])


def test_one_step_by_hand() -> None:
    network = two_two_one()
    loss = network.step(X, Y, learning_rate=0.1)

    # Forward. z1 = 1*1 + 2*0.5 + 0 = 2, so h1 = relu(2) = 2. z2 = 1*(-1) + 2*(-0.5) + 0.5 = -1.5, so h2 = 0.
    # The score is 2*1 + 0*2 + 0.5 = 2.5 where 2 was wanted: the loss is (2.5 - 2)^2 = 0.25.
    assert loss == 0.25

    # Backward. The loss falls by 2 (2.5 - 2) = 1 for each unit by which the score falls: dL/dscore = 1.
    #   Output layer: dL/dW = h * 1 = (2, 0) and dL/db = 1.
    #   Back through its weights: dL/dh = 1 * (1, 2) = (1, 2).
    #   Back through the rectifiers: h1 was on, h2 was off: dL/dz = (1, 0).
    #   Hidden layer: dL/dW = x times dL/dz = (1*1, 1*0) for x1 and (2*1, 2*0) for x2, and dL/db = (1, 0).
    # Update. Every parameter moves by -0.1 times its gradient.
    tensors = network.tensors()
    assert_close(tensors["layers.0.weight"], [[1 - 0.1, -1.0], [0.5 - 0.2, -0.5]], 1e-15)
    assert_close(tensors["layers.0.bias"], [0 - 0.1, 0.5], 1e-15)
    assert_close(tensors["layers.1.weight"], [[1 - 0.2], [2.0]], 1e-15)
    assert_close(tensors["layers.1.bias"], [0.5 - 0.1], 1e-15)

    # The squared length of the gradient is 2^2 + 1^2 (output) + 1^2 + 2^2 + 1^2 (hidden) = 11.
    assert network.step.squared_norm == 11.0

    # And it helped: z1 = 0.9 + 2*0.3 - 0.1 = 1.4, the score is 1.4*0.8 + 0.4 = 1.52, the loss (1.52 - 2)^2 = 0.2304.
    assert_close(network.step(X, Y, learning_rate=0.1), 0.2304, 1e-14)


def test_two_rows_give_the_mean_of_their_gradients() -> None:
    """The second row is right already, so that it halves every move of the first."""
    network = two_two_one()
    # x = (0, 1): z = (0.5, 0), h = (0.5, 0), the score is 0.5*1 + 0.5 = 1, which is what is wanted.
    loss = network.step(np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[2.0], [1.0]]), learning_rate=0.1)
    assert loss == 0.125
    assert_close(network.tensors()["layers.0.weight"], [[0.95, -1.0], [0.4, -0.5]], 1e-15)
    assert_close(network.tensors()["layers.1.weight"], [[0.9], [2.0]], 1e-15)


def line(optimizer: Optimizer, penalty: Penalty, clip: float | None) -> Trainer:
    """score = 2 x + 1, as one layer of one unit."""
    found = trainer(stack(1, 1, activation=Identity()), MeanSquaredError(), optimizer, penalty, clip)
    found.state.parameters[:] = [2.0, 1.0]
    return found


def test_penalty_then_clipping_then_the_optimizer() -> None:
    network = line(SGD(), Penalty(l2=0.25), clip=1.0)
    # At x = 1 the score is 3; wanted is 1.5. dL/dw = 2 (3 - 1.5) 1 = 3 and dL/db = 3. The penalty adds 2 * 0.25 * 2
    # = 1 to the gradient of the weight and nothing to that of the bias: (4, 3), of length 5. Clipped: (0.8, 0.6).
    # Clipping first would give (3, 3) / 4.24 + (1, 0) = (1.71, 0.71).
    loss = network.step(np.array([[1.0]]), np.array([[1.5]]), learning_rate=0.5)
    assert_close(network.state.parameters, [2 - 0.5 * 0.8, 1 - 0.5 * 0.6], 1e-15)
    assert loss == 2.25, "the loss of the data alone"
    assert network.step.squared_norm == 25.0, "with the penalty, before clipping"


def test_what_momentum_remembers_is_the_clipped_gradient() -> None:
    network = line(Momentum(momentum=0.5), Penalty(l2=0.25), clip=1.0)
    network.step(np.array([[1.0]]), np.array([[1.5]]), learning_rate=0.5)
    assert_close(network.state.slots["velocity"], [0.4, 0.3], 1e-15)


def test_steps_are_counted_from_one_for_the_bias_correction() -> None:
    """Adam's first step has the length of the learning rate, whatever the gradient."""
    network = line(Adam(eps=1e-12), Penalty(), clip=None)
    network.step(np.array([[1.0]]), np.array([[1.5]]), learning_rate=0.01)
    assert network.state.progress.step == 1
    assert_close(network.state.parameters, [1.99, 0.99], 1e-12)


def test_running_statistics_move_after_the_step() -> None:
    network = trainer(
        Architecture(1, [Dense(width=1, activation=Identity(), normalization=BatchNorm(momentum=0.5))]),
        MeanSquaredError(),
    )
    network.tensors()["layers.0.weight"][...] = 1.0
    # z = 1, 2, 6 before the update: mean 3, biased variance (4 + 1 + 9) / 3, unbiased 7. Half of the way from 0 and 1.
    network.step(np.array([[1.0], [2.0], [6.0]]), np.zeros((3, 1)), learning_rate=0.1)
    assert_close(network.state.buffers, [1.5, 4.0], 1e-15)


def test_layer_norms_are_those_of_the_gradient_before_clipping() -> None:
    network = two_two_one()
    network.step(X, Y, learning_rate=0.1)
    norm, layer_norms = network.state.progress.mean_norms()
    assert_close([norm, *layer_norms], [math.sqrt(11), math.sqrt(5), 2.0], 1e-15)


def test_norms_of_an_epoch_are_root_mean_squares_over_its_steps() -> None:
    network, squares = two_two_one(), []
    for _ in range(3):
        network.step(X, Y, learning_rate=0.1)
        squares.append(network.step.squared_norm)
    norm, layer_norms = network.state.progress.mean_norms()
    assert_close(norm, math.sqrt(sum(squares) / 3), 1e-15)
    assert_close(layer_norms, [math.sqrt(5), 2.0], 1e-15)  # of every 16th step alone: the first, here


def test_penalties_touch_weights_alone() -> None:
    layers = stack(3, 4, 2, activation=Tanh(), normalization=LayerNorm())
    plain, penalized = (trainer(layers, MeanSquaredError(), SGD(), penalty) for penalty in (None, Penalty(l1=1, l2=1)))
    x, target = random_batch(plain.network, 6)
    for network in (plain, penalized):
        network.state.parameters[:] += 0.5
        network.step(x, target, learning_rate=0.1)
    moved = {name: not np.array_equal(plain.tensors()[name], values) for name, values in penalized.tensors().items()}
    assert moved == {name: name.endswith("weight") for name in moved}


# -- nothing is allocated

ROWS, WIDTH = 256, 64
STAYS, SMALL = 30_000, 30_000
"""Bytes: some Python numbers and small arrays of statistics. The smallest array of a layer has 65 536."""
EINSUM = 150_000
"""Bytes that `numpy.einsum` takes to convert to float64 piece by piece, however long the vector is."""


def everything(optimizer: Optimizer, loss: Loss, dtype: Any) -> Trainer:
    """Every kind of layer at once: both normalizations, dropout, every activation, penalties."""
    norms: list[Normalization | None] = [None, BatchNorm(), LayerNorm()]
    hidden = [
        Dense(width=WIDTH, activation=activation, normalization=norms[i % 3], dropout=0.1 * (i % 2))
        for i, activation in enumerate(example_instances(Activation))
    ]
    layers: list[Layer] = [*hidden, Dense(width=WIDTH, activation=Identity())]
    return trainer(Architecture(WIDTH, layers), loss, optimizer, Penalty(l1=1e-6, l2=1e-6), dtype=dtype)


def bytes_over_steps(network: Trainer) -> tuple[int, int]:
    """How much more memory is held after some steps, and how much more was held at most."""
    x, target = random_batch(network.network, ROWS)
    with np.errstate():
        np.setbufsize(256)  # NumPy itself works through a broadcast in pieces of 8192 numbers: 65 kB
        for _ in range(3):
            network.step(x, target, 1e-4)
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            for _ in range(40):
                network.step(x, target, 1e-4)
            after, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return after - before, peak - before


@each_optimizer
def test_a_step_allocates_nothing_with_any_optimizer(optimizer: Optimizer) -> None:
    dtype = np.float64 if optimizer == Adam() else np.float32
    growth, peak = bytes_over_steps(everything(optimizer, MeanSquaredError(), dtype))
    assert growth < STAYS
    assert peak < SMALL


@pytest.mark.parametrize("loss", [loss for loss in example_instances(Loss) if loss.outputs(WIDTH) == WIDTH], ids=label)
def test_a_step_allocates_nothing_with_any_loss(loss: Loss) -> None:
    growth, peak = bytes_over_steps(everything(SGD(), loss, np.float32))
    assert growth < STAYS
    assert peak < SMALL


def test_clipping_allocates_nothing_that_grows_with_the_network() -> None:
    network = trainer(stack(WIDTH, 4000, WIDTH, activation=ReLU()), MeanSquaredError(), clip=1e-3, dtype=np.float32)
    assert network.state.parameters.nbytes > 10 * EINSUM
    growth, peak = bytes_over_steps(network)
    assert growth < 15_000
    assert peak < EINSUM


def test_the_measurement_would_notice_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Tanh.forward
    monkeypatch.setattr(Tanh, "forward", lambda self, z, out, scratch: forward(self, z.copy(), out, scratch))
    _, peak = bytes_over_steps(everything(SGD(), MeanSquaredError(), np.float32))
    assert peak > ROWS * WIDTH * 4


def test_batches_of_another_size_find_their_buffers_again() -> None:
    network = trainer(stack(3, 4, 2, activation=Tanh()), MeanSquaredError()).network
    assert network.workspace(5) is network.workspace(5)
    assert network.workspace(5) is not network.workspace(4)


# -- a step that is not finite is not applied


@contextmanager
def nothing_changes(network: Trainer) -> Iterator[None]:
    """Demand that every array and counter of the state is the same afterwards, to the bit."""
    state = network.state
    arrays = {"parameters": state.parameters, "buffers": state.buffers, **state.slots}
    before, counters = {name: array.tobytes() for name, array in arrays.items()}, vars(state.progress).copy()
    yield
    for name, array in arrays.items():
        assert array.tobytes() == before[name], f"{name} changed"
    assert vars(state.progress) == counters


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", ["input", "target", "weight"])
@each_optimizer
def test_a_diverged_step_is_not_applied(optimizer: Optimizer, where: str, bad: float) -> None:
    layers = stack(3, 4, 2, activation=Tanh(), normalization=BatchNorm())
    network = trainer(layers, MeanSquaredError(), optimizer, Penalty(l2=0.1), clip=1.0)
    x, target = (array.copy() for array in random_batch(network.network, 6))
    network.step(x, target, 0.01)  # slots and running statistics are no longer zero
    {"input": x, "target": target, "weight": network.tensors()["layers.1.weight"]}[where][2, 0] = bad
    with nothing_changes(network), np.errstate(over="ignore", invalid="ignore"), pytest.raises(Diverged) as caught:
        network.step(x, target, 0.01)
    for fragment in ("epoch 0, step 1", "the step was not applied", "learning_rate"):
        assert fragment in str(caught.value)


def test_a_gradient_that_overflows_under_a_finite_loss_is_not_applied_either() -> None:
    """The score is 0 and the loss ln 2, but dL/dw of the first layer is 3e38 * 0.5 * 1000, beyond float32."""
    network = trainer(stack(1, 1, 1, activation=Identity()), BinaryCrossEntropy(), dtype=np.float32)
    for name, values in network.tensors().items():
        values[...] = 1000 if name == "layers.1.weight" else 0
    x, target = np.full((1, 1), 3e38, np.float32), np.zeros((1, 1), np.float32)
    with nothing_changes(network), np.errstate(over="ignore"), pytest.raises(Diverged) as caught:
        network.step(x, target, 0.1)
    assert "the gradient of layers.0.weight is not finite" in str(caught.value)


def test_a_long_gradient_in_float32_is_not_taken_for_an_infinite_one() -> None:
    network = trainer(stack(1, 1, activation=Identity()), BinaryCrossEntropy(), clip=1.0, dtype=np.float32)
    network.state.parameters[:] = 0
    x, target = np.full((4, 1), 1e30, np.float32), np.zeros((4, 1), np.float32)
    with np.errstate(over="ignore"):
        network.step(x, target, 0.1)  # the gradient has length 5e29: its square overflows float32 alone
    assert_close(network.step.squared_norm, 2.5e59, 1e-6)
    assert_close(network.state.parameters, [-0.1, 0.0], 1e-6, scale=1.0)


def train_on(network: Trainer, size: float) -> None:
    """One step on rows of that size, as the events of a run are made."""

    def events() -> Iterator[StepDone]:
        network.step(np.full((4, 1), size, np.float32), np.ones((4, 1), np.float32), 0.1)
        yield StepDone()

    feed(events(), consumers=())


def test_a_long_gradient_in_float32_is_no_reason_to_warn() -> None:
    train_on(trainer(stack(1, 1, activation=Identity()), BinaryCrossEntropy(), clip=1.0, dtype=np.float32), 1e25)


def test_divergence_is_one_error_and_no_warning() -> None:
    with pytest.raises(Diverged):
        train_on(trainer(stack(1, 1, activation=Identity()), MeanSquaredError(), dtype=np.float32), 1e30)


def test_a_gradient_whose_length_alone_overflows_is_described() -> None:
    network = trainer(stack(1, 1, activation=Identity()), BinaryCrossEntropy())
    network.state.parameters[:] = 0
    with np.errstate(over="ignore"), pytest.raises(Diverged) as caught:
        network.step(np.full((4, 1), 1e200), np.zeros((4, 1)), 0.1)
    assert "None" not in str(caught.value)


def test_batch_statistics_of_a_single_row_are_refused_before_anything_changes() -> None:
    network = trainer(stack(2, 3, 1, activation=Tanh(), normalization=BatchNorm()), MeanSquaredError())
    with nothing_changes(network), pytest.raises(ValueError, match="row"):
        network.step(np.ones((1, 2)), np.ones((1, 1)), 0.1)


# -- what a step does not depend on, and what it leaves alone


@given(layers=layer_stacks(layer_norms), loss=losses, sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
def test_a_batch_in_two_parts_has_the_weighted_mean_gradient(
    layers: Architecture, loss: Loss, sizes: tuple[int, int], seed: int
) -> None:
    network = trainer(layers, loss, seed=seed)
    first, n = sizes[0], sum(sizes)
    x, target = random_batch(network.network, n, seed)
    whole = network.gradient(x, target)
    parts = [network.gradient(x[part], target[part]) for part in (slice(0, first), slice(first, n))]
    together = sum((size / n * part for size, part in zip(sizes, parts, strict=True)), np.zeros_like(whole))
    assert_close(together, whole, 1e-10, scale=max(np.abs(vector).max() for vector in (whole, *parts)))


@given(layers=layer_stacks(normalizations), loss=losses, rows=st.integers(2, 9), seed=seeds)
def test_the_order_of_rows_does_not_matter(layers: Architecture, loss: Loss, rows: int, seed: int) -> None:
    network = trainer(layers, loss, seed=seed)
    x, target = random_batch(network.network, rows, seed)
    order = np.random.default_rng(seed).permutation(rows)
    gradient, other = network.gradient(x, target), network.gradient(x[order], target[order])
    # two rows that are alike under batch normalization divide rounding by sqrt(eps), layer after layer
    assert_close(other, gradient, 1e-8, scale=max(1.0, float(np.abs(gradient).max())))


@given(layers=layer_stacks(normalizations), loss=losses, rows=st.integers(2, 6), seed=seeds)
def test_inputs_and_targets_are_never_written_to(layers: Architecture, loss: Loss, rows: int, seed: int) -> None:
    network = trainer(layers, loss, Adam(), Penalty(l1=0.1), clip=0.1, seed=seed)
    x, target = random_batch(network.network, rows, seed)  # both are read-only: writing to them raises
    network.step(x, target, 0.01)
    network.evaluate(x)
    again = random_batch(network.network, rows, seed)
    assert np.array_equal(x, again[0])
    assert np.array_equal(target, again[1])


@given(layers=layer_stacks(normalizations), loss=losses, rows=st.integers(2, 6), seed=seeds)
def test_the_same_step_twice_is_the_same_to_the_bit(layers: Architecture, loss: Loss, rows: int, seed: int) -> None:
    ends = []
    for _ in range(2):
        network = trainer(layers, loss, Adam(), seed=seed, dtype=np.float32)
        x, target = random_batch(network.network, rows, seed)
        values = [network.step(x, target, 0.01) for _ in range(3)]
        ends.append((values, network.state.parameters.tobytes(), network.state.buffers.tobytes()))
    assert ends[0] == ends[1]


def test_evaluating_in_between_changes_nothing() -> None:
    layers = stack(4, 8, 8, 3, activation=Tanh(), normalization=BatchNorm(), dropout=0.3)
    plain, watched = trainer(layers, CrossEntropy(), Adam()), trainer(layers, CrossEntropy(), Adam())
    x, target = random_batch(plain.network, 10)
    for _ in range(4):
        plain.step(x, target, 0.01)
        watched.step(x, target, 0.01)
        before = watched.state.buffers.copy()
        assert np.array_equal(watched.evaluate(x), watched.evaluate(x)), "nothing is drawn in evaluation"
        assert np.array_equal(watched.state.buffers, before)
    assert np.array_equal(plain.state.parameters, watched.state.parameters)
    assert np.array_equal(plain.state.buffers, watched.state.buffers)


def test_the_linear_model_is_a_network_without_hidden_layers() -> None:
    network = trainer(stack(3, 2, activation=Tanh()), MeanSquaredError())
    x, target = random_batch(network.network, 5)
    weight, bias = network.tensors().values()
    error = x @ weight + bias - target
    assert_close(network.gradient(x, target), np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / 5, 1e-13)


# -- dropout masks


def masks(network: Trainer, rows: int) -> list[Array]:
    """The masks of the last step."""
    found = [layer.mask for layer in network.network.workspace(rows).layers]
    return [mask.copy() for mask in found if mask is not None]


def masks_of_steps(seed: int, steps: int, optimizer: Optimizer, rate: float = 0.1, begin: int = 0) -> list[list[Array]]:
    """The masks of each step from `begin` to `steps`."""
    network = trainer(stack(4, 16, 16, 2, activation=Tanh(), dropout=0.5), MeanSquaredError(), optimizer, seed=seed)
    network.state.progress.step = begin
    x, target = random_batch(network.network, 8, seed)
    found = []
    for _ in range(begin, steps):
        network.step(x, target, rate)
        found.append(masks(network, 8))
    return found


def same(one: list[Array], other: list[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_dropout_masks_depend_on_the_seed_and_the_step_alone() -> None:
    reference = masks_of_steps(0, 5, SGD())
    assert len(reference[0]) == 2
    for other in (masks_of_steps(0, 5, SGD()), masks_of_steps(0, 5, Adam(), rate=0.5)):
        assert all(same(one, two) for one, two in zip(reference, other, strict=True))
    resumed = masks_of_steps(0, 5, SGD(), begin=3)
    assert all(same(one, two) for one, two in zip(reference[3:], resumed, strict=True)), "as if never stopped"


def test_dropout_masks_differ_from_step_to_step_layer_to_layer_and_seed_to_seed() -> None:
    steps = masks_of_steps(0, 5, SGD())
    assert not any(same(steps[i], steps[j]) for i in range(5) for j in range(i))
    first, second = steps[0][0], steps[0][1]
    assert not np.array_equal(first, second)
    assert not same(steps[0], masks_of_steps(1, 1, SGD())[0])


def test_the_dropout_stream_is_placed_by_arithmetic() -> None:
    one, other = DropoutStream(7), DropoutStream(7)
    expected = [one.at(step).random(3).tolist() for step in range(6)]
    assert other.at(5).random(3).tolist() == expected[5]
    other.at(2).random(1000)
    assert [other.at(step).random(3).tolist() for step in range(6)] == expected


def test_a_dropped_unit_passes_no_gradient() -> None:
    network = trainer(stack(3, 8, 1, activation=Identity(), dropout=0.5), MeanSquaredError())
    before = network.tensors()["layers.0.weight"].copy()
    x, target = random_batch(network.network, 1)
    network.step(x, target, 0.1)
    (mask,) = masks(network, 1)
    moved = (network.tensors()["layers.0.weight"] != before).any(axis=0)
    assert np.array_equal(moved, mask[0] > 0)
    assert 0 < moved.sum() < 8
