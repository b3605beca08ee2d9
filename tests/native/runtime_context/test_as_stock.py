"""OpenTelemetry's runtime context in C is as the stock one to whoever calls it."""

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.trace import NonRecordingSpan

from tests.native.installed import core
from tests.native.runtime_context.spans import (
    PLAIN,
    REMOTE,
    TRACER,
    Roots,
    Runtime,
    failure,
    label,
    label_of,
    span_id,
    value,
    with_span,
)


def test_returns_the_very_object_that_was_attached(runtime: core.RuntimeContext) -> None:
    assert runtime.get_current() == Context()
    for context in (PLAIN, with_span(TRACER.start_span("a")), with_span(NonRecordingSpan(REMOTE))):
        token = runtime.attach(context)
        assert runtime.get_current() is context
        runtime.detach(token)
    assert runtime.get_current() == Context()


def test_has_a_variable_like_the_stock_one() -> None:
    variable = core.RuntimeContext()._current_context
    assert variable.name == "current_context"
    assert type(variable.get()) is Context
    assert variable is not core.RuntimeContext()._current_context


def test_attaches_what_is_no_context_as_it_is(runtime: core.RuntimeContext) -> None:
    odds: list[Any] = [None, 3, "text", [1]]
    for odd in odds:
        runtime.attach(odd)
        assert runtime.get_current() is odd


def test_takes_tokens_of_the_stock_one_and_gives_it_its_own(roots: Roots) -> None:
    stock = ContextVarsRuntimeContext()
    before = stock.attach(PLAIN)
    ours = core.RuntimeContext(cast("contextvars.ContextVar[Any]", stock._current_context))
    assert ours.get_current() is PLAIN
    inner = with_span(TRACER.start_span("a"))
    token = ours.attach(inner)
    assert ours.get_current() is inner
    stock.detach(token)
    assert ours.get_current() is PLAIN
    ours.detach(before)
    assert ours.get_current() == stock.get_current() == Context()


def test_nests(runtime: core.RuntimeContext) -> None:
    contexts = [with_span(TRACER.start_span(name)) for name in "abc"]
    tokens = [runtime.attach(context) for context in contexts]
    for context, token in zip(reversed(contexts), reversed(tokens), strict=True):
        assert runtime.get_current() is context
        assert label(runtime).span_id == span_id(trace.get_current_span(context))
        runtime.detach(token)
    assert value(runtime) == Context()


def test_detaches_in_a_wrong_order_as_the_stock_one(runtime: core.RuntimeContext) -> None:
    for any_runtime in (ContextVarsRuntimeContext(), runtime):
        outer = any_runtime.attach(with_span(TRACER.start_span("a")))
        context = with_span(TRACER.start_span("b"))
        inner = any_runtime.attach(with_span(TRACER.start_span("c"), context))
        any_runtime.detach(outer)
        assert any_runtime.get_current() == Context()
        any_runtime.detach(inner)
        assert trace.get_current_span(any_runtime.get_current()).is_recording()


def _used_token(runtime: Runtime) -> object:
    token = runtime.attach(PLAIN)
    runtime.detach(token)
    return runtime.detach(token)


MISUSES: list[Callable[[Runtime], object]] = [
    _used_token,
    lambda runtime: runtime.detach(ContextVarsRuntimeContext().attach(PLAIN)),
    lambda runtime: runtime.detach(contextvars.copy_context().run(runtime.attach, PLAIN)),
    lambda runtime: runtime.detach(cast("Any", None)),
    lambda runtime: runtime.detach(cast("Any", 1)),
]


@pytest.mark.parametrize("misuse", MISUSES)
def test_raises_what_the_stock_one_raises(
    runtime: core.RuntimeContext, misuse: Callable[[Runtime], object]
) -> None:
    assert failure(lambda: misuse(runtime)) == failure(lambda: misuse(ContextVarsRuntimeContext()))


def test_takes_arguments_as_the_stock_one(runtime: core.RuntimeContext) -> None:
    untyped: Any = runtime
    token = untyped.attach(context=PLAIN)
    assert untyped.get_current() is PLAIN
    untyped.detach(token=token)
    for call in (
        untyped.attach,
        lambda: untyped.attach(PLAIN, PLAIN),
        lambda: untyped.attach(other=PLAIN),
        lambda: untyped.attach(PLAIN, context=PLAIN),
        untyped.detach,
        lambda: untyped.get_current(1),
    ):
        assert failure(call)[0] is TypeError


