"""How does training go, from the first step to the last?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset, Transforms
from mlptrain.errors import Diverged
from mlptrain.nn.losses import Loss
from mlptrain.nn.network import Network
from mlptrain.randomness import DropoutStream
from mlptrain.spec.experiment import Experiment
from mlptrain.train.epoch import Observer
from mlptrain.train.events import STEP_DONE, Event, TrainingDone
from mlptrain.train.state import TrainState
from mlptrain.train.step import Step


def build(experiment: Experiment, dataset: Dataset) -> Network:
    """The network that `experiment` describes, for the inputs and outputs of `dataset`."""
    return network_for(experiment, dataset.transforms, dataset.loss, experiment.training.dtype)


def network_for(experiment: Experiment, transforms: Transforms, loss: Loss, dtype: Any) -> Network:
    """The network of `experiment` for inputs and targets as `transforms` make them."""
    layers = experiment.network.layers(loss.outputs(transforms.target.outputs))
    return Network(layers, transforms.width, loss, dtype, class_weights=transforms.target.class_weights)


def start(experiment: Experiment, network: Network, dataset: Dataset) -> TrainState:
    """The state before the first step."""
    assert experiment.seed is not None
    state = TrainState.start(
        network.layout,
        experiment.optimizer,
        experiment.network.initializer,
        network.dtype,
        experiment.seed,
        dataset.training.lit_inputs(),
        averaging=experiment.training.averaging is not None,
    )
    state.progress.schedule = experiment.schedule.start()
    return state


def make_batches(experiment: Experiment, dataset: Dataset) -> Batches:
    """The batches of the training rows."""
    assert experiment.seed is not None
    training = experiment.training
    size = None if training.batch_size == "full" else training.batch_size
    pairs = experiment.network.uses_batch_statistics
    return Batches(dataset.training, size, training.shuffle, experiment.seed, pairs)


def make_step(experiment: Experiment, network: Network, state: TrainState) -> Step:
    """The training step on `state`."""
    assert experiment.seed is not None
    training = experiment.training
    return Step(
        network,
        state,
        experiment.optimizer,
        experiment.penalty,
        training.clip_norm,
        DropoutStream(experiment.seed),
        training.clip_value,
        training.averaging.decay if training.averaging else None,
    )


def train(experiment: Experiment, network: Network, state: TrainState, dataset: Dataset) -> Iterator[Event]:
    """Train from `state` on until the epochs are over or early stopping ends it.

    `state` is changed in place and is consistent at every event: a run that is saved there and taken up again later
    goes on exactly as it would have gone on. Raises `Diverged` when a loss or gradient is not finite.
    """
    training, progress = experiment.training, state.progress
    batches, step = make_batches(experiment, dataset), make_step(experiment, network, state)
    observer = Observer(experiment, network, state, dataset)

    while progress.stopped is None:
        factor = experiment.schedule.at(progress.epoch, training.epochs, progress.schedule)
        learning_rate = experiment.optimizer.learning_rate * factor
        batches.begin(progress.epoch)
        for index in range(progress.batch, len(batches)):
            x, target, weights = batches.gather(index)
            try:
                loss = step(x, target, learning_rate, index == len(batches) - 1, weights)
            except Diverged:
                observer.note_divergence()
                raise
            progress.count(loss, len(x), step.squared_norm)
            yield STEP_DONE
        yield observer.end_epoch(learning_rate)
    yield TrainingDone(progress.stopped)
