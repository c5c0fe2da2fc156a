"""Is a new variant of anything one class in one file, and nothing else?

The files in plugins/ hold one toy of each family, as a user would write it. Every toy goes the whole way: named in a
spec, checked, trained, saved, loaded, used to predict. Each toy has a process of its own, since a class that is once
defined is known to every test that comes after it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli import Outcome, environment, run_process, write_csv
from mlptrain.runs.run import begin, proceed
from mlptrain.spec.load import load_experiment
from mlptrain.training.events import Consumer, EpochDone, StepDone, TrainingDone

PLUGINS = sorted((Path(__file__).parent / "plugins").glob("*.py"))
WITH_TOYS = [word for path in PLUGINS for word in ("--plugin", path)]
PLUGIN_OF_ANGLES = Path(__file__).parent / "plugins" / "angles.py"
SOURCE = Path(__file__).parents[1] / "src"
AMOUNTS = "data: {path: amounts.csv, target: price, split: {validation: 0.2, test: 0.2}}\n"
CLASSES = "data: {path: classes.csv, target: answer, split: {validation: 0.2, test: 0.2}}\n"
LENGTH = "training: {epochs: 6, batch_size: 8, baselines: true}\n"


@dataclass(frozen=True)
class Toy:
    """How a toy is asked for, and where it shows."""

    spec: str
    listed: str
    """Its name in `mlptrain components` and in spec.yaml"""
    checked: str = ""
    """Its family in the table of the gradient check, if it has gradients"""
    options: tuple[str, ...] = field(default=())


TOYS = {
    "activation": Toy(CLASSES + "network: {hidden: [5], activation: toy_softsign}\n", "toy_softsign", "activation"),
    "loss": Toy(AMOUNTS + "loss: toy_logcosh\n", "toy_logcosh", "loss"),
    "optimizer": Toy(CLASSES + "optimizer: {kind: toy_sign, learning_rate: 0.01}\n", "toy_sign"),
    "optimizer by layer": Toy(CLASSES + "optimizer: {kind: lars, learning_rate: 0.01}\n", "lars"),
    "schedule by step": Toy(CLASSES + "schedule: {kind: wave, warmup: 1}\n", "wave"),
    "initializer": Toy(CLASSES + "network: {hidden: [5], initializer: toy_even}\n", "toy_even", "initializer"),
    "normalization": Toy(CLASSES + "network: {hidden: [5], normalization: toy_rms}\n", "toy_rms", "normalization"),
    "layer": Toy(CLASSES + "network: {hidden: [{kind: gated, width: 4}, 3]}\n", "gated", "layer"),
    "scaler of inputs": Toy(CLASSES.replace("}}", "}, numeric: {scale: toy_signed_log}}"), "toy_signed_log"),
    "scaler of the target": Toy(AMOUNTS.replace("}}", "}, scale_target: toy_signed_log}"), "toy_signed_log"),
    "encoder": Toy(CLASSES.replace("}}", "}, encoders: {colour: toy_length}}"), "toy_length"),
    "task": Toy(AMOUNTS + "task: toy_log\n", "toy_log"),
    "target of a new kind, by its loss": Toy(AMOUNTS + "loss: toy_cosine\n", "toy_cosine", "loss"),
    "target of a new kind, by its task": Toy(AMOUNTS + "task: toy_directions\n", "toy_directions"),
    "metric": Toy(AMOUNTS.replace("answer", "price"), "toy_within"),
}


def mlptrain(*arguments: object, folder: Path) -> Outcome:
    """Run the command line with every toy known."""
    return run_process(*arguments, *WITH_TOYS, folder=folder)


def several(*commands: Sequence[object], folder: Path) -> list[Outcome]:
    """Run several commands in one process, in which every toy is known from the first one on."""
    first, *others = ([str(word) for word in command] for command in commands)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("several.py")],
        cwd=folder,
        env=environment(),
        input=json.dumps([[*first, *map(str, WITH_TOYS)], *others]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return [Outcome(**one) for one in json.loads(done.stdout)]


@pytest.mark.usefixtures("classes", "amounts")
@pytest.mark.parametrize("toy", TOYS.values(), ids=TOYS)
def test_a_class_is_all_it_takes(tmp_path: Path, toy: Toy) -> None:
    table = "amounts.csv" if "amounts.csv" in toy.spec else "classes.csv"
    (tmp_path / "spec.yaml").write_text(toy.spec + LENGTH)
    fitted, evaluated, predicted, checked, *others = several(
        ("fit", "spec.yaml", "--json", "--out", "run"),
        ("evaluate", "run", "--json"),
        ("predict", "run", table, "--quiet"),
        ("gradcheck", "spec.yaml"),
        ("explain", "spec.yaml", "--step", "3"),
        ("components", toy.listed),
        folder=tmp_path,
    )
    assert evaluated.succeeded().json()["metrics"] == fitted.succeeded().json()["results"]["test"]
    assert len(predicted.succeeded().out.splitlines()) == len((tmp_path / table).read_text().splitlines())
    assert toy.listed in (tmp_path / "run" / "spec.yaml").read_text() + (tmp_path / "run" / "metrics.csv").read_text()
    assert "passed" in checked.succeeded().out
    for outcome in others:
        outcome.succeeded()
    mlptrain("evaluate", "run", folder=tmp_path).succeeded()  # in a process that did not train it


def test_the_gradient_check_takes_every_toy_that_has_a_gradient(tmp_path: Path) -> None:
    checks = mlptrain("gradcheck", "--json", folder=tmp_path).succeeded().json()["checks"]
    found = {(check["family"], check["component"].partition("(")[0]) for check in checks if check["passed"]}
    wanted = {(toy.checked, toy.listed) for toy in TOYS.values() if toy.checked}
    assert wanted <= found


MISMATCHES = {
    "task: toy_directions\nloss: mse\n": "mse does not go with task: toy_directions, whose loss is toy_cosine",
    "task: regression\nloss: toy_cosine\n": "toy_cosine does not go with task: regression, whose loss is mse",
}


@pytest.mark.usefixtures("amounts")
@pytest.mark.parametrize(("lines", "message"), MISMATCHES.items())
def test_a_target_of_a_new_kind_needs_a_loss_and_a_task_of_that_kind(tmp_path: Path, lines: str, message: str) -> None:
    (tmp_path / "spec.yaml").write_text(AMOUNTS + lines)
    mlptrain("fit", "spec.yaml", folder=tmp_path).refused(2, "loss: ", message)


@pytest.mark.usefixtures("amounts")
def test_a_loss_without_a_task_is_told(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(AMOUNTS + "loss: toy_cosine\n")
    (tmp_path / "lonely.py").write_text(PLUGIN_OF_ANGLES.read_text().partition("class Directions")[0])
    outcome = run_process("fit", "spec.yaml", "--plugin", "lonely.py", folder=tmp_path)
    outcome.refused(2, "spec.yaml:2:7 loss: toy_cosine goes with no task", "one for 'angle' targets")


@pytest.mark.usefixtures("amounts")
def test_degrees_are_predicted_as_degrees(tmp_path: Path) -> None:
    rows = [(f"{i / 40}", f"{(350 + i) % 360}") for i in range(40)]  # through the full turn
    write_csv(tmp_path / "winds.csv", "x,direction", rows)
    spec = "data: {path: winds.csv, target: direction, split: {validation: 0.2}}\ntask: toy_directions\n"
    rest = "network: {hidden: []}\ntraining: {epochs: 100, early_stopping: null}\noptimizer: {learning_rate: 0.05}\n"
    (tmp_path / "spec.yaml").write_text(spec + rest)
    mlptrain("fit", "spec.yaml", "--out", "run", folder=tmp_path).succeeded()
    lines = mlptrain("predict", "run", "winds.csv", folder=tmp_path).succeeded().out.splitlines()
    degrees = [float(line) for line in lines[1:]]
    assert lines[0] == "direction"
    assert all(abs((found - float(true) + 180) % 360 - 180) < 2 for found, (_, true) in zip(degrees, rows, strict=True))


@pytest.mark.usefixtures("classes")
def test_a_diagnosis_of_ones_own_is_made(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(CLASSES + LENGTH)
    outcome = mlptrain("fit", "spec.yaml", folder=tmp_path).succeeded()
    assert "warning: too quick: accuracy" in outcome.err
    assert "Try: celebrate" in outcome.err


class Log(Consumer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float]] = []
        self.epochs: list[float | None] = []
        self.reason = ""

    def step(self, event: StepDone) -> None:
        self.steps.append((event.step, event.loss))

    def epoch(self, event: EpochDone) -> None:
        self.epochs.append(event.record["train_loss"])

    def done(self, event: TrainingDone) -> None:
        self.reason = event.reason


@pytest.mark.usefixtures("classes")
def test_a_consumer_of_ones_own_hears_everything(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(CLASSES.replace("classes.csv", str(tmp_path / "classes.csv")) + LENGTH)
    run, log = begin(load_experiment(tmp_path / "spec.yaml"), "spec", tmp_path / "run"), Log()
    proceed(run, lambda: None, consumers=(log,))
    assert [step for step, _ in log.steps] == list(range(1, 6 * 3 + 1))
    assert len(log.epochs) == 6
    assert log.reason == "epochs"


def test_nothing_in_the_source_knows_a_toy() -> None:
    names = "|".join(toy.listed for toy in TOYS.values())
    files = [path for path in (SOURCE / "mlptrain").rglob("*.py") if re.search(rf'"({names})"', path.read_text())]
    assert not files
