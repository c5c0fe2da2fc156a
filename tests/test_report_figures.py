"""Are the figures of a report those of scikit-learn, or those that one gets by hand?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from sklearn import metrics as judge
from sklearn.calibration import calibration_curve

from cli import amounts_rows, classes_rows, run_cli, write_csv
from mlptrain.data.tables import Table
from mlptrain.randomness import stream
from mlptrain.report import drawing, figures
from mlptrain.report.charts.classes import CELLS, STRONGEST, WEAKEST, condensed
from mlptrain.report.charts.columns import LEGEND, LINE, beside
from mlptrain.report.charts.training import AskedCurves
from mlptrain.report.importance import ALL, FEW, Sample, dependences, importances, most_important
from mlptrain.report.source import Source, open_source
from mlptrain.report.text import width_of
from mlptrain.training.linear import loss_of


@pytest.fixture(scope="module", params=["continuous", "tied"])
def ranking(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """Which rows are positive, and probabilities that rank them, all different or in steps of a tenth."""
    rng = np.random.default_rng(3)
    positive = rng.random(300) < 0.3
    probability = np.clip(0.2 + 0.35 * positive + 0.2 * rng.standard_normal(300), 0.01, 0.99)
    return positive, probability if request.param == "continuous" else probability.round(1)


def test_the_roc_curve_is_that_of_scikit_learn(ranking: tuple[Any, Any]) -> None:
    false, true = figures.roc_curve(*ranking)
    expected = judge.roc_curve(*ranking, drop_intermediate=False)
    assert_allclose(false, expected[0])
    assert_allclose(true, expected[1])
    assert_allclose(np.trapezoid(true, false), judge.roc_auc_score(*ranking))


def test_precision_and_recall_are_those_of_scikit_learn(ranking: tuple[Any, Any]) -> None:
    recall, precision = figures.precision_recall_curve(*ranking)
    expected = judge.precision_recall_curve(*ranking)
    assert_allclose(recall, expected[1][::-1])
    assert_allclose(precision, expected[0][::-1])


def test_the_calibration_is_that_of_scikit_learn(ranking: tuple[Any, Any]) -> None:
    found = figures.calibration(*ranking)
    observed, predicted = calibration_curve(*ranking, n_bins=10, strategy="quantile")
    assert_allclose(found.predicted, predicted)
    assert_allclose(found.observed, observed)
    assert found.rows.sum() == 300
    assert_allclose(found.error, np.sum(found.rows * abs(observed - predicted)) / 300)


@pytest.mark.parametrize("cut", [0, 25, 50, 77])
def test_the_figures_of_a_threshold_are_those_of_scikit_learn(ranking: tuple[Any, Any], cut: int) -> None:
    positive, probability = ranking
    found = figures.thresholds(positive, probability)
    chosen = probability > found.threshold[cut]
    assert found.threshold[cut] == pytest.approx(cut / 100)
    assert found.precision[cut] == pytest.approx(judge.precision_score(positive, chosen))
    assert found.recall[cut] == pytest.approx(judge.recall_score(positive, chosen))
    assert found.f1[cut] == pytest.approx(judge.f1_score(positive, chosen))
    assert found.accuracy[cut] == pytest.approx(judge.accuracy_score(positive, chosen))


def test_deciles_by_hand() -> None:
    truth = np.arange(20.0)[::-1]
    parts = figures.deciles(truth, np.where(truth < 10, truth + 1, truth - 3))
    assert [(part.low, part.high, part.rows) for part in parts[:2]] == [(0, 1, 2), (2, 3, 2)]
    assert [part.mean_error for part in parts] == [1.0] * 5 + [-3.0] * 5
    assert [part.size for part in parts] == [1.0] * 5 + [3.0] * 5
    assert len(figures.deciles(truth[:3], truth[:3])) == 3


def test_a_histogram_counts_every_finite_value() -> None:
    values = np.append(np.random.default_rng(0).standard_normal(5000), [1e9, np.nan, np.inf])
    edges, counts, outside = figures.histogram(values)
    assert counts.sum() + outside == 5001
    assert edges[-1] < 10
    assert figures.histogram(np.full(5, 3.0))[1].sum() == 5


def test_a_thinned_curve_keeps_its_ends() -> None:
    x = np.arange(10_000.0)
    few, same = figures.thinned(100, x, 2 * x)
    assert len(few) == 100
    assert (few[0], few[-1]) == (0, 9999)
    assert_allclose(same, 2 * few)


def test_a_confusion_matrix_of_a_thousand_classes_keeps_the_largest_ones_and_every_row() -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(0, 3, (1000, 1000))
    table[[7, 500]] += 5
    names, small = condensed([f"c{i}" for i in range(1000)], table)
    assert len(names) == CELLS
    assert {"c7", "c500", "989 others"} <= set(names)
    assert small.sum() == table.sum()
    place = names.index("c500")
    assert small[place, place] == table[500, 500]
    assert small[place].sum() == table[500].sum()


class Columns:
    """Stands in for a sample: the loss rises by a number for each column."""

    def __init__(self, rises: dict[str, float]) -> None:
        self.each, self.asked = rises, 0

    def rises(self, columns: Sequence[str], repeats: int) -> Any:
        self.asked += 1
        return np.full(repeats, sum(self.each[name] for name in columns))


def test_the_columns_that_matter_are_found_among_five_thousand() -> None:
    rises = {f"c{i}": 0.0 for i in range(5000)}
    important = {f"c{i}": float(i % 7 + 1) for i in range(3, 5000, 600)}
    columns = Columns(rises | important)
    found = most_important(columns, list(rises))  # type: ignore[arg-type]
    assert set(important) <= set(found)
    assert len(found) == FEW
    assert columns.asked < 350
    few = [f"c{i}" for i in range(ALL)]
    assert most_important(columns, few) == few  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes with words and missing cells, and one on amounts."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [(*row[:2], "" if i % 9 == 4 else row[2], row[3]) for i, row in enumerate(classes_rows(80))]
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", rows)
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows(80))
    for name, target in (("classes", "answer"), ("amounts", "price")):
        spec = f"data: {{path: {name}.csv, target: {target}}}\ntraining: {{epochs: 5, batch_size: 8, dtype: float64}}\n"
        (folder / f"{name}.yaml").write_text(spec)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


@pytest.fixture
def source(trained: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Source:
    monkeypatch.chdir(trained)
    return open_source(Path(request.param))


def changed(source: Source, column: str, values: Any) -> Table:
    """The table of a run with other values in one column."""
    assert source.measured is not None
    table = source.measured.table
    return replace(table, columns=table.columns | {column: values})


@pytest.mark.parametrize("source", ["classes", "amounts"], indirect=True)
def test_permutation_importance_by_hand(source: Source) -> None:
    """Each column of the table is permuted as the sample does it, and the table encoded anew."""
    measured, model = source.measured, source.model
    assert measured is not None
    sample = Sample(model, measured)
    found = {each.column: each for each in importances(sample).found}
    assert set(found) == {encoder.column for encoder in model.transforms.encoders}
    rows = sample.rows
    assert len(rows) == len(measured.part)
    for column in found:
        losses = []
        for repeat in range(5):
            order = np.arange(measured.table.rows)
            order[rows] = rows[stream(0, "report", 1 + repeat).permutation(len(rows))]
            values = measured.table.columns[column]
            inputs, _ = model.transforms.encode(changed(source, column, values[order]), np.float64)
            losses.append(loss_of(model.network, model.predictor.scores(inputs, rows), measured.part.of(rows)))
        base = loss_of(model.network, model.predictor.scores(measured.part.features, rows), measured.part.of(rows))
        assert_allclose(found[column].rise, np.mean(losses) - base, rtol=1e-9)
        assert_allclose(found[column].spread, np.std(losses), rtol=1e-9)


@pytest.mark.parametrize("source", ["classes", "amounts"], indirect=True)
def test_partial_dependence_by_hand(source: Source) -> None:
    """One value is written into every row of the table, which is encoded and predicted anew."""
    measured, model = source.measured, source.model
    assert measured is not None
    sample = Sample(model, measured)
    names = [encoder.column for encoder in model.transforms.encoders]
    found = list(dependences(sample, model, measured, names))
    assert [each.column for each in found] == names
    for each in found:
        for value, prediction in zip(each.values, each.predictions, strict=True):
            column = np.full(measured.table.rows, value) if not isinstance(value, str) else text_series(value, measured)
            inputs, _ = model.transforms.encode(changed(source, each.column, column), np.float64)
            scores = model.predictor.scores(inputs, sample.rows)
            task, loss = model.transforms.task, model.network.loss
            every = loss.predict(scores) if task.form == "class" else task.outcome(loss, scores, np.zeros(0)).predicted
            assert_allclose(prediction, every.mean(axis=0), rtol=1e-9)


def text_series(value: str, measured: Any) -> Any:
    return pl.Series([value] * measured.table.rows)


@pytest.mark.parametrize(
    ("names", "most"),
    [(["no", "yes"], 2), (["a name of 16 let"] * 4, 2), (["红色红色红色红色"] * 4, 2), (["x" * 80], 1)],
)
def test_a_legend_is_no_wider_than_its_chart(names: list[str], most: int) -> None:
    assert beside(names) == most
    assert most == 1 or most * (LINE + max(map(width_of, names))) <= LEGEND


def luminance(colour: NDArray[np.float64]) -> float:
    """The relative luminance of WCAG 2; `colour` is red, green and blue from 0 to 1."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("colours", [drawing.LIGHT, drawing.DARK])
@pytest.mark.parametrize("alpha", [WEAKEST, STRONGEST])
def test_the_numbers_of_a_confusion_matrix_can_be_read(colours: tuple[str, ...], alpha: float) -> None:
    text, paper, cell = (np.array([int(colours[k][i : i + 2], 16) / 255 for i in (1, 3, 5)]) for k in (0, 3, 4))
    light, dark = sorted([luminance(text), luminance(alpha * cell + (1 - alpha) * paper)], reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_curves_of_many_runs_differ_and_say_whose_best_epoch_it_is() -> None:
    runs = {f"run {i}": ([0.0, 1.0, 2.0, 3.0], [float(i)] * 4) for i in range(12)}
    chart = AskedCurves.joined(runs, best=dict.fromkeys(runs, 2))
    with drawing.drawn(chart, drawing.ink_of(drawing.LIGHT)) as figure:
        lines = [line for line in figure.axes[0].get_lines() if line.get_label().startswith("run ")]
        legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert len({(line.get_color(), line._unscaled_dash_pattern[1]) for line in lines}) == 12
    assert legend == [*(f"run {i}, best: 2" for i in range(12)), "best epoch"]
