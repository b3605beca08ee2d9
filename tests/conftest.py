"""What all tests share: the golden files, and the pprof tool."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import backends
from tests.support.golden import Golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the tests produce to tests/golden, to be read in the diff",
    )


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Golden:
    """Compares bytes with a file in tests/golden."""
    return Golden(update=bool(pytestconfig.getoption("--update-golden")))


@pytest.fixture
def pprof() -> Callable[..., str]:
    """Runs google/pprof's tool and returns what it prints."""
    program = backends.required(backends.pprof())

    def run(*arguments: str | Path) -> str:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    return run
