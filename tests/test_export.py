"""Does an exported model say what `mlptrain predict` says, in every format and for every component?"""

from __future__ import annotations

import ast
import csv
import datetime
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from cli import Outcome, run_cli, run_process, write_csv
from json_program import predictions
from mlptrain.component import Component, example_instances, variants
from mlptrain.data.amounts import CELL, Notation
from mlptrain.data.columns import canonical
from mlptrain.data.dates import CLOCK, MONTHS, SPELLINGS, moments, pattern
from mlptrain.data.scalers import Scaler, Values
from mlptrain.export import c_runtime, cells, mathematics
from mlptrain.export.c import quoted
from mlptrain.export.exported import identifier
from mlptrain.export.formats import FORMATS
from mlptrain.export.golden import golden_rows
from mlptrain.export.graph import Dtype, Node, Source, cast, evaluate, source
from mlptrain.export.program import program_of, support
from mlptrain.nn.activations import Activation
from mlptrain.nn.losses import Loss
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.model import open_model

ROOT = Path(__file__).parents[1]
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ["-std=c99", "-O0", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsanitize=address,undefined"]
HAS_ONNX = importlib.util.find_spec("onnx") is not None
COMPUTING = [name for name in ("python", "c", "json", "onnx") if HAS_ONNX or name != "onnx"]
HEADER = "when,amount,x1,x2,town,flag,level"

# --- A table with every kind of cell


def cells_of(i: int) -> list[str]:
    """The cells of a row: a date, an amount, two numbers, one of many towns, a flag and a level."""
    day, month, year = i * 7 % 28 + 1, i * 5 % 12 + 1, 2018 + i % 4
    town = f"town {i * 11 % 45}" if i % 3 else "the town"
    cells = [
        f"{day}.{month}.{year} {i % 24:02}:30",
        f'"€{1000 + 37 * i:,.2f}"',
        f"{(7 * i) % 23 / 10 - 1.1:.2f}",
        f"{(5 * i) % 19 * 100 - 900}",
        town,
        "True" if i % 5 < 2 else "False",
        ("low", "middle", "high")[i % 3],
    ]
    if i % 17 in range(len(cells)):
        cells[i % 17] = ""
    return cells


def target_of(i: int, kind: str) -> str:
    """What is predicted: two classes, three, two labels or a price."""
    sum_of_them = (7 * i) % 23 / 10 - 1.1 + (5 * i) % 19 / 10 - 0.9
    if kind == "price":
        return f"{1000.5 + 300 * sum_of_them + i % 4 * 50:.1f}"
    if kind == "labels":
        return f"{'yes' if sum_of_them > 0 else 'no'},{int(i % 5 < 2)}"
    return ("a" if sum_of_them > 0 else "b") if kind == "two" else str((sum_of_them > -0.5) + (sum_of_them > 0.5) + 1)


def table(folder: Path, kind: str, rows: int = 120) -> Path:
    header = f"{HEADER},{'y,z' if kind == 'labels' else 'y'}"
    return write_csv(folder / f"{kind}.csv", header, [(*cells_of(i), target_of(i, kind)) for i in range(rows)])


HARD = (
    ["31.12.2021 23:59", '"€1,234.50"', "0.3", "100", "town 7", "TRUE", "low"],
    ["", "", "", "", "", "", ""],
    ["1.1.1999", "-€5", "1e3", "-1e5", "a town that nobody knows", "1", "middle"],
    ["29.02.2024 06:00", '"€9,999,999.99"', "-1e4", "1e6", "  the town ", "0", " high"],
    ["1.3.2020", "€0.01", "-0.0", "NA", "NULL", "false", "unheard of"],
)


SPEC = """
preset: {preset}
seed: 3
data:
  path: {table}
  target: {target}
  day_first: true
{data}
"""
TARGETS = {"two": "y", "many": "y", "labels": "[y, z]", "price": "y"}


def trained(folder: Path, kind: str, preset: str = "plain", data: str = "", more: str = "") -> Path:
    """A run in the folder."""
    spec = SPEC.format(preset=preset, table=table(folder, kind), target=TARGETS[kind], data=data)
    (folder / "spec.yaml").write_text(f"{spec}\n{more}\n", encoding="utf8")
    task = [] if kind == "price" else ["--set", f"task={'multilabel' if kind == 'labels' else 'classification'}"]
    run_cli("fit", "spec.yaml", "--quiet", "--out", "run", "--epochs", 3, *task, folder=folder).succeeded()
    return folder / "run"


def exported(folder: Path, form: str, name: str = "model") -> Path:
    """The run of a folder in a format."""
    out = folder / f"{name}.{form}"
    run_cli("export", "run", "--to", form, "-o", out, folder=folder).succeeded()
    return out


def hard_table(folder: Path) -> Path:
    return write_csv(folder / "hard.csv", HEADER, [tuple(row) for row in HARD])


def predicted(folder: Path, data: Path) -> list[dict[str, str]]:
    """What `mlptrain predict` says."""
    out = run_cli("predict", "run", data, "--quiet", folder=folder).succeeded().out
    return list(csv.DictReader(io.StringIO(out)))


def raw_rows(data: Path) -> list[dict[str, Any]]:
    """The cells of a table as text, None where there is nothing."""
    with data.open(encoding="utf8") as file:
        return [{name: cell or None for name, cell in row.items()} for row in csv.DictReader(file)]


def by_python(file: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The predictions of a file, in a process of its own that has no package."""
    lines = "\n".join(map(json.dumps, rows))
    command = [sys.executable, "-I", "-S", str(file)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_json(file: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The predictions of a document, by a reader that shares no code."""
    document = json.loads(file.read_text(encoding="utf8"))
    return [predictions(document, row) for row in rows]


def by_onnx(file: Path, rows: list[dict[str, Any]], model: Model) -> list[dict[str, Any]]:
    """The predictions of a graph by onnxruntime, for cells that a caller has read."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    missing = frozenset(model.transforms.missing_values)
    feeds = {}
    for one in program_of(model).sources:
        texts = [row[one.column] for row in rows]
        if one.kind == "category":
            values = ["" if text is None else cells.canonical(text) for text in texts]
            feeds[one.column] = np.array(values, object)[:, None]
        elif one.kind == "moment":
            form = pattern(one.spelling)
            read = [cells.read_moment(one.column, text, missing, (one.spelling, form), False) for text in texts]
            feeds[one.column] = np.array(read)[:, None]
        elif one.notation is not None:
            how = (*one.notation, CELL, one.notation.pattern)
            amounts = [cells.read_amount(one.column, text, missing, how, False) for text in texts]
            feeds[one.column] = np.array(amounts)[:, None]
        else:
            feeds[one.column] = np.array([cells.read_number(one.column, text, missing, False) for text in texts])[
                :, None
            ]
    outputs = [output.name for output in session.get_outputs()]
    found = dict(zip(outputs, session.run(None, feeds), strict=True))
    names = [(column, found["label" if column.label else outputs[-1]]) for column in program_of(model).columns]
    return [{column.name: array[i, column.place] for column, array in names} for i in range(len(rows))]


def same(found: list[dict[str, Any]], expected: list[dict[str, str]]) -> None:
    """Demand the same columns, words and numbers."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        for name, value in one.items():
            if isinstance(value, float | np.floating):
                near = 1e-5 if name.startswith("probability") else 1e-4
                assert math.isclose(value, float(other[name]), rel_tol=near, abs_tol=near), name
            else:
                assert str(value) == other[name], name


def compiled(header: Path, folder: Path, compiler: str) -> Outcome:
    """The self-test of a header, compiled without a warning and watched by the sanitizers."""
    text = header.read_text(encoding="utf8")
    define = next(line.split()[1] for line in text.splitlines() if line.startswith("#ifdef ") and "SELFTEST" in line)
    program = folder / f"selftest-{compiler}"
    command = [compiler, *STRICT, f"-D{define}", "-x", "c", str(header), "-lm", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[:2000]
    ran = subprocess.run([str(program)], capture_output=True, text=True, check=False, timeout=60)
    return Outcome(ran.returncode, ran.stdout, ran.stderr)


# --- Whole models


PRESETS = [
    ("two", "standard"),
    ("many", "quick"),
    ("price", "standard"),
    ("labels", "quick"),
    ("two", "plain"),
    ("price", "plain"),
]


@pytest.fixture(scope="module", params=PRESETS, ids="-".join)
def preset_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    decision = "decision: {metric: f1}\n" if request.param == ("two", "standard") else ""
    kind, preset = request.param
    trained(folder, kind, preset, more=f"{decision}network: {{hidden: [24, 16]}}")
    hard_table(folder)
    return folder


def test_python_says_the_same_on_hard_rows(preset_run: Path) -> None:
    data = preset_run / "hard.csv"
    same(by_python(exported(preset_run, "python"), raw_rows(data)), predicted(preset_run, data))


def test_json_says_the_same_to_a_reader_of_its_own(preset_run: Path) -> None:
    data = preset_run / "hard.csv"
    same(by_json(exported(preset_run, "json"), raw_rows(data)), predicted(preset_run, data))


def test_onnx_says_the_same_on_hard_rows(preset_run: Path) -> None:
    pytest.importorskip("onnx")
    data, file = preset_run / "hard.csv", exported(preset_run, "onnx")
    found = by_onnx(file, raw_rows(data), open_model(preset_run / "run"))
    same(found, predicted(preset_run, data))


@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_header_compiles_without_a_warning_and_proves_itself(preset_run: Path, compiler: str) -> None:
    proof = compiled(exported(preset_run, "c", f"by-{compiler}"), preset_run, compiler)
    assert proof.code == 0, proof.out + proof.err
    assert proof.out.startswith("100 rows") and "0 wrong" in proof.out


NUMBER_CELLS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(repr),
    st.sampled_from(["", "NA", " 5 ", "+3", "1e3", "1e400", "word", "1_0", "0x1", "True", "inf", ".5", "5.", "-0"]),
)
WORD_CELLS = st.one_of(
    st.sampled_from(["town 7", " town 8", "the town", "", "NULL", "nan", "TRUE", "1", "0", "1.0", "low", "e\u0301"]),
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
)
DATE_CELLS = st.one_of(
    st.dates(datetime.date(1930, 1, 1), datetime.date(2200, 1, 1)).map(lambda day: f"{day.day}.{day.month}.{day.year}"),
    st.sampled_from(["", "NA", "NaT", "31.12.2021 7:05 pm", "30.2.2020", "2020-01-01", "1.1.20", "1.1.2020T00:00Z"]),
)
AMOUNT_CELLS = st.one_of(
    st.floats(-1e7, 1e7).map(lambda value: f"{'-' * (value < 0)}€{abs(value):,.2f}"),
    st.sampled_from(["", "NA", "€5", "5", "€ 1,000", "(€7)", "€1.000,00", "-€0.5", "$5", "€", "€12,34"]),
)
ROWS = st.fixed_dictionaries(
    {
        "when": DATE_CELLS,
        "amount": AMOUNT_CELLS,
        "x1": NUMBER_CELLS,
        "x2": NUMBER_CELLS,
        "town": WORD_CELLS,
        "flag": WORD_CELLS,
        "level": WORD_CELLS,
    }
)


@hypothesis.given(row=ROWS)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_row_is_predicted_or_refused_as_predict_does(run_folder: Path, row: dict[str, str]) -> None:
    if not (run_folder / "any.python").exists():
        exported(run_folder, "python", "any")
    space: dict[str, Any] = {"__name__": "model"}
    exec(compile((run_folder / "any.python").read_text(), "model", "exec"), space)
    with (run_folder / "any.csv").open("w", encoding="utf8", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    said = run_cli("predict", "run", "any.csv", "--quiet", folder=run_folder)
    try:
        found = space["predict"](row)
    except ValueError as error:
        said.refused(3)
        hypothesis.event(str(error)[-20:])
    else:
        same([found], list(csv.DictReader(io.StringIO(said.succeeded().out))))


# --- Every component


def small(kind: str = "price", data: str = "", **sections: Any) -> tuple[str, str, str]:
    """A kind of target, settings of the data and the other sections of a spec."""
    return kind, data, "\n".join(f"{name}: {json.dumps(value)}" for name, value in sections.items())


def described(component: Component) -> dict[str, Any]:
    """The settings of a component."""
    found: dict[str, Any] = component.model_dump(mode="json", exclude_none=True)
    return found


def of_kind(loss: Loss) -> str:
    """A target that suits a loss."""
    return {"class": "many", "binary": "labels", "value": "price"}[loss.target_kind]


NUMBERS = "  exclude: [when, amount, town]\n"
ACTIVATIONS, SCALERS = example_instances(Activation), example_instances(Scaler)
LOSSES = example_instances(Loss)
LAYERS = {
    "batch": [{"width": 5, "normalization": "batch"}],
    "layer": [{"width": 5, "normalization": {"kind": "layer", "eps": 1e-3}}],
    "residual": [6, {"width": 6, "residual": True, "dropout": 0.2, "normalization": "layer"}],
    "scale": [{"kind": "scale"}, 4],
    "periodic": [{"kind": "periodic", "frequencies": 2}, 4],
    "adapted": [{"kind": "adapted", "width": 5, "signs": True, "activation": "silu"}],
}


def mixed(i: int) -> tuple[str, str, str]:
    """The i-th activation, scaler and loss, each with each other one of its place."""
    loss, scaler, activation = LOSSES[i % len(LOSSES)], SCALERS[i % len(SCALERS)], ACTIVATIONS[i % len(ACTIVATIONS)]
    data = f"{NUMBERS}  numeric: {{scale: {json.dumps(described(scaler))}, indicator: true}}\n"
    if loss.has_units and loss.scalable and scaler.suits_targets:
        data += f"  scale_target: {json.dumps(described(scaler))}\n"
    network = {"hidden": [6], "activation": described(activation)}
    return small(of_kind(loss), data, network=network, loss=described(loss))


CASES: dict[str, tuple[str, str, str]] = {
    **{f"mixed {i}": mixed(i) for i in range(max(len(ACTIVATIONS), len(SCALERS), len(LOSSES)))},
    **{f"layer {name}": small(data=NUMBERS, network={"hidden": hidden}) for name, hidden in LAYERS.items()},
    **{
        f"target {scaler.label()}": small(data=f"{NUMBERS}  scale_target: {json.dumps(described(scaler))}")
        for scaler in SCALERS
        if scaler.suits_targets and scaler.name() in ("log", "quantile")
    },
    "float64": small("many", network={"hidden": [6], "activation": "gelu"}, training={"dtype": "float64"}),
    "shared weights": small("two", ensemble={"members": 3, "weights": "shared"}),
    "quantile ensemble": small("price", loss="quantile", ensemble={"members": 3}),
    "poisson ensemble": small("price", loss="poisson", ensemble={"members": 2}),
    "labels ensemble": small("labels", ensemble={"members": 2, "rows": "folds"}),
    "linear path": small("two", network={"hidden": [4], "linear_path": True}),
    "bins": small("price", "  numeric: {bins: 6, missing: mean}\n  clip_predictions: true"),
    "ignored unknown": small("many", "  categorical: {unknown: ignore, missing: most_frequent, max_categories: 60}"),
    "many categories": small("two", "  encoders: {town: many_categories}\n  categorical: {target_means: true}"),
    "missing number": small("price", "  missing_values: ['', '100', '-900', NA]"),
    "threshold": small("two", decision={"threshold": 0.3}),
}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a run for each case."""
    folders = {}
    for name, (kind, data, more) in CASES.items():
        folders[name] = tmp_path_factory.mktemp("case")
        trained(folders[name], kind, data=data, more=more)
    return folders


@pytest.mark.parametrize("name", CASES)
def test_every_component_in_every_format(gallery: dict[str, Path], name: str) -> None:
    """The command compares each file on a hundred rows, missing, unknown and far ones among them."""
    for form in COMPUTING:
        exported(gallery[name], form)
    hard, network = hard_table(gallery[name]), open_model(gallery[name] / "run").network
    if network.loss.name() != "poisson":  # whose exponential is infinite there
        same(by_python(gallery[name] / "model.python", raw_rows(hard)), predicted(gallery[name], hard))


@pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")
def test_every_header_proves_itself(gallery: dict[str, Path], tmp_path: Path) -> None:
    """All of them in one program, so that none takes a name of another."""
    calls = []
    with (tmp_path / "all.c").open("w", encoding="utf8") as program:
        for i, folder in enumerate(gallery.values()):
            run_cli("export", "run", "--to", "c", "-o", "all.h", "--force", "--quiet", folder=folder).succeeded()
            header = (
                (folder / "all.h")
                .read_text(encoding="utf8")
                .replace("spec_", f"case{i}_")
                .replace("SPEC_", f"CASE{i}_")
            )
            (tmp_path / f"case{i}.h").write_text(header, encoding="utf8")
            program.write(f'#define CASE{i}_SELFTEST\n#define main main{i}\n#include "case{i}.h"\n#undef main\n')
            calls.append(f"main{i}()")
        program.write(f"int main(void) {{ return {' + '.join(calls)}; }}\n")
    plain = [option for option in STRICT if "sanitize" not in option]  # the sanitizers watch whole presets
    command = [COMPILERS[0], *plain, "all.c", "-lm", "-o", "all"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[:3000]
    ran = subprocess.run([str(tmp_path / "all")], capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count(" 0 wrong") == len(gallery)


X = np.concatenate([np.linspace(-8, 8, 401), [-1e30, -700.0, -60.0, 60.0, 700.0, 1e30, 1e-30, -1e-9, 0.0]])


def value_of(node: Node, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values of a graph of one column."""
    return evaluate([node], {"x": x[:, None]})[0]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda one: one.label())
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_rule_of_an_activation_is_its_definition(activation: Activation, dtype: Dtype) -> None:
    x = X[np.abs(X) < (1e18 if dtype == "float32" else 1e31)]
    found = value_of(mathematics.ACTIVATIONS.apply(activation, cast(source(Source("x", "number")), dtype)), x)
    with np.errstate(all="ignore"):
        expected = activation(x.astype(dtype))
    np.testing.assert_allclose(found[:, 0], expected, rtol=4e-7 if dtype == "float32" else 2e-15, atol=1e-37)


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda one: one.label())
def test_the_rule_of_a_scaler_is_its_definition(scaler: Scaler) -> None:
    rng = np.random.default_rng(0)
    values: Values = np.round(np.exp(rng.normal(2, 1, 300)), 1)[:, None].astype(np.float64)
    fitted, x = scaler.fit(values), np.concatenate([values[:, 0], [-1e9, 0.0, 1e9]])
    node = source(Source("x", "number"))
    scaled = scaler.apply(x[:, None], fitted)
    np.testing.assert_allclose(
        value_of(mathematics.SCALERS.apply(scaler, node, fitted), x), scaled, rtol=1e-11, atol=1e-12
    )
    z = np.linspace(-2.9, 2.9, 61)
    if mathematics.UNSCALERS.knows(type(scaler)):
        inverse = scaler.invert(z[:, None], fitted)
        np.testing.assert_allclose(value_of(mathematics.UNSCALERS.apply(scaler, node, fitted), z), inverse, rtol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda one: one.label())
def test_the_rules_of_a_loss_are_its_links(loss: Loss) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 5, (50, loss.outputs(3)))
    node = source(Source("x", "number", scores.shape[1]))
    found = evaluate([mathematics.LINKS.apply(loss, node)], {"x": scores})[0]
    np.testing.assert_allclose(found, loss.predict(scores), rtol=1e-14)
    predicted = np.asarray(loss.predict(scores), np.float64)
    inverse = evaluate([mathematics.INVERSE_LINKS.apply(loss, node)], {"x": predicted})[0]
    np.testing.assert_allclose(inverse, loss.link(predicted), rtol=1e-14)


