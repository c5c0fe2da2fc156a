"""Is every metric the one of scikit-learn that has its name, and None where it has no value?"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from helpers import assert_close
from mlptrain.data.scalers import NoScaling, Scaler, Standard
from mlptrain.dataset import Features, Part
from mlptrain.metrics import (
    ClassFigures,
    Form,
    Metrics,
    Outcome,
    average_precision,
    confusion_matrix,
    higher_is_better,
    mean_or_none,
    metrics_for,
    roc_auc,
    softmax_margins,
)
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanAbsoluteError, MeanSquaredError
from mlptrain.tasks import Classes, Classification, MultiLabel, Regression, Task
from strategies import Answers, answers, seeds


def sklearn_metrics() -> ModuleType:
    """Imported where it is needed, since that takes seconds."""
    return importlib.import_module("sklearn.metrics")


def reference(name: str, *arguments: Any, **options: Any) -> float | None:
    """A metric of scikit-learn; None where it says NaN. Its warnings about classes that do not occur are expected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(getattr(sklearn_metrics(), name)(*arguments, **options))
    return None if math.isnan(value) else value


def demand_equal(found: float | None, expected: float | None) -> None:
    assert (found is None) == (expected is None), f"{found} for {expected}"
    if found is not None and expected is not None:
        assert_close(found, expected, 1e-12, scale=1e-3)


