"""Servers with several processes, and with greenlets instead of threads."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.programs import (
    INSTRUMENT,
    environment,
    finish,
    run,
    started,
    target,
    wait_for_line,
)
from tests.support.pulling import TOKEN, Pulled, Told
from tests.support.services import PORT, program, serving
from tests.support.waiting import wait_until

PORTS = 20
PATCHED = """
from gevent import monkey
monkey.patch_all()
import runpy, sys
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def threads_at(port: int) -> Told | None:
    """What the process that listens there says its threads do; None if none listens."""
    try:
        return Pulled(port=port).get("/debug/pprof/goroutine")
    except OSError:
        return None


def pids_at(ports: range) -> list[int]:
    """The processes that can be pulled from."""
    told = [threads_at(port) for port in ports]
    return [
        int(str(dict(profile.resource)["process.pid"]))
        for each in told
        if each is not None and each.status == 200
        for profile in each.profiles
    ]


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["", "preload"])
def test_each_worker_has_a_port_of_its_own_and_the_arbiter_none(
    options: list[str], tmp_path: Path
) -> None:
    first = min(free_ports(1)[0], 65_000)
    ports = range(first, first + PORTS)
    listen = ["-w", "2", "-b", f"127.0.0.1:{PORT}", "--no-control-socket"]
    command = [INSTRUMENT, program("gunicorn"), *listen, *options, "tests.targets.web:app"]
    variables = {"OTELPROF_PULL": f"127.0.0.1:{first}-{ports[-1]}", "OTELPROF_PULL_TOKEN": TOKEN}
    with serving(command, tmp_path, variables) as service:
        service.load(workers=2, requests=1)
        wait_until(
            lambda: sorted(pids_at(ports)) == sorted(service.workers()),
            poll_s=0.1,
            what="both workers listen, and nobody else",
        )
        finished = service.stop()
    assert finished.code == 0
    assert "Traceback" not in finished.err
    assert not pids_at(ports)


# Not imported here: where there are greenlets the sampler in Python says of fewer spans that it knows them.
@pytest.mark.skipif(find_spec("gevent") is None, reason="there is no gevent for this Python")
def test_a_program_of_greenlets_is_answered_by_real_threads(tmp_path: Path) -> None:
    variables = {"OTELPROF_EXPORTER": "none", "OTELPROF_PULL_TOKEN": TOKEN}
    variables["OTELPROF_PULL"] = "127.0.0.1:0"
    command = [sys.executable, "-c", PATCHED, target("pulled.py"), "greenlets"]
    with started(command, tmp_path, variables) as process:
        pulled = Pulled(port=int(wait_for_line(process, "port").split()[-1].strip("}")))
        # The program's only thread computes and never gives way to greenlets.
        (profile,) = pulled.profiles("profile?seconds=1")
        assert sum(profile.column("cpu")) > 0
        names = {profile.tables.strings[each.name] for each in profile.tables.functions}
        assert not [name for name in names if name.startswith(("otelprof.pull.", "gevent.hub"))]
        process.terminate()
        finished = finish(process)
    assert "Traceback" not in finished.err
    assert "otelprof" not in finished.err


def test_a_program_that_is_started_by_another_inherits_no_socket(tmp_path: Path) -> None:
    script = """
import subprocess, sys, otelprof
from tests.support.pulling import listening
from tests.targets.pulled import listeners
with otelprof.Profiler() as profiler:
    listening(profiler)
    assert listeners() == 1
    code = "from tests.targets.pulled import listeners; print(listeners())"
    out = subprocess.run([sys.executable, "-c", code], close_fds=False, capture_output=True, check=True)
    sys.stdout.write(out.stdout.decode())
"""
    variables = {"OTELPROF_EXPORTER": "none", "OTELPROF_PULL_TOKEN": TOKEN}
    variables["OTELPROF_PULL"] = "127.0.0.1:0"
    finished = run([sys.executable, "-c", script], tmp_path, environment(**variables))
    assert (finished.code, finished.out) == (0, "0\n"), finished.err
