"""Which requests does a server answer, within which limits?

One thread predicts, in the order in which requests are complete: the buffers of a network are not shared. Bodies are
read meanwhile, so that a slow client holds up nobody.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import mlptrain
from mlptrain.errors import EnvironmentFault
from mlptrain.serving import requests
from mlptrain.serving.answers import Answerer
from mlptrain.serving.lines import compact
from mlptrain.serving.page import SCRIPT, page
from mlptrain.serving.requests import CSV, JSON, Answer, Refusal
from mlptrain.serving.schema import schema

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

Endpoint = Callable[["Request"], Awaitable["Response"]]
Predict = Callable[[Answerer, str, bytes], Answer]
_POLICY = (
    "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    f"form-action 'none'; frame-ancestors 'none'; script-src 'sha256-"
    f"{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
"""What the page may do: run its own script and ask its own server."""


class Limits(NamedTuple):
    """What a request may take."""

    bytes: int = 1 << 24
    """Of a body."""
    seconds: float = 30.0
    """Until a body is there."""


def make_app(answerer: Answerer, limits: Limits, tell: Callable[[str], None]) -> Starlette:
    """The application that answers requests; `tell` receives what is wrong with mlptrain itself."""
    try:
        from starlette.applications import Starlette
        from starlette.routing import Route
    except ImportError as error:
        raise missing() from error
    worker = ThreadPoolExecutor(1, "predict")
    described = schema(answerer)
    text, html = compact(described), page(described)

    def route(path: str, predict: Predict) -> Route:
        return Route(path, posted(predict, Service(answerer, limits, worker, tell)), methods=["POST"])

    health = compact({"status": "ok", "model": described["name"], "mlptrain": mlptrain.__version__})
    return Starlette(
        routes=[
            Route("/", constant(html, "text/html")),
            Route("/health", constant(health, JSON)),
            Route("/ping", constant(health, JSON)),  # as MLflow calls it
            Route("/schema", constant(text, JSON)),
            route("/predict", requests.predict),
            route("/invocations", requests.invocations),
        ],
        exception_handlers={404: not_found, 405: not_allowed},
    )


def missing() -> EnvironmentFault:
    """The error where the packages of the extra are not installed."""
    return EnvironmentFault('serve needs starlette and uvicorn; install them with: pip install "mlptrain[serve]"')


class Service(NamedTuple):
    """What answers a request."""

    answerer: Answerer
    limits: Limits
    worker: ThreadPoolExecutor
    tell: Callable[[str], None]


def constant(text: str, kind: str) -> Endpoint:
    """An endpoint that always says the same."""

    async def answer(request: Request) -> Response:
        return response(text, kind)

    return answer


def posted(predict: Predict, service: Service) -> Endpoint:
    """An endpoint that predicts the rows of the body of a request."""

    from starlette.requests import ClientDisconnect

    async def answer(request: Request) -> Response:
        try:
            kind = kind_of(request)
            body = await body_of(request, service.limits)
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(service.worker, predict, service.answerer, kind, body)
            return response(found.text, found.kind)
        except Refusal as refusal:
            return response(compact(refusal.document), JSON, refusal.status)
        except ClientDisconnect:
            return response("", JSON, 400)  # to nobody
        except Exception as error:
            service.tell(f"a bug in mlptrain: {type(error).__name__}: {error}")
            return response(compact({"error": "a bug in mlptrain; the server says more about it"}), JSON, 500)

    return answer


def kind_of(request: Request) -> str:
    """The content type of a request, JSON if it has none.

    A page of another site cannot send these two types without being asked first, which is not answered here.
    """
    kind = str(request.headers.get("content-type", JSON)).partition(";")[0].strip().lower()
    if kind not in (JSON, CSV):
        raise Refusal(415, f"the content type must be {JSON} or {CSV}, not '{kind[:100]}'")
    return kind


async def body_of(request: Request, limits: Limits) -> bytes:
    """The body of a request, if it is not too large and comes in time."""
    too_large = Refusal(413, f"the body is larger than {limits.bytes:,} bytes")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length[:20]) > limits.bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > limits.bytes:
                    raise too_large
    except TimeoutError:
        raise Refusal(408, f"the body was not complete after {limits.seconds:g} seconds") from None
    if not body:
        raise Refusal(400, "the body is empty")
    return bytes(body)


def response(text: str, kind: str, status: int = 200) -> Response:
    """A response that nobody takes for another kind of content."""
    from starlette.responses import Response

    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    if kind == "text/html":
        headers["Content-Security-Policy"] = _POLICY
    if status in (408, 413):
        headers["Connection"] = "close"
    return Response(text.encode(errors="backslashreplace"), status, headers, f"{kind}; charset=utf-8")


async def not_found(request: Request, error: Any) -> Response:
    """The response to a request for something else."""
    found = "GET /, GET /schema, GET /health, POST /predict, POST /invocations"
    return response(compact({"error": f"there is no such page; there are: {found}"}), JSON, 404)


async def not_allowed(request: Request, error: Any) -> Response:
    """The response to a GET of what is for POST, or the reverse."""
    found = response(compact({"error": f"{request.url.path} does not take {request.method}"}), JSON, 405)
    found.headers.update(error.headers or {})  # Allow
    return found
