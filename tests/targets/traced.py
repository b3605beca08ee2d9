"""Rounds of known work, each part in a span of its own; knows nothing of otelprof, and tells what truly ran.

A round is a span `handle` with `price` (computes), `rank` (computes, in another thread) and `wait` (sleeps) below it.
Arguments: how many rounds, or the path of a file: rounds until it exists.
"""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from opentelemetry import context, trace

from tests.targets.burning import LEARNING_S, burn, tell

CPU_S = 0.12
SLEEP_S = 0.08

tracer = trace.get_tracer("traced")
worked: list[dict[str, Any]] = []  # one for each span that has ended


@contextmanager
def noted(name: str) -> Iterator[None]:
    """A span, and what it took of this thread's CPU time and of the clock."""
    with tracer.start_as_current_span(name) as span:
        ids = span.get_span_context()
        cpu_ns, wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        yield
        worked.append(
            {
                "name": name,
                "trace_id": f"{ids.trace_id:032x}",
                "span_id": f"{ids.span_id:016x}",
                "cpu_ns": time.thread_time_ns() - cpu_ns,
                "wall_ns": time.perf_counter_ns() - wall_ns,
            }
        )


# Each computes by itself: what is on the stack says in which span that must be.
def price_basket() -> None:
    end = time.thread_time() + CPU_S
    while time.thread_time() < end:
        sum(range(500))


def rank_customers() -> None:
    end = time.thread_time() + CPU_S
    while time.thread_time() < end:
        sum(range(500))


def ask_supplier() -> None:
    time.sleep(SLEEP_S)


def rank(parent: context.Context) -> None:
    token = context.attach(parent)
    try:
        with noted("rank"):
            rank_customers()
    finally:
        context.detach(token)


def handle(pool: ThreadPoolExecutor) -> None:
    with noted("handle"):
        with noted("price"):
            price_basket()
        pool.submit(rank, context.get_current()).result()
        with noted("wait"):
            ask_supplier()


def rounds_are_left(argument: str) -> Callable[[int], bool]:
    if argument.isdecimal():
        return lambda done: done < int(argument)
    return lambda _: not Path(argument).exists()


def main() -> None:
    is_left = rounds_are_left(sys.argv[1])
    burn(LEARNING_S)
    with ThreadPoolExecutor(1) as pool:
        for done in count():
            if not is_left(done):
                break
            handle(pool)
    tell(spans=worked)


if __name__ == "__main__":
    main()
