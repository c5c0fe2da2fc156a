"""How does a gradient become a step?

Notation: w parameters, g gradient (after penalties and clipping), lr learning rate, t number of this step from 1. An
optimizer is frozen; what it remembers are the flat arrays named by its `slots`, each the size of the parameters and of
their dtype, zero at the start. Every rule is elementwise, so it runs over the vectors block by block, in a size that
stays in the processor's cache.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mlptrain.component import Component, refuse
from mlptrain.nn.arrays import Array

BLOCK = 65_536
"""Elements handled at a time: larger falls out of cache, smaller drowns in the cost of calls."""


class Optimizer(Component):
    """A rule that moves parameters against their gradient."""

    learning_rate: float = Field(0.01, gt=0, description="Size of a step, before the schedule.")
    slots: ClassVar[tuple[str, ...]] = ()

    def step(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, learning_rate: float, t: int) -> None:
        """Move `w` in place; `g` is used up, `scratch` (at least min(BLOCK, size) elements) is overwritten."""
        if w.size <= BLOCK:
            self.update(w, g, slots, scratch[: w.size], learning_rate, t)
            return
        for start in range(0, w.size, BLOCK):
            part = slice(start, start + BLOCK)
            block = w[part]
            self.update(block, g[part], [slot[part] for slot in slots], scratch[: block.size], learning_rate, t)

    @abstractmethod
    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        """The rule itself, on one block."""


class SGD(Optimizer):
    """Gradient descent: w <- w - lr g.

    Batch, mini-batch and stochastic gradient descent differ in `training.batch_size` alone: `full`, some rows, or 1.
    """

    kind: Literal["sgd"] = "sgd"
    aliases: ClassVar = ("gradient_descent",)

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        np.multiply(g, lr, out=g)
        np.subtract(w, g, out=w)


class Momentum(Optimizer):
    """Gradient descent with momentum: v <- momentum v + lr g, w <- w - v; with nesterov w <- w - (momentum v + lr g).

    Polyak 1964, Nesterov 1983 in the form of Sutskever et al. 2013. PyTorch keeps lr outside v: the same at a constant
    rate, not under a schedule.
    """

    kind: Literal["momentum"] = "momentum"
    momentum: float = Field(0.9, ge=0, lt=1, description="Share of the last step that is kept.")
    nesterov: bool = Field(False, description="Look ahead: step from where momentum alone would lead.")
    examples: ClassVar = ({}, {"momentum": 0.5, "nesterov": True})
    slots: ClassVar = ("velocity",)

    @model_validator(mode="after")
    def _needs_momentum(self) -> Self:
        if self.nesterov and self.momentum == 0:
            refuse([("nesterov", "needs momentum above 0: give momentum a value, or drop nesterov")])
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


class Adaptive(Optimizer):
    """A rule that divides by the root of squared gradients; `eps` outside the root, `eps_root` under it."""

    eps: float = Field(1e-8, ge=0, description="Added to the root.")
    eps_root: float = Field(0.0, ge=0, description="Added under the root.")

    @model_validator(mode="after")
    def _divides_by_something(self) -> Self:
        if self.eps == 0 and self.eps_root == 0:
            refuse([("eps", "cannot be 0 together with eps_root: a gradient of zero would give 0/0")])
        return self


class AdaGrad(Adaptive):
    """AdaGrad: G <- G + g^2, w <- w - lr g / (sqrt(G + eps_root) + eps).

    Duchi, Hazan & Singer 2011. Their form and the one in many texts, eps under the root, is `eps: 0, eps_root: 1e-8`.
    """

    kind: Literal["adagrad"] = "adagrad"
    eps: float = Field(1e-10, ge=0, description="Added to the root.")
    examples: ClassVar = ({}, {"eps": 0.0, "eps_root": 1e-8})
    slots: ClassVar = ("squared_sum",)

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


class Adam(Adaptive):
    """Adam: m and v are moving averages of g and g^2, w <- w - lr m^ / (sqrt(v^ + eps_root) + eps).

    m^ = m / (1 - beta1^t) and v^ = v / (1 - beta2^t) undo the start from zero. Kingma & Ba 2015. The form in many
    texts, eps under the root, is `eps: 0, eps_root: 1e-8`; Keras and scikit-learn add eps before the correction of v.

    The slots hold M = m / (1 - beta1) and V = v / (1 - beta2), so that M <- beta1 M + g needs two operations; the
    factors, together with the corrections, are two numbers a step.
    """

    kind: Literal["adam"] = "adam"
    learning_rate: float = Field(0.001, gt=0, description="Size of a step, before the schedule.")
    beta1: float = Field(0.9, ge=0, lt=1, description="Decay of the average of gradients.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Decay of the average of squared gradients.")
    examples: ClassVar = ({}, {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3}, {"eps": 0.0, "eps_root": 1e-8})
    slots: ClassVar = ("first_moment", "second_moment")

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        m, v = slots
        first = (1 - self.beta1) / (1 - self.beta1**t)
        second = (1 - self.beta2) / (1 - self.beta2**t)
        root = second**0.5
        np.multiply(m, self.beta1, out=m)
        np.add(m, g, out=m)
        np.multiply(g, g, out=g)
        np.multiply(v, self.beta2, out=v)
        np.add(v, g, out=v)
        if self.eps_root:
            np.add(v, self.eps_root / second, out=g)
            np.sqrt(g, out=g)
        else:
            np.sqrt(v, out=g)
        np.add(g, self.eps / root, out=g)
        np.divide(m, g, out=g)
        np.multiply(g, lr * first / root, out=g)
        np.subtract(w, g, out=w)
