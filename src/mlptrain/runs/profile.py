"""How much time did each part of a run take?

A profile is a consumer that is told the end of each part of the work, and reads the clock.
"""

from __future__ import annotations

import time

from mlptrain.training.events import Consumer

SECTIONS: dict[str, str] = {
    "prepare": "reading and preparing the data",
    "shuffle": "shuffling",
    "gather": "gathering batches",
    "forward": "forward, layer {}",
    "loss": "loss and its gradient",
    "backward": "backward, layer {}",
    "optimizer": "optimizer",
    "epoch": "evaluating after each epoch",
    "checkpoint": "writing checkpoints",
    "model": "writing the model",
    "scores": "predicting for the results",
    "metrics": "metrics of the results",
    "blend": "choosing the share of a linear model",
    "intervals": "how sure the results are",
    "baselines": "baselines",
}
"""The parts with a separate row, {} for the number of the layer; all others are "everything else"."""


class Profile(Consumer):
    """Seconds and calls of each section: `with Profile() as profile: begin(..., consumers=[profile])`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.total = 0.0
        """Seconds from beginning to end."""
        self._last = 0.0

    def __enter__(self) -> Profile:
        self._began = self._last = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.total = time.perf_counter() - self._began

    def part(self, name: str, layer: int) -> None:
        """Add the time since the last call to the part `name`."""
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        section = SECTIONS.get(name)
        if section is not None:
            name = section.format(layer)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self.calls[name] = self.calls.get(name, 0) + 1
