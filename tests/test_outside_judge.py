"""Is every printed figure the one that an outside judge computes from the raw files?

A case fits through the command line, on files of their own for training, validation and test, and predicts the test
file. The judge is pandas, which reads the files again, and scikit-learn, which computes every metric from the
predictions, and every metric of the constant model from the training file; they share no line with mlptrain. The
linear model is fitted by scikit-learn to the inputs that mlptrain makes of the files. Scaler, kind of column, task,
weights and file format are covered pairwise: every two values of two factors that can meet do so in some case.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import huber
from sklearn import metrics as judge
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

from cli import run_cli
from mlptrain.dataset import Part
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare
from mlptrain.tasks import Regression

Frame = dict[str, NDArray[Any]]
ROWS = {"train": 91, "validation": 30, "test": 40}
"""Rows of each file; an odd number to train on, so that there is one median."""
LABELS = {"two": ["no", "yes"], "three": ["low", "mid", "top"], "whole": ["0", "1", "2"]}


class Case(NamedTuple):
    """One value of each factor."""

    scaler: str
    columns: str
    task: str
    weights: str
    format: str


FACTORS: dict[str, tuple[str, ...]] = {
    "scaler": ("standard", "minmax", "robust", "none", "quantile"),
    "columns": ("numbers", "categories", "flags", "mixed", "pixels", "block"),
    "task": (
        "two",
        "three",
        "whole",
        "yes or no",
        "labels",
        "mse",
        "two amounts",
        "mae",
        "huber",
        "quantile",
        "poisson",
    ),
    "weights": ("none", "sample", "class"),
    "format": ("csv", "csv.gz", "tsv", "parquet", "npz"),
}


def possible(case: Case) -> bool:
    """Whether the values of a case can meet: arrays of several columns are in NPZ alone, classes have weights alone."""
    if case.columns in ("pixels", "block") and case.format != "npz":
        return False
    return case.weights != "class" or case.task in LABELS


def covering() -> list[Case]:
    """Few cases in which all pairs of values meet that can, found greedily; always the same ones."""
    everything = [case for values in itertools.product(*FACTORS.values()) if possible(case := Case(*values))]
    missing = {pair for case in everything for pair in pairs(case)}
    chosen = []
    while missing:
        best = max(everything, key=lambda case: len(missing & pairs(case)))
        chosen.append(best)
        missing -= pairs(best)
    return chosen


def pairs(case: Case) -> set[tuple[tuple[int, str], ...]]:
    """Every two values of a case, with their factors."""
    return set(itertools.combinations(enumerate(case), 2))


CASES = covering()


# --- Tables


def table(case: Case, part: str) -> Frame:
    """The columns of one file, as arrays; the target depends on the features."""
    rng = np.random.default_rng([len(part), *map(hash_of, case)])
    n = ROWS[part]
    signal, features = FEATURES[case.columns](rng, n)
    signal = signal + 0.7 * rng.standard_normal(n)
    columns = features | target_columns(case.task, signal, rng)
    if case.weights == "sample":
        columns["w"] = rng.choice([0.25, 1.0, 2.5, 7.0], n)
    return columns


def hash_of(word: str) -> int:
    return sum(map(ord, word))


def numbers(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    a, b = rng.standard_normal(n), 3 + rng.standard_normal(n) ** 3
    seen = a.copy()
    seen[rng.random(n) < 0.1] = np.nan
    return a, {"a": seen, "b": b.round(3)}


def categories(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    codes = rng.integers(0, 4, n)
    return codes - 1.5, {"colour": np.array(["red", "dark, green", 'a "blue"', "gold"])[codes]}


def flags(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    one, other = rng.random(n) < 0.5, rng.random(n) < 0.3
    return one * 2.0 - other, {"one": one, "other": np.array(["n", "y"])[other.astype(int)]}


def mixed(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    found = [make(rng, n) for make in (numbers, categories, flags)]
    together = {name: column for _, columns in found for name, column in columns.items()}
    return np.sum([signal for signal, _ in found], axis=0) / 2, together


def pixels(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    image = np.minimum(rng.integers(0, 256, (n, 9)), rng.integers(0, 256, (n, 9))).astype(np.uint8)
    return image.mean(axis=1) / 40 - 2, {"image": image}


def block(rng: np.random.Generator, n: int) -> tuple[NDArray[Any], Frame]:
    values = rng.standard_normal((n, 3)).astype(np.float32)
    return values.sum(axis=1).astype(float), {"x": values}


FEATURES: dict[str, Callable[[np.random.Generator, int], tuple[NDArray[Any], Frame]]] = {
    make.__name__: make for make in (numbers, categories, flags, mixed, pixels, block)
}


def target_columns(task: str, signal: NDArray[Any], rng: np.random.Generator) -> Frame:
    """What is to be predicted."""
    ranks = np.argsort(np.argsort(signal)) / len(signal)
    if task in LABELS:
        index = (ranks * len(LABELS[task])).astype(int)
        return {"y": index if task == "whole" else np.array(LABELS[task])[index]}
    if task == "yes or no":
        return {"y": np.array(["no", "yes"])[(signal > 0).astype(int)]}
    if task == "labels":
        return {"y": (signal > 0).astype(int), "z": (signal + rng.standard_normal(len(signal)) > 0.5).astype(int)}
    if task == "poisson":
        return {"y": rng.poisson(np.exp(np.clip(signal, -2, 2)))}
    amount = (1000 + 150 * signal + 40 * np.abs(signal) ** 2.5).round(2) + 0.001
    return {"y": amount, "z": (5 - 2 * signal).round(3) + 0.0001} if task == "two amounts" else {"y": amount}


def write(frame: Frame, path: Path) -> None:
    """Write the columns in the format of the suffix."""
    if path.suffix == ".npz":
        arrays: dict[str, Any] = {name: a.astype(str) if a.dtype == object else a for name, a in frame.items()}
        np.savez(path, **arrays)
    elif path.suffix == ".parquet":
        pd.DataFrame(frame).to_parquet(path, index=False)
    else:
        pd.DataFrame(frame).to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def read(path: Path) -> Frame:
    """The columns of a file, by a library that mlptrain does not use."""
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict(archive)
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path)
    else:
        frame = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", keep_default_na=True)
    return {name: frame[name].to_numpy() for name in frame}


# --- Spec and command line

LOSSES = {
    **dict.fromkeys(LABELS, "cross_entropy"),
    **dict.fromkeys(("yes or no", "labels"), "binary_cross_entropy"),
    **dict.fromkeys(("mse", "two amounts"), "mse"),
    **{name: name for name in ("mae", "huber", "poisson")},
    "quantile": "{kind: quantile, quantiles: [0.2, 0.5, 0.9]}",
}


def target_scaler(case: Case) -> str:
    """How the amounts of a case are scaled: as its features, where that suits a target and a judge."""
    unsuited = case.scaler == "none" or (case.task == "huber" and case.scaler == "quantile")
    return "standard" if unsuited else case.scaler


def spec(case: Case) -> str:
    """The experiment of a case."""
    files = {name: f"{name}.{case.format}" for name in ROWS}
    targets = "[y, z]" if case.task in ("labels", "two amounts") else "y"
    data = [f"path: {files['train']}, validation_path: {files['validation']}, test_path: {files['test']}"]
    data += [f"target: {targets}, numeric: {{scale: {case.scaler}}}"]
    data += ["sample_weight: w"] * (case.weights == "sample")
    if case.task in ("mse", "two amounts", "mae", "huber", "quantile"):
        data.append(f"scale_target: {target_scaler(case)}")
    loss = LOSSES[case.task]
    if case.weights == "class":
        weights = ", ".join(f"'{label}': {1 + 2 * i}" for i, label in enumerate(LABELS[case.task]))
        loss = f"{{kind: {loss}, class_weight: {{{weights}}}}}"
    return (
        f"data: {{{', '.join(data)}}}\nloss: {loss}\nnetwork: {{hidden: [6]}}\n"
        "optimizer: {kind: adam, learning_rate: 0.01}\ntraining: {epochs: 8, batch_size: 16}\n"
    )


@dataclass(frozen=True)
class Told:
    """What the command line says of a case."""

    fitted: Any
    evaluated: Any
    predicted: pd.DataFrame


def told(case: Case, folder: Path) -> Told:
    """Fit, evaluate and predict."""
    for part in ROWS:
        write(table(case, part), folder / f"{part}.{case.format}")
    (folder / "spec.yaml").write_text(spec(case))
    test = f"test.{case.format}"
    fitted = run_cli("fit", "spec.yaml", "--json", "--quiet", "--out", "run", folder=folder).succeeded().json()
    evaluated = run_cli("evaluate", "run", "--data", test, "--json", folder=folder).succeeded().json()
    run_cli("predict", "run", test, "--out", "predicted.csv", "--quiet", folder=folder).succeeded()
    as_text = {"y": str} if case.task in LABELS else None
    return Told(fitted, evaluated, pd.read_csv(folder / "predicted.csv", dtype=as_text))


# --- The judge

SCALERS = {"standard": StandardScaler, "minmax": MinMaxScaler, "robust": RobustScaler}


def of_classes(truth: NDArray[Any], labels: list[str], p: NDArray[Any]) -> dict[str, float]:
    """Every metric of a choice among classes, from probabilities (rows, classes)."""
    chosen = np.array(labels)[p.argmax(axis=1)]
    scores = p[:, 1] if len(labels) == 2 else p
    area = judge.roc_auc_score(truth, scores, multi_class="ovr", average="macro", labels=labels)
    one_versus_rest = np.stack([truth == label for label in labels], axis=1)
    two = len(labels) == 2
    precision = judge.average_precision_score(one_versus_rest[:, 1] if two else one_versus_rest, scores)
    of_two = {"f1": judge.f1_score(truth, chosen, pos_label=labels[1], zero_division=0)} if two else {}
    return of_two | {
        "accuracy": judge.accuracy_score(truth, chosen),
        "balanced_accuracy": judge.balanced_accuracy_score(truth, chosen),
        "macro_f1": judge.f1_score(truth, chosen, average="macro", zero_division=0),
        "log_loss": judge.log_loss(truth, p, labels=labels),
        "roc_auc": area,
        "average_precision": precision,
    }


def of_labels(truth: NDArray[Any], p: NDArray[Any]) -> dict[str, float]:
    """Every metric of several yes-no columns, from the probabilities of yes (rows, columns)."""
    chosen = p > 0.5
    columns = range(truth.shape[1])
    return {
        "accuracy": judge.accuracy_score(truth, chosen),
        "balanced_accuracy": np.mean([judge.balanced_accuracy_score(truth[:, k], chosen[:, k]) for k in columns]),
        "macro_f1": judge.f1_score(truth, chosen, average="macro", zero_division=0),
        "log_loss": np.mean([judge.log_loss(truth[:, k], p[:, k], labels=[0, 1]) for k in columns]),
        "roc_auc": np.mean([judge.roc_auc_score(truth[:, k], p[:, k]) for k in columns]),
        "average_precision": judge.average_precision_score(truth, p),
    }


def of_values(truth: NDArray[Any], predicted: NDArray[Any]) -> dict[str, float]:
    """Every metric of a regression, in the units of the file."""
    return {
        "rmse": np.mean([judge.root_mean_squared_error(t, p) for t, p in zip(truth.T, predicted.T, strict=True)]),
        "mae": judge.mean_absolute_error(truth, predicted),
        "r2": judge.r2_score(truth, predicted),
    }


def class_weights(case: Case, truth: NDArray[Any]) -> NDArray[Any]:
    """How much each row counts by its class."""
    labels = LABELS[case.task]
    return np.array([1.0 + 2 * labels.index(label) for label in truth])


class Judgement(NamedTuple):
    """What the judge makes of a case."""

    metrics: dict[str, float]
    constant: dict[str, float]
    loss: float | None
    """The weighted loss of the test rows, where it is one of scikit-learn's."""


