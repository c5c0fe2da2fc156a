"""Remake the data sets that a program can make: those of this folder and those of the lessons.

    python datasets/make.py                     write every set that is computed from a seed
    python datasets/make.py --sklearn           write the three tables bundled with scikit-learn as well
    python datasets/make.py xor.csv iris.csv    write these only
    python datasets/make.py --check             write nothing; compare with the files on disk

A set is a function without arguments that returns the bytes of its file, so the same call writes and checks.
Every set has a generator of its own, seeded here; nothing depends on the order in which they are made.
What each set is, and where the others come from, is told in README.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

FOLDER = Path(__file__).resolve().parent
LESSONS = FOLDER.parent / "src" / "mlptrain" / "lessons" / "data"
"""The tables of the lessons, which are installed with them."""
OF_LESSONS = frozenset(
    ["xor.csv", "ravine.csv", "spiral.csv", "noisy.csv", "sparse.csv", "notebook.csv", "breast_cancer.csv"]
)


# The textbook notebook -----------------------------------------------------------------------------------


class NotebookDraws(NamedTuple):
    """All that the notebook draws: a table, and the first weights of a 2-5-1 network."""

    x: Floats
    """Inputs, 100 x 2."""
    y: Floats
    """Target, 100 values."""
    w1: Floats
    """Weights from the inputs to the hidden layer, 2 x 5."""
    w2: Floats
    """Weights from the hidden layer to the output, 5 x 1."""


def notebook_draws() -> NotebookDraws:
    """Draw table and weights in the notebook's order from NumPy's legacy generator, seed 0.

    The order is the contract: inputs, noise, first weights, second weights. The legacy stream is frozen by
    NumPy, so the numbers are those that `np.random.seed(0)` gives, without touching the global generator.
    """
    random = np.random.RandomState(0)
    x = random.randn(100, 2)
    # Column by column, not x @ [2, -3]: a matrix product may round differently from one machine to another.
    y = 2 * x[:, 0] - 3 * x[:, 1] + 1 + 0.1 * random.randn(100)
    return NotebookDraws(x=x, y=y, w1=random.randn(2, 5), w2=random.randn(5, 1))


def notebook() -> bytes:
    """y = 2 x1 - 3 x2 + 1 with noise of standard deviation 0.1, 100 rows, every digit kept."""
    draws = notebook_draws()
    return _csv(["x1", "x2", "y"], np.column_stack([draws.x, draws.y]).tolist())


def notebook_start() -> bytes:
    """The weights the notebook starts from, float64, biases zero, as a safetensors file."""
    from safetensors.numpy import save

    draws = notebook_draws()
    return save(
        {
            "layers.0.weight": draws.w1,
            "layers.0.bias": np.zeros(5),
            "layers.1.weight": draws.w2,
            "layers.1.bias": np.zeros(1),
        }
    )


# Small sets, each made to show one thing -----------------------------------------------------------------


def xor() -> bytes:
    """Exclusive or: the four rows that no straight line separates."""
    return _csv(["x1", "x2", "y"], [(a, b, a ^ b) for a in (0, 1) for b in (0, 1)])


def ravine() -> bytes:
    """y = 2 x1 - 3 x2 without noise, x2 ten times smaller than x1: the loss is a long narrow valley."""
    x = np.round(_generator(7).standard_normal((64, 2)) * [1.0, 0.1], 6)
    y = np.round(2 * x[:, 0] - 3 * x[:, 1], 6)  # six decimals hold it without loss
    return _csv(["x1", "x2", "y"], np.column_stack([x, y]).tolist())


def spiral() -> bytes:
    """Two spiral arms of one and a quarter turns, interleaved, 100 rows each, the arms taking turns."""
    random = _generator(3)
    rows = 200
    is_left = np.arange(rows) % 2
    radius = np.sqrt(random.random(rows))
    angle = 2.5 * np.pi * radius + np.pi * is_left
    noise = 0.04 * random.standard_normal((rows, 2))
    x = np.round(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]) + noise, 4)
    arms = np.where(is_left, "left", "right")
    return _labelled_csv(["x1", "x2", "arm"], x, arms)


def noisy() -> bytes:
    """y = 2 x1 - 1.5 x2 + x3 with noise as strong as the signal; x4 to x20 mean nothing. 120 rows."""
    return _linear_table(seed=12, rows=120, features=20, coefficients={1: 2.0, 2: -1.5, 3: 1.0}, noise=3.0)


def sparse() -> bytes:
    """y = 3 x3 - 2 x8 + 1.5 x13 - x18 with little noise; the other sixteen mean nothing. 200 rows."""
    coefficients = {3: 3.0, 8: -2.0, 13: 1.5, 18: -1.0}
    return _linear_table(seed=4, rows=200, features=20, coefficients=coefficients, noise=0.1)


def _linear_table(*, seed: int, rows: int, features: int, coefficients: dict[int, float], noise: float) -> bytes:
    """Standard normal features x1, x2, ... and a target linear in those that `coefficients` numbers."""
    random = _generator(seed)
    x = np.round(random.standard_normal((rows, features)), 4)
    y = noise * random.standard_normal(rows)
    for number, coefficient in coefficients.items():
        y += coefficient * x[:, number - 1]
    header = [f"x{number}" for number in range(1, features + 1)]
    return _csv([*header, "y"], np.column_stack([x, np.round(y, 4)]).tolist())


# The tables bundled with scikit-learn --------------------------------------------------------------------


def iris() -> bytes:
    """Fisher's irises."""
    from sklearn.datasets import load_iris

    bunch = load_iris()
    header = [name.removesuffix(" (cm)").replace(" ", "_") for name in bunch.feature_names]
    return _labelled_csv([*header, "species"], bunch.data, bunch.target_names[bunch.target])


