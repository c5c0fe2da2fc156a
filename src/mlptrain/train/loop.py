"""How does training go, from the first step to the last?"""

from __future__ import annotations

from collections.abc import Iterator

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset
from mlptrain.errors import Diverged
from mlptrain.nn.network import Network
from mlptrain.randomness import DropoutStream
from mlptrain.spec.plan import Plan
from mlptrain.train.epoch import Observer
from mlptrain.train.events import STEP_DONE, Event, TrainingDone
from mlptrain.train.state import TrainState
from mlptrain.train.step import Step


def network_for(plan: Plan) -> Network:
    """The network that `plan` describes."""
    transforms, dtype = plan.transforms, plan.training.dtype
    return Network(plan.layers, transforms.width, plan.loss, dtype, class_weights=transforms.task.class_weights)


def start(plan: Plan, network: Network, dataset: Dataset) -> TrainState:
    """The state before the first step."""
    state = TrainState.start(
        network.layout,
        plan.optimizer,
        plan.network.initializer,
        network.dtype,
        plan.seed,
        dataset.training.active_inputs(),
        averaging=plan.training.averaging is not None,
    )
    state.progress.schedule = plan.schedule.start()
    return state


def make_batches(plan: Plan, dataset: Dataset) -> Batches:
    """The batches of the training rows."""
    pairs = plan.network.uses_batch_statistics
    return Batches(dataset.training, plan.batch_rows, plan.training.shuffle, plan.seed, pairs)


def make_step(plan: Plan, network: Network, state: TrainState) -> Step:
    """The training step on `state`."""
    training = plan.training
    return Step(
        network,
        state,
        plan.optimizer,
        plan.penalty,
        training.clip_norm,
        DropoutStream(plan.seed),
        training.clip_value,
        training.averaging.decay if training.averaging else None,
    )


def train(plan: Plan, network: Network, state: TrainState, dataset: Dataset) -> Iterator[Event]:
    """Train from `state` on until the epochs are over or early stopping ends it.

    `state` is changed in place and is consistent at every event: a run that is saved there and taken up again later
    goes on exactly as it would have gone on. Raises `Diverged` when a loss or gradient is not finite.
    """
    training, progress = plan.training, state.progress
    batches, step = make_batches(plan, dataset), make_step(plan, network, state)
    observer = Observer(plan, network, state, dataset)

    while progress.stopped is None:
        factor = plan.schedule.at(progress.epoch, training.epochs, progress.schedule)
        learning_rate = plan.optimizer.learning_rate * factor
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
