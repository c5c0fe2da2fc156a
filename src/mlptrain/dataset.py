"""How does a table become training, validation and test arrays?

    table -> rows with a weight and a target -> split -> task and encoders fitted on the training rows -> arrays

Inputs are stored once, for all rows of a file, in a compact type: floats of the run's dtype, or bytes for pixels,
which are scaled when a batch is gathered. A part is a list of row numbers. The true values are kept in the units of
the file, beside the encoded targets of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Frozen, OneOf, refuse
from mlptrain.data.bins import automatic_bins
from mlptrain.data.columns import (
    Column,
    MomentColumn,
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_numeric,
    interpret,
    is_text,
    matrix,
    parse_numbers,
    single_column,
    words_among_numbers,
)
from mlptrain.data.crossfit import PARTS_ALONE, Lessons
from mlptrain.data.encoders import Answers, Category, Encoder, Number, Pixels, Writer, choose_encoder
from mlptrain.data.encoders.amounts import amounts_if_all
from mlptrain.data.encoders.categories import ManyCategories, automatic_own_input_rows, category_counts
from mlptrain.data.keys import Keys, groups_if_known, read_keys
from mlptrain.data.scalers import NoScaling, Scaler
from mlptrain.data.settings import PREFIXES, Data, Words
from mlptrain.data.spellings import ADVICE
from mlptrain.data.split import (
    Rows,
    Split,
    Units,
    fold_rows,
    refuse_unlearned,
    refuse_untrained,
    split_groups,
    split_in_order,
    split_rows,
)
from mlptrain.data.tables import Hints, Table, read_table
from mlptrain.data.troubles import Change, Trouble, Troubles
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.nn.losses import Loss
from mlptrain.randomness import stream
from mlptrain.remedies import setting
from mlptrain.tasks import AnotherTask, Task, Truth, implied_task, refuse_single_rows, task_kinds, tasks_for_loss

PARTS = ("train", "validation", "test")
_BLOCK = 16384  # rows that are encoded at a time, column by column: their inputs stay in the cache
DROP: Change = {"missing_target": "drop"}
"""The settings that leave out rows without a target."""
NUMBERS_ROWS, NO_VALUE = "{} numbers the rows", "{} has no value in any training row"
ALL_SAME, OWN_TEXT = "{} is the same in every training row", "{} has a text of its own in nearly every row"
_NEARLY_ALL = 0.9  # of the rows with a text: where as many texts differ, they are names or free text
SHOWN = 5
"""Columns that a note names."""
_MIN_INDEX_ROWS = 20  # in a shorter table, a column that counts the rows may be informative
_INDEX_SPAN = 1.1  # of the rows: identifiers may have gaps, where rows were left out before
_MAX_RECORD = 50_000_000  # characters of the fitted encoders; a model file stores them twice, within 100 MB


class Own(NamedTuple):
    """Some inputs of all rows of a file as one member of an ensemble sees them."""

    places: Indices
    values: Array
    """(rows, places)"""


class Features(NamedTuple):
    """Inputs (rows, width) of a whole file; bytes are decoded by an offset and a scale, or by a lookup table."""

    values: NDArray[Any]
    dtype: np.dtype[Any]
    offset: float = 0.0
    scale: float = 1.0
    lookup: Array | None = None
    """(256,): the input for each byte, where offset and scale are not enough"""
    own: Own | None = None
    """What some inputs are instead, for one member of an ensemble."""

    @property
    def width(self) -> int:
        """Number of inputs per row."""
        return int(self.values.shape[1])

    def byte_buffer(self, *rows: int) -> NDArray[np.uint8] | None:
        """A scratch buffer for `gather` of an array of `rows`; None where it needs none."""
        return np.empty((*rows, self.width), np.uint8) if self.values.dtype == np.uint8 else None

    def gather(self, rows: Indices, out: Array, scratch: NDArray[np.uint8] | None = None) -> None:
        """Write the inputs of `rows` (..., n) into `out` (..., n, width)."""
        if scratch is None:
            self.values.take(rows, axis=0, out=out, mode="clip")
            if self.own is not None:
                out[..., self.own.places] = self.own.values[rows]
            return
        self.values.take(rows, axis=0, out=scratch, mode="clip")
        if self.lookup is not None:
            self.lookup.take(scratch, out=out, mode="clip")
            return
        np.multiply(scratch, self.dtype.type(1 / self.scale), out=out, casting="unsafe")
        if self.offset:
            np.subtract(out, self.offset / self.scale, out=out)


@dataclass(frozen=True)
class Part:
    """Some rows of a file: the training, validation or test rows."""

    features: Features
    targets: Target
    """Encoded targets of all rows of the file, as the loss takes them."""
    rows: Indices
    all_weights: Array | None = None
    """(rows of the file,): row weights; times the class weights they have mean 1 over `rows`"""
    truths: Truth | None = None
    """True values of all rows of the file, in their own units; None where the targets are the true values."""
    units: Rows | None = None
    """(rows of the file,): the group of each row; None where each row stands for itself."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def distinct(self) -> int:
        """The number of different rows; repeated folds hold out a row more than once."""
        return int(np.count_nonzero(np.bincount(self.rows)))

    def target(self) -> Target:
        """The encoded targets of these rows, as the loss takes them."""
        return self.targets[self.rows]

    def truth(self) -> Truth:
        """The true values of these rows, in their own units."""
        return (self.targets if self.truths is None else self.truths)[self.rows]

    def weights(self) -> Array | None:
        """The weights of these rows; None weights all equally."""
        return None if self.all_weights is None else self.all_weights[self.rows]

    def of(self, rows: Indices) -> Part:
        """Other rows of the same file."""
        return replace(self, rows=rows)

    def active_inputs(self) -> NDArray[np.bool_]:
        """Which inputs are nonzero in at least one of these rows."""
        active = np.zeros(self.features.width, bool)
        out = np.empty((min(1024, len(self)), self.features.width), self.features.dtype)
        scratch = self.features.byte_buffer(len(out))
        for start in range(0, len(self), 1024):
            rows = self.rows[start : start + 1024]
            n = len(rows)
            self.features.gather(rows, out[:n], None if scratch is None else scratch[:n])
            active |= out[:n].any(axis=0)
            if active.all():
                break
        return active


