"""How many threads do the matrix products of a run use?

The number is chosen once, by the size of the products and the cores of the machine, and never by a measurement: two
runs of one spec must give the same bytes, and how many threads share a sum can change its last digit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlptrain.nn.layout import Layout
from mlptrain.system import bound_cores

GRAIN = 2_000_000
"""Multiplications of the largest product that are worth a thread.

A step with 2 million took 0.9 to 1.2 of the time of one thread with two, with 4 million 0.8 to 0.9, with 8 million 0.7.
Where something else held one of two cores, the second thread made it up to three times as long, at every size.
"""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def choose_threads(layout: Layout, rows: int) -> int:
    """As many threads as a batch of `rows` rows keeps busy, at most one for each core."""
    largest = rows * max(math.prod(tensor.shape) for tensor in layout.parameters)
    return max(1, min(largest // GRAIN, cores()))


def cores() -> int:
    """How many cores the process may use: those it is bound to, those a container grants, those BLAS was told of."""
    from threadpoolctl import threadpool_info

    pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min(bound_cores(), granted(), *pools))


def granted() -> int:
    """The whole cores' worth of time that a Linux container is given, at least one; many where it has no limit."""
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 1 << 16
    return 1 << 16 if quota == "max" else max(1, int(quota) // int(period))


def blas_library() -> str:
    """The library of NumPy's matrix products, its version and its kernels; another one may round another way."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [pool for pool in pools if "numpy" in Path(pool["filepath"]).parent.name]  # others may have brought theirs
    pools = own or pools
    facts = [(pool["internal_api"], pool["version"], pool.get("architecture")) for pool in pools]
    return ", ".join(" ".join(filter(None, fact)) for fact in facts)


@contextmanager
def blas_threads(number: int) -> Iterator[None]:
    """Let matrix products use `number` threads."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(number, "blas"):
        yield
