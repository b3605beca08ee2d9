"""The ends of a pipeline that a test holds in its hands: clock, collector, exporter."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from otelprof.clock import NS_PER_S
from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch, Profile, SpanRecord
from otelprof.pipeline import Pipeline
from tests.support.profiles import LEAF, ROOT, profile_of, row

PATIENCE_S = 30.0  # for what happens at once, unless it never does
_CLOSING_S = 5.0
_POLL_S = 0.002

RETRY = Outcome("retry", "come back later")
REFUSED = Outcome("refused", "not like this")
RESOURCE = (("service.name", "shop"), ("process.pid", 4711))

Reaction = Outcome | Callable[[Batch, float], Outcome]


class FakeClock:
    """Time that only `advance` moves. One thread may wait on it."""

    def __init__(self) -> None:
        self.woken = threading.Event()  # what the worker waits for, once it has waited
        self._now_ns = 1_000 * NS_PER_S
        self._due_ns: int | None = None
        self._changed = threading.Condition()

    def monotonic_ns(self) -> int:
        return self._now_ns

    def unix_ns(self) -> int:
        return self._now_ns

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        with self._changed:
            self.woken = event
            self._due_ns = self._now_ns + round(timeout_s * NS_PER_S)
            self._changed.notify_all()
            while not event.is_set() and self._now_ns < self._due_ns:
                self._changed.wait(_POLL_S)  # the event cannot notify
            self._due_ns = None
        return event.is_set()

    def step(self, seconds: float) -> None:
        """Move time, whatever the worker does."""
        with self._changed:
            self._now_ns += round(seconds * NS_PER_S)
            self._changed.notify_all()

    def settle(self) -> None:
        """Return when the worker has done all that is to be done now, and sleeps."""
        with self._changed:
            assert self._changed.wait_for(self._is_asleep, PATIENCE_S), "the worker does not settle"

    def advance(self, seconds: float) -> None:
        """Move time, and let the worker do what it has brought."""
        self.settle()
        self.step(seconds)
        self.settle()

    def _is_asleep(self) -> bool:
        return self._due_ns is not None and self._due_ns > self._now_ns


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

    def __init__(self, *script: Reaction, then: Reaction = DELIVERED) -> None:
        self.then = then
        self.calls: list[Batch] = []
        self.delivered: list[Batch] = []
        self.timeouts_s: list[float] = []
        self.closed = 0
        self.forked = 0
        self.destination = "a fake"
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

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._may_return = threading.Event()

    def __call__(self, _: Batch, __: float) -> Outcome:
        self.entered.set()
        self._may_return.wait(PATIENCE_S)
        return RETRY

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
        on_tick: Callable[[], bool] = lambda: True,
    ) -> None:
        self.collector = FakeCollector()
        self.spans: list[SpanRecord] = []
        self.flush_s = 10.0
        settings = {} if clock is None else {"clock": clock}
        self.pipeline = Pipeline(
            collectors=[self.collector],
            exporters=exporters,
            take_spans=self._take_spans,
            resource=lambda: RESOURCE,
            flush_s=self.flush_s,
            on_tick=on_tick,
            processors=None,
            **settings,
        )

    def _take_spans(self) -> tuple[SpanRecord, ...]:
        taken, self.spans = tuple(self.spans), []
        return taken


@contextmanager
def running(
    clock: FakeClock | None = None,
    *,
    on_tick: Callable[[], bool] = lambda: True,
    **exporters: FakeExporter | Callable[[], FakeExporter],
) -> Iterator[Bench]:
    """A pipeline of fakes whose worker runs until the end of the `with` statement."""
    builders = {name: _builder(exporter) for name, exporter in exporters.items()}
    bench = Bench(builders, clock=clock, on_tick=on_tick)
    others = set(threading.enumerate())
    bench.pipeline.start()
    try:
        yield bench
    finally:
        bench.pipeline.shutdown(_CLOSING_S)
        for thread in set(threading.enumerate()) - others:
            if thread.name == "otelprof-worker":
                thread.join(_CLOSING_S)  # what it logs belongs to this test


def _builder(exporter: FakeExporter | Callable[[], FakeExporter]) -> Callable[[], FakeExporter]:
    return (lambda: exporter) if isinstance(exporter, FakeExporter) else exporter
