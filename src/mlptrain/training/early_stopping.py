"""Which value selects the best epoch and stops training early?

The best weights are those of the best monitored value, however small the improvement; patience counts the epochs since
the last improvement of more than `min_delta`. `Progress.update_best` tracks both.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlptrain import metrics
from mlptrain.component import did_you_mean
from mlptrain.errors import SpecError
from mlptrain.spec.plan import Plan


def monitored(plan: Plan) -> str | None:
    """The column that selects the best epoch: the monitored one, or the validation loss; None keeps the last epoch."""
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
    hint = did_you_mean(monitor, choices, f"it computes {', '.join(choices)}")
    message = f"this run does not compute '{monitor}'; {hint}"
    raise SpecError([plan.problem(("training", "early_stopping", "monitor"), message)])
