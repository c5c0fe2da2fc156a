"""What does a model expect of a row, and what does it answer?"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlptrain.data.encoders.base import Encoder
from mlptrain.runs.checkpoint import Model
from mlptrain.serving.answers import Answerer

MOST_LEVELS = 1000
"""Levels of a column that are listed."""


def schema(answerer: Answerer) -> dict[str, Any]:
    """The columns with kind, levels and range, and the columns of an answer, as JSON."""
    model = answerer.model
    return {
        "name": model.plan.name,
        "task": model.transforms.task.name(),
        "target": list(model.transforms.task.columns),
        "columns": [column(encoder) for encoder in model.transforms.encoders],
        "outputs": [{"name": name, "kind": kind} for name, kind in output_kinds(model, answerer.outputs).items()],
    }


def column(encoder: Encoder) -> dict[str, Any]:
    """What a column may hold; what is not known of its kind is left out."""
    domain = encoder.domain()
    found: dict[str, Any] = {"name": encoder.column, "kind": encoder.name(), "form": domain.form}
    found |= {"written": domain.written} if domain.written else {}
    found |= {"levels": list(domain.levels[:MOST_LEVELS])} if domain.levels else {}
    found |= {"more_levels": len(domain.levels) - MOST_LEVELS} if len(domain.levels) > MOST_LEVELS else {}
    found |= {"low": domain.low, "high": domain.high} if domain.low is not None else {}
    found |= {"typical": domain.typical} if domain.typical is not None else {}
    found |= {"width": domain.width} if domain.width > 1 else {}
    return found | {"missing": domain.missing}


def output_kinds(model: Model, names: list[str]) -> dict[str, str]:
    """Each output column: a label, a probability, a value, or a spread."""
    task, loss = model.transforms.task, model.network.loss
    columns = task.decode(loss, np.zeros((1, model.network.outputs), model.network.dtype))
    number = "value" if task.form == "values" else "probability"
    kinds = {name: number if values.dtype.kind == "f" else "label" for name, values in columns.items()}
    return {name: kinds.get(name, "spread") for name in names}
