"""Which charts show how a model uses its columns?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from mlptrain.numbers import brief, number
from mlptrain.report.charts.base import DASHES, Chart, Ink, Sheet, Subject, small_axes, thousands
from mlptrain.report.importance import REPEATS, Dependence, Importances
from mlptrain.report.text import shortened, width_of
from mlptrain.tasks import Task

BARS = 15
"""Columns that are drawn."""
OUTPUTS = 4
"""Classes or targets that are drawn."""
WORDS, ORDERED_WORDS = 12, 5
"""Words below an axis: of categories, and of dates and amounts, which have an order."""

LEGEND, LINE = 66, 7
"""The width of the legend and of the line before each of its names, in letters."""


@dataclass(frozen=True)
class Importance(Chart):
    """How much the loss rises without each column."""

    name: ClassVar[str] = "importance"
    title: ClassVar[str] = "Which columns matter"
    found: Importances

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None if subject.importances is None else cls(subject.importances)

    @property
    def description(self) -> str:
        found, left = self.found, self.found.columns - len(self.found.found)
        seen = " The networks were trained on these rows." if found.seen else ""
        note = (
            f" {left:,} of {found.columns:,} columns, which a search found to matter less, are left out."
            if left
            else ""
        )
        return (
            f"So much the loss of {found.rows:,} rows drawn at random, {number(found.loss)}, rises when the values of "
            f"one column are shuffled: mean and standard deviation of {REPEATS} times. Columns that say the same stand "
            f"in for each other.{seen}{note}"
        )

    @property
    def sheet(self) -> Sheet:
        rows = tuple((each.column, number(each.rise), number(each.spread)) for each in self.found.found)
        return Sheet(("column", "rise of the loss", "standard deviation"), rows)

    @property
    def size(self) -> tuple[float, float]:
        return 4.8, 1.0 + 0.24 * max(4, min(BARS, len(self.found.found)))

    def draw(self, figure: Any, ink: Ink) -> None:
        each = self.found.found[:BARS]
        axes, places, rises = figure.subplots(), np.arange(len(each))[::-1], [one.rise for one in each]
        axes.barh(places, rises, 0.62, color=ink.series[0], alpha=0.9)
        spreads = [one.spread for one in each]
        axes.errorbar(rises, places, xerr=spreads, fmt="none", ecolor=ink.text, elinewidth=1)
        axes.set_yticks(places, [shortened(one.column) for one in each])
        axes.axvline(0, color=ink.text, linewidth=1)
        axes.grid(False, axis="y")
        axes.set_xlabel("rise of the loss when the column is shuffled")


@dataclass(frozen=True)
class PartialDependence(Chart):
    """The mean prediction by the value of the most important columns."""

    name: ClassVar[str] = "dependence"
    title: ClassVar[str] = "How they matter"
    found: tuple[Dependence, ...]
    outputs: dict[str, int]
    """The outputs that are drawn: name and place."""
    left: int

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        if not subject.dependences:
            return None
        count = subject.dependences[0].predictions.shape[1]
        outputs = output_names(subject.source.plan.transforms.task, count)
        shown = dict([*outputs.items()][:OUTPUTS])
        return cls(subject.dependences, shown, len(outputs) - len(shown))

    @property
    def description(self) -> str:
        what = next(iter(self.outputs)) if len(self.outputs) == 1 else "prediction"
        left = f" {self.left:,} more outputs are left out." if self.left else ""
        same = "when all rows have the same value in one column and keep their own values in the others"
        return f"The mean {what} {same}.{left}"

    @property
    def sheet(self) -> Sheet:
        places = [*self.outputs.values()]
        rows = tuple(
            (each.column, value if isinstance(value, str) else brief(float(value)), *map(brief, prediction[places]))
            for each in self.found
            for value, prediction in zip(each.values, each.predictions, strict=True)
        )
        return Sheet(("column", "value", *self.outputs), rows)

    @property
    def size(self) -> tuple[float, float]:
        names = self._names()
        lines = -(-len(names) // beside(names)) if len(names) > 1 else 0
        return 4.8, 0.2 + 1.8 * -(-len(self.found) // 2) + (0.15 + 0.15 * lines) * (lines > 0)

    def _names(self) -> list[str]:
        """The outputs, for the legend."""
        return [shortened(name, 16) for name in self.outputs]

    def draw(self, figure: Any, ink: Ink) -> None:
        grid = small_axes(figure, len(self.found), 2, sharey=True)
        for axes, each in zip(grid, self.found, strict=True):
            axes.set_xlabel(shortened(each.column, 30))
            thousands(axes.yaxis)
            for i, place in enumerate(self.outputs.values()):
                draw_one(axes, each, place, ink.series[i], i)
        if len(self.outputs) > 1:
            names = self._names()
            figure.legend(grid[0].get_lines(), names, loc="outside upper left", ncols=beside(names), frameon=False)


def beside(names: Sequence[str]) -> int:
    """How many names of a legend fit beside each other, each after a piece of its line."""
    return max(1, min(len(names), LEGEND // (LINE + max(map(width_of, names)))))


def draw_one(axes: Any, each: Dependence, place: int, colour: str, number: int) -> None:
    """A curve over numbers; points over words, joined where they have an order."""
    heights = each.predictions[:, place]
    if not isinstance(each.values, tuple):
        axes.plot(each.values, heights, color=colour, linestyle=DASHES[number])
        axes.locator_params(axis="x", nbins=4)
        return
    places, most = np.arange(len(each.values)), ORDERED_WORDS if each.ordered else WORDS
    line = DASHES[number] if each.ordered else "none"
    axes.plot(places, heights, "os^D"[number], color=colour, markersize=3.5 if each.ordered else 4.5, linestyle=line)
    some = places[:: -(-len(places) // most)]
    axes.set_xticks(some, [shortened(each.values[i], 11) for i in some], rotation=45, ha="right")
    axes.set_xlim(-0.5, len(places) - 0.5)


def output_names(task: Task, count: int) -> dict[str, int]:
    """The outputs with names: of two classes the positive one, else the classes, the labels or the targets."""
    if task.positive is not None:
        return {f"probability of {task.positive}": count - 1}
    if task.form == "values" and count == 1:
        return {f"prediction of {task.columns[0]}": 0}
    names = getattr(task, "classes", task.columns)
    return {str(name): i for i, name in enumerate(names[:count])}
