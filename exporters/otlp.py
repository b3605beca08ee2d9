"""OTLP over HTTP or gRPC, to a Collector or to whatever else speaks it.

Imports of `requests` and `grpc` happen here, in the worker thread and on first use: this module is loaded
in the first second, or when the first batch leaves.
"""

import gzip
import logging
import re
import time
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceResponse,
)
from urllib3.exceptions import HTTPError

from otelprof.config import Config, OtlpSettings
from otelprof.errors import ExporterError
from otelprof.forks import kept_whole
from otelprof.formats import otlp
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import Batch
from otelprof.version import __version__

_log = logging.getLogger("otelprof")

_USER_AGENT = f"otelprof/{__version__} OTel-OTLP-Exporter-Python"
_METHOD = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"
_GATE_HINT = (
    "the receiver does not take profiles; a Collector needs a profiles pipeline "
    "and --feature-gates=service.profilesSupport"
)
# OTLP specification, "Retryable response codes"; for gRPC the codes of "Failures".
_RETRYABLE_STATUS = frozenset({429, 502, 503, 504})
_RETRYABLE_CODES = frozenset(
    {
        "CANCELLED",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNAVAILABLE",
        "DATA_LOSS",
    },
)
_MAX_ANSWER_BYTES = 64 * 1024  # an answer is a few bytes; more is not read

# Connections that a forked child inherited. Closing them would talk to the parent's peer, and being
# collected would close them, so they are kept.
_inherited: list[object] = []


def from_config(config: Config) -> Exporter:
    """The exporter for the configured protocol."""
    root_links = config.span_id == "root"
    if config.otlp.protocol == "grpc":
        return GrpcExporter(config.otlp, root_links=root_links)
    return HttpExporter(config.otlp, root_links=root_links)


