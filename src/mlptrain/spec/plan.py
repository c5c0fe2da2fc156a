"""What is a plan? An experiment with every choice made, once its data are known.

An `Experiment` is the file of a user, which may leave the loss to the target, the seed to chance and the number of
threads to the machine. `prepare` reads the data, makes these choices and returns a `Plan`, which everything else takes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, ValidationError

from mlptrain.component import OneOf
from mlptrain.data.split import remedy
from mlptrain.dataset import Dataset, Examined, Fit, Transforms, examine, load_dataset
from mlptrain.errors import DataError, SpecError, UsageError
from mlptrain.nn.layers import Layer
from mlptrain.nn.layout import Layout
from mlptrain.nn.losses import Loss
from mlptrain.nn.network import lay_out
from mlptrain.nn.threads import choose_threads
from mlptrain.randomness import draw_seed
from mlptrain.remedies import setting
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import describe
from mlptrain.spec.sections import MOST_MEMBERS
from mlptrain.system import memory_size
from mlptrain.tasks import Task


class Plan(Experiment):
    """An experiment with every choice made, and the transforms fitted to its table."""

    name: str
    seed: int = Field(ge=0, lt=2**63)
    loss: Annotated[Loss, OneOf()]
    transforms: Transforms
    """Turn a table into inputs and targets; fitted on the training rows."""
    threads: int = Field(ge=1, le=1024)
    """Threads of the matrix products."""

    @property
    def chosen_task(self) -> type[Task]:
        """The task that was fitted."""
        return type(self.transforms.task)

    @property
    def two_sided(self) -> bool:
        """Whether one of two classes is predicted."""
        return self.transforms.task.positive is not None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network, the output layer last."""
        return self.network.layers(self.loss.outputs(self.transforms.task.outputs), self.ensemble.weights == "shared")

    @property
    def members(self) -> int | None:
        """The number of networks side by side; None for one network."""
        return self.ensemble.members if self.ensemble.members > 1 else None

    @property
    def lanes(self) -> int:
        """Threads among which the members are divided; the matrix products of each then use one thread."""
        return min(self.threads, self.members or 1) if self.ensemble.weights == "separate" else 1

    @property
    def blas_threads(self) -> int:
        """Threads of each matrix product in training."""
        return 1 if self.lanes > 1 else self.threads

    @property
    def batch_rows(self) -> int | None:
        """Rows per batch; None for all training rows."""
        size = self.training.batch_size
        return None if size == "full" else size


def prepare(
    experiment: Experiment,
    name: str,
    dtype: Literal["float64"] | None = None,
    choose_scale: Callable[[Experiment, str], Experiment] | None = None,
) -> tuple[Plan, Dataset]:
    """Read the data of `experiment` and make the choices that it leaves open.

    Parameters
    ----------
    experiment
        The experiment. A plan is an experiment too, and is returned unchanged.
    name
        The name to use if the experiment has none.
    dtype
        A precision that replaces the experiment's, for the gradient check.
    choose_scale
        Chooses the scale of the target where the experiment leaves that to a comparison; without it, it is standard.

    Raises
    ------
    SpecError, UsageError
        Settings that conflict with the target, or a network that is too large for the machine.
    DataError
        A table that cannot be read or trained on.
    """
    if dtype is not None:
        training = experiment.training.model_copy(update={"dtype": dtype})
        experiment = experiment.model_copy(update={"training": training})
    seed = draw_seed() if experiment.seed is None else experiment.seed
    examined = examine(experiment.data, experiment.loss, experiment.task)
    experiment, folds = filled(experiment, examined, seed)
    if choose_scale is not None and experiment.compares_scales and not examined.is_classification:
        experiment = choose_scale(experiment, name)
    fit = Fit(experiment.data, experiment.target_scaler, experiment.training.dtype, seed, folds)
    dataset = load_dataset(examined, fit)
    task, threshold = dataset.transforms.task, experiment.decision.threshold
    if threshold is not None and task.cutoff is not None:
        dataset = dataset.with_task(task.deciding_at(threshold))
    plan = decide(experiment, dataset, experiment.name or name, seed)
    if plan.network.uses_batch_statistics and len(dataset.training) < 2:
        raise DataError(f"{plan.data.path}: one training row has no variance; network.normalization cannot be batch")
    return plan, dataset


def filled(experiment: Experiment, examined: Examined, seed: int) -> tuple[Experiment, int]:
    """`experiment` with the settings of its preset, and the number of folds; 0 without folds."""
    rows, classes = examined.table.rows, examined.is_classification
    found = experiment.filled(rows, classes)
    groups = examined.groups_to_train(found.data, seed)
    if groups is not None:
        found = experiment.filled(rows, classes, groups)
    members = found.ensemble.members
    if not found.ensemble.folds:
        return found, 0
    folds = found.data.split.number_of_folds(members, groups or members)
    if found.data.split.folds == "groups" and not folds <= members <= MOST_MEMBERS:
        fewer = remedy(folds=max(2, min(10, folds, members)))
        enough = f"{setting(ensemble={'members': folds})} or " if folds <= MOST_MEMBERS else ""
        text = f"is {members}, but each of the {folds} groups of training rows is left out by a member of its own"
        raise SpecError([found.problem(("ensemble", "members"), f"{text}; write {enough}{fewer}")])
    return found, folds


def decide(experiment: Experiment, dataset: Dataset, name: str, seed: int) -> Plan:
    """The plan for `experiment` on `dataset`; a `SpecError` if the settings do not go together with the loss."""
    decided = {"name": name, "seed": seed, "loss": dataset.loss, "task": dataset.transforms.task.name()}
    settings = experiment.completed(dataset.loss) | decided
    try:
        draft = Plan(**settings, transforms=dataset.transforms, threads=1)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise SpecError(experiment.problem(detail["loc"], describe(detail)) for detail in details) from None
    draft.locate_like(experiment)
    layout = lay_out(draft.layers, draft.transforms.width, draft.members, draft.network.linear_path)
    check_memory(layout, draft)
    threads = chosen_threads(draft, layout, len(dataset.training))
    training = draft.training.model_copy(update={"threads": threads})  # so that spec.yaml repeats the run elsewhere
    return draft.model_copy(update={"threads": threads, "training": training})


def chosen_threads(plan: Plan, layout: Layout, rows: int) -> int:
    """The number of threads from the spec, or else one that suits the network."""
    if plan.training.threads != "auto":
        return plan.training.threads
    return choose_threads(layout, min(plan.batch_rows or rows, rows), plan.members)


def check_memory(layout: Layout, plan: Plan) -> None:
    """Refuse a network whose parameters alone do not fit into memory."""
    needed = bytes_of_training(layout, plan)
    available = memory_size()
    if available is not None and needed > available:
        raise UsageError(
            f"network.hidden: {layout.parameter_size} parameters need {needed / 2**30:.1f} GiB for training, "
            f"this machine has {available / 2**30:.1f} GiB; make the layers smaller"
        )


def bytes_of_training(layout: Layout, plan: Plan) -> int:
    """The memory of the parameters in training: themselves, the gradient, the best ones, a checkpoint, the slots."""
    copies = 4 + len(plan.optimizer.slots)
    return layout.parameter_size * np.dtype(plan.training.dtype).itemsize * copies
