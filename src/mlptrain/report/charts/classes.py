"""Which charts show how well classes are predicted?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.numbers import number
from mlptrain.report import figures
from mlptrain.report.charts.base import (
    CURVES,
    DASHES,
    DOTTED,
    LINE_POINTS,
    Chart,
    Ink,
    Sheet,
    Subject,
    Values,
    diagonal,
    finite,
    legend,
    unit_axes,
)
from mlptrain.report.text import shortened

CELLS = 12
"""Classes of a confusion matrix; the others are added up."""
WEAKEST, STRONGEST = 0.06, 0.54
"""The colour of a cell for a share of none and of all; a number upon it can be read in light and in dark."""
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Confusion(Chart):
    """How often each class is taken for each other one."""

    name: ClassVar[str] = "confusion"
    title: ClassVar[str] = "Confusion matrix"
    classes: tuple[str, ...]
    table: Counts
    """(classes, classes): row is the true class, column the predicted one"""
    right: int
    others: int
    """Classes that are added up in the last one."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        measured = subject.source.measured
        found = None if measured is None else subject.source.plan.transforms.task.confusion(measured.outcome)
        if found is None:
            return None
        names, table = found
        return cls(*condensed(names, table), int(table.trace()), max(0, len(names) - CELLS + 1) * (len(names) > CELLS))

    @property
    def description(self) -> str:
        note = f" Only the {CELLS - 1} largest classes; the other {self.others:,} are added up." if self.others else ""
        rows = f"{self.right:,} of {int(self.table.sum()):,} rows are right."
        return f"{rows} A line for each true class; the stronger the colour, the larger its share.{note}"

    @property
    def sheet(self) -> Sheet:
        rows = zip(self.classes, self.table.tolist(), strict=True)
        return Sheet(
            ("true \\ predicted", *self.classes), tuple((name, *(f"{n:,}" for n in row)) for name, row in rows)
        )

    @property
    def size(self) -> tuple[float, float]:
        return 4.8, 3.2 if len(self.classes) < 5 else 4.4

    def draw(self, figure: Any, ink: Ink) -> None:
        axes, n = figure.subplots(), len(self.classes)
        names, slanted = [shortened(name, 14) for name in self.classes], n > 4
        for i in range(n):
            self._draw_row(axes, ink, i)
        axes.set_xticks(range(n), names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
        axes.set_yticks(range(n), names)
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="predicted", ylabel="true")
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    def _draw_row(self, axes: Any, ink: Ink, i: int) -> None:
        shares, n = self.table[i] / max(1, self.table[i].sum()), len(self.classes)
        for j, share in enumerate(shares.tolist()):
            alpha = WEAKEST + (STRONGEST - WEAKEST) * share
            axes.bar(j, 0.95, 0.95, i - 0.475, color=ink.series[0], alpha=alpha, linewidth=0)
            size = 10 if n < 6 else 7
            axes.text(j, i, f"{self.table[i, j]:,}", ha="center", va="center", fontsize=size, color=ink.text)


def condensed(names: Sequence[str], table: Counts) -> tuple[tuple[str, ...], Counts]:
    """A confusion matrix of at most `CELLS` classes: the largest ones, and the others added up."""
    if len(names) <= CELLS:
        return tuple(names), table
    largest = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[: CELLS - 1])
    place = np.full(len(names), CELLS - 1)
    place[largest] = np.arange(CELLS - 1)
    small = np.zeros((CELLS, CELLS), np.int64)
    np.add.at(small, (place[:, None], place[None, :]), table)
    return (*(names[i] for i in largest), f"{len(names) - len(largest):,} others"), small


