"""The server's life: from start to stop, in children, beside others that want the same port, at the end of a program."""

import json
import logging
import signal
import socket
import sys
import threading
import time
from _socket import socket as Socket  # noqa: N812 - a class
from pathlib import Path

import pytest

import otelprof
from otelprof.pull import listener
from otelprof.pull.crew import MAX_THREADS
from otelprof.pull.server import RETRY_S
from otelprof.pull_settings import PullSettings
from tests.support.ports import free_ports
from tests.support.programs import Finished, finish, started, target, wait_for_line
from tests.support.pulling import (
    LOOPBACK,
    TIMEOUT_S,
    TOKEN,
    Pulled,
    listening,
    pulling,
    pulls,
    taking,
)
from tests.support.waiting import wait_until

IDLE_S = 3.0


def is_refused(pulled: Pulled) -> bool:
    try:
        pulled.connect().close()
    except OSError:
        return True
    return False


def test_stop_closes_and_start_opens_again() -> None:
    profiler = otelprof.Profiler(None, pull=LOOPBACK, exporters=())
    for _ in range(3):
        with profiler:
            pulled = listening(profiler)
            assert pulled.get("/debug/pprof/goroutine").status == 200
        assert is_refused(pulled)
        assert not profiler.health()["pull.port"]


def test_a_stop_while_it_begins_to_listen_leaves_the_next_start_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listen, first, go_on = listener._listening, threading.Event(), threading.Event()

    def listen_late(host: str, port: int) -> Socket:
        if not first.is_set():
            first.set()
            assert go_on.wait(TIMEOUT_S)
        return listen(host, port)

    monkeypatch.setattr(listener, "_listening", listen_late)
    profiler = otelprof.Profiler(None, pull=LOOPBACK, exporters=())
    profiler.start()
    assert first.wait(TIMEOUT_S)
    profiler.stop()
    with profiler:
        pulled = listening(profiler)
        go_on.set()
        wait_until(lambda: len(threads_that_accept()) == 1, what="the first has ended")
        assert profiler.health()["pull.port"] == pulled.port
    assert is_refused(pulled)
    wait_until(lambda: not threads_that_accept(), what="the second has ended")


def threads_that_accept() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "otelprof-pull"]


def test_nothing_listens_unless_it_is_asked_for() -> None:
    with otelprof.Profiler(exporters=()) as profiler:
        profiler.flush()
        assert not [name for name in profiler.health() if name.startswith("pull.")]
    script = "import sys, otelprof\nwith otelprof.Profiler(exporters=()): pass\n"
    script += "assert not [name for name in sys.modules if name.startswith(('otelprof.pull.', 'http.server'))]"
    with started([sys.executable, "-c", script], Path.cwd()) as process:
        assert finish(process).code == 0


def test_a_port_that_is_taken_is_said_once_and_taken_once_it_is_free(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "otelprof")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        profiler = otelprof.Profiler(
            None, pull=PullSettings(f"127.0.0.1:{port}", TOKEN), exporters=()
        )
        with profiler:
            wait_until(lambda: caplog.messages)
            time.sleep(3 * RETRY_S)  # tried again, and not said again
            (message,) = caplog.messages
            assert f"cannot listen at 127.0.0.1:{port}: [Errno 98]" in message
            assert profiler.flush()
            other.close()
            assert listening(profiler).get("/debug/pprof/").status == 200
    assert caplog.messages[1:] == [
        f"otelprof: pull: listens at http://127.0.0.1:{port}/debug/pprof/"
    ]


def test_of_several_ports_the_first_that_is_free_is_taken() -> None:
    ports = sorted(free_ports(1))
    first = min(ports[0], 65_000)
    settings = PullSettings(f"127.0.0.1:{first}-{first + 50}", TOKEN)
    with pulling(settings) as (_, one), pulling(settings) as (_, other):
        assert first <= one.port < other.port <= first + 50
        assert one.get("/debug/pprof/").status == other.get("/debug/pprof/").status == 200


def test_a_socket_that_a_dead_process_has_left_is_taken_over_and_no_other_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pull.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pulling(PullSettings(f"unix:{path}")) as (_, pulled):
        wait_until(lambda: not is_refused(pulled))
        # It is taken while its owner lives.
        with otelprof.Profiler(None, pull=PullSettings(f"unix:{path}"), exporters=()):
            wait_until(lambda: caplog.messages)
            assert pulled.get("/debug/pprof/", {}).status == 200
        assert pulled.get("/debug/pprof/", {}).status == 200
    path.write_text("somebody's")
    with otelprof.Profiler(None, pull=PullSettings(f"unix:{path}"), exporters=()):
        wait_until(lambda: len(caplog.messages) == 2)
    assert path.read_text() == "somebody's"


