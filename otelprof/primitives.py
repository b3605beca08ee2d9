"""The interpreter's own threads and locks, also where gevent has put greenlets in their place.

Threads of ours must be real ones: as greenlets they would run only where the application lets them, and an id of theirs
would be that of the application's thread. And what they wait for must be real, too: gevent's locks would start
an event loop in each of them. gevent patches modules, so what this one has got before that stays as it is.
"""

import sys
import threading
from _thread import RLock
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = [
    "Event",
    "Lock",
    "RLock",
    "are_threads_greenlets",
    "are_threads_unusable",
    "get_ident",
    "start_new_thread",
]


def _original(name: str) -> Any:  # noqa: ANN401 - a function or a type
    """What `_thread` has under this name, or had before gevent patched it."""
    monkey = sys.modules.get("gevent.monkey")
    module = sys.modules["_thread"]
    return getattr(module, name) if monkey is None else monkey.get_original("_thread", name)


Lock: Callable[[], threading.Lock] = _original("allocate_lock")
get_ident: Callable[[], int] = _original("get_ident")
start_new_thread: Callable[..., int] = _original("start_new_thread")


def are_threads_greenlets() -> bool:
    """Whether `threading.Thread` starts greenlets by now."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def are_threads_unusable() -> bool:
    """Whether eventlet has patched threads or locks: it keeps no way to the interpreter's own."""
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


class Event(threading.Event):
    """One that a signal's handler may set, clear and wait for in the middle of the same.

    `threading.Event` holds a Lock meanwhile, for which its own thread would wait for ever. Here every step is a single
    one under the GIL.
    """

    def __init__(self) -> None:
        # Nothing of the base class's is used: its locks may be gevent's.
        self._is_set = False
        self._waiters: deque[threading.Lock] = deque()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake whoever waits."""
        self._is_set = True
        while self._waiters:
            try:
                self._waiters.popleft().release()
            except IndexError:  # a handler, or another thread, has woken the last one
                return

    def clear(self) -> None:
        """Have it not set any more."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, `timeout` seconds at most. True if it was."""
        if self._is_set:
            return True
        waiter = Lock()
        waiter.acquire()
        self._waiters.append(waiter)
        try:
            # It may have been set since by somebody who did not see the waiter.
            return (
                self.is_set() or waiter.acquire(timeout=_lock_timeout_s(timeout)) or self.is_set()
            )
        finally:
            with suppress(ValueError):  # whoever sets it takes the waiter away
                self._waiters.remove(waiter)


def _lock_timeout_s(timeout_s: float | None) -> float:
    return -1 if timeout_s is None else min(max(0.0, timeout_s), threading.TIMEOUT_MAX)
