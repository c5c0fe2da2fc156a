"""Does each lesson show what its header says? Each spec is trained and the files of its run are read."""

from __future__ import annotations

import csv
import math
import re
import shlex
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from cli import LESSONS, TABLES, Outcome, run_cli, run_process, summary
from mlptrain.lessons.header import parse_header
from mlptrain.spec.load import load_experiment

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = {path.stem: path for path in LESSONS.glob("*.yaml")}
BOUND = 1e-6  # of the ravine


@dataclass(frozen=True)
class Run:
    """A lesson that was trained."""

    folder: Path
    outcome: Outcome
    columns: dict[str, list[float]]
    """metrics.csv"""

    @property
    def loss(self) -> list[float]:
        """The training loss of each epoch."""
        return self.columns["train_loss"]

    @property
    def validation_loss(self) -> list[float]:
        return self.columns["validation_loss"]

    @property
    def warned(self) -> dict[str, dict[str, Any]]:
        """The warnings by name."""
        return {warned["name"]: warned for warned in summary(self.folder)["warnings"]}

    def result(self, part: str, metric: str) -> float:
        return float(summary(self.folder)["results"][part][metric])

    def baseline(self, model: str, metric: str) -> float:
        return float(summary(self.folder)["baselines"][model][metric])

    def rises(self) -> int:
        """In how many epochs the training loss is higher than in the one before."""
        return sum(later > earlier for earlier, later in pairwise(self.loss))

    def steps_below(self, bound: float) -> float:
        """How many updates it took until the loss was below `bound`; infinity if it never was."""
        return next((epoch for epoch, loss in enumerate(self.loss) if loss < bound), math.inf)

    def tensors(self, file: str = "model") -> dict[str, Any]:
        return dict(safetensors.numpy.load_file(self.folder / f"{file}.safetensors"))

    def gradient_ratio(self) -> float:
        """The gradient norm of the first layer beside that of the last, in the median of the epochs."""
        names = [name for name in self.columns if name.startswith("gradient_norm.layers.")]
        return median(self.columns[names[0]]) / median(self.columns[names[-1]])


Fit = Callable[..., Run]
Check = Callable[[Fit], None]
CHECKS: dict[str, Check] = {}


def shows(lesson: str) -> Callable[[Check], Check]:
    """Register a function as the test of `lesson`."""

    def register(check: Check) -> Check:
        assert lesson not in CHECKS
        CHECKS[lesson] = check
        return check

    return register


def read_columns(path: Path) -> dict[str, list[float]]:
    """A CSV of numbers by column; an empty cell is NaN."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}


def train(config: Path, settings: tuple[str, ...], folder: Path) -> Run:
    """`mlptrain fit config --set ... --out folder`."""
    changes = [word for setting in settings for word in ("--set", setting)]
    outcome = run_cli("fit", config, *changes, "--out", folder, folder=folder.parent)
    return Run(folder, outcome, read_columns(folder / "metrics.csv"))


@pytest.fixture(scope="module")
def fit(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Trains a lesson, changed by settings as with --set; each combination once, since lessons are compared."""
    done: dict[tuple[str, ...], Run] = {}

    def fit(lesson: str, *settings: str, code: int = 0) -> Run:
        key = (lesson, *settings)
        if key not in done:
            with warnings.catch_warnings():
                if code:  # numbers that overflow are the lesson; NumPy warns of them
                    warnings.simplefilter("ignore", RuntimeWarning)
                done[key] = train(FILES[lesson], settings, tmp_path_factory.mktemp(lesson) / "run")
        assert done[key].outcome.code == code, done[key].outcome.err
        return done[key]

    return fit


# --- 1 and 2: what a hidden layer is for


def answers(run: Run) -> list[float]:
    """What the network says about the four rows of xor.csv."""
    predicted = run_cli("predict", run.folder, TABLES / "xor.csv", folder=run.folder).succeeded()
    return [float(line) for line in predicted.out.splitlines()[1:]]


@shows("01-xor")
def xor(fit: Fit) -> None:
    run = fit("01-xor")
    assert 0.2 < run.loss[0] < 0.35
    assert run.loss[-1] < 0.001
    assert answers(run) == pytest.approx([0, 1, 1, 0], abs=0.1)

    assert fit("01-xor", "network.hidden=[2]").loss[-1] == pytest.approx(0.125, abs=0.005)
    assert fit("01-xor", "network.hidden=[2]", "seed=1").loss[-1] < 0.005
    assert fit("01-xor", "network.initializer=zeros").loss[-1] == pytest.approx(0.25, abs=1e-6)


