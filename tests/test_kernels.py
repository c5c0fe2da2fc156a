"""Do the kernels give the same bits in both forms, and does the compiled one leave alone what it cannot do?"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cli import DATASETS, environment, run_process, same_bytes
from helpers import apply_step, label
from mlptrain.component import example_instances
from mlptrain.gradcheck import check_kernels, kernel_cases, stack
from mlptrain.nn import kernels
from mlptrain.nn.activations import Activation, HardSigmoid, HardTanh, LeakyReLU, ReLU
from mlptrain.nn.arrays import Array, Indices
from mlptrain.nn.kernels import SHORT_ROW
from mlptrain.nn.losses import ClassWeights, CrossEntropy
from mlptrain.nn.network import Network
from mlptrain.optim.optimizers import BLOCK, Adam, AdamW, Optimizer
from strategies import seeds

pytestmark = pytest.mark.skipif(not kernels.PRESENT, reason="the compiled loops are not there: no C compiler?")

LOOPS = [name for name in vars(kernels.NumPyLoops) if not name.startswith("_")]
Arrays = tuple[Array, ...]


@contextmanager
def at_work(*loops: str) -> Iterator[None]:
    """Demand that the compiled `loops` are called, and do their work."""
    answers: dict[str, list[bool]] = {name: [] for name in loops}

    def watched(name: str) -> Callable[..., bool]:
        loop: Callable[..., bool] = getattr(kernels.loops, name)

        def call(*arguments: Any) -> bool:
            answers[name].append(loop(*arguments))
            return answers[name][-1]

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in loops:
            patch.setattr(kernels.loops, name, watched(name))
        yield
    assert all(answer and all(answer) for answer in answers.values()), answers


def bits(array: Array) -> Array:
    """What tells numbers apart: their bits; every NaN counts as one, since its sign and payload mean nothing."""
    return np.where(np.isnan(array), np.nan, array).view(f"u{array.itemsize}")


def demand_the_same(compute: Callable[[], Arrays], *loops: str) -> None:
    """Demand that `compute` gives the same bits with the `loops` compiled as with NumPy alone."""
    with np.errstate(all="ignore"):
        with at_work(*loops):
            fast = compute()
        with kernels.numpy_only():
            reference = compute()
    for one, other in zip(fast, reference, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(bits(one), bits(other))


def numbers(shape: Any) -> st.SearchStrategy[Array]:
    """Any float32 at all: zeros with either sign, numbers too small to be normal, infinities, NaN."""
    return arrays.arrays(np.float32, shape, elements=st.floats(width=32))


def normal(seed: int, *shapes: tuple[int, ...]) -> list[Array]:
    """Numbers as they occur in training."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


shapes = arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)


@given(shapes.flatmap(numbers))
def test_relu(z: Array) -> None:
    def compute() -> Arrays:
        a = np.empty_like(z)
        ReLU().forward(z, a, np.empty_like(z))
        return (a,)

    demand_the_same(compute, "relu")


PIECEWISE_LINEAR = [
    one for one in example_instances(Activation) if isinstance(one, ReLU | LeakyReLU | HardSigmoid | HardTanh)
]


@pytest.mark.parametrize("activation", PIECEWISE_LINEAR, ids=label)
@given(shapes.flatmap(lambda shape: st.tuples(numbers(shape), numbers(shape))))
def test_the_derivative_of_what_is_piecewise_linear(activation: Activation, pair: tuple[Array, Array]) -> None:
    z, incoming = pair

    def compute() -> Arrays:
        grad = incoming.copy()
        activation.backward(z.copy(), np.empty_like(z), grad, np.empty_like(z))
        return (grad,)

    demand_the_same(compute, "gate_gradient")


@given(st.integers(1, 30), st.integers(1, 30), seeds)
def test_a_layer_with_its_bias(rows: int, units: int, seed: int) -> None:
    network = Network(stack(units, 2, activation=ReLU()), 3, CrossEntropy(), np.float32)
    layout = network.layout
    (parameters, x) = normal(seed, (layout.parameter_size,), (rows, 3))

    def compute() -> Arrays:
        return (network.forward(x, layout.views(parameters), layout.running(np.empty(0)), training=True).copy(),)

    demand_the_same(compute, "add_bias", "relu")


