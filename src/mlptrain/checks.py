"""What may go wrong with an experiment, found in seconds and before it is trained?

Each check is a function of a `Trial`: the experiment with its data, and a few steps on a copy of its network. No check
writes a file or changes a run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.encoders import Category, Date, Encoder, Number
from mlptrain.dataset import Dataset, Features, Part
from mlptrain.errors import DataError, Diverged, SpecError, UsageError
from mlptrain.gradcheck import ROWS, check_plan
from mlptrain.inspect.columns import GIVES_AWAY, Target, told_alone
from mlptrain.nn.initializers import Auto
from mlptrain.nn.layers import Layer
from mlptrain.nn.losses import CrossEntropy
from mlptrain.nn.threads import blas_threads
from mlptrain.numbers import number
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant
from mlptrain.remedies import setting
from mlptrain.runs.directory import name_for
from mlptrain.runs.session import check_beginning
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.system import memory_size, peak_memory
from mlptrain.training.diagnostics import lowest_loss, naive_loss, normalized, optimizer_with, rescaled, starts_trained
from mlptrain.training.epoch import EpochEnd
from mlptrain.training.events import EpochDone, StepDone
from mlptrain.training.loop import Loop, make_step, network_for, start

FEWEST_HELD_OUT = 10
"""Rows of a part below which its figures say little."""
MOST_REPEATED, FEWEST_REPEATED = 0.05, 5
"""The share, and the number, of held-out rows that may be in training too."""
HEART_ROWS, HEART_STEPS, LEARNED = 32, 600, 0.1
"""Rows to learn by heart, the steps for it, and the share of the loss that may be left."""
ENTRIES = 10
"""Entries of each tensor in the gradient check."""
SECONDS, MOST_STEPS = 1.0, 200
"""How long the course of training is measured, in seconds of a processor or in steps."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    name: str
    passed: bool | None
    """None where the check does not apply, or could not tell."""
    text: str
    remedy: str = ""


@dataclass
class Trial:
    """An experiment that can be begun."""

    plan: Plan
    dataset: Dataset
    seconds: float
    """How long reading and encoding the data took."""

    @cached_property
    def course(self) -> Course:
        """The first steps of training, on a copy."""
        with blas_threads(self.plan.blas_threads):
            return measured_course(self.plan, self.dataset)


@dataclass(frozen=True)
class Course:
    """What the first steps of training were like."""

    first_loss: float
    step_seconds: float
    epoch_seconds: float
    """For the end of an epoch, in which the validation rows are measured."""
    batches: int
    memory: int | None
    """The most bytes that the process had."""
    diverged: str = ""
    """The message of a step that was not finite."""


def check_experiment(path: Path, overrides: Sequence[str] = ()) -> Iterator[Finding]:
    """The findings on the spec at `path`, one after the other; what cannot be begun is not looked at further."""
    began = time.perf_counter()
    try:
        experiment = load_experiment(path, overrides)
    except SpecError as error:
        yield Finding("spec", False, str(error))
        return
    yield Finding("spec", True, "every setting is valid")
    try:
        plan, dataset = begun(experiment, name_for(path))
    except (DataError, UsageError) as error:
        yield Finding("table" if isinstance(error, DataError) else "spec and table", False, str(error))
        return
    trial = Trial(plan, dataset, time.perf_counter() - began)
    for check in CHECKS:
        with blas_threads(1):  # of small products, and another program may keep the other cores busy
            finding = check(trial)
        yield finding


def begun(experiment: Experiment, name: str) -> tuple[Plan, Dataset]:
    """The plan and the data of a run that could begin."""
    plan, dataset = prepare(experiment, name)
    check_beginning(plan, dataset)
    return plan, dataset


def table(trial: Trial) -> Finding:
    """What was read."""
    transforms = trial.dataset.transforms
    columns = len({encoder.column for encoder in transforms.encoders})
    rows = sum(part.distinct for part in trial.dataset.parts.values()) if not trial.dataset.folds else None
    read = f"{rows:,} rows, " if rows else ""
    notes = "".join(f"; {note}" for note in trial.dataset.notes)
    each = f"{columns} columns give" if columns > 1 else "1 column gives"
    return Finding("table", True, f"{read}{each} {transforms.width:,} inputs{notes}")


