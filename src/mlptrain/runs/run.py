"""How does a run begin, go on after a stop, and end?"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlptrain.data.dataset import Dataset, Part
from mlptrain.errors import CheckpointError, Diverged, EnvironmentFault, Interrupted, UsageError
from mlptrain.metrics import Metrics
from mlptrain.nn.network import Network
from mlptrain.nn.threads import blas_threads
from mlptrain.runs import checkpoint as files
from mlptrain.runs.checkpoint import Environment, Header
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import History
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.train.baselines import baselines
from mlptrain.train.diagnostics import worse_than_baseline
from mlptrain.train.early_stopping import check_monitor
from mlptrain.train.epoch import columns
from mlptrain.train.evaluation import part_scores
from mlptrain.train.events import EpochDone, Event, StepDone, TrainingDone
from mlptrain.train.loop import network_for, start, train
from mlptrain.train.state import TrainState, Warned

SAVE_SECONDS = 5.0
"""How much work a kill may cost, at the most."""


@dataclass
class Run:
    """A run in memory, beside its folder."""

    folder: RunFolder
    plan: Plan
    dataset: Dataset
    network: Network
    state: TrainState
    environment: Environment
    notes: tuple[str, ...]
    """What the user should know about how it began: filled values, a different environment."""

    def header(self, content: Literal["model", "checkpoint"]) -> Header:
        """The metadata of this run's files."""
        return Header(
            content=content,
            plan=self.plan,
            fingerprint=self.dataset.fingerprint,
            environment=self.environment,
            progress=self.state.progress if content == "checkpoint" else None,
            history=tuple(columns(self.plan)) if content == "checkpoint" else None,
        )

    def save_checkpoint(self) -> None:
        """Make the state of now the one that a resumed run starts from; one with overflown weights never is."""
        if not np.isfinite(self.state.parameters).all():
            raise Diverged(
                "training diverged: an update made weights that are not finite; lower optimizer.learning_rate"
            )
        write_durably(self.folder.checkpoint, files.encode_checkpoint(self.header("checkpoint"), self.state))

    def save_model(self) -> None:
        """Write the best weights with what it takes to use them."""
        best = self.state.best_parameters, self.state.best_buffers
        write_durably(self.folder.model, files.encode_model(self.header("model"), self.network.layout, *best))

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.state.progress.stopped is not None and self.folder.model.exists() and self.folder.summary.exists()


@dataclass(frozen=True)
class Results:
    """What a finished run reached."""

    results: dict[str, Metrics]
    """By part: train, validation, test."""
    baselines: dict[str, Metrics | None]
    """By trivial model, on `baseline_part`."""
    baseline_part: str
    warnings: tuple[Warned, ...]


def begin(experiment: Experiment, name: str, out: Path | None) -> Run:
    """A new run of `experiment` in a new folder; `name` is for an experiment that has none.

    Everything that can be wrong is found before the folder is made.
    """
    if out is not None and os.path.exists(out):  # noqa: PTH110  # unlike Path.exists, no error where one may not look
        raise UsageError(f"{out}: exists already, and a run never writes over another; choose a new --out")
    plan, dataset = prepare(experiment, name)
    check_monitor(plan, columns(plan))
    network = network_for(plan)
    with blas_threads(plan.threads):
        state = start(plan, network, dataset)
    folder = RunFolder.create(plan.name, out)
    try:
        write_durably(folder.spec, yaml.dump(plan.written()).encode())
    except EnvironmentFault:
        with contextlib.suppress(OSError):
            folder.path.rmdir()
        raise
    return Run(folder, plan, dataset, network, state, Environment.now(plan.threads), dataset.notes)


def resume(folder: RunFolder) -> Run:
    """The run in `folder` as it was at its last save; one that was killed before any save starts again."""
    raw = files.read_file(folder.checkpoint) if folder.checkpoint.exists() else None
    saved = None if raw is None else files.decode_checkpoint(raw, str(folder.checkpoint))
    spec = load_experiment(folder.spec)
    if saved is not None:
        if changes := "; ".join(differences(saved.header.plan.written(), spec.written())):
            raise CheckpointError(
                f"{folder.spec}: changed since the run began: {changes}. Undo that, or begin a new run"
            )
        files.check_fingerprint(saved.header.fingerprint, "the run began")
    plan, dataset = prepare(spec, folder.path.name)
    if saved is not None:
        plan = plan.model_copy(update={"threads": saved.header.environment.threads})
    network, environment, notes = network_for(plan), Environment.now(plan.threads), dataset.notes
    if saved is None:
        with blas_threads(plan.threads):
            state = start(plan, network, dataset)
        return Run(folder, plan, dataset, network, state, environment, notes)
    if saved.header.environment != environment:
        changes = "; ".join(differences(saved.header.environment.model_dump(), environment.model_dump()))
        notes = (*notes, f"the run began in another environment ({changes}); its numbers may differ in the last digits")
    return Run(folder, plan, dataset, network, saved.state, environment, notes)


