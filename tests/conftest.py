"""What all tests share: the golden files, and the pprof tool."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import opentelemetry.context as otel_context
import pytest
from opentelemetry.context.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

import otelprof
from otelprof import labels, unknown_settings
from tests.e2e.backends import programs
from tests.support import core
from tests.support.fake_core import FakeCore
from tests.support.golden import Golden


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="write what the tests produce to tests/golden, to be read in the diff",
    )


@pytest.fixture(params=["python", "core"])
def sampler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The sampler of programs that the test starts; also for its own `Config(sampler=sampler)`."""
    if request.param == "core":
        core.required()
    monkeypatch.setenv("OTELPROF_SAMPLER", request.param)
    return str(request.param)


@pytest.fixture
def fake_core(monkeypatch: pytest.MonkeyPatch) -> FakeCore:
    """A stand-in for the C core, and a runtime context of OpenTelemetry's that the test may replace."""
    fake = FakeCore()
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    monkeypatch.setattr(otelprof, "_core", fake, raising=False)
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", ContextVarsRuntimeContext())
    monkeypatch.setattr(labels, "_users", [])
    return fake


class ForeignContext:
    """A runtime context of another tool's, which keeps no ContextVar."""

    def __init__(self) -> None:
        self.attached = [Context()]

    def attach(self, context: Context) -> int:
        self.attached.append(context)
        return len(self.attached) - 1

    def get_current(self) -> Context:
        return self.attached[-1]

    def detach(self, token: int) -> None:
        del self.attached[token:]


@pytest.fixture
def foreign_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another tool's runtime context in the place of OpenTelemetry's."""
    monkeypatch.setattr(otel_context, "_RUNTIME_CONTEXT", ForeignContext())


@pytest.fixture(autouse=True)
def settings_of_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables such as `OTELPROF_SOAK_S` are the tests' own: the profiler does not say that it knows none of them."""
    monkeypatch.setattr(
        unknown_settings, "said", {name for name in os.environ if "OTELPROF" in name}
    )


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where profiles that a test's programs cannot deliver stay: not in the home of whoever runs the tests."""
    path = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(path))
    return path


@pytest.fixture
def golden(pytestconfig: pytest.Config) -> Golden:
    """Compares bytes with a file in tests/golden."""
    return Golden(update=bool(pytestconfig.getoption("--update-golden")))


@pytest.fixture
def pprof() -> Callable[..., str]:
    """Runs google/pprof's tool and returns what it prints."""
    program = programs.required(programs.PPROF)

    def run(*arguments: str | Path) -> str:
        command = [str(program), *map(str, arguments)]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60
        ).stdout

    return run
