"""mlptrain, through the code that `mlptrain fit` runs: a spec, files, the trainer's loop; or the bare steps alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import safetensors.numpy

from benchmarks.machine import blas
from benchmarks.workload import Workload
from mlptrain.nn import kernels
from mlptrain.nn.threads import blas_threads
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import prepare
from mlptrain.training.events import EpochDone
from mlptrain.training.loop import make_batches, make_step, network_for, start, train


class Trainer:
    """The trainer's loop, without validation rows; with `bare`, only batches and steps."""

    def __init__(self, workload: Workload, bare: bool = False) -> None:
        with TemporaryDirectory() as folder:
            experiment = write_experiment(workload, Path(folder))
            plan, dataset = prepare(experiment, workload.name)
            network = network_for(plan)
            self._state = start(plan, network, dataset)
        self._plan, self._network, self._part = plan, network, dataset.training
        self._batches = make_batches(plan, dataset)
        self._step = make_step(plan, network, self._state)
        self._events = train(plan, network, self._state, dataset)
        self._passes = self._bare_passes() if bare else self._trainer_passes()

    @np.errstate(all="ignore")
    def run(self, passes: int) -> None:
        """Train on."""
        with blas_threads(self._plan.threads):
            for _ in range(passes):
                next(self._passes)

    def loss(self) -> float:
        """The loss of all rows, evaluated as after training."""
        layout, everything = self._network.layout, np.arange(len(self._part))
        x = np.empty((len(everything), self._part.features.width), self._network.dtype)
        self._part.features.gather(everything, x, None)
        views, running = layout.views(self._state.parameters), layout.running(self._state.buffers)
        scores = self._network.forward(x, views, running, training=False)
        return float(self._network.loss.value(scores, self._part.target()))

    def facts(self) -> dict[str, Any]:
        """Size, precision, the threads of the matrix products, and what runs the loops between them."""
        return {
            "parameters": self._state.parameters.size,
            "dtype": str(self._state.parameters.dtype),
            **blas(),
            "threads": self._plan.threads,
            "loops": "compiled" if kernels.PRESENT else "NumPy",
        }

    def _trainer_passes(self) -> Iterator[None]:
        for event in self._events:
            if isinstance(event, EpochDone):
                yield

    def _bare_passes(self) -> Iterator[None]:
        batches, step, rate = self._batches, self._step, self._plan.optimizer.learning_rate
        for epoch in range(self._plan.training.epochs):
            batches.begin(epoch)
            total = 0.0
            for index in range(len(batches)):
                x, target, weights = batches.gather(index)
                total += len(x) * step(x, target, rate, weights)
                self._state.progress.step += 1
            yield


def write_experiment(workload: Workload, folder: Path) -> Experiment:
    """The files of `workload` and the experiment that reads them."""
    x, labels = workload.data()
    np.savez(folder / "table.npz", x=x, label=labels)
    tensors = {
        f"layers.{i}.{role}": tensor
        for i, pair in enumerate(workload.weights())
        for role, tensor in zip(("weight", "bias"), pair, strict=True)
    }
    safetensors.numpy.save_file(tensors, folder / "start.safetensors")
    return Experiment.model_validate(
        {
            "preset": "plain",
            "data": {
                "path": str(folder / "table.npz"),
                "target": "label",
                "split": {"validation": 0.0, "test": 0.0},
                "numeric": {"scale": "none"},
            },
            "network": {
                "hidden": list(workload.hidden),
                "initializer": {"kind": "from_file", "path": str(folder / "start.safetensors")},
            },
            "loss": "cross_entropy",
            "optimizer": {"learning_rate": workload.rate},
            "training": {
                "epochs": 10**9,
                "batch_size": "full" if workload.batch >= workload.rows else workload.batch,
                "early_stopping": None,
            },
        }
    )
