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

from helpers import assert_close
from mlptrain.component import Component, variants
from mlptrain.nn.activations import Activation, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.initializers import (
    GlorotNormal,
    GlorotUniform,
    HeNormal,
    HeUniform,
    Initializer,
    WeightInitializer,
)
from mlptrain.nn.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Loss,
    LossWorkspace,
    MeanAbsoluteError,
    MeanSquaredError,
)
from mlptrain.nn.normalization import BatchNorm, LayerNorm, Normalization, NormWorkspace
from mlptrain.optim.clipping import clip_norm, squared_norm
from mlptrain.optim.optimizers import SGD, AdaGrad, Adam, Momentum, Optimizer
from mlptrain.optim.penalties import Penalty
from mlptrain.optim.schedules import Cosine, Schedule

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


VALUES = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0]])
CLASSES = np.array([0, 2, 1])


def constant(value: float) -> Target:
    return np.full((9, 1), value)


# Every row of the file that a component of today answers for, by its name in the file.

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Sigmoid(),
    "tanh": Tanh(),
    "relu": ReLU(),
    "leaky_relu_0_01": LeakyReLU(slope=0.01),
    "silu": SiLU(),
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
SCHEDULES: dict[str, tuple[Schedule, int]] = {"cosine T5 eta.1 (past T_max rises again)": (Cosine(floor=0.1), 5)}
INITIALIZERS: dict[str, WeightInitializer] = {
    "xavier_uniform": GlorotUniform(),
    "xavier_normal": GlorotNormal(),
    "kaiming_uniform_relu": HeUniform(),
    "kaiming_normal_relu": HeNormal(),
}
CLIPPED = ("[3.0, 4.0]", "[0.0, 0.0]", "[inf, 1.0]", "[nan, 1.0]")

