"""Does a whole training run end where PyTorch's ends, from the same weights on the same batches?

Parity in float64 over 50 steps leaves no room for a wrong factor anywhere: in a formula, in the order of a step, in
what an optimizer remembers, in the rate of a step. Our side is what users run: an `Experiment` through the loop. Its
side is PyTorch's network, losses, optimizers and schedulers; what PyTorch does not have is written anew on its tensors,
by the formula. The combinations are chosen so that every pair of settings meets in some run: 393 of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pytest

from helpers import assert_close, label, read_only
from mlptrain.component import example_instances
from mlptrain.data.encoders import Number
from mlptrain.data.scalers import NoScaling
from mlptrain.data.settings import Data
from mlptrain.data.split import Split
from mlptrain.dataset import Dataset, Features, Part, Transforms
from mlptrain.nn.activations import Activation, HardSigmoid, Identity, Tanh
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.layers import Dense
from mlptrain.nn.losses import CrossEntropy, Loss, MeanSquaredError
from mlptrain.nn.network import Network
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import SGD, Adam, AdamW, Adaptive, Lion, Momentum, NAdam, Optimizer, RMSProp
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Constant, Cosine, Plateau, Schedule
from mlptrain.spec.experiment import Experiment
from mlptrain.spec.plan import Plan, decide
from mlptrain.spec.sections import NetworkSpec, Training
from mlptrain.tasks import Classification, MultiLabel, Regression, Task
from mlptrain.training.evaluation import predict_scores
from mlptrain.training.events import EpochDone, StepDone
from mlptrain.training.loop import network_for, start, train
from mlptrain.training.state import TrainState

pytestmark = pytest.mark.torch

INPUTS, HIDDEN, COLUMNS = 5, (7, 6), 3
ROWS, BATCH, EPOCHS = 37, 8, 10
BATCHES = [slice(begin, min(begin + BATCH, ROWS)) for begin in range(0, ROWS, BATCH)]  # the last one is shorter
STEPS = EPOCHS * len(BATCHES)
RATE = 0.05


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    """PyTorch, imported when the first test needs it; on one thread."""
    module = pytest.importorskip("torch")
    threads, dtype = module.get_num_threads(), module.get_default_dtype()
    module.set_num_threads(1)
    module.set_default_dtype(module.float64)  # the precision in which NAdam keeps its running product
    yield module
    module.set_num_threads(threads)
    module.set_default_dtype(dtype)


# -- each component in PyTorch's words

ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "identity": lambda torch, ours: torch.nn.Identity(),
    "sigmoid": lambda torch, ours: torch.nn.Sigmoid(),
    "tanh": lambda torch, ours: torch.nn.Tanh(),
    "relu": lambda torch, ours: torch.nn.ReLU(),
    "leaky_relu": lambda torch, ours: torch.nn.LeakyReLU(ours.slope),
    "silu": lambda torch, ours: torch.nn.SiLU(),
    "hard_sigmoid": lambda torch, ours: (
        lambda z: torch.clamp(z / 6 + 0.5, 0, 1)
    ),  # theirs has a 1/6 in single precision
    "hard_tanh": lambda torch, ours: torch.nn.Hardtanh(),
    "hard_silu": lambda torch, ours: torch.nn.Hardswish(),
    "softplus": lambda torch, ours: torch.nn.Softplus(threshold=1e6),  # ours is exact everywhere
    "elu": lambda torch, ours: torch.nn.ELU(ours.alpha),
    "selu": lambda torch, ours: torch.nn.SELU(),
    "gelu": lambda torch, ours: torch.nn.GELU(approximate=ours.approximate),
    "mish": lambda torch, ours: torch.nn.Mish(),
}
NORMALIZATIONS: dict[str, Callable[[Any, Any, int], Any]] = {
    "batch": lambda torch, ours, units: torch.nn.BatchNorm1d(units, eps=ours.eps, momentum=ours.momentum),
    "layer": lambda torch, ours, units: torch.nn.LayerNorm(units, eps=ours.eps),
}
OPTIMIZERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "sgd": lambda torch, ours, params: torch.optim.SGD(params, RATE, foreach=False),
    "momentum": lambda torch, ours, params: torch.optim.SGD(
        params, RATE, momentum=ours.momentum, nesterov=ours.nesterov, foreach=False
    ),
    "adagrad": lambda torch, ours, params: torch.optim.Adagrad(params, RATE, eps=ours.eps, foreach=False),
    "adam": lambda torch, ours, params: torch.optim.Adam(
        params, RATE, betas=(ours.beta1, ours.beta2), eps=ours.eps, foreach=False
    ),
    "adamw": lambda torch, ours, params: torch.optim.AdamW(
        [{"params": [p], "weight_decay": ours.weight_decay * (p.ndim == 2)} for p in params], RATE, foreach=False
    ),
    "amsgrad": lambda torch, ours, params: torch.optim.Adam(params, RATE, amsgrad=True, foreach=False),
    "nadam": lambda torch, ours, params: torch.optim.NAdam(params, RATE, momentum_decay=ours.psi, foreach=False),
    "rmsprop": lambda torch, ours, params: torch.optim.RMSprop(
        params, RATE, alpha=ours.rho, eps=ours.eps, momentum=ours.momentum, centered=ours.centered, foreach=False
    ),
}

Kept = dict[str, Any]
"""What a rule remembers of one tensor."""


def momentum_move(ours: Any, w: Any, g: Any, kept: Kept, lr: float, t: int) -> Any:
    v = kept["v"] = ours.momentum * kept.get("v", 0.0) + lr * g
    return ours.momentum * v + lr * g if ours.nesterov else v


def adagrad_move(ours: Any, w: Any, g: Any, kept: Kept, lr: float, t: int) -> Any:
    total = kept["G"] = kept.get("G", 0.0) + g.square()
    return lr * g / ((total + ours.eps_root).sqrt() + ours.eps)


def rmsprop_move(ours: Any, w: Any, g: Any, kept: Kept, lr: float, t: int) -> Any:
    assert not (ours.centered or ours.momentum)
    v = kept["v"] = ours.rho * kept.get("v", 0.0) + (1 - ours.rho) * g.square()
    return lr * g / ((v + ours.eps_root).sqrt() + ours.eps)


def adam_move(ours: Any, w: Any, g: Any, kept: Kept, lr: float, t: int) -> Any:
    m = kept["m"] = ours.beta1 * kept.get("m", 0.0) + (1 - ours.beta1) * g
    v = kept["v"] = ours.beta2 * kept.get("v", 0.0) + (1 - ours.beta2) * g.square()
    return lr * m / (1 - ours.beta1**t) / ((v / (1 - ours.beta2**t) + ours.eps_root).sqrt() + ours.eps)


def lion_move(ours: Any, w: Any, g: Any, kept: Kept, lr: float, t: int) -> Any:
    m = kept.get("m", 0.0)
    kept["m"] = ours.beta2 * m + (1 - ours.beta2) * g
    return lr * ((ours.beta1 * m + (1 - ours.beta1) * g).sign() + ours.weight_decay * (w.ndim == 2) * w)


MOVES: dict[str, Callable[[Any, Any, Any, Kept, float, int], Any]] = {
    "momentum": momentum_move,
    "adagrad": adagrad_move,
    "rmsprop": rmsprop_move,
    "adam": adam_move,
    "lion": lion_move,
}
"""By how much a tensor w falls in step t, for the rules that `is_in_pytorch` says it lacks."""


class Rule:
    """An optimizer with PyTorch's interface for one of these."""

    def __init__(self, torch: Any, ours: Optimizer, parameters: list[Any]) -> None:
        self._torch, self._ours, self._parameters, self._t = torch, ours, parameters, 0
        self._kept: list[Kept] = [{} for _ in parameters]
        self.param_groups = [{"lr": 0.0}]

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def step(self) -> None:
        self._t += 1
        move = MOVES[self._ours.name()]
        with self._torch.no_grad():
            for w, kept in zip(self._parameters, self._kept, strict=True):
                w -= move(self._ours, w, w.grad, kept, self.param_groups[0]["lr"], self._t)


