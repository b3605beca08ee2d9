"""Both samplers against programs whose truth is known: what was sampled, with which span, for how long.

What plain Python cannot see is marked as the core's alone, with the reason.
"""

import asyncio
import contextvars
import ctypes
import hashlib
import random
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from otelprof.clock import NS_PER_S
from otelprof.collectors.stack import stack_collector
from otelprof.config import Config, SamplerChoice
from otelprof.interfaces import Collector
from otelprof.labels import spans_by
from otelprof.model import Profile
from tests.support.session import profiling
from tests.support.truth import judge

TIMEOUT_S = 30.0


def burners(count: int, source: str) -> dict[str, Callable[..., Any]]:
    """Programs that run `burn_0`, `burn_1`, … each in a span of its name; `{name}` in `source` is the name."""
    functions: dict[str, Callable[..., Any]] = {}
    for number in range(count):
        name = f"burn_{number}"
        namespace: dict[str, Any] = {"asyncio": asyncio, "time": time}
        exec(source.format(name=name), namespace)
        functions[name] = namespace[f"run_{name}"]
    return functions


def collector_of(sampler: str, kind: str, rate_hz: float) -> Collector:
    config = Config(rate_hz=rate_hz, sampler=cast("SamplerChoice", sampler))
    return stack_collector((kind,), config, spans_by(lambda _: 0))


ASYNC_BURNER = """
async def run_{name}(tracer, until, step_s):
    while time.monotonic() < until:
        with tracer.start_as_current_span("{name}"):
            await {name}(step_s)

async def {name}(step_s):
    for _ in range(8):
        x, end_s = 0, time.thread_time() + step_s
        while time.thread_time() < end_s:
            for i in range(1_000):
                x += i
        await asyncio.sleep(0)
"""

THREAD_BURNER = """
def run_{name}(tracer, until):
    while time.monotonic() < until:
        with tracer.start_as_current_span("{name}"):
            {name}()

def {name}():
    x = 0
    for i in range(300_000):
        x += i
"""


def function_ns(profile: Profile, *suffixes: str) -> int:
    """Time of all stacks with a function whose name ends so, for each of `suffixes`."""
    tables = profile.tables
    found_ns = 0
    for stack, weight_ns in zip(profile.stack, profile.column(profile.kind), strict=True):
        names = [tables.function_name(frame) for frame in tables.stacks[stack]]
        if all(any(name.endswith(suffix) for name in names) for suffix in suffixes):
            found_ns += weight_ns
    return found_ns


@pytest.mark.parametrize("step_s", [0.008, 0.001], ids=["long steps", "short steps"])
def test_twenty_tasks_at_once_each_have_their_own_span(sampler: str, step_s: float) -> None:
    # The sampler in Python gets the GIL after 5 ms or where the loop sleeps, whichever is first, so that of steps of
    # 1 ms it never sees those that come first after the loop's sleep. Steps are so long on any interpreter.
    functions_seen = 10 if (sampler, step_s) == ("python", 0.001) else 20
    functions = burners(20, ASYNC_BURNER)
    with profiling(sampler) as session:

        async def main() -> None:
            until = time.monotonic() + 6
            await asyncio.gather(*(f(session.tracer, until, step_s) for f in functions.values()))

        asyncio.run(main())
    for kind in ("cpu", "wall"):
        verdict = judge(session.profiles, session.spans, prefix="burn_", kind=kind)
        assert verdict.wrong == {}
        assert len(verdict.right) >= functions_seen
        assert all(verdict.share_right(name) >= 0.99 for name in verdict.functions()), verdict


def test_threads_at_once_each_have_their_own_span(sampler: str) -> None:
    functions = burners(8, THREAD_BURNER)
    with profiling(sampler) as session:
        until = time.monotonic() + 5
        threads = [
            threading.Thread(target=f, args=(session.tracer, until)) for f in functions.values()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT_S)
    for kind in ("cpu", "wall"):
        verdict = judge(session.profiles, session.spans, prefix="burn_", kind=kind)
        assert verdict.wrong == {}
        assert set(verdict.right) == set(functions), verdict
        assert all(verdict.share_right(name) >= 0.99 for name in functions), verdict


