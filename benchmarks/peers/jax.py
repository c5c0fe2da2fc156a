"""JAX as its documentation advises for speed: a whole pass in one compiled call, a scan over the batches."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.workload import Workload

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


class Trainer:
    """Parameters and moments stay in the library's arrays; NumPy shuffles, which is faster than JAX on a processor."""

    def __init__(self, workload: Workload) -> None:
        x, labels = workload.data()
        self._x, self._labels = jnp.asarray(x), jnp.asarray(labels)
        parameters = [(jnp.asarray(weight), jnp.asarray(bias)) for weight, bias in workload.weights()]
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        self._state = parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32)
        self._rng = np.random.default_rng(0)
        self._pass = partial(train_pass, batch=workload.batch, rate=workload.rate)

    def run(self, passes: int) -> None:
        """Train on."""
        for _ in range(passes):
            order = self._rng.permutation(len(self._x))
            self._state, total = self._pass(self._state, self._x, self._labels, order)
            total.item()

    def loss(self) -> float:
        """The loss of all rows."""
        return float(mean_loss(self._state[0], self._x, self._labels))

    def facts(self) -> dict[str, Any]:
        """Size, precision, and the threads, of which JAX takes one a core."""
        tensors = jax.tree.leaves(self._state[0])
        return {
            "parameters": sum(tensor.size for tensor in tensors),
            "dtype": str(tensors[0].dtype),
            "threads": os.cpu_count(),
        }


def scores(parameters: Any, x: Any) -> Any:
    """What the output layer gives (rows, outputs)."""
    *hidden, (weight, bias) = parameters
    for inner_weight, inner_bias in hidden:
        x = jax.nn.relu(x @ inner_weight + inner_bias)
    return x @ weight + bias


def mean_loss(parameters: Any, x: Any, labels: Any) -> Any:
    """Softmax cross-entropy of the network."""
    log_p = jax.nn.log_softmax(scores(parameters, x))
    return -jnp.take_along_axis(log_p, labels[:, None], axis=1).mean()


def step(state: Any, x: Any, labels: Any, rate: float) -> tuple[Any, Any]:
    """One step of Adam; the state after it and the loss before it."""
    parameters, first, second, t = state
    loss, gradient = jax.value_and_grad(mean_loss)(parameters, x, labels)
    t = t + 1
    first = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, first, gradient)
    second = jax.tree.map(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, second, gradient)
    scale1, scale2 = 1 / (1 - BETA1**t), 1 / (1 - BETA2**t)
    parameters = jax.tree.map(
        lambda w, m, v: w - rate * (m * scale1) / (jnp.sqrt(v * scale2) + EPS), parameters, first, second
    )
    return (parameters, first, second, t), loss


@partial(jax.jit, static_argnames=("batch", "rate"), donate_argnums=0)
def train_pass(state: Any, x: Any, labels: Any, order: Any, batch: int, rate: float) -> tuple[Any, Any]:
    """A pass over the rows in `order`: full batches in a scan, what is left in a step of its own."""
    full, rest = divmod(len(order), batch)

    def scanned(carry: Any, rows: Any) -> tuple[Any, Any]:
        return step(carry, x[rows], labels[rows], rate)

    state, losses = jax.lax.scan(scanned, state, order[: full * batch].reshape(full, batch))
    total = losses.sum() * batch
    if rest:
        rows = order[full * batch :]
        state, loss = step(state, x[rows], labels[rows], rate)
        total += loss * rest
    return state, total
