"""What is the state of a run, from which it can be resumed exactly?

Everything that the loop keeps from one step to the next is here; everything else follows from the plan, the data and
the counters.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import add
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from mlptrain.component import Frozen
from mlptrain.nn.arrays import Array
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.layout import Layout
from mlptrain.optim.optimizers import Optimizer
from mlptrain.optim.schedules import Schedule
from mlptrain.randomness import stream

Stopped = Literal["epochs", "early_stopping"]
Count = Annotated[int, Field(ge=0)]
LAYER_NORM_INTERVAL = 16
"""The gradient norms of the layers are computed in the first step of an epoch, then in every 16th."""


class Diagnosed(Frozen):
    """A diagnosis that was made: its name, the epoch in which it first held, the message and the remedy."""

    name: str
    epoch: int
    message: str
    remedy: str


@dataclass
class Progress:
    """The progress of a run: counters, sums over the current epoch, the state of early stopping and of the schedule.

    It changes only by its methods, which only the training loop calls. It is validated when it is read from a file.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="forbid")
    epoch: Count = 0
    batch: Count = 0
    """Number of finished batches of this epoch."""
    step: Count = 0
    loss_sum: float = 0.0
    """Sum of the loss over the rows of this epoch, before each update."""
    rows: Count = 0
    squared_norm_sum: float = 0.0
    """Sum of the squared gradient norm over the steps of this epoch."""
    layer_squared_norm_sums: list[float] = field(default_factory=list)
    """The same for the weights of each layer, over the steps in which the norms of the layers are computed."""
    first_loss: float | None = None
    best_cost: float | None = None
    """The monitored value of the best epoch, negated where higher is better."""
    best_epoch: Count | None = None
    patience_cost: float | None = None
    member_costs: list[float | None] = field(default_factory=list)
    """`best_cost` of each member of an ensemble, on its own validation rows."""
    member_epochs: list[Count | None] = field(default_factory=list)
    """The best epoch of each member; None for its initial weights."""
    schedule: dict[str, float] = field(default_factory=dict)
    """The state of the schedule."""
    wait: Count = 0
    tries: Count = 0
    """How often training diverged and went on."""
    rate_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Of the learning rate, after these tries."""
    optimizer_start: Count = 0
    """The step in which the optimizer started, the last time."""
    stopped: Stopped | None = None
    warnings: list[Diagnosed] = field(default_factory=list)

    @property
    def computes_layer_norms(self) -> bool:
        """Whether this step computes the gradient norm of each layer; doing so in every step would cost too much."""
        return self.batch % LAYER_NORM_INTERVAL == 0

    def count_step(self, loss: float, rows: int, squared_norm: float, layer_squared_norms: Sequence[float]) -> None:
        """Count a step with its loss before the update, rows, and squared gradient norms, total and by layer."""
        if self.first_loss is None:
            self.first_loss = loss
        if layer_squared_norms:
            sums = self.layer_squared_norm_sums or [0.0] * len(layer_squared_norms)
            self.layer_squared_norm_sums = list(map(add, sums, layer_squared_norms))
        self.squared_norm_sum += squared_norm
        self.loss_sum += loss * rows
        self.rows += rows
        self.batch += 1
        self.step += 1

    def update_best(self, value: float | None, higher_is_better: bool, min_delta: float) -> bool:
        """Update best epoch and patience with the monitored value; returns whether to keep the weights of this epoch.

        They are kept if the value is the best so far, or if no epoch has had a value yet. Patience waits for a value
        that is better by more than `min_delta`, and starts with the first value.
        """
        if value is None:
            self.wait += self.best_cost is not None
            return self.best_cost is None
        cost = -value if higher_is_better else value
        if self.patience_cost is None or cost < self.patience_cost - min_delta:
            self.patience_cost, self.wait = cost, 0
        else:
            self.wait += 1
        improved = self.best_cost is None or cost < self.best_cost
        if improved:
            self.best_cost, self.best_epoch = cost, self.epoch
        return improved

    def start_from(self, value: float | None, members: Sequence[float | None], higher_is_better: bool) -> None:
        """Let the initial weights be the best so far, with their monitored value, also that of each member."""
        self.best_cost = self.patience_cost = cost_of(value, higher_is_better)
        self.member_costs = [cost_of(member, higher_is_better) for member in members]
        self.member_epochs = [None] * len(members)

    def update_members(self, values: Sequence[float | None], higher_is_better: bool) -> NDArray[np.bool_]:
        """Update the best epoch of each member with its monitored value; returns which members improved."""
        before = self.member_costs or [None] * len(values)
        costs = [cost_of(value, higher_is_better) for value in values]
        better = [old is None or (new is not None and new < old) for old, new in zip(before, costs, strict=True)]
        epochs = self.member_epochs or [None] * len(values)
        self.member_costs = [new if keep else old for new, old, keep in zip(costs, before, better, strict=True)]
        self.member_epochs = [self.epoch if keep else old for old, keep in zip(epochs, better, strict=True)]
        return np.array(better)

    def update_schedule(self, schedule: Schedule, value: float, higher_is_better: bool) -> None:
        """Update the state of the schedule with the monitored value."""
        self.schedule = schedule.observe(self.schedule, value, higher_is_better)

    def warn(self, diagnoses: Sequence[Diagnosed]) -> None:
        """Add new diagnoses."""
        self.warnings.extend(diagnoses)

    def end_epoch(self, epochs: int, patience: int | None) -> None:
        """Go on to the next epoch, or stop after all `epochs` or after `patience` epochs without improvement."""
        self.epoch += 1
        self.batch = self.rows = 0
        self.loss_sum, self.squared_norm_sum, self.layer_squared_norm_sums = 0.0, 0.0, []
        if patience is not None and self.wait >= patience:
            self.stopped = "early_stopping"
        elif self.epoch == epochs:
            self.stopped = "epochs"

    def begin_epoch_again(self, factor: float) -> None:
        """Go back to the first step of this epoch, with a lower learning rate and an optimizer that starts anew."""
        self.step -= self.batch
        self.batch = self.rows = 0
        self.loss_sum, self.squared_norm_sum, self.layer_squared_norm_sums = 0.0, 0.0, []
        self.tries += 1
        self.rate_factor *= factor
        self.optimizer_start = self.step
        if not self.step:
            self.first_loss = None

    def go_on(self) -> None:
        """Let a run that stopped after all of its epochs train more of them."""
        self.stopped = None

    def mean_norms(self) -> tuple[float, list[float]]:
        """The root mean squares of the gradient norms over the steps of this epoch, total and by layer."""
        samples = -(-self.batch // LAYER_NORM_INTERVAL)
        layers = [math.sqrt(total / samples) for total in self.layer_squared_norm_sums]
        return math.sqrt(self.squared_norm_sum / self.batch), layers


def cost_of(value: float | None, higher_is_better: bool) -> float | None:
    """A monitored value, negated where higher is better."""
    return -value if value is not None and higher_is_better else value


BLOCK = 1000
"""Epochs of a history that are kept as one block once they are done; see `runs/blocks.py`."""


class Records(Sequence[list[float | None]]):
    """One row for each epoch, as in metrics.csv, in one array that grows."""

    def __init__(self, rows: NDArray[np.float64] | None = None) -> None:
        self._rows = np.empty((0, 0)) if rows is None else np.array(rows, np.float64)
        self._count = len(self._rows)
        self._digests: list[str] = []

    def digests(self) -> tuple[str, ...]:
        """The sha256 of each block of `BLOCK` rows; only those of new ones are computed."""
        for block in range(len(self._digests), self._count // BLOCK):
            rows = np.ascontiguousarray(self._rows[block * BLOCK : (block + 1) * BLOCK])
            self._digests.append(hashlib.sha256(rows.data).hexdigest())
        return tuple(self._digests)

    def append(self, row: Sequence[float | None]) -> None:
        """Add the row of an epoch."""
        if self._count == len(self._rows):
            longer = np.empty((max(64, 2 * self._count), len(row)))
            longer[: self._count] = self.array.reshape(self._count, len(row))
            self._rows = longer
        self._rows[self._count] = [np.nan if value is None else value for value in row]
        self._count += 1

    @property
    def array(self) -> NDArray[np.float64]:
        """(epochs, columns), NaN where there is no value."""
        return self._rows[: self._count]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: Any) -> Any:
        found = self.array[index]
        rows = [[None if math.isnan(value) else value for value in row] for row in np.atleast_2d(found).tolist()]
        return rows if isinstance(index, slice) else rows[0]


@dataclass
class TrainState:
    """The arrays and counters of a run. All vectors are flat and of one dtype; `layout` names their parts."""

    layout: Layout
    parameters: Array
    """(parameter_size,)"""
    buffers: Array
    """(buffer_size,): running statistics"""
    slots: dict[str, Array]
    """each (parameter_size,): the state of the optimizer"""
    ema: tuple[Array, Array] | None
    """Moving averages of the parameters and of the running statistics, if any."""
    best_parameters: Array
    best_buffers: Array
    progress: Progress
    history: Records = field(default_factory=Records)

    @classmethod
    def start(
        cls,
        layout: Layout,
        optimizer: Optimizer,
        initializer: Initializer,
        dtype: Any,
        seed: int,
        active: NDArray[np.bool_] | None = None,
        ema: bool = False,
        progress: Progress | None = None,
    ) -> "TrainState":
        """The state before the first step; `progress` has the start of a schedule that has a state.

        Inputs that are zero in every training row (`active` is False) start with zero weights: their gradient is always
        zero, so random values would only add noise to later rows in which such an input is not zero.
        """
        parameters, buffers = layout.neutral_parameters(dtype), layout.neutral_buffers(dtype)
        initializer.start(layout, parameters, buffers, stream(seed, "init"))
        if active is not None and initializer.file is None:
            layout.silence_inputs(parameters, active)
        slots = {name: np.zeros_like(parameters) for name in optimizer.slots}
        averages = (parameters.copy(), buffers.copy()) if ema else None
        progress = progress or Progress()
        return cls(layout, parameters, buffers, slots, averages, parameters.copy(), buffers.copy(), progress)

    @property
    def evaluated(self) -> tuple[Array, Array]:
        """The parameters and running statistics for evaluation: the moving averages, if any."""
        return (self.parameters, self.buffers) if self.ema is None else self.ema

    def restore_best(self) -> None:
        """Make the best weights the current ones; the optimizer and the moving averages start anew."""
        for parameters, buffers in ((self.parameters, self.buffers), *([self.ema] if self.ema else [])):
            np.copyto(parameters, self.best_parameters)
            np.copyto(buffers, self.best_buffers)
        for slot in self.slots.values():
            slot.fill(0)

    def keep_as_best(self, members: NDArray[np.bool_] | None = None) -> None:
        """Make the current weights the best ones; those of the marked `members` only, if they are given."""
        parameters, buffers = self.evaluated
        if members is None:
            np.copyto(self.best_parameters, parameters)
            if buffers.size:
                np.copyto(self.best_buffers, buffers)
            return
        self.layout.copy_members(parameters, self.best_parameters, members)
        if buffers.size:
            self.layout.copy_members(buffers, self.best_buffers, members)
