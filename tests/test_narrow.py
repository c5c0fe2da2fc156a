"""Is no figure cut in a narrow terminal, and does each command say what may follow?"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli import classes_rows, run_cli, write_csv
from mlptrain.cli import console
from mlptrain.cli.console import Screen, confusion_table
from mlptrain.cli.fitting import in_lines
from mlptrain.report.text import shortened, visible, width_of

SPEC = "data: {path: t.csv, target: answer}\nnetwork: {hidden: [3]}\ntraining: {epochs: 3, batch_size: 8}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, a spec and two runs."""
    folder = tmp_path_factory.mktemp("narrow")
    write_csv(folder / "t.csv", "x1,x2,colour,answer", classes_rows(60))
    (folder / "s.yaml").write_text(SPEC)
    for seed in ("1", "2"):
        run_cli("fit", "s.yaml", "--quiet", "--set", f"seed={seed}", folder=folder).succeeded()
    return folder


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 40 columns."""
    for name in ("console", "gradcheck", "runs", "compare"):
        module = importlib.import_module(f"mlptrain.cli.{name}")
        monkeypatch.setattr(module, "stdout_console", lambda: Screen(width=40))


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    "line", ["evaluate runs/s-0001", "runs", "compare runs/s-0001 runs/s-0002", "gradcheck s.yaml"]
)
def test_nothing_is_cut_at_40_columns(folder: Path, line: str) -> None:
    said = run_cli(*line.split(), folder=folder).succeeded().out
    table = [text for text in said.splitlines() if re.search(r"\d", text)]
    assert table
    assert "…" not in said


@pytest.mark.usefixtures("narrow")
def test_the_verdict_of_a_gradient_is_shown_where_counts_are_not(folder: Path) -> None:
    head = run_cli("gradcheck", "s.yaml", folder=folder).succeeded().out.splitlines()[0]
    assert head.split() == ["tensor", "relative", "error", "verdict"]


@pytest.mark.parametrize(("width", "fits"), [(20, False), (30, True), (60, True)])
def test_a_matrix_is_whole_or_not_shown(monkeypatch: pytest.MonkeyPatch, width: int, fits: bool) -> None:
    screen = Screen(width=width)
    monkeypatch.setattr(console, "stdout_console", lambda: screen)
    table = confusion_table(["no", "perhaps"], [[1, 20_000], [3, 4]])
    assert (table is not None) == fits
    if table is not None:
        with screen.capture() as said:
            screen.print(table)
        assert said.get().split()[-6:] == ["no", "1", "20000", "perhaps", "3", "4"]


@pytest.mark.parametrize(
    ("line", "following"),
    [
        ("inspect t.csv --target answer", "init t.csv --target answer"),
        ("inspect s.yaml --set seed=3", "check s.yaml --set seed=3"),
        ("evaluate runs/s-0001", "report runs/s-0001"),
        ("plot runs/s-0001 runs/s-0002", "compare runs/s-0001 runs/s-0002"),
        ("runs --sort loss --name 0002", "report runs/s-0002"),
    ],
)
def test_each_command_says_what_may_follow(folder: Path, line: str, following: str) -> None:
    said = run_cli(*line.split(), folder=folder).succeeded().err
    assert said.endswith(f"next: mlptrain {following}\n")
    if not following.startswith("report"):  # which takes seconds, and is called so in tests/test_report.py
        assert run_cli(*shlex.split(following), folder=folder).code in (0, 6)


def test_no_run_is_followed_by_nothing(folder: Path) -> None:
    assert run_cli("runs", "--name", "nothing", folder=folder).succeeded().err == ""


@given(st.text(st.sampled_from("ab_.-/ 红🦊"), max_size=60), st.integers(2, 30))
def test_a_name_in_lines_is_whole_and_fits(name: str, width: int) -> None:
    lines = in_lines(name, width).split("\n")
    assert all(cell_len(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")


def test_a_name_is_broken_between_its_parts() -> None:
    assert in_lines("optimizer.learning_rate", 15).split("\n") == ["optimizer.", "learning_rate"]


@given(st.text(st.sampled_from("ab 红🦊\u200d\ufe0f\x1b"), max_size=40), st.integers(3, 30))
def test_a_shortened_name_is_no_wider_than_asked(name: str, most: int) -> None:
    short = shortened(name, most)
    assert width_of(short) <= most
    assert "\x1b" not in short


def test_emoji_that_are_joined_stay_joined() -> None:
    assert visible("👩\u200d👧 a\u200db") == "👩\u200d👧 a�b"
