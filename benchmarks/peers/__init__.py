"""Who is compared, and what does each have to offer? One module a library, one class that trains a workload."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.workload import Workload


class Trainer(Protocol):
    """A network on its way: made from a workload, at the weights of the workload."""

    def run(self, passes: int) -> None:
        """Train for so many passes; each ends with its mean loss known, as every trainer shows it."""

    def loss(self) -> float:
        """The loss of all rows now."""

    def facts(self) -> dict[str, Any]:
        """Number of `parameters`, their `dtype`, the `threads` at work."""


@dataclass(frozen=True)
class Peer:
    """A library with one choice of its options."""

    name: str
    module: str
    package: str
    options: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """Of the environment of the process that it works in."""

    def trainer(self, workload: Workload) -> Trainer:
        """A trainer of `workload`; imports the library."""
        module = importlib.import_module(f"benchmarks.peers.{self.module}")
        trainer: Trainer = module.Trainer(workload, **self.options)
        return trainer


PRODUCTS = "matrix products alone"
OURS = "mlptrain"
NUMPY_ALONE = "mlptrain, NumPy alone"
NUMPY_LOOPS = {"MLPTRAIN_LOOPS": "numpy"}
"""What lets mlptrain work without its compiled loops."""
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "mlptrain", "mlptrain"),
        Peer(NUMPY_ALONE, "mlptrain", "mlptrain", variables=NUMPY_LOOPS),
        Peer("mlptrain, bare steps", "mlptrain", "mlptrain", {"bare": True}),
        Peer(PRODUCTS, "products", "numpy"),
        Peer("scikit-learn", "sklearn", "scikit-learn"),
        Peer("PyTorch, Adam in a loop", "torch", "torch", {"adam": {"foreach": False}}),
        Peer("PyTorch, foreach Adam", "torch", "torch", {"adam": {"foreach": True}}),
        Peer("PyTorch, fused Adam", "torch", "torch", {"adam": {"fused": True}}),
        Peer("PyTorch, compiled", "torch", "torch", {"adam": {"fused": True}, "compiled": True}),
        Peer("JAX, jit and scan", "jax", "jax"),
        Peer("Keras on JAX", "keras", "keras"),
    )
}
