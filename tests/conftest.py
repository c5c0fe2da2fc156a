"""What do the tests of the command line share? A folder to work in, a spec to write and two small tables."""

from __future__ import annotations

import os
import signal

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # two workers on two cores: more threads would only wait for each other

from pathlib import Path

import hypothesis
import pytest

from cli import Cli, Outcome, Write, amounts_rows, classes_rows, run_cli, write_csv
from mlptrain.spec import presets

hypothesis.settings.register_profile("usual", deadline=None, max_examples=30)  # a busy machine is no fault
hypothesis.settings.register_profile("few", deadline=None, max_examples=8)  # where the same tests ran just before
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=1000)  # --hypothesis-profile thorough
hypothesis.settings.load_profile("usual")

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell lets what it runs in the background ignore it, and what is ignored stays ignored."""

presets.DEFAULT = presets.Plain()
"""The tests are about the textbook network; those of the presets name one. `plain.py` does the same for a process."""

collect_ignore = ["plugins"]
"""Components of somebody's own: every test of the catalogue would find them once they were imported."""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """`mlptrain` in this process, in a folder of its own."""

    def run(*arguments: object, stdin: bytes = b"") -> Outcome:
        return run_cli(*arguments, folder=tmp_path, stdin=stdin)

    return run


@pytest.fixture
def spec(tmp_path: Path) -> Write:
    """Writes spec.yaml into that folder."""

    def write(text: str) -> Path:
        path = tmp_path / "spec.yaml"
        path.write_text(text, encoding="utf8")
        return path

    return write


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A table x1,x2,colour,answer of 40 rows in two classes."""
    return write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", classes_rows())


@pytest.fixture
def amounts(tmp_path: Path) -> Path:
    """A table x1,x2,price of 40 rows."""
    return write_csv(tmp_path / "amounts.csv", "x1,x2,price", amounts_rows())
