"""What does training minimize, and how do raw scores become predictions?

A loss takes the raw scores of the network (n, outputs) and the target, returns its value and writes its gradient with
respect to the scores in the same call, so that the two are always consistent. The link from scores to predictions is
part of the loss, so that an activation in front of a loss on raw scores cannot be configured. The value is the sum over
the rows of weight times loss, divided by the number of rows (and of outputs, if each output has its own term): a
weighted mean, since the weights have mean 1 over the training rows. Sums are computed in float64. Several members have
one value each: arrays are (members, n, outputs) then, and the members may share target and weights.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from mlptrain.component import Component, mistake, refuse
from mlptrain.nn import kernels
from mlptrain.nn.activations import sigmoid
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.kernels import SoftmaxWorkspace

ClassWeights: TypeAlias = NDArray[np.floating[Any]] | None
"""(classes,): the weight of each class; None weights all classes equally."""
TINY = 1e-30
"""A smaller prediction has the logarithm of this one."""
ClassWeighting: TypeAlias = dict[str, float] | Literal["balanced"] | None
"""A weight for each class by its label, or `balanced`; None weights all classes equally."""
LossValue: TypeAlias = Any
"""A float for scores (n, outputs), an array (members,) for scores (members, n, outputs)."""


class Loss(Component):
    """The function of the raw scores that training minimizes."""

    target_kind: ClassVar[str]
    """The kind of its target. A task accepts the losses of its own kind; a plugin may bring both for a new kind.

    `class`: a class index per row, (n,). `binary`: (n, columns) in [0, 1]. `value`: any numbers, (n, columns).
    """
    has_link: ClassVar[bool] = True
    """Whether the loss has a link: predictions are then a nonlinear function of the scores."""
    has_units: ClassVar[bool] = False
    """Whether the target is numbers in units of their own, for which the spec may choose a scaler."""
    scalable: ClassVar[bool] = True
    """Whether such a target may be shifted and scaled for training."""
    weighs_classes: ClassVar[bool] = False
    """Whether the workspace takes class weights."""
    domain: ClassVar[str] = "a number"
    """The domain of the target, for messages."""

    @abstractmethod
    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: Any, weights: Weights = None
    ) -> LossValue:
        """The loss of a batch; writes its derivative with respect to `scores` (..., n, outputs) into `grad`."""

    @abstractmethod
    def predict(self, scores: Array) -> Array:
        """The link: probabilities or values (..., n, outputs) for raw scores, as a new array."""

    @abstractmethod
    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        """The scores (outputs,) that minimize the loss among those that are the same for every row."""

    @abstractmethod
    def workspace(self, shape: tuple[int, ...], dtype: Any, class_weights: ClassWeights = None) -> Any:
        """Buffers for scores of `shape` (..., n, outputs); a loss without classes ignores `class_weights`."""

    def link(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `predict`: scores whose prediction is `prediction` (n, outputs), where there is a link."""
        return prediction

    def average(self, scores: Array, shares: NDArray[np.float64]) -> Array:
        """The scores (n, outputs) whose prediction is the mean of those for `scores` (members, n, outputs).

        `shares` (members,) are the weights of the mean and add up to 1. Of a loss that has a link without its inverse,
        the scores are averaged instead.
        """
        wide = scores.astype(np.float64)
        if self.has_link and type(self).link is Loss.link:
            return np.tensordot(shares, wide, 1).astype(scores.dtype)
        return self.link(np.tensordot(shares, self.predict(wide), 1)).astype(scores.dtype)

    def outputs(self, columns: int) -> int:
        """Number of scores for a target with this number of columns (or classes)."""
        return columns

    @property
    def levels(self) -> tuple[float, ...]:
        """The quantiles that the outputs for one column estimate; empty if each column has one output."""
        return ()

    @property
    def class_weighting(self) -> ClassWeighting:
        """The weight of each class from the spec; None for a loss that has none."""
        return None

    def outside_domain(self, target: Target) -> NDArray[np.bool_] | None:
        """Which rows have a target outside the domain of this loss; None if every one is allowed."""
        return None

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        """The side of the kink of the loss on which each entry lies; None for a smooth loss."""
        return None

    def value(
        self, scores: Array, target: Target, weights: Weights = None, class_weights: ClassWeights = None
    ) -> LossValue:
        """The loss without its gradient, for any number of rows."""
        ws = self.workspace(scores.shape, scores.dtype, class_weights)
        return self.value_and_gradient(scores, target, np.empty_like(scores), ws, weights)

    def optimum(
        self, target: Target, weights: Weights = None, outputs: int | None = None, class_weights: ClassWeights = None
    ) -> float:
        """The lowest loss that any scores could reach on `target`."""
        return 0.0

    @abstractmethod
    def random_target(
        self, rows: int, outputs: int, rng: "np.random.Generator", members: tuple[int, ...] = ()
    ) -> Target:
        """A random target of its kind, (*members, rows, ...), for checks."""


