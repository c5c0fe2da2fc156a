"""Is one value one value, however it is spelled, stored or named, and is a row of no weight no row?"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import re
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cli import Cli, Write, summary, write_csv
from mlptrain.data.columns import TextColumn, canonical
from mlptrain.data.spellings import meant_as
from mlptrain.data.tables import parse_table
from mlptrain.runs import checkpoint as files

QUICK = "training: {epochs: 3, baselines: false}\n"
LEARNS = "training: {epochs: 60, baselines: false}\n"


def halves(i: int) -> float:
    return (7 * i) % 23 / 10 - 1.1


def without_notes(document: dict[str, Any]) -> dict[str, Any]:
    """An evaluation without its notes, which name the table."""
    return {name: value for name, value in document.items() if name != "notes"}


def model_without_its_data(run: Path) -> tuple[Any, dict[str, bytes]]:
    """What a model file holds, but for the place and the digest of the table."""
    header, tensors = files.decode((run / "model.safetensors").read_bytes(), "model")
    plan = header.plan.model_dump(mode="json", exclude={"data", "name"})
    return plan, {name: array.tobytes() for name, array in tensors.items()}


# --- The text of a category


SAME = [
    ("true", "True", " TRUE "),
    ("1", "1.0", "+1", "1e0", "1.", " 1 "),
    ("0", "-0", "0.0", "-0.0"),
    ("1000", "1e3", "1E+3", "1000.00"),
    ("0.5", ".5", "0.50", "5e-1"),
    ("café", unicodedata.normalize("NFD", "café")),
    ("100000000000000000000", "1e20"),
]
APART = ["1", "01", "001", "1.5", "true", "yes", "T", "1_000", "1e999", "0x1", "-1", "", "nan"]


@pytest.mark.parametrize("spellings", SAME, ids=lambda spellings: spellings[0])
def test_spellings_of_one_value(spellings: Sequence[str]) -> None:
    assert {canonical(word) for word in spellings} == {spellings[0]}


def test_values_that_differ() -> None:
    assert len({canonical(word) for word in APART}) == len(APART)


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=6))
def test_a_canonical_text_is_its_own(number: float, word: str) -> None:
    for text in (repr(number), word):
        assert canonical(canonical(text)) == canonical(text)
    assert float(canonical(repr(number))) == number


def test_other_spellings_of_a_flag_are_read_for_it() -> None:
    column = TextColumn("c", ("0", "1", "false", "true"), np.array([0, 1, 2, 3, -1]))
    assert column.places(["false", "true"]).tolist() == [0, 1, 0, 1, -2]
    assert column.places(["0", "1"]).tolist() == [0, 1, 0, 1, -2]
    assert column.places(["0", "1", "2"]).tolist() == [0, 1, -1, -1, -2]


# --- The same rows in every format


def rows() -> dict[str, list[Any]]:
    n = 60
    return {
        "x": [halves(i) for i in range(n)],
        "count": [i * i % 17 for i in range(n)],
        "flag": [i % 3 == 0 for i in range(n)],
        "zone": [float(1 + i % 4) for i in range(n)],
        "half": [(1 + i % 3) / 2 for i in range(n)],
        "colour": [("red", "green", "blue")[i % 3] for i in range(n)],
    }


def csv_text(table: dict[str, list[Any]]) -> bytes:
    return pl.DataFrame({n: [str(v) for v in values] for n, values in table.items()}).write_csv().encode()


def write_all(folder: Path, table: dict[str, list[Any]]) -> list[str]:
    (folder / "t.csv").write_bytes(csv_text(table))
    frame = pl.DataFrame(table)
    frame.write_parquet(folder / "t.parquet")
    frame.write_csv(folder / "t.tsv", separator="\t")
    np.savez(folder / "t.npz", **{name: np.array(values) for name, values in table.items()})  # type: ignore[arg-type]
    return ["t.csv", "t.parquet", "t.npz", "t.tsv"]


TARGETS: dict[str, tuple[str, Callable[[int, float], object]]] = {
    "flags": ("", lambda i, x: x > 0),
    "whole numbers": ("task: classification\n", lambda i, x: int(x > 0) + (i % 2)),
    "whole floats": ("task: classification\n", lambda i, x: float(int(x > 0))),
    "words": ("", lambda i, x: "yes" if x > 0 else "no"),
    "yes or no": ("loss: binary_cross_entropy\n", lambda i, x: "yes" if x > 0 else "no"),
    "numbers": ("", lambda i, x: 3.5 * x + 0.25),
}


@pytest.mark.parametrize("target", TARGETS)
def test_the_same_rows_give_the_same_model_and_predictions(cli: Cli, spec: Write, tmp_path: Path, target: str) -> None:
    line, value = TARGETS[target]
    table = rows()
    table["y"] = [value(i, x) for i, x in enumerate(table["x"])]
    models, predictions, measures = [], [], []
    for name in write_all(tmp_path, table):
        spec(f"data: {{path: {name}, target: y, categorical: {{columns: [zone, half]}}}}\n{line}" + QUICK)
        cli("fit", "spec.yaml", "--out", f"run.{name}").succeeded()
        models.append(model_without_its_data(tmp_path / f"run.{name}"))
        predictions += [cli("predict", "run.t.csv", name).succeeded().out, cli("predict", f"run.{name}", "t.csv").out]
        for pair in (("run.t.csv", name), (f"run.{name}", "t.csv")):
            found = cli("evaluate", pair[0], "--data", pair[1], "--json").succeeded().json()
            measures.append(without_notes(found))
    assert all(model == models[0] for model in models)
    assert set(predictions) == {predictions[0]}
    assert all(measure == measures[0] for measure in measures)


def test_a_category_does_not_depend_on_its_neighbours(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """2.0 beside 2.5, and 2.0 in a table of whole numbers, are one category."""
    sizes = [(2.0, 2.5, 3.0)[i % 3] for i in range(60)]
    frame = pl.DataFrame({"size": sizes, "y": ["big" if size > 2.2 else "small" for size in sizes]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.filter(pl.col("size") != 2.5).write_parquet(tmp_path / "some.parquet")
    spec("data: {path: t.parquet, target: y, categorical: {columns: [size]}}\n" + LEARNS)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    outcome = cli("evaluate", "run", "--data", "some.parquet", "--json").succeeded()
    assert outcome.json()["metrics"]["accuracy"] == 1
    assert outcome.err == ""


def test_one_row_never_changes_what_another_becomes(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec("data: {path: t.parquet, target: y, categorical: {columns: [c]}}\n" + QUICK)
    frame = pl.DataFrame({"c": [float(i % 3) for i in range(40)], "y": [i % 3 + 0.5 for i in range(40)]})
    frame.write_parquet(tmp_path / "t.parquet")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    alone = cli("predict", "run", "t.parquet").succeeded().out.splitlines()
    pl.concat([frame, pl.DataFrame({"c": [1.5], "y": [0.5]})]).write_parquet(tmp_path / "more.parquet")
    assert cli("predict", "run", "more.parquet").succeeded().out.splitlines()[:41] == alone


def test_letters_may_be_composed_or_not(cli: Cli, spec: Write, tmp_path: Path) -> None:
    table = [(("café", "thé")[i % 2], "ab"[i % 2]) for i in range(60)]
    write_csv(tmp_path / "t.csv", "où,y", table)
    apart = (tmp_path / "t.csv").read_text().replace("où", unicodedata.normalize("NFD", "où"))
    (tmp_path / "apart.csv").write_text(unicodedata.normalize("NFD", apart))
    cli("fit", spec("data: {path: t.csv, target: y, features: ['où']}\n" + LEARNS), "--out", "run").succeeded()
    assert cli("predict", "run", "apart.csv") == cli("predict", "run", "t.csv").succeeded()


def test_a_column_that_is_unknown_throughout_is_another_column(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,y", [("ab"[i % 2], "no" if i % 2 else "yes") for i in range(40)])
    write_csv(tmp_path / "new.csv", "c,y", [("xyz"[i % 3], "no") for i in range(40)])
    cli("fit", spec("data: {path: t.csv, target: y}\n" + QUICK), "--out", "run").succeeded()
    for verb in (("predict", "run", "new.csv"), ("evaluate", "run", "--data", "new.csv")):
        cli(*verb).refused(3, "column 'c'", "did not see: 'x', 'y', 'z' in all 40 rows; the model knows 'a', 'b'")
    one = cli("predict", "run", "-", stdin=b"c\nx\n").succeeded()
    assert "1 unknown in 'c'" in one.err


def test_codes_keep_their_zeros(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Also where quotes within a name make polars read the header otherwise."""
    name = 'diameter 5"" code'
    rows = "".join(f"{halves(i)},{'007' if halves(i) > 0 else '012'}\n" for i in range(60))
    (tmp_path / "t.csv").write_text(f'x,"{name}"\n' + rows)
    quoted = json.dumps(name.replace('""', '"'))
    cli("fit", spec(f"data: {{path: t.csv, target: {quoted}}}\ntask: classification\n" + QUICK), "--out", "run")
    predicted = cli("predict", "run", "t.csv").succeeded().out.splitlines()
    assert predicted[0] == f'"{name}",probability_007,probability_012'
    assert {line.split(",")[0] for line in predicted[1:]} <= {"007", "012"}
    cli("evaluate", "run", "--data", "t.csv").succeeded()


