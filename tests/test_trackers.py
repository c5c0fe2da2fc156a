"""Do trackers get every event once, also when a run is resumed, and never decide about training?"""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import Cli, finished, metrics, same_bytes, start_cli, summary, wait_until
from mlptrain.errors import Interrupted
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.run import Run, begin, proceed, resume
from mlptrain.spec.load import load_experiment
from mlptrain.trackers.base import Subject, Trackers, flattened, tracker_class
from mlptrain.trackers.jsonl import JsonLinesTracker
from mlptrain.trackers.names import tracker_names
from mlptrain.training.epoch import columns

SPEC = """
preset: plain
data: {path: classes.csv, target: answer}
network: {hidden: [4]}
training: {epochs: 6, batch_size: 8}
"""
LOGGED = "log: [jsonl]\n"


def events(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in (run / "events.jsonl").read_text().splitlines()]


def kinds(run: Path) -> list[str]:
    return [str(event["event"]) for event in events(run)]


def trackers_of(run: Run, *names: str) -> Trackers:
    history = [dict(zip(columns(run.plan), row, strict=True)) for row in run.state.history]
    subject = Subject(run.plan.name, run.folder.path, run.plan.written(), history)
    return Trackers(names, subject, pytest.fail)


def trained_to(run: Run, epoch: int, tracker: Trackers) -> None:
    """Train until an epoch is done, and stop as after a signal."""
    stop = lambda: signal.SIGINT if run.state.progress.epoch >= epoch else None  # noqa: E731
    with pytest.raises(Interrupted):
        proceed(run, stop, consumers=[tracker])


def killed_and_resumed(folder: Path, *names: str) -> Run:
    """A run that logged four epochs, was killed with a checkpoint of the second, and trained to its end."""
    run = begin(load_experiment(folder / "spec.yaml"), "run", folder / "run")
    tracker = trackers_of(run, *names)
    trained_to(run, 2, tracker)
    saved = folder / "saved"
    shutil.copy(run.folder.checkpoint, saved)
    trained_to(run, 4, tracker)
    tracker.end("failed")
    shutil.copy(saved, run.folder.checkpoint)  # nothing else is told: so a kill ends a process
    run = resume(RunFolder.open(folder / "run"))
    assert run.state.progress.epoch == 2
    tracker = trackers_of(run, *names)
    proceed(run, lambda: None, consumers=[tracker])
    tracker.end("finished")
    return run


def test_every_file_of_the_package_is_a_tracker() -> None:
    assert tracker_names() == ("jsonl", "mlflow", "tensorboard")
    assert tracker_class("jsonl") is JsonLinesTracker


@pytest.mark.usefixtures("classes")
def test_events_say_what_metrics_csv_and_the_summary_say(cli: Cli, spec: Any, tmp_path: Path) -> None:
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "run", "--log", "jsonl", "-q").succeeded()
    found = events(tmp_path / "run")
    assert kinds(tmp_path / "run") == ["begin", *["epoch"] * 6, "done", "results", "end"]
    assert found[0]["name"] == "spec"
    assert found[0]["settings"]["training"]["epochs"] == 6
    assert found[0]["settings"]["log"] == ["jsonl"]
    for name, cells in metrics(tmp_path / "run").items():
        assert [float(cell) if cell else None for cell in cells] == [
            one[name] for one in found if one["event"] == "epoch"
        ]
    assert {key: value for key, value in found[-2].items() if key not in ("event", "time")} == summary(tmp_path / "run")
    assert (found[-3]["reason"], found[-1]["outcome"]) == ("epochs", "finished")


@pytest.mark.usefixtures("classes")
def test_who_watches_changes_no_byte(cli: Cli, spec: Any, tmp_path: Path) -> None:
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "alone", "-q").succeeded()
    spec(SPEC + LOGGED)
    cli("fit", "spec.yaml", "--out", "watched", "-q").succeeded()
    same_bytes(tmp_path / "alone", tmp_path / "watched")
    assert "log: [jsonl]" in (tmp_path / "watched" / "spec.yaml").read_text()
    assert "log" not in (tmp_path / "alone" / "spec.yaml").read_text()
    cli("reproduce", "watched").succeeded()
    assert kinds(tmp_path / "watched").count("epoch") == 6


@pytest.mark.usefixtures("classes")
def test_after_a_kill_no_event_is_there_twice(spec: Any, tmp_path: Path) -> None:
    spec(SPEC)
    killed_and_resumed(tmp_path, "jsonl")
    assert kinds(tmp_path / "run") == ["begin", *["epoch"] * 2, "resumed", *["epoch"] * 4, "done", "end"]
    assert [one["epoch"] for one in events(tmp_path / "run") if one["event"] == "epoch"] == list(range(6))


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("name", ["jsonl", "tensorboard"])
def test_a_run_that_is_logged_from_its_middle_on_is_logged_whole(
    cli: Cli, spec: Any, tmp_path: Path, name: str
) -> None:
    if name == "tensorboard":
        pytest.importorskip("tensorboardX")
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "run", "-q").succeeded()
    cli("fit", "--resume", "run", "--epochs", "8", "--log", name, "-q").succeeded()
    if name == "jsonl":
        assert [one["epoch"] for one in events(tmp_path / "run") if one["event"] == "epoch"] == list(range(8))
    else:
        assert [step for step, _ in scalars(tmp_path / "run" / "tensorboard")["loss/train"]] == list(range(8))


