"""mlptrain runs: the runs in a folder, the newest or the best first."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

from rich.console import RenderableType

from mlptrain.cli.console import print_json, print_next, print_results, stdout_console
from mlptrain.cli.fitting import Shown, fitting_table
from mlptrain.numbers import number
from mlptrain.runs.listing import Listed, best_first, listed

METRICS = 3
"""Metrics of a run that are shown."""


def run(folder: Path, sort: str | None, name: str | None, as_json: bool) -> None:
    """Run the command."""
    found = [one for one in listed(folder) if name is None or name in one.path.name]
    if sort is not None:
        found = best_first(found, sort)
    if as_json:
        print_json([one.document() for one in found])
        return
    print_results(*([table(found, sort)] if found else [f"no runs in {folder}"]))
    ended = [str(one.path) for one in found if one.metrics][:2]
    if ended:
        print_next("mlptrain", "compare" if len(ended) > 1 else "report", *ended)


def table(runs: list[Listed], sort: str | None) -> RenderableType:
    """A row for each run."""
    some = zip_longest(*(dict.fromkeys(one.metrics) for one in runs))  # each run's first metric, second, ...
    names = dict.fromkeys([*([sort] if sort else []), *(name for row in some for name in row if name is not None)])
    metrics = [
        Shown(name, [number(one.metrics.get(name)) for one in runs], right=True, rank=min(1 + i, 2))
        for i, name in enumerate(list(names)[:METRICS])
    ]
    return fitting_table(
        [
            Shown("run", [str(one.path) for one in runs]),
            *metrics,
            Shown("of", [one.part or "-" for one in runs], rank=2),
            Shown("state", [one.state.replace("_", " ") for one in runs], rank=2),
            Shown("epochs", ["-" if one.epochs is None else str(one.epochs) for one in runs], right=True, rank=5),
            Shown("best", ["-" if one.best_epoch is None else str(one.best_epoch) for one in runs], right=True, rank=7),
            Shown("began", [f"{one.began:%Y-%m-%d %H:%M}" for one in runs], rank=6),
        ],
        stdout_console().width,
    )