def differences(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Where two nested values differ: 'training.epochs was 10, is 20'."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield f"{path} was {before}, is {after}"


def proceed(run: Run, signalled: Callable[[], int | None], save_seconds: float = SAVE_SECONDS) -> Iterator[Event]:
    """Train to the end, saving now and then.

    Raises `Interrupted` after saving as soon as `signalled` gives the number of a signal, and `Diverged` after saving
    the state before the step that was not applied.
    """
    history = History(run.folder.path, columns(run.plan), run.state.history)
    saved = began = time.monotonic()
    try:
        for event in train(run.plan, run.network, run.state, run.dataset):
            if isinstance(event, StepDone):
                signal_number = signalled()
                if signal_number is not None:
                    run.save_checkpoint()
                    raise Interrupted(interruption(run), signal_number)
                if time.monotonic() - saved > save_seconds:
                    run.save_checkpoint()
                    saved = time.monotonic()
            if isinstance(event, EpochDone):
                history.append(run.state.history[-1], time.monotonic() - began, len(run.dataset.training))
                began = time.monotonic()
            if isinstance(event, TrainingDone):
                run.save_checkpoint()
            yield event
    except Diverged as error:
        with contextlib.suppress(Diverged):
            run.save_checkpoint()
        run.folder.write_summary(summary(run, Results({}, {}, "", tuple(run.state.progress.warnings)), "diverged"))
        raise Diverged(f"{error}. {what_is_kept(run)}") from error
    finally:
        history.close()


def what_is_kept(run: Run) -> str:
    """What a diverged run leaves to use."""
    progress = run.state.progress
    if not progress.epoch:
        return f"Nothing was learned before that; {run.folder.path} holds the start"
    epoch = progress.epoch - 1 if progress.best_epoch is None else progress.best_epoch
    return f"The weights of epoch {epoch} are kept in {run.folder.path}"


def interruption(run: Run) -> str:
    """Where the run was left and how it goes on."""
    progress = run.state.progress
    return (
        f"interrupted in epoch {progress.epoch}; saved at step {progress.step}. Go on with: "
        f"mlptrain fit --resume {run.folder.path}"
    )


@np.errstate(all="ignore")
def finish(run: Run) -> Results:
    """Measure the best weights and the baselines, write the model and the summary."""
    run.save_model()
    best = run.state.best_parameters, run.state.best_buffers
    task, loss = run.dataset.transforms.task, run.network.loss
    results = {
        name: task.measure(loss, part_scores(run.network, *best, part), part)
        for name, part in run.dataset.parts.items()
    }
    name, part = report_part(run.dataset)
    trivial = baselines(run.network, run.dataset, part, run.plan.seed) if run.plan.training.baselines else {}
    warnings = run.state.progress.warnings
    worse = worse_than_baseline(results[name], trivial, run.state.progress.epoch - 1)
    finished = Results(results, trivial, name, (*warnings, *([worse] if worse else [])))
    run.folder.write_summary(summary(run, finished))
    return finished


def report_part(dataset: Dataset) -> tuple[str, Part]:
    """The part whose figures count most: test rows, else validation rows, else training rows."""
    name = next(name for name in ("test", "validation", "train") if name in dataset.parts)
    return name, dataset.parts[name]


def summary(run: Run, finished: Results, stopped: str | None = None) -> dict[str, Any]:
    """What summary.json holds; `stopped` says why, where it was no regular end."""
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
        "warnings": [warned.model_dump() for warned in finished.warnings],
        "notes": list(run.notes),
        "parameters": run.network.layout.parameter_size,
        "environment": run.environment.model_dump(),
        "fingerprint": run.dataset.fingerprint,
    }
