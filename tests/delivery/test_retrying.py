"""What a lane does when its receiver does not take a batch: wait, keep the order, come back, and not too fast."""

import logging
import random
from pathlib import Path

import pytest

from otelprof.backoff import MAX_RETRY_AFTER_S, Backoff
from otelprof.delivery.pace import REPLAY_PROFILES_PER_S
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from tests.support.pipelines import (
    PATIENCE_S,
    REFUSED,
    RETRY,
    FakeClock,
    FakeExporter,
    assert_adds_up,
    numbers_of,
    on_disk,
    running,
)

MOST_S = Backoff().most_s


def pass_time(clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1.0)


class TestTrying:
    def test_keeps_order_and_ids(self, tmp_path: Path) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            for _ in range(3):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
            sink.then = DELIVERED
            pass_time(clock, 70)
        assert numbers_of(sink.delivered) == [1, 2, 3, 4, 5, 6]
        first = [profile.profile_id for profile in sink.calls[0].profiles]
        assert [profile.profile_id for profile in sink.delivered[0].profiles] == first

    @pytest.mark.parametrize("asked_s", [0.5, 30.0, 200.0])
    def test_waits_as_long_as_the_receiver_asks(self, asked_s: float) -> None:
        clock, sink = FakeClock(), FakeExporter(Outcome("retry", "busy", retry_after_s=asked_s))
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            clock.advance(asked_s - 0.1)
            assert len(sink.calls) == 1
            clock.advance(max(0.2, Backoff().first_s))
            assert len(sink.calls) == 2

    def test_but_not_as_long_as_it_likes(self) -> None:
        clock, sink = FakeClock(), FakeExporter(Outcome("retry", "later", retry_after_s=1e9))
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            clock.advance(MAX_RETRY_AFTER_S + 1)
            assert len(sink.delivered) == 1

    def test_comes_back_without_a_new_flush(self) -> None:
        clock, sink = FakeClock(), FakeExporter(RETRY)
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            assert sink.delivered == []
            clock.advance(Backoff().first_s)
            assert numbers_of(sink.delivered) == [1]

    def test_tries_only_the_oldest_and_that_once_in_a_backoff(self) -> None:
        """The circuit: a receiver that is away gets one probe, not one for each batch that waits."""
        clock, sink = FakeClock(), FakeExporter(then=RETRY)
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            tried = len(sink.calls)
            sink.then = Outcome("retry", "busy", retry_after_s=200.0)
            clock.advance(Backoff().first_s)
            for _ in range(15):
                bench.collector.give()
                clock.advance(bench.flush_s)
            assert len(sink.calls) == tried + 1
            assert set(numbers_of(sink.calls)) == {1}

    def test_says_once_that_it_waits_and_once_that_it_delivers_again(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO, "otelprof")
        clock, sink = FakeClock(), FakeExporter(then=RETRY)
        with running(clock, sink=sink) as bench:
            for _ in range(5):
                bench.collector.give()
                clock.advance(MOST_S)
            assert [r.levelname for r in caplog.records] == ["WARNING"]
            assert "sink" in caplog.text
            assert "come back later" in caplog.text
            sink.then = DELIVERED
            clock.advance(MOST_S)
            pass_time(clock, 10)
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    def test_one_exporter_that_waits_holds_up_no_other(self) -> None:
        clock, late, good = FakeClock(), FakeExporter(then=RETRY), FakeExporter()
        with running(clock, late=late, good=good) as bench:
            for period in range(1, 4):
                bench.collector.give()
                clock.advance(bench.flush_s)
                assert numbers_of(good.delivered) == list(range(1, period + 1))

    def test_gives_a_batch_up_when_its_patience_is_over(self) -> None:
        clock = FakeClock()
        sink = FakeExporter(then=Outcome("retry", "status 500", patience_s=600.0))
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.advance(bench.flush_s)
            began = clock.monotonic_ns()
            while "sink.refused_profiles" not in bench.pipeline.statistics():
                clock.advance(1.0)
            waited_s = (clock.monotonic_ns() - began) / 1e9
        assert 600 <= waited_s <= 600 + MOST_S + 1

    def test_patience_is_for_what_it_is_about_only(self, tmp_path: Path) -> None:
        """A receiver that was away for long and then answers 500 while it starts has its ten minutes."""
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            bench.collector.give()
            pass_time(clock, 1_200)
            sink.then = Outcome("retry", "status 500", patience_s=600.0)
            pass_time(clock, 500)
            assert "sink.refused_profiles" not in bench.pipeline.statistics()
            sink.then = DELIVERED
            pass_time(clock, round(MOST_S) + 1)
        assert numbers_of(sink.delivered) == [1]


