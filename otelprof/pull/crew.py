"""The threads that answer: few, each one connection at a time, started when they are needed and kept.

They are kept because a thread that lives shorter than a look at the threads would be sampled as the application's.
Whoever has sent its request is answered; of those that have not, the oldest makes room for who comes next.
"""

import logging
from _socket import SHUT_RD, SHUT_RDWR
from collections import Counter, deque
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK
from otelprof.primitives import Event, RLock
from otelprof.pull.exchange import MAX_TAKEN, Exchange, Watch
from otelprof.pull.listener import hang_up, let_go
from otelprof.threads import OwnThread

if TYPE_CHECKING:
    from _socket import socket

MAX_THREADS = MAX_TAKEN + 4  # some can always read requests
_log = logging.getLogger("otelprof")

_PATIENCE_S = 0.02
_EVICTION_S = 1.0  # for a thread to see that its connection was given up


class Crew:
    """Answers connections. `take` is called by one thread, all else by any."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._lock = RLock()  # `close` may come in a signal's handler
        self._members: list[_Member] = []
        self._idle: deque[_Member] = deque()
        self._is_freed = Event()
        self._is_closing = False
        self._taken = 0
        self._number = 0
        self._counts: Counter[str] = Counter()

    def take(self, connection: "socket") -> None:
        """Have `connection` answered, or hang up where there is no room."""
        self.count("connections")
        self._number += 1
        member = self._free_member()
        if member is None:
            hang_up(connection)
            self.count("unanswered")
        else:
            member.serve(connection, self._number)

    def close(self) -> None:
        """Answer nobody who comes now; profiles that are being taken end with what there is. Idempotent."""
        with self._lock:
            self._is_closing = True
            for member in self._members:
                member.hurry()

    def finish(self, timeout_s: float) -> None:
        """Wait until all are answered, so many seconds at most, and hang up on the others."""
        end_ns = SYSTEM_CLOCK.monotonic_ns() + round(timeout_s * NS_PER_S)
        for member in self._members:
            left_s = (end_ns - SYSTEM_CLOCK.monotonic_ns()) / NS_PER_S
            member.has_ended.wait(max(0.0, left_s))
        with self._lock:
            for member in self._members:
                member.interrupt()

    def let_go(self) -> None:
        """In a forked child, which has none of the threads: leave their connections to the parent."""
        for member in self._members:
            member.let_go()

    def statistics(self) -> dict[str, int]:
        """What became of the connections so far; they are as many as were served, refused, unanswered or are open."""
        with self._lock:
            counts = Counter(self._counts)
        ended = counts["served"] + counts["refused"] + counts["unanswered"]
        names = ("connections", "served", "refused", "unanswered")
        return {
            **dict.fromkeys(names, 0),
            **counts,
            "open": counts["connections"] - ended,
            "taking": self._taken,
        }

    def count(self, *names: str) -> None:
        """Add one to each."""
        with self._lock:
            self._counts.update(names)

    def may_take(self) -> bool:
        """As `Watch.may_take`."""
        with self._lock:
            if self._taken >= MAX_TAKEN:
                return False
            self._taken += 1
            return True

    def has_taken(self) -> None:
        """As `Watch.has_taken`."""
        with self._lock:
            self._taken -= 1

    def is_closing(self) -> bool:
        """As `Watch.is_closing`."""
        return self._is_closing

    def run(self, member: "_Member", connection: "socket") -> None:
        """Answer one connection, in the thread of `member`."""
        status: HTTPStatus | None = None
        try:
            status = self._exchange.run(connection, member)
        except Exception:  # noqa: BLE001 - the thread is for others, too
            _log.exception("otelprof: pull: a connection could not be answered")
        finally:
            with self._lock:
                member.connection, member.is_reading = None, False
            hang_up(connection)
            if status is None:
                self.count("unanswered")
            elif status < HTTPStatus.BAD_REQUEST:
                self.count("served")
            else:
                self.count("refused", f"refused.{status.value}")
            self._idle.append(member)
            self._is_freed.set()

    def _free_member(self) -> "_Member | None":
        if not self._idle and len(self._members) < MAX_THREADS:
            member = _Member(self, len(self._members) + 1)
            try:
                member.start()
            except RuntimeError:  # the system refuses a thread
                pass
            else:
                with self._lock:
                    self._members.append(member)
                    if self._is_closing:
                        member.hurry()
                return member
        if not self._idle:
            self._is_freed.clear()
            # Many that come at once are answered one after the other: only who says nothing makes room.
            if not self._idle and not self._is_freed.wait(_PATIENCE_S) and self._evict():
                self._is_freed.wait(_EVICTION_S)
        return self._idle.popleft() if self._idle else None

    def _evict(self) -> bool:
        """Give up the connection that has taken longest to say what it wants; False if there is none."""
        with self._lock:
            reading = [member for member in self._members if member.is_reading]
            if not reading:
                return bool(self._idle)
            min(reading, key=lambda member: member.number).interrupt()
            return True


class _Member:
    """One of the threads.

    Attributes:
        number: of its connection; the smallest is the oldest.
        connection: that it answers; None if it is idle.
        is_reading: the request is not there yet.
        has_ended: it answers nobody any more.
    """

    def __init__(self, crew: Crew, name: int) -> None:
        self.number = 0
        self.connection: socket | None = None
        self.is_reading = False
        self.has_ended = Event()
        self._crew = crew
        self._name = name
        self._is_wanted = Event()

    def start(self) -> None:
        """Start its thread.

        Raises:
            RuntimeError: Python refuses it.
        """
        OwnThread(f"pull-{self._name}", self._run).start()

    def serve(self, connection: "socket", number: int) -> None:
        """Answer `connection`. For the accepting thread, while it is idle."""
        self.number = number
        self.connection = connection
        self.is_reading = True
        self._is_wanted.set()

    def hurry(self) -> None:
        """The server stops: end what waits. Holding the crew's lock."""
        connection = self.connection
        if connection is not None:
            with suppress(OSError):
                connection.shutdown(SHUT_RDWR if self.is_reading else SHUT_RD)
        self._is_wanted.set()

    def interrupt(self) -> None:
        """End its connection. Holding the crew's lock, without which it may be another's by now."""
        if self.connection is not None:
            with suppress(OSError):
                self.connection.shutdown(SHUT_RDWR)

    def let_go(self) -> None:
        """As `Crew.let_go`."""
        if self.connection is not None:
            let_go(self.connection)

    def has_read(self) -> None:
        """As `Watch.has_read`."""
        with self._crew._lock:  # noqa: SLF001 - of one piece
            self.is_reading = False

    def may_take(self) -> bool:
        """As `Watch.may_take`."""
        return self._crew.may_take()

    def has_taken(self) -> None:
        """As `Watch.has_taken`."""
        self._crew.has_taken()

    def is_closing(self) -> bool:
        """As `Watch.is_closing`."""
        return self._crew.is_closing()

    def _run(self) -> None:
        try:
            while True:
                self._is_wanted.wait()
                self._is_wanted.clear()
                connection = self.connection
                if connection is not None:
                    self._crew.run(self, connection)
                if self._crew.is_closing():
                    return
        finally:
            self.has_ended.set()


if TYPE_CHECKING:
    _checked: type[Watch] = _Member
