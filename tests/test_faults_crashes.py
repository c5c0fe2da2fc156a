"""Does a run survive what a machine can do to it: calls that fail, kills at every call, lost power, full memory?

`faults.py` lets the Nth call of the operating system fail, or be the last one. Whatever happens, a file has its old
content or its new one, the message says what failed, and the run goes on to the bytes of one that nothing happened to.
"""

from __future__ import annotations

import errno
import os
import pkgutil
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from cli import (
    BYTES_OF_A_RUN,
    PROGRAM,
    Cli,
    Outcome,
    Write,
    amounts_rows,
    classes_rows,
    contents,
    environment,
    finished,
    run_cli,
    same_bytes,
    start_cli,
    wait_until,
    write_csv,
)
from faults import ERRORS, SHORT, Faults, Killed, error_name, failing
from mlptrain.errors import Interrupted
from mlptrain.runs import checkpoint as files
from mlptrain.runs.run import begin, proceed
from mlptrain.spec.load import load_experiment
from mlptrain.training import evaluation

ALL = (*BYTES_OF_A_RUN, "spec.yaml", "summary.json")
SPEC = (
    "preset: plain\nname: same\ndata: {path: classes.csv, target: answer}\nnetwork: {hidden: [3], dropout: 0.2}\n"
    "training: {epochs: 2, batch_size: 16, baselines: false}\n"
)
COMMANDS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "spec.yaml", "--out", "run", "--save-every", "0", "--quiet"),
    "resume": ("fit", "--resume", "run", "--save-every", "0", "--quiet"),
    "evaluate": ("evaluate", "run", "--out", "figures.json"),
    "predict": ("predict", "run", "classes.csv", "--out", "predicted.csv"),
    "report": ("report", "run", "--quiet"),
}
RESUME = ("fit", "--resume", "run", "--quiet")


