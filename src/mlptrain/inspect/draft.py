"""Which spec would one write for a table, and why?

A draft is a spec with comments: what each column holds and becomes, how the target is read, what the preset chose.
Columns that cannot be used as they are, and rows without a target, are left out, and the draft says so.
"""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlptrain.data.columns import Column, NumericColumn
from mlptrain.data.keys import Keys
from mlptrain.data.settings import Data
from mlptrain.data.tables import Hints, Table, likely_delimiter, parse_table, read_bytes
from mlptrain.data.troubles import Trouble, Troubles
from mlptrain.dataset import Examined, TaskChoice, choose_rows, choose_task, left_out, usable_rows
from mlptrain.errors import DataError, UsageError
from mlptrain.inspect.columns import ColumnFacts, Target, column_facts
from mlptrain.nn.arrays import Indices
from mlptrain.remedies import scalar, setting
from mlptrain.report.text import visible
from mlptrain.runs.directory import name_for
from mlptrain.spec import yaml
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import filled
from mlptrain.spec.presets import Facts, Standard, fill
from mlptrain.tasks import Classification, MultiLabel, Regression, Task, distinct, found_values, implied_task, is_whole

Comments = Mapping[str, Sequence[str]]
MOST_CLASSES, ROWS_OF_A_CLASS = 10, 10
"""Distinct whole numbers that are taken for classes, if there are so many rows for each of them on average."""
_LISTED, _NAMED, _NAME_WIDTH, _TEXT_WIDTH = 200, 20, 32, 110
SCHEMA = "mlptrain.schema.json"
"""The file that editors read; `mlptrain schema --out` writes it."""
ABOUT_A_DRAFT = (
    "Settings that are not here come from the preset; `mlptrain inspect` on this file shows them, and",
    "`mlptrain check` looks for what may go wrong.",
)
ABOUT_EDITORS = (
    f"For completion in an editor: mlptrain schema --out {SCHEMA}, and a first line that says",
    f"  yaml-language-server: $schema={SCHEMA}",
)
MISSING_VALUES = Data.model_fields["missing_values"].default


@dataclass(frozen=True)
class Draft:
    """A spec with comments."""

    settings: dict[str, Any]
    comments: Comments
    """The lines above a key, by its path; those of the whole spec under the empty path."""
    assumed: tuple[str, ...]
    """What was decided that the table does not say."""

    def text(self, settings: Mapping[str, Any] | None = None) -> str:
        """The spec as YAML; `settings` replaces the values, and drops the comments on single values that differ."""
        settings = settings or self.settings
        changed = {name for name, value in self.settings.items() if name != "data" and settings.get(name) != value}
        kept = {name: lines for name, lines in self.comments.items() if name not in changed}
        return "\n".join(rendered(settings, kept)) + "\n"


def rendered(settings: Mapping[str, Any], comments: Comments) -> Iterator[str]:
    """The lines of a spec, with an empty line before each commented part."""
    yield from (f"# {line}".rstrip() for line in comments.get("", ()))
    for key, value in settings.items():
        if key in comments:
            yield ""
        yield from (f"# {line}".rstrip() for line in comments.get(key, ()))
        if not isinstance(value, Mapping) or not value:
            yield yaml.dump({key: value}).rstrip("\n")
            continue
        yield f"{key}:"
        for name, inner in value.items():
            yield from (f"  # {line}".rstrip() for line in comments.get(f"{key}.{name}", ()))
            yield from (f"  {line}" for line in yaml.dump({name: inner}).rstrip("\n").split("\n"))


def read_table_for(path: Path, targets: Sequence[str]) -> tuple[Table, str | None]:
    """The table at `path`, and the delimiter if it is not the usual one."""
    raw = read_bytes(path)
    delimiter = likely_delimiter(raw, str(path))
    return parse_table(raw, str(path), delimiter, Hints(targets, MISSING_VALUES)), delimiter


def draft(path: Path, targets: Sequence[str], folder: Path, schema: str | None = None) -> Draft:
    """A spec that predicts the columns `targets` of the table at `path`, for a file in `folder`.

    `schema` is the path of a JSON Schema of specs, for editors.
    """
    table, delimiter = read_table_for(path, targets)
    seen = survey(table, settings_for(table, targets, delimiter))
    settings = seen.settings(targets, delimiter)
    settings["data"] = {"path": relative(path, folder), **settings["data"]}
    return Draft({"name": name_for(path), **settings}, comments(path, seen, schema), tuple(seen.assumed))


