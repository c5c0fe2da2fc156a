"""Does the verdict say what the figures say, and does each line that it offers work when it is pasted?"""

from __future__ import annotations

import copy
import shlex
from pathlib import Path
from typing import Any

import pytest

from cli import Cli, amounts_rows, classes_rows, run_cli, summary, write_csv
from mlptrain.report.importance import Importance, Importances
from mlptrain.report.verdict import MOST_ADVICE, Verdict, changes, lines_of, telling, verdict
from mlptrain.runs.model import open_model
from mlptrain.spec.plan import Plan

Known = tuple[Plan, dict[str, Any]]
SMALL = "network: {hidden: [4, 3]}\ntraining: {epochs: 3, batch_size: 8}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run on classes and one on amounts."""
    folder = tmp_path_factory.mktemp("verdict")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows(60))
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows(60))
    for name, target in (("classes", "answer"), ("amounts", "price")):
        (folder / f"{name}.yaml").write_text(f"data: {{path: {name}.csv, target: {target}}}\n" + SMALL)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


def known(folder: Path, name: str) -> Known:
    """The plan and the summary of a run, to be changed; without warnings."""
    found = copy.deepcopy(summary(folder / name))
    found["warnings"] = []
    return open_model(folder / name).plan, found


@pytest.fixture
def classes(folder: Path) -> Known:
    plan, found = known(folder, "classes")
    found["intervals"] = {"rows": 800, "figures": {"accuracy": [0.85, 0.95], "loss": [0.2, 0.3]}}
    found["results"]["test"] |= {"accuracy": 0.9, "loss": 0.25}
    found["results"]["train"] |= {"loss": 0.24}
    found["baselines"] = {"constant": {"accuracy": 0.55, "loss": 0.7}, "linear": {"accuracy": 0.8, "loss": 0.4}}
    found |= {"stopped": "early_stopping", "epochs": 40, "best_epoch": 19}
    return plan, found


@pytest.fixture
def amounts(folder: Path) -> Known:
    return known(folder, "amounts")


def said(known: Known) -> Verdict:
    return verdict(*known)


def offered(known: Known) -> dict[str, str]:
    """What is advised, by the changes."""
    return {" ".join(advice.changes): advice.why for advice in said(known).advice}


def test_a_good_model_is_called_good(classes: Known) -> None:
    found = said(classes)
    assert found.ended == (
        "Training stopped after 40 epochs, since validation_loss did not improve for 20 epochs; epoch 19 was the best."
    )
    assert found.quality == (
        "Accuracy 0.9000 (95% interval 0.8500 to 0.9500) on 800 test rows: "
        "clearly better than a constant (0.5500) and the linear model (0.8000)."
    )
    assert found.fit == (
        "No sign of overfitting: loss 0.2400 on the training rows, 0.2500 on the test rows (a constant: 0.7000)."
    )
    assert found.advice == ()


@pytest.mark.parametrize(
    ("linear", "words"),
    [
        (0.84, "clearly better than a constant (0.5500) and the linear model (0.8400)"),
        (0.85, "clearly better than a constant (0.5500), not clearly different from the linear model (0.8500)"),
        (0.96, "clearly better than a constant (0.5500), clearly worse than the linear model (0.9600)"),
    ],
)
def test_the_interval_decides_what_is_better(classes: Known, linear: float, words: str) -> None:
    classes[1]["baselines"]["linear"] |= {"accuracy": linear, "loss": 0.25}
    assert words in said(classes).quality
    assert ("network.hidden=[]" in offered(classes)) == (linear != 0.84)


def test_a_network_that_is_better_by_its_loss_alone_keeps_its_layers(classes: Known) -> None:
    classes[1]["baselines"]["linear"] |= {"accuracy": 0.9, "loss": 0.31}
    assert "not clearly different from the linear model (0.9000)" in said(classes).quality
    assert offered(classes) == {}


def test_of_a_figure_without_interval_the_loss_decides(classes: Known) -> None:
    classes[1]["intervals"]["figures"]["accuracy"] = None
    assert said(classes).quality == (
        "Accuracy 0.9000 on 800 test rows, loss 0.2500 (95% interval 0.2000 to 0.3000): "
        "clearly better than a constant (0.7000) and the linear model (0.4000)."
    )


