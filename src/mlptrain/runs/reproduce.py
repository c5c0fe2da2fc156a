"""Does a run give the same bytes again, also if it is interrupted and resumed on the way?"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from mlptrain.errors import CheckpointError, Interrupted, UsageError
from mlptrain.nn.threads import blas_threads
from mlptrain.runs import checkpoint as files
from mlptrain.runs.checkpoint import Environment, Header, Tensors
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.run import Run, begin, differences, finish, proceed, resume
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment

COMPARED = ("metrics.csv", "checkpoint.safetensors", "model.safetensors")
"""The files of a run that depend on the experiment, its data and the environment alone."""


class Reproduction(NamedTuple):
    """What came of running a run again."""

    equal: dict[str, bool]
    """Whether each file has the same bytes."""
    interruptions: int
    """How often the second run was stopped and resumed."""
    first_difference: str | None
    """The first epoch and the first tensor that differ."""
    environment: tuple[str, ...]
    """What differs in the environment."""

    @property
    def is_equal(self) -> bool:
        """Whether all files have the same bytes."""
        return all(self.equal.values())


def reproduce(folder: RunFolder, interruptions: int = 0, table: Path | None = None) -> Reproduction:
    """Run the experiment of `folder` again in a folder of its own, stop and resume it at evenly spaced steps, compare.

    The run must be finished, and its tables unchanged; `table` is where its main table is now. What differs in the
    environment is told.
    """
    first = finished_header(folder)
    experiment = load_experiment(folder.spec)
    if table is not None:
        place = str(table.absolute())
        experiment = experiment.with_paths(lambda name, path: place if name == "data.path" else path)
    experiment.call_like(first.plan.named_only())
    plan = first.plan.with_paths(lambda name, path: experiment.paths.get(name, path))
    files.check_fingerprint(first.model_copy(update={"plan": plan}), "the run was trained")
    with TemporaryDirectory(prefix="mlptrain-") as scratch:
        second = RunFolder(Path(scratch) / "run")
        train_again(experiment, first, second, interruptions)
        pairs = {name: [files.read_file(each.path / name) for each in (folder, second)] for name in COMPARED}
        equal = {name: one == other for name, (one, other) in pairs.items()}
        difference = None if all(equal.values()) else first_difference(folder, second)
    now = Environment.now(first.environment.threads)
    changes = tuple(differences(first.environment.model_dump(), now.model_dump()))
    return Reproduction(equal, interruptions, difference, changes)


def finished_header(folder: RunFolder) -> Header:
    """The header of the checkpoint of a finished run."""
    missing = [name for name in COMPARED if not (folder.path / name).is_file()]
    if missing:
        raise UsageError(
            f"{folder.path}: has no {missing[0]}, so it is not finished; finish it with: "
            f"mlptrain fit --resume {folder.path}"
        )
    header = files.decode_checkpoint(files.read_file(folder.checkpoint), str(folder.checkpoint)).header
    assert header.progress is not None
    if header.progress.stopped is None:
        raise UsageError(f"{folder.path}: is not finished; finish it with: mlptrain fit --resume {folder.path}")
    return header


def train_again(experiment: Experiment, first: Header, second: RunFolder, interruptions: int) -> None:
    """Train `experiment`, that of the run `first`, in `second`, stopped and resumed as often as asked."""
    assert first.progress is not None
    steps = first.progress.step
    if interruptions >= steps:
        raise UsageError(
            f"--interrupt {interruptions}: the run has {steps} steps, and can be stopped at most {steps - 1} times"
        )
    threads = experiment.training.model_copy(update={"threads": first.environment.threads})
    stops = iter([steps * (i + 1) // (interruptions + 1) for i in range(interruptions)])
    run = begin(experiment.model_copy(update={"training": threads}), first.plan.name, second.path)
    for stop in stops:
        run = stopped_at(run, stop, second)
    with blas_threads(run.plan.blas_threads):
        proceed(run, lambda: None)
        finish(run)


def stopped_at(run: Run, step: int, folder: RunFolder) -> Run:
    """Train `run` up to `step`, save it, and read it from its files again."""
    signalled: Callable[[], int | None] = lambda: signal.SIGINT if run.state.progress.step >= step else None  # noqa: E731
    try:
        with blas_threads(run.plan.blas_threads):
            proceed(run, signalled)
    except Interrupted:
        return resume(folder)
    return run


def first_difference(folder: RunFolder, second: RunFolder) -> str:
    """The first epoch and the first tensor in which two runs differ."""
    return "; ".join([*different_epoch(folder, second), *different_tensor(folder, second)]) or (
        "all figures and tensors are equal; the files differ in what they say of the environment"
    )


def different_epoch(folder: RunFolder, second: RunFolder) -> Iterator[str]:
    """The first line of metrics.csv that differs."""
    one, other = (files.read_file(each.path / "metrics.csv").decode().splitlines() for each in (folder, second))
    names = one[0].split(",")
    for row, again in zip(one[1:], other[1:], strict=False):
        if row != again:
            pairs = zip(names, row.split(","), again.split(","), strict=False)
            name, before, now = next((name, a, b) for name, a, b in pairs if a != b)
            yield f"epoch {row.split(',')[0]}: {name} was {before}, is {now}"
            return
    if len(one) != len(other):
        yield f"{len(one) - 1} epochs were trained, now {len(other) - 1}"


def different_tensor(folder: RunFolder, second: RunFolder) -> Iterator[str]:
    """The first tensor of the checkpoint that differs, by name, with the largest difference."""
    one, other = (tensors_of(each) for each in (folder, second))
    if one.keys() != other.keys():
        raise CheckpointError(f"{folder.checkpoint}: has other tensors than the run that was trained again")
    for name in sorted(one):
        if one[name].tobytes() != other[name].tobytes():
            if one[name].shape != other[name].shape:
                yield f"{name} had the shape {one[name].shape}, has {other[name].shape}"
            else:
                yield f"{name} differs by up to {np.nanmax(np.abs(one[name] - other[name])):.3g}"
            return


def tensors_of(folder: RunFolder) -> Tensors:
    """The tensors of a checkpoint."""
    return files.decode(files.read_file(folder.checkpoint), str(folder.checkpoint))[1]
