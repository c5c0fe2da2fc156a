"""Is every figure that a run prints the one that scikit-learn computes from the file as it was written?

Fit, predict and evaluate go through the command line; the judge reads the raw table with csv, Parquet or NumPy and
knows nothing of ours but the predictions. 42 runs cover every pair of format, scaler, kind of column, task and weights.
"""

from __future__ import annotations

import csv
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn import metrics as sk

from cli import Cli, summary

FACTORS: dict[str, tuple[str, ...]] = {
    "format": ("csv", "parquet", "npz", "tsv"),
    "scaler": ("standard", "minmax", "robust", "quantile", "none"),
    "column": ("numbers", "words", "flag", "pixels", "missing"),
    "task": ("regression", "two_quantities", "poisson", "quantile", "mae", "classes", "binary", "labels"),
    "weights": ("none", "sample", "class"),
}
Case = dict[str, str]
ROWS = 90


def pairs_of(case: Case) -> set[tuple[tuple[str, str], ...]]:
    return set(itertools.combinations(sorted(case.items()), 2))


def possible(case: Case) -> bool:
    """A block of pixels needs an array file; class weights need classes."""
    pixels = case["column"] != "pixels" or case["format"] == "npz"
    return pixels and (case["weights"] != "class" or case["task"] == "classes")


def covering() -> list[Case]:
    """Greedily the case with most pairs that no other has, until every possible pair is covered."""
    every = [dict(zip(FACTORS, values, strict=True)) for values in itertools.product(*FACTORS.values())]
    every = [case for case in every if possible(case)]
    left = set().union(*(pairs_of(case) for case in every))
    chosen: list[Case] = []
    while left:
        best = max(every, key=lambda case: len(pairs_of(case) & left))
        chosen.append(best)
        left -= pairs_of(best)
    return chosen


CASES = covering()
TARGETS = {"two_quantities": ("y", "z"), "labels": ("y", "z")}
LOSSES = {"poisson": "poisson", "quantile": "{kind: quantile, quantiles: [0.2, 0.5, 0.9]}", "mae": "mae"}
LOSSES |= {"binary": "binary_cross_entropy", "labels": "binary_cross_entropy"}


def columns(case: Case) -> dict[str, NDArray[Any]]:
    """A table whose target follows from its features, with noise, far values and rows of weight 0."""
    rng = np.random.default_rng(len(case["task"]) + len(case["scaler"]))
    x, kind = rng.standard_normal(ROWS).round(4), rng.integers(0, 3, ROWS)
    found: dict[str, NDArray[Any]] = {"x": x}
    found["c"] = {
        "numbers": np.exp(rng.standard_normal(ROWS)).round(4),
        "words": np.array(["red", "green", "a, b"])[kind],
        "flag": kind > 0,
        "pixels": rng.integers(0, 4, (ROWS, 6)).astype(np.uint8),
        "missing": np.where(kind == 0, np.nan, x**2).round(4),
    }[case["column"]]
    signal = 40 + 25 * x + 6 * kind + rng.standard_normal(ROWS) + 200 * (rng.random(ROWS) < 0.05)
    two = signal > np.median(signal)
    found["y"] = {
        "poisson": np.maximum(signal, 0).round(),
        "classes": np.array(["low", "mid", "high"])[np.digitize(signal, [30, 55])],
        "binary": np.where(two, "yes", "no"),
        "labels": two.astype(np.int64),
    }.get(case["task"], signal.round(3) + 0.0005)
    found["z"] = (x > 0).astype(np.int64) if case["task"] == "labels" else (3 * signal + kind).round(3) + 0.0005
    found["w"] = rng.integers(0, 4, ROWS).astype(np.float64)
    return found


def write(case: Case, folder: Path) -> Path:
    path, table = folder / f"t.{case['format']}", columns(case)
    if case["format"] == "npz":
        np.savez(path, **table)  # type: ignore[arg-type]  # the names of arrays are keywords
        return path
    frame = pl.DataFrame(table).fill_nan(None)
    if case["format"] == "parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if case["format"] == "tsv" else ",")
    return path


