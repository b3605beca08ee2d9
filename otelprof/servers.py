"""Servers and their processes: who only looks after others, when to begin in a worker, and how one ends.

Everything here is a fact about gunicorn, uvicorn, uWSGI, Celery or `multiprocessing`, named where it is used. None of
them is imported: what is not in `sys.modules` is not in use.
"""

import functools
import logging
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from otelprof.threads import run_soon

_log = logging.getLogger("otelprof")

# Programs of `multiprocessing`, and of its copies in billiard and loky, that run no code of the application's themselves.
_HELPER = re.compile(r"from [\w.]+\.(resource_tracker|semaphore_tracker|forkserver) import main")

# By module and name, what is on the stack of a process that forks a worker.
_FORKING = frozenset(
    {("gunicorn.arbiter", "spawn_worker"), ("celery.concurrency.prefork", "on_start")}
)
# The same for the main thread of a process whose workers are other programs.
_SUPERVISING = frozenset(
    {("uvicorn.supervisors.multiprocess", "run"), ("uvicorn.supervisors.basereload", "run")}
)

_IS_FOLLOWED = "_otelprof_follows"
_UVICORN = "uvicorn.server"
_UWSGI = "uwsgi"  # the program, and the module that it brings


class _Beginnings:
    """What is to begin in the processes that this one forks, and not in it."""

    def __init__(self) -> None:
        helper = _HELPER.search(" ".join(sys.orig_argv))
        self.helper = helper.group(1) if helper else ""
        self.starts: dict[Callable[[], None], None] = {}

    def begin(self) -> None:
        """In a child: call what was put off."""
        self.helper = ""
        starts, self.starts = self.starts, {}
        for start in starts:
            start()


_beginnings = _Beginnings()


def put_off(start: Callable[[], None]) -> bool:
    """Have `start` called in each child instead, if this process only forks others. True if so.

    Such are uWSGI before it forks (its master forks without Python's hooks, and threads of ours would be missing in
    its workers) and `multiprocessing`'s fork server. Its resource tracker forks nobody: `start` is not called at all.
    """
    is_uwsgi = _is_uwsgi_before_fork()
    if not _beginnings.helper and not is_uwsgi:
        return False
    _beginnings.starts[start] = None
    if is_uwsgi:
        _follow_uwsgi()
    return True


def after_fork_in_child() -> None:
    """In a child that Python has forked: call what was put off to it."""
    if _beginnings.helper:
        _beginnings.begin()


def forget(start: Callable[[], None]) -> None:
    """Call it nowhere."""
    _beginnings.starts.pop(start, None)


def _is_uwsgi_before_fork() -> bool:
    try:
        program = Path("/proc/self/exe").readlink()
    except OSError:
        return False
    if not program.name.startswith(_UWSGI):
        return False
    module: Any = sys.modules.get(_UWSGI)
    if not hasattr(module, "worker_id"):
        return True  # not even its module is complete: this is `sitecustomize`
    # A mule and a spooler are no workers, but not the master either. Without a master its id is 0.
    return bool(module.worker_id() == 0 and module.masterpid() in {0, os.getpid()})


def _follow_uwsgi() -> None:
    """Begin when uWSGI has forked: it calls `post_fork_hook` in each worker, mule and spooler.

    `uwsgidecorators` puts a hook of its own there, with a list that anybody may append to.
    """
    from wrapt import register_post_import_hook  # noqa: PLC0415 - here only

    # uWSGI fills the module that is there under this name, or makes one (plugins/python/python_plugin.c).
    module: Any = sys.modules.setdefault(_UWSGI, ModuleType(_UWSGI))
    before = getattr(module, "post_fork_hook", None)
    if before is None:
        module.post_fork_hook = _after_uwsgi_fork
        register_post_import_hook(_join_uwsgidecorators, "uwsgidecorators")


def _join_uwsgidecorators(module: Any) -> None:  # noqa: ANN401 - it has no types
    module.postfork_chain.append(_after_uwsgi_fork)


def _after_uwsgi_fork() -> None:
    core = sys.modules.get("otelprof._core")
    if core is not None:
        core.note_thread_id()
    _beginnings.begin()


