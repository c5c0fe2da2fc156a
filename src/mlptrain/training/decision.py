"""From which probability on is the positive class predicted?

By default from 1/2. Where the classes are of very different size, another threshold is better for most metrics: it is
the one with the best metric on the validation rows, of several the nearest to 1/2. With folds, each of these rows is
predicted by what was fitted without it. Lipton, Elkan & Naryanaswamy 2014 derive the threshold for F1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlptrain.dataset import Dataset
from mlptrain.errors import SpecError
from mlptrain.metrics import DecisionMetric, decision_metrics, log_odds
from mlptrain.nn.arrays import Array
from mlptrain.remedies import setting
from mlptrain.spec.plan import Plan
from mlptrain.tasks import Task

MAX_CUTS = 2000
"""Of a larger number of validation rows, only so many thresholds are tried."""
TIE = 1e-12
"""Metrics that differ by less are equal: the same fractions, added in another order, differ in the last bit."""


def check_decision(plan: Plan, dataset: Dataset) -> None:
    """Refuse to choose a threshold without validation rows of both classes."""
    if plan.decision.metric is None or dataset.validation is None:
        return
    found = np.unique(dataset.validation.truth())
    if np.array_equal(found, (0, 1)):
        return
    whole = np.isin(found, (0, 1)).all()
    what = f"rows of both classes, but all {len(dataset.validation)} validation rows are of one"
    what = f"{what}; hold out more of them" if whole else "a target of yes and no, but it holds probabilities"
    message = f"needs {what}; or name a number instead: {setting(decision={'threshold': 0.5})}"
    raise SpecError([plan.problem(("decision", "metric"), message)])


def decided(task: Task, plan: Plan, dataset: Dataset, scores: Array) -> Task:
    """The task with the best threshold for these `scores` of the validation rows, if one is to be chosen."""
    part = dataset.validation
    if plan.decision.metric is None or part is None or not np.isfinite(scores).all():
        return task
    ((positive, margins),) = task.outcome(plan.loss, scores, part.truth()).rankings
    return task.deciding_at(best_threshold(decision_metrics()[plan.decision.metric], positive, margins))


def best_threshold(metric: DecisionMetric, positive: NDArray[np.bool_], margins: Array) -> float:
    """The probability with the best `metric` for rows that are above it; of several the nearest to 1/2."""
    thresholds = candidates(margins)
    cuts = np.array([log_odds(threshold) for threshold in thresholds.tolist()])
    no, yes = (
        np.searchsorted(np.sort(margins[side]), cuts, "right") for side in (~positive, positive)
    )  # rows of each class that are not above
    tables = np.stack([no, np.sum(~positive) - no, yes, np.sum(positive) - yes], axis=1).reshape(-1, 2, 2)
    sign = 1.0 if metric.higher_is_better else -1.0
    found = (metric.of(table) for table in tables)
    values = np.array([-np.inf if value is None else sign * value for value in found])
    best = thresholds[values >= values.max() - TIE]
    return float(best[np.abs(best - 0.5).argmin()])


def candidates(margins: Array) -> NDArray[np.float64]:
    """1/2, and the probabilities between the log-odds of neighbouring rows, below all and above all of them."""
    distinct = np.unique(margins)
    if len(distinct) > MAX_CUTS:
        distinct = distinct[np.linspace(0, len(distinct) - 1, MAX_CUTS).round().astype(np.intp)]
    between = np.concatenate([distinct[:1] - 1, (distinct[1:] + distinct[:-1]) / 2, distinct[-1:] + 1, [0.0]])
    found = np.unique(1 / (1 + np.exp(-np.clip(between, -700, 700))))
    return found[(found > 0) & (found < 1)]
