"""How are the rows of an epoch divided into batches?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
        self.spans = spans(n, batch_size, avoid_single_row)
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

    def rows(self, index: int) -> Indices:
        """(n,): the rows of a batch, as numbers of rows of the file."""
        start, stop = self.spans[index]
        return self._order[start:stop]

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


class MemberBatches:
    """The batches of several members, each of which has its own order of its own rows: arrays (members, n, ...).

    Members with more rows than the others leave some out, others in each epoch.
    """

    def __init__(
        self, parts: Sequence[Part], batch_size: int | None, shuffle: bool, seed: int, avoid_single_row: bool
    ) -> None:
        self._parts, self._shuffle, self._seed = parts, shuffle, seed
        part, n = parts[0], min(len(part) for part in parts)
        self._features, self._targets, self._weights = part.features, part.targets, part.all_weights
        self._same = all(part.features is self._features for part in parts)
        self.spans = spans(n, batch_size, avoid_single_row)
        self._order: Indices = np.stack([part.rows[:n] for part in parts])
        shape = len(parts), max(stop - start for start, stop in self.spans)
        memory: list[NDArray[Any] | None] = [
            np.empty((*shape, part.features.width), part.features.dtype),
            np.empty((*shape, *part.targets.shape[1:]), part.targets.dtype),
            None if self._weights is None else np.empty(shape, self._weights.dtype),
            part.features.byte_buffer(*shape),
        ]
        sizes = {stop - start for start, stop in self.spans}
        # a shorter last batch has memory of its own, since each array must be contiguous
        self._buffers = {
            size: [None if array is None else shortened(array, size) for array in memory] for size in sizes
        }

    def __len__(self) -> int:
        return len(self.spans)

    def begin(self, epoch: int) -> None:
        """Order the rows of each member for `epoch`."""
        if not self._shuffle:
            return
        n = self._order.shape[1]
        for k, part in enumerate(self._parts):
            self._order[k] = part.rows[permutation(self._seed, epoch, len(part), k)][:n]

    def rows(self, index: int) -> Indices:
        """(members, n): the rows of a batch, as numbers of rows of the file."""
        start, stop = self.spans[index]
        return self._order[:, start:stop]

    def gather(self, index: int) -> tuple[Array, Target, Array | None]:
        """Inputs (members, n, width), targets (members, n, ...) and row weights (members, n) of a batch."""
        start, stop = self.spans[index]
        rows = self._order[:, start:stop]
        x, target, weights, scratch = self._buffers[stop - start]
        assert x is not None
        assert target is not None
        if self._same:
            self._features.gather(rows, x, scratch)
        else:
            for part, own_rows, own_x in zip(self._parts, rows, x, strict=True):
                part.features.gather(own_rows, own_x)
        self._targets.take(rows, axis=0, out=target, mode="clip")
        if weights is not None and self._weights is not None:
            self._weights.take(rows, out=weights, mode="clip")
        return x, target, weights


def shortened(array: NDArray[Any], size: int) -> NDArray[Any]:
    """`array` (members, n, ...) if it has `size` rows, else a new one with `size` rows."""
    return array if array.shape[1] == size else np.empty((len(array), size, *array.shape[2:]), array.dtype)


def spans(rows: int, batch_size: int | None, avoid_single_row: bool) -> tuple[tuple[int, int], ...]:
    """Start and stop of each batch of `rows` rows."""
    size = min(batch_size or rows, rows)
    stops = [*range(size, rows, size), rows]
    if avoid_single_row and len(stops) > 1 and rows - stops[-2] == 1:
        del stops[-2]
    return tuple(zip([0, *stops[:-1]], stops, strict=True))
