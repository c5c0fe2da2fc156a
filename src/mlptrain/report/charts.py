"""Which charts does a report have? One function for each, in the order of the page.

A chart function takes what is known of a run and returns a `Chart`, or None where the run has nothing to draw. It says
what is drawn; `report/drawing.py` turns it into SVG and PNG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.report import figures
from mlptrain.report.importance import Dependence, Importances
from mlptrain.report.source import Measured, Source, hidden_activations
from mlptrain.report.text import number, shortened
from mlptrain.runs.history import Columns

CURVES = 5
"""Classes, layers or outputs with a curve of their own in one chart."""
CELLS = 12
"""Classes of a confusion matrix; the others are added up."""
POINTS = 1500
"""Points of a scatter plot."""
LINE_POINTS = 400
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)), (0, (8, 3)))
"""So that curves can be told apart without colour."""


@dataclass(frozen=True)
class Sheet:
    """The numbers behind a chart."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Ink:
    """The colours of a chart."""

    text: str
    faint: str
    grid: str
    paper: str
    series: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """One picture, with what it shows in words and in numbers."""

    name: str
    """For files and anchors."""
    title: str
    description: str
    sheet: Sheet
    draw: Callable[[Any, Ink], None]
    """Draws on a matplotlib figure."""
    size: tuple[float, float] = (4.8, 3.2)
    """Width and height in inches."""


@dataclass(frozen=True)
class Subject:
    """What charts are drawn of."""

    source: Source
    importances: Importances | None = None
    dependences: tuple[Dependence, ...] = ()


ChartMaker = Callable[[Subject], Chart | None]


# --- training


def losses(subject: Subject) -> Chart | None:
    """The losses of training and validation, with the best epoch."""
    history = subject.source.history
    names = [name for name in ("train_loss", "validation_loss") if name in history]
    return curves(subject, "losses", "Loss by epoch", names)


def metric(subject: Subject) -> Chart | None:
    """The main metric of the validation rows."""
    task = subject.source.plan.transforms.task
    names = [f"validation_{metric.name()}" for metric in task.metrics if metric.main]
    found = [name for name in names if name in subject.source.history]
    return (
        curves(subject, "metric", f"{found[0].removeprefix('validation_')} by epoch", found, False) if found else None
    )


def gradients(subject: Subject) -> Chart | None:
    """The norm of the gradient of each layer."""
    history = subject.source.history
    names = [name for name in history if name.startswith("gradient_norm.layers.")]
    chosen = (
        names
        if len(names) <= CURVES
        else [names[i] for i in np.linspace(0, len(names) - 1, CURVES).round().astype(int)]
    )
    left = f" {len(names) - len(chosen)} layers between them are left out." if len(names) > len(chosen) else ""
    labels = {name: layer_label(int(name.rpartition(".")[2]), subject.source) for name in chosen}
    return curves(subject, "gradients", "Gradient norm by layer", chosen, best=False, labels=labels, more=left)


def layer_label(layer: int, source: Source) -> str:
    """A layer by its number, counted from 0 as in the names of its tensors."""
    last = len(source.plan.layers) - 1
    return "linear path" if layer > last else "output layer" if layer == last else f"layer {layer}"


def curves(
    subject: Subject,
    name: str,
    title: str,
    columns: Sequence[str],
    log: bool = True,
    best: bool = True,
    labels: dict[str, str] | None = None,
    more: str = "",
) -> Chart | None:
    """Columns of the history by epoch."""
    history = subject.source.history
    epochs, found = known(history, columns)
    if not found:
        return None
    kept = kept_epoch(subject.source) if best else None
    labels = labels or {column: column.replace("_", " ") for column in columns}
    log = log and is_wide(list(found.values()))

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        for i, (column, values) in enumerate(found.items()):
            few = figures.thinned(LINE_POINTS * 2, epochs, values)
            mark = "o" if len(epochs) == 1 else None
            axes.plot(*few, color=ink.series[i], linestyle=DASHES[i], marker=mark, label=labels[column])
        if log:
            axes.set_yscale("log")
        if kept is not None:
            mark_epoch(axes, ink, kept, list(found.values())[-1][int(np.flatnonzero(epochs == kept)[0])])
        axes.set_xlabel("epoch")
        legend(axes, ink)

    ends = "; ".join(f"{labels[c]} from {number(first(v))} to {number(first(v[::-1]))}" for c, v in found.items())
    star = f" The best epoch, {kept}, is marked." if kept is not None else ""
    scale = " The vertical axis is logarithmic." if log else ""
    rows = figures.thinned(25, epochs, *found.values())
    sheet = Sheet(
        ("epoch", *(labels[c] for c in found)),
        tuple((f"{row[0]:.0f}", *(number(finite(value)) for value in row[1:])) for row in zip(*rows, strict=True)),
    )
    text = f"{len(epochs)} epochs: {ends}.{star}{scale}{more}"
    return Chart(name, title, text, sheet, draw)


