"""Which curves and figures describe predictions? Numbers only; nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Flags = NDArray[np.bool_]


class Ranked(NamedTuple):
    """How many rows score at least as high as each distinct score, from the highest on."""

    scores: Values
    right: NDArray[np.int64]
    """Positive rows."""
    wrong: NDArray[np.int64]
    """Negative rows."""


def ranked(positive: Flags, scores: Values) -> Ranked:
    """The rows counted by score; tied rows count at once."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True).nonzero()[0]
    right = np.cumsum(positive[order], dtype=np.int64)[last]
    return Ranked(scores[order][last], right, last + 1 - right)


def roc_curve(positive: Flags, scores: Values) -> tuple[Values, Values]:
    """The false and the true positive rate for every threshold, from (0, 0) to (1, 1)."""
    counts = ranked(positive, scores)
    rates = (np.append(0, found) / max(1, found[-1]) for found in (counts.wrong, counts.right))
    false, true = rates
    return false, true


def precision_recall_curve(positive: Flags, scores: Values) -> tuple[Values, Values]:
    """Recall and precision for every threshold, from the highest score on; precision is 1 where nothing is found."""
    counts = ranked(positive, scores)
    recall = counts.right / max(1, counts.right[-1])
    precision = counts.right / (counts.right + counts.wrong)
    return np.append(0.0, recall), np.append(1.0, precision)


@dataclass(frozen=True)
class Calibration:
    """Predicted probabilities and how often they came true, by bins of about as many rows."""

    predicted: Values
    """(bins,): the mean probability."""
    observed: Values
    """(bins,): the share of the rows that are positive."""
    rows: NDArray[np.int64]

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of the two, weighted by rows (Naeini et al. 2015)."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.rows))


def calibration(positive: Flags, probability: Values, bins: int = 10) -> Calibration:
    """The calibration of `probability` in bins between its quantiles."""
    edges = np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1])
    places = np.searchsorted(edges, probability)
    rows = np.bincount(places)
    used = rows > 0
    sums = [np.bincount(places, values, len(rows))[used] for values in (probability, positive.astype(np.float64))]
    return Calibration(sums[0] / rows[used], sums[1] / rows[used], rows[used])


@dataclass(frozen=True)
class Thresholds:
    """Precision, recall and F1 of the positive class, and the accuracy, for each threshold."""

    threshold: Values
    precision: Values
    """NaN where no row is above the threshold."""
    recall: Values
    f1: Values
    accuracy: Values


def thresholds(positive: Flags, probability: Values, steps: int = 100) -> Thresholds:
    """What the decision for rows above a threshold gives, for thresholds between 0 and 1."""
    cuts = np.linspace(0, 1, steps + 1)
    sides = (probability[~positive], probability[positive])
    no, yes = (len(side) - np.searchsorted(np.sort(side), cuts, "right") for side in sides)
    rows, positives = len(positive), int(positive.sum())
    taken = yes + no
    precision = np.divide(yes, taken, out=np.full(len(cuts), np.nan), where=taken > 0)
    f1 = np.divide(2 * yes, taken + positives, out=np.zeros(len(cuts)), where=taken + positives > 0)
    return Thresholds(cuts, precision, yes / max(1, positives), f1, (yes + rows - positives - no) / rows)


class Decile(NamedTuple):
    """A tenth of the rows, in the order of the true value."""

    low: float
    high: float
    rows: int
    mean_error: float
    """The mean of predicted minus true: above 0 the predictions are too high."""
    size: float
    """The mean absolute error."""


def deciles(truth: Values, predicted: Values, parts: int = 10) -> list[Decile]:
    """The error by tenths of the rows, from the lowest true values to the highest."""
    order = np.array_split(np.argsort(truth, kind="stable"), min(parts, len(truth)))
    return [decile(truth[some], predicted[some] - truth[some]) for some in order]


def decile(truth: Values, error: Values) -> Decile:
    """The error of some rows, whose true values increase."""
    return Decile(float(truth[0]), float(truth[-1]), len(truth), float(error.mean()), float(np.abs(error).mean()))


def histogram(values: Values, bins: int = 40) -> tuple[Values, NDArray[np.int64], int]:
    """Edges and counts between the quantiles 0.1 % and 99.9 %, and how many finite values lie outside."""
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return np.array([0.0, 1.0]), np.zeros(1, np.int64), 0
    low, high = np.quantile(values, [0.001, 0.999]).tolist()
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) / 2 or 0.5
        low, high = low - half, low + half
    counts, edges = np.histogram(values, bins, (low, high))
    return edges, counts, len(values) - int(counts.sum())


class Bowl(NamedTuple):
    """The mean squared error of a linear model of two inputs, as a function of its two weights at the best bias."""

    lowest: float
    best: Values
    """(2,): the weights at its lowest point."""
    curvature: Values
    """(2, 2): its second derivatives"""

    @classmethod
    def of(cls, x: Values, y: Values) -> Bowl:
        """That of the rows `x` (n, 2) and the targets `y` (n,)."""
        x, y = x - x.mean(axis=0), y - y.mean()
        best = np.linalg.lstsq(x, y, rcond=None)[0].astype(np.float64)
        return cls(float(np.mean((y - x @ best) ** 2)), best, 2 * x.T @ x / len(x))

    def loss(self, weights: Values) -> Values:
        """(n,): the loss at `weights` (n, 2)."""
        away = weights - self.best
        return np.asarray(self.lowest + np.einsum("ni,ij,nj->n", away, self.curvature, away) / 2)

    def contour(self, loss: float, points: int = 181) -> Values:
        """(points, 2): the ellipse of the weights with that loss, above the lowest one."""
        values, axes = np.linalg.eigh(self.curvature)
        angle = np.linspace(0, 2 * np.pi, points)
        halves = np.sqrt(2 * (loss - self.lowest) / np.maximum(values, 1e-300))
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        return np.asarray(self.best + (circle * halves) @ axes.T)


def thinned(most: int, *curves: Values) -> tuple[Values, ...]:
    """At most about `most` points of each curve, evenly by number, with both ends."""
    size = len(curves[0])
    if size <= most:
        return curves
    kept = np.unique(np.linspace(0, size - 1, most).round().astype(np.intp))
    return tuple(curve[kept] for curve in curves)


def probability(margins: Values) -> Values:
    """The probability for log-odds."""
    return np.asarray(1 / (1 + np.exp(-np.clip(margins, -700, 700))))
