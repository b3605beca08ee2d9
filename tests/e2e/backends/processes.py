"""Runs one program until the end of a `with`: its log in a file, ready before it is used, ended by its process id."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

_START_TIMEOUT_S = 90.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.1


@dataclass
class Running:
    """A program that runs."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def stop(self) -> None:
        """End it and wait for that: what it writes at its end is there afterwards."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextmanager
def running(
    name: str, command: Sequence[str | Path], directory: Path, is_ready: Callable[[], bool]
) -> Iterator[Running]:
    """Start `command` in `directory`, and wait until `is_ready`."""
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
        )
    program = Running(process, log)
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{name} does not start:\n{log.read_text()[-5_000:]}")
            time.sleep(_POLL_S)
        yield program
    finally:
        program.stop()


def answers(url: str, status: int | None = None, text: str = "") -> bool:
    """Whether something answers at `url`, with `status` if that is given, and `text` in what it says."""
    with suppress(requests.RequestException):
        answer = requests.get(url, timeout=5)
        return text in answer.text and status in {None, answer.status_code}
    return False
