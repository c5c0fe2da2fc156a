"""Does training go as the plan says: rates by step, events and their consumers, a step explained, averages?"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli import Cli, Write, metrics, run_process, summary, write_csv
from helpers import assert_close, label, random_batch, stack, trainer
from mlptrain.component import example_instances
from mlptrain.errors import Diverged
from mlptrain.explain import explain
from mlptrain.nn.activations import Tanh
from mlptrain.nn.arrays import Array
from mlptrain.nn.layers import Stage
from mlptrain.nn.losses import MeanSquaredError
from mlptrain.nn.normalization import BatchNorm
from mlptrain.optim.optimizers import SGD, Adam, AMSGrad, Optimizer, TensorOptimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant, Cosine, OneCycle, Plateau, Schedule
from mlptrain.randomness import DropoutStream
from mlptrain.runs.run import begin, finish, proceed
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.spec.sections import Ema, Training
from mlptrain.training.diagnostics import Trend
from mlptrain.training.events import Consumer, EpochDone, StepDone, TrainingDone, part_listener
from mlptrain.training.state import Progress
from mlptrain.training.step import Step, Update

CLASSES = "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [5]}\n"  # 28 training rows


def plan_of(path: Path) -> tuple[Plan, Any]:
    return prepare(load_experiment(path), "test")


# -- schedules by step


def rates(schedule: Schedule, epochs: int, per_epoch: int) -> list[float]:
    return [schedule.at(step, epochs * per_epoch, per_epoch) for step in range(epochs * per_epoch)]


@pytest.mark.parametrize("per_epoch", [12, 57, 100])
def test_one_cycle_over_five_epochs_has_its_peak_and_ends_at_its_lowest_rate(per_epoch: int) -> None:
    found = rates(OneCycle(), 5, per_epoch)
    assert max(found) > 0.999
    assert found[-1] == min(found) == pytest.approx(1 / (25 * 1e4))
    assert found.index(max(found)) in (int(0.3 * 5 * per_epoch) - 1, int(0.3 * 5 * per_epoch))


@pytest.mark.parametrize("schedule", [s for s in example_instances(Schedule) if not isinstance(s, Plateau)], ids=label)
def test_a_rate_at_the_beginning_of_an_epoch_does_not_depend_on_the_steps_of_an_epoch(schedule: Schedule) -> None:
    if isinstance(schedule, OneCycle):
        return  # its last step is the end of the cycle, wherever that lies
    whole = rates(schedule, 12, 1)
    for per_epoch in (3, 10):
        assert_close(rates(schedule, 12, per_epoch)[::per_epoch], whole, 1e-14)


def test_a_warm_up_rises_from_step_to_step() -> None:
    assert rates(Constant(warmup=2), 3, 4) == [*(step / 8 for step in range(1, 9)), 1, 1, 1, 1]


def test_only_a_constant_schedule_without_warm_up_is_constant() -> None:
    constant = [s for s in example_instances(Schedule) if s.is_constant]
    assert [s.name() for s in constant] == ["constant"]
    assert not Constant(warmup=1).is_constant


def test_the_plateau_leaves_the_state_that_it_is_given() -> None:
    schedule = Plateau(patience=0)
    before = schedule.start()
    kept = dict(before)
    after = schedule.observe(schedule.observe(before, 1.0, False), 1.0, False)
    assert before == kept
    assert after["factor"] == 0.1


def test_the_record_holds_the_rate_of_the_last_step(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    text = CLASSES + "optimizer: {learning_rate: 0.5}\nschedule: {kind: cosine, warmup: 1}\n"
    cli("fit", spec(text + "training: {epochs: 3, batch_size: 7}\n"), "--out", "run").succeeded()
    rate = [float(value) for value in metrics(tmp_path / "run")["learning_rate"]]
    assert_close(rate, [0.5 * Cosine(warmup=1).at(step, 12, 4) for step in (3, 7, 11)], 1e-15)


PLUGIN = Path(__file__).parent / "plugins" / "training.py"
"""A schedule by steps, an optimizer by layer and a diagnosis of somebody's own."""


def test_a_schedule_by_steps_of_somebodys_own(spec: Write, classes: Path, tmp_path: Path) -> None:
    spec(CLASSES + "schedule: wave\ntraining: {epochs: 2, batch_size: 10}\n")  # three steps an epoch
    run_process("fit", "spec.yaml", "--plugin", PLUGIN, "--out", "run", folder=tmp_path).succeeded()
    assert metrics(tmp_path / "run")["learning_rate"] == ["0.001", "0.0005"]


