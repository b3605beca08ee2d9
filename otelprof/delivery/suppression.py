"""What exporters call is not the application's: it must not appear in its traces."""

from collections.abc import Iterator
from contextlib import contextmanager

import opentelemetry.context as otel_context


@contextmanager
def instrumentation_suppressed() -> Iterator[None]:
    """What `opentelemetry.instrumentation.utils.suppress_instrumentation` does, whose module takes 10 ms to import.

    Older instrumentations ask for the second key.
    """
    context = otel_context.get_current()
    for key in (otel_context._SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation"):  # noqa: SLF001 - the SDK's exporters use it, too
        context = otel_context.set_value(key, True, context)
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)
