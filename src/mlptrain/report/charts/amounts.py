"""Which charts show how well quantities are predicted?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.numbers import brief
from mlptrain.report import figures
from mlptrain.report.charts.base import (
    DOTTED,
    Chart,
    Ink,
    Sheet,
    Subject,
    Values,
    diagonal,
    legend,
    log_scale,
    thousands,
)

POINTS = 1500
"""Points of a scatter plot."""
WIDE = 100
"""A ratio of the largest to the smallest value from which on axes are logarithmic."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BANDS = 20
"""Groups of rows for the line through a scatter plot."""


@dataclass(frozen=True)
class Amounts(Chart):
    """True and predicted values, of the first target if there are several."""

    truth: Values
    predicted: Values
    note: str
    """On the targets that are left out."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        measured, task = subject.source.measured, subject.source.plan.transforms.task
        if measured is None or task.form != "values":
            return None
        note = f" Of {task.columns[0]}, the first of {len(task.columns)} targets." if len(task.columns) > 1 else ""
        truth, predicted = measured.outcome.truth[:, 0], measured.outcome.predicted[:, 0]
        return cls(truth.astype(np.float64), predicted.astype(np.float64), note)

    @property
    def error(self) -> Values:
        """Predicted minus true."""
        return self.predicted - self.truth

    @property
    def points(self) -> NDArray[np.intp]:
        """The rows of a scatter plot, evenly by number."""
        rows = len(self.truth)
        return np.unique(np.linspace(0, rows - 1, min(rows, POINTS)).round().astype(np.intp))

    @property
    def drawn(self) -> str:
        """How many rows a scatter plot has, if these are not all."""
        return (
            f" {len(self.points):,} of {len(self.truth):,} rows are drawn."
            if len(self.points) < len(self.truth)
            else ""
        )


class PredictedTrue(Amounts):
    """Predicted against true values."""

    name: ClassVar[str] = "predicted-true"
    title: ClassVar[str] = "Predicted and true"

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest of all values."""
        return float(min(self.truth.min(), self.predicted.min())), float(max(self.truth.max(), self.predicted.max()))

    @property
    def log(self) -> bool:
        """Whether the axes are logarithmic."""
        low, high = self.ends
        return low > 0 and high > WIDE * low

    @property
    def description(self) -> str:
        scale = " Both axes are logarithmic." if self.log else ""
        return f"A point for each row; on the diagonal the prediction is right.{scale}{self.drawn}{self.note}"

    @property
    def sheet(self) -> Sheet:
        parts = figures.deciles(self.truth, self.predicted)
        rows = tuple((f"{brief(part.low)} to {brief(part.high)}", brief(part.mean_error)) for part in parts)
        return Sheet(("true value", "mean of predicted minus true"), rows)

    def draw(self, figure: Any, ink: Ink) -> None:
        axes, some = figure.subplots(), self.points
        diagonal(axes, ink, *self.ends)
        axes.plot(self.truth[some], self.predicted[some], "o", markersize=3, color=ink.series[0], alpha=0.4, mew=0)
        axes.set(xlabel="true", ylabel="predicted")
        thousands(axes.xaxis, axes.yaxis)
        if self.log:
            log_scale(axes.xaxis)
            log_scale(axes.yaxis)


class Errors(Amounts):
    """The distribution of the errors."""

    name: ClassVar[str] = "errors"
    title: ClassVar[str] = "Errors"

    @property
    def description(self) -> str:
        error, outside = self.error, figures.histogram(self.error)[2]
        mean, median, half = (brief(float(value)) for value in (error.mean(), *np.median((error, abs(error)), axis=1)))
        cut = f" {outside:,} rows are outside of the picture." if outside else ""
        return f"Mean {mean}, median {median}; half of the rows are within {half}.{cut}{self.note}"

    @property
    def sheet(self) -> Sheet:
        found = zip(QUANTILES, np.quantile(self.error, QUANTILES).tolist(), strict=True)
        return Sheet(("share of the rows", "error at most"), tuple((f"{q:.0%}", brief(value)) for q, value in found))

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        edges, counts, _ = figures.histogram(self.error, 50)
        axes.stairs(counts, edges, fill=True, color=ink.series[0], alpha=0.9)
        axes.axvline(0, color=ink.text, linewidth=1)
        axes.set(xlabel="predicted minus true", ylabel="rows")
        thousands(axes.xaxis, axes.yaxis)


class ErrorsByPrediction(Amounts):
    """The errors by the predicted value."""

    name: ClassVar[str] = "errors-by-prediction"
    title: ClassVar[str] = "Errors by prediction"

    @property
    def medians(self) -> Values:
        """(bands, 2): the median prediction and the median error of groups of rows, in the order of the prediction."""
        order = np.array_split(np.argsort(self.predicted, kind="stable"), min(BANDS, len(self.predicted)))
        return np.array([(np.median(self.predicted[some]), np.median(self.error[some])) for some in order])

    @property
    def description(self) -> str:
        return f"Where the line leaves 0, predictions of that size are too high or too low.{self.drawn}{self.note}"

    @property
    def sheet(self) -> Sheet:
        rows = tuple((brief(predicted), brief(error)) for predicted, error in self.medians.tolist())
        return Sheet(("predicted", "median error"), rows)

    def draw(self, figure: Any, ink: Ink) -> None:
        axes, some = figure.subplots(), self.points
        axes.axhline(0, color=ink.faint, linewidth=1, linestyle=DOTTED)
        axes.plot(self.predicted[some], self.error[some], "o", markersize=3, color=ink.series[0], alpha=0.35, mew=0)
        axes.plot(*self.medians.T, color=ink.series[1], linewidth=2, label="median")
        axes.set(xlabel="predicted", ylabel="predicted minus true")
        thousands(axes.xaxis, axes.yaxis)
        legend(axes, ink)


class ErrorsByTruth(Amounts):
    """The size of the error by tenths of the rows."""

    name: ClassVar[str] = "errors-by-truth"
    title: ClassVar[str] = "Error by true value"

    @property
    def description(self) -> str:
        tenths = "The rows in tenths, from the lowest true values to the highest."
        return f"{tenths} A mean error above 0 says that predictions are too high.{self.note}"

    @property
    def sheet(self) -> Sheet:
        rows = tuple(
            (f"{brief(part.low)} to {brief(part.high)}", f"{part.rows:,}", brief(part.size), brief(part.mean_error))
            for part in figures.deciles(self.truth, self.predicted)
        )
        return Sheet(("true value", "rows", "mean absolute error", "mean error"), rows)

    def draw(self, figure: Any, ink: Ink) -> None:
        parts = figures.deciles(self.truth, self.predicted)
        axes, places = figure.subplots(), np.arange(len(parts))
        sizes, means = [part.size for part in parts], [part.mean_error for part in parts]
        axes.bar(places - 0.2, sizes, 0.38, color=ink.series[0], label="mean absolute error")
        axes.bar(places + 0.2, means, 0.38, color="none", edgecolor=ink.series[1], hatch="////", label="mean error")
        axes.axhline(0, color=ink.text, linewidth=1)
        names = [brief(part.high) for part in parts]
        axes.set_xticks(places, names, rotation=45, ha="right")
        axes.set_xlabel("true value up to")
        thousands(axes.yaxis)
        legend(axes, ink)