def forks_workers(frame: FrameType | None) -> bool:
    """Whether this process, which has just forked where `frame` is, only manages workers from now on."""
    return _is_in(frame, _FORKING)


def supervises() -> bool:
    """Whether the main thread does nothing but look after workers that are programs of their own."""
    if "uvicorn.supervisors" not in sys.modules:
        return False
    ident = threading.main_thread().ident
    return _is_in(sys._current_frames().get(ident or 0), _SUPERVISING)  # noqa: SLF001 - CPython's own way


def _is_in(frame: FrameType | None, places: frozenset[tuple[str, str]]) -> bool:
    while frame is not None:
        if (frame.f_globals.get("__name__", ""), frame.f_code.co_name) in places:
            return True
        frame = frame.f_back
    return False


def before_uvicorn_ends(deliver: Callable[[], object], timeout_s: float) -> None:
    """Have `deliver` called, for `timeout_s` seconds at most, when a uvicorn server has shut down. Idempotent.

    It then raises the signal that has stopped it again (uvicorn/server.py, `capture_signals`), and SIGTERM ends the
    process there and then, without atexit. Where it is not imported yet this is to be called again, now and then,
    unless `opentelemetry-instrument` has imported wrapt, which tells when it is: to import that takes 50 ms.
    """
    module = sys.modules.get(_UVICORN)
    if module is not None:
        _follow_uvicorn(deliver, timeout_s, module)
    elif "wrapt" in sys.modules:
        _await_uvicorn(deliver, timeout_s)


@functools.cache
def _await_uvicorn(deliver: Callable[[], object], timeout_s: float) -> None:
    from wrapt import register_post_import_hook  # noqa: PLC0415 - see above

    register_post_import_hook(functools.partial(_follow_uvicorn, deliver, timeout_s), _UVICORN)


def _follow_uvicorn(deliver: Callable[[], object], timeout_s: float, module: ModuleType) -> None:
    server = getattr(module, "Server", None)
    shutdown = getattr(server, "shutdown", None)
    # The mark is copied by whoever wraps it again, as `functools.wraps` does.
    if shutdown is not None and not hasattr(shutdown, _IS_FOLLOWED):
        server.shutdown = _followed_by(deliver, timeout_s, shutdown)  # type: ignore[union-attr] # it has one


def _followed_by(
    deliver: Callable[[], object], timeout_s: float, shutdown: Callable[..., Awaitable[None]]
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(shutdown)
    async def shutdown_and_deliver(*arguments: object, **named: object) -> None:
        try:
            await shutdown(*arguments, **named)
        finally:
            await _in_own_thread(deliver, timeout_s)

    setattr(shutdown_and_deliver, _IS_FOLLOWED, True)
    return shutdown_and_deliver


async def _in_own_thread(work: Callable[[], object], timeout_s: float) -> None:
    """Wait for `work`, while the event loop runs on. Raises nothing but that the task is cancelled.

    The loop's own pool may be full of the application's threads, or closed.
    """
    import asyncio  # noqa: PLC0415 - uvicorn has imported it, others do without

    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def work_and_tell() -> None:
        try:
            work()
        finally:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(done.set)

    try:
        run_soon("end", work_and_tell)
        await asyncio.wait_for(done.wait(), timeout_s)
    except (TimeoutError, RuntimeError) as error:
        _log.warning("otelprof: the last profiles may not be delivered: %r", error)


def before_child_ends(profiler: object, stop: Callable[[], object]) -> None:
    """In a child that was just forked: have `stop` called when it leaves by `os._exit`, without atexit.

    `multiprocessing`, and billiard with it, runs its finalizers before that, but clears them after the fork and then
    calls those registered here, as long as there is `profiler` (Lib/multiprocessing/process.py, `_bootstrap`). A child
    of Celery's pool runs none, and sends a signal (billiard/pool.py, `_do_exit`).
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None:

        def stop_at_its_end(_: object) -> None:
            util.Finalize(profiler, stop, exitpriority=0)

        util.register_after_fork(profiler, stop_at_its_end)
    celery = sys.modules.get("celery.signals")
    if celery is not None:

        def stop_with_pool(**_: object) -> None:
            stop()

        celery.worker_process_shutdown.connect(stop_with_pool, weak=False, dispatch_uid="otelprof")
