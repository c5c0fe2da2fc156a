"""A plugin: a target of a kind that nothing else knows, the angle, with its loss and its task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import Column, as_numeric, single_column
from mlptrain.data.tables import Table
from mlptrain.metrics import Form, Outcome
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.losses import ClassWeights, ElementwiseLoss, Loss, weighted_mean
from mlptrain.tasks import Task, Truth, named_apart


class CosineDistance(ElementwiseLoss):
    """1 - cos(z - y) for an angle y in radians, which is the same after a full turn; derivative sin(z - y)."""

    kind: Literal["toy_cosine"] = "toy_cosine"
    target_kind: ClassVar = "angle"
    has_link: ClassVar = False

    def terms(self, scores: Array, target: Target, terms: Array, grad: Array, scratch: Array) -> None:
        np.subtract(scores, target, out=scratch)
        np.subtract(1, np.cos(scratch), out=terms)
        np.sin(scratch, out=grad)

    def predict(self, scores: Array) -> Array:
        return scores % (2 * np.pi)

    def best_constant(
        self, target: Target, outputs: int, weights: Weights = None, class_weights: ClassWeights = None
    ) -> Array:
        return np.arctan2(weighted_mean(np.sin(target), weights), weighted_mean(np.cos(target), weights))

    def random_target(self, rows: int, outputs: int, rng: np.random.Generator, members: tuple[int, ...] = ()) -> Target:
        return rng.uniform(0, 2 * np.pi, (*members, rows, outputs))


class Directions(Task):
    """Angles, in degrees in the table."""

    kind: Literal["toy_directions"] = "toy_directions"
    target_kind: ClassVar = "angle"
    form: ClassVar[Form] = "values"

    @property
    def outputs(self) -> int:
        return len(self.columns)

    @classmethod
    def default_loss(cls) -> Loss:
        return CosineDistance()

    @classmethod
    def fit(cls, columns: Sequence[Column], loss: Loss, table: Table) -> Self:
        return cls(columns=tuple(column.name for column in columns))

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        return [as_numeric(table, name, missing) for name in self.columns]

    def truth(self, columns: Sequence[Column], table: Table) -> Truth:
        return np.stack([single_column(column, table) for column in columns], axis=1)

    def encode(self, truth: Truth) -> Target:
        return np.deg2rad(truth)

    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        return Outcome(truth, np.rad2deg(loss.predict(scores.astype(np.float64))))

    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        degrees = np.rad2deg(loss.predict(scores.astype(np.float64)))
        return named_apart(list(zip(self.columns, degrees.T, strict=True)))
