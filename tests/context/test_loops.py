"""The label around a task: contexts inside of it, loops inside of contexts, callbacks, coroutines driven by hand."""

import asyncio
import contextvars
import sys
import threading
import time

import pytest
from opentelemetry import trace

from otelprof.context import UNKNOWN, SpanReader
from tests.context.stopped import (
    TIMEOUT_S,
    TRACER,
    Stop,
    in_loop,
    label_inside,
    label_of,
    span_id,
    stopped,
)


def test_a_context_entered_inside_of_a_task(reader: SpanReader) -> None:
    inside = TRACER.start_span("inside")

    async def main(stop: Stop) -> None:
        def run_inside() -> None:
            with trace.use_span(inside):
                stop()

        with TRACER.start_as_current_span("task"):
            contextvars.copy_context().run(run_inside)

    assert label_inside(reader, in_loop(main)) == span_id(inside)


def test_a_context_left_again_inside_of_a_task(reader: SpanReader) -> None:
    own = TRACER.start_span("own")

    async def main(stop: Stop) -> None:
        def run_inside() -> None:
            with TRACER.start_as_current_span("inside"):
                pass

        with trace.use_span(own):
            contextvars.copy_context().run(run_inside)
            stop()

    assert label_inside(reader, in_loop(main)) == span_id(own)


def test_a_loop_inside_of_a_context_in_which_something_was_attached(reader: SpanReader) -> None:
    span = TRACER.start_span("task")

    async def main(stop: Stop) -> None:
        with trace.use_span(span):
            stop()

    def body(stop: Stop) -> None:
        def run_inside() -> None:
            with TRACER.start_as_current_span("outer"):
                asyncio.run(main(stop))

        contextvars.copy_context().run(run_inside)

    assert label_inside(reader, body) == span_id(span)


def test_a_task_sent_from_another_thread_to_a_loop_where_nothing_was_attached(
    reader: SpanReader,
) -> None:
    span = TRACER.start_span("sender")
    loop = asyncio.new_event_loop()
    stop = Stop()

    async def job() -> None:
        stop()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    with trace.use_span(span):
        future = asyncio.run_coroutine_threadsafe(job(), loop)
    try:
        assert stop.reached.wait(TIMEOUT_S)
        assert label_of(reader, thread) == span_id(span)
    finally:
        stop.go.set()
        future.result(TIMEOUT_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(TIMEOUT_S)
        loop.close()


def test_a_loop_that_moved_to_another_thread_labels_the_new_one_only(reader: SpanReader) -> None:
    loop = asyncio.new_event_loop()
    span = TRACER.start_span("second")

    async def touch() -> None:
        with TRACER.start_as_current_span("first"):
            await asyncio.sleep(0)

    async def hold(stop: Stop) -> None:
        with trace.use_span(span):
            stop()

    def first_thread(stop: Stop) -> None:
        loop.run_until_complete(touch())
        stop()

    def second_thread(stop: Stop) -> None:
        loop.run_until_complete(hold(stop))

    with stopped(first_thread) as first, stopped(second_thread) as second:
        assert label_of(reader, second) == span_id(span)
        assert label_of(reader, first) is None or label_of(reader, first) is UNKNOWN
    loop.close()


def test_a_waiting_loop_has_no_span_of_its_tasks(reader: SpanReader) -> None:
    is_in = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []
    stops: list[asyncio.Event] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        stops.append(asyncio.Event())
        with TRACER.start_as_current_span("suspended"):
            is_in.set()
            await stops[0].wait()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    assert is_in.wait(TIMEOUT_S)
    deadline = time.monotonic() + TIMEOUT_S
    while _leaf(thread) != "select":
        assert time.monotonic() < deadline
    assert label_of(reader, thread) is None
    loops[0].call_soon_threadsafe(stops[0].set)
    thread.join(TIMEOUT_S)


def _leaf(thread: threading.Thread) -> str:
    assert thread.ident is not None
    return sys._current_frames()[thread.ident].f_code.co_name


def test_a_callback_in_which_nothing_was_attached_is_unknown(reader: SpanReader) -> None:
    async def main(stop: Stop) -> None:
        with TRACER.start_as_current_span("scheduler"):
            asyncio.get_running_loop().call_soon(stop)
        await asyncio.sleep(0)

    assert label_inside(reader, in_loop(main)) is UNKNOWN


def test_a_callback_that_attaches_is_known(reader: SpanReader) -> None:
    span = TRACER.start_span("callback")

    async def main(stop: Stop) -> None:
        def callback() -> None:
            with trace.use_span(span):
                stop()

        asyncio.get_running_loop().call_soon(callback)
        await asyncio.sleep(0)

    assert label_inside(reader, in_loop(main)) == span_id(span)


def test_a_coroutine_driven_by_hand_is_unknown(reader: SpanReader) -> None:
    async def job(stop: Stop) -> None:
        stop()

    def body(stop: Stop) -> None:
        with pytest.raises(StopIteration):
            job(stop).send(None)

    assert label_inside(reader, body) is UNKNOWN
