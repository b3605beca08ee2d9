"""OTLP over HTTP and gRPC, against real receivers: honest, busy, broken and silent ones."""

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from otelprof.config import Config
from otelprof.errors import ExporterError
from otelprof.exporter_settings import OtlpProtocol, OtlpSettings
from otelprof.exporters.otlp import from_config
from otelprof.exporters.splitting import LIMITS
from otelprof.interfaces import DELIVERED, Exporter, Outcome
from otelprof.model import Batch
from otelprof.version import __version__
from tests.support.profiles import (
    OTHER_SPAN,
    ROOT,
    ROOT_SPAN_ID,
    ROOTLESS_SPAN,
    SPAN,
    TRACE_ID,
    cpu_and_wall,
    profile_of,
    row,
)
from tests.support.random_profiles import random_profile
from tests.support.servers import (
    ENDPOINTS,
    GrpcReceiver,
    GrpcReply,
    HttpReceiver,
    Reply,
    blackhole,
    grpc_receiver,
    http_receiver,
    partial_success,
    raw_receiver,
    refusing_port,
)

BATCH = Batch(tuple(cpu_and_wall()))
TIMEOUT_S = 20.0
NOISE_S = 3.0  # how late a busy machine may be
PROTOCOLS: tuple[OtlpProtocol, ...] = ("grpc", "http/protobuf")

both_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


@contextmanager
def exporting(settings: OtlpSettings, **others: object) -> Iterator[Exporter]:
    exporter = from_config(Config(otlp=settings).with_arguments(others))
    try:
        yield exporter
    finally:
        exporter.close()


def receiver_of(
    protocol: OtlpProtocol, *, port: int = 0
) -> AbstractContextManager[HttpReceiver | GrpcReceiver]:
    return grpc_receiver(port=port) if protocol == "grpc" else http_receiver(port=port)


def export_to(endpoint: str, protocol: OtlpProtocol, *, timeout_s: float = TIMEOUT_S) -> Outcome:
    with exporting(OtlpSettings(protocol=protocol, endpoint=endpoint)) as exporter:
        return exporter.export(BATCH, timeout_s=timeout_s)


def answer_to(*script: Reply, timeout_s: float = TIMEOUT_S) -> Outcome:
    """What one export over HTTP makes of an answer."""
    with http_receiver(*script) as receiver:
        return export_to(receiver.endpoint, "http/protobuf", timeout_s=timeout_s)


def grpc_answer_to(*script: GrpcReply) -> Outcome:
    """What one export over gRPC makes of an answer."""
    with grpc_receiver(*script) as receiver:
        return export_to(receiver.endpoint, "grpc")


