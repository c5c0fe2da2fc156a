"""mlptrain export: a trained model as a file for other programs and languages."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from mlptrain.cli.console import print_json, print_notes, print_results, refuse_same_file, stderr_console
from mlptrain.cli.fitting import bytes_text
from mlptrain.cli.tables import table_for
from mlptrain.export.build import Result, export, refuse_existing
from mlptrain.export.exported import FILE, Format, GraphFormat
from mlptrain.export.formats import format_for
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import open_model


class Request(NamedTuple):
    """The arguments of the command."""

    model: Path
    to: str | None
    out: Path | None
    data: Path | None
    force: bool
    json: bool
    quiet: bool


def run(request: Request) -> None:
    """Run the command."""
    form = format_for(request.to, None if request.out is None else request.out.name)
    model = open_model(request.model)
    out = request.out or Path(f"{model.plan.name}{form.suffix}")
    refuse_same_file(out, request.data, *files_of(request.model))
    refuse_existing(out, request.force)
    table = None if request.data is None else table_for(model, request.data)
    console = stderr_console(request.quiet)
    with console.status("deriving and comparing"):
        found = export(model, request.model, form, table)
    write_durably(out, found.content)
    print_notes(console, found.notes)
    if request.json:
        print_json(document(out, form, found))
    else:
        print_results(*lines(out, form, found))


def files_of(model: Path) -> list[Path]:
    """The files that must stay as they are: the model, and all that belong to its run."""
    folder = model if model.is_dir() else model.parent
    kept = (
        "spec.yaml",
        "model.safetensors",
        "checkpoint.safetensors",
        "history.bin",
        "metrics.csv",
        "timings.csv",
        "summary.json",
    )
    return [model, *(folder / name for name in kept)]


def lines(out: Path, form: Format, found: Result) -> list[str]:
    """The file, how it compared, and what else is to be said of it."""
    by = form.checked_by if isinstance(form, GraphFormat) else ""
    checks = [
        f"largest difference from predict {one.difference:.2g} on {one.about} (allowed {one.tolerance:g}), "
        f"computed by {by}"
        for one in found.checks
    ]
    facts = [fact.replace(FILE, shlex.quote(str(out))) for fact in found.facts]
    return [f"{out}: {form.meaning}, {bytes_text(len(found.content))}", *checks, *facts]


def document(out: Path, form: Format, found: Result) -> dict[str, object]:
    """The output of --json."""
    checks = [
        {"rows": one.rows, "about": one.about, "difference": one.difference, "tolerance": one.tolerance}
        for one in found.checks
    ]
    size = len(found.content)
    by = form.checked_by if isinstance(form, GraphFormat) else None
    return {"file": str(out), "format": form.name, "bytes": size, "checks": checks, "computed_by": by}