# -- the rate of each step in PyTorch's words

WARMUP = 3
SCHEDULERS: dict[str, Callable[[Any, Any, Any, int, int], Any]] = {
    "constant": lambda lr, ours, optimizer, steps, n: lr.ConstantLR(optimizer, factor=1.0),
    "step": lambda lr, ours, optimizer, steps, n: lr.StepLR(optimizer, ours.step_size * n, ours.gamma),
    "multistep": lambda lr, ours, optimizer, steps, n: lr.MultiStepLR(
        optimizer, [milestone * n for milestone in ours.milestones], ours.gamma
    ),
    "exponential": lambda lr, ours, optimizer, steps, n: lr.ExponentialLR(optimizer, ours.gamma ** (1 / n)),
    "inverse_time": lambda lr, ours, optimizer, steps, n: lr.LambdaLR(
        optimizer, lambda t: 1 / (1 + ours.decay * t / n)
    ),
    "polynomial": lambda lr, ours, optimizer, steps, n: lr.PolynomialLR(
        optimizer, ours.horizon * n if ours.horizon else steps, ours.power
    ),
    "cosine": lambda lr, ours, optimizer, steps, n: lr.CosineAnnealingLR(
        optimizer, ours.horizon * n if ours.horizon else steps, ours.floor
    ),
    "cosine_restarts": lambda lr, ours, optimizer, steps, n: lr.CosineAnnealingWarmRestarts(
        optimizer, ours.period * n, ours.t_mult, ours.floor
    ),
    "one_cycle": lambda lr, ours, optimizer, steps, n: lr.OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps,
        pct_start=ours.pct_start,
        div_factor=ours.start_divisor,
        final_div_factor=ours.end_divisor,
        cycle_momentum=False,
    ),
    "plateau": lambda lr, ours, optimizer, steps, n: lr.ReduceLROnPlateau(
        optimizer,
        factor=ours.gamma,
        patience=ours.patience,
        threshold=ours.threshold,
        cooldown=ours.cooldown,
        min_lr=ours.floor,
        eps=0.0,
    ),
}
"""For a run of so many steps, n of them an epoch."""


