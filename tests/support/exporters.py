"""The exporters over the network, by name, each with its endpoint at an address and settings that all have."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from otelprof.config import Config
from otelprof.exporter_settings import HttpSettings, OtlpSettings, PyroscopeSettings, TlsFiles
from otelprof.exporters import http, otlp, pyroscope
from otelprof.interfaces import Exporter

TIMEOUT_S = 20.0
NOISE_S = 3.0  # how late a busy machine may be

Settings = OtlpSettings | PyroscopeSettings | HttpSettings
NAMES = ("grpc", "http/protobuf", "pyroscope", "http")
OVER_HTTP = NAMES[1:]

_BUILD: Mapping[str, Callable[[Config], Exporter]] = {
    "grpc": otlp.from_config,
    "http/protobuf": otlp.from_config,
    "pyroscope": pyroscope.from_config,
    "http": http.from_config,
}


def settings_of(name: str, url: str) -> Settings:
    """For a receiver at `url`, which has no path."""
    match name:
        case "grpc":
            return OtlpSettings("grpc", url)
        case "http/protobuf":
            return OtlpSettings("http/protobuf", url + "/v1development/profiles")
        case "pyroscope":
            return PyroscopeSettings(url)
        case _:
            return HttpSettings(url + "/pprof")


@contextmanager
def exporting(name: str, url: str, **settings: Any) -> Iterator[Exporter]:
    """An exporter that is closed at the end."""
    changed = replace(settings_of(name, url), **settings)
    field = {"pyroscope": "pyroscope", "http": "http"}.get(name, "otlp")
    exporter = _BUILD[name](Config().with_arguments({field: changed}))
    try:
        yield exporter
    finally:
        exporter.close()


def tls(**files: Any) -> dict[str, Any]:
    """Settings that have these files, and none of the others."""
    known = TlsFiles(**files)
    return {name: getattr(known, name) for name in TlsFiles.__dataclass_fields__}
