"""Which tables does a report have?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from mlptrain.data.encoders import Date, Encoder
from mlptrain.data.scalers import Scaler
from mlptrain.numbers import brief, number
from mlptrain.report.charts.base import Sheet, Subject
from mlptrain.report.figures import probability
from mlptrain.report.source import Measured, Source
from mlptrain.report.text import shortened

CLASSES = 40
"""Classes of a table of classes."""
WORST = 15
VALUES = 6
"""Columns that are shown of the worst rows."""
COLUMNS = 200
"""Columns of the table of transforms."""


def metric_sheet(summary: Mapping[str, Any] | None) -> Sheet | None:
    """Every metric by part, and of the simple models, from the content of summary.json."""
    if summary is None or not summary["results"]:
        return None
    results, baselines, part = (summary[name] for name in ("results", "baselines", "baseline_part"))
    head = ("", *results, *(f"{name} model ({part})" for name in baselines))
    rows = tuple(
        (
            name,
            *(number(found.get(name)) for found in results.values()),
            *(number((b or {}).get(name)) for b in baselines.values()),
        )
        for name in next(iter(results.values()))
    )
    return Sheet(head, rows)


def class_sheet(source: Source) -> Sheet | None:
    """Rows, precision, recall and F1 of each class, the largest ones if there are many."""
    measured = source.measured
    found = [] if measured is None else source.plan.transforms.task.by_class(measured.outcome)
    if not found:
        return None
    largest = sorted(sorted(range(len(found)), key=lambda k: -found[k].rows)[:CLASSES])
    rows = [(each.name, f"{each.rows:,}", *map(number, each[2:])) for each in (found[k] for k in largest)]
    if len(found) > CLASSES:
        rows.append((f"{len(found) - CLASSES:,} smaller classes are left out", "", "", "", ""))
    return Sheet(("class", "rows", "precision", "recall", "F1"), tuple(rows))


def worst_sheet(subject: Subject) -> Sheet | None:
    """The rows with the largest loss, with their places in the file."""
    measured, task = subject.source.measured, subject.source.plan.transforms.task
    if measured is None:
        return None
    worst = np.argsort(-measured.losses, kind="stable")[: min(WORST, len(measured.losses))]
    names = shown_columns(subject, measured)
    lines = measured.are_lines
    chance = ("probability of the true class",) if task.form == "class" else ()
    head = ("line" if lines else "row", "true", "predicted", *chance, "loss", *(shortened(name) for name in names))
    rows = tuple(
        (
            f"{measured.numbers[i] + 1 + lines:,}",
            *said(measured, task, int(i)),
            number(float(measured.losses[i])),
            *(cell(measured.table.columns[name], int(measured.part.rows[i])) for name in names),
        )
        for i in worst
    )
    return Sheet(head, rows)


def shown_columns(subject: Subject, measured: Measured) -> list[str]:
    """The most important columns, or the first ones."""
    found = subject.importances
    encoders = subject.source.plan.transforms.encoders
    names = [one.column for one in found.found] if found is not None else [encoder.column for encoder in encoders]
    single = (name for name in names if len(getattr(measured.table.columns.get(name), "shape", (1, 1))) == 1)
    return list(single)[:VALUES]


def cell(column: Any, row: int) -> str:
    """A cell as it stands in the file."""
    value = column[row]
    return "" if value is None else shortened(f"{value:g}" if isinstance(value, float) else str(value), 40)


def said(measured: Measured, task: Any, i: int) -> tuple[str, ...]:
    """The true and the predicted value of a row; for a class with the probability of the true one."""
    truth, predicted, margins = measured.outcome.truth[i], measured.outcome.predicted[i], measured.outcome.margins
    if task.form == "class":
        assert margins is not None
        return task.classes[truth], task.classes[predicted], brief(float(probability(margins[i, truth])))
    return ", ".join(map(brief, truth.tolist())), ", ".join(map(brief, predicted.tolist()))


def about_sheets(source: Source) -> Iterator[tuple[str, Sheet]]:
    """The rows, the transforms, the notes and the environment."""
    if source.dataset is not None:
        yield "Split", split_sheet(source)
    yield "What is done with each column", transform_sheet(source)
    notes = (source.summary or {}).get("notes") or []
    if notes:
        yield "Notes", Sheet(("",), tuple((note,) for note in notes))
    yield "Environment", environment_sheet(source)


def split_sheet(source: Source) -> Sheet:
    """The rows of each part."""
    assert source.dataset is not None
    dataset, folds = source.dataset, len(source.dataset.folds)
    rows = [
        (name, f"{part.distinct:,}" + (f" in {folds} folds" if folds and name == "validation" else ""))
        for name, part in dataset.parts.items()
    ]
    return Sheet(("part", "rows"), tuple(rows))


def transform_sheet(source: Source) -> Sheet:
    """What each column becomes."""
    encoders = source.plan.transforms.encoders
    rows = [
        (each.column, each.name().replace("_", " "), f"{each.width:,}", treatment(each)) for each in encoders[:COLUMNS]
    ]
    if len(encoders) > COLUMNS:
        rows.append((f"{len(encoders) - COLUMNS:,} more columns", "", "", ""))
    task = source.plan.transforms.task
    rows.append((", ".join(task.columns[:5]), f"target: {task.name()}", "", target_treatment(task)))
    return Sheet(("column", "kind", "inputs", "treatment"), tuple(rows))


def treatment(encoder: Encoder) -> str:
    """The fitted settings of an encoder, in a few words."""
    said = []
    for name, value in encoder:
        if isinstance(value, Scaler):
            said.append(f"{value.name()} scale")
        elif name == "categories":
            said.append(f"{len(value):,} categories: {', '.join(value[:4])}{', ...' if len(value) > 4 else ''}")
        elif name == "fill" and value is not None:
            said.append(f"missing filled with {filling(encoder, value)}")
        elif name == "edges" and value:
            said.append(f"{len(value) - 1} bins")
        elif name in ("indicators", "missing_input") and value:
            said.append("an input says what is missing")
        elif name == "spelling":
            said.append(f"written as {value}")
    return "; ".join(said)


def filling(encoder: Encoder, value: Any) -> str:
    """What replaces a missing cell."""
    if isinstance(encoder, Date):
        return str(np.datetime64(int(value), "s")).replace("T", " ").removesuffix(" 00:00:00")
    values = value if isinstance(value, tuple) else (value,)
    shown = ", ".join(each if isinstance(each, str) else brief(each) for each in values[:2])
    return shown + ", ..." * (len(values) > 2)


def target_treatment(task: Any) -> str:
    """What is done with the target."""
    if task.form == "values":
        return f"{task.scaler.name()} scale"
    classes = getattr(task, "classes", ())
    return f"{len(classes):,} classes: {', '.join(classes[:6])}{', ...' if len(classes) > 6 else ''}" if classes else ""


def environment_sheet(source: Source) -> Sheet:
    """Versions, threads, and the digests of the data."""
    header = source.model.header if source.model else None
    values = [] if header is None else [(name, str(value)) for name, value in header.environment.model_dump().items()]
    files = (
        []
        if header is None
        else [(f"sha256 of data.{name}", digest[:16]) for name, digest in header.fingerprint.items()]
    )
    parameters = [] if source.model is None else [("parameters", f"{source.model.network.layout.parameter_size:,}")]
    return Sheet(("", ""), (*parameters, *values, *files))