@pytest.mark.usefixtures("classes")
def test_a_resumed_run_is_logged_as_its_spec_says_and_more(cli: Cli, spec: Any, tmp_path: Path) -> None:
    spec(SPEC + LOGGED)
    cli("fit", "spec.yaml", "--out", "run", "-q").succeeded()
    cli("fit", "--resume", "run", "--epochs", "8", "-q").succeeded()
    assert "log: [jsonl]" in (tmp_path / "run" / "spec.yaml").read_text()
    assert kinds(tmp_path / "run")[6:] == ["epoch", "resumed", "epoch", "epoch", "done", "results", "end"]
    before = events(tmp_path / "run")
    cli("fit", "--resume", "run", "-q").succeeded()  # it is complete: nothing is said again
    assert events(tmp_path / "run") == before


def test_what_is_left_of_a_file_that_was_cut_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "begin"}\n{"event": "epoch", "epoch": 0}\n[1]\nrubbish\n{"event": "epoch", "epo')
    tracker = JsonLinesTracker(Subject("run", tmp_path, {}, [{"epoch": 0.0}]))
    assert tracker.known == 1
    tracker.end("failed")
    tracker.close()
    assert kinds(tmp_path) == ["begin", "epoch", "resumed", "end"]


@pytest.mark.usefixtures("classes")
def test_divergence_is_an_event(cli: Cli, spec: Any, tmp_path: Path) -> None:
    spec(SPEC + LOGGED)
    cli("fit", "spec.yaml", "--out", "run", "--set", "optimizer={kind: sgd, learning_rate: 1.0e+38}", "-q").refused(6)
    *_, diverged, end = events(tmp_path / "run")
    assert "training diverged" in diverged["message"]
    assert end["outcome"] == "diverged"


@pytest.mark.usefixtures("classes")
def test_an_interrupt_is_an_event_and_the_run_goes_on_in_the_same_file(cli: Cli, spec: Any, tmp_path: Path) -> None:
    spec(SPEC.replace("epochs: 6", "epochs: 100000"))
    process = start_cli("fit", "spec.yaml", "--out", "run", "--log", "jsonl", "-q", folder=tmp_path)
    path = tmp_path / "run" / "events.jsonl"
    wait_until(lambda: path.is_file() and path.read_text().count("\n") > 20, process)
    process.send_signal(signal.SIGTERM)
    assert finished(process).code == 143
    assert (events(tmp_path / "run")[-1]["event"], events(tmp_path / "run")[-1]["outcome"]) == ("end", "interrupted")
    done = kinds(tmp_path / "run").count("epoch")
    cli("fit", "--resume", "run", "--epochs", done + 3, "-q").refused(2, "has not trained all of its epochs")
    run = resume(RunFolder.open(tmp_path / "run"))
    tracker = trackers_of(run, "jsonl")
    trained_to(run, done + 3, tracker)
    tracker.end("interrupted")
    assert [one["epoch"] for one in events(tmp_path / "run") if one["event"] == "epoch"] == list(range(done + 3))


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize("method", ["__init__", "epoch", "done", "results", "end"])
def test_a_tracker_that_fails_is_told_of_once(
    cli: Cli, spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "alone", "-q").succeeded()
    calls = []

    def fail(*arguments: Any) -> None:
        calls.append(arguments)
        raise OSError("the disk of the tracker\nis full")

    monkeypatch.setattr(JsonLinesTracker, method, fail)
    done = cli("fit", "spec.yaml", "--out", "run", "--log", "jsonl").succeeded()
    message = "log: jsonl: the disk of the tracker is full; training goes on, and nothing more is logged there"
    assert done.err.count(message) == len(calls) == 1
    same_bytes(tmp_path / "alone", tmp_path / "run")


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize(
    ("text", "options", "code", "fragments"),
    [
        (SPEC + "log: [tensorbord]\n", (), 2, ("spec.yaml:6:", "log", "did you mean 'tensorboard'")),
        (SPEC + "log: [jsonl, jsonl]\n", (), 2, ("spec.yaml:6:", "names a tracker twice")),
        (SPEC + "log: jsonl\n", (), 2, ("spec.yaml:6:", "must be a list")),
        (SPEC, ("--log", "wandb"), 2, ("--log wandb: unknown", "jsonl, mlflow, tensorboard")),
    ],
)
def test_trackers_that_do_not_exist(
    cli: Cli, spec: Any, tmp_path: Path, text: str, options: tuple[str, ...], code: int, fragments: tuple[str, ...]
) -> None:
    spec(text)
    cli("fit", "spec.yaml", "--out", "run", *options).refused(code, *fragments)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("classes")
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("tensorboard", 'tensorboardX; install it with: pip install "mlptrain[tensorboard]"'),
        ("mlflow", "pip install mlflow"),
    ],
)
@pytest.mark.parametrize("where", ["option", "spec"])
def test_a_package_that_is_absent_is_named_before_anything_begins(
    cli: Cli, spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, line: str, where: str
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda one: None if one in ("tensorboardX", "mlflow") else there(one)
    )
    spec(SPEC + (f"log: [{name}]\n" if where == "spec" else ""))
    cli("fit", "spec.yaml", "--out", "run", *(("--log", name) if where == "option" else ())).refused(5, line)
    assert not (tmp_path / "run").exists()


