"""How is a trained model used, on the test rows of its run or on another table?"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.tables import Table, row_list
from mlptrain.dataset import Features, Part, join_target, load_test_part
from mlptrain.errors import CheckpointError, DataError, UsageError
from mlptrain.metrics import ClassFigures, Metrics
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.losses import Loss
from mlptrain.nn.threads import blas_threads
from mlptrain.runs.checkpoint import Model, check_fingerprint, decode_model, read_file
from mlptrain.runs.directory import RunFolder
from mlptrain.spec.load import load_experiment
from mlptrain.spec.yaml import TABLE
from mlptrain.training.evaluation import member_scores
from mlptrain.training.intervals import Intervals, intervals, losses_of_rows

SMALLEST_TILE, LARGEST_TILE = 32, 1024
"""Rows that are predicted at a time."""
_TILE_PRODUCTS = 1 << 25  # multiplications of a tile: a few milliseconds


class Evaluation(NamedTuple):
    """The metrics of a model on some rows."""

    rows: int
    metrics: Metrics
    confusion: tuple[tuple[str, ...], NDArray[np.int64]] | None
    """The classes and their counts (classes, classes): row is the true class, column the predicted one."""
    by_class: tuple[ClassFigures, ...]
    """The figures of each class, or of each of several labels."""
    positive: str | None
    """The positive class, if there are two."""
    threshold: float | None
    """The probability above which it is predicted."""
    intervals: Intervals
    """How sure the loss and the main metric are."""
    notes: tuple[str, ...]


def open_model(path: Path) -> Model:
    """The model in a run's folder, a model file or a checkpoint; for an unfinished run, the best one so far."""
    home = path if path.is_dir() else path.parent if (path.parent / "spec.yaml").is_file() else None
    if path.is_dir():
        folder = RunFolder.open(path)
        path = folder.model if folder.model.exists() else folder.checkpoint
        if not path.exists():
            raise CheckpointError(f"{folder.path}: this run has not saved anything yet")
    elif path.suffix in (".yaml", ".yml"):
        raise UsageError(
            f"{path}: is a spec; evaluate and predict take a run's folder or a model file (train one with mlptrain fit)"
        )
    elif TABLE.search(path.name) and path.is_file():
        raise UsageError(f"{path}: is a table; evaluate and predict take a run's folder or a model file first")
    return decode_model(read_file(path), str(path))._replace(folder=home)


def at_home(model: Model, table: Path | None = None) -> Model:
    """`model` with the places of the tables of its run, which must be as they were in training.

    The places are those in the spec of the run, and `table` is where its main table is now. A file without its run
    has no rows of its own: one that came from elsewhere must not choose which files are opened here.
    """
    if model.folder is None:
        raise UsageError("this is a model file without its run, so it has no rows of its own; name a table with --data")
    spec = load_experiment(RunFolder(model.folder).spec)
    places = spec.paths | ({} if table is None else {"data.path": str(table.absolute())})
    plan = model.plan.with_paths(lambda name, path: places.get(name, path))
    header = model.header.model_copy(update={"plan": plan})
    check_fingerprint(header, "the model was trained, so its rows are not the same; use --data")
    return model._replace(header=header)


def is_at_home(model: Model) -> bool:
    """Whether the tables of the run of `model` are where its spec says."""
    return model.folder is not None and all(
        Path(path).is_file() for path in load_experiment(RunFolder(model.folder).spec).data.files.values()
    )


def own_test(model: Model) -> Part | None:
    """The test rows of the run of `model`, which must be at home; None if it has none."""
    return load_test_part(model.plan.data, model.transforms, model.network.dtype, model.plan.seed)


def with_target(model: Model, table: Table, target: Table | None) -> Table:
    """`table` with its targets, which may come from a separate file."""
    return table if target is None else join_target(table, target, model.transforms.task.columns)


def table_part(model: Model, table: Table) -> tuple[Part, list[str]]:
    """The rows of another table with their targets, and notes on them."""
    seen = table.sha256 in model.header.fingerprint.values()
    part, notes = model.transforms.part(table, model.network.dtype, drops(model), change={})
    again = f"{table.path} is the table that the model was trained on: its metrics include training rows"
    return part, [*([again] if seen else []), *notes]


def drops(model: Model) -> bool:
    """Whether rows without a target are left out, as in training."""
    return model.plan.data.missing_target == "drop"


@np.errstate(all="ignore")
def scores_of(model: Model, part: Part) -> Array:
    """(n, outputs): the scores of `model` for the rows of `part`."""
    with blas_threads(model.plan.blas_threads):
        return model.predictor.scores(part.features, part.rows)


@np.errstate(all="ignore")
def evaluate(model: Model, part: Part, scores: Array, notes: Sequence[str] = ()) -> Evaluation:
    """The metrics of the `scores` of `model` on `part`."""
    task, loss = model.transforms.task, model.network.loss
    refuse_nonfinite(scores, loss, "these rows")
    metrics, outcome = task.measure(loss, scores, part), task.outcome(loss, scores, part.truth())
    return Evaluation(
        len(part),
        metrics,
        task.confusion(outcome),
        tuple(task.by_class(outcome)),
        task.positive,
        task.cutoff,
        intervals(task, loss, scores, part, model.plan.seed),
        tuple(notes),
    )


