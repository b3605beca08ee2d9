"""What a process has loaded because it is profiled: nothing that is only needed later, or by others."""

import json
import subprocess
import sys

import pytest

from tests.support import core
from tests.support.programs import environment

PROGRAM = """
import json, os, sys
import opentelemetry.sdk.trace, opentelemetry.sdk.trace.export
before = set(sys.modules)
import otelprof
otelprof.Profiler(sampler="core", exporters="none", collect="cpu,wall").start()
print(json.dumps(sorted(sys.modules.keys() - before)))
"""
NOT_NEEDED = {
    "asyncio",  # 22 ms, most of it for TLS: for the sampler in Python
    "ctypes",
    "google.protobuf",  # 30 ms: for exporters, in the worker
    "importlib.metadata",  # 30 ms: for collectors and exporters of other packages
    "opentelemetry.instrumentation",
    "opentelemetry.instrumentation.utils",
    "otelprof.collectors.python",
    "otelprof.collectors.sampler",
    "otelprof.collectors.window",
    "otelprof.context",
    "otelprof.cpython",
    "requests",
    "sysconfig",
    "wrapt",  # 10 ms, by `opentelemetry.instrumentation.utils`
}


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """The modules that a profiled process has and one with OpenTelemetry's SDK alone has not."""
    core.required()
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(json.loads(run.stdout))


def test_the_core_is_there(loaded: set[str]) -> None:
    assert {"otelprof._core", "otelprof.collectors.core"} <= loaded


def test_nothing_is_loaded_that_is_not_needed(loaded: set[str]) -> None:
    assert loaded & NOT_NEEDED == set()
