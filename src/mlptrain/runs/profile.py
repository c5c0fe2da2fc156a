"""Where did the time of a run go?

The parts of a run are timed from outside: while a `Profile` is open, the functions named in `SECTIONS` are replaced by
ones that look at the clock before and after. A run without one is not touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mlptrain.component import variants
from mlptrain.data.batches import Batches
from mlptrain.nn.layers import Layer
from mlptrain.nn.losses import Loss
from mlptrain.optim.optimizers import Optimizer
from mlptrain.runs import run
from mlptrain.tasks import Task
from mlptrain.train.epoch import Observer

SECTIONS: tuple[tuple[Any, str, str], ...] = (
    (run, "prepare", "reading and preparing the data"),
    (Batches, "begin", "shuffling"),
    (Batches, "gather", "gathering batches"),
    (Layer, "forward", "forward, layer {}"),
    (Loss, "value_and_gradient", "loss and its gradient"),
    (Layer, "backward", "backward, layer {}"),
    (Optimizer, "step", "optimizer"),
    (Observer, "end_epoch", "evaluating after each epoch"),
    (run.Run, "save_checkpoint", "writing checkpoints"),
    (run.Run, "save_model", "writing the model"),
    (run, "part_scores", "predicting for the results"),
    (Task, "measure", "metrics of the results"),
    (run, "baselines", "baselines"),
)
"""Where a function is found, its name there, and what is said of it; {} stands for the number of the layer.

Of a family of components, the function of every variant that has one of its own. What happens inside a section belongs
to it, so that the forward passes of an evaluation count as evaluation.
"""


class Profile:
    """Seconds and calls of each section, while it is open: `with Profile() as profile: ...`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.total = 0.0
        """Seconds from its beginning to its end."""
        self._inside = False
        self._layers: list[object] = []
        """In the order in which they first came"""
        self._originals: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> Profile:
        for place, name, label in SECTIONS:
            for owner in (place, *variants(place)) if place in (Layer, Loss, Optimizer) else (place,):
                if name in vars(owner):
                    self._originals.append((owner, name, vars(owner)[name]))
                    setattr(owner, name, self._timed(vars(owner)[name], label))
        self.total -= time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.total += time.perf_counter()
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals.clear()

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside, began = True, time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self._add(label, arguments[0] if arguments else None, time.perf_counter() - began)

        return timed

    def _add(self, label: str, subject: object, seconds: float) -> None:
        name = label.format(self._number(subject)) if "{}" in label else label
        self._inside = False
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        self.calls[name] = self.calls.get(name, 0) + 1

    def _number(self, layer: object) -> int:
        if not any(layer is known for known in self._layers):
            self._layers.append(layer)
        return next(i for i, known in enumerate(self._layers) if layer is known)
