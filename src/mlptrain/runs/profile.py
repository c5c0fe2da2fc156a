"""How much time did each part of a run take?

A profile is a probe: the run calls it at the end of each part of the work with the name of the part, and it reads the
clock.
"""

from __future__ import annotations

import time

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
    "baselines": "baselines",
}
"""The parts with a separate row, {} for the number of the layer; all others are "everything else"."""


class Profile:
    """Seconds and calls of each section: `with Profile() as profile: begin(..., probe=profile)`."""

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

    def __call__(self, part: str, number: int) -> None:
        """Add the time since the last call to `part`."""
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        section = SECTIONS.get(part)
        if section is not None:
            name = section.format(number)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self.calls[name] = self.calls.get(name, 0) + 1
