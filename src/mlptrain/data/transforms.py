"""How do columns become inputs and targets for a network, and predictions values in their own units?

Everything is fitted on training rows only. What is fitted is a frozen record that is stored with the model as JSON and
applied by name to any later table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Frozen, OneOf, refuse
from mlptrain.data.columns import (
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_numeric,
    as_pixels,
    as_text,
    row_list,
)
from mlptrain.data.scalers import Scaler, Standard, Values
from mlptrain.data.tables import Table
from mlptrain.errors import DataError

Numbers = Annotated[tuple[float, ...], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
_MANY = 10_000  # numbers, of which polars finds the median sooner than NumPy


def medians(values: Values, absent: NDArray[np.bool_]) -> Values:
    """The median of the numbers in each column of `values`, without the `absent` ones."""
    columns = zip(values.T, absent.T, strict=True)
    return np.array([median(column[~none] if none.any() else column) for column, none in columns])


def median(numbers: Values) -> float:
    """The median of `numbers` (n,); np.median would load numpy.ma, which costs more than a small table."""
    if len(numbers) < _MANY:
        low, high = (len(numbers) - 1) // 2, len(numbers) // 2
        return float(np.partition(numbers, (low, high))[low : high + 1].mean())
    import polars as pl

    return cast(float, pl.Series(numbers).median())


def as_rows(fitted: Values) -> tuple[tuple[float, ...], ...]:
    """Fitted numbers as they are stored."""
    return tuple(tuple(row) for row in fitted.tolist())


class Numeric(Frozen):
    """What is done to numeric columns."""

    columns: Words = Field((), description="Columns that must be read as numbers.")
    scale: Annotated[Scaler, OneOf()] = Field(Standard(), description="How values are scaled.")
    missing: Literal["median", "mean", "error"] = Field(
        "median", description="What fills a missing value: of the training rows."
    )


class Categorical(Frozen):
    """What is done to categorical columns: one input for each category."""

    columns: Words = Field((), description="Columns that must be read as categories, even if they look numeric.")
    unknown: Literal["own_column", "ignore", "error"] = Field(
        "own_column",
        description="A category that training did not see: an input of its own, no input, or an error.",
    )
    missing: Literal["own_column", "most_frequent", "error"] = Field(
        "own_column",
        description="A missing cell: a category of its own, the most frequent one of training, or an error.",
    )
    min_count: int = Field(1, ge=1, description="Categories with fewer training rows share the input of unknown ones.")
    max_categories: int = Field(
        100, ge=1, description="More categories than this are taken for a mistake (an identifier, a text)."
    )


@dataclass(frozen=True)
class Encoder:
    """Turns a column into inputs, some rows at a time."""

    write: Callable[[slice, NDArray[Any]], None]
    """Writes the inputs (n, width) of a span of rows into an array."""
    note: str | None = None
    """What was filled, or was not known."""


class FittedNumeric(Frozen):
    """A numeric column or block, ready to be scaled."""

    role: Literal["numeric"] = "numeric"
    name: str
    scaler: Annotated[Scaler, OneOf()]
    fitted: Annotated[tuple[Numbers, ...], Field(strict=False)]
    fill: Numbers | None
    """(width,): what stands for a missing value; None refuses one."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        lengths = {len(row) for row in self.fitted} | ({len(self.fill)} if self.fill is not None else set())
        if not self.fitted or len(lengths) != 1 or 0 in lengths:
            refuse([("fitted", "must be rows of one length, with as many fill values")])
        return self

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.fitted[0])

    @classmethod
    def fit(cls, column: NumericColumn, rows: NDArray[np.intp], settings: Numeric, origin: str) -> FittedNumeric:
        """Learn fill values and scale from the training `rows` of `column`."""
        values = column.values.take(rows, axis=0)
        absent = np.isnan(values) if column.missing else np.zeros(values.shape, bool)
        if absent.all(axis=0).any():
            raise DataError(
                f"{origin}: column '{column.name}' has no value in any training row; leave it out with data.exclude"
            )
        fill = None
        if settings.missing != "error":
            fill = medians(values, absent) if settings.missing == "median" else np.nanmean(values, axis=0)
            values[absent] = np.broadcast_to(fill, values.shape)[absent]
        elif absent.any():
            raise DataError(missing_message(origin, column.name, rows[absent.any(axis=1)], "numeric"))
        return cls(
            name=column.name,
            scaler=settings.scale,
            fitted=as_rows(settings.scale.fit(values)),
            fill=None if fill is None else tuple(fill.tolist()),
        )

    def read(self, table: Table, missing: Sequence[str]) -> NumericColumn:
        """This column of another table."""
        column = as_numeric(table, self.name, missing)
        if column.width != self.width:
            raise DataError(f"{table.path}: '{self.name}' has {column.width} columns, the model needs {self.width}")
        return column

    def encoder(self, column: NumericColumn, origin: str) -> Encoder:
        """What writes the inputs of `column`; a missing value that nothing may fill is an error."""
        missing = column.missing
        if missing and self.fill is None:
            absent = np.isnan(column.values).any(axis=1)
            raise DataError(missing_message(origin, self.name, np.flatnonzero(absent), "numeric"))
        fitted, fill = np.asarray(self.fitted), np.asarray(self.fill)

        def write(rows: slice, out: NDArray[Any]) -> None:
            values = column.span(rows)
            if missing:
                values = np.where(np.isnan(values), fill, values)
            out[...] = self.scaler.apply(values, fitted)

        return Encoder(write, f"{missing} missing in '{self.name}' filled from training" if missing else None)


