"""How does a column become inputs of the network? One class for each kind of column.

An encoder is fitted on the training rows only. It is a frozen record that is stored with the model as JSON and applied
by column name to any later table; the inputs of a row never depend on other rows of that table.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Component, OneOf, refuse, variants
from mlptrain.data.amounts import MARKS, Notation, are_amounts, find_notation
from mlptrain.data.bins import bin_edges, edge_names, shares_of_bins
from mlptrain.data.columns import (
    Column,
    MomentColumn,
    NumericColumn,
    PixelColumn,
    TextColumn,
    as_cells,
    as_moments,
    as_numeric,
    as_pixels,
    as_text,
    interpret,
    is_temporal,
    is_written,
    not_numbers,
    quoted,
    words_among_numbers,
)
from mlptrain.data.dates import CLOCK, DAY, are_times, best_spellings, moments, readable, swapped
from mlptrain.data.scalers import AffineScaler, Scaler, Values
from mlptrain.data.settings import Data, Words
from mlptrain.data.spellings import ADVICE, meant_as
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Indices

if TYPE_CHECKING:
    import polars as pl

Numbers = Annotated[tuple[float, ...], Field(strict=False)]
Rows = Annotated[tuple[Numbers, ...], Field(strict=False)]
DAYS_OF_A_YEAR = 365.2425
_POLARS_MEDIAN = 10_000  # from this many numbers on, polars finds the median faster than NumPy
_MOST_FREQUENT, _ROWS_OF_FREQUENT = 64, 1000  # of many categories, those with an input, each in 1 of 1000 rows
_SAMPLE_ROWS = 10_000  # of a longer table, rows that tell whether a column holds dates or amounts
_MOST_KNOWN = 50_000  # of many categories, those whose frequency is stored
MOST_STEPS = 20
"""Categories that a column of numbers and words may have, each with as many rows on average."""
MIN_MISSING = 10
"""Training rows without a value from which on an indicator of missing values can be learned."""
_MIN_ALL_UNKNOWN = 5  # a column with at least this many cells, all of them unknown, is refused


@dataclass(frozen=True)
class Writer:
    """Writes the inputs of one column of one table."""

    write: Callable[[slice, NDArray[Any]], None]
    """Writes the inputs (n, width) of a span of rows into an array."""
    note: str | None = None
    """A message on cells that were filled or unknown."""


@dataclass(frozen=True)
class Packed:
    """The inputs of a column as bytes, decoded by an offset and a scale, or by a lookup table."""

    values: NDArray[np.uint8]
    """(rows, width)"""
    offset: float = 0.0
    scale: float = 1.0
    lookup: Values | None = None
    """(256,)"""


class Encoder(Component):
    """Turns a column into inputs, with statistics of the training rows."""

    textual: ClassVar[bool] = True
    """Whether it needs the cells of a text file as text, not as numbers."""
    verbatim: ClassVar[bool] = False
    """Whether it needs words as they are written, not as canonical texts."""
    size_setting: ClassVar[str] = "the number of columns"
    """The setting that limits the size of its record, for messages."""
    column: str

    @property
    @abstractmethod
    def inputs(self) -> tuple[str, ...]:
        """The name of each input: `bill_length_mm`, `species=Adelie`, `pixels[17]`."""

    @property
    def width(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    @property
    def details(self) -> int:
        """How many of the inputs, at the end, only refine the others; their weights start at 0."""
        return 0

    @classmethod
    def claims(cls, column: Column) -> bool:
        """Whether this is the encoder for `column` where the spec names none."""
        return False

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        """The column `name` of a table, read as this encoder needs it."""
        return interpret(table, name, missing)

    @classmethod
    def suited(cls, column: Column, rows: Indices, data: Data) -> type[Encoder]:
        """The kind to fit in place of this one, which only the training `rows` tell."""
        return cls

    @classmethod
    @abstractmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        """Fit to the training `rows` of `column`; a `Trouble` if the column cannot be used."""

    def remark(self) -> str | None:
        """How the column was read, if that is not plain to see: 'read as dates'."""
        return None

    @abstractmethod
    def writer(self, column: Column, table: Table) -> Writer:
        """A writer of the inputs for `column`, which `read` returned for `table`."""

    def packed(self, column: Column, table: Table) -> Packed | None:
        """The inputs as bytes that are decoded when a batch is gathered; None where that is not possible."""
        return None


def encoder_kinds() -> dict[str, type[Encoder]]:
    """Every kind of encoder by its name."""
    return {kind.name(): kind for kind in variants(Encoder)}


def choose_encoder(table: Table, name: str, data: Data) -> tuple[type[Encoder], Column]:
    """The kind of encoder for a column, declared by the spec or else inferred, and the column read for it."""
    kind = data.encoders.get(name)
    kind = kind or (number_kind(table, name, data) if name in data.numeric.columns else None)
    kind = kind or ("category" if name in data.categorical.columns else None)
    if kind is not None:
        chosen = encoder_kinds()[kind]
        return chosen, chosen.read(table, name, data.missing_values)
    if table.rows > 2 * _SAMPLE_ROWS and is_written(table.column(name)):  # some rows tell, which saves time
        with suppress(Trouble):
            chosen = claiming(interpret(table.sample(name, _SAMPLE_ROWS), name, data.missing_values))
            if chosen.verbatim:
                return chosen, chosen.read(table, name, data.missing_values)
    column = interpret(table, name, data.missing_values)
    chosen = claiming(column)
    return chosen, chosen.read(table, name, data.missing_values) if chosen.verbatim else column


def claiming(column: Column) -> type[Encoder]:
    """The kind of encoder for a column where the spec names none."""
    return next(kind for kind in reversed(variants(Encoder)) if kind.claims(column))


def number_kind(table: Table, name: str, data: Data) -> str:
    """The kind of encoder for a column that the spec says holds numbers, however they are written."""
    written = is_written(table.column(name))
    return (Amount if written and Amount.claims(interpret(table, name, data.missing_values)) else Number).name()


class Category(Encoder):
    """A column of categories: an input for each of them, one for missing cells, one for unknown categories.

    Categories are compared by value, not by spelling. Surrounding spaces are ignored and letters are composed (NFC).
    `True` and `TRUE` are `true`. Numbers take their shortest form: `1`, `1.0` and `1e0` are one category, `0.50` and
    `0.5` another, while leading zeros mark a code: `01` and `007` are not 1 and 7. If the training categories are those
    of a flag, its other spelling is accepted: 1 for true and 0 for false, or the reverse.
    """

    kind: Literal["category"] = "category"
    formula: ClassVar[tuple[str, ...]] = (r"x_k = [\mathrm{the\ cell\ is\ category} \ k]",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "column": "x",
            "categories": ("a", "b"),
            "fill": None,
            "missing_input": False,
            "unknown_input": True,
            "unknown_allowed": True,
            "missing_allowed": True,
        },
    )
    size_setting: ClassVar[str] = "data.categorical.max_categories"
    categories: Words
    fill: str | None
    """The category that replaces a missing cell, if any."""
    missing_input: bool
    unknown_input: bool
    unknown_allowed: bool
    missing_allowed: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        known = (f"{self.column}={category}" for category in self.categories)
        more = ((self.missing_input, "missing"), (self.unknown_input, "unknown"))
        return (*known, *(f"{self.column}=({word})" for there, word in more if there))

    @property
    def width(self) -> int:
        return len(self.categories) + self.missing_input + self.unknown_input

    @classmethod
    def claims(cls, column: Column) -> bool:
        return isinstance(column, TextColumn)

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        return as_text(table, name, missing)

    @classmethod
    def suited(cls, column: Column, rows: Indices, data: Data) -> type[Encoder]:
        assert isinstance(column, TextColumn)
        kept = np.count_nonzero(category_counts(column, rows) >= data.categorical.min_count)
        too_many = data.categorical.max_categories is None and kept > data.categorical.allowed(len(rows))
        return ManyCategories if too_many and cls is Category else cls

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn)
        settings, codes, counts = data.categorical, column.codes[rows], refused_or_counts(column, rows, data, table)
        pairs = zip(column.categories, counts, strict=True)
        kept = [category for category, count in pairs if count >= max(1, settings.min_count)]
        if len(kept) > settings.allowed(len(rows)):
            raise too_many(column.name, kept, counts, len(rows), data, table)
        return cls(
            column=column.name,
            categories=tuple(kept),
            fill=column.categories[int(counts.argmax())] if settings.missing == "most_frequent" else None,
            missing_input=settings.missing == "own_column" and bool((codes < 0).any()),
            unknown_input=settings.unknown == "own_column",
            unknown_allowed=settings.unknown != "error",
            missing_allowed=settings.missing != "error",
        )

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn)
        places = column.places(self.categories)
        absent, unknown = np.flatnonzero(places == -2), np.flatnonzero(places == -1)
        if len(absent) and not self.missing_allowed:
            raise missing_trouble(table, self.column, absent, "categorical")
        self._refuse_unknown(column, unknown, len(places) - len(absent), table)
        inputs = self._inputs(places)

        def write(rows: slice, out: NDArray[Any]) -> None:
            some = inputs[rows]
            active = np.flatnonzero(some >= 0)
            out[...] = 0
            out[active, some[active]] = 1

        return Writer(write, self._note(len(absent), len(unknown)))

    def _refuse_unknown(self, column: TextColumn, unknown: Indices, present: int, table: Table) -> None:
        """Refuse unknown categories where they are an error, and a column that holds only unknown ones."""
        all_unknown = len(unknown) == present and present >= _MIN_ALL_UNKNOWN
        if not len(unknown) or (self.unknown_allowed and not all_unknown):
            return
        words = quoted(sorted({column.categories[code] for code in column.codes[unknown]}))
        where = f"in all {present} rows" if all_unknown else f"in {table.row_list(unknown)}"
        raise Trouble(
            table.path,
            f"column '{self.column}' holds categories that training did not see: {words} {where}; "
            f"the model knows {quoted(self.categories, 8)}",
        )

    def _inputs(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """(rows,): the index of the input that is 1 in each row, -1 for none."""
        unknown = self.width - 1 if self.unknown_input else -1
        missing = len(self.categories) if self.missing_input else unknown
        if self.fill is not None:
            missing = self.categories.index(self.fill) if self.fill in self.categories else unknown
        return np.where(places == -1, unknown, np.where(places == -2, missing, places))

    def _note(self, absent: int, unknown: int) -> str | None:
        counts = " and ".join(f"{n} {word}" for n, word in ((absent, "missing"), (unknown, "unknown")) if n)
        if not counts:
            return None
        filled = absent and not unknown and self.fill is not None
        own = absent and not unknown and self.missing_input
        rule = " filled from training" if filled else " treated as a category of their own" if own else ""
        return f"{counts} in '{self.column}'{rule}"


class ManyCategories(Category):
    """A column of more categories than have an input each: the frequent ones do, the others share one.

    Up to 64 categories have an input of their own: the most frequent ones, if they are in at least 2 training rows and
    in 1 of 1000. The other categories and unknown ones share an input. One more input is the logarithm of how many
    training rows have the category, from 0 (one row, or unknown) to 1 (the most frequent one). It is chosen for columns
    with more categories than `data.categorical.max_categories` allows where that is not set.
    """

    kind: Literal["many_categories"] = "many_categories"  # type: ignore[assignment]  # another kind than its base
    formula: ClassVar = (
        r"x_k = [\mathrm{the\ cell\ is\ frequent\ category} \ k], \qquad x_o = [\mathrm{it\ is\ another\ one}]",
        r"x_f = \frac{\log n}{\log \max_c n_c}, \qquad n = \mathrm{training\ rows\ of\ the\ category}",
    )
    examples: ClassVar = (
        {**Category.examples[0], "others": ("c", "d"), "frequencies": (1.0, 0.8, 0.3, 0.3), "unknown_input": True},
    )
    size_setting: ClassVar[str] = "the number of columns"
    others: Words
    """The categories without an input of their own that training saw more than once."""
    frequencies: Numbers
    """The scaled logarithm of the count of each of `categories` and `others`."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if len(self.frequencies) != len(self.categories) + len(self.others):
            refuse([("frequencies", "must be as many as the categories and the others")])
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        known = (f"{self.column}={category}" for category in self.categories)
        missing = [f"{self.column}=(missing)"] * self.missing_input
        return (*known, *missing, f"{self.column}=(other)", f"{self.column} (frequency)")

    @property
    def width(self) -> int:
        return len(self.categories) + self.missing_input + 2

    @classmethod
    def claims(cls, column: Column) -> bool:
        return False

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn)
        settings, counts = data.categorical, refused_or_counts(column, rows, data, table)
        order = np.argsort(-counts, kind="stable")  # the categories are sorted, so that ties have an order
        least = max(2, len(rows) / _ROWS_OF_FREQUENT, settings.min_count)
        frequent = np.sort(order[:_MOST_FREQUENT][counts[order[:_MOST_FREQUENT]] >= least])
        seen = 1 if settings.unknown == "error" else 2  # a category of one row is encoded as an unknown one
        known = order[counts[order] >= seen][: len(order) if seen == 1 else _MOST_KNOWN]
        others = np.setdiff1d(known, frequent)
        logs = np.log(counts[np.append(frequent, others)]) / max(np.log(counts.max()), 1.0e-9)
        return cls(
            column=column.name,
            categories=tuple(column.categories[i] for i in frequent),
            others=tuple(column.categories[i] for i in others),
            frequencies=tuple(logs.tolist()),
            fill=column.categories[order[0]] if settings.missing == "most_frequent" else None,
            missing_input=settings.missing == "own_column" and bool(column.absent[rows].any()),
            unknown_input=settings.unknown == "own_column",
            unknown_allowed=settings.unknown != "error",
            missing_allowed=settings.missing != "error",
        )

    def remark(self) -> str | None:
        own = f"the {len(self.categories)} most frequent have an input each" if self.categories else "none is frequent"
        return f"read as many categories: {own}"

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn)
        known = (*self.categories, *self.others)
        places = column.places(known)
        absent, unknown = np.flatnonzero(places == -2), np.flatnonzero(places == -1)
        if len(absent) and not self.missing_allowed:
            raise missing_trouble(table, self.column, absent, "categorical")
        if len(unknown) and not self.unknown_allowed:
            self._refuse_unknown(column, unknown, len(places) - len(absent), table)
        if self.fill is not None:
            places[absent] = known.index(self.fill) if self.fill in known else -1
        inputs = self._inputs(places)
        frequencies = np.array([*self.frequencies, 0.0, 0.0])[places]  # the last two for missing and unknown

        def write(rows: slice, out: NDArray[Any]) -> None:
            some = inputs[rows]
            active = np.flatnonzero(some >= 0)
            out[...] = 0
            out[active, some[active]] = 1
            out[:, -1] = frequencies[rows]

        return Writer(write, self._note(len(absent), 0))

    def _inputs(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        other = self.width - 2
        missing = len(self.categories) if self.missing_input else other if self.unknown_input else -1
        named = np.where(places < len(self.categories), places, other)
        unknown = other if self.unknown_input else -1
        return np.where(places == -1, unknown, np.where(places == -2, missing, named))


class Number(Encoder):
    """A column of numbers, or a block of them: missing values are filled, then all are scaled.

    An input that is constant in the training rows carries no information; it is set to 0 in every table, so that other
    values have no effect later. With `data.numeric.indicator`, every column that lacks a value in at least ten
    training rows has one more input, 1 where its value is missing. With `data.numeric.bins`, a single column has one
    more input for each bin between quantiles of its training values: how far the value is through it, from 0 to 1.
    """

    kind: Literal["number"] = "number"
    formula: ClassVar[tuple[str, ...]] = (
        r"x \leftarrow \mathrm{scale}(x), \qquad x \leftarrow \mathrm{fill} \ \mathrm{where\ missing}",
        r"e_t = \min(\max(\frac{x - b_{t-1}}{b_t - b_{t-1}}, 0), 1)",
    )
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {"column": "x", "scaler": {"kind": "none"}, "fitted": ((0.0,), (1.0,)), "fill": (0.0,)},
        {
            "column": "x",
            "scaler": {"kind": "none"},
            "fitted": ((0.0,), (1.0,)),
            "fill": (0.0,),
            "indicators": (0,),
            "edges": (0.0, 1.0, 4.0),
        },
    )
    textual: ClassVar[bool] = False
    size_setting: ClassVar[str] = "data.numeric.scale.knots"
    scaler: Annotated[Scaler, OneOf()]
    fitted: Rows
    fill: Numbers | None
    """(columns,): what replaces a missing value; None refuses missing values."""
    indicators: Annotated[tuple[int, ...], Field(strict=False)] = ()
    """The columns with an input that says whether their value is missing."""
    edges: Numbers = ()
    """The edges of the bins, if there are any."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        lengths = {len(row) for row in self.fitted} | ({len(self.fill)} if self.fill is not None else set())
        if not self.fitted or len(lengths) != 1 or 0 in lengths:
            refuse([("fitted", "must be rows of one length, with as many fill values")])
        if self.edges and (self.size > 1 or len(self.edges) < 2 or (np.diff(self.edges) <= 0).any()):
            refuse([("edges", "must be two or more increasing numbers, for a single column")])
        if any(not 0 <= i < self.size for i in self.indicators):
            refuse([("indicators", "must be columns of the block")])
        return self

    @property
    def size(self) -> int:
        """Number of columns of the block, 1 for a single column."""
        return len(self.fitted[0])

    @property
    def inputs(self) -> tuple[str, ...]:
        names = (self.column,) if self.size == 1 else block_names(self.column, self.size)
        bins = edge_names(np.asarray(self.edges)) if self.edges else []
        absent = (f"{names[i]}=(missing)" for i in self.indicators)
        return (*names, *absent, *(f"{self.column}[<{edge}]" for edge in bins))

    @property
    def width(self) -> int:
        return self.size + len(self.indicators) + self.details

    @property
    def details(self) -> int:
        return max(0, len(self.edges) - 1)

    @classmethod
    def claims(cls, column: Column) -> bool:
        return isinstance(column, NumericColumn)

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        return as_numeric(table, name, missing)

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, NumericColumn)
        return cls(column=column.name, **cls.statistics(column, rows, data, table))

    @staticmethod
    def statistics(column: NumericColumn, rows: Indices, data: Data, table: Table) -> dict[str, Any]:
        """What is fitted to the training `rows` of a column of numbers."""
        values, settings = column.values.take(rows, axis=0), data.numeric
        absent = np.isnan(values) if column.missing else np.zeros(values.shape, bool)
        if absent.all(axis=0).any():
            raise no_value(column.name, data, table)
        edges: tuple[float, ...] = ()
        if isinstance(settings.bins, int) and values.shape[1] == 1:
            edges = tuple(bin_edges(values[~absent], settings.bins).tolist())
        fill = None
        if settings.missing != "error":
            fill = medians(values, absent) if settings.missing == "median" else np.nanmean(values, axis=0)
            values[absent] = np.broadcast_to(fill, values.shape)[absent]
        elif absent.any():
            raise missing_trouble(table, column.name, rows[absent.any(axis=1)], "numeric")
        return {
            "scaler": settings.scale,
            "fitted": as_rows(settings.scale.fit(values)),
            "fill": None if fill is None else tuple(fill.tolist()),
            "indicators": tuple(np.flatnonzero(absent.sum(axis=0) >= MIN_MISSING).tolist())
            if settings.indicator
            else (),
            "edges": edges,
        }

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, NumericColumn)
        check_width(column.name, column.width, self.size, "columns", table)
        missing = column.missing
        if missing and self.fill is None:
            raise missing_trouble(table, self.column, np.flatnonzero(column.absent), "numeric")
        fitted, fill, edges, indicators = (
            *map(np.asarray, (self.fitted, self.fill, self.edges)),
            list(self.indicators),
        )
        first_bin = self.size + len(indicators)

        def write(rows: slice, out: NDArray[Any]) -> None:
            values = column.span(rows)
            filled = np.where(np.isnan(values), fill, values) if missing else values
            out[:, : self.size] = self.scaler.apply(filled, fitted)
            if indicators:
                out[:, self.size : first_bin] = np.isnan(values[:, indicators])
            if len(edges):
                shares_of_bins(values[:, 0], edges, out[:, first_bin:])

        return Writer(write, f"{missing} missing in '{self.column}' filled from training" if missing else None)


class Amount(Number):
    """Numbers written with a decimal comma, marks of thousands or a unit: `1.234,50`, `12 %`, `$5`, `5 kg`.

    The notation is found on the training rows, one for the whole column, and every table must be written in it. Commas
    are marks of thousands if exactly three digits follow each of them, and decimal marks otherwise; a dot is a decimal
    mark, unless a number has two of them or a decimal comma after them. Percent are not divided by 100.
    """

    kind: Literal["amount"] = "amount"  # type: ignore[assignment]  # another kind than its base
    formula: ClassVar = (r"x \leftarrow \mathrm{number}(\mathrm{cell}), \qquad \mathrm{then\ as} \ \mathrm{number}",)
    examples: ClassVar = ({**Number.examples[0], "decimal": ",", "thousands": ".", "prefix": "", "suffix": "kg"},)
    textual: ClassVar[bool] = True
    verbatim: ClassVar[bool] = True
    decimal: str = Field(min_length=1, max_length=1)
    thousands: str = Field(min_length=1, max_length=1)
    prefix: str
    suffix: str

    @classmethod
    def claims(cls, column: Column) -> bool:
        if not isinstance(column, TextColumn):
            return False
        wrong = words_among_numbers(column)
        if wrong.all():
            return meant_as(column.categories) in ("numbers with commas", "amounts with a unit")
        words = [word for word, is_wrong in zip(column.categories, wrong, strict=True) if is_wrong]
        return are_amounts(words)

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        written = is_written(table.column(name))
        return as_cells(table, name, missing) if written else as_numeric(table, name, missing)

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn | NumericColumn)
        notation = Notation(*MARKS[0])
        if isinstance(column, TextColumn):
            if column.absent[rows].all():
                raise no_value(column.name, data, table)
            trained = np.bincount(column.codes[rows] + 1, minlength=len(column.categories) + 1)[1:] > 0
            words = [word for word, is_there in zip(column.categories, trained, strict=True) if is_there]
            notation = find_notation(words, column.categories)
            column = numbers_in(column, notation, table, data)
        return cls(
            column=column.name,
            **cls.statistics(column, rows, data, table),
            decimal=notation.decimal,
            thousands=notation.thousands,
            prefix=notation.prefix,
            suffix=notation.suffix,
        )

    @property
    def notation(self) -> Notation:
        """How the amounts are written."""
        return Notation(self.decimal, self.thousands, self.prefix, self.suffix)

    def remark(self) -> str | None:
        unit = self.prefix or self.suffix
        said = ["decimal commas"] * (self.decimal == ",") + [f"the unit {unit}"] * bool(unit)
        return f"read as numbers with {' and '.join(said or ['marks of thousands'])}"

    def writer(self, column: Column, table: Table) -> Writer:
        return super().writer(
            numbers_in(column, self.notation, table) if isinstance(column, TextColumn) else column, table
        )


class Pixels(Encoder):
    """A block of bytes, scaled by one rule for all pixels when a batch is gathered."""

    kind: Literal["pixels"] = "pixels"
    formula: ClassVar = (r"x \leftarrow \mathrm{scale}(x) \quad \mathrm{by\ the\ statistics\ of\ all\ pixels}",)
    examples: ClassVar = ({"column": "x", "pixels": 4, "scaler": {"kind": "none"}, "fitted": ((0.0,), (1.0,))},)
    pixels: int = Field(ge=1)
    scaler: Annotated[Scaler, OneOf()]
    fitted: Rows
    """The statistics of one column that holds every pixel."""
    constant: Annotated[tuple[Annotated[tuple[int, int], Field(strict=False)], ...], Field(strict=False)] = ()
    """Index and byte of the pixels that are constant in the training rows; every table gets the same byte there."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return block_names(self.column, self.pixels)

    @property
    def width(self) -> int:
        return self.pixels

    @classmethod
    def claims(cls, column: Column) -> bool:
        return isinstance(column, PixelColumn)

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        return as_pixels(table, name)

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, PixelColumn)
        counts = np.zeros(256, dtype=np.int64)
        first, varies = column.values[rows[0]], np.zeros(column.values.shape[1], bool)
        for start in range(0, len(rows), 1024):
            some = column.values[rows[start : start + 1024]]
            counts += np.bincount(some.ravel(), minlength=256)
            varies |= (some != first).any(axis=0)
        fitted = data.numeric.scale.fit_counted(np.arange(256.0), counts)
        constant = [(int(i), int(first[i])) for i in np.flatnonzero(~varies)] if len(rows) > 1 else []
        return cls(
            column=column.name,
            pixels=len(first),
            scaler=data.numeric.scale,
            fitted=as_rows(fitted),
            constant=tuple(constant),
        )

    def bytes(self, column: PixelColumn, table: Table) -> NDArray[np.uint8]:
        """The pixels (rows, width), those that were constant in training with their training value."""
        check_width(column.name, column.values.shape[1], self.width, "pixels a row", table)
        values = column.values
        places, constant = (np.array([pair[i] for pair in self.constant], np.intp) for i in (0, 1))
        if len(places) and (values[:, places] != constant).any():
            values = values.copy()
            values[:, places] = constant
        return values

    def packed(self, column: Column, table: Table) -> Packed | None:
        assert isinstance(column, PixelColumn)
        values = self.bytes(column, table)
        if isinstance(self.scaler, AffineScaler):
            return Packed(values, self.fitted[0][0], self.fitted[1][0])
        return Packed(values, lookup=self.lookup)

    @property
    def lookup(self) -> Values:
        """(256,): the input for each byte."""
        return self.scaler.apply(np.arange(256.0)[:, None], np.asarray(self.fitted))[:, 0]

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, PixelColumn)
        values, lookup = self.bytes(column, table), self.lookup

        def write(rows: slice, out: NDArray[Any]) -> None:
            out[...] = lookup[values[rows]]

        return Writer(write)


