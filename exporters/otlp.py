"""OTLP over HTTP or gRPC, to a Collector or to whatever else speaks it: what both have in common.

Which of the two is imported, in the worker thread, depends on the protocol: `requests` and `grpc` take a while.
"""

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import (
    ExportProfilesServiceResponse,
)

from otelprof.config import Config
from otelprof.exporter_settings import OtlpSettings
from otelprof.exporters.outcomes import Words
from otelprof.interfaces import DELIVERED, Exporter, Outcome

_CREDENTIALS_HINT = "are OTEL_EXPORTER_OTLP_HEADERS right, or the client certificate?"
_GATE_HINT = (
    "the receiver does not take profiles; a Collector needs a profiles pipeline "
    "and --feature-gates=service.profilesSupport"
)
_PATH_HINT = "; their path is /v1development/profiles"
_NO_PATH_HINT = "the endpoint has no path: profiles go to its whole URL, such as http://host:4318/v1development/profiles"


def from_config(config: Config) -> Exporter:
    """The exporter for the configured protocol."""
    root_links = config.span_id == "root"
    if config.otlp.protocol == "grpc":
        from otelprof.exporters.otlp_grpc import OtlpGrpcExporter  # noqa: PLC0415 - see above

        return OtlpGrpcExporter(config.otlp, root_links=root_links)
    from otelprof.exporters.otlp_http import OtlpHttpExporter  # noqa: PLC0415 - see above

    return OtlpHttpExporter(config.otlp, root_links=root_links)


def hints_of(settings: OtlpSettings) -> dict[int | str, str]:
    """Known mistakes by HTTP status and gRPC code."""
    # opentelemetry.io names /v1/profiles; the specification and the Collector do not.
    at_old_path = settings.endpoint.rstrip("/").endswith("/v1/profiles")
    path = settings.endpoint.partition("://")[2].partition("/")[2]
    return {
        404: _GATE_HINT + (_PATH_HINT if at_old_path else "") if path else _NO_PATH_HINT,
        "UNIMPLEMENTED": _GATE_HINT,
        **dict.fromkeys((401, 403, "UNAUTHENTICATED", "PERMISSION_DENIED"), _CREDENTIALS_HINT),
    }


def accepted(answer: bytes, words: Words) -> Outcome:
    """The outcome of a request that was taken. What a receiver rejected would be rejected again."""
    response = ExportProfilesServiceResponse()
    try:
        response.ParseFromString(answer)
    except DecodeError:
        return DELIVERED  # a receiver that answers in its own way has accepted, as it says
    partial = response.partial_success
    message = words.of(partial.error_message)
    if partial.rejected_profiles > 0:
        reason = f"{words.where} rejects some: {message}"
        return Outcome("delivered", reason, rejected_profiles=partial.rejected_profiles)
    # All were taken: servers use the message for warnings (OTLP specification, "Partial Success").
    return Outcome("delivered", f"{words.where} says: {message}") if message else DELIVERED
