"""How do the cells of a column become inputs of the network, in the operations of a graph?

One rule for each kind of encoder. The table of a column of categories is what its encoder writes for every word, for an
unknown word and for a missing cell, so that no rule of theirs is repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import TextColumn, canonical, other_spelling
from mlptrain.data.dates import CLOCK, DAY
from mlptrain.data.encoders import Amount, Category, Date, Encoder, ManyCategories, Number, Pixels
from mlptrain.data.encoders.dates import DAYS_OF_A_YEAR
from mlptrain.data.tables import Table, is_number
from mlptrain.dataset import Transforms
from mlptrain.export.graph import (
    Dtype,
    Node,
    Source,
    cast,
    clip,
    concatenate,
    constant,
    cos,
    elementwise,
    floor,
    isnan,
    lookup,
    sin,
    source,
    take,
    where,
)
from mlptrain.export.mathematics import SCALERS, row
from mlptrain.export.rules import Rules

ENCODERS = Rules(Encoder, "missing")
UNKNOWN = "\x00unknown"
"""A word that no table holds."""
_MARCH_1970 = 719_468.0  # days from 1 March of the year 0 to the start of 1970
_CYCLE = 146_097.0  # days of 400 years


def inputs_of(transforms: Transforms, dtype: Dtype) -> Node:
    """The inputs of the network, from the cells of all columns."""
    x = cast(
        concatenate([ENCODERS.apply(encoder, transforms.missing_values) for encoder in transforms.encoders]), dtype
    )
    if not transforms.constant:
        return x
    without = np.isin(np.arange(x.width), transforms.constant)
    return where(constant(without, "bool"), constant(0, dtype), x)


@ENCODERS.of(Number, Amount)
def numbers(encoder: Number, missing: Sequence[str]) -> Node:
    """Filled and scaled numbers, indicators of missing ones, and shares of bins."""
    notation = encoder.notation if isinstance(encoder, Amount) else None
    kind = "number" if notation is None else "amount"
    allowed = encoder.fill is not None
    x = source(Source(encoder.column, kind, encoder.size, allowed, notation=notation))  # type: ignore[arg-type]
    if notation is None:
        for number in numbers_among(missing):
            x = where(elementwise("equal", x, number), float("nan"), x)
    absent = isnan(x)
    filled = x if encoder.fill is None else where(absent, row(np.array(encoder.fill)), x)
    parts = [SCALERS.apply(encoder.scaler, filled, np.asarray(encoder.fitted))]
    if encoder.indicators:
        parts.append(cast(take(absent, encoder.indicators), "float64"))
    if encoder.edges:
        edges = np.asarray(encoder.edges)
        shares = clip((x - row(edges[:-1])) * row(1 / np.diff(edges)), 0, 1)
        parts.append(where(absent, 0, shares) if allowed else shares)
    return concatenate(parts)


def numbers_among(missing: Sequence[str]) -> list[float]:
    """The numbers that mean a missing value, such as -999."""
    return [float(word) for word in missing if is_number(word) and np.isfinite(float(word))]


@ENCODERS.of(Pixels)
def pixels(encoder: Pixels, missing: Sequence[str]) -> Node:
    """Scaled bytes, those that were constant in training with their training value."""
    x = source(Source(encoder.column, "number", encoder.pixels, missing_allowed=False))
    if encoder.constant:
        values = np.zeros(encoder.pixels)
        values[[place for place, _ in encoder.constant]] = [byte for _, byte in encoder.constant]
        fixed = np.isin(np.arange(encoder.pixels), [place for place, _ in encoder.constant])
        x = where(constant(fixed, "bool"), row(values), x)
    fitted = np.repeat(np.asarray(encoder.fitted), encoder.pixels, axis=1)
    scaled: Node = SCALERS.apply(encoder.scaler, x, fitted)
    return scaled


@ENCODERS.of(Date)
def date(encoder: Date, missing: Sequence[str]) -> Node:
    """Days and year on a line, and places on the circles of the year, the week and the day."""
    x = source(Source(encoder.column, "moment", 1, encoder.missing_allowed, spelling=encoder.spelling))
    gone = isnan(x)
    moments = where(gone, encoder.fill, x)
    days = floor(moments / DAY)
    year, day_of_year = calendar(days)
    parts: list[Node] = []
    if encoder.numbers:
        values = concatenate([moments / DAY - encoder.first, year][: encoder.numbers])
        parts.append(SCALERS.apply(encoder.scaler, values, np.asarray(encoder.fitted)))
    phases = [] if encoder.spelling == CLOCK else [day_of_year / DAYS_OF_A_YEAR, remainder(days + 3, 7) / 7]
    phases += [remainder(moments, DAY) / DAY] if encoder.time else []
    for phase in phases:
        parts += [where(gone, 0, function(phase * (2 * np.pi))) for function in (sin, cos)]
    if encoder.missing_input:
        parts.append(cast(gone, "float64"))
    return concatenate(parts)


def remainder(x: Node, divisor: float) -> Node:
    """X modulo a positive divisor, 0 or more."""
    return x - floor(x / divisor) * divisor


def calendar(days: Node) -> tuple[Node, Node]:
    """The year of a day that is counted from the start of 1970, and the day in it from 0.

    Years are counted from 1 March first, whose leap day is the last: 400 of them have 146,097 days.
    """
    z = days + _MARCH_1970
    era = floor(z / _CYCLE)
    day = z - era * _CYCLE
    in_era = floor((day - floor(day / 1460) + floor(day / 36_524) - floor(day / 146_096)) / 365)
    since_march = day - (in_era * 365 + floor(in_era / 4) - floor(in_era / 100))
    year = in_era + era * 400 + cast(since_march >= 306, "float64")
    before = year - 1
    start = before * 365 + floor(before / 4) - floor(before / 100) + floor(before / 400) + (306 - _MARCH_1970)
    return year, days - start


@ENCODERS.of(Category, ManyCategories)
def categories(encoder: Category, missing: Sequence[str]) -> Node:
    """An input for each category, and the numbers of each category."""
    words = [canonical(word) for word in encoder.known]
    last = len(words)
    read = Source(
        encoder.column,
        "category",
        missing_allowed=encoder.missing_allowed,
        missing=last + 1,
        unknown=last if encoder.unknown_allowed else None,
        codes=codes_of(words),
    )
    return tabulated(source(read), inputs_by_code(encoder, words))


def codes_of(words: Sequence[str]) -> dict[str, int]:
    """The code of each word, and of the other spelling of a flag."""
    codes: dict[str, int] = {}
    for code, word in enumerate(words):
        codes.setdefault(word, code)
    others = other_spelling(codes)
    return codes | {other: codes[word] for word, other in others.items() if other not in codes}


def inputs_by_code(encoder: Category, words: Sequence[str]) -> NDArray[np.float64]:
    """(words + 2, width): what the encoder writes for each word, for an unknown one and for a missing cell."""
    inputs = np.zeros((len(words) + 2, encoder.width))
    present = [*range(len(words)), *([len(words)] * encoder.unknown_allowed), *([-1] * encoder.missing_allowed)]
    column = TextColumn(encoder.column, (*words, UNKNOWN), np.array(present))
    table = Table("", "", len(present), {})
    written = np.zeros((len(present), encoder.width))
    encoder.writer(column, table).write(slice(None), written)
    inputs[present] = written  # -1 is the last row, of missing cells
    return inputs


def tabulated(code: Node, inputs: NDArray[np.float64]) -> Node:
    """The row of `inputs` (codes, width) for a code: the place of its 1, then the columns that are not of this kind."""
    single, ones = [], np.zeros(len(inputs))
    for j, column in enumerate(inputs.T):
        if np.isin(column, (0, 1)).all() and (ones + column).max() <= 1:
            single.append(j)
            ones += column
    others = [j for j in range(inputs.shape[1]) if j not in set(single)]
    parts = []
    if single:
        chosen = inputs[:, single]
        places = np.where(chosen.any(axis=1), chosen.argmax(axis=1), -1)
        place = lookup(code, places[:, None], "int64")
        parts.append(cast(elementwise("equal", place, constant(np.arange(len(single)), "int64")), "float64"))
    if others:
        parts.append(lookup(code, inputs[:, others], "float64"))
    order = [*single, *others]
    found = concatenate(parts)
    return found if order == sorted(order) else take(found, np.argsort(order).tolist())
