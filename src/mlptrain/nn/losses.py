"""What does training minimize, and how do raw scores become predictions?

A loss takes the raw scores of the network (n, outputs) and the target, returns its value and writes its gradient with
respect to the scores in one call, so that the two cannot disagree. The link from scores to predictions lives here too:
an activation before a loss on raw scores cannot be written down. Values are means over rows (and outputs, where each
output has a term of its own), weighted if the rows have weights; sums are taken in float64.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from mlptrain import compiled
from mlptrain.component import Component, refuse
from mlptrain.nn.activations import sigmoid
from mlptrain.nn.arrays import Array, Indices, Target, cut, positive_part

TargetKind = Literal["value", "binary", "class"]
Weights = NDArray[np.floating[Any]] | None
"""(n,): how much each row counts; None counts all alike."""


FEW = 32
"""Scores in a row; with twice as many, NumPy is quicker along the rows."""


@dataclass
class LossWorkspace:
    """Room for the intermediate results of a batch of n rows."""

    like_scores: Array
    """(n, outputs)"""
    room: Array
    """(n, outputs)"""
    target: Array
    """(n, outputs): the target as a distribution over the classes"""
    row: Array
    """(n, 1)"""
    other_row: Array
    """(n, 1)"""
    picked: Array
    """(n,)"""
    row_weight: NDArray[np.float64]
    """(n,)"""
    row_loss: NDArray[np.float64]
    """(n,)"""
    row_starts: Indices
    """(n,), where each row begins in memory"""
    class_stride: int
    """how far its next number is"""
    flat_index: Indices
    """(n,)"""

    @classmethod
    def allocate(cls, rows: int, outputs: int, dtype: np.dtype, sums_rows: bool) -> LossWorkspace:
        """Buffers for `rows` rows of `outputs` scores.

        Where a loss sums over each row and the rows are short, what is like the scores lies column after column: the
        sums then run along whole columns, instead of starting anew for a few numbers in every row.
        """
        by_column = sums_rows and rows > 1 and outputs <= FEW
        order: Literal["F", "C"] = "F" if by_column else "C"
        starts = np.arange(rows, dtype=np.intp) * (1 if by_column else outputs)
        return cls(
            like_scores=np.empty((rows, outputs), dtype, order),
            room=np.empty((rows, outputs), dtype, order),
            target=np.empty((rows, outputs), dtype, order),
            row=np.empty((rows, 1), dtype),
            other_row=np.empty((rows, 1), dtype),
            picked=np.empty(rows, dtype),
            row_weight=np.empty(rows),
            row_loss=np.empty(rows),
            row_starts=starts,
            class_stride=rows if by_column else 1,
            flat_index=np.empty_like(starts),
        )

    @property
    def by_column(self) -> bool:
        """Whether what is like the scores lies column after column."""
        return self.class_stride > 1

    def find_true(self, target: Target) -> Indices:
        """Where in memory the number of each row's class `target` (n,) lies, as indices into `flat`."""
        np.multiply(target, self.class_stride, out=self.flat_index)
        return np.add(self.flat_index, self.row_starts, out=self.flat_index)

    @staticmethod
    def flat(values: Array) -> Array:
        """`values` (n, outputs) as one vector (n * outputs,), in the order of memory; a view."""
        return values.reshape(-1, order="A")


class Loss(Component):
    """The function that training minimizes, on the raw scores of the network."""

    target_kind: ClassVar[TargetKind]
    """`class`: one class index a row, (n,). `binary`: (n, columns) in [0, 1]. `value`: any numbers, (n, columns)."""
    has_link: ClassVar[bool] = True
    """Whether predictions are a nonlinear function of the scores that belongs to this loss."""
    sums_rows: ClassVar[bool] = False
    """Whether it takes sums over the scores of each row, as a softmax does."""

    @abstractmethod
    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: LossWorkspace, weights: Weights = None
    ) -> float:
        """The mean loss of a batch; writes its derivative by `scores` (n, outputs) into `grad`."""

    @abstractmethod
    def predict(self, scores: Array) -> Array:
        """The link: probabilities or values (n, outputs) for raw scores, as a new array."""

    @abstractmethod
    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        """The scores (outputs,) that minimize the loss when every row must get the same; rows count by `weights`."""

    def outputs(self, columns: int) -> int:
        """Number of scores for a target of so many columns (or classes)."""
        return columns

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        """On which side of a corner of the loss each entry lies; None for a smooth loss."""
        return None

    def workspace(self, rows: int, outputs: int, dtype: np.dtype) -> LossWorkspace:
        """Room for batches of `rows` rows."""
        return LossWorkspace.allocate(rows, outputs, dtype, self.sums_rows)

    def value(self, scores: Array, target: Target, weights: Weights = None) -> float:
        """The mean loss alone, of scores of any number of rows."""
        ws = self.workspace(len(scores), scores.shape[1], scores.dtype)
        return self.value_and_gradient(scores, target, np.empty_like(scores), ws, weights)


