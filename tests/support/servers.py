"""Real receivers of profiles on 127.0.0.1: OTLP over HTTP and gRPC, as honest or as broken as a test says.

Each is a context manager, listens on a free port, keeps what arrived, and answers as its script says, then
as `then` says. Leaving it ends every thread and connection, also those that it left without an answer.
"""

import gzip
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceRequest,
    ExportProfilesServiceResponse,
)
from opentelemetry.proto.profiles.v1development.profiles_pb2 import Profile

_SERVICE = "opentelemetry.proto.collector.profiles.v1development.ProfilesService"
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
ARRIVAL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request.

    Attributes:
        path: of HTTP; empty for gRPC.
        headers: HTTP headers or gRPC metadata, names in lower case.
        message: decoded by opentelemetry-proto.
        connection: the sender's address; the same for all requests on one connection.
    """

    path: str
    headers: dict[str, str]
    message: ExportProfilesServiceRequest
    connection: str

    def profiles(self) -> list[Profile]:
        """The profiles of all resources."""
        return [
            profile
            for resource_profiles in self.message.resource_profiles
            for scope in resource_profiles.scope_profiles
            for profile in scope.profiles
        ]

    def sums(self) -> dict[str, int]:
        """The sum of the values of each profile, by its value type."""
        strings = self.message.dictionary.string_table
        return {
            strings[profile.sample_type.type_strindex]: sum(
                value for sample in profile.samples for value in sample.values
            )
            for profile in self.profiles()
        }

    def links(self) -> set[tuple[bytes, bytes]]:
        """Trace id and span id of every linked sample."""
        table = self.message.dictionary.link_table
        rows = {sample.link_index for profile in self.profiles() for sample in profile.samples}
        return {(table[row].trace_id, table[row].span_id) for row in rows if row}


@dataclass(frozen=True, slots=True)
class Reply:
    """What an HTTP receiver answers.

    Attributes:
        is_silent: read the request and never answer.
        promised_bytes: the length that the header states, if that is not the body's.
        drip_s: seconds between two bytes of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    is_silent: bool = False
    promised_bytes: int | None = None
    drip_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """What a gRPC receiver answers: a status code by name, or `message`.

    Attributes:
        raw: bytes in the place of a message.
        retry_s: for a `google.rpc.RetryInfo` in the status.
        is_silent: read the request and never answer.
    """

    code: str = "OK"
    details: str = ""
    message: ExportProfilesServiceResponse | None = None
    raw: bytes | None = None
    retry_s: int | None = None
    is_silent: bool = False


def partial_success(rejected: int, why: str) -> ExportProfilesServiceResponse:
    """The answer of a receiver that took some profiles and not others."""
    response = ExportProfilesServiceResponse()
    response.partial_success.rejected_profiles = rejected
    response.partial_success.error_message = why
    return response