def cross_entropy(loss: CrossEntropy, scores: Array, target: Indices) -> Callable[[], Arrays]:
    def compute() -> Arrays:
        ws, grad = loss.workspace(scores.shape, scores.dtype), np.empty_like(scores)
        value = loss.value_and_gradient(scores, target, grad, ws)
        return grad, np.array(value)

    return compute


SOFTMAX_LOOPS = ("subtract_row_max", "row_sums", "softmax_cross_entropy")
each_smoothing = pytest.mark.parametrize("loss", [CrossEntropy(), CrossEntropy(label_smoothing=0.1)], ids=label)


@each_smoothing
@given(st.integers(2, 40), st.integers(2, SHORT_ROW), seeds, st.floats(0, 100))
def test_cross_entropy(loss: CrossEntropy, rows: int, classes: int, seed: int, spread: float) -> None:
    (scores,) = normal(seed, (rows, classes))
    target = np.random.default_rng(seed).integers(0, classes, rows)
    demand_the_same(cross_entropy(loss, scores * np.float32(spread), target), *SOFTMAX_LOOPS)


@pytest.mark.parametrize(("rows", "classes"), [(1, 3), (50, SHORT_ROW + 1)])
def test_cross_entropy_of_one_row_or_of_long_rows_is_left_to_numpy(rows: int, classes: int) -> None:
    (scores,) = normal(0, (rows, classes))
    demand_the_same(cross_entropy(CrossEntropy(), scores, np.zeros(rows, np.intp)))


@each_smoothing
@given(numbers((7, 3)))
def test_cross_entropy_of_extreme_scores(loss: CrossEntropy, scores: Array) -> None:
    demand_the_same(cross_entropy(loss, scores, np.array([0, 1, 2, 0, 1, 2, 0])), *SOFTMAX_LOOPS)


@pytest.mark.parametrize("wrong", [-1, 3, 3000])
def test_classes_that_are_not_there_are_left_to_numpy(wrong: int) -> None:
    arguments = fitting("softmax_cross_entropy")
    arguments[4][2] = wrong
    assert kernels.loops.softmax_cross_entropy(*arguments) is False


def test_cross_entropy_of_rows_with_weights_is_left_to_numpy() -> None:
    (scores,) = normal(0, (9, 3))
    target, weights = np.arange(9) % 3, np.arange(9, dtype=np.float32)
    choices: list[tuple[Any, ClassWeights]] = [(weights, None), (None, np.array([1.0, 2.0, 3.0]))]
    for rows, classes in choices:
        loss, grad, again = CrossEntropy(), np.empty_like(scores), np.empty_like(scores)
        ws = loss.workspace(scores.shape, scores.dtype, classes)
        value = loss.value_and_gradient(scores, target, grad, ws, rows)
        with kernels.numpy_only():
            assert loss.value_and_gradient(scores, target, again, ws, rows) == value
        np.testing.assert_array_equal(grad, again)


def test_members_share_their_targets_or_have_their_own() -> None:
    (scores,) = normal(0, (3, 20, 5))
    target = np.random.default_rng(0).integers(0, 5, (3, 20))
    demand_the_same(cross_entropy(CrossEntropy(), scores, target), *SOFTMAX_LOOPS)
    demand_the_same(cross_entropy(CrossEntropy(), scores, target[0]), *SOFTMAX_LOOPS)


def after(optimizer: Optimizer, size: int, steps: int, seed: int) -> Callable[[], Arrays]:
    def compute() -> Arrays:
        w, *gradients = normal(seed, *[(size,)] * (steps + 1))
        slots, scratch = [np.zeros_like(w) for _ in optimizer.slots], np.empty(min(size, BLOCK), w.dtype)
        for t, g in enumerate(gradients, 1):
            optimizer.decay(w, 0.01)
            apply_step(optimizer, w, g, slots, scratch, 0.01, t)
        return w, *slots

    return compute


ADAMS = (Adam(), Adam(eps=0.0, eps_root=1e-8), Adam(beta1=0.5, beta2=0.9, eps=1e-3), AdamW(weight_decay=0.1))


@pytest.mark.parametrize("optimizer", ADAMS, ids=label)
@given(st.integers(1, 200), seeds)
def test_adam(optimizer: Optimizer, size: int, seed: int) -> None:
    demand_the_same(after(optimizer, size, 5, seed), "adam")


def test_adam_in_more_than_one_block() -> None:
    demand_the_same(after(Adam(), BLOCK + 77, 2, 0), "adam")


