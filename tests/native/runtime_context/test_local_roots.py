"""Local roots: inherited where that is right, asked for where not."""

import gc
import weakref
from typing import Any, cast

import pytest
from opentelemetry import context as otel_context
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
    UNKNOWN_ROOT,
    UNSAMPLED_TRACER,
    ForeignSpan,
    Roots,
    broken,
    label,
    label_of,
    span_id,
    with_span,
)


def test_a_root_is_its_own_local_root(runtime: core.RuntimeContext, roots: Roots) -> None:
    below_remote = TRACER.start_span("b", context=with_span(NonRecordingSpan(REMOTE)))
    for span in (TRACER.start_span("a"), below_remote):
        assert label_of(runtime, span).local_root_span_id == span_id(span)
    assert not roots.asked


def test_a_root_under_a_span_of_its_own_trace_is_its_own_local_root(
    runtime: core.RuntimeContext,
) -> None:
    remote = with_span(NonRecordingSpan(REMOTE))
    label_of(runtime, TRACER.start_span("receive", context=remote))
    process = TRACER.start_span("process", context=remote)
    assert label_of(runtime, process).local_root_span_id == span_id(process)


def test_a_child_inherits_from_the_current_span(runtime: core.RuntimeContext, roots: Roots) -> None:
    root = TRACER.start_span("a")
    span: Span = root
    for depth in range(4):
        assert label_of(runtime, span).local_root_span_id == span_id(root)
        span = TRACER.start_span(f"child {depth}", context=with_span(span))
    assert not roots.asked


def test_a_child_of_another_library_inherits_by_ids(runtime: core.RuntimeContext) -> None:
    label_of(runtime, ForeignSpan(LOCAL))
    own = SpanContext(TRACE_ID, 0xC, is_remote=False)
    child = ForeignSpan(own, SpanContext(int(str(TRACE_ID)), int(str(SPAN_ID)), is_remote=False))
    assert label_of(runtime, child).local_root_span_id == SPAN_ID.to_bytes(8, "big")


def test_a_span_whose_parent_is_not_current_is_asked_about(
    runtime: core.RuntimeContext, roots: Roots
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
    runtime: core.RuntimeContext, roots: Roots
) -> None:
    root = TRACER.start_span("a")
    label_of(runtime, root)
    dropped = UNSAMPLED_TRACER.start_span("b", context=with_span(root))
    assert isinstance(dropped, NonRecordingSpan)
    assert label_of(runtime, dropped).local_root_span_id == span_id(root)
    other = UNSAMPLED_TRACER.start_span("c", context=Context())
    assert label_of(runtime, other).local_root_span_id == UNKNOWN_ROOT
    assert roots.asked == [other]


def test_the_same_span_keeps_its_root(runtime: core.RuntimeContext, roots: Roots) -> None:
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
    runtime: core.RuntimeContext, roots: Roots, root: object
) -> None:
    roots.root = root
    found = label_of(runtime, NonRecordingSpan(LOCAL))
    assert found.local_root_span_id == UNKNOWN_ROOT
    assert found.span_id == SPAN_ID.to_bytes(8, "big")


@pytest.mark.parametrize("parent", [ValueError("no"), 3, ForeignSpan(LOCAL), broken(span_id=-1)])
def test_the_root_is_unknown_where_the_parent_cannot_be_read(
    runtime: core.RuntimeContext, parent: object
) -> None:
    label_of(runtime, ForeignSpan(LOCAL))
    own = SpanContext(TRACE_ID, 0xC, is_remote=False)
    assert label_of(runtime, ForeignSpan(own, parent)).local_root_span_id == UNKNOWN_ROOT


def test_settings_may_change_while_a_span_is_asked(runtime: core.RuntimeContext) -> None:
    def forgets(span: Span) -> int:
        del span
        core.set_labels(enabled=False)
        cast("Any", runtime).__init__()
        gc.collect()
        return 5

    core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=forgets)
    gone = weakref.ref(forgets)
    variable = runtime._current_context
    del forgets
    runtime.attach(with_span(NonRecordingSpan(LOCAL)))
    assert variable.get().local_root_span_id == b"\0\0\0\0\0\0\0\5"
    assert gone() is None
