"""What happens in one training step, with numbers?

The stages of a step as arrays, in the notation of `nn/network.py`, computed by the functions that train: the forward
pass layer by layer, the loss, the backward pass layer by layer, the update.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset
from mlptrain.errors import UsageError
from mlptrain.nn.layout import LayerViews
from mlptrain.nn.network import LayerWorkspace, Network, backward_layer
from mlptrain.randomness import DropoutStream
from mlptrain.spec.plan import Plan
from mlptrain.train.events import StepDone
from mlptrain.train.loop import make_batches, make_step, network_for, start, train
from mlptrain.train.state import TrainState


@dataclass(frozen=True)
class Stage:
    """One line of the calculation: a name, the formula and its value."""

    title: str
    """Headline of the stage that begins here; empty within a stage."""
    formula: str
    value: NDArray[np.floating] | float


def explain(plan: Plan, dataset: Dataset, number: int) -> Iterator[Stage]:
    """The stages of training step `number`, from 1; the steps before it are trained first."""
    network = network_for(plan)
    state = start(plan, network, dataset)
    advance(plan, network, state, dataset, number - 1)
    batches = make_batches(plan, dataset)
    batches.begin(state.progress.epoch)
    x, target, weights = batches.gather(state.progress.batch)
    yield from forward_stages(plan, network, state, x)
    gradient = np.zeros_like(state.parameters)
    yield from loss_stages(network, x, target, weights)
    yield from backward_stages(network, state, gradient, x)
    yield from penalty_stages(plan, network, state, gradient)
    yield from update_stages(plan, network, state, gradient, batches)


def advance(plan: Plan, network: Network, state: TrainState, dataset: Dataset, steps: int) -> None:
    """Train `steps` steps."""
    done = 0
    for event in train(plan, network, state, dataset) if steps else ():
        done += isinstance(event, StepDone)
        if done == steps:
            break
    if done < steps:
        raise UsageError(f"the run ends after {done} steps; --step must be at most that")
    if state.progress.batch == len(make_batches(plan, dataset)):
        state.progress.begin_epoch()


def forward_stages(plan: Plan, network: Network, state: TrainState, x: NDArray[np.floating]) -> Iterator[Stage]:
    """x, and z and a of every layer."""
    layout = network.layout
    views = layout.views(state.parameters)
    rng = DropoutStream(plan.seed).at(state.progress.step)
    network.forward(x, views, layout.running(state.buffers), training=True, rng=rng)
    yield Stage(f"Batch of {len(x)} rows", "x", x)
    below = "x"
    for i, (layer, tensors, ws) in enumerate(zip(layout.layers, views, network.workspace(len(x)).layers, strict=True)):
        yield Stage(f"Forward, layer {i}: {layer.inputs} -> {layer.units}", f"W{i}", tensors.weight)
        yield Stage("", f"b{i}", tensors.bias)
        name = f"z{i} = {below} W{i} + b{i}"
        if layer.normalization is not None:
            name = f"n{i}: z{i} = {below} W{i} + b{i}, then {layer.normalization.name()} normalization"
        yield Stage("", name, ws.z)
        yield Stage("", f"a{i} = {layer.activation.label()}({'n' if ws.norm else 'z'}{i})", ws.a)
        below = f"a{i}"
        if ws.mask is not None:
            yield Stage("", f"m{i}: dropout mask, 0 or 1/(1 - {layer.dropout:g})", ws.mask)
        if ws.output is not ws.a:
            below = f"h{i}"
            past = " + input" if layer.residual else ""
            yield Stage("", f"h{i} = a{i}{f' * m{i}' if ws.mask is not None else ''}{past}", ws.output)


def loss_stages(
    network: Network, x: NDArray[np.floating], target: NDArray[np.generic], weights: NDArray[np.floating] | None
) -> Iterator[Stage]:
    """The target, the prediction, the loss and its derivative by the scores."""
    ws = network.workspace(len(x))
    scores, last = ws.layers[-1].output, len(ws.layers) - 1
    value = network.loss.value_and_gradient(scores, target, ws.layers[-1].grad, ws.loss, weights)
    yield Stage(f"Loss: {network.loss.label()}", "y", np.asarray(target, dtype=np.float64))
    yield Stage("", "prediction", network.loss.predict(scores))
    yield Stage("", "L", value)
    yield Stage("", f"dL/da{last}", ws.layers[-1].grad)


def backward_stages(
    network: Network, state: TrainState, gradient: NDArray[np.floating], x: NDArray[np.floating]
) -> Iterator[Stage]:
    """The chain rule, last layer first: dL/dz and the gradients of the tensors of every layer."""
    views, grads = network.layout.views(state.parameters), network.layout.views(gradient)
    ws = network.workspace(len(x))
    for i in range(len(views) - 1, -1, -1):
        below, below_grad = (ws.layers[i - 1].output, ws.layers[i - 1].grad) if i > 0 else (x, None)
        layer, here = network.layout.layers[i], ws.layers[i]
        backward_layer(layer, views[i], grads[i], here, below, below_grad, ws.ones)
        source, output = output_name(ws.layers[i - 1], i - 1) if i else "x", output_name(here, i)
        way = ", ".join(
            [f"dL/d{output}", *([f"m{i}"] if here.mask is not None else []), f"f'({'n' if here.norm else 'z'}{i})"]
        )
        through = "" if layer.normalization is None else f" and the {layer.normalization.name()} normalization"
        yield Stage(f"Backward, layer {i}", f"d{i} = dL/dz{i}, from {way}{through}", here.grad)
        gamma, beta = grads[i].gamma, grads[i].beta
        if gamma is not None and beta is not None:
            yield Stage("", f"dL/dgamma{i}", gamma)
            yield Stage("", f"dL/dbeta{i} = sum over rows of dL/dn{i}", beta)
        yield Stage("", f"dL/dW{i} = {source}' d{i}", grads[i].weight)
        yield Stage("", f"dL/db{i} = sum over rows of d{i}", grads[i].bias)
        if below_grad is not None:
            past = f" + dL/d{output}" if layer.residual else ""
            yield Stage("", f"dL/d{source} = d{i} W{i}'{past}", below_grad)


def output_name(ws: LayerWorkspace, i: int) -> str:
    """What the output of layer `i` is called: h where something is done to its activation, a otherwise."""
    return f"a{i}" if ws.output is ws.a else f"h{i}"


def penalty_stages(plan: Plan, network: Network, state: TrainState, gradient: NDArray[np.floating]) -> Iterator[Stage]:
    """What L1 and L2 add to the gradient of the weights, if anything."""
    penalty, weights = plan.penalty, slice(0, network.layout.weight_size)
    if not (penalty.l1 or penalty.l2):
        return
    penalty.add_gradient(state.parameters[weights], gradient[weights], np.empty_like(gradient))
    yield Stage("Penalty", "l1 sum|W| + l2 sum W^2", penalty.value(state.parameters[weights]))
    for i, grads in enumerate(network.layout.views(gradient)):
        yield Stage("", f"dL/dW{i} + l1 sign(W{i}) + 2 l2 W{i}", grads.weight)


def update_stages(
    plan: Plan, network: Network, state: TrainState, gradient: NDArray[np.floating], batches: Batches
) -> Iterator[Stage]:
    """The parameters after the step, by the step that trains."""
    progress, training = state.progress, plan.training
    rate = plan.optimizer.learning_rate * plan.schedule.at(progress.epoch, training.epochs, progress.schedule)
    x, target, weights = batches.gather(progress.batch)
    step = make_step(plan, network, state)
    before = state.parameters.copy()
    step(x, target, rate, weights=weights)
    after: tuple[LayerViews, ...] = network.layout.views(state.parameters)
    moved = network.layout.views(state.parameters - before)
    norm = np.sqrt(step.squared_norm)
    title = f"Update: {plan.optimizer.label()}, learning rate {rate:g}, gradient norm {norm:.6g}"
    for i in range(len(after)):
        yield Stage(title if i == 0 else "", f"change of W{i}", moved[i].weight)
        yield Stage("", f"W{i}, new", after[i].weight)
        yield Stage("", f"b{i}, new", after[i].bias)
