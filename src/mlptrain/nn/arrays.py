"""The array types of the network."""

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
Weights: TypeAlias = NDArray[np.floating[Any]] | None
"""(n,) or (members, n): how much each row counts, with mean 1 over the training rows; None counts all alike."""
