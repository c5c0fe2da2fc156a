"""How does training look where nothing can be drawn again? Lines at growing intervals; live.py is for terminals."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from rich.console import Console

from mlptrain.cli.console import diagnosis_text
from mlptrain.component import variants
from mlptrain.errors import Diverged
from mlptrain.metrics import Metric
from mlptrain.numbers import number
from mlptrain.training.events import Consumer, EpochDone, Record, TrainingDone
from mlptrain.training.state import Diagnosed, Progress

MAX_INTERVAL = 30.0  # seconds between two lines
LOSSES = ("train_loss", "validation_loss")


class Course(NamedTuple):
    """The length of a run and its progress, for display."""

    name: str
    epochs: int
    batches: int
    """Batches per epoch."""
    rows: int
    """Training rows."""
    monitor: str | None
    """The column that chooses the best epoch."""
    progress: Progress


def is_live(console: Console) -> bool:
    """Whether what is on `console` can be drawn again."""
    return console.is_terminal and not console.is_dumb_terminal and not console.quiet


def working(console: Console, what: str) -> AbstractContextManager[object]:
    """Says what is being done, on a terminal only."""
    return console.status(what) if is_live(console) else nullcontext()


class Shown(Consumer):
    """Shows the diagnoses of a run, and remembers its last and its best epoch."""

    def __init__(self, console: Console, course: Course) -> None:
        self._console, self._course = console, course
        self._record: Record | None = None
        self._best: Record | None = None
        self._told = len(course.progress.warnings)

    def epoch(self, event: EpochDone) -> None:
        """Show the diagnoses of a finished epoch."""
        self._record = event.record
        if event.improved and self._course.monitor is not None:
            self._best = event.record
        self._show_diagnoses(event.diagnoses)

    def failed(self, error: Diverged) -> None:
        """Show the diagnoses of the step that failed, after which there is no event."""
        self.close()
        self._show_diagnoses(self._course.progress.warnings[self._told :])

    def _show_diagnoses(self, diagnoses: Sequence[Diagnosed]) -> None:
        for diagnosed in diagnoses:
            self._console.print(diagnosis_text(diagnosed))
        self._told += len(diagnoses)


class Lines(Shown):
    """A line for some epochs, ever fewer of them, and for the last one; a star marks the best so far."""

    def __init__(self, console: Console, course: Course) -> None:
        super().__init__(console, course)
        self._next, self._last_line = 0, time.monotonic()
        self._printed: Record | None = None

    def epoch(self, event: EpochDone) -> None:
        super().epoch(event)
        epoch = int(event.record["epoch"] or 0)
        if epoch >= self._next or time.monotonic() - self._last_line > MAX_INTERVAL:
            self._print(event.record)
            self._next = next_line(epoch)

    def done(self, event: TrainingDone) -> None:
        """Show the last epoch, too."""
        if self._record is not None and self._record is not self._printed:
            self._print(self._record)

    def _print(self, record: Record) -> None:
        starred = self._course.monitor if record is self._best else None
        cells = [
            f"{name} {number(record[name])}{' *' if name == starred else ''}"
            for name in [*LOSSES, *main_metrics(self._course.monitor), "learning_rate"]
            if name in record
        ]
        self._console.print(f"epoch {int(record['epoch'] or 0)}  " + "  ".join(cells))
        self._printed, self._last_line = record, time.monotonic()


def main_metrics(monitor: str | None) -> list[str]:
    """The columns that are shown for each epoch besides the losses: the main metrics, and what is monitored."""
    names = [f"validation_{metric.name()}" for metric in variants(Metric) if metric.main]
    return names if monitor is None or monitor in (*names, *LOSSES) else [*names, monitor]


def next_line(epoch: int) -> int:
    """The epoch of the next plain line after `epoch`: 1, 2, 5, 10, 20, 50, ..."""
    scale = 1
    while True:
        for step in (1, 2, 5):
            if step * scale > epoch:
                return step * scale
        scale *= 10
