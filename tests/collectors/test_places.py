"""Both samplers say where in its line a thread is: which of two calls that stand side by side."""

import inspect
import time
from collections import Counter
from itertools import pairwise

from tests.support.session import profiling


def nap_long() -> float:
    time.sleep(0.6)
    return time.monotonic()


def nap_short() -> float:
    time.sleep(0.2)
    return time.monotonic()


def nap_twice() -> float:
    return nap_short() - nap_long()


def test_two_calls_in_one_line_are_two_columns(sampler: str) -> None:
    with profiling(sampler) as session:
        nap_twice()
    wall = session.profile("wall")
    tables = wall.tables
    seen: Counter[tuple[int, int, str]] = Counter()
    for stack, weight in zip(wall.stack, wall.column("wall"), strict=True):
        frames = tables.stacks[stack]
        for callee, frame in pairwise(frames):
            if tables.function_name(frame).endswith(".nap_twice"):
                _, line, column = tables.frames[frame]
                seen[line, column, tables.function_name(callee).rpartition(".")[2]] += weight
    source, first = inspect.getsourcelines(nap_twice)
    long, short = (source[1].index(name) + 1 for name in ("nap_long", "nap_short"))
    at_long, at_short = (first + 1, long, "nap_long"), (first + 1, short, "nap_short")
    assert set(seen) == {at_long, at_short}
    assert seen[at_long] > 2 * seen[at_short] > 0.3e9
