"""How do dates and times become inputs: a place on a line, and on the circles of the year, the week and the day?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from mlptrain.component import OneOf, refuse
from mlptrain.data.columns import Column, MomentColumn, TextColumn, as_cells, as_moments, is_temporal
from mlptrain.data.dates import CLOCK, DAY, SPELLINGS, are_times, best_spellings, moments, readable, swapped
from mlptrain.data.encoders.base import Domain, Encoder, Rows, Writer, as_rows, median, missing_trouble, no_value
from mlptrain.data.encoders.categories import Category
from mlptrain.data.encoders.spelled import as_series, example, written_otherwise
from mlptrain.data.scalers import Scaler, Values, misfit
from mlptrain.data.settings import Data
from mlptrain.data.spellings import meant_as
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.nn.arrays import Indices

DAYS_OF_A_YEAR = 365.2425


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

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.spelling not in SPELLINGS:
            refuse([("spelling", f"must be one of {', '.join(SPELLINGS)}")])
        columns = 0 if self.spelling == CLOCK else min(max(self.numbers, 1), 2)
        if (columns or self.fitted) and (wrong := misfit(self.scaler, self.fitted, columns)):
            refuse([("fitted", wrong)])
        return self

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

    def domain(self) -> Domain:
        return Domain("date", written=self.spelling, missing=self.missing_allowed)

    def cells(self, column: Column, table: Table) -> Values:
        assert isinstance(column, TextColumn | MomentColumn)
        return seconds_of(column, self.spelling, table)[:, None]

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