class ElementwiseLoss(Loss):
    """A loss that is the mean of one term for each output of each row."""

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: LossWorkspace, weights: Weights = None
    ) -> float:
        terms = ws.like_scores
        self.terms(scores, target, terms, grad, ws.room)
        share = grad.size
        if weights is not None:
            np.multiply(terms, weights[:, None], out=terms)
            np.multiply(grad, weights[:, None], out=grad)
            share = (float(np.add.reduce(weights, dtype=np.float64)) or 1.0) * scores.shape[1]
        total = float(np.add.reduce(terms, axis=None, dtype=np.float64))
        np.multiply(grad, 1 / share, out=grad)
        return total / share

    @abstractmethod
    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        """Write each term and its derivative by its score, all (n, outputs); `room` is theirs to overwrite."""


class ValueLoss(ElementwiseLoss):
    """A loss on values."""

    target_kind: ClassVar[TargetKind] = "value"
    has_link: ClassVar[bool] = False
    scalable: ClassVar[bool] = True
    """Whether the target may be shifted and scaled for training."""
    domain: ClassVar[str] = "a number"
    """What a target must be, for a message."""

    def predict(self, scores: Array) -> Array:
        return scores.copy()

    def point(self, predictions: Array) -> Array:
        """One value for each target column (n, columns), for metrics."""
        return predictions

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        """What the predictions are called."""
        return columns

    def outside_domain(self, target: Target) -> NDArray[np.bool_] | None:
        """Which rows have a target that this loss cannot take; None if it takes every number."""
        return None


def weighted_mean(target: Target, weights: Weights) -> Array:
    """The mean over rows, in float64."""
    if weights is None:
        return np.asarray(np.mean(target, axis=0, dtype=np.float64))
    return np.asarray(np.average(target.astype(np.float64), axis=0, weights=weights.astype(np.float64)))


def weighted_quantile(target: Target, q: float, weights: Weights) -> Array:
    """The least value of each column for which at least the share `q` of the rows is not above it."""
    if weights is None:
        return np.asarray(np.quantile(target, q, axis=0, method="inverted_cdf"), dtype=np.float64)
    order = np.argsort(target, axis=0)
    mass = np.cumsum(weights.astype(np.float64)[order], axis=0)
    place = (mass >= q * mass[-1] * (1 - 1e-12)).argmax(axis=0)
    rising = np.take_along_axis(target, order, axis=0)
    return np.asarray(np.take_along_axis(rising, place[None], axis=0)[0], dtype=np.float64)


MEAN = r"L = \frac{1}{S} \sum_r \omega_r \sum_k \ell(p_{rk}, y_{rk}), \qquad S = K \sum_r \omega_r"
"""The formula of a loss that is a mean of terms, with a weight for each row."""
SOFTMAX = r"p_{rj} = \frac{e^{z_{rj}}}{\sum_k e^{z_{rk}}}"


class MeanSquaredError(ValueLoss):
    """Mean squared error: sum (p - y)^2 / (n K) over n rows and K outputs, gradient 2 (p - y) / (n K).

    Without the factor 1/2 that some texts put in front; a rate for the halved loss is half the rate here.
    """

    kind: Literal["mse"] = "mse"
    formula: ClassVar = (
        r"\ell = u^2, \qquad \frac{\partial \ell}{\partial p} = 2u, \qquad u = p - y",
        MEAN,
    )
    aliases: ClassVar = ("mean_squared_error",)

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        np.subtract(scores, target, out=grad)
        np.multiply(grad, grad, out=terms)
        np.multiply(grad, 2, out=grad)

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
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

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        np.subtract(scores, target, out=grad)
        np.abs(grad, out=terms)
        np.sign(grad, out=grad)

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        return np.asarray(np.median(target, axis=0)) if weights is None else weighted_quantile(target, 0.5, weights)

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        return np.sign(scores - target)


