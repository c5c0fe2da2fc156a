"""Are the figures of gradient boosting in a report those that scikit-learn alone gives on the same rows of the file?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as judge
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from cli import DATASETS, Cli, Row, classes_rows, write_csv
from helpers import assert_close
from mlptrain.report import boosting
from mlptrain.report.source import open_source

TRAINING = "network: {hidden: [4]}\ntraining: {epochs: 3, batch_size: 16}\n"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The judge's trees, too, take longer on two threads beside another worker."""
    with threadpool_limits(1, "openmp"):
        yield


def figures(run: Path) -> dict[str, float]:
    """The metrics of boosting in the report on a run."""
    source = boosting.with_boosting(open_source(run))
    assert source.gaps == []
    assert source.summary is not None
    found: dict[str, float] = source.summary["baselines"]["boosting"]
    return found


def rows(run: Path, part: str) -> np.ndarray[Any, Any]:
    dataset = open_source(run).dataset
    assert dataset is not None
    return dataset.parts[part].rows


def penguins() -> pd.DataFrame:
    return pd.read_csv(DATASETS / "penguins.csv")


def codes(table: pd.DataFrame, training: np.ndarray[Any, Any], names: list[str]) -> pd.DataFrame:
    """Columns of words as their places among the words of training."""
    table = table.copy()
    for name in names:
        known = sorted(table[name].iloc[training].dropna().unique())
        table[name] = table[name].map({word: i for i, word in enumerate(known)})
    return table


def fit(cli: Cli, folder: Path, spec: str) -> Path:
    (folder / "spec.yaml").write_text(spec + TRAINING)
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    return folder / "run"


def test_of_classes_with_words_and_missing_cells(cli: Cli, tmp_path: Path) -> None:
    run = fit(cli, tmp_path, f"data: {{path: {DATASETS}/penguins.csv, target: species}}\nseed: 3\n")
    training, test = rows(run, "train"), rows(run, "test")
    table = penguins()
    x = codes(table.drop(columns="species"), training, ["island", "sex"])
    words = [name in ("island", "sex") for name in x.columns]
    peer = HistGradientBoostingClassifier(categorical_features=words, random_state=3)
    peer.fit(x.to_numpy(float)[training], table["species"].iloc[training])
    truth, told = table["species"].iloc[test], peer.predict_proba(x.to_numpy(float)[test])
    found = figures(run)
    assert_close(found["loss"], judge.log_loss(truth, told, labels=peer.classes_), 1e-6)
    assert_close(found["accuracy"], judge.accuracy_score(truth, peer.classes_[told.argmax(axis=1)]), 1e-12)
    assert_close(found["roc_auc"], judge.roc_auc_score(truth, told, multi_class="ovr"), 1e-9)


