"""Is every mistake of a user answered by one message that names the place and the remedy, with nothing left behind?"""

from __future__ import annotations

import gzip
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cli import PROGRAM, Cli, Outcome, Write, amounts_rows, classes_rows, contents, environment, run_process, write_csv
from mlptrain.cli.app import OTHER_WORDS, app

DATA = "data: {path: classes.csv, target: answer}\n"
QUICK = "training: {epochs: 1, baselines: false}\n"
Case = tuple[str, str]


def refuses(cli: Cli, folder: Path, code: int, *fragments: str, verb: tuple[object, ...] = ("fit", "spec.yaml")) -> str:
    """Run `verb`, which must be refused and leave the folder as it was."""
    before = contents(folder)
    outcome = cli(*verb).refused(code, *fragments)
    assert contents(folder) == before
    assert not (folder / "runs").exists(), "a run was begun"
    return outcome.err


# --- Settings: each is answered with line and column, the setting's path and the remedy


SETTINGS: dict[str, Case] = {
    # unknown keys
    "optimiser: adam": ("2:1 optimiser", "unknown key; did you mean 'optimizer'?"),
    "optimizer: {learning-rate: 0.1}": ("2:13 optimizer.learning-rate", "did you mean 'learning_rate'?"),
    "network: {hidden: [{width: 3, activaton: relu}]}": ("2:31 network.hidden.0.activaton", "'activation'?"),
    "loss: {kind: cross_entropy, label_smooting: 0.1}": ("2:29 loss.label_smooting", "'label_smoothing'?"),
    "learning_rate: 0.1": ("2:1 learning_rate", "did you mean optimizer.learning_rate?"),
    "optimizer: {kind: sgd, beta1: 0.9}": ("2:24 optimizer.beta1", "unknown key; valid here: learning_rate"),
    "penalty: {weight_decay: 1}": ("2:11 penalty.weight_decay", "valid here: l1, l2"),
    "loss: {kind: mse, label_smoothing: 0.1}": (
        "2:19 loss.label_smoothing",
        "unknown key; valid here: kind; remove it, or choose a kind that has it: binary_cross_entropy, cross_entropy",
    ),
    "loss: {kind: mse, class_weight: balanced}": (
        "2:19 loss.class_weight",
        "remove it, or choose a kind that has it: cross_entropy, focal",
    ),
    "resume: true": ("2:1 resume", "unknown key; did you mean 'preset'?"),
    # the wrong type
    "optimizer: {learning_rate: true}": ("2:28 optimizer.learning_rate", "must be a number, got the boolean true"),
    "training: {epochs: true}": ("2:20 training.epochs", "must be a whole number, got the boolean true"),
    "training: {epochs: yes}": ("2:20 training.epochs", "must be a whole number, got the text 'yes'"),
    "training: {epochs: '5'}": ("2:20 training.epochs", "got the text '5'"),
    "training: {epochs: 5.0}": ("2:20 training.epochs", "must be a whole number, got 5.0"),
    "training: {epochs: [5]}": ("2:20 training.epochs", "got a list"),
    "training: {epochs: ~}": ("2:20 training.epochs", "must be a whole number, got null"),
    "training: {shuffle: 1}": ("2:21 training.shuffle", "must be true or false, got 1"),
    "training: {shuffle: no}": ("2:21 training.shuffle", "must be true or false, got the text 'no'"),
    "name: 3": ("2:7 name", "must be text; put it in quotes, got 3"),
    "network: {hidden: 8}": ("2:19 network.hidden", "must be a list, got 8"),
    "network: {hidden: [8.5]}": ("2:20 network.hidden.0", "got 8.5"),
    "network: {hidden: [[8]]}": ("2:20 network.hidden.0", "got a list"),
    "network: {dropout: [0.1]}": ("2:20 network.dropout", "must be a number, got a list"),
    "optimizer: {learning_rate: '1e-3'}": ("2:28 optimizer.learning_rate", "got the text '1e-3'"),
    "optimizer:\n  learning_rate: 1,5": ("3:18 optimizer.learning_rate", "got the text '1,5'"),
    "penalty: {l1: x}": ("2:15 penalty.l1", "must be a number, got the text 'x'"),
    "training:": ("2:10 training", "must be a mapping of settings, got null"),
    "network: relu": ("2:10 network", "must be a mapping of settings, got the text 'relu'"),
    "network: {activation: 3}": ("2:23 network.activation", "must be one of these"),
    "network: {activation: {slope: 0.1}}": ("2:23 network.activation", "needs a 'kind', one of: identity"),
    # out of range
    "training: {epochs: 0}": ("2:20 training.epochs", "must be at least 1, got 0"),
    "training: {epochs: -1}": ("2:20 training.epochs", "must be at least 1, got -1"),
    f"training: {{epochs: 1{'0' * 30}}}": ("2:20 training.epochs", "must be at most 1e+09"),
    "training: {batch_size: 0}": ("2:24 training.batch_size", "'full'; got 0"),
    "training: {batch_size: all}": ("2:24 training.batch_size", "'full'; got 'all'"),
    "training: {batch_size: 1000000000000}": ("2:24 training.batch_size", "from 1 to 2147483648"),
    "training: {clip_norm: 0}": ("2:23 training.clip_norm", "must be greater than 0, got 0"),
    "training: {clip_norm: -1}": ("2:23 training.clip_norm", "must be greater than 0, got -1"),
    "training: {dtype: float16}": ("2:19 training.dtype", "must be 'float32' or 'float64'"),
    "training: {dtype: float128}": ("2:19 training.dtype", "must be 'float32' or 'float64'"),
    "training: {early_stopping: {patience: 0}}": ("2:39 training.early_stopping.patience", "at least 1"),
    "training: {early_stopping: {min_delta: -1}}": ("2:40 training.early_stopping.min_delta", "at least 0"),
    "network: {hidden: [0]}": ("2:20 network.hidden.0.width", "must be at least 1, got 0"),
    "network: {hidden: [4, {width: -3}]}": ("2:31 network.hidden.1.width", "must be at least 1, got -3"),
    "network: {hidden: [1000000001]}": ("2:20 network.hidden.0.width", "must be at most 1e+06"),
    "network: {dropout: -0.1}": ("2:20 network.dropout", "must be at least 0, got -0.1"),
    "network: {dropout: 1.0}": ("2:20 network.dropout", "must be less than 1, got 1.0"),
    "network: {dropout: .nan}": ("2:20 network.dropout", "must be finite, got nan"),
    "network: {hidden: [{width: 4, dropout: 1}]}": ("2:40 network.hidden.0.dropout", "less than 1"),
    "optimizer: {learning_rate: 0}": ("2:28 optimizer.learning_rate", "must be greater than 0, got 0"),
    "optimizer: {learning_rate: .inf}": ("2:28 optimizer.learning_rate", "must be finite, got inf"),
    "optimizer: {learning_rate: 1e400}": ("2:28 optimizer.learning_rate", "must be finite, got inf"),
    "optimizer: {kind: momentum, momentum: 1.0}": ("2:39 optimizer.momentum", "must be less than 1"),
    "optimizer: {kind: momentum, momentum: -0.1}": ("2:39 optimizer.momentum", "must be at least 0"),
    "optimizer: {beta1: 1.0}": ("2:20 optimizer.beta1", "must be less than 1, got 1.0"),
    "optimizer: {beta2: 1.5}": ("2:20 optimizer.beta2", "must be less than 1, got 1.5"),
    "optimizer: {eps: -1}": ("2:18 optimizer.eps", "must be at least 0, got -1"),
    "penalty: {l2: -1}": ("2:15 penalty.l2", "must be at least 0, got -1"),
    "loss: {kind: cross_entropy, label_smoothing: 1.0}": ("2:46 loss.label_smoothing", "less than 1"),
    "loss: {kind: cross_entropy, label_smoothing: -0.1}": ("2:46 loss.label_smoothing", "at least 0"),
    "schedule: {kind: cosine, warmup: -1}": ("2:34 schedule.warmup", "must be at least 0, got -1"),
    "schedule: {kind: cosine, floor: 2}": ("2:33 schedule.floor", "must be at most 1, got 2"),
    "seed: -1": ("2:7 seed", "must be at least 0, got -1"),
    "seed: 18446744073709551616": ("2:7 seed", "must be less than 9.22337e+18"),
    "seed: 1.5": ("2:7 seed", "must be a whole number, got 1.5"),
    "seed: abc": ("2:7 seed", "must be a whole number, got the text 'abc'"),
    "seed: [1]": ("2:7 seed", "must be a whole number, got a list"),
    "seed: true": ("2:7 seed", "got the boolean true"),
    # names
    "name: a/b": ("2:7 name", "'a/b' cannot name a folder; use letters"),
    "name: ..": ("2:7 name", "'..' cannot name a folder"),
    "name: ''": ("2:7 name", "'' cannot name a folder"),
    f"name: {'a' * 101}": ("2:7 name", "up to 100 of them"),
    "loss: crossentropy": ("2:7 loss", "unknown kind 'crossentropy'; did you mean 'cross_entropy'? the kinds are: "),
    "loss: softmax": ("2:7 loss", "unknown kind 'softmax'; the kinds are: mse"),
    "optimizer: Adam": ("2:12 optimizer", "unknown kind 'Adam'; did you mean 'adam'?"),
    "optimizer: 'sgd '": ("2:12 optimizer", "unknown kind 'sgd '; did you mean 'sgd'?"),
    "optimizer: {kind: adamm}": ("optimizer", "unknown kind 'adamm'; did you mean 'adam'?"),
    "network: {activation: ReLU}": ("2:23 network.activation", "did you mean 'relu'?"),
    "network: {normalization: batchnorm}": ("2:26 network.normalization", "did you mean 'batch_norm'?"),
    "network: {initializer: kaiming}": ("2:24 network.initializer", "he_uniform (kaiming_uniform)"),
    "schedule: stepwise": (
        "2:11 schedule",
        "unknown kind 'stepwise'; did you mean 'step'? the kinds are: constant, step, ",
    ),
    # what does not go together
    "optimizer: {kind: momentum, momentum: 0, nesterov: true}": (
        "2:52 optimizer.nesterov",
        "needs momentum above 0: give momentum a value, or remove nesterov",
    ),
    "loss: {kind: quantile, quantiles: [0.9, 0.1]}": ("2:35 loss.quantiles", "must be strictly increasing"),
    "optimizer: {eps: 0}": ("2:18 optimizer.eps", "cannot be 0 together with eps_root"),
    "loss: cross_entropy\nnetwork: {output_activation: sigmoid}": ("3:30 network.output_activation", "its own link"),
    "schedule: {kind: cosine, warmup: 300}": ("2:34 schedule.warmup", "training.epochs is 200; make it shorter"),
    "network: {hidden: [4, {width: 3, residual: true}]}": ("network.hidden.1.residual", "needs equal widths"),
    "training: {clip_norm: 1.0, clip_value: 1.0}": ("2:40 training.clip_value", "together with clip_norm; choose one"),
    "task: regression\nloss: cross_entropy": ("3:7 loss", "does not go with task: regression, whose loss is mse"),
    "loss: poisson\ntask: classification": ("2:7 loss", "does not go with task: classification, whose loss is cross"),
    "network: {normalization: batch}\ntraining: {batch_size: 1}": ("3:24 training.batch_size", "at least two rows"),
}


