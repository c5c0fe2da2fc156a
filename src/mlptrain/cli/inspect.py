"""mlptrain inspect: what a table, a config, a run or a model file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from mlptrain.cli.console import print_json, print_next, print_results, stdout_console
from mlptrain.cli.fitting import Shown, bytes_text, fitting_table
from mlptrain.errors import UsageError
from mlptrain.inspect.columns import BARS, ColumnFacts, Values
from mlptrain.inspect.draft import facts_for, read_table_for
from mlptrain.inspect.files import FileFacts, RunFacts, file_facts, run_facts
from mlptrain.inspect.network import NetworkFacts, network_facts
from mlptrain.inspect.settings import Location, Setting, resolved
from mlptrain.numbers import brief, number
from mlptrain.remedies import yaml_flow
from mlptrain.report.text import shortened, visible
from mlptrain.runs.checkpoint import Header
from mlptrain.runs.directory import name_for
from mlptrain.spec import yaml
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import prepare

BLOCKS = " ▁▂▃▄▅▆▇█"
LEVELS, LONGEST_LEVEL = 3, 16
"""Categories that a row of the table names, and how many letters of them."""
WIDE = 110
"""Columns of a terminal in which a row says all that it has to say."""


def run(path: Path, target: Sequence[str], overrides: Sequence[str], as_json: bool) -> None:
    """Run the command."""
    kind = kind_of(path)
    if target and kind != "table":
        raise UsageError(f"--target is for a table, and {path} is a {kind}; leave it out")
    if overrides and kind != "config":
        raise UsageError(f"--set is for a config, and {path} is a {kind}; leave it out")
    if kind == "table":
        inspect_table(path, target, as_json)
    elif kind == "config":
        inspect_config(path, overrides, as_json)
    elif kind == "run":
        facts = run_facts(path)
        print_json(run_document(path, facts)) if as_json else print_results(*run_view(path, facts))
    else:
        found = file_facts(path)
        print_json(file_document(path, found)) if as_json else print_results(*file_view(path, found))


def kind_of(path: Path) -> str:
    """What a path leads to, by its name and its first bytes: `table`, `config`, `run` or `model`."""
    if path.is_dir():
        return "run"
    if path.suffix in (".yaml", ".yml"):
        return "config"
    if path.is_file():
        with path.open("rb") as file:
            if file.read(9)[8:] == b"{" and not yaml.TABLE.search(path.name):
                return "model"
    return "model" if path.suffix == ".safetensors" else "table"


# --- A table


def inspect_table(path: Path, targets: Sequence[str], as_json: bool) -> None:
    """Show every column of a table."""
    table, delimiter = read_table_for(path, targets)
    rows, digest = table.rows, table.sha256
    facts, reason = facts_for(table, targets, delimiter)
    if as_json:
        columns = [column_document(one) for one in facts]
        print_json({"kind": "table", "path": str(path), "rows": rows, "sha256": digest, "columns": columns})
        return
    size = f"{rows:,} row{'s' * (rows != 1)}, {len(facts):,} column{'s' * (len(facts) != 1)}"
    head = f"{path}: {size}, {bytes_text(path.stat().st_size)}, sha256 {digest[:12]}"
    print_results(head, *([visible(reason)] if reason else []), "", column_table(facts), *note_lines(facts))
    if targets:
        print_next("mlptrain", "init", str(path), *(word for name in targets for word in ("--target", name)))


def column_document(one: ColumnFacts) -> dict[str, Any]:
    """One column as JSON."""
    plain = dataclasses.asdict(dataclasses.replace(one, trouble=None))
    del plain["trouble"]
    values = plain.pop("values") or {}
    return plain | values | {"usable": one.trouble is None}


def column_table(facts: Sequence[ColumnFacts]) -> RenderableType:
    """One row a column, with as much as there is room for."""
    values, width = [one.values or Values(0, 0, 0) for one in facts], stdout_console().width
    columns = [
        Shown("column", [visible(one.name) for one in facts]),
        Shown("holds", [one.holds for one in facts], rank=1),
        Shown("missing", [f"{one.missing:,}" if one.missing else "" for one in values], right=True, rank=3),
        Shown("distinct", [f"{one.distinct:,}" for one in values], right=True, rank=6),
        Shown("values", [span_text(one, width < WIDE) for one in values], rank=4),
        Shown("how often", [bar_text(one) for one in values], rank=5),
        Shown("inputs", [str(one.inputs) if one.inputs else one.role for one in facts], right=True, rank=2),
        Shown("", [one.becomes if one.inputs else one.becomes.partition(":")[0] for one in facts], rank=7),
    ]
    return fitting_table(columns, width)


def span_text(values: Values, short: bool) -> str:
    """The range of a column and its median, or its most frequent categories; less of it where it must be short."""
    if values.span is not None:
        low, middle, high = (value if isinstance(value, str) else brief(value) for value in values.span)
        return f"{low} to {high}" + ("" if short else f", median {middle}")
    if not values.levels or values.levels[0][1] == 1:
        return ""
    some = values.levels[: 1 if short else LEVELS]
    named = [f"{shortened(word, LONGEST_LEVEL)} {percent(count / values.present)}" for word, count in some]
    return ", ".join(named) + (", ..." if values.distinct > len(some) else "")


def percent(share: float) -> str:
    """A share for the eye; one that rounds to nothing is `<1%`."""
    return f"{share:.0%}" if share >= 0.005 else "<1%"


def bar_text(values: Values) -> str:
    """A small histogram: the bins of numbers, or the most frequent categories."""
    most = max(values.histogram, default=0)
    bars = (BLOCKS[-(-count * (len(BLOCKS) - 1) // most)] for count in values.histogram) if most else ()
    return "".join(bars).ljust(BARS)


def note_lines(facts: Sequence[ColumnFacts]) -> Iterator[Text]:
    """What stands out, and why columns are left out."""
    notes = [(one.name, note) for one in facts for note in (*left_out_notes(one), *one.notes)]
    if notes:
        yield Text()
    for name, note in notes:
        yield Text.assemble((f"{visible(name)}: ", "bold"), visible(note))


def left_out_notes(one: ColumnFacts) -> list[str]:
    """Why a column is left out."""
    return [one.becomes] if one.role == "left out" else []


# --- A config


def inspect_config(path: Path, overrides: Sequence[str], as_json: bool) -> None:
    """Show the resolved settings of a config, and its network."""
    experiment = load_experiment(path, overrides)
    plan, dataset = prepare(experiment, name_for(path))
    settings, facts = list(resolved(experiment, plan)), network_facts(plan, dataset)
    if as_json:
        print_json(config_document(path, settings, facts))
        return
    width = stdout_console().width
    lines = [tree_line(one, path, width) for one in with_headings(settings)]
    print_results(*lines, "", layer_table(facts, width), "", *size_lines(facts))
    print_next("mlptrain", "check", str(path), *(word for override in overrides for word in ("--set", override)))


def config_document(path: Path, settings: Sequence[Setting], facts: NetworkFacts) -> dict[str, Any]:
    """A config as JSON."""
    by_name = {yaml.dotted(one.location): {"value": one.value, "from": one.origin} for one in settings}
    layers = [
        {"kind": one.kind, "settings": one.settings, "units": one.units, "parameters": one.parameters}
        | {"tensors": {name: list(shape) for name, shape in one.tensors}}
        for one in facts.layers
    ]
    memory = {"parameters": facts.bytes_of_parameters, "rows": facts.bytes_of_rows, "batch": facts.bytes_of_batch}
    network = {"inputs": facts.inputs, "members": facts.members, "parameters": facts.parameters, "layers": layers}
    return {"kind": "config", "path": str(path), "settings": by_name, "network": network, "bytes": memory}


def with_headings(settings: Sequence[Setting]) -> Iterator[Setting]:
    """The settings, and before them the mappings and lists that they are in, without a value."""
    seen: set[Location] = set()
    for one in settings:
        for depth in range(1, len(one.location)):
            if (above := one.location[:depth]) not in seen:
                seen.add(above)
                yield Setting(above, None, "")
        yield one


def tree_line(one: Setting, path: Path, width: int) -> Text:
    """A setting as a line of YAML, and at the right where it comes from; below, where there is no room."""
    name = one.location[-1]
    label = f"- [{name}]" if isinstance(name, int) else f"{visible(name)}:"
    left = "  " * (len(one.location) - 1) + label + (f" {value_text(one.value)}" if one.origin else "")
    origin = one.origin.replace(f"{path}:", f"{path.name}:", 1)
    style = "dim" if one.origin in ("default", "") else "cyan"
    if len(left) + len(origin) + 2 <= width:
        room = min(width - len(origin), max(44, len(left) + 2)) - len(left)
        return Text.assemble(left, " " * room if origin else "", (origin, style))
    return Text.assemble(left, "\n" + "  " * len(one.location), (origin, style))


def value_text(value: Any) -> str:
    """A value as YAML, with all digits of a number."""
    return yaml.dump({"value": value}).strip().partition(": ")[2] if isinstance(value, float) else yaml_flow(value)


def layer_table(facts: NetworkFacts, width: int) -> RenderableType:
    """One row a layer."""
    layers = facts.layers
    shapes = [", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in one.tensors) for one in layers]
    columns = [
        Shown("layer", [f"{i} {one.kind}" for i, one in enumerate(layers)]),
        Shown("outputs", [f"{one.units:,}" for one in layers], right=True, rank=1),
        Shown("parameters", [f"{one.parameters:,}" for one in layers], right=True, rank=2),
        Shown("tensors", shapes, rank=3),
        Shown("settings", [one.settings for one in layers], rank=4),
    ]
    return fitting_table(columns, width)


def size_lines(facts: NetworkFacts) -> list[str]:
    """Parameters and memory."""
    each = f"{facts.members} networks of {facts.parameters // facts.members:,} parameters, {facts.parameters:,} in all"
    whole = f"{facts.parameters:,} parameters"
    memory = (
        f"{bytes_text(facts.bytes_of_parameters)} for parameters with gradient, optimizer state and copies, "
        f"{bytes_text(facts.bytes_of_rows)} for the rows, about {bytes_text(facts.bytes_of_batch)} for a batch"
    )
    return [f"{facts.inputs:,} inputs; {each if facts.members > 1 else whole}", f"memory: {memory}"]


# --- A run


def run_view(path: Path, facts: RunFacts) -> list[RenderableType]:
    """The state, the results and the files of a run."""
    summary, width = facts.summary, stdout_console().width
    parts: list[RenderableType] = [Text(f"{path}: {facts.about}")]
    if results := {name: found for name, found in (summary.get("results") or {}).items() if found}:
        part = summary.get("baseline_part", "")
        bases = {f"{name} ({part})": found for name, found in (summary.get("baselines") or {}).items() if found}
        metrics = list(next(iter(results.values())))
        columns = [Shown("", metrics)]
        for rank, (name, found) in enumerate([*list(results.items())[::-1], *bases.items()], start=1):
            columns.append(Shown(name, [number(found.get(metric)) for metric in metrics], True, rank))
        parts += ["", fitting_table([columns[0], *columns[len(results) : 0 : -1], *columns[len(results) + 1 :]], width)]
    warnings = summary.get("warnings") or []
    parts += [Text(f"warning: {one['message']} (epoch {one['epoch']})", "yellow") for one in warnings]
    sizes = [bytes_text(size) for size in facts.files.values()]
    parts += ["", fitting_table([Shown("file", list(facts.files)), Shown("size", sizes, True, 1)], width)]
    if facts.state == "finished":
        parts += ["", f"next: mlptrain evaluate {path}"]
    return parts


def run_document(path: Path, facts: RunFacts) -> dict[str, Any]:
    """A run as JSON."""
    return {"kind": "run", "path": str(path), "state": facts.state, "files": facts.files, "summary": facts.summary}


# --- A file of tensors


def file_view(path: Path, found: FileFacts) -> list[RenderableType]:
    """The facts of the header, and the tensors."""
    tensors, width = found.tensors, stdout_console().width
    rows = header_rows(found.header) if found.header else foreign_rows(found.metadata)
    lines = [Text.assemble((f"{name}: ", "bold"), visible(value)) for name, value in rows]
    columns = [
        Shown("tensor", [visible(one.name) for one in tensors]),
        Shown("shape", ["x".join(map(str, one.shape)) or "1" for one in tensors], rank=1),
        Shown("dtype", [one.dtype for one in tensors], rank=2),
        Shown("sha256", [one.sha256[:12] for one in tensors], rank=3),
    ]
    return [Text(str(path), "bold"), *lines, "", fitting_table(columns, width)]


def header_rows(header: Header) -> Iterator[tuple[str, str]]:
    """What the header of a file of mlptrain says."""
    plan, env = header.plan, header.environment
    transforms, columns = plan.transforms, list(dict.fromkeys(one.column for one in plan.transforms.encoders))
    yield "content", f"{header.content} of format {header.format}; its digest matches"
    yield "run", plan.name
    yield "predicts", f"{', '.join(transforms.task.columns)} ({transforms.task.name()}, loss {plan.loss.name()})"
    more = f" and {len(columns) - 20} more" if len(columns) > 20 else ""
    yield "from", f"{transforms.width} inputs of {len(columns)} columns: {', '.join(columns[:20])}{more}"
    networks = f"{plan.members} networks" if plan.members else "1 network"
    share = "" if header.share is None else f", {header.share:.0%} beside a linear model"
    yield "network", f"{networks}{share}: {', '.join(layer.label() for layer in plan.layers)}"
    for name, path in plan.data.files.items():
        yield "trained on", f"{path} (sha256 {header.fingerprint.get(name, 'unknown')[:12]})"
    yield "written by", f"mlptrain {env.mlptrain}, NumPy {env.numpy}, Python {env.python} on {env.machine}"
    if header.progress is not None:
        yield "progress", f"epoch {header.progress.epoch}, step {header.progress.step}"


def foreign_rows(metadata: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What another program wrote into a file."""
    yield "content", "tensors of another program; they can start a network of the same shapes"
    for name, value in metadata.items():
        yield visible(str(name)), str(value)


def file_document(path: Path, found: FileFacts) -> dict[str, Any]:
    """A file of tensors as JSON."""
    header = None if found.header is None else found.header.model_dump(mode="json")
    tensors = [dataclasses.asdict(one) for one in found.tensors]
    return {"kind": "model", "path": str(path), "tensors": tensors, "header": header, "metadata": found.metadata}
