"""How otelprof starts by itself, under `opentelemetry-instrument` or in one call."""

if __name__ != "otelprof.instrumentation":
    raise ImportError(
        "'instrumentation' is the folder behind otelprof.instrumentation: import that"
    )

from otelprof.instrumentation.auto import OtelprofInstrumentor

__all__ = ["OtelprofInstrumentor"]