def known(history: Columns, columns: Sequence[str]) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """The epochs, and those of the columns that have a value."""
    arrays = {name: np.array([np.nan if v is None else v for v in history[name]]) for name in columns}
    return np.array(history["epoch"], np.float64), {n: v for n, v in arrays.items() if np.isfinite(v).any()}


def kept_epoch(source: Source) -> int | None:
    """The epoch whose weights are kept, if there is one."""
    if source.summary is not None and source.summary["stopped"] != "diverged":
        epoch = source.summary["best_epoch"]
    else:
        progress = source.progress
        epoch = None if progress is None else progress.best_epoch
    return epoch if epoch is not None and epoch < len(source.history["epoch"]) else None


def is_wide(values: Sequence[NDArray[np.float64]]) -> bool:
    """Whether curves need a logarithmic axis."""
    joined = np.concatenate([each[np.isfinite(each)] for each in values])
    return bool((joined > 0).all() and joined.max() > 30 * joined.min())


def mark_epoch(axes: Any, ink: Ink, epoch: int, value: float) -> None:
    """Mark the best epoch by a line and a star."""
    axes.axvline(epoch, color=ink.faint, linewidth=1, linestyle=(0, (2, 2)), zorder=1)
    axes.plot(
        [epoch], [value], marker="*", markersize=11, color=ink.text, linestyle="none", label=f"best: epoch {epoch}"
    )


def weights(subject: Subject) -> Chart | None:
    """Histograms of the weights of each layer."""
    model = subject.source.model
    if model is None:
        return None
    found: dict[str, NDArray[np.float64]] = {}
    for tensor in model.network.layout.parameters:
        if len(tensor.spec.shape) > 1:
            values = tensor.view(model.parameters).ravel()
            label = layer_label(tensor.layer, subject.source)
            found[label] = np.append(found.get(label, np.zeros(0)), values)
    return histograms("weights", "Weights by layer", found, "The kept weights, without biases.")


def activations(subject: Subject) -> Chart | None:
    """Histograms of the activations of each hidden layer."""
    source, measured = subject.source, subject.source.measured
    if source.model is None or measured is None:
        return None
    found = hidden_activations(source.model, measured.part)
    named = {f"layer {i}": values.astype(np.float64).ravel() for i, values in found.items()}
    of = "" if source.plan.members is None else f", of the first of {source.plan.members} networks"
    dead = [f"{name} {share:.0%}" for name, share in zeros(found)]
    rows = f"{len(next(iter(found.values()), ())):,} of the {measured.name} rows{of}."
    text = f" Units that are zero on all of these rows: {', '.join(dead)}." if dead else ""
    return histograms("activations", "Activations by layer", named, f"On {rows}{text}")


def zeros(found: dict[int, NDArray[Any]]) -> Iterator[tuple[str, float]]:
    """The layers with units that are always zero, and their share."""
    for i, values in found.items():
        share = float((values == 0).all(axis=0).mean())
        if share:
            yield f"layer {i}", share


