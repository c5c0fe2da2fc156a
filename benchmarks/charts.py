"""What do the figures look like? Bars beside each other, and curves with their names written on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.peers import OURS, PRODUCTS

OURS_COLOUR, THEIR_COLOUR, LIMIT_COLOUR = "#0072B2", "#999999", "#E69F00"
"""Of Okabe and Ito's palette, which those who confuse colours can tell apart; every bar and line is named too."""


def bars(workloads: Sequence[dict[str, Any]], path: Path) -> None:
    """Time of a step of each peer, relative to mlptrain; one panel a workload, on a logarithmic scale."""
    peers = list(workloads[0]["peers"])
    size = 2.6 * len(workloads) + 2, 4.2
    figure, panels = plt.subplots(1, len(workloads), figsize=size, sharey=True, squeeze=False)
    for axes, workload in zip(panels[0], workloads, strict=True):
        times = [median(workload["peers"][peer].get("microseconds") or [float("nan")]) for peer in peers]
        relative = [time / times[peers.index(OURS)] for time in times]
        axes.barh(peers, relative, color=[colour(peer) for peer in peers])
        for place, (share, time) in enumerate(zip(relative, times, strict=True)):
            text = f" {time:,.0f} µs" if share == share else " failed"
            axes.text(share if share == share else 1, place, text, va="center", fontsize=8)
        axes.axvline(1, color=OURS_COLOUR, linewidth=1, zorder=0)
        axes.set_xscale("log")
        axes.set_xlim(0.08, 4 * max(share for share in relative if share == share))
        axes.set_title(workload["name"])
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].invert_yaxis()
    figure.supxlabel("time of a training step, mlptrain = 1 (logarithmic; shorter is faster)", fontsize=10)
    save(figure, path)


def colour(peer: str) -> str:
    """Ours stand out, and so does the limit."""
    return OURS_COLOUR if peer.startswith(OURS) else LIMIT_COLOUR if peer == PRODUCTS else THEIR_COLOUR


def save(figure: Any, path: Path) -> None:
    """Write a picture."""
    path.parent.mkdir(exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
