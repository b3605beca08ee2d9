"""uvicorn by itself and with workers, under load and `opentelemetry-instrument`, ended by SIGTERM."""

import signal
from pathlib import Path

from tests.support.files import files_below
from tests.support.programs import INSTRUMENT
from tests.support.servers import refusing_port
from tests.support.services import PORT, assert_idle, assert_worked, left_by, program, serving

COMMAND = [INSTRUMENT, program("uvicorn"), "--port", PORT, "--no-access-log"]
APPLICATION = "tests.targets.web:asgi"


def test_one_process_loses_nothing(tmp_path: Path) -> None:
    """It ends by the signal itself, as without us: after its shutdown it raises that again."""
    with serving([*COMMAND, APPLICATION], tmp_path) as service:
        service.load(workers=1)
        finished = service.stop()
    assert finished.code == -signal.SIGTERM
    assert "otelprof" not in finished.err
    left = left_by(tmp_path)
    ((pid, counts),) = service.answered.items()
    assert_worked(left.pop(pid), counts)
    assert left == {}


def test_each_worker_is_profiled_and_loses_nothing(tmp_path: Path) -> None:
    with serving([*COMMAND, "--workers", "2", APPLICATION], tmp_path) as service:
        service.load(workers=2)
        finished = service.stop()
    assert finished.code == 0
    assert "otelprof" not in finished.err
    left = left_by(tmp_path)
    worked = [left.pop(pid) for pid in service.workers()]
    for profiles, pid in zip(worked, service.workers(), strict=True):
        assert_worked(profiles, service.answered[pid])
    # Not the resource tracker of `multiprocessing`; the parent until it only waited for its workers.
    parent = left.pop(service.process.pid)
    assert left == {}
    assert_idle(parent)
    waited_ns = sum(labels["run"].total() for each in parent if (labels := each.labels("wall")))
    assert waited_ns < sum(each.labels("wall")["run"].total() for each in worked[0]) / 2


def test_what_nobody_takes_waits_on_the_disk_for_the_next_process(
    tmp_path: Path, state_home: Path
) -> None:
    variables = {"OTELPROF_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    with refusing_port() as address:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://{address}"
        with serving([*COMMAND, APPLICATION], tmp_path, variables) as service:
            service.load(workers=1)
            finished = service.stop()
    assert finished.code == -signal.SIGTERM
    assert len(files_below(state_home)) >= 2, "there is no owner with a batch"
    assert "wait on the disk for the next process" in finished.err
