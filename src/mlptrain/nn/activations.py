"""Which nonlinearities can a layer use, and what are their derivatives?

Notation: z is the pre-activation, a = f(z) the activation, grad = dL/da on entry to `backward` and dL/dz on exit.
All arrays of one call have one shape, usually (rows, units).
"""

from abc import abstractmethod
from math import inf, pi, sqrt
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array
from mlptrain.nn.special import normal_distribution


class Activation(Component):
    """An elementwise function and its derivative.

    A variant lists the points where it is not differentiable in `kinks`, so that numerical derivatives can avoid them,
    and the two values that it approaches in `asymptotes`, so that saturated units can be found.
    """

    kinks: ClassVar[tuple[float, ...]] = ()
    asymptotes: ClassVar[tuple[float, float] | None] = None
    is_identity: ClassVar[bool] = False
    """Whether f(z) = z; `out` may then be `z` itself."""
    rectifies: ClassVar[bool] = False
    """Whether a unit whose output is zero on every row is dead: its gradient is exactly zero."""
    gain_family: ClassVar[Literal["glorot", "he", "lecun"]] = "glorot"
    """The initialization that preserves the variance through this function; `initializer: auto` uses it."""

    @property
    def gain(self) -> float:
        """Factor of the weights that preserves the variance through this function: PyTorch's table, 1 for others."""
        return 1.0

    @abstractmethod
    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        """Write f(z) into `out`; `z` is kept, `scratch` may be overwritten."""

    @abstractmethod
    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        """Multiply `grad` by f'(z) in place; the other three may be overwritten."""

    def __call__(self, z: Any) -> Any:
        """f(z) for a number or an array, as a new value; for interactive use and tests, not for the training step."""
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
    formula: ClassVar = (r"f(z) = z, \qquad f'(z) = 1",)
    aliases: ClassVar = ("linear",)
    is_identity: ClassVar = True

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        if out is not z:
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
    formula: ClassVar = (r"f(z) = \sigma(z) = \frac{1}{1 + e^{-z}}, \qquad f'(z) = \sigma(z) (1 - \sigma(z))",)
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
    formula: ClassVar = (r"f(z) = \tanh z, \qquad f'(z) = 1 - \tanh^2 z",)
    asymptotes: ClassVar = (-1.0, 1.0)

    @property
    def gain(self) -> float:
        return 5 / 3

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

    Nair & Hinton 2010. NaN stays NaN.
    """

    kind: Literal["relu"] = "relu"
    formula: ClassVar = (r"f(z) = \max(0, z), \qquad f'(z) = [z \gt 0]",)
    kinks: ClassVar = (0.0,)
    rectifies: ClassVar = True
    gain_family: ClassVar = "he"

    @property
    def gain(self) -> float:
        return sqrt(2)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        kernels.relu(z, out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        kernels.gate_gradient(z, grad, 0, inf, 1, 0, scratch)


class LeakyReLU(Activation):
    """Leaky rectifier: f(z) = z where z > 0, slope * z elsewhere; f'(0) = slope.

    >>> LeakyReLU(slope=0.1)(-2.0)
    -0.2

    Maas, Hannun & Ng 2013. The default slope is theirs and PyTorch's; Keras uses 0.3.
    """

    kind: Literal["leaky_relu"] = "leaky_relu"
    formula: ClassVar = (
        r"f(z) = \max(0, z) + c \min(0, z), \qquad f'(z) = [z \gt 0] + c [z \le 0], \qquad c = \mathrm{slope}",
    )
    slope: float = Field(0.01, ge=0, description="Gradient for negative inputs.")
    examples: ClassVar = ({}, {"slope": 0.3}, {"slope": 1.5})
    kinks: ClassVar = (0.0,)
    gain_family: ClassVar = "he"

    @property
    def gain(self) -> float:
        return sqrt(2 / (1 + self.slope**2))

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.multiply(z, self.slope, out=out)
        (np.maximum if self.slope <= 1 else np.minimum)(z, out, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        kernels.gate_gradient(z, grad, 0, inf, 1, self.slope, scratch)


class SiLU(Activation):
    """Sigmoid linear unit, also called swish: f(z) = z s(z), f'(z) = s (1 + z (1 - s)) with the sigmoid s.

    >>> SiLU()(0.0), SiLU().derivative(0.0)
    (0.0, 0.5)

    Elfwing, Uchibe & Doya 2018; Ramachandran, Zoph & Le 2017.
    """

    kind: Literal["silu"] = "silu"
    formula: ClassVar = (
        r"f(z) = z \sigma(z), \qquad f'(z) = \sigma(z) (1 + z (1 - \sigma(z)))",
        r"\sigma(z) = \frac{1}{1 + e^{-z}}",
    )
    aliases: ClassVar = ("swish",)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        sigmoid(z, out, scratch)
        np.multiply(out, z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        s, slope = a, scratch
        sigmoid(z, s, scratch)
        np.subtract(1, s, out=slope)
        np.multiply(slope, z, out=slope)
        np.add(slope, 1, out=slope)
        np.multiply(slope, s, out=slope)
        np.multiply(grad, slope, out=grad)


class HardSigmoid(Activation):
    """Piecewise linear sigmoid: f(z) = min(max(z/6 + 1/2, 0), 1), f'(z) = 1/6 between -3 and 3, 0 elsewhere.

    >>> HardSigmoid()(0.0), HardSigmoid()(4.0)
    (0.5, 1.0)

    PyTorch's and Keras 3's slope of 1/6; the original of Courbariaux, Bengio & David 2015 has 1/5.
    """

    kind: Literal["hard_sigmoid"] = "hard_sigmoid"
    formula: ClassVar = (r"f(z) = \min(\max(z/6 + 1/2, 0), 1), \qquad f'(z) = \frac{1}{6} [-3 \lt z \lt 3]",)
    kinks: ClassVar = (-3.0, 3.0)
    asymptotes: ClassVar = (0.0, 1.0)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.divide(z, 6, out=out)
        np.add(out, 0.5, out=out)
        kernels.clip(out, 0, 1, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        kernels.gate_gradient(z, grad, -3, 3, 1 / 6, 0, scratch)


class HardTanh(Activation):
    """Piecewise linear tanh: f(z) = min(max(z, -1), 1), f'(z) = 1 between -1 and 1, 0 elsewhere.

    >>> HardTanh()(0.5), HardTanh()(4.0)
    (0.5, 1.0)

    Collobert 2004.
    """

    kind: Literal["hard_tanh"] = "hard_tanh"
    formula: ClassVar = (r"f(z) = \min(\max(z, -1), 1), \qquad f'(z) = [-1 \lt z \lt 1]",)
    kinks: ClassVar = (-1.0, 1.0)
    asymptotes: ClassVar = (-1.0, 1.0)

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        kernels.clip(z, -1, 1, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        kernels.gate_gradient(z, grad, -1, 1, 1, 0, scratch)


class HardSiLU(Activation):
    """Piecewise quadratic silu, also called hard swish: f(z) = z min(max(z/6 + 1/2, 0), 1).

    f'(z) = 0 below -3, z/3 + 1/2 between -3 and 3, 1 above.

    >>> HardSiLU()(-4.0), HardSiLU()(4.0), HardSiLU().derivative(0.0)
    (-0.0, 4.0, 0.5)

    Howard et al. 2019.
    """

    kind: Literal["hard_silu"] = "hard_silu"
    formula: ClassVar = (
        r"f(z) = z \min(\max(z/6 + 1/2, 0), 1), \qquad f'(z) = (z/3 + 1/2) [-3 \lt z \lt 3] + [z \ge 3]",
    )
    aliases: ClassVar = ("hard_swish",)
    kinks: ClassVar = (-3.0, 3.0)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        np.divide(z, 6, out=out)
        np.add(out, 0.5, out=out)
        kernels.clip(out, 0, 1, out=out)
        np.multiply(out, z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        inside = scratch
        np.greater(z, -3, out=inside)
        np.multiply(grad, inside, out=grad)
        np.less(z, 3, out=inside)
        np.divide(z, 3, out=z)
        np.subtract(z, 0.5, out=z)
        np.multiply(z, inside, out=z)
        np.add(z, 1, out=z)
        np.multiply(grad, z, out=grad)


class Softplus(Activation):
    """Smooth rectifier: f(z) = log(1 + e^z), f'(z) = s(z), the sigmoid.

    >>> round(Softplus()(0.0), 4), Softplus().derivative(0.0)
    (0.6931, 0.5)

    Dugas et al. 2001. Exact everywhere; PyTorch switches to z itself above 20, 2e-9 away.
    """

    kind: Literal["softplus"] = "softplus"
    formula: ClassVar = (
        r"f(z) = \log(1 + e^z) = \max(z, 0) + \log(1 + e^{-\lvert z\rvert})",
        r"f'(z) = \sigma(z) = \frac{1}{1 + e^{-z}}",
    )
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        softplus(z, out, scratch)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        sigmoid(z, z, scratch)
        np.multiply(grad, z, out=grad)


def softplus(z: Array, out: Array, scratch: Array) -> None:
    """Write log(1 + e^z) = max(z, 0) + log(1 + e^-|z|) into `out`, which must not be `z`."""
    np.abs(z, out=scratch)
    np.negative(scratch, out=scratch)
    np.exp(scratch, out=scratch)
    np.log1p(scratch, out=scratch)
    kernels.relu(z, out)
    np.add(out, scratch, out=out)


class ELU(Activation):
    """Exponential linear unit: f(z) = z where z > 0, alpha (e^z - 1) elsewhere; f'(z) = 1 or alpha e^z, f'(0) = alpha.

    >>> ELU()(2.0), round(ELU()(-1.0), 4)
    (2.0, -0.6321)

    Clevert, Unterthiner & Hochreiter 2016.
    """

    kind: Literal["elu"] = "elu"
    formula: ClassVar = (
        r"f(z) = \max(0, z) + \alpha (e^{\min(0, z)} - 1), \qquad f'(z) = [z \gt 0] + \alpha e^z [z \le 0]",
    )
    alpha: float = Field(1.0, gt=0, description="Minus the limit for large negative inputs.")
    examples: ClassVar = ({}, {"alpha": 0.5})
    kinks: ClassVar = (0.0,)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        elu(z, self.alpha, 1.0, out, scratch)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        elu_slope(z, self.alpha, 1.0, scratch)
        np.multiply(grad, scratch, out=grad)


class SELU(Activation):
    """Scaled exponential linear unit: f(z) = scale elu(z, alpha), with the two constants that make it self-normalizing.

    >>> round(SELU()(1.0), 4)
    1.0507

    Klambauer et al. 2017; goes with lecun_normal.
    """

    kind: Literal["selu"] = "selu"
    formula: ClassVar = (
        r"f(z) = \lambda (\max(0, z) + \alpha (e^{\min(0, z)} - 1))",
        r"f'(z) = \lambda ([z \gt 0] + \alpha e^z [z \le 0])",
        r"\lambda = 1.0507009873554805, \qquad \alpha = 1.6732632423543772",
    )
    kinks: ClassVar = (0.0,)
    gain_family: ClassVar = "lecun"
    ALPHA: ClassVar[float] = 1.6732632423543772848170429916717
    SCALE: ClassVar[float] = 1.0507009873554804934193349852946

    @property
    def gain(self) -> float:
        return 3 / 4

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        elu(z, self.ALPHA, self.SCALE, out, scratch)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        elu_slope(z, self.ALPHA, self.SCALE, scratch)
        np.multiply(grad, scratch, out=grad)


def elu(z: Array, alpha: float, scale: float, out: Array, scratch: Array) -> None:
    """Write scale * (z where z > 0, alpha (e^z - 1) elsewhere) into `out`."""
    kernels.negative_part(z, scratch)
    np.expm1(scratch, out=scratch)
    np.multiply(scratch, scale * alpha, out=scratch)
    kernels.relu(z, out)
    np.multiply(out, scale, out=out)
    np.add(out, scratch, out=out)


def elu_slope(z: Array, alpha: float, scale: float, out: Array) -> None:
    """Write the derivative of `elu` into `out`: scale where z > 0, scale alpha e^z elsewhere; `z` is overwritten."""
    kernels.negative_part(z, out)
    np.exp(out, out=out)
    np.greater(z, 0, out=z)
    np.multiply(z, 1 / alpha - 1, out=z)
    np.add(z, 1, out=z)
    np.multiply(out, z, out=out)
    np.multiply(out, scale * alpha, out=out)


class GELU(Activation):
    """Gaussian error linear unit: f(z) = z P(z), f'(z) = P(z) + z p(z), with the normal distribution P and density p.

    `approximate: none` takes P(z) = (1 + erf(z / sqrt 2)) / 2; `approximate: tanh` takes
    P(z) = (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3))) / 2 and the derivative of that. They differ by up to 4.7e-4.

    >>> GELU()(0.0), GELU().derivative(0.0)
    (0.0, 0.5)

    Hendrycks & Gimpel 2016.
    """

    kind: Literal["gelu"] = "gelu"
    formula: ClassVar = (
        r"f(z) = z \Phi(z), \qquad f'(z) = \Phi(z) + z \varphi(z)",
        r"\mathrm{none:} \quad \Phi(z) = (1 + \mathrm{erf}(z/\sqrt{2}))/2, \qquad \varphi(z) = e^{-z^2/2}/\sqrt{2 \pi}",
        r"\mathrm{tanh:} \quad \Phi(z) = (1 + \tanh u)/2, \qquad \varphi(z) = (1 - \tanh^2 u) u'/2",
        r"u = \sqrt{\frac{2}{\pi}} (z + 0.044715 z^3), \qquad u' = \sqrt{\frac{2}{\pi}} (1 + 3 \cdot 0.044715 z^2)",
    )
    approximate: Literal["none", "tanh"] = Field(
        "none", description="The exact function, or its approximation by tanh."
    )
    examples: ClassVar = ({}, {"approximate": "tanh"})
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        if self.approximate == "tanh":
            kernels.clip(z, -GELU_RANGE, GELU_RANGE, out=scratch)
            cubic(scratch, out)
            np.tanh(out, out=out)
            np.add(out, 1, out=out)
            np.multiply(out, z, out=out)
            np.multiply(out, 0.5, out=out)
        else:
            normal_distribution(z, out, scratch)
            np.multiply(out, z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        if self.approximate == "tanh":
            self._backward_tanh(z, a, grad, scratch)
            return
        normal_distribution(z, a, scratch)
        kernels.clip(z, -GELU_RANGE, GELU_RANGE, out=z)
        np.multiply(z, z, out=scratch)
        np.multiply(scratch, -0.5, out=scratch)
        np.exp(scratch, out=scratch)
        np.multiply(scratch, 1 / sqrt(2 * pi), out=scratch)
        np.multiply(scratch, z, out=scratch)
        np.add(scratch, a, out=scratch)
        np.multiply(grad, scratch, out=grad)

    def _backward_tanh(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        # with t = tanh(u): f' = (1 + t)/2 + z/2 (1 - t^2) u',  u' = sqrt(2/pi) (1 + 3 * 0.044715 z^2)
        t, slope = a, scratch
        kernels.clip(z, -GELU_RANGE, GELU_RANGE, out=z)
        cubic(z, t)
        np.tanh(t, out=t)
        np.multiply(z, z, out=slope)
        np.multiply(slope, 3 * CUBIC, out=slope)
        np.add(slope, 1, out=slope)
        np.multiply(slope, z, out=slope)
        np.multiply(slope, sqrt(2 / pi), out=slope)
        np.multiply(t, t, out=z)
        np.subtract(1, z, out=z)
        np.multiply(slope, z, out=slope)
        np.add(slope, t, out=slope)
        np.add(slope, 1, out=slope)
        np.multiply(slope, 0.5, out=slope)
        np.multiply(grad, slope, out=grad)


GELU_RANGE = 40.0  # beyond it the normal density is below 1e-347; squares and cubes do not overflow within
CUBIC = 0.044715


def cubic(z: Array, out: Array) -> None:
    """Write u = sqrt(2/pi) (z + 0.044715 z^3) into `out`."""
    np.multiply(z, z, out=out)
    np.multiply(out, CUBIC, out=out)
    np.add(out, 1, out=out)
    np.multiply(out, z, out=out)
    np.multiply(out, sqrt(2 / pi), out=out)


class Mish(Activation):
    """Mish: f(z) = z tanh(softplus(z)), f'(z) = T + z (1 - T^2) s(z) with T = tanh(softplus(z)) and the sigmoid s.

    >>> Mish()(0.0), Mish().derivative(0.0)
    (0.0, 0.6)

    Misra 2020. s(z) = 1 - e^-softplus(z) saves a second exponential of z.
    """

    kind: Literal["mish"] = "mish"
    formula: ClassVar = (r"f(z) = z T, \qquad f'(z) = T + z (1 - T^2) \sigma(z), \qquad T = \tanh(\log(1 + e^z))",)
    gain_family: ClassVar = "he"

    def forward(self, z: Array, out: Array, scratch: Array) -> None:
        softplus(z, out, scratch)
        np.tanh(out, out=out)
        np.multiply(out, z, out=out)

    def backward(self, z: Array, a: Array, grad: Array, scratch: Array) -> None:
        t, slope = a, scratch
        softplus(z, t, scratch)
        np.negative(t, out=slope)
        np.expm1(slope, out=slope)
        np.negative(slope, out=slope)
        np.multiply(slope, z, out=slope)
        np.tanh(t, out=t)
        np.multiply(t, t, out=z)
        np.subtract(1, z, out=z)
        np.multiply(slope, z, out=slope)
        np.add(slope, t, out=slope)
        np.multiply(grad, slope, out=grad)