class Date(Encoder):
    """Dates and times: days since the first training date, the year, and places in the year, the week and the day.

    A place is the sine and the cosine of an angle, so that the end of December is near the start of January. The days
    and the year are scaled as numbers are; the year is there if it varies in training, the time of day if any training
    row has one. A missing date is the median of training with neutral places, and an input says so.
    """

    kind: Literal["date"] = "date"
    formula: ClassVar = (
        r"x_1 \leftarrow \mathrm{scale}(\mathrm{days} - \mathrm{first})",
        r"x_2 \leftarrow \mathrm{scale}(\mathrm{year})",
        r"(\sin 2 \pi \phi, \ \cos 2 \pi \phi), \qquad \phi = \frac{\mathrm{day\ of\ the\ year}}{365.2425}, \ "
        r"\frac{\mathrm{weekday}}{7}, \ \frac{\mathrm{hour}}{24}",
    )
    examples: ClassVar = (
        {
            "column": "x",
            "spelling": "YYYY-MM-DD",
            "first": 0.0,
            "fill": 0.0,
            "scaler": {"kind": "none"},
            "fitted": ((0.0, 1970.0), (1.0, 1.0)),
            "time": True,
            "missing_input": True,
            "missing_allowed": True,
        },
    )
    verbatim: ClassVar[bool] = True
    spelling: str
    first: float
    """The first training date, in days since the start of 1970."""
    fill: float
    """The moment that replaces a missing one."""
    scaler: Annotated[Scaler, OneOf()]
    fitted: Rows
    """The statistics of the days and, if it varies, of the year; of neither for times of day alone."""
    time: bool
    """Whether the time of day has inputs."""
    missing_input: bool
    missing_allowed: bool

    @property
    def numbers(self) -> int:
        """How many of the days and the year there are."""
        return len(self.fitted[0]) if self.fitted else 0

    @property
    def inputs(self) -> tuple[str, ...]:
        places = [name for name in ("year", "week") if self.spelling != CLOCK] + ["day"] * self.time
        angles = (f"{self.column} ({name} of {place})" for place in places for name in ("sine", "cosine"))
        numbers = (f"{self.column} ({name})" for name in ("days", "year")[: self.numbers])
        return (*numbers, *angles, *([f"{self.column}=(missing)"] * self.missing_input))

    @classmethod
    def claims(cls, column: Column) -> bool:
        if isinstance(column, TextColumn):
            return meant_as(column.categories) == "dates" or are_times(column.categories)
        return isinstance(column, MomentColumn)

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        return as_moments(table, name) if is_temporal(table.column(name)) else as_cells(table, name, (*missing, "NaT"))

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn | MomentColumn)
        absent, settings = column.absent[rows], data.numeric
        if absent.all():
            raise no_value(column.name, data, table)
        if settings.missing == "error" and absent.any():
            raise missing_trouble(table, column.name, rows[absent], "numeric")
        if isinstance(column, TextColumn):
            spelling = spelling_of(column, rows, data, table)
        else:
            spelling = CLOCK if column.clock else "YYYY-MM-DD"
        moments = seconds_of(column, spelling, table, data)[rows][~absent]
        first = float(np.floor(moments.min() / DAY))
        values = np.stack([moments / DAY - first, years(moments)], axis=1)
        kept = 0 if spelling == CLOCK else 1 + int(np.ptp(values[:, 1]) > 0)
        return cls(
            column=column.name,
            spelling=spelling,
            first=first,
            fill=median(moments),
            scaler=settings.scale,
            fitted=as_rows(settings.scale.fit(values[:, :kept])) if kept else (),
            time=spelling == CLOCK or bool((moments % DAY).any()),
            missing_input=bool(absent.any()),
            missing_allowed=settings.missing != "error",
        )

    def remark(self) -> str | None:
        return f"read as {'times' if self.spelling == CLOCK else 'dates'} ({self.spelling})"

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn | MomentColumn)
        seconds, absent = seconds_of(column, self.spelling, table), column.absent
        missing = int(np.count_nonzero(absent))
        if missing and not self.missing_allowed:
            raise missing_trouble(table, self.column, np.flatnonzero(absent), "numeric")
        fitted = np.asarray(self.fitted)

        def write(rows: slice, out: NDArray[Any]) -> None:
            gone = absent[rows]
            moments = np.where(gone, self.fill, seconds[rows])
            values = np.stack([moments / DAY - self.first, years(moments)], axis=1)[:, : self.numbers]
            if self.numbers:
                out[:, : self.numbers] = self.scaler.apply(values, fitted)
            for i, place in enumerate(places_in_time(moments, self.spelling != CLOCK, self.time)):
                out[:, self.numbers + i] = np.where(gone, 0, place)
            if self.missing_input:
                out[:, -1] = gone

        return Writer(write, f"{missing} missing in '{self.column}' filled from training" if missing else None)


