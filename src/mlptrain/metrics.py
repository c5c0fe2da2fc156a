"""Which metrics tell how good predictions are?

Every metric follows scikit-learn's definition of the same name and is computed from the values of the file, in their
own units. A metric that is undefined - for one class only, for a constant target - is None, never 0 or NaN.

Of two classes, the second one in order is the positive one: `yes` of no and yes, 1 of 0 and 1.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

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

    @property
    def rankings(self) -> list[tuple[NDArray[np.bool_], Array]]:
        """Which rows are positive, and the log-odds that rank them: of each label or class, of the second one of two.

        Empty if the truth is probabilities.
        """
        if self.margins is None or not self.tables:
            return []
        columns = range(self.margins.shape[1])
        if self.truth.ndim == 2:
            return [(self.truth[:, k] == 1, self.margins[:, k]) for k in columns]
        return [(self.truth == k, self.margins[:, k]) for k in (columns if len(columns) > 2 else (1,))]

    @cached_property
    def sides(self) -> list[tuple[Array, Array]]:
        """For each of the `rankings`, the log-odds of the positive and of the negative rows, sorted."""
        return [(np.sort(margins[yes]), np.sort(margins[~yes])) for yes, margins in self.rankings]


class ClassFigures(NamedTuple):
    """How well one class is predicted; None where a figure is undefined."""

    name: str
    rows: int
    """Rows that are of this class."""
    precision: float | None
    """The share of them among the rows that are taken for this class."""
    recall: float | None
    """The share of them that is taken for this class."""
    f1: float | None


class Metric(Component):
    """A measure of the quality of predictions."""

    forms: ClassVar[tuple[Form, ...]]
    """The forms of outcome for which it is defined."""
    higher_is_better: ClassVar[bool] = True
    two_sided: ClassVar[bool] = False
    """Whether it needs a positive class: one of two, or the yes of a label."""
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


class DecisionMetric(Metric):
    """A measure of the decisions between classes, from the confusion matrix; the mean over labels."""

    forms: ClassVar = ("class", "labels")

    @abstractmethod
    def of(self, table: NDArray[np.int64]) -> float | None:
        """The value for one confusion matrix: row is the true class, column the predicted one."""

    def __call__(self, outcome: Outcome) -> float | None:
        return mean_or_none([self.of(table) for table in outcome.tables])


class Accuracy(DecisionMetric):
    """The fraction of correct rows; with several labels, of rows in which every label is correct."""

    kind: Literal["accuracy"] = "accuracy"
    formula: ClassVar = (r"\frac{1}{n} \sum_r [\hat y_r = y_r]",)
    main: ClassVar = True

    def of(self, table: NDArray[np.int64]) -> float | None:
        return float(table.trace() / table.sum())

    def __call__(self, outcome: Outcome) -> float | None:
        if len(outcome.tables) < 2:
            return super().__call__(outcome)
        return float(self._right(outcome).mean())

    def terms(self, outcome: Outcome) -> NDArray[np.float64] | None:
        return self._right(outcome)[:, None].astype(np.float64) if outcome.tables else None

    def _right(self, outcome: Outcome) -> NDArray[np.bool_]:
        right = np.asarray(outcome.truth == outcome.predicted)
        return right if right.ndim == 1 else np.asarray(right.all(axis=1))


class BalancedAccuracy(DecisionMetric):
    """The mean recall of the classes that occur; the mean over labels."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"
    formula: ClassVar = (
        r"\frac{1}{K} \sum_k \frac{a_k}{n_k}, \qquad a_k \ \mathrm{of} \ n_k \ \mathrm{rows\ are\ right}",
    )

    def of(self, table: NDArray[np.int64]) -> float | None:
        return recall(table)


class F1(DecisionMetric):
    """The F1 of the positive class of two: the harmonic mean of its precision and its recall."""

    kind: Literal["f1"] = "f1"
    formula: ClassVar = (r"\frac{2 \mathrm{TP}}{2 \mathrm{TP} + \mathrm{FP} + \mathrm{FN}}",)
    two_sided: ClassVar = True

    def of(self, table: NDArray[np.int64]) -> float | None:
        return nan_to_none(f1(table)[1])


