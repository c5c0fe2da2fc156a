"""How sure is a figure?

The rows of a test are a sample. The interval says which values a figure would take on other samples like it: the
bootstrap (Efron 1979) draws the rows again and again, as many as there are and with replacement, computes the figure of
each draw and keeps the middle 95 % of them (the percentile interval). Nothing is trained again, so that the interval is
that of this model on new rows, not that of a model trained anew.

Every figure here is a function of means over rows, such as the mean loss, or the means of y, y^2 and the squared error
of R^2. A draw is then a number of copies for each row, and all draws together are one product of matrices.

Rows that belong together are drawn together: those of a group, and with repeated folds the predictions of one row. More
than `MOST` rows or groups are dealt at random into `MOST` bundles of the same number, which are drawn instead: the
variance of a mean is estimated from that many bundles as well as from the rows, but for about 1/sqrt(2 MOST) = 2 %.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.split import without_gaps
from mlptrain.dataset import Part
from mlptrain.metrics import Metric
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.losses import Loss
from mlptrain.randomness import stream
from mlptrain.tasks import Task

LEVEL = 0.95
DRAWS = 1000
MOST = 1000
"""Units that are drawn; more rows or groups are bundled into so many."""
Values = NDArray[np.float64]
Interval = tuple[float, float] | None
"""The lower and the upper end; None where the draws do not differ, or do not define the figure."""


class Intervals(NamedTuple):
    """The intervals of the loss and of the main metric on some rows."""

    rows: int
    """Different rows."""
    groups: int | None
    """Groups of rows that were drawn; None if the rows were."""
    figures: dict[str, Interval]
    """By name, as in the metrics."""

    def document(self) -> dict[str, Any]:
        """The intervals as JSON."""
        figures = {name: None if ends is None else list(ends) for name, ends in self.figures.items()}
        return {"level": LEVEL, "rows": self.rows, "groups": self.groups, "figures": figures}


class Statistic(NamedTuple):
    """A figure that is a function of means over rows."""

    terms: Values
    """(rows, terms)"""
    metric: Metric | None = None
    """What computes it from the means; None for a mean itself."""

    def of(self, means: Values) -> Values:
        """The figure for each row of `means` (draws, terms)."""
        return means[:, 0] if self.metric is None else self.metric.of_means(means)


def intervals(task: Task, loss: Loss, scores: Array, part: Part, seed: int) -> Intervals:
    """The intervals of the loss and of the main metric for the `scores` of the rows of `part`."""
    codes = without_gaps(part.rows if part.units is None else part.units[part.rows])
    units = int(codes.max(initial=-1)) + 1
    found = statistics(task, loss, scores, part) if np.isfinite(scores).all() else {}
    figures: dict[str, Interval] = dict.fromkeys(found)
    if units > 1 and found:
        rng = stream(seed, "intervals")
        draws = means_of_draws(np.concatenate([each.terms for each in found.values()], axis=1), codes, rng)
        start = 0
        for name, each in found.items():
            width = each.terms.shape[1]
            figures[name] = middle(each.of(draws[:, start : start + width]))
            start += width
    return Intervals(part.distinct, None if part.units is None else units, figures)


def statistics(task: Task, loss: Loss, scores: Array, part: Part) -> dict[str, Statistic]:
    """The figures that have intervals, by name: the loss and the main metric, where they are functions of means."""
    found = {"loss": Statistic(losses_of_rows(task, loss, scores, part)[:, None])}
    outcome = task.outcome(loss, scores, part.truth())
    for metric in task.metrics:
        terms = metric.terms(outcome) if metric.main else None
        if terms is not None:
            found[metric.name()] = Statistic(terms, metric)
    return {name: each for name, each in found.items() if np.isfinite(each.terms).all()}


def losses_of_rows(task: Task, loss: Loss, scores: Array, part: Part) -> Values:
    """(rows,): the loss of each row, times its weight; their mean is the loss. A row is computed as a member."""
    weights, target = part.weights(), part.target()
    each = None if weights is None else weights[:, None]
    return np.asarray(loss.value(scores[:, None], target[:, None], each, task.class_weights), np.float64)


def means_of_draws(terms: Values, codes: Indices, rng: np.random.Generator) -> Values:
    """(draws, terms): the means of `terms` over the rows of each draw of units; `codes` says the unit of each row."""
    units = int(codes.max()) + 1
    if units > MOST:
        codes, units = (rng.permutation(units) % MOST)[codes], MOST
    sizes = np.bincount(codes, minlength=units).astype(np.float64)
    sums = np.stack([np.bincount(codes, column, units) for column in terms.T], axis=1)
    drawn = rng.integers(0, units, (DRAWS, units)) + np.arange(DRAWS)[:, None] * units
    copies = np.bincount(drawn.ravel(), minlength=DRAWS * units).reshape(DRAWS, units).astype(np.float64)
    return np.asarray(copies @ sums / (copies @ sizes)[:, None])


def middle(values: Values) -> Interval:
    """The middle 95 % of the defined values; None if they are all the same, or if hardly any is defined."""
    values = np.sort(values[np.isfinite(values)])
    if len(values) < LEVEL * DRAWS or values[0] == values[-1]:
        return None
    places = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]) * (len(values) - 1)
    low, high = np.interp(places, np.arange(len(values)), values).tolist()
    return low, high
