"""mlptrain report: one HTML page on a run."""

from __future__ import annotations

from pathlib import Path

from mlptrain.cli.console import print_results, stderr_console
from mlptrain.errors import UsageError
from mlptrain.report.build import PAGE, check_places, report_on, write_page, write_pictures


def run(path: Path, out: Path | None, png: Path | None, force: bool, quiet: bool) -> None:
    """Run the command."""
    if not path.is_dir() and path.exists():
        raise UsageError(f"{path}: is a file; report takes the folder of a run")
    console, place = stderr_console(quiet), path / PAGE if out is None else out
    if not force:
        check_places(place, png)
    with console.status("measuring and drawing"):
        found = report_on(path)
        write_page(found, place)
        pictures = [] if png is None else write_pictures(found, png)
    for gap in found.subject.source.gaps:
        console.print(f"note: {gap}")
    print_results(str(place), *map(str, pictures))