@dataclass(frozen=True)
class RankedCurves(Chart):
    """A curve between two rates for each of the largest classes or labels."""

    x_label: ClassVar[str]
    y_label: ClassVar[str]
    about: ClassVar[str]
    curves: dict[str, tuple[Values, Values]]
    areas: dict[str, float]
    left: int
    """Classes without a curve."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        measured = subject.source.measured
        rankings = [] if measured is None else measured.outcome.rankings
        usable = [i for i, (positive, _) in enumerate(rankings) if positive.any() and not positive.all()]
        largest = sorted(sorted(usable, key=lambda i: -int(rankings[i][0].sum()))[:CURVES])
        names = ranked_names(subject)
        found = {names[i]: cls.curve(rankings[i][0], rankings[i][1].astype(np.float64)) for i in largest}
        areas = {name: float(np.trapezoid(y, x)) for name, (x, y) in found.items()}
        return cls(found, areas, len(usable) - len(largest)) if found else None

    @staticmethod
    def curve(positive: figures.Flags, scores: Values) -> tuple[Values, Values]:
        """The two rates for every threshold."""
        raise NotImplementedError

    @property
    def description(self) -> str:
        left = f" {self.left:,} smaller classes are left out." if self.left else ""
        return f"{self.about}{left}"

    @property
    def sheet(self) -> Sheet:
        rows = [
            (name, number(x), number(y))
            for name, curve in self.curves.items()
            for x, y in zip(*(values.tolist() for values in figures.thinned(12, *curve)), strict=True)
        ]
        return Sheet(("class", self.x_label, self.y_label), tuple(rows))

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = unit_axes(figure, self.x_label, self.y_label)
        for i, (name, curve) in enumerate(self.curves.items()):
            points = figures.thinned(LINE_POINTS, *curve)
            axes.plot(*points, color=ink.series[i], linestyle=DASHES[i], label=self.label(name))
        self.decorate(axes, ink)
        legend(axes, ink)

    def label(self, name: str) -> str:
        """A class in the legend."""
        return shortened(name, 18)

    def decorate(self, axes: Any, ink: Ink) -> None:
        """Draw what is no data."""


class Roc(RankedCurves):
    """The true positive rate against the false positive rate."""

    name: ClassVar[str] = "roc"
    title: ClassVar[str] = "ROC curve"
    x_label: ClassVar[str] = "false positive rate"
    y_label: ClassVar[str] = "true positive rate"
    about: ClassVar[str] = "How many rows of a class are found, by how many others are taken for it."
    curve = staticmethod(figures.roc_curve)

    @property
    def description(self) -> str:
        areas = ", ".join(f"{name} {area:.4f}" for name, area in self.areas.items())
        return f"{super().description} Area under the curve: {areas}. The diagonal is chance."

    def label(self, name: str) -> str:
        return f"{shortened(name, 18)}, area {self.areas[name]:.3f}"

    def decorate(self, axes: Any, ink: Ink) -> None:
        diagonal(axes, ink, 0, 1)


class PrecisionRecall(RankedCurves):
    """The precision by the recall."""

    name: ClassVar[str] = "precision-recall"
    title: ClassVar[str] = "Precision and recall"
    x_label: ClassVar[str] = "recall"
    y_label: ClassVar[str] = "precision"
    about: ClassVar[str] = (
        "How many of the rows that are taken for a class are of it, by how many of its rows are found."
    )
    curve = staticmethod(figures.precision_recall_curve)


def ranked_names(subject: Subject) -> list[str]:
    """The name of each ranking of an outcome: the positive class, a label or a class."""
    task = subject.source.plan.transforms.task
    if task.positive is not None:
        return [task.positive]
    return list(task.columns if task.form == "labels" else getattr(task, "classes", ()))


@dataclass(frozen=True)
class Calibration(Chart):
    """How often predicted probabilities come true."""

    name: ClassVar[str] = "calibration"
    title: ClassVar[str] = "Calibration"
    found: figures.Calibration
    of_what: str

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        measured = subject.source.measured
        outcome = None if measured is None else measured.outcome
        if outcome is None or outcome.margins is None or not outcome.rankings:
            return None
        if outcome.truth.ndim == 1 and len(outcome.rankings) > 1:  # how sure the predicted class is
            sure = np.take_along_axis(outcome.margins, outcome.predicted[:, None], axis=1)[:, 0]
            right = np.asarray(outcome.predicted == outcome.truth)
            return cls(figures.calibration(right, figures.probability(sure)), "the predicted class")
        positive, margins = (np.concatenate(each) for each in zip(*outcome.rankings, strict=True))
        what = "every label" if len(outcome.rankings) > 1 else f"'{ranked_names(subject)[0]}'"
        return cls(figures.calibration(positive, figures.probability(margins.astype(np.float64))), what)

    @property
    def description(self) -> str:
        bins = f"Probabilities of {self.of_what} in {len(self.found.rows)} bins of about as many rows."
        return f"{bins} On the diagonal they come true as often as they say; mean distance {self.found.error:.4f}."

    @property
    def sheet(self) -> Sheet:
        found = self.found
        rows = zip(found.predicted.tolist(), found.observed.tolist(), found.rows.tolist(), strict=True)
        return Sheet(("predicted", "came true", "rows"), tuple((number(p), number(o), f"{n:,}") for p, o, n in rows))

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = unit_axes(figure, "predicted probability", "share that came true")
        diagonal(axes, ink, 0, 1, "perfect")
        axes.plot(self.found.predicted, self.found.observed, "o-", color=ink.series[0], markersize=5, label="model")
        legend(axes, ink, "upper left")


@dataclass(frozen=True)
class Threshold(Chart):
    """What another threshold between two classes would give."""

    name: ClassVar[str] = "threshold"
    title: ClassVar[str] = "Threshold"
    shown: ClassVar[tuple[str, ...]] = ("precision", "recall", "f1", "accuracy")
    positive: str
    used: float
    found: figures.Thresholds

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        measured, task = subject.source.measured, subject.source.plan.transforms.task
        if measured is None or task.cutoff is None or task.positive is None or len(measured.outcome.rankings) != 1:
            return None
        ((positive, margins),) = measured.outcome.rankings
        probability = figures.probability(margins.astype(np.float64))
        return cls(task.positive, task.cutoff, figures.thresholds(positive, probability))

    @property
    def description(self) -> str:
        best = int(np.argmax(self.found.f1))
        used = f"If '{self.positive}' is predicted above each probability; {self.used:.3g} is used."
        return f"{used} F1 is highest, {self.found.f1[best]:.4f}, at {self.found.threshold[best]:.2f} on these rows."

    @property
    def sheet(self) -> Sheet:
        curves = [getattr(self.found, name)[::5].tolist() for name in ("threshold", *self.shown)]
        rows = tuple((f"{cut:.2f}", *(number(finite(v)) for v in row)) for cut, *row in zip(*curves, strict=True))
        return Sheet(("threshold", *self.shown), rows)

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = unit_axes(figure, f"predict {shortened(self.positive, 20)} above this probability", "")
        for i, name in enumerate(self.shown):
            curve = getattr(self.found, name)
            axes.plot(self.found.threshold, curve, color=ink.series[i], linestyle=DASHES[i], label=name)
        axes.axvline(self.used, color=ink.faint, linewidth=1, linestyle=DOTTED, label=f"used: {self.used:.3g}")
        legend(axes, ink)
