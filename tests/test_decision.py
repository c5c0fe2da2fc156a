"""Is the threshold of two classes the best one on rows that were not trained on, and is it used wherever it counts?"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import metrics as judge

from cli import Cli, Outcome, Write, summary, write_csv
from mlptrain.metrics import decision_metrics, log_odds
from mlptrain.training import decision
from mlptrain.training.decision import best_threshold, candidates
from strategies import seeds

JUDGES: dict[str, Any] = {
    "accuracy": judge.accuracy_score,
    "balanced_accuracy": judge.balanced_accuracy_score,
    "f1": judge.f1_score,
    "macro_f1": lambda *both: judge.f1_score(*both, average="macro", zero_division=0),
}
SPEC = "network: {hidden: [6]}\noptimizer: {learning_rate: 0.01}\ntraining: {epochs: 12}\n"
FOLDS = "ensemble: {members: 4, rows: folds, blend: true}\n"


@pytest.fixture
def rare(tmp_path: Path) -> Path:
    """A table of three files in which one row of ten is a yes, that two numbers tell of."""
    rng = np.random.default_rng(3)
    for name, rows in (("train", 220), ("validation", 120), ("test", 150)):
        yes = np.arange(rows) % 10 == 0
        x = rng.standard_normal((rows, 2)) + 0.9 * yes[:, None]
        cells = [(f"{a:.3f}", f"{b:.3f}", "yes" if k else "no", int(k)) for (a, b), k in zip(x, yes, strict=True)]
        write_csv(tmp_path / f"{name}.csv", "x1,x2,y,z", cells)
    return tmp_path


def data(target: str = "y", more: str = "validation_path: validation.csv, ") -> str:
    return f"data: {{path: train.csv, {more}test_path: test.csv, target: {target}, features: [x1, x2]}}\n"


def labels(folder: Path, table: str = "test.csv") -> list[str]:
    return [row["y"] for row in csv.DictReader((folder / table).read_text().splitlines())]


def predicted(cli: Cli, run: str, table: str = "test.csv") -> list[dict[str, str]]:
    return list(csv.DictReader(cli("predict", run, table, "--quiet").succeeded().out.splitlines()))


def fitted(cli: Cli, spec: Write, text: str, out: str = "run") -> Outcome:
    return cli("fit", spec(text), "--out", out).succeeded()


@example(seed=359, rows=7, levels=18, metric="macro_f1")  # two equal values whose last bits differ
@example(seed=4601, rows=12, levels=7, metric="balanced_accuracy")
@given(seed=seeds, rows=st.integers(2, 40), levels=st.integers(2, 30), metric=st.sampled_from(sorted(JUDGES)))
def test_no_threshold_is_better(seed: int, rows: int, levels: int, metric: str) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(rows) < 0.3
    positive[:2] = True, False
    margins = rng.integers(-levels, levels, rows) / 4
    found = best_threshold(decision_metrics()[metric], positive, margins)
    best = JUDGES[metric](positive, margins > log_odds(found))
    cuts = [-1e9, *(np.unique(margins) + 1e-6).tolist()]
    values = [JUDGES[metric](positive, margins > cut) for cut in cuts]
    assert best == pytest.approx(max(values))
    if JUDGES[metric](positive, margins > 0) == pytest.approx(max(values), abs=1e-12):
        assert found == 0.5


def test_of_many_rows_some_thresholds_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "MAX_CUTS", 10)
    found = candidates(np.linspace(-3, 4, 1000))
    assert len(found) == 12
    assert (np.diff(found) > 0).all()
    assert 0.5 in found


def test_margins_without_end_have_thresholds_within() -> None:
    found = candidates(np.array([-1e6, 0.25, 1e6]))
    assert ((found > 0) & (found < 1)).all()


def test_the_names_in_the_reference_are_those_of_the_metrics() -> None:
    assert set(JUDGES) == set(decision_metrics())


@pytest.mark.parametrize("metric", sorted(JUDGES))
def test_the_threshold_is_the_best_on_the_validation_rows(cli: Cli, spec: Write, rare: Path, metric: str) -> None:
    fitted(cli, spec, data() + SPEC + f"decision: {{metric: {metric}}}\n")
    run = summary(rare / "run")
    truth = np.array(labels(rare, "validation.csv")) == "yes"
    share = np.array([float(row["probability_yes"]) for row in predicted(cli, "run", "validation.csv")])
    values = [JUDGES[metric](truth, share > cut) for cut in [0, *share.tolist()]]
    assert run["results"]["validation"][metric] == pytest.approx(max(values))
    assert JUDGES[metric](truth, share > run["threshold"]) == pytest.approx(max(values))


@pytest.mark.parametrize("chosen", ["metric: balanced_accuracy", "threshold: 0.2"])
@pytest.mark.parametrize("more", ["", FOLDS], ids=["one network", "folds"])
def test_label_metrics_and_confusion_matrix_follow_the_threshold(
    cli: Cli, spec: Write, rare: Path, chosen: str, more: str
) -> None:
    where = data(more="" if more else "validation_path: validation.csv, ")
    outcome = fitted(cli, spec, where + SPEC + more + f"decision: {{{chosen}}}\n")
    run, rows = summary(rare / "run"), predicted(cli, "run")
    cut = run["threshold"]
    assert cut != 0.5
    assert f"of class 'yes', which is predicted above a probability of {cut:.4g}" in outcome.err
    assert [row["y"] for row in rows] == ["yes" if float(row["probability_yes"]) > cut else "no" for row in rows]
    said = cli("evaluate", "run", "--json").succeeded().json()
    assert said["threshold"] == cut
    assert said["metrics"] == run["results"]["test"]
    truth, found = labels(rare), [row["y"] for row in rows]
    assert said["confusion_matrix"]["counts"] == judge.confusion_matrix(truth, found).tolist()
    assert said["metrics"]["f1"] == pytest.approx(judge.f1_score(truth, found, pos_label="yes"))
    assert said["metrics"]["balanced_accuracy"] == pytest.approx(judge.balanced_accuracy_score(truth, found))


@pytest.mark.parametrize("more", ["", FOLDS], ids=["one network", "folds"])
def test_probabilities_do_not_depend_on_it(cli: Cli, spec: Write, rare: Path, more: str) -> None:
    text = data(more="" if more else "validation_path: validation.csv, ") + SPEC + more
    shares = []
    for out, line in (
        ("a", ""),
        ("b", "decision: {metric: balanced_accuracy}\n"),
        ("c", "decision: {threshold: 0.5}\n"),
    ):
        fitted(cli, spec, text + line, out)
        shares.append([row["probability_yes"] for row in predicted(cli, out)])
    assert shares[0] == shares[1] == shares[2]
    plain, chosen, half = (summary(rare / out)["results"]["test"] for out in "abc")
    assert plain == half
    for name in ("loss", "log_loss", "roc_auc", "average_precision"):
        assert plain[name] == chosen[name]
    assert plain["balanced_accuracy"] < chosen["balanced_accuracy"]


def test_a_yes_no_column_has_a_threshold_too(cli: Cli, spec: Write, rare: Path) -> None:
    fitted(cli, spec, data() + SPEC + "loss: binary_cross_entropy\ndecision: {metric: f1}\n")
    cut, rows = summary(rare / "run")["threshold"], predicted(cli, "run")
    assert cut != 0.5
    assert [row["y"] for row in rows] == ["yes" if float(row["probability_yes"]) > cut else "no" for row in rows]
    fitted(cli, spec, data("z") + SPEC + "task: multilabel\ndecision: {threshold: 0.1}\n", "numbers")
    found = predicted(cli, "numbers")
    assert [row["z"] for row in found] == [str(int(float(row["probability_z"]) > 0.1)) for row in found]


def test_the_linear_model_has_a_threshold_of_its_own(cli: Cli, spec: Write, rare: Path) -> None:
    fitted(cli, spec, data() + SPEC, "plain")
    fitted(cli, spec, data() + SPEC + "decision: {metric: balanced_accuracy}\n")
    before, after = (summary(rare / name)["baselines"] for name in ("plain", "run"))
    assert after["linear"]["balanced_accuracy"] > before["linear"]["balanced_accuracy"]
    assert after["linear"]["loss"] == before["linear"]["loss"]
    assert after["constant"] == before["constant"]


def test_a_resumed_run_has_the_same_threshold(cli: Cli, spec: Write, rare: Path) -> None:
    fitted(cli, spec, data() + SPEC + "decision: {metric: f1}\n")
    model = (rare / "run" / "model.safetensors").read_bytes()
    (rare / "run" / "model.safetensors").unlink()
    cli("fit", "--resume", "run").succeeded()
    assert (rare / "run" / "model.safetensors").read_bytes() == model
    again = cli("fit", "--resume", "run", "--json").succeeded().json()
    assert again["threshold"] == summary(rare / "run")["threshold"]


REFUSED = {
    "a metric of rankings": ("decision: {metric: roc_auc}", "decision.metric", "accuracy, balanced_accuracy, f1"),
    "a metric that is meant": ("decision: {metric: balanced}", "decision.metric", "did you mean 'balanced_accuracy'"),
    "both": ("decision: {metric: f1, threshold: 0.3}", "decision.metric", "remove one of the two"),
    "no probability": ("decision: {threshold: 1}", "decision.threshold", "less than 1"),
    "a quantity": ("loss: mse\ndecision: {threshold: 0.3}", "decision.threshold", "is for a target of two classes"),
    "three classes": ("target: c\ndecision: {metric: f1}", "decision.metric", "is for a target of two classes"),
    "two labels": (
        "target: '[y, y2]'\ntask: multilabel\ndecision: {metric: f1}",
        "decision.metric",
        "is for a target of two classes",
    ),
    "nothing held out": ("validation: 0\ndecision: {metric: f1}", "decision.metric", "data: {split: {validation:"),
}


@pytest.mark.parametrize(("text", "place", "message"), REFUSED.values(), ids=REFUSED)
def test_what_has_no_threshold_is_refused(
    cli: Cli, spec: Write, tmp_path: Path, text: str, place: str, message: str
) -> None:
    rows = [(i % 7, ("no", "yes")[i % 2], ("no", "yes")[i % 3 > 0], "abc"[i % 3]) for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,y,y2,c", rows)
    lines = dict(line.split(": ", 1) for line in text.splitlines() if line.startswith(("target", "validation")))
    target, share = lines.get("target", "y").strip("'"), lines.get("validation", "0.2")
    rest = "\n".join(line for line in text.splitlines() if not line.startswith(("target", "validation")))
    spec(f"data: {{path: t.csv, target: {target}, split: {{validation: {share}}}}}\n{rest}\n")
    cli("fit", "spec.yaml").refused(2, place, message)
    assert not list(tmp_path.glob("runs*"))


def test_validation_rows_of_one_class_choose_nothing(cli: Cli, spec: Write, rare: Path) -> None:
    rows = [("0.1", "0.2", "no", "0")] * 5
    write_csv(rare / "validation.csv", "x1,x2,y,z", rows)
    spec(data() + "decision: {metric: f1}\n")
    cli("fit", "spec.yaml").refused(2, "decision.metric", "all 5 validation rows are of one", "{threshold: 0.5}")


def test_shares_choose_nothing(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(i % 7, f"{i % 11 / 10}") for i in range(60)])
    spec("data: {path: t.csv, target: y}\ntask: multilabel\ndecision: {metric: f1}\n")
    cli("fit", "spec.yaml").refused(2, "decision.metric", "holds probabilities")


def test_of_many_classes_the_worst_are_shown(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(f"{i % 25 + (i % 4) / 9:.2f}", f"k{i % 25:02d}") for i in range(400)]
    write_csv(tmp_path / "t.csv", "x,y", rows)
    spec("data: {path: t.csv, target: y}\ntraining: {epochs: 3, baselines: false}\nnetwork: {hidden: [8]}\n")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    shown = cli("evaluate", "run", "--data", "t.csv").succeeded().out.splitlines()
    start = next(i for i, line in enumerate(shown) if line.split() == ["class", "rows", "precision", "recall", "f1"])
    assert shown[start + 21] == "the 20 classes with the lowest f1 of 25; --json has all of them"
    all_of_them = cli("evaluate", "run", "--data", "t.csv", "--json").succeeded().json()["by_class"]
    assert len(all_of_them) == 25
    hidden = {one["name"]: one["f1"] for one in all_of_them}
    named = [line.split()[0] for line in shown[start + 1 : start + 21]]
    worst = [hidden.pop(name) for name in named]
    assert worst == sorted(worst)
    assert max(worst) <= min(hidden.values())
