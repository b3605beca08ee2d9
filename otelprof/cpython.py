"""What CPython shows of the contexts of other threads: facts about the interpreter, each with its source.

`context.py` decides with them which span a thread is in. Where the first of them fails at start
(`contexts_are_readable`), no label is given at all.
"""

import asyncio
import contextvars
import dis
import functools
import gc
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from types import CodeType, FrameType
from typing import Any, Literal

Task = asyncio.Task[Any]

Place = Literal["thread", "coroutine", "loop", "callback", "job"]
PLACES: tuple[Place, ...] = ("thread", "coroutine", "loop", "callback", "job")
"""What a stack says about where its thread is.

`coroutine`: some frame is a coroutine's; `callback`: an event loop runs a callback;
`loop`: an event loop runs and does neither, so it waits; `job`: a thread pool runs a job, which may have
brought its own Context; `thread`: none of these.
"""


_RUN_FOREVER: CodeType = asyncio.BaseEventLoop.run_forever.__code__
_HANDLE_RUN: CodeType = asyncio.Handle._run.__code__  # noqa: SLF001 - its frame says that the loop runs a callback or a task's step
RUNNERS_FILE = asyncio.Runner.run.__code__.co_filename
# inspect.CO_COROUTINE, CO_ITERABLE_COROUTINE, CO_ASYNC_GENERATOR
_COROUTINE_FLAGS = 0x80 | 0x100 | 0x200


def contexts_are_readable() -> bool:
    """Whether the two facts hold that this module rests on; they do on CPython with a GIL."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False  # another thread could find a Context entered by our probe
    var: contextvars.ContextVar[int] = contextvars.ContextVar("otelprof_probe")
    context = contextvars.copy_context()
    token = context.run(var.set, 1)
    seen = context_of_token(token)
    return seen is context and not is_entered(context) and context.run(is_entered, context)


def is_entered(context: contextvars.Context) -> bool:
    """Whether some thread is inside `context` by `Context.run`.

    A Context refuses to be entered twice. `int()` runs no bytecode, so that the GIL is held from enter
    to exit and no other thread can find the Context entered by us (Python/context.c, `context_run`).
    """
    try:
        context.run(int)
    except RuntimeError:
        return True
    return False


def context_of_token(token: contextvars.Token[Any]) -> contextvars.Context | None:
    """The Context in which `token` was made, itself and not a copy.

    CPython's tokens visit it first (Python/context.c, `token_tp_traverse`).
    """
    for referent in gc.get_referents(token):
        if type(referent) is contextvars.Context:
            return referent
    return None


def context_of_task(task: Task) -> contextvars.Context | None:
    """The Context in which `task` runs.

    `Task.get_context` exists from 3.12 on. On 3.11 a task visits its own Context before those of its
    done-callbacks (Modules/_asynciomodule.c, `TaskObj_traverse`).
    """
    if sys.version_info >= (3, 12):
        return task.get_context()
    contexts = [r for r in gc.get_referents(task) if type(r) is contextvars.Context]
    # A subclass of Task may have others in slots of its own, which come first.
    if not contexts or (type(task) is not asyncio.Task and len(contexts) > 1):
        return None
    return contexts[0]


_THREADS: Mapping[int, threading.Thread] = getattr(threading, "_active", {})
_BOOTSTRAP: CodeType | None = getattr(
    getattr(threading.Thread, "_bootstrap_inner", None), "__code__", None
)


def _line_that_names(name: str, code: CodeType | None) -> int | None:
    for instruction in () if code is None else dis.get_instructions(code):
        if instruction.argval == name and instruction.positions is not None:
            return instruction.positions.lineno
    return None


# Where `Thread._bootstrap_inner` enters the thread's Context; None before 3.14, which does not, and where another
# tool put its own in that place.
_CONTEXT_LINE = _line_that_names("_context", _BOOTSTRAP)


def context_of_thread(ident: int) -> contextvars.Context | None:
    """The Context in which `threading` runs the whole of a thread; None if it runs this one in none.

    From 3.14 on (gh-128555) every `Thread` has one: an empty one, a copy of its starter's, or what it was
    given as `context`. The first thread and those that C started have none.
    """
    if sys.version_info < (3, 14):
        return None  # a subclass may have something of its own under that name
    thread = _THREADS.get(ident)
    # Not by getattr: a subclass may have a property of that name.
    context = None if thread is None else vars(thread).get("_context")
    return context if type(context) is contextvars.Context else None


def is_in_context_of_thread(top: FrameType | None) -> bool:
    """Whether `top`'s callers show that `threading` runs this code in the thread's Context.

    A greenlet's frames end where it began, so that they do not show it, and its Context is another one.
    """
    while _CONTEXT_LINE is not None and top is not None:
        if top.f_code is _BOOTSTRAP:
            return top.f_lineno == _CONTEXT_LINE
        top = top.f_back
    return False


def frame_of_task(task: Task) -> FrameType | None:
    """The frame of the coroutine that `task` drives; None if that is not a Python one."""
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
    return frame if isinstance(frame, FrameType) else None


def is_on_stack(frame: FrameType, top: FrameType | None) -> bool:
    """Whether `frame` is `top` or one of its callers."""
    while top is not None:
        if top is frame:
            return True
        top = top.f_back
    return False


def context_of_job(top: FrameType | None) -> contextvars.Context | None:
    """The Context that a thread pool's job was given to run in: a copy of its submitter's, in most cases.

    `asyncio.to_thread` submits `partial(context.run, …)`, others submit `context.run`; anyio's worker has it
    in a local variable.
    """
    while top is not None:
        if _is_job(top.f_code):
            return _JOB_FRAMES[top.f_code.co_qualname][1](top.f_locals)
        top = top.f_back
    return None


def _is_job(code: CodeType) -> bool:
    known = _JOB_FRAMES.get(code.co_qualname)
    return known is not None and code.co_filename.endswith(known[0])


def _context_of_work_item(names: Mapping[str, Any]) -> contextvars.Context | None:
    item = names.get("self")
    function = getattr(item, "fn", None)
    if function is None:  # 3.14 on (gh-124694): function, arguments, keyword arguments
        function = next(iter(getattr(item, "task", ())), None)
    while isinstance(function, functools.partial):
        function = function.func
    context = getattr(function, "__self__", None)
    return context if type(context) is contextvars.Context else None


def _context_of_anyio_worker(names: Mapping[str, Any]) -> contextvars.Context | None:
    context = names.get("context")
    return context if type(context) is contextvars.Context else None


# The frames of thread pools that run a job: qualified name, end of the file's name, how to find the Context.
_JOB_FRAMES: dict[str, tuple[str, Callable[[Mapping[str, Any]], contextvars.Context | None]]] = {
    "_WorkItem.run": ("concurrent/futures/thread.py", _context_of_work_item),
    "WorkerThread.run": ("anyio/_backends/_asyncio.py", _context_of_anyio_worker),
}


def loop_in(top: FrameType | None) -> asyncio.AbstractEventLoop | None:
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
        elif place == "thread" and _is_job(code):
            place = "job"
    return place
