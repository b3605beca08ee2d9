"""Which span is current in another thread, read from plain Python.

OpenTelemetry keeps its context in one ContextVar. Python offers no way to read a ContextVar of another
thread, but a `contextvars.Context` object can be read from anywhere. So the question becomes: which
Context object is thread T in right now?

- If T runs an asyncio task: the task's own context.
- Else, the innermost Context in which something was attached on T and which is still entered. `attach`
  passes through `RecordingContext`, which remembers (weakly) the Context that it happened in.
- Else, if T runs a job of a thread pool, the Context that the job was submitted with.
- Else T's base context: the one that `threading` runs T in (3.14 on), or else the one that T was in outside
  of every `Context.run`, if something was ever attached there.

What cannot be proved is `UNKNOWN`, never a guess. What this cannot see: code under a `Context.run` of another
kind outside a task, in which nothing is attached (docs/limits.md).

The sampler calls `span_ids` with the GIL held throughout, so what it reads belongs to one instant.
"""

import asyncio
import contextvars
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from types import FrameType
from typing import Any, Final, final

import opentelemetry.context as otel_context
from opentelemetry.trace import Span, get_current_span

from otelprof.cpython import (
    RUNNERS_FILE,
    Place,
    Task,
    context_of_job,
    context_of_task,
    context_of_thread,
    context_of_token,
    contexts_are_readable,
    frame_of_task,
    is_entered,
    is_in_context_of_thread,
    is_on_stack,
    loop_in,
)
from otelprof.runtime_context import RecordingContext, Var, plain

_log = logging.getLogger("otelprof")

Token = contextvars.Token[Any]


@final
class Unknown:
    """The type of `UNKNOWN`: a span may be current, but which one cannot be proved."""


UNKNOWN: Final = Unknown()
# Contexts entered inside of each other; of more, the outermost are forgotten.
_MAX_NESTING = 16

SpanIds = tuple[int, int, int]
"""Trace id, span id, and the span id of the local root, 0 if that is unknown."""


class _Seen:
    """A Context in which something was attached on a thread."""

    __slots__ = ("attached", "context", "in_loop", "task")

    def __init__(
        self,
        context: contextvars.Context,
        loop: asyncio.AbstractEventLoop | None,
        task: Task | None,
    ) -> None:
        self.context = weakref.ref(context)
        self.in_loop = loop is not None
        self.task = None if task is None else weakref.ref(task)
        self.attached = 1  # what was attached here by its thread and not yet detached

    def entered(self) -> contextvars.Context | None:
        """The Context, if somebody is inside it by `Context.run`: its thread, if `attached` is not 0."""
        context = self.context()
        return context if context is not None and is_entered(context) else None


class _ThreadRecord:
    """What is known about one thread. Written by that thread, read by the sampler, under the GIL."""

    __slots__ = ("base", "entered", "has_greenlets", "loop")

    def __init__(self) -> None:
        self.base: _Seen | None = None
        self.entered: list[_Seen] = []  # outermost first; those left again are dropped lazily
        self.has_greenlets = False  # which swap the thread's base context
        self.loop: weakref.ref[asyncio.AbstractEventLoop] | None = None

    def enter(self, seen: _Seen) -> None:
        """Put a Context on top, without those that were left since, or that come again."""
        context = seen.context()
        kept = [
            other
            for other in self.entered
            if other.context() is not context and other.entered() is not None
        ]
        self.entered = [*kept[-_MAX_NESTING:], seen]


