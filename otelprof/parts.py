"""The parts of a profiler that its configuration names."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from otelprof.clock import period_ns_of
from otelprof.config import Config
from otelprof.delivery.limits import Limits
from otelprof.errors import ConfigError, ExporterError
from otelprof.extensions import COLLECTORS, EXPORTERS, is_own, load
from otelprof.forks import kept_whole
from otelprof.interfaces import Collector, Exporter
from otelprof.labels import Spans
from otelprof.pipeline import Pipeline

if TYPE_CHECKING:
    from otelprof.pull.server import PullServer
    from otelprof.storage.vitals import VitalsFile


def collectors_of(config: Config, spans: Spans) -> list[Collector]:
    """One collector for each class that the configured kinds are registered with."""
    kinds: dict[Any, list[str]] = {}
    error = partial(ConfigError, setting="collect")
    for kind in config.collect:
        kinds.setdefault(load(COLLECTORS, kind, error), []).append(kind)
    return [build(tuple(names), config, spans) for build, names in kinds.items()]


def limits_of(config: Config) -> Limits:
    """How much may wait for exporters, and where."""
    directory = config.state_dir if config.spool else None
    return Limits(directory, disk_bytes=config.spool_max_bytes, age_s=config.spool_age_s)


def exporters_of(config: Config) -> dict[str, Callable[[], Exporter]]:
    """By name, how to build each exporter."""
    names = config.exporters if config.output is None else ("file",)
    return {name: partial(_build_exporter, name, config) for name in names}


def destinations_of(config: Config) -> dict[str, str]:
    """Of otelprof's own exporters, which say it without being imported."""
    return {
        "file": "",
        "http": config.http.destination,
        "local": "",
        "otlp": config.otlp.destination,
        "pyroscope": config.pyroscope.destination,
    }


def pull_of(config: Config, pipeline: Pipeline) -> "PullServer | None":
    """What serves profiles of this pipeline; None where that is not asked for."""
    if not config.pull.address:
        return None
    from otelprof.pull.server import PullServer  # noqa: PLC0415 - where it is asked for only

    return PullServer(config.pull, config.collect, pipeline.read)


def vitals_of(config: Config, counters: Callable[[], Mapping[str, int]]) -> "VitalsFile | None":
    """Under `otelprof run`: what notes for its summary what sampling does and takes, as `counters` count it."""
    directory = config.local.directory
    if directory is None or "local" not in config.exporters:
        return None
    with kept_whole():
        from otelprof.storage.vitals import VitalsFile  # noqa: PLC0415 - as above
    return VitalsFile(directory, period_ns_of(config.rate_hz), counters)


def _build_exporter(name: str, config: Config) -> Exporter:
    # Constructors of otelprof's own import what they need. Those of others are not to hold up a fork.
    with kept_whole():
        build = load(EXPORTERS, name, ExporterError)
        if is_own(EXPORTERS, name):
            return cast("Exporter", build(config))
    return cast("Exporter", build(config))
