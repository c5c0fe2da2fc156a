"""mlptrain fit: train a network and save it as a run."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy  # noqa: F401  # first: from deeper in the stack, Python 3.11 imports it more slowly
from rich.console import Console

from mlptrain.cli.console import (
    decision_text,
    diagnosis_text,
    interval_line,
    next_lines,
    print_json,
    print_line,
    print_results,
    profile_table,
    results_table,
    stderr_console,
)
from mlptrain.cli.progress import Course, Lines, is_live, working
from mlptrain.component import did_you_mean
from mlptrain.errors import Diverged, Interrupted, UsageError
from mlptrain.nn import kernels
from mlptrain.nn.threads import blas_threads
from mlptrain.remedies import yaml_flow
from mlptrain.runs.directory import RUNS, RunFolder, name_for, spec_beside
from mlptrain.runs.durable import write_durably
from mlptrain.runs.run import Run, begin, finish, lengthen, move_table, proceed, resume
from mlptrain.runs.session import Results, summary
from mlptrain.spec import yaml
from mlptrain.spec.load import load_experiment, parse_experiment, with_overrides
from mlptrain.spec.presets import Plain
from mlptrain.spec.yaml import TABLE
from mlptrain.system import INTERRUPTS, STOP_SIGNALS
from mlptrain.training.diagnostics import lowest_loss
from mlptrain.training.early_stopping import monitored
from mlptrain.training.events import Consumer

if TYPE_CHECKING:
    from mlptrain.trackers.base import Trackers


class Request(NamedTuple):
    """The arguments of the command."""

    config: Path | None
    overrides: Sequence[str]
    out: Path | None
    resume: Path | None
    """The folder of a run to continue."""
    save_every: float
    """Seconds."""
    json: bool
    quiet: bool
    profile: bool
    report: bool = False
    """Whether the page of `mlptrain report` is written at the end."""
    target: Sequence[str] = ()
    """Columns to predict; those of a spec if there are none."""
    epochs: int | None = None
    """How many there shall be."""
    data: Path | None = None
    """Where the table of the run to continue is now."""
    log: Sequence[str] = ()
    """Trackers beside those of the spec."""

    @property
    def settings(self) -> list[str]:
        """The settings that the command line changes."""
        epochs = [] if self.epochs is None else [f"training.epochs={self.epochs}"]
        log = [f"log={yaml_flow(list(dict.fromkeys(self.log)))}"] if self.log else []
        return [*epochs, *log, *self.overrides]


def run(request: Request) -> None:
    """Run the command."""
    console = stderr_console(request.quiet)
    measuring = profiling(console) if request.profile else nullcontext(())
    check_trackers(request.log)
    with measuring as consumers, opened(request, consumers, console) as current:
        current.tell = lambda text: console.print(f"warning: {text}")
        try:
            with tracked(current, console, request) as trackers:
                train_and_report(current, trackers, console, request)
        except Diverged:
            write_report(current, console, request)
            raise
        write_report(current, console, request)


def tracked(current: Run, console: Console, request: Request) -> AbstractContextManager[Trackers | None]:
    """The trackers of a run, which are told how it ends."""
    names = tuple(dict.fromkeys([*current.plan.log, *request.log]))
    if not names:
        return nullcontext()
    from mlptrain.trackers.base import followed

    return followed(current, names, lambda text: console.print(f"warning: {text}"))


def write_report(current: Run, console: Console, request: Request) -> None:
    """Write the page on the run, if it is asked for."""
    if not request.report:
        return
    from mlptrain.report.build import PAGE, report_on, write_page

    folder = current.folder.path
    with working(console, "drawing the report"):
        write_page(report_on(folder), folder / PAGE)
    console.print(f"report: {folder / PAGE}")


@contextmanager
def opened(request: Request, consumers: Sequence[Consumer], console: Console) -> Iterator[Run]:
    """The requested run, new or resumed, locked against other processes."""
    if request.resume is not None:
        if request.config is not None or request.overrides or request.out is not None or request.target:
            raise UsageError(
                "--resume continues a run with its own settings: remove the config, --set, --target and --out"
            )
        folder = RunFolder.open(request.resume)
        with folder.locked():
            if request.data is not None:
                move_table(folder, request.data)
            if request.epochs is not None:
                lengthen(folder, request.epochs)
            with working(console, "reading the data"):
                current = resume(folder, consumers)
            yield current
        return
    with working(console, "reading the data"):
        begun = begun_by(request, consumers, console)
    with begun.folder.locked():
        yield begun


def begun_by(request: Request, consumers: Sequence[Consumer], console: Console) -> Run:
    """A new run."""
    config = request.config
    if request.data is not None:
        raise UsageError("--data says where the table of a run is now, and needs --resume RUN; a config names its own")
    if config is None:
        raise UsageError("fit needs a config: mlptrain fit config.yaml (or --resume RUN to continue a run)")
    if (config / "spec.yaml").exists():
        raise UsageError(f"{config}: is a run's folder; to continue it: mlptrain fit --resume {config}")
    if is_table(config, request.target):
        return begun_on_table(config, request, consumers, console)
    experiment = load_experiment(config, [*target_override(request.target), *request.settings])
    check_trackers(experiment.log)
    return begin(experiment, name_for(config), request.out, consumers)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that do not exist, or whose package is not installed, before anything is read."""
    if names:
        from mlptrain.trackers.base import tracker_class
        from mlptrain.trackers.names import tracker_names

        for name in names:
            if name not in tracker_names():
                guess = did_you_mean(name, tracker_names(), f"there are: {', '.join(tracker_names())}")
                raise UsageError(f"--log {name}: unknown; {guess}")
            tracker_class(name)


