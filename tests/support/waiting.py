"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

TIMEOUT_S = 30.0  # for what happens at once, unless it never does
_POLL_S = 0.001


def wait_until(
    condition: Callable[[], object],
    timeout_s: float = TIMEOUT_S,
    *,
    poll_s: float = _POLL_S,
    what: str = "",
) -> None:
    """Look every millisecond, or every `poll_s`, whether it holds; fail, with `what`, if it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {timeout_s} s: {what}"
        time.sleep(poll_s)
