"""The runs on this machine: how they are called and found, which of them stay, and what processes note."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from otelprof.clock import NS_PER_S
from otelprof.config import Config
from otelprof.exporter_settings import LocalSettings
from otelprof.exporters.local import LocalExporter
from otelprof.formats import otlp, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED
from otelprof.model import Attributes, Batch, SpanRecord
from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.retention import Retention
from otelprof.storage.runs import (
    all_runs,
    create_run,
    find_run,
    has_begun,
    note_begun,
    removed_files,
    runs_dir,
)
from otelprof.storage.vitals import VitalsFile, read_vitals
from tests.support.pipelines import FakeClock
from tests.support.profiles import LEAF, ROOT_SPAN_ID, SPAN_ID, TRACE_ID, profile_of, row

BEGIN_S = 1_700_000_000.0
DAY_S = 86_400.0
RESOURCE: Attributes = (("service.name", "shop/front"), ("process.pid", 4711))
RECORD = SpanRecord(TRACE_ID, SPAN_ID, b"", ROOT_SPAN_ID, "checkout", 1, "", 0, 10, 20, "Main")


def batch_of(*, spans: int = 1) -> Batch:
    profile = replace(profile_of(row(LEAF, values=(1, 10))), resource=RESOURCE)
    return Batch((profile,), (RECORD,) * spans, RESOURCE)


def ended_run(state: Path, number: int, *, files: int = 1, size_bytes: int = 1_000) -> Path:
    """A run that began and was written `number` days after the first."""
    owned = create_run(state, "shop", begin_unix_s=BEGIN_S + number * DAY_S)
    for file in range(1, files + 1):
        path = owned.path / f"4711-9f3a-{file:06d}.otlp"
        path.write_bytes(b"x" * (size_bytes - 100))
        spans_path(path).write_bytes(b"y" * 100)
        for each in (path, spans_path(path)):
            written_s = BEGIN_S + number * DAY_S + file
            os.utime(each, (written_s, written_s))
    owned.release()
    return owned.path


def retention(
    state: Path, *, size_bytes: int | None = None, age_s: float | None = None
) -> Retention:
    clock = FakeClock()
    clock.set_unix(BEGIN_S + 10 * DAY_S - clock.unix_ns() / NS_PER_S)
    settings = LocalSettings(max_size_bytes=size_bytes, max_age_s=age_s)
    return Retention(state, settings, clock)


class TestNames:
    def test_say_what_ran_and_when(self, tmp_path: Path) -> None:
        owned = create_run(tmp_path, "my shop/..", begin_unix_s=BEGIN_S)
        assert owned.path.parent == runs_dir(tmp_path)
        assert owned.path.name.startswith(f"my_shop-20231114T221320-{os.getpid()}-")
        assert owned.path.stat().st_mode & 0o777 == 0o700

    def test_are_found_whole_in_part_and_as_the_latest(self, tmp_path: Path) -> None:
        later, earlier = ended_run(tmp_path, 2), ended_run(tmp_path, 1)
        assert all_runs(tmp_path) == [earlier, later]
        assert find_run(tmp_path, "latest") == later
        assert find_run(tmp_path, earlier.name) == earlier
        assert find_run(tmp_path, "shop-20231115") == earlier
        assert find_run(tmp_path, "shop") is None  # there are two
        assert find_run(tmp_path, "") is None

    def test_where_nothing_ran_there_is_none(self, tmp_path: Path) -> None:
        assert all_runs(tmp_path) == []
        assert find_run(tmp_path, "latest") is None

    def test_of_files_say_how_many_were_removed(self) -> None:
        names = ["1-aaaa-000003.otlp", "1-aaaa-000004.otlp", "2-bbbb-000001.otlp", "other.otlp"]
        assert removed_files(names) == 2


class TestExporting:
    def test_a_batch_is_a_file_with_its_spans_beside_it(self, tmp_path: Path) -> None:
        exporter = LocalExporter(Config(state_dir=tmp_path))
        assert exporter.export(batch_of(), timeout_s=1.0) == DELIVERED
        assert exporter.export(batch_of(spans=0), timeout_s=1.0) == DELIVERED
        (run,) = all_runs(tmp_path)
        assert run.name.startswith("shop_front-2023")
        first, second = sorted(run.glob("*.otlp"))
        assert otlp.decode(first.read_bytes()) == otlp.decode(
            otlp.encode(batch_of().profiles, full=True)
        )
        assert spans_jsonl.decode(spans_path(first).read_bytes()) == [RECORD]
        assert not spans_path(second).exists()

    def test_goes_into_the_run_that_it_is_told(self, tmp_path: Path) -> None:
        run = create_run(tmp_path, "shop", begin_unix_s=BEGIN_S)
        settings = LocalSettings(directory=run.path)
        exporters = [LocalExporter(Config(state_dir=tmp_path, local=settings)) for _ in range(2)]
        for exporter in exporters:
            assert exporter.export(batch_of(), timeout_s=1.0) == DELIVERED
        assert len(list(run.path.glob("*.otlp"))) == 2

    def test_that_cannot_write_is_tried_again(self, tmp_path: Path) -> None:
        settings = LocalSettings(directory=tmp_path / "missing")
        exporter = LocalExporter(Config(state_dir=tmp_path, local=settings))
        outcome = exporter.export(batch_of(), timeout_s=1.0)
        assert outcome.verdict == "retry"
        assert outcome.reason.startswith("cannot keep profiles: ")

    def test_of_a_forked_child_begins_a_run_of_its_own(self, tmp_path: Path) -> None:
        exporter = LocalExporter(Config(state_dir=tmp_path))
        exporter.export(batch_of(), timeout_s=1.0)
        pid = os.fork()
        if not pid:
            exporter.after_fork()
            os._exit(exporter.export(batch_of(), timeout_s=1.0) != DELIVERED)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(all_runs(tmp_path)) == 2
        exporter.close()


class TestRetention:
    def test_removes_whole_ended_runs_the_oldest_first(self, tmp_path: Path) -> None:
        runs = [ended_run(tmp_path, number, files=2) for number in range(4)]
        retention(tmp_path, size_bytes=5_000).look()
        assert all_runs(tmp_path) == runs[2:]
        assert removed_files(path.name for path in runs[2].iterdir()) == 0

    def test_removes_the_oldest_files_of_what_goes_on(self, tmp_path: Path) -> None:
        run = ended_run(tmp_path, 1, files=10)
        owned = OwnedDirectory.claim(run)
        assert owned is not None
        retention(tmp_path, size_bytes=5_000).look()
        left = sorted(path.name for path in run.glob("*.otlp"))
        assert left == [f"4711-9f3a-{number:06d}.otlp" for number in range(7, 11)]
        assert len(list(run.glob("*.spans.jsonl"))) == 4
        assert removed_files(left) == 6
        owned.release()

    def test_never_removes_a_run_that_goes_on(self, tmp_path: Path) -> None:
        run = ended_run(tmp_path, 0)
        owned = OwnedDirectory.claim(run)
        latest = ended_run(tmp_path, 1)
        retention(tmp_path, size_bytes=1).look()
        assert all_runs(tmp_path) == [run, latest]
        assert owned is not None
        owned.release()

    def test_removes_what_is_too_old(self, tmp_path: Path) -> None:
        old, young = ended_run(tmp_path, 2), ended_run(tmp_path, 4)
        retention(tmp_path, age_s=7 * DAY_S).look()
        assert all_runs(tmp_path) == [young]
        assert not old.exists()

    @pytest.mark.parametrize("has_bounds", [False, True])
    def test_leaves_what_is_within_the_bounds(self, tmp_path: Path, has_bounds: bool) -> None:
        runs = [ended_run(tmp_path, number) for number in range(3)]
        if has_bounds:
            retention(tmp_path, size_bytes=1 << 20, age_s=30 * DAY_S).look()
        else:
            retention(tmp_path).look()
        assert all_runs(tmp_path) == runs

    def test_looks_again_when_there_is_no_room(self, tmp_path: Path) -> None:
        keeper = retention(tmp_path, size_bytes=10_000)
        keeper.note(0)
        runs = [ended_run(tmp_path, number, files=4) for number in range(3)]
        keeper.note(4_000)
        keeper.note(4_000)
        assert all_runs(tmp_path) == runs
        keeper.note(4_000)
        assert all_runs(tmp_path) == runs[1:]


def test_that_a_program_has_begun_is_noted(tmp_path: Path) -> None:
    assert not has_begun(tmp_path)
    note_begun(str(tmp_path / "missing"))
    assert not has_begun(tmp_path / "missing")
    note_begun(str(tmp_path))
    note_begun(str(tmp_path))
    assert has_begun(tmp_path)


class TestVitals:
    def test_are_what_was_counted_since_the_start(self, tmp_path: Path) -> None:
        clock = FakeClock()
        counters = {"passes": 100, "sampler_cpu_ns": 5_000, "asked_period_ns": 20}
        file = VitalsFile(tmp_path, 10, lambda: counters, clock)
        counters.update(passes=350, sampler_cpu_ns=7_000)
        clock.advance(2.5)
        file.write()
        (vitals,) = read_vitals(tmp_path)
        assert (vitals.pid, vitals.passes, vitals.sampler_cpu_ns) == (os.getpid(), 250, 2_000)
        assert (vitals.elapsed_ns, vitals.asked_period_ns) == (2_500_000_000, 20)
        assert 0 <= vitals.process_cpu_ns <= time.process_time_ns()

    def test_are_written_now_and_then(self, tmp_path: Path) -> None:
        clock = FakeClock()
        file = VitalsFile(tmp_path, 10, dict, clock)
        clock.advance(4.0)
        file.tick()
        assert read_vitals(tmp_path) == []
        clock.advance(1.0)
        file.tick()
        assert len(read_vitals(tmp_path)) == 1

    def test_that_cannot_be_written_or_read_are_left_out(self, tmp_path: Path) -> None:
        VitalsFile(tmp_path / "missing", 10, dict).write()
        (tmp_path / "1-aaaa.vitals.json").write_text('{"pid": 1}')
        (tmp_path / "2-aaaa.vitals.json").write_text("torn")
        assert read_vitals(tmp_path) == []
