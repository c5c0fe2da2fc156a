"""PyTorch as most people write it: an nn.Sequential, a loop over index batches, one of its Adams; or compiled."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from benchmarks.workload import Workload


class Trainer:
    """Eager, or with forward, loss and backward compiled; `adam` are the options of the optimizer."""

    def __init__(self, workload: Workload, adam: dict[str, Any], compiled: bool = False) -> None:
        x, labels = workload.data()
        self._x, self._labels, self._batch = torch.from_numpy(x), torch.from_numpy(labels), workload.batch
        layers = [nn.Linear(*shape) for shape in workload.shapes]
        for layer, (weight, bias) in zip(layers, workload.weights(), strict=True):
            with torch.no_grad():
                layer.weight.copy_(torch.from_numpy(weight.T))
                layer.bias.copy_(torch.from_numpy(bias))
        self._model = nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU())))[:-1]
        self._optimizer = torch.optim.Adam(self._model.parameters(), workload.rate, **adam)
        self._loss = self._batch_loss
        if compiled:
            self._cache = TemporaryDirectory()
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = self._cache.name  # empty: as the first time on a machine
            self._loss = torch.compile(self._batch_loss)

    def run(self, passes: int) -> None:
        """Train on."""
        for _ in range(passes):
            total = torch.zeros(())
            for rows in torch.split(torch.randperm(len(self._x)), self._batch):
                self._optimizer.zero_grad()
                loss = self._loss(self._x[rows], self._labels[rows])
                loss.backward()
                self._optimizer.step()
                total += loss.detach() * len(rows)
            total.item()

    def loss(self) -> float:
        """The loss of all rows."""
        with torch.no_grad():
            return float(self._batch_loss(self._x, self._labels))

    def facts(self) -> dict[str, Any]:
        """Size, precision, and the threads within an operation."""
        tensors = list(self._model.parameters())
        return {
            "parameters": sum(tensor.numel() for tensor in tensors),
            "dtype": str(tensors[0].dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }

    def _batch_loss(self, x: Any, labels: Any) -> Any:
        return nn.functional.cross_entropy(self._model(x), labels)
