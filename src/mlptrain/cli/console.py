"""How are results, notes and figures printed? The only module that writes to stdout and stderr.

Results go to stdout, notes to stderr.
"""

from __future__ import annotations

import json
import shlex
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from mlptrain.cli.fitting import GAP, Shown, fitting_table, in_lines
from mlptrain.cli.streams import between_words, printable, silence
from mlptrain.errors import EnvironmentFault, UsageError
from mlptrain.metrics import ClassFigures, Metrics
from mlptrain.numbers import number
from mlptrain.training.intervals import LEVEL, Intervals
from mlptrain.training.state import Diagnosed

MAX_NOTE_LINES = 5
FEWEST_OF_A_NAME = 12
"""The room for the names beside a confusion matrix, at least."""


class Screen(Console):
    """A console that shows text without markup, and is silenced, not ended, by a broken pipe."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def on_broken_pipe(self) -> None:
        """Discard all further output."""
        self.quiet = True
        silence(sys.stderr if self.stderr else sys.stdout)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of `renderable`; control characters of names and cells are shown as escapes."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable(text), style)


def stdout_console() -> Console:
    """The console for results; without a terminal it is wide enough for a table."""
    return Screen() if sys.stdout.isatty() else Screen(width=120)


def stderr_console(quiet: bool = False) -> Console:
    """The console for progress and notes."""
    return Screen(stderr=True, quiet=quiet, soft_wrap=not sys.stderr.isatty())


def print_results(*parts: RenderableType) -> None:
    """Print to stdout; a broken pipe is not an error."""
    with ignoring_broken_pipe():
        console = stdout_console()
        for part in parts:
            whole = isinstance(part, str) and (" " not in part.strip() or not console.is_terminal)
            console.print(part, soft_wrap=whole)
        sys.stdout.flush()


def print_notes(console: Console, notes: Sequence[str]) -> None:
    """Print each note on its own line, or many notes on one line."""
    if len(notes) <= MAX_NOTE_LINES:
        for note in notes:
            print_line(console, f"note: {note}")
    else:
        console.print(f"{len(notes)} notes: {'; '.join(notes)}")


def print_line(console: Console, text: str) -> None:
    """Print a message; on a terminal, a command in it that would be broken has a line of its own, to be pasted."""
    console.print(between_words(text, console.width) if console.is_terminal else text, soft_wrap=True)


def print_next(*words: str) -> None:
    """Print a command that may follow, as a line to paste."""
    stderr_console().print(f"next: {shlex.join(words)}", soft_wrap=True)


def next_lines(commands: Iterable[tuple[str, str]], width: int) -> list[str]:
    """Commands that may follow, as lines to paste, each with its reason as a comment."""
    lines = [line for command, why in commands for line in commented(command, why, width - 6)]
    return [f"{'next:' if not i else '     '} {line}" for i, line in enumerate(lines)]


def commented(command: str, why: str, width: int) -> list[str]:
    """A line to paste, with a comment behind it, or above it where there is no room."""
    line = f"{command}   # {why}"
    if len(line) <= width:
        return [line]
    return [*(f"# {part}" for part in textwrap.wrap(why, max(8, width - 2))), command]


def print_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    print_text(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_text(text: str) -> None:
    """Print text to stdout unchanged."""
    with ignoring_broken_pipe():
        sys.stdout.write(text)
        sys.stdout.flush()


def print_piece(text: str) -> bool:
    """Print a part of a text at once; return whether the reader of stdout wants more, or has closed it."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        return False
    except OSError as error:
        silence(sys.stdout)
        raise EnvironmentFault(f"the results cannot be written to stdout: {error.strerror}") from error
    return True


@contextmanager
def ignoring_broken_pipe() -> Iterator[None]:
    """Continue silently if the reader of stdout closes it, as `head` does; other failures are errors."""
    try:
        yield
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        raise EnvironmentFault(f"the results cannot be written to stdout: {error.strerror}") from error


def refuse_same_file(out: Path | None, *read: Path | None) -> None:
    """Refuse to overwrite an input file with results."""
    for path in read:
        if out is not None and path is not None and out.is_file() and path.is_file() and out.samefile(path):
            raise UsageError(f"--out {out} is the file that is read; choose another name")


