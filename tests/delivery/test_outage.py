"""A receiver that is away for an hour: nothing is lost within the budget, and memory stays flat."""

import gc
import tracemalloc
from pathlib import Path

import pytest

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch, Profile
from tests.support.pipelines import (
    PATIENCE_S,
    RETRY,
    FakeClock,
    FakeExporter,
    assert_adds_up,
    files_in,
    numbers_of,
    on_disk,
    running,
)

HOUR_S = 3600
GROWTH_MOST_BYTES = 256 << 10  # of positions, in 50 minutes


class Forgetful(FakeExporter):
    """Keeps numbers, not batches."""

    def __init__(self) -> None:
        super().__init__(then=RETRY, destination="here")
        self.numbers: list[int] = []

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        outcome = super().export(batch, timeout_s=timeout_s)
        self.numbers += numbers_of(self.delivered)
        self.delivered.clear()
        self.calls.clear()
        self.timeouts_s.clear()
        return outcome


def profiles_alive() -> int:
    return sum(isinstance(thing, Profile) for thing in gc.get_objects())


def test_loses_nothing_and_takes_no_memory(tmp_path: Path) -> None:
    clock, sink = FakeClock(), Forgetful()
    others = profiles_alive()
    tracemalloc.start()
    try:
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            sizes: list[int] = []
            flushes = HOUR_S // int(bench.flush_s)
            for flush in range(flushes):
                bench.collector.give(2)
                clock.advance(bench.flush_s)
                if flush % 60 == 59:
                    assert_adds_up(bench.pipeline, "sink")
                    gc.collect()
                    sizes.append(tracemalloc.get_traced_memory()[0])
            assert profiles_alive() - others <= 8  # the newest batch, and the one that is tried
            assert len(files_in(tmp_path)) == flushes
            assert sizes[-1] - sizes[0] <= GROWTH_MOST_BYTES, sizes
            sink.then = DELIVERED
            assert bench.pipeline.flush(PATIENCE_S)
            assert files_in(tmp_path) == []
        assert sink.numbers == list(range(1, 2 * flushes + 1))
    finally:
        tracemalloc.stop()


def test_over_the_budget_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path, disk_bytes=10 * 4096), sink=sink) as bench:
        for _ in range(25):
            bench.collector.give()
            clock.advance(bench.flush_s)
        assert len(files_in(tmp_path)) == 10
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
        counted = bench.pipeline.statistics()
    assert numbers_of(sink.delivered) == list(range(16, 26))
    assert counted["sink.dropped_profiles.budget"] == 15
    assert counted["sink.delivered_profiles"] == 10


def test_what_is_too_old_goes_and_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path, age_s=100.0), sink=sink) as bench:
        for _ in range(25):
            bench.collector.give()
            clock.advance(bench.flush_s)
        assert bench.pipeline.statistics()["sink.dropped_profiles.age"] == 14
        dropped = [line for line in caplog.messages if "are dropped (age)" in line]
        assert len(dropped) == 1
        assert len(files_in(tmp_path)) == 11


@pytest.mark.parametrize("jump_s", [-86_400.0 * 365, 86_400.0 * 365])
def test_a_clock_that_is_set_changes_nothing(tmp_path: Path, jump_s: float) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        for flush in range(10):
            if flush == 5:
                clock.set_unix(jump_s)
            bench.collector.give()
            clock.advance(bench.flush_s)
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
        assert len(sink.calls) < 30  # no storm either
    assert numbers_of(sink.delivered) == list(range(1, 11))


def test_without_a_disk_memory_is_bounded_and_the_oldest_go(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "spool").touch()  # where the directory should be
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    limits = on_disk(tmp_path, memory_bytes=8 << 10)
    with running(clock, limits=limits, sink=sink) as bench:
        for _ in range(60):
            bench.collector.give()
            clock.advance(bench.flush_s)
            assert bench.pipeline.statistics()["memory_bytes"] <= 8 << 10
            assert_adds_up(bench.pipeline, "sink")
        lines = [r.getMessage() for r in caplog.records if "is not used" in r.getMessage()]
        assert len(lines) == 1
        dropped = bench.pipeline.statistics()["sink.dropped_profiles.memory"]
        assert 0 < dropped < 60
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
    assert numbers_of(sink.delivered) == list(range(dropped + 1, 61))


