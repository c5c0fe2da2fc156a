"""Does mlptrain do from Python what the command line does: the same bytes, errors instead of exits, and silence?"""

from __future__ import annotations

import copy
import doctest
import json
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import mlptrain
from cli import Cli
from mlptrain.nn.activations import Tanh
from mlptrain.optim.optimizers import Adam
from mlptrain.runs import checkpoint

ROOT = Path(__file__).parents[1]
SPEC: dict[str, Any] = {
    "preset": "plain",
    "name": "small",
    "data": {"target": "answer"},
    "network": {"hidden": [4]},
    "training": {"epochs": 3, "batch_size": 8},
}


def with_changes(**sections: dict[str, Any]) -> dict[str, Any]:
    """SPEC with more settings in some of its sections."""
    return SPEC | {name: SPEC.get(name, {}) | section for name, section in sections.items()}


@pytest.fixture
def frame(classes: Path) -> pd.DataFrame:
    return pd.read_csv(classes)


def tensors(path: Path) -> dict[str, bytes]:
    """The bytes of every tensor of a model file."""
    return {name: value.tobytes() for name, value in checkpoint.decode(path.read_bytes(), str(path))[1].items()}


def test_a_run_is_that_of_the_command_line(cli: Cli, classes: Path, tmp_path: Path) -> None:
    mlptrain.fit(with_changes(data={"path": str(classes)}), out=tmp_path / "python")
    cli("fit", "python/spec.yaml", "--out", "shell").succeeded()
    for name in ("model.safetensors", "checkpoint.safetensors", "metrics.csv", "spec.yaml", "summary.json"):
        assert (tmp_path / "python" / name).read_bytes() == (tmp_path / "shell" / name).read_bytes(), name


