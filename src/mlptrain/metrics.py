"""Which metrics tell how good predictions are?

Every metric follows scikit-learn's definition of the same name and is computed from the values of the file, in their
own units. A metric that is undefined - for one class only, for a constant target - is None, never 0 or NaN.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import Component, variants
from mlptrain.nn.arrays import Array, Indices

Metrics = dict[str, float | None]
Form = Literal["class", "labels", "values"]
"""`class`: one of several classes for each row. `labels`: one or several yes-no labels. `values`: numbers."""


@dataclass(frozen=True)
class Outcome:
    """True and predicted values, both in the units of the target."""

    truth: NDArray[Any]
    """(n,) class indices, (n, labels) of 0 and 1 or probabilities, (n, columns) values"""
    predicted: NDArray[Any]
    """the same shape"""
    margins: NDArray[np.float64] | None = None
    """(n, classes) or (n, labels): the log-odds of each class or label, log(p / (1 - p))"""

    @cached_property
    def tables(self) -> list[NDArray[np.int64]]:
        """The confusion matrix of the classes, or of each label; empty if the truth is probabilities."""
        if self.margins is None or (self.truth.ndim == 2 and not np.isin(self.truth, (0, 1)).all()):
            return []
        if self.truth.ndim == 1:
            return [confusion_matrix(self.truth, self.predicted, self.margins.shape[1])]
        truth, predicted = self.truth.astype(np.intp), self.predicted.astype(np.intp)
        return [confusion_matrix(truth[:, k], predicted[:, k], 2) for k in range(truth.shape[1])]


class Metric(Component):
    """A measure of the quality of predictions."""

    forms: ClassVar[tuple[Form, ...]]
    """The forms of outcome for which it is defined."""
    higher_is_better: ClassVar[bool] = True
    main: ClassVar[bool] = False
    """Whether it is shown during training."""

    @abstractmethod
    def __call__(self, outcome: Outcome) -> float | None:
        """The value; None if it is undefined."""

    def terms(self, outcome: Outcome) -> NDArray[np.float64] | None:
        """(n, terms): what each row contributes, if the value is a function of means over rows; None if it is not."""
        return None

    def of_means(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """(draws,): the values for means (draws, terms) of `terms`; NaN where one is undefined."""
        return means[:, 0]


class Accuracy(Metric):
    """The fraction of correct rows; with several labels, of rows in which every label is correct."""

    kind: Literal["accuracy"] = "accuracy"
    formula: ClassVar = (r"\frac{1}{n} \sum_r [\hat y_r = y_r]",)
    forms: ClassVar = ("class", "labels")
    main: ClassVar = True

    def __call__(self, outcome: Outcome) -> float | None:
        if not outcome.tables:
            return None
        return float(self._right(outcome).mean())

    def terms(self, outcome: Outcome) -> NDArray[np.float64] | None:
        return self._right(outcome)[:, None].astype(np.float64) if outcome.tables else None

    def _right(self, outcome: Outcome) -> NDArray[np.bool_]:
        right = np.asarray(outcome.truth == outcome.predicted)
        return right if right.ndim == 1 else np.asarray(right.all(axis=1))


class BalancedAccuracy(Metric):
    """The mean recall of the classes that occur; the mean over labels."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"
    formula: ClassVar = (
        r"\frac{1}{K} \sum_k \frac{a_k}{n_k}, \qquad a_k \ \mathrm{of} \ n_k \ \mathrm{rows\ are\ right}",
    )
    forms: ClassVar = ("class", "labels")

    def __call__(self, outcome: Outcome) -> float | None:
        return mean_or_none([recall(table) for table in outcome.tables])


class MacroF1(Metric):
    """The mean F1 of the classes that occur or are predicted; with several labels, the mean of their F1."""

    kind: Literal["macro_f1"] = "macro_f1"
    formula: ClassVar = (
        r"\frac{1}{K} \sum_k \frac{2 a_k}{n_k + m_k}, \qquad m_k \ \mathrm{rows\ are\ taken\ for\ class} \ k",
    )
    forms: ClassVar = ("class", "labels")

    def __call__(self, outcome: Outcome) -> float | None:
        scores = [f1(table) for table in outcome.tables]
        if len(scores) != 1:
            return mean_or_none([None if math.isnan(score[1]) else float(score[1]) for score in scores])
        return float(scores[0][~np.isnan(scores[0])].mean())


class LogLoss(Metric):
    """Minus the mean log-probability of the true class; the mean over labels."""

    kind: Literal["log_loss"] = "log_loss"
    formula: ClassVar = (r"-\frac{1}{n} \sum_r \log p_{r c(r)}",)
    forms: ClassVar = ("class", "labels")
    higher_is_better: ClassVar = False

    def __call__(self, outcome: Outcome) -> float | None:
        margins, truth = outcome.margins, outcome.truth
        if margins is None:
            return None
        if truth.ndim == 1:
            return float(softplus(-np.take_along_axis(margins, truth[:, None], axis=1)).mean())
        return float((softplus(margins) - truth * margins).mean())


