"""What must not go wrong does: exporters that break their promise, code of the application's that raises, shortages."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch, Profile
from otelprof.storage import spool
from otelprof.storage.trust import open_own
from tests.support.pipelines import (
    PATIENCE_S,
    RETRY,
    Bench,
    FakeClock,
    FakeCollector,
    FakeExporter,
    Hanging,
    assert_adds_up,
    files_in,
    numbers_of,
    on_disk,
    running,
)
from tests.support.spools import left_by_a_dead_process, manifest_of
from tests.support.waiting import wait_until


@pytest.mark.parametrize("answer", [None, "delivered", Outcome(cast("Any", "done"))])
def test_an_exporter_that_returns_no_outcome_is_said_and_goes_on(
    answer: object, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(FakeExporter):
        def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
            super().export(batch, timeout_s=timeout_s)
            return cast("Outcome", answer) if len(self.calls) == 1 else DELIVERED

    with running(sink=Broken()) as bench:
        for complete in (False, True):
            bench.collector.give()
            assert bench.pipeline.flush(PATIENCE_S) is complete
        counted = bench.pipeline.statistics()
    assert counted["sink.refused_profiles"] == counted["sink.delivered_profiles"] == 1
    assert f"{answer!r}" in caplog.text


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_what_cannot_be_read_for_want_of_something_stays(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, flags: int) -> int:
        if flags & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(error, os.strerror(error))
        return open_own(path, flags)

    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
        for _ in range(5):
            bench.collector.give()
            clock.advance(bench.flush_s)
        sink.then = DELIVERED
        with monkeypatch.context() as short:
            short.setattr(spool, "open_own", refused)
            assert not bench.pipeline.flush(PATIENCE_S)
        assert len(files_in(tmp_path)) == 5
        assert bench.pipeline.flush(PATIENCE_S)
    assert numbers_of(sink.delivered) == [1, 2, 3, 4, 5]


class TestTheWorker:
    def test_outlives_what_it_asks_of_the_application(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken() -> bool:
            raise RuntimeError("no meters today")

        clock, sink = FakeClock(), FakeExporter()
        with running(clock, on_tick=broken, sink=sink) as bench:
            for _ in range(3):
                bench.collector.give()
                clock.advance(bench.flush_s)
        assert numbers_of(sink.delivered) == [1, 2, 3]
        assert [r.exc_info is not None for r in caplog.records] == [True]

    def test_drains_the_others_where_one_collector_raises(self) -> None:
        class Broken(FakeCollector):
            def drain(self) -> list[Profile]:
                raise RuntimeError("not today")

        clock, sink = FakeClock(), FakeExporter()
        with running(clock, sink=sink) as bench:
            bench.pipeline._collectors = [Broken(), bench.collector]
            bench.collector.give()
            clock.advance(bench.flush_s)
        assert numbers_of(sink.delivered) == [1]


class TestAConstructorThatHangs:
    @pytest.fixture
    def hanging(self) -> "tuple[Callable[[], FakeExporter], threading.Event]":
        may_go_on = threading.Event()

        def build() -> FakeExporter:
            may_go_on.wait(PATIENCE_S)
            return FakeExporter(destination="there")

        return build, may_go_on

    def test_keeps_no_batch_from_the_disk_where_its_destination_is_known(
        self, tmp_path: Path, hanging: "tuple[Callable[[], FakeExporter], threading.Event]"
    ) -> None:
        build, may_go_on = hanging
        bench = Bench(
            {"sink": build}, clock=None, limits=on_disk(tmp_path), destinations={"sink": "there"}
        )
        bench.pipeline.start()
        bench.collector.give()
        assert not bench.pipeline.shutdown(0.5)
        wait_until(lambda: len(files_in(tmp_path)) == 1)
        may_go_on.set()

    def test_holds_up_no_other_and_no_fork(
        self, tmp_path: Path, hanging: "tuple[Callable[[], FakeExporter], threading.Event]"
    ) -> None:
        build, may_go_on = hanging
        good = FakeExporter(destination="here")
        exporters = {"bad": build, "good": lambda: good}
        bench = Bench(exporters, clock=None, limits=on_disk(tmp_path))
        bench.pipeline.start()
        bench.collector.give()
        assert not bench.pipeline.flush(2.0)
        wait_until(lambda: numbers_of(good.delivered) == [1])
        may_go_on.set()
        bench.pipeline.shutdown(PATIENCE_S)


def test_an_exporter_that_asks_for_more_time_has_it() -> None:
    class Slow(FakeExporter):
        timeout_s = 30.0

    clock, slow, other = FakeClock(), Slow(), FakeExporter()
    with running(clock, slow=slow, other=other) as bench:
        bench.collector.give()
        clock.advance(bench.flush_s)
    assert (slow.timeouts_s, other.timeouts_s) == ([30.0], [10.0])


class TestAnEnd:
    def test_leaves_what_waits_to_the_next_pipeline_of_the_same_process(
        self, tmp_path: Path
    ) -> None:
        clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as bench:
            for _ in range(3):
                bench.collector.give()
                clock.advance(bench.flush_s)
        assert bench.pipeline.statistics()["sink.left_profiles"] == 3
        assert_adds_up(bench.pipeline, "sink")
        clock, sink = FakeClock(), FakeExporter(destination="here")
        with running(clock, limits=on_disk(tmp_path), sink=sink) as other:
            for _ in range(5):
                clock.advance(1.0)
            assert other.pipeline.statistics()["sink.adopted_profiles"] == 3
        assert numbers_of(sink.delivered) == [1, 2, 3]
        assert files_in(tmp_path) == []

    def test_and_to_itself_if_it_starts_again(self, tmp_path: Path) -> None:
        sink = FakeExporter(then=RETRY, destination="here")
        with running(limits=on_disk(tmp_path), sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.shutdown(PATIENCE_S)
            sink.then = DELIVERED
            bench.pipeline.start()
            wait_until(lambda: numbers_of(sink.delivered) == [1])
            assert bench.pipeline.flush(PATIENCE_S)
            assert_adds_up(bench.pipeline, "sink")
        assert numbers_of(sink.delivered) == [1]

    def test_what_is_delivered_after_it_is_not_sent_again(self, tmp_path: Path) -> None:
        hanging = Hanging(DELIVERED)
        sink = FakeExporter(hanging, destination="here")
        with running(limits=on_disk(tmp_path), sink=sink) as bench:
            bench.collector.give()
            assert not bench.pipeline.flush(0.0)
            assert hanging.entered.wait(PATIENCE_S)
            assert not bench.pipeline.shutdown(0.1)
            hanging.let_go()
            wait_until(lambda: bench.pipeline.statistics().get("sink.delivered_profiles") == 1)
            again = FakeExporter(destination="here")
            with running(limits=on_disk(tmp_path), sink=again) as other:
                other.collector.give()
                assert other.pipeline.flush(PATIENCE_S)
                wait_until(lambda: not files_in(tmp_path))
        assert len(again.delivered) == 1


def test_what_comes_back_from_memory_pushes_no_newer_batch_out(tmp_path: Path) -> None:
    """The disk was away, and is full of other services' batches when it comes back."""
    left_by_a_dead_process(tmp_path / "spool", *[manifest_of(service="other")] * 10)
    (tmp_path / "spool").rename(tmp_path / "away")
    (tmp_path / "spool").touch()
    clock, sink = FakeClock(), FakeExporter(then=RETRY, destination="here")
    with running(clock, limits=on_disk(tmp_path, disk_bytes=10 * 4096), sink=sink) as bench:
        for _ in range(3):
            bench.collector.give()
            clock.advance(bench.flush_s)
        (tmp_path / "spool").unlink()
        (tmp_path / "away").rename(tmp_path / "spool")
        for _ in range(6):
            clock.advance(10.0)  # a look at what others have there
        for _ in range(3):
            bench.collector.give()
            clock.advance(bench.flush_s)
            assert_adds_up(bench.pipeline, "sink")
        counted = bench.pipeline.statistics()
        assert counted["sink.collected_profiles"] == counted["collected_profiles"] == 6
        sink.then = DELIVERED
        bench.pipeline.flush(PATIENCE_S)
    assert 6 in numbers_of(sink.delivered)