class Bench(NamedTuple):
    """Where calls are let fail."""

    whole: Path
    """A run to which nothing happened."""
    starts: dict[str, Path]
    """The folder before each command."""
    place: Path
    """Where the commands are run; what is stored in a run depends on the folder."""

    def ready(self, command: str) -> None:
        """Make the folder as it is before `command`."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.starts[command], self.place)

    def run(self, command: str, number: int = 0, error: int = errno.EIO) -> tuple[Outcome, Faults]:
        """Run a command from its start; its call with that number fails."""
        self.ready(command)
        with failing(Faults(self.place, number, error)) as faults:
            return run_cli(*COMMANDS[command], folder=self.place), faults


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    base = tmp_path_factory.mktemp("bench").resolve()
    place, starts = base / "place", {name: base / name for name in COMMANDS}
    place.mkdir()
    write_csv(place / "classes.csv", "x1,x2,colour,answer", classes_rows())
    (place / "spec.yaml").write_text(SPEC)
    shutil.copytree(place, starts["fit"])
    run = begin(load_experiment(place / "spec.yaml"), "same", place / "run")
    with pytest.raises(Interrupted):
        proceed(run, lambda: signal.SIGINT if run.state.progress.step >= 1 else None)
    shutil.copytree(place, starts["resume"])
    run_cli(*RESUME, folder=place).succeeded()
    shutil.copytree(place / "run", base / "whole")
    for name in ("evaluate", "predict", "report"):
        shutil.copytree(place, starts[name])
    return Bench(base / "whole", starts, place)


def check_answer(outcome: Outcome, call: str) -> None:
    """Demand a completed command, or exit 5 with one message that says what failed."""
    assert outcome.code in (0, 5), outcome.err
    assert "a bug in mlptrain" not in outcome.err
    assert "Traceback" not in outcome.err
    if outcome.code:
        assert outcome.err.count("mlptrain: ") == 1
        assert outcome.out == ""
        assert Path(call.split()[1]).name.lstrip(".").split(".tmp")[0] in outcome.err or "lock" in call, outcome.err


def check_files(bench: Bench, command: str) -> None:
    """Demand that each file has its old content or a new one that is whole."""
    before, now = contents(bench.starts[command]), contents(bench.place)
    assert before.keys() <= now.keys()
    assert all(now[name] == content for name, content in before.items() if not name.startswith("run/"))
    run = bench.place / "run"
    if "run/checkpoint.safetensors" in now:
        files.decode_checkpoint(now["run/checkpoint.safetensors"], "run")
    if "run/model.safetensors" in now:
        assert now["run/model.safetensors"] == (bench.whole / "model.safetensors").read_bytes()
    if "run/spec.yaml" in now:
        assert now["run/spec.yaml"] == (bench.whole / "spec.yaml").read_bytes()
    assert not [path.name for path in run.glob(".*.tmp*")]


def check_going_on(bench: Bench) -> None:
    """Demand that the run goes on to the same bytes; one that was never begun begins."""
    run = bench.place / "run"
    if not (run / "spec.yaml").exists():
        shutil.rmtree(run, ignore_errors=True)
        run_cli(*COMMANDS["fit"], folder=bench.place).succeeded()
    run_cli(*RESUME, folder=bench.place).succeeded()
    same_bytes(run, bench.whole, ALL)


def let_fail(bench: Bench, command: str, number: int, error: int) -> None:
    """Let one call fail, and demand all that must hold."""
    outcome, faults = bench.run(command, number, error)
    if len(faults.calls) < number:  # some are only made by the first command of a process
        return
    call = faults.calls[number - 1]
    try:
        check_answer(outcome, call)
        if "unlink" not in call:
            check_files(bench, command)
        check_going_on(bench)
    except BaseException as failure:
        failure.add_note(f"{command}: call {number}, '{call}', failed with {error_name(error)}")
        raise


# --- A call that fails


SOME = [(name, error) for name in COMMANDS if name != "report" for error in (errno.ENOSPC, errno.EACCES, SHORT)]


@pytest.mark.parametrize(("command", "error"), SOME, ids=lambda value: value if isinstance(value, str) else "")
def test_some_calls_that_fail(bench: Bench, command: str, error: int) -> None:  # F03, F04, F05, F10, I10
    number = len(bench.run(command)[1].calls)
    assert number > 20
    for i in random.Random(error).sample(range(1, number + 1), 4):
        let_fail(bench, command, i, error)


@pytest.mark.long
@pytest.mark.parametrize("error", ERRORS, ids=error_name)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_call_that_fails(bench: Bench, command: str, error: int) -> None:
    number = len(bench.run(command)[1].calls)
    for i in range(1, number + 1):
        let_fail(bench, command, i, error)


STRACE = shutil.which("strace")
INJECTED = ["openat", "write", "fsync", "rename", "mkdir", "unlink", "flock", "newfstatat", "getdents64"]


def traced(bench: Bench, call: str, error: str, number: int) -> tuple[Outcome, bool]:
    """Train under strace, which lets a call on the files of the run fail; and whether there was such a call.

    With -D the number of the process is that of the shell before, so that its temporary files have known names.
    """
    bench.ready("fit")
    run, trace = bench.place / "run", bench.place.parent / "trace"
    trace.unlink(missing_ok=True)
    names = [*ALL, "timings.csv"]
    paths = [str(run), *(f"{run}/{name}" for name in (*names, ".lock", ".owner"))]
    paths += [f"{run}/.{name}.tmp-$$" for name in names]
    options = f"-D -f -qq -o {trace} -e trace={call} -e inject={call}:error={error}:when={number}"
    options += "".join(f" -P {path}" for path in paths)
    command = f"exec {STRACE} {options} {PROGRAM} fit spec.yaml --out {run} --save-every 0 --quiet"
    done = subprocess.run(
        ["bash", "-c", command], cwd=bench.place, env=environment(), capture_output=True, text=True, check=False
    )
    time.sleep(0.1)  # the tracer writes its last lines
    return Outcome(done.returncode, done.stdout, done.stderr), "INJECTED" in trace.read_text()


@pytest.mark.long
@pytest.mark.skipif(STRACE is None, reason="needs strace")
@pytest.mark.parametrize("call", INJECTED)
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_calls_that_fail_in_the_kernel(bench: Bench, call: str, error: str) -> None:
    """The same from outside, through whatever library the files are opened."""
    for number in range(1, 60):
        outcome, was_injected = traced(bench, call, error, number)
        if not was_injected:
            assert number > 1, f"no {call} was seen"
            break
        assert outcome.code in (0, 5), (number, outcome.err)
        assert "a bug in mlptrain" not in outcome.err
        assert "Traceback" not in outcome.err
        check_going_on(bench)


# --- The last call


def end_locks() -> None:
    """Let go of every lock, as the system does for a process that is dead."""
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if handle.readlink().name == ".lock":
                os.close(int(handle.name))


def die(bench: Bench, command: str, number: int, power: bool) -> None:
    """Let a call be the last one of the process, or of the machine, and demand that nothing is lost."""
    bench.ready(command)
    faults = Faults(bench.place, number, deadly=True)
    with failing(faults), pytest.raises(Killed):
        run_cli(*COMMANDS[command], folder=bench.place)
    end_locks()
    if power:
        faults.lose_what_was_not_flushed()
    try:
        now = contents(bench.place)
        if command == "resume" or "run/model.safetensors" in now:
            files.decode_checkpoint(now["run/checkpoint.safetensors"], "run")
        check_going_on(bench)
    except BaseException as failure:
        failure.add_note(f"{command}: call {number}, '{faults.calls[number - 1]}', was the last one")
        raise


cut_short = pytest.mark.filterwarnings("ignore:unclosed file", "ignore::pytest.PytestUnraisableExceptionWarning")
"""A dead process closes no file."""


@cut_short
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
@pytest.mark.parametrize("command", ["fit", "resume"])
def test_some_last_calls(bench: Bench, command: str, power: bool) -> None:  # F02, F26
    """Between the write of a temporary file and its rename, between two files, in the middle of a line."""
    calls = bench.run(command)[1].calls
    places = [i for i, call in enumerate(calls, 1) if call.split()[0] in ("write", "fsync", "replace", "unlink")]
    for i in random.Random(power).sample(places, 8):
        die(bench, command, i, power)


@cut_short
@pytest.mark.long
@pytest.mark.parametrize("power", [False, True], ids=["kill", "power"])
@pytest.mark.parametrize("command", ["fit", "resume"])
def test_every_last_call(bench: Bench, command: str, power: bool) -> None:
    for i in range(1, len(bench.run(command)[1].calls) + 1):
        die(bench, command, i, power)


# --- kill -9 at any moment


CONFIGS = {
    "dropout, batch normalization, cosine": "data: {path: classes.csv, target: answer}\n"
    "network: {hidden: [6, 4], dropout: 0.3, normalization: batch}\nschedule: {kind: cosine, warmup: 2}\n"
    "training: {epochs: 120, batch_size: 7, early_stopping: {patience: 120}, clip_norm: 1.0, baselines: false}\n",
    "layer normalization, plateau, early stopping": "data: {path: amounts.csv, target: price}\n"
    "network: {hidden: [5], activation: tanh, normalization: layer, dropout: 0.2}\n"
    "optimizer: {kind: momentum, nesterov: true, learning_rate: 0.05}\nschedule: {kind: plateau, patience: 1}\n"
    "training: {epochs: 200, batch_size: 9, early_stopping: {patience: 60}, baselines: false}\n",
    "averages, steps": "data: {path: classes.csv, target: answer}\n"
    "network: {hidden: [5, {width: 5, residual: true, dropout: 0.2}]}\nloss: {kind: focal, class_weight: balanced}\n"
    "optimizer: {kind: amsgrad, learning_rate: 0.05}\nschedule: {kind: step, step_size: 7, gamma: 0.5}\n"
    "training: {epochs: 120, batch_size: 6, ema: {decay: 0.9}, early_stopping: null, baselines: false}\n",
    "members, one cycle": "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [4], dropout: 0.1}\n"
    "ensemble: {members: 3, blend: true}\nschedule: one_cycle\noptimizer: {kind: adamw, weight_decay: 0.01}\n"
    "training: {epochs: 80, batch_size: 7, baselines: false}\n",
    "folds, exponential": "data: {path: amounts.csv, target: price}\nnetwork: {hidden: [4]}\n"
    "ensemble: {members: 3, rows: folds}\nschedule: {kind: exponential, gamma: 0.99}\n"
    "optimizer: {kind: rmsprop, centered: true, momentum: 0.5}\n"
    "training: {epochs: 80, batch_size: 7, early_stopping: {patience: 30}, baselines: false}\n",
    "milestones, adagrad": "data: {path: classes.csv, target: answer, split: {validation: 0}}\n"
    "network: {hidden: [3], dropout: 0.5}\noptimizer: {kind: adagrad, learning_rate: 0.5}\n"
    "schedule: {kind: multistep, milestones: [20, 40]}\n"
    "training: {epochs: 150, batch_size: 11, dtype: float64, baselines: false}\n",
    "polynomial, nadam": "data: {path: amounts.csv, target: price}\nnetwork: {hidden: [4, 3], dropout: 0.1}\n"
    "optimizer: nadam\nschedule: {kind: polynomial}\ntraining: {epochs: 120, batch_size: 7, baselines: false}\n",
    "warm restarts, lion": "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [4], normalization: batch}\n"
    "optimizer: lion\nschedule: {kind: cosine_restarts}\n"
    "training: {epochs: 120, batch_size: 7, ema: {decay: 0.99}, baselines: false}\n",
}


@pytest.fixture(scope="module", params=CONFIGS.values(), ids=list(CONFIGS))
def untouched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `whole` of a run that nothing happened to, with its spec and its tables beside it."""
    folder = tmp_path_factory.mktemp("killed")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", classes_rows())
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows())
    (folder / "spec.yaml").write_text("preset: plain\nname: same\n" + request.param)
    run_cli("fit", "spec.yaml", "--out", "whole", "--quiet", folder=folder).succeeded()
    return folder / "whole"


