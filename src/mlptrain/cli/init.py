"""mlptrain init: a first spec for a table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mlptrain.cli.console import print_text, stderr_console
from mlptrain.errors import UsageError
from mlptrain.inspect.draft import draft, no_target, schema_for
from mlptrain.runs.directory import name_for
from mlptrain.runs.durable import write_durably
from mlptrain.spec.load import parse_experiment
from mlptrain.spec.plan import prepare


def run(table: Path, target: Sequence[str], out: Path | None) -> None:
    """Run the command."""
    if not target:
        raise no_target(table, "init")
    if out is not None and out.exists():
        raise UsageError(f"{out}: exists, and is not overwritten; choose another --out, or move it away")
    folder = Path() if out is None else out.parent
    drafted = draft(table, target, folder, schema_for(folder))
    text = drafted.text()
    prepare(parse_experiment(text, out or Path("spec.yaml")), name_for(table))  # a spec that fails is not handed out
    console = stderr_console()
    for line in drafted.assumed:
        console.print(f"note: {line}")
    if out is None:
        print_text(text)
        return
    write_durably(out, text.encode())
    console.print(f"{out} is written; next: mlptrain fit {shlex.quote(str(out))}")
