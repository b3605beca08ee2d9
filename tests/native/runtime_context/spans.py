"""Spans, contexts and labels for the tests of the runtime context in C."""

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, set_span_in_context

from tests.native.installed import core

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
UNSAMPLED_TRACER = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("tests")
TRACE_ID = 0xF0 << 120 | 0x0B
SPAN_ID = 0x80 << 56 | 0x0A
LOCAL = SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
REMOTE = SpanContext(TRACE_ID, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
PLAIN = Context({"key": "value"})
UNKNOWN_ROOT = bytes(8)

Runtime = ContextVarsRuntimeContext | core.RuntimeContext


class Roots:
    """Stands in for the span log: answers with `root`, and remembers who was asked about."""

    def __init__(self) -> None:
        self.root: Any = 0
        self.asked: list[Span] = []

    def __call__(self, span: Span) -> int:
        self.asked.append(span)
        if isinstance(self.root, BaseException):
            raise self.root
        return cast("int", self.root)


class ForeignContext:
    """A span context that is not OpenTelemetry's class, and no tuple."""

    trace_id = TRACE_ID
    span_id: Any = SPAN_ID
    is_remote: Any = False
    is_valid: Any = True
    trace_flags: Any = TraceFlags(TraceFlags.SAMPLED)


class ForeignSpan(NonRecordingSpan):
    """A span of another library: what it answers is in its attributes."""

    def __init__(self, answer: object, parent: object = None) -> None:
        super().__init__(LOCAL)
        self.answer = answer
        self.above = parent

    @property
    def parent(self) -> object:
        if isinstance(self.above, BaseException):
            raise self.above
        return self.above

    def get_span_context(self) -> SpanContext:
        if isinstance(self.answer, BaseException):
            raise self.answer
        return cast("SpanContext", self.answer)


def with_span(span: object, context: Context = PLAIN) -> Context:
    return set_span_in_context(cast("Span", span), context)


def label(runtime: core.RuntimeContext) -> core.Label:
    value = runtime._current_context.get()
    assert isinstance(value, core.Label), value
    return value


def value(runtime: core.RuntimeContext) -> object:
    return runtime._current_context.get()


def label_of(runtime: core.RuntimeContext, span: object) -> core.Label:
    runtime.attach(with_span(span))
    return label(runtime)


def span_id(span: Span) -> bytes:
    return span.get_span_context().span_id.to_bytes(8, "big")


def failure(call: Callable[[], object]) -> tuple[type[BaseException], str]:
    """What a call raises, without addresses."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    return caught.type, re.sub("0x[0-9a-f]+", "0x", str(caught.value))


def broken(**attributes: object) -> ForeignContext:
    context = ForeignContext()
    vars(context).update(attributes)
    return context
