"""What is known of a lesson that was trained, and which figures of it are asked for?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Any

from mlptrain.lessons.catalogue import Asked, Kind, Lesson
from mlptrain.numbers import number
from mlptrain.report.charts.base import Sheet
from mlptrain.runs.history import Columns, read_history, read_timings
from mlptrain.runs.run import Run
from mlptrain.training.snapshots import Snapshots


@dataclass(frozen=True)
class Study:
    """A lesson, its run, and the weights on the way."""

    lesson: Lesson
    run: Run
    snapshots: Snapshots
    failure: str = ""
    """The message of a run that diverged."""

    @cached_property
    def history(self) -> Columns:
        """metrics.csv"""
        return read_history(self.run.folder.path)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """summary.json"""
        return self.run.folder.read_summary()

    def known(self, column: str) -> list[float]:
        """The values of a column of the history, without those that are missing."""
        return [value for value in self.history.get(column, []) if value is not None]


def figure(study: Study, asked: Asked) -> float | None:
    """A figure of a run; None where it has none."""
    return FIGURES[asked.kind](study, asked)


def first(study: Study, asked: Asked) -> float | None:
    """The first value of a column."""
    return next(iter(study.known(asked.of)), None)


def last(study: Study, asked: Asked) -> float | None:
    """The last value of a column."""
    return next(reversed(study.known(asked.of)), None)


def rises(study: Study, asked: Asked) -> float:
    """In how many epochs a column is higher than in the one before."""
    return sum(later > earlier for earlier, later in pairwise(study.known(asked.of)))


def steps_below(study: Study, asked: Asked) -> float | None:
    """How many steps it took until a column, measured before the step, was below the bound."""
    steps = study.history["step"]
    reached = (i for i, value in enumerate(study.history[asked.of]) if value is not None and value < asked.bound)
    place = next(reached, None)
    return None if place is None else (steps[place - 1] if place else 0)


def rows_per_second(study: Study, asked: Asked) -> float | None:
    """The speed of the median epoch."""
    speeds = [speed for speed in read_timings(study.run.folder.path)["rows_per_second"] if speed is not None]
    return median(speeds) if speeds else None


def result(study: Study, asked: Asked) -> float | None:
    """A metric of a part, or of a simple model."""
    part, metric = asked.of.split()
    found = {**study.summary["results"], **study.summary["baselines"]}
    value = (found.get(part) or {}).get(metric)
    return None if value is None else float(value)


FIGURES: dict[Kind, Callable[[Study, Asked], float | None]] = {
    "first": first,
    "last": last,
    "rises": rises,
    "steps_below": steps_below,
    "rows_per_second": rows_per_second,
    "epochs": lambda study, _: study.summary["epochs"],
    "best_epoch": lambda study, _: study.summary["best_epoch"],
    "result": result,
}
WHOLE = ("rises", "steps_below", "rows_per_second", "epochs", "best_epoch")
"""Figures that are whole numbers for the eye."""


def heading(asked: Asked) -> str:
    """The name of a figure."""
    if asked.of == "step":
        return "steps"
    names = {
        "first": f"first {asked.of}",
        "last": f"last {asked.of}",
        "rises": "epochs in which it rose",
        "steps_below": f"steps until {asked.of} < {asked.bound:g}",
        "rows_per_second": "rows per second",
        "epochs": "epochs",
        "best_epoch": "best epoch",
    }
    part, _, metric = asked.of.partition(" ")
    where = f"{metric} of the {part} model" if part in ("constant", "linear") else f"{part} {metric}"
    return names.get(asked.kind, where)


def cell(study: Study, asked: Asked) -> str:
    """A figure for the eye."""
    value = figure(study, asked)
    if value is None:
        return "not reached" if asked.kind == "steps_below" else "-"
    return f"{value:,.0f}" if asked.kind in WHOLE or asked.of == "step" else number(value)


def table(studies: Sequence[Study]) -> Sheet:
    """What the lesson asks for: a row for each run."""
    asked = studies[0].lesson.chapter.asked
    rows = tuple((study.lesson.label, *(cell(study, one) for one in asked)) for study in studies)
    return Sheet(("lesson", *map(heading, asked)), rows)
