"""A program and those that it has started: whoever ends a program by hand, with Ctrl-C, ends them all."""

import os
import select
import signal
import time
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")


class Family:
    """The processes below one, as long as they live.

    They are held by descriptors that cannot come to mean another process. Where the system has none (Linux has), or does
    not say who is whose child, there are no members.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._descriptors: dict[int, int] = {}

    def look(self) -> None:
        """Take in those that have been started since the last look. What is below them then may be lost sight of."""
        if not hasattr(os, "pidfd_open"):
            return
        above = [self._pid, *self._descriptors]
        found: dict[int, int] = {}
        for pid in set(_below(above)) - self._descriptors.keys():
            with suppress(OSError):  # it has ended meanwhile
                found[pid] = os.pidfd_open(pid)
        still = set(_below(above))  # else the pid may have become another's before it was opened
        for pid, descriptor in found.items():
            if pid in still:
                self._descriptors[pid] = descriptor
            else:
                os.close(descriptor)

    def send(self, number: int) -> None:
        """Send a signal to each."""
        for descriptor in self._descriptors.values():
            with suppress(OSError):  # ended, or another user's
                signal.pidfd_send_signal(descriptor, number)

    def wait(self, until_s: float) -> bool:
        """Wait for the end of all, until then by the monotonic clock. True if they have ended."""
        while self._descriptors:
            poll = select.poll()
            for descriptor in self._descriptors.values():
                poll.register(descriptor, select.POLLIN)
            ended = {descriptor for descriptor, _ in poll.poll(_left_ms(until_s))}
            for pid, descriptor in list(self._descriptors.items()):
                if descriptor in ended:
                    os.close(self._descriptors.pop(pid))
            if not ended and not _left_ms(until_s):
                return False
        return True

    def close(self) -> None:
        """Let go of them. Idempotent."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def _left_ms(until_s: float) -> int:
    return max(0, round((until_s - time.monotonic()) * 1e3))


def _below(pids: list[int]) -> list[int]:
    """All processes that are below these."""
    children: dict[int, list[int]] = {}
    for path in _PROC.glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # The name in parentheses may hold anything; the state and the parent follow.
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found: list[int] = []
    to_do = list(pids)
    while to_do:
        below = children.pop(to_do.pop(), [])
        found += below
        to_do += below
    return found
