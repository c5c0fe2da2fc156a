"""What happens in one training step?

    gradient, + L1/L2, finite?, clip, decoupled decay, optimizer, running statistics, moving average

The check comes before the update: a step that is not finite is never applied. Nothing here allocates an array: views
are bound once, buffers are overwritten.
"""

from __future__ import annotations

import math

import numpy as np

from mlptrain.errors import Diverged
from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.layout import Layout
from mlptrain.nn.network import Network
from mlptrain.optim.clipping import clip_norm, squared_norm
from mlptrain.optim.optimizers import BLOCK, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import DropoutStream
from mlptrain.train.state import TrainState


class Step:
    """One training step on the arrays of `state`, which it changes in place."""

    def __init__(
        self,
        network: Network,
        state: TrainState,
        optimizer: Optimizer,
        penalty: Penalty,
        clip: float | None,
        dropout: DropoutStream,
        clip_value: float | None = None,
        averaging: float | None = None,
    ) -> None:
        layout = network.layout
        self._network, self._state = network, state
        self._optimizer, self._penalty, self._dropout = optimizer, penalty, dropout
        self._clip, self._clip_value, self._averaging = clip, clip_value, averaging
        self.gradient = np.zeros_like(state.parameters)
        self._views, self._gradient_views = layout.views(state.parameters), layout.views(self.gradient)
        self._running = layout.running(state.buffers)
        self._weights, self._weight_gradient = (
            state.parameters[: layout.weight_size],
            self.gradient[: layout.weight_size],
        )
        self._slots = tuple(state.slots[name] for name in optimizer.slots)
        self._scratch = np.empty(min(BLOCK, state.parameters.size), state.parameters.dtype)
        self._penalized = bool(penalty.l1 or penalty.l2)
        self._drops = network.stochastic
        self.squared_norm = 0.0
        """Of the last gradient, with penalties, before clipping."""

    @np.errstate(all="ignore")  # an overflow ends in a loss or gradient that is not finite, which is checked
    def __call__(
        self, x: Array, target: Target, learning_rate: float, layer_norms: bool = False, weights: Weights = None
    ) -> float:
        """Train on one batch; the loss before the update.

        `layer_norms` also notes the gradient norm of each layer; `weights` (n,) tell how much each row counts.
        """
        network, state = self._network, self._state
        rng = self._dropout.at(state.progress.step) if self._drops else None
        network.forward(x, self._views, self._running, training=True, rng=rng)
        loss = float(network.backward(x, target, self._views, self._gradient_views, weights))
        if self._penalized:
            self._penalty.add_gradient(self._weights, self._weight_gradient, self._scratch)
        self.squared_norm = squared_norm(self.gradient)
        if not (math.isfinite(loss) and math.isfinite(self.squared_norm)):
            raise Diverged(divergence(network.layout, self.gradient, loss, state))
        if layer_norms:
            state.progress.layer_norms = [
                math.sqrt(squared_norm(weights)) for weights in network.layout.layer_weights(self.gradient)
            ]
        if self._clip is not None:
            clip_norm(self.gradient, self._clip)
        if self._clip_value is not None:
            kernels.clip(self.gradient, -self._clip_value, self._clip_value, out=self.gradient)
        state.progress.step += 1
        self._optimizer.decay(self._weights, learning_rate)
        self._optimizer.step(
            state.parameters, self.gradient, self._slots, self._scratch, learning_rate, state.progress.step
        )
        if state.buffers.size:
            network.update_running(self._running, len(x))
        if self._averaging is not None and state.average is not None:
            move_towards(state.average, state.parameters, self._averaging, state.progress.step, self._scratch)
        return loss


def move_towards(average: Array, parameters: Array, decay: float, t: int, scratch: Array) -> None:
    """average <- d average + (1 - d) parameters, with d the smaller of `decay` and (1 + t) / (10 + t)."""
    share = 1 - min(decay, (1 + t) / (10 + t))
    for start in range(0, average.size, scratch.size):
        part = average[start : start + scratch.size]
        room = scratch[: part.size]
        np.subtract(parameters[start : start + scratch.size], part, out=room)
        np.multiply(room, share, out=room)
        np.add(part, room, out=part)


def divergence(layout: Layout, gradient: Array, loss: float, state: TrainState) -> str:
    """What went wrong first, where, and what helps."""
    bad = next(
        (name for name, view in layout.named_parameters(gradient).items() if not np.isfinite(view).all()),
        None,
    )
    what = f"the gradient of {bad} is not finite" if bad else "the gradient is too long for a number"
    what = what if math.isfinite(loss) else f"the loss is {loss}"
    return (
        f"training diverged in epoch {state.progress.epoch}, step {state.progress.step}: {what}; "
        "the step was not applied. "
        "Lower optimizer.learning_rate, set training.clip_norm: 1.0, or check the scale of the inputs"
    )
