"""pprof files with their spans beside them: `x.pb.gz` and `x.spans.jsonl`.

Each file appears whole: it is written under another name and renamed.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from otelprof.builder import merged
from otelprof.config import Config, with_pid
from otelprof.formats import pprof, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import Batch, Profile

_SUFFIX = ".pb.gz"


def from_config(config: Config) -> Exporter:
    """One file for everything if `output` is set, else a file for each flush in `file_dir`."""
    if config.output is not None:
        return SingleFileExporter(config.output)
    return DirectoryExporter(config.file_dir)


class DirectoryExporter:
    """Writes a file for each batch: `<service>-<pid>-<begin in UTC>.pb.gz`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Write one profile, after its spans, so that a reader of the profile finds them."""
        del timeout_s  # a local file: there is nothing to wait for
        path = self._directory / (_name(batch) + _SUFFIX)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            write_whole(spans_path(path), spans_jsonl.encode(batch.spans, batch.resource))
            write_whole(path, pprof.encode(batch.profiles))
        except OSError as error:
            return Outcome("retry", f"cannot write {path}: {error}")
        return DELIVERED

    def close(self) -> None:
        """Nothing is open between two exports."""

    def after_fork(self) -> None:
        """Nothing is inherited: the child's pid is in its files' names."""


class SingleFileExporter:
    """Keeps one file that holds everything so far: each export adds to it.

    A forked child writes a file of its own, `out-<pid>.pb.gz`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._profiles: list[Profile] = []
        self._has_spans = False

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Add the spans to their file and replace the profile by one with `batch` in it, both or none."""
        del timeout_s  # a local file: there is nothing to wait for
        profiles = merged([*self._profiles, *batch.profiles])
        lines = spans_jsonl.encode(batch.spans, batch.resource)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = pprof.encode(profiles)
            with written_aside(self._path, content):
                append_whole(spans_path(self._path), lines, is_new=not self._has_spans)
                self._has_spans = True
        except OSError as error:
            return Outcome("retry", f"cannot write {self._path}: {error}")
        self._profiles = profiles
        return DELIVERED

    def close(self) -> None:
        """Nothing is open between two exports."""

    def after_fork(self) -> None:
        """Begin a file of the child's own."""
        self._path = with_pid(self._path)
        self._profiles = []
        self._has_spans = False


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` is never seen half-written, not even after a crash."""
    with written_aside(path, content):
        pass


@contextmanager
def written_aside(path: Path, content: bytes) -> Iterator[None]:
    """Write `content` beside `path`, and put it in its place if the body of the `with` succeeds."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def append_whole(path: Path, content: bytes, *, is_new: bool) -> None:
    """Append `content` or, if there is no room for all of it, nothing."""
    with path.open("wb" if is_new else "ab", buffering=0) as file:
        size = file.tell()
        try:
            written = 0
            while written < len(content):
                written += file.write(content[written:])
        except OSError:
            file.truncate(size)
            raise


def _name(batch: Batch) -> str:
    resource = dict(batch.resource)
    service = re.sub(
        r"[^A-Za-z0-9_-]+", "_", str(resource.get("service.name") or "unknown_service")
    )
    begin = datetime.fromtimestamp(min(p.start_unix_ns for p in batch.profiles) / 1e9, UTC)
    return f"{service}-{resource.get('process.pid', os.getpid())}-{begin:%Y%m%dT%H%M%S}{begin.microsecond // 1000:03d}Z"


if TYPE_CHECKING:
    _directory: type[Exporter] = DirectoryExporter
    _single: type[Exporter] = SingleFileExporter
