"""Our lines in the log, where nobody else shows them.

Python prints warnings that no handler takes. OpenTelemetry's handlers take all, for a receiver of logs, so that what goes
wrong in this process would be seen on no terminal, and nowhere at all where there is no receiver.
"""

import logging

_THEIRS = "opentelemetry."


def show_lines() -> None:
    """Have what is said from now on printed as Python does it, unless the application has handlers of its own. Idempotent."""
    logger = logging.getLogger("otelprof")
    if not any(isinstance(handler, _LastResort) for handler in logger.handlers):
        logger.addHandler(_LastResort(logging.WARNING))


class _LastResort(logging.Handler):
    def handle(self, record: logging.LogRecord) -> bool:
        """Without a lock of ours: Python's own handler has one."""
        if logging.lastResort is not None and not _is_taken(logging.getLogger(record.name)):
            return bool(logging.lastResort.handle(record))
        return False


def _is_taken(logger: logging.Logger | None) -> bool:
    """Whether a handler that may show lines gets those of `logger`."""
    while logger is not None:
        for handler in logger.handlers:
            if not isinstance(handler, _LastResort) and not type(handler).__module__.startswith(
                _THEIRS
            ):
                return True
        logger = logger.parent if logger.propagate else None
    return False
