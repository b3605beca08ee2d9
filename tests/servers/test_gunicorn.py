"""gunicorn with each kind of worker, under load and `opentelemetry-instrument`, ended by SIGTERM."""

import signal
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT
from tests.support.services import PORT, assert_idle, assert_worked, left_by, program, serving

WORKERS = {
    "sync": ["tests.targets.web:app"],
    "gthread": ["--threads", "4", "tests.targets.web:app"],
    "gevent": ["-k", "gevent", "tests.targets.web:app"],
    "uvicorn": ["-k", "uvicorn_worker.UvicornWorker", "tests.targets.web:asgi"],
}


def command(kind: str, *options: str) -> list[str]:
    listen = ["-w", "2", "-b", f"127.0.0.1:{PORT}", "--no-control-socket"]
    return [INSTRUMENT, program("gunicorn"), *listen, *options, *WORKERS[kind]]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("sync", []),
        ("sync", ["--preload"]),
        ("gthread", []),
        ("gthread", ["--preload"]),
        ("uvicorn", []),
        ("uvicorn", ["--preload"]),
        ("gevent", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value),
)
def test_each_worker_is_profiled_and_loses_nothing(
    kind: str, options: list[str], tmp_path: Path
) -> None:
    with serving(command(kind, *options), tmp_path) as service:
        service.load(workers=2)
        finished = service.stop()
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert "otelprof" not in finished.err
    left = left_by(tmp_path)
    for pid, counts in service.answered.items():
        assert_worked(left.pop(pid), counts)
    # The arbiter: what it did until it had a worker, and nothing of its waiting.
    assert set(left) <= {service.process.pid}
    for profiles in left.values():
        assert_idle(profiles)
        assert all("wait_for_signals" not in each.labels("wall") for each in profiles)


def test_workers_that_are_replaced_lose_nothing_either(tmp_path: Path) -> None:
    with serving(command("sync", "--max-requests", "16"), tmp_path) as service:
        service.load(workers=3, requests=6)
        finished = service.stop(signal.SIGTERM)
    assert finished.code == 0
    left = left_by(tmp_path)
    assert len(service.workers()) >= 3
    for pid, counts in service.answered.items():
        if pid in left or any(counts[path] for path in ("checkout", "search")):
            assert_worked(left[pid], counts)
