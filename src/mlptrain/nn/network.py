"""How are scores computed from inputs, and the gradient from scores?

Forward, layer by layer:   z = x W + b,  z <- norm(z),  a = f(z),  output = dropout(a) (+ x in a residual layer).
Backward, by the chain rule, with grad = dL/dz of a layer:   dW = x' grad,  db = sum over rows of grad,  dx = grad W'.
x is (n, inputs), W (inputs, units), b (units,); z, a and grad are (n, units).

Products are written as `x.dot(W, out=z)`: for small matrices the call alone of `numpy.matmul` costs as much again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlptrain import compiled
from mlptrain.nn.activations import Identity
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.dropout import draw_mask
from mlptrain.nn.layout import Layer, LayerViews, Layout
from mlptrain.nn.losses import Loss, LossWorkspace, Weights
from mlptrain.nn.normalization import NormWorkspace

Running = Sequence[tuple[Array, Array] | None]
"""Running mean and variance of each layer, None where a layer keeps none."""
OnLayer = Callable[[int], object]


@dataclass
class LayerWorkspace:
    """The arrays of one layer for a batch of n rows; each (n, units)."""

    z: Array
    a: Array
    """the identity's is `z` itself"""
    mask: Array | None
    """dropout: 0 or 1/(1 - p) for each unit of each row"""
    output: Array
    """what the next layer sees: `a`, times the mask where there is dropout, plus the input where it is residual"""
    grad: Array
    skip: Array | None
    """residual: the gradient that goes past the layer"""
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
        on_layer: OnLayer | None = None,
    ) -> Array:
        """The scores (n, outputs) of the rows `x` (n, inputs): a buffer that the next call overwrites.

        In training, batch statistics normalize and `rng` draws the dropout masks; without `rng` the masks of the last
        call are used again. Otherwise the `running` statistics normalize and nothing is dropped. `on_layer` is called
        with the number of each layer when it is done.
        """
        ws = self.workspace(len(x))
        numbers = range(len(ws.layers))
        for i, layer, tensors, stats, here in zip(numbers, self.layout.layers, views, running, ws.layers, strict=True):
            x = forward_layer(layer, tensors, stats, here, x, training, rng)
            if on_layer is not None:
                on_layer(i)
        return x

    def backward(
        self,
        x: Array,
        target: Target,
        views: Sequence[LayerViews],
        gradients: Sequence[LayerViews],
        weights: Weights = None,
        input_grad: Array | None = None,
        on_layer: OnLayer | None = None,
    ) -> float:
        """The loss of the batch of the last `forward` in training; writes the gradient of every parameter.

        `x` is that batch, `target` what the loss compares with, `weights` (n,) how much each row counts. `input_grad`
        (n, inputs), where given, takes dL/dx. `on_layer` is called with the number of layers once the derivative by the
        scores is there, then with the number of each layer when it is done, last layer first.
        """
        ws = self.workspace(len(x))
        last = len(ws.layers) - 1
        loss = self.loss.value_and_gradient(ws.layers[last].output, target, ws.layers[last].grad, ws.loss, weights)
        if on_layer is not None:
            on_layer(last + 1)
        for i in range(last, -1, -1):
            below, below_grad = (ws.layers[i - 1].output, ws.layers[i - 1].grad) if i > 0 else (x, input_grad)
            backward_layer(self.layout.layers[i], views[i], gradients[i], ws.layers[i], below, below_grad, ws.ones)
            if on_layer is not None:
                on_layer(i)
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
            self.loss.workspace(rows, layers[-1].units, self.dtype),
            np.ones(rows, self.dtype),
        )

    def _allocate_layer(self, layer: Layer, rows: int, shared: Array) -> LayerWorkspace:
        shape = (rows, layer.units)
        z = np.empty(shape, self.dtype)
        a = z if isinstance(layer.activation, Identity) else np.empty(shape, self.dtype)
        dropped = layer.dropout > 0
        return LayerWorkspace(
            z=z,
            a=a,
            mask=np.empty(shape, self.dtype) if dropped else None,
            output=np.empty(shape, self.dtype) if dropped or layer.residual else a,
            grad=np.empty(shape, self.dtype),
            skip=np.empty(shape, self.dtype) if layer.residual else None,
            scratch=shared[: rows * layer.units].reshape(shape),
            norm=layer.normalization.workspace(rows, layer.units, self.dtype) if layer.normalization else None,
        )


def forward_layer(
    layer: Layer,
    tensors: LayerViews,
    running: tuple[Array, Array] | None,
    ws: LayerWorkspace,
    x: Array,
    training: bool,
    rng: np.random.Generator | None,
) -> Array:
    """What the next layer sees (n, units), for the input `x` (n, inputs) of this one."""
    x.dot(tensors.weight, out=ws.z)
    if not compiled.add_row(ws.z, tensors.bias):
        np.add(ws.z, tensors.bias, out=ws.z)
    if layer.normalization is not None and ws.norm is not None:
        assert tensors.gamma is not None
        assert tensors.beta is not None
        layer.normalization.forward(ws.z, tensors.gamma, tensors.beta, running, ws.norm, ws.scratch, training)
    layer.activation.forward(ws.z, ws.a, ws.scratch)
    output = ws.a
    if ws.mask is not None and training:
        if rng is not None:
            draw_mask(layer.dropout, rng, ws.mask)
        output = np.multiply(ws.a, ws.mask, out=ws.output)
    if layer.residual:
        output = np.add(output, x, out=ws.output)
    return output


def backward_layer(
    layer: Layer,
    tensors: LayerViews,
    grads: LayerViews,
    ws: LayerWorkspace,
    x: Array,
    x_grad: Array | None,
    ones: Array,
) -> None:
    """Turn dL/d(output) in `ws.grad` into the gradients of this layer's tensors and, in `x_grad`, of its input `x`."""
    grad = ws.grad
    if ws.skip is not None:
        np.copyto(ws.skip, grad)
    if ws.mask is not None:
        np.multiply(grad, ws.mask, out=grad)
    layer.activation.backward(ws.z, ws.a, grad, ws.scratch)
    if layer.normalization is not None and ws.norm is not None:
        assert tensors.gamma is not None
        assert grads.gamma is not None
        assert grads.beta is not None
        layer.normalization.backward(grad, tensors.gamma, grads.gamma, grads.beta, ws.norm, ws.scratch)
    x.T.dot(grad, out=grads.weight)
    ones.dot(grad, out=grads.bias)
    if x_grad is not None:
        grad.dot(tensors.weight.T, out=x_grad)
        if ws.skip is not None:
            np.add(x_grad, ws.skip, out=x_grad)
