"""Does `check` find what is wrong with an experiment before it is trained, and nothing where nothing is?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli import LESSONS, Cli, Outcome, Row, Write, run_process, write_csv
from mlptrain.checks import CHECKS, alone, check_experiment, count_repeated, duration
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = ["spec", "table", "split", "repeated rows", "giveaway", "cost", "first loss", "gradient", "by heart"]
SPEC = "data: {path: t.csv, target: y}\nnetwork: {hidden: [16]}\ntraining: {epochs: 3}\n"


def noisy(count: int = 200) -> list[Row]:
    """Rows of two numbers and a class that they tell together, and neither alone."""
    points = np.random.default_rng(0).normal(size=(count, 3)).round(3)
    return [(a, b, "ab"[int(a + b + c / 4 > 0)]) for a, b, c in points.tolist()]


def found(outcome: Outcome) -> dict[str, Any]:
    document = outcome.json()
    assert document["passed"] is (outcome.code == 0)
    return {one["name"]: one for one in document["checks"]}


def wrong(outcome: Outcome) -> list[str]:
    """The names of the checks that failed, which the message on stderr names too."""
    assert outcome.code == 6, outcome.err
    names = [name for name, one in found(outcome).items() if one["passed"] is False]
    assert f"something is wrong: {', '.join(names)}" in outcome.err
    return names


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "t.csv", "x,z,y", noisy())


def test_a_sound_experiment_passes(cli: Cli, noise: Path, spec: Write, tmp_path: Path) -> None:
    spec(SPEC)
    passed = cli("check", "spec.yaml", "--json").succeeded()
    assert list(found(passed)) == NAMES
    assert all(one["passed"] for one in found(passed).values()), passed.out
    shown = cli("check", "spec.yaml", "--set", "seed=1").succeeded()
    assert shown.out.count("✓") == len(NAMES)
    assert shown.err.endswith("next: mlptrain fit spec.yaml --set seed=1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.yaml", "t.csv"]


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_the_presets_pass(cli: Cli, noise: Path, spec: Write, preset: str) -> None:
    spec(f"preset: {preset}\ndata: {{path: t.csv, target: y}}\n")
    assert wrong_or_none(cli("check", "spec.yaml", "--json")) == []


def wrong_or_none(outcome: Outcome) -> list[str]:
    return [name for name, one in found(outcome).items() if one["passed"] is False]


@pytest.mark.parametrize("name", ["penguins", "iris", "notebook", "digits"])
def test_our_configs_pass(name: str) -> None:
    findings = list(check_experiment(CONFIGS / f"{name}.yaml"))
    assert [finding.name for finding in findings if finding.passed is False] == []


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("01-xor", []),
        ("03a-rate-too-large", ["cost"]),
        ("06a-vanishing-gradients", ["by heart"]),
        ("06b-relu-and-he", []),
        ("08a-without-batch-norm", ["first loss"]),
        ("08b-batch-norm", []),
    ],
)
def test_what_a_lesson_does_wrong_is_found(name: str, names: list[str]) -> None:
    findings = check_experiment(LESSONS / f"{name}.yaml")
    assert [finding.name for finding in findings if finding.passed is False] == names


def test_all_mistakes_of_a_spec(cli: Cli, spec: Write) -> None:
    spec("data: {path: t.csv, tagret: y}\noptimizer: adm\n")
    failed = cli("check", "spec.yaml", "--json")
    assert wrong(failed) == ["spec"]
    text = found(failed)["spec"]["text"]
    assert "did you mean 'target'?" in text
    assert "did you mean 'adam'?" in text
    assert list(found(failed)) == ["spec"]
    assert "✗" in cli("check", "spec.yaml").out


def test_all_troubles_of_a_table(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(x, "n.a." if i == 3 else i % 7, f"{i % 40} {'mg'[i % 2]}", y) for i, (x, _, y) in enumerate(noisy())]
    write_csv(tmp_path / "t.csv", "x,mixed,units,y", rows)
    spec(SPEC)
    failed = cli("check", "spec.yaml", "--json")
    assert wrong(failed) == ["table"]
    text = found(failed)["table"]["text"]
    assert "2 problems" in text
    assert "One line for all of these columns: data: {exclude: [mixed, units]}" in text


def test_a_table_that_is_not_there_and_a_monitor_that_is_not_computed(cli: Cli, spec: Write, tmp_path: Path) -> None:
    spec(SPEC)
    assert wrong(cli("check", "spec.yaml", "--json")) == ["table"]
    write_csv(tmp_path / "t.csv", "x,z,y", noisy())
    failed = cli("check", "spec.yaml", "--json", "--set", "training.early_stopping.monitor=validation_rmse")
    assert wrong(failed) == ["spec and table"]
    cli("check", "nowhere.yaml").refused(2, "nowhere.yaml")


def test_a_part_of_few_rows(cli: Cli, noise: Path, spec: Write) -> None:
    spec(SPEC)
    failed = cli("check", "spec.yaml", "--json", "--set", "data.split.test=0.02")
    assert wrong(failed) == ["split"]
    assert found(failed)["split"]["remedy"] == "data: {split: {test: 0.3}}"
    cli("check", "spec.yaml", "--set", "data.split.test=0.3").succeeded()


@pytest.mark.parametrize("folds", [False, True])
def test_the_same_row_in_two_parts(cli: Cli, spec: Write, tmp_path: Path, folds: bool) -> None:
    rows = noisy(100)
    write_csv(tmp_path / "t.csv", "x,z,y", [*rows, *rows[:40]])
    path = spec(SPEC + ("ensemble: {members: 5, rows: folds}\n" if folds else ""))
    assert "repeated rows" in wrong(cli("check", "spec.yaml", "--json"))
    _, dataset = prepare(load_experiment(path), "test")
    values, targets = dataset.training.features.values, dataset.training.targets
    key = {row: (values[row].tobytes(), int(targets[row])) for row in range(140)}
    if folds:
        place = {int(row): i for i, fold in enumerate(dataset.folds) for row in fold.validation.rows}  # type: ignore[union-attr]
        twins = sum(any(key[r] == key[row] and place[r] != place[row] for r in place) for row in place)
        assert count_repeated(dataset) == (twins, len(place))
    else:
        training = {key[int(row)] for row in dataset.training.rows}
        held_out = [key[int(row)] for part in (dataset.validation, dataset.test) if part for row in part.rows]
        assert count_repeated(dataset) == (sum(one in training for one in held_out), len(held_out))


@pytest.mark.parametrize(
    "leak", [lambda y: {"a": "no", "b": "yes"}[y], lambda y: {"a": 1.5, "b": -3}[y]], ids=["words", "numbers"]
)
def test_a_column_that_gives_the_target_away(cli: Cli, spec: Write, tmp_path: Path, leak: Any) -> None:
    write_csv(tmp_path / "t.csv", "x,z,leak,y", [(x, z, leak(y), y) for x, z, y in noisy()])
    spec(SPEC)
    failed = cli("check", "spec.yaml", "--json")
    assert wrong(failed) == ["giveaway"]
    assert found(failed)["giveaway"]["remedy"] == "if not: data: {exclude: [leak]}"
    cli("check", "spec.yaml", "--set", "data.exclude=[leak]").succeeded()


def test_a_first_loss_far_from_theory(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,z,y", [(1e4 * float(str(x)), z, y) for x, z, y in noisy()])
    spec(SPEC)
    failed = cli("check", "spec.yaml", "--json", "--set", "data.numeric.scale=none")
    assert "first loss" in wrong(failed)
    assert found(failed)["first loss"]["remedy"] == "data: {numeric: {scale: standard}}"
    theory = found(cli("check", "spec.yaml", "--json").succeeded())["first loss"]["text"]
    assert f"{np.log(2):.4g}, log 2" in theory


def test_a_network_that_learns_nothing_by_heart(cli: Cli, noise: Path, spec: Write) -> None:
    spec(SPEC + "optimizer: {kind: sgd, learning_rate: 0.003}\n")
    failed = cli("check", "spec.yaml", "--json")
    assert wrong(failed) == ["by heart"]
    remedy = found(failed)["by heart"]["remedy"]
    assert remedy == "optimizer: {kind: sgd, learning_rate: 0.03}"
    cli("check", "spec.yaml", "--set", remedy.replace(": ", "=", 1)).succeeded()


def test_a_linear_model_need_not_learn_by_heart(cli: Cli, noise: Path, spec: Write) -> None:
    spec(SPEC)
    passed = cli("check", "spec.yaml", "--json", "--set", "network.hidden=[]").succeeded()
    assert found(passed)["by heart"]["passed"] is None


def test_what_keeps_from_learning_by_heart_is_left_out(cli: Cli, noise: Path, spec: Write) -> None:
    path = spec(
        "data: {path: t.csv, target: y}\nnetwork: {hidden: [{width: 8, dropout: 0.5}, 4], dropout: 0.2}\n"
        "optimizer: {kind: adamw, weight_decay: 0.5}\npenalty: {l2: 0.1}\nensemble: {members: 3}\n"
        "schedule: {kind: cosine, warmup: 1}\ntraining: {epochs: 5}\n"
    )
    plan = alone(prepare(load_experiment(path), "test")[0])
    assert [layer.dropout for layer in plan.network.blocks()] == [0, 0]  # type: ignore[attr-defined]
    assert (plan.optimizer.weight_decay, plan.penalty.l2, plan.members) == (0, 0, None)  # type: ignore[attr-defined]
    assert plan.schedule.is_constant
    assert plan.batch_rows is None


def test_a_run_that_diverges_at_once(cli: Cli, noise: Path, spec: Write) -> None:
    spec(SPEC + "optimizer: {kind: sgd, learning_rate: 1.0e+30}\n")
    failed = cli("check", "spec.yaml", "--json")
    assert "cost" in wrong(failed)
    assert "training diverged" in found(failed)["cost"]["text"]


def test_a_wrong_derivative(noise: Path, spec: Write, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\nfrom typing import Literal\nfrom mlptrain.nn.activations import Activation\n\n\n"
        'class Wrong(Activation):\n    """tanh, with another derivative."""\n\n'
        '    kind: Literal["wrong_tanh"] = "wrong_tanh"\n\n'
        "    def forward(self, z, out, scratch):\n        np.tanh(z, out=out)\n\n"
        "    def backward(self, z, a, grad, scratch):\n        np.multiply(grad, 1 - np.abs(a), out=grad)\n"
    )
    spec(SPEC)
    line = ("check", "spec.yaml", "--json", "--set", "network.activation=wrong_tanh", "--plugin", "mine.py")
    assert "gradient" in wrong(run_process(*line, folder=tmp_path))


def test_values_weights_and_several_labels(cli: Cli, spec: Write, tmp_path: Path) -> None:
    rows = [(x, z, float(str(x)) * float(str(z)), i % 2, 1 + i % 3) for i, (x, z, _) in enumerate(noisy())]
    write_csv(tmp_path / "t.csv", "x,z,y,label,weight", rows)
    spec("data: {path: t.csv, target: y, exclude: [label], sample_weight: weight}\ntraining: {epochs: 5}\n")
    cli("check", "spec.yaml").succeeded()
    spec("data: {path: t.csv, target: [label], exclude: [y], sample_weight: weight}\ntask: multilabel\n")
    assert list(found(cli("check", "spec.yaml", "--json"))) == NAMES


def test_a_table_of_two_rows_is_answered(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,y", [(1, 2.5), (2, 3.5)])
    spec("data: {path: t.csv, target: y}\ntraining: {epochs: 1}\n")
    assert cli("check", "spec.yaml", "--json").code == 6


def test_each_check_has_a_question() -> None:
    assert len({check.__doc__ for check in CHECKS}) == len(CHECKS) == len(NAMES) - 1
    assert duration(59.96) == "60.0 s"
