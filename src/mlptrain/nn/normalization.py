"""How are pre-activations normalized, over the rows of a batch or over the units of a layer?

Both compute x_hat = (z - mean) / sqrt(variance + eps) and z' = gamma x_hat + beta, before the activation, with the
biased variance. gamma and beta are (units,). A dense layer before batch normalization keeps its bias, which has no
effect: subtracting the batch mean cancels it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array
from mlptrain.nn.layout import LayerViews, TensorSpec

GAMMA, BETA = "norm.gamma", "norm.beta"
RUNNING_MEAN, RUNNING_VARIANCE = "norm.running_mean", "norm.running_variance"


@dataclass
class NormWorkspace:
    """What the forward pass stores for the backward pass, for a batch of n rows."""

    x_hat: Array
    """(..., n, units)"""
    inverse_std: Array
    """(units,) for batch normalization, (..., n, 1) for layer normalization"""
    mean: Array
    """the shape of inverse_std"""
    variance: Array
    """the shape of inverse_std"""
    other: Array
    """the shape of inverse_std; another mean"""
    ones: Array
    """(n,)"""
    scratch: Array
    """(..., n, units), overwritten by both passes"""


class Normalization(Component):
    """Shifts and scales pre-activations; learns gamma (scale) and beta (shift)."""

    running: ClassVar[bool] = False
    """Whether it keeps running statistics for evaluation; a batch then needs two rows."""

    @abstractmethod
    def statistics_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the mean and the variance for a batch of `shape` (..., n, units)."""

    @abstractmethod
    def forward(self, z: Array, tensors: LayerViews, running: LayerViews, ws: NormWorkspace, training: bool) -> None:
        """Normalize `z` (..., n, units) in place; in evaluation with the `running` mean and variance."""

    @abstractmethod
    def backward(self, grad: Array, tensors: LayerViews, grads: LayerViews, ws: NormWorkspace) -> None:
        """Turn dL/dz' in `grad` into dL/dz in place; write the gradients of gamma and beta."""

    def update_running(self, running: LayerViews, ws: NormWorkspace, rows: int) -> None:  # most have none
        """Update the running mean and variance with those of the last batch, of `rows` rows."""

    def tensors(self, units: int) -> tuple[TensorSpec, ...]:
        """Its parameters: gamma and beta."""
        return TensorSpec(GAMMA, (units,), start=1.0), TensorSpec(BETA, (units,))

    def buffers(self, units: int) -> tuple[TensorSpec, ...]:
        """Its running statistics."""
        if not self.running:
            return ()
        return TensorSpec(RUNNING_MEAN, (units,)), TensorSpec(RUNNING_VARIANCE, (units,), start=1.0, minimum=0.0)

    def workspace(self, scratch: Array) -> NormWorkspace:
        """Buffers for batches of the shape of `scratch`, which both passes overwrite."""
        shape, dtype = self.statistics_shape(scratch.shape), scratch.dtype
        return NormWorkspace(
            x_hat=np.empty_like(scratch),
            inverse_std=np.empty(shape, dtype),
            mean=np.empty(shape, dtype),
            variance=np.empty(shape, dtype),
            other=np.empty(shape, dtype),
            ones=np.ones(scratch.shape[-2], dtype),
            scratch=scratch,
        )


def invert_std(variance: Array, eps: float, out: Array) -> None:
    """Write 1 / sqrt(variance + eps) into `out`."""
    np.add(variance, eps, out=out)
    np.sqrt(out, out=out)
    np.divide(1, out, out=out)


def scale_and_shift(ws: NormWorkspace, tensors: LayerViews, z: Array) -> None:
    """Write gamma x_hat + beta into `z`."""
    np.multiply(ws.x_hat, tensors[GAMMA], out=z)
    np.add(z, tensors[BETA], out=z)