@pytest.mark.parametrize(
    ("text", "place", "new"),
    [
        ("schedule: {kind: step, every: 3}", "schedule.every", "step_size"),
        ("schedule: {kind: one_cycle, rise: 0.2}", "schedule.rise", "pct_start"),
        ("schedule: {kind: cosine_restarts, growth: 2}", "schedule.growth", "t_mult"),
        ("training: {averaging: {decay: 0.9}}", "training.averaging", "ema"),
    ],
)
def test_a_key_of_old_is_refused_with_its_new_name(
    cli: Cli, spec: Write, classes: Path, text: str, place: str, new: str
) -> None:
    cli("fit", spec(CLASSES + text + "\n")).refused(2, place, f"was renamed to '{new}'")


# -- events and consumers


class Listener(Consumer):
    """Takes down everything."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, float, float, float]] = []
        self.epochs: list[EpochDone] = []
        self.ends: list[str] = []

    def step(self, event: StepDone) -> None:
        self.steps.append((event.step, event.loss, event.learning_rate, event.gradient_norm))

    def epoch(self, event: EpochDone) -> None:
        self.epochs.append(event)

    def done(self, event: TrainingDone) -> None:
        self.ends.append(event.reason)

    def failed(self, error: Diverged) -> None:
        self.ends.append("failed")

    def close(self) -> None:
        self.ends.append("closed")


def listen(path: Path, out: Path, *consumers: Consumer) -> None:
    proceed(begin(load_experiment(path), "run", out), lambda: None, consumers=consumers)


def test_a_consumer_gets_every_event(spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(CLASSES + "schedule: {kind: step, step_size: 1}\ntraining: {epochs: 3, batch_size: 8}\n")
    first, second = Listener(), Listener()
    listen(path, tmp_path / "run", first, second)
    assert first.steps == second.steps
    assert [step for step, *_ in first.steps] == list(range(1, 13))
    assert_close([rate for _, _, rate, _ in first.steps], [0.001] * 4 + [1e-4] * 4 + [1e-5] * 4, 1e-12)
    assert first.ends == ["epochs", "closed"]
    rows = metrics(tmp_path / "run")
    assert [event.record["step"] for event in first.epochs] == [4, 8, 12]
    for i, event in enumerate(first.epochs):
        assert event.record["train_loss"] == float(rows["train_loss"][i])
        steps = first.steps[4 * i : 4 * i + 4]
        assert_close(
            sum(loss * n for (_, loss, _, _), n in zip(steps, (8, 8, 8, 4), strict=True)) / 28,
            event.record["train_loss"] or 0.0,
            1e-12,
        )
        norm = math.sqrt(sum(norm**2 for *_, norm in steps) / 4)
        assert_close(event.record["gradient_norm"] or 0.0, norm, 1e-12)


def test_a_consumer_hears_of_a_divergence(spec: Write, classes: Path, tmp_path: Path) -> None:
    listener = Listener()
    with pytest.raises(Diverged):
        listen(spec(CLASSES + "optimizer: {kind: sgd, learning_rate: 1.0e+30}\n"), tmp_path / "run", listener)
    assert listener.ends == ["failed", "closed"]


def test_a_consumer_that_wants_no_steps_is_not_asked(spec: Write, classes: Path, tmp_path: Path) -> None:
    class Quiet(Consumer):
        def __getattribute__(self, name: str) -> Any:
            assert name not in ("step", "part")
            return super().__getattribute__(name)

    listen(spec(CLASSES + "training: {epochs: 1}\n"), tmp_path / "run", Quiet())
    assert part_listener([Quiet(), Listener()]) is None


class Parts(Consumer):
    """Takes down the parts of the work."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def part(self, name: str, layer: int) -> None:
        self.names.append(f"{name} {layer}")


STEP = ["other 0", "gather 0", "forward 0", "forward 1", "loss 0", "backward 1", "backward 0"]
STEP += ["penalty 0", "clip 0", "optimizer 0", "averages 0"]


