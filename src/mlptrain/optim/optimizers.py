"""How does an optimizer turn a gradient into a step?

Notation: w parameters, g gradient (after penalties and clipping), lr learning rate, t number of this step from 1. An
optimizer is frozen; its state are the flat arrays named by its `slots`, each with the size and dtype of the parameters
and initially zero. An elementwise rule runs over the flat vectors in blocks that fit into the processor's cache; a
`TensorOptimizer` gets one tensor after the other, each in its shape.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mlptrain.component import Component, refuse
from mlptrain.nn import kernels
from mlptrain.nn.arrays import Array

BLOCK = 131_072
"""Elements per block, of an update or a sum of squares: larger blocks miss the cache, smaller cost too many calls."""

SMALLEST_EPS = 1e-30

Piece = tuple[Array, Array, tuple[Array, ...], Array]
"""Views of the same slice of parameters, gradient and slots, and a scratch array of their shape."""
Split = Callable[[Array], Mapping[str, Array]]
"""Maps a flat vector to its tensors by name."""


class Optimizer(Component):
    """A rule that updates the parameters from their gradient."""

    learning_rate: float = Field(0.01, gt=0, description="Learning rate, before the schedule.")
    squares: ClassVar[frozenset[str]] = frozenset({"second_moment", "largest_second_moment", "squared_sum"})
    """The slots of any rule that hold sums or averages of squares, which are never negative."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of its state arrays."""
        return ()

    def slot_scales(self) -> dict[str, float]:
        """The factor by which a slot must be multiplied to give the textbook quantity; 1 for a slot not in the mapping.

        The product is rounded, so a checkpoint also stores what is needed to recover the slot to the last bit.
        """
        return {}

    def decay(self, weights: Array, learning_rate: float) -> None:
        """Decoupled weight decay, before the step; `weights` are the weights only. Most rules have none."""

    def pieces(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, split: Split) -> list[Piece]:
        """The views on which `update` is called in turn; `scratch` has at least min(BLOCK, size) elements.

        `split` maps a flat vector to its tensors by name. An elementwise rule uses blocks, regardless of tensors.
        """
        parts = [slice(start, min(start + BLOCK, w.size)) for start in range(0, w.size, BLOCK)]
        return [(w[p], g[p], tuple(slot[p] for slot in slots), scratch[: p.stop - p.start]) for p in parts]

    @abstractmethod
    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        """Update one piece in place: `w`, `g`, `scratch` and each of `slots` have the same shape."""


class TensorOptimizer(Optimizer):
    """A rule that depends on whole tensors, for example on their norm: `update` gets each tensor in its shape.

    A weight has the shape (inputs, units), every other tensor (units,).
    """

    def pieces(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, split: Split) -> list[Piece]:
        tensors, gradients = split(w), split(g)
        others = [split(slot) for slot in slots]
        memory = np.empty(max(tensor.size for tensor in tensors.values()), w.dtype)
        return [
            (tensor, gradients[name], tuple(o[name] for o in others), memory[: tensor.size].reshape(tensor.shape))
            for name, tensor in tensors.items()
        ]


def check_decay(learning_rate: float, weight_decay: float) -> None:
    """Refuse a weight decay that would change the sign of weights: w <- (1 - lr weight_decay) w."""
    product = learning_rate * weight_decay
    if product > 1:
        refuse(
            [
                (
                    "weight_decay",
                    f"times learning_rate is {product:g} and must not exceed 1, or weights change sign; "
                    f"it must be at most {1 / learning_rate:g}",
                )
            ]
        )


class SGD(Optimizer):
    """Gradient descent: w <- w - lr g.

    Batch, mini-batch and stochastic gradient descent differ only in `training.batch_size`: `full`, some rows, or 1.
    """

    kind: Literal["sgd"] = "sgd"
    formula: ClassVar = (r"w \leftarrow w - \eta g",)
    aliases: ClassVar = ("gradient_descent",)

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)


