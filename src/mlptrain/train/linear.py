"""Which linear model fits some rows best?

It minimizes the mean loss plus |W|^2 / (2 n) over n rows. Without this weak ridge penalty, the weights of classes that
can be separated would grow without end. For cross-entropy this is scikit-learn's `LogisticRegression` with its
defaults, for a mean squared error its `Ridge(alpha=0.5)`. The problem is convex, so that the result is unique; for a
table of more than `EXACT` cells it is approximate, by steps on random batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from mlptrain.dataset import Dataset, Features, Fold, Part
from mlptrain.nn.activations import Identity
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.layers import Dense
from mlptrain.nn.layout import Layout
from mlptrain.nn.network import LINEAR, Network
from mlptrain.optim.lbfgs import minimize
from mlptrain.optim.optimizers import Adam
from mlptrain.randomness import stream
from mlptrain.train.evaluation import joined, predict_scores

EXACT = 1 << 23
"""Cells (rows times inputs) of the largest table for which the minimum is found exactly, in float64."""
_EVALUATIONS, _TOLERANCE = 1000, 1e-7
_CHUNK = 4096
_STEPS, _BATCH, _RATE = 1000, 256, 0.02  # of Adam, whose rate falls to 0 as a cosine


@dataclass(frozen=True)
class LinearModel:
    """The scores x W + b."""

    network: Network
    parameters: Array
    """W (inputs, outputs), then b (outputs,), as one vector"""

    @property
    def weight(self) -> Array:
        """(inputs, outputs)"""
        return self.network.layout.views(self.parameters)[0]["weight"]

    @property
    def bias(self) -> Array:
        """(outputs,)"""
        return self.network.layout.views(self.parameters)[0]["bias"]

    def scores(self, features: Features, rows: Indices) -> Array:
        """The raw scores (n, outputs) of `rows`."""
        return predict_scores(self.network, self.parameters, np.empty(0, self.network.dtype), features, rows)


def linear_network(network: Network) -> Network:
    """The network of the linear model with the loss of `network`."""
    layers = [Dense(width=network.outputs, activation=Identity())]
    return Network(layers, network.inputs, network.loss, network.dtype, class_weights=network.class_weights)


def fit_linear(network: Network, part: Part, start: LinearModel | None = None) -> LinearModel:
    """The best linear model on the rows of `part` for the loss of `network`; `start` is a guess."""
    linear = linear_network(network)
    exact = len(part) * network.inputs <= EXACT
    objective = RidgeObjective(linear, part, np.dtype(np.float64) if exact else network.dtype)
    begin = np.zeros(linear.layout.parameter_size) if start is None else start.parameters.astype(np.float64)
    with np.errstate(all="ignore"):  # a trial step may be far too large
        found = minimize(objective, begin, _EVALUATIONS, _TOLERANCE) if exact else descend(objective, begin)
    return LinearModel(linear, found.astype(network.dtype))


def descend(objective: RidgeObjective, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """The minimum by Adam on random batches."""
    adam, vector, rng = Adam(), start.copy(), stream(0, "linear")
    slots, scratch = [np.zeros_like(vector) for _ in adam.slots], np.empty_like(vector)
    for t in range(_STEPS):
        rows = rng.choice(objective.part.rows, _BATCH)
        _, gradient = objective.on(np.sort(rows), vector)
        adam.update(vector, gradient, slots, scratch, _RATE * (1 + np.cos(np.pi * t / _STEPS)) / 2, t + 1)
    return vector


class RidgeObjective:
    """The mean loss of a linear network on the rows of a part, plus |W|^2 / (2 n), with its gradient."""

    def __init__(self, network: Network, part: Part, dtype: np.dtype[np.floating]) -> None:
        self.part = part
        self._network = Network(network.layers, network.inputs, network.loss, dtype, None, network.class_weights)
        features = part.features
        self._x = np.empty((min(_CHUNK, len(part)), features.width), features.dtype)
        self._scratch = features.byte_buffer(len(self._x))
        self._whole = self._gathered(part.rows) if len(part) <= _CHUNK else None

    def __call__(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        return self.on(self.part.rows, parameters)

    def on(self, rows: Indices, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """The same for the mean loss on some `rows`."""
        vector, total, slope = parameters.astype(self._network.dtype), 0.0, np.zeros_like(parameters)
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            loss, gradient = self._differentiate(some, vector)
            total += loss * len(some) / len(rows)
            slope += gradient * (len(some) / len(rows))
        w, n = parameters[: self._network.layout.weight_size], len(self.part)
        slope[: w.size] += w / n
        return total + float(w.dot(w)) / (2 * n), slope

    def _differentiate(self, rows: Indices, vector: Array) -> tuple[float, NDArray[np.float64]]:
        """The mean loss on `rows` and its gradient."""
        network, part = self._network, self.part
        views, gradient = network.layout.views(vector), np.empty_like(vector)
        x = self._gathered(rows) if self._whole is None else self._whole
        weights = None if part.all_weights is None else part.all_weights[rows].astype(network.dtype)
        network.forward(x, views, ({},), training=True)
        loss = network.backward(x, part.targets[rows], views, network.layout.views(gradient), weights)
        return float(loss), gradient.astype(np.float64)

    def _gathered(self, rows: Indices) -> Array:
        """The inputs of `rows` in the dtype of the objective."""
        x = self._x[: len(rows)]
        self.part.features.gather(rows, x, None if self._scratch is None else self._scratch[: len(rows)])
        return x.astype(self._network.dtype, copy=False)


@dataclass
class LinearModels:
    """The linear models of a run, each fitted when it is first needed; with folds, one for each member."""

    network: Network
    dataset: Dataset
    _found: dict[int, LinearModel] = field(default_factory=dict)

    def on(self, part: Part) -> LinearModel:
        """The model for the rows of `part`."""
        key = id(part)
        if key not in self._found:
            guess = next(iter(self._found.values()), None)
            self._found[key] = fit_linear(self.network, part, guess)
        return self._found[key]

    def scores_of(self, part: Part) -> Array:
        """The scores for `part`, by the model of the training rows; for rows in folds, by that of the other folds."""
        if part is self.dataset.validation and self.dataset.folds:
            by_fold = [self.on(fold.training).scores(part.features, held_out(fold).rows) for fold in self.dataset.folds]
            return joined(self.network.loss, by_fold, folds=True)
        return self.on(self.dataset.training).scores(part.features, part.rows)

    def on_all(self) -> LinearModel:
        """The model for all rows but those of the test: of training and, in the same file, of validation."""
        training, validation = self.dataset.training, self.dataset.validation
        if validation is None or self.dataset.folds or validation.features is not training.features:
            return self.on(training)
        both = training.of(np.concatenate([training.rows, validation.rows]))
        return fit_linear(self.network, both, self.on(training))

    def write_into(self, layout: Layout, parameters: Array) -> None:
        """Write the linear model of each member into its linear path and the bias of its last layer."""
        views = layout.views(parameters)
        members = self.dataset.members(prod(layout.members))
        found = [self.on(fold.training) for fold in members]
        views[-1][LINEAR][...] = np.stack([model.weight for model in found]).reshape(views[-1][LINEAR].shape)
        views[-2]["bias"][...] = np.stack([model.bias for model in found]).reshape(views[-2]["bias"].shape)


def held_out(fold: Fold) -> Part:
    """The validation rows of a fold."""
    assert fold.validation is not None
    return fold.validation
