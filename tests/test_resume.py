"""Does a run that was stopped, in whatever way, end with the same bytes as one that never was?"""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli import (
    BYTES_OF_A_RUN,
    DATASETS,
    PROGRAM,
    Cli,
    Write,
    amounts_rows,
    classes_rows,
    contents,
    environment,
    finished,
    metrics,
    run_cli,
    run_process,
    same_bytes,
    start_cli,
    summary,
    wait_until,
    write_csv,
)
from mlptrain.errors import Interrupted
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.run import Run, begin, finish, lengthen, proceed, resume
from mlptrain.spec.load import load_experiment
from mlptrain.training.events import Consumer, StepDone

ALL = (*BYTES_OF_A_RUN, "spec.yaml", "summary.json")

# Four batches an epoch, the last one shorter; everything that remembers something from step to step.
TRAINING = (
    "training: {{epochs: 5, batch_size: 8, clip_norm: 1.0, baselines: false, early_stopping: {{patience: {}}}}}\n"
)
TINY = {
    "adam, dropout, batch norm, cosine": "data: {path: classes.csv, target: answer}\n"
    "network: {hidden: [6, 4], dropout: 0.3, normalization: batch}\noptimizer: {kind: adam, learning_rate: 0.05}\n"
    "schedule: {kind: cosine, warmup: 2}\npenalty: {l1: 1.0e-3, l2: 1.0e-3}\n" + TRAINING.format(3),
    "momentum, amounts, early stop": "data: {path: amounts.csv, target: price}\n"
    "network: {hidden: [{width: 5, dropout: 0.2}], activation: tanh, normalization: layer}\n"
    "optimizer: {kind: momentum, nesterov: true, learning_rate: 1.5}\n" + TRAINING.format(2),
    "averaging, plateau, residual, class weights": "data: {path: classes.csv, target: answer}\n"
    "network: {hidden: [5, {width: 5, residual: true, dropout: 0.2}], activation: gelu}\n"
    "loss: {kind: focal, class_weight: balanced}\noptimizer: {kind: adamw, learning_rate: 0.05}\n"
    "schedule: {kind: plateau, patience: 0, gamma: 0.5, threshold: 0.5}\n"
    "training: {epochs: 5, batch_size: 6, ema: {decay: 0.9}, clip_value: 0.1, baselines: false}\n",
    "quantiles, centered rmsprop, quantile scaling": "data: {path: amounts.csv, target: price, "
    "numeric: {scale: quantile}, scale_target: robust}\nloss: {kind: quantile, quantiles: [0.1, 0.5, 0.9]}\n"
    "network: {hidden: [4], activation: mish, initializer: orthogonal}\n"
    "optimizer: {kind: rmsprop, centered: true, momentum: 0.5}\nschedule: one_cycle\n"
    "training: {epochs: 4, batch_size: 6, baselines: false}\n",
    "adagrad, float64, file order": "data: {path: classes.csv, target: answer, split: {validation: 0}}\n"
    "network: {hidden: [3], dropout: 0.5}\noptimizer: {kind: adagrad, learning_rate: 0.5}\n"
    "training: {epochs: 3, batch_size: 10, shuffle: false, dtype: float64, baselines: false}\n",
}


def tables(folder: Path) -> Path:
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows())
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows())
    return folder


def never() -> None:
    return None


def interrupting(run: Run, step: int) -> Callable[[], int | None]:
    """A signal that comes in the given step of `run`, counted from 1 and from this start."""
    stop = run.state.progress.step + step
    return lambda: signal.SIGINT if run.state.progress.step >= stop else None


class Killed(BaseException):
    """The process dies."""


class KillAfter(Consumer):
    """Dies after so many steps."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self, event: StepDone) -> None:
        self._left -= 1
        if not self._left:
            raise Killed


def to_the_end(run: Run) -> Path:
    proceed(run, never, save_seconds=1e9)
    finish(run)
    return run.folder.path


@pytest.fixture(scope="module", params=TINY.values(), ids=list(TINY))
def uninterrupted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `whole` of a run that was never stopped, with spec.yaml and its tables beside it."""
    folder = tables(tmp_path_factory.mktemp("tiny"))
    (folder / "spec.yaml").write_text(request.param)
    return to_the_end(begin(load_experiment(folder / "spec.yaml"), "tiny", folder / "whole"))


