"""mlptrain explain: one training step with all its numbers, or the reasons of one prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

from mlptrain.cli.console import print_json, print_notes, print_results, stderr_console, stdout_console
from mlptrain.errors import UsageError
from mlptrain.nn.layers import Stage
from mlptrain.step_page import sheet_of, write_step_page


class Request(NamedTuple):
    """The arguments of the command."""

    path: Path
    """A spec, a run's folder or its file."""
    row: int | None
    data: Path | None
    step: int | None
    rows: int
    html: Path | None
    force: bool
    overrides: Sequence[str]
    as_json: bool

    @property
    def is_config(self) -> bool:
        """Whether it is about a spec."""
        return self.path.suffix in (".yaml", ".yml")


def run(request: Request) -> None:
    """Run the command."""
    if request.html is not None and request.html.exists() and not request.force:
        raise UsageError(f"--html {request.html}: exists already; choose another name, or replace it with --force")
    if request.row is None:
        explain_step(request)
    else:
        explain_row(request, request.row)


def explain_row(request: Request, number: int) -> None:
    """Show why one row is predicted as it is."""
    if request.is_config:
        raise UsageError(
            f"--row is for a trained model, and {request.path} is a spec; train it first: mlptrain fit {request.path}"
        )
    if request.step or request.overrides:
        raise UsageError(f"{'--step' if request.step else '--set'} is for a training step; leave it out beside --row")
    from mlptrain.cli.reasons import document, shown
    from mlptrain.cli.tables import table_for
    from mlptrain.report.reasons import own_table, reasons
    from mlptrain.runs.model import at_home, open_model

    model = at_home(open_model(request.path))
    table = own_table(model) if request.data is None else table_for(model, request.data)
    why = reasons(model, table, number)
    print_notes(stderr_console(), ending_notes(request.path))
    if request.html is not None:
        from mlptrain.report.reasons_page import write_reasons

        write_reasons(why, request.html)
    if request.as_json:
        print_json(document(why))
    else:
        print_results(*shown(why, stdout_console().width) if request.html is None else [str(request.html)])


def ending_notes(path: Path) -> list[str]:
    """That the run at `path` diverged or has not ended, if so."""
    if not path.is_dir():
        return []
    from mlptrain.runs.directory import RunFolder

    folder = RunFolder.open(path)
    stopped = folder.read_summary()["stopped"] if folder.summary.exists() else None
    said = {None: "training has not ended", "diverged": "training diverged"}.get(stopped)
    return [f"{said}; this is about the best weights until then"] if said else []


def explain_step(request: Request) -> None:
    """Show one training step."""
    if request.data is not None:
        raise UsageError("--data is for one row; say which one: --row 1")
    from mlptrain.explain import record
    from mlptrain.spec.load import load_experiment
    from mlptrain.spec.plan import prepare

    config, step = config_of(request.path), request.step or 1
    plan, dataset = prepare(load_experiment(config, request.overrides), config.stem)
    found = record(plan, dataset, step)
    if request.html is not None:
        write_step_page(found, request.html, config.stem, step)
    if request.as_json:
        print_json({"config": str(config), "step": step, "stages": [stage_document(stage) for stage in found.stages]})
    elif request.html is not None:
        print_results(str(request.html))
    else:
        title = Text(f"Training step {step} of {config}", "bold")
        print_results(title, *(part for stage in found.stages for part in shown_stage(stage, request.rows)))


def config_of(path: Path) -> Path:
    """The spec itself, or that of a run."""
    if path.is_file() and path.suffix == ".safetensors":
        raise UsageError(f"{path}: a model file has no training step; say what to explain, as in --row 1")
    if not path.is_dir():
        return path
    from mlptrain.runs.directory import RunFolder

    return RunFolder.open(path).spec


def stage_document(stage: Stage) -> dict[str, Any]:
    """A stage as JSON; numbers that are not finite become null."""
    value = np.asarray(stage.value, np.float64)
    told = value.astype(object)
    told[~np.isfinite(value)] = None
    names = {"rows": list(stage.rows) or None, "columns": list(stage.columns) or None}
    return {"title": stage.title, "formula": stage.formula, "value": told.tolist(), **names}


def shown_stage(stage: Stage, rows: int) -> list[RenderableType]:
    """One stage: its heading, its formula with the shape, and the first and last rows and columns of its value."""
    parts: list[RenderableType] = ["", Text(stage.title, "bold")] if stage.title else []
    if isinstance(stage.value, float):
        return [*parts, Text(f"{stage.formula} = {stage.value:.8g}")]
    shape = " x ".join(map(str, stage.value.shape))
    text = "\n".join(named_lines(stage, rows)) if stage.rows or stage.columns else plain_text(stage.value, rows)
    indented = Text("  " + text.replace("\n", "\n  "), no_wrap=True)
    return [*parts, Text.assemble((stage.formula, "cyan"), f"   ({shape})"), indented]


def plain_text(value: Any, rows: int) -> str:
    """An array without names, at most as wide as the terminal."""
    return np.array2string(
        np.asarray(value, dtype=np.float64),
        precision=5,
        suppress_small=True,
        max_line_width=min(100, stdout_console().width - 2),
        threshold=0,
        edgeitems=rows,
    )


def named_lines(stage: Stage, most: int) -> list[str]:
    """A matrix with the names of its rows and columns; of a large one the first and last `most` rows and columns.

    Where these columns are too wide for the terminal, it shows fewer.
    """
    sheet = sheet_of(stage, most)
    grid = (sheet.head, *sheet.rows)
    widths = [max(map(cell_len, cells)) for cells in zip(*grid, strict=True)]
    if most > 1 and sum(widths) + 2 * len(widths) > stdout_console().width:
        return named_lines(stage, most - 1)
    lines = [
        [" " * (width - cell_len(cell)) + cell for cell, width in zip(cells, widths, strict=True)] for cells in grid
    ]
    return ["  ".join(line).rstrip() for line in lines]