class Transforms(Frozen):
    """Everything fitted on the training rows that turns a table into inputs and targets, by column name."""

    encoders: Annotated[tuple[Annotated[Encoder, OneOf()], ...], Field(strict=False, min_length=1)]
    task: Annotated[Task, OneOf()]
    missing_values: Words
    sample_weight: str | None = None
    """The column of row weights."""
    group: str | None = None
    """The column that says which rows belong together."""
    constant: Annotated[tuple[int, ...], Field(strict=False)] = ()
    """Inputs that are constant in the training rows. They carry no information and are set to 0 in every table."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not all(0 <= place < self.width for place in self.constant):
            refuse([("constant", "must be numbers of inputs")])
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        """The name of each input of the network."""
        return tuple(name for encoder in self.encoders for name in encoder.inputs)

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return sum(encoder.width for encoder in self.encoders)

    @property
    def has_pixels(self) -> bool:
        """Whether the inputs are an image rather than columns of a table."""
        return any(isinstance(encoder, Pixels) for encoder in self.encoders)

    @property
    def details(self) -> NDArray[np.bool_]:
        """(width,): which inputs only refine others, as bins do; their weights start at 0."""
        parts = [np.arange(encoder.width) >= encoder.width - encoder.details for encoder in self.encoders]
        return np.concatenate(parts)

    @property
    def hints(self) -> Hints:
        """What is known about another table before it is read."""
        text = [encoder.column for encoder in self.encoders if encoder.textual]
        wanted = [encoder.column for encoder in self.encoders]
        groups = () if self.group is None else (self.group,)
        return Hints((*self.task.columns, *text, *groups), self.missing_values, wanted)

    def encode(self, table: Table, dtype: Any, columns: Sequence[Column] | None = None) -> tuple[Features, list[str]]:
        """The inputs of all rows of `table`, and notes on filled values; `columns` avoids reading them again."""
        columns = columns if columns is not None else self.read(table)
        dtype = np.dtype(dtype)
        packed = self.encoders[0].packed(columns[0], table) if len(self.encoders) == 1 else None
        if packed is not None:
            lookup = None if packed.lookup is None else packed.lookup.astype(dtype)
            return Features(packed.values, dtype, packed.offset, packed.scale, lookup), []
        troubles, writers = Troubles(), []
        for encoder, column in zip(self.encoders, columns, strict=True):
            with troubles.collected():
                writers.append(encoder.writer(column, table))
        troubles.refuse()
        values = np.empty((table.rows, self.width), dtype)
        write_inputs(values, writers, [encoder.width for encoder in self.encoders])
        values[:, list(self.constant)] = 0
        return Features(values, dtype), [writer.note for writer in writers if writer.note]

    def encode_other(self, table: Table, dtype: Any) -> tuple[Features, list[str]]:
        """`encode` for a table that nothing was fitted to: the notes begin with values far outside of training."""
        columns = self.read(table)
        features, notes = self.encode(table, dtype, columns)
        pairs = zip(self.encoders, columns, strict=True)
        far = {encoder.column: rows for encoder, column in pairs if (rows := encoder.far(column, table))}
        return features, [*([far_note(far)] if far else []), *notes]

    def lessons(self, columns: Sequence[Column], table: Table, answers: Answers) -> Lessons | None:
        """What encoders learn from the target of `table`; None if none of them does."""
        ends = np.cumsum([encoder.width for encoder in self.encoders])
        places = [np.arange(end - one.learned, end) for one, end in zip(self.encoders, ends, strict=True)]
        pairs = [pair for pair in zip(self.encoders, columns, strict=True) if pair[0].learned]
        return Lessons(tuple(pairs), np.concatenate(places), table, answers) if pairs else None

    def read(self, table: Table) -> list[Column]:
        """The feature columns of another table, with the types that they had in training."""
        absent = [encoder.column for encoder in self.encoders if encoder.column not in table.columns]
        if absent:
            names = ", ".join(f"'{name}'" for name in absent[:10])
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            raise DataError(
                f"{table.path}: columns that the model needs are missing: {names}{more}{table.suggestion(absent[0])}"
            )
        troubles, columns = Troubles(), []
        for encoder in self.encoders:
            with troubles.collected():
                columns.append(encoder.read(table, encoder.column, self.missing_values))
        troubles.refuse()
        return columns

    def used(self, table: Table, drop: bool) -> Table:
        """The rows of `table` with a weight and a target; those without a target are refused or dropped."""
        table, _, _ = rows_with_weight(table, self.sample_weight, self.missing_values)
        return table.select(rows_with_target(self.task.read(table, self.missing_values), table, drop))

    def part(self, table: Table, dtype: Any, drop: bool, change: Change = DROP) -> tuple[Part, list[str]]:
        """The rows of another table with a weight, and their targets; rows without a target are refused or dropped.

        `change` are the settings that would drop them, if there is a spec to write them into.
        """
        for name in self.task.columns:
            if name not in table.columns:
                raise DataError(
                    f"{table.path}: no target column '{name}'{table.suggestion(name)}; without it, "
                    "`mlptrain predict` still works"
                )
        table, weights, notes = rows_with_weight(table, self.sample_weight, self.missing_values)
        columns = self.task.read(table, self.missing_values)
        present = rows_with_target(columns, table, drop, change)
        if len(present) < table.rows:
            notes.append(left_out(table.rows - len(present), "without a target"))
            table, weights = table.select(present), None if weights is None else weights[present]
            columns = self.task.read(table, self.missing_values)
        features, more = self.encode_other(table, dtype)
        truth, rows = self.task.truth(columns, table), np.arange(table.rows)
        part = make_part(self.task, features, truth, rows, weights, dtype)
        return replace(part, units=groups_if_known(table, self.group, self.missing_values)), notes + more


class Fold(NamedTuple):
    """The rows of one member of an ensemble."""

    training: Part
    validation: Part | None


@dataclass(frozen=True)
class Dataset:
    """The training, validation and test rows of a run, and the transforms fitted on the training rows."""

    training: Part
    validation: Part | None
    """With folds, the training rows in the order of the folds, each of which validates one member."""
    test: Part | None
    transforms: Transforms
    loss: Loss
    fingerprint: dict[str, str]
    """sha256 of every file that was read, by setting"""
    notes: tuple[str, ...]
    numbers: Indices | None = None
    """(rows,): the number of each row of the main table in its file, from 0; None if no row was left out."""
    folds: tuple[Fold, ...] = ()
    """The rows of each member, where they differ; else every member has the training and the validation rows."""

    def with_task(self, task: Task) -> Dataset:
        """The same rows with another decision of the task."""
        return replace(self, transforms=self.transforms.model_copy(update={"task": task}))

    def members(self, number: int) -> tuple[Fold, ...]:
        """The rows of each of `number` members; if there are more members than folds, they take turns."""
        return tuple(self.groups[k % len(self.groups)] for k in range(number))

    @property
    def groups(self) -> tuple[Fold, ...]:
        """The different rows that members can have."""
        return self.folds or (Fold(self.training, self.validation),)

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that have rows, by name."""
        named = zip(PARTS, (self.training, self.validation, self.test), strict=True)
        return {name: part for name, part in named if part is not None}