def raw(path: Path, name: str) -> NDArray[Any]:
    """A column of the file, read by another library."""
    if path.suffix == ".npz":
        return np.asarray(np.load(path)[name])
    if path.suffix == ".parquet":
        return pl.read_parquet(path)[name].to_numpy()
    with path.open(newline="") as file:
        cells = [row[name] for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")]
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells)


def spec(case: Case, path: Path) -> str:
    target = TARGETS.get(case["task"], ("y",))
    leave_out = [
        name for name in ("z", "w") if name not in target and not (name == "w" and case["weights"] == "sample")
    ]
    weights = "sample_weight: w, " if case["weights"] == "sample" else ""
    scale = (
        f"scale_target: {case['scaler']}, "
        if case["task"] in ("regression", "two_quantities", "mae", "quantile")
        else ""
    )
    loss = LOSSES.get(case["task"])
    if case["weights"] == "class":
        loss = "{kind: cross_entropy, class_weight: {low: 1.0, mid: 2.0, high: 5.0}}"
    return (
        f"data: {{path: {path.name}, target: [{', '.join(target)}], exclude: [{', '.join(leave_out)}], {weights}{scale}"
        f"numeric: {{scale: {case['scaler']}}}}}\n"
        + (f"loss: {loss}\n" if loss else "")
        + "network: {hidden: [8]}\ntraining: {epochs: 12, batch_size: 16, clip_norm: 1.0}\n"
    )


def judged(case: Case, path: Path, predicted: pl.DataFrame, rows: NDArray[np.intp]) -> dict[str, float]:
    """The figures by scikit-learn, for these rows of the file and of what was predicted for them."""
    target = TARGETS.get(case["task"], ("y",))
    truth = np.stack([raw(path, name)[rows] for name in target], axis=1)
    taken = predicted[rows.tolist()]
    if case["task"] == "classes":
        shares = taken[["probability_high", "probability_low", "probability_mid"]].to_numpy()
        return of_classes(truth[:, 0], taken["y"].to_numpy(), shares)
    if case["task"] == "binary":
        yes = taken["probability_yes"].to_numpy()
        return of_classes(truth[:, 0], taken["y"].to_numpy(), np.stack([1 - yes, yes], axis=1))
    if case["task"] == "labels":
        return {"accuracy": float(sk.accuracy_score(truth.astype(int), taken[list(target)].to_numpy()))}
    name = "y_q0.5" if case["task"] == "quantile" else None
    values = taken[[name]].to_numpy() if name else taken[list(target)].to_numpy()
    return {
        "rmse": float(sk.root_mean_squared_error(truth, values)),
        "mae": float(sk.mean_absolute_error(truth, values)),
        "r2": float(sk.r2_score(truth, values)),
    }


def of_classes(truth: NDArray[Any], labels: NDArray[Any], shares: NDArray[Any]) -> dict[str, float]:
    several = shares.shape[1] > 2
    return {
        "accuracy": float(sk.accuracy_score(truth, labels)),
        "balanced_accuracy": float(sk.balanced_accuracy_score(truth, labels)),
        "macro_f1": float(sk.f1_score(truth, labels, average="macro")),
        "log_loss": float(sk.log_loss(truth, shares.astype(np.float64) / shares.sum(axis=1, keepdims=True))),
        "roc_auc": float(sk.roc_auc_score(truth, shares if several else shares[:, 1], multi_class="ovr")),
    }