FORMS: dict[str, Any] = {
    "path": lambda frame, path: path,
    "text": lambda frame, path: str(path),
    "pandas": lambda frame, path: frame,
    "polars": lambda frame, path: pl.from_pandas(frame),
    "dictionary": lambda frame, path: frame.to_dict("list"),
    "rows": lambda frame, path: frame.to_dict("records"),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_model_does_not_depend_on_the_form_of_the_table(
    form: str, classes: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    mlptrain.fit(SPEC, classes).model.save(tmp_path / "expected.safetensors")
    table = FORMS[form](frame, classes)
    before = copy.deepcopy(table)
    run = mlptrain.fit(SPEC, table)
    run.model.save(tmp_path / "found.safetensors")
    assert tensors(tmp_path / "found.safetensors") == tensors(tmp_path / "expected.safetensors")
    assert run.model.predict_proba(table).tolist() == run.model.predict_proba(classes).tolist()
    assert repr(table) == repr(before)


def test_what_a_spec_can_be(classes: Path, tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        "preset: plain\nname: small\ndata: {target: answer, path: classes.csv}\n"
        "network: {hidden: [4], activation: tanh}\noptimizer: {kind: adam, learning_rate: 0.01}\n"
        "training: {epochs: 3, batch_size: 8}\n"
    )
    parts = {"network": {"hidden": (4,), "activation": Tanh()}, "optimizer": Adam(learning_rate=0.01)}
    settings = {"optimizer.learning_rate": np.float64(0.01), "network.activation": "tanh"}
    found = [
        mlptrain.fit(file),
        mlptrain.fit(str(file), classes),
        mlptrain.fit(SPEC | parts, classes),
        mlptrain.fit(SPEC, classes, settings=settings),
        mlptrain.fit(
            mlptrain.Experiment.model_validate(SPEC | parts | {"data": {"path": str(classes), "target": "answer"}})
        ),
    ]
    assert len({tuple(run.history["train_loss"]) for run in found}) == 1
    assert found[-1].experiment.optimizer == Adam(learning_rate=0.01)


def test_without_a_spec_one_is_chosen_for_the_table(classes: Path, frame: pd.DataFrame) -> None:
    settings = {"preset": "plain", "training.epochs": 2}
    frame["answer"] = (frame["answer"] == frame["answer"][0]).astype(int)
    run = mlptrain.fit(data=frame, target="answer", settings=settings)
    assert run.model.task == "classification"
    assert run.model.classes is not None
    assert run.model.classes.tolist() == [0, 1]
    assert "taken for classes" in run.notes[0]
    assert set(run.model.predict(frame).tolist()) <= {0, 1}
    assert mlptrain.fit(classes, target="answer", settings=settings).model.inputs == ("x1", "x2", "colour")


def test_a_run_of_a_frame_is_saved_with_its_table(cli: Cli, frame: pd.DataFrame, tmp_path: Path) -> None:
    run = mlptrain.fit(with_changes(data={"split": {"test": 0.25}}), frame, out=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    printed = cli("evaluate", "run", "--json").succeeded().json()
    assert printed["metrics"] == run.results["test"] == run.model.evaluate().metrics
    cli("reproduce", "run", "--interrupt", "1").succeeded()
    with pytest.raises(mlptrain.UsageError, match="exists already"):
        mlptrain.fit(SPEC, frame, out=tmp_path / "run")


def test_a_run_is_followed_as_the_spec_says(frame: pd.DataFrame, tmp_path: Path) -> None:
    run = mlptrain.fit(SPEC | {"log": ["jsonl"]}, frame, out=tmp_path / "run")
    events = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert len(events) > len(run.history["epoch"])
    with pytest.raises(mlptrain.UsageError, match="needs a folder"):
        mlptrain.fit(SPEC | {"log": ["jsonl"]}, frame)


def test_nothing_is_printed_or_written(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    run = mlptrain.fit(SPEC, frame)
    run.model.predict(frame)
    run._repr_html_()
    assert capfd.readouterr() == ("", "")
    assert sorted(tmp_path.iterdir()) == before


def test_the_model_predicts_as_the_command_line_does(cli: Cli, frame: pd.DataFrame, tmp_path: Path) -> None:
    run = mlptrain.fit(SPEC, frame)
    run.model.save(tmp_path / "model.safetensors")
    new = frame.drop(columns="answer").assign(x1=[None, 1e6, *frame["x1"][2:]])
    new.to_csv(tmp_path / "new.csv", index=False)
    printed = cli("predict", "model.safetensors", "new.csv").succeeded()
    columns, notes = run.model.predictions(new)
    expected = pl.read_csv(printed.out.encode())
    assert list(columns) == expected.columns
    np.testing.assert_array_equal(
        run.model.predict_proba(new), expected.select(pl.col("^probability_.*$")).to_numpy().astype(np.float32)
    )
    assert run.model.predict(new).tolist() == expected["answer"].to_list()
    assert all(note in printed.err.replace("\n", " ") for note in notes)


def test_a_loaded_model_is_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    run = mlptrain.fit(SPEC | {"preset": "quick", "ensemble": {"members": 2}}, frame)
    run.model.save(tmp_path / "model.safetensors")
    expected = run.model.predict_proba(frame)
    for other in (
        mlptrain.load(tmp_path / "model.safetensors"),
        pickle.loads(pickle.dumps(run.model)),
        copy.deepcopy(run.model),
    ):
        assert other.predict_proba(frame).tobytes() == expected.tobytes()
        assert other.targets == ("answer",)
        assert repr(other) == repr(run.model)
    assert pickle.loads(pickle.dumps(run)).summary == run.summary


def test_evaluate(frame: pd.DataFrame) -> None:
    model = mlptrain.fit(SPEC, frame).model
    whole = model.evaluate(frame)
    assert "is the table that the model was trained on" in whole.notes[0]
    apart = model.evaluate(frame.drop(columns="answer"), frame["answer"])
    assert apart.metrics == whole.metrics == model.evaluate(frame.drop(columns="answer"), list(frame["answer"])).metrics
    with pytest.raises(mlptrain.UsageError, match="without its run"):
        model.evaluate()
    with pytest.raises(mlptrain.DataError, match="no target column 'answer'"):
        model.evaluate(frame.drop(columns="answer"))


def test_a_lone_model_has_no_rows(frame: pd.DataFrame, tmp_path: Path) -> None:
    mlptrain.fit(SPEC, frame).model.save(tmp_path / "model.safetensors")
    with pytest.raises(mlptrain.UsageError, match="without its run"):
        mlptrain.load(tmp_path / "model.safetensors").evaluate()


def test_regression_and_several_targets(amounts: Path) -> None:
    frame = pd.read_csv(amounts)
    spec = with_changes(data={"target": "price"})
    model = mlptrain.fit(spec, frame).model
    assert (model.task, model.classes, model.predict(frame).shape) == ("regression", None, (len(frame),))
    with pytest.raises(mlptrain.UsageError, match="predicts quantities"):
        model.predict_proba(frame)
    two = mlptrain.fit(
        spec | {"task": "regression"}, frame.assign(other=frame["price"] * 2), target=["price", "other"]
    ).model
    assert two.predict(frame).shape == (len(frame), 2)
    flags = frame.assign(a=frame["price"] > frame["price"].median(), b=frame["x1"] > 0).drop(columns="price")
    labels = mlptrain.fit(spec | {"task": "multilabel"}, flags, target=["a", "b"]).model
    assert labels.predict(flags).shape == labels.predict_proba(flags).shape == (len(frame), 2)
    one = mlptrain.fit(spec | {"loss": "binary_cross_entropy"}, flags, target="a").model
    assert one.classes is not None
    assert one.classes.tolist() == [False, True]
    np.testing.assert_allclose(one.predict_proba(flags).sum(axis=1), 1)


def test_training_event_by_event(frame: pd.DataFrame) -> None:
    whole = mlptrain.fit(SPEC, frame)
    training = mlptrain.train(SPEC, frame)
    events = list(training)
    losses = [event.record["train_loss"] for event in events if isinstance(event, mlptrain.EpochDone)]
    assert losses == whole.history["train_loss"] == training.run.history["train_loss"]
    assert isinstance(events[-1], mlptrain.TrainingDone)
    stopped = mlptrain.train(SPEC, frame)
    for event in stopped:
        if isinstance(event, mlptrain.EpochDone):
            break
    assert stopped.run.history["train_loss"] == losses[:1]
    assert list(stopped) == []


def test_consumers_follow_a_run(frame: pd.DataFrame, tmp_path: Path) -> None:
    class Heard(mlptrain.Consumer):
        def __init__(self) -> None:
            self.epochs, self.closed = 0, 0

        def epoch(self, event: mlptrain.EpochDone) -> None:
            self.epochs += 1

        def close(self) -> None:
            self.closed += 1

    for out in (None, tmp_path / "run"):
        heard = Heard()
        mlptrain.fit(SPEC, frame, out=out, consumers=[heard])
        assert (heard.epochs, heard.closed) == (3, 1)


def test_several_threads_share_a_model(frame: pd.DataFrame) -> None:
    model = mlptrain.fit(SPEC, frame).model
    tables = [frame.assign(x1=frame["x1"] + shift) for shift in range(4)]
    expected = [model.predict_proba(table).tobytes() for table in tables]
    wrong: list[int] = []

    def ask(i: int) -> None:
        for _ in range(20):
            if model.predict_proba(tables[i]).tobytes() != expected[i]:
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(tables))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, mlptrain.UsageError, "needs a spec, or a table and a target"),
        ({"spec": SPEC | {"bogus": 1}}, mlptrain.SpecError, "the spec: bogus: unknown key"),
        ({"spec": SPEC | {"network": {"activation": "rellu"}}}, mlptrain.SpecError, "did you mean 'relu'?"),
        ({"settings": {"training.epochz": 3}}, mlptrain.SpecError, "training.epochz=3: training.epochz: unknown key"),
        ({"settings": {"training.epochs": -3}}, mlptrain.SpecError, "must be at least 1, got -3"),
        ({"target": "anser"}, mlptrain.DataError, "no column 'anser'; did you mean 'answer'?"),
        ({"data": 5}, mlptrain.DataError, "int is no table"),
        ({"data": "nowhere.csv"}, mlptrain.DataError, "no such data file"),
        ({"spec": "nowhere.yaml"}, mlptrain.UsageError, "No such file"),
        ({"spec": "a.csv", "target": "y"}, mlptrain.UsageError, "is a table, and so is data"),
        ({"spec": 5}, mlptrain.UsageError, "a spec is"),
    ],
    ids=str,
)
def test_mistakes(arguments: dict[str, Any], error: type[Exception], message: str, frame: pd.DataFrame) -> None:
    given = {} if not arguments else {"spec": SPEC, "data": frame} | arguments
    with pytest.raises(error) as found:
        mlptrain.fit(**given)
    assert message in str(found.value)
    assert "--set" not in str(found.value)


