"""The limit: the matrix products of a training step in NumPy, same shapes, same buffers, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from benchmarks.machine import blas
from benchmarks.workload import Floats, Workload


class Trainer:
    """Two products for the first layer of each batch, three for every other."""

    def __init__(self, workload: Workload) -> None:
        batch, (full, rest) = workload.batch, divmod(workload.rows, workload.batch)
        rng = np.random.default_rng(0)
        widths = [workload.features, *workload.hidden, workload.outputs]
        self._weights = [weight for weight, _ in workload.weights()]
        self._gradients = [np.empty_like(weight) for weight in self._weights]
        self._activations = [rng.standard_normal((batch, width), np.float32) for width in widths]
        self._deltas = [np.zeros((batch, width), np.float32) for width in widths]
        self._sizes = [batch] * full + [rest] * bool(rest)

    def run(self, passes: int) -> None:
        """The products of so many passes."""
        batches = {size: self._products(size) for size in set(self._sizes)}
        for _ in range(passes):
            for size in self._sizes:
                for left, right, out in batches[size]:
                    np.matmul(left, right, out=out)

    def loss(self) -> float:
        """There is none."""
        return math.nan

    def facts(self) -> dict[str, Any]:
        """The threads of the products."""
        return {"parameters": 0, "dtype": "float32", **blas()}

    def _products(self, size: int) -> list[tuple[Floats, Floats, Floats]]:
        """Factors and result of each product of a batch: forward, then backward."""
        a, d = [x[:size] for x in self._activations], [x[:size] for x in self._deltas]
        layers = range(len(self._weights))
        forward = [(a[i], self._weights[i], a[i + 1]) for i in layers]
        by_weight = [(a[i].T, d[i + 1], self._gradients[i]) for i in layers]
        by_input = [(d[i + 1], self._weights[i].T, d[i]) for i in layers if i > 0]
        return [*forward, *by_weight, *by_input]
