"""How does an input that is learned from the target stay honest on training rows? Each row is told by other rows only.

The training rows are divided into parts, and a row is told by the rows of the other parts: its own target is never
among them. Rows of validation and of the test are told by all training rows, as new rows are.

With an ensemble on folds, each member has such inputs of its own, from the rows that it is trained on. It would not do
to leave out only the fold of a row: a network that knows the category sees in its input, which is what all folds but
one say, what that one must say, and predicts the rows that it is validated on from their own targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlptrain.data.columns import Column
from mlptrain.data.encoders.base import Answers, Encoder, Writer
from mlptrain.data.scalers import Values
from mlptrain.data.split import Rows, in_order_of_file
from mlptrain.data.tables import Table
from mlptrain.nn.arrays import Indices

PARTS_ALONE = 5
"""Parts of the training rows where the members have no folds."""
_BLOCK = 16384  # rows that are written at a time
_MOST_PARTS = 10  # more folds are put together, since the encoders learn from each of them


class Lessons(NamedTuple):
    """Encoders that learn from the target, and what they learn from."""

    pairs: tuple[tuple[Encoder, Column], ...]
    places: Indices
    """The place of each learned input among all inputs."""
    table: Table
    answers: Answers

    def out_of_fold(self, folds: Sequence[Rows]) -> Values:
        """The learned inputs (rows, places): of the rows of a fold as the other folds tell them, else as all do."""
        parts = [np.concatenate(folds[k::_MOST_PARTS]) for k in range(min(len(folds), _MOST_PARTS))]
        found = self._told_by(np.concatenate(parts))
        for k, part in enumerate(parts):
            others = parts[:k] + parts[k + 1 :]
            found[part] = self._told_by(np.concatenate(others) if others else part[:0])[part]
        return found

    def _told_by(self, rows: Rows) -> Values:
        """The learned inputs of every row, from the target of these `rows`."""
        found, start = np.empty((self.table.rows, len(self.places))), 0
        for encoder, column in self.pairs:
            taught = encoder.learn(column, in_order_of_file(rows), self.answers)
            stop = start + taught.learned
            write_last(taught.writer(column, self.table), taught.width, found[:, start:stop])
            start = stop
        return found


def write_last(writer: Writer, width: int, out: Values) -> None:
    """Write the last of `width` inputs of every row into `out` (rows, some of them)."""
    block = np.empty((min(_BLOCK, len(out)), width))
    for start in range(0, len(out), _BLOCK):
        span = slice(start, start + _BLOCK)
        inputs = block[: len(out[span])]
        writer.write(span, inputs)
        out[span] = inputs[:, width - out.shape[1] :]
