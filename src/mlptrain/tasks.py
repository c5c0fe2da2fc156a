"""What does a model predict: classes, several labels or values? One class for each task.

    columns -> truth, in its own units -> encoded targets of the loss
    scores -> outcome: predictions in the units of the truth -> metrics, output columns

A task is fitted to a table and to its training rows, and is stored with the model as JSON. The truth is never scaled:
metrics and baselines are computed from the values of the file.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence, Sized
from functools import cached_property
from itertools import zip_longest
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Component, OneOf, refuse, variants
from mlptrain.data.amounts import Notation, find_notation
from mlptrain.data.columns import (
    Column,
    MomentColumn,
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_numeric,
    as_text,
    canonical,
    not_numbers,
    quoted,
    single_column,
    words_among_numbers,
)
from mlptrain.data.encoders.amounts import Amount, read_amounts
from mlptrain.data.encoders.base import Rows, as_rows
from mlptrain.data.scalers import AffineScaler, NoScaling, Scaler, Standard, misfit
from mlptrain.data.spellings import ADVICE, meant_as
from mlptrain.data.tables import Table, is_number
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError
from mlptrain.metrics import (
    ClassFigures,
    Form,
    Metric,
    Metrics,
    Outcome,
    class_figures,
    confusion_matrix,
    finite_or_none,
    log_odds,
    metrics_for,
    softmax_margins,
)
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError
from mlptrain.numbers import brief
from mlptrain.remedies import setting

Truth = NDArray[Any]
Classes = tuple[tuple[str, ...], NDArray[np.int64]]
"""Classes and their confusion matrix."""
Written = Annotated[tuple[str, str, str, str], Field(strict=False)]
"""Decimal mark, mark of thousands, prefix and suffix of a `Notation`."""
TargetNames = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Probability = Annotated[float, Field(gt=0, lt=1)]
MAX_CLASS_VALUES = 100
"""Largest number of distinct whole numbers that may be classes."""
MOST_AVERAGED = 10
"""Outputs from which on none of them has a mean for each category."""


class MeasuredRows(Protocol):
    """Rows for which a task can measure predictions."""

    def truth(self) -> Truth:
        """The true values, in the units of the target."""

    def target(self) -> Target:
        """The encoded targets, as the loss takes them."""

    def weights(self) -> Array | None:
        """The row weights."""


class Task(Component):
    """What a model predicts, fitted to the target columns of a table."""

    target_kind: ClassVar[str]
    """The kind of target of the losses that can be used for it."""
    form: ClassVar[Form]
    """The form of its truth and predictions, which determines the metrics."""
    meaning: ClassVar[str] = ""
    """When to choose it, for messages."""
    columns: TargetNames

    @property
    @abstractmethod
    def outputs(self) -> int:
        """Number of columns or classes, for `Loss.outputs`."""

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics besides the loss."""
        return metrics_for(self.form, self.positive is not None)

    @property
    def positive(self) -> str | None:
        """The positive class, if there are two: the second one in order; None if there are not two."""
        return None

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The classes as they are predicted, one of which each row has; None where that is not so."""
        return None

    @property
    def cutoff(self) -> float | None:
        """The probability above which the positive class is predicted; None if this task has no such decision."""
        return None

    def deciding_at(self, threshold: float) -> Self:
        """The task that predicts the positive class above another probability; only for one with a `cutoff`."""
        return self.model_copy(update={"threshold": threshold})

    @property
    def figures(self) -> tuple[str, ...]:
        """The names of everything that `measure` returns."""
        return ("loss", *(metric.name() for metric in self.metrics))

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        """(classes,): the weight of each class in the loss; None weights all equally."""
        return None

    @classmethod
    def claims(cls, columns: Sequence[Column]) -> bool | None:
        """Whether `columns` imply this task where the spec names none; None if they may."""
        return False

    @classmethod
    def accepts(cls, loss: Loss) -> bool:
        """Whether `loss` takes the targets that this task encodes."""
        return cls.target_kind == loss.target_kind

    @classmethod
    @abstractmethod
    def default_loss(cls) -> Loss:
        """The loss if the spec gives none."""

    @classmethod
    def assumptions(cls, columns: Sequence[Column]) -> list[str]:
        """Notes on what was assumed when the target implied this task."""
        return []

    @classmethod
    def view(cls, column: Column, table: Table, missing: Sequence[str]) -> Column:
        """A target column of inferred type, converted to the type that this task needs: words as they are written."""
        written = isinstance(column, NumericColumn) and column.notation is not None
        return as_text(table, column.name, missing) if written else column

    @classmethod
    @abstractmethod
    def fit(cls, columns: Sequence[Column], loss: Loss, table: Table) -> Self:
        """The task for target `columns` without missing values; a `Trouble` if it cannot predict them."""

    @abstractmethod
    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        """The target columns of another table."""

    @abstractmethod
    def truth(self, columns: Sequence[Column], table: Table) -> Truth:
        """The true value of each row, in the units of the file."""

    def strata(self, truth: Truth) -> Indices | None:
        """(rows,): the stratum of each row, for stratified splits and folds; None without stratification."""
        return None

    def has_classes(self, truth: Truth) -> bool:
        """Whether each stratum is a class, which training must see."""
        return False

    @property
    def strata_names(self) -> tuple[str, ...]:
        """The names of the strata."""
        return ()

    def learn(
        self, truth: Truth, weights: NDArray[np.float64] | None, loss: Loss, scaler: Scaler, table: Table
    ) -> Self:
        """The task fitted to the `truth` and the weights of the training rows."""
        return self

    def clipped(self, truth: Truth) -> Self:
        """The task with predictions limited to what the training `truth` holds; most tasks have limits anyway."""
        return self

    def encode(self, truth: Truth) -> Target:
        """The targets as the loss takes them."""
        return truth

    def averaged(self, truth: Truth) -> dict[str, NDArray[np.float64]]:
        """By name: numbers (rows,) whose mean over some rows says what to expect of them; none of too many outputs."""
        targets = self.encode(truth).reshape(len(truth), -1).T.astype(np.float64)
        names = self.columns if len(self.columns) == len(targets) else map(str, range(len(targets)))
        return {f"mean {name}": values for name, values in zip(names, targets, strict=True)} if few(targets) else {}

    @abstractmethod
    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        """Truth and predictions; the only place where scores become predictions."""

    @abstractmethod
    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        """Named output columns for `scores` (n, outputs)."""

    def told(self, truth: Truth) -> dict[str, NDArray[Any]]:
        """The true values by target column, as they are in the file."""
        return dict(zip(self.columns, truth.reshape(len(truth), -1).T, strict=True))

    def confusion(self, outcome: Outcome) -> Classes | None:
        """The classes and their confusion matrix; None for a task without one."""
        return None

    def by_class(self, outcome: Outcome) -> list[ClassFigures]:
        """The figures of each class, or of each of several labels; empty for a task without classes."""
        return []

    def constant(self, loss: Loss, training: MeasuredRows) -> Array:
        """The scores (outputs,) of the best constant prediction for the `training` rows."""
        outputs = loss.outputs(self.outputs)
        return loss.best_constant(training.target(), outputs, training.weights(), self.class_weights)

    def measure(self, loss: Loss, scores: Array, rows: MeasuredRows) -> Metrics:
        """The loss and every metric for the `scores` of `rows`; row weights apply to the loss only."""
        if not np.isfinite(scores).all():
            return dict.fromkeys(self.figures)
        outcome = self.outcome(loss, scores, rows.truth())
        found: Metrics = {"loss": loss.value(scores, rows.target(), rows.weights(), self.class_weights)}
        found |= {metric.name(): metric(outcome) for metric in self.metrics}
        return {name: finite_or_none(value) for name, value in found.items()}


class AnotherTask(Trouble):
    """A target that this task cannot predict, while another one can."""

    def __init__(self, path: str, text: str, when: str, task: type[Task]) -> None:
        super().__init__(path, text)
        self.when, self.task = when, task

    def with_lines(self, task_is_named: bool, loss_is_named: bool) -> Trouble:
        """The same trouble with the lines to write in a spec that names its task, its loss or both."""
        lines = [setting(task=self.task.name())] if task_is_named or not loss_is_named else []
        lines += [setting(loss=self.task.default_loss().name())] if loss_is_named else []
        return Trouble(self.path, f"{self.text}; {self.when}, write {' and '.join(lines)}")


class Classification(Task):
    """One column whose values are classes; the truth is the index of the class."""

    kind: Literal["classification"] = "classification"
    target_kind: ClassVar[str] = "class"
    form: ClassVar[Form] = "class"
    formula: ClassVar = (
        r"\hat c_r = \mathrm{argmax} \ z_r, \qquad \mathrm{balanced:} \quad \kappa_k = \frac{N}{K n_k}",
    )
    meaning: ClassVar = "if each value is a class"
    examples: ClassVar = ({"columns": ("y",), "classes": ("no", "yes")},)
    classes: Annotated[tuple[str, ...], Field(strict=False, min_length=2)]
    weights: Annotated[tuple[float, ...], Field(strict=False)] | None = None
    """The weight of each class, if the loss has class weights."""
    threshold: Probability | None = None
    """Of two classes: the probability above which the second one is predicted; None is 1/2."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(set(self.classes)) < len(self.classes):
            refuse([("classes", "must differ from each other")])
        if self.weights is not None and (len(self.weights) != len(self.classes) or min(self.weights) < 0):
            refuse([("weights", "must be a number of 0 or more for each class")])
        if self.weights is not None and not 0 < sum(self.weights) < np.inf:
            refuse([("weights", "must have a sum above 0")])
        if self.threshold is not None and self.positive is None:
            refuse([("threshold", "is for two classes")])
        return self

    @property
    def outputs(self) -> int:
        return len(self.classes)

    @property
    def choices(self) -> tuple[str, ...]:
        return self.classes

    @property
    def positive(self) -> str | None:
        return self.classes[1] if len(self.classes) == 2 else None

    @property
    def cutoff(self) -> float | None:
        return None if self.positive is None else self.threshold or 0.5

    @property
    def class_weights(self) -> NDArray[np.float64] | None:
        return None if self.weights is None else np.array(self.weights)

    @classmethod
    def claims(cls, columns: Sequence[Column]) -> bool | None:
        if len(columns) > 1:
            return False
        (column,) = columns
        if isinstance(column, TextColumn):
            return None if is_mostly_numbers(column) else True
        return None if is_whole(column) and not many_values(column) else False

    @classmethod
    def default_loss(cls) -> Loss:
        return CrossEntropy()

    @classmethod
    def view(cls, column: Column, table: Table, missing: Sequence[str]) -> Column:
        return as_text(table, column.name, missing) if is_whole(column) else super().view(column, table, missing)

    @classmethod
    def fit(cls, columns: Sequence[Column], loss: Loss, table: Table) -> Self:
        if len(columns) > 1:
            raise AnotherTask(
                table.path, f"{loss.name()} takes one target column", "for several yes-no columns", MultiLabel
            )
        (column,) = columns
        if not isinstance(column, TextColumn):
            single_column(column, table)
            text = f"target '{column.name}' holds real numbers, not classes"
            raise AnotherTask(table.path, text, "for regression", Regression)
        classes = in_order(column.seen())
        refuse_one_class(column.name, classes, table)
        return cls(columns=(column.name,), classes=for_output(classes))

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        return [as_text(table, self.columns[0], missing)]

    def truth(self, columns: Sequence[Column], table: Table) -> Truth:
        (column,) = columns
        assert isinstance(column, TextColumn)
        places = column.places(self.classes)
        unknown = np.flatnonzero(places < 0)
        if len(unknown):
            words = sorted({column.categories[code] for code in column.codes[unknown]})
            raise DataError(
                f"{table.path}: target '{column.name}' holds {quoted(words)} in {table.row_list(unknown)}, "
                f"which training did not see; its classes are {', '.join(self.classes[:12])}"
            )
        return places

    def told(self, truth: Truth) -> dict[str, NDArray[Any]]:
        return {self.columns[0]: np.array(self.classes, object)[truth]}

    @property
    def strata_names(self) -> tuple[str, ...]:
        return self.classes

    def strata(self, truth: Truth) -> Indices | None:
        return truth

    def has_classes(self, truth: Truth) -> bool:
        return True

    def learn(
        self, truth: Truth, weights: NDArray[np.float64] | None, loss: Loss, scaler: Scaler, table: Table
    ) -> Self:
        counts = np.bincount(truth, weights, minlength=self.outputs)
        if not counts.all():
            unseen = sorted(self.classes[i] for i in np.flatnonzero(counts == 0))
            raise DataError(f"{table.path}: no training row has class {', '.join(unseen)}")
        return self.weighted(loss, counts, table.path)

    def weighted(self, loss: Loss, counts: NDArray[Any], path: str) -> Self:
        """The task with the class weights of `loss`; `counts` is the total weight of the training rows by class."""
        given = loss.class_weighting
        if given is None:
            return self
        if given == "balanced":
            return self.model_copy(update={"weights": balanced(counts, path)})
        given = {canonical(label): weight for label, weight in given.items()}
        names = [canonical(label) for label in self.classes]
        unknown, absent = sorted(set(given) - set(names)), sorted(set(names) - set(given))
        if unknown or absent:
            what = f"names '{unknown[0]}'" if unknown else f"does not name '{absent[0]}'"
            classes = ", ".join(self.classes[:12])
            raise DataError(f"{path}: loss.class_weight {what}; it needs a weight for each class: {classes}")
        weights = np.array([given[label] for label in names])
        weights /= weights.max()
        weights /= np.average(weights, weights=counts)  # a mean of 1 over the training rows
        return self.model_copy(update={"weights": tuple(weights.tolist())})

    def averaged(self, truth: Truth) -> dict[str, NDArray[np.float64]]:
        told = list(enumerate(self.classes))[1 if len(self.classes) == 2 else 0 :]  # of two, one says it all
        return {f"share of {name}": (truth == k).astype(np.float64) for k, name in told} if few(told) else {}

    def chosen(self, scores: Array) -> Indices:
        """The predicted class (n,): that of the highest score, or the second of two above the threshold."""
        if self.threshold is None:
            return np.asarray(scores.argmax(axis=1))
        return (softmax_margins(scores)[:, 1] > log_odds(self.threshold)).astype(np.intp)

    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        return Outcome(truth, self.chosen(scores), softmax_margins(scores))

    def confusion(self, outcome: Outcome) -> Classes | None:
        return self.classes, confusion_matrix(outcome.truth, outcome.predicted, self.outputs)

    def by_class(self, outcome: Outcome) -> list[ClassFigures]:
        return [class_figures(name, table, k) for table in outcome.tables for k, name in enumerate(self.classes)]

    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        labels = np.array(self.classes, dtype=object)[self.chosen(scores)]
        return named_apart(
            [
                (self.columns[0], labels),
                *zip((f"probability_{name}" for name in self.classes), loss.predict(scores).T, strict=True),
            ]
        )