def column(values: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def values_target(outputs: int, scaler: Scaler, fitted: NDArray[np.float64]) -> Regression:
    columns = tuple(f"y{k}" for k in range(outputs))
    return Regression(columns=columns, scaler=scaler, fitted=tuple(tuple(row) for row in fitted.tolist()))


CLASSES: Task = Classification(columns=("y",), classes=("a", "b"))
ANSWER: Task = MultiLabel(columns=("y",), labels=(("no", "yes"),))
AMOUNTS: Task = values_target(1, NoScaling(), np.array([[0.0], [1.0]]))


def names(form: Form, two_sided: bool = True) -> tuple[str, ...]:
    return tuple(metric.name() for metric in metrics_for(form, two_sided))


def figures(outcome: Outcome, form: Form, two_sided: bool = True) -> Metrics:
    return {metric.name(): metric(outcome) for metric in metrics_for(form, two_sided)}


def class_metrics(scores: Array, truth: Target) -> Metrics:
    task = Classification(columns=("y",), classes=tuple(str(k) for k in range(scores.shape[1])))
    return figures(task.outcome(CrossEntropy(), scores, truth), task.form, task.positive is not None)


def binary_metrics(scores: Array, truth: Target) -> Metrics:
    task = MultiLabel(columns=tuple(f"y{k}" for k in range(scores.shape[1])), labels=(None,) * scores.shape[1])
    return figures(task.outcome(BinaryCrossEntropy(), scores, truth), task.form, task.positive is not None)


def value_metrics(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> Metrics:
    return figures(Outcome(truth, predicted), "values")


def outcome_of(task: Task, scores: Array, truth: Target) -> Outcome:
    return task.outcome(task.default_loss(), scores, truth)


def confusion(task: Task, scores: Array, truth: Target) -> Classes | None:
    return task.confusion(outcome_of(task, scores, truth))


# -- a choice among classes


@given(answers(st.integers(2, 6)))
def test_choice_among_classes(drawn: Answers) -> None:
    """Classes may not occur, or never be predicted; then the area under the curve has no value."""
    scores, truth = drawn
    predicted = np.array([row.index(max(row)) for row in scores.tolist()])
    found = class_metrics(scores, truth)
    assert tuple(found) == names("class", scores.shape[1] == 2)
    if "f1" in found:
        demand_equal(found["f1"], reference("f1_score", truth, predicted, zero_division=np.nan))
    demand_equal(found["accuracy"], reference("accuracy_score", truth, predicted))
    demand_equal(found["balanced_accuracy"], reference("balanced_accuracy_score", truth, predicted))
    demand_equal(found["macro_f1"], reference("f1_score", truth, predicted, average="macro"))
    probabilities = CrossEntropy().predict(scores)
    labels = np.arange(scores.shape[1])
    demand_equal(found["log_loss"], reference("log_loss", truth, probabilities, labels=labels))
    assert (found["roc_auc"] is None) == (len(np.unique(truth)) < len(labels))


@given(answers(st.integers(3, 6), every_class=True))
def test_area_under_the_curve_of_several_classes_is_one_against_the_rest(drawn: Answers) -> None:
    scores, truth = drawn
    one_against_the_rest = np.eye(scores.shape[1])[truth]
    probabilities = np.round(CrossEntropy().predict(scores), 12)  # equal ones are tied in spite of their rounding
    expected = reference("roc_auc_score", one_against_the_rest, probabilities, average="macro")
    demand_equal(class_metrics(scores, truth)["roc_auc"], expected)


@given(answers(st.just(2), every_class=True))
def test_areas_under_the_curves_of_two_classes_are_those_of_the_second(drawn: Answers) -> None:
    scores, truth = drawn
    probabilities, found = CrossEntropy().predict(scores)[:, 1], class_metrics(scores, truth)
    demand_equal(found["roc_auc"], reference("roc_auc_score", truth, probabilities))
    demand_equal(found["average_precision"], reference("average_precision_score", truth, probabilities))


@given(answers(st.integers(3, 6), every_class=True))
def test_average_precision_of_several_classes_is_one_against_the_rest(drawn: Answers) -> None:
    scores, truth = drawn
    probabilities = np.round(CrossEntropy().predict(scores), 12)  # equal ones are tied in spite of their rounding
    one_against_the_rest = np.eye(scores.shape[1])[truth]
    expected = reference("average_precision_score", one_against_the_rest, probabilities, average="macro")
    demand_equal(class_metrics(scores, truth)["average_precision"], expected)


@given(answers(st.integers(2, 6)))
def test_figures_of_each_class(drawn: Answers) -> None:
    """A class that is never predicted has no precision, one that does not occur has no recall."""
    scores, truth = drawn
    labels = np.arange(scores.shape[1])
    task = Classification(columns=("y",), classes=tuple(map(str, labels)))
    found = task.by_class(task.outcome(CrossEntropy(), scores, truth))
    demand_figures(found, truth, scores.argmax(axis=1), labels)


def demand_figures(found: list[ClassFigures], truth: ArrayLike, predicted: ArrayLike, labels: ArrayLike) -> None:
    """Demand those of scikit-learn."""
    judge = sklearn_metrics().precision_recall_fscore_support
    expected = judge(truth, predicted, labels=labels, zero_division=np.nan)
    assert [one.rows for one in found] == expected[3].tolist()
    for one, *wanted in zip(found, *expected[:3], strict=True):
        for figure, value in zip((one.precision, one.recall, one.f1), wanted, strict=True):
            demand_equal(figure, None if math.isnan(value) else float(value))


@given(answers(st.integers(2, 6)))
def test_confusion_matrix(drawn: Answers) -> None:
    scores, truth = drawn
    predicted, classes = scores.argmax(axis=1), scores.shape[1]
    expected = sklearn_metrics().confusion_matrix(truth, predicted, labels=np.arange(classes))
    assert np.array_equal(confusion_matrix(truth, predicted, classes), expected)


def test_confusion_matrix_by_hand() -> None:
    table = confusion_matrix(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 2, 2]), 4)
    assert table.tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]


def test_confusion_matrix_of_a_target() -> None:
    scores = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]])
    found = confusion(CLASSES, scores, np.array([0, 1, 1]))
    assert found is not None
    assert (found[0], found[1].tolist()) == (("a", "b"), [[1, 0], [1, 1]])
    found = confusion(ANSWER, column([-1, 1, 2]), column([0, 0, 1]))
    assert found is not None
    assert (found[0], found[1].tolist()) == (("no", "yes"), [[1, 1], [0, 1]])
    numbers = confusion(MultiLabel(columns=("y",), labels=(None,)), column([-1]), column([1]))
    assert numbers is not None
    assert numbers[0] == ("0", "1")
    several = MultiLabel(columns=("y", "z"), labels=(None, None))
    assert confusion(several, scores, np.zeros((3, 2))) is None
    assert confusion(AMOUNTS, scores[:, :1], column([1, 2, 3])) is None


def test_of_tied_scores_the_first_class_is_chosen() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0]])
    assert class_metrics(scores, np.array([0, 1]))["accuracy"] == 1.0
    assert class_metrics(scores, np.array([1, 2]))["accuracy"] == 0.0