@shows("02-xor-linear")
def xor_linear(fit: Fit) -> None:
    run = fit("02-xor-linear")
    assert run.loss[-1] == pytest.approx(0.25, abs=1e-3)
    assert answers(run) == pytest.approx([0.5] * 4, abs=0.05)
    assert run.result("train", "loss") == pytest.approx(run.baseline("constant", "loss"), abs=1e-3)
    assert fit("02-xor-linear", "training.epochs=10000").loss[-1] == pytest.approx(0.25, abs=1e-3)
    assert fit("02-xor-linear", "network.hidden=[4]").loss[-1] < 0.001


# --- 3: the learning rate


@shows("03a-rate-too-large")
def rate_too_large(fit: Fit) -> None:
    run = fit("03a-rate-too-large", code=6)
    assert "training diverged" in run.outcome.err
    assert all(3 < later / earlier < 5 for earlier, later in pairwise(run.loss))
    assert run.loss[-1] > 1e30
    last = run.tensors("checkpoint")
    assert all(np.isfinite(tensor).all() for name, tensor in last.items() if name.startswith("layers."))

    assert fit("03a-rate-too-large", "optimizer.learning_rate=0.1").loss[50] < 0.001
    assert fit("03a-rate-too-large", "optimizer.learning_rate=0.9").loss[-1] < 0.001
    assert 0.1 < fit("03a-rate-too-large", "training.clip_norm=1.0").loss[-1] < 5


@shows("03b-rate-too-small")
def rate_too_small(fit: Fit) -> None:
    run = fit("03b-rate-too-small")
    assert 0.98 < run.loss[-1] / run.loss[0] < 0.999
    assert run.warned["loss_not_falling"]["epoch"] < 10
    assert "learning_rate" in run.warned["loss_not_falling"]["remedy"]

    assert fit("03b-rate-too-small", "optimizer.learning_rate=0.1").loss[50] < 0.001
    slow = fit("03b-rate-too-small", "optimizer.learning_rate=0.001")
    assert 0.4 < slow.loss[-1] / slow.loss[0] < 0.6


# --- 4: how many rows to a step


@shows("04a-full-batch")
def full_batch(fit: Fit) -> None:
    run = fit("04a-full-batch")
    assert run.columns["step"][-1] == 100
    assert run.rises() == 0
    assert 0.45 < run.loss[-1] < 0.55
    as_many_steps = fit("04a-full-batch", "training.epochs=1000")
    assert as_many_steps.loss[-1] == pytest.approx(fit("04b-mini-batch").loss[-1], rel=0.15)


@shows("04b-mini-batch")
def mini_batch(fit: Fit) -> None:
    run = fit("04b-mini-batch")
    assert run.columns["step"][-1] == 1000
    assert 1 <= run.rises() <= 25
    assert run.loss[-1] < 0.7 * fit("04a-full-batch").loss[-1]
    assert run.loss[-1] < fit("04b-mini-batch", "training.batch_size=50").loss[-1] < fit("04a-full-batch").loss[-1]


@shows("04c-single-rows")
def single_rows(fit: Fit) -> None:
    run, batch = fit("04c-single-rows"), fit("04a-full-batch")
    assert run.columns["step"][-1] == 20_000
    assert run.rises() >= 8
    assert run.loss[-1] < 0.02 < 0.1 * fit("04b-mini-batch").loss[-1]
    seconds, of_batch = (median(read_columns(r.folder / "timings.csv")["seconds"]) for r in (run, batch))
    assert seconds > 5 * of_batch

    large = "optimizer.learning_rate=0.5"
    assert fit("04c-single-rows", large).loss[-1] > 0.2 and fit("04c-single-rows", large).rises() > 30
    assert fit("04a-full-batch", large).loss[-1] < batch.loss[-1]


# --- 5: optimizers in a ravine


@shows("05a-ravine-sgd")
def ravine_sgd(fit: Fit) -> None:
    run = fit("05a-ravine-sgd")
    assert run.steps_below(BOUND) == pytest.approx(3508, rel=0.02)
    assert run.rises() == 0
    faster = fit("05a-ravine-sgd", "optimizer.learning_rate=0.5")
    assert faster.steps_below(BOUND) == pytest.approx(3508 / 5, rel=0.02)
    fit("05a-ravine-sgd", "optimizer.learning_rate=1.0", code=6)
    assert fit("05a-ravine-sgd", "data.numeric.scale=standard").steps_below(BOUND) == pytest.approx(36, abs=2)


