"""What happened in the last steps before training diverged?"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from pathlib import Path

from mlptrain.errors import CheckpointError, Diverged, EnvironmentFault
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import Columns, line
from mlptrain.training.events import Consumer, StepDone

KEPT = 200
"""Steps that are remembered."""
COLUMNS = ("step", "loss", "learning_rate", "gradient_norm")
FILE = "divergence.csv"


class FlightRecorder(Consumer):
    """Remembers the last steps, and writes them to divergence.csv if training diverges."""

    def __init__(self, folder: Path, step: int) -> None:
        """Start after `step` steps, with what is known of them where an earlier try diverged too."""
        self._path = folder / FILE
        self._earlier: list[tuple[float | None, ...]] = []
        with contextlib.suppress(CheckpointError, EnvironmentFault):
            known = zip(*(last_steps(folder) or {}).values(), strict=True)
            self._earlier = [row for row in known if (row[0] or 0) <= step]
        self._steps: deque[tuple[int, float, float, float]] = deque(maxlen=KEPT)

    def step(self, event: StepDone) -> None:
        self._steps.append((event.step, event.loss, event.learning_rate, event.squared_norm))

    def failed(self, error: Diverged) -> None:
        steps = [(step, loss, rate, math.sqrt(square)) for step, loss, rate, square in self._steps]
        rows = [line(COLUMNS, row) for row in [*self._earlier, *steps][-KEPT:]]
        write_durably(self._path, (",".join(COLUMNS) + "\n" + "".join(rows)).encode())


def last_steps(folder: Path) -> Columns | None:
    """The last steps before a divergence by column; None if there are none."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        head, *rows = path.read_text(encoding="utf8").splitlines()
        values = [[float(cell) for cell in row.split(",")] for row in rows]
        if head.split(",") != list(COLUMNS) or any(len(row) != len(COLUMNS) for row in values):
            raise ValueError("it has other columns")
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: is damaged: {error}") from error
    return {name: [row[i] for row in values] for i, name in enumerate(COLUMNS)} if values else None
