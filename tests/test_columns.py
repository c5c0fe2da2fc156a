"""Is every column taken: gaps, bins, dates, amounts, many categories, and what says nothing left out?

A spec of two lines is run on small tables. What the inputs are is read from the model and from the arrays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime, time, timedelta
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
    path = spec(f"data: {{path: {table}, target: y{', ' * bool(settings)}{settings}}}\n{QUICK}")
    shutil.rmtree(path.parent / out, ignore_errors=True)
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
    write_csv(tmp_path / "t.csv", "x,z,y", [gaps(i) for i in range(80)])
    fitted(cli, spec, settings="numeric: {indicator: true}").succeeded()
    found = inputs(tmp_path / "run", tmp_path / "t.csv")
    assert list(found) == ["x", "x=(missing)", "z"]
    assert found["x=(missing)"].tolist() == [float(i % 5 == 0) for i in range(80)]
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


# --- Dates


def day(i: int) -> datetime:
    return datetime(2022, 11, 20, 7, 30, 5) + timedelta(hours=31 * i)


FORMS: dict[str, tuple[str, str]] = {
    "2024-03-01": ("%Y-%m-%d", "YYYY-MM-DD"),
    "2024/03/01": ("%Y/%m/%d", "YYYY/MM/DD"),
    "01.03.2024": ("%d.%m.%Y", "DD.MM.YYYY"),
    "01/03/2024": ("%d/%m/%Y", "DD/MM/YYYY"),
    "03/01/2024": ("%m/%d/%Y", "MM/DD/YYYY"),
    "03-01-24": ("%m-%d-%y", "MM-DD-YY"),
    "01 Mar 2024": ("%d %b %Y", "DD MON YYYY"),
    "March 01, 2024": ("%B %d, %Y", "MON DD YYYY"),
    "01-Mar-24": ("%d-%b-%y", "DD MON YY"),
    "with minutes": ("%d.%m.%Y %H:%M", "DD.MM.YYYY"),
    "with seconds": ("%Y-%m-%dT%H:%M:%S", "YYYY-MM-DD"),
    "with fractions and a zone": ("%Y-%m-%d %H:%M:%S.5+01:00", "YYYY-MM-DD"),
    "with halves of the day": ("%m/%d/%Y, %I:%M %p", "MM/DD/YYYY"),
}


@pytest.mark.parametrize("form", FORMS)
def test_dates_in_the_usual_spellings(cli: Cli, spec: Write, tmp_path: Path, form: str) -> None:
    spelled, spelling = FORMS[form]
    write_csv(tmp_path / "t.csv", "when;x;y", [(f"{day(i):{spelled}};{i % 7};{label(i)}",) for i in range(120)])
    said = fitted(cli, spec, settings="delimiter: ';', numeric: {scale: none}").succeeded().err
    assert f"'when' read as dates ({spelling})" in said
    found = inputs(tmp_path / "run", tmp_path / "t.csv")
    first = found["when (days)"] - np.array([round(31 * i / 24, 6) for i in range(120)])
    assert np.ptp(first) < 1.01  # the same days, but for what the spelling leaves out
    assert found["when (year)"].tolist() == [day(i).year for i in range(120)]
    week = np.arctan2(found["when (sine of week)"], found["when (cosine of week)"]) / (2 * np.pi) % 1 * 7
    assert (np.rint(week) % 7).tolist() == [day(i).weekday() for i in range(120)]
    year = np.arctan2(found["when (sine of year)"], found["when (cosine of year)"]) / (2 * np.pi) % 1 * 365.2425
    assert np.rint(year + 1).tolist() == [day(i).timetuple().tm_yday for i in range(120)]
    assert ("when (sine of day)" in found) == ("%H" in spelled or "%I" in spelled)
    if "%M" in spelled:
        hour = np.arctan2(found["when (sine of day)"], found["when (cosine of day)"]) / (2 * np.pi) % 1 * 24
        assert_close(hour, [day(i).hour + day(i).minute / 60 for i in range(120)], 0.01, scale=1.0)


def typed_rows() -> dict[str, list[Any]]:
    return {
        "day": [day(i).date() if i % 9 else None for i in range(80)],
        "moment": [day(i) if i % 7 else None for i in range(80)],
        "clock": [day(i).time() for i in range(80)],
        "x": [i % 13 for i in range(80)],
        "y": [label(i) for i in range(80)],
    }


def test_dates_are_the_same_from_every_format(cli: Cli, spec: Write, tmp_path: Path) -> None:
    frame = pl.DataFrame(typed_rows())
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    arrays: dict[str, Any] = {
        "day": frame["day"].to_numpy(),
        "moment": frame["moment"].to_numpy(),
        "clock": np.array([str(time) for time in frame["clock"]]),
        "x": frame["x"].to_numpy(),
        "y": np.array(frame["y"].to_list()),
    }
    np.savez(tmp_path / "t.npz", **arrays)
    names = [f"t.{suffix}" for suffix in ("csv", "parquet", "npz")]
    for name in names:
        said = fitted(cli, spec, name, out=f"run.{name}").succeeded().err
        assert "'day', 'moment' read as dates (YYYY-MM-DD); 'clock' read as times (hh:mm)" in said
    assert len({transforms(tmp_path / f"run.{name}").model_dump_json() for name in names}) == 1
    found = [cli("predict", f"run.{one}", other).succeeded() for one in names for other in names]
    assert all(outcome == found[0] for outcome in found)
    assert "day=(missing)" in transforms(tmp_path / "run.t.csv").inputs
    assert "clock (sine of day)" in transforms(tmp_path / "run.t.csv").inputs


def test_zones_of_parquet_are_clocks_on_the_wall(cli: Cli, spec: Write, tmp_path: Path) -> None:
    frame = pl.DataFrame(typed_rows()).with_columns(pl.col("moment").dt.replace_time_zone("Europe/Berlin"))
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    fitted(cli, spec, "t.parquet").succeeded()
    assert cli("predict", "run", "t.csv") == cli("predict", "run", "t.parquet").succeeded()


def test_a_missing_date_is_neutral_and_says_so(cli: Cli, spec: Write, tmp_path: Path) -> None:
    cells = [(f"{day(i):%Y-%m-%d %H:%M}" if i % 6 else ("", "NaT", "NA")[i % 3], i % 7, label(i)) for i in range(90)]
    write_csv(tmp_path / "t.csv", "when,x,y", cells)
    assert "15 missing in 'when'" in fitted(cli, spec).succeeded().err
    found = inputs(tmp_path / "run", tmp_path / "t.csv")
    assert found["when=(missing)"].tolist() == [float(i % 6 == 0) for i in range(90)]
    places = [values for name, values in found.items() if " of " in name]
    assert len(places) == 6
    assert all((values[::6] == 0).all() for values in places)
    assert np.abs(found["when (days)"][::6]).max() < 0.3  # the median is near the middle of what is scaled
    spec_error = fitted(cli, spec, settings="numeric: {missing: error}")
    spec_error.refused(3, "column 'when' has", "missing values", "data.numeric.missing is 'error'")


@pytest.mark.parametrize("rows", [6, 12])
def test_a_few_dates(cli: Cli, spec: Write, tmp_path: Path, rows: int) -> None:
    write_csv(tmp_path / "t.csv", "when,y", [(f"{day(20 * i):%Y-%m-%d}", f"{i}.5") for i in range(rows)])
    fitted(cli, spec, settings="numeric: {bins: auto, indicator: true}").succeeded()
    assert len(cli("predict", "run", "t.csv").succeeded().out.splitlines()) == rows + 1


def test_a_day_that_may_be_a_month_is_asked_about(cli: Cli, spec: Write, tmp_path: Path) -> None:
    cells = [(f"{1 + i % 12}/{1 + i * 5 % 12}/2024", i % 7, label(i)) for i in range(60)]
    write_csv(tmp_path / "t.csv", "when,x,y", cells)
    fitted(cli, spec).refused(
        3,
        "column 'when' holds dates, such as '1/1/2024', whose day and month can be confused",
        "data: {day_first: true} for DD/MM/YYYY, data: {day_first: false} for MM/DD/YYYY",
        "data: {encoders: {when: category}} if these are categories",
    )
    for settings, spelling in (("day_first: true", "DD/MM/YYYY"), ("day_first: false", "MM/DD/YYYY")):
        assert f"read as dates ({spelling})" in fitted(cli, spec, settings=settings).succeeded().err
    fitted(cli, spec, settings="encoders: {when: category}").succeeded()
    write_csv(tmp_path / "t.csv", "when,x,y", [*cells, ("3/25/2024", 1, "a")])
    assert "read as dates (MM/DD/YYYY)" in fitted(cli, spec).succeeded().err
    write_csv(tmp_path / "t.csv", "when,x,y", [(cell.replace("/", "."), *rest) for cell, *rest in cells])
    assert "read as dates (DD.MM.YYYY)" in fitted(cli, spec).succeeded().err


def test_dates_that_change_their_spelling(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spelled = [f"{day(i):%Y-%m-%d}" if i < 899 else f"{day(i):%d.%m.%Y}" for i in range(1000)]
    write_csv(tmp_path / "t.csv", "when,x,y", [(cell, i % 7, label(i)) for i, cell in enumerate(spelled)])
    fitted(cli, spec).refused(
        3,
        "column 'when' holds dates (YYYY-MM-DD), but 101 of its cells are not: ",
        "in rows 900, 901, 902, 903, 904 and 96 more; write all of them in this way",
        "data: {exclude: [when]} to leave it out",
        "data: {encoders: {when: category}} if these are categories",
    )


def test_a_word_among_dates_may_mean_none(cli: Cli, spec: Write, tmp_path: Path) -> None:
    cells = [(f"{day(i):%Y-%m-%d}" if i != 41 else "0000-00-00", i % 7, label(i)) for i in range(90)]
    write_csv(tmp_path / "t.csv", "when,x,y", cells)
    said = fitted(cli, spec).refused(3, "1 of its cells is not: '0000-00-00' in row 42").err
    assert "'0000-00-00']} if that stands for a missing value" in said
    fitted(cli, spec, settings="missing_values: ['', '0000-00-00']").succeeded()


def test_new_dates_must_be_spelled_as_in_training(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "when,x,y", [(f"{day(i):%d.%m.%Y}", i % 7, label(i)) for i in range(90)])
    fitted(cli, spec).succeeded()
    write_csv(tmp_path / "new.csv", "when,x", [("01.02.2031", 1), ("2031-02-01", 1), ("", 1), ("29.02.2023", 1)])
    outcome = cli("predict", "run", "new.csv")
    outcome.refused(3, "column 'when' holds dates (DD.MM.YYYY), but 2 of its cells are not", "in rows 2, 4")
    pl.DataFrame({"when": [datetime(2031, 2, 1)], "x": [1]}).write_parquet(tmp_path / "new.parquet")
    typed = cli("predict", "run", "new.parquet").succeeded().out
    assert typed == cli("predict", "run", "-", stdin=b"when,x\n01.02.2031,1\n").succeeded().out
    cli("predict", "run", "-", stdin=b"when,x\n12,1\n").refused(3, "holds dates (DD.MM.YYYY), but 1 of its cells is")
    pl.DataFrame({"when": [time(9, 30)], "x": [1]}).write_parquet(tmp_path / "new.parquet")
    cli("predict", "run", "new.parquet").refused(3, "column 'when' must hold DD.MM.YYYY, as in training")


def test_a_date_is_no_target(cli: Cli, spec: Write, tmp_path: Path) -> None:
    pl.DataFrame({"x": [i % 7 for i in range(40)], "y": [day(i) for i in range(40)]}).write_parquet(
        tmp_path / "t.parquet"
    )
    fitted(cli, spec, "t.parquet").refused(3, "target 'y' holds dates; write what matters of them as numbers")


def test_what_is_no_date_is_no_date(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,z,y", [(f"Mar {2000 + i % 20}", i % 7, label(i)) for i in range(80)])
    fitted(cli, spec, settings="encoders: {x: date}").refused(3, "column 'x' must hold dates, but 80 of its cells are")
    fitted(cli, spec, settings="encoders: {z: date}").refused(3, "column 'z' must hold dates, but 80 of its cells are")
    assert "read as" not in fitted(cli, spec).succeeded().err


# --- Many categories


def code(i: int) -> str:
    """Codes of which some are in many rows, most in two or three, and some in one."""
    return f"k{i % 8}" if i % 2 else f"c{i * 7919 % 350}" if i % 11 else f"once {i}"


def test_of_many_categories_the_frequent_ones_have_inputs(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,x,y", [(code(i), i % 7, label(i)) for i in range(2000)])
    said = fitted(cli, spec, settings="split: {validation: 0, test: 0}").succeeded().err
    assert "'c' read as many categories: the 64 most frequent have an input each" in said
    rows = [code(i) for i in range(2000)]
    counts = pl.Series("c", rows).value_counts().sort(["count", "c"], descending=[True, False])
    named = [name.partition("=")[2] for name in transforms(tmp_path / "run").inputs if name.startswith("c=")]
    assert named == [*sorted(counts["c"][:64]), "(other)"]
    write_csv(tmp_path / "new.csv", "c,x", [("k3", 0), (counts["c"][100], 0), ("once 0", 0), ("never", 0), ("", 0)])
    found = inputs(tmp_path / "run", tmp_path / "new.csv")
    assert found["c=k3"].tolist() == [1, 0, 0, 0, 0]
    assert found["c=(other)"].tolist() == [0, 1, 1, 1, 1]
    wanted = np.log([counts["count"][0], counts["count"][100], 1, 1, 1]) / np.log(counts["count"][0])
    assert counts["c"][0] in ("k1", "k3", "k5", "k7")
    assert_close(found["c (frequency)"], wanted, 1e-9, scale=1.0)


def with_inputs(run: Path, column: str) -> list[str]:
    """The categories of a column that have an input of their own."""
    names = [name.partition("=")[2] for name in transforms(run).inputs if name.startswith(f"{column}=")]
    return [name for name in names if not name.startswith("(")]


def panel(i: int) -> str:
    """One of 150 persons, each in equally many rows."""
    return f"p{i % 150:03d}"


ALL_ROWS = "split: {validation: 0, test: 0}"


@pytest.mark.parametrize(
    ("preset", "cell", "own"),
    [("quick", panel, 150), ("plain", panel, 64), ("quick", lambda i: panel(i if i % 2 else 1), 75)],
)
def test_each_category_that_has_enough_rows_has_an_input(
    cli: Cli, spec: Write, tmp_path: Path, preset: str, cell: Callable[[int], str], own: int
) -> None:
    """All of a panel, also those in one row; of others, those in four rows. `plain` has the most frequent."""
    rows = [(cell(i), i % 7, label(i)) for i in range(900)] + [(f"once {i}", 0, "a") for i in range(40)]
    write_csv(tmp_path / "t.csv", "c,x,y", rows)
    spec(f"preset: {preset}\ndata: {{path: t.csv, target: y, {ALL_ROWS}}}\nensemble: {{blend: false}}\n{QUICK}")
    said = cli("fit", "spec.yaml", "--out", "run").succeeded().err
    found = with_inputs(tmp_path / "run", "c")
    singles = 40 if own == 150 else 0
    assert len(found) == own + singles
    assert f"the {len(found)} most frequent have an input each" in said
    if singles:
        prepared = inputs(tmp_path / "run", tmp_path / "t.csv")
        assert all(prepared[f"c={name}"].sum() == (1 if name.startswith("once") else 6) for name in found)


@pytest.mark.parametrize("least", [1, 3, 50])
def test_the_rows_for_an_input_of_its_own_are_a_choice(cli: Cli, spec: Write, tmp_path: Path, least: int) -> None:
    rows = [code(i) for i in range(2000)]
    write_csv(tmp_path / "t.csv", "c,x,y", [(cell, i % 7, label(i)) for i, cell in enumerate(rows)])
    settings = f"categorical: {{own_input_rows: {least}}}, {ALL_ROWS}"
    fitted(cli, spec, settings=settings).succeeded()
    often = [name for name in set(rows) if rows.count(name) >= least]
    found = with_inputs(tmp_path / "run", "c")
    assert found == sorted(often) if least < 50 else len(found) == 64 and set(often) < set(found)


def test_all_columns_of_many_categories_share_a_bound(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Two columns of 1,000 categories, each in 3 rows or in 4: only those in 4 rows have inputs."""
    cells = [[f"{name}{i % 1000 if i < 3000 else i % 500}" for i in range(3500)] for name in "ab"]
    rows = [(a, b, label(i)) for i, (a, b) in enumerate(zip(*cells, strict=True))]
    write_csv(tmp_path / "t.csv", "a,b,y", rows)
    spec(f"preset: quick\ndata: {{path: t.csv, target: y, {ALL_ROWS}}}\nensemble: {{blend: false}}\n{QUICK}")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    for name in "ab":
        assert with_inputs(tmp_path / "run", name) == sorted(f"{name}{k}" for k in range(500))