class Huber(ValueLoss):
    """Huber loss with e = p - y: e^2 / 2 where |e| <= delta, delta (|e| - delta/2) beyond.

    The gradient is e, cut at -delta and delta. Huber 1964; the mean over rows and outputs. PyTorch's SmoothL1Loss is
    this divided by its beta.
    """

    kind: Literal["huber"] = "huber"
    formula: ClassVar = (
        r"\ell = \frac{1}{2} u^2 [\lvert u\rvert \le d] + d (\lvert u\rvert - d/2) [\lvert u\rvert \gt d]",
        r"\frac{\partial \ell}{\partial p} = \min(\max(u, -d), d), \qquad u = p - y, \qquad d = \mathrm{delta}",
        MEAN,
    )
    delta: float = Field(
        1.0, gt=0, description="Where it turns from quadratic to linear, in units of the scaled target."
    )
    examples: ClassVar = ({}, {"delta": 0.5})

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        # with c = clip(e): c (e - c/2) is e^2/2 inside and delta (|e| - delta/2) outside
        np.subtract(scores, target, out=terms)
        cut(terms, -self.delta, self.delta, out=grad)
        np.multiply(terms, 2, out=terms)
        np.subtract(terms, grad, out=terms)
        np.multiply(terms, grad, out=terms)
        np.multiply(terms, 0.5, out=terms)

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        best, rows = (
            MeanAbsoluteError().best_constant(target, outputs, weights),
            1.0 if weights is None else weights[:, None],
        )
        for _ in range(100):  # iteratively reweighted means converge to the minimum of this convex function
            weight = rows * self.delta / np.maximum(np.abs(target - best), self.delta)
            best = (weight * target).sum(axis=0) / weight.sum(axis=0)
        return np.asarray(best)


