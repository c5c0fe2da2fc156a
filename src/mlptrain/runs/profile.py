"""Where did the time of a run go?

A profile is a probe: at the end of each part of the work the run tells it the name of the part, and it looks at the
clock. A run without one does nothing of the kind.
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
"""The parts that have a row of their own, {} for the number of the layer; all others are "everything else"."""


class Profile:
    """Seconds and calls of each section: `with Profile() as profile: begin(..., probe=profile)`."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.total = 0.0
        """Seconds from its beginning to its end."""
        self._last = 0.0

    def __enter__(self) -> Profile:
        self._began = self._last = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.total = time.perf_counter() - self._began

    def __call__(self, part: str, number: int) -> None:
        """Note that `part` took the time since the last call."""
        now = time.perf_counter()
        spent, self._last = now - self._last, now
        section = SECTIONS.get(part)
        if section is not None:
            name = section.format(number)
            self.seconds[name] = self.seconds.get(name, 0.0) + spent
            self.calls[name] = self.calls.get(name, 0) + 1
