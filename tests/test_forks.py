"""Forks and imports of our threads, which must not meet."""

import os
import threading

import pytest

from otelprof import forks
from otelprof.forks import kept_whole

TIMEOUT_S = 30.0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
class TestAFork:
    def test_waits_for_the_end_of_an_import(self) -> None:
        order: list[str] = []
        is_closed, forking = threading.Event(), threading.Event()

        def import_something() -> None:
            with kept_whole():
                is_closed.set()
                assert forking.wait(TIMEOUT_S)
                order.append("imported")

        thread = threading.Thread(target=import_something)
        thread.start()
        assert is_closed.wait(TIMEOUT_S)
        forking.set()
        pid = os.fork()
        if not pid:
            os._exit(order != ["imported"])
        order.append("forked")
        thread.join(TIMEOUT_S)
        assert order == ["imported", "forked"]
        assert os.waitpid(pid, 0)[1] == 0

    def test_does_not_wait_for_ever_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(forks, "MAX_WAIT_S", 0.01)
        is_closed, end = threading.Event(), threading.Event()

        def import_something() -> None:
            with kept_whole():
                is_closed.set()
                assert end.wait(TIMEOUT_S)

        thread = threading.Thread(target=import_something)
        thread.start()
        assert is_closed.wait(TIMEOUT_S)
        pid = os.fork()
        if not pid:
            with kept_whole():  # which the parent's thread holds up no more
                os._exit(0)
        end.set()
        thread.join(TIMEOUT_S)
        assert os.waitpid(pid, 0)[1] == 0
        (record,) = caplog.records
        assert "a child was forked while" in record.getMessage()

    def test_may_be_part_of_an_import(self) -> None:
        with kept_whole():
            pid = os.fork()
            if not pid:
                with kept_whole():
                    os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        with kept_whole():
            pass
