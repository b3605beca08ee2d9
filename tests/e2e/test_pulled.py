"""Programs that pull profiles do so from a service that knows nothing of it: `go tool pprof`, Parca, Alloy's requests."""

import gzip
import http.client
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from otelprof.formats import pprof as pprof_format
from tests.e2e.backends.parca import parca
from tests.e2e.service import COMPUTING
from tests.support.console import commands_of
from tests.support.demo import ROOT
from tests.support.ports import free_ports
from tests.support.programs import INSTRUMENT, finish, started, target
from tests.support.pulling import TOKEN, Pulled
from tests.support.waiting import wait_until

CPU, WALL = (
    "process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta",
    "wall:wall:nanoseconds:wall:nanoseconds:delta",
)
THREADS = "goroutine:threads:count:threads:count"
PAGE = ROOT / "docs" / "pull.md"
FOUND_TIMEOUT_S = 60.0
NOISE_S = 20.0


@dataclass(frozen=True)
class Service:
    """The service of tests/targets/traced.py, which works on until the test has seen enough."""

    pulled: Pulled
    directory: Path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("pulled")
    with serving(directory) as found:
        yield found


@contextmanager
def serving(directory: Path) -> Iterator[Service]:
    (port,) = free_ports(1)
    end_file = directory / "end"
    variables = {
        "OTEL_SERVICE_NAME": "pulled",
        "OTELPROF_EXPORTER": "none",
        "OTELPROF_PULL": f"127.0.0.1:{port}",
        "OTELPROF_PULL_TOKEN": TOKEN,
    }
    command = [INSTRUMENT, sys.executable, target("traced.py"), str(end_file)]
    with started(command, directory, variables) as process:
        pulled = Pulled(port=port)
        wait_until(lambda: answers(pulled), FOUND_TIMEOUT_S, poll_s=0.05, what="it listens")
        yield Service(pulled, directory)
        end_file.touch()
        finished = finish(process)
    assert finished.code == 0, finished.err
    assert finished.said == []


def answers(pulled: Pulled) -> bool:
    try:
        return pulled.get("/debug/pprof/").status == http.client.OK
    except OSError:
        return False


