"""How does a training step become one HTML page?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlptrain.explain import Recorder
from mlptrain.nn.layers import Stage
from mlptrain.report.build import make_folder
from mlptrain.report.charts.base import Sheet
from mlptrain.report.charts.network import BackwardDrawing, ForwardDrawing, NetworkDrawing, first_rows
from mlptrain.report.page import Section, document, figure, table
from mlptrain.report.text import escaped, shortened
from mlptrain.runs.durable import write_durably

MOST = 6
"""Rows and columns of a large matrix that the page shows at each end."""
ELLIPSIS = "…"
_PIXELS_PER_INCH = 60


def write_step_page(found: Recorder, out: Path, name: str, step: int) -> None:
    """Write the page of a step to `out`."""
    make_folder(out.parent)
    sizes = "-".join(str(values.shape[1]) for values in found.flow.values)
    headline = f"Training step {step} of the network {sizes}, on a batch of {len(found.flow.values[0]):,} rows"
    write_durably(out, document(name, headline, "step", sections_of(found)).encode())


def sections_of(found: Recorder) -> Iterator[Section]:
    """The drawings, then each part of the computation with its numbers."""
    flow = found.flow
    forward = ForwardDrawing(flow.inputs, flow.outputs, first_rows(flow.values), flow.weights)
    unknown = np.full(len(flow.inputs), np.nan)
    backward = BackwardDrawing(flow.inputs, flow.outputs, [unknown, *first_rows(flow.deltas)], flow.gradients)
    yield Section("network", "Network", [drawing(forward), drawing(backward)])
    for number, stages in enumerate(grouped(found.stages)):
        yield Section(f"part-{number}", stages[0].title, [card(stage) for stage in stages])


def drawing(chart: NetworkDrawing) -> str:
    """A network, which is moved sideways where it would become too small to read."""
    least = round(_PIXELS_PER_INCH * chart.size[0])
    return f'<div class="wide drawing" style="--least:{least}px">{figure(chart)}</div>'


def grouped(stages: list[Stage]) -> list[list[Stage]]:
    """The stages under each heading."""
    groups: list[list[Stage]] = []
    for stage in stages:
        if stage.title or not groups:
            groups.append([])
        groups[-1].append(stage)
    return groups


def card(stage: Stage) -> str:
    """A formula with its numbers."""
    if isinstance(stage.value, float):
        return f'<div class="card"><h3>{escaped(stage.formula)} = {stage.value:.8g}</h3></div>'
    shape = " × ".join(map(str, stage.value.shape))
    content = table(sheet_of(stage, MOST))
    return f'<div class="card scroll"><h3>{escaped(stage.formula)} <small>({shape})</small></h3>{content}</div>'


def sheet_of(stage: Stage, most: int) -> Sheet:
    """A vector or a matrix as texts, with the names of its rows and columns or else their numbers.

    Of a large one the first and last `most` rows and columns.
    """
    value = np.atleast_2d(np.asarray(stage.value, np.float64))
    rows, columns = (some(count, most) for count in value.shape)
    body = [
        (name_at(stage.rows, j), *(ELLIPSIS if j is None or k is None else f"{value[j, k]:.5g}" for k in columns))
        for j in rows
    ]
    return Sheet(("", *(name_at(stage.columns, k) for k in columns)), tuple(body))


def some(count: int, most: int) -> list[int | None]:
    """The first and the last `most` of `count` places, with None between them."""
    return [*range(count)] if count <= 2 * most + 1 else [*range(most), None, *range(count - most, count)]


def name_at(names: tuple[str, ...], place: int | None) -> str:
    """The name of a row or column, or its number."""
    return ELLIPSIS if place is None else shortened(names[place]) if names else str(place)
