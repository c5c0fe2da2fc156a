"""mlptrain plot: the curves of one or several runs, in the terminal or as a picture."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlptrain.cli.chart import Curve, draw, styled
from mlptrain.cli.console import print_next, print_results, stdout_console
from mlptrain.component import did_you_mean
from mlptrain.errors import UsageError
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.history import Columns, read_history

LOSSES = ("train_loss", "validation_loss")
MOST_LINES = 24
"""Of a chart in a terminal, and of one without."""
SUFFIXES = ("png", "svg")
NOT_PLOTTED = ("epoch",)


@dataclass(frozen=True)
class Plotted:
    """A run, as far as it is plotted."""

    label: str
    """What tells it from the others."""
    history: Columns
    best: int | None


def run(
    paths: Sequence[Path], metrics: Sequence[str], log: bool, boundary: bool, out: Path | None, force: bool
) -> None:
    """Run the command."""
    if out is not None and out.suffix[1:].lower() not in SUFFIXES:
        raise UsageError(f"--out {out}: must end in {' or '.join(f'.{suffix}' for suffix in SUFFIXES)}")
    if out is not None and out.exists() and not force:
        raise UsageError(f"--out {out}: exists already; choose another name, or replace it with --force")
    if boundary:
        draw_boundary(paths, bool(metrics) or log, out)
        return
    runs = opened(list(dict.fromkeys(paths)))
    curves = [curve for metric in metrics or usual(runs) for curve in curves_of(runs, metric)]
    curves = [curve for curve in curves if any(value is not None for value in curve.y)]
    if not curves:
        raise UsageError(
            f"{', '.join(map(str, paths))}: no epoch has a value of {', '.join(metrics or usual(runs))} yet"
        )
    if out is not None:
        write_picture(curves, log, out)
        print_results(str(out))
        return
    console = stdout_console()
    following = ["mlptrain", "compare" if len(runs) > 1 else "report", *map(str, dict.fromkeys(paths))]
    below = 1 + -(-len(f"next: {shlex.join(following)}") // console.width)  # the line to paste, and the prompt
    height = min(MOST_LINES, console.height - below) if console.is_terminal else MOST_LINES
    print_results(styled(draw(curves, console.width, height, log=log)))
    print_next(*following)


def draw_boundary(paths: Sequence[Path], curves_too: bool, out: Path | None) -> None:
    """Draw what the model of one run says at each point of the plane of its two columns."""
    from mlptrain.cli.pictures import picture
    from mlptrain.report import drawing
    from mlptrain.report.charts.base import Subject
    from mlptrain.report.charts.plane import Boundary
    from mlptrain.report.source import open_source
    from mlptrain.runs.durable import write_durably

    if len(paths) > 1 or curves_too:
        raise UsageError(f"--boundary draws one run and no curves: mlptrain plot {paths[0]} --boundary")
    source = open_source(paths[0])
    chart = Boundary.of(Subject(source))
    if chart is None:
        why = "; ".join(source.gaps) or "it takes a model of two columns of numbers that tells up to five classes apart"
        raise UsageError(f"{paths[0]}: has no boundary to draw: {why}")
    if out is not None:
        write_durably(out, drawing.picture(chart, out.suffix[1:].lower()))
        print_results(str(out))
        return
    console = stdout_console()
    height = console.height if console.is_terminal else MOST_LINES
    print_results(styled(picture(chart, console.width, height)))


def opened(paths: Sequence[Path]) -> list[Plotted]:
    """The runs, each with a label of its own."""
    folders = [RunFolder.open(path) for path in paths]
    return [
        Plotted(label, read_history(folder.path), best_epoch(folder))
        for label, folder in zip(labels(paths), folders, strict=True)
    ]


def labels(paths: Sequence[Path]) -> list[str]:
    """A short name for each path, different from the others."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def best_epoch(folder: RunFolder) -> int | None:
    """The best epoch of a run that ended."""
    found = folder.read_summary().get("best_epoch") if folder.summary.exists() else None
    return found if isinstance(found, int) else None


def usual(runs: Sequence[Plotted]) -> Sequence[str]:
    """The metrics that are plotted if none is named: the losses of one run; one loss that several have in common."""
    known = [name for name in LOSSES if all(name in run.history for run in runs)]
    return known if len(runs) == 1 else known[-1:]


def curves_of(runs: Sequence[Plotted], metric: str) -> list[Curve]:
    """The curve of one metric for each run, with a star on the best epoch; the training loss has none."""
    for run in runs:
        if metric not in run.history:
            names = [name for name in run.history if name not in NOT_PLOTTED]
            hint = did_you_mean(metric, names) or f"it has {', '.join(names[:12])}{', ...' * (len(names) > 12)}"
            raise UsageError(f"--metric {metric}: '{run.label}' has no such column; {hint}")
    return [
        Curve(
            metric if len(runs) == 1 else f"{run.label} {metric}",
            [epoch or 0.0 for epoch in run.history["epoch"]],
            run.history[metric],
            None if metric == LOSSES[0] and LOSSES[1] in run.history else run.best,
        )
        for run in runs
    ]


def write_picture(curves: Sequence[Curve], log: bool, out: Path) -> None:
    """Write the curves as a picture."""
    from mlptrain.report.charts.training import AskedCurves
    from mlptrain.report.drawing import picture
    from mlptrain.runs.durable import write_durably

    best = {curve.label: int(curve.best) for curve in curves if curve.best is not None}
    chart = AskedCurves.joined({curve.label: (curve.x, curve.y) for curve in curves}, best=best, log=log)
    write_durably(out, picture(chart, out.suffix[1:].lower()))
