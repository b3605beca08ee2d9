"""The ends of a pipeline that a test holds in its hands: clock, collector, exporter."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK
from otelprof.delivery.limits import MAX_MEMORY_BYTES, Limits
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Attributes, Batch, Profile, SpanRecord
from otelprof.pipeline import Pipeline
from otelprof.threads import OwnThread
from tests.support.files import files_below
from tests.support.profiles import LEAF, ROOT, START_UNIX_NS, profile_of, row

PATIENCE_S = 30.0  # for what happens at once, unless it never does
_CLOSING_S = 5.0
_POLL_S = 0.002

RETRY = Outcome("retry", "come back later")
REFUSED = Outcome("refused", "not like this")
IN_MEMORY = Limits(None, disk_bytes=1, age_s=3600.0)
RESOURCE: Attributes = (("service.name", "shop"), ("process.pid", 4711))

Reaction = Outcome | Callable[[Batch, float], Outcome]


class FakeClock:
    """Time that only `advance` and `step` move. All threads of otelprof's that start after it wait on it."""

    def __init__(self) -> None:
        self._now_ns = 1_000 * NS_PER_S
        self._jump_ns = 0
        self._others = set(threading.enumerate())
        self._waits: dict[
            int, tuple[threading.Event, int]
        ] = {}  # by thread, for what and until when
        self._changed = threading.Condition()

    def monotonic_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return START_UNIX_NS + self._now_ns + self._jump_ns

    def set_unix(self, jump_s: float) -> None:
        """Set the wall clock, as an administrator or NTP would."""
        self._jump_ns += round(jump_s * NS_PER_S)

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        ident = threading.get_ident()
        with self._changed:
            due_ns = self._now_ns + round(timeout_s * NS_PER_S)
            self._waits[ident] = event, due_ns
            while not event.is_set() and self._now_ns < due_ns:
                self._changed.wait(_POLL_S)  # the event cannot notify
            del self._waits[ident]
        return event.is_set()

    def step(self, seconds: float) -> None:
        """Move time, whatever the threads do."""
        with self._changed:
            self._now_ns += round(seconds * NS_PER_S)
            self._changed.notify_all()

    def settle(self) -> None:
        """Return when the threads have done all that is to be done now, and sleep."""
        deadline = time.monotonic() + PATIENCE_S
        with self._changed:
            while not self._is_everybody_asleep():
                assert time.monotonic() < deadline, "the threads do not settle"
                self._changed.wait(_POLL_S)

    def advance(self, seconds: float) -> None:
        """Move time, and let the threads do what it has brought."""
        self.settle()
        self.step(seconds)
        self.settle()

    def _is_everybody_asleep(self) -> bool:
        threads = set(threading.enumerate()) - self._others
        return all(self._is_asleep(thread) for thread in threads if isinstance(thread, OwnThread))

    def _is_asleep(self, thread: threading.Thread) -> bool:
        event, due_ns = self._waits.get(thread.ident or 0, (None, 0))
        return event is not None and not event.is_set() and due_ns > self._now_ns


class FakeCollector:
    """Hands over what `give` put in."""

    def __init__(self) -> None:
        self.given = 0
        self.ticks = 0
        self._profiles: list[Profile] = []

    def give(self, count: int = 1) -> None:
        """Have `count` profiles ready; their only weight is their number."""
        for _ in range(count):
            self.given += 1
            self._profiles.append(profile_of(row(LEAF, ROOT, values=(1, self.given))))

    def put(self, profile: Profile) -> None:
        """Have this one ready."""
        self._profiles.append(profile)

    def spoil(self) -> None:
        """Break the last one that is ready: its weight does not fit into 64 bits."""
        last = self._profiles[-1]
        self._profiles[-1] = replace(last, values=(last.values[0], (2**70,)))

    def has_some(self) -> bool:
        """Whether the pipeline has not taken all of it yet."""
        return bool(self._profiles)

    def drain(self) -> list[Profile]:
        taken, self._profiles = self._profiles, []
        return taken

    def tick(self) -> None:
        self.ticks += 1

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def after_fork(self) -> None: ...
    def set_rate_hz(self, rate_hz: float) -> None: ...
    def health(self) -> Mapping[str, int]:
        return {}


class FakeExporter:
    """Reacts as scripted, then always as `then` says; keeps every call."""

    def __init__(
        self, *script: Reaction, then: Reaction = DELIVERED, destination: str = ""
    ) -> None:
        self.then = then
        self.destination = destination
        self.calls: list[Batch] = []
        self.delivered: list[Batch] = []
        self.timeouts_s: list[float] = []
        self.closed = 0
        self.forked = 0
        self._script = deque(script)

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        self.calls.append(batch)
        self.timeouts_s.append(timeout_s)
        reaction = self._script.popleft() if self._script else self.then
        outcome = reaction if isinstance(reaction, Outcome) else reaction(batch, timeout_s)
        if outcome.verdict == "delivered":
            self.delivered.append(batch)
        return outcome

    def close(self) -> None:
        self.closed += 1

    def after_fork(self) -> None:
        self.forked += 1


