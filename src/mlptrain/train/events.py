"""What does the training loop tell those who watch it?"""

from __future__ import annotations

from dataclasses import dataclass

from mlptrain.train.state import Stopped, Warned

Record = dict[str, float | None]
"""One epoch: a value for each column of metrics.csv."""


@dataclass(frozen=True)
class StepDone:
    """A step was applied; the state is consistent, and this is a good moment to save or to leave."""


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over and measured."""

    record: Record
    improved: bool
    """Whether its weights are the best so far."""
    warnings: tuple[Warned, ...]
    """Diagnoses made for the first time."""


@dataclass(frozen=True)
class TrainingDone:
    """Training is over."""

    reason: Stopped


Event = StepDone | EpochDone | TrainingDone
STEP_DONE = StepDone()
