"""Every command in the README works as written, on the program that the README shows."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.demo import ROOT

README = (ROOT / "README.md").read_text()
TIMEOUT_S = 120

# What only a machine of its own can run: `.ci/run` does.
BY_CI = {"make demo": "make demo", "make test": "make test", "pip install .": "tests/pythons/test"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    return [
        line[2:] for block in blocks("console") for line in block.splitlines() if line[:2] == "$ "
    ]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("readme")
    (directory / "app.py").write_text(blocks("python")[0])
    return directory


def run(command: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    programs = Path(sys.executable).parent
    environ = {k: v for k, v in os.environ.items() if not k.startswith("OTEL")}
    environ["PATH"] = f"{programs}{os.pathsep}{environ['PATH']}"
    # The commands leave traces, metrics and logs to OpenTelemetry; nobody listens to them here.
    environ |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    return subprocess.run(
        command,
        shell=True,
        cwd=directory,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def test_there_are_commands_and_none_is_left_out() -> None:
    tested = [
        c for c in commands() if c.startswith(("otelprof", "opentelemetry", "OTEL", "go tool"))
    ]
    assert sorted([*tested, *BY_CI]) == sorted(commands())
    assert len(tested) >= 8


@pytest.mark.parametrize("command", BY_CI)
def test_ci_runs(command: str) -> None:
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("these are the installed wheel's tests: the checkout's look at .ci/run")
    assert BY_CI[command] in script.read_text()


def test_the_commands_in_their_order(directory: Path, pprof: Callable[..., str]) -> None:
    """In one go: each stands on what those above it left."""
    printed: dict[str, str] = {}
    for command in commands():
        if command in BY_CI:
            continue
        if command.startswith("go tool pprof"):
            arguments = command.removeprefix("go tool pprof").split()
            printed[command] = pprof(*arguments[:-1], directory / arguments[-1])
            continue
        finished = run(command, directory)
        assert finished.returncode == 0, f"{command}\n{finished.stderr}"
        assert "Traceback" not in finished.stderr, command
        printed[command] = finished.stdout + finished.stderr
    for shown in ("otelprof show latest", "otelprof show out.pb.gz"):
        assert "count_primes" in printed[shown]
    assert "count_primes" in printed["go tool pprof -top out.pb.gz"]
    for by_span in (
        "otelprof show --by span out.pb.gz",
        "otelprof show --by span otelprof-profiles",
    ):
        assert "numbers" in printed[by_span]
        assert "nap" in printed[by_span]
    # Nobody listens at the default endpoint: one line of ours says so.
    said = printed["opentelemetry-instrument python app.py"]
    assert said.count("nobody takes them at http://localhost:4317") == 1
    assert shutil.which("otelprof", path=str(Path(sys.executable).parent))


def test_the_program_in_code(directory: Path) -> None:
    code = blocks("python")[1]
    (directory / "in_code.py").write_text(code.replace("out.pb.gz", "in_code.pb.gz"))
    assert run("python in_code.py", directory).returncode == 0
    shown = run("otelprof show in_code.pb.gz", directory)
    assert shown.stderr == ""
    lines = shown.stdout.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("self CPU")) + 1
    assert lines[first].endswith("  __main__.add_squares")
