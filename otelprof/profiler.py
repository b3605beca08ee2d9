"""The profiler: builds everything from a `Config`, and starts and stops it in the right order."""

import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from functools import partial
from types import TracebackType
from typing import Any, Self, cast

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK
from otelprof.config import Config
from otelprof.delivery.limits import Limits
from otelprof.environment import claim_output, from_environment
from otelprof.errors import ConfigError, ExporterError
from otelprof.extensions import COLLECTORS, EXPORTERS, is_own, load
from otelprof.forks import kept_whole
from otelprof.interfaces import Collector, Exporter
from otelprof.labels import Spans, spans_by
from otelprof.model import Attributes
from otelprof.pipeline import Pipeline
from otelprof.processors.chain import build_chain
from otelprof.spans import SpanLog, SpanRecorder, current_resource, record_spans_of_provider
from otelprof.threads import run_soon

_log = logging.getLogger("otelprof")

EXIT_TIMEOUT_S = 1.5  # of the 2 s that an exit may be held up, the rest is for stopping threads


class Profiler:
    """Profiles this process from `start` to `stop`. Also a context manager.

        with otelprof.Profiler(output="out.pb.gz"):
            work()

    Settings that are not given come from the environment; see `config.Config` for their names.
    After `start` nothing raises into the application: what goes wrong is logged once and counted.

    Raises:
        ConfigError: a setting does not exist or its value cannot be used.
    """

    def __init__(self, config: Config | None = None, **settings: object) -> None:
        given = from_environment() if config is None else config
        # Paths mean where the program began, wherever it goes.
        self.config = given.with_arguments(settings).with_absolute_paths()
        # A signal's handler may come in the middle of what the main thread does here, and ask for the same.
        self._lock = threading.RLock()
        self._rate_lock = threading.RLock()
        self._is_wanted = self._is_running = self._is_changing = False
        self._is_inherited = False  # in a forked child: the parts are as the parent had them
        self._is_observed = False
        self._log = SpanLog()
        self._recorder: SpanRecorder | None = None
        from_caller = settings.keys() if config is None else {f.name for f in fields(Config)}
        self._collectors = self._build_collectors(from_caller)
        self._pipeline = Pipeline(
            collectors=self._collectors,
            exporters=_exporters(self.config),
            destinations=_destinations(self.config),
            take_spans=self._log.take,
            resource=_resource,
            flush_s=self.config.flush_s,
            on_tick=self._watch_providers,
            limits=_limits(self.config),
            backoff=self.config.retry_backoff,
            processors=build_chain(self.config, from_caller),
        )

    def start(self) -> None:
        """Begin to profile. Idempotent; does nothing where otelprof is switched off."""
        with self._lock:
            self._is_wanted = self.config.enabled
            self._change(EXIT_TIMEOUT_S)

    def stop(self, timeout_s: float = EXIT_TIMEOUT_S) -> bool:
        """Stop and deliver the rest, within `timeout_s` seconds. True if everything was delivered.

        A signal's handler that comes in the middle of `start` or `stop` of its own thread gets False at once:
        they stop, and deliver, when it has returned; if it raises, the end of the process does.
        """
        with self._lock:
            self._is_wanted = False
            return self._change(timeout_s)

    def _change(self, timeout_s: float) -> bool:
        """Start or stop, as was asked for last. True if everything was delivered.

        Until the last step is done nothing is: a handler that raises leaves what can be done again.
        """
        done = True
        if self._is_inherited:
            self._renew()
        while self._is_running != self._is_wanted and not self._is_changing:
            try:
                self._is_changing = True
                if self._is_wanted:
                    self._start_parts()
                else:
                    done = self._stop_parts(timeout_s)
            finally:
                self._is_changing = False
        return done and not self._is_changing

    def _start_parts(self) -> None:
        self._is_running = True
        claim_output()
        if self._recorder is not None:
            self._recorder.open()
        self._watch_provider()
        try:
            for collector in self._collectors:
                collector.start()
            self._pipeline.start()
        except RuntimeError as error:  # the system, or Python at its end, refuses a thread
            if threading.main_thread().is_alive():  # else this is a child's that is over already
                _log.warning("otelprof: this process is not profiled: %s", error)
            self._is_wanted = False
            self._stop_parts(0.0)
            return
        if self not in _running:  # as it is in a forked child
            _running.add(self)
            atexit.register(self._stop_at_exit)

    def _stop_parts(self, timeout_s: float) -> bool:
        for collector in self._collectors:
            collector.stop()
        done = self._pipeline.shutdown(timeout_s)
        if self._recorder is not None:
            self._recorder.close()
        _running.discard(self)
        atexit.unregister(self._stop_at_exit)
        self._is_running = False
        return done

    def _stop_at_exit(self) -> None:
        """Stop. All profilers of the process have the time of one, but for a sixth each that the last ones get at least."""
        now_ns = SYSTEM_CLOCK.monotonic_ns()
        _default.ends_ns = _default.ends_ns or now_ns + round(EXIT_TIMEOUT_S * NS_PER_S)
        left_s = (_default.ends_ns - now_ns) / NS_PER_S
        self.stop(max(left_s, EXIT_TIMEOUT_S / 6))

    def pause(self) -> None:
        """Take no samples until `resume`."""
        self._go_on()
        for collector in self._collectors:
            collector.pause()

    def resume(self) -> None:
        """Take samples again."""
        self._go_on()
        for collector in self._collectors:
            collector.resume()

    def set_rate_hz(self, rate_hz: float) -> None:
        """Take so many samples per second and thread from the next sample on, 1 to 1000.

        At any time: while it runs, is paused or is stopped, and for children forked from then on. Time stays
        right across the change; the profile in which it falls has the period of its end.

        Raises:
            ConfigError: it cannot be used as the setting `rate_hz`; the rate stays as it was.
        """
        self._go_on()
        with self._rate_lock:
            self.config = self.config.with_arguments({"rate_hz": rate_hz})
            for collector in self._collectors:
                collector.set_rate_hz(self.config.rate_hz)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Deliver what was collected so far; True if that was done within `timeout_s` seconds."""
        self._go_on()
        return self._pipeline.flush(timeout_s)

    def health(self) -> Mapping[str, int]:
        """Counters of all parts since the start, and what they take now; see docs/running.md."""
        self._go_on()
        counters = self._pipeline.statistics()
        for collector in self._collectors:
            counters.update(collector.health())
        counters["dropped_spans"] = self._log.dropped()
        return counters

    def after_fork(self) -> None:
        """Start afresh in a forked child: called by the at-fork hook, in the child's only thread.

        That goes on at once, perhaps to become another program. What takes time is done by a thread of ours, as
        soon as it gets the GIL, or by whoever calls a method of the profiler before that.
        """
        lock, rate_lock = threading.RLock(), threading.RLock()
        # The fork may have come in the middle of a stop, which is the parent's.
        self._is_wanted, self._is_running, self._is_changing = True, False, False
        self._is_inherited = True
        self._lock, self._rate_lock = lock, rate_lock
        self._log.after_fork()
        run_soon("starter", self._go_on)

    def _go_on(self) -> None:
        """In a forked child: do as the parent did, if that is not done yet."""
        if self._is_inherited:
            with self._lock, kept_whole():
                self._change(EXIT_TIMEOUT_S)

    def _renew(self) -> None:
        """In a forked child: have nothing of the parent's any more but what only a stop takes away."""
        self._pipeline.after_fork()
        for collector in self._collectors:
            collector.after_fork()
            # The fork may have come in the middle of a change.
            collector.set_rate_hz(self.config.rate_hz)
        self._is_inherited = False
        self._is_running = not self._is_wanted

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _build_collectors(self, from_caller: Collection[str]) -> list[Collector]:
        """Build them. What the environment has and they cannot use is named, and the default used."""
        spans = spans_by(self._log.local_root_of)
        while True:
            try:
                return _collectors(self.config, spans)
            except ConfigError as error:
                value = getattr(self.config, error.setting, None)
                default = getattr(Config(), error.setting, None)
                if error.setting in from_caller or value == default:
                    raise
                text = value if isinstance(value, str) else ",".join(value or ())
                _log.warning("OTELPROF_%s=%r is not used: %s", error.setting.upper(), text, error)
                self.config = self.config.with_arguments({error.setting: default})

    def _watch_providers(self) -> bool:
        """Also show our metrics, once the application has loaded what that takes. True if there is no more to do."""
        if not self._is_observed and "opentelemetry.metrics" in sys.modules:
            with kept_whole():
                from otelprof import metrics  # noqa: PLC0415 - see above

                metrics.observe(self._pipeline)
            self._is_observed = True
        return self._watch_provider() and self._is_observed

    def _watch_provider(self) -> bool:
        """Add our span processor as soon as the application has a tracer provider."""
        if self._recorder is None:
            recorder = SpanRecorder(self._log, span_id=self.config.span_id)
            if record_spans_of_provider(recorder):
                self._recorder = recorder
        return self._recorder is not None


