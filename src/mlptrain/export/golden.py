"""Which rows prove an export, and how far is it from `mlptrain predict` on them?

A hundred rows are made of what the encoders know: values in and around the range of training, every kind of word, cells
that are missing, words that are unknown. They hold no row of a table, so that a file which carries them gives nothing
away, and they can be made for a model file alone. The rows of the run, or of another table, are compared too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.amounts import Notation
from mlptrain.data.columns import Column, TextColumn, is_temporal, iso_text
from mlptrain.data.dates import CLOCK, DAY, MONTHS
from mlptrain.data.encoders import Amount, Category, Date, Encoder, Number, Pixels
from mlptrain.data.tables import Table
from mlptrain.dataset import used_rows
from mlptrain.errors import CheckFailed, DataError, MlptrainError
from mlptrain.export.graph import Source, evaluate
from mlptrain.export.program import Program
from mlptrain.nn.threads import blas_threads
from mlptrain.randomness import stream
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.model import at_home, own_test

GOLDEN_ROWS = 100
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
"""The largest difference of a probability from that of `mlptrain predict`."""
OF_VALUES = 10.0
"""How many times that a value may differ, as a share of its size: the exponential of a score magnifies rounding."""
_MISSING, _UNKNOWN, _FAR = 0.08, 0.08, 0.05  # shares of the cells
_FAR_RANGES = 10.0  # how many times the range of training a far value is beyond it
Cells = dict[str, list[Any]]


class Golden(NamedTuple):
    """Rows with the predictions that every format must give for them."""

    about: str
    table: Table
    cells: Cells
    """The cells by column, as Python values."""
    expected: dict[str, NDArray[Any]]
    """The predictions by column."""

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The cells of each row."""
        return [dict(zip(self.cells, row, strict=True)) for row in zip(*self.cells.values(), strict=True)]

    def first(self, number: int) -> list[tuple[dict[str, Any], list[Any]]]:
        """The first rows, each with its predictions in order."""
        columns = [values.tolist() for values in self.expected.values()]
        return list(zip(self.rows[:number], map(list, zip(*columns, strict=True)), strict=False))


# --- Rows that are made


def golden_rows(program: Program) -> Golden:
    """The rows that are made for a model, without those that it refuses."""
    rng, encoders = stream(0, "export"), program.model.transforms.encoders
    columns = {encoder.column: made(encoder, rng) for encoder in encoders}
    table = Table("the golden rows", "", GOLDEN_ROWS, columns)
    return compared_rows(program, table, f"{GOLDEN_ROWS} rows made for the check")


def compared_rows(program: Program, table: Table, about: str) -> Golden:
    """Rows of a table with what `mlptrain predict` gives; those with scores that are not finite are left out."""
    model = program.model
    scores = scores_of(model, table)
    names = {encoder.column for encoder in model.transforms.encoders}
    table = Table(table.path, table.sha256, table.rows, {name: table.column(name) for name in sorted(names)})
    finite = np.flatnonzero(np.isfinite(scores).all(axis=1))
    if not len(finite):
        raise DataError(f"{table.path}: the scores of no row are finite, so that there is nothing to compare")
    table, scores = table.select(finite), scores[finite]
    cells = {one.column: plain(table.column(one.column)) for one in program.sources}
    return Golden(about, table, cells, model.transforms.task.decode(model.network.loss, scores))


@np.errstate(all="ignore")
def scores_of(model: Model, table: Table) -> NDArray[Any]:
    """(rows, outputs): the scores of a table."""
    features, _ = model.transforms.encode(table, model.network.dtype)
    with blas_threads(model.plan.blas_threads):
        return model.predictor.scores(features, np.arange(table.rows))


def made(encoder: Encoder, rng: np.random.Generator) -> Any:
    """Cells for a column, as a table holds them."""
    import polars as pl

    if isinstance(encoder, Pixels):
        return rng.integers(0, 256, (GOLDEN_ROWS, encoder.pixels)).astype(np.uint8)
    if isinstance(encoder, Category):
        return pl.Series(made_words(encoder, rng), dtype=pl.String)
    if isinstance(encoder, Date):
        end = 2 * encoder.fill - encoder.first * DAY
        moments = rng.uniform(encoder.first * DAY, max(end, encoder.first * DAY + DAY), GOLDEN_ROWS).round()
        cells = [written_moment(moment, encoder.spelling, encoder.time) for moment in moments]
        return pl.Series(with_missing(cells, encoder.missing_allowed, rng), dtype=pl.String)
    assert isinstance(encoder, Number)
    numbers = made_numbers(encoder, rng)
    if isinstance(encoder, Amount):
        cells = [written_amount(value, encoder.notation) for value in numbers[:, 0]]
        return pl.Series(with_missing(cells, encoder.fill is not None, rng), dtype=pl.String)
    if encoder.fill is not None:
        numbers[rng.random(numbers.shape) < _MISSING] = np.nan
    return numbers if encoder.size > 1 else pl.Series(numbers[:, 0], nan_to_null=True)


