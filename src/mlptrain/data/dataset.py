"""How does a table become training, validation and test arrays?

    table -> rows with a target -> split -> transforms fitted on the training rows -> inputs and targets

Inputs are held once, for all rows of a file, in their compact type: floats of the run's dtype, or bytes for pixels,
which are scaled when a batch is gathered. A part is a list of row numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Frozen
from mlptrain.data.columns import Column, NumericColumn, PixelColumn, as_numeric, as_text, interpret, row_list
from mlptrain.data.scalers import NoScaling, Scaler
from mlptrain.data.settings import Data
from mlptrain.data.split import Split, split_rows
from mlptrain.data.tables import Hints, Table, read_table
from mlptrain.data.targets import AnyTarget, FittedTarget, fit_target, implied_loss, present_rows, single_column
from mlptrain.data.transforms import (
    Encoder,
    FittedCategorical,
    FittedNumeric,
    FittedPixels,
    Words,
)
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.nn.losses import Loss
from mlptrain.randomness import stream

PARTS = ("train", "validation", "test")
_BLOCK = 16384  # rows whose inputs stay in the cache while they are encoded column by column

FittedFeature = Annotated[FittedNumeric | FittedCategorical | FittedPixels, Field(discriminator="role")]


@dataclass(frozen=True)
class Features:
    """Inputs (rows, width) of a whole file; bytes carry the shift and scale that turn them into numbers."""

    values: NDArray[Any]
    dtype: np.dtype[Any]
    offset: float = 0.0
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Number of inputs of a row."""
        return int(self.values.shape[1])

    def byte_buffer(self, rows: int) -> NDArray[np.uint8] | None:
        """Room for `gather` to take bytes into; None where none is needed."""
        return np.empty((rows, self.width), np.uint8) if self.values.dtype == np.uint8 else None

    def gather(self, rows: Indices, out: Array, room: NDArray[np.uint8] | None = None) -> None:
        """Write the inputs of `rows` into `out` (n, width)."""
        if room is not None:
            self.values.take(rows, axis=0, out=room, mode="clip")
            np.multiply(room, self.dtype.type(1 / self.scale), out=out, casting="unsafe")
            if self.offset:
                np.subtract(out, self.offset / self.scale, out=out)
        else:
            self.values.take(rows, axis=0, out=out, mode="clip")


@dataclass(frozen=True)
class Part:
    """Some rows of a file: those that train, validate or test."""

    features: Features
    targets: Target
    rows: Indices
    all_weights: Array | None = None
    """(rows of the file,): how much each row counts"""

    def __len__(self) -> int:
        return len(self.rows)

    def target(self) -> Target:
        """The targets of these rows."""
        return self.targets[self.rows]

    def weights(self) -> Array | None:
        """How much each of these rows counts, with mean 1; None counts all alike."""
        if self.all_weights is None:
            return None
        weights = self.all_weights[self.rows]
        return weights / (weights.mean(dtype=np.float64) or 1)

    def lit_inputs(self) -> NDArray[np.bool_]:
        """Which inputs are different from zero in any of these rows."""
        lit = np.zeros(self.features.width, bool)
        out = np.empty((min(1024, len(self)), self.features.width), self.features.dtype)
        for start in range(0, len(self), 1024):
            rows = self.rows[start : start + 1024]
            self.features.gather(rows, out[: len(rows)], self.features.byte_buffer(len(rows)))
            lit |= out[: len(rows)].any(axis=0)
        return lit


