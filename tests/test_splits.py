"""Are rows divided as a user has them: by group, in order of time, in folds that are drawn again?"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import Cli, Row, Write, summary, write_csv
from mlptrain.data.keys import numbered
from mlptrain.data.split import Split, Units, divide, fold_rows, split_groups, split_in_order
from mlptrain.dataset import Dataset
from mlptrain.remedies import yaml_flow
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from test_remedies import pasted, remedies

END = "\ntraining: {epochs: 2, baselines: false}\n"


def visits(count: int = 60, patients: int = 12) -> list[Row]:
    """Rows of a number, a patient, a day and an answer that the number tells."""
    rows: list[Row] = []
    for i in range(count):
        x = (7 * i) % 23 / 10 - 1.1
        rows.append((f"{x:.2f}", f"p{(5 * i) % patients}", f"2024-{1 + i % 12:02d}-{1 + i // 12:02d}", x > 0))
    return rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table x,patient,day,answer of 60 rows of 12 patients."""
    return write_csv(tmp_path / "t.csv", "x,patient,day,answer", visits())


def text(split: str, more: str = "", columns: str = "") -> str:
    return f"data: {{path: t.csv, target: answer, split: {{{split}}}{columns}}}\n{more}{END}"


def prepared(spec: Write, *arguments: str) -> tuple[Plan, Dataset]:
    return prepare(load_experiment(spec(text(*arguments))), "run")


def names(path: Path, column: int) -> np.ndarray[Any, Any]:
    return np.array([line.split(",")[column] for line in path.read_text().splitlines()[1:]])


def are_apart(*parts: Any) -> bool:
    """Whether no value is in two of `parts`."""
    return sum(len(set(part)) for part in parts) == len(set().union(*map(set, parts)))


# by group


def test_no_group_is_in_two_parts_and_the_column_is_no_input(spec: Write, table: Path) -> None:
    plan, dataset = prepared(spec, "group: patient")
    who = names(table, 1)
    parts = [who[part.rows] for part in dataset.parts.values()]
    assert len(parts) == 3 and sum(map(len, parts)) == 60 and are_apart(*parts)
    assert len(parts[0]) == pytest.approx(42, abs=5)
    assert not any("patient" in name for name in plan.transforms.inputs)


def test_no_group_is_in_two_folds(spec: Write, table: Path) -> None:
    more = "ensemble: {members: 6, rows: folds}\n"
    _, dataset = prepared(spec, "group: patient, folds: 3, repeats: 2, validation: 0", more)
    who = names(table, 1)
    assert len(dataset.folds) == 6 and dataset.test is not None and dataset.validation is not None
    for fold in dataset.folds:
        assert fold.validation is not None
        assert are_apart(who[fold.training.rows], who[fold.validation.rows], who[dataset.test.rows])
    for repeat in (dataset.folds[:3], dataset.folds[3:]):
        rows = np.concatenate([fold.validation.rows for fold in repeat if fold.validation is not None])
        assert sorted(rows) == dataset.training.rows.tolist()
    first, second = ({tuple(fold.training.rows) for fold in dataset.folds[k : k + 3]} for k in (0, 3))
    assert first != second


def test_each_group_is_left_out_by_a_member(spec: Write, table: Path) -> None:
    more = "preset: standard\n"
    plan, dataset = prepared(spec, "group: patient, folds: groups, test: 0.2", more)
    who = names(table, 1)
    left_out = [set(who[fold.validation.rows]) for fold in dataset.folds if fold.validation is not None]
    assert all(len(found) == 1 for found in left_out)
    assert set().union(*left_out) == set(who[dataset.training.rows])
    assert plan.ensemble.members == len(left_out)


