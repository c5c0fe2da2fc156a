"""Components of somebody's own, for tests: a schedule by steps, an optimizer by layer, a diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np

from mlptrain.nn.arrays import Array
from mlptrain.optim.optimizers import TensorOptimizer
from mlptrain.optim.schedules import Schedule, ScheduleState
from mlptrain.training.diagnostics import Diagnosis, Moment, Seen


class Wave(Schedule):
    """Every other step at half the rate."""

    kind: Literal["wave"] = "wave"

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return 0.5 if step % 2 else 1.0


class Lars(TensorOptimizer):
    """Each tensor moves by a share of its own norm."""

    kind: Literal["lars"] = "lars"

    @property
    def slots(self) -> tuple[str, ...]:
        return ("last",)

    def update(self, w: Array, g: Array, slots: Sequence[Array], scratch: Array, lr: float, t: int) -> None:
        size, slope = np.linalg.norm(w), np.linalg.norm(g)
        np.multiply(g, lr * (size / slope if size and slope else 1.0), out=slots[0])
        np.subtract(w, slots[0], out=w)


class TooQuick(Diagnosis):
    """Needs the trend of a column that no other diagnosis looks at."""

    kind: Literal["too_quick"] = "too_quick"
    columns: ClassVar = ("validation_accuracy",)

    def after_epoch(self, seen: Seen) -> str | None:
        recent = seen.trends["validation_accuracy"].recent
        return f"accuracy {max(recent):.0%} already" if len(recent) == 2 else None

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield "celebrate"