def begun(whole: Path, name: str) -> Run:
    return begin(load_experiment(whole.parent / "spec.yaml"), "tiny", whole.parent / name)


def test_a_stop_after_any_step_changes_nothing(uninterrupted: Path) -> None:
    steps = summary(uninterrupted)["steps"]
    assert steps >= 8
    for k in range(1, steps + 1):
        run = begun(uninterrupted, f"stopped-{k}")
        with pytest.raises(Interrupted, match=f"saved at step {k}. Resume with: mlptrain fit --resume"):
            proceed(run, interrupting(run, k))
        same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)


def test_a_stop_after_every_step_changes_nothing(uninterrupted: Path) -> None:
    run, stops = begun(uninterrupted, "stopped-always"), 0
    while run.state.progress.stopped is None:
        try:
            proceed(run, interrupting(run, 1))
        except Interrupted:
            run, stops = resume(run.folder), stops + 1
    finish(run)
    assert stops == summary(uninterrupted)["steps"]
    same_bytes(run.folder.path, uninterrupted, ALL)


def test_saving_at_every_step_changes_nothing(uninterrupted: Path) -> None:
    run = begun(uninterrupted, "saved-always")
    proceed(run, never, save_seconds=-1)
    finish(run)
    same_bytes(run.folder.path, uninterrupted, ALL)


def test_work_since_the_last_save_is_done_again(uninterrupted: Path) -> None:
    """As after kill -9: the checkpoint is of step 3, the figures are of a later epoch."""
    run = begun(uninterrupted, "killed")
    with pytest.raises(Interrupted):
        proceed(run, interrupting(run, 3))
    saved = run.folder.checkpoint.read_bytes()
    again = resume(run.folder)
    with pytest.raises(Interrupted):
        proceed(again, interrupting(again, 5))
    assert metrics(run.folder.path)["epoch"] == ["0"]
    run.folder.checkpoint.write_bytes(saved)
    with (run.folder.path / "metrics.csv").open("a") as file:
        file.write("1,8,0.3")  # a line cut in half
    same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)


def test_a_run_that_was_killed_before_it_saved_its_work_starts_again(uninterrupted: Path) -> None:
    run = begun(uninterrupted, "unsaved")
    with pytest.raises(Killed):
        proceed(run, never, save_seconds=1e9, consumers=[KillAfter(4)])
    assert resume(run.folder).state.progress.step == 0
    same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)


def test_a_run_stopped_between_training_and_results_gets_its_results(uninterrupted: Path) -> None:
    run = begun(uninterrupted, "no results")
    proceed(run, never)
    assert not (run.folder.path / "summary.json").exists()
    same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)


def test_evaluating_never_disturbs_a_run(uninterrupted: Path) -> None:
    folder = uninterrupted.parent
    run = begun(uninterrupted, "evaluated")
    with pytest.raises(Interrupted):
        proceed(run, interrupting(run, 6))
    before = contents(run.folder.path)
    table = Path(run.plan.data.path).name
    answers = [run_cli("evaluate", "evaluated", "--json", folder=folder).succeeded().out for _ in range(2)]
    run_cli("predict", "evaluated", table, folder=folder).succeeded()
    run_cli("evaluate", "evaluated", "--data", table, folder=folder).succeeded()
    assert answers[0] == answers[1]
    assert contents(run.folder.path) == before
    same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)


def test_leftovers_of_a_kill_are_no_hindrance(uninterrupted: Path) -> None:
    run = begun(uninterrupted, "leftovers")
    with pytest.raises(Interrupted):
        proceed(run, interrupting(run, 2))
    (run.folder.path / ".checkpoint.safetensors.tmp-99999").write_bytes(b"half a checkpoint")
    (run.folder.path / "notes.txt").write_text("mine")
    (run.folder.path / "timings.csv").unlink()
    same_bytes(to_the_end(resume(run.folder)), uninterrupted, ALL)
    assert (run.folder.path / "notes.txt").read_text() == "mine"