def split(trial: Trial) -> Finding:
    """Whether each part that is held out has enough rows to say something."""
    dataset = trial.dataset
    parts = {name: part.distinct for name, part in dataset.parts.items()}
    if dataset.folds:
        parts["validation"] = min(fold.validation.distinct for fold in dataset.folds if fold.validation)
    sizes = ", ".join(f"{size:,} {name}" for name, size in parts.items())
    text = sizes + (f" in the smallest of {len(dataset.folds)} folds" if dataset.folds else "")
    small = [name for name, size in parts.items() if size < FEWEST_HELD_OUT and name != "train"]
    if small:
        return Finding("split", False, f"{text}: fewer than {FEWEST_HELD_OUT} rows say little", larger(trial, small))
    if len(parts) == 1:
        return Finding("split", None, f"{text}: no rows are held out, so that nothing says how good the model is")
    return Finding("split", True, text)


def larger(trial: Trial, small: Sequence[str]) -> str:
    """How parts that are too small become larger."""
    if trial.dataset.folds:
        return setting(data={"split": {"folds": 2}})
    return setting(data={"split": dict.fromkeys(small, 0.3)})


def repeated_rows(trial: Trial) -> Finding:
    """Whether rows that are held out are in training too."""
    repeated, held_out = count_repeated(trial.dataset)
    if not held_out:
        return Finding("repeated rows", None, "no rows are held out")
    text = f"{repeated:,} of {held_out:,} held-out rows are in training too, with the same inputs and target"
    if repeated < FEWEST_REPEATED or repeated <= MOST_REPEATED * held_out:
        return Finding("repeated rows", True, text)
    remedy = "remove repeated rows from the table, or name a column that they share as data.split.group"
    return Finding("repeated rows", False, f"{text}: its figures would be too good", remedy)


