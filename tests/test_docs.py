"""Do the pages say what is true? README, reference, configs and data sets are kept in step with the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from cli import Cli
from mlptrain import checks, gradcheck, rates
from mlptrain.cli.app import app
from mlptrain.inspect import columns
from mlptrain.spec.presets import Standard

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def test_the_reference_is_not_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlptrain.spec.presets.DEFAULT", Standard())
    spec = importlib.util.spec_from_file_location("make", ROOT / "docs/make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, text in module.pages().items():
        assert (ROOT / "docs/reference" / name).read_text(encoding="utf8") == text, "run python docs/make.py"


def test_the_two_commands_are_there_as_ci_reads_them() -> None:
    assert re.search(r"^pip install \. && mlptrain fit configs/penguins\.yaml$", README, re.MULTILINE)
    assert re.search(r'^pip install -e "\.\[dev\]" && pytest$', README, re.MULTILINE)


def test_every_verb_is_in_the_table() -> None:
    commands = [command for command in app.registered_commands if command.callback]
    verbs = {command.name or command.callback.__name__ for command in commands if command.callback}
    assert set(re.findall(r"^\| `mlptrain ([\w-]+)", README, re.MULTILINE)) == verbs


def test_the_spec_by_example_is_a_spec(cli: Cli, tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    path = tmp_path / "spec.yaml"
    path.write_text(text.replace("../datasets", str(ROOT / "datasets")))
    cli("fit", path, "--set", "training.epochs=6", "--out", tmp_path / "run").succeeded()


def test_the_session_is_what_the_command_prints(cli: Cli, tmp_path: Path) -> None:
    (session,) = re.findall(r"\$ mlptrain fit configs/penguins\.yaml\n(.*?)```", README, re.DOTALL)
    printed = cli("fit", ROOT / "configs/penguins.yaml", "--out", tmp_path / "run").succeeded()
    expected = [line for line in session.splitlines() if line.startswith("epoch ")]
    found = [line for line in printed.err.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[0] for line in found] == [line.split("  ")[0] for line in expected]
    for line, wanted in zip(found[:5], expected[:5], strict=True):  # later ones depend on rounding
        numbers, wanted_numbers = (re.findall(r"(?<=loss )[\d.]+", text) for text in (line, wanted))
        assert [float(x) for x in numbers] == pytest.approx([float(x) for x in wanted_numbers], rel=0.02)
    assert printed.out.splitlines()[0].split() == session.splitlines()[len(expected) + 3].split()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "datasets/README.md", "docs/checks.md", "docs/export.md"]
)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf8")
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not ((ROOT / page).parent / target).exists()] == []


def test_every_data_set_with_a_known_origin_has_a_config() -> None:
    names = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    assert names == {"penguins", "iris", "breast_cancer", "digits", "diamonds", "mnist", "notebook"}


def test_the_bounds_of_the_checks_are_those_of_the_code() -> None:
    page = " ".join((ROOT / "docs/checks.md").read_text(encoding="utf8").split())
    for text in (
        f"tells {columns.GIVES_AWAY:.0%} or more of the target",
        f"fewer than {checks.FEWEST_HELD_OUT} rows",
        f"more than {checks.MOST_REPEATED:.0%} of the held-out rows, and at least {checks.FEWEST_REPEATED},",
        f"or {checks.MOST_STEPS} of them",
        f"on {gradcheck.ROWS} rows and {checks.ENTRIES} entries",
        f"more than {checks.LEARNED:.0%} of the loss on {checks.HEART_ROWS} rows with different inputs after "
        f"{checks.HEART_STEPS} steps",
        f"{rates.STEPS} steps of a copy",
        f"from {rates.LOW:.6f} to {rates.HIGH:g}",
        f"moving average of {rates.SMOOTHING:g}",
        f"at which {rates.MOST:.0%} of the fall is done",
    ):
        assert text in page
    assert [row.split("|")[1].strip() for row in re.findall(r"^\| [a-z].*", page_rows(), re.MULTILINE)] == [
        "spec",
        *(check.__name__.replace("_", " ") for check in checks.CHECKS),
    ]


def page_rows() -> str:
    """The table of the checks."""
    text = (ROOT / "docs/checks.md").read_text(encoding="utf8")
    return text.partition("| --- | --- |")[2].partition("\n\n")[0]