def numbers_of(batches: list[Batch]) -> list[int]:
    """The numbers that `FakeCollector.give` gave to the profiles in `batches`."""
    return [weight for b in batches for p in b.profiles for weight in p.column("cpu")]


def batch_of(number: int) -> Batch:
    """A batch of one profile, as `FakeCollector.give` would number it."""
    return Batch((profile_of(row(LEAF, values=(1, number))),))


class Hanging:
    """An exporter's reaction that takes no notice of its timeout, until `let_go`."""

    def __init__(self, then: Outcome = RETRY) -> None:
        self.entered = threading.Event()
        self._then = then
        self._may_return = threading.Event()

    def __call__(self, _: Batch, __: float) -> Outcome:
        self.entered.set()
        self._may_return.wait(PATIENCE_S)
        return self._then

    def let_go(self) -> None:
        self._may_return.set()


def seconds_of(call: Callable[[], object]) -> float:
    """How long `call` takes."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


class Bench:
    """A pipeline of fakes; `spans` are those that have ended. No `clock` is the system's."""

    def __init__(
        self,
        exporters: Mapping[str, Callable[[], FakeExporter]],
        *,
        clock: FakeClock | None,
        on_tick: Callable[[], object] = lambda: None,
        limits: Limits = IN_MEMORY,
        resource: Attributes = RESOURCE,
        destinations: Mapping[str, str] | None = None,
    ) -> None:
        self.collector = FakeCollector()
        self.spans: list[SpanRecord] = []
        self.flush_s = 10.0
        self.pipeline = Pipeline(
            collectors=[self.collector],
            exporters=exporters,
            destinations=destinations or {},
            take_spans=self._take_spans,
            resource=lambda: resource,
            flush_s=self.flush_s,
            on_tick=on_tick,
            limits=limits,
            processors=None,
            clock=clock or SYSTEM_CLOCK,
        )

    def _take_spans(self) -> tuple[SpanRecord, ...]:
        taken, self.spans = tuple(self.spans), []
        return taken


@contextmanager
def running(
    clock: FakeClock | None = None,
    *,
    on_tick: Callable[[], object] = lambda: None,
    limits: Limits = IN_MEMORY,
    resource: Attributes = RESOURCE,
    **exporters: FakeExporter | Callable[[], FakeExporter],
) -> Iterator[Bench]:
    """A pipeline of fakes whose threads run until the end of the `with` statement."""
    builders = {name: _builder(exporter) for name, exporter in exporters.items()}
    bench = Bench(builders, clock=clock, on_tick=on_tick, limits=limits, resource=resource)
    others = set(threading.enumerate())
    bench.pipeline.start()
    try:
        yield bench
    finally:
        bench.pipeline.shutdown(_CLOSING_S)
        for thread in set(threading.enumerate()) - others:
            if isinstance(thread, OwnThread):
                thread.join(_CLOSING_S)  # what it logs belongs to this test
    for name in exporters:
        assert_adds_up(bench.pipeline, name)


def on_disk(
    directory: Path,
    *,
    disk_bytes: int = 256 << 20,
    age_s: float = 86_400.0,
    memory_bytes: int = MAX_MEMORY_BYTES,
) -> Limits:
    """Limits of a pipeline whose spool is in `directory`; the others as they are by default."""
    return Limits(directory, disk_bytes=disk_bytes, age_s=age_s, memory_bytes=memory_bytes)


def assert_adds_up(pipeline: Pipeline, name: str) -> None:
    """The accounts of an exporter balance, and what they say waits is what waits."""
    counts = pipeline.ledgers()[name]
    for what in ("profiles", "samples"):
        come = counts.get(f"collected_{what}", 0) + counts.get(f"adopted_{what}", 0)
        states = ("delivered", "refused", "dropped", "waiting", "left")
        gone = {state: counts.get(f"{state}_{what}", 0) for state in states}
        assert come == sum(gone.values()), counts
        assert min(gone.values()) >= 0, counts
        reasons = sum(n for key, n in counts.items() if key.startswith(f"dropped_{what}."))
        assert gone["dropped"] == reasons, counts
        queued = sum(getattr(parcel, what) for parcel in pipeline._lanes[name]._parcels)
        assert gone["waiting"] == queued, counts


def files_in(directory: Path) -> list[Path]:
    """The batches in the spool of `directory`, by name."""
    return files_below(directory / "spool", "*.batch")


def _builder(exporter: FakeExporter | Callable[[], FakeExporter]) -> Callable[[], FakeExporter]:
    return (lambda: exporter) if isinstance(exporter, FakeExporter) else exporter
