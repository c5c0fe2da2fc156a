"""Are the estimators good citizens of scikit-learn?"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import mlptrain
from cli import DATASETS, Cli
from mlptrain.sklearn import SETTINGS, Estimator, MLPTrainClassifier, MLPTrainRegressor
from mlptrain.spec.load import experiment_of

WEIGHTS = {
    "check_sample_weight_equivalence_on_dense_data": "mini-batches and held-out rows are drawn by row, and columns are "
    "scaled by the rows, each counted once"
}
"""What the presets do not promise; with batches of all rows and unscaled columns the check passes, below."""
EXACT = {
    "data": {"split": {"validation": 0}, "numeric": {"scale": "none"}},
    "training": {"dtype": "float64", "baselines": False},
}
"""Settings with which a weight is the same as a repeated row."""
UNSCALED = EXACT | {"data": EXACT["data"] | {"scale_target": "none"}}
PRESETS = ("quick", "standard")
DOUBLE = {"training": {"dtype": "float64"}}
"""In single precision, predictions of other rows at a time differ in the seventh digit; the checks allow no more."""
FULL: dict[str, Any] = {"preset": "plain", "hidden": (16,), "epochs": 60, "batch_size": "full", "learning_rate": 0.03}


def checks(*estimators: Estimator, unmet: dict[str, str] | None = None) -> list[Any]:
    """Every check of scikit-learn for each of `estimators`; those of `unmet` must fail."""
    found = (estimator_checks_generator(each, expected_failed_checks=unmet, mark="xfail") for each in estimators)
    return [check for some in found for check in some]


def named(value: Any) -> str:
    """The name of a check, or an estimator."""
    return getattr(getattr(value, "func", None), "__name__", type(value).__name__)


@pytest.mark.filterwarnings("default")  # scikit-learn's checks pass what warns, and say so themselves
@pytest.mark.parametrize(
    ("estimator", "check"),
    checks(MLPTrainClassifier(**FULL, spec=EXACT), MLPTrainRegressor(**FULL, spec=UNSCALED)),
    ids=named,
)
def test_scikit_learns_own_checks(estimator: Estimator, check: Any) -> None:
    check(estimator)


@pytest.mark.long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("estimator", "check"),
    checks(
        *(kind(preset=name, spec=DOUBLE) for kind in (MLPTrainClassifier, MLPTrainRegressor) for name in PRESETS),
        unmet=WEIGHTS,
    ),
    ids=named,
)
def test_scikit_learns_own_checks_with_the_presets(estimator: Estimator, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def penguins() -> tuple[pd.DataFrame, pd.Series]:
    frame = pd.read_csv(DATASETS / "penguins.csv", na_values="NA").sample(frac=1, random_state=0)
    return frame.drop(columns=["species", "year"]), frame["species"]


SMALL: dict[str, Any] = {"preset": "plain", "hidden": (8,), "epochs": 40, "learning_rate": 0.01}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")  # scikit-learn 1.6 knows pandas only
def test_a_frame_is_taken_as_it_comes(penguins: tuple[pd.DataFrame, pd.Series], cli: Cli, tmp_path: Path) -> None:
    X, y = penguins
    assert X["sex"].isna().any()
    model = MLPTrainClassifier(**SMALL).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.feature_names_in_.tolist() == list(X.columns)
    assert model.classes_.tolist() == ["Adelie", "Chinstrap", "Gentoo"]
    assert model.n_iter_ == 40
    np.testing.assert_array_equal(model.predict(pl.from_pandas(X)), model.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[X.columns[::-1]])
    text = X.to_numpy(dtype=object)
    np.testing.assert_array_equal(MLPTrainClassifier(**SMALL).fit(text, y).predict(text), model.predict(X))
    model.model_.save(tmp_path / "model.safetensors")
    X.to_csv(tmp_path / "new.csv", index=False)
    printed = pl.read_csv(cli("predict", "model.safetensors", "new.csv").succeeded().out.encode())
    assert model.classes_[printed[model.model_.targets[0]].to_numpy()].tolist() == model.predict(X).tolist()


def test_the_tools_of_scikit_learn(penguins: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = penguins
    search = GridSearchCV(MLPTrainClassifier(**SMALL), {"hidden": [(4,), (8, 4)], "spec": [None, {"seed": 1}]}, cv=2)
    search.fit(X, y)
    assert search.best_score_ > 0.8
    numbers = X.drop(columns=["island", "sex"]).fillna(0)
    assert cross_val_score(make_pipeline(StandardScaler(), MLPTrainClassifier(**SMALL)), numbers, y, cv=3).mean() > 0.9
    calibrated = CalibratedClassifierCV(MLPTrainClassifier(**SMALL), cv=2).fit(numbers, y)
    np.testing.assert_allclose(calibrated.predict_proba(numbers).sum(axis=1), 1)


def test_a_copy_is_a_copy(penguins: tuple[pd.DataFrame, pd.Series]) -> None:
    X, y = penguins
    model = MLPTrainClassifier(**SMALL).fit(X, y)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)
    expected = model.predict_proba(X).tobytes()
    assert fresh.fit(X, y).predict_proba(X).tobytes() == expected
    assert pickle.loads(pickle.dumps(model)).predict_proba(X).tobytes() == expected


def test_weights() -> None:
    X = np.linspace(-1, 1, 40)[:, None]
    y = np.where(X[:, 0] > 0, 1.0, -1.0)
    weights = np.where(y > 0, 0.0, 1.0)
    model = MLPTrainRegressor(**FULL, spec=UNSCALED).fit(X, y, sample_weight=weights)
    assert abs(model.predict(X).mean() + 1) < 0.2
    labels = MLPTrainClassifier(**FULL, spec=EXACT).fit(X, np.arange(40) % 3, sample_weight=np.arange(40) % 3 != 2)
    assert labels.classes_.tolist() == [0, 1]


def test_targets_keep_their_type_and_shape() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    for classes in (np.array([3, 7]), np.array(["b", "a"]), np.array([True, False]), np.array([0.5, 1.5]).astype(int)):
        y = classes[(X[:, 0] > 0).astype(int)]
        found = MLPTrainClassifier(**SMALL).fit(X, y).predict(X)
        assert found.dtype == np.unique(y).dtype
        assert set(found) <= set(y)
    two = np.column_stack([X[:, 0], X[:, 1]])
    assert MLPTrainRegressor(**SMALL).fit(X, two).predict(X).shape == (60, 2)
    assert MLPTrainRegressor(**SMALL).fit(X, two[:, :1]).predict(X).shape == (60, 1)
    assert MLPTrainRegressor(**SMALL).fit(X, two[:, 0]).predict(X).shape == (60,)


def test_names_of_columns_that_are_taken_or_are_numbers() -> None:
    X = pd.DataFrame({"class": range(40), "y0": np.arange(40.0) % 7, "sample_weight": [1.5, 2] * 20})
    y = (X["y0"] > 3).to_numpy()
    model = MLPTrainClassifier(**SMALL).fit(X, y, sample_weight=np.ones(40))
    assert set(model.model_.inputs) <= set(X.columns)
    assert set(model.model_.targets).isdisjoint(X.columns)
    numbered = pd.DataFrame(X.to_numpy())
    assert MLPTrainRegressor(**SMALL).fit(numbered, X["y0"]).predict(numbered).shape == (40,)


def test_every_parameter_is_a_setting() -> None:
    parameters = MLPTrainClassifier().get_params().keys() - {"spec", "random_state"}
    assert parameters == SETTINGS.keys()
    values: dict[str, Any] = {
        "preset": "plain",
        "hidden": [3],
        "activation": "tanh",
        "dropout": 0.1,
        "normalization": "layer",
        "loss": "focal",
        "optimizer": "sgd",
        "learning_rate": 0.5,
        "schedule": "cosine",
        "l2": 0.1,
        "members": 2,
        "epochs": 3,
        "batch_size": 7,
    }
    settings = MLPTrainClassifier(**values, random_state=5)._settings()
    assert settings == {SETTINGS[name]: value for name, value in values.items()} | {"seed": 5}
    assert values.keys() == SETTINGS.keys()
    overrides = [f"{path}={value}" for path, value in settings.items()]
    found = experiment_of({"data": {"path": "a.csv", "target": "y"}}, "spec", overrides)
    assert (found.seed, found.training.epochs, found.ensemble.members, found.penalty.l2) == (5, 3, 2, 0.1)


def test_the_seed() -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = X[:, 0]

    def predicted(state: Any) -> bytes:
        return MLPTrainRegressor(**SMALL, random_state=state).fit(X, y).predict(X).tobytes()

    assert predicted(0) == predicted(0) == predicted(np.int64(0)) != predicted(1)
    assert predicted(np.random.RandomState(3)) == predicted(np.random.RandomState(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {"network": {"activation": "rellu"}}}, "did you mean 'relu'"),
        ({"hidden": (0,)}, "network.hidden"),
        ({"spec": 5}, "a spec is a path, a dictionary or an Experiment"),
        ({"learning_rate": 1e30, "optimizer": "sgd"}, "diverged"),
    ],
    ids=str,
)
def test_mistakes_are_value_errors(change: dict[str, Any], message: str) -> None:
    X = np.random.default_rng(0).normal(size=(40, 2))
    with pytest.raises(ValueError, match=message) as found:
        MLPTrainRegressor(**SMALL | change).fit(X, X[:, 0])
    assert isinstance(found.value.__cause__, mlptrain.MlptrainError)


def test_bad_frames() -> None:
    X = pd.DataFrame({"a": np.arange(20.0) % 7, "b": ["x", "y"] * 10})
    y = np.arange(20) % 2
    model = MLPTrainClassifier(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match=r"unique column names|names are repeated"):
        MLPTrainClassifier(**SMALL).fit(pd.DataFrame(np.zeros((20, 2)), columns=["a", "a"]), y)
    with pytest.raises(ValueError, match="0 data rows"):
        model.predict(X.iloc[:0])
    with pytest.raises(ValueError, match="must be numeric"):
        model.predict(X.assign(a="word"))
    with pytest.raises(ValueError, match="differ in length"):
        MLPTrainClassifier(**SMALL).fit(X, y[:-1])


def test_without_scikit_learn_the_message_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None\nimport mlptrain.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'pip install "mlptrain[sklearn]"' in done.stderr
