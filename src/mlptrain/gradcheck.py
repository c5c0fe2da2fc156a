"""Is every gradient right? A comparison with central differences of the loss.

In float64, with fixed dropout masks and batch and with batch normalization in training mode, the central difference
n = (L(w + h) - L(w - h)) / 2h of each entry w, with h = 1e-5 max(1, |w|), is compared with the analytic derivative a.
The factor 1e-5, about the cube root of the rounding unit, balances the truncation error of order h^2 against the
rounding error of order 1/h. A tensor passes if |a - n| / (|a| + |n|), in Euclidean norm, is below 1e-7. If the gradient
is so small that the rounding of L alone explains the difference, the tensor is "zero" or "too small to tell". Entries
whose neighbourhood contains a kink (a relu at zero, for example) are skipped and counted. A check that skipped more
than 5 %, or in which no tensor passed, is inconclusive and does not pass. The catalogue also checks several members
side by side, where the arrays have an additional axis. The compiled loops, which work in float32, are compared with
their NumPy form, bit for bit; a loop that leaves the work to NumPy does not pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mlptrain.component import example_instances
from mlptrain.dataset import Dataset
from mlptrain.nn import kernels
from mlptrain.nn.activations import Activation, Identity, SiLU, Tanh
from mlptrain.nn.arrays import Array, Indices, Target, Weights
from mlptrain.nn.initializers import GlorotUniform, Initializer
from mlptrain.nn.layers import Dense, Layer
from mlptrain.nn.layout import Layout
from mlptrain.nn.losses import ClassWeights, Loss, MeanSquaredError
from mlptrain.nn.network import Network
from mlptrain.nn.normalization import BatchNorm, Normalization
from mlptrain.optim.penalties import Penalty
from mlptrain.randomness import stream
from mlptrain.spec.plan import Plan
from mlptrain.training.loop import network_for

Verdict = Literal["passed", "failed", "zero", "too small to tell", "not compared"]

TOLERANCE = 1e-7
STEP = 1e-5
MOST_SKIPPED = 0.05
DIRECTION = "random direction"
ROWS = 32
ENTRIES = 50
MEMBERS = 2
KERNEL_ROWS = 37


@dataclass(frozen=True)
class Entry:
    """One derivative, analytic and numerical."""

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
        rank = {"failed": 2, "not compared": 1, "passed": 1, "zero": 0, "too small to tell": 0}
        return max(self.tensors, key=lambda tensor: (rank[tensor.verdict], tensor.tensor != DIRECTION, tensor.error))

    @property
    def skipped_share(self) -> float:
        """The fraction of the entries that were skipped."""
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
        if "not compared" in verdicts:
            return "not compared: the compiled loop left the work to NumPy"
        if self.skipped_share > MOST_SKIPPED:
            return f"inconclusive: {self.skipped_share:.0%} of the entries are at a kink"
        if "passed" not in verdicts:
            return "inconclusive: every gradient is zero, or too small to distinguish from rounding"
        return "passed"

    @property
    def passed(self) -> bool:
        """Whether the gradients were shown to be right."""
        return self.verdict == "passed"


class Subject:
    """A network with a batch and parameters at which its gradient is checked."""

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
        """Loss and penalty at the current point, with the same masks; summed over the members."""
        scores = self.network.forward(self.x, self._views, self._running, training=True)
        network = self.network
        values = network.loss.value(scores, self.target, self.weights, network.class_weights)
        return float(np.sum(values)) + self.penalty.value(self.parameters[: self.layout.weight_size])

    def gradient(self) -> tuple[Array, Array]:
        """The analytic gradient with respect to all parameters (size,) and to the inputs (..., n, inputs)."""
        gradient, by_input = np.empty_like(self.parameters), np.empty_like(self.x)
        self.network.forward(self.x, self._views, self._running, training=True)
        self.network.backward(self.x, self.target, self._views, self.layout.views(gradient), self.weights, by_input)
        size = self.layout.weight_size
        self.penalty.add_gradient(self.parameters[:size], gradient[:size], np.empty(max(1, size)))
        return gradient, by_input

    def sides(self) -> list[NDArray[np.bool_] | Array]:
        """The side of each kink on which the last forward pass was."""
        workspaces = self.network.workspace(self.x.shape[-2]).layers
        found: list[NDArray[np.bool_] | Array] = [
            z > kink
            for layer, here in zip(self.network.layers, workspaces, strict=True)
            for activation, z, _ in layer.nonlinearities(here)
            for kink in activation.kinks
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
    """Compare the gradient of `subject` for every tensor and for the inputs, at most `entries` entries each.

    If not every entry is compared, the slope along a random direction in all parameters is compared too. `advance` is
    called with the number of entries that were compared.
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
    """Compare the `chosen` entries (indices into the flattened tensor) of one tensor."""
    found: list[Entry] = []
    for place in chosen:
        index = tuple(int(i) for i in np.unravel_index(place, values.shape))
        entry = values[index[:-1]][index[-1] : index[-1] + 1]
        numeric = slope(subject, entry, np.ones(1), STEP * max(1.0, abs(entry[0])))
        if numeric is not None:
            found.append(Entry(index, float(analytic[index]), numeric))
    return compare(subject, tensor, found, len(chosen) - len(found))