def _resource() -> Attributes:
    """The application's resource, with the pid, which a profile keeps when another process sends it."""
    attributes = dict(current_resource())
    attributes["process.pid"] = os.getpid()
    return tuple(attributes.items())


def _collectors(config: Config, spans: Spans) -> list[Collector]:
    """One collector for each class that the configured kinds are registered with."""
    kinds: dict[Any, list[str]] = {}
    error = partial(ConfigError, setting="collect")
    for kind in config.collect:
        kinds.setdefault(load(COLLECTORS, kind, error), []).append(kind)
    return [build(tuple(names), config, spans) for build, names in kinds.items()]


def _limits(config: Config) -> Limits:
    directory = config.state_dir if config.spool else None
    return Limits(directory, disk_bytes=config.spool_max_bytes, age_s=config.spool_age_s)


def _exporters(config: Config) -> dict[str, Callable[[], Exporter]]:
    names = config.exporters if config.output is None else ("file",)
    return {name: partial(_build_exporter, name, config) for name in names}


def _destinations(config: Config) -> dict[str, str]:
    """Of otelprof's own exporters, which say it without being imported."""
    return {
        "file": "",
        "http": config.http.destination,
        "otlp": config.otlp.destination,
        "pyroscope": config.pyroscope.destination,
    }


