"""uWSGI, whose master forks without Python's hooks, under load and `opentelemetry-instrument`."""

import json
import os
import socket
import time
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.programs import INSTRUMENT, TIMEOUT_S
from tests.support.services import (
    PATHS,
    PORT,
    Service,
    assert_labels_are_right,
    assert_worked,
    left_by,
    program,
    serving,
)

TARGETS = Path(__file__).parents[1] / "targets"

pytestmark = pytest.mark.backend


@pytest.fixture(autouse=True)
def uwsgi() -> Path:
    """It is built from source, so it is not among what pip installs for the tests."""
    built = Path(program("uwsgi"))
    if not built.exists():
        reason = f"{built} is not there: run `make backends`"
        if os.environ.get("OTELPROF_REQUIRE_BACKENDS", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    return built


def command(file: str, *options: str) -> list[str]:
    return [
        *(INSTRUMENT, program("uwsgi"), "--master", "--processes", "2", "--disable-logging"),
        *("--http-socket", f"127.0.0.1:{PORT}", "--need-app"),
        *("--wsgi-file", str(TARGETS / file), "--callable", "app", *options),
    ]


# As its documentation has it: else SIGTERM has it begin anew.
GRACEFUL = ("--hook-master-start", "unix_signal:15 gracefully_kill_them_all")


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("web.py", GRACEFUL),
        ("web.py", (*GRACEFUL, "--enable-threads", "--threads", "2")),
        ("web.py", (*GRACEFUL, "--lazy-apps")),
        ("postfork.py", GRACEFUL),
    ],
    ids=["forked", "threads", "lazy-apps", "postfork"],
)
def test_each_worker_is_profiled_and_loses_nothing(
    file: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    with serving(command(file, *options), tmp_path) as service:
        service.load(workers=2)
        finished = service.stop()
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert "otelprof" not in finished.err
    left = left_by(tmp_path)
    assert left.keys() == service.answered.keys()  # and so not the master
    for pid, counts in service.answered.items():
        assert_worked(left[pid], counts)


def test_workers_that_leave_without_atexit_keep_what_has_left_before(tmp_path: Path) -> None:
    """SIGINT ends them at once with this option, whatever they have registered."""
    (stats,) = free_ports(1)
    options = ("--skip-atexit", "--die-on-term", "--lazy-apps", "--stats", f"127.0.0.1:{stats}")
    with serving(command("web.py", *options), tmp_path, {"OTELPROF_FLUSH": "1s"}) as service:
        service.load(workers=2)
        wait_until_left(service, tmp_path)
        wait_until_idle(stats)
        finished = service.stop()
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert "otelprof" not in finished.err
    left = left_by(tmp_path)
    assert left.keys() == service.answered.keys()
    for profiles in left.values():
        assert_labels_are_right(profiles, PATHS)


def wait_until_left(service: Service, cwd: Path) -> None:
    """Until each worker has left the spans of all its requests: there is a flush every second."""
    end = time.monotonic() + TIMEOUT_S
    while True:
        left = left_by(cwd)
        spans = {
            pid: sum(len(each.spans) for each in left.get(pid, [])) for pid in service.workers()
        }
        if all(spans[pid] == sum(service.answered[pid][path] for path in PATHS) for pid in spans):
            return
        assert time.monotonic() < end, spans
        time.sleep(0.1)


def wait_until_idle(port: int) -> None:
    """Until no worker is in the middle of something, as uWSGI's own statistics have it."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        if all(worker["status"] == "idle" for worker in json.loads(answer)["workers"]):
            return
        time.sleep(0.05)
    raise AssertionError("a worker stays busy")
