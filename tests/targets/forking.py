"""Forks while it is profiled and exports, as often as its argument says; children leave in different ways.

Tells how many batches lay there unfinished when a child was gone: only those may be sent once more.
"""

import contextlib
import os
import sys
import time
from pathlib import Path

import otelprof
from tests.support.files import files_below
from tests.targets.burning import tell

HANGS_S = 60.0
FLUSH_S = 0.1
STOPPED_S = 30.0  # a child that has more time than it needs leaves nothing behind


def leave(number: int) -> None:
    """What a child does."""
    match number % 4:
        case 0:
            os._exit(0)
        case 1:
            time.sleep(0.02)  # for something to be there
            profiler.flush(5.0)
            os._exit(0)
        case 2:
            time.sleep(FLUSH_S + number % 40 / 1000)  # in the middle of what it delivers by itself
            os._exit(0)
        case _:
            os._exit(not (profiler.stop(STOPPED_S) and not batches_of(os.getpid())))


def batches_of(pid: int) -> list[Path]:
    """What a process has in the spool."""
    return files_below(SPOOL, f"*-{pid}-*/*.batch")


def batches_of_others() -> list[Path]:
    """What those that are gone have left there."""
    own = set(batches_of(os.getpid()))
    return [path for path in files_below(SPOOL, "*.batch") if path not in own]


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
    SPOOL = Path(os.environ["OTELPROF_STATE_DIR"]) / "spool"
    profiler = otelprof.Profiler(flush_s=FLUSH_S, rate_hz=1000.0)
    profiler.start()
    bad = unfinished = 0
    for number in range(int(sys.argv[1])):
        child = os.fork()
        if not child:
            leave(number)
        bad += not wait_for(child)
        unfinished += len(batches_of_others())
    stopped = profiler.stop(STOPPED_S)
    health = dict(profiler.health())
    tell(pid=os.getpid(), bad=bad, stopped=stopped, unfinished=unfinished, health=health)
