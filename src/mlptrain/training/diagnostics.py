"""What goes wrong in training, and what are the remedies?

Each diagnosis is one class: it returns a message, or None if all is well, and lists remedies. The classes are collected
automatically. Losses are compared by their excess over the lowest value that any prediction could reach, which is not 0
for a Poisson loss or with label smoothing.

A diagnosis is made where something costs: what looks unusual in a network that learns well is not told. A remedy is a
line of YAML that the plan does not have already, or several of them, joined by `and`.
"""

import math
from abc import abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from mlptrain.component import Component, variants
from mlptrain.dataset import Dataset, Part
from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array
from mlptrain.nn.network import Network
from mlptrain.numbers import brief, number
from mlptrain.remedies import setting
from mlptrain.spec.plan import Plan
from mlptrain.training.early_stopping import monitored
from mlptrain.training.evaluation import ActivationWatch
from mlptrain.training.events import Record
from mlptrain.training.state import Diagnosed, Progress

WINDOW = 5
"""Epochs over which a trend is averaged."""
CHECK_ALL_BEFORE, CHECK_EVERY = 30, 10
"""Every epoch before the first number is checked, then every tenth."""


class Trend:
    """The trend of one column of the history, in constant memory.

    `floor` is the lowest value that the column can have; `mean` is over the last epochs.
    """

    def __init__(self, floor: float = 0.0) -> None:
        self.floor = floor
        self.first = self.lowest = self.lowest_mean = math.inf
        self.recent: deque[float] = deque(maxlen=2 * WINDOW)
        self.count = 0

    def add(self, value: float) -> None:
        """Add the value of the next epoch."""
        if self.count == 0:
            self.first = value
        self.lowest = min(self.lowest, value)
        self.recent.append(value)
        self.count += 1
        if self.count >= WINDOW:
            self.lowest_mean = min(self.lowest_mean, self.mean)

    def excess(self, value: float) -> float:
        """How far `value` is above the lowest possible value."""
        return value - self.floor

    @property
    def mean(self) -> float:
        """The mean of the last epochs."""
        values = list(self.recent)[-WINDOW:]
        return sum(values) / len(values)

    @property
    def mean_before(self) -> float:
        """The mean of the same number of epochs before them; NaN if there are not enough."""
        values = list(self.recent)[:-WINDOW]
        return sum(values) / WINDOW if len(values) == WINDOW else math.nan


@dataclass(frozen=True)
class Moment:
    """What a diagnosis and its remedies can use at any time."""

    plan: Plan
    progress: Progress

    @property
    def overfits(self) -> bool:
        """Whether the loss is much higher on other rows than on the training rows."""
        return False

    @property
    def improves(self) -> bool:
        """Whether training ended while it was still improving."""
        return False

    @property
    def jumps(self) -> bool:
        """Whether the training loss goes up and down."""
        return False


@dataclass(frozen=True)
class Seen(Moment):
    """What a diagnosis can use after an epoch."""

    network: Network
    weight_sizes: tuple[int, ...]
    """Number of weights of each layer."""
    record: Record
    trends: Mapping[str, Trend]
    """The trend of each column that some diagnosis names in its `columns`."""
    first_loss: float
    naive_loss: float
    """The loss when every score is zero: ln C for C classes, the mean square of a scaled target."""
    constant_loss: float
    """The loss of the best constant prediction on the training rows."""
    kept_loss: float | None
    """The validation loss of the epoch whose weights would be kept now; None for the initial weights."""
    watch: ActivationWatch | None
    scores: Array | None
    """(n, outputs): the scores of the validation rows."""

    @property
    def fails(self) -> bool:
        """Whether no epoch was clearly better than a constant prediction."""
        trend = self.validation if self.validation.count else self.train
        return bool(trend.count) and trend.excess(trend.lowest) > 0.9 * trend.excess(self.constant_loss)

    @property
    def jumps(self) -> bool:
        recent = list(self.train.recent)[-WINDOW:]
        return bool(recent) and max(recent) - min(recent) > 0.02 * self.train.excess(max(recent))

    @property
    def train(self) -> Trend:
        """The training loss."""
        return self.trends["train_loss"]

    @property
    def validation(self) -> Trend:
        """The validation loss."""
        return self.trends["validation_loss"]

    @property
    def naive_excess(self) -> float:
        """The excess of the naive loss: the largest possible improvement over it."""
        return self.train.excess(self.naive_loss)


