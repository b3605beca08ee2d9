"""Settings from the environment. Nothing else in otelprof reads it.

A bad value never stops the application: it is named in one log line and the default is used.
"""

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, cast

from otelprof.backoff import Backoff, parse_backoff
from otelprof.config import (
    DEFAULT_PROCESSORS,
    Config,
    SamplerChoice,
    SpanId,
    default_state_dir,
    parse_spool_age_s,
    with_pid,
)
from otelprof.exporter_settings import (
    SECRET_FIELDS,
    Compression,
    FileSettings,
    HttpSettings,
    LocalSettings,
    OtlpProtocol,
    OtlpSettings,
    PyroscopeSettings,
    TlsFiles,
    checked_name,
    parse_age_s,
    parse_count,
    parse_optional_size_bytes,
)
from otelprof.list_settings import (
    Pairs,
    parse_expressions,
    parse_names,
    parse_optional_names,
    parse_pairs,
)
from otelprof.pull_settings import PullSettings, checked_address, checked_token, why_closed
from otelprof.scalar_settings import (
    MAX_DURATION_S,
    one_of,
    parse_bool,
    parse_duration_s,
    parse_file,
    parse_flush_s,
    parse_headers,
    parse_rate_hz,
    parse_seconds,
    parse_size_bytes,
)
from otelprof.unknown_settings import say_unknown

_log = logging.getLogger("otelprof")

_ENDPOINTS = {"grpc": "http://localhost:4317", "http/protobuf": "http://localhost:4318"}
_RUNNER = "OTELPROF_RUNNER_PID"
_SIGNAL_PATH = "/v1development/profiles"  # OTLP 1.10, docs/specification.md, "OTLP/HTTP Request"

_Value = TypeVar("_Value")
_Settings = TypeVar("_Settings", PyroscopeSettings, HttpSettings, FileSettings, LocalSettings)


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
        state_dir=env.read(
            "state_dir", ["OTELPROF_STATE_DIR"], Path, default=default_state_dir(env.environ)
        ),
        spool=env.read("spool", ["OTELPROF_SPOOL"], parse_bool, default=True),
        spool_max_bytes=env.read(
            "spool_max_bytes", ["OTELPROF_SPOOL_MAX"], parse_size_bytes, default=256 << 20
        ),
        spool_age_s=env.read(
            "spool_age_s", ["OTELPROF_SPOOL_AGE"], parse_spool_age_s, default=MAX_DURATION_S
        ),
        retry_backoff=env.read(
            "retry_backoff", ["OTELPROF_RETRY_BACKOFF"], parse_backoff, default=Backoff()
        ),
        otlp=_otlp_settings(env),
        pyroscope=_own_settings(env, "pyroscope", PyroscopeSettings),
        http=_own_settings(env, "http", HttpSettings),
        file=_own_settings(env, "file", FileSettings),
        local=_own_settings(env, "local", LocalSettings),
        pull=_pull_settings(env),
    )
    say_unknown(env.environ, env.asked)
    return config, env.sources


class _Environment:
    """Reads variables; an empty one counts as unset, a bad one is named and counts as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.sources: dict[str, str] = {}  # by setting, the variable that it was read from
        self.asked: set[str] = {
            _RUNNER
        }  # every variable that there is; that one is not always looked at

    def text(self, name: str) -> str:
        self.asked.add(name)
        return self.environ.get(name, "").strip()

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
    runner = env.text(_RUNNER)
    return output if runner in {"", str(os.getppid())} else with_pid(output)


def why_not_instrumented(environ: Mapping[str, str] | None = None) -> str:
    """Why `opentelemetry-instrument` and `otelprof run` would leave us out; empty if they would not."""
    name = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    text = (os.environ if environ is None else environ).get(name, "")
    left_out = {part.strip() for part in text.split(",")}
    for each in ("otelprof", "*"):
        if each in left_out:
            return f"{name} names {each}"
    return ""


def claim_output() -> None:
    """Let programs that this one starts see that `OTELPROF_OUTPUT` is taken: they put their pid in its name."""
    if os.environ.get("OTELPROF_OUTPUT"):
        os.environ.setdefault(_RUNNER, str(os.getppid()))


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


def _pull_settings(env: _Environment) -> PullSettings:
    """`OTELPROF_PULL`, unless what it asks for is not safe with the others."""
    address = env.read("pull.address", ["OTELPROF_PULL"], checked_address, default="")
    token = env.read(
        "pull.token", ["OTELPROF_PULL_TOKEN"], checked_token, default="", is_secret=True
    )
    insecure = env.read("pull.insecure", ["OTELPROF_PULL_INSECURE"], parse_bool, default=False)
    if reason := why_closed(address, token, insecure=insecure):
        _log.warning("OTELPROF_PULL=%r is not used: %s", address, reason)
        del env.sources["pull.address"]
        address = ""
    return PullSettings(address, token, insecure)


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
    "directory": Path,
    "headers": parse_headers,
    "labels": _parse_labels,
    "max_age_s": parse_age_s,
    "max_count": parse_count,
    "max_size_bytes": parse_optional_size_bytes,
    "name": checked_name,
    "sample_labels": _parse_labels,
    "timeout_s": parse_duration_s,
}
