"""How are a model and the state of a run saved to a file, and verified when it is read?

Both files are safetensors: tensors by name, and one metadata entry of canonical JSON with the plan (the experiment with
every choice made, and the fitted transforms) and, in a checkpoint, the counters and the names of the columns of the
history. A sha256 covers the metadata and every tensor. Reading loads the bytes once, checks the digest, and requires
that names, dtypes and shapes are exactly those of the network that the plan describes. Nothing in a file is executed,
imported or opened.

    model.safetensors        layers.*  linear.layers.*, the best weights, and a linear model blended with the network
    checkpoint.safetensors   layers.*  best.layers.*  ema.layers.*  optimizer.<slot>  rounding.<slot>  history

The history of a checkpoint is that of the last epochs; see `runs/blocks.py`.

Optimizers keep some slots divided by a factor, which saves an operation in every step. In a file a slot is the textbook
quantity, and `rounding` is what must be added after dividing it again, so that a resumed run has the same bits.

The header has a format number. `runs/format1.py` converts format 1: its models can be used, but its runs cannot be
resumed.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import mlptrain
from mlptrain.data.tables import digest_of
from mlptrain.dataset import Transforms
from mlptrain.errors import CheckpointError, EnvironmentFault
from mlptrain.nn.arrays import Array
from mlptrain.nn.layout import Layout
from mlptrain.nn.network import Network
from mlptrain.nn.threads import blas_library
from mlptrain.optim.optimizers import Optimizer
from mlptrain.runs import consistency, format1
from mlptrain.runs.blocks import read_blocks
from mlptrain.spec import yaml
from mlptrain.spec.load import describe
from mlptrain.spec.plan import Plan
from mlptrain.training.blend import Blend, Predictor
from mlptrain.training.epoch import columns
from mlptrain.training.linear import LinearModel, linear_network
from mlptrain.training.loop import network_for
from mlptrain.training.state import BLOCK, Progress, Records, TrainState

FORMAT = 2
SIZE_LIMIT = 1 << 33
MOST_TENSORS = 10_000
KEY = "mlptrain"
LINEAR_PREFIX = "linear."
"""Of the tensors of a linear model beside the network."""
Tensors = dict[str, NDArray[Any]]

_FOREIGN = {
    b"\x80": "a pickle, which can execute code",
    b"PK\x03\x04": "a zip archive (PyTorch, Keras or NPZ), which can execute code",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
}


class Environment(BaseModel):
    """What a result may depend on besides the experiment and the data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mlptrain: str
    numpy: str
    python: str
    machine: str
    threads: int
    blas: str | None = None
    """Library, version and kernels of the matrix products; None in files of format 1."""

    @classmethod
    def now(cls, threads: int) -> Environment:
        """The current environment with this number of threads."""
        return cls(
            mlptrain=mlptrain.__version__,
            numpy=np.__version__,
            python=platform.python_version(),
            machine=platform.machine(),
            threads=threads,
            blas=blas_library(),
        )


