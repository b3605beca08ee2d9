"""Which span is current in another thread, read from plain Python.

OpenTelemetry keeps its context in one ContextVar. Python offers no way to read a ContextVar of another
thread, but a `contextvars.Context` object can be read from anywhere. So the question becomes: which
Context object is thread T in right now?

- If T runs an asyncio task: the task's own context.
- Else, the innermost Context in which something was attached on T and which is still entered. `attach`
  passes through `_RecordingContext`, which remembers (weakly) the Context that it happened in.
- Else, if T runs a job of a thread pool, the Context that the job was submitted with.
- Else T's base context, if something was ever attached in it.

What cannot be proved is `UNKNOWN`, never a guess. What this cannot see: code under a `Context.run` of another
kind outside a task, in which nothing is attached (docs/limits.md).

The sampler calls `span_ids` with the GIL held throughout, so what it reads belongs to one instant.
"""

import asyncio
import contextvars
import functools
import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from types import CodeType, FrameType
from typing import Any, Final, Literal, final

import opentelemetry.context as otel_context
from opentelemetry.context.context import Context as OtelContext
from opentelemetry.context.context import _RuntimeContext
from opentelemetry.trace import Span, get_current_span

_log = logging.getLogger("otelprof")

Task = asyncio.Task[Any]
OtelVar = contextvars.ContextVar[OtelContext]
Token = contextvars.Token[Any]


@final
class Unknown:
    """The type of `UNKNOWN`: a span may be current, but which one cannot be proved."""


UNKNOWN: Final = Unknown()

SpanIds = tuple[int, int, int]
"""Trace id, span id, and the span id of the local root, 0 if that is unknown."""

Place = Literal["thread", "coroutine", "loop", "callback", "job"]
PLACES: tuple[Place, ...] = ("thread", "coroutine", "loop", "callback", "job")
"""What a stack says about where its thread is.

`coroutine`: some frame is a coroutine's; `callback`: an event loop runs a callback;
`loop`: an event loop runs and does neither, so it waits; `job`: a thread pool runs a job, which may have
brought its own Context; `thread`: none of these.
"""


_RUN_FOREVER: CodeType = asyncio.BaseEventLoop.run_forever.__code__
_HANDLE_RUN: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001 - its frame says that the loop runs a callback or a task's step
_RUNNERS_FILE = asyncio.Runner.run.__code__.co_filename
# inspect.CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR
_COROUTINE_FLAGS = 0x80 | 0x100 | 0x200


class _Seen:
    """A Context in which something was attached on a thread."""

    __slots__ = ("context", "is_base", "task")

    def __init__(self, context: contextvars.Context, task: Task | None) -> None:
        self.context = weakref.ref(context)
        self.is_base = not _is_entered(context)
        self.task = None if task is None else weakref.ref(task)

    def entered(self) -> contextvars.Context | None:
        """The Context, if its thread is still inside it by `Context.run`."""
        context = self.context()
        return context if context is not None and _is_entered(context) else None


class _ThreadRecord:
    """What is known about one thread. Written by that thread, read by the sampler, under the GIL."""

    __slots__ = ("base", "entered", "has_greenlets", "loop")

    def __init__(self) -> None:
        self.base: _Seen | None = None
        self.entered: list[_Seen] = []  # outermost first; those left again are dropped lazily
        self.has_greenlets = False  # which swap the thread's base context
        self.loop: weakref.ref[asyncio.AbstractEventLoop] | None = None


