"""What happens in one training step, with numbers?

The stages of a step as arrays, in the notation of `nn/network.py`, computed by the functions that train: the forward
pass layer by layer, the loss, the backward pass layer by layer, the update.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.batches import Batches
from mlptrain.data.dataset import Dataset
from mlptrain.errors import UsageError
from mlptrain.nn.layers import Stage
from mlptrain.nn.network import Network
from mlptrain.randomness import DropoutStream
from mlptrain.spec.plan import Plan
from mlptrain.train.events import StepDone
from mlptrain.train.loop import make_batches, make_step, network_for, start, train
from mlptrain.train.state import TrainState


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
    below, before = "x", x
    for i, (layer, tensors, ws) in enumerate(zip(network.layers, views, network.workspace(len(x)).layers, strict=True)):
        yield from layer.forward_stages(i, below, before, tensors, ws)
        below, before = layer.output_name(i), ws.output


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
        name = network.layers[i - 1].output_name(i - 1) if i > 0 else "x"
        network.layers[i].backward(below, views[i], grads[i], ws.layers[i], below_grad)
        yield from network.layers[i].backward_stages(i, name, grads[i], ws.layers[i], below_grad)


def penalty_stages(plan: Plan, network: Network, state: TrainState, gradient: NDArray[np.floating]) -> Iterator[Stage]:
    """What L1 and L2 add to the gradient of the weights, if anything."""
    penalty, weights = plan.penalty, slice(0, network.layout.weight_size)
    if not (penalty.l1 or penalty.l2):
        return
    penalty.add_gradient(state.parameters[weights], gradient[weights], np.empty_like(gradient))
    yield Stage("Penalty", "l1 sum|W| + l2 sum W^2", penalty.value(state.parameters[weights]))
    for i, grads in enumerate(network.layout.views(gradient)):
        yield Stage("", f"dL/dW{i} + l1 sign(W{i}) + 2 l2 W{i}", grads["weight"])


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
    after = network.layout.views(state.parameters)
    moved = network.layout.views(state.parameters - before)
    norm = np.sqrt(step.squared_norm)
    title = f"Update: {plan.optimizer.label()}, learning rate {rate:g}, gradient norm {norm:.6g}"
    for i in range(len(after)):
        yield Stage(title if i == 0 else "", f"change of W{i}", moved[i]["weight"])
        yield Stage("", f"W{i}, new", after[i]["weight"])
        yield Stage("", f"b{i}, new", after[i]["bias"])