class Transforms(Frozen):
    """Everything learned from training rows that turns a table into inputs and targets, by column name."""

    features: Annotated[tuple[FittedFeature, ...], Field(strict=False)]
    target: AnyTarget
    missing_values: Words
    sample_weight: str | None = None
    """The column that tells how much a row counts."""

    @property
    def width(self) -> int:
        """Number of inputs of the network."""
        return sum(feature.width for feature in self.features)

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns whose cells are words, or may be."""
        return self.target.names + tuple(f.name for f in self.features if isinstance(f, FittedCategorical))

    def encode(self, table: Table, dtype: Any, columns: dict[str, Column] | None = None) -> tuple[Features, list[str]]:
        """The inputs of all rows of `table`, and notes on what was filled; `columns` saves reading them again."""
        columns = columns if columns is not None else self.read(table)
        dtype = np.dtype(dtype)
        first = self.features[0]
        if len(self.features) == 1 and isinstance(first, FittedPixels):
            pixels = columns[first.name]
            assert isinstance(pixels, PixelColumn)
            return Features(pixels.values, dtype, first.offset, first.scale), []
        encoders = [self._encoder(feature, columns[feature.name], table.path) for feature in self.features]
        values = np.empty((table.rows, self.width), dtype)
        places = np.cumsum([0, *(feature.width for feature in self.features)]).tolist()
        for start in range(0, table.rows, _BLOCK):
            rows = slice(start, start + _BLOCK)
            for encoder, low, high in zip(encoders, places[:-1], places[1:], strict=True):
                encoder.write(rows, values[rows, low:high])
        return Features(values, dtype), [encoder.note for encoder in encoders if encoder.note]

    def _encoder(self, feature: Any, column: Column, origin: str) -> Encoder:
        """What encodes `column`, which is of the kind that `feature` was fitted on, or `read` made."""
        encoder: Encoder = feature.encoder(column, origin)
        return encoder

    def read(self, table: Table) -> dict[str, Column]:
        """The feature columns of another table, as what they were in training; all that are missing in one error."""
        absent = [feature.name for feature in self.features if feature.name not in table.columns]
        if absent:
            names = ", ".join(f"'{name}'" for name in absent[:10])
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            raise DataError(
                f"{table.path}: the model needs columns that are not there: {names}{more}{table.suggestion(absent[0])}"
            )
        return {feature.name: feature.read(table, self.missing_values) for feature in self.features}

    def part(self, table: Table, dtype: Any, drop: bool) -> tuple[Part, list[str]]:
        """All rows of another table, with their targets; rows without one are an error, or dropped."""
        for name in self.target.names:
            if name not in table.columns:
                raise DataError(
                    f"{table.path}: no target column '{name}'{table.suggestion(name)}; without it, "
                    "`mlptrain predict` still works"
                )
        columns = self.target.read(table, self.missing_values)
        rows = present_rows(columns, drop, table.path)
        features, notes = self.encode(table, dtype)
        weights = self.weights(table, rows, dtype)
        targets = as_target(self.target.encode(columns, rows, table.path), dtype)
        return Part(features, targets, rows, weights), notes

    def weights(self, table: Table, rows: Indices, dtype: Any) -> Array | None:
        """How much each row of `table` counts; None counts all alike, as where the table has no such column."""
        if self.sample_weight is None or self.sample_weight not in table.columns:
            return None
        values = single_column(as_numeric(table, self.sample_weight, self.missing_values), table.path)
        wrong = rows[~(values[rows] >= 0)]
        if len(wrong) or not values[rows].any():
            where = f"not so in {row_list(wrong)}" if len(wrong) else "but every one is 0"
            raise DataError(f"{table.path}: sample weights in '{self.sample_weight}' must be 0 or more, {where}")
        return values.astype(dtype)


@dataclass(frozen=True)
class Dataset:
    """What a run trains on, chooses by and reports on."""

    training: Part
    validation: Part | None
    test: Part | None
    transforms: Transforms
    loss: Loss
    fingerprint: dict[str, str]
    """sha256 of every file that was read, by path"""
    notes: tuple[str, ...]

    @property
    def parts(self) -> dict[str, Part]:
        """The parts that have rows, by name."""
        named = zip(PARTS, (self.training, self.validation, self.test), strict=True)
        return {name: part for name, part in named if part is not None}


def load_dataset(data: Data, loss: Loss | None, scale_target: Scaler | None, dtype: Any, seed: int) -> Dataset:
    """Read the files of `data`, split their rows, fit the transforms on the training rows and encode everything.

    Where `loss` is None, the target implies it. `scale_target` is for targets of numbers; None leaves it to the target.
    """
    text = (*data.target_names, *data.categorical.columns)
    table, fingerprint = read_with_target(data.path, data.target_path, data, text)
    parts, transforms, loss, notes = prepare(table, data, loss, scale_target or NoScaling(), dtype, seed)
    del table  # before the next one is read
    for name, path, target_path in (
        ("validation", data.validation_path, data.validation_target_path),
        ("test", data.test_path, data.test_target_path),
    ):
        if path is not None:
            other, digests = read_with_target(path, target_path, data, transforms.text_columns)
            fingerprint |= digests
            parts[name], more = transforms.part(other, dtype, data.missing_target == "drop")
            notes += [f"{note} ({path})" for note in more]
    training = parts["train"]
    assert training is not None
    return Dataset(training, parts["validation"], parts["test"], transforms, loss, fingerprint, tuple(notes))


def prepare(
    table: Table, data: Data, loss: Loss | None, scaler: Scaler, dtype: Any, seed: int
) -> tuple[dict[str, Part | None], Transforms, Loss, list[str]]:
    """The parts of the main table by name, what was learned from it, the loss, and notes on what was left out."""
    origin, missing = table.path, data.missing_values
    columns: list[Column] = [interpret(table, name, missing) for name in data.target_names]
    rows = present_rows(columns, data.missing_target == "drop", origin)
    loss = loss or implied_loss(columns, rows, origin)
    features = {name: read_feature(table, name, data) for name in feature_names(table, data)}
    unscaled, columns = fit_target(table, columns, loss, rows, missing)
    encoded = unscaled.encode(columns, rows, origin)
    chosen = choose_rows(unscaled, encoded, rows, data.effective_split, seed, origin)
    target = unscaled.trained(encoded[chosen["train"]], loss, scaler, origin)
    fitted = tuple(fit_feature(column, data, chosen["train"], origin) for column in features.values())
    transforms = Transforms(features=fitted, target=target, missing_values=missing, sample_weight=data.sample_weight)
    weights = transforms.weights(table, rows, dtype)
    if weights is not None:
        weights /= weights[chosen["train"]].mean(dtype=np.float64) or 1
    inputs, notes = transforms.encode(table, dtype, features)
    targets = as_target(target.encode(columns, rows, origin), dtype)
    parts = {name: Part(inputs, targets, some, weights) if len(some) else None for name, some in chosen.items()}
    lost = table.rows - len(rows)
    left_out = [f"{lost} row{'s' * (lost > 1)} without a target left out"] if lost else []
    return parts, transforms, loss, left_out + notes


def read_with_target(
    path: str, target_path: str | None, data: Data, text: Sequence[str]
) -> tuple[Table, dict[str, str]]:
    """A table, with the target from a file of its own where there is one, and the digests of the files.

    The columns in `text` are left as they are written.
    """
    table = read_table(path, data.delimiter, Hints(text, data.missing_values))
    if target_path is None:
        return table, {path: table.sha256}
    labels = read_table(target_path, data.delimiter)
    return join_target(table, labels, data.target_names), {path: table.sha256, target_path: labels.sha256}


def join_target(table: Table, labels: Table, names: Sequence[str]) -> Table:
    """`table` with the target columns of `labels`, row by row; the only column of a file answers to any name."""
    if labels.rows != table.rows:
        raise DataError(
            f"{labels.path} has {labels.rows} rows, {table.path} has {table.rows}; they must go together row by row"
        )
    if len(names) == 1 and len(labels.columns) == 1:
        found = {names[0]: next(iter(labels.columns.values()))}
    else:
        found = {name: labels.column(name) for name in names}
    return Table(table.path, table.sha256, table.rows, table.columns | found)


def choose_rows(
    target: FittedTarget, encoded: Target, rows: Indices, split: Split, seed: int, origin: str
) -> dict[str, Indices]:
    """The split of `rows` by the name of the part, even in the groups of the target if it has such."""
    strata = target.strata(encoded, rows, origin) if split.validation or split.test else None
    return dict(zip(PARTS, split_rows(rows, strata, split, stream(seed, "split"), origin), strict=True))


def as_target(encoded: Target, dtype: Any) -> Target:
    """Values in the run's dtype, classes as they are."""
    return encoded.astype(dtype) if encoded.dtype.kind == "f" else encoded


