"""Starts children as its argument says; each burns CPU in a span of its own, once it is sampled."""

import multiprocessing
import os
import subprocess
import sys

from opentelemetry import trace

from tests.targets.burning import burn, tell
from tests.targets.processes import wait_until_sampled


def work(name: str) -> None:
    wait_until_sampled()
    with trace.get_tracer("target").start_as_current_span(name):
        burn()


def main(how: str) -> list[int]:
    """The pids of the children."""
    if how == "subprocess":
        command = [sys.executable, __file__, "child"]
        return [started(command) for _ in range(2)]
    if how == "os.fork":
        pid = os.fork()
        if not pid:
            work("child")
            sys.exit(0)
        os.waitpid(pid, 0)
        return [pid]
    multiprocessing.set_start_method(how)
    process = multiprocessing.Process(target=work, args=("child",))
    process.start()
    process.join()
    return [process.pid or 0]


def started(command: list[str]) -> int:
    with subprocess.Popen(command) as process:
        return process.pid


if __name__ == "__main__":
    if sys.argv[1] == "child":
        work("child")
    else:
        children = main(sys.argv[1])
        work("parent")
        tell(pid=os.getpid(), children=children)