def kill_and_resume(whole: Path, name: str, chance: random.Random, kills: int, more: tuple[object, ...] = ()) -> int:
    """Kill a run at random moments, resume it each time, and at last in peace; how many kills came before its end."""
    folder, run, done = whole.parent, whole.parent / name, 0
    command: tuple[object, ...] = ("fit", "spec.yaml", *more, "--out", name)
    while done < kills:
        save = chance.choice(["0", "0.02", "1000"])
        process = start_cli(*command, "--save-every", save, "--quiet", folder=folder)
        while not (run / "timings.csv").exists() and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.random() * 0.3)
        process.kill()
        if finished(process).code != -signal.SIGKILL:
            break
        done += 1
        command = ("fit", "--resume", name)
        (run / "timings.csv").unlink(missing_ok=True)  # when it is there again, training goes on
    run_cli("fit", "--resume", name, "--quiet", folder=folder).succeeded()
    same_bytes(run, whole, ALL)
    shutil.rmtree(run)
    return done


def test_kills_at_random_moments(untouched: Path) -> None:  # F01
    """Two for each config, if it is not done before, often in the middle of a save."""
    kill_and_resume(untouched, "killed", random.Random(1), kills=2)


@pytest.mark.long
def test_two_hundred_kills_at_random_moments(untouched: Path) -> None:
    """Twenty-five for each config, in runs that last a second or more."""
    folder, chance, total, more = untouched.parent, random.Random(2), 0, ("--epochs", "700")
    run_cli("fit", "spec.yaml", *more, "--out", "longer", "--quiet", folder=folder).succeeded()
    while total < 25:
        total += kill_and_resume(folder / "longer", "killed", chance, min(6, 25 - total), more)