class Rates:
    """The factor of each step, from PyTorch's schedulers on an optimizer whose rate is 1 and that does nothing else.

    The warm-up has a scheduler of its own, LinearLR; the other one begins when it is over, but a plateau watches the
    loss of the epochs from the start. PyTorch's cosine rises again after its horizon, where ours stays: it is stopped
    there.
    """

    def __init__(self, torch: Any, schedule: Schedule, epochs: int) -> None:
        n = len(BATCHES)
        self._schedule, self._step = schedule, 0
        nothing = [torch.zeros(1)]
        self._optimizers = [torch.optim.SGD(nothing, 1.0) for _ in range(2)]
        lr, warmup, steps = torch.optim.lr_scheduler, schedule.warmup * n, (epochs - schedule.warmup) * n
        self._warmup = warmup
        self._rising = lr.LinearLR(self._optimizers[0], 1 / warmup, 1.0, warmup - 1) if warmup else None
        self._main = SCHEDULERS[schedule.name()](lr, schedule, self._optimizers[1], steps, n)
        for optimizer in self._optimizers:
            optimizer.step()  # or PyTorch warns that nothing was trained before the first change of the rate
        self._end = schedule.horizon * n if isinstance(schedule, Cosine) and schedule.horizon else steps - 1

    @property
    def factor(self) -> float:
        """Of the step at hand."""
        return float(self._optimizers[self._step >= self._warmup].param_groups[0]["lr"])

    def end_step(self) -> None:
        """Go on to the next step."""
        if not isinstance(self._schedule, Plateau) and 0 <= self._step - self._warmup < self._end:
            self._main.step()
        if self._rising is not None:
            self._rising.step()
        self._step += 1

    def end_epoch(self, train_loss: float) -> None:
        """Go on to the next epoch."""
        if isinstance(self._schedule, Plateau):
            self._main.step(train_loss)


