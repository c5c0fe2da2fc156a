"""How is a run exported: derived, written, compared with `mlptrain predict`, and only then saved?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlptrain.data.tables import Table
from mlptrain.errors import EnvironmentFault, UsageError
from mlptrain.export.exported import Description, Exported, Format, GraphFormat, Subject
from mlptrain.export.golden import Comparison, Golden, compare, golden_rows, own_rows, refuse_different, rows_of
from mlptrain.export.program import program_of
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.directory import RunFolder


class Result(NamedTuple):
    """An export that holds."""

    content: bytes
    checks: Sequence[Comparison]
    facts: Sequence[str]
    notes: Sequence[str]


def export(model: Model, path: Path, form: Format, table: Table | None) -> Result:
    """The model at `path` in a format."""
    subject = Subject(model, digest_of(path), summary_of(path))
    if isinstance(form, Description):
        return Result(form.describe(subject), [], [], [])
    assert isinstance(form, GraphFormat)
    program = program_of(model)
    most = form.most_rows
    others, notes = own_rows(path, program, most) if table is None else (rows_of(table, program, most), [])
    return proven(form, Exported(subject, program, golden_rows(program)), others)._replace(notes=notes)


def proven(form: GraphFormat, exported: Exported, others: Golden | None) -> Result:
    """The file, compared on rows that are made and on `others`; it says how far it was from `mlptrain predict`."""
    run = form.runner(form.write(exported), exported.program)
    checks = [compare(exported.program, rows, run) for rows in (exported.golden, others) if rows is not None]
    for found in checks:
        refuse_different(found, f"the {form.name} export")
    final = exported._replace(checks=checks, by=form.checked_by)
    content = form.write(final)
    return Result(content, checks, form.facts(content, final), [])


def digest_of(path: Path) -> str:
    """sha256 of the model file, which `sha256sum` shows too."""
    folder = RunFolder.open(path) if path.is_dir() else None
    file = path if folder is None else folder.model if folder.model.exists() else folder.checkpoint
    return hashlib.sha256(file.read_bytes()).hexdigest()


def summary_of(path: Path) -> dict[str, Any] | None:
    """The summary beside a model; None without a finished run."""
    file = (path if path.is_dir() else path.parent) / "summary.json"
    try:
        found = json.loads(file.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def refuse_existing(out: Path, force: bool) -> None:
    """Refuse to replace a file, before any work is done."""
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; --out names the file to write")
    if not out.parent.is_dir():
        raise EnvironmentFault(f"{out}: cannot be written: there is no folder {out.parent}")
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already; choose another --out, or replace it with --force")
