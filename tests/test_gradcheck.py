"""Are the gradients right, and would the check say so if they were not?

A mutant is one line of a backward pass with one mistake in it, of a kind that people make. Each is put in place of the
real function, and the check of the component that uses it must fail and name the tensor. When a line that is mutated
here is rewritten, its mutant says that it can no longer be made.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from cli import Cli, Outcome
from helpers import Architecture, label, stack
from mlptrain.component import Component, example_instances
from mlptrain.gradcheck import (
    ENTRIES,
    MOST_SKIPPED,
    TOLERANCE,
    Case,
    Check,
    Entry,
    Subject,
    TensorCheck,
    cases,
    catalogue,
    check,
    check_plan,
    entries_to_check,
)
from mlptrain.nn import kernels, normalization
from mlptrain.nn.activations import GELU, Activation, Identity, LeakyReLU, ReLU, Sigmoid, SiLU, Tanh
from mlptrain.nn.initializers import Initializer
from mlptrain.nn.layers import Dense
from mlptrain.nn.losses import (
    BinaryCrossEntropy,
    ElementwiseLoss,
    Focal,
    Loss,
    LossValue,
    MeanAbsoluteError,
    MeanSquaredError,
)
from mlptrain.nn.network import Network
from mlptrain.nn.normalization import BatchNorm, LayerNorm, Normalization
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import stream
from mlptrain.spec.load import load_experiment
from mlptrain.spec.plan import Plan, prepare

Patch = pytest.MonkeyPatch
FORMS = ("", ", members")
"""What a family of the catalogue is called for one network and for several side by side."""


# -- the real thing


@pytest.fixture(scope="module")
def checks() -> list[Check]:
    return list(catalogue())


def test_the_catalogue_passes_with_every_error_below_1e_7(checks: list[Check]) -> None:
    assert TOLERANCE == 1e-7
    assert [f"{c.family} {c.subject}: {c.verdict}" for c in checks if not c.passed] == []
    passed = [tensor for c in checks for tensor in c.tensors if tensor.verdict == "passed"]
    assert max(tensor.error for tensor in passed) < 1e-7
    assert sum(tensor.compared for tensor in passed) > 3000


def test_only_tensors_without_a_gradient_are_not_compared(checks: list[Check]) -> None:
    """Batch normalization takes the bias before it out again; weights of zero pass nothing on to what is below."""
    silent = {
        (c.family, c.subject.partition("(")[0], tensor.tensor)
        for c in checks
        for tensor in c.tensors
        if tensor.verdict != "passed"
    }
    below = ("layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "inputs")
    assert silent == {
        *((f"normalization{form}", "batch", f"layers.{i}.bias") for i in (0, 1) for form in FORMS),
        *((f"residual{form}", "batch", "layers.1.bias") for form in FORMS),
        *((f"layer{form}", "dense", "layers.1.bias") for form in FORMS),
        *(("initializer", "zeros", tensor) for tensor in below),
    }


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (Activation, "activation"),
        (Activation, "output activation"),
        (Loss, "loss"),
        (Initializer, "initializer"),
        (Normalization, "normalization"),
    ],
    ids=label,
)
def test_the_catalogue_is_complete(checks: list[Check], family: type[Component], name: str) -> None:
    assert [c.subject for c in checks if c.family == name] == [i.label() for i in example_instances(family)]


def test_every_tensor_and_the_inputs_are_compared_entry_by_entry() -> None:
    architecture = stack(3, 4, 2, activation=Tanh(), normalization=LayerNorm())
    subject = Case("", "", architecture.layers, inputs=architecture.inputs).subject(seed=0)
    found = {tensor.tensor: tensor.compared for tensor in run(subject).tensors}
    assert found == {t.name: t.stop - t.start for t in subject.layout.parameters} | {"inputs": subject.x.size}


@pytest.mark.parametrize("seed", range(1, 4))
def test_the_catalogue_passes_at_other_points(seed: int) -> None:
    assert [f"{c.family} {c.subject}: {c.verdict}" for c in catalogue(seed) if not c.passed] == []


# -- mutants


class Mistake(NamedTuple):
    """In one function, the text `right` becomes `wrong`; `tensor` is one of those whose gradient no longer fits."""

    name: str
    right: str
    wrong: str
    tensor: str


class Mutant(NamedTuple):
    """A mistake in `owner.method`, to be caught by the check of `subject`: its family and name in the catalogue."""

    mistake: Mistake
    owner: type | ModuleType
    method: str
    subject: tuple[str, str]


def mutants(
    owner: type | ModuleType, method: str, subject: tuple[str, str], *mistakes: tuple[str, str, str, str]
) -> list[Mutant]:
    return [Mutant(Mistake(*mistake), owner, method, subject) for mistake in mistakes]


PLAIN, DROPOUT = ("activation", "tanh"), ("dropout", "p=0.3")
BATCH, LAYER = ("normalization", "batch"), ("normalization", "layer")
SMOOTHED = ("loss", "cross_entropy(label_smoothing=0.1)")
WEIGHT, BIAS, GAMMA, BETA = (f"layers.0.{role}" for role in ("weight", "bias", "norm.gamma", "norm.beta"))

LINEAR = ("architecture", "linear path")
MUTANTS = [
    *mutants(
        *(Network, "backward", LINEAR),
        (
            "path with the wrong sign",
            "weight_gradient(x, last.grad",
            "weight_gradient(x, -last.grad",
            "layers.3.linear",
        ),
        ("path forgotten in dx", "np.add(input_grad, through_linear, out=input_grad)", "pass", "inputs"),
    ),
    *mutants(
        *(Network, "backward", PLAIN),
        ("dW from z instead of a", "backward(below,", "backward(ws.layers[i - 1].z if i else x,", "layers.1.weight"),
    ),
    *mutants(
        *(kernels, "affine_gradients", PLAIN),
        ("sign of dW", "x.T.dot(grad", "x.T.dot(-grad", WEIGHT),
        ("db is a mean", "ones.dot(grad", "ones.dot(grad / len(x)", BIAS),
        ("db without the last row", "ones.dot(grad", "ones[1:].dot(grad[:-1]", BIAS),
        ("over the wrong axis", "ones.dot(grad", "np.ones(grad.shape[1]).dot(grad[: grad.shape[1]]", BIAS),
    ),
    *mutants(
        *(kernels, "weight_gradient", ("normalization, members", "layer")),
        ("members mixed up", "np.matmul(x.mT, grad", "np.matmul(x.mT[::-1], grad", WEIGHT),
    ),
    *mutants(
        *(Dense, "backward", PLAIN),
        ("W not transposed", 'tensors["weight"].mT', 'tensors["weight"].reshape(tensors["weight"].mT.shape)', WEIGHT),
        ("dx twice", 'product(grad, tensors["weight"]', 'product(2 * grad, tensors["weight"]', "inputs"),
        ("activation forgotten", "ws.activation.backward(ws.z, ws.a, grad, ws.scratch)", "pass", WEIGHT),
    ),
    *mutants(
        *(kernels, "sum_rows", ("normalization, members", "layer")),
        ("members mixed up", "ones[None, :], values", "ones[None, :], values[::-1]", BIAS),
    ),
    *mutants(
        *(kernels, "product", ("normalization, members", "layer")),
        ("members mixed up", "np.matmul(x, w", "np.matmul(x[::-1], w", WEIGHT),
    ),
    *mutants(
        *(Dense, "backward", DROPOUT),
        ("mask forgotten", "np.multiply(grad, ws.mask, out=grad)", "pass", WEIGHT),
        ("stale mask", "(grad, ws.mask,", "(grad, ws.mask[::-1],", WEIGHT),
        ("mask not scaled", "(grad, ws.mask,", "(grad, ws.mask > 0,", WEIGHT),
    ),
    *mutants(
        *(Dense, "backward", ("residual", "plain")),
        ("way past the layer forgotten", "np.add(x_grad, ws.skip, out=x_grad)", "pass", WEIGHT),
    ),
    *mutants(
        *(Tanh, "backward", PLAIN),
        ("derivative of sigmoid", "np.multiply(a, a, out=scratch)", "scratch[...] = 1 - a * (1 - a)", WEIGHT),
        ("derivative from z", "(a, a,", "(z, z,", WEIGHT),
    ),
    *mutants(
        *(Sigmoid, "backward", ("activation", "sigmoid")),
        ("factor 1 - s missing", "np.subtract(1, a, out=scratch)", "scratch[...] = 1", WEIGHT),
    ),
    *mutants(
        *(kernels, "gate_gradient", ("activation", "relu")),
        ("always on", "np.greater(z, low, out=scratch)", "scratch[...] = 1", WEIGHT),
        ("by the sign of the gradient", "(z, low, out", "(grad, low, out", WEIGHT),
    ),
    *mutants(
        *(kernels, "_set_factors", ("activation", "leaky_relu")),
        ("derivative of relu", "clip(gate, outside, inside, out=gate)", "pass", WEIGHT),
    ),
    *mutants(
        *(LeakyReLU, "forward", ("activation", "leaky_relu(slope=0.3)")),
        ("forward with another slope", "(z, self.slope,", "(z, 0.01,", WEIGHT),
    ),
    *mutants(
        *(SiLU, "forward", ("activation", "silu")),
        ("forward of sigmoid", "np.multiply(out, z, out=out)", "pass", WEIGHT),
    ),
    *mutants(
        *(GELU, "backward", ("activation", "gelu")),
        ("derivative of the other variant", '== "tanh"', '!= "tanh"', WEIGHT),
    ),
    *mutants(
        *(MeanSquaredError, "terms", ("loss", "mse")),
        ("factor K", "(grad, 2,", "(grad, 2 * grad.shape[1],", WEIGHT),
        ("one half", "(grad, 2,", "(grad, 1,", WEIGHT),
        ("n/(n-1)", "(grad, 2,", "(grad, 2 * len(grad) / (len(grad) - 1),", WEIGHT),
    ),
    *mutants(
        *(MeanAbsoluteError, "terms", ("loss", "mae")),
        ("value of mse", "np.abs(grad,", "np.square(grad,", WEIGHT),
    ),
    *mutants(
        *(ElementwiseLoss, "value_and_gradient", ("loss", "mae")),
        ("not divided by n", "np.multiply(grad, 1 / count, out=grad)", "pass", WEIGHT),
    ),
    *mutants(
        *(ElementwiseLoss, "value_and_gradient", ("loss, weighted rows", "mse")),
        ("weights of the rows forgotten", "np.multiply(grad, weights[..., None], out=grad)", "pass", WEIGHT),
    ),
    *mutants(
        *(BinaryCrossEntropy, "terms", ("loss", "binary_cross_entropy")),
        ("sign", "np.subtract(grad, y, out=grad)", "np.subtract(y, grad, out=grad)", WEIGHT),
    ),
    *mutants(
        *(kernels, "log_softmax", ("loss", "cross_entropy")),
        ("sum without the first class", "(p, axis=-1,", "(p[:, 1:], axis=-1,", WEIGHT),
    ),
    *mutants(
        *(kernels, "softmax_cross_entropy", ("loss", "cross_entropy")),
        ("p not divided by n", "(mass, ws.row_sum,", "(1, ws.row_sum,", WEIGHT),
        ("p divided by n K", "(mass, ws.row_sum,", "(mass / grad.shape[1], ws.row_sum,", WEIGHT),
    ),
    *mutants(
        *(kernels, "softmax_cross_entropy", SMOOTHED),
        ("smoothing not in the gradient", "(p, q, out=grad)", "(p, (q == q.max()) / len(q), out=grad)", WEIGHT),
    ),
    *mutants(
        *(kernels, "softmax_cross_entropy", ("loss, weighted classes", "cross_entropy")),
        ("p not weighted", "(mass, ws.row_sum,", "(1 / len(q), ws.row_sum,", WEIGHT),
    ),
    *mutants(
        *(Focal, "value_and_gradient", ("loss", "focal")),
        ("sign of p", "np.negative(p, out=grad)", "np.copyto(grad, p)", WEIGHT),
    ),
    *mutants(
        *(BatchNorm, "backward", BATCH),
        ("mean term missing", "np.subtract(grad, ws.other, out=grad)", "pass", WEIGHT),
        ("x_hat term missing", "np.subtract(grad, ws.scratch, out=grad)", "pass", WEIGHT),
        ("n/(n-1)", "n = grad.shape[-2]", "n = grad.shape[-2] - 1", WEIGHT),
        ("gamma forgotten", "(tensors[GAMMA], ws.inverse_std,", "(1, ws.inverse_std,", WEIGHT),
    ),
    *mutants(
        *(normalization, "sum_gradients", BATCH),
        ("dgamma without x_hat", "np.multiply(grad, ws.x_hat, out=ws.scratch)", "np.copyto(ws.scratch, grad)", GAMMA),
        ("dbeta is a mean", "(grad, ws.ones,", "(grad / len(grad), ws.ones,", BETA),
    ),
    *mutants(
        *(LayerNorm, "backward", LAYER),
        ("mean term missing", "np.subtract(grad, ws.mean, out=grad)", "pass", WEIGHT),
        ("x_hat term missing", "np.subtract(grad, ws.scratch, out=grad)", "pass", WEIGHT),
        ("gamma forgotten", "np.multiply(grad, tensors[GAMMA], out=grad)", "pass", WEIGHT),
    ),
    *mutants(
        *(LayerNorm, "forward", LAYER),
        (
            "variance over all rows",
            "invert_std(ws.variance,",
            "invert_std(0 * ws.variance + ws.scratch.mean(),",
            WEIGHT,
        ),
        ("n/(n-1)", "invert_std(ws.variance,", "invert_std(ws.variance * 6 / 5,", WEIGHT),
    ),
    *mutants(
        *(Penalty, "add_gradient", ("penalty", "l1=0.01, l2=0.01")),
        ("penalty forgotten", "range(0, weights.size, scratch.size)", "()", WEIGHT),
        ("l2 with one half", "2 * self.l2", "self.l2", WEIGHT),
        ("l1 without sign", "np.less(w, 0, out=term)", "term[...] = 0", WEIGHT),
        ("l1 forgotten", "if self.l1:", "if False:", WEIGHT),
    ),
]


def mutated(owner: type | ModuleType, method: str, right: str, wrong: str) -> Callable[..., Any]:
    """`owner.method` with one change in its text."""
    function = getattr(owner, method)
    source = "from __future__ import annotations\n" + textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{owner.__name__}.{method} must hold {right!r} once; adapt the mutant"
    scope = dict(function.__globals__)
    exec(source.replace(right, wrong), scope)
    mutant: Callable[..., Any] = scope[method]
    return mutant


def checked(family: str, name: str) -> Check:
    """The check of one subject of the catalogue."""
    case = next(case for case in cases() if (case.family, case.name) == (family, name))
    return check(family, name, case.subject(0), stream(0, "gradcheck", 1), 10**9)


def failed_tensors(found: Check) -> list[str]:
    return [tensor.tensor for tensor in found.tensors if tensor.verdict == "failed"]


def mutant_id(mutant: Mutant) -> str:
    return f"{mutant.owner.__name__}-{mutant.mistake.name}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=mutant_id)
def test_mutant_is_caught(mutant: Mutant, monkeypatch: Patch) -> None:
    mistake = mutant.mistake
    wrong = mutated(mutant.owner, mutant.method, mistake.right, mistake.wrong)
    monkeypatch.setattr(mutant.owner, mutant.method, wrong)
    found = checked(*mutant.subject)
    assert found.verdict == "failed"
    assert mistake.tensor in failed_tensors(found)
    assert found.worst.tensor in failed_tensors(found)
    assert found.worst.worst is not None
    assert found.worst.error > 1e3 * TOLERANCE


def test_there_are_enough_mutants_of_enough_functions() -> None:
    assert len(MUTANTS) >= 40
    assert len({(mutant.owner, mutant.method) for mutant in MUTANTS}) >= 14


def test_a_mutant_fails_where_it_is_and_nowhere_else(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Sigmoid, "backward", mutated(Sigmoid, "backward", "(1, a,", "(1.001, a,"))
    failed = [(found.family, found.subject) for found in catalogue() if not found.passed]
    assert failed == [("activation", "sigmoid"), ("output activation", "sigmoid")]


def test_the_worst_entry_is_named(monkeypatch: Patch) -> None:
    original = Network.backward

    def one_wrong_entry(self: Network, x: Any, target: Any, views: Any, gradients: Any, *rest: Any) -> LossValue:
        loss = original(self, x, target, views, gradients, *rest)
        gradients[1]["weight"][3, 2] *= -1
        return loss

    monkeypatch.setattr(Network, "backward", one_wrong_entry)
    worst = checked(*PLAIN).worst
    assert worst.tensor == "layers.1.weight"
    assert worst.worst is not None
    assert worst.worst.index == (3, 2)
    assert worst.worst.analytic == pytest.approx(-worst.worst.numeric)


def test_a_backward_pass_that_differs_from_call_to_call_is_caught(monkeypatch: Patch) -> None:
    calls: list[int] = []
    original = Network.backward

    def accumulates(self: Network, x: Any, target: Any, views: Any, gradients: Any, *rest: Any) -> LossValue:
        loss = original(self, x, target, views, gradients, *rest)
        calls.append(1)
        gradients[0]["bias"][0] += 1e-12 * len(calls)  # far below the tolerance
        return loss

    monkeypatch.setattr(Network, "backward", accumulates)
    assert checked(*PLAIN).verdict == "the backward pass is not repeatable"


def test_the_worst_is_a_tensor_where_one_failed() -> None:
    tensors = (
        TensorCheck(WEIGHT, 0.5, "failed", 50, 0, Entry((0, 1), 1.0, 0.5)),
        TensorCheck("random direction", 0.9, "failed", 1, 0, Entry((), 1.0, 0.1)),
    )
    assert Check("experiment", "test", tensors, repeatable=True).worst.tensor == WEIGHT


# -- a check that showed nothing does not pass


def subject_of(architecture: Architecture, loss: Loss, parameters: float, inputs: float, target: Any) -> Subject:
    """A network whose parameters are all alike, on rows that are all alike."""
    network = Network(architecture.layers, architecture.inputs, loss, np.float64)
    x = np.full((len(target), network.inputs), inputs)
    return Subject(network, np.full(network.layout.parameter_size, parameters), x, target, Penalty(), 0)


def run(subject: Subject, entries: int = 10**9) -> Check:
    return check("test", "subject", subject, np.random.default_rng(0), entries)


def test_a_network_of_zeros_at_its_target_shows_nothing() -> None:
    found = run(subject_of(stack(3, 4, 2, activation=Tanh()), MeanSquaredError(), 0.0, 1.0, np.zeros((5, 2))))
    assert not found.passed
    assert found.verdict == "inconclusive: every gradient is zero, or too small to distinguish from rounding"
    assert {tensor.verdict for tensor in found.tensors} == {"zero"}


def test_entries_that_all_lie_at_a_corner_show_nothing() -> None:
    """Every score is 3 * 0.5 + 0.5 = 2, which is the target: whatever moves, moves across the corner of the loss."""
    found = run(subject_of(stack(3, 2, activation=Identity()), MeanAbsoluteError(), 0.5, 1.0, np.full((5, 2), 2.0)))
    assert not found.passed
    assert found.skipped_share == 1
    assert found.verdict == "inconclusive: 100% of the entries are at a kink"


def test_rectifiers_at_zero_show_nothing() -> None:
    found = run(subject_of(stack(3, 4, 2, activation=ReLU()), MeanSquaredError(), 0.0, 1.0, np.ones((5, 2))))
    skipped = {tensor.tensor: tensor.skipped for tensor in found.tensors}
    assert skipped["layers.0.weight"] == 12
    assert skipped["layers.0.bias"] == 4
    assert found.verdict.startswith("inconclusive")


def test_a_few_entries_at_a_corner_are_counted_and_left_out() -> None:
    """One unit of one row is exactly at the corner of its relu; everything that moves it is left out."""
    layers = stack(3, 8, 2, activation=ReLU()).layers
    rng = np.random.default_rng(1)
    network = Network(layers, 3, MeanSquaredError(), np.float64)
    parameters, x = rng.standard_normal(network.layout.parameter_size), rng.standard_normal((40, 3))
    views = network.layout.views(parameters)[0]
    x[7] = (1.0, 0.0, 0.0)
    views["bias"][5] = -views["weight"][0, 5]
    found = run(Subject(network, parameters, x, rng.standard_normal((40, 2)), Penalty(), 0))
    skipped = {tensor.tensor: tensor.skipped for tensor in found.tensors if tensor.skipped}
    assert skipped == {"layers.0.weight": 1, "layers.0.bias": 1, "inputs": 3}
    assert 0 < found.skipped_share < MOST_SKIPPED
    assert found.passed


def test_a_gradient_that_is_not_a_number_fails() -> None:
    with np.errstate(invalid="ignore"):
        found = run(subject_of(stack(2, 3, 1, activation=Tanh()), MeanSquaredError(), np.nan, 1.0, np.zeros((4, 1))))
    assert found.verdict in ("failed", "the backward pass is not repeatable")


# -- the command line

SPEC = """
data: {path: classes.csv, target: answer, split: {validation: 0.1, test: 0.1}}
network: {hidden: [6, 5], activation: tanh, dropout: 0.2, normalization: layer}
penalty: {l1: 0.001, l2: 0.01}
"""
usually = pytest.mark.usefixtures("classes")


def broken_tanh(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Tanh, "backward", mutated(Tanh, "backward", "(a, a,", "(z, z,"))


def demand_failure(outcome: Outcome, *fragments: str) -> None:
    assert outcome.code == 6
    assert "Traceback" not in outcome.err
    for fragment in fragments:
        assert fragment in outcome.err


def test_command_without_a_config_checks_the_catalogue(cli: Cli) -> None:
    outcome = cli("gradcheck").succeeded()
    assert "passed: worst of" in outcome.out
    assert "(bound 1e-07)" in " ".join(outcome.out.split())
    for instance in example_instances(Activation):
        assert instance.label()[:20] in outcome.out


def test_command_as_json(cli: Cli, checks: list[Check]) -> None:
    document = cli("gradcheck", "--json").succeeded().json()
    assert document["passed"] is True
    assert [(c["family"], c["component"]) for c in document["checks"]] == [(c.family, c.subject) for c in checks]
    assert document["worst"]["error"] == max(c["error"] for c in document["checks"]) < 1e-7
    tensors = document["checks"][0]["tensors"]
    assert [t["tensor"] for t in tensors] == [t.tensor for t in checks[0].tensors]
    assert {t["verdict"] for t in tensors} == {"passed"}


def test_command_with_a_broken_component_exits_6_and_names_it(cli: Cli, monkeypatch: Patch) -> None:
    broken_tanh(monkeypatch)
    outcome = cli("gradcheck")
    demand_failure(outcome, "activation tanh: failed: relative error", "layers.", "analytic", "numeric")
    assert "FAILED: worst of" in outcome.out
    assert "activation relu" not in outcome.err.replace("output activation relu", "")


def test_command_with_a_broken_component_as_json(cli: Cli, monkeypatch: Patch) -> None:
    broken_tanh(monkeypatch)
    outcome = cli("gradcheck", "--json")
    demand_failure(outcome)
    document = outcome.json()
    assert document["passed"] is False
    assert document["worst"]["passed"] is False
    assert document["worst"]["worst_entry"]["analytic"] != document["worst"]["worst_entry"]["numeric"]
    assert {"sigmoid", "relu"} <= {c["component"] for c in document["checks"] if c["passed"]}


@usually
def test_command_on_a_config_checks_that_network_on_its_own_data(cli: Cli, spec: Callable[[str], Path]) -> None:
    document = cli("gradcheck", spec(SPEC), "--json").succeeded().json()
    (found,) = document["checks"]
    assert found["family"] == "experiment"
    assert [t["tensor"] for t in found["tensors"]] == [
        *(f"layers.{i}.weight" for i in range(3)),
        *(f"layers.{i}.{role}" for i in range(2) for role in ("bias", "norm.gamma", "norm.beta")),
        "layers.2.bias",
        "inputs",
        "random direction",
    ]


@usually
@pytest.mark.parametrize(
    "change",
    [
        "network.normalization=batch",
        "network.activation=silu",
        "network.activation=relu",
        "network.hidden=[]",
        "network.hidden=[40, 30]",
        "loss={kind: cross_entropy, label_smoothing: 0.1}",
        "loss=binary_cross_entropy",
        "penalty={l1: 0, l2: 0}",
        "seed=3",
    ],
)
def test_command_on_a_changed_config(cli: Cli, spec: Callable[[str], Path], change: str) -> None:
    outcome = cli("gradcheck", spec(SPEC), "--set", change).succeeded()
    assert "passed: worst of 1" in outcome.out


@usually
def test_command_on_a_config_with_a_broken_network(cli: Cli, spec: Callable[[str], Path], monkeypatch: Patch) -> None:
    broken_tanh(monkeypatch)
    path = spec(SPEC)
    outcome = cli("gradcheck", path)
    demand_failure(outcome, "experiment spec: failed", "analytic", "numeric")
    assert len([line for line in outcome.out.splitlines() if "layers.0" in line and "failed" in line]) == 4
    cli("gradcheck", path, "--set", "network.activation=sigmoid").succeeded()


@usually
def test_command_refuses_a_config_with_a_mistake(cli: Cli, spec: Callable[[str], Path]) -> None:
    cli("gradcheck", spec(SPEC), "--set", "network.activation=tan").refused(2, "network.activation", "'tanh'")


# -- an experiment's own network


def plan_at(path: Path) -> tuple[Plan, Any]:
    return prepare(load_experiment(path), "test", dtype="float64")


@usually
def test_large_tensors_are_sampled_and_progress_is_told(spec: Callable[[str], Path]) -> None:
    plan, dataset = plan_at(spec(SPEC.replace("[6, 5]", "[60, 50]")))
    done: list[int] = []
    found = check_plan(plan, dataset, done.append)
    assert found.passed
    assert max(tensor.compared + tensor.skipped for tensor in found.tensors) == ENTRIES
    assert sum(done) == entries_to_check(plan, dataset)
    assert found.tensors[-1].tensor == "random direction"


@usually
def test_a_mistake_between_the_samples_shows_in_a_random_direction(
    spec: Callable[[str], Path], monkeypatch: Patch
) -> None:
    plan, dataset = plan_at(spec(SPEC.replace("[6, 5]", "[60, 50]")))
    original = Network.backward

    def one_wrong_entry(self: Network, x: Any, target: Any, views: Any, gradients: Any, *rest: Any) -> LossValue:
        loss = original(self, x, target, views, gradients, *rest)
        gradients[1]["weight"][17, 3] += 0.01  # one of 3000 entries, 50 of which are looked at
        return loss

    monkeypatch.setattr(Network, "backward", one_wrong_entry)
    found = check_plan(plan, dataset)
    assert failed_tensors(found) == ["random direction"]
    assert not found.passed
