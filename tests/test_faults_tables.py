"""Is every fault in a table, and in what is measured on it, answered by the command itself?

Single kinds of tables are in `test_bad_input.py`, values in `test_values.py`, columns in `test_columns.py`; here are
the kinds of faults that users of other tools met and that are not there.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli import PROGRAM, Cli, Outcome, Row, Write, amounts_rows, classes_rows, contents, environment, summary, write_csv
from mlptrain.runs import checkpoint as files

QUICK = "training: {epochs: 2, batch_size: 8, baselines: false}\n"
DATA = "data: {path: classes.csv, target: answer}\n"
HEAD = "x1,x2,colour,answer"


def answers(rows: list[Row], cells: Callable[[int], object], column: int) -> list[Row]:
    """`rows` with other cells in one column."""
    return [(*row[:column], cells(i), *row[column + 1 :]) for i, row in enumerate(rows)]


# --- Tables that are refused


REFUSED: dict[str, tuple[str, list[Row], str, list[str]]] = {
    "dates declared numbers": (
        HEAD,
        answers(classes_rows(), lambda i: f"2024-01-{1 + i % 28:02d}", 0),
        "{path: t.csv, target: answer, numeric: {columns: [x1]}}",
        ["column 'x1'", "2024-01-01"],
    ),  # D18
    "a word far down": (
        HEAD,
        [*classes_rows() * 1250, ("abc", "1", "red", "yes"), *classes_rows()],
        "{path: t.csv, target: answer}",
        ["column 'x1'", "'abc' in row 50001"],
    ),  # D16
    "amounts that are words": (
        HEAD,
        classes_rows(),
        "{path: t.csv, target: colour}\nloss: mse",
        ["loss mse needs numbers", "'colour'"],
    ),  # D31
    "no target in a cell": (
        "x1,x2,price",
        [*amounts_rows(), ("1", "1", "nan")],
        "{path: t.csv, target: price}",
        ["target 'price' is missing in row 41"],
    ),
    "one of two targets in no cell": (
        "x1,x2,price",
        [*amounts_rows(), ("1", "", "2.5")],
        "{path: t.csv, target: [x2, price]}",
        ["target 'x2' is missing in row 41"],
    ),  # D33
    "an infinite target": (
        "x1,x2,price",
        [*amounts_rows(), ("1", "1", "1e400")],
        "{path: t.csv, target: price}",
        ["'price'", "row 41"],
    ),  # D13
    "a feature that is not there": (HEAD, classes_rows(), "{path: t.csv, target: answer, features: [x9]}", ["'x9'"]),
    "names without a name": (
        "x1,,,answer",
        classes_rows(),
        "{path: t.csv, target: answer, features: ['']}",
        ["''"],
    ),  # D11
    "a class in one row of a stratified split": (
        HEAD,
        [*classes_rows(), ("1", "1", "red", "maybe")],
        "{path: t.csv, target: answer}",
        ["'maybe'", "add rows"],
    ),  # D25
    "more folds than rows": (
        HEAD,
        classes_rows(6),
        "{path: t.csv, target: answer, split: {test: 0}}\nensemble: {members: 9, rows: folds}",
        [""],
    ),  # D22
}


@pytest.mark.parametrize(("head", "rows", "data", "fragments"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_cannot_be_used(
    cli: Cli, spec: Write, tmp_path: Path, head: str, rows: list[Row], data: str, fragments: list[str]
) -> None:
    write_csv(tmp_path / "t.csv", head, rows)
    spec(f"data: {data}\n" + QUICK)
    before = contents(tmp_path)
    outcome = cli("fit", "spec.yaml")
    outcome.refused(3, "t.csv", *fragments)
    assert contents(tmp_path) == before


# --- Tables that are as good as any


FINE: dict[str, tuple[str, list[Row], str]] = {
    "flags as words": (HEAD, answers(classes_rows(), lambda i: ("True", "False")[i % 3 % 2], 2), ""),  # D17
    "yes and no": (HEAD, answers(classes_rows(), lambda i: ("yes", "no")[i % 3 % 2], 2), ""),
    "fewer rows than a batch": (HEAD, classes_rows(14), ""),  # D22
    "a constant column": (HEAD, answers(classes_rows(), lambda i: "7", 0), ""),  # D19
    "numbers of every size": (
        HEAD,
        answers(answers(classes_rows(), lambda i: f"{i % 7}e30", 0), lambda i: f"{i % 5}e-320", 1),
        "",
    ),  # D21
    "names that differ in case": ("x,X,Colour,answer", classes_rows(), ""),  # D11
    "a thousand categories": (HEAD, answers(classes_rows() * 50, lambda i: f"c{i % 1000}", 2), ""),  # D46
    "a last batch of one row": (HEAD, classes_rows(25), "network: {hidden: [3], normalization: batch}\n"),  # H13
}


@pytest.mark.parametrize(("head", "rows", "more"), FINE.values(), ids=FINE)
def test_a_table_that_can_be_used(cli: Cli, spec: Write, tmp_path: Path, head: str, rows: list[Row], more: str) -> None:
    write_csv(tmp_path / "t.csv", head, rows)
    cli("fit", spec("data: {path: t.csv, target: answer}\n" + QUICK + more), "--out", "run").succeeded()
    losses = [found["loss"] for found in summary(tmp_path / "run")["results"].values()]
    assert np.isfinite(losses).all()
    assert len(cli("predict", "run", "t.csv").succeeded().out.splitlines()) == len(rows) + 1


@pytest.mark.parametrize("table", ["plain as gzip", "gzip as plain"])
def test_a_name_that_belies_its_content(cli: Cli, spec: Write, classes: Path, table: str) -> None:  # D40
    """What counts is the content, and the digest is that of the bytes that were read."""
    name = "t.csv.gz" if table == "plain as gzip" else "t.csv"
    raw = classes.read_bytes() if table == "plain as gzip" else gzip.compress(classes.read_bytes(), mtime=0)
    (classes.parent / name).write_bytes(raw)
    outcome = cli("fit", spec(f"data: {{path: {name}, target: answer}}\n" + QUICK), "--out", "run")
    assert outcome.code in (0, 3), outcome.err
    assert outcome.code == 0 or name in outcome.err
    if outcome.code == 0:
        assert hashlib.sha256(raw).hexdigest() in summary(classes.parent / "run")["fingerprint"].values()


def test_a_class_that_training_never_saw(cli: Cli, spec: Write, classes: Path) -> None:  # D26
    write_csv(classes.parent / "v.csv", HEAD, [*classes_rows(9), ("1", "1", "red", "perhaps")])
    for place in ("validation_path", "test_path"):
        spec(f"data: {{path: classes.csv, target: answer, {place}: v.csv}}\n" + QUICK)
        cli("fit", "spec.yaml").refused(3, "v.csv", "'perhaps' in row 10, which training did not see")


def test_nothing_is_fitted_to_rows_that_are_held_out(cli: Cli, spec: Write, classes: Path) -> None:  # D35
    """A category, a size and a missing value that only held-out rows have leave no trace in the model."""
    rows: list[Row] = [("900", "", "violet", "yes"), ("-900", "1", "red", "no")] * 5
    write_csv(classes.parent / "v.csv", HEAD, rows)
    data = "data: {{path: classes.csv, target: answer, validation_path: {}, test_path: v.csv}}\n"
    fitted = []
    for name, table in (("one", "v.csv"), ("other", "classes.csv")):
        cli("fit", spec(data.format(table) + QUICK), "--out", name, "--quiet").succeeded()
        raw = (classes.parent / name / "model.safetensors").read_bytes()
        fitted.append(files.decode(raw, name)[0].plan.transforms)
    assert fitted[0] == fitted[1]
    assert "violet" not in json.dumps(fitted[0].model_dump(mode="json"))


@pytest.mark.long
def test_a_hundred_thousand_columns(cli: Cli, tmp_path: Path) -> None:  # D43
    """Read, counted, and refused by the size of what they need, or trained on; never a process that dies."""
    ones = "1," * 100_000
    lines = [*(f"c{i}" for i in range(100_000)), "answer\n"]
    (tmp_path / "t.csv").write_text(",".join(lines) + f"{ones}yes\n{ones}no\n" * 5)
    (tmp_path / "spec.yaml").write_text("data: {path: t.csv, target: answer}\n" + QUICK)
    command = ["bash", "-c", f"ulimit -v 8000000; exec {PROGRAM} fit spec.yaml --quiet"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    Outcome(done.returncode, done.stdout, done.stderr).refused(3, "t.csv: no column is left to learn from")
    assert len(done.stderr) < 20_000


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet", "t.npz", "t-idx3-ubyte"])
def test_a_table_larger_than_the_memory(cli: Cli, spec: Write, tmp_path: Path, name: str) -> None:  # D43
    """Refused by its size, before it is read; the file is sparse."""
    with (tmp_path / name).open("wb") as file:
        file.truncate(1 << 43)
    cli("fit", spec(f"data: {{path: {name}, target: answer}}\n")).refused(
        3, f"{name}: 8,796,093,022,208 bytes need at least"
    )


def bomb_of_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(b"x,answer\n" + b"1,yes\n2,no\n" * 500_000, mtime=0))


def bomb_of_arrays(path: Path) -> None:
    np.savez_compressed(path, x=np.zeros((500_000, 2)), answer=np.array(["yes", "no"] * 250_000))


@pytest.mark.parametrize(("name", "write"), [("t.csv.gz", bomb_of_gzip), ("t.npz", bomb_of_arrays)])
def test_a_table_that_unpacks_to_more_than_the_memory(
    cli: Cli, spec: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, write: Callable[[Path], object]
) -> None:
    write(tmp_path / name)
    monkeypatch.setattr("mlptrain.data.tables.memory_size", lambda: 4 << 20)
    assert (tmp_path / name).stat().st_size < 1 << 20
    cli("fit", spec(f"data: {{path: {name}, target: answer}}\n")).refused(3, f"{name}: ", "bytes need at least")


# --- What is measured


def test_no_silent_overflow(cli: Cli, spec: Write, classes: Path) -> None:  # H07
    """With every floating-point warning an error; where NumPy's own may come, the code says so."""
    text = "network: {hidden: [4, 4], dropout: 0.2, normalization: batch}\nschedule: cosine\n"
    with np.errstate(all="raise", under="ignore"):
        cli("fit", spec(DATA + text + QUICK), "--out", "run").succeeded()
        cli("evaluate", "run").succeeded()
        cli("predict", "run", "classes.csv").succeeded()
        cli("fit", spec("preset: quick\n" + DATA), "--out", "quick", "--epochs", "3").succeeded()


