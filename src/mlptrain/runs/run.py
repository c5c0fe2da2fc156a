"""How does a run start, resume and finish?"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlptrain.data.tables import digest_of
from mlptrain.errors import CheckpointError, DataError, Diverged, EnvironmentFault, Interrupted, UsageError
from mlptrain.nn.threads import blas_threads
from mlptrain.remedies import after_divergence
from mlptrain.runs import checkpoint as files
from mlptrain.runs.blocks import FILE as BLOCKS
from mlptrain.runs.blocks import are_kept, keep_blocks
from mlptrain.runs.checkpoint import Environment, Header
from mlptrain.runs.consistency import in_place, refuse_contradictions
from mlptrain.runs.directory import RUNS, RunFolder, take_back
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import History, history_bytes
from mlptrain.runs.recorder import FlightRecorder
from mlptrain.runs.session import Results, Session, measured, open_session, prepared, summary
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.system import free_space
from mlptrain.training.epoch import columns
from mlptrain.training.events import Consumer, EpochDone, StepDone, TrainingDone, feed
from mlptrain.training.linear import LinearModels
from mlptrain.training.loop import make_batches, network_for, start, train
from mlptrain.training.state import TrainState

SAVE_SECONDS = 5.0
"""Interval between checkpoints: the most work that a kill can lose."""


@dataclass
class Run(Session):
    """A run with its folder."""

    folder: RunFolder = field(kw_only=True)
    kept: int = field(default=0, kw_only=True)
    """Blocks of the history that are in history.bin."""
    tell: Callable[[str], None] = field(default=lambda text: None, kw_only=True)
    """Receives what is to be said while the run trains."""

    def save_checkpoint(self) -> None:
        """Save the current state for resuming; refuse non-finite weights."""
        self.mark("other")
        if not np.isfinite(self.state.parameters).all():
            raise Diverged(
                "training diverged: an update gave weights that are not finite. "
                + after_divergence(self.plan.optimizer.learning_rate, self.plan.training.clips)
            )
        self.kept = keep_blocks(self.folder.path, self.state.history, self.kept)
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
        if not metrics.is_file() or files.read_file(metrics) != history_bytes(columns(self.plan), self.state.history):
            lost.append(metrics.name)
        if not are_kept(folder.path, self.state.history):
            lost.append(BLOCKS)
        try:
            files.decode_model(files.read_file(folder.model), str(folder.model))
        except (CheckpointError, EnvironmentFault):
            lost.append(folder.model.name)
        try:
            folder.read_summary()
        except (CheckpointError, EnvironmentFault):
            lost.append(folder.summary.name)
        return lost


def begin(
    experiment: Experiment, name: str, out: Path | None, consumers: Sequence[Consumer] = (), parent: Path = RUNS
) -> Run:
    """A new run of `experiment` in a new folder, `out` or one under `parent`; `name` is used if it has none.

    All settings and data are checked before the folder is created. `consumers` follow the run from here to its end.
    """
    exists = out is not None and os.path.exists(out)  # noqa: PTH110  # unlike Path.exists, no error without permission
    if out is not None and exists and not take_back(out):
        raise UsageError(f"{out}: exists already, and a run never overwrites another; choose a new --out")
    session = open_session(experiment, name, consumers)
    folder = RunFolder.create(session.plan.name, out, parent)
    try:
        check_space(folder, session.state)
        write_spec(folder, session.plan)
    except BaseException:  # an interrupt too: an empty folder is no run
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        raise
    return Run(**vars(session), folder=folder)


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


def resume(folder: RunFolder, consumers: Sequence[Consumer] = ()) -> Run:
    """The run in `folder` at its last checkpoint; a run without a checkpoint starts again."""
    raw = files.read_file(folder.checkpoint) if folder.checkpoint.exists() else None
    saved = None if raw is None else files.decode_checkpoint(raw, str(folder.checkpoint))
    spec = load_experiment(folder.spec)
    if saved is not None:
        if changes := "; ".join(differences(without_paths(saved.header.plan), without_paths(spec))):
            raise CheckpointError(
                f"{folder.spec}: changed since the run began: {changes}. Undo the change, or start a new run"
            )
        check_tables(saved.header, spec, folder)
        spec.call_like(saved.header.plan.named_only())
    plan, dataset = prepared(spec, folder.path.name, consumers)
    if saved is not None:
        plan = plan.model_copy(update={"threads": saved.header.environment.threads})
        refuse_contradictions(str(folder.checkpoint), in_place(saved.state.progress, make_batches(plan, dataset)))
    network, environment, notes = network_for(plan), Environment.now(plan.threads), dataset.notes
    linear = LinearModels(network, dataset)
    if saved is None:
        with blas_threads(plan.blas_threads):
            state = start(plan, network, dataset, linear)
        return Run(plan, dataset, network, linear, state, environment, notes, consumers, folder=folder)
    if saved.header.environment == environment and saved.header.plan.transforms != plan.transforms:
        raise CheckpointError(
            f"{folder.checkpoint}: plan.transforms are not those of the tables; no run has written this"
        )
    if saved.header.environment != environment:
        changes = "; ".join(differences(saved.header.environment.model_dump(), environment.model_dump()))
        notes = (*notes, f"the run began in another environment ({changes}); its numbers may differ in the last digits")
    return Run(plan, dataset, network, linear, saved.state, environment, notes, consumers, folder=folder)


def write_spec(folder: RunFolder, experiment: Experiment) -> None:
    """Write the spec of a run."""
    write_durably(folder.spec, yaml.dump(experiment.seen_from(folder.path).written()).encode())


def without_paths(experiment: Experiment) -> dict[str, Any]:
    """The settings without the places of files, which may be moved."""
    return experiment.with_paths(lambda _, path: "").determining()


def check_tables(header: Header, spec: Experiment, folder: RunFolder) -> None:
    """Refuse tables that are not where the spec says, or that have changed since the run began."""
    for name, path in spec.data.files.items():
        if not os.path.lexists(path):
            other = f"write its new place into {folder.spec}"
            how = f"mlptrain fit --resume {shlex.quote(str(folder.path))} --data FILE" if name == "path" else other
            raise DataError(f"{path}: no such data file; if it was moved, say where it is: {how}")
    plan = header.plan.with_paths(lambda name, path: spec.paths.get(name, path))
    files.check_fingerprint(header.model_copy(update={"plan": plan}), "the run began")


def move_table(folder: RunFolder, table: Path) -> None:
    """Write into the spec of a run where its table is now; the table must be the same."""
    spec = load_experiment(folder.spec)
    if folder.checkpoint.exists():
        header = files.decode(files.read_file(folder.checkpoint), str(folder.checkpoint))[0]
        known, now = header.fingerprint.get("path", ""), digest_of(table)
        if known != now:
            raise CheckpointError(
                f"{table}: is not the table that the run began with (sha256 was {known[:12]}, is {now[:12]})"
            )
    place = str(table.absolute())
    write_spec(folder, spec.with_paths(lambda name, path: place if name == "data.path" else path))


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
    spec = load_experiment(folder.spec)
    check_tables(saved.header, spec, folder)  # before anything is changed
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
    training = spec.training.model_copy(update={"epochs": epochs})
    write_spec(folder, spec.model_copy(update={"training": training}))


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
        self._spec = content_of(run.folder.spec)

    def _save(self) -> None:
        """Save, and say so if the spec was edited meanwhile."""
        self._run.save_checkpoint()
        now = content_of(self._run.folder.spec)
        if now != self._spec:
            self._run.tell(
                f"{self._run.folder.spec}: was edited or removed while the run trains; it goes on as it began, and can "
                "be resumed only if that is undone"
            )
            self._spec = now

    def step(self, event: StepDone) -> None:
        """Save and raise `Interrupted` if `signalled` returns the number of a signal."""
        self._stop_if_signalled()
        if time.monotonic() - self._saved > self._save_seconds:
            self._save()
            self._saved = time.monotonic()

    def epoch(self, event: EpochDone) -> None:
        """Stop after the measurements of an epoch too, in which no step is done."""
        self._stop_if_signalled()

    def done(self, event: TrainingDone) -> None:
        self._save()
        self._stop_if_signalled()

    def _stop_if_signalled(self) -> None:
        signal_number = self._signalled()
        if signal_number is not None:
            self._save()
            raise Interrupted(interruption(self._run), signal_number)

    def failed(self, error: Diverged) -> None:
        """Save the state before the step that was not applied, and write a summary."""
        run = self._run
        with contextlib.suppress(Diverged):
            run.save_checkpoint()
        run.folder.write_summary(summary(run, Results({}, {}, "", tuple(run.state.progress.warnings)), "diverged"))


def content_of(path: Path) -> bytes | None:
    """The content of a file; None if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def proceed(
    run: Run,
    signalled: Callable[[], int | None],
    save_seconds: float = SAVE_SECONDS,
    consumers: Sequence[Consumer] = (),
) -> None:
    """Train to the end, passing every event to the checkpoints, the history, the run's consumers and `consumers`.

    Raises `Interrupted` and `Diverged`, after saving the run.
    """
    if not run.folder.checkpoint.exists():  # it knows the tables and the number of threads, should they change
        run.save_checkpoint()
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


def finish(run: Run) -> Results:
    """Choose what is chosen after training, write the model, measure it, and write the summary."""
    run.settle()
    run.save_model()
    finished = measured(run)
    run.folder.write_summary(summary(run, finished))
    return finished
