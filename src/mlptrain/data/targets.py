"""What does the network have to predict, and how is it written down?

    columns, read once -> rows that have them -> fitted on these rows -> encoded -> what training rows tell

Text is a choice among classes, real numbers are a regression. Whole numbers without a `loss` could be either: they are
refused with the line to add for each reading.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Frozen, OneOf
from mlptrain.data.columns import Column, NumericColumn, TextColumn, as_numeric, as_text, row_list
from mlptrain.data.scalers import NoScaling, Scaler
from mlptrain.data.tables import Table
from mlptrain.data.transforms import Numbers, Words, as_rows
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.nn.losses import ClassLoss, CrossEntropy, Loss, MeanSquaredError, ValueLoss


class FittedTarget(Frozen):
    """The target columns, as training saw them."""

    names: Words

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of columns or classes that the loss is about."""

    @abstractmethod
    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        """The target columns of another table."""

    @abstractmethod
    def encode(self, columns: Sequence[Column], rows: Indices, origin: str) -> Target:
        """What the loss compares with, for each of `rows`, classes or float64; the other rows hold zeros."""

    def strata(self, encoded: Target, rows: Indices, origin: str) -> Indices | None:
        """For every row of the file the group of which each part takes its share; None where there are no groups."""
        return None

    def trained(self, training: Target, loss: Loss, scaler: Scaler, origin: str) -> Self:
        """The same target with what the encoded targets (n, ...) of the training rows tell."""
        return self

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """How much each class counts in the loss; None where all count alike."""
        return None

    @abstractmethod
    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        """Named output columns for the predictions (rows, scores) of `loss`."""


