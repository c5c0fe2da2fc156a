"""What do several test files share: a trainer in one line, a batch to go with it, and a close comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mlptrain import gradcheck
from mlptrain.component import Component
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.initializers import GlorotUniform, Initializer
from mlptrain.nn.layers import Layer
from mlptrain.nn.losses import Loss
from mlptrain.nn.network import Network
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import SGD, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import DropoutStream
from mlptrain.spec.sections import Training
from mlptrain.training.state import TrainState
from mlptrain.training.step import Step, Update


def label(value: object) -> str:
    """A readable test id: of a component, the variant with the settings that differ from its defaults."""
    if value is None:
        return "none"
    return value.label() if isinstance(value, Component) else getattr(value, "__name__", str(value))


class Architecture(NamedTuple):
    """Layers, and the number of inputs that they get."""

    inputs: int
    layers: list[Layer]


def stack(
    inputs: int,
    *widths: int,
    activation: Activation,
    normalization: Normalization | None = None,
    dropout: float = 0.0,
) -> Architecture:
    """Hidden layers of one kind and a linear output layer, for the sizes from input to output."""
    layers = gradcheck.stack(*widths, activation=activation, normalization=normalization, dropout=dropout)
    return Architecture(inputs, layers)


class CountedStep:
    """A training step that counts itself, as the loop would."""

    def __init__(self, state: TrainState, step: Step) -> None:
        self._state, self._step = state, step

    def __call__(self, x: Array, target: Target, learning_rate: float, weights: Array | None = None) -> float:
        loss = self._step(x, target, learning_rate, weights)
        norms = self._step.squared_norm, self._step.layer_squared_norms
        self._state.progress.count_step(loss, len(x), *norms)
        return loss

    @property
    def gradient(self) -> Array:
        """Of the last batch, as the optimizer left it."""
        return self._step.gradient

    @property
    def squared_norm(self) -> float:
        """Of the last gradient."""
        return self._step.squared_norm


@dataclass
class Trainer:
    """A network with its state, ready to be trained: `trainer.step(x, target, learning_rate)`."""

    network: Network
    state: TrainState
    step: CountedStep

    def tensors(self) -> dict[str, Array]:
        """Every parameter by name, as views."""
        return self.network.layout.named_parameters(self.state.parameters)

    def gradient(self, x: Array, target: Target) -> Array:
        """The gradient of the loss alone (size,), as a new vector; nothing is changed."""
        layout, gradient = self.network.layout, np.empty_like(self.state.parameters)
        views, running = layout.views(self.state.parameters), layout.running(self.state.buffers)
        self.network.forward(x, views, running, training=True)
        self.network.backward(x, target, views, layout.views(gradient))
        return gradient

    def evaluate(self, x: Array) -> Array:
        """The scores as a trained model gives them: running statistics, no dropout."""
        layout = self.network.layout
        views, running = layout.views(self.state.parameters), layout.running(self.state.buffers)
        return self.network.forward(x, views, running, training=False).copy()


def trainer(
    architecture: Architecture,
    loss: Loss,
    optimizer: Optimizer | None = None,
    penalty: Penalty | None = None,
    clip: float | None = None,
    dtype: Any = np.float64,
    initializer: Initializer | None = None,
    seed: int = 0,
) -> Trainer:
    """A network that starts from random weights; what is not given is plain gradient descent."""
    optimizer = optimizer or SGD()
    network = Network(architecture.layers, architecture.inputs, loss, dtype)
    state = TrainState.start(network.layout, optimizer, initializer or GlorotUniform(), dtype, seed)
    step = Step(network, state, Update(optimizer, penalty or Penalty(), Training(clip_norm=clip)), DropoutStream(seed))
    return Trainer(network, state, CountedStep(state, step))


def random_batch(network: Network, rows: int, seed: int = 0) -> tuple[Array, Target]:
    """Inputs and targets that suit `network`; read-only, since nothing may ever write to them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, network.inputs)).astype(network.dtype)
    target = network.loss.random_target(rows, network.outputs, rng)
    if network.loss.target_kind != "class":
        target = target.astype(network.dtype)
    return read_only(x), read_only(target)


def read_only(array: Array) -> Array:
    """The same array, which now raises when it is written to."""
    array.setflags(write=False)
    return array


def assert_close(actual: ArrayLike, expected: ArrayLike, relative: float, scale: float = 0.0) -> None:
    """Each entry differs by at most `relative` times its own size, or times `scale` where that is larger."""
    found, wanted = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    np.testing.assert_allclose(found, wanted, rtol=relative, atol=relative * scale)


def apply_step(
    optimizer: Optimizer, w: Array, g: Array, slots: Sequence[Array], scratch: Array, learning_rate: float, t: int
) -> None:
    """Update one tensor `w` in place, piece by piece; overwrites `g` and `scratch`."""
    for piece in optimizer.pieces(w, g, slots, scratch, lambda vector: {"w": vector}):
        optimizer.update(*piece, learning_rate, t)