def test_cpu_adds_up_to_what_the_threads_clocks_say(sampler: str) -> None:
    used_ns: dict[str, int] = {}

    release = threading.Event()

    def compute(name: str, rounds: int) -> None:
        before_ns = time.thread_time_ns()
        for _ in range(rounds):
            sum(range(20_000))
        used_ns[name] = time.thread_time_ns() - before_ns
        release.wait(TIMEOUT_S)

    with profiling(sampler) as session:
        threads = [
            threading.Thread(target=compute, args=(f"t{n}", 400 * (n + 1)), name=f"t{n}")
            for n in range(3)
        ]
        for thread in threads:
            thread.start()
        while len(used_ns) < len(threads):
            time.sleep(0.01)
    release.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
    cpu = session.profile("cpu")
    names = [cpu.tables.labels_of(labels)["thread_name"] for labels in cpu.labels]
    for name, truth_ns in used_ns.items():
        reported_ns = sum(w for n, w in zip(names, cpu.column("cpu"), strict=True) if n == name)
        # The thread's start and its wait at the end are reported too, a millisecond.
        assert truth_ns * 0.99 < reported_ns < truth_ns * 1.01 + 2_000_000, name


def test_wall_adds_up_to_elapsed_time_of_each_thread(sampler: str) -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="waiter")
    thread.start()
    with profiling(sampler) as session:
        begin = time.monotonic_ns()
        sum(range(3_000_000))
        time.sleep(0.3)
        elapsed_ns = time.monotonic_ns() - begin
    release.set()
    thread.join(TIMEOUT_S)
    wall = session.profile("wall")
    for name in ("waiter", threading.current_thread().name):
        reported_ns = sum(
            weight
            for labels, weight in zip(wall.labels, wall.column("wall"), strict=True)
            if wall.tables.labels_of(labels)["thread_name"] == name
        )
        # The session is a little longer than the body: it starts and stops a thread.
        assert elapsed_ns <= reported_ns < elapsed_ns + 0.2 * NS_PER_S, name
    assert function_ns(wall, "Event.wait") > 0.9 * elapsed_ns


def test_work_in_bursts_between_waits_keeps_its_cpu(sampler: str) -> None:
    """A thread is seen waiting most of the time, but its CPU time belongs to where it works."""

    waited_ns = 0

    def work_in_bursts(until: float, pause: threading.Event) -> None:
        nonlocal waited_ns
        while time.monotonic() < until:
            work()
            begin = time.monotonic_ns()
            pause.wait(0.06)
            waited_ns += time.monotonic_ns() - begin

    def work() -> None:
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < 20_000_000:
            sum(range(100))

    with profiling(sampler) as session:
        thread = threading.Thread(
            target=work_in_bursts, args=(time.monotonic() + 5, threading.Event())
        )
        thread.start()
        thread.join(TIMEOUT_S)
    cpu, wall = session.profile("cpu"), session.profile("wall")
    in_bursts = function_ns(cpu, "work_in_bursts")
    # Charging the stack seen would give `work` its share of the samples, a quarter.
    assert function_ns(cpu, ".work") > 0.8 * in_bursts
    # Of this thread: one of an earlier test may still wait for something.
    waited = function_ns(wall, "Event.wait", "work_in_bursts")
    assert waited == pytest.approx(waited_ns, rel=0.2)


def test_c_code_that_gives_up_the_gil_gets_its_cpu(sampler: str) -> None:
    used_ns: list[int] = []

    def hash_much(until: float) -> None:
        block = b"x" * 4_000_000
        while time.monotonic() < until:
            hashlib.sha256(block).digest()
        used_ns.append(time.thread_time_ns())

    with profiling(sampler) as session:
        thread = threading.Thread(target=hash_much, args=(time.monotonic() + 2,), name="hasher")
        thread.start()
        thread.join(TIMEOUT_S)
    assert function_ns(session.profile("cpu"), "hash_much") > 0.9 * used_ns[0]


