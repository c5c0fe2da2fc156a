"""Does `inspect` say what is there: the columns of a table, the settings of a config, a run, the tensors of a file?"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.numpy

from cli import DATASETS, Cli, Write, write_csv
from mlptrain.cli.console import Screen
from mlptrain.inspect.columns import Target, told_alone
from mlptrain.randomness import stream

CONFIGS = Path(__file__).parents[1] / "configs"


def label(i: int) -> str:
    return "ab"[(7 * i) % 23 > 11]


def columns(document: Any) -> dict[str, Any]:
    assert document["kind"] == "table"
    return {one["name"]: one for one in document["columns"]}


# --- Tables


def test_a_table_of_every_kind_of_column(cli: Cli, tmp_path: Path) -> None:
    days = [f"2024-{1 + i % 12:02d}-{1 + i % 28:02d}" for i in range(120)]
    rows = [
        (i + 1, "" if i % 10 == 0 else i % 11, f"{i % 17} kg", days[i], f"c{i % 4}", "same", i % 11 * 3, label(i))
        for i in range(120)
    ]
    write_csv(tmp_path / "t.csv", "id,x,weight,day,city,constant,code,y", rows)
    found = columns(cli("inspect", "t.csv", "--target", "y", "--json").succeeded().json())
    assert {name: one["role"] for name, one in found.items() if one["role"] != "feature"} == {
        "id": "left out",
        "constant": "left out",
        "y": "target",
    }
    assert {name: one["holds"] for name, one in found.items()} == {
        "id": "whole numbers",
        "x": "whole numbers",
        "weight": "amounts",
        "day": "dates",
        "city": "text",
        "constant": "text",
        "code": "whole numbers",
        "y": "text",
    }
    x, city = found["x"], found["city"]
    assert (x["present"], x["missing"], x["distinct"], x["span"]) == (108, 12, 11, [0.0, 5.0, 10.0])
    assert sum(x["histogram"]) == 108
    assert city["levels"] == [[f"c{k}", 30] for k in range(4)]
    assert found["day"]["span"][0] == min(days)
    assert found["weight"]["span"] == [0.0, 8.0, 16.0]
    assert found["constant"]["becomes"] == "left out: it is the same in every training row"


def test_the_inputs_are_those_that_training_gives(cli: Cli, tmp_path: Path) -> None:
    """All rows train, since the preset has no rows for a test: its encoders are the same."""
    found = columns(cli("inspect", DATASETS / "penguins.csv", "--target", "species", "--json").succeeded().json())
    spec = cli("init", DATASETS / "penguins.csv", "--target", "species").succeeded().out
    (tmp_path / "c.yaml").write_text(spec)
    config = cli("inspect", "c.yaml", "--json").succeeded().json()
    assert sum(one["inputs"] for one in found.values()) == config["network"]["inputs"]


def test_a_histogram_is_that_of_numpy(cli: Cli, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=200)
    write_csv(tmp_path / "t.csv", "x,y", [(repr(float(value)), label(i)) for i, value in enumerate(values)])
    found = columns(cli("inspect", "t.csv", "--json").succeeded().json())
    assert found["x"]["histogram"] == np.histogram(values, 10)[0].tolist()
    assert found["y"]["role"] == "feature"
    assert found["x"]["tells"] is None


def test_what_stands_out_is_said(cli: Cli, tmp_path: Path) -> None:
    rows = [(i % 11, i % 11, 1000 + 3 * i, f"<script>{i}</script>", label(i), label(i) * 2) for i in range(120)]
    write_csv(tmp_path / "t.csv", "x,twin,number,text,y,leak", rows)
    said = cli("inspect", "t.csv", "--target", "y").succeeded().out
    assert "twin: says the same as 'x'" in said
    assert "number: is another whole number in each row: an identifier?" in said
    assert "text: left out: it has a text of its own in nearly every row" in said
    assert "leak: tells 100% of the target alone" in said
    assert "leak: says the same as 'y'" in said
    assert not re.search(r"^x: ", said, re.MULTILINE)


def test_a_column_that_cannot_be_used_is_a_note(cli: Cli, tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", "x,bad,y", [(i % 9, "n.a." if i == 3 else i % 5, label(i)) for i in range(60)])
    found = columns(cli("inspect", "t.csv", "--target", "y", "--json").succeeded().json())
    assert not found["bad"]["usable"]
    assert "1 of its cells does not read as a number: 'n.a.' in row 4" in found["bad"]["notes"][0]


@pytest.mark.parametrize("classes", [True, False])
def test_what_a_column_tells_alone(classes: bool) -> None:
    rng = np.random.default_rng(0)
    key = rng.normal(size=2000)
    truth: Any = (key > 0.3).astype(int) if classes else (key**3)[:, None]
    mixed = rng.permutation(2000)
    assert told_alone(key, Target(truth)) == pytest.approx(1, abs=0.01)
    assert told_alone(key, Target(truth[mixed])) == pytest.approx(0, abs=0.1)
    assert told_alone(np.zeros(2000), Target(np.sort(truth, axis=0))) == pytest.approx(0, abs=0.1)
    assert told_alone(key[:40], Target(truth[:40])) is None


def test_the_share_of_a_noisy_column_is_that_of_its_variance() -> None:
    """For values it is about R2: the variance that the column explains."""
    rng = stream(0, "inspect")
    key, noise = rng.normal(size=(2, 20_000))
    told = told_alone(key, Target((key + noise)[:, None]))
    assert told == pytest.approx(0.5, abs=0.03)


def test_a_wide_table_and_one_of_arrays(cli: Cli, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(30, 1500))
    pl.DataFrame(values, schema=[f"c{i}" for i in range(1500)]).write_parquet(tmp_path / "t.parquet")
    assert len(columns(cli("inspect", "t.parquet", "--json").succeeded().json())) == 1500
    np.savez(tmp_path / "t.npz", block=values[:, :3], pixels=np.arange(120, dtype=np.uint8).reshape(30, 4))
    found = columns(cli("inspect", "t.npz", "--json").succeeded().json())
    assert found["block"]["inputs"] >= 3
    assert found["pixels"]["holds"] == "pixels"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_no_figure_is_cut(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """In a narrow terminal there are fewer columns, and each cell is whole and on one line."""
    for module in ("console", "inspect"):
        monkeypatch.setattr(f"mlptrain.cli.{module}.stdout_console", lambda: Screen(width=width))
    rows = [(i % 11 / 7, f"city number {i % 60}", 123_456_789 + i * i, label(i)) for i in range(120)]
    write_csv(tmp_path / "t.csv", "a name,city,amount,y", rows)
    said = cli("inspect", "t.csv", "--target", "y").succeeded().out
    lines = said.partition("column ")[2].splitlines()[1:5]
    assert "…" not in said
    assert [line.split("  ")[0] for line in lines] == ["a name", "city", "amount", "y"]
    assert all(len(line) <= width for line in lines)
    assert ("123,456,789 to 123,470,950" in said) is (width >= 80)
    assert ("median 123,460,389" in said) is (width >= 120)


def test_names_with_control_characters_are_escaped(cli: Cli, tmp_path: Path) -> None:
    pl.DataFrame({"a\x1b[31m\nb": range(30), "y": list(map(label, range(30)))}).write_parquet(tmp_path / "t.parquet")
    said = cli("inspect", "t.parquet", "--target", "y")
    assert "\x1b" not in said.out + said.err


# --- Configs


def test_the_settings_of_a_config_with_their_origins(cli: Cli, classes: Path, spec: Write) -> None:
    spec(
        "preset: quick\ndata:\n  path: classes.csv\n  target: answer\nnetwork: {hidden: [8]}\noptimizer: adam\n"
        "training: {epochs: 7}\n"
    )
    found = cli("inspect", "spec.yaml", "--set", "training.batch_size=4", "--json").succeeded().json()
    origins = {name: (one["value"], one["from"].rpartition("/")[2]) for name, one in found["settings"].items()}
    assert origins["training.epochs"] == (7, "spec.yaml:7")
    assert origins["training.batch_size"] == (4, "--set training.batch_size=4")
    assert origins["optimizer.kind"] == ("adam", "spec.yaml:6")
    assert origins["optimizer.beta1"] == (0.9, "default")
    assert origins["network.hidden.0.width"] == (8, "spec.yaml:5")
    assert origins["network.activation.kind"] == ("silu", "preset quick")
    assert origins["loss.kind"] == ("cross_entropy", "decided")
    assert origins["task"] == ("classification", "decided")
    assert origins["data.numeric.indicator"] == (True, "preset quick")
    assert origins["ensemble.members"] == (1, "default")


def test_the_settings_are_those_of_the_run(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> None:
    from mlptrain.inspect.settings import leaves
    from mlptrain.spec import yaml

    spec("preset: standard\ndata: {path: classes.csv, target: answer}\ntraining: {epochs: 1}\n")
    found = cli("inspect", "spec.yaml", "--json").succeeded().json()
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    written = json.loads(json.dumps(yaml.load(tmp_path / "run/spec.yaml")[1].plain()))
    written["data"]["path"] = str(classes)
    assert {name: one["value"] for name, one in found["settings"].items()} == {
        ".".join(map(str, location)): value for location, value in leaves(written)
    } | {"name": "spec"}


def test_a_network_with_its_sizes(cli: Cli) -> None:
    found = cli("inspect", CONFIGS / "iris.yaml", "--json").succeeded().json()["network"]
    shapes = [layer["tensors"] for layer in found["layers"]]
    assert found["inputs"] == shapes[0]["weight"][0]
    assert found["parameters"] == sum(int(np.prod(shape)) for layer in shapes for shape in layer.values())
    said = cli("inspect", CONFIGS / "iris.yaml").succeeded().out
    assert f"{found['parameters']:,} parameters" in said
    assert re.search(r"kind: \w+ +iris\.yaml:\d+", said)


def test_a_config_with_a_mistake_is_refused_as_by_fit(cli: Cli, spec: Write) -> None:
    spec("data: {path: t.csv, tagret: y}\n")
    cli("inspect", "spec.yaml").refused(2, "did you mean 'target'?")
    spec("data: {path: t.csv, target: y}\n")
    cli("inspect", "spec.yaml", "--json").refused(3, "no such data file")


# --- Runs and files


@pytest.fixture
def run(cli: Cli, classes: Path, spec: Write, tmp_path: Path) -> Path:
    spec("data: {path: classes.csv, target: answer}\nnetwork: {hidden: [4]}\ntraining: {epochs: 2}\n")
    cli("fit", "spec.yaml", "--out", "run").succeeded()
    return tmp_path / "run"


def test_a_finished_run(cli: Cli, run: Path) -> None:
    found = cli("inspect", "run", "--json").succeeded().json()
    assert found["state"] == "finished"
    assert found["summary"] == json.loads((run / "summary.json").read_text())
    assert found["files"]["spec.yaml"] == (run / "spec.yaml").stat().st_size
    assert ".lock" not in found["files"]
    said = cli("inspect", "run").succeeded().out
    assert "finished as planned after 2 epochs" in said
    assert "accuracy" in said
    assert "next: mlptrain evaluate run" in said


def test_the_newest_run(cli: Cli, run: Path, tmp_path: Path) -> None:
    cli("fit", "spec.yaml").succeeded()
    assert cli("inspect", "latest", "--json").succeeded().json()["path"] == "runs/spec-0001"


def test_runs_that_are_not_finished(cli: Cli, run: Path, spec: Write) -> None:
    (run / "summary.json").unlink()
    (run / "model.safetensors").unlink()
    assert "unfinished, stopped in epoch 2 at step" in cli("inspect", "run").succeeded().out
    assert cli("inspect", "run", "--json").succeeded().json()["state"] == "unfinished"
    (run / "checkpoint.safetensors").unlink()
    assert "nothing is trained yet; continue with: mlptrain fit --resume run" in cli("inspect", "run").succeeded().out
    (run / "spec.yaml").unlink()
    cli("inspect", "run").refused(4, "is not the folder of a run")


def test_a_diverged_run(cli: Cli, run: Path, spec: Write) -> None:
    assert cli("fit", "spec.yaml", "--set", "optimizer={kind: sgd, learning_rate: 1.0e+30}", "--out", "bad").code == 6
    assert "training diverged in epoch" in cli("inspect", "bad").succeeded().out


def test_a_damaged_summary(cli: Cli, run: Path) -> None:
    (run / "summary.json").write_text("{")
    cli("inspect", "run", "--json").refused(4, "summary.json: is damaged")


def test_the_tensors_of_a_model(cli: Cli, run: Path) -> None:
    found = cli("inspect", "run/model.safetensors", "--json").succeeded().json()
    wanted = safetensors.numpy.load_file(run / "model.safetensors")
    assert {one["name"]: tuple(one["shape"]) for one in found["tensors"]} == {
        name: array.shape for name, array in wanted.items()
    }
    for one in found["tensors"]:
        assert one["sha256"] == hashlib.sha256(wanted[one["name"]].tobytes()).hexdigest()
    assert found["header"]["plan"]["name"] == "spec"
    said = cli("inspect", "run/model.safetensors").succeeded().out
    assert "predicts: answer (classification, loss cross_entropy)" in said
    assert "layers.0.weight" in said
    assert "progress: epoch 2" in cli("inspect", "run/checkpoint.safetensors").succeeded().out


def test_files_of_tensors_that_are_foreign_or_damaged(cli: Cli, run: Path, tmp_path: Path) -> None:
    half = np.ones((2, 3), np.float16)
    safetensors.numpy.save_file({"w": half}, tmp_path / "w.safetensors", {"made\x1bby": "hand"})
    said = cli("inspect", "w.safetensors").succeeded().out
    assert "tensors of another program" in said
    assert "\x1b" not in said
    assert "2x3" in said
    raw = (run / "model.safetensors").read_bytes()
    (tmp_path / "flipped.safetensors").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    (tmp_path / "short.safetensors").write_bytes(raw[:-8])
    (tmp_path / "text.safetensors").write_text("hello")
    for name in ("flipped", "short", "text"):
        cli("inspect", f"{name}.safetensors", "--json").refused(4, f"{name}.safetensors")
    cli("inspect", "absent.safetensors").refused(4, "no such file")
    cli("inspect", "absent.csv").refused(3, "no such data file")


def test_options_that_do_not_suit(cli: Cli, run: Path) -> None:
    cli("inspect", "run", "--target", "y").refused(2, "--target is for a table")
    cli("inspect", "classes.csv", "--set", "seed=1").refused(2, "--set is for a config")
    cli("inspect", "classes.csv", "--target", "anwer").refused(3, "did you mean 'answer'?")