def histograms(name: str, title: str, found: dict[str, NDArray[np.float64]], about: str) -> Chart | None:
    """A small histogram for each name, at most six."""
    shown = {key: found[key] for key in list(found)[:6] if len(found[key])}
    if not shown:
        return None
    left = f" {len(found) - len(shown)} more layers are left out." if len(found) > len(shown) else ""
    bars = {key: figures.histogram(values) for key, values in shown.items()}

    def draw(figure: Any, ink: Ink) -> None:
        columns = min(3, len(bars))
        grid = figure.subplots(-(-len(bars) // columns), columns, squeeze=False).ravel()
        for axes, (key, (edges, counts, _)) in zip(grid, bars.items(), strict=False):
            axes.stairs(counts, edges, fill=True, color=ink.series[0], alpha=0.85)
            axes.set_title(key, fontsize=8, color=ink.text)
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=4)
            axes.grid(False)
        for axes in grid[len(bars) :]:
            axes.set_visible(False)

    rows = [
        (key, f"{len(v):,}", *(number(float(f(v))) for f in (np.mean, np.std, np.min, np.max)))
        for key, v in shown.items()
    ]
    sheet = Sheet(("layer", "values", "mean", "std", "lowest", "highest"), tuple(rows))
    height = 1.75 * -(-len(bars) // 3) + (0.3 if len(bars) <= 3 else 0)
    return Chart(name, title, f"{about} Outermost 0.1 % cut off.{left}", sheet, draw, (4.8, max(1.8, height)))


# --- classification


def confusion(subject: Subject) -> Chart | None:
    """How often each class is taken for each other one."""
    measured = subject.source.measured
    found = None if measured is None else subject.source.plan.transforms.task.confusion(measured.outcome)
    if measured is None or found is None:
        return None
    names, table, left = condensed(*found)
    shares = table / np.maximum(1, table.sum(axis=1, keepdims=True))

    def draw(figure: Any, ink: Ink) -> None:
        axes, n = figure.subplots(), len(names)
        for i in range(n):
            for j in range(n):
                axes.bar(
                    j,
                    1,
                    1,
                    i - 0.5,
                    color=ink.series[0],
                    alpha=0.06 + 0.9 * shares[i, j],
                    edgecolor=ink.paper,
                    linewidth=1.5,
                )
                strong = shares[i, j] > 0.55
                axes.text(
                    j,
                    i,
                    f"{table[i, j]:,}",
                    ha="center",
                    va="center",
                    fontsize=9 if n < 8 else 7,
                    color=ink.paper if strong else ink.text,
                )
        short = [shortened(name, 14) for name in names]
        axes.set_xticks(range(n), short, rotation=0 if n < 5 else 45, ha="center" if n < 5 else "right")
        axes.set_yticks(range(n), short)
        axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xlabel="predicted", ylabel="true")
        axes.grid(False)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)

    right = int(np.trace(found[1]))
    rows = tuple((name, *(f"{count:,}" for count in row)) for name, row in zip(names, table.tolist(), strict=True))
    text = f"{right:,} of {int(found[1].sum()):,} rows are right. A row for each true class; the darker, the larger its share.{left}"
    side = 3.2 if len(names) < 5 else 4.4
    return Chart("confusion", "Confusion matrix", text, Sheet(("true \\ predicted", *names), rows), draw, (4.8, side))


def condensed(names: Sequence[str], table: NDArray[np.int64]) -> tuple[list[str], NDArray[np.int64], str]:
    """A confusion matrix of at most `CELLS` classes: the largest ones, and the others added up."""
    if len(names) <= CELLS:
        return list(names), table, ""
    largest = np.sort(np.argsort(-table.sum(axis=1), kind="stable")[: CELLS - 1])
    place = np.full(len(names), CELLS - 1)
    place[largest] = np.arange(CELLS - 1)
    small = np.zeros((CELLS, CELLS), np.int64)
    np.add.at(small, (place[:, None], place[None, :]), table)
    others = len(names) - len(largest)
    note = f" The {len(largest)} largest classes; the other {others} are added up, also where they are taken for each other."
    return [*(names[i] for i in largest), f"{others} others"], small, note


def ranked_curves(
    subject: Subject, make: Callable[[figures.Flags, figures.Values], tuple[figures.Values, figures.Values]]
) -> tuple[dict[str, tuple[figures.Values, figures.Values]], str]:
    """A curve for each of the largest classes or labels, and a note on the others."""
    measured = subject.source.measured
    rankings = [] if measured is None else measured.outcome.rankings
    names = ranked_names(subject)
    usable = [i for i, (positive, _) in enumerate(rankings) if positive.any() and not positive.all()]
    largest = sorted(usable, key=lambda i: -int(rankings[i][0].sum()))[:CURVES]
    note = f" The {len(largest)} largest of {len(usable)} classes." if len(usable) > len(largest) else ""
    return {names[i]: make(*rankings[i]) for i in sorted(largest)}, note