def diagnosis_text(diagnosed: Diagnosed) -> Text:
    """A diagnosis and its remedy."""
    name = diagnosed.name.replace("_", " ")
    return Text.assemble(
        (f"warning: {name}: ", "yellow"),
        f"{diagnosed.message} (epoch {diagnosed.epoch})",
        (f". Try: {diagnosed.remedy}" if diagnosed.remedy else "", "dim"),
    )


def results_table(results: Mapping[str, Metrics], baselines: Mapping[str, Metrics | None], baseline_part: str) -> Table:
    """A row for each metric, a column for each part and baseline, as far as there is room: the judged part first."""
    metrics = list(next(iter(results.values())))
    columns = [
        Shown(name, [number(found[metric]) for metric in metrics], right=True, rank=0 if name == baseline_part else 2)
        for name, found in results.items()
    ]
    columns += [
        Shown(
            f"{name} model ({baseline_part})",
            [number(found[metric]) if found else "-" for metric in metrics],
            right=True,
            rank=1,
        )
        for name, found in baselines.items()
    ]
    return fitting_table([Shown("", metrics), *columns], stdout_console().width)


def interval_line(metrics: Metrics, sure: Intervals) -> str:
    """How sure the main metric and the loss are, the metric first; empty if nothing is known."""
    known = {name: ends for name, ends in reversed(sure.figures.items()) if ends is not None}
    each = [f"{name} {number(metrics[name])} ({number(low)} to {number(high)})" for name, (low, high) in known.items()]
    of = f"{sure.rows} rows" if sure.groups is None else f"{sure.groups} groups of {sure.rows} rows"
    return f"{', '.join(each)}: {LEVEL:.0%} intervals, bootstrap over {of}" if each else ""


def profile_table(seconds: Mapping[str, float], calls: Mapping[str, int], total: float, compiled: bool) -> Table:
    """The sections of a run with their times, in order; then the rest and the total."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(f"where the time went ({'with' if compiled else 'without'} compiled loops)")
    for heading in ("seconds", "share", "calls", "µs a call"):
        table.add_column(heading, justify="right")
    for name, spent in seconds.items():
        each = f"{spent / calls[name] * 1e6:.1f}"
        table.add_row(name, f"{spent:.3f}", f"{spent / total:.0%}", str(calls[name]), each)
    rest = total - sum(seconds.values())
    table.add_row("everything else", f"{rest:.3f}", f"{rest / total:.0%}", "", "")
    table.add_row("in all", f"{total:.3f}", "", "", "", style="bold")
    return table


def metrics_table(metrics: Metrics, rows: int) -> Table:
    """Metrics of one evaluation."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column(f"{rows} rows", justify="right")
    for name, value in metrics.items():
        table.add_row(name, number(value))
    return table


def confusion_table(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> Table | None:
    """A row for each true class, a column for each predicted class; the diagonal is bold. None if it is too wide.

    Where there is no room for the names above the columns, the classes are numbered.
    """
    numbers = [str(i) for i in range(1, len(classes) + 1)]
    width = stdout_console().width
    for names, headings in (
        (classes, classes),
        ([f"{i} {name}" for i, name in zip(numbers, classes, strict=True)], numbers),
    ):
        columns = [max(cell_len(str(cell)) for cell in column) for column in zip(headings, *counts, strict=True)]
        left = width - sum(columns) - GAP * len(columns)
        if left >= min(FEWEST_OF_A_NAME, max(map(cell_len, names))):
            return matrix([in_lines(name, left) for name in names], headings, counts)
    return None


def matrix(names: Sequence[str], headings: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """A row for each name, a column for each heading."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    table.add_column("true \\ predicted")
    for heading in headings:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for i, (name, row) in enumerate(zip(names, counts, strict=True)):
        marked = (Text(str(count), "bold" if i == j else "dim" if not count else "") for j, count in enumerate(row))
        table.add_row(Text(name), *marked)
    return table


def class_table(figures: Sequence[ClassFigures]) -> Table:
    """A row for each class."""
    values = [(str(rows), *map(number, each)) for _, rows, *each in figures]
    columns = [
        Shown(heading, [row[i] for row in values], right=True, rank=i)
        for i, heading in enumerate(("rows", "precision", "recall", "f1"))
    ]
    return fitting_table([Shown("class", [one.name for one in figures]), *columns], stdout_console().width)


def decision_text(positive: str, threshold: float) -> str:
    """Which of two classes is the positive one, and when it is predicted."""
    return (
        f"f1 and average_precision are of class '{positive}', which is predicted above a probability of {threshold:.4g}"
    )
