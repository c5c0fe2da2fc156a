"""How much does each column contribute to one prediction?

Shapley values (Štrumbelj & Kononenko 2014, "Explaining prediction models and individual predictions with feature
contributions"; Lundberg & Lee 2017, "A unified approach to interpreting model predictions"), interventional: f is the
whole model, x the row, b a row of the background. For a set S of columns, v(S) = f(x in S, b elsewhere), and the
contribution of column i is the mean of v(S and i) - v(S) over all orders in which the columns can enter, S being those
before i:

    phi_i = sum over S without i of |S|! (d - |S| - 1)! / d! (v(S and i) - v(S))

then the mean over the background. The contributions add up to f(x) - mean f(b) (efficiency), and for a linear model
phi_i = w_i (x_i - mean b_i). Few columns are computed exactly; of more, each row of the background enters with one
random order and its reverse, which cancels most of the noise (antithetic variates) and keeps the sum exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

from mlptrain.nn.arrays import Array, Indices

Values = NDArray[np.float64]
Predict = Callable[[Array], Values]
"""Inputs (n, width) to predictions (n, outputs)."""
EXACT = 8
"""Columns up to which all sets are computed."""
_CELLS = 1_000_000  # inputs that are predicted at once


@dataclass(frozen=True)
class Contributions:
    """The contribution of each player to each output, in the units of the prediction."""

    values: Values
    """(players, outputs)"""
    errors: Values
    """(players, outputs): their standard errors, for another background and other orders"""
    prediction: Values
    """(outputs,): f(x)"""
    mean: Values
    """(outputs,): the mean of f over the background"""
    orders: int
    """Orders of the players that were drawn; 0 if all were computed."""


def contributions(
    predict: Predict, x: Array, background: Array, players: Sequence[Indices], rng: np.random.Generator, rounds: int = 1
) -> Contributions:
    """The Shapley values of the `players`, each some inputs of `x` (width,), against `background` (rows, width).

    Where not all sets are computed, each row of the background has `rounds` pairs of orders.
    """
    exact = len(players) <= EXACT
    repeated = background if exact else np.tile(background, (rounds, 1))
    each = all_sets(predict, x, background, players) if exact else two_orders(predict, x, repeated, players, rng)
    errors = each.std(axis=0, ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.full(each.shape[1:], np.nan)
    ends = predict(np.concatenate([x[None], background]))
    return Contributions(each.mean(axis=0), errors, ends[0], ends[1:].mean(axis=0), 0 if exact else 2 * len(each))


def all_sets(predict: Predict, x: Array, background: Array, players: Sequence[Indices]) -> Values:
    """(rows, players, outputs): the exact contributions against each row, from all sets of players."""
    d = len(players)
    inside = (np.arange(2**d)[:, None] >> np.arange(d)) & 1 == 1
    size = inside.sum(axis=1)
    before = np.where(inside, size[:, None] - 1, size[:, None])  # the others in the set
    orders = np.array([factorial(k) * factorial(d - 1 - k) / factorial(d) for k in range(d)])
    weights = np.where(inside, orders[before], -orders[before])
    mixed = (some for b in background for some in mixtures(x, b, players, inside))
    v = predictions(predict, mixed).reshape(len(background), 2**d, -1)
    return np.asarray(weights.T @ v)


def two_orders(
    predict: Predict, x: Array, background: Array, players: Sequence[Indices], rng: np.random.Generator
) -> Values:
    """(rows, players, outputs): the mean contributions against each row in a random order and in its reverse."""
    d = len(players)
    orders = [rng.permutation(d) for _ in background]
    mixed = (
        some
        for b, order in zip(background, orders, strict=True)
        for way in (order, order[::-1])
        for some in mixtures(x, b, players, np.argsort(way) < np.arange(d + 1)[:, None])
    )
    changes = np.diff(predictions(predict, mixed).reshape(len(background), 2, d + 1, -1), axis=2)
    each = [(there + back[::-1])[np.argsort(order)] / 2 for (there, back), order in zip(changes, orders, strict=True)]
    return np.stack(each)


def predictions(predict: Predict, mixed: Iterable[Array]) -> Values:
    """(sets, outputs): the predictions for all inputs, as many at once as memory allows."""
    found, waiting = list[Values](), list[Array]()
    for some in mixed:
        waiting.append(some)
        if sum(each.size for each in waiting) >= _CELLS:
            found.append(predict(np.concatenate(waiting)))
            waiting = []
    return np.concatenate([*found, *([predict(np.concatenate(waiting))] if waiting else [])])


def mixtures(x: Array, b: Array, players: Sequence[Indices], inside: NDArray[np.bool_]) -> Iterator[Array]:
    """The inputs of `x` in the players that are `inside` each set (sets, players), those of `b` elsewhere."""
    player_of = np.full(len(x), len(players))  # inputs of no player stay those of b
    for number, places in enumerate(players):
        player_of[places] = number
    every = max(1, _CELLS // len(x))
    for start in range(0, len(inside), every):
        some = np.pad(inside[start : start + every], ((0, 0), (0, 1)))
        yield np.where(some[:, player_of], x, b)