@pytest.mark.parametrize(("gap", "overfits"), [(0.02, False), (0.21, True)])
def test_overfitting_needs_a_gap_that_matters(classes: Known, gap: float, overfits: bool) -> None:
    classes[1]["results"]["train"]["loss"] = 0.25 - gap
    found = said(classes)
    assert found.fit.startswith("It overfits: " if overfits else "No sign of overfitting: ")
    assert f"loss {0.25 - gap:.4f} on the training rows, 0.2500 on the test rows (a constant: 0.7000)" in found.fit
    assert list(offered(classes)) == (["network.dropout=0.2", "penalty.l2=0.001"] if overfits else [])


def test_a_tiny_loss_is_no_overfitting(classes: Known) -> None:
    classes[1]["results"]["train"]["loss"] = 0.0001
    classes[1]["results"]["test"]["loss"] = 0.02
    assert said(classes).fit.startswith("No sign of overfitting: ")


def test_underfitting_asks_for_a_wider_network(classes: Known) -> None:
    classes[1]["results"]["train"]["loss"] = classes[1]["results"]["test"]["loss"] = 0.69
    assert said(classes).fit.startswith("It has learned little: loss 0.6900 on the training rows")
    assert offered(classes) == {"network.hidden=[8, 6]": "a wider network learns more"}


@pytest.mark.parametrize(("best", "longer"), [(39, True), (20, False)])
def test_a_run_that_still_improved_should_be_longer(classes: Known, best: int, longer: bool) -> None:
    classes[1].update(stopped="epochs", best_epoch=best)
    assert said(classes).ended == f"Training ran for all 40 epochs; epoch {best} was the best."
    assert ("training.epochs=6" in offered(classes)) == longer


def test_a_rare_class_asks_for_a_threshold(classes: Known) -> None:
    classes[1]["baselines"]["constant"]["accuracy"] = 0.81
    assert offered(classes) == {"decision.metric=f1": "one class is rare: choose the threshold for its F1"}


def test_few_rows_ask_for_another_seed(classes: Known) -> None:
    classes[1]["intervals"]["rows"] = 52
    assert offered(classes) == {"seed=1": "52 rows are few: another seed shows how much is chance"}


def test_a_diverged_run_needs_smaller_steps(classes: Known) -> None:
    classes[1].update(stopped="diverged", epochs=3, best_epoch=None, results={}, baselines={}, baseline_part="")
    found = said(classes)
    assert found.ended == "Training diverged in epoch 3: a number was not finite; the initial weights are kept."
    assert found.quality == found.fit == ""
    assert offered(classes) == {
        "optimizer.learning_rate=0.0001 training.clip_norm=1.0": "smaller steps diverge less easily"
    }


def test_without_held_out_rows_nothing_is_known_about_new_ones(amounts: Known) -> None:
    found = amounts[1]
    results = {"train": found["results"]["train"]}
    found.update(results=results, baseline_part="train", intervals=None)
    assert said(amounts).quality.endswith("no rows were held out, so that nothing is known about new ones.")
    assert said(amounts).fit == ""


def test_the_remedy_of_a_warning_comes_first_and_once(classes: Known) -> None:
    remedy = "preset: standard, network: {dropout: 0.2}, or penalty: {l2: 0.001}"
    classes[1]["warnings"] = [{"name": "overfitting", "epoch": 9, "message": "it rises", "remedy": remedy}]
    classes[1]["results"]["train"]["loss"] = 0.04
    assert offered(classes) == {
        "network.dropout=0.2": "as the warning advises",
        "penalty.l2=0.001": "against overfitting",
    }


def test_there_are_never_more_than_three_lines(classes: Known) -> None:
    classes[1]["results"]["train"]["loss"] = 0.01
    classes[1]["intervals"]["rows"] = 50
    classes[1]["baselines"]["constant"]["accuracy"] = 0.85
    classes[1]["baselines"]["linear"]["accuracy"] = 0.9
    assert len(said(classes).advice) == MOST_ADVICE


