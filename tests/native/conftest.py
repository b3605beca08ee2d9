"""What the tests of the C core share."""

import pytest

from tests.native import support


@pytest.fixture(scope="session")
def pure_c(tmp_path_factory: pytest.TempPathFactory) -> support.PureC:
    """The parts of the C core that need no Python."""
    if not support.NATIVE.is_dir():
        pytest.skip("there are no sources here: these are the installed wheel's tests")
    program = support.compiler()
    if program is None:
        pytest.skip("no C compiler: set CC, or install gcc")
    return support.build(program, tmp_path_factory.mktemp("pure_c"))
