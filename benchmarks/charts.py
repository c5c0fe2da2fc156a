"""What do the figures look like? Bars beside each other, and curves with their names written on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import EngFormatter, LogLocator

from benchmarks.peers import OURS, PRODUCTS

OURS_COLOUR, THEIR_COLOUR, LIMIT_COLOUR = "#0072B2", "#999999", "#E69F00"
"""Of Okabe and Ito's palette, which those who confuse colours can tell apart; every bar and line is named too."""


def bars(workloads: Sequence[dict[str, Any]], path: Path) -> None:
    """Time of a step of each peer beside mlptrain's: to the right the slower ones, to the left the faster ones."""
    peers = list(workloads[0]["peers"])
    size = 2.7 * len(workloads) + 2, 4.2
    figure, panels = plt.subplots(1, len(workloads), figsize=size, sharey=True, squeeze=False)
    for axes, workload in zip(panels[0], workloads, strict=True):
        panel(axes, {peer: workload["peers"][peer].get("microseconds") for peer in peers})
        axes.set_title(workload["name"])
    panels[0][0].invert_yaxis()
    figure.supxlabel("time of a training step as a multiple of mlptrain's, logarithmic", fontsize=10)
    save(figure, path)


def panel(axes: Any, times: dict[str, list[float] | None]) -> None:
    """The bars of one workload, each with its time."""
    middle = {peer: median(taken) for peer, taken in times.items() if taken}
    share = {peer: time / middle[OURS] for peer, time in middle.items()}
    for place, peer in enumerate(times):
        width = share.get(peer, 1) - 1
        axes.barh(peer, width, left=1, color=colour(peer))
        text = f"{middle[peer]:,.0f} µs" if peer in middle else "failed"
        axes.annotate(text, (1 + max(width, 0), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1, color=OURS_COLOUR, linewidth=1.5)
    axes.set_xscale("log")
    low, high = min(share.values()) / 1.3, max(share.values())
    axes.set_xlim(low, high * (high / low) ** 0.5)  # room for the times
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 30 else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def colour(peer: str) -> str:
    """Ours stand out, and so does the limit."""
    return OURS_COLOUR if peer.startswith(OURS) else LIMIT_COLOUR if peer == PRODUCTS else THEIR_COLOUR


LINES = {"mlptrain": "#0072B2", "PyTorch": "#D55E00", "JAX": "#009E73"}
LINE_HEIGHT = 16
"""Of a name beside a line, in pixels."""


def curves(measured: dict[str, Any], path: Path) -> None:
    """Time of a step against the size of the problem, one panel a size, both axes logarithmic."""
    figure, panels = plt.subplots(2, 2, figsize=(11, 8.5))
    for axes, (name, points) in zip(panels.flat, measured.items(), strict=False):
        axes.set(xscale="log", yscale="log", xlabel=name, ylabel="microseconds a step")
        ends = [line(axes, peer, points) for peer in points[0]["microseconds"]]
        low, high = axes.get_xlim()
        axes.set_xlim(low, high * (high / low) ** 0.2)  # room for the names
        write_names(axes, ends)
        for axis, (lowest, highest) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if highest / lowest < 100 else (1,)))
            axis.set_major_formatter(EngFormatter(sep=""))
            axis.set_minor_formatter("")
        axes.grid(color="#e5e5e5", linewidth=0.5)
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def line(axes: Any, peer: str, points: Sequence[dict[str, Any]]) -> tuple[str, float, float]:
    """Draw one peer's curve; its name, and where it ends."""
    name = next(name for name in LINES if peer.startswith(name))
    there = [point for point in points if point["microseconds"].get(peer)]
    sizes = [point["at"] for point in there]
    times = [median(point["microseconds"][peer]) for point in there]
    axes.plot(sizes, times, color=LINES[name], marker="o", markersize=3, linewidth=1.5)
    return name, sizes[-1], times[-1]


def write_names(axes: Any, ends: Sequence[tuple[str, float, float]]) -> None:
    """Each line's name at its end, one above the other where lines end together."""
    lowest = float("-inf")
    for name, size, time in sorted(ends, key=lambda end: end[2]):
        place = axes.transData.transform((size, time))[1]
        lowest = max(place, lowest + LINE_HEIGHT)
        up = (lowest - place) * 72 / axes.figure.dpi
        axes.annotate(name, (size, time), (6, up), textcoords="offset points", color=LINES[name], va="center")


def save(figure: Any, path: Path) -> None:
    """Write a picture."""
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
