"""Which encoder suits a column: the one that the spec names, or the one that claims it?"""

from __future__ import annotations

from contextlib import suppress

from mlptrain.component import variants
from mlptrain.data.columns import Column, interpret, is_written
from mlptrain.data.encoders.amounts import Amount
from mlptrain.data.encoders.base import Encoder
from mlptrain.data.encoders.categories import Category
from mlptrain.data.encoders.numbers import Number
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble

_SAMPLE_ROWS = 10_000  # of a longer table, rows that tell whether a column holds dates or amounts


def encoder_kinds() -> dict[str, type[Encoder]]:
    """Every kind of encoder by its name."""
    return {kind.name(): kind for kind in variants(Encoder)}


def choose_encoder(table: Table, name: str, data: Data) -> tuple[type[Encoder], Column]:
    """The kind of encoder for a column, declared by the spec or else inferred, and the column read for it."""
    kind = data.encoders.get(name)
    kind = kind or (number_kind(table, name, data) if name in data.numeric.columns else None)
    kind = kind or ("category" if name in data.categorical.columns else None)
    if kind is not None:
        chosen = encoder_kinds()[kind]
        return chosen, chosen.read(table, name, data.missing_values)
    if table.rows > 2 * _SAMPLE_ROWS and is_written(table.column(name)):  # some rows tell, which saves time
        with suppress(Trouble):
            chosen = claiming(interpret(table.sample(name, _SAMPLE_ROWS), name, data.missing_values))
            if chosen.verbatim:
                return chosen, chosen.read(table, name, data.missing_values)
    column = interpret(table, name, data.missing_values)
    chosen = claiming(column)
    return chosen, chosen.read(table, name, data.missing_values) if chosen.verbatim else column


def claiming(column: Column) -> type[Encoder]:
    """The kind of encoder for a column where the spec names none: words that no kind claims are categories."""
    return next((kind for kind in reversed(variants(Encoder)) if kind.claims(column)), Category)


def number_kind(table: Table, name: str, data: Data) -> str:
    """The kind of encoder for a column that the spec says holds numbers, however they are written."""
    written = is_written(table.column(name))
    return (Amount if written and Amount.claims(interpret(table, name, data.missing_values)) else Number).name()
