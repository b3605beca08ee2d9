"""CPU and wall time sampled in Python, where the C core cannot run."""

import logging
import os
import random
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock, period_ns_of
from otelprof.collectors.sampler import Sampler, SpanSource
from otelprof.collectors.window import Window
from otelprof.config import Config
from otelprof.context import SpanReader
from otelprof.interfaces import Collector
from otelprof.labels import Spans
from otelprof.model import Profile
from otelprof.primitives import Lock
from otelprof.threads import OwnThread

_log = logging.getLogger("otelprof")

CPU_BUDGET = 0.01  # of one core, for the sampling thread: above it the rate goes down
_MAX_STRETCH = 10  # but never below a tenth of what was asked for
_PASSES_A_MEASUREMENT = 8
_SMOOTHING = 0.3  # weight of the newest measurement in the mean cost of a pass
_STOP_TIMEOUT_S = 0.1


def python_collector(
    kinds: tuple[str, ...], config: Config, spans: Spans, reason: str
) -> Collector:
    """A `PythonCollector` with a way of its own to the current span."""
    return PythonCollector(kinds, config, SpanReader(spans.local_root_of), reason=reason)


class PythonCollector:
    """Samples stacks from a thread of its own, at `rate_hz` with jitter, and adds them up.

    The time between two passes varies by half of it, so that no program can run in step with them.
    """

    def __init__(
        self,
        kinds: tuple[str, ...],
        config: Config,
        spans: SpanSource,
        *,
        reason: str = "",
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._kinds = kinds
        self._reason = reason  # why not the C core
        self._period_ns = period_ns_of(config.rate_hz)
        self._clock = clock
        self._spans = spans
        self._random = random.Random()  # noqa: S311 - jitter; the application's generator is left alone
        self._main_id: int | None = None
        self._reset()

    def _reset(self) -> None:
        self._lock = Lock()  # held during a pass, and to take the window away
        self._running = Lock()  # held while sampling: waiting for it is the timer
        self._thread: OwnThread | None = None
        self._paused = False
        self._sampler = Sampler(self._spans, main_id=self._main_id)
        self._window = self._new_window()
        self._cpu_remainder_ns = 0
        self._passes = 0
        self._cost_ns = 0.0
        self._cpu_ns = 0

    def _new_window(self) -> Window:
        return Window(self._clock.unix_ns(), self._clock.monotonic_ns())

    def start(self) -> None:
        """Start the sampling thread, if it does not run."""
        if self._thread is not None:
            return
        self._spans.install()
        running = self._running = Lock()
        running.acquire()
        self._window = self._new_window()
        self._sampler.begin(self._window, self._window.start_ns)
        thread = OwnThread("sampler", lambda: self._run(running))
        try:
            thread.start()
        except RuntimeError:
            self._spans.uninstall()
            raise
        self._thread = thread

    def stop(self) -> None:
        """Stop the sampling thread; what it has collected stays to be drained."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._running.release()
            thread.join(_STOP_TIMEOUT_S)
            with self._lock:
                self._sampler.end(self._window, self._clock.monotonic_ns())
        self._spans.uninstall()  # a forked child has what its parent has installed

    def pause(self) -> None:
        """Leave the thread asleep, but take no samples."""
        self._paused = True

    def resume(self) -> None:
        """Sample again; the time of the pause belongs to nobody."""
        with self._lock:
            self._sampler.begin(self._window, self._clock.monotonic_ns())
        self._paused = False

    def set_rate_hz(self, rate_hz: float) -> None:
        """Sample so often from the next pass on."""
        self._period_ns = period_ns_of(rate_hz)

    def drain(self) -> list[Profile]:
        """Take the window away and make profiles of it."""
        with self._lock:
            if self._thread is not None:
                self._sampler.add_unseen(self._window)
            window, self._window = self._window, self._new_window()
            period_ns = self._period_ns  # at the window's end
        profiles, self._cpu_remainder_ns = window.profiles(
            self._kinds,
            self._clock.monotonic_ns(),
            period_ns,
            self._cpu_remainder_ns,
            self._reason,
        )
        return profiles

    def tick(self) -> None:
        """Nothing: a pass learns the names of threads when it sees them first."""

    def health(self) -> Mapping[str, int]:
        """Counters since the start, and the CPU time that sampling has cost."""
        return {
            "passes": self._passes,
            "samples": self._sampler.samples,
            "retries": self._sampler.retries,
            "cut_passes": self._sampler.cut_passes,
            "threads_without_clock": self._sampler.threads_without_clock(),
            "sampler_cpu_ns": self._cpu_ns,
        }

    def after_fork(self) -> None:
        """Begin anew in a forked child. The parent's locks may be held by threads that are not here."""
        paused = self._paused
        self._main_id = os.getpid()  # for `threading` it may be the parent's
        self._spans.after_fork()
        self._reset()
        self._paused = paused

    def _run(self, running: threading.Lock) -> None:
        """Sample until `running` is free."""
        # Beside the sampling: it takes a while where others compute.
        with suppress(RuntimeError):  # at the program's end Python starts no thread
            OwnThread("learner", self._sampler.learn).start()
        due_ns = self._clock.monotonic_ns()
        started_cpu_ns = time.thread_time_ns()
        while True:
            period_ns = self._stretched_period_ns() * (0.5 + self._random.random())
            now_ns = self._clock.monotonic_ns()
            # A pass that came late does not make the next one come early.
            due_ns = max(due_ns + round(period_ns), now_ns)
            if running.acquire(timeout=(due_ns - now_ns) / NS_PER_S):
                return
            with self._lock:
                if not running.locked():
                    return  # stopped while this thread waited for the GIL: the books are closed
                if self._paused:
                    continue
                self._sampler.take_pass(self._window, self._clock.monotonic_ns())
            self._passes += 1
            if self._passes % _PASSES_A_MEASUREMENT == 0:
                cpu_ns = time.thread_time_ns() - started_cpu_ns
                cost_ns = (cpu_ns - self._cpu_ns) / _PASSES_A_MEASUREMENT
                self._cost_ns += _SMOOTHING * (cost_ns - self._cost_ns)
                self._cpu_ns = cpu_ns

    def _stretched_period_ns(self) -> float:
        """The period that keeps the mean cost of a pass within the budget."""
        wanted = self._cost_ns / CPU_BUDGET
        return min(max(self._period_ns, wanted), self._period_ns * _MAX_STRETCH)


if TYPE_CHECKING:
    _checked: type[Collector] = PythonCollector
