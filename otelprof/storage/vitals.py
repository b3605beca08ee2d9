"""What sampling did and took in one process, kept beside its profiles: `4121-9f3a.vitals.json`.

The command line adds them up: which rate was reached, and at what cost. Each process also holds a lock on the directory, by which
is seen whether somebody goes on when the program has ended: one of `flock`, which a forked child holds with its parent.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK, Clock
from otelprof.storage.runs import process_token

SUFFIX = ".vitals.json"
_EVERY_S = 5.0  # a process that is killed has noted what was this long before at the latest


@dataclass(frozen=True, slots=True)
class Vitals:
    """Of one process, since its profiler started.

    Attributes:
        elapsed_ns: how long it was profiled.
        passes: how often all threads were looked at.
        asked_period_ns: the time between two of them, as asked for.
        sampler_cpu_ns: CPU time that sampling took.
        process_cpu_ns: CPU time of the whole process, with that.
    """

    pid: int
    elapsed_ns: int
    passes: int
    asked_period_ns: int
    sampler_cpu_ns: int
    process_cpu_ns: int


class VitalsFile:
    """Writes them, now and then.

    Args:
        directory: of the run.
        asked_period_ns: where the sampler does not say it.
        counters: those of the collectors, which may have counted before.
    """

    def __init__(
        self,
        directory: Path,
        asked_period_ns: int,
        counters: Callable[[], Mapping[str, int]],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._counters = counters
        self._before = dict(counters())
        self._asked_period_ns = asked_period_ns
        self._clock = clock
        self._path = directory / f"{process_token()}{SUFFIX}"
        self._began_ns = self._written_ns = self._clock.monotonic_ns()
        self._began_cpu_ns = time.process_time_ns()
        self._lock: int | None = None
        with suppress(OSError):  # the directory is gone, or its file system has no such locks
            self._lock = _locked(directory, fcntl.LOCK_SH)
            self._locked = os.fstat(self._lock)

    def tick(self) -> None:
        """Write if it is time to."""
        if self._clock.monotonic_ns() - self._written_ns >= _EVERY_S * NS_PER_S:
            self.write()

    def write(self) -> None:
        """Note how it is now. Never raises: it is for a summary only, and the directory may be gone."""
        now_ns = self._written_ns = self._clock.monotonic_ns()
        counted = self._counters()
        since = {name: max(0, count - self._before.get(name, 0)) for name, count in counted.items()}
        vitals = Vitals(
            pid=os.getpid(),
            elapsed_ns=now_ns - self._began_ns,
            passes=since.get("passes", 0),
            asked_period_ns=counted.get("asked_period_ns", self._asked_period_ns),
            sampler_cpu_ns=since.get("sampler_cpu_ns", 0),
            process_cpu_ns=time.process_time_ns() - self._began_cpu_ns,
        )
        temporary = self._path.with_name(f".{self._path.name}")
        try:
            temporary.write_text(json.dumps(asdict(vitals)))
            temporary.replace(self._path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def close(self) -> None:
        """Write once more, and let go of the directory. Idempotent."""
        self.write()
        if self._lock is not None:
            with suppress(OSError):  # programs close descriptors that they do not own
                if os.path.samestat(os.fstat(self._lock), self._locked):
                    os.close(self._lock)
            self._lock = None


def are_processes_left(directory: Path) -> bool:
    """Whether a process still has a `VitalsFile` there."""
    try:
        os.close(_locked(directory, fcntl.LOCK_EX))
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _locked(directory: Path, kind: int) -> int:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_vitals(directory: Path) -> list[Vitals]:
    """Those of all processes of a run. What is not whole is left out: nothing else depends on it."""
    found: list[Vitals] = []
    for path in sorted(directory.glob(f"[0-9]*{SUFFIX}")):
        try:
            values = json.loads(path.read_bytes())
            found.append(Vitals(*(int(values[field.name]) for field in fields(Vitals))))
        except (OSError, LookupError, TypeError, ValueError):
            continue
    return found
