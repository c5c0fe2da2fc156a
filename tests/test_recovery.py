"""What happens when training diverges: what is told, and how does it go on if the spec says so?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli import Cli, Write, metrics, same_bytes, summary, write_csv

SPEC = """preset: plain
data: {{path: classes.csv, target: answer, split: {{validation: 0.2, test: 0}}}}
network: {{hidden: [4]}}
optimizer: {{kind: {kind}, learning_rate: {rate}}}
training: {{epochs: 6, batch_size: 8, early_stopping: null{more}}}
"""
AGAIN = ", on_divergence: {learning_rate: 1.0e-6, tries: 2}"


def written(kind: str = "sgd", rate: str = "1.0e+20", more: str = "") -> str:
    return SPEC.format(kind=kind, rate=rate, more=more)


def test_the_rows_of_the_batch_are_named_as_in_the_file(tmp_path: Path, spec: Write, cli: Cli) -> None:
    rows = [(f"{i % 7}", "yes" if i % 7 > 3 else "no") for i in range(40)]
    rows[16] = ("3.3e38", "no")
    write_csv(tmp_path / "classes.csv", "x,answer", [*rows[:3], ("2", ""), *rows[3:]])
    text = (
        written(rate="1.0e+30").replace("batch_size: 8", "batch_size: full").replace("validation: 0.2", "validation: 0")
    )
    spec(text.replace("target: answer,", "target: answer, missing_target: drop, numeric: {scale: none},"))
    message = cli("fit", "spec.yaml").refused(6, "training diverged in epoch").err
    found = re.search(
        r"The batch had rows ([\d, ]+) and 35 more; its largest input, 3.3e\+38 when scaled, is in row (\d+)", message
    )
    assert found is not None
    assert found[2] == "18"  # row 16 from 0, one before it without a target, counted from 1


@pytest.mark.parametrize("kind", ["sgd", "adam", "rmsprop", "adagrad"])
@pytest.mark.parametrize("more", ["", ", ema: {decay: 0.9}", ", clip_norm: 1.0"])
def test_training_goes_on_from_the_best_weights(kind: str, more: str, classes: Path, spec: Write, cli: Cli) -> None:
    spec(written(kind, "1.0e+30", more))
    if cli("fit", "spec.yaml", "--out", "ended").code == 0:
        pytest.skip("this optimizer bounds its steps")
    spec(written(kind, "1.0e+30", f"{more}, on_divergence: {{learning_rate: 1.0e-16, tries: 4}}"))
    done = cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "the epoch begins again with the best weights" in done.err
    warnings = [one for one in summary(classes.parent / "run")["warnings"] if one["name"] == "tried_again"]
    assert 1 <= len(warnings) <= 4
    rates = [float(rate) for rate in metrics(classes.parent / "run")["learning_rate"]]
    assert rates[-1] == pytest.approx(1e30 * 1e-16 ** len(warnings))
    assert [int(step) for step in metrics(classes.parent / "run")["step"]] == [4, 8, 12, 16, 20, 24]


def test_tries_are_bounded(classes: Path, spec: Write, cli: Cli) -> None:
    spec(written(rate="1.0e+38", more=", on_divergence: {learning_rate: 0.9, tries: 2}"))
    told = cli("fit", "spec.yaml", "--out", "run").refused(6, "training diverged in epoch 0")
    assert told.code == 6
    names = [one["name"] for one in summary(classes.parent / "run")["warnings"]]
    assert names.count("tried_again") == 2


@pytest.mark.parametrize("schedule", ["constant", "{kind: cosine, warmup: 1}", "plateau"])
def test_a_run_that_went_on_is_reproduced_and_resumed(schedule: str, classes: Path, spec: Write, cli: Cli) -> None:
    spec(written(rate="1.0e+25", more=AGAIN.replace("1.0e-6", "1.0e-13")) + f"schedule: {schedule}\n")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert "tried_again" in str(summary(classes.parent / "run")["warnings"])
    cli("reproduce", "run", "--interrupt", "5").succeeded()
    cli("fit", "run/spec.yaml", "--out", "again").succeeded()
    same_bytes(classes.parent / "run", classes.parent / "again")


def test_members_begin_again_together(classes: Path, spec: Write, cli: Cli) -> None:
    spec(written(rate="1.0e+25", more=AGAIN.replace("1.0e-6", "1.0e-13")) + "ensemble: {members: 3}\n")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    cli("reproduce", "run", "--interrupt", "3").succeeded()


def test_where_nothing_diverges_nothing_changes(classes: Path, spec: Write, cli: Cli) -> None:
    spec(written("adam", "0.01"))
    cli("fit", "spec.yaml", "--out", "without").succeeded()
    spec(written("adam", "0.01", ", on_divergence: {}"))
    cli("fit", "spec.yaml", "--out", "with").succeeded()
    same_bytes(classes.parent / "without", classes.parent / "with", ("metrics.csv",))


@pytest.mark.parametrize("wrong", ["{learning_rate: 1.5}", "{tries: 0}", "{restore: last}", "{learning_rat: 0.5}"])
def test_settings_that_make_no_sense(wrong: str, classes: Path, spec: Write, cli: Cli) -> None:
    spec(written(more=f", on_divergence: {wrong}"))
    cli("fit", "spec.yaml").refused(2, "training.on_divergence.")
