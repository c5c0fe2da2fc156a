"""What does the training loop tell those who watch it?

The loop yields events. A consumer takes them in: the console, the history, the checkpoints, or a tracker of your own.

    class Printer(Consumer):
        def epoch(self, event):
            print(event.record["train_loss"])
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mlptrain.errors import Diverged
from mlptrain.train.state import Diagnosed, Stopped

Record = dict[str, float | None]
"""One epoch: a value for each column of metrics.csv."""


@dataclass(slots=True)
class StepDone:
    """A step was applied; the state is consistent, and this is a good moment to save or to leave.

    The loop uses one object for all steps: take the figures out of it, do not keep it.
    """

    step: int = 0
    """The number of the step, from 1."""
    loss: float = math.nan
    """Of the batch, before the update."""
    learning_rate: float = math.nan
    squared_norm: float = math.nan
    """Of the gradient with penalties, before clipping."""

    @property
    def gradient_norm(self) -> float:
        """The norm of the gradient with penalties, before clipping."""
        return math.sqrt(self.squared_norm)


@dataclass(frozen=True)
class EpochDone:
    """An epoch is over and measured."""

    record: Record
    improved: bool
    """Whether its weights are the best so far."""
    diagnoses: tuple[Diagnosed, ...]
    """Those that were made for the first time."""


@dataclass(frozen=True)
class TrainingDone:
    """Training is over."""

    reason: Stopped


Event = StepDone | EpochDone | TrainingDone


class Consumer:
    """Takes in the events of a run. A subclass overrides the methods of the events that it wants."""

    def step(self, event: StepDone) -> None:
        """After each step; called so often that it must be quick."""

    def epoch(self, event: EpochDone) -> None:
        """After each epoch."""

    def done(self, event: TrainingDone) -> None:
        """After the last epoch."""

    def failed(self, error: Diverged) -> None:
        """When training diverged; the step that failed was not applied."""

    def close(self) -> None:
        """At the end, however it came."""


@np.errstate(all="ignore")  # an overflow in training is found and told by the step, not by a warning
def feed(events: Iterable[Event], consumers: Sequence[Consumer]) -> None:
    """Hand each event to each of `consumers`, in their order; close all of them at the end."""
    on_step = [consumer.step for consumer in consumers if type(consumer).step is not Consumer.step]
    try:
        for event in events:
            if type(event) is StepDone:
                for take in on_step:
                    take(event)
            else:
                hand_out(event, consumers)
    except Diverged as error:
        for consumer in consumers:
            consumer.failed(error)
        raise
    finally:
        for consumer in consumers:
            consumer.close()


def hand_out(event: Event, consumers: Sequence[Consumer]) -> None:
    """Hand an event that is not of a step to each of `consumers`."""
    for consumer in consumers:
        if isinstance(event, EpochDone):
            consumer.epoch(event)
        elif isinstance(event, TrainingDone):
            consumer.done(event)