@dataclass(frozen=True)
class Reached(Moment):
    """What a diagnosis can use after training: the results on the test rows, or else on the validation rows."""

    results: Metrics
    train_loss: float | None
    baselines: Mapping[str, Metrics | None]
    lowest_loss: float
    """The lowest loss that any prediction could reach on these rows."""
    watch: ActivationWatch | None = None
    """The activations of the kept weights on the validation rows."""

    @property
    def overfits(self) -> bool:
        loss = self.results["loss"]
        if loss is None or self.train_loss is None:
            return False
        constant = (self.baselines.get("constant") or {}).get("loss")
        excess, train = loss - self.lowest_loss, self.train_loss - self.lowest_loss
        return excess > 1.2 * train and (constant is None or train < 0.9 * (constant - self.lowest_loss))

    @property
    def improves(self) -> bool:
        progress = self.progress
        if progress.stopped != "epochs" or self.overfits:
            return False
        if monitored(self.plan) is None:
            return True
        return progress.best_epoch is not None and progress.best_epoch >= 0.9 * (progress.epoch - 1)

    def excess_over(self, baseline: str) -> float | None:
        """How much higher the loss is than that of a baseline; None where one of them is not known."""
        loss, metrics = self.results["loss"], self.baselines.get(baseline)
        other = None if metrics is None else metrics["loss"]
        return None if loss is None or other is None else loss - other


class Diagnosis(Component):
    """One thing that can go wrong. A variant overrides the method of the moment when it can be detected."""

    columns: ClassVar[tuple[str, ...]] = ()
    """The columns of the history whose trend it needs."""

    def after_epoch(self, seen: Seen) -> str | None:
        """A message about an epoch, or None if all is well."""
        return None

    def at_divergence(self, seen: Seen) -> str | None:
        """A message about a run that diverged within an epoch, which has no record."""
        return None

    def after_training(self, reached: Reached) -> str | None:
        """A message about the results, or None if all is well."""
        return None

    @abstractmethod
    def remedies(self, moment: Moment) -> Iterator[str]:
        """Lines of YAML to try, best first; only settings that the plan does not have already."""


def optimizer_with(plan: Plan, **change: float) -> str:
    """The optimizer with another setting, complete, so that it also works where a preset has chosen it."""
    kind = {} if plan.optimizer.name() == "adam" else {"kind": plan.optimizer.name()}
    given = plan.optimizer.model_dump(exclude_defaults=True, exclude={"kind"})
    line, rates = setting(optimizer={**kind, **given, **change}), plan.training.rates
    return line if rates == "uniform" else f"{line} and {setting(training={'rates': rates})}"


def slower(plan: Plan) -> str:
    """A tenth of the learning rate."""
    return optimizer_with(plan, learning_rate=plan.optimizer.learning_rate / 10)


def simpler(plan: Plan) -> Iterator[str]:
    """Settings against overfitting: dropout, and a stronger decay or penalty of the weights."""
    if plan.network.hidden and not plan.network.dropout:
        yield setting(network={"dropout": 0.2})
    decay = getattr(plan.optimizer, "weight_decay", None)
    if decay is None:
        yield setting(penalty={"l2": plan.penalty.l2 * 10 or 1e-3})
    elif 3 * decay * plan.optimizer.learning_rate <= 1:
        yield optimizer_with(plan, weight_decay=decay * 3 or 0.01)


def lighter(plan: Plan) -> Iterator[str]:
    """Weaker penalties."""
    for name in ("l1", "l2"):
        if weight := getattr(plan.penalty, name):
            yield setting(penalty={name: weight / 10})


def normalized(plan: Plan) -> Iterator[str]:
    """Normalization of the layers, which needs more than one row in a batch."""
    if plan.network.normalization is None and plan.network.hidden:
        yield setting(network={"normalization": "layer" if plan.training.batch_size == 1 else "batch"})


