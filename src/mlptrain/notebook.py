"""How do a run, a model and a training in progress look in a notebook?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from mlptrain.report.charts.training import Losses
from mlptrain.report.drawing import svg
from mlptrain.report.page import table
from mlptrain.report.sheets import metric_sheet
from mlptrain.report.style import COLOURS
from mlptrain.report.text import escaped
from mlptrain.report.verdict import Verdict
from mlptrain.runs.history import Columns
from mlptrain.training.events import Consumer, EpochDone

LABELS = {"train_loss": "training", "validation_loss": "validation"}
STYLE = """<style>.mlptrain{color:var(--text);background:var(--paper);padding:12px 16px;max-width:760px}
.mlptrain table{color:inherit;border-collapse:collapse;font-variant-numeric:tabular-nums}
.mlptrain :is(th,td){padding:2px 16px 2px 0;text-align:left}.mlptrain .n{text-align:right}
.mlptrain svg{width:100%;height:auto;max-width:640px}.mlptrain p{margin:.4em 0}</style>"""
_SHOWN = 40  # columns of a model


class ShownRun(Protocol):
    """What is shown of an `mlptrain.Run`."""

    @property
    def history(self) -> Columns: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...
    @property
    def verdict(self) -> Verdict: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def best_epoch(self) -> int | None: ...


class ShownModel(Protocol):
    """What is shown of an `mlptrain.Model`."""

    @property
    def task(self) -> str: ...
    @property
    def targets(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def classes(self) -> NDArray[Any] | None: ...
    @property
    def sizes(self) -> tuple[int, ...]: ...
    @property
    def members(self) -> int: ...


def framed(*parts: str) -> str:
    """HTML in a frame with the colours of a report, light or dark."""
    return f'<style>{COLOURS.replace(":root", ".mlptrain")}</style>{STYLE}<div class="mlptrain">{"".join(parts)}</div>'


def html_of_run(run: ShownRun) -> str:
    """The verdict on a run, its results and its curves."""
    said = [run.verdict.ended, run.verdict.quality, run.verdict.fit]
    advice = [
        f"<li>{escaped(one.why)}: <code>{escaped(', '.join(one.changes))}</code></li>" for one in run.verdict.advice
    ]
    tried = f"<p>To try next:</p><ul>{''.join(advice)}</ul>" if advice else ""
    place = f"<p><code>{escaped(run.folder)}</code></p>" if run.folder is not None else ""
    figures, curves = metric_sheet(run.summary), html_of_curves(run.history, run.best_epoch)
    text = "".join(f"<p>{escaped(sentence)}</p>" for sentence in said if sentence)
    return framed(text, curves, "" if figures is None else table(figures), tried, place)


def html_of_curves(history: Columns, best: int | None = None) -> str:
    """The curves of the losses as SVG; empty before the first epoch."""
    found = Losses.found(history, LABELS, best)
    return "" if found is None else svg(found)


def html_of_model(model: ShownModel) -> str:
    """What a model predicts, and from what."""
    classes = "" if model.classes is None else f": {', '.join(map(str, model.classes[:_SHOWN]))}"
    names = ", ".join(model.inputs[:_SHOWN]) + (", ..." if len(model.inputs) > _SHOWN else "")
    sizes = "-".join(map(str, model.sizes))
    networks = f"{model.members} networks" if model.members > 1 else "a network"
    lines = [
        f"<b>{escaped(model.task)}</b> of {escaped(', '.join(model.targets))}{escaped(classes)}",
        f"from {len(model.inputs)} columns: {escaped(names)}",
        f"with {networks} {escaped(sizes)}",
    ]
    return framed(*(f"<p>{line}</p>" for line in lines))


class LiveCurve(Consumer):
    """Draws the curves of the losses in a notebook while a network is trained: `fit(..., consumers=[LiveCurve()])`.

    `seconds` is the least time between two drawings. Raises `EnvironmentFault` where IPython is not installed.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._display = display_function()
        self._seconds, self._drawn = seconds, -float("inf")
        self._handle: Any = None
        self._history: Columns = {}
        self._best: int | None = None

    def epoch(self, event: EpochDone) -> None:
        for name, value in event.record.items():
            self._history.setdefault(name, []).append(value)
        if event.improved:
            self._best = int(event.record["epoch"] or 0)
        if time.monotonic() - self._drawn >= self._seconds:
            self._draw()

    def close(self) -> None:
        """Draw the curves to their end."""
        self._draw()

    def _draw(self) -> None:
        shown = {"text/html": framed(html_of_curves(self._history, self._best))}
        if self._handle is None:
            self._handle = self._display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)
        self._drawn = time.monotonic()


def display_function() -> Any:
    """What shows a picture in a notebook."""
    from mlptrain.errors import EnvironmentFault

    try:
        from IPython.display import display
    except ImportError as error:
        raise EnvironmentFault("a live curve is for notebooks, and needs IPython: pip install ipython") from error
    return display
