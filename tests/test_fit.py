"""Does `mlptrain fit` train on every kind of table, say what it did, and do the same again?"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import select
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from cli import (
    DATASETS,
    PROGRAM,
    Cli,
    Outcome,
    Row,
    Write,
    amounts_rows,
    classes_rows,
    contents,
    environment,
    metrics,
    run_process,
    same_bytes,
    summary,
    write_csv,
)
from mlptrain.runs.checkpoint import decode_checkpoint, decode_model
from mlptrain.spec import yaml

QUICK = "training: {epochs: 3, batch_size: 8, baselines: false}\n"
CLASSES = "data: {path: classes.csv, target: answer}\n" + QUICK
AMOUNTS = "data: {path: amounts.csv, target: price}\n" + QUICK
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")

RUN_FILES = ["checkpoint.safetensors", "metrics.csv", "model.safetensors", "spec.yaml", "summary.json", "timings.csv"]
COLUMNS = "epoch step train_loss penalty {}learning_rate gradient_norm gradient_norm.layers.0 gradient_norm.layers.1"
CLASS_NAMES = ["loss", "accuracy", "balanced_accuracy", "f1", "macro_f1", "log_loss", "roc_auc", "average_precision"]
CLASS_METRICS = "".join(f"validation_{name} " for name in CLASS_NAMES)
VALUE_METRICS = "validation_loss validation_rmse validation_mae validation_r2 "


def model_tensors(run: Path) -> dict[str, NDArray[Any]]:
    return dict(safetensors.numpy.load_file(run / "model.safetensors"))


def same_network(run: Path, other: Path, tolerance: float = 0.0) -> None:
    mine, theirs = model_tensors(run), model_tensors(other)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        np.testing.assert_allclose(theirs[name], tensor, rtol=tolerance, atol=tolerance, err_msg=name)


# --- A run's folder


def test_penguins_give_a_run_with_its_six_files(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec(f"data: {{path: {DATASETS / 'penguins.csv'}, target: species, exclude: [year]}}\ntraining: {{epochs: 3}}\n")
    cli("fit", "spec.yaml").succeeded()
    run = tmp_path / "runs" / "spec-0001"
    assert list(contents(run)) == RUN_FILES
    assert metrics(run)["epoch"] == ["0", "1", "2"]
    assert metrics(run)["step"] == ["8", "16", "24"]
    assert summary(run)["results"]["test"].keys() == set(CLASS_NAMES) - {"f1"}  # of two classes only
    assert summary(run)["baselines"].keys() == {"constant", "linear"}
    timings = [line.split(",") for line in (run / "timings.csv").read_text().splitlines()]
    assert [row[0] for row in timings] == ["epoch", "0", "1", "2"]
    assert timings[0] == ["epoch", "seconds", "rows_per_second"]


def test_two_lines_are_enough_for_a_good_model(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec(f"data: {{path: {DATASETS / 'penguins.csv'}, target: species}}\n")
    result = cli("fit", "spec.yaml", "--json").succeeded().json()
    assert result["results"]["test"]["accuracy"] > 0.9
    assert result["results"]["test"]["loss"] < result["baselines"]["constant"]["loss"] / 3


@pytest.mark.parametrize(
    ("text", "validation"),
    [
        (CLASSES, CLASS_METRICS),
        (AMOUNTS, VALUE_METRICS),
        (CLASSES.replace("answer}", "answer, split: {validation: 0, test: 0}}"), ""),
    ],
    ids=["classes", "amounts", "no validation"],
)
def test_columns_of_metrics(cli: Cli, spec: Write, classes: Path, amounts: Path, text: str, validation: str) -> None:
    cli("fit", spec(text), "--out", "run", "--set", "network.hidden=[4]").succeeded()
    assert list(metrics(classes.parent / "run")) == COLUMNS.format(validation).split()


def test_numbers_in_metrics_read_back_exactly(cli: Cli, spec: Write, classes: Path) -> None:
    run = classes.parent / "run"
    cli("fit", spec(CLASSES), "--out", run).succeeded()
    history = safetensors.numpy.load_file(run / "checkpoint.safetensors")["history"]
    written = list(metrics(run).values())
    for i, cells in enumerate(written):
        assert [float(cell) for cell in cells] == list(history[:, i])
    for cells in written[2:]:
        assert [repr(float(cell)) for cell in cells] == cells


def test_epoch_losses_follow_from_the_weights(cli: Cli, spec: Write, classes: Path) -> None:
    """With one batch an epoch, the train loss of epoch 1 is that of the weights that epoch 0 leaves behind."""
    text = CLASSES.replace("batch_size: 8", "batch_size: full").replace("epochs: 3", "epochs: {}")
    text = text.replace("answer}", "answer, split: {{validation: 0, test: 0}}}}").replace("data: {", "data: {{")
    text = text.replace("training: {", "training: {{").replace("false}\n", "false}}\n")
    for epochs in (1, 2):
        cli("fit", spec(text.format(epochs)), "--out", f"epochs{epochs}").succeeded()
    assert summary(classes.parent / "epochs1")["results"]["train"]["loss"] == pytest.approx(
        float(metrics(classes.parent / "epochs2")["train_loss"][1]), rel=1e-6
    )


def test_the_model_file_holds_the_best_weights(cli: Cli, spec: Write, amounts: Path) -> None:
    """A rate that is far too high at the end makes a later epoch worse than the best one."""
    run = amounts.parent / "run"
    overrides = ("--set", "optimizer={kind: adam, learning_rate: 0.3}", "--set", "training.epochs=12")
    cli("fit", spec(AMOUNTS), "--out", run, *overrides).succeeded()
    losses = [float(cell) for cell in metrics(run)["validation_loss"]]
    best = int(np.argmin(losses))
    assert best != len(losses) - 1, "the data of this test must make the last epoch worse"
    assert summary(run)["best_epoch"] == best
    assert summary(run)["results"]["validation"]["loss"] == losses[best]
    checkpoint = safetensors.numpy.load_file(run / "checkpoint.safetensors")
    for name, tensor in model_tensors(run).items():
        np.testing.assert_array_equal(tensor, checkpoint[f"best.{name}"])
        assert not np.array_equal(tensor, checkpoint[name])


@pytest.mark.parametrize("text", [CLASSES, AMOUNTS], ids=["classes", "amounts"])
def test_the_saved_spec_repeats_the_run(cli: Cli, spec: Write, classes: Path, amounts: Path, text: str) -> None:
    more = (
        "network: {hidden: [6, {width: 3, dropout: 0.2, normalization: null}], normalization: batch}\n"
        "optimizer: {kind: momentum, nesterov: true}\nschedule: {kind: cosine, warmup: 1}\npenalty: {l2: 1.0e-3}\n"
    )
    folder = classes.parent
    cli("fit", spec(text + more), "--out", "first").succeeded()
    cli("fit", "first/spec.yaml", "--out", "second").succeeded()
    same_bytes(folder / "first", folder / "second", (*RUN_FILES[:4],))
    cli("fit", "first/spec.yaml", "--out", "third", "--set", "training.epochs=2").succeeded()
    assert metrics(folder / "third")["epoch"] == ["0", "1"]


def test_two_runs_of_one_spec_give_the_same_bytes(cli: Cli, spec: Write, classes: Path) -> None:
    """In processes of their own, with other hash seeds, in other folders."""
    spec(CLASSES + "network: {dropout: 0.3}\n")
    for number in ("1", "2"):
        verb = ("fit", "spec.yaml", "--out", f"run{number}")
        run_process(*verb, folder=classes.parent, PYTHONHASHSEED=number).succeeded()
    cli("fit", "spec.yaml", "--out", "run3").succeeded()
    for number in ("2", "3"):
        same_bytes(classes.parent / "run1", classes.parent / f"run{number}")


def test_another_seed_gives_another_run(cli: Cli, spec: Write, classes: Path) -> None:
    for seed in (0, 1):
        cli("fit", spec(CLASSES), "--out", f"run{seed}", "--set", f"seed={seed}").succeeded()
    runs = [contents(classes.parent / f"run{seed}") for seed in (0, 1)]
    assert runs[0]["metrics.csv"] != runs[1]["metrics.csv"]


def test_seed_null_is_drawn_and_written_down(cli: Cli, spec: Write, classes: Path) -> None:
    folder = classes.parent
    for name in ("first", "second"):
        cli("fit", spec("seed: null\n" + CLASSES), "--out", name).succeeded()
    seeds = [yaml.load(folder / name / "spec.yaml")[1].plain() for name in ("first", "second")]
    drawn = [document["seed"] for document in seeds if isinstance(document, dict)]
    assert all(isinstance(seed, int) and 0 <= seed < 2**63 for seed in drawn)
    assert drawn[0] != drawn[1]
    cli("fit", "first/spec.yaml", "--out", "again").succeeded()
    same_bytes(folder / "first", folder / "again")


def test_fingerprint_and_environment_are_in_the_summary(cli: Cli, spec: Write, classes: Path) -> None:
    cli("fit", spec(CLASSES), "--out", "run").succeeded()
    written = summary(classes.parent / "run")
    assert written["fingerprint"] == {"path": hashlib.sha256(classes.read_bytes()).hexdigest()}
    assert written["environment"]["numpy"] == np.__version__
    assert written["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_is_that_of_every_tensor(cli: Cli, spec: Write, classes: Path, dtype: str) -> None:
    cli("fit", spec(CLASSES), "--out", "run", "--set", f"training.dtype={dtype}").succeeded()
    checkpoint = safetensors.numpy.load_file(classes.parent / "run" / "checkpoint.safetensors")
    assert {str(tensor.dtype) for name, tensor in checkpoint.items() if name != "history"} == {dtype}


# --- Where a run goes


def test_runs_are_numbered_by_name(cli: Cli, spec: Write, classes: Path) -> None:
    folder = classes.parent
    for taken in ("spec-0007", "spec-x", "other-0099", "spec-2-0050", "spec-0003"):
        (folder / "runs" / taken).mkdir(parents=True)
    (folder / "runs" / "spec-0008").write_text("a file has this name")
    for number in (9, 10):
        result = cli("fit", spec(CLASSES), "--json").succeeded().json()
        assert result["run"] == f"runs/spec-{number:04d}"
        assert (folder / result["run"] / "summary.json").exists()
    assert (folder / "runs" / "spec-0008").read_text() == "a file has this name"


@pytest.mark.parametrize(
    ("file", "line", "name"),
    [
        ("penguins.yaml", "", "penguins"),
        ("my spec (1).yaml", "", "my-spec--1"),
        ("ünï.yaml", "", "n"),
        ("...yaml", "", "run"),
        ("a.yaml", "name: iris_2\n", "iris_2"),
        ("a.yaml", "name: 2024-01-05\n", "2024-01-05"),
        ("a.yaml", "name: no\n", "no"),
    ],
    ids=str,
)
def test_a_run_is_called_after_its_spec(cli: Cli, classes: Path, file: str, line: str, name: str) -> None:
    (classes.parent / file).write_text(line + CLASSES)
    assert cli("fit", file, "--json").succeeded().json()["run"] == f"runs/{name}-0001"


def test_out_names_the_folder_and_paths_are_relative_to_the_spec(cli: Cli, spec: Write, tmp_path: Path) -> None:
    below = tmp_path / "specs"
    below.mkdir()
    write_csv(below / "classes.csv", "x1,x2,colour,answer", classes_rows())
    (below / "experiment.yaml").write_text(CLASSES)
    result = cli("fit", "specs/experiment.yaml", "--out", "my run", "--json").succeeded().json()
    assert result["run"] == "my run"
    assert list(contents(tmp_path / "my run")) == RUN_FILES
    assert not (tmp_path / "runs").exists()


def test_files_follow_the_umask(spec: Write, classes: Path) -> None:
    spec(CLASSES)
    command = f"umask 027; exec {PROGRAM} fit spec.yaml --out run --quiet"
    subprocess.run(["bash", "-c", command], cwd=classes.parent, env=environment(), check=True, capture_output=True)
    modes = {name: (classes.parent / "run" / name).stat().st_mode & 0o777 for name in RUN_FILES}
    assert modes == dict.fromkeys(RUN_FILES, 0o640)


# --- What is printed


def test_json_is_the_whole_of_stdout(cli: Cli, spec: Write, classes: Path) -> None:
    text = CLASSES.replace("baselines: false", "baselines: true")
    result = cli("fit", spec(text), "--out", "run", "--json").succeeded().json()
    decision = ["positive_class", "threshold"]
    assert list(result) == ["run", "stopped", "best_epoch", "results", "intervals", "baselines", *decision, "warnings"]
    assert list(result["results"]) == ["train", "validation", "test"]
    assert list(result["baselines"]) == ["constant", "linear"]
    written = summary(classes.parent / "run")
    for key in ("stopped", "best_epoch", "results", "intervals", "baselines", "warnings", *decision):
        assert result[key] == written[key]
    for warned in result["warnings"]:
        assert warned.keys() == {"name", "epoch", "message", "remedy"}


def test_json_without_held_out_rows(cli: Cli, spec: Write, classes: Path) -> None:
    text = CLASSES.replace("answer}", "answer, split: {validation: 0, test: 0}}")
    result = cli("fit", spec(text), "--json").succeeded().json()
    assert result["results"]["validation"] is None
    assert result["results"]["test"] is None
    assert result["results"]["train"]["accuracy"] >= 0
    assert result["best_epoch"] in (None, 2)
    assert result["baselines"] == {}


def test_results_on_stdout_and_the_rest_on_stderr(cli: Cli, spec: Write, classes: Path) -> None:
    outcome = cli("fit", spec(CLASSES), "--out", "run").succeeded()
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["train", "validation", "test"]
    assert [line.split()[0] for line in lines[1:9]] == CLASS_NAMES
    assert lines[-1] == "run"
    accuracy = summary(classes.parent / "run")["results"]["test"]["accuracy"]
    assert lines[2].split()[-1] == f"{accuracy:.4f}"
    assert "run: network 6-64-32-2, 2594 parameters, loss cross_entropy" in outcome.err
    assert "rows: 28 train, 6 validation, 6 test" in outcome.err
    assert "epoch 0  train_loss" in outcome.err
    assert "stopped after all 3 epochs" in outcome.err
    assert "epoch 0" not in outcome.out


def test_quiet_leaves_only_results(cli: Cli, spec: Write, classes: Path) -> None:
    outcome = cli("fit", spec(CLASSES), "--out", "run", "--quiet").succeeded()
    assert outcome.err == ""
    assert outcome.out.splitlines()[0].split() == ["train", "validation", "test"]


def test_progress_thins_out_where_there_is_no_terminal_and_ends_with_the_last_epoch(
    cli: Cli, spec: Write, classes: Path
) -> None:
    stopping = ("--set", "training.epochs=120", "--set", "training.early_stopping=null")
    outcome = cli("fit", spec(CLASSES), *stopping, "--set", "network.hidden=[2]").succeeded()
    shown = [int(line.split()[1]) for line in outcome.err.splitlines() if line.startswith("epoch ")]
    assert shown == [0, 1, 2, 5, 10, 20, 50, 100, 119]


@pytest.mark.parametrize("terminal", ["xterm-256color", "dumb"])
def test_no_control_codes_without_a_terminal(spec: Write, classes: Path, terminal: str) -> None:
    spec(CLASSES)
    verbs = ["fit spec.yaml --out run", "evaluate run", "predict run classes.csv"]
    for verb in verbs if terminal == "dumb" else verbs[:1]:
        outcome = run_process(*verb.split(), folder=classes.parent, TERM=terminal).succeeded()
        assert outcome.out
        assert not CONTROL.search(outcome.out + outcome.err)


def on_a_terminal(*arguments: object, folder: Path, **changes: str) -> str:
    """What a process shows whose stderr is a terminal; its stdout is a pipe."""
    ours, theirs = os.openpty()
    command = [*PROGRAM.split(), *map(str, arguments)]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        command, cwd=folder, env=environment(**changes), stdout=nothing, stderr=theirs, stdin=nothing
    )
    os.close(theirs)
    shown, end = b"", time.monotonic() + 60
    while time.monotonic() < end:
        if not select.select([ours], [], [], 0.05)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            shown += os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
    os.close(ours)
    assert process.wait(10) == 0
    return shown.decode()


LONGER = "--set=training.epochs=300", "--set=training.early_stopping=null", "--set=optimizer.learning_rate=0.3"


def test_a_terminal_shows_live_progress(spec: Write, classes: Path) -> None:
    shown = on_a_terminal("fit", spec(CLASSES), *LONGER, folder=classes.parent)
    assert "/300" in shown
    assert COLOUR.search(shown)


def test_no_color_is_obeyed_on_a_terminal(spec: Write, classes: Path) -> None:
    shown = on_a_terminal("fit", spec(CLASSES), *LONGER, folder=classes.parent, NO_COLOR="1")
    assert "/300" in shown
    assert not COLOUR.search(shown)


def test_quiet_is_obeyed_on_a_terminal(spec: Write, classes: Path) -> None:
    assert on_a_terminal("fit", spec(CLASSES), *LONGER, "--quiet", folder=classes.parent) == ""


# --- --set


def resolved(run: Path) -> Any:
    return yaml.load(run / "spec.yaml")[1].plain()


OVERRIDES: list[tuple[str, str, object]] = [
    ("training.epochs=2", "training.epochs", 2),
    ("optimizer.learning_rate=1e-2", "optimizer.learning_rate", 0.01),
    ("optimizer=sgd", "optimizer.kind", "sgd"),
    ("optimizer={kind: momentum, momentum: 0.5}", "optimizer.momentum", 0.5),
    ("network.hidden=[3]", "network.hidden.0.width", 3),
    ("network.hidden.1=5", "network.hidden.1.width", 5),
    ("network.hidden.0.activation=tanh", "network.hidden.0.activation.kind", "tanh"),
    ("network.hidden.0.dropout=0.25", "network.hidden.0.dropout", 0.25),
    ("network.activation.slope=0.3", "network.activation.slope", 0.3),
    ("training.early_stopping=null", "training.early_stopping", None),
    ("training.early_stopping.patience=7", "training.early_stopping.patience", 7),
    ("schedule=cosine", "schedule.kind", "cosine"),
    ("name=other", "name", "other"),
    ("data.exclude=[colour]", "data.exclude", ("colour",)),
]


@pytest.mark.parametrize(("override", "path", "value"), OVERRIDES, ids=[row[0] for row in OVERRIDES])
def test_set_changes_one_setting(cli: Cli, spec: Write, classes: Path, override: str, path: str, value: object) -> None:
    spec(CLASSES + "network: {hidden: [4, 3], activation: leaky_relu}\n")
    cli("fit", "spec.yaml", "--out", "run", "--set", override).succeeded()
    found = resolved(classes.parent / "run")
    for part in path.split("."):
        found = found[int(part) if part.isdigit() else part]
    assert found == value


def test_set_wins_over_the_file_and_is_repeatable(cli: Cli, spec: Write, classes: Path) -> None:
    spec("seed: 1\n" + CLASSES)
    overrides = "--set", "seed=5", "--set", "training.epochs=1", "--set", "name=x"
    cli("fit", "spec.yaml", "--out", "run", *overrides).succeeded()
    document = resolved(classes.parent / "run")
    assert (document["seed"], document["training"]["epochs"], document["name"]) == (5, 1, "x")
    cli("fit", spec("seed: 5\nname: x\n" + CLASSES.replace("epochs: 3", "epochs: 1")), "--out", "file").succeeded()
    same_bytes(classes.parent / "run", classes.parent / "file")


def test_a_later_set_of_a_whole_component_does_not_lose_an_earlier_one(cli: Cli, spec: Write, classes: Path) -> None:
    orders = ("optimizer=sgd", "optimizer.learning_rate=0.5"), ("optimizer.learning_rate=0.5", "optimizer=sgd")
    for i, (one, other) in enumerate(orders):
        outcome = cli("fit", spec(CLASSES), "--out", f"run{i}", "--set", one, "--set", other)
        if outcome.code:
            outcome.refused(2, "optimizer")
        else:
            assert resolved(classes.parent / f"run{i}")["optimizer"] == {"learning_rate": 0.5, "kind": "sgd"}


# --- Formats


def numbers_and_labels() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Thirty pictures of 2 by 2 bytes and three labels."""
    pixels = ((np.arange(120) * 37) % 251).astype(np.uint8).reshape(30, 2, 2)
    return pixels, np.arange(30, dtype=np.uint8) % 3


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def frame(pixels: NDArray[Any], labels: NDArray[Any]) -> pl.DataFrame:
    columns = {f"p{i}": pixels.reshape(len(pixels), -1)[:, i] for i in range(4)}
    return pl.DataFrame(columns | {"label": labels})


