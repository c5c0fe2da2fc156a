"""In which pieces do the rows of an epoch come?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.dataset import Part
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.randomness import permutation

Views = tuple[Array, Target, Array | None, NDArray[np.uint8] | None]


class Batches:
    """The batches of one part, gathered one after the other into the same two buffers.

    Batch sizes differ by the last one alone. With `pairs`, a last batch of one row joins the batch before it, since
    batch statistics need two rows. An epoch of a single batch is gathered once and keeps the order of the file:
    no sum over all rows depends on it.
    """

    def __init__(self, part: Part, batch_size: int | None, shuffle: bool, seed: int, pairs: bool) -> None:
        self._part, self._seed = part, seed
        n = len(part)
        size = min(batch_size or n, n)
        stops = [*range(size, n, size), n]
        if pairs and len(stops) > 1 and n - stops[-2] == 1:
            del stops[-2]
        self.spans = tuple(zip([0, *stops[:-1]], stops, strict=True))
        self._shuffled = shuffle and len(self.spans) > 1
        self._order: Indices = part.rows
        largest = max(stop - start for start, stop in self.spans)
        self._x = np.empty((largest, part.features.width), part.features.dtype)
        self._target = np.empty((largest, *part.targets.shape[1:]), part.targets.dtype)
        self._bytes: NDArray[np.uint8] | None = part.features.byte_buffer(largest)
        self._weights = None if part.all_weights is None else np.empty(largest, part.all_weights.dtype)
        self._views = {stop - start: self._cut(stop - start) for start, stop in self.spans}
        if len(self.spans) == 1:
            self._fill(part.rows, *self._views[n])

    def __len__(self) -> int:
        return len(self.spans)

    def begin(self, epoch: int) -> None:
        """Put the rows in the order of `epoch`."""
        if self._shuffled:
            self._order = self._part.rows[permutation(self._seed, epoch, len(self._part))]

    def gather(self, index: int) -> tuple[Array, Target, Array | None]:
        """Inputs (n, width), targets (n, ...) and row weights (n,) of a batch, in buffers that are used again."""
        start, stop = self.spans[index]
        x, target, weights, room = self._views[stop - start]
        if len(self.spans) > 1:
            self._fill(self._order[start:stop], x, target, weights, room)
        return x, target, weights

    def _cut(self, n: int) -> Views:
        weights = None if self._weights is None else self._weights[:n]
        return self._x[:n], self._target[:n], weights, None if self._bytes is None else self._bytes[:n]

    def _fill(
        self, rows: Indices, x: Array, target: Target, weights: Array | None, room: NDArray[np.uint8] | None
    ) -> None:
        self._part.features.gather(rows, x, room)
        if weights is not None and self._part.all_weights is not None:
            self._part.all_weights.take(rows, out=weights, mode="clip")
        self._part.targets.take(rows, axis=0, out=target, mode="clip")