def refuse_nonfinite(scores: Array, loss: Loss, path: str) -> None:
    """Refuse rows with scores or predictions that are not finite."""
    rows = np.flatnonzero(~(np.isfinite(scores) & np.isfinite(loss.predict(scores))).all(axis=1))
    if len(rows):
        raise DataError(
            f"{path}: the model gives scores that are not finite in {row_list(rows)}; "
            "the values there are too far from those of training",
            rows.tolist(),
        )


@np.errstate(all="ignore")  # an overflow gives scores that are not finite, which is checked
def predict(model: Model, table: Table, spread: bool = False) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Output columns for every row of `table`: label and probabilities, or values in the units of the target.

    With `spread`, each number has a second column: its standard deviation over the members of an ensemble. The notes
    say what was filled, unknown or far outside of training.
    """
    if spread and not model.network.layout.members:
        raise UsageError("--spread is over the members of an ensemble, and this model is a single network")
    features, notes = model.transforms.encode_other(table, model.network.dtype)
    with blas_threads(model.plan.blas_threads):
        return decoded(model, features, table, spread), notes


def predicted(model: Model, table: Table, spread: bool = False) -> dict[str, NDArray[Any]]:
    """`predict` for few rows at a time: without notes, and with the threads of matrix products as they are."""
    return decoded(model, model.transforms.encode(table, model.network.dtype)[0], table, spread)


def decoded(model: Model, features: Features, table: Table, spread: bool) -> dict[str, NDArray[Any]]:
    """The output columns for `features`, those of the rows of `table`."""
    columns = model.transforms.task.decode(model.network.loss, scores_in_tiles(model, features, table.path))
    return columns | (spreads(model, features, table.rows) if spread else {})


def scores_in_tiles(model: Model, features: Features, path: str) -> Array:
    """(n, outputs): the scores of `model` for all rows of `features`; refused where they are not finite."""
    rows = len(features.values)
    scores = np.concatenate([model.predictor.scores(features, tile) for tile in tiles_of(model, rows)])[:rows]
    refuse_nonfinite(scores, model.network.loss, path)
    return scores


def tiles_of(model: Model, rows: int) -> list[Indices]:
    """The numbers of all rows, in tiles of one size; the last one is filled up with the last row.

    BLAS chooses the order of the additions in a product of matrices by their shapes. Products of one shape give a row
    the same prediction, to the last digit, whatever rows are beside it. A tile of a large network is small, so that a
    single row need not wait for a thousand.
    """
    fitting = _TILE_PRODUCTS // model.network.layout.parameter_size
    size = min(max(1 << fitting.bit_length() >> 1, SMALLEST_TILE), LARGEST_TILE)
    return list(np.minimum(np.arange(-(-rows // size) * size), rows - 1).reshape(-1, size))


def output_names(model: Model, spread: bool = False) -> list[str]:
    """The names of the columns that `predict` gives."""
    columns = model.transforms.task.decode(
        model.network.loss, np.zeros((1, model.network.outputs), model.network.dtype)
    )
    numbers = [name for name, values in columns.items() if values.dtype.kind == "f"]
    return [*columns, *(f"spread_{name}" for name in numbers if spread)]


def kept(table: Table, names: Sequence[str], beside: Collection[str]) -> dict[str, Any]:
    """The columns of `table` that are copied beside the predictions."""
    for name in names:
        if name in beside:
            raise UsageError(f"--keep {name}: predict writes a column '{name}' itself; rename the one in {table.path}")
    return {name: table.column(name) for name in dict.fromkeys(names)}


@np.errstate(all="ignore")
def predicted_rows(model: Model, part: Part, scores: Array, table: Table) -> dict[str, NDArray[Any]]:
    """For each row of `part`: its number in the file from 1, the truth, what `predict` gives, and its loss.

    `scores` are those of the rows, `table` is what they count in.
    """
    numbers = part.rows if table.numbers is None else table.numbers[part.rows]
    task, loss = model.transforms.task, model.network.loss
    truth = {f"true_{name}": values for name, values in task.told(part.truth()).items()}
    losses = losses_of_rows(task, loss, scores, part)
    return {"row": numbers + 1, **truth, **task.decode(loss, scores), "loss": losses + 0.0}


def spreads(model: Model, features: Features, rows: int) -> dict[str, NDArray[Any]]:
    """The standard deviation over the members of each number that is predicted, for all `rows`."""
    network, vectors, tiles = model.network, (model.parameters, model.buffers), tiles_of(model, rows)
    by_member = np.concatenate([member_scores(network, *vectors, features, one) for one in tiles], axis=1)[:, :rows]
    found = [model.transforms.task.decode(network.loss, scores) for scores in by_member]
    numbers = [name for name, values in found[0].items() if values.dtype.kind == "f"]
    return {f"spread_{name}": np.std([columns[name] for columns in found], axis=0) for name in numbers}
