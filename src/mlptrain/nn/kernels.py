"""Which loops does every training step run, and in which form?

One function for each. The NumPy form is the definition and runs everywhere. Some have a compiled form too, in
`_loops.c`, which reads memory once instead of several times and does the same operations in the same order, so that
the result is the same to the last bit (`mlptrain gradcheck` compares the two on the machine at hand). A kernel takes
the compiled form where it is installed and the arrays suit it (float32, contiguous, no overlap); callers cannot tell
which ran. MLPTRAIN_LOOPS=numpy in the environment turns the compiled form off.

Arrays are (n, units), or (members, n, units) for several networks side by side.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn.arrays import Array, Indices, Target, Weights


def not_done(*arguments: object) -> bool:
    """The answer of a loop that leaves the work to NumPy."""
    return False


class NumPyLoops:
    """Stands in for the compiled loops: leaves everything to NumPy."""

    add_bias = adam = gate_gradient = relu = staticmethod(not_done)
    row_sums = softmax_cross_entropy = subtract_row_max = staticmethod(not_done)


loops: Any = NumPyLoops
"""The compiled loops, or what stands in for them; each answers whether it did the work."""
try:
    if os.environ.get("MLPTRAIN_LOOPS") != "numpy":
        from mlptrain import _loops as loops
except ImportError:  # no C compiler at installation
    pass

PRESENT: bool = loops is not NumPyLoops
"""Whether the compiled loops are installed and wanted."""


@contextmanager
def numpy_only() -> Iterator[None]:
    """Let NumPy do all the work for a while, to compare."""
    global loops
    before, loops = loops, NumPyLoops
    try:
        yield
    finally:
        loops = before


# -- matrix products and sums over rows

LONGEST_SUM = 4096
"""Rows that are summed in the dtype of the network; the partial sums are added in float64."""


def product(x: Array, w: Array, out: Array) -> None:
    """Write the matrix product x w into `out`, member by member where there are members.

    A single network takes `dot`: for small matrices the call alone of `numpy.matmul` costs as much as the product.
    """
    if out.ndim == 2:
        x.dot(w, out)
    else:
        np.matmul(x, w, out)


def sum_rows(values: Array, ones: Array, out: Array) -> None:
    """Write the sum over the rows of `values` (n, units) into `out` (units,); (members, 1, units) for members.

    A product with `ones` (n,), in pieces, so that a million rows in float32 lose no digits.
    """
    if len(ones) > LONGEST_SUM:
        _sum_many_rows(values, ones, out)
    elif values.ndim == 2:
        ones.dot(values, out)
    else:
        np.matmul(ones[None, :], values, out)


def _sum_many_rows(values: Array, ones: Array, out: Array) -> None:
    total = np.zeros(out.shape)
    for start in range(0, len(ones), LONGEST_SUM):
        stop = start + LONGEST_SUM
        sum_rows(values[..., start:stop, :], ones[start:stop], out)
        np.add(total, out, out=total)
    np.copyto(out, total, casting="same_kind")


# -- elementwise


def add_bias(z: Array, bias: Array) -> None:
    """z <- z + bias, the same for every row."""
    if not loops.add_bias(z, bias):
        np.add(z, bias, out=z)


def clip(values: Array, low: float, high: float, out: Array) -> None:
    """Write `values`, clipped to [low, high], into `out`, which may be `values` itself."""
    values.clip(low, high, out=out)


def relu(z: Array, out: Array) -> None:
    """Write max(0, z) into `out`, which must not be `z`; NaN stays NaN.

    The maximum is taken with an array of zeros: NumPy vectorizes that, but not the maximum with a number.
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

    `high` is infinite (no upper limit) or -low; neither factor is negative. A product even where a factor is 0 or 1,
    so that a gradient that is not finite stays so.
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
"""Classes; beyond twice as many, NumPy sums faster along the rows."""


@dataclass
class SoftmaxWorkspace:
    """Buffers of a softmax over the classes of each row, for scores (..., n, classes).

    Where rows are short, the NumPy form keeps what is like the scores column by column: its sums then run along whole
    columns, instead of starting anew for a few numbers in every row. The compiled form goes through the same memory
    row by row.
    """

    log_p: Array
    """(..., n, classes): the logarithm of the softmax, or the scores less their largest"""
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
    """Whether log_p, p and q lie in memory column by column"""
    shifted: Array
    """the memory of `log_p`, row by row"""
    e: Array
    """the memory of `p`, row by row"""
    flat_log_p: Array
    """the memory of `log_p` as one vector; so are the next two"""
    flat_p: Array
    flat_q: Array
    place: Indices
    """(..., n): where in that vector the first class of each row lies"""
    class_stride: int
    """how far apart two classes of a row lie in it"""
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
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype,
        class_weights: NDArray[np.floating[Any]] | None = None,
        smoothing: float = 0.0,
    ) -> SoftmaxWorkspace:
        """Buffers for scores of `shape`, and target distributions with so much label smoothing."""
        *members, rows, classes = shape
        share, low = 1 / rows, smoothing / classes
        short = rows > 1 and classes <= SHORT_ROW
        memory = [np.empty((*members, classes, rows) if short else shape, dtype) for _ in range(3)]
        log_p, p, q = (array.mT if short else array for array in memory)
        numbers = np.arange(int(np.prod(shape)), dtype=np.intp).reshape(memory[0].shape)
        return cls(
            log_p=log_p,
            p=p,
            q=q,
            row_sum=np.empty((*members, rows, 1), dtype),
            row_log=np.empty((*members, rows, 1), dtype),
            row_loss=np.empty((*members, rows)),
            short_rows=short,
            shifted=memory[0].reshape(shape),
            e=memory[1].reshape(shape),
            flat_log_p=memory[0].reshape(-1),
            flat_p=memory[1].reshape(-1),
            flat_q=memory[2].reshape(-1),
            place=(numbers[..., 0, :] if short else numbers[..., 0]).copy(),
            class_stride=rows if short else 1,
            index=np.empty((*members, rows), np.intp),
            share=share,
            low=low * share,
            high=(1 - smoothing + low) * share,
            class_weights=None if class_weights is None else np.asarray(class_weights, dtype),
        )

    def find(self, target: Target) -> Indices:
        """Where the number of each row's class `target` lies in the flat vectors (..., n)."""
        np.multiply(target, self.class_stride, out=self.index)
        return np.add(self.index, self.place, out=self.index)


def log_softmax(scores: Array, ws: SoftmaxWorkspace) -> None:
    """Write log p, e^(z - max z) and the sum of the latter over the classes into `ws`."""
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
    """The same where no row has a weight; NumPy sums long rows in another order, so they are left to it."""
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
    """Write q into `ws`; the sum of each row."""
    ws.q.fill(ws.low)
    ws.flat_q.put(ws.find(target), ws.high)
    if weights is None and ws.class_weights is None:
        return ws.share
    if ws.class_weights is not None:
        np.multiply(ws.q, ws.class_weights, out=ws.q)
    if weights is not None:
        np.multiply(ws.q, weights[..., None], out=ws.q)
    return np.add.reduce(ws.q, axis=-1, keepdims=True, out=ws.row_log)
