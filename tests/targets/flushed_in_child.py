"""A forked child flushes in the middle of its profiler's start, which a thread of the profiler's does."""

import os
import sys
import threading

import otelprof
from tests.targets.burning import tell

# As long as the start takes at most: forever, or as on a busy machine. A flush that does not wait comes before its end.
_MOST_S = None if sys.argv[1] == "hangs" else 0.5

begun, flushed, is_waited_for = threading.Event(), threading.Event(), threading.Event()


def start_late() -> None:
    begun.set()
    flushed.wait(_MOST_S)
    start()
    if not flushed.is_set():
        is_waited_for.set()


profiler = otelprof.Profiler(exporters=())
profiler.start()
start = profiler._pipeline.start
profiler._pipeline.start = start_late  # type: ignore[method-assign]
pid = os.fork()
if not pid:
    begun.wait()
    is_done = profiler.flush(20.0 if _MOST_S else 0.1)
    flushed.set()
    os._exit(2 * is_done + is_waited_for.is_set())
tell(told=os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.exit(not profiler.stop(20.0))