@pytest.mark.parametrize("family", support())
def test_every_component_of_ours_can_be_exported(family: str) -> None:
    assert [name for name, known in support()[family].support() if not known] == []


def test_the_page_names_every_component() -> None:
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf8")
    for rules in support().values():
        for kind in variants(rules.family):
            assert f"`{kind.name()}`" in page, kind
    assert all(f"--to {form.name}" in page for form in FORMATS)


# --- Blocks and bytes


def test_blocks_of_numbers_and_of_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (90, 12)).astype(np.uint8)
    pixels[:, 3] = 7
    block = rng.normal(size=(90, 3))
    block[::9, 1] = np.nan
    answer = (pixels[:, 0] > 128).astype(np.int64)
    np.savez(tmp_path / "pixels.npz", image=pixels, y=answer)
    np.savez(tmp_path / "both.npz", image=pixels, block=block, y=answer)
    for name, scale in (("pixels", "minmax"), ("pixels", "quantile"), ("both", "standard")):
        spec = (
            f"preset: plain\ntask: classification\ndata: {{path: {name}.npz, target: y, numeric: {{scale: {scale}}}}}"
        )
        (tmp_path / "spec.yaml").write_text(f"{spec}\nnetwork: {{hidden: [5]}}\n")
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run_cli("fit", "spec.yaml", "--quiet", "--out", "run", "--epochs", 2, folder=tmp_path).succeeded()
        for form in COMPUTING:
            exported(tmp_path, form, f"{name}-{scale}")
        for compiler in COMPILERS:
            assert compiled(tmp_path / f"{name}-{scale}.c", tmp_path, compiler).code == 0


