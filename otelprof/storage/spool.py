"""What is not delivered yet, on the local disk: a file for each batch, a directory for each process.

    <state>/spool/<service>-<pid>-<random>/owner              locked as long as the process lives
                                          /000000000001.batch manifest, spans, profiles, who has it already

A batch is written before it is sent for the first time and removed when every destination has delivered or
refused it, so a process that is killed leaves what it could not send, and the next one of the same service
adopts it. Nothing is ever changed in a file but by adding to its end. See docs/decisions/0012.
"""

import errno
import hashlib
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from otelprof.primitives import Lock
from otelprof.storage.manifest import MAX_BATCH_BYTES, MAX_MANIFEST_BYTES, Manifest, encode_manifest
from otelprof.storage.owned import OwnedDirectory, space_of
from otelprof.storage.records import Kind, framed
from otelprof.storage.trust import check_private, make_private, open_own

# Under this much free space nothing is written, so that the profiler is not what fills the disk: the smaller of
# both, since of a large disk 5 % are no shortage.
FLOOR_BYTES = 512 << 20
FLOOR_SHARE = 0.05
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has only the second
_MAX_FILE_BYTES = MAX_BATCH_BYTES + 2 * MAX_MANIFEST_BYTES


class Stored(NamedTuple):
    """A batch on the disk."""

    directory: OwnedDirectory
    number: int
    space_bytes: int

    @property
    def path(self) -> Path:
        """Its file."""
        return self.directory.file(self.number)


def prefix_of(service: str) -> str:
    """How the names of the service's directories begin."""
    return hashlib.sha256(service.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Spool:
    """The batches of this process on the disk, and those that it has adopted.

    `write`, `take_over` and `close` are called from one thread at a time, the others from any.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._batches: Counter[OwnedDirectory] = Counter()  # those with batches of ours
        self._space_bytes = 0
        self._own: OwnedDirectory | None = None
        self._service = ""

    @property
    def own_bytes(self) -> int:
        """What the batches of this process take on the disk."""
        return self._space_bytes

    def write(self, manifest: Manifest, batch: bytes) -> Stored:
        """Put a batch, as `payload.encode_batch` has it, on the disk.

        Raises:
            OSError: there is no room, or no directory that may be written to and trusted.
        """
        blob = encode_manifest(manifest) + batch
        if len(blob) > MAX_BATCH_BYTES:
            raise OSError(errno.EFBIG, f"{self.path}: a batch of {len(blob)} bytes")
        make_private(self.path)
        self._check_floor()
        try:
            return self._written(manifest.service, blob)
        except FileNotFoundError:  # somebody has removed our directory
            self._leave()
            return self._written(manifest.service, blob)

    def _written(self, service: str, blob: bytes) -> Stored:
        directory = self._directory_of(service)
        stored = Stored(directory, directory.next_number(), space_of(len(blob)))
        _write_new(stored.path, blob)
        self.take_over(stored)
        return stored

    def take_over(self, stored: Stored) -> None:
        """Count a batch that is on the disk as one of this process."""
        with self._lock:
            self._batches[stored.directory] += 1
            self._space_bytes += stored.space_bytes

    def read(self, stored: Stored) -> bytes:
        """The bytes of a batch's file.

        Raises:
            OSError: it cannot be read, or is larger than any batch.
        """
        with os.fdopen(open_own(stored.path, os.O_RDONLY), "rb") as file:
            blob = file.read(_MAX_FILE_BYTES + 1)
        if len(blob) > _MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"{stored.path} is larger than any batch")
        return blob

    def acknowledge(self, stored: Stored, destination: str) -> None:
        """Note that `destination` needs the batch no more, so that it does not get it again after a crash."""
        # What cannot be noted is sent twice at worst, with the same profile ids.
        with suppress(OSError):
            descriptor = open_own(stored.path, os.O_WRONLY | os.O_APPEND)
            try:
                os.write(descriptor, framed(Kind.DONE, destination.encode("utf-8", "replace")))
            finally:
                os.close(descriptor)

    def let_go(self, stored: Stored, *, remove: bool) -> None:
        """This process needs the batch no more; with `remove` nobody does."""
        if remove:
            with suppress(
                OSError
            ):  # it is gone already, or cannot be removed and will be too old one day
                stored.path.unlink()
        directory = stored.directory
        with self._lock:
            if directory not in self._batches:
                return  # it was left to others
            self._space_bytes -= stored.space_bytes
            self._batches[directory] -= 1
            if self._batches[directory] or directory is self._own:
                return
            del self._batches[directory]
        _part_with(directory)

    def close(self) -> None:
        """Let others have everything."""
        with self._lock:
            directories = self._directories()
            self._batches.clear()
            self._own, self._space_bytes = None, 0
        for directory in directories:
            _part_with(directory)

    def forget(self) -> None:
        """In a forked child: close what is the parent's, without touching any file."""
        for directory in self._directories():
            directory.forget()

    def _directories(self) -> set[OwnedDirectory]:
        """All that are this process's."""
        return set(self._batches) | ({self._own} if self._own is not None else set())

    def _directory_of(self, service: str) -> OwnedDirectory:
        if self._own is None or service != self._service:
            self._leave()
            self._own = OwnedDirectory.create(self.path, prefix_of(service))
            self._service = service
        return self._own

    def _leave(self) -> None:
        """Begin a new directory with the next batch. What is in the present one is delivered from there."""
        with self._lock:
            own, self._own = self._own, None
            if own is None or self._batches[own]:
                return
            del self._batches[own]
        _part_with(own)

    def _check_floor(self) -> None:
        check_private(self.path)
        found = os.statvfs(self.path)
        floor_bytes = min(FLOOR_BYTES, FLOOR_SHARE * found.f_blocks * found.f_frsize)
        free_bytes = found.f_bavail * found.f_frsize
        if free_bytes < floor_bytes:
            raise OSError(errno.ENOSPC, f"only {free_bytes >> 20} MiB are free on its disk")


def _part_with(directory: OwnedDirectory) -> None:
    """Remove it; what is in it for other destinations than ours is for others."""
    if not directory.remove_if_empty():
        directory.release()


def _write_new(path: Path, blob: bytes) -> None:
    """Write a file that is not there, so that it is on the disk; or leave nothing.

    Raises:
        OSError: there is no room for it.
    """
    descriptor = open_own(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        written = 0
        while written < len(blob):
            written += os.write(descriptor, blob[written:])
        _sync(descriptor)
    except OSError:
        with suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(descriptor)
