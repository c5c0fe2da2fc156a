"""How good is a model without tuning? Two lines of spec on thirteen tables, beside other libraries as they come.

    python -m benchmarks.quality run [--preset standard] [--name NAME] [--set KEY=VALUE ...]
    python -m benchmarks.quality peers
    python -m benchmarks.quality show [NAME ...]

A fifth of each table is held out, stratified for classes, with one split for each seed. mlptrain trains and predicts
through the command line, in a folder of its own; scikit-learn judges the CSV that it writes. A figure is the log loss
or the root mean squared error of the rows held out, divided by that of the linear model, so that below 1 is better than
linear. The results of every run are kept in `results/quality.json`; what is there already is not run again. The peers
need pandas, scikit-learn, LightGBM and CatBoost.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

DATASETS = Path(__file__).parents[1] / "datasets"
RESULTS = Path(__file__).parent / "results" / "quality.json"
TEST = 0.2
MANY = 255
"""Texts with more values are left out for the peers, as a careful user would do."""


@dataclass(frozen=True)
class Problem:
    """A table and what to predict."""

    file: str
    target: str
    task: str = "classification"
    exclude: tuple[str, ...] = ()
    """Columns that only number the rows, or that tell the answer."""

    @property
    def classes(self) -> bool:
        """Whether classes are to be predicted."""
        return self.task == "classification"

    def read(self) -> pd.DataFrame:
        """The whole table."""
        return pd.read_csv(DATASETS / self.file, low_memory=False)

    def rows(self, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows to learn from, and those to judge by."""
        frame = self.read()
        frame = frame[frame[self.target].notna()]
        strata = frame[self.target] if self.classes else None
        learned, judged = train_test_split(frame, test_size=TEST, random_state=seed, stratify=strata)
        return learned, judged

    def error(self, truth: pd.Series, predicted: pd.DataFrame) -> float:
        """The log loss of the probabilities by class, or the root mean squared error of the values."""
        if not self.classes:
            return float(root_mean_squared_error(truth, predicted.iloc[:, 0]))
        labels = sorted(predicted, key=str)
        p = np.clip(predicted[labels].to_numpy(float), 1e-7, 1)
        return float(log_loss(truth.astype(str), p / p.sum(axis=1, keepdims=True), labels=labels))


PROBLEMS = {
    "iris": Problem("iris.csv", "species"),
    "penguins": Problem("penguins.csv", "species", exclude=("year",)),
    "breast_cancer": Problem("../src/mlptrain/lessons/data/breast_cancer.csv", "diagnosis"),
    "digits": Problem("digits.csv", "digit"),
    "credit": Problem("quality/credit.csv.gz", "credit_risk"),
    "bank": Problem("quality/bank.csv.gz", "deposit"),
    "online_shoppers": Problem("quality/online_shoppers.csv.gz", "revenue"),
    "adult": Problem("quality/adult.csv.gz", "income"),
    "mpg": Problem("quality/mpg.csv.gz", "mpg", "regression"),
    "white_wines": Problem("quality/white_wines.csv.gz", "quality", "regression"),
    "bike_sharing": Problem("quality/bike_sharing.csv.gz", "bike_count", "regression"),
    "hotel_resort": Problem(
        "quality/hotel_resort.csv.gz", "adr", "regression", ("reservation_status", "reservation_status_date")
    ),
    "diamonds": Problem("diamonds.csv", "price", "regression"),
}


def ours(problem: Problem, seed: int, preset: str, settings: Sequence[str]) -> dict[str, float]:
    """Fit and predict through the command line; the error and the seconds of the fit."""
    learned, judged = problem.rows(seed)
    with TemporaryDirectory() as name:
        folder = Path(name)
        learned.to_csv(folder / "train.csv", index=False)
        judged.to_csv(folder / "test.csv", index=False)
        data: dict[str, Any] = {"path": "train.csv", "target": problem.target}
        data |= {"exclude": list(problem.exclude)} if problem.exclude else {}
        spec = {"preset": preset, "seed": seed, "task": problem.task, "data": data}
        (folder / "spec.yaml").write_text(json.dumps(spec))  # every JSON is YAML
        start = time.perf_counter()
        changes = [word for setting in settings for word in ("--set", setting)]
        mlptrain(folder, "fit", "spec.yaml", "--out", "run", "--quiet", *changes)
        seconds = time.perf_counter() - start
        mlptrain(folder, "predict", "run", "test.csv", "--out", "told.csv", "--quiet")
        told = pd.read_csv(folder / "told.csv", keep_default_na=False)
    if problem.classes:
        told = told.filter(like="probability_").rename(columns=lambda column: column.removeprefix("probability_"))
    return {"error": problem.error(judged[problem.target], told), "seconds": seconds}