class SpanReader:
    """Reads the current span of any thread. Install it once for each process."""

    def __init__(self, local_root_of: Callable[[Span], int]) -> None:
        self._local_root_of = local_root_of
        self._threads: dict[int, _ThreadRecord] = {}
        self._recording: _RecordingContext | None = None
        self._var: OtelVar | None = None

    def install(self) -> None:
        """Stand between OpenTelemetry and its runtime context.

        Where contexts cannot be read from another thread, every label is unknown, which one warning says.
        """
        inner = otel_context._RUNTIME_CONTEXT  # noqa: SLF001 - looked up at each call by OpenTelemetry, so replacing it is complete; there is no public seam after import
        var = getattr(inner, "_current_context", None)
        if not isinstance(var, contextvars.ContextVar):
            _log.warning("spans are not seen: %s keeps no ContextVar", type(inner).__qualname__)
            return
        if not _contexts_are_readable():
            _log.warning("spans are not seen: this interpreter does not show its contexts")
            return
        self._var = var
        self._recording = _RecordingContext(inner, self)
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
        _log.exception("spans are not seen any more")

    def after_fork(self) -> None:
        """Keep what is known of the only thread that a forked child has."""
        ident = threading.get_ident()
        self._threads = {k: record for k, record in self._threads.items() if k == ident}

    def keep_only(self, idents: AbstractSet[int]) -> None:
        """Drop what is known of threads other than these: they ended."""
        for ident in self._threads.keys() - idents:
            self._threads.pop(ident, None)

    def note_attach(self, token: Token) -> None:
        """Remember in which Context of this thread something was attached. Called by the thread itself."""
        context = _context_of(token)
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
        entered = record.entered
        if entered and entered[-1].context() is context:
            return
        if record.base is not None and record.base.context() is context:
            return
        seen = _Seen(context, task)
        if not seen.is_base:
            while entered and entered[-1].entered() is None:
                entered.pop()
            entered.append(seen)
            return
        if _in_greenlet() or (record.base is not None and record.base.context() is not None):
            record.has_greenlets = True
        record.base = seen

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
        return self._span_of_thread(record or _ThreadRecord(), top, place)

    def _span_of_thread(
        self, record: _ThreadRecord, top: FrameType, place: Place
    ) -> Span | Unknown | None:
        for seen in reversed(record.entered):
            context = seen.entered()
            if context is not None:
                return self._span_in(context)
        if place == "job":
            context = _context_of_job(top)
            if context is not None and _is_entered(context):
                return self._span_in(context)
        if place == "callback" or record.has_greenlets or "gevent" in sys.modules:
            return UNKNOWN
        if place == "thread" and _may_run_callback(record, top):
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
            loop = _loop_in(top)
            if loop is None:
                return UNKNOWN if place == "coroutine" else None
        task = asyncio.current_task(loop)
        if task is None:
            # Coroutines that no task of this loop drives: another loop's, or hand-driven ones.
            return UNKNOWN if place == "coroutine" else None
        frame = _frame_of(task)
        return task if frame is not None and _is_on_stack(frame, top) else UNKNOWN

    def _span_of_task(self, record: _ThreadRecord | None, task: Task) -> Span | Unknown | None:
        context = _context_of_task(task)
        if context is None:
            return UNKNOWN
        if record is not None:
            # A Context entered inside of the task's step, in which something was attached.
            for seen in reversed(record.entered):
                if seen.task is None or seen.task() is not task:
                    break
                inner = seen.entered()
                if inner is not None:
                    context = inner
                    break
        return self._span_in(context)

    def _span_in(self, context: contextvars.Context) -> Span | None:
        assert self._var is not None  # noqa: S101 - for the type checker: current_span returned before
        attached = context.get(self._var)
        if attached is None:
            return None
        span = get_current_span(attached)
        span_context = span.get_span_context()
        if not span_context.is_valid or span_context.is_remote:
            return None
        return span


class _RecordingContext(_RuntimeContext):
    """OpenTelemetry's runtime context with a note of where each attach happened."""

    def __init__(self, inner: _RuntimeContext, reader: SpanReader) -> None:
        self.inner = inner
        self.is_active = True
        self._reader = reader

    @property
    def _current_context(self) -> object:
        """The ContextVar, under the name that OpenTelemetry's own runtime context gives it."""
        return getattr(self.inner, "_current_context", None)

    def attach(self, context: OtelContext) -> Token:
        token = self.inner.attach(context)
        if not self.is_active:
            return token
        try:
            self._reader.note_attach(token)
        except Exception:  # noqa: BLE001 - whatever goes wrong with the label, the attach has succeeded
            self._reader.give_up()
        return token

    def get_current(self) -> OtelContext:
        return self.inner.get_current()

    def detach(self, token: Token) -> None:
        self.inner.detach(token)


