"""mlptrain check: what may go wrong with an experiment, before it is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mlptrain.checks import Finding, check_experiment
from mlptrain.cli.console import print_json, print_next, print_results, stderr_console
from mlptrain.errors import CheckFailed

MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("-", "dim")}


def run(config: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Run the command."""
    found: list[Finding] = []
    for finding in watched(check_experiment(config, overrides)):
        found.append(finding)
        if not as_json:
            print_results(line(finding))
    failed = [finding.name for finding in found if finding.passed is False]
    if as_json:
        checks = [dataclasses.asdict(finding) for finding in found]
        print_json({"passed": not failed, "checks": checks})
    if failed:
        raise CheckFailed(f"{config}: something is wrong: {', '.join(failed)}")
    if not as_json:
        options = [word for override in overrides for word in ("--set", override)]
        print_next("mlptrain", "fit", str(config), *options)


def watched(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings, with a sign of life in a terminal while each is looked for."""
    console = stderr_console()
    while True:
        with console.status("checking"):
            finding = next(findings, None)
        if finding is None:
            return
        yield finding


def line(finding: Finding) -> Table:
    """A finding as a mark, a name and a text; the remedy below."""
    mark, style = MARKS[finding.passed]
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, min_width=13)
    table.add_column(overflow="fold")
    table.add_row(Text(mark, style), Text(finding.name, "bold"), Text(finding.text))
    if finding.remedy:
        table.add_row("", "", Text.assemble(("try: ", "dim"), finding.remedy))
    return table
