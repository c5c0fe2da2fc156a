"""Do the formulas give the numbers of an independent implementation?

`golden/torch_float64.json` was computed once, in float64, by PyTorch 2.13 and, where a row says so, by the formulas of
other sources. Every row belongs to a component here, or is listed with the reason why it does not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from helpers import apply_step, assert_close
from mlptrain.nn.activations import (
    ELU,
    GELU,
    SELU,
    Activation,
    LeakyReLU,
    Mish,
    ReLU,
    Sigmoid,
    SiLU,
    Softplus,
    Tanh,
)
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Orthogonal,
    WeightInitializer,
)
from mlptrain.nn.layout import TensorSpec
from mlptrain.nn.losses import (
    BinaryCrossEntropy,
    ClassWeights,
    CrossEntropy,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
)
from mlptrain.nn.normalization import (
    BETA,
    GAMMA,
    RUNNING_MEAN,
    RUNNING_VARIANCE,
    BatchNorm,
    LayerNorm,
    Normalization,
    NormWorkspace,
)
from mlptrain.optim.clipping import clip_norm, squared_norm
from mlptrain.optim.optimizers import (
    SGD,
    AdaGrad,
    Adam,
    AdamW,
    AMSGrad,
    Lion,
    Momentum,
    NAdam,
    Optimizer,
    RMSProp,
)
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import (
    Cosine,
    CosineRestarts,
    Exponential,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    StepDecay,
)

FILE = Path(__file__).parent / "golden" / "torch_float64.json"


class Precision(NamedTuple):
    """How exactly a number must agree: `relative` times its size, or times `scale` where the number is smaller."""

    dtype: Any
    relative: float
    scale: float


PRECISIONS = [
    pytest.param(Precision(np.float64, 1e-12, 0.0), id="float64"),
    # 1 - s(20) is 2e-9 in truth and 0 in float32: such numbers are right on the scale of the 1 they come from
    pytest.param(Precision(np.float32, 2e-6, 1.0), id="float32"),
]
each_precision = pytest.mark.parametrize("precision", PRECISIONS)


class LossRow(NamedTuple):
    """What a loss was compared with, and whether each row was a batch of its own ("none") or all were one ("mean")."""

    loss: Loss
    target: Target
    reduction: str
    class_weights: ClassWeights = None


VALUES = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])
CLASSES = np.array([0, 2, 1])
WEIGHTS = np.array([1.0, 2.0, 3.0]) / 2  # PyTorch divides by the sum of the weights of the batch, we by its rows


def constant(value: float) -> Target:
    return np.full((9, 1), value)


# Every row of the file that a component of today answers for, by its name in the file.

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "relu": ReLU(),
    "leaky_relu_0_01": LeakyReLU(slope=0.01),
    "silu": SiLU(),
    "gelu_erf": GELU(),
    "gelu_tanh": GELU(approximate="tanh"),
    "elu_1": ELU(),
    "selu": SELU(),
    "softplus": Softplus(),
    "mish": Mish(),
}
LOSSES: dict[str, LossRow] = {
    "mse_mean_all": LossRow(MeanSquaredError(), VALUES, "mean"),
    "mae_mean_all": LossRow(MeanAbsoluteError(), VALUES, "mean"),
    "bce_logits_none_t0.0": LossRow(BinaryCrossEntropy(), constant(0.0), "none"),
    "bce_logits_none_t1.0": LossRow(BinaryCrossEntropy(), constant(1.0), "none"),
    "bce_logits_none_t0.3": LossRow(BinaryCrossEntropy(), constant(0.3), "none"),
    "ce_mean": LossRow(CrossEntropy(), CLASSES, "mean"),
    "ce_none": LossRow(CrossEntropy(), CLASSES, "none"),
    "ce_ls0.1_none": LossRow(CrossEntropy(label_smoothing=0.1), CLASSES, "none"),
    "huber_d1_mean": LossRow(Huber(), VALUES, "mean"),
    "huber_d0.5_mean": LossRow(Huber(delta=0.5), VALUES, "mean"),
    "ce_weighted_mean_w123": LossRow(CrossEntropy(), CLASSES, "mean", WEIGHTS),
    "ce_weighted_ls0.1_mean_w123": LossRow(CrossEntropy(label_smoothing=0.1), CLASSES, "mean", WEIGHTS),
}
OPTIMIZERS: dict[str, tuple[Optimizer, Penalty]] = {  # PyTorch's weight_decay d is l2 = d / 2
    "sgd lr.1": (SGD(learning_rate=0.1), Penalty()),
    "sgd lr.1 wd.01": (SGD(learning_rate=0.1), Penalty(l2=0.005)),
    "sgd lr.1 mom.9": (Momentum(learning_rate=0.1, momentum=0.9), Penalty()),
    "sgd lr.1 nesterov.9": (Momentum(learning_rate=0.1, momentum=0.9, nesterov=True), Penalty()),
    "adagrad lr.1 eps1e-10 acc0": (AdaGrad(learning_rate=0.1, eps=1e-10), Penalty()),
    "adam lr.1": (Adam(learning_rate=0.1), Penalty()),
    "adam lr.1 eps1e-3": (Adam(learning_rate=0.1, eps=1e-3), Penalty()),
    "adam lr.1 l2 .01": (Adam(learning_rate=0.1), Penalty(l2=0.005)),
    "rmsprop lr.01 a.99 eps1e-8": (RMSProp(learning_rate=0.01), Penalty()),
    "rmsprop lr.01 centered mom.9": (RMSProp(learning_rate=0.01, centered=True, momentum=0.9), Penalty()),
    "rmsprop_keras(eps in sqrt) lr.01 rho.9 eps1e-7": (
        RMSProp(learning_rate=0.01, rho=0.9, eps=0.0, eps_root=1e-7),
        Penalty(),
    ),
    "adamw lr.1 wd.01": (AdamW(learning_rate=0.1), Penalty()),
    "amsgrad lr.1": (AMSGrad(learning_rate=0.1), Penalty()),
    "nadam lr.1": (NAdam(learning_rate=0.1), Penalty()),
    "nadam_keras(decay 0.96**t) lr.1 eps1e-7": (NAdam(learning_rate=0.1, eps=1e-7, psi=1.0), Penalty()),
    "lion lr.1 b.9,.99": (Lion(learning_rate=0.1), Penalty()),
    "lion lr.1 wd.01": (Lion(learning_rate=0.1, weight_decay=0.01), Penalty()),
}
BATCH_NORM = (
    "train_out",
    "running_mean_after1",
    "running_var_after1_torch(unbiased,m=.1)",
    "eval_out_after1",
    "dx",
    "dgamma",
    "dbeta",
)
LAYER_NORM = ("out", "dx")
PAST_HORIZON = "cosine T5 eta.1 (past T_max rises again)"
PLATEAU = "plateau f.5 patience2 thr1e-4rel on [1,.9x5,.89995,.5,.6x3,nan x3]"
SCHEDULES: dict[str, tuple[Schedule, int]] = {
    PAST_HORIZON: (Cosine(floor=0.1), 5),
    "step size3 g.1": (StepDecay(step_size=3), 10),
    "multistep [2,5] g.1": (MultiStep(milestones=(2, 5)), 10),
    "exp g.9": (Exponential(gamma=0.9), 10),
    "cosine_restarts T0=3 Tmult2": (CosineRestarts(period=3, t_mult=2), 12),
    "poly p2 T5": (Polynomial(power=2.0), 5),
    "onecycle max1 T10": (OneCycle(), 10),
}
INITIALIZERS: dict[str, WeightInitializer] = {
    "xavier_uniform": GlorotUniform(),
    "xavier_normal": GlorotNormal(),
    "kaiming_uniform_relu": HeUniform(),
    "kaiming_normal_relu": HeNormal(),
    "orthogonal": Orthogonal(),
}
CLIPPED = ("[3.0, 4.0]", "[0.0, 0.0]", "[inf, 1.0]", "[nan, 1.0]")

COVERED = {
    *(f"activations/{name}" for name in ACTIVATIONS),
    *(f"losses/{name}" for name in LOSSES),
    *(f"optimizers/{name}" for name in OPTIMIZERS),
    *(f"batchnorm/{name}" for name in BATCH_NORM),
    *(f"layernorm/{name}" for name in LAYER_NORM),
    *(f"schedules/{name}" for name in (*SCHEDULES, PLATEAU)),
    *(f"clip_grad_norm max1/{name}" for name in CLIPPED),
    *(f"init_stats/{name}" for name in INITIALIZERS),
}

INPUTS = {
    "activations/x",
    "optimizers/w0",
    "optimizers/grads",
    "batchnorm/x",
    "batchnorm/upstream",
    "layernorm/eps",
}
"""What the other rows were computed from."""

RULES_OF_OTHERS: dict[str, str] = {
    "activations/softplus_nothresh": "computed by the naive formula, which is infinite at 1000",
    "losses/smooth_l1_b0.5_mean": "the Huber loss divided by beta",
    "losses/bce_logits_posw3_mean": "a yes-no target takes sample weights instead",
    "activations/log_sigmoid": "the link of a loss elsewhere; no activation here",
    "optimizers/sgd lr.1 mom.9 damp.1": "no dampening: it is a smaller learning rate",
    "optimizers/adam_epsilon_hat(keras/sklearn) lr.1 eps1e-3": "eps before the correction of v; ours is Kingma & Ba's",
    "optimizers/adam_epsilon_hat lr.1 eps1e-7": "eps before the correction of v; ours is Kingma & Ba's",
    "optimizers/amsgrad_optax(max of bias-corrected) lr.1": "PyTorch's rule is the one to follow",
    "optimizers/amsgrad_paper(no bias corr) lr.1": "PyTorch's rule is the one to follow",
    "batchnorm/running_var_if_biased(keras rule, m=.1 new)": "the running variance is the unbiased one",
    "batchnorm/n=1": "the text of PyTorch's refusal of a single row",
    "schedules/linear warmup 1/3->1 in 5": "warm-up is a field of every schedule, and begins at 1/W",
}


@cache
def golden() -> dict[str, Any]:
    return dict(json.loads(FILE.read_text()))


def row(section: str, name: str) -> Any:
    return golden()[section][name]


def numbers(values: Any) -> NDArray[np.float64]:
    """Numbers that may be written as text, so that none was rounded on its way into the file."""
    return np.asarray(values).astype(np.float64)


def rows_of_the_file() -> Iterator[str]:
    for section, entries in golden().items():
        if section != "versions":
            yield from (f"{section}/{name}" for name in entries)


# -- nothing is forgotten


def test_every_row_is_covered_or_listed_with_a_reason() -> None:
    kinds = [COVERED, INPUTS, set(RULES_OF_OTHERS)]
    assert set().union(*kinds) == set(rows_of_the_file())
    assert sum(map(len, kinds)) == len(set().union(*kinds)), "a row is listed twice"


# -- activations


@each_precision
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, precision: Precision) -> None:
    z = numbers(row("activations", "x")).astype(precision.dtype)
    f, expected = ACTIVATIONS[name], row("activations", name)
    # where 1 + erf or 1 + tanh is nothing but rounding, PyTorch's gelu has no digits to compare with
    scale = 1.0 if name.startswith("gelu") else precision.scale
    assert_close(f(z), numbers(expected["y"]), precision.relative, scale)
    assert_close(f.derivative(z), numbers(expected["dy"]), precision.relative, scale)


# -- losses


def loss_and_gradient(
    loss: Loss, scores: Array, target: Target, class_weights: ClassWeights = None
) -> tuple[float, Array]:
    grad = np.empty_like(scores)
    ws = loss.workspace(scores.shape, scores.dtype, class_weights)
    return loss.value_and_gradient(scores, target, grad, ws), grad


@each_precision
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name: str, precision: Precision) -> None:
    (loss, target, reduction, weights), expected = LOSSES[name], row("losses", name)
    scores = numbers(expected["in"]).astype(precision.dtype)
    scores = scores.reshape(len(scores), -1)
    if reduction == "mean":
        results = [loss_and_gradient(loss, scores, target, weights)]
    else:
        results = [loss_and_gradient(loss, scores[i : i + 1], target[i : i + 1]) for i in range(len(scores))]
    # at a score of -37 and target 0, log(1 + e^-37) = 8.5e-17 is lost in PyTorch's 37 - 37: hence the scale of one
    assert_close([value for value, _ in results], numbers(expected["out"]), precision.relative, 1.0)
    gradient = np.concatenate([grad for _, grad in results])
    assert_close(gradient, numbers(expected["grad"]).reshape(scores.shape), precision.relative, precision.scale)


@each_precision
def test_cross_entropy_at_extreme_scores_is_exact(precision: Precision) -> None:
    scores = np.array([[1000.0, 0.0, -1000.0]], precision.dtype)
    assert loss_and_gradient(CrossEntropy(), scores, np.array([2]))[0] == 2000


# -- optimizers


def trajectory(optimizer: Optimizer, penalty: Penalty, dtype: Any) -> Array:
    """The positions after each of the steps, for the gradients of the file."""
    w = numbers(row("optimizers", "w0")).astype(dtype)
    slots = [np.zeros_like(w) for _ in optimizer.slots]
    positions = []
    for t, gradient in enumerate(numbers(row("optimizers", "grads")).astype(dtype), start=1):
        g, scratch = gradient.copy(), np.empty_like(w)
        penalty.add_gradient(w, g, scratch)
        optimizer.decay(w, optimizer.learning_rate)
        apply_step(optimizer, w, g, slots, scratch, optimizer.learning_rate, t)
        positions.append(w.copy())
    return np.stack(positions)


@each_precision
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer(name: str, precision: Precision) -> None:
    steps = trajectory(*OPTIMIZERS[name], precision.dtype)
    assert_close(steps, numbers(row("optimizers", name)), precision.relative, precision.scale)


@pytest.mark.parametrize("eps", [1e-3, 1e-7])
def test_adam_is_not_the_form_with_epsilon_before_the_correction(eps: float) -> None:
    name = {1e-3: "adam_epsilon_hat(keras/sklearn) lr.1 eps1e-3", 1e-7: "adam_epsilon_hat lr.1 eps1e-7"}[eps]
    steps = trajectory(Adam(learning_rate=0.1, eps=eps), Penalty(), np.float64)
    assert np.abs(steps - numbers(row("optimizers", name))).max() > eps


# -- normalization


def normalized(norm: Normalization, dtype: Any) -> dict[str, Array]:
    """Forward, backward, update of the running statistics and evaluation, by the names of the file."""
    x, upstream = (numbers(row("batchnorm", name)).astype(dtype) for name in ("x", "upstream"))
    rows, units = x.shape
    gamma, beta, scratch = np.ones(units, dtype), np.zeros(units, dtype), np.empty_like(x)
    running = {RUNNING_MEAN: np.zeros(units, dtype), RUNNING_VARIANCE: np.ones(units, dtype)}
    ws: NormWorkspace = norm.workspace(scratch)
    out, grad, dgamma, dbeta, evaluated = x.copy(), upstream.copy(), gamma.copy(), beta.copy(), x.copy()
    tensors = {GAMMA: gamma, BETA: beta}
    norm.forward(out, tensors, running, ws, training=True)
    norm.update_running(running, ws, rows)
    norm.backward(grad, tensors, {GAMMA: dgamma, BETA: dbeta}, ws)
    norm.forward(evaluated, tensors, running, ws, training=False)
    return {
        "train_out": out,
        "out": out,
        "dx": grad,
        "dgamma": dgamma,
        "dbeta": dbeta,
        "running_mean_after1": running[RUNNING_MEAN],
        "running_var_after1_torch(unbiased,m=.1)": running[RUNNING_VARIANCE],
        "eval_out_after1": evaluated,
    }


@each_precision
@pytest.mark.parametrize("name", BATCH_NORM)
def test_batch_norm(name: str, precision: Precision) -> None:
    result = normalized(BatchNorm(), precision.dtype)[name]
    assert_close(result, row("batchnorm", name), precision.relative, precision.scale)


def test_batch_norm_keeps_the_unbiased_variance() -> None:
    kept = normalized(BatchNorm(), np.float64)["running_var_after1_torch(unbiased,m=.1)"]
    assert np.abs(kept - row("batchnorm", "running_var_if_biased(keras rule, m=.1 new)")).min() > 0.05


@each_precision
@pytest.mark.parametrize("name", LAYER_NORM)
def test_layer_norm(name: str, precision: Precision) -> None:
    norm = LayerNorm(eps=row("layernorm", "eps"))
    # over two units, three terms of size |upstream| / std <= 4 leave 1e-5 of themselves: the scale is theirs
    scale = 4.0 if name == "dx" else precision.scale
    assert_close(normalized(norm, precision.dtype)[name], row("layernorm", name), precision.relative, scale)


# -- schedules, clipping, initializers


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name: str) -> None:
    (schedule, epochs), expected = SCHEDULES[name], numbers(row("schedules", name))
    factors = [schedule.at(epoch, epochs, 1) for epoch in range(len(expected))]
    until = epochs + 1 if name == PAST_HORIZON else len(expected)
    assert_close(factors[:until], expected[:until], 1e-12)


def test_the_cosine_stays_where_it_ended() -> None:
    assert {Cosine(floor=0.1).at(epoch, 5, 1) for epoch in range(5, 12)} == {0.1}, "PyTorch's rises again"


def test_plateau() -> None:
    schedule = Plateau(gamma=0.5, patience=2)
    memory, factors = schedule.start(), []
    for value in (1.0, *[0.9] * 5, 0.89995, 0.5, *[0.6] * 3):  # the file goes on with NaN, which is an error here
        memory = schedule.observe(memory, value, higher_is_better=False)
        factors.append(schedule.at(0, 1, 1, memory))
    assert factors == numbers(row("schedules", PLATEAU))[:11].tolist()


@each_precision
@pytest.mark.parametrize("name", CLIPPED)
def test_clip_norm(name: str, precision: Precision) -> None:
    expected = row("clip_grad_norm max1", name)
    gradient = numbers(json.loads(name.replace("inf", "Infinity").replace("nan", "NaN"))).astype(precision.dtype)
    norm = float(expected["norm"])
    assert_close(np.sqrt(squared_norm(gradient)), norm, precision.relative)
    if not np.isfinite(norm):
        return  # a training step refuses such a gradient instead of clipping it; see test_step.py
    clip_norm(gradient, 1.0)
    by_torch = gradient * (norm / (norm + 1e-6))  # PyTorch adds 1e-6 to the norm; ours is exact
    assert_close(by_torch, numbers(expected["clipped"]), precision.relative)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializer(name: str) -> None:
    expected = row("init_stats", name)
    outputs, inputs = expected["shape(out,in)"]
    weight = np.empty((inputs, outputs))
    spec = TensorSpec("weight", weight.shape, weight.shape[0], weight.shape[1], activation=ReLU())
    INITIALIZERS[name].fill(weight, spec, np.random.default_rng(0))
    assert_close(weight.std(), expected["std"], 0.02)  # five standard errors of the ratio of two such samples
    assert_close(np.abs(weight).max(), expected["max_abs"], 0.001 if "uniform" in name else 0.15)