def setting_id(text: str) -> str:
    return text.replace("\n", " | ")[:70]


@pytest.mark.parametrize(("text", "case"), SETTINGS.items(), ids=[setting_id(text) for text in SETTINGS])
def test_a_wrong_setting(cli: Cli, spec: Write, classes: Path, text: str, case: Case) -> None:
    spec(DATA + text + "\n")
    place, words = case
    message = refuses(cli, classes.parent, 2, f"spec.yaml:{place}: " if place[0].isdigit() else place, words)
    assert re.search(r"\n +\d+ \| .*\n +\| +\^\n", message), "the line is shown with a caret"


DATA_SETTINGS: dict[str, Case] = {
    "{}": ("spec.yaml:1:1 data.path", "is missing"),
    "{target: answer}": ("spec.yaml:1:1 data.path", "is missing"),
    "{path: classes.csv}": ("spec.yaml:1:1 data.target", "name the column to predict, as in 'target: species'"),
    "classes.csv": ("spec.yaml:1:7 data", "must be a mapping of settings, got the text 'classes.csv'"),
    "[]": ("spec.yaml:1:7 data", "must be a mapping of settings, got a list"),
    "{path: '', target: answer}": ("spec.yaml:1:14 data.path", "at least 1 character"),
    "{path: 3, target: answer}": ("spec.yaml:1:14 data.path", "must be text"),
    "{path: 'https://host/t.csv', target: answer}": (
        "spec.yaml:1:14 data.path",
        "is a URL; only files on this machine",
    ),
    "{path: 'file:///t.csv', target: answer}": ("spec.yaml:1:14 data.path", "is a URL"),
    "{path: classes.csv, target: [answer, answer]}": ("data.target", "names 'answer' twice"),
    "{path: classes.csv, target: []}": ("data.target", "names no column"),
    "{path: classes.csv, target: answer, features: []}": ("data.features", "at least 1"),
    "{path: classes.csv, target: answer, features: [x1, answer]}": ("data.features", "'answer' is the target"),
    "{path: classes.csv, target: answer, features: [x1, x1]}": ("data.features", "names 'x1' twice"),
    "{path: classes.csv, target: answer, features: [x1], exclude: [x2]}": ("data.exclude", "together with features"),
    "{path: classes.csv, target: answer, split: 0.2}": ("data.split", "must be a mapping of settings, got 0.2"),
    "{path: classes.csv, target: answer, split: {validaton: 0.1}}": (
        "data.split.validaton",
        "did you mean 'validation'?",
    ),
    "{path: classes.csv, target: answer, split: {validation: 1.0}}": ("data.split.validation", "must be less than 1"),
    "{path: classes.csv, target: answer, split: {test: -0.1}}": ("data.split.test", "must be at least 0"),
    "{path: classes.csv, target: answer, split: {validation: 0.6, test: 0.5}}": (
        "data.split",
        "together take 1.1 of the rows",
    ),
    "{path: classes.csv, target: answer, delimiter: ';;'}": ("data.delimiter", "must be one ASCII character"),
    "{path: classes.csv, target: answer, test_target_path: t.csv}": (
        "data.test_target_path",
        "needs test_path beside it",
    ),
    "{path: classes.csv, target: answer, missing_target: keep}": ("data.missing_target", "must be 'error' or 'drop'"),
    "{path: classes.csv, target: answer, numeric: {columns: [x1]}, categorical: {columns: [x1]}}": (
        "data.categorical.columns",
        "'x1' is in numeric.columns too",
    ),
    "{path: classes.csv, target: answer, numeric: {columns: [x1, answer]}}": (
        "spec.yaml:1:62 data.numeric.columns",
        "'answer' is the target, which the task reads; remove it here, and write task: regression to predict",
    ),
    "{path: classes.csv, target_path: t.csv, numeric: {columns: [label]}}": (
        "data.numeric.columns",
        "'label' is the target",
    ),
    "{path: classes.csv, target: [x1, answer], encoders: {x1: number, answer: category}}": (
        "spec.yaml:1:64 data.encoders.x1: is the target, which the task encodes; remove it here",
        "data.encoders.answer: is the target",
    ),
    "{path: classes.csv, target: answer, numeric: {columns: [x1]}, encoders: {x1: category}}": (
        "spec.yaml:1:84 data.encoders.x1",
        "is category, but 'x1' is in numeric.columns too; remove one of the two",
    ),
    "{path: classes.csv, target: answer, numeric: {scale: unity}}": (
        "data.numeric.scale",
        "the kinds are: standard, minmax, ",
    ),
    "{path: classes.csv, target: answer, scale_target: standard}\nloss: cross_entropy": (
        "data.scale_target",
        "remove the line",
    ),
    "{path: classes.csv, target: answer, split: {validation: 0}}\ntraining: {early_stopping: {patience: 3}}": (
        "spec.yaml:2:28 training.early_stopping",
        "no rows are held out: set data.split.validation above 0, or monitor train_loss",
    ),
}