def test_a_run_that_diverges(frame: pd.DataFrame, tmp_path: Path) -> None:
    settings = {"optimizer": {"kind": "sgd", "learning_rate": 1e30}}
    with pytest.raises(mlptrain.Diverged):
        mlptrain.fit(SPEC, frame, settings=settings)
    with pytest.raises(mlptrain.Diverged):
        list(mlptrain.train(SPEC, frame, settings=settings))


@pytest.mark.parametrize("name", ["missing column", "unseen level", "mixed cells"])
def test_frames_unlike_those_of_training(name: str, frame: pd.DataFrame) -> None:
    model = mlptrain.fit(SPEC, frame).model
    if name == "missing column":
        with pytest.raises(mlptrain.DataError, match="columns that the model needs are missing: 'x2'"):
            model.predict(frame.drop(columns="x2"))
    elif name == "unseen level":
        with pytest.raises(mlptrain.DataError, match="categories that training did not see: 'violet'"):
            model.predict(frame.assign(colour="violet"))
    else:
        with pytest.raises(mlptrain.DataError, match="column 'x1' must be numeric"):
            model.predict(frame.assign(x1=["a", *frame["x1"][1:]]))


def test_the_first_import_is_light_and_every_name_is_there() -> None:
    code = "import mlptrain, sys; assert not {'numpy', 'pydantic', 'polars'} & set(sys.modules); print(dir(mlptrain))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in mlptrain.__all__:
        assert f"'{name}'" in done.stdout
        assert getattr(mlptrain, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        mlptrain.fitt  # noqa: B018


def test_the_examples_of_the_page_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").symlink_to(ROOT / "datasets")
    found = doctest.testfile(
        str(ROOT / "docs" / "python.md"),
        module_relative=False,
        optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE,
    )
    assert found.attempted > 10
    assert found.failed == 0


class FakeHandle:
    """What IPython's `display` returns."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, data: dict[str, str], raw: bool) -> None:
        self.shown.append(data["text/html"])


def test_notebooks(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(data: dict[str, str], raw: bool, display_id: bool) -> FakeHandle:
        shown.append(data["text/html"])
        return FakeHandle(shown)

    module = type(sys)("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", type(sys)("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    hostile = frame.rename(columns={"x1": "<script>alert(1)</script>"})
    run = mlptrain.fit(SPEC, hostile, consumers=[mlptrain.LiveCurve(seconds=0)])
    assert len(shown) == 4
    assert all("<svg" in html for html in shown)
    for html in (run._repr_html_(), run.model._repr_html_()):
        assert "<script>" not in html
    assert "Accuracy" in run._repr_html_()
    assert "&lt;script&gt;" in run.model._repr_html_()


def test_a_live_curve_needs_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)
    with pytest.raises(mlptrain.EnvironmentFault, match="pip install ipython"):
        mlptrain.LiveCurve()