class TaskChoice(NamedTuple):
    """The task and the loss of a run, with the true values of the target."""

    task: Task
    loss: Loss
    truth: Truth
    """Of all rows of the table."""
    notes: list[str]

    def learned(self, training: Indices, weights: NDArray[np.float64] | None, fit: Fit, table: Table) -> Task:
        """The task fitted to the `training` rows."""
        truth, counted = self.truth[training], None if weights is None else weights[training]
        task = self.task.learn(truth, counted, self.loss, fit.scale_target or NoScaling(), table)
        return task.clipped(truth) if fit.data.clip_predictions else task


@dataclass
class Examined:
    """The main table of a run with its task, before anything is fitted to it."""

    table: Table
    """The rows with a weight and a target."""
    fingerprint: dict[str, str]
    weights: NDArray[np.float64] | None
    choice: TaskChoice | None
    """None after a `Trouble`."""
    keys: Keys
    """What the split goes by."""
    notes: list[str]
    troubles: Troubles

    @property
    def is_classification(self) -> bool:
        """Whether classes are to be predicted."""
        return self.choice is not None and self.choice.task.form != "values"

    def groups_to_train(self, data: Data, seed: int) -> int | None:
        """The number of groups that are not for the test; None without groups."""
        units = self.keys.units
        if units is None or self.choice is None:
            return None
        split = data.effective_split.model_copy(update={"validation": 0.0})
        task, truth = self.choice.task, self.choice.truth
        with Troubles().collected():
            rows = choose_rows(task, truth, split, seed, self.table, self.keys)["train"]
            return int(np.count_nonzero(np.bincount(units.codes[rows])))
        return None


def examine(data: Data, loss: Loss | None = None, task: str | None = None) -> Examined:
    """Read the main table of `data`; if `task` or `loss` is None, the target implies it."""
    table, fingerprint = read_part(data, "train", data.hints)
    troubles = Troubles()
    check_names(table, data)
    table, weights, columns, notes = usable_rows(table, data, troubles)
    choice = choose_task(table, columns, data, loss, task, troubles)
    keys = Keys()
    with troubles.collected():
        keys = read_keys(table, data)
    return Examined(table, fingerprint, weights, choice, keys, notes, troubles)


class Fit(NamedTuple):
    """The settings by which transforms are fitted to a table."""

    data: Data
    scale_target: Scaler | None
    """For regression; None does not scale."""
    dtype: Any
    seed: int
    folds: int = 0
    """The number of parts into which the training rows are divided, each of which validates a member."""