@pytest.mark.parametrize("value", ["0", "some", "true", "2.5"])
def test_a_number_of_rows_that_is_none_is_refused(cli: Cli, spec: Write, tmp_path: Path, value: str) -> None:
    write_csv(tmp_path / "t.csv", "c,x,y", [(code(i), i % 7, label(i)) for i in range(40)])
    fitted(cli, spec, settings=f"categorical: {{own_input_rows: {value}}}").refused(2, "'auto' or null")


@pytest.mark.parametrize("missing", ["own_column", "most_frequent", "error"])
def test_a_missing_one_of_many_categories(cli: Cli, spec: Write, tmp_path: Path, missing: str) -> None:
    rows = [("" if i % 10 == 0 else code(i), i % 7, label(i)) for i in range(1200)]
    write_csv(tmp_path / "t.csv", "c,x,y", rows)
    outcome = fitted(cli, spec, settings=f"categorical: {{missing: {missing}}}, split: {{validation: 0, test: 0}}")
    if missing == "error":
        outcome.refused(3, "column 'c' has 120 missing values")
        return
    assert "120 missing in 'c'" in outcome.succeeded().err
    found = inputs(tmp_path / "run", tmp_path / "t.csv")
    ones = (
        "c=(missing)"
        if missing == "own_column"
        else max(("c=k1", "c=k3", "c=k5", "c=k7"), key=lambda k: found[k].sum())
    )
    assert found[ones][::10].all()


