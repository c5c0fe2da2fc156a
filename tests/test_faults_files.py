"""Is every file that is no model or checkpoint refused, also with the right digest, by each command that opens it?

`test_evaluate_predict.py` cuts files at each byte and flips a bit in each; here is what somebody may make of one.
"""

from __future__ import annotations

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy

from cli import Cli, amounts_rows, classes_rows, contents, run_cli, write_csv
from mlptrain.errors import CheckpointError, MlptrainError
from mlptrain.runs import checkpoint as files
from mlptrain.system import peak_memory

Json = Any
Path_ = tuple[int | str, ...]

SPECS = {
    "classes": "data: {path: classes.csv, target: answer, numeric: {bins: 4, indicator: true}}\n"
    "network: {hidden: [3], normalization: batch, dropout: 0.2}\nloss: {kind: cross_entropy, class_weight: balanced}\n"
    "optimizer: adam\nschedule: {kind: plateau, patience: 0}\n"
    "training: {epochs: 4, batch_size: 8, ema: {decay: 0.9}, early_stopping: {patience: 3}, baselines: false}\n",
    "amounts": "data: {path: amounts.csv, target: price, numeric: {scale: {kind: quantile, knots: 11}}, "
    "scale_target: robust}\nnetwork: {hidden: [4], linear_path: true}\noptimizer: {kind: rmsprop, centered: true}\n"
    "training: {epochs: 3, batch_size: 8, baselines: false}\n",
    "members": "data: {path: classes.csv, target: answer, numeric: {scale: robust_clip}}\nnetwork: {hidden: [3]}\n"
    "ensemble: {members: 3, rows: folds, blend: true}\ntraining: {epochs: 3, batch_size: 8, baselines: false}\n",
    "dates": "data: {path: dates.csv, target: n, categorical: {target_means: true}, numeric: {scale: log}}\n"
    "network: {hidden: [3]}\nloss: poisson\ntraining: {epochs: 2, batch_size: full, baselines: false}\n",
}
TABLE = {"classes": "classes.csv", "amounts": "amounts.csv", "members": "classes.csv", "dates": "dates.csv"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables and a finished run of each of `SPECS`."""
    folder = tmp_path_factory.mktemp("runs")
    write_csv(folder / "classes.csv", "x1,x2,colour,answer", [*classes_rows(), *[("", "0.5", "red", "yes")] * 12])
    write_csv(folder / "amounts.csv", "x1,x2,price", amounts_rows())
    days = [(f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}", f"{i % 24:02d}:15", f"{i}.5 kg", i % 9) for i in range(60)]
    write_csv(folder / "dates.csv", "when,at,cost,city,n", [(a, b, c, f"c{n % 4}", n) for a, b, c, n in days])
    for name, text in SPECS.items():
        (folder / f"{name}.yaml").write_text("preset: plain\n" + text)
        run_cli("fit", f"{name}.yaml", "--out", name, "--quiet", folder=folder).succeeded()
    return folder


@pytest.fixture
def here(runs: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test; the runs still know the tables by their first place."""
    return shutil.copytree(runs, tmp_path, dirs_exist_ok=True)


# --- The bytes of a safetensors file


def safetensors_file(header: Json, data: bytes = b"") -> bytes:
    """A file with any header."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def one(dtype: str = "F32", shape: Json = (2,), offsets: Json = (0, 8)) -> Json:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


def two(first: Json, second: Json) -> Json:
    pair = {"a": first, "b": second}
    return {name: {"dtype": "F32", "shape": [2], "data_offsets": at} for name, at in pair.items()}


DATA16 = bytes(16)
FOREIGN: dict[str, bytes] = {
    "length beyond the file": struct.pack("<Q", 100_000_001) + b"{}",  # E02
    "length of all bits": b"\xff" * 8 + b"{}",
    "an array": safetensors_file([1, 2]),  # E06
    "200 levels": safetensors_file(b"{" + b'"a":{' * 200 + b"}" * 201),
    "many spaces": safetensors_file(b'{"a": {}}' + b" " * 5_000_000),
    "metadata twice": safetensors_file(b'{"__metadata__":{"mlptrain":"{}"},"__metadata__":{"mlptrain":"{}"}}'),  # E08
    "key twice": safetensors_file(b'{"__metadata__":{"mlptrain":"a","mlptrain":"b"}}'),
    "tensor twice": safetensors_file(b'{"a":' + json.dumps(one()["a"]).encode() + b',"a":{}}', bytes(8)),
    "overlap": safetensors_file(two([0, 8], [4, 12]), DATA16),  # E09
    "hole": safetensors_file(two([0, 8], [9, 17]), bytes(17)),
    "reversed": safetensors_file(one(offsets=[8, 0]), bytes(8)),
    "negative": safetensors_file(one(offsets=[-8, 0]), bytes(8)),
    "half a byte": safetensors_file(one(offsets=[0, 8.5]), bytes(9)),
    "beyond 64 bits": safetensors_file(one(offsets=[0, 2**70]), bytes(8)),
    "beyond the data": safetensors_file(one(shape=[2**40], offsets=[0, 2**42]), bytes(8)),
    "shape of another size": safetensors_file(one(shape=[3]), bytes(8)),  # E11
    "product beyond 64 bits": safetensors_file(one(shape=[2**40, 2**40]), bytes(8)),
    **{
        f"dtype {word}": safetensors_file(one(word), bytes(8))
        for word in ("BF16", "F8_E4M3", "F4", "C64", "f32", "O", "")
    },  # E12
}


def verbs(path: str, run: str) -> list[tuple[str, ...]]:
    """Each command that opens a checkpoint."""
    return [("evaluate", path), ("predict", path, TABLE[run]), ("fit", "--resume", run)]


@pytest.mark.parametrize("raw", FOREIGN.values(), ids=FOREIGN)
def test_a_file_of_tensors_that_is_none_of_ours(cli: Cli, here: Path, raw: bytes) -> None:
    path = here / "classes" / "checkpoint.safetensors"
    path.write_bytes(raw)
    before, memory = contents(here), peak_memory() or 0
    for verb in verbs("classes/checkpoint.safetensors", "classes"):
        outcome = cli(*verb).refused(4, "classes/checkpoint.safetensors: ")
        assert len(outcome.err) < 1500
    assert cli("inspect", "classes/checkpoint.safetensors").code == 4
    assert contents(here) == before, "the damaged file is kept, to look at"  # E35
    assert (peak_memory() or 0) - memory < 64 << 20


# --- A right digest, and a content that no run has written


class Signed(NamedTuple):
    """The content of a file of ours."""

    header: Json
    tensors: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Signed:
        raw = path.read_bytes()
        outer = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        inner = json.loads(outer["__metadata__"][files.KEY])
        return cls(json.loads(inner["header"]), safetensors.numpy.load(raw))

    def encoded(self, text: str | None = None) -> bytes:
        """The bytes of a file with this content and the right digest; `text` replaces the text of the header."""
        text = json.dumps(self.header, sort_keys=True, separators=(",", ":")) if text is None else text
        tensors = {name: np.ascontiguousarray(array) for name, array in sorted(self.tensors.items())}
        signed = files.canonical({"digest": files.digest(text, tensors), "header": text})
        return safetensors.numpy.save(tensors, {files.KEY: signed})

    def changed(self, changes: dict[str, Json]) -> Signed:
        """The same with other values at dotted paths."""
        header = json.loads(json.dumps(self.header))
        for place, value in changes.items():
            *way, last = (int(part) if part.isdigit() else part for part in place.split("."))
            node = at(header, tuple(way))
            node[last] = value
        return self._replace(header=header)


def at(value: Json, path: Path_) -> Json:
    """What is at `path` in nested lists and mappings."""
    for part in path:
        value = value[part]
    return value


ENCODER = "plan.transforms.encoders.0"
TASK = "plan.transforms.task"
IMPOSSIBLE: dict[str, tuple[str, dict[str, Json], str]] = {
    # fitted statistics
    "no fitted rows": ("classes", {f"{ENCODER}.fitted": []}, "fitted"),
    "ragged rows": ("classes", {f"{ENCODER}.fitted": [[0.0], [1.0, 2.0]]}, "fitted"),
    "empty rows": ("classes", {f"{ENCODER}.fitted": [[], []]}, "fitted"),
    "scale 0": ("classes", {f"{ENCODER}.fitted.1": [0.0]}, "must have scales above 0"),
    "scale of robust_clip 0": ("members", {f"{ENCODER}.fitted.1": [0.0]}, "must have scales above 0"),
    "unit of log 0": ("dates", {"plan.transforms.encoders.2.fitted.0": [0.0]}, "must have scales above 0"),
    "scale of the target 0": ("amounts", {f"{TASK}.fitted.1": [0.0]}, "must have scales above 0"),
    "falling quantiles": ("amounts", {f"{ENCODER}.fitted.0": [1e9]}, "must be quantiles, which do not fall"),
    "fill of another width": ("classes", {f"{ENCODER}.fill": [0.0, 1.0]}, "fill"),
    "range of one row": ("classes", {f"{ENCODER}.trained": [[0.0]]}, "trained"),
    "ragged range": ("classes", {f"{ENCODER}.trained": [[0.0], []]}, "trained"),
    "indicator of nothing": ("classes", {f"{ENCODER}.indicators": [7]}, "indicators"),
    "falling edges": ("classes", {f"{ENCODER}.edges": [3.0, 2.0, 1.0]}, "edges"),
    "rows of a date": ("dates", {f"{ENCODER}.fitted": [[1.0]]}, "fitted"),
    "an unknown spelling": ("dates", {f"{ENCODER}.spelling": "YYYY~MM"}, "spelling"),
    # the target
    "no target": ("classes", {f"{TASK}.columns": []}, "columns"),
    "class twice": ("classes", {f"{TASK}.classes": ["no", "no"]}, "classes"),
    "weights of nothing": ("classes", {f"{TASK}.weights": []}, "weights"),
    "another task": ("classes", {"plan.task": "regression", "plan.loss": {"kind": "mse"}}, "task"),
    "another loss": ("classes", {"plan.loss": {"kind": "mse"}}, "loss"),
    # the environment
    "threads": ("classes", {"environment.threads": 10**30}, "threads"),
    "more threads": ("classes", {"environment.threads": 3}, "threads"),
    "no linear model": ("classes", {"share": 0.5}, "share"),
    # the place in the run
    "beyond the end": ("classes", {"progress.epoch": 9, "progress.stopped": None}, "progress.epoch is 9"),
    "an end without end": ("amounts", {"progress.stopped": None}, "progress.stopped is null after all 3 epochs"),
    "an early end": ("amounts", {"progress.stopped": "early_stopping"}, "progress.stopped is early_stopping"),
    "an end in an epoch": ("amounts", {"progress.batch": 1}, "progress.batch"),
    "no first loss": ("amounts", {"progress.first_loss": None}, "progress.first_loss"),
    "too few steps": ("amounts", {"progress.step": 1}, "progress.step"),
    "steps of other rows": ("amounts", {"progress.step": 1000}, "progress.step"),
    "best epoch to come": ("amounts", {"progress.best_epoch": 3}, "progress.best_epoch"),
    "member to come": ("members", {"progress.member_epochs.1": 3}, "progress.best_epoch"),
    "a member less": ("members", {"progress.member_costs": [0.5, 0.5]}, "progress.member_costs"),
    "rows of nothing": ("amounts", {"progress.rows": 8}, "progress.rows"),
    "sums of nothing": ("amounts", {"progress.layer_squared_norm_sums": [1.0]}, "layer_squared_norm_sums"),
    "waited too long": ("amounts", {"progress.wait": 4}, "progress.wait"),
    "no state of the schedule": ("classes", {"progress.schedule": {}}, "progress.schedule"),
    # kinds of values
    "step as text": ("classes", {"progress.step": "16"}, "progress.step"),  # E19
    "negative epoch": ("classes", {"progress.epoch": -1}, "progress.epoch"),
    "no progress": ("classes", {"progress": None}, "progress"),
    "code": ("classes", {"plan.network.activation": {"kind": "os.system"}}, "os.system"),  # E21
    "a seed of text": ("classes", {"plan.seed": "x"}, "plan.seed"),  # E27
    "newer": ("classes", {"format": 99}, "has format 99, this version of mlptrain reads formats 1 to"),  # E23
    "no version": ("classes", {"format": None}, "has format None"),
}


@pytest.mark.parametrize(("run", "changes", "field"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_no_run_has_written(cli: Cli, here: Path, run: str, changes: dict[str, Json], field: str) -> None:
    path = here / run / "checkpoint.safetensors"
    path.write_bytes(Signed.read(path).changed(changes).encoded())
    before = contents(here)
    outcomes = [cli(*verb) for verb in verbs(f"{run}/checkpoint.safetensors", run)]
    only_resumed = field in ("progress.step",) and outcomes[0].code == 0  # it takes the rows to see that
    for outcome in outcomes[2:] if only_resumed else outcomes:
        outcome.refused(4, f"{run}/checkpoint.safetensors: ", field)
    assert contents(here) == before


WORDS: dict[str, Callable[[str], str]] = {
    "NaN": lambda text: text.replace('"first_loss":', '"first_loss":NaN,"x":', 1),
    "1e999": lambda text: text.replace('"loss_sum":0.0', '"loss_sum":1e999', 1),
    "repeated key": lambda text: text.replace('"content":', '"format":2,"content":', 1),
    "cut": lambda text: text[:-1],
    "deep": lambda text: text.replace('"notations":[', '"notations":[' + "[" * 3000, 1),
    "no mapping": lambda text: "[]",
    "half a letter": lambda text: text.replace('"name":"', '"name":"\\ud800', 1),
}


@pytest.mark.parametrize("change", WORDS.values(), ids=WORDS)
def test_a_header_that_is_no_strict_json(cli: Cli, here: Path, change: Callable[[str], str]) -> None:
    path = here / "amounts" / "checkpoint.safetensors"
    signed = Signed.read(path)
    text = json.dumps(signed.header, sort_keys=True, separators=(",", ":"))
    assert change(text) != text
    path.write_bytes(signed.encoded(change(text)))
    for verb in verbs("amounts/checkpoint.safetensors", "amounts"):
        cli(*verb).refused(4, "amounts/checkpoint.safetensors: ")


TENSORS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "nan": ("layers.0.weight", lambda a: a * np.nan),  # E14
    "infinite": ("ema.layers.0.weight", lambda a: a + np.inf),
    "negative variance": ("layers.0.norm.running_variance", lambda a: -a - 1),  # E28
    "moment nan": ("optimizer.first_moment", lambda a: a * np.nan),  # E25
    "moment that overflows": ("optimizer.first_moment", lambda a: np.full_like(a, 3e38)),
    "negative square": ("optimizer.second_moment", lambda a: -a - 1),
    "broadcastable": ("layers.1.bias", lambda a: a[None]),  # E15
    "float64": ("layers.1.bias", lambda a: a.astype("f8")),  # E16
    "whole numbers": ("layers.1.bias", lambda a: a.astype("i4")),
}


@pytest.mark.parametrize(("name", "change"), TENSORS.values(), ids=TENSORS)
def test_tensors_that_no_run_has_written(cli: Cli, here: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = here / "classes" / "checkpoint.safetensors"
    signed = Signed.read(path)
    path.write_bytes(signed._replace(tensors=signed.tensors | {name: change(signed.tensors[name])}).encoded())
    cli("fit", "--resume", "classes").refused(4, "classes/checkpoint.safetensors: ", name)


def test_transforms_of_other_rows(cli: Cli, here: Path) -> None:
    """The statistics follow from the table; others would change every input of a run that is resumed."""
    path = here / "amounts" / "checkpoint.safetensors"
    path.write_bytes(Signed.read(path).changed({f"{TASK}.fitted.0": [77.0]}).encoded())
    cli("fit", "--resume", "amounts").refused(4, "amounts/checkpoint.safetensors: ", "plan.transforms")


def test_state_of_an_optimizer_that_has_none(cli: Cli, here: Path) -> None:  # E25
    run_cli("fit", "amounts.yaml", "--set", "optimizer={kind: sgd}", "--out", "sgd", "--quiet", folder=here).succeeded()
    path = here / "sgd" / "checkpoint.safetensors"
    signed = Signed.read(path)
    size = sum(array.size for name, array in signed.tensors.items() if name.startswith("layers."))
    more = {"optimizer.velocity": np.zeros(size, "f4")}
    path.write_bytes(signed._replace(tensors=signed.tensors | more).encoded())
    cli("fit", "--resume", "sgd").refused(4, "optimizer.velocity: expected nothing")


def test_a_file_that_is_cut_while_it_is_read(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # E29
    """The bytes are read once and checked as they are; nothing is mapped into memory."""
    path = here / "classes" / "model.safetensors"
    whole = path.read_bytes()
    monkeypatch.setattr(Path, "read_bytes", lambda self: whole[: len(whole) // 2] if self == path else b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        files.decode_model(files.read_file(path), str(path))


FORMS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda a: a.T,
    "column by column": np.asfortranarray,
    "every second": lambda a: a[::2],
    "backwards": lambda a: a[::-1],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "big end first": lambda a: a.astype(">f4"),
    "without dimension": lambda a: a[0, 0],
    "empty": lambda a: a[:0],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_an_array_of_any_form_is_saved_exactly(runs: Path, form: Callable[[Any], Any]) -> None:  # E38
    header = files.decode((runs / "classes" / "model.safetensors").read_bytes(), "file")[0]
    array = form(np.arange(12, dtype=np.float32).reshape(3, 4) / 7)
    raw = files.encode(header, {"a": array, "b": np.array([0.1])})
    found = files.decode(raw, "file")[1]
    assert np.array_equal(found["a"], array)
    assert found["a"].shape == np.shape(array) or array.ndim == 0
    assert files.encode(header, found) == raw  # E39


@pytest.mark.parametrize("content", ["nothing", "no runs", "a link to nowhere"])
def test_the_newest_run_that_is_none(cli: Cli, here: Path, content: str) -> None:  # E36
    if content != "nothing":
        (here / "runs").mkdir()
    if content == "a link to nowhere":
        (here / "runs" / "x-0001").symlink_to(here / "gone")
    outcome = cli("evaluate", "latest")
    assert outcome.code in (2, 4), outcome.err
    assert "a bug" not in outcome.err


# --- Many of them


ODD: tuple[Json, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 1.5, -0.5, 0.0, 1e308, -1e308, 5e-324, 10**30, -(10**30), 2**63, 2**64),
    *(float("nan"), float("inf"), "", "x", "nan", "1", "os.system", "../x", "\ud800", "\0", "a" * 3000),
    *([], {}, [[]], [1], ["x"], {"kind": "none"}, {"kind": "sgd"}, {"a": 1}, [0.0] * 50, [None]),
    *("mse", "relu", "classification", "regression", "number", "category", "quantile", "model", "float64", "folds"),
)


def places(value: Json, path: Path_ = ()) -> Iterator[Path_]:
    """The path of everything in nested lists and mappings."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from places(below, (*path, key))


def mutate(chance: random.Random, header: Json, where: list[Path_]) -> None:
    """Change one thing in `header`: replace, remove, repeat, lengthen, move, or turn it into another kind of value."""
    path = chance.choice(where)
    parent: Any
    try:
        parent, old = at(header, path[:-1]), at(header, path)
    except (KeyError, IndexError, TypeError):
        return  # an earlier change took it away
    if not isinstance(parent, dict | list):
        return
    key: Any = path[-1]
    how = chance.randrange(6)
    if how == 0 and isinstance(parent, dict):
        del parent[key]
    elif how == 1:
        parent.insert(key, old) if isinstance(parent, list) else parent.update({f"{key}x": old})
    elif how == 2 and isinstance(old, list):
        parent[key] = chance.choice([old * 2, old[:-1], old[::-1], [old], [*old, chance.choice(ODD)]])
    elif how == 3 and isinstance(old, int | float):
        parent[key] = chance.choice([old + 1, old - 1, -old, old * 2, float(old) * 1e30, str(old), [old]])
    elif how == 4 and isinstance(old, str):
        parent[key] = chance.choice([f"{old}x", old[:-1], old.upper(), [old], old * 50])
    else:
        parent[key] = chance.choice(ODD)


def mutate_tensor(chance: random.Random, tensors: dict[str, Any]) -> None:
    """Change one tensor: its name, its dtype, its shape or one number."""
    name = chance.choice(sorted(tensors))
    array = tensors.pop(name)
    numbers = array.copy()
    if numbers.size:
        numbers.flat[chance.randrange(numbers.size)] = chance.choice([np.nan, np.inf, -np.inf, -1.0, 3e38, 0.0, 1e-40])
    renamed = chance.choice([name, name, name, f"{name}x", name[:-1], None])
    changed = [array.T, array[None], array.reshape(-1), array[1:] if array.ndim else array, array.astype("f8"), numbers]
    if renamed is not None:
        tensors[renamed] = chance.choice([*changed, numbers, numbers])


class Fuzz:
    """Mutated files, each with the right digest."""

    def __init__(self, runs: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        kinds = ("model", "checkpoint")
        self.originals = {
            (run, kind): Signed.read(runs / run / f"{kind}.safetensors") for run in SPECS for kind in kinds
        }
        self.places = {key: list(places(signed.header)) for key, signed in self.originals.items()}

    def next(self) -> tuple[str, str, bytes]:
        """The name of a run, the kind of the file, and a mutated one."""
        chance = self.chance
        while True:
            run, kind = key = chance.choice(list(self.originals))
            header, tensors = json.loads(json.dumps(self.originals[key].header)), dict(self.originals[key].tensors)
            what = chance.random()
            for _ in range(chance.choice([1, 1, 1, 2, 3]) if what < 0.85 else 0):
                mutate(chance, header, self.places[key])
            if what > 0.8:
                mutate_tensor(chance, tensors)
            try:
                return run, kind, Signed(header, tensors).encoded()
            except UnicodeEncodeError:  # a digest of half a letter
                continue


def included(part: Json, whole: Json) -> bool:
    """Whether everything in `part` is in `whole` with an equal value, but for what a validator writes in full."""
    if isinstance(part, dict) and isinstance(whole, dict):
        return all(key in whole and included(value, whole[key]) for key, value in part.items())
    if isinstance(part, list) and isinstance(whole, list):
        return len(part) == len(whole) and all(map(included, part, whole))
    short = isinstance(part, int | float | str) and isinstance(whole, float | str | dict | list)
    return part == whole or short


def read_all(raw: bytes) -> str:
    """What became of a file: 'refused' by our own error, or 'loaded' exactly; anything else is raised."""
    found = "refused"
    for decode in (files.decode_model, files.decode_checkpoint):
        try:
            loaded = decode(raw, "file")
        except CheckpointError as error:
            assert str(error).startswith("file: ")
            assert len(str(error)) < 20_000
            continue
        found = "loaded"
        outer = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
        written = json.loads(json.loads(outer["__metadata__"][files.KEY])["header"])
        assert included(written["plan"], loaded.header.model_dump(mode="json")["plan"])
        arrays = loaded.state.parameters if isinstance(loaded, files.Checkpoint) else loaded.parameters
        assert np.isfinite(arrays).all()
    return found


def fuzz(runs: Path, number: int, seed: int) -> dict[str, int]:
    """What became of that many mutated files."""
    mutants, found = Fuzz(runs, seed), {"refused": 0, "loaded": 0}
    before = peak_memory() or 0
    for i in range(number):
        run, kind, raw = mutants.next()
        try:
            found[read_all(raw)] += 1
        except BaseException as error:
            (runs / "mutant.safetensors").write_bytes(raw)
            error.add_note(f"mutant {i} of seed {seed}, a {kind} of {run}: {runs / 'mutant.safetensors'}")
            raise
    assert (peak_memory() or 0) - before < 256 << 20
    return found


@pytest.mark.filterwarnings("error")
def test_some_mutated_files(runs: Path) -> None:  # E41
    found = fuzz(runs, 600, seed=0)
    assert min(found.values()) > 10


@pytest.mark.long
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(1, 11))
def test_a_hundred_thousand_mutated_files(runs: Path, seed: int) -> None:
    fuzz(runs, 10_000, seed)


def use(folder: Path, run: str, kind: str, raw: bytes) -> None:
    """Evaluate, predict and resume with a file; nothing may be a bug, whatever is answered."""
    (folder / "m.safetensors").write_bytes(raw)
    commands: list[tuple[str, ...]] = [("predict", "m.safetensors", TABLE[run])]
    commands.append(("evaluate", "m.safetensors", "--data", TABLE[run]))
    if kind == "checkpoint":
        shutil.rmtree(folder / "again", ignore_errors=True)
        shutil.copytree(folder / run, folder / "again")
        (folder / "again" / "checkpoint.safetensors").write_bytes(raw)
        commands.append(("fit", "--resume", "again", "--quiet"))
    for command in commands:
        outcome = run_cli(*command, folder=folder)
        assert outcome.code in (0, 2, 3, 4, 6), (command, outcome.err)


def use_loaded(folder: Path, number: int, seed: int) -> int:
    """Use each mutated file that loads; how many there were of `number`."""
    mutants, used = Fuzz(folder, seed), 0
    for i in range(number):
        run, kind, raw = mutants.next()
        try:
            files.decode_model(raw, "file")
        except MlptrainError:
            continue
        used += 1
        try:
            use(folder, run, kind, raw)
        except BaseException as error:
            error.add_note(f"mutant {i} of seed {seed}, a {kind} of {run}: {folder / 'm.safetensors'}")
            raise
    return used


def test_a_mutated_file_that_loads_can_be_used(here: Path) -> None:
    assert use_loaded(here, 100, seed=0) > 5


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_mutated_files_that_load_can_be_used(here: Path, seed: int) -> None:
    assert use_loaded(here, 3000, seed) > 100
