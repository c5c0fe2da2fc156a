"""What fills the settings that a spec leaves open?

A preset is a list of settings that depend on the number of rows and on the task. What the file says has priority.
`plain` fills nothing: the defaults of the reference are the textbook network. The others are chosen by measurement,
see docs/quality.md.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

from mlptrain.component import Component, Frozen
from mlptrain.data.scalers import RobustClip
from mlptrain.nn.activations import ReLU, SiLU
from mlptrain.nn.layers import Dense, Scale
from mlptrain.optim.optimizers import AdamW
from mlptrain.optim.schedules import Cosine

SectionT = TypeVar("SectionT", bound=Frozen)
Settings = dict[str, Any]
"""Values by section and name, as in a spec."""
MEDIUM, LARGE = 3_000, 12_000
"""Rows from which on a table has two networks for a fold, and from which on it has one, with a cheaper activation."""
HUGE = 100_000
"""Rows from which on a table has no folds, fewer epochs and fewer bins."""
FOLDS = ((8, MEDIUM), (5, LARGE), (4, HUGE))
"""Folds for tables of less than that many rows; larger ones share their validation rows."""
FEWEST_EPOCHS = 16


class Facts(NamedTuple):
    """What a preset may depend on."""

    rows: int
    """Rows that are not for the test."""
    classes: bool
    """Whether the task is a classification."""
    folds: bool
    """Whether the validation rows are free to choose."""
    linear: bool
    """Whether a linear model can be added to the scores."""
    epochs: int | None
    """Epochs, if they are given."""
    own_optimizer: bool
    """Whether the optimizer, and with it the learning rate, is given."""
    asked: bool = False
    """Whether the spec asks for folds."""
    own_folds: int | None = None
    """Folds, if they are given."""
    repeats: int = 1
    """How often the folds are drawn."""
    groups: int | None = None
    """Groups of rows that are not for the test; None if each row stands for itself."""
    members: int | None = None
    """Networks, if they are given."""


class Preset(Component):
    """Settings for what a spec leaves open."""

    @abstractmethod
    def settings(self, facts: Facts) -> Settings:
        """The settings for a table."""


class Plain(Preset):
    """The textbook network: nothing happens that the file or the reference does not say."""

    kind: Literal["plain"] = "plain"

    def settings(self, facts: Facts) -> Settings:
        return {}


class Tabular(Preset):
    """Settings that suit tables: bins of numbers, a rate for each tensor, an output that starts at 0, a blend."""

    seeds: ClassVar[int] = 1
    """Networks for each fold."""
    shared: ClassVar[int] = 4
    """Networks where there are no folds."""
    compares_scales: ClassVar[bool] = False
    """Whether a network on each scale of the target decides which one suits."""

    def folds(self, facts: Facts) -> int:
        """The number of folds, more of a small table; 1 for validation rows that all members share."""
        if not facts.folds:
            return 1
        if facts.own_folds:
            return facts.own_folds
        suitable = next((folds for folds, rows in FOLDS if facts.rows < rows), FOLDS[-1][0] if facts.asked else 1)
        limits = (facts.groups, facts.rows // 2, facts.members and facts.members // facts.repeats)
        return max(1, min([suitable, *(limit for limit in limits if limit is not None)]))

    def members(self, facts: Facts, folds: int) -> int:
        """The number of networks, each of which leaves out another one of the folds before one is left out again."""
        if facts.members or folds == 1:
            return facts.members or self.shared
        seeds = self.seeds * (2 if MEDIUM <= facts.rows < LARGE else 1)
        return folds * facts.repeats * math.ceil(seeds / facts.repeats)

    def settings(self, facts: Facts) -> Settings:
        folds, batch = self.folds(facts), batch_size(facts.rows)
        fewest = FEWEST_EPOCHS if facts.rows < HUGE else FEWEST_EPOCHS // 4
        epochs = facts.epochs or max(fewest, round(steps(facts) * batch / facts.rows))
        members = self.members(facts, folds)
        return {
            "data": {
                "numeric": {"scale": RobustClip(), "indicator": True, "bins": bins(facts.rows)},
                "split": {
                    "validation": 0.0 if folds > 1 else 0.15,
                    "test": 0.0,
                    "folds": folds if folds > 1 and folds != members // facts.repeats else None,
                },
                "categorical": {"target_means": True, "own_input_rows": "auto"},
                "choose_target_scale": self.compares_scales and not facts.classes and facts.rows < HUGE,
                "clip_predictions": True,
            },
            "network": {
                "hidden": (Scale(), Dense(width=128), Dense(width=128)),
                "activation": SiLU() if facts.rows < LARGE else ReLU(),
                "output_scale": 0.0,
            },
            "optimizer": AdamW(learning_rate=0.04 if facts.classes else 0.07, beta2=0.95, weight_decay=decay(facts)),
            "schedule": Cosine(warmup=min(1, epochs - 1)),
            "ensemble": {"members": members, "rows": "folds" if folds > 1 else "shared", "blend": facts.linear},
            "training": {
                "epochs": epochs,
                "batch_size": batch,
                "rates": "uniform" if facts.own_optimizer else "ntk",
                "early_stopping": None,
            },
        }


def bins(rows: int) -> int | Literal["auto"] | None:
    """Bins of each column of numbers: few or none in a huge table, whose inputs would take gigabytes."""
    return "auto" if rows < HUGE else 8 if rows < 10 * HUGE else None


def batch_size(rows: int) -> int:
    """About a thirtieth of the rows, a power of two from 16 to 512."""
    return int(min(512, max(16, 2 ** round(math.log2(max(1, rows / 32))))))


def steps(facts: Facts) -> float:
    """The number of steps: more for values, which are learned to more digits than classes, and for larger tables."""
    if facts.rows >= LARGE:
        return 1500
    size = facts.rows / 3000
    wanted, fewest = (600 * size**0.4, 400.0) if facts.classes else (1500 * size**0.3, 800.0)
    return float(max(fewest, wanted))


def decay(facts: Facts) -> float:
    """The weight decay: strong for classes, growing with the table for values."""
    return 0.3 if facts.classes else round(min(0.1, max(0.03, 0.03 * math.sqrt(facts.rows / 3000))), 3)


class Quick(Tabular):
    """One network, for a first look."""

    kind: Literal["quick"] = "quick"
    shared: ClassVar[int] = 1

    def folds(self, facts: Facts) -> int:
        return super().folds(facts) if facts.asked else 1


class Standard(Tabular):
    """A network or two for each of several folds, judged on the rows that it has not seen."""

    kind: Literal["standard"] = "standard"


class Best(Tabular):
    """Four times the networks of `standard`."""

    kind: Literal["best"] = "best"
    seeds: ClassVar[int] = 4
    shared: ClassVar[int] = 16
    compares_scales: ClassVar[bool] = True


DEFAULT: Preset = Standard()


def default_preset() -> Preset:
    """The preset of a spec that names none."""
    return DEFAULT


def fill(section: SectionT, settings: Settings) -> SectionT:
    """`section` with `settings` for what it does not set itself; a component that is set keeps all its values."""
    updates: Settings = {}
    for name, value in settings.items():
        current = getattr(section, name)
        if isinstance(value, dict) and isinstance(current, Frozen):
            updates[name] = fill(current, value)
        elif name not in section.model_fields_set:
            updates[name] = value
    return section.model_copy(update=updates)
