"""How is a file of format 1 brought to today's format?

Its header held the experiment as it was written and, beside it, the transforms and the number of threads; some
settings had other names. The model in such a file is read for ever. A run of that time cannot go on to the numbers it
would have had, since schedules and dropout masks came from other rules: resume refuses it, and what serves only to go
on is left out here.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mlptrain.data.tables import composed
from mlptrain.errors import CheckpointError

Tensors = dict[str, NDArray[Any]]
Values = dict[str, Any]


def model_of(header: Values, tensors: Tensors, origin: str) -> tuple[Values, Tensors]:
    """The header and the tensors of the model in a file of format 1; of a checkpoint, those of the best epoch."""
    try:
        plan = upgraded_experiment(header["experiment"])
        plan |= {"transforms": upgraded_transforms(header["transforms"]), "threads": header["environment"]["threads"]}
        kept = {"fingerprint": header["fingerprint"], "environment": header["environment"]}
        best = header["content"] == "checkpoint"
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{origin}: its metadata cannot be used: {error!r} in format 1") from error
    if best:
        tensors = {name.removeprefix("best."): array for name, array in tensors.items() if name.startswith("best.")}
    return {"format": 2, "content": "model", "plan": plan, **kept}, tensors


RENAMED: dict[str, dict[str, str]] = {
    "schedule": {"every": "step_size", "rise": "pct_start", "growth": "t_mult"},
    "training": {"averaging": "ema"},
}
"""By section: today's name of each key of old."""


def upgraded_experiment(experiment: Values) -> Values:
    """An experiment in today's keys."""
    renamed = {
        section: {names.get(key, key): value for key, value in experiment[section].items()}
        for section, names in RENAMED.items()
    }
    return experiment | renamed


def upgraded_transforms(transforms: Values) -> Values:
    """Fitted transforms in today's form."""
    return {
        "encoders": [encoder_of(feature) for feature in transforms["features"]],
        "task": task_of(transforms["target"]),
        "missing_values": transforms["missing_values"],
        "sample_weight": transforms["sample_weight"],
    }


def encoder_of(feature: Values) -> Values:
    """What was learned of a feature column."""
    kinds = {"numeric": "number", "categorical": "category", "pixels": "pixels"}
    values = {key: value for key, value in feature.items() if key not in ("role", "name", "offset", "scale")}
    if feature["role"] == "pixels":
        values |= {"scaler": {"kind": "standard"}, "fitted": [[feature["offset"]], [feature["scale"]]]}
    return {"kind": kinds[feature["role"]], "column": composed(feature["name"]), **values}


def task_of(target: Values) -> Values:
    """What was learned of the target."""
    kinds = {"classes": "classification", "binary": "multilabel", "values": "regression"}
    values = {key: value for key, value in target.items() if key not in ("role", "names")}
    return {"kind": kinds[target["role"]], "columns": [composed(name) for name in target["names"]], **values}
