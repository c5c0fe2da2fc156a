"""Which random numbers belong to which purpose?

There is no global generator. Every purpose has a stream of its own, derived from the seed of the run by a fixed number,
so that using more of one never shifts another, and an option that draws nothing changes nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mlptrain.nn.arrays import Indices

Purpose = Literal["split", "init", "shuffle", "dropout", "gradcheck", "baseline"]
_NUMBERS: dict[Purpose, int] = {
    "split": 1,
    "init": 2,
    "shuffle": 3,
    "dropout": 4,
    "gradcheck": 5,
    "baseline": 6,
}
_DRAWS_PER_STEP = 1 << 64


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """A new generator for `purpose`; `index` tells its repetitions apart, such as the epochs of a shuffle."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_NUMBERS[purpose], index))))


def draw_seed() -> int:
    """A seed for a run that leaves it to chance: 63 bits of entropy of the operating system."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1


class DropoutStream:
    """The generator of dropout masks, placed anew for each step by arithmetic.

    The numbers of a step depend on the seed and the step alone. Nothing has to be stored for a resumed run to draw the
    same masks, and no generator is made in the training step.
    """

    def __init__(self, seed: int) -> None:
        self._generator = stream(seed, "dropout")
        self._bits: Any = self._generator.bit_generator
        self._origin = self._bits.state

    def at(self, step: int) -> np.random.Generator:
        """The generator at the first number of `step`."""
        self._bits.state = self._origin
        self._bits.advance(step * _DRAWS_PER_STEP)
        return self._generator


def permutation(seed: int, epoch: int, rows: int) -> Indices:
    """The order of the rows in `epoch`."""
    order = np.arange(rows, dtype=np.intp)
    stream(seed, "shuffle", epoch).shuffle(order)
    return order
