"""Which array types do the kernels speak of?"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
"""Floating-point numbers, float32 or float64; one dtype throughout a network."""
Indices: TypeAlias = NDArray[np.intp]
"""Whole numbers that index: row numbers, class numbers."""
Target: TypeAlias = NDArray[Any]
"""What a loss compares with: class indices (n,) for cross-entropy, values (n, outputs) for the others."""


def cut(values: Array, low: float, high: float, out: Array) -> None:
    """Write `values`, cut at `low` and `high`, into `out`; `numpy.clip` does the same, but makes small objects."""
    np.maximum(values, low, out=out)
    np.minimum(out, high, out=out)