@dataclass
class ElementwiseWorkspace:
    """Buffers of a loss that has one term for each score."""

    terms: Array
    """(..., n, outputs)"""
    flat_terms: Array
    """the same memory, as one row for each member"""
    scratch: Array
    """(..., n, outputs)"""


class ElementwiseLoss(Loss):
    """A loss that is the mean of one term for each output of each row."""

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: ElementwiseWorkspace, weights: Weights = None
    ) -> LossValue:
        terms = ws.terms
        self.terms(scores, target, terms, grad, ws.scratch)
        if weights is not None:
            np.multiply(terms, weights[..., None], out=terms)
            np.multiply(grad, weights[..., None], out=grad)
        count = scores.shape[-1] * scores.shape[-2]
        np.multiply(grad, 1 / count, out=grad)
        return plain(np.add.reduce(ws.flat_terms, axis=-1, dtype=np.float64) / count)

    @abstractmethod
    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        """Write each term and its derivative, all (..., n, outputs); `scratch` may be overwritten."""

    def workspace(self, shape: tuple[int, ...], dtype: Any, class_weights: ClassWeights = None) -> ElementwiseWorkspace:
        terms = np.empty(shape, dtype)
        return ElementwiseWorkspace(terms, terms.reshape(*shape[:-2], -1), np.empty(shape, dtype))


def plain(value: Any) -> LossValue:
    """A single number as a Python float, an array of several members unchanged."""
    return value if isinstance(value, np.ndarray) else float(value)


def weighted_mean(values: NDArray[Any], weights: Weights) -> NDArray[np.float64]:
    """The mean over the rows of `values` (n, columns), in float64."""
    return np.asarray(np.average(np.asarray(values, np.float64), axis=0, weights=weights))


def weighted_quantile(values: NDArray[Any], level: float, weights: Weights) -> float:
    """The smallest of `values` (n,) such that the values up to it have at least the share `level` of the weight."""
    order = np.argsort(values)
    mass = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)[order]
    reached = np.cumsum(mass)
    place = int(np.searchsorted(reached, level * reached[-1] * (1 - 1e-12)))
    while mass[place] == 0:  # rows of weight 0 are ignored
        place += 1
    return float(values[order[place]])


def weighted_median(target: NDArray[Any], weights: Weights) -> NDArray[np.float64]:
    """The median of each column of `target` (n, columns); the midpoint if two values are in the middle."""
    middle = [
        (weighted_quantile(column, 0.5, weights) - weighted_quantile(-column, 0.5, weights)) / 2
        for column in np.asarray(target, np.float64).T
    ]
    return np.array(middle)


class ValueLoss(ElementwiseLoss):
    """A loss for regression."""

    target_kind: ClassVar[str] = "value"
    has_link: ClassVar[bool] = False
    has_units: ClassVar[bool] = True

    def predict(self, scores: Array) -> Array:
        return scores.copy()

    def random_target(
        self, rows: int, outputs: int, rng: "np.random.Generator", members: tuple[int, ...] = ()
    ) -> Target:
        """Positive values, which suit every loss for regression."""
        return np.abs(rng.standard_normal((*members, rows, 1 if self.levels else outputs)))


MEAN = r"L = \frac{1}{nK} \sum_r \omega_r \sum_k \ell(p_{rk}, y_{rk})"
"""The formula of a loss that is a weighted mean of terms."""
SOFTMAX = r"p_{rj} = \frac{e^{z_{rj}}}{\sum_k e^{z_{rk}}}"


class MeanSquaredError(ValueLoss):
    """Mean squared error: sum (p - y)^2 / (n K) over n rows and K outputs, gradient 2 (p - y) / (n K).

    Some texts have a factor 1/2: a learning rate for their loss corresponds to half that rate here.
    """

    kind: Literal["mse"] = "mse"
    formula: ClassVar = (
        r"\ell = u^2, \qquad \frac{\partial \ell}{\partial p} = 2u, \qquad u = p - y",
        MEAN,
    )
    aliases: ClassVar = ("mean_squared_error",)

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        np.subtract(scores, target, out=grad)
        np.multiply(grad, grad, out=terms)
        np.multiply(grad, 2, out=grad)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        return weighted_mean(target, weights)


