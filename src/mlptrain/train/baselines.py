"""Which simple models is the network compared with?

`constant` predicts the same for every row: the best constant on the training rows. `linear` is the network without
hidden layers, trained on the same loss by the same loop: Adam for a fixed number of steps, with a rate that falls to 0.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mlptrain.data.split import Split
from mlptrain.dataset import Dataset, Part
from mlptrain.errors import Diverged
from mlptrain.metrics import Metrics
from mlptrain.nn.initializers import Zeros
from mlptrain.nn.network import Network
from mlptrain.optim.optimizers import Adam
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Cosine
from mlptrain.spec.plan import Plan
from mlptrain.spec.sections import NetworkSpec, Training
from mlptrain.train.evaluation import part_scores
from mlptrain.train.events import feed
from mlptrain.train.loop import network_for, start, train

STEPS = 1000
BATCH = 256


def baselines(plan: Plan, network: Network, dataset: Dataset, part: Part) -> dict[str, Metrics | None]:
    """The metrics on `part` of a constant and a linear model, fitted on the training rows; None if one diverged."""
    return {"constant": constant(network, dataset, part), "linear": linear(plan, dataset, part)}


def constant(network: Network, dataset: Dataset, part: Part) -> Metrics:
    """The metrics of the best constant scores."""
    task = dataset.transforms.task
    best = task.constant(network.loss, dataset.training).astype(network.dtype)
    return task.measure(network.loss, np.tile(best, (len(part), 1)), part)


def linear(plan: Plan, dataset: Dataset, part: Part) -> Metrics | None:
    """The metrics of the linear model."""
    plan, dataset = linear_plan(plan, len(dataset.training)), dataclasses.replace(dataset, validation=None, test=None)
    network = network_for(plan)
    state = start(plan, network, dataset)
    try:
        feed(train(plan, network, state, dataset), consumers=())
    except Diverged:
        return None
    scores = part_scores(network, state.parameters, state.buffers, part)
    return dataset.transforms.task.measure(network.loss, scores, part)


def linear_plan(plan: Plan, rows: int) -> Plan:
    """The plan of the linear model for the data and the loss of `plan`."""
    data = plan.data.model_copy(update={"split": Split(validation=0, test=0), "validation_path": None})
    steps_per_epoch = -(-rows // BATCH)
    training = Training(
        epochs=max(1, round(STEPS / steps_per_epoch)),
        batch_size=BATCH,
        early_stopping=None,
        dtype=plan.training.dtype,
        baselines=False,
    )
    recipe = {
        "network": NetworkSpec(hidden=(), initializer=Zeros()),
        "optimizer": Adam(learning_rate=0.02),
        "schedule": Cosine(),
        "penalty": Penalty(),
        "training": training,
    }
    return plan.model_copy(update={"data": data, **recipe})
