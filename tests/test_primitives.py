"""Threads and locks of the interpreter's own: for signal handlers, for many threads, and under gevent."""

import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from otelprof.primitives import Event
from tests.support.programs import run

TIMEOUT_S = 30.0
TREE = Path(__file__).parents[1]

# gevent comes before us, or after us; both must leave us real threads that a busy greenlet does not hold up.
UNDER_GEVENT = """
import sys
{order}
import threading
from otelprof.primitives import Event, are_threads_greenlets
from otelprof.threads import OwnThread, own_native_ids
from tests.targets.burning import tell

assert are_threads_greenlets()
came, ids = Event(), []

def body():
    ids.append((threading.get_native_id(), own_native_ids()))
    came.set()

thread = OwnThread("test", body)
thread.start()
while not came.is_set():  # never lets another greenlet run
    pass
thread.join(30)
main = threading.main_thread().native_id
tell(is_real=ids[0][0] != main, is_known=ids[0][0] in ids[0][1], is_main_ours=main in ids[0][1],
     is_alive=thread.is_alive(), is_waited_for=Event().wait(0.01))
"""
PATCH = "import gevent.monkey; gevent.monkey.patch_all()"
IMPORT = "import otelprof.threads"
# Not imported in here: where it is, the Python sampler sees no spans.
NEEDS_GEVENT = pytest.mark.skipif(find_spec("gevent") is None, reason="no gevent")


@NEEDS_GEVENT
@pytest.mark.parametrize("order", [[PATCH, IMPORT], [IMPORT, PATCH]], ids=["before", "after"])
def test_threads_are_real_where_gevent_has_patched_them(order: list[str], tmp_path: Path) -> None:
    finished = run([sys.executable, "-c", UNDER_GEVENT.format(order="\n".join(order))], tmp_path)
    assert finished.code == 0, finished.err
    assert finished.facts == {
        "is_real": True,
        "is_known": True,
        "is_main_ours": False,
        "is_alive": False,
        "is_waited_for": False,
    }


@NEEDS_GEVENT
def test_a_thread_that_was_there_before_gevent_ends_in_silence(tmp_path: Path) -> None:
    source = f"""
from otelprof.primitives import Event
from otelprof.threads import OwnThread
end = Event()
thread = OwnThread("test", end.wait)
thread.start()
{PATCH}
end.set()
while thread.native_id in __import__("otelprof.threads").threads.own_native_ids():
    pass
"""
    finished = run([sys.executable, "-c", source], tmp_path)
    assert (finished.code, finished.err) == (0, "")


def test_where_eventlet_has_patched_threads_nothing_is_profiled_and_one_line_says_so(
    tmp_path: Path,
) -> None:
    package = tmp_path / "eventlet"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "patcher.py").write_text(
        "def is_monkey_patched(name):\n    return name == 'thread'\n"
    )
    program = (
        "import eventlet.patcher, otelprof\n"
        "otelprof.start(); sum(range(10**7)); assert otelprof.stop()\n"
    )
    variables = {"PYTHONPATH": f"{TREE}:{tmp_path}", "OTELPROF_EXPORTER": "file"}
    finished = run([sys.executable, "-c", program], tmp_path, variables)
    assert finished.code == 0, finished.err
    (line,) = finished.said
    assert line.startswith("otelprof: this process is not profiled: eventlet has put greenlets")
    assert not list(tmp_path.glob("**/*.pb.gz"))


class TestEvent:
    def test_all_who_wait_are_woken(self) -> None:
        event, woken = Event(), [False] * 8

        def wait(number: int) -> None:
            woken[number] = event.wait(TIMEOUT_S)

        threads = [threading.Thread(target=wait, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        event.set()
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert woken == [True] * 8
        assert event.wait(0.0)

    def test_it_is_not_set_after_a_while_or_when_cleared(self) -> None:
        event = Event()
        assert not event.wait(0.001)
        assert not event.wait(-1.0)
        event.set()
        event.clear()
        assert not event.is_set()
        assert not event.wait(0.0)
        assert not event._waiters

    def test_no_set_is_missed(self) -> None:
        """Two threads take turns; a wake that is lost would cost the whole timeout."""
        ping, pong = Event(), Event()

        def answer() -> None:
            for _ in range(2_000):
                assert ping.wait(TIMEOUT_S)
                ping.clear()
                pong.set()

        thread = threading.Thread(target=answer)
        thread.start()
        end = time.monotonic() + TIMEOUT_S
        for _ in range(2_000):
            ping.set()
            assert pong.wait(TIMEOUT_S)
            pong.clear()
        thread.join(TIMEOUT_S)
        assert time.monotonic() < end
