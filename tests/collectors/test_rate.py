"""Both samplers at a rate that is changed: when the new one begins, and that no time is lost or doubled by it."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from otelprof.clock import NS_PER_S
from otelprof.interfaces import Collector
from otelprof.model import Profile
from tests.support.session import Session, profiling

TIMEOUT_S = 30.0
SLOW_HZ, FAST_HZ = 10, 200
PERIOD_NS = {SLOW_HZ: 100_000_000, FAST_HZ: 5_000_000}


@pytest.fixture
def waiter() -> Iterator[str]:
    """A thread that waits, by its name."""
    release = threading.Event()
    thread = threading.Thread(target=release.wait, args=(TIMEOUT_S,), name="waiter")
    thread.start()
    yield thread.name
    release.set()
    thread.join(TIMEOUT_S)


def passes_a_second(collector: Collector, seconds: float = 0.7) -> float:
    """From the next pass on, which a change is waiting for."""
    before = collector.health()["passes"]
    deadline = time.monotonic() + TIMEOUT_S
    while collector.health()["passes"] == before:
        assert time.monotonic() < deadline, "it does not sample"
        time.sleep(0.001)
    before, begin = collector.health()["passes"], time.monotonic()
    time.sleep(seconds)
    return (collector.health()["passes"] - before) / (time.monotonic() - begin)


def wall_ns(profiles: list[Profile], thread: str) -> int:
    return sum(
        weight
        for profile in profiles
        for labels, weight in zip(profile.labels, profile.column(profile.kind), strict=True)
        if profile.kind == "wall" and profile.tables.labels_of(labels)["thread_name"] == thread
    )


def periods(profiles: list[Profile]) -> set[int]:
    return {profile.period for profile in profiles}


def burn(seconds: float) -> None:
    begin = time.thread_time()
    while time.thread_time() - begin < seconds:
        sum(range(1_000))


@pytest.fixture
def session(sampler: str) -> Iterator[Session]:
    with profiling(sampler, SLOW_HZ) as session:
        yield session


def test_samples_come_as_often_as_was_asked_for_last(session: Session) -> None:
    collector = session.collector
    before = passes_a_second(collector)
    collector.set_rate_hz(FAST_HZ)
    fast = passes_a_second(collector)
    collector.set_rate_hz(SLOW_HZ)
    after = passes_a_second(collector)
    assert before < 2 * SLOW_HZ
    assert after < 2 * SLOW_HZ
    assert fast > 4 * SLOW_HZ
    assert fast < 1.5 * FAST_HZ


def test_wall_time_adds_up_across_changes(sampler: str, waiter: str) -> None:
    with profiling(sampler, SLOW_HZ) as session:
        begin = time.monotonic_ns()
        for rate_hz in (FAST_HZ, SLOW_HZ, FAST_HZ, 1000, SLOW_HZ):
            time.sleep(0.2)
            session.collector.set_rate_hz(rate_hz)
        time.sleep(0.2)
        elapsed_ns = time.monotonic_ns() - begin
    # The session is a little longer than the body: it starts and stops a thread.
    assert elapsed_ns <= wall_ns(session.profiles, waiter) < elapsed_ns + 0.2 * NS_PER_S


def test_a_profile_has_the_period_of_its_end(session: Session, waiter: str) -> None:
    collector = session.collector
    passes_a_second(collector, 0.2)
    assert periods(collector.drain()) == {PERIOD_NS[SLOW_HZ]}
    time.sleep(0.3)
    collector.set_rate_hz(FAST_HZ)
    passes_a_second(collector, 0.2)
    mixed = collector.drain()
    assert periods(mixed) == {PERIOD_NS[FAST_HZ]}
    # It is all of the window, not what came after the change.
    assert wall_ns(mixed, waiter) > 0.5 * NS_PER_S
    passes_a_second(collector, 0.2)
    assert periods(collector.drain()) == {PERIOD_NS[FAST_HZ]}


def test_counts_times_period_are_the_cpu_time_across_changes(session: Session) -> None:
    collector = session.collector
    counted_ns = reported_ns = 0
    for rate_hz in (FAST_HZ, SLOW_HZ, FAST_HZ, SLOW_HZ):
        burn(0.1)
        collector.set_rate_hz(rate_hz)
        burn(0.15)
        for profile in collector.drain():
            if profile.kind == "cpu":
                assert profile.period == PERIOD_NS[rate_hz]
                counted_ns += sum(profile.column("samples")) * profile.period
                reported_ns += sum(profile.column("cpu"))
    assert reported_ns > 0.5 * NS_PER_S
    assert 0 <= reported_ns - counted_ns < PERIOD_NS[SLOW_HZ]


def test_a_change_in_a_pause_begins_after_it(session: Session) -> None:
    collector = session.collector
    collector.pause()
    collector.set_rate_hz(FAST_HZ)
    time.sleep(0.2)
    before = collector.health()["passes"]
    time.sleep(0.2)
    assert collector.health()["passes"] - before <= 1
    collector.resume()
    assert passes_a_second(collector) > 4 * SLOW_HZ
    assert periods(collector.drain()) == {PERIOD_NS[FAST_HZ]}


def test_a_change_after_a_stop_begins_with_the_next_start(session: Session) -> None:
    collector = session.collector
    collector.stop()
    collector.drain()
    collector.set_rate_hz(FAST_HZ)
    collector.start()
    assert passes_a_second(collector) > 4 * SLOW_HZ
    assert periods(collector.drain()) == {PERIOD_NS[FAST_HZ]}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_with_the_new_rate(session: Session) -> None:
    collector = session.collector
    collector.set_rate_hz(FAST_HZ)
    pid = os.fork()
    if not pid:
        is_right = False
        try:
            collector.after_fork()
            collector.start()
            is_right = passes_a_second(collector) > 4 * SLOW_HZ
            is_right = is_right and periods(collector.drain()) == {PERIOD_NS[FAST_HZ]}
        finally:
            os._exit(not is_right)
    assert os.waitpid(pid, 0)[1] == 0
