"""What is known of a run, read from its folder and its data?

A run that did not end, that diverged, or whose data have changed since, is known in part: what is missing is None, and
`gaps` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mlptrain.data.tables import Table, read_bytes
from mlptrain.dataset import Dataset, Part, Transforms, used_rows
from mlptrain.errors import CheckpointError, MlptrainError
from mlptrain.metrics import Outcome
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.threads import blas_threads
from mlptrain.runs.checkpoint import Model, header_of, read_file
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.history import Columns, read_history
from mlptrain.runs.model import at_home, open_model
from mlptrain.spec.plan import Plan, prepare
from mlptrain.training.diagnostics import lowest_loss
from mlptrain.training.intervals import losses_of_rows
from mlptrain.training.linear import LinearModels
from mlptrain.training.state import Progress


@dataclass(frozen=True)
class Measured:
    """The rows that a report is about, and what the model says of them."""

    name: str
    """test, validation or train"""
    part: Part
    scores: Array
    """(n, outputs)"""
    outcome: Outcome
    losses: Array
    """(n,): the loss of each row, times its weight."""
    lowest_loss: float
    """The lowest loss that any prediction could reach."""
    table: Table
    """The file that the rows come from, without the rows that were left out."""
    are_lines: bool
    """Whether row n of the file is on its line n + 1: it is text with a header, and no cell spans lines."""
    folds: bool
    """Whether each row is predicted by what was fitted without it."""

    @property
    def numbers(self) -> Indices:
        """(n,): the number of each row in the file, from 0."""
        numbers = self.table.numbers
        return self.part.rows if numbers is None else numbers[self.part.rows]

    def about(self) -> str:
        """Which rows these are, in a few words."""
        if self.name == "test":
            return f"the {len(self.part):,} test rows"
        if self.folds:
            return f"{self.part.distinct:,} rows, each predicted by the networks that were trained without it"
        if self.name == "validation":
            return f"the {len(self.part):,} validation rows (there are no test rows)"
        return f"the {len(self.part):,} training rows (there are no others), which flatter the model"


@dataclass(frozen=True)
class Source:
    """A run as far as it is known."""

    path: Path
    plan: Plan
    history: Columns
    summary: dict[str, Any] | None
    """The content of summary.json; None for a run that did not end."""
    progress: Progress | None
    """The counters of the last checkpoint of a run that did not end."""
    model: Model
    """Its best weights so far."""
    dataset: Dataset | None = None
    measured: Measured | None = None
    gaps: list[str] = field(default_factory=list)
    """Why something is not there."""

    @property
    def stopped(self) -> str | None:
        """Why training ended: epochs, early_stopping or diverged; None if it did not."""
        return None if self.summary is None else self.summary["stopped"]


def open_source(path: Path) -> Source:
    """Everything that can be known of the run at `path`."""
    folder = RunFolder.open(path)
    model, gaps = open_model(path), list[str]()
    try:
        model = at_home(model)
    except MlptrainError as error:
        gaps.append(f"nothing is shown about rows and columns: {error}")
    summary = folder.read_summary() if folder.summary.exists() else None
    progress = None if summary else progress_of(folder)
    found = Source(path, model.plan, read_history(path), summary, progress, model, gaps=gaps)
    if gaps:
        return found
    try:
        dataset = own_dataset(model)
        return replace(found, dataset=dataset, measured=measure(model, dataset))
    except MlptrainError as error:
        found.gaps.append(f"nothing is shown about rows and columns: {error}")
        return found


def progress_of(folder: RunFolder) -> Progress | None:
    """The counters of the last checkpoint; None without one, or for one of format 1."""
    if not folder.checkpoint.exists():
        return None
    header = header_of(read_file(folder.checkpoint), str(folder.checkpoint))
    return None if header is None else header.progress


def own_dataset(model: Model) -> Dataset:
    """The rows of the run of `model`, which must be at home."""
    _, dataset = prepare(model.plan, model.plan.name)
    if preparation(dataset.transforms) != preparation(model.transforms):
        raise CheckpointError(
            "the table is not prepared as it was for training, so that its rows may be others; train the model again"
        )
    return dataset.with_task(model.transforms.task)


def preparation(transforms: Transforms) -> list[dict[str, Any]]:
    """How a table is prepared; without the ranges of training, which earlier versions did not keep."""
    return [encoder.model_dump(exclude={"trained"}) for encoder in transforms.encoders]


@np.errstate(all="ignore")
def measure(model: Model, dataset: Dataset) -> Measured:
    """The predictions of `model` for its test rows, else for its validation rows, else for its training rows."""
    name = next(name for name in ("test", "validation", "train") if name in dataset.parts)
    part, network, task = dataset.parts[name], model.network, model.transforms.task
    table, file_rows = used_rows(model.plan.data, model.transforms, name)
    with blas_threads(model.plan.blas_threads):
        if name == "validation":
            scores = model.predictor.validation_scores(dataset, LinearModels(network, dataset))
        else:
            scores = model.predictor.scores(part.features, part.rows)
    if not np.isfinite(scores).all():
        raise CheckpointError("the model gives scores that are not finite for its own rows")
    return Measured(
        name,
        part,
        scores,
        task.outcome(network.loss, scores, part.truth()),
        losses_of_rows(task, network.loss, scores, part),
        lowest_loss(network, part),
        table,
        lines_of(table.path) == file_rows + 1,
        bool(dataset.folds) and name == "validation",
    )


def lines_of(path: str) -> int | None:
    """The number of lines of a plain text table; None for other files."""
    if not path.lower().endswith((".csv", ".tsv", ".txt")):
        return None
    raw = read_bytes(Path(path))
    return raw.count(b"\n") + (not raw.endswith(b"\n"))


@np.errstate(all="ignore")
def hidden_activations(model: Model, part: Part, most: int = 2048) -> dict[int, Array]:
    """The activations (n, units) of each hidden layer, of the first member, on the first `most` rows of `part`."""
    network, rows = model.network.alone, part.rows[:most]
    parameters, buffers = next(iter(model.network.layout.members_of(model.parameters, model.buffers)))
    x = np.empty((len(rows), part.features.width), network.dtype)
    part.features.gather(rows, x, part.features.byte_buffer(len(rows)))
    network.forward(x, network.layout.views(parameters), network.layout.running(buffers), training=False)
    layers = network.workspace(len(rows)).layers
    found = {i: network.layers[i].nonlinearities(here) for i, here in enumerate(layers[:-1])}
    return {i: each[-1].a.copy() for i, each in found.items() if each}