def test_when_the_disk_comes_back_what_was_in_memory_goes_there(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        for _ in range(3):
            bench.collector.give()
            clock.advance(bench.flush_s)
        (tmp_path / "spool").unlink()
        bench.collector.give()
        clock.advance(bench.flush_s)
        assert len(files_in(tmp_path)) == 4
        assert bench.pipeline.statistics()["memory_bytes"] == 0
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
    assert numbers_of(sink.delivered) == [1, 2, 3, 4]


class TestReplayByAnother:
    def test_it_gets_what_was_left_and_counts_it_as_adopted(self, tmp_path: Path) -> None:
        dead = FakeExporter(then=RETRY, destination="here")
        with running(FakeClock(), limits=on_disk(tmp_path), sink=dead) as bench:
            for _ in range(3):
                bench.collector.give(2)
                bench.pipeline.flush(PATIENCE_S)
            bench.pipeline.shutdown(PATIENCE_S)
            clock, sink = FakeClock(), FakeExporter(destination="here")
            with running(clock, limits=on_disk(tmp_path), sink=sink) as other:
                for _ in range(12):
                    clock.advance(1.0)
                counted = other.pipeline.statistics()
        assert numbers_of(sink.delivered) == [1, 2, 3, 4, 5, 6]
        assert counted["sink.adopted_profiles"] == counted["sink.delivered_profiles"] == 6
        assert "sink.collected_profiles" not in counted
        tried = {profile.profile_id for profile in dead.calls[0].profiles}
        assert {profile.profile_id for profile in sink.delivered[0].profiles} == tried
        assert {dict(b.resource)["process.pid"] for b in sink.delivered} == {4711}
        assert list((tmp_path / "spool").iterdir()) == []

    def test_flushes_that_follow_each_other_do_not_keep_it_from_that(self, tmp_path: Path) -> None:
        dead = FakeExporter(then=RETRY, destination="here")
        with running(FakeClock(), limits=on_disk(tmp_path), sink=dead) as bench:
            bench.collector.give()
            bench.pipeline.shutdown(PATIENCE_S)
            sink = FakeExporter(destination="here")
            with running(FakeClock(), limits=on_disk(tmp_path), sink=sink) as other:
                other.collector.give()  # so that the exporter is built
                for _ in range(3):
                    assert other.pipeline.flush(PATIENCE_S)
                assert sorted(numbers_of(sink.delivered)) == [1, 1]

    def test_only_those_get_it_that_have_not_had_it(self, tmp_path: Path) -> None:
        one, two = (
            FakeExporter(destination="one"),
            FakeExporter(then=RETRY, destination="two"),
        )
        with running(FakeClock(), limits=on_disk(tmp_path), one=one, two=two) as bench:
            bench.collector.give()
            bench.pipeline.shutdown(PATIENCE_S)
            clock = FakeClock()
            one_again, two_again = FakeExporter(destination="one"), FakeExporter(destination="two")
            with running(clock, limits=on_disk(tmp_path), one=one_again, two=two_again):
                for _ in range(3):
                    clock.advance(1.0)
        assert numbers_of(one.delivered) == [1]
        assert numbers_of(one_again.delivered) == []
        assert numbers_of(two_again.delivered) == [1]

    def test_it_is_not_sent_to_another_receiver(self, tmp_path: Path) -> None:
        dead = FakeExporter(then=RETRY, destination="here")
        with running(FakeClock(), limits=on_disk(tmp_path), sink=dead) as bench:
            bench.collector.give()
            bench.pipeline.shutdown(PATIENCE_S)
            clock, other = FakeClock(), FakeExporter(destination="elsewhere")
            with running(clock, limits=on_disk(tmp_path), sink=other):
                clock.advance(2.0)
            assert other.calls == []
            assert len(files_in(tmp_path)) == 1
