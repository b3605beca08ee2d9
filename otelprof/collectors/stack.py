"""CPU and wall time of all threads, by stack and span: which sampler takes the kinds `cpu` and `wall`."""

import logging

from otelprof.collectors.core import CoreCollector
from otelprof.config import Config
from otelprof.errors import ConfigError
from otelprof.interfaces import Collector
from otelprof.labels import Spans
from otelprof.model import KINDS
from otelprof.native import why_not

_log = logging.getLogger("otelprof")

ASKED_FOR = "it was asked for"

_said: set[str] = set()  # that the sampler is in Python is said once in a process


def stack_collector(kinds: tuple[str, ...], config: Config, spans: Spans) -> Collector:
    """The C core where it runs, else the sampler in Python.

    Raises:
        ConfigError: one of `kinds` is not a kind of stack profile, or the core was asked for and cannot run.
    """
    unknown = set(kinds) - KINDS.keys()
    if unknown:
        names = ", ".join(sorted(unknown))
        raise ConfigError(f"collect: {names} is not a kind of stack profile", setting="collect")
    kinds = tuple(kind for kind in KINDS if kind in kinds)
    reason = ASKED_FOR
    if config.sampler != "python":
        collector, reason = core_collector(kinds, config, spans)
        if collector is not None:
            return collector
        if config.sampler == "core":
            _said.add(reason)
            raise ConfigError(f"sampler: 'core' cannot be used: {reason}", setting="sampler")
        _say(reason)
    from otelprof.collectors.python import python_collector  # noqa: PLC0415 - asyncio comes with it

    return python_collector(kinds, config, spans, reason)


def core_collector(
    kinds: tuple[str, ...], config: Config, spans: Spans
) -> tuple[CoreCollector | None, str]:
    """The C core's collector, or why it cannot run here."""
    reason = why_not()
    if reason:
        return None, reason
    try:
        return CoreCollector(kinds, config, spans.labels), ""
    except RuntimeError as error:
        return None, f"the C core's self-test failed: {error}"
    except OSError as error:
        return None, f"the C core cannot read memory: {error}"


def _say(reason: str) -> None:
    if not _said:
        _said.add(reason)
        _log.warning(
            "otelprof: samples are taken in Python, which sees less (docs/limits.md), since %s; "
            "OTELPROF_SAMPLER=python accepts that",
            reason,
        )
