"""Scalers of numeric columns, and their inverses."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mlptrain.component import Component
from mlptrain.nn.special import normal_distribution

Values = NDArray[np.float64]
Counts = NDArray[np.int64]
BOUND = 3.0  # of the values that RobustClip gives
STEEPEST = 300.0  # exponent up to which Log is inverted: e^300, whose square is a number
FAR = 1e9  # scaled values beyond it are at the bound to rounding
_SAMPLE = 1 << 20  # values of a longer column that a scaler without `fit_counted` is fitted on


class Scaler(Component):
    """Maps a numeric column to a range that suits training. Its fitted statistics are an array (k, width)."""

    is_identity: ClassVar[bool] = False
    """Whether it leaves values as they are."""
    suits_targets: ClassVar[bool] = True
    """Whether a target may be scaled by it."""
    lowest_target: ClassVar[float] = -np.inf
    """The lowest target that it can scale."""

    @abstractmethod
    def fit(self, values: Values) -> Values:
        """The statistics that `apply` needs, from training values (rows, width) without missing ones."""

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        """The same as `fit` for one column, given its distinct values in increasing order (k,) and their counts (k,).

        A scaler that does not override this is fitted on a sample in these proportions.
        """
        share = min(1.0, _SAMPLE / counts.sum())
        return self.fit(np.repeat(values, np.ceil(counts * share).astype(np.int64))[:, None])

    def misfit(self, fitted: Values) -> str | None:
        """Why the statistics `fitted` (k, width) cannot be its own, as those of a damaged file may not be."""
        rows = number_of_statistics(self)
        if len(fitted) != rows or not np.isfinite(fitted).all():
            return f"must be {rows} rows of numbers for scale {self.name()}"
        return None

    @abstractmethod
    def apply(self, values: Values, fitted: Values) -> Values:
        """Scaled values (rows, width)."""

    @abstractmethod
    def invert(self, scaled: Values, fitted: Values) -> Values:
        """The inverse of `apply`: values (rows, width) in the original units."""


def misfit(scaler: Scaler, fitted: Sequence[Sequence[float]], columns: int) -> str | None:
    """Why the rows `fitted` cannot be the statistics of `scaler` for that many columns, as in a damaged file."""
    if {len(row) for row in fitted} != {columns}:
        return f"must be rows of {columns} {'number' if columns == 1 else 'numbers'}"
    return scaler.misfit(np.asarray(fitted))


@lru_cache(64)
def number_of_statistics(scaler: Scaler) -> int:
    """How many numbers `scaler` keeps of a column."""
    return len(scaler.fit(np.zeros((2, 1))))


class AffineScaler(Scaler):
    """(x - offset) / scale; the fitted rows are offset and scale."""

    def misfit(self, fitted: Values) -> str | None:
        return super().misfit(fitted) or without_scale(fitted[1:])

    def apply(self, values: Values, fitted: Values) -> Values:
        scaled: Values = values - fitted[0]
        np.divide(scaled, fitted[1], out=scaled)
        return scaled

    def invert(self, scaled: Values, fitted: Values) -> Values:
        return np.asarray(scaled * fitted[1] + fitted[0])


def without_scale(scales: Values) -> str | None:
    """What is wrong with fitted scales that are not above 0."""
    return None if (scales > 0).all() else "must have scales above 0"


UNVARYING = (
    r"s \leftarrow 1 \quad \mathrm{where} \quad s \le 10 \varepsilon \lvert m\rvert, \qquad \varepsilon = 2^{-52}"
)
"""The formula for a constant column."""


class Standard(AffineScaler):
    """(x - mean) / (biased standard deviation); a constant column becomes 0."""

    kind: Literal["standard"] = "standard"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = \frac{1}{N} \sum_r x_r",
        r"s = \sqrt{\frac{1}{N} \sum_r (x_r - m)^2}",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        mean = values.mean(axis=0)
        mean = np.where((values == values[0]).all(axis=0), values[0], mean)  # the mean of equal numbers may round
        centred = values - mean
        largest = np.maximum(np.maximum(centred.max(axis=0), -centred.min(axis=0)), np.finfo(float).tiny)
        np.divide(centred, largest, out=centred)  # so that no square overflows or underflows
        std = largest * np.sqrt(np.square(centred, out=centred).mean(axis=0))
        return np.stack([mean, varying(std, mean)])

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        mean = float(np.average(values, weights=counts))
        std = np.sqrt(np.average((values - mean) ** 2, weights=counts))
        return np.array([[mean], varying(np.array([std]), np.array([mean]))])


class MinMax(AffineScaler):
    """(x - min) / (max - min): training values lie in [0, 1]; a constant column becomes 0."""

    kind: Literal["minmax"] = "minmax"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = \min_r x_r, \qquad s = \max_r x_r - m",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        low, high = values.min(axis=0), values.max(axis=0)
        return np.stack([low, varying(high - low, low)])

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        return self.fit(values[counts > 0, None])


class Robust(AffineScaler):
    """(x - median) / (interquartile range); outliers have little influence on the scale.

    If the quartiles coincide although the column varies, as in a column of mostly zeros, the standard deviation
    replaces the interquartile range.
    """

    kind: Literal["robust"] = "robust"
    formula: ClassVar = (
        r"x \leftarrow \frac{x - m}{s}, \qquad m = Q(1/2), \qquad s = Q(3/4) - Q(1/4)",
        r"s \leftarrow \sqrt{\frac{1}{N} \sum_r (x_r - \bar x)^2} \quad \mathrm{where} \quad Q(3/4) = Q(1/4)",
        UNVARYING,
    )

    def fit(self, values: Values) -> Values:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        return self._fitted(low, middle, high, Standard().fit(values)[1])

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        low, middle, high = counted_quantiles(values, counts, np.array([0.25, 0.5, 0.75]))[:, None]
        return self._fitted(low, middle, high, Standard().fit_counted(values, counts)[1])

    @staticmethod
    def _fitted(low: Values, middle: Values, high: Values, std: Values) -> Values:
        spread = varying(high - low, middle, otherwise=np.nan)
        return np.stack([middle, np.where(np.isnan(spread), std, spread)])


class RobustClip(Scaler):
    """z = (x - median) / (interquartile range), then z / sqrt(1 + (z / 3)^2): outliers approach -3 and 3 smoothly.

    If the quartiles coincide although the column varies, half the range replaces the interquartile range. It is for
    inputs only: a target that is bounded could not be predicted beyond its bounds.
    """

    kind: Literal["robust_clip"] = "robust_clip"
    formula: ClassVar = (
        r"x \leftarrow \frac{z}{\sqrt{1 + (z / 3)^2}}, \qquad z = \frac{x - Q(1/2)}{s}, \qquad s = Q(3/4) - Q(1/4)",
        r"s \leftarrow \frac{1}{2} (\max_r x_r - \min_r x_r) \quad \mathrm{where} \quad Q(3/4) = Q(1/4)",
    )
    suits_targets: ClassVar = False

    def misfit(self, fitted: Values) -> str | None:
        return super().misfit(fitted) or without_scale(fitted[1:])

    def fit(self, values: Values) -> Values:
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
        return self._fitted(low, middle, high, values.max(axis=0) / 2 - values.min(axis=0) / 2)

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        low, middle, high = counted_quantiles(values, counts, np.array([0.25, 0.5, 0.75]))[:, None]
        return self._fitted(low, middle, high, np.ptp(values[counts > 0, None], axis=0) / 2)

    @staticmethod
    def _fitted(low: Values, middle: Values, high: Values, half: Values) -> Values:
        spread = varying(high - low, middle, otherwise=np.nan)
        return np.stack([middle, np.where(np.isnan(spread), varying(half, middle), spread)])

    def apply(self, values: Values, fitted: Values) -> Values:
        z: Values = values - fitted[0]
        np.divide(z, fitted[1], out=z)
        np.clip(z, -FAR, FAR, out=z)  # so that no square overflows
        scratch = np.square(z / BOUND)
        scratch += 1
        return np.divide(z, np.sqrt(scratch, out=scratch), out=z)

    def invert(self, scaled: Values, fitted: Values) -> Values:
        inside = np.clip(scaled / BOUND, -1 + 1e-12, 1 - 1e-12)
        return np.asarray(BOUND * inside / np.sqrt(1 - inside**2) * fitted[1] + fitted[0])


class Log(Scaler):
    """z = log(1 + x / c), then (z - mean) / std: for quantities of many sizes, such as prices, incomes or counts.

    c is the 5 % quantile of the training values above 0, so that z follows log(x) for nearly all of them and 0 is 0. A
    value below 0 is mapped to the negative of what its opposite is mapped to. A target must be 0 or more.

    With a target on this scale, errors are relative: 90 for 100 is as wrong as 900 for 1000. The mean of the logarithm
    is not the logarithm of the mean: of a skewed target, the predictions are near its median, below its mean.
    """

    kind: Literal["log"] = "log"
    formula: ClassVar = (
        r"x \leftarrow \frac{z - m}{s}, \qquad z = \mathrm{sign}(x) \log(1 + \frac{\lvert x \rvert}{c})",
        r"c = Q(1/20) \quad \mathrm{of\ the} \quad \lvert x_r \rvert \ne 0",
        UNVARYING,
    )
    lowest_target: ClassVar = 0.0

    def misfit(self, fitted: Values) -> str | None:
        return super().misfit(fitted) or without_scale(fitted[[0, 2]])

    def fit(self, values: Values) -> Values:
        unit = np.array([unit_of(column[column != 0]) for column in values.T])
        return np.vstack([unit, Standard().fit(self._logarithm(values, unit))])

    def apply(self, values: Values, fitted: Values) -> Values:
        return np.asarray((self._logarithm(values, fitted[0]) - fitted[1]) / fitted[2])

    def invert(self, scaled: Values, fitted: Values) -> Values:
        z = scaled * fitted[2] + fitted[1]
        return np.asarray(np.sign(z) * fitted[0] * np.expm1(np.minimum(np.abs(z), STEEPEST)))

    @staticmethod
    def _logarithm(values: Values, unit: Values) -> Values:
        return np.asarray(np.sign(values) * np.log1p(np.abs(values) / unit))


def unit_of(values: Values) -> float:
    """The 5 % quantile of the sizes of `values`, none of which is 0; 1 if there are none."""
    return float(np.quantile(np.abs(values), 0.05)) if len(values) else 1.0


class QuantileNormal(Scaler):
    """Maps the quantiles of the training values to those of the standard normal distribution.

    The fitted statistics are `knots` quantiles at evenly spaced ranks. The rank of a value is found by linear
    interpolation between them (the mean of the ranks, where values repeat), clipped to [1/(2 knots), 1 - 1/(2 knots)]
    and mapped by the inverse normal distribution function.
    """

    kind: Literal["quantile"] = "quantile"
    formula: ClassVar = (
        r"x \leftarrow \Phi^{-1}(\min(\max(\tau, \epsilon), 1 - \epsilon)), \qquad x = Q(\tau)",
        r"\epsilon = \frac{1}{2 \cdot \mathrm{knots}}",
    )
    knots: int = Field(101, ge=3, le=10_001, description="Number of quantiles that are stored.")
    examples: ClassVar = ({}, {"knots": 11})

    def misfit(self, fitted: Values) -> str | None:
        falls = np.diff(fitted, axis=0) < -1e-9 * np.abs(fitted).max(initial=0)  # by more than rounding
        return super().misfit(fitted) or ("must be quantiles, which do not fall" if falls.any() else None)

    def fit(self, values: Values) -> Values:
        return np.asarray(np.quantile(values, np.linspace(0, 1, self.knots), axis=0))

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        return counted_quantiles(values, counts, np.linspace(0, 1, self.knots))[:, None]

    def apply(self, values: Values, fitted: Values) -> Values:
        out = np.empty_like(values)
        ranks, edge = np.linspace(0, 1, self.knots), 0.5 / self.knots
        for j in range(values.shape[1]):
            up = np.interp(values[:, j], fitted[:, j], ranks)
            down = 1 - np.interp(-values[:, j], -fitted[::-1, j], ranks)
            out[:, j] = normal_quantile(np.clip((up + down) / 2, edge, 1 - edge))
        return out

    def invert(self, scaled: Values, fitted: Values) -> Values:
        out = np.empty_like(scaled)
        ranks = np.linspace(0, 1, self.knots)
        for j in range(scaled.shape[1]):
            column = fitted[:, min(j, fitted.shape[1] - 1)]
            out[:, j] = np.interp(normal_rank(scaled[:, j]), ranks, column)
        return out


def normal_rank(z: Values) -> Values:
    """The standard normal distribution function at `z`."""
    out, scratch = np.empty_like(z), np.empty_like(z)
    normal_distribution(z, out, scratch)
    return out


def normal_quantile(rank: Values) -> Values:
    """The inverse of `normal_rank` by Newton's method on the smaller tail, to rounding."""
    tail = np.minimum(rank, 1 - rank)
    z = -np.sqrt(np.maximum(-2 * np.log(2 * tail), 0))  # exact in the middle, of the right order in the tail
    for _ in range(50):
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        step = (normal_rank(z) - tail) / density
        z = z - np.clip(step, -1, 1)
        if np.abs(step).max(initial=0) < 1e-14:
            break
    return np.asarray(np.where(rank < 0.5, z, -z))


class NoScaling(AffineScaler):
    """No scaling: the values unchanged."""

    kind: Literal["none"] = "none"
    formula: ClassVar = (r"x \leftarrow x",)
    is_identity: ClassVar = True

    def fit(self, values: Values) -> Values:
        return np.stack([np.zeros(values.shape[1]), np.ones(values.shape[1])])

    def fit_counted(self, values: Values, counts: Counts) -> Values:
        return np.array([[0.0], [1.0]])


def varying(scale: Values, offset: Values, otherwise: float = 1.0) -> Values:
    """`scale`, or `otherwise` where it is no more than the rounding error of `offset`."""
    return np.where(scale > 10 * np.finfo(float).eps * np.abs(offset), scale, otherwise)


def counted_quantiles(values: Values, counts: Counts, shares: Values) -> Values:
    """The quantiles at `shares`, as np.quantile, of a column given by its increasing `values` and their `counts`."""
    place = shares * (counts.sum() - 1)
    below = np.floor(place).astype(np.int64)
    ends = np.cumsum(counts)
    low, high = (values[np.searchsorted(ends, np.minimum(at, ends[-1] - 1), side="right")] for at in (below, below + 1))
    return np.asarray(low + (high - low) * (place - below))
