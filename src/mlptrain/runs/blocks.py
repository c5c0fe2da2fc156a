"""How is the history of a long run kept, so that a save costs what changed since the last one?

A checkpoint holds the rows of the last epochs. Every thousand earlier ones are a block in history.bin, which is written
once; the checkpoint has the sha256 of each. A file that is lost or damaged is made again from metrics.csv, which has
the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlptrain.errors import CheckpointError, EnvironmentFault
from mlptrain.runs.history import read_history
from mlptrain.system import flush_file
from mlptrain.training.state import BLOCK, Records

FILE = "history.bin"
Rows = NDArray[np.float64]
"""(epochs, columns), NaN where there is no value."""


def keep_blocks(folder: Path, history: Records, kept: int) -> int:
    """Write the blocks of `history` after the first `kept` ones; returns how many there are now."""
    blocks = len(history.digests())
    if blocks == kept:
        return kept
    rows = history.array[: blocks * BLOCK]
    path, start = folder / FILE, kept * BLOCK
    try:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(rows[:start].nbytes)
            file.write(np.ascontiguousarray(rows[start:]).data)
            file.truncate()
            file.flush()
            flush_file(file.fileno())
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written: {error.strerror}") from error
    return blocks


def are_kept(folder: Path, history: Records) -> bool:
    """Whether history.bin has all blocks of `history`."""
    digests = history.digests()
    if not digests:
        return True
    rows = from_file(folder, (len(digests) * BLOCK, history.array.shape[1]))
    return rows is not None and Records(rows).digests() == digests


def read_blocks(folder: Path, digests: Sequence[str], columns: Sequence[str]) -> Rows:
    """The rows of the blocks with these digests, from history.bin or else from metrics.csv."""
    shape = len(digests) * BLOCK, len(columns)
    if not digests:
        return np.empty(shape)
    for rows in (from_file(folder, shape), from_metrics(folder, shape, columns)):
        if rows is not None and Records(rows).digests() == tuple(digests):
            return rows
    raise CheckpointError(
        f"{folder / FILE}: is lost or damaged, and so is metrics.csv, which had the same rows; start a new run"
    )


def from_file(folder: Path, shape: tuple[int, int]) -> Rows | None:
    """The rows in history.bin; None if there are not so many."""
    path, size = folder / FILE, shape[0] * shape[1] * 8
    try:
        if not path.is_file() or path.stat().st_size < size:
            return None
        with path.open("rb") as file:
            raw = file.read(size)
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error
    return np.frombuffer(raw).reshape(shape) if len(raw) == size else None


def from_metrics(folder: Path, shape: tuple[int, int], columns: Sequence[str]) -> Rows | None:
    """The first rows of metrics.csv; None if there are not so many."""
    try:
        found = read_history(folder)
    except (CheckpointError, EnvironmentFault):
        return None
    if list(found) != list(columns) or len(found["epoch"]) < shape[0]:
        return None
    values = ([np.nan if one is None else one for one in found[name][: shape[0]]] for name in columns)
    return np.column_stack([np.array(column) for column in values])
