"""mlptrain reproduce: does a run give the same bytes again?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mlptrain.cli.console import print_json, print_results, stderr_console
from mlptrain.cli.progress import working
from mlptrain.errors import CheckFailed
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.reproduce import Reproduction, reproduce


class Request(NamedTuple):
    """The arguments of the command."""

    run: Path
    interruptions: int
    data: Path | None
    """Where the table of the run is now."""
    json: bool
    quiet: bool


def run(request: Request) -> None:
    """Run the command."""
    folder, console = RunFolder.open(request.run), stderr_console(request.quiet)
    with working(console, "training again"):
        found = reproduce(folder, request.interruptions, request.data)
    if request.json:
        print_json({**found._asdict(), "is_equal": found.is_equal})
    elif found.is_equal:
        print_results(f"{request.run}: reproduced, equal to the byte{resumed(found)}: {', '.join(found.equal)}")
    for change in found.environment:
        console.print(f"note: the environment is another one: {change}")
    if not found.is_equal:
        files = ", ".join(name for name, equal in found.equal.items() if not equal)
        raise CheckFailed(f"{request.run}: not reproduced{resumed(found)}: {files} differ; {found.first_difference}")


def resumed(found: Reproduction) -> str:
    """How often the second run was interrupted."""
    times = f"{found.interruptions} times" if found.interruptions != 1 else "once"
    return f" (interrupted and resumed {times})" if found.interruptions else ""
