"""How are the error function and the normal distribution computed, which NumPy lacks?

erf(x) = 1 - e^(-x Q(x)) for x >= 0, where Q(x) = -log(1 - erf(x)) / x is smooth: a polynomial of degree 28, the
Chebyshev interpolant on [0, 6] computed with 60 digits, gives erf to a relative error of 2e-15. Beyond 6, 1 - erf is
below 3e-17. In float32 a polynomial of degree 10 on [0, 4] is accurate to 7e-9; beyond 4, 1 - erf is below 2e-8.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from mlptrain.nn.arrays import Array
from mlptrain.nn.kernels import clip

_DOUBLE = (
    6.0,
    3.5734543473270377,
    2.7302993416762154,
    0.1418833147275137,
    -0.07517628857001607,
    0.03863690674224108,
    -0.018735843794652134,
    0.008266968590780069,
    -0.0030797965401147694,
    0.0007410420996538429,
    0.00015243802509583553,
    -0.000377999965497121,
    0.00034040663149902063,
    -0.00023234473445335287,
    0.00013266430929801366,
    -6.218215449489372e-05,
    1.880174811826117e-05,
    -4.589940904570426e-08,
    -1.1222554526823892e-06,
    4.1653994885522865e-06,
    -1.2737385681469946e-05,
    7.539352682493247e-06,
    6.201898326420553e-06,
    -3.92353241411305e-06,
    -5.7422141132510094e-06,
    3.2912739121046513e-06,
    2.5289110693148776e-06,
    -1.6666567933655897e-06,
    -3.3821873179788537e-07,
    2.687461242152075e-07,
)
_SINGLE = (
    4.0,
    2.682470632308319,
    1.7356904366110129,
    0.11181154228581947,
    -0.04595638059064207,
    0.017384402015818003,
    -0.005635486777997391,
    0.0013390925682936962,
    -8.76520356027193e-05,
    -0.00023997481295146112,
    0.00027177498250455863,
    -0.00010383127281341062,
)
"""The end of the interval, then the coefficients of Q in powers of t = 2x/end - 1, constant first."""


def erf_polynomial(itemsize: int) -> tuple[float, ...]:
    """The end of the interval and the coefficients of Q for numbers of so many bytes."""
    return _SINGLE if itemsize == 4 else _DOUBLE


def erf(z: Array, scale: float, out: Array, scratch: Array) -> None:
    """Write the error function of `scale * z`, for a positive `scale`, into `out`; the three arrays must differ."""
    end, *q = erf_polynomial(z.dtype.itemsize)
    t = scratch
    np.abs(z, out=t)
    clip(t, 0, end / scale, out=t)
    np.multiply(t, 2 * scale / end, out=t)
    np.subtract(t, 1, out=t)
    out.fill(q[-1])
    for coefficient in q[-2::-1]:
        np.multiply(out, t, out=out)
        np.add(out, coefficient, out=out)
    np.add(t, 1, out=t)
    np.multiply(t, -end / 2, out=t)
    np.multiply(out, t, out=out)
    np.expm1(out, out=out)
    np.abs(out, out=out)
    np.copysign(out, z, out=out)


def normal_distribution(z: Array, out: Array, scratch: Array) -> None:
    """Write P(z) = (1 + erf(z / sqrt 2)) / 2 into `out`."""
    erf(z, sqrt(0.5), out, scratch)
    np.add(out, 1, out=out)
    np.multiply(out, 0.5, out=out)