@pytest.mark.parametrize("unknown", ["own_column", "ignore", "error"])
def test_an_unknown_one_of_many_categories(cli: Cli, spec: Write, tmp_path: Path, unknown: str) -> None:
    write_csv(tmp_path / "t.csv", "c,x,y", [(code(i), i % 7, label(i)) for i in range(1200)])
    settings = f"categorical: {{unknown: {unknown}}}, split: {{validation: 0, test: 0}}"
    fitted(cli, spec, settings=settings).succeeded()
    (tmp_path / "new.csv").write_text("c,x\nk1,1\nnever,1\n")
    if unknown == "error":
        cli("predict", "run", "new.csv").refused(3, "column 'c' holds categories that training did not see: 'never'")
        cli("predict", "run", "t.csv").succeeded()
        return
    found = inputs(tmp_path / "run", tmp_path / "new.csv")
    assert found["c=(other)"].tolist() == [0, float(unknown == "own_column")]


def test_a_limit_that_is_set_refuses_many_categories(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,x,y", [(code(i), i % 7, label(i)) for i in range(1200)])
    settings = "categorical: {max_categories: 150}, split: {validation: 0, test: 0}"
    fitted(cli, spec, settings=settings).refused(3, "categories in 1200 training rows", "to allow", "inputs for them")
    assert "read as many" not in fitted(cli, spec, settings="categorical: {min_count: 50}").succeeded().err
    assert "read as many" in fitted(cli, spec, settings="encoders: {c: many_categories}").succeeded().err


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_many_categories_are_the_same_from_every_format(cli: Cli, spec: Write, tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"c": [code(i) for i in range(900)], "y": [label(i) for i in range(900)]})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", c=np.array(frame["c"].to_list()), y=np.array(frame["y"].to_list()))
    for name in ("t.csv", f"t.{suffix}"):
        fitted(cli, spec, name, out=f"run.{name}").succeeded()
    assert transforms(tmp_path / "run.t.csv") == transforms(tmp_path / f"run.t.{suffix}")
    assert cli("predict", "run.t.csv", f"t.{suffix}") == cli("predict", f"run.t.{suffix}", "t.csv").succeeded()


