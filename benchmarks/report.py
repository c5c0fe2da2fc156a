"""How do the figures become RESULTS.md? One section a part, written from the JSON that the part left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import charts
from benchmarks.peers import OURS, PRODUCTS
from benchmarks.tables import NONE, judged, machine_lines, number, ratio, spread, table

BARE, SKLEARN, JAX = "mlptrain, bare steps", "scikit-learn", "JAX, jit and scan"
EAGER = ("PyTorch, Adam in a loop", "PyTorch, foreach Adam", "PyTorch, fused Adam")
PASSES_OF_A_RUN = 30

STEP_TARGETS = {
    "notebook": {SKLEARN: 0.30, "PyTorch": 0.30, JAX: 0.35},
    "digits": {SKLEARN: 0.25, "PyTorch": 0.25, JAX: 1.0, PRODUCTS: 2.5},
    "tab": {SKLEARN: 0.40, "PyTorch": 0.55, JAX: 0.85, PRODUCTS: 1.4},
    "mnist": {SKLEARN: 0.45, "PyTorch": 0.75, JAX: 1.0, PRODUCTS: 1.7},
    "wide": {SKLEARN: 0.45, "PyTorch": 0.60, JAX: 1.0, PRODUCTS: 1.35},
}
"""The time of mlptrain as a share of the other's, at most."""
TRAINER_TARGET = 1.1
DIGITS_TARGET, DIGITS_MEBIBYTES, MNIST_TARGET, READING_TARGET = 0.5, 120.0, 0.5, 2.0
START_TARGETS = {"mlptrain --version": 0.2, "mlptrain --help": 0.35}

Figures = dict[str, Any]

HEAD = """# Results

Written by `python -m benchmarks` from the figures in `results/`; do not edit. Times are medians over rounds in which
everyone had a turn (A B A B), with the quartiles in brackets; a ratio is the median of the ratios within a round, below
1 where mlptrain is faster. Every library runs on its own number of threads, as it does for its users.
How good the models are is in [the page on quality](../docs/quality.md), by `python -m benchmarks.quality`.
"""

SAME_WORK = """\
All start from the same weights, at a loss within 0.01 %, and end within 5 % of mlptrain after 3 passes, each with a
shuffle of its own. Differences and failures:
"""
DIGITS = """\
Digits (1,797 x 64), from the CSV to the saved model: 64-32-10, Adam, batch 32, 30 epochs, a fifth of the rows to test.
"""
MNIST = """\
MNIST until 98 % of the test images are told right: 784-256-128-10, dropout 0.2 (none in scikit-learn), Adam, batch 128,
tested after each epoch; one column a seed. The scripts stop there; `mlptrain fit` is told how many epochs it takes.
"""
CURVES = """\
Microseconds a step; a short last batch counts as the part of a step that it is. Base: 8192 x 64, fewer rows for small
batches, layers 128-128-10, batch 128. For width and depth 2048 rows, for depth 64 units a layer; for rows 8 features,
layers 64-10, batch 1000. Beside powers of two there are their neighbours: odd widths, and short last batches.
"""
COMPONENTS = """\
Nanoseconds an element, float32: a step of an optimizer on 200,064 parameters, an activation on 1,563 x 128, a loss with
its gradient on 2,560 scores (256 x 10; 853 x 3 for three quantiles, 2560 x 1 for one). Beside it, how often it takes
the time of the cheapest of its family but the identity; then the same without the compiled loops, which only some have.
"""


def write(folder: Path) -> None:
    """RESULTS.md and its charts, of every part that has figures."""
    sections = [HEAD]
    for part, section in SECTIONS.items():
        for path in sorted((folder / "results").glob(f"{part}*.json")):
            figures = json.loads(path.read_text())
            lines = section(figures, path.stem.removeprefix(part).removeprefix("-"), folder / "charts")
            sections.append("\n".join(lines))
    (folder / "RESULTS.md").write_text("\n".join(sections))