def block_names(column: str, width: int) -> tuple[str, ...]:
    """The names of the inputs of a block."""
    return tuple(f"{column}[{i}]" for i in range(width))


def check_width(name: str, found: int, needed: int, what: str, table: Table) -> None:
    """Refuse a block whose width differs from training."""
    if found != needed:
        raise DataError(f"{table.path}: '{name}' has {found} {what}, the model needs {needed}")


def medians(values: Values, absent: NDArray[np.bool_]) -> Values:
    """The median of each column of `values`, without the `absent` ones."""
    columns = zip(values.T, absent.T, strict=True)
    return np.array([median(column[~none] if none.any() else column) for column, none in columns])


def median(numbers: Values) -> float:
    """The median of `numbers` (n,); np.median would import numpy.ma, which takes longer than reading a small table."""
    if len(numbers) < _POLARS_MEDIAN:
        low, high = (len(numbers) - 1) // 2, len(numbers) // 2
        return float(np.partition(numbers, (low, high))[low : high + 1].mean())
    import polars as pl

    return cast(float, pl.Series(numbers).median())


def as_rows(fitted: Values) -> tuple[tuple[float, ...], ...]:
    """Fitted numbers as tuples, for a stored record."""
    return tuple(tuple(row) for row in fitted.tolist())


