"""What do activations, normalizations, layers, losses and scalers compute, in the operations of a graph?

The formulas are those of the classes, without the parts that only training needs. z and x are nodes; statistics and
weights are arrays, which become constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from math import sqrt as root
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data import scalers
from mlptrain.data.scalers import Scaler
from mlptrain.export.graph import (
    Node,
    cast,
    clip,
    concatenate,
    constant,
    cos,
    elementwise,
    exp,
    expm1,
    interp,
    largest,
    log,
    log1p,
    matmul,
    maximum,
    minimum,
    sign,
    sin,
    sort,
    sqrt,
    take,
    tanh,
    total,
    where,
)
from mlptrain.export.rules import Rules
from mlptrain.nn import activations as functions
from mlptrain.nn import layers as kinds
from mlptrain.nn import losses, normalization
from mlptrain.nn.activations import CUBIC, GELU_RANGE, Activation
from mlptrain.nn.layers import Layer
from mlptrain.nn.losses import TINY, Loss
from mlptrain.nn.network import LINEAR, Network
from mlptrain.nn.normalization import BETA, GAMMA, RUNNING_MEAN, RUNNING_VARIANCE, Normalization
from mlptrain.nn.special import erf_polynomial

Tensors = Mapping[str, NDArray[Any]]
ACTIVATIONS = Rules(Activation, "z")
NORMALIZATIONS = Rules(Normalization, "z, tensors, running")
LAYERS = Rules(Layer, "x, tensors, running")
LINKS = Rules(Loss, "scores")
"""Predictions for scores."""
INVERSE_LINKS = Rules(Loss, "prediction", "exported_inverse")
SCALERS = Rules(Scaler, "x, fitted")
UNSCALERS = Rules(Scaler, "scaled, fitted", "exported_inverse")


# --- Activations


@ACTIVATIONS.of(functions.Identity)
def identity(f: Activation, z: Node) -> Node:
    """Z."""
    return z


@ACTIVATIONS.of(functions.Sigmoid)
def sigmoid(f: Any, z: Node) -> Node:
    """1 / (1 + e^-z), without an exponential that overflows."""
    e = exp(-abs(z))
    return where(z >= 0, constant(1, z.dtype), e) / (e + 1)


@ACTIVATIONS.of(functions.Tanh)
def tangent(f: Activation, z: Node) -> Node:
    """Tanh z."""
    return tanh(z)


@ACTIVATIONS.of(functions.ReLU)
def relu(f: Activation, z: Node) -> Node:
    """max(z, 0)."""
    return maximum(z, 0)


@ACTIVATIONS.of(functions.LeakyReLU)
def leaky_relu(f: functions.LeakyReLU, z: Node) -> Node:
    """Z, or slope z below 0."""
    return where(z > 0, z, z * f.slope)


@ACTIVATIONS.of(functions.SiLU)
def silu(f: Activation, z: Node) -> Node:
    """Z s(z)."""
    return z * sigmoid(f, z)


@ACTIVATIONS.of(functions.HardSigmoid)
def hard_sigmoid(f: Activation, z: Node) -> Node:
    """min(max(z/6 + 1/2, 0), 1)."""
    return clip(z / 6 + 0.5, 0, 1)


@ACTIVATIONS.of(functions.HardTanh)
def hard_tanh(f: Activation, z: Node) -> Node:
    """min(max(z, -1), 1)."""
    return clip(z, -1, 1)


@ACTIVATIONS.of(functions.HardSiLU)
def hard_silu(f: Activation, z: Node) -> Node:
    """Z min(max(z/6 + 1/2, 0), 1)."""
    return z * hard_sigmoid(f, z)


@ACTIVATIONS.of(functions.Softplus)
def softplus(f: Activation, z: Node) -> Node:
    """log(1 + e^z)."""
    return maximum(z, 0) + log1p(exp(-abs(z)))


@ACTIVATIONS.of(functions.ELU)
def elu(f: functions.ELU, z: Node) -> Node:
    """Z, or alpha (e^z - 1) below 0."""
    return scaled_elu(z, f.alpha, 1.0)


@ACTIVATIONS.of(functions.SELU)
def selu(f: functions.SELU, z: Node) -> Node:
    """Scale elu(z, alpha)."""
    return scaled_elu(z, f.ALPHA, f.SCALE)


def scaled_elu(z: Node, alpha: float, scale: float) -> Node:
    """Scale (z, or alpha (e^z - 1) below 0)."""
    return maximum(z, 0) * scale + expm1(minimum(z, 0)) * (scale * alpha)


@ACTIVATIONS.of(functions.GELU)
def gelu(f: functions.GELU, z: Node) -> Node:
    """Z P(z), with the normal distribution or its approximation."""
    if f.approximate == "none":
        return normal_rank(z) * z
    near = clip(z, -GELU_RANGE, GELU_RANGE)
    return (tanh((near * near * CUBIC + 1) * near * root(2 / pi)) + 1) * z * 0.5


@ACTIVATIONS.of(functions.Mish)
def mish(f: Activation, z: Node) -> Node:
    """Z tanh(log(1 + e^z))."""
    return z * tanh(softplus(f, z))


def normal_rank(z: Node) -> Node:
    """The normal distribution function (1 + erf(z / sqrt 2)) / 2, by the polynomials of nn/special.py."""
    end, *q = erf_polynomial(np.dtype(z.dtype).itemsize)
    t = minimum(abs(z), end / root(0.5)) * (2 * root(0.5) / end) - 1
    tail = expm1(polynomial(q, t) * ((t + 1) * (-end / 2)))
    return (elementwise("copysign", abs(tail), z) + 1) * 0.5


def polynomial(coefficients: Sequence[float], t: Node) -> Node:
    """The sum of c_k t^k, by Horner's rule."""
    value = constant(coefficients[-1], t.dtype)
    for c in coefficients[-2::-1]:
        value = value * t + float(c)
    return value


