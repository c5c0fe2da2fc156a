"""How is mlptrain used from Python?

    run = mlptrain.fit({"data": {"target": "species"}}, frame)
    run.model.predict(new_frame)

The names here are those of the package: `mlptrain.fit`, `mlptrain.train`, `mlptrain.load`. They do what the commands
do, with the same code, but print nothing and write nothing unless asked to. A mistake is an error of `errors.py`.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import Frozen
from mlptrain.data import frames
from mlptrain.data.settings import Data
from mlptrain.data.tables import Table, read_table
from mlptrain.dataset import join_target
from mlptrain.errors import UsageError
from mlptrain.inspect.draft import draft, settings_for, survey
from mlptrain.metrics import Metrics
from mlptrain.nn.threads import blas_threads
from mlptrain.notebook import html_of_model, html_of_run
from mlptrain.remedies import yaml_flow
from mlptrain.report.verdict import Verdict, verdict
from mlptrain.runs import checkpoint, model
from mlptrain.runs.directory import name_for
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import Columns
from mlptrain.runs.model import Evaluation
from mlptrain.runs.run import begin, finish, proceed
from mlptrain.runs.session import Results, Session, measured, open_session, summary
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import experiment_of, load_experiment
from mlptrain.spec.yaml import TABLE
from mlptrain.trackers.base import followed
from mlptrain.training.diagnostics import lowest_loss
from mlptrain.training.epoch import columns
from mlptrain.training.events import Consumer, Event, feed
from mlptrain.training.loop import train as events_of

Spec = str | os.PathLike[str] | Mapping[str, Any] | Experiment
"""A YAML file, settings nested as in one, or an `Experiment`."""
_WHOLE = re.compile(r"0|-?[1-9]\d*")
SPEC = "the spec"
"""What messages call settings that have no file."""


def fit(
    spec: Spec | None = None,
    data: Any = None,
    *,
    target: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    consumers: Sequence[Consumer] = (),
) -> Run:
    """Train a model, as `mlptrain fit` does.

    Parameters
    ----------
    spec
        The experiment: a YAML file, a dictionary nested as in one, or an `Experiment`; its paths are relative to the
        file, or to the working directory. Without it, and for the path of a table, a spec is chosen for the table as
        `mlptrain init` does; this needs `target`.
    data
        The table, instead of the one that `spec` names: a pandas or polars frame, a dictionary of columns, a list of
        rows as dictionaries, an array (rows, columns) whose columns are called x0, x1, ..., or a path.
    target
        The column to predict, or several.
    settings
        Settings that replace those of `spec`, by their path: `{"optimizer.learning_rate": 0.01}`.
    out
        A new folder for the run. Without it the run is in memory only, and nothing is written. A table in memory is
        saved in the folder too, so that every command can be used on the run.
    consumers
        Receive the events of training, as `LiveCurve` does.

    Raises
    ------
    SpecError, UsageError
        A spec with mistakes, all of which are listed, or arguments that do not go together.
    DataError
        A table that cannot be read or trained on.
    Diverged
        The loss or the gradient became infinite or not a number.

    Examples
    --------
    >>> import mlptrain
    >>> rows = {"x": [0.0, 0.1, 0.9, 1.0] * 10, "side": ["left", "left", "right", "right"] * 10}
    >>> run = mlptrain.fit({"preset": "quick", "data": {"target": "side"}}, rows)
    >>> run.model.predict({"x": [0.05, 0.95]}).tolist()
    ['left', 'right']
    """
    task = asked(spec, data, target, settings, None if out is None else Path(out))
    return in_memory(task, tuple(consumers)) if task.out is None else in_folder(task, task.out, tuple(consumers))


def train(
    spec: Spec | None = None,
    data: Any = None,
    *,
    target: str | Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Trainer:
    """Train a model step by step: iterate over the events, and ask for the `run` when enough was trained.

    The parameters are those of `fit`. Nothing is written.

    Examples
    --------
    >>> import mlptrain
    >>> rows = {"x": [0.0, 0.1, 0.9, 1.0] * 10, "side": ["left", "left", "right", "right"] * 10}
    >>> training = mlptrain.train({"preset": "quick", "data": {"target": "side"}}, rows)
    >>> losses = [event.record["train_loss"] for event in training if isinstance(event, mlptrain.EpochDone)]
    >>> losses[-1] < losses[0]
    True
    >>> training.run.model.classes.tolist()
    ['left', 'right']
    """
    task = asked(spec, data, target, settings, None)
    return Trainer(open_session(task.experiment, task.name), task.notes)


def load(path: str | os.PathLike[str]) -> Model:
    """The model in the folder of a run, in a model file or in a checkpoint; of an unfinished run, the best so far.

    Nothing in the file is executed, imported or opened. Raises `CheckpointError` for a file that cannot be trusted.
    """
    return Model(model.open_model(Path(path)))


class Model:
    """A trained model with everything that it needs to use a table.

    It can be used by several threads, which take turns.
    """

    def __init__(self, loaded: checkpoint.Model) -> None:
        self._loaded, self._lock = loaded, threading.Lock()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return tuple(dict.fromkeys(encoder.column for encoder in self._loaded.transforms.encoders))

    @property
    def targets(self) -> tuple[str, ...]:
        """The columns that are predicted."""
        return self._loaded.transforms.task.columns

    @property
    def task(self) -> str:
        """What is predicted: classification, multilabel or regression."""
        return self._loaded.transforms.task.name()

    @property
    def classes(self) -> NDArray[Any] | None:
        """(k,): the classes in the order of `predict_proba`; None where none are predicted."""
        found = self._loaded.transforms.task.choices
        return None if found is None else typed(np.array(found, dtype=object))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, units of each hidden layer, and outputs of the network."""
        return tuple(self._loaded.network.sizes)

    @property
    def members(self) -> int:
        """The number of networks whose predictions are averaged."""
        return self.experiment.ensemble.members

    @property
    def experiment(self) -> Experiment:
        """The experiment with every choice made."""
        return self._loaded.plan

    def predict(self, table: Any) -> NDArray[Any]:
        """(n,) or, for several targets, (n, k): the class or the value of every row.

        Classes that are whole numbers or flags are returned as such, others as text. `table` is what `fit` takes, or a
        path; columns that the model does not need are ignored.
        """
        decoded, _ = self.predictions(table)
        found = {name: values for name, values in decoded.items() if name in self.targets} or decoded
        each = [typed(values) for values in found.values()]
        return each[0] if len(each) == 1 else np.column_stack(each)

    def predict_proba(self, table: Any) -> NDArray[Any]:
        """(n, k): the probability of each class, or of yes for each of several labels.

        Raises `UsageError` for a model that predicts quantities.
        """
        task, loss = self._loaded.transforms.task, self._loaded.network.loss
        if task.form == "values":
            raise UsageError("this model predicts quantities, which have no probabilities; use predict")
        read = self._read(table)
        with self._lock, np.errstate(all="ignore"), blas_threads(self._loaded.plan.blas_threads):
            features = self._loaded.transforms.encode(read, self._loaded.network.dtype)[0]
            found = loss.predict(model.scores_in_tiles(self._loaded, features, read.path))
        return np.column_stack([1 - found[:, 0], found[:, 0]]) if task.choices and found.shape[1] == 1 else found

    def predictions(self, table: Any, *, spread: bool = False) -> tuple[dict[str, NDArray[Any]], list[str]]:
        """What `mlptrain predict` writes, by column, and its notes: values filled, unknown, or far outside of training.

        With `spread`, also the standard deviation of each number over the members of an ensemble.
        """
        read = self._read(table)
        with self._lock:
            return model.predict(self._loaded, read, spread)

    def evaluate(self, table: Any = None, target: Any = None) -> Evaluation:
        """The metrics on the rows of `table`, as `mlptrain evaluate` computes them.

        Parameters
        ----------
        table
            A table with the target. Without it, the test rows of the run in whose folder the model is.
        target
            The target of each row, where `table` does not have it: a series, an array or a list.
        """
        if table is None:
            return self._evaluate_own()
        read = self._read(table, hashed=True)
        if target is not None:
            read = join_target(read, self._target(target), self.targets)
        with self._lock:
            part, notes = model.table_part(self._loaded, read)
            return model.evaluate(self._loaded, part, model.scores_of(self._loaded, part), notes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a file, which `load` and every command can read; one that exists is replaced."""
        write_durably(Path(path), checkpoint.encode_model(self._loaded.header, self._loaded.predictor))

    def __getstate__(self) -> bytes:
        """The bytes of its file, so that a copy by pickle is a copy of the file."""
        return checkpoint.encode_model(self._loaded.header, self._loaded.predictor)

    def __setstate__(self, state: bytes) -> None:
        self.__init__(checkpoint.decode_model(state, "the pickled model"))  # type: ignore[misc]  # as from a file

    def __repr__(self) -> str:
        what = f"{len(self.classes)} classes" if self.classes is not None else self.task
        return f"<mlptrain.Model of {', '.join(self.targets)} ({what}) from {len(self.inputs)} columns>"

    def _repr_html_(self) -> str:
        return html_of_model(self)

    def _evaluate_own(self) -> Evaluation:
        """The metrics on the test rows of the run in whose folder the model is."""
        if self._loaded.folder is None:
            raise UsageError("this model is without its run and has no rows of its own; give a table: evaluate(table)")
        part = model.own_test(model.at_home(self._loaded))
        if part is None:
            raise UsageError("the run of this model held out no test rows; give a table: evaluate(table)")
        with self._lock:
            return model.evaluate(self._loaded, part, model.scores_of(self._loaded, part))

    def _read(self, table: Any, hashed: bool = False) -> Table:
        """`table` as columns by name."""
        if not isinstance(table, str | os.PathLike):
            return own(table, hashed)
        return read_table(Path(table), self._loaded.plan.data.delimiter, self._loaded.transforms.hints)

    def _target(self, target: Any) -> Table:
        """The target of each row as a table."""
        plain = isinstance(target, np.ndarray | list | tuple) and len(self.targets) == 1
        return own({self.targets[0]: np.ravel(np.asarray(target, dtype=object)).tolist()} if plain else target)


@dataclass(frozen=True)
class Run:
    """What came of training."""

    model: Model
    """The best weights, ready to be used."""
    history: Columns
    """One value for each epoch, by column, as in metrics.csv."""
    summary: Mapping[str, Any]
    """The content of summary.json."""
    verdict: Verdict
    """What is to be said about it in plain words, and what to try next."""
    notes: tuple[str, ...] = ()
    """What was assumed, filled or left out."""
    folder: Path | None = None
    """Where it was saved; None if it is in memory only."""

    @property
    def results(self) -> dict[str, Metrics]:
        """The metrics by part: train, validation, test."""
        return dict(self.summary["results"])

    @property
    def baselines(self) -> dict[str, Metrics | None]:
        """The metrics of the best constant and of the linear model, on the part that the run is judged by."""
        return dict(self.summary["baselines"])

    @property
    def experiment(self) -> Experiment:
        """The experiment with every choice made."""
        return self.model.experiment

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights are kept, counted from 0."""
        return None if self.summary["best_epoch"] is None else int(self.summary["best_epoch"])

    def __repr__(self) -> str:
        return f"<mlptrain.Run '{self.summary['name']}': {self.verdict.quality or self.verdict.ended}>"

    def _repr_html_(self) -> str:
        return html_of_run(self)


class Trainer(Iterator[Event]):
    """A run in memory that is trained while one iterates over its events."""

    def __init__(self, session: Session, notes: Sequence[str] = ()) -> None:
        self._session, self._notes = session, tuple(notes)
        self._events = self._limited()

    def _limited(self) -> Iterator[Event]:
        session = self._session
        with blas_threads(session.plan.blas_threads):
            yield from events_of(session.plan, session.network, session.state, session.dataset)

    def __next__(self) -> Event:
        with np.errstate(all="ignore"):  # an overflow is found and told by the step, not by a warning
            return next(self._events)

    @property
    def experiment(self) -> Experiment:
        """The experiment with every choice made."""
        return self._session.plan

    @cached_property
    def run(self) -> Run:
        """The run with the best weights so far; it cannot be trained on."""
        self._events.close()  # type: ignore[attr-defined]  # it is a generator
        with blas_threads(self._session.plan.blas_threads):
            return finished(self._session, self._notes)


@dataclass(frozen=True)
class Asked:
    """What `fit` and `train` are asked for."""

    experiment: Experiment
    name: str
    notes: tuple[str, ...] = ()
    """What was assumed for a table without a spec."""
    out: Path | None = None
    content: bytes | None = field(default=None, repr=False)
    """Of the file in the folder of the run that holds a table from memory."""


def in_memory(task: Asked, consumers: tuple[Consumer, ...]) -> Run:
    """Train without a file."""
    if task.experiment.log:
        raise UsageError("log: needs a folder for the run: mlptrain.fit(..., out='runs/first')")
    session = open_session(task.experiment, task.name, consumers)
    with blas_threads(session.plan.blas_threads):
        feed(events_of(session.plan, session.network, session.state, session.dataset, consumers), consumers)
        return finished(session, task.notes)


def in_folder(task: Asked, out: Path, consumers: tuple[Consumer, ...]) -> Run:
    """Train as a run in the new folder `out`."""
    run, troubles = begin(task.experiment, task.name, out, consumers), list[str]()
    logged = followed(run, run.plan.log, troubles.append)
    with run.folder.locked(), blas_threads(run.plan.blas_threads), logged as trackers:
        if task.content is not None:
            write_durably(Path(run.plan.data.path), task.content)
        proceed(run, lambda: None, consumers=() if trackers is None else [trackers])
        results = finish(run)
        if trackers is not None:
            trackers.results(summary(run, results))
    return run_of(run, results, (*task.notes, *troubles), run.folder.path)


def asked(
    spec: Spec | None,
    data: Any,
    target: str | Sequence[str] | None,
    settings: Mapping[str, Any] | None,
    out: Path | None,
) -> Asked:
    """The experiment that the arguments of `fit` describe."""
    targets = [] if target is None else [target] if isinstance(target, str) else list(target)
    if isinstance(spec, str | os.PathLike) and TABLE.search(str(spec)):
        if data is not None:
            raise UsageError(f"{spec}: is a table, and so is data; give one of them, and a spec if you have one")
        data, spec = Path(spec), None
    if spec is None and (data is None or not targets):
        raise UsageError("fit needs a spec, or a table and a target: mlptrain.fit(data=frame, target='species')")
    changes = {"data.target": targets[0] if len(targets) == 1 else targets} if targets else {}
    changes |= settings or {}
    if data is None or isinstance(data, str | os.PathLike):
        return asked_on_file(spec, None if data is None else Path(data), targets, changes, out)
    return asked_on_frame(spec, own(data), targets, changes, out)


def asked_on_file(
    spec: Spec | None, path: Path | None, targets: Sequence[str], changes: Mapping[str, Any], out: Path | None
) -> Asked:
    """An experiment on the table that `spec` names, or else on that at `path`."""
    if spec is None:
        assert path is not None
        drafted = draft(path, targets, Path())
        return Asked(experiment_from(drafted.settings, changes), name_for(path), drafted.assumed, out)
    found = experiment_from(spec, changes, None if path is None else str(path.absolute()))
    return Asked(found, name_of(spec), (), out)


def asked_on_frame(
    spec: Spec | None, table: Table, targets: Sequence[str], changes: Mapping[str, Any], out: Path | None
) -> Asked:
    """An experiment on a table in memory."""
    notes, content = tuple[str, ...](), None
    if spec is None:
        copy = replace(table, columns=dict(table.columns))
        seen = survey(copy, settings_for(copy, targets, None))
        spec, notes = seen.settings(targets), tuple(seen.assumed)
    if out is not None:
        suffix, content = frames.as_file(table)
        digest = hashlib.sha256(content).hexdigest()
        table = replace(table, path=str(out.absolute() / f"data{suffix}"), sha256=digest)
    found = experiment_from(spec, changes, table.path)
    found = found.model_copy(update={"data": found.data.holding(table)})
    return Asked(found, name_of(spec), notes, out, content)


def experiment_from(spec: Spec, changes: Mapping[str, Any], table: str | None = None) -> Experiment:
    """The experiment that `spec` is, with some settings changed; `table` replaces the path of its table."""
    overrides = [f"{path}={yaml_flow(value)}" for path, value in changes.items()]
    if isinstance(spec, str | os.PathLike):
        place = [] if table is None else [f"data.path={yaml_flow(table)}"]
        return load_experiment(Path(spec), [*overrides, *place], option="")
    settings = dict(settings_of(spec))
    data = settings.get("data", {})
    if table is not None and isinstance(data, Mapping | Data):
        settings["data"] = {**(data if isinstance(data, Mapping) else given(data)), "path": table}
    return experiment_of(settings, SPEC, overrides)


def settings_of(spec: Mapping[str, Any] | Experiment) -> Mapping[str, Any]:
    """The sections of a spec that are given, by name."""
    if isinstance(spec, Experiment):
        return {name: value for name, value in given(spec).items() if name in Experiment.model_fields}
    if not isinstance(spec, Mapping):
        raise UsageError(f"a spec is a path, a dictionary or an Experiment, not of type {type(spec).__name__}")
    return spec


def given(section: Frozen) -> dict[str, Any]:
    """The settings of a section that are given, by name."""
    return {name: getattr(section, name) for name in type(section).model_fields if name in section.model_fields_set}


def name_of(spec: Spec) -> str:
    """The name of a run whose spec has none."""
    return name_for(Path(spec)) if isinstance(spec, str | os.PathLike) else "run"


def own(table: Any, hashed: bool = True) -> Table:
    """A table in memory as columns by name."""
    return table if isinstance(table, Table) else frames.table_from(table, hashed=hashed)


def finished(session: Session, notes: Sequence[str]) -> Run:
    """The run that a trained session is."""
    session.settle()
    return run_of(session, measured(session), notes)


def run_of(session: Session, found: Results, notes: Sequence[str], folder: Path | None = None) -> Run:
    """The run of a session with its results."""
    document = summary(session, found)
    lowest = lowest_loss(session.network, session.dataset.parts[found.baseline_part])
    names, rows = columns(session.plan), session.state.history
    history = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    trained = Model(session.model()._replace(folder=folder))
    return Run(trained, history, document, verdict(session.plan, document, lowest), (*notes, *session.notes), folder)


def typed(values: NDArray[Any]) -> NDArray[Any]:
    """Labels as numbers if all of them are whole numbers, as flags if all of them are; unchanged otherwise.

    >>> typed(np.array(["1", "10"], dtype=object)).tolist(), typed(np.array(["True"], dtype=object)).tolist()
    ([1, 10], [True])
    >>> typed(np.array(["007", "x"], dtype=object)).tolist()
    ['007', 'x']
    """
    if values.dtype != object:
        return values
    words = dict.fromkeys(values.tolist())
    if all(word in ("True", "False") for word in words):
        return np.array([word == "True" for word in values])
    if all(_WHOLE.fullmatch(word) for word in words):
        with suppress(OverflowError):
            return values.astype(np.int64)
    return values
