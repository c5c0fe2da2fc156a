"""What is done when an epoch is over? It is measured, compared with the best, and looked at for what goes wrong."""

from __future__ import annotations

import math

import numpy as np

from mlptrain.data.dataset import Dataset, Part
from mlptrain.errors import Diverged
from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array
from mlptrain.nn.network import Network
from mlptrain.spec.plan import Plan
from mlptrain.train.diagnostics import Diagnostician, naive_loss
from mlptrain.train.early_stopping import higher_is_better, judge, monitored, patience_is_over
from mlptrain.train.evaluation import ActivationWatch, part_scores
from mlptrain.train.events import EpochDone, Record
from mlptrain.train.state import TrainState


def columns(plan: Plan) -> list[str]:
    """The columns of metrics.csv."""
    validation = plan.transforms.task.figures if plan.validates else ()
    layers = [f"gradient_norm.layers.{i}" for i in range(len(plan.layers))]
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


class Observer:
    """Ends the epochs of one run."""

    def __init__(self, plan: Plan, network: Network, state: TrainState, dataset: Dataset) -> None:
        self._plan, self._network, self._state, self._dataset = plan, network, state, dataset
        self._columns = columns(plan)
        self._monitor = monitored(plan)
        earlier = (dict(zip(self._columns, row, strict=True)) for row in state.history)
        self._diagnostician = Diagnostician(network, naive_loss(network, dataset.training.target()), earlier)

    def end_epoch(self, learning_rate: float) -> EpochDone:
        """Measure the epoch whose steps are all done, and go on to the next one."""
        state, progress = self._state, self._state.progress
        watch = self._watch()
        validation, scores = self._validate(watch)
        record = dict(zip(self._columns, self._figures(learning_rate, validation), strict=True))
        state.history.append(list(record.values()))
        improved = self._compare(record)
        warnings = self._diagnostician.look(record, progress, watch, scores)
        progress.warnings.extend(warnings)
        progress.begin_epoch()
        if patience_is_over(progress, self._plan.training.early_stopping):
            progress.stopped = "early_stopping"
        elif progress.epoch == self._plan.training.epochs:
            progress.stopped = "epochs"
        return EpochDone(record, improved, tuple(warnings))

    def note_divergence(self) -> None:
        """Make the diagnoses that a run allows which ends within an epoch."""
        progress = self._state.progress
        progress.warnings.extend(self._diagnostician.at_divergence(progress))

    def _watch(self) -> ActivationWatch | None:
        """What looks at the activations of the validation rows, in an epoch in which they matter."""
        wanted = self._dataset.validation is not None and self._diagnostician.looks_at(self._state.progress.epoch)
        return ActivationWatch(self._network) if wanted else None

    def _validate(self, watch: ActivationWatch | None) -> tuple[Metrics, Array | None]:
        part = self._dataset.validation
        return ({}, None) if part is None else self._measure(part, watch)

    @np.errstate(all="ignore")  # an overflow ends in a loss that is not finite, which is checked
    def _measure(self, part: Part, watch: ActivationWatch | None) -> tuple[Metrics, Array]:
        state, progress = self._state, self._state.progress
        scores = part_scores(self._network, state.judged, state.buffers, part, watch)
        validation = self._dataset.transforms.task.measure(self._network.loss, scores, part)
        if validation["loss"] is None:
            raise Diverged(
                f"training diverged: after epoch {progress.epoch} the validation loss is not finite. "
                "Lower optimizer.learning_rate, or set training.clip_norm: 1.0"
            )
        return validation, scores

    def _figures(self, learning_rate: float, validation: Metrics) -> list[float | None]:
        progress, state = self._state.progress, self._state
        return [
            progress.epoch,
            progress.step,
            progress.loss_sum / progress.rows,
            self._plan.penalty.value(state.parameters[: state.layout.weight_size]),
            *validation.values(),
            learning_rate,
            math.sqrt(progress.squared_norm_sum / progress.batch),
            *progress.layer_norms,
        ]

    def _compare(self, record: Record) -> bool:
        """Keep the weights if they are the best so far, or if nothing tells; let the schedule see the value."""
        progress, monitor = self._state.progress, self._monitor or "train_loss"
        value, higher = record[monitor], higher_is_better(monitor)
        stopping = self._plan.training.early_stopping
        improved = judge(progress, progress.epoch, value, higher, stopping) if self._monitor else True
        if improved:
            self._state.keep_as_best()
        if value is not None:
            self._plan.schedule.observe(progress.schedule, value, higher)
        return improved
