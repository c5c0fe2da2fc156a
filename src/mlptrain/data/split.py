"""Which rows are for training, which for validation and which for the test?"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from mlptrain.component import Conflict, Frozen, mistake, or_word, refuse
from mlptrain.data.tables import composed
from mlptrain.data.troubles import Trouble
from mlptrain.errors import DataError
from mlptrain.remedies import setting

Rows = NDArray[np.intp]
Column = Annotated[str, AfterValidator(composed)] | None


def check_folds(value: Any) -> Any:
    """A number of folds, `groups`, or None."""
    if value in (None, "groups") or (isinstance(value, int) and not isinstance(value, bool) and value >= 2):
        return value
    raise mistake(f"must be a whole number of at least 2, 'groups' or null; got {repr(value)[:40]}")


class Split(Frozen):
    """Fractions of the rows that are held out, at random, by group or in order of time; the rest is for training."""

    validation: float = Field(0.15, ge=0, lt=1, description="Fraction of the rows that select the best epoch.")
    test: float = Field(0.15, ge=0, lt=1, description="Fraction of the rows that only the final results use.")
    folds: Annotated[
        int | Literal["groups"] | None, PlainValidator(check_folds), WithJsonSchema(or_word(2, None, "groups", None))
    ] = Field(
        None,
        description="Parts of the training rows, for `ensemble.rows: folds`; null is one for each member. With fewer "
        "folds than members, several members leave out the same one. `groups` leaves one group out at a time.",
    )
    repeats: int = Field(
        1,
        ge=1,
        le=1000,
        description="How often the folds are drawn anew. Members take turns over all of them, and each training row "
        "is validated as often.",
    )
    group: Column = Field(
        None,
        description="A column that says which rows belong together, such as those of one patient: they are never in "
        "two parts, nor in two folds. It is no feature. Classes are spread over the parts as evenly as the groups "
        "allow.",
    )
    order: Column = Field(
        None,
        description="A column of numbers or dates by which the rows are divided: training first, then validation, the "
        "test last. Rows with the same value stay together. It remains a feature unless it is excluded.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> "Split":
        refuse(self._conflicts())
        return self

    def _conflicts(self) -> Iterator[Conflict]:
        if self.validation + self.test >= 1:
            taken = f"{self.validation + self.test:g} of the rows"
            yield "", f"validation and test together take {taken}; leave some to train on"
        if self.folds == "groups" and self.group is None:
            yield "folds", f"is groups, but no column has them; name it, as in {remedy(group='patient')}"
        if self.folds == "groups" and self.repeats > 1:
            yield "repeats", f"draws the same folds again, since each is one group; write {remedy(repeats=1)}"
        if self.order is None:
            return
        if self.group is not None:
            yield "order", f"cannot be given together with group; choose one, as in {remedy(order=None)}"
        for name, value, default in (("folds", self.folds, None), ("repeats", self.repeats, 1)):
            if value != default:
                message = "is for rows in any order, but order holds out the last ones"
                yield name, f"{message}; remove it, or write {remedy(order=None)}"

    def number_of_folds(self, members: int, groups: int) -> int:
        """The number of folds for `members` networks and that many `groups` of rows."""
        return groups if self.folds == "groups" else self.folds or members // self.repeats

    def shares(self) -> dict[str, float]:
        """The fraction of each part that is held out, by name, without those of no row."""
        return {name: share for name in ("validation", "test") if (share := getattr(self, name))}


def remedy(**change: Any) -> str:
    """A line of YAML that changes the split."""
    return setting(data={"split": change})


class Units(NamedTuple):
    """Which rows belong together, in a column of the table."""

    column: str
    codes: Rows
    """(rows,): the number of the group of each row"""

    @property
    def number(self) -> int:
        """The number of groups."""
        return int(self.codes.max(initial=-1)) + 1


def split_rows(
    rows: Rows, classes: NDArray[np.intp] | None, split: Split, rng: "np.random.Generator", path: str
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


def split_groups(
    rows: Rows, classes: Rows | None, units: Units, split: Split, rng: "np.random.Generator", path: str
) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows, each group in one of them; the test does not depend on the validation."""
    wanted = ["training", *split.shares()]
    if units.number < len(wanted):
        names, plural = " and ".join(wanted), "" if units.number == 1 else "s"
        raise Trouble(
            path,
            f"column '{units.column}' has {units.number} group{plural}, too few for {names} rows; name another column, "
            f"or write {remedy(**dict.fromkeys(wanted[1:], 0))} or {remedy(group=None)}",
        )
    rest, testing = held_out(rows, classes, units, split.test, min(2, units.number - 1), rng)
    share = min(0.99, split.validation * len(rows) / len(rest))
    training, validating = held_out(rest, classes, units, share, 1, rng)
    return training, validating, testing


