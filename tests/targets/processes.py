"""Starts processes in the way that its argument names; each burns CPU time in a span of its own."""

import multiprocessing
import os
import subprocess
import sys
import time
from typing import Any

from opentelemetry import trace

import otelprof
from tests.targets.burning import LEARNING_S, burn, tell

WAIT_S = 20.0

tracer = trace.get_tracer("processes")

CHILD = "from tests.targets.processes import work_in_child; work_in_child()"


def burn_parent() -> None:
    burn(LEARNING_S)


def burn_child() -> None:
    burn(LEARNING_S)


def work_in_child() -> int:
    wait_until_sampled()
    with tracer.start_as_current_span("child"):
        burn_child()
    return os.getpid()


def wait_until_sampled() -> None:
    """A profiler begins beside the child's own work, on a busy machine long after that."""
    profiler = otelprof.start()  # the one that runs
    end_s = time.monotonic() + WAIT_S
    while not profiler.health().get("passes") and time.monotonic() < end_s:
        time.sleep(0.01)


def by_process(method: str) -> list[int]:
    context: Any = multiprocessing.get_context(method)
    children = [context.Process(target=work_in_child) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    return [child.pid or 0 for child in children]


def by_pool(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(1, maxtasksperchild=1) as pool:
        pids = [pool.apply(work_in_child) for _ in range(2)]
        pool.close()
        pool.join()
    return pids


def by_subprocess() -> list[int]:
    children = [subprocess.Popen([sys.executable, "-c", CHILD]) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    return [child.pid for child in children]


if __name__ == "__main__":
    with tracer.start_as_current_span("parent"):
        burn_parent()
        match sys.argv[1:]:
            case ["subprocess"]:
                pids = by_subprocess()
            case ["pool", method]:
                pids = by_pool(method)
            case ["process", method]:
                pids = by_process(method)
            case _:
                sys.exit(2)
    tell(children=pids, pid=os.getpid())
