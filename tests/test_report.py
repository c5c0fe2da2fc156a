"""Is the page of a report whole, safe, true to the files, and honest about runs that did not end well?"""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cli import Cli, amounts_rows, classes_rows, run_cli, write_csv
from mlptrain.report.build import is_report

FORMATS = Path(__file__).parent / "formats"
SMALL = "network: {hidden: [3]}\ntraining: {epochs: 4, batch_size: 8}\n"
EVIL = ("<script>alert(1)</script>", "a\x1b[2Jb", '$x_1$ & "quoted"')


class Page(HTMLParser):
    """A page as its tags and its texts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.raw = path.read_text(encoding="utf8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._in_style = False
        self.feed(self.raw)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_style = tag == "style"

    def handle_data(self, data: str) -> None:
        if not self._in_style and data.strip():
            self.texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    @property
    def text(self) -> str:
        return " ".join(self.texts)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def charts(self) -> set[str]:
        return {(each["id"] or "").removeprefix("chart-") for each in self.named("figure")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on classes, one on amounts and one in folds, and the page of each."""
    folder = tmp_path_factory.mktemp("trained")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows(60))
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows(60))
    specs = {
        "classes": "data: {path: classes.csv, target: answer}\n" + SMALL,
        "amounts": "data: {path: amounts.csv, target: price, split: {test: 0}}\n" + SMALL,
        "folds": "data: {path: classes.csv, target: answer, split: {validation: 0, test: 0}}\n"
        "ensemble: {members: 3, rows: folds, blend: true}\n" + SMALL,
    }
    for name, spec in specs.items():
        (folder / f"{name}.yaml").write_text(spec)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
        run_cli("report", name, folder=folder).succeeded()
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test; the runs still know the tables by their first place."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def test_the_page_of_classes_has_every_chart_and_table(trained: Path) -> None:
    page = Page(trained / "classes" / "report.html")
    assert page.charts == {
        *("losses", "metric", "gradients", "weights", "activations", "confusion", "roc", "precision-recall"),
        *("calibration", "threshold", "importance", "dependence"),
    }
    for words in (
        "Verdict",
        "What to try next",
        "By class",
        "Worst rows",
        "Split",
        "Environment",
        "Spec",
        "9 test rows",
    ):
        assert words in page.text, words
    assert {"x1", "x2", "colour", "answer"} <= set(page.texts)
    assert "epochs: 4" in page.text


def test_the_page_of_amounts_has_every_chart_and_says_which_rows(trained: Path) -> None:
    page = Page(trained / "amounts" / "report.html")
    assert page.charts == {
        *("losses", "metric", "gradients", "weights", "activations", "predicted-true", "errors"),
        *("errors-by-prediction", "errors-by-truth", "importance", "dependence"),
    }
    assert "9 validation rows (there are no test rows)" in page.text


def test_rows_in_folds_are_predicted_by_what_was_trained_without_them(trained: Path, cli: Cli) -> None:
    page = Page(trained / "folds" / "report.html")
    assert "each predicted by the networks that were trained without it" in page.text
    results = Page(trained / "folds" / "report.html").text
    summary = (trained / "folds" / "summary.json").read_text()
    accuracy = re.search(r'"validation": \{[^}]*"accuracy": ([\d.]+)', summary)
    assert accuracy
    right = round(float(accuracy[1]) * 60)
    assert f"{right} of 60 rows are right" in results


@pytest.mark.parametrize("name", ["classes", "amounts", "folds"])
def test_the_page_needs_nothing_else_and_runs_nothing(trained: Path, name: str) -> None:
    page = Page(trained / name / "report.html")
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "image"}
    assert "http" not in page.raw
    assert "@import" not in page.raw
    assert not re.search(r"url\((?!#)", page.raw)
    names = {key for _, attributes in page.tags for key in attributes}
    assert not {key for key in names if key.startswith("on")} | (names & {"src", "srcset"})
    targets = [attributes["href"] or "" for _, attributes in page.tags if "href" in attributes]
    assert all(target.startswith("#") for target in targets)


@pytest.mark.parametrize("name", ["classes", "amounts"])
def test_every_reference_finds_its_place_and_no_place_has_two_names(trained: Path, name: str) -> None:
    page = Page(trained / name / "report.html")
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', page.raw)
    assert set(references) <= set(ids)


@pytest.mark.parametrize("name", ["classes", "amounts"])
def test_every_chart_can_be_read_by_a_screen_reader(trained: Path, name: str) -> None:
    page = Page(trained / name / "report.html")
    assert len(page.named("svg")) == len(page.charts)
    for svg in page.named("svg"):
        assert svg["role"] == "img"
        labels = (svg["aria-labelledby"] or "").split()
        assert len(labels) == 2
        assert all(any(attributes.get("id") == label for _, attributes in page.tags) for label in labels)
    assert len(page.named("title")) == len(page.charts) + 1
    assert len(page.named("desc")) == len(page.charts)
    assert len(page.named("details")) == len(page.charts)