class Learned(NamedTuple):
    """The main table of a run, with what was fitted to it."""

    parts: dict[str, Part | None]
    """By name."""
    transforms: Transforms
    loss: Loss
    notes: list[str]
    lessons: Lessons | None
    """What the encoders learn from the target, if they do."""


def load_dataset(examined: Examined, fit: Fit) -> Dataset:
    """Split the rows, fit the transforms on the training rows and encode all parts; `examined` is used up."""
    data, fingerprint = fit.data, examined.fingerprint
    parts, transforms, loss, notes, lessons = learn(examined, fit)
    for name, path in (("validation", data.validation_path), ("test", data.test_path)):
        if path is not None:
            other, digests = read_part(data, name, transforms.hints._replace(wanted=()))
            fingerprint |= digests
            parts[name], more = transforms.part(other, fit.dtype, data.missing_target == "drop")
            notes += [f"{note} ({path})" for note in more]
    training = parts["train"]
    assert training is not None
    rest = parts["validation"], parts["test"], transforms, loss, fingerprint, tuple(notes)
    dataset = Dataset(training, *rest, numbers=examined.table.numbers)
    return with_folds(dataset, fit, examined.keys.units, lessons) if fit.folds else dataset


def with_folds(dataset: Dataset, fit: Fit, units: Units | None, lessons: Lessons | None) -> Dataset:
    """`dataset` with its training rows in folds, drawn as often as the split says, stratified by class."""
    training, task, left_out, folds = dataset.training, dataset.transforms.task, list[Rows](), list[Fold]()
    truth = training.targets if training.truths is None else training.truths
    strata = task.strata(truth)
    for repeat in range(fit.data.split.repeats):
        drawn = draw_folds(training.rows, strata, fit, units, repeat)
        for k, rows in enumerate(drawn):
            others = drawn[:k] + drawn[k + 1 :]
            part = training if lessons is None else with_own(training, lessons, others, dataset.transforms.constant)
            folds.append(Fold(part.of(training.rows[~np.isin(training.rows, rows)]), part.of(rows)))
        left_out += drawn
    if strata is not None and task.has_classes(truth):
        refuse_unlearned(training.rows, left_out, strata, task.strata_names, fit.data.path)
    return replace(dataset, folds=tuple(folds), validation=training.of(np.concatenate(left_out)))


def with_own(part: Part, lessons: Lessons, folds: Sequence[Rows], constant: Sequence[int]) -> Part:
    """`part` as the member that is trained on these `folds` sees it, with what they tell of the target."""
    features, values = part.features, lessons.out_of_fold(folds)
    values[:, np.isin(lessons.places, constant)] = 0
    return replace(part, features=features._replace(own=Own(lessons.places, values.astype(features.dtype))))


def draw_folds(rows: Rows, strata: Rows | None, fit: Fit, units: Units | None, repeat: int = 0) -> list[Rows]:
    """The training `rows` in the folds of the members, or in a few parts where they have none; stratified by class."""
    available = len(rows) if units is None else int(np.count_nonzero(np.bincount(units.codes[rows])))
    number = fit.folds or min(PARTS_ALONE, available)
    return fold_rows(rows, strata, number, stream(fit.seed, "folds", repeat), fit.data.path, units)


def load_test_part(data: Data, transforms: Transforms, dtype: Any, seed: int) -> Part | None:
    """The rows that `load_dataset` keeps for testing, as `transforms` prepare them; None where it keeps none.

    Nothing is fitted, so that a model measures its own rows as it was trained, whichever version trained it.
    """
    drop = data.missing_target == "drop"
    if data.test_path is not None:
        table, _ = read_part(data, "test", transforms.hints)
        return transforms.part(table, dtype, drop)[0]
    table, _ = read_part(data, "train", transforms.hints)
    table, weights, _ = rows_with_weight(table, data.sample_weight, data.missing_values)
    task, missing = transforms.task, data.missing_values
    present = rows_with_target(task.read(table, missing), table, drop)
    table, weights = table.select(present), None if weights is None else weights[present]
    truth, keys = task.truth(task.read(table, missing), table), read_keys(table, data)
    rows = choose_rows(task, truth, data.effective_split, seed, table, keys)["test"]
    if not len(rows):
        return None
    features, _ = transforms.encode(table, dtype)  # all rows, as in training: those of the test may hold no known word
    return make_part(task, features, truth, rows, weights, dtype, None if keys.units is None else keys.units.codes)


def used_rows(data: Data, transforms: Transforms, part: str) -> tuple[Table, int]:
    """The table that the rows of `part` count in, without rows that were left out, and the rows of its file."""
    own = {"validation": data.validation_path, "test": data.test_path}
    source = part if own.get(part) is not None else "train"
    whole, _ = read_part(data, source, transforms.hints._replace(wanted=()))
    return transforms.used(whole, data.missing_target == "drop"), whole.rows


