"""Which loops run compiled, where they can?

The NumPy form of a computation, beside its formula, is its definition and runs everywhere. Of a few that every training
step goes through there is a compiled form too, in `_loops.c`: it goes over memory once instead of several times and
does the same operations in the same order, so that the result is the same to the last bit. A run is the same bytes with
either.

Each function here answers whether it did the work. It does not where there was no C compiler at installation, where
the environment variable MLPTRAIN_LOOPS is `numpy`, or where an array is not float32 in one piece; then NumPy does it.
It fills what is only room to work in row after row, in whichever order that lies.
Shapes: z, grad, out (n, k); row (k,); sums, log_sums, target, loss (n,); w, g, m, v all alike.
"""

from __future__ import annotations

import os

__all__ = ["PRESENT", "adam", "add_row", "cross_entropy", "less_largest", "positive_part", "scale_between", "sum_rows"]


def nothing(*arguments: object) -> bool:
    """What stands in for each of them: it leaves the work to NumPy."""
    return False


try:
    if os.environ.get("MLPTRAIN_LOOPS") == "numpy":
        raise ImportError("compiled loops are not wanted")
    from mlptrain._loops import adam, add_row, cross_entropy, less_largest, positive_part, scale_between, sum_rows

    PRESENT = True
except ImportError:
    adam = add_row = cross_entropy = less_largest = positive_part = scale_between = sum_rows = nothing
    PRESENT = False
