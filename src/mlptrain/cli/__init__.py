"""The command line: one file a verb. Nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback

from mlptrain.cli.app import app
from mlptrain.errors import MlptrainError
from mlptrain.system import can_start_threads


def main() -> None:
    """Run the command line; every error becomes one message on stderr and its exit code."""
    spare_collections()
    replace_closed_streams()
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    try:
        app()
    except MlptrainError as error:
        fail(str(error), error.exit_code, debug)
    except KeyboardInterrupt:
        fail("interrupted", 130, debug)
    except SystemExit as error:  # typer's own end, also of an interrupt
        if error.code == 130:
            fail("interrupted", 130, debug)
        raise
    except MemoryError as error:
        fail(f"not enough memory: {error}; lower training.batch_size or the widths of the network", 5, debug)
    except Exception as error:
        if isinstance(error, RuntimeError) and not can_start_threads():  # Python has no class for that
            fail("no thread can be started; raise the limits on processes and memory (ulimit -u, ulimit -v)", 5, debug)
        fail(
            f"a bug in mlptrain: {type(error).__name__}: {error}; run again with --debug and report what it prints",
            1,
            debug,
        )


def spare_collections() -> None:
    """Look for garbage less often: imports leave many objects and no garbage, and the end of the process takes it all.

    At Python's own pace, looking takes a fifth of a short run, half of that at the exit.
    """
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)


def replace_closed_streams() -> None:
    """Read nothing and write to nowhere where the caller closed a stream, as in `mlptrain ... >&-`."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115  # a stream, open until the end


def fail(message: str, exit_code: int, debug: bool) -> None:
    """Print `message` (with --debug after the traceback) and leave."""
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"mlptrain: {message}\n")
    sys.exit(exit_code)