def judged(case: Case, folder: Path, predicted: pd.DataFrame) -> Judgement:
    """The figures of a case from its raw files."""
    train, test = (read(folder / f"{part}.{case.format}") for part in ("train", "test"))
    weights, test_weights = train.get("w"), test.get("w")
    if case.task in LABELS:
        return judged_classes(case, train, test, predicted)
    if case.task == "yes or no":
        truth, known = ((part["y"] == "yes").astype(int) for part in (test, train))
        share = np.full(len(truth), np.average(known, weights=weights))
        p = predicted["probability_yes"].to_numpy()
        two = [np.stack([1 - q, q], axis=1) for q in (p, share)]
        found, constant = (of_classes(truth, [0, 1], q) for q in two)  # type: ignore[list-item]
        return Judgement(found, constant, judge.log_loss(truth, p, sample_weight=test_weights))
    names = ["y", "z"] if case.task in ("labels", "two amounts") else ["y"]
    truth, known = (np.stack([part[name] for name in names], axis=1) for part in (test, train))
    if case.task == "labels":
        p = predicted[[f"probability_{name}" for name in names]].to_numpy()
        share = np.tile(np.average(known, axis=0, weights=weights), (len(truth), 1))
        losses = [judge.log_loss(truth[:, k], p[:, k], sample_weight=test_weights) for k in (0, 1)]
        return Judgement(of_labels(truth, p), of_labels(truth, share), float(np.mean(losses)))
    values = predicted[["y_q0.5"] if case.task == "quantile" else names].to_numpy()
    constant_model = of_values(truth, constant_values(case, known, weights, len(truth)))
    return Judgement(of_values(truth, values), constant_model, None)


