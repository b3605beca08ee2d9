"""What is in a label, and when it is unknown."""

import re
from collections.abc import Callable
from typing import Any, cast

import pytest
from opentelemetry import trace
from opentelemetry.context.context import Context
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.installed import core
from tests.native.runtime_context.spans import (
    LOCAL,
    REMOTE,
    SPAN_ID,
    TRACE_ID,
    TRACER,
    UNSAMPLED_TRACER,
    ForeignContext,
    ForeignSpan,
    Roots,
    broken,
    failure,
    label,
    label_of,
    value,
    with_span,
)


@pytest.mark.parametrize("tracer", [TRACER, UNSAMPLED_TRACER], ids=["sampled", "unsampled"])
def test_has_the_ids_of_the_span(runtime: core.RuntimeContext, tracer: trace.Tracer) -> None:
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
def test_has_ids_of_any_size(runtime: core.RuntimeContext, trace_id: int, own_id: int) -> None:
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
    runtime: core.RuntimeContext, span: Span | None
) -> None:
    context = with_span(span)
    runtime.attach(context)
    assert not label(runtime).has_span
    assert label(runtime).context is context


def test_there_is_none_while_labels_are_off(runtime: core.RuntimeContext) -> None:
    context = with_span(TRACER.start_span("a"))
    labelled = label_of(runtime, TRACER.start_span("b")).context
    core.set_labels(enabled=False)
    assert runtime.get_current() is labelled  # what was attached before stays readable
    runtime.attach(context)
    assert value(runtime) is context


def test_reads_spans_and_contexts_of_other_libraries(runtime: core.RuntimeContext) -> None:
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
    runtime: core.RuntimeContext, span: object
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


def test_is_unknown_where_the_context_cannot_be_searched(runtime: core.RuntimeContext) -> None:
    context = Context({Unequal("key"): 1})
    runtime.attach(context)
    assert label(runtime).trace_id == bytes(16)
    assert runtime.get_current() is context


@pytest.mark.parametrize(
    "span",
    [ForeignSpan(KeyboardInterrupt()), ForeignSpan(LOCAL, KeyboardInterrupt())],
    ids=["span", "parent"],
)
def test_an_interrupt_is_not_lost(runtime: core.RuntimeContext, span: Span) -> None:
    with pytest.raises(KeyboardInterrupt):
        runtime.attach(with_span(span))
    assert value(runtime) == Context()


def test_an_interrupt_of_the_local_roots_is_not_lost(
    runtime: core.RuntimeContext, roots: Roots
) -> None:
    roots.root = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        runtime.attach(with_span(NonRecordingSpan(LOCAL)))
    assert value(runtime) == Context()


def test_cannot_be_made_or_changed(runtime: core.RuntimeContext) -> None:
    found: Any = label_of(runtime, TRACER.start_span("a"))
    for call in (
        cast("Any", core.Label),
        lambda: object.__new__(core.Label),
        lambda: type("Derived", (cast("Any", core.Label),), {}),
        lambda: setattr(core.Label, "span_id", b""),
    ):
        assert failure(call)[0] is TypeError
    with pytest.raises(AttributeError):
        found.span_id = b""


def test_settings_are_checked() -> None:
    set_labels: Any = core.set_labels
    for call in (
        set_labels,
        lambda: set_labels(True),
        lambda: set_labels(enabled=True),
        lambda: set_labels(enabled=True, span_key=3),
        lambda: set_labels(enabled=True, span_key="k", local_root_of=3),
        lambda: set_labels(enabled=True, span_key="k", other=3),
    ):
        assert failure(call)[0] is TypeError
