"""mlptrain gradcheck: compare every gradient with a numerical derivative."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress
from rich.table import Table

from mlptrain.cli.console import print_json, print_results, stderr_console, stdout_console
from mlptrain.cli.fitting import Shown, fitting_table
from mlptrain.errors import CheckFailed
from mlptrain.gradcheck import TOLERANCE, Check, TensorCheck, catalogue, check_plan, entries_to_check
from mlptrain.nn import kernels
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare


def run(config: Path | None, overrides: Sequence[str], as_json: bool) -> None:
    """Run the command."""
    checks = list(catalogue()) if config is None else [check_config(config, overrides)]
    if as_json:
        print_json(document(checks))
    else:
        print_results(check_table(checks) if config is None else tensor_table(checks[0]), "", conclusion(checks))
    failed = [check for check in checks if not check.passed]
    if failed:
        raise CheckFailed(
            "\n".join(f"{check.family} {check.subject}: {check.verdict}: {describe(check.worst)}" for check in failed)
        )


def check_config(config: Path, overrides: Sequence[str]) -> Check:
    """Check the network of the experiment in `config` on its own data."""
    plan, dataset = prepare(load_experiment(config, overrides), config.stem, dtype="float64")
    with Progress(console=stderr_console(), transient=True, disable=not stderr_console().is_terminal) as progress:
        task = progress.add_task("checking", total=entries_to_check(plan, dataset))
        return check_plan(plan, dataset, lambda done: progress.advance(task, done))


def check_table(checks: Sequence[Check]) -> Table:
    """One row for each component."""
    entries = [str(sum(tensor.compared for tensor in check.tensors)) for check in checks]
    skipped = [str(sum(tensor.skipped for tensor in check.tensors)) for check in checks]
    columns = [
        Shown("family", [check.family for check in checks]),
        Shown("component", [check.subject for check in checks]),
        Shown("worst relative error", [f"{check.worst.error:.1e}" for check in checks], right=True, rank=2),
        Shown("in", [check.worst.tensor for check in checks], rank=3),
        Shown("entries", entries, right=True, rank=4),
        Shown("skipped", skipped, right=True, rank=5),
        Shown("verdict", [check.verdict for check in checks], rank=1),
    ]
    return fitting_table(columns, stdout_console().width, ["" if check.passed else "red" for check in checks])


def tensor_table(check: Check) -> Table:
    """One row for each tensor of one network."""
    found = check.tensors
    columns = [
        Shown("tensor", [tensor.tensor for tensor in found]),
        Shown("relative error", [f"{tensor.error:.1e}" for tensor in found], right=True, rank=1),
        Shown("entries", [str(tensor.compared) for tensor in found], right=True, rank=2),
        Shown("skipped", [str(tensor.skipped) for tensor in found], right=True, rank=3),
        Shown("verdict", [tensor.verdict for tensor in found]),
    ]
    styles = ["red" if tensor.verdict == "failed" else "" for tensor in found]
    return fitting_table(columns, stdout_console().width, styles)


def conclusion(checks: Sequence[Check]) -> str:
    """The overall verdict."""
    worst = max(checks, key=lambda check: check.worst.error)
    verdict = "passed" if all(check.passed for check in checks) else "FAILED"
    text = f"{verdict}: worst of {len(checks)} is {worst.subject}, {describe(worst.worst)} (bound {TOLERANCE:.0e})"
    return text if len(checks) == 1 else f"{text}\n{loops_text()}"


def loops_text() -> str:
    """Whether there were compiled loops to compare."""
    if kernels.PRESENT:
        return "compiled loops: compared with their NumPy form, which must agree to the last bit (family kernel)"
    return "compiled loops: not installed, or turned off; NumPy is used"


def describe(tensor: TensorCheck) -> str:
    """The worst entry of a tensor."""
    text = f"relative error {tensor.error:.2e} in {tensor.tensor}"
    if tensor.worst is None:
        return text
    index = f"[{', '.join(map(str, tensor.worst.index))}]" if tensor.worst.index else ""
    return f"{text}{index}: analytic {tensor.worst.analytic:.9g}, numeric {tensor.worst.numeric:.9g}"


def document(checks: Sequence[Check]) -> dict[str, Any]:
    """The checks as JSON."""
    worst = max(checks, key=lambda check: (not check.passed, check.worst.error))
    return {
        "passed": all(check.passed for check in checks),
        "compiled_loops": kernels.PRESENT,
        "worst": one(worst),
        "checks": [one(check) for check in checks],
    }


def one(check: Check) -> dict[str, Any]:
    """One check as JSON; an error that is not finite is null."""
    tensors = [
        {
            "tensor": tensor.tensor,
            "error": tensor.error if np.isfinite(tensor.error) else None,
            "verdict": tensor.verdict,
            "entries": tensor.compared,
            "skipped": tensor.skipped,
        }
        for tensor in check.tensors
    ]
    worst = check.worst
    entry = worst.worst
    return {
        "family": check.family,
        "component": check.subject,
        "passed": check.passed,
        "verdict": check.verdict,
        "error": worst.error if np.isfinite(worst.error) else None,
        "worst_tensor": worst.tensor,
        "worst_entry": None
        if entry is None
        else {"index": list(entry.index), "analytic": entry.analytic, "numeric": entry.numeric},
        "tensors": tensors,
    }