@shows("05b-ravine-momentum")
def ravine_momentum(fit: Fit) -> None:
    run = fit("05b-ravine-momentum")
    assert run.steps_below(BOUND) == pytest.approx(299, rel=0.02)
    assert run.rises() > 10
    assert fit("05b-ravine-momentum", "optimizer.momentum=0.99").steps_below(BOUND) == math.inf
    light = fit("05b-ravine-momentum", "optimizer.momentum=0.5", "training.epochs=2000")
    assert light.steps_below(BOUND) == pytest.approx(3508 / 2, rel=0.02)


@shows("05c-ravine-nesterov")
def ravine_nesterov(fit: Fit) -> None:
    run = fit("05c-ravine-nesterov")
    assert run.steps_below(BOUND) == pytest.approx(304, rel=0.02)
    assert run.rises() < 0.7 * fit("05b-ravine-momentum").rises()
    assert fit("05c-ravine-nesterov", "optimizer.momentum=0.99").steps_below(BOUND) == pytest.approx(121, abs=5)


@shows("05d-ravine-adagrad")
def ravine_adagrad(fit: Fit) -> None:
    run = fit("05d-ravine-adagrad")
    assert run.steps_below(BOUND) == pytest.approx(870, rel=0.02)
    assert fit("05d-ravine-adagrad", "optimizer.learning_rate=1.0").steps_below(BOUND) == pytest.approx(16, abs=2)


@shows("05e-ravine-adam")
def ravine_adam(fit: Fit) -> None:
    steps = fit("05e-ravine-adam").steps_below(BOUND)
    assert steps == pytest.approx(141, rel=0.02)
    others = ("05a-ravine-sgd", "05b-ravine-momentum", "05c-ravine-nesterov", "05d-ravine-adagrad")
    assert steps < min(fit(other).steps_below(BOUND) for other in others)
    slow = fit("05e-ravine-adam", "optimizer.learning_rate=0.001")
    assert slow.loss[-1] > 0.5 * slow.loss[0]


# --- 6: gradients on their way through a deep network


@shows("06a-vanishing-gradients")
def vanishing_gradients(fit: Fit) -> None:
    run = fit("06a-vanishing-gradients")
    assert run.gradient_ratio() < 1e-3
    assert run.warned["vanishing_gradients"]["epoch"] == 0
    assert run.result("train", "accuracy") == pytest.approx(0.63, abs=0.02)
    assert run.result("test", "accuracy") <= run.baseline("constant", "accuracy")

    for fix in ("network.hidden=[16]", "network.normalization=batch"):
        repaired = fit("06a-vanishing-gradients", fix)
        assert repaired.result("train", "accuracy") > 0.95
        assert "vanishing_gradients" not in repaired.warned


@shows("06b-relu-and-he")
def relu_and_he(fit: Fit) -> None:
    run = fit("06b-relu-and-he")
    assert 0.3 < run.gradient_ratio() < 100
    assert "vanishing_gradients" not in run.warned
    assert min(run.result(part, "accuracy") for part in ("train", "test")) > 0.93
    assert run.loss[-1] < 0.1 * fit("06a-vanishing-gradients").loss[-1]

    small = fit("06b-relu-and-he", "network.initializer={kind: normal, std: 0.05}")
    assert "vanishing_gradients" in small.warned and small.result("train", "accuracy") < 0.7
    tanh = fit("06b-relu-and-he", "network.activation=tanh", "network.initializer=glorot_uniform")
    assert "vanishing_gradients" not in tanh.warned and tanh.result("train", "accuracy") > 0.95


# --- 7: units that die


def dead_share(run: Run) -> float:
    """The share of relu units of the second layer that are zero on every row of the spiral at the end of training."""
    rows = np.loadtxt(TABLES / "spiral.csv", delimiter=",", skiprows=1, usecols=(0, 1))
    a, last = (rows - rows.mean(axis=0)) / rows.std(axis=0), run.tensors("checkpoint")
    for layer in (0, 1):
        a = np.maximum(a @ last[f"layers.{layer}.weight"] + last[f"layers.{layer}.bias"], 0)
    return float((a.max(axis=0) == 0).mean())


@shows("07a-dead-relu")
def dead_relu(fit: Fit) -> None:
    run = fit("07a-dead-relu")
    assert run.warned["dead_units"]["epoch"] <= 1
    assert dead_share(run) > 0.5 and run.loss[-1] > 0.3
    careful = fit("07a-dead-relu", "optimizer.learning_rate=0.03")
    assert careful.loss[-1] < 0.02 < 0.1 * run.loss[-1]
    assert dead_share(careful) < dead_share(run)