@given(numbers(50), numbers(50))
def test_adam_of_gradients_that_are_hardly_numbers(w: Array, g: Array) -> None:
    def compute() -> Arrays:
        moved, slots = w.copy(), [np.zeros_like(w), np.zeros_like(w)]
        apply_step(Adam(), moved, g.copy(), slots, np.empty_like(w), 0.001, 1)
        return moved, *slots

    demand_the_same(compute, "adam")


# -- what they leave alone


def unfit(shape: tuple[int, ...]) -> dict[str, Array]:
    """Arrays of zeros that a compiled loop must not touch."""
    wide = np.zeros([n + 1 for n in shape], np.float32)
    fixed = np.zeros(shape, np.float32)
    fixed.flags.writeable = False
    return {
        "float64": np.zeros(shape),
        "float16": np.zeros(shape, np.float16),
        "other byte order": np.zeros(shape, ">f4"),
        "integers": np.zeros(shape, np.int32),
        "in pieces": np.zeros((*shape, 2), np.float32)[..., 0],
        "of another size": wide,
        "of another shape": np.zeros(shape[::-1] if len(shape) == 2 else (*shape, 1), np.float32),
        "read only": fixed,
        "empty": wide[:0],
    }


FIT: dict[str, tuple[tuple[tuple[int, ...] | str, ...], int]] = {
    "add_bias": (((6, 3), (3,)), 0),
    "relu": (((6, 3), (6, 3)), 0),
    "gate_gradient": (((6, 3), (6, 3)), 4),
    "subtract_row_max": (((6, 3), (6, 3)), 0),
    "row_sums": (((6, 3), (6,)), 0),
    "softmax_cross_entropy": (((6, 3), (6, 3), (6,), (6,), "indices", (6, 3), "float64"), 3),
    "adam": (((5,), (5,), (5,), (5,)), 5),
}
"""The arrays that each loop takes, and how many numbers."""
READ = {
    "add_bias": {1},
    "relu": {0},
    "gate_gradient": {0},
    "subtract_row_max": {0},
    "row_sums": {0},
    "softmax_cross_entropy": {0, 1, 2, 3, 4},
    "adam": {1},
}
"""The numbers of the arrays that are not written to."""


def fitting(name: str) -> list[Any]:
    """Arguments of zeros that the loop accepts."""
    wanted, count = FIT[name]
    special = {"indices": np.zeros(6, np.intp), "float64": np.zeros(6)}
    return [special[one] if isinstance(one, str) else np.zeros(one, np.float32) for one in wanted] + [0.5] * count


def test_every_loop_is_looked_at() -> None:
    assert sorted(FIT) == sorted(LOOPS)


