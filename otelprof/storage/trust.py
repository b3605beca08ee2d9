"""Which directories and files may be trusted: those that nobody else can have put there.

Profiles hold names of functions and routes, and what lies in the spool is sent with the service's credentials.
So the directory is for its owner alone, and what is somebody else's, or behind a symbolic link, is refused.
"""

import os
import stat
from pathlib import Path

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UntrustedError(OSError):
    """A directory or file that others could have made or changed. The message names it and why."""


def make_private(directory: Path) -> None:
    """Make `directory`, for this user only, and those above it.

    Raises:
        OSError: it cannot be made.
        UntrustedError: it is there, and others may write to it, or it is somebody else's.
    """
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    check_private(directory)


def check_private(directory: Path) -> None:
    """Raise if others may write to `directory` or put something else in its place.

    Raises:
        OSError: it is not there.
        UntrustedError: it may not be trusted.
    """
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UntrustedError(f"{directory} is not a directory")
    if found.st_uid != os.geteuid():
        raise UntrustedError(f"{directory} belongs to user {found.st_uid}, not {os.geteuid()}")
    if found.st_mode & _OTHERS_WRITE:
        mode = stat.S_IMODE(found.st_mode)
        raise UntrustedError(f"{directory} is writable by others (mode {mode:04o})")
    above = directory.parent.stat()
    if above.st_mode & _OTHERS_WRITE and not above.st_mode & stat.S_ISVTX:
        mode = stat.S_IMODE(above.st_mode)
        raise UntrustedError(f"{directory.parent} is writable by others (mode {mode:04o})")
    if above.st_uid not in {0, os.geteuid()}:
        raise UntrustedError(f"{directory.parent} belongs to user {above.st_uid}")


def open_own(path: Path, flags: int) -> int:
    """Open a file that this user has made, and return its descriptor.

    Raises:
        OSError: it cannot be opened; also if it is a symbolic link.
        UntrustedError: it is no regular file, or somebody else's.
    """
    # A FIFO with its name would hold us up.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
        return descriptor
    os.close(descriptor)
    raise UntrustedError(f"{path} is no file of user {os.geteuid()}")
