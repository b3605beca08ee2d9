"""The real programs that end-to-end tests talk to: the OpenTelemetry Collector and google/pprof's tool.

`make backends` builds them from Go modules of pinned versions, once, into a cache outside the tree. A test
that needs one skips with a reason where it is missing, or fails where OTELPROF_REQUIRE_BACKENDS=1.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

COLLECTOR_VERSION = "v0.159.0"
PPROF_VERSION = "v0.0.0-20261016150608-1facf8f91b50"

_BUILD_TIMEOUT_S = 1800
_CORE = "go.opentelemetry.io/collector"
_MANIFEST = f"""\
dist: {{name: otelcol, output_path: ./out, version: {COLLECTOR_VERSION.removeprefix("v")}}}
receivers:
  - gomod: {_CORE}/receiver/otlpreceiver {COLLECTOR_VERSION}
exporters:
  - gomod: {_CORE}/exporter/debugexporter {COLLECTOR_VERSION}
  - gomod: github.com/open-telemetry/opentelemetry-collector-contrib/exporter/fileexporter {COLLECTOR_VERSION}
"""


def cache() -> Path:
    """Where the programs are kept."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "otelprof" / "backends"


def collector() -> Path:
    """The Collector's program, whether it is there or not."""
    return cache() / f"otelcol-{COLLECTOR_VERSION}"


def pprof() -> Path:
    """The pprof tool's program, whether it is there or not."""
    return cache() / f"pprof-{PPROF_VERSION}"


def required(program: Path) -> Path:
    """The program, or a skip or a failure of the test that needs it."""
    if program.exists():
        return program
    reason = f"{program} is not there: run `make backends`"
    if os.environ.get("OTELPROF_REQUIRE_BACKENDS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def build() -> None:
    """Build what is missing."""
    if shutil.which("go") is None:
        raise SystemExit("backends: Go is needed to build them (https://go.dev/dl)")
    cache().mkdir(parents=True, exist_ok=True)
    for program, build_one in ((pprof(), _build_pprof), (collector(), _build_collector)):
        if not program.exists():
            with tempfile.TemporaryDirectory() as directory:
                built = build_one(Path(directory))
                # Renamed into place, so that a build that was cut short leaves nothing behind.
                partial = program.with_name(f"{program.name}.{os.getpid()}")
                shutil.copy(built, partial)
                partial.replace(program)
        sys.stdout.write(f"{program}\n")


def _build_pprof(directory: Path) -> Path:
    _go(directory, "install", f"github.com/google/pprof@{PPROF_VERSION}")
    return directory / "pprof"


def _build_collector(directory: Path) -> Path:
    _go(directory, "install", f"{_CORE}/cmd/builder@{COLLECTOR_VERSION}")
    (directory / "manifest.yaml").write_text(_MANIFEST)
    command = [str(directory / "builder"), "--config", "manifest.yaml"]
    subprocess.run(command, cwd=directory, check=True, timeout=_BUILD_TIMEOUT_S)
    return directory / "out" / "otelcol"


def _go(directory: Path, *arguments: str) -> None:
    environ = {**os.environ, "GOBIN": str(directory)}
    subprocess.run(["go", *arguments], env=environ, check=True, timeout=_BUILD_TIMEOUT_S)


if __name__ == "__main__":
    build()