def rescaled(plan: Plan) -> Iterator[str]:
    """The usual initial weights and scales of inputs and target."""
    if plan.network.initializer.name() != "auto":
        yield setting(network={"initializer": "auto"})
    if plan.data.numeric.scale.name() == "none":
        yield setting(data={"numeric": {"scale": "standard"}})
    target = plan.data.scale_target
    if target is not None and target.is_identity and plan.loss.scalable and plan.network.output_activation.is_identity:
        yield setting(data={"scale_target": "standard"})


def starts_trained(plan: Plan) -> bool:
    """Whether the first loss is not that of random weights: of a fitted linear path, or of weights from a file."""
    return plan.network.linear_path or plan.network.initializer.file is not None


class FirstLossFarFromTheory(Diagnosis):
    """The loss of an untrained network should be near that of equal scores."""

    kind: Literal["first_loss_far_from_theory"] = "first_loss_far_from_theory"
    columns: ClassVar = ("train_loss",)

    def after_epoch(self, seen: Seen) -> str | None:
        if not starts_trained(seen.plan) and seen.train.excess(seen.first_loss) > 5 * seen.naive_excess + 1:
            expected = f"an untrained network should have about {number(seen.naive_loss)}"
            return f"the loss at the first step is {number(seen.first_loss)}; {expected}"
        return None

    def at_divergence(self, seen: Seen) -> str | None:
        return self.after_epoch(seen)

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield from rescaled(moment.plan)
        yield from normalized(moment.plan)


class LossNotFalling(Diagnosis):
    """The training loss has not fallen after several epochs, and is hardly lower than that of a constant."""

    kind: Literal["loss_not_falling"] = "loss_not_falling"
    columns: ClassVar = ("train_loss",)

    def after_epoch(self, seen: Seen) -> str | None:
        train, lowest = seen.train, seen.train.excess(seen.train.lowest)
        if starts_trained(seen.plan) or train.count <= WINDOW + seen.plan.schedule.warmup:
            return None
        if lowest > 0.99 * train.excess(train.first) and lowest > 0.9 * train.excess(seen.constant_loss):
            how = "jumps" if seen.jumps else "hardly moves"
            return (
                f"the training loss was {number(train.first)} in epoch 0, is {number(train.recent[-1])} now, and {how}"
            )
        return None

    def remedies(self, moment: Moment) -> Iterator[str]:
        plan = moment.plan
        if moment.jumps:
            yield slower(plan)
        elif 10 * getattr(plan.optimizer, "weight_decay", 0.0) * plan.optimizer.learning_rate <= 1:
            yield optimizer_with(plan, learning_rate=plan.optimizer.learning_rate * 10)
        yield from rescaled(plan)


class Overfitting(Diagnosis):
    """For several epochs the training loss falls while the validation loss rises, and weights of that time are kept.

    Where the epoch with the lowest validation loss is kept, as by default, later epochs cost nothing but time.
    """

    kind: Literal["overfitting"] = "overfitting"
    columns: ClassVar = ("train_loss", "validation_loss")

    def after_epoch(self, seen: Seen) -> str | None:
        train, validation = seen.train, seen.validation
        if validation.count < 2 * WINDOW or train.mean >= train.mean_before or seen.kept_loss is None:
            return None
        if validation.excess(seen.kept_loss) <= 1.15 * validation.excess(validation.lowest):
            return None
        now = validation.excess(validation.mean)
        lowest = validation.excess(validation.lowest_mean)
        rises = now > 1.01 * validation.excess(validation.mean_before)
        if not (rises and now > max(1.15 * lowest, 1.3 * train.excess(train.mean), 0.05 * seen.naive_excess)):
            return None
        means = (
            f"{number(validation.mean)} while the training loss fell to {number(train.mean)} (means of {WINDOW} epochs)"
        )
        kept = f"the weights that are kept have {number(seen.kept_loss)}"
        return f"the validation loss has risen from {number(validation.lowest_mean)} to {means}, and {kept}"

    def remedies(self, moment: Moment) -> Iterator[str]:
        if monitored(moment.plan) != "validation_loss":
            yield setting(training={"early_stopping": {"monitor": "validation_loss"}})
        yield from simpler(moment.plan)


