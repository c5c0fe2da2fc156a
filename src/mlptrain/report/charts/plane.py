"""Which charts show a network in the plane of its two inputs, or training in the plane of its two weights?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from mlptrain.numbers import brief
from mlptrain.report import figures
from mlptrain.report.boundary import Ends, Map, Plane, map_of, plane_of
from mlptrain.report.charts.base import (
    CURVES,
    DASHES,
    LINE_POINTS,
    Chart,
    Ink,
    Sheet,
    Subject,
    Values,
    legend,
    small_axes,
)
from mlptrain.report.figures import Bowl
from mlptrain.report.text import shortened

COLUMNS = 4
"""Maps side by side."""
SHAPES = "o^sDv"
"""So that classes and paths can be told apart without colour."""
LEVELS = 9
"""Contour lines of the loss."""
STEPS = 8
"""Points of each path in the table."""


@dataclass(frozen=True)
class Boundary(Chart):
    """Which class a network predicts at each point of the plane, at one or several times."""

    name: ClassVar[str] = "boundary"
    title: ClassVar[str] = "What the network says at each point"
    plane: Plane
    maps: Mapping[str, Map]
    """By label."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        source = subject.source
        training = None if source.dataset is None else source.dataset.training
        plane = None if training is None else plane_of(source.plan, training)
        if training is None or plane is None or len(plane.classes) > CURVES:
            return None
        return cls(plane, {"the trained model": map_of(source.plan, training, plane, source.model.predictor)})

    @property
    def description(self) -> str:
        """What the areas and the marks are."""
        classes = ", ".join(self.plane.classes)
        return (
            f"The areas are what is predicted for {' and '.join(self.plane.names)} there, the marks are the training "
            f"rows: {classes}."
        )

    def shares(self, label: str) -> list[float]:
        """The share of the area that belongs to each class."""
        found = self.maps[label]
        counts = np.bincount(found.ravel(), minlength=len(self.plane.classes))
        return [float(count / found.size) for count in counts]

    @property
    def sheet(self) -> Sheet:
        rows = tuple((label, *(f"{share:.0%}" for share in self.shares(label))) for label in self.maps)
        return Sheet(("area", *self.plane.classes), rows)

    @property
    def size(self) -> tuple[float, float]:
        if len(self.maps) == 1:
            return 4.8, 4.2
        columns = min(COLUMNS, len(self.maps))
        return 2.45 * columns, 0.45 + 2.45 * -(-len(self.maps) // COLUMNS)

    def draw(self, figure: Any, ink: Ink) -> None:
        plane = self.plane
        grid = small_axes(figure, len(self.maps), COLUMNS, sharex=True, sharey=True)
        for axes, (label, found) in zip(grid, self.maps.items(), strict=True):
            self._fill(axes, ink, found)
            for k in range(len(plane.classes)):
                some = plane.points[plane.codes == k]
                style = {"markersize": 4.5, "markeredgecolor": ink.paper, "markeredgewidth": 0.6, "linestyle": "none"}
                axes.plot(*some.T, SHAPES[k % len(SHAPES)], color=ink.series[k % len(ink.series)], **style)
            axes.set_title(label, fontsize=8)
            axes.set(xlim=plane.x, ylim=plane.y, box_aspect=1)
            axes.grid(False)
            axes.locator_params(nbins=4)
        names = [shortened(name, 16) for name in plane.classes]
        for axes in grid[-COLUMNS:]:
            axes.set_xlabel(shortened(plane.names[0]))
        for axes in grid[::COLUMNS]:
            axes.set_ylabel(shortened(plane.names[1]))
        figure.legend(grid[0].get_lines(), names, loc="outside lower center", ncols=len(names), frameon=False)

    def _fill(self, axes: Any, ink: Ink, found: Map) -> None:
        """Fill the area of each class, and draw a line around it."""
        size = len(found)
        x, y = (np.linspace(*ends, size) for ends in (self.plane.x, self.plane.y))
        for k in range(len(self.plane.classes)):
            inside = (found == k).astype(np.float64)
            if inside.any():
                axes.contourf(x, y, inside, [0.5, 1.5], colors=[ink.series[k % len(ink.series)]], alpha=0.22)
            if k and inside.any() and not inside.all():
                axes.contour(x, y, inside, [0.5], colors=[ink.text], linewidths=1.1)


@dataclass(frozen=True)
class Paths(Chart):
    """The paths of several runs over the contour lines of the loss, in the plane of the two weights of a model."""

    name: ClassVar[str] = "paths"
    title: ClassVar[str] = "Paths over the contour lines of the loss"
    weights: tuple[str, str]
    bowl: Bowl
    paths: Mapping[str, Values]
    """(steps + 1, 2) by label: the weights at the start and after each step"""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None

    @property
    def description(self) -> str:
        """What the lines are."""
        x, y = map(brief, self.bowl.best.tolist())
        steep, flat = np.linalg.eigvalsh(self.bowl.curvature)[::-1].tolist()
        ratio = brief(steep / flat) if flat > 0 else "infinitely many"
        return (
            f"A thin line joins weights of the same loss, with the bias at its best. The lowest point is at {x} and "
            f"{y}; in this plane the loss is {ratio} times as curved across the valley as along it, with the bias even "
            "more."
        )

    @property
    def ends(self) -> tuple[Ends, Ends]:
        """The ranges of the two weights: what the start and the goal need, and how far most of the paths swing."""
        joined = np.concatenate([self.bowl.best[None], *(path[:1] for path in self.paths.values())])
        low, high = joined.min(axis=0), joined.max(axis=0)
        room = max(float((high - low).max()), 1e-6)
        reach = np.concatenate([*self.paths.values(), joined])
        reach = np.clip(reach[np.isfinite(reach).all(axis=1)], low - room, high + room)
        low, high = reach.min(axis=0), reach.max(axis=0)
        margin = 0.08 * np.maximum(high - low, room / 4)
        (left, down), (right, up) = (low - margin).tolist(), (high + margin).tolist()
        return (left, right), (down, up)

    @property
    def shown(self) -> dict[str, Values]:
        """The paths, NaN where they have left the picture by more than its own size."""
        low, high = np.array(self.ends).T
        far = {label: (path < 2 * low - high) | (path > 2 * high - low) for label, path in self.paths.items()}
        return {
            label: np.where(far[label].any(axis=1, keepdims=True), np.nan, path) for label, path in self.paths.items()
        }

    @property
    def contours(self) -> list[Values]:
        """The contour lines, each a fixed factor above the one inside it."""
        (left, right), (down, up) = self.ends
        corners = np.array([(a, b) for a in (left, right) for b in (down, up)])
        highest = float(self.bowl.loss(corners).max()) - self.bowl.lowest
        levels = self.bowl.lowest + highest * (np.arange(1, LEVELS + 1) / LEVELS) ** 2.5
        return [self.bowl.contour(level) for level in levels.tolist()]

    @property
    def sheet(self) -> Sheet:
        rows = []
        for label, path in self.paths.items():
            (places,) = figures.thinned(STEPS, np.arange(len(path), dtype=np.float64))
            for i in places.astype(int).tolist():
                loss = float(self.bowl.loss(path[i : i + 1])[0])
                rows.append((label, f"{i:,}", *map(brief, path[i].tolist()), brief(loss)))
        return Sheet(("run", "step", *self.weights, "loss"), tuple(rows))

    @property
    def size(self) -> tuple[float, float]:
        return 9.6, 5.4

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        for line in self.contours:
            axes.plot(*line.T, color=ink.faint, linewidth=0.6, alpha=0.7, zorder=1)
        for k, (label, path) in enumerate(self.shown.items()):
            points, colour = figures.thinned(LINE_POINTS, *path.T), ink.series[k % len(ink.series)]
            marks = {"marker": SHAPES[k % len(SHAPES)], "markersize": 4, "markevery": max(1, len(points[0]) // 14)}
            axes.plot(*points, color=colour, linestyle=DASHES[k % len(DASHES)], linewidth=1.4, label=label, **marks)
        axes.plot(*self.bowl.best, "*", markersize=13, color=ink.text, label="lowest point", zorder=5, linestyle="none")
        (x, y), (x_name, y_name) = self.ends, self.weights
        axes.set(xlim=x, ylim=y, xlabel=x_name, ylabel=y_name)
        axes.grid(False)
        legend(axes, ink)


@dataclass(frozen=True)
class InputWeights(Chart):
    """How large the weights are that leave each input."""

    name: ClassVar[str] = "input-weights"
    title: ClassVar[str] = "Sum of the absolute weights that leave each input"
    inputs: tuple[str, ...]
    sums: Mapping[str, Values]
    """(inputs,) by label"""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None

    @property
    def description(self) -> str:
        """Which inputs have the largest weights."""
        label, sums = next(iter(self.sums.items()))
        largest = ", ".join(self.inputs[i] for i in np.argsort(-sums, kind="stable")[:4])
        return f"Of {label} the largest are those of {largest}."

    @property
    def sheet(self) -> Sheet:
        columns = [sums.tolist() for sums in self.sums.values()]
        rows = zip(self.inputs, *columns, strict=True)
        return Sheet(("input", *self.sums), tuple((name, *map(brief, values)) for name, *values in rows))

    @property
    def size(self) -> tuple[float, float]:
        return 4.8, 0.8 + 0.19 * len(self.inputs)

    def draw(self, figure: Any, ink: Ink) -> None:
        places = np.arange(len(self.inputs))[::-1]
        grid = small_axes(figure, len(self.sums), 3, sharex=True, sharey=True)
        for axes, (label, sums) in zip(grid, self.sums.items(), strict=True):
            axes.barh(places, sums, 0.62, color=ink.series[0], alpha=0.9)
            axes.set_yticks(places, [shortened(name) for name in self.inputs])
            axes.set_title(label, fontsize=8)
            axes.grid(False, axis="y")
