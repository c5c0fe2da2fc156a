"""Does a table in memory become the same columns as a file does?"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlptrain.data.columns import MomentColumn, NumericColumn, TextColumn, interpret
from mlptrain.data.frames import as_file, table_from
from mlptrain.data.tables import Table, read_table
from mlptrain.errors import DataError

MISSING = ("", "NA", "nan")
DAYS = [dt.date(2024, 1, 1), None, dt.date(2024, 1, 3)]
COLUMNS: dict[str, list[Any]] = {
    "number": [1.5, None, -2.0],
    "whole": [1, 2, 3],
    "word": ["x", None, "z"],
    "flag": [True, False, True],
    "day": DAYS,
}


def pandas_of(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


FORMS = {
    "dictionary": COLUMNS,
    "rows": [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)],
    "polars": pl.DataFrame(COLUMNS),
    "pandas objects": pandas_of(COLUMNS),
    "pandas": pd.DataFrame(COLUMNS).assign(day=pd.to_datetime(pd.Series(DAYS))),
    "pandas nullable": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="numpy_nullable"),
    "pandas arrow": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "arrow": pl.DataFrame(COLUMNS).to_arrow(),
}


def read(table: Table) -> dict[str, list[Any]]:
    """What the columns of a table say."""
    found: dict[str, list[Any]] = {}
    for name in table.columns:
        column = interpret(table, name, MISSING)
        if isinstance(column, NumericColumn):
            found[name] = [None if np.isnan(value) else float(value) for value in column.values[:, 0]]
        elif isinstance(column, MomentColumn):
            found[name] = [None if np.isnan(value) else float(value) for value in column.seconds]
        else:
            assert isinstance(column, TextColumn)
            found[name] = [None if code < 0 else column.categories[code] for code in column.codes]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_says_the_same(form: str) -> None:
    table = table_from(FORMS[form])
    second = 86400.0
    assert table.rows == 3
    assert read(table) == {
        "number": [1.5, None, -2.0],
        "whole": [1.0, 2.0, 3.0],
        "word": ["x", None, "z"],
        "flag": ["true", "false", "true"],
        "day": [19723 * second, None, 19725 * second],
    }


def test_categories_times_zones_and_numbers_of_other_types() -> None:
    zoned = pd.to_datetime(pd.Series(["2024-07-01 12:00", None])).dt.tz_localize("Europe/Berlin")
    frame = pd.DataFrame({"c": pd.Categorical(["b", None]), "n": pd.Categorical([2, 1]), "zoned": zoned})
    naive = (dt.datetime(2024, 7, 1, 12) - dt.datetime(1970, 1, 1)).total_seconds()
    assert read(table_from(frame)) == {"c": ["b", None], "n": [2.0, 1.0], "zoned": [naive, None]}
    others = {"decimal": [Decimal("1.5"), None], "big": [10**18, 1], "time": [dt.time(1, 0), None]}
    assert read(table_from(others)) == {"decimal": [1.5, None], "big": [1e18, 1.0], "time": [3600.0, None]}


def test_numbers_among_text_are_text_as_in_a_csv() -> None:
    assert read(table_from({"mixed": [1, "a", None, 2.5]})) == {"mixed": ["1", "a", None, "2.5"]}


def test_arrays() -> None:
    assert list(table_from(np.zeros((2, 3))).columns) == ["x0", "x1", "x2"]
    named = np.array([(1, "a"), (2, "b")], dtype=[("n", "i8"), ("w", "U1")])
    assert read(table_from(named)) == {"n": [1.0, 2.0], "w": ["a", "b"]}
    block = table_from({"pixels": np.zeros((2, 4, 4), np.uint8), "y": ["a", "b"]})
    assert block.columns["pixels"].shape == (2, 16)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame([[1, 2]]), "column names must be text, but 0 is not"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "names are repeated, such as 'a'"),
        ({"é": [1], "e\u0301": [2]}, "names are repeated"),
        (pd.DataFrame({"a": []}), "0 data rows"),
        ({}, "0 data rows"),
        ([], "0 data rows"),
        ({"a": [1, 2], "b": [1]}, "differ in length: a has 2, b has 1"),
        ({"a": 5}, "column 'a' is of type int, not a list of values"),
        ({"a": "text"}, "column 'a' is of type str, not a list of values"),
        ({"a": np.array(5)}, "column 'a' is a single value"),
        ([1, 2], "row 1 is of type int; a row is a dictionary by column"),
        (np.zeros(3), r"an array of shape \(3,\) is no table"),
        (pl.LazyFrame({"a": [1]}), r"call its .collect\(\)"),
        (None, "NoneType is no table"),
        (5, "int is no table"),
    ],
    ids=str,
)
def test_what_is_no_table(data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        table_from(data)


@pytest.mark.parametrize(
    ("values", "types"),
    [
        ([[1], [2]], "list"),
        ([{"a": 1}, None], "dict"),
        (np.array([1 + 2j, 0]), "complex"),
        (np.array([b"x", b"y"]), "bytes"),
        (pd.Series(pd.to_timedelta([1, 2], unit="D")), "timedelta"),
        (pd.Series(pd.period_range("2024-01", periods=2, freq="M")), "Period"),
    ],
    ids=str,
)
def test_cells_of_other_types_are_refused_where_they_are_used(values: Any, types: str) -> None:
    table = table_from({"odd": values, "a": [1, 2]})
    assert read(Table("t", "", 2, {"a": table.columns["a"]})) == {"a": [1.0, 2.0]}
    with pytest.raises(DataError, match=f"column 'odd' holds values of type \\w*{types}"):
        interpret(table, "odd", MISSING)


CELLS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3), st.booleans())


@given(st.lists(CELLS, min_size=1, max_size=6))
def test_a_column_of_anything_is_read_or_refused(cells: list[Any]) -> None:
    table = table_from({"a": cells})
    assert table.rows == len(cells)
    assert table_from({"a": cells}).sha256 == table.sha256
    found = read(table)["a"]
    assert [value is None for value, cell in zip(found, cells, strict=True) if cell is None] == [True] * cells.count(
        None
    )


@given(st.lists(st.tuples(st.none() | st.text(max_size=3), st.floats(width=32)), min_size=1, max_size=6))
def test_the_digest_tells_tables_apart(rows: list[tuple[str | None, float]]) -> None:
    words, numbers = [row[0] for row in rows], [row[1] for row in rows]
    first = table_from({"w": pl.Series(words, dtype=pl.String), "n": np.array(numbers)})
    again = table_from({"w": pl.Series(words, dtype=pl.String), "n": np.array(numbers)})
    changed = table_from({"w": pl.Series([*words[:-1], "other"], dtype=pl.String), "n": np.array(numbers)})
    assert first.sha256 == again.sha256 != changed.sha256


@pytest.mark.parametrize("form", FORMS)
def test_a_table_is_saved_as_it_is(form: str, tmp_path: Path) -> None:
    table = table_from(FORMS[form])
    suffix, content = as_file(table)
    path = tmp_path / f"data{suffix}"
    path.write_bytes(content)
    assert suffix == ".parquet"
    assert read(read_table(path)) == read(table)


def test_blocks_are_saved_as_npz(tmp_path: Path) -> None:
    pixels = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    suffix, content = as_file(table_from({"pixels": pixels, "y": ["a", "b"], "n": [1.0, 2.0]}))
    path = tmp_path / f"data{suffix}"
    path.write_bytes(content)
    found = read_table(path)
    np.testing.assert_array_equal(found.columns["pixels"], pixels.reshape(2, 16))
    assert list(found.columns["y"]) == ["a", "b"]
