"""mlptrain lesson: says what to look at, trains the lesson and draws what happened."""

from __future__ import annotations

import shlex
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy  # noqa: F401  # first: from deeper in the stack, Python 3.11 imports it more slowly
from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.status import Status
from rich.text import Text

from mlptrain.cli.chart import styled
from mlptrain.cli.console import diagnosis_text, print_json, print_results, stderr_console, stdout_console
from mlptrain.cli.fit import measured, trained
from mlptrain.cli.fitting import GAP, Shown, fitting_table
from mlptrain.cli.pictures import picture
from mlptrain.cli.progress import is_live
from mlptrain.errors import Diverged, UsageError
from mlptrain.lessons.catalogue import CHAPTERS, FOLDER, Chapter, Lesson, find
from mlptrain.lessons.header import STARTS
from mlptrain.lessons.page import lesson_page
from mlptrain.lessons.pictures import charts_of
from mlptrain.lessons.study import Study, figure, heading, table
from mlptrain.nn.threads import blas_threads
from mlptrain.numbers import number
from mlptrain.report.build import make_folder
from mlptrain.report.charts.base import Chart
from mlptrain.runs.directory import RUNS, name_for
from mlptrain.runs.durable import write_durably
from mlptrain.runs.run import SAVE_SECONDS, begin
from mlptrain.spec.load import load_experiment
from mlptrain.training.events import Consumer, EpochDone
from mlptrain.training.snapshots import Snapshots
from mlptrain.training.state import Diagnosed

WIDEST_TEXT = 100
TALLEST, SHORTEST = 22, 14
"""Lines of a picture."""


class Request(NamedTuple):
    """The arguments of the command."""

    lesson: str
    overrides: Sequence[str]
    out: Path | None
    """The folder for the runs."""
    copy: Path | None
    html: Path | None
    json: bool
    quiet: bool


def run(request: Request) -> None:
    """Run the command."""
    lessons = find(request.lesson)
    if request.copy is not None:
        copy(lessons, request.copy)
        return
    if request.html is not None:
        if request.html.exists():
            raise UsageError(f"--html {request.html}: exists already; choose another name")
        make_folder(request.html.parent)
    console = stderr_console(request.quiet)
    load_plugin(lessons[0].chapter)
    if not request.json:
        print_results(*(line for lesson in lessons for line in introduction(lesson)))
    studies = [studied(lesson, request, console) for lesson in lessons]
    charts = [] if request.json and request.html is None else charts_of(studies)
    if request.html is not None:
        write_durably(request.html, lesson_page(studies, charts).encode())
    if request.json:
        print_json(document(request, studies))
    else:
        show(studies, charts, request.html)
    refuse_failures(studies)


def load_plugin(chapter: Chapter) -> None:
    """Load the components that a lesson defines itself."""
    if chapter.plugin is not None:
        from mlptrain.plugins import load_plugins

        load_plugins([FOLDER / chapter.plugin])


def copy(lessons: Sequence[Lesson], folder: Path) -> None:
    """Write the specs, their tables and the plugin into `folder`, where nothing may be replaced."""
    sources = [lesson.path for lesson in lessons]
    sources += [Path(load_experiment(lesson.path).data.path) for lesson in lessons]
    sources += [FOLDER / lesson.chapter.plugin for lesson in lessons if lesson.chapter.plugin is not None]
    places = {source: folder / source.relative_to(FOLDER) for source in sources}
    taken = next((place for place in places.values() if place.exists()), None)
    if taken is not None:
        raise UsageError(f"{taken}: exists already; choose another folder for --copy")
    for source, place in places.items():
        make_folder(place.parent)
        write_durably(place, source.read_bytes())
    print_results(*map(str, places.values()))


def introduction(lesson: Lesson) -> Iterator[RenderableType]:
    """The text of a lesson, as far as it is read before the training."""
    yield Text(f"Lesson {lesson.number}: {lesson.header.title}", "bold")
    for text in lesson.header.paragraphs:
        yield ""
        yield text if text.startswith("  ") else Constrain(paragraph(text), WIDEST_TEXT)
    yield ""


def paragraph(text: str) -> Text:
    """A paragraph, with a bold beginning where it says what to look at or to see."""
    start = next((word for word in STARTS[:2] if text.startswith(word)), "")
    return Text.assemble((start, "bold"), text[len(start) :])