@pytest.mark.parametrize(
    ("remedy", "lines"),
    [
        ("a: {b: 1}", ["a: {b: 1}"]),
        ("a: {b: 1, c: [2, 3]}, d: 4, or e: {f: 5}", ["a: {b: 1, c: [2, 3]}", "d: 4", "e: {f: 5}"]),
        ("", []),
    ],
)
def test_the_remedies_of_a_warning_are_told_apart(remedy: str, lines: list[str]) -> None:
    assert lines_of(remedy) == lines


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("optimizer: {learning_rate: 0.01}", ["optimizer.learning_rate=0.01"]),
        ("optimizer: {kind: sgd, learning_rate: 0.01}", ["optimizer={kind: sgd, learning_rate: 0.01}"]),
        ("network: {normalization: batch, dropout: 0.1}", ["network.normalization=batch", "network.dropout=0.1"]),
        ("optimizer: {learning_rate: 1.0e-05} and training: {rates: ntk}", None),
        ("an empty sentence: [", []),
    ],
)
def test_a_line_of_yaml_becomes_settings(classes: Known, line: str, expected: list[str] | None) -> None:
    found = list(changes(classes[0], line))
    assert found == (["optimizer.learning_rate=1.0e-05", "training.rates=ntk"] if expected is None else expected)


ADVISED: dict[str, dict[str, Any]] = {
    "longer": {"stopped": "epochs", "best_epoch": 39},
    "overfitting": {"results.train.loss": 0.01},
    "underfitting": {"results.train.loss": 0.69, "results.test.loss": 0.69},
    "linear": {"baselines.linear.accuracy": 0.9, "baselines.linear.loss": 0.25},
    "rare": {"baselines.constant.accuracy": 0.85},
    "few": {"intervals.rows": 50},
    "diverged": {"stopped": "diverged", "best_epoch": None},
}


@pytest.mark.parametrize("case", ADVISED)
def test_every_line_works_when_it_is_pasted(folder: Path, cli: Cli, tmp_path: Path, classes: Known, case: str) -> None:
    for path, value in ADVISED[case].items():
        *way, last = path.split(".")
        place: Any = classes[1]
        for key in way:
            place = place[key]
        place[last] = value
    advice = said(classes).advice
    assert advice
    for i, each in enumerate(advice):
        words = shlex.split(each.command(folder / "classes" / "spec.yaml"))
        assert words[:2] == ["mlptrain", "fit"]
        cli(*words[1:], "--out", f"{case}-{i}", "--quiet").succeeded()
        assert (tmp_path / f"{case}-{i}" / "summary.json").exists()


def test_fit_ends_with_the_verdict_and_the_lines_to_paste(cli: Cli, folder: Path, tmp_path: Path) -> None:
    result = cli("fit", folder / "classes.yaml", "--out", "my run").succeeded()
    assert "accuracy" in result.err.lower()
    assert "on the training rows" in result.err
    lines = result.err.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("next: "))
    assert lines[-1] == "      mlptrain report 'my run'   # charts of all this"
    words = [shlex.split(line.removeprefix("next:"), comments=True) for line in lines[start:]]
    pasted = [command for command in words if command]
    assert [command[:2] for command in pasted] == [["mlptrain", "fit"]] * (len(pasted) - 1) + [["mlptrain", "report"]]
    for i, command in enumerate(pasted):
        cli(*command[1:], *(["--out", f"pasted-{i}"] if command[1] == "fit" else []), "--quiet").succeeded()


def test_the_verdict_is_not_in_the_way_of_programs(cli: Cli, folder: Path) -> None:
    assert cli("fit", folder / "classes.yaml", "--out", "quiet", "--quiet").succeeded().err == ""
    result = cli("fit", folder / "classes.yaml", "--out", "json", "--json").succeeded()
    assert "next:" not in result.err
    assert result.json()["run"] == "json"


def test_the_columns_that_stand_out_are_named() -> None:
    each = (Importance("a", 1.0, 0.1), Importance("b", 0.2, 0.01), Importance("c", 0.1, 0.09), Importance("d", 0.01, 0))
    assert telling(Importances(each, 100, 4, 0.5)) == "'a' matters most, then 'b'."
    assert telling(Importances((Importance("a", 0.01, 0.1),), 100, 1, 0.5)) == ""


def test_gradient_boosting_stands_beside_the_simple_models(classes: Known) -> None:
    classes[1]["baselines"]["boosting"] = {"accuracy": 0.84, "loss": 0.3}
    assert "constant (0.5500), the linear model (0.8000) and scikit-learn's HistGradientBoosting (0.8400)." in (
        said(classes).quality
    )
    classes[1]["baselines"]["boosting"] = {"accuracy": 0.96, "loss": 0.1}
    assert said(classes).quality.endswith("clearly worse than scikit-learn's HistGradientBoosting (0.9600).")
