"""What does a whole command cost, from its start to its end? Wall time and peak memory, command beside command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.worker import Failed

FOLDER = Path(__file__).parent
Command = Sequence[str | Path]
"""The arguments of a Python."""
Figures = dict[str, Any]


def run(command: Command, folder: str | Path) -> Figures:
    """Run `command` in `folder`: its seconds, mebibytes and output."""
    words = map(str, [sys.executable, "-S", FOLDER / "launch.py", sys.executable, *command])
    variables = os.environ | {"PYTHONPATH": str(FOLDER.parent), "KERAS_BACKEND": "jax"}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed has its bytecode beside it
    done = subprocess.run([*words], capture_output=True, text=True, check=True, cwd=folder, env=variables)
    figures: Figures = json.loads(done.stdout)
    if figures["code"]:
        raise Failed((figures["errors"].strip().splitlines() or ["no message"])[-1][:200])
    return figures


def in_turn(commands: Mapping[str, Command], rounds: int) -> dict[str, Figures]:
    """Run each command in each round, in an empty folder: `failed`, or a list of `seconds`, `mebibytes` and `told`."""
    figures: dict[str, Figures] = {name: {"seconds": [], "mebibytes": [], "told": []} for name in commands}
    for _ in range(rounds):
        for name in (name for name in commands if "failed" not in figures[name]):
            with TemporaryDirectory() as folder:
                try:
                    one = run(commands[name], folder)
                except Failed as error:
                    figures[name] = {"failed": str(error)}
                    continue
            figures[name]["seconds"].append(one["seconds"])
            figures[name]["mebibytes"].append(one["mebibytes"])
            figures[name]["told"].append(told(one["output"]))
    return figures


def told(output: str) -> Any:
    """The JSON document that a command printed; None if it printed none."""
    try:
        return json.loads(output)
    except ValueError:
        return None
