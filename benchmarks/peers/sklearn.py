"""scikit-learn's MLPClassifier. Of two classes it makes one logistic output: the same model, a few weights fewer."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier

from benchmarks.machine import blas
from benchmarks.workload import Workload


class Trainer:
    """`fit` with a warm start, so that a run of many passes pays for its checks once."""

    def __init__(self, workload: Workload) -> None:
        self._x, self._labels = workload.data()
        self._model = MLPClassifier(
            workload.hidden,
            solver="adam",
            alpha=0.0,
            batch_size=workload.batch,
            learning_rate_init=workload.rate,
            n_iter_no_change=np.inf,
            warm_start=True,
            random_state=0,
        )
        self.run(1)
        weights = workload.weights()
        if workload.outputs == 2:
            weight, bias = weights.pop()
            weights.append((weight[:, 1:] - weight[:, :1], bias[1:] - bias[:1]))
        self._model.coefs_ = [weight for weight, _ in weights]
        self._model.intercepts_ = [bias for _, bias in weights]

    def run(self, passes: int) -> None:
        """Train on."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it is told when to stop
            self._model.set_params(max_iter=passes).fit(self._x, self._labels)

    def loss(self) -> float:
        """The loss of all rows."""
        return float(log_loss(self._labels, self._model.predict_proba(self._x)))

    def facts(self) -> dict[str, Any]:
        """Size, precision, and the threads of the matrix products."""
        tensors = [*self._model.coefs_, *self._model.intercepts_]
        return {
            "parameters": sum(tensor.size for tensor in tensors),
            "dtype": str(tensors[0].dtype),
            **blas(),
        }