class Line(Consumer):
    """One live line on the training of a lesson, on a terminal only."""

    def __init__(self, console: Console, label: str, epochs: int) -> None:
        self._label, self._epochs, self._shown_at = label, epochs, 0.0
        self._status: Status | None = console.status(f"training {label}") if is_live(console) else None
        if self._status is not None:
            self._status.start()

    def epoch(self, event: EpochDone) -> None:
        """Show the epoch and its loss, some times a second."""
        if self._status is not None and time.monotonic() - self._shown_at > 0.1:
            self._shown_at = time.monotonic()
            done, loss = event.record["epoch"] or 0, number(event.record["train_loss"])
            self._status.update(f"training {self._label}: epoch {done:.0f} of {self._epochs}, train_loss {loss}")

    def close(self) -> None:
        """Remove the line."""
        if self._status is not None:
            self._status.stop()


def studied(lesson: Lesson, request: Request, console: Console) -> Study:
    """Train a lesson as a run of its own."""
    experiment = load_experiment(lesson.path, request.overrides)
    current = begin(experiment, name_for(lesson.path), None, parent=request.out or RUNS)
    snapshots, failure = Snapshots(current.state), ""
    with current.folder.locked(), blas_threads(current.plan.blas_threads):
        try:
            with closing(Line(console, lesson.label, current.plan.training.epochs)) as line:
                trained(current, [snapshots, line], SAVE_SECONDS)
            measured(current, console)
        except Diverged as error:
            failure = str(error)
    console.print(f"{lesson.label}: {current.folder.path}, {current.state.progress.epoch} epochs")
    return Study(lesson, current, snapshots, failure)


def show(studies: Sequence[Study], charts: Sequence[Chart], page: Path | None) -> None:
    """Print the pictures, the table, the warnings, what to try, and how to go on."""
    console = stdout_console()
    height = max(SHORTEST, min(TALLEST, console.height - 3)) if console.is_terminal else TALLEST
    for chart in charts:
        print_results("", Text(chart.title, "bold"), styled(picture(chart, console.width, height)))
    print_results("", *figures(studies, console.width))
    print_results(*(line for study in studies for line in warnings(study)))
    print_results(*(line for study in studies for line in changes(study.lesson)))
    written = [] if page is None else [f"page: {page}"]
    print_results("", *written, *next_lesson(studies[-1].lesson))


def figures(studies: Sequence[Study], width: int) -> Iterator[RenderableType]:
    """What the lesson asks for: a column for each run, in several tables where they are too wide for one."""
    sheet = table(studies)
    names = sheet.head[1:]
    columns = [Shown(study.lesson.number, row[1:], right=True) for study, row in zip(studies, sheet.rows, strict=True)]
    first = min(max(map(len, names)), max(12, width // 3))
    most = max(1, (width - first) // (GAP + max(column.width for column in columns)))
    for i in range(0, len(columns), most):
        yield fitting_table([Shown("", names), *columns[i : i + most]], width)


def warnings(study: Study) -> Iterator[RenderableType]:
    """The warnings of a run, and why it failed."""
    found = [diagnosis_text(Diagnosed(**each)) for each in study.summary["warnings"]]
    for each in [*found, *([Text(study.failure)] if study.failure else [])]:
        yield Text.assemble(f"\n{study.lesson.number} ", each)


def changes(lesson: Lesson) -> Iterator[RenderableType]:
    """The changes to try, as lines to paste, and the remark after them."""
    yield Text.assemble("\n", ("Try:", "bold"))
    for each in lesson.header.changes:
        yield Text(f"  mlptrain lesson {lesson.number} {each.options}", no_wrap=True, overflow="ignore")
        lines = textwrap.wrap(each.effect, min(WIDEST_TEXT, stdout_console().width) - 6)
        yield Text("\n".join(f"      {line}" for line in lines), "dim")
    if lesson.header.remark:
        yield lesson.header.remark


def next_lesson(lesson: Lesson) -> list[RenderableType]:
    """How to go on."""
    number = lesson.chapter.number + 1
    return [f"next: mlptrain lesson {number}"] if number <= CHAPTERS[-1].number else []


def refuse_failures(studies: Sequence[Study]) -> None:
    """Fail for the first run that diverged although its lesson does not want it."""
    for study in studies:
        if study.failure and not study.lesson.diverges:
            folder = shlex.quote(str(study.run.folder.path))
            raise Diverged(f"{study.lesson.label}: {study.failure} ({folder})")


def document(request: Request, studies: Sequence[Study]) -> dict[str, Any]:
    """The output of --json."""
    return {
        "lesson": studies[0].lesson.chapter.number,
        "page": None if request.html is None else str(request.html),
        "runs": [
            {
                "lesson": study.lesson.number,
                "title": study.lesson.header.title,
                "run": str(study.run.folder.path),
                "diverged": bool(study.failure),
                "figures": {heading(asked): figure(study, asked) for asked in study.lesson.chapter.asked},
                "results": study.summary["results"],
                "warnings": study.summary["warnings"],
            }
            for study in studies
        ],
    }
