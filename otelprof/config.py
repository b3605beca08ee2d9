"""The configuration: one frozen dataclass, read once.

Precedence: argument > `OTELPROF_*` > `OTEL_*` > default. Nothing else in otelprof reads the environment.
A bad value in the environment never stops the application: it is named in one log line and the default
is used. A bad argument is the caller's mistake and raises `ConfigError`.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from otelprof.errors import ConfigError
from otelprof.exporter_settings import (
    SECRET_FIELDS,
    Compression,
    FileSettings,
    HttpSettings,
    OtlpProtocol,
    OtlpSettings,
    PyroscopeSettings,
    TlsFiles,
    checked_name,
    parse_age_s,
    parse_count,
    parse_size_bytes,
)
from otelprof.list_settings import (
    LISTS,
    Pairs,
    list_of_argument,
    parse_expressions,
    parse_names,
    parse_optional_names,
    parse_pairs,
)
from otelprof.scalar_settings import (
    MAX_DURATION_S,
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    one_of,
    parse_bool,
    parse_duration_s,
    parse_file,
    parse_flush_s,
    parse_headers,
    parse_rate_hz,
    parse_seconds,
)

_log = logging.getLogger("otelprof")

SpanId = Literal["own", "root"]
SamplerChoice = Literal["auto", "core", "python"]

# `redact` is the last: what the others add is not to tell a secret either.
DEFAULT_PROCESSORS = ("filter", "enrich", "redact")
_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_SIGNAL_PATH = "/v1development/profiles"  # OTLP 1.10, docs/specification.md, "OTLP/HTTP Request"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that can be set. `from_environment` fills it; see the table in docs/configuration.md.

    Attributes:
        enabled: the off switch (`OTELPROF_ENABLED`, `OTEL_SDK_DISABLED`).
        collect: kinds to collect (`OTELPROF_COLLECT`).
        rate_hz: samples per second and thread (`OTELPROF_RATE`), 1 to 1000.
        sampler: who takes the samples of `cpu` and `wall` (`OTELPROF_SAMPLER`).
        flush_s: how often profiles leave, in seconds (`OTELPROF_FLUSH`).
        processors: what profiles go through before they leave, in this order (`OTELPROF_PROCESSORS`).
        filter_include, filter_exclude: rules of `filter`, see processors/filter.py (`OTELPROF_FILTER_…`).
        enrich_resource, enrich_labels: keys and values that `enrich` adds (`OTELPROF_ENRICH_…`).
        redact_patterns: expressions of what `redact` replaces besides its own (`OTELPROF_REDACT_PATTERNS`).
        exporters: names of exporters (`OTELPROF_EXPORTER`); `none` or empty for no exporter.
        span_id: which id goes into `pyroscope.profile.id` and OTLP links (`OTELPROF_SPAN_ID`).
        file_dir: where `file` writes (`OTELPROF_FILE_DIR`).
        output: one file for everything, instead of what `exporters` names (`OTELPROF_OUTPUT`).
        otlp, pyroscope, http, file: the exporters' own; see there.
    """

    enabled: bool = True
    collect: tuple[str, ...] = ("cpu", "wall")
    rate_hz: float = 100.0
    sampler: SamplerChoice = "auto"
    flush_s: float = 15.0
    processors: tuple[str, ...] = DEFAULT_PROCESSORS
    filter_include: tuple[str, ...] = ()
    filter_exclude: tuple[str, ...] = ()
    enrich_resource: Pairs = ()
    enrich_labels: Pairs = ()
    redact_patterns: tuple[str, ...] = ()
    exporters: tuple[str, ...] = ("otlp",)
    span_id: SpanId = "own"
    file_dir: Path = Path("otelprof-profiles")
    output: Path | None = None
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    pyroscope: PyroscopeSettings = field(default_factory=PyroscopeSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    file: FileSettings = field(default_factory=FileSettings)

    def __post_init__(self) -> None:
        if not MIN_RATE_HZ <= self.rate_hz <= MAX_RATE_HZ:
            raise ConfigError(f"rate_hz: {self.rate_hz} is not in {MIN_RATE_HZ:g}..{MAX_RATE_HZ:g}")
        if not 0 < self.flush_s <= MAX_DURATION_S:
            raise ConfigError(
                f"flush_s: {self.flush_s} is not above 0 and at most {MAX_DURATION_S:g}"
            )
        if self.span_id not in {"own", "root"}:
            raise ConfigError(f"span_id: {self.span_id!r} is neither 'own' nor 'root'")
        if self.sampler not in {"auto", "core", "python"}:
            raise ConfigError(f"sampler: {self.sampler!r} is not 'auto', 'core' or 'python'")
        if not self.collect:
            raise ConfigError("collect: names no kind of profile")

    def with_arguments(self, arguments: Mapping[str, object]) -> "Config":
        """A copy with some fields set by the caller.

        Raises:
            ConfigError: an argument names no field, or its value cannot be used.
        """
        known = {f.name for f in fields(self)}
        values: dict[str, Any] = {}
        for name, value in arguments.items():
            if name not in known:
                raise ConfigError(f"{name}: no such setting; there are {', '.join(sorted(known))}")
            values[name] = self._converted(name, value)
        try:
            return replace(self, **values)
        except TypeError as error:
            raise ConfigError(f"{arguments}: {error}") from error

    def with_absolute_paths(self) -> "Config":
        """A copy whose paths do not depend on the current directory."""
        output = None if self.output is None else self.output.absolute()
        return replace(
            self,
            output=output,
            file_dir=self.file_dir.absolute(),
            otlp=_with_absolute_files(self.otlp),
            pyroscope=_with_absolute_files(self.pyroscope),
            http=_with_absolute_files(self.http),
        )

    def _converted(self, name: str, value: Any) -> object:  # noqa: ANN401 - whatever a caller gives
        """`value` in the type of the field, from the types that a caller would naturally use."""
        if name in {"output", "file_dir"} and isinstance(value, str):
            return Path(value)
        if name in LISTS:
            return list_of_argument(name, value)
        if not isinstance(value, _ARGUMENT_TYPES[name]):
            raise ConfigError(f"{name}: {value!r} cannot be used")
        return value


_ARGUMENT_TYPES: Mapping[str, tuple[type, ...]] = {
    "enabled": (bool,),
    "rate_hz": (int, float),
    "sampler": (str,),
    "flush_s": (int, float),
    "span_id": (str,),
    "output": (Path, type(None)),
    "file_dir": (Path,),
    "otlp": (OtlpSettings,),
    "pyroscope": (PyroscopeSettings,),
    "http": (HttpSettings,),
    "file": (FileSettings,),
}

_Value = TypeVar("_Value")
_Tls = TypeVar("_Tls", bound=TlsFiles)
_Settings = TypeVar("_Settings", PyroscopeSettings, HttpSettings, FileSettings)


def _with_absolute_files(settings: _Tls) -> _Tls:
    paths = {f.name: getattr(settings, f.name) for f in fields(TlsFiles)}
    return replace(settings, **{name: path and path.absolute() for name, path in paths.items()})


def from_environment(environ: Mapping[str, str] | None = None) -> Config:
    """The configuration that the environment asks for. Never raises."""
    return read_environment(environ)[0]


def read_environment(environ: Mapping[str, str] | None = None) -> tuple[Config, dict[str, str]]:
    """The same, and the variable that each setting comes from: `rate_hz`, `otlp.endpoint`, … without defaults."""
    env = _Environment(os.environ if environ is None else environ)
    disabled = env.read("enabled", ["OTEL_SDK_DISABLED"], parse_bool, default=False)
    sampler = env.read(
        "sampler", ["OTELPROF_SAMPLER"], one_of("auto", "core", "python"), default="auto"
    )
    span_id = env.read("span_id", ["OTELPROF_SPAN_ID"], one_of("own", "root"), default="own")
    config = Config(
        enabled=not disabled
        and env.read("enabled", ["OTELPROF_ENABLED"], parse_bool, default=True),
        collect=env.read("collect", ["OTELPROF_COLLECT"], _parse_kinds, default=("cpu", "wall")),
        rate_hz=env.read("rate_hz", ["OTELPROF_RATE"], parse_rate_hz, default=100.0),
        sampler=cast("SamplerChoice", sampler),
        flush_s=env.read("flush_s", ["OTELPROF_FLUSH"], parse_flush_s, default=15.0),
        processors=env.read(
            "processors", ["OTELPROF_PROCESSORS"], parse_optional_names, default=DEFAULT_PROCESSORS
        ),
        filter_include=env.read_list("filter_include", parse_expressions),
        filter_exclude=env.read_list("filter_exclude", parse_expressions),
        enrich_resource=env.read_list("enrich_resource", env.pairs),
        enrich_labels=env.read_list("enrich_labels", env.pairs),
        redact_patterns=env.read_list("redact_patterns", parse_expressions),
        exporters=env.read(
            "exporters", ["OTELPROF_EXPORTER"], parse_optional_names, default=("otlp",)
        ),
        span_id=cast("SpanId", span_id),
        file_dir=env.read(
            "file_dir", ["OTELPROF_FILE_DIR"], Path, default=Path("otelprof-profiles")
        ),
        output=_output(env),
        otlp=_otlp_settings(env),
        pyroscope=_own_settings(env, "pyroscope", PyroscopeSettings),
        http=_own_settings(env, "http", HttpSettings),
        file=_own_settings(env, "file", FileSettings),
    )
    return config, env.sources


class _Environment:
    """Reads variables; an empty one counts as unset, a bad one is named and counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.sources: dict[str, str] = {}  # by setting, the variable that it was read from

    def text(self, name: str) -> str:
        return self._environ.get(name, "").strip()

    def read(
        self,
        setting: str,
        names: list[str],
        parse: Callable[[str], _Value],
        *,
        default: _Value,
        is_secret: bool = False,
    ) -> _Value:
        for name in names:
            text = self.text(name)
            if not text:
                continue
            try:
                value = parse(text)
            except ValueError as error:
                shown = "…" if is_secret else text
                _log.warning("%s=%r is not used: %s", name, shown, error)
            else:
                self.sources[setting] = name
                return value
        return default

    def read_list(
        self, setting: str, parse: Callable[[str], tuple[_Value, ...]]
    ) -> tuple[_Value, ...]:
        return self.read(setting, [f"OTELPROF_{setting.upper()}"], parse, default=())

    def pairs(self, text: str) -> Pairs:
        return parse_pairs(text, self.text)


def _output(env: _Environment) -> Path | None:
    """`OTELPROF_OUTPUT`, with the pid in its name in processes that `otelprof run` did not start itself."""
    output = env.read("output", ["OTELPROF_OUTPUT"], parse_file, default=None)
    if output is None:
        return None
    runner = env.text("OTELPROF_RUNNER_PID")
    return output if runner in {"", str(os.getppid())} else with_pid(output)


def claim_output() -> None:
    """Let programs that this one starts see that `OTELPROF_OUTPUT` is taken: they put their pid in its name."""
    if os.environ.get("OTELPROF_OUTPUT"):
        os.environ.setdefault("OTELPROF_RUNNER_PID", str(os.getppid()))


def with_pid(path: Path) -> Path:
    """`out.pb.gz` as `out-4121.pb.gz`: the name for another process's share."""
    name, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{name}-{os.getpid()}{dot}{suffixes}")


def _otlp_settings(env: _Environment) -> OtlpSettings:
    """Read the standard variables as opentelemetry-python does: signal first, then general."""

    def names(last: str) -> list[str]:
        return [f"OTEL_EXPORTER_OTLP_PROFILES_{last}", f"OTEL_EXPORTER_OTLP_{last}"]

    protocol = cast(
        "OtlpProtocol",
        env.read(
            "otlp.protocol", names("PROTOCOL"), one_of("grpc", "http/protobuf"), default="grpc"
        ),
    )
    endpoint = env.read("otlp.endpoint", names("ENDPOINT"), str, default=_ENDPOINTS[protocol])
    if protocol != "grpc" and env.sources.get("otlp.endpoint") != names("ENDPOINT")[0]:
        endpoint = endpoint.rstrip("/") + _SIGNAL_PATH
    return OtlpSettings(
        protocol=protocol,
        endpoint=endpoint,
        headers=env.read(
            "otlp.headers", names("HEADERS"), parse_headers, default=(), is_secret=True
        ),
        timeout_s=env.read("otlp.timeout_s", names("TIMEOUT"), parse_seconds, default=10.0),
        compression=cast(
            "Compression",
            env.read(
                "otlp.compression", names("COMPRESSION"), one_of("gzip", "none"), default="gzip"
            ),
        ),
        insecure=env.read("otlp.insecure", names("INSECURE"), parse_bool, default=False),
        certificate=env.read("otlp.certificate", names("CERTIFICATE"), Path, default=None),
        client_key=env.read("otlp.client_key", names("CLIENT_KEY"), Path, default=None),
        client_certificate=env.read(
            "otlp.client_certificate", names("CLIENT_CERTIFICATE"), Path, default=None
        ),
    )


def _own_settings(env: _Environment, name: str, kind: type[_Settings]) -> _Settings:
    """An exporter's settings: a field is a variable without its unit, `OTELPROF_HTTP_TIMEOUT` for `timeout_s`."""
    values: dict[str, Any] = {}
    for each in fields(kind):
        without_unit = re.sub("_(?:s|bytes)$", "", each.name)
        values[each.name] = env.read(
            f"{name}.{each.name}",
            [f"OTELPROF_{name}_{without_unit}".upper()],
            _OWN_PARSERS.get(each.name, str),
            default=each.default,
            is_secret=each.name in SECRET_FIELDS,
        )
    return kind(**values)


def _parse_kinds(text: str) -> tuple[str, ...]:
    kinds = parse_names(text)
    if not kinds:
        raise ValueError("names no kind of profile")
    return kinds


def _parse_labels(text: str) -> tuple[str, ...]:
    return () if text.lower() == "none" else parse_names(text)


# By the name of a field of the exporters' own settings; else it is text.
_OWN_PARSERS: Mapping[str, Callable[[str], object]] = {
    **dict.fromkeys((f.name for f in fields(TlsFiles)), Path),
    "headers": parse_headers,
    "labels": _parse_labels,
    "max_age_s": parse_age_s,
    "max_count": parse_count,
    "max_size_bytes": parse_size_bytes,
    "name": checked_name,
    "sample_labels": _parse_labels,
    "timeout_s": parse_duration_s,
}