class Momentum(Optimizer):
    """Gradient descent with momentum: v <- momentum v + lr g, w <- w - v; with nesterov w <- w - (momentum v + lr g).

    Polyak 1964, Nesterov 1983 in the form of Sutskever et al. 2013. PyTorch keeps lr outside v, which is the same at a
    constant rate, but not with a schedule.
    """

    kind: Literal["momentum"] = "momentum"
    formula: ClassVar = (
        r"v \leftarrow \mu v + \eta g, \qquad w \leftarrow w - v, \qquad \mu = \mathrm{momentum}",
        r"\mathrm{nesterov:} \quad v \leftarrow \mu v + \eta g, \qquad w \leftarrow w - (\mu v + \eta g)",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Factor of the previous velocity.")
    nesterov: bool = Field(False, description="Nesterov momentum: the velocity looks one step ahead.")
    examples: ClassVar = ({}, {"momentum": 0.5, "nesterov": True})

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",)

    @model_validator(mode="after")
    def _needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            refuse([("nesterov", "needs momentum above 0: give momentum a value, or remove nesterov")])
        return self

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        (v,) = slots
        np.multiply(g, lr, out=g)
        np.multiply(v, self.momentum, out=v)
        np.add(v, g, out=v)
        if self.nesterov:
            np.multiply(v, self.momentum, out=scratch)
            np.add(g, scratch, out=g)
            np.subtract(w, g, out=w)
        else:
            np.subtract(w, v, out=w)


EPS_ROOT = r"\epsilon = \mathrm{eps}, \qquad \epsilon_0 = \mathrm{eps\ root}"


class Adaptive(Optimizer):
    """A rule that divides by the root of squared gradients; `eps` is added outside the root, `eps_root` under it."""

    eps: float = Field(1e-8, ge=0, description="Added to the square root.")
    eps_root: float = Field(0.0, ge=0, description="Added under the square root.")

    @model_validator(mode="after")
    def _divides_by_something(self) -> Self:
        if self.eps == 0 and self.eps_root == 0:
            refuse([("eps", "cannot be 0 together with eps_root: a gradient of zero would give 0/0")])
        tiny = [name for name in ("eps", "eps_root") if 0 < getattr(self, name) < SMALLEST_EPS]
        refuse((name, f"is below {SMALLEST_EPS:g}, which vanishes in float32; make it larger, or 0") for name in tiny)
        return self


class AdaGrad(Adaptive):
    """AdaGrad: G <- G + g^2, w <- w - lr g / (sqrt(G + eps_root) + eps).

    Duchi, Hazan & Singer 2011. The form with eps under the root, in many texts, is `eps: 0, eps_root: 1e-8`.
    """

    kind: Literal["adagrad"] = "adagrad"
    formula: ClassVar = (
        r"G \leftarrow G + g^2, \qquad w \leftarrow w - \frac{\eta g}{\sqrt{G + \epsilon_0} + \epsilon}",
        EPS_ROOT,
    )
    eps: float = Field(1e-10, ge=0, description="Added to the square root.")
    examples: ClassVar = ({}, {"eps": 0.0, "eps_root": 1e-8})

    @property
    def slots(self) -> tuple[str, ...]:
        return ("squared_sum",)

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        (total,) = slots
        np.multiply(g, g, out=scratch)
        np.add(total, scratch, out=total)
        np.add(total, self.eps_root, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.add(scratch, self.eps, out=scratch)
        np.divide(g, scratch, out=g)
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)


class RMSProp(Adaptive):
    """RMSProp: v <- rho v + (1 - rho) g^2, w <- w - lr g / (sqrt(v + eps_root) + eps).

    `centered` subtracts the square of the average gradient from v, clipped at 0. With `momentum` the quotient is
    accumulated in a velocity, u <- momentum u + g / (...), w <- w - lr u. Tieleman & Hinton 2012; centered Graves 2013.
    The default rho and eps are PyTorch's; Keras has rho 0.9 and eps under the root. If a gradient hardly changes,
    v - m^2 is near 0 and `centered` divides by eps alone, as in PyTorch: a larger eps such as 1e-3 bounds the step.
    """

    kind: Literal["rmsprop"] = "rmsprop"
    formula: ClassVar = (
        r"v \leftarrow \rho v + (1 - \rho) g^2, \qquad q = \frac{g}{\sqrt{v + \epsilon_0} + \epsilon}",
        r"w \leftarrow w - \eta q",
        r"\mathrm{centered:} \quad m \leftarrow \rho m + (1 - \rho) g",
        r"q = \frac{g}{\sqrt{\max(v - m^2, 0) + \epsilon_0} + \epsilon}",
        r"\mathrm{momentum} \quad \mu \gt 0 \mathrm{:} \quad u \leftarrow \mu u + q, \qquad w \leftarrow w - \eta u",
        EPS_ROOT,
    )
    rho: float = Field(0.99, ge=0, lt=1, description="Decay of the average of squared gradients.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Factor of the previous velocity.")
    centered: bool = Field(False, description="Divide by the standard deviation instead of the root mean square.")
    examples: ClassVar = ({}, {"centered": True, "momentum": 0.9}, {"rho": 0.9, "eps": 0.0, "eps_root": 1e-7})

    @property
    def slots(self) -> tuple[str, ...]:
        return ("second_moment", *(("mean",) if self.centered else ()), *(("velocity",) if self.momentum else ()))

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        v, others = slots[0], list(slots[1:])
        move_average(v, g, self.rho, scratch, squared=True)
        if self.centered:
            mean = others.pop(0)
            move_average(mean, g, self.rho, scratch)
            np.multiply(mean, mean, out=scratch)
            np.subtract(v, scratch, out=scratch)
            kernels.clip(scratch, 0, np.inf, out=scratch)
            np.add(scratch, self.eps_root, out=scratch)
        else:
            np.add(v, self.eps_root, out=scratch)
        np.sqrt(scratch, out=scratch)
        np.add(scratch, self.eps, out=scratch)
        np.divide(g, scratch, out=g)
        if self.momentum:
            velocity = others.pop(0)
            np.multiply(velocity, self.momentum, out=velocity)
            np.add(velocity, g, out=velocity)
            np.copyto(g, velocity)
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)


