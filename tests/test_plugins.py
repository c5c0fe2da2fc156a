"""Do a user's own components take part, from the command line alone, and is a broken plugin told plainly?"""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import LESSONS, run_process

LESSON = LESSONS / "11_softsign.py"
SPEC = (
    "data: {path: classes.csv, target: answer}\nnetwork: {hidden: [4], activation: softsign}\n"
    "training: {epochs: 2, baselines: false}\n"
)
ACTIVATION = """
from typing import Literal
from mlptrain.nn.activations import Tanh
class Mine(Tanh):
    kind: Literal["{kind}"] = "{kind}"
"""
BROKEN = {
    "missing": (None, "--plugin mine.py: no such file"),
    "syntax": ("x = 1\ndef f(:\n", "--plugin mine.py: line 2: SyntaxError"),
    "fails": ("x = 1\ny = x / 0\n", "--plugin mine.py: line 2: ZeroDivisionError"),
    "imports what is not there": ("import no_such_package\n", "--plugin mine.py: line 1: ModuleNotFoundError"),
    "defines nothing": ("x = 1\n", "--plugin mine.py: defines no component"),
    "takes a name": (ACTIVATION.format(kind="relu"), "the kind 'relu' of Mine is taken in the family Activation"),
    "takes an alias": (ACTIVATION.format(kind="swish"), "the kind 'swish' of Mine is taken"),
}


@pytest.fixture
def spec_file(tmp_path: Path, classes: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


@pytest.mark.parametrize(("text", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_with_its_line(spec_file: Path, text: str | None, message: str) -> None:
    if text is not None:
        (spec_file / "mine.py").write_text(text)
    run_process("fit", "spec.yaml", "--plugin", "mine.py", folder=spec_file).refused(2, message)
    assert not (spec_file / "runs").exists()


def test_every_verb_knows_the_components_of_a_plugin(spec_file: Path) -> None:
    plugin = ("--plugin", LESSON)
    run_process("fit", "spec.yaml", *plugin, "--out", "run", folder=spec_file).succeeded()
    assert "softsign" in run_process("explain", "spec.yaml", *plugin, folder=spec_file).succeeded().out
    assert "passed" in run_process("gradcheck", "spec.yaml", *plugin, folder=spec_file).succeeded().out
    assert "1 + |z|" in run_process("components", "softsign", *plugin, folder=spec_file).succeeded().out
    run_process("predict", "run", "classes.csv", *plugin, folder=spec_file).succeeded()
    run_process("evaluate", "run", "--data", "classes.csv", *plugin, folder=spec_file).succeeded()


def test_no_file_can_ask_for_a_plugin(spec_file: Path) -> None:
    run_process("fit", "spec.yaml", "--plugin", LESSON, "--out", "run", folder=spec_file).succeeded()
    for verb in (("predict", "run", "classes.csv"), ("evaluate", "run"), ("fit", "--resume", "run")):
        run_process(*verb, folder=spec_file).refused(4, "needs the unknown component 'softsign'", "--plugin FILE.py")
    run_process("fit", "spec.yaml", folder=spec_file).refused(2, "network.activation: unknown kind 'softsign'")
    (spec_file / "asks.yaml").write_text(SPEC + f"plugin: {LESSON}\n")
    run_process("fit", "asks.yaml", folder=spec_file).refused(2, "asks.yaml:4:1 plugin: unknown key")
