"""The configuration: one frozen dataclass, filled once.

Precedence: argument > `OTELPROF_*` > `OTEL_*` > default. `environment.py` reads the variables. A bad argument is the
caller's mistake and raises `ConfigError`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from otelprof.backoff import Backoff, parse_backoff
from otelprof.errors import ConfigError
from otelprof.exporter_settings import (
    FileSettings,
    HttpSettings,
    LocalSettings,
    OtlpSettings,
    PyroscopeSettings,
    TlsFiles,
)
from otelprof.list_settings import (
    LISTS,
    Pairs,
    list_of_argument,
)
from otelprof.pull_settings import PullSettings
from otelprof.scalar_settings import (
    MAX_DURATION_S,
    MAX_RATE_HZ,
    MIN_RATE_HZ,
    parse_duration_s,
    parse_size_bytes,
)

SpanId = Literal["own", "root"]
SamplerChoice = Literal["auto", "core", "python"]

# `redact` is the last: what the others add is not to tell a secret either.
DEFAULT_PROCESSORS = ("filter", "enrich", "redact")
MAX_AGE_S = 7 * MAX_DURATION_S


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
        state_dir: what is kept on the local disk (`OTELPROF_STATE_DIR`).
        spool: whether what is not delivered yet is kept there (`OTELPROF_SPOOL`).
        spool_max_bytes: how much of it, of all processes together (`OTELPROF_SPOOL_MAX`).
        spool_age_s: and how long, in seconds (`OTELPROF_SPOOL_AGE`).
        retry_backoff: how long to wait before a receiver is tried again (`OTELPROF_RETRY_BACKOFF`).
        otlp, pyroscope, http, file, local: the exporters' own; see there.
        pull: where profiles can be pulled from, besides (`OTELPROF_PULL`, `OTELPROF_PULL_…`).
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
    state_dir: Path = field(default_factory=lambda: default_state_dir({}))
    spool: bool = True
    spool_max_bytes: int = 256 << 20
    spool_age_s: float = MAX_DURATION_S
    retry_backoff: Backoff = field(default_factory=Backoff)
    otlp: OtlpSettings = field(default_factory=OtlpSettings)
    pyroscope: PyroscopeSettings = field(default_factory=PyroscopeSettings)
    http: HttpSettings = field(default_factory=HttpSettings)
    file: FileSettings = field(default_factory=FileSettings)
    local: LocalSettings = field(default_factory=LocalSettings)
    pull: PullSettings = field(default_factory=PullSettings)

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
        if self.spool_max_bytes <= 0:
            raise ConfigError(f"spool_max_bytes: {self.spool_max_bytes} is not above 0")
        if not 0 < self.spool_age_s <= MAX_AGE_S:
            raise ConfigError(
                f"spool_age_s: {self.spool_age_s} is not above 0 and at most {MAX_AGE_S:g}"
            )
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
            local=replace(
                self.local, directory=self.local.directory and self.local.directory.absolute()
            ),
            state_dir=self.state_dir.absolute(),
        )

    def _converted(self, name: str, value: Any) -> object:  # noqa: ANN401 - whatever a caller gives
        """`value` in the type of the field, from the types that a caller would naturally use."""
        if name in {"output", "file_dir", "state_dir"} and isinstance(value, str):
            return Path(value)
        if name in _PARSERS and isinstance(value, str):
            try:
                return _PARSERS[name](value)
            except ValueError as error:
                raise ConfigError(f"{name}: {value!r}: {error}") from error
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
    "state_dir": (Path,),
    "spool": (bool,),
    "spool_max_bytes": (int,),
    "spool_age_s": (int, float),
    "retry_backoff": (Backoff,),
    "otlp": (OtlpSettings,),
    "pyroscope": (PyroscopeSettings,),
    "http": (HttpSettings,),
    "file": (FileSettings,),
    "local": (LocalSettings,),
    "pull": (PullSettings,),
}

parse_spool_age_s = partial(parse_duration_s, most_s=MAX_AGE_S)
# Settings that a caller may also give as the environment has them.
_PARSERS: Mapping[str, Callable[[str], object]] = {
    "spool_max_bytes": parse_size_bytes,
    "spool_age_s": parse_spool_age_s,
    "retry_backoff": parse_backoff,
}

_Tls = TypeVar("_Tls", bound=TlsFiles)


def _with_absolute_files(settings: _Tls) -> _Tls:
    paths = {f.name: getattr(settings, f.name) for f in fields(TlsFiles)}
    return replace(settings, **{name: path and path.absolute() for name, path in paths.items()})


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/otelprof`; a path there that is not absolute does not count (XDG Base Directory 0.8)."""
    base = Path(environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = Path(environ.get("HOME") or os.path.expanduser("~"), ".local", "state")  # noqa: PTH111 - `Path.home` raises where there is none
    return base / "otelprof"


def with_pid(path: Path) -> Path:
    """`out.pb.gz` as `out-4121.pb.gz`: the name for another process's share."""
    name, dot, suffixes = path.name.partition(".")
    return path.with_name(f"{name}-{os.getpid()}{dot}{suffixes}")
