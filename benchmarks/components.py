"""What does each optimizer, activation and loss cost? Nanoseconds an element, of every example in the catalogue."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from benchmarks.machine import describe
from benchmarks.peers import NUMPY_LOOPS
from benchmarks.worker import in_own_process
from mlptrain.component import example_instances
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array
from mlptrain.nn.losses import Loss
from mlptrain.optim.optimizers import Optimizer

ROWS, UNITS = 1563, 128
"""Of an activation's layer; as many elements, 200,064, are the parameters of an optimizer."""
OUTPUTS, SCORES = 10, 2560
"""Of a loss: columns, unless it has columns of its own, and about how many scores in all."""
MOST_ROUNDS = 100


class Case(NamedTuple):
    """What to do before, what to time, and how many elements it is about."""

    before: Callable[[], object]
    call: Callable[[], object]
    elements: int


def measure(seconds: float) -> dict[str, Any]:
    """Nanoseconds an element of each family, with the compiled loops and without; about `seconds` for each."""
    families: dict[str, Any] = in_own_process(measure_here, seconds)
    with_numpy: dict[str, Any] = in_own_process(measure_here, seconds, variables=NUMPY_LOOPS)
    return {"machine": describe([]), "families": families, "with_numpy": with_numpy}


def measure_here(seconds: float) -> dict[str, dict[str, list[float]]]:
    """The figures of the families, measured in this process."""
    return {family: in_turn(cases, seconds) for family, cases in families().items()}


def families() -> dict[str, dict[str, Case]]:
    """The cases of each family, by the label of the component."""
    activations = {one.label(): passes(one) for one in example_instances(Activation)}
    return {
        "optimizer": {one.label(): optimizer_case(one) for one in example_instances(Optimizer)},
        "activation, forward": {label: forward for label, (forward, _) in activations.items()},
        "activation, backward": {label: backward for label, (_, backward) in activations.items()},
        "loss": {one.label(): loss_case(one) for one in example_instances(Loss)},
    }


def in_turn(cases: Mapping[str, Case], seconds: float) -> dict[str, list[float]]:
    """Nanoseconds an element of each case, one after the other, round after round."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    end = time.perf_counter() + seconds
    for _ in range(MOST_ROUNDS):
        for name, case in cases.items():
            case.before()
            start = time.perf_counter()
            case.call()
            taken[name].append(1e9 * (time.perf_counter() - start) / case.elements)
        if time.perf_counter() > end:
            break
    return taken


def normal(*shape: int) -> Array:
    """Normal numbers in float32."""
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def optimizer_case(optimizer: Optimizer) -> Case:
    """A step; the gradient, which it uses up, is fresh each time."""
    w, fresh = normal(ROWS * UNITS), normal(ROWS * UNITS)
    g, scratch, slots = np.empty_like(w), np.empty_like(w), [np.zeros_like(w) for _ in optimizer.slots]
    pieces = optimizer.pieces(w, g, slots, scratch, lambda vector: {"w": vector})
    steps = iter(range(1, 10**9))

    def step() -> None:
        optimizer.decay(w, 1e-3)
        t = next(steps)
        for piece in pieces:
            optimizer.update(*piece, 1e-3, t)

    return Case(lambda: np.copyto(g, fresh), step, w.size)


def passes(activation: Activation) -> tuple[Case, Case]:
    """Forward and backward, which overwrites what forward left."""
    fresh = normal(ROWS, UNITS)
    z, a, grad, scratch = (np.empty_like(fresh) for _ in range(4))

    def prepare() -> None:
        for array in (z, grad):
            np.copyto(array, fresh)
        activation.forward(z, a, scratch)

    return (
        Case(prepare, lambda: activation.forward(z, a, scratch), z.size),
        Case(prepare, lambda: activation.backward(z, a, grad, scratch), z.size),
    )


def loss_case(loss: Loss) -> Case:
    """Value and gradient of a batch."""
    outputs = loss.outputs(OUTPUTS)
    rows = SCORES // outputs
    scores, target = normal(rows, outputs), loss.random_target(rows, OUTPUTS, np.random.default_rng(0))
    if loss.target_kind != "class":
        target = target.astype(np.float32)
    grad, workspace = np.empty_like(scores), loss.workspace(scores.shape, scores.dtype)
    return Case(lambda: None, lambda: loss.value_and_gradient(scores, target, grad, workspace), scores.size)
