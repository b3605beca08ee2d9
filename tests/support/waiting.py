"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

TIMEOUT_S = 30.0  # for what happens at once, unless it never does
_POLL_S = 0.001


def wait_until(condition: Callable[[], object], timeout_s: float = TIMEOUT_S) -> None:
    """Look every millisecond whether it holds; fail if it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s"
        time.sleep(_POLL_S)
