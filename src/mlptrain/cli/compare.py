"""mlptrain compare: what differs between runs, or between specs, and whether one is better by more than chance."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from mlptrain.cli.chart import draw, styled
from mlptrain.cli.console import print_json, print_results, stdout_console
from mlptrain.cli.fitting import GAP, Shown, fitting_table
from mlptrain.cli.plot import Plotted, curves_of, labels, usual
from mlptrain.errors import UsageError
from mlptrain.numbers import number
from mlptrain.report.comparison import Difference, compared, differing
from mlptrain.report.source import Source, open_source
from mlptrain.report.text import shortened
from mlptrain.spec.load import load_experiment

CHART = 14
"""Lines of the chart of the losses."""


def run(paths: Sequence[Path], as_json: bool) -> None:
    """Run the command."""
    if len(paths) < 2 or len(set(paths)) < len(paths):
        raise UsageError("compare takes two or more different runs, or specs: mlptrain compare runs/a-0001 runs/a-0002")
    if all(path.suffix in (".yaml", ".yml") for path in paths):
        specs = [load_experiment(path).model_dump(mode="json") for path in paths]
        settings = differing(specs)
        if as_json:
            print_json({"specs": [str(path) for path in paths], "settings": settings})
        else:
            print_results(*settings_shown(settings, labels(paths)))
        return
    sources = [open_source(path) for path in paths]
    settings = differing([source.plan.written() for source in sources])
    verdicts = [compared(sources[0], other) for other in sources[1:]]
    if as_json:
        print_json(document(sources, settings, verdicts))
        return
    names = labels(paths)
    print_results(*settings_shown(settings, names), "", *curves_shown(sources, names), results_shown(sources, names))
    print_results(
        "", *(line for name, found in zip(names[1:], verdicts, strict=True) for line in told(names[0], name, found))
    )


def settings_shown(settings: dict[str, list[Any]], names: Sequence[str]) -> list[RenderableType]:
    """The settings that differ, a column for each run."""
    if not settings:
        return ["all settings are the same"]
    width = stdout_console().width
    most = max(12, (width - min(max(map(len, settings)), width // 3)) // len(names) - GAP)
    columns = [
        Shown(name, [text(values[i], most) for values in settings.values()], rank=i) for i, name in enumerate(names)
    ]
    return [fitting_table([Shown("setting", list(settings)), *columns], width)]


def text(value: Any, most: int) -> str:
    """A setting on one line of at most `most` letters."""
    return shortened(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), most)


def curves_shown(sources: Sequence[Source], names: Sequence[str]) -> list[RenderableType]:
    """The losses of all runs over each other, if they have a loss in common."""
    runs = [
        Plotted(name, source.history, (source.summary or {}).get("best_epoch"))
        for name, source in zip(names, sources, strict=True)
    ]
    curves = [curve for metric in usual(runs) for curve in curves_of(runs, metric)]
    return [styled(draw(curves, stdout_console().width, CHART)), ""] if curves else []


def results_shown(sources: Sequence[Source], names: Sequence[str]) -> RenderableType:
    """The results of each run on the rows that its summary is about; where it is narrow, a row for each run."""
    found = [source.summary or {} for source in sources]
    parts = [summary.get("baseline_part") or "-" for summary in found]
    results = [summary.get("results", {}).get(part, {}) for summary, part in zip(found, parts, strict=True)]
    metrics = list(dict.fromkeys(name for one in results for name in one))
    named = [f"{name} ({part})" for name, part in zip(names, parts, strict=True)]
    figures = [[number(one.get(metric)) for metric in metrics] for one in results]
    width = stdout_console().width
    columns = [Shown("", metrics), *(Shown(*each, right=True) for each in zip(named, figures, strict=True))]
    if sum(column.width + GAP for column in columns) - GAP > width:
        turned = zip(metrics, zip(*figures, strict=True), strict=True)
        columns = [Shown("", named), *(Shown(*each, right=True, rank=i) for i, each in enumerate(turned))]
    return fitting_table(columns, width)


def told(first: str, second: str, found: list[Difference] | str) -> Iterator[RenderableType]:
    """Whether one run is better than another, a line for each figure."""
    if isinstance(found, str):
        yield f"{first} and {second} are not compared row by row: {found}"
        return
    for one in found:
        figures = f"{one.metric} {number(one.first)} and {number(one.second)} on {one.rows:,} common rows"
        if one.interval is None or one.better_by == 0:
            yield f"{figures}: no difference"
            continue
        better = second if one.better_by > 0 else first
        low, high = one.interval if one.better_by > 0 else (-one.interval[1], -one.interval[0])
        verdict = "which chance alone may explain" if one.is_chance else "more than chance alone explains"
        by = f"{better} is better by {number(abs(one.better_by))} (95% interval {number(low)} to {number(high)})"
        yield f"{figures}: {by}, {verdict}"


def document(
    sources: Sequence[Source], settings: dict[str, list[Any]], verdicts: Sequence[list[Difference] | str]
) -> dict[str, Any]:
    """The output of --json."""
    return {
        "runs": [str(source.path) for source in sources],
        "settings": settings,
        "results": [(source.summary or {}).get("results") for source in sources],
        "better_than_first": [
            {"reason": found} if isinstance(found, str) else [one._asdict() for one in found] for found in verdicts
        ],
    }
