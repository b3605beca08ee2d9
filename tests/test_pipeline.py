"""Flushing, retrying, dropping and shutting down. Where time matters it is a fake clock's."""

import logging

import pytest
from opentelemetry.instrumentation.utils import is_instrumentation_enabled

from otelprof.delivery.lane import EXPORT_TIMEOUT_S
from otelprof.errors import ExporterError
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import PROFILE_ID_BYTES, Batch, SpanRecord
from tests.support.pipelines import (
    PATIENCE_S,
    REFUSED,
    RESOURCE,
    FakeClock,
    FakeExporter,
    Hanging,
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

    def test_ticks_every_second(self) -> None:
        clock, ticks = FakeClock(), [0]

        def tick() -> None:
            ticks[0] += 1

        with running(clock, on_tick=tick, sink=FakeExporter()):
            counts: list[int] = []
            for _ in range(5):
                clock.advance(1.0)
                counts.append(ticks[0])
        assert counts == [1, 2, 3, 4, 5]


class TestRefusing:
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
        assert counted["bad.dropped_profiles.broken"] == 3
        assert numbers_of(good.delivered) == [1, 2, 3]

    def test_an_exporter_whose_constructor_has_a_bug_blocks_nobody(self) -> None:
        def build() -> FakeExporter:
            raise AttributeError("str has no absolute()")

        clock, good = FakeClock(), FakeExporter()
        with running(clock, bad=build, good=good) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(2.0)  # in time, and not everything was delivered
            assert numbers_of(good.delivered) == [1]
