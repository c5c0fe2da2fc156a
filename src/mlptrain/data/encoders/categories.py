"""How do words become inputs? An input for each category, or for the frequent ones of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from mlptrain.component import refuse
from mlptrain.data.columns import Column, TextColumn, as_text, not_numbers, quoted, words_among_numbers
from mlptrain.data.encoders.base import (
    Answers,
    Domain,
    Encoder,
    Numbers,
    Rows,
    Writer,
    as_rows,
    median,
    missing_trouble,
    no_value,
)
from mlptrain.data.scalers import Values
from mlptrain.data.settings import Data, Words
from mlptrain.data.tables import Table
from mlptrain.data.troubles import Trouble
from mlptrain.nn.arrays import Indices

_MOST_FREQUENT, _ROWS_OF_FREQUENT = 64, 1000  # of many categories, those with an input, each in 1 of 1000 rows
_MOST_OWN, _MOST_NUMBERS = 1500, 30_000_000  # inputs of frequent categories, of all columns; and times the rows
_PANEL_ROWS, _PANEL_RATIO = 3, 2  # rows of the middle category of a panel; and times that, of the most frequent one
_MOST_KNOWN = 50_000  # of many categories, those whose frequency is stored
_PRIOR_ROWS = 1.0, 1000.0  # bounds of the rows that the mean of all counts for in the mean of a category
MOST_STEPS = 20
"""Categories that a column of numbers and words may have, each with as many rows on average."""
_MIN_ALL_UNKNOWN = 5  # a column with at least this many cells, all of them unknown, is refused


class Category(Encoder):
    """A column of categories: an input for each of them, one for missing cells, one for unknown categories.

    Categories are compared by value, not by spelling. Surrounding spaces are ignored and letters are composed (NFC).
    `True` and `TRUE` are `true`. Numbers take their shortest form: `1`, `1.0` and `1e0` are one category, `0.50` and
    `0.5` another, while leading zeros mark a code: `01` and `007` are not 1 and 7. If the training categories are those
    of a flag, its other spelling is accepted: 1 for true and 0 for false, or the reverse.
    """

    kind: Literal["category"] = "category"
    formula: ClassVar[tuple[str, ...]] = (r"x_k = [\mathrm{the\ cell\ is\ category} \ k]",)
    examples: ClassVar[tuple[dict[str, Any], ...]] = (
        {
            "column": "x",
            "categories": ("a", "b"),
            "fill": None,
            "missing_input": False,
            "unknown_input": True,
            "unknown_allowed": True,
            "missing_allowed": True,
        },
    )
    size_setting: ClassVar[str] = "data.categorical.max_categories"
    categories: Words
    fill: str | None
    """The category that replaces a missing cell, if any."""
    missing_input: bool
    unknown_input: bool
    unknown_allowed: bool
    missing_allowed: bool

    @property
    def inputs(self) -> tuple[str, ...]:
        known = (f"{self.column}={category}" for category in self.categories)
        more = ((self.missing_input, "missing"), (self.unknown_input, "unknown"))
        return (*known, *(f"{self.column}=({word})" for there, word in more if there))

    @property
    def width(self) -> int:
        return len(self.categories) + self.missing_input + self.unknown_input

    @classmethod
    def read(cls, table: Table, name: str, missing: Sequence[str]) -> Column:
        return as_text(table, name, missing)

    @classmethod
    def suited(cls, column: Column, rows: Indices, data: Data) -> type[Encoder]:
        assert isinstance(column, TextColumn)
        kept = np.count_nonzero(category_counts(column, rows) >= data.categorical.min_count)
        too_many = data.categorical.max_categories is None and kept > data.categorical.allowed(len(rows))
        return ManyCategories if too_many and cls is Category else cls

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn)
        settings, codes, counts = data.categorical, column.codes[rows], refused_or_counts(column, rows, data, table)
        pairs = zip(column.categories, counts, strict=True)
        kept = [category for category, count in pairs if count >= max(1, settings.min_count)]
        if len(kept) > settings.allowed(len(rows)):
            raise too_many(column.name, kept, counts, len(rows), data, table)
        return cls(
            column=column.name,
            categories=tuple(kept),
            fill=column.categories[int(counts.argmax())] if settings.missing == "most_frequent" else None,
            missing_input=settings.missing == "own_column" and bool((codes < 0).any()),
            unknown_input=settings.unknown == "own_column",
            unknown_allowed=settings.unknown != "error",
            missing_allowed=settings.missing != "error",
        )

    @property
    def known(self) -> tuple[str, ...]:
        """The categories that have a place."""
        return self.categories

    def domain(self) -> Domain:
        typical = self.fill if self.fill in self.known else next(iter(self.known), None)
        return Domain("words", levels=self.known, typical=typical, missing=self.missing_allowed)

    def cells(self, column: Column, table: Table) -> Values:
        """(rows, 1): the place of each cell in `known`, NaN where it is missing or unknown."""
        assert isinstance(column, TextColumn)
        places = column.places(self.known).astype(np.float64)
        return np.where(places < 0, np.nan, places)[:, None]

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn)
        places, note = self._places(column, table)
        inputs = self._inputs(places)

        def write(rows: slice, out: NDArray[Any]) -> None:
            write_one_hot(inputs[rows], out)

        return Writer(write, note)

    def _places(self, column: TextColumn, table: Table) -> tuple[NDArray[np.intp], str | None]:
        """(rows,): the index of each cell in `known`, -1 for an unknown word, -2 for a missing cell; and a note."""
        places = column.places(self.known)
        absent, unknown = np.flatnonzero(places == -2), np.flatnonzero(places == -1)
        if len(absent) and not self.missing_allowed:
            raise missing_trouble(table, self.column, absent, "categorical")
        self._refuse_unknown(column, unknown, len(places) - len(absent), table)
        return self._filled(places), self._note(len(absent), len(unknown))

    def _filled(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """`places` with the category that replaces missing cells, if any."""
        if self.fill is None:
            return places
        return np.where(places == -2, self.known.index(self.fill) if self.fill in self.known else -1, places)

    def _refuse_unknown(self, column: TextColumn, unknown: Indices, present: int, table: Table) -> None:
        """Refuse unknown categories where they are an error, and a column that holds only unknown ones."""
        all_unknown = len(unknown) == present and present >= _MIN_ALL_UNKNOWN
        if not len(unknown) or (self.unknown_allowed and not all_unknown):
            return
        words = quoted(sorted({column.categories[code] for code in column.codes[unknown]}))
        where = f"in all {present} rows" if all_unknown else f"in {table.row_list(unknown)}"
        raise Trouble(
            table.path,
            f"column '{self.column}' holds categories that training did not see: {words} {where}; "
            f"the model knows {quoted(self.categories, 8)}",
            rows=unknown.tolist(),
        )

    def _inputs(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        """(rows,): the index of the input that is 1 in each row, -1 for none."""
        unknown = self.width - 1 if self.unknown_input else -1
        missing = len(self.categories) if self.missing_input else unknown
        return np.where(places == -1, unknown, np.where(places == -2, missing, places))

    def _note(self, absent: int, unknown: int) -> str | None:
        counts = " and ".join(f"{n} {word}" for n, word in ((absent, "missing"), (unknown, "unknown")) if n)
        if not counts:
            return None
        filled = absent and not unknown and self.fill is not None
        own = absent and not unknown and self.missing_input
        rule = " filled from training" if filled else " treated as a category of their own" if own else ""
        return f"{counts} in '{self.column}'{rule}"


class ManyCategories(Category):
    """A column of more categories than have an input each: the frequent ones do, the others share one.

    Up to 64 categories have an input of their own: the most frequent ones, if they are in at least 2 training rows and
    in 1 of 1000; with `data.categorical.own_input_rows`, every one that is in so many. The other categories and unknown
    ones share an input. One more input is the logarithm of how many
    training rows have the category, from 0 (one row, or unknown) to 1 (the most frequent one). It is chosen for columns
    with more categories than `data.categorical.max_categories` allows where that is not set.

    With `data.categorical.target_means`, further inputs say what the target is like in the category: how far its mean,
    or the share of a class, is from that of all training rows, in standard deviations, shrunk the more the fewer rows
    the category has and the less categories differ. For a training row it is found on other rows.
    """

    kind: Literal["many_categories"] = "many_categories"  # type: ignore[assignment]  # another kind than its base
    formula: ClassVar = (
        r"x_k = [\mathrm{the\ cell\ is\ frequent\ category} \ k], \qquad x_o = [\mathrm{it\ is\ another\ one}]",
        r"x_f = \frac{\log n}{\log \max_c n_c}, \qquad n = \mathrm{training\ rows\ of\ the\ category}",
        r"x_m = \frac{n}{n + \lambda} \frac{\bar y_c - \bar y}{\sigma_y}, \qquad \lambda = "
        r"\frac{\mathrm{variance\ within\ categories}}{\mathrm{variance\ between\ them}}",
    )
    examples: ClassVar = (
        {**Category.examples[0], "others": ("c", "d"), "frequencies": (1.0, 0.8, 0.3, 0.3), "unknown_input": True},
    )
    size_setting: ClassVar[str] = "the number of columns"
    others: Words
    """The categories without an input of their own that training saw more than once."""
    frequencies: Numbers
    """The scaled logarithm of the count of each of `categories` and `others`."""
    outcomes: Words = ()
    """What the means are of: 'mean price', 'share of yes'."""
    means: Rows | None = None
    """(outcomes, categories + others + 1), the last one for missing cells; None does not learn from the target."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if len(self.frequencies) != len(self.categories) + len(self.others):
            refuse([("frequencies", "must be as many as the categories and the others")])
        if [len(row) for row in self.means or ()] != [len(self.frequencies) + 1] * len(self.outcomes):
            refuse([("means", "must be rows of numbers for each category, one for each outcome")])
        return self

    @property
    def inputs(self) -> tuple[str, ...]:
        known = (f"{self.column}={category}" for category in self.categories)
        missing = [f"{self.column}=(missing)"] * self.missing_input
        means = (f"{self.column} ({outcome})" for outcome in self.outcomes)
        return (*known, *missing, f"{self.column}=(other)", f"{self.column} (frequency)", *means)

    @property
    def width(self) -> int:
        return self._other + 2 + len(self.outcomes)

    @property
    def _other(self) -> int:
        """The input of all categories without one of their own."""
        return len(self.categories) + self.missing_input

    @classmethod
    def fit(cls, column: Column, rows: Indices, data: Data, table: Table) -> Self:
        assert isinstance(column, TextColumn)
        settings, counts = data.categorical, refused_or_counts(column, rows, data, table)
        order = np.argsort(-counts, kind="stable")  # the categories are sorted, so that ties have an order
        least = max(2, len(rows) / _ROWS_OF_FREQUENT, settings.min_count)
        own = np.count_nonzero(counts[order[:_MOST_FREQUENT]] >= least)
        if isinstance(settings.own_input_rows, int):
            own = max(own, np.count_nonzero(counts >= max(settings.own_input_rows, settings.min_count)))
        frequent = np.sort(order[:own])
        seen = 1 if settings.unknown == "error" else 2  # a category of one row is encoded as an unknown one
        known = order[counts[order] >= seen][: len(order) if seen == 1 else _MOST_KNOWN]
        others = np.setdiff1d(known, frequent)
        logs = np.log(counts[np.append(frequent, others)]) / max(np.log(counts.max()), 1.0e-9)
        return cls(
            column=column.name,
            categories=tuple(column.categories[i] for i in frequent),
            others=tuple(column.categories[i] for i in others),
            frequencies=tuple(logs.tolist()),
            fill=column.categories[order[0]] if settings.missing == "most_frequent" else None,
            missing_input=settings.missing == "own_column" and bool(column.absent[rows].any()),
            unknown_input=settings.unknown == "own_column",
            unknown_allowed=settings.unknown != "error",
            missing_allowed=settings.missing != "error",
            means=() if settings.target_means else None,
        )

    @property
    def learned(self) -> int:
        return len(self.outcomes)

    def learn(self, column: Column, rows: Indices, answers: Answers) -> Self:
        assert isinstance(column, TextColumn)
        if self.means is None:
            return self
        places = self._filled(column.places(self.known))[rows]
        weights = np.ones(len(rows)) if answers.weights is None else answers.weights[rows]
        groups, number = np.where(places == -2, len(self.known), places), len(self.known) + 1
        means = [shrunken_means(values[rows], groups, number, weights) for values in answers.numbers.values()]
        return self.model_copy(update={"outcomes": tuple(answers.numbers), "means": as_rows(np.array(means))})

    def remark(self) -> str | None:
        own = f"the {len(self.categories)} most frequent have an input each" if self.categories else "none is frequent"
        means = ", and how the target differs in each category is one more" if self.outcomes else ""
        return f"read as many categories: {own}{means}"

    @property
    def known(self) -> tuple[str, ...]:
        return (*self.categories, *self.others)

    def writer(self, column: Column, table: Table) -> Writer:
        assert isinstance(column, TextColumn)
        places, note = self._places(column, table)
        inputs = self._inputs(places)
        numbers = [(*self.frequencies, 0.0), *(self.means or ())]  # of each known category, and of a missing one
        by_place = np.append(np.array(numbers), np.zeros((len(numbers), 1)), axis=1).T  # 0 for an unknown one

        def write(rows: slice, out: NDArray[Any]) -> None:
            write_one_hot(inputs[rows], out)
            out[:, -len(numbers) :] = by_place[places[rows]]

        return Writer(write, note)

    def _refuse_unknown(self, column: TextColumn, unknown: Indices, present: int, table: Table) -> None:
        if not self.unknown_allowed:
            super()._refuse_unknown(column, unknown, present, table)

    def _inputs(self, places: NDArray[np.intp]) -> NDArray[np.intp]:
        other = self._other
        missing = len(self.categories) if self.missing_input else other if self.unknown_input else -1
        named = np.where(places < len(self.categories), places, other)
        unknown = other if self.unknown_input else -1
        return np.where(places == -1, unknown, np.where(places == -2, missing, named))

    def _note(self, absent: int, unknown: int) -> str | None:
        return super()._note(absent, 0)


