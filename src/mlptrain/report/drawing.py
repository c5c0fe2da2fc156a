"""How does a chart become SVG that follows light and dark, or a PNG?

An SVG is drawn with stand-ins for colours, which are replaced by variables of the page's style sheet.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mlptrain.report.charts.base import Chart, Ink
from mlptrain.report.text import escaped

VARIABLES = ("text", "faint", "grid", "paper", "c1", "c2", "c3", "c4", "c5")
"""The variables of the style sheet, in the order of the stand-ins."""
LIGHT = ("#1c2330", "#667085", "#e4e8ef", "#ffffff", "#2f6fde", "#d9640b", "#1f8a5b", "#8b46c9", "#c2255c")
DARK = ("#e6eaf2", "#94a0b5", "#2a3242", "#151b26", "#7aaeff", "#ffa052", "#5bd6a0", "#c79bff", "#ff8ab5")
NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}
"""Of an SVG: the same chart is the same bytes."""
_STAND_INS = tuple(f"#0a1b{16 * i + 12:02x}" for i in range(len(VARIABLES)))
_FONT = re.compile(r"font: (?:(?:bold|italic|\d{3}) )*([\d.]+)px [^;\"]*")
_REFERENCE = re.compile(r'(\bid="|url\(#|href="#)')


def ink_of(colours: tuple[str, ...]) -> Ink:
    """Colours by their use."""
    text, faint, grid, paper, *series = colours
    return Ink(text, faint, grid, paper, tuple(series))


def svg(chart: Chart) -> str:
    """The chart as an SVG element for a page, with a title and a description for screen readers."""
    with drawn(chart, ink_of(_STAND_INS)) as figure:
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = text.replace("xlink:href", "href")
    text = _REFERENCE.sub(rf"\1{chart.name}-", text)
    text = _FONT.sub(r"font-size: \1px", text)
    for stand_in, name in zip(_STAND_INS, VARIABLES, strict=True):
        text = text.replace(stand_in, f"var(--{name})")
    return with_labels(text, chart)


def with_labels(text: str, chart: Chart) -> str:
    """The SVG with a role, a title and a description, as wide as its place."""
    box = re.search(r'viewBox="([^"]*)"', text)
    assert box is not None
    ids = f"{chart.name}-title {chart.name}-text"
    opening = f'<svg viewBox="{box[1]}" role="img" aria-labelledby="{ids}">'
    labels = f'<title id="{chart.name}-title">{escaped(chart.title)}</title>'
    labels += f'<desc id="{chart.name}-text">{escaped(chart.description)}</desc>'
    return opening + labels + text[text.index(">") + 1 :]


def picture(chart: Chart, suffix: str) -> bytes:
    """The chart as a file for slides, png or svg, on white and with its title."""
    with drawn(chart, ink_of(LIGHT)) as figure:
        if chart.title:
            figure.suptitle(chart.title, fontsize=12, fontweight="bold", color=LIGHT[0])
        metadata = {"Software": None} if suffix == "png" else NO_METADATA
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=220, facecolor=LIGHT[3], metadata=metadata)
    return buffer.getvalue()


@contextmanager
def drawn(chart: Chart, ink: Ink) -> Iterator[Any]:
    """The chart as a matplotlib figure."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(style(ink, chart.name)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a letter that the font does not have
        figure = Figure(figsize=chart.size, layout="constrained")
        figure.patch.set_alpha(0)
        chart.draw(figure, ink)
        yield figure


def style(ink: Ink, salt: str) -> dict[str, Any]:
    """The settings of matplotlib."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "axes.unicode_minus": False,
        "font.size": 9,
        "font.family": "DejaVu Sans",
        "text.color": ink.text,
        "axes.labelcolor": ink.text,
        "axes.edgecolor": ink.faint,
        "axes.facecolor": "none",
        "axes.titlecolor": ink.text,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": ink.grid,
        "grid.linewidth": 0.8,
        "xtick.color": ink.faint,
        "ytick.color": ink.faint,
        "xtick.labelcolor": ink.text,
        "ytick.labelcolor": ink.text,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.fontsize": 8,
        "lines.linewidth": 1.8,
        "hatch.linewidth": 0.6,
    }