def write_format(folder: Path, kind: str) -> str:
    """Write the same numbers as `kind`; the lines that name the files in the spec."""
    pixels, labels = numbers_and_labels()
    table = frame(pixels, labels)
    if kind == "csv":
        table.write_csv(folder / "t.csv")
    elif kind == "quoted csv":
        text = table.write_csv(quote_style="always")
        (folder / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    elif kind == "csv.gz":
        (folder / "t.csv").write_bytes(gzip.compress(table.write_csv().encode()))
    elif kind in ("tsv", "tsv.gz"):
        raw = table.write_csv(separator="\t").encode()
        (folder / f"t.{kind}").write_bytes(gzip.compress(raw) if kind.endswith("gz") else raw)
    elif kind == "semicolons":
        table.write_csv(folder / "t.csv", separator=";")
    elif kind == "parquet":
        table.write_parquet(folder / "t.parquet")
    elif kind == "npz columns":
        arrays: dict[str, Any] = {series.name: series.to_numpy() for series in table}
        np.savez(folder / "t.npz", **arrays)
    elif kind == "npz floats":
        np.savez_compressed(folder / "t.npz", X=pixels.reshape(30, 4).astype(np.float64), label=labels)
    elif kind == "npz pixels":
        np.savez(folder / "t.npz", X=pixels, label=labels)
    else:
        suffix = "-ubyte.gz" if kind == "idx.gz" else "-ubyte"
        for name, array in (("images", pixels), ("labels", labels)):
            raw = idx(array)
            (folder / (name + suffix)).write_bytes(gzip.compress(raw) if kind == "idx.gz" else raw)
        return f"path: images{suffix}, target_path: labels{suffix}"
    extra = ", delimiter: ';'" if kind == "semicolons" else ""
    return f"path: {next(iter(folder.glob('t.*'))).name}, target: label{extra}"


FORMATS = ["quoted csv", "csv.gz", "tsv", "tsv.gz", "semicolons", "parquet"]
FORMATS += ["npz columns", "npz floats", "npz pixels", "idx", "idx.gz"]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_model(cli: Cli, tmp_path: Path, kind: str) -> None:
    """Without scaling, since pixels share one scale where columns have their own. Bytes are scaled batch by batch."""
    rest = "loss: cross_entropy\nnetwork: {hidden: [3], activation: tanh}\n" + QUICK
    for folder, name in ((tmp_path / "first", "csv"), (tmp_path / "second", kind)):
        folder.mkdir()
        files = write_format(folder, name)
        (folder / "spec.yaml").write_text(f"data: {{{files}, numeric: {{scale: none}}}}\n" + rest)
        cli("fit", folder / "spec.yaml", "--out", folder / "run").succeeded()
    same_network(tmp_path / "first" / "run", tmp_path / "second" / "run", 1e-6 if "idx" in kind or "npz" in kind else 0)


@pytest.mark.parametrize("kind", ["csv.gz", "parquet", "npz columns", "npz floats"])
def test_every_format_is_scaled_alike(cli: Cli, tmp_path: Path, kind: str) -> None:
    rest = "loss: cross_entropy\nnetwork: {hidden: [3], activation: tanh}\n" + QUICK
    for folder, name in ((tmp_path / "first", "csv"), (tmp_path / "second", kind)):
        folder.mkdir()
        (folder / "spec.yaml").write_text(f"data: {{{write_format(folder, name)}}}\n" + rest)
        cli("fit", folder / "spec.yaml", "--out", folder / "run").succeeded()
    same_network(tmp_path / "first" / "run", tmp_path / "second" / "run", 1e-5)


def test_idx_and_npz_pixels_are_the_same_to_the_byte(cli: Cli, tmp_path: Path) -> None:
    for kind in ("idx", "idx.gz", "npz pixels"):
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "spec.yaml").write_text(f"data: {{{write_format(folder, kind)}}}\nloss: cross_entropy\n" + QUICK)
        cli("fit", folder / "spec.yaml", "--out", folder / "run").succeeded()
    for kind in ("idx.gz", "npz pixels"):
        same_network(tmp_path / "idx" / "run", tmp_path / kind / "run")
        same_bytes(tmp_path / "idx" / "run", tmp_path / kind / "run", ("metrics.csv",))


