"""Which penalties on large weights does the objective have?

L1 adds l1 * sum |w| to the loss, L2 adds l2 * sum w^2. The sums are over weights only, without biases and
normalization, and are not divided by the batch size. Some texts have a factor 1/2; PyTorch's `weight_decay` d is
l2 = d / 2.
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from mlptrain.component import Frozen
from mlptrain.nn.arrays import Array


class Penalty(Frozen):
    """The L1 and L2 terms of the objective."""

    formula: ClassVar = (
        r"J = L + \lambda_1 \sum_i \lvert w_i\rvert + \lambda_2 \sum_i w_i^2",
        r"g_i \leftarrow g_i + \lambda_1 \mathrm{sign}(w_i) + 2 \lambda_2 w_i, \qquad \mathrm{sign}(0) = 0",
    )
    l1: float = Field(0.0, ge=0, description="Factor of the sum of absolute weights.")
    l2: float = Field(0.0, ge=0, description="Factor of the sum of squared weights.")

    def value(self, weights: Array) -> float:
        """l1 * sum |w| + l2 * sum w^2, summed in float64."""
        if not (self.l1 or self.l2):
            return 0.0
        wide = weights.astype(np.float64)
        return float(self.l1 * np.abs(wide).sum() + self.l2 * np.dot(wide, wide))

    def add_gradient(self, weights: Array, grad: Array, scratch: Array) -> None:
        """Add l1 * sign(w) + 2 l2 w to `grad`, with sign(0) = 0; in blocks of the size of `scratch`."""
        for start in range(0, weights.size, scratch.size):
            w, g = weights[start : start + scratch.size], grad[start : start + scratch.size]
            term = scratch[: w.size]
            if self.l2:
                np.multiply(w, 2 * self.l2, out=term)
                np.add(g, term, out=g)
            if self.l1:  # two comparisons: numpy.sign takes ten times as long if signs change at random
                np.greater(w, 0, out=term)
                np.multiply(term, self.l1, out=term)
                np.add(g, term, out=g)
                np.less(w, 0, out=term)
                np.multiply(term, self.l1, out=term)
                np.subtract(g, term, out=g)