def agree(found: dict[str, float | None], expected: dict[str, float], where: str) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=2e-6, abs=1e-6), f"{name} of {where}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case.values()))
def test_every_figure_is_the_one_of_an_outside_judge(cli: Cli, tmp_path: Path, case: Case) -> None:
    path = write(case, tmp_path)
    (tmp_path / "spec.yaml").write_text(spec(case, path))
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    predicted = pl.read_csv(cli("predict", "run", path.name).succeeded().out.encode())
    assert len(predicted) == ROWS
    measured = cli("evaluate", "run", "--data", path.name, "--json").succeeded().json()
    rows = np.flatnonzero(raw(path, "w") > 0) if case["weights"] == "sample" else np.arange(ROWS)
    assert measured["rows"] == len(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        agree(measured["metrics"], judged(case, path, predicted, rows), "the whole table")


def best_constant(task: str, truth: NDArray[Any], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The constant with the least weighted loss, found by trying every value that occurs, and the mean."""
    if task in ("regression", "two_quantities", "poisson"):
        return np.average(truth, axis=0, weights=weights)
    return np.array([min(column, key=lambda c: weights @ np.abs(column - c)) for column in truth.T])


@pytest.mark.parametrize("task", ["regression", "two_quantities", "poisson", "mae"])
@pytest.mark.parametrize("weights", ["none", "sample"])
@pytest.mark.parametrize("scaler", ["none", "standard", "minmax"])
def test_the_constant_model_is_the_best_one_by_weight(
    cli: Cli, tmp_path: Path, task: str, weights: str, scaler: str
) -> None:
    """A file of its own for the test makes the rows of every part known."""
    case = {"format": "csv", "scaler": scaler, "column": "numbers", "task": task, "weights": weights}
    path = write(case, tmp_path)
    text = spec(case, path).replace("numeric:", f"test_path: {path.name}, split: {{validation: 0}}, numeric:")
    (tmp_path / "spec.yaml").write_text(text)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    target = TARGETS.get(task, ("y",))
    truth = np.stack([raw(path, name) for name in target], axis=1)
    counted = raw(path, "w") if weights == "sample" else np.ones(ROWS)
    truth, counted = truth[counted > 0], counted[counted > 0]
    constant = np.tile(best_constant(task, truth, counted), (len(truth), 1))
    expected = {"mae": float(sk.mean_absolute_error(truth, constant))}
    if task != "mae":  # whose best constant is any number between the two in the middle
        expected["rmse"] = float(sk.root_mean_squared_error(truth, constant))
    agree(summary(tmp_path / "run")["baselines"]["constant"], expected, "the constant model")


def test_the_loss_of_the_constant_model_has_the_weights(cli: Cli, tmp_path: Path) -> None:
    """Class weights and row weights together: the best answer has the weighted shares of the classes."""
    rng = np.random.default_rng(0)
    labels, weights = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)], rng.integers(0, 5, 60)
    lines = [f"{rng.standard_normal():.3f},{y},{w}" for y, w in zip(labels, weights, strict=True)]
    (tmp_path / "t.csv").write_text("x,y,w\n" + "\n".join(lines) + "\n")
    kappa = {"a": 1.0, "b": 3.0, "c": 0.5}
    (tmp_path / "spec.yaml").write_text(
        "data: {path: t.csv, target: y, sample_weight: w, test_path: t.csv, split: {validation: 0}}\n"
        f"loss: {{kind: cross_entropy, class_weight: {json.dumps(kappa)}}}\ntraining: {{epochs: 1}}\n"
    )
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    mass = np.array([(weights[labels == y] * kappa[y]).sum() for y in "abc"])
    shares = mass / mass.sum()
    assert summary(tmp_path / "run")["baselines"]["constant"]["loss"] == pytest.approx(
        -(shares @ np.log(shares)), rel=1e-6
    )


def test_the_cases_cover_every_pair() -> None:
    assert len(CASES) >= max(len(values) for values in FACTORS.values())
    covered = set().union(*(pairs_of(case) for case in CASES))
    assert (("format", "npz"), ("column", "pixels")) not in covered  # sorted by name
    assert tuple(sorted({"column": "pixels", "format": "npz"}.items())) in covered