def is_table(path: Path, target: Sequence[str]) -> bool:
    """Whether a file is a table: by its name, or because a target is named for a file that is not called a spec."""
    return TABLE.search(path.name) is not None or (bool(target) and path.suffix not in (".yaml", ".yml"))


def target_override(names: Sequence[str]) -> list[str]:
    """The override that --target stands for."""
    return [f"data.target={yaml_flow(names[0] if len(names) == 1 else list(names))}"] if names else []


def begun_on_table(table: Path, request: Request, consumers: Sequence[Consumer], console: Console) -> Run:
    """A new run on a table, with a spec that is written for it and left beside the run's folder."""
    from mlptrain.inspect.draft import draft, no_target, schema_for  # a spec needs none of it

    if not request.target:
        raise no_target(table, "fit")
    if request.out is not None and spec_beside(request.out).exists():
        raise UsageError(
            f"{spec_beside(request.out)}: exists, and would hold the spec of this run; choose another --out"
        )
    folder = RUNS if request.out is None else request.out.parent
    drafted = draft(table, request.target, folder, schema_for(folder))
    for line in drafted.assumed:
        console.print(f"note: {line}")
    text, name = drafted.text(), name_for(table)
    experiment = parse_experiment(text, folder / f"{name}.yaml", request.settings)
    check_trackers(experiment.log)
    run = begin(experiment, name, request.out, consumers)
    if request.settings:
        changed = with_overrides(text, yaml.parse(text, name), name, request.settings).root.plain()
        assert isinstance(changed, dict)
        text = drafted.text(changed)
    file = spec_beside(run.folder.path)
    write_durably(file, text.encode())
    again = f"mlptrain fit {shlex.quote(str(file))}"
    print_line(console, f"the spec is in {file}; to change it and train again: {again}")
    return run


@contextmanager
def profiling(console: Console) -> Iterator[Sequence[Consumer]]:
    """Measure the time of the parts of a run, and print it."""
    from mlptrain.runs.profile import Profile

    profile = Profile()
    try:
        with profile:
            yield (profile,)
    finally:
        console.print(profile_table(profile.seconds, profile.calls, profile.total, kernels.PRESENT))


