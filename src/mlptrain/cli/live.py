"""How does training look on a terminal? A chart of the losses that uses the room there is, and stays at the end."""

from __future__ import annotations

import math
import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mlptrain.cli.chart import Curve, Span, draw, styled, styled_line, wrapped
from mlptrain.cli.progress import LOSSES, Course, Shown, main_metrics
from mlptrain.numbers import number
from mlptrain.training.events import EpochDone, Record

BARS = "▁▂▃▄▅▆▇█"
MOST_POINTS = 256
"""Epochs that are kept for the chart: every one, every second, every fourth, ... of a long run."""
LARGEST_CHART, FINAL_CHART, SMALLEST_CHART = 30, 14, 6
"""Lines of the chart, at most while it is live, when it stays, and at least."""
BELOW = 5
"""Lines that are left for what is not the chart."""
LOG_RANGE = 50.0
"""A chart is logarithmic if its largest loss is more than that times its smallest."""


class LiveChart(Shown):
    """A chart that is drawn again several times a second, and once more at the end, to stay."""

    def __init__(self, console: Console, course: Course) -> None:
        super().__init__(console, course)
        self._began, self._began_at = time.monotonic(), self._done()
        self._points = Thinned()
        self._drawn: tuple[tuple[object, ...], Text] | None = None
        self._live = Live(self, console=console, refresh_per_second=4, transient=True)
        self._live.start()

    def epoch(self, event: EpochDone) -> None:
        self._points.add(event.record)
        super().epoch(event)

    def close(self) -> None:
        """Restore the terminal, and leave the chart there."""
        if not self._live.is_started:
            return
        self._live.stop()
        if self._record is not None:
            self._console.print(Group(*self._chart(FINAL_CHART), *self._figures()))

    def __rich__(self) -> RenderableType:
        room = min(LARGEST_CHART, self._console.height - BELOW - 1)
        return Group(self._head(), *self._chart(room), *self._figures())

    def _head(self) -> RenderableType:
        """The name, the epoch, and how long it may still take; without a bar where it is narrow."""
        course, done = self._course, self._done()
        head = Table.grid(padding=(0, 1))
        epoch = Text(f"epoch {min(course.progress.epoch + 1, course.epochs)}/{course.epochs}")
        left, room = self._time_left(done), self._console.width - len(epoch)
        bar = [ProgressBar(course.epochs, done, width=min(40, room // 3))] if room >= 50 else []
        cells: list[RenderableType] = [Text(course.name, "bold"), epoch, *bar, Text(left, "dim")]
        head.add_row(*(cells if room > len(course.name) + len(left) + 2 else cells[1:]))
        return head

    def _chart(self, height: int) -> list[Text]:
        """The losses, if there are two epochs and the room for a chart."""
        if height < SMALLEST_CHART or len(self._points) < 2:
            return []
        key = (self._points.last, self._console.width, height)
        if self._drawn is None or self._drawn[0] != key:
            curves = self._curves()
            values = [value for curve in curves for value in curve.y if value is not None and math.isfinite(value)]
            log = bool(values) and min(values) > 0 and max(values) > LOG_RANGE * min(values)
            self._drawn = key, styled(draw(curves, self._console.width - 1, height, log=log))
        return [self._drawn[1]]

    def _curves(self) -> list[Curve]:
        """The losses and, if it is no loss, nothing else: a star is on the best epoch of what is monitored."""
        records = self._points.records(self._best)
        monitor, x = self._course.monitor, [record["epoch"] or 0.0 for record in records]
        starred = monitor if monitor in LOSSES else LOSSES[-1]
        best = None if self._best is None else self._best["epoch"]
        return [
            Curve(name, x, [record[name] for record in records], best if name == starred else None)
            for name in LOSSES
            if name in records[0]
        ]

    def _figures(self) -> list[Text]:
        """The figures of the last epoch, of the best one, and of the step, on as many lines as they need."""
        cells = [*self._running(), *(self._last(self._record) if self._record else ())]
        return [styled_line(line) for line in wrapped([Span(cell) for cell in cells], self._console.width - 1)]

    def _running(self) -> list[str]:
        """How the present epoch goes; for the first one also its loss, since nothing else is known."""
        progress, done = self._course.progress, self._done() - self._began_at
        seconds = time.monotonic() - self._began
        cells = []
        if self._record is None and progress.rows:
            batches = f"batch {progress.batch:,} of {self._course.batches:,}"
            cells += [batches, f"running loss {number(progress.loss_sum / progress.rows)}"]
        if done > 0 and seconds > 0.5:
            cells.append(f"{number_of_rows(done * self._course.rows / seconds)} rows/s")
        return cells

    def _last(self, record: Record) -> list[str]:
        """The figures of an epoch and of the best one."""
        monitor = self._course.monitor
        names = [name for name in [*LOSSES, *main_metrics(monitor), "learning_rate"] if name in record]
        cells = [f"{name.replace('_', ' ')} {number(record[name])}" for name in names]
        if self._best is not None and monitor is not None:
            best = f"{number(self._best[monitor])} (epoch {int(self._best['epoch'] or 0)})"
            cells.append(f"★ best {monitor.replace('_', ' ')} {best}")
        return [*cells, *gradient_bars(record)]

    def _done(self) -> float:
        """The number of finished epochs, with a part of the present one."""
        return self._course.progress.epoch + self._course.progress.batch / max(1, self._course.batches)

    def _time_left(self, done: float) -> str:
        seconds, ran = time.monotonic() - self._began, done - self._began_at
        if ran <= 0 or seconds < 0.5:
            return ""
        left = int(seconds / ran * (self._course.epochs - done))
        hours, minutes = divmod(left // 60, 60)
        return f"at most {f'{hours}:{minutes:02d}' if hours else minutes}:{left % 60:02d} left"


class Thinned:
    """Some epochs of a run, evenly, and the last one."""

    def __init__(self) -> None:
        self._kept: list[Record] = []
        self._every = 1
        self.last: float | None = None
        """The number of the last epoch."""
        self._latest: Record = {}

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, record: Record) -> None:
        """Add the next epoch."""
        self._latest, self.last = record, record["epoch"]
        if int(record["epoch"] or 0) % self._every == 0 or not self._kept:
            self._kept.append(record)
        if len(self._kept) > MOST_POINTS:
            self._every *= 2
            self._kept = self._kept[::2]

    def records(self, *more: Record | None) -> list[Record]:
        """The epochs that were kept, the last one and `more`, in order."""
        found = {record["epoch"] or 0.0: record for record in [*self._kept, self._latest, *more] if record}
        return [found[epoch] for epoch in sorted(found)]


def gradient_bars(record: Record) -> list[str]:
    """The gradient norms of the layers as bars on a logarithmic scale of three decades."""
    norms = [value for name, value in record.items() if name.startswith("gradient_norm.layers.")]
    known = [value for value in norms if value is not None and value > 0 and math.isfinite(value)]
    if len(known) < 2:
        return []
    return [f"gradient by layer {''.join(bar(value, max(known)) for value in norms)} up to {number(max(known))}"]


def bar(value: float | None, largest: float) -> str:
    """One bar."""
    if value is None or not value > 0 or not math.isfinite(value):
        return "·"
    return BARS[round((len(BARS) - 1) * max(0.0, 1 + math.log10(value / largest) / 3))]


def number_of_rows(count: float) -> str:
    """A count of rows with three digits."""
    return f"{count / 1e6:.1f}M" if count >= 1e6 else f"{count:,.0f}"
