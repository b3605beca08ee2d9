"""T10: no sample names a function that was gone; code objects come and go at the same addresses."""

import re
import time
import types
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from tests.native.installed import IS_SANITIZED
from tests.native.windows import Goal, Row, recordings, say

CODES = 200_000
PASSES = 1_500
GROWTH_MOST_BYTES = 16 << 20
NAME = re.compile(r"(caller|leaf)_(\d+)$")
PAGE_BYTES = 4_096
LINES = 1_000_000
ALIVE = 16
FOREVER = 2**63 - 1


def leaf(n: int) -> int:
    for _ in range(n):
        pass
    return n


def caller(callee: Callable[[int], int]) -> int:
    return callee(500)


class Churn:
    """Makes functions, each of which is called once and dies a little later: when, in ns of the monotonic clock.

    `caller_7` is the only caller of `leaf_7`, and both begin on line 7.
    """

    def __init__(self) -> None:
        self.died = array("q")
        self.addresses: set[int] = set()
        self._alive: list[object] = [None] * ALIVE

    def run(self, goal: Goal) -> None:
        wanted = len(self.died) + CODES // 2
        while len(self.died) < wanted or not goal.is_reached():
            self._live(len(self.died))

    def _live(self, number: int) -> None:
        self.died.append(FOREVER)
        callee, its_caller = self._made(leaf, number), self._made(caller, number)
        its_caller(callee)
        self._alive[number % ALIVE] = callee, its_caller
        if number >= ALIVE:
            self.died[number - ALIVE] = time.monotonic_ns()

    def _made(self, like: Callable[..., int], number: int) -> types.FunctionType:
        name = f"{like.__name__}_{number}"
        line = 1 + number % LINES
        code = like.__code__.replace(co_name=name, co_qualname=name, co_firstlineno=line)
        self.addresses.add(id(code))
        return types.FunctionType(code, globals())


def numbers_of(row: Row) -> Iterable[tuple[str, int, int]]:
    """Kind, number and first line of each function of the churn in a stack."""
    for frame in row.stack.frames:
        if found := NAME.match(frame.name):
            yield found[1], int(found[2]), frame.first_line


def faults_of(churn: Churn, row: Row) -> list[str]:
    """What cannot have been: a dead function, a leaf under another's caller, a name with another's line."""
    seen = list(numbers_of(row))
    faults: list[str] = []
    if len({number for _, number, _ in seen}) > 1:
        faults.append(f"a pair that never was: {row.names[:4]}")
    for kind, number, first_line in seen:
        if number >= len(churn.died) or churn.died[number] < row.last_ns:
            faults.append(f"{kind}_{number} was dead at {row.last_ns}")
        if first_line != 1 + number % LINES:
            faults.append(f"{kind}_{number} on line {first_line}")
    return faults


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def test_t10_code_churn_names_only_functions_that_lived() -> None:
    churn = Churn()
    resident: list[int] = []
    seen = samples = 0
    for recording in recordings(churn.run, passes=PASSES):
        for row in recording.of_thread():
            assert not faults_of(churn, row), faults_of(churn, row)
            samples += row.samples
            seen += row.samples if any(numbers_of(row)) else 0
        resident.append(resident_bytes() - 8 * len(churn.died))
    count = 2 * len(churn.died)
    say(f"{count} code objects at {len(churn.addresses)} addresses, {seen} of {samples} samples")
    assert count >= CODES
    assert IS_SANITIZED or len(churn.addresses) < count / 100
    assert seen > samples / 4
    assert max(resident[2:], default=0) - resident[min(1, len(resident) - 1)] < GROWTH_MOST_BYTES
