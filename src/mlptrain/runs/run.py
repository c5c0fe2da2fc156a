"""How does a run start, resume and finish?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mlptrain.dataset import Dataset, Part
from mlptrain.errors import CheckpointError, Diverged, EnvironmentFault, Interrupted, UsageError
from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array
from mlptrain.nn.network import Network
from mlptrain.nn.threads import blas_threads
from mlptrain.remedies import after_divergence, setting
from mlptrain.runs import checkpoint as files
from mlptrain.runs.checkpoint import Environment, Header
from mlptrain.runs.directory import RUNS, RunFolder
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import History, history_bytes
from mlptrain.runs.recorder import FlightRecorder
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.system import free_space
from mlptrain.target_scale import choose_target_scale
from mlptrain.train.baselines import baselines
from mlptrain.train.blend import Blend, Predictor, choose_blend
from mlptrain.train.decision import check_decision, decided
from mlptrain.train.diagnostics import Reached, diagnose_results, lowest_loss
from mlptrain.train.early_stopping import check_monitor
from mlptrain.train.epoch import columns
from mlptrain.train.evaluation import ActivationWatch
from mlptrain.train.events import Consumer, EpochDone, StepDone, TrainingDone, feed
from mlptrain.train.intervals import Intervals, intervals
from mlptrain.train.linear import LinearModels
from mlptrain.train.loop import network_for, start, train
from mlptrain.train.state import Diagnosed, TrainState

SAVE_SECONDS = 5.0
"""Interval between checkpoints: the most work that a kill can lose."""


@dataclass
class Run:
    """A run in memory, with its folder."""

    folder: RunFolder
    plan: Plan
    dataset: Dataset
    network: Network
    linear: LinearModels
    """The linear models on its rows."""
    state: TrainState
    environment: Environment
    notes: tuple[str, ...]
    """Notes for the user about the start: filled values, a different environment."""
    consumers: Sequence[Consumer] = ()
    """Receive the events of the whole run, and the parts of its work before and after training too."""
    blend: Blend | None = None
    """The linear model beside the network, which is chosen after training."""

    @property
    def predictor(self) -> Predictor:
        """What predicts: the best weights so far."""
        return Predictor(self.network, self.state.best_parameters, self.state.best_buffers, self.blend)

    def decide(self) -> None:
        """Choose the threshold of two classes by the validation rows, if the spec asks for it."""
        if self.plan.decision.metric is None or self.dataset.validation is None:
            return
        scores = self.predictor.validation_scores(self.dataset, self.linear)
        task = decided(self.plan.transforms.task, self.plan, self.dataset, scores)
        transforms = self.plan.transforms.model_copy(update={"task": task})
        self.plan = self.plan.model_copy(update={"transforms": transforms})
        self.mark("decision")

    def header(self, content: Literal["model", "checkpoint"]) -> Header:
        """The metadata of this run's files."""
        return Header(
            content=content,
            plan=self.plan,
            fingerprint=self.dataset.fingerprint,
            environment=self.environment,
            progress=self.state.progress if content == "checkpoint" else None,
            history=tuple(columns(self.plan)) if content == "checkpoint" else None,
            share=self.blend.share if self.blend is not None and content == "model" else None,
        )

    def mark(self, part: str) -> None:
        """Tell the consumers that a part of the work is done."""
        tell(self.consumers, part)

    def save_checkpoint(self) -> None:
        """Save the current state for resuming; refuse non-finite weights."""
        self.mark("other")
        if not np.isfinite(self.state.parameters).all():
            raise Diverged(
                "training diverged: an update gave weights that are not finite. "
                + after_divergence(self.plan.optimizer.learning_rate, self.plan.training.clips)
            )
        write_durably(self.folder.checkpoint, files.encode_checkpoint(self.header("checkpoint"), self.state))
        self.mark("checkpoint")

    def save_model(self) -> None:
        """Write the best weights with everything that is needed to use them."""
        write_durably(self.folder.model, files.encode_model(self.header("model"), self.predictor))
        self.mark("model")

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished, with all of its results."""
        return self.state.progress.stopped is not None and not self.lost_results()

    def lost_results(self) -> list[str]:
        """The files of a finished run that are missing or damaged; `proceed` and `finish` write them again."""
        folder, lost = self.folder, []
        metrics = folder.path / "metrics.csv"
        if not metrics.is_file() or metrics.read_bytes() != history_bytes(columns(self.plan), self.state.history):
            lost.append(metrics.name)
        try:
            files.decode_model(files.read_file(folder.model), str(folder.model))
        except (CheckpointError, EnvironmentFault):
            lost.append(folder.model.name)
        try:
            folder.read_summary()
        except (CheckpointError, EnvironmentFault):
            lost.append(folder.summary.name)
        return lost


class Results(NamedTuple):
    """The results of a finished run."""

    results: dict[str, Metrics]
    """Metrics by part: train, validation, test."""
    baselines: dict[str, Metrics | None]
    """Metrics by baseline model, on `baseline_part`."""
    baseline_part: str
    diagnoses: tuple[Diagnosed, ...]
    intervals: Intervals | None = None
    """How sure the figures of `baseline_part` are; None for training rows."""

    def interval_document(self) -> dict[str, Any] | None:
        """The intervals and their part as JSON."""
        return None if self.intervals is None else {"part": self.baseline_part} | self.intervals.document()


def begin(
    experiment: Experiment, name: str, out: Path | None, consumers: Sequence[Consumer] = (), parent: Path = RUNS
) -> Run:
    """A new run of `experiment` in a new folder, `out` or one under `parent`; `name` is used if it has none.

    All settings and data are checked before the folder is created. `consumers` follow the run from here to its end.
    """
    if out is not None and os.path.exists(out):  # noqa: PTH110  # unlike Path.exists, no error without permission
        raise UsageError(f"{out}: exists already, and a run never overwrites another; choose a new --out")
    plan, dataset = prepared(experiment, name, consumers)
    check_beginning(plan, dataset)
    network = network_for(plan)
    linear = LinearModels(network, dataset)
    with blas_threads(plan.blas_threads):
        state = start(plan, network, dataset, linear)
    folder = RunFolder.create(plan.name, out, parent)
    try:
        check_space(folder, state)
        write_durably(folder.spec, yaml.dump(plan.written()).encode())
    except BaseException:  # an interrupt too: an empty folder is no run
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        raise
    return Run(folder, plan, dataset, network, linear, state, Environment.now(plan.threads), dataset.notes, consumers)


def check_space(folder: RunFolder, state: TrainState) -> None:
    """Refuse to start where the disk has no room for a checkpoint, its successor beside it, and the model."""
    free = free_space(folder.path)
    tensors = (state.parameters, state.best_parameters, *state.slots.values(), *(state.ema or ()))
    needed = 2 * sum(tensor.nbytes for tensor in tensors) + state.best_parameters.nbytes
    if free is not None and free < needed:
        raise EnvironmentFault(
            f"{folder.path}: the disk has {free:,} bytes left, and the run needs about {needed:,} for two checkpoints "
            "and the model; choose another disk with --out"
        )


def check_beginning(plan: Plan, dataset: Dataset) -> None:
    """Refuse what would fail only in the course of a run."""
    check_monitor(plan, columns(plan))
    check_decision(plan, dataset)
    check_start(plan)


def check_start(plan: Plan) -> None:
    """Refuse to start from the model of a run with other inputs, or with the same inputs in another order."""
    file = plan.network.initializer.file
    if file is None or not Path(file).is_file():
        return
    header = files.header_of(files.read_file(Path(file)), file)
    if header is None:
        return
    before, now = header.plan.transforms, plan.transforms
    if before.inputs == now.inputs:
        return
    names = list(dict.fromkeys(encoder.column for encoder in before.encoders))
    place = next(i for i, pair in enumerate(zip_longest(before.inputs, now.inputs)) if pair[0] != pair[1])
    theirs, ours = (inputs[place] if place < len(inputs) else "none" for inputs in (before.inputs, now.inputs))
    raise CheckpointError(
        f"{file}: input {place + 1} of its network is '{theirs}', but '{ours}' in this one; weights can only be reused "
        f"for the same columns in the same order: {setting(data={'features': names})}"
    )


def tell(consumers: Sequence[Consumer], part: str) -> None:
    """Tell `consumers` that a part of the work is done."""
    for consumer in consumers:
        consumer.part(part, 0)


def prepared(experiment: Experiment, name: str, consumers: Sequence[Consumer]) -> tuple[Plan, Dataset]:
    """The plan and the data; `consumers` are told before and after."""
    tell(consumers, "other")
    found = prepare(experiment, name, choose_scale=choose_target_scale)
    tell(consumers, "prepare")
    return found


def resume(folder: RunFolder, consumers: Sequence[Consumer] = ()) -> Run:
    """The run in `folder` at its last checkpoint; a run without a checkpoint starts again."""
    raw = files.read_file(folder.checkpoint) if folder.checkpoint.exists() else None
    saved = None if raw is None else files.decode_checkpoint(raw, str(folder.checkpoint))
    spec = load_experiment(folder.spec)
    if saved is not None:
        if changes := "; ".join(differences(saved.header.plan.determining(), spec.determining())):
            raise CheckpointError(
                f"{folder.spec}: changed since the run began: {changes}. Undo the change, or start a new run"
            )
        files.check_fingerprint(saved.header, "the run began")
    plan, dataset = prepared(spec, folder.path.name, consumers)
    if saved is not None:
        plan = plan.model_copy(update={"threads": saved.header.environment.threads})
    network, environment, notes = network_for(plan), Environment.now(plan.threads), dataset.notes
    linear = LinearModels(network, dataset)
    if saved is None:
        with blas_threads(plan.blas_threads):
            state = start(plan, network, dataset, linear)
        return Run(folder, plan, dataset, network, linear, state, environment, notes, consumers)
    if saved.header.environment != environment:
        changes = "; ".join(differences(saved.header.environment.model_dump(), environment.model_dump()))
        notes = (*notes, f"the run began in another environment ({changes}); its numbers may differ in the last digits")
    return Run(folder, plan, dataset, network, linear, saved.state, environment, notes, consumers)


def lengthen(folder: RunFolder, epochs: int) -> None:
    """Let a run that trained all of its epochs train up to `epochs` of them; `resume` goes on.

    Schedules are functions of the step and of the number of steps, so that the rate of the next step is that of a run
    of `epochs` epochs. Without a schedule, the result is that of such a run.
    """
    raw = files.read_file(folder.checkpoint) if folder.checkpoint.exists() else None
    if raw is None:
        raise UsageError(
            f"{folder.path}: this run has no checkpoint yet; start it again with: --set training.epochs={epochs}"
        )
    saved = files.decode_checkpoint(raw, str(folder.checkpoint))
    plan, progress = saved.header.plan, saved.state.progress
    longer = plan.model_copy(update={"training": plan.training.model_copy(update={"epochs": epochs})})
    if progress.stopped is not None or plan.training.epochs != epochs:  # else it was lengthened, and then stopped
        if progress.stopped != "epochs":
            why = "was ended by early stopping" if progress.stopped else "has not trained all of its epochs"
            raise UsageError(f"{folder.path}: this run {why}, so --epochs cannot lengthen it")
        if epochs <= progress.epoch:
            raise UsageError(f"--epochs {epochs}: {folder.path} has trained {progress.epoch} epochs; name more")
        progress.go_on()
        header = saved.header.model_copy(update={"plan": longer, "progress": progress})
        write_durably(folder.checkpoint, files.encode_checkpoint(header, saved.state))
    logged = longer.model_copy(update={"log": load_experiment(folder.spec).log})
    write_durably(folder.spec, yaml.dump(logged.written()).encode())


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The differences of two nested values: 'training.epochs was 10, is 20'."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path} was {before}, is {after}"


class Saver(Consumer):
    """Saves checkpoints: at intervals, at the end, when training diverges, and after a signal to stop."""

    def __init__(self, run: Run, signalled: Callable[[], int | None], save_seconds: float) -> None:
        self._run, self._signalled, self._save_seconds = run, signalled, save_seconds
        self._saved = time.monotonic()

    def step(self, event: StepDone) -> None:
        """Save and raise `Interrupted` if `signalled` returns the number of a signal."""
        self._stop_if_signalled()
        if time.monotonic() - self._saved > self._save_seconds:
            self._run.save_checkpoint()
            self._saved = time.monotonic()

    def epoch(self, event: EpochDone) -> None:
        """Stop after the measurements of an epoch too, in which no step is done."""
        self._stop_if_signalled()

    def done(self, event: TrainingDone) -> None:
        self._run.save_checkpoint()
        self._stop_if_signalled()

    def _stop_if_signalled(self) -> None:
        signal_number = self._signalled()
        if signal_number is not None:
            self._run.save_checkpoint()
            raise Interrupted(interruption(self._run), signal_number)

    def failed(self, error: Diverged) -> None:
        """Save the state before the step that was not applied, and write a summary."""
        run = self._run
        with contextlib.suppress(Diverged):
            run.save_checkpoint()
        run.folder.write_summary(summary(run, Results({}, {}, "", tuple(run.state.progress.warnings)), "diverged"))


def proceed(
    run: Run,
    signalled: Callable[[], int | None],
    save_seconds: float = SAVE_SECONDS,
    consumers: Sequence[Consumer] = (),
) -> None:
    """Train to the end, passing every event to the checkpoints, the history, the run's consumers and `consumers`.

    Raises `Interrupted` and `Diverged`, after saving the run.
    """
    saver = Saver(run, signalled, save_seconds)
    recorder = FlightRecorder(run.folder.path, run.state.progress.step)
    history = History(run.folder.path, columns(run.plan), run.state.history, len(run.dataset.training))
    everyone = [history, recorder, *run.consumers, *consumers, saver]  # who stops at a signal is the last to hear
    try:
        feed(train(run.plan, run.network, run.state, run.dataset, everyone), everyone)
    except Diverged as error:
        raise Diverged(f"{error}. {what_is_kept(run)}") from error


def what_is_kept(run: Run) -> str:
    """A message on what a diverged run has saved."""
    progress = run.state.progress
    if not progress.epoch:
        return f"No epoch was completed; {run.folder.path} holds the initial weights"
    epoch = progress.epoch - 1 if progress.best_epoch is None else progress.best_epoch
    return f"The weights of epoch {epoch} are kept in {run.folder.path}"


def interruption(run: Run) -> str:
    """A message: where the run stopped and how to resume it."""
    progress = run.state.progress
    return (
        f"interrupted in epoch {progress.epoch}; saved at step {progress.step}. Resume with: "
        f"mlptrain fit --resume {run.folder.path}"
    )


@np.errstate(all="ignore")
def finish(run: Run) -> Results:
    """Measure the best weights and the baselines, write the model and the summary."""
    run.mark("other")
    if run.plan.ensemble.blend:
        run.blend = choose_blend(run.predictor, run.dataset, run.linear)
        run.mark("blend")
    run.decide()
    run.save_model()
    watch = None if run.dataset.validation is None else ActivationWatch(run.network)
    name, part = report_part(run.dataset)
    results, sure = {}, None
    for each, rows in run.dataset.parts.items():
        scores = scored(run, rows, watch)
        results[each] = run.plan.transforms.task.measure(run.network.loss, scores, rows)
        run.mark("metrics")
        if each == name != "train":
            sure = intervals(run.plan.transforms.task, run.network.loss, scores, rows, run.plan.seed)
            run.mark("intervals")
    trivial = baselines(run.plan, run.network, run.dataset, part, run.linear) if run.plan.training.baselines else {}
    run.mark("baselines")
    progress, lowest = run.state.progress, lowest_loss(run.network, part)
    reached = Reached(run.plan, progress, results[name], results["train"]["loss"], trivial, lowest, watch)
    diagnoses = (*run.state.progress.warnings, *diagnose_results(reached))
    finished = Results(results, trivial, name, diagnoses, sure)
    run.folder.write_summary(summary(run, finished))
    return finished


def scored(run: Run, part: Part, watch: ActivationWatch | None) -> Array:
    """The scores of the best weights on `part`; `watch` records their activations on the validation rows."""
    run.mark("other")
    if part is run.dataset.validation:
        scores = run.predictor.validation_scores(run.dataset, run.linear, watch)
    else:
        scores = run.predictor.scores(part.features, part.rows)
    run.mark("scores")
    return scores


def report_part(dataset: Dataset) -> tuple[str, Part]:
    """The part that the baselines are compared on: test rows, else validation rows, else training rows."""
    name = next(name for name in ("test", "validation", "train") if name in dataset.parts)
    return name, dataset.parts[name]


def summary(run: Run, finished: Results, stopped: str | None = None) -> dict[str, Any]:
    """The content of summary.json; `stopped` is the reason if the run did not end regularly."""
    progress = run.state.progress
    return {
        "name": run.plan.name,
        "stopped": stopped or progress.stopped,
        "epochs": progress.epoch,
        "steps": progress.step,
        "best_epoch": progress.best_epoch,
        "results": finished.results,
        "baselines": finished.baselines,
        "baseline_part": finished.baseline_part,
        "positive_class": run.plan.transforms.task.positive,
        "threshold": run.plan.transforms.task.cutoff,
        "intervals": finished.interval_document(),
        "warnings": [diagnosed.model_dump() for diagnosed in finished.diagnoses],
        "notes": list(run.notes),
        "parameters": run.network.layout.parameter_size,
        "environment": run.environment.model_dump(),
        "fingerprint": run.dataset.fingerprint,
    }
