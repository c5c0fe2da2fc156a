"""What must survive a kill, so that a run goes on as if nothing had happened?

Everything that the loop remembers from one step to the next is here; everything else is derived from the experiment,
the data and these counters.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mlptrain.component import Frozen
from mlptrain.nn.arrays import Array
from mlptrain.nn.initializers import FromFile, Initializer
from mlptrain.nn.layout import Layout
from mlptrain.optim.optimizers import Optimizer
from mlptrain.randomness import stream

Stopped = Literal["epochs", "early_stopping"]


class Warned(Frozen):
    """A diagnosis that was made: its name, the epoch of the first time, what was seen and what helps."""

    name: str
    epoch: int
    message: str
    remedy: str


Count = Annotated[int, Field(ge=0)]


@dataclass(config=ConfigDict(strict=True, extra="forbid"))
class Progress:
    """Where a run is: counters, running sums of the part-finished epoch, the memory of early stopping."""

    epoch: Count = 0
    batch: Count = 0
    """Batches of this epoch that are done."""
    step: Count = 0
    loss_sum: float = 0.0
    """Sum over this epoch's rows of the loss before each update."""
    rows: Count = 0
    squared_norm_sum: float = 0.0
    """Sum over this epoch's steps of the squared gradient norm."""
    layer_norms: list[float] = field(default_factory=list)
    """Norm of each layer's weight gradient in the last step of the epoch."""
    first_loss: float | None = None
    best_cost: float | None = None
    """The monitored value of the best epoch, negated where higher is better."""
    best_epoch: Count | None = None
    patience_cost: float | None = None
    schedule: dict[str, float] = field(default_factory=dict)
    """What the schedule remembers."""
    wait: Count = 0
    stopped: Stopped | None = None
    warnings: list[Warned] = field(default_factory=list)

    def count(self, loss: float, rows: int, squared_norm: float) -> None:
        """Take in a step: its loss before the update, its rows and its squared gradient norm."""
        if self.first_loss is None:
            self.first_loss = loss
        self.loss_sum += loss * rows
        self.squared_norm_sum += squared_norm
        self.rows += rows
        self.batch += 1

    def begin_epoch(self) -> None:
        """Go on to the next epoch."""
        self.epoch += 1
        self.batch = self.rows = 0
        self.loss_sum = self.squared_norm_sum = 0.0


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
    average: Array | None
    """(parameter_size,): the moving average of the parameters, where there is one"""
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
        lit: NDArray[np.bool_] | None = None,
        averaging: bool = False,
    ) -> TrainState:
        """The state before the first step.

        Inputs that are zero in every training row (`lit` is False) start with zero weights: no gradient ever reaches
        these weights, so that their random values would only disturb later rows in which such an input is not zero.
        """
        parameters, buffers = layout.neutral_parameters(dtype), layout.neutral_buffers(dtype)
        initializer.start(layout, parameters, buffers, stream(seed, "init"))
        if lit is not None and not isinstance(initializer, FromFile):
            layout.silence_inputs(parameters, lit)
        slots = {name: np.zeros_like(parameters) for name in optimizer.slots}
        average = parameters.copy() if averaging else None
        return cls(layout, parameters, buffers, slots, average, parameters.copy(), buffers.copy())

    @property
    def judged(self) -> Array:
        """The parameters that are evaluated: the average, where there is one."""
        return self.parameters if self.average is None else self.average

    def keep_as_best(self) -> None:
        """Make the weights of now the best ones."""
        np.copyto(self.best_parameters, self.judged)
        np.copyto(self.best_buffers, self.buffers)