def test_settings_are_flat() -> None:
    assert flattened({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}) == {
        "a.b": 1,
        "a.c": "[1, 2]",
        "d": None,
        "e": True,
    }


def tensorboard_events(folder: Path) -> Iterator[Any]:
    """The events of all files of a folder; each record has its length, a checksum, itself and another one."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob("events.*")):
        raw, place = path.read_bytes(), 0
        while place < len(raw):
            (length,) = struct.unpack("<Q", raw[place : place + 8])
            yield Event.FromString(raw[place + 12 : place + 12 + length])
            place += 16 + length


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by tag, as TensorBoard shows them: what a later process purges is gone."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in tensorboard_events(folder):
        if event.HasField("session_log"):
            found = {tag: [pair for pair in pairs if pair[0] < event.step] for tag, pairs in found.items()}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


@pytest.mark.usefixtures("classes")
def test_tensorboard_shows_metrics_csv(cli: Cli, spec: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    spec(SPEC)
    cli("fit", "spec.yaml", "--out", "run", "--log", "tensorboard", "-q").succeeded()
    found, columns = scalars(tmp_path / "run" / "tensorboard"), metrics(tmp_path / "run")
    tags = {
        "loss/train": "train_loss",
        "loss/validation": "validation_loss",
        "validation/accuracy": "validation_accuracy",
    }
    tags |= {"gradient_norm/all": "gradient_norm", "training/learning_rate": "learning_rate"}
    for tag, name in tags.items():
        assert [step for step, _ in found[tag]] == list(range(6))
        assert [value for _, value in found[tag]] == pytest.approx([float(cell) for cell in columns[name]], rel=1e-6)
    assert len(found) == len(columns) - 2
    final = scalars(tmp_path / "run" / "tensorboard" / "results")
    assert final["final/test_accuracy"][0][1] == pytest.approx(summary(tmp_path / "run")["results"]["test"]["accuracy"])


@pytest.mark.usefixtures("classes")
def test_tensorboard_shows_no_epoch_twice_after_a_kill(spec: Any, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    spec(SPEC)
    killed_and_resumed(tmp_path, "tensorboard")
    assert [step for step, _ in scalars(tmp_path / "run" / "tensorboard")["loss/train"]] == list(range(6))
    everything = [event for event in tensorboard_events(tmp_path / "run" / "tensorboard") if event.summary.value]
    assert len(everything) > 6 * len(metrics(tmp_path / "run")) - 12  # the purged ones are still in the files


@pytest.mark.filterwarnings("ignore")  # MLflow and what it is made of are deprecated now and then
@pytest.mark.usefixtures("classes")
def test_mlflow_knows_the_run_and_no_epoch_twice(
    cli: Cli, spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/log.db")
    spec(SPEC)
    killed_and_resumed(tmp_path, "mlflow")
    done = cli("fit", "--resume", "run", "--epochs", "8", "--log", "mlflow", "--json").succeeded()
    assert done.json()["stopped"] == "epochs"  # MLflow prints nothing between
    client = mlflow.MlflowClient()
    (experiment,) = [one for one in client.search_experiments() if one.name == "mlptrain"]
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    assert found.data.params["optimizer.kind"] == "adam"
    assert found.data.params["network.hidden"].startswith("[")
    for name, cells in metrics(tmp_path / "run").items():
        if name != "epoch":
            history = sorted((one.step, one.value) for one in client.get_metric_history(found.info.run_id, name))
            assert history == [(i, float(cell)) for i, cell in enumerate(cells)]
    assert found.data.metrics["final_test_accuracy"] == summary(tmp_path / "run")["results"]["test"]["accuracy"]
    names = {artifact.path for artifact in client.list_artifacts(found.info.run_id)}
    assert names == {"spec.yaml", "summary.json", "metrics.csv", "model.safetensors"}
