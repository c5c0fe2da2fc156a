"""What does a model of two columns say at each point of their plane?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.encoders import Number
from mlptrain.data.tables import Table
from mlptrain.dataset import Part, used_rows
from mlptrain.spec.plan import Plan
from mlptrain.tasks import Task
from mlptrain.training.blend import Predictor

SIZE = 120
"""Points of a map along each axis."""
MOST_VALUES = 4
"""Distinct values of a quantity that can be areas of a map, each point belonging to the nearest one."""
MARGIN = 0.12
"""Around the points, as a share of their range."""
Values = NDArray[np.float64]
Ends = tuple[float, float]
Map = NDArray[np.intp]
"""(SIZE, SIZE): a class at each point; the first row is that of the lowest y"""


@dataclass(frozen=True)
class Plane:
    """Two columns, their ranges, and the training rows as points."""

    names: tuple[str, str]
    x: Ends
    y: Ends
    points: Values
    """(n, 2)"""
    codes: NDArray[np.intp]
    """(n,): the class of each point"""
    classes: tuple[str, ...]

    @classmethod
    def around(cls, names: tuple[str, str], points: Values, codes: NDArray[np.intp], classes: tuple[str, ...]) -> Plane:
        """The plane with a margin around the points."""
        low, high = points.min(axis=0), points.max(axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1)
        (left, down), (right, up) = (low - margin).tolist(), (high + margin).tolist()
        return cls(names, (left, right), (down, up), points, codes, classes)

    def grid(self) -> Values:
        """(SIZE * SIZE, 2): evenly spaced points, row by row from the lowest y."""
        x, y = (np.linspace(*ends, SIZE) for ends in (self.x, self.y))
        return np.column_stack([each.ravel() for each in np.meshgrid(x, y)])


def plane_of(plan: Plan, training: Part) -> Plane | None:
    """The plane of a model with its training rows; None unless it has two columns of numbers and tells classes apart.

    A quantity with a few distinct values counts as classes.
    """
    encoders = plan.transforms.encoders
    if len(encoders) != 2 or any(not isinstance(each, Number) or each.width != 1 for each in encoders):
        return None
    classes = classes_of(plan.transforms.task, training)
    if not classes:
        return None
    table, _ = used_rows(plan.data, plan.transforms, "train")
    names = (encoders[0].column, encoders[1].column)
    points = np.column_stack([np.asarray(table.columns[name], np.float64)[training.rows] for name in names])
    known = np.isfinite(points).all(axis=1)
    codes = codes_of(plan.transforms.task, training, training.truth())
    return Plane.around(names, points[known], codes[known], classes) if known.any() else None


def classes_of(task: Task, training: Part) -> tuple[str, ...]:
    """The areas that a map can have: the classes, or the few values of a quantity; none if there are more."""
    if task.form == "class":
        return tuple(getattr(task, "classes", ()))
    if task.form != "values" or len(task.columns) != 1:
        return ()
    values = distinct(training)
    return tuple(f"{task.columns[0]} = {value:g}" for value in values) if 1 < len(values) <= MOST_VALUES else ()


def distinct(training: Part) -> Values:
    """The distinct values of the target."""
    return np.unique(np.asarray(training.truth(), np.float64))


def codes_of(task: Task, training: Part, values: NDArray[Any]) -> NDArray[np.intp]:
    """The area of each true or predicted value."""
    if task.form == "class":
        return values.astype(np.intp)
    away = np.abs(values.reshape(-1, 1).astype(np.float64) - distinct(training))
    return np.asarray(np.nan_to_num(away, nan=np.inf).argmin(axis=1))


@np.errstate(all="ignore")  # weights of a run that diverged
def map_of(plan: Plan, training: Part, plane: Plane, predictor: Predictor) -> Map:
    """What is predicted at each point."""
    points, task, loss = plane.grid(), plan.transforms.task, predictor.network.loss
    table = Table("grid", "", len(points), dict(zip(plane.names, points.T, strict=True)))
    features, _ = plan.transforms.encode(table, predictor.network.dtype)
    scores = predictor.scores(features, np.arange(len(points)))
    predicted = task.outcome(loss, scores, np.zeros((len(points), 1))).predicted
    return codes_of(task, training, predicted).reshape(SIZE, SIZE)