@pytest.mark.parametrize(("text", "case"), DATA_SETTINGS.items(), ids=[setting_id(text) for text in DATA_SETTINGS])
def test_wrong_data_settings(cli: Cli, spec: Write, classes: Path, text: str, case: Case) -> None:
    spec(f"data: {text}\n")
    refuses(cli, classes.parent, 2, *case)


@pytest.mark.parametrize(
    "more", ["numeric: {columns: [x1]}, encoders: {x1: number}", "categorical: {columns: [answer]}"]
)
def test_settings_that_agree(cli: Cli, spec: Write, classes: Path, more: str) -> None:
    spec(f"data: {{path: classes.csv, target: answer, {more}}}\ntraining: {{epochs: 1}}\n")
    cli("fit", "spec.yaml").succeeded()


def test_data_is_required(cli: Cli, spec: Write, classes: Path) -> None:
    spec("name: x\n")
    refuses(cli, classes.parent, 2, "spec.yaml:1:1 data: is missing")


def test_all_missing_keys_at_once(cli: Cli, spec: Write, classes: Path) -> None:
    spec("data: {}\n")
    refuses(cli, classes.parent, 2, "data.path", "data.target")


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(cli: Cli, spec: Write, classes: Path) -> None:
    text = "network:\n  hiden: [3]\n  activation: rellu\ntraining:\n  epoch: 3\n  batch_size: -1\n"
    text += "optimizer: {kind: adamm}\n"
    message = refuses(cli, classes.parent, 2) if spec(text + DATA.replace("answer", "3")) else ""
    places = re.findall(r"spec\.yaml:(\d+):\d+ (\S+):", message)
    assert [path for _, path in places] == [
        "network.hiden",
        "network.activation",
        "training.epoch",
        "training.batch_size",
        "optimizer",
        "data.target.0" if "data.target.0" in message else "data.target",
    ]
    assert [int(line) for line, _ in places] == [2, 3, 5, 6, 7, 8]


def test_many_mistakes_are_counted(cli: Cli, spec: Write, classes: Path) -> None:
    spec(DATA + "".join(f"key{i}: 1\n" for i in range(30)))
    message = refuses(cli, classes.parent, 2, "key0: unknown key", "key19: unknown key", "... and 10 more")
    assert "key20" not in message


