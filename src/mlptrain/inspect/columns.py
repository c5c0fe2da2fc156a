"""What is in each column of a table, and what would training do with it?

The encoders are chosen and fitted as in training, so that what is said is what happens. A column that cannot be used
has the message of the error; nothing is raised for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import FLAGS, Column, MomentColumn, NumericColumn, PixelColumn, TextColumn
from mlptrain.data.encoders import Amount, Category, Date, Encoder, Number, choose_encoder
from mlptrain.data.encoders.amounts import numbers_in
from mlptrain.data.encoders.dates import seconds_of
from mlptrain.data.keys import numbered
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.dataset import NUMBERS_ROWS, are_distinct, is_row_index, nothing_to_learn, with_number_of_bins
from mlptrain.nn.arrays import Indices
from mlptrain.randomness import stream
from mlptrain.tasks import Truth

BARS = 10
"""Bins of a histogram, and the levels that are counted one by one."""
GIVES_AWAY = 0.98
"""From this share of the target on, a single column is said to give it away."""
FEW_ROWS = 20
"""Rows of a table so short that whole numbers may all differ by chance."""
_FEWEST_ROWS, _MOST_ROWS = (
    50,
    20_000,
)  # of a table in which one column is said to tell the target, and that are looked at


@dataclass(frozen=True)
class Values:
    """What the cells of a column say."""

    present: int
    missing: int
    distinct: int
    span: tuple[Any, Any, Any] | None = None
    """The lowest, the middle and the highest: numbers, or dates as text; None for categories."""
    levels: tuple[tuple[str, int], ...] = ()
    """The most frequent categories with their counts, the most frequent one first."""
    histogram: tuple[int, ...] = ()
    """Counts in bins of equal width, or of the levels."""


@dataclass(frozen=True)
class ColumnFacts:
    """One column of a table."""

    name: str
    role: str
    """`feature`, `target`, `weight`, `group`, `excluded` or `left out`."""
    holds: str
    becomes: str
    """What training does with it, in a few words."""
    inputs: int
    """How many inputs of the network it gives."""
    values: Values | None
    """None for a column that cannot be read."""
    notes: tuple[str, ...] = ()
    trouble: Trouble | None = None
    """Why it cannot be used as it is."""
    tells: float | None = None
    """The share of the target that it tells alone, from 0 to 1; None where that is not known."""

    @property
    def treatment(self) -> str:
        """What training does with it, with the number of its inputs."""
        return f"{self.inputs} input{'s' * (self.inputs != 1)}: {self.becomes}" if self.inputs else self.becomes


@dataclass(frozen=True)
class Read:
    """A column as training reads it."""

    name: str
    kind: type[Encoder] | None = None
    column: Column | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True)
class Target:
    """What the columns are compared with."""

    truth: Truth
    """(rows,) classes by number, or (rows, columns) values"""
    rng: np.random.Generator = field(default_factory=lambda: stream(0, "inspect"))


def column_facts(
    table: Table, data: Data, training: Indices | None = None, target: Target | None = None
) -> list[ColumnFacts]:
    """The facts of every column of `table`, in order; the encoders are fitted to the rows `training`, or to all."""
    rows = np.arange(table.rows) if training is None else training
    found = [read(table, name, data) for name in table.columns]
    chosen = [(one.kind, one.column) for one in found if one.kind and one.column and one.name not in others(data)]
    data = with_number_of_bins(data, chosen, len(rows))
    facts = [facts_of(one, table, data, rows, target) for one in found]
    return list(with_duplicates(facts, [key_of(one.column) for one in found]))


def others(data: Data) -> dict[str, str]:
    """The columns that are no features, with their roles."""
    targets = data.target_names if data.target or data.target_path else ()
    roles = dict.fromkeys(data.exclude, "excluded") | dict.fromkeys(targets, "target")
    return roles | {name: role for name, role in ((data.sample_weight, "weight"), (data.split.group, "group")) if name}


def read(table: Table, name: str, data: Data) -> Read:
    """The column `name` with its kind of encoder."""
    try:
        return Read(name, *choose_encoder(table, name, data))
    except Trouble as trouble:
        return Read(name, trouble=trouble)


def facts_of(one: Read, table: Table, data: Data, rows: Indices, target: Target | None) -> ColumnFacts:
    """The facts of one column, without a comparison with the others."""
    role = others(data).get(one.name) or ("excluded" if data.features and one.name not in data.features else "feature")
    if one.column is None or one.kind is None:
        why = str(one.trouble.text) if one.trouble else ""
        return ColumnFacts(one.name, role, "unreadable", "cannot be used", 0, None, (why,), one.trouble)
    if role != "feature":
        return ColumnFacts(one.name, role, held(one.column, None), role, 0, values_of(one.column, None, table))
    why_not = reason_to_leave_out(one.kind, one.column, table, data, rows)
    if why_not:
        values = values_of(one.column, None, table)
        return ColumnFacts(one.name, "left out", held(one.column, None), f"left out: {why_not}", 0, values)
    return feature(one, table, data, rows, target)


def reason_to_leave_out(kind: type[Encoder], column: Column, table: Table, data: Data, rows: Indices) -> str | None:
    """Why training leaves out a column that the settings do not name."""
    if column.name in data.declared:
        return None
    why = NUMBERS_ROWS if is_row_index(table, column.name) else nothing_to_learn(kind, column, rows)
    return None if why is None else why.format("it")


def feature(one: Read, table: Table, data: Data, rows: Indices, target: Target | None) -> ColumnFacts:
    """The facts of a column that training learns from, or cannot learn from."""
    assert one.column is not None
    assert one.kind is not None
    encoder, trouble = None, None
    try:
        encoder = one.kind.suited(one.column, rows, data).fit(one.column, rows, data, table)
    except Trouble as error:
        trouble = error
    values = values_of(one.column, encoder, table)
    key = sorting_key(one.column, encoder, table)
    told = None if target is None or key is None else told_alone(key, target)
    notes = [trouble.text] if trouble else []
    if isinstance(one.column, NumericColumn) and key is not None and len(key) > FEW_ROWS and are_distinct(key):
        notes.append("is another whole number in each row: an identifier?")
    if told is not None and told >= GIVES_AWAY:
        notes.append(f"tells {told:.0%} of the target alone: would it be known when predicting?")
    becomes, width = ("cannot be used", 0) if encoder is None else (becoming(encoder), encoder.width)
    holds = held(one.column, encoder)
    return ColumnFacts(one.name, "feature", holds, becomes, width, values, tuple(notes), trouble, told)


def held(column: Column, encoder: Encoder | None) -> str:
    """What a column holds, in a word or two."""
    if isinstance(encoder, Date) or isinstance(column, MomentColumn):
        return "dates"
    if isinstance(encoder, Amount) and isinstance(column, TextColumn):
        return "amounts"
    if isinstance(column, PixelColumn):
        return "pixels"
    if isinstance(column, NumericColumn):
        values = column.values
        whole = (values == np.floor(values)) | np.isnan(values)
        return "whole numbers" if whole.all() else "numbers"
    return "flag" if frozenset(column.seen()) in FLAGS else "text"


def becoming(encoder: Encoder) -> str:
    """What the inputs are that an encoder makes of its column."""
    if isinstance(encoder, Number):
        filled = f", {len(encoder.indicators)} for a missing value" if encoder.indicators else ""
        bins = f", {encoder.details} bins" if encoder.details else ""
        return f"scaled{filled}{bins}"
    if isinstance(encoder, Date):
        return f"date ({encoder.spelling})"
    if isinstance(encoder, Category):
        return "one for each category" if type(encoder) is Category else f"{len(encoder.categories)} most frequent"
    return encoder.name()


def values_of(column: Column, encoder: Encoder | None, table: Table) -> Values:
    """What the cells of a column say."""
    if isinstance(column, TextColumn):
        if isinstance(encoder, Amount):
            column = numbers_in(column, encoder.notation, table)
        elif isinstance(encoder, Date):
            return values_of_moments(seconds_of(column, encoder.spelling, table))
        else:
            return values_of_words(column)
    if isinstance(column, MomentColumn):
        return values_of_moments(column.seconds)
    values = np.asarray(column.values, np.float64).reshape(-1)
    present = np.sort(values[~np.isnan(values)]) + 0.0
    if not len(present):
        return Values(0, len(values), 0)
    span = float(present[0]), float(present[len(present) // 2]), float(present[-1])
    return Values(len(present), len(values) - len(present), distinct_sorted(present), span, (), bars(present))


def distinct_sorted(ordered: NDArray[np.float64]) -> int:
    """The number of different values in increasing order."""
    return int(np.count_nonzero(ordered[1:] != ordered[:-1])) + 1


def bars(values: NDArray[np.float64]) -> tuple[int, ...]:
    """The counts of numbers in bins of equal width; few bins where they are few."""
    low, high = values.min(), values.max()
    if low == high:
        return (len(values),)
    places = ((values / 2 - low / 2) / (high / 2 - low / 2) * BARS).astype(np.intp)  # halves, which cannot overflow
    return tuple(np.bincount(np.minimum(places, BARS - 1), minlength=BARS).tolist())


def values_of_moments(seconds: NDArray[np.float64]) -> Values:
    """What dates or times say."""
    present = np.sort(seconds[~np.isnan(seconds)])
    if not len(present):
        return Values(0, len(seconds), 0)
    low, middle, high = (iso(present[place]) for place in (0, len(present) // 2, -1))
    return Values(
        len(present), len(seconds) - len(present), distinct_sorted(present), (low, middle, high), (), bars(present)
    )


def iso(seconds: float) -> str:
    """A moment as text: 2024-03-01, with the time if it is not midnight."""
    text = str(np.datetime64(int(seconds), "s"))
    return text.removesuffix("T00:00:00").replace("T", " ")


def values_of_words(column: TextColumn) -> Values:
    """What categories say."""
    counts = np.bincount(column.codes[column.codes >= 0], minlength=len(column.categories))
    order = np.argsort(-counts, kind="stable")[:BARS]
    levels = tuple((column.categories[i], int(counts[i])) for i in order if counts[i])
    missing = int(np.count_nonzero(column.absent))
    histogram = tuple(count for _, count in levels)
    return Values(len(column.codes) - missing, missing, int(np.count_nonzero(counts)), None, levels, histogram)


def sorting_key(column: Column, encoder: Encoder | None, table: Table) -> NDArray[np.float64] | None:
    """(rows,): numbers in the order of the values of a column; None for a block of several values a row."""
    if isinstance(column, TextColumn):
        if isinstance(encoder, Amount):
            return numbers_in(column, encoder.notation, table).values[:, 0]
        if isinstance(encoder, Date):
            return seconds_of(column, encoder.spelling, table)
        return column.codes.astype(np.float64)
    if isinstance(column, MomentColumn):
        return column.seconds
    return np.asarray(column.values[:, 0], np.float64) if column.values.shape[1] == 1 else None


def told_alone(key: NDArray[np.float64], target: Target) -> float | None:
    """The share of the target that one column tells, from 0 to 1; None in a small table.

    In the order of the column, neighbours are compared: 1 minus how much their targets differ, in proportion to how
    much those of any two rows do. Equal values are in random order. For values this is von Neumann's ratio.
    """
    some = target.rng.permutation(len(key))[:_MOST_ROWS]
    if len(some) < _FEWEST_ROWS:
        return None
    truth = target.truth[some[np.argsort(key[some], kind="stable")]]
    if truth.ndim == 1:
        shares = np.bincount(truth) / len(truth)
        needed = int(np.count_nonzero(shares)) - 1  # changes of class, however well the column orders them
        apart = max(0, int(np.count_nonzero(truth[1:] != truth[:-1])) - needed) / (len(truth) - 1)
        chance = 1 - float((shares**2).sum())
    else:
        scaled = truth / (np.abs(truth).max() or 1.0)
        apart, chance = float(((scaled[1:] - scaled[:-1]) ** 2).mean()), 2 * float(scaled.var(axis=0).mean())
    return max(0.0, 1 - apart / chance) if chance else None


def key_of(column: Column | None) -> str | None:
    """A text that two columns share if they say the same; words may be spelt otherwise in one of them."""
    if isinstance(column, TextColumn):
        return "words " + hashlib.blake2b(numbered(column.codes + 1).tobytes()).hexdigest()
    if isinstance(column, MomentColumn):
        return "moments " + hashlib.blake2b(column.seconds.tobytes()).hexdigest()
    if isinstance(column, NumericColumn):
        return "numbers " + hashlib.blake2b((column.values + 0.0).tobytes()).hexdigest()
    return None


def with_duplicates(facts: Sequence[ColumnFacts], keys: Sequence[str | None]) -> Iterator[ColumnFacts]:
    """The facts, with a note on each column that says the same as an earlier one."""
    first: dict[str, str] = {}
    for one, key in zip(facts, keys, strict=True):
        constant = one.values is None or one.values.distinct < 2
        earlier = None if key is None or constant else first.setdefault(key, one.name)
        note = () if earlier in (None, one.name) else (f"says the same as '{earlier}'",)
        yield replace(one, notes=(*one.notes, *note))