class _Kept:
    """The requests that arrived, for a test to wait for."""

    def __init__(self) -> None:
        self.requests: list[Arrived] = []
        self.is_closing = threading.Event()
        self._changed = threading.Condition()

    def keep(self, request: Arrived) -> None:
        """Add a request. Called by the receiver's threads."""
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float = ARRIVAL_TIMEOUT_S) -> list[Arrived]:
        """The requests, as soon as there are `count` of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, timeout_s), (
                f"{len(self.requests)} requests arrived, not {count}"
            )
            return list(self.requests)


class HttpReceiver(_Kept):
    """OTLP/HTTP. Connections are kept alive, as real receivers do."""

    def __init__(self, script: Sequence[Reply], then: Reply, *, port: int) -> None:
        super().__init__()
        self._script = deque(script)
        self._then = then
        self._connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = False  # so that closing waits for them
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.endpoint = f"http://{self.address}/v1development/profiles"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="http-receiver"
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """End all threads and connections."""
        self.is_closing.set()
        self._server.shutdown()
        self._thread.join()
        for connection in list(self._connections):
            _hang_up(connection)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.add(self.connection)
                if receiver.is_closing.is_set():
                    _hang_up(self.connection)

            def finish(self) -> None:
                receiver._connections.discard(self.connection)
                super().finish()

            def handle(self) -> None:
                try:
                    super().handle()
                except OSError:
                    self.close_connection = True  # the sender or `close` hung up

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = ExportProfilesServiceRequest.FromString(body)
                connection = f"{self.client_address[0]}:{self.client_address[1]}"
                receiver.keep(Arrived(self.path, headers, message, connection))
                receiver._answer(self)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        reply = self._script.popleft() if self._script else self._then
        if reply.is_silent:
            self.is_closing.wait()
            handler.close_connection = True
            return
        length = len(reply.body) if reply.promised_bytes is None else reply.promised_bytes
        lines = [f"HTTP/1.1 {reply.status} {'OK' if reply.status == 200 else 'as scripted'}"]
        lines += [f"{name}: {value}" for name, value in reply.headers]
        lines += [f"Content-Length: {length}", "", ""]
        handler.wfile.write("\r\n".join(lines).encode())
        step = 1 if reply.drip_s else max(1, len(reply.body))
        for at in range(0, len(reply.body), step):
            handler.wfile.write(reply.body[at : at + step])
            if reply.drip_s and self.is_closing.wait(reply.drip_s):
                break
        if length != len(reply.body):
            handler.close_connection = True


class GrpcReceiver(_Kept):
    """OTLP/gRPC."""

    def __init__(
        self, script: Sequence[GrpcReply], then: GrpcReply, *, has_service: bool, port: int
    ) -> None:
        super().__init__()
        self._script = deque(script)
        self._then = then
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="grpc-receiver")
        self._server = grpc.server(self._threads)
        if has_service:
            self._server.add_generic_rpc_handlers((self._handlers(),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port(f'127.0.0.1:{port}')}"
        self.endpoint = f"http://{self.address}"

    def start(self) -> None:
        """Begin to answer."""
        self._server.start()

    def close(self) -> None:
        """End all threads and connections."""
        self.is_closing.set()
        self._server.stop(None).wait()
        self._threads.shutdown()

    def _handlers(self) -> Any:
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportProfilesServiceRequest.FromString,
            response_serializer=bytes,  # what it is already
        )
        return grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})

    def _export(
        self,
        request: ExportProfilesServiceRequest,
        context: Any,
    ) -> bytes:
        headers = {str(item.key): str(item.value) for item in context.invocation_metadata()}
        self.keep(Arrived("", headers, request, str(context.peer())))
        reply = self._script.popleft() if self._script else self._then
        if reply.is_silent:
            self.is_closing.wait()
        if reply.code != "OK":
            code = getattr(grpc.StatusCode, reply.code)
            if reply.retry_s is not None:
                details = _status_with_retry(code.value[0], reply.retry_s)
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, reply.details)
        if reply.raw is not None:
            return reply.raw
        return (reply.message or ExportProfilesServiceResponse()).SerializeToString()


@contextmanager
def http_receiver(
    *script: Reply, then: Reply | None = None, port: int = 0
) -> Iterator[HttpReceiver]:
    """An OTLP/HTTP receiver that gives the answers of `script` in turn, then always `then` (200)."""
    receiver = HttpReceiver(script, then or Reply(), port=port)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


@contextmanager
def grpc_receiver(
    *script: GrpcReply, then: GrpcReply | None = None, has_service: bool = True, port: int = 0
) -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver that gives the answers of `script` in turn, then always `then` (OK)."""
    receiver = GrpcReceiver(script, then or GrpcReply(), has_service=has_service, port=port)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


@contextmanager
def refusing_port() -> Iterator[str]:
    """An address that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def blackhole() -> Iterator[str]:
    """An address at which connections are accepted and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as held:
        # The kernel accepts into the backlog; nobody reads.
        yield f"127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def raw_receiver(answer: bytes, *, hangs_up: bool = False) -> Iterator[str]:
    """An address at which every connection is answered with these bytes, whatever it sends."""
    held = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = held.accept()
            except OSError:
                return  # closed
            connections.append(connection)
            try:
                connection.recv(1 << 16)
                connection.sendall(answer)
            except OSError:
                continue  # the sender hung up
            if hangs_up:
                _hang_up(connection)

    thread = threading.Thread(target=serve, name="raw-receiver")
    thread.start()
    try:
        yield f"127.0.0.1:{held.getsockname()[1]}"
    finally:
        _hang_up(held)  # wakes `accept`
        for connection in connections:
            _hang_up(connection)
        thread.join()
        for connection in (held, *connections):
            connection.close()


ENDPOINTS: dict[str, Callable[[str], str]] = {
    "grpc": lambda address: f"http://{address}",
    "http/protobuf": lambda address: f"http://{address}/v1development/profiles",
}
"""The endpoint of the profiles signal at an address, by protocol."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the other side was faster


def _status_with_retry(code: int, retry_s: int) -> bytes:
    """A `google.rpc.Status` with a RetryInfo, written by hand: its package is no dependency of ours.

    status.proto: code = 1, details = 3 (Any: type_url = 1, value = 2); error_details.proto: RetryInfo.retry_delay
    = 1; duration.proto: seconds = 1.
    """
    duration = _number(1, retry_s)
    packed = _bytes(1, _RETRY_INFO.encode()) + _bytes(2, _bytes(1, duration))
    return _number(1, code) + _bytes(3, packed)


def _number(field: int, value: int) -> bytes:
    assert 0 <= value < 0x80
    return bytes([field << 3, value])


def _bytes(field: int, blob: bytes) -> bytes:
    assert len(blob) < 0x80
    return bytes([field << 3 | 2, len(blob)]) + blob