class TestReplaying:
    def test_a_backlog_leaves_at_a_bounded_rate_beyond_what_comes_fresh(
        self, tmp_path: Path
    ) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        backlog = 40
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            for _ in range(backlog):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
            sink.then = DELIVERED
            while not sink.delivered:
                clock.advance(0.1)
            before, seconds = len(numbers_of(sink.delivered)), 20
            for second in range(seconds):
                if second % 10 == 0:
                    bench.collector.give(2)
                clock.advance(1.0)
            left = len(numbers_of(sink.delivered)) - before
            fresh = 2 * seconds / 10
            assert REPLAY_PROFILES_PER_S * (seconds - 2) <= left - fresh
            assert left - fresh <= REPLAY_PROFILES_PER_S * (seconds + 2)
            pass_time(clock, 60)
            assert numbers_of(sink.delivered) == list(range(1, bench.collector.given + 1))

    def test_a_flush_does_not_wait_for_that(self, tmp_path: Path) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            for _ in range(40):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
            sink.then = DELIVERED
            assert bench.pipeline.flush(PATIENCE_S)
        assert numbers_of(sink.delivered) == list(range(1, 81))


class TestAnswers:
    def test_rejected_profiles_of_a_delivered_batch_are_refused_and_said_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink = FakeExporter(then=Outcome("delivered", "too old", rejected_profiles=1))
        clock = FakeClock()
        with running(clock, sink=sink) as bench:
            for _ in range(2):
                bench.collector.give(3)
                clock.advance(bench.flush_s)
            counted = bench.pipeline.statistics()
        assert counted["sink.delivered_profiles"] == 4
        assert counted["sink.refused_profiles"] == 2
        assert [record.getMessage() for record in caplog.records] == [
            "otelprof: sink: the receiver rejects profiles: too old"
        ]

    def test_a_warning_beside_a_delivered_batch_is_said_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        clock, sink = FakeClock(), FakeExporter(then=Outcome("delivered", "deprecated"))
        with running(clock, sink=sink) as bench:
            for _ in range(2):
                bench.collector.give()
                clock.advance(bench.flush_s)
        assert numbers_of(sink.delivered) == [1, 2]
        assert [record.getMessage() for record in caplog.records] == [
            "otelprof: sink: the receiver takes profiles, and warns: deprecated"
        ]

    @pytest.mark.parametrize("destination", ["", "here"])
    @pytest.mark.parametrize("seed", range(6))
    def test_every_profile_is_accounted_for(
        self, seed: int, destination: str, tmp_path: Path
    ) -> None:
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
        one = FakeExporter(then=whatever, destination=destination)
        two = FakeExporter(then=whatever, destination=destination)
        sinks = {"one": one, "two": two}
        limits = on_disk(tmp_path, disk_bytes=64 << 10, age_s=900.0, memory_bytes=20 << 10)
        with running(clock, limits=limits, one=one, two=two) as bench:
            for _ in range(200):
                bench.collector.give(rng.randrange(4))
                clock.advance(rng.choice([0.5, bench.flush_s, 3 * bench.flush_s]))
                for name in sinks:
                    assert_adds_up(bench.pipeline, name)
            bench.pipeline.shutdown(PATIENCE_S)
            counted = bench.pipeline.statistics()
            assert bench.collector.drain() == []
        assert counted["collected_profiles"] == bench.collector.given
        for name, sink in sinks.items():
            numbers = numbers_of(sink.delivered)
            assert len(numbers) == counted[f"{name}.delivered_profiles"]
            assert numbers == sorted(set(numbers))
