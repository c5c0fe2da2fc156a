"""What came of a run, in plain words, and what to try next?

The rules, with the figures of the rows that a run is judged by (its test rows, else its validation rows):

- **Quality.** The main metric (accuracy or R2) with its 95 % interval; where it has none, the loss. A constant, the
  linear model and, where scikit-learn is installed, gradient boosting (`report/boosting.py`) are clearly worse or
  better if their figure lies outside of that interval, and not clearly different otherwise.
- **Overfitting.** The excess of the loss over the lowest possible one is more than 1.2 times that on the training rows,
  which are learned better than by 10 % over a constant (as in `training/diagnostics.py: Reached`), and the gap between
  the two is at least 5 % of the excess of a constant.
- **Underfitting.** The excess of the loss on the training rows is above 90 % of that of a constant.
- **Columns**, in the report alone. The three whose permutation importance is largest, if it is above twice its standard
  deviation and a twentieth of that of the first.
- **Next**, at most three lines, first what the warnings advise. Training diverged: a tenth of the learning rate, and
  clipping. Still improving when the epochs ended: twice as many. Overfitting: dropout, and a stronger decay.
  Underfitting: twice the width. The linear model not clearly worse, by the main metric or the loss: the network
  without hidden layers. One of two
  classes with less than a fifth of the rows: a threshold for its F1. Fewer than 500 rows: another seed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from mlptrain.metrics import higher_is_better
from mlptrain.nn.layers import Dense
from mlptrain.numbers import number
from mlptrain.remedies import after_divergence, setting, yaml_flow
from mlptrain.report.importance import Importances
from mlptrain.report.text import shortened
from mlptrain.spec.plan import Plan
from mlptrain.training.diagnostics import Reached, simpler
from mlptrain.training.state import Progress

MOST_ADVICE = 3
SMALL_GAP = 0.05
"""Of the excess of a constant: a smaller gap between training and other rows is not worth a word."""
LEARNED = 0.9
"""Of the excess of a constant: above it, a network has learned little."""
BETTER, ALIKE, WORSE = "clearly better than", "not clearly different from", "clearly worse than"
CALLED = {
    "constant": "a constant",
    "linear": "the linear model",
    "boosting": "scikit-learn's HistGradientBoosting",
}
"""What the network is compared with, as a sentence calls it."""
RARE = 0.2
"""Of the rows: a smaller class is rare."""
FEW_ROWS = 500
_REMEDY_OF_DIVERGENCE = "Try "


@dataclass(frozen=True)
class Advice:
    """Something to try: why, and the settings to change."""

    why: str
    changes: tuple[str, ...]
    """As for --set: `training.epochs=400`."""

    def command(self, spec: Path) -> str:
        """The line to paste."""
        sets = [word for change in self.changes for word in ("--set", change)]
        return shlex.join(["mlptrain", "fit", str(spec), *sets])


@dataclass(frozen=True)
class Verdict:
    """What is to be said about a run."""

    ended: str
    """Why training stopped, and which weights are kept."""
    quality: str
    """How good the model is, beside simple ones; empty if nothing was measured."""
    fit: str
    """Over- or underfitting, with the numbers that show it."""
    advice: tuple[Advice, ...]


class Facts:
    """What is known of a run that ended, as its summary says it."""

    def __init__(self, plan: Plan, summary: Mapping[str, Any], lowest_loss: float = 0.0) -> None:
        self.plan, self.summary, self.lowest_loss = plan, summary, lowest_loss
        self.part: str = summary["baseline_part"]
        self.results: dict[str, Any] = summary["results"].get(self.part) or {}
        self.intervals: dict[str, Any] = (summary.get("intervals") or {}).get("figures") or {}
        self.rows: int | None = (summary.get("intervals") or {}).get("rows")
        self.baselines: dict[str, Any] = summary["baselines"]
        progress = Progress(epoch=summary["epochs"], best_epoch=summary["best_epoch"])
        if summary["stopped"] != "diverged":
            progress.stopped = summary["stopped"]
        self.reached = Reached(plan, progress, self.results, self.train_loss, self.baselines, lowest_loss)

    @property
    def train_loss(self) -> float | None:
        """The loss on the training rows."""
        return (self.summary["results"].get("train") or {}).get("loss")

    @property
    def loss(self) -> float | None:
        """The loss on the rows that the run is judged by."""
        return self.results.get("loss")

    @property
    def constant_loss(self) -> float | None:
        """The loss of the best constant on the same rows."""
        return (self.baselines.get("constant") or {}).get("loss")

    @property
    def main(self) -> str:
        """The main metric, or the loss where it has no value."""
        names = [metric.name() for metric in self.plan.transforms.task.metrics if metric.main]
        return next((name for name in names if self.results.get(name) is not None), "loss")

    @property
    def held_out(self) -> bool:
        """Whether the rows are others than those of training."""
        return self.part in ("test", "validation")

    @property
    def overfits(self) -> bool:
        """Whether the network overfits by an amount that matters."""
        if not self.held_out or not self.reached.overfits or self.loss is None or self.train_loss is None:
            return False
        constant = self.constant_loss
        return constant is None or self.loss - self.train_loss > SMALL_GAP * (constant - self.lowest_loss)

    @property
    def underfits(self) -> bool:
        """Whether the network has learned little even of the training rows."""
        if self.train_loss is None or self.constant_loss is None:
            return False
        return self.train_loss - self.lowest_loss > LEARNED * (self.constant_loss - self.lowest_loss)

    @property
    def judged_by(self) -> str:
        """The figure by which models are compared: the main metric, or the loss where that has no interval."""
        return self.main if self.intervals.get(self.main) else "loss"

    def compared(self, baseline: str, name: str | None = None) -> str | None:
        """Whether the network is better than a simple model by a figure; None where that cannot be said."""
        name = name or self.judged_by
        interval, other = self.intervals.get(name), self.figure_of(baseline, name)
        if interval is None or other is None:
            return None
        low, high = interval
        if low <= other <= high:
            return ALIKE
        better = other < low if higher_is_better(name) else other > high
        return BETTER if better else WORSE

    def figure_of(self, baseline: str, name: str) -> float | None:
        """A figure of a simple model."""
        return (self.baselines.get(baseline) or {}).get(name)

    def beats(self, baseline: str) -> bool | None:
        """Whether the network is clearly better, by the main metric or by the loss; None where that is not known."""
        found = {self.compared(baseline, self.main), self.compared(baseline, "loss")}
        return None if found == {None} else BETTER in found

    def stated(self, name: str) -> str:
        """A figure with its interval."""
        interval = self.intervals.get(name)
        sure = "" if interval is None else f" (95% interval {number(interval[0])} to {number(interval[1])})"
        return f"{named(name)} {number(self.results[name])}{sure}"


def verdict(plan: Plan, summary: Mapping[str, Any], lowest_loss: float = 0.0) -> Verdict:
    """The verdict on a run with this `summary`, the content of its summary.json."""
    facts = Facts(plan, summary, lowest_loss)
    advice: dict[tuple[str, ...], Advice] = {}
    for each in (*advice_of_warnings(facts), *own_advice(facts)):
        advice.setdefault(each.changes, each)
    return Verdict(ended(facts), quality(facts), fitting(facts), tuple(advice.values())[:MOST_ADVICE])


def ended(facts: Facts) -> str:
    """Why training stopped."""
    summary, stopping = facts.summary, facts.plan.training.early_stopping
    epochs, best = summary["epochs"], summary["best_epoch"]
    if summary["stopped"] == "diverged":
        kept = "the initial weights are kept" if best is None else f"the weights of epoch {best} are kept"
        return f"Training diverged in epoch {epochs}: a number was not finite; {kept}."
    kept = "" if best is None else f"; epoch {best} was the best"
    if facts.plan.members is not None and best is not None:
        kept = "; each network keeps the weights of its best epoch"
    if summary["stopped"] == "early_stopping" and stopping is not None:
        why = f"{stopping.monitor} did not improve for {stopping.patience} epochs"
        return f"Training stopped after {epochs} epochs, since {why}{kept}."
    return f"Training ran for all {epochs} epochs{kept}."


def quality(facts: Facts) -> str:
    """How good the model is, beside a constant and the linear model."""
    if facts.results.get(facts.main) is None:
        return ""
    rows = f"{facts.rows:,} {facts.part} rows" if facts.rows else f"the {facts.part} rows"
    sentence = f"{capital(facts.stated(facts.main))} on {rows}"
    if not facts.held_out:
        return f"{sentence}; no rows were held out, so that nothing is known about new ones."
    compared = comparisons(facts)
    if compared and facts.judged_by != facts.main:
        sentence += f", {facts.stated(facts.judged_by)}"
    return f"{sentence}: {compared}." if compared else f"{sentence}."


def comparisons(facts: Facts) -> str:
    """How the network compares with the simple models and with gradient boosting, as far as they are known."""
    said: dict[str, list[str]] = {}
    for baseline, called in CALLED.items():
        how = facts.compared(baseline)
        if how is not None:
            said.setdefault(how, []).append(f"{called} ({number(facts.figure_of(baseline, facts.judged_by))})")
    return ", ".join(f"{how} {listed(names)}" for how, names in said.items())


def listed(names: Sequence[str]) -> str:
    """Names in a sentence: a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def named(metric: str) -> str:
    """The name of a metric in a sentence."""
    return {"r2": "R2"}.get(metric, metric.replace("_", " "))


