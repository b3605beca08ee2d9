"""`otelprof.stop` in a signal's handler, whatever the main thread is in the middle of."""

import sys
import threading
from pathlib import Path

import pytest

import otelprof
from tests.support.pipelines import FakeCollector
from tests.support.programs import TIMEOUT_S, Finished, read, run

# In the middle of `sys.argv[1]` a signal comes. CPython may look for it only when a wait that was just beginning ends, so
# it comes again until it is seen.
INTERRUPTED = """
import os, signal, sys, threading
import otelprof
from otelprof.pipeline import Pipeline
from tests.targets.burning import burn, tell

way, answers, come = sys.argv[1], [], threading.Event()
flush = Pipeline._flush

def wait_and_flush(pipeline, *given):
    while not come.wait(0.05):
        os.kill(os.getpid(), signal.SIGTERM)
    flush(pipeline, *given)

def on_signal(number, frame):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if way == "flush":
        come.set()
    answers.extend([otelprof.stop(60), profiler.stop(60)])
    come.set()
    if way == "stop and leave":
        sys.exit(7)

Pipeline._flush = wait_and_flush
signal.signal(signal.SIGTERM, on_signal)
profiler = otelprof.start(output="out.pb.gz", flush_s=3600)
while not profiler.health()["passes"]:
    burn(0.01)
burn()
done = profiler.flush(60) if way == "flush" else otelprof.stop(60)
tell(done=done, answers=answers, again=otelprof.stop())
"""


@pytest.mark.usefixtures("sampler")
class TestStoppingInAHandler:
    def interrupted(self, way: str, cwd: Path) -> Finished:
        return run([sys.executable, "-c", INTERRUPTED, way], cwd)

    def test_in_the_middle_of_a_stop_is_answered_at_once(self, tmp_path: Path) -> None:
        finished = self.interrupted("stop", tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts == {"done": True, "answers": [False, False], "again": True}
        assert "burn" in read(tmp_path / "out.pb.gz").labels()

    def test_and_leaving_then_loses_nothing(self, tmp_path: Path) -> None:
        finished = self.interrupted("stop and leave", tmp_path)
        assert (finished.code, finished.said) == (7, [])
        assert "burn" in read(tmp_path / "out.pb.gz").labels()

    def test_in_the_middle_of_a_flush_stops_and_delivers(self, tmp_path: Path) -> None:
        finished = self.interrupted("flush", tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts == {"done": True, "answers": [True, True], "again": True}
        assert "burn" in read(tmp_path / "out.pb.gz").labels()


def test_a_start_may_be_undone_while_it_is_being_done() -> None:
    """As by a signal's handler, which runs in the middle of whatever the main thread does."""
    seen: list[object] = []

    class Interrupted(FakeCollector):
        def start(self) -> None:
            seen.append(profiler.stop())

        def stop(self) -> None:
            seen.append("stopped")

    profiler = otelprof.Profiler(exporters=())
    profiler._collectors[:] = [Interrupted()]
    thread = threading.Thread(target=profiler.start, daemon=True)
    thread.start()
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    assert seen == [False, "stopped"]
    assert profiler.stop()


STARTED_IN_START = """
import os, signal
import otelprof
from otelprof import parts, profiler
from tests.targets.burning import tell

make, made = parts.collectors_of, []

def make_and_be_interrupted(*arguments):
    made.append(1)
    if len(made) == 1:
        os.kill(os.getpid(), signal.SIGTERM)
    return make(*arguments)

parts.collectors_of = make_and_be_interrupted
signal.signal(signal.SIGTERM, lambda *_: otelprof.start(exporters=("none",)))
otelprof.start(exporters=("none",))
running = len(profiler._running)
tell(made=len(made), running=running, stopped=otelprof.stop(), left=len(profiler._running))
"""

STOPPED_IN_IMPORT = """
import os, signal, sys
from importlib.abc import MetaPathFinder
import otelprof

answers = []

class Interrupting(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "otelprof.pipeline" and not answers:
            os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, lambda *_: answers.append(otelprof.stop()))
sys.meta_path.insert(0, Interrupting())
otelprof.start(exporters=("none",))
stopped = otelprof.stop()
from tests.targets.burning import tell
tell(answers=answers, stopped=stopped)
"""


class TestInTheMiddleOfAStart:
    def test_another_start_is_the_same_one(self, tmp_path: Path) -> None:
        finished = run([sys.executable, "-c", STARTED_IN_START], tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts == {"made": 2, "running": 1, "stopped": True, "left": 0}

    def test_a_stop_while_the_profiler_is_imported_has_nothing_to_stop(
        self, tmp_path: Path
    ) -> None:
        finished = run([sys.executable, "-c", STOPPED_IN_IMPORT], tmp_path)
        assert (finished.code, finished.said) == (0, [])
        assert finished.facts == {"answers": [True], "stopped": True}