def test_charts_follow_light_and_dark(trained: Path) -> None:
    """No colour is written into a chart: each is a variable, which the style sheet has twice."""
    raw = Page(trained / "classes" / "report.html").raw
    style, body = raw.split("</style>")
    assert "prefers-color-scheme:dark" in style
    assert "@media print" in style
    assert not re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", body)
    used = set(re.findall(r"var\(--(\w+)\)", body))
    assert used >= {"text", "grid", "c1", "c2"}
    assert all(style.count(f"--{name}:") == 3 for name in used)


def test_nothing_is_cut_on_paper_and_no_chart_is_tiny_on_a_telephone(trained: Path) -> None:
    style = Page(trained / "classes" / "report.html").raw.partition("</style>")[0]
    screen, paper = style.split("@media print{body")
    assert ".scroll{max-height:none;overflow:visible" in paper
    assert re.search(r"(?<!p)\.wide\{break-after:avoid", paper) is None  # chained, it would leave the first page empty
    assert "figure.wide{overflow-x:auto}" in screen
    assert ".wide>svg{min-width:640px}" in screen
    assert ".wide>svg,.drawing svg{min-width:0}" in paper


def test_the_worst_rows_are_those_lines_of_the_file(trained: Path) -> None:
    raw = Page(trained / "classes" / "report.html").raw
    table = raw[raw.index('id="worst"') :]
    head = re.findall(r"<th scope=\"col\"[^>]*>([^<]*)<", table[: table.index("</thead>")])
    assert head[:5] == ["line", "true", "predicted", "probability of the true class", "loss"]
    lines = (trained / "classes.csv").read_text().splitlines()
    columns = lines[0].split(",")
    rows = re.findall(r"<tr>(<th scope=\"row\".*?)</tr>", table[: table.index("</table>")])
    assert len(rows) == 9
    losses = []
    for row in rows:
        line, true, _, _, loss, *values = re.findall(r">([^<]*)</t[hd]>", row)
        cells = dict(zip(columns, lines[int(line) - 1].split(","), strict=True))
        assert true == cells["answer"]
        for name, value in zip(head[5:], values, strict=True):
            assert value == (cells[name] if name == "colour" else f"{float(cells[name]):g}")
        losses.append(float(loss))
    assert losses == sorted(losses, reverse=True)


def test_the_same_run_gives_the_same_page(cli: Cli, here: Path) -> None:
    page = here / "classes" / "report.html"
    before = page.read_bytes()
    cli("report", "classes").succeeded()
    assert page.read_bytes() == before


def test_names_of_all_kinds_are_escaped(cli: Cli, tmp_path: Path) -> None:
    rows = [
        (a, b, f'"{["<b>bold</b>", "</style>", "]]>"][i % 3]}"', "<i>yes</i>" if word == "yes" else "n\x07o")
        for i, (a, b, _, word) in enumerate(classes_rows(60))
    ]
    names = ['"' + name.replace('"', '""') + '"' for name in EVIL]
    table = [",".join(names) + ",t", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "evil.csv").write_text("\n".join(table) + "\n")
    (tmp_path / "evil.yaml").write_text("data: {path: evil.csv, target: t}\n" + SMALL)
    cli("fit", "evil.yaml", "--out", "evil", "--quiet").succeeded()
    cli("report", "evil").succeeded()
    page = Page(tmp_path / "evil" / "report.html")
    assert "script" not in {tag for tag, _ in page.tags}
    assert not {"i", "script"} & {tag for tag, _ in page.tags}
    assert len(page.named("style")) == page.raw.count("<style")
    assert {EVIL[0], EVIL[2], "a␛[2Jb", "<i>yes</i>", "n␇o", "</style>"} <= set(page.texts)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", page.raw)


def test_an_older_report_is_written_again_and_no_other_file(cli: Cli, here: Path) -> None:
    cli("report", "classes", "--out", "deep/er/page.html").succeeded()
    assert is_report(here / "deep" / "er" / "page.html")
    mine = here / "mine.html"
    mine.write_text("<p>mine</p>")
    cli("report", "classes", "--out", "mine.html").refused(2, "mine.html", "is not a report of mlptrain", "--force")
    assert mine.read_text() == "<p>mine</p>"
    result = cli("report", "classes", "--out", "mine.html", "--force").succeeded()
    assert result.out == "mine.html\n"
    assert is_report(mine)


def test_each_chart_is_a_picture_for_slides(cli: Cli, here: Path) -> None:
    result = cli("report", "amounts", "--png", "slides", "--json").succeeded().json()
    charts = Page(here / "amounts" / "report.html").charts
    files = sorted((here / "slides").iterdir())
    assert {file.stem for file in files} == charts
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert set(result["pictures"]) == {str(Path("slides") / file.name) for file in files}
    assert result["report"] == "amounts/report.html"
    assert result["verdict"]["quality"].startswith("R2 ")
    assert all(each["command"].startswith("mlptrain fit amounts/spec.yaml --set ") for each in result["next"])
    assert result["gaps"] == []
    cli("report", "amounts", "--png", "slides").refused(2, "exists already", "--force")


