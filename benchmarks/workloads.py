"""How long does a training step take on the five workloads, peer beside peer?

Before the clock counts, everyone shows that it does the same work: the architecture, the precision, the loss at the
same first weights and the loss after some passes, each with its own shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from benchmarks.machine import describe, installed
from benchmarks.peers import OURS, PEERS
from benchmarks.worker import Failed, Worker, in_turn
from benchmarks.workload import Workload

WORKLOADS = (
    Workload("notebook", 100, 2, (5,), 2, 100),
    Workload("digits", 1797, 64, (64, 32), 10, 32),
    Workload("tab", 50_000, 30, (128, 128), 2, 256),
    Workload("mnist", 20_000, 784, (256, 128), 10, 128),
    Workload("wide", 8192, 784, (1024, 1024), 10, 256, rate=1e-4),  # else it soon knows the rows by heart
)
ROUNDS = 15
COMPARED_PASSES = 3
SAME_START, SAME_END = 1e-4, 0.05
"""How far the losses may lie apart, as a share: at the first weights, and after passes in other orders."""

Figures = dict[str, Any]


def measure(seconds: float, workloads: Iterable[Workload] = WORKLOADS, peers: Iterable[str] = PEERS) -> dict[str, Any]:
    """The figures of every peer on every workload; about `seconds` of training for each pair."""
    packages = {peer: PEERS[peer].package for peer in peers}
    results: dict[str, Any] = {"machine": describe(packages.values()), "workloads": []}
    with ExitStack() as stack:
        workers = {peer: stack.enter_context(Worker(peer)) for peer in packages if installed(packages[peer])}
        for workload in workloads:
            print(f"workload {workload.name}", flush=True)
            results["workloads"].append({**asdict(workload), "peers": race(workload, workers, seconds)})
    return results


def race(workload: Workload, workers: Mapping[str, Worker], seconds: float) -> dict[str, Figures]:
    """What is to be known of each peer on one workload: `failed`, or losses, facts and microseconds a step."""
    figures = {peer: attempt(warm_up, worker, workload) for peer, worker in workers.items()}
    for one in figures.values():
        one["differs"] = differences(workload, one, figures[OURS]) if "failed" not in one else []
    fit = {peer: worker for peer, worker in workers.items() if "failed" not in figures[peer]}
    taken = in_turn(fit, seconds, ROUNDS)
    for peer in fit:
        if peer in taken:
            figures[peer]["microseconds"] = [one / workload.steps * 1e6 for one in taken[peer]]
        else:
            figures[peer] = {"failed": "in the midst of its turns"}
    return figures


def warm_up(worker: Worker, workload: Workload) -> Figures:
    """Facts and losses of a peer that has trained for the first time."""
    facts = worker.prepare(workload)
    first_loss, first_pass = worker.loss(), worker.run(1)
    worker.run(COMPARED_PASSES - 1)
    return {
        **facts,
        "first_pass_seconds": first_pass,
        "first_loss": first_loss,
        "loss": worker.loss(),
    }


def attempt(function: Any, *arguments: Any) -> Figures:
    """What `function` returns, or why it could not."""
    try:
        figures: Figures = function(*arguments)
    except Failed as error:
        return {"failed": str(error)}
    return figures


def differences(workload: Workload, figures: Figures, reference: Figures) -> list[str]:
    """In what the work of a peer differs from that of mlptrain."""
    if math.isnan(figures["loss"]):  # the bare products train nothing
        return []
    found = []
    if figures["parameters"] != workload.parameters:
        found.append(f"{figures['parameters']} parameters instead of {workload.parameters}")
    if figures["dtype"] != "float32":
        found.append(f"computes in {figures['dtype']}")
    for name, allowed in (("first_loss", SAME_START), ("loss", SAME_END)):
        apart = abs(figures[name] / reference[name] - 1)
        if apart > allowed:
            when = "at the first weights" if name == "first_loss" else f"after {COMPARED_PASSES} passes"
            found.append(f"a loss of {figures[name]:.4f} instead of {reference[name]:.4f} {when}")
    return found
