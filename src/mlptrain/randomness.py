"""Which random numbers does each purpose use?

There is no global generator. Every purpose has its own stream, derived from the seed of the run and a fixed number, so
that drawing more numbers from one stream never changes another.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from mlptrain.nn.arrays import Indices

Purpose = Literal[
    "split",
    "init",
    "shuffle",
    "dropout",
    "gradcheck",
    "folds",
    "linear",
    "intervals",
    "report",
    "inspect",
    "comparison",
    "contributions",
    "export",
]
_NUMBERS: dict[Purpose, int] = {
    "split": 1,
    "init": 2,
    "shuffle": 3,
    "dropout": 4,
    "gradcheck": 5,
    "folds": 6,
    "linear": 7,
    "intervals": 8,
    "report": 9,
    "inspect": 11,
    "comparison": 12,
    "contributions": 13,
    "export": 31,
}
_DRAWS_PER_STEP = 1 << 64


def sequence(seed: int, purpose: Purpose, index: int) -> np.random.SeedSequence:
    """The seed sequence of a stream."""
    return np.random.SeedSequence(seed, spawn_key=(_NUMBERS[purpose], index))


def stream(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """A new generator for `purpose`; `index` distinguishes repetitions, such as the epochs of a shuffle."""
    return np.random.Generator(np.random.PCG64(sequence(seed, purpose, index)))


def draw_seed() -> int:
    """A random seed: 63 bits of entropy from the operating system."""
    return int(np.random.SeedSequence().generate_state(1, np.uint64)[0]) >> 1


class DropoutStream:
    """The generator of dropout masks, advanced to a separate position for each step.

    The numbers of a step depend only on the seed and the step, so that a resumed run draws the same masks without
    stored state, and no generator is created in the training step. The positions are 2^64 numbers apart. With PCG64,
    sequences at such a distance are correlated; with the output function of PCG64DXSM they are not.
    """

    def __init__(self, seed: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64DXSM(sequence(seed, "dropout", 0)))
        self._bits: Any = self._generator.bit_generator
        self._start = self._bits.state

    def at(self, step: int) -> np.random.Generator:
        """The generator at the first number of `step`."""
        self._bits.state = self._start
        self._bits.advance(step * _DRAWS_PER_STEP)
        return self._generator


def permutation(seed: int, epoch: int, rows: int, member: int = 0) -> Indices:
    """The order of the rows in `epoch` for a member of an ensemble."""
    order = np.arange(rows, dtype=np.intp)
    stream(seed, "shuffle", epoch + (member << 32)).shuffle(order)
    return order
