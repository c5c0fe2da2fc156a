"""What are the initial values of the parameters?

Weights are (inputs, outputs) of their layer; biases and beta start at zero, gamma at one. Glorot & Bengio 2010 preserve
the variance through the forward and the backward pass, He et al. 2015 through rectifiers, LeCun et al. 1998 through the
forward pass. Normal distributions are not truncated.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from mlptrain.component import Component, ResolvedPath, mistake, refuse
from mlptrain.errors import CheckpointError
from mlptrain.nn.arrays import Array
from mlptrain.nn.layout import Layout, Tensor, TensorSpec


class Initializer(Component):
    """Sets the initial value of every parameter of a network."""

    @abstractmethod
    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: "np.random.Generator") -> None:
        """Overwrite neutral `parameters` and `buffers` (see `Layout`) with the initial values of the network."""

    @property
    def file(self) -> str | None:
        """The file with the initial values, if they come from one."""
        return None


class WeightInitializer(Initializer):
    """An initializer that draws each tensor with a fan-in separately, first layer first, member after member."""

    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: "np.random.Generator") -> None:
        for k in np.ndindex(layout.members):
            for tensor in layout.parameters:
                view = tensor.view(parameters)
                if tensor.spec.signs:
                    view[k] = rng.choice((-1.0, 1.0), tensor.shape)
                elif tensor.spec.std:
                    normal(view[k], tensor.spec.std, rng)
                elif tensor.spec.fan_in and (tensor.members or not any(k)):  # what is shared is drawn once
                    self.fill(view[k] if tensor.members else view, tensor.spec, rng)

    @abstractmethod
    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        """Write the initial value of the tensor `weight`, declared as `spec`."""


def normal(weight: Array, std: float, rng: "np.random.Generator") -> None:
    """Fill `weight` from a normal distribution with mean 0; drawn in float64 whatever the dtype."""
    weight[...] = rng.standard_normal(weight.shape) * std


def uniform(weight: Array, bound: float, rng: "np.random.Generator") -> None:
    """Fill `weight` from a uniform distribution on [-bound, bound); drawn in float64 whatever the dtype."""
    weight[...] = rng.uniform(-bound, bound, weight.shape)


GAIN_SCHEMA = {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": "activation"}]}


def check_gain(value: Any) -> Any:
    """A positive number, or `activation`."""
    if value == "activation" or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf):
        return value
    raise mistake(f"must be a positive number, or 'activation'; got {repr(value)[:40]}")


class Zeros(WeightInitializer):
    """Zero everywhere. All units of a layer then stay identical, as a lesson shows."""

    kind: Literal["zeros"] = "zeros"
    formula: ClassVar = (r"W_{kj} = 0",)

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        weight[...] = 0


class Normal(WeightInitializer):
    """Normal with mean 0 and a fixed standard deviation, whatever the size of the layer."""

    kind: Literal["normal"] = "normal"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{std}",)
    std: float = Field(0.1, gt=0, description="Standard deviation.")
    examples: ClassVar = ({}, {"std": 0.5})

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
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

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        weight[...] = rng.uniform(self.low, self.high, weight.shape)


class ScaledInitializer(WeightInitializer):
    """A spread that depends on the size of the layer, times a gain."""

    gain: Annotated[float | Literal["activation"], PlainValidator(check_gain), WithJsonSchema(GAIN_SCHEMA)] = Field(
        1.0, description="Factor of the spread; `activation` is the gain of the layer's activation (PyTorch's table)."
    )
    examples: ClassVar = ({}, {"gain": "activation"})

    def factor(self, spec: TensorSpec) -> float:
        """The gain for the tensor of `spec`."""
        if self.gain != "activation":
            return self.gain
        return 1.0 if spec.activation is None else spec.activation.gain


class GlorotUniform(ScaledInitializer):
    """Uniform between -b and b with b = sqrt(6 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_uniform"] = "glorot_uniform"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \mathrm{gain} \cdot \sqrt{\frac{6}{\mathrm{in} + \mathrm{out}}}",
    )
    aliases: ClassVar = ("xavier_uniform",)

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        uniform(weight, self.factor(spec) * np.sqrt(6 / (spec.fan_in + spec.fan_out)), rng)


class GlorotNormal(ScaledInitializer):
    """Normal with standard deviation sqrt(2 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_normal"] = "glorot_normal"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{gain} \cdot \sqrt{\frac{2}{\mathrm{in} + \mathrm{out}}}",
    )
    aliases: ClassVar = ("xavier_normal",)

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        normal(weight, self.factor(spec) * np.sqrt(2 / (spec.fan_in + spec.fan_out)), rng)


class HeUniform(WeightInitializer):
    """Uniform between -b and b with b = sqrt(6 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_uniform"] = "he_uniform"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \sqrt{\frac{6}{\mathrm{in}}}",)
    aliases: ClassVar = ("kaiming_uniform",)

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        uniform(weight, np.sqrt(6 / spec.fan_in), rng)


