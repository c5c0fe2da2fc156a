"""On what was it measured? Processor, system, versions, and which kernels the matrix products run on."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OPENBLAS_VARIABLES = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS")


def choose_core(core: str | None) -> None:
    """For every process started from now on, let OpenBLAS choose its kernels, as for a user, or take those of `core`.

    With its own kernels a matrix product may be twice as fast as with those that an environment variable asks for.
    """
    for name in OPENBLAS_VARIABLES:
        os.environ.pop(name, None)
    if core is not None:
        os.environ["OPENBLAS_CORETYPE"] = core


def blas() -> dict[str, Any]:
    """The library of NumPy's matrix products in this process, and its `threads`."""
    from threadpoolctl import threadpool_info

    pool = next(pool for pool in threadpool_info() if pool["user_api"] == "blas")
    return {
        "blas": f"{pool['internal_api']} {pool['version']}, core {pool.get('architecture', 'unknown')}",
        "threads": pool["num_threads"],
    }


def installed(package: str) -> str | None:
    """The version of `package`, None where it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """This machine, and the versions of `packages`."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: installed(name) for name in sorted({"mlptrain", "numpy", "polars", *packages})},
    }


def processor() -> str:
    """The name that the processor gives itself."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
