"""Is every fault in a spec, a path or a terminal that users of other tools met answered by the command itself?

What lies below the command line is tested where it is: syntax in `test_yaml.py`, settings in `test_bad_input.py`. Here
is at least one case for each kind of fault, through the command: one message, its class as the exit code, and nothing
left behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from cli import PROGRAM, Cli, Outcome, Write, contents, environment, run_process, start_cli, summary, wait_until

DATA = "data: {path: classes.csv, target: answer}\n"
QUICK = "training: {epochs: 1, baselines: false}\n"
LAUGHS = "a: &a [lol]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in pairwise("abcdefghij"))
KEYS = "".join(f"k{i}: 1\n" for i in range(40_000))


# --- What the text of a spec may hold; the comments are kinds of faults, as they are counted elsewhere


REFUSED: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["spec.yaml:1:1 the spec is empty"]),  # A04
    "comments": ("# nothing\n", ["the spec is empty"]),
    "document mark": ("---\n", ["the spec is empty"]),
    "number in quotes": (DATA + 'optimizer: {learning_rate: "1e-3"}', ["optimizer.learning_rate", "'1e-3'"]),  # B02
    "decimal comma": (DATA + "optimizer:\n  learning_rate: 1,5", ["optimizer.learning_rate", "'1,5'"]),  # B03
    "half an exponent": (DATA + "optimizer: {learning_rate: 1e-}", ["optimizer.learning_rate", "'1e-'"]),
    "two points": (DATA + "optimizer: {learning_rate: 0.1.2}", ["optimizer.learning_rate", "'0.1.2'"]),
    "key twice": (DATA + "seed: 1\nseed: 2", ["spec.yaml:3:1 seed: duplicate key", "line 2", "line 3"]),  # B06
    "merge": (DATA + "training:\n  <<: {epochs: 3}\n", ["merge keys are not supported"]),  # B07
    "alias": (DATA + "name: &x a\nseed: *x", ["anchor '&x'", "alias '*x'"]),  # B09
    "alias of nothing": (DATA + "name: *x", ["spec.yaml:2:7 name: alias '*x'"]),
    "billion laughs": (LAUGHS, ["aliases are not allowed"]),  # B10
    "deep": ("a: " + "[" * 1200, ["nesting too deep (limit 50)"]),  # B12
    "deep list": ("- " * 1100, ["nesting too deep (limit 50)"]),
    "long": ("name: " + "x" * 10_000_000, ["10000006 bytes", "the limit is"]),  # B13
    "many keys": (DATA + KEYS, ["k0: unknown key", "... and 39980 more"]),
    "tag of a number": (DATA + "seed: !!int '3.0'", ["spec.yaml:2:7 seed: tag '!!int'"]),  # B15
    "date for a number": (DATA + "seed: 2001-12-14", ["seed", "whole number", "'2001-12-14'"]),  # B18
    "nan": (DATA + "optimizer: {learning_rate: .nan}", ["optimizer.learning_rate", "must be finite"]),  # B19
    "infinity": (DATA + "optimizer: {learning_rate: 1.0e+400}", ["optimizer.learning_rate", "must be finite"]),
    "word for infinity": (DATA + "optimizer: {learning_rate: inf}", ["optimizer.learning_rate", "'inf'"]),
    "python": (DATA + "name: !!python/object/apply:os.system ['touch marker']", ["tag '!!python/object"]),  # B20
    "binary": (DATA + "name: !!binary aGk=", ["tag '!!binary'"]),  # B21
    "tab": ("data:\n\tpath: x", ["spec.yaml:2:1", "tab"]),  # B22
    "colons": ("data: path: x", ["spec.yaml:1:11", "':' cannot stand here", "^"]),  # B23
    "bracket": ("data: {path: [x", ["spec.yaml:1:", "is not closed"]),
    "at": ("name: @x", ["spec.yaml:1:7 '@' cannot start a value"]),
    "list": ("- a", ["expected a mapping of keys, got a list"]),  # B25
    "Latin-1": (b"name: \xe9", ["not UTF-8: byte 0xe9 at offset 6"]),  # B27
    "bell": ("name: \x07", ["control character U+0007 at offset 6"]),
    "picture": (b"\x89PNG\r\n\x1a\n", ["a PNG image"]),
    "null": (DATA + "network: {hidden: ~}", ["network.hidden", "null"]),  # B30
    "TOML": ("[data]\npath = 'x'\n", ["this looks like TOML"]),  # B31
    "version of YAML": ("%YAML 2.0\n---\n" + DATA, ["unknown version of YAML"]),  # B29
}


@pytest.mark.parametrize(("content", "fragments"), REFUSED.values(), ids=REFUSED)
def test_a_spec_that_cannot_be_read(cli: Cli, classes: Path, content: str | bytes, fragments: list[str]) -> None:
    folder = classes.parent
    (folder / "spec.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    before = contents(folder)
    outcome = cli("fit", "spec.yaml").refused(2, *fragments)
    assert len(outcome.err) < 20_000
    assert contents(folder) == before
    assert not (folder / "marker").exists()


READ: dict[str, tuple[bytes, str]] = {
    "exponents": (b"optimizer: {learning_rate: 1E-3, beta1: 9.0e-1}", "learning_rate: 0.001"),  # B01
    "no is a word": (b"name: no", "name: 'no'"),  # B04
    "a date as name": (b"name: 2024-01-05", "name: '2024-01-05'"),  # B18
    "numbers of YAML 1.2": (b"seed: 010", "seed: 10"),
    "version of YAML": (b"name: on", "name: 'on'"),  # B29
    "absent and empty lists": (b"network: {hidden: []}", "hidden: []"),  # B30
    "seed of 63 bits": (b"seed: 9223372036854775807", "seed: 9223372036854775807"),  # C08
}


@pytest.mark.parametrize(("line", "said"), READ.values(), ids=READ)
def test_a_value_is_read_as_it_is_meant(cli: Cli, spec: Write, classes: Path, line: bytes, said: str) -> None:
    head = "%YAML 1.2\n---\n" if line == b"name: on" else ""
    cli("fit", spec(head + DATA + QUICK + line.decode()), "--out", "run").succeeded()
    written = (classes.parent / "run" / "spec.yaml").read_text()
    assert said in written or said.replace("'", '"') in written


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_spec_with_a_byte_order_mark(cli: Cli, classes: Path, encoding: str) -> None:  # B26
    (classes.parent / "spec.yaml").write_bytes((DATA + QUICK).encode(encoding))
    cli("fit", "spec.yaml").succeeded()


def test_a_spec_in_json(cli: Cli, classes: Path) -> None:  # B31
    (classes.parent / "spec.json").write_text('{"data": {"path": "classes.csv", "target": "answer"}, "seed": 3}')
    cli("fit", "spec.json", "--epochs", "1").succeeded()


def test_a_spec_that_changes_in_the_meantime(spec: Write, classes: Path) -> None:  # B32
    """The run goes on, and is resumed, with the settings that it began with."""
    folder, path = classes.parent, spec(DATA + "training: {epochs: 100000, early_stopping: null}\n")
    process = start_cli("fit", "spec.yaml", "--out", "run", folder=folder)
    wait_until((folder / "run" / "timings.csv").exists, process)
    path.write_text("rubbish: [")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    written = (folder / "run" / "spec.yaml").read_text()
    assert "epochs: 100000" in written
    (folder / "run" / "timings.csv").unlink()
    again = start_cli("fit", "--resume", "run", folder=folder)
    wait_until((folder / "run" / "timings.csv").exists, again)
    again.send_signal(signal.SIGINT)
    again.communicate(timeout=60)
    assert again.returncode == 130
    assert (folder / "run" / "spec.yaml").read_text() == written


# --- What the settings may say


SETTINGS: dict[str, tuple[str, int, list[str]]] = {
    "100,000 layers": (f"network: {{hidden: [{'4,' * 100_000}4]}}", 2, ["network.hidden"]),  # C07
    "a seed of 200 bits": (f"seed: {2**200}", 2, ["seed: must be less than 9.22337e+18"]),  # C08
    "momentum above 1": ("optimizer: {kind: momentum, momentum: 1.5}", 2, ["optimizer.momentum", "less than 1"]),  # C11
    "negative decay": ("optimizer: {kind: adamw, weight_decay: -1}", 2, ["weight_decay", "at least 0"]),  # C13
    "decay of adam": ("optimizer: {kind: adam, weight_decay: 0.1}", 2, ["weight_decay: unknown key", "adamw"]),
    "smoothing of amounts": ("loss: {kind: mae, label_smoothing: 0.1}", 2, ["loss.label_smoothing", "unknown"]),  # C14
    "steps of 0": ("schedule: {kind: step, step_size: 0}", 2, ["schedule.step_size", "at least 1"]),  # C19
    "gamma 0": ("schedule: {kind: exponential, gamma: 0}", 2, ["schedule.gamma", "greater than 0"]),
    "gamma 2": ("schedule: {kind: step, gamma: 2}", 2, ["schedule.gamma", "at most 1"]),
    "milestones": ("schedule: {kind: multistep, milestones: [5, 3, 3, -1]}", 2, ["schedule.milestones"]),
    "a mode": ("training: {early_stopping: {mode: min}}", 2, ["training.early_stopping.mode", "unknown key"]),  # C20
    "precision": ("training: {dtype: bfloat16}", 2, ["training.dtype", "'float32' or 'float64'"]),  # C31
    "weight of nobody": (
        "loss: {kind: cross_entropy, class_weight: {maybe: 2}}",
        3,
        ["maybe"],
    ),  # C32
    "negative weight": ("loss: {kind: cross_entropy, class_weight: {yes: -1, no: 1}}", 2, ["loss.class_weight"]),
    "weight nan": ("loss: {kind: cross_entropy, class_weight: {yes: .nan, no: 1}}", 2, ["loss.class_weight"]),
    "checkpoints": ("training: {checkpoint_every: 0}", 2, ["training.checkpoint_every", "unknown key"]),  # C36
}


@pytest.mark.parametrize(("text", "code", "fragments"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_makes_no_sense(
    cli: Cli, spec: Write, classes: Path, text: str, code: int, fragments: list[str]
) -> None:
    before = contents(classes.parent)
    cli("fit", spec(DATA + text + "\n")).refused(code, *fragments)
    assert contents(classes.parent).keys() - before.keys() <= {"spec.yaml"}


def test_patience_beyond_the_epochs_never_stops(cli: Cli, spec: Write, classes: Path) -> None:  # C21
    cli("fit", spec(DATA + "training: {epochs: 3, early_stopping: {patience: 50}}\n"), "--out", "run").succeeded()
    assert summary(classes.parent / "run")["stopped"] == "epochs"


# --- Paths, terminals and the world around


def unprivileged(*arguments: object, folder: Path) -> Outcome:
    """Run `mlptrain` as a user whom permissions bind; without rights, root is one, too."""
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"] if os.getuid() == 0 else []
    command = [*prefix, *PROGRAM.split(), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


LOCKED: dict[str, tuple[str, int, str]] = {
    "spec": ("spec.yaml", 0, "fit spec.yaml"),  # A03
    "table": ("classes.csv", 0, "fit spec.yaml"),
    "folder of the run": ("shut", 0o500, "fit spec.yaml --out shut/run"),  # A07
    "folder of runs": ("runs", 0o500, "fit spec.yaml"),
    "folder that may not be entered": ("shut", 0o600, "fit spec.yaml --out shut/run"),  # J06
    "run that may not be entered": ("shut", 0o600, "evaluate shut/run"),
    "config that may not be reached": ("shut", 0o600, "fit shut/spec.yaml"),
    "model": ("run/model.safetensors", 0, "evaluate run"),  # E32
    "run that may not be written": ("run", 0o500, "fit --resume run"),
    "metrics": ("run/metrics.csv", 0, "fit --resume run"),  # I09
}


@pytest.mark.skipif(sys.platform != "linux", reason="needs setpriv where the tests are run as root")
@pytest.mark.parametrize(("locked", "mode", "line"), LOCKED.values(), ids=LOCKED)
def test_what_permissions_forbid(cli: Cli, spec: Write, classes: Path, locked: str, mode: int, line: str) -> None:
    folder = classes.parent
    cli("fit", spec(DATA + QUICK), "--out", "run").succeeded()
    (folder / "shut").mkdir()
    (folder / "runs").mkdir()
    if "--resume" in line:
        (folder / "run" / "model.safetensors").unlink()  # so that there is something to do
    before = contents(folder)
    (folder / locked).chmod(mode)
    try:
        outcome = unprivileged(*line.split(), folder=folder)
    finally:
        (folder / locked).chmod(0o700)
    outcome.refused(5, Path(locked).name, "Permission denied")
    assert contents(folder) == before


def test_a_working_directory_that_is_gone(spec: Write, classes: Path) -> None:  # J06
    gone = classes.parent / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && exec {PROGRAM} fit {spec(DATA + QUICK)}"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True, check=False)
    assert "a bug" not in done.stderr
    assert done.returncode == 5, done.stderr


def test_a_run_beside_its_table_and_on_top_of_it(cli: Cli, spec: Write, classes: Path) -> None:  # A06, A09
    spec(DATA + QUICK)
    raw = classes.read_bytes()
    for place in ("classes.csv", ".", "/", "~", ".."):
        outcome = cli("fit", "spec.yaml", "--out", place)
        assert outcome.code in (2, 5) or place == "~", outcome.err  # a folder called ~ is nothing special
    assert classes.read_bytes() == raw
    cli("fit", "spec.yaml", "--out", "run").succeeded()


TERMINALS: dict[str, dict[str, str]] = {
    "dumb and narrow": {"TERM": "dumb", "COLUMNS": "20"},
    "no colour and none": {"NO_COLOR": "1", "TERM": ""},
}


@pytest.mark.parametrize("changes", TERMINALS.values(), ids=TERMINALS)
def test_no_control_codes_in_a_log(spec: Write, classes: Path, changes: dict[str, str]) -> None:  # A12
    spec(DATA + QUICK)
    outcome = run_process("fit", "spec.yaml", folder=classes.parent, **changes).succeeded()
    assert not set(outcome.out + outcome.err) & set("\x1b\r\x08")


def test_clocks_do_not_matter(cli: Cli, spec: Write, classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # A18
    """The clock on the wall jumps back to 1970 at every look, and runs are numbered all the same."""
    spec(DATA + "name: same\n" + QUICK)
    cli("fit", "spec.yaml").succeeded()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    cli("fit", "spec.yaml").succeeded()
    assert sorted(path.name for path in (classes.parent / "runs").iterdir()) == ["same-0001", "same-0002"]
    one, other = (contents(classes.parent / "runs" / f"same-000{i}") for i in (1, 2))
    assert [name for name in one if one[name] != other[name] and name != "timings.csv"] == []


def test_an_output_folder_on_another_device(cli: Cli, spec: Write, classes: Path, tmp_path: Path) -> None:  # A15
    """Temporary files are beside their targets, so that a rename never crosses a border."""
    spec(DATA + QUICK)
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second device")
    outcome = run_process("fit", "spec.yaml", "--out", "run", folder=classes.parent, TMPDIR=str(shm))
    outcome.succeeded()


SWAPPED: dict[str, tuple[str, str]] = {
    "evaluate a spec": ("evaluate spec.yaml", "spec.yaml: is a spec"),  # A14
    "fit a checkpoint": ("fit run/checkpoint.safetensors", "a safetensors file, such as a model or checkpoint"),
    "predict with a table first": ("predict classes.csv run", "classes.csv: is a table"),
    "report of a spec": ("report spec.yaml", "spec.yaml"),
    "resume of a spec": ("fit --resume spec.yaml", "spec.yaml"),
}


@pytest.mark.parametrize(("line", "said"), SWAPPED.values(), ids=SWAPPED)
def test_arguments_that_change_places(cli: Cli, spec: Write, classes: Path, line: str, said: str) -> None:
    cli("fit", spec(DATA + QUICK), "--out", "run").succeeded()
    outcome = cli(*line.split())
    assert outcome.code in (2, 4), outcome.err
    assert said in outcome.err
    assert "a bug" not in outcome.err


VERBS = {"evaluate run": 0.03, "predict run classes.csv": 0.1, "report run": 0.5, "inspect run": 0.06, "runs": 0.01}
"""Each with the seconds after which it is interrupted: while modules are imported, and later."""


@pytest.mark.parametrize(("verb", "seconds"), VERBS.items(), ids=VERBS)
def test_an_interrupt_of_any_verb_is_one_line(
    cli: Cli, spec: Write, classes: Path, verb: str, seconds: float
) -> None:  # J09
    cli("fit", spec(DATA + QUICK), "--out", "run").succeeded()
    code = (
        "import os, signal, sys, threading\n"
        "from mlptrain.__main__ import main\n"
        f"sys.argv = ['mlptrain', *{verb.split()!r}]\n"
        "print('ready', flush=True)\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=classes.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert process.returncode in (0, 130), err  # 0: it was faster
    assert (err.count("mlptrain: ") == 1) == (process.returncode == 130) or "next: mlptrain" in err
