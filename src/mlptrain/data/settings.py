"""Which settings does the data section of an experiment file have?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    PrivateAttr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from mlptrain.component import Conflict, Frozen, OneOf, ResolvedPath, ShortForm, mistake, or_word, refuse
from mlptrain.data.bins import MOST_COLUMNS, MOST_INPUTS
from mlptrain.data.scalers import Scaler, Standard
from mlptrain.data.split import Split
from mlptrain.data.tables import Hints, Table, composed
from mlptrain.remedies import setting

Words = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, AfterValidator(composed)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
"""Column names with composed letters (NFC), as in a table."""
PATHS = ("path", "target_path", "validation_path", "validation_target_path", "test_path", "test_target_path")
"""The settings that name tables."""
PREFIXES = {"train": "", "validation": "validation_", "test": "test_"}
"""Of the settings that name the tables of a part."""
MAX_CATEGORIES = 100
ROWS_PER_CATEGORY = 100


def listed_names(value: Any) -> Any:
    """A single name as a list of one."""
    return (value,) if isinstance(value, str) else value


def one_ascii_character(value: str | None) -> str | None:
    """A delimiter: one ASCII character without another meaning in a CSV."""
    if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n\0'):
        raise mistake(f"must be one ASCII character, as ';' is; got {value!r}")
    return value


def check_bins(value: Any) -> Any:
    """A number of bins, `auto`, or None."""
    if value in (None, "auto") or (isinstance(value, int) and not isinstance(value, bool) and 2 <= value <= 256):
        return value
    raise mistake(f"must be a whole number of bins from 2 to 256, 'auto' or null; got {repr(value)[:40]}")


def check_own_input_rows(value: Any) -> Any:
    """A number of rows, `auto`, or None."""
    if value in (None, "auto") or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise mistake(f"must be a whole number of rows from 1 on, 'auto' or null; got {repr(value)[:40]}")


class Numeric(Frozen):
    """How numeric columns are prepared."""

    columns: Names = Field((), description="Columns that must be read as numbers.")
    scale: Annotated[Scaler, OneOf()] = Field(Standard(), description="How values are scaled.")
    missing: Literal["median", "mean", "error"] = Field(
        "median", description="Statistic of the training rows that replaces a missing value, or an error."
    )
    indicator: bool = Field(
        False,
        description="Another input for each column that lacks a value in ten or more training rows: 1 where it does.",
    )
    bins: Annotated[
        int | Literal["auto"] | None, PlainValidator(check_bins), WithJsonSchema(or_word(2, 256, "auto", None))
    ] = Field(
        None,
        description="Beside its scaled value, how far a number is through each of this many bins between quantiles of "
        "the training rows (piecewise-linear encoding); `auto` chooses by rows and columns, with at most "
        f"{MOST_INPUTS} such inputs in all, and none for more than {MOST_COLUMNS} columns of numbers; null has none.",
    )


class Categorical(Frozen):
    """How categorical columns are encoded: one input for each category.

    Categories are compared by value, not by spelling: surrounding spaces are ignored, letters are composed (NFC),
    `True` and `TRUE` are `true`, and `1`, `1.0` and `1e0` are the number 1. Leading zeros mark a code: `01` and `1`
    differ. If the training categories are those of a flag, its other spelling is accepted too: 1 for true, 0 for false.
    """

    columns: Names = Field((), description="Columns that must be read as categories, even if they look numeric.")
    unknown: Literal["own_column", "ignore", "error"] = Field(
        "own_column",
        description="Categories that training did not see: an input for all of them, no input, or an error.",
    )
    missing: Literal["own_column", "most_frequent", "error"] = Field(
        "own_column",
        description="Missing cells: a category of their own, the most frequent training category, or an error.",
    )
    min_count: int = Field(1, ge=1, description="Categories with fewer training rows are treated as unknown.")
    max_categories: int | None = Field(
        None,
        ge=1,
        description="Columns with more categories are refused. With null, a column of more than "
        f"{MAX_CATEGORIES} categories, or than one for every {ROWS_PER_CATEGORY} training rows if that is more, has "
        "inputs for the frequent ones only (`many_categories`).",
    )
    own_input_rows: Annotated[
        int | Literal["auto"] | None,
        PlainValidator(check_own_input_rows),
        WithJsonSchema(or_word(1, None, "auto", None)),
    ] = Field(
        None,
        description="Training rows from which on a category of `many_categories` has an input of its own. `auto` is 1 "
        "where categories are about equally frequent, else 4 or 1 of 1000 rows, or more where there would be over 1500 "
        "inputs in all, or 30 million numbers. With null, the 64 most frequent have one, if in 1 of 1000 rows.",
    )
    target_means: bool = Field(
        False,
        description="Further inputs for a column of `many_categories`: how far the mean of the target, or the share of "
        "each class, is from that of all training rows; for a training row found on other rows.",
    )

    @model_validator(mode="after")
    def _rare_ones_have_a_place(self) -> "Categorical":
        if self.min_count > 1 and self.unknown == "error":
            message = "treats rare categories as unknown, which 'unknown: error' refuses; choose one of the two"
            refuse([("min_count", message)])
        return self

    def allowed(self, rows: int) -> int:
        """The largest number of categories that a column may have in `rows` training rows."""
        return self.max_categories or max(MAX_CATEGORIES, rows // ROWS_PER_CATEGORY)


class Data(Frozen):
    """Where the rows come from, which columns are used and how they are prepared."""

    path: ResolvedPath = Field(
        description="The table: csv, tsv, parquet, npz or idx, also gzipped; relative to the spec."
    )
    target_path: ResolvedPath | None = Field(None, description="A separate file with the target, as in IDX.")
    target: Annotated[Names | None, BeforeValidator(listed_names), ShortForm({"type": "string"})] = Field(
        None, description="The column to predict, or a list of them."
    )
    validation_path: ResolvedPath | None = Field(None, description="A separate file with the validation rows.")
    validation_target_path: ResolvedPath | None = Field(None, description="The target of the validation file.")
    test_path: ResolvedPath | None = Field(None, description="A separate file with the test rows.")
    test_target_path: ResolvedPath | None = Field(None, description="The target of the test file.")
    features: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The columns to learn from; null takes all."
    )
    exclude: Names = Field((), description="Columns to leave out.")
    sample_weight: Name | None = Field(
        None,
        description="A column of row weights for the loss; only their proportions matter, and rows of weight 0 are "
        "left out.",
    )
    delimiter: Annotated[str | None, AfterValidator(one_ascii_character)] = Field(
        None, description="The ASCII character that separates the cells of a CSV; null is a comma, a tab in .tsv."
    )
    missing_values: Words = Field(
        ("", "NA", "N/A", "NaN", "nan", "null", "NULL"),
        description="Cells that mean a missing value. Among numbers `nan` always does, in any case and with any sign; "
        "a number in this list is compared by value.",
    )
    missing_target: Literal["error", "drop"] = Field("error", description="What to do with rows without a target.")
    split: Split = Field(Split(), description="Fractions of the table in `path` to hold out.")
    numeric: Numeric = Field(Numeric(), description="How numeric columns are prepared.")
    categorical: Categorical = Field(Categorical(), description="How categorical columns are encoded.")
    day_first: bool | None = Field(
        None,
        description="Dates such as 3/4/2024: whether the day comes first; null finds out from days after the 12th, and "
        "refuses a column without any.",
    )
    encoders: dict[Name, str] = Field(
        {}, description="The kind of encoder by column name, for columns that should not get the inferred one."
    )
    scale_target: Annotated[Scaler, OneOf()] | None = Field(
        None,
        description="Regression: the scaling of the target in training; null is standard, none for a bounded output.",
    )
    choose_target_scale: bool = Field(
        False,
        description="Regression with loss mse and no `scale_target`: `fit` first trains one network on the standard "
        "scale and one on that of `log`, and takes the logarithm if its validation error is lower by 3 % and by more "
        "than chance.",
    )
    clip_predictions: bool = Field(
        False, description="Regression: clip predictions to the range of the training targets."
    )

    _written: "Data | None" = PrivateAttr(None)
    _held: Table | None = PrivateAttr(None)

    def holding(self, table: Table) -> "Data":
        """The same settings for a table in memory, which has a name instead of a path."""
        found = self.model_copy(update={"path": table.path})
        found._held = table
        return found

    def at(self, paths: Mapping[str, str]) -> "Data":
        """The same settings with other paths, by setting."""
        found = self.model_copy(update=dict(paths))
        if self._held is not None:
            found._held = replace(self._held, path=found.path)
        return found

    def held(self, path: str) -> Table | None:
        """The table at `path` if it is in memory; its rows may be selected, which empties a table."""
        table = self._held if path == self.path else None
        return None if table is None else replace(table, columns=dict(table.columns))

    @property
    def files(self) -> dict[str, str]:
        """The paths of all tables that are read, by setting."""
        found = {name: getattr(self, name) for name in PATHS}
        return {name: path for name, path in found.items() if path is not None}

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target columns; `label` where the target is in a separate file and not named."""
        return self.target or ("label",)

    @property
    def features_or_none(self) -> tuple[str, ...]:
        """The named features; empty if none are named."""
        return self.features or ()

    @property
    def declared(self) -> tuple[str, ...]:
        """The columns that the spec names as inputs, each once."""
        names = (*self.features_or_none, *self.numeric.columns, *self.categorical.columns, *self.encoders)
        return tuple(dict.fromkeys(names))

    @property
    def hints(self) -> Hints:
        """What is known about the table before it is read."""
        return Hints((*self.target_names, *self.categorical.columns, *self.group_names), self.missing_values)

    @property
    def group_names(self) -> tuple[str, ...]:
        """The column of groups, if there is one."""
        return () if self.split.group is None else (self.split.group,)

    def without(self, name: str) -> dict[str, Any]:
        """The settings that leave the column `name` out too."""
        if self.features:
            return {"features": [feature for feature in self.features if feature != name]}
        return {"exclude": [*self.exclude, name]}

    def with_columns(self, names: Sequence[str], words: bool) -> dict[str, Any]:
        """The settings that use these columns of numbers or words too, where they would be left out."""
        section = self.categorical if words else self.numeric
        name = "categorical" if words else "numeric"
        return self.with_setting(name, columns=[*section.columns, *names])

    def with_categories(self, name: str) -> dict[str, Any]:
        """The settings that read the column `name` as categories."""
        return self.with_setting("categorical", columns=[*self.categorical.columns, name])

    def with_encoder(self, name: str, kind: str) -> dict[str, Any]:
        """The settings that give the column `name` this kind of encoder."""
        return {"encoders": {**self.encoders, name: kind}}

    def with_bins(self, bins: int | None) -> "Data":
        """The same settings with this number of bins."""
        return self.model_copy(update={"numeric": self.numeric.model_copy(update={"bins": bins})})

    def with_own_input_rows(self, rows: int) -> "Data":
        """The same settings with this number of rows for an input of its own."""
        return self.model_copy(update={"categorical": self.categorical.model_copy(update={"own_input_rows": rows})})

    def with_missing(self, *words: str) -> dict[str, Any]:
        """The settings by which `words` mean a missing value too."""
        return {"missing_values": [*self.missing_values, *words]}

    def with_setting(self, section: str, **change: Any) -> dict[str, Any]:
        """A whole section as written, with `change` applied."""
        return {section: getattr(self._written or self, section).model_dump(exclude_unset=True) | change}

    def filled_from(self, written: "Data") -> None:
        """Remember what the file says, for remedies: `self` has the settings of a preset too."""
        self._written = written

    def remedy(self, change: dict[str, Any], meaning: str) -> str:
        """A line of YAML and what it does or assumes, for a message."""
        return f"{setting(data=change)} {meaning}"

    @property
    def validates(self) -> bool:
        """Whether rows are held out for validation."""
        return bool(self.split.validation or self.validation_path)

    @property
    def effective_split(self) -> Split:
        """The fractions to hold out of the main table: 0 for a part with a separate file."""
        separate = {"validation": self.validation_path, "test": self.test_path}
        return self.split.model_copy(update={name: 0.0 for name, path in separate.items() if path})

    @field_validator("target")
    @classmethod
    def _names_a_column(cls, target: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if target is None and info.data.get("target_path") is None:
            raise mistake("is missing: name the column to predict, as in 'target: species'")
        return target

    @model_validator(mode="after")
    def _makes_sense(self) -> "Data":
        refuse(self._conflicts())
        return self

    def _conflicts(self) -> Iterator[Conflict]:
        if self.scale_target is not None and not self.scale_target.suits_targets:
            yield (
                "scale_target",
                f"{self.scale_target.name()} is for inputs only, since it bounds what it scales; write robust",
            )
        if self.target == ():
            yield "target", "names no column"
        if self.features and self.exclude:
            yield (
                "exclude",
                "cannot be given together with features: name the columns to use, or those to leave out",
            )
        features = set(self.features_or_none)
        for name in self.target_names:
            if name in features:
                yield (
                    "features",
                    f"'{name}' is the target and cannot be a feature too: the network would be told the answer",
                )
        if self.sample_weight in (*self.target_names, *self.features_or_none):
            yield "sample_weight", f"'{self.sample_weight}' cannot be a target or a feature too"
        yield from self._split_conflicts()
        for field in ("target", "features", "exclude"):
            for name, times in Counter(getattr(self, field) or ()).items():
                if times > 1:
                    yield field, f"names '{name}' twice"
        yield from self._encoder_conflicts()
        for part in ("validation", "test"):
            if getattr(self, f"{part}_target_path") and not getattr(self, f"{part}_path"):
                yield f"{part}_target_path", f"needs {part}_path beside it"

    def _split_conflicts(self) -> Iterator[Conflict]:
        """Groups that would be inputs, or an answer; an order that would be the answer."""
        group, order = self.split.group, self.split.order
        if group is not None and group in (*self.target_names, self.sample_weight, *self.declared):
            what = f"'{group}' is used otherwise too, but groups are no inputs: new rows come from other groups"
            yield "split.group", f"{what}; name another column, or a copy of it"
        if order is not None and order in self.target_names:
            yield "split.order", f"'{order}' is the target; name the column that says when a row was recorded"

    def _encoder_conflicts(self) -> Iterator[Conflict]:
        """Columns with two encoders, and targets, which have none."""
        for name in sorted(set(self.numeric.columns) & set(self.categorical.columns)):
            yield "categorical.columns", f"'{name}' is in numeric.columns too; a column is one or the other"
        for name in self.target_names:
            if name in self.numeric.columns:
                remedy = f"remove it here, and write {setting(task='regression')} to predict a quantity"
                yield "numeric.columns", f"'{name}' is the target, which the task reads; {remedy}"
            if name in self.encoders:
                yield f"encoders.{name}", "is the target, which the task encodes; remove it here"
        for name, kind in self.encoders.items():
            if name in self.numeric.columns and kind != "number":
                yield f"encoders.{name}", f"is {kind}, but '{name}' is in numeric.columns too; remove one of the two"
