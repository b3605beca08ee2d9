"""The examples run as their own first lines say, and leave what those promise."""

import json
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from tests.support.ports import free_ports
from tests.support.programs import (
    INSTRUMENT,
    OTELPROF,
    TIMEOUT_S,
    Left,
    finish,
    read,
    read_all,
    run,
    started,
    wait_for_line,
)
from tests.support.services import program

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = {"OTELPROF_EXPORTER": "file", "OTEL_SERVICE_NAME": "example"}

Way = Literal["opentelemetry-instrument", "otelprof run"]
both_ways = pytest.mark.parametrize("way", ["opentelemetry-instrument", "otelprof run"])


def command(way: Way, *program: str) -> list[str]:
    if way == "otelprof run":
        return [OTELPROF, "run", "-o", "out.pb.gz", "--", *program]
    return [INSTRUMENT, *program]


def variables(way: Way) -> dict[str, str]:
    return {} if way == "otelprof run" else FILES


def kept(way: Way, directory: Path) -> Path:
    """Where the profiles are."""
    return directory / ("out.pb.gz" if way == "otelprof run" else "otelprof-profiles")


def left_in(path: Path) -> list[Left]:
    return read_all(path) if path.is_dir() else [read(path)]


def copied(name: str, to: Path) -> Path:
    """The example in a directory of its own, where it may leave files."""
    return Path(shutil.copytree(EXAMPLES / name, to / name))


def shown(path: Path) -> str:
    return run([OTELPROF, "show", "--by", "span", path], path.parent).out


def processes_in(path: Path) -> set[int]:
    """The processes that the profiles are of."""
    finished = run([OTELPROF, "show", "--format", "json", path], path.parent)
    return set(json.loads(finished.out)["summary"]["processes"])


@both_ways
def test_minimal(tmp_path: Path, way: Way) -> None:
    directory = copied("minimal", tmp_path)
    finished = run(command(way, sys.executable, "app.py"), directory, variables(way))
    assert finished.code == 0, finished.err
    path = kept(way, directory)
    assert_only_in(left_in(path), "count_primes", "numbers")
    table = shown(path)
    assert re.search(r" numbers +__main__\.count_primes\S* \d+%", table), table
    assert re.search(r" nap +__main__\.main \d+%, mostly not on CPU", table), table


@both_ways
def test_gunicorn(tmp_path: Path, way: Way) -> None:
    directory = copied("gunicorn", tmp_path)
    (port,) = free_ports(1)
    address = f"127.0.0.1:{port}"
    gunicorn = command(
        way, program("gunicorn"), "--bind", address, "--pid", "arbiter.pid", "app:app"
    )
    with started(gunicorn, directory, variables(way)) as process:
        wait_for(address)
        arbiter = int((directory / "arbiter.pid").read_text())
        for _ in range(40):
            for path in ("primes", "login"):
                with urllib.request.urlopen(
                    f"http://{address}/{path}", timeout=TIMEOUT_S
                ) as answer:
                    assert answer.status == 200
        process.terminate()
        finished = finish(process)
    assert finished.code == 0, finished.err
    profiles = kept(way, directory)
    left = left_in(profiles)
    assert len(processes_in(profiles) - {arbiter}) == 2
    spans = Counter(span.name for each in left for span in each.spans)
    assert {name: spans[name] for name in ("GET /primes", "GET /login")} == {
        "GET /primes": 40,
        "GET /login": 40,
    }
    assert_only_in(left, "count_primes", "GET /primes")
    assert_only_in(left, "hash_password", "GET /login")
    assert "GET /primes" in shown(profiles)


@both_ways
def test_celery(tmp_path: Path, way: Way) -> None:
    directory = copied("celery", tmp_path)
    sent = run([sys.executable, "tasks.py", "6"], directory)
    assert sent.code == 0, sent.err
    worker = (program("celery"), "--app", "tasks", "worker", "--concurrency", "2")
    with started(
        command(way, *worker, "--loglevel", "ERROR"), directory, variables(way)
    ) as process:
        end = time.monotonic() + TIMEOUT_S
        while any((directory / "queue").glob("*.msg")):
            assert time.monotonic() < end
            time.sleep(0.05)
        process.terminate()  # what has begun is finished first
        finished = finish(process)
    assert finished.code == 0, finished.err
    left = left_in(kept(way, directory))
    spans = Counter(span.name for each in left for span in each.spans)
    assert spans == {"run/tasks.primes": 6, "run/tasks.compress": 6}
    assert_only_in(left, "count_primes", "run/tasks.primes")
    assert_only_in(left, "compress", "run/tasks.compress")


@both_ways
def test_shop(tmp_path: Path, way: Way) -> None:
    """Its supplier is another service: nothing of it is in the profile."""
    shop = command(way, sys.executable, "-m", "examples.shop", "--port", "0")
    client = [sys.executable, "-m", "examples.shop.client", "--requests", "20", "--seconds", "60"]
    with started(shop, tmp_path, variables(way)) as process:
        url = wait_for_line(process, "shop listening on ").split()[-1]
        visited = run([*client, url], tmp_path)
        process.terminate()
        finished = finish(process)
    assert visited.code == 0, visited.err
    assert finished.code == 0, finished.err
    path = kept(way, tmp_path)
    left = left_in(path)
    spans = Counter(span.name for each in left for span in each.spans)
    endpoints = ("GET /products", "GET /search", "GET /quote", "POST /checkout", "GET /report")
    assert {name: spans[name] for name in endpoints} == dict.fromkeys(endpoints, 4)
    # The call of the supplier, what is read of the database, what is written.
    assert (spans["GET"], spans["SELECT"], spans["INSERT"], spans["UPDATE"]) == (4, 12, 12, 4)
    assert_only_in(left, "rank_customers", "GET /report")
    assert len(processes_in(path)) == 1
    assert "examples.shop.business.rank_customers" in shown(path)


def assert_only_in(left: list[Left], function: str, span: str) -> None:
    """The function ran in this span, but for what had begun before its process was profiled."""
    labels: Counter[str] = Counter()
    for each in left:
        labels += each.labels().get(function, Counter())
    assert labels[span] > 0
    assert set(labels) <= {span, "(unknown)"}


def wait_for(address: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/none", timeout=TIMEOUT_S)
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.05)
