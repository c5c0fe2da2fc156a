"""How good are the predictions?

Every metric follows scikit-learn's definition of the same name. Where a metric has no value - one class only, a
constant target - it is None: never 0, never NaN.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.dataset import Part
from mlptrain.data.targets import FittedBinary, FittedClasses, FittedTarget, FittedValues
from mlptrain.nn.arrays import Array, Indices, Target, Weights
from mlptrain.nn.losses import BinaryCrossEntropy, ClassWeights, CrossEntropy, Loss, TargetKind, ValueLoss

Metrics = dict[str, float | None]

NAMES: dict[TargetKind, tuple[str, ...]] = {
    "class": ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc"),
    "binary": ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "roc_auc"),
    "value": ("rmse", "mae", "r2"),
}
HIGHER_IS_BETTER = frozenset({"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "r2"})


def measure(target: FittedTarget, loss: Loss, scores: Array, part: Part) -> Metrics:
    """The loss and every metric for the `scores` (n, outputs) of the rows of `part`; row weights count in the loss."""
    truth = part.target()
    if not np.isfinite(scores).all():
        return dict.fromkeys(("loss", *NAMES[loss.target_kind]))
    metrics = every_metric(target, loss, scores, truth)
    weights = normalized_weights(part.weights(), target.class_weights, truth)
    metrics = {"loss": loss.value(scores, truth, weights, target.class_weights), **metrics}
    return {name: value if value is None or math.isfinite(value) else None for name, value in metrics.items()}


def normalized_weights(weights: Weights, class_weights: ClassWeights, truth: Target) -> Weights:
    """Row weights whose product with the weight of the class has mean 1 over these rows."""
    if class_weights is None:
        return weights
    own = np.ones(len(truth)) if weights is None else weights
    return np.asarray(own / np.mean(own * class_weights[truth]))


def every_metric(target: FittedTarget, loss: Loss, scores: Array, truth: Target) -> Metrics:
    """The metrics that go with the loss."""
    if loss.target_kind == "class":
        return class_metrics(scores, truth)
    if loss.target_kind == "binary":
        return binary_metrics(scores, truth)
    assert isinstance(target, FittedValues)
    assert isinstance(loss, ValueLoss)
    point = loss.predict(scores)
    if loss.levels:
        nearest = min(range(len(loss.levels)), key=lambda i: abs(loss.levels[i] - 0.5))
        point = point[:, nearest : nearest + 1]
    return value_metrics(target.unscaled(point), target.unscaled(truth))


def class_metrics(scores: Array, truth: Indices) -> Metrics:
    """Metrics of a choice among classes; a prediction is the class with the highest score."""
    table = confusion_matrix(truth, scores.argmax(axis=1), scores.shape[1])
    probabilities = CrossEntropy().predict(scores.astype(np.float64))
    areas = [roc_auc(truth == k, probabilities[:, k]) for k in range(scores.shape[1])]
    if scores.shape[1] == 2:
        areas = areas[1:]
    return {
        **table_metrics(table),
        "log_loss": CrossEntropy().value(scores, truth),
        "roc_auc": mean_or_none(areas),
    }


def binary_metrics(scores: Array, truth: Array) -> Metrics:
    """Metrics of yes-no outputs: one is two classes; of several, accuracy is of whole rows, the rest are means."""
    log_loss = BinaryCrossEntropy().value(scores, truth)
    if not np.isin(truth, (0, 1)).all():
        return dict.fromkeys(NAMES["binary"], None) | {"log_loss": log_loss}
    labels, predicted = truth.astype(np.intp), (scores > 0).astype(np.intp)
    tables = [confusion_matrix(labels[:, k], predicted[:, k], 2) for k in range(scores.shape[1])]
    auc = mean_or_none([roc_auc(labels[:, k] == 1, scores[:, k]) for k in range(scores.shape[1])])
    if len(tables) == 1:
        return {**table_metrics(tables[0]), "log_loss": log_loss, "roc_auc": auc}
    return {
        "accuracy": float((labels == predicted).all(axis=1).mean()),
        "balanced_accuracy": mean_or_none([table_metrics(table)["balanced_accuracy"] for table in tables]),
        "macro_f1": mean_or_none([f1(table, 1) for table in tables]),
        "log_loss": log_loss,
        "roc_auc": auc,
    }


def value_metrics(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
    """Metrics of a regression in the units of the target; means over the outputs."""
    error = predicted - truth
    spread = ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    constant = (truth == truth[0]).all(axis=0) | (spread == 0)
    r2 = None if constant.any() else float(np.mean(1 - (error**2).sum(axis=0) / spread))
    return {
        "rmse": float(np.mean(np.sqrt((error**2).mean(axis=0)))),
        "mae": float(np.mean(np.abs(error))),
        "r2": r2,
    }


def confusion_matrix(truth: Indices, predicted: Indices, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row is the true class, column the predicted one."""
    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def confusion(target: FittedTarget, scores: Array, truth: Target) -> tuple[tuple[str, ...], NDArray[np.int64]] | None:
    """The classes and their confusion matrix, where the target is one choice among classes or a single yes or no."""
    if isinstance(target, FittedClasses):
        return target.classes, confusion_matrix(truth, scores.argmax(axis=1), target.outputs)
    if isinstance(target, FittedBinary) and target.outputs == 1:
        sides = (truth[:, 0] > 0.5).astype(np.intp), (scores[:, 0] > 0).astype(np.intp)
        return target.labels[0] or ("0", "1"), confusion_matrix(*sides, 2)
    return None


def table_metrics(table: NDArray[np.int64]) -> Metrics:
    """Accuracy, the mean recall of the classes that occur, and the mean F1 of those that occur or are predicted."""
    occurring = table.sum(axis=1) > 0
    recalls = np.diag(table)[occurring] / table.sum(axis=1)[occurring]
    scores = [score for k in range(len(table)) if (score := f1(table, k)) is not None]
    return {
        "accuracy": float(np.trace(table) / table.sum()),
        "balanced_accuracy": float(recalls.mean()),
        "macro_f1": float(np.mean(scores)),
    }


def f1(table: NDArray[np.int64], k: int) -> float | None:
    """2 TP / (2 TP + FP + FN) of class `k`; None for a class that neither occurs nor is predicted."""
    involved = int(table[k].sum() + table[:, k].sum())
    return 2 * int(table[k, k]) / involved if involved else None


def roc_auc(positive: NDArray[np.bool_], scores: Array) -> float | None:
    """The chance that a positive row scores higher than a negative one, ties counting half (Mann & Whitney 1947)."""
    yes, no = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(yes) or not len(no):
        return None
    below, not_above = (int(np.searchsorted(no, yes, side).sum()) for side in ("left", "right"))
    return (below + not_above) / (2 * len(yes) * len(no))


def mean_or_none(values: list[float | None]) -> float | None:
    """The mean, or None as soon as one value is undefined."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if values and len(defined) == len(values) else None
