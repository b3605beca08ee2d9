"""What all tests share: the golden files."""

import pytest

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