class Quantile(ValueLoss):
    """Pinball loss of quantiles q with e = y - p: max(q e, (q - 1) e), gradient -q where e > 0, 1 - q where e < 0.

    One output for each of the `quantiles` of a single target column; the mean over rows and quantiles. Koenker &
    Bassett 1978. Metrics judge the quantile that is nearest to the median.
    """

    kind: Literal["quantile"] = "quantile"
    formula: ClassVar = (
        r"\ell_k = \max(-q_k u_k, (1 - q_k) u_k), \qquad u_k = p_k - y",
        r"\frac{\partial \ell_k}{\partial p_k} = (1 - q_k) [u_k \gt 0] - q_k [u_k \lt 0] + (1/2 - q_k) [u_k = 0]",
        MEAN,
    )
    aliases: ClassVar = ("pinball",)
    quantiles: Annotated[tuple[Annotated[float, Field(gt=0, lt=1)], ...], Field(strict=False, min_length=1)] = Field(
        (0.1, 0.5, 0.9), description="Shares of the rows that shall lie below the prediction, rising."
    )
    examples: ClassVar = ({}, {"quantiles": (0.5,)})

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(a >= b for a, b in zip(self.quantiles, self.quantiles[1:], strict=False)):
            refuse([("quantiles", "must rise from one to the next")])
        return self

    def outputs(self, columns: int) -> int:
        return len(self.quantiles)

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        q = np.asarray(self.quantiles, dtype=scores.dtype)
        np.subtract(target, scores, out=terms)
        np.sign(terms, out=grad)
        np.multiply(grad, -0.5, out=grad)
        np.add(grad, 0.5, out=grad)
        np.subtract(grad, q, out=grad)  # 1 - q below, -q above, 1/2 - q at the corner
        np.multiply(terms, grad, out=terms)
        np.negative(terms, out=terms)

    def predict(self, scores: Array) -> Array:
        """The quantiles in rising order: sorting a row never raises its pinball loss (Chernozhukov et al. 2010)."""
        return np.sort(scores, axis=-1)

    def point(self, predictions: Array) -> Array:
        nearest = min(range(len(self.quantiles)), key=lambda i: abs(self.quantiles[i] - 0.5))
        return predictions[:, nearest : nearest + 1]

    def names(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{columns[0]}_q{q:g}" for q in self.quantiles)

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        return np.stack([weighted_quantile(target[:, 0], q, weights) for q in self.quantiles])

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

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        np.exp(scores, out=grad)
        np.multiply(scores, target, out=terms)
        np.subtract(grad, terms, out=terms)
        np.subtract(grad, target, out=grad)

    def predict(self, scores: Array) -> Array:
        return np.exp(scores)

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        return np.asarray(np.log(np.maximum(weighted_mean(target, weights), 1e-12)))

    def outside_domain(self, target: Target) -> NDArray[np.bool_] | None:
        return np.asarray((target < 0).any(axis=1))


class BinaryCrossEntropy(ElementwiseLoss):
    """Binary cross-entropy on raw scores z: sum [max(z, 0) - z y + log(1 + e^-|z|)] / (n K).

    The gradient is (s(z) - y) / (n K) with the link s, the sigmoid. The value is that of -y log s - (1 - y) log(1 - s)
    without ever computing a probability, so it is finite for every finite score. Targets lie in [0, 1]; several columns
    are several labels, each with a yes or no of its own. Label smoothing e replaces y by (1 - e) y + e/2.
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
        0.0, ge=0, lt=1, description="Share of the target that is spread evenly over yes and no."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})
    target_kind: ClassVar[TargetKind] = "binary"

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, room: Array) -> None:
        sigmoid(scores, grad, terms)
        y = room
        np.multiply(target, 1 - self.label_smoothing, out=y)
        np.add(y, self.label_smoothing / 2, out=y)
        np.subtract(grad, y, out=grad)
        np.multiply(y, scores, out=y)
        positive_part(scores, terms)
        np.subtract(terms, y, out=terms)  # first the difference, which may cancel to zero, then the small logarithm
        np.abs(scores, out=room)
        np.negative(room, out=room)
        np.exp(room, out=room)
        np.log1p(room, out=room)
        np.add(terms, room, out=terms)

    def predict(self, scores: Array) -> Array:
        out = np.empty_like(scores)
        sigmoid(scores, out, np.empty_like(scores))
        return out

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        share = weighted_mean(target, weights) * (1 - self.label_smoothing) + self.label_smoothing / 2
        share = np.clip(share, 1e-12, 1 - 1e-12)
        return np.asarray(np.log(share) - np.log1p(-share))


def class_weights(value: Any) -> Any:
    """A weight for each class by its label, or `balanced`."""
    if value is None or value == "balanced":
        return value
    if isinstance(value, dict) and value and all(is_positive(weight) for weight in value.values()):
        return {str(label): float(weight) for label, weight in value.items()}
    raise PydanticCustomError(
        "class_weight",
        "must be 'balanced' or a mapping from class labels to positive numbers, as in {{yes: 2.0, no: 1.0}}",
    )


def is_positive(value: Any) -> bool:
    """Whether `value` is a positive finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


class ClassLoss(Loss):
    """A loss on the probability of the true class; the link is the softmax."""

    target_kind: ClassVar[TargetKind] = "class"
    sums_rows: ClassVar[bool] = True
    class_weight: Annotated[dict[str, float] | Literal["balanced"] | None, PlainValidator(class_weights)] = Field(
        None, description="How much each class counts, by label; `balanced` is N / (K n_c) over the training rows."
    )
    by_class: ClassVar[NDArray[np.float64] | None] = None
    """(classes,): `class_weight` in the order of the classes, once they are known; then of the instance"""

    def with_class_weights(self, weights: tuple[float, ...] | None) -> Self:
        """The same loss with the weights of the classes in their order."""
        bound = self.model_copy()
        if weights is not None:  # a private attribute of Pydantic's would take a microsecond to read, in every step
            bound.__dict__["by_class"] = np.asarray(weights, dtype=np.float64)
        return bound

    def predict(self, scores: Array) -> Array:
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        counts = np.bincount(target, weights, minlength=outputs).astype(np.float64)
        mass = self.class_mass(counts) * (1.0 if self.by_class is None else self.by_class)
        return np.asarray(np.log(np.maximum(mass / mass.sum(), 1e-12)))

    def class_mass(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much of the target falls on each class (classes,), by the `counts` of their rows."""
        return counts

    def softmax(self, scores: Array, log_p: Array, p: Array, ws: LossWorkspace) -> None:
        """Write log p and e^(z - max z) = p S (n, classes), and S, the sums over the classes, into `ws.row` (n, 1)."""
        np.copyto(log_p, scores)
        np.maximum.reduce(log_p, axis=1, keepdims=True, out=ws.row)
        np.subtract(log_p, ws.row, out=log_p)
        np.exp(log_p, out=p)
        np.add.reduce(p, axis=1, keepdims=True, out=ws.row)
        np.log(ws.row, out=ws.other_row)
        np.subtract(log_p, ws.other_row, out=log_p)

    def row_weights(self, target: Target, weights: Weights, ws: LossWorkspace) -> float:
        """Write how much each row counts, its own weight times that of its class, into `ws.row_weight`; the sum."""
        out = ws.row_weight
        if self.by_class is None:
            out.fill(1)
        else:
            self.by_class.take(target, out=out, mode="clip")
        if weights is not None:
            np.multiply(out, weights, out=out)
        return float(np.add.reduce(out)) or 1.0  # a batch of rows that do not count has a gradient of zero


class CrossEntropy(ClassLoss):
    """Cross-entropy on raw scores z with class c: mean of log(sum_k e^z_k) - z_c, gradient (p - onehot(c)) / n.

    The link is the softmax p, computed with the largest score taken out first. Label smoothing e spreads that share
    of the target over all K classes: the target is (1 - e) onehot + e/K (Szegedy et al. 2016). With class weights w
    every term of that target is weighted, and the sum is divided by the sum of the weights of the true classes;
    both as in PyTorch.
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    formula: ClassVar = (
        r"L = -\frac{1}{S} \sum_r \sum_j q_{rj} \log p_{rj}, \qquad S = \sum_r \omega_r \kappa_{c(r)}",
        r"\frac{\partial L}{\partial z_{rj}} = \frac{1}{S} \left( p_{rj} \sum_k q_{rk} - q_{rj} \right)",
        SOFTMAX,
        r"q_{rj} = \omega_r \kappa_j ((1 - \varepsilon) [j = c(r)] + \varepsilon/K)",
        r"\varepsilon = \mathrm{label\ smoothing}, \qquad \kappa = \mathrm{class\ weight}",
    )
    aliases: ClassVar = ("softmax_cross_entropy", "categorical_cross_entropy")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target that is spread evenly over all classes."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: LossWorkspace, weights: Weights = None
    ) -> float:
        weighted = self.by_class is not None or weights is not None
        if weighted or not self._compiled(scores, target, grad, ws):
            log_p, p, q = ws.like_scores, ws.room, ws.target
            self.softmax(scores, log_p, p, ws)
            mass = self._write_target(q, target, weights, ws)
            np.multiply(log_p, q, out=log_p)
            np.add.reduce(log_p, axis=1, dtype=np.float64, out=ws.row_loss)
            np.divide(mass, ws.row, out=ws.row)
            np.multiply(p, ws.row, out=p)
            np.subtract(p, q, out=grad)  # p sum(q) - q
        return -float(np.add.reduce(ws.row_loss))

    def _compiled(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> bool:
        """Write the gradient and the negative loss of each row, where compiled loops can and no row has a weight.

        `like_scores` and `room` serve as memory alone: the loops fill them row after row, in whichever order they lie.
        """
        shifted, e = ws.like_scores, ws.room
        if not (ws.by_column and compiled.less_largest(scores, shifted)):  # NumPy sums long rows in another order
            return False
        np.exp(shifted, out=e)
        if not compiled.sum_rows(e, ws.row):
            return False
        np.log(ws.row, out=ws.other_row)
        share = 1 / len(scores)
        low, high = self._levels(scores.shape[1], share)
        return compiled.cross_entropy(shifted, e, ws.row, ws.other_row, target, grad, ws.row_loss, low, high, share)

    def _levels(self, classes: int, share: float) -> tuple[float, float]:
        """The smoothed target of the other classes and of the true class, times `share`."""
        low = self.label_smoothing / classes
        return low * share, (1 - self.label_smoothing + low) * share

    def class_mass(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((1 - self.label_smoothing) * counts + self.label_smoothing * counts.mean())

    def _write_target(self, q: Array, target: Target, weights: Weights, ws: LossWorkspace) -> Array | float:
        """Write the smoothed and weighted target distributions (n, classes) into `q`; the sum of each row.

        They are divided by the sum of the row weights, so that what is left to do with them is to add up.
        """
        weighted = self.by_class is not None or weights is not None
        share = 1 / self.row_weights(target, weights, ws) if weighted else 1 / len(q)
        low, high = self._levels(q.shape[1], share)
        q.fill(low)
        ws.flat(q).put(ws.find_true(target), high)
        if not weighted:
            return share
        if self.by_class is not None:
            np.multiply(q, self.by_class, out=q)
        if weights is not None:
            np.multiply(q, weights[:, None], out=q)
        return np.add.reduce(q, axis=1, keepdims=True, out=ws.other_row)


class Focal(ClassLoss):
    """Focal loss for rare classes: mean of -(1 - p_c)^gamma log p_c, with the softmax p as link.

    The gradient by z_j is a (onehot(c)_j - p_j) / n with a = gamma p_c (1 - p_c)^(gamma - 1) log p_c - (1 - p_c)^gamma.
    Rows that are right already count little. Lin et al. 2017; gamma 0 would be the cross-entropy.
    """

    kind: Literal["focal"] = "focal"
    formula: ClassVar = (
        r"L = -\frac{1}{S} \sum_r \omega_r \kappa_c (1 - p_{rc})^\gamma \log p_{rc}",
        r"S = \sum_r \omega_r \kappa_c, \qquad c = c(r), \qquad \kappa = \mathrm{class\ weight}",
        r"\frac{\partial L}{\partial z_{rj}} = \frac{\omega_r \kappa_c}{S} a_r ([j = c] - p_{rj})",
        r"a_r = \gamma p_{rc} (1 - p_{rc})^{\gamma - 1} \log p_{rc} - (1 - p_{rc})^\gamma",
        SOFTMAX,
    )
    gamma: float = Field(2.0, ge=1, description="How little rows count that are right already.")
    examples: ClassVar = ({}, {"gamma": 1.0}, {"gamma": 3.5})

    def best_constant(self, target: Target, outputs: int, weights: Weights = None) -> Array:
        scores = super().best_constant(target, outputs, weights)
        counts = np.bincount(target, weights, minlength=outputs).astype(np.float64)
        one_of_each, ws = np.arange(outputs), self.workspace(outputs, outputs, np.dtype(np.float64))
        grad = np.empty((outputs, outputs))
        for _ in range(500):  # no closed form: gradient descent on a smooth function of a few numbers
            self.value_and_gradient(np.tile(scores, (outputs, 1)), one_of_each, grad, ws, counts)
            scores = scores - 2 * grad.sum(axis=0)
        return np.asarray(scores)

    def value_and_gradient(
        self, scores: Array, target: Target, grad: Array, ws: LossWorkspace, weights: Weights = None
    ) -> float:
        log_p, p, known, miss, slope = ws.like_scores, ws.room, ws.picked, ws.row.reshape(-1), ws.other_row.reshape(-1)
        self.softmax(scores, log_p, p, ws)
        np.divide(p, ws.row, out=p)
        share = self.row_weights(target, weights, ws)
        true = ws.find_true(target)
        ws.flat(log_p).take(true, out=known, mode="clip")
        np.expm1(known, out=miss)
        np.negative(miss, out=miss)  # 1 - p_c
        np.power(miss, self.gamma - 1, out=slope)
        np.multiply(slope, ws.row_weight, out=slope)  # w (1 - p)^(gamma - 1)
        np.multiply(slope, miss, out=ws.row_weight)  # w (1 - p)^gamma
        np.multiply(known, ws.row_weight, out=miss)
        total = -float(np.add.reduce(miss, dtype=np.float64))
        np.multiply(slope, known, out=slope)
        np.exp(known, out=known)
        np.multiply(slope, known, out=slope)
        np.multiply(slope, self.gamma, out=slope)
        np.subtract(slope, ws.row_weight, out=slope)  # w a
        np.multiply(slope, 1 / share, out=slope)
        np.subtract(known, 1, out=known)
        ws.flat(p).put(true, known)  # p - onehot(c)
        np.multiply(p, ws.other_row, out=p)
        np.negative(p, out=grad)
        return total / share