def digits() -> bytes:
    """Handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return _labelled_csv([*bunch.feature_names, "digit"], bunch.data.astype(np.int64), bunch.target)


def breast_cancer() -> bytes:
    """Breast Cancer Wisconsin (Diagnostic)."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    header = [name.replace(" ", "_") for name in bunch.feature_names]
    return _labelled_csv([*header, "diagnosis"], bunch.data, bunch.target_names[bunch.target])


# Writing and checking ------------------------------------------------------------------------------------

Maker = Callable[[], bytes]

SEEDED: dict[str, Maker] = {
    "notebook.csv": notebook,
    "notebook_start.safetensors": notebook_start,
    "xor.csv": xor,
    "ravine.csv": ravine,
    "spiral.csv": spiral,
    "noisy.csv": noisy,
    "sparse.csv": sparse,
}

FROM_SKLEARN: dict[str, Maker] = {
    "iris.csv": iris,
    "digits.csv": digits,
    "breast_cancer.csv": breast_cancer,
}


def difference(made: bytes, path: Path) -> str | None:
    """Say how the file at `path` differs from `made`, or return None when they are the same bytes."""
    if not path.exists():
        return "missing"
    found = path.read_bytes()
    if found == made:
        return None
    if path.suffix != ".csv":
        return f"differs ({len(found)} bytes, expected {len(made)})"
    found_lines, made_lines = found.split(b"\n"), made.split(b"\n")
    pairs = enumerate(zip(found_lines, made_lines, strict=False), start=1)
    shorter = min(len(found_lines), len(made_lines))
    line = next((number for number, (a, b) in pairs if a != b), shorter + 1)
    return f"differs from line {line} on"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the sets; the exit code is 1 when a check found a difference."""
    parser = argparse.ArgumentParser(description="Remake the data sets that a program can make.")
    known = {**SEEDED, **FROM_SKLEARN}
    parser.add_argument("names", nargs="*", metavar="FILE", help=f"which to make: {', '.join(known)}")
    parser.add_argument("--sklearn", action="store_true", help="also the tables bundled with scikit-learn")
    parser.add_argument("--check", action="store_true", help="write nothing, compare with the files on disk")
    parser.add_argument("--folder", type=Path, help="where the files are (default: here, and with the lessons)")
    options = parser.parse_args(arguments)
    if unknown := [name for name in options.names if name not in known]:
        parser.error(f"cannot make {', '.join(unknown)}; known: {', '.join(known)}")
    names = list(options.names or SEEDED)
    if options.sklearn:
        names += [name for name in FROM_SKLEARN if name not in names]

    differing = 0
    for name in names:
        made, path = known[name](), (options.folder or (LESSONS if name in OF_LESSONS else FOLDER)) / name
        if options.check:
            problem = difference(made, path)
            differing += problem is not None
            print(f"{name}: {problem or 'same'}")
        else:
            path.write_bytes(made)
            print(f"{name}: {len(made)} bytes")
    return 1 if differing else 0


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def _labelled_csv(header: Sequence[str], features: npt.NDArray[Any], labels: npt.NDArray[Any]) -> bytes:
    """The features, and the labels as the last column."""
    pairs = zip(features.tolist(), labels.tolist(), strict=True)
    return _csv(header, [(*row, label) for row, label in pairs])


def _csv(header: Iterable[str], rows: Iterable[Iterable[float | str]]) -> bytes:
    """Comma-separated lines; a number is written so that reading it gives the same number back."""
    lines = [header, *((cell if isinstance(cell, str) else repr(cell) for cell in row) for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines).encode("ascii")


if __name__ == "__main__":
    sys.exit(main())