def capital(sentence: str) -> str:
    """The sentence with a capital letter at its beginning."""
    return sentence[:1].upper() + sentence[1:]


def fitting(facts: Facts) -> str:
    """Over- or underfitting, with the losses that show it."""
    if facts.loss is None or facts.train_loss is None or not facts.held_out:
        return ""
    constant = "" if facts.constant_loss is None else f" (a constant: {number(facts.constant_loss)})"
    losses = (
        f"loss {number(facts.train_loss)} on the training rows, {number(facts.loss)} on the {facts.part} rows{constant}"
    )
    if facts.underfits:
        return f"It has learned little: {losses}."
    return f"It overfits: {losses}." if facts.overfits else f"No sign of overfitting: {losses}."


def telling(found: Importances) -> str:
    """The columns that matter most, as far as they stand out from chance; empty if none does."""
    clear = [
        each for each in found.found if each.rise > 2 * each.spread and each.rise > SMALL_GAP * found.found[0].rise
    ]
    names = [f"'{shortened(each.column)}'" for each in clear[:3]]
    if not names:
        return ""
    then = f", then {' and '.join(names[1:])}" if len(names) > 1 else ""
    return f"{names[0]} matters most{then}."


def advice_of_warnings(facts: Facts) -> Iterator[Advice]:
    """The first remedy of each warning, except for a preset, which cannot change settings that are written out."""
    for warning in facts.summary["warnings"]:
        for line in lines_of(warning["remedy"]):
            found = changes(facts.plan, line)
            if found and not any(change.startswith("preset=") for change in found):
                yield Advice("as the warning advises", found)
                break


