"""Digits with JAX: each epoch one compiled call."""

import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers.jax import scores, train_pass
from benchmarks.scripts.files import digits

x, labels, test_x, test_labels = digits()
rng = np.random.default_rng(0)
shapes = [(64, 64), (64, 32), (32, 10)]
parameters = [
    (jnp.asarray(rng.standard_normal(shape, np.float32) * (2 / shape[0]) ** 0.5), jnp.zeros(shape[1]))
    for shape in shapes
]
zeros = jax.tree.map(jnp.zeros_like, parameters)
state = parameters, zeros, jax.tree.map(jnp.copy, zeros), jnp.zeros((), jnp.int32)
on_device = jnp.asarray(x), jnp.asarray(labels)
for _ in range(30):
    state, _loss = train_pass(state, *on_device, rng.permutation(len(x)), batch=32, rate=1e-3)
print(json.dumps({"accuracy": float((scores(state[0], test_x).argmax(1) == test_labels).mean())}))
with Path(sys.argv[1]).open("wb") as file:
    np.savez(file, *map(np.asarray, jax.tree.leaves(state[0])))
