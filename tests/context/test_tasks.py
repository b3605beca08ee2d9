"""The label of an asyncio task, and what it is not mistaken for."""

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop
from opentelemetry import trace

from otelprof.context import UNKNOWN, SpanReader
from tests.context.stopped import (
    TRACER,
    Stop,
    in_loop,
    label_inside,
    label_of,
    span_id,
    stopped,
)


def test_a_task_has_its_own_span(reader: SpanReader) -> None:
    mine = TRACER.start_span("mine")

    async def other(other_is_in: asyncio.Event, done: asyncio.Event) -> None:
        with TRACER.start_as_current_span("other"):
            other_is_in.set()
            await done.wait()

    async def main(stop: Stop) -> None:
        other_is_in, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(other(other_is_in, done))
        await other_is_in.wait()
        with trace.use_span(mine):
            await asyncio.sleep(0)
            stop()
        done.set()
        await task

    assert label_inside(reader, in_loop(main)) == span_id(mine)


def test_a_task_without_a_span_has_none_while_others_have(reader: SpanReader) -> None:
    async def other(is_in: asyncio.Event, done: asyncio.Event) -> None:
        with TRACER.start_as_current_span("other"):
            is_in.set()
            await done.wait()

    async def main(stop: Stop) -> None:
        is_in, done = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(other(is_in, done))
        await is_in.wait()
        stop()
        done.set()
        await task

    assert label_inside(reader, in_loop(main)) is None


def test_a_child_task_inherits_without_attaching(reader: SpanReader) -> None:
    parent = TRACER.start_span("parent")

    async def child(stop: Stop) -> None:
        await asyncio.sleep(0)
        stop()

    async def main(stop: Stop) -> None:
        with trace.use_span(parent):
            task = asyncio.create_task(child(stop))
        with TRACER.start_as_current_span("afterwards"):
            await task

    assert label_inside(reader, in_loop(main)) == span_id(parent)


def test_a_tasks_own_context_is_told_from_those_of_its_callbacks(reader: SpanReader) -> None:
    """On 3.11 a task's context is the first of several that it refers to."""
    mine = TRACER.start_span("mine")

    async def main(stop: Stop) -> None:
        task = asyncio.current_task()
        assert task is not None
        for name in ("a", "b"):
            with TRACER.start_as_current_span(name):
                task.add_done_callback(lambda _: None, context=contextvars.copy_context())
        with trace.use_span(mine):
            stop()

    assert label_inside(reader, in_loop(main)) == span_id(mine)


def test_a_coroutine_in_a_coroutine_belongs_to_the_task(reader: SpanReader) -> None:
    span = TRACER.start_span("s")

    async def inner(stop: Stop) -> None:
        await asyncio.sleep(0)
        stop()

    async def main(stop: Stop) -> None:
        with trace.use_span(span):
            await inner(stop)

    assert label_inside(reader, in_loop(main)) == span_id(span)


def test_a_context_that_another_thread_is_in_by_now_labels_that_thread_only(
    reader: SpanReader,
) -> None:
    shared = contextvars.copy_context()
    theirs = TRACER.start_span("theirs")

    def visit() -> None:
        with TRACER.start_as_current_span("mine"):
            pass

    def mine(stop: Stop) -> None:
        shared.run(visit)
        stop()

    def other(stop: Stop) -> None:
        def inside() -> None:
            with trace.use_span(theirs):
                stop()

        shared.run(inside)

    with stopped(mine) as left, stopped(other) as inside:
        assert label_of(reader, inside) == span_id(theirs)
        assert label_of(reader, left) is UNKNOWN


def test_a_callback_does_not_get_the_span_around_its_loop(reader: SpanReader) -> None:
    async def main(stop: Stop) -> None:
        with TRACER.start_as_current_span("inner"):
            asyncio.get_running_loop().call_soon(stop)
        await asyncio.sleep(0)

    def body(stop: Stop) -> None:
        def inside() -> None:
            with TRACER.start_as_current_span("outer"):
                asyncio.run(main(stop))

        contextvars.copy_context().run(inside)

    assert label_inside(reader, body) is UNKNOWN


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_that_finished_inside_does_not_hide_the_context(reader: SpanReader) -> None:
    middle = TRACER.start_span("middle")

    async def child() -> None:
        with TRACER.start_as_current_span("child"):
            pass

    async def main(stop: Stop) -> None:
        factory: Any = getattr(asyncio, "eager_task_factory", None)
        asyncio.get_running_loop().set_task_factory(factory)

        def inside() -> None:
            with trace.use_span(middle):
                task = asyncio.get_running_loop().create_task(child())
                stop()
                assert task.done()

        with TRACER.start_as_current_span("outer"):
            contextvars.copy_context().run(inside)

    assert label_inside(reader, in_loop(main)) == span_id(middle)


class Tagged(asyncio.Task[Any]):
    """A task that refers to another Context than its own."""

    __slots__ = ("other",)
    other: contextvars.Context


def test_a_task_of_a_class_with_a_context_of_its_own_is_no_guess(reader: SpanReader) -> None:
    span = TRACER.start_span("own")

    async def job(stop: Stop) -> None:
        with trace.use_span(span):
            stop()

    async def main(stop: Stop) -> None:
        with TRACER.start_as_current_span("other"):
            other = contextvars.copy_context()
        task = Tagged(job(stop))
        task.other = other
        await task

    label = label_inside(reader, in_loop(main))
    assert label == span_id(span) if sys.version_info >= (3, 12) else label is UNKNOWN


def test_contexts_entered_one_after_the_other_are_not_kept(reader: SpanReader) -> None:
    def visit() -> None:
        with TRACER.start_as_current_span("item"):
            pass

    def body(stop: Stop) -> None:
        def outer() -> None:
            with TRACER.start_as_current_span("outer"):
                for _ in range(1_000):
                    contextvars.copy_context().run(visit)
                stop()

        contextvars.copy_context().run(outer)

    with stopped(body) as thread:
        assert thread.ident is not None
        assert len(reader._threads[thread.ident].entered) < 4


def test_a_generator_that_holds_a_span_open_in_a_task(reader: SpanReader) -> None:
    span = TRACER.start_span("s")

    async def numbers() -> AsyncIterator[int]:
        with trace.use_span(span):
            yield 1
            yield 2

    async def main(stop: Stop) -> None:
        async for number in numbers():
            if number == 2:
                stop()

    assert label_inside(reader, in_loop(main)) == span_id(span)


@pytest.mark.parametrize("place", ["task", "callback"])
def test_uvloop_shows_tasks_and_hides_callbacks(reader: SpanReader, place: str) -> None:
    span = TRACER.start_span("s")

    async def main(stop: Stop) -> None:
        with trace.use_span(span):
            if place == "task":
                stop()
                return
            asyncio.get_running_loop().call_soon(stop)
        await asyncio.sleep(0)

    def body(stop: Stop) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main(stop))

    assert label_inside(reader, body) == (span_id(span) if place == "task" else UNKNOWN)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_an_eager_task_has_its_own_span(reader: SpanReader) -> None:
    span = TRACER.start_span("eager")
    factory: Any = getattr(asyncio, "eager_task_factory", None)

    async def job(stop: Stop) -> None:
        with trace.use_span(span):
            stop()

    async def main(stop: Stop) -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        with TRACER.start_as_current_span("parent"):
            await asyncio.create_task(job(stop))

    assert label_inside(reader, in_loop(main)) == span_id(span)
