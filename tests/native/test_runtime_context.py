"""OpenTelemetry's runtime context in C: as the stock one to whoever calls it, with a label inside."""

import asyncio
import contextvars
import gc
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context.context import Context, _RuntimeContext
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation import _SPAN_KEY

from otelprof import _core

TRACER = TracerProvider(shutdown_on_exit=False).get_tracer("tests")
UNSAMPLED_TRACER = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("tests")
TRACE_ID = 0xF0 << 120 | 0x0B
SPAN_ID = 0x80 << 56 | 0x0A
LOCAL = SpanContext(TRACE_ID, SPAN_ID, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
REMOTE = SpanContext(TRACE_ID, 0xDEF, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
PLAIN = Context({"key": "value"})
UNKNOWN_ROOT = bytes(8)

Runtime = ContextVarsRuntimeContext | _core.RuntimeContext


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


@pytest.fixture
def roots() -> Iterator[Roots]:
    """Labels are on, with these local roots."""
    roots = Roots()
    _core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=roots)
    yield roots
    _core.set_labels(enabled=False)


@pytest.fixture
def runtime(roots: Roots) -> _core.RuntimeContext:
    del roots
    return _core.RuntimeContext()


@pytest.fixture
def api(runtime: _core.RuntimeContext, monkeypatch: pytest.MonkeyPatch) -> _core.RuntimeContext:
    """OpenTelemetry's API runs on it."""
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", runtime)
    return runtime


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


def label(runtime: _core.RuntimeContext) -> _core.Label:
    value = runtime._current_context.get()
    assert isinstance(value, _core.Label), value
    return value


def value(runtime: _core.RuntimeContext) -> object:
    return runtime._current_context.get()


def label_of(runtime: _core.RuntimeContext, span: object) -> _core.Label:
    runtime.attach(with_span(span))
    return label(runtime)


def span_id(span: Span) -> bytes:
    return span.get_span_context().span_id.to_bytes(8, "big")


def failure(call: Callable[[], object]) -> tuple[type[BaseException], str]:
    """What a call raises, without addresses."""
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call()
    return caught.type, re.sub("0x[0-9a-f]+", "0x", str(caught.value))


# As the stock one


def test_returns_the_very_object_that_was_attached(runtime: _core.RuntimeContext) -> None:
    assert runtime.get_current() == Context()
    for context in (PLAIN, with_span(TRACER.start_span("a")), with_span(NonRecordingSpan(REMOTE))):
        token = runtime.attach(context)
        assert runtime.get_current() is context
        runtime.detach(token)
    assert runtime.get_current() == Context()


def test_has_a_variable_like_the_stock_one() -> None:
    variable = _core.RuntimeContext()._current_context
    assert variable.name == "current_context"
    assert type(variable.get()) is Context
    assert variable is not _core.RuntimeContext()._current_context


def test_attaches_what_is_no_context_as_it_is(runtime: _core.RuntimeContext) -> None:
    odds: list[Any] = [None, 3, "text", [1]]
    for odd in odds:
        runtime.attach(odd)
        assert runtime.get_current() is odd


def test_takes_tokens_of_the_stock_one_and_gives_it_its_own(roots: Roots) -> None:
    stock = ContextVarsRuntimeContext()
    before = stock.attach(PLAIN)
    ours = _core.RuntimeContext(cast("contextvars.ContextVar[Any]", stock._current_context))
    assert ours.get_current() is PLAIN
    inner = with_span(TRACER.start_span("a"))
    token = ours.attach(inner)
    assert ours.get_current() is inner
    stock.detach(token)
    assert ours.get_current() is PLAIN
    ours.detach(before)
    assert ours.get_current() == stock.get_current() == Context()


def test_nests(runtime: _core.RuntimeContext) -> None:
    contexts = [with_span(TRACER.start_span(name)) for name in "abc"]
    tokens = [runtime.attach(context) for context in contexts]
    for context, token in zip(reversed(contexts), reversed(tokens), strict=True):
        assert runtime.get_current() is context
        assert label(runtime).span_id == span_id(trace.get_current_span(context))
        runtime.detach(token)
    assert value(runtime) == Context()


def test_detaches_in_a_wrong_order_as_the_stock_one(runtime: _core.RuntimeContext) -> None:
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
    runtime: _core.RuntimeContext, misuse: Callable[[Runtime], object]
) -> None:
    assert failure(lambda: misuse(runtime)) == failure(lambda: misuse(ContextVarsRuntimeContext()))


