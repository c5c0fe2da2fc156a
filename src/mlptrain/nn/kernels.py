"""Which inner loops does a training step run, in NumPy or compiled?

There is one function for each loop. The NumPy form is the definition and runs everywhere. Some loops also have a
compiled form in `_loops.c`, which reads memory once instead of several times and does the same operations in the same
order, so that the result is bitwise the same (`mlptrain gradcheck` compares the two on the current machine). A kernel
uses the compiled form if it is installed and the arrays are suitable (float32, contiguous, no overlap); its result does
not depend on the choice. MLPTRAIN_LOOPS=numpy in the environment turns the compiled form off.

Arrays are (n, units), or (members, n, units) for several networks side by side.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn.arrays import Array, Indices, Target, Weights


def not_done(*arguments: object) -> bool:
    """Stands in for a compiled loop: returns False, which leaves the work to NumPy."""
    return False


class NumPyLoops:
    """Stands in for the compiled loops: leaves all work to NumPy."""

    add_bias = adam = gate_gradient = relu = staticmethod(not_done)
    row_sums = softmax_cross_entropy = subtract_row_max = staticmethod(not_done)


loops: Any = NumPyLoops
"""The compiled loops, or their stand-in; each returns whether it did the work."""
try:
    if os.environ.get("MLPTRAIN_LOOPS") != "numpy":
        from mlptrain import _loops as loops
except ImportError:  # no C compiler at installation
    pass

PRESENT: bool = loops is not NumPyLoops
"""Whether the compiled loops are installed and not turned off."""


@contextmanager
def using(stand_in: Any) -> Iterator[None]:
    """A context in which the kernels call the loops of `stand_in`."""
    global loops
    before, loops = loops, stand_in
    try:
        yield
    finally:
        loops = before


def numpy_only() -> AbstractContextManager[None]:
    """A context in which NumPy does all the work, for comparisons."""
    return using(NumPyLoops)


class WatchedLoops:
    """Stands in for the compiled loops: passes each call on to them, and notes the answer."""

    def __init__(self) -> None:
        self._loops = loops
        self.answers: list[bool] = []

    def __getattr__(self, name: str) -> Callable[..., bool]:
        loop: Callable[..., bool] = getattr(self._loops, name)

        def call(*arguments: Any) -> bool:
            self.answers.append(loop(*arguments))
            return self.answers[-1]

        return call

    @property
    def did_all(self) -> bool:
        """Whether there were calls, and each of them did the work."""
        return bool(self.answers) and all(self.answers)


# -- matrix products and sums over rows

SUM_BLOCK = 4096
"""Rows that are summed in the dtype of the network; the sums of such blocks are added in float64."""


def product(x: Array, w: Array, out: Array) -> None:
    """Write the matrix product x w into `out`, member by member where there are members.

    A single network uses `dot`: for small matrices the call overhead of `numpy.matmul` costs as much as the product.
    """
    if out.ndim == 2:
        x.dot(w, out)
    else:
        np.matmul(x, w, out)


def affine(x: Array, w: Array, bias: Array, out: Array) -> None:
    """Write x w + bias into `out`, the bias the same for every row."""
    if out.ndim == 2:
        x.dot(w, out)
    else:
        np.matmul(x, w, out)
    if not loops.add_bias(out, bias):
        np.add(out, bias, out=out)


def affine_gradients(x: Array, grad: Array, ones: Array, w_grad: Array, bias_grad: Array) -> None:
    """Write the gradients of w, x' grad, and of bias, the sum of `grad` over the rows, with `ones` (n,)."""
    if grad.ndim == 2 and len(ones) <= SUM_BLOCK:  # the usual case, without two more calls
        x.T.dot(grad, w_grad)
        ones.dot(grad, bias_grad)
    else:
        weight_gradient(x, grad, w_grad)
        sum_rows(grad, ones, bias_grad)


def weight_gradient(x: Array, grad: Array, out: Array) -> None:
    """Write x' grad into `out`."""
    if grad.ndim == 2:
        x.T.dot(grad, out)
    else:
        np.matmul(x.mT, grad, out)


def sum_rows(values: Array, ones: Array, out: Array) -> None:
    """Write the sum over the rows of `values` (n, units) into `out` (units,); (members, 1, units) for members.

    A product with `ones` (n,), in blocks, so that sums over a million rows in float32 keep their precision.
    """
    if len(ones) > SUM_BLOCK:
        _sum_many_rows(values, ones, out)
    elif values.ndim == 2:
        ones.dot(values, out)
    else:
        np.matmul(ones[None, :], values, out)


def _sum_many_rows(values: Array, ones: Array, out: Array) -> None:
    total = np.zeros(out.shape)
    for start in range(0, len(ones), SUM_BLOCK):
        stop = start + SUM_BLOCK
        sum_rows(values[..., start:stop, :], ones[start:stop], out)
        np.add(total, out, out=total)
    np.copyto(out, total, casting="same_kind")


