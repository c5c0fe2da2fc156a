"""Which charts show how training went?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain.numbers import number
from mlptrain.report import figures
from mlptrain.report.charts.base import (
    CURVES,
    DASHES,
    DOTTED,
    LINE_POINTS,
    Chart,
    Ink,
    Sheet,
    Subject,
    Values,
    finite,
    legend,
    log_scale,
    small_axes,
)
from mlptrain.report.source import Source, hidden_activations
from mlptrain.runs.history import Columns
from mlptrain.runs.recorder import last_steps

WIDE = 30
"""A ratio of the largest to the smallest value from which on an axis is logarithmic."""
LAYERS = 6
"""Histograms of one chart."""


@dataclass(frozen=True)
class Curves(Chart):
    """Columns of the history by epoch, or of other figures by another unit."""

    unit: ClassVar[str] = "epoch"
    epochs: Values
    curves: dict[str, Values]
    """By label; NaN where there is no value."""
    best: Mapping[str, int] = field(default_factory=dict)
    """The epoch that is marked on a curve, by label."""
    note: str = ""

    @classmethod
    def found(cls, history: Columns, labels: dict[str, str], best: int | None = None, note: str = "") -> Self | None:
        """The curves of the columns that have values, by label."""
        columns = {label: as_array(history[name]) for name, label in labels.items() if name in history}
        known = {label: values for label, values in columns.items() if np.isfinite(values).any()}
        marked = {} if best is None or not known else {[*known][-1]: best}
        return cls(as_array(history[cls.unit]), known, marked, note) if known else None

    @classmethod
    def joined(cls, columns: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]], **more: Any) -> Self:
        """The curves of several runs by label, each with its epochs and its values."""
        epochs = sorted({epoch for some, _ in columns.values() for epoch in some if epoch is not None})
        found = {}
        for label, (some, values) in columns.items():
            known = dict(zip(some, values, strict=True))
            found[label] = as_array([known.get(epoch) for epoch in epochs])
        return cls(np.array(epochs), found, **more)

    @property
    def log(self) -> bool:
        """Whether the curves need a logarithmic axis."""
        joined = np.concatenate([values[np.isfinite(values)] for values in self.curves.values()])
        positive = joined[joined > 0]
        return bool((joined >= 0).all() and len(positive) and positive.max() > WIDE * positive.min())

    @property
    def description(self) -> str:
        ends = "; ".join(
            f"{label} from {number(ends_of(v)[0])} to {number(ends_of(v)[1])}" for label, v in self.curves.items()
        )
        best = ", ".join(dict.fromkeys(map(str, self.best.values())))
        star = f" The star is the best epoch, {best}." if best else ""
        scale = " The vertical axis is logarithmic." if self.log else ""
        return f"{len(self.epochs)} {self.unit}s: {ends}.{star}{scale}{self.note}"

    @property
    def sheet(self) -> Sheet:
        epochs, *some = figures.thinned(25, self.epochs, *self.curves.values())
        rows = zip(epochs.tolist(), *(values.tolist() for values in some), strict=True)
        return Sheet(
            (self.unit, *self.curves),
            tuple((f"{epoch:.0f}", *(number(finite(v)) for v in row)) for epoch, *row in rows),
        )

    def draw(self, figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        dot = "o" if len(self.epochs) == 1 else None
        for i, (label, values) in enumerate(self.curves.items()):
            points = figures.thinned(LINE_POINTS, self.epochs, values)
            colour, dash = ink.series[i % len(ink.series)], DASHES[(i + i // len(ink.series)) % len(DASHES)]
            axes.plot(*points, color=colour, linestyle=dash, marker=dot, label=self._label(label))
        if self.log:
            log_scale(axes.yaxis)
        for i, (label, epoch) in enumerate(self.best.items()):
            star = f"best: epoch {epoch}" if len(self.best) == 1 else "best epoch" if not i else "_nolegend_"
            self._mark_best(axes, ink, label, star)
        axes.set_xlabel(self.unit)
        axes.locator_params(axis="x", integer=True)
        legend(axes, ink)

    def _label(self, label: str) -> str:
        """A curve in the legend; where several have a star, with its best epoch."""
        return f"{label}, best: {self.best[label]}" if len(self.best) > 1 and label in self.best else label

    def _mark_best(self, axes: Any, ink: Ink, label: str, star: str) -> None:
        epoch = self.best[label]
        height = self.curves[label][self.epochs == epoch][:1]
        axes.axvline(epoch, color=ink.faint, linewidth=1, linestyle=DOTTED, zorder=1)
        axes.plot([epoch], height, "*", markersize=11, color=ink.text, label=star, zorder=5)


@dataclass(frozen=True)
class AskedCurves(Curves):
    """Curves of one or several runs, with an axis as asked."""

    name: ClassVar[str] = "curves"
    title: ClassVar[str] = ""
    log: bool = False

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None


class CurvesOfRuns(Curves):
    """A column of the history of several runs."""

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None


class TrainingLosses(CurvesOfRuns):
    """The training losses of several runs."""

    name: ClassVar[str] = "training-losses"
    title: ClassVar[str] = "Training loss by epoch"


class ValidationLosses(CurvesOfRuns):
    """The validation losses of several runs."""

    name: ClassVar[str] = "validation-losses"
    title: ClassVar[str] = "Validation loss by epoch"


class GradientsOfRuns(CurvesOfRuns):
    """The norms of the gradient of the first and the last layer of several runs."""

    name: ClassVar[str] = "gradients-of-runs"
    title: ClassVar[str] = "Gradient norm of the first and the last layer"


class DeadUnits(CurvesOfRuns):
    """The share of the units of each layer that are zero on every training row."""

    name: ClassVar[str] = "dead-units"
    title: ClassVar[str] = "Share of dead units by layer"


class Losses(Curves):
    """The losses of training and validation, with the best epoch."""

    name: ClassVar[str] = "losses"
    title: ClassVar[str] = "Loss by epoch"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        source = subject.source
        labels = {"train_loss": "training", "validation_loss": "validation"}
        return cls.found(source.history, labels, kept_epoch(source))


class Figure(Curves):
    """The main metric of the validation rows."""

    name: ClassVar[str] = "metric"
    title: ClassVar[str] = "Validation metric by epoch"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        source = subject.source
        names = [metric.name() for metric in source.plan.transforms.task.metrics if metric.main]
        return cls.found(source.history, {f"validation_{name}": name for name in names}, kept_epoch(source))


class Gradients(Curves):
    """The norm of the gradient of each layer."""

    name: ClassVar[str] = "gradients"
    title: ClassVar[str] = "Gradient norm by layer"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        history = subject.source.history
        names = [name for name in history if name.startswith("gradient_norm.layers.")]
        places = np.unique(np.linspace(0, len(names) - 1, min(len(names), CURVES)).round().astype(int))
        labels = {names[i]: layer_label(int(names[i].rpartition(".")[2]), subject.source) for i in places}
        left = len(names) - len(labels)
        return cls.found(history, labels, note=f" {left} layers between them are left out." if left else "")


class LastSteps(Curves):
    """The last steps before training diverged."""

    name: ClassVar[str] = "divergence"
    title: ClassVar[str] = "The last steps before training diverged"
    unit: ClassVar[str] = "step"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        source = subject.source
        steps = last_steps(source.path) if source.stopped == "diverged" else None
        labels = {"loss": "loss of the batch", "gradient_norm": "gradient norm"}
        return None if steps is None else cls.found(steps, labels)


def as_array(values: Sequence[float | None]) -> Values:
    """A column of the history; NaN where it has no value."""
    return np.array([np.nan if value is None else value for value in values], np.float64)


def ends_of(values: Values) -> tuple[float, float]:
    """The first and the last known value."""
    known = values[np.isfinite(values)]
    return float(known[0]), float(known[-1])


def layer_label(layer: int, source: Source) -> str:
    """A layer by its number, counted from 0 as in the names of its tensors."""
    last = len(source.plan.layers) - 1
    return "linear path" if layer > last else "output layer" if layer == last else f"layer {layer}"


def kept_epoch(source: Source) -> int | None:
    """The epoch whose weights are kept, if the history has it."""
    known = source.progress.best_epoch if source.progress is not None else (source.summary or {}).get("best_epoch")
    return known if known in source.history["epoch"] else None


@dataclass(frozen=True)
class Histograms(Chart):
    """A small histogram for each layer."""

    layers: dict[str, Values]
    note: str
    same_axis: ClassVar[bool] = False
    """Whether all have the same horizontal axis, to be compared."""

    @property
    def shown(self) -> dict[str, Values]:
        """The layers that are drawn."""
        return {name: self.layers[name] for name in [*self.layers][:LAYERS]}

    @property
    def description(self) -> str:
        left = len(self.layers) - len(self.shown)
        more = f" {left} more layers are left out." if left else ""
        return f"{self.note} The outermost 0.1 % on both sides are cut off.{more}"

    @property
    def sheet(self) -> Sheet:
        measures = (np.mean, np.std, np.min, np.max)
        rows = tuple(
            (name, f"{len(values):,}", *(number(finite(float(measure(values)))) for measure in measures))
            for name, values in self.layers.items()
        )
        return Sheet(("layer", "values", "mean", "standard deviation", "lowest", "highest"), rows)

    @property
    def size(self) -> tuple[float, float]:
        return 4.8, 0.25 + 1.6 * -(-len(self.shown) // 3)

    def draw(self, figure: Any, ink: Ink) -> None:
        grid = small_axes(figure, len(self.shown), 3, sharex=self.same_axis)
        for axes, (name, values) in zip(grid, self.shown.items(), strict=True):
            edges, counts, _ = figures.histogram(values)
            axes.stairs(counts, edges, fill=True, color=ink.series[0], alpha=0.9)
            axes.set_title(name, fontsize=8)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
            axes.grid(False)


class Weights(Histograms):
    """Histograms of the weights of each layer."""

    name: ClassVar[str] = "weights"
    title: ClassVar[str] = "Weights by layer"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        model, found = subject.source.model, dict[str, Values]()
        for tensor in model.network.layout.parameters:
            if len(tensor.spec.shape) > 1:
                label, values = layer_label(tensor.layer, subject.source), tensor.view(model.parameters).ravel()
                found[label] = np.append(found.get(label, np.zeros(0)), values)
        of = "" if subject.source.plan.members is None else f", of all {subject.source.plan.members} networks"
        return cls(found, f"The weights that are kept, without biases{of}.") if found else None


class WeightsOfRuns(Histograms):
    """Histograms of the weights of the first layer of several runs."""

    name: ClassVar[str] = "weights-of-runs"
    title: ClassVar[str] = "Weights of the first layer"
    same_axis: ClassVar[bool] = True

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        return None


class Activations(Histograms):
    """Histograms of the activations of each hidden layer."""

    name: ClassVar[str] = "activations"
    title: ClassVar[str] = "Activations by layer"

    @classmethod
    def of(cls, subject: Subject) -> Self | None:
        source, measured = subject.source, subject.source.measured
        found = {} if measured is None else hidden_activations(source.model, measured.part)
        if measured is None or not found:
            return None
        rows = f"Of {len(next(iter(found.values()))):,} {measured.name} rows"
        of = "" if source.plan.members is None else f", in the first of {source.plan.members} networks"
        dead = ", ".join(f"{name} {share:.0%}" for name, share in always_zero(found))
        zero = f" Units that are zero in all of these rows: {dead}." if dead else ""
        return cls(
            {f"layer {i}": values.astype(np.float64).ravel() for i, values in found.items()}, f"{rows}{of}.{zero}"
        )


def always_zero(found: dict[int, NDArray[Any]]) -> Iterator[tuple[str, float]]:
    """The layers with units that are always zero, and their share."""
    for i, values in found.items():
        share = float((values == 0).all(axis=0).mean())
        if share:
            yield f"layer {i}", share
