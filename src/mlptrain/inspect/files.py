"""What is in the folder of a run, and in a file of tensors?"""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from mlptrain.errors import CheckpointError, EnvironmentFault
from mlptrain.runs.checkpoint import Header, decode, header_of, read_file, safetensors_metadata
from mlptrain.runs.directory import RunFolder

ITEM_BITS = {"C64": 64, "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "BOOL": 8, "F4": 4}
ITEM_BITS |= {f"{sign}{bits}": bits for sign in "IU" for bits in (8, 16, 32, 64)}
ITEM_BITS |= {f"F{form}": int(form[0]) for form in ("6_E2M3", "6_E3M2", "8_E4M3", "8_E5M2", "8_E8M0")}
"""The dtypes of safetensors."""


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
    """The tensors of a safetensors file, in the order of the file: one after another, without holes."""
    length = int.from_bytes(raw[:8], "little")
    content, found, end = memoryview(raw)[8 + length :], list[TensorFacts](), 0
    try:
        if length > len(raw) - 8:
            raise ValueError(f"its header of {length} bytes is longer than the file")
        entries = {name: value for name, value in json.loads(raw[8 : 8 + length]).items() if name != "__metadata__"}
        for name, entry in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            facts, end = tensor_at(content, end, name, entry)
            found.append(facts)
        if end != len(content):
            raise ValueError(f"it has {len(content)} bytes of tensors, of which {end} are named")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: is not a safetensors file, or is damaged: {error}") from error
    return found


def tensor_at(content: memoryview, begin: int, name: str, entry: dict[str, Any]) -> tuple[TensorFacts, int]:
    """The facts of the tensor that begins there, and where it ends; a `ValueError` if it is not there as a whole."""
    start, stop = entry["data_offsets"]
    shape, dtype = tuple(int(size) for size in entry["shape"]), str(entry["dtype"])
    if dtype not in ITEM_BITS:
        raise ValueError(f"tensor {name} has the unknown dtype '{dtype[:20]}'")
    bits = prod(shape) * ITEM_BITS[dtype]
    if start != begin or stop > len(content) or min(shape, default=0) < 0 or bits != 8 * (stop - start):
        raise ValueError(f"tensor {name} is not complete")
    return TensorFacts(name, dtype, shape, hashlib.sha256(content[start:stop]).hexdigest()), stop


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
    except OSError as error:
        raise EnvironmentFault(f"{folder.summary}: cannot be read: {error.strerror}") from error
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
