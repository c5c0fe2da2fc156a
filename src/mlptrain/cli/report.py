"""mlptrain report: one HTML page on a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlptrain.cli.console import print_json, print_results, stderr_console
from mlptrain.errors import UsageError
from mlptrain.report.build import PAGE, check_places, report_on, write_page, write_pictures
from mlptrain.report.page import Report


def run(path: Path, out: Path | None, png: Path | None, force: bool, as_json: bool, quiet: bool) -> None:
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
    if as_json:
        print_json(document(found, place, pictures))
    else:
        print_results(str(place), *map(str, pictures))


def document(found: Report, place: Path, pictures: Sequence[Path]) -> dict[str, Any]:
    """The output of --json: the files, the verdict and the gaps."""
    source, said = found.subject.source, found.verdict
    verdict = None if said is None else {"ended": said.ended, "quality": said.quality, "fit": said.fit}
    advice = [] if said is None else said.advice
    return {
        "report": str(place),
        "pictures": list(map(str, pictures)),
        "verdict": verdict,
        "next": [{"why": each.why, "command": each.command(source.path / "spec.yaml")} for each in advice],
        "gaps": source.gaps,
    }
