"""OTLP/gRPC."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from google.protobuf.message import DecodeError

from otelprof.errors import ExporterError
from otelprof.exporter_settings import (
    TENANT_HEADER,
    OtlpSettings,
    secrets_in,
    shown_url,
)
from otelprof.exporters.otlp import accepted, hints_of
from otelprof.exporters.outbox import Outbox
from otelprof.exporters.outcomes import Words, of_code, unreachable, unusable
from otelprof.formats import otlp
from otelprof.interfaces import Exporter, Outcome
from otelprof.model import Batch, Profile
from otelprof.version import USER_AGENT

try:
    import grpc
    from google.rpc.error_details_pb2 import RetryInfo
    from google.rpc.status_pb2 import Status
except ImportError as error:
    raise ExporterError(
        f"OTLP over gRPC needs the package grpcio ({error}); "
        "or set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    ) from error

_METHOD = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export"

# Channels that a forked child inherited. Closing them would talk to the parent's peer, and being
# collected would close them, so they are kept.
_inherited: list[object] = []


class OtlpGrpcExporter:
    """Calls `ProfilesService/Export`."""

    def __init__(self, settings: OtlpSettings, *, root_links: bool = False) -> None:
        self.destination = settings.destination
        self.timeout_s = settings.timeout_s
        self._settings = settings
        self._root_links = root_links
        self._words = Words(
            shown_url(settings.endpoint),
            (
                *secrets_in(settings.endpoint),
                *(value for name, value in settings.headers if name != TENANT_HEADER),
            ),
            hints_of(settings),
        )
        self._outbox = Outbox(self._encode, self._send)
        self._target, self._is_secure = _target(settings)
        self._channel: Any = None

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """One call, or some if `batch` is large."""
        return self._outbox.export(batch, timeout_s=timeout_s)

    def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def after_fork(self) -> None:
        """Leave the parent's channel and batch alone."""
        self._outbox.forget()
        _inherited.append(self._channel)
        self._channel = None

    def _encode(self, profiles: Sequence[Profile]) -> bytes:
        return otlp.encode(profiles, root_links=self._root_links)

    def _send(self, body: bytes, timeout_s: float) -> Outcome:
        try:
            if self._channel is None:
                self._channel = self._new_channel()
        except OSError as error:  # a TLS file cannot be read; it may be written later
            return unreachable(self._words, str(error))
        is_gzip = self._settings.compression == "gzip"
        call = self._channel.unary_unary(
            _METHOD,
            request_serializer=None,  # the request is encoded already
            response_deserializer=None,
        )
        try:
            answer: bytes = call(
                body,
                timeout=min(timeout_s, self._settings.timeout_s),
                metadata=self._settings.headers,
                compression=grpc.Compression.Gzip if is_gzip else grpc.Compression.NoCompression,
            )
        except grpc.RpcError as error:
            return self._failed(error)
        except (ValueError, TypeError) as error:  # headers; the text shows them
            return unusable(self._words, type(error).__name__)
        return accepted(answer, self._words)

    def _failed(self, error: Any) -> Outcome:  # noqa: ANN401 - a grpc.Call that is an RpcError
        code = error.code().name
        if code == "UNAVAILABLE":
            # A new channel connects at once, where this one would wait up to two minutes, and reads the TLS files anew.
            self.close()
        wait_s = _retry_info_s(error.trailing_metadata() or ())
        return of_code(code, str(error.details() or ""), wait_s, self._words)

    def _new_channel(self) -> Any:  # noqa: ANN401 - grpc has no types
        options = (("grpc.primary_user_agent", USER_AGENT),)
        if not self._is_secure:
            return grpc.insecure_channel(self._target, options)
        tls = self._settings
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_content(tls.certificate),
            private_key=_content(
                tls.client_certificate and (tls.client_key or tls.client_certificate)
            ),
            certificate_chain=_content(tls.client_certificate),
        )
        return grpc.secure_channel(self._target, credentials, options)


def _target(settings: OtlpSettings) -> tuple[str, bool]:
    """What gRPC calls the endpoint, and whether it speaks TLS."""
    try:
        parts = urlsplit(settings.endpoint)
    except ValueError:
        parts = urlsplit("")  # no URL: let gRPC say what it thinks of it
    if parts.netloc:
        return parts.netloc.rpartition("@")[2], parts.scheme == "https"
    return settings.endpoint.rstrip("/"), not settings.insecure


def _content(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def _retry_info_s(metadata: Iterable[tuple[str, str | bytes]]) -> float | None:
    """The delay in the `google.rpc.RetryInfo` of a failed call."""
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


if TYPE_CHECKING:
    _checked: type[Exporter] = OtlpGrpcExporter
