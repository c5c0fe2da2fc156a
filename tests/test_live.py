"""Is training shown as it goes, on a terminal of any size and without one?"""

from __future__ import annotations

import io
import math
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from cli import Cli, Write
from mlptrain.cli.fit import display
from mlptrain.cli.live import MOST_POINTS, LiveChart, Thinned, gradient_bars
from mlptrain.cli.progress import Course, Lines, next_line
from mlptrain.training.events import Consumer, EpochDone, Record, TrainingDone
from mlptrain.training.state import Diagnosed, Progress

SPEC = """preset: plain
data: {path: t.csv, target: y}
training: {epochs: 12, batch_size: 8, early_stopping: null}
"""


def record(epoch: int, **more: float) -> Record:
    loss = 1 / (1 + epoch)
    return {"epoch": float(epoch), "train_loss": loss, "validation_loss": loss + 0.1, "learning_rate": 0.01, **more}


def console(width: int, height: int, terminal: bool = True) -> Console:
    return Console(
        file=io.StringIO(), force_terminal=terminal, width=width, height=height, color_system=None, legacy_windows=False
    )


def course(monitor: str | None = "validation_loss", epochs: int = 1000) -> Course:
    return Course("digits-0001", epochs, 10, 500, monitor, Progress())


def shown(screen: Consumer, records: list[Record], best: int, at: Console, *diagnoses: Diagnosed) -> str:
    for each in records:
        screen.epoch(EpochDone(each, each["epoch"] == best, diagnoses))
    screen.close()
    text = at.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    return str(text)


def lines_of(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", text).splitlines()


@pytest.mark.parametrize(("width", "height"), [(40, 10), (60, 20), (80, 24), (200, 50)])
def test_a_terminal_of_any_size_is_not_overrun_and_no_figure_is_cut(width: int, height: int) -> None:
    at = console(width, height)
    records = [record(e, **{f"gradient_norm.layers.{i}": 0.1**i for i in range(3)}) for e in range(30)]
    lines = lines_of(shown(LiveChart(at, course()), records, 20, at))
    assert max(map(cell_len, lines)) <= width
    assert not any("…" in line for line in lines)
    whole = " ".join(lines)
    assert "train loss 0.0333" in whole
    assert "★ best validation loss 0.1476 (epoch 20)" in whole
    assert "gradient by layer █▆▃ up to 1.0000" in whole


def test_the_chart_stays_with_a_star_on_the_best_epoch_of_what_is_monitored() -> None:
    for monitor, starred in (("validation_loss", "validation_loss ★ epoch 7"), ("train_loss", "train_loss ★ epoch 7")):
        at = console(80, 24)
        text = shown(LiveChart(at, course(monitor)), [record(e) for e in range(20)], 7, at)
        last = lines_of(text)[-16:]
        assert any(starred in line for line in last)
        assert sum("★" in line for line in last) == 3  # in the legend, on the curve, beside the figure


def test_a_run_without_a_monitor_has_no_star() -> None:
    at = console(80, 24)
    assert "★" not in shown(LiveChart(at, course(None)), [record(e) for e in range(5)], 4, at)


def test_a_run_of_many_epochs_keeps_some_of_them_its_best_and_its_last() -> None:
    points, best = Thinned(), record(77_777)
    for epoch in range(100_000):
        points.add(record(epoch))
    found = [int(each["epoch"] or 0) for each in points.records(best)]
    assert MOST_POINTS / 2 < len(found) <= MOST_POINTS + 2
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] == 99_999
    assert 77_777 in found
    evenly = [epoch for epoch in found[:-1] if epoch != 77_777]
    assert len({b - a for a, b in pairwise(evenly)}) == 1


def test_losses_without_a_value_are_gaps() -> None:
    at = console(80, 24)
    records = [record(0), {**record(1), "validation_loss": None}, {**record(2), "validation_loss": math.inf}, record(3)]
    assert "validation_loss" in shown(LiveChart(at, course()), records, 0, at)


def test_the_first_epoch_shows_its_batches_and_running_loss() -> None:
    at, progress = console(80, 24), Progress(batch=3, rows=150, loss_sum=75.0)
    screen = LiveChart(at, course()._replace(progress=progress))
    with at.capture() as captured:
        at.print(screen)
    screen.close()
    assert "batch 3 of 10  running loss 0.5000" in captured.get()


def test_bars_are_logarithmic_and_need_two_layers() -> None:
    norms = dict(zip((f"gradient_norm.layers.{i}" for i in range(5)), (1.0, 0.03, 0.0, 1e-9, math.nan), strict=True))
    assert gradient_bars({**norms}) == ["gradient by layer █▄·▁· up to 1.0000"]
    assert gradient_bars({"gradient_norm.layers.0": 1.0}) == []


def test_diagnoses_stay_above_the_chart() -> None:
    at = console(80, 24)
    one = Diagnosed(name="dead_units", epoch=1, message="none fires", remedy="network: {activation: elu}")
    text = shown(LiveChart(at, course()), [record(0), record(1)], 0, at, one)
    assert "warning: dead units: none fires (epoch 1). Try: network: {activation: elu}" in " ".join(lines_of(text))


def test_without_a_terminal_lines_thin_out_and_the_last_epoch_is_there() -> None:
    at = console(120, 24, terminal=False)
    screen = display(at, course("train_loss"))
    assert isinstance(screen, Lines)
    for epoch in range(48):
        screen.epoch(EpochDone(record(epoch), epoch == 20, ()))
    screen.done(TrainingDone("epochs"))
    lines = lines_of(at.file.getvalue())  # type: ignore[attr-defined]
    assert [int(line.split()[1]) for line in lines] == [0, 1, 2, 5, 10, 20, 47]
    assert "train_loss 0.0476 *  validation_loss 0.1476" in lines[5]
    assert sum("*" in line for line in lines) == 1
    assert [next_line(epoch) for epoch in (0, 1, 2, 5, 10, 99)] == [1, 2, 5, 10, 20, 100]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", [40, 100])
def test_in_a_real_terminal_the_curve_stays(cli: Cli, spec: Write, tmp_path: Path, columns: int) -> None:
    import pty

    (tmp_path / "t.csv").write_text("x,y\n" + "".join(f"{i / 8},{i * i / 50}\n" for i in range(80)))
    path = spec(SPEC)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mlptrain", "fit", str(path), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "COLUMNS": str(columns), "LINES": "30", "TERM": "xterm", "NO_COLOR": "1"}
    with subprocess.Popen(command, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as process:
        os.close(theirs)
        text = b"".join(iter(lambda: read(ours), b"")).decode()
    assert process.returncode == 0
    lines = lines_of(text)
    assert any("└┬" in line for line in lines)
    assert any("validation_loss ★ epoch" in line for line in lines)
    assert max(cell_len(line) for line in lines if "┤" in line or "│" in line) <= columns


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end is closed
        return b""
