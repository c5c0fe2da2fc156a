"""How are the reasons of one prediction drawn?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from mlptrain.numbers import brief
from mlptrain.report.charts.base import Chart, Ink, Sheet, Subject, thousands
from mlptrain.report.reasons import Reasons
from mlptrain.report.text import shortened

BARS = 20
"""Columns that are drawn."""


@dataclass(frozen=True)
class ContributionBars(Chart):
    """What each column adds to the mean prediction, the largest first."""

    why: Reasons
    output: int

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None

    @property
    def name(self) -> str:  # type: ignore[override]  # one for each output
        return f"contributions-{self.output}"

    @property
    def title(self) -> str:  # type: ignore[override]  # that of the output
        return self.why.outputs[self.output]

    @property
    def description(self) -> str:
        found, k = self.why.found, self.output
        left = len(self.why.columns) - BARS
        more = f" {left:,} columns that contribute less are left out." if left > 0 else ""
        return (
            f"From {brief(float(found.mean[k]))}, the mean of {self.why.background:,} training rows, to "
            f"{brief(float(found.prediction[k]))}: what each column adds. Lines are two standard errors.{more}"
        )

    @property
    def sheet(self) -> Sheet:
        values, errors, why = self.why.found.values[:, self.output], self.why.found.errors[:, self.output], self.why
        rows = [
            (why.columns[i], why.cells[i], brief(float(values[i])), brief(float(errors[i])))
            for i in why.ranked(self.output)
        ]
        return Sheet(("column", "value", "contribution", "standard error"), tuple(rows))

    @property
    def size(self) -> tuple[float, float]:
        return 7.6, 1.0 + 0.27 * max(3, min(BARS, len(self.why.columns)))

    def draw(self, figure: Any, ink: Ink) -> None:
        why, shown = self.why, self.why.ranked(self.output)[:BARS]
        values, errors = (each[shown, self.output] for each in (why.found.values, why.found.errors))
        axes, heights = figure.subplots(), np.arange(len(shown))[::-1]
        colours = [ink.series[int(value < 0)] for value in values]
        bars = axes.barh(heights, values, 0.62, color=colours, alpha=0.9)
        for bar, value in zip(bars, values, strict=True):
            if value < 0:
                bar.set(hatch="////", edgecolor=ink.paper)
        axes.errorbar(values, heights, xerr=2 * np.nan_to_num(errors), fmt="none", ecolor=ink.text, elinewidth=1)
        axes.set_yticks(heights, [f"{shortened(why.columns[i])} = {shortened(why.cells[i], 16)}" for i in shown])
        axes.axvline(0, color=ink.text, linewidth=1)
        axes.grid(False, axis="y")
        axes.set_xlabel(f"added to the mean {shortened(self.title, 60)}")
        thousands(axes.xaxis)