def move_average(average: Array, g: Array, decay: float, scratch: Array, squared: bool = False) -> None:
    """average <- decay average + (1 - decay) g, or g^2."""
    np.multiply(average, decay, out=average)
    np.multiply(g, 1 - decay, out=scratch)
    if squared:
        np.multiply(scratch, g, out=scratch)
    np.add(average, scratch, out=average)


class Moments(Adaptive):
    """A rule with moving averages m of g and v of g^2, stored as M = m / (1 - beta1) and V = v / (1 - beta2).

    In this form M <- beta1 M + g takes only two operations. The factors are part of the step size, and `slot_scales`
    gives them.
    """

    learning_rate: float = Field(0.001, gt=0, description="Learning rate, before the schedule.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the average of gradients.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the average of squared gradients.")

    @property
    def slots(self) -> tuple[str, ...]:
        return ("first_moment", "second_moment")

    def slot_scales(self) -> dict[str, float]:
        return {name: 1 - (self.beta1 if name == "first_moment" else self.beta2) for name in self.slots}

    def accumulate_first(self, m: Array, g: Array) -> None:
        """M <- beta1 M + g."""
        np.multiply(m, self.beta1, out=m)
        np.add(m, g, out=m)

    def accumulate_second(self, v: Array, g: Array) -> None:
        """V <- beta2 V + g^2; `g` becomes its square."""
        np.multiply(g, g, out=g)
        np.multiply(v, self.beta2, out=v)
        np.add(v, g, out=v)

    def correction(self, t: int) -> float:
        """The factor r with v^ = r^2 V, where v^ is the bias-corrected v of step t."""
        return float(((1 - self.beta2) / (1 - self.beta2**t)) ** 0.5)

    def rate(self, lr: float, r: float, t: int) -> float:
        """The factor of M / root, with the bias correction of m in step t."""
        return lr / r * (1 - self.beta1) / (1 - self.beta1**t)

    def root(self, v: Array, r: float, out: Array) -> None:
        """Write (sqrt(v^ + eps_root) + eps) / r into `out`."""
        if self.eps_root:
            np.add(v, self.eps_root / r**2, out=out)
            np.sqrt(out, out=out)
        else:
            np.sqrt(v, out=out)
        np.add(out, self.eps / r, out=out)


AVERAGES = r"m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2"
ADAM_STEP = r"w \leftarrow w - \frac{\eta \hat m}{\sqrt{\hat v + \epsilon_0} + \epsilon}"
CORRECTED = r"\hat m = \frac{m}{1 - \beta_1^t}, \qquad \hat v = \frac{v}{1 - \beta_2^t}"


