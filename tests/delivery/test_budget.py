"""The budget of the spool, which processes share: who goes first, and that nobody goes without need."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from otelprof.interfaces import DELIVERED
from tests.support.pipelines import (
    PATIENCE_S,
    RETRY,
    FakeClock,
    FakeExporter,
    files_in,
    numbers_of,
    on_disk,
    running,
)
from tests.support.programs import target
from tests.support.random_profiles import random_profile
from tests.support.spools import left_by_a_dead_process, manifest_of

BLOCK_BYTES = 4096  # what each of these batches takes
PROCESSES, BATCHES, ROUNDS = 4, 32, 24


def test_processes_that_share_it_fill_it_and_keep_it(tmp_path: Path) -> None:
    command = [sys.executable, target("sharing.py"), str(tmp_path), str(BATCHES * BLOCK_BYTES)]
    kept: list[int] = []
    dropped: list[str] = []
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for _ in range(PROCESSES)
        ]
        for _ in range(ROUNDS):
            for process in processes:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            dropped = [process.stdout.readline() for process in processes if process.stdout]
            kept.append(len(files_in(tmp_path)))
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(PATIENCE_S) == 0
    steady = kept[ROUNDS // 2 :]
    assert max(kept) <= BATCHES * 1.1, kept
    assert min(steady) >= BATCHES * 0.8, kept
    assert sum(map(int, dropped)) + kept[-1] == PROCESSES * ROUNDS


def test_what_the_dead_have_left_for_others_goes_first(tmp_path: Path) -> None:
    left_by_a_dead_process(tmp_path / "spool", *[manifest_of(service="other")] * 10)
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    limits = on_disk(tmp_path, disk_bytes=10 * BLOCK_BYTES)
    with running(clock, limits=limits, sink=sink) as bench:
        for _ in range(8):
            bench.collector.give()
            clock.advance(bench.flush_s)
            clock.advance(60.0)
        counted = bench.pipeline.statistics()
        assert counted["sink.waiting_profiles"] == 8
        assert "sink.dropped_profiles" not in counted
        assert counted["expired_profiles"] == 10 + 8 - len(files_in(tmp_path))
        assert len(files_in(tmp_path)) <= 10


def test_what_nobody_made_of_ours_in_the_directory_stays(tmp_path: Path) -> None:
    for name in ("theirs", "0123456789abcdef-1-zzzzzzzz"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    (tmp_path / "spool").chmod(0o700)
    (tmp_path / "spool" / "theirs" / "owner").touch()
    clock, sink = FakeClock(), FakeExporter(destination="here")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        bench.collector.give()
        clock.advance(bench.flush_s)
    assert sorted(p.name for p in (tmp_path / "spool").rglob("*")) == [
        "0123456789abcdef-1-zzzzzzzz",
        "owner",
        "theirs",
    ]


def test_adopted_batches_leave_before_younger_ones_of_the_process(tmp_path: Path) -> None:
    dead = FakeExporter(then=RETRY, destination="here")
    with running(FakeClock(), limits=on_disk(tmp_path), sink=dead) as bench:
        for _ in range(3):
            bench.collector.give()
            bench.pipeline.flush(PATIENCE_S)
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    (tmp_path / "spool").rename(tmp_path / "away")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as other:
        other.collector.given = 100
        for _ in range(3):
            other.collector.give()
            clock.advance(other.flush_s)
        for left in (tmp_path / "away").iterdir():
            left.rename(tmp_path / "spool" / left.name)
        for _ in range(6):
            clock.advance(10.0)
        sink.then = DELIVERED
        assert other.pipeline.flush(PATIENCE_S)
    # The one that is being tried stays the first.
    assert numbers_of(sink.delivered) == [101, 1, 2, 3, 102, 103]


@pytest.mark.parametrize("is_on_disk", [True, False])
def test_a_batch_that_fits_nowhere_costs_no_other(
    is_on_disk: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    destination = "here" if is_on_disk else ""
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination=destination)
    limits = on_disk(tmp_path, disk_bytes=64 << 10, memory_bytes=64 << 10)
    with running(clock, limits=limits, sink=sink) as bench:
        for number in range(6):
            if number in {2, 4}:
                bench.collector.put(random_profile(2_000, depth=30))
            bench.collector.give()
            clock.advance(bench.flush_s)
        counted = bench.pipeline.statistics()
    lines = [r.getMessage() for r in caplog.records if "OTELPROF_SPOOL_MAX" in r.getMessage()]
    assert len(lines) == int(is_on_disk)
    assert (
        counted["sink.dropped_profiles.memory"] == 4
    )  # two batches, with what came in the same flush
    assert counted.get("sink.waiting_profiles", 0) + counted.get("sink.left_profiles", 0) == 4


def test_a_profile_of_others_that_breaks_a_rule_is_dropped_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, sink = FakeClock(), FakeExporter(destination="here")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        for _ in range(2):
            bench.collector.give(2)
            bench.collector.spoil()
            clock.advance(bench.flush_s)
        counted = bench.pipeline.statistics()
    assert numbers_of(sink.delivered) == [1, 3]
    assert counted["invalid_profiles"] == 2
    assert [r.getMessage() for r in caplog.records if "64 bits" in r.getMessage()] != []