@pytest.mark.parametrize("line", ["loss: cross_entropy\n", "task: classification\n"], ids=["loss", "task"])
def test_classes_some_of_which_are_numbers(cli: Cli, spec: Write, tmp_path: Path, line: str) -> None:
    write_csv(tmp_path / "t.csv", "x,grade", [(halves(i), ("K", "1", "2", "3")[i % 4]) for i in range(80)])
    data = "data: {path: t.csv, target: grade}\n"
    cli("fit", spec(data + QUICK)).refused(3, "holds numbers, but", "'K'", "'task: classification'")
    cli("fit", spec(data + line + QUICK), "--out", "run").succeeded()
    head = cli("predict", "run", "t.csv").succeeded().out.splitlines()[0]
    assert head == "grade,probability_1,probability_2,probability_3,probability_K"


def test_numbers_that_stand_for_no_value_in_any_spelling(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,y", [(("1", "2", "-999.0", "-999")[i % 4], "ab"[i % 2]) for i in range(40)])
    data = "data: {path: t.csv, target: y, missing_values: ['', '-999'], categorical: {columns: [c]}}\n"
    assert "20 missing in 'c'" in cli("fit", spec(data + QUICK), "--out", "run").succeeded().err


# --- Weights


def weighted(folder: Path, name: str, weight: Callable[[int], object], more: Sequence[tuple[object, ...]] = ()) -> Path:
    rows = [(halves(i), f"{3 * halves(i) + i % 5 / 10 + 0.25:.3f}", weight(i)) for i in range(60)]
    return write_csv(folder / name, "x,y,w", [*rows, *more])


def test_a_row_of_no_weight_is_no_row(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Neither its far values nor its missing target, its word among numbers or its own class say anything."""
    weighted(tmp_path, "clean.csv", lambda i: 1 + i % 3)
    junk = [("1e9", "1e12", 0), ("much", "2.5", 0), ("", "", 0), ("1", "word", "0.0"), ("-5", "-7", 0)]
    weighted(tmp_path, "dirty.csv", lambda i: 1 + i % 3, junk)
    for name in ("clean", "dirty"):
        spec(f"data: {{path: {name}.csv, target: y, sample_weight: w}}\ntraining: {{epochs: 5}}\n")
        outcome = cli("fit", "spec.yaml", "--out", name).succeeded()
        assert ("5 rows of weight 0 in 'w' left out" in outcome.err) == (name == "dirty")
    assert model_without_its_data(tmp_path / "clean") == model_without_its_data(tmp_path / "dirty")
    clean, dirty = summary(tmp_path / "clean"), summary(tmp_path / "dirty")
    for figure in ("results", "baselines", "warnings"):
        assert clean[figure] == dirty[figure]
    found = [
        cli("evaluate", "clean", "--data", f"{name}.csv", "--json").json()["metrics"] for name in ("clean", "dirty")
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("factor", [1e-300, 1e-50, 1e-42, 3.0, 1e50, 1e300])
def test_only_proportions_of_weights_count(cli: Cli, spec: Write, tmp_path: Path, factor: float) -> None:
    weighted(tmp_path, "plain.csv", lambda i: 1 + i % 3)
    weighted(tmp_path, "scaled.csv", lambda i: (1 + i % 3) * factor)
    results = []
    for name in ("plain", "scaled"):
        spec(f"data: {{path: {name}.csv, target: y, sample_weight: w}}\ntraining: {{epochs: 3}}\n")
        results.append(cli("fit", "spec.yaml", "--out", name, "--json").succeeded().json()["results"])
    for part in ("train", "validation", "test"):
        assert results[0][part] == pytest.approx(results[1][part], rel=1e-4)


@pytest.mark.filterwarnings("error")
def test_only_proportions_of_class_weights_count(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y,w", [(halves(i), "ab"[i % 5 > 2], 1 + i % 3) for i in range(60)])
    for number, (one, other) in enumerate((("1", "2"), ("8e307", "16e307"), ("1e-300", "2e-300"))):
        loss = f"loss: {{kind: cross_entropy, class_weight: {{a: {one}, b: {other}}}}}\n"
        spec(f"data: {{path: t.csv, target: y, sample_weight: w}}\n{loss}" + QUICK)
        cli("fit", "spec.yaml", "--out", f"run{number}").succeeded()
    results = [summary(tmp_path / f"run{number}")["results"]["test"] for number in range(3)]
    assert results[1] == pytest.approx(results[0], rel=1e-4)
    assert results[2] == pytest.approx(results[0], rel=1e-4)


@pytest.mark.filterwarnings("error")
def test_classes_that_cannot_be_balanced(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(halves(i), "ab"[i % 2], "1e-200" if i % 2 else "1") for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,y,w", rows)
    loss = "loss: {kind: cross_entropy, class_weight: balanced}\n"
    spec("data: {path: t.csv, target: y, sample_weight: w}\n" + loss + QUICK)
    cli("fit", "spec.yaml").refused(3, "the total weights of the classes differ too much to be balanced")


def test_a_part_without_weight_is_refused_before_training(cli: Cli, spec: Write, tmp_path: Path) -> None:
    weighted(tmp_path, "t.csv", lambda i: 1 if i < 3 else 0)
    spec("data: {path: t.csv, target: y, sample_weight: w}\n")
    cli("fit", "spec.yaml").refused(3, "leaves no row of 3", "data.split.validation")
    weighted(tmp_path, "t.csv", lambda i: 1)
    weighted(tmp_path, "v.csv", lambda i: 0)
    spec("data: {path: t.csv, target: y, sample_weight: w, validation_path: v.csv}\n")
    cli("fit", "spec.yaml").refused(3, "v.csv: sample weights in 'w' must be 0 or more, and not all 0")
    assert not (tmp_path / "runs").exists()


def test_rows_are_named_by_their_place_in_the_file(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Although those of no weight before them are gone."""
    weighted(tmp_path, "t.csv", lambda i: 0 if i < 10 else 1, [("much", "2.5", 1)])
    spec("data: {path: t.csv, target: y, sample_weight: w}\n")
    cli("fit", "spec.yaml").refused(3, "'much' in row 61")


def test_balanced_classes_are_balanced_by_weight(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y,w", [(halves(i), "ab"[i % 2], 1 + 2 * (i % 2)) for i in range(40)])
    data = "data: {path: t.csv, target: y, sample_weight: w, split: {validation: 0, test: 0}}\n"
    spec(data + "loss: {kind: cross_entropy, class_weight: balanced}\n" + QUICK)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    task = files.decode_model((tmp_path / "run" / "model.safetensors").read_bytes(), "m").transforms.task
    assert task.class_weights == pytest.approx((2, 2 / 3))  # of 80 in all, 20 are a and 60 are b


def test_the_loss_of_the_constant_model_has_the_weights(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """Class weights and row weights together: the best answer has the weighted shares of the classes."""
    rng = np.random.default_rng(0)
    labels, weights = np.array(["a", "b", "c"])[rng.integers(0, 3, 60)], rng.integers(0, 5, 60)
    lines = [f"{rng.standard_normal():.3f},{y},{w}" for y, w in zip(labels, weights, strict=True)]
    (tmp_path / "t.csv").write_text("x,y,w\n" + "\n".join(lines) + "\n")
    kappa = {"a": 1.0, "b": 3.0, "c": 0.5}
    spec(
        "data: {path: t.csv, target: y, sample_weight: w, test_path: t.csv, split: {validation: 0}}\n"
        f"loss: {{kind: cross_entropy, class_weight: {json.dumps(kappa)}}}\ntraining: {{epochs: 1}}\n"
    )
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    mass = np.array([(weights[labels == y] * kappa[y]).sum() for y in "abc"])
    shares = mass / mass.sum()
    assert summary(tmp_path / "run")["baselines"]["constant"]["loss"] == pytest.approx(
        -(shares @ np.log(shares)), rel=1e-6
    )


# --- What does not count, and what is left out


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "robust_clip", "quantile", "none"])
@pytest.mark.parametrize("value", ["0.1", "0.7", "0.3333333333333333", "14.62", "2023", "same"])
def test_a_column_that_does_not_vary_has_no_effect_later(
    cli: Cli, spec: Write, tmp_path: Path, scale: str, value: str
) -> None:
    later = "other" if value == "same" else f"{float(value) + 1}"
    for name, cell in (("t", value), ("later", later)):
        write_csv(tmp_path / f"{name}.csv", "x,k,y", [(halves(i), cell, 2 * halves(i) + 0.25) for i in range(40)])
    spec(f"data: {{path: t.csv, target: y, features: [x, k], numeric: {{scale: {scale}}}}}\n" + QUICK)
    fitted = cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "'k' is the same in every training row and has no effect" in fitted.err
    if value == "same":  # that every category is unknown is refused, so some are not
        (tmp_path / "later.csv").write_text((tmp_path / "later.csv").read_text().replace("other", "same", 1))
    plain, other = (cli("predict", "run", f"{name}.csv").succeeded().out for name in ("t", "later"))
    assert plain == other


@pytest.mark.parametrize("mixed", [False, True], ids=["pixels alone", "beside a column"])
def test_a_pixel_that_does_not_vary_has_no_effect_later(cli: Cli, spec: Write, tmp_path: Path, mixed: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (40, 5)).astype(np.uint8)
    pixels[:, 2] = 7
    beside: Any = {"x": rng.standard_normal(40)} if mixed else {}
    np.savez(tmp_path / "t.npz", p=pixels, y=pixels[:, 0] / 256, **beside)
    pixels[:, 2] = np.arange(40)
    np.savez(tmp_path / "later.npz", p=pixels, y=pixels[:, 0] / 256, **beside)
    cli("fit", spec("data: {path: t.npz, target: y}\n" + QUICK), "--out", "run").succeeded()
    assert cli("predict", "run", "later.npz").succeeded() == cli("predict", "run", "t.npz").succeeded()


@pytest.mark.parametrize(
    "scale", ["standard", "minmax", "robust", "robust_clip", "quantile", "{kind: quantile, knots: 5}", "none"]
)
@pytest.mark.parametrize("mixed", [False, True], ids=["pixels alone", "beside a column"])
def test_pixels_are_scaled_by_all_their_values(cli: Cli, spec: Write, tmp_path: Path, scale: str, mixed: bool) -> None:
    """As a column would be that holds every pixel of every training row."""
    from mlptrain.data.settings import Data
    from mlptrain.data.split import Split
    from mlptrain.dataset import Fit, examine, load_dataset
    from mlptrain.spec import yaml

    rng = np.random.default_rng(0)
    pixels = (rng.random((30, 8)) ** 4 * 255).astype(np.uint8)
    beside: Any = {"x": rng.standard_normal(30)} if mixed else {}
    np.savez(tmp_path / "t.npz", p=pixels, y=rng.standard_normal(30), **beside)
    settings: Any = yaml.parse(f"numeric: {{scale: {scale}}}\n", "test").plain()
    data = Data(path=str(tmp_path / "t.npz"), target=("y",), split=Split(validation=0, test=0), **settings)
    dataset = load_dataset(examine(data), Fit(data, None, np.float64, 0))
    training = dataset.training
    out = np.empty((30, training.features.width))
    training.features.gather(training.rows, out, training.features.byte_buffer(30))
    scaler = data.numeric.scale
    column = pixels.reshape(-1, 1).astype(np.float64)
    wanted = scaler.apply(column, scaler.fit(column)).reshape(30, 8)
    first = dataset.transforms.inputs.index("p[0]")
    np.testing.assert_allclose(out[:, first : first + 8], wanted, rtol=1e-9, atol=1e-9)


INDEXES: dict[str, tuple[str, Callable[[int], object]]] = {
    "no name": ("", lambda i: i + 7),
    "spaces": (" ", lambda i: i + 7),
    "of pandas": ("Unnamed: 0", lambda i: i + 7),
    "from 0": ("id", lambda i: i),
    "from 1": ("id", lambda i: i + 1),
    "from 1, as floats": ("id", lambda i: i + 1.0),
}


@pytest.mark.parametrize("case", INDEXES)
def test_what_numbers_the_rows_is_left_out(cli: Cli, spec: Write, tmp_path: Path, case: str) -> None:
    name, cell = INDEXES[case]
    rows = [(cell(i), halves(i), "ab"[halves(i) > 0]) for i in range(40)]
    write_csv(tmp_path / "t.csv", f"{name},x,y", rows)
    called = name if name.strip() else "Unnamed: 0"
    for column, inputs in (("", 1), (f", features: ['{called}', x]", 2), (f", numeric: {{columns: ['{called}']}}", 2)):
        spec(f"data: {{path: t.csv, target: y{column}}}\n" + QUICK)
        said = cli("fit", "spec.yaml").succeeded().err
        assert f"network {inputs}-64" in said
        assert (f"'{called}' left out: it numbers the rows" in said) == (inputs == 1)


def test_the_index_that_pandas_saved_is_left_out(cli: Cli, spec: Write, tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [halves(i) for i in range(40)], "key": [i * 3 for i in range(40)], "y": ["a", "b"] * 20})
    pandas = json.dumps({"index_columns": ["key"], "columns": []})
    frame.write_parquet(tmp_path / "t.parquet", metadata={"pandas": pandas})
    said = cli("fit", spec("data: {path: t.parquet, target: y}\n" + QUICK), "--out", "run").succeeded().err
    assert "'key' left out: it numbers the rows" in said
    frame.drop("key").write_parquet(tmp_path / "t.parquet")
    cli("predict", "run", "t.parquet").succeeded()


@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_a_column_without_a_name_is_left_out_of_every_format(
    cli: Cli, spec: Write, tmp_path: Path, suffix: str
) -> None:
    columns: dict[str, Any] = {
        "": [i + 7 for i in range(40)],
        "x": [halves(i) for i in range(40)],
        "y": ["a", "b"] * 20,
    }
    if suffix == "npz":
        np.savez(tmp_path / "t.npz", **columns)
    else:
        pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    said = cli("fit", spec(f"data: {{path: t.{suffix}, target: y}}\n" + QUICK)).succeeded().err
    assert "network 1-64" in said
    assert "'Unnamed: 0' left out" in said


def test_numbers_with_wide_gaps_are_no_identifiers(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(2 * i, 40 + i, halves(i), "ab"[halves(i) > 0]) for i in range(40)]
    write_csv(tmp_path / "t.csv", "gaps,start,x,y", rows)
    assert "network 3-64" in cli("fit", spec("data: {path: t.csv, target: y}\n" + QUICK)).succeeded().err


def test_counts_are_of_the_rows_that_are_used(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [
        ("" if i < 12 else halves(i), "" if i < 10 else "ab"[i % 2], "" if i < 14 else "cd"[i % 2]) for i in range(60)
    ]
    write_csv(tmp_path / "t.csv", "x,y,c", rows)
    said = cli("fit", spec("data: {path: t.csv, target: y, missing_target: drop}\n" + QUICK)).succeeded().err
    assert "10 rows without a target left out" in said
    assert "2 missing in 'x'" in said
    assert "4 missing in 'c'" in said


def test_a_hundred_rows_a_category_are_no_identifier(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(f"code {i % 120}", "ab"[i % 2]) for i in range(18_000)]
    write_csv(tmp_path / "t.csv", "dest,y", rows)
    spec("data: {path: t.csv, target: y}\ntraining: {epochs: 1, baselines: false, batch_size: 1024}\n")
    cli("fit", "spec.yaml").succeeded()
    write_csv(tmp_path / "t.csv", "dest,y", rows[:9000])
    said = cli("fit", "spec.yaml").succeeded().err
    assert "'dest' read as many categories: the 64 most frequent have an input each" in said
    cli("fit", "spec.yaml", "--set", "data.categorical.max_categories=100").refused(
        3, "'dest' has 120 categories in 6300 training rows", "min_count: ", "to allow 120 inputs for them"
    )


# --- Names of the output


def test_output_columns_have_different_names(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,probability_a", [(halves(i), "ab"[halves(i) > 0]) for i in range(40)])
    cli("fit", spec("data: {path: t.csv, target: probability_a}\n" + QUICK), "--out", "run").succeeded()
    frame = pl.read_csv(cli("predict", "run", "t.csv").succeeded().out.encode())
    assert frame.columns == ["probability_a", "probability_a_2", "probability_b"]
    assert set(frame["probability_a"]) <= {"a", "b"}


def test_quantiles_do_not_cross(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(120)
    write_csv(tmp_path / "t.csv", "x,y", [(f"{a:.3f}", f"{2 * a + rng.normal(0, 0.1):.3f}") for a in x])
    cli("fit", spec("data: {path: t.csv, target: y}\nloss: quantile\n" + QUICK), "--out", "run").succeeded()
    found = pl.read_csv(cli("predict", "run", "t.csv").succeeded().out.encode()).to_numpy()
    assert (np.diff(found, axis=1) >= 0).all()


# --- Files that are no tables, and tables that are read all the same


def workbook() -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("xl/workbook.xml", "<workbook/>")
    return raw.getvalue()


def zipped(name: str = "t.csv") -> bytes:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(name, "x,y\n1,2\n")
    return raw.getvalue()


OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "xlsx": (workbook(), "is an Excel workbook; save it as CSV"),
    "xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100), "is an Excel workbook; save it as CSV"),
    "zip": (zipped(), "is a zip archive (of t.csv); unpack it"),
    "ods": (zipped("content.xml"), "is an OpenDocument spreadsheet; save it as CSV"),
    "npz of something else": (zipped("x.npy"), "cannot be read as NPZ"),
    "npy": (b"\x93NUMPY\x01\0" + bytes(50), "is a single NumPy array"),
    "pickle": (pickle.dumps({"x": [1.5]}), "is a pickle"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "is an HDF5 file"),
    "sqlite": (b"SQLite format 3\0" + bytes(50), "is an SQLite database"),
    "feather": (b"ARROW1\0\0" + bytes(50), "is an Arrow file; save it as Parquet"),
    "bzip2": (bz2.compress(b"x,y\n1,2\n"), "is compressed with bzip2"),
    "xz": (lzma.compress(b"x,y\n1,2\n"), "is compressed with xz"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(50), "is compressed with Zstandard"),
    "gzip twice": (gzip.compress(gzip.compress(b"x,y\n1,2\n")), "is compressed with gzip twice"),
    "web page": (b"<!DOCTYPE html>\n<html><body>not found</body></html>\n", "is a web page"),
    "json": (b'[{"x": 1, "y": 2}]', "is JSON, which is not read"),
    "json, over several lines": (b'[\n  {"x": 1}\n]\n', "is JSON, which is not read"),
    "json lines": (b'{"x": 1, "y": "a"}\n{"x": 2, "y": "b"}\n', "is JSON, which is not read"),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_files_of_other_programs_are_refused_by_name(cli: Cli, spec: Write, classes: Path, kind: str) -> None:
    content, message = OTHER_FILES[kind]
    (classes.parent / "other").write_bytes(content)
    cli("fit", spec("data: {path: classes.csv, target: answer}\n" + QUICK), "--out", "run").succeeded()
    for verb in (("fit", "spec.yaml", "--set", "data.path=other"), ("predict", "run", "other")):
        cli(*verb).refused(3, f"other: {message}")


@pytest.mark.parametrize("letter", ["§", "¦", "þ", "ab", "", "\n", '"'])
def test_a_delimiter_is_one_ascii_character(cli: Cli, spec: Write, classes: Path, letter: str) -> None:
    spec(f"data: {{path: classes.csv, target: answer, delimiter: {json.dumps(letter)}}}\n")
    cli("fit", "spec.yaml").refused(2, "data.delimiter: must be one ASCII character")


def test_a_column_vector_is_a_column(cli: Cli, spec: Write, tmp_path: Path) -> None:
    x = np.array([[halves(i)] for i in range(40)])
    for name, y in (("numbers", (x > 0).astype(np.int64)), ("words", np.where(x > 0, "yes", "no"))):
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
        spec(f"data: {{path: {name}.npz, target: y}}\ntask: classification\n" + QUICK)
        cli("fit", "spec.yaml").succeeded()


def test_a_block_is_no_column_of_categories(cli: Cli, spec: Write, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=[halves(i) for i in range(40)], y=np.arange(80).reshape(40, 2) % 2)
    spec("data: {path: t.npz, target: y}\ntask: classification\n" + QUICK)
    cli("fit", "spec.yaml").refused(3, "column 'y' has 2 values a row; a column of categories has one")


def test_whole_numbers_of_128_bits_are_numbers(cli: Cli, spec: Write, tmp_path: Path) -> None:
    numbers = pl.Series([10**25 * (i % 7) for i in range(40)], dtype=pl.Int128)
    pl.DataFrame({"x": numbers, "y": ["a", "b"] * 20}).write_parquet(tmp_path / "t.parquet")
    assert "network 1-64" in cli("fit", spec("data: {path: t.parquet, target: y}\n" + QUICK)).succeeded().err


def test_whole_floats_beyond_64_bits_are_categories(cli: Cli, spec: Write, tmp_path: Path) -> None:
    pl.DataFrame({"c": [1e300, 2.0, 1e20] * 20, "y": ["a", "b", "a"] * 20}).write_parquet(tmp_path / "t.parquet")
    spec("data: {path: t.parquet, target: y, categorical: {columns: [c]}}\n" + QUICK)
    assert "network 4-64" in cli("fit", "spec.yaml").succeeded().err


def test_no_input_left(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "c,y", [(f"v{i % 30}", "ab"[i % 2]) for i in range(60)])
    spec("data: {path: t.csv, target: y, categorical: {min_count: 50, unknown: ignore}}\n" + QUICK)
    cli("fit", "spec.yaml").refused(3, "nothing is left to learn from", "'c'", "data.categorical.min_count")


def test_rare_categories_and_unknown_ones_that_are_errors(cli: Cli, spec: Write, classes: Path) -> None:
    spec("data: {path: classes.csv, target: answer, categorical: {min_count: 2, unknown: error}}\n")
    cli("fit", "spec.yaml").refused(2, "data.categorical.min_count", "unknown: error")


def test_what_no_file_could_hold_is_refused_before_training(
    cli: Cli, spec: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlptrain.dataset._MAX_RECORD", 20_000)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "t.npz", X=rng.standard_normal((40, 5)), y=rng.standard_normal(40))
    spec("data: {path: t.npz, target: y, numeric: {scale: {kind: quantile, knots: 1001}}}\n" + QUICK)
    cli("fit", "spec.yaml").refused(3, "the fitted encoder of column 'X'", "lower data.numeric.scale.knots")
    assert not (tmp_path / "runs").exists()
    cli("fit", "spec.yaml", "--set", "data.numeric.scale.knots=11").succeeded()


@pytest.mark.parametrize("target", ["0", "1"])
def test_one_class_as_numbers(cli: Cli, spec: Write, tmp_path: Path, target: str) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(halves(i), target) for i in range(40)])
    spec("data: {path: t.csv, target: y}\nloss: binary_cross_entropy\n" + QUICK)
    cli("fit", "spec.yaml").refused(3, f"target 'y' holds only one class: '{target}' in all 40 rows")
    write_csv(tmp_path / "t.csv", "x,y", [(halves(i), target if i else 1 - int(target)) for i in range(40)])
    cli("fit", "spec.yaml").refused(3, "1 of 2 classes in target 'y' have a single row")


MEANT: dict[str, tuple[list[str], str | None]] = {
    "short dates": ([f"{1 + i:02d}/01/24" for i in range(20)], "dates"),
    "months by name": ([f"{1 + i:02d}-Jan-2024" for i in range(20)], "dates"),
    "months first": ([f"January {1 + i}, 2024" for i in range(20)], "dates"),
    "with a time": ([f"2024-01-{1 + i:02d} 10:00:00" for i in range(20)], "dates"),
    "one word among dates": ([*(f"2024-01-{1 + i:02d}" for i in range(20)), "later"], "dates"),
    "dollars": ([f"${i}.50" for i in range(20)], "amounts with a unit"),
    "percent": ([f"{i}%" for i in range(20)], "amounts with a unit"),
    "in brackets": ([*(f"({i})" for i in range(20)), "(1.5)"], "amounts with a unit"),
    "spaced thousands": ([f"{i} 000" for i in range(1, 20)], "amounts with a unit"),
    "kilograms": ([f"{i} kg" for i in range(20)], "amounts with a unit"),
    "decimal commas": ([f"{i},5" for i in range(20)], "numbers with commas"),
    "a few discounts": (["10%", "20%", "30%"], None),
    "seats": ([f"{i}A" for i in range(20)], None),
    "ages": ([f"{10 * i}-{10 * i + 9}" for i in range(20)], None),
    "names": ([f"May {i} Flower" for i in range(20)], None),
    "codes": ([f"C{i}" for i in range(20)], None),
}


@pytest.mark.parametrize("case", MEANT)
def test_what_words_are_meant_as(case: str) -> None:
    words, meaning = MEANT[case]
    assert meant_as(words) == meaning


def test_a_robust_scale_of_mostly_zeros_is_the_deviation() -> None:
    from mlptrain.data.scalers import Robust

    values = np.zeros((100, 1))
    values[:9, 0] = np.arange(9) * 1e4
    fitted = Robust().fit(values)
    np.testing.assert_allclose(fitted, [[0.0], [values.std()]])


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_short_row_cannot_hide_behind_an_open_end(end: str) -> None:
    from mlptrain.errors import DataError

    for text in ("a,b,c\n1,2,3\n1,2\n1,2,3,", 'a,b,c\n"1",2,3\n1,2\n1,2,3,'):
        with pytest.raises(DataError, match="line 3 has 2 cells, the header 3"):
            parse_table((text + end).encode(), "t.csv")
    parse_table(f"a,b,c\n1,2,3\n1,2,{end}".encode(), "t.csv")


# --- Any file that says the same is read for a trained model


def test_another_delimiter_is_found(cli: Cli, spec: Write, classes: Path) -> None:
    cli("fit", spec("data: {path: classes.csv, target: answer}\n" + QUICK), "--out", "run").succeeded()
    text = classes.read_text()
    plain = cli("predict", "run", "classes.csv").succeeded().out
    measured = without_notes(cli("evaluate", "run", "--data", "classes.csv", "--json").succeeded().json())
    for mark in (";", "\t", "|"):
        raw = text.replace(",", mark).encode()
        (classes.parent / "other.txt").write_bytes(raw)
        assert cli("predict", "run", "other.txt").succeeded().out == plain
        assert cli("predict", "run", "-", stdin=raw).succeeded().out == plain
        for data, stdin in (("other.txt", b""), ("-", raw)):
            found = cli("evaluate", "run", "--data", data, "--json", stdin=stdin).succeeded().json()
            assert without_notes(found) == measured


def test_a_model_of_one_column_finds_it(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x;y", [(f"{halves(i)};{'ab'[i % 2]}",) for i in range(40)])
    cli("fit", spec("data: {path: t.csv, target: y, delimiter: ';'}\n" + QUICK), "--out", "run").succeeded()
    for text in ("x\n1\n", "x,more\n1,2\n", "x\tmore\n1\t2\n", "z;x\n2;1\n"):
        assert len(cli("predict", "run", "-", stdin=text.encode()).succeeded().out.splitlines()) == 2
    cli("predict", "run", "-", stdin=b"a;b\n1;2\n").refused(3, "columns that the model needs are missing: 'x'")


def test_a_column_without_a_value_is_filled_from_every_format(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(halves(i), 3 * halves(i), "uv"[i % 2], "ab"[i % 2]) for i in range(40)]
    write_csv(tmp_path / "t.csv", "x,z,c,y", rows)
    cli("fit", spec("data: {path: t.csv, target: y}\n" + QUICK), "--out", "run").succeeded()
    frame = pl.DataFrame({"x": [1.0] * 9, "z": [None] * 9, "c": [None] * 9})
    frame.write_parquet(tmp_path / "new.parquet")
    frame.write_csv(tmp_path / "new.csv")
    outcome = cli("predict", "run", "new.parquet").succeeded()
    assert outcome == cli("predict", "run", "new.csv").succeeded()
    assert "9 missing in 'z' filled from training" in outcome.err


def test_predictions_that_are_no_numbers_are_refused(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(f"{halves(i):.2f}", round(np.exp(2 * halves(i) + 1))) for i in range(60)])
    write_csv(tmp_path / "far.csv", "x,y", [("0", 3), ("1e6", 9), ("1e7", 9)])
    cli("fit", spec("data: {path: t.csv, target: y}\nloss: poisson\n" + LEARNS), "--out", "run").succeeded()
    for verb in (("predict", "run", "far.csv"), ("evaluate", "run", "--data", "far.csv")):
        cli(*verb).refused(3, "not finite in rows 2, 3")


def test_measuring_the_table_of_the_training_is_said(cli: Cli, spec: Write, classes: Path) -> None:
    cli("fit", spec("data: {path: classes.csv, target: answer}\n" + QUICK), "--out", "run").succeeded()
    said = cli("evaluate", "run", "--data", "classes.csv").succeeded().err
    assert "classes.csv is the table that the model was trained on: its metrics include training rows" in said
    (classes.parent / "new.csv").write_text(classes.read_text() + "1,1,red,yes\n")
    assert cli("evaluate", "run", "--data", "new.csv").succeeded().err == ""


@pytest.mark.parametrize("keys", ["'True': 2, 'False': 1", "'TRUE': 2, 'false': 1"])
def test_class_weights_name_a_class_in_any_spelling(cli: Cli, spec: Write, tmp_path: Path, keys: str) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 7, i % 3 == 0) for i in range(30)])
    loss = f"{{kind: cross_entropy, class_weight: {{{keys}}}}}"
    cli("fit", spec(f"data: {{path: t.csv, target: y}}\nloss: {loss}\ntraining: {{epochs: 1}}\n")).succeeded()


