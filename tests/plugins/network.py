"""A plugin for tests: an activation, a loss, an optimizer, an initializer, a normalization, a layer and a scaler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import OneOf
from mlptrain.data.scalers import Scaler, Values
from mlptrain.nn import kernels
from mlptrain.nn.activations import Activation, Sigmoid, Tanh
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.initializers import WeightInitializer
from mlptrain.nn.layers import Layer, LayerWorkspace, Nonlinearity
from mlptrain.nn.layout import LayerViews, TensorSpec
from mlptrain.nn.losses import ClassWeights, ValueLoss, weighted_mean
from mlptrain.nn.normalization import GAMMA, Normalization, NormWorkspace, invert_std
from mlptrain.optim.optimizers import Optimizer


class Softsign(Activation):
    """f(z) = z / (1 + |z|), f'(z) = 1 / (1 + |z|)^2."""

    kind: Literal["toy_softsign"] = "toy_softsign"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.divide(z, 1 + np.abs(z), out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.divide(grad, (1 + np.abs(z)) ** 2, out=grad)


class LogCosh(ValueLoss):
    """log cosh(p - y), whose derivative is tanh(p - y)."""

    kind: Literal["toy_logcosh"] = "toy_logcosh"

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        np.subtract(scores, target, out=scratch)
        np.tanh(scratch, out=grad)
        terms[...] = np.logaddexp(scratch, -scratch) - np.log(2)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        best = weighted_mean(target, weights)
        for _ in range(100):  # Newton's method on a convex function
            slope = np.tanh(best - target)
            best = best - weighted_mean(slope, weights) / weighted_mean(1 - slope**2, weights)
        return best


class SignDescent(Optimizer):
    """Every parameter moves by the rate, against the sign of its gradient."""

    kind: Literal["toy_sign"] = "toy_sign"

    def update(self, w: Array, g: Array, slots: Any, scratch: Array, lr: float, t: int) -> None:
        np.sign(g, out=g)
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)


class EvenlySpread(WeightInitializer):
    """Weights at equal distances, in random order."""

    kind: Literal["toy_even"] = "toy_even"

    def fill(self, weight: Array, spec: TensorSpec, rng: np.random.Generator) -> None:
        weight[...] = rng.permutation(np.linspace(-0.5, 0.5, weight.size)).reshape(weight.shape)


class RootMeanSquare(Normalization):
    """z' = gamma z / sqrt(mean z^2 + eps), over the units. Zhang & Sennrich 2019."""

    kind: Literal["toy_rms"] = "toy_rms"

    def statistics_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], 1)

    def tensors(self, units: int) -> tuple[TensorSpec, ...]:
        return (TensorSpec(GAMMA, (units,), start=1.0),)

    def forward(self, z: Array, tensors: LayerViews, running: LayerViews, ws: NormWorkspace, training: bool) -> None:
        np.mean(z**2, axis=-1, keepdims=True, out=ws.variance)
        invert_std(ws.variance, 1e-5, ws.inverse_std)
        np.multiply(z, ws.inverse_std, out=ws.x_hat)
        np.multiply(ws.x_hat, tensors[GAMMA], out=z)

    def backward(self, grad: Array, tensors: LayerViews, grads: LayerViews, ws: NormWorkspace) -> None:
        kernels.sum_rows(grad * ws.x_hat, ws.ones, out=grads[GAMMA])
        np.multiply(grad, tensors[GAMMA], out=grad)
        np.mean(grad * ws.x_hat, axis=-1, keepdims=True, out=ws.mean)
        np.subtract(grad, ws.x_hat * ws.mean, out=grad)
        np.multiply(grad, ws.inverse_std, out=grad)


class SignedLog(Scaler):
    """sign(x) log(1 + |x|): nothing is fitted, and it is not affine."""

    kind: Literal["toy_signed_log"] = "toy_signed_log"

    def fit(self, values: Values) -> Values:
        return np.zeros((1, values.shape[1]))

    def apply(self, values: Values, fitted: Values) -> Values:
        return np.sign(values) * np.log1p(np.abs(values))

    def invert(self, scaled: Values, fitted: Values) -> Values:
        return np.sign(scaled) * np.expm1(np.abs(scaled))


@dataclass
class GatedWorkspace(LayerWorkspace):
    """z and g are the two products, a and s their activations, each (..., n, units)."""

    z: Array
    a: Array
    g: Array
    s: Array
    scratch: Array
    ones: Array


class Gated(Layer):
    """h = f(x W + b) * sigmoid(x V + c). Dauphin et al. 2017."""

    kind: Literal["gated"] = "gated"
    formula: ClassVar = (r"h = f(xW + b) \odot \sigma(xV + c)",)
    width: int = Field(ge=1)
    activation: Annotated[Activation, OneOf()] = Tanh()
    examples: ClassVar = ({"width": 4}, {"width": 3, "activation": "silu"})

    def units(self, inputs: int) -> int:
        return self.width

    def tensors(self, inputs: int) -> tuple[TensorSpec, ...]:
        shape = inputs, self.width
        drawn: dict[str, Any] = {"fan_in": inputs, "fan_out": self.width, "decays": True, "by_input": True}
        return (
            TensorSpec("weight", shape, activation=self.activation, **drawn),
            TensorSpec("gate", shape, activation=Sigmoid(), **drawn),
            TensorSpec("bias", (self.width,)),
            TensorSpec("gate_bias", (self.width,), start=1.0),
        )

    def workspace(self, inputs: int, scratch: Array) -> GatedWorkspace:
        output, grad, z, a, g, s = (np.empty_like(scratch) for _ in range(6))
        return GatedWorkspace(output, grad, z, a, g, s, scratch, np.ones(scratch.shape[-2], scratch.dtype))

    def forward(
        self,
        x: Array,
        tensors: LayerViews,
        running: LayerViews,
        ws: GatedWorkspace,
        training: bool,
        rng: np.random.Generator | None = None,
    ) -> Array:
        kernels.affine(x, tensors["weight"], tensors["bias"], ws.z)
        kernels.affine(x, tensors["gate"], tensors["gate_bias"], ws.g)
        self.activation.forward(ws.z, ws.a, ws.scratch)
        Sigmoid().forward(ws.g, ws.s, ws.scratch)
        return np.multiply(ws.a, ws.s, out=ws.output)

    def backward(
        self, x: Array, tensors: LayerViews, grads: LayerViews, ws: GatedWorkspace, x_grad: Array | None
    ) -> None:
        by_gate = np.multiply(ws.grad, ws.a)
        np.multiply(ws.grad, ws.s, out=ws.grad)
        self.activation.backward(ws.z, ws.a, ws.grad, ws.scratch)
        Sigmoid().backward(ws.g, ws.s, by_gate, ws.scratch)
        for delta, weight, bias in ((ws.grad, "weight", "bias"), (by_gate, "gate", "gate_bias")):
            kernels.affine_gradients(x, delta, ws.ones, grads[weight], grads[bias])
        if x_grad is not None:
            kernels.product(ws.grad, tensors["weight"].mT, x_grad)
            np.add(x_grad, np.matmul(by_gate, tensors["gate"].mT), out=x_grad)

    def nonlinearities(self, ws: GatedWorkspace) -> tuple[Nonlinearity, ...]:
        return (Nonlinearity(self.activation, ws.z, ws.a),)
