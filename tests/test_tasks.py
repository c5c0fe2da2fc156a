"""Is a new kind of target, of column or of figure one class, and does every input have a name?

The classes are in plugins/data.py, which is loaded as a user would load it. Each command is a process of its own: no
other test sees them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from cli import Cli, Outcome, Write, run_process, write_csv
from helpers import assert_close
from mlptrain.data.encoders import Category, Number, Pixels
from mlptrain.data.scalers import NoScaling

TOYS = Path(__file__).parent / "plugins" / "data.py"
LONG = "training: {epochs: 60, batch_size: 8, baselines: true}\n"


def toy(folder: Path, *arguments: object) -> Outcome:
    """`mlptrain` with the toys, in a process of its own."""
    return run_process(*arguments, "--plugin", TOYS, folder=folder)


def amounts_table(path: Path) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, 120)
    frame = pl.DataFrame({"x": x.round(3), "price": np.exp(2 + x + rng.normal(0, 0.05, 120)).round(2)})
    frame.write_csv(path)
    return frame


def test_a_task_of_the_users_is_one_class(spec: Write, tmp_path: Path) -> None:
    frame = amounts_table(tmp_path / "t.csv")
    spec("data: {path: t.csv, target: price}\ntask: toy_log\n" + LONG)
    toy(tmp_path, "fit", "spec.yaml", "--out", "run").succeeded()
    predicted = pl.read_csv(toy(tmp_path, "predict", "run", "t.csv").succeeded().out.encode())["price"].to_numpy()
    measured = toy(tmp_path, "evaluate", "run", "--data", "t.csv", "--json").succeeded().json()["metrics"]
    truth = frame["price"].to_numpy()
    assert_close(measured["rmse"], np.sqrt(np.mean((predicted - truth) ** 2)), 1e-6)
    assert measured["toy_within"] == pytest.approx(np.mean(np.abs(predicted - truth) <= 0.1 * truth))
    assert measured["toy_within"] > 0.5
    assert "validation_toy_within" in (tmp_path / "run" / "metrics.csv").read_text().splitlines()[0]


def test_a_task_with_other_outputs_than_classes_is_one_class(spec: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = rng.uniform(-2, 2, 150)
    grades = np.digitize(x + rng.normal(0, 0.1, 150), [-1, 0, 1])
    write_csv(tmp_path / "t.csv", "x,grade", [(f"{a:.3f}", g) for a, g in zip(x, grades, strict=True)])
    spec("data: {path: t.csv, target: grade}\ntask: toy_ordinal\n" + LONG)
    toy(tmp_path, "fit", "spec.yaml", "--out", "run").succeeded()
    found = toy(tmp_path, "evaluate", "run", "--data", "t.csv", "--json").succeeded().json()
    assert found["confusion_matrix"]["classes"] == ["0", "1", "2", "3"]
    assert np.sum(found["confusion_matrix"]["counts"]) == 150
    frame = pl.read_csv(toy(tmp_path, "predict", "run", "t.csv").succeeded().out.encode())
    assert found["metrics"]["accuracy"] == pytest.approx((frame["grade"].to_numpy() == grades).mean())
    assert found["metrics"]["accuracy"] > 0.7
    toy(tmp_path, "fit", "spec.yaml", "--set", "loss=mse").refused(2, "loss", "mse does not go with task: toy_ordinal")


@pytest.mark.parametrize("declared", [False, True], ids=["claims its column", "is declared"])
def test_an_encoder_of_the_users_is_one_class(spec: Write, tmp_path: Path, declared: bool) -> None:
    name = "word" if declared else "toy_word"
    rows = [("ab" * (1 + i % 9), f"{2.5 * (1 + i % 9)}") for i in range(60)]
    write_csv(tmp_path / "t.csv", f"{name},y", rows)
    line = f", encoders: {{{name}: toy_length}}" if declared else ""
    spec(f"data: {{path: t.csv, target: y{line}}}\n{LONG}network: {{hidden: []}}\noptimizer: {{learning_rate: 0.05}}\n")
    fitted = toy(tmp_path, "fit", "spec.yaml", "--out", "run").succeeded()
    assert "network 1-1" in fitted.err
    assert toy(tmp_path, "evaluate", "run", "--data", "t.csv", "--json").succeeded().json()["metrics"]["r2"] > 0.9


def test_a_kind_of_encoder_that_is_not_there(cli: Cli, spec: Write, classes: Path) -> None:
    spec("data: {path: classes.csv, target: answer, encoders: {x1: nummber}}\n")
    cli("fit", "spec.yaml").refused(2, "data.encoders.x1", "unknown kind 'nummber'; did you mean 'number'?")


def test_an_unknown_task(cli: Cli, spec: Write, classes: Path) -> None:
    spec("data: {path: classes.csv, target: answer}\ntask: clasification\n")
    cli("fit", "spec.yaml").refused(2, "spec.yaml:2:7 task", "did you mean 'classification'?")


# --- Inputs have names


def test_every_input_has_a_name() -> None:
    length = Number(column="length", scaler=NoScaling(), fitted=((0.0,), (1.0,)), fill=None)
    block = Number(column="b", scaler=NoScaling(), fitted=((0.0, 0.0), (1.0, 1.0)), fill=None)
    pixels = Pixels(column="pixels", pixels=3, scaler=NoScaling(), fitted=((0.0,), (1.0,)))
    sex = Category(
        column="sex",
        categories=("f", "m"),
        fill=None,
        missing_input=True,
        unknown_input=True,
        unknown_allowed=True,
        missing_allowed=True,
    )
    assert length.inputs == ("length",)
    assert block.inputs == ("b[0]", "b[1]")
    assert pixels.inputs == ("pixels[0]", "pixels[1]", "pixels[2]")
    assert sex.inputs == ("sex=f", "sex=m", "sex=(missing)", "sex=(unknown)")
    assert [encoder.width for encoder in (length, block, pixels, sex)] == [1, 2, 3, 4]
