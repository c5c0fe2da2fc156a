"""How is a run written for TensorBoard?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from mlptrain.trackers.base import Subject, Tracker, final_metrics, flattened
from mlptrain.training.events import EpochDone

FOLDER = "tensorboard"


class TensorBoardTracker(Tracker):
    """Writes event files with the package tensorboardX into the folder `tensorboard` of the run.

    `tensorboard --logdir runs` shows the curves of all runs, with their settings beside the results. When a run is
    resumed, TensorBoard is told to forget the epochs that come again.
    """

    package: ClassVar[str | None] = "tensorboardX"
    install: ClassVar[str] = 'pip install "mlptrain[tensorboard]"'

    def __init__(self, subject: Subject) -> None:
        from tensorboardX import SummaryWriter

        self._settings = flattened(subject.settings)
        folder = subject.folder / FOLDER
        earlier = len(list(folder.glob("events.*")))
        self._known = len(subject.history) if earlier else 0
        purge = {"purge_step": self._known} if earlier else {}
        # a file that began in the same second would have the same name, and be overwritten
        self._writer = SummaryWriter(str(folder), filename_suffix=f".{earlier}", **purge)

    @property
    def known(self) -> int:
        return self._known

    def epoch(self, event: EpochDone) -> None:
        epoch = int(event.record["epoch"] or 0)
        for name, value in event.record.items():
            if value is not None and name not in ("epoch", "step"):
                self._writer.add_scalar(tag(name), value, epoch)
        self._writer.flush()

    def results(self, summary: Mapping[str, Any]) -> None:
        settings = {name: value for name, value in self._settings.items() if value is not None}
        found = {f"final/{name}": value for name, value in final_metrics(summary).items()}
        self._writer.add_hparams(settings, found, name="results", global_step=summary["epochs"])

    def close(self) -> None:
        self._writer.close()


def tag(name: str) -> str:
    """The tag of a column of metrics.csv; TensorBoard groups the charts by what is before the slash.

    >>> [tag(name) for name in ("train_loss", "validation_loss", "validation_accuracy", "gradient_norm.layers.0")]
    ['loss/train', 'loss/validation', 'validation/accuracy', 'gradient_norm/layers.0']
    """
    if name in ("train_loss", "validation_loss"):
        return f"loss/{name.removesuffix('_loss')}"
    if name.startswith("validation_"):
        return f"validation/{name.removeprefix('validation_')}"
    if name.startswith("gradient_norm"):
        return f"gradient_norm/{name.removeprefix('gradient_norm').lstrip('.') or 'all'}"
    return f"training/{name}"