@dataclass(frozen=True)
class Survey:
    """What a draft is made from."""

    path: str
    rows: int
    dropped: int
    """Rows without a target."""
    task: type[Task]
    reason: str
    """Why it is this task."""
    assumed: list[str]
    facts: list[ColumnFacts]
    chosen: str
    """What the preset amounts to."""
    loss: str

    @property
    def unusable(self) -> list[ColumnFacts]:
        """The columns that cannot be used as they are."""
        return [one for one in self.facts if one.trouble is not None]

    def settings(self, targets: Sequence[str], delimiter: str | None = None) -> dict[str, Any]:
        """The settings of a spec that predicts the columns `targets`, without the path of the table."""
        if not any(one.inputs for one in self.facts):
            why = "; ".join(f"'{one.name}' {next(iter(one.notes), one.becomes)}" for one in self.facts if one.values)
            raise DataError(f"{self.path}: no column is left to learn from beside the target: {why}")
        data: dict[str, Any] = {"target": targets[0] if len(targets) == 1 else [*targets]}
        data |= {"delimiter": delimiter} if delimiter else {}
        data |= {"missing_target": "drop"} if self.dropped else {}
        data |= {"exclude": [one.name for one in self.unusable]} if self.unusable else {}
        return {"seed": 0, "preset": Standard().name(), "task": self.task.name(), "data": data}


def survey(table: Table, data: Data) -> Survey:
    """Read the target and the columns of `table`, which is used up."""
    troubles, everything = Troubles(), table.rows
    usable, weights, columns, _ = usable_rows(table, data, troubles)
    troubles.refuse()
    kind, reason, sure = task_for(columns, usable, data)
    choice = choose_task(usable, columns, data, None, kind.name(), troubles)
    troubles.refuse()
    assert choice is not None
    examined = Examined(usable, {}, weights, choice, Keys(), [], troubles)
    experiment, _ = filled(Experiment(preset=Standard(), data=data, task=kind.name()), examined, 0)
    rows = training_rows(choice, experiment, usable)
    facts = column_facts(usable, experiment.data, rows, Target(choice.truth))
    dropped = everything - usable.rows
    assumed = [] if sure else [reason]
    assumed += [left_out(dropped, "without a target")] if dropped else []
    assumed += [f"column '{one.name}' is left out: {one.trouble.text}" for one in facts if one.trouble]
    return Survey(table.path, everything, dropped, kind, reason, assumed, facts, experiment.chosen, choice.loss.name())


def facts_without_target(table: Table, delimiter: str | None) -> list[ColumnFacts]:
    """The facts of every column of a table whose target is not known: all are features, all rows are for training."""
    data = Data.model_construct(path=table.path, delimiter=delimiter)  # which is no valid section without a target
    open_questions = Facts(rows=table.rows, classes=False, folds=True, linear=True, epochs=None, own_optimizer=False)
    return column_facts(table, fill(data, Standard().settings(open_questions)["data"]))


def facts_for(table: Table, targets: Sequence[str], delimiter: str | None) -> tuple[list[ColumnFacts], str]:
    """The facts of every column of a table, and how its target is read."""
    if not targets:
        return facts_without_target(table, delimiter), ""
    found = survey(table, settings_for(table, targets, delimiter))
    return found.facts, found.reason


def settings_for(table: Table, targets: Sequence[str], delimiter: str | None) -> Data:
    """The data section of a draft; rows without a target are left out."""
    for name in targets:
        table.column(name)
    known = {"target": list(targets)} | ({"delimiter": delimiter} if delimiter else {})
    path = str(Path(table.path).absolute())
    return Data.model_validate({"path": path, "missing_target": "drop", **known})


def training_rows(choice: TaskChoice, experiment: Experiment, table: Table) -> Indices:
    """The rows that would be for training."""
    rows = choose_rows(choice.task, choice.truth, experiment.data.effective_split, 0, table, Keys())
    return rows["train"]


def task_for(columns: Sequence[Column], table: Table, data: Data) -> tuple[type[Task], str, bool]:
    """The task for a target, the reason, and whether the target says so itself."""
    names = ", ".join(f"'{column.name}'" for column in columns)
    try:
        kind = implied_task(columns, table, data.missing_values)
        notes = kind.assumptions(columns)
        return (
            kind,
            notes[0] if notes else f"target {names} {'holds' if len(columns) == 1 else 'hold'} {held(kind)}",
            True,
        )
    except Trouble:
        numbers = [column for column in columns if isinstance(column, NumericColumn) and is_whole(column)]
        if len(numbers) < len(columns) or any(len(distinct(column)) < 2 for column in numbers):
            raise
    kind = guessed(numbers, table.rows)
    found = f"holds {found_values(columns[0])}" if len(columns) == 1 else "hold whole numbers"
    taken, other = (("a quantity", Classification), ("classes", Regression))[kind is not Regression]
    alternative = setting(task=other.name() if len(columns) == 1 or kind is not Regression else MultiLabel.name())
    return kind, f"target {names} {found}: taken for {taken}; otherwise write {alternative}", False


