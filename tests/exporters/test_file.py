"""pprof files: their names, their spans beside them, and that none is ever seen half-written."""

import errno
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from otelprof.clock import NS_PER_S
from otelprof.config import Config, with_pid
from otelprof.exporters.file import (
    DirectoryExporter,
    SingleFileExporter,
    from_config,
    write_whole,
)
from otelprof.formats import pprof, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED, Exporter
from otelprof.model import Attributes, Batch, Profile, SpanRecord
from tests.support.profiles import (
    LEAF,
    ROOT,
    ROOT_SPAN_ID,
    SPAN,
    SPAN_ID,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
    row,
)

RESOURCE: Attributes = (("service.name", "shop"), ("process.pid", 4711))
RECORD = SpanRecord(
    TRACE_ID, SPAN_ID, ROOT_SPAN_ID, ROOT_SPAN_ID, "checkout", 1, "", 0, 10, 20, "MainThread"
)
NAME = "shop-4711-20231114T221320000Z"  # START_UNIX_NS of tests.support.profiles


def batch_of(*profiles: Profile, spans: tuple[SpanRecord, ...] = (RECORD,)) -> Batch:
    return Batch(profiles, spans, RESOURCE)


def cpu(weight: int) -> Profile:
    return profile_of(row(LEAF, ROOT, values=(1, weight), link=SPAN))


def at_rate(rate_hz: int, count: int, number: int) -> Profile:
    """The `number`-th window, at this rate, with so many periods of CPU time."""
    period_ns = NS_PER_S // rate_hz
    profile = profile_of(row(LEAF, ROOT, values=(count, count * period_ns)))
    begin_ns = profile.start_unix_ns + number * NS_PER_S
    return replace(profile, period=period_ns, start_unix_ns=begin_ns)


