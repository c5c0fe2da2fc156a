"""Are the contributions of columns Shapley values, and does `explain --row` say what the model does?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from cli import Cli, Write, amounts_rows, classes_rows, run_cli, write_csv
from helpers import assert_close
from mlptrain.nn.arrays import Array, Indices
from mlptrain.report.contributions import EXACT, Values, contributions, two_orders

SMALL = "network: {hidden: [4]}\ntraining: {epochs: 4, batch_size: 8}\n"


def linear(weights: Values) -> Callable[[Array], Values]:
    return lambda x: np.asarray(x.astype(np.float64) @ weights)


def small_network(width: int) -> Callable[[Array], Values]:
    rng = np.random.default_rng(width)
    first, last = rng.standard_normal((width, 4)), rng.standard_normal((4, 2))
    return lambda x: np.asarray(np.tanh(x @ first) @ last)


def drawn(players: int, rows: int = 30) -> tuple[Array, Array, list[Indices]]:
    """A row, a background, and players of which the first has two inputs."""
    rng = np.random.default_rng(players)
    places = [np.array([0, 1]), *(np.array([i]) for i in range(2, players + 1))]
    return rng.standard_normal(players + 1), rng.standard_normal((rows, players + 1)), places


def by_definition(
    predict: Callable[[Array], Values], x: Array, background: Array, players: Sequence[Indices]
) -> Values:
    """The mean over all orders of what each player adds when it enters."""
    total, count = np.zeros((len(players), 2)), 0
    for order in permutations(range(len(players))):
        mixed, before = background.copy(), predict(background).mean(axis=0)
        for i in order:
            mixed[:, players[i]] = x[players[i]]
            after = predict(mixed).mean(axis=0)
            total[i] += after - before
            before = after
        count += 1
    return total / count


@pytest.mark.parametrize("players", [1, 2, 5])
def test_few_columns_have_their_exact_shapley_values(players: int) -> None:
    predict, (x, background, places) = small_network(players + 1), drawn(players)
    found = contributions(predict, x, background, places, np.random.default_rng(0))
    assert found.orders == 0
    assert_close(found.values, by_definition(predict, x, background, places), 1e-12, scale=1.0)


def test_random_orders_give_the_exact_values_within_their_errors() -> None:
    predict, (x, background, places) = small_network(6), drawn(5)
    exact, rng = by_definition(predict, x, background, places), np.random.default_rng(0)
    many = two_orders(predict, x, np.tile(background, (40, 1)), places, rng)
    assert (np.abs(many.mean(axis=0) - exact) < 4 * many.std(axis=0) / math.sqrt(len(many))).all()


@pytest.mark.parametrize("players", [EXACT, EXACT + 1, 40])
@pytest.mark.parametrize("rows", [1, 7, 150])
def test_contributions_add_up_to_the_prediction_minus_the_mean(players: int, rows: int) -> None:
    predict, (x, background, places) = small_network(players + 1), drawn(players, rows)
    found = contributions(predict, x, background, places, np.random.default_rng(0))
    assert_close(found.prediction, predict(x[None])[0], 1e-12)
    assert_close(found.mean, predict(background).mean(axis=0), 1e-12, scale=1.0)
    assert_close(found.values.sum(axis=0), found.prediction - found.mean, 1e-12, scale=1.0)
    assert bool(found.orders) == (players > EXACT)


@pytest.mark.parametrize("players", [3, 20])
def test_a_linear_model_has_its_closed_form(players: int) -> None:
    x, background, places = drawn(players)
    weights = np.random.default_rng(1).standard_normal((players + 1, 2))
    found = contributions(
        lambda inputs: np.asarray(inputs @ weights, np.float64), x, background, places, np.random.default_rng(0)
    )
    each = weights * (x - background.mean(axis=0))[:, None]
    assert_close(found.values, np.stack([each[place].sum(axis=0) for place in places]), 1e-12, scale=1.0)


def test_a_column_that_the_model_ignores_contributes_nothing() -> None:
    x, background, places = drawn(12)
    found = contributions(
        lambda inputs: np.asarray(inputs[:, :3] ** 2, np.float64), x, background, places, np.random.default_rng(0)
    )
    assert_close(found.values[2:], np.zeros((10, 3)), 0)


# -- through the command line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs on classes, on amounts by a linear network, and of an ensemble in folds with a blend."""
    folder = tmp_path_factory.mktemp("trained")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows(60))
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows(60))
    specs = {
        "classes": "data: {path: classes.csv, target: answer}\n" + SMALL,
        "amounts": "data: {path: amounts.csv, target: price, split: {validation: 0, test: 0}}\n"
        "network: {hidden: []}\ntraining: {epochs: 500, batch_size: full, baselines: false, dtype: float64}\n"
        "optimizer: {kind: momentum, learning_rate: 0.05}\n",
        "folds": "data: {path: classes.csv, target: answer, split: {validation: 0, test: 0}}\n"
        "ensemble: {members: 3, rows: folds, blend: true}\n" + SMALL,
    }
    for name, spec in specs.items():
        (folder / f"{name}.yaml").write_text(spec)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


