"""The sampler against programs whose truth is known: what was sampled, with which span, for how long."""

import asyncio
import gc
import hashlib
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from types import FrameType
from typing import Any

import pytest

from otelprof.clock import NS_PER_S
from otelprof.collectors import sampler as sampler_module
from otelprof.collectors import stack as stack_module
from otelprof.collectors.sampler import Sampler
from otelprof.collectors.stack import StackCollector
from otelprof.collectors.window import Window
from otelprof.config import Config
from otelprof.context import SpanIds, Unknown
from otelprof.cpython import Place
from otelprof.errors import ConfigError
from otelprof.model import Profile
from otelprof.threads import OwnThread
from tests.support.session import profiling
from tests.support.truth import judge

TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def _unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples come as fast as asked for: what these tests check are the samples, not their cost."""
    monkeypatch.setattr(stack_module, "CPU_BUDGET", 1.0)


@pytest.fixture
def waiter() -> Iterator[threading.Thread]:
    """A thread that waits, to be sampled by the test's own."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(TIMEOUT_S,), name="waiter")
    thread.start()
    yield thread
    release.set()
    thread.join(TIMEOUT_S)


class NoSpans:
    """A source that knows no span."""

    def span_ids(self, ident: int, top: FrameType, place: Place) -> SpanIds | Unknown | None:
        return None

    def keep_only(self, idents: AbstractSet[int]) -> None:
        pass


def burners(count: int, source: str) -> dict[str, Callable[..., Any]]:
    """Programs that run `burn_0`, `burn_1`, … each in a span of its name; `{name}` in `source` is the name."""
    functions: dict[str, Callable[..., Any]] = {}
    for number in range(count):
        name = f"burn_{number}"
        namespace: dict[str, Any] = {"asyncio": asyncio, "time": time}
        exec(source.format(name=name), namespace)
        functions[name] = namespace[f"run_{name}"]
    return functions


