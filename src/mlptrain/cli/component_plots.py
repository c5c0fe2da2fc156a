"""Which plot shows what a component does?

One function for each family whose variants can be seen, so that one of a plugin is drawn as well. All numbers come from
the component itself with its default settings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.cli.chart import Curve, Line, draw
from mlptrain.cli.contour import Surface, draw_paths
from mlptrain.component import Component
from mlptrain.data.scalers import Scaler
from mlptrain.nn.activations import Activation, ReLU
from mlptrain.nn.arrays import Array
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.layout import Layout, TensorSpec
from mlptrain.nn.losses import Loss
from mlptrain.numbers import brief
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.schedules import Schedule
from mlptrain.randomness import stream

Values = NDArray[np.float64]
EPOCHS, STALLS = 60, 20
"""Of the run that a schedule is drawn for, and the epoch at which its validation loss stops falling."""
INPUTS, UNITS = 100, 50
"""Of the layer of relu that an initializer is drawn for."""
STEPS, START, STEEP = 40, (-4.0, 1.5), 12.0
"""Of an optimizer in the ravine (u^2 + 12 v^2) / 2."""
RATES = tuple(factor * 10.0**power for power in range(-4, 2) for factor in (1, 2, 5))
"""The learning rates that an optimizer may choose from."""
POINTS = 241


class Picture(NamedTuple):
    """A plot that fits any width, and what it shows in words."""

    lines: Callable[[int, int], list[Line]]
    """Of a width and a height in letters."""
    caption: str


@singledispatch
def picture(component: Component) -> Picture | None:
    """The plot of a component; None for a family that has none."""
    return None


@picture.register
def of_activation(activation: Activation) -> Picture:
    """f and f', and where the kinks are."""
    z = np.linspace(-4, 4, POINTS)
    kinks = ", ".join(f"{kink:g}" for kink in activation.kinks)
    caption = f"Not differentiable at z = {kinks}." if kinks else "Smooth everywhere."
    return curves({"f(z)": activation(z), "f'(z)": activation.derivative(z)}, z, "z", caption)


@picture.register
def of_loss(loss: Loss) -> Picture | None:
    """The loss of one row and its derivative, as the score moves away from the target."""
    z = np.linspace(-4, 4, POINTS)
    if loss.target_kind == "class":
        found = {"loss": slopes(loss, z, np.zeros(1, np.intp), others=1)}
        caption = "z is the score of the true class of two; the score of the other one is 0."
    elif loss.target_kind == "binary":
        found = {f"loss for y = {y}": slopes(loss, z, np.full((1, 1), float(y))) for y in (1, 0)}
        caption = "z is the score, y the target."
    elif loss.target_kind == "value":
        y = 2.0 if loss.has_link or loss.outside_domain(np.zeros((1, 1))) is not None else 0.0
        found = {"loss": slopes(loss, z, np.full((1, 1), y))}
        caption = f"z is the score, and the target is {y:g}."
    else:
        return None
    drawn = {name: both[0] for name, both in found.items()}
    drawn |= {name.replace("loss", "derivative"): both[1] for name, both in found.items()}
    return curves(drawn, z, "z", caption)


def slopes(loss: Loss, z: Values, target: NDArray[np.generic], others: int = 0) -> tuple[Values, Values]:
    """The loss at each score `z`, and its derivative; `others` scores after it stay 0."""
    values, derivatives = np.empty_like(z), np.empty_like(z)
    moving = loss.outputs(1)
    ws = loss.workspace((1, moving + others), z.dtype)
    for i, score in enumerate(z):
        scores = np.array([[score] * moving + [0.0] * others])
        grad = np.empty_like(scores)
        values[i] = loss.value_and_gradient(scores, target, grad, ws)
        derivatives[i] = grad[0, :moving].sum()
    return values, derivatives


@picture.register
@np.errstate(all="ignore")  # at a rate that is too large
def of_optimizer(optimizer: Optimizer) -> Picture:
    """The path of an optimizer over a ravine, at the rate with the lowest mean height on the way."""
    paths = {rate: descent(optimizer, rate) for rate in RATES}
    heights = {rate: ravine(*path.T) for rate, path in paths.items()}
    best = min(RATES, key=lambda rate: mean if math.isfinite(mean := float(heights[rate].mean())) else math.inf)
    surface = Surface(ravine, (-5.0, 5.0), (-2.5, 2.5), ("w1", "w2"), (0.0, 0.0))
    curve = Curve(optimizer.name(), paths[best][:, 0].tolist(), paths[best][:, 1].tolist())
    first, last = (brief(float(height)) for height in heights[best][[0, -1]])
    caption = (
        f"{STEPS} steps down the ravine L = (w1^2 + {STEEP:g} w2^2) / 2, from {first} to {last}. Of {len(RATES)} "
        f"learning rates from {RATES[0]:g} to {RATES[-1]:g}, {best:g} has the lowest mean of L on the way."
    )
    return Picture(lambda width, height: draw_paths(surface, [curve], width, height), caption)


