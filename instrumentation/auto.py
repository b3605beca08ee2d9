"""The instrumentor named `otelprof`: what `opentelemetry-instrument` and declarative configuration load.

An exception in here would stop the instrumentation of everything that comes after it, so there is none.
"""

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import (  # type: ignore[attr-defined] # it has no `__all__`
    BaseInstrumentor,
)

_log = logging.getLogger("otelprof")


class OtelprofInstrumentor(BaseInstrumentor):  # type: ignore[misc] # untyped base
    """Profiles the process from `instrument()` to `uninstrument()` or its end. A singleton.

    Keyword arguments of `instrument` are settings, as for `otelprof.Profiler`, and so are those of the entry `otelprof` in
    a file of declarative configuration. `tracer_provider` is whose spans are recorded, instead of the global one.
    `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=otelprof` keeps it from being loaded.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """No library needs to be there for us to start."""
        return []

    def _instrument(self, **settings: Any) -> None:  # noqa: ANN401 - as the base class has it
        for other in ("meter_provider", "logger_provider"):
            settings.pop(
                other, None
            )  # given to every instrumentor; our metrics go to the global one
        try:
            # In here, so that an import that fails is no exception either.
            from otelprof import process_profiler  # noqa: PLC0415
            from otelprof.errors import OtelprofError  # noqa: PLC0415

            try:
                process_profiler.start(**settings)
            except OtelprofError as error:
                _log.error("otelprof: this process is not profiled: %s", error)
        except Exception:  # noqa: BLE001 - see the module's docstring
            _log.exception(
                "otelprof does not profile this process; the application is not affected"
            )

    def _uninstrument(self, **_: Any) -> None:  # noqa: ANN401 - as the base class has it
        try:
            from otelprof import process_profiler  # noqa: PLC0415 - as above

            process_profiler.stop()
        except Exception:  # noqa: BLE001 - as above
            _log.exception("otelprof was not stopped; the application is not affected")
