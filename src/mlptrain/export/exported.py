"""What does every format write: the program of a model, its proof and where it comes from?"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

import mlptrain
from mlptrain.export.golden import Comparison, Golden, Run, numbers_in, run_graph, tolerance_of
from mlptrain.export.program import Program
from mlptrain.runs.checkpoint import Model

FILE = "<FILE>"
"""Stands for the file that is written in the lines that a format offers."""


class Subject(NamedTuple):
    """The model that is written, and where it comes from."""

    model: Model
    digest: str
    """sha256 of the model file."""
    summary: dict[str, Any] | None = None
    """The content of summary.json; None without a finished run."""

    @property
    def about(self) -> str:
        """What it predicts, in a line."""
        target, columns = ", ".join(self.model.transforms.task.columns), len(self.model.transforms.encoders)
        return f"Predicts {target} from {columns} columns: the model of the run {self.model.plan.name}."


class Exported(NamedTuple):
    """A model whose graph is written in some format."""

    subject: Subject
    program: Program
    golden: Golden
    """The rows that go into the file."""
    checks: Sequence[Comparison] = ()
    """How it compared with `mlptrain predict`; empty before that."""
    by: str = ""
    """What computed the predictions that were compared."""

    @property
    def name(self) -> str:
        """An identifier: of the file, and of what is in it."""
        return identifier(self.subject.model.plan.name)

    @property
    def digest(self) -> str:
        """sha256 of the model file."""
        return self.subject.digest

    @property
    def about(self) -> str:
        """What it predicts, in a line."""
        return self.subject.about

    @property
    def version(self) -> str:
        """The version of mlptrain that wrote it."""
        return mlptrain.__version__

    @property
    def proof(self) -> str:
        """How it compared, in a line."""
        found = [f"{one.difference:.3g} on {one.about}" for one in self.checks]
        allowed = f"computed by {self.by}, where {self.tolerance:g} is allowed"
        return f"Largest difference from mlptrain predict, {allowed}: {', '.join(found)}."

    def golden_numbers(self) -> dict[str, NDArray[Any]]:
        """The numbers or codes (rows, width) of each column of the golden rows."""
        return numbers_in(self.program, self.golden.table)

    @property
    def tolerance(self) -> float:
        """The largest difference that is allowed, as a share of the size of a number."""
        return tolerance_of(self.program)

    @property
    def size(self) -> float:
        """The size that a number has at least, where differences are measured."""
        if self.program.found.called == "probabilities":
            return 1.0
        numbers = [np.abs(values) for values in self.golden.expected.values() if values.dtype.kind == "f"]
        return float(np.median(np.concatenate(numbers))) or 1.0 if self.golden.table.rows else 1.0


class Format(ABC):
    """One way to write a model down."""

    name: ClassVar[str]
    suffix: ClassVar[str]
    meaning: ClassVar[str]
    """What it is, in a few words."""


class Description(Format):
    """A text about a model."""

    @abstractmethod
    def describe(self, subject: Subject) -> bytes:
        """The content of the file."""


class GraphFormat(Format):
    """A file that computes what the model computes."""

    checked_by: ClassVar[str]
    """What computes the predictions that are compared."""
    most_rows: ClassVar[int] = 1000
    """Of the run or of a table, that are compared beside the golden ones."""

    @abstractmethod
    def write(self, exported: Exported) -> bytes:
        """The content of the file."""

    def runner(self, content: bytes, program: Program) -> Run:
        """What computes predictions by a file with this content; by default the graph that it was written from."""
        return run_graph(program)

    def facts(self, content: bytes, exported: Exported) -> list[str]:
        """What else is to be said of the file, each in a line."""
        return []


def identifier(text: str, otherwise: str = "model") -> str:
    """A name that C and Python accept.

    >>> identifier("penguins-0001"), identifier("17 Größe"), identifier("")
    ('penguins_0001', 'model_17_Gr_e', 'model')
    """
    word = re.sub(r"[^0-9A-Za-z_]+", "_", text).strip("_")
    return word if word and not word[0].isdigit() else f"{otherwise}_{word}".rstrip("_")


def one_line(text: str) -> str:
    """Text that can stand in a comment or a docstring: no control characters, and nothing that ends either."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown.replace("\\", "/").replace('"', "'").replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?")