def test_a_server_that_waits_takes_no_cpu_time() -> None:
    with pulling() as (profiler, pulled):
        assert pulled.get("/debug/pprof/").status == 200
        pulls(profiler)
        threads = threads_of_pull()
        assert len(threads) == 2
        settled = cpu_of(threads)

        def are_asleep() -> bool:
            nonlocal settled
            time.sleep(0.1)
            before, settled = settled, cpu_of(threads)
            return before == settled

        wait_until(are_asleep)
        time.sleep(IDLE_S)
        assert cpu_of(threads) == settled


def threads_of_pull() -> list[int]:
    """The kernel's ids of those that accept and answer."""
    return [
        thread.native_id
        for thread in threading.enumerate()
        if thread.name.startswith("otelprof-pull") and thread.native_id
    ]


def cpu_of(threads: list[int]) -> list[str]:
    """The time that each has been on a CPU, has waited for one, and how often it was there."""
    return [Path(f"/proc/self/task/{each}/schedstat").read_text() for each in threads]


def run(what: str, directory: Path, **variables: str) -> Finished:
    """The program of this file's."""
    variables = {"OTELPROF_EXPORTER": "none", "OTELPROF_PULL_TOKEN": TOKEN, **variables}
    with started([sys.executable, target("pulled.py"), what], directory, variables) as process:
        return finish(process)


def test_children_have_a_socket_of_their_own_and_none_of_the_parent_s(
    sampler: str, tmp_path: Path
) -> None:
    first = min(free_ports(1)[0], 65_000)
    facts = run("fork", tmp_path, OTELPROF_PULL=f"127.0.0.1:{first}-{first + 50}").facts
    assert facts["parent"] not in facts["children"]
    assert len(set(facts["children"])) == len(facts["children"]) > 1
    assert facts["sockets_in_children"] == [1] * len(facts["children"])
    assert facts["statuses"] == [200] * len(facts["children"])
    assert facts["parent_status"] == 200
    assert facts["exits"] == [0] * len(facts["children"])


def test_a_fork_in_the_middle_of_a_request_leaves_it_to_the_parent(
    sampler: str, tmp_path: Path
) -> None:
    facts = run("fork-in-request", tmp_path, OTELPROF_PULL="127.0.0.1:0").facts
    assert facts["statuses"] == [200]
    assert facts["sockets_in_children"] == [0]
    assert facts["port_is_free"] is True
    assert facts["exits"] == [0]


def test_a_program_that_closes_all_descriptors_keeps_its_own(tmp_path: Path) -> None:
    facts = run("close-all", tmp_path, OTELPROF_PULL="127.0.0.1:0").facts
    assert facts["own_is_intact"] is True
    assert facts["statuses"] == [200]


@pytest.mark.parametrize("handled", [True, False])
def test_a_signal_ends_the_program_whatever_waits(handled: bool, tmp_path: Path) -> None:
    variables = {"OTELPROF_EXPORTER": "none", "OTELPROF_PULL_TOKEN": TOKEN}
    variables["OTELPROF_PULL"] = "127.0.0.1:0"
    what = "handled" if handled else "wait"
    command = [sys.executable, target("pulled.py"), what]
    with started(command, tmp_path, variables) as process:
        pulled = Pulled(port=json.loads(wait_for_line(process, "port"))["port"])
        with pulled.connect() as waiting, pulled.connect() as silent:
            waiting.sendall(_wanted("wall?seconds=300"))
            silent.sendall(b"GET /deb")
            wait_for_line(process, "taking")
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: _rest(waiting), b""))
            finished = finish(process)
            took_s = time.monotonic() - began
    assert took_s < 2 + 5  # of an exit, and of a busy machine
    assert finished.code == (0 if handled else -signal.SIGTERM), finished.err
    assert answer.startswith(b"HTTP/1.1 200 ") == handled
    assert "Traceback" not in finished.err


def _wanted(path: str) -> bytes:
    head = f"GET /debug/pprof/{path} HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode()


def _rest(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionResetError:
        return b""


def test_threads_are_few_however_many_come() -> None:
    with pulling() as (profiler, pulled):
        for _ in range(50):
            assert pulled.get("/debug/pprof/").status == 200
        assert len(threads_of_pull()) <= MAX_THREADS + 1
        with taking(profiler, 1, lambda: pulled.get("/debug/pprof/wall?seconds=300")) as (future,):
            profiler.stop()
            assert future.result().status == 200
    wait_until(lambda: not threads_of_pull(), what="all have ended")