def smooth(ours: Any, y: Any) -> Any:
    """PyTorch has no label smoothing for yes and no: the target is moved by hand."""
    return (1 - ours.label_smoothing) * y + ours.label_smoothing / 2


LOSSES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "mse": lambda torch, ours, z, y: torch.nn.functional.mse_loss(z, y),
    "mae": lambda torch, ours, z, y: torch.nn.functional.l1_loss(z, y),
    "binary_cross_entropy": lambda torch, ours, z, y: torch.nn.functional.binary_cross_entropy_with_logits(
        z, smooth(ours, y)
    ),
    "cross_entropy": lambda torch, ours, z, y: weighted_cross_entropy(torch, ours, z, y),
    "huber": lambda torch, ours, z, y: torch.nn.functional.huber_loss(z, y, delta=ours.delta),
    "poisson": lambda torch, ours, z, y: torch.nn.functional.poisson_nll_loss(z, y),
    "focal": lambda torch, ours, z, y: focal(torch.log_softmax(z, 1).gather(1, y[:, None]), ours.gamma),
    "quantile": lambda torch, ours, z, y: pinball(torch, y - z, torch.tensor(ours.quantiles, dtype=z.dtype)),
}


def weighted_cross_entropy(torch: Any, ours: Any, z: Any, y: Any) -> Any:
    """PyTorch divides by the weights of the batch; ours have mean 1 over the training rows, and the rows divide."""
    weight = None
    if ours.class_weight is not None:
        weight = torch.tensor(list(ours.class_weight.values()), dtype=z.dtype)
        weight = weight / weight[torch.from_numpy(Case(loss=ours).dataset().training.targets.copy())].mean()
    smoothing = ours.label_smoothing
    return torch.nn.functional.cross_entropy(z, y, weight, label_smoothing=smoothing, reduction="sum") / len(y)


def focal(log_p: Any, gamma: float) -> Any:
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


def pinball(torch: Any, e: Any, q: Any) -> Any:
    return torch.maximum(q * e, (q - 1) * e).mean()


# -- the same run twice


class Clip(NamedTuple):
    """At most one of the two."""

    norm: float | None = None
    value: float | None = None

    def __str__(self) -> str:
        return f"clip_norm={self.norm}" if self.norm else f"clip_value={self.value}" if self.value else "unclipped"


class Case(NamedTuple):
    """One combination of settings."""

    loss: Loss = MeanSquaredError()
    optimizer: Optimizer = SGD()
    activation: Activation = Tanh()
    normalization: Normalization | None = None
    penalty: Penalty = Penalty()
    clip: Clip = Clip()
    schedule: Schedule = Constant()
    warmup: int = 0
    dropout: float = 0.0
    dtype: Any = np.float64
    epochs: int = EPOCHS

    @property
    def rate(self) -> float:
        """Smaller where the steps of an optimizer would leap about, and the rounding of both programs with them."""
        return {RMSProp: 0.002, Adam: 0.02, NAdam: 0.01, AdamW: 0.01, Lion: 0.01}.get(type(self.optimizer), RATE)

    @property
    def full_schedule(self) -> Schedule:
        return self.schedule.model_copy(update={"warmup": self.warmup})

    def experiment(self) -> Experiment:
        """What a user would write."""
        return Experiment(
            data=Data(path="memory.csv", target=("y",), split=Split(validation=0, test=0)),
            network=NetworkSpec(
                hidden=tuple(Dense(width=width) for width in HIDDEN),
                activation=self.activation,
                normalization=self.normalization,
                dropout=self.dropout,
            ),
            loss=self.loss,
            optimizer=self.optimizer.model_copy(update={"learning_rate": self.rate}),
            schedule=self.full_schedule,
            penalty=self.penalty,
            training=Training(
                epochs=self.epochs,
                batch_size=BATCH,
                shuffle=False,
                early_stopping=None,
                clip_norm=self.clip.norm,
                clip_value=self.clip.value,
                dtype=np.dtype(self.dtype).name,
            ),
        )

    def dataset(self) -> Dataset:
        """Random rows, all of them for training; read-only, since nothing may ever write to them."""
        rng = np.random.default_rng(0)
        x = read_only(rng.standard_normal((ROWS, INPUTS)).astype(self.dtype))
        target = self.loss.random_target(ROWS, COLUMNS, rng)
        target = read_only(target if self.loss.target_kind == "class" else target.astype(self.dtype))
        as_it_is = ((0.0,) * INPUTS, (1.0,) * INPUTS)
        encoder = Number(column="x", scaler=NoScaling(), fitted=as_it_is, fill=None)
        transforms = Transforms(encoders=(encoder,), task=fitted_task(self.loss, target), missing_values=())
        part = Part(Features(x, np.dtype(self.dtype)), target, np.arange(ROWS))
        return Dataset(part, None, None, transforms, self.loss, {}, ())


