"""The array types of the network."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating[Any]]
"""Floating-point numbers, float32 or float64; one dtype throughout a network."""
Indices: TypeAlias = NDArray[np.intp]
"""Integer indices: row numbers, class numbers."""
Target: TypeAlias = NDArray[Any]
"""Targets as a loss takes them: class indices (n,) for cross-entropy, values (n, outputs) for the others."""
Weights: TypeAlias = NDArray[np.floating[Any]] | None
"""(n,) or (members, n): row weights with mean 1 over the training rows; None weights all rows equally."""
