"""`otelprof doctor`: what would run here, and why."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from operator import attrgetter
from typing import cast

import click

from otelprof.backoff import Backoff
from otelprof.collectors.stack import core_collector
from otelprof.config import Config
from otelprof.environment import read_environment, why_not_instrumented
from otelprof.errors import ConfigError, ExporterError, OtelprofError
from otelprof.exporter_settings import SECRET_FIELDS, shown_url
from otelprof.extensions import COLLECTORS, EXPORTERS, load
from otelprof.labels import spans_by
from otelprof.list_settings import Pairs
from otelprof.processors.chain import build_chain
from otelprof.version import __version__

_Row = tuple[str, str]


@click.command(short_help="Say what would run here, and why.")
def doctor() -> None:
    """Say which sampler would run in this environment and why, and every setting and where it is from.

    What is wrong is named first, on stderr: a bad value, a variable that begins with OTELPROF_ and is no setting, a
    kind or an exporter that cannot be had, or that OpenTelemetry is told not to start the profiler.
    """
    config, sources = read_environment()
    build_chain(config)  # says what is wrong with the settings of processors
    for problem in _problems(config):
        click.echo(f"otelprof: {problem}", err=True)
    click.echo(f"otelprof {__version__}")
    _print_table([("interpreter", _interpreter()), *_sampler(config)])
    click.echo()
    _print_table([(name, _value(config, name, sources)) for name in _settings(config)])


def _problems(config: Config) -> Iterator[OtelprofError | str]:
    """What keeps us from starting, and what is wrong with what is asked for by name."""
    if disabled := why_not_instrumented():
        yield f"{disabled}: opentelemetry-instrument and otelprof run do not start the profiler"
    for kind in config.collect:
        try:
            load(COLLECTORS, kind, ConfigError)
        except ConfigError as error:
            yield error
    for name in config.exporters:
        try:
            load(EXPORTERS, name, ExporterError)(config).close()
        except OtelprofError as error:
            yield error


def _interpreter() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python} on {platform.system()} {platform.machine()}, {sys.executable}"


def _sampler(config: Config) -> Iterator[_Row]:
    if config.sampler == "python":
        yield "sampler", "python, as OTELPROF_SAMPLER says"
        return
    core, reason = core_collector(("cpu", "wall"), config, spans_by(lambda _: 0))
    if core is None:
        yield "sampler", f"python, since {reason}"
        return
    yield "sampler", "core"
    yield from core.facts().items()


def _settings(config: Config) -> Iterator[str]:
    """Every setting, those of exporters by `exporter.setting`."""
    for field in fields(Config):
        value: object = getattr(config, field.name)
        if is_dataclass(value) and not isinstance(value, Backoff):
            yield from (f"{field.name}.{part.name}" for part in fields(value))
        else:
            yield field.name


def _value(config: Config, name: str, sources: dict[str, str]) -> str:
    shown = _shown(name.rpartition(".")[2], attrgetter(name)(config))
    return f"{shown or 'none'} ({sources.get(name, 'default')})"


def _shown(field: str, value: object) -> str:
    """The value of a setting, without credentials."""
    if field in {"headers", "enrich_resource", "enrich_labels"}:
        return ", ".join(f"{key}=…" for key, _ in cast("Pairs", value))
    if field in SECRET_FIELDS:
        return "…" if value else ""
    if field == "endpoint":
        return shown_url(str(value))
    if isinstance(value, tuple):
        return ", ".join(cast("tuple[str, ...]", value))
    return "" if value is None else str(value)


def _print_table(rows: list[_Row]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name.ljust(width)}  {text}")