def test_a_target_of_numbers_and_words_is_asked_about(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 7, "?" if i % 12 == 0 else i % 5) for i in range(60)])
    path = spec("data: {path: t.csv, target: y}\ntraining: {epochs: 1, baselines: false}\n")
    message = cli("fit", path).refused(3, "target 'y' holds numbers, but", "'?'", "'task: classification'").err
    (line,) = re.findall(r"data: (\{.*?\}) if", message)
    changes = [("--set", f"data.{key}={json.dumps(value)}") for key, value in yaml.safe_load(line).items()]
    again = cli("fit", path, *(word for change in changes for word in change))
    again.refused(3, "holds whole numbers")  # what the other cells are is a question of its own


def test_classes_of_two_rows_leave_rows_for_every_part(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 7, f"class {i % 40}") for i in range(80)])
    said = cli("fit", spec("data: {path: t.csv, target: y}\n" + QUICK)).succeeded().err
    assert "rows: 56 train, 12 validation, 12 test" in said


def test_two_columns_that_are_not_there_are_named_together(cli: Cli, spec: Write, classes: Path) -> None:
    path = spec("data: {path: classes.csv, target: answer, exclude: [nope, nada]}\n")
    cli("fit", path).refused(3, "2 columns are not there: 'nope', 'nada'")


