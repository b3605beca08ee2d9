"""Samples come as fast as asked for: what these tests check are the samples, not their cost."""

import pytest

from otelprof.collectors import core as core_module
from otelprof.collectors import python as python_module
from tests.support import core


@pytest.fixture(autouse=True)
def _unthrottled(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (python_module, core_module):
        monkeypatch.setattr(module, "CPU_BUDGET", 1.0)


@pytest.fixture
def core_alone() -> None:
    """For what only the core sees."""
    core.required()
