"""Which lessons are there, and what is shown of each?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

from mlptrain.errors import UsageError
from mlptrain.lessons.header import Header, parse_header

FOLDER = Path(__file__).parent
Picture = Literal[
    "losses", "validation_losses", "boundary", "paths", "gradients", "dead_units", "weights", "input_weights"
]
Kind = Literal["first", "last", "lowest", "rises", "steps_below", "rows_per_second", "epochs", "best_epoch", "result"]


class Asked(NamedTuple):
    """A figure of each run: one column of the lesson's table."""

    kind: Kind
    of: str = "train_loss"
    """A column of metrics.csv; for a result the part and the metric, as in `test rmse` or `linear rmse`."""
    bound: float = 0.0


@dataclass(frozen=True)
class Chapter:
    """The lessons of one number, and what is shown of them."""

    number: int
    title: str
    shows: str
    asked: tuple[Asked, ...]
    pictures: tuple[Picture, ...]
    diverges: str = ""
    """The letters of the lessons whose training is meant to diverge."""
    plugin: str | None = None
    """The file whose components the lesson may name."""

    @cached_property
    def lessons(self) -> tuple[Lesson, ...]:
        """The lessons in their order."""
        return tuple(Lesson(self, path) for path in sorted(FOLDER.glob(f"{self.number:02d}[a-z-]*.yaml")))


@dataclass(frozen=True)
class Lesson:
    """One spec with its header."""

    chapter: Chapter
    path: Path

    @property
    def letter(self) -> str:
        """What tells it from the others of its chapter: a, b, ...; empty if there are no others."""
        return self.path.stem.partition("-")[0].lstrip("0123456789")

    @property
    def number(self) -> str:
        """Its number: 5a."""
        return f"{self.chapter.number}{self.letter}"

    @property
    def label(self) -> str:
        """Its number and its name: 5a ravine-sgd."""
        return f"{self.number} {self.path.stem.partition('-')[2]}"

    @property
    def diverges(self) -> bool:
        """Whether its training is meant to diverge."""
        return bool(self.letter) and self.letter in self.chapter.diverges

    @cached_property
    def header(self) -> Header:
        """What it says about itself."""
        return parse_header(self.path.read_text(encoding="utf8"))


FIRST, LAST = Asked("first"), Asked("last")
CHAPTERS = (
    Chapter(
        1,
        "exclusive or",
        "a hidden layer bends the border between the classes",
        (FIRST, LAST),
        ("losses", "boundary"),
    ),
    Chapter(
        2,
        "exclusive or without a hidden layer",
        "one straight line is not enough",
        (FIRST, LAST, Asked("result", "constant loss")),
        ("losses", "boundary"),
    ),
    Chapter(
        3,
        "the learning rate",
        "too large, and training diverges; too small, and nothing happens",
        (Asked("epochs"), FIRST, LAST),
        ("losses",),
        diverges="a",
    ),
    Chapter(
        4,
        "the size of a batch",
        "all rows, twenty rows or one row in each step",
        (Asked("last", "step"), LAST, Asked("rises"), Asked("rows_per_second")),
        ("losses", "boundary"),
    ),
    Chapter(
        5,
        "optimizers in a ravine",
        "the paths of five optimizers down a long, narrow valley",
        (Asked("steps_below", bound=1e-6), Asked("rises"), LAST),
        ("losses", "paths"),
    ),
    Chapter(
        6,
        "vanishing gradients",
        "eight layers of sigmoids do not learn; rectifiers do",
        (LAST, Asked("result", "train accuracy"), Asked("result", "test accuracy")),
        ("losses", "gradients"),
    ),
    Chapter(
        7,
        "dead units",
        "rectifiers that are off for good, and a leak that saves them",
        (LAST,),
        ("losses", "dead_units", "boundary"),
    ),
    Chapter(
        8,
        "batch normalization",
        "a badly scaled network, and how to scale it inside",
        (FIRST, LAST, Asked("result", "validation accuracy")),
        ("losses", "dead_units"),
    ),
    Chapter(
        9,
        "overfitting",
        "learned by heart; L2, dropout and early stopping against it",
        (
            Asked("epochs"),
            Asked("best_epoch"),
            Asked("result", "train rmse"),
            Asked("result", "test rmse"),
            Asked("result", "linear rmse"),
            Asked("result", "train r2"),
            Asked("result", "test r2"),
        ),
        ("losses", "validation_losses", "weights"),
    ),
    Chapter(
        10,
        "inputs that matter",
        "an L1 penalty takes the weights of the others to zero",
        (LAST, Asked("result", "test rmse")),
        ("losses", "input_weights", "weights"),
    ),
    Chapter(
        11,
        "an activation of your own",
        "ten lines of Python, and how a mistake in them is found",
        (LAST, Asked("result", "validation accuracy")),
        ("losses", "boundary"),
        plugin="11_softsign.py",
    ),
)


def find(word: str) -> tuple[Lesson, ...]:
    """The lessons that `word` names: all of a chapter, as in `5`, or one, as in `5a`."""
    found = re.fullmatch(r"0*(\d{1,4})([a-z]?)(-.*)?", word.strip().lower())
    chapter = next((one for one in CHAPTERS if found and one.number == int(found[1])), None)
    if found is None or chapter is None:
        raise UsageError(f"no lesson '{word}'; they are numbered from 1 to {CHAPTERS[-1].number}: mlptrain lessons")
    lessons = tuple(one for one in chapter.lessons if found[2] in ("", one.letter))
    if not lessons:
        parts = f"its lessons are {' '.join(one.number for one in chapter.lessons)}" if len(chapter.lessons) > 1 else ""
        raise UsageError(f"no lesson '{word}'; {parts or f'it is one: mlptrain lesson {chapter.number}'}")
    return lessons
