"""How good is gradient boosting on the rows of a report, where scikit-learn is installed?

The model is scikit-learn's HistGradientBoosting with its defaults, fitted to the training rows of the run with their
weights. It sees the columns as they are in the table: numbers, categories as codes, missing values as such. With
folds, each row is predicted by a model that was fitted without it. To import and to fit it takes a second or two, so
that it is no part of the results of a run: `fit` says its figure when they are saved, except for the preset plain.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from mlptrain.data.encoders import Category
from mlptrain.data.scalers import Values
from mlptrain.data.tables import Table
from mlptrain.dataset import Dataset, Fold, Part, Transforms, used_rows
from mlptrain.errors import MlptrainError
from mlptrain.metrics import Metrics, Outcome, finite_or_none
from mlptrain.nn.losses import Loss
from mlptrain.nn.threads import blas_threads
from mlptrain.report.source import Source
from mlptrain.runs.session import Session, report_part
from mlptrain.spec.plan import Plan
from mlptrain.tasks import Classification, MultiLabel, Task
from mlptrain.training.evaluation import held_out

MOST_WORK = 2e6
"""Values that the trees may look at, for each of their rounds."""
TREE = 20_000
"""Values that could be looked at in the time that any tree takes."""
CODES = 254
"""Categories that have a code of their own; the others share one."""


class Unfit(Exception):
    """Why nothing is fitted."""


class Judged(NamedTuple):
    """The rows that a run is judged by, and the model that is judged."""

    plan: Plan
    loss: Loss
    dataset: Dataset
    name: str
    """test or validation"""
    part: Part
    table: Table
    """The file that the rows come from, without the rows that were left out."""
    folds: bool
    """Whether each row is predicted by what was fitted without it."""


class Inputs(NamedTuple):
    """The columns of a table as the trees see them."""

    values: Values
    """(rows, columns)"""
    categorical: list[bool]
    """Which of the columns are codes of categories."""


def with_boosting(source: Source) -> Source:
    """`source` with the figures of gradient boosting among its baselines, or with the reason why there are none."""
    measured, dataset, summary = source.measured, source.dataset, source.summary
    if measured is None or dataset is None or not summary or not summary["baselines"] or measured.name == "train":
        return source
    rows = measured.name, measured.part, measured.table, measured.folds
    judged = Judged(source.plan, source.model.network.loss, dataset, *rows)
    try:
        found = beside(judged)
    except Unfit as error:
        source.gaps.append(f"gradient boosting is not beside the model: {error}")
        return source
    return source if found is None else replace(source, summary=with_baseline(summary, found))


def summary_with_boosting(run: Session, summary: dict[str, Any]) -> dict[str, Any]:
    """The `summary` of a run that was just trained, with the figures of gradient boosting where they can be had."""
    name, part = report_part(run.dataset)
    if name == "train" or not summary["baselines"] or find_spec("sklearn") is None:
        return summary
    try:
        transforms = run.dataset.transforms
        columns = transforms.width if transforms.has_pixels else len(transforms.encoders)
        refuse_unfit(run.dataset, columns, bool(run.dataset.folds))  # before the table is read again
        table, _ = used_rows(run.plan.data, transforms, name)
        folds = bool(run.dataset.folds) and name == "validation"
        found = beside(Judged(run.plan, run.network.loss, run.dataset, name, part, table, folds))
    except (Unfit, MlptrainError):  # a table that cannot be read again takes nothing from a run that is complete
        return summary
    return summary if found is None else with_baseline(summary, found)


def with_baseline(summary: dict[str, Any], found: Metrics) -> dict[str, Any]:
    """The content of a summary with the figures of gradient boosting."""
    return summary | {"baselines": summary["baselines"] | {"boosting": found}}


@np.errstate(all="ignore")
def beside(judged: Judged) -> Metrics | None:
    """The figures of gradient boosting on the rows that are judged; None without scikit-learn.

    Raises `Unfit` if they are not to be had.
    """
    if find_spec("sklearn") is None:
        return None
    data, dataset = judged.plan.data, judged.dataset
    same_table = (data.test_path if judged.name == "test" else data.validation_path) is None
    training = judged.table if same_table else used_rows(data, dataset.transforms, "train")[0]
    inputs = inputs_of(training, dataset.transforms)
    refuse_unfit(dataset, inputs.values.shape[1], judged.folds)
    others = inputs if same_table else inputs_of(judged.table, dataset.transforms)
    folds = dataset.folds if judged.folds else (Fold(dataset.training, judged.part),)
    try:
        import sklearn.ensemble  # noqa: F401  # loads its library for threads

        with blas_threads(1, "openmp"):  # small tables take ten times as long on two threads where another program runs
            predicted = np.concatenate([boosted(judged, fold, inputs, others) for fold in folds])
    except (ValueError, ImportError) as error:  # scikit-learn refuses, for instance, a column without a value in a fold
        raise Unfit(str(error).splitlines()[0]) from error
    return measure(judged, predicted)


def inputs_of(table: Table, transforms: Transforms) -> Inputs:
    """The columns of `table`; one of a kind that has no numbers is left out."""
    blocks, categorical = [np.zeros((table.rows, 0))], list[bool]()
    for encoder, column in zip(transforms.encoders, transforms.read(table), strict=True):
        values, coded = encoder.cells(column, table), isinstance(encoder, Category)
        if values is not None:
            blocks.append(np.minimum(values, CODES) if coded else values)
            categorical += [coded] * values.shape[1]
    return Inputs(np.concatenate(blocks, axis=1), categorical)


def refuse_unfit(dataset: Dataset, columns: int, folds: bool) -> None:
    """Say why nothing is fitted, if there is a reason."""
    task, rows = dataset.transforms.task, len(dataset.training)
    trees = (len(dataset.folds) if folds else 1) * (task.outputs if task.positive is None else 1)
    if trees * (rows * columns + TREE) > MOST_WORK:
        raise Unfit("it would take too long on so many rows, columns and outputs")
    if not columns:
        raise Unfit("it has no columns that it could use")
    if isinstance(task, MultiLabel) and not np.isin(dataset.training.truth(), (0, 1)).all():
        raise Unfit("it cannot learn from probabilities")


def boosted(judged: Judged, fold: Fold, inputs: Inputs, others: Inputs) -> Values:
    """(rows, outputs): log probabilities of the classes, log-odds of the labels, or values in their own units.

    They are for the held-out rows of `fold`, which are rows of the table of `others`.
    """
    task, part, wanted = judged.plan.transforms.task, fold.training, others.values[held_out(fold).rows]
    x, weights, truth = inputs.values[part.rows], weights_of(task, part), part.truth()
    if isinstance(task, Classification):
        return log_probabilities(model(judged, inputs, True).fit(x, truth, weights), wanted, task.outputs)
    if not isinstance(task, MultiLabel):
        fitted = [model(judged, inputs, False).fit(x, column, weights) for column in truth.T]
        return np.stack([each.predict(wanted) for each in fitted], axis=1)
    yes = [model(judged, inputs, True).fit(x, column.astype(np.intp), weights) for column in truth.T]
    return np.stack([np.diff(log_probabilities(each, wanted, 2))[:, 0] for each in yes], axis=1)


def model(judged: Judged, inputs: Inputs, classes: bool) -> Any:
    """The model with its defaults, not yet fitted."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(categorical_features=inputs.categorical, random_state=judged.plan.seed % 2**32)