def held_out(
    rows: Rows, classes: Rows | None, units: Units, share: float, least: int, rng: "np.random.Generator"
) -> tuple[Rows, Rows]:
    """The rows that remain, of at least that many groups, and about this share of them by group."""
    if not share:
        return rows, rows[:0]
    codes, counts = counted(rows, classes, units)
    part = divide(counts, np.array([1 - share, share]), [least, 1], rng, first_is_kept=True)
    return rows[part[codes] == 0], rows[part[codes] == 1]


def fold_groups(rows: Rows, classes: Rows | None, units: Units, folds: int, rng: "np.random.Generator") -> list[Rows]:
    """`rows` in `folds` parts of about the same size, each group in one of them."""
    codes, counts = counted(rows, classes, units)
    part = divide(counts, np.full(folds, 1 / folds), [1] * folds, rng)
    return [rows[part[codes] == k] for k in range(folds)]


def without_gaps(codes: NDArray[np.intp]) -> NDArray[np.intp]:
    """`codes` of 0 or more, numbered from 0 without gaps, in their order.

    >>> without_gaps(np.array([7, 2, 7, 5])).tolist()
    [2, 0, 2, 1]
    """
    present = np.bincount(codes) > 0
    return np.asarray((np.cumsum(present) - 1)[codes])


def counted(rows: Rows, classes: Rows | None, units: Units) -> tuple[Rows, NDArray[np.float64]]:
    """The group of each of `rows`, numbered without gaps, and the rows of each group by class (groups, classes)."""
    codes = without_gaps(units.codes[rows])
    labels = np.zeros(len(rows), np.intp) if classes is None else classes[rows]
    width = int(labels.max()) + 1
    counts = np.bincount(codes * width + labels, minlength=(int(codes.max()) + 1) * width).reshape(-1, width)
    return codes, counts[:, counts.any(axis=0)].astype(np.float64)


def divide(
    counts: NDArray[np.float64],
    shares: NDArray[np.float64],
    least: Sequence[int],
    rng: "np.random.Generator",
    first_is_kept: bool = False,
) -> Rows:
    """The part of each group, given its rows by class (groups, classes), so that parts have their share of each class.

    Groups come one by one, in random order but for those that are larger than the smallest part and those that alone
    have a class, which come first. Each goes to the part that lacks most of its classes, among those that still leave
    each of them in another part, as every part but the first that is kept is held out. Each part gets at least as many
    groups as `least` says.
    """
    share_of_class = counts / counts.sum(axis=0)
    lacking, needed = np.tile(shares[:, None], counts.shape[1]), np.array(least)
    elsewhere = np.tile((counts > 0).sum(axis=0), (len(shares), 1))  # groups with a class that are not in the part
    rows, order = counts.sum(axis=1), rng.permutation(len(counts))
    early = (rows > shares.min() * rows.sum()) | (share_of_class == 1).any(axis=1)
    order = order[np.argsort(-np.where(early, rows + 1, 0)[order], kind="stable")]
    part = np.zeros(len(counts), np.intp)
    for left, group in zip(range(len(order), 0, -1), order.tolist(), strict=True):
        gain = lacking @ share_of_class[group]
        spared = np.asarray((elsewhere[:, counts[group] > 0] > 1).all(axis=1))
        spared[0] |= first_is_kept
        wanted = needed > 0 if needed.sum() >= left else np.ones(len(shares), bool)
        allowed = spared & wanted if (spared & wanted).any() else spared if spared.any() else wanted
        chosen = part[group] = int(np.where(allowed, gain, -np.inf).argmax())
        lacking[chosen] -= share_of_class[group]
        elsewhere[chosen] -= counts[group] > 0
        needed[chosen] = max(0, needed[chosen] - 1)
    return part