def fitted_task(loss: Loss, target: Target) -> Task:
    """The words for `target` that a table would have given, and class weights where `loss` has them."""
    if loss.target_kind == "class":
        classes = Classification(columns=("y",), classes=("a", "b", "c"))
        return classes.weighted(loss, np.bincount(target), "memory.csv")
    names = tuple(f"y{i}" for i in range(target.shape[1]))
    if loss.target_kind == "binary":
        return MultiLabel(columns=names, labels=(None,) * len(names))
    return Regression(columns=names, scaler=NoScaling(), fitted=((0.0,) * len(names), (1.0,) * len(names)))


def is_in_pytorch(case: Case) -> bool:
    """Whether PyTorch has the rule: not Lion, no eps under the root, and not our momentum where the rate changes.

    PyTorch keeps the rate outside the velocity, which is the same at a constant rate only.
    """
    if isinstance(case.optimizer, Momentum):
        return isinstance(case.schedule, Constant) and not case.warmup
    return not (isinstance(case.optimizer, Lion) or (isinstance(case.optimizer, Adaptive) and case.optimizer.eps_root))


def with_mean_one(case: Case) -> Loss:
    """The loss with class weights of mean 1 over the training rows, by which ours are divided before training.

    PyTorch's "mean" divides by the weights of the batch instead; for its "sum", divided by the rows, this is the one
    thing left to do.
    """
    loss = case.loss
    if not isinstance(loss, CrossEntropy) or not isinstance(loss.class_weight, dict):
        return loss
    weights = np.array(list(loss.class_weight.values()))
    weights /= weights[case.dataset().training.targets].mean()
    return loss.model_copy(update={"class_weight": dict(zip(loss.class_weight, weights.tolist(), strict=True))})


