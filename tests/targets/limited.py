"""Has no room for files for a while (RLIMIT_FSIZE, as on a disk that is full), and then has it again."""

import resource
import sys
import threading
from pathlib import Path

from otelprof.interfaces import DELIVERED, Outcome
from otelprof.model import Batch
from tests.support.numbered import numbered, pipeline_of
from tests.support.pipelines import FakeCollector, files_in
from tests.targets.burning import tell


class Away:
    """A receiver that is not there yet."""

    destination = "here"

    def __init__(self) -> None:
        self.is_back = threading.Event()
        self.numbers: list[int] = []

    def export(self, batch: Batch, *, timeout_s: float) -> Outcome:
        del timeout_s
        if not self.is_back.is_set():
            return Outcome("retry", "it is away")
        self.numbers += [profile.column("wall")[0] for profile in batch.profiles]
        return DELIVERED

    def close(self) -> None: ...
    def after_fork(self) -> None: ...


class Given(FakeCollector):
    def give_number(self, number: int) -> None:
        self._profiles.append(numbered(number))


if __name__ == "__main__":
    directory, away, collector = Path(sys.argv[1]), Away(), Given()
    pipeline = pipeline_of(collector, {"sink": lambda: away}, directory, flush_s=3600)
    pipeline.start()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    files: list[int] = []
    for number in range(1, 7):
        # Nothing fits from the third to the fourth batch on.
        limit = 100 if number in {3, 4} else hard
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        collector.give_number(number)
        pipeline.flush(20.0)
        files.append(len(files_in(directory)))
    held = pipeline.statistics()
    away.is_back.set()
    stopped = pipeline.shutdown(20.0)
    tell(
        files=files,
        numbers=away.numbers,
        stopped=stopped,
        waiting=held["sink.waiting_profiles"],
        counts=pipeline.statistics(),
    )