@both_protocols
class TestBothProtocols:
    def test_what_arrives_is_what_left(self, protocol: OtlpProtocol) -> None:
        with receiver_of(protocol) as receiver:
            assert export_to(receiver.endpoint, protocol) == DELIVERED
            (arrived,) = receiver.wait_for(1)
        assert arrived.sums() == {"samples": 7, "wall": 130_000_000}
        assert arrived.links() == {
            (link.trace_id, link.span_id) for link in (SPAN, OTHER_SPAN, ROOTLESS_SPAN)
        }
        (resource_profiles,) = arrived.message.resource_profiles
        names = {item.key: item.value for item in resource_profiles.resource.attributes}
        assert names["service.name"].string_value == "shop"
        assert names["process.pid"].int_value == 4711

    def test_links_to_local_roots_where_that_is_configured(self, protocol: OtlpProtocol) -> None:
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(protocol=protocol, endpoint=receiver.endpoint)
            with exporting(settings, span_id="root") as exporter:
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
            (arrived,) = receiver.wait_for(1)
        assert (TRACE_ID, ROOT_SPAN_ID) in arrived.links()
        assert (TRACE_ID, SPAN.span_id) not in arrived.links()

    @pytest.mark.parametrize("compression", ["gzip", "none"])
    def test_what_has_nothing_to_say_is_delivered_and_not_sent(
        self, protocol: OtlpProtocol, compression: str
    ) -> None:
        """A process that computes next to nothing: Parca refuses requests with a profile that has no sample."""
        idle = profile_of(row(ROOT, values=(0, 400_000)))
        wall = next(profile for profile in BATCH.profiles if profile.kind == "wall")
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(
                protocol=protocol,
                endpoint=receiver.endpoint,
                compression="gzip" if compression == "gzip" else "none",
            )
            with exporting(settings) as exporter:
                outcome = exporter.export(Batch((idle,)), timeout_s=TIMEOUT_S)
                assert (outcome, outcome.delivered_bytes) == (DELIVERED, 0)
                assert exporter.export(Batch((idle, wall)), timeout_s=TIMEOUT_S) == DELIVERED
            (arrived,) = receiver.wait_for(1)
        assert arrived.sums() == {"wall": 130_000_000}
        assert len(arrived.profiles()) == 1

    def test_headers_and_user_agent(self, protocol: OtlpProtocol) -> None:
        headers = (("authorization", "Bearer 6d 73"), ("x-scope-orgid", "tenant"))
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(protocol=protocol, endpoint=receiver.endpoint, headers=headers)
            with exporting(settings) as exporter:
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
            (arrived,) = receiver.wait_for(1)
        assert {*headers} <= {*arrived.headers.items()}
        assert arrived.headers["user-agent"].startswith(f"otelprof/{__version__} ")

    def test_headers_that_cannot_be_sent_are_refused(self, protocol: OtlpProtocol) -> None:
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(
                protocol=protocol, endpoint=receiver.endpoint, headers=(("api key", "a\nb"),)
            )
            with exporting(settings) as exporter:
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S).verdict == "refused"

    @pytest.mark.parametrize("compression", ["gzip", "none"])
    def test_compression(self, protocol: OtlpProtocol, compression: str) -> None:
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(
                protocol=protocol,
                endpoint=receiver.endpoint,
                compression="gzip" if compression == "gzip" else "none",
            )
            with exporting(settings) as exporter:
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
            (arrived,) = receiver.wait_for(1)
        assert arrived.sums() == {"samples": 7, "wall": 130_000_000}
        if protocol != "grpc":  # grpcio shows a server no encoding
            expected = None if compression == "none" else "gzip"
            assert arrived.headers.get("content-encoding") == expected

    def test_several_exports_share_a_connection(self, protocol: OtlpProtocol) -> None:
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(protocol=protocol, endpoint=receiver.endpoint)
            with exporting(settings) as exporter:
                for _ in range(3):
                    assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
            arrived = receiver.wait_for(3)
        assert len({request.connection for request in arrived}) == 1

    @pytest.mark.parametrize("rejected", [1, 2])
    def test_partial_success_is_delivered_and_counted(
        self, protocol: OtlpProtocol, rejected: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        partly = partial_success(rejected, "too old")
        if protocol == "grpc":
            outcome = grpc_answer_to(GrpcReply(message=partly))
        else:
            outcome = answer_to(Reply(body=partly.SerializeToString()))
        assert (outcome.verdict, outcome.rejected_profiles) == ("delivered", rejected)
        assert "too old" in outcome.reason
        assert caplog.records == []  # the pipeline says it, once

    @pytest.mark.parametrize("rejected", [0, -3])
    def test_a_warning_without_rejected_profiles_is_delivered_and_passed_on(
        self, protocol: OtlpProtocol, rejected: int
    ) -> None:
        partly = partial_success(rejected, "deprecated\nsoon")
        if protocol == "grpc":
            outcome = grpc_answer_to(GrpcReply(message=partly))
        else:
            outcome = answer_to(Reply(body=partly.SerializeToString()))
        assert (outcome.verdict, outcome.rejected_profiles) == ("delivered", 0)
        assert outcome.reason.endswith(" says: deprecated soon")

    def test_a_large_profile_leaves_in_parts_that_add_up(self, protocol: OtlpProtocol) -> None:
        """The gRPC receiver takes 4 MiB, as grpcio's and grpc-go's do by default."""
        profile = random_profile(17_000, depth=120)
        with receiver_of(protocol) as receiver:
            settings = OtlpSettings(protocol=protocol, endpoint=receiver.endpoint)
            with exporting(settings) as exporter:
                assert exporter.export(Batch((profile,)), timeout_s=60.0) == DELIVERED
        arrived = receiver.requests
        parts = [part for request in arrived for part in request.profiles()]
        assert len(parts) > 1
        assert sum(request.sums()["samples"] for request in arrived) == sum(
            profile.column("samples")
        )
        assert max(request.message.ByteSize() for request in arrived) < LIMITS.max_bytes
        assert max(len(part.samples) for part in parts) <= LIMITS.max_samples
        assert len({part.profile_id for part in parts}) == len(parts)

    def test_what_arrived_before_an_error_is_not_sent_again(self, protocol: OtlpProtocol) -> None:
        profile = random_profile(17_000, depth=5)
        receiver: AbstractContextManager[HttpReceiver | GrpcReceiver] = (
            grpc_receiver(GrpcReply(), GrpcReply("UNAVAILABLE"))
            if protocol == "grpc"
            else http_receiver(Reply(), Reply(503))
        )
        with receiver as running:
            settings = OtlpSettings(protocol=protocol, endpoint=running.endpoint)
            with exporting(settings) as exporter:
                assert exporter.export(Batch((profile,)), timeout_s=60.0).verdict == "retry"
                assert exporter.export(Batch((profile,)), timeout_s=60.0) == DELIVERED
        ids = [part.profile_id for request in running.requests for part in request.profiles()]
        assert len(ids) == len(set(ids)) + 1  # the one that was answered with an error

    def test_nobody_there_is_retried(self, protocol: OtlpProtocol) -> None:
        with refusing_port() as address:
            began = time.monotonic()
            outcome = export_to(ENDPOINTS[protocol](address), protocol)
            elapsed_s = time.monotonic() - began
        assert outcome.verdict == "retry"
        assert address in outcome.reason
        assert outcome.retry_after_s is None
        assert elapsed_s < NOISE_S

    @pytest.mark.parametrize(("timeout_s", "configured_s"), [(0.4, 10.0), (10.0, 0.4)])
    def test_silence_is_retried_within_the_timeout(
        self, protocol: OtlpProtocol, timeout_s: float, configured_s: float
    ) -> None:
        with blackhole() as address:
            endpoint = ENDPOINTS[protocol](address)
            settings = OtlpSettings(protocol=protocol, endpoint=endpoint, timeout_s=configured_s)
            with exporting(settings) as exporter:
                began = time.monotonic()
                outcome = exporter.export(BATCH, timeout_s=timeout_s)
                elapsed_s = time.monotonic() - began
        assert outcome.verdict == "retry"
        assert elapsed_s < 0.4 + NOISE_S

    def test_delivers_as_soon_as_the_receiver_has_come(self, protocol: OtlpProtocol) -> None:
        with refusing_port() as address:
            endpoint = ENDPOINTS[protocol](address)
        with exporting(OtlpSettings(protocol=protocol, endpoint=endpoint)) as exporter:
            assert exporter.export(BATCH, timeout_s=TIMEOUT_S).verdict == "retry"
            deadline = time.monotonic() + TIMEOUT_S
            with receiver_of(protocol, port=int(address.rpartition(":")[2])) as receiver:
                # gRPC waits about a second before it connects again.
                while exporter.export(BATCH, timeout_s=TIMEOUT_S) != DELIVERED:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                receiver.wait_for(1)

    def test_nonsense_for_an_endpoint_never_raises(self, protocol: OtlpProtocol) -> None:
        for endpoint in ("http://", "http://[::1", "http://:x/", "ftp://127.0.0.1:1/", "\x00", " "):
            assert export_to(endpoint, protocol, timeout_s=1.0).verdict in {"refused", "retry"}


class TestHttp:
    def test_posts_protobuf_to_the_path_of_the_signal(self) -> None:
        with http_receiver() as receiver:
            export_to(receiver.endpoint, "http/protobuf")
            (arrived,) = receiver.wait_for(1)
        assert arrived.path == "/v1development/profiles"
        assert arrived.headers["content-type"] == "application/x-protobuf"

    def test_the_authorization_that_is_sent_is_the_configured_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not what ~/.netrc has for this host, which `requests` would put in its place."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login bob password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        token = (("authorization", "Bearer 6d73"),)
        with http_receiver() as receiver:
            settings = OtlpSettings("http/protobuf", receiver.endpoint, headers=token)
            with exporting(settings) as exporter:
                exporter.export(BATCH, timeout_s=TIMEOUT_S)
            (arrived,) = receiver.wait_for(1)
        assert arrived.headers["authorization"] == "Bearer 6d73"

    @pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
    def test_busy_is_retried(self, status: int) -> None:
        outcome = answer_to(Reply(status))
        assert (outcome.verdict, outcome.retry_after_s) == ("retry", None)
        assert str(status) in outcome.reason

    @pytest.mark.parametrize("status", [429, 503])
    def test_busy_is_retried_when_the_receiver_asks(self, status: int) -> None:
        outcome = answer_to(Reply(status, headers=(("Retry-After", "17"),)))
        assert (outcome.verdict, outcome.retry_after_s) == ("retry", 17.0)

    def test_busy_is_retried_at_the_date_that_the_receiver_names(self) -> None:
        date = formatdate(time.time() + 1_000, usegmt=True)
        outcome = answer_to(Reply(503, headers=(("Retry-After", date),)))
        assert outcome.verdict == "retry"
        assert outcome.retry_after_s == pytest.approx(1_000, abs=60)

    @pytest.mark.parametrize("text", ["soon", "-5", "1e9", ""])
    def test_a_retry_after_that_is_no_number_does_not_matter(self, text: str) -> None:
        outcome = answer_to(Reply(503, headers=(("Retry-After", text),)))
        assert (outcome.verdict, outcome.retry_after_s) == ("retry", None)

    def test_an_error_of_the_server_is_retried_for_ten_minutes(self) -> None:
        outcome = answer_to(Reply(500, body=b"not ready"))
        assert (outcome.verdict, outcome.patience_s) == ("retry", 600.0)
        assert "not ready" in outcome.reason

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 415, 501])
    def test_no_is_refused_in_the_receivers_words(self, status: int) -> None:
        outcome = answer_to(Reply(status, body=b"not here, not so"))
        assert outcome.verdict == "refused"
        assert str(status) in outcome.reason
        assert "not here, not so" in outcome.reason

    def test_404_hints_at_the_feature_gate(self) -> None:
        assert "--feature-gates=service.profilesSupport" in answer_to(Reply(404)).reason

    def test_404_at_the_path_that_opentelemetry_io_names_hints_at_the_right_one(self) -> None:
        with http_receiver(Reply(404)) as receiver:
            reason = export_to(f"{receiver.url}/v1/profiles", "http/protobuf").reason
        assert "/v1development/profiles" in reason

    def test_404_of_an_endpoint_without_a_path_hints_at_that(self) -> None:
        with http_receiver(Reply(404)) as receiver:
            reason = export_to(receiver.url, "http/protobuf").reason
        assert "the endpoint has no path" in reason
        assert "feature-gates" not in reason

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_not_followed(self, status: int) -> None:
        with http_receiver() as elsewhere:
            outcome = answer_to(Reply(status, headers=(("Location", elsewhere.endpoint),)))
            assert elsewhere.requests == []
        assert outcome.verdict == "refused"
        assert str(status) in outcome.reason

    @pytest.mark.parametrize(
        "body",
        [b"", b"ok", b"{}", b"<html>thanks</html>", b"\xff" * 50, b"\x00" * 1_000_000],
        ids=["empty", "text", "json", "html", "bytes", "much"],
    )
    def test_a_strange_answer_with_a_good_status_is_delivered(self, body: bytes) -> None:
        assert answer_to(Reply(body=body)) == DELIVERED

    def test_an_answer_that_breaks_off_does_not_raise(self) -> None:
        outcome = answer_to(Reply(body=b"\x0a", promised_bytes=100))
        assert outcome.verdict in {"delivered", "retry"}

    def test_an_answer_that_is_not_compressed_as_it_says_does_not_raise(self) -> None:
        outcome = answer_to(Reply(body=b"not gzip", headers=(("Content-Encoding", "gzip"),)))
        assert outcome.verdict in {"delivered", "retry"}

    def test_a_busy_answer_that_is_not_compressed_as_it_says_is_retried(self) -> None:
        encoding = ("Content-Encoding", "gzip")
        outcome = answer_to(Reply(503, body=b"not gzip", headers=(encoding, ("Retry-After", "3"))))
        assert outcome.verdict == "retry"

    def test_an_answer_whose_body_never_comes_is_over_in_time(self) -> None:
        began = time.monotonic()
        with raw_receiver(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n") as address:
            endpoint = ENDPOINTS["http/protobuf"](address)
            outcome = export_to(endpoint, "http/protobuf", timeout_s=0.4)
            elapsed_s = time.monotonic() - began
        assert outcome.verdict in {"delivered", "retry"}
        assert elapsed_s < 0.4 + NOISE_S

    def test_an_answer_that_drips_is_over_in_time(self) -> None:
        began = time.monotonic()
        with http_receiver(Reply(body=b"\x00" * 100, drip_s=0.2)) as receiver:
            outcome = export_to(receiver.endpoint, "http/protobuf", timeout_s=0.5)
            elapsed_s = time.monotonic() - began
        assert outcome == DELIVERED  # as its status says
        assert elapsed_s < 0.5 + NOISE_S

    @pytest.mark.parametrize(
        "answer", [b"\x00\xff\r\n\r\n", b"HTTP/1.1 abc OK\r\n\r\n", b"SSH-2.0-x"]
    )
    def test_something_that_speaks_no_http_is_retried(self, answer: bytes) -> None:
        with raw_receiver(answer, hangs_up=True) as address:
            endpoint = ENDPOINTS["http/protobuf"](address)
            assert export_to(endpoint, "http/protobuf", timeout_s=5.0).verdict == "retry"

    def test_a_forked_child_has_a_connection_of_its_own(self) -> None:
        with http_receiver() as receiver:
            settings = OtlpSettings(protocol="http/protobuf", endpoint=receiver.endpoint)
            with exporting(settings) as exporter:
                exporter.export(BATCH, timeout_s=TIMEOUT_S)
                exporter.after_fork()
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED
            first, second = receiver.wait_for(2)
        assert first.connection != second.connection


class TestGrpc:
    @pytest.mark.parametrize(
        "code",
        ["CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"],
    )
    def test_busy_is_retried(self, code: str) -> None:
        outcome = grpc_answer_to(GrpcReply(code, "later"))
        assert outcome.verdict == "retry"
        assert code in outcome.reason

    @pytest.mark.parametrize(
        "code", ["INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN"]
    )
    def test_no_is_refused_in_the_receivers_words(self, code: str) -> None:
        outcome = grpc_answer_to(GrpcReply(code, "not so"))
        assert outcome.verdict == "refused"
        assert code in outcome.reason
        assert "not so" in outcome.reason

    def test_a_receiver_without_the_service_hints_at_the_feature_gate(self) -> None:
        with grpc_receiver(has_service=False) as receiver:
            outcome = export_to(receiver.endpoint, "grpc")
        assert outcome.verdict == "refused"
        assert "UNIMPLEMENTED" in outcome.reason
        assert "--feature-gates=service.profilesSupport" in outcome.reason

    def test_exhausted_is_refused_unless_the_receiver_says_when_it_will_not_be(self) -> None:
        """OTLP, "Failures": it is retryable only with RetryInfo. Without, it is a batch that is too large."""
        assert grpc_answer_to(GrpcReply("RESOURCE_EXHAUSTED", "too large")).verdict == "refused"
        assert grpc_answer_to(GrpcReply("RESOURCE_EXHAUSTED", retry_s=7)).verdict == "retry"

    def test_waits_as_long_as_the_receiver_asks(self) -> None:
        outcome = grpc_answer_to(GrpcReply("UNAVAILABLE", retry_s=7))
        assert (outcome.verdict, outcome.retry_after_s) == ("retry", 7.0)

    @pytest.mark.parametrize("scheme", ["", "http://"])
    def test_without_tls(self, scheme: str) -> None:
        with grpc_receiver() as receiver:
            settings = OtlpSettings(endpoint=scheme + receiver.address, insecure=True)
            with exporting(settings) as exporter:
                assert exporter.export(BATCH, timeout_s=TIMEOUT_S) == DELIVERED

    @pytest.mark.parametrize("scheme", ["", "https://"])
    def test_with_tls_a_receiver_without_it_gets_nothing(self, scheme: str) -> None:
        with grpc_receiver() as receiver:
            settings = OtlpSettings(endpoint=scheme + receiver.address)
            with exporting(settings) as exporter:
                assert exporter.export(BATCH, timeout_s=5.0).verdict == "retry"
            assert receiver.requests == []

    def test_something_that_speaks_no_grpc_is_retried(self) -> None:
        with raw_receiver(b"HTTP/1.1 400 Bad Request\r\n\r\n", hangs_up=True) as address:
            assert export_to(f"http://{address}", "grpc", timeout_s=5.0).verdict == "retry"

    def test_an_answer_that_cannot_be_read_does_not_raise(self) -> None:
        with grpc_receiver(GrpcReply(raw=b"\xff\xff\xff")) as receiver:
            outcome = export_to(receiver.endpoint, "grpc")
        assert outcome.verdict in {"delivered", "refused"}

    def test_without_grpcio_the_remedy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "grpc", None)
        monkeypatch.delitem(sys.modules, "otelprof.exporters.otlp_grpc", raising=False)
        with pytest.raises(
            ExporterError, match=r"grpcio.*OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        ):
            from_config(Config(otlp=OtlpSettings(protocol="grpc")))
        assert from_config(Config(otlp=OtlpSettings(protocol="http/protobuf"))) is not None
