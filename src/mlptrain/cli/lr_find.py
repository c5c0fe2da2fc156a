"""mlptrain lr-find: the loss over the learning rate, and a rate that suits."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any

import numpy as np

from mlptrain.cli.chart import Curve, draw, styled
from mlptrain.cli.console import print_json, print_next, print_results, stderr_console, stdout_console
from mlptrain.errors import CheckFailed, UsageError
from mlptrain.numbers import number
from mlptrain.rates import RangeTest, range_test
from mlptrain.runs.directory import name_for
from mlptrain.runs.durable import write_durably
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare

MOST_LINES = 20
"""Of a chart in a terminal, and of one without."""
ENDED = {
    "all rates": "at {rate:.3g} it has not grown much",
    "grown": "from {rate:.3g} on it is far above that of the start",
    "diverged": "after {rate:.3g} it is no longer finite",
}


def run(config: Path, overrides: Sequence[str], out: Path | None, as_json: bool) -> None:
    """Run the command."""
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: is for a picture, whose name must end in .png")
    if out is not None and out.exists():
        raise UsageError(f"--out {out}: exists, and is not overwritten; choose another name, or move it away")
    experiment = load_experiment(config, overrides)
    console = stderr_console()
    with console.status("trying learning rates"):
        plan, dataset = prepare(experiment, name_for(config))
        found = range_test(plan, dataset)
    options = [] if found.suggested is None else suggested_options(experiment, plan, found.suggested)
    if out is not None:
        write_durably(out, picture(found))
    if as_json:
        print_json(document(found, options))
    else:
        print_results(*view(found, options))
    if found.suggested is None:
        raise CheckFailed(f"{config}: no learning rate lowered the loss; look for the reason: mlptrain check {config}")
    others = [word for override in overrides if not is_replaced(override) for word in ("--set", override)]
    print_next("mlptrain", "fit", str(config), *others, *options)


def is_replaced(override: str) -> bool:
    """Whether an override is the rate that was given before."""
    return override.partition("=")[0].strip() == "optimizer.learning_rate"


def suggested_options(experiment: Experiment, plan: Plan, rate: float) -> list[str]:
    """The options of a verb that set the rate; the whole optimizer where a preset has chosen it."""
    if "optimizer" in experiment.model_fields_set or plan.optimizer.name() == "adam":
        return ["--set", f"optimizer.learning_rate={rate:g}"]
    given = plan.optimizer.model_dump(exclude_defaults=True, exclude={"kind"}) | {"learning_rate": rate}
    named = [f"kind: {plan.optimizer.name()}", *(f"{name}: {dumps(value)}" for name, value in given.items())]
    whole = f"{{{', '.join(named)}}}"
    rates = [] if plan.training.rates == "uniform" else ["--set", f"training.rates={plan.training.rates}"]
    return ["--set", f"optimizer={whole}", *rates]


def view(found: RangeTest, options: Sequence[str]) -> list[Any]:
    """The chart, what it shows, and the line to paste."""
    console = stdout_console()
    height = min(MOST_LINES, console.height - 6) if console.is_terminal else MOST_LINES
    places = np.log10(found.rates).round(2).tolist()
    curve = Curve("smoothed loss", places, kept(found), places[found.lowest])
    parts: list[Any] = [styled(draw([curve], console.width, max(6, height), "log10 rate")), ""]
    lowest = f"lowest at {found.rates[found.lowest]:.2g} ({number(found.smoothed[found.lowest])})"
    parts.append(f"The loss is {lowest}; {ENDED[found.stopped].format(rate=found.rates[-1])}.")
    if found.suggested is not None:
        parts += [f"A learning rate that suits is {found.suggested:g}, well before that:", shlex.join(options)]
    return parts


def kept(found: RangeTest) -> list[float | None]:
    """The smoothed losses that are not so large that they would flatten the others."""
    highest = found.smoothed[0] + found.reducible
    return [loss if loss <= highest else None for loss in found.smoothed]


def document(found: RangeTest, options: Sequence[str]) -> dict[str, Any]:
    """The output of --json."""
    return {
        "suggested": found.suggested,
        "options": list(options),
        "lowest_at": found.rates[found.lowest],
        "fallen_at": found.rates[found.fallen],
        "stopped": found.stopped,
        "rates": list(found.rates),
        "losses": [loss if np.isfinite(loss) else None for loss in found.losses],
        "smoothed": [loss if np.isfinite(loss) else None for loss in found.smoothed],
    }


def picture(found: RangeTest) -> bytes:
    """The chart as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(found.rates, found.losses, ".", color="0.75", label="loss of each batch")
    axes.plot(found.rates, found.smoothed, color="tab:blue", label="smoothed")
    if found.suggested is not None:
        axes.axvline(found.suggested, color="tab:red", linestyle="--", label=f"suggested: {found.suggested:g}")
    first, least = found.smoothed[0], found.smoothed[found.lowest]
    room = 0.1 * (found.reducible + first - least)
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", ylim=(least - room, first + found.reducible + room))
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
