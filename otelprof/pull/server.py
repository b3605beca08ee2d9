"""Accepts connections at the configured address, for as long as the profiler runs, from a thread of its own.

Each process has a socket of its own, or none: what a forked child inherits it lets go of at once, and then tries for
itself. Where the address is taken it tries again: the process that has it may end, or leave its work to others.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from errno import EADDRINUSE
from typing import TYPE_CHECKING

from otelprof.clock import SYSTEM_CLOCK
from otelprof.delivery.windows import Reader, Reading
from otelprof.forks import kept_whole
from otelprof.primitives import Event
from otelprof.pull_settings import PullSettings, place_of
from otelprof.threads import OwnThread

if TYPE_CHECKING:
    from otelprof.pull.crew import Crew  # what it imports is for the thread
    from otelprof.pull.listener import Listener

RETRY_S = 1.0
_PATIENCE = (
    3  # failures in a row before a taken address is said: children that live for less say nothing
)

_log = logging.getLogger("otelprof")


class _Serving:
    """What one start has begun. The thread of an earlier one may end later, and leaves this as it is."""

    def __init__(self) -> None:
        self.is_closing = Event()
        self.listener: Listener | None = None
        self.crew: Crew | None = None

    def close(self) -> None:
        self.is_closing.set()
        if self.listener is not None:
            self.listener.close()
        if self.crew is not None:
            self.crew.close()

    def let_go(self) -> None:
        """In a forked child: of the parent's sockets."""
        if self.listener is not None:
            self.listener.forget()
        if self.crew is not None:
            self.crew.let_go()


class PullServer:
    """Serves profiles over HTTP.

    Args:
        settings: with an address.
        kinds: of profiles that are collected.
        read: `Pipeline.read`.
    """

    def __init__(
        self, settings: PullSettings, kinds: Sequence[str], read: Callable[[Reading], object]
    ) -> None:
        self._settings = settings
        self._kinds = kinds
        self._read = read
        self._reset()

    def _reset(self) -> None:
        self._serving: _Serving | None = None  # of the last start, also when it is over
        self._said: set[str] = set()
        self._failures = 0  # in a row, to listen

    def start(self) -> None:
        """Begin to listen, soon. Idempotent."""
        if self._serving is None or self._serving.is_closing.is_set():
            serving = self._serving = _Serving()
            try:
                OwnThread("pull", lambda: self._run(serving)).start()
            except RuntimeError as error:  # the system, or Python at its end, refuses a thread
                self._serving = None
                self._say(f"nothing listens: {error}")

    def close(self) -> None:
        """Listen no more. Profiles that are being taken end at once, with what there is. Idempotent."""
        if self._serving is not None:
            self._serving.close()

    def stop(self, timeout_s: float) -> None:
        """The same, and wait for the last answers to be sent, so many seconds at most. Idempotent."""
        self.close()
        if self._serving is not None and self._serving.crew is not None:
            self._serving.crew.finish(timeout_s)

    def after_fork(self) -> None:
        """In a forked child: let go of the parent's sockets. Microseconds, without a lock."""
        if self._serving is not None:
            self._serving.let_go()
        self._reset()

    def statistics(self) -> dict[str, int]:
        """Counters of connections, whether it listens, and at which port; see docs/running.md. From any thread."""
        serving = self._serving or _Serving()
        listener, crew = serving.listener, serving.crew
        counts = {} if crew is None else crew.statistics()
        counts["listening"] = int(listener is not None and listener.is_open)
        counts["port"] = 0 if listener is None else listener.port
        return {f"pull.{name}": count for name, count in counts.items()}

    def ledgers(self) -> Mapping[str, Mapping[str, int]]:
        """As `metrics.Source.ledgers`: nothing is delivered here."""
        return {}

    def _run(self, serving: _Serving) -> None:
        with kept_whole():
            from otelprof.pull.crew import Crew  # noqa: PLC0415 - see above
            from otelprof.pull.endpoints import endpoints_of  # noqa: PLC0415 - see above
            from otelprof.pull.exchange import Exchange  # noqa: PLC0415 - see above
        place, token = place_of(self._settings.address), self._settings.token
        exchange = Exchange(endpoints_of(self._kinds), Reader(self._read), place, token)
        crew = serving.crew = Crew(exchange)
        while not serving.is_closing.is_set():
            listener = self._opened(serving)
            if listener is not None:
                self._accept(listener, crew, serving.is_closing)
            SYSTEM_CLOCK.wait(serving.is_closing, RETRY_S)
        crew.close()

    def _opened(self, serving: _Serving) -> "Listener | None":
        from otelprof.pull.listener import Listener  # noqa: PLC0415 - see above

        address = self._settings.address
        try:
            with kept_whole():  # a child is to know all that it inherits
                listener = serving.listener = Listener(place_of(address))
                if serving.is_closing.is_set():  # `close` may not have seen it
                    listener.close()
                    return None
        except OSError as error:
            self._failures += 1
            if error.errno == EADDRINUSE and self._failures < _PATIENCE:
                return None
            self._say(
                f"cannot listen at {address}: {error}; tries again every {RETRY_S:g} s, and the service goes on. "
                "Processes that share a setting need a range of ports or {pid} in a path (docs/pull.md)"
            )
            return None
        self._failures = 0
        _log.info("otelprof: pull: listens at %s", listener.url)
        return listener

    def _accept(self, listener: "Listener", crew: "Crew", is_closing: Event) -> None:
        """Accept until it is closed, by us or by a program that closes all descriptors."""
        while not is_closing.is_set():
            try:
                connection = listener.accept()
            except OSError as error:
                if is_closing.is_set():
                    return
                self._say(f"a connection cannot be accepted: {error}")
                if not listener.is_own():
                    listener.close()
                    return
                SYSTEM_CLOCK.wait(is_closing, RETRY_S)  # there may be no descriptor left
            else:
                crew.take(connection)

    def _say(self, message: str) -> None:
        """Once."""
        if message not in self._said:
            self._said.add(message)
            _log.warning("otelprof: pull: %s", message)
