"""What exporters do is not the application's: it is in none of its traces, whatever is instrumented."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.instrumentation.urllib3 import URLLib3Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelprof.interfaces import DELIVERED
from otelprof.model import Batch
from otelprof.pipeline import Pipeline
from tests.support.exporters import OVER_HTTP, TIMEOUT_S, exporting
from tests.support.pipelines import IN_MEMORY, FakeCollector
from tests.support.profiles import cpu_and_wall
from tests.support.servers import grpc_receiver, http_receiver

# Which package's instrumentation would see which exporter. That of `requests` keeps urllib3's quiet.
SEEN = [
    ("grpc", GrpcInstrumentorClient),
    *((name, RequestsInstrumentor) for name in OVER_HTTP),
    *((name, URLLib3Instrumentor) for name in OVER_HTTP),
]
pytestmark = pytest.mark.parametrize(("name", "instrumentor"), SEEN)


@pytest.fixture
def spans(
    instrumentor: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[InMemorySpanExporter]:
    """The spans that the instrumentation makes."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    # Where gRPC's looks, whatever it is given.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    instrumented = instrumentor()
    instrumented.instrument(tracer_provider=provider)
    yield made
    instrumented.uninstrument()
    provider.shutdown()


def test_an_export_by_itself_would_be_seen(name: str, spans: InMemorySpanExporter) -> None:
    """Else the next test would prove nothing."""
    receiver = grpc_receiver() if name == "grpc" else http_receiver()
    with receiver as running, exporting(name, f"http://{running.address}") as exporter:
        outcome = exporter.export(Batch(tuple(cpu_and_wall())), timeout_s=TIMEOUT_S)
    assert outcome == DELIVERED
    assert len(spans.get_finished_spans()) == len(running.requests)


def test_an_export_of_the_pipeline_is_not(name: str, spans: InMemorySpanExporter) -> None:
    receiver = grpc_receiver() if name == "grpc" else http_receiver()
    collector = FakeCollector()
    with receiver as running, exporting(name, f"http://{running.address}") as exporter:
        pipeline = Pipeline(
            collectors=[collector],
            exporters={name: lambda: exporter},
            take_spans=tuple,
            resource=tuple,
            flush_s=3_600.0,
            on_tick=lambda: True,
            limits=IN_MEMORY,
        )
        pipeline.start()
        collector.give(2)
        assert pipeline.shutdown(TIMEOUT_S)
        assert running.requests
    assert spans.get_finished_spans() == ()
