"""Which nonlinearities can a layer use, and what are their derivatives?

Notation: z is the pre-activation, a = f(z) the activation, grad = dL/da on entry to `backward` and dL/dz on exit.
All arrays of one call have one shape, usually (rows, units).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn.arrays import Array


class Activation(Component):
    """An elementwise function and its derivative.

    A variant with a corner names it in `kinks`, so that a numerical derivative can stay away from it; one that flattens
    out names the two values it approaches in `asymptotes`, so that saturated units can be found.
    """

    kinks: ClassVar[tuple[float, ...]] = ()
    asymptotes: ClassVar[tuple[float, float] | None] = None
    rectifies: ClassVar[bool] = False
    """Whether units that are zero for every row are stuck: the gradient is exactly zero there."""
    gain_family: ClassVar[Literal["glorot", "he", "lecun"]] = "glorot"
    """The initialization whose variance argument fits this function; `initializer: auto` follows it."""

    @abstractmethod
    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        """Write f(z) into `out`; `z` is kept, `scratch` may be overwritten."""

    @abstractmethod
    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        """Multiply `grad` by f'(z) in place; `z` and `scratch` may be overwritten, `a` is kept."""

    def __call__(self, z: Any) -> Any:
        """f(z) for a number or an array, as a new value; for reading and for tests, not for the training step."""
        values = np.asarray(z, dtype=None if isinstance(z, np.ndarray) else np.float64)
        out = np.empty_like(values)
        self.forward(values, out, np.empty_like(values))
        return out if isinstance(z, np.ndarray) else out.item()

    def derivative(self, z: Any) -> Any:
        """f'(z) for a number or an array, as a new value."""
        values = np.array(z, dtype=None if isinstance(z, np.ndarray) else np.float64)
        a, grad, scratch = np.empty_like(values), np.ones_like(values), np.empty_like(values)
        self.forward(values, a, scratch)
        self.backward(values, a, grad, scratch)
        return grad if isinstance(z, np.ndarray) else grad.item()


class Identity(Activation):
    """The input itself: f(z) = z, f'(z) = 1. A network of identities is a linear model.

    >>> Identity()(-2.0)
    -2.0
    """

    kind: Literal["identity"] = "identity"
    aliases: ClassVar = ("linear",)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.copyto(out, z)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        pass


def sigmoid(z: Array, out: Array, scratch: Array) -> None:
    """Write 1 / (1 + e^-z) into `out`, which may be `z` itself.

    With e = e^-|z| <= 1 it is 1/(1+e) for z >= 0 and e/(1+e) below, so that no exponential can overflow and small
    values keep their relative precision. max(e, z >= 0) is the numerator of both.
    """
    np.abs(z, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.greater_equal(z, 0, out=out)
    np.maximum(out, scratch, out=out)
    np.add(scratch, 1, out=scratch)
    np.divide(out, scratch, out=out)


class Sigmoid(Activation):
    """Logistic sigmoid: s(z) = 1 / (1 + e^-z), s'(z) = s (1 - s).

    >>> Sigmoid()(0.0), Sigmoid().derivative(0.0)
    (0.5, 0.25)

    The derivative never exceeds 1/4, which is why gradients vanish in deep sigmoid networks (Hochreiter 1991).
    """

    kind: Literal["sigmoid"] = "sigmoid"
    aliases: ClassVar = ("logistic",)
    asymptotes: ClassVar = (0.0, 1.0)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        sigmoid(z, out, scratch)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.subtract(1, a, out=scratch)
        np.multiply(scratch, a, out=scratch)
        np.multiply(grad, scratch, out=grad)


class Tanh(Activation):
    """Hyperbolic tangent: f(z) = tanh z, f'(z) = 1 - tanh(z)^2.

    >>> Tanh()(0.0), Tanh().derivative(0.0)
    (0.0, 1.0)

    Zero-centred, which trains faster than the sigmoid (LeCun et al. 1998, "Efficient BackProp").
    """

    kind: Literal["tanh"] = "tanh"
    asymptotes: ClassVar = (-1.0, 1.0)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.tanh(z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.multiply(a, a, out=scratch)
        np.subtract(1, scratch, out=scratch)
        np.multiply(grad, scratch, out=grad)


class ReLU(Activation):
    """Rectified linear unit: f(z) = max(0, z), f'(z) = 1 where z > 0 and 0 elsewhere, so f'(0) = 0.

    >>> ReLU()(-2.0), ReLU()(3.0), ReLU().derivative(0.0)
    (0.0, 3.0, 0.0)

    Nair & Hinton 2010. `np.maximum` carries a NaN through instead of hiding it.
    """

    kind: Literal["relu"] = "relu"
    kinks: ClassVar = (0.0,)
    rectifies: ClassVar = True
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.maximum(z, 0, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.greater(z, 0, out=scratch)
        np.multiply(grad, scratch, out=grad)


class LeakyReLU(Activation):
    """Leaky rectifier: f(z) = z where z > 0, slope * z elsewhere; f'(0) = slope.

    >>> LeakyReLU(slope=0.1)(-2.0)
    -0.2

    Maas, Hannun & Ng 2013. The default slope is theirs and PyTorch's; Keras uses 0.3.
    """

    kind: Literal["leaky_relu"] = "leaky_relu"
    slope: float = Field(0.01, ge=0, description="Gradient for negative inputs.")
    examples: ClassVar = ({}, {"slope": 0.3}, {"slope": 1.5})
    kinks: ClassVar = (0.0,)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.minimum(z, 0, out=scratch)
        np.multiply(scratch, self.slope, out=scratch)
        np.maximum(z, 0, out=out)
        np.add(out, scratch, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        np.greater(z, 0, out=scratch)
        np.multiply(scratch, 1 - self.slope, out=scratch)
        np.add(scratch, self.slope, out=scratch)
        np.multiply(grad, scratch, out=grad)


class SiLU(Activation):
    """Sigmoid linear unit, also called swish: f(z) = z s(z), f'(z) = s + f (1 - s) with the sigmoid s.

    >>> SiLU()(0.0), SiLU().derivative(0.0)
    (0.0, 0.5)

    Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017.
    """

    kind: Literal["silu"] = "silu"
    aliases: ClassVar = ("swish",)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        sigmoid(z, out, scratch)
        np.multiply(out, z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        s = z
        sigmoid(z, s, scratch)
        np.multiply(s, a, out=scratch)
        np.subtract(s, scratch, out=s)
        np.add(s, a, out=s)
        np.multiply(grad, s, out=grad)