@pytest.mark.parametrize("name", LOOPS)
def test_what_fits_is_done_and_what_does_not_is_left_to_numpy(name: str) -> None:
    loop: Callable[..., bool] = getattr(kernels.loops, name)
    assert loop(*fitting(name)) is True
    for i, shape in enumerate(FIT[name][0]):
        for why, array in unfit((6,) if isinstance(shape, str) else shape).items():
            if (why == "read only" and i in READ.get(name, set())) or (why, shape) == ("float64", "float64"):
                continue
            if why == "of another shape" and shape == (6,):
                continue  # a number a row may stand in a column
            arguments = fitting(name)
            before = [np.array(one) for one in arguments]
            arguments[i] = array
            assert loop(*arguments) is False, (i, why)
            before[i] = np.zeros_like(array)
            for one, other in zip(arguments, before, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", LOOPS)
def test_arrays_that_overlap_are_left_to_numpy(name: str) -> None:
    """Of which one is written to: the compiler was promised that no such two share memory."""
    loop: Callable[..., bool] = getattr(kernels.loops, name)
    shapes, read = FIT[name][0], READ[name]
    for i, j in combinations(range(len(shapes)), 2):
        arguments = fitting(name)
        size = max(arguments[k].nbytes for k in (i, j))
        memory = np.zeros(size + 8, np.uint8)
        for k, offset in ((i, 0), (j, 8 if size > 8 else 4)):
            like = arguments[k]
            arguments[k] = memory[offset : offset + like.nbytes].view(like.dtype).reshape(like.shape)
        assert loop(*arguments) is ({i, j} <= read), (i, j)
        assert not memory.any() or {i, j} <= read


def test_every_kernel_is_compared_by_gradcheck() -> None:
    compared = {name for name, _ in kernel_cases(np.random.default_rng(0))}
    within = {"affine": {"add_bias"}, "softmax_cross_entropy": {"subtract_row_max", "row_sums"}}
    assert (compared - {"affine"}).union(*within.values()) == set(LOOPS)


@pytest.mark.parametrize("name", LOOPS)
def test_gradcheck_does_not_pass_a_loop_that_leaves_the_work_to_numpy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(check.passed for check in check_kernels(np.random.default_rng(0)))
    monkeypatch.setattr(kernels.loops, name, kernels.not_done)
    verdicts = {check.subject: check.verdict for check in check_kernels(np.random.default_rng(0)) if not check.passed}
    within = {"add_bias": "affine", "subtract_row_max": "softmax_cross_entropy", "row_sums": "softmax_cross_entropy"}
    assert verdicts == {within.get(name, name): "not compared: the compiled loop left the work to NumPy"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=label)
@pytest.mark.parametrize("members", [(), (2,)], ids=["one network", "members"])
def test_a_million_rows_lose_no_digits(dtype: Any, members: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    values = (100 + rng.standard_normal((*members, 1_000_000, 3))).astype(dtype)
    out = np.empty((*members, 1, 3) if members else (3,), dtype)
    kernels.sum_rows(values, np.ones(1_000_000, dtype), out)
    exact = values.sum(axis=-2, dtype=np.float64).reshape(out.shape)
    np.testing.assert_allclose(out, exact, rtol={np.float32: 5e-7, np.float64: 1e-12}[dtype])


@pytest.mark.parametrize("name", LOOPS)
def test_too_few_arguments_or_a_word_for_a_number_are_mistakes(name: str) -> None:
    loop: Callable[..., bool] = getattr(kernels.loops, name)
    with pytest.raises(TypeError, match="takes"):
        loop(*fitting(name)[:-1])
    if FIT[name][1]:
        with pytest.raises(TypeError):
            loop(*fitting(name)[:-1], "a word")


@pytest.mark.parametrize("name", LOOPS)
def test_no_array_is_held_afterwards(name: str) -> None:
    loop: Callable[..., bool] = getattr(kernels.loops, name)
    arguments, unfitting = fitting(name), fitting(name)
    last = len(FIT[name][0]) - 1
    unfitting[last] = unfitting[last].astype(np.complex64)
    for all_of_them, done in ((arguments, True), (unfitting, False)):
        before = [sys.getrefcount(one) for one in all_of_them]
        for _ in range(100):
            assert loop(*all_of_them) is done
        assert [sys.getrefcount(one) for one in all_of_them] == before


# -- as users meet them

EXPERIMENTS = {
    "classes": f"""
        data: {{path: {DATASETS / "iris.csv"}, target: species}}
        training: {{epochs: 4}}
    """,
    "smoothed, dropped, normalized, penalized": f"""
        data: {{path: {DATASETS / "iris.csv"}, target: species}}
        network: {{hidden: [9, 5], dropout: 0.2, normalization: batch}}
        loss: {{kind: cross_entropy, label_smoothing: 0.1}}
        optimizer: adamw
        penalty: {{l2: 0.001}}
        training: {{epochs: 4, batch_size: 32, clip_norm: 0.5}}
    """,
    "values": f"""
        data: {{path: {DATASETS / "diamonds.csv"}, target: price}}
        network: {{hidden: [11], activation: leaky_relu}}
        loss: mse
        training: {{epochs: 1, batch_size: 1000}}
    """,
}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_run_is_the_same_bytes_with_either(experiment: str, tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(dedent(EXPERIMENTS[experiment]) + "seed: 1\n")
    for loops in ("", "numpy"):
        arguments = ("fit", spec, "--quiet", "--out", f"run{loops}")
        run_process(*arguments, folder=tmp_path, MLPTRAIN_LOOPS=loops).succeeded()
    same_bytes(tmp_path / "run", tmp_path / "runnumpy")


@pytest.mark.parametrize(("wish", "present"), [("numpy", "False"), ("", "True")])
def test_an_environment_variable_switches_them_off(wish: str, present: str) -> None:
    command = [sys.executable, "-c", "from mlptrain.nn import kernels; print(kernels.PRESENT)"]
    answer = subprocess.run(command, env=environment(MLPTRAIN_LOOPS=wish), capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == present