def seconds_of(column: TextColumn | MomentColumn, spelling: str, table: Table, data: Data | None = None) -> Values:
    """The moment of each row, NaN where it is missing; a `Trouble` for cells that are spelled otherwise.

    It has remedies if `data` are settings to write them in.
    """
    if isinstance(column, MomentColumn):
        if column.clock != (spelling == CLOCK):
            raise Trouble(table.path, f"column '{column.name}' must hold {spelling}, as in training")
        return column.seconds
    found = moments(as_series(column), spelling)
    if (wrong := np.isnan(found)).any():
        what = f"holds {'times' if spelling == CLOCK else 'dates'} ({spelling})"
        raise written_otherwise(column, wrong, what, "write all of them in this way", table, data)
    return np.append(found, np.nan)[column.codes]


def spelling_of(column: TextColumn, rows: Indices, data: Data, table: Table) -> str:
    """The spelling of most dates of the training rows; the whole column decides if it is day or month that is first."""
    cells = as_series(column)
    found = best_spellings(cells.filter(np.isin(np.arange(len(cells)), column.codes[rows])))
    if not found:
        wrong = np.ones(len(cells), bool)
        raise written_otherwise(column, wrong, "must hold dates", "write them as 2024-03-01", table, data)
    if swapped(found[0]) not in found:
        return found[0]
    pair = [spelling for spelling in found if spelling in (found[0], swapped(found[0]))]
    counts = [readable(cells, spelling) for spelling in pair]
    if counts[0] != counts[1]:
        return pair[int(np.argmax(counts))]
    if data.day_first is None and "." not in found[0]:
        ways = [
            data.remedy({"day_first": True}, f"for {pair[0]}"),
            data.remedy({"day_first": False}, f"for {pair[1]}"),
            data.remedy(data.without(column.name), "to leave it out"),
            data.remedy(data.with_encoder(column.name, Category.name()), "if these are categories"),
        ]
        text = f"column '{column.name}' holds dates, such as {example(column)}, whose day and month can be confused"
        raise Trouble(table.path, f"{text}. Write {', '.join(ways)}", data.without(column.name))
    return pair[0] if data.day_first is not False else pair[1]


