"""The command line, with one file per command. Heavy imports are delayed until a command needs them."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from mlptrain.cli.app import app
from mlptrain.cli.streams import between_words, prepare_streams, printable, shortened, silence
from mlptrain.errors import MlptrainError
from mlptrain.system import INTERRUPTS, can_start_threads, note_interrupts

CommandLineError: type[Exception] = typer.BadParameter.__bases__[0]
"""What typer raises for a command or an option that is wrong; it has no public name of its own."""


def main() -> None:
    """Run the command line; every error becomes one message on stderr and its exit code."""
    spare_collections()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # none is needed, and looking for them takes time
    prepare_streams()
    debug = "--debug" in sys.argv
    if debug:
        sys.argv.remove("--debug")
    with noting_interrupts() as interrupts, only_command(sys.argv[1:2]):
        run_app(interrupts, debug)


def run_app(interrupts: list[int], debug: bool) -> None:
    """Run a command and leave with its exit code; `interrupts` are those so far."""
    try:
        code = app(prog_name="mlptrain", standalone_mode=False)
        if code and interrupts:  # Typer says nothing about an interrupt that reached it
            fail("interrupted", 130, debug)
        sys.exit(code)
    except MlptrainError as error:
        fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", 130, debug)
    except CommandLineError as error:
        if not str(error):  # there were no arguments, and the help was printed
            sys.exit(2)
        fail(command_line_mistake(error), 2, debug)
    except MemoryError as error:
        fail(f"not enough memory: {error}; lower training.batch_size or the widths of the network", 5, debug)
    except BrokenPipeError:  # whoever read stdout has seen enough
        silence(sys.stdout)
    except OSError as error:
        fail(system_fault(error), 5, debug)
    except Exception as error:
        if interrupts:  # a library made an error of its own of it
            fail("interrupted", 130, debug)
        if isinstance(error, RuntimeError) and not can_start_threads():  # Python has no specific exception for this
            fail("no thread can be started; raise the limits on processes and memory (ulimit -u, ulimit -v)", 5, debug)
        bug = f"a bug in mlptrain: {type(error).__name__}: {error}; run again with --debug and report what it prints"
        fail(bug, 1, debug)


@contextmanager
def only_command(words: list[str]) -> Iterator[None]:
    """Give Typer only the command that is named, if one is: it makes all that it is given, which takes time."""
    every = app.registered_commands
    named = [one for one in every if one.callback and [one.name or one.callback.__name__] == words]
    app.registered_commands = named or every
    try:
        yield
    finally:
        app.registered_commands = every


@contextmanager
def noting_interrupts() -> Iterator[list[int]]:
    """Note each SIGINT in this context; yields those so far."""
    began = note_interrupts()
    try:
        yield INTERRUPTS
    finally:
        INTERRUPTS.clear()
        if began:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def system_fault(error: OSError) -> str:
    """A message about a call of the operating system that failed where no better words were found for it."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}; --debug shows which call it was"


def command_line_mistake(error: Any) -> str:
    """A message about a mistake in the command line, with what was meant, as far as it can be known."""
    command = error.ctx.command_path if error.ctx is not None else "mlptrain"
    options = (
        [name for each in error.ctx.command.params for name in each.opts if name.startswith("--")]
        if error.ctx is not None
        else []
    )
    message, option = error.format_message().rstrip("."), getattr(error, "option_name", None)
    if option is not None:
        message = f"no option '{option}'{meant_option(option.lstrip('-'), options)}"
    return f"{message[:1].lower()}{message[1:]}; all options: {command} --help"


def meant_option(word: str, options: list[str]) -> str:
    """The option or the setting that an unknown option most likely means."""
    from mlptrain.component import did_you_mean
    from mlptrain.spec.experiment import Experiment
    from mlptrain.spec.load import all_paths

    name = word.replace("-", "_")
    path = next((path for path in all_paths(Experiment) if name in (path, path.rpartition(".")[2])), None)
    if path is not None:
        return f"; it is a setting: --set {path}=VALUE"
    guess = did_you_mean(f"--{word}", options)
    return f"; {guess}" if guess else ""


def spare_collections() -> None:
    """Collect garbage less often: imports create many objects and no garbage, and memory is freed at exit anyway.

    With Python's default, garbage collection takes a fifth of a short run, half of it at exit.
    """
    gc.set_threshold(1_000_000)
    atexit.register(gc.freeze)


def fail(message: str, exit_code: int, debug: bool) -> NoReturn:
    """Print `message` (with --debug after the traceback) and exit."""
    if debug:
        traceback.print_exc()
    text = f"mlptrain: {shortened(printable(message))}"
    if sys.stderr.isatty():
        text = between_words(text, shutil.get_terminal_size().columns)
    sys.stderr.write(f"{text}\n")
    sys.exit(exit_code)
