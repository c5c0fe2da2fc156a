"""Which linear model fits some rows best?

It minimizes the mean loss plus c |W|^2 / (2 n) over n rows. Without this weak ridge penalty, the weights of classes
that can be separated would grow without end. With c = 1, this is scikit-learn's `LogisticRegression` with its defaults
for cross-entropy (with C = 2 for two classes, which have two opposite columns in W here and one there), and its
`Ridge(alpha=0.5)` for a mean squared error. The problem is convex, so that the result is unique; for a table of more
than `EXACT` cells it is approximate, by steps on random batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple

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
from mlptrain.training.evaluation import held_out, predict_scores

EXACT = 1 << 23
"""Cells (rows times inputs) of the largest table for which the minimum is found exactly, in float64."""
_EVALUATIONS = 500
EXACTLY, ROUGHLY = 1e-8, 1e-4
"""Largest entry of the whitened gradient at the end: for the baseline, and for a model beside a network."""
SMALL = 1 << 19
"""Cells up to which the strength of the penalty is chosen on all folds."""
STRENGTHS = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Strengths of the penalty, for the linear model beside a network."""
_CHUNK = 4096
_STEPS, _BATCH, _RATE = 1000, 256, 0.02  # of Adam, whose rate falls to 0 as a cosine


class LinearModel(NamedTuple):
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


def fit_linear(network: Network, part: Part, strength: float = 1.0, tolerance: float = EXACTLY) -> LinearModel:
    """The best linear model on the rows of `part` for the loss of `network`, with a penalty of this strength."""
    linear = linear_network(network)
    exact = len(part) * network.inputs <= EXACT
    objective = RidgeObjective(linear, part, strength, np.dtype(np.float64) if exact else network.dtype)
    size = linear.layout.parameter_size
    with np.errstate(all="ignore"):  # a trial step may be far too large
        found = Whitened(objective).minimum(size, tolerance) if exact else descend(objective, size)
    return LinearModel(linear, found.astype(network.dtype))


def descend(objective: RidgeObjective, size: int) -> NDArray[np.float64]:
    """The minimum by Adam on random batches."""
    adam, vector, rng = Adam(), np.zeros(size), stream(0, "linear")
    slots, scratch = [np.zeros_like(vector) for _ in adam.slots], np.empty_like(vector)
    for t in range(_STEPS):
        rows = rng.choice(objective.part.rows, _BATCH)
        _, gradient = objective.on(np.sort(rows), vector)
        adam.update(vector, gradient, slots, scratch, _RATE * (1 + np.cos(np.pi * t / _STEPS)) / 2, t + 1)
    return vector


class RidgeObjective:
    """The mean loss of a linear network on the rows of a part, plus strength |W|^2 / (2 n), with its gradient."""

    def __init__(self, network: Network, part: Part, strength: float, dtype: np.dtype[np.floating]) -> None:
        self.part, self.strength = part, strength
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
        slope[: w.size] += self.strength * w / n
        return total + self.strength * float(w.dot(w)) / (2 * n), slope

    def second_moments(self) -> NDArray[np.float64]:
        """(inputs + 1, inputs + 1): the mean of x'x over the rows, with a last input that is 1."""
        width, rows = self._x.shape[1], self.part.rows
        total = np.zeros((width + 1, width + 1))
        for start in range(0, len(rows), _CHUNK):
            x = self._gathered(rows[start : start + _CHUNK]).astype(np.float64, copy=False)
            total[:-1, :-1] += x.T @ x
            total[-1, :-1] += x.sum(axis=0)
        total[:-1, -1], total[-1, -1] = total[-1, :-1], len(rows)
        return total / len(rows)

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


