"""How is a file of format 1 converted to the current format?

Its header has the experiment, the transforms and the number of threads separately, and some settings have other names.
The model in such a file can always be read. A run in format 1 cannot be resumed exactly, since schedules and dropout
masks followed other rules: resume refuses it, and what only resuming needs is not converted.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from mlptrain.data.tables import composed
from mlptrain.errors import CheckpointError

Tensors = dict[str, NDArray[Any]]
Values = dict[str, Any]


def model_of(header: Values, tensors: Tensors, path: str) -> tuple[Values, Tensors]:
    """The header and the tensors of the model in a file of format 1; for a checkpoint, those of the best epoch."""
    try:
        plan = upgraded_experiment(header["experiment"])
        plan |= {"transforms": upgraded_transforms(header["transforms"]), "threads": header["environment"]["threads"]}
        kept = {"fingerprint": header["fingerprint"], "environment": header["environment"]}
        best = header["content"] == "checkpoint"
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be used: {error!r} in format 1") from error
    if best:
        tensors = {name.removeprefix("best."): array for name, array in tensors.items() if name.startswith("best.")}
    return {"format": 2, "content": "model", "plan": plan, **kept}, tensors


RENAMED: dict[str, dict[str, str]] = {
    "schedule": {"every": "step_size", "rise": "pct_start", "growth": "t_mult"},
    "training": {"averaging": "ema"},
}
"""The current name of each renamed key, by section."""


def upgraded_experiment(experiment: Values) -> Values:
    """An experiment with the current keys."""
    renamed = {
        section: {names.get(key, key): value for key, value in experiment[section].items()}
        for section, names in RENAMED.items()
    }
    return experiment | renamed | {"data": upgraded_data(experiment["data"])}


def upgraded_data(data: Values) -> Values:
    """A data section without the targets in `numeric.columns`, where they had no effect and are now refused."""
    targets = {composed(name) for name in data["target"] or ("label",)}
    numeric = data["numeric"]
    columns = [name for name in numeric["columns"] if composed(name) not in targets]
    return data | {"numeric": numeric | {"columns": columns}}


def upgraded_transforms(transforms: Values) -> Values:
    """Fitted transforms in the current form."""
    return {
        "encoders": [encoder_of(feature) for feature in transforms["features"]],
        "task": task_of(transforms["target"]),
        "missing_values": transforms["missing_values"],
        "sample_weight": transforms["sample_weight"],
    }


def encoder_of(feature: Values) -> Values:
    """The encoder of a feature column."""
    kinds = {"numeric": "number", "categorical": "category", "pixels": "pixels"}
    values = {key: value for key, value in feature.items() if key not in ("role", "name", "offset", "scale")}
    if feature["role"] == "pixels":
        values |= {"scaler": {"kind": "standard"}, "fitted": [[feature["offset"]], [feature["scale"]]]}
    return {"kind": kinds[feature["role"]], "column": composed(feature["name"]), **values}


def task_of(target: Values) -> Values:
    """The task of a target."""
    kinds = {"classes": "classification", "binary": "multilabel", "values": "regression"}
    values = {key: value for key, value in target.items() if key not in ("role", "names")}
    return {"kind": kinds[target["role"]], "columns": [composed(name) for name in target["names"]], **values}
