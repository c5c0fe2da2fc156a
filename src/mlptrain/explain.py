"""What does one training step compute, in numbers?

A `Recorder` is a consumer that copies the arrays of one step after each of its parts: the forward pass layer by layer,
the loss, the backward pass layer by layer, penalties, clipping, the update and the averages. The notation is that of
`nn/layers.py`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.dataset import Dataset
from mlptrain.errors import UsageError
from mlptrain.nn.arrays import Array
from mlptrain.nn.layers import Stage
from mlptrain.nn.layout import LayerViews
from mlptrain.nn.network import LINEAR
from mlptrain.spec.plan import Plan
from mlptrain.training.events import Consumer, Event, StepDone, feed
from mlptrain.training.loop import Loop, network_for, start


@dataclass
class Flow:
    """What flows through the network in a step, forward and back; of an ensemble, through its first member."""

    inputs: tuple[str, ...]
    """The names of the inputs."""
    outputs: tuple[str, ...]
    """The names of the scores."""
    values: list[Array] = field(default_factory=list)
    """(n, units): the batch, then the output of each layer"""
    deltas: list[Array] = field(default_factory=list)
    """(n, units): the derivative of the loss by z of each layer"""
    weights: list[Array | None] = field(default_factory=list)
    """(inputs, units) of each layer; None for a layer without a matrix of weights"""
    gradients: list[Array | None] = field(default_factory=list)
    """The derivative of the loss by each of them"""


def explain(plan: Plan, dataset: Dataset, number: int) -> list[Stage]:
    """The stages of training step `number`, counted from 1; runs the steps before it first."""
    return record(plan, dataset, number).stages


def record(plan: Plan, dataset: Dataset, number: int) -> Recorder:
    """What training step `number` computes."""
    recorder = Recorder(plan, dataset, number)
    feed(until(number, recorder.loop.events()), [recorder])
    if not recorder.stages:
        raise UsageError(f"the run ends after {recorder.steps} steps; --step must be at most that")
    return recorder


def output_names(plan: Plan, outputs: int) -> tuple[str, ...]:
    """The names of the scores: of classes, targets, or quantiles of one."""
    task = plan.transforms.task
    levels = tuple(f"{task.columns[0]} q{level:g}" for level in plan.loss.levels)
    for names in (levels, getattr(task, "classes", ()), task.columns):
        if len(names) == outputs:
            return tuple(names)
    return tuple(f"score {k}" for k in range(outputs))


def until(number: int, events: Iterable[Event]) -> Iterator[Event]:
    """The events up to step `number`."""
    for event in events:
        yield event
        if isinstance(event, StepDone) and event.step == number:
            return


class Recorder(Consumer):
    """Copies what step `number` computes, each array before it is overwritten."""

    def __init__(self, plan: Plan, dataset: Dataset, number: int) -> None:
        self._plan, self._number = plan, number
        self._network = network_for(plan)
        self._state = start(plan, self._network, dataset)
        self.loop = Loop(plan, self._network, self._state, dataset, [self])
        self.stages: list[Stage] = []
        """The whole step, in the order of computation; empty before it is done."""
        self.flow = Flow(plan.transforms.inputs, output_names(plan, self._network.outputs))
        self._before = self._state.parameters.copy()
        self._describe: dict[str, Callable[[int], Iterator[Stage]]] = {
            "gather": self._batch,
            "forward": self._forward,
            "loss": self._loss,
            "backward": self._backward,
            "penalty": self._penalty,
            "clip": self._clip,
        }
        self._parts: dict[str, list[Stage]] = {part: [] for part in self._describe}

    @property
    def steps(self) -> int:
        """The number of steps that were run."""
        return self._state.progress.step

    def part(self, name: str, layer: int) -> None:
        """Copy what this part of the step has computed."""
        if self.steps != self._number - 1 or name not in self._describe:
            return
        if name == "gather":
            np.copyto(self._before, self._state.parameters)
        self._parts[name] += [self._kept(stage) for stage in self._describe[name](layer)]
        self._follow(name, layer)

    def _follow(self, name: str, i: int) -> None:
        """Add what this part of the step has computed to the flow."""
        flow, layout = self.flow, self._network.layout
        if name == "gather":
            flow.values.append(self._array(self.loop.batch[0]))
        elif name == "forward" and i < len(self._layers):
            flow.values.append(self._array(self._layers[i].output))
            flow.weights.append(self._matrix(layout.views(self._state.parameters)[i]))
        elif name == "backward" and i < len(self._layers):
            flow.deltas.insert(0, self._array(self._layers[i].grad))
            flow.gradients.insert(0, self._matrix(layout.views(self.loop.step.gradient)[i]))

    def step(self, event: StepDone) -> None:
        """Put the parts of the step together."""
        if event.step != self._number:
            return
        self._parts["loss"].insert(2, Stage("", "L", event.loss))
        computed = [stage for part in self._parts.values() for stage in part]
        late = [*self._update(event), *self._averages()]
        self.stages = [*computed, *map(self._kept, late)]

    @property
    def _layers(self) -> list[Any]:
        """The workspace of each layer."""
        return self._network.workspace(self.loop.batch[0].shape[-2]).layers

    def _batch(self, _: int) -> Iterator[Stage]:
        x = self.loop.batch[0]
        which = f", of the first of {len(x)} members" if self._network.layout.members else ""
        yield Stage(f"Batch of {x.shape[-2]} rows{which}", "x", x)

    def _forward(self, i: int) -> Iterator[Stage]:
        """The forward pass of a layer, or of the linear path."""
        if i == len(self._network.layers):
            yield Stage("Linear path", f"L{i}", self._network.layout.views(self._state.parameters)[i][LINEAR])
            yield Stage("", f"z = {self._below(i)} + x L{i}", self._layers[-1].output)
            return
        below = self._layers[i - 1].output if i else self.loop.batch[0]
        tensors = self._network.layout.views(self._state.parameters)[i]
        yield from self._network.layers[i].forward_stages(i, self._below(i), below, tensors, self._layers[i])

    def _loss(self, _: int) -> Iterator[Stage]:
        """The target, the prediction and the derivative of the loss with respect to the scores."""
        loss, ws = self._network.loss, self._layers[-1]
        target = self.loop.batch[1][0] if self._network.layout.members else self.loop.batch[1]
        yield Stage(f"Loss: {loss.label()}", "y", np.asarray(target, dtype=np.float64))
        yield Stage("", "prediction", loss.predict(ws.output))
        yield Stage("", f"dL/da{len(self._layers) - 1}", ws.grad)

    def _backward(self, i: int) -> Iterator[Stage]:
        """The chain rule through a layer; before the last one, through the linear path."""
        gradients = self._network.layout.views(self.loop.step.gradient)
        if self._network.linear and i == len(self._layers) - 1:
            yield Stage("Backward, linear path", f"dL/dL{i + 1} = x' dL/dz", gradients[-1][LINEAR])
        grads = gradients[i]
        below_grad = self._layers[i - 1].grad if i else None
        yield from self._network.layers[i].backward_stages(i, self._below(i), grads, self._layers[i], below_grad)

    def _penalty(self, _: int) -> Iterator[Stage]:
        """The gradient of the weights with the L1 and L2 terms, if there are any."""
        penalty, layout = self._plan.penalty, self._network.layout
        if not (penalty.l1 or penalty.l2):
            return
        weights = self._state.parameters[: layout.weight_size]
        yield Stage("Penalty", "l1 sum|W| + l2 sum W^2", penalty.value(weights))
        for name, value in self._tensors(self.loop.step.gradient, decaying=True):
            yield Stage("", f"dL/d{name} + l1 sign({name}) + 2 l2 {name}", value)

    def _clip(self, _: int) -> Iterator[Stage]:
        """The clipped gradient, if the plan clips it."""
        training, norm = self._plan.training, math.sqrt(self.loop.step.squared_norm)
        title, formula = "", "c * dL/d{}"
        if training.clip_norm is not None:
            factor = min(1.0, training.clip_norm / norm) if norm else 1.0
            yield Stage("Clipping", f"c = min(1, {training.clip_norm:g} / gradient norm {norm:.6g})", factor)
        elif training.clip_value is not None:
            title, formula = "Clipping", f"dL/d{{}}, clipped to [{-training.clip_value:g}, {training.clip_value:g}]"
        else:
            return
        for name, value in self._tensors(self.loop.step.gradient):
            yield Stage(title, formula.format(name), value)
            title = ""

    def _update(self, event: StepDone) -> Iterator[Stage]:
        """The parameters after the step."""
        figures = f"learning rate {event.learning_rate:g}, gradient norm {event.gradient_norm:.6g}"
        title = f"Update: {self._plan.optimizer.label()}, {figures}"
        moved = self._tensors(self._state.parameters - self._before)
        for (name, change), (_, value) in zip(moved, self._tensors(self._state.parameters), strict=True):
            yield Stage(title, f"change of {name}", change)
            yield Stage("", f"{name}, new", value)
            title = ""

    def _averages(self) -> Iterator[Stage]:
        """The moving averages after the step, if the plan has them."""
        if self._state.ema is None:
            return
        title = "Moving average"
        for name, value in self._tensors(self._state.ema[0]):
            yield Stage(title, f"{name}, average", value)
            title = ""

    def _kept(self, stage: Stage) -> Stage:
        """A stage with a copy of its value, and with the names of the inputs and the scores."""
        value = stage.value if isinstance(stage.value, float) else self._array(stage.value)
        rows, columns = self._names(stage.formula)
        shape = np.shape(value)
        return Stage(
            stage.title,
            stage.formula,
            value,
            rows if len(shape) == 2 and len(rows) == shape[0] else (),
            columns if len(shape) == 2 and len(columns) == shape[1] else (),
        )

    def _names(self, formula: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names of the rows and of the columns of what `formula` computes, where these are inputs or scores."""
        flow, last = self.flow, len(self._network.layers) - 1
        name = (
            re.split(r" = |,|:| \+ ", formula)[0].removeprefix("change of ").removeprefix("c * ").removeprefix("dL/d")
        )
        rows = flow.inputs if name in ("W0", f"L{last + 1}") else ()
        scores = name in ("y", "prediction") or re.fullmatch(rf"[Wzahd]{last}|L{last + 1}", name)
        return rows, flow.inputs if name == "x" else flow.outputs if scores else ()

    def _array(self, value: NDArray[Any]) -> Array:
        """A copy of an array; of an ensemble, that of the first member."""
        of_members = self._network.layout.members and value.ndim == 3
        return (value[0] if of_members else value).copy()

    def _matrix(self, tensors: LayerViews) -> Array | None:
        """A copy of the weights of a layer, if it has a matrix of them."""
        weight = tensors.get("weight")
        matrix = None if weight is None else self._array(weight)
        return matrix if matrix is not None and matrix.ndim == 2 else None

    def _tensors(self, vector: Array, decaying: bool = False) -> Iterator[tuple[str, Array]]:
        """The tensors of a vector by their symbols in formulas, layer by layer; with `decaying` only the weights."""
        for tensor in sorted(self._network.layout.parameters, key=lambda tensor: tensor.layer):
            if tensor.spec.decays or not decaying:
                view = tensor.view(vector)
                yield symbol(tensor.spec.name) + str(tensor.layer), view[0] if tensor.members else view

    def _below(self, i: int) -> str:
        """The symbol of the input of layer `i`."""
        return self._network.layers[i - 1].output_name(i - 1) if i else "x"


def symbol(name: str) -> str:
    """The symbol of a tensor in formulas: W, b, gamma."""
    return {"weight": "W", "bias": "b", LINEAR: "L"}.get(name, name.rpartition(".")[2])
