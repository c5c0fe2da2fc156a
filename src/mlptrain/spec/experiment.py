"""Which settings does an experiment have? The YAML file as one frozen, validated object.

Experiment
├── data       path, target, split, numeric, categorical, ...   (data/settings.py)
├── network    hidden layers, activation, initializer, dropout, normalization
├── loss  optimizer  schedule                                   one component each
├── penalty    l1, l2
└── training   epochs, batch size, early stopping, clipping, dtype
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, PrivateAttr, model_validator

from mlptrain.component import Conflict, Frozen, OneOf, did_you_mean, mistake, refuse, resolve
from mlptrain.data.encoders import encoder_kinds
from mlptrain.data.scalers import NoScaling, Scaler, Standard
from mlptrain.data.settings import Data
from mlptrain.errors import Problem
from mlptrain.nn.activations import Activation, Identity, ReLU
from mlptrain.nn.initializers import Auto, Initializer
from mlptrain.nn.layers import Dense, DropoutRate, Layer
from mlptrain.nn.losses import Loss
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import Adam, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant, Schedule
from mlptrain.tasks import task_kinds

Locate = Callable[[tuple[int | str, ...], str], Problem]


def width_alone(value: Any) -> Any:
    """A bare number as a dense layer of that width."""
    if isinstance(value, dict | str | Layer):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return {"width": value}
    raise mistake(
        f"must be a width or a mapping of settings, got {'a list' if isinstance(value, list | tuple) else value}"
    )


def check_batch_size(value: Any) -> Any:
    """A positive number of rows, or `full`."""
    if value == "full" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 2**31):
        return value
    raise mistake(f"must be a whole number of rows from 1 to 2147483648, or 'full'; got {repr(value)[:40]}")


def check_threads(value: Any) -> Any:
    """A positive number of threads, or `auto`."""
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 1024):
        return value
    raise mistake(f"must be a whole number from 1 to 1024, or 'auto'; got {repr(value)[:40]}")


def known_task(value: str | None) -> str | None:
    """The kind of a task; an error for an unknown one."""
    return value if value is None else resolve(value, {kind: kind for kind in task_kinds()})


class NetworkSpec(Frozen):
    """The architecture. The sizes of input and output come from the data."""

    formula: ClassVar = (
        r"h = M \odot f(\mathrm{norm}(xW + b)), \qquad q = \mathrm{dropout}, \qquad \mathrm{evaluation:} \ M = 1",
        r"M_{rj} = 0 \quad \mathrm{with\ probability} \ q, \quad \mathrm{else} \ 1/(1 - q)",
    )
    hidden: Annotated[
        tuple[Annotated[Layer, OneOf(default="dense"), BeforeValidator(width_alone)], ...],
        Field(strict=False, max_length=1000),
    ] = Field(
        (Dense(width=64), Dense(width=32)),
        description="Hidden layers, by width or as mappings; an empty list is a linear model.",
    )
    activation: Annotated[Activation, OneOf()] = Field(ReLU(), description="Activation function of the hidden layers.")
    initializer: Annotated[Initializer, OneOf()] = Field(Auto(), description="Initial values of the parameters.")
    dropout: DropoutRate = Field(0.0, description="Probability of dropping a unit of a hidden layer.")
    normalization: Annotated[Normalization, OneOf()] | None = Field(
        None, description="Normalization before the activation of hidden layers."
    )
    output_activation: Annotated[Activation, OneOf()] = Field(
        Identity(), description="Activation function of the output, for regression losses, such as mse with a sigmoid."
    )

    SHARED: ClassVar[frozenset[str]] = frozenset({"activation", "dropout", "normalization"})
    """The fields that are the defaults of the layers."""

    def conflicts(self) -> Iterator[Conflict]:
        """Conflicting settings within the architecture."""
        before: int | None = None
        for i, layer in enumerate(self.hidden):
            yield from ((f"network.hidden.{i}.{field}", message) for field, message in layer.conflicts(before))
            before = layer.units(before or 0) or None

    def blocks(self) -> tuple[Layer, ...]:
        """The hidden layers with the defaults of the network filled in."""
        return tuple(self._filled(layer) for layer in self.hidden)

    def _filled(self, layer: Layer) -> Layer:
        """`layer` with the settings of the network for the fields that it does not set."""
        missing = (type(layer).model_fields.keys() & self.SHARED) - layer.model_fields_set
        return layer.model_copy(update={name: getattr(self, name) for name in sorted(missing)})

    def layers(self, outputs: int) -> tuple[Layer, ...]:
        """The layers, the output layer last."""
        return (*self.blocks(), Dense(width=outputs, activation=self.output_activation))

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether training needs batches of at least two rows."""
        return any(layer.uses_batch_statistics for layer in self.blocks())