def test_separate_idx_files_for_validation_and_test(cli: Cli, tmp_path: Path) -> None:
    pixels, labels = numbers_and_labels()
    spans = {"": slice(0, 18), "validation_": slice(18, 24), "test_": slice(24, 30)}
    lines = ""
    for part, span in spans.items():
        (tmp_path / f"{part}images").write_bytes(idx(pixels[span]))
        (tmp_path / f"{part}labels").write_bytes(idx(labels[span]))
        lines += f"{part}path: {part}images, {part}target_path: {part}labels, "
    (tmp_path / "spec.yaml").write_text(f"data: {{{lines}}}\nloss: cross_entropy\n" + QUICK)
    outcome = cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "rows: 18 train, 6 validation, 6 test" in outcome.err
    assert len(summary(tmp_path / "run")["fingerprint"]) == 6


# --- Separate files, missing values, targets


def test_separate_files_are_the_parts(cli: Cli, tmp_path: Path) -> None:
    rows = amounts_rows(40)
    for name, part in (("train", rows[:28]), ("validation", rows[28:34]), ("test", rows[34:])):
        write_csv(tmp_path / f"{name}.csv", "x1,x2,price", part)
    files = "data: {path: train.csv, target: price, validation_path: validation.csv, test_path: test.csv}\n"
    (tmp_path / "spec.yaml").write_text(files + QUICK)
    assert "rows: 28 train, 6 validation, 6 test" in cli("fit", "spec.yaml", "--out", "run").succeeded().err
    for name in ("test", "validation", "train"):
        measured = cli("evaluate", "run", "--data", f"{name}.csv", "--json").succeeded().json()
        assert measured["metrics"] == pytest.approx(summary(tmp_path / "run")["results"][name], rel=1e-12)


