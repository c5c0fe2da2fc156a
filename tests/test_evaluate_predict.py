"""Does a saved model measure and predict by column names, and is a file that is none always refused?"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy

from cli import (
    DATASETS,
    PROGRAM,
    Cli,
    Outcome,
    Write,
    amounts_rows,
    classes_rows,
    contents,
    environment,
    run_cli,
    run_process,
    summary,
    write_csv,
)
from mlptrain.errors import CheckpointError
from mlptrain.runs import checkpoint as files

TRAINING = "training: {epochs: 4, batch_size: 8, baselines: false}\n"
HEADER = "x1,x2,colour,answer"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables classes.csv and amounts.csv and a run of each, `classes` and `amounts`."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [*classes_rows(), ("", "0.5", "red", "yes"), ("0.25", "0.5", "", "no")]
    write_csv(folder / "classes.csv", HEADER, rows)
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows())
    small = "network: {hidden: [3], normalization: batch}\n"
    (folder / "classes.yaml").write_text("data: {path: classes.csv, target: answer}\n" + small + TRAINING)
    (folder / "amounts.yaml").write_text("data: {path: amounts.csv, target: price}\n" + TRAINING)
    for name in ("classes", "amounts"):
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


@pytest.fixture
def here(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test; the runs still know the tables by their first place."""
    return shutil.copytree(trained, tmp_path, dirs_exist_ok=True)


def table(text: str) -> pl.DataFrame:
    return pl.read_csv(text.encode())


# --- evaluate


@pytest.mark.parametrize("file", ["", "model.safetensors", "checkpoint.safetensors"])
@pytest.mark.parametrize("name", ["classes", "amounts"])
def test_the_own_test_rows_give_the_figures_of_the_summary(cli: Cli, here: Path, name: str, file: str) -> None:
    result = cli("evaluate", Path(name, file), "--json").succeeded().json()
    assert result["metrics"] == summary(here / name)["results"]["test"]
    assert result["rows"] == 6


def test_evaluating_twice_changes_nothing(cli: Cli, here: Path) -> None:
    before = contents(here)
    first, second = (cli("evaluate", "classes").succeeded() for _ in range(2))
    assert first == second
    assert contents(here) == before


def test_the_document_of_an_evaluation(cli: Cli, here: Path) -> None:
    result = cli("evaluate", "classes", "--json", "--data", "classes.csv").succeeded().json()
    decision = ["by_class", "positive_class", "threshold"]
    assert list(result) == ["state", "rows", "metrics", "intervals", "confusion_matrix", *decision, "notes"]
    decisions = ["accuracy", "balanced_accuracy", "f1", "macro_f1"]
    assert list(result["metrics"]) == ["loss", *decisions, "log_loss", "roc_auc", "average_precision"]
    assert (result["positive_class"], result["threshold"]) == ("yes", 0.5)
    assert [one["name"] for one in result["by_class"]] == ["no", "yes"]
    assert result["by_class"][1]["f1"] == result["metrics"]["f1"]
    counts = np.array(result["confusion_matrix"]["counts"])
    assert result["confusion_matrix"]["classes"] == ["no", "yes"]
    assert counts.sum() == result["rows"] == 42
    assert result["metrics"]["accuracy"] == pytest.approx(np.trace(counts) / 42)
    truth = [row[3] for row in classes_rows()] + ["yes", "no"]
    assert counts.sum(axis=1).tolist() == [truth.count("no"), truth.count("yes")]


