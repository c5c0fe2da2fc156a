"""Where is each tensor of a network in a flat vector?

The parameters of a network are one vector (size,), and so are its gradient and each slot of the optimizer; layers
access them through views. All tensors that decay come first, so that "weights only" (penalties, decoupled decay) is a
single slice. Several networks side by side have one vector too: each tensor is (members, *shape) in it, so that a rule
for one tensor is one call for all members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn.activations import Activation
from mlptrain.nn.arrays import Array

LayerViews: TypeAlias = dict[str, Array]
"""The tensors of one layer by their names in the layer, in shapes that broadcast against (members, n, units)."""


class TensorSpec(NamedTuple):
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
    signs: bool = False
    """Whether it starts as random signs, 1 or -1."""
    std: float = 0.0
    """The standard deviation of normal random numbers as which it starts, if it does."""
    shared: bool = False
    """Whether all members have the same one."""
    by_input: bool = False
    """Whether its first axis runs over the inputs of the layer, so that entry k belongs to input k alone."""
    ntk_factor: float | None = None
    """Factor of its learning rate with `ntk` rates; None is 1 for what is drawn at random, 0.1 for everything else."""
    ntk_inputs: int | None = None
    """Inputs of each unit for `ntk` rates; None is `fan_in`."""

    @property
    def ntk_rate(self) -> float:
        """The factor of its learning rate with `ntk` rates: weights 1 / sqrt(inputs), everything else 1/10."""
        factor = (1.0 if self.fan_in else 0.1) if self.ntk_factor is None else self.ntk_factor
        return factor / math.sqrt(max(1, self.ntk_inputs or self.fan_in))


class Tensor(NamedTuple):
    """The place of one tensor in a flat vector."""

    name: str
    """Its name in the network and in files: `layers.0.weight`."""
    layer: int
    spec: TensorSpec
    start: int
    members: tuple[int, ...] = ()
    """(members,) for several networks side by side, else ()."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape in one network."""
        return self.spec.shape

    @property
    def stop(self) -> int:
        """The end of its slice, which is the start of the next tensor."""
        return self.start + prod(self.members) * prod(self.shape)

    def view(self, vector: Array) -> Array:
        """This part of `vector` (size,) as (*members, *shape); writing to it writes to the vector."""
        return vector[self.start : self.stop].reshape(*self.members, *self.shape)

    def layer_view(self, vector: Array) -> Array:
        """The view that a layer gets: with several members, (units,) becomes (members, 1, units)."""
        padding = (1,) * (2 - len(self.shape)) if self.members else ()
        return vector[self.start : self.stop].reshape(*self.members, *padding, *self.shape)

    def separate(self, vector: Array) -> dict[str, Array]:
        """This tensor of each member by name, each in the shape that it has in one network."""
        view = self.view(vector)
        return {f"{self.name}[{k}]": part for k, part in enumerate(view)} if self.members else {self.name: view}


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
        self.parameters = laid_out(sorted(specs, key=lambda pair: not pair[1].decays), self.members)
        self.buffers = laid_out([(i, spec) for i, layer in enumerate(buffers) for spec in layer], self.members)
        self.depth = len(parameters)
        self.shares = any(spec.shared for _, spec in specs)
        """Whether members share a tensor."""
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
            found.append(vector[places[0].start : places[-1].stop] if places else vector[:0])
        return tuple(found)

    def members_of(self, parameters: Array, buffers: Array) -> Iterator[tuple[Array, Array]]:
        """Parameters and running statistics of each member, as vectors of a network without members.

        Without members, the vectors themselves; else copies.
        """
        if not self.members:
            yield parameters, buffers
            return
        for k in range(self.members[0]):
            yield gathered(self.parameters, parameters, k), gathered(self.buffers, buffers, k)

    def copy_members(self, source: Array, out: Array, which: NDArray[np.bool_]) -> None:
        """Copy the members that `which` marks from the parameters or running statistics `source` to `out`.

        What all members share is copied if any of them is marked; such members keep the weights of the same epoch.
        """
        tensors = self.parameters if len(source) == self.parameter_size else self.buffers
        for tensor in tensors:
            if tensor.members:
                tensor.view(out)[which] = tensor.view(source)[which]
            elif which.any():
                tensor.view(out)[...] = tensor.view(source)

    def named_parameters(self, vector: Array) -> dict[str, Array]:
        """Views of a vector of parameters by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.parameters}

    def separate_tensors(self, vector: Array) -> dict[str, Array]:
        """The tensors of a vector of parameters, those of each member on their own."""
        return {name: view for tensor in self.parameters for name, view in tensor.separate(vector).items()}

    def named_buffers(self, vector: Array) -> dict[str, Array]:
        """Views of a vector of running statistics by name."""
        return {tensor.name: tensor.view(vector) for tensor in self.buffers}

    def neutral_parameters(self, dtype: Any) -> Array:
        """New parameters with the declared initial values; weights are zero."""
        return neutral(self.parameters, self.parameter_size, dtype)

    def neutral_buffers(self, dtype: Any) -> Array:
        """New running statistics with the declared initial values."""
        return neutral(self.buffers, self.buffer_size, dtype)

    def silence_inputs(self, parameters: Array, active: NDArray[np.bool_]) -> None:
        """Set the weights of the inputs that are not `active` to zero, in the first layer that has weights by input."""
        first = min((tensor.layer for tensor in self.parameters if tensor.spec.by_input), default=0)
        for tensor in self.parameters:
            if tensor.layer == first and tensor.spec.by_input and tensor.shape[0] == len(active):
                view = tensor.view(parameters)
                np.moveaxis(view, view.ndim - len(tensor.shape), 0)[~active] = 0


def laid_out(specs: Sequence[tuple[int, TensorSpec]], members: tuple[int, ...] = ()) -> tuple[Tensor, ...]:
    """The tensors, placed one after the other."""
    tensors: list[Tensor] = []
    for layer, spec in specs:
        start = tensors[-1].stop if tensors else 0
        tensors.append(Tensor(f"layers.{layer}.{spec.name}", layer, spec, start, () if spec.shared else members))
    return tuple(tensors)


def gathered(tensors: Sequence[Tensor], vector: Array, k: int) -> Array:
    """The tensors of member `k`, one after the other."""
    views = [tensor.view(vector)[k] if tensor.members else tensor.view(vector) for tensor in tensors]
    return np.concatenate([np.zeros(0, vector.dtype), *(view.reshape(-1) for view in views)])


def by_layer(tensors: Sequence[Tensor], vector: Array, depth: int) -> tuple[LayerViews, ...]:
    """The views of each layer by name."""
    views: tuple[LayerViews, ...] = tuple({} for _ in range(depth))
    for tensor in tensors:
        views[tensor.layer][tensor.spec.name] = tensor.layer_view(vector)
    return views


def some_members(views: Sequence[LayerViews], members: slice) -> tuple[LayerViews, ...]:
    """The views of some members only."""
    return tuple({name: view[members] for name, view in layer.items()} for layer in views)


def neutral(tensors: Sequence[Tensor], size: int, dtype: Any) -> Array:
    """A new vector with the initial value of each tensor."""
    vector = np.zeros(size, dtype)
    for tensor in tensors:
        tensor.view(vector)[...] = tensor.spec.start
    return vector