# -- elementwise


def clip(values: Array, low: float, high: float, out: Array) -> None:
    """Write `values`, clipped to [low, high], into `out`, which may be `values`."""
    values.clip(low, high, out=out)


def relu(z: Array, out: Array) -> None:
    """Write max(0, z) into `out`, which must not be `z`; NaN stays NaN.

    The maximum is taken with an array of zeros, since NumPy does not vectorize the maximum with a scalar.
    """
    if not loops.relu(z, out):
        out.fill(0)
        np.maximum(z, out, out=out)


def negative_part(z: Array, out: Array) -> None:
    """Write min(0, z) into `out`, which must not be `z`."""
    out.fill(0)
    np.minimum(z, out, out=out)


def gate_gradient(
    z: Array, grad: Array, low: float, high: float, inside: float, outside: float, scratch: Array
) -> None:
    """Multiply `grad` by `inside` where low < z < high, and by `outside` elsewhere.

    `high` is infinite (no upper limit) or -low; neither factor is negative. Factors 0 and 1 are multiplied too, so that
    a gradient that is not finite stays so.
    """
    if loops.gate_gradient(z, grad, low, high, inside, outside):
        return
    if high == inf:
        np.greater(z, low, out=scratch)
    else:
        np.abs(z, out=scratch)
        np.less(scratch, high, out=scratch)
    _set_factors(scratch, inside, outside)
    np.multiply(grad, scratch, out=grad)


def _set_factors(gate: Array, inside: float, outside: float) -> None:
    """Replace the ones of `gate` by `inside` and the zeros by `outside`, exactly."""
    if outside > inside:
        np.subtract(1, gate, out=gate)
        inside, outside = outside, inside
    if inside != 1:
        np.multiply(gate, inside, out=gate)
    if outside:
        clip(gate, outside, inside, out=gate)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    beta1: float,
    beta2: float,
    eps_root: float,
    eps: float,
    rate: float,
) -> None:
    """m <- beta1 m + g, v <- beta2 v + g^2, w <- w - rate m / (sqrt(v + eps_root) + eps); `g` is overwritten."""
    if loops.adam(w, g, m, v, beta1, beta2, eps_root, eps, rate):
        return
    np.multiply(m, beta1, out=m)
    np.add(m, g, out=m)
    np.multiply(g, g, out=g)
    np.multiply(v, beta2, out=v)
    np.add(v, g, out=v)
    np.sqrt(np.add(v, eps_root, out=g) if eps_root else v, out=g)
    np.add(g, eps, out=g)
    np.divide(m, g, out=g)
    np.multiply(g, rate, out=g)
    np.subtract(w, g, out=w)


# -- softmax

SHORT_ROW = 32
"""Largest number of classes of a short row; from about twice as many, NumPy sums faster along rows."""


class ScoreMemory(NamedTuple):
    """Memory for one number for each score (..., n, classes), seen in three ways."""

    array: Array
    """(..., n, classes), column-major if rows are short"""
    row_major: Array
    """(..., n, classes)"""
    flat: Array

    @classmethod
    def allocate(cls, shape: tuple[int, ...], dtype: np.dtype, short_rows: bool) -> ScoreMemory:
        """Memory for scores of `shape`."""
        *members, rows, classes = shape
        memory = np.empty((*members, classes, rows) if short_rows else shape, dtype)
        return cls(memory.mT if short_rows else memory, memory.reshape(shape), memory.reshape(-1))


def first_classes(shape: tuple[int, ...], short_rows: bool) -> Indices:
    """The index (..., n) of the first class of each row in the flat memory of scores of `shape`."""
    *members, rows, classes = shape
    row = np.arange(prod(shape[:-1]), dtype=np.intp).reshape(*members, rows)
    return row + row // rows * rows * (classes - 1) if short_rows else row * classes


