"""What is in the folder of a run, and in a file of tensors?"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mlptrain.errors import CheckpointError
from mlptrain.runs.checkpoint import Header, decode, header_of, read_file, safetensors_metadata
from mlptrain.runs.directory import RunFolder

ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
ITEM_BYTES |= {"U16": 2, "U32": 4, "U64": 8}


@dataclass(frozen=True)
class TensorFacts:
    """One tensor of a safetensors file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str
    """Of its bytes."""


@dataclass(frozen=True)
class FileFacts:
    """A safetensors file."""

    tensors: tuple[TensorFacts, ...]
    header: Header | None
    """What mlptrain wrote into it; None for a file of another program."""
    metadata: dict[str, Any]
    """What another program wrote into it."""


def file_facts(path: Path) -> FileFacts:
    """The content of the safetensors file at `path`; a file of mlptrain is checked against its digest."""
    raw = read_file(path)
    metadata = safetensors_metadata(raw)
    if raw[8:9] != b"{":
        decode(raw, str(path))  # which says what the file is
    header = header_of(raw, str(path))
    return FileFacts(tuple(tensors_in(raw, str(path))), header, {} if header else metadata or {})


def tensors_in(raw: bytes, path: str) -> list[TensorFacts]:
    """The tensors of a safetensors file, in the order of the file."""
    try:
        length = int.from_bytes(raw[:8], "little")
        entries = {name: value for name, value in json.loads(raw[8 : 8 + length]).items() if name != "__metadata__"}
        found = [tensor_at(raw[8 + length :], name, entry) for name, entry in entries.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not a safetensors file, or is damaged: {error}") from error
    return [facts for _, facts in sorted(found, key=lambda pair: pair[0])]


def tensor_at(content: bytes, name: str, entry: dict[str, Any]) -> tuple[int, TensorFacts]:
    """Where a tensor begins, and its facts; a `ValueError` if it is not there as a whole."""
    start, stop = entry["data_offsets"]
    shape = tuple(int(size) for size in entry["shape"])
    size = prod(shape) * ITEM_BYTES.get(entry["dtype"], 0)
    if not 0 <= start <= stop <= len(content) or (size and size != stop - start):
        raise ValueError(f"tensor {name} is not complete")
    return start, TensorFacts(name, str(entry["dtype"]), shape, hashlib.sha256(content[start:stop]).hexdigest())


@dataclass(frozen=True)
class RunFacts:
    """The folder of a run."""

    state: str
    """`finished`, `diverged`, `unfinished` or `not started`."""
    about: str
    """The state in a sentence."""
    summary: dict[str, Any]
    """The content of summary.json; empty if there is none."""
    files: dict[str, int]
    """The bytes of each file by its name."""


def run_facts(path: Path) -> RunFacts:
    """The state and the results of the run in the folder at `path`."""
    folder = RunFolder.open(path)
    files = {each.name: each.stat().st_size for each in sorted(path.iterdir()) if is_shown(each)}
    summary = summary_of(folder)
    state, about = state_of(folder, summary)
    return RunFacts(state, about, summary, files)


def known_state(path: Path) -> tuple[str, str] | None:
    """The state of the run at `path` in a word and in a sentence; None for a file, or without a checkpoint."""
    folder = RunFolder(path)
    if not folder.checkpoint.exists():
        return None
    try:
        return state_of(folder, summary_of(folder))
    except CheckpointError as error:
        return "damaged", str(error)


def is_shown(path: Path) -> bool:
    """Whether a file of a run's folder is not one of those that only lock it."""
    return path.is_file() and not path.name.startswith(".")


def summary_of(folder: RunFolder) -> dict[str, Any]:
    """The content of summary.json; empty if there is none."""
    if not folder.summary.exists():
        return {}
    try:
        found = json.loads(folder.summary.read_text(encoding="utf8"))
        if isinstance(found, dict):
            return found
        raise ValueError("it is no mapping")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder.summary}: is damaged: {error}") from error


def state_of(folder: RunFolder, summary: dict[str, Any]) -> tuple[str, str]:
    """The state of a run in a word and in a sentence."""
    resume = f"continue with: mlptrain fit --resume {shlex.quote(str(folder.path))}"
    if summary.get("stopped") == "diverged":
        return "diverged", f"training diverged in epoch {summary.get('epochs')}, step {summary.get('steps')}"
    if summary and folder.model.exists():
        best = summary.get("best_epoch")
        kept = "" if best is None else f"; the weights of epoch {best} were the best"
        why = "by early stopping" if summary.get("stopped") == "early_stopping" else "as planned"
        return "finished", f"finished {why} after {summary.get('epochs')} epochs{kept}"
    if not folder.checkpoint.exists():
        return "not started", f"nothing is trained yet; {resume}"
    progress = decode(read_file(folder.checkpoint), str(folder.checkpoint))[0].progress
    where = "" if progress is None else f", stopped in epoch {progress.epoch} at step {progress.step}"
    return "unfinished", f"unfinished{where}; {resume}"
