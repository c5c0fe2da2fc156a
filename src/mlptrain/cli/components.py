"""mlptrain components: the families and their variants, or one variant in full."""

from __future__ import annotations

import numpy as np
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from mlptrain.cli.console import print_results, stdout_console
from mlptrain.component import Component, did_you_mean
from mlptrain.errors import UsageError
from mlptrain.nn.activations import Activation
from mlptrain.optim.schedules import Schedule
from mlptrain.reference import catalogue, paragraphs, settings, summary
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import all_paths

EPOCHS = 60  # of the run that a schedule is drawn for


def run(name: str | None) -> None:
    """Run the command."""
    if name is None:
        print_results(*overview())
        return
    words = {
        word: variant for _, _, found in catalogue() for variant in found for word in (variant.name(), *variant.aliases)
    }
    if name not in words:
        if path := next((path for path in all_paths(Experiment) if name in (path, path.rpartition(".")[2])), None):
            raise UsageError(f"no component '{name}'; it is a setting: {path}")
        raise UsageError(
            f"no component '{name}'; {did_you_mean(name, words) or '`mlptrain components` lists them all'}"
        )
    same_name = [
        variant for _, _, found in catalogue() for variant in found if name in (variant.name(), *variant.aliases)
    ]
    for variant in same_name:
        print_results(*details(variant))


def overview() -> list[RenderableType]:
    """One table for each family."""
    parts: list[RenderableType] = []
    width = stdout_console().width - 3  # between the columns
    for title, _, found in catalogue():
        widest = max(len(variant.name()) for variant in found)
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(min_width=widest, no_wrap=True)
        table.add_column(no_wrap=True)
        for variant in found:
            table.add_row(Text(variant.name()), Text(shortened(summary(variant), width - widest)))
        parts += [Text(title, "bold"), table, ""]
    return parts


def shortened(text: str, width: int) -> str:
    """`text`, cut after a word with an ellipsis if it is wider than `width`."""
    return text if len(text) <= width else text[:width].rpartition(" ")[0].rstrip(" ,;:") + "…"


def details(variant: type[Component]) -> list[RenderableType]:
    """Everything about one variant."""
    first, *others = paragraphs(variant)
    also = f" (also {', '.join(variant.aliases)})" if variant.aliases else ""
    parts: list[RenderableType] = [Text(variant.name() + also, "bold"), Text(first)]
    for text in others:
        parts += ["", Text(text)]
    if found := settings(variant, skip=("kind",)):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("setting", "type", "default", "meaning"):
            table.add_column(column)
        for setting in found:
            table.add_row(*map(Text, (setting.name, setting.type, setting.default, setting.meaning)))
        parts += ["", table]
    if issubclass(variant, Activation):
        parts += ["", *activation_plot(variant())]
    if issubclass(variant, Schedule) and not variant().start():  # a state depends on the run
        parts += ["", *schedule_plot(variant())]
    return [*parts, ""]


def activation_plot(activation: Activation) -> list[RenderableType]:
    """f and f' from -4 to 4, and where the kinks are."""
    z = np.linspace(-4, 4, 401)
    lines = plot([z, z], [activation(z), activation.derivative(z)], ["f(z)", "f'(z)"])
    kinks = ", ".join(f"{kink:g}" for kink in activation.kinks)
    return [lines, f"not differentiable at z = {kinks}" if kinks else "smooth everywhere"]


def schedule_plot(schedule: Schedule) -> list[RenderableType]:
    """The factor over a run."""
    epochs = np.arange(EPOCHS)
    factors = np.array([schedule.at(int(epoch), EPOCHS, 1) for epoch in epochs])
    return [plot([epochs], [factors], [f"factor of the learning rate in a run of {EPOCHS} epochs"])]


def plot(xs: list[np.ndarray], ys: list[np.ndarray], labels: list[str]) -> Text:
    """A plot of curves in text."""
    import uniplot

    lowest, highest = min(float(y.min()) for y in ys), max(float(y.max()) for y in ys)
    drawn = uniplot.plot_to_string(
        xs=xs,
        ys=ys,
        lines=True,
        width=60,
        height=14,
        legend_labels=labels,
        color=True,
        y_min=lowest - 0.05,
        y_max=highest + 0.05,
    )
    return Text.from_ansi(drawn if isinstance(drawn, str) else "\n".join(drawn), no_wrap=True)