@dataclass
class SoftmaxWorkspace:
    """Buffers of a softmax over the classes of each row, for scores (..., n, classes).

    If rows are short, the NumPy form stores arrays of the shape of the scores in column-major order: its sums then run
    along whole columns, instead of over a few numbers per row. The compiled form uses the same memory in row-major
    order.
    """

    log_p: Array
    """(..., n, classes): the logarithm of the softmax, or the scores minus their row maximum"""
    p: Array
    """(..., n, classes): e^(z - max z), the softmax times `row_sum`"""
    q: Array
    """(..., n, classes): the target as a distribution over the classes"""
    row_sum: Array
    """(..., n, 1)"""
    row_log: Array
    """(..., n, 1)"""
    row_loss: NDArray[np.float64]
    """(..., n)"""
    short_rows: bool
    """Whether log_p, p and q are column-major"""
    shifted: Array
    """the memory of `log_p`, row-major"""
    e: Array
    """the memory of `p`, row-major"""
    flat_log_p: Array
    """the memory of `log_p` as one vector; likewise the next two"""
    flat_p: Array
    flat_q: Array
    place: Indices
    """(..., n): the index of the first class of each row in that vector"""
    class_stride: int
    """the distance of two classes of a row in it"""
    index: Indices
    """(..., n)"""
    share: float
    """1 / n, the sum of the target distribution over the classes of a row"""
    low: float
    """the share of each wrong class in it"""
    high: float
    """the share of the true class"""
    class_weights: Array | None
    """(classes,)"""

    @classmethod
    def allocate(
        cls, shape: tuple[int, ...], dtype: np.dtype, class_weights: NDArray[Any] | None = None, smoothing: float = 0.0
    ) -> SoftmaxWorkspace:
        """Buffers for scores of `shape` and targets with label `smoothing`."""
        *members, rows, classes = shape
        share, low = 1 / rows, smoothing / classes
        short = rows > 1 and classes <= SHORT_ROW
        log_p, p, q = (ScoreMemory.allocate(shape, dtype, short) for _ in range(3))
        return cls(
            log_p=log_p.array,
            p=p.array,
            q=q.array,
            row_sum=np.empty((*members, rows, 1), dtype),
            row_log=np.empty((*members, rows, 1), dtype),
            row_loss=np.empty((*members, rows)),
            short_rows=short,
            shifted=log_p.row_major,
            e=p.row_major,
            flat_log_p=log_p.flat,
            flat_p=p.flat,
            flat_q=q.flat,
            place=first_classes(shape, short),
            class_stride=rows if short else 1,
            index=np.empty((*members, rows), np.intp),
            share=share,
            low=low * share,
            high=(1 - smoothing + low) * share,
            class_weights=None if class_weights is None else np.asarray(class_weights, dtype),
        )

    def find(self, target: Target) -> Indices:
        """The indices (..., n) of the class `target` of each row in the flat vectors."""
        np.multiply(target, self.class_stride, out=self.index)
        return np.add(self.index, self.place, out=self.index)


def log_softmax(scores: Array, ws: SoftmaxWorkspace) -> None:
    """Write log p, e^(z - max z) and the sum of e^(z - max z) over the classes into `ws`."""
    log_p, p = ws.log_p, ws.p
    np.copyto(log_p, scores)
    np.maximum.reduce(log_p, axis=-1, keepdims=True, out=ws.row_sum)
    np.subtract(log_p, ws.row_sum, out=log_p)
    np.exp(log_p, out=p)
    np.add.reduce(p, axis=-1, keepdims=True, out=ws.row_sum)
    np.log(ws.row_sum, out=ws.row_log)
    np.subtract(log_p, ws.row_log, out=log_p)


def softmax_cross_entropy(
    scores: Array, target: Target, grad: Array, ws: SoftmaxWorkspace, weights: Weights
) -> NDArray[np.float64]:
    """- sum over rows and classes of q log p, for each member; writes the gradient p sum(q) - q into `grad`.

    q is the one-hot target, smoothed, times the weights of row and class, divided by the number of rows.
    """
    plain = weights is None and ws.class_weights is None
    if not (plain and _compiled_cross_entropy(scores, target, grad, ws)):
        log_p, p, q = ws.log_p, ws.p, ws.q
        log_softmax(scores, ws)
        mass = _write_distribution(target, ws, weights)
        np.multiply(log_p, q, out=log_p)
        np.add.reduce(log_p, axis=-1, dtype=np.float64, out=ws.row_loss)
        np.divide(mass, ws.row_sum, out=ws.row_sum)
        np.multiply(p, ws.row_sum, out=p)
        np.subtract(p, q, out=grad)
    total: NDArray[np.float64] = -np.add.reduce(ws.row_loss, axis=-1)
    return total


def _compiled_cross_entropy(scores: Array, target: Target, grad: Array, ws: SoftmaxWorkspace) -> bool:
    """The compiled form, without weights; long rows are left to NumPy, which sums them in another order."""
    if not (ws.short_rows and loops.subtract_row_max(scores, ws.shifted)):
        return False
    np.exp(ws.shifted, ws.e)
    if not loops.row_sums(ws.e, ws.row_sum):
        return False
    np.log(ws.row_sum, ws.row_log)
    done: bool = loops.softmax_cross_entropy(
        ws.shifted, ws.e, ws.row_sum, ws.row_log, target, grad, ws.row_loss, ws.low, ws.high, ws.share
    )
    return done


def _write_distribution(target: Target, ws: SoftmaxWorkspace, weights: Weights) -> Array | float:
    """Write q into `ws`; returns its sum over the classes of each row."""
    ws.q.fill(ws.low)
    ws.flat_q.put(ws.find(target), ws.high)
    if weights is None and ws.class_weights is None:
        return ws.share
    if ws.class_weights is not None:
        np.multiply(ws.q, ws.class_weights, out=ws.q)
    if weights is not None:
        np.multiply(ws.q, weights[..., None], out=ws.q)
    return np.add.reduce(ws.q, axis=-1, keepdims=True, out=ws.row_log)