class FittedClasses(FittedTarget):
    """One column whose values are classes: the target is the index of the class."""

    role: Literal["classes"] = "classes"
    classes: Words
    weights: Numbers | None = None
    """How much each class counts, where the loss has class weights."""

    @property
    def outputs(self) -> int:
        return len(self.classes)

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        return [as_text(table, self.names[0], missing)]

    def encode(self, columns: Sequence[Column], rows: Indices, origin: str) -> Target:
        (column,) = columns
        assert isinstance(column, TextColumn)
        places = {label: i for i, label in enumerate(self.classes)}
        known = np.array([places.get(label, -1) for label in column.categories] + [-1], dtype=np.intp)
        target = known[column.codes]
        strange = rows[target[rows] < 0]
        if len(strange):
            words = sorted({column.categories[code] for code in column.codes[strange]})
            raise DataError(
                f"{origin}: target '{self.names[0]}' holds "
                f"{', '.join(repr(w) for w in words[:5])} in {row_list(strange)}, "
                f"which training did not see; its classes are {', '.join(self.classes[:12])}"
            )
        return np.maximum(target, 0)

    def strata(self, encoded: Target, rows: Indices, origin: str) -> Indices | None:
        """The classes; one with a single row is an error."""
        counts = np.bincount(encoded[rows], minlength=self.outputs)
        lonely = [self.classes[i] for i in np.flatnonzero(counts == 1)]
        if lonely:
            shown = ", ".join(f"'{name}'" for name in lonely[:5]) + (", ..." if len(lonely) > 5 else "")
            raise DataError(
                f"{origin}: {len(lonely)} of {self.outputs} classes in target '{self.names[0]}' have a single row "
                f"({shown}), which cannot be in training and be tested too; add rows, merge such classes, or "
                "leave them out of the table"
            )
        return encoded

    def trained(self, training: Target, loss: Loss, scaler: Scaler, origin: str) -> Self:
        """The same classes, all seen in training, with the class weights of `loss`."""
        counts = np.bincount(training, minlength=self.outputs)
        if not counts.all():
            unseen = sorted(self.classes[i] for i in np.flatnonzero(counts == 0))
            raise DataError(f"{origin}: no training row has class {', '.join(unseen)}")
        return self.weighted(loss, counts, origin)

    def weighted(self, loss: Loss, counts: NDArray[np.intp], origin: str) -> Self:
        """The same classes with the class weights of `loss`; `counts` are the training rows of each."""
        given = loss.class_weight if isinstance(loss, ClassLoss) else None
        if given is None:
            return self
        if given == "balanced":
            return self.model_copy(update={"weights": tuple((counts.sum() / (len(counts) * counts)).tolist())})
        unknown, absent = sorted(set(given) - set(self.classes)), sorted(set(self.classes) - set(given))
        if unknown or absent:
            what = f"names '{unknown[0]}'" if unknown else f"does not name '{absent[0]}'"
            classes = ", ".join(self.classes[:12])
            raise DataError(f"{origin}: loss.class_weight {what}; it needs a weight for each class: {classes}")
        weights = np.array([given[label] for label in self.classes])
        weights /= np.average(weights, weights=counts)  # a mean of 1 over the training rows
        return self.model_copy(update={"weights": tuple(weights.tolist())})

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        return None if self.weights is None else np.array(self.weights)

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

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        pairs = zip(self.names, self.labels, strict=True)
        return [(as_numeric if words is None else as_text)(table, name, missing) for name, words in pairs]

    def encode(self, columns: Sequence[Column], rows: Indices, origin: str) -> Target:
        encoded = [
            self._numbers(column, rows, origin) if words is None else self._words(column, words, rows, origin)
            for column, words in zip(columns, self.labels, strict=True)
        ]
        return np.nan_to_num(np.stack(encoded, axis=1), copy=False)

    def strata(self, encoded: Target, rows: Indices, origin: str) -> Indices | None:
        """The side of 1/2 on which the one target column lies."""
        return (encoded[:, 0] > 0.5).astype(np.intp) if self.outputs == 1 else None

    def _numbers(self, column: Column, rows: Indices, origin: str) -> NDArray[np.float64]:
        values = single_column(column, origin)
        outside = rows[~((values[rows] >= 0) & (values[rows] <= 1))]
        if len(outside):
            raise DataError(
                f"{origin}: target '{column.name}' must lie in [0, 1] for binary_cross_entropy, not "
                f"so in {row_list(outside)}"
            )
        return values

    def _words(self, column: Column, words: tuple[str, str], rows: Indices, origin: str) -> NDArray[np.float64]:
        assert isinstance(column, TextColumn)
        values = np.array([float(words.index(c)) if c in words else -1.0 for c in column.categories] + [-1.0])[
            column.codes
        ]
        strange = rows[values[rows] < 0]
        if len(strange):
            raise DataError(
                f"{origin}: target '{column.name}' must be '{words[0]}' or '{words[1]}', not so in {row_list(strange)}"
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

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        return [as_numeric(table, name, missing) for name in self.names]

    def encode(self, columns: Sequence[Column], rows: Indices, origin: str) -> Target:
        values = np.stack([single_column(column, origin) for column in columns], axis=1)
        return np.nan_to_num(self.scaler.apply(values, np.asarray(self.fitted)), copy=False)

    def trained(self, training: Target, loss: Loss, scaler: Scaler, origin: str) -> Self:
        """The same columns, scaled by `scaler`; so far they are not."""
        return self.model_copy(update={"scaler": scaler, "fitted": as_rows(scaler.fit(training))})

    def unscaled(self, values: Array) -> NDArray[np.float64]:
        """Values (rows, outputs) in the units of the columns."""
        return np.asarray(self.scaler.invert(values.astype(np.float64), np.asarray(self.fitted)))

    def decode(self, predictions: Array, loss: Loss) -> dict[str, NDArray[Any]]:
        names = [f"{self.names[0]}_q{level:g}" for level in loss.levels] or self.names
        return dict(zip(names, self.unscaled(predictions).T, strict=True))


AnyTarget = Annotated[FittedClasses | FittedBinary | FittedValues, Field(discriminator="role")]


def single_column(column: Column, origin: str) -> NDArray[np.float64]:
    """The values (rows,) of a target that must be one column of numbers."""
    assert not isinstance(column, TextColumn)
    values = column.values
    if values.shape[1] != 1:
        raise DataError(f"{origin}: target '{column.name}' has {values.shape[1]} columns; a target column has one")
    return values[:, 0].astype(np.float64, copy=False)


def present_rows(columns: Sequence[Column], drop: bool, origin: str) -> Indices:
    """The rows whose target is there in every column; an error if some is not, unless they are to be dropped."""
    absent = np.stack([absent_rows(column) for column in columns])
    for column, here in zip(columns, absent, strict=True):
        if here.any() and not drop:
            raise DataError(
                f"{origin}: target '{column.name}' is missing in {row_list(np.flatnonzero(here))}; "
                "fill it in, or leave such rows out "
                "with data: {missing_target: drop}"
            )
    if absent.any(axis=0).all():
        names = ", ".join(column.name for column in columns)
        raise DataError(f"{origin}: no row has a value in target '{names}'")
    return np.flatnonzero(~absent.any(axis=0))


def absent_rows(column: Column) -> NDArray[np.bool_]:
    """Which rows of a target column hold no value."""
    if isinstance(column, TextColumn):
        return column.codes < 0
    return np.asarray(np.isnan(column.values).any(axis=1))


def implied_loss(columns: Sequence[Column], rows: Indices, origin: str) -> Loss:
    """The loss for a target whose reading is plain: classes for text, squared error for real numbers."""
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
    names = ", ".join(column.name for column in columns)
    raise DataError(f"{origin}: target '{names}' {kind}, which can be read in two ways; add {choices}")


def is_whole(values: NDArray[np.float64]) -> bool:
    """Whether all values are whole numbers; the first ones mostly tell."""
    return all(bool((some == np.floor(some)).all()) for some in (values[:1000], values))


def fit_target(
    table: Table, columns: list[Column], loss: Loss, rows: Indices, missing: Sequence[str]
) -> tuple[FittedClasses | FittedBinary | FittedValues, list[Column]]:
    """The target in the form that `loss` needs, as far as all `rows` tell, and its columns in that form."""
    if loss.target_kind == "class":
        column, numeric = class_column(table, columns, rows, missing)
        return fit_classes(column, rows, numeric, table.path), [column]
    if loss.target_kind == "binary":
        return fit_binary(columns, rows, table.path), columns
    return fit_values(columns, rows, loss, table.path), columns


def class_column(
    table: Table, columns: Sequence[Column], rows: Indices, missing: Sequence[str]
) -> tuple[TextColumn, bool]:
    """The one target column as text, and whether it is of whole numbers."""
    if len(columns) > 1:
        raise DataError(
            f"{table.path}: cross_entropy takes one target column; several yes-no columns go with binary_cross_entropy"
        )
    (column,) = columns
    if isinstance(column, TextColumn):
        return column, False
    if not is_whole(single_column(column, table.path)[rows]):
        raise DataError(
            f"{table.path}: target '{column.name}' holds real numbers, which are no classes; for "
            "a regression, write loss: mse"
        )
    return as_text(table, column.name, missing), True


def fit_classes(column: TextColumn, rows: Indices, numeric: bool, origin: str) -> FittedClasses:
    """The classes that occur in `rows`, whole numbers in their order and words in the alphabet's."""
    labels = column.seen(rows)
    if numeric:
        labels.sort(key=float)
    if len(labels) < 2:
        raise DataError(f"{origin}: target '{column.name}' holds one class only: '{labels[0]}' in all {len(rows)} rows")
    return FittedClasses(names=(column.name,), classes=tuple(labels))


def fit_binary(columns: Sequence[Column], rows: Indices, origin: str) -> FittedBinary:
    """The words for no and yes of each target column."""
    labels: list[tuple[str, str] | None] = []
    for column in columns:
        if not isinstance(column, TextColumn):
            labels.append(None)
            continue
        words = column.seen(rows)
        if len(words) != 2:
            raise DataError(
                f"{origin}: binary_cross_entropy needs two classes in target '{column.name}', which has {len(words)}: "
                f"{', '.join(words[:6])}; for more than two, write loss: cross_entropy"
            )
        labels.append((words[0], words[1]))
    return FittedBinary(names=tuple(column.name for column in columns), labels=tuple(labels))


def fit_values(columns: Sequence[Column], rows: Indices, loss: Loss, origin: str) -> FittedValues:
    """Numeric target columns that `loss` can take, not scaled yet."""
    for column in columns:
        if isinstance(column, TextColumn):
            raise DataError(
                f"{origin}: loss {loss.name()} needs numbers, target '{column.name}' holds text; for "
                "classes, write loss: cross_entropy"
            )
    names = tuple(column.name for column in columns)
    values = np.stack([single_column(column, origin) for column in columns], axis=1)
    assert isinstance(loss, ValueLoss)
    outside = loss.outside_domain(values[rows])
    if outside is not None and outside.any():
        where = row_list(rows[outside])
        raise DataError(
            f"{origin}: target '{', '.join(names)}' must be {loss.domain} for loss {loss.name()}, not so in {where}"
        )
    return FittedValues(names=names, scaler=NoScaling(), fitted=as_rows(NoScaling().fit(values)))