def learn(examined: Examined, fit: Fit) -> Learned:
    """Split the main table, fit the transforms and encode it. One error reports all that is wrong with its columns."""
    data, table, choice, troubles = fit.data, examined.table, examined.choice, examined.troubles
    weights = examined.weights
    names, more = choose_features(table, data)
    chosen = {"train": np.arange(table.rows)}
    with troubles.collected():
        if choice is not None:
            chosen = choose_rows(choice.task, choice.truth, data.effective_split, fit.seed, table, examined.keys)
    training = chosen["train"]
    encoders, columns, empty = fit_encoders(table, names, training, data, troubles)
    troubles.refuse()
    assert choice is not None
    task = choice.learned(training, weights, fit, table)
    answers, pairs = Answers(lambda: task.averaged(choice.truth), weights), zip(encoders, columns, strict=True)
    transforms = Transforms(
        encoders=tuple(encoder.learn(column, training, answers) for encoder, column in pairs),
        task=task,
        missing_values=data.missing_values,
        sample_weight=data.sample_weight,
        group=data.split.group,
    )
    check_size(transforms, data, table)
    inputs, filled = transforms.encode(table, fit.dtype, columns)
    lessons = transforms.lessons(columns, table, answers)
    if lessons is not None:
        folds = draw_folds(training, task.strata(choice.truth), fit, examined.keys.units)
        inputs.values[:, lessons.places] = lessons.out_of_fold(folds)
    transforms, constant = without_constants(transforms, inputs, training)
    read = joined_notes([(encoder.column, encoder.remark()) for encoder in transforms.encoders])
    units = None if examined.keys.units is None else examined.keys.units.codes
    parts = {
        name: make_part(task, inputs, choice.truth, rows, weights, fit.dtype, units) if len(rows) else None
        for name, rows in chosen.items()
    }
    notes = [*examined.notes, *choice.notes, *more, *empty, *read, *constant, *filled]
    return Learned(parts, transforms, choice.loss, notes, lessons)


def usable_rows(
    table: Table, data: Data, troubles: Troubles
) -> tuple[Table, NDArray[np.float64] | None, list[Column], list[str]]:
    """The rows with a weight and a target, their weights and target columns, and notes on the rows left out."""
    columns: list[Column] = []
    weights: NDArray[np.float64] | None = None
    notes: list[str] = []
    with troubles.collected():
        table, weights, notes = rows_with_weight(table, data.sample_weight, data.missing_values)
    with troubles.collected():
        columns = [target_column(table, name, data.missing_values) for name in data.target_names]
        with troubles.collected():
            rows_with_target(columns, table, data.missing_target == "drop")
        present = rows_with_target(columns, table, drop=True)
        if len(present) < table.rows:
            notes.append(left_out(table.rows - len(present), "without a target"))
            table, weights = table.select(present), None if weights is None else weights[present]
            columns = [target_column(table, name, data.missing_values) for name in data.target_names]
    return table, weights, columns, notes


def target_column(table: Table, name: str, missing: Sequence[str]) -> Column:
    """A target column of inferred type, amounts as numbers; a `Trouble` for dates."""
    column = interpret(table, name, missing)
    if isinstance(column, MomentColumn):
        raise Trouble(table.path, f"target '{name}' holds dates; {ADVICE['dates']}")
    return amounts_if_all(table, column, missing)


def choose_task(
    table: Table, columns: Sequence[Column], data: Data, given: Loss | None, wanted: str | None, troubles: Troubles
) -> TaskChoice | None:
    """The task and the loss, as `given` and `wanted` or else implied by the target; None after a `Trouble`."""
    notes: list[str] = []
    if not columns:
        return None
    with troubles.collected():
        if wanted is not None:
            kind = task_kinds()[wanted]
        elif given is not None:
            kind = tasks_for_loss(given)[0]
        else:
            kind = implied_task(columns, table, data.missing_values)
            notes = kind.assumptions(columns)
        loss = given or kind.default_loss()
        columns = [kind.view(column, table, data.missing_values) for column in columns]
        try:
            task = kind.fit(columns, loss, table)
        except AnotherTask as trouble:
            raise trouble.with_lines(wanted is not None, given is not None) from trouble
        return TaskChoice(task, loss, task.truth(columns, table), [*notes, *written_notes(columns)])
    return None


def written_notes(columns: Sequence[Column]) -> list[str]:
    """Notes on target columns that are not written as plain numbers."""
    return [
        f"target '{column.name}' read as numbers with {column.notation.described}; predictions are plain numbers"
        for column in columns
        if isinstance(column, NumericColumn) and column.notation is not None
    ]


def fit_encoders(
    table: Table, names: Sequence[str], training: Indices, data: Data, troubles: Troubles
) -> tuple[tuple[Encoder, ...], list[Column], list[str]]:
    """An encoder for each column, fitted on the `training` rows, the columns as they were read for them, and notes."""
    chosen: list[tuple[type[Encoder], Column]] = []
    empty: dict[tuple[str, bool], list[str]] = {}
    for name in names:
        with troubles.collected(), remedied(data, name):
            kind, column = choose_encoder(table, name, data)
            if name not in data.declared and (why := nothing_to_learn(kind, column, training)):
                empty.setdefault((why, not isinstance(column, NumericColumn)), []).append(name)
            else:
                chosen.append((kind.suited(column, training, data), column))
    notes = [left_out_note(found, why, words, data) for (why, words), found in empty.items()]
    if not chosen and not troubles.found:
        text = f"no column is left to learn from beside the target: {'; '.join(notes)}"
        raise Trouble(table.path, text)
    data = with_own_input_rows(with_number_of_bins(data, chosen, len(training)), chosen, training)
    encoders, columns = [], []
    for kind, column in chosen:
        with troubles.collected(), remedied(data, column.name):
            encoders.append(kind.fit(column, training, data, table))
            columns.append(column)
    return tuple(encoders), columns, notes


