"""Does every component compute what it says, at ordinary numbers and at extreme ones?

Each test runs over the whole catalogue, every variant with each of its `examples`: a new class is tested from the day
on which it is written. Whether backward passes are right inside a network is the subject of test_gradcheck.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.numpy
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from helpers import apply_step, assert_close, label, read_only
from mlptrain.component import Component, Frozen, example_instances, variants
from mlptrain.gradcheck import stack
from mlptrain.nn.activations import ELU, Activation, LeakyReLU, ReLU, Sigmoid, Tanh
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.dropout import draw_mask
from mlptrain.nn.initializers import Auto, FromFile, GlorotUniform, HeNormal, Initializer, LecunNormal, Normal
from mlptrain.nn.layers import Dense
from mlptrain.nn.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Focal,
    Loss,
    MeanAbsoluteError,
    Poisson,
    Quantile,
)
from mlptrain.nn.network import lay_out
from mlptrain.nn.normalization import (
    BETA,
    GAMMA,
    RUNNING_MEAN,
    RUNNING_VARIANCE,
    BatchNorm,
    LayerNorm,
    Normalization,
)
from mlptrain.optim.clipping import clip_norm, squared_norm
from mlptrain.optim.optimizers import BLOCK, SGD, AdaGrad, Adam, Adaptive, Momentum, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant, Cosine, OneCycle, Schedule
from mlptrain.spec.sections import NetworkSpec
from mlptrain.training.state import TrainState
from strategies import losses, seeds

FAMILIES: tuple[type[Component], ...] = (Activation, Loss, Initializer, Normalization, Optimizer, Schedule)
EPS = {np.float32: 2e-6, np.float64: 1e-12}


def each(family: type[Component], name: str, without: tuple[type[Component], ...] = ()) -> pytest.MarkDecorator:
    """Run a test for every variant of `family` with each of its examples, but for those `without`."""
    instances = [instance for instance in example_instances(family) if not isinstance(instance, without)]
    return pytest.mark.parametrize(name, instances, ids=label)


each_activation = each(Activation, "activation")
each_loss = each(Loss, "loss", without=(Quantile,))  # one column for several scores: see below
each_initializer = each(Initializer, "initializer")
each_normalization = each(Normalization, "normalization")
each_optimizer = each(Optimizer, "optimizer")
each_schedule = each(Schedule, "schedule")
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=label)


# -- activations

WIDE = np.concatenate([np.linspace(-1e4, 1e4, 2001), np.linspace(-30, 30, 601), [-1e30, 1e30, 0.0, -0.0]])


def away_from_kinks(activation: Activation, z: Array, margin: float) -> Array:
    return z[[all(abs(value - kink) > margin for kink in activation.kinks) for value in z]]


@each_activation
def test_derivative_is_the_slope(activation: Activation) -> None:
    h = 1e-5
    z = away_from_kinks(activation, np.linspace(-6, 6, 241), 10 * h)
    slope = (activation(z + h) - activation(z - h)) / (2 * h)
    assert_close(activation.derivative(z), slope, 1e-8, scale=0.1)


@each_activation
def test_kinks_are_where_the_derivative_jumps(activation: Activation) -> None:
    z = np.linspace(-6, 6, 12001)
    jumps = np.flatnonzero(np.abs(np.diff(activation.derivative(z))) > 0.01)
    smooth = isinstance(activation, ELU) and activation.alpha == 1  # its two slopes are the same there
    kinks = () if smooth else activation.kinks
    assert len(jumps) == len(kinks)
    for jump, kink in zip(jumps, kinks, strict=True):
        assert z[jump] - 1e-3 <= kink <= z[jump + 1] + 1e-3


@each_activation
def test_derivative_far_out_is_the_slope(activation: Activation) -> None:
    z = np.array([-1e30, -1e8, -1e4, 1e4, 1e8, 1e30])
    slope = (activation(z * 1.001) - activation(z * 0.999)) / (z * 0.002)
    assert_close(activation.derivative(z), slope, 1e-9, scale=1.0)


@each_dtype
@each_activation
def test_activation_in_the_precision_of_its_input(activation: Activation, dtype: Any) -> None:
    z = np.linspace(-8, 8, 321).astype(dtype)
    exact = z.astype(np.float64)
    for computed, expected in (
        (activation(z), activation(exact)),
        (activation.derivative(z), activation.derivative(exact)),
    ):
        assert computed.dtype == dtype
        assert_close(computed, expected, EPS[dtype], scale=1.0)


@each_dtype
@each_activation
def test_forward_keeps_z(activation: Activation, dtype: Any) -> None:
    z = read_only(np.linspace(-3, 3, 24, dtype=dtype).reshape(6, 4))
    a, grad, scratch = np.empty_like(z), np.ones_like(z), np.empty_like(z)
    activation.forward(z, a, scratch)  # a read-only array raises when it is written to
    activation.backward(z.copy(), a.copy(), grad, scratch)
    assert_close(a, activation(z), 0)
    assert_close(grad, activation.derivative(z), 0)


@each_activation
def test_backward_multiplies_the_gradient_that_comes_in(activation: Activation) -> None:
    z = np.linspace(-3, 3, 24).reshape(6, 4)
    upstream = np.random.default_rng(0).standard_normal(z.shape)
    a, grad, scratch = activation(z), upstream.copy(), np.empty_like(z)
    activation.backward(z.copy(), a, grad, scratch)
    assert_close(grad, upstream * activation.derivative(z), 1e-15)


@each_dtype
@each_activation
def test_activation_without_a_floating_point_warning(activation: Activation, dtype: Any) -> None:
    z = WIDE.astype(dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise", under="ignore"):
        a, slope = activation(z), activation.derivative(z)
    assert np.isfinite(a).all()
    assert np.isfinite(slope).all()


@each_activation
def test_activation_carries_nan_through(activation: Activation) -> None:
    with np.errstate(invalid="ignore"):
        assert math.isnan(activation(math.nan))


@each_activation
def test_asymptotes_are_approached_and_never_crossed(activation: Activation) -> None:
    if activation.asymptotes is None:
        return
    low, high = activation.asymptotes
    assert_close([activation(-1e4), activation(1e4)], [low, high], 1e-15)
    a = activation(WIDE)
    assert low <= a.min()
    assert a.max() <= high


def test_sigmoid_keeps_small_values_to_their_last_digit() -> None:
    for z in (-5.0, -40.0, -300.0, -700.0):
        assert_close(Sigmoid()(z), math.exp(z) / (1 + math.exp(z)), 1e-15)


def test_leaky_relu_with_a_slope_above_one_is_not_a_maximum() -> None:
    assert LeakyReLU(slope=1.5)(-2.0) == -3.0
    assert LeakyReLU(slope=1.5)(2.0) == 2.0


# -- losses


def value_and_gradient(loss: Loss, scores: Array, target: Target) -> tuple[float, Array]:
    grad = np.full_like(scores, np.nan)
    ws = loss.workspace(scores.shape, scores.dtype)
    return loss.value_and_gradient(scores, target, grad, ws), grad


def drawn(loss: Loss, rows: int, outputs: int, seed: int = 0, dtype: Any = np.float64) -> tuple[Array, Target]:
    """Scores and a target that suits the loss, both read-only."""
    rng = np.random.default_rng(seed)
    target = loss.random_target(rows, outputs, rng)
    if loss.target_kind != "class":
        target = target.astype(dtype)
    return read_only((2 * rng.standard_normal((rows, outputs))).astype(dtype)), read_only(target)


def log_sigmoid(z: float) -> float:
    return min(z, 0.0) - math.log1p(math.exp(-abs(z)))


def smoothed(target: float, share: float, choices: int) -> float:
    return (1 - share) * target + share / choices


def cross_entropy_row(loss: CrossEntropy, z: Sequence[float], c: int) -> float:
    highest = max(z)
    log_sum = highest + math.log(math.fsum(math.exp(value - highest) for value in z))
    return math.fsum(
        smoothed(float(k == c), loss.label_smoothing, len(z)) * (log_sum - value) for k, value in enumerate(z)
    )


def binary_term(loss: BinaryCrossEntropy, z: float, y: float) -> float:
    y = smoothed(y, loss.label_smoothing, 2)
    return -y * log_sigmoid(z) - (1 - y) * log_sigmoid(-z)


def focal_row(loss: Focal, z: list[float], c: int) -> float:
    log_p: float = z[c] - max(z) - math.log(math.fsum(math.exp(value - max(z)) for value in z))
    return -float((1 - math.exp(log_p)) ** loss.gamma) * log_p


TEXTBOOK: dict[str, Callable[[Any, list[list[float]], list[Any]], float]] = {
    "mse": lambda loss, scores, target: mean_term(scores, target, lambda p, y: (p - y) ** 2),
    "mae": lambda loss, scores, target: mean_term(scores, target, lambda p, y: abs(p - y)),
    "binary_cross_entropy": lambda loss, scores, target: mean_term(
        scores, target, lambda z, y: binary_term(loss, z, y)
    ),
    "huber": lambda loss, scores, target: mean_term(
        scores,
        target,
        lambda p, y: (p - y) ** 2 / 2 if abs(p - y) <= loss.delta else loss.delta * (abs(p - y) - loss.delta / 2),
    ),
    "poisson": lambda loss, scores, target: mean_term(scores, target, lambda z, y: math.exp(z) - y * z),
    "focal": lambda loss, scores, target: (
        math.fsum(focal_row(loss, z, c) for z, c in zip(scores, target, strict=True)) / len(scores)
    ),
    "cross_entropy": lambda loss, scores, target: (
        math.fsum(cross_entropy_row(loss, z, c) for z, c in zip(scores, target, strict=True)) / len(scores)
    ),
}
"""Each loss once more, as a textbook writes it, in plain Python. A new kind needs its line here."""


@pytest.mark.parametrize("loss", example_instances(Loss), ids=label)
def test_a_batch_of_rows_that_do_not_count_costs_nothing(loss: Loss) -> None:
    scores, target = drawn(loss, 6, loss.outputs(3))
    grad = np.full_like(scores, np.nan)
    ws = loss.workspace(scores.shape, scores.dtype)
    assert loss.value_and_gradient(scores, target, grad, ws, np.zeros(6)) == 0
    assert not grad.any()


@pytest.mark.parametrize("quantiles", [(0.5,), (0.1, 0.5, 0.9)], ids=str)
def test_quantiles_share_one_column(quantiles: tuple[float, ...]) -> None:
    loss, rng = Quantile(quantiles=quantiles), np.random.default_rng(0)
    scores, y = rng.standard_normal((200, len(quantiles))), rng.standard_normal((200, 1))
    value, grad = value_and_gradient(loss, scores, y)
    terms = [
        max(q * (t - p), (q - 1) * (t - p))
        for row, t in zip(scores, y[:, 0], strict=True)
        for q, p in zip(quantiles, row, strict=True)
    ]
    assert_close(value, math.fsum(terms) / len(terms), 1e-12)
    slopes = np.where(y > scores, -np.array(quantiles), 1 - np.array(quantiles)) / scores.size
    assert_close(grad, slopes, 1e-12)
    best = loss.best_constant(y, len(quantiles))
    for below, q in zip((y < best).mean(axis=0), quantiles, strict=True):
        assert abs(below - q) <= 1 / len(y) + 1e-12


def mean_term(scores: list[list[float]], target: list[list[float]], term: Callable[[float, float], float]) -> float:
    terms = [term(p, y) for row, wanted in zip(scores, target, strict=True) for p, y in zip(row, wanted, strict=True)]
    return math.fsum(terms) / len(terms)


@given(loss=losses, rows=st.integers(1, 9), outputs=st.integers(1, 5), seed=seeds)
def test_loss_is_that_of_the_textbook(loss: Loss, rows: int, outputs: int, seed: int) -> None:
    scores, target = drawn(loss, rows, outputs, seed)
    assert_close(loss.value(scores, target), TEXTBOOK[loss.name()](loss, scores.tolist(), target.tolist()), 1e-12)


@given(loss=losses, rows=st.integers(1, 9), outputs=st.integers(1, 5), seed=seeds)
def test_gradient_is_the_slope_of_the_value(loss: Loss, rows: int, outputs: int, seed: int) -> None:
    scores, target = drawn(loss, rows, outputs, seed)
    value, grad = value_and_gradient(loss, scores, target)
    assert value == loss.value(scores, target)
    h = 1e-5
    for i, k in np.ndindex(scores.shape):
        above, below = scores.copy(), scores.copy()
        above[i, k] += h
        below[i, k] -= h
        one, other = (loss.corner_side(moved, target) for moved in (above, below))
        if one is not None and other is not None and not np.array_equal(one, other):
            continue
        slope = (loss.value(above, target) - loss.value(below, target)) / (2 * h)
        assert_close(grad[i, k], slope, 1e-8, scale=1.0)


@given(loss=losses, rows=st.integers(1, 9), outputs=st.integers(1, 5), seed=seeds)
def test_loss_is_a_mean_over_rows(loss: Loss, rows: int, outputs: int, seed: int) -> None:
    scores, target = drawn(loss, rows, outputs, seed)
    value, grad = value_and_gradient(loss, scores, target)
    doubled, half = value_and_gradient(loss, np.concatenate([scores, scores]), np.concatenate([target, target]))
    assert_close(doubled, value, 1e-13)
    assert_close(half, np.concatenate([grad, grad]) / 2, 1e-13)


@each_dtype
@each_loss
def test_loss_in_the_precision_of_its_scores(loss: Loss, dtype: Any) -> None:
    scores, target = drawn(loss, 50, 4, dtype=dtype)
    value, grad = value_and_gradient(loss, scores, target)
    exact = value_and_gradient(loss, scores.astype(np.float64), target)
    assert grad.dtype == loss.predict(scores).dtype == dtype
    assert_close(value, exact[0], EPS[dtype])
    assert_close(grad, exact[1], EPS[dtype], scale=1 / 50)


@each_loss
def test_loss_of_many_rows_does_not_lose_digits_in_float32(loss: Loss) -> None:
    scores, target = drawn(loss, 300_000, 3, dtype=np.float32)
    assert_close(loss.value(scores, target), loss.value(scores.astype(np.float64), target), 1e-6)


@each_dtype
@pytest.mark.parametrize("size", [1e3, 1e18])
@each(Loss, "loss", without=(Quantile, Poisson))  # the rate of a count is e to the score: beyond all numbers here
def test_loss_at_extreme_scores(loss: Loss, size: float, dtype: Any) -> None:
    scores = np.array([[size, -size, 0], [-size, 0, size], [0, size, -size], [-size] * 3, [size] * 3], dtype)
    zero_one = np.array([[0, 1, 0], [1, 0, 1], [0.3, 0.3, 0.3], [1, 1, 0], [0, 0, 1]])
    target = np.array([1, 0, 2, 0, 1]) if loss.target_kind == "class" else zero_one.astype(dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise", under="ignore"):
        value, grad = value_and_gradient(loss, scores, target)
        predicted = loss.predict(scores)
    assert_close(value, TEXTBOOK[loss.name()](loss, scores.tolist(), target.tolist()), EPS[dtype])
    assert np.isfinite(grad).all()
    assert np.isfinite(predicted).all()


@each_dtype
def test_cross_entropy_of_a_hopeless_score_is_exact(dtype: Any) -> None:
    value, grad = value_and_gradient(CrossEntropy(), np.array([[1000, 0, -1000]], dtype), np.array([2]))
    assert value == 2000
    assert grad.tolist() == [[1.0, 0.0, -1.0]]


def test_binary_cross_entropy_at_zero_is_ln_2_with_slope_one_half() -> None:
    value, grad = value_and_gradient(BinaryCrossEntropy(), np.zeros((1, 1)), np.ones((1, 1)))
    assert (value, grad.item()) == (math.log(2), -0.5)


def test_a_tiny_binary_cross_entropy_is_the_same_for_yes_and_for_no() -> None:
    for z in (1.0, 20.0, 37.0, 100.0):
        expected = math.log1p(math.exp(-z))
        for score, y in ((-z, 0.0), (z, 1.0)):
            assert_close(BinaryCrossEntropy().value(np.array([[score]]), np.array([[y]])), expected, 1e-15)


def test_mean_absolute_error_has_slope_zero_where_it_is_right() -> None:
    _, grad = value_and_gradient(MeanAbsoluteError(), np.array([[1.0, 2.0]]), np.array([[1.0, 1.0]]))
    assert grad.tolist() == [[0.0, 0.5]]


def predicted_row(loss: Loss, z: list[float]) -> list[float]:
    """The link in plain Python."""
    if loss.target_kind == "class":
        highest = max(z)
        total = math.fsum(math.exp(value - highest) for value in z)
        return [math.exp(value - highest) / total for value in z]
    if isinstance(loss, Poisson):
        return [math.exp(value) for value in z]
    return [math.exp(log_sigmoid(value)) for value in z] if loss.target_kind == "binary" else z


@each_loss
def test_predictions(loss: Loss) -> None:
    scores, _ = drawn(loss, 40, 4)
    assert_close(loss.predict(scores), [predicted_row(loss, row) for row in scores.tolist()], 1e-13)
    assert not np.shares_memory(loss.predict(scores), scores)
    if loss.target_kind == "class":
        assert_close(loss.predict(scores).sum(axis=1), np.ones(40), 1e-14)


@each_loss
def test_best_constant_is_the_best(loss: Loss) -> None:
    rng = np.random.default_rng(3)
    target = loss.random_target(41, 3, rng)
    if loss.target_kind == "class":
        target = np.minimum(target, rng.integers(0, 3, 41))  # classes of different size
    best = loss.best_constant(target, 3)
    assert best.shape == (3,)

    def value(constant: Array) -> float:
        return float(loss.value(np.tile(constant, (41, 1)), target))

    for k in range(3):
        for h in (-0.3, -1e-3, 1e-3, 0.3):
            assert value(best + h * np.eye(3)[k]) >= value(best) - 1e-15


@each_loss
def test_best_constant_for_an_answer_that_never_varies_is_finite(loss: Loss) -> None:
    target = np.zeros(5, dtype=np.intp) if loss.target_kind == "class" else np.zeros((5, 2))
    best = loss.best_constant(target, 2)
    assert np.isfinite(best).all()
    assert math.isfinite(loss.value(np.tile(best, (5, 1)), target))


# -- optimizers


def minimize(
    optimizer: Optimizer, gradient: Callable[[Array], Array], start: list[float], steps: int, rate: float, dtype: Any
) -> Array:
    """Where the optimizer arrives with a rate that falls as a cosine."""
    w = np.array(start, dtype)
    slots = [np.zeros_like(w) for _ in optimizer.slots]
    scratch = np.empty_like(w)
    for t in range(steps):
        apply_step(optimizer, w, gradient(w), slots, scratch, rate * Cosine().at(t, steps, 1), t + 1)
    return w


def parabola(w: Array) -> Array:
    """The gradient of (x - 1)^2 + 4 (y + 3)^2."""
    return np.array([2 * (w[0] - 1), 8 * (w[1] + 3)], w.dtype)


def rosenbrock(w: Array) -> Array:
    """The gradient of (1 - x)^2 + 100 (y - x^2)^2: a curved valley that is a hundred times as steep as it is long."""
    x, y = w
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)], w.dtype)


RATES: dict[str, tuple[float, float]] = {
    "sgd": (0.1, 1.5e-3),
    "momentum": (0.05, 1e-3),
    "adagrad": (1.0, 0.5),
    "adam": (0.1, 0.03),
}
"""For each kind the rate on the parabola and on Rosenbrock's function. A new kind begins with Adam's."""


@each_dtype
@each_optimizer
def test_optimizer_finds_the_bottom_of_a_parabola(optimizer: Optimizer, dtype: Any) -> None:
    rate, _ = RATES.get(optimizer.name(), RATES["adam"])
    w = minimize(optimizer, parabola, [4.0, -1.0], 500, rate, dtype)
    assert w.dtype == dtype
    assert_close(w, [1.0, -3.0], 1e-4)


@each_dtype
@each_optimizer
def test_optimizer_follows_the_valley_of_rosenbrock(optimizer: Optimizer, dtype: Any) -> None:
    _, rate = RATES.get(optimizer.name(), RATES["adam"])
    w = minimize(optimizer, rosenbrock, [-1.0, 1.0], 12_000, rate, dtype)
    assert_close(w, [1.0, 1.0], 0.03)


@each_dtype
@each_optimizer
def test_blocks_change_nothing(optimizer: Optimizer, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    size = 2 * BLOCK + 77
    whole, blocked = (np.ones(size, dtype) for _ in range(2))
    slots = [[np.zeros(size, dtype) for _ in optimizer.slots] for _ in range(2)]
    for t in range(1, 4):
        g = rng.standard_normal(size).astype(dtype)
        optimizer.update(whole, g.copy(), slots[0], np.empty(size, dtype), 0.1, t)
        apply_step(optimizer, blocked, g.copy(), slots[1], np.empty(BLOCK, dtype), 0.1, t)
    assert np.array_equal(whole, blocked)
    for one, other in zip(*slots, strict=True):
        assert np.array_equal(one, other)


@each_dtype
@each_optimizer
def test_every_parameter_is_moved_by_its_own_gradient_alone(optimizer: Optimizer, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal(5).astype(dtype)
    together, alone = w.copy(), [w[i : i + 1].copy() for i in range(5)]
    slots = [np.zeros_like(w) for _ in optimizer.slots]
    own = [[np.zeros(1, dtype) for _ in optimizer.slots] for _ in range(5)]
    for t in range(1, 5):
        g = rng.standard_normal(5).astype(dtype)
        apply_step(optimizer, together, g.copy(), slots, np.empty(5, dtype), 0.1, t)
        for i in range(5):
            apply_step(optimizer, alone[i], g[i : i + 1].copy(), own[i], np.empty(1, dtype), 0.1, t)
    assert_close(together, np.concatenate(alone), EPS[dtype])


@each_dtype
@each_optimizer
def test_slots_stay_in_their_precision(optimizer: Optimizer, dtype: Any) -> None:
    w, g = np.ones(3, dtype), np.ones(3, dtype)
    slots = [np.zeros(3, dtype) for _ in optimizer.slots]
    apply_step(optimizer, w, g, slots, np.empty(3, dtype), 0.1, 1)
    assert [slot.dtype for slot in (w, *slots)] == [dtype] * (1 + len(slots))
    assert all(np.isfinite(slot).all() and slot.any() for slot in slots)


def exact_adam(adam: Adam, w: float, m: float, v: float, g: float, rate: float, t: int) -> Decimal:
    """Kingma & Ba's step with 60 digits; m and v are the moments before it."""
    with localcontext() as context:
        context.prec = 60
        b1, b2, one, gradient = Decimal(adam.beta1), Decimal(adam.beta2), Decimal(1), Decimal(g)
        m_hat = (b1 * Decimal(m) + (one - b1) * gradient) / (one - b1**t)
        v_hat = (b2 * Decimal(v) + (one - b2) * gradient**2) / (one - b2**t)
        root = (v_hat + Decimal(adam.eps_root)).sqrt() + Decimal(adam.eps)
        return Decimal(w) - Decimal(rate) * m_hat / root