class RocAuc(Metric):
    """The area under the ROC curve, from log-odds, which do not saturate; the mean over classes, one versus rest."""

    kind: Literal["roc_auc"] = "roc_auc"
    formula: ClassVar = (
        r"\frac{1}{n_1 n_0} \sum_{r \in 1} \sum_{s \in 0} \left( [m_r \gt m_s] + \frac{1}{2} [m_r = m_s] \right)",
        r"m = \log \frac{p}{1 - p}",
    )
    forms: ClassVar = ("class", "labels")

    def __call__(self, outcome: Outcome) -> float | None:
        margins, truth = outcome.margins, outcome.truth
        if margins is None or not outcome.tables:
            return None
        columns = range(margins.shape[1])
        if truth.ndim == 2:
            return mean_or_none([roc_auc(truth[:, k] == 1, margins[:, k]) for k in columns])
        return mean_or_none([roc_auc(truth == k, margins[:, k]) for k in (columns if len(columns) > 2 else (1,))])


class RootMeanSquaredError(Metric):
    """The square root of the mean squared error; the mean over columns."""

    kind: Literal["rmse"] = "rmse"
    formula: ClassVar = (r"\sqrt{\frac{1}{n} \sum_r (\hat y_r - y_r)^2}",)
    forms: ClassVar = ("values",)
    higher_is_better: ClassVar = False

    def __call__(self, outcome: Outcome) -> float | None:
        error = outcome.predicted - outcome.truth
        return float(np.mean(np.sqrt((error**2).mean(axis=0))))


class MeanAbsoluteError(Metric):
    """The mean absolute error."""

    kind: Literal["mae"] = "mae"
    formula: ClassVar = (r"\frac{1}{n} \sum_r \lvert \hat y_r - y_r\rvert",)
    forms: ClassVar = ("values",)
    higher_is_better: ClassVar = False

    def __call__(self, outcome: Outcome) -> float | None:
        return float(np.mean(np.abs(outcome.predicted - outcome.truth)))


class RSquared(Metric):
    """The coefficient of determination R^2; the mean over columns, None if a column is constant."""

    kind: Literal["r2"] = "r2"
    formula: ClassVar = (r"1 - \frac{\sum_r (\hat y_r - y_r)^2}{\sum_r (y_r - \bar y)^2}",)
    forms: ClassVar = ("values",)
    main: ClassVar = True

    def __call__(self, outcome: Outcome) -> float | None:
        truth, error = outcome.truth, outcome.predicted - outcome.truth
        spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
        constant = (truth == truth[0]).all(axis=0) | (spread == 0)
        return None if constant.any() else float(np.mean(1 - (error**2).sum(axis=0) / spread))

    def terms(self, outcome: Outcome) -> NDArray[np.float64] | None:
        """For each column y - m, its square and the squared error, where m is the mean of y."""
        truth, error = outcome.truth - outcome.truth.mean(axis=0), outcome.predicted - outcome.truth
        return np.concatenate([truth, truth**2, error**2], axis=1).astype(np.float64)

    def of_means(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        first, second, error = np.split(means, 3, axis=1)
        spread = second - first**2
        spread[spread <= 1e-9 * second] = np.nan  # a draw of one value, up to rounding
        return np.asarray((1 - error / spread).mean(axis=1))


def metrics_for(form: Form) -> tuple[Metric, ...]:
    """Every metric that is defined for `form`."""
    return tuple(metric() for metric in variants(Metric) if form in metric.forms)


def higher_is_better(name: str) -> bool:
    """Whether a larger value of the metric called `name` is better; False for a loss."""
    return any(metric.name() == name and metric.higher_is_better for metric in variants(Metric))


def softmax_margins(scores: Array) -> NDArray[np.float64]:
    """The log-odds (n, classes) of each class in the softmax of `scores`, accurate for any distance of the scores.

    With L = log sum_k e^z_k they are -log(e^(L - z) - 1). For the largest score this loses precision; there they are
    the difference to the log-sum-exp of the other scores.
    """
    z = scores.astype(np.float64)
    if z.shape[1] == 2:
        return z - z[:, ::-1]
    rows, top = np.arange(len(z)), z.argmax(axis=1)
    z -= z[rows, top][:, None]
    z[rows, top] = -np.inf
    second = z.max(axis=1, keepdims=True)
    exponentials = np.sort(np.exp(z - second), axis=1)  # so that the order of the classes does not affect rounding
    others = second + np.log(exponentials.sum(axis=1, keepdims=True))
    z[rows, top] = 0
    gap = np.log1p(np.exp(others)) - z
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(z == 0, -others, -(gap + np.log(-np.expm1(-gap)))))


def softplus(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(1 + e^z) for any z."""
    return np.asarray(np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))))


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row is the true class, column the predicted one."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def recall(table: NDArray[np.int64]) -> float:
    """The mean recall of the classes that occur in a confusion matrix."""
    rows = table.sum(axis=1)
    return float((table.diagonal()[rows > 0] / rows[rows > 0]).mean())


def f1(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN) of each class; NaN for one that neither occurs nor is predicted."""
    involved = table.sum(axis=0) + table.sum(axis=1)
    return np.asarray(np.divide(2 * table.diagonal(), involved, out=np.full(len(table), np.nan), where=involved > 0))


def roc_auc(positive: NDArray[np.bool_], scores: Array) -> float | None:
    """The probability that a positive row scores higher than a negative one; ties count half (Mann & Whitney 1947)."""
    yes, no = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(yes) or not len(no):
        return None
    below, not_above = (int(np.searchsorted(no, yes, side).sum()) for side in ("left", "right"))
    return (below + not_above) / (2 * len(yes) * len(no))


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean, or None if a value is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if values and len(defined) == len(values) else None


def finite_or_none(value: float | None) -> float | None:
    """The value, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None
