"""What is an encoder: a frozen record, fitted to a column, that turns it into inputs of the network.

It is fitted on the training rows only, stored with the model as JSON and applied by column name to any later table; the
inputs of a row never depend on other rows of that table. Only where an encoder learns from the target do training rows
have other inputs than the same cells in a later table: see `data/crossfit.py`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Component
from mlptrain.data.columns import Column, NumericColumn, interpret
from mlptrain.data.scalers import Values
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError
from mlptrain.nn.arrays import Indices

Numbers = Annotated[tuple[float, ...], Field(strict=False)]
Rows = Annotated[tuple[Numbers, ...], Field(strict=False)]
_POLARS_MEDIAN = 10_000  # from this many numbers on, polars finds the median faster than NumPy


class Writer(NamedTuple):
    """Writes the inputs of one column of one table."""

    write: Callable[[slice, NDArray[Any]], None]
    """Writes the inputs (n, width) of a span of rows into an array."""
    note: str | None = None
    """A message on cells that were filled or unknown."""


class Packed(NamedTuple):
    """The inputs of a column as bytes, decoded by an offset and a scale, or by a lookup table."""

    values: NDArray[np.uint8]
    """(rows, width)"""
    offset: float = 0.0
    scale: float = 1.0
    lookup: Values | None = None
    """(256,)"""


@dataclass(frozen=True)
class Answers:
    """What an encoder may learn from the target."""

    find: Callable[[], Mapping[str, Values]]
    """Returns `numbers`, which most tables do not need."""
    weights: Values | None
    """(rows of the table,): row weights; None weights all equally."""

    @cached_property
    def numbers(self) -> Mapping[str, Values]:
        """By name: numbers (rows of the table,) whose mean over the rows of a category says what to expect of it."""
        return self.find()


class Domain(NamedTuple):
    """What a column may hold, for a form or a program that makes rows."""

    form: Literal["number", "words", "date", "block", "text"] = "text"
    """How a cell is given: as a number, as one of some words, as a date, as a list of numbers, or somehow."""
    levels: tuple[str, ...] = ()
    """The words that training saw."""
    low: float | None = None
    """The smallest number of training."""
    high: float | None = None
    """The largest number of training."""
    typical: float | str | None = None
    """A cell as there are many."""
    written: str = ""
    """How dates are spelled, or amounts are written."""
    width: int = 1
    """Numbers of a block."""
    missing: bool = True
    """Whether a value may be missing."""


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

    @property
    def learned(self) -> int:
        """How many of the inputs, at the end, are learned from the target, for an encoder that overrides `learn`."""
        return 0

    def learn(self, column: Column, rows: Indices, answers: Answers) -> Self:
        """The encoder with what the target of these training `rows` says; no rows say nothing."""
        return self

    def remark(self) -> str | None:
        """How the column was read, if that is not plain to see: 'read as dates'."""
        return None

    @abstractmethod
    def writer(self, column: Column, table: Table) -> Writer:
        """A writer of the inputs for `column`, which `read` returned for `table`."""

    def domain(self) -> Domain:
        """What the column may hold, as far as that is known."""
        return Domain()

    def cells(self, column: Column, table: Table) -> Values | None:
        """(rows, width): the cells as numbers, NaN where missing; None for a kind of column that does not say how."""
        return column.values if isinstance(column, NumericColumn) else None

    def far(self, column: Column, table: Table) -> int:
        """How many rows of another table hold a value far outside of those of training, where that is known."""
        return 0

    def packed(self, column: Column, table: Table) -> Packed | None:
        """The inputs as bytes that are decoded when a batch is gathered; None where that is not possible."""
        return None


def block_names(column: str, width: int) -> tuple[str, ...]:
    """The names of the inputs of a block."""
    return tuple(f"{column}[{i}]" for i in range(width))


def check_width(name: str, found: int, needed: int, what: str, table: Table) -> None:
    """Refuse a block whose width differs from training."""
    if found != needed:
        raise DataError(f"{table.path}: '{name}' has {found} {what}, the model needs {needed}")


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
        rows=rows.tolist(),
    )
