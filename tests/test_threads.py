"""Is the number of threads chosen by a rule, said, stored, and used again?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import threadpoolctl

from cli import Cli, Write, same_bytes, summary
from mlptrain.nn import threads
from mlptrain.nn.activations import ReLU
from mlptrain.nn.layers import Dense
from mlptrain.nn.layout import Layout
from mlptrain.nn.network import lay_out
from mlptrain.nn.threads import blas_threads, choose_threads, cores

SPEC = "data: {path: classes.csv, target: answer}\ntraining: {epochs: 3, batch_size: 8, baselines: false%s}\n"


def square(width: int) -> Layout:
    return lay_out([Dense(width=width, activation=ReLU())], width)


@pytest.fixture
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 16)


def pools() -> set[int]:
    return {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}


@pytest.mark.usefixtures("many_cores")
def test_small_products_get_one_thread_and_large_ones_every_core() -> None:
    assert choose_threads(square(8), 1) == choose_threads(square(64), 32) == 1
    assert choose_threads(square(4096), 4096) == 16


@pytest.mark.usefixtures("many_cores")
def test_more_work_never_means_fewer_threads() -> None:
    chosen = [choose_threads(square(width), 256) for width in (1, 8, 32, 64, 128, 192, 256, 512, 1024)]
    assert chosen == sorted(chosen)
    assert len(set(chosen)) > 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 1 << 16), ("150000 100000", 1), ("50000 100000", 1), ("400000 100000", 4), ("", 1 << 16)],
)
def test_the_grant_of_a_container(text: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    assert threads.granted() == expected
    assert cores() <= expected


def test_where_nothing_is_granted_nothing_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "none")
    assert threads.granted() >= cores() >= 1


def test_the_limit_holds_inside_and_is_lifted_after() -> None:
    before = pools()
    with blas_threads(2):
        assert pools() == {2}
    assert pools() == before


def seen_threads(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """The number of threads at every evaluation, as it is while a run goes on."""
    from mlptrain.training.epoch import EpochEnd

    seen, measure = [], EpochEnd.measure

    def look(self: EpochEnd, learning_rate: float) -> Any:
        seen.append(pools())
        return measure(self, learning_rate)

    monkeypatch.setattr(EpochEnd, "measure", look)
    return seen


def test_a_given_number_is_used_said_and_stored(
    cli: Cli, spec: Write, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_threads(monkeypatch)
    outcome = cli("fit", spec(SPEC % ", threads: 2"), "--out", tmp_path / "run").succeeded()
    assert seen == [{2}] * 3
    assert ", 2 threads" in outcome.err
    assert summary(tmp_path / "run")["environment"]["threads"] == 2


def test_what_was_chosen_is_said_and_stored(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    outcome = cli("fit", spec(SPEC % ""), "--out", tmp_path / "run").succeeded()
    assert ", 1 thread\n" in outcome.err
    assert summary(tmp_path / "run")["environment"]["threads"] == 1
    assert "threads: 1" in (tmp_path / "run" / "spec.yaml").read_text()


def test_a_resumed_run_uses_what_was_chosen_then(
    cli: Cli, spec: Write, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlptrain.errors import Interrupted
    from mlptrain.runs.run import begin, proceed
    from mlptrain.spec.load import load_experiment

    path = spec(SPEC % "")
    with monkeypatch.context() as patch:
        patch.setattr("mlptrain.spec.plan.choose_threads", lambda *_: 2)
        for name in ("whole", "stopped"):
            begun = begin(load_experiment(path), "run", tmp_path / name)
            if name == "stopped":
                with pytest.raises(Interrupted):
                    proceed(begun, lambda: 2)
        assert begun.environment.threads == 2
    seen = seen_threads(monkeypatch)
    cli("fit", "--resume", tmp_path / "stopped").succeeded()
    assert seen == [{2}] * 3
    assert "another environment" not in cli("fit", "--resume", tmp_path / "stopped").err


@pytest.mark.parametrize("word", ["0", "-1", "1.5", "all", "true", "2000"])
def test_a_number_of_threads_that_is_none(cli: Cli, spec: Write, classes: Path, word: str) -> None:
    outcome = cli("fit", spec(SPEC % f", threads: {word}"))
    outcome.refused(2, "training.threads", "'auto'", ":2:")


def test_two_runs_on_two_threads_are_the_same(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:
    path = spec(SPEC % ", threads: 2")
    for name in ("once", "again"):
        cli("fit", path, "--out", tmp_path / name).succeeded()
    same_bytes(tmp_path / "once", tmp_path / "again")
