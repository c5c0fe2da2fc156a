"""mlptrain predict: the target of every row of a table, as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlptrain.cli.console import print_notes, print_text, refuse_same_file, stderr_console
from mlptrain.cli.tables import csv_text, table_for
from mlptrain.errors import UsageError
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import kept, open_model, predict


class Request(NamedTuple):
    """The arguments of the command."""

    model: Path
    data: Path
    out: Path | None
    keep: Sequence[str]
    """Columns of the table to copy."""
    labels_only: bool
    spread: bool
    quiet: bool
    stream: bool = False
    """Whether rows are answered as they come."""


def run(request: Request) -> None:
    """Run the command."""
    if request.stream:
        answer_stream(request)
        return
    refuse_same_file(request.out, request.data, request.model)
    model = open_model(request.model)
    table = table_for(model, request.data, request.keep)
    columns, notes = predict(model, table, request.spread)
    if request.labels_only:
        targets = model.transforms.task.columns
        columns = {name: values for name, values in columns.items() if name in targets} or columns
    text = csv_text(kept(table, request.keep, columns) | columns)
    print_notes(stderr_console(request.quiet), notes)
    if request.out is None:
        print_text(text)
    else:
        write_durably(request.out, text.encode())


def answer_stream(request: Request) -> None:
    """Answer rows as they come."""
    from mlptrain.cli import stream
    from mlptrain.serving.answers import Answerer, Wanted

    if request.out is not None:
        raise UsageError("--out: a stream is written to stdout, line by line; redirect it with > FILE")
    name = "stdin" if str(request.data) == "-" else str(request.data)
    answerer = Answerer(open_model(request.model), Wanted(request.labels_only, request.spread), name)
    stream.run(answerer, request.data, request.keep, request.quiet)
