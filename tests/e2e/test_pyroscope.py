"""A real Grafana Pyroscope takes what we push, and finds the time of a span.

It cannot be built from Go modules, so the program is one of the user's own: `OTELPROF_PYROSCOPE_BINARY`, or `pyroscope`
in the PATH.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from otelprof.config import Config, SpanId
from otelprof.exporter_settings import PyroscopeSettings
from otelprof.exporters.pyroscope import from_config
from otelprof.interfaces import DELIVERED
from otelprof.model import Batch
from tests.support.ports import free_ports
from tests.support.profiles import ROOT_SPAN_ID, SPAN, TRACE_ID, cpu_and_wall
from tests.support.random_profiles import random_profile

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
WALL = "wall:wall:nanoseconds:wall:nanoseconds"
START_TIMEOUT_S = 60.0
FOUND_TIMEOUT_S = 30.0


def program() -> str:
    """The Pyroscope to test against, or a skip."""
    found = os.environ.get("OTELPROF_PYROSCOPE_BINARY") or shutil.which("pyroscope")
    if found is None:
        pytest.skip(
            "there is no Pyroscope: OTELPROF_PYROSCOPE_BINARY names none, nor is one in the PATH"
        )
    return found


@pytest.fixture(scope="module")
def pyroscope(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Pyroscope of its own, in one process, on loopback."""
    command = program()
    directory = tmp_path_factory.mktemp("pyroscope")
    http_port, grpc_port, gossip_port = free_ports(3)
    loopback = (
        "server.http-listen-address",
        "server.grpc-listen-address",
        "distributor.ring.instance-addr",
        "memberlist.bind-addr",
        "memberlist.advertise-addr",
        "segment-writer.lifecycler.addr",
        "overrides-exporter.ring.instance-addr",
        "query-frontend.instance-addr",
        "query-scheduler.ring.instance-addr",
    )
    flags = {
        "target": "all",
        "architecture.storage": "v2",
        **dict.fromkeys(loopback, "127.0.0.1"),
        "server.http-listen-port": http_port,
        "server.grpc-listen-port": grpc_port,
        "memberlist.bind-port": gossip_port,
        "self-profiling.disable-push": "true",
        "usage-stats.enabled": "false",
        "storage.backend": "filesystem",
        "storage.filesystem.dir": directory / "blocks",
        "metastore.data-dir": directory / "metastore",
        "metastore.raft.dir": directory / "raft",
        "metastore.raft.snapshots-dir": directory / "snapshots",
        "metastore.min-ready-duration": "0",
        "segment-writer.min-ready-duration": "0",
        "distributor.ring.store": "inmemory",
        "querier.max-query-lookback": "0",
    }
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [command, *(f"-{name}={value}" for name, value in flags.items())],
            stdout=output,
            stderr=output,
            cwd=directory,
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{http_port}", log)
        yield f"http://127.0.0.1:{http_port}"
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with suppress(requests.RequestException):
            if requests.get(f"{url}/ready", timeout=5).status_code == 200:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"Pyroscope does not start:\n{log.read_text()[-5_000:]}")
        time.sleep(0.1)


def total(url: str, service: str, profile_type: str, **selectors: list[str]) -> int:
    """What Grafana would show of a service, in nanoseconds."""
    now_ms = time.time_ns() // 1_000_000
    question: dict[str, Any] = {
        "profileTypeID": profile_type,
        "labelSelector": f'{{service_name="{service}"}}',
        "start": now_ms - 3_600_000,
        "end": now_ms + 600_000,
        **selectors,
    }
    path = "/querier.v1.QuerierService/SelectMergeStacktraces"
    answer = requests.post(url + path, json=question, timeout=30)
    assert answer.status_code == 200, answer.text
    return int(answer.json().get("flamegraph", {}).get("total", 0))


def wait_for(url: str, service: str, profile_type: str, expected: int) -> None:
    """What was pushed can be asked for a moment later."""
    deadline = time.monotonic() + FOUND_TIMEOUT_S
    while (found := total(url, service, profile_type)) != expected:
        assert time.monotonic() < deadline, f"{found} found, not {expected}"
        time.sleep(0.2)


def push(url: str, service: str, *batches: Batch, span_id: SpanId = "own") -> None:
    exporter = from_config(Config(pyroscope=PyroscopeSettings(url), span_id=span_id))
    for batch in batches:
        profiles = tuple(
            replace(
                profile,
                start_unix_ns=time.time_ns() - profile.duration_ns,
                resource=(("service.name", service),),
            )
            for profile in batch.profiles
        )
        assert exporter.export(Batch(profiles), timeout_s=60.0) == DELIVERED
    exporter.close()


@pytest.mark.parametrize(
    ("span_id", "found", "nothing"),
    [("own", SPAN.span_id, ROOT_SPAN_ID), ("root", ROOT_SPAN_ID, SPAN.span_id)],
)
def test_the_time_of_a_span_is_found(
    pyroscope: str, span_id: SpanId, found: bytes, nothing: bytes
) -> None:
    service = f"shop-{span_id}"
    push(pyroscope, service, Batch(tuple(cpu_and_wall())), span_id=span_id)
    wait_for(pyroscope, service, CPU, 70_000_000)
    wait_for(pyroscope, service, WALL, 130_000_000)
    assert total(pyroscope, service, CPU, spanSelector=[found.hex()]) == 40_000_000
    assert total(pyroscope, service, CPU, spanSelector=[nothing.hex()]) == 0
    assert total(pyroscope, service, CPU, traceIdSelector=[TRACE_ID.hex()]) == 40_000_000


def test_a_large_profile_is_there_to_the_nanosecond(pyroscope: str) -> None:
    profile = random_profile(30_000, depth=20)
    push(pyroscope, "large", Batch((profile,)))
    wait_for(pyroscope, "large", CPU, sum(profile.column("cpu")))
