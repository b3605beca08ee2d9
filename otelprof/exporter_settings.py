"""The settings of the exporters, one class each; `config.py` reads them.

Nothing here is shown with a credential in it: neither the classes' `repr` nor `shown_url`.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

from otelprof.errors import ConfigError
from otelprof.scalar_settings import parse_size_bytes

OtlpProtocol = Literal["grpc", "http/protobuf"]
Compression = Literal["none", "gzip"]
Headers = tuple[tuple[str, str], ...]

# Fields whose values are credentials: never in a log line, in `doctor` or in a `repr`.
SECRET_FIELDS = frozenset({"headers", "password", "token"})

# Resource attributes that tell apart what is asked for apart, and that have few values in one service.
SERIES_LABELS = (
    "service.namespace",
    "service.version",
    "deployment.environment.name",
    "host.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.pod.name",
    "k8s.container.name",
    "cloud.region",
)

TENANT_HEADER = "x-scope-orgid"  # of Grafana's databases: whose data it is. No credential.
NAME_FIELDS = ("service", "pid", "begin", "host")
_GIB = 1024**3
_AGE_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of a TLS connection, read anew for each one, so that they may be renewed.

    Attributes:
        certificate: the authorities that the receiver's certificate is checked against; None for the usual ones.
        client_key: the key of `client_certificate`, not encrypted; None if it is in the same file.
        client_certificate: what the receiver is shown, for mutual TLS.
    """

    certificate: Path | None = None
    client_key: Path | None = None
    client_certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class OtlpSettings(TlsFiles):
    """Where and how OTLP leaves. Read from `OTEL_EXPORTER_OTLP_PROFILES_*`, then `OTEL_EXPORTER_OTLP_*`.

    Attributes:
        protocol: opentelemetry-python's default and the distribution's are `grpc`.
        endpoint: for `http/protobuf` the whole URL of the signal; for `grpc` scheme, host and port.
        headers: sent with each request; names in lower case.
        timeout_s: of one request. As in opentelemetry-python the variables are in seconds.
        insecure: `grpc` only: no TLS where the endpoint has no scheme.
    """

    protocol: OtlpProtocol = "grpc"
    endpoint: str = "http://localhost:4317"
    headers: Headers = field(default=(), repr=False)
    timeout_s: float = 10.0
    compression: Compression = "gzip"
    insecure: bool = False

    def __post_init__(self) -> None:
        _check_choice("otlp.protocol", self.protocol, get_args(OtlpProtocol))
        _check_choice("otlp.compression", self.compression, get_args(Compression))
        _check_timeout("otlp", self.timeout_s)

    @property
    def destination(self) -> str:
        """As `Exporter.destination`."""
        return _destination_of("otlp", self.endpoint, self.headers)


@dataclass(frozen=True, slots=True)
class PyroscopeSettings(TlsFiles):
    """Where and how profiles are pushed to Grafana Pyroscope. Read from `OTELPROF_PYROSCOPE_*`.

    Attributes:
        endpoint: the base URL, to which the path of the push API is added.
        user: of basic authentication, with `password`; in Grafana Cloud the number of the stack.
        token: of bearer authentication; wins over `user`.
        tenant: sent as `X-Scope-OrgID`; empty for none.
        headers: sent with each request; names in lower case. They win over all of the above.
        timeout_s: of one request.
        labels: resource attributes that become labels of the series, besides `service_name`.
        sample_labels: labels of samples that become labels of the series: each value is a series of its own.
    """

    endpoint: str = "http://localhost:4040"
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tenant: str = ""
    headers: Headers = field(default=(), repr=False)
    timeout_s: float = 10.0
    labels: tuple[str, ...] = SERIES_LABELS
    sample_labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_timeout("pyroscope", self.timeout_s)

    @property
    def destination(self) -> str:
        """As `Exporter.destination`."""
        headers = ((TENANT_HEADER, self.tenant), *self.headers)
        return _destination_of("pyroscope", self.endpoint, headers, self.user)


@dataclass(frozen=True, slots=True)
class HttpSettings(TlsFiles):
    """Where pprof is posted to. Read from `OTELPROF_HTTP_*`.

    Attributes:
        endpoint: the whole URL; empty for none, with which there is no such exporter.
        headers: sent with each request; names in lower case.
        timeout_s: of one request.
    """

    endpoint: str = ""
    headers: Headers = field(default=(), repr=False)
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        _check_timeout("http", self.timeout_s)

    @property
    def destination(self) -> str:
        """As `Exporter.destination`."""
        return _destination_of("http", self.endpoint, self.headers)