@pytest.mark.backend
def test_pprof_s_tool_fetches_with_the_token_as_password(
    service: Service, pprof: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPROF_TMPDIR", str(service.directory / "pprof"))
    url = f"http://:{TOKEN}@127.0.0.1:{service.pulled.port}/debug/pprof"
    top = pprof("-top", "-seconds=3", f"{url}/profile")
    assert "Type: cpu" in top
    assert all(name in top for name in COMPUTING.values()), top
    traces = pprof("-traces", f"{url}/profile?seconds=2")
    assert re.search(r"span_id:\s+[0-9a-f]{16}", traces)
    assert "ask_supplier" in pprof("-top", f"{url}/wall?seconds=2")
    threads = pprof("-top", f"{url}/goroutine")
    assert "Type: threads" in threads
    assert "threading.Thread._bootstrap" in pprof("-top", "-cum", f"{url}/goroutine")


@pytest.mark.backend
def test_pprof_s_tool_says_why_it_gets_nothing(
    service: Service, pprof: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPROF_TMPDIR", str(service.directory / "pprof"))
    base = f"127.0.0.1:{service.pulled.port}/debug/pprof"
    for url, reason in (
        (f"http://{base}/profile?seconds=1", "401 Unauthorized"),
        (f"http://:{TOKEN}@{base}/heap", "404 Not Found"),
        (f"http://:{TOKEN}@{base}/profile?seconds=1000", "400 Bad Request"),
    ):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            pprof("-top", url)
        assert reason in failed.value.stderr


@pytest.mark.backend
def test_the_commands_of_the_page(
    service: Service, pprof: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPROF_TMPDIR", str(service.directory / "pprof"))
    here = (
        command.replace(":6060/", f":{service.pulled.port}/")
        .replace("$OTELPROF_PULL_TOKEN", TOKEN)
        .replace("seconds=10", "seconds=1")
        for command in commands_of(PAGE)
    )
    (*tool, url), curl = map(shlex.split, here)
    assert tool == ["go", "tool", "pprof"]  # whose sources ours is built of
    assert "Type: cpu" in pprof("-top", url)
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    threads = subprocess.run(curl, check=True, capture_output=True, text=True, timeout=60).stdout
    assert "MainThread" in threads


def scrape_config(name: str, port: int, **authorization: object) -> dict[str, object]:
    """Of Parca, which scrapes by default what Go has; what a service has not is switched off."""
    off = {"enabled": False}
    return {
        "job_name": name,
        "scrape_interval": "2s",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        "profiling_config": {
            "pprof_config": {
                "process_cpu": {"enabled": True, "delta": True, "path": "/debug/pprof/profile"},
                "wall": {"enabled": True, "delta": True, "path": "/debug/pprof/wall"},
                "goroutine": {"enabled": True, "path": "/debug/pprof/goroutine"},
                **dict.fromkeys(("memory", "block", "mutex"), off),
            }
        },
        **authorization,
    }


@pytest.mark.backend
def test_parca_scrapes_with_the_token_and_nothing_without(service: Service, tmp_path: Path) -> None:
    port = service.pulled.port
    right = {"authorization": {"type": "Bearer", "credentials": TOKEN}}
    password = {"basic_auth": {"username": "parca", "password": TOKEN}}
    configs = [
        scrape_config("bearer", port, **right),
        scrape_config("password", port, **password),
        scrape_config("nobody", port),
    ]
    with parca(tmp_path, configs) as running:
        for job in ("bearer", "password"):
            for profile_type in (CPU, WALL, THREADS):
                wait_until(
                    lambda: running.flamegraph(profile_type, job=job).total > 0,  # noqa: B023 - at once
                    FOUND_TIMEOUT_S,
                    poll_s=0.5,
                    what=f"{profile_type} of {job}",
                )
        graph = running.flamegraph(CPU, job="bearer")
        own = graph.bare()
        assert sum(own[name] for name in COMPUTING.values()) > 0.5 * graph.total
        assert running.label_values("job") == {"bearer", "password"}


def test_alloy_gets_what_it_asks_for(service: Service) -> None:
    """`pyroscope.scrape` (grafana/alloy, internal/component/pyroscope/scrape): one GET for each profile and interval.

    It wants a status of 2xx and a body that is not empty, and it follows `scrape_interval` 15 s with a window of one
    second less, for which it waits `scrape_timeout` (10 s) longer than that.
    """
    for path, seconds in (("profile?seconds=14", 14), ("wall?seconds=2", 2), ("goroutine", 0)):
        connection = http.client.HTTPConnection(
            "127.0.0.1", service.pulled.port, timeout=seconds + 10
        )
        headers = {"User-Agent": "Alloy/v1.10.0", "Accept-Encoding": "gzip"}
        headers["Authorization"] = f"Bearer {TOKEN}"
        began = time.monotonic()
        connection.request("GET", f"/debug/pprof/{path}", headers=headers)
        response = connection.getresponse()
        body = response.read()
        took_s = time.monotonic() - began
        connection.close()
        assert response.status == http.client.OK
        # It decompresses what has this header itself; pprof's own compression is not that.
        assert response.headers["Content-Encoding"] is None
        assert response.headers["Content-Type"] == "application/octet-stream"
        assert response.headers["Content-Length"] == str(len(body))
        assert gzip.decompress(body)
        assert seconds <= took_s < seconds + 10
        (profile,) = pprof_format.decode(body)
        assert profile.duration_ns >= seconds * 1e9
        assert len(profile)
        assert dict(profile.resource)["service.name"] == "pulled"
        if path.startswith("profile"):
            assert any(link.span_id for link in profile.tables.links)