def test_refuses_a_variable_that_is_none() -> None:
    with pytest.raises(TypeError, match="var must be a ContextVar, not int"):
        core.RuntimeContext(cast("Any", 3))


def test_raises_where_its_variable_has_no_value() -> None:
    bare: contextvars.ContextVar[Any] = contextvars.ContextVar("bare")
    with pytest.raises(LookupError) as caught:
        core.RuntimeContext(bare).get_current()
    assert caught.value.args == (bare,)


def test_can_be_subclassed(roots: Roots) -> None:
    class Ours(core.RuntimeContext, _RuntimeContext):
        def __init__(self) -> None:
            self.attached = 0
            super().__init__(contextvars.ContextVar("ours"))

        def attach(self, context: Context) -> contextvars.Token[Any]:
            self.attached += 1
            return super().attach(context)

    ours = Ours()
    span = TRACER.start_span("a")
    assert label_of(ours, span).span_id == span_id(span)
    assert ours.attached == 1
    assert isinstance(ours, _RuntimeContext)
    gone = weakref.ref(ours)
    del ours
    gc.collect()
    assert gone() is None


def test_says_so_when_a_subclass_forgot_to_initialise() -> None:
    empty = core.RuntimeContext.__new__(core.RuntimeContext)
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        empty.get_current()


def test_carries_opentelemetrys_api(api: core.RuntimeContext) -> None:
    token = otel_context.attach(otel_context.set_value("a", 1))
    assert otel_context.get_value("a") == 1
    with TRACER.start_as_current_span("outer") as outer:
        assert trace.get_current_span() is outer
        with TRACER.start_as_current_span("inner") as inner:
            assert label(api).span_id == span_id(inner)
            assert label(api).local_root_span_id == span_id(outer)
            assert otel_context.get_value("a") == 1
        assert trace.get_current_span() is outer
    otel_context.detach(token)
    assert otel_context.get_value("a") is None
    assert value(api) == Context()


def test_logs_a_failed_detach_as_the_api_does(
    api: core.RuntimeContext, caplog: pytest.LogCaptureFixture
) -> None:
    token = otel_context.attach(PLAIN)
    otel_context.detach(token)
    otel_context.detach(token)
    assert "Failed to detach context" in caplog.text


# Where contexts go


def test_tasks_keep_their_own_label(api: core.RuntimeContext) -> None:
    async def handle(name: str, barrier: asyncio.Barrier) -> None:
        with TRACER.start_as_current_span(name) as span:
            for _ in range(3):
                await barrier.wait()
                assert label(api).span_id == span_id(span)
                assert trace.get_current_span() is span
                in_thread = await asyncio.to_thread(lambda: label(api).span_id)
                assert in_thread == span_id(span)
            child = asyncio.create_task(inherited())
            assert await child == span_id(span)

    async def inherited() -> bytes:
        return label(api).span_id

    async def main() -> None:
        barrier = asyncio.Barrier(5)
        await asyncio.gather(*(handle(str(number), barrier) for number in range(5)))
        assert value(api) == Context()

    asyncio.run(main())


def test_a_new_thread_has_no_label(runtime: core.RuntimeContext) -> None:
    runtime.attach(with_span(TRACER.start_span("a")))
    seen: list[object] = []
    # Python 3.14 may hand its context on to a new thread: so it begins in an empty one here.
    body = lambda: seen.append(contextvars.Context().run(value, runtime))  # noqa: E731 - it is the point
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [Context()]


def test_a_copied_context_keeps_its_label_and_what_it_attaches(
    runtime: core.RuntimeContext,
) -> None:
    outer, inner = TRACER.start_span("a"), TRACER.start_span("b")
    runtime.attach(with_span(outer))
    copied = contextvars.copy_context()
    assert copied.run(label, runtime).span_id == span_id(outer)
    assert copied.run(label_of, runtime, inner).span_id == span_id(inner)
    assert label(runtime).span_id == span_id(outer)
    assert copied.run(label, runtime).span_id == span_id(inner)


def test_a_generator_leaves_its_span_in_its_caller_as_with_the_stock_one(
    api: core.RuntimeContext,
) -> None:
    def rows() -> Iterator[int]:
        with TRACER.start_as_current_span("rows"):
            yield 1

    iterator = rows()
    next(iterator)
    held = trace.get_current_span()
    assert label(api).span_id == span_id(held)
    next(iterator, None)
    assert value(api) == Context()
