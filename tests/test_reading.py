"""Is a table the same whether its numbers are parsed at once or read as text first?"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlptrain.data import tables
from mlptrain.data.columns import NumericColumn, TextColumn, as_numeric, interpret
from mlptrain.data.encoders.numbers import medians
from mlptrain.data.scalers import Standard
from mlptrain.data.settings import Data
from mlptrain.data.split import Split
from mlptrain.data.tables import Hints, Table, parse_table
from mlptrain.dataset import Fit, examine, load_dataset
from mlptrain.errors import DataError
from mlptrain.nn.losses import CrossEntropy

NOTHING = Split(validation=0, test=0)
DEFAULT = ("", "NA", "N/A", "NaN", "nan", "null", "NULL")
SOUND = [
    "1",
    "-999.0",
    "00",
    "2.5",
    "-3e5",
    "+0.1",
    ".5",
    "7.",
    "007",
    "1e-400",
    "12345678901234567890123",
    "0.10000000000000000555",
]
BLANK = ["", " ", " 1", "1 ", "\t1", '"1"', '" 1"', '"1 "', '""', '" "']
ODD = ["nan", "NAN", "-nan", "NaN", "inf", "-Infinity", "1e999", "-1e999", "1_0", "0x1", '"1,5"', "--1"]
WORDS = ["NA", " NA", '"NA"', "null", "?", "-999", "x", "true", "2024-01-05", "ä", '"a""b"']
cells = st.sampled_from(SOUND + BLANK + ODD + WORDS)
columns = st.lists(st.sampled_from(SOUND), max_size=4).flatmap(
    lambda start: st.lists(cells, min_size=1, max_size=4).map(lambda rest: start + rest)
)


def read(content: bytes, hints: Hints | None, missing: tuple[str, ...]) -> list[Any]:
    """Every column, or the message of its error."""
    table = parse_table(content, "t.csv", None, hints)
    found: list[Any] = []
    for name in table.columns:
        try:
            column = interpret(table, name, missing)
        except DataError as error:
            found.append(str(error))
            continue
        found.append(column.values.tobytes() if isinstance(column, NumericColumn) else contents(column))
    return found


def contents(column: Any) -> tuple[Any, ...]:
    assert isinstance(column, TextColumn)
    return column.categories, column.codes.tolist()


@given(
    st.lists(columns, min_size=1, max_size=3),
    st.sampled_from([DEFAULT, ("", "-999"), ("?",), ("", "?"), ("", "0", "inf"), ()]),
)
@example([["1", "1", "1 "], ["1", "1", "x"]], DEFAULT)
@example([["1", "1", '""']], ("?",))
@example([["1", "1", "-999"]], ("", "-999"))
def test_both_ways_to_read_numbers_agree(lists: list[list[str]], missing: tuple[str, ...]) -> None:
    rows = zip(range(max(map(len, lists))), *(cells + ["1"] * 8 for cells in lists), strict=False)
    content = "".join(",".join(map(str, row)) + "\n" for row in [["n", *"abc"[: len(lists)]], *rows]).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_SAMPLE_ROWS", 2)  # what is odd comes after the rows that are looked at
        assert read(content, Hints((), missing), missing) == read(content, None, missing)


def test_clean_numbers_are_parsed_at_once_and_text_is_kept() -> None:
    table = parse_table(b"a,b,c\n1,2,x\n,NA,y\n", "t.csv", None, Hints(("b",), DEFAULT))
    assert [column.dtype.is_float() for column in table.columns.values()] == [True, False, False]
    assert table.columns["b"].to_list() == ["2", None]


@given(st.lists(st.lists(st.sampled_from(["1", "x", '"a,b"', '"a\nb"', ""]), min_size=1, max_size=4), min_size=1))
def test_a_table_is_rectangular_where_the_csv_module_finds_it_so(rows: list[list[str]]) -> None:
    text = "a,b\n" + "".join(",".join(row) + "\n" for row in rows) + "1,2\n"
    even = all(len(record) == 2 for record in csv.reader(io.StringIO(text, newline="")))
    try:
        assert even == (parse_table(text.encode(), "t.csv").rows == len(rows) + 1)
    except DataError:
        assert not even


def test_a_missing_word_may_be_a_number(tmp_path: Any) -> None:
    """In a column that is clean, and in one whose spaces send it through the reading as text."""
    for cell in ("-999", " -999 "):
        table = parse_table(f"a,b\n1,2\n{cell},3\n".encode(), "t.csv", None, Hints((), ("", "-999")))
        assert np.isnan(as_numeric(table, "a", ("", "-999")).values[1, 0])


@pytest.mark.parametrize("size", [0, 1, 6, 7, 8, 100])
def test_a_file_is_read_in_pieces(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_PIECE", 7)
    (tmp_path / "t.csv").write_bytes(bytes(range(size)))
    assert tables.read_bytes(tmp_path / "t.csv") == bytes(range(size))


def longer(path: Path) -> None:
    path.write_bytes(b"1" * 103)


def shorter(path: Path) -> None:
    path.write_bytes(b"1" * 97)


def other(path: Path) -> None:
    path.write_bytes(b"2" * 100)


def replaced(path: Path) -> None:
    (path.parent / "new").write_bytes(b"2" * 100)
    (path.parent / "new").replace(path)


@pytest.mark.parametrize("change", [longer, shorter, other, replaced])
def test_a_file_that_changes_while_it_is_read_is_refused(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"1" * 100)
    read_pieces = tables.read_pieces

    def read_while_it_changes(file: BinaryIO, size: int) -> bytes:
        time.sleep(0.02)  # the clock of a file system may tick as seldom as that
        change(path)
        return read_pieces(file, size)

    monkeypatch.setattr(tables, "_PIECE", 7)
    monkeypatch.setattr(tables, "read_pieces", read_while_it_changes)
    with pytest.raises(DataError, match=r"t\.csv: changed while it was read; try again"):
        tables.read_bytes(path)


def test_a_series_in_pieces_holds_the_same_numbers() -> None:
    series = pl.concat([pl.Series("a", [1.0, None]), pl.Series("a", [math.nan, 2.5, 4.0])], rechunk=False)
    assert series.n_chunks() == 2
    column = as_numeric(Table("t.csv", "", 5, {"a": series}), "a", DEFAULT)
    np.testing.assert_array_equal(column.values, [[1.0], [math.nan], [math.nan], [2.5], [4.0]])
    np.testing.assert_array_equal(column.span(slice(1, 4)), column.values[1:4])
    assert column.missing == 2


def test_whole_numbers_of_any_size_are_numbers(tmp_path: Path) -> None:
    pl.DataFrame({"a": pl.Series([2**70, None, -3], dtype=pl.Int128)}).write_parquet(tmp_path / "t.parquet")
    column = as_numeric(tables.read_table(tmp_path / "t.parquet"), "a", DEFAULT)
    np.testing.assert_array_equal(column.values, [[2.0**70], [math.nan], [-3.0]])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "npz"])
def test_a_number_may_stand_for_no_value(suffix: str, tmp_path: Path) -> None:
    """In every format; the rows whose target is one are dropped, and it is no class."""
    path = tmp_path / f"t.{suffix}"
    columns = {"x": [0.5, -1.0, 1.5, 2.5, 3.5], "y": [0, 1, -1, 0, 1]}
    if suffix == "csv":
        pl.DataFrame(columns).write_csv(path)
    elif suffix == "parquet":
        pl.DataFrame(columns).write_parquet(path)
    else:
        np.savez(path, x=np.array(columns["x"]), y=np.array(columns["y"]))
    data = Data(path=str(path), target=("y",), missing_values=("", "-1"), missing_target="drop", split=NOTHING)
    dataset = load_dataset(examine(data, CrossEntropy()), Fit(data, None, np.float64, 0))
    assert dataset.training.target().tolist() == [0, 1, 0, 1]
    assert dataset.notes == ("1 row without a target left out", "1 missing in 'x' filled from training")


def test_inputs_are_written_block_by_block(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{i / 7},{'' if i % 5 == 0 else i % 11},{'rgb'[i % 3]},{i + 0.5}" for i in range(100)]
    path.write_text("x,n,colour,y\n" + "\n".join(lines) + "\n")
    data = Data(path=str(path), target=("y",))
    whole = load_dataset(examine(data), Fit(data, Standard(), np.float32, 1))
    monkeypatch.setattr("mlptrain.dataset._BLOCK", 7)
    pieces = load_dataset(examine(data), Fit(data, Standard(), np.float32, 1))
    assert whole.training.features.values.tobytes() == pieces.training.features.values.tobytes()
    assert whole.notes == pieces.notes == ("20 missing in 'n' filled from training",)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=False, width=32), min_size=1, max_size=9), st.integers(1, 12))
def test_the_median_is_the_same_for_few_numbers_and_for_many(values: list[float], many: int) -> None:
    column = np.array([*values, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlptrain.data.encoders.base._POLARS_MEDIAN", many)
        found = medians(column.reshape(-1, 1), np.isnan(column).reshape(-1, 1))
    np.testing.assert_allclose(found, [np.nanmedian(column)], rtol=1e-12, atol=0)