class Twin:
    """The same network in PyTorch, from the same weights, trained on the same rows."""

    def __init__(self, torch: Any, case: Case, ours: dict[str, Array]) -> None:
        self.torch, self.case = torch, case
        sizes = (INPUTS, *HIDDEN, case.loss.outputs(COLUMNS))
        dtype = torch.float32 if case.dtype is np.float32 else torch.float64
        self.linears = [torch.nn.Linear(n, m, dtype=dtype) for n, m in pairwise(sizes)]
        self.norms = [self._norm(units).to(dtype) for units in HIDDEN]
        self.activation = ACTIVATIONS[case.activation.name()](torch, case.activation)
        with torch.no_grad():
            for name, values in self.tensors().items():
                values.copy_(torch.from_numpy(ours[name].copy()))
        modules = [*self.linears, *self.norms]
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        choice: Callable[[Any, Any, Any], Any] = OPTIMIZERS[case.optimizer.name()] if is_in_pytorch(case) else Rule
        self.optimizer = choice(torch, case.optimizer, self.parameters)
        self.rates = Rates(torch, case.full_schedule, case.epochs)
        self.loss = with_mean_one(case)
        self.loss_sum = 0.0
        self.last_rate = 0.0

    def _norm(self, units: int) -> Any:
        norm = self.case.normalization
        return self.torch.nn.Identity() if norm is None else NORMALIZATIONS[norm.name()](self.torch, norm, units)

    def tensors(self) -> dict[str, Any]:
        """Its parameters by our names; weights as (in, out)."""
        found: dict[str, Any] = {}
        for i, linear in enumerate(self.linears):
            found |= {f"layers.{i}.weight": linear.weight.T, f"layers.{i}.bias": linear.bias}
        if self.case.normalization is not None:
            for i, norm in enumerate(self.norms):
                found |= {f"layers.{i}.norm.gamma": norm.weight, f"layers.{i}.norm.beta": norm.bias}
        return found

    def buffers(self) -> list[Any]:
        return [values for norm in self.norms for values in norm.buffers() if values.ndim]

    def forward(self, x: Any, masks: list[Any]) -> Any:
        for i, linear in enumerate(self.linears[:-1]):
            x = self.activation(self.norms[i](linear(x)))
            x = x * masks[i] if masks else x
        return self.linears[-1](x)

    @property
    def rate(self) -> float:
        """The learning rate of the step at hand."""
        return self.case.rate * self.rates.factor

    def step(self, x: Array, target: Target, masks: list[Array]) -> None:
        """Train on one batch."""
        torch, case = self.torch, self.case
        scores = self.forward(torch.from_numpy(x.copy()), [torch.from_numpy(mask) for mask in masks])
        loss = LOSSES[case.loss.name()](torch, self.loss, scores, torch.from_numpy(target.copy()))
        penalty = sum(
            case.penalty.l1 * linear.weight.abs().sum() + case.penalty.l2 * linear.weight.square().sum()
            for linear in self.linears
        )
        self.optimizer.zero_grad()
        (loss + penalty).backward()
        if case.clip.norm is not None:  # exactly; torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6
            norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in self.parameters))
            for parameter in self.parameters:
                parameter.grad *= min(1.0, case.clip.norm / norm.item())
        if case.clip.value is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, case.clip.value)
        for group in self.optimizer.param_groups:
            group["lr"] = self.last_rate = self.rate
        self.optimizer.step()
        self.rates.end_step()
        self.loss_sum += float(loss.item()) * len(x)

    def end_epoch(self) -> float:
        """Go on to the next epoch; the mean loss over the rows of this one."""
        mean, self.loss_sum = self.loss_sum / ROWS, 0.0
        self.rates.end_epoch(mean)
        return mean

    def evaluate(self, x: Array) -> Array:
        for norm in self.norms:
            norm.eval()
        scores: Array = self.forward(self.torch.from_numpy(x.copy()), []).detach().numpy()
        return scores


def assert_same_training(torch: Any, case: Case, relative: float) -> TrainState:
    """Train both; demand equal rates and losses, equal parameters, statistics and scores at the end; our state."""
    experiment, dataset = case.experiment(), case.dataset()
    plan = decide(experiment, dataset, "torch", experiment.seed or 0)
    network = network_for(plan)
    state = start(plan, network, dataset)
    state.parameters[:] += (0.1 * np.random.default_rng(1).standard_normal(state.parameters.size)).astype(case.dtype)
    tensors = network.layout.named_parameters(state.parameters)
    twin = Twin(torch, case, tensors)
    follow(twin, case, plan, network, state, dataset, relative)

    assert state.progress.step == case.epochs * len(BATCHES)
    for name, expected in twin.tensors().items():
        values = expected.detach().numpy()
        assert_close(tensors[name], values, relative, scale=np.abs(values).max())
    if twin.buffers():
        assert_close(state.buffers, np.concatenate([b.numpy() for b in twin.buffers()]), relative, scale=0.1)
    part = dataset.training
    scores = predict_scores(network, state.parameters, state.buffers, part.features, part.rows)
    assert_close(scores, twin.evaluate(part.features.values), relative, scale=0.1)
    return state


