"""T21: where the interpreter is not laid out as the core believes, the core refuses, and nothing else happens.

Built from the sources, with lies about a layout that are switched on one at a time.
"""

from pathlib import Path

import pytest

from tests.native import mutants
from tests.native.installed import core

assert core.COMPILED_FOR  # no core, no self-test

LIES = [(part, lie.name) for part, lies in mutants.LIES.items() for lie in lies]
PROGRAM = """
import tests.native.mutated
from contextvars import ContextVar
from otelprof import _core
try:
    _core.Sampler(period_ns=1_000_000, var=ContextVar("v")).start()
except RuntimeError as error:
    print(error)
print("and the application runs on")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mutants.built_once(tmp_path_factory)


@pytest.mark.parametrize(("part", "lie"), LIES)
def test_t21_a_layout_that_is_not_as_compiled_is_refused(
    library: Path, part: str, lie: str
) -> None:
    done = mutants.run(library, lie, "-c", PROGRAM)
    assert done.returncode == 0, done.stderr
    error, rest = done.stdout.splitlines()
    assert f"the C core cannot run: {part} of CPython" in error
    assert rest == "and the application runs on"


def test_without_a_lie_the_core_runs(library: Path) -> None:
    done = mutants.run(library, "", "-c", PROGRAM)
    assert done.stdout.splitlines() == ["and the application runs on"], done.stderr