def split_in_order(column: str, values: NDArray[np.float64], split: Split, path: str) -> tuple[Rows, Rows, Rows]:
    """Training, validation and test rows by increasing `values`; rows with the same value stay together."""
    order = np.argsort(values, kind="stable")
    steps = np.flatnonzero(np.diff(values[order])) + 1  # places where another value begins
    shares = split.shares()
    if len(steps) < len(shares):
        names = " and ".join(("training", *shares))
        raise Trouble(
            path,
            f"column '{column}' has {len(steps) + 1} distinct value{'s' * (len(steps) > 0)}, too few for {names} rows "
            f"that follow each other; name another column, or write {remedy(order=None)}",
        )
    end = nearest(steps[len(shares) - 1 :], (1 - split.test) * len(values)) if split.test else len(values)
    start = nearest(steps[steps < end], (1 - sum(shares.values())) * len(values)) if split.validation else end
    return np.sort(order[:start]), np.sort(order[start:end]), np.sort(order[end:])


def nearest(places: Rows, wanted: float) -> int:
    """The one of `places` that is closest to `wanted`."""
    return int(places[np.abs(places - wanted).argmin()])


def fold_rows(
    rows: Rows,
    classes: NDArray[np.intp] | None,
    folds: int,
    rng: "np.random.Generator",
    path: str,
    units: Units | None = None,
) -> list[Rows]:
    """`rows` in `folds` parts of about the same size, each in the order of the file, stratified by `classes`."""
    available = len(rows) if units is None else np.count_nonzero(np.bincount(units.codes[rows]))
    if folds > available:
        few = remedy(folds=int(available)) if available > 1 else setting(ensemble={"rows": "shared"})
        what = "training rows" if units is None else f"groups of training rows in '{units.column}'"
        raise DataError(f"{path}: {available} {what} cannot be divided into {folds} folds; write {few}")
    if units is not None:
        return fold_groups(rows, classes, units, folds, rng)
    order = rng.permutation(rows)
    if classes is not None:
        order = order[np.argsort(classes[order], kind="stable")]
    return [in_order_of_file(order[k::folds]) for k in range(folds)]


def refuse_unlearned(rows: Rows, folds: Sequence[Rows], classes: Rows, names: Sequence[str], path: str) -> None:
    """Refuse a fold that holds out every one of the training `rows` of a class."""
    total = np.bincount(classes[rows])
    for fold in folds:
        lost = np.flatnonzero((total > 0) & (np.bincount(classes[fold], minlength=len(total)) == total))
        if len(lost):
            count = total[lost[0]]
            where = "one training row" if count == 1 else f"{count} training rows, all of one group"
            raise DataError(
                f"{path}: class '{names[lost[0]]}' has {where}: the members that leave it out would not learn the "
                f"class. Merge it with another class, leave it out of the table, or write "
                f"{setting(ensemble={'rows': 'shared'})}"
            )


def refuse_untrained(training: Rows, classes: Rows, names: Sequence[str], split: Split, path: str) -> None:
    """Refuse training rows that lack a class of the table."""
    total = np.bincount(classes)
    lost = np.flatnonzero((total > 0) & (np.bincount(classes[training], minlength=len(total)) == 0))
    if len(lost):
        way = "order" if split.order is not None else "group"
        text = f"no training row has class '{names[lost[0]]}': its rows are held out by {way} '{getattr(split, way)}'"
        raise Trouble(path, f"{text}; hold out fewer rows, leave the class out, or write {remedy(**{way: None})}")


def in_order_of_file(rows: Rows) -> Rows:
    """Distinct `rows` in increasing order; marking is faster than sorting."""
    marked = np.zeros(rows.max(initial=-1) + 1, bool)
    marked[rows] = True
    return np.flatnonzero(marked)


def quota(share: float, seen: int, taken: int, most: int) -> int:
    """How many more rows, up to `most`, a part takes to have its share of all rows `seen` so far."""
    return max(0, min(round(share * seen) - taken, most))
