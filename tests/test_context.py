"""The label: which span another thread is in, in every situation that plain Python can be in.

Each situation runs in a thread that stops inside of it and holds still, while the test reads its label.
"""

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import anyio.to_thread
import greenlet
import pytest
import uvloop
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from otelprof.context import UNKNOWN, SpanReader, Unknown
from otelprof.cpython import place_of

TIMEOUT_S = 20.0
TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
Label = int | Unknown | None


class Stop:
    """A point at which a thread waits while its label is read."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.go.wait(TIMEOUT_S)


@pytest.fixture
def reader() -> Iterator[SpanReader]:
    reader = SpanReader(lambda _: 0)
    reader.install()
    yield reader
    reader.uninstall()


threads_have_contexts = pytest.mark.skipif(
    sys.version_info < (3, 14), reason="each thread runs in a Context from 3.14 on"
)


def label_of(reader: SpanReader, thread: threading.Thread) -> Label:
    """The span id that a sample of `thread` would carry now."""
    ident = thread.ident
    assert ident is not None
    top = sys._current_frames()[ident]
    codes: list[CodeType] = []
    frame: FrameType | None = top
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    ids = reader.span_ids(ident, top, place_of(codes))
    return ids[1] if isinstance(ids, tuple) else ids


@contextmanager
def stopped(body: Callable[[Stop], object]) -> Iterator[threading.Thread]:
    """A thread that runs `body` up to its stop."""
    stop = Stop()
    thread = threading.Thread(target=body, args=(stop,))
    thread.start()
    try:
        assert stop.reached.wait(TIMEOUT_S)
        yield thread
    finally:
        stop.go.set()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def label_inside(reader: SpanReader, body: Callable[[Stop], object]) -> Label:
    with stopped(body) as thread:
        return label_of(reader, thread)


def in_loop(main: Callable[[Stop], Coroutine[Any, Any, object]]) -> Callable[[Stop], object]:
    return lambda stop: asyncio.run(main(stop))


def span_id(span: trace.Span) -> int:
    return span.get_span_context().span_id


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


def test_a_runtime_context_without_a_context_var_switches_labels_off_with_one_warning(
    reader: SpanReader,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Foreign:
        def attach(self, _: object) -> object:
            return object()

    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", Foreign())
    other = SpanReader(lambda _: 0)
    with caplog.at_level(logging.WARNING, "otelprof"):
        other.install()
    assert [record.message for record in caplog.records] == [
        f"spans are not seen: {Foreign.__qualname__} keeps no ContextVar",
    ]
    assert isinstance(otel_context._RUNTIME_CONTEXT, Foreign)
    assert other.span_ids(threading.get_ident(), sys._getframe(), "thread") is UNKNOWN


def test_an_attach_that_cannot_be_noted_is_said_once_and_ends_all_labels(
    reader: SpanReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise ValueError("not noted")

    monkeypatch.setattr(reader, "note_attach", broken)
    for _ in range(3):
        with TRACER.start_as_current_span("s"):
            assert reader.span_ids(threading.get_ident(), sys._getframe(), "thread") is UNKNOWN
    assert [record.message for record in caplog.records] == ["spans are not seen any more"]


def test_uninstall_gives_the_runtime_context_back() -> None:
    before = otel_context._RUNTIME_CONTEXT
    reader = SpanReader(lambda _: 0)
    reader.install()
    assert otel_context._RUNTIME_CONTEXT is not before
    reader.uninstall()
    assert otel_context._RUNTIME_CONTEXT is before


def test_tokens_work_across_install_and_uninstall(reader: SpanReader) -> None:
    reader.uninstall()
    early = otel_context.attach(otel_context.set_value("n", 1))
    reader.install()
    late = otel_context.attach(otel_context.set_value("n", 2))
    reader.uninstall()
    otel_context.detach(late)
    assert otel_context.get_value("n") == 1
    reader.install()
    otel_context.detach(early)
    assert otel_context.get_value("n") is None


def test_a_thread_that_ended_is_forgotten(reader: SpanReader) -> None:
    def body(stop: Stop) -> None:
        with TRACER.start_as_current_span("s"):
            stop()

    with stopped(body) as thread:
        assert thread.ident in reader._threads
    reader.keep_only({threading.get_ident()})
    assert thread.ident not in reader._threads
