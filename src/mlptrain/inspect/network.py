"""How large is a network: its layers, their tensors, and the memory that training takes?"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from mlptrain.dataset import Dataset
from mlptrain.nn.network import LINEAR, Network
from mlptrain.spec.plan import Plan, bytes_of_training
from mlptrain.training.loop import network_for


@dataclass(frozen=True)
class LayerFacts:
    """One layer of the network, or its linear path."""

    kind: str
    settings: str
    """The kind with the settings that differ from its defaults."""
    units: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    """Name and shape of each tensor of one member."""

    @property
    def parameters(self) -> int:
        """The number of parameters of one member."""
        return sum(prod(shape) for _, shape in self.tensors)


@dataclass(frozen=True)
class NetworkFacts:
    """A network with the memory that its training takes."""

    inputs: int
    layers: tuple[LayerFacts, ...]
    members: int
    parameters: int
    """Of all members."""
    bytes_of_parameters: int
    """With the gradient, the state of the optimizer, the best weights and a checkpoint."""
    bytes_of_rows: int
    """The inputs of all rows."""
    bytes_of_batch: int
    """The activations of one batch and their gradients, about."""


def network_facts(plan: Plan, dataset: Dataset) -> NetworkFacts:
    """The facts of the network of `plan` on `dataset`."""
    network = network_for(plan)
    layout, rows = network.layout, len(dataset.training)
    arrays = {id(part.features.values): part.features.values.nbytes for part in dataset.parts.values()}
    batch = min(plan.batch_rows or rows, rows) * (plan.members or 1)
    numbers = network.sizes[0] + 2 * sum(network.sizes[1:])
    return NetworkFacts(
        inputs=network.inputs,
        layers=tuple(layer_facts(network)),
        members=plan.members or 1,
        parameters=layout.parameter_size,
        bytes_of_parameters=bytes_of_training(layout, plan),
        bytes_of_rows=sum(arrays.values()),
        bytes_of_batch=batch * numbers * np.dtype(plan.training.dtype).itemsize,
    )


def layer_facts(network: Network) -> list[LayerFacts]:
    """The layers, the linear path after the last one."""
    tensors: list[list[tuple[str, tuple[int, ...]]]] = [[] for _ in range(network.layout.depth)]
    for tensor in network.layout.parameters:
        tensors[tensor.layer].append((tensor.spec.name, tensor.shape))
    found = [
        LayerFacts(layer.name(), layer.label(), units, tuple(inside))
        for layer, units, inside in zip(network.layers, network.sizes[1:], tensors, strict=False)
    ]
    linear = [LayerFacts(LINEAR, "linear path", network.outputs, tuple(tensors[-1]))] if network.linear else []
    return found + linear
