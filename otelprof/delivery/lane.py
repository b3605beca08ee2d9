"""One exporter and its thread: what waits for it leaves in order, and nobody else waits for it.

This is the one retry loop. The exporter says what an answer means, the lane what follows from it. While a
receiver does not take anything, only the oldest batch is tried, once in each backoff: that is the circuit, and
its single probe.
"""

import errno
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, get_args

from otelprof.backoff import MAX_RETRY_AFTER_S, Backoff
from otelprof.clock import NS_PER_S, Clock
from otelprof.delivery.errand import Errand
from otelprof.delivery.ledger import Ledger, Reason, Source
from otelprof.delivery.mishaps import Mishaps
from otelprof.delivery.pace import Pace
from otelprof.delivery.parcel import Parcel
from otelprof.delivery.suppression import instrumentation_suppressed
from otelprof.errors import FormatError, OtelprofError
from otelprof.interfaces import Exporter, Outcome, Verdict
from otelprof.model import Batch
from otelprof.primitives import Event, Lock
from otelprof.threads import OwnThread

_log = logging.getLogger("otelprof")

EXPORT_TIMEOUT_S = 10.0
_IDLE_S = 3600.0  # until somebody wakes it
_MISHAP_S = 60.0  # after a mistake of ours, which is not to be made in a hurry

# Why what waited goes, by what it is counted as.
_WAITED_TOO_LONG: Mapping[Reason, str] = {
    "age": "they are older than OTELPROF_SPOOL_AGE",
    "budget": "what waits is more than OTELPROF_SPOOL_MAX",
    "memory": "what waits is more than there is memory for, and there is no disk",
}
# A file that cannot be read for these reasons can be read later: the process, or the machine, has too few of something.
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOBUFS})


class Keeper(Protocol):
    """Where batches wait: `depot.Depot`, whose imports are for the worker."""

    def load(self, parcel: Parcel) -> Batch:
        """The batch; raises OSError or FormatError."""
        ...

    def finish(self, parcel: Parcel, lane: str) -> None:
        """`lane` needs it no more."""
        ...


@dataclass(slots=True)
class _Waiting:
    """Why the oldest batch still waits.

    Attributes:
        failures: attempts in a row that ended with `retry`; 0 while the receiver answers otherwise.
        since_ns: when the first of those in a row was, with the batch that is the oldest, for which the receiver
            has a limited time; 0 if the last was none.
    """

    failures: int = 0
    since_ns: int = 0
    not_before_ns: int = 0
    reason: str = ""


