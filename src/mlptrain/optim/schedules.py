"""How does the learning rate change during training?

A schedule maps the number of a step, from 0, to a factor of the optimizer's learning rate. Its settings are in epochs:
step t of a run with N steps per epoch is at the fractional epoch e = t / N. Every rule is a closed form, so a resumed
run cannot drift. The exception is the plateau, whose state is part of the state of the run.
"""

import math
from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlptrain.component import Component, refuse

ScheduleState = dict[str, float]
"""The state of a schedule: empty, except for the plateau."""
Epochs = Annotated[int, Field(ge=1)]


class Schedule(Component):
    """A factor of the learning rate; with `warmup` W and N steps per epoch, it is (t + 1) / (W N) in step t < W N."""

    formula: ClassVar[tuple[str, ...]] = (
        r"\eta_t = \eta \frac{t}{VN} \quad \mathrm{for} \quad t \le VN, \qquad V = \mathrm{warmup}",
        r"\eta_t = \eta s(e) \quad \mathrm{after\ that}, \qquad e = (t - 1)/N - V, \qquad E \leftarrow E - V",
    )
    warmup: int = Field(0, ge=0, description="Epochs in which the rate rises linearly to its full value.")

    def at(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState | None = None) -> float:
        """The factor in `step`, counted from 0, of a run of `steps` steps."""
        rising = self.warmup * steps_per_epoch
        if step < rising:
            return (step + 1) / rising
        now = self.start() if state is None else state
        return self.factor(step - rising, max(1, steps - rising), steps_per_epoch, now)

    @abstractmethod
    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        """The factor after the warm-up: `step` counts from its end, `steps` are the steps after it."""

    @property
    def is_constant(self) -> bool:
        """Whether the factor is 1 in every step."""
        return False

    def start(self) -> ScheduleState:
        """The state before the first epoch."""
        return {}

    def observe(self, state: ScheduleState, value: float, higher_is_better: bool) -> ScheduleState:
        """The state after an epoch with the monitored value `value`."""
        return state


class Constant(Schedule):
    """A constant learning rate."""

    kind: Literal["constant"] = "constant"
    formula: ClassVar = (r"s(e) = 1",)

    @property
    def is_constant(self) -> bool:
        return self.warmup == 0

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return 1.0


