"""Which layers does a network have, and where does each of their tensors lie in one flat vector?

The parameters of a network are one vector, its gradient another, each optimizer slot a third: the layers see them
through views. All weights come first, so that "weights only" (penalties, decoupled decay) is a single slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array
from mlptrain.nn.normalization import Normalization


@dataclass(frozen=True)
class Layer:
    """One dense layer: output = dropout(f(norm(x W + b))), plus x if it is residual."""

    inputs: int
    units: int
    activation: Activation
    normalization: Normalization | None = None
    dropout: float = 0.0
    residual: bool = False


@dataclass(frozen=True)
class Tensor:
    """A named part of a flat vector."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def stop(self) -> int:
        """Where the next tensor begins."""
        return self.start + int(np.prod(self.shape))

    def view(self, vector: Array) -> Array:
        """This part of `vector`, in its shape; writing to it writes to the vector."""
        return vector[self.start : self.stop].reshape(self.shape)


@dataclass(frozen=True)
class LayerViews:
    """The tensors of one layer: W (inputs, units), the others (units,)."""

    weight: Array
    bias: Array
    gamma: Array | None
    beta: Array | None


class Layout:
    """Names, shapes and places of the tensors of `layers`: parameters in one vector, running statistics in another."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        weights = [(f"layers.{i}.weight", (layer.inputs, layer.units)) for i, layer in enumerate(layers)]
        vectors = [
            (f"layers.{i}.{role}", (layer.units,)) for i, layer in enumerate(layers) for role in vector_roles(layer)
        ]
        statistics = [
            (f"layers.{i}.norm.{role}", (layer.units,))
            for i, layer in enumerate(layers)
            if layer.normalization is not None and layer.normalization.running
            for role in ("running_mean", "running_variance")
        ]
        self.parameters = laid_out([*weights, *vectors])
        self.buffers = laid_out(statistics)
        self.weight_size = self.parameters[len(layers) - 1].stop
        self.parameter_size = self.parameters[-1].stop
        self.buffer_size = self.buffers[-1].stop if self.buffers else 0

    def views(self, vector: Array) -> tuple[LayerViews, ...]:
        """A parameter-sized vector, layer by layer."""
        named = self.named_parameters(vector)
        return tuple(
            LayerViews(
                named[f"layers.{i}.weight"],
                named[f"layers.{i}.bias"],
                named.get(f"layers.{i}.norm.gamma"),
                named.get(f"layers.{i}.norm.beta"),
            )
            for i in range(len(self.layers))
        )

    def layer_weights(self, vector: Array) -> tuple[Array, ...]:
        """The weights of each layer as flat views of a parameter-sized vector."""
        return tuple(vector[tensor.start : tensor.stop] for tensor in self.parameters[: len(self.layers)])

    def running(self, buffers: Array) -> tuple[tuple[Array, Array] | None, ...]:
        """Running mean and variance of each layer, or None where it keeps none."""
        named = self.named_buffers(buffers)
        return tuple(
            (named[f"layers.{i}.norm.running_mean"], named[f"layers.{i}.norm.running_variance"])
            if f"layers.{i}.norm.running_mean" in named
            else None
            for i in range(len(self.layers))
        )

    def named_parameters(self, vector: Array) -> dict[str, Array]:
        """A parameter-sized vector as views by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.parameters}

    def named_buffers(self, vector: Array) -> dict[str, Array]:
        """A buffer-sized vector as views by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.buffers}

    def neutral_parameters(self, dtype: Any) -> Array:
        """A new parameter vector: gamma one, everything else zero."""
        vector = np.zeros(self.parameter_size, dtype)
        for name, view in self.named_parameters(vector).items():
            if name.endswith(".gamma"):
                view[...] = 1
        return vector

    def neutral_buffers(self, dtype: Any) -> Array:
        """A new buffer vector: running means zero, running variances one."""
        vector = np.zeros(self.buffer_size, dtype)
        for name, view in self.named_buffers(vector).items():
            if name.endswith(".running_variance"):
                view[...] = 1
        return vector


def vector_roles(layer: Layer) -> tuple[str, ...]:
    """The parameters of a layer beside its weight, each (units,)."""
    return ("bias",) if layer.normalization is None else ("bias", "norm.gamma", "norm.beta")


def laid_out(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> tuple[Tensor, ...]:
    """Tensors one behind the other."""
    tensors: list[Tensor] = []
    for name, shape in shapes:
        tensors.append(Tensor(name, shape, tensors[-1].stop if tensors else 0))
    return tuple(tensors)
