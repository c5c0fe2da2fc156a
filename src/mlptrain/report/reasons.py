"""Why does a model predict what it does for one row of a table?"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlptrain.data.tables import Table
from mlptrain.dataset import Features, read_part, used_rows
from mlptrain.errors import UsageError
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.threads import blas_threads
from mlptrain.numbers import brief
from mlptrain.randomness import stream
from mlptrain.report.charts.columns import output_names
from mlptrain.report.contributions import EXACT, Contributions, Values, contributions
from mlptrain.report.importance import blocks, predictions_of
from mlptrain.report.sheets import cell
from mlptrain.report.source import lines_of, own_dataset
from mlptrain.report.text import visible
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.model import refuse_nonfinite

OUTPUTS = 4
"""Labels or targets that are explained; of classes only the predicted one is."""
BACKGROUND, FEWEST = 500, 10
"""Training rows that the row is compared with, at most and at least."""
ORDERS = 100
"""Pairs of orders that are enough: fewer rows have several each."""
CHANGED = 200
"""Columns of which other values are tried."""
WORK, PER_INPUT = 1e10, 20
"""Multiplications that the predictions may take, and to how many of them an input amounts that is copied."""


class Background(NamedTuple):
    """Training rows that a row is compared with."""

    inputs: Array
    """(rows, width)"""
    table: Table


class Change(NamedTuple):
    """Another value of one column, and the class that is predicted then."""

    column: str
    value: str
    label: str


@dataclass(frozen=True)
class Reasons:
    """What each column contributes to the prediction for one row."""

    table: str
    """The file."""
    row: int
    """Its number from 1, without the header."""
    line: int | None
    """The line of the file, where each row is one line."""
    prediction: dict[str, Any]
    """What `predict` gives, by column."""
    truth: dict[str, str]
    """The true values, if the table has them."""
    columns: tuple[str, ...]
    cells: tuple[str, ...]
    """The value of each column in this row."""
    outputs: tuple[str, ...]
    found: Contributions
    """(columns, outputs)"""
    background: int
    """Training rows that the row is compared with."""
    change: Change | None
    """The nearest change of one column to a value of these rows that changes the class; None if there is none."""

    def ranked(self, output: int) -> list[int]:
        """The places of the columns, the one that contributes most first."""
        return [int(place) for place in np.argsort(-np.abs(self.found.values[:, output]), kind="stable")]


def own_table(model: Model) -> Table:
    """The table of the run of `model`, which must be at home."""
    return read_part(model.plan.data, "train", model.transforms.hints._replace(wanted=()))[0]


@np.errstate(all="ignore")
def reasons(model: Model, table: Table, number: int) -> Reasons:
    """Why `model` predicts what it does for row `number` of `table`, counted from 1."""
    if number > table.rows:
        raise UsageError(f"--row {number}: {table.path} has {table.rows:,} rows; give a number from 1 to {table.rows}")
    task, loss, i, line = model.transforms.task, model.network.loss, number - 1, line_of(table, number)
    truth = {name: cell(table.columns[name], i) for name in task.columns if name in table.columns}
    players = players_of(model, table)
    cells = () if is_block(model, table) else tuple(cell(table.column(name), i) for name in players)
    x = inputs_of(model, table.select(np.array([i])))[0]
    scores = scores_for(model, x[None])
    refuse_nonfinite(scores, loss, f"{table.path} row {number}")
    names = explained(model, x[None])
    prediction = {name: values[0] for name, values in task.decode(loss, scores).items()}
    shown, outputs = cells or tuple(brief(float(value)) for value in x), tuple(names)
    background = background_of(model, affordable_rows(model, len(players)))
    found = compared(model, x, background, [*players.values()], np.array([*names.values()]), number)
    change = None if is_block(model, table) or task.form != "class" else nearest_change(model, x, background, players)
    rows = len(background.inputs)
    return Reasons(table.path, number, line, prediction, truth, tuple(players), shown, outputs, found, rows, change)


def compared(
    model: Model, x: Array, background: Background, players: list[Indices], outputs: Indices, number: int
) -> Contributions:
    """The contributions of the players to some outputs."""
    pairs = min(ORDERS, affordable_rows(model, len(players)))
    rng = stream(model.plan.seed, "contributions", number)
    rounds = max(1, pairs // len(background.inputs))
    return contributions(predictor(model, outputs), x, background.inputs, players, rng, rounds)


def nearest_change(model: Model, x: Array, background: Background, players: dict[str, Indices]) -> Change | None:
    """The smallest change of the inputs of one column, to those of a row of the background, that changes the class."""
    now, least, found = chosen_classes(model, x[None])[0], np.inf, None
    for name, places in [*players.items()][:CHANGED]:
        inputs = np.repeat(x[None], len(background.inputs), axis=0)
        inputs[:, places] = background.inputs[:, places]
        classes = chosen_classes(model, inputs)
        distance = np.where(classes == now, np.inf, np.linalg.norm(inputs - x, axis=1))
        row = int(distance.argmin())
        if distance[row] < least:
            label = str(getattr(model.transforms.task, "classes", ())[classes[row]])
            least, found = distance[row], Change(name, cell(background.table.columns[name], row), label)
    return found


def chosen_classes(model: Model, inputs: Array) -> Indices:
    """(n,): the number of the class that is predicted for each row of inputs."""
    task, scores = model.transforms.task, scores_for(model, inputs)
    return np.asarray(task.outcome(model.network.loss, scores, np.zeros(len(inputs), np.intp)).predicted)


def line_of(table: Table, number: int) -> int | None:
    """The line of the file on which a row is, where each row is one line after the header."""
    return number + 1 if lines_of(table.path) == table.rows + 1 else None


def players_of(model: Model, table: Table) -> dict[str, Indices]:
    """The inputs of each column; of a table that is one block, such as an image, each input is on its own."""
    if is_block(model, table):
        return {name: np.array([i]) for i, name in enumerate(model.transforms.inputs)}
    return blocks(model.transforms.encoders)


def is_block(model: Model, table: Table) -> bool:
    """Whether all inputs come from one column with several numbers in a row."""
    columns = {encoder.column for encoder in model.transforms.encoders}
    return len(columns) == 1 and len(getattr(table.column(*columns), "shape", ())) > 1


def inputs_of(model: Model, table: Table) -> Array:
    """(rows, width): the inputs of all rows of a table."""
    features, _ = model.transforms.encode(table, model.network.dtype)
    x = np.empty((table.rows, features.width), model.network.dtype)
    features.gather(np.arange(table.rows), x, features.byte_buffer(table.rows))
    return x


def affordable_rows(model: Model, players: int) -> int:
    """How many rows the row can be compared with, in all sets of the players or in a pair of orders."""
    sets = 2**players if players <= EXACT else 2 * (players + 1)
    each = model.network.layout.parameter_size + PER_INPUT * model.network.inputs
    return int(np.clip(WORK / sets / each, FEWEST, BACKGROUND))


def background_of(model: Model, most: int) -> Background:
    """`most` training rows drawn at random, or all."""
    training = np.unique(own_dataset(model).training.rows)
    chosen = np.sort(stream(model.plan.seed, "contributions").permutation(training)[:most])
    table = used_rows(model.plan.data, model.transforms, "train")[0].select(chosen)
    return Background(inputs_of(model, table), table)


def scores_for(model: Model, inputs: Array) -> Array:
    """(n, outputs): the raw scores for inputs (n, width)."""
    with blas_threads(model.plan.blas_threads):
        return model.predictor.scores(Features(inputs, model.network.dtype), np.arange(len(inputs)))


def predictor(model: Model, places: Indices) -> Callable[[Array], Values]:
    """The predictions of some outputs as a function of the inputs."""
    return lambda inputs: predictions_of(model, scores_for(model, inputs))[:, places]


def explained(model: Model, inputs: Array) -> dict[str, int]:
    """The outputs that are explained, by name: the predicted class, or the first labels or targets."""
    task = model.transforms.task
    if task.form == "class":
        chosen = int(chosen_classes(model, inputs)[0])
        return {f"probability of {getattr(task, 'classes', ())[chosen]}": chosen}
    count = predictions_of(model, scores_for(model, inputs)).shape[1]
    return dict([*output_names(task, count).items()][:OUTPUTS])


def heading(why: Reasons) -> str:
    """The row, what is predicted, and what the table says."""
    line = f" (line {why.line})" if why.line else ""
    predicted = ", ".join(f"{visible(name)} {value_text(value)}" for name, value in labels(why).items())
    truth = ", ".join(map(visible, why.truth.values()))
    told = f"; the table says {truth}" if truth else ""
    return f"Row {why.row:,} of {visible(Path(why.table).name)}{line}: {predicted}{told}"


def labels(why: Reasons) -> dict[str, Any]:
    """The predicted values without the probabilities, unless there is nothing else."""
    few = {name: value for name, value in why.prediction.items() if not name.startswith("probability_")}
    return dict([*(few or why.prediction).items()][:4])


def value_text(value: Any) -> str:
    """A predicted value."""
    return brief(value) if isinstance(value, float) else visible(str(value))


def method(why: Reasons) -> str:
    """How the figures were computed, and how sure they are."""
    found = why.found
    how = f"{found.orders:,} orders of the columns" if found.orders else "all sets of columns"
    worst = float(found.errors.max())
    sure = f", standard error up to {brief(worst)}" if math.isfinite(worst) else ""
    return (
        f"Shapley values: what each column adds to the mean prediction, on average over {how} and against "
        f"{why.background:,} training rows{sure}. They add up to the prediction. "
        "They say what the model does, not what causes what."
    )


def change_text(why: Reasons) -> str:
    """What would change the class; empty where no classes are predicted."""
    if why.change is None:
        return ""
    before = why.cells[why.columns.index(why.change.column)]
    column, value, label = (visible(text) for text in why.change)
    start = "The nearest change of one column that changes the class"
    return f"{start}: with {column} {value} instead of {visible(before)} it is {label}."