def layer_ratio(seen: Seen) -> float | None:
    """The ratio of the gradients of the first and the last layer, per weight."""
    sizes, end = seen.weight_sizes, len(seen.network.layers) - 1
    first, last = (seen.record[f"gradient_norm.layers.{i}"] for i in (0, end))
    if not end or not first or not last:
        return None
    return first / math.sqrt(sizes[0]) / (last / math.sqrt(sizes[end]))


class VanishingGradients(Diagnosis):
    """The gradient of the first layer is tiny compared with that of the last, and the network does not learn."""

    kind: Literal["vanishing_gradients"] = "vanishing_gradients"

    def after_epoch(self, seen: Seen) -> str | None:
        ratio = layer_ratio(seen)
        if ratio is not None and ratio < 1e-3 and seen.fails:
            return f"the gradient of the first layer is {ratio:.1e} of that of the last"
        return None

    def remedies(self, moment: Moment) -> Iterator[str]:
        if moment.plan.network.activation.name() != "relu":
            yield setting(network={"activation": "relu", "initializer": "he_normal"})
        yield from normalized(moment.plan)


class ExplodingGradients(Diagnosis):
    """The gradient grows from the last layer to the first, or is huge compared with the expected loss."""

    kind: Literal["exploding_gradients"] = "exploding_gradients"
    columns: ClassVar = ("train_loss",)

    def after_epoch(self, seen: Seen) -> str | None:
        ratio, norm = layer_ratio(seen), seen.record["gradient_norm"] or 0.0
        if ratio is not None and ratio > 1e3:
            return f"the gradient of the first layer is {brief(ratio, 2)} times that of the last"
        if norm > 1e3 * max(seen.naive_excess, 1e-2):
            return f"the gradient norm is {brief(norm)}, for a loss that should be about {number(seen.naive_loss)}"
        return None

    def remedies(self, moment: Moment) -> Iterator[str]:
        if not moment.plan.training.clips:
            yield setting(training={"clip_norm": 1.0})
        yield slower(moment.plan)
        yield from normalized(moment.plan)


class DeadUnits(Diagnosis):
    """Half of the rectifiers of a layer, or more, are zero on every validation row, and a simple model is as good.

    During training that is a constant, at the end the linear model.
    """

    kind: Literal["dead_units"] = "dead_units"

    def after_epoch(self, seen: Seen) -> str | None:
        return self._message(seen, seen.watch) if seen.fails else None

    def after_training(self, reached: Reached) -> str | None:
        worse = reached.excess_over("linear")
        return self._message(reached, reached.watch) if worse is not None and worse > 0 else None

    def _message(self, moment: Moment, watch: ActivationWatch | None) -> str | None:
        worst = worst_layer([] if watch is None else watch.dead_shares())
        what = f"units of {layer_text(moment.plan, worst[0])} are zero on every validation row" if worst else ""
        return worst and f"{worst[1]:.0%} of the {what}"

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield slower(moment.plan)
        if moment.plan.network.activation.name() != "leaky_relu":
            yield setting(network={"activation": "leaky_relu"})


class SaturatedUnits(Diagnosis):
    """Activations close to their asymptotes pass hardly any gradient, and the network does not learn."""

    kind: Literal["saturated_units"] = "saturated_units"

    def after_epoch(self, seen: Seen) -> str | None:
        worst = worst_layer([] if seen.watch is None or not seen.fails else seen.watch.saturated_shares())
        what = f"activations of {layer_text(seen.plan, worst[0])} are close to an asymptote" if worst else ""
        return worst and f"{worst[1]:.0%} of the {what}"

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield from rescaled(moment.plan)
        if moment.plan.network.activation.name() != "relu":
            yield setting(network={"activation": "relu"})


def worst_layer(shares: list[float]) -> tuple[int, float] | None:
    """The layer with the largest share, and the share; None if it is below one half."""
    worst = int(np.argmax(shares)) if shares else 0
    return (worst, shares[worst]) if shares and shares[worst] >= 0.5 else None


def layer_text(plan: Plan, layer: int) -> str:
    """A layer in a message; of an ensemble, only the first network is watched."""
    return f"layer {layer}" if plan.members is None else f"layer {layer} of the first of {plan.members} networks"