class Adam(Moments):
    """Adam: m and v are moving averages of g and g^2, w <- w - lr m^ / (sqrt(v^ + eps_root) + eps).

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) correct the bias of the initial zeros. Kingma & Ba 2015. The form
    with eps under the root, in many texts, is `eps: 0, eps_root: 1e-8`; Keras and scikit-learn add eps before the
    correction of v.
    """

    kind: Literal["adam"] = "adam"
    formula: ClassVar[tuple[str, ...]] = (AVERAGES, ADAM_STEP, CORRECTED, EPS_ROOT)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {},
        {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        {"eps": 0.0, "eps_root": 1e-8},
    )

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        m, v = slots
        r = self.correction(t)
        rate = self.rate(lr, r, t)
        kernels.adam(w, g, m, v, self.beta1, self.beta2, self.eps_root / r**2, self.eps / r, rate)


class AdamW(Adam):
    """Adam with decoupled weight decay: w <- (1 - lr weight_decay) w for weights only, then the step of Adam.

    Loshchilov & Hutter 2019. Biases and normalization parameters do not decay; in PyTorch they do unless excluded.
    """

    kind: Literal["adamw"] = "adamw"  # type: ignore[assignment]  # a separate variant that shares Adam's rule
    formula: ClassVar = (
        r"\mathrm{weights\ first:} \quad w \leftarrow (1 - \eta \lambda) w, \quad \lambda = \mathrm{weight\ decay}",
        AVERAGES,
        ADAM_STEP,
        CORRECTED,
        EPS_ROOT,
    )
    weight_decay: float = Field(0.01, ge=0, description="Each step multiplies weights by 1 - lr weight_decay.")
    examples: ClassVar[tuple[dict[str, Any], ...]] = ({}, {"weight_decay": 0.1})

    @model_validator(mode="after")
    def _weights_keep_their_sign(self) -> Self:
        check_decay(self.learning_rate, self.weight_decay)
        return self

    def decay(self, weights: Array, learning_rate: float) -> None:
        np.multiply(weights, 1 - learning_rate * self.weight_decay, out=weights)


class AMSGrad(Moments):
    """AMSGrad: Adam with the largest v so far instead of v; the maximum is taken before the bias correction.

    Reddi, Kale & Kumar 2018; PyTorch's rule. The paper has no bias correction, optax takes the maximum after it.
    """

    kind: Literal["amsgrad"] = "amsgrad"
    formula: ClassVar = (
        AVERAGES,
        ADAM_STEP,
        r"V \leftarrow \max(V, v), \qquad \hat m = \frac{m}{1 - \beta_1^t}, \qquad \hat v = \frac{V}{1 - \beta_2^t}",
        EPS_ROOT,
    )

    @property
    def slots(self) -> tuple[str, ...]:
        return ("first_moment", "second_moment", "largest_second_moment")

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        m, v, largest = slots
        self.accumulate_first(m, g)
        self.accumulate_second(v, g)
        np.maximum(largest, v, out=largest)
        r = self.correction(t)
        self.root(largest, r, out=g)
        np.divide(m, g, out=g)
        np.multiply(g, self.rate(lr, r, t), out=g)
        np.subtract(w, g, out=w)


