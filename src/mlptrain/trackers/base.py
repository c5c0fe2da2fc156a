"""What is a tracker, and what if it fails?

A tracker receives the events of training, as every consumer does, and then the results. It never decides about
training: an error in it is told once, and it is not called again.
"""

from __future__ import annotations

import importlib
import importlib.util
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from mlptrain.errors import Diverged, EnvironmentFault, Interrupted
from mlptrain.runs.run import Run
from mlptrain.training.epoch import columns
from mlptrain.training.events import Consumer, EpochDone, Record, TrainingDone

Outcome = Literal["finished", "diverged", "interrupted", "failed"]
"""How a run came to its end, as far as this process is concerned."""


class Subject(NamedTuple):
    """The run that is followed."""

    name: str
    folder: Path
    """Its files; spec.yaml is there."""
    settings: Mapping[str, Any]
    """The spec, as nested plain values."""
    history: Sequence[Record] = ()
    """The epochs that were done before; what a tracker knows of later ones comes again."""


class Tracker(Consumer):
    """Follows one run. It is made when the run starts, or is resumed."""

    package: ClassVar[str | None] = None
    """The package that it needs."""
    install: ClassVar[str] = ""
    """The line that installs it."""

    @abstractmethod
    def __init__(self, subject: Subject) -> None:
        """Begin, or go on where an earlier process stopped, without its epochs that are not in `subject.history`."""

    @property
    @abstractmethod
    def known(self) -> int:
        """The epochs of `subject.history` that an earlier process has told."""

    @abstractmethod
    def epoch(self, event: EpochDone) -> None:
        """Called after each epoch."""

    def earlier(self, record: Record) -> None:
        """Called for each epoch of `subject.history` that is not known, as where a run is logged from its middle on."""
        self.epoch(EpochDone(record, False, ()))

    def results(self, summary: Mapping[str, Any]) -> None:
        """Called with the content of summary.json, when all files of the run are written."""

    def end(self, outcome: Outcome) -> None:
        """Called when nothing more will come; `close` follows, also after an error."""


def tracker_class(name: str) -> type[Tracker]:
    """The tracker of this name; an `EnvironmentFault` if its package is not installed."""
    module = importlib.import_module(f"mlptrain.trackers.{name}")
    (found,) = (
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Tracker) and one.__module__ == module.__name__
    )
    if found.package is not None and importlib.util.find_spec(found.package) is None:
        raise EnvironmentFault(f"log: {name}: needs the package {found.package}; install it with: {found.install}")
    return found


class Trackers(Consumer):
    """Several trackers as one consumer."""

    def __init__(self, names: Sequence[str], subject: Subject, tell: Callable[[str], None]) -> None:
        """`tell` receives what goes wrong."""
        self._tell = tell
        self._found: dict[str, Tracker] = {}
        for name in names:
            with self._forgiven(name):
                tracker = self._found[name] = tracker_class(name)(subject)
                for record in subject.history[tracker.known :]:
                    tracker.earlier(record)

    def epoch(self, event: EpochDone) -> None:
        self._each(lambda tracker: tracker.epoch(event))

    def done(self, event: TrainingDone) -> None:
        self._each(lambda tracker: tracker.done(event))

    def failed(self, error: Diverged) -> None:
        self._each(lambda tracker: tracker.failed(error))

    def results(self, summary: Mapping[str, Any]) -> None:
        """Pass on the results."""
        self._each(lambda tracker: tracker.results(summary))

    def end(self, outcome: Outcome) -> None:
        """End all of them."""
        self._each(lambda tracker: tracker.end(outcome))
        self._each(lambda tracker: tracker.close())

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._found.items()):
            with self._forgiven(name):
                call(tracker)

    @contextmanager
    def _forgiven(self, name: str) -> Iterator[None]:
        """Tell of an error inside, and call the tracker no more."""
        try:
            yield
        except Exception as error:  # whatever a package raises
            if name in self._found:
                with suppress(Exception):
                    self._found.pop(name).close()
            why = " ".join(str(error).split())[:300] or type(error).__name__
            self._tell(f"log: {name}: {why}; training goes on, and nothing more is logged there")


@contextmanager
def followed(run: Run, names: Sequence[str], tell: Callable[[str], None]) -> Iterator[Trackers | None]:
    """The trackers of these names, which are told how the run ends; None if there are none, or nothing is left to do.

    `tell` receives what goes wrong with a tracker.
    """
    if not names or run.is_complete:
        yield None
        return
    history = [dict(zip(columns(run.plan), row, strict=True)) for row in run.state.history]
    trackers = Trackers(names, Subject(run.plan.name, run.folder.path, run.plan.written(), history), tell)
    outcome: Outcome = "failed"
    try:
        yield trackers
        outcome = "finished"
    except Diverged:
        outcome = "diverged"
        raise
    except (Interrupted, KeyboardInterrupt):
        outcome = "interrupted"
        raise
    finally:
        trackers.end(outcome)


def flattened(settings: Mapping[str, Any], path: str = "") -> dict[str, str | float | None]:
    """Nested settings as one level: `optimizer.learning_rate`; a list is text."""
    found: dict[str, str | float | None] = {}
    for key, value in settings.items():
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, Mapping):
            found |= flattened(value, place)
        else:
            found[place] = value if value is None or isinstance(value, str | int | float) else str(value)
    return found


def final_metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a finished run by part: `test_accuracy`."""
    results: Mapping[str, Mapping[str, float | None]] = summary["results"]
    named = ((f"{part}_{name}", value) for part, metrics in results.items() for name, value in metrics.items())
    return {name: value for name, value in named if value is not None}
