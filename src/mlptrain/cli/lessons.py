"""mlptrain lessons: which lessons there are."""

from __future__ import annotations

from mlptrain.cli.console import next_lines, print_json, print_results, stdout_console
from mlptrain.cli.fitting import Shown, fitting_table
from mlptrain.lessons.catalogue import CHAPTERS, Chapter


def run(as_json: bool) -> None:
    """Run the command."""
    if as_json:
        print_json([document(chapter) for chapter in CHAPTERS])
        return
    columns = [
        Shown("lesson", [f"{chapter.number:2}  {chapter.title}" for chapter in CHAPTERS]),
        Shown("parts", [parts(chapter) for chapter in CHAPTERS], rank=1),
        Shown("what it shows", [chapter.shows for chapter in CHAPTERS], rank=2),
    ]
    width = stdout_console().width
    why = "says what to look at, trains it and draws what happened; one of several: lesson 5b"
    how = next_lines([("mlptrain lesson 1", why)], width)
    print_results(fitting_table(columns, width), "", *how)


def parts(chapter: Chapter) -> str:
    """The numbers of the lessons of a chapter, where there are several."""
    first, last = chapter.lessons[0], chapter.lessons[-1]
    return "" if first is last else f"{first.number} to {last.number}"


def document(chapter: Chapter) -> dict[str, object]:
    """A chapter in the output of --json."""
    lessons = [{"number": one.number, "title": one.header.title, "spec": str(one.path)} for one in chapter.lessons]
    return {"number": chapter.number, "title": chapter.title, "shows": chapter.shows, "lessons": lessons}
