"""How do the figures become RESULTS.md? One section a part, written from the JSON that the part left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import charts
from benchmarks.peers import OURS, PRODUCTS

BARE, SKLEARN, JAX = "mlptrain, bare steps", "scikit-learn", "JAX, jit and scan"
EAGER = ("PyTorch, Adam in a loop", "PyTorch, foreach Adam", "PyTorch, fused Adam")
PASSES_OF_A_RUN = 30

TARGETS = {
    "notebook": {SKLEARN: 0.30, "PyTorch": 0.30, JAX: 0.35},
    "digits": {SKLEARN: 0.25, "PyTorch": 0.25, JAX: 1.0, PRODUCTS: 2.5},
    "tab": {SKLEARN: 0.40, "PyTorch": 0.55, JAX: 0.85, PRODUCTS: 1.4},
    "mnist": {SKLEARN: 0.45, "PyTorch": 0.75, JAX: 1.0, PRODUCTS: 1.7},
    "wide": {SKLEARN: 0.45, "PyTorch": 0.60, JAX: 1.0, PRODUCTS: 1.35},
}
"""The time of mlptrain as a share of the other's, at most."""
TRAINER_TARGET = 1.1

Figures = dict[str, Any]

HEAD = """# Results

Written by `python -m benchmarks` from the figures in `results/`; do not edit. Times are medians over rounds in which
everyone had a turn (A B A B), with the quartiles in brackets; ratios are medians of the ratios within a round, below 1
where mlptrain is faster. Every library runs on its own number of threads, as it does for its users.
"""


def write(folder: Path) -> None:
    """RESULTS.md and its charts, of every part that has figures."""
    sections = [HEAD]
    for name, section in SECTIONS.items():
        for path in sorted((folder / "results").glob(f"{name}*.json")):
            figures = json.loads(path.read_text())
            sections.append("\n".join(section(figures, path.stem.removeprefix(name).removeprefix("-"), folder)))
    (folder / "RESULTS.md").write_text("\n".join(sections))


def workloads_section(results: Figures, core: str, folder: Path) -> Iterator[str]:
    """The five workloads."""
    yield f"## A training step{f', with the {core} kernels of OpenBLAS' if core else ''}\n"
    yield from machine_lines(results)
    workloads = results["workloads"]
    yield "Microseconds a step of one shuffled pass: gather, forward, loss, backward, Adam; float32.\n"
    yield from table(["", *(w["name"] for w in workloads)], [*shape_rows(workloads), *step_rows(workloads)])
    picture = f"steps{f'-{core}' if core else ''}.png"
    charts.bars(workloads, folder / "charts" / picture)
    yield f"![Time of a step beside mlptrain's](charts/{picture})\n"
    yield "Time of mlptrain as a share of the time of others; in brackets the target, which is the most it may be:\n"
    yield from table(
        ["", "scikit-learn", "PyTorch, its fastest Adam", "JAX", "matrix products alone", "its own bare steps"],
        [ratio_row(w) for w in workloads],
    )
    yield "Seconds of the first pass, with everything that is compiled then:\n"
    yield from table(["", *(w["name"] for w in workloads)], first_pass_rows(workloads))
    yield from remarks(workloads)


