"""`otelprof doctor`: what would run here, and why."""

import platform
import sys
from collections.abc import Iterator
from dataclasses import fields
from operator import attrgetter
from typing import cast

import click

from otelprof.collectors.stack import core_collector
from otelprof.config import Config, OtlpSettings, read_environment
from otelprof.labels import spans_by
from otelprof.list_settings import Pairs
from otelprof.processors.chain import build_chain
from otelprof.version import __version__

_Row = tuple[str, str]


@click.command(short_help="Say what would run here, and why.")
def doctor() -> None:
    """Say which sampler would run in this environment and why, and every setting and where it is from.

    A bad value in the environment is named first.
    """
    config, sources = read_environment()
    build_chain(config)  # says what is wrong with the settings of processors
    click.echo(f"otelprof {__version__}")
    _print_table([("interpreter", _interpreter()), *_sampler(config)])
    click.echo()
    _print_table([(name, _value(config, name, sources)) for name in _settings()])


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


def _settings() -> Iterator[str]:
    for field in fields(Config):
        if field.name == "otlp":
            yield from (f"otlp.{part.name}" for part in fields(OtlpSettings))
        else:
            yield field.name


def _value(config: Config, name: str, sources: dict[str, str]) -> str:
    value: object = attrgetter(name)(config)
    if name in {"otlp.headers", "enrich_resource", "enrich_labels"}:
        # Their values are credentials, or come from where some may be.
        shown = ", ".join(f"{key}=…" for key, _ in cast("Pairs", value))
    else:
        names = cast("tuple[str, ...]", value) if isinstance(value, tuple) else (str(value),)
        shown = ", ".join(names)
    return f"{shown or 'none'} ({sources.get(name, 'default')})"


def _print_table(rows: list[_Row]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name.ljust(width)}  {text}")
