"""Runs of the C core's sampler, with bounds for the time that they must report.

The truth is bracketed: each clock is read right before and right after the sampler begins and ends.
What is reported must lie between the inner and the outer reading, with 1 % to spare, however busy the
machine is.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.native.installed import core
from tests.native.windows import Row, rows_of
from tests.support.waiting import TIMEOUT_S, wait_until

TOLERANCE = 0.01
NS_PER_MS = 1_000_000
ENDED_OR_NOT_PYTHON = "(threads that ended, or are not Python's)"


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a clock has surely and at most moved by."""

    low: int
    high: int

    def hold(self, value: float) -> bool:
        """Whether it is between them, or within 1 % of that."""
        return self.low * (1 - TOLERANCE) <= value <= self.high * (1 + TOLERANCE)


@dataclass(frozen=True, slots=True)
class _Clocks:
    wall_ns: int
    process_ns: int
    threads_ns: Mapping[int, int]


@dataclass
class Run:
    """A run of a sampler: complete once `sampling` is left. Threads are by native id."""

    sampler: core.Sampler
    rows: list[Row] = field(default_factory=list[Row])
    wall_ns: Bounds = Bounds(0, 0)
    process_ns: Bounds = Bounds(0, 0)
    cpu_ns: dict[int, Bounds] = field(default_factory=dict[int, Bounds])

    def of(self, thread: int) -> list[Row]:
        return [row for row in self.rows if row.thread[1] == thread]


def wall_ns_of(rows: Iterable[Row], function: str | None = None) -> int:
    """The sum, of the stacks with this function if one is named."""
    return sum(row.wall_ns for row in rows if not function or function in row.names)


def cpu_ns_of(rows: Iterable[Row], function: str | None = None) -> int:
    return sum(row.cpu_ns for row in rows if not function or function in row.names)


def wait_for_passes(sampler: core.Sampler, count: int = 1) -> None:
    """Wait until the sampler has made so many more passes."""
    wanted = passes(sampler) + count
    wait_until(lambda: passes(sampler) >= wanted)


def passes(sampler: core.Sampler) -> int:
    return counter(sampler, "passes")


def counter(sampler: core.Sampler, name: str) -> int:
    value = sampler.health()[name]
    assert isinstance(value, int)
    return value


def sampling_threads() -> int:
    """How many threads of samplers this process has, by the name that they give themselves."""
    count = 0
    for comm in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has ended
            count += comm.read_text().strip() == "otelprof"
    return count


def wait_for_sampling_threads(count: int) -> None:
    """A thread that was joined is in /proc for a moment yet, and one that began has no name."""
    wait_until(lambda: sampling_threads() == count)


@contextmanager
def sampling(period_ns: int, threads: Iterable[threading.Thread] = ()) -> Iterator[Run]:
    """Sample while the block runs, and measure the clocks of these threads meanwhile."""
    threads = [threading.current_thread(), *threads]
    run = Run(core.Sampler(period_ns=period_ns, cpu_budget=1.0))
    before = _read_clocks(threads)
    run.sampler.start()
    try:
        wait_for_passes(run.sampler)
        begun = _read_clocks(threads)
        yield run
        ending = _read_clocks(threads)
    finally:
        run.sampler.stop()
    after = _read_clocks(threads)
    run.rows += rows_of(run.sampler.drain())
    run.wall_ns = Bounds(ending.wall_ns - begun.wall_ns, after.wall_ns - before.wall_ns)
    run.process_ns = Bounds(
        ending.process_ns - begun.process_ns, after.process_ns - before.process_ns
    )
    for thread, begun_ns in begun.threads_ns.items():
        outer_ns = after.threads_ns[thread] - before.threads_ns[thread]
        run.cpu_ns[thread] = Bounds(ending.threads_ns[thread] - begun_ns, outer_ns)


def _read_clocks(threads: Iterable[threading.Thread]) -> _Clocks:
    return _Clocks(
        time.monotonic_ns(),
        time.process_time_ns(),
        {native_id(thread): _cpu_ns(thread) for thread in threads},
    )


def _cpu_ns(thread: threading.Thread) -> int:
    assert thread.ident is not None
    return time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))


def native_id(thread: threading.Thread) -> int:
    assert thread.native_id is not None
    return thread.native_id


@contextmanager
def running(*functions: Callable[[threading.Event], object]) -> Iterator[list[threading.Thread]]:
    """Run each in a thread until the block is left; each is given the event that ends it."""
    stop = threading.Event()
    threads = [threading.Thread(target=function, args=(stop,)) for function in functions]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        stop.set()
        for thread in threads:
            thread.join(TIMEOUT_S)


def burn(cpu_ms: float) -> None:
    """Use so much CPU time of the calling thread."""
    end_ns = time.thread_time_ns() + round(cpu_ms * NS_PER_MS)
    while time.thread_time_ns() < end_ns:
        pass