class NAdam(Moments):
    """Adam with Nesterov momentum: w <- w - lr [c_m m + c_g g] / (sqrt(v^ + eps_root) + eps).

    With mu_t = beta1 (1 - 0.96^(t psi) / 2) and the product p_t of all mu up to t: c_m = mu_(t+1) / (1 - p_(t+1)) and
    c_g = (1 - mu_t) / (1 - p_t). Dozat 2016, with psi = 0.004 as in PyTorch; Keras has no psi.
    """

    kind: Literal["nadam"] = "nadam"
    formula: ClassVar = (
        AVERAGES,
        r"w \leftarrow w - \eta \frac{c_m m + c_g g}{\sqrt{\hat v + \epsilon_0} + \epsilon}",
        r"\hat v = \frac{v}{1 - \beta_2^t}",
        r"c_m = \frac{\mu_{t + 1}}{1 - P_{t + 1}}, \qquad c_g = \frac{1 - \mu_t}{1 - P_t}",
        r"\mu_t = \beta_1 \left( 1 - \frac{1}{2} \cdot 0.96^{t \psi} \right), \qquad P_t = \mu_1 \mu_2 \cdots \mu_t",
        EPS_ROOT,
    )
    psi: float = Field(0.004, ge=0, description="How fast the momentum grows to beta1.")
    examples: ClassVar = ({}, {"psi": 0.1})

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        m, v = slots
        now, ahead = (momentum_product(self.beta1, self.psi, step) for step in (t, t + 1))
        np.copyto(scratch, g)
        self.accumulate_first(m, g)
        self.accumulate_second(v, g)
        r = self.correction(t)
        self.root(v, r, out=g)
        np.multiply(scratch, (1 - momentum_at(self.beta1, self.psi, t)) / (1 - now), out=scratch)
        np.divide(scratch, g, out=scratch)
        np.divide(m, g, out=g)
        np.multiply(g, (1 - self.beta1) * momentum_at(self.beta1, self.psi, t + 1) / (1 - ahead), out=g)
        np.add(g, scratch, out=g)
        np.multiply(g, lr / r, out=g)
        np.subtract(w, g, out=w)


def momentum_at(beta1: float, psi: float, t: int) -> float:
    """mu_t of NAdam."""
    return beta1 * (1 - 0.5 * float(0.96 ** (t * psi)))


@cache
def products(beta1: float, psi: float) -> list[float]:
    """The products p_0, p_1, ... of NAdam computed so far; they depend only on the settings."""
    return [1.0]


def momentum_product(beta1: float, psi: float, t: int) -> float:
    """p_t of NAdam, as a function of t, so that it is not part of the state; 0 once it is negligible."""
    known = products(beta1, psi)
    while len(known) <= t and known[-1] > 1e-300:
        known.append(known[-1] * momentum_at(beta1, psi, len(known)))
    return known[t] if t < len(known) else 0.0


class Lion(Optimizer):
    """Lion: u = sign(beta1 m + (1 - beta1) g), w <- w - lr (u + weight_decay w), m <- beta2 m + (1 - beta2) g.

    Chen et al. 2023; sign(0) = 0, and only weights decay. Every entry moves by the same amount in each step: use a
    learning rate three to ten times smaller than for Adam.
    """

    kind: Literal["lion"] = "lion"
    formula: ClassVar = (
        r"\mathrm{weights\ first:} \quad w \leftarrow (1 - \eta \lambda) w, \quad \lambda = \mathrm{weight\ decay}",
        r"w \leftarrow w - \eta \cdot \mathrm{sign}(\beta_1 m + (1 - \beta_1) g)",
        r"m \leftarrow \beta_2 m + (1 - \beta_2) g, \qquad \mathrm{sign}(0) = 0",
    )
    learning_rate: float = Field(0.0001, gt=0, description="Learning rate, before the schedule.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Weight of the average in the direction of the step.")
    beta2: float = Field(0.99, ge=0, lt=1, description="Decay of the average of gradients.")
    weight_decay: float = Field(0.0, ge=0, description="Each step multiplies weights by 1 - lr weight_decay.")
    examples: ClassVar = ({}, {"weight_decay": 0.1})

    @property
    def slots(self) -> tuple[str, ...]:
        return ("first_moment",)

    @model_validator(mode="after")
    def _weights_keep_their_sign(self) -> Self:
        check_decay(self.learning_rate, self.weight_decay)
        return self

    def decay(self, weights: Array, learning_rate: float) -> None:
        np.multiply(weights, 1 - learning_rate * self.weight_decay, out=weights)

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        (m,) = slots
        np.multiply(m, self.beta1 / (1 - self.beta1), out=scratch)
        np.add(scratch, g, out=scratch)
        np.multiply(m, self.beta2, out=m)
        np.multiply(g, 1 - self.beta2, out=g)
        np.add(m, g, out=m)
        np.greater(scratch, 0, out=g)  # the sign by two comparisons; numpy.sign takes ten times as long
        np.less(scratch, 0, out=scratch)
        np.subtract(g, scratch, out=g)
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)