class Header(BaseModel):
    """The metadata of a model or a checkpoint."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal[2] = 2
    content: Literal["model", "checkpoint"]
    plan: Plan
    fingerprint: dict[str, str]
    environment: Environment
    progress: Progress | None = None
    """The counters of a checkpoint."""
    history: tuple[str, ...] | None = Field(None, strict=False)
    """The columns of the history of a checkpoint."""
    blocks: tuple[str, ...] = Field((), strict=False)
    """The sha256 of each block of the history that is beside a checkpoint, not in it; see `runs/blocks.py`."""
    share: float | None = Field(None, ge=0, lt=1)
    """The share of the network in the prediction of a model that is blended with a linear one."""


class Model(NamedTuple):
    """A trained network with everything that is needed to use it on a table."""

    header: Header
    network: Network
    parameters: Array
    buffers: Array
    blend: Blend | None = None
    folder: Path | None = None
    """Of its run, where its tables can be found; None for a file alone."""

    @property
    def predictor(self) -> Predictor:
        """What predicts."""
        return Predictor(self.network, self.parameters, self.buffers, self.blend)

    @property
    def plan(self) -> Plan:
        """The plan of its run."""
        return self.header.plan

    @property
    def transforms(self) -> Transforms:
        """The transforms that turn a table into its inputs."""
        return self.header.plan.transforms


class Checkpoint(NamedTuple):
    """The state of a run at its last save."""

    header: Header
    state: TrainState


def encode_model(header: Header, predictor: Predictor) -> bytes:
    """The bytes of a model file."""
    tensors = named(predictor.network.layout, predictor.parameters, predictor.buffers)
    if predictor.blend is not None:
        linear = predictor.blend.linear
        tensors |= named(linear.network.layout, linear.parameters, np.empty(0), LINEAR_PREFIX)
    return encode(header, tensors)


def encode_checkpoint(header: Header, state: TrainState) -> bytes:
    """The bytes of a checkpoint file."""
    assert header.history is not None
    tensors = named(state.layout, state.parameters, state.buffers)
    tensors |= named(state.layout, state.best_parameters, state.best_buffers, "best.")
    if state.ema is not None:
        tensors |= named(state.layout, *state.ema, "ema.")
    for name, slot in state.slots.items():
        tensors |= named_slot(name, slot, header.plan.optimizer.slot_scales().get(name))
    rows = state.history.array.reshape(len(state.history), len(header.history))
    tensors["history"] = rows[len(header.blocks) * BLOCK :]
    return encode(header, tensors)


def decode_model(raw: bytes, path: str) -> Model:
    """The model in a model file, or the best one so far in a checkpoint."""
    header, tensors = decode(raw, path)
    network = network_for(header.plan)
    if header.content != "model":
        expect(tensors, expected_in_checkpoint(header, network), path)
        return Model(header, network, *filled(network, tensors, "best.", path))
    linear = None if header.share is None else linear_network(network)
    more = {} if linear is None else expected_tensors(linear, LINEAR_PREFIX)
    expect(tensors, expected_tensors(network, "") | more, path)
    model = Model(header, network, *filled(network, tensors, "", path))
    if linear is None or header.share is None:
        return model
    blend = Blend(header.share, LinearModel(linear, filled(linear, tensors, LINEAR_PREFIX, path)[0]))
    return model._replace(blend=blend)


def decode_checkpoint(raw: bytes, path: str) -> Checkpoint:
    """The state of a run."""
    header, tensors = decode(raw, path)
    if header.progress is None or header.history is None:
        raise CheckpointError(
            f"{path}: is a model, not a checkpoint, or a checkpoint of format 1; only format {FORMAT} can be "
            "resumed. It can be used with evaluate and predict; to continue training, start a new run"
        )
    network = network_for(header.plan)
    expect(tensors, expected_in_checkpoint(header, network), path)
    parameters, buffers = filled(network, tensors, "", path)
    best_parameters, best_buffers = filled(network, tensors, "best.", path)
    older = read_blocks(Path(path).parent, header.blocks, header.history)
    slots = {name: stored_slot(name, tensors, header.plan.optimizer, path) for name in header.plan.optimizer.slots}
    ema = filled(network, tensors, "ema.", path) if header.plan.training.ema is not None else None
    state = TrainState(
        network.layout,
        parameters,
        buffers,
        slots,
        ema,
        best_parameters,
        best_buffers,
        header.progress,
        history_rows(np.concatenate([older, tensors["history"]]), header.history, columns(header.plan)),
    )
    return Checkpoint(header, state)


def named_slot(name: str, slot: Array, scale: float | None) -> Tensors:
    """A slot of the optimizer as the textbook quantity, and the rounding error of scaling it back."""
    if scale is None:
        return {f"optimizer.{name}": slot}
    value = slot * scale
    return {f"optimizer.{name}": value, f"rounding.{name}": slot - value / scale}


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused
def stored_slot(name: str, tensors: Tensors, optimizer: Optimizer, path: str) -> Array:
    """A slot of the optimizer as it is in training, to the last bit; values that no run has are refused."""
    value, scale = tensors[f"optimizer.{name}"], optimizer.slot_scales().get(name)
    slot = value.copy() if scale is None else value / scale + tensors[f"rounding.{name}"]
    check_values(slot, f"optimizer.{name}", 0.0 if name in optimizer.squares else None, path)
    return slot


def history_rows(table: NDArray[Any], written: Sequence[str], wanted: Sequence[str]) -> Records:
    """The rows of a stored history in the columns `wanted`; columns that are not in `written` have no value."""
    place = {name: i for i, name in enumerate(written)}
    nothing = np.full(len(table), np.nan)
    return Records(np.column_stack([table[:, place[name]] if name in place else nothing for name in wanted]))


def named(layout: Layout, parameters: Array, buffers: Array, prefix: str = "") -> Tensors:
    """Flat vectors as tensors by name."""
    views = layout.named_parameters(parameters) | layout.named_buffers(buffers)
    return {prefix + name: view for name, view in views.items()}


def expected_tensors(network: Network, prefix: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor of the network."""
    tensors = (*network.layout.parameters, *network.layout.buffers)
    return {prefix + tensor.name: (str(network.dtype), (*tensor.members, *tensor.shape)) for tensor in tensors}


