"""Flushing, retrying, dropping and shutting down. Where time matters it is a fake clock's."""

import logging
import random
import threading

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otelprof import forks
from otelprof.clock import NS_PER_S
from otelprof.errors import ExporterError
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import PROFILE_ID_BYTES, Batch, SpanRecord
from otelprof.pipeline import EXPORT_TIMEOUT_S, MAX_BACKOFF_S, MAX_WAITING, MIN_BACKOFF_S, Lane
from tests.support.pipelines import (
    PATIENCE_S,
    REFUSED,
    RESOURCE,
    RETRY,
    FakeClock,
    FakeExporter,
    Hanging,
    batch_of,
    numbers_of,
    running,
    seconds_of,
)
from tests.support.profiles import SPAN_ID, TRACE_ID

SPAN = SpanRecord(TRACE_ID, SPAN_ID, b"", SPAN_ID, "checkout", 1, "", 0, 1, 2, "MainThread")
NOISE_S = 3.0  # how late a busy machine may be


def raising(_: Batch, __: float) -> Outcome:
    raise RuntimeError("the exporter is broken")


def unbuildable() -> FakeExporter:
    raise ExporterError("sink: the package sinkpkg is missing")


class TestFlushing:
    def test_once_a_period(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            for period in range(1, 4):
                bench.collector.give()
                clock.advance(bench.flush_s - 0.1)
                assert len(sink.calls) == period - 1
                clock.advance(0.1)
                assert len(sink.calls) == period
        assert numbers_of(sink.delivered) == [1, 2, 3]

    def test_a_batch_is_complete(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            for _ in range(2):
                bench.collector.give(2)
                bench.spans.append(SPAN)
                clock.advance(bench.flush_s)
        assert [batch.spans for batch in sink.delivered] == [(SPAN,), (SPAN,)]
        assert [batch.resource for batch in sink.delivered] == [RESOURCE, RESOURCE]
        profiles = [profile for batch in sink.delivered for profile in batch.profiles]
        assert [profile.resource for profile in profiles] == [RESOURCE] * 4
        ids = {profile.profile_id for profile in profiles}
        assert len(ids) == 4
        assert {len(profile_id) for profile_id in ids} == {PROFILE_ID_BYTES}
        assert [profile.problem() for profile in profiles] == [None] * 4

    def test_nothing_collected_sends_nothing_and_keeps_the_spans(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.spans.append(SPAN)
            clock.advance(bench.flush_s)
            assert sink.calls == []
            bench.collector.give()
            clock.advance(bench.flush_s)
        assert [batch.spans for batch in sink.delivered] == [(SPAN,)]

    def test_now(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
            assert numbers_of(sink.delivered) == [1]

    def test_now_tries_at_once_what_was_put_off(self) -> None:
        clock, sink = FakeClock(), FakeExporter(Outcome("retry", "wait", retry_after_s=3600.0))
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(PATIENCE_S)
            assert bench.pipeline.flush(PATIENCE_S)
        assert numbers_of(sink.delivered) == [1]

    def test_now_is_false_when_the_receiver_refuses(self) -> None:
        with running(FakeClock(), sink=FakeExporter(then=REFUSED)) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(PATIENCE_S)

    def test_gives_up_in_time_against_an_exporter_that_never_returns(self) -> None:
        hanging = Hanging()
        with running(sink=FakeExporter(then=hanging)) as bench:
            bench.collector.give()
            results: list[bool] = []
            elapsed_s = seconds_of(lambda: results.append(bench.pipeline.flush(0.3)))
            hanging.let_go()
        assert results == [False]
        assert 0.3 <= elapsed_s < 0.3 + NOISE_S

    def test_exporters_work_outside_of_the_applications_traces(self) -> None:
        seen: list[bool] = []

        def look(_: Batch, __: float) -> Outcome:
            seen.append(is_instrumentation_enabled())
            return DELIVERED

        with running(FakeClock(), sink=FakeExporter(then=look)) as bench:
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
        assert seen == [False]

    def test_an_exporter_is_told_how_long_it_may_take(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            bench.collector.give()
            assert bench.pipeline.flush(1.5)
        assert sink.timeouts_s == [EXPORT_TIMEOUT_S, 1.5]

    def test_collectors_are_told_every_second(self) -> None:
        clock = FakeClock()
        with running(clock, sink=FakeExporter()) as bench:
            clock.settle()
            before = bench.collector.ticks
            for _ in range(5):
                clock.advance(1.0)
            assert bench.collector.ticks == before + 5

    def test_ticks_every_second_until_it_has_what_it_wants(self) -> None:
        clock, ticks = FakeClock(), [0]

        def tick() -> bool:
            ticks[0] += 1
            return ticks[0] == 3

        with running(clock, on_tick=tick, sink=FakeExporter()):
            counts: list[int] = []
            for _ in range(5):
                clock.advance(1.0)
                counts.append(ticks[0])
        assert counts == [1, 2, 3, 3, 3]


class TestRetrying:
    def test_keeps_order_and_ids(self) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY)
        with running(clock, sink=sink) as bench:
            for _ in range(3):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
            sink.then = DELIVERED
            clock.advance(MAX_BACKOFF_S)
        assert numbers_of(sink.delivered) == [1, 2, 3, 4, 5, 6]
        first = {profile.profile_id for profile in sink.calls[0].profiles}
        assert {profile.profile_id for profile in sink.delivered[0].profiles} == first

    def test_waits_longer_each_time_up_to_a_bound_and_never_in_step(self) -> None:
        random.seed(20_261_123)
        attempts, lanes = 9, 40
        waits_s: list[list[float]] = [[] for _ in range(attempts)]
        for _ in range(lanes):
            clock = FakeClock()
            lane = Lane("sink", lambda: FakeExporter(then=RETRY), clock)
            lane.put(batch_of(1))
            for attempt in range(attempts):
                lane.deliver(clock.monotonic_ns() + NS_PER_S, at_once=False)
                wait_s = wait_of(lane, clock)
                waits_s[attempt].append(wait_s)
                clock.step(wait_s)
        for attempt, waits in enumerate(waits_s):
            bound_s = min(MAX_BACKOFF_S, MIN_BACKOFF_S * 2**attempt)
            assert min(waits) >= 0
            assert bound_s / 2 < max(waits) <= bound_s  # 40 draws: the odds against it are 2 ** -40
            assert len(set(waits)) > lanes / 2

    @pytest.mark.parametrize("asked_s", [0.5, 30.0, 600.0])
    def test_waits_as_long_as_the_receiver_asks(self, asked_s: float) -> None:
        clock = FakeClock()
        exporter = FakeExporter(then=Outcome("retry", "busy", retry_after_s=asked_s))
        lane = Lane("sink", lambda: exporter, clock)
        lane.put(batch_of(1))
        lane.deliver(clock.monotonic_ns() + NS_PER_S, at_once=False)
        assert asked_s <= wait_of(lane, clock) <= max(asked_s, MIN_BACKOFF_S)
        clock.step(wait_of(lane, clock) - 0.001)
        lane.deliver(clock.monotonic_ns() + NS_PER_S, at_once=False)
        assert len(exporter.calls) == 1
        clock.step(0.002)
        lane.deliver(clock.monotonic_ns() + NS_PER_S, at_once=False)
        assert len(exporter.calls) == 2

    def test_comes_back_without_a_new_flush(self) -> None:
        clock, sink = FakeClock(), FakeExporter(RETRY)
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            assert sink.delivered == []
            clock.advance(MIN_BACKOFF_S)
            assert numbers_of(sink.delivered) == [1]

    def test_says_once_that_it_waits_and_once_that_it_delivers_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "otelprof")
        clock, sink = FakeClock(), FakeExporter(then=RETRY)
        with running(clock, sink=sink) as bench:
            for _ in range(5):
                bench.collector.give()
                clock.advance(MAX_BACKOFF_S)
            assert [r.levelname for r in caplog.records] == ["WARNING"]
            assert "sink" in caplog.text
            assert "come back later" in caplog.text
            sink.then = DELIVERED
            clock.advance(MAX_BACKOFF_S)
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    def test_drops_the_oldest_and_counts_them(self) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY)
        with running(clock, sink=sink) as bench:
            for _ in range(MAX_WAITING + 3):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
            assert bench.pipeline.statistics()["sink.dropped_profiles"] == 6
            sink.then = DELIVERED
            clock.advance(MAX_BACKOFF_S)
            counted = bench.pipeline.statistics()
        assert numbers_of(sink.delivered) == list(range(7, 2 * (MAX_WAITING + 3) + 1))
        assert counted["sink.dropped_profiles"] == 6
        assert counted["sink.delivered_profiles"] == 2 * MAX_WAITING
        assert counted["collected_profiles"] == 2 * (MAX_WAITING + 3)

    def test_one_exporter_that_waits_holds_up_no_other(self) -> None:
        clock, late, good = FakeClock(), FakeExporter(then=RETRY), FakeExporter()
        with running(clock, late=late, good=good) as bench:
            for period in range(1, 4):
                bench.collector.give()
                clock.advance(bench.flush_s)
                assert numbers_of(good.delivered) == list(range(1, period + 1))


class TestRefusing:
    def test_a_part_is_counted_and_said(self, caplog: pytest.LogCaptureFixture) -> None:
        clock = FakeClock()
        sink = FakeExporter(Outcome("delivered", "one is too old", rejected_profiles=1))
        with running(clock, sink=sink) as bench:
            bench.collector.give(3)
            clock.advance(bench.flush_s)
            counted = bench.pipeline.statistics()
        assert (counted["sink.delivered_profiles"], counted["sink.refused_profiles"]) == (2, 1)
        assert [record.getMessage() for record in caplog.records] == [
            "otelprof: sink: profiles are refused and dropped: one is too old"
        ]

    def test_patience_ends(self) -> None:
        """What is retried because the receiver fails is refused at last, and does not hold up the next for ever."""
        clock = FakeClock()
        sink = FakeExporter(then=Outcome("retry", "it fails", patience_s=600.0))
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            for _ in range(9):
                clock.advance(MAX_BACKOFF_S)
            assert bench.pipeline.statistics().get("sink.refused_profiles", 0) == 0
            for _ in range(2):
                clock.advance(MAX_BACKOFF_S)
            assert bench.pipeline.statistics()["sink.refused_profiles"] == 1
            sink.then = DELIVERED
            bench.collector.give()
            clock.advance(bench.flush_s)
        assert numbers_of(sink.delivered) == [2]

    def test_is_counted_and_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        clock, sink = FakeClock(), FakeExporter(REFUSED, REFUSED, REFUSED)
        with running(clock, sink=sink) as bench:
            for _ in range(4):
                bench.collector.give()
                clock.advance(bench.flush_s)
            counted = bench.pipeline.statistics()
        assert counted["sink.refused_profiles"] == 3
        assert counted["sink.delivered_profiles"] == 1
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == [
            "otelprof: sink: profiles are refused and dropped: not like this"
        ]

    def test_an_exporter_that_raises_is_counted_and_blocks_nobody(self) -> None:
        clock, bad, good = FakeClock(), FakeExporter(raising), FakeExporter()
        with running(clock, bad=bad, good=good) as bench:
            for _ in range(2):
                bench.collector.give()
                clock.advance(bench.flush_s)
            counted = bench.pipeline.statistics()
        assert numbers_of(good.delivered) == [1, 2]
        assert numbers_of(bad.delivered) == [2]
        assert counted["bad.refused_profiles"] == 1
        assert counted["bad.delivered_profiles"] == 1

    def test_an_exporter_that_raises_again_and_again_shows_its_traceback_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock = FakeClock()
        with running(clock, bad=FakeExporter(then=raising)) as bench:
            for _ in range(4):
                bench.collector.give()
                clock.advance(bench.flush_s)
        assert len([record for record in caplog.records if record.exc_info]) == 1

    def test_an_exporter_that_cannot_be_built_is_said_in_one_line(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock, good = FakeClock(), FakeExporter()
        with running(clock, bad=unbuildable, good=good) as bench:
            for _ in range(3):
                bench.collector.give()
                clock.advance(bench.flush_s)
            counted = bench.pipeline.statistics()
        assert len(caplog.records) == 1
        assert "bad" in caplog.text
        assert "the package sinkpkg is missing" in caplog.text
        assert counted.get("bad.refused_profiles", 0) + counted["bad.dropped_profiles"] == 3
        assert numbers_of(good.delivered) == [1, 2, 3]

    def test_forks_wait_while_an_exporter_is_built_since_it_imports_what_it_needs(self) -> None:
        free: list[bool] = []

        def build() -> FakeExporter:
            look = threading.Thread(target=lambda: free.append(forks._gate._lock.acquire(False)))
            look.start()
            look.join(PATIENCE_S)
            return FakeExporter()

        Lane("sink", build, FakeClock()).prepare()
        assert free == [False]

    def test_an_exporter_whose_constructor_has_a_bug_blocks_nobody(self) -> None:
        def build() -> FakeExporter:
            raise AttributeError("str has no absolute()")

        clock, good = FakeClock(), FakeExporter()
        with running(clock, bad=build, good=good) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(2.0)  # in time, and not everything was delivered
            assert numbers_of(good.delivered) == [1]


@pytest.mark.parametrize("seed", range(6))
def test_every_profile_is_accounted_for(seed: int) -> None:
    """Receivers that take, refuse, raise and put off at random: nothing is lost without being counted."""
    rng = random.Random(seed)

    def whatever(_: Batch, __: float) -> Outcome:
        match rng.randrange(8):
            case 0:
                return REFUSED
            case 1:
                raise RuntimeError("now and then")
            case 2 | 3 | 4:
                return Outcome("retry", "busy", rng.choice([None, 5.0, 200.0]))
            case _:
                return DELIVERED

    clock = FakeClock()
    one, two = FakeExporter(then=whatever), FakeExporter(then=whatever)
    sinks = {"one": one, "two": two}
    with running(clock, one=one, two=two) as bench:
        for _ in range(200):
            bench.collector.give(rng.randrange(4))
            clock.advance(rng.choice([0.5, bench.flush_s, 3 * bench.flush_s]))
            for name in sinks:
                assert waiting(bench.pipeline.statistics(), name) >= 0
        bench.pipeline.shutdown(PATIENCE_S)
        counted = bench.pipeline.statistics()
        left = len(bench.collector.drain())
    assert counted["collected_profiles"] == bench.collector.given - left
    assert not left
    for name, sink in sinks.items():
        assert waiting(counted, name) == 0
        numbers = numbers_of(sink.delivered)
        assert len(numbers) == counted[f"{name}.delivered_profiles"]
        assert numbers == sorted(set(numbers))


def waiting(counted: dict[str, int], name: str) -> int:
    verdicts = ("delivered", "refused", "dropped")
    done = sum(counted.get(f"{name}.{verdict}_profiles", 0) for verdict in verdicts)
    return counted.get("collected_profiles", 0) - done


def wait_of(lane: Lane, clock: FakeClock) -> float:
    due_ns = lane.due_ns()
    assert due_ns is not None
    return (due_ns - clock.monotonic_ns()) / NS_PER_S
