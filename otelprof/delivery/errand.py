"""A request to deliver everything now, and the wait for its end.

Whoever asks may be a signal's handler in the middle of the same, so nothing here takes a lock that its own
thread could hold already.
"""

from collections.abc import Collection

from otelprof.primitives import Event

WORKER = ""  # the part that is no lane


class Errand:
    """A flush, or the last one.

    Attributes:
        deadline_ns: by the monotonic clock, when whoever asked goes on.
        is_last: those who run it end after it.
        given_up: by lane, what it had given up before, in profiles.
        lanes_are_done: all parts but the worker.
        left: of the last one, what was not delivered, in words.
    """

    def __init__(self, parts: Collection[str], deadline_ns: int, *, is_last: bool) -> None:
        self.deadline_ns = deadline_ns
        self.is_last = is_last
        self.given_up: dict[str, int] = {}
        self._parts = frozenset(parts)
        self._reports: dict[str, bool] = {}
        self.left = ""
        self.lanes_are_done, self._is_done = Event(), Event()
        self._note_ends()

    def report(self, part: str, *, is_complete: bool) -> None:
        """`part` has done what it could; `is_complete` if nothing was given up or is left."""
        self._reports[part] = is_complete
        self._note_ends()

    def wait(self, timeout_s: float) -> bool:
        """Wait for all parts. True if they were in time and everything was delivered."""
        return self._is_done.wait(max(0.0, timeout_s)) and all(self._reports.values())

    def missing(self) -> frozenset[str]:
        """Parts that have not reported yet."""
        return self._parts - self._reports.keys()

    def cancel(self) -> None:
        """Nobody runs it any more."""
        for part in self.missing():
            self.report(part, is_complete=False)

    def _note_ends(self) -> None:
        missing = self.missing()
        if missing <= {WORKER}:
            self.lanes_are_done.set()
        if not missing:
            self._is_done.set()
