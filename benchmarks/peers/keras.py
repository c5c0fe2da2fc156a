"""Keras on the JAX backend, through `model.fit`."""

from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"

import keras

from benchmarks.workload import Workload


class Trainer:
    """A Sequential of Dense layers; the loss takes raw scores."""

    def __init__(self, workload: Workload) -> None:
        self._x, self._labels = workload.data()
        self._batch = workload.batch
        hidden = [keras.layers.Dense(width, "relu") for width in workload.hidden]
        output = keras.layers.Dense(workload.outputs)
        self._model = keras.Sequential([keras.Input((workload.features,)), *hidden, output])
        self._model.set_weights([tensor for pair in workload.weights() for tensor in pair])
        self._model.compile(
            keras.optimizers.Adam(workload.rate, epsilon=1e-8),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def run(self, passes: int) -> None:
        """Train on."""
        self._model.fit(self._x, self._labels, batch_size=self._batch, epochs=passes, verbose=0)

    def loss(self) -> float:
        """The loss of all rows."""
        return float(self._model.evaluate(self._x, self._labels, batch_size=len(self._x), verbose=0))

    def facts(self) -> dict[str, Any]:
        """Size, precision, and the threads, of which JAX takes one a core."""
        return {
            "parameters": self._model.count_params(),
            "dtype": self._model.weights[0].dtype,
            "threads": os.cpu_count(),
        }
