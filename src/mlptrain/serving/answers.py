"""How does a model answer rows, some of which may be bad?

Rows are predicted together. Where one of them is refused, the others are predicted without it, and it is told why. The
answer to a row does not depend on the rows beside it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.rows import NUMBERS, Row, table_of_rows
from mlptrain.data.tables import Hints, Table
from mlptrain.errors import DataError, UsageError
from mlptrain.nn.threads import blas_threads
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.model import output_names, predicted

Columns = Mapping[str, NDArray[Any]]
Part = tuple[Sequence[int], Columns]
"""Places of rows, and their answers."""
_ONLY_ROW = re.compile(r",? in row 1\b")


class Wanted(NamedTuple):
    """What is asked for of each row."""

    labels_only: bool = False
    """Only the predicted target, without probabilities."""
    spread: bool = False
    """Also the standard deviation of each number over the members of an ensemble."""


class Answers(NamedTuple):
    """What became of some rows."""

    places: Sequence[int]
    """The rows that have an answer, in order."""
    columns: Columns
    """Their answers."""
    refusals: Mapping[int, str]
    """Why each of the other rows has none."""


class Answerer:
    """A model that answers rows. It is for one thread: the buffers of a network are not shared."""

    def __init__(self, model: Model, wanted: Wanted = Wanted(), name: str = "stdin") -> None:  # noqa: B008  # frozen
        """`name` is what messages call the rows."""
        self.model, self._wanted, self.name = model, wanted, name
        hints, encoders = model.transforms.hints, model.transforms.encoders
        self._verbatim = tuple(encoder.column for encoder in encoders if encoder.verbatim)
        self._hints = hints._replace(text=[name for name in hints.text if name not in self._verbatim])
        if wanted.spread and not model.network.layout.members:
            raise UsageError("--spread is over the members of an ensemble, and this model is a single network")

    @property
    def hints(self) -> Hints:
        """The columns that the model needs, and which of them are text."""
        return self._hints

    @property
    def outputs(self) -> list[str]:
        """The names of the columns of an answer."""
        names = output_names(self.model, self._wanted.spread)
        return self._chosen(names)

    @contextmanager
    def ready(self) -> Iterator[Self]:
        """Many small predictions are fast inside: the threads of matrix products are set once."""
        with blas_threads(self.model.plan.blas_threads):
            yield self

    def answers(self, rows: Sequence[Row]) -> Answers:
        """The answers to `rows`; those that are bad do not keep the others from theirs."""
        refusals: dict[int, str] = {}
        parts = [part for places in self._alike(rows) for part in self._answers(rows, places, refusals)]
        if len(parts) <= 1:
            return Answers(*(parts[0] if parts else ((), {})), refusals)
        places = np.concatenate([part[0] for part in parts])
        order = np.argsort(places)
        columns = {name: np.concatenate([part[1][name] for part in parts])[order] for name in parts[0][1]}
        return Answers(places[order].tolist(), columns, refusals)

    @np.errstate(all="ignore")  # an overflow gives scores that are not finite, which is checked
    def table(self, table: Table) -> Columns:
        """The answers to all rows of a table; a `DataError` if one of them is bad."""
        columns = predicted(self.model, table, self._wanted.spread)
        return {name: columns[name] for name in self._chosen(list(columns))}

    def _chosen(self, names: Sequence[str]) -> list[str]:
        targets = self.model.transforms.task.columns
        labels = [name for name in names if name in targets]
        return labels if self._wanted.labels_only and labels else list(names)

    def _answers(self, rows: Sequence[Row], places: Sequence[int], refusals: dict[int, str]) -> Iterator[Part]:
        """The answers to the rows at these `places`, in parts; `refusals` receive those that have none."""
        try:
            table = table_of_rows([rows[place] for place in places], self._hints, self.name)
            yield places, self.table(table)
        except DataError as error:
            if len(places) == 1:
                refusals[places[0]] = self._reason(error)
                return
            for part in divided(len(places), error.rows):
                yield from self._answers(rows, [places[place] for place in part], refusals)

    def _reason(self, error: DataError) -> str:
        """Why a row was refused, in one line; it is the only row of its table."""
        text = _ONLY_ROW.sub("", str(error).removeprefix(f"{self.name}: "))
        return "; ".join(line.strip(" -") for line in text.splitlines())

    def _alike(self, rows: Sequence[Row]) -> Iterable[Sequence[int]]:
        """The places of rows that can be one table: a number and an amount as it is written are read differently."""
        mixed = [name for name in self._verbatim if len({type(row.get(name)) in NUMBERS for row in rows}) > 1]
        if not mixed:
            return [range(len(rows))] if rows else []
        groups: dict[tuple[bool, ...], list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(tuple(type(row.get(name)) in NUMBERS for name in mixed), []).append(place)
        return groups.values()


def divided(number: int, bad: Collection[int]) -> Iterator[Sequence[int]]:
    """The places of `number` rows: the good ones together and each bad one alone, or halves if none is known as bad."""
    if not bad:
        yield from (range(number // 2), range(number // 2, number))
        return
    if good := [place for place in range(number) if place not in bad]:
        yield good
    yield from ([place] for place in sorted(bad))