def ranked_names(subject: Subject) -> list[str]:
    """The name of each ranking of an outcome: a class, a label or the positive class."""
    task = subject.source.plan.transforms.task
    if task.positive is not None:
        return [task.positive]
    return list(task.columns if task.form == "labels" else getattr(task, "classes", ()))


def roc(subject: Subject) -> Chart | None:
    """The true positive rate against the false positive rate."""
    found, note = ranked_curves(subject, figures.roc_curve)
    if not found:
        return None
    areas = {name: float(np.trapezoid(true, false)) for name, (false, true) in found.items()}
    text = ", ".join(f"{name} {area:.4f}" for name, area in areas.items())
    about = f"How many rows of a class are found, by how many others are taken for it. Area under the curve: {text}. The diagonal is chance.{note}"
    labels = {name: f"{shortened(name, 18)} ({areas[name]:.3f})" for name in found}
    return square(
        "roc", "ROC curve", about, ("false positive rate", "true positive rate"), found, labels, diagonal=True
    )


def precision_recall(subject: Subject) -> Chart | None:
    """The precision by the recall."""
    found, note = ranked_curves(subject, figures.precision_recall_curve)
    if not found:
        return None
    labels = {name: shortened(name, 18) for name in found}
    about = f"How many of the rows that are taken for a class are of it, by how many of its rows are found.{note}"
    return square("precision-recall", "Precision and recall", about, ("recall", "precision"), found, labels)


