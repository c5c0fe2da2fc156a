"""What happens in one training step?

    gradient, + L1/L2, finite?, clip, decoupled decay, optimizer, running statistics, moving average

The check comes before the update: a step that is not finite is never applied. A step allocates no arrays: views are
created once, buffers are overwritten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.errors import Diverged
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.layout import LayerViews, Layout, some_members
from mlptrain.nn.losses import LossValue
from mlptrain.nn.network import Network
from mlptrain.optim.clipping import clip_norm, clip_norm_of_members, clip_value, squared_norm
from mlptrain.optim.optimizers import BLOCK, Optimizer, Piece
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import DropoutStream
from mlptrain.remedies import after_divergence
from mlptrain.spec.plan import Plan
from mlptrain.spec.sections import Training
from mlptrain.training.events import Consumer, PartDone, part_listener
from mlptrain.training.state import TrainState


@dataclass(frozen=True)
class Update:
    """The settings by which a step turns the gradient of the loss into an update."""

    optimizer: Optimizer
    penalty: Penalty
    training: Training = field(default_factory=Training)
    """For the clipping and the moving average."""
    lanes: int = 1
    """Threads among which the members are divided."""

    @classmethod
    def of(cls, plan: Plan) -> Update:
        """The settings of `plan`."""
        return cls(plan.optimizer, plan.penalty, plan.training, plan.lanes)


NONE: list[float] = []


class Step:
    """One training step on the arrays of `state`. The loop updates the counters."""

    def __init__(
        self,
        network: Network,
        state: TrainState,
        update: Update,
        dropout: DropoutStream,
        consumers: Sequence[Consumer] = (),
    ) -> None:
        layout = network.layout
        self._network, self._state, self._update, self._dropout = network, state, update, dropout
        self.gradient = np.zeros_like(state.parameters)
        self._views, self._gradient_views = layout.views(state.parameters), layout.views(self.gradient)
        self._running = layout.running(state.buffers)
        self._weights, self._weight_gradient = (v[: layout.weight_size] for v in (state.parameters, self.gradient))
        self._layer_gradients = layout.layer_weights(self.gradient)
        self._scratch = np.empty(min(BLOCK, state.parameters.size), state.parameters.dtype)
        slots = [state.slots[name] for name in update.optimizer.slots]
        self._pieces = list(pieces_with_rates(update, layout, [state.parameters, self.gradient, *slots], self._scratch))
        self._members = prod(layout.members)
        self._clips = update.training.clips
        self._ema_decay = None if update.training.ema is None else update.training.ema.decay
        self._penalized = bool(update.penalty.l1 or update.penalty.l2)
        self._drops = network.stochastic
        self._part = part = part_listener(consumers)
        lanes = update.lanes if part is None and not self._drops else 1
        self._lanes = Lanes(network, self._views, self._gradient_views, self._running, lanes) if lanes > 1 else None
        self._on_forward = None if part is None else partial(part, "forward")
        self._on_backward = None if part is None else partial(tell_backward, part, len(network.layers))
        self.squared_norm = 0.0
        """The squared norm of the last gradient, with penalties, before clipping; of several members, the mean."""
        self.layer_squared_norms = NONE
        """The same for the weights of each layer, in the steps that compute it."""

    def __call__(self, x: Array, target: Target, learning_rate: float, weights: Weights = None) -> float:
        """Train on one batch; returns the loss before the update, the mean over the members. `weights` are row weights.

        An overflow gives a loss or gradient that is not finite, which is checked. Whoever runs many steps turns off
        NumPy's warnings around all of them, since doing so in each step would cost a microsecond.
        """
        loss = self._differentiate(x, target, weights)
        self._check(loss)
        if self._clips:
            self._clip()
        self._apply(learning_rate, x.shape[-2])
        return loss

    def _differentiate(self, x: Array, target: Target, weights: Weights) -> float:
        """Compute the gradient of the objective; returns the loss."""
        network, part = self._network, self._part
        loss: LossValue
        if self._lanes is not None:
            loss = self._lanes.differentiate(x, target, weights)
        else:
            rng = self._dropout.at(self._state.progress.step) if self._drops else None
            network.forward(x, self._views, self._running, True, rng, self._on_forward)
            loss = network.backward(x, target, self._views, self._gradient_views, weights, None, self._on_backward)
        if network.layout.members:
            loss = float(loss.mean())
        if self._penalized:
            self._update.penalty.add_gradient(self._weights, self._weight_gradient, self._scratch)
        if part is not None:
            part("penalty", 0)
        return float(loss)

    def _check(self, loss: float) -> None:
        """Refuse a step that is not finite."""
        self.squared_norm = squared_norm(self.gradient) / self._members
        if not math.isfinite(loss + self.squared_norm):
            raise Diverged(divergence(self._update, self.gradient, loss, self._state))
        wanted = self._state.progress.computes_layer_norms
        parts = self._layer_gradients if wanted else ()
        self.layer_squared_norms = [squared_norm(part) / self._members for part in parts] if parts else NONE

    def _clip(self) -> None:
        """Clip the gradient."""
        training = self._update.training
        if training.clip_norm is not None and self._network.layout.shares:
            clip_norm(self.gradient, training.clip_norm)
        elif training.clip_norm is not None and self._members > 1:
            clip_norm_of_members(
                list(self._network.layout.named_parameters(self.gradient).values()), training.clip_norm
            )
        elif training.clip_norm is not None:
            clip_norm(self.gradient, training.clip_norm, math.sqrt(self.squared_norm))
        if training.clip_value is not None:
            clip_value(self.gradient, training.clip_value)

    def _apply(self, learning_rate: float, rows: int) -> None:
        """Update parameters, running statistics and moving averages."""
        state, optimizer, part = self._state, self._update.optimizer, self._part
        t = state.progress.step - state.progress.optimizer_start + 1
        if part is not None:
            part("clip", 0)
        optimizer.decay(self._weights, learning_rate)
        for (w, g, slots, scratch), factor in self._pieces:
            optimizer.update(w, g, slots, scratch, learning_rate * factor, t)
        if part is not None:
            part("optimizer", 0)
        if state.buffers.size:
            (self._lanes or self._network).update_running(self._running, rows)
        if self._ema_decay is not None and state.ema is not None:
            for average, now in zip(state.ema, (state.parameters, state.buffers), strict=True):
                update_ema(average, now, self._ema_decay, t, self._scratch)
        if part is not None:
            part("averages", 0)


class Lane(NamedTuple):
    """Some members, which one thread computes."""

    members: slice
    network: Network
    views: Sequence[LayerViews]
    gradients: Sequence[LayerViews]
    running: Sequence[LayerViews]


class Lanes:
    """The forward and backward pass of an ensemble on several threads, each with some of the members.

    Members share nothing, so the numbers do not depend on the number of threads. NumPy releases the lock of the
    interpreter in products and loops over arrays.
    """

    def __init__(
        self,
        network: Network,
        views: Sequence[LayerViews],
        gradients: Sequence[LayerViews],
        running: Sequence[LayerViews],
        number: int,
    ) -> None:
        members = prod(network.layout.members)
        ends = [members * i // number for i in range(number + 1)]
        self._lanes = [
            Lane(
                part,
                network.of_members(part.stop - part.start),
                *(some_members(v, part) for v in (views, gradients, running)),
            )
            for part in map(slice, ends[:-1], ends[1:])
        ]
        self._threads = ThreadPoolExecutor(number - 1, thread_name_prefix="member")

    def differentiate(self, x: Array, target: Target, weights: Weights) -> NDArray[np.float64]:
        """The loss (members,) of the batch of each member; writes the gradient of every parameter."""
        first, *others = self._lanes
        running = [self._threads.submit(differentiate_lane, lane, x, target, weights) for lane in others]
        losses = [differentiate_lane(first, x, target, weights), *(future.result() for future in running)]
        return np.concatenate(losses)

    def update_running(self, running: Sequence[LayerViews], rows: int) -> None:
        """Update the running statistics with those of the last batch."""
        for lane in self._lanes:
            lane.network.update_running(lane.running, rows)


@np.errstate(all="ignore")  # of this thread: an overflow is found by the step, not by a warning
def differentiate_lane(lane: Lane, x: Array, target: Target, weights: Weights) -> NDArray[np.float64]:
    """Forward and backward pass of the members of one lane."""
    part = lane.members
    x, target, weights = x[part], target[part], None if weights is None else weights[part]
    lane.network.forward(x, lane.views, lane.running, True)
    return np.asarray(lane.network.backward(x, target, lane.views, lane.gradients, weights))


def pieces_with_rates(
    update: Update, layout: Layout, vectors: Sequence[Array], scratch: Array
) -> Iterator[tuple[Piece, float]]:
    """The pieces of an update, each with the factor of its learning rate; `vectors` are parameters, gradient, slots."""
    optimizer = update.optimizer
    if update.training.rates == "uniform":
        w, g, *slots = vectors
        yield from ((piece, 1.0) for piece in optimizer.pieces(w, g, slots, scratch, layout.separate_tensors))
        return
    for tensor in layout.parameters:
        w, g, *slots = (vector[tensor.start : tensor.stop] for vector in vectors)
        pieces = optimizer.pieces(w, g, slots, scratch, tensor._replace(start=0).separate)
        yield from ((piece, tensor.spec.ntk_rate) for piece in pieces)


def tell_backward(part: PartDone, layers: int, i: int) -> None:
    """Tell `part` that the backward pass of layer `i` is done, or that of the loss if `i` is the number of layers."""
    if i == layers:
        part("loss", 0)
    else:
        part("backward", i)


def update_ema(average: Array, now: Array, decay: float, t: int, scratch: Array) -> None:
    """average <- d average + (1 - d) now, with d = min(decay, (1 + t) / (10 + t))."""
    share = 1 - min(decay, (1 + t) / (10 + t))
    for start in range(0, average.size, scratch.size):
        part = average[start : start + scratch.size]
        difference = scratch[: part.size]
        np.subtract(now[start : start + scratch.size], part, out=difference)
        np.multiply(difference, share, out=difference)
        np.add(part, difference, out=part)


def divergence(update: Update, gradient: Array, loss: float, state: TrainState) -> str:
    """A message: what is not finite, where, and the remedy."""
    bad = next(
        (name for name, view in state.layout.named_parameters(gradient).items() if not np.isfinite(view).all()),
        None,
    )
    what = f"the gradient of {bad} is not finite" if bad else "the gradient norm overflowed"
    what = what if math.isfinite(loss) else f"the loss is {loss}"
    return (
        f"training diverged in epoch {state.progress.epoch}, step {state.progress.step}: {what}; "
        f"the step was not applied. {after_divergence(update.optimizer.learning_rate, update.training.clips)}, "
        "or check the scale of the inputs"
    )