class EarlyStopping(Frozen):
    """When training stops because the monitored value no longer improves."""

    patience: int = Field(20, ge=1, description="Epochs without improvement before training stops.")
    monitor: str = Field(
        "validation_loss",
        description="The value that must improve: train_loss, validation_loss or validation_<metric>.",
    )
    min_delta: float = Field(0.0, ge=0, description="Smallest change that counts as an improvement.")


class Ema(Frozen):
    """An exponential moving average of the parameters: w_ema <- d w_ema + (1 - d) w after each step.

    After Polyak & Juditsky 1992. In step t, d is the smaller of `decay` and (1 + t) / (10 + t), which reduces the
    influence of the first steps. The running statistics of batch normalization are averaged too, as with PyTorch's
    `use_buffers`.
    """

    formula: ClassVar = (r"\bar w \leftarrow d \bar w + (1 - d) w, \qquad d = \min(\mathrm{decay}, (1 + t)/(10 + t))",)
    decay: float = Field(0.999, gt=0, lt=1, description="Decay of the average in each step.")


class Training(Frozen):
    """Length, batches, early stopping, clipping and precision of training."""

    renamed: ClassVar[dict[str, str]] = {"averaging": "ema"}

    formula: ClassVar = (
        r"\mathrm{clip\ norm} \quad c \mathrm{:} \quad g \leftarrow g \min(1, c/\lVert g\rVert)",
        r"\mathrm{clip\ value} \quad c \mathrm{:} \quad g_i \leftarrow \min(\max(g_i, -c), c)",
    )
    epochs: int = Field(200, ge=1, le=10**9, description="Maximum number of passes over the training rows.")
    batch_size: Annotated[int | Literal["full"], PlainValidator(check_batch_size)] = Field(
        32, description="Rows per step, or `full`."
    )
    shuffle: bool = Field(True, description="Shuffle the rows in each epoch; false keeps the order of the file.")
    early_stopping: EarlyStopping | None = Field(
        EarlyStopping(), description="Stop when the monitored value no longer improves; null never stops early."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Largest norm of the gradient, over all parameters; a larger one is scaled down."
    )
    clip_value: float | None = Field(None, gt=0, description="Largest entry of the gradient; larger ones are clipped.")
    ema: Ema | None = Field(None, description="Evaluate and keep an exponential moving average of the weights.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of all numbers of the network.")
    threads: Annotated[int | Literal["auto"], PlainValidator(check_threads)] = Field(
        "auto",
        description="Threads of the matrix products; `auto` chooses by their size and the cores of the machine. Use 1 "
        "if other programs keep the cores busy: threads that wait for each other cost far more than they gain.",
    )
    baselines: bool = Field(True, description="Also fit a constant and a linear model, for comparison.")

    @property
    def clips(self) -> bool:
        """Whether the gradient is clipped."""
        return self.clip_norm is not None or self.clip_value is not None


