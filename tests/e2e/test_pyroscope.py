"""A Grafana Pyroscope takes what we push, and finds the time of a span."""

import time
from dataclasses import replace

import pytest

from otelprof.config import Config, SpanId
from otelprof.exporter_settings import PyroscopeSettings
from otelprof.exporters.pyroscope import from_config
from otelprof.interfaces import DELIVERED
from otelprof.model import Batch
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.support.profiles import ROOT_SPAN_ID, SPAN, TRACE_ID, cpu_and_wall
from tests.support.random_profiles import random_profile


def push(pyroscope: Pyroscope, service: str, *batches: Batch, span_id: SpanId = "own") -> None:
    exporter = from_config(Config(pyroscope=PyroscopeSettings(pyroscope.url), span_id=span_id))
    for batch in batches:
        profiles = tuple(
            replace(
                profile,
                start_unix_ns=time.time_ns() - profile.duration_ns,
                resource=(("service.name", service),),
            )
            for profile in batch.profiles
        )
        assert exporter.export(Batch(profiles), timeout_s=60.0) == DELIVERED
    exporter.close()


@pytest.mark.parametrize(
    ("span_id", "found", "nothing"),
    [("own", SPAN.span_id, ROOT_SPAN_ID), ("root", ROOT_SPAN_ID, SPAN.span_id)],
)
def test_the_time_of_a_span_is_found(
    pyroscope: Pyroscope, span_id: SpanId, found: bytes, nothing: bytes
) -> None:
    service = f"shop-{span_id}"
    push(pyroscope, service, Batch(tuple(cpu_and_wall())), span_id=span_id)
    pyroscope.wait_for_total(service, CPU, 70_000_000)
    pyroscope.wait_for_total(service, WALL, 130_000_000)

    def total(span_id: bytes) -> int:
        return pyroscope.flamegraph(service, CPU, spans=[span_id.hex()]).total

    assert total(found) == 40_000_000
    assert total(nothing) == 0
    assert pyroscope.flamegraph(service, CPU, traces=[TRACE_ID.hex()]).total == 40_000_000


def test_a_large_profile_is_there_to_the_nanosecond(pyroscope: Pyroscope) -> None:
    profile = random_profile(30_000, depth=20)
    push(pyroscope, "large", Batch((profile,)))
    pyroscope.wait_for_total("large", CPU, sum(profile.column("cpu")))
