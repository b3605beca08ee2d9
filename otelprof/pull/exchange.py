"""One connection: a request comes, an answer goes, and what became of it is told."""

import logging
import re
from _socket import SHUT_WR
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK
from otelprof.delivery.windows import Reader
from otelprof.pull.access import check
from otelprof.pull.answers import (
    PPROF,
    TEXT,
    Answer,
    Gone,
    Headers,
    Refused,
    encode,
    of_refusal,
    shown,
)
from otelprof.pull.endpoints import ROOT, Endpoint, Take, index
from otelprof.pull.request import Request, receive
from otelprof.pull_settings import PullPlace

if TYPE_CHECKING:
    from _socket import socket

SEND_TIMEOUT_S = 15.0
MAX_TAKEN = 8  # profiles that are taken at a time
_LINGER_NS = NS_PER_S // 2
_LINGER_BYTES = 64 * 1024

_log = logging.getLogger("otelprof")


class Watch(Protocol):
    """What a connection tells its server, and asks it. All methods are called from the connection's own thread."""

    def has_read(self) -> None:
        """The head of the request is there: the connection is not given up for others any more."""
        ...

    def may_take(self) -> bool:
        """Whether there is room for one more profile to be taken. If so, `has_taken` follows."""
        ...

    def has_taken(self) -> None:
        """It is taken, or was given up."""
        ...

    def is_closing(self) -> bool:
        """Whether the server stops; the connection's reading end is shut down then."""
        ...


@dataclass(frozen=True, slots=True)
class Exchange:
    """How requests are answered. Used by several threads at a time.

    Attributes:
        endpoints: by name.
        reader: where they get profiles from.
        has_failed: not empty once a mistake was said.
    """

    endpoints: Mapping[str, Endpoint]
    reader: Reader
    place: PullPlace
    token: str
    has_failed: list[bool] = field(default_factory=list[bool])

    def run(self, connection: "socket", watch: Watch) -> HTTPStatus | None:
        """Answer what comes over `connection`. The status of the answer; None if there was nobody to answer."""
        try:
            answer, method = self._answer(connection, watch)
        except Gone:
            return None
        try:
            connection.settimeout(SEND_TIMEOUT_S)
            connection.sendall(encode(answer, has_body=method != "HEAD"))
        except OSError:
            return None
        if answer.status >= HTTPStatus.BAD_REQUEST:
            _linger(connection)
        return answer.status

    def _answer(self, connection: "socket", watch: Watch) -> tuple[Answer, str]:
        method = ""
        try:
            request = receive(connection, SYSTEM_CLOCK)
            watch.has_read()
            method = request.method
            check(request, self.place, self.token)
            return self._of_path(request, connection, watch), method
        except Refused as refused:
            return of_refusal(refused), method
        except Gone:
            raise
        except Exception:  # noqa: BLE001 - the top of an answer
            # What it is, the log says, once; the client is not to see the inside of the program.
            if not self.has_failed:
                self.has_failed.append(True)
                _log.exception("otelprof: pull: a request could not be answered")
            failed = Refused(HTTPStatus.INTERNAL_SERVER_ERROR, "it could not be answered")
            return of_refusal(failed), method

    def _of_path(self, request: Request, connection: "socket", watch: Watch) -> Answer:
        if request.path == ROOT.rstrip("/"):
            return Answer(HTTPStatus.MOVED_PERMANENTLY, TEXT, b"", (("Location", ROOT),))
        name = request.path.removeprefix(ROOT) if request.path.startswith(ROOT) else None
        if name == "":
            return index(self.endpoints)
        endpoint = None if name is None else self.endpoints.get(name)
        if endpoint is None:
            known = ", ".join(f"{ROOT}{each}" for each in ("", *sorted(self.endpoints)))
            reason = f"{shown(request.path)}: there is only {known}"
            raise Refused(HTTPStatus.NOT_FOUND, reason)
        content_type, take = endpoint.asked(request.parameters())
        headers: Headers = ()
        if content_type == PPROF:
            # Names of kinds are whatever other packages call them.
            filename = re.sub(r"[^A-Za-z0-9._-]", "_", name or "")
            headers = (("Content-Disposition", f'attachment; filename="{filename}"'),)
        body = None if request.method == "HEAD" else self._taken(take, connection, watch)
        return Answer(HTTPStatus.OK, content_type, body, headers)

    def _taken(self, take: Take, connection: "socket", watch: Watch) -> bytes:
        if not watch.may_take():
            reason = f"{MAX_TAKEN} profiles are being taken already"
            raise Refused(HTTPStatus.SERVICE_UNAVAILABLE, reason, (("Retry-After", "5"),))
        try:
            return take(self.reader, _waiting(connection, watch.is_closing))
        finally:
            watch.has_taken()


def _waiting(connection: "socket", is_closing: Callable[[], bool]) -> Callable[[float], None]:
    def wait(seconds: float) -> None:
        """Wait until so much time has gone by, the server stops, or the client hangs up.

        A client that has sent its request says nothing more: whatever comes, it does not wait as it should.
        """
        connection.settimeout(seconds)
        try:
            connection.recv(1)
        except TimeoutError:
            return
        except OSError as error:
            raise Gone from error
        if not is_closing():
            raise Gone

    return wait


def _linger(connection: "socket") -> None:
    """Read what the client still sends: closing a connection with unread bytes takes the answer back (RFC 9112, 9.6)."""
    left_bytes = _LINGER_BYTES
    end_ns = SYSTEM_CLOCK.monotonic_ns() + _LINGER_NS
    with suppress(OSError):
        connection.shutdown(SHUT_WR)
        connection.settimeout(_LINGER_NS / NS_PER_S)
        while left_bytes > 0 and SYSTEM_CLOCK.monotonic_ns() < end_ns:
            part = connection.recv(left_bytes)
            if not part:
                return
            left_bytes -= len(part)
