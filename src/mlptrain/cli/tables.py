"""How is a table for a trained model read, from a file or from stdin?"""

from __future__ import annotations

import sys
from pathlib import Path

from mlptrain.data.tables import Hints, Table, parse_table, read_table
from mlptrain.runs.checkpoint import Model


def table_for(model: Model, path: Path) -> Table:
    """The table at `path`, or from stdin for `-`, read for the columns that `model` needs."""
    return read(path, model, model.transforms.hints)


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