# --- Normalizations and layers


@NORMALIZATIONS.of(normalization.BatchNorm)
def batch_norm(norm: normalization.BatchNorm, z: Node, tensors: Tensors, running: Tensors) -> Node:
    """(z - mean) / std with the running statistics, times gamma, plus beta."""
    inverse_std = np.empty_like(running[RUNNING_VARIANCE])
    normalization.invert_std(running[RUNNING_VARIANCE], norm.eps, inverse_std)
    centred = z - constant(running[RUNNING_MEAN], z.dtype)
    return centred * constant(inverse_std, z.dtype) * constant(tensors[GAMMA], z.dtype) + constant(
        tensors[BETA], z.dtype
    )


@NORMALIZATIONS.of(normalization.LayerNorm)
def layer_norm(norm: normalization.LayerNorm, z: Node, tensors: Tensors, running: Tensors) -> Node:
    """(z - mean) / std over the units, times gamma, plus beta."""
    centred = z - total(z) / z.width
    variance = total(centred * centred) / z.width
    x_hat = centred * (1 / sqrt(variance + norm.eps))
    return x_hat * constant(tensors[GAMMA], z.dtype) + constant(tensors[BETA], z.dtype)


@LAYERS.of(kinds.Dense)
def dense(layer: kinds.Dense, x: Node, tensors: Tensors, running: Tensors) -> Node:
    """f(norm(x W + b)), plus x if it is residual."""
    z = matmul(x, tensors["weight"]) + constant(tensors["bias"], x.dtype)
    if layer.normalization is not None:
        z = NORMALIZATIONS.apply(layer.normalization, z, tensors, running)
    a: Node = ACTIVATIONS.apply(layer.activation, z)
    return a + x if layer.residual else a


@LAYERS.of(kinds.Adapted)
def adapted(layer: kinds.Adapted, x: Node, tensors: Tensors, running: Tensors) -> Node:
    """f((x r) W s + b)."""
    r, s, b = (constant(tensors[name], x.dtype) for name in ("input_factor", "output_factor", "bias"))
    found: Node = ACTIVATIONS.apply(layer.activation, matmul(x * r, tensors["weight"]) * s + b)
    return found


