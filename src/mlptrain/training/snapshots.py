"""What were the weights in the course of training?"""

from __future__ import annotations

from typing import NamedTuple

from mlptrain.nn.arrays import Array
from mlptrain.training.events import Consumer, EpochDone
from mlptrain.training.state import TrainState

MOST = 4096
"""Snapshots that are kept: of every epoch, of every second, of every fourth, ... of a long run."""
MOST_NUMBERS = 20_000_000
"""Numbers in all snapshots together."""


class Snapshot(NamedTuple):
    """The weights after some epochs; those of the start after none."""

    epochs: int
    parameters: Array
    buffers: Array


class Snapshots(Consumer):
    """Keeps the weights at the start and after each epoch, or after fewer of them where there are many."""

    def __init__(self, state: TrainState) -> None:
        self._state, self._every, self._epochs = state, 1, 0
        self._most = max(8, min(MOST, MOST_NUMBERS // max(1, len(state.parameters))))
        self._kept = [self._now()]
        self._last = self._kept[0]

    def epoch(self, event: EpochDone) -> None:
        """Keep the weights of the epoch, and every second of those before if there are too many."""
        self._epochs += 1
        self._last = self._now()
        if self._epochs % self._every == 0:
            self._kept.append(self._last)
        if len(self._kept) > self._most:
            self._kept, self._every = self._kept[::2], 2 * self._every

    @property
    def kept(self) -> list[Snapshot]:
        """The snapshots in the order of training, the first and the last weights among them."""
        return self._kept if self._kept[-1].epochs == self._last.epochs else [*self._kept, self._last]

    def _now(self) -> Snapshot:
        return Snapshot(self._epochs, *(vector.copy() for vector in self._state.evaluated))
