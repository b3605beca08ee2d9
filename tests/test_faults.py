"""What the world does to a process that has something to deliver: kills it, takes its disk, makes it fork.

`OTELPROF_FAULTS=full`, as in `make soak`, has each of them as often as the project promises.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path

import pytest

from otelprof.interfaces import DELIVERED
from otelprof.model import PROFILE_ID_BYTES
from tests.support.numbered import NUMBER_BYTES, read_numbers
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
from tests.support.programs import finish, run_target, started, target
from tests.support.servers import Arrived, grpc_receiver, http_receiver

IS_FULL = os.environ.get("OTELPROF_FAULTS") == "full"
KILLS = 200 if IS_FULL else 20
FORKS = 1000 if IS_FULL else 100
LARGE_KILLS = 50 if IS_FULL else 10
LARGE_BYTES = 8 << 20  # takes so long to be written that there is time for a kill
LONG_S = 900.0
MOST_OF_ONE = 1_000_000  # as in the target


def adds_up(counts: dict[str, int], name: str) -> bool:
    def of(*states: str) -> list[int]:
        return [
            sum(counts.get(f"{name}.{state}_{what}", 0) for state in states)
            for what in ("profiles", "samples")
        ]

    return of("collected", "adopted") == of("delivered", "refused", "dropped", "waiting", "left")


def say(text: str) -> None:
    """With `-s`: a figure."""
    sys.stdout.write(f"\n{text}\n")


def received_by(path: Path) -> list[tuple[int, bytes]]:
    """The number and the id of every profile that a receiver of the target got, in order."""
    blob, size = path.read_bytes(), NUMBER_BYTES + PROFILE_ID_BYTES
    parts = [blob[at : at + size] for at in range(0, len(blob), size)]
    return [(int.from_bytes(part[:NUMBER_BYTES], "big"), part[NUMBER_BYTES:]) for part in parts]


@pytest.mark.parametrize("batch_bytes", [0, LARGE_BYTES], ids=["small", "large"])
def test_processes_that_are_killed_lose_at_most_what_they_had_not_flushed(
    tmp_path: Path, batch_bytes: int
) -> None:
    """Small batches at random moments, large ones in the middle of a write."""
    kills = LARGE_KILLS if batch_bytes else KILLS
    arguments = [str(tmp_path), str(kills), "20261123", str(batch_bytes)]
    command = [sys.executable, target("killed.py"), *arguments]
    with started(command, tmp_path) as process:
        finished = finish(process, LONG_S)
    assert finished.code == 0, finished.err
    counts = finished.facts["counts"]
    assert (finished.facts["stopped"], finished.facts["left"]) == (True, [])
    assert not batch_bytes or finished.facts["torn"]  # else this has shown nothing
    collected = read_numbers(tmp_path / "log")
    runs = [list(run) for _, run in groupby(collected, lambda number: number // MOST_OF_ONE)]
    for name in ("steady", "busy"):
        assert adds_up(counts, name), counts
        received = received_by(tmp_path / name)
        numbers, ids = {n for n, _ in received}, {i for _, i in received}
        # Whole: a number never comes with another id. Nothing but what was collected, and all of it but the last flush.
        assert len(set(received)) == len(numbers) == len(ids)
        assert numbers <= set(collected)
        lost = set(collected) - numbers
        assert lost <= {max(run) for run in runs}
        doubles = len(received) - len(numbers)
        assert doubles <= len(runs)  # killed between the answer and the note of it
        torn = counts.get("corrupt_batches", 0) + counts.get(f"{name}.dropped_profiles", 0)
        assert max(torn, finished.facts["torn"]) <= len(lost)
        say(
            f"{name}: {kills} killed, {len(collected)} collected, {len(lost)} lost before they were flushed,"
            f" {finished.facts['torn']} torn, {torn} of them read by the last, {doubles} sent twice"
        )


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_forks_while_exporting_neither_hang_nor_send_anything_twice(
    tmp_path: Path, protocol: str
) -> None:
    """But for what a child was sending when it left: nobody can know whether that had arrived."""
    with grpc_receiver() if protocol == "grpc" else http_receiver() as receiver:
        variables = {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": receiver.endpoint,
            "OTELPROF_STATE_DIR": str(tmp_path / "state"),
            "OTEL_SERVICE_NAME": "forking",
        }
        command = [sys.executable, target("forking.py"), str(FORKS)]
        with started(command, tmp_path, variables) as process:
            finished = finish(process, LONG_S)
        requests = list(receiver.requests)
    assert finished.code == 0, finished.err
    facts = finished.facts
    assert (facts["bad"], facts["stopped"]) == (0, True), finished.err
    assert adds_up(facts["health"], "otlp")
    # A batch is one request, with the same ids each time.
    sent = Counter(map(ids_of, requests))
    doubles = sent.total() - len(sent)
    assert doubles <= facts["unfinished"]
    pids = {pid for request in requests for pid in pids_of(request)}
    assert facts["pid"] in pids
    twice = [request for request in requests if sent[ids_of(request)] > 1]
    assert facts["pid"] not in {pid for request in twice for pid in pids_of(request)}
    say(
        f"{protocol}: {FORKS} forks, {len(pids)} processes exported, {len(sent)} batches, {doubles} twice,"
        f" {facts['unfinished']} unfinished"
    )
    assert len(pids) > 1  # children export, too


def ids_of(request: Arrived) -> frozenset[bytes]:
    return frozenset(profile.profile_id for profile in request.profiles())


def pids_of(request: Arrived) -> set[int]:
    """The processes whose profiles it has."""
    return {
        item.value.int_value
        for resource in request.message.resource_profiles
        for item in resource.resource.attributes
        if item.key == "process.pid"
    }


@contextmanager
def without_permission(directory: Path) -> Iterator[None]:
    """The directory and those in it without permission to write there."""
    directories = [directory, *filter(Path.is_dir, directory.iterdir())]
    for each in directories:
        each.chmod(0o500)
    try:
        yield
    finally:
        for each in directories:
            each.chmod(0o700)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """The directory and what is in it, so that it can only be read."""
    if os.geteuid() != 0:
        with without_permission(directory):
            yield
        return
    # Root may write whatever the modes say: a file system in its place.
    mount = ["mount", "--bind", str(directory), str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this root may not mount")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(directory)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


class TestDisk:
    def test_that_has_no_room_for_a_while(self, tmp_path: Path) -> None:
        finished = run_target("limited.py", tmp_path, cwd=tmp_path)
        assert finished.code == 0, finished.err
        facts = finished.facts
        assert facts["files"] == [1, 2, 2, 2, 5, 6]  # back in use, also for what waited in memory
        assert facts["waiting"] == 6
        assert facts["numbers"] == [1, 2, 3, 4, 5, 6]
        assert facts["stopped"] is True
        assert adds_up(facts["counts"], "sink")
        assert len([line for line in finished.said if "is not used" in line]) == 1
        assert "File too large" in finished.err

    @pytest.fixture
    def small_disk(self, tmp_path: Path) -> Iterator[Path]:
        """A file system of 256 KiB."""
        path = tmp_path / "small"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(path)]
        if (
            os.geteuid() != 0
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("only root may mount a small file system")
        yield path
        subprocess.run(["umount", str(path)], check=True)

    def test_that_is_full(self, small_disk: Path, caplog: pytest.LogCaptureFixture) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(small_disk), sink=sink) as bench:
            for _ in range(80):
                bench.collector.give()
                clock.advance(bench.flush_s)
                assert_adds_up(bench.pipeline, "sink")
            held = len(files_in(small_disk))
            assert 30 < held < 64
            (line,) = [r.getMessage() for r in caplog.records if "is not used" in r.getMessage()]
            assert str(small_disk) in line
            sink.then = DELIVERED
            assert bench.pipeline.flush(PATIENCE_S)
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
            counted = bench.pipeline.statistics()
        assert numbers_of(sink.delivered) == list(range(1, 82))
        assert counted["sink.delivered_profiles"] == 81
        assert counted["spooled_profiles"] > held  # it was used again

    def test_that_is_read_only(self, tmp_path: Path) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            held: list[int] = []
            for change in (nullcontext, read_only, nullcontext):
                with change(tmp_path / "spool"):
                    for _ in range(3):
                        bench.collector.give()
                        clock.advance(bench.flush_s)
                    held.append(len(files_in(tmp_path)))
            assert held == [3, 3, 9]
            sink.then = DELIVERED
            assert bench.pipeline.flush(PATIENCE_S)
        assert numbers_of(sink.delivered) == list(range(1, 10))
        assert files_in(tmp_path) == []

    def test_whose_directory_is_removed(self, tmp_path: Path) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path / "state"), sink=sink) as bench:
            for _ in range(3):
                bench.collector.give()
                clock.advance(bench.flush_s)
            shutil.rmtree(tmp_path / "state")
            for _ in range(3):
                bench.collector.give()
                clock.advance(bench.flush_s)
            assert len(files_in(tmp_path / "state")) == 3
            sink.then = DELIVERED
            missed = bench.pipeline.statistics().get("sink.dropped_profiles", 0)
            # Which of them an attempt has missed already depends on the backoff, which is random.
            assert bench.pipeline.flush(PATIENCE_S) is (missed == 3)
            counted = bench.pipeline.statistics()
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)  # and the next is not
        # What was on it is gone, but for what was still in memory; it is counted.
        assert numbers_of(sink.delivered) == [4, 5, 6, 7]
        assert counted["sink.dropped_profiles.unreadable"] == 3

    def test_that_others_may_write_to_is_not_used(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool").chmod(0o777)
        with running(limits=on_disk(tmp_path), sink=FakeExporter(destination="here")) as bench:
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
        assert "writable by others (mode 0777)" in caplog.text
        assert list((tmp_path / "spool").iterdir()) == []
