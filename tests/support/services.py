"""Real servers with the services of tests/targets in them, under load, and what they leave."""

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.programs import (
    NO_SPAN,
    TIMEOUT_S,
    UNKNOWN,
    Finished,
    Left,
    finish,
    read_all,
    started,
)

PATHS = ("checkout", "search")
# Of each path and worker, 40 ms of computing each: 0.6 s, and a sampler sees nothing for the first 0.3 s at most.
REQUESTS = 8
CLIENTS = 4
UNKNOWN_MOST_NS = CLIENTS * 40_000_000
PORT = "{port}"  # in a command: the port that it is to listen on

# Everything leaves at the end only, so that what an end loses is seen.
VARIABLES = {
    "OTELPROF_EXPORTER": "file",
    "OTELPROF_FILE_DIR": "profiles",
    "OTELPROF_FLUSH": "1h",
    "OTELPROF_RATE": "200",
    "OTEL_SERVICE_NAME": "shop",
}


@dataclass
class Service:
    """A server that listens.

    Attributes:
        answered: by the id of the process that answered, how often on each path.
    """

    process: "subprocess.Popen[str]"
    port: int
    answered: dict[int, Counter[str]] = field(default_factory=dict[int, Counter[str]])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, path: str) -> int:
        """Ask for a path; the id of the process that answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
        try:
            connection.request("GET", f"/{path}", headers={"Connection": "close"})
            response = connection.getresponse()
            assert response.status == http.client.OK, response.status
            pid = int(response.read())
        finally:
            connection.close()
        with self._lock:
            self.answered.setdefault(pid, Counter())[path] += 1
        return pid

    def wait_until_ready(self) -> None:
        """Until it answers."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                self.get("ready")
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"does not listen: {finish(self.process)}") from None
                time.sleep(0.05)
            else:
                return

    def load(self, workers: int, requests: int = REQUESTS) -> None:
        """Ask from several clients at a time until each of `workers` processes has answered so often on each path."""
        end = time.monotonic() + TIMEOUT_S
        errors: list[BaseException] = []

        def is_done() -> bool:
            with self._lock:
                busy = [n for n in self.answered.values() if min(n[p] for p in PATHS) >= requests]
            return len(busy) >= workers or time.monotonic() > end or bool(errors)

        def ask(number: int) -> None:
            try:
                while not is_done():
                    number += 1
                    self.get(PATHS[number % len(PATHS)])
            except BaseException as error:  # noqa: BLE001 - raised again below
                errors.append(error)

        clients = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        if errors:
            raise errors[0]
        assert time.monotonic() <= end, self.answered

    def stop(self, number: signal.Signals = signal.SIGTERM) -> Finished:
        """Send the server a signal and wait for the end of all its processes."""
        self.process.send_signal(number)
        return finish(self.process)

    def workers(self) -> set[int]:
        """The processes that have done work."""
        return {pid for pid, counts in self.answered.items() if any(counts[p] for p in PATHS)}


@contextmanager
def serving(
    command: Sequence[str], cwd: Path, variables: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """A server that answers."""
    (port,) = free_ports(1)
    at_port = [part.replace(PORT, str(port)) for part in command]
    with started(at_port, cwd, {**VARIABLES, **(variables or {})}) as process:
        service = Service(process, port)
        service.wait_until_ready()
        yield service


def assert_worked(left: Sequence[Left], counts: Mapping[str, int]) -> None:
    """The profiles of one process have all of its spans, and the code of each is in that one only."""
    spans = Counter(span.name for each in left for span in each.spans)
    assert {path: spans[path] for path in PATHS} == {path: counts.get(path, 0) for path in PATHS}
    assert_labels_are_right(left, [path for path in PATHS if counts.get(path)])


def assert_labels_are_right(left: Sequence[Left], paths: Sequence[str]) -> None:
    """What is in `burn_checkout` is in the span `checkout`, and so on.

    Unknown are at most those that had begun before the process was profiled, one for each client.
    """
    profiles = [profile for each in left for profile in each.profiles]
    labels = Left(profiles, [span for each in left for span in each.spans]).labels()
    for path in paths:
        of_path = labels.get(f"burn_{path}", Counter())
        assert of_path[path] > 0, labels
        assert not of_path.keys() - {path, UNKNOWN}, of_path
        assert of_path[UNKNOWN] <= UNKNOWN_MOST_NS, of_path


def assert_idle(left: Sequence[Left]) -> None:
    """A process that only manages others: it has no span, and none of the application's work."""
    for each in left:
        assert each.spans == []
        for kind in ("cpu", "wall"):
            labels = each.labels(kind)
            assert not [function for function in labels if function.startswith("burn_")]
            assert {span for spans in labels.values() for span in spans} <= {NO_SPAN, UNKNOWN}


def left_by(cwd: Path) -> dict[int, list[Left]]:
    """The profiles of each process."""
    found: dict[int, list[Left]] = {}
    for left in read_all(cwd / "profiles"):
        (pid,) = left.pids()
        found.setdefault(pid, []).append(left)
    return found


def program(name: str) -> str:
    """A server that is installed beside this Python."""
    return str(Path(sys.executable).with_name(name))
