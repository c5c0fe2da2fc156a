"""What is a chart?

    subject --Chart.of--> chart (numbers, and what they say in words) --drawing--> SVG or PNG

A chart is one class. It imports nothing of matplotlib: `draw` is given a figure, whose methods are enough.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.report.importance import Dependence, Importances
from mlptrain.report.source import Source

Values = NDArray[np.float64]
CURVES = 5
"""Classes, layers or outputs with a curve of their own in one chart."""
LINE_POINTS = 600
"""Points of a curve in a picture."""
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 3)))
"""So that curves can be told apart without colour."""
DOTTED = (0, (2, 2))
"""Of lines that are no data: a diagonal, a threshold, the best epoch."""


@dataclass(frozen=True)
class Sheet:
    """A table of texts; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Ink:
    """The colours of a chart."""

    text: str
    faint: str
    grid: str
    paper: str
    series: tuple[str, ...]


@dataclass(frozen=True)
class Subject:
    """What charts are drawn of."""

    source: Source
    importances: Importances | None = None
    dependences: tuple[Dependence, ...] = ()


class Chart(ABC):
    """One picture, with what it shows in words and in numbers."""

    name: ClassVar[str]
    """For files and anchors."""
    title: ClassVar[str]

    @classmethod
    @abstractmethod
    def of(cls, subject: Subject) -> Self | None:
        """The chart of a run; None where there is nothing to draw."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What can be seen, for a caption and for those who do not see it."""

    @property
    @abstractmethod
    def sheet(self) -> Sheet:
        """The numbers behind it."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return 4.8, 3.2

    @abstractmethod
    def draw(self, figure: Any, ink: Ink) -> None:
        """Draw on a figure of matplotlib."""


def legend(axes: Any, ink: Ink, place: str = "best") -> None:
    """The names of the curves."""
    box = {"facecolor": ink.paper, "edgecolor": "none", "framealpha": 0.85}
    axes.legend(loc=place, labelcolor=ink.text, handlelength=2.4, **box)


def small_axes(figure: Any, count: int, columns: int, **shared: Any) -> list[Any]:
    """`count` plots in rows of `columns`."""
    columns = min(columns, count)
    grid = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return list(grid[:count])


def unit_axes(figure: Any, x: str, y: str) -> Any:
    """Axes from 0 to 1."""
    axes = figure.subplots()
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.05), xlabel=x, ylabel=y)
    return axes


def log_scale(axis: Any) -> None:
    """A logarithmic scale for one axis, with plain numbers."""
    (axis.axes.set_yscale if axis.axis_name == "y" else axis.axes.set_xscale)("log")
    axis.set_major_formatter("{x:,.10g}")
    axis.set_minor_formatter("")


def thousands(*axes: Any) -> None:
    """Numbers like 10,000 beside these axes."""
    for axis in axes:
        axis.set_major_formatter("{x:,.10g}")


def diagonal(axes: Any, ink: Ink, low: float, high: float, label: str | None = None) -> None:
    """The line on which both axes are the same."""
    axes.plot([low, high], [low, high], color=ink.faint, linewidth=1, linestyle=DOTTED, label=label, zorder=1)


def finite(value: float) -> float | None:
    """The value, or None if it is not finite."""
    return float(value) if math.isfinite(value) else None
