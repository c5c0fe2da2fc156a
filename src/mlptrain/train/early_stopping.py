"""Which epoch is the best, and when is it time to stop waiting for a better one?

Two questions with two memories: the best weights are those of the lowest monitored value, however small the gain; the
patience runs since the last gain of more than `min_delta`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlptrain import metrics
from mlptrain.component import nearest
from mlptrain.errors import SpecError
from mlptrain.spec.experiment import EarlyStopping
from mlptrain.spec.plan import Plan
from mlptrain.train.state import Progress


def monitored(plan: Plan) -> str | None:
    """The column that chooses the best epoch: what is watched, or the validation loss; None keeps the last."""
    stopping = plan.training.early_stopping
    if stopping is not None:
        return stopping.monitor
    return "validation_loss" if plan.validates else None


def higher_is_better(monitor: str) -> bool:
    """Whether a larger value of the monitored column is an improvement."""
    return metrics.higher_is_better(monitor.removeprefix("validation_"))


def check_monitor(plan: Plan, columns: Sequence[str]) -> None:
    """Refuse a monitor that the run does not compute."""
    monitor = monitored(plan)
    choices = [name for name in columns if name == "train_loss" or name.startswith("validation_")]
    if monitor is None or monitor in choices:
        return
    guess = nearest(monitor, choices)
    hint = f"did you mean '{guess}'? " if guess else ""
    message = f"this run does not compute '{monitor}'; {hint}it computes {', '.join(choices)}"
    raise SpecError([plan.problem(("training", "early_stopping", "monitor"), message)])


def judge(progress: Progress, epoch: int, value: float | None, higher: bool, stopping: EarlyStopping | None) -> bool:
    """Take in the monitored `value` of `epoch`; say whether it is the best so far. None is no improvement."""
    improved, waited_for = False, False
    if value is not None:
        cost = -value if higher else value
        improved = progress.best_cost is None or cost < progress.best_cost
        waited_for = progress.patience_cost is None or cost < progress.patience_cost - (
            stopping.min_delta if stopping else 0
        )
        if improved:
            progress.best_cost, progress.best_epoch = cost, epoch
        if waited_for:
            progress.patience_cost = cost
    progress.wait = 0 if waited_for else progress.wait + 1
    return improved


def patience_is_over(progress: Progress, stopping: EarlyStopping | None) -> bool:
    """Whether there was no improvement for `patience` epochs."""
    return stopping is not None and progress.wait >= stopping.patience
