"""Does every line of YAML that a message offers work when it is pasted, whatever the columns are called?"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import Cli, Outcome
from mlptrain.remedies import yaml_flow
from mlptrain.spec import yaml

QUICK = {"training": {"epochs": 1, "baselines": False}}
NAMES = ["Ticket", "Price, USD", "a: b", "x # y", "[id]", "{k}", "*star", "&and", "it's", 'say "hi"', "7", "1.5"]
NAMES += ["no", "null", "ä ö", "- dash", "?", "tab\there", " spaces ", "%", "@at", "a" * 50]


def plain(text: str) -> Any:
    return json.loads(json.dumps(yaml.parse(text + "\n", "test").plain()))  # lists, not tuples


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_back(name: str) -> None:
    assert plain(f"data: {yaml_flow({'exclude': [name, 'x'], name: name})}") == {
        "data": {"exclude": [name, "x"], name: name}
    }


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8), max_size=4))
def test_any_text_is_read_back(words: list[str]) -> None:
    assert plain(f"words: {yaml_flow(words)}") == {"words": words}


def remedies(message: str) -> Iterator[dict[str, Any]]:
    """Every setting in `message`: `data: {...}`, `task: word` or `loss: word`."""
    for match in re.finditer(r"\b(data|task|loss): ", message):
        rest = message[match.start() :]
        for end in sorted({m.end() for m in re.finditer(r"\}|\w+(?=\W|$)", rest)}):
            try:
                found = plain(rest[:end])
            except Exception:
                continue
            if match[1] != "data" or isinstance(found["data"], dict):
                yield found
                break


def pasted(spec: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`spec` with the settings of `change` in their places."""
    together = dict(spec)
    for key, value in change.items():
        inside = isinstance(value, dict) and isinstance(spec.get(key), dict)
        together[key] = pasted(spec[key], value) if inside else value
    return together


