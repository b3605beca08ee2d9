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

from tests.support.certificates import ServerTls
from tests.support.sockets import blackhole, hang_up, raw_receiver, refusing_port
from tests.support.wire import status_with_retry

__all__ = [
    "ENDPOINTS",
    "Arrived",
    "GrpcReceiver",
    "GrpcReply",
    "HttpReceiver",
    "Reply",
    "blackhole",
    "grpc_receiver",
    "http_receiver",
    "otlp_variables",
    "partial_success",
    "raw_receiver",
    "refusing_port",
]

_SERVICE = "opentelemetry.proto.collector.profiles.v1development.ProfilesService"
ARRIVAL_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Arrived:
    """One request.

    Attributes:
        path: of HTTP; empty for gRPC.
        headers: HTTP headers or gRPC metadata, names in lower case.
        body: of HTTP, without content encoding.
        message: of OTLP, decoded by opentelemetry-proto; else empty.
        connection: the sender's address; the same for all requests on one connection.
    """

    path: str
    headers: dict[str, str]
    message: ExportProfilesServiceRequest
    connection: str
    body: bytes = b""

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
        hangs_up: read the request and end the connection.
        promised_bytes: the length that the header states, if that is not the body's.
        drip_s: seconds between two bytes of the body.
    """

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    is_silent: bool = False
    hangs_up: bool = False
    promised_bytes: int | None = None
    drip_s: float = 0.0


Answer = Reply | Callable[[Arrived], Reply]


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
    """OTLP/HTTP, and whatever else is posted. Connections are kept alive, as real receivers do."""

    def __init__(
        self, script: Sequence[Answer], then: Answer, *, port: int, tls: ServerTls | None
    ) -> None:
        super().__init__()
        self._script = deque(script)
        self._then = then
        self._connections: set[socket.socket] = set()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._server.daemon_threads = False  # so that closing waits for them
        if tls is not None:
            # Shakes hands at the first read, in the connection's thread.
            self._server.socket = tls.context().wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"{'http' if tls is None else 'https'}://{self.address}"
        self.endpoint = f"{self.url}/v1development/profiles"
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
            hang_up(connection)
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                receiver._connections.add(self.connection)
                if receiver.is_closing.is_set():
                    hang_up(self.connection)

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
                is_otlp = self.path.endswith("/profiles")
                message = ExportProfilesServiceRequest.FromString(body if is_otlp else b"")
                connection = f"{self.client_address[0]}:{self.client_address[1]}"
                arrived = Arrived(self.path, headers, message, connection, body)
                receiver.keep(arrived)
                receiver._answer(self, arrived)

            def do_GET(self) -> None:
                self.do_POST()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
                """Say nothing."""

        return Handler

    def _answer(self, handler: BaseHTTPRequestHandler, arrived: Arrived) -> None:
        answer = self._script.popleft() if self._script else self._then
        reply = answer if isinstance(answer, Reply) else answer(arrived)
        if reply.is_silent:
            self.is_closing.wait()
        if reply.is_silent or reply.hangs_up:
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
        self,
        script: Sequence[GrpcReply],
        then: GrpcReply,
        *,
        has_service: bool,
        port: int,
        tls: ServerTls | None,
    ) -> None:
        super().__init__()
        self._script = deque(script)
        self._then = then
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="grpc-receiver")
        self._server = grpc.server(self._threads)
        if has_service:
            self._server.add_generic_rpc_handlers((self._handlers(),))
        wanted = f"127.0.0.1:{port}"
        if tls is None:
            port = self._server.add_insecure_port(wanted)
        else:
            port = self._server.add_secure_port(wanted, tls.grpc_credentials())
        self.address = f"127.0.0.1:{port}"
        self.endpoint = f"{'http' if tls is None else 'https'}://{self.address}"

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
                details = status_with_retry(code.value[0], reply.retry_s)
                context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, reply.details)
        if reply.raw is not None:
            return reply.raw
        return (reply.message or ExportProfilesServiceResponse()).SerializeToString()


@contextmanager
def http_receiver(
    *script: Answer, then: Answer | None = None, port: int = 0, tls: ServerTls | None = None
) -> Iterator[HttpReceiver]:
    """A receiver of posts that gives the answers of `script` in turn, then always `then` (200)."""
    receiver = HttpReceiver(script, then or Reply(), port=port, tls=tls)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


@contextmanager
def grpc_receiver(
    *script: GrpcReply,
    then: GrpcReply | None = None,
    has_service: bool = True,
    port: int = 0,
    tls: ServerTls | None = None,
) -> Iterator[GrpcReceiver]:
    """An OTLP/gRPC receiver that gives the answers of `script` in turn, then always `then` (OK)."""
    receiver = GrpcReceiver(
        script, then or GrpcReply(), has_service=has_service, port=port, tls=tls
    )
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.close()


ENDPOINTS: dict[str, Callable[[str], str]] = {
    "grpc": lambda address: f"http://{address}",
    "http/protobuf": lambda address: f"http://{address}/v1development/profiles",
}
"""The endpoint of the profiles signal at an address, by protocol."""


def otlp_variables(protocol: str, address: str) -> dict[str, str]:
    """Settings of a program that sends profiles there."""
    return {
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_EXPORTER_OTLP_PROFILES_ENDPOINT": ENDPOINTS[protocol](address),
    }
