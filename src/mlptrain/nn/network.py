"""How are scores computed from inputs, and the gradient from scores?

Forward, layer by layer:   z = x W + b,  z <- norm(z),  a = f(z),  x_next = dropout(a).
Backward, by the chain rule, with grad = dL/dz of a layer:   dW = x' grad,  db = sum over rows of grad,  dx = grad W'.
x is (n, inputs), W (inputs, units), b (units,); z, a and grad are (n, units).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.dropout import draw_mask
from mlptrain.nn.layout import Layer, LayerViews, Layout
from mlptrain.nn.losses import Loss, LossWorkspace
from mlptrain.nn.normalization import NormWorkspace

Running = Sequence[tuple[Array, Array] | None]
"""Running mean and variance of each layer, None where a layer keeps none."""


@dataclass
class LayerWorkspace:
    """The arrays of one layer for a batch of n rows; each (n, units)."""

    z: Array
    a: Array
    mask: Array | None
    """dropout: 0 or 1/(1 - p) for each unit of each row"""
    output: Array
    """what the next layer sees: `a` itself, or `a` times the mask"""
    grad: Array
    scratch: Array
    norm: NormWorkspace | None


@dataclass
class Workspace:
    """Everything that forward and backward write to for a batch of n rows."""

    layers: list[LayerWorkspace]
    loss: LossWorkspace
    ones: Array
    """(n,): a product with it sums over the rows"""


class Network:
    """The computation of a layout with a loss. It owns room to work in, and no parameter."""

    def __init__(self, layout: Layout, loss: Loss, dtype: Any) -> None:
        self.layout = layout
        self.loss = loss
        self.dtype = np.dtype(dtype)
        self._workspaces: dict[int, Workspace] = {}

    def workspace(self, rows: int) -> Workspace:
        """The buffers for batches of `rows` rows, allocated when that size is first seen."""
        if rows not in self._workspaces:
            self._workspaces[rows] = self._allocate(rows)
        return self._workspaces[rows]

    def forward(
        self,
        x: Array,
        views: Sequence[LayerViews],
        running: Running,
        training: bool,
        rng: np.random.Generator | None = None,
    ) -> Array:
        """The scores (n, outputs) of the rows `x` (n, inputs): a buffer that the next call overwrites.

        In training, batch statistics normalize and `rng` draws the dropout masks; without `rng` the masks of the last
        call are used again. Otherwise the `running` statistics normalize and nothing is dropped.
        """
        ws = self.workspace(len(x))
        for layer, views_of_layer, stats, here in zip(self.layout.layers, views, running, ws.layers, strict=True):
            np.matmul(x, views_of_layer.weight, out=here.z)
            np.add(here.z, views_of_layer.bias, out=here.z)
            if layer.normalization is not None:
                gamma, beta, norm = views_of_layer.gamma, views_of_layer.beta, here.norm
                assert gamma is not None and beta is not None and norm is not None
                layer.normalization.forward(here.z, gamma, beta, stats, norm, here.scratch, training)
            layer.activation.forward(here.z, here.a, here.scratch)
            x = here.a
            if here.mask is not None and training:
                if rng is not None:
                    draw_mask(layer.dropout, rng, here.mask)
                np.multiply(here.a, here.mask, out=here.output)
                x = here.output
        return x

    def backward(
        self,
        x: Array,
        target: Target,
        views: Sequence[LayerViews],
        gradients: Sequence[LayerViews],
        input_grad: Array | None = None,
    ) -> float:
        """The loss of the batch of the last `forward` in training; writes the gradient of every parameter.

        `x` is that batch, `target` what the loss compares with. `input_grad` (n, inputs), where given, takes dL/dx.
        """
        ws = self.workspace(len(x))
        last = len(ws.layers) - 1
        loss = self.loss.value_and_gradient(ws.layers[last].output, target, ws.layers[last].grad, ws.loss)
        for i in range(last, -1, -1):
            layer, here, grads = self.layout.layers[i], ws.layers[i], gradients[i]
            grad = here.grad
            if here.mask is not None:
                np.multiply(grad, here.mask, out=grad)
            layer.activation.backward(here.z, here.a, grad, here.scratch)
            if layer.normalization is not None:
                gamma = views[i].gamma
                assert (
                    gamma is not None and grads.gamma is not None and grads.beta is not None and here.norm is not None
                )
                layer.normalization.backward(grad, gamma, grads.gamma, grads.beta, here.norm, here.scratch)
            below = ws.layers[i - 1].output if i > 0 else x
            np.matmul(below.T, grad, out=grads.weight)
            np.matmul(ws.ones, grad, out=grads.bias)
            below_grad = ws.layers[i - 1].grad if i > 0 else input_grad
            if below_grad is not None:
                np.matmul(grad, views[i].weight.T, out=below_grad)
        return loss

    def update_running(self, running: Running, rows: int) -> None:
        """Move the running statistics towards those of the last batch, of `rows` rows; `forward` only computes."""
        for layer, kept, here in zip(self.layout.layers, running, self.workspace(rows).layers, strict=True):
            if layer.normalization is not None and kept is not None and here.norm is not None:
                layer.normalization.update_running(kept, here.norm, rows)

    def _allocate(self, rows: int) -> Workspace:
        layers = self.layout.layers
        widest = max(layer.units for layer in layers)
        shared = np.empty(rows * widest, self.dtype)
        return Workspace(
            [self._allocate_layer(layer, rows, shared) for layer in layers],
            LossWorkspace.allocate(rows, layers[-1].units, self.dtype),
            np.ones(rows, self.dtype),
        )

    def _allocate_layer(self, layer: Layer, rows: int, shared: Array) -> LayerWorkspace:
        shape = (rows, layer.units)
        a = np.empty(shape, self.dtype)
        dropped = layer.dropout > 0
        return LayerWorkspace(
            z=np.empty(shape, self.dtype),
            a=a,
            mask=np.empty(shape, self.dtype) if dropped else None,
            output=np.empty(shape, self.dtype) if dropped else a,
            grad=np.empty(shape, self.dtype),
            scratch=shared[: rows * layer.units].reshape(shape),
            norm=layer.normalization.workspace(rows, layer.units, self.dtype) if layer.normalization else None,
        )