def sum_gradients(grad: Array, grads: LayerViews, ws: NormWorkspace) -> None:
    """Write the gradients of gamma, the sum over rows of `grad` x_hat, and of beta, that of `grad`."""
    np.multiply(grad, ws.x_hat, out=ws.scratch)
    kernels.sum_rows(ws.scratch, ws.ones, out=grads[GAMMA])
    kernels.sum_rows(grad, ws.ones, out=grads[BETA])


SCALE = r"\frac{\partial L}{\partial \gamma} = \sum_r G_r \odot \hat x_r"
SHIFT = r"\frac{\partial L}{\partial \beta} = \sum_r G_r"


class BatchNorm(Normalization):
    """Batch normalization: mean and biased variance of each unit over the rows of the batch.

    Training uses the statistics of the batch and updates the running ones, r <- (1 - momentum) r + momentum * batch,
    where the running variance uses the unbiased estimate, n/(n-1) times the biased one (Ioffe & Szegedy 2015, p. 4;
    PyTorch). Keras uses the biased one and calls 1 - momentum "momentum". Evaluation uses the running statistics. A
    batch of a single row has no variance and is refused.
    """

    kind: Literal["batch"] = "batch"
    formula: ClassVar = (
        r"z' = \gamma \odot \hat x + \beta, \qquad \hat x = \frac{z - \mu}{s}, \qquad s = \sqrt{v + \epsilon}",
        r"\mathrm{training:} \quad \mu = \frac{1}{n} \sum_r z_r, \qquad v = \frac{1}{n} \sum_r (z_r - \mu)^2",
        r"\mathrm{evaluation:} \quad \mu = \mu_{\mathrm{run}}, \quad v = v_{\mathrm{run}}",
        r"\mu_{\mathrm{run}} \leftarrow (1 - \alpha) \mu_{\mathrm{run}} + \alpha \mu, \quad \alpha = \mathrm{momentum}",
        r"v_{\mathrm{run}} \leftarrow (1 - \alpha) v_{\mathrm{run}} + \alpha \frac{n}{n - 1} v",
        r"\delta = \frac{\gamma}{s} \odot (G - \mathrm{mean}(G) - \hat x \odot \mathrm{mean}(G \odot \hat x))",
        r"G = \frac{\partial L}{\partial z'}, \qquad \mathrm{mean\ over\ the\ rows}",
        SCALE,
        SHIFT,
    )
    aliases: ClassVar = ("batch_norm",)
    eps: float = Field(1e-5, gt=0, description="Added to the variance.")
    momentum: float = Field(0.1, gt=0, le=1, description="Weight of the new batch in the running statistics.")
    examples: ClassVar = ({}, {"eps": 1e-3, "momentum": 0.5})
    running: ClassVar = True

    def statistics_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        *members, _, units = shape
        return (*members, 1, units) if members else (units,)

    def forward(self, z: Array, tensors: LayerViews, running: LayerViews, ws: NormWorkspace, training: bool) -> None:
        if training:
            self._batch_statistics(z, ws)
        else:
            np.subtract(z, running[RUNNING_MEAN], out=ws.x_hat)
            invert_std(running[RUNNING_VARIANCE], self.eps, ws.inverse_std)
        np.multiply(ws.x_hat, ws.inverse_std, out=ws.x_hat)
        scale_and_shift(ws, tensors, z)

    def _batch_statistics(self, z: Array, ws: NormWorkspace) -> None:
        """Write z - mean into `x_hat`, and mean, variance and 1 / std over the rows."""
        n = z.shape[-2]
        if n < 2:
            raise ValueError("a batch of one row has no variance for batch normalization")
        kernels.sum_rows(z, ws.ones, out=ws.mean)
        np.divide(ws.mean, n, out=ws.mean)
        np.subtract(z, ws.mean, out=ws.x_hat)
        np.multiply(ws.x_hat, ws.x_hat, out=ws.scratch)
        kernels.sum_rows(ws.scratch, ws.ones, out=ws.variance)
        np.divide(ws.variance, n, out=ws.variance)
        invert_std(ws.variance, self.eps, ws.inverse_std)

    def update_running(self, running: LayerViews, ws: NormWorkspace, rows: int) -> None:
        unbiased = rows / (rows - 1)
        for name, new, factor in ((RUNNING_MEAN, ws.mean, 1.0), (RUNNING_VARIANCE, ws.variance, unbiased)):
            kept = running[name]
            np.multiply(kept, 1 - self.momentum, out=kept)
            np.multiply(new, self.momentum * factor, out=ws.other)
            np.add(kept, ws.other, out=kept)

    def backward(self, grad: Array, tensors: LayerViews, grads: LayerViews, ws: NormWorkspace) -> None:
        # dz = gamma / std * (g - mean(g) - x_hat * mean(g x_hat)), the means over the rows
        n = grad.shape[-2]
        sum_gradients(grad, grads, ws)
        np.divide(grads[GAMMA], n, out=ws.other)
        np.multiply(ws.x_hat, ws.other, out=ws.scratch)
        np.subtract(grad, ws.scratch, out=grad)
        np.divide(grads[BETA], n, out=ws.other)
        np.subtract(grad, ws.other, out=grad)
        np.multiply(tensors[GAMMA], ws.inverse_std, out=ws.other)
        np.multiply(grad, ws.other, out=grad)