def follow(
    twin: Twin,
    case: Case,
    plan: Plan,
    network: Network,
    state: TrainState,
    dataset: Dataset,
    relative: float,
) -> None:
    """Let the loop train, and after each of its steps the twin on the same rows."""
    x, target = dataset.training.features.values, dataset.training.targets
    tensors = network.layout.named_parameters(state.parameters)
    idle = {name: tensors[name].copy() for name in without_effect(case)}
    for event in train(plan, network, state, dataset):
        if isinstance(event, StepDone):
            rows = BATCHES[state.progress.batch - 1]
            layers = network.workspace(len(x[rows])).layers
            twin.step(x[rows], target[rows], [layer.mask for layer in layers if layer.mask is not None])
            assert_close(event.learning_rate, twin.last_rate, 1e-12, scale=1e-3)
            for name, values in idle.items():
                tensors[name][...] = values
                twin.tensors()[name].data.copy_(twin.torch.from_numpy(values))
        if isinstance(event, EpochDone):
            assert_close(event.record["learning_rate"] or 0.0, twin.last_rate, 1e-12, scale=1e-3)
            assert_close(event.record["train_loss"] or 0.0, twin.end_epoch(), relative)


def without_effect(case: Case) -> list[str]:
    """What a batch normalization above takes out again: the bias before it, and a beta that reaches it unbent.

    The gradient is nothing but rounding there, and an optimizer that divides by its size makes steps of it. Such
    parameters are held where they are. Nearly all normalized values lie where the hard sigmoid is a straight line.
    """
    if case.normalization is None or not case.normalization.running:
        return []
    hidden = range(len(HIDDEN))
    betas = (
        [f"layers.{i}.norm.beta" for i in hidden[:-1]] if isinstance(case.activation, Identity | HardSigmoid) else []
    )
    return [f"layers.{i}.bias" for i in hidden] + betas


# -- every pair of settings

WEIGHTED = CrossEntropy(label_smoothing=0.1, class_weight={"a": 1.0, "b": 2.0, "c": 0.5})
IMPATIENT = Plateau(gamma=0.5, patience=0, threshold=0.05, cooldown=1, floor=0.1)
FACTORS: dict[str, list[Any]] = {
    "loss": [*example_instances(Loss), WEIGHTED],
    "optimizer": example_instances(Optimizer),
    "activation": example_instances(Activation),
    "normalization": [None, *example_instances(Normalization)],
    "penalty": [Penalty(), Penalty(l1=0.01), Penalty(l2=0.02), Penalty(l1=0.01, l2=0.02)],
    "clip": [Clip(), Clip(norm=0.3), Clip(value=0.02)],
    "schedule": [*example_instances(Schedule), IMPATIENT],
    "warmup": [0, WARMUP],
}

Choice = dict[int, int]
"""A value for some factors, both by number."""
Pair = tuple[tuple[int, int], tuple[int, int]]


def pairs_with(choice: Choice, factor: int, value: int) -> set[Pair]:
    """The pairs that `choice` gains with one more factor."""
    return {(min(other, (factor, value)), max(other, (factor, value))) for other in choice.items()}


def pair_cover(sizes: list[int]) -> list[Choice]:
    """Choices of a value for each factor that contain every pair of values of two factors; greedy, not the fewest.

    Where it makes no difference to that, the value that was used least: more triples meet too.
    """
    values = [[(factor, value) for value in range(size)] for factor, size in enumerate(sizes)]
    missing = {pair for one, other in combinations(values, 2) for pair in product(one, other)}
    used = [[0] * size for size in sizes]
    found = []
    while missing:
        choice = dict(min(missing))
        missing.remove(min(missing))
        for factor in (f for f in range(len(sizes)) if f not in choice):
            gains = [len(pairs_with(choice, factor, value) & missing) for value in range(sizes[factor])]
            value = max(range(sizes[factor]), key=lambda value: (gains[value], -used[factor][value]))
            missing -= pairs_with(choice, factor, value)
            choice[factor] = value
        for factor, value in choice.items():
            used[factor][value] += 1
        found.append(choice)
    return found


