"""Which settings do the network and the training sections of an experiment file have?"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema, field_validator, model_validator

from mlptrain.component import Conflict, Frozen, OneOf, ShortForm, did_you_mean, mistake, or_word, refuse
from mlptrain.metrics import decision_metrics
from mlptrain.nn.activations import Activation, Identity, ReLU
from mlptrain.nn.initializers import Auto, Initializer
from mlptrain.nn.layers import Adapted, Dense, DropoutRate, Layer
from mlptrain.nn.normalization import Normalization

WIDTH_SCHEMA = {"type": "integer", "minimum": 1, "description": "A dense layer of this width."}
MOST_MEMBERS = 1000
"""Networks of the largest ensemble."""


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


class NetworkSpec(Frozen):
    """The architecture. The sizes of input and output come from the data."""

    formula: ClassVar = (
        r"h = M \odot f(\mathrm{norm}(xW + b)), \qquad q = \mathrm{dropout}, \qquad \mathrm{evaluation:} \ M = 1",
        r"M_{rj} = 0 \quad \mathrm{with\ probability} \ q, \quad \mathrm{else} \ 1/(1 - q)",
    )
    hidden: Annotated[
        tuple[Annotated[Layer, OneOf(default="dense"), BeforeValidator(width_alone), ShortForm(WIDTH_SCHEMA)], ...],
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

    output_scale: float = Field(
        1.0, ge=0, le=1, description="Factor of the initial weights of the output layer; 0 starts from a constant."
    )
    linear_path: bool = Field(
        False,
        description="Add a linear model to the scores, z = MLP(x) + x L, that starts as the best one on the training "
        "rows, so that the layers only learn what it cannot.",
    )

    SHARED: ClassVar[frozenset[str]] = frozenset({"activation", "dropout", "normalization"})
    """The fields that are the defaults of the layers."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        refuse(self._conflicts())
        return self

    def _conflicts(self) -> Iterator[Conflict]:
        """Layers that do not follow each other."""
        if self.linear_path and not self.hidden:
            yield "linear_path", "needs hidden layers beside it; without any the network is linear already"
        if self.linear_path and not self.output_activation.is_identity:
            yield "linear_path", "adds to raw scores; remove output_activation, or the linear path"
        before: int | None = None
        for i, layer in enumerate(self.hidden):
            yield from ((f"hidden.{i}.{field}", message) for field, message in layer.conflicts(before))
            before = layer.units(before or 0) or None

    def blocks(self) -> tuple[Layer, ...]:
        """The hidden layers with the defaults of the network filled in."""
        return tuple(self._filled(layer) for layer in self.hidden)

    def _filled(self, layer: Layer) -> Layer:
        """`layer` with the settings of the network for the fields that it does not set."""
        missing = (type(layer).model_fields.keys() & self.SHARED) - layer.model_fields_set
        return layer.model_copy(update={name: getattr(self, name) for name in sorted(missing)})

    def layers(self, outputs: int, shared: bool = False) -> tuple[Layer, ...]:
        """The layers, the output layer last; with `shared`, members share the weights of the hidden layers."""
        hidden = adapted(self.blocks()) if shared else self.blocks()
        return (*hidden, Dense(width=outputs, activation=self.output_activation))

    @property
    def uses_batch_statistics(self) -> bool:
        """Whether training needs batches of at least two rows."""
        return any(layer.uses_batch_statistics for layer in self.blocks())


def adapted(layers: Sequence[Layer]) -> Iterator[Layer]:
    """The layers with shared weights in place of plain dense ones; the factors of the first one start as signs."""
    first = True
    for layer in layers:
        if isinstance(layer, Dense):
            yield Adapted(width=layer.width, activation=layer.activation, dropout=layer.dropout, signs=first)
            first = False
        else:
            yield layer


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


class OnDivergence(Frozen):
    """What to do when a loss or a gradient is not finite: begin the epoch again with other weights and a lower rate.

    The optimizer starts anew, and the learning rate of every later step is multiplied by `learning_rate`.
    """

    restore: Literal["best"] = Field("best", description="The weights to go on with: the best ones so far.")
    learning_rate: float = Field(0.5, gt=0, lt=1, description="The factor of the learning rate.")
    tries: int = Field(3, ge=1, le=100, description="How often; training ends when it diverges once more.")