ADAMS = [optimizer for optimizer in example_instances(Optimizer) if isinstance(optimizer, Adam)]


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 100_000, 10_000_000])
@pytest.mark.parametrize("adam", [*ADAMS, Adam(beta2=0.9999999)], ids=label)
def test_adam_corrects_its_bias_exactly_at_any_step(adam: Adam, t: int) -> None:
    w, m, v, g, rate = 0.7, 0.02, 0.003, -0.4, 0.05
    expected = exact_adam(adam, w, m, v, g, rate, t) - Decimal(w)
    # the slots hold m / (1 - beta1) and v / (1 - beta2)
    slots = [np.array([m]) / (1 - adam.beta1), np.array([v]) / (1 - adam.beta2)]
    position = np.zeros(1)
    apply_step(adam, position, np.array([g]), slots, np.empty(1), rate, t)
    # 1 - beta2^t has the rounding of 1: where it is 1e-7, nine digits are right
    assert_close(position, float(expected), 1e-12 if adam.beta2 < 0.99999 else 1e-9)


@each_dtype
@each_optimizer
def test_a_gradient_whose_square_underflows_gives_no_nan(optimizer: Optimizer, dtype: Any) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    g = np.array([0.0, -0.0, tiny, -tiny, 1e-30, -1e-23, 1e-38, 1.0]).astype(dtype)
    w = np.ones(len(g), dtype)
    slots = [np.zeros_like(w) for _ in optimizer.slots]
    with np.errstate(over="raise", invalid="raise", divide="raise", under="ignore"):
        for t in range(1, 30):
            apply_step(optimizer, w, g.copy(), slots, np.empty_like(w), 0.01, t)
    assert np.isfinite(w).all()
    assert (w[:2] == 1).all(), "a gradient of zero moves nothing"
    assert w[-1] < 1