def machine_lines(results: Figures) -> Iterator[str]:
    """On what it was measured."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in machine["versions"].items())
    yield f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}."
    yield f"Python {machine['python']}; {versions}."
    ours = next((w["peers"][OURS] for w in results.get("workloads", []) if "blas" in w["peers"][OURS]), None)
    if ours:
        yield f"NumPy's products: {ours['blas']}. Threads: {threads(results)}.\n"
    else:
        yield ""


def threads(results: Figures) -> str:
    """How many threads each library takes by itself."""
    peers = results["workloads"][0]["peers"]
    return ", ".join(f"{name} {one['threads']}" for name, one in peers.items() if "threads" in one)


def shape_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """What the workloads are."""
    yield ["rows x features", *(f"{w['rows']} x {w['features']}" for w in workloads)]
    yield ["layers", *("-".join(map(str, [*w["hidden"], w["outputs"]])) for w in workloads)]
    yield ["batch", *(str(w["batch"]) for w in workloads)]


def step_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """The time of a step of each peer."""
    for peer in workloads[0]["peers"]:
        yield [peer, *(spread(w["peers"][peer].get("microseconds")) for w in workloads)]


def first_pass_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """The time of the first pass, and of a step of JAX with compiling shared out over a run."""
    for peer in workloads[0]["peers"]:
        if peer not in (PRODUCTS, BARE):
            yield [peer, *(number(w["peers"][peer].get("first_pass_seconds")) for w in workloads)]
    if JAX in workloads[0]["peers"]:
        yield [
            f"JAX, microseconds a step of {PASSES_OF_A_RUN} passes with compiling",
            *(number(with_compiling(w)) for w in workloads),
        ]


def with_compiling(workload: Figures) -> float | None:
    """Microseconds a step of JAX in a run of some passes, the first of which compiles."""
    figures = workload["peers"][JAX]
    if "failed" in figures:
        return None
    steps = -(-workload["rows"] // workload["batch"])
    first = figures["first_pass_seconds"] * 1e6 / steps
    return float(first + (PASSES_OF_A_RUN - 1) * median(figures["microseconds"])) / PASSES_OF_A_RUN


def ratio_row(workload: Figures) -> list[str]:
    """The ratios of one workload, each beside its target."""
    peers, targets = workload["peers"], TARGETS.get(workload["name"], {})
    eager = [peer for peer in EAGER if taken(peers, peer)]
    fastest = min(eager, key=lambda peer: median(peers[peer]["microseconds"]), default="")
    columns = [(SKLEARN, SKLEARN), (fastest, "PyTorch"), (JAX, JAX), (PRODUCTS, PRODUCTS)]
    cells = [judged(ratio(peers, peer), targets.get(name)) for peer, name in columns]
    return [workload["name"], *cells, judged(ratio(peers, BARE), TRAINER_TARGET)]


def taken(peers: Figures, peer: str) -> list[float]:
    """The times of `peer`; none where it is not there or failed."""
    return list(peers.get(peer, {}).get("microseconds", []))


def ratio(peers: Figures, peer: str) -> float | None:
    """The time of mlptrain as a share of that of `peer`, None where there is none."""
    pairs = zip(taken(peers, OURS), taken(peers, peer), strict=False)
    shares = [ours / theirs for ours, theirs in pairs]
    return median(shares) if shares else None


def remarks(workloads: Sequence[Figures]) -> Iterator[str]:
    """Who did other work, or none."""
    yield "All start from the same weights, at a loss within 0.01 %, and end within 5 % of each other after 3 passes."
    yield "Differences:\n"
    for workload in workloads:
        for peer, figures in workload["peers"].items():
            found = [f"failed: {figures['failed']}"] if "failed" in figures else figures["differs"]
            yield from (f"- {workload['name']}, {peer}: {text}" for text in found)
    yield ""


def judged(value: float | None, target: float | None) -> str:
    """A ratio, and whether it meets its target."""
    if value is None:
        return "–"
    if target is None:
        return f"{value:.2f}"
    return f"{value:.2f} (≤ {target:g} {'met' if value <= target else '**missed**'})"


def spread(values: Sequence[float] | None) -> str:
    """Median and quartiles."""
    if not values:
        return "failed"
    low, middle, high = quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3
    return f"{number(middle)} ({number(low)}–{number(high)})"


def number(value: float | None) -> str:
    """A number in three digits or so."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, numbers to the right."""
    yield f"| {' | '.join(head)} |"
    yield f"|---|{'---:|' * (len(head) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


SECTIONS = {"workloads": workloads_section}
