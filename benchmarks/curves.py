"""How does the time of a step grow with the batch, the width, the depth and the rows? Is there a cliff anywhere?

Beside powers of two there are their neighbours: odd widths, batches that leave a short one over, and the full batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.machine import describe, installed
from benchmarks.peers import OURS, PEERS
from benchmarks.worker import Failed, Worker, in_turn
from benchmarks.workload import Workload

COMPARED = (OURS, "PyTorch, fused Adam", "JAX, jit and scan")
ROUNDS = 3
ROW_COPIES = 24
"""Bytes for each number of the table that must be free: in NumPy, in a file, as a column, and for each worker."""

BATCHES = (
    *(1, 2, 4, 8, 16, 31, 32, 33, 64, 127, 128, 129, 255, 256, 257),
    *(512, 1000, 1024, 2048, 4095, 4096, 4097, 8191, 8192),
)
WIDTHS = (8, 16, 31, 32, 33, 64, 127, 128, 129, 256, 511, 512, 513, 1024, 2047, 2048)
DEPTHS = (1, 2, 4, 8, 16, 32)
ROWS = (10**3, 10**4, 10**5, 10**6, 10**7)

BASE = Workload("curve", 8192, 64, (128, 128), 10, 128)
CURVES: dict[str, list[tuple[int, Workload]]] = {
    "batch": [(batch, replace(BASE, rows=min(8192, 500 * batch), batch=batch)) for batch in BATCHES],
    "width": [(width, replace(BASE, rows=2048, hidden=(width, width))) for width in WIDTHS],
    "depth": [(depth, replace(BASE, rows=2048, hidden=(64,) * depth)) for depth in DEPTHS],
    "rows": [(rows, replace(BASE, rows=rows, features=8, hidden=(64,), batch=1000)) for rows in ROWS],
}


def measure(seconds: float, curves: Mapping[str, Iterable[tuple[int, Workload]]] = CURVES) -> dict[str, Any]:
    """Microseconds a step of each curve's points, by peer; about `seconds` of training for each pair."""
    results: dict[str, Any] = {"machine": describe(PEERS[peer].package for peer in COMPARED), "curves": {}}
    with ExitStack() as stack:
        there = [peer for peer in COMPARED if installed(PEERS[peer].package)]
        workers = {peer: stack.enter_context(Worker(peer)) for peer in there}
        for name, points in curves.items():
            print(f"curve over {name}", flush=True)
            results["curves"][name] = [
                {"at": at, "microseconds": point(workload, workers, seconds)}
                for at, workload in points
                if fits_in_memory(workload)
            ]
    return results


def point(workload: Workload, workers: Mapping[str, Worker], seconds: float) -> dict[str, list[float]]:
    """Microseconds a step of each peer; a last, short batch counts as the part of a step that it is."""
    fit = {peer: worker for peer, worker in workers.items() if takes_up(worker, workload)}
    steps = workload.rows / min(workload.batch, workload.rows)
    return {peer: [one / steps * 1e6 for one in taken] for peer, taken in in_turn(fit, seconds, ROUNDS).items()}


def takes_up(worker: Worker, workload: Workload) -> bool:
    """Whether the worker can train `workload`; what is compiled is compiled then."""
    try:
        worker.prepare(workload)
        worker.run(1)
    except Failed as error:
        print(error, flush=True)
        return False
    return True


def fits_in_memory(workload: Workload) -> bool:
    """Whether the machine has room for the table and its copies."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return workload.rows * workload.features * ROW_COPIES < free
