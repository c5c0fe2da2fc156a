"""Are runs listed, and compared as they differ, by more than chance or not?"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from cli import Cli, Write, write_csv
from mlptrain.report.comparison import difference, differing, flat
from mlptrain.report.source import open_source
from mlptrain.runs.listing import listed, resolved
from mlptrain.training.intervals import Statistic

SPEC = """preset: plain
seed: 1
data: {path: t.csv, target: y, split: {validation: 0.2, test: 0.3}}
network: {hidden: [4]}
training: {epochs: 8, early_stopping: null}
"""


@pytest.fixture
def run(cli: Cli, spec: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Trains a run called by its first argument, with more settings."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 2))
    rows = [(f"{a:.4f}", f"{b:.4f}", "yes" if a * b > 0 else "no") for a, b in x]
    write_csv(tmp_path / "t.csv", "a,b,y", rows)
    (tmp_path / "runs").mkdir()

    def train(name: str, *settings: str) -> object:
        made = [part for setting in settings for part in ("--set", setting)]
        outcome = cli("fit", spec(SPEC), "--out", f"runs/{name}", "--quiet", *made)
        spent = len(list((tmp_path / "runs").iterdir()))
        os.utime(tmp_path / "runs" / name / "spec.yaml", (1e9 + spent, 1e9 + spent))
        return outcome

    return train  # type: ignore[return-value]


def test_runs_are_listed_newest_or_best_first(cli: Cli, run: Cli, tmp_path: Path) -> None:
    run("good-1", "training.epochs=60", "optimizer.learning_rate=0.05")
    run("poor-1", "training.epochs=1")
    rows = json.loads(cli("runs", "--json").succeeded().out)
    assert [row["run"] for row in rows] == ["runs/poor-1", "runs/good-1"]
    assert rows[0]["part"] == "test"
    assert rows[0]["metrics"] == json.loads((tmp_path / "runs/poor-1/summary.json").read_text())["results"]["test"]
    for metric in ("loss", "accuracy"):
        best = json.loads(cli("runs", "--sort", metric, "--json").succeeded().out)
        assert [row["run"] for row in best] == ["runs/good-1", "runs/poor-1"]
    assert "poor-1" not in cli("runs", "--name", "good").succeeded().out
    cli("runs", "--sort", "acuracy").refused(2, "no run has such a metric; did you mean 'accuracy'?")
    cli("runs", "elsewhere").refused(2, "elsewhere: no such folder")


def test_runs_that_did_not_end_or_are_damaged_are_listed(cli: Cli, run: Cli, tmp_path: Path) -> None:
    for name in ("cut-1", "bad-1"):
        run(name)
    (tmp_path / "runs/cut-1/summary.json").unlink()
    (tmp_path / "runs/bad-1/summary.json").write_text('{"stopped": 1}')
    (tmp_path / "runs/no-run").mkdir()
    found = {one.path.name: (one.state, one.epochs) for one in listed()}
    assert found == {"cut-1": ("unfinished", 8), "bad-1": ("damaged", None)}
    assert json.loads(cli("runs", "--json").succeeded().out)[0]["metrics"] == {}
    assert "unfinished" in cli("runs").succeeded().out


def test_latest_is_the_newest_run(cli: Cli, run: Cli, tmp_path: Path) -> None:
    cli("evaluate", "latest").refused(4, "latest: there is no run under runs/ yet")
    run("first-1")
    run("second-1")
    assert resolved(Path("latest")) == Path("runs/second-1")
    assert cli("evaluate", "latest", "--json").out == cli("evaluate", "runs/second-1", "--json").out
    (tmp_path / "latest").mkdir()
    assert resolved(Path("latest")) == Path("latest")


def test_what_differs_is_shown_and_a_clear_difference_is_no_chance(cli: Cli, run: Cli) -> None:
    run("good-1", "training.epochs=60", "optimizer.learning_rate=0.05")
    run("poor-1", "training.epochs=1")
    out = cli("compare", "runs/poor-1", "runs/good-1").succeeded().out
    assert "training.epochs          1       60" in out
    assert "validation_loss" in out
    assert "on 60 common rows: good-1 is better by" in out
    assert "more than chance alone explains" in out
    found = json.loads(cli("compare", "runs/poor-1", "runs/good-1", "--json").succeeded().out)
    assert found["settings"] == {"optimizer.learning_rate": [0.001, 0.05], "training.epochs": [1, 60]}
    (pair,) = found["better_than_first"]
    by_name = {one["metric"]: one for one in pair}
    tests = [each["test"] for each in found["results"]]
    for name, sign in (("loss", -1), ("accuracy", 1)):
        assert by_name[name]["first"] == pytest.approx(tests[0][name], rel=1e-6)
        assert by_name[name]["second"] == pytest.approx(tests[1][name], rel=1e-6)
        assert by_name[name]["better_by"] == pytest.approx(sign * (tests[1][name] - tests[0][name]), rel=1e-5)
        low, high = by_name[name]["interval"]
        assert 0 < low < by_name[name]["better_by"] < high


def test_runs_that_cannot_be_compared_row_by_row_say_why(cli: Cli, run: Cli, tmp_path: Path) -> None:
    run("one-1", "training.epochs=1")
    run("none-1", "training.epochs=1", "data.split.test=0", "data.split.validation=0")
    run("few-1", "training.epochs=1", "seed=5", "data.split.test=0.05")
    out = cli("compare", "runs/one-1", "runs/none-1", "runs/few-1").succeeded().out
    assert "one-1 and none-1 are not compared row by row: they have no rows that were not trained on" in out
    assert "rows in common that were held out; give both the same seed and split" in out
    write_csv(tmp_path / "t.csv", "a,b,y", [(str(i % 7), str(i % 5), "yes" if i % 3 else "no") for i in range(60)])
    assert "changed" in cli("compare", "runs/one-1", "runs/few-1").succeeded().out


def test_two_specs_are_compared_without_data(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data: {path: gone.csv, target: y}\nnetwork: {hidden: [8, 4]}\n")
    (tmp_path / "b.yaml").write_text("data: {path: gone.csv, target: y}\nnetwork: {hidden: [8, 16]}\n")
    out = cli("compare", tmp_path / "a.yaml", tmp_path / "b.yaml").succeeded().out
    assert "network.hidden.1.width  4       16" in out
    cli("compare", tmp_path / "a.yaml").refused(2, "two or more different runs")


def test_settings_are_flat() -> None:
    assert dict(flat({"a": {"b": 1}, "c": [{"d": 2}, {"d": 3}], "e": [1, 2], "f": {}})) == {
        "a.b": 1,
        "c.0.d": 2,
        "c.1.d": 3,
        "e": [1, 2],
        "f": {},
    }
    assert differing([{"a": 1, "name": "x"}, {"a": 1, "b": 2, "name": "y"}]) == {"b": [None, 2]}


def test_the_paired_interval_is_that_of_the_differences_of_rows() -> None:
    """Of two figures with the same large noise in each row, the difference is sure; unpaired it would not be."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400) * 10
    first, second = noise, noise - 0.1 + 0.01 * rng.standard_normal(400)
    found = difference("loss", Statistic(first[:, None]), Statistic(second[:, None]), np.arange(400), 0)
    assert found.better_by == pytest.approx(np.mean(first - second))
    assert found.interval is not None
    half = 1.96 * np.std(first - second) / 20
    assert found.interval == pytest.approx((found.better_by - half, found.better_by + half), abs=3e-4)
    same = difference("loss", Statistic(first[:, None]), Statistic(first[:, None]), np.arange(400), 0)
    assert same.is_chance
    assert same.better_by == 0


def test_a_run_can_be_compared_with_its_like_on_folds(cli: Cli, run: Cli) -> None:
    folds = ("ensemble.members=3", "ensemble.rows=folds", "data.split.test=0", "data.split.validation=0")
    run("a-1", *folds)
    run("b-1", *folds, "training.epochs=30", "optimizer.learning_rate=0.05")
    measured = open_source(Path("runs/a-1")).measured
    assert measured is not None
    assert measured.folds
    assert "on 200 common rows: b-1 is better by" in cli("compare", "runs/a-1", "runs/b-1").succeeded().out