def numbered(count: int, name: str) -> tuple[SpanRecord, ...]:
    return tuple(
        RECORD._replace(span_id=(n + 1).to_bytes(8, "big"), name=f"{name}-{n}")
        for n in range(count)
    )


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def read(path: Path) -> tuple[dict[str, int], list[SpanRecord]]:
    """The sum of each kind's weight, and the spans beside it."""
    profiles = pprof.decode(path.read_bytes())
    spans = spans_jsonl.decode(spans_path(path).read_bytes())
    return {profile.kind: sum(profile.values[-1]) for profile in profiles}, spans


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def disk_full_beyond(size_bytes: int) -> Iterator[None]:
    """A real fault in the middle of a write: no file can grow beyond `size_bytes`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["directory", "single"])
def exporter(request: pytest.FixtureRequest, tmp_path: Path) -> Exporter:
    """Both ways to write files, into `tmp_path / "out"`."""
    if request.param == "directory":
        return DirectoryExporter(tmp_path / "out")
    return SingleFileExporter(tmp_path / "out" / "out.pb.gz")


class TestBoth:
    def test_a_failed_write_leaves_nothing_behind_and_is_retried(
        self, exporter: Exporter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full_disk)
            outcome = exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        assert outcome.verdict == "retry"
        assert "No space left on device" in outcome.reason
        assert str(tmp_path / "out") in outcome.reason
        assert names_in(tmp_path / "out") == []
        written = exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        assert written == DELIVERED
        assert written.delivered_bytes == sum(
            p.stat().st_size for p in (tmp_path / "out").iterdir()
        )
        (profile,) = (tmp_path / "out").glob("*.pb.gz")
        assert read(profile) == ({"cpu": 10}, [RECORD])

    def test_a_file_in_the_directorys_place_is_retried(
        self, exporter: Exporter, tmp_path: Path
    ) -> None:
        (tmp_path / "out").write_text("not a directory")
        outcome = exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        assert outcome.verdict == "retry"
        assert str(tmp_path / "out") in outcome.reason
        assert (tmp_path / "out").read_text() == "not a directory"
        (tmp_path / "out").unlink()
        assert exporter.export(batch_of(cpu(10)), timeout_s=1.0) == DELIVERED

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_directory_that_may_not_be_written_is_retried(
        self, exporter: Exporter, tmp_path: Path
    ) -> None:
        (tmp_path / "out").mkdir(mode=0o555)
        outcome = exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        assert outcome.verdict == "retry"
        assert "Permission denied" in outcome.reason

    def test_a_directory_that_vanished_is_made_again(
        self, exporter: Exporter, tmp_path: Path
    ) -> None:
        exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        (tmp_path / "out").rmdir()
        assert exporter.export(batch_of(cpu(5)), timeout_s=1.0) == DELIVERED
        assert len(names_in(tmp_path / "out")) == 2

    def test_kinds_and_spans_come_back(self, exporter: Exporter, tmp_path: Path) -> None:
        assert exporter.export(batch_of(*cpu_and_wall()), timeout_s=1.0) == DELIVERED
        (profile,) = (tmp_path / "out").glob("*.pb.gz")
        assert read(profile) == ({"cpu": 70_000_000, "wall": 130_000_000}, [RECORD])

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
    def test_the_umask_holds(
        self, exporter: Exporter, tmp_path: Path, mask: int, mode: int
    ) -> None:
        with umask(mask):
            exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        modes = {
            path.name.partition(".")[2]: mode_of(path) for path in (tmp_path / "out").iterdir()
        }
        assert modes == {"pb.gz": mode, "spans.jsonl": mode}

    def test_closing_leaves_the_files(self, exporter: Exporter, tmp_path: Path) -> None:
        exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        before = names_in(tmp_path / "out")
        exporter.close()
        assert names_in(tmp_path / "out") == before


class TestDirectory:
    def test_names_say_service_pid_and_begin(self, tmp_path: Path) -> None:
        DirectoryExporter(tmp_path / "a" / "b").export(batch_of(cpu(1)), timeout_s=1.0)
        assert names_in(tmp_path / "a" / "b") == [f"{NAME}.pb.gz", f"{NAME}.spans.jsonl"]

    @pytest.mark.parametrize(
        ("service", "prefix"),
        [
            ("shop/../../etc", "shop_etc"),
            (".hidden", "_hidden"),
            ("", "unknown_service"),
            ("ö", "_"),
        ],
    )
    def test_a_service_name_cannot_leave_the_directory(
        self, tmp_path: Path, service: str, prefix: str
    ) -> None:
        batch = Batch((cpu(1),), (), (("service.name", service), ("process.pid", 4711)))
        DirectoryExporter(tmp_path / "out").export(batch, timeout_s=1.0)
        assert names_in(tmp_path) == ["out"]
        assert all(name.startswith(f"{prefix}-4711-") for name in names_in(tmp_path / "out"))

    def test_without_a_pid_in_the_resource_it_is_this_process(self, tmp_path: Path) -> None:
        DirectoryExporter(tmp_path).export(Batch((cpu(1),)), timeout_s=1.0)
        assert all(f"-{os.getpid()}-" in name for name in names_in(tmp_path))

    def test_a_file_for_each_flush(self, tmp_path: Path) -> None:
        exporter = DirectoryExporter(tmp_path)
        for number in range(3):
            later = replace(cpu(number + 1), start_unix_ns=cpu(1).start_unix_ns + number * 10**9)
            assert exporter.export(batch_of(later), timeout_s=1.0) == DELIVERED
        profiles = sorted(tmp_path.glob("*.pb.gz"))
        assert [read(path) for path in profiles] == [({"cpu": n}, [RECORD]) for n in (1, 2, 3)]

    def test_the_spans_are_there_when_the_profile_appears(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        appeared: list[str] = []
        rename = Path.replace

        def noting(self: Path, target: Path) -> Path:
            appeared.append(Path(target).name)
            return rename(self, target)

        monkeypatch.setattr(Path, "replace", noting)
        DirectoryExporter(tmp_path).export(batch_of(cpu(1)), timeout_s=1.0)
        assert appeared == [f"{NAME}.spans.jsonl", f"{NAME}.pb.gz"]


class TestSingleFile:
    def test_adds_up_over_exports(self, tmp_path: Path) -> None:
        path = tmp_path / "out.pb.gz"
        exporter = SingleFileExporter(path)
        first, second = numbered(2, "first"), numbered(3, "second")
        exporter.export(batch_of(*cpu_and_wall(), spans=first), timeout_s=1.0)
        exporter.export(batch_of(*cpu_and_wall(), spans=second), timeout_s=1.0)
        exporter.export(batch_of(cpu(5), spans=()), timeout_s=1.0)
        weights, spans = read(path)
        assert weights == {"cpu": 140_000_005, "wall": 260_000_000}
        assert spans == [*first, *second]
        assert names_in(tmp_path) == ["out.pb.gz", "out.spans.jsonl"]

    def test_counts_times_period_are_the_cpu_time_whatever_the_rates_were(
        self, tmp_path: Path
    ) -> None:
        exporter = SingleFileExporter(tmp_path / "out.pb.gz")
        windows = [(100, 5), (100, 3), (250, 4), (10, 2), (1000, 7), (1000, 1), (40, 1)]
        for number, (rate_hz, count) in enumerate(windows):
            exporter.export(batch_of(at_rate(rate_hz, count, number)), timeout_s=1)
            (profile,) = pprof.decode((tmp_path / "out.pb.gz").read_bytes())
            assert profile.period == NS_PER_S // rate_hz
            used_ns = sum(count * NS_PER_S // rate for rate, count in windows[: number + 1])
            assert sum(profile.column("cpu")) == used_ns
            assert 0 <= used_ns - sum(profile.column("samples")) * profile.period < profile.period

    def test_replaces_what_an_earlier_process_left(self, tmp_path: Path) -> None:
        path = tmp_path / "out.pb.gz"
        for weight in (10, 3):
            SingleFileExporter(path).export(batch_of(cpu(weight)), timeout_s=1.0)
        assert read(path) == ({"cpu": 3}, [RECORD])

    def test_a_retried_batch_counts_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "out.pb.gz"
        exporter = SingleFileExporter(path)
        exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full_disk)
            assert exporter.export(batch_of(cpu(5)), timeout_s=1.0).verdict == "retry"
        assert read(path)[0] == {"cpu": 10}
        assert exporter.export(batch_of(cpu(5)), timeout_s=1.0) == DELIVERED
        assert read(path) == ({"cpu": 15}, [RECORD, RECORD])

    def test_spans_that_do_not_fit_are_written_once_when_they_do(self, tmp_path: Path) -> None:
        path = tmp_path / "out.pb.gz"
        exporter = SingleFileExporter(path)
        first, second = numbered(100, "first"), numbered(100, "second")
        exporter.export(batch_of(cpu(10), spans=first), timeout_s=1.0)
        with disk_full_beyond(spans_path(path).stat().st_size + 1_000):
            assert exporter.export(batch_of(cpu(5), spans=second), timeout_s=1.0).verdict == "retry"
        assert spans_jsonl.decode(spans_path(path).read_bytes()) == list(first)
        assert exporter.export(batch_of(cpu(5), spans=second), timeout_s=1.0) == DELIVERED
        assert read(path) == ({"cpu": 15}, [*first, *second])

    def test_a_forked_child_begins_a_file_with_its_pid(self, tmp_path: Path) -> None:
        path = tmp_path / "out.pb.gz"
        exporter = SingleFileExporter(path)
        exporter.export(batch_of(cpu(10)), timeout_s=1.0)
        exporter.after_fork()
        exporter.export(batch_of(cpu(3), spans=()), timeout_s=1.0)
        assert read(path) == ({"cpu": 10}, [RECORD])
        assert read(with_pid(path)) == ({"cpu": 3}, [])
        assert with_pid(path).name == f"out-{os.getpid()}.pb.gz"


class TestWritingWhole:
    def test_a_reader_never_sees_half_a_file(self, tmp_path: Path) -> None:
        path, sizes, is_done = tmp_path / "file", set[int](), threading.Event()
        contents = [bytes([digit]) * 200_000 for digit in range(10)]
        write_whole(path, contents[0])

        def look() -> None:
            while not is_done.is_set():
                seen = path.read_bytes()
                sizes.add(len(seen))
                sizes.add(-len(set(seen)))

        reader = threading.Thread(target=look)
        reader.start()
        for content in contents * 5:
            write_whole(path, content)
        is_done.set()
        reader.join()
        assert sizes == {200_000, -1}

    @pytest.mark.parametrize("failure", [OSError(errno.EIO, "I/O error"), KeyboardInterrupt()])
    def test_whatever_happens_no_other_file_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
    ) -> None:
        def fail(_: int) -> None:
            raise failure

        path = tmp_path / "file"
        write_whole(path, b"before")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(failure)):
            write_whole(path, b"after")
        assert names_in(tmp_path) == ["file"]
        assert path.read_bytes() == b"before"

    def test_a_write_that_breaks_off_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        write_whole(path, b"before")
        with disk_full_beyond(1_000), pytest.raises(OSError, match="File too large"):
            write_whole(path, b"x" * 10_000)
        assert names_in(tmp_path) == ["file"]
        assert path.read_bytes() == b"before"


class TestFromConfig:
    def test_a_directory(self, tmp_path: Path) -> None:
        from_config(Config(file_dir=tmp_path)).export(batch_of(cpu(1)), timeout_s=1.0)
        assert names_in(tmp_path) == [f"{NAME}.pb.gz", f"{NAME}.spans.jsonl"]

    def test_one_file(self, tmp_path: Path) -> None:
        from_config(Config(output=tmp_path / "x.pb.gz")).export(batch_of(cpu(1)), timeout_s=1.0)
        assert names_in(tmp_path) == ["x.pb.gz", "x.spans.jsonl"]

    def test_a_relative_path_means_where_it_was_configured(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)
        exporter = from_config(Config(output=Path("x.pb.gz")))
        monkeypatch.chdir(tmp_path / "elsewhere")
        exporter.export(batch_of(cpu(1)), timeout_s=1.0)
        assert names_in(tmp_path) == ["elsewhere", "x.pb.gz", "x.spans.jsonl"]