def numbered(count: int, shuffled: bool, gaps: bool) -> list[int]:
    """Identifiers from 1 on, in an order that has nothing to do with the rows if `shuffled`."""
    kept = [i for i in range(1, count + 1) if not (gaps and i % 17 == 0)]
    return sorted(kept, key=lambda i: i * 7919 % 1009) if shuffled else kept


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_identifiers_are_left_out_and_can_be_brought_back(
    cli: Cli, spec: Write, tmp_path: Path, shuffled: bool, gaps: bool
) -> None:
    ids = numbered(100, shuffled, gaps)
    write_csv(tmp_path / "t.csv", "id,x,y", [(i, k % 7, "ab"[k % 2]) for k, i in enumerate(ids)])
    text = "data: {path: t.csv, target: y%s}\ntraining: {epochs: 1, baselines: false}\n"
    assert "'id' left out: it numbers the rows" in cli("fit", spec(text % "")).succeeded().err
    brought_back = cli("fit", spec(text % ", numeric: {columns: [id]}")).succeeded().err
    assert "left out" not in brought_back
    assert "network 2-" in brought_back


def test_a_table_in_place_of_a_spec(cli: Cli, classes: Path) -> None:
    cli("explain", "classes.csv").refused(2, "classes.csv: a table", "mlptrain init classes.csv --target COLUMN")
