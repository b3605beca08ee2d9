"""The C core, for tests that mean nothing without it: they are skipped where it is not built.

With OTELPROF_REQUIRE_CORE=1 its absence is an error.
"""

import importlib.util
import os

import pytest

if (
    importlib.util.find_spec("otelprof._core") is None
    and os.environ.get("OTELPROF_REQUIRE_CORE") != "1"
):
    pytest.skip("otelprof._core is not built", allow_module_level=True)

from otelprof import _core as core

# AddressSanitizer keeps freed memory back and takes SIGSEGV for itself.
IS_SANITIZED = "libasan" in os.environ.get("LD_PRELOAD", "")

__all__ = ["IS_SANITIZED", "core"]
