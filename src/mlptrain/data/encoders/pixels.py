"""How do bytes become inputs? By one scale for all of them, when a batch is gathered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import OneOf, refuse
from mlptrain.data.columns import Column, PixelColumn, as_pixels
from mlptrain.data.encoders.base import Domain, Encoder, Packed, Rows, Writer, as_rows, block_names, check_width
from mlptrain.data.scalers import AffineScaler, Scaler, Values, misfit
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.nn.arrays import Indices


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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if wrong := misfit(self.scaler, self.fitted, 1):
            refuse([("fitted", wrong)])
        if not all(0 <= place < self.pixels and 0 <= byte < 256 for place, byte in self.constant):
            refuse([("constant", "must be numbers of pixels, each with a byte")])
        return self

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

    def domain(self) -> Domain:
        return Domain("block", low=0.0, high=255.0, width=self.pixels, missing=False)

    def cells(self, column: Column, table: Table) -> Values:
        assert isinstance(column, PixelColumn)
        return column.values.astype(np.float64)

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