def numbers_in(column: TextColumn, notation: Notation, table: Table, data: Data | None = None) -> NumericColumn:
    """A column of amounts as numbers; a `Trouble` for cells in another notation."""
    values = notation.values(column.categories)
    if (wrong := np.isnan(values)).any():
        known = next((word for word, is_wrong in zip(column.categories, wrong, strict=True) if not is_wrong), "")
        meant = meant_as(column.categories) or "amounts with a unit"
        raise written_otherwise(column, wrong, f"holds {meant}, such as '{known}'", ADVICE[meant], table, data)
    numbers = np.append(values, np.nan)[column.codes]
    return NumericColumn(column.name, numbers, int(np.count_nonzero(column.absent)))


def written_otherwise(
    column: TextColumn, wrong: NDArray[np.bool_], what: str, advice: str, table: Table, data: Data | None
) -> Trouble:
    """The `Trouble` of cells that are not written as the others; `wrong` (categories,) says which."""
    rows = np.flatnonzero(np.append(wrong, False)[column.codes])
    words = [word for word, is_wrong in zip(column.categories, wrong, strict=True) if is_wrong]
    verb = "are" if len(rows) > 1 else "is"
    text = f"column '{column.name}' {what}, but {len(rows)} of its cells {verb} not: {quoted(words, 3)} in "
    text += f"{table.row_list(rows)}; {advice}"
    if data is None:
        return Trouble(table.path, text)
    ways = [data.remedy(data.without(column.name), "to leave it out")]
    if len(words) <= 3:
        ways.insert(0, data.remedy(data.with_missing(*words), "if that stands for a missing value"))
    ways.append(data.remedy(data.with_encoder(column.name, Category.name()), "if these are categories"))
    return Trouble(table.path, f"{text}, or write {', '.join(ways)}", data.without(column.name))