def square(
    name: str,
    title: str,
    about: str,
    axes_names: tuple[str, str],
    found: dict[str, tuple[figures.Values, figures.Values]],
    labels: dict[str, str],
    diagonal: bool = False,
) -> Chart:
    """Curves from 0 to 1 in both directions."""
    few = {key: figures.thinned(LINE_POINTS, *curve) for key, curve in found.items()}

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        if diagonal:
            axes.plot([0, 1], [0, 1], color=ink.faint, linewidth=1, linestyle=(0, (2, 2)))
        for i, (key, (x, y)) in enumerate(few.items()):
            axes.plot(x, y, color=ink.series[i], linestyle=DASHES[i], label=labels[key], drawstyle="default")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=axes_names[0], ylabel=axes_names[1])
        legend(axes, ink)

    rows = []
    for key, curve in found.items():
        x, y = figures.thinned(12, *curve)
        rows += [(key, number(a), number(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    return Chart(name, title, about, Sheet(("class", *axes_names), tuple(rows)), draw)


def calibration(subject: Subject) -> Chart | None:
    """How often predicted probabilities come true."""
    measured = subject.source.measured
    rankings = [] if measured is None else measured.outcome.rankings
    if not rankings:
        return None
    positive = np.concatenate([each for each, _ in rankings])
    probability = figures.softly(np.concatenate([margins for _, margins in rankings]))
    found = figures.calibration(positive, probability)

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=ink.faint, linewidth=1, linestyle=(0, (2, 2)), label="perfect")
        axes.plot(found.predicted, found.observed, color=ink.series[0], marker="o", markersize=5, label="model")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability", ylabel="share that came true")
        legend(axes, ink)

    rows = zip(found.predicted.tolist(), found.observed.tolist(), found.rows.tolist(), strict=True)
    sheet = Sheet(("predicted", "came true", "rows"), tuple((number(p), number(o), f"{n:,}") for p, o, n in rows))
    what = "of each class against the others" if len(rankings) > 1 else f"of {ranked_names(subject)[0]}"
    text = (
        f"Probabilities {what}, in bins of equal size. On the diagonal they are right; mean distance {found.error:.4f}."
    )
    return Chart("calibration", "Calibration", text, sheet, draw)


def threshold(subject: Subject) -> Chart | None:
    """What another threshold would give."""
    measured, task = subject.source.measured, subject.source.plan.transforms.task
    if measured is None or task.cutoff is None or len(measured.outcome.rankings) != 1:
        return None
    cutoff = task.cutoff
    ((positive, margins),) = measured.outcome.rankings
    found = figures.thresholds(positive, figures.softly(margins))

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        for i, key in enumerate(("precision", "recall", "f1", "accuracy")):
            axes.plot(found.threshold, getattr(found, key), color=ink.series[i], linestyle=DASHES[i], label=key)
        axes.axvline(cutoff, color=ink.faint, linewidth=1, linestyle=(0, (2, 2)), label=f"used: {cutoff:.3g}")
        axes.set(xlim=(0, 1), ylim=(-0.02, 1.02), xlabel=f"predict {shortened(task.positive or '', 20)} above")
        legend(axes, ink)

    rows = [
        (
            f"{found.threshold[i]:.2f}",
            *(number(finite(float(getattr(found, k)[i]))) for k in ("precision", "recall", "f1", "accuracy")),
        )
        for i in range(0, 101, 5)
    ]
    best = int(np.argmax(found.f1))
    text = f"Figures of class {task.positive}, when it is predicted above each probability; {cutoff:.4g} is used. F1 is highest, {found.f1[best]:.4f}, at {found.threshold[best]:.2f} on these rows."
    return Chart(
        "threshold", "Threshold", text, Sheet(("threshold", "precision", "recall", "F1", "accuracy"), tuple(rows)), draw
    )


# --- regression


def values_of(measured: Measured | None) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """True and predicted values of the first target column."""
    if measured is None or measured.outcome.margins is not None or measured.outcome.truth.ndim != 2:
        return None
    return measured.outcome.truth[:, 0].astype(np.float64), measured.outcome.predicted[:, 0].astype(np.float64)


def some_points(measured: Measured) -> NDArray[np.intp]:
    """At most `POINTS` rows, evenly by number."""
    rows = len(measured.part)
    return np.unique(np.linspace(0, rows - 1, min(rows, POINTS)).round().astype(np.intp))


def sampled(measured: Measured) -> str:
    """A note on the rows of a scatter plot."""
    return f" {POINTS:,} of the rows are drawn." if len(measured.part) > POINTS else ""


def target_note(subject: Subject) -> str:
    """A note where there are several targets."""
    names = subject.source.plan.transforms.task.columns
    return f" Of {names[0]}, the first of {len(names)} targets." if len(names) > 1 else ""


def predicted_true(subject: Subject) -> Chart | None:
    """Predicted against true values."""
    measured, found = subject.source.measured, values_of(subject.source.measured)
    if measured is None or found is None:
        return None
    truth, predicted = found
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))
    log = low > 0 and high > 100 * low
    some = some_points(measured)

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        axes.plot([low, high], [low, high], color=ink.faint, linewidth=1, linestyle=(0, (2, 2)))
        axes.plot(truth[some], predicted[some], "o", markersize=3, color=ink.series[0], alpha=0.35, markeredgewidth=0)
        if log:
            axes.set(xscale="log", yscale="log")
        axes.set(xlabel="true", ylabel="predicted")

    parts = figures.deciles(truth, predicted)
    rows = tuple((f"{number(part.low)} to {number(part.high)}", number(part.mean_error)) for part in parts)
    text = f"On the diagonal the prediction is right.{' Both axes are logarithmic.' if log else ''}{sampled(measured)}{target_note(subject)}"
    return Chart("predicted-true", "Predicted and true", text, Sheet(("true", "mean error"), rows), draw)


def residuals(subject: Subject) -> Chart | None:
    """The distribution of the errors."""
    measured, found = subject.source.measured, values_of(subject.source.measured)
    if measured is None or found is None:
        return None
    error = found[1] - found[0]
    edges, counts, outside = figures.histogram(error, 50)

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        axes.stairs(counts, edges, fill=True, color=ink.series[0], alpha=0.85)
        axes.axvline(0, color=ink.text, linewidth=1)
        axes.set(xlabel="predicted minus true", ylabel="rows")

    quantiles = [(f"{q:.0%}", number(float(np.quantile(error, q)))) for q in (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)]
    cut = f" {outside} rows lie outside of the picture." if outside else ""
    text = f"Mean {number(float(error.mean()))}, median {number(float(np.median(error)))}, half of the rows within {number(float(np.median(np.abs(error))))}.{cut}{target_note(subject)}"
    return Chart("residuals", "Errors", text, Sheet(("quantile", "predicted minus true"), tuple(quantiles)), draw)


