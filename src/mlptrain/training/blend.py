"""How much does the network say, and how much the linear model?

The prediction is the mean s network + (1 - s) linear, in the space of predictions. The share s is the one of 0, 0.1,
..., 1 with the lowest loss on the validation rows, the smallest one of several, so that the result is not worse than
the linear model by more than chance. Wolpert 1992 calls this stacking.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mlptrain.dataset import Dataset, Features
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.network import Network
from mlptrain.training.evaluation import ActivationWatch, ensemble_scores, validation_scores
from mlptrain.training.linear import LinearModel, LinearModels, loss_of

SHARES = tuple(i / 10 for i in range(11))


class Blend(NamedTuple):
    """A linear model beside the network, and the share of the network."""

    share: float
    linear: LinearModel


class Predictor(NamedTuple):
    """The weights that predict: of a network or of the members of an ensemble, with a linear model beside them."""

    network: Network
    parameters: Array
    buffers: Array
    blend: Blend | None = None

    def scores(self, features: Features, rows: Indices) -> Array:
        """The raw scores (n, outputs) of `rows`."""
        own = ensemble_scores(self.network, self.parameters, self.buffers, features, rows)
        return own if self.blend is None else self._blended(own, self.blend.linear.scores(features, rows))

    def validation_scores(self, dataset: Dataset, linear: LinearModels, watch: ActivationWatch | None = None) -> Array:
        """The scores of the validation rows; with folds, of each row by what was fitted without it."""
        part = dataset.validation
        assert part is not None
        own = np.concatenate(validation_scores(self.network, self.parameters, self.buffers, dataset, watch))
        return own if self.blend is None else self._blended(own, linear.scores_of(part))

    def _blended(self, own: Array, linear: Array) -> Array:
        assert self.blend is not None
        return mixed(self.network, (own, linear), self.blend.share)


def mixed(network: Network, scores: Sequence[Array], share: float) -> Array:
    """The scores of the mean prediction of the network, with its share, and of the linear model."""
    if share in (0, 1):
        return scores[0] if share else scores[1]
    return network.loss.average(np.stack(scores), np.array([share, 1 - share]))


def choose_blend(predictor: Predictor, dataset: Dataset, linear: LinearModels) -> Blend | None:
    """The blend with the lowest loss on the validation rows; None without rows, or if the network is best alone."""
    network, part = predictor.network, dataset.validation
    if part is None:
        return None
    scores = predictor.validation_scores(dataset, linear), linear.scores_of(part)
    losses = [loss_of(network, mixed(network, scores, share), part) for share in SHARES]
    share = SHARES[int(np.argmin(losses))]
    return None if share == 1 else Blend(share, linear.on_all())
