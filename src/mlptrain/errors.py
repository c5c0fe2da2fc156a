"""Which errors can mlptrain raise, and what is the exit code of each?

MlptrainError                1   base class; a bug in mlptrain unless a subclass says otherwise
├── UsageError               2   a command line that cannot be carried out
│   └── SpecError            2   an experiment file with mistakes; carries every one of them
├── DataError                3   a table that cannot be read or used
├── CheckpointError          4   a run, checkpoint or model file that cannot be trusted
├── EnvironmentFault         5   disk, permissions, locks, memory
├── CheckFailed              6   a gradient check or a --fail-under bound
│   └── Diverged             6   training produced a number that is not finite
└── Interrupted        130/143   stopped by a signal, after the state was saved
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class MlptrainError(Exception):
    """Base class of the errors of mlptrain; its text is the whole message for the user."""

    exit_code = 1


class UsageError(MlptrainError):
    """The command line asks for something that cannot be done."""

    exit_code = 2


class Problem(NamedTuple):
    """One mistake in an experiment file: where it is, what is wrong and the remedy."""

    place: str
    path: str
    message: str
    excerpt: str = ""

    def __str__(self) -> str:
        head = " ".join(part for part in (self.place, f"{self.path}:" if self.path else "") if part)
        return f"{head} {self.message}" + (f"\n{self.excerpt}" if self.excerpt else "")


class SpecError(UsageError):
    """An experiment file with mistakes, in the order of the file: the first hundred, and how many `more` there are."""

    SHOWN, KEPT = 20, 100

    def __init__(self, problems: Iterable[Problem], more: int = 0) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[: self.SHOWN]]
        if (hidden := len(self.problems) + more - len(lines)) > 0:
            lines.append(f"... and {hidden} more")
        super().__init__("\n".join(lines))


class DataError(MlptrainError):
    """A table that cannot be read, or whose content cannot be trained on."""

    exit_code = 3

    def __init__(self, message: str, rows: Iterable[int] = ()) -> None:
        """`rows` are the rows of the table that are wrong, from 0, where that is known."""
        super().__init__(message)
        self.rows = frozenset(rows)


class CheckpointError(MlptrainError):
    """A run folder, checkpoint or model file that is damaged, foreign or does not fit."""

    exit_code = 4


class EnvironmentFault(MlptrainError):
    """A failure of the system: no space, no permission, a lock held by another process, no memory."""

    exit_code = 5


class CheckFailed(MlptrainError):
    """A requested check did not pass."""

    exit_code = 6


class Diverged(CheckFailed):
    """The loss or the gradient is not finite; the step was not applied."""

    @property
    def event(self) -> str:
        """When it was and what was not finite, without the rest of the message."""
        return str(self).partition(";")[0]


class Interrupted(MlptrainError):
    """A signal stopped the run; everything up to the last finished step was saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
