"""The end of the process: the time that is left, and its exit code."""

import sys
from contextlib import suppress

from otelprof.clock import NS_PER_S, SYSTEM_CLOCK

_ends_ns = 0  # when the exit is to be over, by the monotonic clock; 0 before it


def time_left_s(budget_s: float) -> float:
    """Of `budget_s` since this was first asked, what is left for the next one; a sixth at least."""
    global _ends_ns  # noqa: PLW0603 - a process ends once
    now_ns = SYSTEM_CLOCK.monotonic_ns()
    _ends_ns = _ends_ns or now_ns + round(budget_s * NS_PER_S)
    return max((_ends_ns - now_ns) / NS_PER_S, budget_s / 6)


def keep_exit_code() -> None:
    """Have Python end the process by SIGINT if that is what has ended the program.

    It forgets that when source text is executed at exit, as in modules of named tuples that are imported then, and
    learns it from source text that raises (Python/pythonrun.c, `run_eval_code_obj`).
    """
    is_interactive = hasattr(sys, "ps1")  # its last error is an old one
    if getattr(sys, "last_type", None) is KeyboardInterrupt and not is_interactive:
        with suppress(KeyboardInterrupt):
            exec("raise KeyboardInterrupt")  # noqa: S102 - see above
