"""Gradient clipping, and the norm of the gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array
from mlptrain.optim.optimizers import BLOCK

SAFE = 1e-30
"""A squared norm below this may miss entries whose squares underflow in float32."""


def squared_norm(vector: Array) -> float:
    """The squared Euclidean norm of a flat `vector`; in float64 if it overflows or underflows in its own dtype.

    The check for finite gradients, the metrics and clipping all use it.
    """
    fast = float(vector.dot(vector)) if vector.size <= BLOCK else blockwise(vector)
    if SAFE < fast < math.inf:
        return fast
    return float(np.einsum("i,i->", vector, vector, dtype=np.float64))


def blockwise(vector: Array) -> float:
    """The squared norm of a long `vector`, by blocks, since one sum in float32 would lose precision."""
    blocks = [vector[start : start + BLOCK] for start in range(0, vector.size, BLOCK)]
    return sum(float(block.dot(block)) for block in blocks)


def clip_norm(grad: Array, limit: float, norm: float | None = None) -> None:
    """Scale `grad` down to the Euclidean norm `limit` if its norm is larger: g * min(1, limit / norm).

    Pascanu, Mikolov & Bengio 2013. PyTorch divides by norm + 1e-6 instead. `norm` is the norm of `grad`, if known.
    """
    norm = math.sqrt(squared_norm(grad)) if norm is None else norm
    if norm > limit:
        np.multiply(grad, limit / norm, out=grad)


def clip_norm_of_members(tensors: Sequence[Array], limit: float) -> None:
    """`clip_norm` for each member on its own; `tensors` (members, ...) are the parts of the gradient."""
    rows = [tensor.reshape(len(tensor), -1) for tensor in tensors]
    squares = sum(np.einsum("ki,ki->k", part, part, dtype=np.float64) for part in rows)
    factors = limit / np.maximum(np.sqrt(squares), limit)
    for part in rows:
        np.multiply(part, factors[:, None].astype(part.dtype), out=part)


def clip_value(grad: Array, limit: float) -> None:
    """Clip each entry of `grad` to [-limit, limit]."""
    kernels.clip(grad, -limit, limit, out=grad)
