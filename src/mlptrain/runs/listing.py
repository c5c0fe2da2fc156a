"""Which runs are in a folder, and how good are they?"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from mlptrain.component import did_you_mean
from mlptrain.errors import CheckpointError, EnvironmentFault, MlptrainError, UsageError
from mlptrain.metrics import Metrics, higher_is_better
from mlptrain.runs.directory import RUNS, RunFolder
from mlptrain.runs.history import read_history

LATEST = Path("latest")
"""Stands for the newest run under runs/."""


class Listed(NamedTuple):
    """A run, as far as its folder tells."""

    path: Path
    state: str
    """How training ended (epochs, early_stopping, diverged), or `unfinished`, or `damaged`."""
    epochs: int | None
    best_epoch: int | None
    part: str | None
    """The rows that `metrics` are about: test, validation or train."""
    metrics: Metrics
    began: datetime

    def document(self) -> dict[str, Any]:
        """As JSON."""
        began = self.began.isoformat(timespec="seconds")
        return {"run": str(self.path)} | self._asdict() | {"path": str(self.path), "began": began}


def listed(folder: Path = RUNS) -> list[Listed]:
    """The runs in `folder`, the newest first."""
    try:
        paths = [path for path in folder.iterdir() if (path / "spec.yaml").is_file()]
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: no such folder; mlptrain fit writes its runs to {RUNS}") from error
    except OSError as error:
        raise EnvironmentFault(f"{folder}: cannot be read: {error.strerror}") from error
    found = [read(RunFolder(path)) for path in paths]
    return sorted(found, key=lambda run: (run.began, run.path.name), reverse=True)


def read(folder: RunFolder) -> Listed:
    """What the files of a run tell about it."""
    began = datetime.fromtimestamp(folder.spec.stat().st_mtime)
    try:
        if folder.summary.exists():
            found = folder.read_summary()
            part = found["baseline_part"] or None
            metrics = found["results"].get(part, {})
            return Listed(folder.path, found["stopped"], found["epochs"], found["best_epoch"], part, metrics, began)
        epochs = 0
        with contextlib.suppress(CheckpointError):  # it has no history yet
            epochs = len(read_history(folder.path)["epoch"])
        return Listed(folder.path, "unfinished", epochs, None, None, {}, began)
    except (MlptrainError, KeyError, AttributeError, TypeError):
        return Listed(folder.path, "damaged", None, None, None, {}, began)


def best_first(runs: Iterable[Listed], metric: str) -> list[Listed]:
    """`runs` with the best value of `metric` first, and at the end those without one."""
    runs = list(runs)
    names = {name: None for run in runs for name in run.metrics}
    if runs and metric not in names:
        hint = did_you_mean(metric, names) or f"they have {', '.join(names) or 'none yet'}"
        raise UsageError(f"--sort {metric}: no run has such a metric; {hint}")
    sign = -1.0 if higher_is_better(metric) else 1.0

    def cost(run: Listed) -> float:
        value = run.metrics.get(metric)
        return math.inf if value is None else sign * value

    return sorted(runs, key=cost)


def resolved(path: Path) -> Path:
    """`path`, or the newest run under runs/ for `latest`."""
    if path != LATEST or path.exists():
        return path
    runs = listed() if RUNS.is_dir() else []
    if not runs:
        raise CheckpointError(f"{LATEST}: there is no run under {RUNS}/ yet")
    return runs[0].path
