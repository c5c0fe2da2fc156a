"""Is every gradient right? A comparison with the slope of the loss itself.

In float64, each entry w is moved by h = 1e-5 max(1, |w|) to both sides, with dropout masks and batch frozen and batch
normalization in training mode, and the central difference n = (L(w + h) - L(w - h)) / 2h is compared with the analytic
derivative a. The cube root of the rounding unit balances the truncation error of order h^2 against rounding, of order
1/h. A tensor passes when |a - n| / (|a| + |n|), in Euclidean norm, is below 1e-7. Where the gradient is so small that
the rounding of L alone explains the difference, the tensor is "zero" or "too small to tell". Entries whose
neighbourhood crosses a corner (a relu at zero, say) are left out and counted. A check in which more than 5 % was left
out, or in which no tensor passed, has shown nothing and does not pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import example_instances
from mlptrain.data.dataset import Dataset
from mlptrain.nn.activations import Activation, Identity, SiLU, Tanh
from mlptrain.nn.arrays import Array, Target
from mlptrain.nn.initializers import GlorotUniform, Initializer
from mlptrain.nn.layout import Layer, Layout
from mlptrain.nn.losses import ClassLoss, Loss, MeanSquaredError, Quantile, Weights
from mlptrain.nn.network import Network
from mlptrain.nn.normalization import BatchNorm, Normalization
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import stream
from mlptrain.spec.plan import Plan
from mlptrain.train.loop import network_for

Verdict = Literal["passed", "failed", "zero", "too small to tell"]

TOLERANCE = 1e-7
STEP = 1e-5
MOST_SKIPPED = 0.05
DIRECTION = "random direction"
ROWS = 32
ENTRIES = 50


@dataclass(frozen=True)
class Entry:
    """One derivative, analytic and numeric."""

    index: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class TensorCheck:
    """The comparison over one tensor."""

    tensor: str
    error: float
    """|a - n| / (|a| + |n|)"""
    verdict: Verdict
    compared: int
    skipped: int
    worst: Entry | None


@dataclass(frozen=True)
class Check:
    """The comparison over one network."""

    family: str
    subject: str
    tensors: tuple[TensorCheck, ...]
    repeatable: bool
    """Whether the backward pass gave the same bits twice."""

    @property
    def worst(self) -> TensorCheck:
        """The tensor that failed, or else the one that passed with the largest error."""
        rank = {"failed": 2, "passed": 1, "zero": 0, "too small to tell": 0}
        return max(self.tensors, key=lambda tensor: (rank[tensor.verdict], tensor.tensor != DIRECTION, tensor.error))

    @property
    def skipped_share(self) -> float:
        """The share of the entries that were left out."""
        skipped = sum(tensor.skipped for tensor in self.tensors)
        return skipped / max(1, skipped + sum(tensor.compared for tensor in self.tensors))

    @property
    def verdict(self) -> str:
        """`passed`, or what is wrong."""
        if not self.repeatable:
            return "the backward pass is not repeatable"
        verdicts = {tensor.verdict for tensor in self.tensors}
        if "failed" in verdicts:
            return "failed"
        if self.skipped_share > MOST_SKIPPED:
            return f"nothing was shown: {self.skipped_share:.0%} of the entries lie at a corner"
        if "passed" not in verdicts:
            return "nothing was shown: every gradient is zero, or too small to tell from rounding"
        return "passed"

    @property
    def passed(self) -> bool:
        """Whether the gradients were shown to be right."""
        return self.verdict == "passed"


class Subject:
    """A network with a batch, at a point where its gradient is to be checked."""

    def __init__(
        self,
        network: Network,
        parameters: Array,
        x: Array,
        target: Target,
        penalty: Penalty,
        seed: int,
        weights: Weights = None,
    ) -> None:
        self.network, self.parameters, self.x, self.target = network, parameters, x, target
        self.penalty, self.weights = penalty, weights
        self.layout = network.layout
        self._views = self.layout.views(parameters)
        self._running = self.layout.running(self.layout.neutral_buffers(np.float64))
        network.forward(x, self._views, self._running, training=True, rng=stream(seed, "dropout"))  # draws the masks

    def objective(self) -> float:
        """Loss and penalty at the point of now, with the masks as they were drawn."""
        scores = self.network.forward(self.x, self._views, self._running, training=True)
        return self.network.loss.value(scores, self.target, self.weights) + self.penalty.value(
            self.parameters[: self.layout.weight_size]
        )

    def gradient(self) -> tuple[Array, Array]:
        """The analytic gradient of the objective by all parameters (size,) and by the inputs (n, inputs)."""
        gradient, by_input = np.empty_like(self.parameters), np.empty_like(self.x)
        self.network.forward(self.x, self._views, self._running, training=True)
        self.network.backward(self.x, self.target, self._views, self.layout.views(gradient), self.weights, by_input)
        weights = slice(0, self.layout.weight_size)
        self.penalty.add_gradient(self.parameters[weights], gradient[weights], np.empty(self.layout.weight_size))
        return gradient, by_input

    def sides(self) -> list[NDArray[np.bool_] | Array]:
        """On which side of each corner the last forward pass lay."""
        workspaces = self.network.workspace(len(self.x)).layers
        found: list[NDArray[np.bool_] | Array] = [
            here.z > kink
            for layer, here in zip(self.layout.layers, workspaces, strict=True)
            for kink in layer.activation.kinks
        ]
        corner = self.network.loss.corner_side(workspaces[-1].output, self.target)
        if corner is not None:
            found.append(corner)
        if self.penalty.l1:
            found.append(np.sign(self.parameters[: self.layout.weight_size]))
        return found


def check(
    family: str,
    name: str,
    subject: Subject,
    rng: np.random.Generator,
    entries: int,
    advance: Callable[[int], None] | None = None,
) -> Check:
    """Compare the gradient of `subject` by every tensor and by its inputs, at most `entries` entries each.

    Where not every entry is compared, a random direction through all parameters is too. `advance` is told how many
    entries are done.
    """
    (gradient, by_input), again = subject.gradient(), subject.gradient()
    repeatable = np.array_equal(gradient, again[0]) and np.array_equal(by_input, again[1])
    named = [
        (tensor.name, tensor.view(subject.parameters), tensor.view(gradient)) for tensor in subject.layout.parameters
    ]
    named.append(("inputs", subject.x, by_input))
    checks = []
    for tensor, values, analytic in named:
        chosen = np.sort(rng.permutation(values.size)[:entries])
        checks.append(check_tensor(subject, tensor, values, analytic, chosen))
        if advance:
            advance(len(chosen))
    if any(values.size > entries for _, values, _ in named):
        checks.append(check_direction(subject, gradient, rng))
    return Check(family, name, tuple(checks), repeatable)


def check_tensor(
    subject: Subject, tensor: str, values: Array, analytic: Array, chosen: NDArray[np.intp]
) -> TensorCheck:
    """Compare the `chosen` entries (numbers in the flattened tensor) of one tensor."""
    flat = values.reshape(-1)
    found: list[Entry] = []
    for place in chosen:
        numeric = slope(subject, flat[place : place + 1], np.ones(1), STEP * max(1.0, abs(flat[place])))
        if numeric is not None:
            index = tuple(int(i) for i in np.unravel_index(place, values.shape))
            found.append(Entry(index, float(analytic[index]), numeric))
    return compare(subject, tensor, found, len(chosen) - len(found))


def check_direction(subject: Subject, gradient: Array, rng: np.random.Generator) -> TensorCheck:
    """Compare the slope along one random direction through all parameters."""
    direction = rng.standard_normal(subject.parameters.size)
    direction /= np.linalg.norm(direction)
    numeric = slope(subject, subject.parameters, direction, STEP * max(1.0, float(np.abs(subject.parameters).max())))
    found = [] if numeric is None else [Entry((), float(gradient @ direction), numeric)]
    return compare(subject, DIRECTION, found, 1 - len(found))


def slope(subject: Subject, values: Array, direction: Array, h: float) -> float | None:
    """The central difference of the objective along `direction` in `values`; None where a corner lies between."""
    here = values.copy()
    values += h * direction
    above, sides_above = subject.objective(), subject.sides()
    values[...] = here - h * direction
    below, sides_below = subject.objective(), subject.sides()
    values[...] = here
    if not all(np.array_equal(one, other) for one, other in zip(sides_above, sides_below, strict=True)):
        return None
    return (above - below) / (2 * h)


def compare(subject: Subject, tensor: str, found: Sequence[Entry], skipped: int) -> TensorCheck:
    """The verdict over some entries of one tensor."""
    if not found:
        return TensorCheck(tensor, 0.0, "zero", 0, skipped, None)
    a, n = np.array([entry.analytic for entry in found]), np.array([entry.numeric for entry in found])
    size, distance = float(np.linalg.norm(a) + np.linalg.norm(n)), float(np.linalg.norm(a - n))
    rounding = 4 * np.finfo(float).eps * abs(subject.objective()) / STEP * np.sqrt(len(found))
    error = distance / size if size else 0.0
    verdict: Verdict = "passed"
    if size <= 2 * rounding:
        verdict = "zero"
    elif not error <= TOLERANCE:
        verdict = "too small to tell" if distance <= rounding else "failed"
    return TensorCheck(tensor, error, verdict, len(found), skipped, found[int(np.abs(a - n).argmax())])


@dataclass(frozen=True)
class Case:
    """A small network of the catalogue."""

    family: str
    name: str
    layers: Sequence[Layer]
    loss: Loss = field(default_factory=MeanSquaredError)
    penalty: Penalty = field(default_factory=Penalty)
    initializer: Initializer = field(default_factory=GlorotUniform)
    weighted: bool = False

    def subject(self, seed: int, rows: int = 7) -> Subject:
        """The network at a random point, with random inputs, and targets that suit the loss."""
        rng = stream(seed, "gradcheck")
        network = Network(Layout(self.layers), self.loss, np.float64)
        x = rng.standard_normal((rows, self.layers[0].inputs))
        parameters = start_point(network.layout, self.initializer, rng)
        target = random_target(self.loss, rows, self.layers[-1].units, rng)
        weights = rng.uniform(0.5, 2.0, rows) if self.weighted else None
        return Subject(network, parameters, x, target, self.penalty, seed, weights)


def start_point(layout: Layout, initializer: Initializer, rng: np.random.Generator) -> Array:
    """What `initializer` gives, with all but the weights moved away from zero, where a rectifier has its corner."""
    parameters, buffers = layout.neutral_parameters(np.float64), layout.neutral_buffers(np.float64)
    initializer.start(layout, parameters, buffers, rng)
    parameters[layout.weight_size :] += 0.1 * rng.standard_normal(layout.parameter_size - layout.weight_size)
    return parameters


def random_target(loss: Loss, rows: int, outputs: int, rng: np.random.Generator) -> Target:
    """Targets of the kind that `loss` compares with; positive ones suit every loss on values."""
    if loss.target_kind == "class":
        return rng.integers(0, outputs, rows)
    if loss.target_kind == "binary":
        return rng.random((rows, outputs))
    return np.abs(rng.standard_normal((rows, 1 if isinstance(loss, Quantile) else outputs)))


def stack(
    *widths: int, activation: Activation, normalization: Normalization | None = None, dropout: float = 0.0
) -> list[Layer]:
    """Hidden layers of one kind and a linear output layer, for the sizes from input to output."""
    pairs = list(itertools.pairwise(widths))
    hidden = [Layer(inputs, units, activation, normalization, dropout) for inputs, units in pairs[:-1]]
    return [*hidden, Layer(*pairs[-1], Identity())]


def catalogue(seed: int = 0) -> Iterator[Check]:
    """Check every variant of every family, with each of its examples, in a small network."""
    for case in cases():
        yield check(case.family, case.name, case.subject(seed), stream(seed, "gradcheck", 1), entries=10**9)


def cases() -> Iterator[Case]:
    """The networks of the catalogue."""
    plain = stack(4, 5, 6, 3, activation=Tanh())
    for activation in example_instances(Activation):
        yield Case("activation", activation.label(), stack(4, 5, 6, 3, activation=activation))
        yield Case("output activation", activation.label(), [*plain[:-1], Layer(6, 3, activation)])
    for loss in example_instances(Loss):
        layers = stack(4, 5, 6, loss.outputs(3), activation=Tanh())
        yield Case("loss", loss.label(), layers, loss)
        yield Case("loss, weighted rows", loss.label(), layers, loss, weighted=True)
        if isinstance(loss, ClassLoss):
            yield Case("loss, weighted classes", loss.label(), layers, loss.with_class_weights((1.0, 2.0, 0.5)))
    for initializer in example_instances(Initializer):
        yield Case("initializer", initializer.label(), plain, initializer=initializer)
    for normalization in example_instances(Normalization):
        layers = stack(4, 5, 6, 3, activation=Tanh(), normalization=normalization)
        yield Case("normalization", normalization.label(), layers)
    yield Case("dropout", "p=0.3", stack(4, 5, 6, 3, activation=Tanh(), dropout=0.3))
    for penalty in (Penalty(l1=0.01), Penalty(l2=0.01), Penalty(l1=0.01, l2=0.01)):
        yield Case("penalty", f"l1={penalty.l1}, l2={penalty.l2}", plain, penalty=penalty)
    for widths in ((4, 3), (4, 5, 1), (1, 2, 2, 2, 2, 2, 3)):
        yield Case("architecture", "-".join(map(str, widths)), stack(*widths, activation=Tanh()))
    for name, norm in (("plain", None), ("batch", BatchNorm())):
        layers = stack(4, 5, 6, 3, activation=Tanh())
        layers.insert(1, Layer(5, 5, SiLU(), norm, dropout=0.3, residual=True))
        yield Case("residual", name, layers)


def check_plan(plan: Plan, dataset: Dataset, advance: Callable[[int], None] | None = None) -> Check:
    """Check exactly the network of `plan`, where it starts, on the first rows of its training data.

    `dataset` is in float64. Large tensors are sampled.
    """
    rng = stream(plan.seed, "gradcheck")
    network = network_for(plan)
    part = dataset.training
    rows = part.rows[rng.permutation(len(part))[:ROWS]]
    x = np.empty((len(rows), part.features.width))
    part.features.gather(rows, x, part.features.byte_buffer(len(rows)))
    parameters = start_point(network.layout, plan.network.initializer, rng)
    weights = None if part.all_weights is None else part.all_weights[rows]
    subject = Subject(network, parameters, x, part.targets[rows], plan.penalty, plan.seed, weights)
    return check("experiment", plan.name, subject, rng, ENTRIES, advance)


def entries_to_check(plan: Plan, dataset: Dataset) -> int:
    """How many entries `check_plan` goes through, for a progress bar."""
    layout = network_for(plan).layout
    sizes = [tensor.stop - tensor.start for tensor in layout.parameters]
    return sum(
        min(size, ENTRIES) for size in (*sizes, min(ROWS, len(dataset.training)) * dataset.training.features.width)
    )
