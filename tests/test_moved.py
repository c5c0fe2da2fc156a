"""Is a run known by what is in its tables, wherever it and they are?"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from cli import Cli, Write, classes_rows, contents, run_cli, same_bytes, write_csv

SPEC = """preset: plain
data: {path: tables/classes.csv, target: answer, split: {test: 0.2}}
network: {hidden: [4]}
training: {epochs: 4, batch_size: 8}
"""


def project(folder: Path, spec: str = SPEC) -> Path:
    """A folder with a table and a spec that names it by a relative path."""
    (folder / "tables").mkdir(parents=True)
    write_csv(folder / "tables" / "classes.csv", "x1,x2,colour,answer", classes_rows())
    (folder / "spec.yaml").write_text(spec)
    return folder


def test_the_same_project_elsewhere_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = project(tmp_path / "a"), project(tmp_path / "deep" / "er" / "b")
    for folder in (first, second):
        run_cli("fit", "spec.yaml", "--out", "run", folder=folder).succeeded()
    run_cli("fit", folder=first).refused(2)
    run_cli("fit", "a/spec.yaml", "--out", "third", folder=tmp_path).succeeded()
    names = ("metrics.csv", "model.safetensors", "checkpoint.safetensors", "summary.json")
    same_bytes(first / "run", second / "run", (*names, "spec.yaml"))
    same_bytes(first / "run", tmp_path / "third", names)
    for content in contents(first / "run").values():
        assert str(tmp_path).encode() not in content


def test_a_project_that_moved_goes_on(tmp_path: Path) -> None:
    folder = project(tmp_path / "before")
    expected = project(tmp_path / "expected", SPEC.replace("epochs: 4", "epochs: 6"))
    run_cli("fit", "spec.yaml", "--out", "run", folder=expected).succeeded()
    run_cli("fit", "spec.yaml", "--out", "run", folder=folder).succeeded()
    measured = run_cli("evaluate", "run", "--json", folder=folder).succeeded().json()
    moved = folder.rename(tmp_path / "after")
    assert run_cli("evaluate", "run", "--json", folder=moved).succeeded().json() == measured
    run_cli("reproduce", "run", folder=moved).succeeded()
    run_cli("report", "run", folder=moved).succeeded()
    run_cli("fit", "--resume", "run", "--epochs", "6", folder=moved).succeeded()
    same_bytes(moved / "run", expected / "run", ("metrics.csv",))


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """A project whose run was copied away, without the table."""
    folder = project(tmp_path / "project")
    run_cli("fit", "spec.yaml", "--out", "run", folder=folder).succeeded()
    shutil.copytree(folder / "run", tmp_path / "run")
    (folder / "tables" / "classes.csv").rename(tmp_path / "elsewhere.csv")
    return tmp_path


def test_a_table_that_moved_can_be_named(parted: Path, cli: Cli) -> None:
    for verb in (("evaluate",), ("reproduce",), ("fit", "--resume")):
        assert "no such data file" in cli(*verb, "run", *(["--epochs", "9"] if "fit" in verb else [])).err
    own = cli("evaluate", "run", "--data", "elsewhere.csv", "--json").succeeded().json()
    assert own["rows"] == 8
    cli("reproduce", "run", "--data", "elsewhere.csv", "--interrupt", "2").succeeded()
    refused = cli("fit", "--resume", "run", "--epochs", "6")
    line = next(word for word in refused.err.split(": ") if word.startswith("mlptrain fit --resume"))
    assert line.split()[-1] == "FILE"
    cli(*line.split()[1:-1], "elsewhere.csv", "--epochs", "6").succeeded()
    assert cli("evaluate", "run", "--json").succeeded().json()["rows"] == 8
    assert yaml.safe_load((parted / "run" / "spec.yaml").read_text())["data"]["path"] == "../elsewhere.csv"


def test_another_table_is_not_taken_for_it(parted: Path, cli: Cli) -> None:
    write_csv(parted / "other.csv", "x1,x2,colour,answer", classes_rows(50))
    before = contents(parted / "run")
    cli("reproduce", "run", "--data", "other.csv").refused(4, "changed since the run was trained")
    cli("fit", "--resume", "run", "--data", "other.csv").refused(4, "is not the table that the run began with")
    assert cli("evaluate", "run", "--data", "other.csv", "--json").succeeded().json()["rows"] == 50
    assert contents(parted / "run") == before


def test_the_place_in_the_spec_can_be_mended_by_hand(parted: Path, cli: Cli) -> None:
    spec = parted / "run" / "spec.yaml"
    spec.write_text(spec.read_text().replace("../tables/classes.csv", "../elsewhere.csv"))
    cli("evaluate", "run").succeeded()
    cli("fit", "--resume", "run", "--epochs", "6").succeeded()
    spec.write_text(spec.read_text().replace("batch_size: 8", "batch_size: 9"))
    cli("fit", "--resume", "run", "--epochs", "8").refused(4, "training.batch_size was 8, is 9")


def test_a_path_that_was_absolute_stays_so(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    table = folder / "tables" / "classes.csv"
    (folder / "spec.yaml").write_text(SPEC.replace("tables/classes.csv", str(table)))
    run_cli("fit", "spec.yaml", "--out", "run", folder=folder).succeeded()
    assert yaml.safe_load((folder / "run" / "spec.yaml").read_text())["data"]["path"] == str(table)


def test_a_folder_that_a_link_leads_to(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    (tmp_path / "scratch").mkdir()
    (folder / "runs").symlink_to(tmp_path / "scratch")
    run_cli("fit", "spec.yaml", folder=folder).succeeded()
    run_cli("evaluate", tmp_path / "scratch" / "spec-0001", folder=tmp_path).succeeded()


def test_a_lone_file_names_no_table(tmp_path: Path, cli: Cli) -> None:
    folder = project(tmp_path / "p")
    run_cli("fit", "spec.yaml", "--out", "run", folder=folder).succeeded()
    shutil.copy(folder / "run" / "model.safetensors", tmp_path / "model.safetensors")
    shutil.copy(folder / "tables" / "classes.csv", tmp_path / "classes.csv")
    for verb in (("evaluate", "model.safetensors"), ("explain", "model.safetensors", "--row", "1")):
        cli(*verb).refused(2, "without its run")


def test_data_needs_a_run(spec: Write, classes: Path, cli: Cli) -> None:
    spec(SPEC.replace("tables/", ""))
    cli("fit", "spec.yaml", "--data", classes).refused(2, "needs --resume RUN")