class Training(Frozen):
    """Length, batches, early stopping, clipping and precision of training."""

    renamed: ClassVar[dict[str, str]] = {"averaging": "ema"}

    formula: ClassVar = (
        r"\mathrm{clip\ norm} \quad c \mathrm{:} \quad g \leftarrow g \min(1, c/\lVert g\rVert)",
        r"\mathrm{clip\ value} \quad c \mathrm{:} \quad g_i \leftarrow \min(\max(g_i, -c), c)",
    )
    epochs: int = Field(200, ge=1, le=10**9, description="Maximum number of passes over the training rows.")
    batch_size: Annotated[
        int | Literal["full"], PlainValidator(check_batch_size), WithJsonSchema(or_word(1, 2**31, "full"))
    ] = Field(32, description="Rows per step, or `full`.")
    shuffle: bool = Field(True, description="Shuffle the rows in each epoch; false keeps the order of the file.")
    early_stopping: EarlyStopping | None = Field(
        EarlyStopping(), description="Stop when the monitored value no longer improves; null never stops early."
    )
    clip_norm: float | None = Field(
        None, gt=0, description="Largest norm of the gradient, over all parameters; a larger one is scaled down."
    )
    clip_value: float | None = Field(None, gt=0, description="Largest entry of the gradient; larger ones are clipped.")
    rates: Literal["uniform", "ntk"] = Field(
        "uniform",
        description="Learning rate of each tensor: the same for all, or the neural tangent parametrization, which "
        "divides it by the square root of the inputs for a weight and by 10 for a bias: one rate suits all widths.",
    )
    on_divergence: OnDivergence | None = Field(
        None, description="How to go on when training diverges; null ends it there."
    )
    ema: Ema | None = Field(None, description="Evaluate and keep an exponential moving average of the weights.")
    dtype: Literal["float32", "float64"] = Field("float32", description="Precision of all numbers of the network.")
    threads: Annotated[
        int | Literal["auto"], PlainValidator(check_threads), WithJsonSchema(or_word(1, 1024, "auto"))
    ] = Field(
        "auto",
        description="Threads of the matrix products; `auto` chooses by their size and the cores of the machine. Use 1 "
        "if other programs keep the cores busy: threads that wait for each other cost far more than they gain.",
    )
    baselines: bool = Field(True, description="Also fit a constant and a linear model, for comparison.")

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.clip_norm is not None and self.clip_value is not None:
            refuse([("clip_value", "cannot be given together with clip_norm; choose one")])
        return self

    @property
    def clips(self) -> bool:
        """Whether the gradient is clipped."""
        return self.clip_norm is not None or self.clip_value is not None


class Decision(Frozen):
    """From which probability on the positive class is predicted, the second one of two in order: by default from 1/2.

    It decides the label that `predict` writes, and the metrics of decisions: accuracy, balanced_accuracy, f1, macro_f1
    and the confusion matrix. Probabilities, log_loss, roc_auc and average_precision do not depend on it.
    """

    formula: ClassVar = (r"\hat y_r = [p_r \gt t], \qquad t = \mathrm{argmax} \ \mathrm{metric}(y, [p \gt t])",)
    threshold: float | None = Field(None, gt=0, lt=1, description="The probability; null is 1/2.")
    metric: str | None = Field(
        None,
        description="Choose the probability with the best value of this metric on the validation rows, after training: "
        "accuracy, balanced_accuracy, f1 or macro_f1.",
    )

    @field_validator("metric")
    @classmethod
    def _is_of_decisions(cls, metric: str | None) -> str | None:
        names = decision_metrics()
        if metric is not None and metric not in names:
            hint = did_you_mean(metric, names, f"the metrics that depend on it are: {', '.join(names)}")
            raise mistake(f"'{metric}' does not choose a threshold; {hint}")
        return metric

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if self.threshold is not None and self.metric is not None:
            refuse([("metric", "chooses the threshold, which is given already; remove one of the two")])
        return self


class Ensemble(Frozen):
    """Several networks, trained as one computation, whose predictions are averaged."""

    formula: ClassVar = (r"\hat p_r = \frac{1}{K} \sum_k p_k(x_r)",)
    members: int = Field(
        1, ge=1, le=MOST_MEMBERS, description="Number of networks K; each starts from its own random weights."
    )
    rows: Literal["shared", "folds"] = Field(
        "shared",
        description="All members train on the same rows, or each leaves out its own fold of them, on which it is "
        "validated; every row is then used, and the validation figures are of predictions for rows left out.",
    )
    weights: Literal["separate", "shared"] = Field(
        "separate",
        description="Each member has its own weights, or all share those of the hidden layers, with their own factors "
        "for each input and unit (BatchEnsemble, TabM); output layers, biases and losses are their own.",
    )
    blend: bool = Field(
        False,
        description="Average the prediction with that of a linear model, whose share has the lowest validation loss.",
    )

    @property
    def folds(self) -> bool:
        """Whether each member validates on a fold of its own."""
        return self.rows == "folds"

    @model_validator(mode="after")
    def _has_two_folds(self) -> Self:
        if self.folds and self.members < 2:
            refuse([("members", "is 1, but folds need at least 2 members; set members, or rows: shared")])
        if self.folds and self.weights == "shared":
            refuse([("weights", "cannot be shared by members with different rows; use rows: shared")])
        return self
