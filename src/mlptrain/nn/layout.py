"""Where is each tensor of a network in a flat vector?

The parameters of a network are one vector (size,), and so are its gradient and each slot of the optimizer; layers
access them through views. All tensors that decay come first, so that "weights only" (penalties, decoupled decay) is a
single slice. Several networks side by side are one matrix (members, size), with the same views for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array

LayerViews: TypeAlias = dict[str, Array]
"""The tensors of one layer by their names in the layer, in shapes that broadcast against (members, n, units)."""


@dataclass(frozen=True)
class TensorSpec:
    """What a layer declares about one of its tensors."""

    name: str
    """Within the layer: `weight`, `bias`, `norm.gamma`."""
    shape: tuple[int, ...]
    fan_in: int = 0
    """Number of inputs of each unit; 0 for a tensor that is not drawn at random."""
    fan_out: int = 0
    activation: Activation | None = None
    """The activation that follows it, whose gain an initializer may use."""
    decays: bool = False
    """Whether penalties and weight decay apply to it."""
    start: float = 0.0
    """Its initial value, unless it is drawn at random."""
    minimum: float | None = None
    """The lowest value that it can have, if there is one: 0 for a variance."""
    by_input: bool = False
    """Whether its first axis runs over the inputs of the layer, so that entry k belongs to input k alone."""


@dataclass(frozen=True)
class Tensor:
    """The place of one tensor in a flat vector."""

    name: str
    """Its name in the network and in files: `layers.0.weight`."""
    layer: int
    spec: TensorSpec
    start: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in one network."""
        return self.spec.shape

    @property
    def stop(self) -> int:
        """The end of its slice, which is the start of the next tensor."""
        return self.start + int(np.prod(self.shape))

    def view(self, vector: Array) -> Array:
        """This part of `vector` (..., size) as (..., *shape); writing to it writes to the vector."""
        return vector[..., self.start : self.stop].reshape(*vector.shape[:-1], *self.shape)

    def layer_view(self, vector: Array) -> Array:
        """The view that a layer gets: with several members, (units,) becomes (members, 1, units)."""
        members = vector.shape[:-1]
        padding = (1,) * (2 - len(self.shape)) if members else ()
        return self.view(vector).reshape(*members, *padding, *self.shape)


class Layout:
    """Names, shapes and positions of all tensors: parameters in one vector, running statistics in another."""

    def __init__(
        self,
        parameters: Sequence[Sequence[TensorSpec]],
        buffers: Sequence[Sequence[TensorSpec]],
        members: int | None = None,
    ) -> None:
        self.members = () if members is None else (members,)
        specs = [(i, spec) for i, layer in enumerate(parameters) for spec in layer]
        self.parameters = laid_out(sorted(specs, key=lambda pair: not pair[1].decays))
        self.buffers = laid_out([(i, spec) for i, layer in enumerate(buffers) for spec in layer])
        self.depth = len(parameters)
        self.weight_size = max((tensor.stop for tensor in self.parameters if tensor.spec.decays), default=0)
        self.parameter_size = self.parameters[-1].stop if self.parameters else 0
        self.buffer_size = self.buffers[-1].stop if self.buffers else 0

    def views(self, vector: Array) -> tuple[LayerViews, ...]:
        """Views of a vector of parameters, layer by layer."""
        return by_layer(self.parameters, vector, self.depth)

    def running(self, buffers: Array) -> tuple[LayerViews, ...]:
        """Views of a vector of running statistics, layer by layer; empty for a layer without any."""
        return by_layer(self.buffers, buffers, self.depth)

    def layer_weights(self, vector: Array) -> tuple[Array, ...]:
        """The decaying tensors of each layer in a vector of parameters, as one flat view for each layer."""
        found = []
        for i in range(self.depth):
            places = [tensor for tensor in self.parameters if tensor.layer == i and tensor.spec.decays]
            found.append(vector[..., places[0].start : places[-1].stop] if places else vector[..., :0])
        return tuple(found)

    def named_parameters(self, vector: Array) -> dict[str, Array]:
        """Views of a vector of parameters by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.parameters}

    def named_buffers(self, vector: Array) -> dict[str, Array]:
        """Views of a vector of running statistics by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.buffers}

    def neutral_parameters(self, dtype: Any) -> Array:
        """New parameters with the declared initial values; weights are zero."""
        return neutral(self.parameters, (*self.members, self.parameter_size), dtype)

    def neutral_buffers(self, dtype: Any) -> Array:
        """New running statistics with the declared initial values."""
        return neutral(self.buffers, (*self.members, self.buffer_size), dtype)

    def silence_inputs(self, parameters: Array, active: NDArray[np.bool_]) -> None:
        """Set the weights of the inputs that are not `active` to zero, in the first layer."""
        for tensor in self.parameters:
            if tensor.layer == 0 and tensor.spec.by_input:
                view = tensor.view(parameters)
                np.moveaxis(view, view.ndim - len(tensor.shape), 0)[~active] = 0


def laid_out(specs: Sequence[tuple[int, TensorSpec]]) -> tuple[Tensor, ...]:
    """The tensors, placed one after the other."""
    tensors: list[Tensor] = []
    for layer, spec in specs:
        tensors.append(Tensor(f"layers.{layer}.{spec.name}", layer, spec, tensors[-1].stop if tensors else 0))
    return tuple(tensors)


def by_layer(tensors: Sequence[Tensor], vector: Array, depth: int) -> tuple[LayerViews, ...]:
    """The views of each layer by name."""
    views: tuple[LayerViews, ...] = tuple({} for _ in range(depth))
    for tensor in tensors:
        views[tensor.layer][tensor.spec.name] = tensor.layer_view(vector)
    return views


def neutral(tensors: Sequence[Tensor], shape: tuple[int, ...], dtype: Any) -> Array:
    """A new vector with the initial value of each tensor."""
    vector = np.zeros(shape, dtype)
    for tensor in tensors:
        tensor.view(vector)[...] = tensor.spec.start
    return vector