def test_an_unfinished_run_says_so_and_shows_what_there_is(cli: Cli, here: Path) -> None:
    for name in ("model.safetensors", "summary.json", "report.html"):
        (here / "classes" / name).unlink()
    cli("report", "classes").succeeded()
    page = Page(here / "classes" / "report.html")
    assert "Training has not ended. 4 epochs are done. Go on with: mlptrain fit --resume classes" in page.text
    assert {"losses", "weights", "confusion", "importance"} <= page.charts


def test_a_diverged_run_says_so_and_what_may_help(cli: Cli, here: Path) -> None:
    change = ("--set", "optimizer={kind: sgd, learning_rate: 1.0e+18}")
    cli("fit", "amounts.yaml", *change, "--out", "wild", "--report", "--quiet").refused(6, "diverged")
    page = Page(here / "wild" / "report.html")
    assert "Training diverged" in page.text
    assert "--set optimizer.learning_rate=1.0e+17" in page.text


def test_changed_data_are_said_and_the_curves_still_shown(cli: Cli, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "table.csv", "x1,x2,colour,answer", classes_rows(60))
    (tmp_path / "spec.yaml").write_text("data: {path: table.csv, target: answer}\n" + SMALL)
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    with table.open("a") as file:
        file.write("1,1,red,yes\n")
    result = cli("report", "run").succeeded()
    assert "note: nothing is shown about rows and columns" in result.err
    page = Page(tmp_path / "run" / "report.html")
    assert "changed since the model was trained" in page.text
    assert page.charts == {"losses", "metric", "gradients", "weights"}
    table.unlink()
    cli("report", "run").succeeded()
    assert "no such" in Page(tmp_path / "run" / "report.html").text


def test_two_rows_are_enough(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "tiny.csv", "x,y", [(1.0, 1.5), (2.0, 2.5)])
    spec = "data: {path: tiny.csv, target: y, split: {validation: 0, test: 0}}\ntraining: {epochs: 1}\n"
    (tmp_path / "tiny.yaml").write_text(spec)
    cli("fit", "tiny.yaml", "--out", "tiny", "--quiet").succeeded()
    cli("report", "tiny").succeeded()
    page = Page(tmp_path / "tiny" / "report.html")
    assert "2 training rows (there are no others), which flatter the model" in page.text
    assert "nothing is known about new ones" in page.text


def test_many_labels_are_measured_one_by_one(cli: Cli, tmp_path: Path) -> None:
    rows = [(*row[:2], int(i % 3 == 0), int(row[3] == "yes")) for i, row in enumerate(classes_rows(60))]
    write_csv(tmp_path / "labels.csv", "x1,x2,third,good", rows)
    spec = "data: {path: labels.csv, target: [third, good]}\nloss: binary_cross_entropy\n" + SMALL
    (tmp_path / "labels.yaml").write_text(spec)
    cli("fit", "labels.yaml", "--out", "labels", "--quiet").succeeded()
    cli("report", "labels").succeeded()
    page = Page(tmp_path / "labels" / "report.html")
    assert {"roc", "calibration", "dependence"} <= page.charts
    assert not {"confusion", "threshold"} & page.charts
    assert {"third", "good"} <= set(page.texts)


def test_an_image_has_no_columns_to_rank(cli: Cli, tmp_path: Path) -> None:
    shutil.copy(FORMATS / "2" / "pixels.npz", tmp_path)
    spec = "data: {path: pixels.npz, target: digit}\ntask: classification\n" + SMALL
    (tmp_path / "pixels.yaml").write_text(spec)
    cli("fit", "pixels.yaml", "--out", "pixels", "--quiet").succeeded()
    cli("report", "pixels").succeeded()
    page = Page(tmp_path / "pixels" / "report.html")
    assert "confusion" in page.charts
    assert "importance" not in page.charts


def test_a_run_of_the_first_format_is_shown_as_far_as_its_files_go(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "old"
    run.mkdir()
    shutil.copy(FORMATS / "1" / "classes.safetensors", run / "model.safetensors")
    (run / "spec.yaml").write_text("data: {path: classes.csv, target: answer}\n")
    cli("report", "old").refused(4, "metrics.csv", "no such file")
    (run / "metrics.csv").write_text("epoch,train_loss,validation_loss\n0,1.0,1.1\n1,0.5,0.7\n")
    cli("report", "old").succeeded()
    page = Page(run / "report.html")
    assert {"losses", "weights"} <= page.charts


def test_what_is_no_run_is_refused(cli: Cli, here: Path) -> None:
    cli("report", "nowhere").refused(4, "nowhere: no such run")
    cli("report", "classes.csv").refused(2, "is a file; report takes the folder of a run")
    (here / "empty").mkdir()
    cli("report", "empty").refused(4, "is not the folder of a run")
    metrics = here / "classes" / "metrics.csv"
    metrics.write_text(metrics.read_text() + "what,is,this\n")
    cli("report", "classes").refused(4, "metrics.csv", "damaged")


def test_fit_writes_the_report_at_its_end(cli: Cli, here: Path) -> None:
    result = cli("fit", "classes.yaml", "--out", "again", "--report", "--json").succeeded()
    assert result.json()["run"] == "again"
    assert "report: again/report.html" in result.err
    assert Page(here / "again" / "report.html").charts == Page(here / "classes" / "report.html").charts
