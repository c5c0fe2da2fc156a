"""Which array types do the kernels speak of?"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlptrain import compiled

Array: TypeAlias = NDArray[np.floating[Any]]
"""Floating-point numbers, float32 or float64; one dtype throughout a network."""
Indices: TypeAlias = NDArray[np.intp]
"""Whole numbers that index: row numbers, class numbers."""
Target: TypeAlias = NDArray[Any]
"""What a loss compares with: class indices (n,) for cross-entropy, values (n, outputs) for the others."""


def cut(values: Array, low: float, high: float, out: Array) -> None:
    """Write `values`, cut at `low` and `high`, into `out`, which may be `values` itself."""
    values.clip(low, high, out=out)


def positive_part(values: Array, out: Array) -> None:
    """Write max(0, values) into `out`, which must not be `values`.

    With an array of zeros: NumPy works on the maximum of two arrays many numbers at a time, on that with a number one
    by one.
    """
    if not compiled.positive_part(values, out):
        out.fill(0)
        np.maximum(values, out, out=out)


def negative_part(values: Array, out: Array) -> None:
    """Write min(0, values) into `out`, which must not be `values`."""
    out.fill(0)
    np.minimum(values, out, out=out)
