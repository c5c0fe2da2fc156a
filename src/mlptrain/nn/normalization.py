"""How are pre-activations normalized, over the rows of a batch or over the units of a layer?

Both compute x_hat = (z - mean) / sqrt(variance + eps) and z' = gamma x_hat + beta, before the activation, with the
biased variance. gamma and beta are (units,). A dense layer that feeds batch normalization keeps its bias in the file,
where it has no effect: the batch mean takes it out again.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn.arrays import Array


@dataclass
class NormWorkspace:
    """What the forward pass leaves for the backward pass, for a batch of n rows."""

    x_hat: Array
    """(n, units)"""
    inverse_std: Array
    """(units,) for batch normalization, (n, 1) for layer normalization"""
    mean: Array
    """the shape of inverse_std"""
    variance: Array
    """the shape of inverse_std"""
    other: Array
    """the shape of inverse_std; room for one more mean"""


class Normalization(Component):
    """Shifts and scales pre-activations; learns gamma (scale) and beta (shift)."""

    running: ClassVar[bool] = False
    """Whether running statistics are kept for evaluation."""

    @abstractmethod
    def statistics_shape(self, rows: int, units: int) -> tuple[int, ...]:
        """The shape of the mean and the variance for a batch."""

    @abstractmethod
    def forward(
        self,
        z: Array,
        gamma: Array,
        beta: Array,
        running: tuple[Array, Array] | None,
        ws: NormWorkspace,
        scratch: Array,
        training: bool,
    ) -> None:
        """Replace `z` (n, units) by its normalized value; `running` is the kept mean and variance, for evaluation."""

    @abstractmethod
    def backward(
        self,
        grad: Array,
        gamma: Array,
        gamma_grad: Array,
        beta_grad: Array,
        ws: NormWorkspace,
        scratch: Array,
    ) -> None:
        """Turn dL/dz' in `grad` into dL/dz in place; write the gradients of gamma and beta."""

    def update_running(self, running: tuple[Array, Array], ws: NormWorkspace, rows: int) -> None:  # most keep none
        """Move the kept mean and variance towards those of the last batch of `rows` rows."""

    def workspace(self, rows: int, units: int, dtype: np.dtype) -> NormWorkspace:
        """Buffers for a batch of `rows`."""
        shape = self.statistics_shape(rows, units)
        return NormWorkspace(np.empty((rows, units), dtype), *(np.empty(shape, dtype) for _ in range(4)))


def invert_std(variance: Array, eps: float, out: Array) -> None:
    """Write 1 / sqrt(variance + eps) into `out`."""
    np.add(variance, eps, out=out)
    np.sqrt(out, out=out)
    np.divide(1, out, out=out)


SCALE = r"\frac{\partial L}{\partial \gamma} = \sum_r G_r \odot \hat x_r"
SHIFT = r"\frac{\partial L}{\partial \beta} = \sum_r G_r"