class MultiLabel(Task):
    """Yes-no columns, one output for each; numbers between 0 and 1 are used as probabilities."""

    kind: Literal["multilabel"] = "multilabel"
    target_kind: ClassVar[str] = "binary"
    form: ClassVar[Form] = "labels"
    formula: ClassVar = (r"\hat y_{rk} = [z_{rk} \gt 0]",)
    meaning: ClassVar = "if each column is a yes or no"
    examples: ClassVar = ({"columns": ("y", "z"), "labels": (None, ("no", "yes"))},)
    labels: Annotated[tuple[Annotated[tuple[str, str], Field(strict=False)] | None, ...], Field(strict=False)]
    """The words for 0 and 1 of each column; None for a column of numbers."""
    threshold: Probability | None = None
    """Of a single column: the probability above which it is a yes; None is 1/2."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if len(self.labels) != len(self.columns):
            refuse([("labels", "must be as many as the columns")])
        if self.threshold is not None and self.positive is None:
            refuse([("threshold", "is for a single column")])
        return self

    @property
    def outputs(self) -> int:
        return len(self.columns)

    @property
    def sides(self) -> tuple[str, str]:
        """The words for 0 and 1 of a single column."""
        return self.labels[0] or ("0", "1")

    @property
    def choices(self) -> tuple[str, ...] | None:
        return self.sides if self.outputs == 1 else None

    @property
    def positive(self) -> str | None:
        return self.sides[1] if self.outputs == 1 else None

    @property
    def cutoff(self) -> float | None:
        return None if self.positive is None else self.threshold or 0.5

    @classmethod
    def claims(cls, columns: Sequence[Column]) -> bool | None:
        return None if len(columns) > 1 and all(isinstance(c, TextColumn) or is_whole(c) for c in columns) else False

    @classmethod
    def default_loss(cls) -> Loss:
        return BinaryCrossEntropy()

    @classmethod
    def fit(cls, columns: Sequence[Column], loss: Loss, table: Table) -> Self:
        labels = [yes_and_no(column, table, alone=len(columns) == 1) for column in columns]
        return cls(columns=tuple(column.name for column in columns), labels=tuple(labels))

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        pairs = zip(self.columns, self.labels, strict=True)
        return [(as_numeric if words is None else as_text)(table, name, missing) for name, words in pairs]

    def truth(self, columns: Sequence[Column], table: Table) -> Truth:
        pairs = zip(columns, self.labels, strict=True)
        return np.stack([shares(column, words, table) for column, words in pairs], axis=1)

    @property
    def strata_names(self) -> tuple[str, ...]:
        return self.sides

    def strata(self, truth: Truth) -> Indices | None:
        """Whether the target is above 1/2, if there is only one column."""
        return (truth[:, 0] > 0.5).astype(np.intp) if self.outputs == 1 else None

    def has_classes(self, truth: Truth) -> bool:
        return self.outputs == 1 and bool(np.isin(truth, (0, 1)).all())

    def chosen(self, scores: Array) -> Indices:
        """1 for a yes, 0 for a no (n, labels)."""
        cut = 0.0 if self.threshold is None else log_odds(self.threshold)
        return (scores.astype(np.float64) > cut).astype(np.intp)

    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        return Outcome(truth, self.chosen(scores), scores.astype(np.float64))

    def confusion(self, outcome: Outcome) -> Classes | None:
        if self.outputs > 1:
            return None
        sides = (outcome.truth[:, 0] > 0.5).astype(np.intp), outcome.predicted[:, 0]
        return self.sides, confusion_matrix(*sides, 2)

    def by_class(self, outcome: Outcome) -> list[ClassFigures]:
        if self.outputs == 1:
            return [class_figures(name, table, k) for table in outcome.tables for k, name in enumerate(self.sides)]
        return [class_figures(name, table, 1) for name, table in zip(self.columns, outcome.tables, strict=False)]

    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        named: list[tuple[str, NDArray[Any]]] = []
        yes, probabilities = self.chosen(scores), loss.predict(scores)
        for i, (name, words) in enumerate(zip(self.columns, self.labels, strict=True)):
            named.append((name, yes[:, i] if words is None else np.array(words, dtype=object)[yes[:, i]]))
            what = name if words is None else words[1] if self.outputs == 1 else f"{name}_{words[1]}"
            named.append((f"probability_{what}", probabilities[:, i]))
        return named_apart(named)


class Regression(Task):
    """Columns of numbers, trained in scaled units."""

    kind: Literal["regression"] = "regression"
    target_kind: ClassVar[str] = "value"
    form: ClassVar[Form] = "values"
    formula: ClassVar = (r"y \leftarrow \mathrm{scale}(y), \qquad \hat y = \mathrm{scale}^{-1}(p)",)
    meaning: ClassVar = "to predict a quantity"
    examples: ClassVar = ({"columns": ("y",), "scaler": {"kind": "none"}, "fitted": ((0.0,), (1.0,))},)
    scaler: Annotated[Scaler, OneOf()]
    fitted: Rows
    notations: Annotated[tuple[Written | None, ...], Field(strict=False)] = ()
    """How the cells of each column are written, None for plain numbers; empty if all are."""
    limits: Rows | None = None
    """The lowest and the highest target of each column, if predictions are clipped to them."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if wrong := misfit(self.scaler, self.fitted, len(self.columns)):
            refuse([("fitted", wrong)])
        if self.limits is not None and [len(row) for row in self.limits] != [len(self.columns)] * 2:
            refuse([("limits", "must be two rows of a number for each target")])
        return self

    @property
    def outputs(self) -> int:
        return len(self.columns)

    @classmethod
    def claims(cls, columns: Sequence[Column]) -> bool | None:
        if any(isinstance(column, TextColumn) for column in columns):
            return False
        if len(columns) == 1:
            return True if not is_whole(columns[0]) or many_values(columns[0]) else None
        return None if any(is_whole(column) for column in columns) else True

    @classmethod
    def default_loss(cls) -> Loss:
        return MeanSquaredError()

    @classmethod
    def view(cls, column: Column, table: Table, missing: Sequence[str]) -> Column:
        return column

    @classmethod
    def assumptions(cls, columns: Sequence[Column]) -> list[str]:
        if not is_whole(columns[0]):
            return []
        found, line = found_values(columns[0]), setting(task=Classification.name())
        return [f"target '{columns[0].name}' is treated as a quantity ({found}); if its values are classes: {line}"]

    @classmethod
    def fit(cls, columns: Sequence[Column], loss: Loss, table: Table) -> Self:
        for column in columns:
            if isinstance(column, TextColumn):
                text = words_for_numbers(column, loss, table)
                if len(columns) > 1:
                    raise Trouble(table.path, f"{text}; leave it out of data.target")
                raise AnotherTask(table.path, text, "for classes", Classification)
        names = tuple(column.name for column in columns)
        values = np.stack([single_column(column, table) for column in columns], axis=1)
        outside = loss.outside_domain(values)
        if outside is not None and outside.any():
            where = table.row_list(np.flatnonzero(outside))
            text = f"target '{', '.join(names)}' must be {loss.domain} for loss {loss.name()}, but is not in {where}"
            raise Trouble(table.path, text)
        written = tuple(written_as(column) for column in columns)
        notations = written if any(written) else ()
        return cls(columns=names, scaler=NoScaling(), fitted=as_rows(NoScaling().fit(values)), notations=notations)

    def read(self, table: Table, missing: Sequence[str]) -> list[Column]:
        return [
            read_amounts(table, name, missing, Notation(*marks)) if marks else as_numeric(table, name, missing)
            for name, marks in zip_longest(self.columns, self.notations)
        ]

    def truth(self, columns: Sequence[Column], table: Table) -> Truth:
        return np.stack([single_column(column, table) for column in columns], axis=1)

    def learn(
        self, truth: Truth, weights: NDArray[np.float64] | None, loss: Loss, scaler: Scaler, table: Table
    ) -> Self:
        below = truth[truth < scaler.lowest_target]
        if len(below):
            line = setting(data={"scale_target": Standard().name()})
            text = (
                f"target '{', '.join(self.columns)}' has {len(below)} values below {scaler.lowest_target:g}, such as "
            )
            raise Trouble(
                table.path, f"{text}{brief(below[0], 9)}, which scale {scaler.name()} cannot take; write {line}"
            )
        return self.model_copy(update={"scaler": scaler, "fitted": as_rows(scaler.fit(truth))})

    def encode(self, truth: Truth) -> Target:
        return self.scaler.apply(truth, np.asarray(self.fitted))

    def constant(self, loss: Loss, training: MeasuredRows) -> Array:
        """The best constant in the units of the columns; only an affine scaler maps it to the best scaled constant."""
        if isinstance(self.scaler, AffineScaler):
            return super().constant(loss, training)
        best = loss.best_constant(training.truth(), loss.outputs(self.outputs), training.weights()).astype(np.float64)
        one_column = best.reshape(-1, len(self.columns))  # several outputs, as for quantiles, belong to one column
        return self.scaler.apply(one_column, np.asarray(self.fitted)).reshape(-1)

    def unscaled(self, values: Array) -> NDArray[np.float64]:
        """Predictions (n, ...) in the units of the columns."""
        found = np.asarray(self.scaler.invert(values.astype(np.float64), np.asarray(self.fitted)))
        if self.limits is None:
            return found
        low, high = np.asarray(self.limits)
        return np.clip(found, low, high)

    def clipped(self, truth: Truth) -> Self:
        """The task with predictions clipped to the range of the training `truth`."""
        return self.model_copy(update={"limits": as_rows(np.stack([truth.min(axis=0), truth.max(axis=0)]))})

    def outcome(self, loss: Loss, scores: Array, truth: Truth) -> Outcome:
        point = loss.predict(scores)
        if loss.levels:
            nearest = min(range(len(loss.levels)), key=lambda i: abs(loss.levels[i] - 0.5))
            point = point[:, nearest : nearest + 1]
        return Outcome(truth, self.unscaled(point))

    def decode(self, loss: Loss, scores: Array) -> dict[str, NDArray[Any]]:
        names = [f"{self.columns[0]}_q{level:g}" for level in loss.levels] or self.columns
        return named_apart(list(zip(names, self.unscaled(loss.predict(scores)).T, strict=True)))


