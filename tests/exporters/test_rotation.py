"""Files in a directory: what they are called, that none is overwritten, and which of them stay."""

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from otelprof.clock import NS_PER_S
from otelprof.errors import ConfigError
from otelprof.exporter_settings import FileSettings
from otelprof.exporters.file import DirectoryExporter
from otelprof.exporters.rotation import Rotation
from otelprof.formats import pprof, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED
from otelprof.model import Attributes, Batch, SpanRecord
from tests.support.pipelines import FakeClock
from tests.support.profiles import LEAF, ROOT_SPAN_ID, SPAN_ID, TRACE_ID, profile_of, row

RESOURCE: Attributes = (
    ("service.name", "shop"),
    ("process.pid", 4711),
    ("host.name", "node.1"),
)
RECORD = SpanRecord(TRACE_ID, SPAN_ID, b"", ROOT_SPAN_ID, "checkout", 1, "", 0, 10, 20, "Main")


def batch_of(number: int, *, spans: int = 1) -> Batch:
    """The `number`-th flush: one profile whose only weight is its number, and spans."""
    profile = profile_of(row(LEAF, values=(1, number)))
    begin_ns = profile.start_unix_ns + number * NS_PER_S
    return Batch((replace(profile, start_unix_ns=begin_ns),), (RECORD,) * spans, RESOURCE)


def write(exporter: DirectoryExporter, *numbers: int) -> None:
    for number in numbers:
        assert exporter.export(batch_of(number), timeout_s=1.0) == DELIVERED


def profiles_in(directory: Path) -> list[Path]:
    return sorted(directory.glob("[!.]*.pb.gz"))


def numbers_in(directory: Path) -> list[int]:
    """The weights of the profiles that are there, each of which has its spans."""
    numbers: list[int] = []
    for path in profiles_in(directory):
        assert spans_path(path).exists()
        (profile,) = pprof.decode(path.read_bytes())
        numbers.append(profile.column("cpu")[0])
    assert len(list(directory.iterdir())) == 2 * len(numbers), "something else is there"
    return sorted(numbers)


class TestNames:
    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("{service}-{pid}-{begin}", "shop-4711-20231114T221321000Z"),
            ("{begin}", "20231114T221321000Z"),
            ("cpu_{host}.{begin}-{begin}", "cpu_node_1.20231114T221321000Z-20231114T221321000Z"),
        ],
    )
    def test_follow_the_pattern(self, tmp_path: Path, pattern: str, name: str) -> None:
        write(DirectoryExporter(tmp_path, FileSettings(name=pattern)), 1)
        assert [path.name for path in profiles_in(tmp_path)] == [f"{name}.pb.gz"]

    @pytest.mark.parametrize(
        ("pattern", "message"),
        [
            ("{service}-{pid}", "lacks {begin}"),
            ("{begin}-{color}", "has {color}"),
            ("{begin}-{pid.__class__}", "has {pid.__class__}"),
            ("{begin}{}", "has {}"),
            ("../{begin}", "other characters"),
            ("a/{begin}", "other characters"),
            (".{begin}", "a dot in front"),
            ("{begin}-{", "other characters"),
            ("{begin} x", "other characters"),
        ],
    )
    def test_that_cannot_be_are_the_callers_mistake(self, pattern: str, message: str) -> None:
        with pytest.raises(ConfigError, match=r"^file\.name: ") as caught:
            FileSettings(name=pattern)
        assert message in str(caught.value)

    def test_of_a_service_with_a_long_name_are_short(self, tmp_path: Path) -> None:
        batch = replace(batch_of(1), resource=(("service.name", "x" * 1_000),))
        assert DirectoryExporter(tmp_path).export(batch, timeout_s=1.0) == DELIVERED
        assert len(profiles_in(tmp_path)) == 1


class TestNobodyIsOverwritten:
    def test_by_a_second_exporter_of_the_same_millisecond(self, tmp_path: Path) -> None:
        for number in (10, 20, 30):
            profile = profile_of(row(LEAF, values=(1, number)))
            records = (RECORD,) * number
            batch = Batch((profile,), records, RESOURCE)
            assert DirectoryExporter(tmp_path).export(batch, timeout_s=1.0) == DELIVERED
        found = {
            path.name.removesuffix(".pb.gz").rpartition("Z")[2]: (
                pprof.decode(path.read_bytes())[0].column("cpu")[0],
                len(spans_jsonl.decode(spans_path(path).read_bytes())),
            )
            for path in profiles_in(tmp_path)
        }
        assert found == {"": (10, 10), "-2": (20, 20), "-3": (30, 30)}

    def test_by_eight_that_write_at_once(self, tmp_path: Path) -> None:
        start = threading.Barrier(8)

        def run(number: int) -> None:
            exporter = DirectoryExporter(tmp_path)
            for turn in range(10):
                profile = profile_of(row(LEAF, values=(1, 100 * number + turn + 1)))
                start.wait()
                exporter.export(Batch((profile,), (), RESOURCE), timeout_s=1.0)

        threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert numbers_in(tmp_path) == [100 * n + turn + 1 for n in range(8) for turn in range(10)]

    def test_by_one_that_another_process_died_over(self, tmp_path: Path) -> None:
        (tmp_path / ".shop-4711-20231114T221321000Z.pb.gz.claim").touch()
        write(DirectoryExporter(tmp_path), 1)
        (path,) = profiles_in(tmp_path)
        assert path.name == "shop-4711-20231114T221321000Z-2.pb.gz"