class BatchNorm(Normalization):
    """Batch normalization: mean and biased variance of each unit over the rows of the batch.

    Training uses the statistics of the batch and moves the running ones, r <- (1 - momentum) r + momentum * batch,
    where the running variance takes the unbiased estimate, n/(n-1) times the biased one (Ioffe & Szegedy 2015, p. 4;
    PyTorch). Keras moves it towards the biased one and calls 1 - momentum "momentum". Evaluation uses the running
    statistics. A batch of a single row has no variance: such a batch is refused.
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

    def statistics_shape(self, rows: int, units: int) -> tuple[int, ...]:
        return (units,)

    def forward(
        self,
        z: Array,
        gamma: Array,
        beta: Array,
        running: tuple[Array, Array] | None,
        ws: NormWorkspace,
        scratch: Array,
        training: bool,
    ) -> None:
        if training:
            if len(z) < 2:
                raise ValueError("a batch of one row has no variance for batch normalization")
            np.mean(z, axis=0, out=ws.mean)
            np.subtract(z, ws.mean, out=ws.x_hat)
            np.multiply(ws.x_hat, ws.x_hat, out=scratch)
            np.mean(scratch, axis=0, out=ws.variance)
            invert_std(ws.variance, self.eps, ws.inverse_std)
        else:
            assert running is not None
            np.subtract(z, running[0], out=ws.x_hat)
            invert_std(running[1], self.eps, ws.inverse_std)
        np.multiply(ws.x_hat, ws.inverse_std, out=ws.x_hat)
        np.multiply(ws.x_hat, gamma, out=z)
        np.add(z, beta, out=z)

    def update_running(self, running: tuple[Array, Array], ws: NormWorkspace, rows: int) -> None:
        for kept, new, factor in zip(running, (ws.mean, ws.variance), (1, rows / (rows - 1)), strict=True):
            np.multiply(kept, 1 - self.momentum, out=kept)
            np.multiply(new, self.momentum * factor, out=ws.other)
            np.add(kept, ws.other, out=kept)

    def backward(
        self,
        grad: Array,
        gamma: Array,
        gamma_grad: Array,
        beta_grad: Array,
        ws: NormWorkspace,
        scratch: Array,
    ) -> None:
        # dz = gamma / std * (g - mean(g) - x_hat * mean(g x_hat)), the means over the rows
        n = len(grad)
        np.multiply(grad, ws.x_hat, out=scratch)
        np.add.reduce(scratch, axis=0, out=gamma_grad)
        np.add.reduce(grad, axis=0, out=beta_grad)
        np.divide(gamma_grad, n, out=ws.other)
        np.multiply(ws.x_hat, ws.other, out=scratch)
        np.subtract(grad, scratch, out=grad)
        np.divide(beta_grad, n, out=ws.other)
        np.subtract(grad, ws.other, out=grad)
        np.multiply(gamma, ws.inverse_std, out=ws.other)
        np.multiply(grad, ws.other, out=grad)


class LayerNorm(Normalization):
    """Layer normalization: mean and biased variance over the units, for each row by itself.

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

    def statistics_shape(self, rows: int, units: int) -> tuple[int, ...]:
        return (rows, 1)

    def forward(
        self,
        z: Array,
        gamma: Array,
        beta: Array,
        running: tuple[Array, Array] | None,
        ws: NormWorkspace,
        scratch: Array,
        training: bool,
    ) -> None:
        np.mean(z, axis=1, keepdims=True, out=ws.mean)
        np.subtract(z, ws.mean, out=ws.x_hat)
        np.multiply(ws.x_hat, ws.x_hat, out=scratch)
        np.mean(scratch, axis=1, keepdims=True, out=ws.variance)
        invert_std(ws.variance, self.eps, ws.inverse_std)
        np.multiply(ws.x_hat, ws.inverse_std, out=ws.x_hat)
        np.multiply(ws.x_hat, gamma, out=z)
        np.add(z, beta, out=z)

    def backward(
        self,
        grad: Array,
        gamma: Array,
        gamma_grad: Array,
        beta_grad: Array,
        ws: NormWorkspace,
        scratch: Array,
    ) -> None:
        # dz = (h - mean(h) - x_hat * mean(h x_hat)) / std with h = gamma g, the means over the units
        np.multiply(grad, ws.x_hat, out=scratch)
        np.add.reduce(scratch, axis=0, out=gamma_grad)
        np.add.reduce(grad, axis=0, out=beta_grad)
        np.multiply(grad, gamma, out=grad)
        np.mean(grad, axis=1, keepdims=True, out=ws.mean)
        np.multiply(grad, ws.x_hat, out=scratch)
        np.mean(scratch, axis=1, keepdims=True, out=ws.other)
        np.multiply(ws.x_hat, ws.other, out=scratch)
        np.subtract(grad, scratch, out=grad)
        np.subtract(grad, ws.mean, out=grad)
        np.multiply(grad, ws.inverse_std, out=grad)
