"""How do amounts with a unit, percent or marks of thousands become inputs? They are read, then treated as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from mlptrain.data.amounts import MARKS, Notation, are_amounts, find_notation
from mlptrain.data.columns import (
    Column,
    NumericColumn,
    TextColumn,
    as_cells,
    as_numeric,
    is_written,
    words_among_numbers,
)
from mlptrain.data.encoders.base import Domain, Writer, no_value
from mlptrain.data.encoders.numbers import Number
from mlptrain.data.encoders.spelled import written_otherwise
from mlptrain.data.scalers import Values
from mlptrain.data.settings import Data
from mlptrain.data.spellings import ADVICE, meant_as
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.nn.arrays import Indices


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
        if isinstance(column, TextColumn):
            if column.absent[rows].all():
                raise no_value(column.name, data, table)
            trained = np.bincount(column.codes[rows] + 1, minlength=len(column.categories) + 1)[1:] > 0
            words = [word for word, is_there in zip(column.categories, trained, strict=True) if is_there]
            column = numbers_in(column, find_notation(words, column.categories), table, data)
        notation = column.notation or Notation(*MARKS[0])
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
        return f"read as numbers with {self.notation.described}"

    def domain(self) -> Domain:
        return super().domain()._replace(written=f"a number, or text with {self.notation.described}")

    def writer(self, column: Column, table: Table) -> Writer:
        return super().writer(self._read(column, table), table)

    def cells(self, column: Column, table: Table) -> Values | None:
        return super().cells(self._read(column, table), table)

    def _read(self, column: Column, table: Table) -> Column:
        """The column as numbers."""
        return numbers_in(column, self.notation, table) if isinstance(column, TextColumn) else column


def numbers_in(column: TextColumn, notation: Notation, table: Table, data: Data | None = None) -> NumericColumn:
    """A column of amounts as numbers; a `Trouble` for cells in another notation."""
    values = notation.values(column.categories)
    if (wrong := np.isnan(values)).any():
        known = next((word for word, is_wrong in zip(column.categories, wrong, strict=True) if not is_wrong), "")
        meant = meant_as(column.categories) or "amounts with a unit"
        raise written_otherwise(column, wrong, f"holds {meant}, such as '{known}'", ADVICE[meant], table, data)
    numbers = np.append(values, np.nan)[column.codes]
    return NumericColumn(column.name, numbers, int(np.count_nonzero(column.absent)), notation)


def read_amounts(table: Table, name: str, missing: Sequence[str], notation: Notation) -> NumericColumn:
    """The column `name` of another table, whose amounts must be written in this `notation`."""
    column = Amount.read(table, name, missing)
    if isinstance(column, TextColumn):
        return numbers_in(column, notation, table)
    assert isinstance(column, NumericColumn)
    return column


def amounts_if_all(table: Table, column: Column, missing: Sequence[str]) -> Column:
    """A column of words as numbers if all of them are amounts in one notation; else unchanged."""
    if not Amount.claims(column):
        return column
    cells = Amount.read(table, column.name, missing)
    assert isinstance(cells, TextColumn)
    with suppress(Trouble):
        return numbers_in(cells, find_notation(cells.categories, ()), table)
    return column