def mlptrain(folder: Path, *arguments: str) -> None:
    """Run the command line."""
    done = subprocess.run(
        [sys.executable, "-m", "mlptrain", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])


def inputs(frame: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """The columns to learn from, as a careful user prepares them: dates as days, texts of many values left out."""
    frame = frame.drop(columns=[problem.target, *problem.exclude])
    for name in frame.select_dtypes(exclude="number"):
        days = pd.to_datetime(frame[name].astype(str), errors="coerce", format="%Y-%m-%d")
        if days.notna().mean() > 0.9:
            frame[name] = days.astype("int64") / 86_400e9
        else:
            frame[name] = frame[name].astype(object).where(frame[name].notna(), "missing").astype(str)
    texts = frame.select_dtypes(exclude="number")
    return frame.drop(columns=[name for name in texts if texts[name].nunique() > MANY])


def one_hot(model: Any) -> Any:
    """A model behind scaled numbers and an input for each category."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    number = make_column_selector(dtype_include="number")
    other = make_column_selector(dtype_exclude="number")
    return make_pipeline(ColumnTransformer([("numbers", numbers, number), ("texts", texts, other)]), model)


def linear(classes: bool, seed: int) -> Any:
    """Logistic regression, or ridge regression."""
    return one_hot(LogisticRegression(max_iter=2000) if classes else Ridge())


def perceptron(classes: bool, seed: int) -> Any:
    """scikit-learn's network, whose target is scaled."""
    if classes:
        return one_hot(MLPClassifier(random_state=seed))
    return one_hot(TransformedTargetRegressor(MLPRegressor(random_state=seed), transformer=StandardScaler()))


def histogram(classes: bool, seed: int) -> Any:
    """scikit-learn's gradient boosting on histograms."""
    kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return kind(random_state=seed, categorical_features="from_dtype")


def lightgbm(classes: bool, seed: int) -> Any:
    """LightGBM."""
    import lightgbm

    kind = lightgbm.LGBMClassifier if classes else lightgbm.LGBMRegressor
    return kind(random_state=seed, n_jobs=2, verbose=-1)


def catboost(classes: bool, seed: int) -> Any:
    """CatBoost."""
    import catboost

    kind = catboost.CatBoostClassifier if classes else catboost.CatBoostRegressor
    return kind(random_seed=seed, thread_count=2, verbose=0, allow_writing_files=False)


PEERS: dict[str, Callable[[bool, int], Any]] = {
    "linear": linear,
    "scikit-learn MLP": perceptron,
    "HistGradientBoosting": histogram,
    "LightGBM": lightgbm,
    "CatBoost": catboost,
}
CATEGORICAL = ("HistGradientBoosting", "LightGBM")


def peer(name: str, problem: Problem, seed: int) -> dict[str, float]:
    """Fit a peer; the error and the seconds of the fit."""
    learned, judged = problem.rows(seed)
    both = inputs(pd.concat([learned, judged]), problem)  # which texts are left out does not depend on the rows
    texts = list(both.select_dtypes(exclude="number"))
    if name in CATEGORICAL:
        both = both.astype(dict.fromkeys(texts, "category"))
    both.columns = [f"x{i}" for i in range(both.shape[1])]  # LightGBM refuses some characters
    x, x_judged = both.iloc[: len(learned)], both.iloc[len(learned) :]
    target = learned[problem.target]
    model = PEERS[name](problem.classes, seed)
    if name == "CatBoost":
        model.set_params(cat_features=list(both.select_dtypes(exclude="number")))
    start = time.perf_counter()
    model.fit(x, target.astype(str) if problem.classes else target.astype(float))
    seconds = time.perf_counter() - start
    found = model.predict_proba(x_judged) if problem.classes else np.reshape(model.predict(x_judged), (-1, 1))
    columns = list(model.classes_) if problem.classes else [problem.target]
    return {"error": problem.error(judged[problem.target], pd.DataFrame(found, columns=columns)), "seconds": seconds}


def kept() -> dict[str, Any]:
    """The results so far, by name, table and seed."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def keep(key: str, figures: dict[str, Any]) -> None:
    """Add the figures of one run to the results."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept() | {key: figures}, indent=0, sort_keys=True) + "\n")


def measure(
    name: str, run: Callable[[Problem, int], dict[str, float]], seeds: Sequence[int], tables: Sequence[str]
) -> None:
    """Run what has not been run before."""
    for seed in seeds:
        for table in tables:
            key = f"{name}|{table}|{seed}"
            if "error" in kept().get(key, {}):
                continue
            try:
                figures: dict[str, Any] = run(PROBLEMS[table], seed)
            except Exception as error:  # whatever a library raises is its result
                figures = {"failed": f"{type(error).__name__}: {error}"[:300]}
            keep(key, figures)
            print(key, figures, flush=True)


def ratios(name: str) -> dict[str, float]:
    """The error by table relative to the linear model, the geometric mean over the seeds that both have."""
    found, results = {}, kept()
    for table in PROBLEMS:
        seeds = sorted(key.rpartition("|")[2] for key in results if key.startswith(f"{name}|{table}|"))
        pairs = [(results[f"{name}|{table}|{s}"], results.get(f"linear|{table}|{s}", {})) for s in seeds]
        logs = [np.log(mine["error"] / base["error"]) for mine, base in pairs if "error" in mine and "error" in base]
        if logs:
            found[table] = float(np.exp(np.mean(logs)))
    return found


def lines(names: Sequence[str]) -> Iterator[str]:
    """A table in Markdown: a row for each problem, then geometric means, wins and seconds."""
    found = {name: ratios(name) for name in names}
    yield f"| error; linear = 1 | {' | '.join(names)} |"
    yield f"| --- |{' ---: |' * len(names)}"
    for table in PROBLEMS:
        cells = [f"{found[name][table]:.3f}" if table in found[name] else "" for name in names]
        yield f"| {table} | {' | '.join(cells)} |"
    means = [f"{np.exp(np.mean(np.log(list(f.values())))):.3f}" if f else "" for f in found.values()]
    yield f"| geometric mean | {' | '.join(means)} |"
    results = kept()
    times = [
        [v["seconds"] for k, v in results.items() if k.startswith(f"{name}|") and "seconds" in v] for name in names
    ]
    yield f"| seconds, median | {' | '.join(f'{np.median(t):.1f}' if t else '' for t in times)} |"


def wins(name: str, other: str) -> str:
    """On how many tables one has the lower error."""
    mine, theirs = ratios(name), ratios(other)
    both = [table for table in mine if table in theirs]
    return f"{name} better than {other} on {sum(mine[t] < theirs[t] for t in both)} of {len(both)}"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("run", "peers", "show"))
    parser.add_argument("names", nargs="*", help="peers to run, or runs to show")
    parser.add_argument("--preset", default="standard")
    parser.add_argument("--name", help="name of the run; by default that of the preset")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting to change")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tables", default=",".join(PROBLEMS))
    options = parser.parse_args()
    seeds, tables = [int(seed) for seed in options.seeds.split(",")], options.tables.split(",")
    if options.what == "run":
        measure(options.name or options.preset, lambda p, s: ours(p, s, options.preset, options.set), seeds, tables)
    elif options.what == "peers":
        for name in options.names or PEERS:
            measure(name, lambda p, s, name=name: peer(name, p, s), seeds, tables)  # type: ignore[misc]
    else:
        names = [*(name for name in PEERS if ratios(name)), *options.names]
        print("\n".join([*lines(names), "", *(wins(mine, other) for mine in options.names for other in PEERS)]))


if __name__ == "__main__":
    main()
