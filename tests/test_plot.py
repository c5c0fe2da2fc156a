"""Does plot draw what metrics.csv holds, and answer what it cannot draw?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli import Cli, amounts_rows, classes_rows, metrics, run_cli, summary, write_csv
from mlptrain.cli.chart import STAR

SMALL = "network: {hidden: [3]}\ntraining: {epochs: 6, batch_size: 8}\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plot")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows())
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows())
    for name, target in (("classes", "answer"), ("amounts", "price")):
        (folder / f"{name}.yaml").write_text(f"data: {{path: {name}.csv, target: {target}}}\n" + SMALL)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def test_one_run_shows_its_losses_with_the_best_epoch(cli: Cli, here: Path) -> None:
    result = cli("plot", "classes").succeeded()
    best = summary(here / "classes")["best_epoch"]
    legend, *plot = result.out.splitlines()
    assert legend == f"● train_loss  ▲ validation_loss {STAR} epoch {best}"
    assert sum(STAR in line for line in plot) == 1
    assert plot[-1].split() == ["epoch", "0", "1", "2", "3", "4", "5"]
    assert result.err == "next: mlptrain report classes\n"


def test_several_runs_are_told_apart_by_name(cli: Cli, here: Path) -> None:
    legend = cli("plot", "classes", "amounts", "--log").succeeded().out.splitlines()[0]
    assert legend.startswith("● classes validation_loss")
    assert "▲ amounts validation_loss" in legend


def test_runs_of_the_same_name_are_told_apart_by_their_folders(cli: Cli, here: Path) -> None:
    shutil.copytree(here / "classes", here / "other" / "classes")
    legend = cli("plot", "classes", "other/classes", "classes").succeeded().out.splitlines()[0]
    assert legend.count("validation_loss") == 2
    assert "other/classes validation_loss" in legend


def test_any_column_can_be_plotted(cli: Cli, here: Path) -> None:
    values = [float(value) for value in metrics(here / "classes")["gradient_norm"]]
    out = cli("plot", "classes", "--metric", "gradient_norm").succeeded().out
    ticks = [float(line.split("┤")[0].replace(",", "")) for line in out.splitlines() if "┤" in line]
    assert ticks
    assert min(values) <= min(ticks) < max(ticks) <= max(values) + 1e-9
    out = cli("plot", "classes", "--metric", "learning_rate", "--metric", "penalty").succeeded().out
    assert out.startswith("● learning_rate")


def test_a_misspelt_metric_is_answered_by_the_nearest(cli: Cli, here: Path) -> None:
    cli("plot", "classes", "--metric", "validation_los").refused(2, "did you mean 'validation_loss'?")
    cli("plot", "classes", "--metric", "zzz").refused(2, "it has step, train_loss")
    cli("plot", "classes", "amounts", "--metric", "validation_accuracy").refused(2, "'amounts' has no such column")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_a_picture_is_written_and_none_replaced(cli: Cli, here: Path, name: str, start: bytes) -> None:
    assert cli("plot", "classes", "amounts", "--out", name).succeeded().out == f"{name}\n"
    first = (here / name).read_bytes()
    assert first.startswith(start)
    cli("plot", "classes", "--out", name).refused(2, "exists already", "--force")
    cli("plot", "classes", "amounts", "--out", name, "--force").succeeded()
    assert (here / name).read_bytes() == first


def test_a_picture_of_another_kind_is_refused(cli: Cli, here: Path) -> None:
    cli("plot", "classes", "--out", "a.gif").refused(2, "must end in .png or .svg")


def test_what_has_no_curve_is_refused(cli: Cli, here: Path) -> None:
    cli("plot", "nowhere").refused(4, "no such run")
    cli("plot", "classes.csv").refused(4, "is not the folder of a run")
    lines = (here / "classes" / "metrics.csv").read_text().splitlines(keepends=True)
    (here / "classes" / "metrics.csv").write_text(lines[0])
    cli("plot", "classes").refused(2, "no epoch has a value of train_loss, validation_loss yet")
    (here / "classes" / "metrics.csv").write_text(lines[0] + lines[1] + "1,2,3")
    assert "epoch  0" in cli("plot", "classes").succeeded().out  # the last line is still being written
    (here / "classes" / "metrics.csv").write_bytes(b"\xff\x00\n1\n")
    cli("plot", "classes").refused(4, "metrics.csv", "damaged")
    (here / "classes" / "metrics.csv").unlink()
    cli("plot", "classes").refused(4, "no such file")