# --- The command


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small run."""
    folder = tmp_path_factory.mktemp("run")
    trained(folder, "two", more="network: {hidden: [4]}")
    return folder


def command(folder: Path, *arguments: object) -> Outcome:
    """`mlptrain export`."""
    return run_cli("export", *arguments, folder=folder)


def test_the_command_says_how_it_compared(run_folder: Path) -> None:
    found = command(run_folder, "run", "--to", "python", "-o", "said.py").succeeded()
    assert "said.py: one Python file" in found.out
    assert "100 rows made for the check" in found.out
    assert "test rows of the run" in found.out
    text = (run_folder / "said.py").read_text()
    assert "Largest difference from mlptrain predict, computed by the file itself, where 1e-05 is allowed" in text
    done = subprocess.run([sys.executable, "said.py", "--selftest"], cwd=run_folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_document_of_the_command(run_folder: Path) -> None:
    found = command(run_folder, "run", "--to", "json", "-o", "said.json", "--json").succeeded().json()
    assert found["format"] == "json"
    assert found["bytes"] == (run_folder / "said.json").stat().st_size
    assert [one["difference"] <= one["tolerance"] for one in found["checks"]] == [True, True]


def test_the_suffix_tells_the_format(run_folder: Path) -> None:
    assert "C99" in command(run_folder, "run", "-o", "told.h").succeeded().out
    command(run_folder, "run", "-o", "told.txt").refused(2, "--to onnx, python, c, json, card")


def test_without_a_name_the_file_is_called_as_the_run(run_folder: Path) -> None:
    command(run_folder, "run", "--to", "card").succeeded()
    assert (run_folder / "spec.md").exists()


def test_another_table_is_compared_instead(run_folder: Path) -> None:
    hard_table(run_folder)
    found = command(run_folder, "run", "--to", "python", "-o", "other.py", "--data", "hard.csv").succeeded()
    assert "5 rows of hard.csv" in found.out


def test_the_same_run_gives_the_same_bytes(run_folder: Path) -> None:
    for form in COMPUTING:
        command(run_folder, "run", "--to", form, "-o", f"first.{form}").succeeded()
        command(run_folder, "run", "--to", form, "-o", f"second.{form}").succeeded()
        assert (run_folder / f"first.{form}").read_bytes() == (run_folder / f"second.{form}").read_bytes()


def test_a_model_file_alone(run_folder: Path, tmp_path: Path) -> None:
    shutil.copy(run_folder / "run" / "model.safetensors", tmp_path / "alone.safetensors")
    found = command(tmp_path, "alone.safetensors", "--to", "python", "-o", "alone.py").succeeded()
    assert "is a model file without its run" in found.err
    assert found.out.count("largest difference") == 1


EARLIER = sorted((ROOT / "tests" / "formats").rglob("*.safetensors"))


@pytest.mark.parametrize("model", EARLIER, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_models_of_every_earlier_format(model: Path, tmp_path: Path) -> None:
    shutil.copy(model, tmp_path / "run")
    for form in COMPUTING:
        exported(tmp_path, form)


def test_a_run_whose_table_is_gone(tmp_path: Path) -> None:
    trained(tmp_path, "two")
    (tmp_path / "two.csv").unlink()
    found = command(tmp_path, "run", "--to", "json", "-o", "model.json").succeeded()
    assert "the rows of the run were not compared" in found.err


def test_nothing_is_replaced_unasked(run_folder: Path) -> None:
    (run_folder / "taken.py").write_text("mine")
    command(run_folder, "run", "--to", "python", "-o", "taken.py").refused(2, "taken.py", "exists already", "--force")
    assert (run_folder / "taken.py").read_text() == "mine"
    command(run_folder, "run", "--to", "python", "-o", "taken.py", "--force").succeeded()


MISTAKES = {
    "an unknown format": (("run", "--to", "onyx"), 2, ("--to onyx", "did you mean 'onnx'?")),
    "another unknown format": (("run", "--to", "zzz"), 2, ("the formats are: onnx, python, c, json, card",)),
    "no format": (("run",), 2, ("export needs a format",)),
    "no run": (("nowhere", "--to", "c", "-o", "x.h"), 4, ("nowhere",)),
    "a table": (("two.csv", "--to", "c", "-o", "x.h"), 2, ("is a table",)),
    "a spec": (("spec.yaml", "--to", "c", "-o", "x.h"), 2, ("is a spec",)),
    "a folder as the file": (("run", "--to", "c", "-o", "run"), 2, ("is a folder",)),
    "a folder that is not there": (("run", "--to", "c", "-o", "no/x.h"), 5, ("there is no folder no",)),
    "the model itself": (
        ("run/model.safetensors", "--to", "c", "-o", "run/model.safetensors", "--force"),
        2,
        ("read",),
    ),
    "a file of the run": (("run", "--to", "c", "-o", "run/summary.json", "--force"), 2, ("is the file that is read",)),
    "a table without its columns": (
        ("run", "--to", "c", "-o", "x.h", "--data", "short.csv"),
        3,
        ("columns that the model needs",),
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(run_folder: Path, name: str) -> None:
    arguments, code, fragments = MISTAKES[name]
    write_csv(run_folder / "short.csv", "x1,y", [(1, "a"), (2, "b")])
    command(run_folder, *arguments).refused(code, *fragments)
    assert not (run_folder / "x.h").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="whoever may do everything is not stopped")
def test_a_folder_without_permission(run_folder: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    command(run_folder, "run", "--to", "card", "-o", locked / "x.md").refused(5, "cannot be written")


def test_without_onnx_there_is_a_line_to_paste(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    found = command(run_folder, "run", "--to", "onnx", "-o", "absent.onnx")
    found.refused(5, "onnx, which is not installed", 'pip install "mlptrain[onnx]"')


def test_without_a_runtime_the_reference_evaluator_compares(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    found = command(run_folder, "run", "--to", "onnx", "-o", "reference.onnx").succeeded()
    assert "the reference evaluator of onnx" in found.out


def test_the_graph_names_its_inputs_as_the_table_and_says_where_it_is_from(run_folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    command(run_folder, "run", "--to", "onnx", "-o", "named.onnx").succeeded()
    found = onnx.load(run_folder / "named.onnx")
    assert [one.name for one in found.graph.input] == HEADER.split(",")
    assert [one.name for one in found.graph.output] == ["label", "probabilities"]
    assert found.ir_version == 8
    assert {(one.domain, one.version) for one in found.opset_import} == {("", 17), ("ai.onnx.ml", 3)}
    props = {one.key: one.value for one in found.metadata_props}
    assert "1970" in props["input when"]
    assert "Largest difference" in props["difference"]


def test_an_export_that_says_something_else_is_not_written(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlptrain.nn.activations import ReLU

    by_class: dict[Any, Any] = mathematics.ACTIVATIONS._by_class
    monkeypatch.setitem(by_class, ReLU, mathematics.tangent)
    found = command(run_folder, "run", "--to", "python", "-o", "wrong.py")
    found.refused(6, "was not written", "differs by")
    assert not (run_folder / "wrong.py").exists()


# --- What a file refuses, and what it must not do


def test_a_python_file_refuses_what_predict_refuses(run_folder: Path) -> None:
    command(run_folder, "run", "--to", "python", "-o", "strict.py", "--force").succeeded()
    good = raw_rows(hard_table(run_folder))[0]
    for change, message in (
        ({"x1": "word"}, "is not a number"),
        ({"x1": "1e999"}, "infinite"),
        ({"when": "2021-12-31"}, "is not written as DD.MM.YYYY"),
        ({"when": "31.2.2021"}, "not a day of the calendar"),
        ({"amount": "5 kg"}, "is not written as in training"),
        ({"x2": "1e300"}, "not finite"),
    ):
        done = subprocess.run(
            [sys.executable, "strict.py"],
            input=json.dumps(good | change),
            cwd=run_folder,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stderr.startswith("line 1: ")
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    without = {name: cell for name, cell in good.items() if name != "x1"}
    done = subprocess.run(
        [sys.executable, "strict.py"], input=json.dumps(without), cwd=run_folder, capture_output=True, text=True
    )
    assert "columns are not there: ['x1']" in done.stderr


def test_what_is_refused_in_training_is_refused_everywhere(tmp_path: Path) -> None:
    rows = [(i % 7, ("red", "blue")[i % 2], "yes" if i % 3 else "no") for i in range(60)]
    write_csv(tmp_path / "t.csv", "x,colour,y", rows)
    rule = "numeric: {missing: error}, categorical: {unknown: error, missing: error}"
    (tmp_path / "spec.yaml").write_text(f"preset: plain\ndata: {{path: t.csv, target: y, {rule}}}\n")
    run_cli("fit", "spec.yaml", "--quiet", "--out", "run", "--epochs", 2, folder=tmp_path).succeeded()
    for form in COMPUTING:
        exported(tmp_path, form)
    space: dict[str, Any] = {"__name__": "model"}
    exec(compile((tmp_path / "model.python").read_text(), "model", "exec"), space)
    for row, message in (
        ({"x": None, "colour": "red"}, "'x': the value is missing"),
        ({"x": 1, "colour": ""}, "'colour': the value is missing"),
        ({"x": 1, "colour": "green"}, "a category that training did not see"),
    ):
        with pytest.raises(ValueError, match=message):
            space["predict"](row)
    if COMPILERS:
        assert codes_of_refusals(tmp_path) == [1, 1, 2, 0]
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for word in ("green", ""):
        with pytest.raises(Exception, match=r"indices|bounds"):
            session.run(None, {"x": np.array([[1.0]]), "colour": np.array([[word]], object)})


def codes_of_refusals(folder: Path) -> list[int]:
    """What the header of that model returns for three rows that are refused, and a good one."""
    rows = ", ".join(
        f"{{{x}, {word}}}" for x, word in (("NAN", '"red"'), ("1", "0"), ("1", '"green"'), ("1", '" blue"'))
    )
    text = f"""#include <stdio.h>
    #include "model.c"
    int main(void)
    {{
        spec_row rows[4] = {{{rows}}};
        spec_prediction found;
        int k;
        for (k = 0; k < 4; ++k) {{
            printf("%d\\n", spec_predict(&rows[k], &found));
        }}
        return 0;
    }}
    """
    (folder / "refused.c").write_text(text)
    subprocess.run([COMPILERS[0], *STRICT, "refused.c", "-lm", "-o", "refused"], check=True, cwd=folder, timeout=60)
    done = subprocess.run([str(folder / "refused")], capture_output=True, text=True, check=True, timeout=60)
    return [int(line) for line in done.stdout.split()]


def test_a_python_file_is_what_older_versions_read(run_folder: Path) -> None:
    text = exported(run_folder, "python", "older").read_text(encoding="utf8")
    tree = ast.parse(text, feature_version=(3, 9))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert imported | {"operator", "typing", "__future__"} <= sys.stdlib_module_names


HOSTILE = 'a"""*/\n?>\\ $(id) `id` %s {x} \x1b[2J é'


def test_names_of_columns_and_words_are_only_names(tmp_path: Path) -> None:
    """In a docstring, a comment, a string of C, a document and a card."""
    pl = pytest.importorskip("polars")
    rows = range(60)
    words = [f'w"{i % 3}"; */ \\ ??/ é\n' for i in rows]
    data = {HOSTILE: words, "int": [float(i % 7) for i in rows], 'y"""': [f"c{i % 2}\\\n" for i in rows]}
    pl.DataFrame(data).write_parquet(tmp_path / "t.parquet")
    spec = {"preset": "plain", "data": {"path": "t.parquet", "target": 'y"""'}, "network": {"hidden": [3]}}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec))
    run_cli("fit", "spec.yaml", "--quiet", "--out", "run", "--epochs", 2, folder=tmp_path).succeeded()
    for form in (*COMPUTING, "card"):
        exported(tmp_path, form)
    for compiler in COMPILERS:
        assert compiled(tmp_path / "model.c", tmp_path, compiler).code == 0
    done = subprocess.run([sys.executable, "model.python", "--selftest"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in (tmp_path / "model.card").read_text()


PLUGIN = ROOT / "tests" / "plugins" / "network.py"
EXPORTED_PLUGIN = '''
from typing import Literal

import numpy as np

from mlptrain.export.graph import Node
from mlptrain.nn.activations import Activation


class Soft(Activation):
    """f(z) = z / (1 + |z|)."""

    kind: Literal["soft"] = "soft"

    def forward(self, z, out, scratch):
        np.divide(z, 1 + np.abs(z), out=out)

    def backward(self, z, a, grad, scratch):
        np.divide(grad, (1 + np.abs(z)) ** 2, out=grad)

    def exported(self, z: Node) -> Node:
        return z / (abs(z) + 1)
'''


def test_a_component_of_a_plugin_says_how_it_is_exported_or_is_refused(tmp_path: Path) -> None:
    (tmp_path / "soft.py").write_text(EXPORTED_PLUGIN)
    table(tmp_path, "price")
    for plugin, kind in ((PLUGIN, "toy_softsign"), ("soft.py", "soft")):
        data = "data: {path: price.csv, target: y, day_first: true}"
        spec = f"preset: plain\nseed: 0\n{data}\nnetwork: {{activation: {kind}}}"
        (tmp_path / f"{kind}.yaml").write_text(spec)
        fit = ("fit", f"{kind}.yaml", "--quiet", "--plugin", plugin, "--out", kind, "--epochs", 2)
        run_process(*fit, folder=tmp_path).succeeded()
    refused = run_process("export", "toy_softsign", "--to", "python", "--plugin", PLUGIN, folder=tmp_path)
    refused.refused(2, "activation 'toy_softsign' cannot be exported", "exported(self, z)", "mlptrain predict")
    run_process("export", "toy_softsign", "--to", "card", "--plugin", PLUGIN, folder=tmp_path).succeeded()
    run_process("export", "soft", "-o", "model.py", "--plugin", "soft.py", folder=tmp_path).succeeded()


def test_the_card_says_what_should_be_known(run_folder: Path) -> None:
    command(run_folder, "run", "--to", "card", "-o", "known.md").succeeded()
    text = (run_folder / "known.md").read_text(encoding="utf8")
    for part in (
        "## Data",
        "## Figures",
        "95% intervals",
        "## Limits",
        "## Spec",
        "path: two.csv",
        "linear model (test)",
    ):
        assert part in text
    assert str(run_folder) not in text


def test_the_golden_rows_hold_what_may_happen(run_folder: Path) -> None:
    golden = golden_rows(program_of(open_model(run_folder / "run")))
    assert golden.table.rows == 100
    assert all(any(cell is None for cell in cells) for cells in golden.cells.values())
    assert "unheard of" in golden.cells["town"]
    numbers = [cell for cell in golden.cells["x1"] if cell is not None]
    assert max(np.abs(numbers)) > 10


@pytest.mark.parametrize("text, name", [("a-b c", "a_b_c"), ("7", "model_7"), ("é", "model"), ("_x_", "x")])
def test_identifiers(text: str, name: str) -> None:
    assert identifier(text) == name


# --- Dates and amounts as text, in Python and in C


CLOCKS = (
    "",
    " 7:05",
    "T23:59:59.25",
    ", 12:30 pm",
    " 12:00 AM",
    " 24:00",
    " 9:5",
    " 13:00 pm",
    " 06:00Z",
    " 1:02:03+05:30",
)


def moment_cells() -> list[tuple[str, str]]:
    """Texts and the spelling to read each with: written so, otherwise, or of no day."""
    days = [(1970, 1, 1), (2024, 2, 29), (2023, 2, 29), (1999, 12, 31), (2068, 6, 7), (1969, 10, 10), (2000, 4, 31)]
    cells = []
    for k, spelling in enumerate(SPELLINGS):
        for i, (year, month, day) in enumerate(days):
            names = {"YYYY": f"{year:04}", "YY": f"{year % 100:02}", "DD": f"{day}", "MM": f"{month:02}"}
            text = spelling.replace("MON", MONTHS[month - 1].upper()[: 3 + i % 2] + "uary" * (i % 3 == 0))
            for name in ("YYYY", "YY", "DD", "MM"):
                text = text.replace(name, names[name], 1) if name in spelling else text
            cells.append((f"{'9:30' if spelling == CLOCK else text}{CLOCKS[(i + k) % len(CLOCKS)]}", spelling))
        cells += [("", spelling), ("today", spelling), (" 1", spelling), ("2024-01-02", spelling), ("2/3/21", spelling)]
    return cells


NOTATIONS = (
    Notation(".", ",", "", "kg"),
    Notation(",", ".", "€", ""),
    Notation(".", " ", "", ""),
    Notation(",", " ", "", "%"),
    Notation(".", "'", "CHF", ""),
)
BODIES = (
    "5",
    "1.5",
    "1,5",
    "1,234",
    "1.234",
    "1 234 567,5",
    "1'234.5",
    "0,500",
    "12,34",
    "1e3",
    ".5",
    "1.234.567",
    "007",
)


def amount_cells() -> list[tuple[str, Notation]]:
    """Texts and the notation to read each with."""
    signs = ("", "-", "\u2212", "+")
    cells = []
    for notation in NOTATIONS:
        for i, body in enumerate(BODIES):
            sign = signs[i % 4]
            cells += [
                (f"{sign}{notation.prefix}{body}{notation.suffix}", notation),
                (f"{notation.prefix} {sign}{body}\u00a0{notation.suffix}", notation),
                (f"({notation.prefix}{body} {notation.suffix})", notation),
                (f"{sign}{body} lb", notation),
            ]
    return cells


def as_expected() -> tuple[list[float], list[float]]:
    """What the encoders read, NaN for a cell that is not written so."""
    pl = pytest.importorskip("polars")
    dates = [float(moments(pl.Series([text], dtype=pl.String), spelling)[0]) for text, spelling in moment_cells()]
    return dates, [float(notation.values([text])[0]) for text, notation in amount_cells()]


def test_python_reads_dates_and_amounts_as_the_encoders_do() -> None:
    dates, numbers = as_expected()
    none: frozenset[str] = frozenset()
    for (text, spelling), expected in zip(moment_cells(), dates, strict=True):
        try:
            found = cells.read_moment("x", text, none, (spelling, pattern(spelling)), False)
        except ValueError:
            found = math.nan
        assert found == expected or (math.isnan(found) and math.isnan(expected)), (text, spelling)
    for (text, notation), expected in zip(amount_cells(), numbers, strict=True):
        try:
            found = cells.read_amount("x", text, none, (*notation, CELL, notation.pattern), False)
        except ValueError:
            found = math.nan
        assert found == expected or (math.isnan(found) and math.isnan(expected)), (text, notation)
    assert sum(map(math.isfinite, dates)) > 70
    assert sum(map(math.isfinite, numbers)) > 60


@pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")
def test_c_reads_dates_and_amounts_as_the_encoders_do(tmp_path: Path) -> None:
    calls = [f"t_moment({quoted(text)}, {quoted(spelling)}, &v)" for text, spelling in moment_cells()]
    for text, (point, mark, prefix, suffix) in amount_cells():
        marks = quoted(point + mark)
        calls.append(f"t_amount({quoted(text)}, {marks}, {quoted(prefix)}, {quoted(suffix)}, &v)")
    lines = "\n".join(f'    printf("%.17g\\n", {call} ? v : (double)NAN);' for call in calls)
    runtime = (c_runtime.WORD + c_runtime.MOMENT + c_runtime.AMOUNT).replace("NAME", "t")
    head = f"#include <math.h>\n#include <stdio.h>\n{runtime}\nint main(void)\n{{\n    double v = 0;\n"
    (tmp_path / "read.c").write_text(f"{head}{lines}\n    return 0;\n}}\n", encoding="utf8")
    command = [COMPILERS[0], *STRICT, "read.c", "-lm", "-o", "read"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[:2000]
    out = subprocess.run([str(tmp_path / "read")], capture_output=True, text=True, check=True, timeout=60).stdout
    given = [*moment_cells(), *amount_cells()]
    dates, numbers = as_expected()
    for cell, found, expected in zip(given, map(float, out.split()), [*dates, *numbers], strict=True):
        assert found == expected or (math.isnan(found) and math.isnan(expected)), cell


SPELL = """
static void spell(const char *word)
{
    char out[200];
    int length = t_trimmed(&word);
    printf("%.*s\\n", t_canonical(word, length, out) ? 200 : length, t_canonical(word, length, out) ? out : word);
}
"""


@pytest.mark.skipif(not COMPILERS, reason="there is no C compiler")
def test_c_and_python_spell_categories_as_the_encoders_do(tmp_path: Path) -> None:
    words = [
        "1",
        "1.0",
        "+1",
        "1e3",
        "-0.50",
        "007",
        " red ",
        "TRUE",
        "False",
        "-0",
        "0.0",
        ".5",
        "5.",
        "1.2e-3",
        "a.b",
    ]
    words += [
        "12345678.9000",
        "1e",
        "e1",
        "--1",
        "1.2.3",
        "-",
        "+",
        "",
        "true story",
        "0x1",
        "1e-2",
        "100",
        "1_000",
        "é",
    ]
    expected = [canonical(word) for word in words]
    assert [cells.canonical(word) for word in words] == expected
    lines = "\n".join(f"    spell({quoted(word)});" for word in words)
    runtime = (c_runtime.WORD + c_runtime.CATEGORY).replace("NAME", "t")
    text = (
        f"#include <stdio.h>\n{runtime}\n{SPELL}\nint main(void)\n{{\n    (void)t_code;\n{lines}\n    return 0;\n}}\n"
    )
    (tmp_path / "spell.c").write_text(text, encoding="utf8")
    command = [COMPILERS[0], *STRICT, "spell.c", "-o", "spell"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[:2000]
    out = subprocess.run([str(tmp_path / "spell")], capture_output=True, text=True, check=True, timeout=60).stdout
    assert out.split("\n")[:-1] == expected