def test_a_consumer_hears_the_parts_of_each_step(spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(CLASSES + "training: {epochs: 2, batch_size: 16}\n")
    first, second = Parts(), Parts()
    listen(path, tmp_path / "run", first, Listener(), second)
    assert first.names == second.names == ["other 0", "shuffle 0", *STEP, *STEP, "other 0", "epoch 0"] * 2


def test_a_consumer_of_the_whole_run_hears_all_of_it(spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(CLASSES + "training: {epochs: 1, batch_size: full, baselines: false}\n")
    parts, listener = Parts(), Listener()
    run = begin(load_experiment(path), "run", tmp_path / "run", [parts, listener])
    proceed(run, lambda: None)
    finish(run)
    assert parts.names[:2] == ["other 0", "prepare 0"]
    assert parts.names[2:4] == ["other 0", "checkpoint 0"]
    assert parts.names[6 : 6 + len(STEP)] == STEP
    written = [name for name in parts.names if name in ("checkpoint 0", "model 0", "metrics 0")]
    assert written == ["checkpoint 0", "checkpoint 0", "model 0", "metrics 0", "metrics 0", "metrics 0"]
    assert [step for step, *_ in listener.steps] == [1]
    assert listener.ends == ["epochs", "closed"]


# -- optimizers


class Lars(TensorOptimizer):
    """Layer-wise adaptive rates (You et al. 2017), without momentum; no variant, as it has no kind."""

    @property
    def slots(self) -> tuple[str, ...]:
        return ("last",)

    def update(self, w: Array, g: Array, slots: Any, scratch: Array, lr: float, t: int) -> None:
        assert w.shape == g.shape == slots[0].shape == scratch.shape
        size, slope = np.linalg.norm(w), np.linalg.norm(g)
        np.multiply(g, lr * (size / slope if size and slope else 1.0), out=scratch)
        np.copyto(slots[0], scratch)
        np.subtract(w, scratch, out=w)


def test_an_optimizer_by_layer_gets_each_tensor_in_its_shape() -> None:
    """The step of each tensor is a share of its own norm, whatever the gradient of the others."""
    network = trainer(stack(3, 4, 2, activation=Tanh()), MeanSquaredError(), Lars())
    x, target = random_batch(network.network, 6)
    named, before = network.network.layout.named_parameters, network.state.parameters.copy()
    network.step(x, target, 0.1)
    moved = named(before - network.state.parameters)
    for name in ("layers.0.weight", "layers.1.weight"):
        assert_close(np.linalg.norm(moved[name]), 0.1 * np.linalg.norm(named(before)[name]), 1e-12)
    assert_close(network.state.slots["last"], before - network.state.parameters, 1e-12, scale=1e-3)


def test_an_optimizer_by_layer_trains_and_resumes(spec: Write, classes: Path, tmp_path: Path) -> None:
    spec(CLASSES + "optimizer: {kind: lars, learning_rate: 0.05}\ntraining: {epochs: 30, baselines: false}\n")
    plugin = ("--plugin", PLUGIN)
    run_process("fit", "spec.yaml", *plugin, "--out", "run", folder=tmp_path).succeeded()
    loss = [float(value) for value in metrics(tmp_path / "run")["train_loss"]]
    assert loss[-1] < 0.7 * loss[0]
    run_process("fit", "--resume", "run", *plugin, folder=tmp_path).succeeded()
    run_process("evaluate", "run", *plugin, folder=tmp_path).succeeded()


@pytest.mark.parametrize("optimizer", [Adam(beta1=0.8, beta2=0.99), AMSGrad()], ids=label)
def test_slot_scales_give_the_moments_of_the_textbook(optimizer: Any) -> None:
    network = trainer(stack(2, 1, activation=Tanh()), MeanSquaredError(), optimizer)
    m = v = largest = np.zeros_like(network.state.parameters)
    for seed in range(4):
        x, target = random_batch(network.network, 5, seed)
        g = network.gradient(x, target)
        network.step(x, target, 0.1)
        m = optimizer.beta1 * m + (1 - optimizer.beta1) * g
        v = optimizer.beta2 * v + (1 - optimizer.beta2) * g**2
        largest = np.maximum(largest, v)
    expected = {"first_moment": m, "second_moment": v, "largest_second_moment": largest}
    for name, slot in network.state.slots.items():
        assert_close(slot * optimizer.slot_scales()[name], expected[name], 1e-13)


@pytest.mark.parametrize("optimizer", example_instances(Optimizer), ids=label)
def test_slot_scales_name_slots(optimizer: Optimizer) -> None:
    assert set(optimizer.slot_scales()) <= set(optimizer.slots)


@pytest.mark.parametrize("kind", ["adamw", "lion"])
def test_a_decay_that_would_turn_weights_around_is_refused(cli: Cli, spec: Write, classes: Path, kind: str) -> None:
    text = "optimizer: {kind: %s, learning_rate: 0.5, weight_decay: %s}\n"
    said = "times learning_rate is 1.5 and must not exceed 1, or weights change sign; it must be at most 2"
    cli("fit", spec(CLASSES + text % (kind, "3.0"))).refused(2, "optimizer.weight_decay", said)
    cli("fit", spec(CLASSES + text % (kind, "2.0") + "training: {epochs: 1}\n")).succeeded()


# -- explain


def stages_of(path: Path, step: int) -> list[Stage]:
    return explain(*plan_of(path), step)


def value(stages: list[Stage], formula: str) -> Any:
    return next(stage.value for stage in stages if stage.formula.startswith(formula))


EVERYTHING = (
    "data: {path: classes.csv, target: answer}\noptimizer: {kind: sgd, learning_rate: 0.5}\n"
    "network: {hidden: [5, {width: 5, residual: true}], normalization: batch, dropout: 0.3}\n"
    "penalty: {l1: 0.01, l2: 0.02}\nschedule: cosine\n"
    "training: {epochs: 2, batch_size: 8, ema: {decay: 0.9}, %s}\n"
)


@pytest.mark.parametrize("step", [1, 3, 6, 8])
def test_the_printed_gradient_leads_to_the_printed_change(spec: Write, classes: Path, step: int) -> None:
    stages = stages_of(spec(EVERYTHING % "clip_norm: 0.001"), step)
    norm = float(re.search(r"gradient norm ([\d.e-]+)", " ".join(stage.title for stage in stages))[1])  # type: ignore[index]
    assert norm > 0.01
    factor = value(stages, "c = min(1")
    assert_close(factor, 0.001 / norm, 1e-5)
    rate = 0.5 * Cosine().at(step - 1, 8, 4)
    for i in range(3):
        penalized = value(stages, f"dL/dW{i} + l1")
        assert_close(value(stages, f"c * dL/dW{i}"), factor * penalized, 1e-5, scale=1e-4)
        moved = value(stages, f"W{i}, new") - value(stages, f"W{i}")
        assert_close(value(stages, f"change of W{i}"), moved, 1e-12)
        assert_close(moved, -rate * value(stages, f"c * dL/dW{i}"), 1e-3, scale=1e-3)


def test_a_step_is_explained_as_it_is_trained(spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(EVERYTHING % "clip_value: 0.01")
    run = begin(load_experiment(path), "run", tmp_path / "run")
    losses: list[float] = []

    class Losses(Consumer):
        def step(self, event: StepDone) -> None:
            losses.append(event.loss)

    proceed(run, lambda: None, consumers=[Losses()])
    assert [value(stages_of(path, step), "L") for step in range(1, 9)] == losses
    last = stages_of(path, 8)
    tensors = run.network.layout.named_parameters(run.state.parameters)
    assert np.array_equal(value(last, "W2, new"), tensors["layers.2.weight"])
    assert run.state.ema is not None
    averages = run.network.layout.named_parameters(run.state.ema[0])
    assert np.array_equal(value(last, "W2, average"), averages["layers.2.weight"])
    assert np.abs(value(last, "dL/dW0, clipped")).max() <= np.float32(0.01)


def test_a_step_after_the_last_one_is_refused(cli: Cli, spec: Write, classes: Path) -> None:
    path = spec(CLASSES + "training: {epochs: 2, batch_size: 10}\n")  # 28 rows in batches of 10: 6 steps
    cli("explain", path, "--step", "6").succeeded()
    for step in ("7", "8"):
        cli("explain", path, "--step", step).refused(2, "the run ends after 6 steps; --step must be at most that")


# -- early stopping and diagnoses


def test_a_monitor_without_a_value_stops_nothing_and_is_said(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(f"{i % 7}", "no") for i in range(40)] + [("1", "yes"), ("2", "yes")]
    table = write_csv(tmp_path / "t.csv", "x,y", rows)
    held = write_csv(tmp_path / "v.csv", "x,y", rows[:9])
    monitor = "early_stopping: {patience: 3, monitor: validation_roc_auc}"
    text = f"data: {{path: {table.name}, validation_path: {held.name}, target: y, split: {{test: 0}}}}\n"
    outcome = cli("fit", spec(text + f"training: {{epochs: 9, {monitor}}}\n"), "--out", "run").succeeded()
    assert "did not improve" not in outcome.err
    assert "stopped after all 9 epochs; validation_roc_auc is undefined in every epoch" in outcome.err
    assert "warning: monitor without value" in outcome.err
    found = summary(tmp_path / "run")
    assert (found["stopped"], found["best_epoch"]) == ("epochs", None)


def test_patience_begins_with_the_first_value() -> None:
    progress = Progress()
    kept = [progress.update_best(value, False, 0.0) for value in (None, None, 2.0, None, 3.0, 1.0)]
    assert kept == [True, True, True, False, False, True]
    assert (progress.wait, progress.best_cost) == (0, 1.0)


def test_a_diagnosis_of_somebodys_own_is_found_by_itself(spec: Write, classes: Path, tmp_path: Path) -> None:
    spec(CLASSES + "training: {epochs: 4}\n")
    outcome = run_process("fit", "spec.yaml", "--plugin", PLUGIN, folder=tmp_path).succeeded()
    said = r"warning: too quick: accuracy \d+% already \(epoch 1\)\. Try:\s+celebrate"
    assert re.search(said, outcome.err), outcome.err
    assert outcome.err.count("too quick") == 1


def test_a_negative_loss_is_judged_by_its_excess(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """The Poisson loss of large counts is far below 0, so that a factor of it says nothing."""
    rng = np.random.default_rng(0)
    rows = [(*(f"{v:.4f}" for v in rng.standard_normal(20)), str(rng.poisson(30))) for _ in range(90)]
    write_csv(tmp_path / "counts.csv", ",".join([*(f"x{i}" for i in range(20)), "y"]), rows)
    text = (
        "data: {path: counts.csv, target: y, split: {validation: 0.4}}\nloss: poisson\nnetwork: {hidden: [128]}\n"
        "optimizer: {learning_rate: 0.01}\ntraining: {epochs: 60, early_stopping: {monitor: train_loss}}\n"
    )
    outcome = cli("fit", spec(text), "--out", "run").succeeded()
    assert all(float(loss) < 0 for loss in metrics(tmp_path / "run")["train_loss"][5:])
    warned = {one["name"]: one for one in summary(tmp_path / "run")["warnings"]}
    assert "overfitting" in warned, outcome.err
    assert "early_stopping" in warned["overfitting"]["remedy"]


def test_a_trend_knows_its_excess() -> None:
    trend = Trend(floor=-10.0)
    for value in (-4.0, -6.0):
        trend.add(value)
    assert (trend.excess(trend.first), trend.excess(trend.lowest), trend.mean) == (6.0, 4.0, -5.0)


# -- averages


def test_running_statistics_are_averaged_like_the_weights() -> None:
    layers = stack(3, 4, 2, activation=Tanh(), normalization=BatchNorm())
    found = trainer(layers, MeanSquaredError())
    state, network = found.state, found.network
    state.ema = (state.parameters.copy(), state.buffers.copy())
    step = Step(network, state, Update(SGD(), Penalty(), Training(ema=Ema(decay=0.9))), DropoutStream(0))
    expected = [array.copy() for array in state.ema]
    for t in range(1, 5):
        x, target = random_batch(network, 6, seed=t)
        loss = step(x, target, 0.1)
        state.progress.count_step(loss, len(x), step.squared_norm, step.layer_squared_norms)
        d = min(0.9, (1 + t) / (10 + t))
        for average, now in zip(expected, (state.parameters, state.buffers), strict=True):
            average *= d
            average += (1 - d) * now
    for average, wanted in zip(state.ema, expected, strict=True):
        assert_close(average, wanted, 1e-12, scale=1e-3)
    assert state.evaluated is state.ema
    state.keep_as_best()
    assert np.array_equal(state.best_buffers, state.ema[1])


# -- independent streams


@pytest.mark.parametrize("lag", [1, 64, 1024, 65_536])
def test_dropout_numbers_of_different_steps_are_not_correlated(lag: int) -> None:
    """The correlation of n pairs has the standard error 1 / sqrt(n). PCG64 gave 9 to 22 of them at these lags."""
    stream, n = DropoutStream(7), 10_000
    total = 0.0
    for step in range(50):
        one = stream.at(step).random(n) - 0.5
        other = stream.at(step + lag).random(n) - 0.5
        total += float(one @ other) * 12
    assert abs(total / (50 * n)) < 5 / math.sqrt(50 * n)
