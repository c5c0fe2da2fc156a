"""How does a network predict scores in evaluation?

Rows are processed in chunks of a fixed size, so that the result does not depend on the batch size of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.dataset import Dataset, Features, Fold, Part
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.losses import Loss
from mlptrain.nn.network import Network

CHUNK = 1024
NEAR_ASYMPTOTE = 0.01  # of the distance between the two asymptotes


class ActivationWatch:
    """Records over the rows of an evaluation which units were ever active and how often they were saturated."""

    def __init__(self, network: Network) -> None:
        self.rows = 0
        self.highest = [np.full(units, -np.inf) for units in network.sizes[1:-1]]
        self.saturated = [np.zeros(units, dtype=np.int64) for units in network.sizes[1:-1]]
        self.rectifies = [False] * len(self.highest)

    def record(self, network: Network, rows: int) -> None:
        """Record the activations of the last forward pass, of `rows` rows."""
        self.rows += rows
        workspaces = network.workspace(rows).layers
        for i, layer in enumerate(network.layers[:-1]):
            for activation, _, a in layer.nonlinearities(workspaces[i]):
                self._record_layer(i, activation, a)

    def _record_layer(self, i: int, activation: Activation, a: Array) -> None:
        self.rectifies[i] = activation.rectifies
        np.maximum(self.highest[i], a.max(axis=0), out=self.highest[i])
        if activation.asymptotes is not None:
            low, high = activation.asymptotes
            margin = NEAR_ASYMPTOTE * (high - low)
            self.saturated[i] += ((a < low + margin) | (a > high - margin)).sum(axis=0)

    def dead_shares(self) -> list[float]:
        """The share of units of each hidden layer that were zero on every row; 0 for layers without rectifiers."""
        return [
            float((top <= 0).mean()) if rectifies else 0.0
            for rectifies, top in zip(self.rectifies, self.highest, strict=True)
        ]

    def saturated_shares(self) -> list[float]:
        """The share of activations of each hidden layer that are close to an asymptote."""
        return [float(count.mean() / max(1, self.rows)) for count in self.saturated]


def predict_scores(
    network: Network,
    parameters: Array,
    buffers: Array,
    features: Features,
    rows: Indices,
    watch: ActivationWatch | None = None,
) -> Array:
    """The raw scores (n, outputs) of `rows`, with running statistics and without dropout; changes no state."""
    views, running = network.layout.views(parameters), network.layout.running(buffers)
    scores = np.empty((len(rows), network.outputs), network.dtype)
    x = np.empty((min(CHUNK, len(rows)), features.width), network.dtype)
    scratch: NDArray[np.uint8] | None = features.byte_buffer(len(x))
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        n = len(chunk)
        features.gather(chunk, x[:n], None if scratch is None else scratch[:n])
        scores[start : start + n] = network.forward(x[:n], views, running, training=False)
        if watch is not None:
            watch.record(network, n)
    return scores


def member_scores(
    network: Network, parameters: Array, buffers: Array, features: Features, rows: Indices
) -> NDArray[np.floating[Any]]:
    """The raw scores (members, n, outputs) of `rows` by each member; a single network counts as one."""
    by_member = network.layout.members_of(parameters, buffers)
    return np.stack([predict_scores(network.alone, *vectors, features, rows) for vectors in by_member])


def ensemble_scores(network: Network, parameters: Array, buffers: Array, features: Features, rows: Indices) -> Array:
    """The scores (n, outputs) of the mean prediction of all members; those of a single network unchanged."""
    if not network.layout.members:
        return predict_scores(network, parameters, buffers, features, rows)
    return mean_prediction(network.loss, member_scores(network, parameters, buffers, features, rows))


def mean_prediction(loss: Loss, scores: Sequence[Array] | NDArray[Any]) -> Array:
    """The scores (n, outputs) of the mean prediction of `scores` (members, n, outputs)."""
    return loss.average(np.asarray(scores), np.full(len(scores), 1 / len(scores)))


def validation_scores(
    network: Network,
    parameters: Array,
    buffers: Array,
    dataset: Dataset,
    watch: ActivationWatch | None = None,
) -> list[Array]:
    """The scores of the validation rows, by fold: the mean prediction of the members that leave it out.

    Without folds there is one list entry, by all members. `watch` records the first member.
    """
    if not network.layout.members:
        (fold,) = dataset.groups
        return [part_scores(network, parameters, buffers, held_out(fold), watch)]
    groups, by_fold = dataset.groups, [list[Array]() for _ in dataset.groups]
    for k, vectors in enumerate(network.layout.members_of(parameters, buffers)):
        part = held_out(groups[k % len(groups)])
        by_fold[k % len(groups)].append(part_scores(network.alone, *vectors, part, None if k else watch))
    return [mean_prediction(network.loss, scores) if len(scores) > 1 else scores[0] for scores in by_fold]


def held_out(fold: Fold) -> Part:
    """The validation rows of a fold."""
    assert fold.validation is not None
    return fold.validation


def part_scores(
    network: Network, parameters: Array, buffers: Array, part: Part, watch: ActivationWatch | None = None
) -> Array:
    """The raw scores (n, outputs) of the rows of `part`."""
    return predict_scores(network, parameters, buffers, part.features, part.rows, watch)
