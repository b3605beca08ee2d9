"""The real programs, as fixtures: skipped with a reason where missing, unless they are required."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.e2e import backends
from tests.support.ports import free_ports

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Collector:
    """A running OpenTelemetry Collector that writes the profiles it gets to a file.

    `written` is complete when `stop` has returned.
    """

    http_endpoint: str
    grpc_endpoint: str
    written: Path
    stop: Callable[[], None]


@contextmanager
def _collector(directory: Path, *, gate: bool) -> Iterator[Collector]:
    grpc_port, http_port = free_ports(2)
    written = directory / "profiles.jsonl"
    config = directory / "collector.yaml"
    # Without the gate a profiles pipeline is refused at start, so there the Collector only takes traces.
    signal = "profiles" if gate else "traces"
    config.write_text(
        f"""
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{grpc_port}}}
      http: {{endpoint: 127.0.0.1:{http_port}}}
exporters:
  file: {{path: {written}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    {signal}: {{receivers: [otlp], exporters: [file]}}
""",
    )
    command = [str(backends.required(backends.collector())), "--config", str(config)]
    command += ["--feature-gates=service.profilesSupport"] if gate else []
    with (directory / "collector.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)

    def stop() -> None:
        process.terminate()
        process.wait(_STOP_TIMEOUT_S)

    try:
        _wait_until_listening(process, http_port, directory / "collector.log")
        yield Collector(
            f"http://127.0.0.1:{http_port}",
            f"http://127.0.0.1:{grpc_port}",
            written,
            stop,
        )
    finally:
        if process.poll() is None:
            stop()


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        try:
            requests.get(f"http://127.0.0.1:{port}", timeout=1)
        except requests.ConnectionError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the Collector does not start:\n{log.read_text()}")
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """A Collector with a profiles pipeline."""
    with _collector(tmp_path, gate=True) as running:
        yield running


@pytest.fixture
def collector_without_profiles(tmp_path: Path) -> Iterator[Collector]:
    """A Collector as most people run it: without the feature gate."""
    with _collector(tmp_path, gate=False) as running:
        yield running
