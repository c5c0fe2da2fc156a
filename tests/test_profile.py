"""Does `mlptrain fit --profile` say where the time went, and change nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import Cli, Write, same_bytes
from mlptrain.nn import kernels
from mlptrain.runs.profile import SECTIONS

SPEC = (
    "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [8, 4]}\n"
    "training: {epochs: 3, batch_size: 8, baselines: true}\nensemble: {blend: true}\n"
)


def table(text: str) -> dict[str, list[str]]:
    """The rows of the table by their name: seconds, share, calls, microseconds a call."""
    lines = text[text.index("where the time went") :].splitlines()[1:]
    cells = [line.split("  ") for line in lines if line.strip()]
    return {row[0].strip(): [cell.strip() for cell in row[1:] if cell.strip()] for row in cells}


@pytest.fixture
def rows(cli: Cli, spec: Write, classes: Path) -> dict[str, list[str]]:
    return table(cli("fit", spec(SPEC), "--profile").succeeded().err)


def test_every_part_of_a_run_is_in_the_table(rows: dict[str, list[str]]) -> None:
    layers = [f"{way}, layer {i}" for way in ("forward", "backward") for i in range(3)]
    named = [label for label in SECTIONS.values() if "{}" not in label]
    assert set(rows) == {*layers, *named, "everything else", "in all"}


def test_calls_are_counted(rows: dict[str, list[str]]) -> None:
    steps = 3 * 4  # 28 training rows in batches of 8
    assert [rows[f"forward, layer {i}"][2] for i in range(3)] == [str(steps)] * 3
    assert [rows[f"backward, layer {i}"][2] for i in range(3)] == [str(steps)] * 3
    assert rows["optimizer"][2] == rows["gathering batches"][2] == str(steps)
    assert rows["evaluating after each epoch"][2] == "3"


def test_the_parts_add_up(rows: dict[str, list[str]]) -> None:
    total = float(rows.pop("in all")[0])
    assert abs(sum(float(row[0]) for row in rows.values()) - total) <= 0.001 * len(rows)


def test_a_profiled_run_is_the_same_run(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(SPEC)
    cli("fit", path, "--out", tmp_path / "plain").succeeded()
    cli("fit", path, "--out", tmp_path / "profiled", "--profile").succeeded()
    same_bytes(tmp_path / "plain", tmp_path / "profiled")


def test_the_table_comes_after_a_run_that_ends_badly_too(cli: Cli, spec: Write, classes: Path) -> None:
    outcome = cli("fit", spec(SPEC + "optimizer: {kind: sgd, learning_rate: 1.0e+30}\n"), "--profile")
    assert outcome.code == 6
    assert "optimizer" in table(outcome.err)


@pytest.mark.parametrize("present", [True, False])
def test_it_says_whether_compiled_loops_are_there(
    cli: Cli, spec: Write, classes: Path, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PRESENT", present)
    told = cli("fit", spec(SPEC), "--profile").succeeded().err
    assert ("with compiled loops" in told, "without compiled loops" in told) == (present, not present)
