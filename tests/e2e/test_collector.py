"""The demo's profiles through a real OpenTelemetry Collector: what it writes is what was collected."""

from pathlib import Path

import pytest

from otelprof.config import Config
from otelprof.exporter_settings import OtlpProtocol, OtlpSettings
from otelprof.exporters.otlp import from_config
from otelprof.formats import otlp
from otelprof.interfaces import DELIVERED
from otelprof.model import Batch, Profile
from tests.e2e.backends.collector import Collector
from tests.e2e.received import Received
from tests.support.demo import Demo, run_demo
from tests.support.random_profiles import random_profile

pytestmark = pytest.mark.backend


def places_in(profile: Profile) -> set[tuple[str, int, int]]:
    tables = profile.tables
    return {
        (tables.function_name(row), frame.line, frame.column)
        for row, frame in enumerate(tables.frames)
    }


def run_with_collector(tmp_path: Path, collector: Collector, protocol: str) -> Demo:
    return run_demo(
        tmp_path / "out",
        "--seconds",
        "6",
        OTELPROF_EXPORTER="file,otlp",
        OTELPROF_FLUSH="2s",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint(protocol),
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_collector_writes_what_was_collected(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    demo = run_with_collector(tmp_path, collector, protocol)
    collector.stop()
    received = Received(collector.written)
    profiles = {profile.kind: profile for profile in demo.shown.profiles}

    assert received.attributes["service.name"] == "shop"
    assert received.period_ns == {10_000_000}
    assert set(received.sums) == {("samples", "cpu"), ("wall", "wall")}
    # The files hold the same profiles, every sum to the nanosecond and every count.
    assert received.sums["wall", "wall"] == sum(profiles["wall"].column("wall"))
    assert received.sums["samples", "cpu"] == sum(profiles["cpu"].column("samples"))
    cpu_ns = sum(profiles["cpu"].column("cpu"))
    assert abs(received.sums["samples", "cpu"] * 10_000_000 - cpu_ns) < 10_000_000

    known = {place for profile in profiles.values() for place in places_in(profile)}
    assert received.places <= known
    assert any(column for _, _, column in received.places)

    ran = {(span.trace_id.hex(), span.span_id.hex()): span.name for span in demo.shown.spans}
    assert received.links
    assert set(received.links) <= set(ran), "a link to a span that never ran"
    in_reports = sum(n for ids, n in received.links.items() if ran[ids] == "GET /report")
    assert in_reports > 0.5 * sum(received.links.values())
    assert "examples.shop.business.rank_customers" in received.functions


def test_a_collector_without_the_feature_gate_gets_one_clear_hint(
    tmp_path: Path, collector_without_profiles: Collector
) -> None:
    demo = run_with_collector(tmp_path, collector_without_profiles, "http/protobuf")
    warnings = [line for line in demo.errors.splitlines() if "otlp" in line]
    assert len(warnings) == 1
    assert "--feature-gates=service.profilesSupport" in warnings[0]
    assert demo.shown.profiles, "the files are written all the same"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_large_profile_gets_through_in_parts(
    collector: Collector, protocol: OtlpProtocol
) -> None:
    """The Collector's gRPC receiver takes 4 MiB and no more."""
    profile = random_profile(17_000, depth=150)
    assert len(otlp.encode([profile])) > 4 * 1024**2
    endpoint = {
        "grpc": collector.grpc_endpoint,
        "http/protobuf": f"{collector.http_endpoint}/v1development/profiles",
    }[protocol]
    exporter = from_config(Config(otlp=OtlpSettings(protocol, endpoint)))
    assert exporter.export(Batch((profile,)), timeout_s=60.0) == DELIVERED
    exporter.close()
    collector.stop()
    received = Received(collector.written)
    assert received.sums["samples", "cpu"] == sum(profile.column("samples"))
