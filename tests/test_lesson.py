"""Do `lessons` and `lesson` say, train and draw what they claim?"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from rich.cells import cell_len

from cli import LESSONS, TABLES, Cli, contents, metrics, run_cli, run_process
from mlptrain.cli.chart import plain
from mlptrain.cli.console import stderr_console
from mlptrain.cli.lesson import Request, studied
from mlptrain.cli.pictures import picture
from mlptrain.lessons.catalogue import CHAPTERS, find
from mlptrain.lessons.pictures import charts_of, dead_shares
from mlptrain.lessons.study import Study
from mlptrain.numbers import number
from mlptrain.report.boundary import SIZE, Plane
from mlptrain.report.charts.plane import Boundary
from mlptrain.report.page import figure

SHORT = ("--set", "training.epochs=5")
OWN = ("--set", "network.activation=softsign_mistaken")
"""What lesson 11 knows without --plugin."""
TITLES = {
    "losses": "Training loss by epoch",
    "validation_losses": "Validation loss by epoch",
    "boundary": "What the network says at each point",
    "paths": "Paths over the contour lines of the loss",
    "gradients": "Gradient norm of the first and the last layer",
    "dead_units": "Share of dead units by layer",
    "weights": "Weights of the first layer",
    "input_weights": "Sum of the absolute weights that leave each input",
}


class TestList:
    """mlptrain lessons"""

    def test_it_has_every_spec(self, cli: Cli) -> None:
        chapters = cli("lessons", "--json").succeeded().json()
        specs = [Path(one["spec"]) for chapter in chapters for one in chapter["lessons"]]
        assert specs == sorted(LESSONS.glob("*.yaml"))
        numbers = [one["number"] for chapter in chapters for one in chapter["lessons"]]
        assert numbers == [path.name.split("-")[0].lstrip("0") for path in specs]

    def test_it_has_a_line_for_each_chapter_and_says_how_to_run_one(self, cli: Cli) -> None:
        lines = cli("lessons").succeeded().out.splitlines()
        for chapter in CHAPTERS:
            assert sum(chapter.title in line and chapter.shows in line for line in lines) == 1
        assert lines[-1].startswith("next: mlptrain lesson 1")


class Page(HTMLParser):
    """The tags and the identifiers of a page, which must be closed as they were opened, and point nowhere else."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.identifiers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert "src" not in found
        assert found.get("href", "#").startswith("#")
        self.identifiers += [found["id"]] if "id" in found else []
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: str(chapter.number))
def test_every_lesson_is_read_out_trained_and_drawn(tmp_path: Path, chapter: object) -> None:
    assert isinstance(chapter, type(CHAPTERS[0]))
    run, own = (run_process, OWN) if chapter.plugin else (run_cli, ())  # a plugin would stay in this process
    done = run("lesson", chapter.number, *SHORT, *own, "--html", "page.html", folder=tmp_path).succeeded()
    text = " ".join(done.out.split())
    for lesson in chapter.lessons:
        assert f"Lesson {lesson.number}: {lesson.header.title}" in text
        assert all(" ".join(words.split()) in text for words in lesson.header.paragraphs)
        assert all(f"mlptrain lesson {lesson.number} {each.options}" in text for each in lesson.header.changes)
        assert (tmp_path / "runs" / f"{lesson.path.stem}-0001" / "spec.yaml").exists()
    assert [title for title in TITLES.values() if title in done.out.splitlines()] == [
        title for name, title in TITLES.items() if name in chapter.pictures
    ]
    page = Page()
    html = (tmp_path / "page.html").read_text(encoding="utf8")
    page.feed(html)
    assert not page.open
    assert len(page.identifiers) == len(set(page.identifiers))
    assert sum(name.startswith("chart-") for name in page.identifiers) == len(chapter.pictures)
    assert all(TITLES[name] in html for name in chapter.pictures)
    assert "metrics.csv" not in html + done.out


def test_one_lesson_of_several_and_its_figures(cli: Cli, tmp_path: Path) -> None:
    document = cli("lesson", "05E", "--json", "--out", "mine").succeeded().json()
    (run,) = document["runs"]
    assert (run["lesson"], run["diverged"]) == ("5e", False)
    losses = [float(value) for value in metrics(tmp_path / run["run"])["train_loss"]]
    below = next(i for i, loss in enumerate(losses) if loss < 1e-6)
    rises = sum(later > earlier for earlier, later in pairwise(losses))
    assert list(run["figures"].values()) == [below, rises, losses[-1]]
    assert below == pytest.approx(141, abs=3)
    assert Path(run["run"]) == Path("mine/05e-ravine-adam-0001")


class TestDivergence:
    """A run that diverges"""

    def test_it_is_part_of_the_lesson_that_wants_it(self, cli: Cli) -> None:
        done = cli("lesson", "3a").succeeded()
        assert "3a training diverged in epoch" in done.out
        assert "Training loss by epoch" in done.out

    def test_elsewhere_it_is_shown_and_then_a_failure(self, cli: Cli) -> None:
        done = cli("lesson", "5a", "--set", "optimizer.learning_rate=1.0")
        assert done.code == 6
        assert TITLES["paths"] in done.out
        assert "5a ravine-sgd: training diverged" in done.err