class MeanAbsoluteError(ValueLoss):
    """Mean absolute error: sum |p - y| / (n K), gradient sign(p - y) / (n K) with sign(0) = 0."""

    kind: Literal["mae"] = "mae"
    formula: ClassVar = (
        r"\ell = \lvert u\rvert, \qquad \frac{\partial \ell}{\partial p} = \mathrm{sign}(u), \qquad u = p - y",
        r"\mathrm{sign}(0) = 0",
        MEAN,
    )
    aliases: ClassVar = ("mean_absolute_error",)

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        np.subtract(scores, target, out=grad)
        np.abs(grad, out=terms)
        np.sign(grad, out=grad)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        return weighted_median(target, weights)

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        return np.sign(scores - target)


class Huber(ValueLoss):
    """Huber loss with e = p - y: e^2 / 2 where |e| <= delta, delta (|e| - delta/2) beyond.

    The gradient is e, clipped to [-delta, delta]. Huber 1964; the mean over rows and outputs. PyTorch's SmoothL1Loss is
    this divided by its beta.
    """

    kind: Literal["huber"] = "huber"
    formula: ClassVar = (
        r"\ell = \frac{1}{2} u^2 [\lvert u\rvert \le d] + d (\lvert u\rvert - d/2) [\lvert u\rvert \gt d]",
        r"\frac{\partial \ell}{\partial p} = \min(\max(u, -d), d), \qquad u = p - y, \qquad d = \mathrm{delta}",
        MEAN,
    )
    delta: float = Field(
        1.0, gt=0, description="Error at which the loss turns from quadratic to linear, in units of the scaled target."
    )
    examples: ClassVar = ({}, {"delta": 0.5})

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        # with c = clip(e): c (e - c/2) is e^2/2 inside and delta (|e| - delta/2) outside
        np.subtract(scores, target, out=terms)
        kernels.clip(terms, -self.delta, self.delta, out=grad)
        np.multiply(terms, 2, out=terms)
        np.subtract(terms, grad, out=terms)
        np.multiply(terms, grad, out=terms)
        np.multiply(terms, 0.5, out=terms)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        best = weighted_median(target, weights)
        own = 1.0 if weights is None else np.asarray(weights, np.float64)[:, None]
        for _ in range(100):  # iteratively reweighted means converge to the minimum of this convex function
            weight = own * self.delta / np.maximum(np.abs(target - best), self.delta)
            best = (weight * target).sum(axis=0) / weight.sum(axis=0)
        return np.asarray(best)


