"""Mistakes in a thread of ours, or in code of the application's that it calls: they do not end the thread."""

import logging
from collections.abc import Callable

_log = logging.getLogger("otelprof")


class Mishaps:
    """Says each kind of mistake once. For one thread."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def survives(self, what: str, step: Callable[[], object]) -> bool:
        """Take a step called `what`, in words for a log line. False if it raised."""
        try:
            step()
        except Exception:  # noqa: BLE001 - as it says
            if what not in self._said:
                self._said.add(what)
                _log.exception("otelprof: %s has failed; otelprof goes on without", what)
            return False
        return True