@pytest.mark.parametrize("name", ["classes", "folds"])
def test_the_reasons_of_a_row_are_about_what_predict_says(trained: Path, name: str) -> None:
    told = run_cli("explain", name, "--row", 5, "--json", folder=trained).succeeded().json()
    lines = run_cli("predict", name, "classes.csv", folder=trained).succeeded().out.splitlines()
    predicted = dict(zip(lines[0].split(","), lines[5].split(","), strict=True))
    assert told["prediction"]["answer"] == predicted["answer"]
    (output,) = told["outputs"]
    assert output["name"] == f"probability of {predicted['answer']}"
    assert_close(output["prediction"], float(predicted[f"probability_{predicted['answer']}"]), 1e-6)
    assert {each["column"] for each in output["columns"]} == {"x1", "x2", "colour"}
    assert_close(sum(each["contribution"] for each in output["columns"]), output["prediction"] - output["mean"], 1e-5)
    sizes = [abs(each["contribution"]) for each in output["columns"]]
    assert sizes == sorted(sizes, reverse=True)
    table = (trained / "classes.csv").read_text().splitlines()
    row = dict(zip(table[0].split(","), table[5].split(","), strict=True))
    assert told["line"] == 6
    assert told["truth"] == {"answer": row["answer"]}
    assert {each["column"]: each["value"] for each in output["columns"]}["colour"] == row["colour"]


def test_the_reasons_of_a_linear_network_are_those_of_a_linear_model(trained: Path) -> None:
    told = run_cli("explain", "amounts", "--row", 3, "--json", folder=trained).succeeded().json()
    rows = np.loadtxt(trained / "amounts.csv", delimiter=",", skiprows=1)
    model = LinearRegression().fit(rows[:, :2], rows[:, 2])
    expected = model.coef_ * (rows[2, :2] - rows[:, :2].mean(axis=0))
    (output,) = told["outputs"]
    found = {each["column"]: each["contribution"] for each in output["columns"]}
    assert_close([found["x1"], found["x2"]], expected, 1e-3)
    assert_close(output["mean"], rows[:, 2].mean(), 1e-3)


def test_the_reasons_are_shown_as_bars_on_both_sides(trained: Path) -> None:
    out = run_cli("explain", "amounts", "--row", 3, folder=trained).succeeded().out
    told = run_cli("explain", "amounts", "--row", 3, "--json", folder=trained).json()
    assert out.startswith("Row 3 of amounts.csv (line 4): price ")
    for each in told["outputs"][0]["columns"]:
        (line,) = [line for line in out.splitlines() if line.strip().startswith(each["column"])]
        left, _, right = line.partition("│")
        assert ("▒" in left, "█" in right) == (each["contribution"] < 0, each["contribution"] > 0)
        assert f"{each['contribution']:+,.1f}" in line or f"{each['contribution']:+,.0f}" in line