def as_series(column: TextColumn) -> pl.Series:
    """The distinct words of a column."""
    import polars as pl

    return pl.Series(column.categories, dtype=pl.String)


def example(column: TextColumn) -> str:
    """A word of the column, for a message."""
    return quoted(column.categories[:1])


def years(moments: Values) -> Values:
    """The calendar year of each moment."""
    days = np.floor(moments / DAY).astype(np.int64).astype("M8[D]")
    return days.astype("M8[Y]").astype(np.float64) + 1970


def places_in_time(moments: Values, dates: bool, time: bool) -> Iterator[Values]:
    """Sine and cosine of the place of each moment in its year and its week, and in its day."""
    days = np.floor(moments / DAY).astype(np.int64).astype("M8[D]")
    phases = []
    if dates:
        phases.append((days - days.astype("M8[Y]").astype("M8[D]")).astype(np.float64) / DAYS_OF_A_YEAR)
        phases.append((days.astype(np.int64) + 3) % 7 / 7)  # the first day of 1970 was a Thursday
    if time:
        phases.append(moments % DAY / DAY)
    for phase in phases:
        yield np.sin(2 * np.pi * phase)
        yield np.cos(2 * np.pi * phase)


def refuse_no_categories(column: TextColumn, data: Data, table: Table) -> None:
    """Refuse words among numbers, of which each would become an input; steps such as `1`, `2-3`, `>= 4` are fine."""
    wrong = words_among_numbers(column)
    if are_steps(column, wrong):
        return
    leave_out = data.remedy(data.without(column.name), "to leave it out")
    as_categories = data.remedy(data.with_categories(column.name), "if these are categories")
    if not wrong.all():
        words = [category for category, is_word in zip(column.categories, wrong, strict=True) if is_word]
        ways = list(mixed_ways(column, words, as_categories, leave_out, data))
        text = f"column '{column.name}' holds numbers, but {not_numbers(column, table)}. Correct the table, or write "
        raise Trouble(table.path, f"{text}{', '.join(ways)}", data.without(column.name))