def headed(title: str, core: str, results: Figures) -> Iterator[str]:
    """The beginning of a section."""
    yield f"## {title}{f', with the {core} kernels of OpenBLAS' if core else ''}\n"
    yield from machine_lines(results["machine"])


# -- a training step


def workloads_section(results: Figures, core: str, charts_folder: Path) -> Iterator[str]:
    """The five workloads."""
    yield from headed("A training step", core, results)
    workloads = results["workloads"]
    names = [workload["name"] for workload in workloads]
    yield from thread_lines(workloads[0]["peers"])
    yield "Microseconds a step of one shuffled pass: gather, forward, loss, backward, Adam; float32.\n"
    yield from table(["", *names], [*shape_rows(workloads), *step_rows(workloads)])
    picture = f"steps{f'-{core}' if core else ''}.png"
    charts.bars(workloads, charts_folder / picture)
    yield f"![Time of a step beside mlptrain's](charts/{picture})\n"
    yield "Time of mlptrain as a share of the time of others; in brackets the target, which is the most it may be:\n"
    head = ["", "scikit-learn", "PyTorch, its fastest Adam", "JAX", "matrix products alone", "its own bare steps"]
    yield from table(head, map(ratio_row, workloads))
    yield "Seconds of the first pass, with everything that is compiled then:\n"
    yield from table(["", *names], first_pass_rows(workloads))
    yield from remarks(workloads)


def thread_lines(peers: Figures) -> Iterator[str]:
    """What products and loops run on, and how many threads each library takes by itself."""
    known = {peer: figures for peer, figures in peers.items() if "threads" in figures}
    kernels = {figures["blas"] for figures in known.values() if "blas" in figures}
    counts = ", ".join(f"{peer} {figures['threads']}" for peer, figures in known.items() if not peer.startswith(OURS))
    yield f"NumPy's matrix products: {', '.join(sorted(kernels))}. Threads: {counts}; mlptrain's are in the table.\n"
    yield f"The loops between mlptrain's products: {peers[OURS].get('loops', NONE)}.\n"


def shape_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """What the workloads are."""
    yield ["rows x features", *(f"{w['rows']:,} x {w['features']}" for w in workloads)]
    yield ["layers", *("-".join(map(str, [*w["hidden"], w["outputs"]])) for w in workloads)]
    yield ["batch", *(str(w["batch"]) for w in workloads)]
    yield ["threads that mlptrain takes", *(str(w["peers"][OURS].get("threads", NONE)) for w in workloads)]


def step_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """The time of a step of each peer."""
    for peer in workloads[0]["peers"]:
        yield [peer, *(spread(w["peers"][peer].get("microseconds")) for w in workloads)]


def first_pass_rows(workloads: Sequence[Figures]) -> Iterator[list[str]]:
    """The time of the first pass, and of a step of JAX with compiling shared out over a run."""
    for peer in workloads[0]["peers"]:
        if peer not in (PRODUCTS, BARE):
            yield [peer, *(number(w["peers"][peer].get("first_pass_seconds")) for w in workloads)]
    title = f"JAX, microseconds a step of {PASSES_OF_A_RUN} passes with compiling"
    yield [title, *(number(with_compiling(w)) for w in workloads)]


