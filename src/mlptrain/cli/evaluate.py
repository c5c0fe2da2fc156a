"""mlptrain evaluate: measure a trained model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from mlptrain.cli.console import (
    class_table,
    confusion_table,
    decision_text,
    interval_line,
    metrics_table,
    print_json,
    print_next,
    print_notes,
    print_results,
    refuse_same_file,
    stderr_console,
)
from mlptrain.cli.tables import csv_text, table_for, target_for
from mlptrain.component import did_you_mean
from mlptrain.data.tables import Table, digest_of
from mlptrain.dataset import Part, used_rows
from mlptrain.errors import CheckFailed, UsageError
from mlptrain.inspect.files import known_state
from mlptrain.metrics import ClassFigures, higher_is_better
from mlptrain.nn.arrays import Array
from mlptrain.numbers import brief
from mlptrain.runs.checkpoint import Model
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import (
    Evaluation,
    at_home,
    drops,
    evaluate,
    is_at_home,
    open_model,
    own_test,
    predicted_rows,
    scores_of,
    table_part,
    with_target,
)

MAX_CLASSES = 20  # of a confusion matrix and of a table of classes that are printed


class Request(NamedTuple):
    """The arguments of the command."""

    model: Path
    data: Path | None
    target_data: Path | None
    fail_under: Sequence[str]
    fail_over: Sequence[str]
    out: Path | None
    rows: Path | None
    """Where the figures of each row are written."""
    json: bool


def run(request: Request) -> None:
    """Run the command."""
    for written in (request.out, request.rows):
        refuse_same_file(written, request.data, request.model)
    if request.target_data is not None and request.data is None:
        raise UsageError("--target-data needs --data")
    model = open_model(request.model)
    bounds = [(*parse_bound(text, "--fail-under"), True) for text in request.fail_under]
    bounds += [(*parse_bound(text, "--fail-over"), False) for text in request.fail_over]
    own = is_own_table(model, request)
    if own:
        model = at_home(model, request.data)
    subject = own_rows(model, request) if own else rows_of_table(model, request)
    state, about = known_state(request.model) or (None, "")
    notes = [f"{request.model}: {about}"] if state not in (None, "finished") else []
    evaluation = evaluate(model, subject.part, subject.scores, [*notes, *subject.notes])
    check_names(bounds, evaluation)
    if request.rows is not None and subject.table is not None:
        columns = predicted_rows(model, subject.part, subject.scores, subject.table)
        write_durably(request.rows, csv_text(columns).encode())
    if request.out is not None:
        text = json.dumps(document(evaluation, state), indent=2, allow_nan=False)
        write_durably(request.out, f"{text}\n".encode())
    show(evaluation, state, request.json)
    if state == "finished" and request.data is None and not request.json:
        print_next("mlptrain", "report", str(request.model))
    check_bounds(bounds, evaluation)


class Subject(NamedTuple):
    """The rows that are measured."""

    part: Part
    scores: Array
    table: Table | None
    """What the rows count in, if it is asked for."""
    notes: Sequence[str] = ()


def own_rows(model: Model, request: Request) -> Subject:
    """The test rows of the run of `model`; if it has none, those that it was validated on."""
    part = own_test(model)
    if part is not None:
        table = used_rows(model.plan.data, model.transforms, "test")[0] if request.rows else None
        return Subject(part, scores_of(model, part), table)
    from mlptrain.report.source import measure, own_dataset

    found = measure(model, own_dataset(model))
    if found.name == "train":
        raise UsageError(f"this run held out no rows; name a table with --data, such as {model.plan.data.path}")
    return Subject(found.part, found.scores, found.table, [f"these are {found.about()}"])


def is_own_table(model: Model, request: Request) -> bool:
    """Whether the rows of the run are measured: no table is named, or its own, which is elsewhere now."""
    if request.data is None:
        return True
    if model.folder is None or request.target_data is not None or str(request.data) == "-" or is_at_home(model):
        return False
    return request.data.is_file() and digest_of(request.data) == model.header.fingerprint.get("path")


def rows_of_table(model: Model, request: Request) -> Subject:
    """The rows of another table."""
    data = request.data
    assert data is not None
    if str(data) == str(request.target_data) == "-":
        raise UsageError("--data and --target-data cannot both be stdin; put one of them into a file")
    target = None if request.target_data is None else target_for(model, request.target_data)
    table = with_target(model, table_for(model, data), target)
    whole = replace(table, columns=dict(table.columns)) if request.rows else None  # selecting rows empties a table
    part, notes = table_part(model, table)
    used = None if whole is None else model.transforms.used(whole, drops(model))
    return Subject(part, scores_of(model, part), used, notes)


def parse_bound(text: str, option: str) -> tuple[str, float]:
    """`accuracy=0.95` as a name and a number."""
    name, _, bound = text.partition("=")
    try:
        value = float(bound)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"{option} {text}: expected METRIC=NUMBER, as in accuracy=0.95")
    return name.strip(), value


def check_names(bounds: Sequence[tuple[str, float, bool]], evaluation: Evaluation) -> None:
    """Reject unknown metrics and bounds on the wrong side."""
    for name, bound, lowest in bounds:
        if name not in evaluation.metrics:
            others = f"the metrics are {', '.join(evaluation.metrics)}"
            raise UsageError(f"no metric '{name}'; {did_you_mean(name, evaluation.metrics) or others}")
        if lowest != higher_is_better(name):
            good, option = ("lower", "--fail-over") if lowest else ("higher", "--fail-under")
            raise UsageError(f"{name} is better if {good}: write {option} {name}={bound:g}")


def check_bounds(bounds: Sequence[tuple[str, float, bool]], evaluation: Evaluation) -> None:
    """Fail when a metric is on the wrong side of its bound, or undefined."""
    for name, bound, lowest in bounds:
        value = evaluation.metrics[name]
        if value is None:
            raise CheckFailed(f"{name} is undefined on these rows, so it cannot be compared with {brief(bound, 6)}")
        if (value < bound) if lowest else (value > bound):
            raise CheckFailed(f"{name} is {brief(value, 6)}, {'below' if lowest else 'above'} {brief(bound, 6)}")


def document(evaluation: Evaluation, state: str | None) -> dict[str, Any]:
    """The evaluation as JSON, with the state of the run."""
    result: dict[str, Any] = {"state": state, "rows": evaluation.rows, "metrics": evaluation.metrics}
    result["intervals"] = evaluation.intervals.document()
    if evaluation.confusion is not None:
        classes, counts = evaluation.confusion
        result["confusion_matrix"] = {"classes": list(classes), "counts": counts.tolist()}
    if evaluation.by_class:
        result["by_class"] = [figures._asdict() for figures in evaluation.by_class]
    if evaluation.positive is not None:
        result |= {"positive_class": evaluation.positive, "threshold": evaluation.threshold}
    return result | {"notes": list(evaluation.notes)}


def show(evaluation: Evaluation, state: str | None, as_json: bool) -> None:
    """Print the evaluation."""
    console = stderr_console()
    print_notes(console, evaluation.notes)
    if as_json:
        print_json(document(evaluation, state))
        return
    parts: list[Any] = [metrics_table(evaluation.metrics, evaluation.rows)]
    if line := interval_line(evaluation.metrics, evaluation.intervals):
        parts += ["", line]
    if evaluation.confusion is not None and len(evaluation.confusion[0]) <= MAX_CLASSES:
        drawn = confusion_table(evaluation.confusion[0], evaluation.confusion[1].tolist())
        parts += ["", "the confusion matrix needs more room; --json has it" if drawn is None else drawn]
    if evaluation.by_class:
        parts += ["", *shown_classes(evaluation.by_class)]
    if evaluation.positive is not None and evaluation.threshold is not None:
        parts += ["", decision_text(evaluation.positive, evaluation.threshold)]
    print_results(*parts)


def shown_classes(figures: Sequence[ClassFigures]) -> list[Any]:
    """A table of the figures by class; of many classes those with the lowest F1, and a line that says so."""
    if len(figures) <= MAX_CLASSES:
        return [class_table(figures)]
    worst = sorted(figures, key=lambda one: math.inf if one.f1 is None else one.f1)[:MAX_CLASSES]
    text = f"the {MAX_CLASSES} classes with the lowest f1 of {len(figures)}; --json has all of them"
    return [class_table(worst), text]
