"""What fills the settings that a spec leaves open?

A preset is a list of settings that depend on the number of rows and on the task. What the file says has priority.
`plain` fills nothing: the defaults of the reference are the textbook network. The others are chosen by measurement,
see docs/quality.md.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from mlptrain.component import Component, Frozen
from mlptrain.data.scalers import RobustClip
from mlptrain.nn.layers import Dense, Scale
from mlptrain.optim.optimizers import AdamW
from mlptrain.optim.schedules import Cosine

SectionT = TypeVar("SectionT", bound=Frozen)
Settings = dict[str, Any]
"""Values by section and name, as in a spec."""
FOLDS_BELOW, FOLDS = 50_000, 4
"""Rows up to which each member leaves out its own fold; more rows share their validation rows."""


@dataclass(frozen=True)
class Facts:
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
    """Settings that suit tables: networks beside a linear model, on bins of numbers, with a rate for each tensor."""

    width: ClassVar[int] = 128
    steps: ClassVar[int] = 1200
    """Steps of training; the epochs follow from them."""

    @abstractmethod
    def members(self, facts: Facts) -> int:
        """The number of networks."""

    def settings(self, facts: Facts) -> Settings:
        members = self.members(facts)
        folds = facts.folds and members > 1 and facts.rows < FOLDS_BELOW
        batch = batch_size(facts.rows)
        epochs = facts.epochs or max(1, round(self.steps * batch / facts.rows))
        return {
            "data": {
                "numeric": {"scale": RobustClip(), "indicator": True, "bins": "auto"},
                "split": {"validation": 0.0 if folds else 0.15, "test": 0.0, "folds": FOLDS if folds else None},
                "clip_predictions": True,
            },
            "network": {
                "hidden": (Scale(), Dense(width=self.width), Dense(width=self.width)),
                "linear_path": facts.linear,
                "output_scale": 0.0,
            },
            "optimizer": AdamW(
                learning_rate=0.04 if facts.classes else 0.07, beta2=0.95, weight_decay=0.12 if facts.classes else 0.04
            ),
            "schedule": Cosine(warmup=min(1, epochs - 1)),
            "ensemble": {"members": members, "rows": "folds" if folds else "shared", "blend": facts.linear},
            "training": {
                "epochs": epochs,
                "batch_size": batch,
                "rates": "uniform" if facts.own_optimizer else "ntk",
                "early_stopping": None,
            },
        }


def batch_size(rows: int) -> int:
    """About a thirtieth of the rows, from 16 to 512."""
    return int(min(512, max(16, 2 ** round(math.log2(max(1, rows / 32))))))


class Quick(Tabular):
    """One network, for a first look."""

    kind: Literal["quick"] = "quick"

    def members(self, facts: Facts) -> int:
        return 1


class Standard(Tabular):
    """A few networks, one for each fold of a small table."""

    kind: Literal["standard"] = "standard"

    def members(self, facts: Facts) -> int:
        return 8 if facts.rows < FOLDS_BELOW else 4


class Best(Tabular):
    """More and wider networks, trained longer, for up to five times the time of `standard`."""

    kind: Literal["best"] = "best"
    width: ClassVar[int] = 256
    steps: ClassVar[int] = 2400

    def members(self, facts: Facts) -> int:
        return 16 if facts.rows < FOLDS_BELOW else 8


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