class ConstantOutput(Diagnosis):
    """The network predicts the same for every row."""

    kind: Literal["constant_output"] = "constant_output"

    def after_epoch(self, seen: Seen) -> str | None:
        if seen.scores is None or len(seen.scores) < 2:
            return None
        spread, size = float(np.ptp(seen.scores, axis=0).max()), float(np.abs(seen.scores).max())
        if spread <= 1e-5 * max(size, 1e-30):
            return "the prediction is the same for every validation row"
        return None

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield from lighter(moment.plan)
        yield slower(moment.plan)


class ValidationNotFinite(Diagnosis):
    """The validation loss of an epoch is not finite; training goes on, and the epoch is not the best one."""

    kind: Literal["validation_not_finite"] = "validation_not_finite"

    def after_epoch(self, seen: Seen) -> str | None:
        if not seen.plan.validates or seen.record["validation_loss"] is not None:
            return None
        return "the validation loss is not finite; if it never is, the run ends as diverged"

    def remedies(self, moment: Moment) -> Iterator[str]:
        if not moment.plan.training.clips:
            yield setting(training={"clip_norm": 1.0})
        yield slower(moment.plan)


class MonitorWithoutValue(Diagnosis):
    """The metric that early stopping monitors is undefined on the validation rows."""

    kind: Literal["monitor_without_value"] = "monitor_without_value"

    def after_epoch(self, seen: Seen) -> str | None:
        monitor = monitored(seen.plan)
        if monitor is None or seen.record[monitor] is not None or seen.progress.best_cost is not None:
            return None
        return f"{monitor} is undefined on these rows (as an AUC is with one class only), so training never stops early"

    def remedies(self, moment: Moment) -> Iterator[str]:
        yield setting(training={"early_stopping": {"monitor": "validation_loss"}})


class WorseThanBaseline(Diagnosis):
    """The loss is clearly above that of a simple model on the same rows."""

    kind: Literal["worse_than_baseline"] = "worse_than_baseline"

    def after_training(self, reached: Reached) -> str | None:
        loss = reached.results["loss"]
        others = {name: metrics["loss"] for name, metrics in reached.baselines.items() if metrics is not None}
        margin = 0.01 * abs((others.get("constant") or reached.lowest_loss) - reached.lowest_loss)
        lower = [
            name for name, other in others.items() if loss is not None and other is not None and other + margin < loss
        ]
        return f"the {lower[0]} model has a lower loss than the network" if lower else None

    def remedies(self, moment: Moment) -> Iterator[str]:
        plan = moment.plan
        if plan.preset.name() == "plain" and not plan.transforms.has_pixels:
            yield setting(preset="standard")
        yield from rescaled(plan)
        if plan.validates and not plan.ensemble.blend and plan.network.output_activation.is_identity:
            yield setting(ensemble={"blend": True})
        if moment.improves:
            yield setting(training={"epochs": plan.training.epochs * 2})
        if moment.overfits:
            yield from simpler(plan)
        else:
            yield from lighter(plan)
        if plan.network.hidden:
            yield setting(network={"hidden": [], **({"linear_path": False} if plan.network.linear_path else {})})