def _build_exporter(name: str, config: Config) -> Exporter:
    # Constructors of otelprof's own import what they need. Those of others are not to hold up a fork.
    with kept_whole():
        build = load(EXPORTERS, name, ExporterError)
        if is_own(EXPORTERS, name):
            return cast("Exporter", build(config))
    return cast("Exporter", build(config))


# Changed in single steps under the GIL: a lock could be held in a fork.
_running: set[Profiler] = set()


def _after_fork_in_child() -> None:
    _default.lock = threading.RLock()
    _default.is_stopping = False
    for profiler in tuple(_running):
        try:
            profiler.after_fork()
            _stop_with_multiprocessing(profiler)
        except Exception:  # noqa: BLE001 - a fork of the application must succeed
            _log.exception("the profiler could not be started in the forked child")


def _stop_with_multiprocessing(profiler: Profiler) -> None:
    """Deliver the rest when a `multiprocessing` child ends: it leaves by `os._exit`, without atexit.

    Its finalizers run before that, but it clears them after the fork and then calls those registered here
    (Lib/multiprocessing/process.py, `_bootstrap`).
    """
    if "multiprocessing.util" not in sys.modules:
        return
    from multiprocessing import util  # noqa: PLC0415 - only where the application has imported it

    def stop_at_exit(profiler: Profiler) -> None:
        util.Finalize(profiler, profiler.stop, exitpriority=0)

    util.register_after_fork(profiler, stop_at_exit)


class _Default:
    """The profiler of `start` and `stop`, one for a process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # for a signal's handler, too
        self.profiler: Profiler | None = None
        self.is_stopping = False
        self.ends_ns = (
            0  # when the exit of the process is to be over, by the monotonic clock; 0 before it
        )


_default = _Default()


def start(config: Config | None = None, **settings: object) -> Profiler:
    """Profile this process from now on, until `stop` or its end, and return the profiler that does.

    Settings are those of `Profiler`. Idempotent: if it runs already, as under `opentelemetry-instrument`, it
    runs on with the settings that it has.

    Raises:
        ConfigError: a setting does not exist or its value cannot be used.
    """
    with _default.lock:
        profiler = _default.profiler
        if profiler is None:
            profiler = Profiler(config, **settings)
            # A signal's handler may have started one meanwhile: that is the one then.
            profiler = _default.profiler = _default.profiler or profiler
        elif settings or config is not None:
            names = ", ".join(settings) or "the configuration given"
            _log.warning("otelprof runs already: %s not used", names)
        profiler.start()
        return profiler


def stop(timeout_s: float = EXIT_TIMEOUT_S) -> bool:
    """Stop what `start` has started and deliver the rest, within `timeout_s` seconds.

    Idempotent. True if everything was delivered; False at once, as `Profiler.stop`, from a signal's handler in
    the middle of it.
    """
    with _default.lock:
        profiler, _default.profiler = _default.profiler, None
        if profiler is None:
            return not _default.is_stopping
        try:
            _default.is_stopping = True
            return profiler.stop(timeout_s)
        finally:
            _default.is_stopping = False


os.register_at_fork(after_in_child=_after_fork_in_child)
