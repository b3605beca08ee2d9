"""A service's profiles by OTLP through the Collector: what arrives behind it is what was collected."""

from pathlib import Path

import pytest

from tests.e2e.backends.collector import Collector, collector
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.pyroscope import CPU, WALL, Pyroscope
from tests.e2e.received import Received
from tests.e2e.service import PERIOD_NS, Served, serve

pytestmark = pytest.mark.backend

PROTOCOLS = ["http/protobuf", "grpc"]


def serve_with(
    running: Collector, protocol: str, directory: Path, jaeger: Jaeger, name: str
) -> Served:
    return serve(
        name,
        directory,
        jaeger,
        OTELPROF_EXPORTER="otlp",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_ENDPOINT=running.endpoint(protocol),
        OTEL_RESOURCE_ATTRIBUTES="service.version=1.2.3,deployment.environment.name=tests",
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_file_exporter_writes_what_was_collected(
    protocol: str, tmp_path: Path, jaeger: Jaeger
) -> None:
    with collector(tmp_path) as running:
        served = serve_with(running, protocol, tmp_path, jaeger, f"written-{protocol[:4]}")
        running.stop()
        received = Received(running.written)

    assert received.sums == {
        ("samples", "cpu"): served.total("cpu", "samples"),
        ("wall", "wall"): served.total("wall", "wall"),
    }
    collected = {
        (column, span_id): value
        for kind, column in (("cpu", "samples"), ("wall", "wall"))
        for span_id, value in served.by_span(kind, column).items()
    }
    assert received.spans == collected
    assert {span_id for _, span_id in received.spans} <= {each.span_id for each in served.work}
    assert received.attributes["service.name"] == served.name
    assert received.attributes["service.version"] == "1.2.3"
    assert received.attributes["deployment.environment.name"] == "tests"
    assert len(received.profile_ids) == len(set(received.profile_ids)), "a profile came twice"
    served.check_against_the_clocks()
    served.check_traces(jaeger)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pyroscope_behind_it_has_what_was_collected(
    protocol: str, tmp_path: Path, jaeger: Jaeger, pyroscope: Pyroscope
) -> None:
    with collector(tmp_path, forwards_to=pyroscope.url) as running:
        served = serve_with(running, protocol, tmp_path, jaeger, f"forwarded-{protocol[:4]}")
        pyroscope.wait_for_total(served.name, CPU, served.total("cpu", "samples") * PERIOD_NS)
        pyroscope.wait_for_total(served.name, WALL, served.total("wall", "wall"))
    for span_id, count in served.by_span("cpu", "samples").most_common(5):
        graph = pyroscope.flamegraph(served.name, CPU, spans=[span_id])
        assert graph.total == count * PERIOD_NS