class HttpExporter:
    """OTLP/HTTP with binary protobuf."""

    def __init__(self, settings: OtlpSettings, *, root_links: bool = False) -> None:
        import requests  # noqa: PLC0415 - see the module's docstring

        self._requests = requests
        self._settings = settings
        self._root_links = root_links
        self._session = self._new_session()

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """POST one request."""
        settings = self._settings
        body = otlp.encode(batch.profiles, root_links=self._root_links)
        headers = {
            "User-Agent": _USER_AGENT,
            **dict(settings.headers),
            "Content-Type": "application/x-protobuf",
        }
        if settings.compression == "gzip":
            body = gzip.compress(body, mtime=0)
            headers["Content-Encoding"] = "gzip"
        try:
            with self._session.post(
                settings.endpoint,
                data=body,
                headers=headers,
                timeout=min(timeout_s, settings.timeout_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                answer = self._answer(response, timeout_s)
                wait = response.headers.get("Retry-After")
                return _http_outcome(response.status_code, wait, answer, _shown(settings.endpoint))
        except (self._requests.ConnectionError, self._requests.Timeout) as error:
            return Outcome(
                "retry",
                f"nobody takes them at {_shown(self._settings.endpoint)} ({type(error).__name__})",
            )
        except (self._requests.RequestException, ValueError) as error:
            return Outcome("refused", f"{_shown(self._settings.endpoint)}: {type(error).__name__}")

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def after_fork(self) -> None:
        """Leave the parent's connections alone."""
        _inherited.append(self._session)
        self._session = self._new_session()

    def _new_session(self) -> Any:  # noqa: ANN401 - requests is imported late
        session = self._requests.Session()
        # Else `requests` would put what ~/.netrc has for the host in the place of a configured header.
        session.auth = lambda request: request
        return session

    def _answer(self, response: Any, timeout_s: float) -> bytes:  # noqa: ANN401 - requests is imported late
        """The beginning of the answer; what does not come in time or comes broken is left out."""
        answer = b""
        deadline = time.monotonic() + timeout_s
        try:
            while len(answer) < _MAX_ANSWER_BYTES and time.monotonic() < deadline:
                part = response.raw.read1(_MAX_ANSWER_BYTES, decode_content=True)
                if not part:
                    break
                answer += part
        except (HTTPError, OSError, zlib.error):
            _log.debug("the answer of %s broke off", self._settings.endpoint, exc_info=True)
        return answer


class GrpcExporter:
    """OTLP/gRPC."""

    def __init__(self, settings: OtlpSettings, *, root_links: bool = False) -> None:
        try:
            import grpc  # noqa: PLC0415 - see the module's docstring
        except ImportError as error:
            raise ExporterError(
                f"OTLP over gRPC needs the package grpcio ({error}); "
                "or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            ) from error
        self._grpc: Any = grpc
        self._settings = settings
        self._root_links = root_links
        try:
            parts = urlsplit(settings.endpoint)
        except ValueError:
            parts = urlsplit("")  # no URL: let gRPC say what it thinks of it
        has_scheme = bool(parts.netloc)
        self._target = parts.netloc if has_scheme else settings.endpoint.rstrip("/")
        self._is_secure = parts.scheme == "https" if has_scheme else not settings.insecure
        self._channel: Any = None

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Call `ProfilesService/Export` once."""
        grpc = self._grpc
        call = self._call()
        try:
            response = call(
                otlp.encode(batch.profiles, root_links=self._root_links),
                timeout=min(timeout_s, self._settings.timeout_s),
                metadata=self._settings.headers,
                compression=grpc.Compression.Gzip
                if self._settings.compression == "gzip"
                else grpc.Compression.NoCompression,
            )
        except grpc.RpcError as error:
            return _grpc_outcome(error, _shown(self._settings.endpoint))
        return _accepted(response)

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def after_fork(self) -> None:
        """Leave the parent's channel alone."""
        _inherited.append(self._channel)
        self._channel = None

    def _call(self) -> Any:  # noqa: ANN401 - grpc has no types
        grpc = self._grpc
        if self._channel is None:
            options = (("grpc.primary_user_agent", _USER_AGENT),)
            if self._is_secure:
                credentials = grpc.ssl_channel_credentials()
                self._channel = grpc.secure_channel(self._target, credentials, options)
            else:
                self._channel = grpc.insecure_channel(self._target, options)
        return self._channel.unary_unary(
            _METHOD,
            request_serializer=None,  # the request is encoded already
            response_deserializer=ExportProfilesServiceResponse.FromString,
        )


def _shown(endpoint: str) -> str:
    """The endpoint without a password in it."""
    return re.sub(r"//[^/@]*@", "//…@", endpoint)


def _http_outcome(status: int, retry_after: str | None, answer: bytes, where: str) -> Outcome:
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP's success
        response = ExportProfilesServiceResponse()
        try:
            response.ParseFromString(answer)
        except Exception:  # noqa: BLE001 - protobuf's DecodeError; a receiver that answers in its own way has accepted
            return DELIVERED
        return _accepted(response)
    if status in _RETRYABLE_STATUS:
        wait_s = float(retry_after) if retry_after and retry_after.isdecimal() else None
        return Outcome("retry", f"{where} answers {status}", wait_s)
    hint = f": {_GATE_HINT}" if status == 404 else ""  # noqa: PLR2004 - not found
    text = answer[:200].decode(errors="replace").strip()
    return Outcome("refused", f"{where} answers {status} {text}{hint}")


def _grpc_outcome(error: Any, where: str) -> Outcome:  # noqa: ANN401 - a grpc.Call that is an RpcError
    code = error.code().name
    wait_s = _retry_info_s(error.trailing_metadata() or ())
    # Without a time to come back at, exhausted means that the request is too large (OTLP, "Failures").
    if code in _RETRYABLE_CODES and (code != "RESOURCE_EXHAUSTED" or wait_s is not None):
        return Outcome("retry", f"nobody takes them at {where} ({code})", wait_s)
    hint = f": {_GATE_HINT}" if code == "UNIMPLEMENTED" else ""
    return Outcome("refused", f"{where} answers {code} {str(error.details())[:200]}{hint}")


def _retry_info_s(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """The delay in the `google.rpc.RetryInfo` of a failed call."""
    with kept_whole():
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - comes with grpc
        from google.rpc.error_details_pb2 import RetryInfo  # noqa: PLC0415 - as above
        from google.rpc.status_pb2 import Status  # noqa: PLC0415 - as above

    for key, value in metadata:
        if key != "grpc-status-details-bin" or not isinstance(value, bytes):
            continue
        try:
            for detail in Status.FromString(value).details:
                info = RetryInfo()
                if detail.Unpack(info):
                    return float(info.retry_delay.seconds + info.retry_delay.nanos / 1e9)
        except DecodeError:
            return None
    return None


def _accepted(response: ExportProfilesServiceResponse) -> Outcome:
    """A partial success is not to be retried: what was rejected would be again."""
    rejected = response.partial_success.rejected_profiles
    if rejected:
        _log.warning(
            "otlp: the receiver rejected %d profiles: %s",
            rejected,
            response.partial_success.error_message,
        )
    return DELIVERED


if TYPE_CHECKING:
    _http: type[Exporter] = HttpExporter
    _grpc: type[Exporter] = GrpcExporter
