"""How do numbers become inputs: filled, scaled, with shares of bins and indicators of missing values?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import OneOf, refuse
from mlptrain.data.bins import bin_edges, edge_names, shares_of_bins
from mlptrain.data.columns import Column, NumericColumn, as_numeric
from mlptrain.data.encoders.base import (
    Domain,
    Encoder,
    Numbers,
    Rows,
    Writer,
    as_rows,
    block_names,
    check_width,
    median,
    missing_trouble,
    no_value,
)
from mlptrain.data.scalers import Scaler, Values, misfit
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.nn.arrays import Indices

MIN_MISSING = 10
"""Training rows without a value from which on an indicator of missing values can be learned."""


class Number(Encoder):
    """A column of numbers, or a block of them: missing values are filled, then all are scaled.

    An input that is constant in the training rows carries no information; it is set to 0 in every table, so that other
    values have no effect later. With `data.numeric.indicator`, every column that lacks a value in at least ten
    training rows has one more input, 1 where its value is missing. With `data.numeric.bins`, a single column has one
    more input for each bin between quantiles of its training values: how far the value is through it, from 0 to 1.

    `predict` and `evaluate` note rows of another table with a value that is outside of the range of the training values
    by more than the width of that range.
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
    trained: Rows = ()
    """The smallest and the largest training values (2, columns); models of earlier versions have none."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        columns = max(1, len(self.fitted[0]) if self.fitted else 0)
        if wrong := misfit(self.scaler, self.fitted, columns):
            refuse([("fitted", wrong)])
        if self.fill is not None and len(self.fill) != columns:
            refuse([("fill", f"must be {columns} numbers, one for each column")])
        if self.trained and [len(row) for row in self.trained] != [columns, columns]:
            refuse([("trained", f"must be the smallest and the largest value of {columns} columns")])
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
            "trained": as_rows(np.stack([values.min(axis=0), values.max(axis=0)])),
        }

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, NumericColumn)
        check_width(column.name, column.width, self.size, "columns", table)
        missing = column.missing
        if missing and self.fill is None:
            raise missing_trouble(table, self.column, np.flatnonzero(column.absent), "numeric")
        fitted, fill, edges = np.asarray(self.fitted), np.asarray(self.fill), np.asarray(self.edges)
        indicators = list(self.indicators)
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

    def domain(self) -> Domain:
        if self.size > 1:
            return Domain("block", width=self.size, missing=self.fill is not None)
        low, high = (row[0] for row in self.trained) if self.trained else (None, None)
        typical = None if self.fill is None else self.fill[0]
        return Domain("number", low=low, high=high, typical=typical, missing=self.fill is not None)

    @np.errstate(over="ignore", invalid="ignore")  # the ends of the widest ranges are infinite, and nothing is beyond
    def far(self, column: Column, table: Table) -> int:
        values = self.cells(column, table)
        if not self.trained or values is None:
            return 0
        low, high = np.asarray(self.trained)
        width = high - low
        beyond = (values < low - width) | (values > high + width)
        return int(np.count_nonzero(beyond[:, width > 0].any(axis=1)))


def medians(values: Values, absent: NDArray[np.bool_]) -> Values:
    """The median of each column of `values`, without the `absent` ones."""
    columns = zip(values.T, absent.T, strict=True)
    return np.array([median(column[~none] if none.any() else column) for column, none in columns])
