"""From collectors to exporters: one worker thread, a flush a period, and deadlines that hold.

The worker drains the collectors, completes the profiles with what is known only now (resource, id), and
hands the batch to every exporter. What a receiver cannot take yet waits in a bounded queue of that
exporter, oldest dropped first; every loss is counted and said once. This is the one retry loop.
"""

import logging
import os
import random
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import opentelemetry.context as otel_context

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.errors import OtelprofError
from otelprof.forks import kept_whole
from otelprof.interfaces import Collector, Exporter, Outcome
from otelprof.model import PROFILE_ID_BYTES, Attributes, Batch, Profile, SpanRecord
from otelprof.processors.chain import ProcessorChain
from otelprof.threads import OwnThread

_log = logging.getLogger("otelprof")

MAX_WAITING = 40  # batches an exporter may lag behind: ten minutes at the default flush of 15 s
MIN_BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
MAX_RETRY_AFTER_S = 900.0  # a receiver may ask for patience, not for silence
EXPORT_TIMEOUT_S = 10.0
_TICK_S = 1.0


class Lane:
    """One exporter with the batches that wait for it. Used by the worker only."""

    def __init__(self, name: str, build: Callable[[], Exporter], clock: Clock) -> None:
        self.name = name
        self.counters: Counter[str] = Counter()
        self._build = build
        self._clock = clock
        self._exporter: Exporter | None = None
        self._waiting: deque[Batch] = deque()
        self._backoff_s = 0.0
        self._not_before_ns = 0
        self._retried_since_ns: int | None = None  # the oldest batch
        self._is_broken = False
        self._is_forked = False
        self._said: set[str] = set()  # what is said once, not at every flush
        self._reason = ""  # why the oldest batch still waits

    def put(self, batch: Batch) -> None:
        """Queue a batch, dropping the oldest if too many wait."""
        if self._is_broken:
            self._count("dropped", batch)
            return
        if len(self._waiting) >= MAX_WAITING:
            self._count("dropped", self._waiting.popleft())
            self._retried_since_ns = None
        self._waiting.append(batch)

    def is_idle(self) -> bool:
        """Whether everything has been delivered or given up."""
        return not self._waiting

    def due_ns(self) -> int | None:
        """When to try again; None if nothing waits."""
        return self._not_before_ns if self._waiting else None

    def prepare(self) -> None:
        """Build the exporter, which imports what it needs. Not at exit, if it can be helped.

        Importing executes source text, which at exit makes CPython forget that a KeyboardInterrupt ended
        the program, and so changes its exit code (Python/pythonrun.c, `run_eval_code_obj`).
        """
        if self._exporter is not None or self._is_broken:
            return
        try:
            with kept_whole():
                self._exporter = self._build()
        except Exception as error:  # noqa: BLE001 - other people's constructors, found by entry point
            self._is_broken = True
            self._reason = str(error) if isinstance(error, OtelprofError) else repr(error)
            _log.warning("otelprof: %s: no profiles leave here: %s", self.name, self._reason)
            return
        if self._is_forked:
            self._exporter.after_fork()

    def deliver(self, deadline_ns: int, *, at_once: bool) -> None:
        """Send what waits, in order, until the receiver says no or the deadline has come."""
        if not at_once and self._clock.monotonic_ns() < self._not_before_ns:
            return
        while self._waiting:
            timeout_s = (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S
            if timeout_s <= 0:
                return
            batch = self._waiting[0]
            outcome = self._export(batch, min(timeout_s, EXPORT_TIMEOUT_S))
            if outcome.verdict == "retry" and self._has_patience(outcome):
                self._put_off(outcome, is_last=at_once)
                return
            self._retried_since_ns = None
            self._waiting.popleft()
            self._settle(batch, outcome)

    def _has_patience(self, outcome: Outcome) -> bool:
        if self._retried_since_ns is None:
            self._retried_since_ns = self._clock.monotonic_ns()
        waited_s = (self._clock.monotonic_ns() - self._retried_since_ns) / NS_PER_S
        return outcome.patience_s is None or waited_s < outcome.patience_s

    def _settle(self, batch: Batch, outcome: Outcome) -> None:
        """Count what will not be sent again, and say what is new."""
        profiles = len(batch.profiles)
        is_delivered = outcome.verdict == "delivered"
        refused = min(outcome.rejected_profiles, profiles) if is_delivered else profiles
        self.counters += Counter(delivered_profiles=profiles - refused, refused_profiles=refused)
        if refused and not self._is_broken:
            self._say_once("refused", "profiles are refused and dropped", outcome.reason)
        if is_delivered and self._backoff_s:
            self._backoff_s = 0.0
            self._said.discard("waiting")
            _log.info("otelprof: %s: profiles are delivered again", self.name)

    def given_up(self) -> int:
        """Profiles that will not be delivered, so far."""
        return self.counters["refused_profiles"] + self.counters["dropped_profiles"]

    def abandon(self) -> None:
        """Give up what still waits, and say so."""
        if self._waiting:
            _log.warning(
                "otelprof: %s: the last %d s of profiles were not delivered: %s",
                self.name,
                _seconds(self._waiting),
                self._reason or "there was no time",
            )
        for batch in self._waiting:
            self._count("dropped", batch)
        self._waiting.clear()

    def close(self) -> None:
        """Close the exporter, if it was ever built."""
        if self._exporter is None:
            return
        try:
            self._exporter.close()
        except Exception:  # noqa: BLE001 - it promised not to; the others must be closed too
            _log.exception("otelprof: %s: close raised", self.name)

    def after_fork(self) -> None:
        """Forget the parent's batches and connections."""
        if self._exporter is None:
            self._is_forked = True  # it is still to be told
        else:
            self._exporter.after_fork()
        self._waiting.clear()
        self.counters.clear()
        self._backoff_s, self._not_before_ns = 0.0, 0
        self._retried_since_ns = None

    def _export(self, batch: Batch, timeout_s: float) -> Outcome:
        self.prepare()
        if self._exporter is None:
            return Outcome("refused", self._reason)
        try:
            return self._exporter.export(batch, timeout_s=timeout_s)
        except Exception as error:  # noqa: BLE001 - it promised not to; its batch must not block the next
            reason = f"export raised {type(error).__name__}: {error}"
            if "refused" not in self._said:
                _log.warning("otelprof: %s: %s", self.name, reason, exc_info=True)
            return Outcome("refused", reason)

    def _put_off(self, outcome: Outcome, *, is_last: bool) -> None:
        self.counters["retries"] += 1
        self._reason = outcome.reason
        if not is_last:  # else `abandon` says it, or the next try does
            self._say_once("waiting", "profiles wait, the service runs on", outcome.reason)
        self._backoff_s = min(MAX_BACKOFF_S, max(MIN_BACKOFF_S, 2 * self._backoff_s))
        # Full jitter, so that the workers of a service do not come back all at once.
        wait_s = random.uniform(0, self._backoff_s)  # noqa: S311 - jitter
        wait_s = max(wait_s, min(MAX_RETRY_AFTER_S, outcome.retry_after_s or 0.0))
        self._not_before_ns = self._clock.monotonic_ns() + round(wait_s * NS_PER_S)

    def _say_once(self, what: str, text: str, reason: str) -> None:
        if what not in self._said:
            self._said.add(what)
            _log.warning("otelprof: %s: %s: %s", self.name, text, reason)

    def _count(self, what: str, batch: Batch) -> None:
        self.counters[f"{what}_profiles"] += len(batch.profiles)


class _Event(threading.Event):
    """One that a signal's handler may set, clear and wait for in the middle of the same.

    `threading.Event` holds a Lock meanwhile, for which its own thread would wait for ever.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cond = threading.Condition(threading.RLock())


class Pipeline:
    """The worker that moves profiles from collectors to exporters.

    Args:
        collectors: drained at every flush.
        exporters: by name, how to build each; built in the worker on first use, since imports are slow.
        take_spans: hands over the spans that ended since the last call.
        resource: the attributes of the process, read anew at every flush.
        flush_s: seconds between two flushes.
        on_tick: called about once a second until it returns True.
        processors: what profiles and spans go through before they leave; none for as they are.
    """

    def __init__(  # noqa: PLR0913 - the ends that it joins
        self,
        *,
        collectors: Sequence[Collector],
        exporters: Mapping[str, Callable[[], Exporter]],
        take_spans: Callable[[], tuple[SpanRecord, ...]],
        resource: Callable[[], Attributes],
        flush_s: float,
        on_tick: Callable[[], bool],
        processors: ProcessorChain | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._collectors = collectors
        self._lanes = [Lane(name, build, clock) for name, build in exporters.items()]
        self._take_spans = take_spans
        self._resource = resource
        self._flush_ns = round(flush_s * NS_PER_S)
        self._on_tick = on_tick
        self._processors = processors or ProcessorChain({})
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._wake, self._flushed, self._ended = _Event(), _Event(), _Event()
        self._flush_deadline_ns: int | None = None
        self._flush_was_complete = False
        self._is_stopping = False
        self._needs_tick = True
        self._collected: Counter[str] = Counter()
        self._thread: OwnThread | None = None

    def start(self) -> None:
        """Start the worker, if it does not run."""
        if self._thread is None:
            self._is_stopping = False
            # One of its own: a worker that was given up may end later.
            ended = self._ended = _Event()
            thread = OwnThread("worker", lambda: self._run(ended))
            thread.start()  # before it counts as ours: it may be refused
            self._thread = thread

    def flush(self, timeout_s: float) -> bool:
        """Drain and deliver now; True if everything was delivered within `timeout_s` seconds."""
        if self._thread is None:
            return True
        self._flushed.clear()
        self._ask(timeout_s)
        return self._flushed.wait(timeout_s) and self._flush_was_complete

    def shutdown(self, timeout_s: float) -> bool:
        """Flush and end the worker within `timeout_s` seconds. What could not be sent is said in one line.

        Also in the middle of a flush of this thread's, and again after a signal's handler that raised here.
        """
        if self._thread is None:
            return True
        self._is_stopping = True
        self._ask(timeout_s)
        is_over = self._ended.wait(timeout_s)
        self._thread = None
        if not is_over:
            _log.warning("otelprof: the last profiles were not delivered within %g s", timeout_s)
        return is_over and self._flush_was_complete

    def _ask(self, timeout_s: float) -> None:
        self._flush_deadline_ns = self._clock.monotonic_ns() + round(timeout_s * NS_PER_S)
        self._wake.set()

    def after_fork(self) -> None:
        """Begin anew in a forked child, with nothing of the parent's."""
        for lane in self._lanes:
            lane.after_fork()
        self._processors.after_fork()
        self._reset()

    def statistics(self) -> dict[str, int]:
        """What was collected, and what each exporter did with it, in profiles."""
        counted = dict(self._collected) | self._processors.statistics()
        for lane in self._lanes:
            counted.update({f"{lane.name}.{what}": n for what, n in lane.counters.items()})
        return counted

    def _run(self, ended: threading.Event) -> None:
        # Whatever exporters call is not the application's: it must not appear in its traces.
        with _instrumentation_suppressed():
            next_flush_ns = self._clock.monotonic_ns() + self._flush_ns
            is_first = True
            while True:
                self._clock.wait(self._wake, self._sleep_s(next_flush_ns))
                self._wake.clear()
                now_ns = self._clock.monotonic_ns()
                deadline_ns, self._flush_deadline_ns = self._flush_deadline_ns, None
                self._needs_tick = self._needs_tick and not self._on_tick()
                for collector in self._collectors:
                    collector.tick()
                if deadline_ns is None and is_first:
                    is_first = False
                    for lane in self._lanes:
                        lane.prepare()
                if deadline_ns is not None:
                    next_flush_ns = now_ns + self._flush_ns
                    # Asked before: what is asked for in the middle of a flush comes after it.
                    is_last = self._is_stopping
                    self._flush_now(deadline_ns, is_last=is_last)
                    if is_last:
                        ended.set()
                        return
                    continue
                if now_ns >= next_flush_ns:
                    next_flush_ns = now_ns + self._flush_ns
                    self._collect()
                for lane in self._lanes:
                    timeout_ns = round(EXPORT_TIMEOUT_S * NS_PER_S)
                    lane.deliver(self._clock.monotonic_ns() + timeout_ns, at_once=False)

    def _flush_now(self, deadline_ns: int, *, is_last: bool) -> None:
        """Collect and deliver by `deadline_ns`, of which each exporter gets its share."""
        before = sum(lane.given_up() for lane in self._lanes)
        self._collect()
        for number, lane in enumerate(self._lanes):
            now_ns = self._clock.monotonic_ns()
            share_ns = max(0, deadline_ns - now_ns) // (len(self._lanes) - number)
            lane.deliver(now_ns + share_ns, at_once=True)
        is_complete = all(lane.is_idle() for lane in self._lanes)
        if is_last:
            for lane in self._lanes:
                lane.abandon()
                lane.close()
        after = sum(lane.given_up() for lane in self._lanes)
        self._flush_was_complete = is_complete and after == before
        self._flushed.set()

    def _sleep_s(self, next_flush_ns: int) -> float:
        due = [next_flush_ns]
        due += [due for due in (lane.due_ns() for lane in self._lanes) if due is not None]
        return min(_TICK_S, (min(due) - self._clock.monotonic_ns()) / NS_PER_S)

    def _collect(self) -> None:
        """Make one batch of everything since the last flush and queue it."""
        drained = [profile for collector in self._collectors for profile in collector.drain()]
        if not drained:
            return  # the spans stay where they are, to leave beside the next profile
        try:
            resource = self._resource()
        except Exception:  # noqa: BLE001 - detectors of the application's: a profile without is better than none
            _log.exception("otelprof: the resource cannot be read")
            resource = ()
        self._collected["collected_profiles"] += len(drained)
        profiles = self._processors.process([_completed(p, resource) for p in drained])
        if not profiles:
            return  # nothing of them may leave
        spans = self._processors.process_spans(self._take_spans())
        batch = Batch(tuple(profiles), spans, profiles[0].resource)
        for lane in self._lanes:
            lane.put(batch)


@contextmanager
def _instrumentation_suppressed() -> Iterator[None]:
    """What `opentelemetry.instrumentation.utils.suppress_instrumentation` does, whose module takes 10 ms to import.

    Older instrumentations ask for the second key.
    """
    context = otel_context.get_current()
    for key in (otel_context._SUPPRESS_INSTRUMENTATION_KEY, "suppress_instrumentation"):  # noqa: SLF001 - the SDK's exporters use it, too
        context = otel_context.set_value(key, True, context)
    token = otel_context.attach(context)
    try:
        yield
    finally:
        otel_context.detach(token)


def _seconds(batches: Iterable[Batch]) -> int:
    """The time that these batches cover, rounded up."""
    windows = (max((p.duration_ns for p in batch.profiles), default=0) for batch in batches)
    return -(-sum(windows) // NS_PER_S)


def _completed(profile: Profile, resource: Attributes) -> Profile:
    return replace(profile, resource=resource, profile_id=os.urandom(PROFILE_ID_BYTES))
