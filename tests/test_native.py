"""Every reason for which the C core is not used, in words."""

import sys
from types import SimpleNamespace

import pytest

from otelprof.native import KNOWN_VERSIONS, why_not
from tests.support.fake_core import FakeCore


@pytest.fixture(autouse=True)
def _fake(fake_core: FakeCore) -> None:
    """A core that could be used."""


def test_it_is_used_where_nothing_speaks_against_it() -> None:
    assert why_not() == ""


@pytest.mark.parametrize(("name", "shown"), [("pypy", "PyPy"), ("graalpy", "GraalPy"), ("x", "x")])
def test_another_python(name: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name=name))
    assert why_not() == f"this is {shown}"


@pytest.mark.parametrize(
    ("name", "shown"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14")]
)
def test_another_system(name: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", name)
    assert why_not() == f"this is {shown}"


@pytest.mark.parametrize("version", [(3, 10), (3, 16), (4, 0)])
def test_a_version_that_it_does_not_know(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert why_not() == f"CPython {version[0]}.{version[1]} is not known to the C core"


def test_this_version_is_known() -> None:
    assert sys.version_info[:2] in KNOWN_VERSIONS


def test_a_python_without_a_gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "abiflags", "t")
    assert why_not() == "this is a free-threaded CPython"


def test_a_checkout_that_was_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "otelprof._core", None)
    reason = why_not()
    assert reason.startswith("the C core is not built: ")
    assert "otelprof._core" in reason


def test_a_core_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise ImportError("undefined symbol: op_start")

    monkeypatch.setattr("importlib.import_module", refuse)
    assert why_not() == "the C core cannot be loaded: undefined symbol: op_start"


def test_a_core_of_another_version(fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake_core, "COMPILED_FOR", 0x03090DF0)
    running = ".".join(map(str, sys.version_info[:2]))
    assert why_not() == f"the C core was built for CPython 3.9, this is {running}"


def test_a_core_of_another_bug_fix_release_is_used(
    fake_core: FakeCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_core, "COMPILED_FOR", (sys.hexversion & 0xFFFF0000) | 0x7FF0)
    assert why_not() == ""
