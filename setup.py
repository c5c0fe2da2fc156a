"""Compiles the loops of `src/mlptrain/_loops.c` where there is a C compiler; without one, NumPy does their work.

No flag that changes a result: a multiplication and an addition stay two operations, as they are in NumPy. The
extension keeps to Python's stable ABI, so that one wheel serves all versions of Python on a platform; a free-threaded
Python has no stable ABI yet and gets a wheel of its own.
"""

import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")
MACRO = ("Py_LIMITED_API", "0x030B0000") if STABLE_ABI else ("Py_GIL_DISABLED", "1")
FLAGS = {
    "unix": ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno"],
    "mingw32": ["-O3", "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno"],
    "msvc": ["/O2", "/fp:precise", "/std:c11"],
}


class BuildLoops(build_ext):
    """Builds with the flags that the compiler at hand understands."""

    def build_extension(self, extension: Extension) -> None:
        """Compile one extension."""
        extension.extra_compile_args = FLAGS.get(self.compiler.compiler_type, [])
        super().build_extension(extension)


setup(
    cmdclass={"build_ext": BuildLoops},
    ext_modules=[
        Extension(
            "mlptrain._loops",
            ["src/mlptrain/_loops.c"],
            define_macros=[MACRO],
            py_limited_api=STABLE_ABI,
            optional=True,
        ),
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