def test_a_category_that_only_the_test_rows_have(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,d,y", [("ab"[i % 2], code(i), label(i)) for i in range(600)])
    write_csv(tmp_path / "test.csv", "c,d,y", [("z" if i == 3 else "a", f"new {i}", label(i)) for i in range(40)])
    said = fitted(cli, spec, settings="test_path: test.csv").succeeded().err
    assert "1 unknown in 'c'" in said
    cli("evaluate", "run").succeeded()


# --- Amounts

WRITTEN: dict[str, tuple[Callable[[float], str], str]] = {
    "1,234.50": (lambda x: f"{x:,.2f}", "marks of thousands"),
    "1.234,50": (lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")), "decimal commas"),
    "1 234,50": (lambda x: f"{x:,.2f}".translate(str.maketrans(",.", " ,")), "decimal commas"),
    "1'234.50": (lambda x: f"{x:,.2f}".replace(",", "'"), "marks of thousands"),
    "a narrow space": (lambda x: f"{x:,.2f}".replace(",", "\u202f"), "marks of thousands"),
    "0,5": (lambda x: f"{x:.2f}".replace(".", ","), "decimal commas"),
    "12 %": (lambda x: f"{x:.2f} %", "the unit %"),
    "12%": (lambda x: f"{x:.2f}%", "the unit %"),
    "$ 5": (lambda x: f"$ {x:,.2f}", "the unit $"),
    "-$5": (lambda x: f"{'-' * (x < 0)}${abs(x):,.2f}", "the unit $"),
    "€3": (lambda x: f"€{x:.2f}".replace(".", ","), "decimal commas and the unit €"),
    "5 kg": (lambda x: f"{x:.2f} kg", "the unit kg"),
    "1.234,50 kg": (lambda x: f"{x:,.2f} kg".translate(str.maketrans(",.", ".,")), "decimal commas and the unit kg"),
    "(5)": (lambda x: f"({-x:,.2f})" if x < 0 else f"{x:,.2f}", "marks of thousands"),
}


def amount(i: int) -> float:
    return round(((7 * i) % 61 - 20) ** 3 / 8, 2)


@pytest.mark.parametrize("form", WRITTEN)
def test_amounts_are_read_as_numbers(cli: Cli, spec: Write, tmp_path: Path, form: str) -> None:
    write, said = WRITTEN[form]
    cells = [write(amount(i)) if i % 9 else "" for i in range(150)]
    frame = pl.DataFrame({"v": cells, "z": [i % 7 for i in range(150)], "y": [label(i) for i in range(150)]})
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    np.savez(tmp_path / "t.npz", v=np.array(cells), z=frame["z"].to_numpy(), y=np.array(frame["y"].to_list()))
    names = [f"t.{suffix}" for suffix in ("csv", "parquet", "npz")]
    for name in names:
        outcome = fitted(cli, spec, name, "numeric: {scale: none, indicator: true, bins: 4}", f"run.{name}").succeeded()
        assert f"'v' read as numbers with {said}" in outcome.err
        assert "17 missing in 'v' filled from training" in outcome.err
    found = inputs(tmp_path / "run.t.csv", tmp_path / "t.csv")
    present = np.array([i % 9 > 0 for i in range(150)])
    assert_close(found["v"][present], [amount(i) for i in range(150) if i % 9], 1e-9)
    assert np.array_equal(found["v=(missing)"], ~present)
    assert len({transforms(tmp_path / f"run.{name}").model_dump_json() for name in names}) == 1
    predicted = [cli("predict", f"run.{one}", other).succeeded() for one in names for other in names]
    assert all(outcome == predicted[0] for outcome in predicted)


COMMAS: dict[str, tuple[Callable[[int], str], float]] = {
    "three digits after each": (lambda i: f"{1 + i % 90},{i * 7 % 1000:03d}", 1000),
    "three digits after most": (lambda i: f"{1 + i % 90},{i * 7 % 1000:03d}" if i % 30 else f"{i},5", 1),
    "a zero before": (lambda i: f"{i % 5},{100 + i * 7 % 900}", 1),
}


@pytest.mark.parametrize("case", COMMAS)
def test_a_comma_is_one_of_thousands_if_three_digits_follow_everywhere(
    cli: Cli, spec: Write, tmp_path: Path, case: str
) -> None:
    cell, factor = COMMAS[case]
    write_csv(tmp_path / "t.csv", "v;y", [(f"{cell(i)};{label(i)}",) for i in range(150)])
    fitted(cli, spec, settings="delimiter: ';', numeric: {scale: none}").succeeded()
    found = inputs(tmp_path / "run", tmp_path / "t.csv")["v"]
    assert_close(found, [factor * float(cell(i).replace(",", ".")) for i in range(150)], 1e-9)


def test_new_amounts_must_be_written_as_in_training(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "v,z,y", [(f"{amount(i)} kg", i % 7, label(i)) for i in range(90)])
    fitted(cli, spec).succeeded()
    (tmp_path / "new.csv").write_text("v,z\n5 kg,1\n5 g,1\n,1\n7,1\n")
    said = cli("predict", "run", "new.csv").refused(3, "column 'v' holds amounts", "but 2 of its cells are not").err
    assert "'5 g', '7' in rows 2, 4; write them as plain numbers" in said
    (tmp_path / "new.csv").write_text('v,z\n"1,005.5 kg",1\n-3 kg,2\n')
    assert len(cli("predict", "run", "new.csv").succeeded().out.splitlines()) == 3


def test_a_declared_number_may_be_written_as_an_amount(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "v,z,y", [(f"${amount(i)}", "xyz"[i % 3], label(i)) for i in range(90)])
    assert "the unit $" in fitted(cli, spec, settings="numeric: {columns: [v]}").succeeded().err
    fitted(cli, spec, settings="numeric: {columns: [z]}").refused(3, "column 'z' must be numeric, but 90 of its cells")
    fitted(cli, spec, settings="categorical: {columns: [v]}").succeeded()


def test_a_word_among_amounts_is_refused_with_its_row(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "v,z,y", [("?" if i == 50 else f"{i} kg", i % 7, label(i)) for i in range(90)])
    said = fitted(cli, spec).refused(3, "column 'v' holds amounts with a unit, such as '0 kg'", "'?' in row 51").err
    assert "data: {missing_values: ['', NA, N/A, NaN, nan, 'null', 'NULL', '?']} if that stands for a" in said


# --- What says nothing


def test_what_says_nothing_is_left_out_with_a_line_that_brings_it_back(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(f"Person {i}", "same", 7, "", i % 7, f"{day(0):%d.%m.%Y}", label(i)) for i in range(60)]
    write_csv(tmp_path / "t.csv", "name,k,seven,empty,x,when,y", rows)
    said = fitted(cli, spec).succeeded().err
    assert "network 1-4" in said
    line = "write data: {categorical: {columns: [%s]}}"
    assert f"'name' left out: it has a text of its own in nearly every row; to use it, {line % 'name'}" in said
    assert f"'k', 'when' left out: each is the same in every training row; to use them, {line % 'k, when'}" in said
    assert (
        "'seven' left out: it is the same in every training row; to use it, write data: {numeric: {columns: [" in said
    )
    assert "'empty' left out: it has no value in any training row;" not in said
    assert "'empty' left out: it has no value in any training row" in said
    cli("predict", "run", "-", stdin=b"x\n3\n").succeeded()  # what is left out need not be there
    for settings in ("categorical: {columns: [name, k, when]}", "numeric: {columns: [seven]}", "features: [name, x]"):
        assert "network 1-4" not in fitted(cli, spec, settings=settings).succeeded().err


def test_a_number_is_never_left_out_for_a_word_among_many(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "v,x,y", [("n.a." if i == 5 else i * i, i % 7, label(i)) for i in range(60)])
    fitted(cli, spec).refused(3, "column 'v' holds numbers, but 1 of its cells does not read as a number: 'n.a.'")


@pytest.mark.parametrize("rows", [6, 20, 21])
def test_few_rows_with_texts_of_their_own(cli: Cli, spec: Write, tmp_path: Path, rows: int) -> None:
    write_csv(tmp_path / "t.csv", "c,x,y", [(f"c{i}", i % 4, f"{i % 5}.5") for i in range(rows)])
    said = fitted(cli, spec, settings="split: {validation: 0, test: 0}").succeeded().err
    assert ("'c' left out" in said) == (rows > 20)


def test_twenty_thousand_columns(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Numbers, of which some are constant, words, dates and amounts; the notes stay short."""
    columns: dict[str, Any] = {f"x{i}": [(i % 16 + 1) * k % 17 for k in range(40)] for i in range(14_500)}
    columns |= {f"same{i}": [i] * 40 for i in range(5000)}
    columns |= {f"date{i}": [f"{day(i + k):%Y-%m-%d}" for k in range(40)] for i in range(100)}
    columns |= {f"name{i}": [f"n{i} {k}" for k in range(40)] for i in range(200)}
    columns |= {f"cost{i}": [f"${i + k}" for k in range(40)] for i in range(200)}
    columns["y"] = [label(k) for k in range(40)]
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    said = fitted(cli, spec, "t.parquet", "numeric: {bins: auto, indicator: true}").succeeded().err
    assert "'same0', 'same1', 'same2', 'same3', 'same4' and 4995 more left out" in said
    assert max(map(len, said.splitlines())) < 2500


@pytest.mark.parametrize("form", WRITTEN)
def test_amounts_are_a_target_too(cli: Cli, spec: Write, tmp_path: Path, form: str) -> None:
    write, said = WRITTEN[form]
    values = [amount(i) for i in range(150)]
    write_csv(tmp_path / "t.csv", "x;y", [(f"{i % 61};{write(value)}",) for i, value in enumerate(values)])
    write_csv(tmp_path / "plain.csv", "x;y", [(f"{i % 61};{value}",) for i, value in enumerate(values)])
    outcome = fitted(cli, spec, settings="delimiter: ';'").succeeded()
    assert f"target 'y' read as numbers with {said}; predictions are plain numbers" in outcome.err
    fitted(cli, spec, "plain.csv", settings="delimiter: ';'", out="plain").succeeded()
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == (tmp_path / "plain" / "metrics.csv").read_bytes()
    assert cli("predict", "run", "t.csv") == cli("predict", "plain", "t.csv").succeeded()
    own = cli("evaluate", "run", "--data", "t.csv", "--json").succeeded().json()
    assert own["metrics"] == cli("evaluate", "plain", "--data", "plain.csv", "--json").succeeded().json()["metrics"]


def test_amounts_of_a_target_that_mix_units(cli: Cli, spec: Write, tmp_path: Path) -> None:
    def table(name: str, odd: str) -> None:
        write_csv(tmp_path / name, "x,y", [(i % 31, odd if i == 41 else f"{i}.25 USD") for i in range(90)])

    table("t.csv", "12.50 EUR")
    wrong = "target 'y' holds numbers with the unit USD, but 1 of its cells is written otherwise: '12.50 EUR' in row 42"
    fitted(cli, spec).refused(3, wrong, "write all of them in one way, or write task: classification if each value")
    spec(f"task: regression\ndata: {{path: t.csv, target: y}}\n{QUICK}")
    cli("fit", "spec.yaml").refused(3, wrong)
    table("t.csv", "12.50 USD")
    fitted(cli, spec).succeeded()
    table("other.csv", "12.50 EUR")
    cli("evaluate", "run", "--data", "other.csv").refused(3, "column 'y' holds amounts", "'12.50 EUR' in row 42")
    assert len(cli("predict", "run", "other.csv").succeeded().out.splitlines()) == 91


def test_amounts_may_be_classes(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 31, f"{i % 3},5".join('""')) for i in range(90)])
    spec(f"task: classification\ndata: {{path: t.csv, target: y}}\n{QUICK}")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "probability_0,5" in cli("predict", "run", "t.csv").succeeded().out


def test_several_targets_of_which_one_has_a_unit(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y,z", [(i % 31, f"{i / 8} kg", i / 4) for i in range(90)])
    spec(f"data: {{path: t.csv, target: [y, z]}}\n{QUICK}")
    assert "target 'y' read as numbers with the unit kg" in cli("fit", "spec.yaml", "--out", "run").succeeded().err
    cli("evaluate", "run").succeeded()
    assert cli("predict", "run", "t.csv").succeeded().out.startswith("y,z\n")
