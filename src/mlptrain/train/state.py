"""What must survive a kill, so that a run goes on as if nothing had happened?

Everything that the loop keeps from one step to the next is here; everything else follows from the plan, the data and
these counters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import field
from operator import add
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mlptrain.component import Frozen
from mlptrain.nn.arrays import Array
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.layout import Layout
from mlptrain.optim.optimizers import Optimizer
from mlptrain.randomness import stream

Stopped = Literal["epochs", "early_stopping"]
Count = Annotated[int, Field(ge=0)]
LAYERS_EVERY = 16
"""The norms of the layers are taken in the first step of an epoch, and then in one in so many."""


class Diagnosed(Frozen):
    """A diagnosis that was made: its name, the epoch in which it first held, what was seen and what helps."""

    name: str
    epoch: int
    message: str
    remedy: str


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """Where a run is: counters, running sums of the current epoch, the state of early stopping and of the schedule.

    It changes by its methods alone, and the training loop alone calls them.
    """

    epoch: Count = 0
    batch: Count = 0
    """Batches of this epoch that are done."""
    step: Count = 0
    loss_sum: float = 0.0
    """Sum over this epoch's rows of the loss before each update."""
    rows: Count = 0
    squared_norm_sum: float = 0.0
    """Sum over this epoch's steps of the squared gradient norm."""
    layer_squared_norm_sums: list[float] = field(default_factory=list)
    """The same for the gradient of each layer's weights, over the steps in which the layers are looked at."""
    first_loss: float | None = None
    best_cost: float | None = None
    """The monitored value of the best epoch, negated where higher is better."""
    best_epoch: Count | None = None
    patience_cost: float | None = None
    schedule: dict[str, float] = field(default_factory=dict)
    """The state of the schedule."""
    wait: Count = 0
    stopped: Stopped | None = None
    warnings: list[Diagnosed] = field(default_factory=list)

    @property
    def looks_at_layers(self) -> bool:
        """Whether the norm of each layer's gradient is taken in the step at hand; in each it would cost too much."""
        return self.batch % LAYERS_EVERY == 0

    def count_step(self, loss: float, rows: int, squared_norm: float, layer_squared_norms: Sequence[float]) -> None:
        """Count a step: its loss before the update, its rows, the squared norms of its gradient and of each layer's."""
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

    def judge(self, value: float | None, higher_is_better: bool, min_delta: float) -> bool:
        """Take in the monitored value of this epoch; say whether its weights are the ones to keep.

        They are if it is the best value so far, or as long as no epoch has had one. Patience waits for a value that
        is better by more than `min_delta`, and does not run before the first value.
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

    def warn(self, diagnoses: Sequence[Diagnosed]) -> None:
        """Keep what was diagnosed for the first time."""
        self.warnings.extend(diagnoses)

    def end_epoch(self, epochs: int, patience: int | None) -> None:
        """Go on to the next epoch, or stop: after all `epochs`, or after `patience` of them without improvement."""
        self.epoch += 1
        self.batch = self.rows = 0
        self.loss_sum, self.squared_norm_sum, self.layer_squared_norm_sums = 0.0, 0.0, []
        if patience is not None and self.wait >= patience:
            self.stopped = "early_stopping"
        elif self.epoch == epochs:
            self.stopped = "epochs"

    def mean_norms(self) -> tuple[float, list[float]]:
        """The root mean square over this epoch's steps of the gradient norm, and of that of each layer's weights."""
        looks = -(-self.batch // LAYERS_EVERY)
        layers = [math.sqrt(total / looks) for total in self.layer_squared_norm_sums]
        return math.sqrt(self.squared_norm_sum / self.batch), layers


@dataclasses.dataclass
class TrainState:
    """The arrays and counters of a run. All vectors are flat and of one dtype; `layout` names their parts."""

    layout: Layout
    parameters: Array
    """(parameter_size,)"""
    buffers: Array
    """(buffer_size,): running statistics"""
    slots: dict[str, Array]
    """each (parameter_size,): what the optimizer remembers"""
    ema: tuple[Array, Array] | None
    """Moving averages of the parameters and of the running statistics, where they are wanted."""
    best_parameters: Array
    best_buffers: Array
    progress: Progress = dataclasses.field(default_factory=Progress)
    history: list[list[float | None]] = dataclasses.field(default_factory=list)
    """One row an epoch, as in metrics.csv."""

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
    ) -> TrainState:
        """The state before the first step.

        Inputs that are zero in every training row (`active` is False) start with zero weights: no gradient ever
        reaches these weights, so their random values would only disturb later rows in which such an input is not zero.
        """
        parameters, buffers = layout.neutral_parameters(dtype), layout.neutral_buffers(dtype)
        initializer.start(layout, parameters, buffers, stream(seed, "init"))
        if active is not None and initializer.file is None:
            layout.silence_inputs(parameters, active)
        slots = {name: np.zeros_like(parameters) for name in optimizer.slots}
        averages = (parameters.copy(), buffers.copy()) if ema else None
        return cls(layout, parameters, buffers, slots, averages, parameters.copy(), buffers.copy())

    @property
    def evaluated(self) -> tuple[Array, Array]:
        """The parameters and running statistics that are evaluated: the averages, where there are some."""
        return (self.parameters, self.buffers) if self.ema is None else self.ema

    def keep_as_best(self) -> None:
        """Make the current weights the best ones."""
        parameters, buffers = self.evaluated
        np.copyto(self.best_parameters, parameters)
        np.copyto(self.best_buffers, buffers)