@pytest.mark.parametrize(
    ("word", "fragments"),
    [
        ("99", ("no lesson '99'", "from 1 to 11", "mlptrain lessons")),
        ("abc", ("no lesson 'abc'",)),
        ("5z", ("no lesson '5z'", "its lessons are 5a 5b 5c 5d 5e")),
        ("1b", ("no lesson '1b'", "mlptrain lesson 1")),
    ],
)
def test_a_lesson_that_is_not_there(cli: Cli, word: str, fragments: tuple[str, ...]) -> None:
    cli("lesson", word).refused(2, *fragments)


def test_a_setting_that_is_not_there_trains_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("lesson", "1", "--set", "trainng.epochs=5").code == 2
    assert contents(tmp_path) == {}


class TestCopy:
    """--copy DIR"""

    def test_the_copy_trains_as_the_lesson_does(self, cli: Cli, tmp_path: Path) -> None:
        assert cli("lesson", "1", "--copy", "a/b").succeeded().out.split() == ["a/b/01-xor.yaml", "a/b/data/xor.csv"]
        cli("fit", "a/b/01-xor.yaml", *SHORT, "--out", "copied", "--quiet").succeeded()
        cli("lesson", "1", *SHORT, "--quiet").succeeded()
        assert metrics(tmp_path / "copied") == metrics(tmp_path / "runs/01-xor-0001")

    def test_nothing_is_replaced(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "ravine.csv").write_text("mine")
        cli("lesson", "5", "--copy", ".").refused(2, "data/ravine.csv: exists already")
        assert contents(tmp_path) == {"data/ravine.csv": b"mine"}

    def test_a_plugin_comes_along(self, cli: Cli, tmp_path: Path) -> None:
        cli("lesson", "11", "--copy", ".").succeeded()
        assert (tmp_path / "11_softsign.py").read_bytes() == (LESSONS / "11_softsign.py").read_bytes()
        assert (tmp_path / "data" / "spiral.csv").exists()