def _in_greenlet() -> bool:
    """Whether this code runs in a greenlet that is not its thread's first."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and greenlet.getcurrent().parent is not None


def _may_run_callback(record: _ThreadRecord, top: FrameType) -> bool:
    """Whether a loop written in C, which shows no frames of its own, may be running a callback."""
    loop = None if record.loop is None else record.loop()
    return loop is not None and loop.is_running() and top.f_code.co_filename != _RUNNERS_FILE


def _contexts_are_readable() -> bool:
    """Whether the two facts hold that this module rests on; they do on CPython with a GIL."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False  # another thread could find a Context entered by our probe
    var: contextvars.ContextVar[int] = contextvars.ContextVar("otelprof_probe")
    context = contextvars.copy_context()
    token = context.run(var.set, 1)
    seen = _context_of(token)
    return seen is context and not _is_entered(context) and context.run(_is_entered, context)


def _is_entered(context: contextvars.Context) -> bool:
    """Whether some thread is inside `context` by `Context.run`.

    A Context refuses to be entered twice. `int()` runs no bytecode, so that the GIL is held from enter
    to exit and no other thread can find the Context entered by us (Python/context.c, `context_run`).
    """
    try:
        context.run(int)
    except RuntimeError:
        return True
    return False


def _context_of(token: Token) -> contextvars.Context | None:
    """The Context in which `token` was made, itself and not a copy.

    CPython's tokens visit it first (Python/context.c, `token_tp_traverse`).
    """
    for referent in gc.get_referents(token):
        if type(referent) is contextvars.Context:
            return referent
    return None


def _context_of_task(task: Task) -> contextvars.Context | None:
    """The Context in which `task` runs.

    `Task.get_context` exists from 3.12 on. On 3.11 a task visits its own Context before those of its
    done-callbacks (Modules/_asynciomodule.c, `TaskObj_traverse`).
    """
    if sys.version_info >= (3, 12):
        return task.get_context()
    for referent in gc.get_referents(task):
        if type(referent) is contextvars.Context:
            return referent
    return None


def _frame_of(task: Task) -> FrameType | None:
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    return frame if isinstance(frame, FrameType) else None


def _is_on_stack(frame: FrameType, top: FrameType | None) -> bool:
    while top is not None:
        if top is frame:
            return True
        top = top.f_back
    return False


def _context_of_job(top: FrameType | None) -> contextvars.Context | None:
    """The Context that a thread pool's job was given to run in: a copy of its submitter's, in most cases.

    `asyncio.to_thread` submits `partial(context.run, …)`, others submit `context.run`; anyio's worker has it
    in a local variable.
    """
    while top is not None:
        if top.f_code.co_qualname in _JOB_FRAMES:
            return _JOB_FRAMES[top.f_code.co_qualname](top.f_locals)
        top = top.f_back
    return None


def _context_of_work_item(names: Mapping[str, Any]) -> contextvars.Context | None:
    function = getattr(names.get("self"), "fn", None)
    while isinstance(function, functools.partial):
        function = function.func
    context = getattr(function, "__self__", None)
    return context if type(context) is contextvars.Context else None


def _context_of_anyio_worker(names: Mapping[str, Any]) -> contextvars.Context | None:
    context = names.get("context")
    return context if type(context) is contextvars.Context else None


# The frames of thread pools that run a job, by qualified name, and how to find the job's Context in them.
_JOB_FRAMES: dict[str, Callable[[Mapping[str, Any]], contextvars.Context | None]] = {
    "_WorkItem.run": _context_of_work_item,  # concurrent.futures.thread
    "WorkerThread.run": _context_of_anyio_worker,  # anyio._backends._asyncio
}


def _loop_in(top: FrameType | None) -> asyncio.AbstractEventLoop | None:
    """The loop whose `run_forever` is on the stack: needed where nothing was attached on its thread yet."""
    while top is not None:
        if top.f_code is _RUN_FOREVER:
            loop = top.f_locals.get("self")
            return loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        top = top.f_back
    return None


def place_of(codes: Iterable[CodeType]) -> Place:
    """What the code objects of a stack say about where its thread is."""
    place: Place = "thread"
    for code in codes:
        if code.co_flags & _COROUTINE_FLAGS:
            return "coroutine"
        if code is _HANDLE_RUN:
            place = "callback"
        elif code is _RUN_FOREVER and place == "thread":
            place = "loop"
        elif code.co_qualname in _JOB_FRAMES and place == "thread":
            place = "job"
    return place
