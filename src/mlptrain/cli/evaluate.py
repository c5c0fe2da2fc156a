"""mlptrain evaluate: measure a trained model."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlptrain.cli.console import (
    class_table,
    confusion_table,
    decision_text,
    interval_line,
    metrics_table,
    print_json,
    print_notes,
    print_results,
    refuse_same_file,
    stderr_console,
)
from mlptrain.cli.tables import table_for, target_for
from mlptrain.component import did_you_mean
from mlptrain.errors import CheckFailed, UsageError
from mlptrain.metrics import ClassFigures, higher_is_better
from mlptrain.runs.durable import write_durably
from mlptrain.runs.model import Evaluation, evaluate, open_model, own_test, table_part

MAX_CLASSES = 20  # of a confusion matrix and of a table of classes that are printed


def run(
    path: Path,
    data: Path | None,
    target_data: Path | None,
    fail_under: Sequence[str],
    fail_over: Sequence[str],
    out: Path | None,
    as_json: bool,
) -> None:
    """Run the command."""
    refuse_same_file(out, data, path)
    model = open_model(path)
    bounds = [(*parse_bound(text, "--fail-under"), True) for text in fail_under]
    bounds += [(*parse_bound(text, "--fail-over"), False) for text in fail_over]
    if data is None:
        if target_data is not None:
            raise UsageError("--target-data needs --data")
        evaluation = evaluate(model, own_test(model))
    else:
        if str(data) == str(target_data) == "-":
            raise UsageError("--data and --target-data cannot both be stdin; put one of them into a file")
        target = None if target_data is None else target_for(model, target_data)
        part, notes = table_part(model, table_for(model, data), target)
        evaluation = evaluate(model, part, notes)
    check_names(bounds, evaluation)
    if out is not None:
        write_durably(out, (json.dumps(document(evaluation), indent=2, allow_nan=False) + "\n").encode())
    show(evaluation, as_json)
    check_bounds(bounds, evaluation)


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
            raise CheckFailed(f"{name} is undefined on these rows, so it cannot be compared with {bound:g}")
        if (value < bound) if lowest else (value > bound):
            raise CheckFailed(f"{name} is {value:.6g}, {'below' if lowest else 'above'} {bound:g}")


def document(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as JSON."""
    result: dict[str, Any] = {"rows": evaluation.rows, "metrics": evaluation.metrics}
    result["intervals"] = evaluation.intervals.document()
    if evaluation.confusion is not None:
        classes, counts = evaluation.confusion
        result["confusion_matrix"] = {"classes": list(classes), "counts": counts.tolist()}
    if evaluation.by_class:
        result["by_class"] = [figures._asdict() for figures in evaluation.by_class]
    if evaluation.positive is not None:
        result |= {"positive_class": evaluation.positive, "threshold": evaluation.threshold}
    return result


def show(evaluation: Evaluation, as_json: bool) -> None:
    """Print the evaluation."""
    console = stderr_console()
    print_notes(console, evaluation.notes)
    if as_json:
        print_json(document(evaluation))
        return
    parts: list[Any] = [metrics_table(evaluation.metrics, evaluation.rows)]
    if line := interval_line(evaluation.metrics, evaluation.intervals):
        parts += ["", line]
    if evaluation.confusion is not None and len(evaluation.confusion[0]) <= MAX_CLASSES:
        parts += ["", confusion_table(evaluation.confusion[0], evaluation.confusion[1].tolist())]
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
