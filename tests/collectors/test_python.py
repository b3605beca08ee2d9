"""The sampler in Python, pass by pass: what it does where the GIL, its budget or a thread is lost."""

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from types import FrameType

import pytest

from otelprof.clock import NS_PER_S
from otelprof.collectors import python as python_module
from otelprof.collectors import sampler as sampler_module
from otelprof.collectors.python import PythonCollector
from otelprof.collectors.sampler import Sampler
from otelprof.collectors.window import Window
from otelprof.config import Config
from otelprof.context import SpanIds, Unknown
from otelprof.cpython import Place
from otelprof.threads import OwnThread, run_soon

TIMEOUT_S = 30.0


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

    def install(self) -> None: ...
    def uninstall(self) -> None: ...
    def after_fork(self) -> None: ...
    def keep_only(self, idents: AbstractSet[int]) -> None:
        pass


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


def _wait_for(gate: threading.Lock) -> None:
    gate.acquire(timeout=TIMEOUT_S)


def test_a_thread_of_ours_that_threading_does_not_know_is_left_out() -> None:
    idents: list[int] = []
    running, gate = threading.Event(), threading.Lock()
    gate.acquire()

    def ours() -> None:
        idents.append(threading.get_ident())
        running.set()
        _wait_for(gate)

    run_soon("test", ours)
    assert running.wait(TIMEOUT_S)
    sampler, window = Sampler(NoSpans()), Window(0, 0)
    sampler.begin(window, time.monotonic_ns())
    sampler.take_pass(window, time.monotonic_ns())
    gate.release()
    assert idents[0] not in sampler._threads
    assert idents[0] in sampler._own_clocks


def test_a_forked_child_that_is_stopped_before_it_started_watches_no_spans() -> None:
    class Watched(NoSpans):
        def install(self) -> None:
            calls.append("install")

        def uninstall(self) -> None:
            calls.append("uninstall")

        def after_fork(self) -> None:
            calls.append("after_fork")

    calls: list[str] = []
    collector = PythonCollector(("wall",), Config(), Watched())
    collector.start()
    collector.stop()
    calls.clear()
    collector.after_fork()
    collector.stop()
    assert calls == ["after_fork", "uninstall"]


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


def test_a_pass_that_gets_long_leaves_the_rest_to_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampler_module, "PASS_BUDGET_NS", 0)
    release = threading.Event()
    threads = [threading.Thread(target=release.wait, name=f"w{n}") for n in range(6)]
    for thread in threads:
        thread.start()
    collector = PythonCollector(("wall",), Config(rate_hz=200), NoSpans())
    collector.start()
    time.sleep(1)
    collector.stop()
    release.set()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert collector.health()["cut_passes"] > 0
    (wall,) = collector.drain()
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
    monkeypatch.setattr(python_module, "CPU_BUDGET", 0.001)
    collector = PythonCollector(("wall",), Config(rate_hz=1000), NoSpans())
    collector.start()
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while collector._stretched_period_ns() < 9 * NS_PER_S / 1000:
            assert time.monotonic() < deadline, "the rate does not go down"
            time.sleep(0.01)
    finally:
        collector.stop()


def test_threads_that_ended_are_forgotten() -> None:
    sampler, window = Sampler(NoSpans()), Window(0, 0)
    sampler.begin(window, time.monotonic_ns())
    for _ in range(10):
        threads = [threading.Thread(target=sum, args=(range(50_000),)) for _ in range(5)]
        for thread in threads:
            thread.start()
        sampler.take_pass(window, time.monotonic_ns())
        for thread in threads:
            thread.join(TIMEOUT_S)
    sampler.take_pass(window, time.monotonic_ns())
    assert len(sampler._threads) < threading.active_count()


def test_says_why_it_is_not_the_core() -> None:
    collector = PythonCollector(("wall",), Config(), NoSpans(), reason="of the moon")
    collector.start()
    collector.stop()
    (wall,) = collector.drain()
    assert (wall.producer.sampler, wall.producer.reason) == ("python", "of the moon")
