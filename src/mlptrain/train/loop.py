"""How does training go, from the first step to the last?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset, Transforms
from mlptrain.nn.layout import Layout
from mlptrain.nn.losses import Loss
from mlptrain.nn.network import Network
from mlptrain.randomness import DropoutStream
from mlptrain.spec.experiment import Experiment
from mlptrain.train.diagnostics import Diagnostician, naive_loss
from mlptrain.train.early_stopping import higher_is_better, judge, monitored, patience_is_over
from mlptrain.train.evaluation import ActivationWatch, part_scores
from mlptrain.train.events import STEP_DONE, EpochDone, Event, Record, TrainingDone
from mlptrain.train.metrics import NAMES, Metrics, measure
from mlptrain.train.state import TrainState
from mlptrain.train.step import Step


def build(experiment: Experiment, dataset: Dataset) -> Network:
    """The network that `experiment` describes, for the inputs and outputs of `dataset`."""
    return network_for(experiment, dataset.transforms, dataset.loss, experiment.training.dtype)


def network_for(experiment: Experiment, transforms: Transforms, loss: Loss, dtype: Any) -> Network:
    """The network of `experiment` for inputs and targets as `transforms` make them."""
    layers = experiment.network.layers(transforms.width, loss.outputs(transforms.target.outputs))
    return Network(Layout(layers), transforms.target.bind(loss), dtype)


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


def columns(experiment: Experiment, network: Network) -> list[str]:
    """The columns of metrics.csv: what `train` records in each epoch."""
    validation = ["loss", *NAMES[network.loss.target_kind]] if experiment.validates else []
    layers = [f"gradient_norm.layers.{i}" for i in range(len(network.layout.layers))]
    return [
        "epoch",
        "step",
        "train_loss",
        "penalty",
        *(f"validation_{name}" for name in validation),
        "learning_rate",
        "gradient_norm",
        *layers,
    ]


def train(experiment: Experiment, network: Network, state: TrainState, dataset: Dataset) -> Iterator[Event]:
    """Train from `state` on until the epochs are over or early stopping ends it.

    `state` is changed in place and is consistent at every event: a run that is saved there and taken up again later
    goes on exactly as it would have gone on. Raises `Diverged` when a loss or gradient is not finite.
    """
    assert experiment.seed is not None
    training, progress = experiment.training, state.progress
    stopping, monitor = training.early_stopping, monitored(experiment)
    batches, step = make_batches(experiment, dataset), make_step(experiment, network, state)
    names = columns(experiment, network)
    naive = naive_loss(network.loss, dataset.training.target(), network.layout.layers[-1].units, network.dtype)
    diagnostician = Diagnostician(network, naive, (dict(zip(names, row, strict=True)) for row in state.history))

    while progress.stopped is None:
        learning_rate = experiment.optimizer.learning_rate * experiment.schedule.at(
            progress.epoch, training.epochs, progress.schedule
        )
        batches.begin(progress.epoch)
        for index in range(progress.batch, len(batches)):
            x, target, weights = batches.gather(index)
            loss = step(x, target, learning_rate, index == len(batches) - 1, weights)
            if progress.first_loss is None:
                progress.first_loss = loss
            progress.loss_sum += loss * len(x)
            progress.squared_norm_sum += step.squared_norm
            progress.rows += len(x)
            progress.batch += 1
            yield STEP_DONE

        scores, watch = None, ActivationWatch(network)
        validation: Metrics = {}
        if dataset.validation is not None:
            scores = part_scores(network, state.judged, state.buffers, dataset.validation, watch)
            validation = measure(dataset.transforms.target, network.loss, scores, dataset.validation)
        record = dict(zip(names, measured(experiment, state, learning_rate, validation), strict=True))
        state.history.append(list(record.values()))
        improved = monitor is None or judge(progress, progress.epoch, watched(record, monitor), monitor, stopping)
        if improved:
            state.keep_as_best()
        value = watched(record, monitor or "train_loss")
        if value is not None:
            experiment.schedule.observe(progress.schedule, value, higher_is_better(monitor or "train_loss"))
        warnings = diagnostician.look(record, progress, watch if watch.rows else None, scores)
        progress.warnings.extend(warnings)
        progress.begin_epoch()
        if patience_is_over(progress, stopping):
            progress.stopped = "early_stopping"
        elif progress.epoch == training.epochs:
            progress.stopped = "epochs"
        yield EpochDone(record, improved, tuple(warnings))
    yield TrainingDone(progress.stopped)


def measured(
    experiment: Experiment, state: TrainState, learning_rate: float, validation: Metrics
) -> list[float | None]:
    """The row of metrics.csv of the epoch that has just ended."""
    progress = state.progress
    return [
        progress.epoch,
        progress.step,
        progress.loss_sum / progress.rows,
        experiment.penalty.value(state.parameters[: state.layout.weight_size]),
        *validation.values(),
        learning_rate,
        math.sqrt(progress.squared_norm_sum / progress.batch),
        *progress.layer_norms,
    ]


def watched(record: Record, monitor: str) -> float | None:
    """The monitored value; NaN, which no comparison could order, counts as undefined."""
    value = record[monitor]
    return None if value is None or math.isnan(value) else value