def test_mistakes_are_found_before_data_is_read(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec("data: {path: nowhere.csv, target: y}\ntraining: {epochs: 0}\n")
    refuses(cli, tmp_path, 2, "training.epochs")


@pytest.mark.parametrize("monitor", ["val_loss", "validation_rmse", "accuracy", "validation_loss "])
def test_a_monitor_that_is_not_computed(cli: Cli, spec: Write, classes: Path, monitor: str) -> None:
    spec(DATA + f"training: {{early_stopping: {{monitor: '{monitor}'}}}}\n")
    refuses(cli, classes.parent, 2, "training.early_stopping.monitor", f"'{monitor}'", "train_loss, validation_loss")


LATE: dict[str, tuple[str, str]] = {
    "monitor": ("training: {early_stopping: {monitor: val_loss}}", "spec.yaml:2:38 training.early_stopping.monitor"),
    "output_activation": ("network: {output_activation: sigmoid}", "spec.yaml:2:30 network.output_activation"),
}


@pytest.mark.parametrize(("text", "place"), LATE.values(), ids=LATE)
def test_mistakes_that_need_the_data_have_a_place(cli: Cli, spec: Write, classes: Path, text: str, place: str) -> None:
    spec(DATA + text + "\n")
    refuses(cli, classes.parent, 2, place)


# --- --set


SET: dict[str, str] = {
    "training.epoch=3": "--set training.epoch=3: training.epoch: unknown key; did you mean 'epochs'?",
    "nam.e=3": "nam: unknown key; did you mean 'name'?",
    "training.epochs=": "no value after '='; write null for none",
    "training.epochs": "expected KEY=VALUE, as in --set optimizer.learning_rate=0.01",
    "=3": "expected KEY=VALUE",
    "optimizer..learning_rate=3": "expected KEY=VALUE",
    "training.epochs=x": "--set training.epochs=x: training.epochs: must be a whole number, got the text 'x'",
    "training.epochs=0": "training.epochs: must be at least 1, got 0",
    "training.epochs=[1": "the list opened on line 1 is not closed",
    "training.epochs=*x": "aliases are not allowed",
    "network.hidden.7=3": "there is no item 7 in the file to change",
    "training.epochs.more=3": "training.epochs",
    "data.path=http://host/t.csv": "is a URL",
    "optimizer.momentum=0.5": "optimizer.momentum: unknown key",
}


@pytest.mark.parametrize(("override", "message"), SET.items(), ids=SET)
def test_a_wrong_override(cli: Cli, spec: Write, classes: Path, override: str, message: str) -> None:
    spec(DATA + "optimizer: adam\nnetwork: {hidden: [3]}\n")
    refuses(cli, classes.parent, 2, message, verb=("fit", "spec.yaml", "--set", override))


def test_an_override_given_twice(cli: Cli, spec: Write, classes: Path) -> None:
    spec(DATA)
    twice = ("--set", "training.epochs=3", "--set", "training.epochs=4")
    refuses(cli, classes.parent, 2, "--set training.epochs is given twice", verb=("fit", "spec.yaml", *twice))


def test_an_override_with_a_strange_digit(cli: Cli, spec: Write, classes: Path) -> None:
    spec(DATA)
    refuses(cli, classes.parent, 2, "network.hidden", verb=("fit", "spec.yaml", "--set", "network.hidden.²=3"))


# --- The command line and its paths


USAGE: dict[str, tuple[str, int, str]] = {
    "no config": ("fit", 2, "fit needs a config: mlptrain fit config.yaml"),
    "no such spec": ("fit spec.yml", 2, "spec.yml: No such file or directory; did you mean spec.yaml?"),
    "a folder": ("fit folder", 2, "folder: a folder, but a spec is a YAML file"),
    "a run": ("fit run", 2, "run: is a run's folder; to continue it: mlptrain fit --resume run"),
    "a model": ("fit run/model.safetensors", 2, "a safetensors file, such as a model or checkpoint"),
    "a pipe": ("fit pipe", 2, "pipe: a pipe, socket or device"),
    "a device": ("fit /dev/zero", 2, "/dev/zero: a pipe, socket or device"),
    "out is a run": ("fit spec.yaml --out run", 2, "run: exists already"),
    "out is a file": ("fit spec.yaml --out classes.csv", 2, "classes.csv: exists already"),
    "out is here": ("fit spec.yaml --out .", 2, ".: exists already"),
    "out is the root": ("fit spec.yaml --out /", 2, "/: exists already"),
    "out has no parent": ("fit spec.yaml --out a/b", 5, "a/b: cannot be created: No such file or directory"),
    "out is below a file": ("fit spec.yaml --out classes.csv/run", 5, "cannot be created: Not a directory"),
    "evaluate a spec": ("evaluate spec.yaml", 2, "spec.yaml: is a spec"),
    "evaluate nothing": ("evaluate nothing", 4, "nothing: no such file"),
    "evaluate a folder": ("evaluate folder", 4, "folder: is not the folder of a run"),
    "evaluate a table": (
        "evaluate classes.csv",
        2,
        "classes.csv: is a table; evaluate and predict take a run's folder",
    ),
    "fit a table": (
        "fit classes.csv",
        2,
        "its 4 columns is to be predicted? For the last one: mlptrain fit classes.csv --target answer",
    ),
    "explain a table": (
        "explain classes.csv",
        2,
        "write one for it: mlptrain init classes.csv --target COLUMN --out spec.yaml",
    ),
    "resume a model": ("fit --resume run/model.safetensors", 4, "is not the folder of a run"),
    "target without data": ("evaluate run --target-data classes.csv", 2, "--target-data needs --data"),
    "no such table": ("predict run nowhere.csv", 3, "nowhere.csv: no such data file"),
    "a folder as table": ("predict run folder", 3, "folder: is not a regular file"),
    "a model as table": ("predict run run/model.safetensors", 3, "not a text file"),
    "a pipe as table": ("predict run pipe", 3, "pipe: is not a regular file"),
}


@pytest.fixture
def workshop(cli: Cli, spec: Write, classes: Path) -> Path:
    """A folder with spec.yaml, classes.csv, a finished `run`, an empty `folder` and a `pipe`."""
    folder = classes.parent
    cli("fit", spec(DATA + QUICK), "--out", "run").succeeded()
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(("line", "code", "message"), USAGE.values(), ids=USAGE)
def test_a_wrong_command(cli: Cli, workshop: Path, line: str, code: int, message: str) -> None:
    refuses(cli, workshop, code, message, verb=tuple(line.split()))


TYPER: dict[str, tuple[str, str]] = {
    "unknown verb": ("fti", "'fit'"),
    "unknown option": ("fit spec.yaml --quite", "--quiet"),
    "missing argument": ("predict run", "data"),
    "a number is no number": ("fit spec.yaml --save-every often", "--save-every"),
    "negative time": ("fit spec.yaml --save-every -1", "--save-every"),
}


@pytest.mark.parametrize(("line", "fragment"), TYPER.values(), ids=TYPER)
def test_a_line_that_cannot_be_parsed(cli: Cli, classes: Path, line: str, fragment: str) -> None:
    outcome = cli(*line.split())
    assert outcome.code == 2
    assert fragment.lower() in outcome.err.lower()
    assert outcome.out == ""
    assert "Traceback" not in outcome.err


PERMISSIONS: dict[str, tuple[str, str]] = {
    "spec": ("spec.yaml", "fit spec.yaml"),
    "table": ("classes.csv", "fit spec.yaml"),
    "folder of the table": ("folder", "predict run folder/classes.csv"),
    "folder of the run": ("folder", "fit spec.yaml --out folder/run"),
    "model": ("run/model.safetensors", "evaluate run"),
}


@pytest.mark.parametrize(("locked", "line"), PERMISSIONS.values(), ids=PERMISSIONS)
def test_permissions(cli: Cli, workshop: Path, locked: str, line: str) -> None:
    (workshop / locked).chmod(0)
    if os.access(workshop / locked, os.R_OK):
        pytest.skip("root may read and write everything")
    try:
        cli(*line.split()).refused(5, locked, "Permission denied")
    finally:
        (workshop / locked).chmod(0o700)


def test_a_network_larger_than_the_machine(spec: Write, classes: Path) -> None:
    """Refused before anything is allocated; should it not be, then the limit keeps this machine alive."""
    spec(DATA + "network: {hidden: [1000000, 1000000]}\n")
    command = f"ulimit -v 8000000; exec {PROGRAM} fit spec.yaml"
    done = subprocess.run(
        ["bash", "-c", command], cwd=classes.parent, env=environment(), check=False, capture_output=True, text=True
    )
    Outcome(done.returncode, done.stdout, done.stderr).refused(
        2, "network.hidden", "parameters need", "this machine has"
    )
    assert not (classes.parent / "runs").exists()


def test_runs_is_a_file(cli: Cli, spec: Write, classes: Path) -> None:
    spec(DATA + QUICK)
    (classes.parent / "runs").write_text("mine")
    cli("fit", "spec.yaml").refused(5, "runs: cannot be created", "choose another folder with --out")
    assert (classes.parent / "runs").read_text() == "mine"


@pytest.mark.parametrize("change", [{"HOME": ""}, {"TMPDIR": "/nonexistent"}], ids=str)
def test_neither_home_nor_temporary_folder_is_needed(spec: Write, classes: Path, change: dict[str, str]) -> None:
    spec(DATA + QUICK)
    run_process("fit", "spec.yaml", folder=classes.parent, **change).succeeded()


@pytest.mark.parametrize("debug", [True, False], ids=["--debug", "plain"])
def test_only_debug_shows_a_traceback(cli: Cli, classes: Path, debug: bool) -> None:
    outcome = cli("fit", "nothing.yaml", *["--debug"] * debug)
    assert outcome.code == 2
    assert ("Traceback" in outcome.err) == debug


PATHS: dict[str, tuple[str, int]] = {
    "too long": (f"'{'a' * 5000}.csv'", 3),
    "home of nobody": ("'~nobody-at-all/t.csv'", 2),
}


@pytest.mark.parametrize(("path", "code"), PATHS.values(), ids=PATHS)
def test_a_path_that_cannot_be(cli: Cli, spec: Write, tmp_path: Path, path: str, code: int) -> None:
    spec(f"data: {{path: {path}, target: y}}\n")
    cli("fit", "spec.yaml").refused(code)


# --- Tables of text


HEAD = "x1,x2,colour,answer\n"
ROWS = "".join(",".join(map(str, row)) + "\n" for row in classes_rows())

TABLES: dict[str, tuple[str | bytes, Case]] = {
    "empty": (b"", ("classes.csv: the file is empty", "0 data rows")),
    "header only": (HEAD, ("classes.csv: a header and 0 data rows", "")),
    "header without line end": (HEAD.strip(), ("classes.csv: a header and 0 data rows", "")),
    "UTF-16": ((HEAD + ROWS).encode("utf-16"), ("classes.csv: is UTF-16", "save it as UTF-8")),
    "Latin-1": (
        (HEAD + ROWS + "1,1,café,yes\n").encode("latin-1"),
        ("classes.csv:42: not UTF-8 at byte offset", "UTF-8"),
    ),
    "NUL": (HEAD + ROWS + "1,\0,red,yes\n", ("classes.csv:42: a NUL byte", "not a text file")),
    "blank first line": ("\n" + HEAD + ROWS, ("classes.csv:1: the first line must name the columns", "but is blank")),
    "carriage returns": ((HEAD + ROWS).replace("\n", "\r"), ("its lines end with a carriage return alone", "LF")),
    "short row": (HEAD + ROWS + "1,1,red\n" + ROWS, ("classes.csv: line 42 has 3 cells", "the header 4")),
    "long row": (HEAD + ROWS + "1,1,red,yes,5\n" * 3, ("line 42 has 5 cells", "3 lines are irregular")),
    "trailing comma": (HEAD + ROWS + "1,1,red,yes,\n", ("classes.csv: line 42 has 5 cells", "the header 4")),
    "blank line": (HEAD + ROWS + "\n" + ROWS, ("classes.csv: line 42 is blank", "")),
    "open quote": (HEAD + ROWS + '1,1,"red,yes\n' + ROWS, ("line 42", "a quoted cell that begins here is not closed")),
    "quote after newline in a cell": (HEAD + '1,1,"a\nb",yes\n' + "1,1,red\n", ("line 4 has 3 cells", "")),
    "stray quote": (HEAD + ROWS + '1,1,re"d,yes\n', ("line 42 has a quote within a cell", "")),
    "semicolons": (
        (HEAD + ROWS).replace(",", ";"),
        ("only 1 column found; if ';' separates them", "data: {delimiter: ';'}"),
    ),
    "tabs": ((HEAD + ROWS).replace(",", "\t"), ("only 1 column found; if '\\t' separates", 'data: {delimiter: "\\t"}')),
    "comment line": ("# of 2024\n" + HEAD + ROWS, ("line 2 has 4 cells, the header 1", "")),
    "no header": (
        "1,2,3,4\n5,6,7,8\n",
        ("classes.csv:1: the first line must name the columns", "numbers only: 1, 2, 3, 4"),
    ),
    "repeated name": (
        "x1,x1,colour,answer\n" + ROWS,
        ("classes.csv:1: column names must differ", "'x1' in columns [1, 2]"),
    ),
    "no target column": ("x1,x2,colour,Answer\n" + ROWS, ("no column 'answer'", "did you mean 'Answer'?")),
    "missing target": (
        HEAD + ROWS + "1,1,red,\n1,1,red,NA\n",
        ("target 'answer' is missing in rows 41, 42", "missing_target: drop"),
    ),
    "infinite": (HEAD + ROWS + "inf,1,red,yes\n", ("column 'x1' holds infinite values in row 41", "")),
    "minus infinity": (HEAD + ROWS + "-Infinity,1,red,yes\n", ("column 'x1' holds infinite values in row 41", "")),
    "too large": (HEAD + ROWS + "1e400,1,red,yes\n", ("column 'x1' holds infinite values in row 41", "")),
    "a word among numbers": (HEAD + ROWS + "much,1,red,yes\n", ("'much' in row 41", "categorical: {columns: [x1]}")),
    "question mark": (
        HEAD + ROWS + "?,1,red,yes\n",
        ("'?' in row 41", "N/A, NaN, nan, 'null', 'NULL', '?']"),
    ),
    "header again": (HEAD + ROWS + HEAD + ROWS, ("column 'x1' holds numbers, but 1 of its cells", "'x1' in row 41")),
    "decimal commas": (HEAD + ROWS.replace(".", ","), ("line 2 has 6 cells", "")),
    "two units": (
        HEAD + "".join(f"{i}{' kg' if i < 30 else ' g'},1,red,{'yes' if i % 2 else 'no'}\n" for i in range(40)),
        (
            "column 'x1' holds amounts with a unit, such as '0 kg', but 10 of its cells are not",
            "write them as plain num",
        ),
    ),
    "points among commas": (
        HEAD + "".join(f'"{f"1,{i:03d}.5" if i < 9 else f"1.{i:03d},5"}",1,red,{"yn"[i % 2]}\n' for i in range(40)),
        ("such as '1.009,5', but 9 of its cells are not: '1,000.5'", "no thousands separator"),
    ),
    "dates in two spellings": (
        HEAD
        + "".join(
            f"1,1,{f'2024-01-{1 + i % 28:02d}' if i < 36 else f'{i - 10}.1.2024'},{'yes' if i % 2 else 'no'}\n"
            for i in range(40)
        ),
        ("column 'colour' holds dates (YYYY-MM-DD), but 4 of its cells are not: '26.1.2024'", "in rows 37, 38, 39, 40"),
    ),
    "days that may be months": (
        HEAD + "".join(f"1,1,{1 + i % 12}/2/2024 10:0{i % 9},{'yes' if i % 2 else 'no'}\n" for i in range(40)),
        ("column 'colour' holds dates, such as '1/2/2024 10:00'", "data: {day_first: true} for DD/MM/YYYY"),
    ),
    "a short row and a long one": (HEAD + ROWS + "1,1,red\n1,1,red,yes,5\n", ("line 42 has 3 cells", "2 lines")),
    "a word after a thousand numbers": (
        HEAD + ROWS * 30 + "much,1,red,yes\n" + ROWS,
        ("'much' in row 1201", "categorical: {columns: [x1]}"),
    ),
    "one class": (HEAD + ROWS.replace("yes", "no"), ("target 'answer' holds only one class: 'no' in all 40 rows", "")),
    "lonely class": (
        HEAD + ROWS + "1,1,red,perhaps\n",
        ("1 of 3 classes in target 'answer' have a single row ('perhaps')", "add rows"),
    ),
    "label in every row": (
        HEAD + "".join(f"1,1,red,c{i}\n" for i in range(40)),
        ("40 of 40 classes", "have a single row"),
    ),
    "ambiguous": (
        HEAD + ROWS.replace("yes", "1").replace("no", "0"),
        ("(2 values: 0, 1)", "'task: classification' if each value is a class or 'task: regression' to predict a quan"),
    ),
    "nothing in any column": (
        HEAD + "".join(f"1,,NA,{'yes' if i % 2 else 'no'}\n" for i in range(40)),
        (
            "no column is left to learn from beside the target: 'x1' left out: it is the same in every training row; ",
            "use it, write data: {numeric: {columns: [x1]}}; 'x2', 'colour' left out: each has no value in any",
        ),
    ),
    "nothing in a named column": (
        HEAD + ROWS.replace("red", "").replace("green", "").replace("blue", "NA"),
        ("column 'colour' has no value in any training row", "data: {features: [x1]}"),
    ),
    "only identifiers": (
        HEAD + "".join(f"1,1,id{i},{'yes' if i % 2 else 'no'}\n" for i in range(200)),
        ("'colour' left out: it has a text of its own in nearly every row", "categorical: {columns: [colour]}}"),
    ),
    "one row": (HEAD + "1,1,red,yes\n", ("only one class: 'yes' in all 1 rows", "")),
    "two rows": (HEAD + "1,1,red,yes\n2,2,red,no\n", ("have a single row ('no', 'yes')", "")),
    "JSON": ('{"x1": [1, 2]}\n', ("classes.csv: is JSON, which is not read", "save it as CSV")),
    "HTML": ("<html><body>\n</body></html>\n", ("is a web page; download the table itself", "")),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), ("is a picture (PNG)", "")),
}