CASES = [
    Case(**{name: values[choice[i]] for i, (name, values) in enumerate(FACTORS.items())})
    for choice in pair_cover([len(values) for values in FACTORS.values()])
]
RUNS = 393


def case_id(case: Case) -> str:
    return "-".join(label(value) for value in case[: len(FACTORS)])


def test_every_pair_of_settings_meets_in_some_run() -> None:
    names = list(FACTORS)
    for one, other in combinations(names, 2):
        met = {(label(getattr(case, one)), label(getattr(case, other))) for case in CASES}
        assert met == {(label(a), label(b)) for a in FACTORS[one] for b in FACTORS[other]}
    assert all(case.epochs * len(BATCHES) == STEPS == 50 for case in CASES)
    everything = prod(len(values) for values in FACTORS.values())
    print(f"{len(CASES)} runs stand for {everything} combinations")
    assert len(CASES) == RUNS < 450 < 1_000_000 < everything


def test_every_kind_has_its_twin() -> None:
    for family, twins in (
        (Activation, ACTIVATIONS.keys()),
        (Loss, LOSSES.keys()),
        (Normalization, NORMALIZATIONS.keys()),
        (Optimizer, OPTIMIZERS.keys() | MOVES.keys()),
        (Schedule, SCHEDULERS.keys()),
    ):
        assert {instance.name() for instance in example_instances(family)} == set(twins)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_training_run(torch: Any, case: Case) -> None:
    assert_same_training(torch, case, relative=1e-9)


# -- what a pair does not show

MASKED = [Case(dropout=0.4), Case(CrossEntropy(), Adam(), dropout=0.2, clip=Clip(norm=0.3), schedule=Cosine())]


@pytest.mark.parametrize("case", MASKED, ids=["dropout", "dropout-adam-clip-cosine"])
def test_training_run_with_masks(torch: Any, case: Case) -> None:
    assert_same_training(torch, case, relative=1e-9)


@pytest.mark.parametrize("optimizer", FACTORS["optimizer"], ids=label)
def test_training_run_in_float32(torch: Any, optimizer: Optimizer) -> None:
    assert_same_training(torch, Case(CrossEntropy(), optimizer, dtype=np.float32, epochs=2), relative=2e-5)


def test_the_impatient_plateau_fires(torch: Any) -> None:
    """Or the matrix would compare nothing but ones."""
    state = assert_same_training(torch, Case(schedule=IMPATIENT), relative=1e-9)
    assert state.progress.schedule["factor"] <= 0.25


def test_momentum_under_a_schedule_is_the_one_difference(torch: Any) -> None:
    """PyTorch keeps the rate outside the velocity: the same at a constant rate, another thing when it falls."""
    case = Case(optimizer=Momentum(), schedule=Cosine())
    assert_same_training(torch, case, relative=1e-9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "is_in_pytorch", lambda case: True)
        with pytest.raises(AssertionError):
            assert_same_training(torch, case, relative=1e-3)


def test_the_comparison_would_notice_a_small_difference(torch: Any) -> None:
    original = LOSSES["mse"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOSSES, "mse", lambda *arguments: original(*arguments) * (1 + 1e-7))
        with pytest.raises(AssertionError):
            assert_same_training(torch, Case(), relative=1e-9)


MOVING = [
    schedule
    for schedule in FACTORS["schedule"]
    if not isinstance(schedule, Plateau) and any(schedule.at(step, STEPS, len(BATCHES)) != 1 for step in range(STEPS))
]


@pytest.mark.parametrize("schedule", MOVING, ids=label)
def test_the_comparison_would_notice_a_rate_that_is_one_step_late(torch: Any, schedule: Schedule) -> None:
    at = type(schedule).at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(schedule), "at", lambda self, step, *rest: at(self, max(0, step - 1), *rest))
        with pytest.raises(AssertionError):
            assert_same_training(torch, Case(schedule=schedule), relative=1e-9)
