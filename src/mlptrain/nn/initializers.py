"""Where do the weights start?

Weights are (inputs, outputs) of their layer; biases and beta start at zero, gamma at one. The variance arguments:
Glorot & Bengio 2010 keep it through the forward and the backward pass, He et al. 2015 through rectifiers, LeCun et al.
1998 through the forward pass. Normals are not truncated.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PlainValidator, model_validator

from mlptrain.component import Component, ResolvedPath, mistake, refuse
from mlptrain.errors import CheckpointError
from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array
from mlptrain.nn.layout import Layout


class Initializer(Component):
    """Gives every parameter of a network its first value."""

    @abstractmethod
    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: np.random.Generator) -> None:
        """Overwrite neutral `parameters` and `buffers` (see `Layout`) with what the network starts from."""


class WeightInitializer(Initializer):
    """An initializer that draws the weight of each layer by itself, first layer first."""

    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: np.random.Generator) -> None:
        for layer, views in zip(layout.layers, layout.views(parameters), strict=True):
            self.fill(views.weight, layer.activation, rng)

    @abstractmethod
    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        """Write the first value of one layer's `weight` (inputs, outputs)."""


def normal(weight: Array, std: float, rng: np.random.Generator) -> None:
    """Fill `weight` with normal numbers of mean 0; drawn in float64 whatever the dtype."""
    weight[...] = rng.standard_normal(weight.shape) * std


def uniform(weight: Array, bound: float, rng: np.random.Generator) -> None:
    """Fill `weight` evenly between -bound and bound; drawn in float64 whatever the dtype."""
    weight[...] = rng.uniform(-bound, bound, weight.shape)


def check_gain(value: Any) -> Any:
    """A positive number, or `activation`."""
    if value == "activation" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf):
        return value
    raise mistake(f"must be a positive number, or 'activation'; got {repr(value)[:40]}")


class Zeros(WeightInitializer):
    """Zero everywhere: every unit of a layer then stays the same as its neighbours, which a lesson may want to show."""

    kind: Literal["zeros"] = "zeros"
    formula: ClassVar = (r"W_{kj} = 0",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        weight[...] = 0


class Normal(WeightInitializer):
    """Normal numbers with mean 0 and a fixed standard deviation, whatever the size of the layer."""

    kind: Literal["normal"] = "normal"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{std}",)
    std: float = Field(0.1, gt=0, description="Standard deviation.")
    examples: ClassVar = ({}, {"std": 0.5})

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, self.std, rng)


class Uniform(WeightInitializer):
    """Uniform between two fixed bounds, whatever the size of the layer."""

    kind: Literal["uniform"] = "uniform"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{U}(\mathrm{low}, \mathrm{high})",)
    low: float = Field(-0.1, description="Lower bound.")
    high: float = Field(0.1, description="Upper bound.")
    examples: ClassVar = ({}, {"low": -0.5, "high": 0.5})

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            refuse([("low", f"must be below high, which is {self.high:g}")])
        return self

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        weight[...] = rng.uniform(self.low, self.high, weight.shape)


class ScaledInitializer(WeightInitializer):
    """A spread that follows from the size of the layer, times a gain."""

    gain: Annotated[float | Literal["activation"], PlainValidator(check_gain)] = Field(
        1.0, description="Factor of the spread; `activation` takes the one of the layer's activation (PyTorch's table)."
    )
    examples: ClassVar = ({}, {"gain": "activation"})

    def factor(self, activation: Activation) -> float:
        """The gain for a layer with this `activation`."""
        return activation.gain if self.gain == "activation" else self.gain


class GlorotUniform(ScaledInitializer):
    """Uniform between -b and b with b = sqrt(6 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_uniform"] = "glorot_uniform"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \mathrm{gain} \cdot \sqrt{\frac{6}{\mathrm{in} + \mathrm{out}}}",
    )
    aliases: ClassVar = ("xavier_uniform",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        uniform(weight, self.factor(activation) * np.sqrt(6 / sum(weight.shape)), rng)


class GlorotNormal(ScaledInitializer):
    """Normal with standard deviation sqrt(2 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_normal"] = "glorot_normal"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{gain} \cdot \sqrt{\frac{2}{\mathrm{in} + \mathrm{out}}}",
    )
    aliases: ClassVar = ("xavier_normal",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, self.factor(activation) * np.sqrt(2 / sum(weight.shape)), rng)


