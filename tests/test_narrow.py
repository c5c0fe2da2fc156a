"""Is no figure cut in a narrow terminal, and does each command say what may follow?"""

from __future__ import annotations

import importlib
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli import classes_rows, run_cli, write_csv
from mlptrain.cli import console, plot
from mlptrain.cli.chart import plain
from mlptrain.cli.console import Screen, confusion_table, next_lines, print_notes
from mlptrain.cli.fitting import in_lines
from mlptrain.cli.pictures import picture
from mlptrain.cli.runs import table
from mlptrain.cli.streams import between_words
from mlptrain.reference import catalogue
from mlptrain.report.boundary import SIZE, Plane
from mlptrain.report.charts.plane import Boundary
from mlptrain.report.text import shortened, visible, width_of
from mlptrain.runs.listing import Listed

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
    for name in ("console", "gradcheck", "runs", "compare", "plot", "components"):
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
def test_no_formula_is_cut_and_no_component_is_missing(folder: Path) -> None:
    said = run_cli("components", folder=folder).succeeded().out
    assert "…" not in said
    assert max(map(cell_len, said.splitlines())) <= 40
    names = {line.split()[0] for line in said.splitlines() if line[:1].strip()}
    assert {variant.name() for _, _, found in catalogue() for variant in found} <= names


@pytest.mark.usefixtures("narrow")
def test_the_verdict_of_a_gradient_is_shown_where_counts_are_not(folder: Path) -> None:
    head = run_cli("gradcheck", "s.yaml", folder=folder).succeeded().out.splitlines()[0]
    assert head.split() == ["tensor", "relative", "error", "verdict"]


@pytest.mark.parametrize(("width", "fits"), [(12, False), (20, True), (30, True), (60, True)])
def test_a_matrix_is_whole_or_not_shown(monkeypatch: pytest.MonkeyPatch, width: int, fits: bool) -> None:
    screen = Screen(width=width)
    monkeypatch.setattr(console, "stdout_console", lambda: screen)
    table = confusion_table(["no", "perhaps"], [[1, 20_000], [3, 4]])
    assert (table is not None) == fits
    if table is not None:
        with screen.capture() as said:
            screen.print(table)
        last = [line.split()[-3:] for line in said.get().splitlines()[-2:]]
        assert last == [["no", "1", "20000"], ["perhaps", "3", "4"]]


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


@pytest.mark.usefixtures("narrow")
def test_every_run_has_its_results_at_40_columns(folder: Path) -> None:
    said = run_cli("compare", "runs/s-0001", "runs/s-0002", folder=folder).succeeded().out
    rows = [line.split() for line in said.splitlines() if "loss" in line and "accuracy" in line]
    assert rows
    assert len(re.findall(r"^s-000[12] ?(?:\(test\))? +[\d.]+ +[\d.]+", said, re.MULTILINE)) == 2


def test_runs_of_classes_and_of_quantities_each_show_their_own_metric() -> None:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    each: list[dict[str, float | None]] = [
        {"loss": 1.0, "rmse": 2.0, "mae": 3.0},
        {"loss": 0.4, "accuracy": 0.9, "macro_f1": 0.8},
    ]
    some = [Listed(Path(f"runs/{i}"), "epochs", 3, 2, "test", found, began) for i, found in enumerate(each)]
    screen = Screen(width=80)
    with screen.capture() as said:
        screen.print(table(some, None))
    assert said.get().split()[:4] == ["run", "loss", "rmse", "accuracy"]


def test_classes_with_long_names_are_numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(width=40)
    monkeypatch.setattr(console, "stdout_console", lambda: screen)
    matrix = confusion_table(["a" * 60, "红" * 40], [[1, 2], [3, 4]])
    assert matrix is not None
    with screen.capture() as said:
        screen.print(matrix)
    lines = said.get().splitlines()
    assert lines[0].split()[-2:] == ["1", "2"]
    assert [line.split()[-2:] for line in lines[1:] if re.search(r"\d$", line)] == [["1", "2"], ["3", "4"]]
    assert max(map(cell_len, lines)) <= 40


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 20), (80, 24), (200, 50)])
def test_a_chart_and_what_follows_leave_its_legend_on_the_screen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    monkeypatch.setattr(plot, "stdout_console", lambda: Screen(width=width, height=height, force_terminal=True))
    outcome = run_cli("plot", "runs/s-0001", "runs/s-0002", folder=folder).succeeded()
    lines = outcome.out.splitlines() + wrap(outcome.err, width)
    assert len(lines) < height
    legend = outcome.out.partition("┤")[0]
    assert "s-0001" in legend
    assert "s-0002" in legend


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 20), (80, 24), (200, 50)])
def test_a_map_fits_on_the_screen_and_names_its_axes(width: int, height: int) -> None:
    plane = Plane.around(("east", "北" * 40), np.array([[0.0, 0.0], [1.0, 20.0]]), np.array([0, 1]), ("no", "yes"))
    lines = plain(picture(Boundary(plane, {"the trained model": np.eye(SIZE, dtype=np.intp)}), width, height))
    assert len(lines) < height
    assert max(map(cell_len, lines)) <= width
    axes = [text for text in lines[-2:] if re.match("[→↑]", text)]
    assert "→ east -0.12 to 1.12" in axes[0]
    assert "-2.4 to 22.4" in axes[-1]


@pytest.mark.parametrize("width", [30, 40, 60])
@pytest.mark.parametrize("command", ["", "fit", "evaluate", "explain", "components", "predict"])
def test_no_help_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    said = run_cli(*command.split(), "--help", folder=tmp_path).succeeded().out
    assert "…" not in said
    assert max(len(line) for line in said.splitlines() if len(line.split()) > 1) <= width
    monkeypatch.setenv("COLUMNS", "200")
    whole = run_cli(*command.split(), "--help", folder=tmp_path).succeeded().out
    options = set(re.findall(r"--[a-z][a-z-]+", whole))
    assert options
    assert options <= set(re.findall(r"--[a-z][a-z-]+", said))


def test_a_message_is_broken_between_words_and_a_line_of_a_file_is_not() -> None:
    excerpt = "   1 | data: {path: a long line of a file.csv, tagret: x}\n     |              ^"
    lines = between_words(f"mlptrain: no such file or directory\n{excerpt}", 20).splitlines()
    assert lines[:2] == ["mlptrain: no such", "file or directory"]
    assert lines[2:] == excerpt.splitlines()


def test_a_command_in_a_message_can_be_pasted() -> None:
    lines = between_words("mlptrain: interrupted; resume with: mlptrain fit --resume runs/a-0001", 30).splitlines()
    assert lines == ["mlptrain: interrupted; resume", "with:", "mlptrain fit --resume runs/a-0001"]


def test_a_note_on_a_terminal_has_its_command_on_one_line() -> None:
    screen = Screen(width=40, force_terminal=True)
    with screen.capture() as said:
        print_notes(screen, ["unfinished, stopped in epoch 38; continue with: mlptrain fit --resume runs/a-0001"])
    assert said.get().splitlines()[-1] == "mlptrain fit --resume runs/a-0001"


@given(st.text("ab ", min_size=1, max_size=60), st.integers(20, 80))
def test_the_reason_of_a_command_is_a_comment_on_every_line(why: str, width: int) -> None:
    lines = [line[6:] for line in next_lines([("mlptrain runs", why)], width)]
    commands = [line for line in lines if not line.startswith("#")]
    assert [line.partition("   #")[0] for line in commands] == ["mlptrain runs"]
