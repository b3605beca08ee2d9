"""Our own threads: known by the kernel's id while they run, and never a nuisance."""

import os
import threading

import pytest

from otelprof.threads import OwnThread, own_native_ids

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