class Whitened:
    """An objective in variables in which its curvature is about the same in every direction: u = R w with R'R = H.

    H = (x'x / 2 + c I) / n is the curvature of a loss whose second derivative is 1/2, with the bias as a weight of the
    input 1. Correlated inputs, such as bins, would otherwise take hundreds of evaluations.
    """

    def __init__(self, objective: RidgeObjective) -> None:
        self._objective = objective
        moments, rows = objective.second_moments(), len(objective.part)
        moments *= 0.5
        moments[np.diag_indices_from(moments)] += objective.strength / rows
        self._inverse = np.linalg.inv(np.linalg.cholesky(moments))
        """R'^-1"""

    def minimum(self, size: int, tolerance: float) -> NDArray[np.float64]:
        """The minimum, in the variables w."""
        return self._original(minimize(self, np.zeros(size), _EVALUATIONS, tolerance))

    def __call__(self, u: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = self._objective(self._original(u))
        return value, (self._inverse @ gradient.reshape(len(self._inverse), -1)).reshape(-1)

    def _original(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((self._inverse.T @ u.reshape(len(self._inverse), -1)).reshape(-1))


@dataclass
class LinearModels:
    """The linear models of a run, each fitted when it is first needed.

    The baseline has the penalty of strength 1. The models beside a network, with folds one for each member, have the
    strength of `STRENGTHS` with the lowest validation loss; of a large table, only the first fold and every other
    strength are tried. They, and the baselines of single folds, are less exact than the baseline.
    """

    network: Network
    dataset: Dataset
    _found: dict[tuple[int, float, float], LinearModel] = field(default_factory=dict)

    def on(self, part: Part, strength: float | None = None, tolerance: float = ROUGHLY) -> LinearModel:
        """The model for the rows of `part`; by default with the chosen strength."""
        key = id(part), self.strength if strength is None else strength, tolerance
        if key not in self._found:
            self._found[key] = fit_linear(self.network, part, *key[1:])
        return self._found[key]

    @cached_property
    def strength(self) -> float:
        """The chosen strength."""
        cells, folds = len(self.dataset.training) * self.network.inputs, self.dataset.groups
        if self.dataset.validation is None or cells > EXACT:
            return 1.0
        tried, folds = (STRENGTHS, folds) if cells <= SMALL else (STRENGTHS[1::2], folds[:1])
        losses = [sum(self._loss(fold, strength) for fold in folds) for strength in tried]
        return tried[int(np.argmin(losses))]

    def _loss(self, fold: Fold, strength: float) -> float:
        """The loss of the validation rows of a fold, summed over them."""
        part = held_out(fold)
        scores = self.on(fold.training, strength).scores(part.features, part.rows)
        return loss_of(self.network, scores, part) * len(part)

    def baseline_scores(self, part: Part) -> Array:
        """The scores of the baseline for `part`; for rows in folds, by the models of the other folds."""
        return self._scores(part, 1.0, EXACTLY)

    def scores_of(self, part: Part) -> Array:
        """The scores for `part` by the model beside the network; for rows in folds, by those of the other folds."""
        return self._scores(part, self.strength, ROUGHLY)

    def _scores(self, part: Part, strength: float, tolerance: float) -> Array:
        if part is self.dataset.validation and self.dataset.folds:
            models = [(self.on(fold.training, strength), held_out(fold)) for fold in self.dataset.folds]
            return np.concatenate([model.scores(rows.features, rows.rows) for model, rows in models])
        return self.on(self.dataset.training, strength, tolerance).scores(part.features, part.rows)

    def on_all(self) -> LinearModel:
        """The model for all rows but those of the test: of training and, in the same file, of validation."""
        training, validation = self.dataset.training, self.dataset.validation
        if validation is None or self.dataset.folds or validation.features is not training.features:
            return self.on(training)
        both = training.of(np.concatenate([training.rows, validation.rows]))
        return fit_linear(self.network, both, self.strength, ROUGHLY)

    def write_into(self, layout: Layout, parameters: Array) -> None:
        """Write the linear model of each member into its linear path and the bias of its last layer."""
        views = layout.views(parameters)
        members = self.dataset.members(prod(layout.members))
        found = [self.on(fold.training) for fold in members]
        views[-1][LINEAR][...] = np.stack([model.weight for model in found]).reshape(views[-1][LINEAR].shape)
        views[-2]["bias"][...] = np.stack([model.bias for model in found]).reshape(views[-2]["bias"].shape)


def loss_of(network: Network, scores: Array, part: Part) -> float:
    """The loss of `scores` on the rows of `part`; infinite where it is not finite."""
    value = float(network.loss.value(scores, part.target(), part.weights(), network.class_weights))
    return value if np.isfinite(value) else np.inf
