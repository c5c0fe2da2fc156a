"""What does the network have to predict, and how is it written down?

Text is a choice among classes, real numbers are a regression. Whole numbers without a `loss` could be either: they are
refused with the line to add for each reading.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Frozen, OneOf
from mlptrain.data.columns import (
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_numeric,
    as_text,
    interpret,
    row_list,
)
from mlptrain.data.tables import Table
from mlptrain.data.transforms import Numbers, Scaler, Words
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.losses import ClassLoss, CrossEntropy, Loss, MeanSquaredError, ValueLoss


class FittedTarget(Frozen):
    """The target columns, as training saw them."""

    names: Words

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of columns or classes that the loss is about."""

    @abstractmethod
    def encode(self, table: Table, missing: Sequence[str], rows: NDArray[np.intp], dtype: Any) -> Target:
        """What the loss compares with, for each of `rows`; the other rows hold zeros."""

    def bind(self, loss: Loss) -> Loss:
        """`loss` with what it has to know of the target."""
        return loss

    @abstractmethod
    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        """Named output columns for the predictions (rows, scores) of `loss`."""


class FittedClasses(FittedTarget):
    """One column whose values are classes: the target is the index of the class."""

    role: Literal["classes"] = "classes"
    classes: Words
    weights: Numbers | None = None
    """How much each class counts, where the loss has class weights."""

    def weighted(self, loss: Loss, training: NDArray[np.intp], origin: str) -> FittedClasses:
        """The same classes with the class weights of `loss`; `training` are the classes (n,) of the training rows."""
        given = loss.class_weight if isinstance(loss, ClassLoss) else None
        if given is None:
            return self
        if given == "balanced":
            counts = np.bincount(training, minlength=len(self.classes))
            return self.model_copy(update={"weights": tuple((len(training) / (len(counts) * counts)).tolist())})
        unknown, absent = sorted(set(given) - set(self.classes)), sorted(set(self.classes) - set(given))
        if unknown or absent:
            what = f"names '{unknown[0]}'" if unknown else f"does not name '{absent[0]}'"
            classes = ", ".join(self.classes[:12])
            raise DataError(f"{origin}: loss.class_weight {what}; it needs a weight for each class: {classes}")
        return self.model_copy(update={"weights": tuple(given[label] for label in self.classes)})

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def encode(self, table: Table, missing: Sequence[str], rows: NDArray[np.intp], dtype: Any) -> Target:
        column = as_text(table, self.names[0], missing)
        places = {label: i for i, label in enumerate(self.classes)}
        known = np.array([places.get(label, -1) for label in column.categories] + [-1], dtype=np.intp)
        target = known[column.codes]
        strange = rows[target[rows] < 0]
        if len(strange):
            words = sorted({column.categories[code] for code in column.codes[strange]})
            raise DataError(
                f"{table.path}: target '{self.names[0]}' holds "
                f"{', '.join(repr(w) for w in words[:5])} in {row_list(strange)}, "
                f"which training did not see; its classes are {', '.join(self.classes[:12])}"
            )
        return np.maximum(target, 0)

    def bind(self, loss: Loss) -> Loss:
        return loss.with_class_weights(self.weights) if isinstance(loss, ClassLoss) else loss

    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        labels = np.array(self.classes, dtype=object)[predictions.argmax(axis=1)]
        return {self.names[0]: labels} | {
            f"probability_{name}": predictions[:, i] for i, name in enumerate(self.classes)
        }