def judged_classes(case: Case, train: Frame, test: Frame, predicted: pd.DataFrame) -> Judgement:
    """The figures of a choice among classes."""
    labels = LABELS[case.task]
    truth, known = (part["y"].astype(str) for part in (test, train))
    weights, test_weights = train.get("w"), test.get("w")
    if case.weights == "class":
        weights, test_weights = class_weights(case, known), class_weights(case, truth)
    p = predicted[[f"probability_{label}" for label in labels]].to_numpy()
    assert (predicted["y"] == np.array(labels)[p.argmax(axis=1)]).all()
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((len(known), 1)), known, sample_weight=weights)
    prior = dummy.predict_proba(np.zeros((len(truth), 1)))
    loss = judge.log_loss(truth, p, labels=labels, sample_weight=test_weights)
    return Judgement(of_classes(truth, labels, p), of_classes(truth, labels, prior), loss)


def constant_values(case: Case, known: NDArray[Any], weights: NDArray[Any] | None, rows: int) -> NDArray[Any]:
    """The predictions of the best constant for the loss of a case."""
    if case.task == "huber":
        return np.full((rows, 1), huber_constant(case, known[:, 0], weights))
    strategy = "mean" if case.task in ("mse", "two amounts", "poisson") else "median"
    dummy = DummyRegressor(strategy=strategy).fit(np.zeros((len(known), 1)), known, sample_weight=weights)
    return np.asarray(dummy.predict(np.zeros((rows, 1)))).reshape(rows, -1)