def test_the_test_rows_are_found_again(cli: Cli, spec: Write, table: Path, tmp_path: Path) -> None:
    for name, split in (("a", "group: patient"), ("b", "order: day"), ("c", "group: patient, validation: 0.3")):
        spec(text(split))
        cli("fit", "spec.yaml", "--out", name).succeeded()
        found = cli("evaluate", name, "--json").succeeded().json()
        written = summary(tmp_path / name)
        assert found["metrics"] == written["results"]["test"]
        assert found["intervals"].items() <= written["intervals"].items()
        cli("fit", "--resume", name).succeeded()
    assert summary(tmp_path / "a")["results"]["test"]["accuracy"] is not None


def test_the_test_does_not_depend_on_the_validation(spec: Write, table: Path) -> None:
    tests = [prepared(spec, f"group: patient, validation: {share}")[1].test for share in (0, 0.15, 0.4)]
    assert len({tuple(part.rows) for part in tests if part is not None}) == 1


def test_groups_are_compared_by_value(spec: Write, tmp_path: Path) -> None:
    rows = [((7 * i) % 23, ("1", "1.0", " 1 ", "2", "3", "2.0")[i % 6], i % 2) for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,patient,answer", rows)
    _, dataset = prepared(spec, "group: patient, validation: 0", "task: classification\n")
    assert dataset.test is not None and len(dataset.test) in (10, 20, 30)


GROUPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), min_size=4, max_size=60)


@given(GROUPS, st.integers(0, 99), st.sampled_from([(0.15, 0.15), (0.4, 0.2), (0, 0.3), (0.5, 0), (0.01, 0.9)]))
def test_every_group_is_in_one_part_and_no_part_is_empty(
    pairs: list[tuple[int, int]], seed: int, shares: tuple[float, float]
) -> None:
    codes, classes = (np.array(column) for column in zip(*pairs, strict=True))
    units, split = Units("g", numbered(codes)), Split(validation=shares[0], test=shares[1])
    if units.number < 1 + len(split.shares()):
        return
    for strata in (None, classes):
        parts = split_groups(np.arange(len(codes)), strata, units, split, np.random.default_rng(seed), "t.csv")
        assert sorted(np.concatenate(parts)) == list(range(len(codes)))
        assert are_apart(*(codes[part] for part in parts))
        if strata is None:
            assert all(len(part) for part, share in zip(parts, (1, *shares), strict=True) if share)
        else:
            assert set(classes[parts[0]]) == set(classes)  # each class is learned


@given(GROUPS, st.integers(0, 99), st.integers(2, 4))
def test_folds_keep_groups_together(pairs: list[tuple[int, int]], seed: int, folds: int) -> None:
    codes, classes = (np.array(column) for column in zip(*pairs, strict=True))
    units, rows = Units("g", numbered(codes)), np.arange(len(codes))
    if units.number < folds:
        return
    found = fold_rows(rows, classes, folds, np.random.default_rng(seed), "t.csv", units)
    assert len(found) == folds and all(len(fold) for fold in found)
    assert sorted(np.concatenate(found)) == rows.tolist()
    assert are_apart(*(codes[fold] for fold in found))


def test_parts_have_their_share_of_each_class_where_groups_allow() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(10, (0.8, 0.15, 0.05), 300).astype(float)
    part = divide(counts, np.full(5, 0.2), [1] * 5, rng)
    shares = np.stack([counts[part == k].sum(axis=0) for k in range(5)]) / counts.sum(axis=0)
    assert np.abs(shares - 0.2).max() < 0.03


def test_a_large_group_is_trained_on() -> None:
    for seed in range(20):
        counts = np.array([[400.0], *[[10.0]] * 20])
        part = divide(counts, np.array([0.85, 0.15]), [1, 1], np.random.default_rng(seed), first_is_kept=True)
        assert part[0] == 0 and counts[part == 1].sum() in (80, 90, 100)


# in order of time


