"""Which runs stay on this machine: so many bytes and so young as the settings allow.

Ended runs go first, whole, the oldest in front; then the oldest files of those that go on. Several processes
may clean up at the same time: they do not mind who removes what.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.exporter_settings import LocalSettings
from otelprof.formats.spans_jsonl import spans_path
from otelprof.storage.owned import OwnedDirectory
from otelprof.storage.runs import all_runs, is_profile
from otelprof.storage.vitals import are_processes_left

_LOOK_EVERY_S = 60.0  # a look costs some microseconds a file
_SPARE = 20  # a twentieth more than must be is removed, so that not each file is followed by a look


@dataclass(frozen=True, slots=True)
class _File:
    """A file of profiles with its spans.

    Attributes:
        size_bytes: of both.
    """

    written_unix_ns: int
    path: Path
    size_bytes: int


@dataclass(slots=True)
class _Run:
    """The directory of a run and what is in it, the oldest first."""

    path: Path
    files: list[_File]
    written_unix_ns: int

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class Retention:
    """Removes runs and files of runs in `state_dir` that are too many bytes or too old. Used by one thread at a time."""

    def __init__(
        self, state_dir: Path, settings: LocalSettings, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._state_dir = state_dir
        self._max_bytes = settings.max_size_bytes
        self._max_age_s = settings.max_age_s
        self._clock = clock
        self._look_again_ns: int | None = None  # on the monotonic clock; None: never looked
        self._room_bytes = 0

    def note(self, size_bytes: int) -> None:
        """A file of this size was written: look whether something must go, if it is time or there is no room."""
        self._room_bytes -= size_bytes
        now_ns = self._clock.monotonic_ns()
        is_time = self._look_again_ns is None or now_ns >= self._look_again_ns
        if is_time or self._room_bytes < 0:
            self.look()

    def look(self) -> None:
        """Remove what is too much or too old. Never raises: what cannot be removed stays."""
        self._look_again_ns = self._clock.monotonic_ns() + round(_LOOK_EVERY_S * NS_PER_S)
        runs = [_read(path) for path in all_runs(self._state_dir)]
        runs.sort(key=lambda run: run.written_unix_ns)
        if self._max_age_s is not None:
            self._remove_old(runs, self._clock.unix_ns() - round(self._max_age_s * NS_PER_S))
        total_bytes = sum(run.size_bytes for run in runs)
        if self._max_bytes is None:
            self._room_bytes = 1 << 62
            return
        if total_bytes > self._max_bytes:
            total_bytes -= _make_room(
                runs, total_bytes - self._max_bytes + self._max_bytes // _SPARE
            )
        # Where nothing more can be removed, the next look is when it is time again.
        self._room_bytes = max(self._max_bytes - total_bytes, self._max_bytes // _SPARE)

    def _remove_old(self, runs: list[_Run], oldest_unix_ns: int) -> None:
        for run in runs:
            if run.written_unix_ns < oldest_unix_ns and _remove_run(run):
                continue
            for file in [f for f in run.files if f.written_unix_ns < oldest_unix_ns]:
                _remove_file(run, file)


def _make_room(runs: list[_Run], wanted_bytes: int) -> int:
    """Remove until so many bytes are free; how many are."""
    freed_bytes = 0
    for run in runs[:-1]:  # the latest stays as long as it can: it is what the user asks for
        if freed_bytes < wanted_bytes:
            size_bytes = run.size_bytes
            freed_bytes += size_bytes if _remove_run(run) else 0
    left = sorted(
        ((file, run) for run in runs for file in run.files[:-1]),
        key=lambda item: item[0].written_unix_ns,
    )
    for file, run in left:
        if freed_bytes < wanted_bytes:
            freed_bytes += file.size_bytes
            _remove_file(run, file)
    return freed_bytes


def _remove_run(run: _Run) -> bool:
    """Remove a run that has ended; False if it goes on, or cannot be removed."""
    if are_processes_left(run.path):
        return False
    try:
        owned = OwnedDirectory.claim(run.path)
        if owned is None:
            return False
        owned.remove()
    except OSError:
        return False
    run.files = []
    return True


def _remove_file(run: _Run, file: _File) -> None:
    with suppress(OSError):
        file.path.unlink(missing_ok=True)
        spans_path(file.path).unlink(missing_ok=True)
    run.files.remove(file)


def _read(path: Path) -> _Run:
    files = sorted(_files(path), key=lambda file: (file.written_unix_ns, file.path))
    written_unix_ns = files[-1].written_unix_ns if files else 0
    with suppress(OSError):
        written_unix_ns = written_unix_ns or path.stat().st_mtime_ns
    return _Run(path, files, written_unix_ns)


def _files(run: Path) -> Iterator[_File]:
    try:
        paths = [path for path in run.iterdir() if is_profile(path.name)]
    except OSError:
        return
    for path in paths:
        with suppress(OSError):  # somebody else has removed it since
            status = path.stat()
            size_bytes = status.st_size
            with suppress(FileNotFoundError):
                size_bytes += spans_path(path).stat().st_size
            yield _File(status.st_mtime_ns, path, size_bytes)
