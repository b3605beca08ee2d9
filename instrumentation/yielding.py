"""Under `otelprof run`: providers that give way to the application's own.

Auto-instrumentation sets a provider of tracers, of meters and of loggers before the application runs, and OpenTelemetry
refuses second ones. An application that sets up the SDK in its code would lose its exporters, just because it is profiled.
So here each may be replaced, once. Tracers that the first has given out go over to the new one, and so do the records of
spans. Meters and loggers nobody of ours needs: where the first provider has nowhere to send to, it is taken back, and
OpenTelemetry's own proxies wait for the application's.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.util._decorator import _agnosticcontextmanager
from opentelemetry.util._once import Once

from otelprof.spans import SpanRecorder

_ONCE = "_{}_PROVIDER_SET_ONCE"  # of OpenTelemetry's modules: what refuses a second provider


def give_way() -> None:
    """To be called after the providers are set, before anything asks them for a tracer."""
    _replace_tracers()
    _take_back("METER", "opentelemetry.metrics._internal", "OTEL_METRICS_EXPORTER")
    _take_back("LOGGER", "opentelemetry._logs._internal", "OTEL_LOGS_EXPORTER")


def _replace_tracers() -> None:
    provider = trace.get_tracer_provider()
    once = _ONCE.format("TRACER")
    if type(provider) is TracerProvider and hasattr(trace, once):
        provider.__class__ = YieldingTracerProvider
        setattr(trace, once, _SecondChance(provider))


def _take_back(kind: str, module_name: str, exporter_variable: str) -> None:
    """Let a provider of this kind be set once more. One that sends goes on for whoever has got it by then."""
    module = sys.modules.get(module_name)
    once = _ONCE.format(kind)
    if hasattr(module, once):
        setattr(module, once, Once())
        if os.environ.get(exporter_variable) == "none":
            setattr(module, f"_{kind}_PROVIDER", None)
            proxy: Any = getattr(module, f"_PROXY_{kind}_PROVIDER", None)
            if hasattr(proxy, "_real_meter_provider"):  # the one for loggers keeps nothing
                proxy._real_meter_provider = None  # noqa: SLF001 - it gives its meters over when one is set


class YieldingTracerProvider(TracerProvider):
    """The SDK's, but that its tracers are those of the global provider, once that is another one."""

    def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:  # noqa: ANN401 - as the base class has them
        """A tracer of this provider as long as it is the global one."""
        return _YieldingTracer(self, super().get_tracer(*args, **kwargs), args, kwargs)


class _YieldingTracer(trace.Tracer):
    def __init__(
        self,
        provider: TracerProvider,
        own: trace.Tracer,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._given_by: trace.TracerProvider = provider
        self._tracer = own
        self._asked_for = (args, kwargs)

    def _current(self) -> trace.Tracer:
        provider = trace.get_tracer_provider()
        if provider is not self._given_by:
            args, kwargs = self._asked_for
            self._tracer = provider.get_tracer(*args, **kwargs)
            self._given_by = provider
        return self._tracer

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the SDK's tracer has beyond the API
        """What the current tracer has."""
        if name.startswith("_"):  # ours, when it is not whole yet
            raise AttributeError(name)
        return getattr(self._current(), name)

    def start_span(self, *args: Any, **kwargs: Any) -> trace.Span:  # noqa: ANN401 - as the base class has them
        return self._current().start_span(*args, **kwargs)

    @_agnosticcontextmanager
    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Iterator[trace.Span]:  # noqa: ANN401 - as above
        # As a decorator it asks for the tracer at each call of the function.
        with self._current().start_as_current_span(*args, **kwargs) as span:
            yield span


class _SecondChance:
    """In the place of OpenTelemetry's `Once`: lets the provider be set once more."""

    def __init__(self, first: TracerProvider) -> None:
        self._first = first
        self._lock = threading.Lock()
        self._is_done = False

    def do_once(self, set_provider: Callable[[], None]) -> bool:
        """Set it, and have it record spans for us. False the second time."""
        with self._lock:
            if self._is_done:
                return False
            set_provider()
            self._is_done = True
        add = getattr(trace.get_tracer_provider(), "add_span_processor", None)
        if add is not None:
            for recorder in _recorders(self._first):
                add(recorder)
        return True


def _recorders(provider: TracerProvider) -> list[SpanProcessor]:
    """Ours, and not the exporters that the environment asked for: the application has its own now."""
    processors = provider._active_span_processor._span_processors  # noqa: SLF001 - there is no other way to see them
    return [processor for processor in processors if isinstance(processor, SpanRecorder)]
