"""The profiler: builds everything from a `Config`, and starts and stops it in the right order."""

import atexit
import logging
import os
import sys
import threading
from collections.abc import Collection, Mapping
from dataclasses import fields
from types import TracebackType
from typing import TYPE_CHECKING, Self

from opentelemetry.trace import TracerProvider

from otelprof import exits, parts, servers
from otelprof.clock import NS_PER_S, SYSTEM_CLOCK
from otelprof.config import Config
from otelprof.environment import claim_output, from_environment
from otelprof.errors import ConfigError
from otelprof.forks import kept_whole
from otelprof.interfaces import Collector
from otelprof.labels import spans_by
from otelprof.lines import show_lines
from otelprof.model import Attributes
from otelprof.pipeline import Pipeline
from otelprof.primitives import RLock, are_threads_unusable
from otelprof.processors.chain import build_chain
from otelprof.spans import SpanLog, SpanRecorder, current_resource, record_spans_of_provider
from otelprof.threads import run_soon

if TYPE_CHECKING:
    from otelprof.storage.vitals import VitalsFile  # under `otelprof run` only

_log = logging.getLogger("otelprof")

_LAST_ANSWERS_S = 0.2  # for what is being pulled, where delivery has taken all of the time
EXIT_TIMEOUT_S = 1.5  # of the 2 s that an exit may be held up, the rest is for stopping threads


