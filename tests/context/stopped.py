"""A thread that stops inside of a situation and holds still while its label is read."""

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from otelprof.context import SpanReader, Unknown
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
