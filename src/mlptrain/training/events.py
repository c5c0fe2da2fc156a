"""Which events does the training loop yield?

Consumers receive them: the console, the history, the checkpoints, the profile, or your own tracker.

    class Printer(Consumer):
        def epoch(self, event):
            print(event.record["train_loss"])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlptrain.errors import Diverged
from mlptrain.training.state import Diagnosed, Stopped

Record = dict[str, float | None]
"""One epoch: a value for each column of metrics.csv."""


@dataclass(slots=True)
class StepDone:
    """A step was applied; the state is consistent and may be saved.

    The loop reuses one object for all steps: copy values from it, do not keep it.
    """

    step: int = 0
    """The number of the step, counted from 1."""
    loss: float = math.nan
    """The loss of the batch before the update."""
    learning_rate: float = math.nan
    squared_norm: float = math.nan
    """The squared norm of the gradient, with penalties, before clipping."""

    @property
    def gradient_norm(self) -> float:
        """The norm of the gradient, with penalties, before clipping."""
        return math.sqrt(self.squared_norm)


class EpochDone(NamedTuple):
    """An epoch has ended and was measured."""

    record: Record
    improved: bool
    """Whether its weights are the best so far."""
    diagnoses: tuple[Diagnosed, ...]
    """The new diagnoses."""


class TrainingDone(NamedTuple):
    """Training has ended."""

    reason: Stopped


Event = StepDone | EpochDone | TrainingDone
PartDone = Callable[[str, int], None]
"""Called as `Consumer.part` is."""


class Consumer:
    """Receives the events of a run. A subclass overrides the methods of the events that it needs."""

    def part(self, name: str, layer: int) -> None:
        """Called after each part of a step, and of the work around the steps; only where a consumer overrides it.

        `layer` is 0 for a part without layers. The arrays of the step are as this part has left them: the profile reads
        the clock, `explain` copies them.
        """

    def step(self, event: StepDone) -> None:
        """Called after each step; must be fast."""

    def epoch(self, event: EpochDone) -> None:
        """Called after each epoch."""

    def done(self, event: TrainingDone) -> None:
        """Called after the last epoch."""

    def failed(self, error: Diverged) -> None:
        """Called when training diverged; the failed step was not applied."""

    def close(self) -> None:
        """Called at the end in any case."""


def part_listener(consumers: Sequence[Consumer]) -> PartDone | None:
    """What to call after each part of a step; None if no consumer overrides `part`, so that nothing is called."""
    listening = [consumer.part for consumer in consumers if type(consumer).part is not Consumer.part]
    if len(listening) < 2:
        return listening[0] if listening else None

    def tell_all(name: str, layer: int) -> None:
        for call in listening:
            call(name, layer)

    return tell_all


@np.errstate(all="ignore")  # an overflow in training is found and told by the step, not by a warning
def feed(events: Iterable[Event], consumers: Sequence[Consumer]) -> None:
    """Pass each event to each of `consumers`, in order; close all of them at the end."""
    on_step = [consumer.step for consumer in consumers if type(consumer).step is not Consumer.step]
    try:
        for event in events:
            if type(event) is StepDone:
                for call in on_step:
                    call(event)
            else:
                dispatch(event, consumers)
    except Diverged as error:
        for consumer in consumers:
            consumer.failed(error)
        raise
    finally:
        for consumer in consumers:
            consumer.close()


def dispatch(event: Event, consumers: Sequence[Consumer]) -> None:
    """Pass an event other than a step to each of `consumers`."""
    for consumer in consumers:
        if isinstance(event, EpochDone):
            consumer.epoch(event)
        elif isinstance(event, TrainingDone):
            consumer.done(event)
