"""Compiles the loops of `src/mlptrain/_loops.c` where there is a C compiler; without one, NumPy does their work.

No flag that changes a result: a multiplication and an addition stay two operations, as they are in NumPy.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "mlptrain._loops",
            ["src/mlptrain/_loops.c"],
            extra_compile_args=["-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno"],
            optional=True,
        )
    ]
)