@np.errstate(all="ignore")  # the widest ranges have no width that is a number
def made_numbers(encoder: Number, rng: np.random.Generator) -> NDArray[np.float64]:
    """(rows, columns): numbers in and around the range of training, a few of them far outside."""
    shape = (GOLDEN_ROWS, encoder.size)
    if encoder.trained:
        low, high = np.asarray(encoder.trained)
    else:
        middle = np.asarray(encoder.fitted[0])
        low, high = middle - 1, middle + 1
    width = np.where(high > low, high - low, 1.0)
    numbers = low - width / 4 + 1.5 * width * rng.random(shape)
    far = rng.random(shape) < _FAR
    numbers = np.where(far, high + _FAR_RANGES * width * rng.choice([-1.0, 1.0], shape), numbers)
    if np.isin(np.asarray(encoder.trained), (0, 1)).all():
        numbers = np.where(rng.random(shape) < 0.8, rng.integers(0, 2, shape), numbers)
    numbers = np.where(np.isfinite(numbers), numbers, high)
    return np.array([float(f"{value:.6g}") for value in numbers.flat]).reshape(shape)


def made_words(encoder: Category, rng: np.random.Generator) -> list[str | None]:
    """Words that are known, and as far as they are allowed some that are not, and missing ones."""
    known, chance = encoder.known, rng.random(GOLDEN_ROWS)
    words: list[str | None] = [known[i] for i in rng.integers(0, len(known), GOLDEN_ROWS)]
    if encoder.unknown_allowed:
        words = ["unheard of" if lot < _UNKNOWN else word for word, lot in zip(words, chance, strict=True)]
    return with_missing(words, encoder.missing_allowed, rng)


def with_missing(cells: Sequence[str | None], allowed: bool, rng: np.random.Generator) -> list[str | None]:
    """The cells, some of them missing where that is allowed."""
    return [None if allowed and rng.random() < _MISSING else cell for cell in cells]


def written_moment(moment: float, spelling: str, time: bool) -> str:
    """A moment in a spelling of data/dates.py."""
    day, seconds = divmod(int(moment), int(DAY))
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if spelling == CLOCK:
        return clock
    year, month, date = str(np.datetime64(day, "D")).split("-")
    parts = {"YYYY": year, "YY": year[-2:], "MM": month, "DD": date, "MON": MONTHS[int(month) - 1].capitalize()}
    for name in ("YYYY", "YY", "MON", "MM", "DD"):
        spelling = spelling.replace(name, parts[name])
    return f"{spelling} {clock}" if time else spelling


def written_amount(value: float, notation: Notation) -> str:
    """An amount in a notation."""
    whole = f"{abs(value):,.2f}".replace(",", "\0").replace(".", notation.decimal).replace("\0", notation.thousands)
    unit = f" {notation.suffix}" if notation.suffix else ""
    return f"{'-' if value < 0 else ''}{notation.prefix}{whole}{unit}"


def plain(raw: Any) -> list[Any]:
    """The cells of a column as Python values: a list for a block, None for a missing cell."""
    import polars as pl

    if isinstance(raw, np.ndarray) and raw.ndim > 1:
        return [[None if value != value else value for value in row] for row in raw.tolist()]
    series = pl.Series(raw) if isinstance(raw, np.ndarray) else raw
    series = iso_text(series) if is_temporal(raw) else series
    return [None if cell != cell else cell for cell in series.to_list()]


# --- Rows of a table


def own_rows(path: Path, program: Program, most: int) -> tuple[Golden | None, list[str]]:
    """`most` test rows of the run, else rows that it was validated on; None with a note where there are none."""
    if program.model.folder is None:
        return None, [f"{path} is a model file without its run: compared on rows made for it; --data names others"]
    try:
        model = at_home(program.model)
        name, rows = own_part(model)
        table = used_rows(model.plan.data, model.transforms, name)[0]
        table = table.select(np.unique(rows)[:most])
        return compared_rows(program, table, f"{table.rows} {name} rows of the run"), []
    except MlptrainError as error:
        return None, [f"the rows of the run were not compared: {error}"]


def own_part(model: Model) -> tuple[str, NDArray[np.intp]]:
    """The name of the part that the run was judged on, and its rows; the model must be at home."""
    part = own_test(model)
    if part is not None:
        return "test", part.rows
    from mlptrain.report.source import measure, own_dataset

    measured = measure(model, own_dataset(model))
    return measured.name, measured.part.rows


def rows_of(table: Table, program: Program, most: int) -> Golden:
    """The first `most` rows of another table."""
    table = table.select(np.arange(min(table.rows, most)))
    return compared_rows(program, table, f"{table.rows} rows of {table.path}")


# --- Comparison


