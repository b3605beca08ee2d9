"""What is tested is what was installed, where CI says that it is the wheel."""

import os
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
