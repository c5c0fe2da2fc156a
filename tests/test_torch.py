"""Does a whole training run end where PyTorch's ends, from the same weights on the same batches?

Parity in float64 over 50 steps leaves no room for a wrong factor anywhere: in a formula, in the order of a step, in
what an optimizer remembers. The combinations are chosen so that every pair of settings meets in some run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pytest

from helpers import Trainer, assert_close, label, random_batch, trainer
from mlptrain.component import example_instances
from mlptrain.gradcheck import stack
from mlptrain.nn.activations import Activation, Identity, Tanh
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.losses import CrossEntropy, Loss, MeanSquaredError
from mlptrain.nn.normalization import Normalization
from mlptrain.optim.optimizers import SGD, Adam, AdamW, Adaptive, Lion, Momentum, NAdam, Optimizer, RMSProp
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Cosine

pytestmark = pytest.mark.torch

SIZES, ROWS = (5, 7, 6, 3), 29
BATCHES = [slice(start, min(start + 8, ROWS)) for start in range(0, ROWS, 8)]  # the last one is shorter
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


def smooth(ours: Any, y: Any) -> Any:
    """PyTorch has no label smoothing for yes and no: the target is moved by hand."""
    return (1 - ours.label_smoothing) * y + ours.label_smoothing / 2


LOSSES: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "mse": lambda torch, ours, z, y: torch.nn.functional.mse_loss(z, y),
    "mae": lambda torch, ours, z, y: torch.nn.functional.l1_loss(z, y),
    "binary_cross_entropy": lambda torch, ours, z, y: torch.nn.functional.binary_cross_entropy_with_logits(
        z, smooth(ours, y)
    ),
    "cross_entropy": lambda torch, ours, z, y: torch.nn.functional.cross_entropy(
        z, y, label_smoothing=ours.label_smoothing
    ),
    "huber": lambda torch, ours, z, y: torch.nn.functional.huber_loss(z, y, delta=ours.delta),
    "poisson": lambda torch, ours, z, y: torch.nn.functional.poisson_nll_loss(z, y),
    "focal": lambda torch, ours, z, y: focal(torch.log_softmax(z, 1).gather(1, y[:, None]), ours.gamma),
    "quantile": lambda torch, ours, z, y: pinball(torch, y - z, torch.tensor(ours.quantiles, dtype=z.dtype)),
}


def focal(log_p: Any, gamma: float) -> Any:
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


def pinball(torch: Any, e: Any, q: Any) -> Any:
    return torch.maximum(q * e, (q - 1) * e).mean()


# -- the same run twice


class Case(NamedTuple):
    """One combination of settings."""

    loss: Loss = MeanSquaredError()
    optimizer: Optimizer = SGD()
    activation: Activation = Tanh()
    normalization: Normalization | None = None
    penalty: Penalty = Penalty()
    clip: float | None = None
    dropout: float = 0.0
    rates: tuple[float, ...] = (RATE,) * 50
    dtype: Any = np.float64


class Twin:
    """The same network in PyTorch, from the same weights."""

    def __init__(self, torch: Any, case: Case, ours: Trainer) -> None:
        self.torch, self.case = torch, case
        dtype = torch.float32 if case.dtype is np.float32 else torch.float64
        self.linears = [torch.nn.Linear(n, m, dtype=dtype) for n, m in pairwise(SIZES)]
        self.norms = [self._norm(units).to(dtype) for units in SIZES[1:-1]]
        self.activation = ACTIVATIONS[case.activation.name()](torch, case.activation)
        with torch.no_grad():
            for name, values in self.tensors().items():
                values.copy_(torch.from_numpy(ours.tensors()[name].copy()))
        modules = [*self.linears, *self.norms]
        self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = OPTIMIZERS[case.optimizer.name()](torch, case.optimizer, self.parameters)

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

    def step(self, x: Array, target: Target, rate: float, masks: list[Array]) -> float:
        torch, case = self.torch, self.case
        scores = self.forward(torch.from_numpy(x.copy()), [torch.from_numpy(mask) for mask in masks])
        loss = LOSSES[case.loss.name()](torch, case.loss, scores, torch.from_numpy(target.copy()))
        penalty = sum(
            case.penalty.l1 * linear.weight.abs().sum() + case.penalty.l2 * linear.weight.square().sum()
            for linear in self.linears
        )
        self.optimizer.zero_grad()
        (loss + penalty).backward()
        if case.clip is not None:  # exactly; torch.nn.utils.clip_grad_norm_ divides by norm + 1e-6
            norm = torch.sqrt(sum(parameter.grad.square().sum() for parameter in self.parameters))
            for parameter in self.parameters:
                parameter.grad *= min(1.0, case.clip / norm.item())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        return float(loss.item())

    def evaluate(self, x: Array) -> Array:
        for norm in self.norms:
            norm.eval()
        scores: Array = self.forward(self.torch.from_numpy(x.copy()), []).detach().numpy()
        return scores


def assert_same_training(torch: Any, case: Case, relative: float) -> None:
    """Train both; demand equal losses on the way, equal parameters, running statistics and scores at the end."""
    layers = stack(*SIZES, activation=case.activation, normalization=case.normalization, dropout=case.dropout)
    ours = trainer(layers, case.loss, case.optimizer, case.penalty, case.clip, case.dtype)
    ours.state.parameters[:] += 0.1 * np.random.default_rng(1).standard_normal(ours.state.parameters.size)
    twin = Twin(torch, case, ours)
    x, target = random_batch(ours.network, ROWS)

    idle = {name: ours.tensors()[name].copy() for name in without_effect(case)}

    for t, rate in enumerate(case.rates):
        rows = BATCHES[t % len(BATCHES)]
        loss = ours.step(x[rows], target[rows], rate)
        masks = [layer.mask for layer in ours.network.workspace(len(x[rows])).layers if layer.mask is not None]
        assert_close(loss, twin.step(x[rows], target[rows], rate, masks), relative)
        for name, values in idle.items():
            ours.tensors()[name][...] = values
            twin.tensors()[name].data.copy_(torch.from_numpy(values))

    for name, expected in twin.tensors().items():
        values = expected.detach().numpy()
        assert_close(ours.tensors()[name], values, relative, scale=np.abs(values).max())
    if twin.buffers():
        assert_close(ours.state.buffers, np.concatenate([b.numpy() for b in twin.buffers()]), relative, scale=0.1)
    assert_close(ours.evaluate(x), twin.evaluate(x), relative, scale=0.1)


def without_effect(case: Case) -> list[str]:
    """What a batch normalization above takes out again: the bias before it, and a beta that reaches it unbent.

    The gradient is nothing but rounding there, and an optimizer that divides by its size makes steps of it. Such
    parameters are held where they are.
    """
    if case.normalization is None or not case.normalization.running:
        return []
    hidden = range(len(SIZES) - 2)
    betas = [f"layers.{i}.norm.beta" for i in hidden[:-1]] if isinstance(case.activation, Identity) else []
    return [f"layers.{i}.bias" for i in hidden] + betas


# -- every pair of settings

FACTORS: dict[str, list[Any]] = {
    "loss": example_instances(Loss),
    "optimizer": [
        o for o in example_instances(Optimizer) if not (isinstance(o, Lion) or (isinstance(o, Adaptive) and o.eps_root))
    ],
    "activation": example_instances(Activation),
    "normalization": [None, *example_instances(Normalization)],
    "penalty": [Penalty(), Penalty(l1=0.01), Penalty(l2=0.02), Penalty(l1=0.01, l2=0.02)],
    "clip": [None, 0.3],
}
"""PyTorch has neither eps under the root nor Lion: they stay out, and are compared with the formula elsewhere."""

Pair = tuple[tuple[int, int], tuple[int, int]]


def pairs_of(choice: dict[int, int]) -> set[Pair]:
    """The pairs of (factor, value) in a choice, which may be unfinished."""
    return set(combinations(sorted(choice.items()), 2))


def pair_cover(sizes: list[int]) -> list[dict[int, int]]:
    """Choices of a value for each factor that contain every pair of values of two factors; greedy, not the fewest."""
    values = [[(factor, value) for value in range(size)] for factor, size in enumerate(sizes)]
    missing = {pair for one, other in combinations(values, 2) for pair in product(one, other)}
    found = []
    while missing:
        choice = dict(min(missing))
        for factor in (f for f in range(len(sizes)) if f not in choice):
            gains = [len(pairs_of({**choice, factor: value}) & missing) for value in range(sizes[factor])]
            choice[factor] = gains.index(max(gains))
        missing -= pairs_of(choice)
        found.append(choice)
    return found


def with_its_rate(case: Case) -> Case:
    """Smaller steps where those of the others would leap about, and the rounding of both programs with them."""
    slower = {RMSProp: 0.002, NAdam: 0.01, AdamW: 0.01}.get(type(case.optimizer), RATE)
    return case._replace(rates=tuple(rate * slower / RATE for rate in case.rates))


CHOICES = pair_cover([len(values) for values in FACTORS.values()])
CASES = [
    with_its_rate(Case(**{name: values[choice[i]] for i, (name, values) in enumerate(FACTORS.items())}))
    for choice in CHOICES
]


def case_id(case: Case) -> str:
    return "-".join(label(value) for value in case[:6])


def test_every_pair_of_settings_meets_in_some_run() -> None:
    names = list(FACTORS)
    for one, other in combinations(names, 2):
        met = {(label(getattr(case, one)), label(getattr(case, other))) for case in CASES}
        assert met == {(label(a), label(b)) for a in FACTORS[one] for b in FACTORS[other]}
    everything = prod(len(values) for values in FACTORS.values())
    print(f"{len(CASES)} runs stand for {everything} combinations")
    assert len(CASES) <= 400 < 100_000 < everything


def test_every_kind_has_its_twin() -> None:
    for family, twins in ((Activation, ACTIVATIONS), (Loss, LOSSES), (Normalization, NORMALIZATIONS)):
        assert {instance.name() for instance in example_instances(family)} == set(twins)
    assert {instance.name() for instance in FACTORS["optimizer"]} == set(OPTIMIZERS)


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_training_run(torch: Any, case: Case) -> None:
    assert_same_training(torch, case, relative=1e-9)


# -- what a pair does not show

SOME: list[Case] = [
    Case(dropout=0.4),
    Case(CrossEntropy(), Adam(), dropout=0.2, clip=0.3),
    Case(optimizer=Adam(), rates=tuple(RATE * Cosine(warmup=5).at(t, 50) for t in range(50))),
    Case(rates=tuple(RATE * Cosine(floor=0.1).at(t, 50) for t in range(50))),
]


@pytest.mark.parametrize("case", SOME, ids=["dropout", "dropout-adam-clip", "adam-warmup-cosine", "sgd-cosine"])
def test_training_run_with_masks_and_schedules(torch: Any, case: Case) -> None:
    assert_same_training(torch, case, relative=1e-9)


@pytest.mark.parametrize("optimizer", FACTORS["optimizer"], ids=label)
def test_training_run_in_float32(torch: Any, optimizer: Optimizer) -> None:
    case = Case(CrossEntropy(), optimizer, dtype=np.float32, rates=(RATE,) * 10)
    assert_same_training(torch, with_its_rate(case), relative=2e-5)


def test_momentum_under_a_schedule_is_the_one_difference(torch: Any) -> None:
    """PyTorch keeps the rate outside the velocity: the same at a constant rate, another thing when it falls."""
    rates = tuple(RATE * Cosine().at(t, 50) for t in range(50))
    with pytest.raises(AssertionError):
        assert_same_training(torch, Case(optimizer=Momentum(), rates=rates), relative=1e-3)


def test_the_comparison_would_notice_a_small_difference(torch: Any) -> None:
    original = LOSSES["mse"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(LOSSES, "mse", lambda *arguments: original(*arguments) * (1 + 1e-7))
        with pytest.raises(AssertionError):
            assert_same_training(torch, Case(), relative=1e-9)
