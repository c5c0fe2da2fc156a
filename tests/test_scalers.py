"""Do the scalers give columns that a network can learn from, whatever the scale of the numbers, and lead back?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, RobustScaler, StandardScaler

from cli import Cli, Write, write_csv
from helpers import assert_close, label
from mlptrain.component import example_instances
from mlptrain.data.scalers import Log, MinMax, NoScaling, QuantileNormal, Robust, RobustClip, Scaler, Standard

SCALERS = example_instances(Scaler)
AFFINE: list[tuple[Scaler, Any]] = [
    (Standard(), StandardScaler()),
    (MinMax(), MinMaxScaler()),
    (Robust(), RobustScaler()),
]
each_scaler = pytest.mark.parametrize("scaler", SCALERS, ids=label)
each_that_scales = pytest.mark.parametrize("scaler", [s for s in SCALERS if not isinstance(s, NoScaling)], ids=label)


def column(scale: float = 1.0, middle: float = 0.0) -> NDArray[np.float64]:
    """501 skewed numbers (501, 1)."""
    return middle + scale * np.random.default_rng(0).exponential(size=(501, 1))


def scaled(scaler: Scaler, values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        return np.asarray(scaler.apply(values, scaler.fit(values)))


@each_scaler
def test_a_scaler_leads_back(scaler: Scaler) -> None:
    values = column(3.0, middle=-7.0)
    fitted = scaler.fit(values)
    there = scaler.apply(values, fitted)
    cut = 501 // scaler.knots + 1 if isinstance(scaler, QuantileNormal) else 0  # of the ranks at both ends
    inner = np.argsort(values[:, 0])[cut : 501 - cut]
    assert_close(scaler.invert(there, fitted)[inner], values[inner], 1e-9)


@pytest.mark.parametrize(("ours", "theirs"), AFFINE, ids=lambda scaler: type(scaler).__name__)
def test_it_agrees_with_scikit_learn(ours: Scaler, theirs: Any) -> None:
    values = np.hstack([column(), column(1e-3, middle=5.0), column(1e6)])
    assert_close(scaled(ours, values), theirs.fit_transform(values), 1e-9, scale=1.0)


def test_quantiles_agree_with_scikit_learn_away_from_the_ends() -> None:
    values, knots = column(), 101
    theirs = QuantileTransformer(n_quantiles=knots, output_distribution="normal", subsample=None).fit_transform(values)
    inside = np.abs(theirs) < 2
    assert_close(scaled(QuantileNormal(knots=knots), values)[inside], theirs[inside], 1e-6, scale=1.0)


@each_that_scales
@pytest.mark.parametrize("scale", [1e-250, 1e-30, 1e-3, 1e3, 1e30, 1e150])
def test_the_scale_of_a_column_does_not_matter(scaler: Scaler, scale: float) -> None:
    assert_close(scaled(scaler, column(scale)), scaled(scaler, column()), 1e-9, scale=1.0)


@each_that_scales
@pytest.mark.parametrize("value", [0.0, 5.0, -1e-30, 1e12])
def test_a_constant_column_becomes_zero(scaler: Scaler, value: float) -> None:
    assert not scaled(scaler, np.full((9, 1), value)).any()


@pytest.mark.parametrize("scaler", [scaler for scaler, _ in AFFINE], ids=label)
def test_the_rounding_of_a_large_number_is_no_variation(scaler: Scaler) -> None:
    values = np.full((99, 1), 1e9)
    values[::2] = np.nextafter(1e9, 2e9)
    assert np.abs(scaled(scaler, values)).max() < 1e-6


@pytest.mark.parametrize("scaler", [s for s in SCALERS if not isinstance(s, NoScaling | Log)], ids=label)
def test_a_small_variation_around_a_large_number_is_one(scaler: Scaler) -> None:
    assert_close(scaled(scaler, column(1e-3, middle=1e6)), scaled(scaler, column()), 1e-4, scale=1.0)


def test_what_each_scaler_makes_of_a_column() -> None:
    values = column(40.0, middle=300.0)
    standard, minmax, robust = (scaled(scaler, values)[:, 0] for scaler, _ in AFFINE)
    bell = scaled(QuantileNormal(), values)[:, 0]
    assert_close([standard.mean(), standard.std()], [0, 1], 1e-9, scale=1.0)
    assert_close([minmax.min(), minmax.max()], [0, 1], 1e-12, scale=1.0)
    low, middle, high = np.quantile(robust, [0.25, 0.5, 0.75])
    assert_close([middle, high - low], [0, 1], 1e-9, scale=1.0)
    assert_close(np.quantile(bell, [0.16, 0.5, 0.84]), [-0.994, 0, 0.994], 0.02, scale=1.0)
    assert np.array_equal(scaled(NoScaling(), values), values)


def test_outliers_approach_three_and_nothing_overflows() -> None:
    values = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    scaler = RobustClip()
    fitted = scaler.fit(values)
    assert_close(fitted, [[2.0], [2.0]], 1e-12)
    assert_close(scaler.apply(np.array([[4.0], [8.0]]), fitted)[:, 0], [1 / np.sqrt(10 / 9), 3 / np.sqrt(2)], 1e-12)
    with np.errstate(over="ignore"):
        assert scaler.apply(np.array([[1e300], [-1.7e308]]), fitted)[:, 0].tolist() == [3.0, -3.0]


def test_half_the_range_replaces_quartiles_that_coincide() -> None:
    values = np.zeros((100, 1))
    values[:9, 0] = 8.0
    assert_close(RobustClip().fit(values), [[0.0], [4.0]], 1e-12)
    counted = RobustClip().fit_counted(np.arange(9.0), np.array([91, *[0] * 7, 9]))
    assert_close(counted, [[0.0], [4.0]], 1e-12)


def test_a_log_scale_is_the_logarithm_of_sizes() -> None:
    values = np.exp(np.random.default_rng(0).standard_normal((501, 1)) * 3)
    fitted = Log().fit(values)
    assert_close(fitted[0], np.quantile(values, 0.05), 1e-12)
    z = np.log1p(values / fitted[0])
    assert_close(Log().apply(values, fitted), (z - z.mean()) / z.std(), 1e-9, scale=1.0)
    there = Log().apply(np.vstack([np.zeros((1, 1)), -values]), fitted) * fitted[2] + fitted[1]
    assert_close(there, np.vstack([np.zeros((1, 1)), -z]), 1e-9, scale=1.0)
    assert np.isfinite(Log().invert(np.array([[1e9], [-1e9]]), fitted)).all()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_target_on_a_log_scale_keeps_its_units(cli: Cli, spec: Write, tmp_path: Path, suffix: str) -> None:
    x = np.arange(300) * 7 % 41 / 10
    pl.DataFrame({"x": x, "y": 50 * np.exp(x)}).write_csv(tmp_path / "t.csv")
    pl.DataFrame({"x": x, "y": 50 * np.exp(x)}).write_parquet(tmp_path / "t.parquet")
    data = f"data: {{path: t.{suffix}, target: y, scale_target: log}}\n"
    spec(f"preset: plain\nseed: 0\n{data}network: {{hidden: [16]}}\ntraining: {{epochs: 150, batch_size: 16}}\n")
    results = cli("fit", "spec.yaml", "--out", "run", "--json").succeeded().json()["results"]["test"]
    assert results["r2"] > 0.99
    (_, *lines) = cli("predict", "run", "t.csv").succeeded().out.splitlines()
    predicted = np.array([float(line) for line in lines])
    assert np.abs(predicted / (50 * np.exp(x)) - 1).mean() < 0.1
    cli("evaluate", "run").succeeded()


def test_a_log_scale_refuses_a_negative_target(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 17, i % 29 - 0.5) for i in range(120)])
    spec("data: {path: t.csv, target: y, scale_target: log, split: {validation: 0, test: 0}}\ntraining: {epochs: 1}\n")
    said = cli("fit", "spec.yaml").refused(3, "target 'y' has 5 values below 0, such as -0.5, which scale log").err
    assert "write data: {scale_target: standard}" in said
    cli("fit", "spec.yaml", "--set", "data.scale_target=none", "--set", "data.numeric.scale=log").succeeded()
