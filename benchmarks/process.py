"""How long does everything take, from the file on disk to the saved model? And how long until anything happens?"""

from __future__ import annotations

import csv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.commands import FOLDER, Command, in_turn, run
from benchmarks.machine import describe, installed

SCRIPTS = FOLDER / "scripts"
LIBRARIES = {"scikit-learn": "sklearn", "torch": "torch", "jax": "jax"}
"""By package, the suffix of its scripts."""
SEEDS = (0, 1, 2, 3, 4)
ACCURACY = 0.98


def measure(seconds: float) -> dict[str, Any]:
    """The figures of every task. `seconds` is about what each command of the digits may take in all, if in 3 rounds."""
    rounds = max(3, round(seconds / 2))
    print("start-up and imports", flush=True)
    starts = in_turn(starting(), rounds)
    print("digits", flush=True)
    trained = in_turn(digits(), rounds)
    print(f"MNIST to {ACCURACY:.0%}", flush=True)
    reached = {str(seed): mnist(seed) for seed in SEEDS}
    return {"machine": describe(LIBRARIES), "start": starts, "digits": trained, "mnist": reached}


MISTAKEN = """
from mlptrain.cli import main
try:
    main()
except SystemExit as end:
    raise SystemExit(end.code != 2)
"""
"""`mlptrain`, for a spec with a mistake, which is answered by exit code 2."""


def starting() -> dict[str, Command]:
    """Commands that do little but start, and imports alone."""
    modules = {"numpy": "numpy", "polars": "polars", "scikit-learn": "sklearn.neural_network"}
    modules |= {"torch": "torch", "jax": "jax", "keras": "keras"}
    return {
        "mlptrain --version": ("-m", "mlptrain", "--version"),
        "mlptrain --help": ("-m", "mlptrain", "--help"),
        "mlptrain fit, a mistake in the spec": ("-c", MISTAKEN, "fit", SCRIPTS / "digits.yaml", "--set", "epochs=1"),
        "mlptrain fit configs/notebook.yaml": fit(FOLDER.parent / "configs" / "notebook.yaml"),
        "import mlptrain.runs.run": ("-c", "import mlptrain.runs.run"),
        **{f"import {module}": ("-c", f"import {module}") for name, module in modules.items() if installed(name)},
    }


def digits() -> dict[str, Command]:
    """30 epochs on the digits."""
    spec = SCRIPTS / "digits.yaml"
    return {
        "mlptrain": fit(spec),
        "mlptrain, with its two baselines": fit(spec, "training.baselines=true"),
        **scripts("digits"),
    }


def mnist(seed: int) -> dict[str, Any]:
    """Train until the accuracy is reached: scripts stop there, mlptrain is told after how many epochs that is."""
    spec = SCRIPTS / "mnist.yaml"
    epochs = epochs_needed(fit(spec, f"seed={seed}"))
    ours = fit(spec, f"seed={seed}", f"training.epochs={epochs}")
    return {"epochs": epochs, "commands": in_turn({"mlptrain": ours, **scripts("mnist", str(seed))}, 1)}


def epochs_needed(command: Command) -> int:
    """After how many epochs a run, which is the same each time, first reaches the accuracy."""
    with TemporaryDirectory() as folder:
        run(command, folder)
        with (Path(folder) / "run" / "metrics.csv").open() as file:
            reached = [float(row["validation_accuracy"]) >= ACCURACY for row in csv.DictReader(file)]
    return reached.index(True) + 1 if True in reached else len(reached)


def fit(spec: Path, *settings: str) -> Command:
    """The command that trains by `spec`."""
    changes = [word for setting in settings for word in ("--set", setting)]
    return ("-m", "mlptrain", "fit", spec, "--quiet", "--json", "--out", "run", *changes)


def scripts(task: str, *arguments: str) -> dict[str, Command]:
    """What the libraries that are here take for `task`."""
    return {
        package: ("-m", f"benchmarks.scripts.{task}_{suffix}", "model", *arguments)
        for package, suffix in LIBRARIES.items()
        if installed(package) and (SCRIPTS / f"{task}_{suffix}.py").exists()
    }
