"""What OpenTelemetry's auto-instrumentation calls before it instruments anything, in every program that has otelprof.

What cannot be imported in here would end the instrumentation of everything, so nothing of ours is imported but under
`otelprof run`, where there is something to do.
"""

import logging
import os


def pre_instrument() -> None:
    """Under `otelprof run`: have the providers that are set by now give way to the application's own. Never raises."""
    if not os.environ.get("OTELPROF_LOCAL_DIRECTORY"):  # what `otelprof run` sets
        return
    try:
        from otelprof.instrumentation.yielding import give_way  # noqa: PLC0415 - see above

        give_way()
    except Exception:
        logging.getLogger("otelprof").exception(
            "otelprof: providers of the application's own will not be used"
        )
