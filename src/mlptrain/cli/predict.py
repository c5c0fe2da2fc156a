"""mlptrain predict: the target of every row of a table, as CSV."""

from __future__ import annotations

from pathlib import Path

from mlptrain.cli.console import print_notes, print_text, refuse_same_file, stderr_console
from mlptrain.cli.tables import table_for
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import open_model, predict


def run(path: Path, data: Path, out: Path | None, spread: bool, quiet: bool) -> None:
    """Run the command."""
    import polars as pl

    refuse_same_file(out, data, path)
    model = open_model(path)
    columns, notes = predict(model, table_for(model, data), spread)
    console = stderr_console(quiet)
    print_notes(console, notes)
    frame = pl.DataFrame({name: list(values) if values.dtype == object else values for name, values in columns.items()})
    if out is None:
        print_text(frame.write_csv())
    else:
        write_durably(out, frame.write_csv().encode())