def few(numbers: Sized) -> bool:
    """Whether each of several outputs may be an input of a column too."""
    return len(numbers) <= MOST_AVERAGED


def task_kinds() -> dict[str, type[Task]]:
    """Every kind of task by its name."""
    return {kind.name(): kind for kind in variants(Task)}


def tasks_for_loss(loss: Loss) -> list[type[Task]]:
    """The tasks that can use `loss`, the most general one first, which is meant where the spec names none."""
    return sorted((kind for kind in variants(Task) if kind.accepts(loss)), key=lambda kind: len(kind.__mro__))


def implied_task(columns: Sequence[Column], table: Table, missing: Sequence[str]) -> type[Task]:
    """The task that the target implies; if it is ambiguous, a `Trouble` with a line of YAML for each choice."""
    claims = {kind: kind.claims(columns) for kind in reversed(variants(Task))}
    sure = [kind for kind, claim in claims.items() if claim]
    if sure:
        return sure[0]
    kinds = [kind for kind, claim in reversed(claims.items()) if claim is None]
    lines = " or ".join(f"'{setting(task=kind.name())}' {kind.meaning}" for kind in kinds)
    names = ", ".join(column.name for column in columns)
    if not kinds:
        raise Trouble(table.path, f"target '{names}' holds words beside real numbers; predict them by one model each")
    if len(columns) > 1:
        raise Trouble(table.path, f"target '{names}' could be labels or quantities; write {lines}")
    if isinstance(columns[0], TextColumn):
        mixed = mixed_amounts(columns[0], table)
        classes = f"or write {setting(task=Classification.name())} if each value is a class"
        text = f"{mixed}, {classes}" if mixed else f"target '{names}' holds {found_words(columns[0], table, missing)}"
        raise Trouble(table.path, text)
    if len(values := distinct(columns[0])) == 1:
        raise Trouble(
            table.path, f"target '{names}' is {brief(values[0], 9)} in every row; there is nothing to predict"
        )
    raise Trouble(
        table.path,
        f"target '{names}' holds whole numbers ({found_values(columns[0])}), which may be classes or a quantity; "
        f"write {lines}",
    )


