"""Threads of our own: daemons that never raise, and that collectors leave out of profiles."""

import logging
import threading
from collections.abc import Callable

_log = logging.getLogger("otelprof")


class OwnThread(threading.Thread):
    """A daemon thread of otelprof's. What its body raises is logged once and ends only this thread."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        super().__init__(name=f"otelprof-{name}", daemon=True)
        self._body = body

    def run(self) -> None:
        """Run the body and keep its errors from the application."""
        try:
            self._body()
        except Exception:  # noqa: BLE001 - the top of a thread of ours
            _log.exception("%s stopped; the application is not affected", self.name)
