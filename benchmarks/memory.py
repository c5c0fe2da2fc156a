"""How much memory does a fit take at its peak, and how long does reading a large table take?"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.commands import Command, in_turn
from benchmarks.machine import describe
from benchmarks.process import SCRIPTS, fit
from benchmarks.worker import in_own_process

ROWS, FEATURES = 1_000_000, 30
SPEC = "preset: plain\ndata: {path: table.csv, target: y}\ntraining: {epochs: 1, batch_size: 256, baselines: false}\n"


def measure(seconds: float) -> dict[str, Any]:
    """Peaks of two fits of an epoch, and the seconds that readers of the large table take."""
    rounds = max(3, round(seconds / 10))
    with TemporaryDirectory() as name:
        print("writing the table", flush=True)
        folder = Path(name)
        in_own_process(write_table, folder)
        print("fits", flush=True)
        fits: dict[str, Command] = {
            "MNIST, 784-256-128-10": fit(SCRIPTS / "mnist.yaml", "training.epochs=1"),
            f"table of {ROWS:,} x {FEATURES}, 64-32-1": fit(folder / "spec.yaml"),
        }
        peaks = in_turn(fits, 1)
        print("reading", flush=True)
        readers: dict[str, Command] = {
            reader: ("-m", "benchmarks.scripts.read_table", reader, folder / "table.csv")
            for reader in ("mlptrain", "polars")
        }
        read = in_turn(readers, rounds)
        size = (folder / "table.csv").stat().st_size / 2**20
    return {"machine": describe([]), "fits": peaks, "read": read, "table_mebibytes": size}


def write_table(folder: Path) -> None:
    """A table of numbers with six digits, and a spec."""
    import polars

    values = np.random.default_rng(0).standard_normal((ROWS, FEATURES + 1))
    names = [*(f"x{i}" for i in range(1, FEATURES + 1)), "y"]
    polars.DataFrame(values, schema=names).write_csv(folder / "table.csv", float_precision=6)
    (folder / "spec.yaml").write_text(SPEC)