def test_takes_arguments_as_the_stock_one(runtime: _core.RuntimeContext) -> None:
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
        _core.RuntimeContext(cast("Any", 3))


def test_raises_where_its_variable_has_no_value() -> None:
    bare: contextvars.ContextVar[Any] = contextvars.ContextVar("bare")
    with pytest.raises(LookupError) as caught:
        _core.RuntimeContext(bare).get_current()
    assert caught.value.args == (bare,)


def test_can_be_subclassed(roots: Roots) -> None:
    class Ours(_core.RuntimeContext, _RuntimeContext):
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
    empty = _core.RuntimeContext.__new__(_core.RuntimeContext)
    with pytest.raises(RuntimeError, match="__init__ was not called"):
        empty.get_current()


def test_carries_opentelemetrys_api(api: _core.RuntimeContext) -> None:
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
    api: _core.RuntimeContext, caplog: pytest.LogCaptureFixture
) -> None:
    token = otel_context.attach(PLAIN)
    otel_context.detach(token)
    otel_context.detach(token)
    assert "Failed to detach context" in caplog.text


# Where contexts go


def test_tasks_keep_their_own_label(api: _core.RuntimeContext) -> None:
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


def test_a_new_thread_has_no_label(runtime: _core.RuntimeContext) -> None:
    runtime.attach(with_span(TRACER.start_span("a")))
    seen: list[object] = []
    # Python 3.14 may hand its context on to a new thread: so it begins in an empty one here.
    body = lambda: seen.append(contextvars.Context().run(value, runtime))  # noqa: E731 - it is the point
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [Context()]


def test_a_copied_context_keeps_its_label_and_what_it_attaches(
    runtime: _core.RuntimeContext,
) -> None:
    outer, inner = TRACER.start_span("a"), TRACER.start_span("b")
    runtime.attach(with_span(outer))
    copied = contextvars.copy_context()
    assert copied.run(label, runtime).span_id == span_id(outer)
    assert copied.run(label_of, runtime, inner).span_id == span_id(inner)
    assert label(runtime).span_id == span_id(outer)
    assert copied.run(label, runtime).span_id == span_id(inner)


