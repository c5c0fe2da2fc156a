"""What is a run in memory, from its data to its results?

`runs/run.py` gives it a folder, from which it can be resumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mlptrain.dataset import Dataset, Part
from mlptrain.errors import CheckpointError
from mlptrain.metrics import Metrics
from mlptrain.nn.arrays import Array
from mlptrain.nn.network import Network
from mlptrain.nn.threads import blas_threads
from mlptrain.remedies import setting
from mlptrain.runs import checkpoint as files
from mlptrain.runs.checkpoint import Environment, Header, Model
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.target_scale import choose_target_scale
from mlptrain.training.baselines import baselines
from mlptrain.training.blend import Blend, Predictor, choose_blend
from mlptrain.training.decision import check_decision, decided
from mlptrain.training.diagnostics import Reached, diagnose_results, lowest_loss
from mlptrain.training.early_stopping import check_monitor
from mlptrain.training.epoch import columns
from mlptrain.training.evaluation import ActivationWatch
from mlptrain.training.events import Consumer
from mlptrain.training.intervals import Intervals, intervals
from mlptrain.training.linear import LinearModels
from mlptrain.training.loop import network_for, start
from mlptrain.training.state import Diagnosed, TrainState


@dataclass
class Session:
    """A run in memory."""

    plan: Plan
    dataset: Dataset
    network: Network
    linear: LinearModels
    """The linear models on its rows."""
    state: TrainState
    environment: Environment
    notes: tuple[str, ...]
    """Notes for the user about the start: filled values, a different environment."""
    consumers: Sequence[Consumer] = ()
    """Receive the events of the whole run, and the parts of its work before and after training too."""
    blend: Blend | None = None
    """The linear model beside the network, which is chosen after training."""

    @property
    def predictor(self) -> Predictor:
        """What predicts: the best weights so far."""
        return Predictor(self.network, self.state.best_parameters, self.state.best_buffers, self.blend)

    def settle(self) -> None:
        """Choose what is chosen after training: the share of a linear model, and the threshold of two classes."""
        self.mark("other")
        if self.plan.ensemble.blend:
            self.blend = choose_blend(self.predictor, self.dataset, self.linear)
            self.mark("blend")
        self.decide()

    def decide(self) -> None:
        """Choose the threshold of two classes by the validation rows, if the spec asks for it."""
        if self.plan.decision.metric is None or self.dataset.validation is None:
            return
        scores = self.predictor.validation_scores(self.dataset, self.linear)
        task = decided(self.plan.transforms.task, self.plan, self.dataset, scores)
        transforms = self.plan.transforms.model_copy(update={"task": task})
        self.plan = self.plan.model_copy(update={"transforms": transforms})
        self.mark("decision")

    def header(self, content: Literal["model", "checkpoint"]) -> Header:
        """The metadata of this run's files."""
        return Header(
            content=content,
            plan=self.plan.named_only(),
            fingerprint=self.dataset.fingerprint,
            environment=self.environment,
            progress=self.state.progress if content == "checkpoint" else None,
            history=tuple(columns(self.plan)) if content == "checkpoint" else None,
            blocks=self.state.history.digests() if content == "checkpoint" else (),
            share=self.blend.share if self.blend is not None and content == "model" else None,
        )

    def model(self) -> Model:
        """The best weights with everything that is needed to use them, as they are in memory."""
        return Model(self.header("model"), *self.predictor)

    def mark(self, part: str) -> None:
        """Tell the consumers that a part of the work is done."""
        tell(self.consumers, part)


class Results(NamedTuple):
    """The results of a finished run."""

    results: dict[str, Metrics]
    """Metrics by part: train, validation, test."""
    baselines: dict[str, Metrics | None]
    """Metrics by baseline model, on `baseline_part`."""
    baseline_part: str
    diagnoses: tuple[Diagnosed, ...]
    intervals: Intervals | None = None
    """How sure the figures of `baseline_part` are; None for training rows."""

    def interval_document(self) -> dict[str, Any] | None:
        """The intervals and their part as JSON."""
        return None if self.intervals is None else {"part": self.baseline_part} | self.intervals.document()


def open_session(experiment: Experiment, name: str, consumers: Sequence[Consumer] = ()) -> Session:
    """A run of `experiment` before its first step, called `name` if it has no name.

    All settings and data are checked. `consumers` follow the run from here to its end.
    """
    plan, dataset = prepared(experiment, name, consumers)
    check_beginning(plan, dataset)
    network = network_for(plan)
    linear = LinearModels(network, dataset)
    with blas_threads(plan.blas_threads):
        state = start(plan, network, dataset, linear)
    return Session(plan, dataset, network, linear, state, Environment.now(plan.threads), dataset.notes, consumers)


