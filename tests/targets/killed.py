"""Has children that collect, spool and send, and kills each of them at some moment; then delivers what they left.

Arguments: the directory of the spool, the log and what receivers got, how many children, and the seed.
"""

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
from tests.support.numbered import NUMBER_BYTES, NumberedCollector, pipeline_of
from tests.support.pipelines import FakeCollector
from tests.targets.burning import tell

FLUSH_S = 0.01
LIFE_MOST_S = 0.15
MOST_OF_ONE = 1_000_000
END_S = 60.0
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


def main() -> None:
    for module in ("otelprof.delivery.depot", "otelprof.storage.payload"):
        import_module(module)  # before a fork, once for all children
    directory, children = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(int(sys.argv[3]))
    for number in range(children):
        lives_s, seed = rng.uniform(0.0, LIFE_MOST_S), rng.random()
        pid = os.fork()
        if not pid:
            numbers = NumberedCollector(directory / "log", (number + 1) * MOST_OF_ONE)
            started(directory, numbers, random.Random(seed))
            signal.pause()
        time.sleep(lives_s)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    # The last one adopts what is left, and ends as it should.
    pipeline = started(directory, FakeCollector(), rng)
    deadline = time.monotonic() + END_S
    while list(directory.glob("spool/*/*.batch")) and time.monotonic() < deadline:
        pipeline.flush(1.0)
    stopped = pipeline.shutdown(END_S)
    left = [str(path) for path in directory.glob("spool/*")]
    tell(counts=pipeline.statistics(), stopped=stopped, left=left)


if __name__ == "__main__":
    main()
