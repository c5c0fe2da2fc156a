"""Is every column taken: gaps, bins, dates, amounts, many categories, and what says nothing left out?

A spec of two lines is run on small tables. What the inputs are is read from the model and from the arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from cli import Cli, Outcome, Write, write_csv
from helpers import assert_close
from mlptrain.data.bins import bin_edges
from mlptrain.data.encoders import Encoder
from mlptrain.data.tables import read_table
from mlptrain.dataset import Transforms
from mlptrain.runs import checkpoint as files

QUICK = "training: {epochs: 2, baselines: false}\nnetwork: {hidden: [4]}\n"


def label(i: int) -> str:
    return "ab"[(7 * i) % 23 > 11]


def fitted(cli: Cli, spec: Write, table: str = "t.csv", settings: str = "", out: str = "run") -> Outcome:
    """Fit to a table with `y` as the target."""
    spec(f"data: {{path: {table}, target: y{', ' * bool(settings)}{settings}}}\n{QUICK}")
    return cli("fit", "spec.yaml", "--out", out)


def transforms(run: Path) -> Transforms:
    return files.decode_model((run / "model.safetensors").read_bytes(), "m").transforms


def encoder(run: Path, column: str) -> Encoder:
    return next(encoder for encoder in transforms(run).encoders if encoder.column == column)


def inputs(run: Path, table: Path) -> dict[str, NDArray[np.float64]]:
    """Every input of a table by its name."""
    prepared = transforms(run)
    features, _ = prepared.encode(read_table(table, None, prepared.hints), np.float64)
    return dict(zip(prepared.inputs, features.values.T, strict=True))


# --- Missing numbers


def gaps(i: int) -> tuple[object, ...]:
    return ("" if i % 5 == 0 else i % 7, i % 11, label(i))


def test_a_missing_number_has_an_input_of_its_own(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,z,y", [gaps(i) for i in range(60)])
    fitted(cli, spec, settings="numeric: {indicator: true}").succeeded()
    found = inputs(tmp_path / "run", tmp_path / "t.csv")
    assert list(found) == ["x", "x=(missing)", "z"]
    assert found["x=(missing)"].tolist() == [float(i % 5 == 0) for i in range(60)]
    write_csv(tmp_path / "new.csv", "x,z", [("", ""), (1, 2)])
    later = inputs(tmp_path / "run", tmp_path / "new.csv")
    assert later["x=(missing)"].tolist() == [1, 0]
    said = cli("predict", "run", "new.csv").succeeded().err
    assert "1 missing in 'x'" in said
    assert "1 missing in 'z'" in said


def test_a_block_has_an_indicator_for_each_column_with_gaps(cli: Cli, spec: Write, tmp_path: Path) -> None:
    block = np.random.default_rng(0).standard_normal((60, 3))
    block[::4, 1] = np.nan
    np.savez(tmp_path / "t.npz", b=block, y=[label(i) for i in range(60)])
    fitted(cli, spec, "t.npz", "numeric: {indicator: true, bins: 4}").succeeded()
    assert list(inputs(tmp_path / "run", tmp_path / "t.npz")) == ["b[0]", "b[1]", "b[2]", "b[1]=(missing)"]


# --- Bins


def test_a_number_has_a_share_of_each_bin(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,two,y", [(i / 2 + 0.25, i % 2, label(i)) for i in range(80)])
    fitted(cli, spec, settings="split: {validation: 0, test: 0}, numeric: {bins: 4}").succeeded()
    names = [name for name in transforms(tmp_path / "run").inputs if name.startswith("x[")]
    assert names == ["x[<10.125]", "x[<20]", "x[<29.875]", "x[<39.75]"]
    assert [name for name in transforms(tmp_path / "run").inputs if name.startswith("two")] == ["two"]
    write_csv(tmp_path / "new.csv", "x,two", [(-5, 0), (5.1875, 0), (15.0625, 0), (99, 0), ("", 0)])
    found = inputs(tmp_path / "run", tmp_path / "new.csv")
    shares = np.stack([found[name] for name in names], axis=1)
    wanted = np.array([[0, 0, 0, 0], [0.5, 0, 0, 0], [1, 0.5, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
    assert_close(shares, wanted, 1e-9, scale=1.0)


@pytest.mark.parametrize("values", [[0, 1], [3, 3, 3], [1e308, -1e308, 0], [0, 1e-300, 2e-300], []], ids=str)
def test_no_bins_where_there_is_nothing_to_divide(values: list[float]) -> None:
    assert not len(bin_edges(np.array(values, float), 4))


def test_bins_that_are_too_narrow_are_merged() -> None:
    values = np.array([0, 1e-12, 2e-12, 0.5, 1 - 1e-12, 1])
    assert_close(bin_edges(values, 50), [0, 0.5, 1], 1e-9)


@pytest.mark.parametrize(("columns", "rows", "bins"), [(2, 6, 4), (2, 900, 6), (201, 60, 0), (150, 2000, 5)])
def test_the_number_of_bins_follows_rows_and_columns(
    cli: Cli, spec: Write, tmp_path: Path, columns: int, rows: int, bins: int
) -> None:
    values = np.random.default_rng(0).standard_normal((rows, columns))
    frame = pl.DataFrame({f"x{i}": column for i, column in enumerate(values.T)})
    frame.with_columns(y=pl.Series([f"{label(i)}" for i in range(rows)])).write_parquet(tmp_path / "t.parquet")
    fitted(cli, spec, "t.parquet", "numeric: {bins: auto}").succeeded()
    found = transforms(tmp_path / "run").inputs
    trained = round(0.7 * rows)
    assert len(found) == columns * (1 + min(bins, max(0, trained - 1)))


@pytest.mark.parametrize("bins", ["1", "0", "257", "many", "2.5", "true"])
def test_a_number_of_bins_that_is_none(cli: Cli, spec: Write, tmp_path: Path, bins: str) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i, label(i)) for i in range(40)])
    fitted(cli, spec, settings=f"numeric: {{bins: {bins}}}").refused(2, "data.numeric.bins: must be a whole number")


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_bins_and_gaps_are_the_same_from_every_format(cli: Cli, spec: Write, tmp_path: Path, suffix: str) -> None:
    x = [None if i % 9 == 0 else i * 37 % 101 / 8 for i in range(120)]
    frame = pl.DataFrame({"x": x, "z": [i % 13 for i in range(120)], "y": [label(i) for i in range(120)]})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", x=np.array(x, float), z=frame["z"].to_numpy(), y=np.array(frame["y"].to_list()))
    fitted(cli, spec, f"t.{suffix}", "numeric: {bins: auto, indicator: true}").succeeded()
    fitted(cli, spec, "t.csv", "numeric: {bins: auto, indicator: true}", "other").succeeded()
    assert transforms(tmp_path / "run") == transforms(tmp_path / "other")
    assert cli("predict", "run", "t.csv") == cli("predict", "other", f"t.{suffix}").succeeded()


def test_blocks_of_rows_do_not_change_the_shares(
    cli: Cli, spec: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "t.csv", "x,z,y", [gaps(i) for i in range(60)])
    fitted(cli, spec, settings="numeric: {indicator: true, bins: auto}").succeeded()
    whole = inputs(tmp_path / "run", tmp_path / "t.csv")
    monkeypatch.setattr("mlptrain.dataset._BLOCK", 7)
    pieces: Any = inputs(tmp_path / "run", tmp_path / "t.csv")
    assert all(np.array_equal(whole[name], pieces[name]) for name in whole)