def is_mostly_numbers(column: TextColumn) -> bool:
    """Whether words stand among numbers, or numbers or dates are written so that they read as words, such as `1,5`."""
    others = int(words_among_numbers(column).sum())
    return meant_as(column.categories) is not None or others * 2 < len(column.categories)


def found_words(column: TextColumn, table: Table, missing: Sequence[str]) -> str:
    """What the words of a target that is mostly numbers may mean, with a line of YAML for each choice."""
    classes = f"write '{setting(task=Classification.name())}' if each value is a class"
    meant = meant_as(column.categories)
    if meant is not None:
        return f"{meant}, such as '{column.categories[0]}'; {ADVICE[meant]}, or {classes}"
    words = [column.categories[i] for i in np.flatnonzero(words_among_numbers(column))]
    text = f"numbers, but {not_numbers(column, table)}; {classes}"
    if len(words) > 3:
        return f"{text}, or correct the table if it is a quantity"
    line = setting(data={"missing_values": [*missing, *words], "missing_target": "drop"})
    return f"{text}, or {line} if {quoted(words)} means a missing value"


def found_values(column: Column) -> str:
    """The distinct values of a column of numbers, for a message: '2 values: 0, 1'."""
    found = distinct(column)
    shown = ", ".join(brief(value, 9) for value in found[:8]) + (", ..." if len(found) > 8 else "")
    return f"{len(found)} value{'s' * (len(found) > 1)}: {shown}"