def check_direction(subject: Subject, gradient: Array, rng: np.random.Generator) -> TensorCheck:
    """Compare the slope along one random direction in all parameters."""
    direction = rng.standard_normal(subject.parameters.shape)
    direction /= np.linalg.norm(direction)
    numeric = slope(subject, subject.parameters, direction, STEP * max(1.0, float(np.abs(subject.parameters).max())))
    found = [] if numeric is None else [Entry((), float(np.vdot(gradient, direction)), numeric)]
    return compare(subject, DIRECTION, found, 1 - len(found))


def slope(subject: Subject, values: Array, direction: Array, h: float) -> float | None:
    """The central difference of the objective along `direction` in `values`; None if there is a kink in between."""
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
    class_weights: ClassWeights = None
    members: int | None = None
    inputs: int = 4
    linear: bool = False
    """Whether there is a linear path."""

    def subject(self, seed: int, rows: int = 7) -> Subject:
        """The network at a random point, with random inputs, and targets that suit the loss."""
        rng = stream(seed, "gradcheck")
        network = Network(
            self.layers, self.inputs, self.loss, np.float64, self.members, self.class_weights, self.linear
        )
        batch = (*network.layout.members, rows)
        x = rng.standard_normal((*batch, network.inputs))
        parameters = start_point(network.layout, self.initializer, rng)
        target = self.loss.random_target(rows, network.outputs, rng, network.layout.members)
        weights = rng.uniform(0.5, 2.0, batch) if self.weighted else None
        return Subject(network, parameters, x, target, self.penalty, seed, weights)


def start_point(layout: Layout, initializer: Initializer, rng: np.random.Generator) -> Array:
    """Parameters from `initializer`; all but the weights are moved away from zero, where a rectifier has its kink."""
    parameters, buffers = layout.neutral_parameters(np.float64), layout.neutral_buffers(np.float64)
    initializer.start(layout, parameters, buffers, rng)
    others = parameters[layout.weight_size :]
    others += 0.1 * rng.standard_normal(others.shape)
    return parameters


def stack(
    *widths: int, activation: Activation, normalization: Normalization | None = None, dropout: float = 0.0
) -> list[Layer]:
    """Hidden dense layers of one kind and a linear output layer, of these widths."""
    hidden: list[Layer] = [
        Dense(width=width, activation=activation, normalization=normalization, dropout=dropout) for width in widths[:-1]
    ]
    return [*hidden, Dense(width=widths[-1], activation=Identity())]


def catalogue(seed: int = 0) -> Iterator[Check]:
    """Check every variant of every family, with each of its examples, in a small network; then the compiled loops."""
    for case in cases():
        yield check(case.family, case.name, case.subject(seed), stream(seed, "gradcheck", 1), entries=10**9)
    if kernels.PRESENT:
        yield from check_kernels(stream(seed, "gradcheck", 2))


