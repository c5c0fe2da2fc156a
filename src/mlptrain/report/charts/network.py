"""How is a small network drawn, with what flows through it forward and back?

Units are circles, weights are lines: the larger, the thicker, broken where negative. A layer of many units is drawn by
its first and last ones, and a large network without numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from mlptrain.nn.arrays import Array
from mlptrain.numbers import brief
from mlptrain.report.charts.base import DASHES, Chart, Ink, Sheet, Subject
from mlptrain.report.text import shortened

UNITS, EDGES = 12, 60
"""Units of a layer that are all drawn, and lines that have their number beside them."""
ENDS = 4
"""Units that are drawn at each end of a larger layer."""
Point = tuple[float, float]
_WIDE, _HIGH = 2.6, 0.62  # inches between layers and between units
_RADIUS = 0.21
_ON_LINE = (0.24, 0.74)  # where on a line its number is, by turns of the unit where it begins: they fan out there


@dataclass(frozen=True)
class NetworkDrawing(Chart):
    """The network, with a number in each unit and at each line, for one row."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    units: list[Array]
    """(units,) of the inputs and of each layer: the numbers in the circles; NaN for none"""
    lines: list[Array | None]
    """(inputs, units) of each layer: the numbers at the lines; None where a layer has none"""
    legend: ClassVar[str] = ""
    """What the numbers are."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None

    @property
    def description(self) -> str:
        sizes = "-".join(str(len(each)) for each in self.units)
        left = (
            "" if all(len(each) <= UNITS for each in self.units) else f" Of many units, {ENDS} at each end are drawn."
        )
        return f"{self.legend} Network {sizes}; thick lines are large, broken ones negative.{left}"

    @property
    def sheet(self) -> Sheet:
        rows = [
            (f"layer {i - 1}" if i else "inputs", self.name_of(i, k) or str(k), number_text(float(each[k])))
            for i, each in enumerate(self.units)
            for k in drawn_units(len(each))
        ]
        return Sheet(("", "unit", "value"), tuple(rows))

    @property
    def size(self) -> tuple[float, float]:
        most = max(len(places(len(each))) for each in self.units)
        return _WIDE * (len(self.units) + 0.6), max(2.4, _HIGH * (most + 0.8))

    @property
    def is_small(self) -> bool:
        """Whether lines have numbers."""
        edges = sum(len(one) * len(other) for one, other in zip(self.units, self.units[1:], strict=False))
        return edges <= EDGES and all(len(each) <= UNITS for each in self.units)

    def name_of(self, layer: int, unit: int) -> str:
        """The name of an input or of a score; empty for a hidden unit."""
        names = self.inputs if layer == 0 else self.outputs if layer == len(self.units) - 1 else ()
        return names[unit] if names else ""

    def draw(self, figure: Any, ink: Ink) -> None:
        figure.set_layout_engine("none")
        width, height = self.size
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(-0.8 * _WIDE, width - 0.8 * _WIDE), ylim=(-height / 2, height / 2))
        axes.set_axis_off()
        for layer, values in enumerate(self.lines):
            self._draw_lines(axes, ink, layer, values)
        for layer, each in enumerate(self.units):
            self._draw_units(axes, ink, layer, each)

    def _draw_lines(self, axes: Any, ink: Ink, layer: int, values: Array | None) -> None:
        """The lines from one layer to the next."""
        largest = 1.0 if values is None else float(np.abs(values).max(initial=0)) or 1.0
        for j, k, start, end in self._lines_between(layer):
            if values is None:
                axes.plot(*zip(start, end, strict=True), color=ink.grid, linewidth=0.8, zorder=1)
                continue
            value = float(values[j, k])
            look = {"color": ink.series[int(value < 0)], "linestyle": DASHES[2 if value < 0 else 0], "alpha": 0.75}
            axes.plot(*zip(start, end, strict=True), linewidth=0.4 + 2.6 * abs(value) / largest, zorder=1, **look)
            if self.is_small:
                at = _ON_LINE[j % 2]
                spot = [a + at * (b - a) for a, b in zip(start, end, strict=True)]
                box = {"facecolor": ink.paper, "edgecolor": "none", "pad": 0.6}
                axes.text(*spot, small_number(value), fontsize=6.5, ha="center", va="center", bbox=box, zorder=2)

    def _lines_between(self, layer: int) -> Iterator[tuple[int, int, Point, Point]]:
        """The units that a line joins, and its ends."""
        for j, low in places(len(self.units[layer])).items():
            for k, high in places(len(self.units[layer + 1])).items():
                if j >= 0 and k >= 0:
                    yield j, k, (layer * _WIDE, low), ((layer + 1) * _WIDE, high)

    def _draw_units(self, axes: Any, ink: Ink, layer: int, each: Array) -> None:
        """The circles of a layer, with their numbers and names."""
        x, last = layer * _WIDE, layer == len(self.units) - 1
        circle = {"markersize": 2 * 72 * _RADIUS, "markerfacecolor": ink.paper, "markeredgecolor": ink.text}
        for unit, y in places(len(each)).items():
            if unit < 0:
                axes.text(x, y, "\u22ee", ha="center", va="center", fontsize=14)
                continue
            axes.plot([x], [y], "o", zorder=3, **circle)
            axes.text(x, y, small_number(float(each[unit])), ha="center", va="center", fontsize=7.5, zorder=4)
            if name := self.name_of(layer, unit):
                beside = x + (1 if last else -1) * (_RADIUS + 0.06)
                where = {"ha": "left" if last else "right", "va": "center", "fontsize": 8}
                axes.text(beside, y, shortened(name, 22), zorder=4, **where)


class ForwardDrawing(NetworkDrawing):
    """Forward: the activations and the weights."""

    name: ClassVar[str] = "forward"
    title: ClassVar[str] = "Forward"
    legend: ClassVar[str] = (
        "In the circles the inputs and the activations of the first row of the batch, at the lines the weights."
    )


class BackwardDrawing(NetworkDrawing):
    """Backward: the deltas and the gradients."""

    name: ClassVar[str] = "backward"
    title: ClassVar[str] = "Backward"
    legend: ClassVar[str] = (
        "In the circles the derivative of the loss by z of each unit, for the first row of the batch (none is computed "
        "for the inputs), at the lines the gradients of the weights, which are sums over the whole batch."
    )


def drawn_units(count: int) -> list[int]:
    """The units of a layer that are drawn."""
    return [*range(count)] if count <= UNITS else [*range(ENDS), *range(count - ENDS, count)]


def places(count: int) -> dict[int, float]:
    """The height of each unit that is drawn, from above; that of the dots between the ends is under -1."""
    units = drawn_units(count)
    if count > UNITS:
        units.insert(ENDS, -1)
    return {unit: _HIGH * ((len(units) - 1) / 2 - i) for i, unit in enumerate(units)}


def small_number(value: float) -> str:
    """A number of few letters."""
    if not np.isfinite(value):
        return ""
    if 0.01 <= abs(value) < 10 or value == 0:
        return f"{value + 0.0:.2f}"
    return f"{value:.3g}" if 0.01 <= abs(value) < 1000 else f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")


def number_text(value: float) -> str:
    """A number of the table; a dash for none."""
    return brief(value) if np.isfinite(value) else "-"


def first_rows(values: Sequence[Array]) -> list[Array]:
    """The first row of each array."""
    return [np.asarray(each[0]) for each in values]