def test_the_document_of_a_regression(cli: Cli, here: Path) -> None:
    result = cli("evaluate", "amounts", "--json", "--data", "amounts.csv").succeeded().json()
    assert list(result) == ["state", "rows", "metrics", "intervals", "notes"]
    assert list(result["metrics"]) == ["loss", "rmse", "mae", "r2"]
    predicted = table(cli("predict", "amounts", "amounts.csv").succeeded().out)["price"].to_numpy()
    truth = np.array([float(str(row[2])) for row in amounts_rows()])
    assert result["metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - truth) ** 2)))
    assert result["metrics"]["mae"] == pytest.approx(np.mean(np.abs(predicted - truth)))
    assert result["metrics"]["r2"] == pytest.approx(1 - np.mean((predicted - truth) ** 2) / np.var(truth))


def test_out_writes_the_same_document(cli: Cli, here: Path) -> None:
    shown = cli("evaluate", "classes", "--json", "--out", "figures.json").succeeded().out
    assert (here / "figures.json").read_text() == shown
    assert "accuracy" in cli("evaluate", "classes", "--out", "figures.json").succeeded().out
    assert (here / "figures.json").read_text() == shown


def test_a_table_and_a_confusion_matrix_are_shown(cli: Cli, here: Path) -> None:
    outcome = cli("evaluate", "classes").succeeded()
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["6", "rows"]
    assert lines[2][0] == "accuracy"
    assert lines[10][:2] == ["accuracy", lines[2][1]]
    assert " ".join(lines[10]).endswith("95% intervals, bootstrap over 6 rows")
    assert lines[12] == ["true", "\\", "predicted", "no", "yes"]
    assert lines[16] == ["class", "rows", "precision", "recall", "f1"]
    assert outcome.out.splitlines()[-1].endswith("of class 'yes', which is predicted above a probability of 0.5")
    assert outcome.err == "next: mlptrain report classes\n"


def columns(cells: Callable[[dict[str, Any]], dict[str, Any]], rows: list[Any]) -> tuple[str, list[tuple[object, ...]]]:
    """The rows of the first table, each rewritten as a mapping of names to cells."""
    written = [cells(dict(zip(HEADER.split(","), row, strict=True))) for row in rows]
    return ",".join(written[0]), [tuple(row.values()) for row in written]


LAYOUTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "reordered": lambda row: dict(reversed(row.items())),
    "more columns": lambda row: {"id": "i7", **row, "answer_2": "no"},
    "spaces": lambda row: {key: f" {value} " for key, value in row.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_columns_are_taken_by_name(cli: Cli, here: Path, layout: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    write_csv(here / "plain.csv", HEADER, classes_rows(20))
    write_csv(here / "other.csv", *columns(layout, classes_rows(20)))
    for verb in (("evaluate", "classes", "--json", "--data"), ("predict", "classes")):
        plain, other = (cli(*verb, name).succeeded() for name in ("plain.csv", "other.csv"))
        assert other == plain


def test_a_missing_column_is_named(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", "x1,Colour,answer", [("1", "red", "yes")] * 3)
    for verb in (("evaluate", "classes", "--data"), ("predict", "classes")):
        cli(*verb, "t.csv").refused(3, "t.csv: columns that the model needs are missing: 'x2', 'colour'")


def test_a_renamed_column_is_guessed_at(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", "x1,x2,Colour", [("1", "2", "red")] * 3)
    cli("predict", "classes", "t.csv").refused(3, "'colour'; did you mean 'Colour'?")


def test_text_where_numbers_were_is_refused(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", HEADER, [*classes_rows(5), ("much", "1", "red", "yes")])
    for verb in (("evaluate", "classes", "--data"), ("predict", "classes")):
        cli(*verb, "t.csv").refused(3, "t.csv: column 'x1' must be numeric", "'much' in row 6")


def test_a_target_is_needed_to_evaluate_but_not_to_predict(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", "x1,x2,colour", [row[:3] for row in classes_rows(8)])
    cli("evaluate", "classes", "--data", "t.csv").refused(3, "t.csv: no target column 'answer'", "mlptrain predict")
    assert len(table(cli("predict", "classes", "t.csv").succeeded().out)) == 8


def test_an_unknown_class_is_refused(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", HEADER, [*classes_rows(5), ("1", "1", "red", "perhaps")])
    outcome = cli("evaluate", "classes", "--data", "t.csv")
    outcome.refused(3, "target 'answer' holds 'perhaps' in row 6, which training did not see", "no, yes")


def test_a_row_without_a_target_is_refused(cli: Cli, here: Path) -> None:
    write_csv(here / "t.csv", HEADER, [*classes_rows(5), ("1", "1", "red", "")])
    cli("evaluate", "classes", "--data", "t.csv").refused(3, "t.csv: target 'answer' is missing in row 6")


def test_unknown_categories_are_counted(cli: Cli, here: Path) -> None:
    rows = [("1", "1", "violet", "yes"), ("1", "1", "pink", "no"), ("1", "", "red", "no"), ("1", "1", "", "no")]
    write_csv(here / "t.csv", HEADER, rows)
    for verb in (("evaluate", "classes", "--data"), ("predict", "classes")):
        outcome = cli(*verb, "t.csv").succeeded()
        assert "note: 1 missing and 2 unknown in 'colour'" in outcome.err
        assert "note: 1 missing in 'x2' filled from training" in outcome.err
        assert "note" not in outcome.out


def test_unknown_categories_can_be_an_error(cli: Cli, here: Path) -> None:
    strict = "--set", "data.categorical.unknown=error", "--set", "data.categorical.missing=most_frequent"
    cli("fit", "classes.yaml", "--out", "strict", *strict).succeeded()
    write_csv(here / "t.csv", HEADER, [*classes_rows(3), ("1", "1", "violet", "yes")])
    outcome = cli("predict", "strict", "t.csv")
    outcome.refused(
        3, "t.csv: column 'colour'", "training did not see: 'violet' in row 4", "the model knows 'blue', 'green', 'red'"
    )


def test_missing_values_can_be_an_error(cli: Cli, here: Path) -> None:
    cli("fit", "amounts.yaml", "--out", "strict", "--set", "data.numeric.missing=error").succeeded()
    write_csv(here / "t.csv", "x1,x2", [("1", "1"), ("", "1"), ("NA", "2")])
    cli("predict", "strict", "t.csv").refused(3, "t.csv: column 'x1' has 2 missing values, in rows 2, 3")


def test_an_undefined_metric_is_null(cli: Cli, here: Path) -> None:
    """With one class only, there is no area under the curve; with one row, no share of explained variance."""
    write_csv(here / "t.csv", HEADER, [("1", "1", "red", "yes")] * 3)
    assert cli("evaluate", "classes", "--data", "t.csv", "--json").succeeded().json()["metrics"]["roc_auc"] is None
    assert cli("evaluate", "classes", "--data", "t.csv").succeeded().out.splitlines()[7].split() == ["roc_auc", "-"]
    outcome = cli("evaluate", "classes", "--data", "t.csv", "--fail-under", "roc_auc=0.1")
    assert (outcome.code, outcome.err.startswith("mlptrain: roc_auc is undefined on these rows")) == (6, True)
    write_csv(here / "one.csv", "x1,x2,price", amounts_rows(1))
    assert cli("evaluate", "amounts", "--data", "one.csv", "--json").succeeded().json()["metrics"]["r2"] is None


def test_changed_data_has_no_own_test_rows(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "classes.csv", HEADER, classes_rows())
    (tmp_path / "spec.yaml").write_text("data: {path: classes.csv, target: answer}\n" + TRAINING)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    write_csv(tmp_path / "classes.csv", HEADER, classes_rows(41))
    cli("evaluate", "run").refused(4, "classes.csv: changed since the model was trained", "--data")
    cli("evaluate", "run", "--data", "classes.csv").succeeded()


def test_a_run_without_test_rows_is_measured_on_those_it_was_validated_on(cli: Cli, here: Path) -> None:
    folds = "ensemble={members: 3, rows: folds}"
    for name, more in (("held", "seed=1"), ("folds", folds)):
        split = "{test: 0}" if more == folds else "{validation: 0.2, test: 0}"
        cli("fit", "classes.yaml", "--out", name, "--set", f"data.split={split}", "--set", more).succeeded()
        outcome = cli("evaluate", name, "--json").succeeded()
        assert outcome.json()["metrics"] == pytest.approx(summary(here / name)["results"]["validation"])
        assert "these are the" in outcome.err or "trained without it" in outcome.err
    cli("fit", "classes.yaml", "--out", "all", "--set", "data.split={validation: 0, test: 0}").succeeded()
    cli("evaluate", "all").refused(2, "held out no rows", "--data")


@pytest.mark.parametrize("name", ["classes", "amounts"])
@pytest.mark.parametrize("data", [(), ("--data", "more.csv")])
def test_the_figures_of_each_row(cli: Cli, here: Path, name: str, data: tuple[str, ...]) -> None:
    """They are those of the rows of the file, with the numbers that messages use, and their mean is the loss."""
    source = here / f"{name}.csv"
    target = "answer" if name == "classes" else "price"
    head, *lines = source.read_text().splitlines()
    (here / "more.csv").write_text("\n".join([head, *lines[::-1]]))
    found = cli("evaluate", name, *data, "--rows", "rows.csv", "--json").succeeded().json()
    rows, file = table((here / "rows.csv").read_text()), table((here / data[-1] if data else source).read_text())
    assert rows.columns[:2] == ["row", f"true_{target}"]
    assert len(rows) == found["rows"]
    assert rows["loss"].mean() == pytest.approx(found["metrics"]["loss"], rel=1e-6)
    assert file[target].gather(rows["row"] - 1).to_list() == rows[f"true_{target}"].to_list()
    again = table(cli("predict", name, data[-1] if data else source.name).succeeded().out)
    assert again[target].gather(rows["row"] - 1).to_list() == pytest.approx(rows[target].to_list())


def test_rows_without_a_target_are_not_counted_but_keep_their_numbers(cli: Cli, here: Path) -> None:
    (here / "spec.yaml").write_text("data: {path: t.csv, target: answer, missing_target: drop}\n" + TRAINING)
    rows = [row if i % 9 else (*row[:3], "") for i, row in enumerate(classes_rows())]
    write_csv(here / "t.csv", HEADER, rows)
    cli("fit", "spec.yaml", "--out", "dropped").succeeded()
    cli("evaluate", "dropped", "--data", "t.csv", "--rows", "rows.csv").succeeded()
    found = table((here / "rows.csv").read_text())
    assert found["row"].to_list() == [i + 1 for i, row in enumerate(rows) if row[3]]
    assert found["true_answer"].to_list() == [row[3] for row in rows if row[3]]


def test_a_target_file_of_its_own(cli: Cli, here: Path) -> None:
    write_csv(here / "features.csv", "x1,x2,colour", [row[:3] for row in classes_rows(9)])
    write_csv(here / "labels.csv", "answer", [row[3:] for row in classes_rows(9)])
    write_csv(here / "both.csv", HEADER, classes_rows(9))
    apart = cli("evaluate", "classes", "--data", "features.csv", "--target-data", "labels.csv").succeeded()
    assert apart == cli("evaluate", "classes", "--data", "both.csv").succeeded()
    write_csv(here / "labels.csv", "answer", [row[3:] for row in classes_rows(8)])
    outcome = cli("evaluate", "classes", "--data", "features.csv", "--target-data", "labels.csv")
    outcome.refused(3, "labels.csv has 8 rows, features.csv has 9")


BOUNDS: list[tuple[str, str, int]] = [
    ("--fail-under", "accuracy=0.0", 0),
    ("--fail-under", "accuracy={accuracy}", 0),
    ("--fail-under", "accuracy=1.01", 6),
    ("--fail-under", "roc_auc = 1.5", 6),
    ("--fail-over", "loss={loss}", 0),
    ("--fail-over", "loss=1e9", 0),
    ("--fail-over", "log_loss=0.0001", 6),
]


@pytest.mark.parametrize(("option", "bound", "code"), BOUNDS, ids=[f"{row[0]} {row[1]}" for row in BOUNDS])
def test_bounds(cli: Cli, here: Path, option: str, bound: str, code: int) -> None:
    reached = summary(here / "classes")["results"]["test"]
    outcome = cli("evaluate", "classes", "--json", option, bound.format(**reached))
    assert outcome.code == code
    assert outcome.json()["metrics"] == reached  # the figures are shown in any case
    word = "below" if option == "--fail-under" else "above"
    name = bound.split("=")[0].strip()
    assert outcome.err.startswith(f"mlptrain: {name} is ") == (code == 6)
    assert (f" {word} " in outcome.err) == (code == 6)


def test_every_bound_counts(cli: Cli, here: Path) -> None:
    passes, fails = ("--fail-under", "accuracy=0"), ("--fail-over", "loss=0.0001")
    assert cli("evaluate", "classes", *passes, *fails).code == 6
    assert cli("evaluate", "classes", *fails, *passes).code == 6
    assert cli("evaluate", "classes", *passes, "--fail-over", "loss=100").code == 0


WRONG_BOUNDS: list[tuple[str, str, str]] = [
    ("--fail-under", "acuracy=0.9", "no metric 'acuracy'; did you mean 'accuracy'?"),
    ("--fail-under", "zzz=0.9", "no metric 'zzz'; the metrics are loss, accuracy, balanced_accuracy"),
    ("--fail-under", "rmse=3", "no metric 'rmse'"),
    ("--fail-under", "accuracy", "--fail-under accuracy: expected METRIC=NUMBER"),
    ("--fail-under", "accuracy=", "expected METRIC=NUMBER"),
    ("--fail-under", "accuracy=high", "expected METRIC=NUMBER"),
    ("--fail-under", "loss=0.5", "loss is better if lower: write --fail-over loss=0.5"),
    ("--fail-over", "accuracy=0.5", "accuracy is better if higher: write --fail-under accuracy=0.5"),
]


@pytest.mark.parametrize(("option", "bound", "message"), WRONG_BOUNDS, ids=[" ".join(row[:2]) for row in WRONG_BOUNDS])
def test_bounds_that_make_no_sense(cli: Cli, here: Path, option: str, bound: str, message: str) -> None:
    cli("evaluate", "classes", option, bound).refused(2, message)


@pytest.mark.parametrize("bound", ["accuracy=nan", "accuracy=-nan"])
def test_a_bound_must_be_a_number(cli: Cli, here: Path, bound: str) -> None:
    cli("evaluate", "classes", "--fail-under", bound).refused(2, "METRIC=NUMBER")


def far_away(folder: Path) -> Path:
    return write_csv(folder / "far.csv", "x1,x2,price", [*amounts_rows(5), ("1e300", "0", "1000.5")])


def test_a_metric_that_is_not_a_number_fails_every_bound(here: Path) -> None:
    far_away(here)
    outcome = run_process("evaluate", "amounts", "--data", "far.csv", "--fail-over", "rmse=1", folder=here)
    assert outcome.code in (3, 6)


def test_scores_that_are_not_finite_are_no_bug_of_ours(here: Path) -> None:
    far_away(here)
    outcome = run_process("evaluate", "amounts", "--data", "far.csv", "--json", folder=here)
    assert outcome.code in (0, 3)
    assert "a bug in mlptrain" not in outcome.err


def test_prediction_far_from_training_is_refused(here: Path) -> None:
    far_away(here)
    outcome = run_process("predict", "amounts", "far.csv", folder=here)
    assert outcome.code == 3
    assert "mlptrain: far.csv: the model gives scores that are not finite" in outcome.err
    assert outcome.out == ""


@pytest.mark.parametrize(
    ("lost", "more", "state", "said"),
    [
        ((), (), "finished", None),
        (("model.safetensors", "summary.json"), (), "unfinished", "continue with: mlptrain fit --resume again"),
        ((), ("optimizer={kind: sgd, learning_rate: 1.0e+18}",), "diverged", "training diverged in epoch"),
        (("checkpoint.safetensors",), (), None, None),
    ],
)
def test_a_run_that_did_not_end_well_is_named(
    cli: Cli, here: Path, lost: tuple[str, ...], more: tuple[str, ...], state: str | None, said: str | None
) -> None:
    changes = [word for change in more for word in ("--set", change)]
    cli("fit", "amounts.yaml", *changes, "--out", "again", "--quiet")
    for name in lost:
        (here / "again" / name).unlink()
    outcome = cli("evaluate", "again", "--json").succeeded()
    assert outcome.json()["state"] == state
    assert (said is None) == (outcome.err == "")
    assert said is None or (said in outcome.err and outcome.json()["notes"] == [outcome.err.strip()[6:]])


def test_a_damaged_summary_is_named_and_the_model_still_measured(cli: Cli, here: Path) -> None:
    (here / "amounts" / "summary.json").write_text("{")
    outcome = cli("evaluate", "amounts", "--json").succeeded()
    assert outcome.json()["state"] == "damaged"
    assert "summary.json: is damaged" in outcome.err


FAR = "note: values outside of the range of training by more than its width: "


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        ([("3.3", "0"), ("-3.3", "1"), ("1", "-2.6")], ""),  # x1 is from -1.1 to 1.1 in training
        ([("3.31", "0"), ("1", "0")], "'x1' in 1 row"),
        ([("3.31", "1e20"), ("-1e20", "0"), ("", "0"), ("1", "0")], "'x1' in 2 rows, 'x2' in 1 row"),
    ],
)
def test_values_far_outside_of_training_are_noted(cli: Cli, here: Path, rows: list[tuple[str, ...]], note: str) -> None:
    cli("fit", "amounts.yaml", "--out", "all", "--set", "data.split={validation: 0, test: 0}").succeeded()
    write_csv(here / "t.csv", "x1,x2,price", [(*row, "1000") for row in rows])
    outcome = cli("predict", "all", "t.csv").succeeded()
    assert [line for line in outcome.err.splitlines() if "range" in line] == ([FAR + note] if note else [])
    measured = cli("evaluate", "all", "--data", "t.csv", "--json").succeeded()
    assert [each for each in measured.json()["notes"] if "range" in each] == ([FAR[6:] + note] if note else [])


def test_no_value_of_the_training_table_is_far(cli: Cli, here: Path) -> None:
    for name in ("classes", "amounts"):
        assert "range" not in cli("predict", name, f"{name}.csv").succeeded().err
        assert "range" not in cli("evaluate", name, "--data", f"{name}.csv").succeeded().err


def test_far_amounts_with_a_unit_and_many_columns(cli: Cli, spec: Write, tmp_path: Path) -> None:
    names, weights = [f"x{i}" for i in range(8)], [f"{i + 1}.5 kg" for i in range(40)]
    table = [(*[f"{(i * k) % 9}" for k in range(1, 9)], weights[i], "ab"[i % 2]) for i in range(40)]
    write_csv(tmp_path / "t.csv", ",".join([*names, "weight", "y"]), table)
    cli("fit", spec("data: {path: t.csv, target: y}\n" + TRAINING), "--out", "run").succeeded()
    assert "range" not in cli("predict", "run", "t.csv").succeeded().err
    write_csv(tmp_path / "far.csv", ",".join([*names, "weight"]), [(*["99"] * 8, "14 kg"), (*["1"] * 8, "900 kg")])
    said = cli("predict", "run", "far.csv").succeeded().err
    assert (
        said == FAR + "'x0' in 1 row, 'x1' in 1 row, 'x2' in 1 row, 'x3' in 1 row, 'x4' in 1 row and 4 more columns\n"
    )


# --- predict


def test_predictions_stand_in_the_order_of_the_rows(cli: Cli, here: Path) -> None:
    whole = cli("predict", "classes", "classes.csv").succeeded().out.splitlines()
    assert len(whole) == 43
    head, *rows = (here / "classes.csv").read_text().splitlines()
    (here / "t.csv").write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert cli("predict", "classes", "t.csv").succeeded().out.splitlines() == [whole[0], *reversed(whole[1:])]


def test_labels_and_probabilities(cli: Cli, here: Path) -> None:
    frame = table(cli("predict", "classes", "classes.csv").succeeded().out)
    assert frame.columns == ["answer", "probability_no", "probability_yes"]
    yes, no = frame["probability_yes"].to_numpy(), frame["probability_no"].to_numpy()
    np.testing.assert_allclose(yes + no, 1, atol=1e-6)
    assert frame["answer"].to_list() == np.where(yes > no, "yes", "no").tolist()
    measured = cli("evaluate", "classes", "--data", "classes.csv", "--json").succeeded().json()["metrics"]
    truth = [row[3] for row in classes_rows()] + ["yes", "no"]
    assert measured["accuracy"] == pytest.approx(np.mean([a == b for a, b in zip(frame["answer"], truth, strict=True)]))
    likelihood = [a if label == "yes" else b for a, b, label in zip(yes, no, truth, strict=True)]
    assert measured["log_loss"] == pytest.approx(-np.mean(np.log(likelihood)), rel=1e-5)


def test_penguins_in_three_classes(cli: Cli, tmp_path: Path) -> None:
    path = DATASETS / "penguins.csv"
    (tmp_path / "spec.yaml").write_text(
        f"data: {{path: {path}, target: species}}\ntraining: {{epochs: 30, baselines: false}}"
    )
    cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    frame = table(cli("predict", "run", path).succeeded().out)
    assert len(frame) == 344
    np.testing.assert_allclose(frame[:, 1:].to_numpy().sum(axis=1), 1, atol=1e-6)
    assert (frame["species"] == pl.read_csv(path)["species"]).to_numpy().mean() > 0.9


def test_amounts_are_in_their_own_units(cli: Cli, here: Path) -> None:
    trained_longer = "--set", "training.epochs=60", "--set", "optimizer.learning_rate=0.02"
    cli("fit", "amounts.yaml", "--out", "longer", *trained_longer).succeeded()
    frame = table(cli("predict", "longer", "amounts.csv").succeeded().out)
    assert frame.columns == ["price"]
    truth = np.array([float(str(row[2])) for row in amounts_rows()])
    assert np.abs(frame["price"].to_numpy() - truth).mean() < truth.std() / 5


@pytest.mark.parametrize("scaling", ["none", "minmax", "standard"])
def test_the_scale_of_the_target_is_undone(cli: Cli, here: Path, scaling: str) -> None:
    overrides = "--set", f"data.scale_target={scaling}", "--set", "network.hidden=[]", "--set", "training.epochs=1"
    cli("fit", "amounts.yaml", "--out", "scaled", *overrides).succeeded()
    frame = table(cli("predict", "scaled", "amounts.csv").succeeded().out)
    truth = np.array([float(str(row[2])) for row in amounts_rows()])
    rmse = np.sqrt(np.mean((frame["price"].to_numpy() - truth) ** 2))
    assert cli("evaluate", "scaled", "--data", "amounts.csv", "--json").json()["metrics"]["rmse"] == pytest.approx(rmse)


def test_stdin_gives_what_the_file_gives(cli: Cli, here: Path) -> None:
    raw = (here / "classes.csv").read_bytes()
    assert cli("predict", "classes", "-", stdin=raw) == cli("predict", "classes", "classes.csv").succeeded()


def test_stdin_in_a_pipe(here: Path) -> None:
    command = f"{PROGRAM} predict classes - < classes.csv | head -3"
    shown = subprocess.run(
        ["bash", "-c", command], cwd=here, env=environment(), check=True, capture_output=True, text=True, timeout=60
    )
    assert len(shown.stdout.splitlines()) == 3
    assert "Traceback" not in shown.stderr


CLOSED = {
    "evaluate classes >&-": (0, "next: mlptrain report classes\n"),
    "predict classes classes.csv --quiet >&-": (0, ""),
    "predict classes - <&-": (3, "mlptrain: stdin: the file is empty: 0 data rows\n"),
    "evaluate nothing <&- >&-": (4, "mlptrain: nothing: "),
    "evaluate nothing 2>&-": (4, ""),
    "--version <&- >&- 2>&-": (0, ""),
}


@pytest.mark.parametrize("line", CLOSED)
def test_streams_may_be_closed(here: Path, line: str) -> None:
    code, start = CLOSED[line]
    command = ["bash", "-c", f"{PROGRAM} {line}"]
    done = subprocess.run(command, cwd=here, env=environment(), check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr[: len(start) or None]) == (code, "", start)


def test_an_empty_stdin_is_refused(cli: Cli, here: Path) -> None:
    cli("predict", "classes", "-").refused(3, "stdin: the file is empty: 0 data rows")
    cli("predict", "classes", "-", stdin=b"x1,x2,colour\n").refused(3, "stdin: a header and 0 data rows")


def test_out_holds_what_stdout_would_show(cli: Cli, here: Path) -> None:
    shown = cli("predict", "classes", "classes.csv").succeeded()
    written = cli("predict", "classes", "classes.csv", "--out", "p.csv").succeeded()
    assert written.out == ""
    assert written.err == shown.err
    assert (here / "p.csv").read_text() == shown.out


def test_quiet_prediction(cli: Cli, here: Path) -> None:
    assert "missing" in cli("predict", "classes", "classes.csv").succeeded().err
    assert cli("predict", "classes", "classes.csv", "--quiet").succeeded().err == ""


def test_one_row_is_enough(cli: Cli, here: Path) -> None:
    whole = cli("predict", "classes", "classes.csv").succeeded().out.splitlines()
    head, first = (here / "classes.csv").read_text().splitlines()[:2]
    alone = cli("predict", "classes", "-", stdin=f"{head}\n{first}".encode()).succeeded().out.splitlines()
    values, others = ([float(cell) for cell in line.split(",")[1:]] for line in (alone[1], whole[1]))
    assert values == pytest.approx(others, rel=1e-5)


def test_other_formats_can_be_predicted(cli: Cli, here: Path) -> None:
    frame = pl.read_csv(here / "classes.csv")
    frame.write_parquet(here / "t.parquet")
    frame.write_csv(here / "t.tsv", separator="\t")
    plain = cli("predict", "classes", "classes.csv").succeeded()
    for name in ("t.parquet", "t.tsv"):
        assert cli("predict", "classes", name).succeeded() == plain


def test_a_checkpoint_predicts_as_its_model(cli: Cli, here: Path) -> None:
    plain = cli("predict", "classes", "classes.csv").succeeded()
    for name in ("model", "checkpoint"):
        assert cli("predict", f"classes/{name}.safetensors", "classes.csv") == plain


def test_a_model_needs_neither_its_run_nor_its_data(
    cli: Cli, here: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    away = tmp_path_factory.mktemp("away")
    shutil.copy(here / "classes" / "model.safetensors", away / "m")
    plain = cli("predict", "classes", "classes.csv").succeeded()
    assert cli("predict", away / "m", "classes.csv") == plain


def test_predictions_never_replace_their_own_table(cli: Cli, here: Path) -> None:
    before = (here / "classes.csv").read_bytes()
    outcome = cli("predict", "classes", "classes.csv", "--out", "./classes.csv")
    assert (here / "classes.csv").read_bytes() == before
    outcome.refused(2, "classes.csv")


@pytest.mark.parametrize(
    "verb", [("evaluate", "classes"), ("predict", "classes", "classes.csv")], ids=["evaluate", "predict"]
)
@pytest.mark.parametrize("place", ["nowhere/p.csv", "classes"], ids=["no such folder", "a folder"])
def test_a_place_that_cannot_be_written(cli: Cli, here: Path, verb: tuple[str, ...], place: str) -> None:
    before = contents(here)
    cli(*verb, "--out", place).refused(5, f"{place}: cannot be written")
    assert contents(here) == before


@pytest.mark.parametrize("place", [".", "/"])
def test_a_place_without_a_name(cli: Cli, here: Path, place: str) -> None:
    outcome = cli("evaluate", "classes", "--out", place)
    assert outcome.code in (2, 5), outcome.err


def test_a_full_disk_behind_stdout(here: Path) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123  # a device
        command = [*PROGRAM.split(), "predict", "classes", "classes.csv"]
        done = subprocess.run(command, cwd=here, env=environment(), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 5


@pytest.mark.parametrize("unit", ["[cm]", "[/cm]", "[bold]"])
def test_column_names_are_shown_as_they_are(cli: Cli, tmp_path: Path, unit: str) -> None:
    write_csv(tmp_path / "t.csv", f"x1,length {unit},price", [("", "1", "2.5"), *amounts_rows(), ("1", "", "2.5")])
    (tmp_path / "spec.yaml").write_text("data: {path: t.csv, target: price}\n" + TRAINING)
    assert f"1 missing in 'length {unit}'" in cli("fit", "spec.yaml", "--out", "run").succeeded().err
    assert f"1 missing in 'length {unit}'" in cli("predict", "run", "t.csv").succeeded().err


@pytest.mark.parametrize("name", ["run[bold]x", "r" * 150], ids=["brackets", "long"])
def test_the_last_line_is_the_folder(cli: Cli, here: Path, name: str) -> None:
    assert cli("fit", "amounts.yaml", "--out", name).succeeded().out.splitlines()[-1] == name


# --- Files that are no models


class Trap:
    """What a pickle can do to who opens it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch trapped",)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(Trap()))


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def foreign(path: Path) -> None:
    safetensors.numpy.save_file({"layers.0.weight": np.ones((2, 3), "f4")}, path, {"format": "np"})


def other_metadata(path: Path) -> None:
    safetensors.numpy.save_file({"layers.0.weight": np.ones((2, 3), "f4")}, path, {files.KEY: "no json"})


def repeated_digest(path: Path) -> None:
    safetensors.numpy.save_file(
        {"a": np.ones(2, "f4")}, path, {files.KEY: '{"digest": "0", "digest": "1", "header": ""}'}
    )


WRITERS: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "seven bytes": lambda path: path.write_bytes(b"1234567"),
    "zeros": lambda path: path.write_bytes(bytes(8)),
    "length of 2^64 - 1": lambda path: path.write_bytes(b"\xff" * 8 + b"{}"),
    "length of the file": lambda path: path.write_bytes(b"\x0a" + bytes(7) + b"{}"),
    "header of spaces": lambda path: path.write_bytes((4096).to_bytes(8, "little") + b" " * 4096),
    "deep header": lambda path: path.write_bytes((4096).to_bytes(8, "little") + b"[" * 4096),
    "header not UTF-8": lambda path: path.write_bytes((4).to_bytes(8, "little") + b"\xff\xfe{}"),
    "pickle": lambda path: path.write_bytes(pickle.dumps(Trap())),
    "old pickle": lambda path: path.write_bytes(pickle.dumps(Trap(), protocol=0)),
    "zip": zipped,
    "npz": arrays,
    "gzip": lambda path: path.write_bytes(b"\x1f\x8b\x08" + bytes(20)),
    "hdf5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40)),
    "json": lambda path: path.write_text(json.dumps({"weights": [1, 2, 3]})),
    "text": lambda path: path.write_text("the weights are 1, 2 and 3\n"),
    "foreign safetensors": foreign,
    "other metadata": other_metadata,
    "repeated digest": repeated_digest,
    "a folder": lambda path: path.mkdir(),
    "missing": lambda path: None,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_files_that_are_no_models(cli: Cli, here: Path, write: Callable[[Path], object]) -> None:
    write(here / "file.safetensors")
    cli("evaluate", "file.safetensors", "--data", "classes.csv").refused(4, "file.safetensors: ")
    cli("predict", "file.safetensors", "classes.csv").refused(4, "file.safetensors: ")
    assert not (here / "trapped").exists()


KINDS = {"zip": "zip archive", "npz": "zip archive", "hdf5": "HDF5", "pickle": "pickle", "gzip": "gzip"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_kind_of_a_foreign_file_is_named(cli: Cli, here: Path, kind: str) -> None:
    WRITERS[kind](here / "file")
    cli("evaluate", "file").refused(4, "file: refused: this is a", KINDS[kind])


def test_two_tables_from_one_stdin(cli: Cli, here: Path) -> None:
    outcome = cli("evaluate", "classes", "--data", "-", "--target-data", "-", stdin=b"x1,x2\n1,2\n")
    outcome.refused(2, "--data and --target-data cannot both be stdin")


def test_rows_without_a_target_have_a_remedy_without_a_spec(cli: Cli, here: Path) -> None:
    write_csv(here / "new.csv", HEADER, [("1", "2", "red", ""), *classes_rows(5)])
    refused = cli("evaluate", "classes", "--data", "new.csv").refused(3, "is missing in row 1", "out of the table")
    assert "missing_target" not in refused.err


@pytest.mark.filterwarnings("error")
def test_values_that_overflow_are_told_without_a_warning(cli: Cli, here: Path) -> None:
    write_csv(here / "new.csv", HEADER, [("1e300", "2", "red", "yes")])
    for verb in (("evaluate", "classes", "--data", "new.csv"), ("predict", "classes", "new.csv")):
        cli(*verb).refused(3, "scores that are not finite in row 1")


def test_a_name_with_spaces_is_suggested(cli: Cli, here: Path) -> None:
    write_csv(here / "new.csv", " x1 ,x2,colour,answer", classes_rows(5))
    cli("predict", "classes", "new.csv").refused(3, "missing: 'x1'; did you mean ' x1 '?")


def test_a_spec_is_no_model(cli: Cli, here: Path) -> None:
    for verb in (("evaluate", "classes.yaml"), ("predict", "classes.yaml", "classes.csv")):
        cli(*verb).refused(2, "classes.yaml: is a spec")


def survives(raw: bytes) -> str | None:
    """What went wrong when `raw` was read: it was accepted, or it raised something else than our own error."""
    try:
        files.decode_model(raw, "file")
    except CheckpointError:
        return None
    except BaseException as error:
        return repr(error)
    return "accepted"


@pytest.mark.parametrize("name", ["model", "checkpoint"])
def test_every_cut_is_found(here: Path, name: str) -> None:
    raw = (here / "classes" / f"{name}.safetensors").read_bytes()
    assert survives(raw) == "accepted"
    assert {end: found for end in range(len(raw)) if (found := survives(raw[:end]))} == {}


@pytest.mark.parametrize("name", ["model", "checkpoint"])
def test_every_flipped_bit_is_found(here: Path, name: str) -> None:
    """In every byte one bit, in turn a low, a middle and the highest one."""
    raw = (here / "classes" / f"{name}.safetensors").read_bytes()
    found = {}
    for i in range(len(raw)):
        flipped = bytearray(raw)
        flipped[i] ^= (1, 8, 32, 128)[i % 4]
        found[i] = survives(bytes(flipped))
    assert {i: what for i, what in found.items() if what} == {}


@pytest.mark.parametrize("name", ["model", "checkpoint"])
def test_damage_is_one_message(cli: Cli, here: Path, name: str) -> None:
    path = here / "classes" / f"{name}.safetensors"
    raw = path.read_bytes()
    for i in range(3, len(raw), len(raw) // 25):
        path.write_bytes(raw[:i])
        cli("predict", path, "classes.csv").refused(4, f"{name}.safetensors: ")
        path.write_bytes(raw[:i] + bytes([raw[i] ^ 16]) + raw[i + 1 :])
        cli("evaluate", path).refused(4, f"{name}.safetensors: ")
    assert survives(raw + b"x") is None
    if name == "checkpoint":
        cli("fit", "--resume", "classes").refused(4, "checkpoint.safetensors: ")


# --- Files whose digest is right and whose content is not


def crafted(path: Path, header: dict[str, Any] | None = None, tensors: dict[str, Any] | None = None) -> bytes:
    """The file at `path` with other header entries (by dotted path) and tensors (None removes one), signed anew."""
    known, arrays = files.decode(path.read_bytes(), str(path))
    values = known.model_dump(mode="json")
    for place, value in (header or {}).items():
        *way, last = place.split(".")
        node: Any = values
        for part in way:
            node = node[int(part) if part.isdigit() else part]
        node[last] = value
    changed = {k: np.ascontiguousarray(v) for k, v in (arrays | (tensors or {})).items() if v is not None}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    signed = files.canonical({"digest": files.digest(text, dict(sorted(changed.items()))), "header": text})
    return safetensors.numpy.save(dict(sorted(changed.items())), {files.KEY: signed})


def test_signing_anew_changes_nothing(here: Path) -> None:
    path = here / "classes" / "checkpoint.safetensors"
    assert crafted(path) == path.read_bytes()


HEADERS: dict[str, dict[str, Any]] = {
    "newer format": {"format": 3},
    "no format": {"format": None},
    "unknown content": {"content": "weights"},
    "extra entry": {"more": 1},
    "negative epoch": {"progress.epoch": -1},
    "more epochs than history": {"progress.epoch": 1_000_000_000},
    "negative step": {"progress.step": -1},
    "step as text": {"progress.step": "16"},
    "unknown reason": {"progress.stopped": "boredom"},
    "class from a module": {"plan.optimizer": {"kind": "os.system"}},
    "another optimizer": {"plan.optimizer": {"kind": "sgd"}},
    "wider layer": {"plan.network.hidden.0.width": 1_000_000},
    "float64": {"plan.training.dtype": "float64"},
    "no features": {"plan.transforms.encoders": []},
    "one class more": {"plan.transforms.task.classes": ["no", "yes", "perhaps"]},
    "another loss": {"plan.loss": {"kind": "mse"}},
}
BROKEN_HEADERS: dict[str, dict[str, Any]] = {
    "no loss": {"plan.loss": None},
    "no progress": {"progress": None},
    "no seed": {"plan.seed": None},
    "no fitted numbers": {"plan.transforms.encoders.0.fitted": []},
}
TENSORS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "extra": lambda t: {"layers.9.weight": t["layers.0.weight"]},
    "missing": lambda t: {"layers.0.bias": None},
    "missing slot": lambda t: {"optimizer.first_moment": None},
    "foreign slot": lambda t: {"optimizer.velocity": t["optimizer.first_moment"]},
    "another dtype": lambda t: {"layers.0.bias": t["layers.0.bias"].astype("f8")},
    "transposed": lambda t: {"best.layers.0.weight": t["best.layers.0.weight"].T},
    "broadcastable": lambda t: {"layers.0.bias": t["layers.0.bias"][None]},
    "best nan": lambda t: {"best.layers.0.bias": t["best.layers.0.bias"] * np.nan},
    "best inf": lambda t: {"best.layers.0.weight": t["best.layers.0.weight"] + np.inf},
    "negative variance": lambda t: {"best.layers.0.norm.running_variance": -t["best.layers.0.norm.running_variance"]},
    "shorter history": lambda t: {"history": t["history"][1:]},
}


def refused_by_both(cli: Cli, here: Path, raw: bytes) -> None:
    (here / "classes" / "checkpoint.safetensors").write_bytes(raw)
    cli("evaluate", "classes/checkpoint.safetensors").refused(4, "checkpoint.safetensors: ")
    cli("fit", "--resume", "classes").refused(4, "checkpoint.safetensors: ")


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_a_signed_header_that_does_not_fit(cli: Cli, here: Path, header: dict[str, Any]) -> None:
    refused_by_both(cli, here, crafted(here / "classes" / "checkpoint.safetensors", header))


@pytest.mark.parametrize("header", BROKEN_HEADERS.values(), ids=BROKEN_HEADERS)
def test_a_signed_header_that_breaks_us(cli: Cli, here: Path, header: dict[str, Any]) -> None:
    path = here / "classes" / "checkpoint.safetensors"
    path.write_bytes(crafted(path, header))
    cli("evaluate", path).refused(4, "checkpoint.safetensors: ")


@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_signed_tensors_that_do_not_fit(
    cli: Cli, here: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    path = here / "classes" / "checkpoint.safetensors"
    tensors = change(dict(files.decode(path.read_bytes(), "file")[1]))
    refused_by_both(cli, here, crafted(path, tensors=tensors))


def test_paths_in_a_model_are_not_opened(cli: Cli, here: Path) -> None:
    """Evaluating on a table never reads what the file of a stranger points at."""
    raw = crafted(here / "classes" / "model.safetensors", {"plan.data.path": str(here / "secret.csv")})
    (here / "m.safetensors").write_bytes(raw)
    os.mkfifo(here / "secret.csv")  # opening it would wait for ever
    cli("evaluate", "m.safetensors", "--data", "classes.csv").succeeded()
    cli("predict", "m.safetensors", "classes.csv").succeeded()


def test_an_outcome_tells_a_refusal_from_a_success() -> None:
    """The helper of these tests can fail."""
    with pytest.raises(AssertionError):
        Outcome(4, "", "mlptrain: a\nmlptrain: b\n").refused(4)
    with pytest.raises(AssertionError):
        Outcome(4, "", "mlptrain: a\n").refused(3)
    with pytest.raises(AssertionError):
        Outcome(4, "0.5\n", "mlptrain: a\n").refused(4)
    Outcome(4, "", "mlptrain: a\n").refused(4, "a")


# --- what predict writes


def test_columns_can_be_kept_beside_the_prediction_exactly_as_they_are(cli: Cli, here: Path) -> None:
    rows = [(f"{i:04d}", *row[:3], f"{i}.50") for i, row in enumerate(classes_rows(5))]
    write_csv(here / "new.csv", "id,x1,x2,colour,cost", rows)
    out = cli("predict", "classes", "new.csv", "--keep", "id", "--keep", "cost", "--labels-only").succeeded().out
    lines = [line.split(",") for line in out.splitlines()]
    assert lines[0] == ["id", "cost", "answer"]
    assert [line[:2] for line in lines[1:]] == [[row[0], row[4]] for row in rows]
    whole = table(cli("predict", "classes", "new.csv").succeeded().out)
    assert [line[2] for line in lines[1:]] == whole["answer"].to_list()
    frame = pl.DataFrame({"id": ["a", "b"], "x1": [0.5, 1.5], "x2": [1.0, 2.0], "colour": ["red", None]})
    frame.write_parquet(here / "new.parquet")
    kept = table(cli("predict", "classes", "new.parquet", "--keep", "id", "--keep", "x1").succeeded().out)
    assert kept["id"].to_list() == ["a", "b"]
    assert kept["x1"].to_list() == [0.5, 1.5]


def test_what_cannot_be_kept_is_named(cli: Cli, here: Path) -> None:
    cli("predict", "classes", "classes.csv", "--keep", "colours").refused(
        3, "no column 'colours'; did you mean 'colour'?"
    )
    refused = "--keep answer: predict writes a column 'answer' itself"
    cli("predict", "classes", "classes.csv", "--keep", "answer").refused(2, refused)


def test_labels_only_changes_nothing_for_amounts(cli: Cli, here: Path) -> None:
    whole = cli("predict", "amounts", "amounts.csv").succeeded().out
    assert cli("predict", "amounts", "amounts.csv", "--labels-only").succeeded().out == whole
