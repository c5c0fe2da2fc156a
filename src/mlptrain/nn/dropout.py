"""How are units dropped at random in training?

Inverted dropout (Srivastava et al. 2014, in the form that libraries use today): each unit is kept with probability
1 - p and scaled by 1/(1 - p), after the activation, so that the expected activation is unchanged and evaluation needs
no correction.
"""

from __future__ import annotations

import numpy as np

from mlptrain.nn.arrays import Array


def draw_mask(probability: float, rng: np.random.Generator, mask: Array) -> None:
    """Fill `mask` (..., n, units) with 0 for a dropped unit and 1/(1 - p) for a kept one."""
    rng.random(out=mask, dtype=mask.dtype.type)
    np.greater_equal(mask, probability, out=mask)
    np.multiply(mask, 1 / (1 - probability), out=mask)