def test_a_separate_test_file_leaves_the_share_of_validation(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "train.csv", "x1,x2,price", amounts_rows(40))
    write_csv(tmp_path / "test.csv", "price,x2,x1", [row[::-1] for row in amounts_rows(9)])
    (tmp_path / "spec.yaml").write_text("data: {path: train.csv, target: price, test_path: test.csv}\n" + QUICK)
    assert "rows: 34 train, 6 validation, 9 test" in cli("fit", "spec.yaml").succeeded().err


def test_missing_values_are_counted(cli: Cli, spec: Write, tmp_path: Path) -> None:
    path = DATASETS / "penguins.csv"
    spec(f"data: {{path: {path}, target: species}}\ntraining: {{epochs: 1, baselines: false}}\n")
    outcome = cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "2 missing in 'bill_length_mm' filled from training" in outcome.err
    assert "11 missing in 'sex'" in outcome.err
    assert len(summary(tmp_path / "run")["notes"]) == 5


def test_a_constant_column_does_no_harm(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,same,price", [(a, b, 7, c) for a, b, c in amounts_rows()])
    (tmp_path / "spec.yaml").write_text("data: {path: t.csv, target: price}\n" + QUICK)
    result = cli("fit", "spec.yaml", "--json").succeeded().json()
    assert np.isfinite(result["results"]["test"]["loss"])


def test_a_row_without_a_target_is_refused(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [*classes_rows(), ("1", "2", "red", ""), ("1", "2", "red", "NA")]
    write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", rows)
    outcome = cli("fit", spec(CLASSES))
    outcome.refused(3, "classes.csv", "target 'answer' is missing in rows 41, 42", "missing_target: drop")


def test_a_row_without_a_target_can_be_dropped(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """The others then give what a table without that row gives."""
    rows = classes_rows()
    write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", rows)
    cli("fit", spec(CLASSES), "--out", "whole").succeeded()
    write_csv(tmp_path / "classes.csv", "x1,x2,colour,answer", [*rows[:9], ("9", "9", "red", "NA"), *rows[9:]])
    outcome = cli("fit", spec(CLASSES), "--out", "dropped", "--set", "data.missing_target=drop").succeeded()
    assert "1 row without a target left out" in outcome.err
    same_network(tmp_path / "whole", tmp_path / "dropped")
    same_bytes(tmp_path / "whole", tmp_path / "dropped", ("metrics.csv",))


def test_several_labels(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(a, b, int(float(str(a)) > 0), "t" if float(str(b)) > 0 else "f") for a, b, _ in amounts_rows()]
    write_csv(tmp_path / "t.csv", "x1,x2,right,upper", rows)
    spec("data: {path: t.csv, target: [right, upper]}\nloss: binary_cross_entropy\n" + QUICK.replace("3", "40"))
    outcome = cli("fit", "spec.yaml", "--out", "run", "--set", "optimizer.learning_rate=0.02").succeeded()
    assert "network 2-64-32-2" in outcome.err
    results = summary(tmp_path / "run")["results"]
    assert results["train"]["accuracy"] > 0.9
    table = pl.read_csv(cli("predict", "run", "t.csv").succeeded().out.encode())
    assert table.columns == ["right", "probability_right", "upper", "probability_upper_t"]
    truth = pl.DataFrame(rows, schema=["x1", "x2", "right", "upper"], orient="row")
    both = ((table["right"] == truth["right"]) & (table["upper"] == truth["upper"])).to_numpy().mean()
    whole = 28 * results["train"]["accuracy"] + 6 * results["validation"]["accuracy"] + 6 * results["test"]["accuracy"]
    assert both == pytest.approx(whole / 40)


def test_several_amounts(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(a, b, c, f"{float(str(a)) / 1000 + 0.5:.5f}") for a, b, c in amounts_rows()]
    write_csv(tmp_path / "t.csv", "x1,x2,price,share", rows)
    spec("data: {path: t.csv, target: [price, share]}\n" + QUICK.replace("3", "60"))
    cli("fit", "spec.yaml", "--out", "run", "--set", "optimizer.learning_rate=0.02").succeeded()
    assert summary(tmp_path / "run")["results"]["train"]["r2"] > 0.9
    table = pl.read_csv(cli("predict", "run", "t.csv").succeeded().out.encode())
    assert table.columns == ["price", "share"]
    assert abs(float(table["price"].to_numpy().mean()) - 1000) < 100
    assert abs(float(table["share"].to_numpy().mean()) - 0.5) < 0.01


def test_whole_numbers_as_classes_in_their_order(cli: Cli, spec: Write, tmp_path: Path) -> None:
    labels = {"red": 10, "green": 9, "blue": -2}
    rows = [(a, b, colour, labels[str(colour)]) for a, b, colour, _ in classes_rows()]
    write_csv(tmp_path / "t.csv", "x1,x2,colour,grade", rows)
    cli("fit", spec("data: {path: t.csv, target: grade}\nloss: cross_entropy\n" + QUICK), "--out", "run").succeeded()
    head = cli("predict", "run", "t.csv").succeeded().out.splitlines()[0]
    assert head == "grade,probability_-2,probability_9,probability_10"


def test_whole_numbers_as_amounts(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,count", [(a, b, round(float(str(c)))) for a, b, c in amounts_rows()])
    cli("fit", spec("data: {path: t.csv, target: count}\nloss: mse\n" + QUICK), "--out", "run").succeeded()
    assert summary(tmp_path / "run")["results"]["test"].keys() == {"loss", "rmse", "mae", "r2"}


def test_numbers_declared_categories(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,zone,answer", [(a, i % 3, c) for i, (a, _, _, c) in enumerate(classes_rows())])
    spec("data: {path: t.csv, target: answer, categorical: {columns: [zone]}}\n" + QUICK)
    assert "network 5-64-32-2" in cli("fit", "spec.yaml").succeeded().err  # x1, three zones, one for unknown ones


def test_the_words_na_and_none_can_be_categories(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(a, ("NA", "None", "-")[i % 3], c) for i, (a, _, _, c) in enumerate(classes_rows())]
    write_csv(tmp_path / "t.csv", "x1,country,answer", rows)
    spec("data: {path: t.csv, target: answer, missing_values: ['']}\n" + QUICK)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    model = decode_model((tmp_path / "run" / "model.safetensors").read_bytes(), "model")
    assert model.transforms.encoders[1].model_dump()["categories"] == ("-", "NA", "None")


# --- Stopping, starting, configurations


def test_early_stopping(cli: Cli, spec: Write, classes: Path) -> None:
    """No gain of the loss is larger than 100, so training ends when the patience does."""
    stopping = "--set", "training.early_stopping={patience: 2, min_delta: 100}", "--set", "training.epochs=50"
    outcome = cli("fit", spec(CLASSES), "--out", "run", *stopping).succeeded()
    written = summary(classes.parent / "run")
    assert written["stopped"] == "early_stopping"
    assert (written["epochs"], metrics(classes.parent / "run")["epoch"]) == (3, ["0", "1", "2"])
    losses = [float(cell) for cell in metrics(classes.parent / "run")["validation_loss"]]
    assert written["best_epoch"] == int(np.argmin(losses))
    assert "stopped after 3 epochs: validation_loss did not improve for 2" in outcome.err


@pytest.mark.parametrize("monitor", ["train_loss", "validation_accuracy", "validation_roc_auc"])
def test_the_monitor_chooses_the_best_epoch(cli: Cli, spec: Write, classes: Path, monitor: str) -> None:
    overrides = "--set", f"training.early_stopping.monitor={monitor}", "--set", "training.epochs=15"
    cli("fit", spec(CLASSES), "--out", "run", *overrides).succeeded()
    values = [float(cell) for cell in metrics(classes.parent / "run")[monitor]]
    best = int(np.argmin(values) if monitor == "train_loss" else np.argmax(values))
    assert summary(classes.parent / "run")["best_epoch"] == best


def test_training_starts_from_the_weights_of_another_run(cli: Cli, spec: Write, classes: Path) -> None:
    cli("fit", spec(CLASSES), "--out", "first").succeeded()
    start = "network.initializer={kind: from_file, path: first/model.safetensors}"
    tiny = "--set", "optimizer={kind: sgd, learning_rate: 1e-12}", "--set", "training.epochs=1"
    cli("fit", spec(CLASSES), "--out", "second", "--set", start, *tiny).succeeded()
    same_network(classes.parent / "first", classes.parent / "second", 1e-6)


CONFIGURATIONS = {
    "linear": "network: {hidden: []}",
    "sigmoid output": "network: {output_activation: sigmoid}\nloss: mse",
    "layer norm": "network: {hidden: [8], normalization: layer, activation: silu}",
    "batch norm": "network: {hidden: [8, {width: 4, normalization: null}], normalization: batch}",
    "adagrad, clipped": "optimizer: adagrad\ntraining: {epochs: 3, batch_size: 1, clip_norm: 0.5, baselines: false}",
    "full batch": "optimizer: sgd\ntraining: {epochs: 3, batch_size: full, shuffle: false, baselines: false}",
    "float64, l1": "penalty: {l1: 0.01}\ntraining: {epochs: 3, dtype: float64, baselines: false}",
    "mae, minmax": "loss: mae\nnetwork: {hidden: [{width: 4, activation: {kind: leaky_relu, slope: 0.2}}]}",
}


@pytest.mark.parametrize("text", CONFIGURATIONS.values(), ids=CONFIGURATIONS)
def test_many_configurations_train(cli: Cli, spec: Write, amounts: Path, text: str) -> None:
    quick = "" if "training:" in text else QUICK
    spec("data: {path: amounts.csv, target: price, numeric: {scale: minmax}}\n" + text + "\n" + quick)
    result = cli("fit", "spec.yaml", "--json").succeeded().json()
    assert result["stopped"] == "epochs"
    assert np.isfinite([result["results"][part]["loss"] for part in ("train", "validation", "test")]).all()


def test_the_checkpoint_of_a_finished_run_says_so(cli: Cli, spec: Write, classes: Path) -> None:
    cli("fit", spec(CLASSES), "--out", "run").succeeded()
    path = classes.parent / "run" / "checkpoint.safetensors"
    progress = decode_checkpoint(path.read_bytes(), str(path)).state.progress
    assert (progress.epoch, progress.batch, progress.step, progress.stopped) == (3, 0, 12, "epochs")


# --- When training goes wrong


def test_divergence_is_said_and_saved(spec: Write, amounts: Path) -> None:
    spec(AMOUNTS + "optimizer: {kind: sgd, learning_rate: 1.0e+30}\n")
    outcome = run_process("fit", "spec.yaml", "--out", "run", folder=amounts.parent)
    assert (outcome.code, outcome.out) == (6, "")
    assert "\nmlptrain: training diverged in epoch 0, step " in outcome.err
    assert "optimizer: {learning_rate: " in outcome.err
    assert "Traceback" not in outcome.err
    assert "checkpoint.safetensors" in contents(amounts.parent / "run")
    assert run_process("evaluate", "run", folder=amounts.parent).code == 0


def test_divergence_is_one_message(spec: Write, amounts: Path) -> None:
    spec(AMOUNTS + "optimizer: {kind: sgd, learning_rate: 1.0e+30}\n")
    outcome = run_process("fit", "spec.yaml", folder=amounts.parent)
    assert "RuntimeWarning" not in outcome.err


OUTLIERS = {"score nan": ("1e300", "0", "1.5"), "loss inf": ("0", "0", "1e25")}


def with_outlier(row: Row, part: str, folder: Path) -> Outcome:
    """A run whose validation or test rows give a loss that is not finite, while the training rows are fine."""
    write_csv(folder / "outlier.csv", "x1,x2,price", [*amounts_rows(9), row])
    (folder / "spec.yaml").write_text(AMOUNTS.replace("price}", f"price, {part}_path: outlier.csv}}"))
    return run_process("fit", "spec.yaml", "--out", "run", folder=folder)


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("row", OUTLIERS.values(), ids=OUTLIERS)
def test_an_outlier_in_held_out_rows_is_no_bug_of_ours(amounts: Path, row: Row, part: str) -> None:
    outcome = with_outlier(row, part, amounts.parent)
    assert outcome.code in (0, 3, 6), outcome.err
    assert "a bug in mlptrain" not in outcome.err
    if outcome.code == 0:
        assert summary(amounts.parent / "run")["results"][part]["loss"] is None


def test_a_run_with_an_infinite_validation_loss_is_saved(amounts: Path) -> None:
    with_outlier(OUTLIERS["loss inf"], "validation", amounts.parent)
    assert "checkpoint.safetensors" in contents(amounts.parent / "run")
