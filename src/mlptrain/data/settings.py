"""What does a spec say about data?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from mlptrain.component import Conflict, Frozen, OneOf, ResolvedPath, mistake, refuse
from mlptrain.data.scalers import Scaler, Standard
from mlptrain.data.split import Split
from mlptrain.data.tables import Hints, composed
from mlptrain.remedies import setting

Words = Annotated[tuple[str, ...], Field(strict=False)]
Name = Annotated[str, AfterValidator(composed)]
Names = Annotated[tuple[Name, ...], Field(strict=False)]
"""Columns, with composed letters as in a table."""
MANY_CATEGORIES = 100
ROWS_TO_A_CATEGORY = 100


def listed_names(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


def one_ascii_character(value: str | None) -> str | None:
    """What can separate cells: a single byte that has no other meaning."""
    if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n\0'):
        raise mistake(f"must be one ASCII character, as ';' is; got {value!r}")
    return value


class Numeric(Frozen):
    """What is done to numeric columns."""

    columns: Names = Field((), description="Columns that must be read as numbers.")
    scale: Annotated[Scaler, OneOf()] = Field(Standard(), description="How values are scaled.")
    missing: Literal["median", "mean", "error"] = Field(
        "median", description="What fills a missing value: of the training rows."
    )


class Categorical(Frozen):
    """What is done to categorical columns: one input for each category.

    A category is a value, not a spelling: spaces around it do not count, letters are composed (NFC), `True` and `TRUE`
    are `true`, and `1`, `1.0` and `1e0` are the number 1. Leading zeros mark a code: `01` and `1` differ. Where the
    categories of training are those of a flag, its other spelling is read too: 1 for true, 0 for false.
    """

    columns: Names = Field((), description="Columns that must be read as categories, even if they look numeric.")
    unknown: Literal["own_column", "ignore", "error"] = Field(
        "own_column",
        description="A category that training did not see: an input of its own, no input, or an error.",
    )
    missing: Literal["own_column", "most_frequent", "error"] = Field(
        "own_column",
        description="A missing cell: a category of its own, the most frequent one of training, or an error.",
    )
    min_count: int = Field(1, ge=1, description="Categories with fewer training rows share the input of unknown ones.")
    max_categories: int | None = Field(
        None,
        ge=1,
        description="More categories than this are taken for a mistake (an identifier, a text); null allows "
        f"{MANY_CATEGORIES}, or one for every {ROWS_TO_A_CATEGORY} training rows where that is more.",
    )

    @model_validator(mode="after")
    def _rare_ones_have_a_place(self) -> Categorical:
        if self.min_count > 1 and self.unknown == "error":
            message = "makes rare categories count as unknown ones, which unknown: error refuses; choose one of the two"
            refuse([("min_count", message)])
        return self

    def allowed(self, rows: int) -> int:
        """How many categories a column may have in so many training rows."""
        return self.max_categories or max(MANY_CATEGORIES, rows // ROWS_TO_A_CATEGORY)


class Data(Frozen):
    """Where the rows come from, which columns count and how they are prepared."""

    path: ResolvedPath = Field(
        description="The table: csv, tsv, parquet, npz or idx, also gzipped; relative to the spec."
    )
    target_path: ResolvedPath | None = Field(None, description="A file of its own for the target, as in IDX.")
    target: Annotated[Names | None, BeforeValidator(listed_names)] = Field(
        None, description="The column to predict, or a list of them."
    )
    validation_path: ResolvedPath | None = Field(None, description="A file of its own for validation.")
    validation_target_path: ResolvedPath | None = Field(None, description="The target of the validation file.")
    test_path: ResolvedPath | None = Field(None, description="A file of its own for the test.")
    test_target_path: ResolvedPath | None = Field(None, description="The target of the test file.")
    features: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The columns to learn from; all, where null."
    )
    exclude: Names = Field((), description="Columns to leave out.")
    sample_weight: Name | None = Field(
        None,
        description="A column that tells how much each row counts in the loss; only proportions matter, and a row of "
        "weight 0 is left out as if it were not there.",
    )
    delimiter: Annotated[str | None, AfterValidator(one_ascii_character)] = Field(
        None, description="What separates the cells of a CSV, if it is not a comma: one ASCII character."
    )
    missing_values: Words = Field(
        ("", "NA", "N/A", "NaN", "nan", "null", "NULL"),
        description="Cells that stand for no value; among numbers `nan` does, in any case and with any sign, and a "
        "number that is given here does however it is written.",
    )
    missing_target: Literal["error", "drop"] = Field("error", description="What to do with a row that has no target.")
    split: Split = Field(Split(), description="Shares held out of the table in `path`.")
    numeric: Numeric = Field(Numeric(), description="What is done to numeric columns.")
    categorical: Categorical = Field(Categorical(), description="What is done to categorical columns.")
    encoders: dict[Name, str] = Field(
        {}, description="The kind of encoder of a column, by name, where it is not the one that the column looks like."
    )
    scale_target: Annotated[Scaler, OneOf()] | None = Field(
        None,
        description="Regression: how the target is scaled for training; null is standard, none for a bounded output.",
    )

    @property
    def target_names(self) -> tuple[str, ...]:
        """The target columns; `label` where the target has a file of its own and no name."""
        return self.target or ("label",)

    @property
    def features_or_none(self) -> tuple[str, ...]:
        """The features that are named, none if none are."""
        return self.features or ()

    @property
    def declared(self) -> frozenset[str]:
        """The columns that the spec names as something to learn from."""
        return frozenset((*self.features_or_none, *self.numeric.columns, *self.categorical.columns, *self.encoders))

    @property
    def hints(self) -> Hints:
        """What is known of the table before it is read."""
        return Hints((*self.target_names, *self.categorical.columns), self.missing_values)

    def without(self, name: str) -> dict[str, Any]:
        """The settings that leave the column `name` out too."""
        if self.features:
            return {"features": [feature for feature in self.features if feature != name]}
        return {"exclude": [*self.exclude, name]}

    def with_column(self, name: str) -> dict[str, Any]:
        """The settings that learn from the column `name` too, where it would be left out."""
        if self.features:
            return {"features": [*self.features, name]}
        return self.with_setting("numeric", columns=[*self.numeric.columns, name])

    def with_categories(self, name: str) -> dict[str, Any]:
        """The settings that make the cells of `name` categories."""
        return self.with_setting("categorical", columns=[*self.categorical.columns, name])

    def with_missing(self, *words: str) -> dict[str, Any]:
        """The settings for which more words stand for no value."""
        return {"missing_values": [*self.missing_values, *words]}

    def with_setting(self, section: str, **change: Any) -> dict[str, Any]:
        """A whole section as it is written, with this change."""
        return {section: getattr(self, section).model_dump(exclude_unset=True) | change}

    def way(self, change: dict[str, Any], meaning: str) -> str:
        """A line of the spec and when to write it, for a message."""
        return f"{setting(data=change)} {meaning}"

    @property
    def effective_split(self) -> Split:
        """The shares to take from the main table: none for a part that has a file of its own."""
        return Split(
            validation=0 if self.validation_path else self.split.validation,
            test=0 if self.test_path else self.split.test,
        )

    @field_validator("target")
    @classmethod
    def _names_a_column(cls, target: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if target is None and info.data.get("target_path") is None:
            raise mistake("is missing: name the column to predict, as in 'target: species'")
        return target

    @model_validator(mode="after")
    def _makes_sense(self) -> Data:
        refuse(self._conflicts())
        return self

    def _conflicts(self) -> Iterator[Conflict]:
        if self.target == ():
            yield "target", "names no column"
        if self.features and self.exclude:
            yield (
                "exclude",
                "cannot be given together with features: name the columns to use, or those to leave out",
            )
        for name in self.target_names:
            if name in self.features_or_none:
                yield (
                    "features",
                    f"'{name}' is the target and cannot be a feature too: the network would be told the answer",
                )
        if self.sample_weight in (*self.target_names, *self.features_or_none):
            yield "sample_weight", f"'{self.sample_weight}' cannot be a target or a feature too"
        for field in ("target", "features", "exclude"):
            names = getattr(self, field) or ()
            for name in dict.fromkeys(name for i, name in enumerate(names) if name in names[:i]):
                yield field, f"names '{name}' twice"
        for name in sorted(set(self.numeric.columns) & set(self.categorical.columns)):
            yield "categorical.columns", f"'{name}' is in numeric.columns too; a column is one or the other"
        for part in ("validation", "test"):
            if getattr(self, f"{part}_target_path") and not getattr(self, f"{part}_path"):
                yield f"{part}_target_path", f"needs {part}_path beside it"