class Lane:
    """Delivers to one exporter. `put`, `discard`, `hold` and `ask` are called by the worker, the rest says who."""

    def __init__(
        self,
        name: str,
        build: Callable[[], Exporter],
        clock: Clock,
        backoff: Backoff,
        destination: str | None = None,
    ) -> None:
        self.name = name
        self.ledger = Ledger()
        self.is_built = Event()  # also if it cannot be built
        # With the name before. Empty if it needs no disk, or if it is broken; None until it is built, if only it can
        # say.
        self.destination = None if destination is None else self._named(destination)
        self._timeout_s = EXPORT_TIMEOUT_S
        self._build = build
        self._clock = clock
        self._backoff = backoff
        self._exporter: Exporter | None = None
        self._is_forked = False
        self._known_deaf = (
            ""  # why the receiver took nothing from a parent process; until we have tried
        )
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._wake = Event()
        self._thread: OwnThread | None = None
        self._parcels: deque[Parcel] = deque()
        self._in_hand: Parcel | None = None
        self._lost: Reason | None = None  # why the one in hand is to be had no more
        self._errands: deque[Errand] = deque()
        self._is_held = False
        self._mishaps = Mishaps()
        self._waiting = _Waiting()
        self._pace = Pace()
        self._said: set[str] = set()  # what is said once, not at every flush
        self._keeper: Keeper | None = None

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: Python refuses a thread.
        """
        before = self._thread
        thread = OwnThread(self.name, lambda: self._run(before))
        thread.start()  # before it counts as ours: it may be refused
        self._thread = thread

    def put(self, parcel: Parcel, keeper: Keeper, source: Source) -> None:
        """Deliver a batch after all before it. `keeper` has it until then."""
        self._keeper = keeper
        with self._lock:
            self.ledger.enter(source, parcel.profiles, parcel.samples)
            self._parcels.insert(self._place_of(parcel), parcel)
            if source == "collected" and not self._waiting.failures:
                self._pace.came(parcel.profiles)
        self._wake.set()

    def _place_of(self, parcel: Parcel) -> int:
        """In the order of collection, but not before the one that is being tried."""
        place, first = len(self._parcels), int(bool(self._parcels))
        while place > first and self._parcels[place - 1].made_ns > parcel.made_ns:
            place -= 1
        return place

    def discard(self, parcel: Parcel, reason: Reason) -> None:
        """A batch is not to be had any more."""
        if reason in _WAITED_TOO_LONG:
            text = f"profiles that waited are dropped ({reason}), and counted"
            self._say_once("dropped", text, _WAITED_TOO_LONG[reason])
        with self._lock:
            if parcel is self._in_hand:
                self._lost = reason  # unless it is delivered just now
            elif parcel in self._parcels:
                self._parcels.remove(parcel)
                self.ledger.drop(reason, parcel.profiles, parcel.samples)

    def hold(self) -> None:
        """Begin no export until the next errand: what comes meanwhile is for that, and in its time."""
        self._is_held = True

    def ask(self, errand: Errand | None = None) -> None:
        """Build the exporter if that is not done yet; and deliver everything now, as `errand` says."""
        if errand is not None:
            self._errands.append(errand)
            self._is_held = False
        self._wake.set()

    def left(self) -> str:
        """What waits, in words; empty if nothing does, or if a parent process has said it. From any thread."""
        parcels = list(self._parcels)
        if not parcels or self._is_in_vain():
            return ""
        kept = sum(parcel.profiles for parcel in parcels if parcel.stored is not None)
        lost = sum(parcel.profiles for parcel in parcels if parcel.stored is None)
        fates = {"wait on the disk for the next process": kept, "are lost with this process": lost}
        fate = ", ".join(f"{count} {fate}" for fate, count in fates.items() if count)
        reason = self._waiting.reason or "there was no time"
        return f"{self.name}: {kept + lost} profiles were not delivered: {fate}: {reason}"

    def after_fork(self) -> None:
        """In a forked child: have nothing of the parent's but the exporter, which is told."""
        self.ledger = Ledger()
        if self._waiting.failures:
            self._known_deaf = self._waiting.reason or "retry"
        self._begin()
        self.is_built = Event()
        if self._exporter is None:
            self._is_forked = True  # it is still to be told
        else:
            self._exporter.after_fork()
            self.is_built.set()

    def _run(self, before: OwnThread | None) -> None:
        if before is not None:
            before.join()  # it may have been given up inside an export, and that is for one thread at a time
        with instrumentation_suppressed():
            while True:
                # An errand may be there of a thread that was given up, which may have taken our wake-up.
                if not self._errands:
                    self._clock.wait(self._wake, self._sleep_s())
                self._wake.clear()
                self._safely(self._prepare)
                while self._errands:
                    errand = self._errands.popleft()
                    self._safely(partial(self._run_errand, errand))
                    if errand.is_last:
                        return
                self._safely(self._deliver_what_is_due)

    def _safely(self, step: Callable[[], None]) -> None:
        """Take a step. A mistake of ours must neither end the lane nor be made in a hurry."""
        if not self._mishaps.survives(f"the delivery to {self.name}", step):
            self._waiting.not_before_ns = self._clock.monotonic_ns() + round(_MISHAP_S * NS_PER_S)

    def _prepare(self) -> None:
        """Build the exporter, which imports what it needs. Not at exit, if it can be helped.

        Importing executes source text, which at exit makes CPython forget that a KeyboardInterrupt ended
        the program, and so changes its exit code (Python/pythonrun.c, `run_eval_code_obj`).
        """
        if self.is_built.is_set():
            return
        try:
            exporter = self._build()
            # Exporters of other packages may be older than this promise: what they get does not wait on the disk.
            destination = str(getattr(exporter, "destination", ""))
            timeout_s = float(getattr(exporter, "timeout_s", EXPORT_TIMEOUT_S))
        except Exception as error:  # noqa: BLE001 - other people's constructors, found by entry point
            reason = str(error) if isinstance(error, OtelprofError) else repr(error)
            _log.warning("otelprof: %s: no profiles leave here: %s", self.name, reason)
            self.destination = ""
        else:
            self._timeout_s = max(EXPORT_TIMEOUT_S, timeout_s)
            if self._is_forked:
                exporter.after_fork()
            self.destination = self._named(destination)
            self._exporter = exporter
        self.is_built.set()

    def _named(self, destination: str) -> str:
        return f"{self.name} {destination}" if destination else ""

    def _sleep_s(self) -> float:
        if self._is_held or not self._parcels:
            return _IDLE_S
        return (self._due_ns() - self._clock.monotonic_ns()) / NS_PER_S

    def _due_ns(self) -> int:
        return max(self._waiting.not_before_ns, self._pace.due_ns())

    def _run_errand(self, errand: Errand) -> None:
        """Deliver everything by the deadline."""
        is_complete = False
        try:
            while self._parcels and not (errand.is_last and self._is_in_vain()):
                left_s = (errand.deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
                if left_s <= 0 or not self._deliver_next(left_s, is_last=errand.is_last):
                    break
            if errand.is_last:
                self._close()
            given_up = self.ledger.given_up() - errand.given_up.get(self.name, 0)
            is_complete = not self._parcels and not given_up
        finally:
            errand.report(self.name, is_complete=is_complete)

    def _is_in_vain(self) -> bool:
        """Whether the receiver has just taken nothing from a parent process, and all is on the disk for others."""
        return bool(self._known_deaf) and all(
            parcel.stored is not None for parcel in list(self._parcels)
        )

    def _deliver_what_is_due(self) -> None:
        while self._parcels and not self._errands and not self._is_held:
            if self._clock.monotonic_ns() < self._due_ns():
                return
            self._deliver_next(math.inf)

    def _deliver_next(self, left_s: float, *, is_last: bool = False) -> bool:
        """Send the oldest batch, in so many seconds at most. False if the receiver takes nothing now."""
        with self._lock:
            if not self._parcels:
                return True  # it was dropped meanwhile
            parcel = self._in_hand = self._parcels[0]
            self._lost = None
        outcome = self._exported(parcel, min(left_s, self._timeout_s))
        self._known_deaf = ""
        self.ledger.deliver_bytes(outcome.delivered_bytes)
        now_ns = self._clock.monotonic_ns()
        if self._is_past_patience(outcome, now_ns):
            reason = f"for {outcome.patience_s:g} s: {outcome.reason}"
            outcome = replace(outcome, verdict="refused", reason=reason)
        is_lost = self._settle(parcel, outcome)
        if outcome.verdict == "retry":
            self._put_off(outcome, now_ns, is_last=is_last)
            return False
        self._pace.left(parcel.profiles, now_ns)
        if outcome.verdict == "delivered":
            self._say_delivered(outcome)
        elif not is_lost:
            self._say_once("refused", "profiles are refused and dropped", outcome.reason)
        if outcome.verdict == "delivered" or not is_lost:
            self._waiting = _Waiting()  # the receiver answers
        return True

    def _exported(self, parcel: Parcel, timeout_s: float) -> Outcome:
        """What became of a batch. One that is not to be had is noted as lost."""
        if self._exporter is None or self._keeper is None:
            self._lost = "broken"
            return Outcome("refused")
        try:
            batch = self._keeper.load(parcel)
        except (FormatError, OSError) as error:
            if isinstance(error, OSError) and error.errno in _SHORTAGES and self._lost is None:
                return Outcome("retry", f"what waits cannot be read now: {error}")
            if self._lost is None:
                self._lost = "unreadable"
                text = "what had waited cannot be read and is dropped"
                self._say_once("unreadable", text, str(error))
            return Outcome("refused")
        began_ns = self._clock.monotonic_ns()
        try:
            return _checked(self._exporter.export(batch, timeout_s=timeout_s))
        except Exception as error:  # noqa: BLE001 - it promised not to; its batch must not block the next
            reason = f"export raised {type(error).__name__}: {error}"
            if "raised" not in self._said:
                self._said |= {"raised", "refused"}
                _log.warning("otelprof: %s: %s", self.name, reason, exc_info=True)
            return Outcome("refused", reason)
        finally:
            self.ledger.attempt(self._clock.monotonic_ns() - began_ns)

    def _settle(self, parcel: Parcel, outcome: Outcome) -> bool:
        """Enter the outcome into the accounts. True if the batch was lost meanwhile."""
        profiles, samples = parcel.profiles, parcel.samples
        with self._lock:
            self._in_hand = None
            lost = self._lost
            if outcome.verdict == "delivered":
                self.ledger.deliver(profiles, samples, rejected=outcome.rejected_profiles)
            elif lost is not None:
                self.ledger.drop(lost, profiles, samples)
            elif outcome.verdict == "refused":
                self.ledger.refuse(profiles, samples)
            else:
                self.ledger.put_off(profiles, samples)
                return False
            self._parcels.remove(parcel)
            self._waiting.since_ns = 0  # the next one has patience of its own
        is_left = lost == "left" and outcome.verdict != "delivered"
        if self._keeper is not None and not is_left:
            self._keeper.finish(parcel, self.name)
        return lost is not None

    def _is_past_patience(self, outcome: Outcome, now_ns: int) -> bool:
        since_ns = self._waiting.since_ns
        if outcome.verdict != "retry" or outcome.patience_s is None or not since_ns:
            return False
        return now_ns - since_ns >= outcome.patience_s * NS_PER_S

    def _put_off(self, outcome: Outcome, now_ns: int, *, is_last: bool) -> None:
        waiting = self._waiting
        waiting.failures += 1
        waiting.since_ns = 0 if outcome.patience_s is None else waiting.since_ns or now_ns
        waiting.reason = outcome.reason
        self._pace.stopped()
        if not is_last:  # else whoever ends the pipeline says it
            self._say_once("waiting", "profiles wait, the service runs on", outcome.reason)
        wait_s = self._backoff.wait_s(waiting.failures)
        wait_s = max(wait_s, min(MAX_RETRY_AFTER_S, outcome.retry_after_s or 0.0))
        waiting.not_before_ns = now_ns + round(wait_s * NS_PER_S)

    def _say_delivered(self, outcome: Outcome) -> None:
        if "waiting" in self._said:
            self._said.discard("waiting")
            _log.info("otelprof: %s: profiles are delivered again", self.name)
        if outcome.rejected_profiles:
            self._say_once("rejected", "the receiver rejects profiles", outcome.reason)
        elif outcome.reason:
            self._say_once("warned", "the receiver takes profiles, and warns", outcome.reason)

    def _close(self) -> None:
        if self._exporter is None:
            return
        try:
            self._exporter.close()
        except Exception:  # noqa: BLE001 - it promised not to; what comes after must go on
            _log.exception("otelprof: %s: close raised", self.name)

    def _say_once(self, what: str, text: str, reason: str) -> None:
        if what not in self._said:
            self._said.add(what)
            _log.warning("otelprof: %s: %s: %s", self.name, text, reason)


def _checked(outcome: object) -> Outcome:
    """What an exporter returned, if it is what it promised."""
    if not isinstance(outcome, Outcome) or outcome.verdict not in get_args(Verdict):
        raise TypeError(f"it returned {outcome!r}, which is no outcome")
    return outcome
