"""In what do runs differ, and is one better than another by more than chance?

Two runs are compared on the rows that both were measured on and neither was trained on. The rows are drawn again with
replacement, the same draws for both (a paired bootstrap; Efron & Tibshirani 1993, chapter 16): if 95 % of the
differences are on one side of 0, chance alone does not explain them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mlptrain.metrics import higher_is_better
from mlptrain.nn.arrays import Indices
from mlptrain.randomness import stream
from mlptrain.report.source import Measured, Source
from mlptrain.training.intervals import Interval, Statistic, means_of_draws, middle, statistics

FEWEST_ROWS = 10
"""With fewer common rows, nothing is said."""
PLACES = ("name", "data.path", "data.target_path")
"""Settings that say where something is, not what."""


class Difference(NamedTuple):
    """By how much a figure of one run is better than that of another; negative if it is worse."""

    metric: str
    first: float
    second: float
    better_by: float
    interval: Interval | None
    """95 % of the draws; None if they are all the same."""
    rows: int

    @property
    def is_chance(self) -> bool:
        """Whether the interval holds 0."""
        return self.interval is None or self.interval[0] <= 0 <= self.interval[1]


def flat(settings: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting of nested mappings, and of lists of them, by its path: ('training.epochs', 100)."""
    if isinstance(settings, list) and settings and all(isinstance(item, Mapping) for item in settings):
        settings = dict(enumerate(settings))
    if isinstance(settings, Mapping) and settings:
        for key, value in settings.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, settings


def differing(specs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same in all `specs`, with the value in each; None where one has no such setting."""
    tables = [dict(flat(spec)) for spec in specs]
    names = list(dict.fromkeys(name for table in tables for name in table))
    found = {name: [table.get(name) for table in tables] for name in names}
    return {
        name: values
        for name, values in found.items()
        if name not in PLACES and any(value != values[0] for value in values)
    }


@np.errstate(all="ignore")
def compared(first: Source, second: Source) -> list[Difference] | str:
    """How much better the second run is, by its loss and its main metric; or why it cannot be said."""
    ours, theirs = first.measured, second.measured
    if ours is None or theirs is None:
        return "; ".join([*first.gaps, *second.gaps])
    if first.model.header.fingerprint != second.model.header.fingerprint:
        return "they were trained on other data"
    if first.plan.transforms.task.columns != second.plan.transforms.task.columns:
        return "they predict other columns"
    if "train" in (ours.name, theirs.name):
        return "they have no rows that were not trained on; hold some out with data: {split: {test: 0.2}}"
    _, here, there = np.intersect1d(ours.numbers, theirs.numbers, return_indices=True)
    if len(here) < FEWEST_ROWS:
        return f"they have only {len(here)} rows in common that were held out; give both the same seed and split"
    return list(differences(first, second, here, there))


def differences(first: Source, second: Source, here: Indices, there: Indices) -> Iterator[Difference]:
    """The difference of each figure that both have, on the rows `here` of the one and `there` of the other."""
    ours, theirs = figures(first, here), figures(second, there)
    assert first.measured is not None
    codes = units(first.measured, here)
    for name in ours:
        if name in theirs and (name != "loss" or same_loss(first, second)):
            yield difference(name, ours[name], theirs[name], codes, first.plan.seed)


def figures(source: Source, rows: Indices) -> dict[str, Statistic]:
    """The figures of a run by name, on some of its rows."""
    measured = source.measured
    assert measured is not None
    found = statistics(source.plan.transforms.task, source.model.network.loss, measured.scores, measured.part)
    return {name: each._replace(terms=each.terms[rows]) for name, each in found.items()}


def same_loss(first: Source, second: Source) -> bool:
    """Whether the losses are in the same units: the same function of targets on the same scale."""
    tasks = [source.plan.transforms.task.model_dump() for source in (first, second)]
    scales = [(task.get("scaler"), task.get("fitted")) for task in tasks]
    return first.plan.loss == second.plan.loss and scales[0] == scales[1]


def units(measured: Measured, rows: Indices) -> Indices:
    """(n,): which of `rows` are drawn together: those of one group, or copies of one row."""
    part = measured.part
    codes = part.rows if part.units is None else part.units[part.rows]
    return np.unique(codes[rows], return_inverse=True)[1].astype(np.intp)


def difference(name: str, first: Statistic, second: Statistic, codes: Indices, seed: int) -> Difference:
    """The difference of one figure, and its interval."""
    width = first.terms.shape[1]
    draws = means_of_draws(np.concatenate([first.terms, second.terms], axis=1), codes, stream(seed, "comparison"))
    sign = 1.0 if higher_is_better(name) else -1.0
    a, b = (float(each.of(each.terms.mean(axis=0)[None])[0]) for each in (first, second))
    interval = middle(sign * (second.of(draws[:, width:]) - first.of(draws[:, :width])))
    return Difference(name, a, b, sign * (b - a), interval, len(first.terms))