class TestWhatStays:
    def test_is_everything_without_limits(self, tmp_path: Path) -> None:
        write(DirectoryExporter(tmp_path, FileSettings(max_size_bytes=None)), *range(1, 30))
        assert numbers_in(tmp_path) == list(range(1, 30))

    def test_is_everything_within_the_default_limit(self, tmp_path: Path) -> None:
        write(DirectoryExporter(tmp_path), *range(1, 30))
        assert numbers_in(tmp_path) == list(range(1, 30))

    @pytest.mark.parametrize("count", [1, 3, 10])
    def test_is_so_many(self, tmp_path: Path, count: int) -> None:
        exporter = DirectoryExporter(tmp_path, FileSettings(max_count=count))
        for number in range(1, 30):
            write(exporter, number)
            assert len(profiles_in(tmp_path)) <= count
        assert numbers_in(tmp_path) == list(range(30 - count, 30))

    def test_is_so_large_with_its_spans(self, tmp_path: Path) -> None:
        write(DirectoryExporter(tmp_path / "one"), 1)
        one_bytes = sum(path.stat().st_size for path in (tmp_path / "one").iterdir())
        settings = FileSettings(max_size_bytes=5 * one_bytes + one_bytes // 2)
        exporter = DirectoryExporter(tmp_path / "many", settings)
        for number in range(1, 30):
            write(exporter, number)
            sizes = [path.stat().st_size for path in (tmp_path / "many").iterdir()]
            assert sum(sizes) <= 5.5 * one_bytes
        assert numbers_in(tmp_path / "many") == [25, 26, 27, 28, 29]

    def test_is_the_newest_whatever_the_limits(self, tmp_path: Path) -> None:
        exporter = DirectoryExporter(tmp_path, FileSettings(max_size_bytes=1))
        write(exporter, 1, 2, 3)
        assert numbers_in(tmp_path) == [3]

    def test_is_so_young(self, tmp_path: Path) -> None:
        settings = FileSettings(max_age_s=3_600.0)
        write(DirectoryExporter(tmp_path, settings), 1, 2, 3, 4)
        hours_ago = time.time() - 2 * 3_600
        for path in profiles_in(tmp_path)[:2]:
            os.utime(path, (hours_ago, hours_ago))
        write(DirectoryExporter(tmp_path, settings), 5)
        assert numbers_in(tmp_path) == [3, 4, 5]

    def test_ages_while_the_exporter_runs(self, tmp_path: Path) -> None:
        clock = FakeClock()
        write(DirectoryExporter(tmp_path), 1, 2)
        old, young = profiles_in(tmp_path)
        now_s = clock.unix_ns() / NS_PER_S
        os.utime(old, (now_s - 3_000, now_s - 3_000))
        os.utime(young, (now_s, now_s))
        rotation = Rotation(tmp_path, FileSettings(max_age_s=3_600.0), clock)
        rotation.note(1)
        assert profiles_in(tmp_path) == [old, young]
        clock.step(700)
        rotation.note(1)
        assert profiles_in(tmp_path) == [young]

    def test_is_what_others_wrote(self, tmp_path: Path) -> None:
        """Whatever is not called as ours are is not ours."""
        theirs = ["notes.txt", "mine.pb.gz", "shop-4711.pb.gz", "x-shop-1-20231114T221321000Z.pb"]
        for name in theirs:
            (tmp_path / name).write_text("theirs")
        write(DirectoryExporter(tmp_path, FileSettings(max_count=1)), 1, 2)
        assert {path.name for path in tmp_path.iterdir()} > set(theirs)

    def test_counts_the_files_of_all_processes(self, tmp_path: Path) -> None:
        settings = FileSettings(max_count=3)
        for number in range(1, 6):
            batch = replace(batch_of(number), resource=(("process.pid", number),))
            DirectoryExporter(tmp_path, settings).export(batch, timeout_s=1.0)
        assert numbers_in(tmp_path) == [3, 4, 5]

    def test_is_nothing_that_was_left_half_written_long_ago(self, tmp_path: Path) -> None:
        name = "shop-4711-20231114T221321000Z"
        leftovers = [f".{name}.pb.gz.claim", f".{name}.pb.gz.17", f".{name}.spans.jsonl.17"]
        hours_ago = time.time() - 2 * 3_600
        for leftover in (*leftovers, ".theirs.pb.gz.17"):
            (tmp_path / leftover).touch()
            os.utime(tmp_path / leftover, (hours_ago, hours_ago))
        (tmp_path / f".{name}.pb.gz.18").touch()  # somebody writes it now
        write(DirectoryExporter(tmp_path), 2)
        hidden = {path.name for path in tmp_path.iterdir() if path.name[0] == "."}
        assert hidden == {".theirs.pb.gz.17", f".{name}.pb.gz.18"}

    def test_that_cannot_be_removed_does_not_matter_and_is_said_once(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def refuse(path: Path, *, missing_ok: bool = False) -> None:
            if path.suffix == ".gz":
                raise PermissionError(13, "Permission denied", str(path))
            unlink(path, missing_ok=missing_ok)

        unlink = Path.unlink
        exporter = DirectoryExporter(tmp_path, FileSettings(max_count=1))
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", refuse)
            write(exporter, 1, 2, 3)
        (record,) = caplog.records
        assert "cannot clean up" in record.getMessage()
        assert numbers_in(tmp_path) == [1, 2, 3]