def check_beginning(plan: Plan, dataset: Dataset) -> None:
    """Refuse what would fail only in the course of a run."""
    check_monitor(plan, columns(plan))
    check_decision(plan, dataset)
    check_start(plan)


def check_start(plan: Plan) -> None:
    """Refuse to start from the model of a run with other inputs, or with the same inputs in another order."""
    file = plan.network.initializer.file
    if file is None or not Path(file).is_file():
        return
    header = files.header_of(files.read_file(Path(file)), file)
    if header is None:
        return
    before, now = header.plan.transforms, plan.transforms
    if before.inputs == now.inputs:
        return
    names = list(dict.fromkeys(encoder.column for encoder in before.encoders))
    place = next(i for i, pair in enumerate(zip_longest(before.inputs, now.inputs)) if pair[0] != pair[1])
    theirs, ours = (inputs[place] if place < len(inputs) else "none" for inputs in (before.inputs, now.inputs))
    raise CheckpointError(
        f"{file}: input {place + 1} of its network is '{theirs}', but '{ours}' in this one; weights can only be reused "
        f"for the same columns in the same order: {setting(data={'features': names})}"
    )


def tell(consumers: Sequence[Consumer], part: str) -> None:
    """Tell `consumers` that a part of the work is done."""
    for consumer in consumers:
        consumer.part(part, 0)


def prepared(experiment: Experiment, name: str, consumers: Sequence[Consumer]) -> tuple[Plan, Dataset]:
    """The plan and the data; `consumers` are told before and after."""
    tell(consumers, "other")
    found = prepare(experiment, name, choose_scale=choose_target_scale)
    tell(consumers, "prepare")
    return found


@np.errstate(all="ignore")
def measured(session: Session) -> Results:
    """The figures of the best weights and of the baselines."""
    watch = None if session.dataset.validation is None else ActivationWatch(session.network)
    name, part = report_part(session.dataset)
    results, sure = {}, None
    for each, rows in session.dataset.parts.items():
        scores = scored(session, rows, watch)
        results[each] = session.plan.transforms.task.measure(session.network.loss, scores, rows)
        session.mark("metrics")
        if each == name != "train":
            sure = intervals(session.plan.transforms.task, session.network.loss, scores, rows, session.plan.seed)
            session.mark("intervals")
    wanted = session.plan.training.baselines
    trivial = baselines(session.plan, session.network, session.dataset, part, session.linear) if wanted else {}
    session.mark("baselines")
    progress, lowest = session.state.progress, lowest_loss(session.network, part)
    reached = Reached(session.plan, progress, results[name], results["train"]["loss"], trivial, lowest, watch)
    return Results(results, trivial, name, (*progress.warnings, *diagnose_results(reached)), sure)


def scored(session: Session, part: Part, watch: ActivationWatch | None) -> Array:
    """The scores of the best weights on `part`; `watch` records their activations on the validation rows."""
    session.mark("other")
    if part is session.dataset.validation:
        scores = session.predictor.validation_scores(session.dataset, session.linear, watch)
    else:
        scores = session.predictor.scores(part.features, part.rows)
    session.mark("scores")
    return scores


def report_part(dataset: Dataset) -> tuple[str, Part]:
    """The part that the baselines are compared on: test rows, else validation rows, else training rows."""
    name = next(name for name in ("test", "validation", "train") if name in dataset.parts)
    return name, dataset.parts[name]


def summary(session: Session, finished: Results, stopped: str | None = None) -> dict[str, Any]:
    """The content of summary.json; `stopped` is the reason if the run did not end regularly."""
    progress = session.state.progress
    return {
        "name": session.plan.name,
        "stopped": stopped or progress.stopped,
        "epochs": progress.epoch,
        "steps": progress.step,
        "best_epoch": progress.best_epoch,
        "results": finished.results,
        "baselines": finished.baselines,
        "baseline_part": finished.baseline_part,
        "positive_class": session.plan.transforms.task.positive,
        "threshold": session.plan.transforms.task.cutoff,
        "intervals": finished.interval_document(),
        "warnings": [diagnosed.model_dump() for diagnosed in finished.diagnoses],
        "notes": list(session.notes),
        "parameters": session.network.layout.parameter_size,
        "environment": session.environment.model_dump(),
        "fingerprint": session.dataset.fingerprint,
    }