class HeUniform(WeightInitializer):
    """Uniform between -b and b with b = sqrt(6 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_uniform"] = "he_uniform"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \sqrt{\frac{6}{\mathrm{in}}}",)
    aliases: ClassVar = ("kaiming_uniform",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        uniform(weight, np.sqrt(6 / weight.shape[0]), rng)


class HeNormal(WeightInitializer):
    """Normal with standard deviation sqrt(2 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_normal"] = "he_normal"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \sqrt{\frac{2}{\mathrm{in}}}",)
    aliases: ClassVar = ("kaiming_normal",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, np.sqrt(2 / weight.shape[0]), rng)


class LecunUniform(ScaledInitializer):
    """Uniform between -b and b with b = sqrt(3 / inputs). LeCun et al. 1998."""

    kind: Literal["lecun_uniform"] = "lecun_uniform"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \mathrm{gain} \cdot \sqrt{\frac{3}{\mathrm{in}}}",
    )

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        uniform(weight, self.factor(activation) * np.sqrt(3 / weight.shape[0]), rng)


class LecunNormal(ScaledInitializer):
    """Normal with standard deviation sqrt(1 / inputs). LeCun et al. 1998; goes with selu."""

    kind: Literal["lecun_normal"] = "lecun_normal"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{gain} \cdot \sqrt{\frac{1}{\mathrm{in}}}",
    )

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, self.factor(activation) * np.sqrt(1 / weight.shape[0]), rng)


class Orthogonal(ScaledInitializer):
    """Orthonormal columns (or rows, if there are fewer of them), times the gain.

    The Q of the QR decomposition of a normal matrix, with the signs of R's diagonal, which makes it uniform over the
    orthogonal matrices. Saxe, McClelland & Ganguli 2014.
    """

    kind: Literal["orthogonal"] = "orthogonal"
    formula: ClassVar = (
        r"A = QR, \qquad A_{kj} \sim \mathcal{N}(0, 1), \qquad D_{jj} = 1 - 2 [R_{jj} \lt 0]",
        r"W = \mathrm{gain} \cdot QD \quad \mathrm{if\ in} \ge \mathrm{out}",
        r"W = \mathrm{gain} \cdot (QD)^\top \quad \mathrm{otherwise}",
    )

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        tall = max(weight.shape), min(weight.shape)
        q, r = np.linalg.qr(rng.standard_normal(tall))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        weight[...] = self.factor(activation) * (q if weight.shape == tall else q.T)


class Auto(WeightInitializer):
    """Chosen by the activation: he_normal for the rectifier family, lecun_normal for selu, glorot_uniform otherwise."""

    kind: Literal["auto"] = "auto"
    formula: ClassVar = (
        r"\mathrm{rectifiers:} \quad W_{kj} \sim \mathcal{N} \left( 0, \frac{2}{\mathrm{in}} \right)",
        r"\mathrm{selu:} \quad W_{kj} \sim \mathcal{N} \left( 0, \frac{1}{\mathrm{in}} \right)",
        r"\mathrm{others:} \quad W_{kj} \sim \mathcal{U}(-b, b)",
        r"b = \sqrt{\frac{6}{\mathrm{in} + \mathrm{out}}}",
    )

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        choices = {"he": HeNormal(), "lecun": LecunNormal(), "glorot": GlorotUniform()}
        choices[activation.gain_family].fill(weight, activation, rng)


class FromFile(Initializer):
    """The tensors of a safetensors file, such as the model of another run, by their names `layers.0.weight`, ...

    Every parameter of the network must be there in its shape; running statistics are taken where they are there.
    Values are converted to the dtype of the run.
    """

    kind: Literal["from_file"] = "from_file"
    formula: ClassVar = (
        r"w \leftarrow w_{\mathrm{file}}",
        r"\mu_{\mathrm{run}}, v_{\mathrm{run}} \leftarrow \mu_{\mathrm{file}}, v_{\mathrm{file}}",
    )
    path: ResolvedPath = Field(description="The safetensors file, relative to the spec.")
    examples: ClassVar = ()

    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: np.random.Generator) -> None:
        found = read_tensors(Path(self.path))
        wanted = layout.named_parameters(parameters)
        if missing := sorted(set(wanted) - set(found)):
            raise CheckpointError(f"{self.path}: the network needs tensors that are not there: {', '.join(missing)}")
        for name, view in (wanted | layout.named_buffers(buffers)).items():
            if name not in found:
                continue
            if found[name].shape != view.shape:
                raise CheckpointError(
                    f"{self.path}: {name} has shape {found[name].shape}, the network needs {view.shape}"
                )
            if not np.isfinite(found[name]).all():
                raise CheckpointError(f"{self.path}: {name} holds values that are not finite")
            view[...] = found[name]


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file."""
    import safetensors.numpy

    try:
        return safetensors.numpy.load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # the library raises its own error, KeyError and others for a damaged file
        raise CheckpointError(f"{path}: is not a safetensors file: {error}") from error
