"""pprof files with their spans beside them: `x.pb.gz` and `x.spans.jsonl`.

Each file appears whole: it is written under another name and renamed.
"""

import itertools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from otelprof.builder import merged
from otelprof.config import Config, with_pid
from otelprof.exporter_settings import FileSettings
from otelprof.exporters.file_names import SUFFIX, name_of
from otelprof.exporters.rotation import Rotation
from otelprof.formats import pprof, spans_jsonl
from otelprof.formats.spans_jsonl import spans_path
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import Batch, Profile

_log = logging.getLogger("otelprof")


def from_config(config: Config) -> Exporter:
    """One file for everything if `output` is set, else a file for each flush in `file_dir`."""
    if config.output is not None:
        return SingleFileExporter(config.output)
    return DirectoryExporter(config.file_dir, config.file)


class DirectoryExporter:
    """Writes a file for each batch, and removes the oldest beyond what `settings` allow."""

    destination = ""

    def __init__(self, directory: Path, settings: FileSettings | None = None) -> None:
        self._directory = directory.absolute()
        self._settings = settings or FileSettings()
        self._rotation = Rotation(self._directory, self._settings)
        self._has_said = False

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Write one profile, after its spans, so that a reader of the profile finds them."""
        del timeout_s  # a local file: there is nothing to wait for
        path = self._directory / (name_of(batch, self._settings) + SUFFIX)
        content = pprof.encode(batch.profiles)
        lines = spans_jsonl.encode(batch.spans, batch.resource)
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with _claimed(path) as free, written_aside(free, content):
                write_whole(spans_path(free), lines)
        except OSError as error:
            return Outcome("retry", f"cannot write {path}: {error}")
        try:
            self._rotation.note(len(content) + len(lines))
        except OSError as error:
            if not self._has_said:
                self._has_said = True
                _log.warning("otelprof: file: cannot clean up %s: %s", self._directory, error)
        return replace(DELIVERED, delivered_bytes=len(content) + len(lines))

    def close(self) -> None:
        """Nothing is open between two exports."""

    def after_fork(self) -> None:
        """Nothing is inherited: the child's pid is in its files' names."""


class SingleFileExporter:
    """Keeps one file that holds everything so far: each export adds to it.

    A forked child writes a file of its own, `out-<pid>.pb.gz`.
    """

    destination = ""

    def __init__(self, path: Path) -> None:
        self.destination = ""  # as above
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
        return replace(DELIVERED, delivered_bytes=len(content) + len(lines))

    def close(self) -> None:
        """Nothing is open between two exports."""

    def after_fork(self) -> None:
        """Begin a file of the child's own."""
        self._path = with_pid(self._path)
        self._profiles = []
        self._has_spans = False


@contextmanager
def _claimed(path: Path) -> Iterator[Path]:
    """`path`, or one with a number behind its name, that nobody has and nobody else takes meanwhile."""
    name = path.name.removesuffix(SUFFIX)
    numbers = itertools.count(2)
    while not _has_claimed(claim := path.with_name(f".{path.name}.claim"), path):
        path = path.with_name(f"{name}-{next(numbers)}{SUFFIX}")
    try:
        yield path
    finally:
        claim.unlink(missing_ok=True)


def _has_claimed(claim: Path, path: Path) -> bool:
    try:
        claim.touch(exist_ok=False)
    except FileExistsError:
        return False  # another exporter writes it, or died over it
    # Whoever has the claim is the only one that may make the file: what is not there now, nobody else makes.
    if path.exists():
        claim.unlink(missing_ok=True)
        return False
    return True


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


if TYPE_CHECKING:
    _directory: type[Exporter] = DirectoryExporter
    _single: type[Exporter] = SingleFileExporter
