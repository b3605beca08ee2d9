"""The programs W1 to W7 that a profiler is measured with; each does a fixed amount of work.

| name | program | threads | stack depth | spans |
|---|---|---|---|---|
| W1 | Richards and DeltaBlue, alternating | 1 | 5-20 | none |
| W2 | recursion 80 deep, 400 calls of a small function at its bottom | 1 | 80 | none |
| W3 | 50 threads asleep, each 10 frames deep, and one that runs Richards | 51 | 10-15 | none |
| W4 | asyncio: 200 tasks at once; a span, arithmetic, `sleep(0)`, the same again | 1 | 5 | one at a time per task |
| W5 | a web server with a pool of 4 threads, loaded by another process | 5 | 20-40 | one per request |
| W6 | JSON churn: dump, load, rebuild, keep the last 200 | 1 | 3 | none |
| W7 | C functions that release the GIL | 1 | 3 | none |

W5 is the standard library's WSGI server and not Flask, and W7 has bzip2 and PBKDF2 in place of numpy's
functions: nothing need be installed for them.
"""

import asyncio
import bz2
import hashlib
import http.client
import json
import random
import subprocess
import sys
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from opentelemetry import trace

from benchmarks.classics import deltablue, richards

_SLEEPERS, _SLEEPERS_DEPTH = 50, 10
_DEPTH, _CALLS = 80, 400
_TASKS, _ITERATIONS = 200, 2_500
_POOL, _LAYERS = 4, 15
_RECORDS, _KEPT = 60, 200

Program = Callable[[float], None]


def _classics(seconds: float) -> None:
    for _ in range(round(10 * seconds)):
        richards()
        deltablue()


def _recursion(seconds: float) -> None:
    for _ in range(round(18_000 * seconds)):
        _at_depth(_DEPTH, _many_calls)


def _at_depth(depth: int, function: Callable[[], object]) -> None:
    if depth:
        _at_depth(depth - 1, function)
    else:
        function()


def _many_calls() -> int:
    total = 0
    for number in range(_CALLS):
        total += _small(number)
    return total


def _small(number: int) -> int:
    return number & 7


def _sleepers(seconds: float) -> None:
    release = threading.Event()
    for _ in range(_SLEEPERS):
        threading.Thread(target=_at_depth, args=(_SLEEPERS_DEPTH, release.wait)).start()
    for _ in range(round(14 * seconds)):
        richards()
    release.set()


def _tasks(seconds: float) -> None:
    tracer = trace.get_tracer("benchmarks")

    async def work() -> None:
        for _ in range(round(12 * seconds)):
            with tracer.start_as_current_span("work"):
                _arithmetic()
                await asyncio.sleep(0)
                _arithmetic()

    async def all_of_them() -> None:
        await asyncio.gather(*(work() for _ in range(_TASKS)))

    asyncio.run(all_of_them())


def _arithmetic() -> int:
    total = 0
    for number in range(_ITERATIONS):
        total += number * number % 7
    return total


class _Server(WSGIServer):
    """Handles requests in the threads of a pool."""

    pool: ThreadPoolExecutor

    def process_request(self, request: object, client_address: object) -> None:
        self.pool.submit(self._handle, request, client_address)

    def _handle(self, request: object, client_address: object) -> None:
        self.finish_request(request, client_address)  # type: ignore[arg-type] # what the caller has
        self.shutdown_request(request)  # type: ignore[arg-type] # as above


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - the name of the base
        """Say nothing."""


def _web(seconds: float) -> None:
    with ThreadPoolExecutor(_POOL) as pool, _Server(("127.0.0.1", 0), _Handler) as server:
        server.pool = pool
        server.set_app(_layered(_answer, _LAYERS))
        threading.Thread(target=server.serve_forever).start()
        requests = round(180 * seconds)
        program = "from benchmarks.programs import load; load()"
        command = [sys.executable, "-c", program, str(server.server_port), str(requests)]
        subprocess.run(command, check=True)
        server.shutdown()


def load() -> None:
    """Ask the server of W5, from a process of its own: as many clients as it has threads, in closed loops."""
    port, requests = map(int, sys.argv[1:])

    def ask() -> None:
        for _ in range(requests // _POOL):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/orders")
            if not connection.getresponse().read():
                raise RuntimeError("there is no answer")
            connection.close()

    with ThreadPoolExecutor(_POOL) as pool:
        for job in [pool.submit(ask) for _ in range(_POOL)]:
            job.result()


def _layered(application: WSGIApplication, layers: int) -> WSGIApplication:
    """The application within functions that pass a request on, as middleware does."""
    if not layers:
        return application
    inner = _layered(application, layers - 1)

    def layer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        return inner(environment, start)

    return layer


def _answer(environment: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
    tracer = trace.get_tracer("benchmarks")
    with tracer.start_as_current_span(f"GET {environment['PATH_INFO']}"):
        records = _document(len(environment))
        for _ in range(10):
            records = json.loads(json.dumps(records))
        ranked = sorted(records, key=lambda record: (record["price"], record["name"]))
        body = "".join(f"<li>{record['name']}</li>" for record in ranked).encode()
    start("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


def _document(seed: int) -> Any:  # noqa: ANN401 - JSON
    return [
        {
            "name": f"record {number}",
            "price": number * seed % 97,
            "parts": [{"part": part, "count": part * number} for part in range(8)],
        }
        for number in range(_RECORDS)
    ]


def _json(seconds: float) -> None:
    kept: deque[object] = deque(maxlen=_KEPT)
    for number in range(round(1_200 * seconds)):
        loaded = json.loads(json.dumps(_document(number)))
        kept.append([{**record, "parts": list(record["parts"])} for record in loaded])


def _without_gil(seconds: float) -> None:
    letters = random.Random(7).choices(b"abcdefgh ", k=1 << 20)  # noqa: S311 - any, but always the same
    text = bytes(letters)
    for _ in range(round(4 * seconds)):
        zlib.compress(text, 6)
        hashlib.sha256(text).digest()
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 30_000)
        bz2.compress(text[: 1 << 18])


PROGRAMS: Mapping[str, Program] = {
    "W1": _classics,
    "W2": _recursion,
    "W3": _sleepers,
    "W4": _tasks,
    "W5": _web,
    "W6": _json,
    "W7": _without_gil,
}
