"""How do the reasons of one prediction become one HTML page?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mlptrain.report.build import make_folder
from mlptrain.report.charts.contributions import ContributionBars
from mlptrain.report.page import Section, document, figure
from mlptrain.report.reasons import Reasons, change_text, heading, method
from mlptrain.report.text import escaped
from mlptrain.runs.durable import write_durably


def write_reasons(why: Reasons, out: Path) -> None:
    """Write the page of a prediction to `out`."""
    make_folder(out.parent)
    write_durably(out, document(f"Row {why.row:,}", heading(why), "prediction", sections_of(why)).encode())


def sections_of(why: Reasons) -> Iterator[Section]:
    """A chart for each output, and how it was computed."""
    charts = [figure(ContributionBars(why, output)) for output in range(len(why.outputs))]
    yield Section("contributions", "What each column adds", charts)
    yield Section("change", "What would change it", [card(change_text(why))] if why.change else [])
    yield Section("method", "How this was computed", [card(method(why))])


def card(text: str) -> str:
    """A sentence on its own."""
    return f'<p class="card wide">{escaped(text)}</p>'
