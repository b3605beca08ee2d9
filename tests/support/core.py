"""Whether the C core can be tested here."""

import os
from typing import Any

import pytest

from otelprof.native import why_not

WHY_NOT = why_not()


def required() -> Any:
    """The C core. Without it the test is skipped, or fails where OTELPROF_REQUIRE_CORE=1."""
    if WHY_NOT and os.environ.get("OTELPROF_REQUIRE_CORE") == "1":
        pytest.fail(f"the C core is required, but {WHY_NOT}")
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    from otelprof import _core  # noqa: PLC0415 - only where there is one

    return _core
