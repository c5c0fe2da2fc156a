"""How does the learning rate change as training goes on?

A schedule is a closed-form factor of the epoch, counted from 0: the rate of an epoch is the optimizer's learning rate
times the factor. Nothing is remembered from one epoch to the next, so a resumed run cannot drift.
"""

from __future__ import annotations

from abc import abstractmethod
from math import cos, pi
from typing import Literal

from pydantic import Field

from mlptrain.component import Component


class Schedule(Component):
    """A factor for the learning rate; with `warmup` W, epochs e < W get (e + 1) / W first, so that none is zero."""

    warmup: int = Field(0, ge=0, description="Epochs over which the rate rises linearly to its full value.")

    def at(self, epoch: int, epochs: int) -> float:
        """The factor in `epoch` (from 0) of a run of `epochs`."""
        if epoch < self.warmup:
            return (epoch + 1) / self.warmup
        return self.factor(epoch - self.warmup, max(1, epochs - self.warmup))

    @abstractmethod
    def factor(self, epoch: int, epochs: int) -> float:
        """The factor after the warm-up, whose end is epoch 0 here."""


class Constant(Schedule):
    """The same rate throughout."""

    kind: Literal["constant"] = "constant"

    def factor(self, epoch: int, epochs: int) -> float:
        return 1.0


class Cosine(Schedule):
    """Half a cosine from 1 down to `floor`: floor + (1 - floor) (1 + cos(pi e / epochs)) / 2.

    Loshchilov & Hutter 2017. Stays at the floor after the last epoch, where PyTorch's rises again.
    """

    kind: Literal["cosine"] = "cosine"
    floor: float = Field(0.0, ge=0, le=1, description="Where the factor ends.")

    def factor(self, epoch: int, epochs: int) -> float:
        progress = min(epoch / epochs, 1.0)
        return self.floor + (1 - self.floor) * (1 + cos(pi * progress)) / 2
