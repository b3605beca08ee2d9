"""Labels and what they hold are freed."""

import contextvars
import gc
import sys
import weakref

import pytest
from opentelemetry.context.context import Context
from opentelemetry.trace import NonRecordingSpan
from opentelemetry.trace.propagation import _SPAN_KEY

from tests.native.installed import core
from tests.native.runtime_context.spans import (
    LOCAL,
    REMOTE,
    TRACER,
    ForeignContext,
    ForeignSpan,
    with_span,
)


def test_a_detached_context_is_freed_at_once(runtime: core.RuntimeContext) -> None:
    context = with_span(TRACER.start_span("a"))
    gone = weakref.ref(context)
    runtime.detach(runtime.attach(context))
    del context
    assert gone() is None


def test_a_cycle_through_a_label_is_collected(runtime: core.RuntimeContext) -> None:
    holder: list[object] = []
    context = Context({**with_span(TRACER.start_span("a")), "holder": holder})
    copied = contextvars.copy_context()
    copied.run(runtime.attach, context)
    holder.append(copied)
    gone = weakref.ref(context)
    del context, copied, holder
    gc.collect()
    assert gone() is None


def attach_and_detach_all(runtime: core.RuntimeContext, contexts: list[Context]) -> None:
    tokens = [runtime.attach(context) for context in contexts]
    for context, token in zip(reversed(contexts), reversed(tokens), strict=True):
        assert runtime.get_current() is context
        runtime.detach(token)


def test_many_labels_live_at_once_and_are_freed(runtime: core.RuntimeContext) -> None:
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
def test_nothing_leaks(runtime: core.RuntimeContext, spans: list[object]) -> None:
    core.set_labels(enabled=True, span_key=_SPAN_KEY, local_root_of=lambda _: 2**63)
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
