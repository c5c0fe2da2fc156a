"""Are the intervals of the figures those of a bootstrap, and do they hold the truth as often as they say?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cli import Cli, Row, Write, amounts_rows, classes_rows, summary, write_csv
from helpers import label
from mlptrain.component import variants
from mlptrain.dataset import Part
from mlptrain.metrics import Accuracy, Outcome, RSquared
from mlptrain.nn.losses import CrossEntropy, Loss, MeanSquaredError
from mlptrain.randomness import stream
from mlptrain.tasks import Classification, Regression, Task
from mlptrain.training.intervals import DRAWS, MOST, intervals, losses_of_rows, means_of_draws, middle

CLASSES = Classification(columns=("y",), classes=("a", "b", "c"))
NUMBERS = Regression(columns=("y", "z"), scaler={"kind": "none"}, fitted=((0.0, 0.0), (1.0, 1.0)))  # type: ignore[arg-type]


def part_of(targets: NDArray[Any], weights: NDArray[Any] | None = None, units: NDArray[Any] | None = None) -> Part:
    """All rows of a table without inputs."""
    return Part(cast(Any, None), targets, np.arange(len(targets)), weights, None, units)


def guesses(rows: int, seed: int = 0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Scores for three classes, and classes that they tell in part."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((rows, 3))
    return scores, np.where(rng.random(rows) < 0.6, scores.argmax(axis=1), rng.integers(0, 3, rows))


def by_hand(task: Task, loss: Loss, scores: NDArray[Any], targets: NDArray[Any], codes: NDArray[Any]) -> Any:
    """The figures of every draw of units, each measured as a table of its own."""
    units = codes.max() + 1
    drawn = stream(0, "intervals").integers(0, units, (DRAWS, units))
    found: dict[str, list[Any]] = {}
    for draw in drawn:
        rows = np.concatenate([np.flatnonzero(codes == unit) for unit in draw])
        for name, value in task.measure(loss, scores[rows], part_of(targets[rows])).items():
            found.setdefault(name, []).append(value)
    return {name: np.percentile(values, [2.5, 97.5]) for name, values in found.items() if None not in values}


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_are_those_of_draws_measured_one_by_one(grouped: bool) -> None:
    scores, classes = guesses(40)
    codes = np.arange(40) // 5 if grouped else np.arange(40)
    found = intervals(CLASSES, CrossEntropy(), scores, part_of(classes, units=codes if grouped else None), 0)
    expected = by_hand(CLASSES, CrossEntropy(), scores, classes, codes)
    assert list(found.figures) == ["loss", "accuracy"]
    assert (found.rows, found.groups) == (40, 8 if grouped else None)
    for name, ends in found.figures.items():
        np.testing.assert_allclose(cast(Any, ends), expected[name], rtol=1e-12)


def test_intervals_of_values() -> None:
    rng = np.random.default_rng(1)
    targets = 1e4 + rng.standard_normal((30, 2))
    scores = targets + rng.standard_normal((30, 2)) / 2
    found = intervals(NUMBERS, MeanSquaredError(), scores, part_of(targets), 0)
    expected = by_hand(NUMBERS, MeanSquaredError(), scores, targets, np.arange(30))
    for name in ("loss", "r2"):
        np.testing.assert_allclose(cast(Any, found.figures[name]), expected[name], rtol=1e-9)


LOSSES = [kind(**given) for kind in variants(Loss) for given in kind.examples or ({},)]


@pytest.mark.parametrize("loss", LOSSES, ids=label)
def test_the_losses_of_rows_add_up(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    outputs = loss.outputs(1 if loss.levels else 3)
    target, scores, weights = loss.random_target(7, outputs, rng), rng.standard_normal((7, outputs)), rng.random(7)
    task = CLASSES.model_copy(update={"weights": (1.0, 2.0, 3.0)}) if loss.weighs_classes else NUMBERS
    each = losses_of_rows(task, loss, scores, part_of(target, weights))
    alone = [loss.value(scores[i : i + 1], target[i : i + 1], weights[i : i + 1], task.class_weights) for i in range(7)]
    np.testing.assert_allclose(each, alone, rtol=1e-12)
    assert each.mean() == pytest.approx(loss.value(scores, target, weights, task.class_weights), rel=1e-12)


def test_metrics_are_functions_of_means() -> None:
    scores, classes = guesses(50)
    outcome = CLASSES.outcome(CrossEntropy(), scores, classes)
    terms = Accuracy().terms(outcome)
    assert terms is not None
    assert Accuracy().of_means(terms.mean(axis=0)[None])[0] == Accuracy()(outcome)
    truth = np.stack([scores[:, 0], 1e6 + scores[:, 1]], axis=1)
    values = Outcome(truth, truth + scores[:, 1:] / 3)
    terms = RSquared().terms(values)
    assert terms is not None
    assert RSquared().of_means(terms.mean(axis=0)[None])[0] == pytest.approx(RSquared()(values), rel=1e-9)
    same = RSquared().of_means(np.tile(terms[:1], (2, 1)))
    assert np.isnan(same).all()  # one row again and again has no spread


def coverage(rows: int, groups: int, spread: float, trials: int) -> float:
    """How often the interval of an accuracy holds the true one; with a spread, groups differ in how hard they are."""
    rng, hits = np.random.default_rng(7), 0
    for seed in range(trials):
        codes = np.arange(rows) % groups
        right = rng.random(rows) < (0.7 + spread * rng.choice((-1, 1), groups))[codes]
        means = means_of_draws(right[:, None].astype(float), codes, stream(seed, "intervals"))
        ends = middle(means[:, 0])
        hits += ends is not None and ends[0] <= 0.7 <= ends[1]
    return hits / trials


@pytest.mark.parametrize(
    ("rows", "groups", "spread", "trials", "least"),
    [(100, 100, 0.0, 400, 0.92), (3 * MOST, 3 * MOST, 0.0, 200, 0.92), (400, 40, 0.2, 400, 0.91)],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    rows: int, groups: int, spread: float, trials: int, least: float
) -> None:
    assert least <= coverage(rows, groups, spread, trials) <= 0.98


def test_rows_of_a_group_are_no_more_sure_than_the_group() -> None:
    """Drawing the rows of groups one by one holds the truth far too seldom."""
    rng, hits = np.random.default_rng(7), 0
    for seed in range(100):
        codes = np.arange(400) % 20
        right = rng.random(400) < (0.7 + 0.2 * rng.choice((-1, 1), 20))[codes]
        ends = middle(
            means_of_draws(right[:, None].astype(np.float64), np.arange(400), stream(seed, "intervals"))[:, 0]
        )
        hits += ends is not None and ends[0] <= 0.7 <= ends[1]
    assert hits / 100 < 0.8


def test_bundles_are_as_wide_as_rows() -> None:
    values = np.random.default_rng(0).exponential(size=(20 * MOST, 1))
    low, high = cast(Any, middle(means_of_draws(values, np.arange(len(values)), stream(0, "intervals"))[:, 0]))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.1)


def test_what_says_nothing_has_no_interval() -> None:
    scores, _ = guesses(30)
    right = intervals(CLASSES, CrossEntropy(), scores, part_of(scores.argmax(axis=1)), 0)
    assert right.figures["accuracy"] is None and right.figures["loss"] is not None  # every row is right
    assert intervals(CLASSES, CrossEntropy(), scores[:1], part_of(np.array([1])), 0).figures == {
        "loss": None,
        "accuracy": None,
    }
    infinite = np.full((4, 3), np.nan)
    assert intervals(CLASSES, CrossEntropy(), infinite, part_of(np.arange(4) % 3), 0).figures == {}
    assert middle(np.array([1.0, 2.0] * 400 + [np.nan] * 200)) is None


@pytest.mark.parametrize("preset", ["plain", "quick"])
@pytest.mark.parametrize("main", ["accuracy", "r2"])
def test_fit_and_evaluate_say_the_same(cli: Cli, spec: Write, tmp_path: Path, preset: str, main: str) -> None:
    if main == "accuracy":
        target = "answer"
        wrong: list[Row] = [("0.5", "0.5", "red", "no")] * 2
        write_csv(tmp_path / "t.csv", "x1,x2,colour,answer", [*classes_rows(38), *wrong])
    else:
        target = "price"
        write_csv(tmp_path / "t.csv", "x1,x2,price", amounts_rows())
    data = f"data: {{path: t.csv, target: {target}, split: {{test: 0.5}}}}\n"
    spec(f"preset: {preset}\n{data}training: {{epochs: 2}}\nseed: 3\n")
    shown = cli("fit", "spec.yaml", "--out", "run").succeeded().out
    written = summary(tmp_path / "run")["intervals"]
    assert written["part"] == "test" and list(written["figures"]) == ["loss", main]
    for name, ends in written["figures"].items():
        assert ends is None or ends[0] <= summary(tmp_path / "run")["results"]["test"][name] <= ends[1]
    line = next(line for line in shown.splitlines() if line.startswith("test: "))
    assert line.endswith(f": 95% intervals, bootstrap over {written['rows']} rows")
    assert line.removeprefix("test: ") in cli("evaluate", "run").succeeded().out.splitlines()
    assert cli("fit", "--resume", "run", "--json").succeeded().json()["intervals"] == written
    assert cli("fit", "spec.yaml", "--out", "again", "--json").succeeded().json()["intervals"] == written


def test_training_rows_have_no_interval(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    spec("data: {path: classes.csv, target: answer, split: {validation: 0, test: 0}}\ntraining: {epochs: 2}\n")
    assert "interval" not in cli("fit", "spec.yaml", "--out", "run").succeeded().out
    assert summary(tmp_path / "run")["intervals"] is None
    cli("fit", "spec.yaml", "--out", "other", "--set", "data.split={validation: 0.4, test: 0}").succeeded()
    assert summary(tmp_path / "other")["intervals"]["part"] == "validation"
