"""The demo's profiles through a real OpenTelemetry Collector: what it writes is what was collected."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from otelprof.config import Config
from otelprof.exporter_settings import OtlpProtocol, OtlpSettings
from otelprof.exporters.otlp import from_config
from otelprof.formats import otlp
from otelprof.interfaces import DELIVERED
from otelprof.model import Batch, Profile
from tests.e2e.conftest import Collector
from tests.support.demo import Demo, run_demo
from tests.support.random_profiles import random_profile

pytestmark = pytest.mark.backend


class Received:
    """The profiles that the file exporter wrote, by OTLP's rules for JSON and references."""

    def __init__(self, path: Path) -> None:
        self.links: Counter[tuple[str, str]] = Counter()  # value by (trace id, span id), of CPU
        self.sums: Counter[tuple[str, str]] = Counter()  # value by (sample type, period type)
        self.period_ns: set[int] = set()
        self.services: set[str] = set()
        self.functions: set[str] = set()
        self.places: set[tuple[str, int, int]] = set()  # function, line, column
        for line in path.read_text().splitlines():
            self._read(json.loads(line))

    def _read(self, request: dict[str, Any]) -> None:
        dictionary: dict[str, Any] = request["dictionary"]
        strings: list[str] = dictionary["stringTable"]
        for resource_profiles in request["resourceProfiles"]:
            for attribute in resource_profiles["resource"]["attributes"]:
                # The file exporter turns inline attributes into references to the string table.
                key = attribute.get("key") or strings[int(attribute["keyStrindex"])]
                if key == "service.name":
                    value = attribute["value"]
                    self.services.add(
                        value.get("stringValue") or strings[int(value["stringValueStrindex"])]
                    )
            for scope_profiles in resource_profiles["scopeProfiles"]:
                assert scope_profiles["scope"]["name"] == "otelprof"
                for profile in scope_profiles["profiles"]:
                    self._read_profile(profile, dictionary, strings)

    def _read_profile(
        self, profile: dict[str, Any], dictionary: dict[str, Any], strings: list[str]
    ) -> None:
        sample_type: str = strings[int(profile["sampleType"]["typeStrindex"])]
        period_type: str = strings[int(profile["periodType"]["typeStrindex"])]
        self.period_ns.add(int(profile["period"]))
        for sample in profile["samples"]:
            (value,) = map(int, sample["values"])
            self.sums[sample_type, period_type] += value
            for location in dictionary["stackTable"][sample["stackIndex"]]["locationIndices"]:
                for line in dictionary["locationTable"][location]["lines"]:
                    function = dictionary["functionTable"][line["functionIndex"]]
                    name = strings[int(function["nameStrindex"])]
                    self.functions.add(name)
                    self.places.add((name, int(line.get("line", 0)), int(line.get("column", 0))))
            if sample.get("linkIndex") and period_type == "cpu":
                link = dictionary["linkTable"][sample["linkIndex"]]
                self.links[link["traceId"], link["spanId"]] += value


def places_in(profile: Profile) -> set[tuple[str, int, int]]:
    tables = profile.tables
    return {
        (tables.function_name(row), frame.line, frame.column)
        for row, frame in enumerate(tables.frames)
    }


def run_with_collector(tmp_path: Path, collector: Collector, protocol: str) -> Demo:
    endpoint = collector.http_endpoint if protocol == "http/protobuf" else collector.grpc_endpoint
    return run_demo(
        tmp_path / "out",
        "--seconds",
        "6",
        OTELPROF_EXPORTER="file,otlp",
        OTELPROF_FLUSH="2s",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
    )


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_collector_writes_what_was_collected(
    tmp_path: Path, collector: Collector, protocol: str
) -> None:
    demo = run_with_collector(tmp_path, collector, protocol)
    collector.stop()
    received = Received(collector.written)
    profiles = {profile.kind: profile for profile in demo.shown.profiles}

    assert received.services == {"shop"}
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
