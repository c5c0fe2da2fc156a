"""Is nothing lost and nothing believed? Full devices, signals, files of others, damaged runs, and runs done again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli import PROGRAM, Cli, Write, contents, environment, summary, wait_until
from mlptrain.cli.streams import LONGEST, printable, shortened

SPEC = """
data: {path: classes.csv, target: answer}
network: {hidden: [3], dropout: 0.2}
training: {epochs: 6, batch_size: 8}
"""
LONG = SPEC.replace("epochs: 6", "epochs: 100000, early_stopping: null")


@pytest.fixture
def run(cli: Cli, spec: Write, classes: Path) -> Path:
    """The folder of a finished run."""
    cli("fit", spec(SPEC), "--out", "run", "--quiet").succeeded()
    return classes.parent / "run"


# -- the same bytes again


@pytest.mark.parametrize("interruptions", [0, 1, 5])
def test_a_run_is_reproduced(cli: Cli, run: Path, interruptions: int) -> None:
    before = contents(run)
    found = cli("reproduce", "run", "--interrupt", interruptions, "--json").succeeded().json()
    assert found["is_equal"]
    assert found["interruptions"] == interruptions
    assert set(found["equal"]) == {"metrics.csv", "checkpoint.safetensors", "model.safetensors"}
    assert contents(run) == before
    assert "equal to the byte" in cli("reproduce", "run").succeeded().out


def test_a_difference_is_shown_where_it_begins(cli: Cli, run: Path) -> None:
    path = run / "metrics.csv"
    lines = path.read_text().splitlines(keepends=True)
    head, cells = lines[0].rstrip().split(","), lines[3].rstrip().split(",")
    cells[head.index("train_loss")] = "0.5"
    lines[3] = ",".join(cells) + "\n"
    path.write_text("".join(lines))
    cli("reproduce", "run").refused(6, "not reproduced: metrics.csv", "epoch 2: train_loss was 0.5, is ")


def test_another_experiment_is_not_reproduced(cli: Cli, run: Path) -> None:
    """A spec that was changed after training gives other weights: the first tensor is named."""
    path = run / "spec.yaml"
    path.write_text(path.read_text().replace("seed: 0", "seed: 1"))
    cli("reproduce", "run").refused(
        6, "checkpoint.safetensors, model.safetensors differ", "best.layers.0.bias differs by"
    )


def test_what_cannot_be_reproduced_is_said(cli: Cli, run: Path) -> None:
    cli("reproduce", "run", "--interrupt", 1000).refused(2, "--interrupt 1000: the run has ")
    table = run.parent / "classes.csv"
    table.write_text(table.read_text() + "1,1,red,no\n")
    cli("reproduce", "run").refused(4, "classes.csv: changed since the run was trained")
    (run / "model.safetensors").unlink()
    cli("reproduce", "run").refused(2, "has no model.safetensors", "mlptrain fit --resume run")


def test_the_spec_of_a_run_holds_the_number_of_threads(run: Path) -> None:
    assert "threads: 1" in (run / "spec.yaml").read_text()


# -- streams


def test_training_does_not_depend_on_stderr(spec: Write, classes: Path) -> None:
    spec(SPEC)
    with Path("/dev/full").open("w") as full:
        command = [*PROGRAM.split(), "fit", "spec.yaml", "--out", "run"]
        done = subprocess.run(command, cwd=classes.parent, env=environment(), stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0
    assert b"accuracy" in done.stdout
    assert summary(classes.parent / "run")["stopped"]


@pytest.mark.parametrize("verb", ["fit", "evaluate", "components", "--version"])
def test_results_that_cannot_be_written_are_an_error_but_nothing_is_lost(
    cli: Cli, spec: Write, classes: Path, verb: str
) -> None:
    spec(SPEC)
    arguments = {"fit": ["spec.yaml", "--out", "run"], "evaluate": ["run"]}.get(verb, [])
    if verb == "evaluate":
        cli("fit", "spec.yaml", "--out", "run", "--quiet").succeeded()
    with Path("/dev/full").open("w") as full:
        command = [*PROGRAM.split(), verb, *arguments]
        done = subprocess.run(command, cwd=classes.parent, env=environment(), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 5
    assert done.stderr.decode().count("mlptrain: ") == 1
    assert b"No space left on device" in done.stderr
    if verb == "fit":
        assert summary(classes.parent / "run")["stopped"]


# -- signals


def started(folder: Path, *before: str) -> subprocess.Popen[str]:
    command = [*before, *PROGRAM.split(), "fit", "spec.yaml", "--out", "run"]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def test_a_signal_that_the_parent_ignores_stays_ignored(spec: Write, classes: Path) -> None:
    spec(LONG)
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    process = started(classes.parent, sys.executable, "-c", code)
    wait_until((classes.parent / "run" / "timings.csv").exists, process)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert "mlptrain fit --resume run" in err


@pytest.mark.parametrize("moment", [0.01, 0.03, 0.08, 0.2, 0.5])
def test_an_interrupt_is_one_line_at_any_moment(spec: Write, classes: Path, moment: float) -> None:
    """While modules are imported, while the table is read, and in training."""
    spec(LONG)
    code = (
        "import os, signal, sys, threading\n"
        "from mlptrain.__main__ import main\n"
        "sys.argv = ['mlptrain', 'fit', 'spec.yaml', '--out', 'run']\n"
        f"threading.Timer({moment}, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=classes.parent, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("mlptrain: ") == 1


# -- what is shown


def test_control_characters_of_a_table_do_not_reach_the_terminal(cli: Cli, classes: Path) -> None:
    evil = "x\x1b]0;owned\x07\u202ey"
    path = classes.parent / "evil.csv"
    path.write_text(classes.read_text().replace("x1", evil).replace("red", "r\x1b[2Jed"), encoding="utf8")
    outcomes = [
        cli("fit", "evil.csv", "--target", "answer", "--epochs", 2),
        cli("inspect", "evil.csv"),
        cli("fit", "evil.csv", "--target", evil + "z"),
        cli("predict", "latest", "classes.csv"),
    ]
    assert [outcome.code for outcome in outcomes] == [0, 0, 3, 3]
    for outcome in outcomes:
        assert not set(outcome.out + outcome.err) & set("\x1b\x07\u202e")
    assert "x\\x1b]0;owned\\x07\\u202ey" in outcomes[-1].err


def test_a_message_is_bounded() -> None:
    message = "a" * 1_000_000 + "end"
    assert len(shortened(message)) < LONGEST + 100
    assert shortened(message).endswith("end")
    assert shortened("short") == "short"
    assert printable("tab\tand\nnewline") == "tab\tand\nnewline"


# -- the last steps before a divergence


def test_the_last_steps_before_a_divergence_are_kept_and_drawn(cli: Cli, spec: Write, classes: Path) -> None:
    wild = (
        SPEC.replace("epochs: 6", "epochs: 900, early_stopping: null")
        + "loss: focal\noptimizer: {kind: sgd, learning_rate: 1.0e+25}\n"
    )
    outcome = cli("fit", spec(wild), "--out", "run", "--quiet")
    assert outcome.code == 6, outcome.err
    head, *rows = (classes.parent / "run" / "divergence.csv").read_text().splitlines()
    assert head == "step,loss,learning_rate,gradient_norm"
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, len(rows) + 1))[-200:]
    assert f"step {len(rows)}: " in outcome.err
    cli("report", "run", "--quiet").succeeded()
    assert "The last steps before training diverged" in (classes.parent / "run" / "report.html").read_text()
    (classes.parent / "run" / "divergence.csv").write_text("x\n")
    cli("report", "run", "--quiet").refused(4, "divergence.csv: is damaged")


# -- files of others


def test_a_model_file_alone_opens_no_table(cli: Cli, run: Path) -> None:
    alone = run.parent / "elsewhere" / "model.safetensors"
    alone.parent.mkdir()
    shutil.copy(run / "model.safetensors", alone)
    cli("evaluate", alone).refused(2, "name a table with --data")
    cli("evaluate", alone, "--data", "classes.csv").succeeded()
    cli("evaluate", run / "model.safetensors").succeeded()  # in the folder of its run


LISTS = b'"__metadata__":{"mlptrain":"' + b"[]," * 100_000 + b'"}'
TENSORS = b",".join(b'"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % i for i in range(20_000))


@pytest.mark.parametrize("content", [LISTS, TENSORS], ids=["lists", "tensors"])
def test_a_header_that_would_fill_the_memory_is_not_parsed(cli: Cli, run: Path, content: bytes) -> None:
    header = b"{" + content + b"}"
    (run / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    cli("evaluate", "run").refused(4, "model.safetensors: is not a model or checkpoint of mlptrain: its header of ")


# -- what can be computed again is


@pytest.mark.parametrize("name", ["metrics.csv", "model.safetensors", "summary.json"])
@pytest.mark.parametrize("damage", ["cut", "deleted", "other letters"])
def test_derived_files_are_made_anew(cli: Cli, run: Path, name: str, damage: str) -> None:
    whole = contents(run)
    path = run / name
    if damage == "deleted":
        path.unlink()
    else:
        path.write_bytes(whole[name][: len(whole[name]) // 2] if damage == "cut" else b"\xff\xfe" * 20)
    cli("fit", "--resume", "run", "--quiet").succeeded()
    after = contents(run)
    assert after[name] == whole[name] if name != "summary.json" else json.loads(after[name])["results"]


def test_timings_that_are_damaged_start_anew(cli: Cli, run: Path) -> None:
    (run / "model.safetensors").unlink()
    (run / "timings.csv").write_bytes(b"\xff\xfe")
    cli("fit", "--resume", "run", "--quiet").succeeded()
    assert (run / "timings.csv").read_text() == "epoch,seconds,rows_per_second\n"


def test_temporary_files_of_dead_processes_are_removed(cli: Cli, run: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    old, alive, other = (
        run / f".checkpoint.safetensors.tmp-{number}" for number in (dead.stdout.strip(), os.getpid(), "mine")
    )
    for path in (old, alive, other):
        path.write_bytes(b"half")
    cli("fit", "--resume", "run", "--quiet").succeeded()
    assert [path.exists() for path in (old, alive, other)] == [False, True, True]


def test_a_folder_is_not_left_behind_by_a_full_disk(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    cli("fit", spec(SPEC), "--out", "run").refused(5, "No space left on device")
    assert not (classes.parent / "run").exists()


def test_a_disk_without_room_is_said_before_the_first_epoch(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlptrain.runs.run.free_space", lambda folder: 100)
    cli("fit", spec(SPEC), "--out", "run").refused(5, "run: the disk has 100 bytes left, and the run needs about ")
    assert not (classes.parent / "run").exists()


@pytest.mark.parametrize("call", ["stat", "is_dir", "exists", "iterdir", "mkdir", "is_file"])
def test_a_call_of_the_system_that_fails_is_no_bug_of_ours(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def failing(self: Path, *_: object, **__: object) -> bool:
        raise OSError(5, "Input/output error", str(self))

    path = spec(SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(Path, call, failing)
        outcome = cli("fit", path)
    assert outcome.code in (0, 5), outcome.err
    assert "a bug in mlptrain" not in outcome.err
