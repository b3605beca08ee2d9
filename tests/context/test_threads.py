"""The label of a thread, in every way in which contexts are attached and entered there."""

import contextvars
import threading
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otelprof.context import UNKNOWN, SpanReader
from tests.context.stopped import (
    TIMEOUT_S,
    TRACER,
    Stop,
    label_inside,
    label_of,
    span_id,
    stopped,
    threads_have_contexts,
)


def test_a_thread_without_a_span_has_none(reader: SpanReader) -> None:
    assert label_inside(reader, lambda stop: stop()) is None


def test_a_thread_has_the_span_attached_in_it(reader: SpanReader) -> None:
    span = TRACER.start_span("s")

    def body(stop: Stop) -> None:
        with trace.use_span(span):
            stop()

    assert label_inside(reader, body) == span_id(span)


def test_the_innermost_span_counts(reader: SpanReader) -> None:
    inner = TRACER.start_span("inner")

    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("outer"), trace.use_span(inner):
            stop()

    assert label_inside(reader, body) == span_id(inner)


def test_after_the_inner_span_the_outer_one_is_back(reader: SpanReader) -> None:
    outer = TRACER.start_span("outer")

    def body(stop: Stop) -> None:
        with trace.use_span(outer):
            with TRACER.start_as_current_span("inner"):
                pass
            stop()

    assert label_inside(reader, body) == span_id(outer)


def test_after_the_span_there_is_none(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("s"):
            pass
        stop()

    assert label_inside(reader, body) is None


def test_a_new_thread_does_not_inherit(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        stop()

    with TRACER.start_as_current_span("s"):
        assert label_inside(reader, body) is None


def test_a_span_started_before_the_profiler_is_seen_once_something_is_attached(
    reader: SpanReader,
) -> None:
    reader.uninstall()
    before, after = TRACER.start_span("before"), SpanReader(lambda _: 0)

    def body(stop: Stop) -> None:
        with trace.use_span(before):
            after.install()
            token = otel_context.attach(otel_context.set_value("any", 1))
            otel_context.detach(token)
            stop()

    try:
        assert label_inside(after, body) == span_id(before)
    finally:
        after.uninstall()


def test_threads_one_after_the_other_do_not_pass_for_greenlets(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("s"):
            pass
        stop()

    ended: list[threading.Thread] = []  # with their contexts, while others have their idents
    for _ in range(3):
        with stopped(body) as thread:
            assert label_of(reader, thread) is None
            ended.append(thread)


@threads_have_contexts
def test_a_thread_has_the_span_of_the_context_that_it_was_given(reader: SpanReader) -> None:
    span, stop = TRACER.start_span("s"), Stop()
    with trace.use_span(span):
        settings: dict[str, Any] = {"context": contextvars.copy_context()}
    thread = threading.Thread(target=stop, **settings)
    thread.start()
    try:
        assert stop.reached.wait(TIMEOUT_S)
        assert label_of(reader, thread) == span_id(span)
    finally:
        stop.go.set()
        thread.join(TIMEOUT_S)


@threads_have_contexts
def test_a_thread_that_left_its_context_is_unknown(
    reader: SpanReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[Stop] = []

    def body(stop: Stop) -> None:
        stops.append(stop)
        otel_context.attach(trace.set_span_in_context(TRACER.start_span("leaked")))
        raise ValueError

    def stop_again(_: object) -> None:
        stops[0]()

    monkeypatch.setattr(threading, "excepthook", stop_again)
    assert label_inside(reader, body) is UNKNOWN


@threads_have_contexts
@pytest.mark.parametrize("other", [None, "something else", contextvars.Context()])
def test_a_thread_whose_context_was_overwritten_is_unknown(
    reader: SpanReader, other: object
) -> None:
    def body(stop: Stop) -> None:
        vars(threading.current_thread())["_context"] = other
        stop()

    assert label_inside(reader, body) is UNKNOWN


def test_a_remote_parent_is_not_a_span_of_this_process(reader: SpanReader) -> None:
    remote = NonRecordingSpan(SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1)))

    def body(stop: Stop) -> None:
        with trace.use_span(remote):
            stop()

    assert label_inside(reader, body) is None


def test_an_unsampled_span_counts(reader: SpanReader) -> None:
    unsampled = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0)))

    def body(stop: Stop) -> None:
        with trace.use_span(unsampled):
            stop()

    assert label_inside(reader, body) == 2


def test_a_missed_detach_inside_of_a_copied_context_leaves_no_label_behind(
    reader: SpanReader,
) -> None:
    def leak() -> None:
        otel_context.attach(trace.set_span_in_context(TRACER.start_span("leaked")))

    def body(stop: Stop) -> None:
        contextvars.copy_context().run(leak)
        stop()

    assert label_inside(reader, body) is None


def test_a_span_inside_of_context_run_is_seen(reader: SpanReader) -> None:
    span = TRACER.start_span("inside")

    def body(stop: Stop) -> None:
        def inside() -> None:
            with trace.use_span(span):
                stop()

        with TRACER.start_as_current_span("outside"):
            contextvars.copy_context().run(inside)

    assert label_inside(reader, body) == span_id(span)


def test_nested_contexts_give_way_in_order(reader: SpanReader) -> None:
    middle = TRACER.start_span("middle")

    def innermost() -> None:
        with TRACER.start_as_current_span("innermost"):
            pass

    def body(stop: Stop) -> None:
        def inside() -> None:
            with trace.use_span(middle):
                contextvars.copy_context().run(innermost)
                stop()

        contextvars.copy_context().run(inside)

    assert label_inside(reader, body) == span_id(middle)
