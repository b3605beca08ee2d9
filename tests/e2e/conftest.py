"""The real programs, as fixtures: skipped with a reason where missing, unless they are required."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.backends import collector as collectors
from tests.e2e.backends import jaeger as jaegers
from tests.e2e.backends import parca as parcas
from tests.e2e.backends import programs
from tests.e2e.backends import pyroscope as pyroscopes
from tests.e2e.backends.collector import Collector
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.parca import Parca
from tests.e2e.backends.pyroscope import Pyroscope


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which programs the tests ran against."""
    if used := programs.used():
        terminalreporter.write_line(f"backends: {used}")


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """A Collector with a profiles pipeline."""
    with collectors.collector(tmp_path) as running:
        yield running


@pytest.fixture
def collector_without_profiles(tmp_path: Path) -> Iterator[Collector]:
    """A Collector as most people run it: without the feature gate."""
    with collectors.collector(tmp_path, gate=False) as running:
        yield running


@pytest.fixture(scope="session")
def jaeger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """One Jaeger for all tests: each asks for traces of its own."""
    with jaegers.jaeger(tmp_path_factory.mktemp("jaeger")) as running:
        yield running


@pytest.fixture(scope="session")
def parca(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parca]:
    """One Parca for all tests: each has a service of its own."""
    with parcas.parca(tmp_path_factory.mktemp("parca")) as running:
        yield running


@pytest.fixture(scope="session")
def pyroscope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pyroscope]:
    """One Pyroscope, or its stand-in, for all tests: each has a service of its own."""
    with pyroscopes.pyroscope(tmp_path_factory.mktemp("pyroscope")) as running:
        yield running
