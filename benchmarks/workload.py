"""What has every peer to do? A table, an architecture, a batch size; the same rows and first weights for all.

Float32, relu, softmax cross-entropy, Adam. A pass is: shuffle the rows, then for each batch gather, forward, loss,
backward, Adam; the last batch holds the rows that are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]

NOISE = 1.0
"""Of the scores that make the labels, beside a spread of 1: a loss that stays well above zero can be compared."""


@dataclass(frozen=True)
class Workload:
    """One training problem."""

    name: str
    rows: int
    features: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    rate: float = 1e-3

    @property
    def steps(self) -> int:
        """Steps of a pass."""
        return math.ceil(self.rows / self.batch)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Inputs and units of each dense layer."""
        return list(pairwise([self.features, *self.hidden, self.outputs]))

    @property
    def parameters(self) -> int:
        """Number of weights and biases."""
        return sum((inputs + 1) * units for inputs, units in self.shapes)

    def data(self) -> tuple[Floats, Labels]:
        """Inputs (rows, features) and the class of each row, which a linear teacher gives, with noise."""
        rng = np.random.default_rng(1)
        x = rng.standard_normal((self.rows, self.features), np.float32)
        teacher = rng.standard_normal((self.features, self.outputs), np.float32) / np.float32(self.features**0.5)
        scores = x @ teacher + np.float32(NOISE) * rng.standard_normal((self.rows, self.outputs), np.float32)
        return x, scores.argmax(axis=1)

    def weights(self) -> list[tuple[Floats, Floats]]:
        """Weight (inputs, units) and bias (units,) of each layer, from which everyone starts."""
        rng = np.random.default_rng(2)
        return [
            (
                rng.standard_normal((inputs, units), np.float32) * np.float32((2 / inputs) ** 0.5),
                np.zeros(units, np.float32),
            )
            for inputs, units in self.shapes
        ]
