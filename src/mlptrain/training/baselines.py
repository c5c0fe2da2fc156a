"""Which simple models is the network compared with?

`constant` predicts the same for every row: the best constant on the training rows. `linear` is the best linear model on
them (`training/linear.py`), with a threshold of its own where one is chosen (`training/decision.py`). With folds, each
member's rows are predicted by the model fitted without them.
"""

from __future__ import annotations

import numpy as np

from mlptrain.dataset import Dataset, Fold, Part
from mlptrain.metrics import Metrics
from mlptrain.nn.network import Network
from mlptrain.spec.plan import Plan
from mlptrain.training.decision import decided
from mlptrain.training.evaluation import held_out
from mlptrain.training.linear import LinearModels


def baselines(
    plan: Plan, network: Network, dataset: Dataset, part: Part, linear: LinearModels
) -> dict[str, Metrics | None]:
    """The metrics on `part` of a constant and a linear model, fitted on the training rows; None if not finite."""
    task = dataset.transforms.task
    if plan.decision.metric is not None and dataset.validation is not None:
        task = decided(task, plan, dataset, linear.baseline_scores(dataset.validation))
    measured = task.measure(network.loss, linear.baseline_scores(part), part)
    return {"constant": constant(network, dataset, part), "linear": None if measured["loss"] is None else measured}


def constant(network: Network, dataset: Dataset, part: Part) -> Metrics:
    """The metrics of the best constant scores."""
    task = dataset.transforms.task
    in_folds = part is dataset.validation and dataset.folds
    folds = dataset.folds if in_folds else (Fold(dataset.training, part),)
    best = [(task.constant(network.loss, fold.training), len(held_out(fold))) for fold in folds]
    scores = np.concatenate([np.tile(scores.astype(network.dtype), (rows, 1)) for scores, rows in best])
    return task.measure(network.loss, scores, part)