@pytest.mark.parametrize("settings", [{"eps": 1e-50}, {"eps": 0.0, "eps_root": 1e-50}], ids=str)
@pytest.mark.parametrize("optimizer", [Adam, AdaGrad], ids=lambda variant: variant.name())
def test_an_eps_that_vanishes_in_float32_is_refused(optimizer: type[Adaptive], settings: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="vanishes in float32"):
        optimizer(**settings)


def test_momentum_is_not_halved_with_the_rate() -> None:
    """The rate is inside the velocity here; PyTorch's is outside: a lower rate does not slow what is already moving."""
    w, velocity = np.zeros(1), np.zeros(1)
    for t, rate in enumerate((1.0, 0.5), start=1):
        apply_step(Momentum(momentum=0.5), w, np.ones(1), [velocity], np.empty(1), rate, t)
    assert w.item() == -(1.0 + (0.5 * 1.0 + 0.5))


# -- initializers

INPUTS, OUTPUTS = 200, 300


def gain(initializer: Any) -> float:
    """The factor of the spread, for the rectifiers of this test."""
    return math.sqrt(2) if initializer.gain == "activation" else 1.0


SPREAD: dict[str, Callable[[Any], float]] = {
    "zeros": lambda initializer: 0.0,
    "normal": lambda initializer: float(initializer.std),
    "uniform": lambda initializer: float(initializer.high - initializer.low) / math.sqrt(12),
    "glorot_uniform": lambda initializer: gain(initializer) * math.sqrt(2 / (INPUTS + OUTPUTS)),
    "glorot_normal": lambda initializer: gain(initializer) * math.sqrt(2 / (INPUTS + OUTPUTS)),
    "lecun_uniform": lambda initializer: gain(initializer) * math.sqrt(1 / INPUTS),
    "lecun_normal": lambda initializer: gain(initializer) * math.sqrt(1 / INPUTS),
    "orthogonal": lambda initializer: gain(initializer) * math.sqrt(1 / OUTPUTS),
    "he_uniform": lambda initializer: math.sqrt(2 / INPUTS),
    "he_normal": lambda initializer: math.sqrt(2 / INPUTS),
    "auto": lambda initializer: math.sqrt(2 / INPUTS),  # for the rectifiers of this test
}
"""The standard deviation that the variance argument of each asks for. A new kind needs its line here."""