def ravine(u: Values | float, v: Values | float) -> Values:
    """A bowl that is much steeper across than along."""
    return np.asarray((np.square(u) + STEEP * np.square(v)) / 2)


def descent(optimizer: Optimizer, rate: float) -> Values:
    """(steps + 1, 2): the weights after each step of the real optimizer."""
    w, g, scratch = np.array(START), np.empty(2), np.empty(2)
    slots = [np.zeros(2) for _ in optimizer.slots]
    pieces = optimizer.pieces(w, g, slots, scratch, lambda vector: {"weight": vector.reshape(2, 1)})
    passed = [w.copy()]
    for t in range(1, STEPS + 1):
        g[:] = w[0], STEEP * w[1]
        optimizer.decay(w, rate)
        for piece in pieces:
            optimizer.update(*piece, rate, t)
        passed.append(w.copy())
    return np.stack(passed)


@picture.register
def of_initializer(initializer: Initializer) -> Picture | None:
    """A histogram of the weights that an initializer draws for a layer, beside the deviations of theory."""
    spec = TensorSpec("weight", (INPUTS, UNITS), INPUTS, UNITS, ReLU(), decays=True)
    layout = Layout([[spec]], [[]])
    weights: Array = layout.neutral_parameters(np.float64)
    initializer.start(layout, weights, np.empty(0), stream(0, "init"))
    spread = float(weights.std())
    ends = (-4 * spread, 4 * spread) if spread else (-1.0, 1.0)
    counts, edges = np.histogram(weights, 41, ends)
    theory = {"He": 2 / INPUTS, "Glorot": 2 / (INPUTS + UNITS), "LeCun": 1 / INPUTS}
    said = ", ".join(f"{name} {brief(math.sqrt(variance))}" for name, variance in theory.items())
    caption = (
        f"{len(weights):,} weights of a layer of {INPUTS} inputs and {UNITS} units of relu: standard deviation "
        f"{brief(spread)}, mean {brief(float(weights.mean()))}. Theory for this layer: {said}."
    )
    steps = Curve("weights", np.repeat(edges, 2)[1:-1].tolist(), np.repeat(counts, 2).astype(float).tolist())
    return Picture(lambda width, height: draw([steps], width, height, "W"), caption)


@picture.register
def of_schedule(schedule: Schedule) -> Picture:
    """The factor of the learning rate by epoch."""
    epochs, state, factors = np.arange(EPOCHS, dtype=float), schedule.start(), list[float]()
    for epoch in range(EPOCHS):
        factors.append(schedule.at(epoch, EPOCHS, 1, state))
        state = schedule.observe(state, max(0.0, 1 - epoch / STALLS), higher_is_better=False)
    caption = f"The factor of the learning rate in a run of {EPOCHS} epochs"
    caption += f" whose validation loss stops falling at epoch {STALLS}." if state else "."
    return curves({"factor": np.array(factors)}, epochs, "epoch", caption)


@picture.register
def of_scaler(scaler: Scaler) -> Picture:
    """What becomes of the values of a skewed column."""
    share = (np.arange(1, POINTS + 1) - 0.5) / POINTS
    values = np.exp(3.5 - 2.2 * np.log(-2 * np.log(share)) / 2)  # many small values and a long tail
    sample = np.sort(values)[:, None]
    scaled = scaler.apply(sample, scaler.fit(sample))[:, 0]
    shown = slice(0, int(0.97 * POINTS))
    caption = (
        f"A skewed column: half of its values are below {brief(float(np.median(sample)))}, the largest is "
        f"{brief(float(sample[-1, 0]))}; drawn without the largest 3 %."
    )
    return curves({"scaled value": scaled[shown]}, sample[shown, 0], "x", caption)


def curves(found: dict[str, Values], x: Values, x_label: str, caption: str) -> Picture:
    """A plot of some functions of `x`."""
    drawn = [Curve(name, x.tolist(), values.tolist()) for name, values in found.items()]
    return Picture(lambda width, height: draw(drawn, width, height, x_label), caption)


def picture_of(variant: type[Component]) -> Picture | None:
    """The plot of a variant with its defaults; None where a setting has none."""
    needed = any(field.is_required() for field in variant.model_fields.values())
    return None if needed else picture(variant())