def distinct(column: Column) -> list[float]:
    """The distinct numbers of a column, in increasing order."""
    assert isinstance(column, NumericColumn | PixelColumn)
    values = np.sort(column.values, axis=None).astype(np.float64) + 0.0  # 0 for -0
    return values[np.append(True, values[1:] != values[:-1])].tolist() if len(values) else []


def is_whole(column: Column) -> bool:
    """Whether a column holds only whole numbers; the first rows are usually enough to decide."""
    if isinstance(column, TextColumn | MomentColumn):
        return False
    values = column.values[~column.absent]
    return all(bool((some == np.floor(some)).all()) for some in (values[:1000], values))


def many_values(column: Column) -> bool:
    """Whether a column holds too many distinct whole numbers to be classes."""
    return isinstance(column, NumericColumn) and is_whole(column) and len(distinct(column)) > MAX_CLASS_VALUES


def for_output(classes: Sequence[str]) -> tuple[str, ...]:
    """The names of classes in predictions: flags as Python, pandas and most files write them, `True` and `False`."""
    return tuple(name.capitalize() for name in classes) if set(classes) == {"false", "true"} else tuple(classes)


def in_order(labels: list[str]) -> list[str]:
    """Classes in numerical order if they are numbers; unchanged otherwise."""
    return sorted(labels, key=float) if all(map(is_number, labels)) else labels


