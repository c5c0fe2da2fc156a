"""How does a report become one HTML page that needs nothing else?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import mlptrain
from mlptrain.report import drawing
from mlptrain.report.charts.base import Chart, Sheet, Subject
from mlptrain.report.sheets import about_sheets, class_sheet, metric_sheet, worst_sheet
from mlptrain.report.source import Source
from mlptrain.report.style import STYLE
from mlptrain.report.text import escaped
from mlptrain.report.verdict import Verdict, telling

MARK = "<!-- mlptrain report -->"
"""How a page of ours begins, after its document type."""
META = (
    'charset="utf-8"',
    'name="viewport" content="width=device-width, initial-scale=1"',
    'name="color-scheme" content="light dark"',
)


@dataclass(frozen=True)
class Report:
    """Everything that a page says."""

    subject: Subject
    verdict: Verdict | None
    charts: dict[str, list[Chart]]
    """By section."""

    @property
    def all_charts(self) -> list[Chart]:
        """The charts in the order of the page."""
        return [chart for found in self.charts.values() for chart in found]


def page(report: Report) -> str:
    """The page."""
    source = report.subject.source
    sections = [
        section("training", "Training", *map(figure, report.charts["training"])),
        section(
            "predictions",
            "Predictions",
            about(source),
            *map(figure, report.charts["predictions"]),
            *predictions(source),
        ),
        section("columns", "Columns", *map(figure, report.charts["columns"])),
        section("worst", "Worst rows", *worst(report)),
        section("about", "About this run", *(block(name, table(sheet)) for name, sheet in about_sheets(source))),
    ]
    shown = [(name, title, text) for name, title, text in sections if text]
    links = "".join(f'<a href="#{name}">{escaped(title)}</a>' for name, title, _ in shown)
    name = escaped(source.path.resolve().name)
    head = "".join(f"<meta {each}>" for each in META) + f"<title>{name}: mlptrain report</title><style>{STYLE}</style>"
    body = f"<header><h1>{name}</h1><p>{headline(source)}</p><nav>{links}</nav></header><main>{summary_section(report)}"
    body += (
        f"{''.join(text for _, _, text in shown)}</main><footer>{escaped(f'mlptrain {mlptrain.__version__}')}</footer>"
    )
    return f'<!doctype html>\n{MARK}\n<html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def headline(source: Source) -> str:
    """What was trained, in one line."""
    plan, sizes = source.plan, source.model.network.sizes if source.model else ()
    target = ", ".join(plan.transforms.task.columns[:3])
    network = "-".join(map(str, sizes))
    members = f"{plan.members} networks " if plan.members else "network "
    return escaped(f"{plan.transforms.task.name()} of {target} with {members}{network}")


def summary_section(report: Report) -> str:
    """The verdict, the gaps and the figures."""
    source, verdict = report.subject.source, report.verdict
    state = {"diverged": "Training diverged", None: "Training has not ended"}.get(source.stopped, "")
    parts = []
    if state:
        note = unfinished(source) if source.stopped is None else ""
        parts.append(f'<p class="state">{escaped(state)}.{escaped(note)}</p>')
    if verdict is not None:
        found = report.subject.importances
        sentences = [verdict.ended, verdict.quality, verdict.fit, "" if found is None else telling(found)]
        parts += [f"<p>{escaped(text)}</p>" for text in sentences if text]
    parts += [f'<p class="gap">{escaped(gap)}</p>' for gap in source.gaps]
    parts += warnings(source)
    if verdict is not None and verdict.advice:
        parts.append("<h3>What to try next</h3>" + "".join(advice_item(report, i) for i in range(len(verdict.advice))))
    sheet = metric_sheet(source)
    figures = f'<div class="card">{table(sheet)}</div>' if sheet else ""
    return f'<section id="verdict"><h2>Verdict</h2><div class="card verdict">{"".join(parts)}</div>{figures}</section>'


def unfinished(source: Source) -> str:
    """How far a run came that did not end."""
    return f" {len(source.history['epoch'])} epochs are done. Go on with: mlptrain fit --resume {source.path}"


def warnings(source: Source) -> list[str]:
    """The diagnoses that were made, with their remedies."""
    found = (source.summary or {}).get("warnings") or []
    if source.summary is None and source.progress is not None:
        found = [diagnosed.model_dump() for diagnosed in source.progress.warnings]
    return [warning(each["name"], each["epoch"], each["message"], each["remedy"]) for each in found]


def warning(name: str, epoch: int, message: str, remedy: str) -> str:
    """A diagnosis."""
    tried = f" Try: <code>{escaped(remedy)}</code>" if remedy else ""
    return (
        f'<p class="warning"><b>{escaped(name.replace("_", " "))}</b> (epoch {epoch}): {escaped(message)}.{tried}</p>'
    )


def advice_item(report: Report, i: int) -> str:
    """A line to paste, and why."""
    assert report.verdict is not None
    advice = report.verdict.advice[i]
    command = advice.command(report.subject.source.path / "spec.yaml")
    return f'<p class="advice">{escaped(advice.why)}<br><code>{escaped(command)}</code></p>'


def about(source: Source) -> str:
    """Which rows the predictions are for."""
    return "" if source.measured is None else f'<p class="wide">About {escaped(source.measured.about())}.</p>'


def predictions(source: Source) -> list[str]:
    """The table of the classes."""
    sheet = class_sheet(source)
    return [block("By class", table(sheet))] if sheet else []


def worst(report: Report) -> list[str]:
    """The rows with the largest loss."""
    sheet = worst_sheet(report.subject)
    note = '<p class="wide">The rows with the largest loss: errors of the table are often among them.</p>'
    return [note, f'<div class="card wide scroll">{table(sheet)}</div>'] if sheet else []


def section(name: str, title: str, *parts: str) -> tuple[str, str, str]:
    """A section by its anchor and title; without text if it has no parts."""
    text = "".join(parts)
    return (
        name,
        title,
        f'<section id="{name}"><h2>{escaped(title)}</h2><div class="grid">{text}</div></section>' if text else "",
    )


def figure(chart: Chart) -> str:
    """A chart with its description and the numbers behind it."""
    numbers = f"<details><summary>numbers</summary><div class='scroll'>{table(chart.sheet)}</div></details>"
    return (
        f'<figure class="card" id="chart-{chart.name}"><h3>{escaped(chart.title)}</h3>{drawing.svg(chart)}'
        f"<figcaption>{escaped(chart.description)}</figcaption>{numbers}</figure>"
    )


def block(title: str, content: str) -> str:
    """A titled card."""
    return f'<div class="card scroll"><h3>{escaped(title)}</h3>{content}</div>'


def table(sheet: Sheet) -> str:
    """A table; figures are aligned on the right, and a name for the row comes first."""
    columns = [[row[i] for row in sheet.rows] for i in range(len(sheet.head))]
    kinds = [' class="n"' if all(map(is_figure, column)) else "" for column in columns]
    head = "".join(f'<th scope="col"{kind}>{escaped(cell)}</th>' for kind, cell in zip(kinds, sheet.head, strict=True))
    body = "".join(f"<tr>{table_row(row, kinds)}</tr>" for row in sheet.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def table_row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    """The cells of a row."""
    tags = ['th scope="row"', *["td"] * (len(cells) - 1)]
    parts = zip(tags, kinds, cells, strict=True)
    return "".join(f"<{tag}{kind}>{escaped(cell)}</{tag[:2]}>" for tag, kind, cell in parts)


def is_figure(cell: str) -> bool:
    """Whether a cell holds a number, or nothing."""
    return not cell.strip("-") or re.fullmatch(r"-?[\d,.]+(e[-+]?\d+)?%?", cell) is not None
