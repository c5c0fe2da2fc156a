"""What does a spec say about data?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from mlptrain.component import Conflict, Frozen, OneOf, ResolvedPath, mistake, refuse
from mlptrain.data.scalers import Scaler
from mlptrain.data.split import Split
from mlptrain.data.transforms import Categorical, Numeric, Words


def listed_names(value: Any) -> Any:
    """One name as a list of one."""
    return (value,) if isinstance(value, str) else value


class Data(Frozen):
    """Where the rows come from, which columns count and how they are prepared."""

    path: ResolvedPath = Field(
        description="The table: csv, tsv, parquet, npz or idx, also gzipped; relative to the spec."
    )
    target_path: ResolvedPath | None = Field(None, description="A file of its own for the target, as in IDX.")
    target: Annotated[Words | None, BeforeValidator(listed_names)] = Field(
        None, description="The column to predict, or a list of them."
    )
    validation_path: ResolvedPath | None = Field(None, description="A file of its own for validation.")
    validation_target_path: ResolvedPath | None = Field(None, description="The target of the validation file.")
    test_path: ResolvedPath | None = Field(None, description="A file of its own for the test.")
    test_target_path: ResolvedPath | None = Field(None, description="The target of the test file.")
    features: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = Field(
        None, description="The columns to learn from; all, where null."
    )
    exclude: Words = Field((), description="Columns to leave out.")
    sample_weight: str | None = Field(None, description="A column that tells how much each row counts in the loss.")
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What separates the cells of a CSV, if it is not a comma.",
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