def test_a_page_replaces_no_file(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    cli("lesson", "1", *SHORT, "--html", "page.html").refused(2, "--html page.html: exists already")
    assert contents(tmp_path) == {"page.html": b"mine"}


@pytest.mark.parametrize(
    ("word", "setting", "missing"),
    [
        ("1", "data.features=[x1]", "boundary"),
        ("5e", "network.hidden=[3]", "paths"),
        ("7a", "ensemble={members: 2, rows: shared}", None),
        ("10", "ensemble={members: 2, rows: shared}", "input_weights"),
    ],
)
def test_a_change_may_leave_a_picture_without_anything_to_draw(
    cli: Cli, word: str, setting: str, missing: str | None
) -> None:
    out = cli("lesson", word, "--set", setting, *SHORT).succeeded().out
    drawn = {title for title in TITLES.values() if title in out.splitlines()}
    wanted = {TITLES[name] for name in find(word)[0].chapter.pictures if name != missing}
    assert drawn == wanted


def study(word: str, *overrides: str) -> Study:
    """A lesson, trained in the present folder."""
    request = Request(word, overrides, None, None, None, False, True)
    return studied(find(word)[0], request, stderr_console(quiet=True))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


class TestPictures:
    """What the pictures show is so."""

    def test_the_border_of_a_linear_model_is_a_line(self, here: Path) -> None:
        done = study("2", "training.epochs=20")
        chart = next(each for each in charts_of([done]) if isinstance(each, Boundary))
        tensors = safetensors.numpy.load_file(done.run.folder.path / "checkpoint.safetensors")
        rows = np.loadtxt(TABLES / "xor.csv", delimiter=",", skiprows=1)[:, :2]
        scaled = (chart.plane.grid() - rows.mean(axis=0)) / rows.std(axis=0)
        z = scaled @ tensors["layers.0.weight"] + tensors["layers.0.bias"]
        expected = (z > 0).reshape(SIZE, SIZE)
        found = [*chart.maps.values()][-1]
        assert 0.1 < expected.mean() < 0.9
        assert (found == expected).mean() > 0.999

    def test_a_map_is_what_predict_says(self, here: Path) -> None:
        done = study("4b", "training.epochs=20")
        chart = next(each for each in charts_of([done]) if isinstance(each, Boundary))
        grid = chart.plane.grid()
        np.savetxt(here / "grid.csv", grid, "%.17g", ",", header="x1,x2", comments="")
        out = run_cli("predict", done.run.folder.path, "grid.csv", "--labels-only", folder=here).succeeded().out
        labels = np.array(out.split()[1:]).reshape(SIZE, SIZE)
        found = np.array(chart.plane.classes)[[*chart.maps.values()][-1]]
        assert (labels == found).all()
        assert set(labels.ravel()) == {"left", "right"}

    def test_the_boundary_of_any_run_can_be_plotted(self, cli: Cli, tmp_path: Path) -> None:
        data = ("--set", f"data.path={TABLES / 'spiral.csv'}", "--set", "data.target=arm", *SHORT)
        (tmp_path / "s.yaml").write_text("preset: plain\n")
        cli("fit", "s.yaml", *data, "--out", "run", "--quiet").succeeded()
        out = cli("plot", "run", "--boundary").succeeded().out
        assert "● left" in out
        assert "the trained model" in out
        assert cli("plot", "run", "--boundary", "--out", "b.svg").succeeded().out == "b.svg\n"
        cli("plot", "run", "--boundary", "--log").refused(2, "one run and no curves")
        cli("report", "run").succeeded()
        assert 'id="chart-boundary"' in (tmp_path / "run" / "report.html").read_text(encoding="utf8")
        cli("fit", "s.yaml", *data, "--set", "data.features=[x1]", "--out", "other", "--quiet").succeeded()
        cli("plot", "other", "--boundary").refused(2, "other: has no boundary to draw")

    def test_a_path_is_gradient_descent(self, here: Path) -> None:
        run_cli("lesson", "5a", "--set", "training.epochs=7", "--html", "page.html", folder=here).succeeded()
        page = (here / "page.html").read_text()
        cells = re.findall(r"<tr><th scope=\"row\">5a ravine-sgd</th>((?:<td[^>]*>[^<]*</td>){4})</tr>", page)
        found = [[float(cell) for cell in re.findall(r">([^<]+)</td>", row)] for row in cells]
        *x, y = np.loadtxt(TABLES / "ravine.csv", delimiter=",", skiprows=1).T
        inputs, weights, bias = np.column_stack(x), np.zeros(2), 0.0
        assert len(found) == 8
        for step, row in enumerate(found):
            assert row[:3] == pytest.approx([step, *weights], rel=1e-3, abs=1e-6)
            error = inputs @ weights + bias - y
            best = error - error.mean()  # the loss with the best bias
            assert row[3] == pytest.approx(float(np.mean(best**2)), rel=1e-3)
            weights, bias = weights - 0.1 * 2 * inputs.T @ error / len(y), bias - 0.1 * 2 * error.mean()

    def test_dead_units_are_counted(self, here: Path) -> None:
        done = study("7a", "training.epochs=5")
        rows = done.run.dataset.training.rows
        table = np.loadtxt(TABLES / "spiral.csv", delimiter=",", skiprows=1, usecols=(0, 1))[rows]
        a, shares = (table - table.mean(axis=0)) / table.std(axis=0), []
        tensors = safetensors.numpy.load_file(done.run.folder.path / "checkpoint.safetensors")
        for layer in (0, 1):
            a = np.maximum(a @ tensors[f"layers.{layer}.weight"] + tensors[f"layers.{layer}.bias"], 0)
            shares.append(float((a.max(axis=0) == 0).mean()))
        assert dead_shares(done.run, done.snapshots.kept[-1]) == shares
        assert max(shares) > 0

    def test_bars_are_sums_of_weights(self, cli: Cli, tmp_path: Path) -> None:
        out = cli("lesson", "10", *SHORT).succeeded().out
        weights = safetensors.numpy.load_file(tmp_path / "runs/10-l1-sparse-0001/model.safetensors")["layers.0.weight"]
        bars = dict(re.findall(r"^(x\d+) +[▏▎▍▌▋▊▉█]* (\S+)$", out, re.MULTILINE))
        sums = np.abs(weights.astype(np.float64)).sum(axis=1)
        assert bars == {f"x{i + 1}": number(value) for i, value in enumerate(sums.tolist())}

    def test_snapshots_of_a_long_run_are_thinned(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mlptrain.training.snapshots.MOST", 8)
        kept = study("2", "training.epochs=50").snapshots.kept
        assert kept[0].epochs == 0
        assert kept[-1].epochs == 50
        assert 5 <= len(kept) <= 10
        assert not np.array_equal(kept[0].parameters, kept[-1].parameters)

    @pytest.mark.parametrize("size", [(40, 6), (80, 20), (200, 46)])
    def test_no_line_is_wider_than_the_terminal(self, here: Path, size: tuple[int, int]) -> None:
        for word in ("5b", "7b", "9b", "10"):
            for chart in charts_of([study(word, "training.epochs=3")]):
                lines = plain(picture(chart, *size))
                assert max(map(cell_len, lines)) <= size[0]
                assert len(lines) >= 4

    def test_names_of_classes_are_shown_and_not_interpreted(self) -> None:
        points = np.array([[0.0, 0.0], [1.0, 1.0]])
        names = ("<script>", "\x1b[2J")
        plane = Plane.around(("a", "b"), points, np.array([0, 1]), names)
        chart = Boundary(plane, {"end": np.eye(SIZE, dtype=np.intp)})
        assert "<script>" not in figure(chart)
        assert "\x1b" not in "".join([*plain(picture(chart, 80, 20)), figure(chart)])
