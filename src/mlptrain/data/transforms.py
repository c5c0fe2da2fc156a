"""How do columns become inputs and targets for a network, and predictions values in their own units?

Everything is fitted on training rows only. What is fitted is a frozen record that is stored with the model as JSON and
applied by name to any later table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Component, Frozen, OneOf, refuse
from mlptrain.data.columns import (
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_numeric,
    as_pixels,
    as_text,
    row_list,
)
from mlptrain.data.tables import Table
from mlptrain.errors import DataError
from mlptrain.nn.activations import normal_distribution

Values = NDArray[np.float64]
Numbers = Annotated[tuple[float, ...], Field(strict=False)]
Words = Annotated[tuple[str, ...], Field(strict=False)]
_MANY = 10_000


class Scaler(Component):
    """Maps a numeric column to a range that suits training. Fitted numbers are rows of an array (k, width)."""

    @abstractmethod
    def fit(self, values: Values) -> Values:
        """What `apply` needs, from training values (rows, width) without missing ones."""

    @abstractmethod
    def apply(self, values: Values, fitted: Values) -> Values:
        """Scaled values (rows, width)."""

    @abstractmethod
    def invert(self, scaled: Values, fitted: Values) -> Values:
        """The values whose `apply` gave `scaled`."""


class AffineScaler(Scaler):
    """A shift and a division: fitted are the rows offset and scale."""

    def apply(self, values: Values, fitted: Values) -> Values:
        return np.asarray((values - fitted[0]) / fitted[1])

    def invert(self, scaled: Values, fitted: Values) -> Values:
        return np.asarray(scaled * fitted[1] + fitted[0])


UNVARYING = (
    r"s \leftarrow 1 \quad \mathrm{where} \quad s \le 10 \varepsilon \lvert m\rvert, \qquad \varepsilon = 2^{-52}"
)
"""The formula for a column that does not vary."""


class Standard(AffineScaler):
    """(x - mean) / standard deviation, the biased one; a column that does not vary is only shifted."""

    kind: Literal["standard"] = "standard"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = \frac{1}{N} \sum_r x_r",
        r"s = \sqrt{\frac{1}{N} \sum_r (x_r - m)^2}",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        mean = values.mean(axis=0)
        centred = values - mean
        largest = np.maximum(np.maximum(centred.max(axis=0), -centred.min(axis=0)), np.finfo(float).tiny)
        np.divide(centred, largest, out=centred)  # so that no square overflows or underflows
        std = largest * np.sqrt(np.square(centred, out=centred).mean(axis=0))
        return np.stack([mean, varying(std, mean)])


class MinMax(AffineScaler):
    """(x - min) / (max - min): training values lie in [0, 1]; a column that does not vary is only shifted."""

    kind: Literal["minmax"] = "minmax"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = \min_r x_r, \qquad s = \max_r x_r - m",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        low, high = values.min(axis=0), values.max(axis=0)
        return np.stack([low, varying(high - low, low)])


class Robust(AffineScaler):
    """(x - median) / (distance between the quartiles); far values do not spoil the scale."""

    kind: Literal["robust"] = "robust"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = Q(1/2), \qquad s = Q(3/4) - Q(1/4)",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        return np.stack([middle, varying(high - low, middle)])


class QuantileNormal(Scaler):
    """Through the quantiles of training to a normal distribution: every column becomes bell-shaped.

    The fitted numbers are `knots` quantiles at evenly spaced ranks; a value is placed between them by linear
    interpolation (the mean of the ranks, where values repeat) and the rank goes through the inverse normal
    distribution, cut at 1/(2 knots) from both ends.
    """

    kind: Literal["quantile"] = "quantile"
    formula: ClassVar = (
        r"x \leftarrow \Phi^{-1}(\min(\max(\tau, \epsilon), 1 - \epsilon)), \qquad x = Q(\tau)",
        r"\epsilon = \frac{1}{2 \cdot \mathrm{knots}}",
    )
    knots: int = Field(101, ge=3, le=10_001, description="Number of quantiles that are remembered.")
    examples: ClassVar = ({}, {"knots": 11})

    def fit(self, values: Values) -> Values:
        return np.asarray(np.quantile(values, np.linspace(0, 1, self.knots), axis=0))

    def apply(self, values: Values, fitted: Values) -> Values:
        out = np.empty_like(values)
        ranks, edge = np.linspace(0, 1, self.knots), 0.5 / self.knots
        for j in range(values.shape[1]):
            up = np.interp(values[:, j], fitted[:, j], ranks)
            down = 1 - np.interp(-values[:, j], -fitted[::-1, j], ranks)
            out[:, j] = normal_quantile(np.clip((up + down) / 2, edge, 1 - edge))
        return out

    def invert(self, scaled: Values, fitted: Values) -> Values:
        out = np.empty_like(scaled)
        ranks = np.linspace(0, 1, self.knots)
        for j in range(scaled.shape[1]):
            column = fitted[:, min(j, fitted.shape[1] - 1)]
            out[:, j] = np.interp(normal_rank(scaled[:, j]), ranks, column)
        return out


def normal_rank(z: Values) -> Values:
    """The share of a normal distribution below `z`."""
    out, scratch = np.empty_like(z), np.empty_like(z)
    normal_distribution(z, out, scratch)
    return out


def normal_quantile(rank: Values) -> Values:
    """The inverse of `normal_rank` by Newton's method on the smaller tail, to rounding."""
    tail = np.minimum(rank, 1 - rank)
    z = -np.sqrt(np.maximum(-2 * np.log(2 * tail), 0))  # right at the middle and, in order, in the tail
    for _ in range(50):
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        step = (normal_rank(z) - tail) / density
        z = z - np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < 1e-14:
            break
    return np.asarray(np.where(rank < 0.5, z, -z))