def nothing_to_learn(kind: type[Encoder], column: Column, training: Indices) -> str | None:
    """Why a column that the spec does not name is left out, if the `training` rows cannot learn from it."""
    if isinstance(column, NumericColumn):
        return nothing_in_numbers(column, training)
    if isinstance(column, PixelColumn):
        return None
    absent = column.absent[training]
    if absent.all():
        return NO_VALUE
    if isinstance(column, MomentColumn):
        same = len(training) > 1 and bool((column.seconds[training] == column.seconds[training[0]]).all())
        return ALL_SAME if same else None
    codes = column.codes[training][~absent]
    distinct = np.count_nonzero(np.bincount(codes))
    if len(training) > 1 and distinct == 1 and not absent.any():
        return ALL_SAME
    as_words = issubclass(kind, Category) and words_among_numbers(column).mean() > 0.5
    return OWN_TEXT if as_words and len(codes) > _MIN_INDEX_ROWS and distinct >= _NEARLY_ALL * len(codes) else None


def nothing_in_numbers(column: NumericColumn, training: Indices) -> str | None:
    """Why a column of numbers, or a block of them, is left out; the first rows are usually enough to decide."""
    values = column.values
    for rows in (training[:_MIN_INDEX_ROWS], training):
        some = values[rows]
        same, absent = (some == some[0]).all(), np.isnan(some).all()
        if not same and not absent:
            return None
    return NO_VALUE if absent else ALL_SAME if len(training) > 1 else None


def left_out_note(names: Sequence[str], why: str, words: bool, data: Data) -> str:
    """A note on columns that are left out, with the line that brings them back."""
    line = setting(data=data.with_columns(names[:SHOWN], words))
    each, them = ("it", "it") if len(names) == 1 else ("each", "them")
    note = f"{listed_columns(names)} left out: {why.format(each)}"
    return note if why == NO_VALUE else f"{note}; to use {them}, write {line}"


@contextmanager
def remedied(data: Data, name: str) -> Iterator[None]:
    """Add to a `Trouble` raised inside that the column `name` can be left out, unless it has a remedy."""
    try:
        yield
    except Trouble as trouble:
        raise trouble.with_remedy(data.without(name)) from trouble


def with_number_of_bins(data: Data, chosen: Sequence[tuple[type[Encoder], Column]], rows: int) -> Data:
    """The settings with a number of bins where they leave it to the number of rows and of columns of numbers."""
    if data.numeric.bins != "auto":
        return data
    columns = [column for kind, column in chosen if issubclass(kind, Number)]
    blocks = [column for column in columns if isinstance(column, NumericColumn) and column.width > 1]
    return data.with_bins(automatic_bins(rows, len(columns) - len(blocks)))


def with_own_input_rows(data: Data, chosen: Sequence[tuple[type[Encoder], Column]], training: Indices) -> Data:
    """The settings with the rows for the input of a category where they leave it to all columns of many categories."""
    columns = [column for kind, column in chosen if issubclass(kind, ManyCategories)]
    counts = [category_counts(column, training) for column in columns if isinstance(column, TextColumn)]
    if data.categorical.own_input_rows != "auto" or not counts:
        return data
    return data.with_own_input_rows(automatic_own_input_rows(counts, len(training)))


def joined_notes(remarks: Sequence[tuple[str, str | None]]) -> list[str]:
    """Notes on columns, one for all columns with the same remark."""
    names: dict[str, list[str]] = {}
    for name, remark in remarks:
        if remark is not None:
            names.setdefault(remark, []).append(name)
    return [f"{listed_columns(found)} {remark}" for remark, found in names.items()]


def far_note(rows: Mapping[str, int]) -> str:
    """A note on columns with values far outside of training, the most affected first."""
    names = sorted(rows, key=lambda name: -rows[name])
    counts = [f"'{name}' in {rows[name]:,} {'row' if rows[name] == 1 else 'rows'}" for name in names[:SHOWN]]
    more = f" and {len(names) - SHOWN} more columns" if len(names) > SHOWN else ""
    return f"values outside of the range of training by more than its width: {', '.join(counts)}{more}"


