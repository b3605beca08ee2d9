"""What is tested is what was installed, where CI says that it is the wheel."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import otelprof
import otelprof.exporters.file
import otelprof.instrumentation


@pytest.mark.skipif("OTELPROF_EXPECT_WHEEL" not in os.environ, reason="tests of a checkout")
def test_the_wheel_is_what_is_imported() -> None:
    packages = Path(sysconfig.get_path("purelib"))
    for module in (otelprof, otelprof.exporters.file, otelprof.instrumentation):
        assert packages in Path(module.__file__ or "").parents
    assert (packages / "otelprof" / "py.typed").exists()


def test_importing_it_imports_nothing_else() -> None:
    """OpenTelemetry loads its runtime context from here while it is being imported itself."""
    code = "import otelprof, sys; print([n for n in sys.modules if n.startswith('opentelemetry')])"
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert finished.stdout.strip() == "[]"


def test_what_it_exports_is_there() -> None:
    assert all(getattr(otelprof, name) is not None for name in otelprof.__all__)
    assert not hasattr(otelprof, "nothing")