def are_steps(column: TextColumn, words: NDArray[np.bool_]) -> bool:
    """Whether words among numbers are categories: few in all, two words or more, which make up a tenth of the cells."""
    if not 2 <= words.sum() < len(words) <= MOST_STEPS:
        return False
    counts = category_counts(column, np.arange(len(column.codes)))
    return bool(counts[words].sum() >= 0.1 * counts.sum() and len(words) * MOST_STEPS <= counts.sum())


def category_counts(column: TextColumn, rows: Indices) -> NDArray[np.intp]:
    """(categories,): how many of the `rows` have each category."""
    codes = column.codes[rows]
    return np.bincount(codes[codes >= 0], minlength=len(column.categories))


def refused_or_counts(column: TextColumn, rows: Indices, data: Data, table: Table) -> NDArray[np.intp]:
    """The counts of the categories in the training `rows`; a `Trouble` if the column cannot be one of categories."""
    if column.name not in (*data.categorical.columns, *data.encoders):
        refuse_no_categories(column, data, table)
    absent = column.absent[rows]
    if data.categorical.missing == "error" and absent.any():
        raise missing_trouble(table, column.name, rows[absent], "categorical")
    counts = category_counts(column, rows)
    if not counts.any():
        raise no_value(column.name, data, table)
    return counts