def listed_columns(names: Sequence[str]) -> str:
    """Names of columns for a note, the first ones if there are many."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def check_names(table: Table, data: Data) -> None:
    """Refuse a spec that names a column that does not exist."""
    named = [name for name in (data.sample_weight, data.split.group, data.split.order) if name]
    wanted = dict.fromkeys((*named, *data.target_names, *data.exclude, *data.declared))
    missing = [name for name in wanted if name not in table.columns]
    if len(missing) > 1:
        names = ", ".join(f"'{name}'" for name in missing[:10]) + (", ..." if len(missing) > 10 else "")
        raise DataError(f"{table.path}: {len(missing)} columns are not there: {names}{table.suggestion(missing[0])}")
    for name in missing:
        table.column(name)


def choose_features(table: Table, data: Data) -> tuple[list[str], list[str]]:
    """The feature columns, as named or else all that are no index, and notes on those left out."""
    if data.features:
        return list(data.features), []
    other = {data.sample_weight, data.split.group, *data.exclude, *data.target_names}
    candidates = [name for name in table.columns if name not in other]
    declared = set(data.declared)
    counting = [name for name in candidates if name not in declared and is_row_index(table, name)]
    left_out = set(counting)
    names = [name for name in candidates if name not in left_out]
    if names or not counting:
        if not names:
            raise DataError(f"{table.path}: no column is left to learn from beside the target")
        return names, index_notes(table, counting, data)
    notes = index_notes(table, counting, data)
    raise Trouble(table.path, f"no column is left to learn from beside the target: {'; '.join(notes)}")


def index_notes(table: Table, names: Sequence[str], data: Data) -> list[str]:
    """Notes on columns that are left out because they number the rows."""
    words = {name: not isinstance(interpret(table, name, data.missing_values), NumericColumn) for name in names}
    groups = [[name for name in names if words[name] is kind] for kind in (False, True)]
    return [left_out_note(group, NUMBERS_ROWS, group is groups[1], data) for group in groups if group]


def is_row_index(table: Table, name: str) -> bool:
    """Whether a column numbers the rows: marked as an index by its file or its name, or the numbers 0 or 1 to n."""
    if name in table.index:
        return True
    raw = table.columns[name]
    if table.rows < _MIN_INDEX_ROWS or (isinstance(raw, np.ndarray) and raw.ndim > 1):
        return False
    try:
        words = is_text(raw, name, table.path)
    except Trouble:  # neither numbers nor words
        return False
    values = np.zeros(0)
    for some in (slice(0, _MIN_INDEX_ROWS), slice(None)):  # the first rows are usually enough to decide
        values = parse_numbers(raw[some], ())[0] if words else matrix(raw[some])[:, 0]
        if not are_distinct(values):
            return False
    return bool(values.min() in (0, 1) and np.ptp(values) < _INDEX_SPAN * table.rows)


def are_distinct(values: NDArray[np.float64]) -> bool:
    """Whether `values` are different whole numbers."""
    ordered = np.sort(values)
    return bool((ordered[1:] > ordered[:-1]).all() and (ordered == np.floor(ordered)).all())


def rows_with_weight(
    table: Table, sample_weight: str | None, missing: Sequence[str]
) -> tuple[Table, NDArray[np.float64] | None, list[str]]:
    """The rows of `table` with a weight above 0, their weights, and a note on the others."""
    if sample_weight is None or sample_weight not in table.columns:
        return table, None, []
    weights = single_column(as_numeric(table, sample_weight, missing), table)
    refuse_weights(sample_weight, weights, table)
    rows = np.flatnonzero(weights)
    note = [left_out(table.rows - len(rows), f"of weight 0 in '{sample_weight}'")] if len(rows) < table.rows else []
    return table.select(rows), weights[rows], note


def refuse_weights(name: str, weights: NDArray[np.float64], table: Table) -> None:
    """Refuse weights that are missing or negative, or all 0."""
    absent, negative = np.flatnonzero(np.isnan(weights)), np.flatnonzero(weights < 0)
    if len(absent):
        where = table.row_list(absent)
        raise Trouble(
            table.path, f"sample weight '{name}' is missing in {where}; fill it in, or write 0 to ignore a row"
        )
    if len(negative) or not weights.any():
        where = f", but are not in {table.row_list(negative)}" if len(negative) else ", and not all 0"
        raise Trouble(table.path, f"sample weights in '{name}' must be 0 or more{where}")


def left_out(rows: int, why: str) -> str:
    """A note on rows that are left out."""
    return f"{rows} row{'s' * (rows > 1)} {why} left out"


def rows_with_target(columns: Sequence[Column], table: Table, drop: bool, change: Change = DROP) -> Indices:
    """The rows with a value in every target column; a `Trouble` if a row has none, unless `drop` is set."""
    absent = np.stack([column.absent for column in columns])
    if absent.any(axis=0).all():
        names = ", ".join(column.name for column in columns)
        raise DataError(f"{table.path}: no row has a value in target '{names}'")
    for column, here in zip(columns, absent, strict=True):
        if here.any() and not drop:
            way = f"with {setting(data=change)}" if change else "of the table"
            text = (
                f"target '{column.name}' is missing in {table.row_list(np.flatnonzero(here))}; "
                f"fill it in, or leave such rows out {way}"
            )
            raise Trouble(table.path, text, change)
    return np.flatnonzero(~absent.any(axis=0))


def read_part(data: Data, part: str, hints: Hints) -> tuple[Table, dict[str, str]]:
    """The table of a part, with the target from a separate file where there is one.

    Also the digests of the files, by setting. The main table is that of the training rows.
    """
    prefix = PREFIXES[part]
    path, target_path = getattr(data, f"{prefix}path"), getattr(data, f"{prefix}target_path")
    table = data.held(path) or read_table(path, data.delimiter, hints)
    if target_path is None:
        return table, {f"{prefix}path": table.sha256}
    labels = read_table(target_path, data.delimiter)
    digests = {f"{prefix}path": table.sha256, f"{prefix}target_path": labels.sha256}
    return join_target(table, labels, data.target_names), digests


def join_target(table: Table, labels: Table, names: Sequence[str]) -> Table:
    """`table` with the target columns of `labels`, row by row; a single column is taken whatever its name."""
    if labels.rows != table.rows:
        raise DataError(
            f"{labels.path} has {labels.rows} rows, {table.path} has {table.rows}; they must match row by row"
        )
    if len(names) == 1 and len(labels.columns) == 1:
        found = {names[0]: next(iter(labels.columns.values()))}
    else:
        found = {name: labels.column(name) for name in names}
    return replace(table, columns=table.columns | found)


def choose_rows(task: Task, truth: Truth, split: Split, seed: int, table: Table, keys: Keys) -> dict[str, Indices]:
    """The row numbers of each part by name, stratified by the target where its task defines strata."""
    strata = task.strata(truth) if split.shares() else None
    if strata is not None and task.has_classes(truth):
        names = task.strata_names
        refuse_single_rows(task.columns[0], names, np.bincount(strata, minlength=len(names)), table)
    rows, rng, path = np.arange(table.rows), stream(seed, "split"), table.path
    if keys.units is not None:
        parts = split_groups(rows, strata, keys.units, split, rng, path)
    elif keys.values is not None and split.order is not None:
        parts = split_in_order(split.order, keys.values, split, path)
    else:
        parts = split_rows(rows, strata, split, rng, path)
    if strata is not None:
        refuse_untrained(parts[0], strata, task.strata_names, split, path)
    return dict(zip(PARTS, parts, strict=True))


@np.errstate(over="ignore")  # the loss of a target beyond the range of its dtype has no value, which is said
def make_part(
    task: Task,
    features: Features,
    truth: Truth,
    rows: Indices,
    weights: NDArray[np.float64] | None,
    dtype: Any,
    units: Rows | None = None,
) -> Part:
    """The part of `rows`, with targets in the run's dtype and weights of mean 1 over these rows."""
    encoded = task.encode(truth)
    targets = encoded.astype(dtype) if encoded.dtype.kind == "f" else encoded
    return Part(features, targets, rows, normalized(weights, task, truth, rows, dtype), truth, units)