class Experiment(Frozen):
    """Everything that determines a run."""

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
    training: Training = Field(Training(), description="Length, batches, early stopping, clipping, precision.")
    _locate: Locate | None = PrivateAttr(None)
    """Locates a setting in the file that the experiment was read from."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        refuse(self._conflicts())
        return self

    def _conflicts(self) -> Iterator[Conflict]:
        if self.training.batch_size == 1 and self.network.uses_batch_statistics:
            yield (
                "training.batch_size",
                "is 1, but batch normalization needs at least two rows to have a variance; use normalization: layer",
            )
        if self.training.clip_norm is not None and self.training.clip_value is not None:
            yield "training.clip_value", "cannot be given together with clip_norm; choose one"
        yield from self.network.conflicts()
        if self.schedule.warmup >= self.training.epochs:
            yield (
                "schedule.warmup",
                f"takes {self.schedule.warmup} epochs, but training.epochs is {self.training.epochs}; make it shorter",
            )
        if self.loss is not None:
            yield from self._loss_conflicts(self.loss)
        yield from self._encoder_conflicts()
        scaler = self.data.scale_target
        if scaler is not None and not scaler.suits_targets:
            yield (
                "data.scale_target",
                f"{scaler.name()} is for inputs only, since it bounds what it scales; write robust",
            )
        stopping = self.training.early_stopping
        if stopping is not None and "early_stopping" in self.training.model_fields_set:
            yield from self._monitor_conflicts(stopping)

    def _encoder_conflicts(self) -> Iterator[Conflict]:
        kinds = encoder_kinds()
        for column, word in self.data.encoders.items():
            if word not in kinds:
                hint = did_you_mean(word, kinds, f"the kinds are: {', '.join(kinds)}")
                yield f"data.encoders.{column}", f"unknown kind '{word}'; {hint}"

    def _loss_conflicts(self, loss: Loss) -> Iterator[Conflict]:
        kind = task_kinds()[self.task] if self.task is not None else None
        if kind is not None and kind.target_kind != loss.target_kind:
            yield (
                "loss",
                f"{loss.name()} does not go with task: {self.task}, whose loss is {kind.default_loss().name()}",
            )
        if loss.has_link and not self.network.output_activation.is_identity:
            yield (
                "network.output_activation",
                f"cannot be {self.network.output_activation.name()}: loss {loss.name()} acts on "
                "raw scores and has its own link; remove the line",
            )
        if loss.target_kind == "value" and not (loss.scalable or self.target_scaler.is_identity):
            yield "data.scale_target", f"must be none for loss {loss.name()}, whose target keeps its own units"
        if loss.levels and len(self.data.target_names) > 1:
            yield "data.target", f"must be one column for loss {loss.name()}, which has an output for each quantile"
        if loss.target_kind != "value" and self.data.scale_target is not None:
            yield (
                "data.scale_target",
                f"is for regression only, not for loss {loss.name()}; remove the line",
            )

    def _monitor_conflicts(self, stopping: EarlyStopping) -> Iterator[Conflict]:
        path = (
            "training.early_stopping.monitor" if "monitor" in stopping.model_fields_set else "training.early_stopping"
        )
        if stopping.monitor.startswith("validation_") and not self.validates:
            yield (
                path,
                f"needs {stopping.monitor}, but no rows are held out: set data.split.validation above 0, "
                "or monitor train_loss",
            )

    @property
    def validates(self) -> bool:
        """Whether rows are held out for validation."""
        return bool(self.data.split.validation or self.data.validation_path)

    @property
    def target_scaler(self) -> Scaler:
        """The scaler of a regression target: from the spec, or else standard, or none for a bounded output."""
        if self.data.scale_target is not None:
            return self.data.scale_target
        free = self.network.output_activation.is_identity
        scalable = self.loss is None or self.loss.scalable
        return Standard() if free and scalable else NoScaling()

    def completed(self, loss: Loss) -> dict[str, Any]:
        """The settings by name, with all defaults filled in that depend on other settings or on the data."""
        training, data = self.training, self.data
        if not self.validates and "early_stopping" not in training.model_fields_set:
            training = training.model_copy(update={"early_stopping": None})
        if loss.target_kind == "value":
            data = data.model_copy(update={"scale_target": self.target_scaler})
        network = self.network.model_copy(update={"hidden": self.network.blocks()})
        written = {name: getattr(self, name) for name in Experiment.model_fields}
        return written | {"data": data, "network": network, "training": training}

    def written(self) -> dict[str, Any]:
        """The settings as plain values, as in spec.yaml."""
        return self.model_dump(mode="json", include=set(Experiment.model_fields))

    def locate_like(self, other: Experiment) -> None:
        """Locate settings in the file that `other` was read from."""
        self._locate = other._locate

    def problem(self, location: tuple[int | str, ...], message: str) -> Problem:
        """A problem with the setting at `location`, with its position in the file if there is one."""
        if self._locate is not None:
            return self._locate(location, message)
        return Problem("", ".".join(map(str, location)), message)
