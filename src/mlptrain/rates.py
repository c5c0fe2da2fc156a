"""Which learning rate suits a network? The range test of Smith 2017.

The network is trained for some steps while the rate rises exponentially, on a copy that is thrown away. The loss is
flat where the rate is too small, falls where it suits, and grows where it is too large. What is suggested is the rate
at which the smoothed loss has fallen by nine tenths of its fall, but at most a tenth of the one with the lowest loss,
where the steps are about to be too long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mlptrain.dataset import Dataset
from mlptrain.errors import Diverged
from mlptrain.nn.threads import blas_threads
from mlptrain.spec.plan import Plan
from mlptrain.training.diagnostics import lowest_loss
from mlptrain.training.loop import Loop, network_for, start

LOW, HIGH, STEPS = 1e-6, 10.0, 200
"""The first and the last rate, and the steps from one to the other."""
SMOOTHING = 0.9
"""Of the exponential moving average of the loss."""
LEAST_FALL = 0.02
"""The share of the reducible loss by which it must fall for a rate to be suggested."""
MOST = 0.9
"""The share of its fall after which a rate is large enough."""
BELOW_LOWEST = 10.0
"""By how much a suggested rate is smaller than the one with the lowest loss, at least."""


@dataclass(frozen=True)
class RangeTest:
    """The loss over the rate."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    """Of each batch, before the step."""
    smoothed: tuple[float, ...]
    stopped: Literal["all rates", "grown", "diverged"]
    """Why it ended: at the last rate, when the loss had grown by as much as it could fall, or was not finite."""
    reducible: float
    """The loss at the start above the lowest one that is possible."""

    @property
    def lowest(self) -> int:
        """The place of the lowest smoothed loss."""
        return int(np.argmin(self.smoothed))

    @property
    def level(self) -> float:
        """The smoothed loss of the smallest rates, which change nothing."""
        return float(np.median(self.smoothed[: max(1, len(self.smoothed) // 10)]))

    @property
    def fallen(self) -> int:
        """The place where the smoothed loss has made most of its way down, from its level to the lowest point."""
        bound = self.level - MOST * (self.level - self.smoothed[self.lowest])
        return next((i for i, loss in enumerate(self.smoothed) if loss <= bound), self.lowest)

    @property
    def suggested(self) -> float | None:
        """A learning rate with two digits; None if no rate lowered the loss."""
        fall = self.level - self.smoothed[self.lowest]
        if not fall > LEAST_FALL * self.reducible:
            return None
        return float(f"{min(self.rates[self.fallen], self.rates[self.lowest] / BELOW_LOWEST):.1e}")


def rates(low: float = LOW, high: float = HIGH, steps: int = STEPS) -> list[float]:
    """Rates from `low` to `high`, each the same multiple of the one before it."""
    return [low * (high / low) ** (i / (steps - 1)) for i in range(steps)]


@np.errstate(all="ignore")  # an overflow gives a loss that is not finite, which is checked
def range_test(plan: Plan, dataset: Dataset) -> RangeTest:
    """Train a copy of the network of `plan` at rising rates, for as long as the loss is not too large.

    Raises `Diverged` if the loss is not finite from the start.
    """
    network = network_for(plan)
    reducible = 0.0
    found: list[tuple[float, float, float]] = []
    stopped: Literal["all rates", "grown", "diverged"] = "all rates"
    mean = 0.0
    with blas_threads(plan.blas_threads):
        try:
            for i, (rate, loss) in enumerate(losses(plan, dataset)):
                if not i:
                    reducible = abs(loss - lowest_loss(network, dataset.training))
                mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
                found.append((rate, loss, mean / (1 - SMOOTHING ** (i + 1))))
                if found[-1][2] > found[0][2] + reducible:
                    stopped = "grown"
                    break
        except Diverged:
            if not found:
                raise
            stopped = "diverged"
    tried, seen, smoothed = (tuple(column) for column in zip(*found, strict=True))
    return RangeTest(tried, seen, smoothed, stopped, reducible)


def losses(plan: Plan, dataset: Dataset) -> Iterator[tuple[float, float]]:
    """Each rate with the loss of a batch before the step at this rate."""
    network = network_for(plan)
    state = start(plan, network, dataset)
    loop = Loop(plan, network, state, dataset)
    for i, rate in enumerate(rates()):
        epoch, batch = divmod(i, len(loop.batches))
        if not batch:
            loop.batches.begin(epoch)
        x, target, weights = loop.batches.gather(batch)
        yield rate, loop.step(x, target, rate, weights)
        state.progress.step += 1