@pytest.mark.parametrize(("content", "case"), TABLES.values(), ids=TABLES)
def test_a_wrong_table(cli: Cli, spec: Write, tmp_path: Path, content: str | bytes, case: Case) -> None:
    (tmp_path / "classes.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    named = any("features: [x1]" in text for text in case)
    spec((DATA.replace("}", ", features: [x1, colour]}") if named else DATA) + QUICK)
    refuses(cli, tmp_path, 3, "classes.csv", *case)


NOTHING = {
    "BOM only": b"\xef\xbb\xbf",
    "newlines only": b"\n\n\n",
    "Windows newline": b"\r\n",
    "gzip of nothing": gzip.compress(b"", mtime=0),
}


@pytest.mark.parametrize("content", NOTHING.values(), ids=NOTHING)
def test_a_table_of_nothing(cli: Cli, spec: Write, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "classes.csv").write_bytes(content)
    spec(DATA + QUICK)
    refuses(cli, tmp_path, 3, "classes.csv", "0 data rows")


@pytest.mark.parametrize(
    "content",
    [(HEAD + ROWS).replace("\n", "\r"), f"{'x' * 140_000},colour,answer\n" + "1,red,yes\n1,red,no\n" * 20],
    ids=["line ends of old Macs", "a name of 140000 letters"],
)
def test_a_header_that_the_csv_module_refuses(cli: Cli, spec: Write, tmp_path: Path, content: str) -> None:
    (tmp_path / "classes.csv").write_bytes(content.encode())
    spec(DATA + QUICK)
    outcome = cli("fit", "spec.yaml")
    assert outcome.code in (0, 3), outcome.err


def test_a_table_without_header_whose_first_row_repeats_a_number(cli: Cli, spec: Write, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("1,2,1,0\n5,6,7,8\n")
    spec(DATA + QUICK)
    refuses(cli, tmp_path, 3, "the first line must name the columns")


def test_a_stray_quote_has_a_line(cli: Cli, spec: Write, tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(HEAD + ROWS + '1,1,re"d,yes\n')
    spec(DATA + QUICK)
    refuses(cli, tmp_path, 3, "line 42")


FINE: dict[str, str | bytes] = {
    "BOM": b"\xef\xbb\xbf" + (HEAD + ROWS).encode(),
    "Windows line ends": (HEAD + ROWS).replace("\n", "\r\n"),
    "no line end at the end": (HEAD + ROWS).rstrip(),
    "blank lines at the end": HEAD + ROWS + "\n\n",
    "quoted names and cells": '"x1","x2","colour","answer"\n' + ROWS.replace("red", '"red"'),
    "line breaks, commas and quotes in cells": HEAD + ROWS.replace("red", '"dark, ""deep""\nred"'),
    "spaces around numbers": HEAD + ROWS.replace(",", " , ").replace(" , ", ",", 1),
    "exponents and signs": HEAD + ROWS + "+1e-3,-1.5E+2,red,yes\n",
    "umlauts": HEAD + ROWS.replace("red", "röt☃"),
    "missing cells": HEAD + ROWS + ",,,yes\nNA,NaN,null,no\n",
}


@pytest.mark.parametrize("content", FINE.values(), ids=FINE)
def test_tables_that_are_fine(cli: Cli, spec: Write, tmp_path: Path, content: str | bytes) -> None:
    (tmp_path / "classes.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    spec(DATA + QUICK)
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    rows = 42 if content == FINE["missing cells"] else 41 if content == FINE["exponents and signs"] else 40
    predicted = cli("predict", "run", "classes.csv").succeeded().out
    assert len(predicted.splitlines()) == rows + 1


def test_the_first_column_behind_a_byte_order_mark_can_be_the_target(cli: Cli, spec: Write, tmp_path: Path) -> None:
    text = "answer,x1\n" + "".join(f"{row[3]},{row[0]}\n" for row in classes_rows())
    (tmp_path / "classes.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    cli("fit", spec(DATA + QUICK), "--out", "run").succeeded()


# --- What the spec asks of the data


ASKED: dict[str, tuple[str, Case]] = {
    "unknown feature": ("features: [x1, x3]", ("no column 'x3'", "its 4 columns are: x1, x2")),
    "another case": ("features: [X1]", ("no column 'X1'", "did you mean 'x1'?")),
    "unknown exclusion": ("exclude: [zz]", ("no column 'zz'", "its 4 columns are: x1, x2, colour, answer")),
    "nothing left": ("exclude: [x1, x2, colour]", ("no column is left to learn from", "")),
    "unknown numeric column": ("numeric: {columns: [zz]}", ("no column 'zz'", "")),
    "text declared numbers": ("numeric: {columns: [colour]}", ("column 'colour' must be numeric", "'red'")),
    "tiny share": (
        "split: {validation: 0.0001}",
        ("0.0001 leaves no row of 40 for validation", "raise data.split.validation"),
    ),
    "missing is an error": ("missing_values: ['', red], categorical: {missing: error}", ("'colour' has", "missing")),
    "too many categories": ("categorical: {columns: [x1], max_categories: 5}", ("column 'x1' has", "max_categories")),
    "wrong delimiter": ("delimiter: '|'", ("only 1 column found; if ',' separates", "")),
    "no validation file": ("validation_path: nowhere.csv", ("nowhere.csv: no such data file", "")),
    "a folder": ("test_path: .", ("is not a regular file", "")),
}


@pytest.mark.parametrize(("setting", "case"), ASKED.values(), ids=ASKED)
def test_data_that_is_not_as_the_spec_says(cli: Cli, spec: Write, classes: Path, setting: str, case: Case) -> None:
    spec(f"data: {{path: classes.csv, target: answer, {setting}}}\n" + QUICK)
    refuses(cli, classes.parent, 3, *case)


LOSSES: dict[str, tuple[str, str, str]] = {
    "text as amounts": (
        "answer",
        "mse",
        "loss mse needs numbers, target 'answer' holds text; for classes, write loss: cross_entropy",
    ),
    "amounts as classes": (
        "x1",
        "cross_entropy",
        "target 'x1' holds real numbers, not classes; for regression, write loss: mse",
    ),
    "three classes as yes or no": (
        "colour",
        "bce",
        "needs two classes in target 'colour', which has 3: blue, green, red",
    ),
    "amounts as yes or no": ("x1", "bce", "'x1' must lie in [0, 1] for binary_cross_entropy, but does not in rows"),
    "two columns of classes": ("[colour, answer]", "cross_entropy", "cross_entropy takes one target column"),
    "two columns without a loss": ("[colour, answer]", "", "could be labels or quantities"),
}


@pytest.mark.parametrize(("target", "loss", "message"), LOSSES.values(), ids=LOSSES)
def test_a_loss_that_does_not_fit_its_target(
    cli: Cli, spec: Write, classes: Path, target: str, loss: str, message: str
) -> None:
    line = f"loss: {loss}\n" if loss else ""
    spec(f"data: {{path: classes.csv, target: {target}}}\n{line}" + QUICK)
    refuses(cli, classes.parent, 3, "classes.csv", message)


def test_a_validation_file_must_fit(cli: Cli, spec: Write, classes: Path) -> None:
    write_csv(classes.parent / "v.csv", "x1,x2,answer", [("1", "1", "yes")] * 3)
    spec("data: {path: classes.csv, target: answer, validation_path: v.csv}\n" + QUICK)
    refuses(cli, classes.parent, 3, "v.csv: columns that the model needs are missing: 'colour'")
    write_csv(classes.parent / "v.csv", "x1,x2,colour,answer", [("1", "1", "red", "maybe")] * 3)
    refuses(cli, classes.parent, 3, "v.csv", "'maybe' in rows 1, 2, 3, which training did not see")


def test_rows_without_a_target_are_dropped_from_every_file(cli: Cli, spec: Write, classes: Path) -> None:
    write_csv(classes.parent / "v.csv", "x1,x2,colour,answer", [*classes_rows(9), ("1", "1", "red", "")])
    spec("data: {path: classes.csv, target: answer, validation_path: v.csv, missing_target: drop}\n" + QUICK)
    cli("fit", "spec.yaml").succeeded()


def test_a_constant_target_has_no_share_of_explained_variance(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x1,x2,price", [(a, b, "2.5") for a, b, _ in amounts_rows()])
    spec("data: {path: t.csv, target: price}\n" + QUICK)
    assert cli("fit", "spec.yaml", "--json").succeeded().json()["results"]["test"]["r2"] is None


def test_values_of_every_size_are_scaled(cli: Cli, spec: Write, tmp_path: Path) -> None:
    sizes = [
        (f"{float(str(a)) * 1e30}", f"{float(str(b)) * 1e-30}", f"{float(str(a)) * 1e-310}", c)
        for a, b, c in amounts_rows()
    ]
    write_csv(tmp_path / "t.csv", "huge,tiny,subnormal,price", sizes)
    spec("data: {path: t.csv, target: price}\n" + QUICK)
    assert np.isfinite(cli("fit", "spec.yaml", "--json").succeeded().json()["results"]["test"]["loss"])


@pytest.mark.parametrize("kind", ["null", "layer", "batch"])
def test_one_training_row(cli: Cli, spec: Write, tmp_path: Path, kind: str) -> None:
    """A single row has no variance that batch normalization could divide by."""
    write_csv(tmp_path / "t.csv", "x1,price", [("1.5", "2.5")])
    data = "data: {path: t.csv, target: price, split: {validation: 0, test: 0}}\n"
    spec(data + f"network: {{normalization: {kind}}}\n" + QUICK)
    if kind == "batch":
        outcome = cli("fit", "spec.yaml")
        assert outcome.code in (2, 3), outcome.err
        assert not (tmp_path / "runs").exists()
    else:
        cli("fit", "spec.yaml").succeeded()


# --- Other formats


def damaged(content: bytes, message: str) -> tuple[Callable[[Path], object], str]:
    return lambda path: path.write_bytes(content), message


def npz(message: str, **arrays: Any) -> tuple[Callable[[Path], object], str]:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **arrays)

    return write, message


def parquet(message: str, **columns: Any) -> tuple[Callable[[Path], object], str]:
    return lambda path: pl.DataFrame(columns).write_parquet(path), message


LABELS = ["yes", "no"] * 20
X = np.arange(80.0).reshape(40, 2)
PACKED = gzip.compress((HEAD + ROWS).encode(), mtime=0)
FORMATS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gzip, cut": damaged(PACKED[:-20], "damaged or truncated gzip"),
    "gzip, changed": damaged(PACKED[:40] + b"\xff" + PACKED[41:], "damaged or truncated gzip"),
    "parquet, cut": damaged(b"PAR1 and no more", "cannot be read as Parquet"),
    "parquet, durations": parquet("column 'x' is of type Duration", x=[timedelta(1)] * 40, answer=LABELS),
    "parquet, lists": parquet("column 'x' is of type List(Int64)", x=[[1, 2]] * 40, answer=LABELS),
    "parquet, nulls": parquet("'x' left out: it has no value in any training row", x=[None] * 40, answer=LABELS),
    "parquet, infinite": parquet("column 'x' holds infinite values in row 40", x=[1.5] * 39 + [np.inf], answer=LABELS),
    "parquet, arrays": parquet(
        "column 'x' is of type Array(Int64", x=pl.Series([[1, 2]] * 40, dtype=pl.Array(pl.Int64, 2)), answer=LABELS
    ),
    "parquet, no rows": parquet("0 data rows", x=[], answer=[]),
    "npz, cut": damaged(b"PK\x03\x04 and no more", "cannot be read as NPZ"),
    "npz, objects": npz("cannot be read as NPZ", x=np.array([None] * 40), answer=LABELS),
    "npz, lengths": npz("its arrays differ in length: x has 41, answer has 40", x=np.zeros((41, 2)), answer=LABELS),
    "npz, complex": npz("'x' is an array of complex128", x=X + 1j, answer=LABELS),
    "npz, durations": npz("'x' is an array of timedelta64", x=np.arange(40).astype("m8[D]"), answer=LABELS),
    "npz, a block of dates": npz("'x' is an array of datetime64", x=np.zeros((40, 2), "M8[D]"), answer=LABELS),
    "npz, block of text": npz("'x' is an array of <U3", x=np.array(LABELS).repeat(2).reshape(40, 2), answer=LABELS),
    "npz, two-column target": npz("target 'answer' has 2 columns", x=X, answer=X + 0.5),
    "npz, no arrays": npz("0 data rows"),
    "npz, half a character": npz("array 'answer' holds text that is not Unicode", x=X, answer=["\ud800", "no"] * 20),
    "npz, all missing": npz("'x' left out: it has no value in any training row", x=X * np.nan, answer=LABELS),
    "npz, no features": npz("no column is left to learn from", answer=LABELS),
    "idx, cut header": damaged(b"\0\0\x08\x03\0\0", "truncated IDX header"),
    "idx, too short": damaged(
        b"\0\0\x08\x01\0\0\0\x09abc", "an IDX array of shape (9,) needs 17 bytes, the file has 11"
    ),
    "idx, too long": damaged(b"\0\0\x08\x01\0\0\0\x02abc", "needs 10 bytes, the file has 11"),
    "idx, huge": damaged(b"\0\0\x0e\x03" + b"\xff" * 12, "needs 633825299671624140834996617232"[:8]),
    "idx, no dimension": damaged(b"\0\0\x08\0", "truncated IDX header"),
    "idx, no target": damaged(b"\0\0\x08\x02" + struct.pack(">2I", 40, 2) + bytes(80), "no column 'answer'"),
}


@pytest.mark.parametrize(("write", "message"), FORMATS.values(), ids=FORMATS)
def test_other_formats(cli: Cli, spec: Write, tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "classes.csv")
    spec(DATA + QUICK)
    refuses(cli, tmp_path, 3, "classes.csv", message)


def test_a_block_without_columns(cli: Cli, spec: Write, tmp_path: Path) -> None:
    npz("", x=np.zeros((40, 0)), answer=LABELS)[0](tmp_path / "classes.csv")
    spec(DATA + QUICK)
    refuses(cli, tmp_path, 3, "classes.csv")


def test_images_and_labels_must_go_together(cli: Cli, spec: Write, tmp_path: Path) -> None:
    for name, shape in (("images", (9, 2, 2)), ("labels", (8,))):
        head = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        (tmp_path / name).write_bytes(head + bytes(int(np.prod(shape))))
    spec("data: {path: images, target_path: labels}\nloss: cross_entropy\n" + QUICK)
    refuses(cli, tmp_path, 3, "labels has 8 rows", "images has 9", "row by row")


# --- Weights to start from


STARTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "start.safetensors: cannot be read: No such file or directory"),
    "a folder": (lambda path: path.mkdir(), "start.safetensors: cannot be read: Is a directory"),
    "damaged": (lambda path: path.write_bytes(b"x" * 40), "start.safetensors: is not a safetensors file"),
    "another network": (
        lambda path: path.write_bytes((path.parent / "run" / "model.safetensors").read_bytes()),
        "start.safetensors: layers.0.weight has shape (6, 64), the network needs (6, 5)",
    ),
}


@pytest.mark.parametrize(("write", "message"), STARTS.values(), ids=STARTS)
def test_weights_that_do_not_fit(cli: Cli, workshop: Path, write: Callable[[Path], object], message: str) -> None:
    write(workshop / "start.safetensors")
    start = "network={hidden: [5, 32], initializer: {kind: from_file, path: start.safetensors}}"
    refuses(cli, workshop, 4, message, verb=("fit", "spec.yaml", "--set", start))


def test_weights_of_a_model_with_its_columns_in_another_order(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(f"{i % 7}.5", f"{i % 5}.25", "yes" if i % 2 else "no") for i in range(30)]
    write_csv(tmp_path / "one.csv", "x,z,answer", rows)
    write_csv(tmp_path / "other.csv", "z,x,answer", [(z, x, answer) for x, z, answer in rows])
    text = "data: {path: one.csv, target: answer}\n" + QUICK
    cli("fit", spec(text), "--out", "run").succeeded()
    start = ("--set", "network.initializer={kind: from_file, path: run/model.safetensors}")
    cli("fit", "spec.yaml", *start, "--out", "again").succeeded()
    swapped = ("fit", spec(text.replace("one", "other")), *start)
    outcome = cli(*swapped).refused(4, "input 1 of its network is 'x', but 'z' in this one", "data: {features: [x, z]}")
    assert "run/model.safetensors" in outcome.err
    cli(*swapped, "--set", "data.features=[x, z]", "--out", "swapped").succeeded()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("MemoryError('96 GiB')", 5, "mlptrain: not enough memory: 96 GiB; lower training.batch_size"),
        ("start_a_thread()", 5, "mlptrain: no thread can be started; raise the limits"),
        ("RuntimeError('odd')", 1, "mlptrain: a bug in mlptrain: RuntimeError: odd; run again with --debug"),
    ],
)
def test_what_the_machine_lacks_is_no_bug(raised: str, code: int, said: str) -> None:
    script = (
        "import threading, _thread\n"
        "from mlptrain import cli\n"
        "def start_a_thread():\n"
        "    def fails(*_): raise RuntimeError('no more threads')\n"
        "    threading.Thread.start = fails\n"
        "    threading.Thread().start()\n"
        f"def app(**_): raise {raised}\n"
        "app.registered_commands = []\n"
        "cli.app = app\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment(), check=False, timeout=60
    )
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("train x.yaml", "no command 'train'; it is called 'mlptrain fit'; all commands: mlptrain --help"),
        ("evalute x", "no command 'evalute'; did you mean 'evaluate'?; all commands: mlptrain --help"),
        ("help", "no command 'help'; it is called 'mlptrain --help'"),
        ("quux", "no command 'quux'; all commands: mlptrain --help"),
        (
            "fit --batch-size 5 x.yaml",
            "no option '--batch-size'; it is a setting: --set training.batch_size=VALUE; all options:",
        ),
        ("fit --prfile x.yaml", "no option '--prfile'; did you mean '--profile'?; all options: mlptrain fit --help"),
        ("fit a b c", "got unexpected extra argument(s) (b c); all options: mlptrain fit --help"),
        ("predict", "missing argument 'RUN-or-FILE'; all options: mlptrain predict --help"),
        ("fit --save-every soon x.yaml", "invalid value for '--save-every': "),
    ],
)
def test_a_mistake_in_the_command_line_has_one_line_and_a_way_on(tmp_path: Path, words: str, said: str) -> None:
    outcome = run_process(*words.split(), folder=tmp_path)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"mlptrain: {said}")
    assert len(outcome.err.splitlines()) == 1


def test_every_other_word_for_a_command_leads_to_one_that_exists() -> None:
    known = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}  # type: ignore[union-attr]
    for word, meant in OTHER_WORDS.items():
        assert word not in known
        assert meant.startswith("--") or meant.split()[0] in known
