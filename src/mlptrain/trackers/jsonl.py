"""How are the events of a run written to a file, a line of JSON for each?"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from mlptrain.errors import Diverged
from mlptrain.runs.durable import write_durably
from mlptrain.runs.history import open_to_append
from mlptrain.trackers.base import Outcome, Subject, Tracker
from mlptrain.training.events import EpochDone, Record, TrainingDone

FILE = "events.jsonl"


class JsonLinesTracker(Tracker):
    """Writes events.jsonl in the folder of the run: begin, epoch, done or diverged, results, end.

    Each line has a `time` in seconds since 1970. When a run is resumed, the epochs that come again are removed, and
    what was said of its end.
    """

    def __init__(self, subject: Subject) -> None:
        path = subject.folder / FILE
        old = path.read_text(encoding="utf8").splitlines(keepends=True) if path.is_file() else []
        kept = [line for line in old if line.endswith("\n") and stays(line, len(subject.history))]
        write_durably(path, "".join(kept).encode())
        self._file = open_to_append(path)
        self._known = sum(event_of(line) == "epoch" for line in kept)
        if not kept:
            self._write("begin", {"name": subject.name, "settings": subject.settings})
        if subject.history:
            self._write("resumed", {"epoch": len(subject.history)})

    @property
    def known(self) -> int:
        return self._known

    def earlier(self, record: Record) -> None:
        self._write("epoch", record)

    def epoch(self, event: EpochDone) -> None:
        diagnoses = [diagnosed.model_dump(mode="json") for diagnosed in event.diagnoses]
        self._write("epoch", {**event.record, "improved": event.improved, "diagnoses": diagnoses})

    def done(self, event: TrainingDone) -> None:
        self._write("done", {"reason": event.reason})

    def failed(self, error: Diverged) -> None:
        self._write("diverged", {"message": str(error)})

    def results(self, summary: Mapping[str, Any]) -> None:
        self._write("results", summary)

    def end(self, outcome: Outcome) -> None:
        self._write("end", {"outcome": outcome})

    def close(self) -> None:
        self._file.close()

    def _write(self, event: str, content: Mapping[str, Any]) -> None:
        document = {"event": event, "time": round(time.time(), 3), **content}
        self._file.write(json.dumps(document, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()


def event_of(line: str) -> str:
    """The kind of event that a sound line tells of."""
    return str(json.loads(line)["event"])


def stays(line: str, epochs: int) -> bool:
    """Whether a line of an earlier process is still true of a run that goes on after so many epochs."""
    try:
        event = json.loads(line)
        return event["event"] in ("begin", "resumed") or (event["event"] == "epoch" and event["epoch"] < epochs)
    except (ValueError, TypeError, KeyError):
        return False
