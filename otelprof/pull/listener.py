"""The socket that listens: on a free one of several ports, or at a path that only its owner can open.

Sockets are the C ones of `_socket`: where gevent has patched `socket`, that module's would start an event loop in
each thread of ours.
"""

import errno
import os
import stat
from _socket import AF_INET, AF_INET6, AF_UNIX, SHUT_RDWR, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - a class
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from otelprof.pull_settings import PID, PullPlace

_BACKLOG = 64
_OWNER_ONLY = 0o600
_PROBE_TIMEOUT_S = 0.5


class Listener:
    """Listens at `place`, so far as it is free.

    Attributes:
        port: that it has got; 0 for a Unix socket, and once it is closed.
        is_open: until it is closed.
        url: of the page that lists what there is.

    Raises:
        OSError: it cannot be listened there; `EADDRINUSE` if others do.
    """

    def __init__(self, place: PullPlace) -> None:
        self.port = 0
        self._path = place.path.replace(PID, str(os.getpid()))
        self._file = 0  # the inode of a Unix socket's file
        if place.path:
            self._socket = _bound_to_path(self._path)
            self._file = _inode_at(self._path)
            self.url = f"unix:{self._path}"
        else:
            self._socket = _bound_to_port(place)
            self.port = int(self._socket.getsockname()[1])
            host = f"[{place.host}]" if ":" in place.host else place.host
            self.url = f"http://{host}:{self.port}/debug/pprof/"
        self._inode = os.fstat(self._socket.fileno()).st_ino
        self.is_open = True

    def accept(self) -> Socket:
        """The next connection.

        Raises:
            OSError: there is none to be had, or the listener is closed, which the program may have done, too.
        """
        if not self.is_own():
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        accept: Callable[[], tuple[int, object]] = cast("Any", self._socket)._accept  # noqa: SLF001 - what `socket.socket.accept` calls
        descriptor, _ = accept()
        return Socket(fileno=descriptor)

    def is_own(self) -> bool:
        """Whether the descriptor is still the socket's: programs that become daemons close all, and numbers return."""
        try:
            return os.fstat(self._socket.fileno()).st_ino == self._inode
        except OSError:
            return False

    def close(self) -> None:
        """Listen no more; `accept` in another thread ends. Idempotent."""
        self.port = 0
        self.is_open = False
        if self.is_own():
            with suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)
            self._socket.close()
        else:
            self._socket.detach()
        if self._file and _inode_at(self._path) == self._file:
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - a Path would be made into text at once
        self._file = 0

    def forget(self) -> None:
        """In a forked child: let go of it; it stays the parent's."""
        if self.is_own():
            let_go(self._socket)


def let_go(connection: Socket) -> None:
    """Close the descriptor of an inherited socket, and say nothing to the other side."""
    with suppress(OSError):
        os.close(connection.detach())


def hang_up(connection: Socket) -> None:
    """End a connection for both sides, whoever else has inherited its descriptor, and close it. Idempotent."""
    with suppress(OSError):
        connection.shutdown(SHUT_RDWR)
    with suppress(OSError):
        connection.close()


def _bound_to_port(place: PullPlace) -> Socket:
    """On the first port that is free."""
    for port in place.ports[:-1]:
        with suppress(OSError):
            return _listening(place.host, port)
    return _listening(place.host, place.ports[-1])


def _listening(host: str, port: int) -> Socket:
    found = Socket(AF_INET6 if ":" in host else AF_INET, SOCK_STREAM)
    try:
        found.settimeout(None)  # whatever `socket.setdefaulttimeout` says
        found.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)  # after a restart, too
        found.bind((host, port))
        found.listen(_BACKLOG)  # two may be bound to one port, but only one listens
    except OSError:
        found.close()
        raise
    return found


def _bound_to_path(path: str) -> Socket:
    """At `path`, in the place of what a dead process has left there."""
    found = Socket(AF_UNIX, SOCK_STREAM)
    try:
        found.settimeout(None)  # as above
        _remove_abandoned(path)
        found.bind(path)
        os.chmod(path, _OWNER_ONLY)  # noqa: PTH101 - nobody can connect before `listen`
        found.listen(_BACKLOG)
    except OSError:
        found.close()
        raise
    return found


def _inode_at(path: str) -> int:
    """0 if there is nothing."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - a Path would be made into text at once
    except OSError:
        return 0


def _remove_abandoned(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # a file of somebody's: it is in the way, which `bind` says
    except FileNotFoundError:
        return
    probe = Socket(AF_UNIX, SOCK_STREAM)
    try:
        probe.settimeout(_PROBE_TIMEOUT_S)
        probe.connect(path)
    except ConnectionRefusedError:
        os.unlink(path)  # noqa: PTH108 - nobody listens
    finally:
        probe.close()