class HeNormal(WeightInitializer):
    """Normal with standard deviation sqrt(2 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_normal"] = "he_normal"
    formula: ClassVar = (r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \sqrt{\frac{2}{\mathrm{in}}}",)
    aliases: ClassVar = ("kaiming_normal",)

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        normal(weight, np.sqrt(2 / spec.fan_in), rng)


class LecunUniform(ScaledInitializer):
    """Uniform between -b and b with b = sqrt(3 / inputs). LeCun et al. 1998."""

    kind: Literal["lecun_uniform"] = "lecun_uniform"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{U}(-b, b), \qquad b = \mathrm{gain} \cdot \sqrt{\frac{3}{\mathrm{in}}}",
    )

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        uniform(weight, self.factor(spec) * np.sqrt(3 / spec.fan_in), rng)


class LecunNormal(ScaledInitializer):
    """Normal with standard deviation sqrt(1 / inputs). LeCun et al. 1998; goes with selu."""

    kind: Literal["lecun_normal"] = "lecun_normal"
    formula: ClassVar = (
        r"W_{kj} \sim \mathcal{N}(0, s^2), \qquad s = \mathrm{gain} \cdot \sqrt{\frac{1}{\mathrm{in}}}",
    )

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        normal(weight, self.factor(spec) * np.sqrt(1 / spec.fan_in), rng)


class Orthogonal(ScaledInitializer):
    """Orthonormal columns (or rows, if there are fewer rows), times the gain.

    The Q of the QR decomposition of a normal matrix, with the signs of R's diagonal, which makes it uniform over the
    orthogonal matrices. Saxe, McClelland & Ganguli 2014.
    """

    kind: Literal["orthogonal"] = "orthogonal"
    formula: ClassVar = (
        r"A = QR, \qquad A_{kj} \sim \mathcal{N}(0, 1), \qquad D_{jj} = 1 - 2 [R_{jj} \lt 0]",
        r"W = \mathrm{gain} \cdot QD \quad \mathrm{if\ in} \ge \mathrm{out}",
        r"W = \mathrm{gain} \cdot (QD)^\top \quad \mathrm{otherwise}",
    )

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        shape = len(weight), weight.size // len(weight)
        q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
        q *= np.where(np.diag(r) < 0, -1.0, 1.0)
        weight[...] = (self.factor(spec) * (q if shape[0] >= shape[1] else q.T)).reshape(weight.shape)


class Auto(WeightInitializer):
    """Chosen by the activation: he_normal for the rectifier family, lecun_normal for selu, glorot_uniform otherwise."""

    kind: Literal["auto"] = "auto"
    formula: ClassVar = (
        r"\mathrm{rectifiers:} \quad W_{kj} \sim \mathcal{N} \left( 0, \frac{2}{\mathrm{in}} \right)",
        r"\mathrm{selu:} \quad W_{kj} \sim \mathcal{N} \left( 0, \frac{1}{\mathrm{in}} \right)",
        r"\mathrm{others:} \quad W_{kj} \sim \mathcal{U}(-b, b)",
        r"b = \sqrt{\frac{6}{\mathrm{in} + \mathrm{out}}}",
    )

    def fill(self, weight: Array, spec: TensorSpec, rng: "np.random.Generator") -> None:
        choices = {"he": HeNormal(), "lecun": LecunNormal(), "glorot": GlorotUniform()}
        family = "glorot" if spec.activation is None else spec.activation.gain_family
        choices[family].fill(weight, spec, rng)


class FromFile(Initializer):
    """The tensors of a safetensors file, such as the model of another run, by their names `layers.0.weight`, ...

    The file must contain every parameter of the network in its shape; running statistics are optional. Values are
    converted to the dtype of the run.
    """

    kind: Literal["from_file"] = "from_file"
    formula: ClassVar = (
        r"w \leftarrow w_{\mathrm{file}}",
        r"\mu_{\mathrm{run}}, v_{\mathrm{run}} \leftarrow \mu_{\mathrm{file}}, v_{\mathrm{file}}",
    )
    path: ResolvedPath = Field(description="The safetensors file, relative to the spec.")
    examples: ClassVar = ()

    @property
    def file(self) -> str | None:
        return self.path

    def start(self, layout: Layout, parameters: Array, buffers: Array, rng: "np.random.Generator") -> None:
        found = read_tensors(Path(self.path))
        if missing := sorted({tensor.name for tensor in layout.parameters} - set(found)):
            raise CheckpointError(f"{self.path}: tensors that the network needs are missing: {', '.join(missing)}")
        for vector, tensors in ((parameters, layout.parameters), (buffers, layout.buffers)):
            for tensor in tensors:
                if tensor.name in found:
                    tensor.view(vector)[...] = self._checked(tensor, found[tensor.name])

    def _checked(self, tensor: Tensor, values: Array) -> Array:
        """The `values` of `tensor`, if they fit; every member starts from the same values."""
        if values.shape != tensor.shape:
            raise CheckpointError(
                f"{self.path}: {tensor.name} has shape {values.shape}, the network needs {tensor.shape}"
            )
        if not np.isfinite(values).all():
            raise CheckpointError(f"{self.path}: {tensor.name} holds values that are not finite")
        return values


def read_tensors(path: Path) -> dict[str, Array]:
    """All tensors of a safetensors file."""
    import safetensors.numpy

    try:
        return safetensors.numpy.load(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # the library raises its own error, KeyError and others for a damaged file
        raise CheckpointError(f"{path}: is not a safetensors file: {error}") from error
