"""What a pipeline does with batches of dead processes: they have an age, a place in the order, and other receivers."""

import os
from pathlib import Path

import pytest

from otelprof.clock import NS_PER_S
from otelprof.interfaces import DELIVERED
from otelprof.pipeline import ADOPT_EVERY_S
from otelprof.storage.adoption import read_envelope
from otelprof.storage.manifest import Manifest, service_of
from tests.support.pipelines import (
    PATIENCE_S,
    RESOURCE,
    RETRY,
    FakeClock,
    FakeExporter,
    files_in,
    numbers_of,
    on_disk,
    running,
)
from tests.support.spools import adopt, left_by_a_dead_process, manifest_of

SERVICE = service_of(RESOURCE)
HERE, THERE = "sink here", "sink there"
BLOCK_BYTES = 4096
YEAR_S = 365 * 86_400.0


def made_ago(seconds: float, clock: FakeClock, *destinations: str) -> Manifest:
    made_unix_ns = clock.unix_ns() - round(seconds * NS_PER_S)
    return manifest_of(*(destinations or (HERE,)), service=SERVICE, made_unix_ns=made_unix_ns)


def first_look(clock: FakeClock) -> None:
    """The exporter is built, and then it is seen what the dead have left."""
    for _ in range(3):
        clock.advance(1.0)


def test_what_is_too_old_by_the_time_it_was_made_is_dropped_and_counted(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(destination="here")
    ages = (made_ago(200.0, clock), made_ago(50.0, clock))
    left_by_a_dead_process(tmp_path / "spool", *ages)
    with running(clock, limits=on_disk(tmp_path, age_s=100.0), sink=sink) as bench:
        first_look(clock)
        assert bench.pipeline.flush(PATIENCE_S)
        counted = bench.pipeline.statistics()
    assert numbers_of(sink.delivered) == [2]
    assert counted["sink.adopted_profiles"] == 2
    assert counted["sink.dropped_profiles.age"] == 1
    assert files_in(tmp_path) == []


def test_its_age_goes_on_from_then(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    left_by_a_dead_process(tmp_path / "spool", made_ago(50.0, clock))
    with running(clock, limits=on_disk(tmp_path, age_s=100.0), sink=sink) as bench:
        first_look(clock)
        assert bench.pipeline.statistics()["sink.waiting_profiles"] == 1
        clock.advance(ADOPT_EVERY_S)
        assert bench.pipeline.statistics()["sink.dropped_profiles.age"] == 1


@pytest.mark.parametrize("jump_s", [-YEAR_S, -3600.0])
def test_a_clock_that_was_set_back_since_takes_it_for_new(tmp_path: Path, jump_s: float) -> None:
    """Made, and its file written, at a time that is still to come."""
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    (stored,) = left_by_a_dead_process(tmp_path / "spool", made_ago(0.0, clock))
    os.utime(stored.path, ns=(clock.unix_ns(), clock.unix_ns()))
    clock.set_unix(jump_s)
    with running(clock, limits=on_disk(tmp_path, age_s=100.0), sink=sink) as bench:
        first_look(clock)
        assert bench.pipeline.statistics()["sink.waiting_profiles"] == 1
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
        counted = bench.pipeline.statistics()
    assert numbers_of(sink.delivered) == [1]
    assert counted["expired_profiles"] == 0


def test_nor_does_it_stay_for_longer_than_anything_may(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    left_by_a_dead_process(tmp_path / "spool", made_ago(-YEAR_S, clock))
    with running(clock, limits=on_disk(tmp_path, age_s=100.0), sink=sink) as bench:
        first_look(clock)
        clock.advance(101.0)
        bench.collector.give()  # so that somebody looks
        clock.advance(bench.flush_s)
        assert bench.pipeline.statistics()["sink.dropped_profiles.age"] == 1


def test_what_does_not_fit_goes_the_oldest_first(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    ages = [made_ago(age_s, clock) for age_s in (500.0, 400.0, 300.0, 200.0, 100.0)]
    left_by_a_dead_process(tmp_path / "spool", *ages)
    with running(clock, limits=on_disk(tmp_path, disk_bytes=3 * BLOCK_BYTES), sink=sink) as bench:
        first_look(clock)
        assert bench.pipeline.statistics()["sink.dropped_profiles.budget"] == 2
        assert len(files_in(tmp_path)) == 3
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
    assert numbers_of(sink.delivered) == [3, 4, 5]


def test_before_what_this_process_has_collected(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    limits = on_disk(tmp_path, disk_bytes=4 * BLOCK_BYTES)
    with running(clock, limits=limits, sink=sink) as bench:
        first_look(clock)
        left_by_a_dead_process(tmp_path / "spool", *[made_ago(500.0, clock)] * 2)
        for _ in range(3):
            bench.collector.give()
            clock.advance(bench.flush_s)
        clock.advance(ADOPT_EVERY_S)
        counted = bench.pipeline.statistics()
        assert counted["sink.adopted_profiles"] == 2
        assert counted["sink.dropped_profiles.budget"] == 1
        sink.then = DELIVERED
        assert bench.pipeline.flush(PATIENCE_S)
    assert sorted(numbers_of(sink.delivered)) == [1, 2, 2, 3]  # the dead one's first is gone


def test_one_that_others_wait_for_stays_and_names_who_has_it(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(destination="here")
    (stored,) = left_by_a_dead_process(tmp_path / "spool", made_ago(1.0, clock, HERE, THERE))
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        first_look(clock)
        assert bench.pipeline.flush(PATIENCE_S)
    assert numbers_of(sink.delivered) == [1]
    assert read_envelope(stored.path)[1] == {HERE}
    (left,) = adopt(tmp_path / "spool", HERE, THERE, service=SERVICE).adopted
    assert left.destinations == (THERE,)


def test_a_program_that_is_over_at_once_delivers_them_too(tmp_path: Path) -> None:
    clock, sink = FakeClock(), FakeExporter(destination="here")
    left_by_a_dead_process(tmp_path / "spool", made_ago(1.0, clock), made_ago(1.0, clock))
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        bench.collector.give()
        assert bench.pipeline.shutdown(PATIENCE_S)
    assert sorted(numbers_of(sink.delivered)) == [1, 1, 2]
