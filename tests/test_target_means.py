"""Are inputs that are learned from the target what they say, and does no row see its own target in them?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cli import Cli, Write, metrics, same_bytes, summary
from helpers import assert_close
from mlptrain.dataset import Dataset, Part
from mlptrain.runs.run import begin
from mlptrain.spec.load import load_experiment

MEANS = "encoders: {c: many_categories}, categorical: {target_means: true}"
REST = "training: {epochs: 2, baselines: false}\nnetwork: {hidden: [4]}\n"
ROWS = 240


def code(i: int) -> str:
    return f"c{i * i % 37}" if i % 11 else ""


TARGETS: dict[str, tuple[Callable[[int], object], str]] = {
    "regression": (lambda i: i * 7 % 31 / 8 + i * i % 37, "c (mean y)"),
    "classification": (lambda i: "yes" if i * i % 37 > i * 7 % 31 else "no", "c (share of yes)"),
    "multilabel": (lambda i: int(i * i % 37 > i * 7 % 31), "c (mean y)"),
}


def frame(task: str) -> pl.DataFrame:
    cell = TARGETS[task][0]
    rows = [(code(i), i * 3 % 13, 1 + i % 3, cell(i)) for i in range(ROWS)]
    return pl.DataFrame(rows, ["c", "x", "w", "y"], orient="row")


def prepared(spec: Write, folder: Path, task: str, data: str = "", rest: str = "") -> Dataset:
    """The rows of a run on the table, before it is trained."""
    frame(task).write_csv(folder / "t.csv")
    text = f"task: {task}\ndata: {{path: t.csv, target: y, {MEANS}{data}}}\n{rest}{REST}"
    return begin(load_experiment(spec(text)), "run", folder / "begun").dataset


def gathered(part: Part, dataset: Dataset, name: str) -> NDArray[np.float64]:
    """One input of the rows of a part."""
    out = np.empty((len(part), part.features.width), part.features.dtype)
    part.features.gather(part.rows, out)
    return out[:, dataset.transforms.inputs.index(name)].astype(np.float64)


def told(task: str, row: int, rows: Sequence[int], weighted: bool = False) -> float:
    """What `rows` say of the category of a row: the definition, row by row."""
    cells = [TARGETS[task][0](i) for i in rows]
    y = np.array([cell == "yes" if isinstance(cell, str) else cell for cell in cells], float)
    w = np.array([1 + i % 3 if weighted else 1 for i in rows], float)
    w /= w.mean()
    mean = np.sum(w * y) / np.sum(w)
    deviation = np.sqrt(np.sum(w * (y - mean) ** 2) / np.sum(w))
    groups: dict[str, list[int]] = {}
    for place, i in enumerate(rows):
        groups.setdefault(code(i), []).append(place)
    known = [places for places in groups.values() if len(places) > 0]
    n = np.array([w[places].sum() for places in known])
    means = np.array([np.average(y[places], weights=w[places]) for places in known])
    within = sum(np.sum(w[places] * (y[places] - m) ** 2) for places, m in zip(known, means, strict=True))
    variance = within / (n.sum() - len(n))
    between = (np.sum(n * (means - mean) ** 2) - (len(n) - 1) * variance) / (n.sum() - np.sum(n**2) / n.sum())
    prior = np.clip(variance / between, 1, 1000) if between > 0 else 1000
    same = groups.get(code(row), [])
    return float(np.sum((w * (y - mean))[same]) / (np.sum(w[same]) + prior) / deviation)


@pytest.mark.parametrize("task", TARGETS)
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_that_are_held_out_are_told_by_the_training_rows(
    spec: Write, tmp_path: Path, task: str, weighted: bool
) -> None:
    data = ", split: {validation: 0.2, test: 0.2}" + ", sample_weight: w" * weighted
    dataset = prepared(spec, tmp_path, task, data)
    for part in (dataset.validation, dataset.test):
        assert part is not None
        wanted = [told(task, row, dataset.training.rows.tolist(), weighted) for row in part.rows]
        assert_close(gathered(part, dataset, TARGETS[task][1]), wanted, 1e-5, scale=1.0)


@pytest.mark.parametrize("task", TARGETS)
def test_a_member_sees_nothing_of_the_rows_that_it_is_validated_on(spec: Write, tmp_path: Path, task: str) -> None:
    data = ", split: {validation: 0, test: 0.2, repeats: 2}"
    dataset = prepared(spec, tmp_path, task, data, "ensemble: {members: 8, rows: folds}\n")
    name, folds = TARGETS[task][1], dataset.folds
    assert len(folds) == 8
    for k, fold in enumerate(folds):
        assert fold.validation is not None
        known = fold.training.rows.tolist()
        wanted = [told(task, row, known) for row in fold.validation.rows]
        assert_close(gathered(fold.validation, dataset, name), wanted, 1e-5, scale=1.0)
        repeat = [set(other.validation.rows.tolist()) for other in folds[k // 4 * 4 :][:4] if other.validation]
        own = {row: next(rows for rows in repeat if row in rows) for row in known}
        wanted = [told(task, row, [i for i in known if i not in own[row]]) for row in known]
        assert_close(gathered(fold.training, dataset, name), wanted, 1e-5, scale=1.0)


def test_a_training_row_without_folds_is_told_by_four_fifths_of_the_others(spec: Write, tmp_path: Path) -> None:
    dataset = prepared(spec, tmp_path, "regression", ", split: {validation: 0, test: 0.2}")
    found = gathered(dataset.training, dataset, "c (mean y)")
    rows = dataset.training.rows.tolist()
    everything = np.array([told("regression", row, rows) for row in rows])
    assert not np.isclose(found, everything, atol=1e-6).any()
    assert np.corrcoef(found, everything)[0, 1] > 0.9


def test_groups_stay_together(spec: Write, tmp_path: Path) -> None:
    """Where each category is a group, no other row says anything of it."""
    frame("regression").with_columns(g=pl.col("c")).filter(pl.col("c") != "").write_csv(tmp_path / "g.csv")
    data = f"data: {{path: g.csv, target: y, {MEANS}, split: {{group: g, validation: 0.2, test: 0}}}}\n"
    dataset = begin(load_experiment(spec(f"task: regression\n{data}{REST}")), "run", tmp_path / "begun").dataset
    assert not gathered(dataset.training, dataset, "c (mean y)").any()


def noise(path: Path, rows: int, categories: int) -> None:
    rng = np.random.default_rng(3)
    codes, answers = rng.integers(categories, size=rows), rng.integers(2, size=rows)
    pl.DataFrame({"c": [f"c{k}" for k in codes], "y": ["ab"[k] for k in answers]}).write_csv(path)


def test_a_category_that_says_nothing_says_nothing_out_of_fold(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Long training finds any way to the answers; rows told by all folds but their own give an area of 0.73."""
    noise(tmp_path / "t.csv", 1500, 60)
    spec(
        f"preset: plain\nseed: 1\ndata: {{path: t.csv, target: y, {MEANS}, split: {{validation: 0, test: 0}}}}\n"
        "network: {hidden: [32, 32]}\nensemble: {members: 5, rows: folds}\n"
        "training: {epochs: 60, early_stopping: null, baselines: false}\n"
    )
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert float(metrics(tmp_path / "run")["validation_roc_auc"][-1]) < 0.53