def cases() -> Iterator[Case]:
    """The networks of the catalogue."""
    plain = stack(5, 6, 3, activation=Tanh())
    for activation in example_instances(Activation):
        yield Case("activation", activation.label(), stack(5, 6, 3, activation=activation))
        yield Case("output activation", activation.label(), [*plain[:-1], Dense(width=3, activation=activation)])
    for loss in example_instances(Loss):
        yield from loss_cases(loss)
    for initializer in example_instances(Initializer):
        yield Case("initializer", initializer.label(), plain, initializer=initializer)
    for normalization in example_instances(Normalization):
        layers = stack(5, 6, 3, activation=Tanh(), normalization=normalization)
        yield from both_forms(Case("normalization", normalization.label(), layers))
    for layer in example_instances(Layer):
        yield from both_forms(Case("layer", layer.label(), [Dense(width=4, activation=Tanh()), layer, plain[-1]]))
    yield from both_forms(Case("dropout", "p=0.3", stack(5, 6, 3, activation=Tanh(), dropout=0.3)))
    for penalty in (Penalty(l1=0.01), Penalty(l2=0.01), Penalty(l1=0.01, l2=0.01)):
        yield Case("penalty", f"l1={penalty.l1}, l2={penalty.l2}", plain, penalty=penalty)
    for inputs, *widths in ((4, 3), (4, 5, 1), (1, 2, 2, 2, 2, 2, 3)):
        name = "-".join(map(str, (inputs, *widths)))
        yield from both_forms(Case("architecture", name, stack(*widths, activation=Tanh()), inputs=inputs))
    yield from both_forms(Case("architecture", "linear path", plain, linear=True))
    for name, norm in (("plain", None), ("batch", BatchNorm())):
        layers = stack(5, 6, 3, activation=Tanh())
        layers.insert(1, Dense(width=5, activation=SiLU(), normalization=norm, dropout=0.3, residual=True))
        yield from both_forms(Case("residual", name, layers))


def loss_cases(loss: Loss) -> Iterator[Case]:
    """A loss without weights, with row weights and, if it has classes, with class weights."""
    plain = Case("loss", loss.label(), stack(5, 6, loss.outputs(3), activation=Tanh()), loss)
    yield from both_forms(plain)
    yield from both_forms(replace(plain, family="loss, weighted rows", weighted=True))
    if loss.weighs_classes:
        weights = np.array([1.0, 2.0, 0.5])
        yield from both_forms(replace(plain, family="loss, weighted classes", class_weights=weights))


def both_forms(case: Case) -> Iterator[Case]:
    """A case as one network, and as several members side by side."""
    yield case
    yield replace(case, family=f"{case.family}, members", members=MEMBERS)


def check_kernels(rng: np.random.Generator) -> Iterator[Check]:
    """Compare each compiled loop with its NumPy form on this machine, bit for bit."""
    for name, compute in kernel_cases(rng):
        watched = kernels.WatchedLoops()
        with np.errstate(all="ignore"):
            with kernels.using(watched):
                compiled = compute()
            with kernels.numpy_only():
                reference = compute()
        pairs = zip(compiled, reference, strict=True)
        tensors = tuple(
            compare_bits(f"result {i}", one, other, watched.did_all) for i, (one, other) in enumerate(pairs)
        )
        yield Check("kernel", name, tensors, repeatable=True)


def kernel_cases(rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], tuple[Array, ...]]]]:
    """The results of each kernel for ordinary and for extreme numbers, as new arrays."""
    batch = KernelBatch.draw(rng)
    for case in (batch.affine, batch.relu, batch.gate_gradient, batch.softmax_cross_entropy, batch.adam):
        yield case.__name__, case