@shows("07b-leaky-relu")
def leaky_relu(fit: Fit) -> None:
    run, relu = fit("07b-leaky-relu"), fit("07a-dead-relu")
    assert "dead_units" not in run.warned
    assert run.loss[-1] < relu.loss[-1] / 4
    assert fit("07b-leaky-relu", "network.activation.slope=0.01").loss[-1] < 0.6 * relu.loss[-1]


# --- 8: a network that is badly scaled


@shows("08a-without-batch-norm")
def without_batch_norm(fit: Fit) -> None:
    run = fit("08a-without-batch-norm")
    assert run.loss[0] > 100
    assert run.loss[-1] == pytest.approx(0.66, abs=0.02)
    assert run.result("validation", "accuracy") < 0.7
    assert {"dead_units", "constant_output"} <= run.warned.keys()
    assert run.warned["dead_units"]["message"].startswith("100%")

    scaled = fit("08a-without-batch-norm", "data.numeric.scale=standard")
    assert scaled.result("validation", "accuracy") > 0.93
    slow = fit("08a-without-batch-norm", "optimizer.learning_rate=0.0001")
    assert "dead_units" in slow.warned and slow.loss[-1] < slow.loss[0]


@shows("08b-batch-norm")
def batch_norm(fit: Fit) -> None:
    run, without = fit("08b-batch-norm"), fit("08a-without-batch-norm")
    assert run.loss[0] < 1
    assert run.loss[-1] < 0.6 * without.loss[-1]
    assert run.result("validation", "accuracy") > 0.83
    assert "dead_units" not in run.warned

    assert fit("08b-batch-norm", "optimizer.learning_rate=1.0").result("validation", "accuracy") > 0.8
    assert fit("08b-batch-norm", "network.normalization=layer").result("validation", "accuracy") > 0.8
    assert fit("08b-batch-norm", "training.batch_size=2").loss[-1] > 1.5 * run.loss[-1]


# --- 9: overfitting and what helps


@shows("09a-overfitting")
def overfitting(fit: Fit) -> None:
    run = fit("09a-overfitting")
    assert "overfitting" in run.warned
    assert run.loss[-1] < 0.1 and run.result("train", "r2") > 0.9
    assert run.validation_loss[0] > min(run.validation_loss) < 0.9 * run.validation_loss[-1]
    assert run.result("test", "r2") < 0
    assert run.result("test", "rmse") > run.baseline("linear", "rmse")
    assert fit("09a-overfitting", "network.hidden=[2]").result("test", "rmse") < 0.95 * run.result("test", "rmse")


def generalizes_better(run: Run, overfitted: Run) -> None:
    """Demand a larger error on the training rows and a smaller one on those that were held out."""
    assert run.result("train", "rmse") > 2 * overfitted.result("train", "rmse")
    assert run.result("test", "rmse") < 0.95 * overfitted.result("test", "rmse")
    assert run.validation_loss[-1] < 0.97 * overfitted.validation_loss[-1]


@shows("09b-l2")
def l2(fit: Fit) -> None:
    run, overfitted = fit("09b-l2"), fit("09a-overfitting")
    generalizes_better(run, overfitted)
    size, large = (np.abs(r.tensors()["layers.0.weight"]).mean() for r in (run, overfitted))
    assert size < 0.5 * large
    weak = fit("09b-l2", "penalty.l2=0.001")
    assert weak.result("test", "rmse") == pytest.approx(overfitted.result("test", "rmse"), rel=0.08)
    assert "constant_output" in fit("09b-l2", "penalty.l2=3.0").warned


@shows("09c-dropout")
def dropout(fit: Fit) -> None:
    run, overfitted = fit("09c-dropout"), fit("09a-overfitting")
    generalizes_better(run, overfitted)
    half = fit("09c-dropout", "network.dropout=0.5").result("test", "rmse")
    assert run.result("test", "rmse") < half < overfitted.result("test", "rmse")


@shows("09d-early-stopping")
def early_stopping(fit: Fit) -> None:
    run, overfitted = fit("09d-early-stopping"), fit("09a-overfitting")
    generalizes_better(run, overfitted)
    found = summary(run.folder)
    assert "overfitting" not in run.warned
    assert found["stopped"] == "early_stopping"
    assert found["epochs"] == len(run.loss) == found["best_epoch"] + 21 < 100
    assert found["best_epoch"] == run.validation_loss.index(min(run.validation_loss))
    patient = summary(fit("09d-early-stopping", "training.early_stopping.patience=100").folder)
    assert patient["best_epoch"] == found["best_epoch"] and patient["epochs"] > found["epochs"]


# --- 10: which inputs matter


