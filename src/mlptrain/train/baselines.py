"""What would a trivial model reach on the same rows?

`constant` says the same for every row, the best single answer on the training rows. `linear` is the network without
hidden layers, trained by Adam on the same loss for a fixed number of steps with a rate that falls to zero.
"""

from __future__ import annotations

import numpy as np

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset, Part
from mlptrain.errors import Diverged
from mlptrain.metrics import Metrics
from mlptrain.nn.activations import Identity
from mlptrain.nn.initializers import Zeros
from mlptrain.nn.layers import Dense
from mlptrain.nn.network import Network
from mlptrain.optim.optimizers import Adam
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Cosine
from mlptrain.randomness import DropoutStream
from mlptrain.train.evaluation import part_scores
from mlptrain.train.state import TrainState
from mlptrain.train.step import Step

STEPS = 1000
BATCH = 256


def baselines(network: Network, dataset: Dataset, part: Part, seed: int) -> dict[str, Metrics | None]:
    """The metrics on `part` of a constant and a linear model, fitted on the training rows; None if one diverged."""
    return {"constant": constant(network, dataset, part), "linear": linear(network, dataset, part, seed)}


def constant(network: Network, dataset: Dataset, part: Part) -> Metrics:
    """The metrics of the best constant scores."""
    task = dataset.transforms.task
    best = task.constant(network.loss, dataset.training).astype(network.dtype)
    return task.measure(network.loss, np.tile(best, (len(part), 1)), part)


def linear(network: Network, dataset: Dataset, part: Part, seed: int) -> Metrics | None:
    """The metrics of the linear model."""
    layers = [Dense(width=network.outputs, activation=Identity())]
    model = Network(layers, network.inputs, network.loss, network.dtype, class_weights=network.class_weights)
    layout = model.layout
    optimizer = Adam(learning_rate=0.02)
    state = TrainState.start(layout, optimizer, Zeros(), network.dtype, seed)
    step = Step(model, state, optimizer, Penalty(), None, DropoutStream(seed))
    batches = Batches(dataset.training, BATCH, True, seed, pairs=False)
    epochs = max(1, round(STEPS / len(batches)))
    try:
        for epoch in range(epochs):
            batches.begin(epoch)
            rate = optimizer.learning_rate * Cosine().at(epoch, epochs)
            for index in range(len(batches)):
                x, target, weights = batches.gather(index)
                step(x, target, rate, weights=weights)
    except Diverged:
        return None
    scores = part_scores(model, state.parameters, state.buffers, part)
    return dataset.transforms.task.measure(network.loss, scores, part)