class Comparison(NamedTuple):
    """How an export compares with `mlptrain predict`."""

    about: str
    rows: int
    difference: float
    """The largest difference of a number, as a share of its size."""
    tolerance: float
    labels: int
    """Rows with another label, although the prediction was not near the border."""

    @property
    def holds(self) -> bool:
        """Whether the export says the same."""
        return self.difference <= self.tolerance and not self.labels


Run = Callable[[Golden], Mapping[str, Sequence[Any] | NDArray[Any]]]
"""Gives the predictions for rows, by column."""


def compare(program: Program, golden: Golden, run: Run) -> Comparison:
    """Compare the predictions of an export with those that are expected."""
    found, tolerance = run(golden), tolerance_of(program)
    numbers = [column for column in program.columns if not column.label]
    differences = [
        difference(np.asarray(found[column.name], np.float64), golden.expected[column.name], probabilities(program))
        for column in numbers
    ]
    largest = max((float(one.max(initial=0)) for one in differences), default=0.0)
    wrong = np.zeros(golden.table.rows, bool)
    for column in program.columns:
        if column.label:
            other = np.array(
                [str(a) != str(b) for a, b in zip(found[column.name], golden.expected[column.name], strict=True)], bool
            )
            wrong |= other & ~near_border(program, golden, column.place, 10 * tolerance)
    return Comparison(golden.about, golden.table.rows, largest, tolerance, int(wrong.sum()))


def tolerance_of(program: Program) -> float:
    """The largest difference that is allowed."""
    least = TOLERANCE[program.model.network.dtype.name]
    return least if probabilities(program) else OF_VALUES * least


def probabilities(program: Program) -> bool:
    """Whether the numbers are probabilities."""
    return program.found.called == "probabilities"


def difference(found: NDArray[Any], expected: NDArray[Any], are_probabilities: bool) -> NDArray[np.float64]:
    """(rows,): the difference of each number as a share of its size, or of the middle size of all if that is larger."""
    if not len(expected):
        return np.zeros(0)
    size = np.ones(1) if are_probabilities else np.maximum(np.abs(expected), np.median(np.abs(expected)))
    gap = np.abs(found - expected)
    return np.asarray(np.where(gap > 0, gap / np.where(size > 0, size, 1), np.where(gap == 0, 0, np.inf)), np.float64)


def near_border(program: Program, golden: Golden, place: int, margin: float) -> NDArray[np.bool_]:
    """(rows,): whether a label could as well be another one."""
    names, task = [column.name for column in program.columns if not column.label], program.model.transforms.task
    values = np.stack([np.asarray(golden.expected[name], np.float64) for name in names], axis=1)
    if len(program.found.words) > 1 or len(names) == 1:
        return np.abs(values[:, place] - (task.cutoff or 0.5)) < margin
    if task.cutoff is not None:
        return np.abs(values[:, 1] - task.cutoff) < margin
    top = np.sort(values, axis=1)
    return np.asarray(top[:, -1] - top[:, -2] < margin)


def refuse_different(found: Comparison, what: str) -> None:
    """Refuse an export that does not say the same."""
    if found.holds:
        return
    labels = f", and {found.labels} labels are others" if found.labels else ""
    raise CheckFailed(
        f"{what} was not written: on {found.about} it differs by {found.difference:.3g} from mlptrain predict, where "
        f"{found.tolerance:g} is allowed{labels}. Please report this"
    )


# --- The graph itself


def run_graph(program: Program) -> Run:
    """Predictions by NumPy, from the graph alone."""

    def run(golden: Golden) -> Mapping[str, Sequence[Any]]:
        values = evaluate(program.outputs, numbers_in(program, golden.table))
        return named(program, values[1], values[2] if program.found.labels else None)

    return run


def named(program: Program, numbers: NDArray[Any], labels: NDArray[Any] | None) -> dict[str, Any]:
    """The columns of the predictions, from numbers and the places of labels."""
    found: dict[str, Any] = {}
    for name, label, place in program.columns:
        words = program.found.words[place] if label else None
        values = numbers[:, place] if not label or labels is None else labels[:, place]
        found[name] = values if words is None else [words[int(value)] for value in values]
    return found


def numbers_in(program: Program, table: Table) -> dict[str, NDArray[Any]]:
    """The numbers or codes (rows, width) of each column of a table."""
    transforms, by_name = program.model.transforms, {one.column: one for one in program.sources}
    columns = zip(transforms.encoders, transforms.read(table), strict=True)
    return {
        encoder.column: numbers_of(by_name[encoder.column], encoder, column, table)
        for encoder, column in columns
        if encoder.column in by_name
    }


def numbers_of(source: Source, encoder: Encoder, column: Column, table: Table) -> NDArray[Any]:
    """The numbers or codes (rows, width) of one column."""
    if source.kind == "category":
        assert isinstance(column, TextColumn)
        unknown = source.missing if source.unknown is None else source.unknown
        codes = [source.codes.get(word, unknown) for word in column.categories]
        return np.array([*codes, source.missing])[column.codes][:, None]
    cells = encoder.cells(column, table)
    assert cells is not None
    return cells
