"""How is a gradient that is too long shortened?"""

from __future__ import annotations

import math

import numpy as np

from mlptrain.nn.arrays import Array


def squared_norm(vector: Array) -> float:
    """The squared Euclidean norm of a flat `vector`; computed again in float64 where its own dtype overflows."""
    fast = float(vector.dot(vector))
    if math.isfinite(fast):
        return fast
    wide = vector.astype(np.float64)
    return float(np.dot(wide, wide))


def clip_norm(grad: Array, limit: float) -> None:
    """Scale `grad` to the Euclidean norm `limit` if it is longer: g * min(1, limit / norm), the norm in float64.

    Pascanu, Mikolov & Bengio 2013. PyTorch divides by norm + 1e-6 instead. A norm of zero changes nothing.
    """
    norm = math.sqrt(float(np.einsum("i,i->", grad, grad, dtype=np.float64)))
    if norm > limit:
        np.multiply(grad, limit / norm, out=grad)
