"""Sets up OpenTelemetry's SDK in its code, after a tracer was asked for, and prints what its own exporters get."""

import asyncio

from opentelemetry import metrics, trace
from opentelemetry._logs import LogRecord, get_logger, set_logger_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from tests.targets.burning import burn, tell

early = trace.get_tracer("early")
hits = metrics.get_meter("early").create_counter("hits")


@early.start_as_current_span("by a decorator")
def decorated() -> None:
    burn()


@early.start_as_current_span("by a decorator of a coroutine")
async def decorated_coroutine() -> None:
    await asyncio.sleep(0)
    burn()


def main() -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "its own"}))
    console = ConsoleSpanExporter(formatter=lambda span: f"exported {span.name}\n")
    provider.add_span_processor(SimpleSpanProcessor(console))
    trace.set_tracer_provider(provider)
    with early.start_as_current_span("by the early tracer"):
        burn()
    with provider.get_tracer("late").start_as_current_span("by the provider"):
        burn()
    decorated()
    asyncio.run(decorated_coroutine())
    is_its_own = trace.get_tracer_provider() is provider
    trace.set_tracer_provider(TracerProvider())  # refused, as ever
    tell(
        is_its_own=is_its_own and trace.get_tracer_provider() is provider,
        metrics=metrics_seen(),
        logs=logs_seen(),
    )


def metrics_seen() -> list[str]:
    """What a reader of the application's own sees of a counter that was made before."""
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    hits.add(1)
    data = reader.get_metrics_data()
    of_resources = data.resource_metrics if data else ()
    scopes = [scope for part in of_resources for scope in part.scope_metrics]
    return [metric.name for scope in scopes for metric in scope.metrics if metric.name == "hits"]


def logs_seen() -> list[str]:
    """What an exporter of the application's own gets of a record."""
    provider = LoggerProvider()
    exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    set_logger_provider(provider)
    get_logger("late").emit(LogRecord(body="a record"))
    return [str(each.log_record.body) for each in exporter.get_finished_logs()]


if __name__ == "__main__":
    main()
