"""How are the metrics of each epoch written to files?

metrics.csv depends only on the experiment: the same bytes on every run. Times go to timings.csv.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from mlptrain.errors import CheckpointError, EnvironmentFault
from mlptrain.runs.durable import write_durably
from mlptrain.system import flush_file
from mlptrain.training.events import Consumer, EpochDone, TrainingDone

COUNTS = frozenset({"epoch", "step"})
TIMING_COLUMNS = ("epoch", "seconds", "rows_per_second")
Columns = dict[str, list[float | None]]
"""A history by column; None is an empty cell."""


def line(names: Sequence[str], values: Sequence[float | None]) -> str:
    """One row of a CSV; numbers are exact, an undefined value is an empty cell."""
    return ",".join(cell(name, value) for name, value in zip(names, values, strict=True)) + "\n"


def cell(name: str, value: float | None) -> str:
    """One value of a CSV."""
    if value is None:
        return ""
    return str(int(value)) if name in COUNTS else repr(float(value))


def history_bytes(columns: Sequence[str], rows: Sequence[Sequence[float | None]]) -> bytes:
    """The content of metrics.csv."""
    return "".join([",".join(columns) + "\n", *(line(columns, row) for row in rows)]).encode()


class History(Consumer):
    """Writes the metrics.csv and timings.csv of a run, a line after each epoch."""

    def __init__(
        self, folder: Path, columns: Sequence[str], rows: Sequence[Sequence[float | None]], training_rows: int
    ) -> None:
        """Start with `rows`; other rows in the files are later than the checkpoint and are removed."""
        self._columns, self._training_rows = columns, training_rows
        metrics, timings = folder / "metrics.csv", folder / "timings.csv"
        write_durably(metrics, history_bytes(columns, rows))
        write_durably(timings, "".join(kept_timings(timings, len(rows))).encode())
        self._metrics = open_to_append(metrics)
        try:
            self._timings = open_to_append(timings)
        except EnvironmentFault:
            self._metrics.close()
            raise
        self._began = time.monotonic()

    def epoch(self, event: EpochDone) -> None:
        """Write the metrics of the epoch and its time."""
        row = list(event.record.values())
        seconds = max(time.monotonic() - self._began, 1e-9)
        append(self._metrics, line(self._columns, row))
        append(self._timings, f"{int(row[0] or 0)},{seconds:.6f},{self._training_rows / seconds:.0f}\n")
        self._began = time.monotonic()

    def done(self, event: TrainingDone) -> None:
        """Flush both files to the disk."""
        for file in (self._metrics, self._timings):
            try:
                flush_file(file.fileno())
            except OSError as error:
                raise EnvironmentFault(f"{file.name}: cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close both files."""
        for file in (self._metrics, self._timings):
            with contextlib.suppress(OSError):  # every line was flushed, and failures reported, when it was written
                file.close()


def open_to_append(path: Path) -> IO[str]:
    """The file at `path`, opened to append lines that end in LF on every platform."""
    try:
        return path.open("a", encoding="utf8", newline="")
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror}") from error


def append(file: IO[str], text: str) -> None:
    """Write a line, at once."""
    try:
        file.write(text)
        file.flush()
    except OSError as error:
        raise EnvironmentFault(f"{file.name}: cannot be written: {error.strerror}") from error


def kept_timings(path: Path, epochs: int) -> list[str]:
    """The header and the timings of the first `epochs` epochs, as far as the file has them; none of a damaged file."""
    header = ",".join(TIMING_COLUMNS) + "\n"
    try:
        lines = path.read_text(encoding="utf8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError):
        lines = []
    return [header, *(line for line in lines[1 : epochs + 1] if line.endswith("\n"))]


def read_history(folder: Path) -> Columns:
    """The metrics.csv of a run by column."""
    return read_columns(folder / "metrics.csv")


def read_timings(folder: Path) -> Columns:
    """The timings.csv of a run by column."""
    return read_columns(folder / "timings.csv")


def read_columns(path: Path) -> Columns:
    """A file with a line for each epoch by column; a last line that was not written to its end is left out."""
    try:
        head, *lines = path.read_text(encoding="utf8").splitlines(keepends=True)
        names = head.rstrip("\n").split(",")
        if names[0] != "epoch":
            raise ValueError("it has no column of epochs")
        rows = [line.rstrip("\n").split(",") for line in lines if line.endswith("\n")]
        values = [[float(cell) if cell else None for cell in row] for row in rows]
        return {name: [row[i] for row in values] for i, name in enumerate(names)}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file: this run has no history yet") from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"{path}: is damaged: it is not a table of numbers with one line for each epoch"
        ) from error