def train_and_report(current: Run, trackers: Trackers | None, console: Console, request: Request) -> None:
    """Train to the end and print the results."""
    folder = current.folder.path
    if current.is_complete:
        console.print(
            f"{folder}: this run is complete; nothing to do. See its results with: mlptrain evaluate {folder}"
        )
        if request.json:
            print_json(written_document(current))
        return
    describe(current, console)
    with blas_threads(current.plan.blas_threads):
        finished = train_and_measure(current, trackers, console, request)
    report(current, finished, console, request.json)
    if trackers is not None:
        trackers.results(summary(current, finished))


def train_and_measure(current: Run, trackers: Trackers | None, console: Console, request: Request) -> Results:
    """Train to the end, showing progress, and measure the results."""
    training, rows = current.plan.training, len(current.dataset.training)
    batches = -(-rows // (current.plan.batch_rows or rows))
    monitor, progress = monitored(current.plan), current.state.progress
    course = Course(current.folder.path.name, training.epochs, batches, rows, monitor, progress)
    try:
        with closing(display(console, course)) as shown:
            trained(current, [shown, *([trackers] if trackers is not None else [])], request.save_every)
    except Diverged:
        if request.json:
            results = Results({}, {}, "", tuple(current.state.progress.warnings))
            print_json(document(current, results, "diverged"))
        raise
    return measured(current, console)


def trained(current: Run, consumers: Sequence[Consumer], save_every: float) -> None:
    """Train to the end; a signal to stop is answered by saving first."""
    with signals() as signalled:
        try:
            proceed(current, signalled, save_every, consumers)
        except KeyboardInterrupt:
            folder = current.folder.path
            how = f"Resume from its last checkpoint with: mlptrain fit --resume {shlex.quote(str(folder))}"
            raise Interrupted(f"interrupted at once. {how}", signal.SIGINT) from None


def display(console: Console, course: Course) -> Consumer:
    """What shows the progress of training on `console`."""
    if is_live(console):
        from mlptrain.cli.live import LiveChart

        return LiveChart(console, course)
    return Lines(console, course)


def measured(current: Run, console: Console) -> Results:
    """The results of a trained network; after an interrupt, resume measures them again."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(
            "interrupted while the results were measured; training is saved. Resume with: "
            f"mlptrain fit --resume {current.folder.path}",
            number,
        )

    with handling(stop), working(console, "measuring the results"):
        return finish(current)


@contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Record the signals that ask the process to stop, instead of ending it; a second SIGINT interrupts at once."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    with handling(note):
        yield lambda: received[0] if received else None


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Handle the signals that ask the process to stop with `handler` inside this context.

    A signal that the parent process lets this one ignore, as `nohup` does with SIGHUP, stays ignored.
    """
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heard}
    try:
        if INTERRUPTS:  # one that a library swallowed
            handler(INTERRUPTS.pop(), None)
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def describe(current: Run, console: Console) -> None:
    """Print the network, the rows and notes before training."""
    dataset = current.dataset
    members = current.network.layout.members
    sizes = (f"{members[0]} x " if members else "") + "-".join(str(size) for size in current.network.sizes)
    parts = {name: part for name, part in dataset.parts.items() if not (dataset.folds and name == "validation")}
    rows = ", ".join(f"{part.distinct} {name}" for name, part in parts.items())
    rows += f", validated on {len(dataset.folds)} folds" if dataset.folds else ""
    loss, threads = current.network.loss.name(), current.environment.threads
    console.print(
        f"{current.folder.path}: network {sizes}, {current.network.layout.parameter_size} parameters, loss {loss}, "
        f"{threads} {'thread' if threads == 1 else 'threads'}"
    )
    if chosen := current.plan.chosen:
        console.print(f"preset {current.plan.preset.name()}: {chosen}")
    console.print(f"rows: {rows}" + "".join(f"; {note}" for note in current.notes))
    if current.state.progress.step:
        console.print(f"resuming in epoch {current.state.progress.epoch} at step {current.state.progress.step}")


