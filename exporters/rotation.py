"""Which files of a directory stay: so many, so large and so young as the settings allow, the newest always.

Several processes may write and clean up one directory. They see each other's files, and do not mind who removes them.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.exporter_settings import FileSettings
from otelprof.exporters.file_names import SUFFIX, pattern_of
from otelprof.formats.spans_jsonl import spans_path

_LOOK_EVERY_S = 60.0  # a look costs 4 µs a file; others write, and files age
_LEFTOVER_S = 3_600.0  # what is half-written so long, nobody is writing
_HALF_WRITTEN = re.compile(
    r"\.(.+)\.(?:pb\.gz|spans\.jsonl)\.(?:\d+|claim)"
)  # as `file.py` calls it
_SPARE = 20  # a twentieth more than must be is removed, so that not each file is followed by a look


class _Kept(NamedTuple):
    """A profile with its spans; the oldest sort first."""

    written_unix_ns: int
    path: Path
    size_bytes: int


class Rotation:
    """Removes what is too much or too old in `directory`. Used by one thread at a time."""

    def __init__(
        self, directory: Path, settings: FileSettings, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._directory = directory
        self._settings = settings
        self._pattern = pattern_of(settings)
        self._clock = clock
        self._look_again_ns = 0  # on the monotonic clock
        self._room_count = 0
        self._room_bytes = 0

    def note(self, size_bytes: int) -> None:
        """A file of this size was written: make room if there is none."""
        limits = (self._settings.max_count, self._settings.max_size_bytes, self._settings.max_age_s)
        if limits == (None, None, None):
            return
        self._room_count -= 1
        self._room_bytes -= size_bytes
        now_ns = self._clock.monotonic_ns()
        if self._room_count < 0 or self._room_bytes < 0 or now_ns >= self._look_again_ns:
            self._look_again_ns = now_ns + round(_LOOK_EVERY_S * NS_PER_S)
            self._look()

    def _look(self) -> None:
        files = sorted(self._files())
        count, size_bytes = len(files), sum(file.size_bytes for file in files)
        max_count = self._settings.max_count or count + 1_000
        max_bytes = self._settings.max_size_bytes or 2 * size_bytes + 2**40
        max_age_s = self._settings.max_age_s
        oldest_ns = 0 if max_age_s is None else self._clock.unix_ns() - round(max_age_s * NS_PER_S)
        if count > max_count or size_bytes > max_bytes:
            max_count, max_bytes = max_count - max_count // _SPARE, max_bytes - max_bytes // _SPARE
        for file in files[:-1]:
            if count <= max_count and size_bytes <= max_bytes and file.written_unix_ns >= oldest_ns:
                break
            file.path.unlink(missing_ok=True)
            spans_path(file.path).unlink(missing_ok=True)
            count -= 1
            size_bytes -= file.size_bytes
        self._room_count, self._room_bytes = max_count - count, max_bytes - size_bytes

    def _files(self) -> Iterator[_Kept]:
        """The profiles that are there. What was left half-written is removed on the way."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                hidden = _HALF_WRITTEN.fullmatch(entry.name)
                if hidden is not None and self._pattern.fullmatch(hidden[1] + SUFFIX):
                    self._remove_leftover(entry)
                elif self._pattern.fullmatch(entry.name):
                    path = Path(entry.path)
                    written = _stat(path)
                    if written is not None:
                        spans = _stat(spans_path(path))
                        size_bytes = written.st_size + (0 if spans is None else spans.st_size)
                        yield _Kept(written.st_mtime_ns, path, size_bytes)

    def _remove_leftover(self, entry: "os.DirEntry[str]") -> None:
        path = Path(entry.path)
        written = _stat(path)
        if written is not None:
            age_s = (self._clock.unix_ns() - written.st_mtime_ns) / NS_PER_S
            if age_s > _LEFTOVER_S:
                path.unlink(missing_ok=True)


def _stat(path: Path) -> os.stat_result | None:
    """None if another process has just removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