@pytest.mark.parametrize("task", TARGETS)
def test_the_same_from_every_format_and_by_value(cli: Cli, spec: Write, tmp_path: Path, task: str) -> None:
    table = frame(task)
    table.write_csv(tmp_path / "t.csv")
    table.write_parquet(tmp_path / "t.parquet")
    arrays: dict[str, Any] = {name: np.array(table[name].to_list()) for name in table.columns}
    np.savez(tmp_path / "t.npz", **arrays)
    ensemble = "ensemble: {members: 4, rows: folds}\n"
    for suffix in ("csv", "parquet", "npz"):
        data = f"data: {{path: t.{suffix}, target: y, {MEANS}, split: {{validation: 0, test: 0.2}}}}\n"
        spec(f"task: {task}\nseed: 0\n{data}{ensemble}{REST}")
        fitted = cli("fit", "spec.yaml", "--out", suffix, "--json").succeeded().json()
        assert cli("evaluate", suffix, "--json").succeeded().json()["metrics"] == fitted["results"]["test"]
        assert (tmp_path / suffix / "metrics.csv").read_bytes() == (tmp_path / "csv" / "metrics.csv").read_bytes()
        assert cli("predict", suffix, "t.csv") == cli("predict", "csv", f"t.{suffix}").succeeded()
    table.with_columns(c=pl.lit(" ") + pl.col("c") + " ").write_csv(tmp_path / "spaced.csv")
    assert cli("predict", "csv", "spaced.csv").out == cli("predict", "csv", "t.csv").out


def test_a_run_that_is_resumed_has_the_same_bytes(cli: Cli, spec: Write, tmp_path: Path) -> None:
    frame("regression").write_csv(tmp_path / "t.csv")
    data = f"data: {{path: t.csv, target: y, {MEANS}, split: {{validation: 0, test: 0.2}}}}\n"
    text = f"task: regression\nseed: 0\n{data}ensemble: {{members: 3, rows: folds}}\n{REST}"
    cli("fit", spec(text), "--out", "whole").succeeded()
    begin(load_experiment(spec(text)), "run", tmp_path / "begun")
    cli("fit", "--resume", "begun").succeeded()
    same_bytes(tmp_path / "whole", tmp_path / "begun", ("metrics.csv",))
    assert summary(tmp_path / "begun")["results"] == summary(tmp_path / "whole")["results"]


SETTINGS = [
    "categorical: {target_means: true, missing: most_frequent}",
    "categorical: {target_means: true, unknown: error}",
    "categorical: {target_means: true, unknown: ignore, min_count: 3}",
    "categorical: {target_means: true}, split: {validation: 0, test: 0}",
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("rows", [2, 9, 240])
def test_other_rules_and_small_tables(cli: Cli, spec: Write, tmp_path: Path, settings: str, rows: int) -> None:
    frame("regression")[:rows].write_csv(tmp_path / "t.csv")
    split = "" if "split" in settings else ", split: {validation: 0, test: 0}"
    data = f"data: {{path: t.csv, target: y, encoders: {{c: many_categories}}, {settings}{split}}}\n"
    spec(f"task: regression\n{data}{REST}")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert len(cli("predict", "run", "t.csv").succeeded().out.splitlines()) == rows + 1


def test_many_classes_have_no_means(spec: Write, tmp_path: Path) -> None:
    def inputs(classes: int) -> list[str]:
        table = pl.DataFrame([(code(i), f"k{i % classes:02d}") for i in range(ROWS)], ["c", "y"], orient="row")
        table.write_csv(tmp_path / "t.csv")
        text = f"data: {{path: t.csv, target: y, {MEANS}}}\n{REST}"
        found: Any = begin(load_experiment(spec(text)), "run", tmp_path / f"begun{classes}").dataset.transforms
        return [name for name in found.inputs if "share" in name]

    assert inputs(3) == ["c (share of k00)", "c (share of k01)", "c (share of k02)"]
    assert len(inputs(10)) == 10
    assert not inputs(11)