def expected_in_checkpoint(header: Header, network: Network) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name, dtype and shape of every tensor of a checkpoint."""
    assert header.progress is not None
    assert header.history is not None
    dtype, plan = str(network.dtype), header.plan
    names = [f"optimizer.{name}" for name in plan.optimizer.slots]
    names += [f"rounding.{name}" for name in plan.optimizer.slot_scales()]
    slots = dict.fromkeys(names, (dtype, (network.layout.parameter_size,)))
    return {
        **expected_tensors(network, ""),
        **expected_tensors(network, "best."),
        **(expected_tensors(network, "ema.") if plan.training.ema else {}),
        **slots,
        "history": ("float64", (header.progress.epoch - BLOCK * len(header.blocks), len(header.history))),
    }


def expect(tensors: Tensors, expected: Mapping[str, tuple[str, tuple[int, ...]]], path: str) -> None:
    """Require exactly the `expected` tensors; the error lists the first differences."""
    found = {name: (str(array.dtype), array.shape) for name, array in tensors.items()}
    if found == expected:
        return
    differences = [
        f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
        for name in sorted(found.keys() | expected.keys())
        if found.get(name) != expected.get(name)
    ]
    raise CheckpointError(f"{path}: the tensors do not fit the plan inside: " + "; ".join(differences[:5]))


def filled(network: Network, tensors: Tensors, prefix: str, path: str) -> tuple[Array, Array]:
    """Flat parameters and buffers from tensors by name; values that are impossible after training are refused."""
    layout = network.layout
    parameters, buffers = np.empty(layout.parameter_size, network.dtype), np.empty(layout.buffer_size, network.dtype)
    places = [(tensor, parameters) for tensor in layout.parameters] + [(tensor, buffers) for tensor in layout.buffers]
    for tensor, vector in places:
        name, view = prefix + tensor.name, tensor.view(vector)
        view[...] = tensors[name]
        check_values(view, name, tensor.spec.minimum, path)
    return parameters, buffers


def check_values(values: Array, name: str, minimum: float | None, path: str) -> None:
    """Refuse values of a tensor that are not finite, or below the `minimum` that it has."""
    wrong = ~np.isfinite(values)
    bound = ""
    if minimum is not None:
        wrong |= values < minimum
        bound = f", or are below {minimum:g}"
    if wrong.any():
        raise CheckpointError(f"{path}: {int(wrong.sum())} values of {name} are not finite{bound}")


def encode(header: Header, tensors: Tensors) -> bytes:
    """A safetensors file with the header as its only metadata entry; the same content gives the same bytes."""
    import safetensors.numpy

    content = {name: little_endian(tensors[name]) for name in sorted(tensors)}
    text = canonical(header.model_dump(mode="json"))
    metadata = canonical({"digest": digest(text, content), "header": text})
    return safetensors.numpy.save(content, {KEY: metadata})


def little_endian(array: NDArray[Any]) -> NDArray[Any]:
    """`array` as its bytes are in a file: row by row, each number with its low byte first."""
    return np.asarray(array, array.dtype.newbyteorder("<"), order="C")


def canonical(value: Any) -> str:
    """JSON with sorted keys, without spaces and NaN: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str, tensors: Tensors) -> str:
    """sha256 over the header and over name, dtype, shape and bytes of every tensor."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        total.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(array.data if array.size else b"")
    return total.hexdigest()


def read_file(path: Path) -> bytes:
    """The bytes of a model or checkpoint file."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size > SIZE_LIMIT:
            raise CheckpointError(f"{path}: is not a file of at most {SIZE_LIMIT} bytes")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read: {error.strerror}") from error


def check_fingerprint(header: Header, since: str) -> None:
    """Refuse data files whose sha256 digests have changed since the event `since`.

    Only the files of the experiment are opened, whatever else the header may name.
    """
    files = header.plan.data.files
    if unknown := header.fingerprint.keys() ^ files:
        raise CheckpointError(
            f"the fingerprints are not those of the tables of the experiment: {', '.join(sorted(unknown))}"
        )
    for name, digest in header.fingerprint.items():
        path = files[name]
        now = digest_of(Path(path))
        if now != digest:
            raise CheckpointError(f"{path}: changed since {since} (sha256 was {digest[:12]}, is {now[:12]})")


def excess(raw: bytes) -> str | None:
    """Why the header of a file would need many times its size in memory; told before it is parsed.

    An honest header is names and numbers: it has ten characters or more for every list and mapping, and a few tensors
    for each layer.
    """
    header = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    containers, tensors = header.count(b"[") + header.count(b"{"), header.count(b"data_offsets")
    if containers > MOST_TENSORS + len(header) // 10 or tensors > MOST_TENSORS:
        return f"its header of {len(header)} bytes has {containers} lists and mappings and {tensors} tensors"
    return None


