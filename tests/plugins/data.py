"""A plugin: a task of each sort, an encoder and a metric as a user would write them, one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import Column, TextColumn
from mlptrain.data.encoders import Encoder, Writer
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.metrics import Metric, Outcome, confusion_matrix
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.nn.losses import BinaryCrossEntropy, Loss
from mlptrain.tasks import Classes, Classification, Regression, Truth, named_apart


class LogRegression(Regression):
    """A quantity above zero, trained by its logarithm."""

    kind: Literal["toy_log"] = "toy_log"  # type: ignore[assignment]  # another kind than that of its base

    def learn(self, truth: Truth, *rest: Any) -> Self:
        return super().learn(np.log(truth), *rest)

    def encode(self, truth: Truth) -> Target:
        return super().encode(np.log(truth))

    def unscaled(self, values: Array) -> NDArray[np.float64]:
        return np.exp(super().unscaled(values))


class Ordinal(Classification):
    """Classes in an order: a yes or no for each threshold, "is it more than class k?"."""

    kind: Literal["toy_ordinal"] = "toy_ordinal"  # type: ignore[assignment]
    target_kind: ClassVar = "binary"

    @property
    def outputs(self) -> int:
        return len(self.classes) - 1

    @classmethod
    def claims(cls, columns: Sequence[Column]) -> bool | None:
        return False

    @classmethod
    def default_loss(cls) -> Loss:
        return BinaryCrossEntropy()

    def learn(self, truth: Truth, *rest: Any) -> Self:
        return self

    def encode(self, truth: Truth) -> Target:
        return (truth[:, None] > np.arange(self.outputs)).astype(np.float64)

    def shares(self, loss: Loss, scores: Array) -> NDArray[np.float64]:
        above = np.minimum.accumulate(loss.predict(scores).astype(np.float64), axis=1)
        return -np.diff(above, axis=1, prepend=1, append=0)

    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        shares = np.clip(self.shares(loss, scores), 1e-12, 1 - 1e-12)
        return Outcome(truth, shares.argmax(axis=1), np.log(shares) - np.log1p(-shares))

    def confusion(self, outcome: Outcome) -> Classes | None:
        return self.classes, confusion_matrix(outcome.truth, outcome.predicted, len(self.classes))

    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        chosen = self.outcome(loss, scores, np.zeros(len(scores), np.intp)).predicted
        return named_apart([(self.columns[0], np.array(self.classes, dtype=object)[chosen])])


class WordLength(Encoder):
    """A column of long words: how long they are."""

    kind: Literal["toy_length"] = "toy_length"
    longest: int

    @property
    def inputs(self) -> tuple[str, ...]:
        return (f"{self.column} (length)",)

    @classmethod
    def claims(cls, column: Column) -> bool:
        return isinstance(column, TextColumn) and column.name.startswith("toy_")

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn)
        return cls(column=column.name, longest=max(len(word) for word in column.categories))

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn)
        lengths = np.array([*(len(word) / self.longest for word in column.categories), 0.0])[column.codes]

        def write(rows: slice, out: NDArray[Any]) -> None:
            out[:, 0] = lengths[rows]

        return Writer(write)


class WithinTenPercent(Metric):
    """The share of predictions that are off by less than a tenth."""

    kind: Literal["toy_within"] = "toy_within"
    forms: ClassVar = ("values",)

    def __call__(self, outcome: Outcome) -> float | None:
        return float((np.abs(outcome.predicted - outcome.truth) <= 0.1 * np.abs(outcome.truth)).mean())