def test_threads_come_and_go(sampler: str) -> None:
    with profiling(sampler) as session:
        for _ in range(60):
            threads = [threading.Thread(target=sum, args=(range(50_000),)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT_S)
    assert all(profile.problem() is None for profile in session.profiles)


def test_cpu_of_threads_that_ended_is_not_lost(sampler: str) -> None:
    def compute() -> None:
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < 20_000_000:
            sum(range(1_000))

    with profiling(sampler) as session:
        before_ns = time.process_time_ns()
        for _ in range(40):
            thread = threading.Thread(target=compute)
            thread.start()
            thread.join(TIMEOUT_S)
        used_ns = time.process_time_ns() - before_ns
        sampler_ns = session.collector.health()["sampler_cpu_ns"]
    cpu = session.profile("cpu")
    reported_ns = sum(cpu.column("cpu"))
    assert used_ns - 1.1 * sampler_ns - 20_000_000 < reported_ns < used_ns + 20_000_000


def test_our_own_threads_are_left_out(sampler: str) -> None:
    with profiling(sampler) as session:
        time.sleep(0.2)
    for profile in session.profiles:
        names = {profile.tables.labels_of(labels)["thread_name"] for labels in profile.labels}
        assert not [name for name in names if name.startswith("otelprof")]


def test_stop_is_prompt_and_can_be_repeated_and_undone(sampler: str) -> None:
    collector = collector_of(sampler, "wall", 1)
    collector.stop()
    collector.start()
    collector.start()
    begin = time.monotonic()
    collector.stop()
    collector.stop()
    assert time.monotonic() - begin < 0.5
    assert collector.drain() != []
    assert collector.drain() == []
    collector.start()
    time.sleep(0.01)
    collector.stop()
    assert [profile.kind for profile in collector.drain()] == ["wall"]


def test_nothing_is_sampled_during_a_pause(sampler: str) -> None:
    with profiling(sampler) as session:
        time.sleep(0.1)
        session.collector.pause()
        before = session.collector.health()["samples"]
        begin = time.monotonic_ns()
        time.sleep(0.5)
        paused_ns = time.monotonic_ns() - begin
        assert session.collector.health()["samples"] - before <= 1 + threading.active_count()
        session.collector.resume()
        time.sleep(0.1)
        total_ns = time.monotonic_ns() - begin
    wall = session.profile("wall")
    main = [
        weight
        for labels, weight in zip(wall.labels, wall.column("wall"), strict=True)
        if wall.tables.labels_of(labels)["thread_name"] == threading.current_thread().name
    ]
    assert sum(main) < total_ns - paused_ns + 0.3 * NS_PER_S


def test_counts_times_period_are_the_cpu_time_over_several_drains(sampler: str) -> None:
    collector = collector_of(sampler, "cpu", 50)
    counted = reported_ns = 0
    collector.start()
    for drain in range(4):
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < 150_000_000:
            sum(range(1_000))
        if drain == 3:
            collector.stop()
        for profile in collector.drain():
            assert profile.period == 20_000_000
            counted += sum(profile.column("samples"))
            reported_ns += sum(profile.column("cpu"))
    assert 0 <= reported_ns - counted * 20_000_000 < 20_000_000


@pytest.mark.usefixtures(
    "core_alone"
)  # nothing is attached in that Context, so plain Python never hears of it
def test_code_under_a_context_run_outside_a_task_has_the_span_of_that_context() -> None:
    with profiling("core") as session:
        with session.tracer.start_as_current_span("burn_inside"):
            inside = contextvars.copy_context()
        with session.tracer.start_as_current_span("burn_around"):
            inside.run(burn_inside)
    verdict = judge(session.profiles, session.spans, prefix="burn_")
    assert verdict.wrong == {}
    assert verdict.share_right("burn_inside") >= 0.99


def burn_inside() -> None:
    begin = time.thread_time_ns()
    while time.thread_time_ns() - begin < 500_000_000:
        sum(range(100))


@pytest.mark.usefixtures(
    "core_alone"
)  # `threading` does not know such a thread, nor the kernel's id of it
def test_a_thread_made_in_c_has_its_cpu_time() -> None:
    def inside(_: object) -> None:
        burn_inside()

    body = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(inside)
    libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
    with profiling("core") as session:
        assert libc.pthread_create(ctypes.byref(thread), None, body, None) == 0
        assert libc.pthread_join(thread, None) == 0
    assert function_ns(session.profile("cpu"), ".burn_inside") > 0.98 * 500_000_000


@pytest.mark.usefixtures(
    "core_alone"
)  # one call that keeps the GIL: plain Python cannot run until it is over
def test_time_inside_one_c_call_belongs_to_its_caller() -> None:
    numbers = [random.random() for _ in range(1_000_000)]
    elapsed_ns: list[int] = []

    def sort() -> None:
        begin = time.monotonic_ns()
        sorted(numbers)
        elapsed_ns.append(time.monotonic_ns() - begin)

    def wait() -> None:
        time.sleep(elapsed_ns[-1] / NS_PER_S)

    with profiling("core") as session:
        begin = time.monotonic_ns()
        for _ in range(3):
            sort()
            wait()
        total_ns = time.monotonic_ns() - begin
    true_share = sum(elapsed_ns) / total_ns
    share = function_ns(session.profile("wall"), ".sort") / total_ns
    assert share == pytest.approx(true_share, abs=0.02)