class FittedBinary(FittedTarget):
    """Columns of yes or no, each an output of its own; numbers between 0 and 1 are taken as they are."""

    role: Literal["binary"] = "binary"
    labels: Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)] | None, ...], Field(strict=False)]
    """For each column the words for 0 and 1; None for a column of numbers."""

    @property
    def outputs(self) -> int:
        return len(self.names)

    def encode(self, table: Table, missing: Sequence[str], rows: NDArray[np.intp], dtype: Any) -> Target:
        columns = [
            self._numbers(table, name, missing, rows)
            if words is None
            else self._words(table, name, words, missing, rows)
            for name, words in zip(self.names, self.labels, strict=True)
        ]
        return np.nan_to_num(np.stack(columns, axis=1)).astype(dtype)

    def halves(self, table: Table, missing: Sequence[str], rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """0 or 1 for each row, by the side of 1/2 on which the one target column lies."""
        return (self.encode(table, missing, rows, np.float64)[:, 0] > 0.5).astype(np.intp)

    def _numbers(self, table: Table, name: str, missing: Sequence[str], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        values = single_column(as_numeric(table, name, missing), table)
        outside = rows[~((values[rows] >= 0) & (values[rows] <= 1))]
        if len(outside):
            raise DataError(
                f"{table.path}: target '{name}' must lie in [0, 1] for binary_cross_entropy, not "
                f"so in {row_list(outside)}"
            )
        return values

    def _words(
        self, table: Table, name: str, words: tuple[str, str], missing: Sequence[str], rows: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        column = as_text(table, name, missing)
        values = np.array([float(words.index(c)) if c in words else -1.0 for c in column.categories] + [-1.0])[
            column.codes
        ]
        strange = rows[values[rows] < 0]
        if len(strange):
            raise DataError(
                f"{table.path}: target '{name}' must be '{words[0]}' or '{words[1]}', not so in {row_list(strange)}"
            )
        return np.asarray(np.maximum(values, 0))

    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        columns: dict[str, NDArray[Any]] = {}
        for i, (name, words) in enumerate(zip(self.names, self.labels, strict=True)):
            yes = predictions[:, i] > 0.5
            columns[name] = yes.astype(int) if words is None else np.array(words, dtype=object)[yes.astype(int)]
            what = name if words is None else words[1] if len(self.names) == 1 else f"{name}_{words[1]}"
            columns[f"probability_{what}"] = predictions[:, i]
        return columns


class FittedValues(FittedTarget):
    """Columns of numbers, trained in scaled units."""

    role: Literal["values"] = "values"
    scaler: Annotated[Scaler, OneOf()]
    fitted: Annotated[tuple[Numbers, ...], Field(strict=False)]

    @property
    def outputs(self) -> int:
        return len(self.names)

    def encode(self, table: Table, missing: Sequence[str], rows: NDArray[np.intp], dtype: Any) -> Target:
        values = np.stack([single_column(as_numeric(table, name, missing), table) for name in self.names], axis=1)
        return np.nan_to_num(self.scaler.apply(values, np.asarray(self.fitted))).astype(dtype)

    def unscaled(self, values: Array) -> NDArray[np.float64]:
        """Values (rows, outputs) in the units of the columns."""
        return np.asarray(self.scaler.invert(values.astype(np.float64), np.asarray(self.fitted)))

    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        assert isinstance(loss, ValueLoss)
        return dict(zip(loss.names(self.names), self.unscaled(predictions).T, strict=True))


AnyTarget = Annotated[FittedClasses | FittedBinary | FittedValues, Field(discriminator="role")]


def single_column(column: NumericColumn, table: Table) -> NDArray[np.float64]:
    """The values (rows,) of a target that must not be a block."""
    if column.values.shape[1] != 1:
        raise DataError(
            f"{table.path}: target '{column.name}' has {column.values.shape[1]} columns; a target column has one"
        )
    return column.values[:, 0]


def present_rows(table: Table, names: Sequence[str], missing: Sequence[str], drop: bool) -> NDArray[np.intp]:
    """The rows whose target is there in every column; an error if some is not, unless they are to be dropped."""
    present = np.ones(table.rows, bool)
    for name in names:
        column = interpret(table, name, missing)
        absent = absent_rows(column)
        if absent.any() and not drop:
            raise DataError(
                f"{table.path}: target '{name}' is missing in {row_list(np.flatnonzero(absent))}; "
                "fill it in, or leave such rows out "
                "with data: {missing_target: drop}"
            )
        present &= ~absent
    if not present.any():
        raise DataError(f"{table.path}: no row has a value in target '{', '.join(names)}'")
    return np.flatnonzero(present)


def absent_rows(column: NumericColumn | PixelColumn | TextColumn) -> NDArray[np.bool_]:
    """Which rows of a target column hold no value."""
    if isinstance(column, TextColumn):
        return column.codes < 0
    return np.asarray(np.isnan(column.values).any(axis=1))


def implied_loss(table: Table, names: Sequence[str], missing: Sequence[str], rows: NDArray[np.intp]) -> Loss:
    """The loss for a target whose reading is plain: classes for text, squared error for real numbers."""
    columns = [interpret(table, name, missing) for name in names]
    if len(columns) == 1 and isinstance(columns[0], TextColumn):
        return CrossEntropy()
    numeric = [column for column in columns if isinstance(column, NumericColumn)]
    if len(numeric) == len(columns) and not any(is_whole(column.values[rows]) for column in numeric):
        return MeanSquaredError()
    choices = (
        "'loss: cross_entropy' if these numbers are classes, or 'loss: mse' if they are amounts"
        if len(columns) == 1
        else "'loss: binary_cross_entropy' if each is a yes or no, or 'loss: mse' if they are amounts"
    )
    kind = "holds whole numbers" if len(columns) == 1 else "could be labels or amounts"
    raise DataError(f"{table.path}: target '{', '.join(names)}' {kind}, which can be read in two ways; add {choices}")


def is_whole(values: NDArray[np.float64]) -> bool:
    """Whether all values are whole numbers."""
    return bool((values == np.floor(values)).all())


def fit_classes(table: Table, names: Sequence[str], missing: Sequence[str], rows: NDArray[np.intp]) -> FittedClasses:
    """The classes of one target column, whole numbers in their order and words in the alphabet's."""
    if len(names) > 1:
        raise DataError(
            f"{table.path}: cross_entropy takes one target column; several yes-no columns go with binary_cross_entropy"
        )
    column = interpret(table, names[0], missing)
    if isinstance(column, NumericColumn):
        values = single_column(column, table)[rows]
        if not is_whole(values):
            raise DataError(
                f"{table.path}: target '{names[0]}' holds real numbers, which are no classes; for "
                "a regression, write loss: mse"
            )
    text = as_text(table, names[0], missing)
    labels = [text.categories[code] for code in np.unique(text.codes[rows])]
    if isinstance(column, NumericColumn | PixelColumn):
        labels.sort(key=float)
    if len(labels) < 2:
        raise DataError(
            f"{table.path}: target '{names[0]}' holds one class only: '{labels[0]}' in all {len(rows)} rows"
        )
    return FittedClasses(names=tuple(names), classes=tuple(labels))


def fit_binary(table: Table, names: Sequence[str], missing: Sequence[str], rows: NDArray[np.intp]) -> FittedBinary:
    """The words for no and yes of each target column."""
    labels: list[tuple[str, str] | None] = []
    for name in names:
        column = interpret(table, name, missing)
        if not isinstance(column, TextColumn):
            labels.append(None)
            continue
        words = [column.categories[code] for code in np.unique(column.codes[rows])]
        if len(words) != 2:
            raise DataError(
                f"{table.path}: binary_cross_entropy needs two classes in target '{name}', which has {len(words)}: "
                f"{', '.join(words[:6])}; for more than two, write loss: cross_entropy"
            )
        labels.append((words[0], words[1]))
    return FittedBinary(names=tuple(names), labels=tuple(labels))


def fit_values(
    table: Table,
    names: Sequence[str],
    missing: Sequence[str],
    rows: NDArray[np.intp],
    training: NDArray[np.intp],
    scaler: Scaler,
    loss: Loss,
) -> FittedValues:
    """The scale of numeric target columns, from training rows."""
    columns = []
    for name in names:
        column = interpret(table, name, missing)
        if not isinstance(column, NumericColumn):
            raise DataError(
                f"{table.path}: loss {loss.name()} needs numbers, target '{name}' holds text; for "
                "classes, write loss: cross_entropy"
            )
        columns.append(single_column(column, table))
    values = np.stack(columns, axis=1)
    assert isinstance(loss, ValueLoss)
    outside = loss.outside_domain(values[rows])
    if outside is not None and outside.any():
        where = row_list(rows[outside])
        raise DataError(
            f"{table.path}: target '{', '.join(names)}' must be {loss.domain} for loss {loss.name()}, not so in {where}"
        )
    fitted = scaler.fit(values[training])
    return FittedValues(names=tuple(names), scaler=scaler, fitted=tuple(tuple(row) for row in fitted.tolist()))