def decode(raw: bytes, path: str) -> tuple[Header, Tensors]:
    """Header and tensors of a file, after checking its digest."""
    import safetensors.numpy

    for magic, kind in _FOREIGN.items():
        if raw.startswith(magic) and raw[8:9] != b"{":
            raise CheckpointError(f"{path}: refused: this is {kind}; mlptrain reads its own safetensors files only")
    if raw[8:9] != b"{":
        raise CheckpointError(f"{path}: is not a model or checkpoint of mlptrain, or is damaged")
    if too_much := excess(raw):
        raise CheckpointError(f"{path}: is not a model or checkpoint of mlptrain: {too_much}")
    try:
        tensors = safetensors.numpy.load(raw)
        length = int.from_bytes(raw[:8], "little")
        outer = strict_json(raw[8 : 8 + length].decode())["__metadata__"][KEY]
        entry = strict_json(outer)
        text = entry["header"]
        matches = entry["digest"] == digest(text, tensors)
    except Exception as error:  # the library and the parser raise many kinds; each means a damaged or foreign file
        what = "it has no mlptrain metadata" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise CheckpointError(f"{path}: is not a model or checkpoint of mlptrain, or is damaged: {what}") from error
    if not matches:
        raise CheckpointError(f"{path}: is damaged: the digest does not match its content")
    values = strict_values(text, path)
    if values.get("format") == 1:
        values, tensors = format1.model_of(values, tensors, path)
    return parse_header(values, path), tensors


def header_of(raw: bytes, path: str) -> Header | None:
    """The header of a model or checkpoint; None for a safetensors file of another program."""
    metadata = safetensors_metadata(raw)
    return decode(raw, path)[0] if metadata is not None and KEY in metadata else None


def safetensors_metadata(raw: bytes) -> dict[str, Any] | None:
    """The metadata of a safetensors file; None if it cannot be read."""
    if excess(raw):
        return None
    try:
        length = int.from_bytes(raw[:8], "little")
        found = json.loads(raw[8 : 8 + length]).get("__metadata__")
    except (ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def strict_values(text: str, path: str) -> dict[str, Any]:
    """The header as plain values."""
    try:
        values = strict_json(text)
        if isinstance(values, dict):
            return values
        raise ValueError("it is not a mapping")
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be used: {error}") from error


def parse_header(values: dict[str, Any], path: str) -> Header:
    """The header from plain values."""
    if values.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: has format {values.get('format')!r}, this version of mlptrain reads formats 1 to {FORMAT}"
        )
    try:
        header = Header.model_validate_json(json.dumps(values), context={"folder": None})
        parts = (header.progress is not None, header.history is not None)
        if parts != (header.content == "checkpoint",) * 2:
            raise ValueError("a checkpoint has progress and a history, a model has none")
    except (ValidationError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its metadata cannot be used: {reason(error)}") from error
    plan = header.plan
    consistency.refuse_contradictions(path, consistency.in_plan(plan, header.environment.threads, header.share))
    if header.progress is not None:
        consistency.refuse_contradictions(path, consistency.in_progress(header.progress, plan))
    return header.model_copy(update={"fingerprint": by_setting(header)})


def by_setting(header: Header) -> dict[str, str]:
    """The digests of tables by setting; earlier versions named their paths."""
    names = {path: name for name, path in header.plan.data.files.items()}
    return {names.get(name, name): digest for name, digest in header.fingerprint.items()}


def reason(error: Exception) -> str:
    """What is wrong with a header, as for a spec; an unknown kind may come from a plugin."""
    if not isinstance(error, ValidationError):
        return str(error)
    details = error.errors(include_url=False)
    for detail in details:
        if detail["type"] == "kind_unknown":
            word = f"'{detail['ctx']['word']}' ({yaml.dotted(detail['loc'])})"
            return f"it needs the unknown component {word}: load the file that defines it with --plugin FILE.py"
    more = f"; and {len(details) - 3} more" if len(details) > 3 else ""
    return "; ".join(f"{yaml.dotted(detail['loc'])}: {describe(detail)}" for detail in details[:3]) + more


def strict_json(text: str) -> Any:
    """JSON without repeated keys, NaN or infinity, and without numbers that are infinite in float64, such as 1e999."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key is repeated")
        return result

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number")

    def finite(digits: str) -> float:
        number = float(digits)
        return number if math.isfinite(number) else refuse(digits)

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite)