def normalized(
    weights: NDArray[np.float64] | None, task: Task, truth: Truth, rows: Indices, dtype: Any
) -> Array | None:
    """Row weights whose product with the class weights has mean 1 over `rows`; None where all of them are 1."""
    if weights is None and task.class_weights is None:
        return None
    counted = np.ones(len(truth)) if weights is None else weights / weights[rows].max()
    product = counted[rows]
    if task.class_weights is not None:
        product = product * task.class_weights[truth[rows]]
    mean = product.mean()
    return None if weights is None and abs(mean - 1) < 1e-12 else (counted / mean).astype(dtype)


@np.errstate(over="ignore")  # an overflow gives scores that are not finite, which is checked
def write_inputs(values: Array, writers: Sequence[Writer], widths: Sequence[int]) -> None:
    """Write the inputs of every column into `values` (rows, width), in blocks of rows."""
    places = np.cumsum([0, *widths]).tolist()
    for start in range(0, len(values), _BLOCK):
        rows = slice(start, start + _BLOCK)
        for writer, low, high in zip(writers, places[:-1], places[1:], strict=True):
            writer.write(rows, values[rows, low:high])


def without_constants(transforms: Transforms, inputs: Features, training: Indices) -> tuple[Transforms, list[str]]:
    """Set inputs that are constant in the training rows to 0; the transforms that record them, and notes."""
    if len(training) < 2 or inputs.values.dtype == np.uint8:
        return transforms, []
    first, constant = inputs.values[training[0]], np.arange(inputs.width)
    for start in range(0, len(training), _BLOCK):
        rows = training[start : start + _BLOCK]
        some = inputs.values[rows] if len(constant) == inputs.width else inputs.values[np.ix_(rows, constant)]
        constant = constant[(some == first[constant]).all(axis=0)]
        if not len(constant):
            return transforms, []
    inputs.values[:, constant] = 0
    return transforms.model_copy(update={"constant": tuple(constant.tolist())}), constant_notes(transforms, constant)


def constant_notes(transforms: Transforms, constant: Indices) -> list[str]:
    """Notes on the columns that are constant as a whole."""
    notes, start, places = [], 0, frozenset(constant.tolist())
    for encoder in transforms.encoders:
        if places.issuperset(range(start, start + encoder.width)):
            notes.append(f"'{encoder.column}' is the same in every training row and has no effect")
        start += encoder.width
    return notes


def check_size(transforms: Transforms, data: Data, table: Table) -> None:
    """Refuse encoders that give no input, or that are too large for a model file."""
    if not transforms.width:
        encoder = transforms.encoders[0]
        raise DataError(
            f"{table.path}: nothing is left to learn from: no category of column '{encoder.column}' is in "
            f"{data.categorical.min_count} training rows (data.categorical.min_count), and unknown ones are ignored"
        )
    sizes = {encoder.column: len(encoder.model_dump_json()) for encoder in transforms.encoders}
    if sum(sizes.values()) > _MAX_RECORD:
        largest = max(sizes, key=lambda name: sizes[name])
        encoder = next(encoder for encoder in transforms.encoders if encoder.column == largest)
        raise DataError(
            f"{table.path}: the fitted encoder of column '{largest}' takes {sizes[largest] / 1e6:.0f} MB, "
            f"more than a model file can hold; lower {encoder.size_setting}"
        )
