"""mlptrain explain: one training step with all its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import RenderableType
from rich.text import Text

from mlptrain.cli.console import print_results
from mlptrain.explain import explain
from mlptrain.nn.layers import Stage
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare


def run(config: Path, overrides: Sequence[str], step: int, rows: int) -> None:
    """Run the command."""
    plan, dataset = prepare(load_experiment(config, overrides), config.stem)
    parts: list[RenderableType] = [Text(f"Training step {step} of {config}", "bold")]
    for stage in explain(plan, dataset, step):
        parts += shown(stage, rows)
    print_results(*parts)


def shown(stage: Stage, rows: int) -> list[RenderableType]:
    """One stage: its heading, its formula with the shape, and the first and last rows and columns of its value."""
    parts: list[RenderableType] = ["", Text(stage.title, "bold")] if stage.title else []
    if isinstance(stage.value, float):
        return [*parts, Text(f"{stage.formula} = {stage.value:.8g}")]
    shape = " x ".join(map(str, stage.value.shape))
    text = np.array2string(
        np.asarray(stage.value, dtype=np.float64),
        precision=5,
        suppress_small=True,
        max_line_width=100,
        threshold=0,
        edgeitems=rows,
    )
    return [*parts, Text.assemble((stage.formula, "cyan"), f"   ({shape})"), Text("  " + text.replace("\n", "\n  "))]