def automatic_own_input_rows(counts: Sequence[NDArray[np.intp]], rows: int) -> int:
    """How many of the training `rows` a category needs for an input of its own, given the `counts` of each column.

    One in a panel; else four, or 1 of 1000 if that is more. It is more where the columns would have more than 1500 such
    inputs in all, or more than 30 million numbers: categories in equally many rows are treated alike.

    >>> panel, others = np.full(300, 4), np.array([90, 20, 5, 3, 1])
    >>> automatic_own_input_rows([panel], 1200), automatic_own_input_rows([panel, others], 1200)
    (1, 4)
    >>> automatic_own_input_rows([panel], 12_000), automatic_own_input_rows([panel], 200_000)
    (1, 5)
    """
    wanted = 1 if all(is_panel(column[column > 0]) for column in counts) else max(4, -(-rows // _ROWS_OF_FREQUENT))
    largest, most = -np.sort(-np.concatenate(counts)), min(_MOST_OWN, _MOST_NUMBERS // rows)
    return wanted if len(largest) <= most else max(wanted, int(largest[most]) + 1)


def is_panel(counts: NDArray[np.intp]) -> bool:
    """Whether categories are about equally frequent, as persons are that were each asked in several years."""
    middle = median(counts.astype(np.float64)) if len(counts) else 0.0
    return bool(middle >= _PANEL_ROWS and counts.max() <= _PANEL_RATIO * middle)


def shrunken_means(values: Values, groups: Indices, number: int, weights: Values) -> Values:
    """(number,): the mean of each group of `values`, less that of all, in standard deviations, shrunk by its rows.

    A row with a negative group is in none. The mean of w rows is multiplied by w / (w + `prior_rows`).
    """
    if not len(values):
        return np.zeros(number)
    weights = weights / weights.mean()
    centred = values - np.average(values, weights=weights)
    deviation = np.sqrt(np.average(centred**2, weights=weights)) or 1.0
    inside = groups >= 0
    groups, weights, centred = groups[inside], weights[inside], centred[inside] / deviation
    rows: Values = np.bincount(groups, weights, number).astype(np.float64)
    means = np.bincount(groups, weights * centred, number) / np.where(rows > 0, rows, 1)
    within = np.bincount(groups, weights * (centred - means[groups]) ** 2, number)
    return np.asarray(np.round(means * rows / (rows + prior_rows(rows, means, float(within.sum()))), 6))


def prior_rows(rows: Values, means: Values, within: float) -> float:
    """How many rows the mean of all counts for in that of a group: the variance within groups by that between them.

    Both are estimated as in the analysis of variance, from the `rows` and `means` of the groups (groups,) and the sum
    of squares `within` them.
    """
    total, filled = rows.sum(), np.count_nonzero(rows)
    if filled < 2 or total <= filled:
        return _PRIOR_ROWS[1]
    variance = within / (total - filled)
    between = (np.sum(rows * means**2) - (filled - 1) * variance) / (total - np.sum(rows**2) / total)
    low, high = _PRIOR_ROWS
    return float(np.clip(variance / between, low, high)) if between > 0 else high


def write_one_hot(places: NDArray[np.intp], out: NDArray[Any]) -> None:
    """Write 1 at `places` (n,) of the rows of `out` (n, width) and 0 elsewhere; a row with a negative one has no 1."""
    active = np.flatnonzero(places >= 0)
    out[...] = 0
    out[active, places[active]] = 1


def refuse_no_categories(column: TextColumn, data: Data, table: Table) -> None:
    """Refuse words among numbers, of which each would become an input; steps such as `1`, `2-3`, `>= 4` are fine."""
    wrong = words_among_numbers(column)
    if are_steps(column, wrong):
        return
    leave_out = data.remedy(data.without(column.name), "to leave it out")
    as_categories = data.remedy(data.with_categories(column.name), "if these are categories")
    if not wrong.all():
        words = [category for category, is_word in zip(column.categories, wrong, strict=True) if is_word]
        ways = list(mixed_ways(column, words, as_categories, leave_out, data))
        text = f"column '{column.name}' holds numbers, but {not_numbers(column, table)}. Correct the table, or write "
        raise Trouble(table.path, f"{text}{', '.join(ways)}", data.without(column.name))


def are_steps(column: TextColumn, words: NDArray[np.bool_]) -> bool:
    """Whether words among numbers are categories: few in all, two words or more, which make up a tenth of the cells."""
    if not 2 <= words.sum() < len(words) <= MOST_STEPS:
        return False
    counts = category_counts(column, np.arange(len(column.codes)))
    return bool(counts[words].sum() >= 0.1 * counts.sum() and len(words) * MOST_STEPS <= counts.sum())


def category_counts(column: TextColumn, rows: Indices) -> NDArray[np.intp]:
    """(categories,): how many of the `rows` have each category."""
    codes = column.codes[rows]
    return np.bincount(codes[codes >= 0], minlength=len(column.categories))


def refused_or_counts(column: TextColumn, rows: Indices, data: Data, table: Table) -> NDArray[np.intp]:
    """The counts of the categories in the training `rows`; a `Trouble` if the column cannot be one of categories."""
    if column.name not in (*data.categorical.columns, *data.encoders):
        refuse_no_categories(column, data, table)
    absent = column.absent[rows]
    if data.categorical.missing == "error" and absent.any():
        raise missing_trouble(table, column.name, rows[absent], "categorical")
    counts = category_counts(column, rows)
    if not counts.any():
        raise no_value(column.name, data, table)
    return counts


def mixed_ways(column: TextColumn, words: list[str], as_categories: str, leave_out: str, data: Data) -> Iterator[str]:
    """Remedies for a column of numbers and words, the likeliest first."""
    few = len(words) <= 3
    missing = data.remedy(data.with_missing(*words), "if that stands for a missing value")
    if few:
        yield missing
    limit = data.categorical.max_categories
    if limit is None or len(column.categories) <= limit:
        yield as_categories
    yield leave_out


def too_many(name: str, kept: Sequence[str], counts: NDArray[np.intp], rows: int, data: Data, table: Table) -> Trouble:
    """The `Trouble` of a column with so many categories that it looks like an identifier."""
    ways = [data.remedy(data.without(name), "to leave it out")]
    often = int(np.sort(counts)[::-1][data.categorical.allowed(rows)]) + 1
    if left := int((counts >= often).sum()):
        ways.append(data.remedy(data.with_setting("categorical", min_count=often), f"to merge all but {left} of them"))
    allow = data.remedy(
        data.with_setting("categorical", max_categories=len(kept)), f"to allow {len(kept)} inputs for them"
    )
    text = f"column '{name}' has {len(kept)} categories in {rows} training rows, such as '{kept[0]}'. Write "
    return Trouble(table.path, f"{text}{', '.join([*ways, allow])}", data.without(name))
