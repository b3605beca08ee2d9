"""Which programs the end-to-end tests talk to, in which versions, and where they are kept.

`make backends` builds the Collector and google/pprof's tool, `make backends ALL=1` Jaeger and Parca too, once, into a
cache outside the tree. A test that needs a program which is not there skips and says why. Where OTELPROF_REQUIRE_BACKENDS
is 1 it fails for those that are quick to build, where it is `all` for every one of them. Pyroscope cannot be built of
modules: it is a program of the user's own.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

PYROSCOPE_VARIABLE = "OTELPROF_PYROSCOPE_BINARY"
STAND_IN = "our stand-in"

_CORE = "go.opentelemetry.io/collector"
_CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that is built of a Go module.

    Attributes:
        module: where its version is that of.
        package: what is built, below the module.
        is_quick: minutes, not tens of them; what CI builds.
        recipe: what else decides what the program can do.
    """

    name: str
    module: str
    version: str
    package: str = ""
    is_quick: bool = False
    recipe: str = ""

    @property
    def path(self) -> Path:
        """Where it is, if it is there."""
        digest = f"-{hashlib.sha256(self.recipe.encode()).hexdigest()[:8]}" if self.recipe else ""
        return cache() / f"{self.name}-{self.version}{digest}"

    @property
    def command(self) -> str:
        """What builds it."""
        return "make backends" if self.is_quick else "make backends ALL=1"


def cache() -> Path:
    """Where the programs are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "otelprof" / "backends"


PPROF = Program(
    "pprof", "github.com/google/pprof", "v0.0.0-20261016150608-1facf8f91b50", is_quick=True
)
_COLLECTOR_VERSION = "v0.159.0"
COLLECTOR = Program(
    "otelcol",
    f"{_CORE}/cmd/builder",
    _COLLECTOR_VERSION,
    is_quick=True,
    recipe=f"""\
dist: {{name: otelcol, output_path: ./out, version: {_COLLECTOR_VERSION.removeprefix("v")}}}
receivers:
  - gomod: {_CORE}/receiver/otlpreceiver {_COLLECTOR_VERSION}
exporters:
  - gomod: {_CORE}/exporter/debugexporter {_COLLECTOR_VERSION}
  - gomod: {_CORE}/exporter/otlpexporter {_COLLECTOR_VERSION}
  - gomod: {_CORE}/exporter/otlphttpexporter {_COLLECTOR_VERSION}
  - gomod: {_CONTRIB}/exporter/fileexporter {_COLLECTOR_VERSION}
""",
)
# The module's v1.76.0 is Jaeger v2.13.0: its path has no /v2, so that Go knows no newer one by number.
JAEGER = Program("jaeger", "github.com/jaegertracing/jaeger", "v1.76.0", package="cmd/jaeger")
PARCA = Program("parca", "github.com/parca-dev/parca", "v0.28.0", package="cmd/parca")
ALL = (PPROF, COLLECTOR, JAEGER, PARCA)

_used: dict[str, str] = {}


def required(program: Program) -> Path:
    """Where the program is, or a skip or a failure of the test that needs it."""
    if program.path.exists():
        _used[program.name] = program.version
        return program.path
    reason = f"{program.path} is not there: run `{program.command}`"
    _used.setdefault(program.name, "missing")
    demand = os.environ.get("OTELPROF_REQUIRE_BACKENDS", "")
    if demand == "all" or (demand == "1" and program.is_quick):
        pytest.fail(reason)
    pytest.skip(reason)


def pyroscope() -> str | None:
    """The Pyroscope to test against: what OTELPROF_PYROSCOPE_BINARY names, or `pyroscope` in the PATH."""
    return os.environ.get(PYROSCOPE_VARIABLE) or shutil.which("pyroscope")


def note(name: str, version: str) -> None:
    """Remember for `used` that tests ran against this."""
    _used[name] = version


def used() -> str:
    """One line: what the tests of this run asked for, and what they got."""
    return ", ".join(f"{name} {version}" for name, version in sorted(_used.items()))
