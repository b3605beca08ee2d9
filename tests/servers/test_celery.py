"""Celery's prefork pool under `opentelemetry-instrument`, with a directory for a broker."""

import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.programs import INSTRUMENT, TIMEOUT_S, finish, run, started
from tests.support.services import VARIABLES, assert_idle, assert_worked, left_by, program

TASKS = "tests.targets.tasks"
WORKER = [INSTRUMENT, program("celery"), "-A", TASKS, "worker", "-c", "2", "--loglevel", "ERROR"]


def done_in(cwd: Path) -> list[tuple[int, str]]:
    """The process and the name of each task that is done."""
    path = cwd / "done"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(pid), name) for pid, name in map(str.split, lines)]


@pytest.mark.parametrize(
    ("options", "count"),
    [([], 12), (["--max-tasks-per-child", "1"], 3)],
    ids=["prefork", "max-tasks-per-child=1"],
)
def test_each_process_of_the_pool_is_profiled_and_loses_nothing(
    options: list[str], count: int, tmp_path: Path
) -> None:
    (tmp_path / "queue").mkdir()
    assert run([sys.executable, "-m", TASKS, str(count)], tmp_path).code == 0
    with started([*WORKER, *options], tmp_path, VARIABLES) as process:
        end = time.monotonic() + TIMEOUT_S
        while len(done_in(tmp_path)) < 2 * count:
            assert time.monotonic() < end, done_in(tmp_path)
            assert process.poll() is None, finish(process)
            time.sleep(0.05)
        process.terminate()
        finished = finish(process)
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert "otelprof" not in finished.err
    answered: dict[int, Counter[str]] = {}
    for pid, name in done_in(tmp_path):
        answered.setdefault(pid, Counter())[name] += 1
    left = left_by(tmp_path)
    for pid, counts in answered.items():
        assert_worked(left.pop(pid), counts)
    # The main process until it had a pool, and children that had nothing to do.
    main = left.pop(process.pid)
    assert all("on_start" in each.labels("wall") or each.labels("cpu") for each in main)
    for profiles in (main, *left.values()):
        assert_idle(profiles)