@LAYERS.of(kinds.Scale)
def scale(layer: kinds.Scale, x: Node, tensors: Tensors, running: Tensors) -> Node:
    """X s."""
    return x * constant(tensors["scale"], x.dtype)


@LAYERS.of(kinds.Periodic)
def periodic(layer: kinds.Periodic, x: Node, tensors: Tensors, running: Tensors) -> Node:
    """[x, cos(2 pi x w), sin(2 pi x w)]."""
    repeated = take(x, np.repeat(np.arange(x.width), layer.frequencies).tolist())
    angle = repeated * constant(tensors["frequency"], x.dtype) * (2 * pi)
    return concatenate([x, cos(angle), sin(angle)])


def network_scores(network: Network, parameters: NDArray[Any], buffers: NDArray[Any], x: Node) -> Node:
    """The scores of one network without members, as `Network.forward` gives them in evaluation."""
    inputs, views, running = x, network.layout.views(parameters), network.layout.running(buffers)
    for layer, tensors, stats in zip(network.layers, views, running, strict=False):
        x = LAYERS.apply(layer, x, tensors, stats)
    return x + matmul(inputs, views[-1][LINEAR]) if network.linear else x


# --- Losses


@LINKS.of(losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber)
@INVERSE_LINKS.of(losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber, losses.Quantile)
def unchanged(loss: Loss, scores: Node) -> Node:
    """The scores themselves."""
    return scores


LINKS.of(losses.Quantile)(lambda loss, scores: sort(scores))
LINKS.of(losses.Poisson)(lambda loss, scores: exp(scores))
LINKS.of(losses.BinaryCrossEntropy)(sigmoid)


@LINKS.of(losses.CrossEntropy, losses.Focal)
def softmax(loss: Loss, scores: Node) -> Node:
    """e^z / sum e^z, after subtracting the largest."""
    p = exp(scores - largest(scores))
    return p / total(p)


@INVERSE_LINKS.of(losses.Poisson, losses.CrossEntropy, losses.Focal)
def logarithm(loss: Loss, prediction: Node) -> Node:
    """log(max(p, tiny))."""
    return log(maximum(prediction, TINY))


@INVERSE_LINKS.of(losses.BinaryCrossEntropy)
def log_odds(loss: Loss, prediction: Node) -> Node:
    """Log p - log(1 - p)."""
    return log(maximum(prediction, TINY)) - log(maximum(1 - prediction, TINY))


def averaged(loss: Loss, scores: Sequence[Node], shares: Sequence[float]) -> Node:
    """The scores whose prediction is the weighted mean of those of `scores`, as `Loss.average` finds them."""
    dtype, wide = scores[0].dtype, [cast(one, "float64") for one in scores]
    plain = loss.has_link and type(loss).link is Loss.link
    predicted = wide if plain else [LINKS.apply(loss, one) for one in wide]
    mean = predicted[0] * float(shares[0])
    for one, share in zip(predicted[1:], shares[1:], strict=True):
        mean = mean + one * float(share)
    return cast(mean if plain else INVERSE_LINKS.apply(loss, mean), dtype)


# --- Scalers


@SCALERS.of(scalers.NoScaling)
@UNSCALERS.of(scalers.NoScaling)
def unscaled(scaler: Scaler, x: Node, fitted: NDArray[Any]) -> Node:
    """X."""
    return x


@SCALERS.of(scalers.Standard, scalers.MinMax, scalers.Robust)
def affine(scaler: Scaler, x: Node, fitted: NDArray[Any]) -> Node:
    """(x - offset) / scale."""
    return (x - row(fitted[0])) / row(fitted[1])


@UNSCALERS.of(scalers.Standard, scalers.MinMax, scalers.Robust)
def affine_inverse(scaler: Scaler, scaled: Node, fitted: NDArray[Any]) -> Node:
    """X scale + offset."""
    return scaled * row(fitted[1]) + row(fitted[0])


