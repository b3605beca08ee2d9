"""A directory of batches that belongs to one process: as long as that lives, nobody else touches it.

It is locked by `fcntl` on its file `owner`: a lock that ends with the process however it ends, that a forked
child does not inherit (as it would one of `flock`, which then outlives the parent), and that works between
containers, where process ids mean nothing. Such a lock knows processes only, and is lost when its process
closes any descriptor of that file. So a process notes what it has, and never opens that again.
"""

import errno
import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, Self

from otelprof.primitives import Lock
from otelprof.storage.trust import check_private, open_own

OWNER_FILE = "owner"
BATCH_SUFFIX = ".batch"
_BLOCK_BYTES = 4096  # what the least file takes on most file systems
_ATTEMPTS = 8


class _Held:
    """The directories of this process, by device and inode of their locked files."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a forked child, which has none."""
        self.identities: set[tuple[int, int]] = set()
        self.lock = Lock()  # two profilers of a process may want the same

    def __contains__(self, owner: Path) -> bool:
        with suppress(FileNotFoundError):
            return _identity(owner.lstat()) in self.identities
        return False


_held = _Held()
os.register_at_fork(after_in_child=_held.forget)


class OwnedDirectory:
    """One that this process has locked. Batches are files with ascending numbers."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._identity = _identity(os.fstat(descriptor))
        self._next = 1
        self._is_ours = True

    @classmethod
    def create(cls, parent: Path, prefix: str) -> Self:
        """A new one below `parent`, whose name begins with `prefix`.

        Raises:
            OSError: it cannot be made or locked.
        """
        for _ in range(_ATTEMPTS):
            path = parent / f"{prefix}-{os.getpid()}-{os.urandom(4).hex()}"
            path.mkdir(mode=0o700)
            # Until the lock is taken somebody may take this for a dead process's, and clear it away.
            with suppress(FileNotFoundError, FileExistsError), _held.lock:
                found = cls._locked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                if found is not None:
                    return found
        raise OSError(errno.EAGAIN, f"{parent}: no directory stays there")

    @classmethod
    def claim(cls, path: Path) -> Self | None:
        """The directory at `path`, if nobody has it.

        Raises:
            OSError: it cannot be opened or locked.
            UntrustedError: it is not this user's alone.
        """
        check_private(path)
        with _held.lock:
            if path / OWNER_FILE in _held:
                return None
            return cls._locked(path, os.O_RDWR | os.O_CREAT)

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether the directory at `path` is this process's."""
        return path / OWNER_FILE in _held

    @classmethod
    def _locked(cls, path: Path, flags: int) -> Self | None:
        descriptor = open_own(path / OWNER_FILE, flags)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:  # else it was cleared away before we had the lock
                found = cls(path, descriptor)
                _held.identities.add(found._identity)
                return found
        except OSError as error:
            os.close(descriptor)
            if error.errno in {errno.EAGAIN, errno.EACCES}:
                return None  # its process lives
            raise
        os.close(descriptor)
        return None

    def file(self, number: int) -> Path:
        """Where the batch with this number is."""
        return self.path / f"{number:012d}{BATCH_SUFFIX}"

    def next_number(self) -> int:
        """The number of the next batch."""
        number, self._next = self._next, self._next + 1
        return number

    def release(self) -> None:
        """Let others have it. What is in it stays. Idempotent."""
        if not self._is_ours:
            return
        self._is_ours = False
        _held.identities.discard(self._identity)
        self.forget()

    def forget(self) -> None:
        """Close the descriptor, also of a lock that is a parent process's, unless it is something else by now."""
        with suppress(OSError):  # programs close descriptors that they do not own
            if _identity(os.fstat(self._descriptor)) == self._identity:
                os.close(self._descriptor)

    def remove(self) -> None:
        """Remove the directory and all files in it; what cannot be removed stays, and is nobody's."""
        with suppress(OSError):
            for path in self.path.iterdir():
                if path.name != OWNER_FILE:
                    path.unlink(missing_ok=True)
        self.remove_if_empty()

    def remove_if_empty(self) -> bool:
        """Remove the directory if there is no batch in it; then it is nobody's. False also if it is others' already."""
        if not self._is_ours or batch_files(self.path):
            return False
        with suppress(OSError):
            (self.path / OWNER_FILE).unlink()
            self.path.rmdir()
        self.release()
        return True


def is_owned_name(name: str) -> bool:
    """Whether a directory in a spool can be one of ours: there may be others' things."""
    return re.fullmatch(r"[0-9a-f]{16}-\d+-[0-9a-f]{8}", name) is not None


class BatchFile(NamedTuple):
    """A batch in a directory: its number there, what it takes on the disk, and when it was written."""

    number: int
    space_bytes: int
    written_unix_ns: int


def batch_files(directory: Path) -> list[BatchFile]:
    """The batches in a directory, oldest first. One that cannot be read has none."""
    found: list[BatchFile] = []
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            number, _, suffix = entry.name.partition(".")
            if f".{suffix}" == BATCH_SUFFIX and number.isascii() and number.isdecimal():
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    space_bytes = space_of(status.st_size)
                    found.append(BatchFile(int(number), space_bytes, status.st_mtime_ns))
    return sorted(found)


def space_of(size_bytes: int) -> int:
    """What a file of this size takes on the disk."""
    return -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
