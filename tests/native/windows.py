"""What the core hands over, as rows of Python's, and how tests record it.

A recording ends by the number of passes that were made, never by time, so that it is as long on a busy
machine; `OTELPROF_SOAK_S` makes every recording last so many seconds.
"""

import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest

from tests.native.installed import core

SOAK_S = float(os.environ.get("OTELPROF_SOAK_S", "0"))
PERIOD_NS = 1_000_000
# What a machine with other work than ours gives a thread that asks for 1,000 passes a second.
LOWEST_RATE_HZ = 100.0
DEADLINE_S = 120.0
ASK_S = 0.01
ROUND_PASSES = 4_000  # tables of a window are for a minute at 100 Hz

ELIDED = "(frames elided)"
TRUNCATED = "(deeper frames not read)"
UNREAD = "(stack not read)"


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of one function; line and column from 1, 0 if unknown."""

    filename: str
    name: str
    first_line: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames and their names, leaf first."""

    frames: tuple[Frame, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One group of samples. `span_id` is 0 without a span of this process, None if it is not known which."""

    stack: Stack
    span_id: int | None
    trace_id: int
    local_root_id: int
    thread: tuple[int, int]
    flags: int
    samples: int
    wall_ns: int
    cpu_ns: int
    first_ns: int
    last_ns: int

    @property
    def names(self) -> tuple[str, ...]:
        return self.stack.names


def numbers(kind: str, column: bytes) -> list[int]:
    return array(kind, column).tolist()


def frames_of(window: "core.Window") -> list[Frame]:
    places = zip(
        numbers("I", window["place_code"]),
        numbers("i", window["place_line"]),
        numbers("i", window["place_column"]),
        strict=True,
    )
    codes = window["codes"]
    return [Frame(*codes[code], line, column) for code, line, column in places]


def stacks_of(window: "core.Window") -> list[Stack]:
    frames = frames_of(window)
    places = numbers("I", window["stack_places"])
    ends = numbers("I", window["stack_ends"])
    stacks: list[Stack] = []
    for begin, end in zip([0, *ends], ends, strict=False):
        stack = tuple(frames[place] for place in places[begin:end])
        stacks.append(Stack(stack, tuple(frame.name for frame in stack)))
    return stacks


def labels_of(window: "core.Window") -> list[tuple[int | None, int, int]]:
    """Span, trace and local root of each row of labels."""
    labels: list[tuple[int | None, int, int]] = []
    for row, label in enumerate(window["labels"]):
        if label is None:
            labels.append((None if row == core.UNKNOWN_LABEL else 0, 0, 0))
        else:
            trace_id, span_id, local_root_id, _is_sampled = label
            ids = (int.from_bytes(each, "big") for each in (span_id, trace_id, local_root_id))
            labels.append((next(ids), next(ids), next(ids)))
    return labels


def rows_of(window: "core.Window") -> list[Row]:
    stacks, labels, threads = stacks_of(window), labels_of(window), window["threads"]
    keys = zip(
        numbers("I", window["stack"]),
        numbers("I", window["label"]),
        numbers("I", window["thread"]),
        numbers("I", window["flags"]),
        strict=True,
    )
    values = zip(
        numbers("Q", window["samples"]),
        numbers("Q", window["wall_ns"]),
        numbers("Q", window["cpu_ns"]),
        numbers("Q", window["first_ns"]),
        numbers("Q", window["last_ns"]),
        strict=True,
    )
    rows: list[Row] = []
    for (stack, label, thread, flags), (samples, wall_ns, cpu_ns, first_ns, last_ns) in zip(
        keys, values, strict=True
    ):
        span_id, trace_id, local_root_id = labels[label]
        row = Row(
            stack=stacks[stack],
            span_id=span_id,
            trace_id=trace_id,
            local_root_id=local_root_id,
            thread=threads[thread],
            flags=flags,
            samples=samples,
            wall_ns=wall_ns,
            cpu_ns=cpu_ns,
            first_ns=first_ns,
            last_ns=last_ns,
        )
        rows.append(row)
    return rows


class Goal:
    """Whether enough passes were made. The workload asks, and ends when it is told so."""

    def __init__(self, sampler: core.Sampler, passes: int) -> None:
        self._sampler = sampler
        self._passes = passes + int(sampler.health()["passes"])
        self._begin_s = self._next_s = time.monotonic()
        self.is_cancelled = False

    def is_reached(self) -> bool:
        now_s = time.monotonic()
        if now_s < self._next_s:
            return self.is_cancelled
        self._next_s = now_s + ASK_S
        if now_s > self._begin_s + DEADLINE_S:
            pytest.fail(f"{self._sampler.health()} after {DEADLINE_S} s, of {self._passes} passes")
        return self.is_cancelled or int(self._sampler.health()["passes"]) >= self._passes


Workload = Callable[[Goal], object]


class Settings(TypedDict, total=False):
    """What a recording may ask of its sampler."""

    var: ContextVar[Any] | None
    max_depth: int
    backend: str | None


@dataclass(frozen=True, slots=True)
class Recording:
    """What was sampled while a workload ran in a thread of its own, `thread`."""

    rows: list[Row]
    thread: tuple[int, int]
    passes: int
    times: "Times"
    losses: dict[str, int]
    health: dict[str, int | str]

    @property
    def rate_hz(self) -> float:
        return self.passes / self.elapsed_ns * 1e9

    @property
    def elapsed_ns(self) -> int:
        return self.times.end_ns - self.times.begin_ns

    def of_thread(self) -> list[Row]:
        return [row for row in self.rows if row.thread == self.thread]

    def samples(self) -> int:
        return sum(row.samples for row in self.of_thread())


def new_sampler(settings: Settings | None) -> core.Sampler:
    return core.Sampler(period_ns=PERIOD_NS, cpu_budget=1.0, **(settings or {}))


def record(
    workload: Workload, *, passes: int, settings: Settings | None = None, apart: bool = False
) -> Recording:
    """Sample at 1 kHz while `workload` runs in a thread of its own, which starts and stops the sampler.

    `apart` gives each of the two a processor, so that the one is read while it runs; else the kernel decides.
    """
    return record_with(new_sampler(settings), workload, passes=passes, apart=apart)


def recordings(
    workload: Workload, *, passes: int, settings: Settings | None = None, apart: bool = False
) -> Iterator[Recording]:
    """One recording; many in a soak, of one sampler, until its time is over."""
    sampler = new_sampler(settings)
    end_s = time.monotonic() + SOAK_S
    yield record_with(sampler, workload, passes=passes, apart=apart)
    while time.monotonic() < end_s:
        yield record_with(sampler, workload, passes=max(passes, ROUND_PASSES), apart=apart)


@dataclass(slots=True)
class Times:
    """When a sampler was started and stopped, and whether the workload failed."""

    begin_ns: int = 0
    end_ns: int = 0
    stopped_ns: int = 0
    error: BaseException | None = None


def run_sampled(workload: Workload, sampler: core.Sampler, goal: Goal, apart: bool) -> Times:
    times = Times()
    processors = sorted(os.sched_getaffinity(0))
    if apart:
        os.sched_setaffinity(0, processors[:1])  # which the sampler's thread inherits
    sampler.start()
    if apart:
        os.sched_setaffinity(0, processors[-1:])
    times.begin_ns = time.monotonic_ns()
    try:
        workload(goal)
    except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
        times.error = error
    times.end_ns = time.monotonic_ns()
    sampler.stop()
    times.stopped_ns = time.monotonic_ns()
    return times


def record_with(
    sampler: core.Sampler, workload: Workload, *, passes: int, apart: bool
) -> Recording:
    before = int(sampler.health()["passes"])
    goal, done = Goal(sampler, passes), list[Times]()
    thread = threading.Thread(
        target=lambda: done.append(run_sampled(workload, sampler, goal, apart)), daemon=True
    )
    thread.start()
    native_id = thread.native_id or 0
    thread.join()
    times = done[0]
    if times.error is not None:
        raise times.error
    window, health = sampler.drain(), dict(sampler.health())
    recording = Recording(
        rows=rows_of(window),
        thread=(thread.ident or 0, native_id),
        passes=int(health["passes"]) - before,
        times=times,
        losses=window["losses"],
        health=health,
    )
    assert int(health["period_ns"]) == PERIOD_NS
    assert recording.rate_hz >= LOWEST_RATE_HZ, f"{recording.rate_hz:.0f} Hz: {health}"
    return recording


def total(rows: Iterable[Row]) -> int:
    return sum(row.samples for row in rows)


def say(figures: object) -> None:
    """For whoever reads the output of the tests; pytest shows it with -rP."""
    sys.stdout.write(f"{figures}\n")


def share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def named(rows: Sequence[Row], name: str) -> list[Row]:
    return [row for row in rows if name in row.names]
