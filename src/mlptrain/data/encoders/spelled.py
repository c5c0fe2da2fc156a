"""What is said of a column of words that are meant otherwise, where some are not written as the others?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.columns import TextColumn, quoted
from mlptrain.data.encoders.categories import Category
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble

if TYPE_CHECKING:
    import polars as pl


def written_otherwise(
    column: TextColumn, wrong: NDArray[np.bool_], what: str, advice: str, table: Table, data: Data | None
) -> Trouble:
    """The `Trouble` of cells that are not written as the others; `wrong` (categories,) says which."""
    rows = np.flatnonzero(np.append(wrong, False)[column.codes])
    words = [word for word, is_wrong in zip(column.categories, wrong, strict=True) if is_wrong]
    verb = "are" if len(rows) > 1 else "is"
    text = f"column '{column.name}' {what}, but {len(rows)} of its cells {verb} not: {quoted(words, 3)} in "
    text += f"{table.row_list(rows)}; {advice}"
    if data is None:
        return Trouble(table.path, text, rows=rows.tolist())
    ways = [data.remedy(data.without(column.name), "to leave it out")]
    if len(words) <= 3:
        ways.insert(0, data.remedy(data.with_missing(*words), "if that stands for a missing value"))
    ways.append(data.remedy(data.with_encoder(column.name, Category.name()), "if these are categories"))
    return Trouble(table.path, f"{text}, or write {', '.join(ways)}", data.without(column.name))


def as_series(column: TextColumn) -> pl.Series:
    """The distinct words of a column."""
    import polars as pl

    return pl.Series(column.categories, dtype=pl.String)


def example(column: TextColumn) -> str:
    """A word of the column, for a message."""
    return quoted(column.categories[:1])