def residuals_by_prediction(subject: Subject) -> Chart | None:
    """The errors by the predicted value."""
    measured, found = subject.source.measured, values_of(subject.source.measured)
    if measured is None or found is None:
        return None
    truth, predicted = found
    some, error = some_points(measured), predicted - truth
    parts = [
        part for part in np.array_split(np.argsort(predicted, kind="stable"), min(20, len(predicted))) if len(part)
    ]
    middle = np.array([(np.median(predicted[part]), np.median(error[part])) for part in parts])

    def draw(figure: Any, ink: Ink) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=ink.faint, linewidth=1, linestyle=(0, (2, 2)))
        axes.plot(predicted[some], error[some], "o", markersize=3, color=ink.series[0], alpha=0.3, markeredgewidth=0)
        axes.plot(middle[:, 0], middle[:, 1], color=ink.series[1], linewidth=2, label="median")
        axes.set(xlabel="predicted", ylabel="predicted minus true")
        legend(axes, ink)

    rows = tuple((number(a), number(b)) for a, b in middle.tolist())
    text = f"Where the line leaves 0, predictions of that size are too high or too low.{sampled(measured)}{target_note(subject)}"
    return Chart(
        "residuals-by-prediction", "Errors by prediction", text, Sheet(("predicted", "median error"), rows), draw
    )


def error_deciles(subject: Subject) -> Chart | None:
    """The size of the error by tenths of the rows."""
    found = values_of(subject.source.measured)
    if found is None:
        return None
    parts = figures.deciles(*found)

    def draw(figure: Any, ink: Ink) -> None:
        axes, places = figure.subplots(), np.arange(len(parts))
        axes.bar(
            places - 0.2,
            [part.mean_absolute_error for part in parts],
            0.4,
            color=ink.series[0],
            label="size of the error",
        )
        axes.bar(
            places + 0.2,
            [part.mean_error for part in parts],
            0.4,
            color=ink.series[1],
            label="mean error",
            hatch="///",
            edgecolor=ink.paper,
            linewidth=0,
        )
        axes.axhline(0, color=ink.text, linewidth=1)
        axes.set_xticks(
            places, [shortened(number(part.high), 9) for part in parts], rotation=45, ha="right", fontsize=7
        )
        axes.set(xlabel="true value up to")
        legend(axes, ink)

    rows = tuple(
        (f"{number(p.low)} to {number(p.high)}", f"{p.rows:,}", number(p.mean_absolute_error), number(p.mean_error))
        for p in parts
    )
    text = f"The rows in tenths, from the lowest true values to the highest. A mean error above 0: predictions are too high.{target_note(subject)}"
    return Chart(
        "error-deciles",
        "Error by true value",
        text,
        Sheet(("true value", "rows", "mean absolute error", "mean error"), rows),
        draw,
    )


# --- columns


def importance(subject: Subject) -> Chart | None:
    """How much the loss rises without each column."""
    found = subject.importances
    if found is None or not found.found:
        return None
    each = found.found[:15]

    def draw(figure: Any, ink: Ink) -> None:
        axes, places = figure.subplots(), np.arange(len(each))[::-1]
        axes.barh(places, [one.rise for one in each], 0.65, color=ink.series[0], alpha=0.9)
        axes.errorbar(
            [one.rise for one in each],
            places,
            xerr=[one.spread for one in each],
            fmt="none",
            ecolor=ink.text,
            elinewidth=1,
        )
        axes.set_yticks(places, [shortened(one.column) for one in each])
        axes.axvline(0, color=ink.text, linewidth=1)
        axes.grid(False, axis="y")
        axes.set(xlabel="rise of the loss when the column is shuffled")

    rows = tuple((one.column, number(one.rise), number(one.spread)) for one in found.found)
    left = (
        f" {found.columns - len(found.found):,} of {found.columns:,} columns are not shown; a search for the largest rises left them out."
        if found.columns > len(found.found)
        else ""
    )
    text = f"The loss of {found.rows:,} rows drawn at random is {number(found.loss)}; so much is added when the values of one column are shuffled, mean and standard deviation of 5 times. Columns that say the same can stand in for each other.{left}"
    return Chart(
        "importance",
        "Which columns matter",
        text,
        Sheet(("column", "rise of the loss", "standard deviation"), rows),
        draw,
        (4.8, 1.1 + 0.24 * max(4, len(each))),
    )


