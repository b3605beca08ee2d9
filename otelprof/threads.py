"""Threads of our own: daemons that never raise, and that collectors leave out of profiles."""

import _thread
import logging
import os
import threading
from collections.abc import Callable

_log = logging.getLogger("otelprof")

# The kernel's ids by ident, of those that run; each adds and removes its own.
_own: dict[int, int] = {}


class OwnThread(threading.Thread):
    """A daemon thread of otelprof's. What its body raises is logged once and ends only this thread."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        super().__init__(name=_full(name), daemon=True)
        self._body = body

    def run(self) -> None:
        """Run the body and keep its errors from the application."""
        _run(self.name, self._body)


def run_soon(name: str, body: Callable[[], None]) -> None:
    """Run `body` as an `OwnThread` does, without waiting until it runs; `threading` does not know that thread.

    `Thread.start` waits, which takes until the caller is given the GIL again.

    Raises:
        RuntimeError: Python refuses a thread.
    """
    _thread.start_new_thread(_run, (_full(name), body))


def own_threads() -> dict[int, int]:
    """Our threads that run now: by `threading.get_ident`, the kernel's id."""
    return dict(_own)  # in one step under the GIL: ids are hashed without Python code


def own_native_ids() -> frozenset[int]:
    """The kernel's ids of our threads that run now."""
    return frozenset(own_threads().values())


def _full(name: str) -> str:
    return f"otelprof-{name}"


def _run(name: str, body: Callable[[], None]) -> None:
    ident = threading.get_ident()
    _own[ident] = threading.get_native_id()
    try:
        body()
    except Exception:  # noqa: BLE001 - the top of a thread of ours
        _log.exception("%s stopped; the application is not affected", name)
    finally:
        _own.pop(ident, None)


# None of them is in a forked child, where their ids may become those of the application's threads.
os.register_at_fork(after_in_child=_own.clear)
