"""mlptrain serve: a model over HTTP, and as a page to type rows into."""

from __future__ import annotations

import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from mlptrain.cli.console import print_text, stderr_console
from mlptrain.errors import EnvironmentFault, UsageError
from mlptrain.runs.model import open_model
from mlptrain.serving.answers import Answerer
from mlptrain.serving.app import Limits, make_app, missing
from mlptrain.system import STOP_SIGNALS

if TYPE_CHECKING:
    import uvicorn

_CONNECTIONS, _GRACE = 200, 5  # at most; seconds for answers that are under way at the end


class Request(NamedTuple):
    """The arguments of the command."""

    model: Path
    host: str
    port: int
    timeout: float
    """Seconds."""
    megabytes: float
    quiet: bool


def run(request: Request) -> None:
    """Run the command."""
    console = stderr_console(request.quiet)
    answerer = Answerer(open_model(request.model), name="body")
    limits = limits_of(request.megabytes, request.timeout)
    app = make_app(answerer, limits, lambda text: console.print(f"warning: {text}"))
    with listening(request.host, request.port) as door, answerer.ready():
        host, port = door.getsockname()[:2]
        print_text(f"http://{f'[{host}]' if ':' in host else host}:{port}\n")
        say_who_can_ask(host, console)
        serve(app, door)
    console.print("stopped")


def say_who_can_ask(host: str, console: Console) -> None:
    """Say how it ends, and that there is no password."""
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
        console.print("warning: everyone who reaches this machine can ask it, without a password or encryption")
    console.print("Ctrl-C ends it")


@contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens at an address; an `EnvironmentFault` with a remedy where that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise EnvironmentFault(f"--host {host}: no such address; use 127.0.0.1 for this machine alone") from error
    with socket.socket(family, kind, protocol) as door:
        if hasattr(socket, "SO_REUSEPORT") and port:  # a port that was just left is free, one in use is not
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(address)
            door.listen(128)
        except OSError as error:
            raise closed_door(host, port, error) from error
        yield door


def closed_door(host: str, port: int, error: OSError) -> EnvironmentFault:
    """Why an address cannot be listened at, and what helps."""
    remedies = {
        errno.EADDRINUSE: f"port {port} is in use; choose another with --port, or a free one with --port 0",
        errno.EACCES: f"port {port} is not for ordinary users; choose one from 1024 on with --port",
        errno.EADDRNOTAVAIL: f"{host} is not an address of this machine; use --host 127.0.0.1",
    }
    return EnvironmentFault(remedies.get(error.errno or 0, f"cannot listen at {host}, port {port}: {error.strerror}"))


def serve(app: Any, door: socket.socket) -> None:
    """Answer requests until a signal; answers that are under way are finished, a second signal ends at once."""
    try:
        import uvicorn
    except ImportError as error:
        raise missing() from error
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # clients that leave are no news; bugs are told here
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        http="h11",
        ws="none",
        loop="asyncio",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # it would send them to this process again
    with stopping(server):
        server.run(sockets=[door])


@contextmanager
def stopping(server: uvicorn.Server) -> Iterator[None]:
    """Let the signals that ask a process to stop end the server."""

    def stop(number: int, frame: FrameType | None) -> None:
        server.force_exit = server.should_exit
        server.should_exit = True

    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def limits_of(megabytes: float, seconds: float) -> Limits:
    """The limits of a request."""
    if not 0 < megabytes <= 1000 or not 0 < seconds <= 3600:
        raise UsageError("--max-megabytes must be in 0 to 1000, and --timeout in 0 to 3600")
    return Limits(int(megabytes * 1_000_000), seconds)
