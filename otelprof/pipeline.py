"""From collectors to exporters: one thread that collects, one for each exporter, and deadlines that hold.

The worker drains the collectors, completes the profiles with what is known only now (resource, id), has the
depot keep the batch, on the disk if it is for a network, and hands it to every lane. It waits for none of them.
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from otelprof.backoff import Backoff
from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.delivery.errand import WORKER, Errand
from otelprof.delivery.lane import Lane
from otelprof.delivery.ledger import Reason, Source
from otelprof.delivery.limits import Limits
from otelprof.delivery.mishaps import Mishaps
from otelprof.delivery.parcel import Parcel
from otelprof.delivery.suppression import instrumentation_suppressed
from otelprof.delivery.windows import Moment, Reading, Readings, Segments
from otelprof.forks import kept_whole
from otelprof.interfaces import Collector, Exporter
from otelprof.model import PROFILE_ID_BYTES, Attributes, Batch, Profile, SpanRecord
from otelprof.primitives import Event
from otelprof.processors.chain import ProcessorChain
from otelprof.threads import OwnThread

if TYPE_CHECKING:
    from otelprof.delivery.depot import Depot  # what it imports is for the worker

_log = logging.getLogger("otelprof")

_LOOKING, _COLLECTING = "a look at what waits", "collecting"  # in words for a log line
_TICK_S = 1.0
_BUILD_S = 1.0  # how long a batch waits for an exporter to be built, before it waits in memory
# How often to look for what dead processes have left. A look costs more the more lies there: 0.1 % of the time at most.
ADOPT_EVERY_S = 60.0
_LOOK_SHARE = 1000


class Pipeline:
    """The threads that move profiles from collectors to exporters.

    Args:
        collectors: drained at every flush.
        exporters: by name, how to build each; built in its thread on first use, since imports are slow.
        destinations: by name, what `Exporter.destination` will be, where that is known before; so that batches need
            not wait for the imports.
        take_spans: hands over the spans that ended since the last call.
        resource: the attributes of the process, read anew at every flush.
        flush_s: seconds between two flushes.
        on_tick: called about once a second.
        limits: how much may wait for exporters, and where.
        backoff: when they try again.
        processors: what profiles and spans go through before they leave; none for as they are.
    """

    def __init__(  # noqa: PLR0913 - the ends that it joins
        self,
        *,
        collectors: Sequence[Collector],
        exporters: Mapping[str, Callable[[], Exporter]],
        destinations: Mapping[str, str] = MappingProxyType({}),
        take_spans: Callable[[], tuple[SpanRecord, ...]],
        resource: Callable[[], Attributes],
        flush_s: float,
        on_tick: Callable[[], object],
        limits: Limits,
        backoff: Backoff | None = None,
        processors: ProcessorChain | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._collectors = collectors
        self._lanes = {
            name: Lane(name, build, clock, backoff or Backoff(), destinations.get(name))
            for name, build in exporters.items()
        }
        self._take_spans = take_spans
        self._resource = resource
        self._flush_ns = round(flush_s * NS_PER_S)
        self._on_tick = on_tick
        self._limits = limits
        self._processors = processors or ProcessorChain({})
        self._clock = clock
        self._depot: Depot | None = None
        self._reset()

    def _reset(self) -> None:
        self._wake = Event()
        self._errands: deque[Errand] = deque()
        self._mishaps = Mishaps()
        self._collected: Counter[str] = Counter()
        self._readings = Readings()
        self._held = Segments()  # drained for a reader, and not yet due to leave
        self._thread: OwnThread | None = None
        self._end: Errand | None = None

    def start(self) -> None:
        """Start the threads, if they do not run.

        Raises:
            RuntimeError: Python refuses one; none is left running.
        """
        if self._thread is not None:
            return
        # Of its own: a worker that was given up may end later.
        errands = self._errands = deque()
        readings = self._readings = Readings()
        self._is_first_look = True
        self._next_look_ns = 0
        thread = OwnThread("worker", lambda: self._run(errands, readings))
        started: list[Lane] = []
        try:
            for lane in self._lanes.values():
                lane.start()
                started.append(lane)
            thread.start()  # before it counts as ours: it may be refused
        except RuntimeError:
            end = self._errand([lane.name for lane in started], 0.0, is_last=True)
            for lane in started:
                lane.ask(end)
            raise
        self._thread = thread

    def flush(self, timeout_s: float, *, before_end: bool = False) -> bool:
        """Drain and deliver now; True if everything was delivered within `timeout_s` seconds.

        With `before_end`, after which the process may end without another word, what was not is said.
        """
        if self._thread is None:
            return True
        errand = self._ask(timeout_s, is_last=False)
        is_complete = errand.wait(timeout_s)
        if before_end and not is_complete:
            self._say_what_is_left(errand, timeout_s)
        return is_complete

    def shutdown(self, timeout_s: float) -> bool:
        """Flush and end the threads within `timeout_s` seconds. What could not be sent is said in one line.

        Also in the middle of a flush of this thread's, and again after a signal's handler that raised here.
        """
        if self._thread is None:
            return True
        if self._end is None:  # else a signal's handler has raised while this thread waited for it
            self._end = self._ask(timeout_s, is_last=True)
        errand = self._end
        is_complete = errand.wait(timeout_s)
        self._thread = self._end = None
        self._say_what_is_left(errand, timeout_s)
        return is_complete

    def read(self, reading: Reading) -> None:
        """Have the worker turn `reading`. From any thread; returns at once."""
        self._readings.ask(reading)
        self._wake.set()

    def after_fork(self) -> None:
        """Begin anew in a forked child, with nothing of the parent's."""
        for lane in self._lanes.values():
            lane.after_fork()
        if self._depot is not None:
            self._depot.forget()
            self._depot = None
        self._processors.after_fork()
        self._reset()

    def statistics(self) -> dict[str, int]:
        """What was collected, what waits where, and what became of it in each lane."""
        counted = dict(self._collected) | self._processors.statistics()
        if self._depot is not None:
            counted.update(self._depot.statistics())
        for name, counts in self.ledgers().items():
            counted.update({f"{name}.{what}": count for what, count in counts.items()})
        return counted

    def ledgers(self) -> dict[str, Mapping[str, int]]:
        """The accounts of each exporter by name, each as it was at one instant. Waits for nobody."""
        return {name: lane.ledger.counts() for name, lane in self._lanes.items()}

    def _ask(self, timeout_s: float, *, is_last: bool) -> Errand:
        errand = self._errand([WORKER, *self._lanes], timeout_s, is_last=is_last)
        self._errands.append(errand)
        self._wake.set()
        return errand

    def _errand(self, parts: Sequence[str], timeout_s: float, *, is_last: bool) -> Errand:
        deadline_ns = self._clock.monotonic_ns() + round(timeout_s * NS_PER_S)
        return Errand(parts, deadline_ns, is_last=is_last)

    def _run(self, errands: "deque[Errand]", readings: Readings) -> None:
        with instrumentation_suppressed():
            next_flush_ns = self._clock.monotonic_ns() + self._flush_ns
            while True:
                if not errands and not readings.are_waiting():
                    due_s = (next_flush_ns - self._clock.monotonic_ns()) / NS_PER_S
                    self._clock.wait(self._wake, min(_TICK_S, due_s))
                self._wake.clear()
                for step in (self._on_tick, *(collector.tick for collector in self._collectors)):
                    self._mishaps.survives("a look at the application", step)
                if readings.are_waiting():
                    self._turn(readings)
                now_ns = self._clock.monotonic_ns()
                if errands:
                    next_flush_ns = now_ns + self._flush_ns
                    errand = errands.popleft()
                    self._flush(errand, readings)
                    if errand.is_last:
                        while errands:
                            errands.popleft().cancel()
                        return
                # Also after a flush: an application that asks for one after the other is not to keep us from it.
                self._mishaps.survives(_LOOKING, self._look_around)
                if now_ns >= next_flush_ns:
                    next_flush_ns = now_ns + self._flush_ns
                    self._mishaps.survives(_COLLECTING, lambda: self._collect(_BUILD_S))

    def _look_around(self) -> None:
        """Have exporters built in the first second, and now and then see what dead processes have left."""
        if self._is_first_look:
            self._is_first_look = False
            if any(lane.destination for lane in self._lanes.values()):
                # Before exporters are, which may take long: what is collected is kept meanwhile.
                with kept_whole():
                    import_module("otelprof.storage.payload")
                    import_module("otelprof.delivery.depot")
            for lane in self._lanes.values():
                lane.ask()
        if self._clock.monotonic_ns() >= self._next_look_ns:
            self._look()

    def _look(self) -> None:
        """See what dead processes have left, once all exporters are built."""
        if not self._lanes or not all(lane.is_built.is_set() for lane in self._lanes.values()):
            return
        began_ns = self._clock.monotonic_ns()
        self._adopt()
        took_ns = self._clock.monotonic_ns() - began_ns
        pause_ns = max(round(ADOPT_EVERY_S * NS_PER_S), _LOOK_SHARE * took_ns)
        self._next_look_ns = began_ns + pause_ns

    def _adopt(self) -> None:
        depot = self._open_depot(self._current_resource())
        for parcel in depot.adopt():
            self._put(parcel, depot, "adopted")
        depot.bound()

    def _flush(self, errand: Errand, readings: Readings) -> None:
        """Collect, and have every lane deliver by the deadline; wait for that only if it is the end."""
        for lane in self._lanes.values():
            lane.hold()
            errand.given_up[lane.name] = lane.ledger.given_up()
        build_s = min(_BUILD_S, self._left_s(errand) / 2)
        self._mishaps.survives(_COLLECTING, lambda: self._collect(build_s))
        if errand.is_last:
            readings.end(self._moment())
        if errand.is_last and not self._next_look_ns:  # programs may be too short for anything else
            self._wait_for(self._lanes.values(), min(_BUILD_S, self._left_s(errand) / 2))
            self._mishaps.survives(_LOOKING, self._look)
        for lane in self._lanes.values():
            lane.ask(errand)
        if errand.is_last:
            self._clock.wait(errand.lanes_are_done, self._left_s(errand))
            errand.left = self._left()
            if self._depot is not None:
                self._mishaps.survives("leaving the spool to others", self._depot.abandon)
        errand.report(WORKER, is_complete=True)

    def _left_s(self, errand: Errand) -> float:
        return max(0.0, (errand.deadline_ns - self._clock.monotonic_ns()) / NS_PER_S)

    def _collect(self, build_s: float) -> None:
        """Make one batch of everything since the last flush, and hand it over."""
        self._cut()
        profiles = self._held.take()
        if not profiles:
            return  # the spans stay where they are, to leave beside the next profile
        spans = self._processors.process_spans(self._take_spans())
        batch = Batch(tuple(profiles), spans, profiles[0].resource)
        self._collected["collected_profiles"] += len(profiles)
        self._collected["collected_samples"] += sum(map(len, profiles))
        if self._lanes:
            self._hand_over(batch, self._current_resource(), build_s)

    def _cut(self) -> None:
        """Drain, for the next batch and for all windows that are open."""
        drained: list[Profile] = []
        for collector in self._collectors:
            self._mishaps.survives(_COLLECTING, lambda: drained.extend(self._drained(collector)))  # noqa: B023 - at once
        profiles = self._processed(drained) if drained else []
        self._held.add(profiles)
        self._readings.add(profiles)

    def _processed(self, profiles: Sequence[Profile]) -> list[Profile]:
        resource = self._current_resource()
        return self._processors.process([_completed(p, resource) for p in profiles])

    def _turn(self, readings: Readings) -> None:
        """Do what readers have asked for."""
        asked, moment = readings.asked(), self._moment()
        if any(reading.is_cut for reading in asked):
            self._mishaps.survives(_COLLECTING, self._cut)
        for reading in asked:
            self._mishaps.survives(
                "reading", partial(readings.turn, reading, moment, self._processed)
            )

    def _moment(self) -> Moment:
        return Moment(self._clock.unix_ns(), self._clock.monotonic_ns())

    def _drained(self, collector: Collector) -> list[Profile]:
        """What a collector has, without profiles that break a rule: those of others are not trusted to be right."""
        profiles = collector.drain()
        if type(collector).__module__.startswith("otelprof."):
            return profiles
        good: list[Profile] = []
        for profile in profiles:
            problem = profile.problem()
            if problem is None:
                good.append(profile)
                continue
            if not self._collected["invalid_profiles"]:
                _log.warning("otelprof: a profile of %r is dropped: %s", collector, problem)
            self._collected["invalid_profiles"] += 1
        return good

    def _hand_over(self, batch: Batch, resource: Attributes, build_s: float) -> None:
        """Keep the batch and queue it in every lane. Where it is kept depends on what the exporters are."""
        self._wait_for([lane for lane in self._lanes.values() if lane.destination is None], build_s)
        depot = self._open_depot(resource)
        for parcel in depot.take_in(batch):
            self._put(parcel, depot, "collected")

    def _wait_for(self, lanes: Iterable[Lane], build_s: float) -> None:
        """Give exporters so long to be built."""
        deadline_ns = self._clock.monotonic_ns() + round(build_s * NS_PER_S)
        missing = [lane for lane in lanes if not lane.is_built.is_set()]
        for lane in missing:
            lane.ask()
        for lane in missing:
            self._clock.wait(lane.is_built, (deadline_ns - self._clock.monotonic_ns()) / NS_PER_S)

    def _put(self, parcel: Parcel, depot: "Depot", source: Source) -> None:
        for name in tuple(parcel.waiting):
            self._lanes[name].put(parcel, depot, source)

    def _open_depot(self, resource: Attributes) -> "Depot":
        if self._depot is None:
            with kept_whole():
                from otelprof.delivery.depot import Depot  # noqa: PLC0415 - it imports formats, and so protobuf
            self._depot = Depot(self._limits, self._clock, self._give_up)
        destinations = {name: lane.destination or "" for name, lane in self._lanes.items()}
        self._depot.introduce(destinations, resource)
        return self._depot

    def _give_up(self, name: str, parcel: Parcel, reason: Reason) -> None:
        self._lanes[name].discard(parcel, reason)

    def _current_resource(self) -> Attributes:
        try:
            return self._resource()
        except Exception:  # noqa: BLE001 - detectors of the application's: a profile without is better than none
            _log.exception("otelprof: the resource cannot be read")
            return ()

    def _left(self) -> str:
        """What waits in the lanes, in words; empty if nothing does."""
        return "; ".join(filter(None, (lane.left() for lane in self._lanes.values())))

    def _say_what_is_left(self, errand: Errand, timeout_s: float) -> None:
        is_late = bool(errand.missing())
        left = errand.left or (self._left() if is_late or not errand.is_last else "")
        if left:
            _log.warning("otelprof: %s", left)
        elif is_late:
            _log.warning("otelprof: the last profiles were not delivered within %g s", timeout_s)


def _completed(profile: Profile, resource: Attributes) -> Profile:
    return replace(profile, resource=resource, profile_id=os.urandom(PROFILE_ID_BYTES))
