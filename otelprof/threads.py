"""Threads of our own: daemons that never raise, and that collectors leave out of profiles."""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from otelprof import primitives
from otelprof.primitives import Event, are_threads_greenlets, get_ident

_log = logging.getLogger("otelprof")

# The kernel's ids by ident, of those that run; each adds and removes its own.
_own: dict[int, int] = {}


class OwnThread(threading.Thread):
    """A daemon thread of otelprof's. What its body raises is logged once and ends only this thread.

    A real one also where gevent has patched `threading`, which then does not know it.
    """

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        super().__init__(name=_full(name), daemon=True)
        self._body = body
        self._end: Event | None = None  # where `threading` does not know the thread

    def start(self) -> None:
        """Start it.

        Raises:
            RuntimeError: Python refuses a thread.
        """
        if not are_threads_greenlets():
            super().start()
            return
        self._end = Event()
        primitives.start_new_thread(self.run, ())

    def run(self) -> None:
        """Run the body and keep its errors from the application."""
        try:
            _run(self.name, self._body)
        finally:
            if self._end is not None:
                self._end.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, `timeout` seconds at most."""
        if self._end is None:
            super().join(timeout)
        else:
            self._end.wait(timeout)

    def is_alive(self) -> bool:
        """Whether it has started and not ended."""
        return super().is_alive() if self._end is None else not self._end.is_set()

    def _delete(self) -> None:
        # Where gevent has patched `threading` since the start, that looks for another thread than this.
        with suppress(KeyError):
            super()._delete()  # type: ignore[misc] # private, and in every CPython that we run on


def run_soon(name: str, body: Callable[[], None]) -> None:
    """Run `body` as an `OwnThread` does, without waiting until it runs; `threading` does not know that thread.

    `Thread.start` waits, which takes until the caller is given the GIL again.

    Raises:
        RuntimeError: Python refuses a thread.
    """
    primitives.start_new_thread(_run, (_full(name), body))


def own_threads() -> dict[int, int]:
    """Our threads that run now: by ident, the kernel's id."""
    return dict(_own)  # in one step under the GIL: ids are hashed without Python code


def own_native_ids() -> frozenset[int]:
    """The kernel's ids of our threads that run now."""
    return frozenset(own_threads().values())


def _full(name: str) -> str:
    return f"otelprof-{name}"


def _run(name: str, body: Callable[[], None]) -> None:
    ident = get_ident()
    _own[ident] = threading.get_native_id()
    try:
        body()
    except Exception:  # noqa: BLE001 - the top of a thread of ours
        _log.exception("%s stopped; the application is not affected", name)
    finally:
        _own.pop(ident, None)


# None of them is in a forked child, where their ids may become those of the application's threads.
os.register_at_fork(after_in_child=_own.clear)