def test_summary_says_that_the_environment_changed(uninterrupted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(uninterrupted, "moved")
    with pytest.raises(Interrupted):
        proceed(run, interrupting(run, 2))
    monkeypatch.setattr("platform.machine", lambda: "abacus")
    again = resume(run.folder)
    assert any("machine was" in note and "is abacus" in note for note in again.notes)


# --- Signals


LONG = (
    f"data: {{path: {DATASETS / 'penguins.csv'}, target: species}}\n"
    "network: {hidden: [16, 8], dropout: 0.2, normalization: batch}\noptimizer: {kind: adam, learning_rate: 0.003}\n"
    "schedule: {kind: cosine, warmup: 5}\n"
    "training: {epochs: 200, early_stopping: {patience: 200}, clip_norm: 1.0, baselines: false}\n"
)


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `whole` of a run of about a second that was never stopped; its spec lies beside it."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "spec.yaml").write_text(LONG)
    run_cli("fit", "spec.yaml", "--out", "whole", "--quiet", folder=folder).succeeded()
    return folder / "whole"


def epochs_written(run: Path) -> int:
    path = run / "metrics.csv"
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
def test_a_signal_saves_and_the_run_goes_on(long_run: Path, stop: signal.Signals) -> None:
    folder, name = long_run.parent, stop.name
    process = start_cli("fit", "spec.yaml", "--out", name, folder=folder)
    wait_until(lambda: epochs_written(folder / name) >= 3, process)
    process.send_signal(stop)
    outcome = finished(process)
    assert outcome.code == 128 + stop
    assert outcome.out == ""
    last = outcome.err.splitlines()[-1]
    assert last.startswith("mlptrain: interrupted in epoch ")
    assert last.endswith(f"Resume with: mlptrain fit --resume {name}")
    assert "Traceback" not in outcome.err
    assert not (folder / name / "summary.json").exists()
    result = run_cli("fit", "--resume", name, "--json", folder=folder).succeeded()
    assert "resuming in epoch " in result.err
    assert result.json()["results"] == summary(long_run)["results"]
    same_bytes(folder / name, long_run, ALL)


@contextmanager
def frozen(process: subprocess.Popen[str]) -> Iterator[None]:
    """Hold a process still, wherever it is, for as long as we look at its run."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_second_process_is_kept_out_of_a_live_run(long_run: Path) -> None:
    folder = long_run.parent
    process = start_cli("fit", "spec.yaml", "--out", "live", folder=folder)
    wait_until(lambda: epochs_written(folder / "live") >= 1, process)
    with frozen(process):
        before = contents(folder / "live")
        second = run_cli("fit", "--resume", "live", folder=folder)
        second.refused(5, "live: another process is working on this run", f'"pid": {process.pid}')
        assert run_cli("fit", "spec.yaml", "--out", "live", folder=folder).code == 2
        assert contents(folder / "live") == before
    finished(process).succeeded()
    same_bytes(folder / "live", long_run, ALL)


def test_evaluating_a_live_run(long_run: Path) -> None:
    """At any moment, also in the middle of a save."""
    folder = long_run.parent
    process = start_cli("fit", "spec.yaml", "--out", "watched", "--save-every", "0", folder=folder)
    wait_until((folder / "watched" / "checkpoint.safetensors").exists, process)
    for _ in range(10):
        with frozen(process):
            run_cli("evaluate", "watched", folder=folder).succeeded()
        time.sleep(0.01)
    finished(process).succeeded()
    same_bytes(folder / "watched", long_run, ALL)


@pytest.mark.parametrize("seed", range(3))
def test_kill_at_random_moments(long_run: Path, seed: int) -> None:
    """Killed again and again, often in the middle of a save, until enough is done to end it in peace."""
    folder, name, chance = long_run.parent, f"killed-{seed}", random.Random(seed)
    command: tuple[object, ...] = ("fit", "spec.yaml", "--out", name)
    kills = 0
    for _ in range(3):
        before = (folder / name / "checkpoint.safetensors").exists()
        process = start_cli(*command, "--save-every", "0", folder=folder)
        wait_until((folder / name / ".lock").exists, process)
        time.sleep(chance.random() * (0.5 if before else 0.9))
        kills += process.poll() is None
        process.kill()
        assert finished(process).code in (-signal.SIGKILL, 0)
        command = ("fit", "--resume", name)
    assert kills >= 2
    run_cli(*command, folder=folder).succeeded()
    same_bytes(folder / name, long_run, ALL)


def test_kill_before_the_first_save_starts_again(long_run: Path) -> None:
    folder = long_run.parent
    process = start_cli("fit", "spec.yaml", "--out", "early", "--save-every", "1000", folder=folder)
    wait_until(lambda: epochs_written(folder / "early") >= 3, process)
    process.kill()
    finished(process)
    said = run_cli("evaluate", "early", folder=folder).succeeded().err
    assert "unfinished, stopped in epoch 0 at step 0" in said
    outcome = run_cli("fit", "--resume", "early", folder=folder).succeeded()
    assert "resuming" not in outcome.err
    same_bytes(folder / "early", long_run, ALL)


def test_ctrl_c_ends_a_chain_of_commands(long_run: Path) -> None:
    """`fit && echo`: the shell sees 130 and stops."""
    folder = long_run.parent
    process = start_cli("fit", "spec.yaml", "--out", "chain", folder=folder)
    wait_until(lambda: epochs_written(folder / "chain") >= 3, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # an impatient user
    outcome = finished(process)
    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    run_cli("fit", "--resume", "chain", folder=folder).succeeded()
    same_bytes(folder / "chain", long_run, ALL)


def test_a_reader_of_progress_may_leave(long_run: Path) -> None:
    """`mlptrain fit spec.yaml 2>&1 | head -1` must not end the training."""
    folder = long_run.parent
    command = f"{PROGRAM} fit spec.yaml --out piped 2> >(head -1 >/dev/null) >/dev/null"
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment(), check=False, timeout=60)
    assert done.returncode == 0
    same_bytes(folder / "piped", long_run, ALL)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda stop: stop.name)
def test_a_signal_while_results_are_measured(uninterrupted: Path, stop: signal.Signals) -> None:
    folder, name = uninterrupted.parent, f"measured-{stop.name}"
    command = ("fit", "spec.yaml", "--quiet", "--set", "name=tiny", "--out", name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlptrain.runs.session.scored", lambda *_: os.kill(os.getpid(), stop))
        outcome = run_cli(*command, folder=folder)
    outcome.refused(128 + stop, "while the results were measured", f"mlptrain fit --resume {name}")
    run_cli("fit", "--resume", name, "--quiet", folder=folder).succeeded()
    same_bytes(folder / name, uninterrupted, ALL)


@pytest.mark.parametrize("verb", ["fit spec.yaml --out unread", "evaluate whole"])
def test_a_reader_of_results_may_leave(long_run: Path, verb: str) -> None:
    command = f"{PROGRAM} {verb} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=long_run.parent, env=environment(), check=False, timeout=60)
    assert done.returncode == 0


# --- A disk that refuses


def failing(call: str, number: int, patch: pytest.MonkeyPatch) -> list[object]:
    """Let the `number`th use of os.fsync or os.replace fail; the list fills with the uses."""
    real: Callable[..., object] = getattr(os, call)
    uses: list[object] = []

    def once(*arguments: object) -> object:
        uses.append(arguments)
        if len(uses) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)

    patch.setattr(os, call, once)
    return uses


FIRST = {"fsync": 2, "replace": 1}
"""Which use of each call is that of spec.yaml; the first fsync is of the folder above the run."""


@pytest.mark.parametrize("call", FIRST)
def test_a_write_that_fails_is_said_and_loses_nothing(uninterrupted: Path, call: str) -> None:
    """Whichever of the durable writes it is; without the first ones, of the folder and spec.yaml, there is no run."""
    folder = uninterrupted.parent
    command = ("fit", "spec.yaml", "--save-every", "0", "--quiet", "--set", "name=tiny", "--out")
    with pytest.MonkeyPatch.context() as patch:
        uses = failing(call, 0, patch)
        run_cli(*command, f"{call}-none", folder=folder).succeeded()
    assert len(uses) > 10
    for number in range(FIRST[call] + 1, len(uses) + 1, 1 + len(uses) // 6):
        name = f"{call}-{number}"
        with pytest.MonkeyPatch.context() as patch:
            failing(call, number, patch)
            outcome = run_cli(*command, name, folder=folder)
        outcome.refused(5, f"{name}/", "cannot be written: No space left on device")
        assert not list((folder / name).glob("*.tmp*"))
        assert not list((folder / name).glob(".*.tmp*"))
        run_cli("fit", "--resume", name, "--quiet", folder=folder).succeeded()
        same_bytes(folder / name, uninterrupted, ALL)


@pytest.mark.parametrize("call", FIRST)
def test_a_spec_that_cannot_be_written_leaves_no_run(uninterrupted: Path, call: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        failing(call, FIRST[call], patch)
        outcome = run_cli("fit", "spec.yaml", "--quiet", "--out", "none", folder=uninterrupted.parent)
    outcome.refused(5, "none/spec.yaml: cannot be written: No space left on device")
    assert not (uninterrupted.parent / "none").exists()


def test_the_folder_of_a_run_that_cannot_be_flushed_is_taken_back(uninterrupted: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        failing("fsync", 1, patch)
        outcome = run_cli("fit", "spec.yaml", "--quiet", "--out", "unflushed", folder=uninterrupted.parent)
    outcome.refused(5, "unflushed: cannot be created: No space left on device")
    assert not (uninterrupted.parent / "unflushed").exists()


def test_no_room_for_metrics(long_run: Path) -> None:
    """No file may grow beyond 24 KB, which metrics.csv reaches first."""
    command = f"ulimit -f 24; exec {PROGRAM} fit spec.yaml --out full --quiet --save-every 1000"
    done = subprocess.run(
        ["bash", "-c", command], cwd=long_run.parent, env=environment(), check=False, capture_output=True, text=True
    )
    assert done.returncode == 5, done.stderr
    assert "full/metrics.csv: cannot be written: File too large" in done.stderr


def test_no_room_for_the_checkpoint(long_run: Path) -> None:
    command = f"ulimit -f 24; exec {PROGRAM} fit spec.yaml --out fuller --quiet --save-every 0"
    done = subprocess.run(
        ["bash", "-c", command], cwd=long_run.parent, env=environment(), check=False, capture_output=True, text=True
    )
    assert done.returncode == 5, done.stderr
    assert done.stderr.startswith("mlptrain: fuller/checkpoint.safetensors: cannot be written: File too large")
    assert not list((long_run.parent / "fuller").glob(".*.tmp*"))
    run_cli("fit", "--resume", "fuller", folder=long_run.parent).succeeded()
    same_bytes(long_run.parent / "fuller", long_run, ALL)


# --- What cannot be resumed


@pytest.fixture
def stopped(cli: Cli, spec: Write, tmp_path: Path) -> Path:
    """The folder of a run that was stopped in its second epoch."""
    tables(tmp_path)
    run = begin(load_experiment(spec(next(iter(TINY.values())))), "tiny", tmp_path / "run")
    with pytest.raises(Interrupted):
        proceed(run, interrupting(run, 6))
    return run.folder.path


def test_a_complete_run_is_left_alone(cli: Cli, stopped: Path) -> None:
    cli("fit", "--resume", "run").succeeded()
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in stopped.iterdir() if path.suffix}
    outcome = cli("fit", "--resume", "run").succeeded()
    assert "run: this run is complete" in outcome.err
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before


def test_a_complete_run_has_its_document(cli: Cli, stopped: Path) -> None:
    first = cli("fit", "--resume", "run", "--json").succeeded().json()
    assert cli("fit", "--resume", "run", "--json").succeeded().json() == first


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        ("epochs: 5", "epochs: 10", ["training.epochs was 5, is 10"]),
        ("learning_rate: 0.05", "learning_rate: 0.1", ["optimizer.learning_rate was 0.05, is 0.1"]),
        ("width: 4", "width: 7", ["network.hidden", "4", "7"]),
        ("seed: 0", "seed: 1", ["seed was 0, is 1"]),
        ("floor: 0.0", "floor: 0.5", ["schedule.floor was 0.0, is 0.5"]),
    ],
    ids=["epochs", "rate", "width", "seed", "schedule"],
)
def test_a_changed_spec_is_refused(cli: Cli, stopped: Path, old: str, new: str, fragments: list[str]) -> None:
    path = stopped / "spec.yaml"
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new).replace("  floor: 0.0\n", "" if "constant" in new else "  floor: 0.0\n"))
    before = contents(stopped)
    cli("fit", "--resume", "run").refused(4, "run/spec.yaml: changed since the run began", *fragments)
    assert contents(stopped) == before
    path.write_text(text)
    cli("fit", "--resume", "run").succeeded()


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a digit": lambda raw: raw.replace(b"-1.10", b"-1.11", 1),
    "a row more": lambda raw: raw + b"1.0,1.0,red,yes\n",
    "rows in another order": lambda raw: b"".join([*raw.splitlines(True)[:1], *raw.splitlines(True)[:0:-1]]),
    "a class more": lambda raw: raw.replace(b"yes", b"maybe", 4),
    "a column less": lambda raw: b"".join(b",".join(line.split(b",")[1:]) for line in raw.splitlines(keepends=True)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_data_is_refused(cli: Cli, stopped: Path, change: Callable[[bytes], bytes]) -> None:
    table = stopped.parent / "classes.csv"
    raw = table.read_bytes()
    assert change(raw) != raw
    table.write_bytes(change(raw))
    before = contents(stopped)
    cli("fit", "--resume", "run").refused(4, f"{table}: changed since the run began", "sha256")
    assert contents(stopped) == before
    table.write_bytes(raw)
    cli("fit", "--resume", "run").succeeded()


def test_data_that_became_unreadable_has_changed(cli: Cli, stopped: Path) -> None:
    table = stopped.parent / "classes.csv"
    table.write_bytes(table.read_bytes() + b"1.0,1.0,red,\n")
    cli("fit", "--resume", "run").refused(4, "classes.csv: changed since the run began")


def test_missing_data_is_named(cli: Cli, stopped: Path) -> None:
    (stopped.parent / "classes.csv").rename(stopped.parent / "moved.csv")
    assert cli("fit", "--resume", "run").code in (3, 4)


@pytest.mark.parametrize("arguments", [("spec.yaml",), ("--set", "seed=1"), ("--out", "new")], ids=str)
def test_resume_takes_nothing_else(cli: Cli, stopped: Path, arguments: tuple[str, ...]) -> None:
    cli("fit", "--resume", "run", *arguments).refused(2, "--resume continues a run with its own settings")


def no_checkpoint(run: Path) -> None:
    (run / "checkpoint.safetensors").write_bytes((run / "checkpoint.safetensors").read_bytes()[:-1])


def a_model_instead(run: Path) -> None:
    folder = RunFolder.open(run)
    whole = resume(folder)
    whole.save_model()
    folder.model.rename(folder.checkpoint)


def no_spec(run: Path) -> None:
    (run / "spec.yaml").unlink()


def no_run(run: Path) -> None:
    run.rename(run.with_name("elsewhere"))


def a_file(run: Path) -> None:
    no_run(run)
    run.write_text("not a folder")


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut checkpoint": (no_checkpoint, "run/checkpoint.safetensors: is not a model or checkpoint of mlptrain"),
    "model in its place": (a_model_instead, "run/checkpoint.safetensors: is a model, not a checkpoint"),
    "no spec.yaml": (no_spec, "run: is not the folder of a run"),
    "no such run": (no_run, "run: no such run"),
    "a file": (a_file, "run: is not the folder of a run"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_what_is_no_run_is_refused(cli: Cli, stopped: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(stopped)
    cli("fit", "--resume", "run").refused(4, message)


def test_a_diverged_run_diverges_again(tmp_path: Path) -> None:
    tables(tmp_path)
    text = "data: {path: amounts.csv, target: price}\noptimizer: {kind: sgd, learning_rate: 1.0e+30}\n"
    text += "training: {batch_size: 8}\n"
    (tmp_path / "spec.yaml").write_text(text)
    assert run_process("fit", "spec.yaml", "--out", "run", folder=tmp_path).code == 6
    before = contents(tmp_path / "run")
    assert run_process("fit", "--resume", "run", folder=tmp_path).code == 6
    assert contents(tmp_path / "run") == before


def test_a_run_that_diverges_between_two_epochs_is_saved(tmp_path: Path) -> None:
    """One batch an epoch: the validation loss is infinite before the loss of the next step is."""
    tables(tmp_path)
    text = "data: {path: amounts.csv, target: price}\noptimizer: {kind: sgd, learning_rate: 1.0e+30}\n"
    (tmp_path / "spec.yaml").write_text(text)
    assert run_process("fit", "spec.yaml", "--out", "run", folder=tmp_path).code == 6
    assert "checkpoint.safetensors" in contents(tmp_path / "run")


def test_a_run_whose_update_overflowed_can_be_read(tmp_path: Path) -> None:
    tables(tmp_path)
    text = "data: {path: amounts.csv, target: price}\noptimizer: {kind: sgd, learning_rate: 1.0e+39}\n"
    text += "training: {batch_size: 8}\n"
    (tmp_path / "spec.yaml").write_text(text)
    assert run_process("fit", "spec.yaml", "--out", "run", folder=tmp_path).code == 6
    assert run_process("fit", "--resume", "run", folder=tmp_path).code == 6


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Signal handlers of this process are as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    assert {number: signal.getsignal(number) for number in before} == before


# --- more epochs


def test_a_lengthened_run_is_the_longer_run(cli: Cli, spec: Write, tmp_path: Path) -> None:
    """To the bytes of a run that had these epochs from the start, where the rate does not depend on their number."""
    write_csv(tmp_path / "t.csv", "a,b,y", classes_rows_of_numbers())
    text = "preset: plain\ndata: {path: t.csv, target: y}\nnetwork: {hidden: [4], dropout: 0.2}\n"
    text += "name: same\ntraining: {epochs: 6, early_stopping: null, batch_size: 8}\n"
    cli("fit", spec(text), "--out", "run").succeeded()
    cli("fit", spec(text), "--out", "other", "--epochs", "15").succeeded()
    assert "epoch 14" in cli("fit", "--resume", "run", "--epochs", "15").succeeded().err
    same_bytes(tmp_path / "run", tmp_path / "other")
    assert (tmp_path / "run/spec.yaml").read_bytes() == (tmp_path / "other/spec.yaml").read_bytes()
    assert summary(tmp_path / "run")["epochs"] == 15
    cli("fit", "--resume", "run", "--epochs", "15").refused(2, "--epochs 15: run has trained 15 epochs; name more")


def test_a_run_that_cannot_be_lengthened_says_why(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "a,b,y", classes_rows_of_numbers())
    text = "preset: plain\ndata: {path: t.csv, target: y}\n"
    stopping = "training: {epochs: 500, early_stopping: {patience: 1, min_delta: 10}}\n"
    cli("fit", spec(text + stopping), "--out", "run").succeeded()
    cli("fit", "--resume", "run", "--epochs", "900").refused(2, "was ended by early stopping")


def test_a_run_is_lengthened_after_a_crash_between_its_two_files(cli: Cli, spec: Write, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "a,b,y", classes_rows_of_numbers())
    text = "preset: plain\ndata: {path: t.csv, target: y}\ntraining: {epochs: 3, early_stopping: null}\n"
    cli("fit", spec(text), "--out", "run").succeeded()
    before = (tmp_path / "run/spec.yaml").read_bytes()
    lengthen(RunFolder(tmp_path / "run"), 5)
    (tmp_path / "run/spec.yaml").write_bytes(before)
    cli("fit", "--resume", "run").refused(4, "training.epochs was 5, is 3")
    cli("fit", "--resume", "run", "--epochs", "5").succeeded()
    assert summary(tmp_path / "run")["epochs"] == 5


def classes_rows_of_numbers() -> list[tuple[object, ...]]:
    return [(i % 7 / 3, i % 5, "yes" if i * i % 3 else "no") for i in range(60)]
