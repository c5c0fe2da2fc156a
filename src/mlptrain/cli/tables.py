"""How is a table for a trained model read, from a file or from stdin?"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlptrain.data.tables import Hints, Table, parse_table, read_table
from mlptrain.runs.checkpoint import Model
from mlptrain.serving.lines import frame_of


def table_for(model: Model, path: Path, keep: Sequence[str] = ()) -> Table:
    """The table at `path`, or from stdin for `-`, read for the columns that `model` needs; those to `keep` as text."""
    hints = model.transforms.hints
    inputs = {encoder.column for encoder in model.transforms.encoders}
    return read(path, model, hints._replace(text=[*hints.text, *(name for name in keep if name not in inputs)]))


def csv_text(columns: Mapping[str, Any]) -> str:
    """Columns as CSV."""
    return frame_of(columns).write_csv()


def target_for(model: Model, path: Path) -> Table:
    """A file with the target only."""
    columns = model.transforms.task.columns
    return read(path, model, Hints(columns, model.transforms.missing_values, columns))


def read(path: Path, model: Model, hints: Hints) -> Table:
    """A table, whatever its delimiter."""
    delimiter = model.plan.data.delimiter
    if str(path) == "-":
        return parse_table(sys.stdin.buffer.read(), "stdin", delimiter, hints)
    return read_table(path, delimiter, hints)