def test_of_amounts_with_weights_and_a_test_table_of_its_own(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(rng.normal(size=(260, 3)).round(3), columns=["a", "b", "w"])
    table["w"] = table["w"].abs() + 0.1
    table["y"] = (np.sin(2 * table["a"]) + table["b"] ** 2).round(4)
    table[:200].to_csv(tmp_path / "train.csv", index=False)
    table[200:].to_csv(tmp_path / "test.csv", index=False)
    run = fit(cli, tmp_path, "data: {path: train.csv, test_path: test.csv, target: y, sample_weight: w}\n")
    training = rows(run, "train")
    x, y, w = (table[name].to_numpy() for name in (["a", "b"], "y", "w"))
    peer = HistGradientBoostingRegressor(random_state=0)
    peer.fit(x[training], y[training], w[training] / w[training].mean())
    told, found = peer.predict(x[200:]), figures(run)
    assert_close(found["r2"], judge.r2_score(y[200:], told), 1e-6)
    weights = w[200:] / w[200:].mean()
    scale = y[training].var()
    assert_close(found["loss"], np.mean(weights * (told - y[200:]) ** 2) / scale, 1e-4)


def test_with_folds_each_row_is_predicted_without_it(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,colour,answer", classes_rows(90))
    run = fit(
        cli,
        tmp_path,
        "data: {path: t.csv, target: answer, split: {validation: 0, test: 0}}\n"
        "ensemble: {members: 3, rows: folds}\nloss: {kind: cross_entropy, class_weight: balanced}\n",
    )
    table = pd.read_csv(tmp_path / "t.csv")
    y = (table["answer"] == "yes").to_numpy(int)
    dataset = open_source(run).dataset
    assert dataset is not None
    told, truth = [], []
    for fold in dataset.folds:
        assert fold.validation is not None
        ours, others = fold.training.rows, fold.validation.rows
        x = codes(table.drop(columns="answer"), np.arange(90), ["colour"]).to_numpy(float)
        peer = HistGradientBoostingClassifier(categorical_features=[False, False, True], random_state=0)
        peer.fit(x[ours], y[ours], (90 / 2 / np.bincount(y))[y[ours]])
        told.append(peer.predict(x[others]))
        truth.append(y[others])
    assert_close(figures(run)["accuracy"], np.mean(np.concatenate(told) == np.concatenate(truth)), 1e-12)


def test_of_two_labels_and_of_columns_of_every_kind(cli: Cli, tmp_path: Path) -> None:
    kinds = [
        (f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}", f"{i + 1}.5 kg", f"w{i % 30}", i % 7, i % 2, int(i % 7 > 3))
        for i in range(120)
    ]
    write_csv(tmp_path / "t.csv", "day,weight,word,x,y,z", kinds)
    run = fit(cli, tmp_path, "data: {path: t.csv, target: [y, z]}\ntask: multilabel\n")
    training, test, found = rows(run, "train"), rows(run, "test"), figures(run)
    table = pd.read_csv(tmp_path / "t.csv")
    table["day"] = pd.to_datetime(table["day"]).astype("int64") // 10**9
    table["weight"] = table["weight"].str.removesuffix(" kg").astype(float)
    x = codes(table, training, ["word"])[["day", "weight", "word", "x"]].to_numpy(float)
    told = []
    for name in ("y", "z"):
        peer = HistGradientBoostingClassifier(categorical_features=[False, False, True, False], random_state=0)
        told.append(peer.fit(x[training], table[name].iloc[training]).predict(x[test]))
    right = np.stack(told, axis=1) == table[["y", "z"]].to_numpy()[test]
    assert_close(found["accuracy"], right.all(axis=1).mean(), 1e-12)


def test_the_report_says_what_it_was(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fit(cli, tmp_path, f"data: {{path: {DATASETS}/penguins.csv, target: species}}\n")
    said = cli("report", "run", "--json").succeeded().json()["verdict"]["quality"]
    assert re.search(r"scikit-learn's HistGradientBoosting \(\d\.\d+\)", said)
    page = (run / "report.html").read_text()
    assert "boosting model (test)" in page
    monkeypatch.setattr(boosting, "MOST_WORK", 10)
    source = boosting.with_boosting(open_source(run))
    assert source.summary is not None
    assert "boosting" not in source.summary["baselines"]
    assert source.gaps == [
        "gradient boosting is not beside the model: it would take too long on so many rows, columns and outputs"
    ]
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    assert boosting.with_boosting(open_source(run)).gaps == []


def test_what_scikit_learn_refuses_is_said(cli: Cli, tmp_path: Path) -> None:
    """All values of a column are in one group of rows, so that it has none where that group is left out."""
    kinds = [(i % 3, i % 7 if i % 3 == 0 else "", (i * 5) % 11, "ab"[i % 2]) for i in range(90)]
    write_csv(tmp_path / "t.csv", "g,x,z,y", kinds)
    split = "split: {group: g, validation: 0, test: 0}"
    run = fit(
        cli,
        tmp_path,
        f"data: {{path: t.csv, target: y, features: [x, z], {split}}}\nensemble: {{members: 3, rows: folds}}\n",
    )
    source = boosting.with_boosting(open_source(run))
    assert source.summary is not None
    refused = "boosting" not in source.summary["baselines"]
    assert [gap.startswith("gradient boosting is not beside the model: ") for gap in source.gaps] == [True] * refused


def test_an_error_of_scikit_learn_is_no_error_of_the_report(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fit(cli, tmp_path, f"data: {{path: {DATASETS}/penguins.csv, target: species}}\n")

    def refuse(*arguments: object) -> None:
        raise ValueError("no such rows\nand more")

    monkeypatch.setattr(boosting, "boosted", refuse)
    assert boosting.with_boosting(open_source(run)).gaps == ["gradient boosting is not beside the model: no such rows"]


@pytest.mark.parametrize("more", ["{baselines: false, epochs: 2}", "{epochs: 2}"])
def test_nothing_to_compare_with_is_no_comparison(cli: Cli, tmp_path: Path, more: str) -> None:
    table: list[Row] = classes_rows(40)
    write_csv(tmp_path / "t.csv", "x1,x2,colour,answer", table)
    split = "" if "false" in more else ", split: {validation: 0, test: 0}"
    (tmp_path / "spec.yaml").write_text(f"data: {{path: t.csv, target: answer{split}}}\ntraining: {more}\n")
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    source = boosting.with_boosting(open_source(tmp_path / "run"))
    assert source.summary is not None
    assert "boosting" not in source.summary["baselines"]
    assert source.gaps == []


@pytest.mark.parametrize("split", ["{test: 0.3}", "{test: 0}"])
def test_the_end_of_fit_says_what_the_report_says(split: str, tmp_path: Path, cli: Cli) -> None:
    write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", classes_rows(120))
    spec = f"preset: quick\ndata: {{path: classes.csv, target: answer, split: {split}}}\ntraining: {{epochs: 3}}\n"
    (tmp_path / "spec.yaml").write_text(spec)
    said = cli("fit", "spec.yaml", "--out", "run").succeeded()
    found = re.search(r"HistGradientBoosting \(([\d.]+)\)", said.err)
    assert found is not None
    expected = figures(tmp_path / "run")  # the verdict compares the losses where the accuracy has no interval
    assert float(found[1]) in (round(expected["accuracy"], 4), round(expected["loss"], 4))
    assert "boosting" not in (tmp_path / "run" / "summary.json").read_text()
    cli("fit", "spec.yaml", "--set", "preset=plain", "--out", "plain").succeeded()
    assert "Boosting" not in cli("fit", "spec.yaml", "--set", "preset=plain", "--out", "textbook").succeeded().err


def test_without_scikit_learn_fit_says_nothing_of_it(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", classes_rows(120))
    (tmp_path / "spec.yaml").write_text("preset: quick\ndata: {path: classes.csv, target: answer}\n")
    monkeypatch.setattr(boosting, "find_spec", lambda name: None)
    assert "Boosting" not in cli("fit", "spec.yaml", "--set", "training.epochs=3").succeeded().err
