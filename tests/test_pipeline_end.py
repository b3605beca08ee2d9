"""How a pipeline ends: shut down in time, and forgotten in a forked child."""

import threading
import time
from collections.abc import Callable

import pytest

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from otelprof.pipeline import Lane
from tests.support.pipelines import (
    PATIENCE_S,
    RETRY,
    FakeClock,
    FakeExporter,
    Hanging,
    batch_of,
    numbers_of,
    running,
    seconds_of,
)

NOISE_S = 3.0  # how late a busy machine may be


def lines_with(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


class TestShuttingDown:
    def test_delivers_the_rest_and_closes(self) -> None:
        sink = FakeExporter()
        with running(sink=sink) as bench:
            bench.collector.give()
            assert bench.pipeline.shutdown(PATIENCE_S)
        assert numbers_of(sink.delivered) == [1]
        assert sink.closed == 1

    def test_is_idempotent(self) -> None:
        with running(sink=FakeExporter()) as bench:
            assert bench.pipeline.shutdown(PATIENCE_S)
            assert bench.pipeline.shutdown(PATIENCE_S)
            assert bench.pipeline.flush(PATIENCE_S)

    def test_is_over_in_time_against_an_exporter_that_never_returns_and_says_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        hanging = Hanging()
        with running(sink=FakeExporter(then=hanging)) as bench:
            bench.collector.give()
            results: list[bool] = []
            elapsed_s = seconds_of(lambda: results.append(bench.pipeline.shutdown(0.3)))
            said = [record.getMessage() for record in caplog.records]
            hanging.let_go()
        assert results == [False]
        assert 0.3 <= elapsed_s < 0.3 + NOISE_S
        assert len(said) == 1
        assert "not delivered" in said[0]

    def test_says_in_one_line_what_a_receiver_did_not_take(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink = FakeExporter(then=RETRY)
        with running(sink=sink) as bench:
            bench.collector.give()
            bench.pipeline.shutdown(PATIENCE_S)
            counted = bench.pipeline.statistics()
        assert counted["sink.dropped_profiles"] == 1
        assert len(lines_with(caplog, "not delivered")) == 1
        assert sink.closed == 1

    def test_is_false_when_something_was_given_up(self) -> None:
        with running(sink=FakeExporter(then=RETRY)) as bench:
            bench.collector.give()
            assert not bench.pipeline.shutdown(PATIENCE_S)

    def test_takes_along_what_was_collected_during_an_export(self) -> None:
        clock = FakeClock()

        def until_asked_to_stop(_: Batch, __: float) -> Outcome:
            bench.collector.give()
            threading.Thread(
                target=lambda: stopped.append(bench.pipeline.shutdown(PATIENCE_S))
            ).start()
            assert clock.woken.wait(PATIENCE_S)
            return DELIVERED

        stopped: list[bool] = []
        sink = FakeExporter(until_asked_to_stop)
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            clock.settle()
            clock.step(bench.flush_s)
            wait_until(lambda: bool(stopped))
        assert stopped == [True]
        assert numbers_of(sink.delivered) == [1, 2]

    def test_an_exporter_that_eats_all_the_time_leaves_some_to_the_next(self) -> None:
        def silent(_: Batch, timeout_s: float) -> Outcome:
            never.wait(timeout_s)
            return RETRY

        never, good = threading.Event(), FakeExporter()
        with running(silent=FakeExporter(then=silent), good=good) as bench:
            bench.collector.give()
            bench.pipeline.shutdown(0.5)
        assert numbers_of(good.delivered) == [1]

    def test_an_exporter_that_raises_on_close_holds_up_nobody(self) -> None:
        class Stubborn(FakeExporter):
            def close(self) -> None:
                raise OSError("the connection is gone already")

        good = FakeExporter()
        with running(bad=Stubborn(), good=good) as bench:
            bench.collector.give()
            assert bench.pipeline.shutdown(2.0)
        assert numbers_of(good.delivered) == [1]
        assert good.closed == 1

    def test_can_be_started_again(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            assert bench.pipeline.shutdown(PATIENCE_S)
            bench.pipeline.start()
            for _ in range(2):
                bench.collector.give()
                assert bench.pipeline.flush(2.0)
        assert numbers_of(sink.delivered) == [1, 2, 3]


class TestForking:
    def test_forgets_what_the_parent_had_not_delivered(self) -> None:
        sink = FakeExporter(RETRY)
        lane = Lane("sink", lambda: sink, FakeClock())
        lane.put(batch_of(1))
        lane.deliver(2**62, at_once=True)
        lane.after_fork()
        assert lane.is_idle()
        assert lane.due_ns() is None
        assert not lane.counters
        assert sink.forked == 1
        lane.put(batch_of(2))
        lane.deliver(2**62, at_once=False)
        assert numbers_of(sink.delivered) == [2]

    def test_an_exporter_that_is_built_in_the_child_is_told_too(self) -> None:
        sink = FakeExporter()
        lane = Lane("sink", lambda: sink, FakeClock())
        lane.after_fork()
        lane.put(batch_of(1))
        lane.deliver(2**62, at_once=False)
        assert sink.forked == 1
        assert numbers_of(sink.delivered) == [1]

    def test_counts_from_zero_and_works_on(self) -> None:
        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.collector.give()
            assert bench.pipeline.shutdown(PATIENCE_S)  # the worker is not there in a child
            bench.pipeline.after_fork()
            assert not any(bench.pipeline.statistics().values())
            bench.pipeline.start()
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
            assert bench.pipeline.statistics() == {
                "collected_profiles": 1,
                "sink.delivered_profiles": 1,
            }
        assert numbers_of(sink.delivered) == [1, 2]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