class Quantile(ValueLoss):
    """Pinball loss of quantiles q with e = y - p: max(q e, (q - 1) e), gradient -q where e > 0, 1 - q where e < 0.

    One output for each of the `quantiles` of a single target column; the mean over rows and quantiles. Koenker &
    Bassett 1978. A prediction sorts the outputs of its row, so that quantiles never cross; that never raises the
    loss (Chernozhukov, Fernandez-Val & Galichon 2010).
    """

    kind: Literal["quantile"] = "quantile"
    formula: ClassVar = (
        r"\ell_k = \max(-q_k u_k, (1 - q_k) u_k), \qquad u_k = p_k - y",
        r"\frac{\partial \ell_k}{\partial p_k} = (1 - q_k) [u_k \gt 0] - q_k [u_k \lt 0] + (1/2 - q_k) [u_k = 0]",
        MEAN,
    )
    aliases: ClassVar = ("pinball",)
    quantiles: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False, min_length=1)] = Field(
        (0.1, 0.5, 0.9), description="Quantiles to predict, in increasing order."
    )
    examples: ClassVar = ({}, {"quantiles": (0.5,)})

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(a >= b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            refuse([("quantiles", "must be strictly increasing")])
        return self

    def outputs(self, columns: int) -> int:
        return len(self.quantiles)

    @property
    def levels(self) -> tuple[float, ...]:
        return self.quantiles

    def predict(self, scores: Array) -> Array:
        return np.sort(scores, axis=-1)

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        q = np.asarray(self.quantiles, dtype=scores.dtype)
        np.subtract(target, scores, out=terms)
        np.sign(terms, out=grad)
        np.multiply(grad, -0.5, out=grad)
        np.add(grad, 0.5, out=grad)
        np.subtract(grad, q, out=grad)  # 1 - q below, -q above, 1/2 - q at the kink
        np.multiply(terms, grad, out=terms)
        np.negative(terms, out=terms)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        return np.array([weighted_quantile(target[:, 0], level, weights) for level in self.quantiles])

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        return np.sign(scores - target)


class Poisson(ValueLoss):
    """Poisson loss for counts, on the logarithm z of the rate: sum (e^z - y z) / (n K), gradient (e^z - y) / (n K).

    The link is the exponential; the term log(y!), which does not depend on z, is left out, as in PyTorch. Targets must
    not be negative, and are not scaled.
    """

    kind: Literal["poisson"] = "poisson"
    formula: ClassVar = (
        r"\ell = e^z - yz, \qquad \frac{\partial \ell}{\partial z} = e^z - y, \qquad p = e^z",
        MEAN,
    )
    has_link: ClassVar[bool] = True
    scalable: ClassVar[bool] = False
    domain: ClassVar[str] = "0 or more"

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        np.exp(scores, out=grad)
        np.multiply(scores, target, out=terms)
        np.subtract(grad, terms, out=terms)
        np.subtract(grad, target, out=grad)

    def predict(self, scores: Array) -> Array:
        return np.exp(scores)

    def link(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(np.maximum(prediction, TINY)))

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        return np.asarray(np.log(np.maximum(weighted_mean(target, weights), 1e-12)))

    def optimum(
        self, target: Target, weights: Weights = None, outputs: int | None = None, class_weights: ClassWeights = None
    ) -> float:
        y = np.asarray(target, np.float64)
        terms = y - y * np.log(np.where(y > 0, y, 1))
        return mean_term(terms, weights)

    def outside_domain(self, target: Target) -> NDArray[np.bool_] | None:
        return np.asarray((target < 0).any(axis=1))


class BinaryCrossEntropy(ElementwiseLoss):
    """Binary cross-entropy on raw scores z: sum [max(z, 0) - z y + log(1 + e^-|z|)] / (n K).

    The gradient is (s(z) - y) / (n K) with the sigmoid s as link. The value equals -y log s - (1 - y) log(1 - s), but
    no probability is computed, so it is finite for every finite score. Targets lie in [0, 1]; several columns are
    several independent labels. Label smoothing e replaces y by (1 - e) y + e/2.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    formula: ClassVar = (
        r"\ell = \max(z, 0) - qz + \log(1 + e^{-\lvert z\rvert})",
        r"\frac{\partial \ell}{\partial z} = \sigma(z) - q, \qquad p = \sigma(z)",
        r"q = (1 - \varepsilon) y + \varepsilon/2, \qquad \varepsilon = \mathrm{label\ smoothing}",
        MEAN,
    )
    aliases: ClassVar = ("bce",)
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the target that is spread evenly over yes and no."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})
    target_kind: ClassVar[str] = "binary"

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        sigmoid(scores, grad, terms)
        y = scratch
        np.multiply(target, 1 - self.label_smoothing, out=y)
        np.add(y, self.label_smoothing / 2, out=y)
        np.subtract(grad, y, out=grad)
        np.multiply(y, scores, out=y)
        kernels.relu(scores, terms)
        np.subtract(terms, y, out=terms)  # the difference first, which may cancel to zero, then the small logarithm
        np.abs(scores, out=scratch)
        np.negative(scratch, out=scratch)
        np.exp(scratch, out=scratch)
        np.log1p(scratch, out=scratch)
        np.add(terms, scratch, out=terms)

    def predict(self, scores: Array) -> Array:
        out = np.empty_like(scores)
        sigmoid(scores, out, np.empty_like(scores))
        return out

    def link(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(np.maximum(prediction, TINY)) - np.log(np.maximum(1 - prediction, TINY)))

    def random_target(
        self, rows: int, outputs: int, rng: "np.random.Generator", members: tuple[int, ...] = ()
    ) -> Target:
        return rng.random((*members, rows, outputs))

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        share = np.clip(self._smoothed(weighted_mean(target, weights)), 1e-12, 1 - 1e-12)
        return np.asarray(np.log(share) - np.log1p(-share))

    def optimum(
        self, target: Target, weights: Weights = None, outputs: int | None = None, class_weights: ClassWeights = None
    ) -> float:
        q = self._smoothed(np.asarray(target, np.float64))
        return mean_term(-x_log_x(q) - x_log_x(1 - q), weights)

    def _smoothed(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        return y * (1 - self.label_smoothing) + self.label_smoothing / 2


def mean_term(terms: NDArray[np.float64], weights: Weights) -> float:
    """The mean over rows and outputs of `terms` (n, outputs), the rows weighted."""
    return float(terms.mean() if weights is None else (terms * weights[:, None]).mean())


def x_log_x(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """x log x, 0 at 0."""
    return np.asarray(x * np.log(np.where(x > 0, x, 1)))


CLASS_WEIGHT_SCHEMA = {
    "anyOf": [
        {"enum": ["balanced", None]},
        {"type": "object", "minProperties": 1, "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
    ]
}


def check_class_weight(value: Any) -> Any:
    """A weight for each class by its label, or `balanced`."""
    if value is None or value == "balanced":
        return value
    if isinstance(value, dict) and value and all(is_positive(weight) for weight in value.values()):
        return {str(label): float(weight) for label, weight in value.items()}
    raise mistake("must be 'balanced' or a mapping from class labels to positive numbers, as in {yes: 2.0, no: 1.0}")


def is_positive(value: Any) -> bool:
    """Whether `value` is a positive finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


class ClassLoss(Loss):
    """A loss on the probability of the true class; the link is the softmax."""

    target_kind: ClassVar[str] = "class"
    weighs_classes: ClassVar[bool] = True
    class_weight: Annotated[ClassWeighting, PlainValidator(check_class_weight), WithJsonSchema(CLASS_WEIGHT_SCHEMA)] = (
        Field(None, description="Weight of each class, by label; `balanced` is N / (K n_c) over the training rows.")
    )

    def predict(self, scores: Array) -> Array:
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def link(self, prediction: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.log(np.maximum(prediction, TINY)))

    @property
    def class_weighting(self) -> ClassWeighting:
        return self.class_weight

    def random_target(
        self, rows: int, outputs: int, rng: "np.random.Generator", members: tuple[int, ...] = ()
    ) -> Target:
        return rng.integers(0, outputs, (*members, rows))

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        counts = np.bincount(target, weights, minlength=outputs).astype(np.float64)
        mass = self.class_mass(counts) * (1.0 if class_weights is None else class_weights)
        return np.asarray(np.log(np.maximum(mass / mass.sum(), 1e-12)))

    def class_mass(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """The weight of each class (classes,) in the target, from the `counts` of the rows."""
        return counts


class CrossEntropy(ClassLoss):
    """Cross-entropy on raw scores z with class c: mean of log(sum_k e^z_k) - z_c, gradient (p - onehot(c)) / n.

    The link is the softmax p, computed after subtracting the largest score. Label smoothing e spreads a fraction of the
    target over all K classes: the target is (1 - e) onehot + e/K (Szegedy et al. 2016). With class weights every term
    of that target has the weight of its own class, as in PyTorch. PyTorch divides by the sum of the weights of the
    batch; here weights have mean 1 over the training rows, and the divisor is n.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    formula: ClassVar = (
        r"L = -\frac{1}{n} \sum_r \sum_j q_{rj} \log p_{rj}",
        r"\frac{\partial L}{\partial z_{rj}} = \frac{1}{n} \left( p_{rj} \sum_k q_{rk} - q_{rj} \right)",
        SOFTMAX,
        r"q_{rj} = \omega_r \kappa_j ((1 - \varepsilon) [j = c(r)] + \varepsilon/K)",
        r"\varepsilon = \mathrm{label\ smoothing}, \qquad \kappa = \mathrm{class\ weight}",
    )
    aliases: ClassVar = ("softmax_cross_entropy", "categorical_cross_entropy")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Fraction of the target that is spread evenly over all classes."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: SoftmaxWorkspace, weights: Weights = None
    ) -> LossValue:
        return plain(kernels.softmax_cross_entropy(scores, target, grad, ws, weights))

    def workspace(self, shape: tuple[int, ...], dtype: Any, class_weights: ClassWeights = None) -> SoftmaxWorkspace:
        return SoftmaxWorkspace.allocate(shape, np.dtype(dtype), class_weights, self.label_smoothing)

    def class_mass(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((1 - self.label_smoothing) * counts + self.label_smoothing * counts.mean())

    def optimum(
        self, target: Target, weights: Weights = None, outputs: int | None = None, class_weights: ClassWeights = None
    ) -> float:
        """The entropy of the smoothed target."""
        classes = outputs or int(target.max()) + 1
        q = (1 - self.label_smoothing) * np.eye(classes) + self.label_smoothing / classes
        q = q if class_weights is None else q * class_weights
        mass = q.sum(axis=1)
        floor = x_log_x(mass) - x_log_x(q).sum(axis=1)  # of a row of each class
        return mean_term(floor[target][:, None], weights)


class Focal(ClassLoss):
    """Focal loss for rare classes: mean of -(1 - p_c)^gamma log p_c, with the softmax p as link.

    Its gradient is dL/dz_j = a (onehot(c)_j - p_j) / n, a = gamma p_c (1 - p_c)^(gamma - 1) log p_c - (1 - p_c)^gamma.
    Well classified rows have little weight. Lin et al. 2017; gamma 0 would be the cross-entropy.
    """

    kind: Literal["focal"] = "focal"
    formula: ClassVar = (
        r"L = -\frac{1}{n} \sum_r \omega_r \kappa_c (1 - p_{rc})^\gamma \log p_{rc}",
        r"c = c(r), \qquad \kappa = \mathrm{class\ weight}",
        r"\frac{\partial L}{\partial z_{rj}} = \frac{\omega_r \kappa_c}{n} a_r ([j = c] - p_{rj})",
        r"a_r = \gamma p_{rc} (1 - p_{rc})^{\gamma - 1} \log p_{rc} - (1 - p_{rc})^\gamma",
        SOFTMAX,
    )
    gamma: float = Field(2.0, ge=1, description="The larger, the smaller the weight of well classified rows.")
    examples: ClassVar = ({}, {"gamma": 1.0}, {"gamma": 3.5})

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        scores = super().best_constant(target, outputs, weights, class_weights)
        counts = np.bincount(target, weights, minlength=outputs).astype(np.float64)
        counts *= 1.0 if class_weights is None else class_weights
        counts *= outputs / counts.sum()
        one_of_each, ws = np.arange(outputs), self.workspace((outputs, outputs), np.float64)
        grad = np.empty((outputs, outputs))
        for _ in range(500):  # there is no closed form: gradient descent on a smooth function of few variables
            self.value_and_gradient(np.tile(scores, (outputs, 1)), one_of_each, grad, ws, counts)
            scores = scores - 2 * grad.sum(axis=0)
        return np.asarray(scores)

    def workspace(self, shape: tuple[int, ...], dtype: Any, class_weights: ClassWeights = None) -> "FocalWorkspace":
        softmax = SoftmaxWorkspace.allocate(shape, np.dtype(dtype), class_weights)
        return FocalWorkspace(softmax, np.empty((4, *shape[:-1]), dtype))

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: "FocalWorkspace", weights: Weights = None
    ) -> LossValue:
        softmax, (known, miss, slope, weight) = ws.softmax, ws.by_row
        p, n = softmax.p, scores.shape[-2]
        kernels.log_softmax(scores, softmax)
        np.divide(p, softmax.row_sum, out=p)
        write_row_weights(target, weights, softmax.class_weights, weight)
        true = softmax.find(target)
        softmax.flat_log_p.take(true, out=known, mode="clip")
        np.expm1(known, out=miss)
        np.negative(miss, out=miss)  # 1 - p_c
        np.power(miss, self.gamma - 1, out=slope)
        np.multiply(slope, weight, out=slope)  # w (1 - p)^(gamma - 1)
        np.multiply(slope, miss, out=weight)  # w (1 - p)^gamma
        np.multiply(known, weight, out=miss)
        total = np.add.reduce(miss, axis=-1, dtype=np.float64)
        np.multiply(slope, known, out=slope)
        np.exp(known, out=known)
        np.multiply(slope, known, out=slope)
        np.multiply(slope, self.gamma, out=slope)
        np.subtract(slope, weight, out=slope)  # w a
        np.multiply(slope, 1 / n, out=slope)
        np.subtract(known, 1, out=known)
        softmax.flat_p.put(true, known)  # p - onehot(c)
        np.multiply(p, slope[..., None], out=p)
        np.negative(p, out=grad)
        return plain(-total / n)


@dataclass
class FocalWorkspace:
    """Buffers of the focal loss."""

    softmax: SoftmaxWorkspace
    by_row: Array
    """(4, ..., n)"""


def write_row_weights(target: Target, weights: Weights, class_weights: ClassWeights, out: Array) -> None:
    """Write the weight of each row, times that of its class, into `out` (..., n)."""
    out.fill(1)
    if class_weights is not None:
        np.multiply(out, class_weights.take(target), out=out)
    if weights is not None:
        np.multiply(out, weights, out=out)
