"""How is a smooth convex function of few variables minimized to many digits?

L-BFGS: gradient descent in the metric of the last steps, which approximate the curvature. Nocedal 1980; the two loops
and the conditions of the line search as in Nocedal & Wright 2006, algorithms 7.4 and 3.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Objective = Callable[[Vector], tuple[float, Vector]]
"""The value of a function and its gradient, as a new vector."""
Point = tuple[Vector, float, Vector]
"""Variables, value and gradient."""
MEMORY = 20
"""Number of steps from which the curvature is estimated."""
_DECREASE, _CURVATURE = 1e-4, 0.9  # the two Wolfe conditions
_TRIALS = 20


def minimize(objective: Objective, start: Vector, evaluations: int, tolerance: float = 1e-9) -> Vector:
    """The minimum of `objective`, from `start`.

    It ends when no entry of the gradient exceeds `tolerance`, when rounding hides all progress, or after about that
    many `evaluations`. A function with corners is minimized less exactly.
    """
    point, steps = (start, *objective(start)), deque[tuple[Vector, Vector, float]](maxlen=MEMORY)
    while evaluations > 0 and np.abs(point[2]).max(initial=0) > tolerance:
        direction = -two_loops(point[2], steps)
        if direction.dot(point[2]) >= 0:
            steps.clear()
            direction = -point[2]
        first = 1.0 if steps else min(1.0, 1 / np.abs(point[2]).sum())
        found, used = line_search(objective, point, direction, first)
        evaluations -= used
        if found is None:
            if not steps:
                break
            steps.clear()  # the curvature has misled; start again downhill
            continue
        s, y = found[0] - point[0], found[2] - point[2]
        if s.dot(y) > 0:
            steps.append((s, y, 1 / float(s.dot(y))))
        point = found
    return point[0]


def two_loops(gradient: Vector, steps: deque[tuple[Vector, Vector, float]]) -> Vector:
    """The inverse of the estimated curvature times `gradient`; `steps` are s, y and 1 / (s y), oldest first."""
    q, shares = gradient.copy(), []
    for s, y, rho in reversed(steps):
        shares.append(rho * s.dot(q))
        q -= shares[-1] * y
    if steps:
        s, y, rho = steps[-1]
        q /= rho * y.dot(y)
    for (s, y, rho), share in zip(steps, reversed(shares), strict=True):
        q += (share - rho * y.dot(q)) * s
    return q


def line_search(objective: Objective, point: Point, direction: Vector, step: float) -> tuple[Point | None, int]:
    """A point along `direction` that satisfies the Wolfe conditions, and the number of evaluations.

    Without such a point, the best one that decreases the function; None if none does.
    """
    x, value, gradient = point
    slope = float(gradient.dot(direction))
    low, high = 0.0, np.inf
    best: Point | None = None
    for trial in range(1, _TRIALS + 1):
        there = x + step * direction
        now = (there, *objective(there))
        if not np.isfinite(now[1]) or now[1] > value + _DECREASE * step * slope:
            high = step
        else:
            if best is None or now[1] < best[1]:
                best = now
            if now[2].dot(direction) >= _CURVATURE * slope:
                return now, trial
            low = step
        step = 2 * step if np.isinf(high) else (low + high) / 2
    return best, _TRIALS
