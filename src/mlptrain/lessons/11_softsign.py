"""Lesson 11: an activation of your own, right and with a mistake; see 11-your-own-activation.yaml."""

from typing import Literal

import numpy as np

from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array


class Softsign(Activation):
    """Softsign: f(z) = z / (1 + |z|), f'(z) = 1 / (1 + |z|)^2."""

    kind: Literal["softsign"] = "softsign"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.divide(z, 1 + np.abs(z), out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.divide(grad, (1 + np.abs(z)) ** 2, out=grad)


class SoftsignMistaken(Softsign):
    """The same with a mistake in the derivative: the square is missing."""

    kind: Literal["softsign_mistaken"] = "softsign_mistaken"  # type: ignore[assignment]  # another word than its parent

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.divide(grad, 1 + np.abs(z), out=grad)
