"""CPU and wall time sampled by the C core, from a thread that never holds the GIL."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from otelprof.clock import SYSTEM_CLOCK, Clock, period_ns_of
from otelprof.collectors.columns import Columns
from otelprof.collectors.quota import budget_within, cpu_quota
from otelprof.collectors.thread_names import ThreadNames
from otelprof.config import Config
from otelprof.interfaces import Collector
from otelprof.labels import Labels
from otelprof.model import Profile
from otelprof.threads import own_native_ids

if TYPE_CHECKING:
    from otelprof import _core

_log = logging.getLogger("otelprof")

CPU_BUDGET = 0.01  # of one core at most, for the core's thread, which lowers its rate to keep to it


class CoreCollector:
    """Makes profiles of what a `_core.Sampler` has added up.

    Raises:
        OSError, RuntimeError: the core cannot run here; its own words say why.
    """

    def __init__(
        self,
        kinds: tuple[str, ...],
        config: Config,
        labels: Labels,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._kinds = kinds
        self._period_ns = period_ns_of(config.rate_hz)
        self._labels = labels
        self._clock = clock
        self._names = ThreadNames()
        self._is_paused = False
        self._var = labels.variable()
        self._has_labels = self._var is not None
        self._sampler = self._new_sampler()
        self._reset()

    def _reset(self) -> None:
        self._cpu_remainder_ns = 0
        self._is_running = False
        self._failures = self._overflow = 0
        self._has_said_lost = False

    def _new_sampler(self) -> "_core.Sampler":
        from otelprof import _core  # noqa: PLC0415 - only where there is one

        budget = budget_within(CPU_BUDGET, cpu_quota())
        sampler = _core.Sampler(period_ns=self._period_ns, cpu_budget=budget, var=self._var)
        if self._is_paused:
            sampler.pause()
        return sampler

    def start(self) -> None:
        """Have labels made and start the core's thread, if it does not run."""
        if self._is_running:
            return
        var = self._labels.install()
        self._has_labels = var is not None
        try:
            if var is not self._var:
                # Another tool has changed the runtime context since.
                self._var = var
                self._sampler = self._new_sampler()
            self._note_threads()
            self._sampler.start()
        except (OSError, RuntimeError) as error:
            self._fail(error)
            self._labels.uninstall()
            return
        self._is_running = True

    def stop(self) -> None:
        """Stop the core's thread; what it has collected stays to be drained."""
        if self._is_running:
            self.tick()
            self._is_running = False
            self._sampler.stop()
        self._labels.uninstall()  # a forked child has those of its parent

    def pause(self) -> None:
        """Leave the thread asleep, but take no samples."""
        self._is_paused = True
        self._sampler.pause()

    def resume(self) -> None:
        """Sample again; the time of the pause belongs to nobody."""
        self._is_paused = False
        self._sampler.resume()

    def set_rate_hz(self, rate_hz: float) -> None:
        """Have the core sample so often; a sampler that takes its place later, too."""
        self._period_ns = period_ns_of(rate_hz)
        self._sampler.set_period_ns(self._period_ns)

    def drain(self) -> list[Profile]:
        """Take the window from the core and make profiles of it."""
        self.tick()
        try:
            window = self._sampler.drain()
            period_ns = self._period_ns  # at the window's end
        except MemoryError as error:
            self._fail(error)
            return []
        self._overflow += window["losses"].get("overflow", 0)
        age_ns = self._clock.monotonic_ns() - window["start_ns"]
        columns = Columns(window, name_of=self._names.of, has_labels=self._has_labels)
        profiles, self._cpu_remainder_ns = columns.profiles(
            self._kinds,
            start_unix_ns=self._clock.unix_ns() - age_ns,
            period_ns=period_ns,
            remainder_ns=self._cpu_remainder_ns,
        )
        self._names.forget_ended()
        return profiles

    def tick(self) -> None:
        """Learn the names of threads, which may have ended at the drain, and what has got worse since."""
        self._note_threads()
        if self._is_running and self._has_labels and self._labels.variable() is not self._var:
            self._has_labels = False
            _log.warning(
                "spans are not seen any more: another tool has replaced the runtime context"
            )
        self._say_lost()

    def health(self) -> Mapping[str, int]:
        """The core's counters and memory, and how often it could not do what it was asked for. About 0.1 ms."""
        counters = self._sampler.health().items()
        numbers = {name: value for name, value in counters if isinstance(value, int)}
        return {
            **numbers,
            "asked_period_ns": self._period_ns,
            "overflow": self._overflow,
            "sampler_resident_bytes": self._sampler.resident_bytes(),
            "sampler_failures": self._failures,
        }

    def facts(self) -> Mapping[str, str]:
        """What the core says of itself in words, such as how it reads memory."""
        facts = self._sampler.health().items()
        return {name: value for name, value in facts if isinstance(value, str)}

    def after_fork(self) -> None:
        """Begin anew in a forked child, where the core has no thread."""
        self._reset()
        self._names.after_fork()
        try:
            self._sampler.after_fork()
            if self._is_paused:
                self._sampler.pause()
        except (OSError, RuntimeError) as error:
            self._fail(error)

    def _note_threads(self) -> None:
        self._names.note()
        for native_id in own_native_ids():
            self._sampler.leave_out(native_id)

    def _say_lost(self) -> None:
        """Say once that the program has closed the core's descriptor, and what comes of it."""
        if self._has_said_lost:
            return
        health = self._sampler.health()
        if health.get("descriptors_lost"):
            self._has_said_lost = True
            _log.warning(
                "otelprof: the program has closed a descriptor of the C core's; memory is now read by: %s",
                health["backend"],
            )

    def _fail(self, error: Exception) -> None:
        """Count it, and say it once."""
        self._failures += 1
        if self._failures == 1:
            _log.warning("otelprof: the C core takes no samples: %s", error)


if TYPE_CHECKING:
    _checked: type[Collector] = CoreCollector
