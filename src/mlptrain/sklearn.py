"""How is mlptrain used as an estimator of scikit-learn?

    from mlptrain.sklearn import MLPTrainClassifier

    GridSearchCV(MLPTrainClassifier(), {"hidden": [(64,), (128, 64)]}).fit(X, y)

The estimators train with the code of `mlptrain fit`, in memory. A frame is taken as it comes: numbers, text, dates and
missing cells; so is an array. Needs scikit-learn 1.6 or later: `pip install "mlptrain[sklearn]"`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mlptrain import api
from mlptrain.data import frames
from mlptrain.data.tables import Table
from mlptrain.errors import EnvironmentFault, MlptrainError

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_is_fitted, column_or_1d, validate_data
except ImportError as error:
    raise EnvironmentFault('the estimators need scikit-learn 1.6 or later: pip install "mlptrain[sklearn]"') from error

SETTINGS = {
    "preset": "preset",
    "hidden": "network.hidden",
    "activation": "network.activation",
    "dropout": "network.dropout",
    "normalization": "network.normalization",
    "loss": "loss",
    "optimizer": "optimizer",
    "learning_rate": "optimizer.learning_rate",
    "schedule": "schedule",
    "l2": "penalty.l2",
    "members": "ensemble.members",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
}
"""The setting of a spec that each parameter stands for."""
NOTHING_HELD_OUT = {"data.split.validation": 0, "ensemble.rows": "shared", "ensemble.blend": False}
"""For a class with a single row, which must be trained on."""


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share.

    Parameters
    ----------
    preset, hidden, activation, dropout, normalization, loss, optimizer, learning_rate, schedule, l2, members, epochs, \
batch_size
        Settings of a spec: `hidden=(128, 64)` is `network.hidden: [128, 64]`; a component is its name or a dictionary
        with its `kind`. None leaves the choice to `spec`, or else to the preset.
    spec
        More settings, nested as in a spec, or the path of one. The parameters above replace its own.
    random_state
        The seed: a whole number, or a `RandomState` that draws one. None draws one from NumPy's global generator.

    Attributes
    ----------
    run_ : mlptrain.Run
        The history of training, the results and the verdict.
    model_ : mlptrain.Model
        The trained model; `model_.save(path)` writes a file that every command of mlptrain reads.
    n_iter_ : int
        Epochs.
    n_features_in_, feature_names_in_
        As in every estimator of scikit-learn.

    Notes
    -----
    No rows are held out for a test, which is the user's own. Those that the preset validates on, it takes from the rows
    that it is given; none where a class has a single row. `sample_weight` weighs the loss and the metrics; rows of
    weight 0 are left out. Columns are scaled by the rows, each counted once. Every error of mlptrain is raised as a
    `ValueError`, as scikit-learn expects.
    """

    def __init__(
        self,
        *,
        preset: str | None = None,
        hidden: Sequence[Any] | None = None,
        activation: Any = None,
        dropout: float | None = None,
        normalization: str | None = None,
        loss: Any = None,
        optimizer: Any = None,
        learning_rate: float | None = None,
        schedule: Any = None,
        l2: float | None = None,
        members: int | None = None,
        epochs: int | None = None,
        batch_size: int | str | None = None,
        spec: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        random_state: Any = 0,
    ) -> None:
        self.preset = preset
        self.hidden = hidden
        self.activation = activation
        self.dropout = dropout
        self.normalization = normalization
        self.loss = loss
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.schedule = schedule
        self.l2 = l2
        self.members = members
        self.epochs = epochs
        self.batch_size = batch_size
        self.spec = spec
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        return tags

    def _fit(self, X: Any, targets: Mapping[str, Any], sample_weight: Any, more: Mapping[str, Any]) -> Self:
        """Train on the columns of `X` and `targets`, whose names are no columns of `X`."""
        columns = self._columns(X, reset=True)
        rows = len(next(iter(targets.values())))
        names = {name: free_name(name, columns) for name in (*targets, "sample_weight")}
        columns |= {names[name]: values for name, values in targets.items()}
        settings = self._settings() | {"data.target": [names[name] for name in targets], "data.split.test": 0, **more}
        if sample_weight is not None:
            columns[names["sample_weight"]] = checked_weights(sample_weight, rows)
            settings["data.sample_weight"] = names["sample_weight"]
        with as_value_errors():
            table = frames.table_from(columns, "X")
            self.run_ = api.fit(self.spec or {}, table, settings=settings)
        self.model_ = self.run_.model
        self.n_iter_ = int(self.run_.summary["epochs"])
        return self

    def _settings(self) -> dict[str, Any]:
        """The settings that the parameters stand for, and the seed."""
        given = {place: getattr(self, name) for name, place in SETTINGS.items()}
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        return {place: value for place, value in given.items() if value is not None} | {"seed": int(seed)}

    def _columns(self, X: Any, reset: bool) -> dict[str, Any]:
        """The columns of `X` by name; those of an array are called x0, x1, ..."""
        if is_frame(X):
            validate_data(self, X, reset=reset, skip_check_array=True)
            with as_value_errors():
                named = X.rename(columns=str) if frames.is_pandas(X) else X
                return frames.named_columns(named, "X")
        array = X if hasattr(X, "dtype") or hasattr(X, "__array_function__") else np.asarray(X, dtype=object)
        dtype = None if holds_text(array) else "numeric"
        checked = validate_data(
            self, X, reset=reset, dtype=dtype, ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1
        )
        return {f"x{i}": checked[:, i] for i in range(checked.shape[1])}

    def _table(self, X: Any) -> Table:
        """`X` as the model takes it."""
        check_is_fitted(self)
        columns = self._columns(X, reset=False)
        with as_value_errors():
            return frames.table_from(columns, "X")


class MLPTrainClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier that is trained as `mlptrain fit` does; its parameters and attributes are those of `Estimator`.

    `classes_` are the classes in increasing order.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on the rows of `X` (n, features) with the classes `y` (n,)."""
        y = column_or_1d(self._present(y), warn=True)
        check_classification_targets(y)
        weights = None if sample_weight is None else checked_weights(sample_weight, len(y))
        self.classes_ = np.unique(y if weights is None else y[weights > 0])
        if len(self.classes_) < 2:
            raise ValueError(f"y has {len(self.classes_)} class; a classifier needs two classes or more")
        places = np.searchsorted(self.classes_, y)
        counts = np.bincount(places if weights is None else places[weights > 0])
        apart = NOTHING_HELD_OUT if counts.min() < 2 else {}
        target = {"class": places.astype(str).astype(object)}
        return self._fit(X, target, sample_weight, {"task": "classification", **apart})

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(n, classes): the probability of each class, in the order of `classes_`."""
        table = self._table(X)
        with as_value_errors():
            found = self.model_.predict_proba(table).astype(np.float64)
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> NDArray[Any]:
        """(n,): the class of each row."""
        table = self._table(X)
        with as_value_errors():
            return np.asarray(self.classes_[self.model_.predict(table).astype(np.int64)])

    def _present(self, y: Any) -> Any:
        """`y`; an error where there is none."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        return y


class MLPTrainRegressor(RegressorMixin, Estimator):  # type: ignore[misc]  # scikit-learn has no types
    """A regressor that is trained as `mlptrain fit` does; its parameters and attributes are those of `Estimator`.

    Several targets, the columns of `y`, are predicted by one network.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on the rows of `X` (n, features) with the values `y` (n,) or (n, targets)."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None.")
        values = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y", estimator=self)
        self._is_flat = values.ndim == 1
        block = values.reshape(len(values), -1)
        return self._fit(
            X, {f"y{i}": block[:, i] for i in range(block.shape[1])}, sample_weight, {"task": "regression"}
        )

    def predict(self, X: Any) -> NDArray[np.float64]:
        """(n,) or (n, targets): the value of each row, as `y` was given to `fit`."""
        table = self._table(X)
        with as_value_errors():
            found = self.model_.predict(table).astype(np.float64)
        return np.asarray(found.reshape(len(found)) if self._is_flat else found.reshape(len(found), -1))


def is_frame(X: Any) -> bool:
    """Whether `X` has columns with names."""
    return hasattr(X, "columns") and not isinstance(X, np.ndarray)


def holds_text(array: Any) -> bool:
    """Whether an array holds text in any cell."""
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    if kind == "O" and isinstance(array, np.ndarray):
        return any(isinstance(cell, str) for cell in array.flat)
    return kind == "U"


def free_name(name: str, columns: Mapping[str, Any]) -> str:
    """A name like `name` that is no column yet."""
    while name in columns:
        name += "_"
    return name


def checked_weights(sample_weight: Any, rows: int) -> NDArray[np.float64]:
    """(rows,): the weights; an error for another shape."""
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        return np.full(rows, float(weights))
    if weights.shape != (rows,):
        raise ValueError(f"sample_weight.shape == {weights.shape}, expected {(rows,)}")
    if not weights.any():
        raise ValueError("every weight in sample_weight is zero, so that no row counts")
    return weights


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Raise the errors of mlptrain as `ValueError`, as scikit-learn expects."""
    try:
        yield
    except MlptrainError as error:
        raise ValueError(str(error)) from error