def with_compiling(workload: Figures) -> float | None:
    """Microseconds a step of JAX in a run of some passes, the first of which compiles."""
    times = taken(workload["peers"], JAX)
    if not times:
        return None
    steps = -(-workload["rows"] // workload["batch"])
    first = workload["peers"][JAX]["first_pass_seconds"] * 1e6 / steps
    return float(first + (PASSES_OF_A_RUN - 1) * median(times)) / PASSES_OF_A_RUN


def ratio_row(workload: Figures) -> list[str]:
    """The ratios of one workload, each beside its target."""
    peers, targets = workload["peers"], STEP_TARGETS.get(workload["name"], {})
    eager = [peer for peer in EAGER if taken(peers, peer)]
    fastest = min(eager, key=lambda peer: median(taken(peers, peer)), default="")
    columns = [(SKLEARN, SKLEARN), (fastest, "PyTorch"), (JAX, JAX), (PRODUCTS, PRODUCTS)]
    cells = [judged(ratio(taken(peers, OURS), taken(peers, peer)), targets.get(name)) for peer, name in columns]
    return [workload["name"], *cells, judged(ratio(taken(peers, OURS), taken(peers, BARE)), TRAINER_TARGET)]


def taken(peers: Figures, peer: str) -> list[float]:
    """The times of `peer`; none where it is not there or failed."""
    return list(peers.get(peer, {}).get("microseconds", []))


def remarks(workloads: Sequence[Figures]) -> Iterator[str]:
    """Who did other work, or none."""
    yield SAME_WORK
    found = [
        f"- {workload['name']}, {peer}: {text}"
        for workload in workloads
        for peer, figures in workload["peers"].items()
        for text in ([f"failed: {figures['failed']}"] if "failed" in figures else figures["differs"])
    ]
    yield from found or ["- none"]
    yield ""


# -- whole processes


def process_section(results: Figures, core: str, charts_folder: Path) -> Iterator[str]:
    """Commands from start to end."""
    yield from headed("Whole processes", core, results)
    yield DIGITS
    digits = results["digits"]
    yield from table(["", "seconds", "peak MiB", "accuracy"], [command_row(name, digits[name]) for name in digits])
    yield from digits_verdict(digits)
    yield MNIST
    yield from table(["", *(f"seed {seed}, s (epochs)" for seed in results["mnist"]), "peak MiB"], mnist_rows(results))
    yield from mnist_verdict(list(results["mnist"].values()))
    yield "Seconds of commands that do little but start, and of imports alone:\n"
    yield from table(["", "seconds", "target", "peak MiB"], [start_row(*one) for one in results["start"].items()])


def command_row(name: str, figures: Figures) -> list[str]:
    """Time, memory and accuracy of a command."""
    if "failed" in figures:
        return [name, f"failed: {figures['failed']}", NONE, NONE]
    return [name, spread(figures["seconds"]), number(median(figures["mebibytes"])), f"{accuracy(figures):.3f}"]


def accuracy(figures: Figures) -> float:
    """What a command says it reached on test rows."""
    document = figures["told"][0]
    results = document.get("results", {})
    return float(document["accuracy"] if not results else (results["test"] or results["validation"])["accuracy"])


def digits_verdict(commands: Figures) -> Iterator[str]:
    """mlptrain beside the fastest of the others."""
    others = {name: one for name, one in commands.items() if not name.startswith(OURS) and "failed" not in one}
    if others and "failed" not in commands[OURS]:
        fastest = min(others, key=lambda name: median(others[name]["seconds"]))
        share = ratio(commands[OURS]["seconds"], others[fastest]["seconds"])
        memory = judged(median(commands[OURS]["mebibytes"]), DIGITS_MEBIBYTES)
        yield f"mlptrain takes {judged(share, DIGITS_TARGET)} of the time of {fastest} and {memory} MiB.\n"


def mnist_rows(results: Figures) -> Iterator[list[str]]:
    """Seconds and epochs of each command for each seed."""
    seeds = list(results["mnist"].values())
    for name in seeds[0]["commands"]:
        peaks = [peak for seed in seeds for peak in seed["commands"][name].get("mebibytes", [])]
        yield [
            name,
            *(reached(seed["commands"][name], seed["epochs"]) for seed in seeds),
            number(max(peaks, default=None)),
        ]


def reached(figures: Figures, epochs: int) -> str:
    """Seconds and epochs to the accuracy; a script says how many, mlptrain was told."""
    if "failed" in figures:
        return f"failed: {figures['failed']}"
    return f"{number(figures['seconds'][0])} ({figures['told'][0].get('epochs', epochs)})"


def mnist_verdict(seeds: Sequence[Figures]) -> Iterator[str]:
    """mlptrain beside PyTorch."""
    ours, theirs = (seconds_of(seeds, name) for name in (OURS, "torch"))
    if ours and theirs:
        share = median(ours) / median(theirs)
        yield f"mlptrain takes {judged(share, MNIST_TARGET)} of the time of PyTorch, by the medians.\n"


def seconds_of(seeds: Sequence[Figures], name: str) -> list[float]:
    """The seconds of one command over the seeds."""
    return [one for seed in seeds for one in seed["commands"].get(name, {}).get("seconds", [])]


def start_row(name: str, figures: Figures) -> list[str]:
    """Time and memory of a command that does nothing."""
    if "failed" in figures:
        return [name, f"failed: {figures['failed']}", NONE, NONE]
    target = START_TARGETS.get(name)
    verdict = judged(median(figures["seconds"]), target) if target else ""
    return [name, spread(figures["seconds"]), verdict, number(median(figures["mebibytes"]))]


# -- curves, components, memory


def curves_section(results: Figures, core: str, charts_folder: Path) -> Iterator[str]:
    """Time of a step against the size of the problem."""
    yield from headed("How the cost grows", core, results)
    picture = f"curves{f'-{core}' if core else ''}.png"
    charts.curves(results["curves"], charts_folder / picture)
    yield CURVES
    yield f"![Time of a step against batch, width, depth and rows](charts/{picture})\n"
    for name, points in results["curves"].items():
        peers = list(points[0]["microseconds"])
        rows = [
            [f"{p['at']:,}", *(spread(p["microseconds"].get(peer)) for peer in peers), *shares(p, peers)]
            for p in points
        ]
        yield from table([name, *peers, *(f"ratio to {peer}" for peer in peers[1:])], rows)


def shares(point: Figures, peers: Sequence[str]) -> Iterator[str]:
    """The time of mlptrain as a share of that of each other peer."""
    times = point["microseconds"]
    yield from (judged(ratio(times[peers[0]], times.get(peer, [])), None) for peer in peers[1:])


def components_section(results: Figures, core: str, charts_folder: Path) -> Iterator[str]:
    """Every optimizer, activation and loss."""
    yield from headed("Components", core, results)
    yield COMPONENTS
    for family, components in results["families"].items():
        with_numpy = results["with_numpy"][family]
        rows = zip(components, cost_cells(components), cost_cells(with_numpy), strict=True)
        head = [family, "nanoseconds an element", "of the cheapest", "NumPy alone", "of the cheapest"]
        yield from table(head, [[name, *one, *other] for name, one, other in rows])


def cost_cells(components: Figures) -> Iterator[list[str]]:
    """The time of each component, and how often it takes that of the cheapest but the identity."""
    cheapest = min(median(times) for name, times in components.items() if name != "identity")
    yield from ([spread(times), f"{median(times) / cheapest:.1f}"] for times in components.values())


def memory_section(results: Figures, core: str, charts_folder: Path) -> Iterator[str]:
    """Peaks and reading."""
    yield from headed("Memory and reading", core, results)
    fits = results["fits"]
    rows = [[name, number(one["mebibytes"][0]), number(one["seconds"][0])] for name, one in fits.items()]
    yield from table(["`mlptrain fit`, one epoch", "peak MiB", "seconds"], rows)
    read = {name: [told["seconds"] for told in one["told"]] for name, one in results["read"].items()}
    peaks = {name: median(one["mebibytes"]) for name, one in results["read"].items()}
    title = f"a CSV of {number(results['table_mebibytes'])} MiB"
    yield from table([title, "seconds", "peak MiB"], [[name, spread(read[name]), number(peaks[name])] for name in read])
    share = judged(ratio(read["mlptrain"], read["polars"]), READING_TARGET)
    yield f"Reading, checking, splitting and scaling takes {share} times as long as `polars.read_csv` alone.\n"


SECTIONS = {
    "workloads": workloads_section,
    "process": process_section,
    "curves": curves_section,
    "components": components_section,
    "memory": memory_section,
}
