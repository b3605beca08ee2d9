"""How fast batches leave."""

from otelprof.clock import NS_PER_S

REPLAY_PROFILES_PER_S = 2.0


class Pace:
    """How fast batches may leave: those that come fresh at once, a backlog at a bounded rate beyond them.

    After an outage every process of a service has a backlog. The receiver, perhaps just up, is not to get all at once.
    """

    def __init__(self, profiles_per_s: float = REPLAY_PROFILES_PER_S) -> None:
        self._ns_per_profile = round(NS_PER_S / profiles_per_s)
        self._fresh = 0
        self._free_ns = 0

    def came(self, profiles: int) -> None:
        """A fresh batch has come, and nothing hinders it from leaving."""
        self._fresh += profiles

    def stopped(self) -> None:
        """Nothing leaves for now: what has come is backlog."""
        self._fresh = 0

    def left(self, profiles: int, now_ns: int) -> None:
        """A batch has left."""
        of_backlog = max(0, profiles - self._fresh)
        self._fresh = max(0, self._fresh - profiles)
        if of_backlog:
            self._free_ns = max(self._free_ns, now_ns) + of_backlog * self._ns_per_profile

    def due_ns(self) -> int:
        """When the next may leave."""
        return 0 if self._fresh else self._free_ns