class NoScaling(AffineScaler):
    """The values as they are."""

    kind: Literal["none"] = "none"
    formula: ClassVar = (r"x \leftarrow x",)

    def fit(self, values: Values) -> Values:
        return np.stack([np.zeros(values.shape[1]), np.ones(values.shape[1])])


def medians(values: Values) -> Values:
    """The median of the numbers in each column of `values`; NaN are none."""
    return np.array([median(column[~np.isnan(column)]) for column in values.T])


def median(numbers: Values) -> float:
    """The median of `numbers` (n,); polars finds it sooner than NumPy where they are many."""
    if len(numbers) < _MANY:
        return float(np.median(numbers))
    import polars as pl

    return float(cast(float, pl.Series(numbers).median()))


def as_rows(fitted: Values) -> tuple[tuple[float, ...], ...]:
    """Fitted numbers as they are stored."""
    return tuple(tuple(row) for row in fitted.tolist())


def varying(scale: Values, offset: Values) -> Values:
    """`scale`, or 1 where it is nothing but the rounding of `offset`."""
    return np.where(scale > 10 * np.finfo(float).eps * np.abs(offset), scale, 1.0)


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
        values = column.values[rows]
        absent = np.isnan(values)
        if absent.all(axis=0).any():
            raise DataError(
                f"{origin}: column '{column.name}' has no value in any training row; leave it out with data.exclude"
            )
        fill = None
        if settings.missing != "error":
            fill = medians(values) if settings.missing == "median" else np.nanmean(values, axis=0)
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
        if column.values.shape[1] != self.width:
            raise DataError(
                f"{table.path}: '{self.name}' has {column.values.shape[1]} columns, the model needs {self.width}"
            )
        return column

    def encoder(self, column: NumericColumn, origin: str) -> Encoder:
        """What writes the inputs of `column`; a missing value that nothing may fill is an error."""
        missing = column.missing
        if missing and self.fill is None:
            absent = np.isnan(column.values).any(axis=1)
            raise DataError(missing_message(origin, self.name, np.flatnonzero(absent), "numeric"))
        fitted, fill = np.asarray(self.fitted), np.asarray(self.fill)

        def write(rows: slice, out: NDArray[Any]) -> None:
            values = column.values[rows]
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