def dependence(subject: Subject) -> Chart | None:
    """The mean prediction by the value of the most important columns."""
    found = subject.dependences
    if not found:
        return None
    names, places, note = output_names(subject)

    def draw(figure: Any, ink: Ink) -> None:
        columns = min(2, len(found))
        grid = figure.subplots(-(-len(found) // columns), columns, squeeze=False, sharey=True)
        for axes, each in zip(grid.ravel(), found, strict=False):
            for i, place in enumerate(places):
                draw_dependence(axes, each, each.predictions[:, place], ink.series[i], DASHES[i], names[i])
            axes.set_xlabel(shortened(each.column, 30))
        for axes in grid.ravel()[len(found) :]:
            axes.set_visible(False)
        if len(places) > 1:
            legend(grid[0, 0], ink)

    rows = [
        (each.column, word(value), *(number(float(p)) for p in prediction[places]))
        for each in found
        for value, prediction in zip(each.values, each.predictions, strict=True)
    ]
    text = (
        f"The mean prediction when all rows have the same value in one column and keep their own in the others.{note}"
    )
    return Chart(
        "dependence",
        "How they matter",
        text,
        Sheet(("column", "value", *names), tuple(rows)),
        draw,
        (4.8, 1.9 * -(-len(found) // 2) + 0.2),
    )


def draw_dependence(
    axes: Any, each: Dependence, heights: NDArray[np.float64], colour: str, dash: Any, label: str
) -> None:
    """One curve, or points for words."""
    if isinstance(each.values, tuple):
        places, most = np.arange(len(each.values)), 12
        axes.plot(
            places, heights, "o", color=colour, markersize=4, linestyle=dash, linewidth=0.8, label=shortened(label, 16)
        )
        step = max(1, len(places) // most + (len(places) > most))
        axes.set_xticks(
            places[::step], [shortened(value, 10) for value in each.values[::step]], rotation=45, ha="right", fontsize=7
        )
    else:
        axes.plot(each.values, heights, color=colour, linestyle=dash, label=shortened(label, 16))
        axes.locator_params(axis="x", nbins=4)


def output_names(subject: Subject) -> tuple[list[str], list[int], str]:
    """The names and the places of the outputs that are drawn, and a note on the others."""
    task, count = subject.source.plan.transforms.task, subject.dependences[0].predictions.shape[1]
    if task.form == "class" and count == 2 and task.positive is not None:
        return [f"probability of {task.positive}"], [1], f" It is the probability of {task.positive}."
    names = list(getattr(task, "classes", task.columns))
    names = (
        names if len(names) == count else ([task.positive] if task.positive else [f"output {i}" for i in range(count)])
    )
    shown = min(4, count)
    note = f" The first {shown} of {count} outputs." if count > shown else ""
    return names[:shown], list(range(shown)), note


def word(value: object) -> str:
    """A value of a column in a table."""
    return value if isinstance(value, str) else number(float(value))  # type: ignore[arg-type]  # a number of NumPy


# --- shared


def legend(axes: Any, ink: Ink) -> None:
    """The names of the curves."""
    axes.legend(loc="best", frameon=False, labelcolor=ink.text, handlelength=2.4)


def finite(value: float) -> float | None:
    """The value, or None if it is not finite."""
    return value if math.isfinite(value) else None


def first(values: NDArray[np.float64]) -> float | None:
    """The first finite value."""
    found = values[np.isfinite(values)]
    return float(found[0]) if len(found) else None


TRAINING: tuple[ChartMaker, ...] = (losses, metric, gradients, weights, activations)
PREDICTIONS: tuple[ChartMaker, ...] = (
    confusion,
    roc,
    precision_recall,
    calibration,
    threshold,
    predicted_true,
    residuals,
    residuals_by_prediction,
    error_deciles,
)
COLUMNS: tuple[ChartMaker, ...] = (importance, dependence)


def made(makers: Sequence[ChartMaker], subject: Subject) -> list[Chart]:
    """The charts that there are."""
    return [chart for maker in makers if (chart := maker(subject)) is not None]
