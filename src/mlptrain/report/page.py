"""How does a report become one HTML page that needs nothing else?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from shlex import quote

import mlptrain
from mlptrain.report import drawing
from mlptrain.report.charts.base import Chart, Sheet, Subject
from mlptrain.report.sheets import about_sheets, class_sheet, metric_sheet, worst_sheet
from mlptrain.report.source import Source
from mlptrain.report.style import STYLE
from mlptrain.report.text import escaped
from mlptrain.report.verdict import Verdict, telling
from mlptrain.spec import yaml

MARK = "<!-- mlptrain report -->"
"""How a page of ours begins, after its document type."""
WIDE = 6.0
"""Inches from which on a chart takes the whole width of the page."""
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


@dataclass(frozen=True)
class Section:
    """A part of the page that can be linked to."""

    anchor: str
    title: str
    parts: Sequence[str]

    @property
    def link(self) -> str:
        """A link to it."""
        return f'<a href="#{self.anchor}">{escaped(self.title)}</a>'

    @property
    def html(self) -> str:
        """The heading and the parts."""
        grid = f'<div class="grid">{"".join(self.parts)}</div>'
        return f'<section id="{self.anchor}"><h2>{escaped(self.title)}</h2>{grid}</section>'


def page(report: Report) -> str:
    """The page."""
    source = report.subject.source
    return document(source.path.resolve().name, headline(source), "report", sections_of(report))


def document(name: str, headline: str, kind: str, sections: Iterable[Section]) -> str:
    """A page of some kind, such as a report, with those of its sections that are not empty."""
    shown = [each for each in sections if each.parts]
    title = f"<title>{escaped(name)}: mlptrain {kind}</title>"
    head = "".join(f"<meta {each}>" for each in META) + f"{title}<style>{STYLE}</style>"
    links = "".join(each.link for each in shown)
    header = f"<header><h1>{escaped(name)}</h1><p>{escaped(headline)}</p><nav>{links}</nav></header>"
    main = f"<main>{''.join(each.html for each in shown)}</main>"
    footer = f"<footer>mlptrain {escaped(mlptrain.__version__)}</footer>"
    body = f'<html lang="en"><head>{head}</head><body>{header}{main}{footer}</body></html>'
    return f"<!doctype html>\n{MARK if kind == 'report' else ''}\n{body}\n"


def sections_of(report: Report) -> Iterator[Section]:
    """The sections in the order of the page."""
    source = report.subject.source
    drawn = {name: [figure(chart) for chart in found] for name, found in report.charts.items()}
    tables = [block(name, table(sheet)) for name, sheet in about_sheets(source)]
    yield Section("verdict", "Verdict", verdict_parts(report))
    yield Section("training", "Training", drawn["training"])
    yield Section("predictions", "Predictions", [*about_rows(source), *drawn["predictions"], *class_parts(source)])
    yield Section("columns", "Columns", drawn["columns"])
    yield Section("worst", "Worst rows", worst_parts(report))
    yield Section("about", "About this run", [*tables, spec(source)])


def headline(source: Source) -> str:
    """What was trained, in one line."""
    plan, sizes = source.plan, source.model.network.sizes
    target, network = ", ".join(plan.transforms.task.columns[:3]), "-".join(map(str, sizes))
    members = f"{plan.members} networks" if plan.members else "network"
    return f"{plan.transforms.task.name()} of {target} with {members} {network}"


def verdict_parts(report: Report) -> list[str]:
    """The verdict, what is missing, the warnings and what to try next; then the figures."""
    source, sheet = report.subject.source, metric_sheet(report.subject.source.summary)
    parts = [
        *state(report),
        *(f"<p>{escaped(text)}</p>" for text in sentences(report)),
        *(f'<p class="gap">{escaped(gap)}</p>' for gap in source.gaps),
        *warnings(source),
        *advice(report),
    ]
    figures = [f'<div class="card wide scroll">{table(sheet)}</div>'] if sheet else []
    return [f'<div class="card wide verdict">{"".join(parts)}</div>', *figures]


def sentences(report: Report) -> list[str]:
    """What the verdict says, after what `state` does."""
    if report.verdict is None:
        return []
    found = report.subject.importances
    ended = "" if report.subject.source.stopped == "diverged" else report.verdict.ended
    said = [ended, report.verdict.quality, report.verdict.fit, "" if found is None else telling(found)]
    return [sentence for sentence in said if sentence]


def state(report: Report) -> list[str]:
    """That training diverged or has not ended, if so."""
    source = report.subject.source
    if source.stopped == "diverged" and report.verdict is not None:
        said = report.verdict.ended
    elif source.stopped is None:
        command = f"mlptrain fit --resume {quote(str(source.path))}"
        said = f"Training has not ended. {len(source.history['epoch'])} epochs are done. Go on with: {command}"
    else:
        return []
    return [f'<p class="state">{escaped(said)}</p>']


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


def advice(report: Report) -> list[str]:
    """What to try next: lines to paste, and why."""
    if report.verdict is None or not report.verdict.advice:
        return []
    spec = report.subject.source.path / "spec.yaml"
    return ["<h3>What to try next</h3>"] + [
        f'<p class="advice">{escaped(each.why)}<br><code>{escaped(each.command(spec))}</code></p>'
        for each in report.verdict.advice
    ]


def about_rows(source: Source) -> list[str]:
    """Which rows the predictions are for."""
    return [] if source.measured is None else [f'<p class="wide">About {escaped(source.measured.about())}.</p>']


def class_parts(source: Source) -> list[str]:
    """The table of the classes."""
    sheet = class_sheet(source)
    return [block("By class", table(sheet))] if sheet else []


def worst_parts(report: Report) -> list[str]:
    """The rows with the largest loss."""
    sheet = worst_sheet(report.subject)
    note = '<p class="wide">The rows with the largest loss: errors of the table are often among them.</p>'
    return [note, f'<div class="card wide scroll">{table(sheet)}</div>'] if sheet else []


def spec(source: Source) -> str:
    """The experiment with every default written out, to be copied."""
    text = "".join(f"{escaped(line)}\n" for line in yaml.dump(source.plan.named_only().written()).splitlines())
    return f'<div class="card wide scroll"><h3>Spec</h3><pre>{text}</pre></div>'


def figure(chart: Chart) -> str:
    """A chart with its description and the numbers behind it."""
    wide = " wide" if chart.size[0] > WIDE else ""
    numbers = f"<details><summary>numbers</summary><div class='scroll'>{table(chart.sheet)}</div></details>"
    return (
        f'<figure class="card{wide}" id="chart-{chart.name}"><h3>{escaped(chart.title)}</h3>{drawing.svg(chart)}'
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