def started(initializer: Initializer, activation: Activation, dtype: Any = np.float64) -> dict[str, Array]:
    """Every tensor of a network before its first step."""
    layout = lay_out(stack(OUTPUTS, 10, activation=activation, normalization=BatchNorm()), INPUTS)
    state = TrainState.start(layout, SGD(), initializer, dtype, seed=5)
    return layout.named_parameters(state.parameters) | layout.named_buffers(state.buffers)


@each_initializer
def test_initial_weights_have_their_mean_spread_and_bound(initializer: Initializer) -> None:
    weight, std = started(initializer, ReLU())["layers.0.weight"], SPREAD[initializer.name()](initializer)
    assert abs(weight.mean()) <= 4 * std / math.sqrt(weight.size)
    assert_close(weight.std(), std, 4 / math.sqrt(2 * weight.size))
    if initializer.name().endswith("uniform"):
        bound = math.sqrt(3) * std
        assert 0.999 * bound < np.abs(weight).max() <= bound
    elif std:
        assert np.abs(weight).max() > 3.5 * std, "normals are not truncated"


@each_initializer
def test_everything_beside_the_weights_starts_neutral(initializer: Initializer) -> None:
    tensors = started(initializer, ReLU())
    for role in ("bias", "norm.beta", "norm.running_mean"):
        assert (tensors[f"layers.0.{role}"] == 0).all()
    for role in ("norm.gamma", "norm.running_variance"):
        assert (tensors[f"layers.0.{role}"] == 1).all()


