"""The configurations in examples/ with the real programs, started as the READMEs beside them say."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.e2e.backends.collector import Ports
from tests.e2e.backends.jaeger import Jaeger
from tests.e2e.backends.processes import Running, answers, running
from tests.e2e.backends.programs import COLLECTOR, JAEGER, required
from tests.e2e.backends.pyroscope import CPU, Pyroscope
from tests.e2e.received import Received
from tests.e2e.service import waiting
from tests.support.console import commands_of
from tests.support.demo import ROOT
from tests.support.ports import free_ports
from tests.support.waiting import wait_until
from tests.test_readme import blocks, run

pytestmark = pytest.mark.backend

EXAMPLES = ROOT / "examples"
DOCKER, SERVICE = "docker compose", "opentelemetry-instrument"
HTTP_OF_OTLP = "receivers.otlp.protocols.http.endpoint"
HTTP_OF_JAEGER = "extensions.jaeger_query.http.endpoint"
_MOST_RUNS = 5


def readme(example: str) -> Path:
    return EXAMPLES / example / "README.md"


def starting(example: str, *parts: str) -> str:
    """The commands of an example's README that have one of `parts`, as one for the shell."""
    found = [each for each in commands_of(readme(example)) if any(part in each for part in parts)]
    assert len(found) == len(parts), found
    shell = re.sub(r"(\.\./)*\.venv/bin/python", sys.executable, " && ".join(found))
    # The last one takes the shell's place, so that it is the process that is ended.
    return re.sub(r'(?<!=)"\$', 'exec "$', shell)


@contextmanager
def started(
    command: str, directory: Path, ports: dict[str, int], ready_at: str
) -> Iterator[Running]:
    """What a README says, in the checkout, but on these ports."""
    # Jaeger opens one more port, for its own metrics.
    options = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    options["service.telemetry.metrics.level"] = "none"
    ours = " ".join(f"--set={name}={value}" for name, value in options.items())
    shell = ["bash", "-ec", f"cd '{ROOT}' && {command} {ours}"]
    with running("example", shell, directory, lambda: answers(ready_at)) as process:
        yield process


@contextmanager
def started_collector(command: str, directory: Path, ports: Ports) -> Iterator[Running]:
    required(COLLECTOR)
    of_otlp = {"receivers.otlp.protocols.grpc.endpoint": ports.grpc, HTTP_OF_OTLP: ports.http}
    with started(command, directory, of_otlp, f"http://127.0.0.1:{ports.http}") as process:
        yield process


def run_service(example: str, directory: Path, ports: Ports) -> None:
    """The service's command of an example's README, on the program of the README of all."""
    (directory / "app.py").write_text(blocks("python")[0])
    (command,) = [each for each in commands_of(readme(example)) if each.startswith("OTEL_")]
    assert SERVICE in command
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{ports.grpc}",
        "OTEL_TRACES_EXPORTER": "otlp",  # `run` has it switched off
        "OTELPROF_STATE_DIR": str(directory / "state"),
    }
    ours = " ".join(f"{name}='{value}'" for name, value in variables.items())
    # On a busy machine a process may end before its profile is delivered: the next one of the service does it.
    said = ""
    for _ in range(_MOST_RUNS):
        finished = run(f"{ours} {command}", directory)
        said += finished.stderr
        assert finished.returncode == 0, said
        if not waiting(directory):
            return
    pytest.fail(said)


@pytest.mark.parametrize("example", ["collector", "jaeger", "pyroscope"])
def test_only_what_needs_docker_is_not_run_and_the_readme_says_so(example: str) -> None:
    commands = commands_of(readme(example))
    assert sum(DOCKER in command for command in commands) == 1
    assert "With Docker (not run here" in readme(example).read_text()
    kinds = (DOCKER, SERVICE, "tests.e2e.backends", "$otelcol", "cd examples/jaeger")
    assert all(any(kind in command for kind in kinds) for command in commands)


def test_the_collector_writes_the_profiles_of_a_service_without_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, ports = tmp_path / "profiles.jsonl", Ports.free()
    monkeypatch.setenv("PROFILES", str(written))
    command = starting("collector", "--path otelcol", '"$otelcol"')
    with started_collector(command, tmp_path, ports) as process:
        run_service("collector", tmp_path, ports)
        wait_until(lambda: written.exists() and written.read_text(), what="a profile is written")
        process.stop()
    received = Received(written)
    assert received.attributes["service.name"] == "app"
    assert any(name.endswith("count_primes") for name in received.functions)
    assert received.links
    counted = process.log.read_text()
    assert "Profiles" in counted
    assert "Traces" in counted


def test_the_collector_before_pyroscope_passes_profiles_and_traces_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pyroscope: Pyroscope, jaeger: Jaeger
) -> None:
    ports = Ports.free()
    monkeypatch.setenv("PROFILES_TO", pyroscope.url)
    monkeypatch.setenv("TRACES_TO", jaeger.grpc_endpoint.removeprefix("http://"))
    with started_collector(starting("pyroscope", "--path otelcol"), tmp_path, ports):
        run_service("pyroscope", tmp_path, ports)
        wait_until(
            lambda: pyroscope.flamegraph("app", CPU).total > 0, poll_s=0.2, what="CPU time of it"
        )
        wait_until(lambda: "app" in services_of(jaeger.query_url), poll_s=0.2, what="its traces")
    assert any("count_primes" in name for name in pyroscope.flamegraph("app", CPU).own)


@pytest.mark.parametrize("example", ["jaeger", "pyroscope"])
def test_jaeger_starts_as_the_readmes_say(example: str, tmp_path: Path) -> None:
    required(JAEGER)
    parts = ["cd examples/jaeger"] if example == "jaeger" else []
    grpc, http, query_http, query_grpc = free_ports(4)
    ports = {
        "receivers.otlp.protocols.grpc.endpoint": grpc,
        HTTP_OF_OTLP: http,
        HTTP_OF_JAEGER: query_http,
        "extensions.jaeger_query.grpc.endpoint": query_grpc,
    }
    url = f"http://127.0.0.1:{query_http}"
    with started(starting(example, *parts, "--path jaeger"), tmp_path, ports, url):
        assert services_of(url) == []


def services_of(url: str) -> list[str]:
    """The services that a Jaeger knows."""
    answer = requests.get(f"{url}/api/v3/services", timeout=30)
    assert answer.status_code == 200, answer.text
    found: list[str] = answer.json().get("services", [])
    return found