@dataclass(frozen=True, slots=True)
class FileSettings:
    """How files in a directory are called, and which stay there. Read from `OTELPROF_FILE_*`.

    Attributes:
        name: without suffix; `{service}`, `{pid}`, `{begin}` (UTC, in milliseconds) and `{host}` are put in.
        max_count: profiles that stay, of all processes that write such names; None for no limit.
        max_size_bytes: of them and their spans together; None for no limit.
        max_age_s: since they were written; None for no limit.

    Raises:
        ConfigError: `name` cannot be used.
    """

    name: str = "{service}-{pid}-{begin}"
    max_count: int | None = None
    max_size_bytes: int | None = _GIB
    max_age_s: float | None = None

    def __post_init__(self) -> None:
        checked_name(self.name)


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """What is kept on this machine of runs. Read from `OTELPROF_LOCAL_*`.

    Attributes:
        directory: of the run that this process belongs to; None for one of its own.
        max_size_bytes: of all runs together; None for no limit.
        max_age_s: since it was written; None for no limit.
    """

    directory: Path | None = None
    max_size_bytes: int | None = _GIB
    max_age_s: float | None = 7 * 86_400.0


def checked_name(text: str) -> str:
    """`text`, if files can be called so.

    Raises:
        ConfigError: it has an unknown field or a character that is none of `A-Za-z0-9._-`, or no `{begin}`.
    """
    fields = re.findall(r"\{(.*?)\}", text)
    unknown = [name for name in fields if name not in NAME_FIELDS]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in NAME_FIELDS)
        raise ConfigError(f"file.name: {text!r} has {{{unknown[0]}}}, not one of {known}")
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", re.sub(r"\{\w+\}", "0", text)):
        raise ConfigError(
            f"file.name: {text!r} has other characters than A-Za-z0-9._-, or a dot in front"
        )
    if "begin" not in fields:
        raise ConfigError(f"file.name: {text!r} lacks {{begin}}, so that files would share a name")
    return text


def parse_age_s(text: str) -> float | None:
    """Seconds in `90m`, `12h`, `7d`; None for `none`."""
    if text.lower() == "none":
        return None
    match = re.fullmatch(r"(\d{1,9})\s*(s|m|h|d)?", text, re.ASCII)
    seconds = float(match[1]) * _AGE_S[match[2] or "s"] if match else 0.0
    if not seconds:
        raise ValueError("expected an age above 0 such as 90m, 12h or 7d, or none")
    return seconds


def parse_optional_size_bytes(text: str) -> int | None:
    """Bytes in `500KiB`, `64MiB`, `1GiB`; a bare number is bytes; None for `none`."""
    return None if text.lower() == "none" else parse_size_bytes(text)


def parse_count(text: str) -> int | None:
    """A number above 0; None for `none`."""
    if text.lower() == "none":
        return None
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII) or not int(text):
        raise ValueError("expected a number above 0, or none")
    return int(text)


def shown_url(url: str) -> str:
    """`url` without what may be a credential in it: user, password and query."""
    without_user = re.sub(
        r"^([a-z][a-z0-9+.-]*://)?.*@", r"\1…@", url, flags=re.DOTALL | re.IGNORECASE
    )
    return re.sub(r"[?#].*", "?…", without_user, flags=re.DOTALL)


def secrets_in(url: str) -> tuple[str, ...]:
    """What `shown_url` leaves out of `url`, but for the user: what must not be shown in other words either."""
    try:
        parts = urlsplit(url)
        return (unquote(parts.password or ""), *(value for _, value in parse_qsl(parts.query)))
    except ValueError:
        return ()  # no URL, and so never sent to anybody


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"{name}: {value!r} is not {' or '.join(map(repr, known))}")


def _check_timeout(name: str, timeout_s: float) -> None:
    if not timeout_s > 0:
        raise ConfigError(f"{name}.timeout_s: {timeout_s!r} is not above 0")


def _destination_of(kind: str, endpoint: str, headers: Headers, *who: str) -> str:
    """As `Exporter.destination`: where profiles go, and for whom they are stored there."""
    return " ".join((kind, shown_url(endpoint), *who, dict(headers).get(TENANT_HEADER, ""))).strip()