class MacroF1(DecisionMetric):
    """The mean F1 of the classes that occur or are predicted; with several labels, the mean of their F1."""

    kind: Literal["macro_f1"] = "macro_f1"
    formula: ClassVar = (
        r"\frac{1}{K} \sum_k \frac{2 a_k}{n_k + m_k}, \qquad m_k \ \mathrm{rows\ are\ taken\ for\ class} \ k",
    )

    def of(self, table: NDArray[np.int64]) -> float | None:
        scores = f1(table)
        return float(scores[~np.isnan(scores)].mean())

    def __call__(self, outcome: Outcome) -> float | None:
        if len(outcome.tables) < 2:
            return super().__call__(outcome)
        return mean_or_none([nan_to_none(f1(table)[1]) for table in outcome.tables])


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
        return mean_or_none([roc_auc(yes, no) for yes, no in outcome.sides])


class AveragePrecision(Metric):
    """The area under the curve of precision and recall, as a sum of steps; of two classes that of the positive one.

    For more classes it is the mean over them, one versus rest, for several labels the mean over labels. A random
    ranking has the share of the positive rows, so that it says more about a rare class than the area under the ROC
    curve.
    """

    kind: Literal["average_precision"] = "average_precision"
    formula: ClassVar = (r"\sum_t (R_t - R_{t-1}) P_t, \qquad P_t, R_t \ \mathrm{of\ the\ rows\ with} \ m_r \ge m_t",)
    forms: ClassVar = ("class", "labels")

    def __call__(self, outcome: Outcome) -> float | None:
        return mean_or_none([average_precision(yes, no) for yes, no in outcome.sides])


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


def metrics_for(form: Form, two_sided: bool = True) -> tuple[Metric, ...]:
    """Every metric that is defined for `form`, with a positive class if it is `two_sided`."""
    return tuple(
        metric() for metric in variants(Metric) if form in metric.forms and (two_sided or not metric.two_sided)
    )


def decision_metrics() -> dict[str, DecisionMetric]:
    """The metrics by which a threshold can be chosen, by name."""
    return {metric.name(): metric() for metric in variants(DecisionMetric)}


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


def log_odds(probability: float) -> float:
    """log(p / (1 - p)) for 0 < p < 1; exactly 0 for 1/2."""
    return math.log(probability) - math.log1p(-probability)


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


def roc_auc(yes: Array, no: Array) -> float | None:
    """The probability that a positive row scores higher than a negative one; ties count half (Mann & Whitney 1947).

    `yes` and `no` are the scores of the positive and of the negative rows, sorted.
    """
    if not yes.size or not no.size:
        return None
    below, not_above = (int(no.searchsorted(yes, side).sum()) for side in ("left", "right"))
    return (below + not_above) / (2 * yes.size * no.size)


def average_precision(yes: Array, no: Array) -> float | None:
    """The mean, over the positive rows, of the precision among the rows that score at least as high.

    `yes` and `no` are the scores of the positive and of the negative rows, sorted.
    """
    if not yes.size:
        return None
    right, wrong = yes.size - yes.searchsorted(yes), no.size - no.searchsorted(yes)
    return float((right / (right + wrong)).sum()) / yes.size


def class_figures(name: str, table: NDArray[np.int64], k: int) -> ClassFigures:
    """The figures of class `k` of a confusion matrix."""
    right, rows, taken = int(table[k, k]), int(table[k].sum()), int(table[:, k].sum())
    precision, recall = right / taken if taken else None, right / rows if rows else None
    return ClassFigures(name, rows, precision, recall, 2 * right / (rows + taken) if rows + taken else None)


def nan_to_none(value: float) -> float | None:
    """The value, or None if it is NaN."""
    return None if math.isnan(value) else float(value)


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean, or None if a value is undefined."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if values and len(defined) == len(values) else None


def finite_or_none(value: float | None) -> float | None:
    """The value, or None if it is not finite."""
    return value if value is not None and math.isfinite(value) else None
