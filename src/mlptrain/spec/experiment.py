"""Which settings does an experiment have? The YAML file as one frozen, validated object.

Experiment
├── data       path, target, split, numeric, categorical, ...                   (data/settings.py)
├── network    hidden layers, activation, initializer, dropout, normalization   (spec/sections.py)
├── loss  optimizer  schedule                                                   one component each
├── penalty    l1, l2
├── ensemble   members, rows, blend
├── decision   the probability from which on a class is predicted
├── training   epochs, batch size, early stopping, clipping, dtype              (spec/sections.py)
└── log        who else is told of training                                     (trackers/)
"""

import os
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from mlptrain.component import Frozen, OneOf, refuse, resolve
from mlptrain.data import scalers
from mlptrain.data.scalers import NoScaling, Scaler
from mlptrain.data.settings import Data
from mlptrain.errors import Problem
from mlptrain.nn.losses import Loss, MeanSquaredError
from mlptrain.optim.optimizers import Adam, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant, Schedule
from mlptrain.spec.conflicts import conflicts
from mlptrain.spec.presets import Facts, Plain, Preset, default_preset, fill
from mlptrain.spec.sections import Decision, Ensemble, NetworkSpec, Training
from mlptrain.tasks import Task, task_kinds, tasks_for_loss
from mlptrain.trackers.names import known_trackers


class Places(Protocol):
    """Where settings are written."""

    def problem(self, location: tuple[int | str, ...], message: str) -> Problem:
        """A problem with the setting at `location`."""

    def origin(self, location: tuple[int | str, ...]) -> str | None:
        """The line or the option that sets the value at `location`; None if nothing does."""

    def value(self, location: tuple[int | str, ...]) -> object:
        """The value at `location` as it is written; None if it is not."""


def known_task(value: str | None) -> str | None:
    """The kind of a task; an error for an unknown one."""
    return value if value is None else resolve(value, {kind: kind for kind in task_kinds()})


def seen_from(folder: Path, path: str, relative: bool) -> str:
    """A path as a file in `folder` names it; absolute where a link leads to the folder, which `..` would not undo."""
    place = os.path.normpath(folder.absolute())
    try:
        common = os.path.commonpath([place, path])
    except ValueError:  # a name that is no path, or another drive of Windows
        return path
    if common != place and (not relative or common == Path(common).anchor or os.path.realpath(place) != place):
        return path
    return PurePath(os.path.relpath(path, place)).as_posix()


def without_validation(data: Data) -> Data:
    """`data` with no rows that are only for validation."""
    split = data.split.model_copy(update={"validation": 0.0})
    return data.model_copy(update={"split": split})