# --- What else can happen to a process


LONG = SPEC.replace("epochs: 2", "epochs: 100000, early_stopping: null")


@pytest.fixture
def living(spec: Write, classes: Path) -> subprocess.Popen[str]:
    """A process that trains for long, in its first epochs, with its run in the folder `run`."""
    spec(LONG)
    process = start_cli("fit", "spec.yaml", "--out", "run", "--save-every", "0.05", folder=classes.parent)
    wait_until((classes.parent / "run" / "checkpoint.safetensors").exists, process)
    return process


VANISHING: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "renamed": lambda run: run.rename(run.with_name("elsewhere")),
    "a file in its place": lambda run: (run.rename(run.with_name("elsewhere")), run.write_text("x")),
}


@pytest.mark.parametrize("vanish", VANISHING.values(), ids=VANISHING)
def test_a_run_whose_folder_goes_away(
    living: subprocess.Popen[str], classes: Path, vanish: Callable[[Path], object]
) -> None:  # F11
    while True:
        try:
            vanish(classes.parent / "run")
            break
        except OSError:  # a file came in between
            continue
    outcome = finished(living)
    outcome.refused(5, "run/")


def test_a_signal_that_nobody_hears_is_a_kill(living: subprocess.Popen[str], classes: Path) -> None:  # F19
    living.send_signal(signal.SIGUSR1)
    assert finished(living).code == -signal.SIGUSR1
    (classes.parent / "run" / "timings.csv").unlink(missing_ok=True)
    again = start_cli("fit", "--resume", "run", folder=classes.parent)
    wait_until((classes.parent / "run" / "timings.csv").exists, again)
    again.send_signal(signal.SIGPIPE)  # Python ignores it
    time.sleep(0.1)
    assert again.poll() is None
    again.send_signal(signal.SIGTERM)
    assert finished(again).code == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_what_the_parent_ignores_stays_ignored(spec: Write, classes: Path, number: signal.Signals) -> None:  # J03
    spec(LONG)
    ignoring = (
        f"import os, signal, sys; signal.signal({number:d}, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    command = [sys.executable, "-c", ignoring, *PROGRAM.split(), "fit", "spec.yaml", "--out", "run", "--quiet"]
    process = subprocess.Popen(
        command, cwd=classes.parent, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until((classes.parent / "run" / "timings.csv").exists, process)
    process.send_signal(number)
    time.sleep(0.2)
    assert process.poll() is None
    other = signal.SIGTERM if number != signal.SIGTERM else signal.SIGINT
    process.send_signal(other)
    assert finished(process).code == 128 + other


def test_a_signal_in_the_last_measurement_is_not_forgotten(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # J08
    usual, seen = evaluation.validation_scores, []

    def stopping(*arguments: object, **more: object) -> object:
        seen.append(1)
        if len(seen) == 2:  # of the last of two epochs
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("mlptrain.training.epoch.validation_scores", stopping)
    outcome = cli("fit", spec(SPEC), "--out", "run", "--quiet").refused(143, "mlptrain fit --resume run")
    assert "saved at step" in outcome.err
    monkeypatch.undo()
    cli(*RESUME).succeeded()
    cli("fit", "spec.yaml", "--out", "whole", "--quiet").succeeded()
    same_bytes(classes.parent / "run", classes.parent / "whole", ALL)


@pytest.mark.parametrize("where", ["mlptrain.runs.checkpoint.encode", "mlptrain.nn.network.Network.forward"])
def test_memory_that_ends(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:  # F23
    """In a save, or in a step: the last checkpoint stays, and the run goes on from there."""
    cli("fit", spec(SPEC), "--out", "whole", "--quiet").succeeded()
    module, _, name = where.rpartition(".")
    owner, calls = pkgutil.resolve_name(module), []
    usual = getattr(owner, name)

    def hungry(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError("96 GiB")
        return usual(*arguments, **more)

    monkeypatch.setattr(owner, name, hungry)
    outcome = cli("fit", "spec.yaml", "--out", "run", "--save-every", "0", "--quiet")
    monkeypatch.undo()
    outcome.refused(5, "not enough memory: 96 GiB")
    raw = (classes.parent / "run" / "checkpoint.safetensors").read_bytes()
    files.decode_checkpoint(raw, "run")
    cli(*RESUME).succeeded()
    same_bytes(classes.parent / "run", classes.parent / "whole", ALL)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP], ids=error_name)
def test_a_folder_that_cannot_be_flushed(
    cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:  # F27
    """Some file systems flush no folders; they flush files."""
    usual = os.fsync

    def flush(handle: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{handle}"):  # noqa: PTH112
            raise OSError(number, os.strerror(number))
        usual(handle)

    monkeypatch.setattr(os, "fsync", flush)
    cli("fit", spec(SPEC), "--out", "run", "--quiet").succeeded()


LOCKS: dict[str, Callable[[Path], object]] = {
    "a folder": lambda path: path.mkdir(),
    "a link to nowhere": lambda path: path.symlink_to("nowhere/at/all"),
    "a link in a circle": lambda path: path.symlink_to(path.name),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\0"),
}


@pytest.mark.parametrize("name", [".lock", ".owner"])
@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)
def test_a_lock_that_is_none(
    cli: Cli, spec: Write, classes: Path, name: str, make: Callable[[Path], object]
) -> None:  # J05
    """The run goes on, or the message says what is in the way; whoever only reads needs no lock."""
    cli("fit", spec(SPEC), "--out", "run", "--quiet").succeeded()
    path = classes.parent / "run" / name
    path.unlink(missing_ok=True)
    make(path)
    outcome = cli(*RESUME)
    assert outcome.code in (0, 5), outcome.err
    assert "a bug" not in outcome.err
    assert outcome.code == 0 or "run" in outcome.err
    for verb in (("evaluate", "run"), ("predict", "run", "classes.csv"), ("inspect", "run")):
        cli(*verb).succeeded()


# --- Disks that are full, or may not be written


def on_a_disk(options: str, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `script` where `disk` is a file system in memory, in a namespace of its own."""
    (folder / "disk").mkdir()
    command = f"mount -t tmpfs -o {options} none disk || exit 99\n{script}"
    return subprocess.run(
        ["unshare", "-rm", "bash", "-c", command],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


FIT = f"{PROGRAM} fit spec.yaml --out disk/run --quiet --save-every 0"
DISKS: dict[str, tuple[str, str, int, str]] = {
    "4 KiB": ("size=4k", FIT, 5, "disk/run"),  # F08, J05
    "3 inodes": ("size=10m,nr_inodes=3", FIT, 5, "disk/run"),
    "full at the end": (
        "size=200k",
        f"{FIT} || exit 98; rm disk/run/model.safetensors disk/run/summary.json\n"
        f"dd if=/dev/zero of=disk/rest bs=1k 2>/dev/null; {PROGRAM} fit --resume disk/run --quiet",
        5,
        "No space left on device",
    ),  # F09
    "room again": (
        "size=200k",
        f"{FIT} || exit 98; rm disk/run/model.safetensors; dd if=/dev/zero of=disk/rest bs=1k 2>/dev/null\n"
        f"{PROGRAM} fit --resume disk/run --quiet; rm disk/rest; {PROGRAM} fit --resume disk/run --quiet",
        0,
        "",
    ),
    "read-only": ("size=1m", f"mount -o remount,ro disk; {FIT}", 5, "Read-only file system"),  # A07
    "complete, read-only": (
        "size=1m",
        f"{FIT} || exit 98; mount -o remount,ro disk; {PROGRAM} evaluate disk/run >/dev/null && "
        f"{PROGRAM} predict disk/run classes.csv >/dev/null && {PROGRAM} inspect disk/run",
        0,
        "",
    ),  # J05
    "resumed, read-only": (
        "size=1m",
        f"{FIT} || exit 98; rm disk/run/model.safetensors; mount -o remount,ro disk; {PROGRAM} fit --resume disk/run",
        5,
        "Read-only file system",
    ),
}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare")
@pytest.mark.parametrize(("options", "script", "code", "said"), DISKS.values(), ids=DISKS)
def test_a_disk(spec: Write, classes: Path, options: str, script: str, code: int, said: str) -> None:
    spec(SPEC)
    done = on_a_disk(options, script, classes.parent)
    if done.returncode == 99 or "unshare failed" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "a bug" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_spec_that_is_edited_while_training_is_told_at_the_next_save(spec: Write, classes: Path) -> None:
    spec(LONG)
    process = start_cli("fit", "spec.yaml", "--out", "run", "--save-every", "0.1", folder=classes.parent)
    wait_until((classes.parent / "run" / "timings.csv").exists, process)
    path = classes.parent / "run" / "spec.yaml"
    before = path.read_text()
    path.write_text(before.replace("seed: 0", "seed: 1"))
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    outcome = finished(process)
    assert outcome.err.count("spec.yaml: was edited or removed while the run trains") == 1
    run_cli("fit", "--resume", "run", folder=classes.parent).refused(4, "seed was 0, is 1")


def test_a_table_that_changes_before_the_first_save_of_work_is_noticed(
    spec: Write, classes: Path, cli: Cli
) -> None:  # J04
    spec(LONG)
    process = start_cli("fit", "spec.yaml", "--out", "run", "--save-every", "1000", folder=classes.parent)
    wait_until((classes.parent / "run" / "timings.csv").exists, process)
    process.kill()
    finished(process)
    before = classes.read_text()
    classes.write_text(before.replace("red", "blue", 1))
    cli(*RESUME).refused(4, "classes.csv: changed since the run began")
    classes.write_text(before)
    cli(*RESUME, "--epochs", "3").refused(2, "has not trained all of its epochs")


@pytest.mark.parametrize("dead", [True, False], ids=["killed", "alive"])
def test_a_folder_with_only_temporary_files_of_a_killed_process(
    dead: bool, spec: Write, classes: Path, cli: Cli
) -> None:  # J07
    spec(SPEC)
    folder, number = classes.parent / "run", 2**22 + 1 if dead else os.getpid()
    folder.mkdir()
    (folder / f".spec.yaml.tmp-{number}").write_bytes(b"half")
    outcome = cli("fit", "spec.yaml", "--out", "run", "--quiet")
    if dead:
        outcome.succeeded()
        assert not list(folder.glob(".*.tmp-*"))
    else:
        outcome.refused(2, "run: exists already")


def test_a_monitored_metric_without_a_value_is_told(classes: Path, spec: Write, cli: Cli) -> None:
    rows = [(i % 7, "yes" if i % 10 == 0 else "no") for i in range(60)]
    write_csv(classes, "x,answer", rows)
    spec(
        "preset: plain\ndata: {path: classes.csv, target: answer, split: {validation: 0.05, test: 0}}\n"
        "training: {epochs: 8, early_stopping: {monitor: validation_roc_auc, patience: 2}}\n"
    )
    outcome = cli("fit", "spec.yaml")
    assert "validation_roc_auc is undefined in every epoch" in " ".join(outcome.err.split())
    assert "did not improve" not in outcome.err
