"""How are the rows of an epoch divided into batches?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlptrain.dataset import Part
from mlptrain.nn.arrays import Array, Indices, Target
from mlptrain.randomness import permutation

Views = tuple[Array, Target, Array | None, NDArray[np.uint8] | None]


class Batches:
    """The batches of one part, gathered in turn into the same buffers.

    Only the last batch may have a different size. With `avoid_single_row`, a last batch of one row is merged into the
    batch before it, since batch statistics need two rows. If one batch holds all rows, it is gathered once, in the
    order of the file: no sum over all rows depends on the order.
    """

    def __init__(self, part: Part, batch_size: int | None, shuffle: bool, seed: int, avoid_single_row: bool) -> None:
        self._part, self._seed = part, seed
        n = len(part)
        size = min(batch_size or n, n)
        stops = [*range(size, n, size), n]
        if avoid_single_row and len(stops) > 1 and n - stops[-2] == 1:
            del stops[-2]
        self.spans = tuple(zip([0, *stops[:-1]], stops, strict=True))
        self._shuffled = shuffle and len(self.spans) > 1
        self._order: Indices = part.rows
        largest = max(stop - start for start, stop in self.spans)
        self._x = np.empty((largest, part.features.width), part.features.dtype)
        self._target = np.empty((largest, *part.targets.shape[1:]), part.targets.dtype)
        self._bytes: NDArray[np.uint8] | None = part.features.byte_buffer(largest)
        self._weights = None if part.all_weights is None else np.empty(largest, part.all_weights.dtype)
        self._views = {stop - start: self._first_rows(stop - start) for start, stop in self.spans}
        if len(self.spans) == 1:
            self._fill(part.rows, *self._views[n])

    def __len__(self) -> int:
        return len(self.spans)

    def begin(self, epoch: int) -> None:
        """Order the rows for `epoch`."""
        if self._shuffled:
            self._order = self._part.rows[permutation(self._seed, epoch, len(self._part))]

    def gather(self, index: int) -> tuple[Array, Target, Array | None]:
        """Inputs (n, width), targets (n, ...) and row weights (n,) of a batch, in reused buffers."""
        start, stop = self.spans[index]
        x, target, weights, scratch = self._views[stop - start]
        if len(self.spans) > 1:
            self._fill(self._order[start:stop], x, target, weights, scratch)
        return x, target, weights

    def _first_rows(self, n: int) -> Views:
        weights = None if self._weights is None else self._weights[:n]
        return self._x[:n], self._target[:n], weights, None if self._bytes is None else self._bytes[:n]

    def _fill(
        self, rows: Indices, x: Array, target: Target, weights: Array | None, scratch: NDArray[np.uint8] | None
    ) -> None:
        self._part.features.gather(rows, x, scratch)
        if weights is not None and self._part.all_weights is not None:
            self._part.all_weights.take(rows, out=weights, mode="clip")
        self._part.targets.take(rows, axis=0, out=target, mode="clip")