def test_a_figure_of_zero_is_a_result(cli: Cli, spec: Write, classes: Path) -> None:  # I14
    cli("fit", spec(DATA + "training: {epochs: 60, baselines: false}\n"), "--out", "run", "--quiet").succeeded()
    swapped = {"yes": "no", "no": "yes"}
    predicted = cli("predict", "run", "classes.csv", "--labels-only").succeeded().out.splitlines()[1:]
    rows = [(*row[:3], swapped[label]) for row, label in zip(classes_rows(), predicted, strict=True)]
    write_csv(classes.parent / "wrong.csv", HEAD, rows)
    found = cli("evaluate", "run", "--data", "wrong.csv", "--json").succeeded().json()
    assert found["metrics"]["accuracy"] == 0
    assert list(found["metrics"])[:2] == ["loss", "accuracy"]


def test_a_target_far_beyond_those_of_training(cli: Cli, spec: Write, amounts: Path) -> None:  # H04
    """The loss has no value in the precision of the model; the errors in the units of the target have."""
    cli("fit", spec("data: {path: amounts.csv, target: price}\n" + QUICK), "--out", "run", "--quiet").succeeded()
    write_csv(amounts.parent / "far.csv", "x1,x2,price", [*amounts_rows(5), ("1", "1", "1e150")])
    found = cli("evaluate", "run", "--data", "far.csv", "--json").succeeded().json()["metrics"]
    assert found["loss"] is None
    assert found["mae"] == pytest.approx(1e150 / 6)


