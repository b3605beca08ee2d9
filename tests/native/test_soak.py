"""All at once, at 1 kHz: tasks in spans, code that comes and goes, short threads, recursion and generators.

Three seconds, or as long as `OTELPROF_SOAK_S` says. Memory and files must stay what they are after the first third.
"""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import TypedDict

from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native import flutter
from tests.native.alone import TIMEOUT_S, run_alone
from tests.native.installed import IS_SANITIZED, core
from tests.native.spans import Spans, Tally, worker
from tests.native.windows import (
    LOWEST_RATE_HZ,
    PERIOD_NS,
    SOAK_S,
    UNREAD,
    Goal,
    Row,
    rows_of,
    say,
    total,
)

SECONDS = max(SOAK_S, 3.0)
DRAINS = 12
TASKS = 20
DEPTH = 300
GROWTH_MOST_BYTES = 2 << 20
UNKNOWN_MOST = 0.05
IMPOSSIBLE_MOST = 0.0005
CLOSES = "recurse.<locals>.<lambda>"
CALLERS = {"generator_a": ("advance_a", CLOSES), "generator_b": ("advance_b", CLOSES)}
LIVING_THREADS = 5
PAGE_BYTES = os.sysconf("SC_PAGESIZE")


class Facts(TypedDict):
    """What a run came to; one entry of the lists for each drain."""

    rate_hz: float
    samples: int
    torn: int
    wrong: int
    unknown: float
    impossible: int
    resident_bytes: list[int]
    files: list[int]


def test_nothing_grows_and_nothing_is_wrong_with_everything_at_once() -> None:
    facts: Facts = run_alone(everything_at_once, SECONDS, timeout_s=SECONDS + TIMEOUT_S)
    say(facts)
    assert facts["rate_hz"] >= LOWEST_RATE_HZ
    assert facts["wrong"] == 0
    assert facts["unknown"] <= UNKNOWN_MOST
    assert facts["impossible"] <= IMPOSSIBLE_MOST * facts["samples"]
    later = slice(DRAINS // 3, None)
    # Each thread that lives on has a file that is kept open from when it is first needed; those that end leave none.
    assert max(facts["files"]) - min(facts["files"][later]) <= LIVING_THREADS
    resident = facts["resident_bytes"][later]
    if not IS_SANITIZED:  # which keeps what was freed for a while
        assert resident[-1] - min(resident) <= GROWTH_MOST_BYTES


def everything_at_once(seconds: float) -> Facts:
    core.set_labels(enabled=True, span_key=_SPAN_KEY)
    spans, stop = Spans(TASKS), threading.Event()
    sampler = core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0, var=spans.var)
    bodies = (turn_tasks, churn, start_threads, recurse)
    threads = [threading.Thread(target=body, args=(spans, stop)) for body in bodies]
    labels, rows_seen, facts = Tally(), 0, _no_facts()
    for thread in threads:
        thread.start()
    sampler.start()
    begin_s = time.monotonic()
    for _ in range(DRAINS):
        stop.wait(seconds / DRAINS)
        rows = rows_of(sampler.drain())
        labels.add(rows)
        rows_seen += total(rows)
        facts["torn"] += total(row for row in rows if row.names == (UNREAD,))
        facts["impossible"] += total(row for row in rows if not _is_possible(row))
        del rows
        gc.collect()
        facts["resident_bytes"].append(_resident_bytes())
        facts["files"].append(len(list(Path("/proc/self/fd").iterdir())))
    passes = int(sampler.health()["passes"])
    facts["rate_hz"] = passes / (time.monotonic() - begin_s)
    stop.set()
    for thread in threads:
        thread.join()
    sampler.stop()
    facts["samples"], facts["wrong"] = rows_seen, labels.wrong.total()
    facts["unknown"] = labels.unknown / max(labels.samples, 1)
    return facts


def turn_tasks(spans: Spans, stop: threading.Event) -> None:
    """Tasks that each give way to the next; once a round the thread rests, like the others.

    A loop that always has a task ready lets go of the GIL and takes it back within microseconds, at each look for
    events. Others that wait are then never due to force a switch, and may starve for tens of seconds.
    """

    async def rest() -> None:
        while not stop.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 - the whole loop is to rest
            await asyncio.sleep(0)

    async def turn(index: int) -> None:
        with spans.current(index):
            while not stop.is_set():
                spans.works[index](2_000)
                await asyncio.sleep(0)

    async def turn_all() -> None:
        await asyncio.gather(rest(), *(turn(index + 1) for index in range(spans.count)))

    asyncio.run(turn_all())


def churn(spans: Spans, stop: threading.Event) -> None:
    """Functions that live for one call, each in the span that its name tells."""
    while not stop.is_set():
        for index in range(1, spans.count + 1):
            with spans.current(index):
                worker(index)(200)
        time.sleep(0.001)


def start_threads(spans: Spans, stop: threading.Event) -> None:
    while not stop.is_set():
        few = [threading.Thread(target=spans.works[0], args=(1_000,)) for _ in range(4)]
        for thread in few:
            thread.start()
        for thread in few:
            thread.join()
        time.sleep(0.002)


def recurse(_: Spans, stop: threading.Event) -> None:
    goal = _Until(stop)
    while not stop.is_set():
        _at_depth(DEPTH, lambda: flutter.spin_generators(goal))
        time.sleep(0.005)


class _Until(Goal):
    """20 ms, or the end."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._end_s = 0.0

    def is_reached(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._end_s:
            return self._stop.is_set()
        is_over = self._end_s > 0
        self._end_s = 0.0 if is_over else now_s + 0.02
        return is_over


def _at_depth(depth: int, function: Callable[[], object]) -> None:
    if depth:
        _at_depth(depth - 1, function)
    else:
        function()


def _is_possible(row: Row) -> bool:
    """Of the generators: each has its own caller, or is closed as the frame that held it ends."""
    return all(above in CALLERS.get(name, (above,)) for name, above in pairwise(row.names))


def _no_facts() -> Facts:
    return Facts(
        rate_hz=0.0,
        samples=0,
        torn=0,
        wrong=0,
        unknown=0.0,
        impossible=0,
        resident_bytes=[],
        files=[],
    )


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