class Diagnostician:
    """Checks each epoch; makes each diagnosis only once."""

    def __init__(self, plan: Plan, network: Network, dataset: Dataset, earlier: Iterable[Record]) -> None:
        self._plan, self._network = plan, network
        self._diagnoses = {variant.name(): variant() for variant in variants(Diagnosis)}
        weights = network.layout.layer_weights(network.layout.neutral_parameters(network.dtype))
        self._weight_sizes = tuple(vector.size for vector in weights)
        self._naive_loss, self._constant_loss = naive_loss(network, dataset.training), constant_loss(network, dataset)
        floors = {"train_loss": dataset.training, "validation_loss": dataset.validation}
        columns = {*floors, *(column for diagnosis in self._diagnoses.values() for column in diagnosis.columns)}
        lowest = {name: lowest_loss(network, part) for name, part in floors.items() if part is not None}
        self._trends = {name: Trend(lowest.get(name, 0.0)) for name in sorted(columns)}
        for record in earlier:
            self._add(record)

    def checks(self, epoch: int) -> bool:
        """Whether diagnoses are made in `epoch`; late in training, problems develop slowly."""
        return epoch < CHECK_ALL_BEFORE or epoch % CHECK_EVERY == 0

    def check(
        self,
        record: Record,
        progress: Progress,
        kept_loss: float | None,
        watch: ActivationWatch | None,
        scores: Array | None,
    ) -> tuple[Diagnosed, ...]:
        """The new diagnoses after the epoch of `record`, if it is checked."""
        self._add(record)
        if not self.checks(progress.epoch):
            return ()
        seen = self._seen(record, progress, kept_loss, watch, scores)
        return self._made(seen, ((d, d.after_epoch(seen)) for d in self._missing(progress)))

    def at_divergence(self, progress: Progress) -> tuple[Diagnosed, ...]:
        """The new diagnoses of a run that diverged within an epoch."""
        if progress.first_loss is None:
            return ()
        seen = self._seen({}, progress, None, None, None)
        return self._made(seen, ((d, d.at_divergence(seen)) for d in self._missing(progress)))

    def _add(self, record: Record) -> None:
        for name, trend in self._trends.items():
            value = record.get(name)
            if value is not None:
                trend.add(value)

    def _seen(
        self,
        record: Record,
        progress: Progress,
        kept_loss: float | None,
        watch: ActivationWatch | None,
        scores: Array | None,
    ) -> Seen:
        first = math.nan if progress.first_loss is None else progress.first_loss
        return Seen(
            self._plan,
            progress,
            self._network,
            self._weight_sizes,
            record,
            self._trends,
            first,
            self._naive_loss,
            self._constant_loss,
            kept_loss,
            watch,
            scores,
        )

    def _missing(self, progress: Progress) -> list[Diagnosis]:
        """The diagnoses that have not been made yet."""
        known = {diagnosed.name for diagnosed in progress.warnings}
        return [diagnosis for name, diagnosis in self._diagnoses.items() if name not in known]

    def _made(self, seen: Seen, found: Iterable[tuple[Diagnosis, str | None]]) -> tuple[Diagnosed, ...]:
        epoch = seen.progress.epoch
        return tuple(diagnosed(diagnosis, message, seen, epoch) for diagnosis, message in found if message)


def diagnose_results(reached: Reached) -> tuple[Diagnosed, ...]:
    """The diagnoses of the results of a finished run; none is made twice."""
    known = {one.name for one in reached.progress.warnings}
    new = (variant() for variant in variants(Diagnosis) if variant.name() not in known)
    found = ((diagnosis, diagnosis.after_training(reached)) for diagnosis in new)
    epoch = reached.progress.epoch - 1
    return tuple(diagnosed(diagnosis, message, reached, epoch) for diagnosis, message in found if message)


def diagnosed(diagnosis: Diagnosis, message: str, moment: Moment, epoch: int) -> Diagnosed:
    """A record of a diagnosis, with its message and its remedies."""
    *others, last = [*diagnosis.remedies(moment)] or [""]
    remedy = f"{', '.join(others)}, or {last}" if others else last
    return Diagnosed(name=diagnosis.name(), epoch=epoch, message=message, remedy=remedy)


def lowest_loss(network: Network, part: Part) -> float:
    """The lowest loss that any prediction could reach on the rows of `part`."""
    truth, weights = part.target(), part.weights()
    return network.loss.optimum(truth, weights, network.outputs, network.class_weights)


def naive_loss(network: Network, part: Part) -> float:
    """The loss of an untrained network: the parameters of its last layer are zero."""
    scores = np.tile(network.scores_at_zero(), (len(part), 1))
    return float(network.loss.value(scores, part.target(), part.weights(), network.class_weights))


def constant_loss(network: Network, dataset: Dataset) -> float:
    """The loss of the best constant prediction on the training rows."""
    part = dataset.training
    best = dataset.transforms.task.constant(network.loss, part).astype(network.dtype)
    scores = np.tile(best, (len(part), 1))
    return float(network.loss.value(scores, part.target(), part.weights(), network.class_weights))
