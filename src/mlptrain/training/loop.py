"""How does the training loop run, from the first step to the last?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mlptrain.data.tables import row_list
from mlptrain.dataset import Dataset
from mlptrain.errors import Diverged
from mlptrain.nn.arrays import Array, Target, Weights
from mlptrain.nn.network import Network
from mlptrain.randomness import DropoutStream
from mlptrain.spec.plan import Plan
from mlptrain.training.batches import Batches, MemberBatches
from mlptrain.training.early_stopping import higher_is_better, monitored
from mlptrain.training.epoch import EpochEnd, Measured
from mlptrain.training.events import Consumer, EpochDone, Event, StepDone, TrainingDone, part_listener
from mlptrain.training.linear import LinearModels
from mlptrain.training.state import Diagnosed, Progress, TrainState
from mlptrain.training.step import Step, Update


def network_for(plan: Plan) -> Network:
    """The network that `plan` describes."""
    transforms, dtype = plan.transforms, plan.training.dtype
    weights, linear = transforms.task.class_weights, plan.network.linear_path
    return Network(plan.layers, transforms.width, plan.loss, dtype, plan.members, weights, linear)


def start(plan: Plan, network: Network, dataset: Dataset, linear: LinearModels | None = None) -> TrainState:
    """The state before the first step; a linear path starts as the best linear model, which `linear` may have."""
    state = TrainState.start(
        network.layout,
        plan.optimizer,
        plan.network.initializer,
        network.dtype,
        plan.seed,
        dataset.training.active_inputs() & ~plan.transforms.details,
        ema=plan.training.ema is not None,
        progress=Progress(schedule=plan.schedule.start()),
    )
    if plan.network.initializer.file is None:
        shape_start(plan, network, state, linear or LinearModels(network, dataset))
    return state


def shape_start(plan: Plan, network: Network, state: TrainState, linear: LinearModels) -> None:
    """Scale the initial weights of the output layer, and let the linear path start as the best linear model."""
    if plan.network.output_scale != 1:
        output = network.layout.views(state.parameters)[len(network.layers) - 1]
        np.multiply(output["weight"], plan.network.output_scale, out=output["weight"])
    if plan.network.linear_path:
        linear.write_into(network.layout, state.parameters)
    for other in (state.best_parameters, *(state.ema or ())[:1]):
        np.copyto(other, state.parameters)


def tried_again(progress: Progress, tries: int, error: Diverged) -> Diagnosed:
    """What is told of a run that diverged and went on."""
    how = f"the epoch begins again with the best weights and {progress.rate_factor:g} of the learning rate"
    message = f"{error.event}; {how} (try {progress.tries} of {tries})"
    return Diagnosed(name="tried_again", epoch=progress.epoch, message=message, remedy="")


def make_batches(plan: Plan, dataset: Dataset) -> Batches | MemberBatches:
    """The batches of the training rows."""
    avoid_single_row = plan.network.uses_batch_statistics
    if plan.members is not None:
        parts = [fold.training for fold in dataset.members(plan.members)]
        return MemberBatches(parts, plan.batch_rows, plan.training.shuffle, plan.seed, avoid_single_row)
    return Batches(dataset.training, plan.batch_rows, plan.training.shuffle, plan.seed, avoid_single_row)


def make_step(plan: Plan, network: Network, state: TrainState, consumers: Sequence[Consumer] = ()) -> Step:
    """The training step on `state`."""
    return Step(network, state, Update.of(plan), DropoutStream(plan.seed), consumers)


def train(
    plan: Plan, network: Network, state: TrainState, dataset: Dataset, consumers: Sequence[Consumer] = ()
) -> Iterator[Event]:
    """Train from `state` until all epochs are done or early stopping ends training.

    `state` is changed in place and is consistent at every event: a run that is saved there and resumed later continues
    exactly as without the interruption. Raises `Diverged` when the loss or the gradient is not finite. `consumers` are
    told the parts of each step, while `feed` passes them the events.
    """
    return Loop(plan, network, state, dataset, consumers).events()


class Loop:
    """The training of one network, all its members at once."""

    def __init__(
        self, plan: Plan, network: Network, state: TrainState, dataset: Dataset, consumers: Sequence[Consumer] = ()
    ) -> None:
        self._plan, self._network, self._state, self._part = plan, network, state, part_listener(consumers)
        self._numbers = dataset.numbers
        self.batches = make_batches(plan, dataset)
        self.step = make_step(plan, network, state, consumers)
        self.batch: tuple[Array, Target, Weights]
        """Inputs, targets and row weights of the last step."""
        self._end = EpochEnd(plan, network, state, dataset)
        self._monitor = monitored(plan)
        self._higher_is_better = higher_is_better(self._monitor or "train_loss")
        self._done = StepDone()
        self._constant_rate = self._rate_if_constant()
        self._recovered: tuple[Diagnosed, ...] = ()
        """What is to be told of tries in this epoch."""

    def events(self) -> Iterator[Event]:
        """Train, step by step and epoch by epoch."""
        progress, part = self._state.progress, self._part
        if progress.step == 0 and self._network.linear and self._plan.validates:
            self._measure_start()
        while progress.stopped is None:
            if part is not None:
                part("other", 0)
            self.batches.begin(progress.epoch)
            if part is not None:
                part("shuffle", 0)
            try:
                for index in range(progress.batch, len(self.batches)):
                    yield self._train_on(index)
            except Diverged as error:
                self._recover(error)
                continue
            yield self._end_epoch()
        self._end.check_measured()
        yield TrainingDone(progress.stopped)

    def _measure_start(self) -> None:
        """Let the initial weights, which are those of the linear model, be the best ones so far."""
        monitor = self._monitor or ""
        validated = self._end.validate()
        value = validated.metrics.get(monitor.removeprefix("validation_"))
        self._state.progress.start_from(value, validated.members, self._higher_is_better)
        self._state.keep_as_best()

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if self._constant_rate is not None:
            return self._constant_rate
        rate, schedule = self._plan.optimizer.learning_rate * self._state.progress.rate_factor, self._plan.schedule
        per_epoch = len(self.batches)
        steps = self._plan.training.epochs * per_epoch
        return rate * schedule.at(step, steps, per_epoch, self._state.progress.schedule)

    def _rate_if_constant(self) -> float | None:
        """The learning rate of every step, where it does not change."""
        rate = self._plan.optimizer.learning_rate * self._state.progress.rate_factor
        return rate if self._plan.schedule.is_constant else None

    def _recover(self, error: Diverged) -> None:
        """Begin the epoch again, with the best weights and a lower rate, if the spec says so and tries are left."""
        progress, how = self._state.progress, self._plan.training.on_divergence
        if how is None or progress.tries == how.tries:
            raise error
        self._state.restore_best()
        progress.begin_epoch_again(how.learning_rate)
        self._constant_rate = self._rate_if_constant()
        told = tried_again(progress, how.tries, error)
        progress.warn((told,))
        self._recovered += (told,)

    def _about_rows(self, index: int) -> str:
        """The rows of a batch by their numbers in the file, and the one with the largest input."""
        rows = self.batches.rows(index)
        numbers = rows if self._numbers is None else self._numbers[rows]
        sizes = np.abs(self.batch[0]).reshape(-1, self.batch[0].shape[-1]).max(axis=1)
        worst = int(np.nanargmax(sizes)) if np.isfinite(sizes).any() else 0
        return (
            f"The batch had {row_list(np.unique(numbers))}; its largest input, {sizes[worst]:.3g} when scaled, is in "
            f"{row_list(numbers.reshape(-1)[worst : worst + 1])}"
        )

    def _train_on(self, index: int) -> StepDone:
        """One step on batch number `index`."""
        progress, step, done, part = self._state.progress, self.step, self._done, self._part
        if part is not None:
            part("other", 0)
        self.batch = x, target, weights = self.batches.gather(index)
        if part is not None:
            part("gather", 0)
        rate = self._constant_rate or self.learning_rate(progress.step)
        done.learning_rate = rate
        try:
            done.loss = step(x, target, rate, weights)
        except Diverged as error:
            progress.warn(self._end.diagnose_divergence())
            raise Diverged(f"{error}. {self._about_rows(index)}") from error
        progress.count_step(done.loss, x.shape[-2], step.squared_norm, step.layer_squared_norms)
        done.step, done.squared_norm = progress.step, step.squared_norm
        return done

    def _end_epoch(self) -> EpochDone:
        """Measure the epoch, whose steps are all done, and start the next one."""
        progress, stopping, part = self._state.progress, self._plan.training.early_stopping, self._part
        if part is not None:
            part("other", 0)
        measured = self._end.measure(self.learning_rate(progress.step - 1))
        self._state.history.append(list(measured.record.values()))
        improved = self._update_best(measured)
        if diagnoses := self._end.diagnose(measured):
            progress.warn(diagnoses)
        diagnoses, self._recovered = (*self._recovered, *diagnoses), ()
        progress.end_epoch(self._plan.training.epochs, stopping.patience if stopping else None)
        if part is not None:
            part("epoch", 0)
        return EpochDone(measured.record, improved, diagnoses)

    def _update_best(self, measured: Measured) -> bool:
        """Keep the weights if they are the best so far, or if nothing is monitored; update the schedule.

        The members of an ensemble have a best epoch each.
        """
        progress, stopping = self._state.progress, self._plan.training.early_stopping
        monitor, members = self._monitor or "train_loss", measured.validated.members
        value, higher = measured.record[monitor], self._higher_is_better
        improved = not self._monitor or progress.update_best(value, higher, stopping.min_delta if stopping else 0.0)
        if members and self._monitor:
            self._state.keep_as_best(progress.update_members(members, higher))
        elif improved:
            self._state.keep_as_best()
        if value is not None:
            progress.update_schedule(self._plan.schedule, value, higher)
        return improved
