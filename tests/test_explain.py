"""Does `explain` name the columns and the classes, and is its page whole, safe and true?"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cli import Cli, Write, classes_rows, write_csv
from helpers import assert_close
from test_report import Page

SMALL = "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [3]}\ntraining: {epochs: 2, batch_size: 8}\n"
INPUTS = ["x1", "x2", "colour=blue", "colour=green", "colour=red", "colour=(unknown)"]


@pytest.mark.usefixtures("classes")
def test_inputs_and_classes_have_their_names(cli: Cli, spec: Write) -> None:
    stages = cli("explain", spec(SMALL), "--json").succeeded().json()["stages"]
    found = {stage["formula"].split(" = ")[0]: (stage["rows"], stage["columns"]) for stage in stages}
    classes = ["no", "yes"]
    assert found["x"] == (None, INPUTS)
    assert found["W0"] == found["dL/dW0"] == found["change of W0"] == found["W0, new"] == (INPUTS, None)
    for name in ("W1", "dL/dW1", "z1", "a1", "dL/da1", "prediction"):
        assert found[name] == (None, classes)
    assert found["z0"] == found["b0"] == (None, None)
    out = cli("explain", spec(SMALL), "--rows", 6).succeeded().out
    (line,) = [line for line in out.splitlines() if line.split()[:1] == ["x1"] and "x2" in line]
    assert line.split() == INPUTS


@pytest.mark.usefixtures("classes")
def test_a_large_matrix_shows_fewer_columns_than_are_asked_for_rather_than_break(cli: Cli, spec: Write) -> None:
    out = cli("explain", spec(SMALL), "--rows", 40, "--set", "network.hidden=[90]").succeeded().out
    assert max(map(len, out.splitlines())) <= 120
    assert "…" in out


@pytest.mark.usefixtures("classes")
def test_the_page_draws_the_network_with_its_numbers(cli: Cli, spec: Write, tmp_path: Path) -> None:
    assert cli("explain", spec(SMALL), "--html", "new/step.html").succeeded().out == "new/step.html\n"
    page = Page(tmp_path / "new" / "step.html")
    assert page.charts == {"forward", "backward"}
    assert len(page.named("title")) == 3
    assert not re.search(r"(src|href)=\"(?!#)", page.raw)
    stages = {
        stage["formula"].split(" = ")[0]: stage for stage in cli("explain", spec(SMALL), "--json").json()["stages"]
    }
    for value in (*np.ravel(stages["W0"]["value"]), *np.ravel(stages["W1"]["value"]), *stages["x"]["value"][0]):
        if 0.01 <= abs(value) < 10:
            assert f"{value:.2f}" in page.texts
    assert set(INPUTS) <= set(page.texts)
    assert {"no", "yes", "prediction", "Backward, layer 0"} <= {text.strip() for text in page.texts}


@pytest.mark.usefixtures("classes")
def test_a_large_network_is_drawn_by_its_ends_without_numbers_at_the_lines(
    cli: Cli, spec: Write, tmp_path: Path
) -> None:
    cli("explain", spec(SMALL), "--set", "network.hidden=[300, {kind: scale}]", "--html", "step.html").succeeded()
    page = Page(tmp_path / "step.html")
    assert page.texts.count("\u22ee") == 4
    assert len(page.raw) < 1_000_000
    assert "Of many units, 4 at each end are drawn." in page.text


@pytest.mark.usefixtures("classes")
def test_nothing_is_overwritten_unasked(cli: Cli, spec: Write, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("mine")
    cli("explain", spec(SMALL), "--html", "page.html").refused(2, "page.html: exists already", "--force")
    assert (tmp_path / "page.html").read_text() == "mine"
    cli("explain", spec(SMALL), "--html", "page.html", "--force").succeeded()
    assert "<svg" in (tmp_path / "page.html").read_text()


def test_names_of_a_table_are_escaped_on_both_pages(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(a, b, colour, "<i>no\x1b[2J" if answer == "no" else "yes") for a, b, colour, answer in classes_rows()]
    write_csv(tmp_path / "classes.csv", "<script>alert(1)</script>,x$2$,colour,answer", rows)
    spec(SMALL)
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    cli("explain", "spec.yaml", "--html", "step.html").succeeded()
    cli("explain", "run", "--row", 1, "--html", "row.html").succeeded()
    for name in ("step.html", "row.html"):
        page = Page(tmp_path / name)
        assert not page.named("script")
        assert not page.named("i")
        assert "\x1b" not in page.raw
        assert "script" in page.raw
    out = cli("explain", "spec.yaml").out + cli("explain", "run", "--row", 1).out
    assert "\x1b" not in out


@pytest.mark.usefixtures("amounts")
def test_the_page_of_a_row_has_the_numbers_of_the_terminal(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec(SMALL.replace("classes", "amounts").replace("answer", "price"))
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    told = cli("explain", "run", "--row", 7, "--json", "--html", "row.html").succeeded().json()
    page = Page(tmp_path / "row.html")
    assert page.charts == {"contributions-0"}
    assert "Row 7 of amounts.csv (line 8)" in page.text
    assert [each["column"] for each in told["outputs"][0]["columns"]] == [
        text for text in page.texts if text in ("x1", "x2")
    ]
    output = told["outputs"][0]
    added = sum(each["contribution"] for each in output["columns"])
    assert_close(added, output["prediction"] - output["mean"], 1e-5)