def test_a_generator_leaves_its_span_in_its_caller_as_with_the_stock_one(
    api: _core.RuntimeContext,
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


# What is in a label


@pytest.mark.parametrize("tracer", [TRACER, UNSAMPLED_TRACER], ids=["sampled", "unsampled"])
def test_has_the_ids_of_the_span(runtime: _core.RuntimeContext, tracer: trace.Tracer) -> None:
    span = tracer.start_span("a")
    ids = span.get_span_context()
    found = label_of(runtime, span)
    assert found.trace_id == ids.trace_id.to_bytes(16, "big")
    assert found.span_id == ids.span_id.to_bytes(8, "big")
    assert found.is_sampled is ids.trace_flags.sampled
    assert found.context is runtime.get_current()
    assert re.search(f"{ids.trace_id:032x} .*{ids.span_id:016x} ", repr(found))


@pytest.mark.parametrize("trace_id", [1, 2**64, 2**127, 2**128 - 1])
@pytest.mark.parametrize("own_id", [1, 2**63, 2**64 - 1])
def test_has_ids_of_any_size(runtime: _core.RuntimeContext, trace_id: int, own_id: int) -> None:
    found = label_of(runtime, NonRecordingSpan(SpanContext(trace_id, own_id, is_remote=False)))
    assert found.trace_id == trace_id.to_bytes(16, "big")
    assert found.span_id == own_id.to_bytes(8, "big")
    assert not found.is_sampled


@pytest.mark.parametrize(
    "span",
    [
        NonRecordingSpan(REMOTE),
        trace.INVALID_SPAN,
        None,
        ForeignSpan(REMOTE),
        ForeignSpan(trace.INVALID_SPAN_CONTEXT),
    ],
    ids=["remote", "invalid", "none", "foreign remote", "foreign invalid"],
)
def test_there_is_none_without_a_span_of_this_process(
    runtime: _core.RuntimeContext, span: Span | None
) -> None:
    context = with_span(span)
    runtime.attach(context)
    assert not label(runtime).has_span
    assert label(runtime).context is context


def test_there_is_none_while_labels_are_off(runtime: _core.RuntimeContext) -> None:
    context = with_span(TRACER.start_span("a"))
    labelled = label_of(runtime, TRACER.start_span("b")).context
    _core.set_labels(enabled=False)
    assert runtime.get_current() is labelled  # what was attached before stays readable
    runtime.attach(context)
    assert value(runtime) is context


def test_reads_spans_and_contexts_of_other_libraries(runtime: _core.RuntimeContext) -> None:
    for span in (
        ForeignSpan(LOCAL),
        ForeignSpan(ForeignContext()),
        ForeignSpan(LOCAL, ForeignContext()),
    ):
        found = label_of(runtime, span)
        assert (found.trace_id, found.span_id) == (
            TRACE_ID.to_bytes(16, "big"),
            SPAN_ID.to_bytes(8, "big"),
        )
        assert found.is_sampled


def broken(**attributes: object) -> ForeignContext:
    context = ForeignContext()
    vars(context).update(attributes)
    return context


def misshapen(*items: object) -> SpanContext:
    new: Callable[..., SpanContext] = getattr(tuple, "__new__")  # noqa: B009 - typeshed's has no type
    return new(SpanContext, items)


class Untrue:
    def __bool__(self) -> bool:
        raise ValueError


class Unequal(str):
    """A key that cannot be compared."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __hash__(self) -> int:
        return hash(_SPAN_KEY)


UNREADABLE: list[object] = [
    ForeignSpan(ValueError("no")),
    ForeignSpan(None),
    ForeignSpan((1, 2)),
    ForeignSpan(misshapen(1, 2)),
    ForeignSpan(broken(trace_id="text")),
    ForeignSpan(broken(trace_id=2**128)),
    ForeignSpan(broken(trace_id=-1)),
    ForeignSpan(broken(span_id=2**64)),
    ForeignSpan(broken(span_id=-1)),
    ForeignSpan(broken(span_id=1.5)),
    ForeignSpan(broken(trace_flags=None)),
    ForeignSpan(broken(is_remote=Untrue())),
    ForeignSpan(broken(is_valid=Untrue())),
    NonRecordingSpan(misshapen(1.5, 2, False, 1, None, True)),
    NonRecordingSpan(cast("SpanContext", None)),
    object(),
]


@pytest.mark.parametrize("span", UNREADABLE)
def test_is_unknown_where_the_span_cannot_be_read(
    runtime: _core.RuntimeContext, span: object
) -> None:
    context = with_span(span)
    token = runtime.attach(context)
    assert runtime.get_current() is context
    found = label(runtime)
    assert found.trace_id == bytes(16)
    assert found.span_id == found.local_root_span_id == bytes(8)
    assert not found.is_sampled
    assert "unknown" in repr(found)
    assert label_of(runtime, TRACER.start_span("a")).trace_id != bytes(16)
    runtime.detach(token)


def test_is_unknown_where_the_context_cannot_be_searched(runtime: _core.RuntimeContext) -> None:
    context = Context({Unequal("key"): 1})
    runtime.attach(context)
    assert label(runtime).trace_id == bytes(16)
    assert runtime.get_current() is context


@pytest.mark.parametrize(
    "span",
    [ForeignSpan(KeyboardInterrupt()), ForeignSpan(LOCAL, KeyboardInterrupt())],
    ids=["span", "parent"],
)
def test_an_interrupt_is_not_lost(runtime: _core.RuntimeContext, span: Span) -> None:
    with pytest.raises(KeyboardInterrupt):
        runtime.attach(with_span(span))
    assert value(runtime) == Context()


def test_an_interrupt_of_the_local_roots_is_not_lost(
    runtime: _core.RuntimeContext, roots: Roots
) -> None:
    roots.root = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        runtime.attach(with_span(NonRecordingSpan(LOCAL)))
    assert value(runtime) == Context()


def test_cannot_be_made_or_changed(runtime: _core.RuntimeContext) -> None:
    found: Any = label_of(runtime, TRACER.start_span("a"))
    for call in (
        cast("Any", _core.Label),
        lambda: object.__new__(_core.Label),
        lambda: type("Derived", (cast("Any", _core.Label),), {}),
        lambda: setattr(_core.Label, "span_id", b""),
    ):
        assert failure(call)[0] is TypeError
    with pytest.raises(AttributeError):
        found.span_id = b""


# Local roots


def test_a_root_is_its_own_local_root(runtime: _core.RuntimeContext, roots: Roots) -> None:
    below_remote = TRACER.start_span("b", context=with_span(NonRecordingSpan(REMOTE)))
    for span in (TRACER.start_span("a"), below_remote):
        assert label_of(runtime, span).local_root_span_id == span_id(span)
    assert not roots.asked


def test_a_root_under_a_span_of_its_own_trace_is_its_own_local_root(
    runtime: _core.RuntimeContext,
) -> None:
    remote = with_span(NonRecordingSpan(REMOTE))
    label_of(runtime, TRACER.start_span("receive", context=remote))
    process = TRACER.start_span("process", context=remote)
    assert label_of(runtime, process).local_root_span_id == span_id(process)


def test_a_child_inherits_from_the_current_span(
    runtime: _core.RuntimeContext, roots: Roots
) -> None:
    root = TRACER.start_span("a")
    span: Span = root
    for depth in range(4):
        assert label_of(runtime, span).local_root_span_id == span_id(root)
        span = TRACER.start_span(f"child {depth}", context=with_span(span))
    assert not roots.asked


def test_a_child_of_another_library_inherits_by_ids(runtime: _core.RuntimeContext) -> None:
    label_of(runtime, ForeignSpan(LOCAL))
    own = SpanContext(TRACE_ID, 0xC, is_remote=False)
    child = ForeignSpan(own, SpanContext(int(str(TRACE_ID)), int(str(SPAN_ID)), is_remote=False))
    assert label_of(runtime, child).local_root_span_id == SPAN_ID.to_bytes(8, "big")


def test_a_span_whose_parent_is_not_current_is_asked_about(
    runtime: _core.RuntimeContext, roots: Roots
) -> None:
    roots.root = 2**64 - 1
    root = TRACER.start_span("a")
    child = TRACER.start_span("b", context=with_span(root))
    grandchild = TRACER.start_span("c", context=with_span(child))
    assert label_of(runtime, child).local_root_span_id == b"\xff" * 8
    label_of(runtime, root)
    roots.root = 0x0102
    assert label_of(runtime, grandchild).local_root_span_id == b"\0\0\0\0\0\0\1\2"
    assert roots.asked == [child, grandchild]


def test_an_unsampled_span_inherits_within_its_trace_only(
    runtime: _core.RuntimeContext, roots: Roots
) -> None:
    root = TRACER.start_span("a")
    label_of(runtime, root)
    dropped = UNSAMPLED_TRACER.start_span("b", context=with_span(root))
    assert isinstance(dropped, NonRecordingSpan)
    assert label_of(runtime, dropped).local_root_span_id == span_id(root)
    other = UNSAMPLED_TRACER.start_span("c", context=Context())
    assert label_of(runtime, other).local_root_span_id == UNKNOWN_ROOT
    assert roots.asked == [other]


def test_the_same_span_keeps_its_root(runtime: _core.RuntimeContext, roots: Roots) -> None:
    roots.root = 7
    context = with_span(NonRecordingSpan(LOCAL))
    runtime.attach(context)
    first = label(runtime)
    runtime.attach(context)
    assert label(runtime) is first
    with_more = otel_context.set_value("more", 1, context)
    runtime.attach(with_more)
    assert label(runtime).context is runtime.get_current() is with_more
    assert label(runtime).local_root_span_id == first.local_root_span_id == b"\0\0\0\0\0\0\0\7"
    assert len(roots.asked) == 1


@pytest.mark.parametrize("root", [ValueError("no"), 2**64, -1, "text", None, 1.5])
def test_the_root_is_unknown_where_the_answer_is_none(
    runtime: _core.RuntimeContext, roots: Roots, root: object
) -> None:
    roots.root = root
    found = label_of(runtime, NonRecordingSpan(LOCAL))
    assert found.local_root_span_id == UNKNOWN_ROOT
    assert found.span_id == SPAN_ID.to_bytes(8, "big")


@pytest.mark.parametrize("parent", [ValueError("no"), 3, ForeignSpan(LOCAL), broken(span_id=-1)])
def test_the_root_is_unknown_where_the_parent_cannot_be_read(
    runtime: _core.RuntimeContext, parent: object
) -> None:
    label_of(runtime, ForeignSpan(LOCAL))
    own = SpanContext(TRACE_ID, 0xC, is_remote=False)
    assert label_of(runtime, ForeignSpan(own, parent)).local_root_span_id == UNKNOWN_ROOT


def test_settings_may_change_while_a_span_is_asked(runtime: _core.RuntimeContext) -> None:
    def forgets(span: Span) -> int:
        del span
        _core.set_labels(enabled=False)
        cast("Any", runtime).__init__()
        gc.collect()
        return 5

    _core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=forgets)
    gone = weakref.ref(forgets)
    variable = runtime._current_context
    del forgets
    runtime.attach(with_span(NonRecordingSpan(LOCAL)))
    assert variable.get().local_root_span_id == b"\0\0\0\0\0\0\0\5"
    assert gone() is None


def test_settings_are_checked() -> None:
    set_labels: Any = _core.set_labels
    for call in (
        set_labels,
        lambda: set_labels(True),
        lambda: set_labels(enabled=True),
        lambda: set_labels(enabled=True, span_key=3),
        lambda: set_labels(enabled=True, span_key="k", local_root_of=3),
        lambda: set_labels(enabled=True, span_key="k", other=3),
    ):
        assert failure(call)[0] is TypeError


# Memory


def test_a_detached_context_is_freed_at_once(runtime: _core.RuntimeContext) -> None:
    context = with_span(TRACER.start_span("a"))
    gone = weakref.ref(context)
    runtime.detach(runtime.attach(context))
    del context
    assert gone() is None


def test_a_cycle_through_a_label_is_collected(runtime: _core.RuntimeContext) -> None:
    holder: list[object] = []
    context = Context({**with_span(TRACER.start_span("a")), "holder": holder})
    copied = contextvars.copy_context()
    copied.run(runtime.attach, context)
    holder.append(copied)
    gone = weakref.ref(context)
    del context, copied, holder
    gc.collect()
    assert gone() is None


def attach_and_detach_all(runtime: _core.RuntimeContext, contexts: list[Context]) -> None:
    tokens = [runtime.attach(context) for context in contexts]
    for context, token in zip(reversed(contexts), reversed(tokens), strict=True):
        assert runtime.get_current() is context
        runtime.detach(token)


def test_many_labels_live_at_once_and_are_freed(runtime: _core.RuntimeContext) -> None:
    spans = [TRACER.start_span(str(number)) for number in range(600)]
    contexts = [with_span(span) for span in spans]
    attach_and_detach_all(runtime, contexts)
    attach_and_detach_all(runtime, contexts)  # once more, from the free list and beyond
    gone = [weakref.ref(context) for context in contexts]
    contexts.clear()
    assert not any(reference() for reference in gone)


@pytest.mark.parametrize(
    "spans",
    [
        [TRACER.start_span("a"), TRACER.start_span("b")],
        [ForeignSpan(LOCAL, LOCAL), ForeignSpan(ForeignContext(), ForeignContext())],
        [ForeignSpan(None), object()],
        [NonRecordingSpan(REMOTE), None],
    ],
    ids=["sdk", "foreign", "unreadable", "none"],
)
def test_nothing_leaks(runtime: _core.RuntimeContext, spans: list[object]) -> None:
    _core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=lambda _: 2**63)
    contexts = [with_span(span) for span in spans]
    shared = (*spans, *contexts, runtime._current_context, _SPAN_KEY, LOCAL, REMOTE)

    def turn(times: int) -> None:
        for _ in range(times):
            outer = runtime.attach(contexts[0])
            inner = runtime.attach(contexts[1])
            runtime.get_current()
            runtime.detach(inner)
            runtime.detach(outer)

    turn(1_000)
    gc.collect()
    blocks = sys.getallocatedblocks()
    references = [sys.getrefcount(thing) for thing in shared]
    turn(50_000)
    gc.collect()
    assert [sys.getrefcount(thing) for thing in shared] == references
    assert abs(sys.getallocatedblocks() - blocks) < 100