@each_initializer
def test_float32_starts_where_float64_does(initializer: Initializer) -> None:
    double, single = started(initializer, ReLU()), started(initializer, ReLU(), np.float32)
    for name, values in double.items():
        assert single[name].dtype == np.float32
        assert np.array_equal(single[name], values.astype(np.float32))


@each_activation
def test_auto_follows_the_activation(activation: Activation) -> None:
    chosen: dict[str, Initializer] = {"he": HeNormal(), "glorot": GlorotUniform(), "lecun": LecunNormal()}
    initializers = (Auto(), chosen[activation.gain_family])
    auto, expected = (started(initializer, activation)["layers.0.weight"] for initializer in initializers)
    assert np.array_equal(auto, expected)


@each_initializer
def test_inputs_that_are_always_zero_start_with_zero_weights(initializer: Initializer) -> None:
    layout = lay_out(stack(4, 2, activation=Tanh()), 6)
    lit = np.array([True, False, True, True, False, True])
    plain, partly = (TrainState.start(layout, SGD(), initializer, np.float64, 0, mask) for mask in (None, lit))
    before, after = (layout.named_parameters(state.parameters) for state in (plain, partly))
    assert (after["layers.0.weight"][~lit] == 0).all()
    assert np.array_equal(after["layers.0.weight"][lit], before["layers.0.weight"][lit])
    assert np.array_equal(after["layers.1.weight"], before["layers.1.weight"])
    assert np.array_equal(partly.parameters, partly.best_parameters)


