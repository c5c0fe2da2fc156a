"""How does a lesson become one HTML page that needs nothing else?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mlptrain.lessons.catalogue import Lesson
from mlptrain.lessons.header import STARTS
from mlptrain.lessons.study import Study, table
from mlptrain.report import page
from mlptrain.report.charts.base import Chart
from mlptrain.report.page import Section
from mlptrain.report.text import escaped


def lesson_page(studies: Sequence[Study], charts: Sequence[Chart]) -> str:
    """The page on some lessons of one chapter, after their training."""
    chapter = studies[0].lesson.chapter
    name = f"Lesson {chapter.number if len(studies) > 1 else studies[0].lesson.number}: {chapter.title}"
    return page.document(name, chapter.shows, "lesson", sections(studies, charts))


def sections(studies: Sequence[Study], charts: Sequence[Chart]) -> Iterator[Section]:
    """What to look at, what happened, and what to try."""
    figures = f'<div class="card wide scroll"><h3>Figures</h3>{page.table(table(studies))}</div>'
    happened = [figures, *filter(None, map(warned, studies)), *map(page.figure, charts)]
    yield Section("task", "What to look at", [card(study.lesson) for study in studies])
    yield Section("happened", "What happened", happened)
    yield Section("try", "What to try", [changes(study.lesson) for study in studies])


def card(lesson: Lesson) -> str:
    """What a lesson says about itself."""
    said = "".join(f"<p>{paragraph(text)}</p>" for text in lesson.header.paragraphs)
    return f'<div class="card"><h3>{title(lesson)}</h3>{said}</div>'


def title(lesson: Lesson) -> str:
    """The number and the title."""
    return f"{escaped(lesson.number)}: {escaped(lesson.header.title)}"


def paragraph(text: str) -> str:
    """A paragraph, or a command."""
    if text.startswith("  "):
        return f"<code>{escaped(text.strip())}</code>"
    start = next((word for word in STARTS[:2] if text.startswith(word)), "")
    return f"<b>{escaped(start)}</b>{escaped(text[len(start) :])}"


def warned(study: Study) -> str:
    """Why a run failed, and its warnings."""
    failed = f'<p class="state">{escaped(study.failure)}</p>' if study.failure else ""
    found = study.summary["warnings"]
    lines = [page.warning(each["name"], each["epoch"], each["message"], each["remedy"]) for each in found]
    said = failed + "".join(lines)
    return f'<div class="card wide"><h3>Warnings of {escaped(study.lesson.label)}</h3>{said}</div>' if said else ""


def changes(lesson: Lesson) -> str:
    """The changes to try, as lines to paste."""
    lines = "".join(
        f'<p class="advice">{escaped(each.effect)}<br>'
        f"<code>{escaped(f'mlptrain lesson {lesson.number} {each.options}')}</code></p>"
        for each in lesson.header.changes
    )
    remark = f"<p>{escaped(lesson.header.remark)}</p>" if lesson.header.remark else ""
    return f'<div class="card"><h3>{title(lesson)}</h3>{lines}{remark}</div>'
