"""Does the JSON Schema accept every spec that the loader accepts, and mark what it refuses?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from cli import Cli, Write
from mlptrain.component import variants
from mlptrain.errors import SpecError
from mlptrain.optim.optimizers import Optimizer
from mlptrain.reference import catalogue, settings
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import parse_experiment
from mlptrain.spec.schema import spec_schema

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
README = (ROOT / "README.md").read_text(encoding="utf8")
VALIDATOR = Draft202012Validator(spec_schema())


def plain(text: str) -> Any:
    return json.loads(json.dumps(yaml.parse(text, "test").plain()))


def mistakes(text: str) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(plain(text))]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(spec_schema())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid(path: Path) -> None:
    assert mistakes(path.read_text(encoding="utf8")) == []


def test_the_example_of_the_readme_is_valid() -> None:
    assert mistakes(README.partition("```yaml\n")[2].partition("```")[0]) == []


def test_the_spec_of_a_run_is_valid(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> None:
    spec("preset: quick\ndata: {path: classes.csv, target: answer}\ntraining: {epochs: 1}\n")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    assert mistakes((tmp_path / "run/spec.yaml").read_text()) == []


HEAD = "data: {path: t.csv, target: y}\n"
BOTH = {
    "a name": "optimizer: adam",
    "an alias": "optimizer: gradient_descent",
    "a mapping without a kind": "optimizer: {learning_rate: 0.1}",
    "a schedule without a kind": "schedule: {warmup: 2}",
    "a mapping with a kind": "optimizer: {kind: sgd, learning_rate: 0.1}",
    "widths": "network: {hidden: [64, {width: 16, dropout: 0.1}, {kind: dense, width: 4}]}",
    "no layers": "network: {hidden: []}",
    "a whole number as a real one": "training: {clip_norm: 1}",
    "all rows": "training: {batch_size: full, threads: auto}",
    "null": "training: {early_stopping: null}\nseed: null",
    "no normalization": "network: {normalization: null}",
    "weights of classes": "loss: {kind: cross_entropy, class_weight: {a: 2, b: 0.5}}",
    "balanced": "loss: {kind: cross_entropy, class_weight: balanced}",
    "a gain": "network: {initializer: {kind: orthogonal, gain: activation}}",
    "a task": "task: regression",
    "a threshold": "decision: {metric: f1}",
    "folds": "ensemble: {members: 4, rows: folds}\ndata: {path: t.csv, target: y, split: {folds: 2, validation: 0.0}}",
    "several targets": "data: {path: t.csv, target: [a, b], encoders: {x: category}}",
    "a separate target": "data: {path: t.idx, target_path: y.idx}",
}
"""Right, for the loader as for the schema."""
NEITHER = {
    "an unknown key": "optimiser: adam",
    "an unknown key below": "training: {epoch: 5}",
    "an unknown key of a component": "optimizer: {kind: sgd, beta1: 0.5}",
    "an unknown kind": "optimizer: adm",
    "an unknown kind in a mapping": "network: {activation: {kind: rellu}}",
    "a mapping that needs a kind": "loss: {label_smoothing: 0.1}",
    "text for a number": "training: {epochs: many}",
    "a number in quotes": 'optimizer: {learning_rate: "0.1"}',
    "a real number for a whole one": "training: {epochs: 2.5}",
    "below its bound": "training: {epochs: 0}",
    "above its bound": "network: {dropout: 1.5}",
    "one width": "network: {hidden: 64}",
    "a width below 1": "network: {hidden: [0]}",
    "a word for a batch": "training: {batch_size: all}",
    "no target": "data: {path: t.csv}",
    "no data": "seed: 1\ndata: null",
    "an unknown task": "task: clustering",
    "an unknown encoder": "data: {path: t.csv, target: y, encoders: {x: one_hot}}",
    "a name that is no folder": "name: a/b",
    "a flag as text": "network: {linear_path: 'yes'}",
}
"""Wrong, for the loader as for the schema."""


def spec_of(lines: str) -> str:
    return lines if "data:" in lines else HEAD + lines


@pytest.mark.parametrize("kind", BOTH)
def test_what_the_loader_takes_is_valid(kind: str) -> None:
    text = spec_of(BOTH[kind])
    parse_experiment(text, Path("spec.yaml"))
    assert mistakes(text) == []


@pytest.mark.parametrize("kind", NEITHER)
def test_what_the_loader_refuses_is_marked(kind: str) -> None:
    text = spec_of(NEITHER[kind])
    with pytest.raises(SpecError):
        parse_experiment(text, Path("spec.yaml"))
    assert mistakes(text)


def descriptions(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            yield schema["description"]
        for value in schema.values():
            yield from descriptions(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from descriptions(value)


def test_every_setting_is_described_with_its_default() -> None:
    schema = spec_schema()
    found = set(descriptions(schema))
    families = [one for title, _, group in catalogue() if title in ("optimizers", "losses", "layers") for one in group]
    models: list[type[BaseModel]] = [Experiment, *families]
    for model in models:
        assert {setting.meaning for setting in settings(model)} <= found
    assert {variant.__name__ for variant in variants(Optimizer)} <= set(schema["$defs"])
    assert schema["$defs"]["Training"]["properties"]["epochs"] == {
        "default": 200,
        "description": "Maximum number of passes over the training rows.",
        "maximum": 10**9,
        "minimum": 1,
        "type": "integer",
    }
    assert schema["properties"]["preset"]["default"] == "plain"  # that of the tests


def test_the_command_prints_and_writes_the_same(cli: Cli, tmp_path: Path) -> None:
    printed = cli("schema").succeeded()
    assert printed.json() == spec_schema()
    for _ in range(2):
        assert "# yaml-language-server: $schema=s.json" in cli("schema", "--out", "s.json").succeeded().err
    assert json.loads((tmp_path / "s.json").read_text()) == spec_schema()


def test_a_component_of_a_plugin_is_a_choice(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from typing import Literal\n"
        "from mlptrain.nn.activations import Activation\n\n\n"
        "class Mine(Activation):\n"
        '    """Mine."""\n\n'
        '    kind: Literal["mine_of_schema"] = "mine_of_schema"\n'
    )
    from cli import run_process

    done = run_process("schema", "--plugin", "mine.py", folder=tmp_path).succeeded()
    assert "mine_of_schema" in json.dumps(done.json()["$defs"]["NetworkSpec"]["properties"]["activation"])
