"""How do libraries keep out of each other's way? Each works in a process of its own, which is kept and asked in turn.

So imports, thread pools and memory do not mix, and while one is timed the others wait. The clock is read inside the
process: what passes between processes is not measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Any, Self

from benchmarks.peers import PEERS, Trainer
from benchmarks.workload import Workload

_held: list[Trainer] = []
"""In a worker's process: the trainer of the workload of now."""


class Failed(Exception):
    """A peer could not do what it was asked; the reason is for the table."""


class Worker:
    """One peer in its own process."""

    def __init__(self, peer: str) -> None:
        self._peer = peer
        self._pool = own_process(PEERS[peer].variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def prepare(self, workload: Workload) -> dict[str, Any]:
        """Take up a workload from its start; the facts of the trainer."""
        facts: dict[str, Any] = self._ask(prepare, self._peer, workload)
        return facts

    def run(self, passes: int) -> float:
        """Train on; the seconds it took."""
        return float(self._ask(timed_run, passes))

    def loss(self) -> float:
        """The loss of all rows now."""
        return float(self._ask(current_loss))

    def _ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._pool.submit(function, *arguments).result()
        except Exception as error:  # whatever a library or its compiler raises, or the end of the process
            raise Failed(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}") from error


REST = 0.5
"""Seconds before each turn: the threads of a library that has just worked hold their cores, waiting for more work."""


def in_turn(workers: Mapping[str, Worker], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Seconds a pass of each worker in each round, about `seconds` for each in all; none for one that fails."""
    passes: dict[str, int] = {}
    taken: dict[str, list[float]] = {peer: [] for peer in workers}
    for _ in range(rounds):
        for peer in list(taken):
            time.sleep(REST)
            try:
                if peer not in passes:
                    passes[peer] = passes_in(seconds / rounds, workers[peer])
                taken[peer].append(workers[peer].run(passes[peer]) / passes[peer])
            except Failed as error:
                print(f"{peer}: {error}", flush=True)
                del taken[peer]
    return taken


def passes_in(seconds: float, worker: Worker) -> int:
    """How many passes fill about so many seconds; at least one."""
    passes, taken = 1, worker.run(1)
    while taken < seconds / 4:
        passes *= 2
        taken = worker.run(passes)
    return max(1, round(passes * seconds / taken))


def in_own_process(function: Callable[..., Any], *arguments: Any, variables: Mapping[str, str] | None = None) -> Any:
    """What `function` returns in a process that has done nothing else, with more environment `variables`."""
    with own_process(variables or {}) as pool:
        return pool.submit(function, *arguments).result()


def own_process(variables: Mapping[str, str]) -> ProcessPoolExecutor:
    """A process whose environment has these `variables` before it imports what it runs."""
    return ProcessPoolExecutor(1, get_context("spawn"), add_to_environment, (variables,))


def add_to_environment(variables: Mapping[str, str]) -> None:
    """In the worker, before it imports anything that looks: set environment variables."""
    os.environ.update(variables)


def prepare(peer: str, workload: Workload) -> dict[str, Any]:
    """In the worker: make the trainer."""
    _held.clear()
    _held.append(PEERS[peer].trainer(workload))
    return _held[0].facts()


def timed_run(passes: int) -> float:
    """In the worker: train, and look at the clock."""
    start = time.perf_counter()
    _held[0].run(passes)
    return time.perf_counter() - start


def current_loss() -> float:
    """In the worker: evaluate."""
    return _held[0].loss()