def count_repeated(dataset: Dataset) -> tuple[int, int]:
    """How many held-out rows have a twin among the rows that train, and how many are held out."""
    if dataset.folds:  # each row trains the members of the other folds
        folds: dict[int, set[int]] = {}
        keys = [list(contents(fold.validation)) for fold in dataset.folds if fold.validation is not None]
        for i, found in enumerate(keys):
            for key in found:
                folds.setdefault(key, set()).add(i)
        first = keys[: len(keys) // dataset_repeats(dataset)]
        return sum(len(folds[key]) > 1 for found in first for key in found), sum(map(len, first))
    training = set(contents(dataset.training))
    others = [part for part in (dataset.validation, dataset.test) if part is not None]
    found = [key in training for part in others for key in contents(part)]
    return sum(found), len(found)


def dataset_repeats(dataset: Dataset) -> int:
    """How often the folds were drawn."""
    validated = sum(len(fold.validation) for fold in dataset.folds if fold.validation is not None)
    return max(1, validated // len(dataset.training))


def contents(part: Part) -> Iterator[int]:
    """A number for each row, the same for rows with the same inputs and target."""
    values, targets = part.features.values, part.targets
    for row in part.rows:
        yield hash((values[row].tobytes(), targets[row].tobytes()))


def giveaway(trial: Trial) -> Finding:
    """Whether a single column tells nearly all of the target."""
    part, target = trial.dataset.training, Target(trial.dataset.training.truth())
    told: dict[str, float] = {}
    for encoder, inputs in inputs_by_column(trial.dataset):
        found = told_alone(ordering(encoder, inputs[part.rows]), target)
        if found is not None:
            told[encoder.column] = found
    if not told:
        return Finding("giveaway", None, "too few rows, or pixels: no column is looked at alone")
    best = max(told, key=lambda name: told[name])
    text = f"'{best}' alone tells {told[best]:.0%} of the target"
    if told[best] < GIVES_AWAY:
        return Finding("giveaway", True, f"the most telling column, {text}")
    line = setting(data=trial.plan.data.without(best))
    return Finding("giveaway", False, f"{text}: would it be known when predicting?", f"if not: {line}")


def inputs_by_column(dataset: Dataset) -> Iterator[tuple[Encoder, NDArray[Any]]]:
    """The inputs of each column that has one value a row."""
    start = 0
    for encoder in dataset.transforms.encoders:
        if isinstance(encoder, Category | Date) or (isinstance(encoder, Number) and encoder.size == 1):
            yield encoder, dataset.training.features.values[:, start : start + encoder.width]
        start += encoder.width


def ordering(encoder: Encoder, inputs: NDArray[Any]) -> NDArray[np.float64]:
    """(rows,): a number for each value of a column, in its order if it has one."""
    if isinstance(encoder, Number) or (isinstance(encoder, Date) and encoder.numbers):
        return inputs[:, 0].astype(np.float64)
    return inputs.astype(np.float64) @ np.arange(1.0, inputs.shape[1] + 1)


def first_loss(trial: Trial) -> Finding:
    """Whether the first loss is what theory expects of equal scores."""
    plan, network, part = trial.plan, network_for(trial.plan), trial.dataset.training
    expected, lowest = naive_loss(network, part), lowest_loss(network, part)
    found = trial.course.first_loss
    why = f", log {network.outputs}" if isinstance(plan.loss, CrossEntropy) and not plan.loss.label_smoothing else ""
    text = f"{number(found)}; theory for equal scores: {number(expected)}{why}"
    if starts_trained(plan):
        start_of = "a linear model" if plan.network.linear_path else "the weights of a file"
        return Finding("first loss", None, f"{text}, but the network starts as {start_of}")
    if found - lowest > 5 * (expected - lowest) + 1:
        remedies = [*rescaled(plan), *normalized(plan), optimizer_with(plan, learning_rate=1e-3)]
        return Finding("first loss", False, f"{text}: far too large", remedies[0])
    return Finding("first loss", True, text)


def gradient(trial: Trial) -> Finding:
    """Whether the gradient is that of the loss, on some rows and entries of each tensor."""
    plan, dataset = in_float64(trial.plan, trial.dataset)
    found = check_plan(plan, dataset, entries=ENTRIES)
    text = f"worst relative error {found.worst.error:.1e}, in {found.worst.tensor}"
    if found.passed:
        return Finding("gradient", True, text)
    failed = found.verdict == "failed" or not found.repeatable
    return Finding("gradient", False if failed else None, f"{found.verdict}: {text}", "mlptrain gradcheck on this spec")


def in_float64(plan: Plan, dataset: Dataset) -> tuple[Plan, Dataset]:
    """The plan for at most two members, with some training rows, in float64."""
    part = dataset.training
    rows = part.rows[:: max(1, len(part) // ROWS)][:ROWS]
    x = np.empty((len(rows), part.features.width), part.features.dtype)
    part.features.gather(rows, x, part.features.byte_buffer(len(rows)))
    targets = part.targets[rows]
    targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
    weights = None if part.all_weights is None else part.all_weights[rows].astype(np.float64)
    features = Features(x.astype(np.float64), np.dtype(np.float64))
    some = Part(features, targets, np.arange(len(rows)), weights)
    training = plan.training.model_copy(update={"dtype": "float64"})
    members = min(2, plan.ensemble.members) if plan.network.initializer.file is None else plan.ensemble.members
    ensemble = plan.ensemble.model_copy(update={"members": members})
    return plan.model_copy(update={"training": training, "ensemble": ensemble}), replace(dataset, training=some)


def by_heart(trial: Trial) -> Finding:
    """Whether one network can learn a few rows by heart, without dropout and penalties."""
    if not trial.plan.network.hidden:
        return Finding("by heart", None, "a linear model cannot be expected to learn rows by heart")
    plan, rate = alone(trial.plan), trial.plan.optimizer.learning_rate
    some = different_rows(trial.dataset.training)
    if len(some) < 2:
        return Finding("by heart", None, "the training rows do not differ")
    left = heart_loss(plan, trial.dataset, some, rate)
    if left <= LEARNED:
        return Finding("by heart", True, f"one network learns {len(some)} rows by heart")
    text = f"one network does not learn {len(some)} rows by heart: {left:.0%} of the loss is left"
    text = f"{text} after {HEART_STEPS} steps"
    for factor in (10.0, 0.1):
        if heart_loss(plan, trial.dataset, some, rate * factor) <= LEARNED:
            return Finding("by heart", False, text, optimizer_with(trial.plan, learning_rate=rate * factor))
    return Finding("by heart", False, text, setting(network={"hidden": [128, 128], "activation": "relu"}))


def alone(plan: Plan) -> Plan:
    """The plan for one network without what keeps it from learning rows by heart."""
    hidden = tuple(without_dropout(layer) for layer in plan.network.hidden)
    simpler = {"hidden": hidden, "dropout": 0.0, "linear_path": False}
    simpler |= {"initializer": Auto()} if plan.network.initializer.file is not None else {}
    network = plan.network.model_copy(update=simpler)
    training = plan.training.model_copy(update={"batch_size": "full", "ema": None})
    optimizer = plan.optimizer
    if "weight_decay" in type(optimizer).model_fields:
        optimizer = optimizer.model_copy(update={"weight_decay": 0.0})
    ensemble = plan.ensemble.model_copy(update={"members": 1, "rows": "shared", "weights": "separate", "blend": False})
    simple = {"network": network, "training": training, "optimizer": optimizer, "ensemble": ensemble}
    return plan.model_copy(update={**simple, "penalty": Penalty(), "schedule": Constant()})


def without_dropout(layer: Layer) -> Layer:
    """A layer that keeps all its units."""
    return layer.model_copy(update={"dropout": 0.0}) if "dropout" in type(layer).model_fields else layer


def different_rows(part: Part) -> Part:
    """Some rows with different inputs."""
    rows = part.rows[:: max(1, len(part) // (10 * HEART_ROWS))]
    found = {part.features.values[row].tobytes(): int(row) for row in rows}
    return part.of(np.array(list(found.values())[:HEART_ROWS], np.intp))


@np.errstate(all="ignore")  # an overflow gives a loss that is not finite, which is checked
def heart_loss(plan: Plan, dataset: Dataset, part: Part, rate: float) -> float:
    """The share of the reducible loss on `part` that is left after some steps at a constant rate."""
    some = replace(dataset, training=part, validation=None, test=None, folds=())
    network = network_for(plan)
    state = start(plan, network, some)
    loop, lowest = Loop(plan, network, state, some), lowest_loss(network, part)
    step = make_step(plan, network, state)
    x, target, weights = loop.batches.gather(0)
    first, least = math.nan, math.inf
    for i in range(HEART_STEPS):
        try:
            loss = step(x, target, rate, weights)
        except Diverged:
            break
        state.progress.step += 1
        first, least = (loss if i == 0 else first), min(least, loss)
        if least - lowest <= LEARNED * (first - lowest):
            break
    return max(0.0, least - lowest) / (first - lowest) if first > lowest else 0.0


def cost(trial: Trial) -> Finding:
    """How long training takes and how much memory, from a few steps."""
    course, epochs = trial.course, trial.plan.training.epochs
    if course.diverged:
        slower = optimizer_with(trial.plan, learning_rate=trial.plan.optimizer.learning_rate / 10)
        return Finding("cost", False, course.diverged, slower)
    seconds = trial.seconds + epochs * (course.batches * course.step_seconds + course.epoch_seconds)
    sooner = ", less if early stopping ends it" if trial.plan.training.early_stopping else ""
    length = f"{epochs:,} epoch{'s' * (epochs > 1)} of {course.batches:,} step{'s' * (course.batches > 1)}"
    text = f"about {duration(seconds)} for {length}{sooner}"
    available = memory_size()
    if course.memory is None:
        return Finding("cost", True, text)
    text += f"; {course.memory / 1e6:,.0f} MB of memory"
    if available is not None and course.memory > 0.9 * available:
        smaller = setting(training={"batch_size": 32})
        return Finding("cost", False, f"{text}, of the {available / 1e6:,.0f} MB that this machine has", smaller)
    return Finding("cost", True, text)


def duration(seconds: float) -> str:
    """A time for the eye.

    >>> duration(0.34), duration(75), duration(7300)
    ('0.3 s', '1:15 min', '2:01 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole, unit = (seconds, "min") if seconds < 3600 else (seconds / 60, "h")
    return f"{int(whole // 60)}:{int(whole % 60):02d} {unit}"


@np.errstate(all="ignore")  # an overflow gives a loss that is not finite, which is checked
def measured_course(plan: Plan, dataset: Dataset) -> Course:
    """Train a copy for a second or some steps; the first step, which allocates, does not count."""
    network = network_for(plan)
    state = start(plan, network, dataset)
    loop = Loop(plan, network, state, dataset)
    steps, ends, first, diverged = [0.0], list[float](), math.nan, ""
    began, last = time.process_time(), time.perf_counter()
    try:
        for event in loop.events():
            now = time.perf_counter()
            if isinstance(event, StepDone):
                first = event.loss if state.progress.step == 1 else first
                steps.append(now - last)
            elif isinstance(event, EpochDone):
                ends.append(now - last)
            if time.process_time() - began > SECONDS or len(steps) > MOST_STEPS:
                break
            last = time.perf_counter()
    except Diverged as error:
        diverged = str(error)
    if not ends and not diverged and state.progress.batch:
        last = time.perf_counter()
        EpochEnd(plan, network, state, dataset).measure(plan.optimizer.learning_rate)
        ends.append(time.perf_counter() - last)
    median = float(np.median(steps[2:] or steps[1:] or [0.0]))
    end = float(np.median(ends or [0.0]))
    return Course(first, median, end, len(loop.batches), peak_memory(), diverged)


CHECKS: tuple[Callable[[Trial], Finding], ...] = (
    table,
    split,
    repeated_rows,
    giveaway,
    cost,
    first_loss,
    gradient,
    by_heart,
)
"""The checks of an experiment that can be begun, in the order in which they are told."""
