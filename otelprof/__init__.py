"""A profiler for Python services that speak OpenTelemetry."""

from typing import TYPE_CHECKING

from otelprof.version import __version__

if TYPE_CHECKING:
    from otelprof.process_profiler import start, stop
    from otelprof.profiler import Profiler

__all__ = ["Profiler", "__version__", "start", "stop"]

if not TYPE_CHECKING:

    def _stop_nothing(timeout_s: float = 0.0) -> bool:
        del timeout_s
        return True

    def __getattr__(name: str) -> object:
        """Import the profiler when it is asked for: the entry point of OpenTelemetry's context must load at once."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from otelprof import process_profiler  # noqa: PLC0415 - see above

        if name == "stop" and not hasattr(process_profiler, name):
            return _stop_nothing  # in a signal's handler in the middle of that import
        value = globals()[name] = getattr(process_profiler, name)
        return value
