"""The label of jobs in pools' threads and of greenlets."""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import anyio.to_thread
import greenlet
import pytest
from opentelemetry import trace

from otelprof.context import UNKNOWN, SpanReader
from tests.context.stopped import (
    TIMEOUT_S,
    TRACER,
    Label,
    Stop,
    label_inside,
    label_of,
    span_id,
    threads_have_contexts,
)


async def to_thread(job: Callable[[], None]) -> None:
    await asyncio.to_thread(job)


async def run_in_executor(job: Callable[[], None]) -> None:
    context = contextvars.copy_context()
    await asyncio.get_running_loop().run_in_executor(None, context.run, job)


async def anyio_to_thread(job: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(job)


async def run_in_executor_without_a_context(job: Callable[[], None]) -> None:
    await asyncio.get_running_loop().run_in_executor(None, job)


Submit = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]


def label_in_job(
    reader: SpanReader, submit: Submit, span: trace.Span, *, inside: trace.Span | None
) -> Label:
    """The label of a pool's thread that runs a job which a task in `span` submitted."""
    stop = Stop()
    threads: list[threading.Thread] = []

    def job() -> None:
        threads.append(threading.current_thread())
        if inside is None:
            stop()
            return
        with trace.use_span(inside):
            stop()

    async def main() -> None:
        with trace.use_span(span):
            await submit(job)

    loop_thread = threading.Thread(target=asyncio.run, args=(main(),))
    loop_thread.start()
    try:
        assert stop.reached.wait(TIMEOUT_S)
        return label_of(reader, threads[0])
    finally:
        stop.go.set()
        loop_thread.join(TIMEOUT_S)


@pytest.mark.parametrize("submit", [to_thread, run_in_executor, anyio_to_thread])
def test_a_job_has_the_span_of_its_submitter(reader: SpanReader, submit: Submit) -> None:
    span = TRACER.start_span("request")
    assert label_in_job(reader, submit, span, inside=None) == span_id(span)


@pytest.mark.parametrize("submit", [to_thread, run_in_executor, anyio_to_thread])
def test_a_span_inside_of_a_job_is_innermost(reader: SpanReader, submit: Submit) -> None:
    inside = TRACER.start_span("inside")
    assert label_in_job(reader, submit, TRACER.start_span("request"), inside=inside) == span_id(
        inside
    )


def test_a_job_without_a_context_has_no_span(reader: SpanReader) -> None:
    span = TRACER.start_span("request")
    assert label_in_job(reader, run_in_executor_without_a_context, span, inside=None) is None


def test_a_greenlet_does_not_pass_for_another(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        main = greenlet.getcurrent()

        def first() -> None:
            with TRACER.start_as_current_span("first"):
                main.switch()

        greenlet.greenlet(first).switch()
        greenlet.greenlet(stop).switch()

    assert label_inside(reader, body) is UNKNOWN


def test_two_greenlets_with_spans_are_unknown(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        main = greenlet.getcurrent()

        def second() -> None:
            with TRACER.start_as_current_span("second"):
                main.switch()

        with TRACER.start_as_current_span("first"):
            greenlet.greenlet(second).switch()
            stop()

    assert label_inside(reader, body) is UNKNOWN


def test_a_context_that_a_greenlet_left_entered_is_not_anothers(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        main = greenlet.getcurrent()

        def hold() -> None:
            with TRACER.start_as_current_span("inside"):
                main.switch()

        def first() -> None:
            with TRACER.start_as_current_span("first"):
                contextvars.copy_context().run(hold)

        holder = greenlet.greenlet(first)
        holder.switch()
        stop()
        holder.switch()

    assert label_inside(reader, body) is UNKNOWN


@threads_have_contexts
def test_a_greenlet_in_which_nothing_was_attached_is_unknown(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("around"):
            greenlet.greenlet(stop).switch()

    assert label_inside(reader, body) is UNKNOWN
