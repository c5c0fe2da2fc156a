"""How does a run become a report, and where is it written?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mlptrain.errors import EnvironmentFault, UsageError
from mlptrain.report import drawing
from mlptrain.report.boosting import with_boosting
from mlptrain.report.charts import SECTIONS, charts_of
from mlptrain.report.charts.base import Chart, Subject
from mlptrain.report.importance import Dependence, Importances, Sample, dependences, importances
from mlptrain.report.page import MARK, Report, page
from mlptrain.report.source import Source, open_source
from mlptrain.report.verdict import Verdict, verdict
from mlptrain.runs.durable import write_durably

PAGE = "report.html"
"""The page in the folder of a run."""
DEPENDENCES = 6
"""Columns whose partial dependence is drawn."""


def report_on(path: Path) -> Report:
    """The report on the run at `path`."""
    source = with_boosting(open_source(path))
    subject = Subject(source, *columns_of(source))
    return Report(subject, verdict_of(source), charts_of(subject))


def verdict_of(source: Source) -> Verdict | None:
    """The verdict on a run that ended."""
    if source.summary is None:
        return None
    lowest = 0.0 if source.measured is None else source.measured.lowest_loss
    return verdict(source.plan, source.summary, lowest)


@np.errstate(all="ignore")
def columns_of(source: Source) -> tuple[Importances | None, tuple[Dependence, ...]]:
    """The importance and the partial dependence of the columns; of none for pixels, or without rows."""
    model, measured = source.model, source.measured
    if measured is None or source.plan.transforms.has_pixels or len(measured.part) < 2:
        return None, ()
    sample = Sample(model, measured)
    found = importances(sample)
    best = [one.column for one in found.found[:DEPENDENCES]]
    return found, tuple(dependences(sample, model, measured, best))


def check_places(page: Path, pictures: Path | None) -> None:
    """Refuse to replace files that are not ours, before any work is done."""
    if page.exists() and not is_report(page):
        remedy = "choose another --out, or replace it with --force"
        raise UsageError(f"{page}: exists and is not a report of mlptrain; {remedy}")
    if pictures is None:
        return
    kinds = [kind for some in SECTIONS.values() for kind in some]
    taken = [path for kind in kinds if (path := picture_path(kind, pictures)).exists()]
    if taken:
        raise UsageError(f"{taken[0]}: exists already; choose another folder for --png, or replace it with --force")


def write_page(report: Report, out: Path) -> None:
    """Write the page to `out`."""
    make_folder(out.parent)
    write_durably(out, page(report).encode())


def is_report(path: Path) -> bool:
    """Whether a file is a page of ours, which may be written again."""
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(200)
    except OSError:
        return False


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Write each chart as a PNG into `folder`; returns the files."""
    make_folder(folder)
    for chart in report.all_charts:
        write_durably(picture_path(type(chart), folder), drawing.picture(chart, "png"))
    return [picture_path(type(chart), folder) for chart in report.all_charts]


def picture_path(kind: type[Chart], folder: Path) -> Path:
    """The file of a chart in `folder`."""
    return folder / f"{kind.name}.png"


def make_folder(path: Path) -> None:
    """The folder at `path`, created if it does not exist."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be created: {error.strerror}") from error
