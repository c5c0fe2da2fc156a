"""Which rows are for training, which for validation and which for the test?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mlptrain.component import Frozen, refuse
from mlptrain.errors import DataError

Rows = NDArray[np.intp]


class Split(Frozen):
    """Fractions of the rows that are held out; the rest is for training."""

    validation: float = Field(0.15, ge=0, lt=1, description="Fraction of the rows that select the best epoch.")
    test: float = Field(0.15, ge=0, lt=1, description="Fraction of the rows that only the final results use.")
    folds: int | None = Field(
        None,
        ge=2,
        description="Parts of the training rows, for `ensemble.rows: folds`; null is one for each member. With fewer "
        "folds than members, several members leave out the same one.",
    )

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Split:
        if self.validation + self.test >= 1:
            refuse(
                [
                    (
                        "",
                        f"validation and test together take {self.validation + self.test:g} of the "
                        "rows; leave some to train on",
                    )
                ]
            )
        return self


def split_rows(
    rows: Rows, classes: NDArray[np.intp] | None, split: Split, rng: np.random.Generator, path: str
) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows, each in the order of the file, stratified by `classes`."""
    order = rng.permutation(rows)
    groups = [order]
    if classes is not None:
        groups = [order[classes[order] == c] for c in np.flatnonzero(np.bincount(classes[rows]))]
    parts: tuple[list[Rows], list[Rows], list[Rows]] = ([], [], [])
    seen = tested = validated = 0
    for group in groups:
        seen += len(group)
        tested += (test := quota(split.test, seen, tested, len(group) - 1))
        validated += (validation := quota(split.validation, seen, validated, len(group) - test - 1))
        for part, chosen in zip(
            parts, np.split(group, [len(group) - test - validation, len(group) - test]), strict=True
        ):
            part.append(chosen)
    training, validating, testing = (in_order_of_file(np.concatenate(part)) for part in parts)
    for name, share, chosen in (("validation", split.validation, validating), ("test", split.test, testing)):
        if share and not len(chosen):
            raise DataError(
                f"{path}: a {name} share of {share:g} leaves no row of {len(rows)} for {name}; "
                f"raise data.split.{name}, or set it to 0"
            )
    if not len(training):
        raise DataError(f"{path}: the split leaves no row of {len(rows)} to train on; lower the shares in data.split")
    return training, validating, testing


def fold_rows(
    rows: Rows, classes: NDArray[np.intp] | None, folds: int, rng: np.random.Generator, path: str
) -> list[Rows]:
    """`rows` in `folds` parts of about the same size, each in the order of the file, stratified by `classes`."""
    if folds > len(rows):
        raise DataError(
            f"{path}: {len(rows)} training rows cannot be divided into {folds} folds; lower ensemble.members to at "
            f"most {len(rows)}"
        )
    order = rng.permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    return [in_order_of_file(order[k::folds]) for k in range(folds)]


def in_order_of_file(rows: Rows) -> Rows:
    """Distinct `rows` in increasing order; marking is faster than sorting."""
    marked = np.zeros(rows.max(initial=-1) + 1, bool)
    marked[rows] = True
    return np.flatnonzero(marked)


def quota(share: float, seen: int, taken: int, most: int) -> int:
    """How many more rows, up to `most`, a part takes to have its share of all rows `seen` so far."""
    return max(0, min(round(share * seen) - taken, most))
