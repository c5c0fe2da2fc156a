"""Does a save of a long run cost what changed, and is its history safe?"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cli import Cli, contents, finished, metrics, run_cli, same_bytes, start_cli, wait_until, write_csv
from mlptrain.runs.blocks import FILE, keep_blocks, read_blocks
from mlptrain.runs.run import begin, proceed
from mlptrain.spec.load import load_experiment
from mlptrain.training.state import BLOCK, Records

EPOCHS = 2 * BLOCK + 300
SPEC = f"""preset: plain
data: {{path: classes.csv, target: answer, split: {{test: 0}}}}
network: {{hidden: [2]}}
training: {{epochs: {EPOCHS}, batch_size: full, early_stopping: null, baselines: false}}
"""
ALL = ("metrics.csv", "model.safetensors", "checkpoint.safetensors", FILE)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, its spec, and a run of more than two blocks."""
    folder = tmp_path_factory.mktemp("long")
    write_csv(folder / "classes.csv", "x,answer", [(i % 7, "yes" if i % 7 > 3 else "no") for i in range(30)])
    (folder / "spec.yaml").write_text(SPEC)
    run_cli("fit", "spec.yaml", "--out", "run", "--quiet", folder=folder).succeeded()
    return folder


@pytest.fixture
def here(whole: Path, tmp_path: Path) -> Path:
    """A copy of that folder for one test."""
    for name, content in contents(whole).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_checkpoint_does_not_grow_with_the_epochs(here: Path, cli: Cli) -> None:
    cli("fit", "spec.yaml", "--set", "training.epochs=300", "--out", "short", "--quiet").succeeded()
    short, long = ((here / run / "checkpoint.safetensors").stat().st_size for run in ("short", "run"))
    assert not (here / "short" / FILE).exists()
    assert long - short < 2000  # the digests of two blocks, and longer counters
    names = list(metrics(here / "run"))
    rows = np.frombuffer((here / "run" / FILE).read_bytes()).reshape(-1, len(names))
    assert rows[:, 0].tolist() == list(range(2 * BLOCK))
    assert [repr(value) for value in rows[:, names.index("train_loss")].tolist()] == metrics(here / "run")[
        "train_loss"
    ][: 2 * BLOCK]


def test_a_block_is_written_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def counting(folder: Path, history: Records, kept: int) -> int:
        before = (folder / FILE).stat().st_size if (folder / FILE).exists() else 0
        blocks = keep_blocks(folder, history, kept)
        written.append(((folder / FILE).stat().st_size if blocks else 0) - before)
        return blocks

    monkeypatch.setattr("mlptrain.runs.run.keep_blocks", counting)
    run = begin(load_experiment(here / "spec.yaml"), "spec", here / "again")
    proceed(run, lambda: None, save_seconds=0)
    assert len(written) > EPOCHS
    assert [size for size in written if size] == [BLOCK * 8 * run.state.history.array.shape[1]] * 2
    same_bytes(here / "again", here / "run", ("metrics.csv", "checkpoint.safetensors", FILE))


def test_a_killed_run_goes_on_to_the_same_bytes(here: Path) -> None:
    for stop in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        verb = ["fit", "--resume", "killed"] if (here / "killed").exists() else ["fit", "spec.yaml", "--out", "killed"]
        before = rows_of(here / "killed")
        process = start_cli(*verb, "--save-every", "0", folder=here)
        wait_until(lambda: rows_of(here / "killed") > before + 500, process)  # noqa: B023  # called at once
        process.send_signal(stop)
        finished(process)
    (here / "killed" / FILE).write_bytes(b"\0" * 100)
    run_cli("fit", "--resume", "killed", "--quiet", folder=here).succeeded()
    same_bytes(here / "killed", here / "run", ALL)


def rows_of(run: Path) -> int:
    path = run / "metrics.csv"
    return path.read_bytes().count(b"\n") if path.exists() else 0


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "lost": lambda raw: b"",
    "cut": lambda raw: raw[: len(raw) // 2],
    "flipped": lambda raw: raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
    "longer": lambda raw: raw + raw,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_blocks_are_made_again(damage: str, here: Path, cli: Cli) -> None:
    path = here / "run" / FILE
    before = path.read_bytes()
    path.write_bytes(DAMAGES[damage](before))
    cli("fit", "--resume", "run", "--quiet").succeeded()
    if damage != "longer":  # what is after the blocks means nothing
        assert path.read_bytes() == before
    cli("fit", "--resume", "run", "--epochs", str(EPOCHS + 10), "--quiet").succeeded()
    assert len(metrics(here / "run")["epoch"]) == EPOCHS + 10


def test_metrics_are_made_again_from_blocks(here: Path, cli: Cli) -> None:
    path = here / "run" / "metrics.csv"
    before = path.read_bytes()
    path.write_bytes(before[:-100])
    cli("fit", "--resume", "run", "--quiet").succeeded()
    assert path.read_bytes() == before


def test_if_both_are_lost_it_is_said(here: Path, cli: Cli) -> None:
    (here / "run" / FILE).unlink()
    (here / "run" / "metrics.csv").unlink()
    cli("fit", "--resume", "run").refused(4, "history.bin: is lost or damaged, and so is metrics.csv")
    cli("evaluate", "run", "--data", "classes.csv").succeeded()


def test_blocks_that_cannot_be_written_are_said(here: Path, cli: Cli) -> None:
    (here / "run" / FILE).unlink()
    (here / "run" / FILE).mkdir()
    cli("fit", "--resume", "run", "--quiet").refused(5, "history.bin: cannot be written: Is a directory")


def test_blocks_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2 * BLOCK + 7, 3))
    rows[::5, 1] = np.nan
    history = Records(rows[:BLOCK])
    assert keep_blocks(tmp_path, history, 0) == 1
    for row in rows[BLOCK:]:
        history.append([None if np.isnan(value) else value for value in row])
    assert keep_blocks(tmp_path, history, 1) == 2
    found = read_blocks(tmp_path, history.digests(), ("a", "b", "c"))
    np.testing.assert_array_equal(found, rows[: 2 * BLOCK])