def test_the_history_grows_by_the_epoch_alone(cli: Cli, spec: Write, classes: Path) -> None:  # I13
    text = "training: {epochs: 3, batch_size: 1, baselines: false}\n"
    cli("fit", spec(DATA + text), "--out", "run", "--quiet").succeeded()
    assert summary(classes.parent / "run")["steps"] > 80
    for name in ("metrics.csv", "timings.csv"):
        assert len((classes.parent / "run" / name).read_text().splitlines()) == 4


def test_gradients_are_checked_in_double_precision(cli: Cli, spec: Write, classes: Path) -> None:  # H19
    """Whatever the spec trains in; the numbers are those of float64."""
    texts = [cli("gradcheck", spec(DATA + f"training: {{dtype: {dtype}}}\n")).succeeded().out for dtype in DTYPES]
    assert texts[0] == texts[1]


DTYPES = ("float32", "float64")


def test_a_longer_schedule_is_another_run(cli: Cli, spec: Write, classes: Path) -> None:  # G16
    """A spec with more epochs is refused, since the rates to come would differ; asked for by --epochs, it goes on."""
    cli("fit", spec(DATA + QUICK + "schedule: cosine\n"), "--out", "run", "--quiet").succeeded()
    path = classes.parent / "run" / "spec.yaml"
    text = path.read_text()
    path.write_text(text.replace("epochs: 2", "epochs: 4"))
    cli("fit", "--resume", "run").refused(4, "training.epochs was 2, is 4")
    path.write_text(text)
    cli("fit", "--resume", "run", "--epochs", "4", "--quiet").succeeded()
    assert summary(classes.parent / "run")["epochs"] == 4


@pytest.mark.parametrize("word", ["null", "0"])
def test_a_seed_repeats_a_run(cli: Cli, spec: Write, classes: Path, word: str) -> None:  # H30, I01, I05
    """Also in a process whose global generator somebody has used."""
    cli("fit", spec(DATA + QUICK + f"name: same\nseed: {word}\n"), "--out", "one", "--quiet").succeeded()
    np.random.seed(3)  # noqa: NPY002
    cli("fit", "one/spec.yaml", "--out", "other", "--quiet").succeeded()
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.csv"):
        assert (classes.parent / "one" / name).read_bytes() == (classes.parent / "other" / name).read_bytes()