def fit_feature(column: Column, data: Data, training: Indices, origin: str) -> FittedFeature:
    """What is learned of a feature column from the training rows."""
    if isinstance(column, NumericColumn):
        return FittedNumeric.fit(column, training, data.numeric, origin)
    if isinstance(column, PixelColumn):
        return FittedPixels.fit(column, training, data.numeric)
    return FittedCategorical.fit(column, training, data.categorical, origin)


def feature_names(table: Table, data: Data) -> list[str]:
    """The columns to learn from: those that are named, or all but the target and the excluded ones."""
    named = [data.sample_weight] if data.sample_weight else []
    for name in (
        *named,
        *data.target_names,
        *data.features_or_none,
        *data.exclude,
        *data.numeric.columns,
        *data.categorical.columns,
    ):
        table.column(name)
    chosen = data.features_or_none or [
        name for name in table.columns if name not in (*named, *data.exclude, *data.target_names)
    ]
    if not chosen:
        raise DataError(f"{table.path}: no column is left to learn from beside the target")
    return list(chosen)


def read_feature(table: Table, name: str, data: Data) -> Column:
    """A feature column, as what the spec declares it to be or as what it looks like."""
    if name in data.numeric.columns:
        return as_numeric(table, name, data.missing_values)
    if name in data.categorical.columns:
        return as_text(table, name, data.missing_values)
    return interpret(table, name, data.missing_values)
