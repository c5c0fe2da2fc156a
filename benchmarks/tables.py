"""How is a figure written down? Numbers, medians with quartiles, ratios beside targets, tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median, quantiles
from typing import Any

NONE = "–"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, numbers to the right."""
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def number(value: float | None) -> str:
    """A number in three digits or so."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float] | None) -> str:
    """Median and quartiles."""
    if not values:
        return NONE
    low, middle, high = quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return f"{number(middle)} ({number(low)}–{number(high)})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """The median of the ratios within a round; None where somebody has no figures."""
    shares = [one / other for one, other in zip(ours, theirs, strict=False)]
    return median(shares) if shares else None


def judged(value: float | None, target: float | None) -> str:
    """A figure, and whether it meets its target."""
    if value is None or target is None:
        return NONE if value is None else f"{value:.2f}"
    return f"{value:.2f} (≤ {target:g} {'met' if value <= target else '**missed**'})"


def machine_lines(machine: dict[str, Any]) -> Iterator[str]:
    """On what it was measured."""
    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in machine["versions"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']};"
    yield f"Python {machine['python']}; {versions}.\n"
