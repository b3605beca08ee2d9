"""HTTP connections that are over in time, whatever the other side does.

`requests` bounds each call on a socket, so that a receiver that sends a byte a second, or takes one, can hold a request
for hours, and a name with five addresses takes five times its timeout. Here every call gets what is left of the time of
the whole request.

The one thing that it cannot bound is the system's resolver, which has limits of its own.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_Connection: TypeAlias = "HTTPConnection | HTTPSConnection"

# Of the request that this thread makes: an exporter is called from one thread at a time.
_request = threading.local()


@contextmanager
def over_within(timeout_s: float) -> Iterator[None]:
    """Inside, whatever this thread asks of the sockets below raises TimeoutError after `timeout_s` seconds in all."""
    _request.ends_s = time.monotonic() + timeout_s
    try:
        yield
    finally:
        del _request.ends_s


def _left_s() -> float:
    left_s = float(_request.ends_s) - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("timed out")
    return left_s


class _Socket(socket.socket):
    """Of the methods of sockets, those that `http.client` and `ssl` use."""

    def recv_into(self, buffer: "WriteableBuffer", nbytes: int = 0, flags: int = 0) -> int:
        self.settimeout(_left_s())
        return super().recv_into(buffer, nbytes, flags)

    def sendall(self, data: "ReadableBuffer", flags: int = 0, /) -> None:
        self.settimeout(_left_s())
        super().sendall(data, flags)


class _TlsSocket(ssl.SSLSocket):
    """The same for TLS, where `sendall` calls `send`."""

    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(_left_s())
        super().do_handshake(block)

    def recv_into(
        self, buffer: "WriteableBuffer", nbytes: int | None = None, flags: int = 0
    ) -> int:
        self.settimeout(_left_s())
        return super().recv_into(buffer, nbytes, flags)

    def send(self, data: "ReadableBuffer", flags: int = 0) -> int:
        self.settimeout(_left_s())
        return super().send(data, flags)


def _connected(host: str, port: int, options: Any) -> socket.socket:  # noqa: ANN401 - as setsockopt takes them
    """A connection to the first address of `host` that answers; each gets an equal share of the time."""
    addresses = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    failure = OSError(f"{host} has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = _Socket(family, kind, protocol)
        try:
            for option in options:
                connection.setsockopt(*option)
            connection.settimeout(_left_s() / (len(addresses) - number))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure


def _opened(connection: _Connection) -> socket.socket:
    """What `urllib3` calls a new connection, with the errors that it expects."""
    try:
        return _connected(
            connection._dns_host,  # noqa: SLF001 - `host` lacks the dot that keeps a resolver from trying suffixes
            connection.port,
            connection.socket_options or (),
        )
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "no connection in time") from error
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error


class _Plain(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _opened(self)


class _Tls(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return _opened(self)


class _PlainPool(HTTPConnectionPool):
    ConnectionCls: Any = _Plain  # the protocol of its type does not fit urllib3's own class either


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls: Any = _Tls  # as above


_POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _TlsPool}


class BoundedAdapter(HTTPAdapter):
    """Gives a session of `requests` such connections, also through proxies, but for those that speak SOCKS.

    TLS is 1.2 or newer.
    """

    def __init__(self) -> None:
        self._tls = create_urllib3_context()
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.sslsocket_class = _TlsSocket
        super().__init__()

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,
        **pool_kwargs: Any,  # noqa: ANN401 - as `HTTPAdapter` says
    ) -> None:
        """As `HTTPAdapter` does."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._tls, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:  # noqa: ANN401 - as `HTTPAdapter` says
        """As `HTTPAdapter` does."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **proxy_kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = dict(_POOLS)
        return manager
