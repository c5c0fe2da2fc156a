"""mlptrain fit: train a network and save it as a run."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from mlptrain.cli.console import (
    Watcher,
    print_json,
    print_results,
    profile_table,
    results_table,
    stderr_console,
    warning_text,
)
from mlptrain.errors import Diverged, Interrupted, UsageError
from mlptrain.nn import kernels
from mlptrain.nn.threads import blas_threads
from mlptrain.runs.directory import RunFolder
from mlptrain.runs.run import Results, Run, begin, finish, proceed, resume
from mlptrain.spec.load import load_experiment
from mlptrain.system import STOP_SIGNALS
from mlptrain.train.events import EpochDone


def run(
    config: Path | None,
    overrides: Sequence[str],
    out: Path | None,
    again: Path | None,
    save_every: float,
    as_json: bool,
    quiet: bool,
    profiled: bool,
) -> None:
    """Carry out the verb."""
    console = stderr_console(quiet)
    with profiling(console) if profiled else nullcontext():
        if again is not None:
            if config is not None or overrides or out is not None:
                raise UsageError(
                    "--resume goes on with a run as it was begun: give it no config, no --set and no --out"
                )
            folder = RunFolder.open(again)
            with folder.locked():
                train_and_report(resume(folder), console, save_every, as_json)
            return
        if config is None:
            raise UsageError("fit needs a config: mlptrain fit config.yaml (or --resume RUN to go on with a run)")
        if (config / "spec.yaml").exists():
            raise UsageError(f"{config}: is a run's folder; to go on with it: mlptrain fit --resume {config}")
        begun = begin(load_experiment(config, overrides), default_name(config), out)
        with begun.folder.locked():
            train_and_report(begun, console, save_every, as_json)


@contextmanager
def profiling(console: Console) -> Iterator[None]:
    """Time what happens inside, and print where the time went."""
    from mlptrain.runs.profile import Profile

    profile = Profile()
    try:
        with profile:
            yield
    finally:
        console.print(profile_table(profile.seconds, profile.calls, profile.total, kernels.PRESENT))


def default_name(config: Path) -> str:
    """The name of an experiment that has none: that of its file, without what a folder's name should not hold."""
    name = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in config.stem
    )
    return name.strip(".-_")[:100] or "run"


def train_and_report(current: Run, console: Console, save_every: float, as_json: bool) -> None:
    """Train to the end and print what came of it."""
    folder = current.folder.path
    if current.is_complete:
        console.print(
            f"{folder}: this run is complete; nothing to do. See its results with: mlptrain evaluate {folder}"
        )
        if as_json:
            print_json(written_document(current))
        return
    describe(current, console)
    with blas_threads(current.environment.threads):
        finished = trained(current, console, save_every, as_json)
    report(current, finished, console, as_json)


def trained(current: Run, console: Console, save_every: float, as_json: bool) -> Results:
    """Train to the end, showing how it goes, and measure what came of it."""
    folder = current.folder.path
    epochs, training = current.plan.training.epochs, current.dataset.training
    size = current.plan.training.batch_size
    batches = 1 if size == "full" else -(-len(training) // size)
    progress = current.state.progress
    shown = len(progress.warnings)
    with signals() as signalled, Watcher(console, folder.name, epochs, progress, batches) as watcher:
        try:
            for event in proceed(current, signalled, save_every):
                if isinstance(event, EpochDone):
                    watcher.epoch(event)
                    shown = len(progress.warnings)
        except Diverged:
            for warned in progress.warnings[shown:]:
                console.print(warning_text(warned))
            if as_json:
                print_json(document(current, Results({}, {}, "", tuple(progress.warnings)), "diverged"))
            raise
    return measured(current, console)


def measured(current: Run, console: Console) -> Results:
    """The results of a trained network; an interrupt on the way costs nothing but time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(
            "interrupted while the results were measured; training is saved. Go on with: "
            f"mlptrain fit --resume {current.folder.path}",
            number,
        )

    with handling(stop), console.status("measuring the results"):
        return finish(current)


@contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Note the signals that ask a process to stop instead of dying of them; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with handling(note):
        yield lambda: received[0] if received else None


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Give the signals that ask a process to stop to `handler` for a while."""
    before = {number: signal.signal(number, handler) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def describe(current: Run, console: Console) -> None:
    """What is about to be trained on what."""
    dataset = current.dataset
    sizes = "-".join(str(size) for size in current.network.sizes)
    rows = ", ".join(f"{len(part)} {name}" for name, part in dataset.parts.items())
    loss, threads = current.network.loss.name(), current.environment.threads
    console.print(
        f"{current.folder.path}: network {sizes}, {current.network.layout.parameter_size} parameters, loss {loss}, "
        f"{threads} {'thread' if threads == 1 else 'threads'}"
    )
    console.print(f"rows: {rows}" + "".join(f"; {note}" for note in current.notes))
    if current.state.progress.step:
        console.print(f"resuming in epoch {current.state.progress.epoch} at step {current.state.progress.step}")


def report(current: Run, finished: Results, console: Console, as_json: bool) -> None:
    """Why training stopped, how good the network is, and where it is."""
    progress = current.state.progress
    if as_json:
        print_json(document(current, finished, progress.stopped))
        return
    for warned in finished.warnings[len(progress.warnings) :]:
        console.print(warning_text(warned))
    console.print(reason(current))
    print_results(
        results_table(finished.results, finished.baselines, finished.baseline_part), f"\n{current.folder.path}"
    )


def written_document(current: Run) -> dict[str, Any]:
    """What --json prints of a run that was over before, from its summary."""
    summary = json.loads(current.folder.summary.read_text(encoding="utf8"))
    results = {name: summary["results"].get(name) for name in ("train", "validation", "test")}
    kept = {name: summary[name] for name in ("stopped", "best_epoch", "baselines", "warnings")}
    return {"run": str(current.folder.path), "results": results, **kept}


def document(current: Run, finished: Results, stopped: str | None) -> dict[str, Any]:
    """What --json prints."""
    return {
        "run": str(current.folder.path),
        "stopped": stopped,
        "best_epoch": current.state.progress.best_epoch,
        "results": {name: finished.results.get(name) for name in ("train", "validation", "test")},
        "baselines": finished.baselines,
        "warnings": [warned.model_dump() for warned in finished.warnings],
    }


def reason(current: Run) -> str:
    """Why training stopped, and which epoch was the best."""
    progress, stopping = current.state.progress, current.plan.training.early_stopping
    best = (
        ""
        if progress.best_epoch is None
        else f"; the weights of epoch {progress.best_epoch} were the best and are kept"
    )
    if progress.stopped == "early_stopping" and stopping is not None:
        return (
            f"stopped after {progress.epoch} epochs: {stopping.monitor} did not improve for {stopping.patience}{best}"
        )
    return f"stopped after all {progress.epoch} epochs{best}"
