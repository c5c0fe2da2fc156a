"""What does a whole model compute, from raw cells to predictions?

The scores of each member come from the inputs; their mean prediction is blended with the linear model, and the task
turns the scores into labels, probabilities or values in the units of the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mlptrain.export.columns import ENCODERS, inputs_of
from mlptrain.export.graph import (
    Dtype,
    Node,
    Source,
    argmax,
    cast,
    in_order,
    maximum,
    minimum,
    sources,
    take,
)
from mlptrain.export.mathematics import LINKS, UNSCALERS, averaged, network_scores, row, rules
from mlptrain.export.rules import Rules
from mlptrain.metrics import log_odds
from mlptrain.nn.losses import Loss
from mlptrain.runs.checkpoint import Model
from mlptrain.tasks import Classification, MultiLabel, Regression, Task

TASKS = Rules(Task, "loss, scores")
Words = tuple[str, ...] | None


class Predictions(NamedTuple):
    """What a task makes of the scores."""

    numbers: Node
    """Probabilities or values, as float64."""
    called: str
    """What the numbers are: `probabilities` or `values`."""
    labels: Node | None = None
    """The place of each label in its words, or 0 and 1."""
    words: tuple[Words, ...] = ()
    """The words of each label; None for 0 and 1."""


class Column(NamedTuple):
    """One column of the predictions."""

    name: str
    label: bool
    """Whether it is one of the labels, not of the numbers."""
    place: int


class Program(NamedTuple):
    """A model as a graph."""

    model: Model
    scores: Node
    """Rows whose scores are not finite are refused."""
    found: Predictions
    columns: tuple[Column, ...]
    """The columns of the predictions, in the order of `mlptrain predict`."""

    @property
    def nodes(self) -> list[Node]:
        """Every node, each after its arguments."""
        return in_order(self.outputs)

    @property
    def outputs(self) -> list[Node]:
        """The scores, the numbers and the labels if there are any."""
        return [self.scores, self.found.numbers, *([self.found.labels] if self.found.labels else [])]

    @property
    def sources(self) -> list[Source]:
        """The columns that are read, in the order of the encoders."""
        by_name = {one.column: one for one in sources(self.nodes)}
        return [by_name[encoder.column] for encoder in self.model.transforms.encoders if encoder.column in by_name]

    @property
    def missing(self) -> tuple[str, ...]:
        """The words that mean a missing value."""
        return tuple(self.model.transforms.missing_values)


def program_of(model: Model) -> Program:
    """The program of a model; a `UsageError` that names a component which cannot be exported."""
    network, task = model.network, model.transforms.task
    scores = scores_of(model)
    found: Predictions = TASKS.apply(task, network.loss, scores)
    names = list(task.decode(network.loss, np.zeros((1, network.outputs), network.dtype)))
    return Program(model, scores, found, tuple(columns_of(names, found)))


def scores_of(model: Model) -> Node:
    """The scores that `Predictor.scores` gives."""
    network = model.network
    dtype: Dtype = "float32" if network.dtype.itemsize == 4 else "float64"
    x = inputs_of(model.transforms, dtype)
    alone = network.layout.members_of(model.parameters, model.buffers)
    members = [network_scores(network.alone, *vectors, x) for vectors in alone]
    own = members[0]
    if network.layout.members:
        own = averaged(network.loss, members, np.full(len(members), 1 / len(members)).tolist())
    if model.blend is None:
        return own
    share, linear = model.blend
    beside = network_scores(linear.network, linear.parameters, np.empty(0, network.dtype), x)
    return averaged(network.loss, [own, beside], [share, 1 - share]) if share else beside


def columns_of(names: list[str], found: Predictions) -> Iterator[Column]:
    """The columns in order: a label comes before its numbers."""
    labels, numbers = len(found.words), found.numbers.width
    each = numbers // labels if labels else numbers
    order = [(k < 1, i if k < 1 else i * each + k - 1) for i in range(labels) for k in range(each + 1)]
    order = order if labels else [(False, i) for i in range(numbers)]
    for name, (label, place) in zip(names, order, strict=True):
        yield Column(name, label, place)


@TASKS.of(Classification)
def classification(task: Classification, loss: Loss, scores: Node) -> Predictions:
    """The class of the highest score, or the second of two above the threshold; and all probabilities."""
    probabilities = cast(LINKS.apply(loss, scores), "float64")
    if task.threshold is None:
        chosen = argmax(scores)
    else:
        wide = cast(scores, "float64")
        chosen = cast(take(wide, [1]) - take(wide, [0]) > log_odds(task.threshold), "int64")
    return Predictions(probabilities, "probabilities", chosen, (task.classes,))


@TASKS.of(MultiLabel)
def multilabel(task: MultiLabel, loss: Loss, scores: Node) -> Predictions:
    """A yes above the threshold for each label, and its probability."""
    cut = 0.0 if task.threshold is None else log_odds(task.threshold)
    chosen = cast(cast(scores, "float64") > cut, "int64")
    return Predictions(cast(LINKS.apply(loss, scores), "float64"), "probabilities", chosen, task.labels)


@TASKS.of(Regression)
def regression(task: Regression, loss: Loss, scores: Node) -> Predictions:
    """Values in the units of the target, within its limits."""
    values = UNSCALERS.apply(task.scaler, cast(LINKS.apply(loss, scores), "float64"), np.asarray(task.fitted))
    if task.limits is not None:
        low, high = np.asarray(task.limits)
        values = minimum(maximum(values, row(low)), row(high))
    return Predictions(values, "values")


def support() -> dict[str, Rules]:
    """The rules of every family of components that a model consists of."""
    return rules() | {"encoders": ENCODERS, "tasks": TASKS}
