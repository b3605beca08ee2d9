"""How a pipeline ends: shut down in time, and forgotten in a forked child."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from otelprof.storage.owned import OwnedDirectory
from otelprof.threads import OwnThread
from tests.support.pipelines import (
    PATIENCE_S,
    RETRY,
    Bench,
    FakeClock,
    FakeExporter,
    Hanging,
    files_in,
    numbers_of,
    on_disk,
    running,
    seconds_of,
)
from tests.support.waiting import wait_until

MOST_DESCRIPTORS = 1024  # a test run has fewer open
NOISE_S = 3.0  # how late a busy machine may be


def lines_with(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


def has_open(path: Path) -> bool:
    """Whether a descriptor of this process is of that file."""
    wanted = path.stat()
    for descriptor in range(MOST_DESCRIPTORS):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), wanted):
                return True
    return False


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
        assert counted["sink.dropped_profiles.exit"] == 1
        (line,) = lines_with(caplog, "not delivered")
        assert "are lost" in line
        assert "come back later" in line
        assert sink.closed == 1

    def test_what_is_on_the_disk_stays_there_and_is_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        sink, gone = FakeExporter(then=RETRY, destination="here"), FakeExporter(destination="there")
        with running(limits=on_disk(tmp_path), sink=sink, gone=gone) as bench:
            bench.collector.give(3)
            assert not bench.pipeline.shutdown(PATIENCE_S)
            counted = bench.pipeline.statistics()
        assert counted["sink.left_profiles"] == 3
        assert len(files_in(tmp_path)) == 1
        (line,) = lines_with(caplog, "not delivered")
        assert "sink: 3 profiles" in line
        assert "wait on the disk for the next process" in line

    def test_a_spool_without_anything_in_it_is_removed(self, tmp_path: Path) -> None:
        with running(limits=on_disk(tmp_path), sink=FakeExporter(destination="here")) as bench:
            bench.collector.give()
            assert bench.pipeline.shutdown(PATIENCE_S)
        assert list((tmp_path / "spool").iterdir()) == []

    def test_is_false_when_something_was_given_up(self) -> None:
        with running(sink=FakeExporter(then=RETRY)) as bench:
            bench.collector.give()
            assert not bench.pipeline.shutdown(PATIENCE_S)

    def test_takes_along_what_was_collected_during_an_export(self) -> None:
        hanging, stopped = Hanging(DELIVERED), threading.Event()
        sink = FakeExporter(hanging)
        with running(sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(0.0)
            assert hanging.entered.wait(PATIENCE_S)
            bench.collector.give()
            results: list[bool] = []

            def stop() -> None:
                results.append(bench.pipeline.shutdown(PATIENCE_S))
                stopped.set()

            threading.Thread(target=stop).start()
            wait_until(lambda: not bench.collector.has_some())
            hanging.let_go()
            assert stopped.wait(PATIENCE_S)
        assert results == [True]
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
    def test_forgets_what_the_parent_had_not_delivered(self, tmp_path: Path) -> None:
        sink = FakeExporter(then=RETRY, destination="here")
        with running(limits=on_disk(tmp_path), sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.shutdown(PATIENCE_S)  # no thread is there in a child
            (directory,) = (tmp_path / "spool").iterdir()
            assert OwnedDirectory.claim(directory)  # a parent that lives has it still
            bench.pipeline.after_fork()
            assert not any(bench.pipeline.statistics().values())
            assert sink.forked == 1
            sink.then = DELIVERED
            bench.pipeline.start()
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S)
            assert numbers_of(sink.delivered) == [2]
        assert len(files_in(tmp_path)) == 1  # the parent's, which it has not touched

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_child_closes_what_its_parent_has_open(self, tmp_path: Path) -> None:
        sink = FakeExporter(then=RETRY, destination="here")
        with running(limits=on_disk(tmp_path), sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(PATIENCE_S)
            (owner,) = (tmp_path / "spool").glob("*/owner")
            pid = os.fork()
            if not pid:
                code = 2
                try:
                    bench.pipeline.after_fork()
                    code = int(has_open(owner))
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
            assert has_open(owner)

    def test_an_exporter_that_is_built_in_the_child_is_told_too(self) -> None:
        sink = FakeExporter()
        bench = Bench({"sink": lambda: sink}, clock=None)
        bench.pipeline.after_fork()
        bench.pipeline.start()
        bench.collector.give()
        assert bench.pipeline.shutdown(PATIENCE_S)
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
            counted = bench.pipeline.statistics()
            assert counted["collected_profiles"] == counted["sink.delivered_profiles"] == 1
        assert numbers_of(sink.delivered) == [1, 2]


def test_a_start_that_is_refused_a_thread_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    start, sink = OwnThread.start, FakeExporter()

    def refuse(thread: OwnThread) -> None:
        if thread.name == "otelprof-worker":
            raise RuntimeError("can't start new thread")
        start(thread)

    bench = Bench({"sink": lambda: sink}, clock=None)
    with monkeypatch.context() as refusing:
        refusing.setattr(OwnThread, "start", refuse)
        with pytest.raises(RuntimeError):
            bench.pipeline.start()
    wait_until(lambda: not any(isinstance(each, OwnThread) for each in threading.enumerate()))
    bench.pipeline.start()
    bench.collector.give()
    assert bench.pipeline.shutdown(PATIENCE_S)
    assert numbers_of(sink.delivered) == [1]
