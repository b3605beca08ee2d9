"""The profiler of this process, which `otelprof.start` and `stop` are about."""

import logging
import os

from opentelemetry.trace import TracerProvider

from otelprof.config import Config
from otelprof.primitives import RLock
from otelprof.profiler import EXIT_TIMEOUT_S, Profiler

_log = logging.getLogger("otelprof")


class _Process:
    """What there is once a process."""

    def __init__(self) -> None:
        self.profiler: Profiler | None = None
        self.begin()

    def begin(self) -> None:
        """As it is in a new process; the lock could be held in a fork."""
        self.lock = RLock()  # for a signal's handler, too
        self.is_stopping = False


_process = _Process()
os.register_at_fork(after_in_child=_process.begin)


def start(
    config: Config | None = None,
    *,
    tracer_provider: TracerProvider | None = None,
    **settings: object,
) -> Profiler:
    """Profile this process from now on, until `stop` or its end, and return the profiler that does.

    Settings are those of `Profiler`. Idempotent: if it runs already, as under `opentelemetry-instrument`, it
    runs on with the settings that it has.

    Raises:
        ConfigError: a setting does not exist or its value cannot be used.
    """
    with _process.lock:
        profiler = _process.profiler
        if profiler is None:
            profiler = Profiler(config, tracer_provider=tracer_provider, **settings)
            # A signal's handler may have started one meanwhile: that is the one then.
            profiler = _process.profiler = _process.profiler or profiler
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
    with _process.lock:
        profiler, _process.profiler = _process.profiler, None
        if profiler is None:
            return not _process.is_stopping
        try:
            _process.is_stopping = True
            return profiler.stop(timeout_s)
        finally:
            _process.is_stopping = False
