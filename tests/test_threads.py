"""Our own threads: known by the kernel's id while they run, and never a nuisance."""

import os
import threading
import time
from collections.abc import Callable

import pytest

from otelprof import primitives, threads
from otelprof.threads import OwnThread, own_native_ids, own_threads, run_soon

TIMEOUT_S = 30.0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_thread_is_known_while_it_runs() -> None:
    running, end = threading.Event(), threading.Event()

    def body() -> None:
        running.set()
        end.wait(TIMEOUT_S)

    thread = OwnThread("test", body)
    thread.start()
    assert running.wait(TIMEOUT_S)
    assert thread.native_id in own_native_ids()
    pid = os.fork()
    if not pid:
        os._exit(len(own_native_ids()))  # none of them is here
    assert os.waitpid(pid, 0)[1] == 0
    end.set()
    thread.join(TIMEOUT_S)
    assert thread.native_id not in own_native_ids()


def test_what_a_body_raises_is_said_and_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        raise ValueError("broken")

    thread = OwnThread("test", body)
    thread.start()
    thread.join(TIMEOUT_S)
    (record,) = caplog.records
    assert record.getMessage() == "otelprof-test stopped; the application is not affected"
    assert thread.native_id not in own_native_ids()


def test_a_thread_that_is_to_run_soon_is_known_while_it_runs() -> None:
    running, end = threading.Event(), threading.Event()
    ids: list[tuple[int, int]] = []

    def body() -> None:
        ids.append((threading.get_ident(), threading.get_native_id()))
        running.set()
        end.wait(TIMEOUT_S)

    run_soon("test", body)
    assert running.wait(TIMEOUT_S)
    assert ids[0] in own_threads().items()
    assert ids[0][1] in own_native_ids()
    assert ids[0][0] not in {thread.ident for thread in threading.enumerate()}
    end.set()
    deadline = time.monotonic() + TIMEOUT_S
    while ids[0][0] in own_threads():
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


def test_nobody_waits_for_a_thread_that_is_to_run_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def ask(body: Callable[..., object], arguments: tuple[object, ...]) -> None:
        asked.append((body, arguments))

    monkeypatch.setattr(primitives, "start_new_thread", ask)
    run_soon("test", lambda: None)
    assert len(asked) == 1


def test_what_a_body_that_is_to_run_soon_raises_is_said(caplog: pytest.LogCaptureFixture) -> None:
    def body() -> None:
        raise ValueError("broken")

    threads._run("otelprof-test", body)
    (record,) = caplog.records
    assert record.getMessage() == "otelprof-test stopped; the application is not affected"
