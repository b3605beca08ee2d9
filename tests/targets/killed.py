"""Has children that collect, spool and send, and kills each of them at some moment; then delivers what they left.

Arguments: the directory of the spool, the log and what receivers got, how many children, the seed, and how large a
batch is. Children with large ones are killed in the middle of writing one.
"""

import contextlib
import os
import random
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from otelprof.pipeline import Pipeline
from tests.support.files import files_below
from tests.support.numbered import NUMBER_BYTES, NumberedCollector, pipeline_of
from tests.support.pipelines import FakeCollector
from tests.targets.burning import tell

FLUSH_S = 0.01
LIFE_MOST_S = 0.15
MOST_OF_ONE = 1_000_000
END_S = 60.0
WRITING_S = 10.0
RECEIVERS = {"steady": 0.0, "busy": 0.3}  # how often each asks to come back


class Receiver:
    """Has what it gets in a file when it says so, as a receiver that commits before it answers."""

    def __init__(self, directory: Path, name: str, rng: random.Random) -> None:
        self.destination = name
        self._rng = rng
        self._file = os.open(directory / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        del timeout_s
        if self._rng.random() < RECEIVERS[self.destination]:
            return Outcome("retry", "busy")
        for profile in batch.profiles:
            number = profile.column("wall")[0].to_bytes(NUMBER_BYTES, "big")
            os.write(self._file, number + profile.profile_id)
        return DELIVERED

    def close(self) -> None: ...
    def after_fork(self) -> None: ...


def started(directory: Path, collector: FakeCollector, rng: random.Random) -> Pipeline:
    exporters = {name: lambda name=name: Receiver(directory, name, rng) for name in RECEIVERS}
    pipeline = pipeline_of(collector, exporters, directory, flush_s=FLUSH_S)
    pipeline.start()
    return pipeline


def half_written(directory: Path, pid: int, whole_bytes: int) -> bool:
    """Whether a batch of this process's is on the disk in part."""
    sizes: list[int] = []
    for path in files_below(directory / "spool", f"*-{pid}-*/*.batch"):
        with contextlib.suppress(FileNotFoundError):  # it is delivered by now
            sizes.append(path.stat().st_size)
    return any(0 < size < whole_bytes for size in sizes)


def kill(directory: Path, pid: int, batch_bytes: int) -> bool:
    """Kill a child; whether it has left a batch that it was writing."""
    deadline = time.monotonic() + WRITING_S
    while batch_bytes and time.monotonic() < deadline:
        if half_written(directory, pid, batch_bytes):
            break
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return half_written(directory, pid, batch_bytes)


def main() -> None:
    for module in ("otelprof.delivery.depot", "otelprof.storage.payload"):
        import_module(module)  # before a fork, once for all children
    directory = Path(sys.argv[1])
    children, seed, batch_bytes = map(int, sys.argv[2:])
    rng = random.Random(seed)
    torn = 0
    for number in range(children):
        lives_s, luck = rng.uniform(0.0, LIFE_MOST_S), rng.random()
        pid = os.fork()
        if not pid:
            first = (number + 1) * MOST_OF_ONE
            numbers = NumberedCollector(directory / "log", first, batch_bytes)
            started(directory, numbers, random.Random(luck))
            signal.pause()
        time.sleep(lives_s)
        torn += kill(directory, pid, batch_bytes)
    # The last one adopts what is left, and ends as it should.
    pipeline = started(directory, FakeCollector(), rng)
    deadline = time.monotonic() + END_S
    while files_below(directory / "spool", "*.batch") and time.monotonic() < deadline:
        pipeline.flush(1.0)
    stopped = pipeline.shutdown(END_S)
    left = [str(path) for path in directory.glob("spool/*")]
    tell(counts=pipeline.statistics(), stopped=stopped, left=left, torn=torn)


if __name__ == "__main__":
    main()
