"""Forks while it is profiled as its environment says, once in each of the ways in its arguments."""

import importlib
import multiprocessing
import os
import sys

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

import otelprof
from tests.targets.burning import LEARNING_S, burn, tell

tracer = trace.get_tracer("target")


def burn_before() -> None:
    burn(LEARNING_S)


def burn_child() -> None:
    burn(LEARNING_S)


def burn_after() -> None:
    burn()


def work_in_child() -> None:
    with tracer.start_as_current_span("child"):
        burn_child()


def fork(*, flush: bool) -> int:
    pid = os.fork()
    if not pid:
        work_in_child()
        if flush:
            profiler.flush(20.0)
            os._exit(0)
        sys.exit(0)
    os.waitpid(pid, 0)
    return pid


def fork_and_exit() -> int:
    """A child that is over before anything of the profiler's can run in it."""
    pid = os.fork()
    if not pid:
        sys.exit(0)
    codes.append(os.waitpid(pid, 0)[1])
    return pid


def fork_and_execute() -> int:
    """A child that becomes another program at once."""
    pid = os.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-c", "pass"])  # noqa: S606 - no shell is needed
    codes.append(os.waitpid(pid, 0)[1])
    return pid


def fork_twice() -> int:
    """A child that does nothing but fork again. Returns the grandchild."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        grandchild = os.fork()
        if not grandchild:
            work_in_child()
            sys.exit(0)
        os.write(writer, str(grandchild).encode())
        sys.exit(os.waitpid(grandchild, 0)[1] != 0)
    codes.append(os.waitpid(pid, 0)[1])
    return int(os.read(reader, 100))


def fork_by_multiprocessing() -> int:
    child = multiprocessing.get_context("fork").Process(target=work_in_child)
    child.start()
    child.join()
    return child.pid or 0


if __name__ == "__main__":
    # Before there is a provider: else OpenTelemetry hangs in the second of two forks.
    importlib.import_module("concurrent.futures.thread")
    trace.set_tracer_provider(TracerProvider(resource=Resource({"service.name": "target"})))
    profiler = otelprof.Profiler(rate_hz=200.0)
    profiler.start()
    with tracer.start_as_current_span("before"):
        burn_before()
    if "flush" in sys.argv:
        profiler.flush(20.0)
    pids: list[int] = []
    codes: list[int] = []
    with tracer.start_as_current_span("around"):
        if "fork" in sys.argv:
            pids.append(fork(flush="flush" in sys.argv))
        if "multiprocessing" in sys.argv:
            pids.append(fork_by_multiprocessing())
        if "exit" in sys.argv:
            pids.append(fork_and_exit())
        if "execute" in sys.argv:
            pids.append(fork_and_execute())
        if "twice" in sys.argv:
            pids.append(fork_twice())
    with tracer.start_as_current_span("after"):
        burn_after()
    stopped = profiler.stop(20.0)
    tell(pid=os.getpid(), children=pids, codes=codes, stopped=stopped)
