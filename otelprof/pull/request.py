"""What a client has sent, up to the blank line, within limits of size and of time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from otelprof.clock import NS_PER_S, Clock
from otelprof.pull.answers import Gone, Refused, shown

if TYPE_CHECKING:
    from _socket import socket

HEAD_TIMEOUT_S = 5.0  # for all of the head: a client that drips does not get more
MAX_LINE_BYTES = 8 * 1024
MAX_HEAD_BYTES = 16 * 1024
MAX_HEADERS = 64
_MAX_PARAMETERS = 8
_END = b"\r\n\r\n"
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\0\r\n]*")  # RFC 9112, section 5
_PART_BYTES = 4 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request without a body.

    Attributes:
        path: decoded, without the query.
        query: as it was sent.
    """

    method: str
    path: str
    query: str
    headers: "Message[str, str]"

    def header(self, name: str) -> str:
        """The value of a header that may be there once; empty if it is not.

        Raises:
            Refused: it is there several times.
        """
        values = self.headers.get_all(name, [])
        if len(values) > 1:
            raise Refused(HTTPStatus.BAD_REQUEST, f"{name}: there are {len(values)} of them")
        return values[0].strip() if values else ""

    def parameters(self) -> Mapping[str, str]:
        """The query, by name.

        Raises:
            Refused: it is no query, or has a name twice.
        """
        try:
            pairs = parse_qsl(
                self.query,
                keep_blank_values=True,
                strict_parsing=bool(self.query),
                errors="strict",
                max_num_fields=_MAX_PARAMETERS,
            )
        except ValueError as error:
            reason = f"query: {shown(self.query)} is not name=value&name=value"
            raise Refused(HTTPStatus.BAD_REQUEST, reason) from error
        if len(dict(pairs)) < len(pairs):
            reason = f"query: {shown(self.query)} has a name twice"
            raise Refused(HTTPStatus.BAD_REQUEST, reason)
        return dict(pairs)


def receive(connection: "socket", clock: Clock) -> Request:
    """The request that comes over `connection`.

    Raises:
        Refused: it is none, is too long or takes too long.
        Gone: the client has hung up.
    """
    head = bytearray()
    deadline_ns = clock.monotonic_ns() + round(HEAD_TIMEOUT_S * NS_PER_S)
    while (end := head.find(_END, max(0, len(head) - _PART_BYTES - len(_END)))) < 0:
        _check_sizes(head)
        left_s = (deadline_ns - clock.monotonic_ns()) / NS_PER_S
        if left_s <= 0:
            raise _late()
        connection.settimeout(left_s)
        try:
            part = connection.recv(_PART_BYTES)
        except TimeoutError:
            raise _late() from None
        except OSError as error:
            raise Gone from error
        if not part:
            raise Gone
        head += part
    if len(head) > end + len(_END):
        raise Refused(HTTPStatus.BAD_REQUEST, "there is more than a request without a body")
    _check_sizes(head)
    return _parsed(bytes(head))


def _check_sizes(head: bytearray) -> None:
    if not head[:1].isupper():  # not HTTP: there is no need to wait for more of it
        if head:
            raise Refused(HTTPStatus.BAD_REQUEST, "this is no HTTP request")
        return
    line_end = head.find(b"\n")
    if (len(head) if line_end < 0 else line_end) > MAX_LINE_BYTES:
        reason = f"the request line has more than {MAX_LINE_BYTES} bytes"
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG, reason)
    if len(head) > MAX_HEAD_BYTES:
        reason = f"the request has more than {MAX_HEAD_BYTES} bytes"
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)


def _late() -> Refused:
    reason = f"there was no whole request within {HEAD_TIMEOUT_S:g} s"
    return Refused(HTTPStatus.REQUEST_TIMEOUT, reason)


def _parsed(head: bytes) -> Request:
    # The parser below takes what follows a line that is no header for the body, and says nothing.
    for line in head[: head.index(_END)].split(b"\r\n")[1:]:
        if _HEADER.fullmatch(line) is None:
            raise Refused(
                HTTPStatus.BAD_REQUEST, f"header: {shown(line.decode('latin-1'))} is none"
            )
    parser = _Parser(head)
    if parser.refused is not None:
        raise parser.refused
    if parser.request_version == "HTTP/0.9":
        raise Refused(HTTPStatus.BAD_REQUEST, "the request line names no version of HTTP")
    request = Request(parser.command, "", "", parser.headers)
    if len(request.headers) > MAX_HEADERS:
        reason = f"there are more than {MAX_HEADERS} headers"
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, reason)
    length = request.header("Content-Length")
    if request.header("Transfer-Encoding") or length not in {"", "0"}:
        raise Refused(HTTPStatus.BAD_REQUEST, "Content-Length: a request has no body here")
    try:
        parts = urlsplit(parser.path)
        path = unquote(parts.path, errors="strict")
    except ValueError as error:
        raise Refused(HTTPStatus.BAD_REQUEST, f"path: {shown(parser.path)} is not one") from error
    return Request(parser.command, path, parts.query, parser.headers)


class _Parser(BaseHTTPRequestHandler):
    """The standard library's parser of a request's head, of bytes that are there already."""

    protocol_version = "HTTP/1.1"

    def __init__(self, head: bytes) -> None:
        self.rfile = BytesIO(head)
        self.refused: Refused | None = None
        self.raw_requestline = self.rfile.readline(MAX_HEAD_BYTES)
        if not self.parse_request() and self.refused is None:
            self.send_error(HTTPStatus.BAD_REQUEST)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Note what `parse_request` finds."""
        del explain
        status = HTTPStatus(code)
        self.refused = Refused(status, shown(message or status.phrase))

    def handle_expect_100(self) -> bool:
        """There is no body to wait for."""
        return True
