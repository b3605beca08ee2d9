"""A profiler for Python services that speak OpenTelemetry."""

from otelprof.profiler import Profiler
from otelprof.version import __version__

__all__ = ["Profiler", "__version__"]
