"""Forks while it is profiled and exports, as often as its argument says; children leave in different ways."""

import contextlib
import os
import sys
import time

import otelprof
from tests.targets.burning import tell

HANGS_S = 60.0


def leave(number: int) -> None:
    """What a child does."""
    match number % 4:
        case 0:
            os._exit(0)
        case 1:
            profiler.flush(5.0)
            os._exit(0)
        case 2:
            time.sleep(0.002)
            os._exit(0)
        case _:
            profiler.stop(5.0)
            os._exit(0)


def wait_for(pid: int) -> bool:
    """Whether the child has ended well; one that hangs is killed."""
    deadline = time.monotonic() + HANGS_S
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 9)
    os.waitpid(pid, 0)
    return False


if __name__ == "__main__":
    profiler = otelprof.Profiler(flush_s=0.1, rate_hz=1000.0)
    profiler.start()
    bad = 0
    for number in range(int(sys.argv[1])):
        child = os.fork()
        if not child:
            leave(number)
        bad += not wait_for(child)
    stopped = profiler.stop(20.0)
    tell(pid=os.getpid(), bad=bad, stopped=stopped, health=dict(profiler.health()))