@SCALERS.of(scalers.RobustClip)
def robust_clip(scaler: Scaler, x: Node, fitted: NDArray[Any]) -> Node:
    """Z / sqrt(1 + (z / 3)^2) for the scaled z."""
    z = clip(affine(scaler, x, fitted), -scalers.FAR, scalers.FAR)
    third = z / scalers.BOUND
    return z / sqrt(third * third + 1)


@UNSCALERS.of(scalers.RobustClip)
def robust_clip_inverse(scaler: Scaler, scaled: Node, fitted: NDArray[Any]) -> Node:
    """The inverse of `robust_clip`."""
    inside = clip(scaled / scalers.BOUND, -1 + 1e-12, 1 - 1e-12)
    return affine_inverse(scaler, inside * scalers.BOUND / sqrt(1 - inside * inside), fitted)


@SCALERS.of(scalers.Log)
def log_scaled(scaler: Scaler, x: Node, fitted: NDArray[Any]) -> Node:
    """(sign(x) log(1 + |x| / c) - mean) / std."""
    return (sign(x) * log1p(abs(x) / row(fitted[0])) - row(fitted[1])) / row(fitted[2])


@UNSCALERS.of(scalers.Log)
def log_inverse(scaler: Scaler, scaled: Node, fitted: NDArray[Any]) -> Node:
    """The inverse of `log_scaled`."""
    z = scaled * row(fitted[2]) + row(fitted[1])
    return sign(z) * row(fitted[0]) * expm1(minimum(abs(z), scalers.STEEPEST))


@SCALERS.of(scalers.QuantileNormal)
def quantile(scaler: scalers.QuantileNormal, x: Node, fitted: NDArray[Any]) -> Node:
    """The normal quantile of the rank among the knots."""
    ranks, edge = np.linspace(0, 1, scaler.knots), 0.5 / scaler.knots
    columns = [(take(x, [j]) if x.width > 1 else x, fitted[:, min(j, fitted.shape[1] - 1)]) for j in range(x.width)]
    found = []
    for one, knots in columns:
        up, down = interp(one, knots, ranks), 1 - interp(-one, -knots[::-1], ranks)
        found.append(clip((up + down) / 2, edge, 1 - edge))
    return normal_quantile(concatenate(found), edge)


@UNSCALERS.of(scalers.QuantileNormal)
def quantile_inverse(scaler: scalers.QuantileNormal, scaled: Node, fitted: NDArray[Any]) -> Node:
    """The value at the rank that the normal distribution gives."""
    ranks, rank = np.linspace(0, 1, scaler.knots), normal_rank(scaled)
    parts = [
        interp(take(rank, [j]) if rank.width > 1 else rank, ranks, fitted[:, min(j, fitted.shape[1] - 1)])
        for j in range(rank.width)
    ]
    return concatenate(parts)


DEGREE = 32
"""Of the polynomial for normal quantiles."""


def normal_quantile(rank: Node, edge: float) -> Node:
    """The inverse of the normal distribution function for ranks from `edge` to 1 - `edge`.

    With w = sqrt(-2 log(2 tail)) it is smooth: the Chebyshev interpolant of what the scaler itself computes.
    """
    end = root(-2 * np.log(2 * edge))

    def exact(t: Any) -> Any:
        return scalers.normal_quantile(np.exp(-(((t + 1) * end / 2) ** 2) / 2) / 2)

    series: Any = np.polynomial.chebyshev.chebinterpolate(exact, DEGREE)
    q = np.polynomial.chebyshev.cheb2poly(series).tolist()
    w = sqrt(maximum(log(minimum(rank, 1 - rank) * 2) * -2, 0))
    z = polynomial(q, w * (2 / end) - 1)
    return where(rank < 0.5, z, -z)


def row(values: NDArray[Any]) -> Node:
    """Statistics as a constant."""
    return constant(values, "float64")


def rules() -> dict[str, Rules]:
    """The rules of each family, for the table of what can be exported."""
    return {
        "activations": ACTIVATIONS,
        "normalizations": NORMALIZATIONS,
        "layers": LAYERS,
        "losses": LINKS,
        "scalers": SCALERS,
        "scalers of the target": UNSCALERS,
    }
