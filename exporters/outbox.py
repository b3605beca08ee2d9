"""How a batch leaves: in as many requests as the receiver's limits need, each of them once.

What was sent of a batch is not sent again when the rest of it is retried. A request that is too large for its receiver
is sent in halves, and the next ones are smaller from the start. The requests that are left are kept as they
are, since the batch may come back read from a file, with its rows in another order.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from otelprof.exporters.splitting import LIMITS, Limits, Part, requests_of, size_bound
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch, Profile

# Requests are made no smaller than this for a receiver that finds them too large: it means something else by that.
_SMALLEST_BYTES = 65_536


class _Request(NamedTuple):
    body: bytes
    parts: tuple[Part, ...]

    @property
    def wholes(self) -> tuple[int, ...]:
        """The numbers of the profiles that it is of."""
        return tuple(dict.fromkeys(part.whole for part in self.parts))


class Outbox:
    """Sends batches. Used by one thread at a time.

    Args:
        encode: makes the body of a request; an empty one is not sent, since there is nothing to say.
        send: sends one within so many seconds.
        limits: what fits into one, as far as is known.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[Profile]], bytes],
        send: Callable[[bytes, float], Outcome],
        limits: Limits = LIMITS,
    ) -> None:
        self._encode = encode
        self._send = send
        self._limits: Limits = limits
        self._made_by: Limits = limits  # the requests of the present batch
        self._delivered_bytes = 0  # by one call of `export`
        self.forget()

    def forget(self) -> None:
        """Let go of what is left of a batch."""
        self._ids: tuple[bytes, ...] = ()
        self._left: Iterator[tuple[Part, ...]] = iter(())
        self._first: _Request | None = None
        self._delivered = False
        self._rejected: set[int] = set()
        self._reason = ""
        self._warning = ""

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        """Send `batch`, or what is left of it since the last call; one outcome for all of it."""
        ends_s = time.monotonic() + timeout_s
        self._delivered_bytes = 0
        ids = tuple(profile.profile_id for profile in batch.profiles)
        if ids != self._ids or not all(ids):
            self.forget()
            self._ids = ids
            self._made_by = self._limits
            requests = requests_of(batch.profiles, self._made_by)
            self._left = chain.from_iterable(map(self._as_small_as_known, requests))
        try:
            outcome = self._send_what_is_left(ends_s)
        except Exception:
            self.forget()
            raise
        if outcome.verdict != "retry":
            self.forget()
        return replace(outcome, delivered_bytes=self._delivered_bytes)

    def _send_what_is_left(self, ends_s: float) -> Outcome:
        while (request := self._next()) is not None:
            left_s = ends_s - time.monotonic()
            if left_s <= 0:
                return Outcome("retry", "there was no time for all of it")
            outcome = self._send(request.body, left_s) if request.body else DELIVERED
            if outcome.verdict == "retry":
                return outcome
            if outcome.is_too_large and self._halve(request):
                continue
            self._note(request, outcome)
            self._first = None
        return self._outcome()

    def _next(self) -> _Request | None:
        if self._first is None:
            parts = next(self._left, None)
            if parts is not None:
                body = self._encode([part.profile for part in parts])
                self._first = _Request(body, parts)
        return self._first

    def _halve(self, request: _Request) -> bool:
        """Send what is in `request` in smaller ones, and all that come later. False if it cannot be."""
        max_bytes = sum(size_bound(part.profile) for part in request.parts) // 2
        if max_bytes < _SMALLEST_BYTES:
            return False
        before = self._limits
        self._limits = before._replace(max_bytes=min(max_bytes, before.max_bytes))
        smaller = self._as_small_as_known(request.parts)
        if len(smaller) == 1:
            self._limits = before
            return False  # one sample, which is never cut
        self._left = chain(smaller, self._left)
        self._first = None
        return True

    def _as_small_as_known(self, parts: tuple[Part, ...]) -> Sequence[tuple[Part, ...]]:
        """A request in as many as the receiver needs by what was learned since it was made."""
        if self._limits == self._made_by:
            return [parts]
        if sum(size_bound(part.profile) for part in parts) <= self._limits.max_bytes:
            return [parts]
        return [
            tuple(Part(smaller.profile, parts[smaller.whole].whole) for smaller in request)
            for request in requests_of([part.profile for part in parts], self._limits)
        ]

    def _note(self, request: _Request, outcome: Outcome) -> None:
        if outcome.verdict == "delivered" and outcome.rejected_profiles <= 0:
            self._warning = self._warning or outcome.reason
        else:
            self._reason = self._reason or outcome.reason
        if outcome.verdict == "refused":
            self._rejected.update(request.wholes)
        else:
            self._delivered = True
            self._delivered_bytes += len(request.body)
            # A receiver says how many, not which.
            self._rejected.update(request.wholes[: max(0, outcome.rejected_profiles)])

    def _outcome(self) -> Outcome:
        """A profile of which a part was refused counts as refused."""
        if not self._rejected:
            return replace(DELIVERED, reason=self._warning)
        if not self._delivered:
            return Outcome("refused", self._reason)
        return Outcome("delivered", self._reason, rejected_profiles=len(self._rejected))
