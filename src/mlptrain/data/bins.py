"""Between which edges do the bins of a column of numbers lie, and how far is a number through each of them?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.scalers import Values

MOST_INPUTS = 768  # of all columns together, where the number of bins is chosen automatically
MOST_COLUMNS = 200  # with more columns of numbers, none has bins then
_FEWEST, _MOST, _ROWS_PER_BIN = 4, 32, 100
_LEAST_SPAN = 1e-290  # of half the range, and its inverse the largest: beyond, a share is no number
_MANY = 10_000  # values from which on frequent ones are edges; with fewer, finer bins beside them are noise
_NARROWEST = 1e-9  # of the range; a narrower bin is merged with its neighbour


def automatic_bins(rows: int, columns: int) -> int | None:
    """The number of bins for each of `columns` columns in `rows` training rows; None for no bins.

    >>> automatic_bins(1000, 5), automatic_bins(10**6, 5), automatic_bins(10**6, 100), automatic_bins(1000, 300)
    (10, 32, 7, None)
    """
    if not 0 < columns <= MOST_COLUMNS:
        return None
    return min(max(rows // _ROWS_PER_BIN, _FEWEST), _MOST, max(2, MOST_INPUTS // columns))


def bin_edges(values: Values, bins: int) -> Values:
    """The increasing edges of at most `bins` bins for training `values` (n,).

    Where there are few distinct values, they are the edges themselves. No edges where there are no more than two.
    Otherwise the edges are quantiles. Of many values, one that is as frequent as a bin, such as the zeros of an amount,
    is an edge, and the others are quantiles of the remaining values: quantiles of all values would coincide there.

    >>> bin_edges(np.array([1.0, 2.0, 2.0, 5.0]), 8), bin_edges(np.arange(9.0), 2), bin_edges(np.array([0.0, 1.0]), 4)
    (array([1., 2., 5.]), array([0., 4., 8.]), array([], dtype=float64))
    """
    ordered = np.sort(values)
    distinct = ordered[np.append(True, ordered[1:] != ordered[:-1])] if len(ordered) else ordered
    if len(distinct) <= 2 or not _LEAST_SPAN < distinct[-1] / 2 - distinct[0] / 2 < 1 / _LEAST_SPAN:
        return np.zeros(0)
    return merged(distinct if len(distinct) <= bins + 1 else quantile_edges(ordered, distinct, bins))


def quantile_edges(ordered: Values, distinct: Values, bins: int) -> Values:
    """Frequent values and the quantiles of the others, in increasing order."""
    counts = np.diff(np.append(np.searchsorted(ordered, distinct), len(ordered)))
    frequent = (counts * bins >= len(ordered)) & (len(ordered) >= _MANY)
    others = ordered[~np.repeat(frequent, counts)]
    shares = np.linspace(0, 1, max(1, bins - int(frequent.sum())) + 1)
    found = np.sort(np.concatenate([distinct[frequent], quantiles(others, shares) if len(others) else others]))
    return np.asarray(found[np.append(True, found[1:] != found[:-1])])


def quantiles(ordered: Values, shares: Values) -> Values:
    """The quantiles of values in increasing order, as np.quantile, which would sort them again."""
    place = shares * (len(ordered) - 1)
    below = np.floor(place).astype(np.int64)
    low, high = ordered[below], ordered[np.minimum(below + 1, len(ordered) - 1)]
    return np.asarray(low + (high - low) * (place - below))


def merged(edges: Values) -> Values:
    """Increasing `edges` without those that are too near to the one before; both ends stay."""
    least, kept = _NARROWEST * (edges[-1] - edges[0]), [edges[0]]
    for edge in edges[1:-1]:
        if edge - kept[-1] > least and edges[-1] - edge > least:
            kept.append(edge)
    return np.array([*kept, edges[-1]])


def shares_of_bins(values: Values, edges: Values, out: NDArray[np.floating]) -> None:
    """Write how far each of `values` (n,) is through each bin into `out` (n, bins), from 0 to 1; 0 where missing."""
    low, inverse = edges[:-1], 1 / np.diff(edges)
    shares = values[:, None] - low
    shares *= inverse
    np.clip(shares, 0, 1, out=shares)
    absent = np.isnan(values)
    if absent.any():
        shares[absent] = 0
    out[...] = shares


def edge_names(edges: Values) -> list[str]:
    """The upper edge of each bin as text, short where that tells them apart."""
    short = [f"{edge:.6g}" for edge in edges[1:]]
    return short if len(set(short)) == len(short) else [repr(float(edge)) for edge in edges[1:]]