@pytest.mark.parametrize("order", ["2024-03-01", "3/15/2024", "number"])
def test_the_test_comes_last(spec: Write, tmp_path: Path, order: str) -> None:
    days: Callable[[int], str] = {
        "2024-03-01": lambda i: f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}",
        "3/15/2024": lambda i: f"{1 + i // 28}/{1 + i % 28}/2024",
        "number": lambda i: f"{i / 7:.3f}",
    }[order]
    places = [(13 * i) % 60 for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,day,answer", [(i % 7, days(place), i % 2) for i, place in enumerate(places)])
    _, dataset = prepared(spec, "order: day, validation: 0.2, test: 0.1", "task: classification\n")
    found = [sorted(places[row] for row in part.rows) for part in dataset.parts.values()]
    assert found == [list(range(42)), list(range(42, 54)), list(range(54, 60))]
    assert any("day" in encoder.column for encoder in dataset.transforms.encoders)


def test_rows_of_the_same_time_stay_together() -> None:
    values = np.repeat([3.0, 1.0, 2.0, 0.0], [5, 40, 8, 7])
    parts = split_in_order("day", values, Split(validation=0.2, test=0.1), "t.csv")
    assert [sorted(set(values[part])) for part in parts] == [[0, 1], [2], [3]]
    assert np.concatenate(parts).size == 60


@given(
    st.lists(st.integers(0, 12), min_size=3, max_size=60),
    st.sampled_from([(0.15, 0.15), (0, 0.3), (0.5, 0), (0.4, 0.5)]),
)
def test_what_is_held_out_comes_later(values: list[int], shares: tuple[float, float]) -> None:
    split = Split(validation=shares[0], test=shares[1])
    if len(set(values)) < 1 + len(split.shares()):
        return
    times = np.array(values, float)
    parts = [times[part] for part in split_in_order("day", times, split, "t.csv")]
    assert sorted(np.concatenate(parts)) == sorted(times)
    parts = [part for part in parts if len(part)]
    assert len(parts) == 1 + len(split.shares())
    assert all(a.max() < b.min() for a, b in itertools.pairwise(parts))


def test_a_preset_shares_the_rows_of_a_time(cli: Cli, spec: Write, table: Path, tmp_path: Path) -> None:
    plan, dataset = prepared(spec, "order: day, test: 0.2", "preset: standard\n")
    assert plan.ensemble.rows == "shared" and plan.ensemble.members == 4 and not dataset.folds
    assert dataset.validation is not None


# what a preset chooses


@pytest.mark.parametrize(
    ("preset", "split", "folds", "members"),
    [
        ("standard", "group: patient", 8, 8),
        ("standard", "group: patient, test: 0.5", 6, 6),
        ("standard", "repeats: 3", 8, 24),
        ("best", "repeats: 2", 8, 32),
        ("standard", "folds: 4", 4, 4),
        ("quick", "folds: 4", 4, 4),
        ("quick", "repeats: 2", 8, 16),
        ("quick", "group: patient", 0, 1),
    ],
)
def test_presets_choose_folds(spec: Write, table: Path, preset: str, split: str, folds: int, members: int) -> None:
    plan, dataset = prepared(spec, split, f"preset: {preset}\n")
    assert (len(dataset.folds), plan.ensemble.members) == (folds * plan.data.split.repeats, members)


@pytest.mark.parametrize("ensemble", ["members: 4", "members: 1", "rows: shared", "members: 6, rows: folds"])
def test_a_preset_follows_the_ensemble(cli: Cli, spec: Write, table: Path, ensemble: str) -> None:
    spec(text("", f"preset: standard\nensemble: {{{ensemble}}}\n"))
    cli("fit", "spec.yaml", "--out", "run").succeeded()


def test_repeated_folds_count_each_row_once(cli: Cli, spec: Write, table: Path, tmp_path: Path) -> None:
    spec(text("folds: 2, repeats: 3, test: 0, validation: 0", "ensemble: {members: 6, rows: folds}\n"))
    assert "60 train, validated on" in cli("fit", "spec.yaml", "--out", "run").succeeded().err
    assert summary(tmp_path / "run")["intervals"]["rows"] == 60


# what is refused

FOLDS = "ensemble: {members: 4, rows: folds}\n"
BAD_SETTINGS = {
    "order: day, group: patient": ("", "order: cannot be given together with group"),
    "folds: groups": (FOLDS, "is groups, but no column has them"),
    "folds: 1": (FOLDS, "must be a whole number of at least 2, 'groups' or null; got 1"),
    "folds: group": (FOLDS, "must be a whole number of at least 2"),
    "repeats: 0": (FOLDS, "must be at least 1"),
    "folds: groups, group: patient, repeats: 2": (FOLDS, "data: {split: {repeats: 1}}"),
    "order: day, folds: 3": ("", "data: {split: {order: null}}"),
    "order: day": (FOLDS, "write ensemble: {rows: shared}"),
    "folds: 3": ("", "ensemble: {rows: folds, members: 3}"),
    "repeats: 3": ("", "ensemble: {rows: folds, members: 6}"),
    "folds: 5": (FOLDS, "is 4, but 5 folds need a member each; write ensemble: {members: 5}"),
    "repeats: 4": (FOLDS, "write ensemble: {members: 8}"),
    "folds: groups, group: patient": (FOLDS, "groups of training rows is left out by a member of its own"),
    "group: answer": ("", "is used otherwise too"),
    "order: answer": ("", "is the target"),
}


@pytest.mark.parametrize("split", BAD_SETTINGS)
def test_settings_that_do_not_go_together(cli: Cli, spec: Write, table: Path, split: str) -> None:
    more, message = BAD_SETTINGS[split]
    validation = "" if "order" in split else ", validation: 0"
    spec(text(split + validation * bool(more), more))
    cli("fit", "spec.yaml").refused(2, message)


def test_a_group_is_no_feature(cli: Cli, spec: Write, table: Path) -> None:
    spec(text("group: patient", "", ", features: [x, patient]"))
    cli("fit", "spec.yaml").refused(2, "data.split.group", "groups are no inputs")


BAD_TABLES: dict[str, tuple[str, str, Any, str]] = {
    "one group": ("group: g", "", lambda i: "a", "has one group in all 60 rows"),
    "too few groups": ("group: g", "", lambda i: "ab"[i % 2], "2 groups, too few for training and validation and test"),
    "no group": ("group: g", "", lambda i: "" if i == 4 else i % 9, "group 'g' is missing in row 5; fill it in"),
    "an unknown group": ("group: gg", "", lambda i: i, "no column 'gg'; did you mean 'g'?"),
    "an unknown order": ("order: gg", "", lambda i: i, "no column 'gg'; did you mean 'g'?"),
    "fewer groups than folds": (
        "group: g, folds: 4, validation: 0, test: 0",
        FOLDS,
        lambda i: i % 3,
        "3 groups of training rows in 'g' cannot be divided into 4 folds; write data: {split: {folds: 3}}",
    ),
    "fewer rows than folds": (
        "folds: 80, validation: 0, test: 0",
        "ensemble: {members: 80, rows: folds}\n",
        lambda i: i,
        "60 training rows cannot be divided into 80 folds; write data: {split: {folds: 60}}",
    ),
    "an order of text": ("order: g", "", lambda i: f"w{i}", "holds text, such as 'w0', which has no order in time"),
    "no time": ("order: g", "", lambda i: "" if i == 7 else i, "order 'g' is missing in row 8"),
    "one time": ("order: g", "", lambda i: 5, "has 1 distinct value, too few for training and validation and test"),
    "two times": ("order: g", "", lambda i: i % 2, "has 2 distinct values, too few"),
    "day or month": (
        "order: g",
        "",
        lambda i: f"{1 + i % 12}/{1 + i % 11}/2024",
        "data: {day_first: true} for DD/MM/YYYY",
    ),
    "dates and words": ("order: g", "", lambda i: "later" if i == 3 else f"2024-01-{1 + i % 28:02d}", "'later'"),
}


PASTED = {"one group", "too few groups", "no group", "no time", "one time", "two times", "fewer groups than folds"}
PASTED |= {"an order of text"}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_columns_that_do_not_divide(cli: Cli, spec: Write, tmp_path: Path, case: str) -> None:
    split, more, column, message = BAD_TABLES[case]
    write_csv(tmp_path / "t.csv", "x,g,answer", [((7 * i) % 23, column(i), "yn"[i % 2]) for i in range(60)])
    spec(text(split, more))
    said = cli("fit", "spec.yaml").refused(3, message).err
    lines = list(remedies(said)) if case in PASTED else []
    assert bool(lines) is (case in PASTED)
    for i, line in enumerate(lines):
        change = pasted(json.loads(json.dumps(load_experiment(tmp_path / "spec.yaml").model_dump(mode="json"))), line)
        given = {name: change["data"][name] for name in ("split", "day_first")}
        settings = [
            argument for name, value in given.items() for argument in ("--set", f"data.{name}={yaml_flow(value)}")
        ]
        cli("fit", "spec.yaml", "--out", f"run{i}", *settings).succeeded()


def test_a_class_of_one_row(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [((7 * i) % 23, i % 9, "rare" if i == 8 else "yn"[i % 2]) for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,g,answer", rows)
    for split in ("group: g", "order: x", ""):
        spec(text(split))
        cli("fit", "spec.yaml").refused(3, "1 of 3 classes in target 'answer' have a single row ('rare')")
    spec(text("validation: 0, test: 0", FOLDS))
    cli("fit", "spec.yaml").refused(3, "class 'rare' has one training row", "write ensemble: {rows: shared}")


def test_a_class_of_one_group(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [((7 * i) % 23, i % 9, "rare" if i % 9 == 4 else "yn"[i % 2]) for i in range(90)]
    write_csv(tmp_path / "t.csv", "x,g,answer", rows)
    spec(text("group: g"))
    cli("fit", "spec.yaml", "--out", "run").succeeded()  # its group is trained on
    spec(text("group: g, validation: 0", FOLDS))
    cli("fit", "spec.yaml").refused(3, "class 'rare' has 10 training rows, all of one group")
    cli("fit", "spec.yaml", "--set", "ensemble={rows: shared}", "--out", "again").succeeded()


def test_a_class_that_comes_late(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(i % 7, i, "late" if i > 55 else "yn"[i % 2]) for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,t,answer", rows)
    spec(text("order: t"))
    cli("fit", "spec.yaml").refused(3, "no training row has class 'late'", "write data: {split: {order: null}}")
    cli("fit", "spec.yaml", "--set", "data.split={order: null}", "--out", "run").succeeded()


def test_a_fold_may_validate_without_a_class(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [((7 * i) % 23, i % 8, "rare" if i % 8 < 2 and i < 16 else "yn"[i % 2]) for i in range(80)]
    write_csv(tmp_path / "t.csv", "x,g,answer", rows)
    spec(text("group: g, validation: 0, test: 0", FOLDS))
    cli("fit", "spec.yaml", "--out", "run").succeeded()


def test_other_tables_with_groups(cli: Cli, spec: Write, table: Path, tmp_path: Path) -> None:
    spec(text("group: patient"))
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    write_csv(tmp_path / "new.csv", "x,patient,day,answer", [*visits(24, 6), ("0.5", "", "2024-01-01", "True")])
    assert cli("evaluate", "run", "--data", "new.csv", "--json").succeeded().json()["intervals"]["groups"] == 7
    write_csv(tmp_path / "none.csv", "x,day,answer", [(row[0], row[2], row[3]) for row in visits(24)])
    assert cli("evaluate", "run", "--data", "none.csv", "--json").succeeded().json()["intervals"]["groups"] is None
    cli("predict", "run", "none.csv").succeeded()