class Profiler:
    """Profiles this process from `start` to `stop`. Also a context manager.

        with otelprof.Profiler(output="out.pb.gz"):
            work()

    Settings that are not given come from the environment; see `config.Config` for their names. Spans and resource
    are `tracer_provider`'s, else those of the global one, which may be set later.
    After `start` nothing raises into the application: what goes wrong is logged once and counted.

    Raises:
        ConfigError: a setting does not exist or its value cannot be used.
    """

    def __init__(
        self,
        config: Config | None = None,
        *,
        tracer_provider: TracerProvider | None = None,
        **settings: object,
    ) -> None:
        show_lines()
        given = from_environment() if config is None else config
        # Paths mean where the program began, wherever it goes.
        self.config = given.with_arguments(settings).with_absolute_paths()
        # A signal's handler may come in the middle of what the main thread does here, and ask for the same.
        self._lock = RLock()
        self._rate_lock = RLock()
        self._is_wanted = self._is_running = self._is_changing = self._is_behind = False
        self._is_inherited = False  # in a forked child: the parts are as the parent had them
        self._is_observed = self._is_paused = self._is_left_to_workers = False
        self._tracer_provider = tracer_provider
        self._log = SpanLog()
        self._recorder: SpanRecorder | None = None
        from_caller = settings.keys() if config is None else {f.name for f in fields(Config)}
        self._collectors = self._build_collectors(from_caller)
        self._vitals: VitalsFile | None = None
        self._pipeline = Pipeline(
            collectors=self._collectors,
            exporters=parts.exporters_of(self.config),
            destinations=parts.destinations_of(self.config),
            take_spans=self._log.take,
            resource=self._resource,
            flush_s=self.config.flush_s,
            on_tick=self._look_around,
            limits=parts.limits_of(self.config),
            backoff=self.config.retry_backoff,
            processors=build_chain(self.config, from_caller),
        )
        self._pull = parts.pull_of(self.config, self._pipeline)

    def start(self) -> None:
        """Begin to profile. Idempotent; does nothing where otelprof is switched off, or where eventlet has patched threads.

        In a process that only forks others, as uWSGI's master does, it begins in those; see docs/deployment.md.
        """
        if self.config.enabled and are_threads_unusable():
            text = "eventlet has put greenlets in the place of Python's threads (docs/limits.md)"
            _log.warning("otelprof: this process is not profiled: %s", text)
            return
        with self._lock:
            if self.config.enabled and servers.put_off(self.begin_in_child):
                return
            self._is_wanted = self.config.enabled
            self._change(EXIT_TIMEOUT_S)

    def stop(self, timeout_s: float = EXIT_TIMEOUT_S) -> bool:
        """Stop and deliver the rest, within `timeout_s` seconds. True if everything was delivered.

        A signal's handler that comes in the middle of `start` or `stop` of its own thread gets False at once:
        they stop, and deliver, when it has returned; if it raises, the end of the process does.
        """
        with self._lock:
            servers.forget(self.begin_in_child)
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
        self._is_behind = self._is_changing
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
            self._vitals = parts.vitals_of(self.config, self._sampling)
            self._follow_uvicorn()
            self._pipeline.start()
            self._begin_pull()
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
        self._end_vitals()
        self._end_pull()
        end_ns = SYSTEM_CLOCK.monotonic_ns() + round(timeout_s * NS_PER_S)
        done = self._pipeline.shutdown(timeout_s)
        if self._pull is not None:
            left_s = (end_ns - SYSTEM_CLOCK.monotonic_ns()) / NS_PER_S
            self._pull.stop(max(left_s, min(timeout_s, _LAST_ANSWERS_S)))
        if self._recorder is not None:
            self._recorder.close()
        _running.discard(self)
        atexit.unregister(self._stop_at_exit)
        self._is_running = False
        return done

    def _stop_at_exit(self) -> None:
        """Stop. All profilers of the process have the time of one, but for a sixth each that the last ones get at least."""
        self.stop(exits.time_left_s(EXIT_TIMEOUT_S))
        exits.keep_exit_code()

    def pause(self) -> None:
        """Take no samples until `resume`."""
        self._go_on()
        self._is_paused = True
        for collector in self._collectors:
            collector.pause()

    def resume(self) -> None:
        """Take samples again."""
        self._go_on()
        self._is_paused = self._is_left_to_workers = False
        self._begin_pull()
        for collector in self._collectors:
            collector.resume()

    def leave_to_workers(self) -> None:
        """Take no samples any more of this process, which only manages others: those forked from it take their own.

        What it did until now, as to load the application, is delivered. Else its waiting would pass for the service's.
        """
        if not self._is_left_to_workers:
            self._is_left_to_workers = True
            self._end_vitals()
            self._end_pull()
            for collector in self._collectors:
                collector.pause()

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

    def flush(self, timeout_s: float = 10.0, *, before_end: bool = False) -> bool:
        """Deliver what was collected so far; True if that was done within `timeout_s` seconds.

        With `before_end`, where the process may end without another word, what was not is said.
        """
        until_ns = SYSTEM_CLOCK.monotonic_ns() + round(timeout_s * NS_PER_S)
        self._go_on()
        if self._is_behind:  # a thread of ours is about to begin
            if not self._lock.acquire(timeout=max(0.0, timeout_s)):
                return False
            self._lock.release()
        left_s = max(0.0, (until_ns - SYSTEM_CLOCK.monotonic_ns()) / NS_PER_S)
        return self._pipeline.flush(left_s, before_end=before_end)

    def health(self) -> Mapping[str, int]:
        """Counters of all parts since the start, and what they take now; see docs/running.md."""
        self._go_on()
        counters = self._pipeline.statistics()
        counters.update(self._sampling())
        if self._pull is not None:
            counters.update(self._pull.statistics())
        counters["dropped_spans"] = self._log.dropped()
        return counters

    def begin_in_child(self) -> None:
        """`after_fork`, to deliver the rest also where the child leaves without atexit. Never raises."""
        try:
            self.after_fork()
            servers.before_child_ends(self, self.stop)
        except Exception:  # noqa: BLE001 - a fork of the application must succeed
            _log.exception("the profiler could not be started in the forked child")

    def after_fork(self) -> None:
        """Start afresh in a forked child: called by the at-fork hook, in the child's only thread.

        That goes on at once, perhaps to become another program. What takes time is done by a thread of ours, as
        soon as it gets the GIL, or by whoever calls a method of the profiler before that.
        """
        lock, rate_lock = RLock(), RLock()
        # The fork may have come in the middle of a stop, which is the parent's.
        self._is_wanted, self._is_running, self._is_changing = True, False, False
        self._is_inherited = self._is_behind = True  # until its thread has done what follows
        self._lock, self._rate_lock = lock, rate_lock
        self._log.after_fork()
        if self._pull is not None:
            self._pull.after_fork()
        run_soon("starter", self._go_on)

    def _go_on(self) -> None:
        """In a forked child: do as the parent did, if that is not done yet."""
        if self._is_inherited:
            with self._lock, kept_whole():
                self._change(EXIT_TIMEOUT_S)

    def _renew(self) -> None:
        """In a forked child: have nothing of the parent's any more but what only a stop takes away."""
        self._pipeline.after_fork()
        self._vitals = None
        for collector in self._collectors:
            collector.after_fork()
            # The fork may have come in the middle of a change.
            collector.set_rate_hz(self.config.rate_hz)
            if self._is_left_to_workers and not self._is_paused:
                collector.resume()
        self._is_left_to_workers = False
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
                return parts.collectors_of(self.config, spans)
            except ConfigError as error:
                value = getattr(self.config, error.setting, None)
                default = getattr(Config(), error.setting, None)
                if error.setting in from_caller or value == default:
                    raise
                text = value if isinstance(value, str) else ",".join(value or ())
                _log.warning("OTELPROF_%s=%r is not used: %s", error.setting.upper(), text, error)
                self.config = self.config.with_arguments({error.setting: default})

    def _begin_pull(self) -> None:
        if self._pull is not None and self._is_running and not self._is_left_to_workers:
            self._pull.start()

    def _end_pull(self) -> None:
        """Let profiles that are being pulled end with what there is; the last flush of the pipeline closes them."""
        if self._pull is not None:
            self._pull.close()

    def _end_vitals(self) -> None:
        if self._vitals is not None:
            self._vitals.close()
            self._vitals = None

    def _sampling(self) -> dict[str, int]:
        """The counters of the collectors."""
        counters: dict[str, int] = {}
        for collector in self._collectors:
            counters.update(collector.health())
        return counters

    def _look_around(self) -> None:
        """See what the application has loaded, and set up, since the last look."""
        if self._vitals is not None:
            self._vitals.tick()
        self._watch_providers()
        self._follow_uvicorn()
        if servers.supervises():
            self.leave_to_workers()

    def _follow_uvicorn(self) -> None:
        servers.before_uvicorn_ends(_flush_running, 2 * EXIT_TIMEOUT_S)

    def _watch_providers(self) -> None:
        """Also show our metrics, once the application has loaded what that takes."""
        if not self._is_observed and "opentelemetry.metrics" in sys.modules:
            with kept_whole():
                from otelprof import metrics  # noqa: PLC0415 - see above

                metrics.observe(self._pipeline)
                if self._pull is not None:
                    metrics.observe(self._pull)
            self._is_observed = True
        self._watch_provider()

    def _watch_provider(self) -> None:
        """Add our span processor as soon as the application has a tracer provider."""
        if self._recorder is None:
            recorder = SpanRecorder(self._log, span_id=self.config.span_id)
            if record_spans_of_provider(recorder, self._tracer_provider):
                self._recorder = recorder

    def _resource(self) -> Attributes:
        """The application's resource, with the pid, which a profile keeps when another process sends it."""
        attributes = dict(current_resource(self._tracer_provider))
        attributes["process.pid"] = os.getpid()
        return tuple(attributes.items())


# Changed in single steps under the GIL: a lock could be held in a fork.
_running: set[Profiler] = set()


def _after_fork_in_child() -> None:
    for profiler in tuple(_running):
        profiler.begin_in_child()
    servers.after_fork_in_child()


def _after_fork_in_parent() -> None:
    if _running and servers.forks_workers(sys._getframe(1)):  # noqa: SLF001 - CPython's own way
        for profiler in tuple(_running):
            profiler.leave_to_workers()


def _flush_running() -> None:
    for profiler in tuple(_running):
        profiler.flush(EXIT_TIMEOUT_S, before_end=True)


os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