def input_weights(run: Run) -> tuple[list[float], list[float]]:
    """The sums of absolute weights that leave the inputs that matter, and those of the others."""
    sums = np.abs(run.tensors()["layers.0.weight"]).sum(axis=1)
    matter = [3 - 1, 8 - 1, 13 - 1, 18 - 1]
    return sums[matter].tolist(), np.delete(sums, matter).tolist()


@shows("10-l1-sparse")
def l1(fit: Fit) -> None:
    run, without = fit("10-l1-sparse"), fit("10-l1-sparse", "penalty.l1=0")
    matter, others = input_weights(run)
    assert (len(matter), len(others)) == (4, 16)
    assert min(matter) > 0.3 and max(others) < 0.03
    assert run.result("test", "rmse") == pytest.approx(0.1, abs=0.03)

    matter, others = input_weights(without)
    assert max(others) > 0.5 * min(matter)
    assert without.result("test", "rmse") > 5 * run.result("test", "rmse")
    _, others = input_weights(fit("10-l1-sparse", "penalty.l1=0", "penalty.l2=0.003"))
    assert min(others) > 0.1


# --- 11: write your own


@shows("11-your-own-activation")
def your_own_activation(fit: Fit) -> None:
    assert fit("11-your-own-activation").result("validation", "accuracy") > 0.95
    plugin = ("--plugin", LESSONS / "11_softsign.py")
    checked = run_process("gradcheck", *plugin, folder=CONFIGS)
    assert checked.code == 6
    failed = [line for line in checked.err.splitlines() if "failed" in line]
    assert len(failed) >= 2
    assert all("softsign_mistaken" in line for line in failed)
    assert "softsign " in checked.out
    losses = [softsign_loss(fit, kind, plugin) for kind in ("softsign", "softsign_mistaken")]
    assert losses[0] < losses[1] < 0.1


def softsign_loss(fit: Fit, kind: str, plugin: tuple[object, ...]) -> float:
    """The training loss at the end, with an activation of the plugin; in a process, where its classes stay."""
    config = FILES["11-your-own-activation"]
    folder = fit("11-your-own-activation").folder.parent
    options = ("--set", f"network.activation={kind}", "--json", "--out", folder / kind)
    document = run_process("fit", config, *plugin, *options, folder=folder).succeeded().json()
    return float(document["results"]["train"]["loss"])


# --- All of them


@pytest.mark.parametrize("lesson", sorted(CHECKS))
def test_shows_what_its_header_says(lesson: str, fit: Fit) -> None:
    CHECKS[lesson](fit)


def test_every_lesson_is_tested() -> None:
    assert sorted(FILES) == sorted(CHECKS)


@pytest.mark.parametrize("path", sorted(FILES.values()), ids=lambda path: path.stem)
class TestFile:
    """How a lesson is written."""

    def test_its_header_names_its_own_command(self, path: Path) -> None:
        text = path.read_text(encoding="utf8")
        assert re.findall(r"^#   mlptrain lesson (\w+)$", text, re.MULTILINE) == [path.name.split("-")[0].lstrip("0")]

    def test_every_change_to_try_is_accepted(self, path: Path) -> None:
        changes = list(changes_to_try(path))
        assert changes
        if path.stem.startswith("11"):
            return  # its own activation is known once the lesson has loaded it: test_lesson.py
        plain = load_experiment(path)
        assert all(load_experiment(path, settings) != plain for settings in changes)

    def test_its_table_is_there(self, path: Path) -> None:
        assert Path(load_experiment(path).data.path).parent == TABLES

    def test_every_choice_says_why(self, path: Path) -> None:
        lines = path.read_text(encoding="utf8").splitlines()
        choices = [line for line in lines if re.match(r" *\w+: *\S", line) and not re.match("  (path|target):", line)]
        assert choices
        assert [line for line in choices if not re.search(r" # \S", line)] == []


def changes_to_try(path: Path) -> Iterator[list[str]]:
    """The settings of each line of the header that offers some: `--set a.b=c --set d=e   what it does`."""
    for change in parse_header(path.read_text(encoding="utf8")).changes:
        words = shlex.split(change.options)
        assert words[::2] == ["--set"] * (len(words) // 2)
        yield words[1::2]


def test_the_notebook_gives_the_losses_that_it_is_known_for(tmp_path: Path) -> None:
    run = train(CONFIGS / "notebook.yaml", (), tmp_path / "run")
    run.outcome.succeeded()
    expected = [10.1670, 0.0126, 0.0112, 0.0105, 0.0101, 0.0098, 0.0096, 0.0094, 0.0093, 0.0092]
    assert [round(loss, 4) for loss in run.loss[::100]] == expected
