"""What happens in one training step, with numbers?

A `Recorder` watches the loop that trains, and copies the arrays of one step between its parts: the forward pass layer
by layer, the loss, the backward pass layer by layer, penalties, clipping, the update and the averages. The notation is
that of `nn/network.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.dataset import Dataset
from mlptrain.errors import UsageError
from mlptrain.nn.network import LayerWorkspace
from mlptrain.spec.plan import Plan
from mlptrain.train.events import StepDone
from mlptrain.train.loop import Loop, network_for, start


@dataclass(frozen=True)
class Stage:
    """One line of the calculation: a name, the formula and its value."""

    title: str
    """Headline of the stage that begins here; empty within a stage."""
    formula: str
    value: NDArray[np.floating] | float


def explain(plan: Plan, dataset: Dataset, number: int) -> list[Stage]:
    """The stages of training step `number`, from 1; the steps before it are trained first."""
    recorder, done = Recorder(plan, dataset, number), 0
    for event in recorder.loop.events():
        if isinstance(event, StepDone):
            done = event.step
            if done == number:
                return recorder.stages(event)
    raise UsageError(f"the run ends after {done} steps; --step must be at most that")


class Recorder:
    """A probe that copies what step `number` computes, each array before something overwrites it."""

    def __init__(self, plan: Plan, dataset: Dataset, number: int) -> None:
        self._plan, self._number = plan, number
        self._network = network_for(plan)
        self._state = start(plan, self._network, dataset)
        self.loop = Loop(plan, self._network, self._state, dataset, self)
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

    def __call__(self, part: str, i: int) -> None:
        """Copy what `part` of the step has computed, for layer `i` where it has layers."""
        if self._state.progress.step != self._number - 1 or part not in self._describe:
            return
        if part == "gather":
            np.copyto(self._before, self._state.parameters)
        stages = self._describe[part](i)
        self._parts[part] += [Stage(stage.title, stage.formula, copied(stage.value)) for stage in stages]

    def stages(self, event: StepDone) -> list[Stage]:
        """The whole step, in the order in which it was computed."""
        self._parts["loss"].insert(2, Stage("", "L", event.loss))
        computed = [stage for part in self._parts.values() for stage in part]
        return [*computed, *self._update(event), *self._averages()]

    @property
    def _layers(self) -> list[LayerWorkspace]:
        return self._network.workspace(len(self.loop.batch[0])).layers

    def _batch(self, _: int) -> Iterator[Stage]:
        x = self.loop.batch[0]
        yield Stage(f"Batch of {len(x)} rows", "x", x)

    def _forward(self, i: int) -> Iterator[Stage]:
        """z and a of a layer."""
        layer, ws = self._network.layout.layers[i], self._layers[i]
        tensors = self._network.layout.views(self._state.parameters)[i]
        yield Stage(f"Forward, layer {i}: {layer.inputs} -> {layer.units}", f"W{i}", tensors.weight)
        yield Stage("", f"b{i}", tensors.bias)
        name = f"z{i} = {self._below(i)} W{i} + b{i}"
        if layer.normalization is not None:
            name = f"n{i}: {name}, then {layer.normalization.name()} normalization"
        yield Stage("", name, ws.z)
        yield Stage("", f"a{i} = {layer.activation.label()}({'n' if ws.norm else 'z'}{i})", ws.a)
        if ws.mask is not None:
            yield Stage("", f"m{i}: dropout mask, 0 or 1/(1 - {layer.dropout:g})", ws.mask)
        if ws.output is not ws.a:
            past = " + input" if layer.residual else ""
            yield Stage("", f"h{i} = a{i}{f' * m{i}' if ws.mask is not None else ''}{past}", ws.output)

    def _loss(self, _: int) -> Iterator[Stage]:
        """The target, the prediction and the derivative of the loss by the scores."""
        loss, ws = self._network.loss, self._layers[-1]
        yield Stage(f"Loss: {loss.label()}", "y", np.asarray(self.loop.batch[1], dtype=np.float64))
        yield Stage("", "prediction", loss.predict(ws.output))
        yield Stage("", f"dL/da{len(self._layers) - 1}", ws.grad)

    def _backward(self, i: int) -> Iterator[Stage]:
        """The chain rule: dL/dz and the gradients of the tensors of a layer."""
        layer, here = self._network.layout.layers[i], self._layers[i]
        grads = self._network.layout.views(self.loop.step.gradient)[i]
        output = self._output(i)
        way = ", ".join(
            [f"dL/d{output}", *([f"m{i}"] if here.mask is not None else []), f"f'({'n' if here.norm else 'z'}{i})"]
        )
        through = "" if layer.normalization is None else f" and the {layer.normalization.name()} normalization"
        yield Stage(f"Backward, layer {i}", f"d{i} = dL/dz{i}, from {way}{through}", here.grad)
        if grads.gamma is not None and grads.beta is not None:
            yield Stage("", f"dL/dgamma{i}", grads.gamma)
            yield Stage("", f"dL/dbeta{i} = sum over rows of dL/dn{i}", grads.beta)
        yield Stage("", f"dL/dW{i} = {self._below(i)}' d{i}", grads.weight)
        yield Stage("", f"dL/db{i} = sum over rows of d{i}", grads.bias)
        if i:
            past = f" + dL/d{output}" if layer.residual else ""
            yield Stage("", f"dL/d{self._below(i)} = d{i} W{i}'{past}", self._layers[i - 1].grad)

    def _penalty(self, _: int) -> Iterator[Stage]:
        """What L1 and L2 add to the gradient of the weights, if anything."""
        penalty, layout = self._plan.penalty, self._network.layout
        if not (penalty.l1 or penalty.l2):
            return
        weights = self._state.parameters[: layout.weight_size]
        yield Stage("Penalty", "l1 sum|W| + l2 sum W^2", penalty.value(weights))
        for i, grads in enumerate(layout.views(self.loop.step.gradient)):
            yield Stage("", f"dL/dW{i} + l1 sign(W{i}) + 2 l2 W{i}", grads.weight)

    def _clip(self, _: int) -> Iterator[Stage]:
        """The gradient that the optimizer gets, where the plan clips it."""
        training, norm = self._plan.training, math.sqrt(self.loop.step.squared_norm)
        if training.clip_norm is not None:
            factor = min(1.0, training.clip_norm / norm) if norm else 1.0
            yield Stage("Clipping", f"c = min(1, {training.clip_norm:g} / gradient norm {norm:.6g})", factor)
            formula = "c * dL/d{}"
        elif training.clip_value is not None:
            formula = f"dL/d{{}}, clipped to [{-training.clip_value:g}, {training.clip_value:g}]"
        else:
            return
        for i, grads in enumerate(self._network.layout.views(self.loop.step.gradient)):
            title = "Clipping" if training.clip_value is not None and i == 0 else ""
            yield Stage(title, formula.format(f"W{i}"), grads.weight)
            yield Stage("", formula.format(f"b{i}"), grads.bias)

    def _update(self, event: StepDone) -> Iterator[Stage]:
        """The parameters after the step."""
        layout, state = self._network.layout, self._state
        moved, after = layout.views(state.parameters - self._before), layout.views(state.parameters)
        figures = f"learning rate {event.learning_rate:g}, gradient norm {event.gradient_norm:.6g}"
        title = f"Update: {self._plan.optimizer.label()}, {figures}"
        for i in range(len(after)):
            yield Stage(title if i == 0 else "", f"change of W{i}", moved[i].weight)
            yield Stage("", f"W{i}, new", after[i].weight)
            yield Stage("", f"b{i}, new", after[i].bias)

    def _averages(self) -> Iterator[Stage]:
        """The moving averages after the step, where the plan keeps some."""
        if self._state.ema is None:
            return
        for i, average in enumerate(self._network.layout.views(self._state.ema[0])):
            yield Stage("Moving average" if i == 0 else "", f"W{i}, average", average.weight)
            yield Stage("", f"b{i}, average", average.bias)

    def _output(self, i: int) -> str:
        """What the output of layer `i` is called: h where something is done to its activation, a otherwise."""
        return f"a{i}" if self._layers[i].output is self._layers[i].a else f"h{i}"

    def _below(self, i: int) -> str:
        """What the input of layer `i` is called."""
        return self._output(i - 1) if i else "x"


def copied(value: NDArray[np.floating] | float) -> NDArray[np.floating] | float:
    """A value that nothing overwrites."""
    return value if isinstance(value, float) else value.copy()
