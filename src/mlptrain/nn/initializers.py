"""Where do the weights start?

Weights are (inputs, outputs) of their layer; biases and beta start at zero, gamma at one. The variance arguments:
Glorot & Bengio 2010 keep it through the forward and the backward pass, He et al. 2015 through rectifiers, LeCun et al.
1998 through the forward pass. Normals are not truncated.
"""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component, ResolvedPath
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


class Zeros(WeightInitializer):
    """Zero everywhere: every unit of a layer then stays the same as its neighbours, which a lesson may want to show."""

    kind: Literal["zeros"] = "zeros"

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        weight[...] = 0


class Normal(WeightInitializer):
    """Normal numbers with mean 0 and a fixed standard deviation, whatever the size of the layer."""

    kind: Literal["normal"] = "normal"
    std: float = Field(0.1, gt=0, description="Standard deviation.")
    examples: ClassVar = ({}, {"std": 0.5})

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, self.std, rng)


class GlorotUniform(WeightInitializer):
    """Uniform between -b and b with b = sqrt(6 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_uniform"] = "glorot_uniform"
    aliases: ClassVar = ("xavier_uniform",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        uniform(weight, np.sqrt(6 / sum(weight.shape)), rng)


class GlorotNormal(WeightInitializer):
    """Normal with standard deviation sqrt(2 / (inputs + outputs)). Glorot & Bengio 2010; also called Xavier."""

    kind: Literal["glorot_normal"] = "glorot_normal"
    aliases: ClassVar = ("xavier_normal",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, np.sqrt(2 / sum(weight.shape)), rng)


class HeUniform(WeightInitializer):
    """Uniform between -b and b with b = sqrt(6 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_uniform"] = "he_uniform"
    aliases: ClassVar = ("kaiming_uniform",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        uniform(weight, np.sqrt(6 / weight.shape[0]), rng)


class HeNormal(WeightInitializer):
    """Normal with standard deviation sqrt(2 / inputs). He et al. 2015; PyTorch calls it Kaiming."""

    kind: Literal["he_normal"] = "he_normal"
    aliases: ClassVar = ("kaiming_normal",)

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        normal(weight, np.sqrt(2 / weight.shape[0]), rng)


class Auto(WeightInitializer):
    """Chosen by the activation: he_normal for the rectifier family, glorot_uniform otherwise."""

    kind: Literal["auto"] = "auto"

    def fill(self, weight: Array, activation: Activation, rng: np.random.Generator) -> None:
        chosen = HeNormal() if activation.gain_family == "he" else GlorotUniform()
        chosen.fill(weight, activation, rng)


class FromFile(Initializer):
    """The tensors of a safetensors file, such as the model of another run, by their names `layers.0.weight`, ...

    Every parameter of the network must be there in its shape; running statistics are taken where they are there.
    Values are converted to the dtype of the run.
    """

    kind: Literal["from_file"] = "from_file"
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
