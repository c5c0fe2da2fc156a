"""How does a network compute its scores and its gradient?

A network is a sequence of layers whose parameters are in flat vectors: the forward pass goes from the first layer to
the last, then comes the loss, then the backward pass by the chain rule. Beside them there may be a linear path from the
inputs to the scores, z = MLP(x) + x L, so that the layers only learn what a linear model cannot. Several networks of
the same architecture can be computed side by side (`members`); they share no parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.layers import Layer
from mlptrain.nn.layout import LayerViews, Layout, TensorSpec
from mlptrain.nn.losses import Loss, LossValue

LINEAR = "linear"
"""The name of the tensor L of the linear path, which is laid out after the last layer."""


class Pass(NamedTuple):
    """The backward pass of one layer, with those of its arguments that do not depend on the batch."""

    layer: int
    backward: Callable[..., None]
    ws: Any
    below: Array | None
    """The input of the layer; None for the first layer, whose input is the batch"""
    below_grad: Array | None
    """Receives dL/d(below)"""


@dataclass
class Workspace:
    """The buffers of the forward and the backward pass for a batch of n rows."""

    layers: list[Any]
    """The `LayerWorkspace` of each layer"""
    loss: Any
    forward: list[Callable[..., Array]]
    """The method of each layer; looked up once, since attribute access of a frozen component is slow"""
    backward: list[Pass]
    """Last layer first"""
    linear: Array | None
    """(..., n, outputs): the scores of the linear path; None without one"""


class Network:
    """A sequence of layers with a loss. It owns buffers, but no parameters."""

    def __init__(
        self,
        layers: Sequence[Layer],
        inputs: int,
        loss: Loss,
        dtype: Any,
        members: int | None = None,
        class_weights: NDArray[np.floating[Any]] | None = None,
        linear: bool = False,
    ) -> None:
        self.layers = tuple(layers)
        self.sizes = sizes(layers, inputs)
        """The number of inputs, then the units of each layer."""
        self.layout = lay_out(layers, inputs, members, linear)
        self.linear = linear
        """Whether there is a linear path."""
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self.class_weights = class_weights
        self._workspaces: dict[int, Workspace] = {}
        self.alone = self if members is None else Network(layers, inputs, loss, dtype, None, class_weights, linear)
        """The network of one member."""
        self._arguments = layers, inputs, loss, dtype

    def of_members(self, number: int) -> Network:
        """The same network with another number of members."""
        return Network(*self._arguments, number, self.class_weights, self.linear)

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.sizes[0]

    @property
    def outputs(self) -> int:
        """Number of scores per row."""
        return self.sizes[-1]

    @property
    def stochastic(self) -> bool:
        """Whether training draws random numbers."""
        return any(layer.stochastic for layer in self.layers)

    def workspace(self, rows: int) -> Workspace:
        """The buffers for batches of `rows` rows, allocated when that size is first seen."""
        if rows not in self._workspaces:
            self._workspaces[rows] = self._allocate(rows)
        return self._workspaces[rows]

    def forward(
        self,
        x: Array,
        views: Sequence[LayerViews],
        running: Sequence[LayerViews],
        training: bool,
        rng: np.random.Generator | None = None,
        on_layer: Callable[[int], object] | None = None,
    ) -> Array:
        """The scores (..., n, outputs) of the rows `x`, in a buffer that the next call overwrites.

        Members may share `x` (n, inputs) or have one each (members, n, inputs). In training, normalization uses the
        batch statistics and `rng` draws the dropout masks; without `rng` the last masks are reused. Otherwise
        normalization uses the `running` statistics and there is no dropout. `on_layer` is called with the number of
        each layer after its forward pass, and with that of the linear path, which is the number of layers.
        """
        ws = self.workspace(x.shape[-2])
        inputs = x
        for i, (forward, tensors, stats, here) in enumerate(zip(ws.forward, views, running, ws.layers, strict=False)):
            x = forward(x, tensors, stats, here, training, rng)
            if on_layer is not None:
                on_layer(i)
        if ws.linear is not None:
            kernels.product(inputs, views[-1][LINEAR], ws.linear)
            np.add(x, ws.linear, out=x)
            if on_layer is not None:
                on_layer(len(self.layers))
        return x

    def backward(
        self,
        x: Array,
        target: Target,
        views: Sequence[LayerViews],
        gradients: Sequence[LayerViews],
        weights: Weights = None,
        input_grad: Array | None = None,
        on_layer: Callable[[int], object] | None = None,
    ) -> LossValue:
        """The loss of the batch of the last `forward` in training; writes the gradient of every parameter.

        `x` is that batch, `target` its encoded target, `weights` its row weights. `input_grad` (..., n, inputs), if
        given, receives dL/dx. `on_layer` is called with the number of layers after the derivative with respect to the
        scores, then with the number of each layer after its backward pass, last layer first.
        """
        ws = self.workspace(x.shape[-2])
        last = ws.layers[-1]
        loss = self.loss.value_and_gradient(last.output, target, last.grad, ws.loss, weights)
        if on_layer is not None:
            on_layer(len(ws.layers))
        if ws.linear is not None:
            kernels.weight_gradient(x, last.grad, gradients[-1][LINEAR])
            if input_grad is not None:
                through_linear = np.matmul(last.grad, views[-1][LINEAR].mT)
        for i, backward, here, below, below_grad in ws.backward:
            if below is None:
                below, below_grad = x, input_grad
            backward(below, views[i], gradients[i], here, below_grad)
            if on_layer is not None:
                on_layer(i)
        if input_grad is not None and ws.linear is not None:
            np.add(input_grad, through_linear, out=input_grad)
        return loss

    def update_running(self, running: Sequence[LayerViews], rows: int) -> None:
        """Update the running statistics with those of the last batch, of `rows` rows; `forward` does not."""
        for layer, kept, here in zip(self.layers, running, self.workspace(rows).layers, strict=False):
            if kept:
                layer.update_running(kept, here, rows)

    def scores_at_zero(self) -> Array:
        """The scores (outputs,) when the parameters of the last layer are zero."""
        return np.full(self.outputs, self.layers[-1].at_zero(), self.dtype)

    def _allocate(self, rows: int) -> Workspace:
        batch = (*self.layout.members, rows)
        shared = np.empty(prod(batch) * max(self.sizes[1:]), self.dtype)
        scratch = [shared[: prod(batch) * units].reshape(*batch, units) for units in self.sizes[1:]]
        declared = zip(self.layers, self.sizes, scratch, strict=False)
        layers = [layer.workspace(inputs, buffer) for layer, inputs, buffer in declared]
        below = [(None, None), *((here.output, here.grad) for here in layers)]
        passes = [Pass(i, layer.backward, layers[i], *below[i]) for i, layer in enumerate(self.layers)]
        return Workspace(
            layers,
            self.loss.workspace((*batch, self.outputs), self.dtype, self.class_weights),
            [layer.forward for layer in self.layers],
            passes[::-1],
            np.empty((*batch, self.outputs), self.dtype) if self.linear else None,
        )


def sizes(layers: Sequence[Layer], inputs: int) -> tuple[int, ...]:
    """The number of inputs, then the units of each layer."""
    found = [inputs]
    for layer in layers:
        found.append(layer.units(found[-1]))
    return tuple(found)


def lay_out(layers: Sequence[Layer], inputs: int, members: int | None = None, linear: bool = False) -> Layout:
    """The layout of all tensors that `layers` declare, and of the linear path if there is one."""
    widths = sizes(layers, inputs)
    pairs = list(zip(layers, widths, strict=False))
    path = TensorSpec(LINEAR, (inputs, widths[-1]), by_input=True, ntk_inputs=inputs, ntk_factor=0.1)
    parameters = [*(layer.tensors(k) for layer, k in pairs), *([(path,)] if linear else [])]
    return Layout(parameters, [*(layer.buffers(k) for layer, k in pairs), *([()] if linear else [])], members)