ASYNC_BURNER = """
async def run_{name}(tracer, until, rounds):
    while time.monotonic() < until:
        with tracer.start_as_current_span("{name}"):
            await {name}(rounds)

async def {name}(rounds):
    for _ in range(8):
        x = 0
        for i in range(rounds):
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


def function_ns(profile: Profile, suffix: str) -> int:
    """Time of all stacks with a function whose name ends with `suffix`."""
    tables = profile.tables
    return sum(
        weight
        for stack, weight in zip(profile.stack, profile.column(profile.kind), strict=True)
        if any(tables.function_name(frame).endswith(suffix) for frame in tables.stacks[stack])
    )


@pytest.mark.parametrize(
    ("rounds", "functions_seen"),
    # Steps of about 8 ms, and of 1 ms. The sampler gets the GIL after 5 ms or where the loop sleeps, whichever
    # is first, so that of short steps it never sees those that come first after the loop's sleep.
    [(120_000, 20), (15_000, 10)],
    ids=["long steps", "short steps"],
)
def test_twenty_tasks_at_once_each_have_their_own_span(rounds: int, functions_seen: int) -> None:
    functions = burners(20, ASYNC_BURNER)
    with profiling() as session:

        async def main() -> None:
            until = time.monotonic() + 6
            await asyncio.gather(*(f(session.tracer, until, rounds) for f in functions.values()))

        asyncio.run(main())
    for kind in ("cpu", "wall"):
        verdict = judge(session.profiles, session.spans, prefix="burn_", kind=kind)
        assert verdict.wrong == {}
        assert len(verdict.right) >= functions_seen
        assert all(verdict.share_right(name) >= 0.99 for name in verdict.functions()), verdict


def test_threads_at_once_each_have_their_own_span() -> None:
    functions = burners(8, THREAD_BURNER)
    with profiling() as session:
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


def test_cpu_adds_up_to_what_the_threads_clocks_say() -> None:
    used_ns: dict[str, int] = {}

    release = threading.Event()

    def compute(name: str, rounds: int) -> None:
        before_ns = time.thread_time_ns()
        for _ in range(rounds):
            sum(range(20_000))
        used_ns[name] = time.thread_time_ns() - before_ns
        release.wait(TIMEOUT_S)

    with profiling() as session:
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


def test_wall_adds_up_to_elapsed_time_of_each_thread() -> None:
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="waiter")
    thread.start()
    with profiling() as session:
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


def test_work_in_bursts_between_waits_keeps_its_cpu() -> None:
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

    with profiling() as session:
        thread = threading.Thread(
            target=work_in_bursts, args=(time.monotonic() + 5, threading.Event())
        )
        thread.start()
        thread.join(TIMEOUT_S)
    cpu, wall = session.profile("cpu"), session.profile("wall")
    in_bursts = function_ns(cpu, "work_in_bursts")
    # Charging the stack seen would give `work` its share of the samples, a quarter.
    assert function_ns(cpu, ".work") > 0.8 * in_bursts
    assert function_ns(wall, "Event.wait") == pytest.approx(waited_ns, rel=0.2)


def test_c_code_that_gives_up_the_gil_gets_its_cpu() -> None:
    used_ns: list[int] = []

    def hash_much(until: float) -> None:
        block = b"x" * 4_000_000
        while time.monotonic() < until:
            hashlib.sha256(block).digest()
        used_ns.append(time.thread_time_ns())

    with profiling() as session:
        thread = threading.Thread(target=hash_much, args=(time.monotonic() + 2,), name="hasher")
        thread.start()
        thread.join(TIMEOUT_S)
    assert function_ns(session.profile("cpu"), "hash_much") > 0.9 * used_ns[0]


def test_threads_come_and_go() -> None:
    with profiling() as session:
        for _ in range(60):
            threads = [threading.Thread(target=sum, args=(range(50_000),)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT_S)
        deadline = time.monotonic() + TIMEOUT_S
        while len(session.collector._sampler._threads) > threading.active_count():
            assert time.monotonic() < deadline, "dead threads are not forgotten"
            time.sleep(0.01)
    assert all(profile.problem() is None for profile in session.profiles)


def test_cpu_of_threads_that_ended_is_not_lost() -> None:
    def compute() -> None:
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < 20_000_000:
            sum(range(1_000))

    with profiling() as session:
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
    assert function_ns(cpu, "(threads that ended, or are not Python's)") > 0


def test_what_our_threads_used_before_the_beginning_hides_nothing() -> None:
    def compute(cpu_ns: int) -> None:
        begin = time.thread_time_ns()
        while time.thread_time_ns() - begin < cpu_ns:
            sum(range(1_000))

    done, gate = threading.Event(), threading.Lock()
    gate.acquire()

    def ours() -> None:
        compute(60_000_000)
        done.set()
        _wait_for(gate)

    worker = OwnThread("test", ours)
    worker.start()
    assert done.wait(TIMEOUT_S)
    sampler, window = Sampler(NoSpans()), Window(0, 0)
    sampler.begin(window, time.monotonic_ns())
    theirs = threading.Thread(target=compute, args=(30_000_000,))
    theirs.start()
    theirs.join(TIMEOUT_S)
    sampler.add_unseen(window)
    gate.release()
    worker.join(TIMEOUT_S)
    profiles, _ = window.profiles(("cpu",), 1, 10_000_000, 0)
    assert sum(profiles[0].column("cpu")) >= 30_000_000


class Held:
    """Something that a function of the application has in a local variable."""


def test_a_pass_keeps_no_local_variable_alive() -> None:
    sampler = Sampler(NoSpans())
    window = Window(0, 0)
    held: list[weakref.ref[Held]] = []
    ready, release = threading.Event(), threading.Event()

    def body() -> None:
        local = Held()
        held.append(weakref.ref(local))
        ready.set()
        release.wait(TIMEOUT_S)

    thread = threading.Thread(target=body)
    thread.start()
    assert ready.wait(TIMEOUT_S)
    gc.disable()  # what only the garbage collector would free counts as kept
    try:
        sampler.begin(window, time.monotonic_ns())
        sampler.take_pass(window, time.monotonic_ns())
        release.set()
        thread.join(TIMEOUT_S)
        assert held[0]() is None
    finally:
        gc.enable()


@pytest.mark.usefixtures("waiter")
def test_a_span_that_raises_makes_its_sample_unknown() -> None:
    class Raises(NoSpans):
        def span_ids(self, ident: int, top: FrameType, place: Place) -> SpanIds | Unknown | None:
            raise RuntimeError("a span of the application's")

    sampler = Sampler(Raises())
    window = Window(0, 0)
    sampler.begin(window, time.monotonic_ns())
    sampler.take_pass(window, time.monotonic_ns())
    assert window.losses["span_raised"] == window.losses["span_unknown"] == sampler.samples > 0


def test_our_own_threads_are_left_out() -> None:
    with profiling() as session:
        time.sleep(0.2)
    for profile in session.profiles:
        names = {profile.tables.labels_of(labels)["thread_name"] for labels in profile.labels}
        assert not [name for name in names if name.startswith("otelprof")]


def _wait_for(gate: threading.Lock) -> None:
    gate.acquire(timeout=TIMEOUT_S)


def test_a_thread_that_has_the_ident_of_one_of_ours_that_ended_is_sampled() -> None:
    sampler = Sampler(NoSpans())
    window = Window(0, 0)
    release = threading.Event()
    # glibc gives the stack of a thread that ended, and with it its ident, to the next one.
    for _ in range(100):
        gate = threading.Lock()
        gate.acquire()
        ours = OwnThread("test", partial(_wait_for, gate))
        ours.start()
        sampler.begin(window, time.monotonic_ns())
        gate.release()
        ours.join(TIMEOUT_S)
        theirs = threading.Thread(target=release.wait, args=(TIMEOUT_S,), name="theirs")
        theirs.start()
        if theirs.ident == ours.ident:
            break
        release.set()
        theirs.join(TIMEOUT_S)
        release.clear()
    else:
        pytest.skip("no ident was used twice")
    sampler.take_pass(window, time.monotonic_ns())
    release.set()
    theirs.join(TIMEOUT_S)
    profiles, _ = window.profiles(("wall",), 1, 10_000_000, 0)
    sampled = {profiles[0].tables.labels_of(row)["thread_name"] for row in profiles[0].labels}
    assert "theirs" in sampled


def test_stop_is_prompt_and_can_be_repeated_and_undone() -> None:
    collector = StackCollector(("wall",), Config(rate_hz=1), NoSpans())
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


def test_nothing_is_sampled_during_a_pause() -> None:
    with profiling() as session:
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


def test_counts_times_period_are_the_cpu_time_over_several_drains() -> None:
    collector = StackCollector(("cpu",), Config(rate_hz=50), NoSpans())
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


def test_a_pass_that_gets_long_leaves_the_rest_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler_module, "PASS_BUDGET_NS", 0)
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, name=f"w{n}") for n in range(6)]
    for thread in threads:
        thread.start()
    with profiling() as session:
        time.sleep(1)
    release.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert session.collector.health()["cut_passes"] > 0
    wall = session.profile("wall")
    sampled = {f"w{n}": 0 for n in range(6)}
    for labels, weight, samples in zip(
        wall.labels, wall.column("wall"), wall.column("samples"), strict=True
    ):
        name = wall.tables.labels_of(labels)["thread_name"]
        if name in sampled and samples:
            sampled[name] += weight
    assert min(sampled.values()) > 0.5 * max(sampled.values()) > 0.4 * NS_PER_S


class GivesUpTheGil(NoSpans):
    """A source that lets other threads run while it looks the span up."""

    def span_ids(self, ident: int, top: FrameType, place: Place) -> SpanIds | Unknown | None:
        time.sleep(0.001)
        return (1, 2, 0)


@pytest.mark.usefixtures("waiter")
def test_a_pass_that_lost_the_gil_records_nothing_and_counts_it() -> None:
    sampler = Sampler(GivesUpTheGil())
    window = Window(0, 0)
    sampler.begin(window, time.monotonic_ns())
    sampler.take_pass(window, time.monotonic_ns())
    assert window.losses == {"torn": 1}
    assert sampler.samples == 0
    profiles, _ = window.profiles(("cpu", "wall"), 1, 10_000_000, 0)
    assert profiles == []


def test_time_of_a_lost_pass_goes_to_the_next_one(waiter: threading.Thread) -> None:
    sampler = Sampler(NoSpans())
    window = Window(0, 0)
    begin = time.monotonic_ns()
    sampler.begin(window, begin)
    sampler.take_pass(window, begin + 50_000_000)
    profiles, _ = window.profiles(("wall",), begin + 50_000_000, 10_000_000, 0)
    waited = [
        weight
        for labels, weight in zip(profiles[0].labels, profiles[0].column("wall"), strict=True)
        if profiles[0].tables.labels_of(labels)["thread_name"] == waiter.name
    ]
    assert waited == [50_000_000]


def test_the_rate_goes_down_where_sampling_costs_more_than_its_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stack_module, "CPU_BUDGET", 0.001)
    with profiling(1000) as session:
        deadline = time.monotonic() + TIMEOUT_S
        while session.collector._stretched_period_ns() < 9 * NS_PER_S / 1000:
            assert time.monotonic() < deadline, "the rate does not go down"
            time.sleep(0.01)


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ConfigError, match="collect: heap is not a kind of stack profile"):
        StackCollector(("cpu", "heap"), Config(), NoSpans())
