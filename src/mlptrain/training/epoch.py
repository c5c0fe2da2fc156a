"""What is measured and diagnosed at the end of an epoch?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlptrain.dataset import Dataset, Part
from mlptrain.errors import Diverged
from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array
from mlptrain.nn.network import Network
from mlptrain.remedies import after_divergence
from mlptrain.spec.plan import Plan
from mlptrain.training.diagnostics import Diagnostician
from mlptrain.training.early_stopping import monitored
from mlptrain.training.evaluation import ActivationWatch, held_out, validation_scores
from mlptrain.training.events import Record
from mlptrain.training.state import Diagnosed, TrainState


def columns(plan: Plan) -> list[str]:
    """The columns of metrics.csv; `learning_rate` is the rate of the last step of the epoch."""
    validation = plan.transforms.task.figures if plan.validates else ()
    layers = [f"gradient_norm.layers.{i}" for i in range(len(plan.layers) + plan.network.linear_path)]
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


class Validated(NamedTuple):
    """The measurements on the validation rows."""

    metrics: Metrics
    scores: Array | None
    """(n, outputs): the scores of these rows."""
    members: tuple[float | None, ...] = ()
    """The monitored value of each member of an ensemble, on its own validation rows."""


@dataclass(slots=True)
class Measured:
    """The measurements of an epoch, and what the diagnoses need."""

    record: Record
    watch: ActivationWatch | None
    validated: Validated


class EpochEnd:
    """Measures and diagnoses a run at the end of each epoch; it does not change the state."""

    def __init__(self, plan: Plan, network: Network, state: TrainState, dataset: Dataset) -> None:
        self._plan, self._network, self._state, self._dataset = plan, network, state, dataset
        self._columns = columns(plan)
        earlier = (dict(zip(self._columns, row, strict=True)) for row in state.history)
        self._diagnostician = Diagnostician(plan, network, dataset, earlier)

    def measure(self, learning_rate: float) -> Measured:
        """Measure the epoch, whose steps are all done; the last one had the rate `learning_rate`."""
        watch = self._watch()
        validated = self.validate(watch)
        record = dict(zip(self._columns, self._figures(learning_rate, validated.metrics), strict=True))
        return Measured(record, watch, validated)

    def validate(self, watch: ActivationWatch | None = None) -> Validated:
        """Measure the current weights on the validation rows, if there are any."""
        part = self._dataset.validation
        return Validated({}, None) if part is None else self._validate(part, watch)

    def diagnose(self, measured: Measured) -> tuple[Diagnosed, ...]:
        """The new diagnoses of the measured epoch."""
        progress, validated = self._state.progress, measured.validated
        return self._diagnostician.check(measured.record, progress, self._kept_loss(), measured.watch, validated.scores)

    def _kept_loss(self) -> float | None:
        """The validation loss of the epoch whose weights would be kept now; None if they are the initial ones."""
        progress, history = self._state.progress, self._state.history
        if "validation_loss" not in self._columns:
            return None
        kept = -1 if progress.best_cost is None else progress.best_epoch
        return None if kept is None else history[kept][self._columns.index("validation_loss")]

    def check_measured(self) -> None:
        """Refuse to end a run whose validation loss was not finite in any epoch."""
        if "validation_loss" not in self._columns:
            return
        place = self._columns.index("validation_loss")
        if all(row[place] is None for row in self._state.history):
            raise Diverged(
                f"training diverged: in all {self._state.progress.epoch} epochs the validation loss was not finite. "
                + after_divergence(self._plan.optimizer.learning_rate, self._plan.training.clips)
            )

    def diagnose_divergence(self) -> tuple[Diagnosed, ...]:
        """The new diagnoses of a run that diverged within an epoch."""
        return self._diagnostician.at_divergence(self._state.progress)

    def _watch(self) -> ActivationWatch | None:
        """A watch on the activations of the validation rows, in epochs with diagnoses."""
        wanted = self._dataset.validation is not None and self._diagnostician.checks(self._state.progress.epoch)
        return ActivationWatch(self._network) if wanted else None

    @np.errstate(all="ignore")  # an overflow gives a loss that is not finite, which is recorded as no value
    def _validate(self, part: Part, watch: ActivationWatch | None) -> Validated:
        network, dataset = self._network, self._dataset
        by_fold = validation_scores(network, *self._state.evaluated, dataset, watch)
        scores = np.concatenate(by_fold) if len(by_fold) > 1 else by_fold[0]
        validation = dataset.transforms.task.measure(network.loss, scores, part)
        return Validated(validation, scores, self._by_member(validation, by_fold))

    def _by_member(self, validation: Metrics, by_fold: list[Array]) -> tuple[float | None, ...]:
        """The monitored value of each member: that of all members that leave out the same rows."""
        task, loss, members = self._dataset.transforms.task, self._network.loss, self._network.layout.members
        if not members:
            return ()
        name = (monitored(self._plan) or "validation_loss").removeprefix("validation_")
        if len(by_fold) == 1:
            return (validation.get(name),) * members[0]
        pairs = zip(by_fold, self._dataset.groups, strict=True)
        values = [task.measure(loss, scores, held_out(fold)).get(name) for scores, fold in pairs]
        return tuple(values[k % len(values)] for k in range(*members))

    def _figures(self, learning_rate: float, validation: Metrics) -> list[float | None]:
        progress, state = self._state.progress, self._state
        norm, layer_norms = progress.mean_norms()
        return [
            progress.epoch,
            progress.step,
            progress.loss_sum / progress.rows,
            self._plan.penalty.value(state.parameters[: state.layout.weight_size]),
            *validation.values(),
            learning_rate,
            norm,
            *layer_norms,
        ]