def test_weights_from_a_file_are_taken_as_they_are(tmp_path: Path) -> None:
    layout = lay_out(stack(2, 1, activation=Tanh()), 3)
    source = TrainState.start(layout, SGD(), Normal(), np.float64, seed=1)
    path = tmp_path / "start.safetensors"
    safetensors.numpy.save_file(layout.named_parameters(source.parameters), path)
    lit = np.array([True, False, True])
    state = TrainState.start(layout, SGD(), FromFile(path=str(path)), np.float64, seed=2, active=lit)
    assert np.array_equal(state.parameters, source.parameters)


# -- normalization


@each_dtype
@each_normalization
def test_normalized_values_get_their_mean_and_spread(normalization: Normalization, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    z = (100 + 5 * rng.standard_normal((40, 30))).astype(dtype)
    gamma, beta = np.full(30, 3, dtype), np.full(30, -2, dtype)
    ws, before = normalization.workspace(np.empty_like(z)), z.copy()
    running = {RUNNING_MEAN: np.zeros(30, dtype), RUNNING_VARIANCE: np.ones(30, dtype)}
    normalization.forward(z, {GAMMA: gamma, BETA: beta}, running, ws, training=True)
    axis = {(30,): 0, (40, 1): 1}[normalization.statistics_shape((40, 30))]
    assert_close(z.mean(axis=axis), -2.0, EPS[dtype], scale=10.0)
    assert_close(z.std(axis=axis), 3.0, 1e-3)
    assert_close(ws.mean.reshape(-1), before.mean(axis=axis), EPS[dtype])
    if normalization.running:
        assert (running[RUNNING_MEAN] == 0).all(), "training computes only; update_running moves the running statistics"


def test_batch_norm_evaluates_by_the_running_statistics() -> None:
    norm, z = BatchNorm(), np.array([[10.0], [14.0]])
    running = {RUNNING_MEAN: np.array([8.0]), RUNNING_VARIANCE: np.array([4.0 - norm.eps])}
    norm.forward(z, {GAMMA: np.ones(1), BETA: np.zeros(1)}, running, norm.workspace(np.empty_like(z)), training=False)
    assert_close(z, [[1.0], [3.0]], 1e-14)
    assert running[RUNNING_MEAN] == 8


def test_layer_norm_is_the_same_for_a_row_alone() -> None:
    norm, rows = LayerNorm(), np.random.default_rng(0).standard_normal((5, 8))
    together, alone = rows.copy(), rows[2:3].copy()
    for z, training in ((together, True), (alone, False)):
        norm.forward(z, {GAMMA: np.ones(8), BETA: np.zeros(8)}, {}, norm.workspace(np.empty_like(z)), training)
    assert_close(alone, together[2:3], 1e-14)


# -- dropout


@each_dtype
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
def test_dropped_units_are_zero_and_kept_ones_make_up_for_them(probability: float, dtype: Any) -> None:
    mask = np.empty((400, 250), dtype)
    draw_mask(probability, np.random.default_rng(0), mask)
    assert_close(np.unique(mask), [0, 1 / (1 - probability)], EPS[dtype])
    spread = math.sqrt(probability / (1 - probability) / mask.size)
    assert abs(mask.mean(dtype=np.float64) - 1) < 4 * spread, "the expected activation is unchanged"


# -- penalties, clipping, schedules

each_penalty = pytest.mark.parametrize(
    "penalty", [Penalty(), Penalty(l1=0.3), Penalty(l2=0.2), Penalty(l1=0.3, l2=0.2)], ids=str
)


@each_penalty
def test_penalty_is_that_of_the_textbook(penalty: Penalty) -> None:
    weights = np.array([1.0, -2.0, 0.5])
    assert_close(penalty.value(weights), penalty.l1 * 3.5 + penalty.l2 * 5.25, 1e-15)


@each_penalty
def test_penalty_gradient_is_the_slope_in_blocks_of_any_size(penalty: Penalty) -> None:
    weights, h = np.random.default_rng(0).standard_normal(11), 1e-5
    slope = [(penalty.value(weights + h * e) - penalty.value(weights - h * e)) / (2 * h) for e in np.eye(11)]
    for size in (1, 4, 11):
        grad = np.full(11, 7.0)
        penalty.add_gradient(weights, grad, np.empty(size))
        assert_close(grad - 7, slope, 1e-8, scale=1.0)


def test_a_weight_of_zero_has_no_penalty_gradient() -> None:
    grad = np.zeros(2)
    Penalty(l1=1.0, l2=1.0).add_gradient(np.array([0.0, -0.0]), grad, np.empty(2))
    assert grad.tolist() == [0.0, 0.0]


@each_dtype
def test_clipping_shortens_and_never_lengthens(dtype: Any) -> None:
    for limit, expected in ((1.0, [0.6, 0.8]), (5.0, [3.0, 4.0]), (10.0, [3.0, 4.0])):
        gradient = np.array([3.0, 4.0], dtype)
        clip_norm(gradient, limit)
        assert_close(gradient, expected, EPS[dtype])
    zero = np.zeros(3, dtype)
    clip_norm(zero, 1.0)
    assert not zero.any()


def test_a_long_gradient_is_measured_in_float64() -> None:
    gradient = np.full(4, 1e30, np.float32)  # its squares overflow float32
    with np.errstate(over="ignore"):
        assert_close(squared_norm(gradient), 4e60, 1e-6)
        clip_norm(gradient, 1.0)
    assert_close(gradient, [0.5] * 4, 2e-6)


@each(Schedule, "schedule", without=(OneCycle,))  # it begins low by itself
def test_schedule_rises_through_its_warm_up_and_stays_between_zero_and_one(schedule: Schedule) -> None:
    warm = schedule.model_copy(update={"warmup": 4})
    assert [warm.at(epoch, 20, 1) for epoch in range(4)] == [0.25, 0.5, 0.75, 1.0]
    after = [warm.at(epoch, 20, 1) for epoch in range(4, 40)]
    assert after[0] == schedule.at(0, 16, 1) == 1.0
    assert all(0 <= factor <= 1 for factor in after)


def test_cosine_falls_from_one_over_one_half_to_its_floor() -> None:
    assert [Cosine().at(epoch, 10, 1) for epoch in (0, 5, 10, 15)] == pytest.approx([1.0, 0.5, 0.0, 0.0], abs=1e-15)
    assert [Cosine(floor=0.2).at(epoch, 10, 1) for epoch in (0, 5, 10)] == pytest.approx([1.0, 0.6, 0.2])


def test_constant_is_constant() -> None:
    assert {Constant().at(epoch, 5, 1) for epoch in range(10)} == {1.0}


# -- settings that are refused, each with what must be said

NO_MOMENTUM = "needs momentum above 0: give momentum a value, or remove nesterov"
NO_EPS = "cannot be 0 together with eps_root: a gradient of zero would give 0/0"
REFUSED: list[tuple[type[Frozen], dict[str, Any], str, str]] = [
    (LeakyReLU, {"slope": -0.1}, "slope", "Input should be greater than or equal to 0"),
    (BinaryCrossEntropy, {"label_smoothing": 1.0}, "label_smoothing", "Input should be less than 1"),
    (CrossEntropy, {"label_smoothing": -0.1}, "label_smoothing", "Input should be greater than or equal to 0"),
    (SGD, {"learning_rate": 0.0}, "learning_rate", "Input should be greater than 0"),
    (SGD, {"learning_rate": "0.1"}, "learning_rate", "Input should be a valid number"),
    (SGD, {"learning_rate": True}, "learning_rate", "Input should be a valid number"),
    (SGD, {"learning_rate": math.nan}, "learning_rate", "Input should be a finite number"),
    (SGD, {"learning_rate": math.inf}, "learning_rate", "Input should be a finite number"),
    (SGD, {"momentum": 0.9}, "momentum", "Extra inputs are not permitted"),
    (Momentum, {"momentum": 1.0}, "momentum", "Input should be less than 1"),
    (Momentum, {"momentum": -0.1}, "momentum", "Input should be greater than or equal to 0"),
    (
        Momentum,
        {"momentum": 0.0, "nesterov": True},
        "nesterov",
        NO_MOMENTUM,
    ),
    (Momentum, {"nesterov": 1}, "nesterov", "Input should be a valid boolean"),
    (AdaGrad, {"eps": 0.0}, "eps", NO_EPS),
    (AdaGrad, {"eps_root": -1e-8}, "eps_root", "Input should be greater than or equal to 0"),
    (Adam, {"beta1": 1.0}, "beta1", "Input should be less than 1"),
    (Adam, {"beta2": 1.0}, "beta2", "Input should be less than 1"),
    (Adam, {"beta1": -0.1}, "beta1", "Input should be greater than or equal to 0"),
    (
        Adam,
        {"eps": 0.0, "eps_root": 0.0},
        "eps",
        NO_EPS,
    ),
    (Adam, {"eps": -1e-8}, "eps", "Input should be greater than or equal to 0"),
    (BatchNorm, {"eps": 0.0}, "eps", "Input should be greater than 0"),
    (BatchNorm, {"momentum": 0.0}, "momentum", "Input should be greater than 0"),
    (BatchNorm, {"momentum": 1.1}, "momentum", "Input should be less than or equal to 1"),
    (LayerNorm, {"eps": 0.0}, "eps", "Input should be greater than 0"),
    (Normal, {"std": 0.0}, "std", "Input should be greater than 0"),
    (FromFile, {}, "path", "Field required"),
    (GlorotUniform, {"kind": "he_normal"}, "kind", "Input should be 'glorot_uniform'"),
    (Cosine, {"floor": 1.1}, "floor", "Input should be less than or equal to 1"),
    (Cosine, {"warmup": -1}, "warmup", "Input should be greater than or equal to 0"),
    (Cosine, {"warmup": 2.0}, "warmup", "Input should be a valid integer"),
    (Penalty, {"l1": -0.1}, "l1", "Input should be greater than or equal to 0"),
    (Penalty, {"l2": -0.1}, "l2", "Input should be greater than or equal to 0"),
    (Penalty, {"l2": math.nan}, "l2", "Input should be a finite number"),
    (NetworkSpec, {"dropout": 1.0}, "dropout", "Input should be less than 1"),
    (NetworkSpec, {"dropout": -0.1}, "dropout", "Input should be greater than or equal to 0"),
    (Dense, {"width": 8, "dropout": 1.0}, "dropout", "Input should be less than 1"),
    (Dense, {"width": 0}, "width", "Input should be greater than or equal to 1"),
]


def mistakes(model: type[Frozen], settings: dict[str, Any]) -> list[tuple[str, str]]:
    """Where each mistake is and what is said of it."""
    with pytest.raises(ValidationError) as caught:
        model(**settings)
    return [(".".join(map(str, error["loc"])), error["msg"]) for error in caught.value.errors()]


@pytest.mark.parametrize(("model", "settings", "place", "message"), REFUSED, ids=label)
def test_refused_setting(model: type[Frozen], settings: dict[str, Any], place: str, message: str) -> None:
    found = mistakes(model, settings)
    assert [where for where, _ in found] == [place]
    assert message in found[0][1]


def outside_their_bounds() -> Iterator[tuple[type[Component], str, float]]:
    """For every bound of every setting of every variant, the nearest value that breaks it."""
    for variant in (variant for family in FAMILIES for variant in variants(family)):
        for name, field in variant.model_fields.items():
            whole = field.annotation is int
            for bound in field.metadata:
                if isinstance(bound, Gt | Lt):
                    limit = bound.gt if isinstance(bound, Gt) else bound.lt
                    yield variant, name, cast(float, limit)
                elif isinstance(bound, Ge):
                    yield variant, name, cast(float, bound.ge) - (1 if whole else 1e-9)
                elif isinstance(bound, Le):
                    yield variant, name, cast(float, bound.le) + (1 if whole else 1e-9)


@pytest.mark.parametrize(("variant", "name", "value"), list(outside_their_bounds()), ids=label)
def test_no_setting_may_leave_its_bounds(variant: type[Component], name: str, value: float) -> None:
    assert [where for where, _ in mistakes(variant, {name: value})] == [name]


def real_settings() -> Iterator[tuple[type[Component], str]]:
    for variant in (variant for family in FAMILIES for variant in variants(family)):
        yield from ((variant, name) for name, field in variant.model_fields.items() if field.annotation is float)


@pytest.mark.parametrize(("variant", "name"), list(real_settings()), ids=label)
def test_real_settings_are_finite_and_never_converted(variant: type[Component], name: str) -> None:
    for wrong in (math.nan, math.inf, -math.inf, "1", None, True, [1.0]):
        assert [where for where, _ in mistakes(variant, {name: wrong})] == [name]


@pytest.mark.parametrize("family", FAMILIES, ids=label)
def test_components_are_frozen_and_know_their_settings(family: type[Component]) -> None:
    for component in example_instances(family):
        with pytest.raises(ValidationError, match="frozen"):
            component.__setattr__("kind", component.name())
        assert ("no_such", "Extra inputs are not permitted") in mistakes(type(component), {"no_such": 1})