class LayerNorm(Normalization):
    """Layer normalization: mean and biased variance over the units, separately for each row.

    Ba, Kiros & Hinton 2016. The same in training and evaluation, at any batch size; no running statistics.
    """

    kind: Literal["layer"] = "layer"
    formula: ClassVar = (
        r"z' = \gamma \odot \hat x + \beta, \qquad \hat x = \frac{z - \mu}{s}, \qquad s = \sqrt{v + \epsilon}",
        r"\mu_r = \frac{1}{N} \sum_j z_{rj}, \qquad v_r = \frac{1}{N} \sum_j (z_{rj} - \mu_r)^2",
        r"\delta = \frac{1}{s} \odot (h - \mathrm{mean}(h) - \hat x \odot \mathrm{mean}(h \odot \hat x))",
        r"h = \gamma \odot G, \qquad G = \frac{\partial L}{\partial z'}, \qquad \mathrm{mean\ over\ the\ units}",
        SCALE,
        SHIFT,
    )
    aliases: ClassVar = ("layer_norm",)
    eps: float = Field(1e-5, gt=0, description="Added to the variance.")
    examples: ClassVar = ({}, {"eps": 1e-3})

    def statistics_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], 1)

    def forward(self, z: Array, tensors: LayerViews, running: LayerViews, ws: NormWorkspace, training: bool) -> None:
        np.mean(z, axis=-1, keepdims=True, out=ws.mean)
        np.subtract(z, ws.mean, out=ws.x_hat)
        np.multiply(ws.x_hat, ws.x_hat, out=ws.scratch)
        np.mean(ws.scratch, axis=-1, keepdims=True, out=ws.variance)
        invert_std(ws.variance, self.eps, ws.inverse_std)
        np.multiply(ws.x_hat, ws.inverse_std, out=ws.x_hat)
        scale_and_shift(ws, tensors, z)

    def backward(self, grad: Array, tensors: LayerViews, grads: LayerViews, ws: NormWorkspace) -> None:
        # dz = (h - mean(h) - x_hat * mean(h x_hat)) / std with h = gamma g, the means over the units
        sum_gradients(grad, grads, ws)
        np.multiply(grad, tensors[GAMMA], out=grad)
        np.mean(grad, axis=-1, keepdims=True, out=ws.mean)
        np.multiply(grad, ws.x_hat, out=ws.scratch)
        np.mean(ws.scratch, axis=-1, keepdims=True, out=ws.other)
        np.multiply(ws.x_hat, ws.other, out=ws.scratch)
        np.subtract(grad, ws.scratch, out=grad)
        np.subtract(grad, ws.mean, out=grad)
        np.multiply(grad, ws.inverse_std, out=grad)
