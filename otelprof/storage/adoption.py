"""What processes that are dead have left in the spool: whose it is, and what of it is for us.

A process of the same service that sends to the same destination takes it over and delivers it. What nobody
takes is removed when it has grown too old, by whoever comes by.
"""

import logging
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from otelprof.errors import FormatError
from otelprof.storage.manifest import MAX_MANIFEST_BYTES, Manifest, decode_manifest
from otelprof.storage.owned import BatchFile, OwnedDirectory, batch_files, is_owned_name
from otelprof.storage.records import HEAD_BYTES, Kind, VersionError, read_head
from otelprof.storage.spool import Stored, prefix_of
from otelprof.storage.trust import check_private, open_own

_log = logging.getLogger("otelprof")
_MAX_RECORDS = 256  # of one file: a manifest, spans, profiles, and who has it already


class Adopted(NamedTuple):
    """A batch of a dead process's.

    Attributes:
        destinations: those of ours that have not had it yet.
        is_shared: others have not had it either, which are not ours.
    """

    stored: Stored
    manifest: Manifest
    destinations: tuple[str, ...]
    is_shared: bool


@dataclass(slots=True)
class Found:
    """What lies in the spool.

    Attributes:
        adopted: oldest first of each dead process.
        live_bytes, live_processes: what stays there of other processes that live, and how many have something there.
        dead_bytes: what stays there of dead ones, for other services or receivers than ours.
        expired_profiles: those that nobody took in time, or before there was no more room; they are removed.
        corrupt_batches: files in which nobody can say what they were; they are removed.
    """

    adopted: list[Adopted] = field(default_factory=list[Adopted])
    live_bytes: int = 0
    live_processes: int = 0
    dead_bytes: int = 0
    expired_profiles: int = 0
    corrupt_batches: int = 0


class Adoption:
    """One look at all that lies in a spool.

    Args:
        service, destinations: whose batches are taken over, and where they may go.
        oldest_unix_ns: what was written before that is too old.
    """

    def __init__(
        self, path: Path, service: str, destinations: Collection[str], *, oldest_unix_ns: int
    ) -> None:
        self._path = path
        self._service = service
        self._destinations = destinations
        self._oldest_unix_ns = oldest_unix_ns
        self._dead: list[tuple[Path, BatchFile]] = []
        self.found = Found()

    def look(self) -> Found:
        """Take over what is ours, and clear away what is too old.

        Raises:
            OSError: the directory is not there, or may not be trusted.
        """
        check_private(self._path)
        prefix = prefix_of(self._service)
        with os.scandir(self._path) as entries:
            names = (e.name for e in entries if e.is_dir(follow_symlinks=False))
            directories = sorted(filter(is_owned_name, names))
        for name in directories:
            try:
                self._look_into(self._path / name, is_ours=name.startswith(prefix))
            except OSError as error:
                _log.debug("otelprof: spool: %s: %s", name, error)
        return self.found

    def _look_into(self, path: Path, *, is_ours: bool) -> None:
        files = batch_files(path)
        directory = OwnedDirectory.claim(path)
        if directory is None:
            if not OwnedDirectory.is_held(path):
                self.found.live_bytes += sum(file.space_bytes for file in files)
                self.found.live_processes += 1
            return
        if files and not is_ours and not any(self._is_expired(file) for file in files):
            for file in files:
                self._note_dead(path, file)
            directory.release()
            return
        taken: list[Adopted] = []
        try:
            for file in batch_files(path):  # again: until now it was somebody else's
                batch = self._judged(directory, file)
                if batch is not None:
                    taken.append(batch)
        finally:
            self.found.adopted += taken
            if not taken and not directory.remove_if_empty():
                directory.release()

    def _judged(self, directory: OwnedDirectory, file: BatchFile) -> Adopted | None:
        """The batch, if it is for us. One that is for nobody any more is removed."""
        stored = Stored(directory, file.number, file.space_bytes)
        try:
            manifest, done = read_envelope(stored.path)
        except (VersionError, OSError) as error:
            # For its own version, or until it can be read again, or until it is too old.
            _log.debug("otelprof: spool: %s is not read: %s", stored.path, error)
            if self._is_expired(file):
                self._remove_corrupt(stored)
            else:
                self._note_dead(directory.path, file)
            return None
        except FormatError as error:
            _log.debug("otelprof: spool: %s is not readable: %s", stored.path, error)
            self._remove_corrupt(stored)
            return None
        waiting = [name for name in manifest.destinations if name not in done]
        ours = tuple(name for name in waiting if name in self._destinations)
        if ours and manifest.service == self._service:
            return Adopted(stored, manifest, ours, len(ours) < len(waiting))
        if self._is_expired(file) or not waiting:
            self.found.expired_profiles += manifest.profiles if waiting else 0
            stored.path.unlink(missing_ok=True)
        else:
            self._note_dead(directory.path, file)
        return None

    def clear(self, excess_bytes: int) -> None:
        """Remove the oldest of what dead processes have left for others, until so much is gone; after `look`.

        Raises:
            OSError: a directory cannot be had.
        """
        self._dead.sort(key=lambda dead: dead[1].written_unix_ns)
        for path, file in self._dead:
            if excess_bytes <= 0:
                return
            directory = OwnedDirectory.claim(path)
            if directory is None:
                continue  # somebody has taken it over meanwhile
            try:
                self._remove_dead(directory.file(file.number))
            finally:
                if not directory.remove_if_empty():
                    directory.release()
            self.found.dead_bytes -= file.space_bytes
            excess_bytes -= file.space_bytes

    def _note_dead(self, path: Path, file: BatchFile) -> None:
        self.found.dead_bytes += file.space_bytes
        self._dead.append((path, file))

    def _remove_dead(self, file: Path) -> None:
        with suppress(OSError, FormatError):
            self.found.expired_profiles += read_envelope(file)[0].profiles
        with suppress(OSError):
            file.unlink()

    def _remove_corrupt(self, stored: Stored) -> None:
        self.found.corrupt_batches += 1
        with suppress(OSError):
            stored.path.unlink()

    def _is_expired(self, file: BatchFile) -> bool:
        return file.written_unix_ns < self._oldest_unix_ns


def read_envelope(path: Path) -> tuple[Manifest, frozenset[str]]:
    """The manifest of a batch's file and the destinations that need it no more. Profiles and spans are not read.

    Raises:
        OSError: the file cannot be read.
        FormatError: it has no whole manifest.
    """
    manifest: Manifest | None = None
    done: set[str] = set()
    descriptor = open_own(path, os.O_RDONLY)
    try:
        at = 0
        for _ in range(_MAX_RECORDS):
            try:
                head = read_head(os.pread(descriptor, HEAD_BYTES, at))
                at += HEAD_BYTES
                if head.kind in {Kind.MANIFEST, Kind.DONE}:
                    length_bytes = min(head.length_bytes, MAX_MANIFEST_BYTES)
                    body = head.checked(os.pread(descriptor, length_bytes, at))
                    if head.kind == Kind.DONE:
                        done.add(body.decode("utf-8", "replace"))
                    elif manifest is None:
                        manifest = decode_manifest(body)
            except FormatError:
                if manifest is None:
                    raise
                break  # what comes after is read again, and judged, when the batch is delivered
            at += head.length_bytes
    finally:
        os.close(descriptor)
    if manifest is None:
        raise FormatError(f"spool: {path.name} has no manifest")
    return manifest, frozenset(done)