def test_the_nearest_change_of_a_column_changes_the_class(trained: Path, tmp_path: Path) -> None:
    lines = (trained / "classes.csv").read_text().splitlines()
    found = set()
    for number in (1, 2, 3, 4):
        told = run_cli("explain", "folds", "--row", number, "--json", folder=trained).succeeded().json()
        if change := told["nearest_change"]:
            row = dict(zip(lines[0].split(","), lines[number].split(","), strict=True)) | {
                change["column"]: change["value"]
            }
            other = write_csv(tmp_path / "other.csv", ",".join(row), [tuple(row.values())])
            predicted = run_cli("predict", "folds", other, "--labels-only", folder=trained).succeeded().out
            assert predicted.splitlines()[1] == change["label"] != told["prediction"]["answer"]
            found.add(number)
            out = run_cli("explain", "folds", "--row", number, folder=trained).out
            assert f"it is {change['label']}." in " ".join(out.split())
    assert found
    amounts = run_cli("explain", "amounts", "--row", 1, "--json", folder=trained).succeeded().json()
    assert amounts["nearest_change"] is None


def test_the_reasons_repeat_and_take_another_table(trained: Path, tmp_path: Path) -> None:
    once, again = (run_cli("explain", "folds", "--row", 2, "--json", folder=trained).out for _ in range(2))
    assert once == again
    other = write_csv(tmp_path / "new.csv", "colour,x2,x1", [("red", 0.5, 0.25), ("<b>\x1b[2J", "", 3)])
    out = run_cli("explain", "classes", "--row", 2, "--data", other, folder=trained).succeeded().out
    assert "the table says" not in out
    assert "\x1b" not in out
    told = run_cli("explain", "classes", "--row", 1, "--data", other, "--json", folder=trained).succeeded().json()
    assert told["truth"] == {}
    assert told["table"] == str(other)


def test_mistakes_of_a_row_are_answered(trained: Path, cli: Cli, spec: Write) -> None:
    def refused(code: int, line: str, *fragments: str) -> None:
        run_cli("explain", *line.split(), folder=trained).refused(code, *fragments)

    refused(2, "classes --row 61", "has 60 rows; give a number from 1 to 60")
    refused(2, "classes.yaml --row 1", "classes.yaml is a spec; train it first: mlptrain fit classes.yaml")
    refused(2, "classes --row 1 --step 2", "--step is for a training step")
    refused(2, "classes --row 1 --set seed=1", "--set is for a training step")
    refused(2, "classes --data classes.csv", "--data is for one row; say which one: --row 1")
    refused(2, "classes/model.safetensors", "a model file has no training step")
    refused(2, "classes.csv --row 1", "classes.csv: is a table")
    refused(4, "nothing --row 1", "nothing")


def test_a_run_that_did_not_end_well_says_so(trained: Path) -> None:
    arguments = ("fit", "classes.yaml", "--out", "diverged", "--set", "optimizer.learning_rate=1e30", "--quiet")
    run_cli(*arguments, folder=trained).refused(6, "training diverged")
    assert "training diverged" in run_cli("explain", "diverged", "--row", 1, folder=trained).succeeded().err
    (trained / "diverged" / "summary.json").unlink()
    assert "training has not ended" in run_cli("explain", "diverged", "--row", 1, folder=trained).succeeded().err
    assert run_cli("explain", "classes", "--row", 1, folder=trained).succeeded().err == ""


def test_a_run_without_its_table_says_so(trained: Path, tmp_path: Path) -> None:
    table = trained / "classes.csv"
    kept = table.read_bytes()
    try:
        table.write_bytes(kept + b"0.1,0.1,red,yes\n")
        run_cli("explain", "classes", "--row", 1, folder=trained).refused(4, "classes.csv")
    finally:
        table.write_bytes(kept)


def test_the_step_of_a_run_is_that_of_its_spec(trained: Path) -> None:
    of_run = run_cli("explain", "classes", "--json", folder=trained).succeeded().json()
    of_spec = run_cli("explain", "classes.yaml", "--set", "seed=0", "--json", folder=trained).succeeded().json()
    assert [stage["formula"] for stage in of_run["stages"]] == [stage["formula"] for stage in of_spec["stages"]]
