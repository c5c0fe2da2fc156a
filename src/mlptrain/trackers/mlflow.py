"""How is a run logged to MLflow?"""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mlptrain.runs.durable import write_durably
from mlptrain.trackers.base import Outcome, Subject, Tracker, final_metrics, flattened
from mlptrain.training.events import EpochDone

FILE = "mlflow.json"
EXPERIMENT = "mlptrain"
_ARTIFACTS = ("spec.yaml", "summary.json", "metrics.csv", "model.safetensors")
_STATUS: dict[Outcome, str] = {
    "finished": "FINISHED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "interrupted": "KILLED",
}
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server that is gone must not hold up training for minutes; what the user sets is kept."""
_LONGEST, _AT_ONCE = 500, 100  # characters of a parameter, parameters of a call, for every version of MLflow


class MLflowTracker(Tracker):
    """Logs with the user's own package mlflow to where MLFLOW_TRACKING_URI says, by default mlflow.db.

    The settings are its parameters, the columns of metrics.csv its metrics by epoch; spec.yaml, summary.json,
    metrics.csv and the model its artifacts. The experiment is that of MLFLOW_EXPERIMENT_NAME, by default `mlptrain`.
    The folder of the run remembers the run of MLflow in mlflow.json: resuming goes on there, without the epochs that it
    knows.
    """

    package: ClassVar[str | None] = "mlflow"
    install: ClassVar[str] = "pip install mlflow"

    def __init__(self, subject: Subject) -> None:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with quiet():
            import mlflow

            self._client, self._folder = mlflow.MlflowClient(), subject.folder
            uri, stored = mlflow.get_tracking_uri(), stored_run(subject.folder)
            if stored.get("tracking_uri") == uri:
                self._run = stored["run_id"]
                self._client.update_run(self._run, status="RUNNING")
                self._known = self._last_epoch() + 1
            else:
                self._run, self._known = self._created(subject), 0
                document = {"tracking_uri": uri, "run_id": self._run}
                write_durably(subject.folder / FILE, f"{json.dumps(document, indent=2)}\n".encode())

    @property
    def known(self) -> int:
        return self._known

    def epoch(self, event: EpochDone) -> None:
        epoch = int(event.record["epoch"] or 0)
        if epoch >= self._known:
            self._log({name: value for name, value in event.record.items() if name != "epoch"}, epoch)

    def results(self, summary: Mapping[str, Any]) -> None:
        known = self._client.get_run(self._run).data.metrics
        found = {f"final_{name}": value for name, value in final_metrics(summary).items()}
        self._log({name: value for name, value in found.items() if known.get(name) != value}, summary["epochs"])
        with quiet():
            for name in _ARTIFACTS:
                self._client.log_artifact(self._run, str(self._folder / name))

    def end(self, outcome: Outcome) -> None:
        with quiet():
            self._client.set_terminated(self._run, _STATUS[outcome])

    def _created(self, subject: Subject) -> str:
        """A new run of MLflow with the settings as parameters."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        experiment = self._client.create_experiment(name) if found is None else found.experiment_id
        run = self._client.create_run(experiment, run_name=subject.name).info.run_id
        parameters = [Param(key, str(value)[:_LONGEST]) for key, value in flattened(subject.settings).items()]
        for start in range(0, len(parameters), _AT_ONCE):
            self._client.log_batch(run, params=parameters[start : start + _AT_ONCE])
        return str(run)

    def _log(self, values: Mapping[str, float | None], epoch: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with quiet():
            found = [Metric(name, value, now, epoch) for name, value in values.items() if value is not None]
            self._client.log_batch(self._run, metrics=found)

    def _last_epoch(self) -> int:
        """The last epoch that MLflow knows; it keeps what is logged twice."""
        return max((metric.step for metric in self._client.get_metric_history(self._run, "train_loss")), default=-1)


def stored_run(folder: Path) -> dict[str, str]:
    """What mlflow.json says; nothing if it is not there."""
    path = folder / FILE
    found = json.loads(path.read_text(encoding="utf8")) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """MLflow prints addresses and migrations; stdout is for results."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
