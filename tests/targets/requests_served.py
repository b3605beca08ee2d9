"""Serves many requests at a time in the way that its argument names, each with known CPU time in a span of its own.

It tells how much each span has used by the kernel's clock of its thread.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from opentelemetry import trace

from tests.targets.burning import LEARNING_S, burn, tell

REQUESTS = 24
SLICES = 10
SLICE_S = 0.015  # of CPU time; request n has one to three of them at a time

tracer = trace.get_tracer("requests_served")
used_ns: dict[str, int] = {}

SOURCE = """
def {name}(cpu_s):
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        sum(range(500))
"""


def _burner(number: int) -> Callable[[float], None]:
    """A function of its own for each request: where it is on the stack, that request's span must be."""
    scope: dict[str, Any] = {"time": time}
    exec(SOURCE.format(name=f"burn_{number}"), scope)
    burner: Callable[[float], None] = scope[f"burn_{number}"]
    return burner


def _slice(number: int, burner: Callable[[float], None]) -> int:
    """Returns the CPU time used, in nanoseconds."""
    began_ns = time.thread_time_ns()
    burner(SLICE_S * (1 + number % 3))
    return time.thread_time_ns() - began_ns


def _note(used: int) -> None:
    context = trace.get_current_span().get_span_context()
    used_ns[f"{context.trace_id:032x}:{context.span_id:016x}"] = used


def blocking(number: int) -> None:
    """A request in a thread, or in a greenlet if `time.sleep` is gevent's."""
    burner = _burner(number)
    with tracer.start_as_current_span(f"burn_{number}"):
        used = 0
        for _ in range(SLICES):
            used += _slice(number, burner)
            time.sleep(0.001)
        _note(used)


async def _awaiting(number: int) -> None:
    burner = _burner(number)
    with tracer.start_as_current_span(f"burn_{number}"):
        used = 0
        for _ in range(SLICES):
            used += _slice(number, burner)
            await asyncio.sleep(0.001)
        _note(used)


def serve_asyncio() -> None:
    async def main() -> None:
        await asyncio.gather(*(_awaiting(number) for number in range(REQUESTS)))

    asyncio.run(main())


def serve_threads() -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(blocking, range(REQUESTS)))


def serve_gevent() -> None:
    import gevent  # noqa: PLC0415 - the others do without

    greenlets: list[Any] = [gevent.spawn(blocking, n) for n in range(REQUESTS)]
    gevent.joinall(greenlets, raise_error=True)


if __name__ == "__main__":
    burn(LEARNING_S)
    {"asyncio": serve_asyncio, "threads": serve_threads, "gevent": serve_gevent}[sys.argv[1]]()
    tell(used_ns=used_ns, threads=threading.active_count())
