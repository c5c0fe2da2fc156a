"""How are paths over a surface drawn as lines of text, from above?

Contour lines are strokes - / | \\ in the direction of the line; a path is drawn in braille letters as in `chart.py`,
with its mark where it is after equal numbers of steps. Colour is never needed:

    ● sgd  S start  X minimum
      1 ┤-/ S⡠●-\\
      0 ┤| / ⠈●X |
     -1 ┤-\\____/-
        └┬────────┬
    w1   -1       1
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.cli.chart import MARKS, Axis, Curve, Line, Plot, Span, legend_entry, row_labels, wrapped, x_lines

Values = NDArray[np.float64]
Point = tuple[float, float]
LEVELS = 8
"""The most contour lines that are drawn; a picture of few rows has fewer."""
_MARKS_OF_A_PATH = 6
_STROKES = "-/|\\"


class Surface(NamedTuple):
    """A function of two variables on a rectangle."""

    value: Callable[[Values, Values], Values]
    """Of two arrays of one shape."""
    x: Point
    """The ends of the first axis."""
    y: Point
    names: tuple[str, str] = ("x", "y")
    minimum: Point | None = None
    """Where an X is drawn."""


def draw_paths(surface: Surface, paths: Sequence[Curve], width: int, height: int) -> list[Line]:
    """A map of `surface` with `paths` upon it that fills `width` by `height` letters (at least 24 by 8).

    What lies outside of the rectangle is cut off. Each path begins at an S.
    """
    x_axis, y_axis = Axis(*surface.x), Axis(*surface.y)
    entries = [legend_entry(path, number, True, surface.names[0], width) for number, path in enumerate(paths)]
    marks = [Span("S start"), *([Span("X minimum")] if surface.minimum else [])]
    legend = wrapped([*entries, *(marks if paths else marks[1:])], width)
    rows = max(2, height - len(legend) - 3)
    y_ticks = row_labels(y_axis, rows)
    gutter = max(map(len, (*surface.names, *y_ticks.values())))
    columns = max(8, width - gutter - 2)
    plot = Plot(columns, rows, x_axis, y_axis)
    add_contours(plot, surface, columns, rows)
    for number, path in enumerate(paths):
        add_path(plot, surface, path, number)
    if surface.minimum:
        plot.put(surface.minimum, "X")
    edges = [f"{y_ticks.get(row, ''):>{gutter}} {'┤' if row in y_ticks else '│'}" for row in range(rows)]
    lines = [[Span(edge), *plot.line(row)] for row, edge in enumerate(edges)]
    return [
        *legend,
        [Span(f"{surface.names[1]:>{gutter}}")],
        *lines,
        *x_lines(x_axis, columns, gutter, surface.names[0]),
    ]


def add_contours(plot: Plot, surface: Surface, columns: int, rows: int) -> None:
    """Put a stroke behind everything else where a contour line passes between a cell and its neighbours."""
    x, y = np.linspace(*surface.x, columns), np.linspace(*surface.y[::-1], rows)
    with np.errstate(all="ignore"):
        z = np.asarray(surface.value(*np.meshgrid(x, y)), np.float64)
    band = np.digitize(z, levels(z, min(LEVELS, max(2, rows // 3))))
    down, right = (np.nan_to_num(np.asarray(slope)) for slope in np.gradient(z))
    crossed = np.zeros(z.shape, bool)
    crossed[:, :-1] |= band[:, :-1] > band[:, 1:]
    crossed[:, 1:] |= band[:, 1:] > band[:, :-1]
    crossed[:-1] |= band[:-1] > band[1:]
    crossed[1:] |= band[1:] > band[:-1]
    for row, column in np.argwhere(crossed).tolist():
        plot.put_behind((column, row), stroke(float(right[row, column]), float(down[row, column])))


def levels(z: Values, count: int) -> Values:
    """The levels of `count` contour lines: for a bowl, lines at equal distances from each other."""
    known = z[np.isfinite(z)]
    return np.quantile(known, (np.arange(1, count + 1) / (count + 1)) ** 2) if known.size else np.zeros(0)


def stroke(right: float, down: float) -> str:
    """The letter in the direction of a contour line, which is across the gradient; a cell is twice as high as wide."""
    angle = math.atan2(right, down / 2)  # of the line with the horizontal, upwards
    return _STROKES[round(angle / (math.pi / 4)) % 4]


def add_path(plot: Plot, surface: Surface, path: Curve, number: int) -> None:
    """Draw a path: its line, its marks and its start."""
    points = [(x, y) for x, y in zip(path.x, path.y, strict=True) if y is not None and math.isfinite(x + y)]
    plot.add(list(inside_parts(points, surface)), number)
    every = max(1, -(-len(points) // _MARKS_OF_A_PATH))
    for point in points[-1::-every]:
        if is_inside(point, surface):
            plot.put(point, MARKS[number % len(MARKS)], number)
    if points and is_inside(points[0], surface):
        plot.put(points[0], "S")


def is_inside(point: Point, surface: Surface) -> bool:
    """Whether a point lies in the rectangle."""
    return all(low <= value <= high for value, (low, high) in zip(point, (surface.x, surface.y), strict=True))


def inside_parts(points: Sequence[Point], surface: Surface) -> Iterator[list[Point]]:
    """The segments of a path, as far as they lie in the rectangle."""
    for start, end in pairwise([*points[:1], *points]):
        first, last = 0.0, 1.0
        for begin, stop, (low, high) in zip(start, end, (surface.x, surface.y), strict=True):
            step = stop - begin
            if step == 0:
                first, last = (first, last) if low <= begin <= high else (1.0, 0.0)
            else:
                enters, leaves = sorted(((low - begin) / step, (high - begin) / step))
                first, last = max(first, enters), min(last, leaves)
        if first <= last:
            yield [along(start, end, first), along(start, end, last)]


def along(start: Point, end: Point, share: float) -> Point:
    """The point at `share` of the way."""
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
