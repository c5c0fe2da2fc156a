"""`python -m benchmarks [PART ...]` measures, keeps the figures under benchmarks/results and writes RESULTS.md."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from benchmarks import report
from benchmarks.machine import choose_core

FOLDER = Path(__file__).parent
PARTS = {
    "workloads": 3.0,
    "process": 10.0,
    "curves": 0.5,
    "components": 10.0,
    "memory": 90.0,
}
"""The parts, each a module with `measure(seconds)`, and how many seconds it gives to each thing it measures."""


def main() -> None:
    """Measure the parts that are asked for, then write the report of all that was ever measured here."""
    options = parse_options()
    choose_core(options.coretype)
    suffix = f"-{options.coretype}" if options.coretype else ""
    (FOLDER / "results").mkdir(exist_ok=True)
    for part in options.parts or PARTS:
        figures = importlib.import_module(f"benchmarks.{part}").measure(options.seconds or PARTS[part])
        (FOLDER / "results" / f"{part}{suffix}.json").write_text(json.dumps(figures, indent=1) + "\n")
    report.write(FOLDER)


def parse_options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = ", ".join(PARTS)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=f"all, or some of: {names}")
    parser.add_argument("--seconds", type=float, help="how long to train for each peer and problem; a default a part")
    parser.add_argument("--coretype", help="the kernels of OpenBLAS, as in Haswell; a table of its own")
    return parser.parse_args()


if __name__ == "__main__":
    main()
