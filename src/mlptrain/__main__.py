"""`mlptrain` and `python -m mlptrain` start here: an interrupt is one line, from the first import to the last flush."""

import os
import signal
import sys


def say_unless_interrupted(event: "sys.UnraisableHookArgs") -> None:
    """Say what could not be raised, as Python does; but an interrupt is noted, and is told once, by the one it ends."""
    if not issubclass(event.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(event)


def main() -> None:
    """Run the command line and leave with its exit code, whatever becomes of the streams and whenever Ctrl-C comes."""
    code: str | int | None = 130
    try:
        from mlptrain.system import note_interrupts

        note_interrupts()
        sys.unraisablehook = say_unless_interrupted
        from mlptrain.cli import main as run

        run()
        code = 0
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        os.write(2, b"mlptrain: interrupted\n")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to do that it could stop
    from mlptrain.cli.streams import flushed

    sys.exit(code if flushed() or code else 5)


if __name__ == "__main__":
    main()
