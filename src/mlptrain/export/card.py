"""What should be known of a model before it is used? A model card in Markdown (Mitchell et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mlptrain.data.encoders import Category, Date, Encoder, Number
from mlptrain.export.exported import Description, Subject, one_line
from mlptrain.numbers import brief, number
from mlptrain.report.text import shortened
from mlptrain.spec import yaml

SHOWN = 8
"""Categories that are named."""


class Card(Description):
    """Data, figures with intervals, limits and spec."""

    name: ClassVar = "card"
    suffix: ClassVar = ".md"
    meaning: ClassVar = "a model card in Markdown"

    def describe(self, subject: Subject) -> bytes:
        return ("\n".join(lines(subject)) + "\n").encode()


def lines(subject: Subject) -> Iterator[str]:
    """The parts of the card."""
    yield from heading(subject)
    yield from data(subject)
    yield from figures(subject)
    yield from limits(subject)
    yield from use(subject)
    yield from spec(subject)


def heading(subject: Subject) -> Iterator[str]:
    """What the model is."""
    model = subject.model
    network, task = model.network, model.transforms.task
    many = f"the mean prediction of {model.plan.members} networks" if model.plan.members else "one network"
    share = "" if model.blend is None else f", blended with a linear model ({model.blend.share:.0%} network)"
    yield f"# {text(model.plan.name)}\n"
    yield f"{text(subject.about)}\n"
    yield "| | |\n| --- | --- |"
    rows = {
        "task": f"{task.name()}: {', '.join(task.columns)}",
        "classes": listed(getattr(task, "classes", ())),
        "positive class": f"{task.positive}, predicted above a probability of {task.cutoff:.4g}" if task.cutoff else "",
        "model": f"{many}{share}: {' → '.join(map(str, network.sizes))}, {network.dtype.name}",
        "parameters": f"{network.layout.parameter_size:,}",
        "loss": network.loss.label(),
        "made by": f"mlptrain {model.header.environment.mlptrain}, NumPy {model.header.environment.numpy}",
        "sha256 of the model file": subject.digest,
    }
    yield from (f"| {name} | {text(value)} |" for name, value in rows.items() if value)


def data(subject: Subject) -> Iterator[str]:
    """The tables and the columns."""
    model = subject.model
    yield "\n## Data\n"
    for name, path in model.plan.data.files.items():
        yield f"- `{text(Path(path).name)}`, sha256 `{model.header.fingerprint.get(name, 'unknown')}`"
    yield f"- {split_text(subject)}"
    notes = (subject.summary or {}).get("notes") or []
    yield from (f"- {text(note)}" for note in notes)
    yield "\n| column | read as | in training |\n| --- | --- | --- |"
    for encoder in model.transforms.encoders:
        yield f"| {text(encoder.column)} | {encoder.name()} | {text(seen(encoder))} |"


def split_text(subject: Subject) -> str:
    """How the rows were divided."""
    plan = subject.model.plan
    split = plan.data.effective_split
    learned = f"validation {split.validation:g}" if split.folds is None else f"{split.folds} folds"
    held = f"{learned}, test {split.test:g} of the rows"
    rows = "; each network is validated on a fold of its own" if plan.ensemble.rows == "folds" else ""
    return f"split: {held}{rows}; seed {plan.seed}"


def seen(encoder: Encoder) -> str:
    """What an encoder saw in training."""
    if isinstance(encoder, Category):
        known = encoder.known
        others = "are read as unknown" if encoder.unknown_allowed else "are refused"
        return f"{len(known)} categories: {listed(known)}; others {others}"
    if isinstance(encoder, Date):
        return f"written as {encoder.spelling}, from {np.datetime64(int(encoder.first), 'D')}"
    if isinstance(encoder, Number):
        missing = "missing cells are refused" if encoder.fill is None else "missing cells are filled"
        if not encoder.trained:
            return missing
        low, high = np.min(encoder.trained[0]), np.max(encoder.trained[1])
        return f"{brief(float(low))} to {brief(float(high))}; {missing}"
    return f"{encoder.width} inputs"


def figures(subject: Subject) -> Iterator[str]:
    """The results beside simple models, with intervals."""
    yield "\n## Figures\n"
    summary = subject.summary
    if summary is None or not summary.get("results"):
        yield "The run has no summary: its figures are not known here. `mlptrain evaluate RUN` measures them."
        return
    results = {name: found for name, found in summary["results"].items() if found}
    part = summary.get("baseline_part", "")
    beside = {f"{name} model ({part})": found for name, found in (summary.get("baselines") or {}).items() if found}
    yield from table(results | beside)
    sure = summary.get("intervals") or {}
    known = {name: ends for name, ends in (sure.get("figures") or {}).items() if ends}
    if known:
        ends = ", ".join(f"{name} {number(low)} to {number(high)}" for name, (low, high) in known.items())
        over = f"{sure['groups']} groups of {sure['rows']} rows" if sure.get("groups") else f"{sure['rows']} rows"
        yield f"\n{sure['level']:.0%} intervals of the {sure['part']} figures, bootstrap over {over}: {ends}."


def table(columns: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    """A row for each metric."""
    metrics = list(next(iter(columns.values())))
    yield f"| | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for metric in metrics:
        yield f"| {metric} | {' | '.join(number(found.get(metric)) for found in columns.values())} |"


def limits(subject: Subject) -> Iterator[str]:
    """What the model was not made for, and what training warned of."""
    model, summary = subject.model, subject.summary or {}
    yield "\n## Limits\n"
    yield "- Outside of the ranges above, predictions are guesses; `predict` notes rows that are far from training."
    yield "- What was not in the table, such as other groups, places or times, was not measured."
    if "test" not in (summary.get("results") or {}):
        yield "- No rows were held out for a test: the figures are of rows on which choices were made."
    clipped = getattr(model.transforms.task, "limits", None)
    if clipped is not None:
        yield f"- Predictions are clipped to the range of training: {brief(clipped[0][0])} to {brief(clipped[1][0])}."
    yield from (f"- Warning of training: {text(one['message'])}" for one in summary.get("warnings") or [])


def use(subject: Subject) -> Iterator[str]:
    """How to use it."""
    yield "\n## Use\n"
    yield "```console\nmlptrain predict RUN table.csv\nmlptrain export RUN --to onnx\n```\n"
    yield f"The predictions are the columns {listed(names_of(subject))}."


def spec(subject: Subject) -> Iterator[str]:
    """The experiment with every choice."""
    written = subject.model.plan.written()
    table = written.get("data", {})
    table |= {key: Path(value).name for key, value in table.items() if key.endswith("path") and value}
    yield "\n## Spec\n\nThe experiment with every default written out; of the tables, the names.\n"
    yield f"````yaml\n{yaml.dump(written).strip()}\n````"


def names_of(subject: Subject) -> list[str]:
    """The columns of the predictions."""
    network = subject.model.network
    return list(subject.model.transforms.task.decode(network.loss, np.zeros((1, network.outputs), network.dtype)))


def listed(words: Sequence[str]) -> str:
    """The first of some words."""
    shown = ", ".join(shortened(word, 40) for word in words[:SHOWN])
    return f"{shown}, ... ({len(words):,} in all)" if len(words) > SHOWN else shown


def text(value: str) -> str:
    """Text for a cell of a Markdown table, in which nothing is markup."""
    plain = one_line(value)
    return "".join(f"\\{letter}" if letter in "|<>*[]#`" else letter for letter in plain)
