"""Which columns matter to a model, and how?

Permutation importance (Breiman 2001): how much the loss rises when the values of one column are dealt out anew among
the rows, so that they say nothing any more. Columns that say the same can stand in for each other and then both look
unimportant.

Partial dependence (Friedman 2001): the mean prediction when every row has the same value in one column, and keeps its
own values elsewhere.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import Column, MomentColumn, NumericColumn, TextColumn
from mlptrain.data.encoders import Category, Encoder
from mlptrain.dataset import Features, Part
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.threads import blas_threads
from mlptrain.randomness import stream
from mlptrain.report.source import Measured
from mlptrain.runs.checkpoint import Model
from mlptrain.training.linear import loss_of

ROWS = 2000
"""Rows that are drawn for these figures."""
REPEATS = 5
"""Permutations of each column."""
ALL, FEW = 40, 10
"""Columns up to which all are measured; of more, so many are searched for."""
WORK = 4e10
"""Multiplications that the permutations may take, which decides how many rows are drawn."""
FEWEST_ROWS = 100
GRID = 20
"""Values of a column for partial dependence."""
CATEGORIES = 12


@dataclass(frozen=True)
class Importance:
    """How much the loss rises without a column."""

    column: str
    rise: float
    """The mean over permutations."""
    spread: float
    """Their standard deviation."""


@dataclass(frozen=True)
class Importances:
    """The most important columns, the most important one first."""

    found: tuple[Importance, ...]
    rows: int
    """Rows that were used."""
    columns: int
    """All columns of the model."""
    loss: float
    """The loss of these rows."""
    seen: bool = False
    """Whether the networks were trained on these rows."""


@dataclass(frozen=True)
class Dependence:
    """The mean prediction by the value of one column."""

    column: str
    values: tuple[str, ...] | NDArray[np.float64]
    """Words, or increasing numbers."""
    ordered: bool
    """Whether the values have an order."""
    predictions: NDArray[np.float64]
    """(values, outputs): probabilities of the classes or values in the units of the target."""


class Sample:
    """Some rows as an array of inputs, in which columns can be exchanged."""

    def __init__(self, model: Model, measured: Measured) -> None:
        part, self._model = measured.part, model
        self.seen = measured.folds or measured.name == "train"
        self.blocks = blocks(model.transforms.encoders)
        different = np.flatnonzero(np.bincount(part.rows))
        some = stream(model.plan.seed, "report").permutation(different)[: affordable_rows(model, len(self.blocks))]
        self.rows = np.sort(some)
        self._part = chosen(part, self.rows)
        self._inputs = part.features.values[self.rows]
        self._dtype = part.features.dtype
        self.loss = self._loss(self._inputs)

    def rises(self, columns: Sequence[str], repeats: int) -> NDArray[np.float64]:
        """(repeats,): how much the loss rises when the values of `columns` are permuted, together."""
        places = np.concatenate([self.blocks[name] for name in columns])
        inputs, found = self._inputs.copy(), []
        for repeat in range(repeats):
            order = stream(self._model.plan.seed, "report", 1 + repeat).permutation(len(inputs))
            inputs[:, places] = self._inputs[np.ix_(order, places)]
            found.append(self._loss(inputs) - self.loss)
        return np.array(found)

    def predictions(self, column: str, givers: Indices) -> NDArray[np.float64]:
        """(givers, outputs): the mean prediction when all rows have the value that one of them has in `column`."""
        places, inputs, found = self.blocks[column], self._inputs.copy(), []
        for giver in givers:
            inputs[:, places] = self._inputs[giver, places]
            found.append(self._predicted(inputs).mean(axis=0))
        return np.stack(found)

    def first_input(self, column: str) -> Array:
        """(rows,): the first input of a column."""
        return np.asarray(self._inputs[:, self.blocks[column][0]])

    def _scores(self, inputs: Array) -> Array:
        with blas_threads(self._model.plan.blas_threads):
            return self._model.predictor.scores(Features(inputs, self._dtype), np.arange(len(inputs)))

    def _loss(self, inputs: Array) -> float:
        return loss_of(self._model.network, self._scores(inputs), self._part)

    def _predicted(self, inputs: Array) -> NDArray[np.float64]:
        return predictions_of(self._model, self._scores(inputs))


def predictions_of(model: Model, scores: Array) -> NDArray[np.float64]:
    """(n, outputs): what raw scores (n, outputs) predict: probabilities, or values in the units of the target."""
    task, loss = model.transforms.task, model.network.loss
    if task.form == "values":
        return np.asarray(task.outcome(loss, scores, np.zeros(0)).predicted)
    return np.asarray(loss.predict(scores), np.float64)


def chosen(part: Part, rows: Indices) -> Part:
    """The same rows with numbers from 0."""
    weights, truths = part.all_weights, part.truths
    return replace(
        part,
        targets=part.targets[rows],
        rows=np.arange(len(rows)),
        all_weights=None if weights is None else weights[rows],
        truths=None if truths is None else truths[rows],
        units=None,
    )


def blocks(encoders: Sequence[Encoder]) -> dict[str, Indices]:
    """The inputs of each column."""
    found: dict[str, Indices] = {}
    start = 0
    for encoder in encoders:
        inputs = np.arange(start, start + encoder.width)
        found[encoder.column] = np.append(found.get(encoder.column, inputs[:0]), inputs)
        start += encoder.width
    return found


def affordable_rows(model: Model, columns: int) -> int:
    """How many rows can be predicted for all permutations."""
    evaluations = REPEATS * min(columns, ALL) + GRID * 6 + (250 if columns > ALL else 0)
    return int(np.clip(WORK / evaluations / model.network.layout.parameter_size, FEWEST_ROWS, ROWS))


def importances(sample: Sample) -> Importances:
    """The importance of the columns that matter most."""
    names = most_important(sample, list(sample.blocks))
    found = [(name, sample.rises([name], REPEATS)) for name in names]
    each = [Importance(name, float(rises.mean()), float(rises.std())) for name, rises in found]
    each.sort(key=lambda one: -one.rise)
    return Importances(tuple(each), len(sample.rows), len(sample.blocks), sample.loss, sample.seen)


def most_important(sample: Sample, names: list[str]) -> list[str]:
    """The columns that are worth measuring: all, or of many those found by halving the groups that matter most.

    A group of columns is permuted at once; the one with the largest rise of the loss is divided, again and again.
    """
    if len(names) <= ALL:
        return names
    size = max(1, -(-len(names) // 64))
    groups = [names[start : start + size] for start in range(0, len(names), size)]
    waiting = [(-float(sample.rises(group, 1)[0]), number, group) for number, group in enumerate(groups)]
    heapq.heapify(waiting)
    found: list[str] = []
    number = len(groups)
    while waiting and len(found) < FEW:
        _, _, group = heapq.heappop(waiting)
        if len(group) == 1:
            found += group
            continue
        for half in (group[: len(group) // 2], group[len(group) // 2 :]):
            number += 1
            heapq.heappush(waiting, (-float(sample.rises(half, 1)[0]), number, half))
    return found


def dependences(sample: Sample, model: Model, measured: Measured, names: Sequence[str]) -> Iterator[Dependence]:
    """The partial dependence on each of `names`."""
    encoders = {encoder.column: encoder for encoder in model.transforms.encoders}
    for name in names:
        encoder = encoders[name]
        column = encoder.read(measured.table, name, model.transforms.missing_values)
        givers, values = grid(encoder, column, sample)
        if len(givers) > 1:
            yield Dependence(name, values, not isinstance(encoder, Category), sample.predictions(name, givers))


def grid(encoder: Encoder, column: Column, sample: Sample) -> tuple[Indices, tuple[str, ...] | NDArray[np.float64]]:
    """Rows of the sample whose values are typical of a column, and these values, in order."""
    if isinstance(column, TextColumn):
        codes = column.codes[sample.rows]
        if isinstance(encoder, Category):
            counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
            common = [code for code in np.argsort(-counts, kind="stable")[:CATEGORIES] if counts[code]]
            givers = np.array([np.flatnonzero(codes == code)[0] for code in common], np.intp)
        else:  # dates and amounts, which are ordered by their first input
            givers = spread_rows(np.where(codes < 0, np.nan, sample.first_input(column.name)))
        return givers, tuple(column.categories[code] for code in codes[givers])
    if isinstance(column, MomentColumn):
        days = np.where(column.absent, np.nan, column.seconds / 86400)[sample.rows]
        givers = spread_rows(days)
        return givers, tuple(str(np.datetime64(int(day), "D")) for day in days[givers])
    if isinstance(column, NumericColumn) and column.width == 1:
        numbers = column.values[sample.rows, 0]
        givers = spread_rows(numbers)
        return givers, numbers[givers]
    return np.zeros(0, np.intp), ()


def spread_rows(numbers: NDArray[np.float64]) -> Indices:
    """Rows whose numbers increase, evenly by quantiles from 1 % to 99 %."""
    order = np.argsort(numbers, kind="stable")[: int(np.count_nonzero(~np.isnan(numbers)))]
    if not len(order):
        return order
    places = np.linspace(0.01, 0.99, GRID) * (len(order) - 1)
    picked = order[places.round().astype(np.intp)]
    _, first = np.unique(numbers[picked], return_index=True)
    return picked[first]
