"""Does any finite number, in an array of any shape, upset a component: its result, its precision, its inputs?"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from helpers import Architecture, apply_step, assert_close, random_batch, read_only, trainer
from mlptrain.component import example_instances
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.losses import Loss, Poisson
from mlptrain.optim.clipping import clip_norm, squared_norm
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.penalties import Penalty
from strategies import layer_norms, layer_stacks, losses, seeds

EPS = {np.float32: 2e-6, np.float64: 1e-12}
dtypes = st.sampled_from([np.float32, np.float64])


def strict() -> np.errstate:
    """An overflow or a number that is none is an error; what is too small may become 0."""
    return np.errstate(over="raise", invalid="raise", divide="raise", under="ignore")


def numbers(
    dtype: Any, shape: Any, bound: Callable[[float], float] = lambda largest: largest / 4
) -> st.SearchStrategy[Array]:
    """Read-only arrays of any numbers up to `bound` of the largest one there is: tiny, huge, zero and minus zero."""
    limit = float(dtype(bound(float(np.finfo(dtype).max))))
    elements = st.floats(-limit, limit, width=32 if dtype is np.float32 else 64)
    return arrays(dtype, shape, elements=elements).map(read_only)


@given(activation=st.sampled_from(example_instances(Activation)), data=st.data(), dtype=dtypes)
def test_activation_of_any_number(activation: Activation, data: st.DataObject, dtype: Any) -> None:
    z = data.draw(numbers(dtype, array_shapes(max_dims=2, max_side=6)))
    a, grad, scratch = np.empty_like(z), np.ones_like(z), np.empty_like(z)
    with strict():
        activation.forward(z, a, scratch)
        activation.backward(z.copy(), a.copy(), grad, scratch)
    for values in (a, grad):
        assert (values.dtype, values.shape) == (z.dtype, z.shape)
        assert np.isfinite(values).all()


@given(loss=losses, data=st.data(), dtype=dtypes)
def test_loss_of_any_scores(loss: Loss, data: st.DataObject, dtype: Any) -> None:
    rows, outputs = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    # a squared error must have room for its square, the rate of a count is e to the score
    bound = (lambda largest: 80.0) if isinstance(loss, Poisson) else (lambda largest: largest**0.45)
    scores = data.draw(numbers(dtype, (rows, outputs), bound))
    target = data.draw(targets(loss, rows, outputs, dtype, bound))
    weights = data.draw(st.none() | arrays(dtype, rows, elements=st.floats(0.0625, 8, width=32)).map(read_only))
    grad, ws = np.empty_like(scores), loss.workspace(scores.shape, dtype)
    with strict():
        value = loss.value_and_gradient(scores, target, grad, ws, weights)  # writing to a read-only array raises
        predicted = loss.predict(scores)
    assert np.isfinite(value)
    for values in (grad, predicted):
        assert (values.dtype, values.shape) == (scores.dtype, scores.shape)
        assert np.isfinite(values).all()


def targets(
    loss: Loss, rows: int, outputs: int, dtype: Any, bound: Callable[[float], float]
) -> st.SearchStrategy[Target]:
    if loss.target_kind == "class":
        return arrays(np.intp, rows, elements=st.integers(0, outputs - 1)).map(read_only)
    if loss.target_kind == "binary":
        return arrays(dtype, (rows, outputs), elements=st.floats(0, 1, width=32)).map(read_only)
    drawn = numbers(dtype, (rows, outputs), bound)
    return drawn.map(lambda y: read_only(np.abs(y))) if isinstance(loss, Poisson) else drawn


@given(optimizer=st.sampled_from(example_instances(Optimizer)), data=st.data(), dtype=dtypes)
def test_optimizer_with_any_gradients(optimizer: Optimizer, data: st.DataObject, dtype: Any) -> None:
    size = data.draw(st.integers(1, 5))
    w = np.ones(size, dtype)
    slots = [np.zeros_like(w) for _ in optimizer.slots]
    with strict():
        for t in range(1, data.draw(st.integers(2, 6))):
            g = data.draw(numbers(dtype, size, lambda largest: largest**0.45))  # there must be room for its square
            optimizer.decay(w, 0.01)
            apply_step(optimizer, w, g.copy(), slots, np.empty_like(w), 0.01, t)
    for values in (w, *slots):
        assert values.dtype == dtype
        assert np.isfinite(values).all()


@given(data=st.data(), dtype=dtypes, limit=st.floats(1e-3, 1e3))
def test_clipping_any_gradient(data: st.DataObject, dtype: Any, limit: float) -> None:
    # float32 must hold the quotient of the limit and the length with all its digits
    g = data.draw(numbers(dtype, st.integers(1, 20), lambda largest: 1e30))
    clipped = g.copy()
    with np.errstate(over="ignore"):  # of the first attempt, in the dtype of the gradient
        before = squared_norm(g)
    with strict():
        clip_norm(clipped, limit, math.sqrt(before))
    assert clipped.dtype == dtype
    assert np.isfinite(before)
    assert squared_norm(clipped.astype(np.float64)) <= (limit * (1 + EPS[dtype])) ** 2
    if before <= (limit * (1 - EPS[dtype])) ** 2:
        assert np.array_equal(clipped, g)


@given(data=st.data(), dtype=dtypes, l1=st.floats(0, 10), l2=st.floats(0, 10))
def test_penalty_of_any_weights(data: st.DataObject, dtype: Any, l1: float, l2: float) -> None:
    w = data.draw(numbers(dtype, st.integers(1, 20), lambda largest: largest**0.45))
    grad, penalty = np.zeros_like(w), Penalty(l1=l1, l2=l2)
    with strict():
        assert np.isfinite(penalty.value(w))
        penalty.add_gradient(w, grad, np.empty_like(w))
    assert grad.dtype == dtype
    assert np.isfinite(grad).all()


@given(
    layers=layer_stacks(layer_norms),
    loss=losses,
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=seeds,
)
def test_a_weighted_batch_in_two_parts_has_the_mean_gradient_by_rows(
    layers: Architecture, loss: Loss, sizes: tuple[int, int], seed: int
) -> None:
    network = trainer(layers, loss, seed=seed)
    first, n = sizes[0], sum(sizes)
    x, target = random_batch(network.network, n, seed)
    weights = np.random.default_rng(seed).uniform(0.1, 3, n)

    def gradient(rows: slice) -> Array:
        layout, found = network.network.layout, np.empty_like(network.state.parameters)
        views, running = layout.views(network.state.parameters), layout.running(network.state.buffers)
        network.network.forward(x[rows], views, running, training=True)
        network.network.backward(x[rows], target[rows], views, layout.views(found), weights[rows])
        return found

    whole, parts = gradient(slice(0, n)), [slice(0, first), slice(first, n)]
    shares = [len(weights[part]) / n for part in parts]
    together = sum((share * gradient(part) for share, part in zip(shares, parts, strict=True)), np.zeros_like(whole))
    assert_close(together, whole, 1e-10, scale=np.abs(whole).max())


@given(layers=layer_stacks(), loss=losses, rows=st.integers(2, 6), seed=seeds, dtype=dtypes)
def test_a_network_keeps_its_precision(layers: Architecture, loss: Loss, rows: int, seed: int, dtype: Any) -> None:
    network = trainer(layers, loss, penalty=Penalty(l1=0.01, l2=0.01), clip=0.5, seed=seed, dtype=dtype)
    x, target = random_batch(network.network, rows, seed)
    with strict():
        network.step(x, target, 0.01)
        scores = network.evaluate(x)
    state, here = network.state, network.network.workspace(rows).layers
    arrays_of_it = [scores, state.parameters, state.buffers, network.step.gradient, *(layer.a for layer in here)]
    assert {array.dtype for array in arrays_of_it} == {np.dtype(dtype)}
