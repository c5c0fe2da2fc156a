"""Does a table alone give a model: `init` writes a spec that trains, and `fit TABLE --target COLUMN` uses one?"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from cli import DATASETS, Cli, Row, Write, summary, write_csv
from mlptrain.spec import yaml

QUICK = ("--set", "training.epochs=1", "--set", "preset=quick", "--set", "training.baselines=false")


def label(i: int) -> str:
    return "ab"[(7 * i) % 23 > 11]


def day(i: int) -> str:
    return f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}"


TABLES: dict[str, tuple[str, str, Callable[[int], Row], str]] = {
    "classes": ("x,z,y", "y", lambda i: (i % 11, i % 7 / 2, label(i)), "task: classification"),
    "a quantity": ("x,z,y", "y", lambda i: (i % 11, i % 7, i % 13 / 4), "task: regression"),
    "few whole numbers": ("x,y", "y", lambda i: (i % 11 / 2, i % 3), "task: classification"),
    "more whole numbers": ("x,y", "y", lambda i: (i % 11 / 2, i * 7 % 40), "task: regression"),
    "dates": ("day,y", "y", lambda i: (day(i), label(i)), "date (YYYY-MM-DD)"),
    "many categories": ("city,y", "y", lambda i: (f"c{i % 110}", label(i)), "most frequent"),
    "gaps": ("x,w,y", "y", lambda i: ("" if i % 4 == 0 else i % 9, "", label(i)), "has no value in any training row"),
    "rows without a target": ("x,y", "y", lambda i: (i % 11, label(i) if i % 9 else ""), "missing_target: drop"),
    "a column of words and numbers": (
        "x,u,y",
        "y",
        lambda i: (i % 9, "n.a." if i == 3 else i % 5, label(i)),
        "exclude",
    ),
    "an identifier": ("id,x,y", "y", lambda i: (i + 1, i % 11, label(i)), "left out: it numbers the rows"),
    "a twin": ("x,y,twin", "y", lambda i: (i % 11, label(i), i % 11), "says the same as 'x'"),
    "the answer": ("x,y,leak", "y", lambda i: (i % 11, label(i), label(i).upper()), "tells 100% of the target alone"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_drafted_spec_trains_as_it_stands(cli: Cli, tmp_path: Path, name: str) -> None:
    header, target, row, said = TABLES[name]
    write_csv(tmp_path / "t.csv", header, [row(i) for i in range(240)])
    text = cli("init", "t.csv", "--target", target).succeeded().out
    assert said in text
    (tmp_path / "c.yaml").write_text(text)
    cli("fit", "c.yaml", "--out", "run", *QUICK).succeeded()


NAMES = ["a: b", "x # y", "it's", 'say "hi"', "{k}", "[id]", "*star", "no", "7 up", "ä ö", " spaces ", "- dash", "a,b"]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_quoted(cli: Cli, tmp_path: Path, name: str) -> None:
    odd = '"' + name.replace('"', '""') + '"'
    other = '"' + name.replace('"', '""') + ' 2"'
    lines = [f"{other},x,{odd}", *(f"{'n.a.' if i == 3 else i % 5},{i % 9},{label(i)}" for i in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    drafted = cli("init", "t.csv", "--target", name).succeeded()
    (tmp_path / "c.yaml").write_text(drafted.out)
    data = yaml.load(tmp_path / "c.yaml")[1].plain()["data"]  # type: ignore[call-overload, index]  # a mapping
    assert data["target"] == name  # type: ignore[call-overload, index]
    assert data["exclude"] == (f"{name} 2",)  # type: ignore[call-overload, index]
    cli("fit", "t.csv", "--target", name, "--out", "run", *QUICK).succeeded()
    cli("fit", "run.yaml", "--out", "again").succeeded()


def test_a_name_that_cannot_be_printed_stays_in_its_comment(cli: Cli, tmp_path: Path) -> None:
    names = {"x\n y: 1": "number", "\x1b[31m": "word"}
    rows = {"x\n y: 1": [float(i % 9) for i in range(60)], "\x1b[31m": list(map(label, range(60)))}
    assert names.keys() == rows.keys()
    pl.DataFrame(rows | {"y": list(map(label, range(60)))}).write_parquet(tmp_path / "t.parquet")
    text = cli("init", "t.parquet", "--target", "y").succeeded().out
    assert "\x1b" not in text
    (tmp_path / "c.yaml").write_text(text)
    cli("fit", "c.yaml", "--out", "run", *QUICK).succeeded()


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_delimiter_is_found(cli: Cli, tmp_path: Path, mark: str) -> None:
    write_csv(tmp_path / "t.csv", "x,z,y", [(i % 11, f"{i % 7},5", label(i)) for i in range(60)], mark)
    (tmp_path / "c.yaml").write_text(text := cli("init", "t.csv", "--target", "y").succeeded().out)
    assert "delimiter: " in text
    assert "amounts" in text
    cli("fit", "c.yaml", "--out", "run", *QUICK).succeeded()


def test_a_packed_table_and_one_of_tabs(cli: Cli, tmp_path: Path) -> None:
    table = write_csv(tmp_path / "t.tsv", "x,y", [(i % 11, label(i)) for i in range(60)], "\t")
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(table.read_bytes()))
    for name in ("t.tsv", "t.tsv.gz"):
        text = cli("init", name, "--target", "y").succeeded().out
        assert "name: t\n" in text
        assert "delimiter" not in text


def test_whole_numbers_are_not_decided_in_silence(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 11, i % 2) for i in range(60)])
    drafted = cli("init", "t.csv", "--target", "y").succeeded()
    assert "note: target 'y' holds 2 values: 0, 1: taken for classes; otherwise write task: regression" in drafted.err
    assert "taken for classes" in drafted.out
    cli("fit", "t.csv", "--target", "y", "--out", "run", *QUICK, "--set", "task=regression").succeeded()
    assert "task: regression" in (tmp_path / "run.yaml").read_text()
    assert "taken for classes" not in (tmp_path / "run.yaml").read_text()


def test_a_table_in_place_of_a_spec(cli: Cli, tmp_path: Path) -> None:
    table = (tmp_path / "iris.csv", DATASETS / "iris.csv")
    table[0].write_bytes(table[1].read_bytes())
    first = cli("fit", "iris.csv", "--target", "species", *QUICK).succeeded()
    assert first.out.rstrip().endswith("runs/iris-0001")
    assert "mlptrain fit runs/iris-0001.yaml" in first.err
    assert "epochs: 1" in (tmp_path / "runs/iris-0001.yaml").read_text()
    cli("fit", "runs/iris-0001.yaml").succeeded()
    same = [summary(tmp_path / f"runs/iris-000{i}")["results"] for i in (1, 2)]
    assert same[0] == same[1]


def test_the_number_of_a_spec_without_its_run_is_not_given_again(cli: Cli, classes: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/classes-0004.yaml").write_text("mine")
    cli("fit", classes, "--target", "answer", *QUICK).succeeded()
    assert (tmp_path / "runs/classes-0004.yaml").read_text() == "mine"
    assert (tmp_path / "runs/classes-0005.yaml").exists()


def test_nothing_is_overwritten(cli: Cli, classes: Path, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("mine")
    cli("init", classes, "--target", "answer", "--out", "c.yaml").refused(2, "c.yaml: exists")
    cli("fit", classes, "--target", "answer", "--out", "c").refused(2, "c.yaml: exists")
    assert (tmp_path / "c.yaml").read_text() == "mine"
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("verb", ["fit", "init"])
def test_a_table_without_a_target_gets_the_line_to_type(cli: Cli, tmp_path: Path, verb: str) -> None:
    write_csv(tmp_path / "my table.csv", "x,it's it", [(i % 11, label(i)) for i in range(60)])
    refused = cli(verb, "my table.csv").refused(2, "its 2 columns", "'x', 'it's it'")
    (line,) = re.findall(r"For the last one: mlptrain (.*)", refused.err)
    assert line == f"""{verb} 'my table.csv' --target 'it'"'"'s it'"""


def test_a_target_that_is_not_there(cli: Cli, classes: Path) -> None:
    cli("fit", classes, "--target", "anser").refused(3, "did you mean 'answer'?")
    cli("init", classes, "--target", "anser").refused(3, "did you mean 'answer'?")


def test_target_replaces_that_of_a_spec(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> None:
    spec("data: {path: classes.csv, target: answer}\ntraining: {epochs: 1}\n")
    cli("fit", "spec.yaml", "--target", "colour", "--out", "run").succeeded()
    assert "target: [colour]" in (tmp_path / "run/spec.yaml").read_text()


def test_several_targets(cli: Cli, tmp_path: Path) -> None:
    rows = [(i % 11, i % 2, i // 2 % 2, i % 7 / 2, i % 5 / 4) for i in range(80)]
    write_csv(tmp_path / "t.csv", "x,a,b,u,v", rows)
    labels = cli("init", "t.csv", "--target", "a", "--target", "b").succeeded().out
    assert "task: multilabel" in labels
    assert "task: regression" in cli("init", "t.csv", "--target", "u", "--target", "v").succeeded().out


def test_what_cannot_be_trained_on_is_refused(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "id,y", [(i, label(i)) for i in range(60)])
    cli("init", "t.csv", "--target", "y").refused(3, "no column is left to learn from", "numbers the rows")
    write_csv(tmp_path / "two.csv", "x,y", [(1, "a"), (2, "b")])
    cli("init", "two.csv", "--target", "y").refused(3, "two.csv")
    (tmp_path / "t.xlsx").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")
    cli("fit", "t.xlsx", "--target", "y").refused(3, "Excel workbook")
    cli("init", "absent.csv", "--target", "y").refused(3, "no such data file")


def test_the_line_for_editors_names_a_schema_that_is_there(cli: Cli, classes: Path, tmp_path: Path) -> None:
    assert not cli("init", classes, "--target", "answer").succeeded().out.startswith("# yaml-language-server")
    (tmp_path / "mlptrain.schema.json").write_text("{}")
    first = cli("init", classes, "--target", "answer").succeeded().out.splitlines()[0]
    assert first == "# yaml-language-server: $schema=mlptrain.schema.json"
    cli("fit", classes, "--target", "answer", *QUICK).succeeded()
    beside = (tmp_path / "runs/classes-0001.yaml").read_text().splitlines()[0]
    assert beside == "# yaml-language-server: $schema=../mlptrain.schema.json"