def test_metrics_of_float32_scores_are_those_of_their_values() -> None:
    rng = np.random.default_rng(0)
    scores, truth = rng.standard_normal((50, 4)).astype(np.float32), rng.integers(0, 4, 50)
    single, double = class_metrics(scores, truth), class_metrics(scores.astype(np.float64), truth)
    assert_close([single[n] or -1 for n in single], [double[n] or -1 for n in single], 2e-6)


# -- ranking


def sides(positive: Any, scores: Any) -> tuple[Any, Any]:
    return np.sort(scores[positive]), np.sort(scores[~positive])


@given(seed=seeds, rows=st.integers(1, 40), levels=st.integers(1, 10))
def test_area_under_the_curve_with_ties(seed: int, rows: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(rows) < 0.4, rng.integers(0, levels, rows) / 8
    pairs = [(s > t) + (s == t) / 2 for s in scores[positive] for t in scores[~positive]]
    demand_equal(roc_auc(*sides(positive, scores)), math.fsum(pairs) / len(pairs) if pairs else None)
    demand_equal(roc_auc(*sides(positive, scores)), reference("roc_auc_score", positive, scores) if pairs else None)
    expected = reference("average_precision_score", positive, scores) if positive.any() else None
    demand_equal(average_precision(*sides(positive, scores)), expected)


@given(seed=seeds, classes=st.integers(2, 5), gap=st.floats(0.01, 5000))
def test_margins_are_log_odds_however_far_the_scores_are_apart(seed: int, classes: int, gap: float) -> None:
    scores = gap * np.random.default_rng(seed).standard_normal((20, classes))
    for row, found in zip(scores.tolist(), softmax_margins(scores).tolist(), strict=True):
        for k, margin in enumerate(found):
            others = [z for j, z in enumerate(row) if j != k]
            expected = row[k] - max(others) - math.log(math.fsum(math.exp(z - max(others)) for z in others))
            assert margin == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_area_under_the_curve_where_probabilities_round_to_one() -> None:
    """Scores 40 and more apart give probabilities that no float can tell apart; the ranking is still there."""
    gaps, truth = np.array([40.0, 45.0, 50.0, 55.0]), np.array([0, 1, 1, 1])
    scores = np.stack([np.zeros(4), gaps], axis=1)
    assert class_metrics(scores, truth)["roc_auc"] == 1.0
    assert roc_auc(*sides(truth == 1, CrossEntropy().predict(scores)[:, 1])) == 0.5


def test_area_under_the_curve_of_many_rows_does_not_overflow() -> None:
    positive = np.arange(200_000) % 2 == 0
    assert roc_auc(*sides(positive, positive.astype(np.float32))) == 1.0
    assert roc_auc(*sides(~positive, positive.astype(np.float32))) == 0.0
    assert roc_auc(*sides(positive, np.zeros(200_000))) == 0.5


# -- yes or no


@given(answers(st.integers(1, 1)), seeds)
def test_one_yes_or_no(drawn: Answers, seed: int) -> None:
    scores = drawn.scores
    truth = np.random.default_rng(seed).integers(0, 2, len(scores))
    predicted = (scores[:, 0] > 0).astype(int)
    found = binary_metrics(scores, column(truth))
    assert tuple(found) == names("labels")
    demand_equal(found["accuracy"], reference("accuracy_score", truth, predicted))
    demand_equal(found["balanced_accuracy"], reference("balanced_accuracy_score", truth, predicted))
    demand_equal(found["macro_f1"], reference("f1_score", truth, predicted, average="macro"))
    demand_equal(found["log_loss"], reference("log_loss", truth, 1 / (1 + np.exp(-scores[:, 0])), labels=[0, 1]))
    varies = 0 < truth.sum() < len(truth)
    demand_equal(found["roc_auc"], reference("roc_auc_score", truth, scores[:, 0]) if varies else None)
    demand_equal(found["f1"], reference("f1_score", truth, predicted, zero_division=np.nan))
    area = reference("average_precision_score", truth, scores[:, 0]) if truth.any() else None
    demand_equal(found["average_precision"], area)
    demand_figures(ANSWER.by_class(outcome_of(ANSWER, scores, column(truth))), truth, predicted, [0, 1])


@given(seed=seeds, rows=st.integers(4, 40), labels=st.integers(2, 5))
def test_several_yes_or_no(seed: int, rows: int, labels: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(-6, 7, (rows, labels)) / 4
    truth = rng.integers(0, 2, (rows, labels))
    truth[:2] = [[0], [1]]  # every label has its yes and its no
    predicted = (scores > 0).astype(int)
    found = binary_metrics(scores, truth.astype(np.float64))
    demand_equal(found["accuracy"], reference("accuracy_score", truth, predicted))
    recalls = [reference("balanced_accuracy_score", truth[:, k], predicted[:, k]) for k in range(labels)]
    demand_equal(found["balanced_accuracy"], mean_or_none(recalls))
    demand_equal(found["macro_f1"], reference("f1_score", truth, predicted, average="macro"))
    assert "f1" not in found
    demand_equal(found["roc_auc"], reference("roc_auc_score", truth, scores, average="macro"))
    demand_equal(found["average_precision"], reference("average_precision_score", truth, scores, average="macro"))
    task = MultiLabel(columns=tuple(f"y{k}" for k in range(labels)), labels=(None,) * labels)
    figures_found = task.by_class(outcome_of(task, scores, truth.astype(np.float64)))
    assert [one.name for one in figures_found] == list(task.columns)
    demand_figures(figures_found, truth, predicted, np.arange(labels))
    probabilities = 1 / (1 + np.exp(-scores))
    losses = [reference("log_loss", truth[:, k], probabilities[:, k], labels=[0, 1]) for k in range(labels)]
    demand_equal(found["log_loss"], mean_or_none(losses))


# -- amounts


@given(seed=seeds, rows=st.integers(2, 40), outputs=st.integers(1, 4), coarse=st.booleans())
def test_amounts(seed: int, rows: int, outputs: int, coarse: bool) -> None:
    rng = np.random.default_rng(seed)
    truth, predicted = 10 * rng.standard_normal((2, rows, outputs))
    if coarse:  # ties, and predictions that are exactly right
        truth, predicted = np.round(truth / 5), np.round(predicted / 5)
    truth[0] = truth[1] + 1  # no output is constant
    found = value_metrics(predicted, truth)
    assert tuple(found) == names("values")
    demand_equal(found["rmse"], reference("root_mean_squared_error", truth, predicted))
    demand_equal(found["mae"], reference("mean_absolute_error", truth, predicted))
    demand_equal(found["r2"], reference("r2_score", truth, predicted))


def test_amounts_by_hand() -> None:
    truth, predicted = column(np.array([1.0, 2.0, 3.0, 6.0])), column(np.array([1.0, 3.0, 3.0, 3.0]))
    # errors 0, 1, 0, -3: mean square 10 / 4; the truth has mean 3 and squares 4 + 1 + 0 + 9 around it
    found = value_metrics(predicted, truth)
    assert found == {"rmse": pytest.approx(math.sqrt(2.5)), "mae": 1.0, "r2": pytest.approx(1 - 10 / 14)}


# -- the metrics of a loss, in the units of the target


def rows_of(target: Target, truth: Target | None = None) -> Part:
    """Rows with these targets and no features."""
    features = Features(np.empty((len(target), 0)), np.dtype(np.float64))
    return Part(features, target, np.arange(len(target)), truths=truth)


@pytest.mark.parametrize("loss", [MeanSquaredError(), MeanAbsoluteError()], ids=lambda loss: loss.name())
def test_amounts_are_measured_in_the_units_of_their_columns(loss: Loss) -> None:
    rng = np.random.default_rng(0)
    amounts = 500 + np.array([10.0, 200.0]) * rng.standard_normal((30, 2))
    scaler = Standard()
    fitted = scaler.fit(amounts)
    truth = scaler.apply(amounts, fitted)
    scores = truth + 0.5
    found = values_target(2, scaler, fitted).measure(loss, scores, rows_of(truth, amounts))
    assert list(found) == ["loss", *names("values")]
    assert_close(found["loss"] or 0, 0.25 if loss.name() == "mse" else 0.5, 1e-12)  # in scaled units
    spread = amounts.std(axis=0)
    assert_close(found["rmse"] or 0, 0.5 * spread.mean(), 1e-12)
    assert_close(found["mae"] or 0, 0.5 * spread.mean(), 1e-12)
    assert_close(found["r2"] or 0, 0.75, 1e-12)


CHOICES = np.array([0, 0, 1, 1]), np.array([[1.0, -1], [1, 0], [0, 1], [-1, 1]]), np.array([[0.0, 1], [1, -1]] * 2)
ANSWERS = column([0, 0, 1, 1]), column([-2, -1, 1, 2]), column([1, -2, 2, -1])
NUMBERS = column([1, 2, 3]), column([1, 2, 3.1]), column([3, 2, 1])


@pytest.mark.parametrize(
    ("task", "loss", "data"),
    [
        (CLASSES, CrossEntropy(), CHOICES),
        (ANSWER, BinaryCrossEntropy(), ANSWERS),
        (AMOUNTS, MeanSquaredError(), NUMBERS),
    ],
    ids=["class", "binary", "value"],
)
def test_which_metrics_are_better_when_they_are_higher(
    task: Task, loss: Loss, data: tuple[Target, Array, Array]
) -> None:
    truth, good, bad = data
    better, worse = task.measure(loss, good, rows_of(truth)), task.measure(loss, bad, rows_of(truth))
    for name in task.figures:
        one, other = better[name], worse[name]
        assert one is not None
        assert other is not None
        assert (one > other) == higher_is_better(name)
        assert (one < other) != higher_is_better(name)


# -- where a metric has no value

UNDEFINED: list[tuple[str, Callable[[], dict[str, float | None]], str]] = [
    ("one class of two", lambda: class_metrics(np.eye(2), np.zeros(2, np.intp)), "roc_auc"),
    ("one class of three missing", lambda: class_metrics(np.eye(3), np.array([0, 1, 1])), "roc_auc"),
    ("a single row", lambda: class_metrics(np.eye(3)[:1], np.zeros(1, np.intp)), "roc_auc"),
    ("only yes", lambda: binary_metrics(column([1, -1]), np.ones((2, 1))), "roc_auc"),
    ("only no", lambda: binary_metrics(column([1, -1]), np.zeros((2, 1))), "roc_auc"),
    ("one label of two without a yes", lambda: binary_metrics(np.eye(2), np.array([[0.0, 0], [1, 0]])), "roc_auc"),
    ("shares have no accuracy", lambda: binary_metrics(column([1, -1]), column([0.3, 0.7])), "accuracy"),
    ("shares have no recall", lambda: binary_metrics(column([1, -1]), column([0.3, 0.7])), "balanced_accuracy"),
    ("shares have no F1", lambda: binary_metrics(column([1, -1]), column([0.3, 0.7])), "macro_f1"),
    ("shares have no ranking", lambda: binary_metrics(column([1, -1]), column([0.3, 0.7])), "roc_auc"),
    ("shares have no precision", lambda: binary_metrics(column([1, -1]), column([0.3, 0.7])), "average_precision"),
    ("no row is positive", lambda: binary_metrics(column([1, -1]), np.zeros((2, 1))), "average_precision"),
    ("nothing is positive", lambda: binary_metrics(column([-1, -1]), np.zeros((2, 1))), "f1"),
    ("a constant amount", lambda: value_metrics(column([1, 2, 3]), np.full((3, 1), 5.0)), "r2"),
    ("one constant amount of two", lambda: value_metrics(np.eye(2), np.array([[1.0, 5], [2, 5]])), "r2"),
    ("a single amount", lambda: value_metrics(column([1]), column([2])), "r2"),
]


@pytest.mark.parametrize(("measured", "name"), [case[1:] for case in UNDEFINED], ids=[case[0] for case in UNDEFINED])
def test_a_metric_without_a_value_is_none(measured: Callable[[], dict[str, float | None]], name: str) -> None:
    found = measured()
    assert found[name] is None
    assert all(value is None or math.isfinite(value) for value in found.values())
    assert any(value is not None for value in found.values()), "the others have theirs"


@pytest.mark.parametrize("value", [0.1, 1e-3, 1234.5678])
def test_a_constant_amount_has_no_r2_whatever_its_rounding(value: float) -> None:
    for rows in range(1, 12):
        truth = np.full((rows, 1), value)
        assert value_metrics(truth + 1, truth)["r2"] is None


def test_f1_of_a_label_that_neither_occurs_nor_is_predicted_is_none() -> None:
    scores, truth = np.array([[1.0, -1], [-1, -1]]), np.array([[1.0, 0], [0, 0]])
    assert binary_metrics(scores, truth)["macro_f1"] is None


def test_a_mean_of_nothing_or_with_a_gap_is_none() -> None:
    assert mean_or_none([]) is None
    assert mean_or_none([1.0, None]) is None
    assert mean_or_none([1.0, 0.0]) == 0.5
