"""mlptrain schema: the JSON Schema of experiment files."""

from __future__ import annotations

import json
from pathlib import Path

from mlptrain.cli.console import print_text, stderr_console
from mlptrain.runs.durable import write_durably
from mlptrain.spec.schema import spec_schema


def run(out: Path | None) -> None:
    """Run the command; a file is replaced, since the schema depends on nothing but this version and its plugins."""
    text = json.dumps(spec_schema(), indent=2, allow_nan=False) + "\n"
    if out is None:
        print_text(text)
        return
    write_durably(out, text.encode())
    stderr_console().print(
        f"{out} is written; editors use it for a spec whose first line is: # yaml-language-server: $schema={out}"
    )
