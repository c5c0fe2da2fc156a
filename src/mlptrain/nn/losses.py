"""What does training minimize, and how do raw scores become predictions?

A loss takes the raw scores of the network (n, outputs) and the target, returns its value and writes its gradient with
respect to the scores in one call, so that the two cannot disagree. The link from scores to predictions lives here too:
an activation before a loss on raw scores cannot be written down. Values are means over rows (and outputs, where each
output has a term of its own); sums are taken in float64.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn.activations import sigmoid
from mlptrain.nn.arrays import Array, Indices, Target

TargetKind = Literal["value", "binary", "class"]


@dataclass
class LossWorkspace:
    """Room for the intermediate results of a batch of n rows."""

    like_scores: Array
    """(n, outputs)"""
    row: Array
    """(n, 1)"""
    picked: Array
    """(n,)"""
    row_starts: Indices
    """(n,), where each row begins in the flattened scores"""
    flat_index: Indices
    """(n,)"""

    @classmethod
    def allocate(cls, rows: int, outputs: int, dtype: np.dtype) -> LossWorkspace:
        """Buffers for `rows` rows of `outputs` scores."""
        starts = np.arange(rows, dtype=np.intp) * outputs
        return cls(
            np.empty((rows, outputs), dtype),
            np.empty((rows, 1), dtype),
            np.empty(rows, dtype),
            starts,
            np.empty_like(starts),
        )


class Loss(Component):
    """The function that training minimizes, on the raw scores of the network."""

    target_kind: ClassVar[TargetKind]
    """`class`: one class index a row, (n,). `binary`: (n, outputs) in [0, 1]. `value`: any numbers, (n, outputs)."""
    has_link: ClassVar[bool] = True
    """Whether predictions are a nonlinear function of the scores that belongs to this loss."""

    @abstractmethod
    def value_and_gradient(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> float:
        """The mean loss of a batch; writes its derivative by `scores` (n, outputs) into `grad`."""

    @abstractmethod
    def predict(self, scores: Array) -> Array:
        """The link: probabilities or values (n, outputs) for raw scores, as a new array."""

    @abstractmethod
    def best_constant(self, target: Target, outputs: int) -> Array:
        """The scores (outputs,) that minimize the loss when every row must get the same."""

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        """On which side of a corner of the loss each entry lies; None for a smooth loss."""
        return None

    def value(self, scores: Array, target: Target) -> float:
        """The mean loss alone, of scores of any number of rows."""
        ws = LossWorkspace.allocate(len(scores), scores.shape[1], scores.dtype)
        return self.value_and_gradient(scores, target, np.empty_like(scores), ws)


class ValueLoss(Loss):
    """A loss on values: the prediction is the score itself."""

    target_kind: ClassVar[TargetKind] = "value"
    has_link: ClassVar[bool] = False

    def predict(self, scores: Array) -> Array:
        return scores.copy()


class MeanSquaredError(ValueLoss):
    """Mean squared error: sum (p - y)^2 / (n K) over n rows and K outputs, gradient 2 (p - y) / (n K).

    Without the factor 1/2 that some texts put in front; a rate for the halved loss is half the rate here.
    """

    kind: Literal["mse"] = "mse"
    aliases: ClassVar = ("mean_squared_error",)

    def value_and_gradient(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> float:
        np.subtract(scores, target, out=grad)
        np.multiply(grad, grad, out=ws.like_scores)
        total = float(np.add.reduce(ws.like_scores, axis=None, dtype=np.float64))
        np.multiply(grad, 2 / grad.size, out=grad)
        return total / grad.size

    def best_constant(self, target: Target, outputs: int) -> Array:
        return np.asarray(np.mean(target, axis=0, dtype=np.float64))


class MeanAbsoluteError(ValueLoss):
    """Mean absolute error: sum |p - y| / (n K), gradient sign(p - y) / (n K) with sign(0) = 0."""

    kind: Literal["mae"] = "mae"
    aliases: ClassVar = ("mean_absolute_error",)

    def value_and_gradient(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> float:
        np.subtract(scores, target, out=grad)
        np.abs(grad, out=ws.like_scores)
        total = float(np.add.reduce(ws.like_scores, axis=None, dtype=np.float64))
        np.sign(grad, out=grad)
        np.multiply(grad, 1 / grad.size, out=grad)
        return total / grad.size

    def best_constant(self, target: Target, outputs: int) -> Array:
        return np.asarray(np.median(target, axis=0), dtype=np.float64)

    def corner_side(self, scores: Array, target: Target) -> Array | None:
        return np.sign(scores - target)


class BinaryCrossEntropy(Loss):
    """Binary cross-entropy on raw scores z: sum [max(z, 0) - z y + log(1 + e^-|z|)] / (n K).

    The gradient is (s(z) - y) / (n K) with the link s, the sigmoid. The value is that of -y log s - (1 - y) log(1 - s)
    without ever computing a probability, so it is finite for every finite score. Targets lie in [0, 1]; several columns
    are several labels, each with a yes or no of its own. Label smoothing e replaces y by (1 - e) y + e/2.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"
    aliases: ClassVar = ("bce",)
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target that is spread evenly over yes and no."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})
    target_kind: ClassVar[TargetKind] = "binary"

    def value_and_gradient(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> float:
        room = ws.like_scores
        np.abs(scores, out=grad)
        np.negative(grad, out=grad)
        np.exp(grad, out=grad)
        np.log1p(grad, out=grad)
        np.maximum(scores, 0, out=room)
        np.add(grad, room, out=grad)
        self._smoothed(target, room)
        np.multiply(room, scores, out=room)
        np.subtract(grad, room, out=grad)
        total = float(np.add.reduce(grad, axis=None, dtype=np.float64))
        sigmoid(scores, grad, room)
        self._smoothed(target, room)
        np.subtract(grad, room, out=grad)
        np.multiply(grad, 1 / grad.size, out=grad)
        return total / grad.size

    def _smoothed(self, target: Target, out: Array) -> None:
        np.multiply(target, 1 - self.label_smoothing, out=out)
        np.add(out, self.label_smoothing / 2, out=out)

    def predict(self, scores: Array) -> Array:
        out = np.empty_like(scores)
        sigmoid(scores, out, np.empty_like(scores))
        return out

    def best_constant(self, target: Target, outputs: int) -> Array:
        share = np.clip(np.mean(target, axis=0, dtype=np.float64), 1e-12, 1 - 1e-12)
        return np.asarray(np.log(share) - np.log1p(-share))


class CrossEntropy(Loss):
    """Cross-entropy on raw scores z with class c: mean of log(sum_k e^z_k) - z_c, gradient (p - onehot(c)) / n.

    The link is the softmax p, computed with the largest score taken out first. Label smoothing e spreads that share
    of the target over all K classes: the target is (1 - e) onehot + e/K (Szegedy et al. 2016; PyTorch's rule).
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    aliases: ClassVar = ("softmax_cross_entropy", "categorical_cross_entropy")
    label_smoothing: float = Field(
        0.0, ge=0, lt=1, description="Share of the target that is spread evenly over all classes."
    )
    examples: ClassVar = ({}, {"label_smoothing": 0.1})
    target_kind: ClassVar[TargetKind] = "class"

    def value_and_gradient(self, scores: Array, target: Target, grad: Array, ws: LossWorkspace) -> float:
        n, classes = len(scores), scores.shape[1]
        flat = grad.reshape(-1)
        np.add(ws.row_starts, target, out=ws.flat_index)

        np.maximum.reduce(scores, axis=1, keepdims=True, out=ws.row)
        np.subtract(scores, ws.row, out=grad)  # z - max z
        flat.take(ws.flat_index, out=ws.picked, mode="clip")
        total = -(1 - self.label_smoothing) * float(np.add.reduce(ws.picked, dtype=np.float64))
        if self.label_smoothing:
            total -= self.label_smoothing / classes * float(np.add.reduce(flat, dtype=np.float64))

        np.exp(grad, out=grad)
        np.add.reduce(grad, axis=1, keepdims=True, out=ws.row)
        np.divide(grad, ws.row, out=grad)  # the softmax p
        np.log(ws.row, out=ws.row)
        total += float(np.add.reduce(ws.row, axis=None, dtype=np.float64))

        if self.label_smoothing:
            np.subtract(grad, self.label_smoothing / classes, out=grad)
        flat.take(ws.flat_index, out=ws.picked, mode="clip")
        np.subtract(ws.picked, 1 - self.label_smoothing, out=ws.picked)
        flat.put(ws.flat_index, ws.picked)
        np.multiply(grad, 1 / n, out=grad)
        return total / n

    def predict(self, scores: Array) -> Array:
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    def best_constant(self, target: Target, outputs: int) -> Array:
        counts = np.bincount(target, minlength=outputs)
        return np.asarray(np.log(np.maximum(counts / len(target), 1e-12)))