def balanced(counts: NDArray[Any], path: str) -> tuple[float, ...]:
    """N / (K n_c) for the total weight n_c of each class."""
    weights = counts.sum() / (len(counts) * counts)
    if weights.max() > np.finfo(np.float32).max:
        raise DataError(f"{path}: the total weights of the classes differ too much to be balanced: {counts.tolist()}")
    return tuple(weights.tolist())


def refuse_one_class(name: str, classes: Sequence[str], table: Table) -> None:
    """Refuse a constant target."""
    if len(classes) < 2:
        text = f"target '{name}' holds only one class: '{classes[0]}' in all {table.rows} rows"
        raise Trouble(table.path, text)


def refuse_single_rows(target: str, classes: Sequence[str], counts: NDArray[np.intp], table: Table) -> None:
    """Refuse classes of one row, which cannot be both in training and in the test."""
    single = [name for name, count in zip(classes, counts, strict=True) if count == 1]
    if single:
        raise Trouble(
            table.path,
            f"{len(single)} of {len(classes)} classes in target '{target}' have a single row "
            f"({quoted(single)}), which cannot be both in training and in the test; add rows, merge such classes, or "
            "leave them out of the table",
        )


def yes_and_no(column: Column, table: Table, alone: bool) -> tuple[str, str] | None:
    """The words for no and yes of a target column, one of several or `alone`; None for numbers."""
    if not isinstance(column, TextColumn):
        values = single_column(column, table)
        if (values == values[0]).all() and values[0] in (0, 1):
            refuse_one_class(column.name, (f"{values[0]:g}",), table)
        return None
    words = column.seen()
    if len(words) != 2:
        found = f"which has {len(words)}: {', '.join(words[:6])}"
        text = f"binary_cross_entropy needs two classes in target '{column.name}', {found}"
        if len(words) < 2 or not alone:
            raise Trouble(table.path, f"{text}; leave it out of data.target" if not alone else text)
        raise AnotherTask(table.path, text, "for more than two", Classification)
    no, yes = for_output(words)
    return no, yes