def report(current: Run, finished: Results, console: Console, as_json: bool) -> None:
    """Print why training stopped, the results, and the folder of the run."""
    progress = current.state.progress
    if as_json:
        print_json(document(current, finished, progress.stopped))
        return
    for diagnosed in finished.diagnoses[len(progress.warnings) :]:
        console.print(diagnosis_text(diagnosed))
    console.print(reason(current))
    task = current.plan.transforms.task
    if task.positive is not None and task.cutoff is not None:
        console.print(decision_text(task.positive, task.cutoff))
    table = results_table(finished.results, finished.baselines, finished.baseline_part)
    sure, part = finished.intervals, finished.baseline_part
    line = "" if sure is None else interval_line(finished.results[part], sure)
    print_results(table, *([f"\n{part}: {line}"] if line else []), f"\n{current.folder.path}")
    say_verdict(current, finished, console)


def say_verdict(current: Run, finished: Results, console: Console) -> None:
    """Print how good the model is, whether it overfits, and what to try next."""
    if console.quiet:
        return
    from mlptrain.report.verdict import verdict

    lowest = lowest_loss(current.network, current.dataset.parts[finished.baseline_part])
    found = verdict(current.plan, compared_summary(current, finished, console), lowest)
    for sentence in filter(None, (found.quality, found.fit)):
        console.print(sentence)
    folder = current.folder.path
    commands = [(advice.command(folder / "spec.yaml"), advice.why) for advice in found.advice]
    commands.append((f"mlptrain report {shlex.quote(str(folder))}", "charts of all this"))
    for line in next_lines(commands, console.width):
        console.print(line, soft_wrap=True)


def compared_summary(current: Run, finished: Results, console: Console) -> dict[str, Any]:
    """The summary of a run; on a table for which a preset was chosen, with gradient boosting beside it."""
    known = summary(current, finished)
    if isinstance(current.plan.preset, Plain):
        return known
    from mlptrain.report.boosting import summary_with_boosting

    with working(console, "comparing with gradient boosting"):
        return summary_with_boosting(current, known)


def written_document(current: Run) -> dict[str, Any]:
    """The output of --json for a run that was complete already, from its summary."""
    summary = current.folder.read_summary()
    results = {name: summary["results"].get(name) for name in ("train", "validation", "test")}
    kept = {name: summary[name] for name in ("stopped", "best_epoch", "baselines", "warnings")}
    decision = {name: summary.get(name) for name in ("positive_class", "threshold")}
    run = {"run": str(current.folder.path), "results": results, "intervals": summary.get("intervals")}
    return {**run, **kept, **decision}


def document(current: Run, finished: Results, stopped: str | None) -> dict[str, Any]:
    """The output of --json."""
    return {
        "run": str(current.folder.path),
        "stopped": stopped,
        "best_epoch": current.state.progress.best_epoch,
        "results": {name: finished.results.get(name) for name in ("train", "validation", "test")},
        "intervals": finished.interval_document(),
        "baselines": finished.baselines,
        "positive_class": current.plan.transforms.task.positive,
        "threshold": current.plan.transforms.task.cutoff,
        "warnings": [diagnosed.model_dump() for diagnosed in finished.diagnoses],
    }


def reason(current: Run) -> str:
    """A message: why training stopped, and which epoch was the best."""
    progress, stopping = current.state.progress, current.plan.training.early_stopping
    if progress.member_costs:
        kept = "; each network keeps the weights of its best epoch"
    elif progress.best_epoch is not None:
        kept = f"; the weights of epoch {progress.best_epoch} were the best and are kept"
    elif progress.best_cost is not None:
        kept = "; no epoch was better than the initial weights, which are kept"
    elif stopping is not None:
        kept = f"; {stopping.monitor} is undefined in every epoch, so the weights of the last one are kept"
    else:
        kept = ""
    if progress.stopped == "early_stopping" and stopping is not None:
        why = f"{stopping.monitor} did not improve for {stopping.patience}"
        return f"stopped after {progress.epoch} epochs: {why}{kept}"
    return f"stopped after all {progress.epoch} epochs{kept}"
