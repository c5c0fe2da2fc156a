"""How are the charts of a lesson drawn as lines of text?

Areas and curves are told apart by patterns and marks, so that colour is never needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.cells import cell_len

from mlptrain.cli.chart import MARKS, Curve, Line, Span, draw, wrapped
from mlptrain.cli.contour import Surface, draw_paths
from mlptrain.numbers import brief, number
from mlptrain.report import figures
from mlptrain.report.boundary import Plane
from mlptrain.report.charts.base import Chart, Values
from mlptrain.report.charts.plane import Boundary, InputWeights, Paths
from mlptrain.report.charts.training import Curves, Histograms
from mlptrain.report.text import shortened

PATTERNS: tuple[Callable[[Any, Any], Any], ...] = (
    lambda x, y: x < 0,
    lambda x, y: (x + y) % 2 == 0,
    lambda x, y: y % 4 == 0,
    lambda x, y: x % 2 == 0,
)
"""Which dots are set in the area of a class, by column and row of the dot: none, a grid, lines across, lines down."""
BITS = np.array(((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)))
"""Of a braille letter, by row and column."""
NARROWEST, WIDEST, WIDEST_ALONE = 14, 36, 72
"""Letters of a map across: of several, and of one that is alone."""
FEWEST_ROWS, BESIDE_A_MAP = 3, 5
"""Rows of a map, at least, and lines beside it and its axes: legend, label, frame, and the prompt below."""
CELLS_PER_POINT = 5
"""Of a map: more points would hide the areas."""
BAR_ROWS = 4
RISING, GROWING = " ▁▂▃▄▅▆▇█", " ▏▎▍▌▋▊▉█"


@singledispatch
def picture(chart: Chart, width: int, height: int) -> list[Line]:
    """The chart as lines of at most `width` letters; where its height can be chosen, `height` of them."""
    raise NotImplementedError(type(chart).__name__)


@picture.register
def curves(chart: Curves, width: int, height: int) -> list[Line]:
    """Curves by epoch."""
    x = chart.epochs.tolist()
    some = [Curve(label, *known(x, values.tolist()), chart.best.get(label)) for label, values in chart.curves.items()]
    return draw(some, width, height, log=chart.log)


def known(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """The points that have a value: epochs that another run has and this one has not are no gaps."""
    pairs = [(a, b) for a, b in zip(x, y, strict=True) if b == b]
    return [a for a, _ in pairs], [b for _, b in pairs]


@picture.register
def paths(chart: Paths, width: int, height: int) -> list[Line]:
    """Paths over contour lines."""
    across, up = chart.ends
    x, y = chart.bowl.best.tolist()

    def loss(a: Values, b: Values) -> Values:
        return chart.bowl.loss(np.column_stack([a.ravel(), b.ravel()])).reshape(a.shape)

    some = [Curve(label, path[:, 0].tolist(), path[:, 1].tolist()) for label, path in chart.shown.items()]
    return draw_paths(Surface(loss, across, up, chart.weights, (x, y)), some, width, height)


@picture.register
def boundary(chart: Boundary, width: int, height: int) -> list[Line]:
    """Maps side by side, as many as there is room for, and what their axes are."""
    most = max(1, min(4, len(chart.maps), (width + 2) // (NARROWEST + 4)))
    columns = max(4, min(WIDEST if len(chart.maps) > 1 else WIDEST_ALONE, (width + 2) // most - 4))
    axes = wrapped([*axes_of(chart.plane, width)], width)
    rows = min(columns // 2, max(FEWEST_ROWS, height - BESIDE_A_MAP - len(axes)))
    panels = [panel(label, found, chart.plane, (columns, rows)) for label, found in chart.maps.items()]
    lines = [list(legend_line(chart.plane, width))]
    for i in range(0, len(panels), most):
        lines += [joined(parts) for parts in zip(*panels[i : i + most], strict=True)]
    return [*lines, *axes]


def axes_of(plane: Plane, width: int) -> Iterator[Span]:
    """Which column is across and which is up, and from where to where."""
    for sign, name, ends in zip("→↑", plane.names, (plane.x, plane.y), strict=True):
        span = f" {brief(ends[0])} to {brief(ends[1])}"
        yield Span(f"{sign} {shortened(name, max(6, width - len(span) - 4))}{span}")


def legend_line(plane: Plane, width: int) -> Iterator[Span]:
    """What stands for each class."""
    for k, name in enumerate(plane.classes):
        pattern = "".join(map(chr, braille(np.full((4, 4), k))[0]))
        yield Span(f"{pattern} {MARKS[k % len(MARKS)]} {shortened(name, max(6, width // len(plane.classes) - 8))}  ", k)


def joined(parts: Sequence[Line]) -> Line:
    """Lines beside each other."""
    return [span for i, line in enumerate(parts) for span in ([Span("  ")] * bool(i) + line)]


def panel(label: str, found: NDArray[np.intp], plane: Plane, size: tuple[int, int]) -> list[Line]:
    """One map of `size` columns and rows in a frame, with its label above."""
    columns, rows = size
    dots = sampled(found, 2 * columns, 4 * rows)
    letters = [[chr(code) for code in line] for line in braille(dots).tolist()]
    owners = dots[2::4, 1::2].tolist()
    for (x, y), k in zip(*points_on(plane, columns, rows), strict=True):
        letters[y][x], owners[y][x] = MARKS[k % len(MARKS)], k
    title = shortened(label, columns + 2)
    lines: list[Line] = [[Span(title + " " * (columns + 2 - cell_len(title)))], [Span(f"┌{'─' * columns}┐")]]
    for row, codes in zip(letters, owners, strict=True):
        lines.append([Span("│"), *(Span(letter, code) for letter, code in zip(row, codes, strict=True)), Span("│")])
    return [*lines, [Span(f"└{'─' * columns}┘")]]


def sampled(found: NDArray[np.intp], columns: int, rows: int) -> NDArray[np.intp]:
    """(rows, columns): the class at each dot, from the upper left."""
    size = len(found)
    x, y = (((np.arange(count) + 0.5) * size / count).astype(int) for count in (columns, rows))
    return np.asarray(found[::-1][np.ix_(y, x)])


def braille(dots: NDArray[np.intp]) -> NDArray[np.intp]:
    """(rows / 4, columns / 2): the letters whose dots are the patterns of the classes."""
    places = np.indices(dots.shape)
    lit = np.zeros(dots.shape, bool)
    for k, pattern in enumerate(PATTERNS):
        lit |= (dots % len(PATTERNS) == k) & pattern(places[1], places[0])
    rows, columns = dots.shape
    cells = lit.reshape(rows // 4, 4, columns // 2, 2)
    return np.asarray(0x2800 + np.einsum("rych,yh->rc", cells, BITS))


def points_on(plane: Plane, columns: int, rows: int) -> tuple[list[tuple[int, int]], list[int]]:
    """The cells of some of the points, evenly by number, and their classes."""
    count = len(plane.points)
    some = np.unique(np.linspace(0, count - 1, min(count, columns * rows // CELLS_PER_POINT)).round().astype(int))
    (left, right), (down, up) = plane.x, plane.y
    x = ((plane.points[some, 0] - left) / (right - left) * columns).astype(int)
    y = ((up - plane.points[some, 1]) / (up - down) * rows).astype(int)
    return list(zip(x.tolist(), y.tolist(), strict=True)), plane.codes[some].tolist()


@picture.register
def histograms(chart: Histograms, width: int, height: int) -> list[Line]:
    """Histograms below each other, over the same axis."""
    edges, _, _ = figures.histogram(np.concatenate([*chart.shown.values()]), bins=1)
    low, high = edges.tolist()
    lines: list[Line] = []
    for k, (label, values) in enumerate(chart.shown.items()):
        counts = np.histogram(values, min(width, 80), (low, high))[0]
        caption = [f"{label}:", f"{len(values):,} weights,", f"at most {counts.max():,} in a column"]
        lines += [*wrapped([Span(part) for part in caption], width), *bars_up(counts, k)]
        lines.append(axis_line(low, high, len(counts)))
    return lines


def bars_up(counts: NDArray[np.intp], k: int) -> Iterator[Line]:
    """Bars upwards, one letter wide; what is not zero has at least an eighth."""
    eighths = np.ceil(counts * (8 * BAR_ROWS / max(1, counts.max()))).astype(int)
    for row in range(BAR_ROWS - 1, -1, -1):
        yield [Span("".join(RISING[i] for i in np.clip(eighths - 8 * row, 0, 8).tolist()), k)]


def axis_line(low: float, high: float, width: int) -> Line:
    """The ends of an axis, and zero between them if there is room for it."""
    letters = list(brief(low).ljust(width - len(brief(high)), "─") + brief(high))
    zero = round(-low / (high - low) * (width - 1))
    if 0 <= zero < width and letters[zero] == "─":
        letters[zero] = "0"
    return [Span("".join(letters))]


@picture.register
def input_weights(chart: InputWeights, width: int, height: int) -> list[Line]:
    """Bars across, one for each input."""
    names = [shortened(name, max(8, width // 4)) for name in chart.inputs]
    wide = max(map(cell_len, names))
    lines: list[Line] = []
    for k, (label, sums) in enumerate(chart.sums.items()):
        lines.append([Span(label)])
        lines += bars_across(names, sums, max(4, width - wide - 10), k)
    return lines


def bars_across(names: Sequence[str], sums: Values, room: int, k: int) -> Iterator[Line]:
    """A bar for each name, with its number."""
    wide, largest = max(map(cell_len, names)), float(sums.max()) or 1.0
    for name, value in zip(names, sums.tolist(), strict=True):
        eighths = round(8 * room * value / largest)
        bar = GROWING[8] * (eighths // 8) + GROWING[eighths % 8].strip()
        yield [Span(name + " " * (wide + 1 - cell_len(name))), Span(bar, k), Span(f" {number(value)}")]