class Experiment(Frozen):
    """Everything that determines a run."""

    preset: Annotated[Preset, OneOf()] = Field(
        default_factory=default_preset,
        description="What fills the settings that are not given: plain (the textbook network), quick, standard, best.",
    )
    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="Name of the run's folder; by default that of the file.",
    )
    seed: int | None = Field(
        0, ge=0, lt=2**63, description="Determines all random numbers; null draws a seed and records it."
    )
    data: Data = Field(description="Where the rows come from and how they are prepared.")
    network: NetworkSpec = Field(NetworkSpec(), description="The architecture.")
    task: Annotated[str | None, AfterValidator(known_task)] = Field(
        None,
        description="What is predicted: classification, multilabel or regression; implied by the loss, or by a target "
        "of text, of real numbers or of more than 100 distinct whole numbers.",
    )
    loss: Annotated[Loss, OneOf()] | None = Field(
        None, description="The function to minimize; implied by the task: cross_entropy, binary_cross_entropy or mse."
    )
    optimizer: Annotated[Optimizer, OneOf(default="adam")] = Field(
        Adam(), description="How the gradient updates the parameters."
    )
    schedule: Annotated[Schedule, OneOf(default="constant")] = Field(
        Constant(), description="How the learning rate changes during training."
    )
    penalty: Penalty = Field(Penalty(), description="L1 and L2 penalties on the weights.")
    ensemble: Ensemble = Field(Ensemble(), description="How many networks are trained and averaged, and on which rows.")
    decision: Decision = Field(
        Decision(), description="From which probability on the positive of two classes is predicted."
    )
    training: Training = Field(Training(), description="Length, batches, early stopping, clipping, precision.")
    log: Annotated[tuple[str, ...], Field(strict=False), AfterValidator(known_trackers)] = Field(
        (),
        exclude=True,  # no file of a run that is a function of its settings depends on who watches
        description="Where training is logged beside metrics.csv: jsonl, mlflow, tensorboard.",
    )
    _written: Places | None = PrivateAttr(None)
    """Where the settings are in the file that the experiment was read from."""
    _names: dict[str, str] = PrivateAttr({})
    """What files are called, by setting, where that is not their name: they were renamed after the run began."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        refuse(
            conflicts(
                self.data,
                self.network,
                self.chosen_task,
                self.loss,
                self.schedule,
                self.ensemble,
                self.training,
                self.preset,
                self.decision,
                self.two_sided,
            )
        )
        return self

    @property
    def two_sided(self) -> bool | None:
        """Whether one of two classes is predicted; None where that depends on the target."""
        task = self.chosen_task
        kinds = [task] if task is not None else [] if self.loss is None else tasks_for_loss(self.loss)
        return False if kinds and all(kind.form == "values" for kind in kinds) else None

    @property
    def chosen_task(self) -> type[Task] | None:
        """The task; None where the loss or the target implies it."""
        return None if self.task is None else task_kinds()[self.task]

    @property
    def validates(self) -> bool:
        """Whether rows are held out for validation."""
        return self.data.validates or self.ensemble.folds

    @property
    def target_scaler(self) -> Scaler:
        """The scaler of a regression target: from the spec, or else standard, or none for a bounded output."""
        if self.data.scale_target is not None:
            return self.data.scale_target
        free = self.network.output_activation.is_identity
        scalable = self.loss is None or self.loss.scalable
        return scalers.Standard() if free and scalable else NoScaling()

    @property
    def compares_scales(self) -> bool:
        """Whether a network on each scale of the target shall decide which one is used."""
        chosen = self.data.scale_target is None and self.data.choose_target_scale
        squared = self.loss is None or self.loss.name() == MeanSquaredError.name()
        return chosen and squared and not self.target_scaler.is_identity

    @property
    def chosen(self) -> str:
        """What the preset amounts to, in a few words; empty for the textbook network."""
        if isinstance(self.preset, Plain):
            return ""
        members, folds = self.ensemble.members, self.data.split.folds or self.ensemble.members
        networks = "1 network" if members == 1 else f"{members} networks"
        parts = "a fold for each group" if folds == "groups" else f"{folds} folds"
        rows = f"{networks} on {parts}" if self.ensemble.folds else networks
        extra = [
            name
            for name, given in (
                ("a linear path", self.network.linear_path),
                ("bins of numbers", self.data.numeric.bins),
                ("the logarithm of the target", isinstance(self.data.scale_target, scalers.Log)),
            )
            if given
        ]
        return ", ".join([rows, f"{self.training.epochs} epochs", *extra, f"{self.optimizer.name()}"])

    def filled(self, rows: int, classes: bool, groups: int | None = None) -> Self:
        """The experiment with the settings of its preset for what it does not give, on a table of that many `rows`.

        `groups` are those of the rows that are not for the test, if they are known.
        """
        linear = self.network.output_activation.is_identity and bool(self.network.hidden)
        split, ensemble = self.data.split, self.ensemble
        given = bool(self.data.validation_path or "validation" in split.model_fields_set)
        shared = split.order is not None or ("rows" in ensemble.model_fields_set and not ensemble.folds)
        facts = Facts(
            rows=rows,
            classes=classes,
            folds=not (given or shared),
            asked=split.folds is not None or split.repeats > 1 or ensemble.folds,
            own_folds=groups if split.folds == "groups" else split.folds,
            repeats=split.repeats,
            groups=groups,
            members=ensemble.members if "members" in ensemble.model_fields_set else None,
            linear=linear and self.network.initializer.file is None,
            epochs=self.training.epochs if "epochs" in self.training.model_fields_set else None,
            own_optimizer="optimizer" in self.model_fields_set,
        )
        found = fill(self, self.preset.settings(facts))
        if found.ensemble.folds:  # every row is trained on, and validates where it is left out
            found = found.model_copy(update={"data": without_validation(found.data)})
        found.locate_like(self)
        if found.data is not self.data:
            found.data.filled_from(self.data)
        return found

    def completed(self, loss: Loss) -> dict[str, Any]:
        """The settings by name, with all defaults filled in that depend on other settings or on the data."""
        training, data = self.training, self.data
        if not self.validates and "early_stopping" not in training.model_fields_set:
            training = training.model_copy(update={"early_stopping": None})
        if loss.has_units:
            data = data.model_copy(update={"scale_target": self.target_scaler})
        network = self.network.model_copy(update={"hidden": self.network.blocks()})
        written = {name: getattr(self, name) for name in Experiment.model_fields}
        return written | {"data": data, "network": network, "training": training}

    def written(self) -> dict[str, Any]:
        """The settings as plain values, as in spec.yaml."""
        return self.determining() | ({"log": list(self.log)} if self.log else {})

    def determining(self) -> dict[str, Any]:
        """The settings that determine the bytes of a run, as plain values."""
        return self.model_dump(mode="json", include=set(Experiment.model_fields))

    @property
    def paths(self) -> dict[str, str]:
        """The files that the experiment names, by setting."""
        found = {f"data.{name}": path for name, path in self.data.files.items()}
        file = self.network.initializer.file
        return found if file is None else found | {"network.initializer.path": file}

    def with_paths(self, change: Callable[[str, str], str]) -> Self:
        """The same experiment with the path of every setting changed."""
        paths = {name: change(name, path) for name, path in self.paths.items()}
        data = self.data.at({name: paths[f"data.{name}"] for name in self.data.files})
        network = self.network
        if "network.initializer.path" in paths:
            initializer = network.initializer.model_copy(update={"path": paths["network.initializer.path"]})
            network = network.model_copy(update={"initializer": initializer})
        return self.model_copy(update={"data": data, "network": network})

    def named_only(self) -> Self:
        """The experiment with names of files instead of paths: what it is wherever its files are."""
        return self.with_paths(lambda setting, path: self._names.get(setting) or PurePath(path).name or path)

    def call_like(self, named: "Experiment") -> None:
        """Call the files as `named` does, which has names instead of paths."""
        self._names = named.paths

    def seen_from(self, folder: Path) -> Self:
        """The experiment as a file in `folder` says it: a path is relative if it is so where it was written.

        A file inside of `folder` is always named by a relative path.
        """
        return self.with_paths(lambda name, path: seen_from(folder, path, self._is_relative(name)))

    def _is_relative(self, setting: str) -> bool:
        written = None if self._written is None else self._written.value(tuple(setting.split(".")))
        return isinstance(written, str) and not Path(written).expanduser().is_absolute()

    def locate_like(self, other: "Experiment") -> None:
        """Locate settings in the file that `other` was read from."""
        self._written, self._names = other._written, other._names

    def origin(self, location: tuple[int | str, ...]) -> str | None:
        """Where the file or an override says the setting at `location`; None if they do not."""
        return None if self._written is None else self._written.origin(location)

    def problem(self, location: tuple[int | str, ...], message: str) -> Problem:
        """A problem with the setting at `location`, with its position in the file if there is one."""
        if self._written is not None:
            return self._written.problem(location, message)
        return Problem("", ".".join(map(str, location)), message)