COVERED = {
    *(f"activations/{name}" for name in ACTIVATIONS),
    *(f"losses/{name}" for name in LOSSES),
    *(f"optimizers/{name}" for name in OPTIMIZERS),
    *(f"batchnorm/{name}" for name in BATCH_NORM),
    *(f"layernorm/{name}" for name in LAYER_NORM),
    *(f"schedules/{name}" for name in SCHEDULES),
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

NOT_YET: dict[str, tuple[type[Component], str]] = {
    "activations/gelu_erf": (Activation, "gelu"),
    "activations/gelu_tanh": (Activation, "gelu"),
    "activations/elu_1": (Activation, "elu"),
    "activations/selu": (Activation, "selu"),
    "activations/softplus": (Activation, "softplus"),
    "activations/softplus_nothresh": (Activation, "softplus"),
    "activations/mish": (Activation, "mish"),
    "losses/huber_d1_mean": (Loss, "huber"),
    "losses/huber_d0.5_mean": (Loss, "huber"),
    "losses/smooth_l1_b0.5_mean": (Loss, "huber"),
    "losses/ce_weighted_mean_w123": (Loss, "cross_entropy.class_weight"),
    "losses/ce_weighted_ls0.1_mean_w123": (Loss, "cross_entropy.class_weight"),
    "losses/bce_logits_posw3_mean": (Loss, "binary_cross_entropy.class_weight"),
    "optimizers/rmsprop lr.01 a.99 eps1e-8": (Optimizer, "rmsprop"),
    "optimizers/rmsprop lr.01 centered mom.9": (Optimizer, "rmsprop"),
    "optimizers/rmsprop_keras(eps in sqrt) lr.01 rho.9 eps1e-7": (Optimizer, "rmsprop"),
    "optimizers/adamw lr.1 wd.01": (Optimizer, "adamw"),
    "optimizers/amsgrad lr.1": (Optimizer, "amsgrad"),
    "optimizers/nadam lr.1": (Optimizer, "nadam"),
    "optimizers/lion lr.1 b.9,.99": (Optimizer, "lion"),
    "optimizers/lion lr.1 wd.01": (Optimizer, "lion"),
    "schedules/step size3 g.1": (Schedule, "step"),
    "schedules/multistep [2,5] g.1": (Schedule, "multistep"),
    "schedules/exp g.9": (Schedule, "exponential"),
    "schedules/cosine_restarts T0=3 Tmult2": (Schedule, "cosine_restarts"),
    "schedules/poly p2 T5": (Schedule, "polynomial"),
    "schedules/onecycle max1 T10": (Schedule, "one_cycle"),
    "schedules/plateau f.5 patience2 thr1e-4rel on [1,.9x5,.89995,.5,.6x3,nan x3]": (Schedule, "plateau"),
    "init_stats/orthogonal": (Initializer, "orthogonal"),
}
"""Rows that wait for a variant (or for a field of one): they must be moved up when it arrives."""

RULES_OF_OTHERS: dict[str, str] = {
    "activations/log_sigmoid": "the link of a loss elsewhere; no activation here",
    "optimizers/sgd lr.1 mom.9 damp.1": "no dampening: it is a smaller learning rate",
    "optimizers/adam_epsilon_hat(keras/sklearn) lr.1 eps1e-3": "eps before the correction of v; ours is Kingma & Ba's",
    "optimizers/adam_epsilon_hat lr.1 eps1e-7": "eps before the correction of v; ours is Kingma & Ba's",
    "optimizers/amsgrad_optax(max of bias-corrected) lr.1": "PyTorch's rule is the one to follow",
    "optimizers/amsgrad_paper(no bias corr) lr.1": "PyTorch's rule is the one to follow",
    "optimizers/nadam_keras(decay 0.96**t) lr.1 eps1e-7": "Dozat's psi is the one to follow",
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
    kinds = [COVERED, INPUTS, set(NOT_YET), set(RULES_OF_OTHERS)]
    assert set().union(*kinds) == set(rows_of_the_file())
    assert sum(map(len, kinds)) == len(set().union(*kinds)), "a row is listed twice"


@pytest.mark.parametrize(("family", "missing"), sorted(set(NOT_YET.values()), key=str), ids=lambda value: str(value))
def test_rows_that_wait_for_a_component_still_have_to(family: type[Component], missing: str) -> None:
    kind, _, field = missing.partition(".")
    found = {variant.name(): variant for variant in variants(family)}
    there = kind in found and (not field or field in found[kind].model_fields)
    assert not there, f"{missing} exists now: compare it with its rows in {FILE.name}"


# -- activations


@each_precision
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name: str, precision: Precision) -> None:
    z = numbers(row("activations", "x")).astype(precision.dtype)
    f, expected = ACTIVATIONS[name], row("activations", name)
    assert_close(f(z), numbers(expected["y"]), precision.relative, precision.scale)
    assert_close(f.derivative(z), numbers(expected["dy"]), precision.relative, precision.scale)


# -- losses


def loss_and_gradient(loss: Loss, scores: Array, target: Target) -> tuple[float, Array]:
    grad = np.empty_like(scores)
    ws = LossWorkspace.allocate(len(scores), scores.shape[1], scores.dtype)
    return loss.value_and_gradient(scores, target, grad, ws), grad


@each_precision
@pytest.mark.parametrize("name", LOSSES)
def test_loss(name: str, precision: Precision) -> None:
    (loss, target, reduction), expected = LOSSES[name], row("losses", name)
    scores = numbers(expected["in"]).astype(precision.dtype)
    scores = scores.reshape(len(scores), -1)
    if reduction == "mean":
        results = [loss_and_gradient(loss, scores, target)]
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
        optimizer.step(w, g, slots, scratch, optimizer.learning_rate, t)
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
    running = (np.zeros(units, dtype), np.ones(units, dtype))
    ws: NormWorkspace = norm.workspace(rows, units, np.dtype(dtype))
    out, grad, dgamma, dbeta, evaluated = x.copy(), upstream.copy(), gamma.copy(), beta.copy(), x.copy()
    norm.forward(out, gamma, beta, running, ws, scratch, training=True)
    norm.update_running(running, ws, rows)
    norm.backward(grad, gamma, dgamma, dbeta, ws, scratch)
    norm.forward(evaluated, gamma, beta, running, ws, scratch, training=False)
    return {
        "train_out": out,
        "out": out,
        "dx": grad,
        "dgamma": dgamma,
        "dbeta": dbeta,
        "running_mean_after1": running[0],
        "running_var_after1_torch(unbiased,m=.1)": running[1],
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
def test_schedule_up_to_its_horizon(name: str) -> None:
    (schedule, epochs), expected = SCHEDULES[name], numbers(row("schedules", name))
    factors = [schedule.at(epoch, epochs) for epoch in range(len(expected))]
    assert_close(factors[: epochs + 1], expected[: epochs + 1], 1e-12)
    assert set(factors[epochs:]) == {factors[epochs]}, "it stays where it ended; PyTorch's rises again"


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
    INITIALIZERS[name].fill(weight, ReLU(), np.random.default_rng(0))
    assert_close(weight.std(), expected["std"], 0.02)  # five standard errors of the ratio of two such samples
    assert_close(np.abs(weight).max(), expected["max_abs"], 0.001 if "uniform" in name else 0.15)
