"""Threads of our own: daemons that never raise, and that collectors leave out of profiles."""

import logging
import os
import threading
from collections.abc import Callable

_log = logging.getLogger("otelprof")

_native_ids: set[int] = set()  # of those that run; each adds and removes its own


class OwnThread(threading.Thread):
    """A daemon thread of otelprof's. What its body raises is logged once and ends only this thread."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        super().__init__(name=f"otelprof-{name}", daemon=True)
        self._body = body

    def run(self) -> None:
        """Run the body and keep its errors from the application."""
        native_id = threading.get_native_id()
        _native_ids.add(native_id)
        try:
            self._body()
        except Exception:  # noqa: BLE001 - the top of a thread of ours
            _log.exception("%s stopped; the application is not affected", self.name)
        finally:
            _native_ids.discard(native_id)


def own_native_ids() -> frozenset[int]:
    """The kernel's ids of our threads that run now."""
    return frozenset(_native_ids)  # in one step under the GIL: ids are hashed without Python code


# None of them is in a forked child, where their ids may become those of the application's threads.
os.register_at_fork(after_in_child=_native_ids.clear)