class StepDecay(Schedule):
    """Multiplies the rate by `gamma` every `step_size` epochs: gamma^floor(e / step_size)."""

    kind: Literal["step"] = "step"
    formula: ClassVar = (r"s(e) = \gamma^{\lfloor e/T\rfloor}, \qquad T = \mathrm{step\ size}",)
    renamed: ClassVar[dict[str, str]] = {"every": "step_size"}
    step_size: Epochs = Field(30, description="Epochs between two changes of the rate.")
    gamma: float = Field(0.1, gt=0, le=1, description="Factor of each change.")
    examples: ClassVar = ({}, {"step_size": 3})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return self.gamma ** (step // (self.step_size * steps_per_epoch))


class MultiStep(Schedule):
    """Multiplies the rate by `gamma` at each of the `milestones`: gamma^(number of milestones at or before e)."""

    kind: Literal["multistep"] = "multistep"
    formula: ClassVar = (r"s(e) = \gamma^i, \qquad i = \sum_k [e \ge M_k], \qquad M = \mathrm{milestones}",)
    milestones: Annotated[tuple[Epochs, ...], Field(strict=False, min_length=1)] = Field(
        (60, 120, 160), description="Epochs, in increasing order."
    )
    gamma: float = Field(0.1, gt=0, le=1, description="Factor at each milestone.")
    examples: ClassVar = ({}, {"milestones": (2, 5)})

    @model_validator(mode="after")
    def _increasing(self) -> Self:
        if any(a >= b for a, b in zip(self.milestones, self.milestones[1:], strict=False)):
            refuse([("milestones", "must be strictly increasing")])
        return self

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return self.gamma ** sum(step >= milestone * steps_per_epoch for milestone in self.milestones)


class Exponential(Schedule):
    """Multiplies the rate by `gamma` per epoch: gamma^e."""

    kind: Literal["exponential"] = "exponential"
    formula: ClassVar = (r"s(e) = \gamma^e",)
    gamma: float = Field(0.95, gt=0, le=1, description="Factor per epoch.")
    examples: ClassVar = ({}, {"gamma": 0.9})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return float(self.gamma ** (step / steps_per_epoch))


class InverseTime(Schedule):
    """1 / (1 + decay e). The sum of these rates diverges, that of their squares converges (Robbins & Monro 1951)."""

    kind: Literal["inverse_time"] = "inverse_time"
    formula: ClassVar = (r"s(e) = \frac{1}{1 + ce}, \qquad c = \mathrm{decay}",)
    decay: float = Field(0.1, gt=0, description="Decay rate.")

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return 1 / (1 + self.decay * step / steps_per_epoch)


class Polynomial(Schedule):
    """(1 - e / horizon)^power, and 0 after the horizon."""

    kind: Literal["polynomial"] = "polynomial"
    formula: ClassVar = (
        r"s(e) = (1 - \min(e/H, 1))^k, \qquad k = \mathrm{power}, \qquad H = \mathrm{horizon\ or} \ E",
    )
    power: float = Field(1.0, gt=0, description="Exponent; 1 is linear decay.")
    horizon: Epochs | None = Field(None, description="Epochs until the factor is 0; null is the length of the run.")
    examples: ClassVar = ({}, {"power": 2.0, "horizon": 5})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return float((1 - share_of(self.horizon, step, steps, steps_per_epoch)) ** self.power)


class Cosine(Schedule):
    """Cosine decay from 1 to `floor`: floor + (1 - floor) (1 + cos(pi e / horizon)) / 2.

    Loshchilov & Hutter 2017. After the horizon it stays at the floor; PyTorch's rises again.
    """

    kind: Literal["cosine"] = "cosine"
    formula: ClassVar = (
        r"s(e) = \phi + (1 - \phi) C(\min(e/H, 1)), \qquad C(u) = \frac{1 + \cos \pi u}{2}",
        r"\phi = \mathrm{floor}, \qquad H = \mathrm{horizon\ or} \ E",
    )
    floor: float = Field(0.0, ge=0, le=1, description="Final factor.")
    horizon: Epochs | None = Field(None, description="Epochs until the floor; null is the length of the run.")
    examples: ClassVar = ({}, {"floor": 0.1, "horizon": 5})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return falling_cosine(share_of(self.horizon, step, steps, steps_per_epoch), self.floor)


class CosineRestarts(Schedule):
    """Cosine decay with restarts; each period is `t_mult` times as long as the previous one.

    Loshchilov & Hutter 2017 (SGDR): in a period of length T that began at epoch b, the cosine decay at (e - b) / T.
    """

    kind: Literal["cosine_restarts"] = "cosine_restarts"
    formula: ClassVar = (
        r"s(e) = \phi + (1 - \phi) C((e - B_i)/T_i) \quad \mathrm{for} \quad B_i \le e \lt B_{i + 1}",
        r"C(u) = \frac{1 + \cos \pi u}{2}, \qquad \phi = \mathrm{floor}",
        r"T_0 = \mathrm{period}, \quad T_{i + 1} = k T_i, \quad k = \mathrm{t\ mult}",
        r"B_0 = 0, \quad B_{i + 1} = B_i + T_i",
    )
    renamed: ClassVar[dict[str, str]] = {"growth": "t_mult"}
    period: Epochs = Field(10, description="Epochs of the first period.")
    t_mult: Epochs = Field(1, description="Ratio of the lengths of successive periods.")
    floor: float = Field(0.0, ge=0, le=1, description="Factor at the end of each period.")
    examples: ClassVar = ({}, {"period": 3, "t_mult": 2})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        begin, length = 0, self.period * steps_per_epoch
        if self.t_mult == 1:
            begin = step // length * length
        while step >= begin + length:
            begin, length = begin + length, length * self.t_mult
        return falling_cosine((step - begin) / length, self.floor)


class OneCycle(Schedule):
    """Rises by a cosine from s = 1 / start_divisor to 1 in the fraction `pct_start` of the run, then falls by a cosine.

    The final factor, in the last step, is s / end_divisor. Smith & Topin 2019, in PyTorch's form: the optimizer's
    learning rate is the peak.
    """

    kind: Literal["one_cycle"] = "one_cycle"
    formula: ClassVar = (
        r"s(e) = 1 - (1 - s_0) C(e/R) \quad \mathrm{for} \quad e \le R, \qquad s(0) = s_0",
        r"s(e) = s_1 + (1 - s_1) C((e - R)/(E - 1/N - R)) \quad \mathrm{for} \quad e \gt R",
        r"C(u) = \frac{1 + \cos \pi u}{2}, \qquad R = \max(\rho E - 1/N, 0), \qquad \rho = \mathrm{pct\ start}",
        r"s_0 = \frac{1}{\mathrm{start\ divisor}}, \qquad s_1 = \frac{s_0}{\mathrm{end\ divisor}}",
    )
    renamed: ClassVar[dict[str, str]] = {"rise": "pct_start"}
    pct_start: float = Field(0.3, gt=0, lt=1, description="Fraction of the run in which the rate rises.")
    start_divisor: float = Field(25.0, ge=1, description="The first rate is the peak divided by this.")
    end_divisor: float = Field(1e4, ge=1, description="The last rate is the first divided by this.")
    examples: ClassVar = ({}, {"pct_start": 0.5, "start_divisor": 10.0})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        first, last = 1 / self.start_divisor, 1 / (self.start_divisor * self.end_divisor)
        peak, end = max(self.pct_start * steps - 1, 1e-9), max(steps - 1, 1)
        if step <= peak:
            return 1 - (1 - first) * falling_cosine(step / peak, 0.0)
        return falling_cosine(min((step - peak) / max(end - peak, 1e-9), 1.0), last)


class Plateau(Schedule):
    """Multiplies the rate by `gamma` when the monitored value has not improved for more than `patience` epochs.

    The value is the one that early stopping monitors, by default the validation loss. A relative change of more than
    `threshold` is an improvement. For `cooldown` epochs after a reduction no epochs are counted, and the factor is at
    least `floor`. PyTorch's rule.
    """

    kind: Literal["plateau"] = "plateau"
    formula: ClassVar = (
        r"b \leftarrow (b + 1) [c_e \ge c - \theta \lvert c\rvert], \qquad \theta = \mathrm{threshold}",
        r"c \leftarrow c_e \quad \mathrm{where} \quad c_e \lt c - \theta \lvert c\rvert",
        r"s \leftarrow \max(\gamma s, \phi), \quad b \leftarrow 0 \quad \mathrm{where} \quad b \gt \mathrm{patience}",
        r"b \leftarrow 0 \quad \mathrm{in\ the\ cooldown\ epochs\ after\ that}, \qquad \phi = \mathrm{floor}",
    )
    gamma: float = Field(0.1, gt=0, lt=1, description="Factor of each reduction.")
    patience: int = Field(10, ge=0, description="Epochs without improvement before the rate is reduced.")
    threshold: float = Field(1e-4, ge=0, description="Relative change that counts as an improvement.")
    cooldown: int = Field(0, ge=0, description="Epochs after a reduction that do not count towards patience.")
    floor: float = Field(0.0, ge=0, le=1, description="Lowest factor.")
    examples: ClassVar = ({}, {"gamma": 0.5, "patience": 2})

    def factor(self, step: int, steps: int, steps_per_epoch: int, state: ScheduleState) -> float:
        return state["factor"]

    def start(self) -> ScheduleState:
        return {"factor": 1.0, "bad": 0.0, "cooling": 0.0}

    def observe(self, state: ScheduleState, value: float, higher_is_better: bool) -> ScheduleState:
        cost = -value if higher_is_better else value
        after = dict(state)
        best = state.get("best")
        if best is None or cost < best - self.threshold * abs(best):
            after["best"], after["bad"] = cost, 0.0
        else:
            after["bad"] += 1
        if after["cooling"] > 0:
            after["cooling"], after["bad"] = after["cooling"] - 1, 0.0
        if after["bad"] > self.patience:
            factor = max(after["factor"] * self.gamma, self.floor)
            after.update(factor=factor, bad=0.0, cooling=float(self.cooldown))
        return after


def share_of(horizon: int | None, step: int, steps: int, steps_per_epoch: int) -> float:
    """The fraction of `horizon` epochs, or of the whole run, that precedes `step`; at most 1."""
    return min(step / (horizon * steps_per_epoch if horizon else steps), 1.0)


def falling_cosine(progress: float, floor: float) -> float:
    """Half a cosine from 1 at 0 down to `floor` at 1."""
    return floor + (1 - floor) * (1 + math.cos(math.pi * progress)) / 2
