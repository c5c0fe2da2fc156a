"""Can every format of model and checkpoint that was ever released still be used?

`formats/N/` holds small files that the version with format N wrote, the tables they belong to, and what that version
predicted and measured with them. Where its figures were wrong (format 1 scaled the truth of amounts there and back, and
let quantiles cross), what scikit-learn makes of its predictions and the table stands in their place.
"""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from cli import Cli
from helpers import assert_close
from mlptrain.runs.format1 import upgraded_data

FORMATS = Path(__file__).parent / "formats"
MODELS = sorted(FORMATS.glob("*/*.safetensors"))
FINISHED = [path for path in MODELS if "checkpoint" not in path.name]
IDS = [str(path.relative_to(FORMATS).with_suffix("")) for path in MODELS]


def table_of(model: Path) -> Path:
    """The table that the model was trained on."""
    name = model.name.partition(".")[0]
    csv_file, npz_file = (model.parent / f"{name}{suffix}" for suffix in (".csv", ".npz"))
    return csv_file if csv_file.exists() else npz_file


def expected(model: Path, what: str) -> Path:
    return model.parent / f"{model.name.partition('.')[0]}.{what}"


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def is_number(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("e-", "", 1).lstrip("-").isdigit()


def test_there_are_files_of_every_format() -> None:
    assert {path.parent.name for path in MODELS} == {"1", "2"}
    assert any("checkpoint" in path.name for path in MODELS)


@pytest.mark.parametrize("model", MODELS, ids=IDS)
def test_predictions_are_those_of_the_version_that_wrote_it(cli: Cli, model: Path) -> None:
    found = cells(cli("predict", model, table_of(model), "--quiet").succeeded().out)
    wanted = cells(expected(model, "predicted.csv").read_text())
    assert found[0] == wanted[0]
    assert len(found) == len(wanted)
    for one, other in zip(found[1:], wanted[1:], strict=True):
        assert [cell for cell in one if not is_number(cell)] == [cell for cell in other if not is_number(cell)]
        numbers, wanted_numbers = ([float(cell) for cell in row if is_number(cell)] for row in (one, other))
        assert_close(sorted(numbers), sorted(wanted_numbers), 1e-5)  # in format 1, quantiles could cross


@pytest.mark.parametrize("model", FINISHED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_measures_are_those_of_the_version_that_wrote_it(cli: Cli, model: Path) -> None:
    found = cli("evaluate", model, "--data", table_of(model), "--json").succeeded().json()["metrics"]
    wanted = json.loads(expected(model, "evaluated.json").read_text())["metrics"]
    assert found.keys() >= wanted.keys()  # a later version may measure more
    for name, value in wanted.items():
        if model.match("1/amounts.*") and name != "loss":  # format 1 judged the outputs as they came, crossed or not
            continue
        assert (found[name] is None) == (value is None)
        assert value is None or found[name] == pytest.approx(value, rel=1e-4), name


def test_a_target_among_the_numeric_columns_of_format_1_has_no_effect() -> None:
    data = {"target": ["prix\u0301"], "numeric": {"columns": ["x1", "prix\u0301"], "missing": "median"}}
    assert upgraded_data(data)["numeric"] == {"columns": ["x1"], "missing": "median"}
    assert upgraded_data(data | {"target": None})["numeric"] == data["numeric"]


def test_a_run_of_format_1_is_not_resumed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    shutil.copy(FORMATS / "1" / "classes.checkpoint.safetensors", tmp_path / "old" / "checkpoint.safetensors")
    (tmp_path / "old" / "spec.yaml").write_text("data: {path: classes.csv, target: answer}\n")
    cli("fit", "--resume", "old").refused(4, "format 1", "evaluate and predict", "start a new run")