def table(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def numbers(i: int) -> list[str]:
    return [f"{(7 * i) % 23 / 10 - 1.1:.2f}", "yes" if (7 * i) % 23 > 11 else "no"]


BAD_COLUMNS: dict[str, Callable[[int], str]] = {
    "a word among numbers": lambda i: "n.a." if i == 59 else str(3 * i % 50),
    "words and numbers": lambda i: f"A{i % 7}" if i % 3 else str(i % 5),
    "a day that is none": lambda i: f"2024-02-{1 + i % 30:02d}",
    "days that may be months": lambda i: f"{1 + i % 12}/{1 + i % 11}/2024",
    "amounts with two units": lambda i: f"{i} kg" if i % 5 else f"{i % 3} g",
    "commas of two kinds": lambda i: f"{i},5" if i % 7 else "1,000.5",
    "infinite values": lambda i: "inf" if i == 7 else str(i % 30),
}


def fit(cli: Cli, folder: Path, settings: dict[str, Any], number: int) -> Outcome:
    (folder / "spec.yaml").write_text(yaml.dump(settings))
    return cli("fit", "spec.yaml", "--out", f"run{number}")


@pytest.mark.parametrize("kind", BAD_COLUMNS)
@pytest.mark.parametrize("name", ["Price, USD", "it's", "7", " spaces "])
def test_each_way_out_of_a_bad_column_works(cli: Cli, tmp_path: Path, kind: str, name: str) -> None:
    rows = [[BAD_COLUMNS[kind](i), "same" if i % 2 else "other", *numbers(i)] for i in range(160)]
    table(tmp_path / "t.csv", [name, "more", "x", "y"], rows)
    settings = {"data": {"path": "t.csv", "target": "y", "exclude": ["more"]}, **QUICK}
    refused = fit(cli, tmp_path, settings, 0).refused(3, f"'{name}'")
    ways = list(remedies(refused.err))
    assert ways
    for number, way in enumerate(ways, start=1):
        outcome = fit(cli, tmp_path, pasted(settings, way), number).succeeded()
        assert "2 input" not in outcome.err
    assert any(way.get("data", {}).get("exclude") == ["more", name] for way in ways)


def test_a_column_among_named_features_is_taken_off_their_list(cli: Cli, tmp_path: Path) -> None:
    table(tmp_path / "t.csv", ["id", "x", "y"], [["", *numbers(i)] for i in range(160)])
    settings = {"data": {"path": "t.csv", "target": "y", "features": ["id", "x"]}, **QUICK}
    ways = list(remedies(fit(cli, tmp_path, settings, 0).refused(3).err))
    assert ways[0] == {"data": {"features": ["x"]}}
    fit(cli, tmp_path, pasted(settings, ways[0]), 1).succeeded()


def test_all_troubles_of_a_table_are_told_at_once_with_one_line_for_all(cli: Cli, tmp_path: Path) -> None:
    """A word among numbers, a column of words and numbers, amounts in two units, rows without a target."""
    rows = [
        [str(i) if i else "n.a.", f"C{i % 9}" if i % 3 else str(i), f"{i % 40} {'mg'[i % 2]}", *numbers(i)]
        for i in range(160)
    ]
    rows[5][-1] = rows[9][-1] = ""
    table(tmp_path / "t.csv", ["Name", "Ticket, no", "Cabin", "x", "y"], rows)
    settings = {"data": {"path": "t.csv", "target": "y"}, **QUICK}
    refused = fit(cli, tmp_path, settings, 0).refused(3, "4 problems", "'Name'", "'Cabin'", "rows 6, 10")
    last = list(remedies(refused.err.splitlines()[-1]))
    assert last == [{"data": {"missing_target": "drop", "exclude": ["Name", "Ticket, no", "Cabin"]}}]
    fit(cli, tmp_path, pasted(settings, last[0]), 1).succeeded()


def test_many_troubles_are_counted_and_mended_by_one_line(cli: Cli, tmp_path: Path) -> None:
    """Every column that is wrong is in the line for all, however many are told of."""
    dates = [f"2020-02-{day:02d}" for day in range(4, 32)]
    table(
        tmp_path / "t.csv",
        [*(f"d{i}" for i in range(50)), "x", "y"],
        [[day] * 50 + numbers(i) for i, day in enumerate(dates)],
    )
    settings = {"data": {"path": "t.csv", "target": "y"}, **QUICK}
    refused = fit(cli, tmp_path, settings, 0).refused(3, "50 problems", "... and 30 more")
    assert len(refused.err.splitlines()) == 23
    (way,) = remedies(refused.err.splitlines()[-1])
    fit(cli, tmp_path, pasted(settings, way), 1).succeeded()


def test_many_words_are_no_missing_value(cli: Cli, tmp_path: Path) -> None:
    """Where a quarter of the cells are words, the first advice is not to call one of them missing."""
    rows = [[f"PC {i}" if i % 4 == 0 else str(i * 7), *numbers(i)] for i in range(80)]
    table(tmp_path / "t.csv", ["Ticket", "x", "y"], rows)
    refused = fit(cli, tmp_path, {"data": {"path": "t.csv", "target": "y"}, **QUICK}, 0).refused(3)
    assert "missing_values" not in refused.err


@pytest.mark.parametrize("values", [2, 3, 100], ids=str)
def test_whole_numbers_are_asked_about_with_what_was_found(cli: Cli, tmp_path: Path, values: int) -> None:
    table(tmp_path / "t.csv", ["x", "y"], [[numbers(i)[0], str(i % values)] for i in range(400)])
    settings = {"data": {"path": "t.csv", "target": "y"}, **QUICK}
    found = "2 values: 0, 1)" if values == 2 else f"({values} values: 0, 1, 2"
    ways = list(remedies(fit(cli, tmp_path, settings, 0).refused(3, found, "may be classes or a quantity").err))
    assert ways == [{"task": "classification"}, {"task": "regression"}]
    for number, (way, loss) in enumerate(zip(ways, ("cross_entropy", "mse"), strict=True), start=1):
        assert f"loss {loss}" in fit(cli, tmp_path, pasted(settings, way), number).succeeded().err


def test_more_than_a_hundred_whole_numbers_are_amounts_and_that_is_said(cli: Cli, tmp_path: Path) -> None:
    table(tmp_path / "t.csv", ["x", "price"], [[numbers(i)[0], str(100 + i % 101)] for i in range(404)])
    settings = {"data": {"path": "t.csv", "target": "price"}, **QUICK}
    said = fit(cli, tmp_path, settings, 0).succeeded().err
    assert "target 'price' is treated as a quantity (101 values: 100, 101" in said
    (way,) = remedies(said)
    assert "loss cross_entropy" in fit(cli, tmp_path, pasted(settings, way), 1).succeeded().err


@pytest.mark.parametrize(("name", "cell"), [("n", "{}"), ("", "{}"), ("", "row {}")])
def test_what_cannot_be_a_feature_can_be_brought_back(cli: Cli, tmp_path: Path, name: str, cell: str) -> None:
    table(tmp_path / "t.csv", [name, "y"], [[cell.format(i), numbers(i)[1]] for i in range(60)])
    settings = {"data": {"path": "t.csv", "target": "y"}, **QUICK}
    (way,) = remedies(fit(cli, tmp_path, settings, 0).refused(3, "numbers the rows").err)
    fit(cli, tmp_path, pasted(settings, way), 1).succeeded()


MISFITS = {
    "words for numbers": ("y", {"task": "regression"}, {"task": "classification"}),
    "words for a loss of numbers": ("y", {"loss": "mae"}, {"loss": "cross_entropy"}),
    "real numbers for classes": ("x", {"task": "classification"}, {"task": "regression"}),
    "real numbers for a loss of classes": ("x", {"loss": "focal"}, {"loss": "mse"}),
    "three classes for a yes or no": ("c", {"task": "multilabel"}, {"task": "classification"}),
    "three classes for a loss of yes or no": ("c", {"loss": "bce"}, {"loss": "cross_entropy"}),
    "two columns for classes": (["y", "b"], {"task": "classification"}, {"task": "multilabel"}),
    "both are written": (
        "y",
        {"task": "regression", "loss": "huber"},
        {"task": "classification", "loss": "cross_entropy"},
    ),
}


@pytest.mark.parametrize(("target", "written", "right"), MISFITS.values(), ids=MISFITS)
def test_the_task_that_fits_is_named_by_the_keys_that_are_written(
    cli: Cli, tmp_path: Path, target: Any, written: dict[str, str], right: dict[str, str]
) -> None:
    rows = [[str((5 * i) % 19 / 8), "abc"[i % 3], str(i % 2), *numbers(i)] for i in range(60)]
    table(tmp_path / "t.csv", ["a", "c", "b", "x", "y"], rows)
    settings = {"data": {"path": "t.csv", "target": target}, **QUICK, **written}
    ways = list(remedies(fit(cli, tmp_path, settings, 0).refused(3).err))
    assert {key: way[key] for way in ways for key in way} == right
    fit(cli, tmp_path, {**settings, **right}, 1).succeeded()


@pytest.mark.parametrize(
    ("target", "message"), [(["x", "y"], "words beside real numbers"), (["c", "y"], "which has 3")]
)
def test_columns_that_no_task_predicts_together(cli: Cli, tmp_path: Path, target: list[str], message: str) -> None:
    rows = [["abc"[i % 3], *numbers(i)] for i in range(60)]
    table(tmp_path / "t.csv", ["c", "x", "y"], rows)
    settings = {"data": {"path": "t.csv", "target": target}, **QUICK}
    while "multilabel" in (said := fit(cli, tmp_path, settings, 0)).err and "task" not in settings:
        settings["task"] = "multilabel"
    said.refused(3, message)
    assert "cross_entropy;" not in said.err
    assert not list(remedies(said.err))


def test_wrong_weights_are_told_with_the_other_troubles(cli: Cli, tmp_path: Path) -> None:
    rows = [["" if i == 3 else "1", f"2020-02-{i + 3:02d}", *numbers(i)] for i in range(1, 29)]
    table(tmp_path / "t.csv", ["w", "day", "x", "y"], rows)
    settings = {"data": {"path": "t.csv", "target": "y", "sample_weight": "w"}, **QUICK}
    fit(cli, tmp_path, settings, 0).refused(
        3, "2 problems", "sample weight 'w' is missing in row 3", "'day' holds dates (YYYY-MM-DD), but 2 of"
    )


MEANT = {
    "decimal commas and a unit": (
        lambda i: f"{i % 40},5{' kg' * (i % 40 == 7)}",
        "holds numbers with decimal commas, but 2 of its cells are written otherwise: '7,5 kg' in rows 8, 48; write",
    ),
    "dates": (lambda i: f"2020-01-{i % 28 + 1:02d}", "holds dates, such as '2020-01-01'"),
    "two units": (
        lambda i: f"{'€' if i % 40 == 7 else '$'}{i % 40}",
        "holds numbers with the unit $, but 2 of its cells are written otherwise: '€7' in rows 8, 48; write all",
    ),
    "a word among numbers": (
        lambda i: "n.a." if i % 40 == 7 else str(i % 40 / 8),
        "2 of its cells do not read as a number",
    ),
}


@pytest.mark.parametrize(("cell", "message"), MEANT.values(), ids=MEANT)
def test_a_target_of_words_that_are_meant_as_something_else(
    cli: Cli, tmp_path: Path, cell: Callable[[int], str], message: str
) -> None:
    table(tmp_path / "t.csv", ["x", "y"], [[numbers(i)[0], cell(i)] for i in range(80)])
    settings = {"data": {"path": "t.csv", "target": "y"}, **QUICK}
    ways = list(remedies(fit(cli, tmp_path, settings, 0).refused(3, "target 'y' holds ", message).err))
    assert ways
    for number, way in enumerate(ways, start=1):
        fit(cli, tmp_path, pasted(settings, way), number).succeeded()


def test_whole_numbers_that_are_all_the_same(cli: Cli, tmp_path: Path) -> None:
    table(tmp_path / "t.csv", ["x", "y"], [[numbers(i)[0], "-0"] for i in range(80)])
    refused = fit(cli, tmp_path, {"data": {"path": "t.csv", "target": "y"}, **QUICK}, 0)
    refused.refused(3, "target 'y' is 0 in every row; there is nothing to predict")


def test_a_component_given_by_its_name_stays_in_a_line(cli: Cli, tmp_path: Path) -> None:
    table(tmp_path / "t.csv", ["same", "x", "y"], [["7", *numbers(i)] for i in range(60)])
    settings = {"data": {"path": "t.csv", "target": "y", "numeric": {"scale": "minmax"}}, **QUICK}
    (way,) = remedies(fit(cli, tmp_path, settings, 0).succeeded().err)
    assert way == {"data": {"numeric": {"scale": {"kind": "minmax"}, "columns": ["same"]}}}
    fit(cli, tmp_path, pasted(settings, way), 1).succeeded()