def huber_constant(case: Case, known: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """What minimizes Huber's loss of the scaled target, back in its units; scikit-learn scales, SciPy minimizes."""
    scaler = SCALERS[target_scaler(case)]().fit(known[:, None])
    scaled = scaler.transform(known[:, None])[:, 0]

    def loss(constant: float) -> float:
        return float(np.average(huber(1.0, scaled - constant), weights=weights))

    best = minimize_scalar(loss, bounds=(scaled.min(), scaled.max()), method="bounded", options={"xatol": 1e-12}).x
    return float(scaler.inverse_transform([[best]])[0, 0])


LINEAR = (*LABELS, "yes or no", "labels", "mse", "two amounts", "poisson")
"""The tasks whose linear model scikit-learn has too."""


def judged_linear(case: Case, folder: Path) -> dict[str, float]:
    """The metrics of the linear model: scikit-learn fits it to the inputs, and computes every figure."""
    plan, dataset = prepare(load_experiment(folder / "spec.yaml"), "judge")
    training, test = dataset.training, dataset.test
    assert test is not None
    x, x_test = inputs_of(training), inputs_of(test)
    known, weights = training.target(), training.weights()
    if case.task in LABELS:
        if case.weights == "class":
            weights = class_weights(case, np.array(LABELS[case.task])[known])
            weights = weights / weights.mean()
        strength = 2.0 if len(LABELS[case.task]) == 2 else 1.0
        model = LogisticRegression(solver="newton-cg", C=strength, tol=1e-12, max_iter=100_000).fit(x, known, weights)
        return of_classes(test.truth(), list(range(len(LABELS[case.task]))), model.predict_proba(x_test))  # type: ignore[arg-type]
    columns = known.shape[1]
    if case.task in ("yes or no", "labels"):
        one = LogisticRegression(solver="newton-cg", C=1 / columns, tol=1e-12, max_iter=100_000)
        p = np.stack([one.fit(x, known[:, k], weights).predict_proba(x_test)[:, 1] for k in range(columns)], axis=1)
        if case.task == "labels":
            return of_labels(test.truth(), p)
        return of_classes(test.truth()[:, 0].astype(int), [0, 1], np.hstack([1 - p, p]))  # type: ignore[list-item]
    if case.task == "poisson":
        poisson = PoissonRegressor(solver="newton-cholesky", alpha=1 / len(x), tol=1e-12, max_iter=100_000).fit(
            x, known[:, 0], weights
        )
        return of_values(test.truth(), poisson.predict(x_test)[:, None])
    ridge = Ridge(alpha=columns / 2, tol=1e-12).fit(x, known, weights)
    task = plan.transforms.task
    assert isinstance(task, Regression)
    return of_values(test.truth(), task.unscaled(ridge.predict(x_test).reshape(-1, columns)))


def inputs_of(part: Part) -> NDArray[np.float64]:
    """The inputs of a part (n, width)."""
    out = np.empty((len(part), part.features.width), part.features.dtype)
    part.features.gather(part.rows, out, part.features.byte_buffer(len(part)))
    return out.astype(np.float64)


def differences(found: dict[str, float], wanted: dict[str, float], of: str) -> Iterator[str]:
    """Where two sets of figures differ by more than a millionth."""
    for name, value in wanted.items():
        if found[name] is None or abs(found[name] - value) > 1e-6 * max(1.0, abs(value)):
            yield f"{of} {name}: printed {found[name]}, the judge says {value}"


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_every_figure_is_that_of_the_judge(case: Case, tmp_path: Path) -> None:
    said = told(case, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # scikit-learn of scores that are tied
        right = judged(case, tmp_path, said.predicted)
    wrong = list(differences(said.fitted["results"]["test"], right.metrics, "test"))
    wrong += differences(said.evaluated["metrics"], right.metrics, "evaluate")
    if right.loss is not None:
        wrong += differences(said.fitted["results"]["test"], {"loss": right.loss}, "test")
    wrong += differences(said.fitted["baselines"]["constant"], right.constant, "constant")
    if case.task in LINEAR:
        wrong += differences(said.fitted["baselines"]["linear"], judged_linear(case, tmp_path), "linear")
    assert not wrong


def test_the_cases_are_few_and_cover_every_pair() -> None:
    everything = [case for values in itertools.product(*FACTORS.values()) if possible(case := Case(*values))]
    assert {pair for case in everything for pair in pairs(case)} == {pair for case in CASES for pair in pairs(case)}
    assert len(CASES) < 80