def mixed_ways(column: TextColumn, words: list[str], as_categories: str, leave_out: str, data: Data) -> Iterator[str]:
    """Remedies for a column of numbers and words, the likeliest first."""
    few = len(words) <= 3
    missing = data.remedy(data.with_missing(*words), "if that stands for a missing value")
    if few:
        yield missing
    limit = data.categorical.max_categories
    if limit is None or len(column.categories) <= limit:
        yield as_categories
    yield leave_out


def too_many(name: str, kept: Sequence[str], counts: NDArray[np.intp], rows: int, data: Data, table: Table) -> Trouble:
    """The `Trouble` of a column with so many categories that it looks like an identifier."""
    ways = [data.remedy(data.without(name), "to leave it out")]
    often = int(np.sort(counts)[::-1][data.categorical.allowed(rows)]) + 1
    if left := int((counts >= often).sum()):
        ways.append(data.remedy(data.with_setting("categorical", min_count=often), f"to merge all but {left} of them"))
    allow = data.remedy(
        data.with_setting("categorical", max_categories=len(kept)), f"to allow {len(kept)} inputs for them"
    )
    text = f"column '{name}' has {len(kept)} categories in {rows} training rows, such as '{kept[0]}'. Write "
    return Trouble(table.path, f"{text}{', '.join([*ways, allow])}", data.without(name))


def no_value(name: str, data: Data, table: Table) -> Trouble:
    """The `Trouble` of a column without any value in the training rows."""
    remedy = data.remedy(data.without(name), "leaves it out")
    return Trouble(table.path, f"column '{name}' has no value in any training row; {remedy}", data.without(name))


def missing_trouble(table: Table, name: str, rows: Indices, role: str) -> Trouble:
    """The `Trouble` of missing values where none are allowed."""
    return Trouble(
        table.path,
        f"column '{name}' has {len(rows)} missing values, in {table.row_list(np.sort(rows))}, "
        f"and data.{role}.missing is 'error'; fill them in, or choose another rule there",
    )
