"""Do those who are compared in the benchmarks do the same work, and does the report say what was measured?

No test here looks at a time.
"""

from __future__ import annotations

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import components, workloads
from benchmarks.machine import installed
from benchmarks.peers import NUMPY_ALONE, OURS, PEERS, PRODUCTS
from benchmarks.tables import judged, ratio, spread
from benchmarks.worker import Worker, in_turn
from benchmarks.workload import Workload
from mlptrain.nn import kernels

SMALL = Workload("small", 300, 6, (8, 5), 3, 32)  # the last batch has 12 rows
BINARY = Workload("binary", 200, 4, (6,), 2, 200)
SLOW = {"PyTorch, compiled"}
OTHERS = [
    pytest.param(
        peer.name,
        marks=[
            pytest.mark.peers,
            pytest.mark.skipif(installed(peer.package) is None, reason=f"needs {peer.package}"),
            *([pytest.mark.slow] if peer.name in SLOW else []),
        ],
    )
    for peer in PEERS.values()
    if peer.name not in (OURS, PRODUCTS)
]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.worker.REST", 0)


@pytest.fixture(scope="module")
def ours() -> dict[str, dict[str, Any]]:
    """What mlptrain tells of itself on each workload."""
    with Worker(OURS) as worker:
        return {workload.name: workloads.warm_up(worker, workload) for workload in (SMALL, BINARY)}


@pytest.mark.parametrize("peer", OTHERS)
def test_a_peer_does_the_same_work(peer: str, ours: dict[str, dict[str, Any]]) -> None:
    with Worker(peer) as worker:
        for workload in (SMALL, BINARY):
            figures = workloads.warm_up(worker, workload)
            allowed = []
            if peer == "scikit-learn" and workload.outputs == 2:  # one logistic output: a unit less
                allowed = [f"{workload.parameters - 7} parameters instead of {workload.parameters}"]
            assert workloads.differences(workload, figures, ours[workload.name]) == allowed
            assert figures["loss"] < figures["first_loss"]
            assert figures["threads"] >= 1


def test_our_own_figures(ours: dict[str, dict[str, Any]]) -> None:
    for workload in (SMALL, BINARY):
        assert ours[workload.name]["parameters"] == workload.parameters
        assert ours[workload.name]["dtype"] == "float32"
        assert ours[workload.name]["loss"] < ours[workload.name]["first_loss"]


def test_numpy_alone_trains_to_the_same_loss(ours: dict[str, dict[str, Any]]) -> None:
    assert ours[SMALL.name]["loops"] == ("compiled" if kernels.PRESENT else "NumPy")
    with Worker(NUMPY_ALONE) as worker:
        figures = workloads.warm_up(worker, SMALL)
    assert figures["loops"] == "NumPy"
    assert figures["loss"] == ours[SMALL.name]["loss"]


def test_the_five_workloads() -> None:
    sizes = {w.name: (w.rows, w.features, *w.hidden, w.outputs, w.batch, w.steps) for w in workloads.WORKLOADS}
    assert sizes == {
        "notebook": (100, 2, 5, 2, 100, 1),
        "digits": (1797, 64, 64, 32, 10, 32, 57),
        "tab": (50_000, 30, 128, 128, 2, 256, 196),
        "mnist": (20_000, 784, 256, 128, 10, 128, 157),
        "wide": (8192, 784, 1024, 1024, 10, 256, 32),
    }


def test_other_work_is_noticed() -> None:
    same = {"parameters": SMALL.parameters, "dtype": "float32", "first_loss": 1.2, "loss": 0.9}
    assert workloads.differences(SMALL, same, same) == []
    assert workloads.differences(SMALL, {**same, "loss": math.nan}, same) == []  # the bare products
    for name, other in {"parameters": 1, "dtype": "float64", "first_loss": 1.201, "loss": 0.8}.items():
        assert len(workloads.differences(SMALL, {**same, name: other}, same)) == 1, name


def test_workers_take_turns_and_tell_of_failures() -> None:
    with Worker(OURS) as one, Worker(PRODUCTS) as other:
        for worker in (one, other):
            worker.prepare(SMALL)
        taken = in_turn({"one": one, "other": other}, seconds=0.02, rounds=2)
        assert {name: len(times) for name, times in taken.items()} == {"one": 2, "other": 2}
        broken = workloads.attempt(workloads.warm_up, one, Workload("broken", 0, 6, (8,), 3, 32))
        assert list(broken) == ["failed"]


def test_every_component_has_its_case() -> None:
    found = components.families()
    assert len(found["activation, forward"]) == len(found["activation, backward"]) >= 14
    assert len(found["optimizer"]) >= 9
    assert len(found["loss"]) >= 8
    for family, cases in found.items():
        taken = components.in_turn(dict(list(cases.items())[:2]), seconds=0)
        assert all(len(times) == 1 for times in taken.values()), family


def test_how_figures_are_written() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2 (1.5–2.5)"
    assert ratio([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == 1.0
    assert ratio([1.0], []) is None
    assert judged(0.5, 0.5) == "0.50 (≤ 0.5 met)"
    assert judged(0.51, 0.5) == "0.51 (≤ 0.5 **missed**)"
    assert judged(None, 0.5) == "–"


@pytest.mark.peers
@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs matplotlib")
def test_the_report_is_honest_about_a_peer_that_failed(tmp_path: Path) -> None:
    from benchmarks import report

    with Worker(OURS) as worker:
        figures = workloads.race(SMALL, {OURS: worker}, seconds=0.02)
    figures["scikit-learn"] = {"failed": "RuntimeError: no compiler"}
    results = {"machine": {"processor": "P", "cores": 1, "memory_gib": 1, "system": "S", "python": "3", "versions": {}}}
    workload = {"name": "small", "rows": 300, "features": 6, "hidden": [8, 5], "outputs": 3, "batch": 32}
    (tmp_path / "results").mkdir()
    document = {**results, "workloads": [{**workload, "peers": figures}]}
    (tmp_path / "results" / "workloads.json").write_text(json.dumps(document))
    report.write(tmp_path)
    text = (tmp_path / "RESULTS.md").read_text()
    assert "- small, scikit-learn: failed: RuntimeError: no compiler" in text
    assert (tmp_path / "charts" / "steps.png").stat().st_size > 1000