@dataclass(frozen=True)
class KernelBatch:
    """Inputs for the kernels; each method gives the results of one, and leaves the inputs as they are."""

    z: Array
    grad: Array
    target: Indices

    @classmethod
    def draw(cls, rng: np.random.Generator) -> KernelBatch:
        """Random numbers with extreme ones among them."""
        z, grad = (rng.standard_normal((KERNEL_ROWS, 10)).astype(np.float32) for _ in range(2))
        z[::7] *= 1e3
        extreme = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3.4e38], np.float32)
        z[1, : len(extreme)] = grad[2, : len(extreme)] = extreme
        return cls(z, grad, rng.integers(0, 10, KERNEL_ROWS))

    def affine(self) -> tuple[Array, ...]:
        """With the identity as weights."""
        out = np.empty_like(self.z)
        kernels.affine(self.z, np.eye(10, dtype=np.float32), self.grad[0], out)
        return (out,)

    def relu(self) -> tuple[Array, ...]:
        """The activations."""
        out = np.empty_like(self.z)
        kernels.relu(self.z, out)
        return (out,)

    def gate_gradient(self) -> tuple[Array, ...]:
        """The gradients of a relu, a leaky relu and a hard sigmoid."""
        results = []
        for low, high, inside, outside in ((0, np.inf, 1, 0), (0, np.inf, 1, 0.01), (-3, 3, 1 / 6, 0)):
            results.append(self.grad.copy())
            kernels.gate_gradient(self.z, results[-1], low, high, inside, outside, np.empty_like(self.z))
        return tuple(results)

    def softmax_cross_entropy(self) -> tuple[Array, ...]:
        """The gradient, the loss of each row and their sum."""
        out, ws = np.empty_like(self.z), kernels.SoftmaxWorkspace.allocate(self.z.shape, self.z.dtype, smoothing=0.1)
        total = kernels.softmax_cross_entropy(self.z, self.target, out, ws, None)
        return out, ws.row_loss, np.asarray(total)

    def adam(self) -> tuple[Array, ...]:
        """The parameters and both moments after three steps."""
        w, m, v = (start.reshape(-1).copy() for start in (self.z, np.zeros_like(self.z), np.zeros_like(self.z)))
        for t in range(1, 4):
            kernels.adam(w, self.grad.reshape(-1) * t, m, v, 0.9, 0.999, 1e-12 * (t > 2), 1e-8, 0.1)
        return w, m, v


def compare_bits(name: str, one: Array, other: Array, compiled: bool) -> TensorCheck:
    """The comparison of two results, which must be bitwise equal; all NaNs are equal.

    Without `compiled`, a loop left work to NumPy, and equal results prove nothing.
    """
    words = f"u{one.itemsize}"
    same = (one.view(words) == other.view(words)) | (np.isnan(one) & np.isnan(other))
    with np.errstate(all="ignore"):
        error = np.abs(one - other) / (np.abs(one) + np.abs(other))
    largest = 0.0 if same.all() else float(np.nanmax(np.where(same, 0, error), initial=0.0))
    verdict: Verdict = "failed" if not same.all() else "passed" if compiled else "not compared"
    return TensorCheck(name, largest, verdict, int(one.size), 0, None)


def check_plan(
    plan: Plan, dataset: Dataset, advance: Callable[[int], None] | None = None, entries: int = ENTRIES
) -> Check:
    """Check the network of `plan` at its initial parameters, on the first rows of its training data.

    `dataset` is in float64. Of large tensors, a sample of `entries` is checked.
    """
    rng = stream(plan.seed, "gradcheck")
    network = network_for(plan)
    part = dataset.training
    rows = part.rows[rng.permutation(len(part))[:ROWS]]
    x = np.empty((len(rows), part.features.width))
    part.features.gather(rows, x, part.features.byte_buffer(len(rows)))
    parameters = start_point(network.layout, plan.network.initializer, rng)
    weights = None if part.all_weights is None else part.all_weights[rows]
    members = network.layout.members  # each gets the same rows
    x, target = (np.array(np.broadcast_to(a, (*members, *a.shape))) for a in (x, part.targets[rows]))
    subject = Subject(network, parameters, x, target, plan.penalty, plan.seed, weights)
    return check("experiment", plan.name, subject, rng, entries, advance)


def entries_to_check(plan: Plan, dataset: Dataset) -> int:
    """How many entries `check_plan` goes through, for a progress bar."""
    layout = network_for(plan).layout
    sizes = [tensor.stop - tensor.start for tensor in layout.parameters]
    return sum(
        min(size, ENTRIES) for size in (*sizes, min(ROWS, len(dataset.training)) * dataset.training.features.width)
    )
