"""What is going wrong, and what helps?

Each diagnosis is a function from what was recorded to a message, or None when all is well; each has a remedy.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.network import Network
from mlptrain.train.evaluation import ActivationWatch
from mlptrain.train.events import Record
from mlptrain.train.state import Progress, Warned

PATIENT = 5  # epochs before a trend is believed
CLOSELY, SELDOM = 30, 10  # every epoch is looked at up to the first, then one in so many


class Trend:
    """What has to be known of one column of the history, in constant room; `mean` is over the last epochs."""

    def __init__(self) -> None:
        self.first = self.lowest = self.lowest_mean = math.inf
        self.recent: deque[float] = deque(maxlen=2 * PATIENT)
        self.count = 0

    def add(self, value: float) -> None:
        """Take in the value of the next epoch."""
        if self.count == 0:
            self.first = value
        self.lowest = min(self.lowest, value)
        self.recent.append(value)
        self.count += 1
        if self.count >= PATIENT:
            self.lowest_mean = min(self.lowest_mean, self.mean)

    @property
    def mean(self) -> float:
        """The mean of the last epochs."""
        values = list(self.recent)[-PATIENT:]
        return sum(values) / len(values)

    @property
    def mean_before(self) -> float:
        """The mean of as many epochs before them; NaN as long as there are not enough."""
        values = list(self.recent)[:-PATIENT]
        return sum(values) / PATIENT if len(values) == PATIENT else math.nan


@dataclass(frozen=True)
class Seen:
    """What a diagnosis can look at after an epoch."""

    record: Record
    train: Trend
    validation: Trend
    first_loss: float
    naive_loss: float
    """The loss when every score is zero: ln C for C classes, the mean square of a scaled target."""
    network: Network
    watch: ActivationWatch | None
    scores: Array | None
    """(n, outputs): the scores of the validation rows."""


class Diagnosis(Protocol):
    """A function that looks for one thing that goes wrong; its name is that of the diagnosis."""

    __name__: str

    def __call__(self, seen: Seen) -> str | None:
        """What was seen, or None when all is well."""


def first_loss_far_from_theory(seen: Seen) -> str | None:
    """A fresh network knows nothing: its loss should be near that of equal scores."""
    if seen.first_loss > 5 * seen.naive_loss + 1:
        expected = f"a network that knows nothing should have about {seen.naive_loss:.3g}"
        return f"the loss at the first step is {seen.first_loss:.3g}; {expected}"
    return None


def loss_not_falling(seen: Seen) -> str | None:
    """The training loss is after several epochs where it was."""
    train = seen.train
    if train.count > PATIENT and train.lowest > 0.99 * train.first:
        return f"the training loss was {train.first:.4g} in epoch 0 and is {train.recent[-1]:.4g} now"
    return None


def overfitting(seen: Seen) -> str | None:
    """The two losses part for several epochs: training goes down while validation goes up, well above it."""
    train, validation = seen.train, seen.validation
    if validation.count < 2 * PATIENT:
        return None
    if not (train.mean < train.mean_before and validation.mean > 1.01 * validation.mean_before):
        return None
    parted = validation.mean > max(1.15 * validation.lowest_mean, 1.3 * train.mean, 0.05 * seen.naive_loss)
    if not parted:
        return None
    now = f"{validation.mean:.4g} while the training loss fell to {train.mean:.4g}"
    return f"the validation loss has risen from {validation.lowest_mean:.4g} to {now} (means of {PATIENT} epochs)"


def layer_ratio(seen: Seen) -> float | None:
    """How large the gradient of the first layer is beside that of the last, per weight."""
    layout = seen.network.layout
    first, last = (seen.record[f"gradient_norm.layers.{i}"] for i in (0, layout.depth - 1))
    if layout.depth < 2 or not first or not last:
        return None
    sizes = [weights.size for weights in layout.layer_weights(np.empty(layout.parameter_size, bool))]
    return first / math.sqrt(sizes[0]) / (last / math.sqrt(sizes[-1]))


def vanishing_gradients(seen: Seen) -> str | None:
    """The gradient that reaches the first layer is a tiny part of that of the last."""
    ratio = layer_ratio(seen)
    if ratio is not None and ratio < 1e-3:
        return f"the gradient of the first layer is {ratio:.1e} of that of the last"
    return None


def exploding_gradients(seen: Seen) -> str | None:
    """The gradient grows on its way from the last layer to the first, or is huge beside the loss to expect."""
    ratio, norm = layer_ratio(seen), seen.record["gradient_norm"] or 0.0
    if ratio is not None and ratio > 1e3:
        return f"the gradient of the first layer is {ratio:.1e} times that of the last"
    if norm > 1e3 * seen.naive_loss:
        return f"the norm of the gradient is {norm:.1e}, at a loss that should be about {seen.naive_loss:.2g}"
    return None


def dead_units(seen: Seen) -> str | None:
    """Rectifiers that are zero on every validation row learn nothing any more."""
    if seen.watch is None:
        return None
    shares = seen.watch.dead_shares(seen.network)
    worst = int(np.argmax(shares)) if shares else 0
    if shares and shares[worst] >= 0.5:
        return f"{shares[worst]:.0%} of the units of layer {worst} are zero on every validation row"
    return None


def saturated_units(seen: Seen) -> str | None:
    """Activations next to their asymptotes pass hardly any gradient."""
    if seen.watch is None:
        return None
    shares = seen.watch.saturated_shares()
    worst = int(np.argmax(shares)) if shares else 0
    if shares and shares[worst] >= 0.5:
        return f"{shares[worst]:.0%} of the activations of layer {worst} lie next to an asymptote"
    return None


def constant_output(seen: Seen) -> str | None:
    """The network says the same for every row."""
    if seen.scores is None or len(seen.scores) < 2:
        return None
    spread, size = float(np.ptp(seen.scores, axis=0).max()), float(np.abs(seen.scores).max())
    if spread <= 1e-5 * max(size, 1e-30):
        return "the prediction is the same for every validation row"
    return None


DIAGNOSES: tuple[tuple[Diagnosis, str], ...] = (
    (
        first_loss_far_from_theory,
        "scale the inputs and the target, or start with smaller weights (network.initializer: auto)",
    ),
    (
        loss_not_falling,
        "change optimizer.learning_rate: ten times larger if the loss is still, smaller if it jumps",
    ),
    (
        overfitting,
        "add network.dropout or penalty.l2, use a smaller network, or let training.early_stopping end the run",
    ),
    (vanishing_gradients, "use relu with he_normal, normalization: batch, or fewer layers"),
    (
        exploding_gradients,
        "set training.clip_norm: 1.0, lower optimizer.learning_rate, or use normalization: batch",
    ),
    (dead_units, "lower optimizer.learning_rate, or use activation: leaky_relu"),
    (saturated_units, "scale the inputs, start with smaller weights, or use activation: relu"),
    (constant_output, "lower optimizer.learning_rate, or check that the features carry information"),
)


class Diagnostician:
    """Looks at each epoch and makes each diagnosis once."""

    def __init__(self, network: Network, naive_loss: float, earlier: Iterable[Record]) -> None:
        self._network, self._naive_loss = network, naive_loss
        self._train, self._validation = Trend(), Trend()
        for record in earlier:
            self._take_in(record)

    def looks_at(self, epoch: int) -> bool:
        """Whether diagnoses are made in `epoch`; what goes wrong late goes wrong slowly."""
        return epoch < CLOSELY or epoch % SELDOM == 0

    def _take_in(self, record: Record) -> None:
        for trend, name in ((self._train, "train_loss"), (self._validation, "validation_loss")):
            value = record.get(name)
            if value is not None:
                trend.add(value)

    def at_divergence(self, progress: Progress) -> list[Warned]:
        """What can be said of a run that ends within an epoch."""
        check, remedy = DIAGNOSES[0]
        if progress.first_loss is None or check.__name__ in {warned.name for warned in progress.warnings}:
            return []
        seen = Seen({}, self._train, self._validation, progress.first_loss, self._naive_loss, self._network, None, None)
        message = check(seen)
        return [self._warned(progress, check, message, remedy)] if message else []

    def look(
        self, record: Record, progress: Progress, watch: ActivationWatch | None, scores: Array | None
    ) -> list[Warned]:
        """The diagnoses that hold after the epoch of `record`, if it is looked at, and were not made before."""
        self._take_in(record)
        if not self.looks_at(progress.epoch):
            return []
        assert progress.first_loss is not None
        seen = Seen(
            record,
            self._train,
            self._validation,
            progress.first_loss,
            self._naive_loss,
            self._network,
            watch,
            scores,
        )
        known = {warned.name for warned in progress.warnings}
        found = [(check, check(seen), remedy) for check, remedy in DIAGNOSES if check.__name__ not in known]
        return [self._warned(progress, check, message, remedy) for check, message, remedy in found if message]

    def _warned(self, progress: Progress, check: Diagnosis, message: str, remedy: str) -> Warned:
        return Warned(name=check.__name__, epoch=progress.epoch, message=message, remedy=remedy)


def worse_than_baseline(results: Metrics, baselines: dict[str, Metrics | None], epoch: int) -> Warned | None:
    """The diagnosis of a run whose loss is above that of a trivial model on the same rows, by more than a trifle."""
    constant = baselines.get("constant")
    trifle = 0.01 * abs((constant or {}).get("loss") or 0.0)
    beaten_by = [
        name
        for name, metrics in baselines.items()
        if metrics is not None and (metrics["loss"] or 0.0) + trifle < (results["loss"] or 0.0)
    ]
    if not beaten_by:
        return None
    return Warned(
        name="worse_than_baseline",
        epoch=epoch,
        message=f"the {beaten_by[0]} model has a lower loss than the network",
        remedy="train longer, change optimizer.learning_rate, add penalty.l2, or take the simpler model",
    )


def naive_loss(network: Network, target: Target) -> float:
    """The loss of a network that knows nothing: every pre-activation of the output layer is zero."""
    scores = np.tile(network.scores_at_zero(), (len(target), 1))
    return float(network.loss.value(scores, target, class_weights=network.class_weights))