class SpanReader:
    """Reads the current span of any thread. Install it once for each process."""

    def __init__(self, local_root_of: Callable[[Span], int]) -> None:
        self._local_root_of = local_root_of
        self._threads: dict[int, _ThreadRecord] = {}
        self._recording: RecordingContext | None = None
        self._var: Var | None = None

    def install(self) -> None:
        """Stand between OpenTelemetry and its runtime context.

        Idempotent. Where contexts cannot be read from another thread, every label is unknown, which one
        warning says.
        """
        if self._recording is not None:
            return
        inner = otel_context._RUNTIME_CONTEXT  # noqa: SLF001 - looked up at each call by OpenTelemetry, so replacing it is complete; there is no public seam after import
        var = getattr(inner, "_current_context", None)
        if not isinstance(var, contextvars.ContextVar):
            _log.warning("spans are not seen: %s keeps no ContextVar", type(inner).__qualname__)
            return
        if not contexts_are_readable():
            _log.warning("spans are not seen: this interpreter does not show its contexts")
            return
        self._var = var
        self._recording = RecordingContext(inner, self)
        otel_context._RUNTIME_CONTEXT = self._recording  # noqa: SLF001 - as above

    def uninstall(self) -> None:
        """Give OpenTelemetry its own runtime context back, unless another tool wrapped ours."""
        if self._recording is None:
            return
        self._recording.is_active = False
        if otel_context._RUNTIME_CONTEXT is self._recording:  # noqa: SLF001 - as in install
            otel_context._RUNTIME_CONTEXT = self._recording.inner  # noqa: SLF001 - as above
        self._recording = None
        self._threads = {}

    def give_up(self) -> None:
        """Label nothing any more: an attach was missed, so what is known may be wrong."""
        self._var = None
        if self._recording is not None:
            self._recording.is_active = False
        _log.exception("spans are not seen any more")

    def after_fork(self) -> None:
        """Keep what is known of the only thread that a forked child has."""
        for ident in self._threads.keys() - {threading.main_thread().ident}:
            self._threads.pop(ident, None)

    def keep_only(self, idents: AbstractSet[int]) -> None:
        """Drop what is known of threads other than these: they ended."""
        for ident in self._threads.keys() - idents:
            self._threads.pop(ident, None)

    def note_attach(self, token: Token) -> None:
        """Remember in which Context of this thread something was attached. Called by the thread itself."""
        context = context_of_token(token)
        if context is None:
            return
        ident = threading.get_ident()
        record = self._threads.get(ident)
        if record is None:
            record = self._threads[ident] = _ThreadRecord()
        task = None
        loop = asyncio._get_running_loop()  # noqa: SLF001 - documented for loop authors; never raises
        if loop is not None:
            task = asyncio.current_task(loop)
            if record.loop is None or record.loop() is not loop:
                record.loop = weakref.ref(loop)
        if record.entered and record.entered[-1].context() is context:
            record.entered[-1].attached += 1
            return
        if record.base is not None and record.base.context() is context:
            return
        seen = _Seen(context, loop, task)
        of_thread = context_of_thread(ident)
        if context is not of_thread:
            if is_entered(context):
                record.enter(seen)
                return
            if of_thread is not None or (record.base and record.base.context() is not None):
                record.has_greenlets = True  # two base contexts
        record.has_greenlets |= _in_greenlet()
        record.base = seen

    def note_detach(self, token: Token) -> None:
        """Remember that something was detached again. Called by the thread itself."""
        record = self._threads.get(threading.get_ident())
        if record is None or not record.entered:
            return
        context = context_of_token(token)
        for seen in reversed(record.entered):
            if seen.context() is context:
                seen.attached = max(0, seen.attached - 1)
                return

    def span_ids(self, ident: int, top: FrameType, place: Place) -> SpanIds | Unknown | None:
        """The span current in thread `ident`, whose innermost frame is `top`; None if there is none.

        Called with the GIL held since `top` was read.
        """
        span = self._current_span(ident, top, place)
        if span is None or isinstance(span, Unknown):
            return span
        context = span.get_span_context()
        return (context.trace_id, context.span_id, self._local_root_of(span))

    def _current_span(self, ident: int, top: FrameType, place: Place) -> Span | Unknown | None:
        if self._var is None:
            return UNKNOWN
        record = self._threads.get(ident)
        if place not in {"thread", "job"}:
            task = self._running_task(record, top, place)
            if isinstance(task, Unknown):
                return UNKNOWN
            if task is not None:
                return self._span_of_task(record, task)
        return self._span_of_thread(ident, record or _ThreadRecord(), top, place)

    def _span_of_thread(
        self, ident: int, record: _ThreadRecord, top: FrameType, place: Place
    ) -> Span | Unknown | None:
        if record.has_greenlets or "gevent" in sys.modules:
            return UNKNOWN
        is_shared = False
        for seen in reversed(record.entered):
            context = seen.entered()
            if context is None or (place == "callback" and not seen.in_loop):
                continue
            if seen.attached:
                return self._span_in(context)
            # With nothing attached by this thread any more, somebody else may be the one who is inside.
            is_shared = True
            break
        job = context_of_job(top) if place == "job" else None
        if job is not None and is_entered(job):
            return self._span_in(job)
        if (
            is_shared
            or place == "callback"
            or (place == "thread" and _may_run_callback(record, top))
        ):
            return UNKNOWN
        return self._span_of_base(ident, record, top)

    def _span_of_base(
        self, ident: int, record: _ThreadRecord, top: FrameType
    ) -> Span | Unknown | None:
        of_thread = context_of_thread(ident)
        is_inside = is_in_context_of_thread(top)
        if of_thread is not None and is_inside and is_entered(of_thread):
            return self._span_in(of_thread)
        if of_thread is not None or is_inside:
            # A greenlet; or the thread is only beginning or ending; or its Context was replaced since.
            return UNKNOWN
        base = None if record.base is None else record.base.context()
        return None if base is None else self._span_in(base)

    def _running_task(
        self,
        record: _ThreadRecord | None,
        top: FrameType,
        place: Place,
    ) -> Task | Unknown | None:
        """The task that runs in `top`'s thread, proved by its coroutine's frame; None if there is none."""
        loop = record.loop() if record is not None and record.loop is not None else None
        if loop is None or not loop.is_running():
            loop = loop_in(top)
            if loop is None:
                return UNKNOWN if place == "coroutine" else None
        task = asyncio.current_task(loop)
        if task is None:
            # Coroutines that no task of this loop drives: another loop's, or hand-driven ones.
            return UNKNOWN if place == "coroutine" else None
        frame = frame_of_task(task)
        return task if frame is not None and is_on_stack(frame, top) else UNKNOWN

    def _span_of_task(self, record: _ThreadRecord | None, task: Task) -> Span | Unknown | None:
        context = context_of_task(task)
        if context is None:
            return UNKNOWN
        if record is not None:
            # A Context entered inside of the task's step, in which something was attached.
            for seen in reversed(record.entered):
                inner = seen.entered()
                if inner is None or inner is context:
                    continue
                if seen.task is None or seen.task() is not task:
                    break
                return self._span_in(inner) if seen.attached else UNKNOWN
        return self._span_in(context)

    def _span_in(self, context: contextvars.Context) -> Span | None:
        assert self._var is not None  # noqa: S101 - for the type checker: current_span returned before
        attached = plain(context.get(self._var))
        if attached is None:
            return None
        span = get_current_span(attached)
        span_context = span.get_span_context()
        if not span_context.is_valid or span_context.is_remote:
            return None
        return span


def _in_greenlet() -> bool:
    """Whether this code runs in a greenlet that is not its thread's first."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and greenlet.getcurrent().parent is not None


def _may_run_callback(record: _ThreadRecord, top: FrameType) -> bool:
    """Whether a loop written in C, which shows no frames of its own, may be running a callback."""
    loop = None if record.loop is None else record.loop()
    return loop is not None and loop.is_running() and top.f_code.co_filename != RUNNERS_FILE
