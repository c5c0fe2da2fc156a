"""Does a network predict better on the logarithm of the target? Two small networks and their validation rows tell.

What moves a price often multiplies it, and a network then learns the logarithm with less effort; what moves a
temperature adds. The skewness of the target does not tell which it is, and neither does a linear model, so one network
is trained on each scale, both from the same seed on the same rows, and their errors are compared row by row.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.data.scalers import Log, Scaler, Standard
from mlptrain.dataset import Dataset
from mlptrain.errors import DataError, Diverged, UsageError
from mlptrain.nn.threads import blas_threads
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import Plan, prepare
from mlptrain.spec.sections import Ensemble
from mlptrain.training.evaluation import part_scores
from mlptrain.training.loop import network_for, start, train

HELD_OUT = 0.25
"""The share of the rows that compares the two networks, if the spec does not name validation rows."""
LOWER = 0.97
"""The logarithm must lower the root mean squared error to this share, or to less."""
CERTAIN = 1.0
"""And the mean difference of the squared errors must be this many times its standard error."""


class Comparison(NamedTuple):
    """The squared errors of the validation rows on both scales, in the units of the target."""

    standard: NDArray[np.float64]
    log: NDArray[np.float64]

    @property
    def ratio(self) -> float:
        """The root mean squared error with the logarithm, divided by that without."""
        return math.sqrt(self.log.mean() / self.standard.mean()) if self.standard.any() else 1.0

    @property
    def prefers_log(self) -> bool:
        """Whether the logarithm is better by more than chance."""
        gain = self.standard - self.log
        error = gain.std(ddof=1) / math.sqrt(len(gain)) if len(gain) > 1 else math.inf
        return bool(self.ratio <= LOWER and gain.mean() > CERTAIN * error)


def choose_target_scale(experiment: Experiment, name: str) -> Experiment:
    """`experiment`, which has the settings of its preset, with the scale of the target: standard or log."""
    compared = compare(experiment, name)
    scale = Log() if compared is not None and compared.prefers_log else Standard()
    return experiment.model_copy(update={"data": experiment.data.model_copy(update={"scale_target": scale})})


def compare(experiment: Experiment, name: str) -> Comparison | None:
    """Train a network on each scale; None where there is nothing to compare.

    That is a target with values below 0, or that the logarithm does not make more symmetric, or a network that fails:
    what is wrong with it is told by the training to come.
    """
    try:
        plan, dataset = prepare(trial_of(experiment, Standard()), name)
        if not worth_trying(dataset.training.truth()):
            return None
        standard = squared_errors(plan, dataset)
        return Comparison(standard, squared_errors(*prepare(trial_of(experiment, Log()), name)))
    except (DataError, Diverged, UsageError):
        return None


def trial_of(experiment: Experiment, scale: Scaler) -> Experiment:
    """`experiment` with one network, on this scale of the target, and with validation rows."""
    data, split = experiment.data, experiment.data.split
    if data.validation_path is None and (experiment.ensemble.folds or not split.validation):
        split = split.model_copy(update={"validation": HELD_OUT, "folds": None, "repeats": 1})
    data = data.model_copy(update={"scale_target": scale, "split": split, "choose_target_scale": False})
    alone = Ensemble(members=1, rows="shared", blend=False)
    return experiment.model_copy(update={"data": data, "ensemble": alone})


def worth_trying(truth: NDArray[Any]) -> bool:
    """Whether all values are 0 or more, and the logarithm makes them less skewed."""
    if (truth.ndim > 1 and truth.shape[1] > 1) or (truth < 0).any():
        return False
    values = np.asarray(truth, np.float64).reshape(-1, 1)
    return skewness(values) > 0 and abs(skewness(Log().apply(values, Log().fit(values)))) < skewness(values)


def skewness(values: NDArray[np.float64]) -> float:
    """The third standardized moment, E ((x - mean) / std)^3; 0 for a constant."""
    deviation = values - values.mean()
    spread = values.std()
    return float(np.mean(deviation**3) / spread**3) if spread else 0.0


@np.errstate(all="ignore")  # an overflow ends in a loss that is not finite, which is checked
def squared_errors(plan: Plan, dataset: Dataset) -> NDArray[np.float64]:
    """The squared errors of the validation rows by a network that is trained for this alone."""
    network, part = network_for(plan), dataset.validation
    if part is None:
        raise Diverged("there is no validation row")
    with blas_threads(plan.blas_threads):
        state = start(plan, network, dataset)
        for _ in train(plan, network, state, dataset):
            pass
        scores = part_scores(network, state.best_parameters, state.best_buffers, part)
    outcome = plan.transforms.task.outcome(plan.loss, scores, part.truth())
    return np.asarray((outcome.truth - outcome.predicted).reshape(len(part)) ** 2)
