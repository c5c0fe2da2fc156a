"""How many threads do the matrix products of a run use?

The number is chosen once, from the size of the products and the cores of the machine, and never by timing: two runs of
one spec must give the same bytes, and the number of threads can change the last digit of a sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mlptrain.nn.layout import Layout
from mlptrain.system import bound_cores

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

GRAIN = 2_000_000
"""Multiplications of the largest product for which an additional thread pays off.

With two threads instead of one, a step of 2 million took 0.9 to 1.2 of the time, of 4 million 0.8 to 0.9, of 8 million
0.7. While another process kept one of two cores busy, the second thread made steps of every size up to three times
slower.
"""
QUOTA = Path("/sys/fs/cgroup/cpu.max")


def choose_threads(layout: Layout, rows: int, members: int | None = None) -> int:
    """The number of threads that a batch of `rows` rows keeps busy, at most one per core; members are divided."""
    if members is not None:
        return max(1, min(rows * layout.parameter_size // GRAIN, cores(), members))
    largest = rows * max(math.prod(tensor.shape) for tensor in layout.parameters)
    return max(1, min(largest // GRAIN, cores()))


def cores() -> int:
    """Number of cores that the process may use: the smallest limit of affinity, container and BLAS settings."""
    from threadpoolctl import threadpool_info

    pools = [int(pool["num_threads"]) for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(1, min(bound_cores(), granted(), *pools))


def granted() -> int:
    """The CPU quota of a Linux container in whole cores, at least one; a large number without a quota."""
    try:
        quota, period = QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 1 << 16
    return 1 << 16 if quota == "max" else max(1, int(quota) // int(period))


def blas_library() -> str:
    """Name, version and kernels of the BLAS library; another one may round differently."""
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    own = [pool for pool in pools if "numpy" in Path(pool["filepath"]).parent.name]  # others may have brought theirs
    pools = own or pools
    facts = [(pool["internal_api"], pool["version"], pool.get("architecture")) for pool in pools]
    return ", ".join(" ".join(filter(None, fact)) for fact in facts)


@contextmanager
def blas_threads(number: int, api: str = "blas") -> Iterator[None]:
    """Let matrix products use `number` threads; with `openmp` the loops of the libraries that are loaded."""
    pools = blas_pools() if api == "blas" else loaded_pools()
    with pools.limit(limits=number, user_api=api):
        yield


def loaded_pools() -> ThreadpoolController:
    """The threads of all libraries that are loaded."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@lru_cache(1)
def blas_pools() -> ThreadpoolController:
    """The threads of the matrix products; to look for the libraries takes a millisecond, and NumPy brings its own."""
    return loaded_pools()