def own_advice(facts: Facts) -> Iterator[Advice]:
    """What else the figures suggest, the most promising first."""
    plan = facts.plan
    if facts.summary["stopped"] == "diverged":
        line = after_divergence(plan.optimizer.learning_rate, plan.training.clips).removeprefix(_REMEDY_OF_DIVERGENCE)
        yield Advice("smaller steps diverge less easily", changes(plan, line))
        return
    if facts.reached.improves:
        epochs = setting(training={"epochs": 2 * plan.training.epochs})
        yield Advice("it was still improving when the epochs ended", changes(plan, epochs))
    if facts.overfits:
        for line in simpler(plan):
            yield Advice("against overfitting", changes(plan, line))
    widths = [layer.width for layer in plan.network.hidden if type(layer) is Dense]
    if facts.underfits and widths and len(widths) == len(plan.network.hidden):
        yield Advice("a wider network learns more", changes(plan, setting(network={"hidden": [2 * w for w in widths]})))
    elif plan.network.hidden and facts.beats("linear") is False:
        path = {"linear_path": False} if plan.network.linear_path else {}
        line = setting(network={"hidden": [], **path})
        yield Advice("a linear model may do on these rows", changes(plan, line))
    if is_rare(facts):
        yield Advice(
            "one class is rare: choose the threshold for its F1", changes(plan, setting(decision={"metric": "f1"}))
        )
    if facts.held_out and facts.rows is not None and facts.rows < FEW_ROWS:
        few = f"{facts.rows} rows are few: another seed shows how much is chance"
        yield Advice(few, changes(plan, setting(seed=(plan.seed + 1) % 2**63)))


def is_rare(facts: Facts) -> bool:
    """Whether one of two classes is rare and the threshold is the default one."""
    decision, constant = facts.plan.decision, (facts.baselines.get("constant") or {}).get("accuracy")
    chooses = decision.metric is not None or decision.threshold is not None
    return bool(facts.plan.two_sided and facts.plan.validates and not chooses and constant and constant > 1 - RARE)


def lines_of(remedy: str) -> list[str]:
    """The single remedies of a warning, which are listed as 'a: {b: 1}, c: 2, or d: {e: [3, 4]}'."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(remedy):
        depth += (letter in "{[") - (letter in "}]")
        if letter == "," and not depth:
            found.append(remedy[start:place])
            start = place + 1
    return [line.strip().removeprefix("or ") for line in (*found, remedy[start:]) if line.strip()]


def changes(plan: Plan, line: str) -> tuple[str, ...]:
    """A remedy as settings for --set, which change the resolved spec of a run; empty if it is not a line of YAML."""
    try:
        parts = [yaml.safe_load(f"{{{part}}}") for part in line.split(" and ")]
    except yaml.YAMLError:
        return ()
    written = plan.written()
    return tuple(change for part in parts for change in assignments(part, written))


def assignments(values: Mapping[str, Any], written: Any, path: str = "") -> Iterator[str]:
    """`key.key=value` for each value of nested settings; whole where the spec has another kind, or nothing, there."""
    for key, value in values.items():
        place, before = f"{path}{key}", written.get(key) if isinstance(written, dict) else None
        same = (
            isinstance(before, dict)
            and isinstance(value, dict)
            and value.get("kind", before.get("kind")) == before.get("kind")
        )
        if same:
            yield from assignments(value, cast(dict[str, Any], before), f"{place}.")
        else:
            yield f"{place}={yaml_flow(value)}"