def shares(column: Column, words: tuple[str, str] | None, table: Table) -> NDArray[np.float64]:
    """A target column (rows,) as 0 and 1, or as the probabilities that it holds."""
    if isinstance(column, TextColumn):
        values = column.places(words or ("0", "1")).astype(np.float64)
        wanted = f"must hold {' or '.join(repr(word) for word in words or ())}"
    else:
        values = single_column(column, table)
        wanted = "must lie in [0, 1] for binary_cross_entropy"
    outside = np.flatnonzero(~((values >= 0) & (values <= 1)))
    if len(outside):
        raise Trouble(table.path, f"target '{column.name}' {wanted}, but does not in {table.row_list(outside)}")
    return values


def written_as(column: Column) -> tuple[str, str, str, str] | None:
    """The notation of a column of amounts, for a stored record; None for plain numbers."""
    notation = column.notation if isinstance(column, NumericColumn) else None
    return None if notation is None else (notation.decimal, notation.thousands, notation.prefix, notation.suffix)


def mixed_amounts(column: TextColumn, table: Table) -> str | None:
    """Why amounts in more than one notation are no target; None for other words."""
    if not Amount.claims(column):
        return None
    notation = find_notation(column.categories, ())
    wrong = np.isnan(notation.values(column.categories))
    rows = np.flatnonzero(np.append(wrong, False)[column.codes])
    words = [word for word, is_wrong in zip(column.categories, wrong, strict=True) if is_wrong]
    verb = "are" if len(rows) > 1 else "is"
    text = (
        f"target '{column.name}' holds numbers with {notation.described}, but {len(rows)} of its cells {verb} written "
    )
    return f"{text}otherwise: {quoted(words, 3)} in {table.row_list(rows)}; write all of them in one way"


def words_for_numbers(column: TextColumn, loss: Loss, table: Table) -> str:
    """Why a target of words cannot be predicted as a number."""
    text = f"loss {loss.name()} needs numbers, target '{column.name}' holds text"
    if mixed := mixed_amounts(column, table):
        return mixed
    if any(category[:1].isdigit() for category in column.categories):
        text += f": {not_numbers(column, table)}"
    return text


def named_apart(columns: Sequence[tuple[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """Output columns by name; one whose name is taken by an earlier one gets a number: 'probability_a_2'."""
    found: dict[str, NDArray[Any]] = {}
    for name, values in columns:
        number, free = 1, name
        while free in found:
            number += 1
            free = f"{name}_{number}"
        found[free] = values
    return found