def weights_of(task: Task, part: Part) -> Values | None:
    """The weight of each row of `part`, times that of its class."""
    weights = part.weights()
    if task.class_weights is None:
        return None if weights is None else weights.astype(np.float64)
    return task.class_weights[part.truth()] * (1.0 if weights is None else weights)


def log_probabilities(fitted: Any, rows: Values, classes: int) -> Values:
    """(rows, classes): the logarithms of the predicted probabilities, which are nearly 0 for a class without rows."""
    found = np.zeros((len(rows), classes))
    found[:, fitted.classes_] = fitted.predict_proba(rows)
    return np.log(np.maximum(found, np.finfo(np.float64).tiny))


def measure(judged: Judged, predicted: Values) -> Metrics:
    """The metrics of what `boosted` gives; the loss only where the network gives such numbers, too."""
    task, loss, part = judged.plan.transforms.task, judged.loss, judged.part
    if isinstance(task, Classification | MultiLabel):
        return task.measure(loss, predicted, part)
    outcome, scores = Outcome(part.truth(), predicted), task.encode(predicted)
    comparable = not loss.levels and np.array_equal(loss.predict(scores), scores)
    found: Metrics = {"loss": finite_or_none(loss.value(scores, part.target(), part.weights())) if comparable else None}
    return found | {metric.name(): finite_or_none(metric(outcome)) for metric in task.metrics}
