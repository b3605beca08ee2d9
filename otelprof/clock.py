"""The one clock: everything that waits or measures takes a `Clock`, so tests can own time."""

import threading
import time
from typing import Protocol

NS_PER_S = 1_000_000_000


def period_ns_of(rate_hz: float) -> int:
    """The time between two of `rate_hz` samples a second, in nanoseconds."""
    return round(NS_PER_S / rate_hz)


class Clock(Protocol):
    """Time as otelprof uses it. All methods are thread-safe."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back; the origin is arbitrary."""
        ...

    def unix_ns(self) -> int:
        """Nanoseconds since 1970 UTC. For labels only: it may jump."""
        ...

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait for `event`, `timeout_s` seconds at most. True if it is set."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def monotonic_ns(self) -> int:
        """CLOCK_MONOTONIC."""
        return time.monotonic_ns()

    def unix_ns(self) -> int:
        """CLOCK_REALTIME."""
        return time.time_ns()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait as `threading.Event` does; a negative time is none."""
        return event.wait(max(0.0, timeout_s))


SYSTEM_CLOCK: Clock = SystemClock()
