"""A web service, as WSGI and as ASGI: each path burns CPU time in a function and a span of its own name."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from opentelemetry import trace

from tests.targets.burning import burn

CPU_S = 0.04  # of a request

_Scope = MutableMapping[str, Any]

tracer = trace.get_tracer("web")


def burn_checkout() -> None:
    burn(CPU_S)


def burn_search() -> None:
    burn(CPU_S)


_WORK = {"/checkout": burn_checkout, "/search": burn_search}


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """The WSGI application. Answers with the id of the process that did the work."""
    path = environ["PATH_INFO"]
    if path in _WORK:
        with tracer.start_as_current_span(path[1:]):
            _WORK[path]()
    body = str(os.getpid()).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def asgi(
    scope: _Scope,
    receive: Callable[[], Awaitable[_Scope]],
    send: Callable[[_Scope], Awaitable[None]],
) -> None:
    """The same as ASGI; other requests run while one is in its span."""
    if scope["type"] != "http":
        await _lifespan(receive, send)
        return
    path = scope["path"]
    if path in _WORK:
        with tracer.start_as_current_span(path[1:]):
            await asyncio.sleep(0)
            _WORK[path]()
            await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


async def _lifespan(
    receive: Callable[[], Awaitable[_Scope]], send: Callable[[_Scope], Awaitable[None]]
) -> None:
    for event in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{event}.complete"})