class FittedCategorical(Frozen):
    """A categorical column: an input for each category, one for missing cells, one for unknown categories."""

    role: Literal["categorical"] = "categorical"
    name: str
    categories: Words
    fill: str | None
    """The category that stands for a missing cell, if one does."""
    missing_input: bool
    unknown_input: bool
    unknown_allowed: bool
    missing_allowed: bool

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.categories) + self.missing_input + self.unknown_input

    @classmethod
    def fit(cls, column: TextColumn, rows: NDArray[np.intp], settings: Categorical, origin: str) -> FittedCategorical:
        """Learn the categories from the training `rows` of `column`."""
        codes = column.codes[rows]
        if settings.missing == "error" and (codes < 0).any():
            raise DataError(missing_message(origin, column.name, rows[codes < 0], "categorical"))
        counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
        if not counts.any():
            raise DataError(
                f"{origin}: column '{column.name}' has no value in any training row; leave it out with data.exclude"
            )
        kept = [
            category for category, count in zip(column.categories, counts, strict=True) if count >= settings.min_count
        ]
        if len(kept) > settings.max_categories:
            raise DataError(
                f"{origin}: column '{column.name}' has {len(kept)} categories in {len(rows)} "
                f"training rows, such as '{kept[0]}'. Leave it "
                f"out with data: {{exclude: [{column.name}]}}, or allow them with data: "
                f"{{categorical: {{max_categories: {len(kept)}}}}}"
            )
        return cls(
            name=column.name,
            categories=tuple(kept),
            fill=column.categories[int(counts.argmax())] if settings.missing == "most_frequent" else None,
            missing_input=settings.missing == "own_column" and bool((codes < 0).any()),
            unknown_input=settings.unknown == "own_column",
            unknown_allowed=settings.unknown != "error",
            missing_allowed=settings.missing != "error",
        )

    def read(self, table: Table, missing: Sequence[str]) -> TextColumn:
        """This column of another table."""
        return as_text(table, self.name, missing)

    def encoder(self, column: TextColumn, origin: str) -> Encoder:
        """What writes the inputs of `column`; a note says what was missing or unknown."""
        absent, unknown = self._absent_and_unknown(column)
        if absent.any() and not self.missing_allowed:
            raise DataError(missing_message(origin, self.name, np.flatnonzero(absent), "categorical"))
        if unknown.any() and not self.unknown_allowed:
            words = sorted({column.categories[code] for code in column.codes[unknown]})
            raise DataError(
                f"{origin}: column '{self.name}' holds categories that training did not see: {', '.join(words[:5])} "
                f"in {row_list(np.flatnonzero(unknown))}; it knows {', '.join(self.categories[:8])}"
            )
        inputs = self._inputs(column, absent)

        def write(rows: slice, out: NDArray[Any]) -> None:
            lit = np.flatnonzero(inputs[rows] >= 0)
            out[...] = 0
            out[lit, inputs[rows][lit]] = 1

        counts = ((int(absent.sum()), "missing"), (int(unknown.sum()), "unknown"))
        notes = " and ".join(f"{count} {what}" for count, what in counts if count)
        return Encoder(write, f"{notes} in '{self.name}'" if notes else None)

    def _absent_and_unknown(self, column: TextColumn) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        learned = frozenset(self.categories)
        known = np.array([category in learned for category in column.categories] + [False])
        absent = column.codes < 0
        return absent, ~absent & ~known[column.codes]

    def _inputs(self, column: TextColumn, absent: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The input that each row lights, -1 for none."""
        places = {category: i for i, category in enumerate(self.categories)}
        unknown = self.width - 1 if self.unknown_input else -1
        inputs = np.array([places.get(category, unknown) for category in column.categories] + [-1], dtype=np.intp)[
            column.codes
        ]
        if self.fill is not None:
            inputs[absent] = places.get(self.fill, unknown)
        else:
            inputs[absent] = len(self.categories) if self.missing_input else unknown
        return inputs


class FittedPixels(Frozen):
    """A block of bytes, shifted and scaled by the mean and deviation of all its pixels when a batch is gathered."""

    role: Literal["pixels"] = "pixels"
    name: str
    pixels: int
    offset: float
    scale: float

    @property
    def width(self) -> int:
        """Number of inputs."""
        return self.pixels

    @classmethod
    def fit(cls, column: PixelColumn, rows: NDArray[np.intp], settings: Numeric) -> FittedPixels:
        """Learn one mean and one deviation from the counts of the 256 values; `minmax` maps bytes to [0, 1]."""
        counts = np.zeros(256, dtype=np.int64)
        for start in range(0, len(rows), 1024):
            counts += np.bincount(column.values[rows[start : start + 1024]].ravel(), minlength=256)
        values = np.arange(256.0)
        if isinstance(settings.scale, Standard):
            mean = float(np.average(values, weights=counts))
            std = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
            offset, scale = mean, std or 1.0
        else:
            offset, scale = (row[0] for row in settings.scale.fit(values[counts > 0].reshape(-1, 1)).tolist())
        return cls(name=column.name, pixels=column.values.shape[1], offset=offset, scale=scale)

    def read(self, table: Table, missing: Sequence[str]) -> PixelColumn:
        """This column of another table."""
        column = as_pixels(table, self.name)
        if column.values.shape[1] != self.width:
            raise DataError(
                f"{table.path}: '{self.name}' has {column.values.shape[1]} pixels a row, the model needs {self.width}"
            )
        return column

    def encoder(self, column: PixelColumn, origin: str) -> Encoder:
        """What writes the scaled inputs of `column`, for a table that mixes pixels with other columns."""

        def write(rows: slice, out: NDArray[Any]) -> None:
            np.subtract(column.values[rows], self.offset, out=out, casting="same_kind")
            np.divide(out, self.scale, out=out)

        return Encoder(write)


def missing_message(origin: str, name: str, rows: NDArray[Any], role: str) -> str:
    """A missing value where none is allowed."""
    return (
        f"{origin}: column '{name}' has {len(rows)} missing values, in {row_list(np.sort(rows))}, "
        f"and data.{role}.missing is 'error'; "
        f"fill them in, or choose another rule there"
    )