def guessed(columns: Sequence[NumericColumn], rows: int) -> type[Task]:
    """The task for whole numbers, which may be classes or a quantity: classes if they are few."""
    if len(columns) > 1:
        return MultiLabel if all(set(distinct(column)) <= {0, 1} for column in columns) else Regression
    values = len(distinct(columns[0]))
    return Classification if values <= min(MOST_CLASSES, rows // ROWS_OF_A_CLASS) else Regression


def held(kind: type[Task]) -> str:
    """What a target holds that implies a task."""
    return "classes" if kind is Classification else "yes and no" if kind is MultiLabel else "quantities"


def comments(path: Path, seen: Survey, schema: str | None) -> dict[str, list[str]]:
    """The comments of a draft, by key."""
    first = f"A first spec for {visible(path.name)}, {seen.rows:,} rows, {len(seen.facts):,} columns"
    head = [f"yaml-language-server: $schema={schema}"] if schema else []
    head += [f"{first}: it trains as it stands.", *ABOUT_A_DRAFT, *(() if schema else ABOUT_EDITORS), ""]
    test = f"To keep rows for a last test: {setting(data={'split': {'test': 0.15}})}"
    said = {
        "": head,
        "seed": ["Determines all random numbers: the same seed gives the same run."],
        "preset": [
            f"{seen.chosen}, by the number of rows.",
            "quick is one network, best four times as many; plain is the textbook network.",
        ],
        "task": [*wrapped(visible(seen.reason)), *target_lines(seen.facts), f"The loss is {seen.loss}."],
        "data": [*column_lines(seen.facts), *wrapped(test)],
    }
    if seen.dropped:
        said["data.missing_target"] = [left_out(seen.dropped, "without a target")]
    if seen.unusable:
        said["data.exclude"] = ["These columns cannot be used as they are:"]
        said["data.exclude"] += [line for one in seen.unusable for line in wrapped(visible(one.notes[0]))]
    return said


def target_lines(facts: Sequence[ColumnFacts]) -> Iterator[str]:
    """The values of each target column."""
    for one in facts:
        if one.role != "target" or one.values is None:
            continue
        if one.values.span is not None:
            low, middle, high = (f"{value:,g}" for value in one.values.span)
            yield from wrapped(f"{scalar(one.name)}: from {low} to {high}, median {middle}")
        else:
            more = one.values.distinct - len(one.values.levels)
            levels = ", ".join(f"{visible(word)} {count:,}" for word, count in one.values.levels)
            yield from wrapped(f"{scalar(one.name)}: {levels}" + (f" and {more:,} more" if more else ""))


def column_lines(facts: Sequence[ColumnFacts]) -> Iterator[str]:
    """A table of the columns: what they hold and what they become."""
    rows = [("column", "holds", "missing", "distinct", "becomes")]
    for one in facts[:_LISTED]:
        missing, values = ("-", "-") if one.values is None else (f"{one.values.missing:,}", f"{one.values.distinct:,}")
        rows.append((scalar(one.name), one.holds, missing, values, one.treatment))
    widths = [min(_NAME_WIDTH, max(len(row[i]) for row in rows)) for i in range(4)]
    notes: list[tuple[str, ...]] = [()] + [() if one.trouble else one.notes for one in facts[:_LISTED]]
    for (name, holds, missing, values, becomes), said in zip(rows, notes, strict=True):
        cells = name.ljust(widths[0]), holds.ljust(widths[1]), missing.rjust(widths[2]), values.rjust(widths[3])
        yield "  ".join((*cells, becomes))
        yield from (f"    {line}" for note in said for line in wrapped(visible(note)))
    if len(facts) > _LISTED:
        yield f"and {len(facts) - _LISTED:,} more: see `mlptrain inspect` on the table"


def schema_for(folder: Path) -> str | None:
    """The JSON Schema that `mlptrain schema` wrote into `folder` or the working directory, seen from `folder`."""
    for place in (folder, Path()):
        if (place / SCHEMA).is_file():
            return relative(place / SCHEMA, folder)
    return None


def wrapped(text: str) -> list[str]:
    """Text in lines that an editor shows whole."""
    return textwrap.wrap(text, _TEXT_WIDTH, break_long_words=False, break_on_hyphens=False)


def relative(path: Path, folder: Path) -> str:
    """The path of a table as a spec in `folder` names it: relative if it was given so."""
    if path.is_absolute():
        return str(path)
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another drive of Windows
        return str(path.absolute())


def no_target(path: Path, verb: str) -> UsageError:
    """The error of a table without a target: which columns there are, and what to type."""
    table, _ = read_table_for(path, ())
    names = list(table.columns)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    shown = ", ".join(f"'{visible(name)}'" for name in names[:_NAMED]) + more
    line = shlex.join(["mlptrain", verb, str(path), "--target", names[-1]])
    question = f"which of its {len(names)} columns is to be predicted? For the last one: {line}"
    return UsageError(f"{path}: {question}\nThe columns are: {shown}")
