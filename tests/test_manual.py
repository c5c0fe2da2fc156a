"""Do the examples of each command parse, does the shell complete them, and do the pages say all of their options?"""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import Cli, run_process
from mlptrain import errors
from mlptrain.cli import manual
from mlptrain.cli.app import app

PAGES = manual.pages()
EXAMPLES = [line for page in PAGES for line in page.examples]


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs that are called; none of them does anything."""
    called: list[str] = []
    for page in PAGES:
        module = importlib.import_module(f"mlptrain.cli.{page.name.replace('-', '_')}")
        monkeypatch.setattr(module, "run", lambda *arguments, name=page.name: called.append(name))
    (tmp_path / "runs" / "flowers-0001").mkdir(parents=True)
    (tmp_path / "runs" / "flowers-0001" / "spec.yaml").touch()
    return called


def test_every_command_has_examples_of_its_own() -> None:
    assert all(len(page.examples) >= 2 for page in PAGES)
    assert len(set(EXAMPLES)) == len(EXAMPLES)


@pytest.mark.parametrize("line", EXAMPLES)
def test_an_example_is_a_command_line(cli: Cli, called: list[str], line: str) -> None:
    program, verb, *arguments = shlex.split(line.partition(" > ")[0])
    assert program == "mlptrain"
    cli(verb, *arguments).succeeded()
    assert called == [verb]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_help_shows_the_examples_and_every_option_of_the_page(cli: Cli, page: manual.Page) -> None:
    said = cli(page.name, "--help").succeeded().out
    assert all(" ".join(line.split()) in " ".join(said.split()) for line in page.examples)
    assert set(re.findall(r"(?<=│ )--[\w-]+", said)) == {each.name.split(", ")[-1].split()[0] for each in page.options}


def completed(line: str, folder: Path, instruction: str = "complete_bash") -> str:
    words = line.split(" ")
    wanted = {"_MLPTRAIN_COMPLETE": instruction, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    outcome = run_process(folder=folder, **wanted)
    assert outcome.err == ""
    return outcome.out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("mlptrain f", ["fit"]),
        ("mlptrain fit --re", ["--resume", "--report"]),
        ("mlptrain nonsense --re", []),
    ],
)
def test_the_shell_completes(tmp_path: Path, line: str, words: list[str]) -> None:
    assert sorted(completed(line, tmp_path).split()) == sorted(words)


def test_the_shell_is_told_how(tmp_path: Path) -> None:
    assert "complete -o default -F _mlptrain_completion mlptrain" in completed("mlptrain", tmp_path, "source_bash")


def test_completion_adds_two_options_and_no_more() -> None:
    root: Any = typer.main.get_command(app)
    flags = [flag for parameter in root.params for flag in parameter.opts]
    assert flags == ["--version", "--install-completion", "--show-completion"]


def test_the_exit_codes_are_those_of_the_errors() -> None:
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert {code for code, _ in manual.EXITS} == {"0", *map(str, codes), "129, 130, 143"}


def test_the_pages_for_man_hold_every_option_and_only_known_requests() -> None:
    made = manual.man_pages()
    assert list(made) == ["mlptrain.1", *(f"mlptrain-{page.name}.1" for page in PAGES)]
    for page in PAGES:
        text = made[f"mlptrain-{page.name}.1"]
        requests = set(re.findall(r"^[.'].*?(?= |$)", text, re.MULTILINE))
        assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi"}
        assert all(manual.roff(each.name) in text for each in (*page.options, *page.arguments))
        assert all(manual.roff(line) in text for line in page.examples)


def test_what_man_would_take_for_a_request_is_text() -> None:
    assert [manual.roff(text) for text in (".x", "'y'", "a\\b", "--set `z`")] == [
        "\\&.x",
        "\\&'y'",
        "a\\eb",
        "\\-\\-set z",
    ]
