"""mlptrain predict: the target of every row of a table, as CSV."""

from __future__ import annotations

import sys
from pathlib import Path

from mlptrain.cli.console import print_text, refuse_same_file, stderr_console
from mlptrain.data.tables import parse_table, read_table
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import open_model, predict


def run(path: Path, data: Path, out: Path | None, quiet: bool) -> None:
    """Carry out the verb."""
    import polars as pl

    refuse_same_file(out, data, path)
    model = open_model(path)
    delimiter = model.plan.data.delimiter
    table = (
        parse_table(sys.stdin.buffer.read(), "stdin", delimiter) if str(data) == "-" else read_table(data, delimiter)
    )
    columns, notes = predict(model, table)
    console = stderr_console(quiet)
    for note in notes:
        console.print(f"note: {note}")
    frame = pl.DataFrame({name: list(values) if values.dtype == object else values for name, values in columns.items()})
    if out is None:
        print_text(frame.write_csv())
    else:
        write_durably(out, frame.write_csv().encode())
